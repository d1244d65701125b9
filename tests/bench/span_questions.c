/* Eight questions about spans, answered in process through tsdb_read.h, each beside a slow and obvious evaluator over the rows as sent.
 *
 *   span_questions [--frames FILE] [--max SPANS] [--rounds N] [--parent DIR] [--state settled|half|flushed|live] [--only QUESTION]
 * Without a file: a few thousand seeded spans. Prints p50 and p99 of each question, the rows that it looked into and a checksum of the answer;
 * a wrong answer ends the program. A view is opened for each question. State: all sealed and compacted (settled); the first half so, the rest as
 * it came (half); all sealed, nothing compacted (flushed); all as it came (live). The store is opened anew before the questions.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/hash.h"
#include "bench_frames.h"
#include "tsdb/tsdb_read.h"

#define BIT(n) (UINT64_C(1) << TSDB_SPAN_##n)
#define NS_PER_MINUTE INT64_C(60000000000)
#define TEXTS_MAX 4096u
#define NEEDLE "contion"

/* --- rows as sent ------------------------------------------------------------------------------- */

struct raw {
    struct tsdb_id16 trace;
    struct tsdb_id8 span;
    int64_t start, duration, output_tokens;
    uint16_t service, name, model, tenant; /* texts; 0 = none */
    bool is_root, is_error, has_needle;
};
struct raws {
    struct raw *rows;
    size_t count, cap;
    char *texts[TEXTS_MAX];
    uint32_t text_count;
    int64_t end;
    struct bench_store *store; /* to settle once there are settle_at rows */
    size_t settle_at; /* 0: not on the way */
};

static uint16_t text_of(struct raws *r, struct bytes t)
{
    for (uint32_t i = 1; i < r->text_count; i++)
        if (bytes_equal_str(t, r->texts[i]))
            return (uint16_t)i;
    if (r->text_count == TEXTS_MAX)
        bench_fail("too many different names");
    r->texts[r->text_count] = strndup((const char *)t.data, t.size);
    return (uint16_t)r->text_count++;
}

static uint16_t attr_text(struct raws *r, struct bytes attrs, const char *key)
{
    struct tsdb_value v;
    return tsdb_attrs_find(attrs, bytes_str(key), &v) && v.type == TSDB_VALUE_STRING
               ? text_of(r, v.bytes)
               : 0;
}

static void see(void *ctx, const struct tsdb_batch *b)
{
    struct raws *r = ctx;
    const struct tsdb_spans *t = &b->spans;
    static const uint8_t none[8];
    if (r->settle_at && r->count >= r->settle_at) {
        bench_store_settle(r->store);
        r->settle_at = 0;
    }
    for (uint32_t i = 0; i < t->count; i++) {
        struct tsdb_value v;
        if (r->count == r->cap) {
            r->cap = r->cap ? r->cap * 2 : 1024;
            r->rows = realloc(r->rows, r->cap * sizeof(*r->rows));
            if (!r->rows)
                bench_fail("no memory");
        }
        struct raw *w = &r->rows[r->count++];
        *w = (struct raw){.trace = t->trace_id[i],
                          .span = t->span_id[i],
                          .start = t->start_ns[i],
                          .duration = t->end_ns[i] - t->start_ns[i],
                          .service = text_of(r, t->service[i]),
                          .name = text_of(r, t->name[i]),
                          .model = attr_text(r, t->attrs[i], "gen_ai.request.model"),
                          .tenant = attr_text(r, t->attrs[i], "tenant.id"),
                          .is_root = memcmp(t->parent_id[i].b, none, 8) == 0,
                          .is_error = t->status[i] == 2,
                          .has_needle = tsdb_attrs_contain(t->attrs[i], BYTES_LIT(NEEDLE))};
        if (tsdb_attrs_find(t->attrs[i], BYTES_LIT("gen_ai.usage.output_tokens"), &v) &&
            v.type == TSDB_VALUE_INT)
            w->output_tokens = v.integer;
        r->end = w->start > r->end ? w->start : r->end;
    }
}

static bool is_text(const struct raws *r, uint16_t text, const char *s)
{
    return text && strcmp(r->texts[text], s) == 0;
}

static bool is_chat(const struct raws *r, const struct raw *w)
{
    return strncmp(r->texts[w->name], "chat ", 5) == 0;
}

/* --- seeded rows for the suite ------------------------------------------------------------------- */

static uint32_t rnd(uint64_t *seed, uint32_t n)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*seed >> 33) % n;
}

static void make_span(struct tsdb_batch *b, uint64_t number, uint64_t *seed)
{
    static const char *services[] = {"agent-orchestrator", "llm-gateway", "retriever"};
    static const char *names[] = {"chat gpt-4o", "POST /v1/chat/completions", "search"};
    static const char *models[] = {"gpt-4o", "claude-sonnet-4", "llama-3"};
    uint32_t row = tsdb_batch_add_span(b), which = rnd(seed, 3);
    char text[64];
    struct buf attrs = {0};
    if (row == TSDB_NO_ROW)
        bench_fail("no memory");
    bytes_put_u64be(b->spans.trace_id[row].b, (1 + number / 4) * 0x9e3779b97f4a7c15u);
    bytes_put_u64be(b->spans.span_id[row].b, number + 1);
    if (number % 4)
        bytes_put_u64be(b->spans.parent_id[row].b, number / 4 * 4 + 1);
    b->spans.start_ns[row] = INT64_C(1795168800000000000) + (int64_t)number * 1700000000;
    b->spans.end_ns[row] = b->spans.start_ns[row] + 1000000 + rnd(seed, 2000000000);
    b->spans.service[row] = bytes_str(services[which]);
    b->spans.name[row] = bytes_str(names[which]);
    b->spans.status[row] = rnd(seed, 9) == 0 ? 2 : 0;
    snprintf(text, sizeof(text), "tenant-%03u", rnd(seed, 12));
    tsdb_attrs_put_str(&attrs, BYTES_LIT("tenant.id"), bytes_str(text));
    if (which == 0) {
        tsdb_attrs_put_str(&attrs, BYTES_LIT("gen_ai.operation.name"), BYTES_LIT("chat"));
        tsdb_attrs_put_str(&attrs, BYTES_LIT("gen_ai.request.model"),
                           bytes_str(models[rnd(seed, 3)]));
        tsdb_attrs_put_i64(&attrs, BYTES_LIT("gen_ai.usage.output_tokens"), rnd(seed, 900));
        snprintf(text, sizeof(text), "words %u con%son", rnd(seed, 1000), rnd(seed, 9) ? "" : "ti");
        tsdb_attrs_put_str(&attrs, BYTES_LIT("note"), bytes_str(text));
    }
    b->spans.attrs[row] = arena_copy(b->arena, buf_bytes(&attrs));
    buf_done(&attrs);
}

static void make_spans(struct bench_store *s, struct raws *r, uint64_t count)
{
    uint64_t seed = 7;
    for (uint64_t n = 0; n < count;) {
        struct tsdb_batch *b = tsdb_batch_new(TSDB_ORG_DEFAULT, TSDB_SPANS, 0);
        for (int i = 0; b && i < 350 && n < count; i++)
            make_span(b, n++, &seed);
        if (!b)
            bench_fail("no memory");
        b->received = b->spans.count;
        b->received_ns = r->end;
        see(r, b);
        bench_store_append(s, b);
    }
}

/* --- questions ----------------------------------------------------------------------------------- */

struct ask {
    struct tsdb_view *v;
    struct arena *a;
    const struct raws *raw;
    const struct raw *some; /* a row chosen for this round */
    bool check;
    uint64_t rows_read, sum; /* of the answer */
};

static void must(enum err e)
{
    if (e != ERR_OK)
        bench_fail("read: %s", err_name(e));
}

static void same(const char *what, double got, double want)
{
    if (got != want)
        bench_fail("%s: %.17g instead of %.17g", what, got, want);
}

static void trace_by_id(struct ask *q)
{
    struct tsdb_spans t;
    must(tsdb_trace(q->v, q->some->trace, q->a, &t));
    q->sum = t.count;
    uint64_t count = 0;
    int64_t got = 0, want = 0;
    for (uint32_t i = 0; i < t.count; i++)
        got += t.end_ns[i] - t.start_ns[i];
    for (size_t i = 0; q->check && i < q->raw->count; i++)
        if (memcmp(q->raw->rows[i].trace.b, q->some->trace.b, 16) == 0) {
            count++;
            want += q->raw->rows[i].duration;
        }
    if (q->check) {
        same("spans of a trace", t.count, (double)count);
        same("their time", (double)got, (double)want);
    }
}

/* Groups by one text column. */
struct group {
    struct bytes key;
    int64_t *values;
    uint64_t count, cap;
    int64_t sum;
};
struct groups {
    struct group g[256];
    uint32_t count;
    struct arena *a;
    uint32_t column_is_tenant;
};

static struct group *group_of(struct groups *g, struct bytes key)
{
    for (uint32_t i = 0; i < g->count; i++)
        if (bytes_equal(g->g[i].key, key))
            return &g->g[i];
    if (g->count == ARRAY_LEN(g->g))
        bench_fail("too many groups");
    g->g[g->count].key = arena_copy(g->a, key);
    return &g->g[g->count++];
}

static struct group *next_group(struct groups *g, const struct bytes *keys, uint32_t row,
                                struct bytes *last, struct group *at)
{
    if (at && keys[row].data == last->data && keys[row].size == last->size)
        return at;
    *last = keys[row];
    return group_of(g, keys[row]);
}

static bool group_durations(void *ctx, const struct tsdb_spans *t, const uint32_t *rows,
                            uint32_t count)
{
    struct groups *g = ctx;
    struct bytes last = BYTES_NONE;
    struct group *at = NULL;
    for (uint32_t i = 0; i < count; i++) {
        at = next_group(g, t->request_model, rows[i], &last, at);
        if (at->count == at->cap) {
            uint64_t cap = at->cap ? at->cap * 2 : 1024;
            if (!(at->values = arena_grow(g->a, at->values, 8, at->cap, cap)))
                bench_fail("no memory");
            at->cap = cap;
        }
        at->values[at->count++] = t->end_ns[rows[i]] - t->start_ns[rows[i]];
    }
    return true;
}

static int by_i64(const void *x, const void *y)
{
    int64_t a = *(const int64_t *)x, b = *(const int64_t *)y;
    return (a > b) - (a < b);
}

/* The k-th smallest, by Hoare's selection. */
static int64_t select_kth(int64_t *v, size_t n, size_t k)
{
    size_t lo = 0, hi = n - 1;
    while (lo < hi) {
        int64_t pivot = v[lo + (hi - lo) / 2];
        size_t i = lo, j = hi;
        for (;;) {
            while (v[i] < pivot)
                i++;
            while (v[j] > pivot)
                j--;
            if (i >= j)
                break;
            int64_t swap = v[i];
            v[i++] = v[j];
            v[j--] = swap;
        }
        size_t left = v[j] <= pivot ? j : j - 1;
        if (k <= left)
            hi = left;
        else
            lo = left + 1;
    }
    return v[k];
}

static void p99_by_model(struct ask *q)
{
    struct groups *g = ARENA_ARRAY(q->a, struct groups, 1);
    struct tsdb_where where = {TSDB_SPAN_name, TSDB_WHERE_BEGINS, BYTES_LIT("chat "), 0};
    struct tsdb_row_filter more = {.where = &where, .where_count = 1};
    struct tsdb_visit visit = {.start_max_ns = INT64_MAX,
                               .service = BYTES_LIT("agent-orchestrator"),
                               .more = &more,
                               .columns = BIT(request_model) | BIT(start_ns) | BIT(end_ns),
                               .spans = group_durations,
                               .ctx = g};
    g->a = q->a;
    must(tsdb_spans_visit(q->v, &visit));
    q->rows_read = visit.rows_read;
    for (uint32_t i = 0; i < g->count; i++) {
        size_t at = (size_t)(g->g[i].count * 99 / 100), n = 0;
        int64_t p99 = select_kth(g->g[i].values, g->g[i].count, at);
        q->sum += (uint64_t)p99 ^ hash64(g->g[i].key, g->g[i].count);
        if (!q->check)
            continue;
        int64_t *want = malloc((q->raw->count + 1) * sizeof(*want));
        for (size_t k = 0; want && k < q->raw->count; k++) {
            const struct raw *w = &q->raw->rows[k];
            if (is_text(q->raw, w->service, "agent-orchestrator") && is_chat(q->raw, w) &&
                (w->model ? bytes_equal_str(g->g[i].key, q->raw->texts[w->model])
                          : g->g[i].key.size == 0))
                want[n++] = w->duration;
        }
        same("spans of a model", (double)g->g[i].count, (double)n);
        qsort(want, n, sizeof(*want), by_i64);
        same("p99 of a model", (double)p99, (double)want[at]);
        free(want);
    }
}

static bool group_tokens(void *ctx, const struct tsdb_spans *t, const uint32_t *rows,
                         uint32_t count)
{
    struct groups *g = ctx;
    struct bytes last = BYTES_NONE;
    struct group *at = NULL;
    for (uint32_t i = 0; i < count; i++) {
        at = next_group(g, t->tenant, rows[i], &last, at);
        at->sum += t->output_tokens[rows[i]] > 0 ? t->output_tokens[rows[i]] : 0;
    }
    return true;
}

static int by_sum(const void *x, const void *y)
{
    const struct group *a = x, *b = y;
    return a->sum != b->sum ? (a->sum < b->sum ? 1 : -1) : bytes_compare(a->key, b->key);
}

static void tokens_by_tenant(struct ask *q)
{
    struct groups *g = ARENA_ARRAY(q->a, struct groups, 1);
    struct tsdb_where where = {TSDB_SPAN_name, TSDB_WHERE_BEGINS, BYTES_LIT("chat "), 0};
    struct tsdb_row_filter more = {.where = &where, .where_count = 1};
    struct tsdb_visit visit = {.start_max_ns = INT64_MAX,
                               .service = BYTES_LIT("agent-orchestrator"),
                               .more = &more,
                               .columns = BIT(tenant) | BIT(output_tokens),
                               .spans = group_tokens,
                               .ctx = g};
    g->a = q->a;
    must(tsdb_spans_visit(q->v, &visit));
    q->rows_read = visit.rows_read;
    qsort(g->g, g->count, sizeof(g->g[0]), by_sum);
    for (uint32_t i = 0; i < g->count && i < 10; i++) {
        q->sum += (uint64_t)g->g[i].sum ^ hash64(g->g[i].key, i);
        int64_t want = 0;
        for (size_t k = 0; q->check && k < q->raw->count; k++) {
            const struct raw *w = &q->raw->rows[k];
            if (w->tenant && bytes_equal_str(g->g[i].key, q->raw->texts[w->tenant]) &&
                is_text(q->raw, w->service, "agent-orchestrator") && is_chat(q->raw, w))
                want += w->output_tokens;
        }
        if (q->check && g->g[i].key.size)
            same("tokens of a tenant", (double)g->g[i].sum, (double)want);
    }
}

static void errors_last_15m(struct ask *q)
{
    struct tsdb_minutes_query m = {.start_min_ns = q->raw->end - 15 * NS_PER_MINUTE + 1,
                                   .start_max_ns = INT64_MAX};
    struct tsdb_minute *list;
    size_t n;
    uint64_t got = 0, want = 0;
    must(tsdb_span_minutes(q->v, &m, q->a, &list, &n));
    q->rows_read = m.rows_read;
    for (size_t i = 0; i < n; i++) {
        got += list[i].errors;
        if (list[i].errors)
            q->sum += hash64(list[i].service, hash64(list[i].name, list[i].errors));
    }
    for (size_t k = 0; q->check && k < q->raw->count; k++)
        want += q->raw->rows[k].is_error && q->raw->rows[k].start >= m.start_min_ns;
    if (q->check)
        same("errors", (double)got, (double)want);
}

struct top {
    struct tsdb_visit *visit;
    struct tsdb_id16 id[20];
    int64_t duration[20]; /* descending */
    uint32_t count;
};

static bool take_longest(void *ctx, const struct tsdb_spans *t, const uint32_t *rows,
                         uint32_t count)
{
    struct top *top = ctx;
    for (uint32_t i = 0; i < count; i++) {
        int64_t d = t->end_ns[rows[i]] - t->start_ns[rows[i]];
        uint32_t at = top->count;
        if (at == ARRAY_LEN(top->id) && d <= top->duration[at - 1])
            continue;
        at = at == ARRAY_LEN(top->id) ? at - 1 : at;
        for (; at > 0 && top->duration[at - 1] < d; at--) {
            top->duration[at] = top->duration[at - 1];
            top->id[at] = top->id[at - 1];
        }
        top->duration[at] = d;
        top->id[at] = t->trace_id[rows[i]];
        top->count += top->count < ARRAY_LEN(top->id);
    }
    if (top->count == ARRAY_LEN(top->id))
        top->visit->duration_min_ns = top->duration[top->count - 1] + 1;
    return true;
}

static bool may_be_longer(void *ctx, const struct tsdb_visit_bounds *b)
{
    const struct top *top = ctx;
    return top->count < ARRAY_LEN(top->id) ||
           b->root_duration_max_ns > top->duration[top->count - 1];
}

static void slowest_traces(struct ask *q)
{
    static const uint8_t none[8];
    struct tsdb_where where = {TSDB_SPAN_parent_id, TSDB_WHERE_IS, bytes_of(none, 8), 0};
    struct tsdb_row_filter more = {.where = &where, .where_count = 1};
    struct top top = {.count = 0};
    struct tsdb_visit visit = {.start_max_ns = INT64_MAX,
                               .service = BYTES_LIT("agent-orchestrator"),
                               .more = &more,
                               .columns = BIT(trace_id) | BIT(start_ns) | BIT(end_ns),
                               .order = TSDB_VISIT_LONGEST_ROOT,
                               .wants = may_be_longer,
                               .spans = take_longest,
                               .ctx = &top};
    top.visit = &visit;
    must(tsdb_spans_visit(q->v, &visit));
    q->rows_read = visit.rows_read;
    uint64_t longer = 0;
    for (size_t k = 0; q->check && k < q->raw->count; k++) {
        const struct raw *w = &q->raw->rows[k];
        longer += w->is_root && is_text(q->raw, w->service, "agent-orchestrator") && top.count &&
                  w->duration > top.duration[top.count - 1];
    }
    for (uint32_t i = 0; i < top.count; i++)
        q->sum += (uint64_t)top.duration[i] ^ bytes_u64be(top.id[i].b);
    if (q->check)
        same("longer than the last of 20", (double)longer, (double)top.count - 1);
}

static void find_by_attribute(struct ask *q)
{
    struct tsdb_where_attr attr = {BYTES_LIT("tenant.id"), BYTES_LIT("tenant-007")};
    struct tsdb_row_filter more = {.attrs = &attr, .attr_count = 1};
    struct tsdb_span_filter f = {.start_min_ns = q->raw->end - 30 * NS_PER_MINUTE + 1,
                                 .start_max_ns = INT64_MAX,
                                 .newest_first = 1,
                                 .columns = BIT(trace_id) | BIT(name),
                                 .more = &more};
    struct tsdb_spans t;
    must(tsdb_span_scan(q->v, &f, 50, q->a, &t));
    uint64_t newer = 0;
    for (size_t k = 0; q->check && t.count && k < q->raw->count; k++)
        newer += is_text(q->raw, q->raw->rows[k].tenant, "tenant-007") &&
                 q->raw->rows[k].start > t.start_ns[t.count - 1];
    for (uint32_t i = 0; i < t.count; i++)
        q->sum += (uint64_t)t.start_ns[i] ^ hash64(t.name[i], bytes_u64be(t.trace_id[i].b));
    if (q->check)
        same("newer than the last of 50", (double)newer, (double)t.count - 1);
}

static void rate_per_minute(struct ask *q)
{
    struct tsdb_minutes_query m = {.start_max_ns = INT64_MAX,
                                   .service = BYTES_LIT("llm-gateway"),
                                   .name = BYTES_LIT("POST /v1/chat/completions"),
                                   .by_minute = true};
    struct tsdb_minute *list;
    size_t n;
    uint64_t got = 0, want = 0;
    int64_t got_ns = 0, want_ns = 0;
    must(tsdb_span_minutes(q->v, &m, q->a, &list, &n));
    q->rows_read = m.rows_read;
    for (size_t i = 0; i < n; i++) {
        q->sum += list[i].minute * list[i].count;
        got += list[i].minute * list[i].count;
        got_ns += list[i].duration_sum_ns;
    }
    for (size_t k = 0; q->check && k < q->raw->count; k++) {
        const struct raw *w = &q->raw->rows[k];
        if (is_text(q->raw, w->service, "llm-gateway") &&
            is_text(q->raw, w->name, "POST /v1/chat/completions")) {
            want += (uint64_t)(w->start / NS_PER_MINUTE);
            want_ns += w->duration;
        }
    }
    if (q->check) {
        same("minutes times counts", (double)got, (double)want);
        same("time", (double)got_ns, (double)want_ns);
    }
}

struct hits {
    struct tsdb_id16 trace[20];
    struct tsdb_id8 span[20];
    uint32_t count;
};

static bool take_hits(void *ctx, const struct tsdb_spans *t, const uint32_t *rows, uint32_t count)
{
    struct hits *h = ctx;
    for (uint32_t i = 0; i < count && h->count < ARRAY_LEN(h->span); i++) {
        h->trace[h->count] = t->trace_id[rows[i]];
        h->span[h->count++] = t->span_id[rows[i]];
    }
    return h->count < ARRAY_LEN(h->span);
}

static void content_substring(struct ask *q)
{
    struct tsdb_where where = {TSDB_SPAN_name, TSDB_WHERE_BEGINS, BYTES_LIT("chat "), 0};
    struct tsdb_row_filter more = {
        .where = &where, .where_count = 1, .contains = BYTES_LIT(NEEDLE)};
    struct hits h = {.count = 0};
    struct tsdb_visit visit = {.start_max_ns = INT64_MAX,
                               .more = &more,
                               .columns = BIT(trace_id) | BIT(span_id),
                               .spans = take_hits,
                               .ctx = &h};
    must(tsdb_spans_visit(q->v, &visit));
    q->rows_read = visit.rows_read;
    uint64_t all = 0, right = 0;
    for (size_t k = 0; q->check && k < q->raw->count; k++) {
        const struct raw *w = &q->raw->rows[k];
        if (!w->has_needle || !is_chat(q->raw, w))
            continue;
        all++;
        for (uint32_t i = 0; i < h.count; i++)
            right +=
                memcmp(w->span.b, h.span[i].b, 8) == 0 && memcmp(w->trace.b, h.trace[i].b, 16) == 0;
    }
    q->sum = h.count;
    if (q->check) {
        same("texts found", h.count, (double)(all < 20 ? all : 20));
        same("texts that have it", (double)right, h.count);
    }
}

static const struct question {
    const char *name;
    void (*ask)(struct ask *q);
} questions[] = {{"trace_by_id", trace_by_id},           {"p99_by_model", p99_by_model},
                 {"tokens_by_tenant", tokens_by_tenant}, {"errors_last_15m", errors_last_15m},
                 {"slowest_traces", slowest_traces},     {"find_by_attribute", find_by_attribute},
                 {"rate_per_minute", rate_per_minute},   {"content_substring", content_substring}};

static void ask_all(struct bench_store *s, const struct raws *raw, unsigned rounds,
                    const char *only, bool print)
{
    static struct bench_times times, cpu;
    uint64_t seed = 3;
    for (size_t i = 0; i < ARRAY_LEN(questions); i++) {
        struct ask q = {.raw = raw};
        if (only && strcmp(only, questions[i].name) != 0)
            continue;
        times.n = cpu.n = 0;
        for (unsigned r = 0; r <= rounds; r++) { /* round 0 is checked and not measured */
            struct tsdb_view *v;
            q = (struct ask){.raw = raw,
                             .check = r == 0,
                             .a = arena_new(0),
                             .some = &raw->rows[rnd(&seed, (uint32_t)raw->count)]};
            double begin = bench_now_ms(), begin_cpu = bench_cpu_ms();
            must(tsdb_view_open(s->db, TSDB_ORG_DEFAULT, NULL, &v));
            q.v = v;
            questions[i].ask(&q);
            tsdb_view_close(v);
            if (r > 0) {
                bench_times_add(&times, bench_now_ms() - begin);
                bench_times_add(&cpu, bench_cpu_ms() - begin_cpu);
            }
            arena_free(q.a);
        }
        if (print)
            printf("%-24s p50 %8.3f ms  p99 %8.3f ms  cpu p50 %8.3f ms  rows read %8llu  checksum "
                   "%016llx\n",
                   questions[i].name, bench_times_at(&times, 0.5), bench_times_at(&times, 0.99),
                   bench_times_at(&cpu, 0.5), (unsigned long long)q.rows_read,
                   (unsigned long long)q.sum);
    }
}

struct options {
    const char *frames, *parent, *state, *only;
    uint64_t max;
    unsigned rounds;
};

static struct options options_of(int argc, char **argv)
{
    struct options o = {.parent = "/tmp", .state = "settled", .rounds = 3};
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--frames") == 0)
            o.frames = argv[i + 1];
        else if (strcmp(argv[i], "--max") == 0)
            o.max = strtoull(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--rounds") == 0)
            o.rounds = (unsigned)atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--parent") == 0)
            o.parent = argv[i + 1];
        else if (strcmp(argv[i], "--state") == 0)
            o.state = argv[i + 1];
        else if (strcmp(argv[i], "--only") == 0)
            o.only = argv[i + 1];
    }
    return o;
}

/* As many spans as the file has, so that half of them is known before. */
static uint64_t count_items(const char *path, uint64_t max)
{
    FILE *f = fopen(path, "rb");
    uint8_t head[16];
    uint64_t items = 0;
    while (f && (!max || items < max) && fread(head, sizeof(head), 1, f) == 1) {
        struct reader r = reader_of(bytes_of(head, sizeof(head)));
        uint32_t size = reader_u32(&r);
        items += reader_u32(&r);
        if (fseek(f, (long)size, SEEK_CUR) != 0)
            break;
    }
    if (f)
        fclose(f);
    return items;
}

static void bring_to_state(struct bench_store *s, const char *state)
{
    struct err_msg msg = {""};
    if (strcmp(state, "settled") == 0)
        bench_store_settle(s);
    else if (strcmp(state, "flushed") == 0 && tsdb_flush(s->db, false, &msg) != ERR_OK)
        bench_fail("flush: %s", msg.text);
    bench_store_reopen(s);
}

int main(int argc, char **argv)
{
    static struct bench_store s;
    static struct raws raw = {.text_count = 1};
    struct options o = options_of(argc, argv);
    uint64_t count = o.frames ? count_items(o.frames, o.max) : o.max ? o.max : 6000;
    bench_store_open(&s, NULL, o.parent);
    raw.store = &s;
    raw.settle_at = strcmp(o.state, "half") == 0 ? count / 2 : 0;
    if (o.frames)
        (void)bench_store_feed(&s, o.frames, TSDB_SPANS, o.max, see, &raw);
    else
        make_spans(&s, &raw, count);
    if (raw.count == 0)
        bench_fail("no spans");
    if (!o.frames)
        ask_all(&s, &raw, 1, NULL, false);
    bring_to_state(&s, o.state);
    printf("%zu spans, %s, %.1f bytes a span on disk\n", raw.count, o.state,
           (double)bench_store_disk_bytes(&s) / (double)raw.count);
    ask_all(&s, &raw, o.rounds, o.only, true);
    bench_store_close(&s);
    return 0;
}
