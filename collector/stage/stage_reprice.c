#include "collector/stage/stage_reprice.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/hash.h"
#include "collector/stage/derive.h"
#include "collector/stage/stage_core.h"

#include <stdlib.h>

#define EDGE_MINUTES 10u /* a twin may end so much earlier or later */
#define EDGE_NS (INT64_C(86400) * 1000000000) /* a call may have begun so long before it ended */
#define GROUPS_MAX 65536u
#define NONE UINT32_MAX
#define BATCH_BYTES_MAX (256u << 20)

enum was { WAS_PRICED, WAS_UNPRICED };

/* A call of the range. */
struct call {
    uint64_t span, parent, response, usage; /* hashes; 0 = none */
    int64_t start_ns, end_ns;
    int64_t diff[GENAI_COST_COUNT];
    int64_t old_total, new_total;
    uint32_t group, minute;
    uint8_t was;
    bool is_asked, is_unsplit, is_still_unpriced, is_dead;
};

/* Labels that calls share; row has their texts in the arena. */
struct group {
    uint64_t hash;
    struct genai_row row;
};

/* The sum of differences of a group, a minute and what they were before. */
struct sum {
    uint32_t group, minute;
    uint8_t was;
    int64_t diff[GENAI_COST_COUNT];
};

struct work {
    const struct stage_reprice_ask *ask;
    const struct genai *genai;
    struct derive *derive;
    struct genai_price_book *book;
    struct arena *scratch, *arena;
    struct call *calls;
    size_t call_count, call_cap;
    struct group *groups;
    uint32_t group_count, *group_slots;
    struct sum *sums;
    size_t sum_count;
    uint32_t *sum_slots, sum_slot_count;
    struct stage_reprice_sums *out;
    struct tsdb_batch *batch;
    enum err e;
};

/* --- reading calls ------------------------------------------------------------------------------------ */

#define COLUMN(name) (UINT64_C(1) << TSDB_SPAN_##name)
static const uint64_t columns =
    COLUMN(trace_id) | COLUMN(span_id) | COLUMN(parent_id) | COLUMN(start_ns) | COLUMN(end_ns) |
    COLUMN(kind) | COLUMN(status) | COLUMN(name) | COLUMN(service) | COLUMN(scope_name) |
    COLUMN(status_message) | COLUMN(resource_attrs) | COLUMN(attrs) | COLUMN(events) |
    COLUMN(row_class) | COLUMN(plane) | COLUMN(dialect) | COLUMN(row_flags) | COLUMN(provider) |
    COLUMN(operation) | COLUMN(model) | COLUMN(request_model) | COLUMN(response_model) |
    COLUMN(response_id) | COLUMN(endpoint) | COLUMN(env) | COLUMN(region) | COLUMN(variant) |
    COLUMN(tenant) | COLUMN(input_tokens) | COLUMN(output_tokens) | COLUMN(cache_read_tokens) |
    COLUMN(cache_write_tokens) | COLUMN(reasoning_tokens) | COLUMN(cost_nanousd) | COLUMN(price_id);

/* What the columns keep; what only the attributes say (tier, audio, images, one-hour writes) is read from them. */
static void row_of(struct work *w, const struct tsdb_spans *t, uint32_t i, struct genai_row *r)
{
    struct tsdb_batch reading = {
        .arena = w->scratch, .org = w->ask->org, .spans = *t, .received_ns = t->end_ns[i]};
    if (!t->attrs[i].size || !genai_read_span(w->genai, w->derive->memo, &reading, i, r)) {
        memset(r, 0, sizeof *r);
        r->audio_input_tokens = r->audio_cache_read_tokens = r->audio_output_tokens = -1;
        r->image_input_tokens = r->image_cache_read_tokens = r->image_output_tokens = -1;
        r->images = r->cache_write_1h_tokens = -1;
        r->duration_ns = t->end_ns[i] >= t->start_ns[i] ? t->end_ns[i] - t->start_ns[i] : -1;
    }
    r->service = t->service[i];
    r->env = t->env[i];
    r->region = t->region[i];
    r->provider = t->provider[i];
    r->model = t->model[i];
    r->request_model = t->request_model[i];
    r->response_model = t->response_model[i];
    r->operation = t->operation[i];
    r->endpoint = t->endpoint[i];
    r->variant = t->variant[i];
    r->tenant = t->tenant[i];
    r->plane = t->plane[i];
    r->flags = t->row_flags[i];
    r->input_tokens = t->input_tokens[i];
    r->output_tokens = t->output_tokens[i];
    r->cache_read_tokens = t->cache_read_tokens[i];
    r->cache_write_tokens = t->cache_write_tokens[i];
    r->reasoning_tokens = t->reasoning_tokens[i];
    r->end_ns = t->end_ns[i] > 0 ? t->end_ns[i] : t->start_ns[i];
}

static uint32_t group_of(struct work *w, const struct genai_row *r)
{
    const struct label_group *g = label_group_of(w->derive->groups, w->ask->org, r);
    if (!g)
        return NONE;
    uint64_t h = hash64(bytes_of(g->key, g->key_size), 9) | 1;
    uint32_t at = (uint32_t)h % (GROUPS_MAX * 2);
    while (w->group_slots[at]) {
        if (w->groups[w->group_slots[at] - 1].hash == h)
            return w->group_slots[at] - 1;
        at = (at + 1) % (GROUPS_MAX * 2);
    }
    if (w->group_count == GROUPS_MAX)
        return NONE;
    struct group *n = &w->groups[w->group_count];
    n->hash = h;
    n->row.plane = r->plane;
    const struct bytes from[] = {r->service, r->env,       r->region,   r->provider,
                                 r->model,   r->operation, r->endpoint, r->variant};
    struct bytes *to[] = {&n->row.service, &n->row.env,       &n->row.region,   &n->row.provider,
                          &n->row.model,   &n->row.operation, &n->row.endpoint, &n->row.variant};
    for (size_t i = 0; i < ARRAY_LEN(from); i++) {
        *to[i] = arena_copy(w->arena, from[i]);
        if (from[i].size && !to[i]->data)
            return NONE;
    }
    w->group_slots[at] = ++w->group_count;
    return w->group_count - 1;
}

/* Old and new by cost type. Of a call that had no price old is nothing. */
static void call_price(struct work *w, const struct tsdb_spans *t, uint32_t i, struct genai_row *r,
                       struct call *c)
{
    int64_t old[GENAI_COST_COUNT] = {0}, stored = t->cost_nanousd[i];
    bool unpriced = stored < 0 || (r->flags & TSDB_ROW_UNPRICED);
    c->was = unpriced ? WAS_UNPRICED : WAS_PRICED;
    c->old_total = unpriced ? 0 : stored;
    if (stored > 0) {
        bool ok = false;
        for (int half = 0; half < 2 && !ok; half++)
            ok = t->price_id[i] && genai_price_book_apply(w->book, t->price_id[i], half, r) &&
                 r->cost_total == stored;
        if (!ok) {
            c->is_unsplit = true;
            c->new_total = stored;
            return;
        }
        memcpy(old, r->cost, sizeof old);
    }
    genai_price(w->genai, w->derive->memo, w->ask->org, r);
    c->is_still_unpriced = r->cost_total < 0;
    c->new_total = c->is_still_unpriced ? c->old_total : r->cost_total;
    for (int k = 0; k < GENAI_COST_COUNT && !c->is_still_unpriced; k++)
        c->diff[k] = r->cost[k] - old[k];
}

static uint64_t id_hash(struct tsdb_id16 trace, struct tsdb_id8 span)
{
    static const struct tsdb_id8 none;
    return memcmp(&span, &none, sizeof none) == 0
               ? 0
               : hash64(bytes_of(span.b, 8), hash64(bytes_of(trace.b, 16), 1)) | 1;
}

static struct call *call_new(struct work *w)
{
    if (w->call_count == w->call_cap) {
        size_t cap = w->call_cap ? w->call_cap * 2 : 4096;
        struct call *p =
            w->call_count < STAGE_REPRICE_CALLS_MAX ? realloc(w->calls, cap * sizeof *p) : NULL;
        if (!p) {
            w->e = w->call_count < STAGE_REPRICE_CALLS_MAX ? ERR_NOMEM : ERR_LIMIT;
            return NULL;
        }
        w->calls = p;
        w->call_cap = cap;
    }
    struct call *c = &w->calls[w->call_count++];
    memset(c, 0, sizeof *c);
    return c;
}

static bool is_cli(uint8_t dialect)
{
    return dialect == GENAI_DIALECT_CLAUDE_CODE || dialect == GENAI_DIALECT_CODEX ||
           dialect == GENAI_DIALECT_GEMINI_CLI || dialect == GENAI_DIALECT_CURSOR;
}

static bool call_read(struct work *w, const struct tsdb_spans *t, uint32_t i)
{
    const struct stage_reprice_ask *ask = w->ask;
    int64_t end = t->end_ns[i] > 0 ? t->end_ns[i] : t->start_ns[i];
    uint32_t minute = tsdb_batch_minute(end > 0 ? end : 0);
    struct genai_row r;
    if (!(t->row_class[i] & TSDB_CLASS_CALL) || is_cli(t->dialect[i]) || end <= 0 ||
        minute + EDGE_MINUTES < ask->from || minute >= ask->to + EDGE_MINUTES)
        return true;
    struct call *c = call_new(w);
    if (!c)
        return false;
    c->span = id_hash(t->trace_id[i], t->span_id[i]);
    c->parent = id_hash(t->trace_id[i], t->parent_id[i]);
    c->response =
        t->response_id[i].size ? hash64(t->response_id[i], hash64(t->provider[i], 3)) | 1 : 0;
    int64_t usage[2] = {t->input_tokens[i], t->output_tokens[i]};
    c->usage =
        hash64(bytes_of(usage, sizeof usage), hash64(t->model[i], hash64(t->operation[i], 5)));
    c->start_ns = t->start_ns[i];
    c->end_ns = end;
    c->minute = minute;
    bool unpriced = t->cost_nanousd[i] < 0 || (t->row_flags[i] & TSDB_ROW_UNPRICED);
    c->is_asked = minute >= ask->from && minute < ask->to &&
                  (!ask->service.size || bytes_equal(ask->service, t->service[i])) &&
                  (!ask->model.size || bytes_equal(ask->model, t->model[i])) &&
                  (!ask->only_unpriced || unpriced);
    if (!c->is_asked)
        return true;
    row_of(w, t, i, &r);
    c->group = group_of(w, &r);
    if (c->group == NONE) {
        w->e = ERR_LIMIT;
        return false;
    }
    call_price(w, t, i, &r, c);
    return true;
}

static bool on_spans(void *ctx, const struct tsdb_spans *t, const uint32_t *rows, uint32_t count)
{
    struct work *w = ctx;
    arena_reset(w->scratch);
    genai_memo_batch(w->derive->memo);
    for (uint32_t i = 0; i < count; i++)
        if (!call_read(w, t, rows[i]))
            return false;
    genai_memo_batch(w->derive->memo);
    return true;
}

/* --- which of them book ------------------------------------------------------------------------------- */

static bool lies_inside(const struct call *in, const struct call *out)
{
    return out->start_ns <= in->start_ns && in->end_ns <= out->end_ns &&
           !(out->start_ns == in->start_ns && in->end_ns == out->end_ns);
}

/* Settler's order: the inner one, else the later start, else the first seen. */
static bool is_nearer(const struct call *n, const struct call *o)
{
    if (lies_inside(n, o))
        return true;
    return !lies_inside(o, n) && n->start_ns > o->start_ns;
}

/* An index by one hash: slots of call number + 1. */
static uint32_t *index_new(size_t n, uint32_t *out_slots)
{
    uint32_t slots = 16;
    while (slots < n * 2)
        slots *= 2;
    *out_slots = slots;
    return calloc(slots, sizeof(uint32_t));
}

static uint32_t *index_at(const struct work *w, uint32_t *index, uint32_t slots, uint64_t h,
                          size_t offset)
{
    uint32_t at = (uint32_t)h & (slots - 1);
    while (index[at] &&
           *(const uint64_t *)(const void *)((const char *)&w->calls[index[at] - 1] + offset) != h)
        at = (at + 1) & (slots - 1);
    return &index[at];
}

static bool calls_settle(struct work *w)
{
    uint32_t slots;
    uint32_t *spans = index_new(w->call_count, &slots), *ids = index_new(w->call_count, &slots);
    for (size_t i = 0; spans && ids && i < w->call_count;
         i++) { /* the same span again: the later end, else the newer */
        struct call *c = &w->calls[i];
        uint32_t *at =
            c->span ? index_at(w, spans, slots, c->span, offsetof(struct call, span)) : NULL;
        if (at && *at && w->calls[*at - 1].end_ns > c->end_ns) {
            c->is_dead = true;
            continue;
        }
        if (at && *at)
            w->calls[*at - 1].is_dead = true;
        if (at)
            *at = (uint32_t)i + 1;
    }
    for (size_t i = 0; spans && ids && i < w->call_count; i++) {
        struct call *c = &w->calls[i];
        if (!c->response || c->is_dead)
            continue;
        uint32_t *at = index_at(w, ids, slots, c->response, offsetof(struct call, response));
        if (*at && !is_nearer(c, &w->calls[*at - 1])) {
            c->is_dead = true;
            continue;
        }
        if (*at)
            w->calls[*at - 1].is_dead = true;
        *at = (uint32_t)i + 1;
    }
    for (size_t i = 0; spans && ids && i < w->call_count;
         i++) { /* a call directly below a call: the inner one books */
        struct call *c = &w->calls[i];
        uint32_t *at = c->parent && !c->is_dead
                           ? index_at(w, spans, slots, c->parent, offsetof(struct call, span))
                           : NULL;
        struct call *p = at && *at ? &w->calls[*at - 1] : NULL;
        if (p && !p->is_dead && p->usage == c->usage && p->start_ns <= c->start_ns &&
            c->end_ns <= p->end_ns)
            p->is_dead = true;
    }
    bool ok = spans && ids;
    free(spans);
    free(ids);
    return ok;
}

/* --- sums and cells ------------------------------------------------------------------------------------ */

static struct sum *sum_of(struct work *w, uint32_t group, uint32_t minute, uint8_t was)
{
    uint32_t key[3] = {group, minute, was};
    uint32_t at = (uint32_t)hash64(bytes_of(key, sizeof key), 11) & (w->sum_slot_count - 1);
    while (w->sum_slots[at]) {
        struct sum *s = &w->sums[w->sum_slots[at] - 1];
        if (s->group == group && s->minute == minute && s->was == was)
            return s;
        at = (at + 1) & (w->sum_slot_count - 1);
    }
    struct sum *s = &w->sums[w->sum_count++];
    *s = (struct sum){.group = group, .minute = minute, .was = was};
    w->sum_slots[at] = (uint32_t)w->sum_count;
    return s;
}

static bool calls_sum(struct work *w)
{
    struct stage_reprice_sums *o = w->out;
    w->sum_slots = index_new(w->call_count, &w->sum_slot_count);
    w->sums = calloc(w->call_count + 1, sizeof *w->sums);
    for (size_t i = 0; w->sums && w->sum_slots && i < w->call_count; i++) {
        const struct call *c = &w->calls[i];
        if (!c->is_asked)
            continue;
        if (c->is_dead) {
            o->twins++;
            continue;
        }
        o->calls++;
        o->unpriced_before += c->was == WAS_UNPRICED;
        o->unpriced_still += c->is_still_unpriced;
        o->not_split += c->is_unsplit;
        o->changed += c->new_total != c->old_total;
        o->old_nanousd += c->old_total;
        o->new_nanousd += c->new_total;
        struct sum *s = sum_of(w, c->group, c->minute, c->was);
        for (int k = 0; k < GENAI_COST_COUNT; k++)
            s->diff[k] += c->diff[k];
    }
    return w->sums && w->sum_slots;
}

static const char *const was_texts[] = {"priced", "unpriced"};
static const char *const directions[] = {"up", "down"};

static struct tsdb_ref repriced_ref(struct work *w, struct label_group *g, int type, uint8_t was,
                                    bool down)
{
    struct label_pair more[] = {{"type", bytes_str(genai_cost_text((enum genai_cost)type))},
                                {"was", bytes_str(was_texts[was])},
                                {"direction", bytes_str(directions[down])}};
    return label_group_ref(w->derive->groups, g, w->derive->series,
                           "llm_cost_repriced_nanousd_total", more, ARRAY_LEN(more), NULL);
}

/* What was added before, by series of a group. */
struct before {
    struct hash128 identity;
    uint32_t group;
    uint8_t type, was, down;
};
struct before_walk {
    struct work *w;
    struct before *rows;
    uint32_t *slots, slot_count;
    size_t count;
};

static uint32_t before_series(void *ctx, struct hash128 identity, const struct tsdb_labels *labels)
{
    struct before_walk *b = ctx;
    (void)labels;
    uint32_t at = (uint32_t)identity.lo & (b->slot_count - 1);
    while (b->slots[at]) {
        if (hash128_equal(b->rows[b->slots[at] - 1].identity, identity))
            return b->slots[at] - 1;
        at = (at + 1) & (b->slot_count - 1);
    }
    return TSDB_CELLS_SKIP;
}

static void before_cell(void *ctx, uint32_t series, uint32_t minute, int64_t add)
{
    struct before_walk *b = ctx;
    const struct before *r = &b->rows[series];
    uint32_t key[3] = {r->group, minute, r->was};
    struct work *w = b->w;
    uint32_t at = (uint32_t)hash64(bytes_of(key, sizeof key), 11) & (w->sum_slot_count - 1);
    for (; w->sum_slots[at]; at = (at + 1) & (w->sum_slot_count - 1)) {
        struct sum *s = &w->sums[w->sum_slots[at] - 1];
        if (s->group == r->group && s->minute == minute && s->was == r->was) {
            s->diff[r->type] -= r->down ? -add : add;
            return;
        }
    }
}

/* Takes from the sums what re-pricing added before. */
static enum err before_take(struct work *w, struct tsdb_view *view)
{
    struct before_walk b = {.w = w};
    size_t most = (size_t)w->group_count * GENAI_COST_COUNT * 4;
    b.slots = index_new(most, &b.slot_count);
    b.rows = calloc(most + 1, sizeof *b.rows);
    enum err e = b.slots && b.rows ? ERR_OK : ERR_NOMEM;
    for (uint32_t g = 0; e == ERR_OK && g < w->group_count; g++)
        for (int k = 0; k < GENAI_COST_COUNT * 4; k++) {
            struct label_group *lg =
                label_group_of(w->derive->groups, w->ask->org, &w->groups[g].row);
            struct before r = {.group = g,
                               .type = (uint8_t)(k / 4),
                               .was = (uint8_t)(k / 2 % 2),
                               .down = (uint8_t)(k % 2)};
            struct tsdb_ref ref =
                lg ? repriced_ref(w, lg, r.type, r.was, r.down) : (struct tsdb_ref){0};
            if (!ref.v)
                continue;
            r.identity = tsdb_registry_info(w->derive->series, ref)->identity;
            uint32_t at = (uint32_t)r.identity.lo & (b.slot_count - 1);
            while (b.slots[at])
                at = (at + 1) & (b.slot_count - 1);
            b.rows[b.count] = r;
            b.slots[at] = (uint32_t)++b.count;
        }
    struct tsdb_cells_walk walk = {.ctx = &b, .series = before_series, .cell = before_cell};
    if (e == ERR_OK)
        e = tsdb_cells_walk(view, w->ask->from, w->ask->to, &walk);
    free(b.slots);
    free(b.rows);
    return e;
}

static bool cells_add(struct work *w)
{
    for (size_t i = 0; i < w->sum_count; i++) {
        const struct sum *s = &w->sums[i];
        for (int k = 0; k < GENAI_COST_COUNT; k++) {
            int64_t d = s->diff[k];
            if (!d)
                continue;
            w->out->added_nanousd += d;
            w->out->cells += 2;
            if (!w->batch)
                continue;
            struct label_group *g =
                label_group_of(w->derive->groups, w->ask->org, &w->groups[s->group].row);
            struct label_pair type = {"type", bytes_str(genai_cost_text((enum genai_cost)k))};
            struct tsdb_ref cost = g ? label_group_ref(w->derive->groups, g, w->derive->series,
                                                       "llm_cost_nanousd_total", &type, 1, NULL)
                                     : (struct tsdb_ref){0};
            struct tsdb_ref told = g ? repriced_ref(w, g, k, s->was, d < 0) : (struct tsdb_ref){0};
            /* both or none: the second series is what keeps a second run from adding it again */
            if (!cost.v || !told.v ||
                !tsdb_batch_add_cell(w->batch, cost, s->minute, d, TSDB_NO_ROW) ||
                !tsdb_batch_add_cell(w->batch, told, s->minute, d < 0 ? -d : d, TSDB_NO_ROW))
                return false;
        }
    }
    return true;
}

/* --- all of it ----------------------------------------------------------------------------------------- */

static enum err work_run(struct work *w, struct tsdb *db)
{
    static const struct tsdb_read_limits limits;
    struct tsdb_view *view;
    struct tsdb_visit q = {
        .start_min_ns = MAX(((int64_t)w->ask->from - EDGE_MINUTES) * 60 * 1000000000 - EDGE_NS, 0),
        .start_max_ns = ((int64_t)w->ask->to + EDGE_MINUTES) * 60 * 1000000000,
        .columns = columns,
        .spans = on_spans,
        .ctx = w,
    };
    enum err e = tsdb_view_open(db, w->ask->org, &limits, &view);
    if (e != ERR_OK)
        return e;
    e = tsdb_spans_visit(view, &q);
    if (e == ERR_OK)
        e = w->e;
    if (e == ERR_OK && !(calls_settle(w) && calls_sum(w)))
        e = ERR_NOMEM;
    if (e == ERR_OK && w->sum_count)
        e = before_take(w, view);
    if (e == ERR_OK && !cells_add(w))
        e = ERR_LIMIT;
    tsdb_view_close(view);
    return e;
}

enum err stage_reprice(struct stage *s, struct tsdb *db, const struct stage_reprice_ask *ask,
                       struct stage_reprice_sums *out, struct tsdb_batch **out_batch,
                       struct err_msg *msg)
{
    struct work w = {.ask = ask, .genai = stage_core_genai(s), .out = out};
    *out = (struct stage_reprice_sums){0};
    w.derive = stage_core_derive(s);
    w.book = genai_price_book_new(db);
    w.scratch = arena_new(256u << 20);
    w.arena = arena_new(256u << 20);
    w.groups = calloc(GROUPS_MAX, sizeof *w.groups);
    w.group_slots = calloc((size_t)GROUPS_MAX * 2, sizeof *w.group_slots);
    if (out_batch)
        w.batch = tsdb_batch_new(ask->org, TSDB_SPANS, BATCH_BYTES_MAX);
    enum err e = w.derive && w.book && w.scratch && w.arena && w.groups && w.group_slots &&
                         (w.batch || !out_batch)
                     ? work_run(&w, db)
                     : ERR_NOMEM;
    if (e == ERR_OK && out_batch) {
        w.batch->received_ns = clock_wall_ns();
        *out_batch = w.batch;
        w.batch = NULL;
    }
    tsdb_batch_free(w.batch);
    derive_free(w.derive);
    genai_price_book_free(w.book);
    arena_free(w.scratch);
    arena_free(w.arena);
    free(w.calls);
    free(w.groups);
    free(w.group_slots);
    free(w.sums);
    free(w.sum_slots);
    return e == ERR_OK ? e
           : e == ERR_LIMIT
               ? err_set(msg, e, "more than %u calls (or too many groups): narrow the range",
                         STAGE_REPRICE_CALLS_MAX)
               : err_set(msg, e, "re-pricing failed: %s", err_text(e));
}
