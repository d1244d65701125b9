#include "collector/stage/settle_agent.h"

#include "base/check.h"
#include "base/stats.h"

#include <stdlib.h>

STATS_COUNTER(leaf_booked, "telltale_stage_settled_total", "rule=\"agent_booked\"",
              "Rows settled by other rows.")
STATS_COUNTER(leaf_unclaimed, "telltale_stage_settled_total", "rule=\"agent_unclaimed\"",
              "Rows settled by other rows.")

static int64_t tokens_of(const struct tsdb_spans *sp, uint32_t row)
{
    int64_t in = TSDB_SPAN_GET(sp, input_tokens, row, -1);
    int64_t out = TSDB_SPAN_GET(sp, output_tokens, row, -1);
    return (in > 0 ? in : 0) + (out > 0 ? out : 0);
}

/* Agent rows whose usage waits: not chains, and not those that booked at once. */
bool settle_agent_waits(const struct tsdb_spans *sp, uint32_t row)
{
    if (settle_state_class(sp, row) & TSDB_CLASS_CALL || tokens_of(sp, row) <= 0 ||
        TSDB_SPAN_GET(sp, row_flags, row, 0) & TSDB_ROW_AGENT_REPORTED)
        return false;
    return bytes_equal_str(SETTLE_STR(sp, operation, row), "invoke_agent") ||
           (TSDB_SPAN_GET(sp, dialect, row, 0) == GENAI_DIALECT_GOOGLE_ADK &&
            bytes_equal_str(sp->name[row], "call_llm"));
}

static struct settle_pending *pending_new(struct settle *s)
{
    if (!s->pool_free) {
        uint32_t cap = s->pool_cap ? s->pool_cap * 2 : 64;
        struct settle_pending *grown =
            cap > SETTLE_PENDING_MAX ? NULL : realloc(s->pool, cap * sizeof *grown);
        if (!grown)
            return NULL;
        memset(grown + s->pool_cap, 0, (cap - s->pool_cap) * sizeof *grown);
        for (uint32_t i = s->pool_cap; i < cap; i++) {
            grown[i].next = s->pool_free;
            s->pool_free = i + 1;
        }
        s->pool = grown;
        s->pool_cap = cap;
    }
    struct settle_pending *p = &s->pool[s->pool_free - 1];
    s->pool_free = p->next;
    memset(p, 0, sizeof *p);
    p->is_used = true;
    s->pending_count++;
    return p;
}

static void pending_free(struct settle *s, uint32_t index)
{
    struct settle_pending *p = &s->pool[index];
    uint32_t *at = &s->slots[p->trace_hash % SETTLE_PENDING_SLOTS];
    while (*at && *at != index + 1)
        at = &s->pool[*at - 1].next;
    CHECK(*at == index + 1);
    *at = p->next;
    tsdb_batch_free(p->own);
    memset(p, 0, sizeof *p);
    p->next = s->pool_free;
    s->pool_free = index + 1;
    s->pending_count--;
}

static void agent_unclaimed(struct settle_work *w, const struct tsdb_batch *b, uint32_t row)
{
    struct genai_row r;
    stats_add(&leaf_unclaimed, 1);
    if (!w->mut)
        return;
    settle_state_row(b, row, &r);
    w->ok =
        w->ok && derive_unclaimed(w->s->derive, w->mut, TSDB_NO_ROW, &r, b->spans.scope_name[row]);
}

/* Nothing below it told of a call: what it says is all there is. Read again, because only now it needs a price. */
static void agent_books(struct settle_work *w, const struct settle_pending *p)
{
    struct settle *s = w->s;
    struct genai_row *r = &s->derive->row;
    stats_add(&leaf_booked, 1);
    if (!w->mut)
        return;
    arena_reset(s->scratch);
    struct tsdb_batch reading = *p->b;
    reading.arena = s->scratch;
    genai_memo_batch(s->derive->memo);
    if (genai_read_agent(s->o.genai, s->derive->memo, &reading, p->row, r)) {
        r->row_class = 0; /* usage only: it stands for an unknown number of calls */
        r->truncation = 0;
        r->tokens_lost = 0;
        r->safety_category = r->bypass_why = r->cache_kind = r->route_result = BYTES_NONE;
        r->fallback_from = r->feedback_label = BYTES_NONE;
        w->ok =
            w->ok && derive_row(s->derive, w->mut, TSDB_NO_ROW, r, p->b->spans.scope_name[p->row]);
        settle_state_book(w, r);
    }
    genai_memo_batch(s->derive->memo);
}

/* Is the call below the agent? By parents where they are known; where the chain breaks, by time. */
static bool is_below(struct settle *s, const struct tsdb_batch *cb, uint32_t call,
                     const struct tsdb_batch *ab, uint32_t agent)
{
    static const struct tsdb_id8 none;
    const struct tsdb_spans *c = &cb->spans, *a = &ab->spans;
    struct tsdb_id8 up = c->parent_id[call];
    for (uint32_t i = 0; i < SETTLE_ANCESTORS_MAX; i++) {
        if (settle_state_same8(up, a->span_id[agent]))
            return true;
        if (settle_state_same8(up, none))
            return false;
        struct settle_index *x;
        const struct settle_index_entry *e =
            settle_state_find_span(s, cb->org, c->trace_id[call], up, &x);
        if (!e)
            break;
        up = e->b->spans.parent_id[e->row];
    }
    return a->start_ns[agent] <= c->start_ns[call] && c->end_ns[call] <= a->end_ns[agent];
}

static bool has_call_below(struct settle *s, const struct tsdb_batch *b, uint32_t row)
{
    uint64_t h = settle_state_hash_trace(b->org, &b->spans.trace_id[row]);
    uint32_t walked = 0;
    for (uint32_t g = 0; g < s->generation_count; g++) {
        struct settle_index *x = s->generations[g];
        for (uint32_t i = settle_index_trace(x, h); i != SETTLE_INDEX_NONE;
             i = x->entries[i].next_in_trace) {
            const struct settle_index_entry *e = &x->entries[i];
            if (++walked > SETTLE_TRACE_MAX) { /* so large a trace surely has one */
                settle_state_not_kept(1);
                return true;
            }
            if (!(e->flags & (SETTLE_INDEX_DEAD | SETTLE_INDEX_LOG)) && e->b->org == b->org &&
                (settle_state_class(&e->b->spans, e->row) & TSDB_CLASS_CALL) &&
                settle_state_same16(e->b->spans.trace_id[e->row], b->spans.trace_id[row]) &&
                is_below(s, e->b, e->row, b, row))
                return true;
        }
    }
    return false;
}

void settle_agent_row(struct settle_work *w, uint32_t row)
{
    struct settle *s = w->s;
    const struct tsdb_batch *b = w->b;
    if (s->o.without_leaf || has_call_below(s, b, row)) {
        agent_unclaimed(w, b, row);
        return;
    }
    uint64_t h = settle_state_hash_trace(b->org, &b->spans.trace_id[row]);
    uint32_t same = 0;
    for (uint32_t i = s->slots[h % SETTLE_PENDING_SLOTS]; i; i = s->pool[i - 1].next)
        same += s->pool[i - 1].trace_hash == h;
    struct settle_pending *p = same < SETTLE_WAITING_MAX ? pending_new(s) : NULL;
    if (!p) {
        settle_state_not_kept(1);
        agent_unclaimed(w, b, row);
        return;
    }
    p->trace_id = b->spans.trace_id[row];
    p->trace_hash = h;
    p->b = b;
    p->row = row;
    p->generation = w->index->generation;
    p->seq = w->seq;
    p->deadline_ns = s->now_ns + STAGE_LEAF_WAIT_NS;
    uint32_t *slot = &s->slots[p->trace_hash % SETTLE_PENDING_SLOTS];
    p->next = *slot;
    *slot = (uint32_t)(p - s->pool) + 1;
}

/* A row of a trace: agent rows of it wait longer, and one that has this call below it waits no more. */
void settle_agent_touch(struct settle_work *w, uint32_t row, bool is_call)
{
    struct settle *s = w->s;
    const struct tsdb_spans *sp = &w->b->spans;
    uint64_t h = s->hashes[row].trace;
    for (uint32_t i = s->slots[h % SETTLE_PENDING_SLOTS]; i; i = s->pool[i - 1].next) {
        struct settle_pending *p = &s->pool[i - 1];
        if (p->trace_hash != h || p->resolved_seq ||
            !settle_state_same16(p->trace_id, sp->trace_id[row]))
            continue;
        p->deadline_ns = s->now_ns + STAGE_LEAF_WAIT_NS;
        if (is_call && is_below(s, w->b, row, p->b, p->row)) {
            agent_unclaimed(w, p->b, p->row);
            p->resolved_seq = w->seq;
        }
    }
}

/* Once a second of received time and org: whose silence lasted long enough books. */
void settle_agent_sweep(struct settle_work *w)
{
    struct settle *s = w->s;
    int64_t second = s->now_ns / 1000000000;
    if (!s->pending_count || s->swept_second[w->b->org % 64] == second)
        return;
    s->swept_second[w->b->org % 64] = second;
    for (uint32_t i = 0; i < s->pool_cap && w->ok; i++) {
        struct settle_pending *p = &s->pool[i];
        if (!p->is_used)
            continue;
        if (p->resolved_seq) {
            if (p->resolved_seq + SETTLE_RESOLVED_KEPT < w->seq)
                pending_free(s, i);
        } else if (p->b->org == w->b->org && s->now_ns >= p->deadline_ns) {
            agent_books(w, p);
            p->resolved_seq = w->seq;
        }
    }
}

/* An agent row sent again: the waiting copy gives way. false: its usage was decided already. */
bool settle_agent_replaced(struct settle_work *w, const struct tsdb_batch *b, uint32_t row)
{
    struct settle *s = w->s;
    uint64_t h = settle_state_hash_trace(b->org, &b->spans.trace_id[row]);
    for (uint32_t i = s->slots[h % SETTLE_PENDING_SLOTS]; i; i = s->pool[i - 1].next) {
        struct settle_pending *p = &s->pool[i - 1];
        if (!p->resolved_seq && p->b == b && p->row == row) {
            p->resolved_seq = w->seq;
            return true;
        }
    }
    return false;
}

static struct tsdb_batch *row_copy(const struct tsdb_batch *b, uint32_t row)
{
    struct tsdb_batch *own = tsdb_batch_new(b->org, TSDB_SPANS, 0);
    if (!own)
        return NULL;
    own->received_ns = b->received_ns;
    bool ok = tsdb_batch_add_span(own) == 0;
    for (uint32_t c = 0; ok && c < TSDB_SPAN_COLUMN_COUNT; c++) {
        static const size_t sizes[] = {1, 4, 8, 8, 16, 8, sizeof(struct bytes)};
        const struct tsdb_column *col = &tsdb_batch_span_schema.columns[c];
        const uint8_t *from;
        uint8_t *to;
        memcpy(&from, (const uint8_t *)&b->spans + col->offset, sizeof from);
        if (!from)
            continue;
        ok = tsdb_batch_span_column(own, (enum tsdb_span_column)c);
        memcpy(&to, (const uint8_t *)&own->spans + col->offset, sizeof to);
        size_t n = sizes[col->type];
        if (!ok)
            break;
        memcpy(to, from + n * row, n);
        if (col->type == TSDB_STR) {
            struct bytes *v = (struct bytes *)(void *)to;
            *v = arena_copy(own->arena, *v);
            ok = v->data || !v->size;
        }
    }
    if (ok)
        return own;
    tsdb_batch_free(own);
    return NULL;
}

void settle_agent_drop(struct settle *s, uint64_t generation)
{
    for (uint32_t i = 0; i < s->pool_cap; i++) {
        struct settle_pending *p = &s->pool[i];
        if (!p->is_used || p->own || p->generation != generation)
            continue;
        if (!p->resolved_seq && (p->own = row_copy(p->b, p->row))) {
            p->b = p->own;
            p->row = 0;
        } else {
            settle_state_not_kept(!p->resolved_seq);
            pending_free(s, i);
        }
    }
}
