#include "collector/tokens/tokens_open.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/stats.h"
#include "collector/tokens/closed_set.h"
#include "collector/tokens/token_log.h"

#define SLOTS_FIRST 64u
#define NEVER INT64_MAX
#define EVICT_SHARE 16u /* of the open streams at once: looking for the oldest is a walk over all */
#define CHECKPOINT_VERSION 1u
#define STREAM_FIXED 160u /* about what a stream takes beside its notes */

#define EVENTS "telltale_token_events_total"
#define EVENTS_HELP "Token events by what became of them."
STATS_COUNTER(events_assembled, EVENTS, "result=\"assembled\"", EVENTS_HELP)
STATS_COUNTER(events_repeated, EVENTS, "result=\"repeated\"", EVENTS_HELP)
STATS_COUNTER(events_late, EVENTS, "result=\"late\"", EVENTS_HELP)
STATS_COUNTER(events_other, EVENTS, "result=\"other_source\"", EVENTS_HELP)
STATS_GAUGE(streams_open, "telltale_token_streams_open", "", "Streams whose end has not come.")
STATS_GAUGE(bytes_open, "telltale_token_streams_open_bytes", "", "Memory of open streams.")

struct open_stream {
    struct hash128 id;
    uint64_t number; /* in the order of opening */
    uint64_t touched_seq;
    uint8_t *notes;
    uint32_t size, cap;
    struct token_log_state state;
    uint32_t org;
    uint8_t source;
    bool is_used, has_ended;
};

enum change_kind { CHANGE_OPENED, CHANGE_TOUCHED, CHANGE_CLOSED, CHANGE_TURNED, CHANGE_CLOCK };
struct change {
    enum change_kind kind;
    uint32_t slot;
    uint64_t seq;
    int64_t deadline; /* CLOCK: what it was */
    struct open_stream old;
    struct closed_set gone; /* TURNED */
};

struct tokens_open {
    struct tokens_open_options o;
    struct open_stream *streams;
    int64_t *deadlines; /* beside the streams: the walk over them is short */
    uint32_t *free_slots;
    uint32_t cap, free_count, count;
    uint32_t *map; /* slot + 1 by id; map_size places */
    uint32_t map_size;
    struct closed_set young, old;
    struct change *changes;
    uint32_t change_count, change_cap;
    uint64_t opened;
    size_t bytes;
    int64_t now_ns, first_deadline; /* no stream is due before it */
    struct token_log_reading *reading;
};

const char *tokens_open_result_text(enum tokens_result_kind k)
{
    static const char *const texts[] = {
#define X(name, text) text,
        TOKENS_RESULT_TABLE(X)
#undef X
    };
    return texts[k];
}

/* --- memory ---------------------------------------------------------------------------------------- */

struct tokens_open *tokens_open_new(const struct tokens_open_options *o)
{
    struct tokens_open *t = calloc(1, sizeof *t);
    if (!t || !(t->reading = token_log_reading_new())) {
        free(t);
        return NULL;
    }
    if (o)
        t->o = *o;
    t->o.streams_max = t->o.streams_max ? t->o.streams_max : TOKENS_STREAMS_MAX;
    t->o.bytes_max = t->o.bytes_max ? t->o.bytes_max : TOKENS_OPEN_BYTES_MAX;
    t->first_deadline = NEVER;
    return t;
}

static void forget_all(struct tokens_open *t)
{
    for (uint32_t i = 0; i < t->cap; i++)
        free(t->streams[i].notes);
    for (uint32_t i = 0; i < t->change_count; i++)
        closed_set_done(&t->changes[i].gone);
    closed_set_done(&t->young);
    closed_set_done(&t->old);
    free(t->streams);
    free(t->deadlines);
    free(t->free_slots);
    free(t->map);
    t->streams = NULL;
    t->deadlines = NULL;
    t->free_slots = t->map = NULL;
    t->cap = t->free_count = t->count = t->map_size = t->change_count = 0;
    t->opened = 0;
    t->bytes = 0;
    t->now_ns = 0;
    t->first_deadline = NEVER;
}

void tokens_open_free(struct tokens_open *t)
{
    if (!t)
        return;
    forget_all(t);
    free(t->changes);
    token_log_reading_free(t->reading);
    free(t);
}

static void map_put(struct tokens_open *t, uint32_t slot)
{
    uint32_t at = (uint32_t)t->streams[slot].id.lo & (t->map_size - 1);
    while (t->map[at])
        at = (at + 1) & (t->map_size - 1);
    t->map[at] = slot + 1;
}

static struct open_stream *map_find(const struct tokens_open *t, struct hash128 id)
{
    if (!t->map_size)
        return NULL;
    uint32_t mask = t->map_size - 1;
    for (uint32_t at = (uint32_t)id.lo & mask; t->map[at]; at = (at + 1) & mask)
        if (hash128_equal(t->streams[t->map[at] - 1].id, id))
            return &t->streams[t->map[at] - 1];
    return NULL;
}

static void map_remove(struct tokens_open *t, uint32_t slot)
{
    uint32_t mask = t->map_size - 1, hole = (uint32_t)t->streams[slot].id.lo & mask;
    while (t->map[hole] != slot + 1)
        hole = (hole + 1) & mask;
    for (uint32_t at = (hole + 1) & mask; t->map[at]; at = (at + 1) & mask) {
        uint32_t home = (uint32_t)t->streams[t->map[at] - 1].id.lo & mask;
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            t->map[hole] = t->map[at];
            hole = at;
        }
    }
    t->map[hole] = 0;
}

static bool grow_slots(struct tokens_open *t)
{
    uint32_t cap = t->cap ? t->cap * 2 : SLOTS_FIRST;
    void *streams = realloc(t->streams, cap * sizeof *t->streams);
    t->streams = streams ? streams : t->streams;
    void *deadlines = realloc(t->deadlines, cap * sizeof *t->deadlines);
    t->deadlines = deadlines ? deadlines : t->deadlines;
    void *free_slots = realloc(t->free_slots, cap * sizeof *t->free_slots);
    t->free_slots = free_slots ? free_slots : t->free_slots;
    uint32_t *map = calloc(cap * 2, sizeof *map);
    if (!streams || !deadlines || !free_slots || !map) {
        free(map);
        return false;
    }
    free(t->map);
    t->map = map;
    t->map_size = cap * 2;
    memset(t->streams + t->cap, 0, (cap - t->cap) * sizeof *t->streams);
    for (uint32_t i = cap; i-- > t->cap;) {
        t->deadlines[i] = NEVER;
        t->free_slots[t->free_count++] = i;
    }
    uint32_t before = t->cap;
    t->cap = cap;
    for (uint32_t i = 0; i < before; i++)
        if (t->streams[i].is_used)
            map_put(t, i);
    return true;
}

static struct change *change_add(struct tokens_open *t, enum change_kind kind, uint64_t seq,
                                 uint32_t slot)
{
    if (t->change_count == t->change_cap) {
        uint32_t cap = t->change_cap ? t->change_cap * 2 : 256;
        struct change *more = realloc(t->changes, cap * sizeof *more);
        if (!more)
            return NULL;
        t->changes = more;
        t->change_cap = cap;
    }
    struct change *c = &t->changes[t->change_count++];
    *c = (struct change){.kind = kind, .seq = seq, .slot = slot};
    if (kind < CHANGE_TURNED) {
        c->old = t->streams[slot];
        c->deadline = t->deadlines[slot];
    }
    return c;
}

static void slot_free(struct tokens_open *t, uint32_t slot)
{
    t->bytes -= t->streams[slot].cap + STREAM_FIXED;
    free(t->streams[slot].notes);
    t->streams[slot] = (struct open_stream){0};
    t->deadlines[slot] = NEVER;
    t->free_slots[t->free_count++] = slot;
}

/* --- undo -------------------------------------------------------------------------------------------- */

static void change_undo(struct tokens_open *t, struct change *c)
{
    struct open_stream *s = c->kind < CHANGE_TURNED ? &t->streams[c->slot] : NULL;
    switch (c->kind) {
    case CHANGE_OPENED:
        map_remove(t, c->slot);
        slot_free(t, c->slot);
        t->count--;
        return;
    case CHANGE_TOUCHED: /* notes only grew; they may have moved */
        c->old.notes = s->notes;
        c->old.cap = s->cap;
        *s = c->old;
        break;
    case CHANGE_CLOSED:
        *s = c->old;
        closed_set_remove(&t->young, s->id.hi | 1);
        map_put(t, c->slot);
        t->count++;
        break;
    case CHANGE_TURNED:
        closed_set_done(&t->young);
        t->young = t->old;
        t->old = c->gone;
        return;
    case CHANGE_CLOCK: t->now_ns = c->deadline; return;
    }
    t->deadlines[c->slot] = c->deadline;
    t->first_deadline = MIN(t->first_deadline, c->deadline);
}

void tokens_open_undo(struct tokens_open *t, uint64_t seq)
{
    while (t->change_count && t->changes[t->change_count - 1].seq >= seq)
        change_undo(t, &t->changes[--t->change_count]);
}

void tokens_open_committed(struct tokens_open *t)
{
    for (uint32_t i = 0; i < t->change_count; i++) {
        if (t->changes[i].kind == CHANGE_CLOSED)
            slot_free(t, t->changes[i].slot);
        closed_set_done(&t->changes[i].gone);
    }
    t->change_count = 0;
    stats_set(&streams_open, t->count);
    stats_set(&bytes_open, (int64_t)t->bytes);
}

/* --- closing ------------------------------------------------------------------------------------------ */

struct closing {
    struct tokens_open *t;
    uint64_t seq;
    tokens_open_fn fn;
    void *ctx;
};

/* The set turns before it is added to, so that a batch that is undone leaves it whole. */
static bool remember_closed(struct closing *c, uint64_t id)
{
    struct tokens_open *t = c->t;
    if (t->o.forgets_closed)
        return true;
    if (t->young.count >= TOKENS_CLOSED_MAX / 2) {
        struct change *turned = change_add(t, CHANGE_TURNED, c->seq, 0);
        if (!turned)
            return false;
        turned->gone = t->old;
        t->old = t->young;
        t->young = (struct closed_set){0};
    }
    return closed_set_add(&t->young, id);
}

static enum err stream_close(struct closing *c, uint32_t slot, enum tokens_result_kind why)
{
    struct tokens_open *t = c->t;
    struct open_stream *s = &t->streams[slot];
    if (!remember_closed(c, s->id.hi | 1) || !change_add(t, CHANGE_CLOSED, c->seq, slot))
        return ERR_NOMEM;
    map_remove(t, slot);
    s->is_used = false;
    t->deadlines[slot] = NEVER;
    t->count--;
    if (!c->fn)
        return ERR_OK;
    struct tokens_result r = {.org = s->org, .kind = why};
    enum err e = token_log_read(t->reading, bytes_of(s->notes, s->size), &r);
    if (e != ERR_OK)
        return e == ERR_CORRUPT ? ERR_OK : e; /* a stream without events: there was nothing */
    stats_add(&events_assembled, r.events);
    stats_add(&events_repeated, r.repeats);
    return c->fn(c->ctx, &r) ? ERR_OK : ERR_LIMIT;
}

struct candidate {
    int64_t deadline;
    uint64_t number;
    uint32_t slot;
};
static int candidate_compare(const void *x, const void *y)
{
    const struct candidate *a = x, *b = y;
    if (a->deadline != b->deadline)
        return a->deadline < b->deadline ? -1 : 1;
    return a->number < b->number ? -1 : a->number > b->number;
}

/* Streams of the org whose time has come, the longest due first, and no more than a batch has room for. */
static enum err sweep(struct closing *c, uint32_t org)
{
    struct tokens_open *t = c->t;
    int64_t first = NEVER;
    if (t->now_ns < t->first_deadline)
        return ERR_OK;
    struct candidate *list = malloc((t->count + 1) * sizeof *list);
    uint32_t n = 0;
    if (!list)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < t->cap; i++) {
        if (t->deadlines[i] <= t->now_ns && t->streams[i].org == org)
            list[n++] = (struct candidate){t->deadlines[i], t->streams[i].number, i};
        else
            first = MIN(first, t->deadlines[i]);
    }
    qsort(list, n, sizeof *list, candidate_compare);
    enum err e = ERR_OK;
    uint32_t many = MIN(n, TOKENS_CLOSE_MAX);
    for (uint32_t i = 0; i < many && e == ERR_OK; i++)
        e = stream_close(c, list[i].slot, TOKENS_RESULT_TIMEOUT);
    t->first_deadline = many < n ? list[many].deadline : first;
    free(list);
    return e;
}

/* Too many: the longest silent of the org that brought the last ones go. */
static enum err evict(struct closing *c, uint32_t org)
{
    struct tokens_open *t = c->t;
    if (t->count <= t->o.streams_max && t->bytes <= t->o.bytes_max)
        return ERR_OK;
    struct candidate *list = malloc((t->count + 1) * sizeof *list);
    uint32_t n = 0;
    enum err e = list ? ERR_OK : ERR_NOMEM;
    for (uint32_t i = 0; list && i < t->cap; i++)
        if (t->streams[i].is_used && t->streams[i].org == org)
            list[n++] = (struct candidate){t->deadlines[i], t->streams[i].number, i};
    if (list)
        qsort(list, n, sizeof *list, candidate_compare);
    uint32_t many = MAX(n / EVICT_SHARE, 1u);
    if (t->count > t->o.streams_max)
        many = MAX(many, t->count - t->o.streams_max);
    for (uint32_t i = 0; e == ERR_OK && i < MIN(n, many); i++)
        e = stream_close(c, list[i].slot, TOKENS_RESULT_EVICTED);
    free(list);
    return e;
}

/* --- events -------------------------------------------------------------------------------------------- */

static enum err stream_open(struct tokens_open *t, const struct tsdb_batch *b, uint64_t seq,
                            const struct tsdb_token_stream *h, struct open_stream **out)
{
    if (!t->free_count && !grow_slots(t))
        return ERR_NOMEM;
    uint32_t slot = t->free_slots[t->free_count - 1];
    struct open_stream *s = &t->streams[slot];
    struct buf notes = {0};
    struct token_log_state state;
    token_log_put_header(&notes, &state, h);
    struct change *c = buf_ok(&notes) ? change_add(t, CHANGE_OPENED, seq, slot) : NULL;
    if (!c) {
        buf_done(&notes);
        return ERR_NOMEM;
    }
    t->free_count--;
    *s = (struct open_stream){.id = h->id,
                              .number = t->opened++,
                              .touched_seq = seq,
                              .notes = notes.data,
                              .size = (uint32_t)notes.size,
                              .cap = (uint32_t)notes.cap,
                              .state = state,
                              .org = b->org,
                              .source = h->source,
                              .is_used = true};
    t->bytes += s->cap + STREAM_FIXED;
    t->count++;
    map_put(t, slot);
    *out = s;
    return ERR_OK;
}

/* The open stream of a batch's stream; *out NULL: its events do not count. */
static enum err stream_of(struct tokens_open *t, const struct tsdb_batch *b, uint64_t seq,
                          const struct tsdb_token_stream *h, struct open_stream **out,
                          struct stats_value **why)
{
    struct open_stream *s = map_find(t, h->id);
    *out = NULL;
    *why = &events_late;
    if (!s) {
        if (closed_set_has(&t->young, h->id.hi | 1) || closed_set_has(&t->old, h->id.hi | 1))
            return ERR_OK;
        return stream_open(t, b, seq, h, out);
    }
    *why = &events_other;
    if (s->source != h->source)
        return ERR_OK;
    if (s->touched_seq != seq) {
        if (!change_add(t, CHANGE_TOUCHED, seq, (uint32_t)(s - t->streams)))
            return ERR_NOMEM;
        s->touched_seq = seq;
    }
    *out = s;
    return ERR_OK;
}

static bool stream_note(struct tokens_open *t, struct open_stream *s,
                        const struct tsdb_token_event *e)
{
    struct buf notes = {.data = s->notes, .size = s->size, .cap = s->cap};
    if (s->state.count >= TOKENS_EVENTS_MAX) {
        stats_add(&events_late, 1);
        return true;
    }
    token_log_put_event(&notes, &s->state, e);
    t->bytes += notes.cap - s->cap;
    s->notes = notes.data;
    s->size = buf_ok(&notes) ? (uint32_t)notes.size : s->size;
    s->cap = (uint32_t)notes.cap;
    s->has_ended = s->has_ended || e->kind >= TSDB_TOKEN_END;
    return buf_ok(&notes);
}

static bool stream_texts(struct tokens_open *t, struct open_stream *s,
                         const struct tsdb_token_stream *h)
{
    struct buf notes = {.data = s->notes, .size = s->size, .cap = s->cap};
    token_log_put_texts(&notes, &s->state, h);
    t->bytes += notes.cap - s->cap;
    s->notes = notes.data;
    s->size = buf_ok(&notes) ? (uint32_t)notes.size : s->size;
    s->cap = (uint32_t)notes.cap;
    return buf_ok(&notes);
}

static enum err streams_find(struct tokens_open *t, const struct tsdb_batch *b, uint64_t seq,
                             uint32_t *slots, struct stats_value **why)
{
    const struct tsdb_tokens *in = &b->tokens;
    for (uint32_t i = 0; i < in->stream_count; i++) {
        struct open_stream *s;
        enum err e = stream_of(t, b, seq, &in->streams[i], &s, &why[i]);
        if (e != ERR_OK)
            return e;
        slots[i] = s ? (uint32_t)(s - t->streams) : UINT32_MAX;
        if (s && !stream_texts(t, s, &in->streams[i]))
            return ERR_NOMEM;
    }
    return ERR_OK;
}

static enum err events_add(struct tokens_open *t, const struct tsdb_batch *b, uint64_t seq)
{
    const struct tsdb_tokens *in = &b->tokens;
    uint32_t *slots = malloc(in->stream_count * sizeof *slots);
    struct stats_value **why = malloc(in->stream_count * sizeof(struct stats_value *));
    enum err e = slots && why ? streams_find(t, b, seq, slots, why) : ERR_NOMEM;
    for (uint32_t i = 0, lp = 0, rs = 0; i < in->count && e == ERR_OK; i++) {
        bool has_lp = lp < in->logprob_count && in->logprobs[lp].row == i;
        bool has_rs = rs < in->reason_count && in->reasons[rs].row == i;
        struct tsdb_token_event v = {.stream = in->stream[i],
                                     .time_ns = in->time_ns[i],
                                     .kind = tsdb_tokens_kind(in->kind[i]),
                                     .channel = tsdb_tokens_channel(in->kind[i]),
                                     .tokens = in->tokens[i],
                                     .ordinal = in->ordinal[i]};
        if (has_lp) {
            v.logprob_count = in->logprobs[lp].count;
            v.logprob_sum = in->logprobs[lp].sum;
            v.logprob_min = in->logprobs[lp++].min;
        }
        if (has_rs)
            v.reason = in->reasons[rs++].text;
        if (slots[v.stream] == UINT32_MAX)
            stats_add(why[v.stream], 1);
        else if (!stream_note(t, &t->streams[slots[v.stream]], &v))
            e = ERR_NOMEM;
    }
    for (uint32_t i = 0; e == ERR_OK && i < in->stream_count; i++) {
        if (slots[i] == UINT32_MAX)
            continue;
        const struct open_stream *s = &t->streams[slots[i]];
        int64_t wait = s->has_ended ? TOKENS_LINGER_NS : TOKENS_SILENCE_NS;
        t->deadlines[slots[i]] = t->now_ns + wait;
        t->first_deadline = MIN(t->first_deadline, t->now_ns + wait);
    }
    free(slots);
    free(why);
    return e;
}

enum err tokens_open_batch(struct tokens_open *t, const struct tsdb_batch *b, uint64_t seq,
                           tokens_open_fn fn, void *ctx)
{
    struct closing c = {t, seq, fn, ctx};
    if (b->received_ns > t->now_ns) {
        struct change *clock = change_add(t, CHANGE_CLOCK, seq, 0);
        if (!clock)
            return ERR_NOMEM;
        clock->deadline = t->now_ns;
        t->now_ns = b->received_ns;
    }
    enum err e = sweep(&c, b->org);
    if (e == ERR_OK && b->tokens.count)
        e = events_add(t, b, seq);
    return e == ERR_OK ? evict(&c, b->org) : e;
}

bool tokens_open_due(const struct tokens_open *t, int64_t now_ns, uint32_t *out_org)
{
    if (now_ns < t->first_deadline)
        return false;
    for (uint32_t i = 0; i < t->cap; i++)
        if (t->deadlines[i] <= now_ns) {
            *out_org = t->streams[i].org;
            return true;
        }
    return false;
}

uint32_t tokens_open_count(const struct tokens_open *t)
{
    return t->count;
}

size_t tokens_open_bytes(const struct tokens_open *t)
{
    return t->bytes;
}

/* --- checkpoints ----------------------------------------------------------------------------------------- */

static void put_closed(const struct closed_set *s, struct buf *out)
{
    buf_varint(out, s->count);
    for (uint32_t i = 0; i < s->size; i++)
        if (s->slots[i])
            buf_u64(out, s->slots[i]);
}

static int number_compare(const void *x, const void *y)
{
    const struct candidate *a = x, *b = y;
    return a->number < b->number ? -1 : a->number > b->number;
}

void tokens_open_checkpoint(const struct tokens_open *t, struct buf *out)
{
    struct candidate *list = malloc((t->count + 1) * sizeof *list);
    uint32_t n = 0;
    if (!list) {
        out->failed = true;
        return;
    }
    for (uint32_t i = 0; i < t->cap; i++)
        if (t->streams[i].is_used)
            list[n++] = (struct candidate){t->deadlines[i], t->streams[i].number, i};
    qsort(list, n, sizeof *list, number_compare);
    buf_u8(out, CHECKPOINT_VERSION);
    buf_zigzag(out, t->now_ns);
    buf_varint(out, t->o.forgets_checkpoint ? 0 : n);
    for (uint32_t i = 0; i < n && !t->o.forgets_checkpoint; i++) {
        const struct open_stream *s = &t->streams[list[i].slot];
        buf_u64(out, s->id.lo);
        buf_u64(out, s->id.hi);
        buf_varint(out, s->org);
        buf_u8(out, s->has_ended);
        buf_zigzag(out, list[i].deadline);
        buf_lenbytes(out, bytes_of(s->notes, s->size));
    }
    free(list);
    put_closed(&t->young, out);
    put_closed(&t->old, out);
}

static enum err get_stream(struct tokens_open *t, struct reader *r)
{
    struct tsdb_token_stream h;
    struct open_stream s = {.id.lo = reader_u64(r), .is_used = true};
    s.id.hi = reader_u64(r);
    uint64_t org = reader_varint(r);
    s.has_ended = reader_u8(r) != 0;
    int64_t deadline = reader_zigzag(r);
    struct bytes notes = reader_lenbytes(r);
    if (r->failed || org > UINT32_MAX || notes.size > UINT32_MAX ||
        token_log_check(notes, &s.state, &h) != ERR_OK || map_find(t, s.id))
        return ERR_CORRUPT;
    if ((!t->free_count && !grow_slots(t)) || !(s.notes = malloc(notes.size)))
        return ERR_NOMEM;
    memcpy(s.notes, notes.data, notes.size);
    s.size = s.cap = (uint32_t)notes.size;
    s.org = (uint32_t)org;
    s.source = h.source;
    s.number = t->opened++;
    s.touched_seq = UINT64_MAX;
    uint32_t slot = t->free_slots[--t->free_count];
    t->streams[slot] = s;
    t->deadlines[slot] = deadline;
    t->first_deadline = MIN(t->first_deadline, deadline);
    t->bytes += s.cap + STREAM_FIXED;
    t->count++;
    map_put(t, slot);
    return ERR_OK;
}

static enum err get_closed(struct reader *r, struct closed_set *s)
{
    uint64_t n = reader_varint(r);
    if (r->failed || n > reader_left(r) / 8)
        return ERR_CORRUPT;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t id = reader_u64(r);
        if (!id)
            return ERR_CORRUPT;
        if (!closed_set_add(s, id))
            return ERR_NOMEM;
    }
    return ERR_OK;
}

enum err tokens_open_restore(struct tokens_open *t, struct bytes state)
{
    struct reader r = reader_of(state);
    forget_all(t);
    uint8_t version = reader_u8(&r);
    t->now_ns = reader_zigzag(&r);
    uint64_t n = reader_varint(&r);
    enum err e = r.failed || version != CHECKPOINT_VERSION ? ERR_CORRUPT : ERR_OK;
    for (uint64_t i = 0; i < n && e == ERR_OK; i++)
        e = get_stream(t, &r);
    if (e == ERR_OK)
        e = get_closed(&r, &t->young);
    if (e == ERR_OK)
        e = get_closed(&r, &t->old);
    if (e == ERR_OK && reader_left(&r))
        e = ERR_CORRUPT;
    if (e != ERR_OK)
        forget_all(t);
    return e;
}
