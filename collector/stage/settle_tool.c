#include "collector/stage/settle_tool.h"

#include "base/check.h"
#include "base/stats.h"
#include "collector/stage/derive_agent.h"

STATS_COUNTER(tools_joined, "telltale_stage_settled_total", "rule=\"tool\"",
              "Rows settled by other rows.")

/* What is said of one tool call by the rows known so far. */
struct told {
    uint8_t outcome;
    uint32_t wait_ms;
};

static uint32_t duration_ms(const struct tsdb_spans *sp, uint32_t row)
{
    int64_t ns = sp->end_ns[row] - sp->start_ns[row];
    return ns <= 0 || sp->start_ns[row] <= 0 ? 0 : (uint32_t)MIN(ns / 1000000, UINT32_MAX);
}

/* The time a person took to allow a tool: Claude Code's span below that of the tool. */
bool settle_tool_is_wait(const struct tsdb_spans *sp, uint32_t row)
{
    return TSDB_SPAN_GET(sp, dialect, row, 0) == GENAI_DIALECT_CLAUDE_CODE &&
           bytes_equal_str(sp->name[row], "claude_code.tool.blocked_on_user");
}

/* Books (or takes back) the call as this row counts it. */
static void book(struct settle_work *w, const struct tsdb_batch *b, uint32_t row, bool is_log,
                 struct told t, int sign)
{
    struct settle *s = w->s;
    struct genai_row *r = &s->derive->row;
    int64_t duration;
    if (!w->mut || !w->ok)
        return;
    if (is_log) { /* labels of the resource are in no column of logs: read again */
        struct tsdb_batch reading = *b;
        reading.arena = s->scratch;
        genai_memo_batch(s->derive->memo);
        bool is_tool = genai_read_log(s->o.genai, s->derive->memo, &reading, row, r);
        genai_memo_batch(s->derive->memo);
        if (!is_tool)
            return;
        duration = r->duration_ns;
    } else {
        const struct tsdb_spans *sp = &b->spans;
        settle_state_row(b, row, r);
        duration = sp->start_ns[row] > 0 && sp->end_ns[row] >= sp->start_ns[row]
                       ? sp->end_ns[row] - sp->start_ns[row] - (int64_t)t.wait_ms * 1000000
                       : -1;
        if (duration < 0 && t.wait_ms)
            duration = 0;
    }
    w->ok = derive_agent_tool(s->derive, w->mut, r, t.outcome, duration, sign);
}

static void book_entry(struct settle_work *w, const struct settle_index_entry *e, int sign)
{
    book(w, e->b, e->row, e->flags & SETTLE_INDEX_LOG, (struct told){e->tool_outcome, e->wait_ms},
         sign);
}

void settle_tool_gone(struct settle_work *w, const struct settle_index_entry *e)
{
    if ((e->flags & SETTLE_INDEX_TOOL) && !(e->flags & (SETTLE_INDEX_LOST | SETTLE_INDEX_DEAD)))
        book_entry(w, e, -1);
}

/* The row that counts learns what another one says. */
static void absorb(struct settle_work *w, struct settle_index *x, struct settle_index_entry *e,
                   struct told t)
{
    uint8_t outcome = tsdb_tool_worse(e->tool_outcome, t.outcome);
    uint32_t wait = e->flags & SETTLE_INDEX_LOG ? 0 : t.wait_ms; /* its duration has none in it */
    stats_add(&tools_joined, 1);
    if (outcome == e->tool_outcome && !wait)
        return;
    settle_state_remember(w, x, e);
    book_entry(w, e, -1);
    e->tool_outcome = outcome;
    e->wait_ms += wait;
    book_entry(w, e, 1);
}

/* The entry counts no more. */
static void give_way(struct settle_work *w, struct settle_index *x, struct settle_index_entry *e)
{
    stats_add(&tools_joined, 1);
    settle_state_mark_lost(w, x, e);
    if (!(e->flags & SETTLE_INDEX_WAIT))
        book_entry(w, e, -1);
}

static struct settle_index_entry *find_id(struct settle *s, uint32_t org, uint64_t hash,
                                          struct settle_index **out_index)
{
    for (uint32_t g = s->generation_count; hash && g > 0; g--) {
        uint32_t it = 0;
        struct settle_index_entry *e;
        while ((e = settle_index_id(s->generations[g - 1], hash, &it)))
            if ((e->flags & SETTLE_INDEX_TOOL) && e->b->org == org &&
                !(e->flags & (SETTLE_INDEX_LOST | SETTLE_INDEX_DEAD))) {
                *out_index = s->generations[g - 1];
                return e;
            }
    }
    return NULL;
}

/* Calls within one tool call: of one id where both have one, of one name where both have one. */
static bool may_be_one(const struct tsdb_spans *a, uint32_t ar, const struct tsdb_spans *b,
                       uint32_t br)
{
    struct bytes ai = SETTLE_STR(a, tool_call_id, ar), bi = SETTLE_STR(b, tool_call_id, br);
    struct bytes an = SETTLE_STR(a, tool_name, ar), bn = SETTLE_STR(b, tool_name, br);
    if (ai.size && bi.size)
        return bytes_equal(ai, bi);
    return !an.size || !bn.size || bytes_equal(an, bn);
}

/* Calls and agents lie between one tool call and another that it led to. */
static bool ends_the_way_up(const struct settle_index_entry *e)
{
    return (settle_state_class(&e->b->spans, e->row) & TSDB_CLASS_CALL) ||
           bytes_equal_str(SETTLE_STR(&e->b->spans, operation, e->row), "invoke_agent");
}

/* The outermost row above that tells of the same tool call, counting or not; NULL: none. */
static struct settle_index_entry *find_above(struct settle *s, const struct tsdb_batch *b,
                                             uint32_t row, struct settle_index **out_index)
{
    static const struct tsdb_id8 none;
    struct tsdb_id8 up = b->spans.parent_id[row];
    struct settle_index_entry *top = NULL;
    for (uint32_t i = 0; i < SETTLE_ANCESTORS_MAX && !settle_state_same8(up, none); i++) {
        struct settle_index *x;
        struct settle_index_entry *e =
            settle_state_find_span(s, b->org, b->spans.trace_id[row], up, &x);
        if (!e || ends_the_way_up(e))
            break;
        if ((e->flags & SETTLE_INDEX_TOOL) && may_be_one(&e->b->spans, e->row, &b->spans, row)) {
            top = e;
            *out_index = x;
        }
        up = e->b->spans.parent_id[e->row];
    }
    return top;
}

static bool is_below(struct settle *s, const struct settle_index_entry *e,
                     const struct tsdb_batch *b, uint32_t row)
{
    static const struct tsdb_id8 none;
    struct tsdb_id8 up = e->b->spans.parent_id[e->row];
    for (uint32_t i = 0; i < SETTLE_ANCESTORS_MAX && !settle_state_same8(up, none); i++) {
        if (settle_state_same8(up, b->spans.span_id[row]))
            return true;
        struct settle_index *x;
        const struct settle_index_entry *p =
            settle_state_find_span(s, b->org, b->spans.trace_id[row], up, &x);
        if (!p || ends_the_way_up(p))
            return false;
        up = p->b->spans.parent_id[p->row];
    }
    return false;
}

/* What came before its own outermost row: it gives way, and what it said is collected. */
static void gather_below(struct settle_work *w, uint32_t row, struct told *t)
{
    struct settle *s = w->s;
    const struct tsdb_spans *sp = &w->b->spans;
    uint32_t walked = 0;
    for (uint32_t g = 0; g < s->generation_count; g++) {
        struct settle_index *x = s->generations[g];
        for (uint32_t i = settle_index_trace(x, s->hashes[row].trace); i != SETTLE_INDEX_NONE;
             i = x->entries[i].next_in_trace) {
            struct settle_index_entry *e = &x->entries[i];
            if (++walked > SETTLE_NESTED_MAX)
                return;
            if (!(e->flags & (SETTLE_INDEX_TOOL | SETTLE_INDEX_WAIT)) ||
                e->flags & (SETTLE_INDEX_DEAD | SETTLE_INDEX_LOG) || e->b->org != w->b->org ||
                !settle_state_same16(e->b->spans.trace_id[e->row], sp->trace_id[row]) ||
                !may_be_one(&e->b->spans, e->row, sp, row) || !is_below(s, e, w->b, row))
                continue;
            t->outcome = tsdb_tool_worse(t->outcome, e->tool_outcome);
            if (e->flags & SETTLE_INDEX_WAIT)
                t->wait_ms += e->wait_ms;
            if (!(e->flags & SETTLE_INDEX_LOST))
                give_way(w, x, e);
        }
    }
}

static int kind_rank(uint8_t kind)
{
    return kind == 2 ? 2 : kind == 3 ? 1 : 0; /* SERVER lies below CLIENT below the agent's own */
}

/* Of two spans of one id: the earlier start, else the later end, else by their kinds. */
static bool is_outer(const struct tsdb_spans *a, uint32_t ar, const struct tsdb_spans *b,
                     uint32_t br)
{
    if (a->start_ns[ar] != b->start_ns[br])
        return a->start_ns[ar] < b->start_ns[br];
    if (a->end_ns[ar] != b->end_ns[br])
        return a->end_ns[ar] > b->end_ns[br];
    return kind_rank(a->kind[ar]) < kind_rank(b->kind[br]);
}

void settle_tool_span(struct settle_work *w, uint32_t row, struct settle_index_entry *n)
{
    struct settle *s = w->s;
    const struct tsdb_spans *sp = &w->b->spans;
    struct told t = {TSDB_SPAN_GET(sp, tool_outcome, row, 0), 0};
    bool waits = settle_tool_is_wait(sp, row);
    struct settle_index *x = NULL;
    if (s->o.without_tools) {
        if (t.outcome && !waits)
            book(w, w->b, row, false, t, 1);
        return;
    }
    n->flags |= waits ? SETTLE_INDEX_WAIT : SETTLE_INDEX_TOOL;
    n->tool_outcome = t.outcome;
    n->wait_ms = waits ? duration_ms(sp, row) : 0;
    n->id_hash = waits ? 0 : settle_state_hash_tool(w->b->org, SETTLE_STR(sp, tool_call_id, row));
    t.wait_ms = n->wait_ms;
    struct settle_index_entry *top = find_above(s, w->b, row, &x);
    if (top && top->flags & SETTLE_INDEX_LOST) /* a log counts it, or another span of its id */
        top = find_id(
            s, w->b->org,
            settle_state_hash_tool(w->b->org, SETTLE_STR(&top->b->spans, tool_call_id, top->row)),
            &x);
    if (!top && waits)
        return;
    struct settle_index_entry *same = top ? NULL : find_id(s, w->b->org, n->id_hash, &x);
    if (same &&
        ((same->flags & SETTLE_INDEX_LOG) || !is_outer(sp, row, &same->b->spans, same->row)))
        top = same;
    if (!waits)
        gather_below(w, row, &t);
    if (top) {
        absorb(w, x, top, t);
        n->flags |= SETTLE_INDEX_LOST;
        n->id_hash = 0;
        return;
    }
    if (same) {
        t.outcome = tsdb_tool_worse(t.outcome, same->tool_outcome);
        t.wait_ms += same->wait_ms;
        give_way(w, x, same);
        if (x == w->index)
            n->replaced_id = (uint32_t)(same - x->entries) + 1;
    }
    n->tool_outcome = t.outcome;
    n->wait_ms = t.wait_ms;
    book(w, w->b, row, false, t, 1);
}

void settle_tool_log(struct settle_work *w, uint32_t row, const struct genai_row *r,
                     struct settle_index_entry *n)
{
    struct settle_index *x = NULL;
    struct told t = {r->tool_outcome, 0};
    struct settle_index_entry *same = find_id(w->s, w->b->org, n->id_hash, &x);
    n->flags |= SETTLE_INDEX_TOOL;
    n->tool_outcome = t.outcome;
    if (same &&
        (same->flags & SETTLE_INDEX_LOG)) { /* a refusal and its result, or the same again */
        absorb(w, x, same, t);
        n->flags |= SETTLE_INDEX_LOST;
        n->id_hash = 0;
        return;
    }
    if (same) {
        t.outcome = tsdb_tool_worse(t.outcome, same->tool_outcome);
        give_way(w, x, same);
        if (x == w->index)
            n->replaced_id = (uint32_t)(same - x->entries) + 1;
    }
    n->tool_outcome = t.outcome;
    book(w, w->b, row, true, t, 1);
}

void settle_tool_task(struct settle_work *w, uint32_t row, struct settle_index_entry *n)
{
    struct settle *s = w->s;
    struct genai_row r;
    struct bytes id = SETTLE_STR(&w->b->spans, tool_call_id, row);
    n->id_hash = hash64(id, (uint64_t)w->b->org << 32 | 3) | 1;
    for (uint32_t g = s->generation_count; g > 0; g--) {
        uint32_t it = 0;
        if (settle_index_id(s->generations[g - 1], n->id_hash, &it)) {
            n->id_hash = 0; /* the first is the one to be found */
            return;
        }
    }
    if (!w->mut)
        return;
    settle_state_row(w->b, row, &r);
    w->ok = w->ok && derive_agent_task(s->derive, w->mut, &r);
}
