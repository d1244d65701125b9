/* Budgets as they are written, and what one of them covers. */
#include "base/check.h"
#include "base/clock.h"
#include "base/yaml_in.h"
#include "detectors/budget.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#define HOUR_MS INT64_C(3600000)
#define DAY_MS (24 * HOUR_MS)

const char *detectors_budget_unit_name(enum detectors_budget_unit u)
{
    static const char *const names[] = {"usd", "tokens", "calls"};
    return names[u];
}

/* --- what one covers -------------------------------------------------------------------------------- */

bool budget_matches(const struct budget *b, struct bytes value)
{
    if (!value.size)
        return false; /* what names nobody is nobody's */
    if (!b->is_pattern)
        return bytes_equal(value, b->value);
    if (b->any_before && b->any_after)
        return bytes_find(value, b->value) < value.size || !b->value.size;
    return b->any_after ? bytes_has_prefix(value, b->value) : bytes_has_suffix(value, b->value);
}

int64_t budget_amount(const struct budget *b, const struct tsdb_book_sums *s)
{
    return b->unit == DETECTORS_BUDGET_USD     ? s->nanousd
           : b->unit == DETECTORS_BUDGET_CALLS ? s->calls
                                               : s->input_tokens + s->output_tokens;
}

/* A local date as a moment: the offset before it holds, unless it changes in that very night. */
static int64_t moment_of(const struct budget_zone *z, int year, int month, int day)
{
    struct tm tm = {.tm_year = year - 1900, .tm_mon = month, .tm_mday = day};
    int64_t local = timegm(&tm);
    int64_t guess = local - budget_zone_offset(z, local);
    return local - budget_zone_offset(z, guess);
}

void budget_window(struct budget *b, int64_t ms, int64_t *out_from, int64_t *out_to)
{
    if (ms < b->cached_from_ms || ms >= b->cached_to_ms) {
        int64_t s = ms / 1000;
        time_t local = (time_t)(s + budget_zone_offset(&b->zone, s));
        struct tm tm;
        gmtime_r(&local, &tm);
        int year = tm.tm_year + 1900, month = tm.tm_mon, day = tm.tm_mday;
        int64_t from, to;
        if (b->calendar == BUDGET_MONTH) {
            from = moment_of(&b->zone, year, month, 1);
            to = moment_of(&b->zone, year, month + 1, 1);
        } else { /* weeks begin on Monday */
            int first = b->calendar == BUDGET_WEEK ? day - (tm.tm_wday + 6) % 7 : day;
            from = moment_of(&b->zone, year, month, first);
            to = moment_of(&b->zone, year, month, first + (b->calendar == BUDGET_WEEK ? 7 : 1));
        }
        b->cached_from_ms = from * 1000;
        b->cached_to_ms = to * 1000;
    }
    *out_from = b->cached_from_ms;
    *out_to = b->cached_to_ms;
}

/* --- reading ---------------------------------------------------------------------------------------- */

struct reading {
    const char *path;
    struct buf *errors;
    struct arena *arena;
    bool failed;
};

static void mistake(struct reading *r, unsigned line, const char *key, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
static void mistake(struct reading *r, unsigned line, const char *key, const char *fmt, ...)
{
    char text[256];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    buf_printf(r->errors, "%s:%u: %s: %s\n", r->path, line, key, text);
    r->failed = true;
}

static const char *text_of(struct reading *r, const struct yaml_node *n)
{
    if (n->type == YAML_SCALAR && n->text.size && n->text.size <= TSDB_LEDGER_VALUE_MAX)
        return (const char *)n->text.data;
    mistake(r, n->line, (const char *)n->key.data, "must be a text of 1 to %u bytes",
            TSDB_LEDGER_VALUE_MAX);
    return NULL;
}

static bool bool_of(struct reading *r, const struct yaml_node *n)
{
    bool yes = n->type == YAML_SCALAR && bytes_equal_str(n->text, "true");
    if (!yes && (n->type != YAML_SCALAR || !bytes_equal_str(n->text, "false")))
        mistake(r, n->line, (const char *)n->key.data, "must be true or false");
    return yes;
}

/* "100 USD", "2000000 tokens", "5000 calls" */
static void read_amount(struct reading *r, const struct yaml_node *n, struct budget *b)
{
    static const char *const units[] = {" USD", " tokens", " calls"};
    struct bytes t = n->type == YAML_SCALAR ? n->text : BYTES_NONE;
    for (unsigned u = 0; u < ARRAY_LEN(units); u++) {
        double v;
        if (!bytes_has_suffix(t, bytes_str(units[u])))
            continue;
        struct bytes number = bytes_trim(bytes_slice(t, 0, t.size - strlen(units[u])));
        if (!bytes_to_f64(number, &v) || !(v > 0) || v > (u ? 9e18 : 9e9))
            break;
        b->unit = (enum detectors_budget_unit)u;
        b->limit = u ? (int64_t)v : llround(v * 1e9);
        if (b->limit > 0)
            return;
    }
    mistake(r, n->line, "amount",
            "must be such as \"100 USD\", \"2000000 tokens\" or \"5000 calls\"");
}

static uint32_t bucket_of(int64_t window_ms)
{
    static const uint32_t minutes[] = {15, 30, 60, 120, 180, 240, 360, 720, 1440};
    for (size_t i = 0; i < ARRAY_LEN(minutes); i++)
        if (window_ms / (minutes[i] * INT64_C(60000)) <= BUDGET_BUCKETS_MAX / 2)
            return minutes[i];
    return 1440;
}

static void read_window(struct reading *r, const struct yaml_node *n, struct budget *b)
{
    static const char *const names[] = {"", "day", "week", "month"};
    b->window = text_of(r, n);
    if (!b->window)
        return;
    for (unsigned i = 1; i < ARRAY_LEN(names); i++)
        if (strcmp(b->window, names[i]) == 0) {
            b->calendar = (enum budget_calendar)i;
            return;
        }
    if (!clock_parse_duration_ms(b->window, &b->window_ms) || b->window_ms < HOUR_MS ||
        b->window_ms > 90 * DAY_MS || b->window_ms % (15 * 60000)) {
        mistake(r, n->line, "window",
                "must be day, week, month, or 1h to 90d in quarters of an hour");
        return;
    }
    b->bucket_minutes = bucket_of(b->window_ms);
}

static void read_thresholds(struct reading *r, const struct yaml_node *n, struct budget *b)
{
    b->threshold_count = 0;
    if (n->type != YAML_LIST) {
        mistake(r, n->line, "thresholds", "must be a list of percents, and \"forecast\"");
        return;
    }
    for (const struct yaml_node *c = n->child; c; c = c->next) {
        int64_t v = 0;
        bool is_forecast = c->type == YAML_SCALAR && bytes_equal_str(c->text, "forecast");
        if (!is_forecast &&
            (c->type != YAML_SCALAR || !bytes_to_i64(c->text, &v) || v < 1 || v > 200))
            mistake(r, c->line, "thresholds", "must be percents from 1 to 200, or \"forecast\"");
        else if (b->threshold_count == DETECTORS_BUDGETS_THRESHOLDS_MAX)
            mistake(r, c->line, "thresholds", "at most %u", DETECTORS_BUDGETS_THRESHOLDS_MAX);
        else
            b->thresholds[b->threshold_count++] =
                is_forecast ? DETECTORS_BUDGETS_FORECAST : (uint8_t)v;
    }
}

static void read_value(struct reading *r, const struct yaml_node *n, struct budget *b)
{
    if (!text_of(r, n))
        return;
    b->value = n->text;
    b->any_before = b->value.data[0] == '*';
    if (b->any_before)
        b->value = bytes_slice(b->value, 1, b->value.size);
    b->any_after = (b->any_before && !b->value.size) ||
                   (b->value.size && b->value.data[b->value.size - 1] == '*');
    if (b->any_after && b->value.size)
        b->value.size--;
    b->is_pattern = b->any_before || b->any_after;
    if (b->value.size && memchr(b->value.data, '*', b->value.size))
        mistake(r, n->line, "value", "may have a '*' at its front and at its end only");
}

static void read_key(struct reading *r, const struct yaml_node *n, struct budget *b)
{
    const char *key = (const char *)n->key.data;
    struct err_msg msg;
    const char *text;
    if (strcmp(key, "name") == 0) {
        b->name = text_of(r, n);
        if (b->name && strlen(b->name) > 64)
            mistake(r, n->line, key, "at most 64 bytes");
    } else if (strcmp(key, "by") == 0) {
        if (n->type != YAML_SCALAR || !tsdb_ledger_dim_of(n->text, &b->by))
            mistake(r, n->line, key,
                    "must be tenant, team, service, api_key, user, model, prompt or endpoint");
    } else if (strcmp(key, "value") == 0) {
        read_value(r, n, b);
    } else if (strcmp(key, "together") == 0) {
        b->is_together = bool_of(r, n);
    } else if (strcmp(key, "amount") == 0) {
        read_amount(r, n, b);
    } else if (strcmp(key, "window") == 0) {
        read_window(r, n, b);
    } else if (strcmp(key, "time_zone") == 0) {
        text = text_of(r, n);
        if (text && budget_zone_load(text, r->arena, &b->zone, &msg) != ERR_OK)
            mistake(r, n->line, key, "%s", msg.text);
    } else if (strcmp(key, "thresholds") == 0) {
        read_thresholds(r, n, b);
    } else if (strcmp(key, "hard") == 0) {
        b->is_hard = bool_of(r, n);
    } else if (strcmp(key, "fail_open") == 0) {
        b->fail_open = bool_of(r, n);
    } else {
        mistake(r, n->key_line, key,
                "unknown; known are name, by, value, together, amount, window, time_zone, "
                "thresholds, hard and fail_open");
    }
}

static void read_one(struct reading *r, const struct yaml_node *n, struct budget *b)
{
    static const char *const needed[] = {"name", "by", "amount", "window"};
    *b = (struct budget){.fail_open = true,
                         .any_before = true,
                         .any_after = true,
                         .is_pattern = true,
                         .thresholds = {50, 80, 100},
                         .threshold_count = 3,
                         .zone = {.name = "UTC"}};
    if (n->type != YAML_MAP) {
        mistake(r, n->line, "budgets", "must be a list of maps");
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(needed); i++)
        if (!yaml_get(n, needed[i]))
            mistake(r, n->line, needed[i], "is missing");
    for (const struct yaml_node *c = n->child; c; c = c->next)
        read_key(r, c, b);
    if (!b->is_pattern)
        b->is_together = false; /* one value is one key */
}

static void check_names(struct reading *r, const struct yaml_node *list, const struct budget *all,
                        size_t n)
{
    const struct yaml_node *at = list->child;
    uint32_t patterns = 0;
    for (size_t i = 0; i < n; i++, at = at->next) {
        for (size_t k = 0; k < i; k++)
            if (all[i].name && all[k].name && strcmp(all[i].name, all[k].name) == 0) {
                mistake(r, at->line, "name", "\"%s\" is given twice", all[i].name);
                break;
            }
        patterns += all[i].is_pattern;
        if (patterns == DETECTORS_BUDGETS_PATTERNS_MAX + 1 && all[i].is_pattern)
            mistake(r, at->line, "value", "at most %u budgets may have patterns",
                    DETECTORS_BUDGETS_PATTERNS_MAX);
    }
}

enum err budget_file_read(struct bytes text, const char *path, struct arena *a, struct budget **out,
                          size_t *out_count, struct buf *errors)
{
    struct reading r = {.path = path, .errors = errors, .arena = a};
    struct yaml_node *doc = NULL;
    struct err_msg msg = {""};
    size_t n = 0;
    if (yaml_in_parse(text, a, &doc, &msg) != ERR_OK) {
        buf_printf(errors, "%s: %s\n", path, msg.text);
        return ERR_INVALID;
    }
    const struct yaml_node *list = doc ? yaml_get(doc, "budgets") : NULL;
    if (!list || list->type != YAML_LIST) {
        buf_printf(errors, "%s:1: budgets: must be there, a list\n", path);
        return ERR_INVALID;
    }
    for (const struct yaml_node *c = list->child; c; c = c->next)
        n++;
    struct budget *all = n <= DETECTORS_BUDGETS_MAX ? ARENA_ARRAY(a, struct budget, n + 1) : NULL;
    if (!all) {
        buf_printf(errors, "%s:%u: budgets: at most %u\n", path, list->line, DETECTORS_BUDGETS_MAX);
        return ERR_INVALID;
    }
    size_t i = 0;
    for (const struct yaml_node *c = list->child; c; c = c->next)
        read_one(&r, c, &all[i++]);
    if (!r.failed)
        check_names(&r, list, all, n);
    *out = all;
    *out_count = n;
    return r.failed ? ERR_INVALID : ERR_OK;
}
