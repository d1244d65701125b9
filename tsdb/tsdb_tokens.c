#include "tsdb/tsdb_tokens.h"

#include "base/check.h"

#define STREAMS_FIRST 16u
#define EVENTS_FIRST 64u
#define TSDB_NO_STREAM UINT32_MAX

static bool is_zero(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i])
            return false;
    return true;
}

static bool has_span(const struct tsdb_token_stream *h)
{
    return !is_zero(h->trace_id, sizeof h->trace_id) && !is_zero(h->span_id, sizeof h->span_id);
}

bool tsdb_tokens_is_named(const struct tsdb_token_stream *h)
{
    return has_span(h) || h->text[TSDB_TOKEN_TEXT_request_id].size ||
           h->text[TSDB_TOKEN_TEXT_response_id].size;
}

/* The kind of name is in the seed: a request id never is a response id. */
static struct hash128 id_of(uint32_t org, const struct tsdb_token_stream *h)
{
    uint8_t both[24];
    if (has_span(h)) {
        memcpy(both, h->trace_id, 16);
        memcpy(both + 16, h->span_id, 8);
        return hash128(bytes_of(both, sizeof both), (uint64_t)org << 2);
    }
    if (h->text[TSDB_TOKEN_TEXT_request_id].size)
        return hash128(h->text[TSDB_TOKEN_TEXT_request_id], (uint64_t)org << 2 | 1);
    return hash128(h->text[TSDB_TOKEN_TEXT_response_id], (uint64_t)org << 2 | 2);
}

static void slot_put(struct tsdb_tokens *t, uint32_t stream)
{
    uint32_t mask = t->stream_cap * 2 - 1, at = (uint32_t)t->streams[stream].id.lo & mask;
    while (t->slots[at])
        at = (at + 1) & mask;
    t->slots[at] = stream + 1;
}

static void slots_fill(struct tsdb_tokens *t)
{
    memset(t->slots, 0, sizeof *t->slots * t->stream_cap * 2);
    for (uint32_t i = 0; i < t->stream_count; i++)
        slot_put(t, i);
}

static bool arena_ready(struct tsdb_tokens *t)
{
    return t->arena || (t->arena = arena_new(TSDB_TOKENS_BYTES_MAX));
}

static bool grow_streams(struct tsdb_tokens *t)
{
    uint32_t cap = t->stream_cap ? t->stream_cap * 2 : STREAMS_FIRST;
    void *streams = arena_grow(t->arena, t->streams, sizeof *t->streams, t->stream_cap, cap);
    uint32_t *slots = streams ? ARENA_ARRAY(t->arena, uint32_t, cap * 2) : NULL;
    if (streams)
        t->streams = streams; /* has what it had, whatever comes */
    if (!slots)
        return false;
    t->slots = slots;
    t->stream_cap = cap;
    slots_fill(t);
    return true;
}

static struct bytes cut(struct bytes b)
{
    return bytes_slice(b, 0, MIN(b.size, TSDB_TOKENS_TEXT_MAX));
}

static bool keep_texts(struct tsdb_tokens *t, struct tsdb_token_stream *to,
                       const struct tsdb_token_stream *from)
{
    const struct tsdb_token_stream *last =
        t->stream_count ? &t->streams[t->stream_count - 1] : NULL;
    for (uint32_t i = 0; i < TSDB_TOKEN_TEXT_COUNT; i++) {
        struct bytes v = cut(from->text[i]);
        if (!v.size || to->text[i].size)
            continue;
        if (last && bytes_equal(last->text[i], v)) {
            to->text[i] = last->text[i]; /* services repeat theirs */
            continue;
        }
        struct bytes copy = arena_copy(t->arena, v);
        if (!copy.data)
            return false;
        to->text[i] = copy;
    }
    return true;
}

uint32_t tsdb_tokens_stream(struct tsdb_tokens *t, uint32_t org, const struct tsdb_token_stream *h)
{
    struct hash128 id = id_of(org, h);
    if (!arena_ready(t) || (t->stream_count == t->stream_cap && !grow_streams(t)))
        return TSDB_NO_STREAM;
    uint32_t mask = t->stream_cap * 2 - 1;
    for (uint32_t at = (uint32_t)id.lo & mask; t->slots[at]; at = (at + 1) & mask) {
        struct tsdb_token_stream *s = &t->streams[t->slots[at] - 1];
        if (hash128_equal(s->id, id))
            return keep_texts(t, s, h) ? t->slots[at] - 1 : TSDB_NO_STREAM;
    }
    struct tsdb_token_stream fresh = {.id = id, .source = h->source};
    memcpy(fresh.trace_id, h->trace_id, sizeof fresh.trace_id);
    memcpy(fresh.span_id, h->span_id, sizeof fresh.span_id);
    if (!keep_texts(t, &fresh, h))
        return TSDB_NO_STREAM;
    t->streams[t->stream_count] = fresh;
    slot_put(t, t->stream_count);
    return t->stream_count++;
}

bool tsdb_tokens_expect(struct tsdb_tokens *t, uint32_t cap)
{
    if (cap <= t->cap)
        return true;
    if (!arena_ready(t))
        return false;
    void *stream = arena_grow(t->arena, t->stream, sizeof *t->stream, t->cap, cap);
    void *time = arena_grow(t->arena, t->time_ns, sizeof *t->time_ns, t->cap, cap);
    void *kind = arena_grow(t->arena, t->kind, sizeof *t->kind, t->cap, cap);
    void *tokens = arena_grow(t->arena, t->tokens, sizeof *t->tokens, t->cap, cap);
    void *ordinal = arena_grow(t->arena, t->ordinal, sizeof *t->ordinal, t->cap, cap);
    t->stream = stream ? stream : t->stream;
    t->time_ns = time ? time : t->time_ns;
    t->kind = kind ? kind : t->kind;
    t->tokens = tokens ? tokens : t->tokens;
    t->ordinal = ordinal ? ordinal : t->ordinal;
    if (!stream || !time || !kind || !tokens || !ordinal)
        return false;
    t->cap = cap;
    return true;
}

static bool add_logprob(struct tsdb_tokens *t, const struct tsdb_token_event *e)
{
    if (t->logprob_count == t->logprob_cap) {
        uint32_t cap = t->logprob_cap ? t->logprob_cap * 2 : EVENTS_FIRST;
        void *more = arena_grow(t->arena, t->logprobs, sizeof *t->logprobs, t->logprob_cap, cap);
        if (!more)
            return false;
        t->logprobs = more;
        t->logprob_cap = cap;
    }
    t->logprobs[t->logprob_count++] =
        (struct tsdb_token_logprob){t->count, e->logprob_count, e->logprob_sum, e->logprob_min};
    return true;
}

static bool add_reason(struct tsdb_tokens *t, const struct tsdb_token_event *e)
{
    if (t->reason_count == t->reason_cap) {
        uint32_t cap = t->reason_cap ? t->reason_cap * 2 : STREAMS_FIRST;
        void *more = arena_grow(t->arena, t->reasons, sizeof *t->reasons, t->reason_cap, cap);
        if (!more)
            return false;
        t->reasons = more;
        t->reason_cap = cap;
    }
    struct bytes text = cut(e->reason);
    struct bytes last = t->reason_count ? t->reasons[t->reason_count - 1].text : BYTES_NONE;
    text = bytes_equal(text, last) ? last : arena_copy(t->arena, text);
    if (!text.data)
        return false;
    t->reasons[t->reason_count++] = (struct tsdb_token_reason){t->count, text};
    return true;
}

bool tsdb_tokens_add(struct tsdb_tokens *t, const struct tsdb_token_event *e)
{
    CHECK(e->stream < t->stream_count && e->kind <= TSDB_TOKEN_ERROR &&
          e->channel < TSDB_TOKEN_CHANNELS);
    if (t->count == t->cap && !tsdb_tokens_expect(t, t->cap ? t->cap * 2 : EVENTS_FIRST))
        return false;
    if (e->logprob_count && !add_logprob(t, e))
        return false;
    if (e->reason.size && !add_reason(t, e)) {
        t->logprob_count -= e->logprob_count != 0;
        return false;
    }
    uint32_t row = t->count++;
    t->stream[row] = e->stream;
    t->time_ns[row] = e->time_ns;
    t->kind[row] = (uint8_t)(e->kind | e->channel << 2);
    t->tokens[row] = e->tokens;
    t->ordinal[row] = e->ordinal;
    return true;
}

struct tsdb_tokens_mark tsdb_tokens_mark(const struct tsdb_tokens *t)
{
    return (struct tsdb_tokens_mark){t->stream_count, t->count, t->logprob_count, t->reason_count};
}

void tsdb_tokens_rewind(struct tsdb_tokens *t, struct tsdb_tokens_mark to)
{
    t->count = to.events;
    t->logprob_count = to.logprobs;
    t->reason_count = to.reasons;
    if (t->stream_count != to.streams) {
        t->stream_count = to.streams;
        slots_fill(t);
    }
}

void tsdb_tokens_done(struct tsdb_tokens *t)
{
    arena_free(t->arena);
    *t = (struct tsdb_tokens){0};
}

size_t tsdb_tokens_bytes(const struct tsdb_tokens *t)
{
    return t->arena ? arena_used(t->arena) : 0;
}
