#include "tsdb/compact_sample.h"

#include <stdlib.h>

#include "base/check.h"
#include "tsdb/view_rows.h"

#ifdef TELLTALE_FAULT_SAMPLE_ANEW
#include <unistd.h>
#define SEED ((uint64_t)getpid()) /* seeded defect: another process chooses others */
#else
#define SEED UINT64_C(0x74656c6c74616c65) /* never changes: days must agree */
#endif
#define COLUMN(name) (UINT64_C(1) << TSDB_SPAN_##name)
#define COLUMNS                                                                                  \
    (COLUMN(trace_id) | COLUMN(parent_id) | COLUMN(start_ns) | COLUMN(end_ns) | COLUMN(status) | \
     COLUMN(outcome) | COLUMN(row_flags) | COLUMN(service) | COLUMN(name) | COLUMN(weight))

struct table { /* of hashes, 0 = free; with a count for each */
    uint64_t *keys;
    uint32_t *counts;
    size_t n, cap;
};

struct compact_sample {
    struct tsdb_sampling policy;
    int64_t weight; /* of a row that stays for others */
    struct table kept, kinds;
    size_t traces_max;
    bool is_full;
};

struct compact_sample *compact_sample_new(const struct tsdb_sampling *policy, size_t traces_max)
{
    struct compact_sample *s = calloc(1, sizeof(*s));
    CHECK(policy->keep_permille > 0 && policy->keep_permille <= 1000);
    if (!s)
        return NULL;
    s->policy = *policy;
    s->weight = TSDB_WEIGHT_ONE * 1000 / policy->keep_permille;
    s->traces_max = traces_max;
    return s;
}

static void table_done(struct table *t)
{
    free(t->keys);
    free(t->counts);
}

void compact_sample_free(struct compact_sample *s)
{
    if (!s)
        return;
    table_done(&s->kept);
    table_done(&s->kinds);
    free(s);
}

static size_t slot_of(const struct table *t, uint64_t key)
{
    size_t i = (size_t)(key ^ key >> 32) & (t->cap - 1);
    while (t->keys[i] && t->keys[i] != key)
        i = (i + 1) & (t->cap - 1);
    return i;
}

static bool table_grow(struct table *t)
{
    struct table more = {.cap = t->cap ? t->cap * 2 : 1024, .n = t->n};
    more.keys = calloc(more.cap, sizeof(*more.keys));
    more.counts = calloc(more.cap, sizeof(*more.counts));
    if (!more.keys || !more.counts) {
        table_done(&more);
        return false;
    }
    for (size_t i = 0; i < t->cap; i++)
        if (t->keys[i]) {
            size_t to = slot_of(&more, t->keys[i]);
            more.keys[to] = t->keys[i];
            more.counts[to] = t->counts[i];
        }
    table_done(t);
    *t = more;
    return true;
}

/* The count of the key, made when it is not there; NULL: no memory. */
static uint32_t *table_at(struct table *t, uint64_t key)
{
    if (t->n * 2 >= t->cap && !table_grow(t))
        return NULL;
    size_t i = slot_of(t, key | 1);
    if (!t->keys[i]) {
        t->keys[i] = key | 1;
        t->n++;
    }
    return &t->counts[i];
}

static uint64_t hash_of(struct tsdb_id16 trace)
{
    return hash64(bytes_of(trace.b, sizeof(trace.b)), SEED);
}

static bool is_chosen(const struct compact_sample *s, uint64_t hash)
{
    return (hash >> 1) % 1000 < s->policy.keep_permille;
}

static enum err keep(struct compact_sample *s, uint64_t hash)
{
    if (s->is_full || s->kept.n >= s->traces_max) {
        s->is_full = true;
        return ERR_OK;
    }
    return table_at(&s->kept, hash) ? ERR_OK : ERR_NOMEM;
}

enum err compact_sample_keep(struct compact_sample *s, struct tsdb_id16 trace)
{
    return keep(s, hash_of(trace));
}

static bool is_notable(const struct compact_sample *s, const struct tsdb_spans *t, uint32_t row)
{
    uint64_t duration = (uint64_t)t->end_ns[row] - (uint64_t)t->start_ns[row];
    return t->status[row] == 2 || t->outcome[row] > TSDB_OUTCOME_OK ||
           (t->row_flags[row] & TSDB_ROW_DEGRADED) ||
           (s->policy.slow_ms > 0 && duration >= (uint64_t)s->policy.slow_ms * 1000000);
}

/* *out: it is a root, and among the first of its kind. */
static enum err is_early(struct compact_sample *s, const struct tsdb_spans *t, uint32_t row,
                         bool *out)
{
    static const uint8_t none[8];
    *out = false;
    if (!s->policy.per_kind || memcmp(t->parent_id[row].b, none, sizeof(none)) != 0)
        return ERR_OK;
    uint32_t *count = table_at(&s->kinds, hash64(t->name[row], hash64(t->service[row], SEED)));
    if (!count)
        return ERR_NOMEM;
    *out = *count < s->policy.per_kind;
    *count += *out;
    return ERR_OK;
}

static enum err see_row(struct compact_sample *s, const struct tsdb_spans *t, uint32_t row,
                        bool is_own, bool is_decided)
{
    uint64_t hash = hash_of(t->trace_id[row]);
    bool early = false;
    enum err e = is_own ? is_early(s, t, row, &early) : ERR_OK;
    /* a decided row that was not left to chance had a reason to stay, seen then or now */
    bool stays = is_notable(s, t, row) ||
                 (is_decided ? !is_chosen(s, hash) || t->weight[row] < s->weight : early);
    return e == ERR_OK && stays ? keep(s, hash) : e;
}

enum err compact_sample_see(struct compact_sample *s, const struct part_snapshot *from,
                            const struct block_meta *m, bool is_own, bool is_decided,
                            struct err_msg *msg)
{
    struct tsdb_spans t = {0};
    struct bytes block, body;
    struct arena *a = arena_new(0);
    enum err e = a ? part_fetch(from, m, a, &block, msg) : ERR_NOMEM;
    if (e == ERR_OK)
        e = block_unpack(block, a, &body);
    if (e == ERR_OK) {
        struct reader r = reader_of(body);
        e = columns_decode(&r, &tsdb_batch_span_schema, COLUMNS, a, &t, false);
    }
    if (e == ERR_OK && !columns_fill(&tsdb_batch_span_schema, a, &t, COLUMNS))
        e = ERR_NOMEM;
    for (uint32_t i = 0; e == ERR_OK && i < t.count && !s->is_full; i++)
        e = see_row(s, &t, i, is_own, is_decided);
    arena_free(a);
    return e;
}

int64_t compact_sample_weight(const struct compact_sample *s, struct tsdb_id16 trace)
{
    uint64_t hash = hash_of(trace);
    if (s->kept.n && s->kept.keys[slot_of(&s->kept, hash | 1)])
        return TSDB_WEIGHT_ONE;
    return is_chosen(s, hash) ? s->weight : 0;
}

bool compact_sample_is_full(const struct compact_sample *s)
{
    return s->is_full;
}
