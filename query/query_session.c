#include "query/query_session.h"

#include <stdlib.h>

#include "base/check.h"
#include "query/session_rows.h"

#define WAY_UP_MAX 16u

/* The rows of one session, in the order of their beginnings, and by span. */
struct work {
    struct session_row **rows, **by_span;
    uint32_t count;
};

const char *query_session_kind_name(enum query_session_kind kind)
{
    static const char *const names[] = {"call",       "tool",       "prompt",
                                        "compaction", "connection", "handoff"};
    return (size_t)kind < ARRAY_LEN(names) ? names[kind] : "";
}

const char *query_session_tool_name(uint8_t tool_outcome)
{
    static const char *const names[TSDB_TOOL_COUNT] = {"",         "ok",      "error",
                                                       "rejected", "aborted", "timeout"};
    return tool_outcome < TSDB_TOOL_COUNT ? names[tool_outcome] : "";
}

const char *query_session_lane_name(uint8_t lane)
{
    static const char *const names[] = {"", "main", "subagent", "auxiliary"};
    return lane < ARRAY_LEN(names) ? names[lane] : "";
}

/* --- orders ------------------------------------------------------------------------------------------ */

static int order_i64(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

static int by_session(const void *a, const void *b)
{
    const struct session_row *x = *(struct session_row *const *)a,
                             *y = *(struct session_row *const *)b;
    size_t n = MIN(x->session.size, y->session.size);
    int c = memcmp(x->session.data, y->session.data, n);
    if (!c)
        c = order_i64((int64_t)x->session.size, (int64_t)y->session.size);
    if (!c)
        c = order_i64(x->start_ns, y->start_ns);
    return c ? c : order_i64(x->end_ns, y->end_ns);
}

static int by_span(const void *a, const void *b)
{
    const struct session_row *x = *(struct session_row *const *)a,
                             *y = *(struct session_row *const *)b;
    int c = memcmp(x->trace_id.b, y->trace_id.b, 16);
    return c ? c : memcmp(x->span_id.b, y->span_id.b, 8);
}

static int by_id(const void *a, const void *b)
{
    const struct session_row *x = *(struct session_row *const *)a,
                             *y = *(struct session_row *const *)b;
    if (x->id != y->id)
        return x->id < y->id ? -1 : 1;
    return order_i64(x->start_ns, y->start_ns);
}

/* --- one call, told of by several rows ----------------------------------------------------------------- */

static struct session_row *span_find(const struct work *w, struct tsdb_id16 trace,
                                     struct tsdb_id8 span)
{
    uint32_t lo = 0, hi = w->count;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        const struct session_row *r = w->by_span[mid];
        int c = memcmp(r->trace_id.b, trace.b, 16);
        if (!c)
            c = memcmp(r->span_id.b, span.b, 8);
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    for (; lo < w->count; lo++) { /* a log record of the span has its ids too */
        struct session_row *r = w->by_span[lo];
        if (memcmp(r->trace_id.b, trace.b, 16) != 0 || memcmp(r->span_id.b, span.b, 8) != 0)
            return NULL;
        if (!r->is_log)
            return r;
    }
    return NULL;
}

static bool names_agree(const struct session_row *a, const struct session_row *b)
{
    if (a->id && b->id)
        return a->id == b->id;
    return !a->name.size || !b->name.size || bytes_equal(a->name, b->name);
}

/* A call directly below a call of the same usage is the one that counts; of nested rows of a tool call the outermost. */
static void settle_parents(struct work *w)
{
    for (uint32_t i = 0; i < w->count; i++) {
        struct session_row *r = w->rows[i], *top = NULL, *up = r;
        for (uint32_t k = 0; k < WAY_UP_MAX && !r->is_log; k++) {
            up = span_find(w, up->trace_id, up->parent_id);
            if (!up || up == r || up->kind != r->kind)
                break;
            if (r->kind == QUERY_SESSION_CALL) {
                if (up->input == r->input && up->output == r->output &&
                    bytes_equal(up->name, r->name))
                    up->is_lost = true;
                break;
            }
            if (r->kind == QUERY_SESSION_TOOL && names_agree(up, r))
                top = up;
        }
        if (top) {
            r->is_lost = true;
            top->outcome = tsdb_tool_worse(top->outcome, r->outcome);
        }
    }
}

/* Of rows of one id: a log record, else the later (inner) span of a call, the earlier (outer) one of a tool. */
static void settle_ids(struct work *w, struct session_row **scratch)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < w->count; i++)
        if (w->rows[i]->id && !w->rows[i]->is_lost)
            scratch[n++] = w->rows[i];
    if (n)
        qsort(scratch, n, sizeof(struct session_row *), by_id);
    for (uint32_t i = 0, end; i < n; i = end) {
        struct session_row *best = scratch[i];
        uint8_t outcome = best->outcome;
        for (end = i + 1; end < n && scratch[end]->id == scratch[i]->id; end++) {
            struct session_row *r = scratch[end];
            bool is_call = r->kind == QUERY_SESSION_CALL;
            if (!best->is_log && (r->is_log || is_call))
                best = r;
            if (!is_call)
                outcome = tsdb_tool_worse(outcome, r->outcome);
        }
        for (uint32_t k = i; k < end; k++)
            scratch[k]->is_lost = scratch[k] != best;
        if (best->kind == QUERY_SESSION_TOOL)
            best->outcome = outcome;
    }
}

static enum err settle_rows(struct work *w, struct arena *a)
{
    struct session_row **scratch = ARENA_ARRAY(a, struct session_row *, w->count + 1);
    w->by_span = ARENA_ARRAY(a, struct session_row *, w->count + 1);
    if (!scratch || !w->by_span)
        return ERR_LIMIT;
    memcpy(w->by_span, w->rows, w->count * sizeof *w->rows);
    qsort(w->by_span, w->count, sizeof *w->rows, by_span);
    settle_parents(w);
    settle_ids(w, scratch);
    return ERR_OK;
}

/* --- turns --------------------------------------------------------------------------------------------- */

struct turns {
    struct query_session_sums *sums;
    struct bytes *keys; /* of a prompt or trace */
    uint32_t count, cap;
    bool by_key, by_prompt;
};

static void sums_clear(struct query_session_sums *s)
{
    memset(s, 0, sizeof *s);
    s->context_tokens = -1;
}

static uint32_t turn_new(struct turns *t, struct bytes key, struct arena *a)
{
    if (t->count == QUERY_SESSION_TURNS_MAX)
        return t->count - 1;
    if (t->count == t->cap) {
        uint32_t cap = t->cap ? t->cap * 2 : 16;
        t->sums = arena_grow(a, t->sums, sizeof *t->sums, t->cap, cap);
        t->keys = arena_grow(a, t->keys, sizeof *t->keys, t->cap, cap);
        if (!t->sums || !t->keys)
            return UINT32_MAX;
        t->cap = cap;
    }
    sums_clear(&t->sums[t->count]);
    t->keys[t->count] = key;
    return t->count++;
}

/* By the prompt that rows name; else by the prompts that were seen; else by trace; else all is one turn. Rows come in order. */
static uint32_t turn_of(struct turns *t, const struct session_row *r, struct arena *a)
{
    static const struct tsdb_id16 none;
    struct bytes key = r->turn;
    if (!key.size && !t->by_key && !t->by_prompt && memcmp(r->trace_id.b, none.b, 16) != 0)
        key = bytes_of(r->trace_id.b, 16);
    if (key.size) {
        for (uint32_t i = t->count; i > 0; i--)
            if (bytes_equal(t->keys[i - 1], key))
                return i - 1;
        return turn_new(t, key, a);
    }
    if (t->count && !(t->by_prompt && !t->by_key && r->kind == QUERY_SESSION_PROMPT))
        return t->count - 1;
    return turn_new(t, BYTES_NONE, a);
}

static bool call_failed(uint8_t outcome)
{
    return outcome != TSDB_OUTCOME_NONE && outcome != TSDB_OUTCOME_OK &&
           outcome != TSDB_OUTCOME_BLOCKED && outcome != TSDB_OUTCOME_CANCELLED;
}

static void add_known(int64_t *sum, int64_t v)
{
    if (v > 0)
        *sum += v;
}

static void sums_add(struct query_session_sums *s, const struct session_row *r)
{
    static const struct tsdb_id16 none;
    if (!s->start_ns || r->start_ns < s->start_ns)
        s->start_ns = r->start_ns;
    s->end_ns = MAX(s->end_ns, r->end_ns);
    if (memcmp(s->trace_id.b, none.b, 16) == 0)
        s->trace_id = r->trace_id;
    if (r->is_lost)
        return;
    switch (r->kind) {
    case QUERY_SESSION_CALL:
        s->calls++;
        s->failed_calls += call_failed(r->outcome);
        s->unpriced += (r->flags & TSDB_ROW_UNPRICED) != 0;
        add_known(&s->input_tokens, r->input);
        add_known(&s->output_tokens, r->output);
        add_known(&s->cache_read_tokens, r->cache_read);
        add_known(&s->cost_nanousd, r->cost);
        add_known(&s->reported_cost_nanousd, r->reported);
        if (r->lane <= TSDB_LANE_MAIN && r->input > 0)
            s->context_tokens = r->input;
        if (r->name.size && (r->lane <= TSDB_LANE_MAIN || !s->model.size))
            s->model = r->name;
        break;
    case QUERY_SESSION_TOOL:
        s->tools++;
        s->tools_by[r->outcome % TSDB_TOOL_COUNT]++;
        break;
    case QUERY_SESSION_COMPACTION: s->compactions++; break;
    case QUERY_SESSION_HANDOFF: s->handoffs++; break;
    default: break;
    }
}

/* --- a session ----------------------------------------------------------------------------------------- */

static bool step_put(struct query_session *out, const struct session_row *r, uint32_t turn)
{
    if (out->step_count == QUERY_SESSION_STEPS_MAX)
        return false;
    out->steps[out->step_count++] = (struct query_session_step){
        .kind = r->kind,
        .turn = turn,
        .start_ns = r->start_ns,
        .duration_ns = r->duration_ns,
        .name = r->name,
        .word = r->word,
        .agent = r->agent,
        .outcome = r->outcome,
        .lane = r->lane,
        .is_log = r->is_log,
        .input_tokens = r->input,
        .output_tokens = r->output,
        .cache_read_tokens = r->cache_read,
        .cost_nanousd = r->cost,
        .trace_id = r->trace_id,
        .span_id = r->span_id,
    };
    return true;
}

/* with_steps false: the line alone. Rows are those of one session, sorted. */
static enum err session_make(struct session_row **rows, uint32_t n, bool with_steps,
                             struct arena *a, struct query_session *out)
{
    struct work w = {.rows = rows, .count = n};
    struct turns t = {.sums = NULL};
    memset(out, 0, sizeof *out);
    out->is_complete = true;
    enum err e = settle_rows(&w, a);
    if (e != ERR_OK)
        return e;
    if (with_steps &&
        !(out->steps = ARENA_ARRAY(a, struct query_session_step, MIN(n, QUERY_SESSION_STEPS_MAX))))
        return ERR_LIMIT;
    for (uint32_t i = 0; i < n; i++) {
        t.by_key = t.by_key || rows[i]->turn.size;
        t.by_prompt = t.by_prompt || rows[i]->kind == QUERY_SESSION_PROMPT;
    }
    sums_clear(&out->line.sums);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t turn = turn_of(&t, rows[i], a);
        if (turn == UINT32_MAX)
            return ERR_LIMIT;
        sums_add(&t.sums[turn], rows[i]);
        sums_add(&out->line.sums, rows[i]);
        if (with_steps && !rows[i]->is_lost && !step_put(out, rows[i], turn))
            out->is_complete = false;
    }
    out->line.id = rows[0]->session;
    out->line.service = rows[0]->service;
    out->line.turns = t.count;
    out->turns = t.sums;
    out->turn_count = t.count;
    return ERR_OK;
}

static enum err sorted(struct session_rows *r, struct arena *a, struct session_row ***out)
{
    struct session_row **rows = ARENA_ARRAY(a, struct session_row *, r->count + 1);
    if (!rows)
        return ERR_LIMIT;
    for (uint32_t i = 0; i < r->count; i++)
        rows[i] = &r->rows[i];
    if (r->count)
        qsort(rows, r->count, sizeof *rows, by_session);
    *out = rows;
    return ERR_OK;
}

enum err query_session_read(struct tsdb_view *v, struct bytes id, int64_t from_ns, int64_t to_ns,
                            struct arena *a, struct query_session *out)
{
    struct session_rows r;
    struct session_row **rows;
    if (!id.size || from_ns > to_ns)
        return ERR_INVALID;
    enum err e = session_rows_collect(v, id, BYTES_NONE, from_ns, to_ns, a, &r);
    if (e == ERR_OK)
        e = sorted(&r, a, &rows);
    if (e != ERR_OK)
        return e;
    uint32_t first = 0;
    while (first < r.count && !bytes_equal(rows[first]->session, id))
        first++;
    uint32_t end = first;
    while (end < r.count && bytes_equal(rows[end]->session, id))
        end++;
    if (first == end)
        return ERR_NOT_FOUND;
    e = session_make(rows + first, end - first, true, a, out);
    out->is_complete = out->is_complete && r.is_complete;
    return e;
}

/* --- lists --------------------------------------------------------------------------------------------- */

static int newest_first(const void *a, const void *b)
{
    const struct query_session_line *x = a, *y = b;
    return order_i64(y->sums.end_ns, x->sums.end_ns);
}

static int dearest_first(const void *a, const void *b)
{
    const struct query_session_line *x = a, *y = b;
    int c = order_i64(y->sums.cost_nanousd, x->sums.cost_nanousd);
    return c ? c : newest_first(a, b);
}

static int longest_first(const void *a, const void *b)
{
    const struct query_session_line *x = a, *y = b;
    int c = order_i64(y->sums.input_tokens + y->sums.output_tokens,
                      x->sums.input_tokens + x->sums.output_tokens);
    return c ? c : newest_first(a, b);
}

enum err query_session_list(struct tsdb_view *v, const struct query_session_ask *q, struct arena *a,
                            struct query_session_line **out, size_t *out_count, bool *out_complete)
{
    static int (*const orders[])(const void *, const void *) = {newest_first, dearest_first,
                                                                longest_first};
    struct session_rows r;
    struct session_row **rows;
    size_t n = 0, limit = q->limit ? MIN(q->limit, QUERY_SESSION_LIMIT_MAX) : 50;
    if (q->from_ns > q->to_ns)
        return ERR_INVALID;
    enum err e = session_rows_collect(v, BYTES_NONE, q->service, q->from_ns, q->to_ns, a, &r);
    if (e == ERR_OK)
        e = sorted(&r, a, &rows);
    if (e != ERR_OK)
        return e;
    uint32_t sessions = 0;
    for (uint32_t i = 0; i < r.count; i++)
        sessions += i == 0 || !bytes_equal(rows[i]->session, rows[i - 1]->session);
    struct query_session_line *lines = ARENA_ARRAY(a, struct query_session_line, sessions + 1);
    struct arena *scratch = arena_new(0); /* of one session's turns: there may be very many */
    if (!lines || !scratch) {
        arena_free(scratch);
        return ERR_LIMIT;
    }
    for (uint32_t i = 0, end; i < r.count && e == ERR_OK; i = end) {
        struct query_session one;
        for (end = i + 1; end < r.count && bytes_equal(rows[end]->session, rows[i]->session); end++)
            ;
        arena_reset(scratch);
        e = session_make(rows + i, end - i, false, scratch, &one);
        if (e == ERR_OK)
            lines[n++] = one.line;
    }
    arena_free(scratch);
    if (e != ERR_OK)
        return e;
    if (n)
        qsort(lines, n, sizeof *lines, orders[q->order]);
    *out = lines;
    *out_count = MIN(n, limit);
    *out_complete = r.is_complete;
    return ERR_OK;
}
