#include "collector/stage/settle_twin.h"

#include "base/stats.h"
#include "collector/stage/settle_agent.h"
#include "collector/stage/settle_tool.h"

STATS_COUNTER(twins, "telltale_stage_settled_total", "rule=\"twin\"", "Rows settled by other rows.")
STATS_COUNTER(repeats, "telltale_stage_settled_total", "rule=\"repeat\"",
              "Rows settled by other rows.")
STATS_COUNTER(nested, "telltale_stage_settled_total", "rule=\"nested\"",
              "Rows settled by other rows.")
STATS_COUNTER(log_twins, "telltale_stage_settled_total", "rule=\"span_after_log\"",
              "Rows settled by other rows.")

static bool lies_inside(const struct tsdb_spans *in, uint32_t i, const struct tsdb_spans *out,
                        uint32_t o)
{
    return out->start_ns[o] <= in->start_ns[i] && in->end_ns[i] <= out->end_ns[o] &&
           !(out->start_ns[o] == in->start_ns[i] && in->end_ns[i] == out->end_ns[o]);
}

/* Which of two observers of one call is nearer the provider: the inner one; else the later start; else the first seen. */
static bool new_is_nearer(const struct tsdb_spans *n, uint32_t nr, const struct tsdb_spans *o,
                          uint32_t or_)
{
    if (lies_inside(n, nr, o, or_))
        return true;
    if (lies_inside(o, or_, n, nr))
        return false;
    return n->start_ns[nr] > o->start_ns[or_];
}

static void overhead(struct settle_work *w, const struct tsdb_batch *ib, uint32_t in,
                     const struct tsdb_batch *ob, uint32_t out)
{
    const struct tsdb_spans *i = &ib->spans, *o = &ob->spans;
    struct genai_row r;
    if (!w->mut || !lies_inside(i, in, o, out) || i->start_ns[in] <= 0)
        return;
    int64_t more = (o->end_ns[out] - o->start_ns[out]) - (i->end_ns[in] - i->start_ns[in]);
    settle_state_row(ib, in, &r);
    w->ok = w->ok && derive_overhead(w->s->derive, w->mut, &r, more);
}

/* The booked row of this response id, if there is one that this row may be a twin of. */
struct settle_index_entry *settle_twin_find(struct settle *s, const struct tsdb_batch *b,
                                            struct bytes id, struct bytes provider,
                                            const struct tsdb_id16 *trace,
                                            struct settle_index **out_index)
{
    uint64_t h = settle_state_hash_response(b->org, id);
    for (uint32_t g = s->generation_count; g > 0; g--) {
        uint32_t it = 0;
        struct settle_index_entry *e;
        while ((e = settle_index_id(s->generations[g - 1], h, &it))) {
            const struct tsdb_spans *sp = &e->b->spans;
            if (e->flags & SETTLE_INDEX_LOST || e->b->org != b->org)
                continue;
            *out_index = s->generations[g - 1];
            if (e->flags & SETTLE_INDEX_LOG)
                return e; /* the hash stands for the id: a log's id is not in a column */
            if (bytes_equal(SETTLE_STR(sp, response_id, e->row), id) &&
                (!trace || !provider.size ||
                 bytes_equal(SETTLE_STR(sp, provider, e->row), provider) ||
                 settle_state_same16(sp->trace_id[e->row], *trace)))
                return e;
        }
    }
    return NULL;
}

/* true: this row books. n is the row's entry to be. */
bool settle_twin_row(struct settle_work *w, uint32_t row, struct settle_index_entry *n)
{
    const struct tsdb_spans *sp = &w->b->spans;
    struct settle_index *x = NULL;
    struct bytes id = SETTLE_STR(sp, response_id, row);
    struct settle_index_entry *e;
    if (w->s->o.without_twins || !id.size ||
        !(e = settle_twin_find(w->s, w->b, id, SETTLE_STR(sp, provider, row), &sp->trace_id[row],
                               &x)))
        return true;
    if (e->flags & SETTLE_INDEX_LOG) {
        stats_add(&log_twins, 1);
        settle_state_take_back(w, w->b, row,
                               e->flags & SETTLE_INDEX_FIRST_TOKEN ? SETTLE_TAKE_CALL
                                                                   : SETTLE_TAKE_LOGGED);
        return false;
    }
    stats_add(&twins, 1);
    if (!new_is_nearer(sp, row, &e->b->spans, e->row)) {
        settle_state_take_back(w, w->b, row, SETTLE_TAKE_CALL);
        overhead(w, e->b, e->row, w->b, row);
        return false;
    }
    settle_state_take_back(w, e->b, e->row, SETTLE_TAKE_CALL);
    overhead(w, w->b, row, e->b, e->row);
    settle_state_mark_lost(w, x, e);
    if (x == w->index)
        n->replaced_id = (uint32_t)(e - x->entries) + 1;
    return true;
}

/* A call directly below another, inside its time, with the same model and the very same usage: the outer one is a framework's or an
 * SDK's span around it (two instrumentations at once). Anthropic's platform counts what its client cannot see, so its usage may differ. */
static bool repeats_its_child(const struct tsdb_spans *p, uint32_t pr, const struct tsdb_spans *c,
                              uint32_t cr)
{
    struct bytes pid = SETTLE_STR(p, response_id, pr), cid = SETTLE_STR(c, response_id, cr);
    struct bytes pm = SETTLE_STR(p, model, pr), cm = SETTLE_STR(c, model, cr);
    if (!(settle_state_class(p, pr) & settle_state_class(c, cr) & TSDB_CLASS_CALL) ||
        !settle_state_same8(c->parent_id[cr], p->span_id[pr]) ||
        c->start_ns[cr] < p->start_ns[pr] || c->end_ns[cr] > p->end_ns[pr])
        return false;
    if (TSDB_SPAN_GET(c, dialect, cr, 0) == GENAI_DIALECT_ANTHROPIC_PLATFORM)
        return true;
    return bytes_equal(SETTLE_STR(p, operation, pr), SETTLE_STR(c, operation, cr)) &&
           (!pm.size || !cm.size || bytes_equal(pm, cm)) &&
           (!pid.size || !cid.size || bytes_equal(pid, cid)) &&
           TSDB_SPAN_GET(p, input_tokens, pr, -1) == TSDB_SPAN_GET(c, input_tokens, cr, -1) &&
           TSDB_SPAN_GET(p, output_tokens, pr, -1) == TSDB_SPAN_GET(c, output_tokens, cr, -1);
}

/* true: this row books. The child usually came first. */
bool settle_twin_nested(struct settle_work *w, uint32_t row)
{
    struct settle *s = w->s;
    const struct tsdb_spans *sp = &w->b->spans;
    struct settle_index *x;
    uint32_t walked = 0;
    uint64_t h = s->hashes[row].trace;
    if (s->o.without_twins)
        return true;
    struct settle_index_entry *e =
        settle_state_find_span(s, w->b->org, sp->trace_id[row], sp->parent_id[row], &x);
    if (e && !(e->flags & SETTLE_INDEX_LOST) && repeats_its_child(&e->b->spans, e->row, sp, row)) {
        stats_add(&nested, 1);
        settle_state_take_back(w, e->b, e->row, SETTLE_TAKE_CALL);
        overhead(w, w->b, row, e->b, e->row);
        settle_state_mark_lost(w, x, e);
    }
    for (uint32_t g = 0; g < s->generation_count; g++) {
        x = s->generations[g];
        for (uint32_t i = settle_index_trace(x, h); i != SETTLE_INDEX_NONE;
             i = x->entries[i].next_in_trace) {
            e = &x->entries[i];
            if (++walked > SETTLE_NESTED_MAX)
                return true; /* a call's own children came shortly before it */
            if (e->flags & (SETTLE_INDEX_DEAD | SETTLE_INDEX_LOG) || e->b->org != w->b->org ||
                !settle_state_same16(e->b->spans.trace_id[e->row], sp->trace_id[row]) ||
                !repeats_its_child(sp, row, &e->b->spans, e->row))
                continue;
            stats_add(&nested, 1);
            settle_state_take_back(w, w->b, row, SETTLE_TAKE_CALL);
            if (!(e->flags & SETTLE_INDEX_LOST))
                overhead(w, e->b, e->row, w->b, row);
            return false;
        }
    }
    return true;
}

static size_t content_of(const struct tsdb_spans *sp, uint32_t row)
{
    return sp->attrs[row].size + sp->events[row].size + sp->links[row].size;
}

/* The same span sent again: the one that ended later, else the one that says more, else the newer one stays. */
enum settle_twin_repeat_kind settle_twin_repeat(struct settle_work *w, uint32_t row,
                                                struct settle_index_entry *n, bool *out_agent_done)
{
    struct settle *s = w->s;
    const struct tsdb_spans *sp = &w->b->spans;
    uint64_t h = s->hashes[row].span;
    for (uint32_t g = s->generation_count; g > 0 && !s->o.without_repeats; g--) {
        struct settle_index *x = s->generations[g - 1];
        struct settle_index_entry *e;
        uint32_t it = 0;
        while ((e = settle_index_span(x, h, &it))) {
            const struct tsdb_spans *o = &e->b->spans;
            if (e->flags & SETTLE_INDEX_LOG || e->b->org != w->b->org ||
                o->kind[e->row] != sp->kind[row] ||
                !settle_state_same16(o->trace_id[e->row], sp->trace_id[row]) ||
                !settle_state_same8(o->span_id[e->row], sp->span_id[row]))
                continue;
            stats_add(&repeats, 1);
            bool newer = sp->end_ns[row] != o->end_ns[e->row]
                             ? sp->end_ns[row] > o->end_ns[e->row]
                             : content_of(sp, row) >= content_of(o, e->row);
            if (!newer ||
                e->flags & SETTLE_INDEX_LOST) { /* lost: what it counts as a request stays */
                settle_state_take_back(w, w->b, row, SETTLE_TAKE_ALL);
                return SETTLE_TWIN_LOSES;
            }
            *out_agent_done =
                settle_agent_waits(o, e->row) && !settle_agent_replaced(w, e->b, e->row);
            settle_state_take_back(w, e->b, e->row, SETTLE_TAKE_ALL);
            settle_tool_gone(w, e);
            settle_state_remember(w, x, e);
            e->flags |= SETTLE_INDEX_DEAD;
            if (x == w->index)
                n->replaced_span = (uint32_t)(e - x->entries) + 1;
            return SETTLE_TWIN_REPLACES;
        }
    }
    return SETTLE_TWIN_NEW;
}
