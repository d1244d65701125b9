#include "collector/genai/genai_invoice.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/json_in.h"
#include "base/json_out.h"
#include "collector/genai/genai.h"
#include "collector/genai/invoice_centres.h"
#include "collector/genai/invoice_read.h"
#include "collector/genai/model_family.h"
#include "tsdb/tsdb_state.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CENT_NANOUSD INT64_C(10000000)
#define PAIR_SLOTS 65536u
#define CENTRES_SHOWN 1000u
#define MATCHERS_MAX 4u

/* X(NAME, "text") */
#define ITEMS(X)                  \
    X(ONLY_THEIRS, "only_theirs") \
    X(ONLY_OURS, "only_ours")     \
    X(TOKENS, "tokens")           \
    X(UNPRICED, "unpriced")       \
    X(ESTIMATED, "estimated")     \
    X(PRICE, "price")             \
    X(ROUNDING, "rounding")
enum item {
#define X(name, text) ITEM_##name,
    ITEMS(X)
#undef X
        ITEM_COUNT
};
static const char *const item_texts[ITEM_COUNT] = {
#define X(name, text) text,
    ITEMS(X)
#undef X
};

struct pair {
    uint32_t day;
    struct bytes model;
    struct invoice_sums theirs;
    struct invoice_sums ours;
    int64_t estimated, batch, unpriced; /* of ours: cost, cost, requests */
    int64_t items[ITEM_COUNT];
    bool has_theirs;
};

struct centre_line {
    struct bytes name; /* empty: unattributed */
    int64_t theirs, ours;
};

struct work {
    struct arena *a;
    struct tsdb_view *view;
    struct invoice *invoice;
    struct invoice_centres centres;
    struct bytes provider; /* our label; empty = every provider */
    uint32_t from, to; /* days, to exclusive */
    struct pair *pairs;
    size_t pair_count;
    uint32_t *slots;
    struct centre_line *lines;
    size_t line_count;
    bool by_key; /* the invoice tells keys, users or projects apart */
    int64_t theirs, ours, items[ITEM_COUNT], estimated, batch, unpriced;
    int64_t tokens_theirs, tokens_ours;
};

/* --- both sides, by day and model ------------------------------------------------------------------ */

static struct pair *pair_of(struct work *w, uint32_t day, struct bytes model)
{
    uint32_t at = (uint32_t)hash64(model, day) % PAIR_SLOTS;
    while (w->slots[at]) {
        struct pair *p = &w->pairs[w->slots[at] - 1];
        if (p->day == day && bytes_equal(p->model, model))
            return p;
        at = (at + 1) % PAIR_SLOTS;
    }
    if (w->pair_count == INVOICE_LINES_MAX)
        return NULL;
    struct pair *p = &w->pairs[w->pair_count++];
    p->day = day;
    p->model = arena_copy(w->a, model);
    w->slots[at] = (uint32_t)w->pair_count;
    return p;
}

static enum err theirs_add(struct work *w)
{
    for (size_t i = 0; i < w->invoice->line_count; i++) {
        const struct invoice_line *l = &w->invoice->lines[i];
        if (l->day < w->from || l->day >= w->to)
            continue;
        struct pair *p = pair_of(w, l->day, l->model);
        if (!p)
            return ERR_LIMIT;
        p->theirs = l->sums;
        p->has_theirs = true;
    }
    return ERR_OK;
}

static struct tsdb_matcher equal(const char *name, const char *value)
{
    return (struct tsdb_matcher){
        .op = TSDB_MATCH_EQ, .name = bytes_str(name), .value = bytes_str(value)};
}

/* Where a sum of ours goes: the family, one label, and the place in a pair. */
struct ours_source {
    const char *family, *label, *value;
    size_t offset;
};

static enum err ours_add_day(struct work *w, uint32_t day)
{
#define PLACE(member) offsetof(struct pair, member)
    static const struct ours_source sources[] = {
        {"llm_cost_nanousd_total", NULL, NULL, PLACE(ours.cost_nanousd)},
        {"llm_cost_nanousd_total", "type", "estimated", PLACE(estimated)},
        {"llm_cost_nanousd_total", "plane", "batch", PLACE(batch)},
        {"llm_tokens_total", "type", "input", PLACE(ours.input)},
        {"llm_tokens_total", "type", "output", PLACE(ours.output)},
        {"llm_tokens_total", "type", "cache_read", PLACE(ours.cache_read)},
        {"llm_tokens_total", "type", "cache_write", PLACE(ours.cache_write)},
        {"llm_requests_total", NULL, NULL, PLACE(ours.requests)},
        {"llm_unpriced_requests_total", NULL, NULL, PLACE(unpriced)},
    };
    enum err e = ERR_OK;
    for (size_t i = 0; e == ERR_OK && i < ARRAY_LEN(sources); i++) {
        struct tsdb_matcher m[MATCHERS_MAX] = {equal("__name__", sources[i].family)};
        size_t n = 1, groups;
        struct tsdb_cells_group *by;
        if (sources[i].label)
            m[n++] = equal(sources[i].label, sources[i].value);
        if (w->provider.size)
            m[n++] = (struct tsdb_matcher){
                .op = TSDB_MATCH_EQ, .name = BYTES_LIT("provider"), .value = w->provider};
        e = tsdb_cells_by(w->view, m, n, BYTES_LIT("model"), day * 1440, (day + 1) * 1440, w->a,
                          &by, &groups);
        for (size_t k = 0; e == ERR_OK && k < groups; k++) {
            struct pair *p = by[k].sum ? pair_of(w, day, by[k].value) : NULL;
            if (by[k].sum && !p)
                return ERR_LIMIT;
            if (p)
                *(int64_t *)(void *)((char *)p + sources[i].offset) += by[k].sum;
        }
    }
#undef PLACE
    return e;
}

/* --- the difference ---------------------------------------------------------------------------------- */

static int64_t magnitude(int64_t v)
{
    return v < 0 ? -v : v;
}

static int64_t clamp(int64_t v, int64_t most)
{
    return v > most ? most : v < -most ? -most : v;
}

static void pair_itemise(struct pair *p)
{
    int64_t left = p->theirs.cost_nanousd - p->ours.cost_nanousd;
    int64_t tokens_theirs = p->theirs.input + p->theirs.output;
    int64_t tokens_ours = p->ours.input + p->ours.output;
    if (!p->ours.requests && !p->ours.cost_nanousd && !tokens_ours) {
        p->items[ITEM_ONLY_THEIRS] = left;
        return;
    }
    if (!p->has_theirs) {
        p->items[ITEM_ONLY_OURS] = left;
        return;
    }
    if (magnitude(left) < CENT_NANOUSD) {
        p->items[ITEM_ROUNDING] = left;
        return;
    }
    if (p->theirs.has_tokens && tokens_theirs > 0) {
        __int128 share128 =
            (__int128)p->theirs.cost_nanousd * (tokens_theirs - tokens_ours) / tokens_theirs;
        int64_t share = share128 > INVOICE_SUM_MAX    ? INVOICE_SUM_MAX
                        : share128 < -INVOICE_SUM_MAX ? -INVOICE_SUM_MAX
                                                      : (int64_t)share128;
        p->items[ITEM_TOKENS] = share;
        left -= share;
    }
    if (p->unpriced && left > 0) {
        p->items[ITEM_UNPRICED] = left;
        return;
    }
    p->items[ITEM_ESTIMATED] = clamp(left, p->estimated);
    left -= p->items[ITEM_ESTIMATED];
    p->items[magnitude(left) < CENT_NANOUSD ? ITEM_ROUNDING : ITEM_PRICE] = left;
}

static void compare(struct work *w)
{
    for (size_t i = 0; i < w->pair_count; i++) {
        struct pair *p = &w->pairs[i];
        pair_itemise(p);
        int64_t sum = 0;
        for (int k = 0; k < ITEM_COUNT; k++) {
            w->items[k] = invoice_add(w->items[k], p->items[k]);
            sum += p->items[k];
        }
        CHECK(sum == p->theirs.cost_nanousd - p->ours.cost_nanousd);
        w->theirs = invoice_add(w->theirs, p->theirs.cost_nanousd);
        w->ours = invoice_add(w->ours, p->ours.cost_nanousd);
        w->tokens_theirs = invoice_add(w->tokens_theirs, p->theirs.input + p->theirs.output);
        w->tokens_ours = invoice_add(w->tokens_ours, p->ours.input + p->ours.output);
        w->estimated += p->estimated;
        w->batch += p->batch;
        w->unpriced += p->unpriced;
    }
}

/* --- cost centres ------------------------------------------------------------------------------------ */

static struct centre_line *centre_of(struct work *w, struct bytes name)
{
    for (size_t i = 0; i < w->line_count; i++)
        if (bytes_equal(w->lines[i].name, name))
            return &w->lines[i];
    if (w->line_count == CENTRES_SHOWN)
        return &w->lines[0]; /* past the limit: with what is nobody's */
    w->lines[w->line_count].name = name;
    return &w->lines[w->line_count++];
}

/* Ours by API key: the breakdown has no provider, so only models of this comparison are counted. */
static enum err centres_ours(struct work *w)
{
    enum err e = ERR_OK;
    int64_t attributed = 0;
    for (size_t i = 0; e == ERR_OK && w->centres.count && i < w->pair_count; i++) {
        const struct pair *p = &w->pairs[i];
        struct tsdb_matcher m[] = {
            equal("__name__", "llm_breakdown_cost_nanousd_total"),
            equal("dim", "api_key"),
            {.op = TSDB_MATCH_EQ, .name = BYTES_LIT("model"), .value = p->model}};
        struct tsdb_cells_group *by;
        size_t n;
        if (!p->ours.cost_nanousd)
            continue;
        e = tsdb_cells_by(w->view, m, ARRAY_LEN(m), BYTES_LIT("value"), p->day * 1440,
                          (p->day + 1) * 1440, w->a, &by, &n);
        for (size_t k = 0; e == ERR_OK && k < n; k++) {
            struct bytes centre =
                invoice_centres_find(&w->centres, p->day, by[k].value, BYTES_NONE, BYTES_NONE);
            if (!centre.size)
                continue;
            centre_of(w, centre)->ours += by[k].sum;
            attributed += by[k].sum;
        }
    }
    centre_of(w, BYTES_NONE)->ours += w->ours - attributed;
    return e;
}

static enum err centres_add(struct work *w)
{
    centre_of(w, BYTES_NONE); /* unattributed comes first, also when it is 0 */
    for (size_t i = 0; i < w->invoice->key_count; i++) {
        const struct invoice_key *k = &w->invoice->keys[i];
        if (k->day < w->from || k->day >= w->to)
            continue;
        w->by_key = w->by_key || k->api_key.size || k->user.size || k->project.size;
        struct centre_line *l = centre_of(
            w, invoice_centres_find(&w->centres, k->day, k->api_key, k->user, k->project));
        l->theirs = invoice_add(l->theirs, k->cost_nanousd);
    }
    return centres_ours(w);
}

/* --- the report -------------------------------------------------------------------------------------- */

static void put_i64(struct json_out *j, const char *key, int64_t v)
{
    json_out_key(j, key);
    json_out_i64(j, v);
}

static void put_day(struct json_out *j, const char *key, uint32_t day)
{
    char text[64];
    clock_rfc3339((int64_t)day * 86400000, text);
    json_out_key(j, key);
    json_out_printf(j, "%.10s", text);
}

static void put_items(struct json_out *j, const int64_t *items)
{
    json_out_key(j, "items");
    json_out_object(j);
    for (int k = 0; k < ITEM_COUNT; k++)
        if (items[k])
            put_i64(j, item_texts[k], items[k]);
    json_out_object_end(j);
}

static void put_sums(struct json_out *j, const char *key, const struct invoice_sums *s)
{
    json_out_key(j, key);
    json_out_object(j);
    put_i64(j, "cost_nanousd", s->cost_nanousd);
    put_i64(j, "input_tokens", s->input);
    put_i64(j, "cache_read_tokens", s->cache_read);
    put_i64(j, "cache_write_tokens", s->cache_write);
    put_i64(j, "output_tokens", s->output);
    put_i64(j, "requests", s->requests);
    json_out_object_end(j);
}

static int64_t pair_weight(const struct pair *p)
{
    int64_t money = magnitude(p->theirs.cost_nanousd - p->ours.cost_nanousd);
    int64_t tokens = magnitude(p->theirs.input + p->theirs.output - p->ours.input - p->ours.output);
    return money ? money : tokens ? 1 : 0;
}

static int pair_compare(const void *a, const void *b)
{
    const struct pair *x = a, *y = b;
    int64_t wx = pair_weight(x), wy = pair_weight(y);
    if (wx != wy)
        return wx > wy ? -1 : 1;
    return x->day != y->day ? (x->day < y->day ? -1 : 1) : bytes_compare(x->model, y->model);
}

static void put_lines(struct json_out *j, struct work *w)
{
    qsort(w->pairs, w->pair_count, sizeof *w->pairs, pair_compare);
    put_i64(j, "line_count", (int64_t)w->pair_count);
    json_out_key(j, "lines");
    json_out_array(j);
    for (size_t i = 0; i < w->pair_count && i < GENAI_INVOICE_LINES_MAX; i++) {
        const struct pair *p = &w->pairs[i];
        json_out_object(j);
        put_day(j, "day", p->day);
        json_out_key(j, "model");
        json_out_bytes(j, p->model);
        put_sums(j, "theirs", &p->theirs);
        put_sums(j, "ours", &p->ours);
        put_i64(j, "difference_nanousd", p->theirs.cost_nanousd - p->ours.cost_nanousd);
        put_i64(j, "unpriced_requests", p->unpriced);
        put_i64(j, "estimated_nanousd", p->estimated);
        put_i64(j, "batch_nanousd", p->batch);
        put_items(j, p->items);
        json_out_object_end(j);
    }
    json_out_array_end(j);
}

static void put_centres(struct json_out *j, const struct work *w)
{
    json_out_key(j, "centres");
    json_out_array(j);
    for (size_t i = 0; i < w->line_count; i++) {
        json_out_object(j);
        json_out_key(j, "centre");
        json_out_bytes(j, i ? w->lines[i].name : BYTES_LIT("unattributed"));
        json_out_key(j, "theirs_nanousd");
        if (w->by_key)
            json_out_i64(j, w->lines[i].theirs);
        else
            json_out_null(j); /* the export names no key, user or project */
        put_i64(j, "ours_nanousd", w->lines[i].ours);
        json_out_object_end(j);
    }
    json_out_array_end(j);
}

static double ratio_of(const struct work *w)
{
    if (w->theirs > 0)
        return fabs((double)(w->theirs - w->ours)) / (double)w->theirs;
    if (!w->theirs && w->tokens_theirs > 0) /* a usage export without money: by tokens */
        return fabs((double)(w->tokens_theirs - w->tokens_ours)) / (double)w->tokens_theirs;
    return -1;
}

static void report(struct work *w, const char *provider, struct buf *out)
{
    struct json_out j = json_out_to(out);
    double ratio = ratio_of(w);
    const struct invoice *v = w->invoice;
    bool by_tokens = !w->theirs && w->tokens_theirs > 0;
    json_out_object(&j);
    json_out_key(&j, "provider");
    json_out_str(&j, provider);
    put_day(&j, "from", w->from);
    put_day(&j, "to", w->to - 1);
    put_i64(&j, "theirs_nanousd", w->theirs);
    put_i64(&j, "ours_nanousd", w->ours);
    put_i64(&j, "difference_nanousd", w->theirs - w->ours);
    put_i64(&j, "theirs_tokens", w->tokens_theirs);
    put_i64(&j, "ours_tokens", w->tokens_ours);
    json_out_key(&j, "residue_ratio");
    if (ratio < 0)
        json_out_null(&j);
    else
        json_out_f64(&j, ratio);
    json_out_key(&j, "residue_of");
    json_out_str(&j, by_tokens ? "tokens" : "money");
    json_out_key(&j, "alert");
    json_out_bool(&j, ratio > GENAI_INVOICE_ALERT_RATIO);
    put_items(&j, w->items);
    put_i64(&j, "unpriced_requests", w->unpriced);
    put_i64(&j, "estimated_nanousd", w->estimated);
    put_i64(&j, "batch_nanousd", w->batch);
    json_out_key(&j, "rows");
    json_out_object(&j);
    put_i64(&j, "read", (int64_t)v->rows);
    put_i64(&j, "without_day", (int64_t)v->rows_without_day);
    put_i64(&j, "other_currency", (int64_t)v->rows_other_currency);
    put_i64(&j, "bad_number", (int64_t)v->rows_bad_number);
    json_out_object_end(&j);
    put_centres(&j, w);
    put_lines(&j, w);
    json_out_object_end(&j);
}

/* --- asking ------------------------------------------------------------------------------------------ */

static enum err documents_read(struct work *w, enum invoice_provider p,
                               const struct json_node *body, struct err_msg *msg)
{
    const struct json_node *list = json_get(body, "documents");
    struct invoice_columns columns, *named = NULL;
    struct bytes text = json_get_str(body, "columns");
    enum err e = ERR_OK;
    unsigned number = 0;
    if (!list || list->type != JSON_ARRAY || !list->child)
        return err_set(msg, ERR_INVALID, "documents: give the texts of one export or more");
    if (text.size) {
        e = invoice_columns_parse(text, &columns, msg);
        named = &columns;
    }
    for (const struct json_node *n = list->child; n && e == ERR_OK; n = n->next) {
        struct err_msg why = {""};
        number++;
        e = n->type == JSON_STRING ? invoice_read(w->invoice, p, named, n->text, &why)
                                   : err_set(&why, ERR_INVALID, "a text is expected");
        if (e != ERR_OK)
            (void)err_set(msg, e, "document %u: %s", number, why.text[0] ? why.text : err_text(e));
    }
    return e;
}

/* The days asked for, else those of the invoice. */
static enum err days_read(struct work *w, const struct json_node *body, struct err_msg *msg)
{
    struct bytes from = json_get_str(body, "from"), to = json_get_str(body, "to");
    uint32_t low = UINT32_MAX, high = 0;
    for (size_t i = 0; i < w->invoice->line_count; i++) {
        low = MIN(low, w->invoice->lines[i].day);
        high = MAX(high, w->invoice->lines[i].day);
    }
    if (from.size && !invoice_day(from, &low))
        return err_set(msg, ERR_INVALID, "from: give a day: 2026-10-01");
    if (to.size && !invoice_day(to, &high))
        return err_set(msg, ERR_INVALID, "to: give a day: 2026-10-31");
    if (low > high)
        return err_set(msg, ERR_INVALID,
                       "no day to compare: the documents have no row, or to lies before from");
    if (high - low >= GENAI_INVOICE_DAYS_MAX)
        return err_set(msg, ERR_LIMIT, "at most %u days at once", GENAI_INVOICE_DAYS_MAX);
    w->from = low;
    w->to = high + 1;
    return ERR_OK;
}

static enum err work_run(struct work *w, const struct json_node *body, enum invoice_provider p,
                         struct err_msg *msg)
{
    enum err e = documents_read(w, p, body, msg);
    if (e == ERR_OK)
        e = days_read(w, body, msg);
    if (e == ERR_OK)
        e = invoice_centres_read(json_get_str(body, "centres"), w->a, &w->centres, msg);
    if (e != ERR_OK)
        return e;
    e = theirs_add(w);
    for (uint32_t day = w->from; e == ERR_OK && day < w->to; day++)
        e = ours_add_day(w, day);
    if (e == ERR_OK) {
        compare(w);
        e = centres_add(w);
    }
    return e == ERR_OK ? e
                       : err_set(msg, e, "the comparison failed: %s",
                                 e == ERR_LIMIT ? "too many days and models" : err_text(e));
}

enum err genai_invoice_reconcile(struct tsdb *db, uint32_t org, struct bytes body,
                                 struct buf *to_json, double *out_ratio, char out_provider[64],
                                 struct err_msg *msg)
{
    struct work w = {.a = arena_new(512u << 20)};
    struct json_node *tree = NULL;
    enum invoice_provider p = INVOICE_GENERIC;
    static const struct tsdb_read_limits limits;
    enum err e = w.a ? json_in_tree(body, 8, w.a, &tree, msg) : ERR_NOMEM;
    struct bytes name = json_get_str(tree, "provider"), label = json_get_str(tree, "label");
    if (e == ERR_OK && !invoice_provider_parse(name, &p))
        e = err_set(msg, ERR_INVALID, "provider: give openai, anthropic or generic");
    if (e == ERR_OK) {
        w.provider = label.size             ? model_family_provider(label)
                     : p == INVOICE_GENERIC ? BYTES_NONE
                                            : name;
        snprintf(out_provider, 64, BYTES_FMT,
                 BYTES_ARG(w.provider.size ? bytes_slice(w.provider, 0, MIN(w.provider.size, 60))
                                           : BYTES_LIT("all")));
        w.invoice = invoice_new();
        w.pairs = calloc(INVOICE_LINES_MAX, sizeof *w.pairs);
        w.slots = calloc(PAIR_SLOTS, sizeof *w.slots);
        w.lines = calloc(CENTRES_SHOWN, sizeof *w.lines);
        e = w.invoice && w.pairs && w.slots && w.lines ? tsdb_view_open(db, org, &limits, &w.view)
                                                       : ERR_NOMEM;
        if (e != ERR_OK)
            (void)err_set(msg, e, "the comparison failed: %s", err_text(e));
    }
    if (e == ERR_OK)
        e = work_run(&w, tree, p, msg);
    if (e == ERR_OK) {
        *out_ratio = ratio_of(&w);
        report(&w, out_provider, to_json);
    }
    if (w.view)
        tsdb_view_close(w.view);
    invoice_free(w.invoice);
    arena_free(w.a);
    free(w.pairs);
    free(w.slots);
    free(w.lines);
    return e;
}

/* --- keeping ----------------------------------------------------------------------------------------- */

static enum err sample_add(struct tsdb *db, uint32_t org, int64_t now_ms, const char *provider,
                           double ratio)
{
    struct tsdb_batch *b = tsdb_batch_new(org, TSDB_SAMPLES, 1u << 20);
    struct tsdb_labels built;
    struct tsdb_ref ref;
    struct tsdb_label labels[] = {{BYTES_LIT("__name__"), BYTES_LIT("llm_invoice_residue_ratio")},
                                  {BYTES_LIT("job"), BYTES_LIT("telltale")},
                                  {BYTES_LIT("provider"), bytes_str(provider)}};
    enum err e =
        b ? tsdb_labels_build(labels, ARRAY_LEN(labels), b->arena, &built, NULL) : ERR_NOMEM;
    if (e == ERR_OK)
        e = tsdb_registry_ref(tsdb_series(db), org, TSDB_SERIES_SAMPLES, built, &ref);
    if (e == ERR_OK && !tsdb_batch_add_sample(b, ref, now_ms, ratio, 0))
        e = ERR_LIMIT;
    if (e == ERR_OK) {
        b->received = 1;
        b->received_ns = now_ms * 1000000;
        e = tsdb_append(db, &b, NULL, NULL);
    }
    tsdb_batch_free(b);
    return e;
}

static void org_put(uint8_t key[4], uint32_t org)
{
    for (int i = 0; i < 4; i++)
        key[i] = (uint8_t)(org >> (24 - 8 * i));
}

#define RESIDUES_TABLE "invoice_residues"
#define RESIDUE_SIZE 16u /* when, in ms; the ratio */

/* org (4 bytes, big-endian) and provider -> the newest report's residue. */
static enum err residue_put(struct tsdb_state_write *w, const uint8_t *org_key, int64_t now_ms,
                            const char *provider, double ratio)
{
    struct buf key = {0}, value = {0};
    buf_append(&key, org_key, 4);
    buf_str(&key, provider);
    buf_u64(&value, (uint64_t)now_ms);
    buf_f64(&value, ratio);
    enum err e = buf_ok(&key) && buf_ok(&value)
                     ? tsdb_state_put(w, RESIDUES_TABLE, buf_bytes(&key), buf_bytes(&value))
                     : ERR_NOMEM;
    buf_done(&key);
    buf_done(&value);
    return e;
}

enum err genai_invoice_residues(struct tsdb *db, uint32_t org, struct arena *a,
                                struct genai_invoice_residue **out, size_t *out_count)
{
    struct tsdb_state_row *rows;
    uint8_t key[4];
    size_t n = 0, kept = 0;
    org_put(key, org);
    enum err e = tsdb_state_scan(db, RESIDUES_TABLE, bytes_of(key, sizeof(key)),
                                 GENAI_INVOICE_RESIDUES_MAX, a, &rows, &n);
    if (e != ERR_OK)
        return e;
    struct genai_invoice_residue *list = ARENA_ARRAY(a, struct genai_invoice_residue, n + 1);
    if (!list)
        return ERR_NOMEM;
    for (size_t i = 0; i < n; i++) {
        struct reader r = reader_of(rows[i].value);
        struct genai_invoice_residue one = {
            .provider = bytes_slice(rows[i].key, sizeof(key), rows[i].key.size),
            .at_ms = (int64_t)reader_u64(&r),
            .ratio = reader_f64(&r)};
        if (!r.failed && rows[i].value.size == RESIDUE_SIZE && isfinite(one.ratio))
            list[kept++] = one;
    }
    *out = list;
    *out_count = kept;
    return ERR_OK;
}

enum err genai_invoice_keep(struct tsdb *db, uint32_t org, int64_t now_ms, struct bytes report_json,
                            const char *provider, double ratio, struct err_msg *msg)
{
    struct tsdb_state_write *w;
    uint8_t key[12];
    bytes_put_u64be(key + 4, (uint64_t)now_ms);
    org_put(key, org);
    enum err e = tsdb_state_begin(db, &w);
    if (e == ERR_OK) {
        e = tsdb_state_put(w, "invoices", bytes_of(key, sizeof key), report_json);
        if (e == ERR_OK && ratio >= 0)
            e = residue_put(w, key, now_ms, provider, ratio);
        if (e == ERR_OK)
            e = tsdb_state_commit(w);
        else
            tsdb_state_abort(w);
    }
    if (e == ERR_OK && ratio >= 0)
        e = sample_add(db, org, now_ms, provider, ratio);
    return e == ERR_OK ? e : err_set(msg, e, "the report cannot be kept: %s", err_text(e));
}
