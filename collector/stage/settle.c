#include "collector/stage/settle.h"

#include "base/check.h"
#include "base/stats.h"
#include "collector/stage/settle_index.h"

#include <stdlib.h>

STATS_COUNTER(twins, "telltale_stage_settled_total", "rule=\"twin\"", "Rows settled by other rows.")
STATS_COUNTER(repeats, "telltale_stage_settled_total", "rule=\"repeat\"",
              "Rows settled by other rows.")
STATS_COUNTER(nested, "telltale_stage_settled_total", "rule=\"nested\"",
              "Rows settled by other rows.")
STATS_COUNTER(log_twins, "telltale_stage_settled_total", "rule=\"log\"",
              "Rows settled by other rows.")
STATS_COUNTER(leaf_booked, "telltale_stage_settled_total", "rule=\"agent_booked\"",
              "Rows settled by other rows.")
STATS_COUNTER(leaf_unclaimed, "telltale_stage_settled_total", "rule=\"agent_unclaimed\"",
              "Rows settled by other rows.")
STATS_COUNTER(not_kept, "telltale_stage_settle_not_kept_total", "",
              "Rows that could not be remembered for settling: they book as they stand.")

#define GENERATIONS_MAX 8u
#define PENDING_SLOTS 4096u
#define CHANGES_KEPT 65536u
#define SETTLED_KEPT_SEQS 1024u /* a resolved agent row is kept so long, in case its commit fails */

/* An agent row whose usage waits for a call below it. */
struct pending {
    struct tsdb_id16 trace_id;
    const struct tsdb_batch *b;
    struct tsdb_batch *own; /* a copy of the row once its generation is gone */
    uint64_t trace_hash, generation, seq, resolved_seq;
    int64_t deadline_ns;
    uint32_t row, next; /* pool index + 1 */
    bool is_used;
};

/* An entry before a settle touched it. */
struct change {
    uint64_t seq, generation;
    uint32_t index;
    struct settle_index_entry old;
};

struct settle {
    struct settle_options o;
    struct derive *derive;
    struct arena *scratch; /* reads of rows whose batch is no longer ours to write to */
    struct settle_index *generations[GENERATIONS_MAX]; /* oldest first */
    uint32_t generation_count;
    struct pending *pool;
    uint32_t pool_cap, pool_free; /* free list through next */
    uint32_t slots[PENDING_SLOTS]; /* trace hash -> pool index + 1 */
    uint32_t pending_count;
    struct change *changes;
    uint32_t change_count;
    int64_t now_ns;
    int64_t swept_second[64]; /* by org */
    uint32_t cells_given; /* of the batch in hand, before corrections */
};

/* The batch in hand. */
struct work {
    struct settle *s;
    struct settle_index *index;
    const struct tsdb_batch *b;
    struct tsdb_batch *mut;
    uint64_t seq;
    bool ok;
};

struct settle *settle_new(const struct settle_options *o)
{
    struct settle *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->o = *o;
    s->derive = derive_new(o->breakdown);
    s->scratch = arena_new(8u << 20);
    s->changes = calloc(CHANGES_KEPT, sizeof *s->changes);
    if (s->derive && s->scratch && s->changes)
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
    arena_free(s->scratch);
    free(s->pool);
    free(s->changes);
    free(s);
}

struct derive *settle_derive(struct settle *s)
{
    return s->derive;
}

/* --- reading rows back from their columns ---------------------------------------------------------- */

#define STR_OF(sp, column, row) TSDB_SPAN_GET(sp, column, row, BYTES_NONE)

static uint8_t class_of(const struct tsdb_spans *sp, uint32_t row)
{
    return TSDB_SPAN_GET(sp, row_class, row, 0);
}

static int64_t tokens_of(const struct tsdb_spans *sp, uint32_t row)
{
    int64_t in = TSDB_SPAN_GET(sp, input_tokens, row, -1);
    int64_t out = TSDB_SPAN_GET(sp, output_tokens, row, -1);
    return (in > 0 ? in : 0) + (out > 0 ? out : 0);
}

/* Agent rows whose usage waits: not chains, and not those that booked at once. */
static bool is_waiting_agent(const struct tsdb_spans *sp, uint32_t row)
{
    if (class_of(sp, row) & TSDB_CLASS_CALL || tokens_of(sp, row) <= 0 ||
        TSDB_SPAN_GET(sp, row_flags, row, 0) & TSDB_ROW_AGENT_REPORTED)
        return false;
    return bytes_equal_str(STR_OF(sp, operation, row), "invoke_agent") ||
           (TSDB_SPAN_GET(sp, dialect, row, 0) == GENAI_DIALECT_GOOGLE_ADK &&
            bytes_equal_str(sp->name[row], "call_llm"));
}

/* Enough of a row for its labels and its minute. */
static void row_of(const struct tsdb_batch *b, uint32_t row, struct genai_row *r)
{
    const struct tsdb_spans *sp = &b->spans;
    memset(r, 0, sizeof *r);
    r->service = sp->service[row];
    r->env = STR_OF(sp, env, row);
    r->region = STR_OF(sp, region, row);
    r->provider = STR_OF(sp, provider, row);
    r->model = STR_OF(sp, model, row);
    r->operation = STR_OF(sp, operation, row);
    r->endpoint = STR_OF(sp, endpoint, row);
    r->variant = STR_OF(sp, variant, row);
    r->plane = TSDB_SPAN_GET(sp, plane, row, 0);
    r->input_tokens = TSDB_SPAN_GET(sp, input_tokens, row, -1);
    r->output_tokens = TSDB_SPAN_GET(sp, output_tokens, row, -1);
    r->end_ns = sp->end_ns[row] > 0     ? sp->end_ns[row]
                : sp->start_ns[row] > 0 ? sp->start_ns[row]
                                        : b->received_ns;
}

static bool same_id16(struct tsdb_id16 a, struct tsdb_id16 b)
{
    return memcmp(a.b, b.b, 16) == 0;
}

static bool same_id8(struct tsdb_id8 a, struct tsdb_id8 b)
{
    return memcmp(a.b, b.b, 8) == 0;
}

static uint64_t hash_trace(uint32_t org, const struct tsdb_id16 *trace)
{
    return hash64(bytes_of(trace->b, 16), org) | 1;
}

static uint64_t hash_span(uint32_t org, const struct tsdb_id16 *trace, const struct tsdb_id8 *span)
{
    return hash64(bytes_of(span->b, 8), hash_trace(org, trace)) | 1;
}

static uint64_t hash_response(uint32_t org, struct bytes id)
{
    return id.size ? hash64(id, (uint64_t)org << 32 | 1) | 1 : 0;
}

/* --- taking cells back -------------------------------------------------------------------------------- */

/* Cells that belong to the row as a user's request and not as a call. */
static bool is_request_cell(const struct settle *s, struct tsdb_ref ref)
{
    const struct tsdb_series_info *info = tsdb_registry_info(s->derive->series, ref);
    struct bytes name = tsdb_labels_get(info->labels, BYTES_LIT("__name__"));
    struct bytes family = tsdb_labels_get(info->labels, BYTES_LIT("family"));
    return bytes_has_prefix(name, BYTES_LIT("llm_user_")) ||
           bytes_has_prefix(family, BYTES_LIT("llm_user_"));
}

static void negate_cell(struct work *w, const struct tsdb_cells *c, uint32_t i)
{
    const struct tsdb_hist *h = c->hist ? c->hist[i] : NULL;
    if (!h) {
        w->ok = w->ok &&
                tsdb_batch_add_cell(w->mut, c->series[i], c->minute[i], -c->add[i], TSDB_NO_ROW);
        return;
    }
    struct tsdb_hist *n = ARENA_ARRAY(w->mut->arena, struct tsdb_hist, 1);
    double *pos = ARENA_ARRAY(w->mut->arena, double, h->pos_count ? h->pos_count : 1);
    if (!n || !pos || tsdb_hist_copy(h, w->mut->arena, n) != ERR_OK) {
        w->ok = false;
        return;
    }
    for (uint32_t k = 0; k < h->pos_count; k++)
        pos[k] = -h->pos[k];
    n->pos = pos;
    n->count = -h->count;
    n->sum = -h->sum;
    n->zero_count = -h->zero_count;
    w->ok = w->ok && tsdb_batch_add_hist_cell(w->mut, c->series[i], c->minute[i], n, TSDB_NO_ROW);
}

/* The cells of a span row go, by cells of the opposite sign: a batch's own cells stay as they came, so that its commit can be undone.
 * call_only leaves what it counts as a request. */
static void take_back(struct work *w, const struct tsdb_batch *b, uint32_t row, bool call_only)
{
    const struct tsdb_cells *c = &b->cells;
    if (!w->mut)
        return;
    uint32_t end = b == w->b ? w->s->cells_given : c->count, lo = 0, hi = end;
    while (lo < hi) { /* cells of spans are in row order, corrections (TSDB_NO_ROW) after them */
        uint32_t mid = lo + (hi - lo) / 2;
        if (c->row[mid] < row)
            lo = mid + 1;
        else
            hi = mid;
    }
    call_only = call_only && (class_of(&b->spans, row) & TSDB_CLASS_REQUEST);
    for (uint32_t i = lo; i < end && c->row[i] == row && w->ok; i++) {
        if (call_only && is_request_cell(w->s, c->series[i]))
            continue;
        negate_cell(w, c, i);
    }
}

/* --- memory of changes ---------------------------------------------------------------------------------- */

static void remember(struct work *w, struct settle_index *x, const struct settle_index_entry *e)
{
    struct settle *s = w->s;
    if (s->change_count == CHANGES_KEPT) { /* the older half belongs to commits long done */
        memmove(s->changes, s->changes + CHANGES_KEPT / 2, CHANGES_KEPT / 2 * sizeof *s->changes);
        s->change_count = CHANGES_KEPT / 2;
    }
    s->changes[s->change_count++] =
        (struct change){w->seq, x->generation, (uint32_t)(e - x->entries), *e};
}

static void mark_lost(struct work *w, struct settle_index *x, struct settle_index_entry *e)
{
    remember(w, x, e);
    e->flags |= SETTLE_INDEX_LOST;
}

static struct settle_index *index_of(struct settle *s, uint64_t generation)
{
    for (uint32_t i = 0; i < s->generation_count; i++)
        if (s->generations[i]->generation == generation)
            return s->generations[i];
    return NULL;
}

static struct settle_index *index_open(struct settle *s, uint64_t generation)
{
    struct settle_index *x = index_of(s, generation);
    if (x)
        return x;
    if (s->generation_count == GENERATIONS_MAX)
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

void settle_undo(struct settle *s, uint64_t seq)
{
    while (s->change_count && s->changes[s->change_count - 1].seq >= seq) {
        struct change *c = &s->changes[--s->change_count];
        struct settle_index *x = index_of(s, c->generation);
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
        struct pending *p = &s->pool[i];
        if (p->is_used && p->resolved_seq == seq)
            p->resolved_seq = 0;
        if (p->is_used && p->seq == seq)
            p->resolved_seq = seq; /* never happened; swept away later */
    }
}

/* --- agent rows ------------------------------------------------------------------------------------------- */

static struct pending *pending_new(struct settle *s)
{
    if (!s->pool_free) {
        uint32_t cap = s->pool_cap ? s->pool_cap * 2 : 64;
        struct pending *grown =
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
    struct pending *p = &s->pool[s->pool_free - 1];
    s->pool_free = p->next;
    memset(p, 0, sizeof *p);
    p->is_used = true;
    s->pending_count++;
    return p;
}

static void pending_free(struct settle *s, uint32_t index)
{
    struct pending *p = &s->pool[index];
    uint32_t *at = &s->slots[p->trace_hash % PENDING_SLOTS];
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

static void agent_unclaimed(struct work *w, const struct tsdb_batch *b, uint32_t row)
{
    struct genai_row r;
    stats_add(&leaf_unclaimed, 1);
    if (!w->mut)
        return;
    row_of(b, row, &r);
    w->ok =
        w->ok && derive_unclaimed(w->s->derive, w->mut, TSDB_NO_ROW, &r, b->spans.scope_name[row]);
}

/* Nothing below it told of a call: what it says is all there is. Read again, because only now it needs a price. */
static void agent_books(struct work *w, const struct pending *p)
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
    }
    genai_memo_batch(s->derive->memo);
}

static struct settle_index_entry *find_span(struct settle *s, uint32_t org, struct tsdb_id16 trace,
                                            struct tsdb_id8 span, struct settle_index **out_index)
{
    uint64_t h = hash_span(org, &trace, &span);
    for (uint32_t g = s->generation_count; g > 0; g--) {
        uint32_t it = 0;
        struct settle_index_entry *e;
        while ((e = settle_index_span(s->generations[g - 1], h, &it)))
            if (!(e->flags & SETTLE_INDEX_LOG) && e->b->org == org &&
                same_id16(e->b->spans.trace_id[e->row], trace) &&
                same_id8(e->b->spans.span_id[e->row], span)) {
                *out_index = s->generations[g - 1];
                return e;
            }
    }
    return NULL;
}

/* Is the call below the agent? By parents where they are known; where the chain breaks, by time. */
static bool is_below(struct settle *s, const struct tsdb_batch *cb, uint32_t call,
                     const struct tsdb_batch *ab, uint32_t agent)
{
    static const struct tsdb_id8 none;
    const struct tsdb_spans *c = &cb->spans, *a = &ab->spans;
    struct tsdb_id8 up = c->parent_id[call];
    for (uint32_t i = 0; i < SETTLE_ANCESTORS_MAX; i++) {
        if (same_id8(up, a->span_id[agent]))
            return true;
        if (same_id8(up, none))
            return false;
        struct settle_index *x;
        const struct settle_index_entry *e = find_span(s, cb->org, c->trace_id[call], up, &x);
        if (!e)
            break;
        up = e->b->spans.parent_id[e->row];
    }
    return a->start_ns[agent] <= c->start_ns[call] && c->end_ns[call] <= a->end_ns[agent];
}

static bool has_call_below(struct settle *s, const struct tsdb_batch *b, uint32_t row)
{
    uint64_t h = hash_trace(b->org, &b->spans.trace_id[row]);
    uint32_t walked = 0;
    for (uint32_t g = 0; g < s->generation_count; g++) {
        struct settle_index *x = s->generations[g];
        for (uint32_t i = settle_index_trace(x, h); i != SETTLE_INDEX_NONE;
             i = x->entries[i].next_in_trace) {
            const struct settle_index_entry *e = &x->entries[i];
            if (++walked > SETTLE_TRACE_MAX) { /* so large a trace surely has one */
                stats_add(&not_kept, 1);
                return true;
            }
            if (!(e->flags & (SETTLE_INDEX_DEAD | SETTLE_INDEX_LOG)) && e->b->org == b->org &&
                (class_of(&e->b->spans, e->row) & TSDB_CLASS_CALL) &&
                same_id16(e->b->spans.trace_id[e->row], b->spans.trace_id[row]) &&
                is_below(s, e->b, e->row, b, row))
                return true;
        }
    }
    return false;
}

static void agent_row(struct work *w, uint32_t row)
{
    struct settle *s = w->s;
    const struct tsdb_batch *b = w->b;
    if (s->o.without_leaf || has_call_below(s, b, row)) {
        agent_unclaimed(w, b, row);
        return;
    }
    uint64_t h = hash_trace(b->org, &b->spans.trace_id[row]);
    uint32_t same = 0;
    for (uint32_t i = s->slots[h % PENDING_SLOTS]; i; i = s->pool[i - 1].next)
        same += s->pool[i - 1].trace_hash == h;
    struct pending *p = same < SETTLE_WAITING_MAX ? pending_new(s) : NULL;
    if (!p) {
        stats_add(&not_kept, 1);
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
    uint32_t *slot = &s->slots[p->trace_hash % PENDING_SLOTS];
    p->next = *slot;
    *slot = (uint32_t)(p - s->pool) + 1;
}

/* A row of a trace: agent rows of it wait longer, and one that has this call below it waits no more. */
static void touch_trace(struct work *w, uint32_t row, bool is_call)
{
    struct settle *s = w->s;
    const struct tsdb_spans *sp = &w->b->spans;
    uint64_t h = hash_trace(w->b->org, &sp->trace_id[row]);
    for (uint32_t i = s->slots[h % PENDING_SLOTS]; i; i = s->pool[i - 1].next) {
        struct pending *p = &s->pool[i - 1];
        if (p->trace_hash != h || p->resolved_seq || !same_id16(p->trace_id, sp->trace_id[row]))
            continue;
        p->deadline_ns = s->now_ns + STAGE_LEAF_WAIT_NS;
        if (is_call && is_below(s, w->b, row, p->b, p->row)) {
            agent_unclaimed(w, p->b, p->row);
            p->resolved_seq = w->seq;
        }
    }
}

/* Once a second of received time and org: whose silence lasted long enough books. */
static void sweep(struct work *w)
{
    struct settle *s = w->s;
    int64_t second = s->now_ns / 1000000000;
    if (!s->pending_count || s->swept_second[w->b->org % 64] == second)
        return;
    s->swept_second[w->b->org % 64] = second;
    for (uint32_t i = 0; i < s->pool_cap && w->ok; i++) {
        struct pending *p = &s->pool[i];
        if (!p->is_used)
            continue;
        if (p->resolved_seq) {
            if (p->resolved_seq + SETTLED_KEPT_SEQS < w->seq)
                pending_free(s, i);
        } else if (p->b->org == w->b->org && s->now_ns >= p->deadline_ns) {
            agent_books(w, p);
            p->resolved_seq = w->seq;
        }
    }
}

/* --- twins and repeats --------------------------------------------------------------------------------------- */

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

static void overhead(struct work *w, const struct tsdb_batch *ib, uint32_t in,
                     const struct tsdb_batch *ob, uint32_t out)
{
    const struct tsdb_spans *i = &ib->spans, *o = &ob->spans;
    struct genai_row r;
    if (!w->mut || !lies_inside(i, in, o, out) || i->start_ns[in] <= 0)
        return;
    int64_t more = (o->end_ns[out] - o->start_ns[out]) - (i->end_ns[in] - i->start_ns[in]);
    row_of(ib, in, &r);
    w->ok = w->ok && derive_overhead(w->s->derive, w->mut, &r, more);
}

/* The booked row of this response id, if there is one that this row may be a twin of. */
static struct settle_index_entry *find_twin(struct settle *s, const struct tsdb_batch *b,
                                            struct bytes id, struct bytes provider,
                                            const struct tsdb_id16 *trace,
                                            struct settle_index **out_index)
{
    uint64_t h = hash_response(b->org, id);
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
            if (bytes_equal(STR_OF(sp, response_id, e->row), id) &&
                (!trace || !provider.size || bytes_equal(STR_OF(sp, provider, e->row), provider) ||
                 same_id16(sp->trace_id[e->row], *trace)))
                return e;
        }
    }
    return NULL;
}

/* true: this row books. n is the row's entry to be. */
static bool twin_row(struct work *w, uint32_t row, struct settle_index_entry *n)
{
    const struct tsdb_spans *sp = &w->b->spans;
    struct settle_index *x = NULL;
    struct bytes id = STR_OF(sp, response_id, row);
    struct settle_index_entry *e;
    if (w->s->o.without_twins || !id.size ||
        !(e = find_twin(w->s, w->b, id, STR_OF(sp, provider, row), &sp->trace_id[row], &x)))
        return true;
    if (e->flags & SETTLE_INDEX_LOG) {
        stats_add(&log_twins, 1);
        take_back(w, w->b, row, true);
        return false;
    }
    stats_add(&twins, 1);
    if (!new_is_nearer(sp, row, &e->b->spans, e->row)) {
        take_back(w, w->b, row, true);
        overhead(w, e->b, e->row, w->b, row);
        return false;
    }
    take_back(w, e->b, e->row, true);
    overhead(w, w->b, row, e->b, e->row);
    mark_lost(w, x, e);
    if (x == w->index)
        n->replaced_id = (uint32_t)(e - x->entries) + 1;
    return true;
}

/* A call directly below another, inside its time, with the same model and the very same usage: the outer one is a framework's or an
 * SDK's span around it (two instrumentations at once). Anthropic's platform counts what its client cannot see, so its usage may differ. */
static bool repeats_its_child(const struct tsdb_spans *p, uint32_t pr, const struct tsdb_spans *c,
                              uint32_t cr)
{
    struct bytes pid = STR_OF(p, response_id, pr), cid = STR_OF(c, response_id, cr);
    struct bytes pm = STR_OF(p, model, pr), cm = STR_OF(c, model, cr);
    if (!(class_of(p, pr) & class_of(c, cr) & TSDB_CLASS_CALL) ||
        !same_id8(c->parent_id[cr], p->span_id[pr]) || c->start_ns[cr] < p->start_ns[pr] ||
        c->end_ns[cr] > p->end_ns[pr])
        return false;
    if (TSDB_SPAN_GET(c, dialect, cr, 0) == GENAI_DIALECT_ANTHROPIC_PLATFORM)
        return true;
    return bytes_equal(STR_OF(p, operation, pr), STR_OF(c, operation, cr)) &&
           (!pm.size || !cm.size || bytes_equal(pm, cm)) &&
           (!pid.size || !cid.size || bytes_equal(pid, cid)) &&
           TSDB_SPAN_GET(p, input_tokens, pr, -1) == TSDB_SPAN_GET(c, input_tokens, cr, -1) &&
           TSDB_SPAN_GET(p, output_tokens, pr, -1) == TSDB_SPAN_GET(c, output_tokens, cr, -1);
}

/* true: this row books. The child usually came first. */
static bool nested_row(struct work *w, uint32_t row)
{
    struct settle *s = w->s;
    const struct tsdb_spans *sp = &w->b->spans;
    struct settle_index *x;
    uint32_t walked = 0;
    uint64_t h = hash_trace(w->b->org, &sp->trace_id[row]);
    if (s->o.without_twins)
        return true;
    struct settle_index_entry *e =
        find_span(s, w->b->org, sp->trace_id[row], sp->parent_id[row], &x);
    if (e && !(e->flags & SETTLE_INDEX_LOST) && repeats_its_child(&e->b->spans, e->row, sp, row)) {
        stats_add(&nested, 1);
        take_back(w, e->b, e->row, true);
        overhead(w, w->b, row, e->b, e->row);
        mark_lost(w, x, e);
    }
    for (uint32_t g = 0; g < s->generation_count; g++) {
        x = s->generations[g];
        for (uint32_t i = settle_index_trace(x, h); i != SETTLE_INDEX_NONE;
             i = x->entries[i].next_in_trace) {
            e = &x->entries[i];
            if (++walked > SETTLE_TRACE_MAX) {
                stats_add(&not_kept, 1);
                return true;
            }
            if (e->flags & (SETTLE_INDEX_DEAD | SETTLE_INDEX_LOG) || e->b->org != w->b->org ||
                !same_id16(e->b->spans.trace_id[e->row], sp->trace_id[row]) ||
                !repeats_its_child(sp, row, &e->b->spans, e->row))
                continue;
            stats_add(&nested, 1);
            take_back(w, w->b, row, true);
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

/* An agent row sent again: the waiting copy gives way. false: its usage was decided already. */
static bool agent_replaced(struct work *w, const struct tsdb_batch *b, uint32_t row)
{
    struct settle *s = w->s;
    uint64_t h = hash_trace(b->org, &b->spans.trace_id[row]);
    for (uint32_t i = s->slots[h % PENDING_SLOTS]; i; i = s->pool[i - 1].next) {
        struct pending *p = &s->pool[i - 1];
        if (!p->resolved_seq && p->b == b && p->row == row) {
            p->resolved_seq = w->seq;
            return true;
        }
    }
    return false;
}

enum repeat { REPEAT_NONE, REPEAT_REPLACES, REPEAT_LOSES };

/* The same span sent again: the one that ended later, else the one that says more, else the newer one stays. */
static enum repeat repeat_row(struct work *w, uint32_t row, struct settle_index_entry *n,
                              bool *out_agent_done)
{
    struct settle *s = w->s;
    const struct tsdb_spans *sp = &w->b->spans;
    uint64_t h = hash_span(w->b->org, &sp->trace_id[row], &sp->span_id[row]);
    for (uint32_t g = s->generation_count; g > 0 && !s->o.without_repeats; g--) {
        struct settle_index *x = s->generations[g - 1];
        struct settle_index_entry *e;
        uint32_t it = 0;
        while ((e = settle_index_span(x, h, &it))) {
            const struct tsdb_spans *o = &e->b->spans;
            if (e->flags & SETTLE_INDEX_LOG || e->b->org != w->b->org ||
                o->kind[e->row] != sp->kind[row] ||
                !same_id16(o->trace_id[e->row], sp->trace_id[row]) ||
                !same_id8(o->span_id[e->row], sp->span_id[row]))
                continue;
            stats_add(&repeats, 1);
            bool newer = sp->end_ns[row] != o->end_ns[e->row]
                             ? sp->end_ns[row] > o->end_ns[e->row]
                             : content_of(sp, row) >= content_of(o, e->row);
            if (!newer ||
                e->flags & SETTLE_INDEX_LOST) { /* lost: what it counts as a request stays */
                take_back(w, w->b, row, false);
                return REPEAT_LOSES;
            }
            *out_agent_done = is_waiting_agent(o, e->row) && !agent_replaced(w, e->b, e->row);
            take_back(w, e->b, e->row, false);
            remember(w, x, e);
            e->flags |= SETTLE_INDEX_DEAD;
            if (x == w->index)
                n->replaced_span = (uint32_t)(e - x->entries) + 1;
            return REPEAT_REPLACES;
        }
    }
    return REPEAT_NONE;
}

/* --- rows ------------------------------------------------------------------------------------------------------ */

static void span_row(struct work *w, uint32_t row)
{
    const struct tsdb_spans *sp = &w->b->spans;
    uint8_t class = class_of(sp, row);
    bool agent_done = false;
    struct settle_index_entry e = {.b = w->b, .row = row, .seq = w->seq};
    if (repeat_row(w, row, &e, &agent_done) == REPEAT_LOSES)
        return;
    e.trace_hash = hash_trace(w->b->org, &sp->trace_id[row]);
    e.span_hash = hash_span(w->b->org, &sp->trace_id[row], &sp->span_id[row]);
    if (class & TSDB_CLASS_CALL) {
        e.id_hash = hash_response(w->b->org, STR_OF(sp, response_id, row));
        if (!twin_row(w, row, &e) || !nested_row(w, row)) {
            e.flags |= SETTLE_INDEX_LOST;
            e.id_hash = 0; /* the winner is the one to be found */
        }
    }
    if (!settle_index_add(w->index, &e))
        stats_add(&not_kept, 1);
    touch_trace(w, row, class & TSDB_CLASS_CALL);
    if (is_waiting_agent(sp, row) && !agent_done)
        agent_row(w, row);
}

/* A log that is a call books against its span, and once: its cells are made here, where its twins are known. */
static void log_row(struct work *w, struct tsdb_batch *reading, uint32_t row)
{
    struct settle *s = w->s;
    struct genai_row *r = &s->derive->row;
    struct settle_index *x = NULL;
    if (!genai_read_log(s->o.genai, s->derive->memo, reading, row, r))
        return;
    struct settle_index_entry *e = r->response_id.size && !s->o.without_twins
                                       ? find_twin(s, w->b, r->response_id, r->provider, NULL, &x)
                                       : NULL;
    if (e && (e->flags & SETTLE_INDEX_LOG)) {
        stats_add(&log_twins, 1);
        return;
    }
    if (e) {
        stats_add(&log_twins, 1);
        take_back(w, e->b, e->row, true);
        mark_lost(w, x, e);
    }
    if (r->response_id.size) {
        struct settle_index_entry n = {
            .b = w->b, .row = row, .seq = w->seq, .flags = SETTLE_INDEX_LOG};
        n.id_hash = hash_response(w->b->org, r->response_id);
        n.trace_hash = n.span_hash = n.id_hash ^ 2;
        if (e && x == w->index)
            n.replaced_id = (uint32_t)(e - x->entries) + 1;
        if (!settle_index_add(w->index, &n))
            stats_add(&not_kept, 1);
    }
    if (w->mut)
        w->ok = w->ok && derive_row(s->derive, w->mut, TSDB_NO_ROW, r, w->b->logs.scope_name[row]);
}

enum err settle_batch(struct settle *s, const struct tsdb_batch *b, struct tsdb_batch *mut,
                      uint64_t seq, uint64_t generation)
{
    struct work w = {s, index_open(s, generation), b, mut, seq, true};
    if (!w.index)
        return ERR_NOMEM;
    if (b->received_ns > s->now_ns)
        s->now_ns = b->received_ns;
    s->cells_given = b->cells.count;
    for (uint32_t i = 0; i < b->spans.count && w.ok; i++)
        if (class_of(&b->spans, i) && !(b->span_dropped && b->span_dropped[i]))
            span_row(&w, i);
    if (b->logs.count) {
        struct tsdb_batch reading = *b;
        arena_reset(s->scratch);
        reading.arena = s->scratch;
        genai_memo_batch(s->derive->memo);
        for (uint32_t i = 0; i < b->logs.count && w.ok; i++)
            log_row(&w, &reading, i);
        genai_memo_batch(s->derive->memo);
    }
    sweep(&w);
    return w.ok ? ERR_OK : ERR_LIMIT;
}

/* --- generations go ------------------------------------------------------------------------------------------------ */

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

void settle_drop(struct settle *s, uint64_t generation)
{
    for (uint32_t i = 0; i < s->pool_cap; i++) {
        struct pending *p = &s->pool[i];
        if (!p->is_used || p->own || p->generation != generation)
            continue;
        if (!p->resolved_seq && (p->own = row_copy(p->b, p->row))) {
            p->b = p->own;
            p->row = 0;
        } else {
            stats_add(&not_kept, !p->resolved_seq);
            pending_free(s, i);
        }
    }
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
