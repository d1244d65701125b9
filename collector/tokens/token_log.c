#include "collector/tokens/token_log.h"

#include <stdlib.h>

#include "base/check.h"
#include "tsdb/tsdb_timeline.h"

#define STALL_NS (10 * INT64_C(1000000000))
#define STALL_TIMES 20
#define ID_BYTES 24u
#define NOTE_IDS 15u /* a text note's index: trace and span id */

/* The low two bits of a note's first varint. */
enum { NOTE_USUAL, NOTE_FULL, NOTE_TEXT, NOTE_NEXT };
#define FULL_LOGPROB 16u
#define FULL_REASON 32u

/* --- notes ----------------------------------------------------------------------------------------- */

static void put_text(struct buf *out, uint32_t index, struct bytes text)
{
    buf_varint(out, (uint64_t)index << 2 | NOTE_TEXT);
    buf_lenbytes(out, text);
}

void token_log_put_texts(struct buf *out, struct token_log_state *s,
                         const struct tsdb_token_stream *h)
{
    for (uint32_t i = 0; i < TSDB_TOKEN_TEXT_COUNT; i++)
        if (h->text[i].size && !(s->texts >> i & 1)) {
            put_text(out, i, h->text[i]);
            s->texts |= (uint8_t)(1u << i);
        }
}

void token_log_put_header(struct buf *out, struct token_log_state *s,
                          const struct tsdb_token_stream *h)
{
    uint8_t ids[ID_BYTES + 1];
    *s = (struct token_log_state){0};
    memcpy(ids, h->trace_id, 16);
    memcpy(ids + 16, h->span_id, 8);
    ids[ID_BYTES] = h->source;
    put_text(out, NOTE_IDS, bytes_of(ids, sizeof ids));
    token_log_put_texts(out, s, h);
}

void token_log_put_event(struct buf *out, struct token_log_state *s,
                         const struct tsdb_token_event *e)
{
    int64_t step = (int64_t)((uint64_t)e->time_ns - (uint64_t)s->last_ns);
    uint64_t zigzag = ((uint64_t)step << 1) ^ (uint64_t)(step >> 63);
    bool is_next = e->ordinal && e->ordinal == s->last_ordinal + 1;
    if (e->kind == TSDB_TOKEN_CHUNK && e->channel == TSDB_TOKEN_OUTPUT && e->tokens == 1 &&
        !e->logprob_count && !e->reason.size && zigzag < (uint64_t)1 << 62 &&
        (is_next || !e->ordinal)) {
        buf_varint(out, zigzag << 2 | (is_next ? NOTE_NEXT : NOTE_USUAL));
    } else {
        uint64_t flags = e->kind | (uint64_t)e->channel << 2 |
                         (e->logprob_count ? FULL_LOGPROB : 0) | (e->reason.size ? FULL_REASON : 0);
        buf_varint(out, flags << 2 | NOTE_FULL);
        buf_varint(out, zigzag);
        buf_varint(out, e->tokens);
        buf_varint(out, e->ordinal);
        if (e->logprob_count) {
            uint32_t bits[2];
            memcpy(&bits[0], &e->logprob_sum, 4);
            memcpy(&bits[1], &e->logprob_min, 4);
            buf_varint(out, e->logprob_count);
            buf_u32(out, bits[0]);
            buf_u32(out, bits[1]);
        }
        if (e->reason.size)
            buf_lenbytes(out, e->reason);
    }
    s->last_ns = e->time_ns;
    s->last_ordinal = e->ordinal ? e->ordinal : s->last_ordinal;
    s->count++;
}

static bool read_text(struct reader *r, uint64_t index, struct token_log_state *s,
                      struct tsdb_token_stream *h)
{
    struct bytes text = reader_lenbytes(r);
    if (index == NOTE_IDS && text.size == ID_BYTES + 1 && text.data[ID_BYTES] <= TSDB_TOKEN_LOG) {
        memcpy(h->trace_id, text.data, 16);
        memcpy(h->span_id, text.data + 16, 8);
        h->source = text.data[ID_BYTES];
        return true;
    }
    if (r->failed || index >= TSDB_TOKEN_TEXT_COUNT || text.size > TSDB_TOKENS_TEXT_MAX)
        return false;
    h->text[index] = text;
    s->texts |= (uint8_t)(1u << index);
    return true;
}

static bool read_full(struct reader *r, uint64_t flags, struct tsdb_token_event *e,
                      uint64_t *zigzag)
{
    *zigzag = reader_varint(r);
    uint64_t tokens = reader_varint(r), ordinal = reader_varint(r);
    e->kind = flags & 3;
    e->channel = flags >> 2 & 3;
    e->tokens = (uint32_t)tokens;
    e->ordinal = (uint32_t)ordinal;
    if (flags & FULL_LOGPROB) {
        uint64_t count = reader_varint(r);
        uint32_t sum = reader_u32(r), min = reader_u32(r);
        e->logprob_count = (uint32_t)count;
        memcpy(&e->logprob_sum, &sum, 4);
        memcpy(&e->logprob_min, &min, 4);
        if (count > UINT32_MAX)
            return false;
    }
    if (flags & FULL_REASON)
        e->reason = reader_lenbytes(r);
    return !r->failed && flags < 64 && e->channel < TSDB_TOKEN_CHANNELS && tokens <= UINT32_MAX &&
           ordinal <= UINT32_MAX && e->reason.size <= TSDB_TOKENS_TEXT_MAX;
}

/* The next event; texts on the way go to the header. false: the end, or r->failed. */
static bool next_event(struct reader *r, struct token_log_state *s, struct tsdb_token_stream *h,
                       struct tsdb_token_event *e)
{
    while (reader_left(r)) {
        uint64_t head = reader_varint(r), zigzag = head >> 2;
        bool ok = !r->failed;
        *e = (struct tsdb_token_event){.tokens = 1};
        if ((head & 3) == NOTE_TEXT) {
            if (ok && read_text(r, head >> 2, s, h))
                continue;
            ok = false;
        } else if ((head & 3) == NOTE_FULL) {
            ok = ok && read_full(r, head >> 2, e, &zigzag);
        } else if ((head & 3) == NOTE_NEXT) {
            e->ordinal = s->last_ordinal + 1;
        }
        if (!ok) {
            r->failed = true;
            return false;
        }
        int64_t step = (int64_t)(zigzag >> 1) ^ -(int64_t)(zigzag & 1);
        e->time_ns = (int64_t)((uint64_t)s->last_ns + (uint64_t)step);
        s->last_ns = e->time_ns;
        s->last_ordinal = e->ordinal ? e->ordinal : s->last_ordinal;
        s->count++;
        return true;
    }
    return false;
}

enum err token_log_check(struct bytes notes, struct token_log_state *out,
                         struct tsdb_token_stream *header)
{
    struct reader r = reader_of(notes);
    struct tsdb_token_event e;
    *out = (struct token_log_state){0};
    *header = (struct tsdb_token_stream){0};
    while (next_event(&r, out, header, &e))
        ;
    return r.failed || !tsdb_tokens_is_named(header) ? ERR_CORRUPT : ERR_OK;
}

/* --- in order --------------------------------------------------------------------------------------- */

struct token_log_reading {
    struct tsdb_token_event *events;
    uint32_t count, cap;
    int64_t *gaps;
    struct tokens_interval *intervals;
    struct buf timeline;
};

struct token_log_reading *token_log_reading_new(void)
{
    return calloc(1, sizeof(struct token_log_reading));
}

void token_log_reading_free(struct token_log_reading *r)
{
    if (!r)
        return;
    free(r->events);
    free(r->gaps);
    free(r->intervals);
    buf_done(&r->timeline);
    free(r);
}

static bool grow(struct token_log_reading *r)
{
    uint32_t cap = r->cap ? r->cap * 2 : 256;
    void *events = realloc(r->events, cap * sizeof *r->events);
    if (events)
        r->events = events;
    void *gaps = realloc(r->gaps, cap * sizeof *r->gaps);
    if (gaps)
        r->gaps = gaps;
    void *intervals = realloc(r->intervals, cap * sizeof *r->intervals);
    if (intervals)
        r->intervals = intervals;
    if (!events || !gaps || !intervals)
        return false;
    r->cap = cap;
    return true;
}

/* Of one time: the start first, an end last. */
static int rank(uint8_t kind)
{
    return kind == TSDB_TOKEN_START ? 0 : kind == TSDB_TOKEN_CHUNK ? 1 : kind;
}

static int event_compare(const void *x, const void *y)
{
    const struct tsdb_token_event *a = x, *b = y;
    if (a->time_ns != b->time_ns)
        return a->time_ns < b->time_ns ? -1 : 1;
    if (a->kind != b->kind)
        return rank(a->kind) - rank(b->kind);
    if (a->ordinal != b->ordinal)
        return a->ordinal < b->ordinal ? -1 : 1;
    if (a->channel != b->channel)
        return a->channel - b->channel;
    if (a->tokens != b->tokens)
        return a->tokens < b->tokens ? -1 : 1;
    /* What is equal so far is a repeat; which of two that differ in the rest stays must not depend on their order. */
    if (a->logprob_count != b->logprob_count)
        return a->logprob_count < b->logprob_count ? -1 : 1;
    if (a->logprob_sum != b->logprob_sum)
        return a->logprob_sum < b->logprob_sum ? -1 : 1;
    return -bytes_compare(a->reason, b->reason);
}

static bool is_repeat(const struct tsdb_token_event *a, const struct tsdb_token_event *b)
{
    return a->time_ns == b->time_ns && a->kind == b->kind && a->ordinal == b->ordinal &&
           a->channel == b->channel && a->tokens == b->tokens;
}

static void put_in_order(struct token_log_reading *r, struct tokens_result *out)
{
    bool is_sorted = true;
    for (uint32_t i = 1; i < r->count && is_sorted; i++)
        is_sorted = event_compare(&r->events[i - 1], &r->events[i]) <= 0;
    if (!is_sorted)
        qsort(r->events, r->count, sizeof *r->events, event_compare);
    uint32_t n = 0;
    for (uint32_t i = 0; i < r->count; i++)
        if (n == 0 || !is_repeat(&r->events[n - 1], &r->events[i]))
            r->events[n++] = r->events[i];
    out->repeats = r->count - n;
    out->events = r->count = n;
}

/* --- what they mean ---------------------------------------------------------------------------------- */

static void read_ends(const struct token_log_reading *r, struct tokens_result *out)
{
    bool has_error = false, has_end = false;
    out->start_ns = r->events[0].time_ns;
    out->end_ns = r->events[r->count - 1].time_ns;
    for (uint32_t i = 0; i < r->count; i++) {
        const struct tsdb_token_event *e = &r->events[i];
        if (e->kind == TSDB_TOKEN_START && !out->has_start) {
            out->has_start = true;
            out->start_ns = e->time_ns;
        }
        bool is_error = e->kind == TSDB_TOKEN_ERROR;
        if ((is_error && !has_error) || (e->kind == TSDB_TOKEN_END && !has_error && e->reason.size))
            out->reason = e->reason;
        has_error = has_error || is_error;
        has_end = has_end || e->kind == TSDB_TOKEN_END;
    }
    if (has_error)
        out->kind = TOKENS_RESULT_ERROR;
    else if (has_end)
        out->kind = out->reason.size ? TOKENS_RESULT_COMPLETE : TOKENS_RESULT_CUT;
}

static void read_chunk(struct token_log_reading *r, struct tokens_result *out,
                       const struct tsdb_token_event *e)
{
    out->tokens[e->channel] += e->tokens;
    if (!out->visible_ns && e->channel == TSDB_TOKEN_OUTPUT)
        out->visible_ns = e->time_ns;
    if (out->chunks++ == 0) {
        out->first_ns = e->time_ns;
        out->first_tokens = e->tokens;
    } else {
        r->intervals[out->interval_count++] =
            (struct tokens_interval){e->time_ns - out->last_chunk_ns, e->tokens};
    }
    out->last_chunk_ns = e->time_ns;
}

static int i64_compare(const void *x, const void *y)
{
    int64_t a = *(const int64_t *)x, b = *(const int64_t *)y;
    return (a > b) - (a < b);
}

static void add_stall(struct tokens_result *out, int64_t from_ns, int64_t gap, int64_t limit)
{
    if (gap <= limit)
        return;
    if (out->stall_count < TOKENS_STALLS_MAX)
        out->stalls[out->stall_count] = (struct tokens_stall){from_ns - out->start_ns, gap};
    out->stall_count++;
}

/* Gaps between chunks, and the one before the end: longer than ten seconds and than twenty times the median. Few streams have a gap of ten
 * seconds, and only these need the median. */
static void read_stalls(struct token_log_reading *r, struct tokens_result *out)
{
    uint32_t n = out->interval_count;
    int64_t last = out->end_ns - out->last_chunk_ns, longest = out->chunks ? last : 0;
    for (uint32_t i = 0; i < n; i++) {
        r->gaps[i] = r->intervals[i].ns;
        longest = MAX(longest, r->gaps[i]);
    }
    if (longest <= STALL_NS)
        return;
    qsort(r->gaps, n, sizeof *r->gaps, i64_compare);
    int64_t median = n ? r->gaps[n / 2] : 0;
    int64_t limit =
        median > INT64_MAX / STALL_TIMES ? INT64_MAX : MAX(STALL_NS, median * STALL_TIMES);
    int64_t at = out->first_ns;
    for (uint32_t i = 0; i < n; at += r->intervals[i++].ns)
        add_stall(out, at, r->intervals[i].ns, limit);
    add_stall(out, out->last_chunk_ns, last, limit);
}

enum err token_log_read(struct token_log_reading *r, struct bytes notes, struct tokens_result *out)
{
    struct reader in = reader_of(notes);
    struct token_log_state s = {0};
    struct tsdb_token_event e;
    r->count = 0;
    while (next_event(&in, &s, &out->header, &e)) {
        if (r->count == r->cap && !grow(r))
            return ERR_NOMEM;
        r->events[r->count++] = e;
    }
    if (in.failed || !r->count)
        return ERR_CORRUPT;
    put_in_order(r, out);
    read_ends(r, out);
    buf_clear(&r->timeline);
    struct tsdb_timeline_writer w = tsdb_timeline_begin(&r->timeline);
    for (uint32_t i = 0; i < r->count; i++) {
        const struct tsdb_token_event *v = &r->events[i];
        if (v->logprob_count) {
            out->logprob_min =
                out->logprob_count ? MIN(out->logprob_min, v->logprob_min) : v->logprob_min;
            out->logprob_sum += (double)v->logprob_sum;
            out->logprob_count += v->logprob_count;
        }
        if (!v->tokens)
            continue;
        read_chunk(r, out, v);
        tsdb_timeline_put(&w, &(struct tsdb_timeline_chunk){MAX(v->time_ns - out->start_ns, 0),
                                                            v->tokens, v->channel});
    }
    out->intervals = r->intervals;
    out->timeline = buf_bytes(&r->timeline);
    if (!buf_ok(&r->timeline))
        return ERR_NOMEM;
    read_stalls(r, out);
    return ERR_OK;
}
