#include "query/query_stream.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "tsdb/tsdb_attrs.h"
#include "tsdb/tsdb_timeline.h"

#define STREAM_EVENT "telltale.stream" /* written by collector/stage/settle_tokens.c */
#define STREAM_SCOPE "telltale"
#define COLUMNS (UINT64_C(1) << TSDB_LOG_span_id | UINT64_C(1) << TSDB_LOG_attrs)

struct collect {
    struct arena *arena;
    struct query_stream *streams;
    uint32_t count, cap;
    bool no_room;
};

static bool on_logs(void *ctx, const struct tsdb_logs *t, const uint32_t *rows, uint32_t count);
static int by_span(const void *a, const void *b);

/* --- one record -------------------------------------------------------------------------------- */

static int64_t number_of(struct bytes attrs, const char *key, int64_t def)
{
    struct tsdb_value v;
    return tsdb_attrs_find(attrs, bytes_str(key), &v) && v.type == TSDB_VALUE_INT && v.integer >= 0
               ? v.integer
               : def;
}

static double double_of(struct bytes attrs, const char *key)
{
    struct tsdb_value v;
    return tsdb_attrs_find(attrs, bytes_str(key), &v) && v.type == TSDB_VALUE_DOUBLE ? v.number
                                                                                     : NAN;
}

static struct bytes text_of(struct bytes attrs, const char *key)
{
    struct tsdb_value v;
    return tsdb_attrs_find(attrs, bytes_str(key), &v) && v.type == TSDB_VALUE_STRING ? v.bytes
                                                                                     : BYTES_NONE;
}

static void read_stalls(struct bytes attrs, struct query_stream *out)
{
    struct tsdb_value v, after, length;
    out->stall_count = number_of(attrs, "stalls", 0);
    if (!tsdb_attrs_find(attrs, BYTES_LIT("stall_times"), &v) || v.type != TSDB_VALUE_ARRAY)
        return;
    struct tsdb_attrs_iter it = tsdb_attrs_begin(v.bytes);
    while (out->stalls_placed < QUERY_STREAM_STALLS_MAX && tsdb_attrs_next_value(&it, &after) &&
           tsdb_attrs_next_value(&it, &length)) {
        if (after.type != TSDB_VALUE_INT || length.type != TSDB_VALUE_INT || after.integer < 0 ||
            length.integer < 0)
            return;
        out->stalls[out->stalls_placed++] =
            (struct query_stream_stall){after.integer, length.integer};
    }
}

static void read_timeline(struct bytes attrs, struct query_stream *out)
{
    struct tsdb_value v;
    struct tsdb_timeline_chunk c;
    int64_t length = out->end_ns - out->start_ns;
    if (!tsdb_attrs_find(attrs, BYTES_LIT("timeline"), &v) || v.type != TSDB_VALUE_BYTES)
        return;
    /* Rounded up to whole steps, so that a chunk's time, which is rounded down to one, stays in its bin. */
    int64_t steps = length / TSDB_TIMELINE_STEP_NS / QUERY_STREAM_BINS_MAX + 1;
    out->bin_ns = steps * TSDB_TIMELINE_STEP_NS;
    out->bin_count = (uint32_t)MIN(length / out->bin_ns + 1, QUERY_STREAM_BINS_MAX);
    struct tsdb_timeline_reader r = tsdb_timeline_open(v.bytes);
    while (tsdb_timeline_next(&r, &c))
        out->bins[MIN(c.after_ns / out->bin_ns, (int64_t)out->bin_count - 1)] += c.tokens;
}

bool query_stream_decode(struct bytes attrs, struct query_stream *out)
{
    *out = (struct query_stream){.result = text_of(attrs, "result"),
                                 .reason = text_of(attrs, "reason"),
                                 .source = text_of(attrs, "source"),
                                 .start_ns = number_of(attrs, "start_ns", -1),
                                 .end_ns = number_of(attrs, "end_ns", -1),
                                 .ttft_ns = number_of(attrs, "ttft_ns", -1),
                                 .output = number_of(attrs, "tokens_output", 0),
                                 .reasoning = number_of(attrs, "tokens_reasoning", 0),
                                 .tool = number_of(attrs, "tokens_tool", 0),
                                 .tokens_per_second = double_of(attrs, "tokens_per_second"),
                                 .mean_logprob = double_of(attrs, "mean_logprob")};
    if (!out->result.size || out->start_ns < 0 || out->end_ns < out->start_ns)
        return false;
    read_stalls(attrs, out);
    read_timeline(attrs, out);
    return true;
}

/* --- of a trace -------------------------------------------------------------------------------- */

static bool grow(struct collect *c)
{
    if (c->count < c->cap)
        return true;
    uint32_t cap = MAX(c->cap * 2, 16u);
    struct query_stream *more = ARENA_ARRAY(c->arena, struct query_stream, cap);
    if (!more)
        return false;
    if (c->count)
        memcpy(more, c->streams, c->count * sizeof(*more));
    c->streams = more;
    c->cap = cap;
    return true;
}

static bool on_logs(void *ctx, const struct tsdb_logs *t, const uint32_t *rows, uint32_t count)
{
    struct collect *c = ctx;
    for (uint32_t i = 0; i < count; i++) {
        if (c->count == QUERY_STREAMS_MAX)
            return false;
        c->no_room = c->no_room || !grow(c);
        if (c->no_room)
            return false;
        struct query_stream *s = &c->streams[c->count];
        if (!query_stream_decode(t->attrs[rows[i]], s))
            continue;
        /* The row is gone after the call: its words must not be. */
        struct bytes *words[] = {&s->result, &s->reason, &s->source};
        for (size_t w = 0; w < ARRAY_LEN(words); w++) {
            size_t size = words[w]->size;
            *words[w] = arena_copy(c->arena, *words[w]);
            c->no_room = c->no_room || (size && !words[w]->data);
        }
        s->span_id = t->span_id[rows[i]];
        c->count++;
    }
    return !c->no_room;
}

static int by_span(const void *a, const void *b)
{
    const struct query_stream *x = a, *y = b;
    int order = memcmp(x->span_id.b, y->span_id.b, sizeof x->span_id.b);
    if (order)
        return order;
    return (x->end_ns < y->end_ns) - (x->end_ns > y->end_ns); /* the last first */
}

enum err query_streams_read(struct tsdb_view *v, struct tsdb_id16 trace_id, int64_t start_ns,
                            int64_t end_ns, struct arena *a, struct query_streams *out)
{
    struct collect c = {.arena = a};
    struct tsdb_where where[] = {
        {TSDB_LOG_trace_id, TSDB_WHERE_IS, bytes_of(trace_id.b, sizeof trace_id.b), 0},
        {TSDB_LOG_event_name, TSDB_WHERE_IS, BYTES_LIT(STREAM_EVENT), 0},
        {TSDB_LOG_scope_name, TSDB_WHERE_IS, BYTES_LIT(STREAM_SCOPE), 0}};
    struct tsdb_row_filter more = {.where = where, .where_count = ARRAY_LEN(where)};
    struct tsdb_visit q = {
        .start_min_ns = start_ns > QUERY_STREAM_SKEW_NS ? start_ns - QUERY_STREAM_SKEW_NS : 0,
        .start_max_ns =
            end_ns < INT64_MAX - QUERY_STREAM_SKEW_NS ? end_ns + QUERY_STREAM_SKEW_NS : INT64_MAX,
        .more = &more,
        .columns = COLUMNS,
        .order = TSDB_VISIT_NEWEST,
        .logs = on_logs,
        .ctx = &c};
    enum err e = tsdb_logs_visit(v, &q);
    if (e == ERR_OK && c.no_room)
        e = ERR_LIMIT;
    if (e != ERR_OK)
        return e;
    if (c.count)
        qsort(c.streams, c.count, sizeof(*c.streams), by_span);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < c.count; i++)
        if (!kept || memcmp(c.streams[kept - 1].span_id.b, c.streams[i].span_id.b,
                            sizeof(struct tsdb_id8)) != 0)
            c.streams[kept++] = c.streams[i];
    *out = (struct query_streams){c.streams, kept};
    return ERR_OK;
}

const struct query_stream *query_streams_of(const struct query_streams *s, struct tsdb_id8 span_id)
{
    uint32_t low = 0, high = s->count;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        int order = memcmp(s->streams[mid].span_id.b, span_id.b, sizeof span_id.b);
        if (order == 0)
            return &s->streams[mid];
        if (order < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}
