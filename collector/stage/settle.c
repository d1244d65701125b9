#include "collector/stage/settle.h"

#include "collector/stage/settle_agent.h"
#include "collector/stage/settle_reported.h"
#include "collector/stage/settle_state.h"
#include "collector/stage/settle_tokens.h"
#include "collector/stage/settle_tool.h"
#include "collector/stage/settle_twin.h"

#include "collector/stage/derive_agent.h"

#include "base/stats.h"

#include <stdlib.h>

STATS_COUNTER(log_twins, "telltale_stage_settled_total", "rule=\"log_books\"",
              "Rows settled by other rows.")

struct settle *settle_new(const struct settle_options *o)
{
    struct settle *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->o = *o;
    s->derive = derive_new(o->breakdown);
    s->scratch = arena_new(8u << 20);
    s->changes = calloc(SETTLE_CHANGES_KEPT, sizeof *s->changes);
    s->reported = settle_reported_new();
    s->streams = tokens_open_new(&o->streams);
    if (s->derive && s->scratch && s->changes && s->reported && s->streams)
        return s;
    settle_free(s);
    return NULL;
}

void settle_free(struct settle *s)
{
    if (!s)
        return;
    for (uint32_t i = 0; i < s->generation_count; i++)
        settle_index_free(s->generations[i]);
    for (uint32_t i = 0; i < s->pool_cap; i++)
        tsdb_batch_free(s->pool[i].own);
    derive_free(s->derive);
    tokens_open_free(s->streams);
    arena_free(s->scratch);
    free(s->hashes);
    free(s->pool);
    free(s->changes);
    settle_reported_free(s->reported);
    free(s);
}

struct derive *settle_derive(struct settle *s)
{
    return s->derive;
}

static struct settle_index *index_open(struct settle *s, uint64_t generation)
{
    struct settle_index *x = settle_state_index(s, generation);
    if (x)
        return x;
    if (s->generation_count == SETTLE_GENERATIONS_MAX)
        settle_drop(s, s->generations[0]->generation);
    x = settle_index_new(generation, SETTLE_ROWS_MAX);
    if (x)
        s->generations[s->generation_count++] = x;
    return x;
}

/* The entry never was: what it stood in front of is found again. */
static void entry_die(struct settle_index *x, uint32_t index)
{
    struct settle_index_entry *e = &x->entries[index];
    if (e->replaced_span)
        settle_index_replace(x, false, index, e->replaced_span - 1);
    if (e->replaced_id)
        settle_index_replace(x, true, index, e->replaced_id - 1);
    e->flags |= SETTLE_INDEX_DEAD;
}

struct tokens_open *settle_streams(struct settle *s)
{
    return s->streams;
}

void settle_undo(struct settle *s, uint64_t seq)
{
    tokens_open_undo(s->streams, seq);
    while (s->change_count && s->changes[s->change_count - 1].seq >= seq) {
        struct settle_change *c = &s->changes[--s->change_count];
        struct settle_index *x = settle_state_index(s, c->generation);
        if (x && c->index < x->count)
            x->entries[c->index] = c->old;
    }
    for (uint32_t g = 0; g < s->generation_count; g++) {
        struct settle_index *x = s->generations[g];
        for (uint32_t i = x->count; i > 0 && x->entries[i - 1].seq >= seq; i--)
            if (x->entries[i - 1].seq == seq)
                entry_die(x, i - 1);
    }
    for (uint32_t i = 0; i < s->pool_cap; i++) {
        struct settle_pending *p = &s->pool[i];
        if (p->is_used && p->resolved_seq == seq)
            p->resolved_seq = 0;
        if (p->is_used && p->seq == seq)
            p->resolved_seq = seq; /* never happened; swept away later */
    }
}

/* --- rows ------------------------------------------------------------------------------------------------------ */

static void span_row(struct settle_work *w, uint32_t row)
{
    const struct tsdb_spans *sp = &w->b->spans;
    uint8_t class = settle_state_class(sp, row);
    bool agent_done = false;
    struct settle_index_entry e = {.b = w->b, .row = row, .seq = w->seq};
    if (settle_twin_repeat(w, row, &e, &agent_done) == SETTLE_TWIN_LOSES)
        return;
    e.trace_hash = w->s->hashes[row].trace;
    e.span_hash = w->s->hashes[row].span;
    if (class & TSDB_CLASS_CALL) {
        e.id_hash = settle_state_hash_response(w->b->org, SETTLE_STR(sp, response_id, row));
        if (!settle_twin_row(w, row, &e) || !settle_twin_nested(w, row)) {
            e.flags |= SETTLE_INDEX_LOST;
            e.id_hash = 0; /* the winner is the one to be found */
        }
    } else if (TSDB_SPAN_GET(sp, tool_outcome, row, 0) || settle_tool_is_wait(sp, row)) {
        settle_tool_span(w, row, &e);
    } else if (SETTLE_STR(sp, tool_call_id, row).size) {
        settle_tool_task(w, row, &e);
    }
    if (!settle_index_add(w->index, &e))
        settle_state_not_kept(1);
    settle_agent_touch(w, row, class & TSDB_CLASS_CALL);
    if (settle_agent_waits(sp, row) && !agent_done)
        settle_agent_row(w, row);
}

/* A log that is a call books against its span, and once. */
static void log_call(struct settle_work *w, uint32_t row, struct genai_row *r,
                     struct settle_index_entry *n)
{
    struct settle *s = w->s;
    struct settle_index *x = NULL;
    struct settle_index_entry *e =
        r->response_id.size && !s->o.without_twins
            ? settle_twin_find(s, w->b, r->response_id, r->provider, NULL, &x)
            : NULL;
    if (r->ttft_ns >= 0)
        n->flags |= SETTLE_INDEX_FIRST_TOKEN;
    if (e) {
        stats_add(&log_twins, 1);
        settle_state_take_back(w, e->b, e->row,
                               r->ttft_ns >= 0 ? SETTLE_TAKE_CALL : SETTLE_TAKE_LOGGED);
        settle_state_mark_lost(w, x, e);
        if (x == w->index)
            n->replaced_id = (uint32_t)(e - x->entries) + 1;
    }
    if (w->mut)
        w->ok = w->ok && derive_row(s->derive, w->mut, TSDB_NO_ROW, r, w->b->logs.scope_name[row]);
    settle_state_book(w, r);
    settle_reported_call(w, r);
}

static bool log_is_known(struct settle *s, uint32_t org, uint64_t hash)
{
    for (uint32_t g = s->generation_count; g > 0; g--) {
        uint32_t it = 0;
        const struct settle_index_entry *e;
        while ((e = settle_index_id(s->generations[g - 1], hash, &it)))
            if ((e->flags & SETTLE_INDEX_LOG) && e->b->org == org)
                return true;
    }
    return false;
}

/* What makes a record the same one when it is sent again: its own id, else its session, time and numbers. */
static uint64_t log_hash(const struct tsdb_batch *b, uint32_t row, const struct genai_row *r)
{
    if (r->event == TSDB_EVENT_CALL && r->response_id.size)
        return settle_state_hash_response(b->org, r->response_id);
    if (r->event == TSDB_EVENT_TOOL && r->tool_call_id.size)
        return settle_state_hash_tool(b->org, r->tool_call_id);
    const int64_t parts[] = {b->org,         b->logs.time_ns[row], r->event,
                             r->outcome,     r->input_tokens,      r->output_tokens,
                             r->duration_ns, r->tool_outcome};
    uint64_t h = hash64(bytes_of(parts, sizeof parts), 4);
    h = hash64(r->service, h);
    h = hash64(r->conversation_id, h);
    h = hash64(r->turn, h);
    return hash64(r->tool_name, h) | 1;
}

/* The cells of log records are made here, where their twins are known. */
static void log_row(struct settle_work *w, struct tsdb_batch *reading, uint32_t row)
{
    struct settle *s = w->s;
    struct genai_row *r = &s->derive->row;
    if (!TSDB_SPAN_GET(&w->b->logs, event, row, 0) ||
        !genai_read_log(s->o.genai, s->derive->memo, reading, row, r) ||
        r->event == TSDB_EVENT_PROMPT)
        return;
    struct settle_index_entry n = {.b = w->b, .row = row, .seq = w->seq, .flags = SETTLE_INDEX_LOG};
    n.id_hash = log_hash(w->b, row, r);
    n.trace_hash = n.span_hash = n.id_hash ^ 2;
    bool is_tool = r->event == TSDB_EVENT_TOOL;
    if (!s->o.without_twins && !is_tool && log_is_known(s, w->b->org, n.id_hash)) {
        stats_add(&log_twins, 1);
        return;
    }
    if (is_tool)
        settle_tool_log(w, row, r, &n);
    else if (r->event == TSDB_EVENT_CALL)
        log_call(w, row, r, &n);
    else if (w->mut && r->event == TSDB_EVENT_COMPACTION)
        w->ok = w->ok && derive_agent_compaction(s->derive, w->mut, r);
    else if (w->mut && r->event == TSDB_EVENT_CONNECTION)
        w->ok = w->ok && derive_agent_connection(s->derive, w->mut, r);
    if (!settle_index_add(w->index, &n))
        settle_state_not_kept(1);
}

#define ROWS_AHEAD 12u

static bool row_counts(const struct tsdb_batch *b, uint32_t row)
{
    return settle_state_class(&b->spans, row) && !(b->span_dropped && b->span_dropped[row]);
}

static bool hash_rows(struct settle *s, const struct tsdb_batch *b)
{
    if (b->spans.count > s->hash_cap) {
        struct settle_hashes *more = realloc(s->hashes, b->spans.count * sizeof *more);
        if (!more)
            return false;
        s->hashes = more;
        s->hash_cap = b->spans.count;
    }
    for (uint32_t i = 0; i < b->spans.count; i++) {
        if (!row_counts(b, i))
            continue;
        uint64_t trace = settle_state_hash_trace(b->org, &b->spans.trace_id[i]);
        s->hashes[i].trace = trace;
        s->hashes[i].span = settle_state_hash_in_trace(trace, &b->spans.span_id[i]);
    }
    return true;
}

static void prefetch_row(const struct settle *s, const struct tsdb_batch *b, uint32_t row)
{
    if (row >= b->spans.count || !row_counts(b, row))
        return;
    for (uint32_t g = 0; g < s->generation_count; g++)
        settle_index_prefetch(s->generations[g], s->hashes[row].span, s->hashes[row].trace);
}

static void span_rows(struct settle_work *w)
{
    for (uint32_t i = 0; i < ROWS_AHEAD; i++)
        prefetch_row(w->s, w->b, i);
    for (uint32_t i = 0; i < w->b->spans.count && w->ok; i++) {
        prefetch_row(w->s, w->b, i + ROWS_AHEAD);
        if (row_counts(w->b, i))
            span_row(w, i);
    }
}

static bool book_stream(void *ctx, const struct tokens_result *r)
{
    struct settle_work *w = ctx;
    return settle_tokens_book(w->s->derive, w->mut, r);
}

/* Streams close while a batch is settled; when it is replayed, its journal record has what they gave. */
static enum err settle_streams_of(struct settle_work *w)
{
    struct tokens_open *t = w->s->streams;
    enum err e = tokens_open_batch(t, w->b, w->seq, w->mut ? book_stream : NULL, w);
    if (!w->mut)
        tokens_open_committed(t);
    return e;
}

enum err settle_batch(struct settle *s, const struct tsdb_batch *b, struct tsdb_batch *mut,
                      uint64_t seq, uint64_t generation)
{
    struct settle_work w = {s, index_open(s, generation), b, mut, seq, true};
    if (!w.index)
        return ERR_NOMEM;
    if (b->received_ns > s->now_ns)
        s->now_ns = b->received_ns;
    s->cells_given = b->cells.count;
    if (!hash_rows(s, b))
        return ERR_NOMEM;
    span_rows(&w);
    if (b->logs.count) {
        struct tsdb_batch reading = *b;
        arena_reset(s->scratch);
        reading.arena = s->scratch;
        genai_memo_batch(s->derive->memo);
        for (uint32_t i = 0; i < b->logs.count && w.ok; i++)
            log_row(&w, &reading, i);
        genai_memo_batch(s->derive->memo);
    }
    settle_reported_points(&w);
    settle_agent_sweep(&w);
    return w.ok ? settle_streams_of(&w) : ERR_LIMIT;
}

/* --- generations go ------------------------------------------------------------------------------ */

void settle_drop(struct settle *s, uint64_t generation)
{
    settle_agent_drop(s, generation);
    for (uint32_t i = 0; i < s->generation_count; i++) {
        if (s->generations[i]->generation != generation)
            continue;
        settle_index_free(s->generations[i]);
        memmove(s->generations + i, s->generations + i + 1,
                (s->generation_count - i - 1) * sizeof s->generations[0]);
        s->generation_count--;
        break;
    }
}
