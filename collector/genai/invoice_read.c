#include "collector/genai/invoice_read.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/json_in.h"
#include "collector/genai/model_family.h"
#include "collector/genai/price_table.h"

#include <stdio.h>
#include <stdlib.h>

#define LINE_SLOTS 65536u
#define KEY_SLOTS 131072u
#define DEPTH_MAX 16u
#define TOKENS_MAX INT64_C(1000000000000000)

static const char *const field_keys[INVOICE_FIELD_COUNT] = {
#define X(name, text) text,
    INVOICE_FIELDS(X)
#undef X
};

/* The names under which the exports say it; paths of nested JSON joined by dots. */
static const struct {
    const char *name;
    uint8_t field;
} usual_names[] = {
    {"day", INVOICE_DAY},
    {"date", INVOICE_DAY},
    {"start_time_iso", INVOICE_DAY},
    {"start_time", INVOICE_DAY},
    {"starting_at", INVOICE_DAY},
    {"usage_date_utc", INVOICE_DAY},
    {"usage_date", INVOICE_DAY},
    {"model", INVOICE_MODEL},
    {"model_version", INVOICE_MODEL},
    {"input_tokens", INVOICE_INPUT},
    {"input", INVOICE_INPUT},
    {"uncached_input_tokens", INVOICE_INPUT_UNCACHED},
    {"usage_input_tokens_no_cache", INVOICE_INPUT_UNCACHED},
    {"input_cached_tokens", INVOICE_CACHE_READ},
    {"cache_read_input_tokens", INVOICE_CACHE_READ},
    {"usage_input_tokens_cache_read", INVOICE_CACHE_READ},
    {"cache_read", INVOICE_CACHE_READ},
    {"cache_creation.ephemeral_5m_input_tokens", INVOICE_CACHE_WRITE},
    {"cache_creation.ephemeral_1h_input_tokens", INVOICE_CACHE_WRITE},
    {"usage_input_tokens_cache_write_5m", INVOICE_CACHE_WRITE},
    {"usage_input_tokens_cache_write_1h", INVOICE_CACHE_WRITE},
    {"cache_write", INVOICE_CACHE_WRITE},
    {"output_tokens", INVOICE_OUTPUT},
    {"usage_output_tokens", INVOICE_OUTPUT},
    {"output", INVOICE_OUTPUT},
    {"num_model_requests", INVOICE_REQUESTS},
    {"requests", INVOICE_REQUESTS},
    {"amount.value", INVOICE_COST_USD},
    {"amount_value", INVOICE_COST_USD},
    {"cost_usd", INVOICE_COST_USD},
    {"cost", INVOICE_COST_USD},
    {"amount.currency", INVOICE_CURRENCY},
    {"amount_currency", INVOICE_CURRENCY},
    {"currency", INVOICE_CURRENCY},
    {"api_key_id", INVOICE_API_KEY},
    {"api_key", INVOICE_API_KEY},
    {"user_id", INVOICE_USER},
    {"user", INVOICE_USER},
    {"project_id", INVOICE_PROJECT},
    {"workspace_id", INVOICE_PROJECT},
    {"workspace", INVOICE_PROJECT},
    {"project", INVOICE_PROJECT},
    {"line_item", INVOICE_LINE_ITEM},
};

bool invoice_provider_parse(struct bytes text, enum invoice_provider *out)
{
    static const char *const names[] = {"generic", "openai", "anthropic"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (bytes_equal_nocase(text, bytes_str(names[i]))) {
            *out = (enum invoice_provider)i;
            return true;
        }
    return false;
}

struct invoice *invoice_new(void)
{
    struct invoice *v = calloc(1, sizeof *v);
    if (!v)
        return NULL;
    v->arena = arena_new(64u << 20);
    v->lines = calloc(INVOICE_LINES_MAX, sizeof *v->lines);
    v->keys = calloc(INVOICE_KEYS_MAX, sizeof *v->keys);
    v->line_slots = calloc(LINE_SLOTS, sizeof *v->line_slots);
    v->key_slots = calloc(KEY_SLOTS, sizeof *v->key_slots);
    if (v->arena && v->lines && v->keys && v->line_slots && v->key_slots)
        return v;
    invoice_free(v);
    return NULL;
}

void invoice_free(struct invoice *v)
{
    if (!v)
        return;
    arena_free(v->arena);
    free(v->lines);
    free(v->keys);
    free(v->line_slots);
    free(v->key_slots);
    free(v);
}

void invoice_clear(struct invoice *v)
{
    memset(v->lines, 0, v->line_count * sizeof *v->lines);
    memset(v->keys, 0, v->key_count * sizeof *v->keys);
    memset(v->line_slots, 0, LINE_SLOTS * sizeof *v->line_slots);
    memset(v->key_slots, 0, KEY_SLOTS * sizeof *v->key_slots);
    arena_reset(v->arena);
    v->line_count = v->key_count = 0;
    v->rows = v->rows_without_day = v->rows_other_currency = v->rows_bad_number = 0;
}

enum err invoice_columns_parse(struct bytes text, struct invoice_columns *out, struct err_msg *msg)
{
    memset(out, 0, sizeof *out);
    while (text.size) {
        size_t comma = bytes_find(text, BYTES_LIT(","));
        struct bytes part = bytes_slice(text, 0, comma);
        size_t equal = bytes_find(part, BYTES_LIT("="));
        int field = -1;
        for (int i = 0; i < INVOICE_FIELD_COUNT; i++)
            if (bytes_equal_str(bytes_trim(bytes_slice(part, 0, equal)), field_keys[i]))
                field = i;
        if (field < 0 || equal == part.size)
            return err_set(
                msg, ERR_INVALID,
                "columns: `" BYTES_FMT "` is not FIELD=COLUMN with FIELD day, model, input, "
                "input_uncached, cache_read, cache_write, output, requests, cost, cost_cents, "
                "currency, api_key, user, project or line_item",
                BYTES_ARG(part));
        out->names[field] = bytes_trim(bytes_slice(part, equal + 1, part.size));
        text = comma < text.size ? bytes_slice(text, comma + 1, text.size) : BYTES_NONE;
    }
    return ERR_OK;
}

/* --- one row ---------------------------------------------------------------------------------------- */

bool invoice_day(struct bytes text, uint32_t *out)
{
    char copy[40];
    int64_t ns, seconds;
    text = bytes_trim(text);
    if (bytes_to_i64(text, &seconds)) {
        if (seconds < 86400 || seconds > INT64_C(100000000000))
            return false;
        *out = (uint32_t)(seconds / 86400);
        return true;
    }
    if (text.size < 10 || text.size > 32)
        return false;
    snprintf(copy, sizeof copy, BYTES_FMT "T00:00:00Z", BYTES_ARG(bytes_slice(text, 0, 10)));
    if (!clock_parse_rfc3339(copy, &ns) || ns < INT64_C(86400000000000))
        return false;
    *out = (uint32_t)(ns / INT64_C(86400000000000));
    return true;
}

struct record {
    struct bytes text[INVOICE_FIELD_COUNT]; /* cells as they are; of several the last */
    int64_t cache_write;
    bool has[INVOICE_FIELD_COUNT], is_cents, bad;
};

static int64_t tokens_of(struct record *r, struct bytes text)
{
    char digits[24];
    size_t n = 0;
    int64_t v;
    text = bytes_trim(text);
    for (size_t i = 0; i < text.size && n < sizeof digits; i++)
        if (text.data[i] != ',') /* 1,234 */
            digits[n++] = (char)text.data[i];
    struct bytes clean = bytes_of(digits, n);
    if (bytes_has_suffix(clean, BYTES_LIT(".0")))
        clean.size -= 2;
    if (!clean.size)
        return 0;
    if (!bytes_to_i64(clean, &v) || v < 0 || v > TOKENS_MAX) {
        r->bad = true;
        return 0;
    }
    return v;
}

/* "$1,234.5", "-0.02", "1.5e-05" -> nano-USD; cents are a hundredth. */
static int64_t money_of(struct record *r, struct bytes text, int digits)
{
    char clean[40];
    size_t n = 0;
    bool minus = false, rounded;
    int64_t v = 0;
    text = bytes_trim(text);
    for (size_t i = 0; i < text.size && n < sizeof clean; i++) {
        if (text.data[i] == '-' && n == 0)
            minus = true;
        else if (text.data[i] != ',' && text.data[i] != '$')
            clean[n++] = (char)text.data[i];
    }
    if (n && !price_scaled(bytes_of(clean, n), digits, &v, &rounded)) {
        r->bad = true;
        return 0;
    }
    return minus ? -v : v;
}

static void record_put(struct record *r, uint8_t field, struct bytes value)
{
    value = bytes_trim(value);
    if (!value.size || bytes_equal_str(value, "null"))
        return;
    if (field == INVOICE_CACHE_WRITE)
        r->cache_write = invoice_add(r->cache_write, tokens_of(r, value));
    /* of a bucket's time and a row's the first is taken: buckets say theirs before their rows */
    r->text[field] = value;
    r->has[field] = true;
}

/* Sums stay where sums of them cannot overflow, whatever a file says. */
int64_t invoice_add(int64_t a, int64_t b)
{
    const int64_t most = INVOICE_SUM_MAX;
    int64_t v = a + (b > most ? most : b < -most ? -most : b);
    return v > most ? most : v < -most ? -most : v;
}

static void sums_add(struct invoice_sums *s, const struct invoice_sums *more)
{
    s->input = invoice_add(s->input, more->input);
    s->cache_read = invoice_add(s->cache_read, more->cache_read);
    s->cache_write = invoice_add(s->cache_write, more->cache_write);
    s->output = invoice_add(s->output, more->output);
    s->requests = invoice_add(s->requests, more->requests);
    s->cost_nanousd = invoice_add(s->cost_nanousd, more->cost_nanousd);
    s->has_tokens = s->has_tokens || more->has_tokens;
    s->has_cost = s->has_cost || more->has_cost;
}

static struct invoice_line *line_of(struct invoice *v, uint32_t day, struct bytes model)
{
    uint32_t at = (uint32_t)hash64(model, day) % LINE_SLOTS;
    while (v->line_slots[at]) {
        struct invoice_line *l = &v->lines[v->line_slots[at] - 1];
        if (l->day == day && bytes_equal(l->model, model))
            return l;
        at = (at + 1) % LINE_SLOTS;
    }
    if (v->line_count == INVOICE_LINES_MAX)
        return NULL;
    struct invoice_line *l = &v->lines[v->line_count++];
    l->day = day;
    l->model = arena_copy(v->arena, model);
    v->line_slots[at] = (uint32_t)v->line_count;
    return l;
}

static struct invoice_key *key_of(struct invoice *v, uint32_t day, struct bytes key,
                                  struct bytes user, struct bytes project)
{
    uint32_t at = (uint32_t)hash64(key, hash64(user, hash64(project, day))) % KEY_SLOTS;
    while (v->key_slots[at]) {
        struct invoice_key *k = &v->keys[v->key_slots[at] - 1];
        if (k->day == day && bytes_equal(k->api_key, key) && bytes_equal(k->user, user) &&
            bytes_equal(k->project, project))
            return k;
        at = (at + 1) % KEY_SLOTS;
    }
    if (v->key_count == INVOICE_KEYS_MAX)
        return NULL;
    struct invoice_key *k = &v->keys[v->key_count++];
    *k = (struct invoice_key){.day = day,
                              .api_key = arena_copy(v->arena, key),
                              .user = arena_copy(v->arena, user),
                              .project = arena_copy(v->arena, project)};
    v->key_slots[at] = (uint32_t)v->key_count;
    return k;
}

static struct bytes short_name(struct bytes s)
{
    return bytes_slice(s, 0, s.size < INVOICE_NAME_MAX ? s.size : INVOICE_NAME_MAX);
}

static enum err record_add(struct invoice *v, struct record *r, struct err_msg *msg)
{
    char scratch[GENAI_MODEL_MAX];
    struct invoice_sums s = {0};
    uint32_t day;
    v->rows++;
    if (!invoice_day(r->text[INVOICE_DAY], &day)) {
        v->rows_without_day++;
        return ERR_OK;
    }
    if (r->has[INVOICE_CURRENCY] &&
        !bytes_equal_nocase(r->text[INVOICE_CURRENCY], BYTES_LIT("usd"))) {
        v->rows_other_currency++;
        return ERR_OK;
    }
    s.cache_read = tokens_of(r, r->text[INVOICE_CACHE_READ]);
    s.cache_write = r->cache_write;
    s.input = r->has[INVOICE_INPUT_UNCACHED]
                  ? tokens_of(r, r->text[INVOICE_INPUT_UNCACHED]) + s.cache_read + s.cache_write
                  : tokens_of(r, r->text[INVOICE_INPUT]);
    s.output = tokens_of(r, r->text[INVOICE_OUTPUT]);
    s.requests = tokens_of(r, r->text[INVOICE_REQUESTS]);
    s.cost_nanousd = r->has[INVOICE_COST_CENTS] ? money_of(r, r->text[INVOICE_COST_CENTS], 7)
                                                : money_of(r, r->text[INVOICE_COST_USD], 9);
    s.has_cost = r->has[INVOICE_COST_CENTS] || r->has[INVOICE_COST_USD];
    s.has_tokens =
        r->has[INVOICE_INPUT] || r->has[INVOICE_INPUT_UNCACHED] || r->has[INVOICE_OUTPUT];
    if (r->bad) {
        v->rows_bad_number++;
        return ERR_OK;
    }
    struct bytes name = r->text[INVOICE_MODEL], item = r->text[INVOICE_LINE_ITEM];
    if (!name.size && item.size)
        name = bytes_slice(item, 0, bytes_find(item, BYTES_LIT(",")));
    struct invoice_line *l = line_of(v, day, genai_model_family(short_name(name), scratch));
    struct invoice_key *k =
        key_of(v, day, short_name(r->text[INVOICE_API_KEY]), short_name(r->text[INVOICE_USER]),
               short_name(r->text[INVOICE_PROJECT]));
    if (!l || !k)
        return err_set(msg, ERR_LIMIT, "more than %u days and models, or %u days and keys",
                       INVOICE_LINES_MAX, INVOICE_KEYS_MAX);
    sums_add(&l->sums, &s);
    k->cost_nanousd = invoice_add(k->cost_nanousd, s.cost_nanousd);
    k->tokens = invoice_add(k->tokens, invoice_add(s.input, s.output));
    return ERR_OK;
}

/* The field of a column; INVOICE_FIELD_COUNT: none. */
static uint8_t field_of(enum invoice_provider p, const struct invoice_columns *c, struct bytes name)
{
    name = bytes_trim(name);
    for (uint8_t i = 0; c && i < INVOICE_FIELD_COUNT; i++)
        if (c->names[i].size && bytes_equal(c->names[i], name))
            return i;
    if (c)
        return INVOICE_FIELD_COUNT;
    if (bytes_equal_nocase(name, BYTES_LIT("amount")) && p != INVOICE_OPENAI)
        return p == INVOICE_ANTHROPIC ? INVOICE_COST_CENTS : INVOICE_COST_USD;
    for (size_t i = 0; i < ARRAY_LEN(usual_names); i++)
        if (bytes_equal_nocase(name, bytes_str(usual_names[i].name)))
            return usual_names[i].field;
    return INVOICE_FIELD_COUNT;
}

/* --- CSV --------------------------------------------------------------------------------------------- */

struct csv {
    struct bytes left;
    unsigned line;
    struct arena *a; /* of one row: cells with doubled quotes */
    struct bytes cells[INVOICE_COLUMNS_MAX];
    size_t count;
};

/* A cell up to the comma or the end of the line; false: an open quote or too long. */
static bool csv_cell(struct csv *c, struct bytes *out)
{
    const uint8_t *d = c->left.data;
    size_t n = c->left.size, i = 0;
    if (n && d[0] == '"') {
        uint8_t *copy = arena_alloc_raw(c->a, MIN(n, INVOICE_CELL_MAX) + 1, 1);
        size_t size = 0;
        for (i = 1; copy && i < n && size < INVOICE_CELL_MAX; i++) {
            if (d[i] == '"' && (i + 1 >= n || d[i + 1] != '"'))
                break;
            i += d[i] == '"';
            c->line += d[i] == '\n';
            copy[size++] = d[i];
        }
        if (!copy || i >= n || d[i] != '"')
            return false;
        *out = bytes_of(copy, size);
        i++;
    } else {
        while (i < n && d[i] != ',' && d[i] != '\n' && d[i] != '\r' && i < INVOICE_CELL_MAX)
            i++;
        *out = bytes_slice(c->left, 0, i);
    }
    c->left = bytes_slice(c->left, i, n);
    return !c->left.size || c->left.data[0] == ',' || c->left.data[0] == '\n' ||
           c->left.data[0] == '\r';
}

/* true: a row is in cells; false: the end, or *e. */
static bool csv_row(struct csv *c, enum err *e, struct err_msg *msg)
{
    c->count = 0;
    unsigned first = ++c->line;
    arena_reset(c->a);
    if (!c->left.size)
        return false;
    for (;;) {
        struct bytes cell;
        if (c->count == INVOICE_COLUMNS_MAX || !csv_cell(c, &cell)) {
            *e = err_set(msg, ERR_INVALID, "line %u: %s", first,
                         c->count == INVOICE_COLUMNS_MAX
                             ? "more than 64 columns"
                             : "a cell without its end, or longer than 4096 bytes");
            return false;
        }
        c->cells[c->count++] = cell;
        if (!c->left.size || c->left.data[0] != ',')
            break;
        c->left = bytes_slice(c->left, 1, c->left.size);
    }
    if (c->left.size && c->left.data[0] == '\r')
        c->left = bytes_slice(c->left, 1, c->left.size);
    if (c->left.size && c->left.data[0] == '\n')
        c->left = bytes_slice(c->left, 1, c->left.size);
    return true;
}

static enum err read_csv(struct invoice *v, enum invoice_provider p,
                         const struct invoice_columns *columns, struct bytes text,
                         struct err_msg *msg)
{
    uint8_t fields[INVOICE_COLUMNS_MAX];
    bool has_day = false;
    enum err e = ERR_OK;
    struct csv c = {.left = text, .a = arena_new(1u << 20)};
    if (!c.a)
        return err_set(msg, ERR_NOMEM, "no memory for the invoice");
    if (bytes_has_prefix(c.left, BYTES_LIT("\xef\xbb\xbf"))) /* a mark of spreadsheets */
        c.left = bytes_slice(c.left, 3, c.left.size);
    size_t width = csv_row(&c, &e, msg) ? c.count : 0;
    for (size_t i = 0; i < width; i++) {
        fields[i] = field_of(p, columns, c.cells[i]);
        has_day = has_day || fields[i] == INVOICE_DAY;
    }
    if (e == ERR_OK && !has_day)
        e = err_set(
            msg, ERR_INVALID,
            "line 1: no column with the day (start_time_iso, usage_date_utc, date, day); name it "
            "with columns: day=COLUMN,...");
    while (e == ERR_OK && csv_row(&c, &e, msg)) {
        struct record r = {0};
        if (c.count == 1 && !bytes_trim(c.cells[0]).size)
            continue;
        for (size_t i = 0; i < MIN(c.count, width); i++)
            if (fields[i] < INVOICE_FIELD_COUNT &&
                !(fields[i] == INVOICE_DAY && r.has[INVOICE_DAY]))
                record_put(&r, fields[i], c.cells[i]);
        e = record_add(v, &r, msg);
    }
    arena_free(c.a);
    return e;
}

/* --- JSON -------------------------------------------------------------------------------------------- */

/* A row is an object in the array `results`, or (other files) any object of an array that holds no object array itself: the innermost. What
 * stands in the objects around it (a bucket's time) holds for it too. */
struct json {
    struct invoice *v;
    enum invoice_provider p;
    const struct invoice_columns *columns;
    struct arena *a;
    struct err_msg *msg;
    unsigned depth;
    struct {
        bool is_array, had_rows;
        struct bytes key; /* of the member that is being read */
        struct record r; /* of an object: its fields and those around it */
    } at[DEPTH_MAX + 1];
};

static enum err json_value(struct json *s, struct bytes text)
{
    struct bytes name;
    unsigned d = s->depth;
    if (!d || s->at[d].is_array)
        return ERR_OK;
    /* a member of a plain object inside a row: amount.value */
    bool nested = d > 1 && !s->at[d - 1].is_array && s->at[d - 1].key.size;
    name = nested ? arena_printf(s->a, BYTES_FMT "." BYTES_FMT, BYTES_ARG(s->at[d - 1].key),
                                 BYTES_ARG(s->at[d].key))
                  : s->at[d].key;
    uint8_t field = field_of(s->p, s->columns, name);
    if (field == INVOICE_FIELD_COUNT || text.size > INVOICE_CELL_MAX)
        return ERR_OK;
    struct bytes copy = arena_copy(s->a, text);
    if (!copy.data && text.size)
        return ERR_LIMIT;
    record_put(&s->at[nested ? d - 1 : d].r, field, copy);
    return ERR_OK;
}

static enum err json_null(void *ctx)
{
    (void)ctx;
    return ERR_OK;
}
static enum err json_boolean(void *ctx, bool v)
{
    (void)ctx;
    (void)v;
    return ERR_OK;
}
static enum err json_number(void *ctx, struct bytes text)
{
    return json_value(ctx, text);
}
static enum err json_string(void *ctx, struct bytes text)
{
    return json_value(ctx, text);
}
static enum err json_key(void *ctx, struct bytes key)
{
    struct json *s = ctx;
    s->at[s->depth].key = key.size <= INVOICE_NAME_MAX ? arena_copy(s->a, key) : BYTES_NONE;
    return ERR_OK;
}

static enum err json_open(struct json *s, bool is_array)
{
    unsigned d = ++s->depth;
    CHECK(d <= DEPTH_MAX);
    memset(&s->at[d], 0, sizeof s->at[d]);
    s->at[d].is_array = is_array;
    s->at[d].r = s->at[d - 1].r;
    return ERR_OK;
}
static enum err json_object(void *ctx)
{
    return json_open(ctx, false);
}
static enum err json_array(void *ctx)
{
    return json_open(ctx, true);
}

static bool record_says_something(const struct record *r)
{
    return r->has[INVOICE_INPUT] || r->has[INVOICE_INPUT_UNCACHED] || r->has[INVOICE_OUTPUT] ||
           r->has[INVOICE_COST_USD] || r->has[INVOICE_COST_CENTS] || r->has[INVOICE_CACHE_READ];
}

static enum err json_close(struct json *s)
{
    unsigned d = s->depth--;
    enum err e = ERR_OK;
    bool is_row = !s->at[d].is_array && d > 1 && s->at[d - 1].is_array && !s->at[d].had_rows;
    if (is_row && record_says_something(&s->at[d].r))
        e = record_add(s->v, &s->at[d].r, s->msg);
    if (is_row || s->at[d].had_rows)
        s->at[d - 1].had_rows = true;
    return e;
}
static enum err json_close_any(void *ctx)
{
    return json_close(ctx);
}

static enum err read_json(struct invoice *v, enum invoice_provider p,
                          const struct invoice_columns *columns, struct bytes text,
                          struct err_msg *msg)
{
    static const struct json_in_events events = {json_null,      json_boolean, json_number,
                                                 json_string,    json_object,  json_key,
                                                 json_close_any, json_array,   json_close_any};
    struct json *s = calloc(1, sizeof *s);
    enum err e = ERR_OK;
    if (s)
        s->a = arena_new(256u << 20); /* what is copied is shorter than the document */
    if (!s || !s->a) {
        free(s);
        return err_set(msg, ERR_NOMEM, "no memory for the invoice");
    }
    s->v = v;
    s->p = p;
    s->columns = columns;
    s->msg = msg;
    e = json_in_parse(text, DEPTH_MAX, &events, s, msg);
    arena_free(s->a);
    free(s);
    return e;
}

enum err invoice_read(struct invoice *v, enum invoice_provider p,
                      const struct invoice_columns *columns, struct bytes text, struct err_msg *msg)
{
    struct bytes t = bytes_trim(text);
    if (!t.size)
        return err_set(msg, ERR_INVALID, "the document is empty");
    return t.data[0] == '{' || t.data[0] == '[' ? read_json(v, p, columns, t, msg)
                                                : read_csv(v, p, columns, text, msg);
}
