#include "tsdb/record_tokens.h"

#include <stdlib.h>

#include "base/check.h"
#include "tsdb/record_runs.h"

#define HAS_IDS 1u

/* --- streams ------------------------------------------------------------------------------------- */

static void put_stream(const struct tsdb_token_stream *s, const struct tsdb_token_stream *last,
                       struct buf *out)
{
    static const struct tsdb_token_stream none;
    bool has_ids = memcmp(s->trace_id, none.trace_id, sizeof s->trace_id) != 0 ||
                   memcmp(s->span_id, none.span_id, sizeof s->span_id) != 0;
    uint8_t same = 0;
    for (uint32_t i = 0; i < TSDB_TOKEN_TEXT_COUNT; i++)
        same |= (uint8_t)(bytes_equal(s->text[i], last->text[i]) << i);
    buf_u8(out, (uint8_t)((has_ids ? HAS_IDS : 0) | s->source << 1));
    buf_u8(out, same);
    if (has_ids) {
        buf_append(out, s->trace_id, sizeof s->trace_id);
        buf_append(out, s->span_id, sizeof s->span_id);
    }
    for (uint32_t i = 0; i < TSDB_TOKEN_TEXT_COUNT; i++)
        if (!(same >> i & 1))
            buf_lenbytes(out, s->text[i]);
}

static enum err get_stream(struct reader *r, uint32_t org, struct tsdb_tokens *t,
                           struct tsdb_token_stream *s)
{
    uint8_t head = reader_u8(r), same = reader_u8(r);
    s->source = head >> 1;
    memset(s->trace_id, 0, sizeof s->trace_id);
    memset(s->span_id, 0, sizeof s->span_id);
    if (head & HAS_IDS) {
        const uint8_t *trace = reader_take(r, sizeof s->trace_id);
        const uint8_t *span = reader_take(r, sizeof s->span_id);
        if (!trace || !span)
            return ERR_CORRUPT;
        memcpy(s->trace_id, trace, sizeof s->trace_id);
        memcpy(s->span_id, span, sizeof s->span_id);
    }
    for (uint32_t i = 0; i < TSDB_TOKEN_TEXT_COUNT; i++) {
        if (same >> i & 1)
            continue;
        s->text[i] = reader_lenbytes(r);
        if (s->text[i].size > TSDB_TOKENS_TEXT_MAX)
            return ERR_CORRUPT;
    }
    if (r->failed || s->source > TSDB_TOKEN_LOG || !tsdb_tokens_is_named(s))
        return ERR_CORRUPT;
    uint32_t before = t->stream_count, got = tsdb_tokens_stream(t, org, s);
    if (got == UINT32_MAX)
        return ERR_LIMIT;
    return got == before ? ERR_OK : ERR_CORRUPT; /* no stream is there twice */
}

/* --- times ---------------------------------------------------------------------------------------- */

/* What the time of an event is told from: the last one of its stream, or of all. */
struct clocks {
    int64_t *last;
    bool *seen;
    int64_t newest;
};

static bool clocks_init(struct clocks *c, uint32_t streams)
{
    *c = (struct clocks){calloc(streams + 1, sizeof *c->last), calloc(streams + 1, sizeof *c->seen),
                         0};
    return c->last && c->seen;
}

static void clocks_done(struct clocks *c)
{
    free(c->last);
    free(c->seen);
}

static inline int64_t clocks_base(const struct clocks *c, uint32_t stream)
{
    return c->seen[stream] ? c->last[stream] : c->newest;
}

static inline void clocks_set(struct clocks *c, uint32_t stream, int64_t t)
{
    c->last[stream] = c->newest = t;
    c->seen[stream] = true;
}

static void put_times(const struct tsdb_tokens *t, struct buf *out)
{
    struct clocks c;
    if (!clocks_init(&c, t->stream_count) || !buf_reserve(out, (size_t)t->count * BUF_VARINT_MAX)) {
        out->failed = true;
        clocks_done(&c);
        return;
    }
    uint8_t *to = out->data + out->size;
    for (uint32_t i = 0; i < t->count; i++) {
        uint64_t step = (uint64_t)t->time_ns[i] - (uint64_t)clocks_base(&c, t->stream[i]);
        to = buf_write_zigzag(to, (int64_t)step);
        clocks_set(&c, t->stream[i], t->time_ns[i]);
    }
    out->size = (size_t)(to - out->data);
    clocks_done(&c);
}

static enum err get_times(struct reader *r, struct tsdb_tokens *t, uint32_t n)
{
    struct clocks c;
    if (!clocks_init(&c, t->stream_count)) {
        clocks_done(&c);
        return ERR_NOMEM;
    }
    for (uint32_t i = 0; i < n; i++) {
        uint64_t step = (uint64_t)reader_zigzag(r);
        t->time_ns[i] = (int64_t)((uint64_t)clocks_base(&c, t->stream[i]) + step);
        clocks_set(&c, t->stream[i], t->time_ns[i]);
    }
    clocks_done(&c);
    return r->failed ? ERR_CORRUPT : ERR_OK;
}

/* --- events ---------------------------------------------------------------------------------------- */

void record_tokens_put(const struct tsdb_tokens *t, struct buf *out)
{
    static const struct tsdb_token_stream none;
    if (!t->count)
        return;
    buf_varint(out, t->stream_count);
    for (uint32_t i = 0; i < t->stream_count; i++)
        put_stream(&t->streams[i], i ? &t->streams[i - 1] : &none, out);
    buf_varint(out, t->count);
    record_runs_put(out, NULL, t->stream, NULL, t->count);
    record_runs_put(out, t->kind, NULL, NULL, t->count);
    record_runs_put(out, NULL, t->tokens, NULL, t->count);
    record_runs_put(out, NULL, t->ordinal, NULL, t->count);
    put_times(t, out);
    buf_varint(out, t->logprob_count);
    for (uint32_t i = 0, row = 0; i < t->logprob_count; row = t->logprobs[i++].row) {
        const struct tsdb_token_logprob *p = &t->logprobs[i];
        uint32_t bits[2];
        memcpy(&bits[0], &p->sum, 4);
        memcpy(&bits[1], &p->min, 4);
        buf_varint(out, p->row - row);
        buf_varint(out, p->count);
        buf_u32(out, bits[0]);
        buf_u32(out, bits[1]);
    }
    buf_varint(out, t->reason_count);
    for (uint32_t i = 0, row = 0; i < t->reason_count; row = t->reasons[i++].row) {
        buf_varint(out, t->reasons[i].row - row);
        buf_lenbytes(out, t->reasons[i].text);
    }
}

/* One column of n numbers, each at most max. */
static bool get_column(struct reader *r, uint32_t n, uint64_t max, uint32_t *u32, uint8_t *u8)
{
    struct record_runs x = {.r = r};
    for (uint32_t i = 0; i < n; i++) {
        uint64_t v;
        if (!record_runs_next(&x, n - i, &v) || v > max)
            return false;
        if (u8)
            u8[i] = (uint8_t)v;
        else
            u32[i] = (uint32_t)v;
    }
    return true;
}

static bool next_row(struct reader *r, bool is_first, uint32_t n, uint32_t *row)
{
    uint64_t step = reader_varint(r);
    if (r->failed || (step == 0 && !is_first) || step >= n - *row)
        return false;
    *row += (uint32_t)step;
    return true;
}

static enum err get_rare(struct reader *r, struct tsdb_tokens *t, uint32_t n)
{
    uint64_t count = reader_varint(r);
    uint32_t row = 0;
    if (r->failed || count > MIN((uint64_t)n, reader_left(r) / 10))
        return ERR_CORRUPT;
    if (count && !(t->logprobs = ARENA_ARRAY(t->arena, struct tsdb_token_logprob, count)))
        return ERR_LIMIT;
    t->logprob_cap = (uint32_t)count;
    for (; t->logprob_count < count; t->logprob_count++) {
        struct tsdb_token_logprob *p = &t->logprobs[t->logprob_count];
        if (!next_row(r, t->logprob_count == 0, n, &row))
            return ERR_CORRUPT;
        uint64_t of = reader_varint(r);
        uint32_t sum = reader_u32(r), min = reader_u32(r);
        if (r->failed || of == 0 || of > UINT32_MAX)
            return ERR_CORRUPT;
        p->row = row;
        p->count = (uint32_t)of;
        memcpy(&p->sum, &sum, 4);
        memcpy(&p->min, &min, 4);
    }
    count = reader_varint(r);
    row = 0;
    if (r->failed || count > MIN((uint64_t)n, reader_left(r) / 3))
        return ERR_CORRUPT;
    if (count && !(t->reasons = ARENA_ARRAY(t->arena, struct tsdb_token_reason, count)))
        return ERR_LIMIT;
    t->reason_cap = (uint32_t)count;
    for (; t->reason_count < count; t->reason_count++) {
        if (!next_row(r, t->reason_count == 0, n, &row))
            return ERR_CORRUPT;
        struct bytes text = reader_lenbytes(r);
        if (r->failed || text.size == 0 || text.size > TSDB_TOKENS_TEXT_MAX)
            return ERR_CORRUPT;
        if (!(text = arena_copy(t->arena, text)).data)
            return ERR_LIMIT;
        t->reasons[t->reason_count] = (struct tsdb_token_reason){row, text};
    }
    return ERR_OK;
}

enum err record_tokens_get(struct reader *r, uint32_t org, struct tsdb_tokens *t)
{
    struct tsdb_token_stream s = {.source = 0};
    uint64_t streams = reader_varint(r);
    if (r->failed || t->count || t->stream_count || streams == 0 || streams > reader_left(r) / 2)
        return ERR_CORRUPT;
    for (uint64_t i = 0; i < streams; i++) {
        enum err e = get_stream(r, org, t, &s);
        if (e != ERR_OK)
            return e;
    }
    uint64_t n = reader_varint(r);
    if (r->failed || n == 0 || n > reader_left(r))
        return ERR_CORRUPT;
    if (!tsdb_tokens_expect(t, (uint32_t)n))
        return ERR_LIMIT;
    if (!get_column(r, (uint32_t)n, streams - 1, t->stream, NULL) ||
        !get_column(r, (uint32_t)n, (TSDB_TOKEN_CHANNELS - 1) << 2 | 3, NULL, t->kind) ||
        !get_column(r, (uint32_t)n, UINT32_MAX, t->tokens, NULL) ||
        !get_column(r, (uint32_t)n, UINT32_MAX, t->ordinal, NULL))
        return ERR_CORRUPT;
    enum err e = get_times(r, t, (uint32_t)n);
    if (e == ERR_OK)
        e = get_rare(r, t, (uint32_t)n);
    if (e == ERR_OK)
        t->count = (uint32_t)n;
    return e;
}
