#include "query/query_slo_feed.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/hash.h"
#include "query/slo_terms.h"

#define NONE UINT32_MAX
#define ANSWERS_MAX 32u /* different ranges at a time */

/* A matcher set of an objective. */
struct wanted {
    const struct tsdb_matcher *m;
    size_t n;
    uint32_t next; /* of those that demand the same pair */
};

struct pair_slot {
    uint64_t hash; /* of the pair; 0: free */
    uint32_t first, uses;
};

/* The terms that want a series: a run of the pool. */
struct known_series {
    struct hash128 identity; /* zero: free */
    uint32_t from, count;
};

/* Values of the terms first .. first + terms, each `width` minutes from `from`, or one sum. */
struct answer {
    uint32_t from, to, first, terms, width; /* width 0: sums */
    uint64_t used;
    int64_t *values; /* NULL: free */
    size_t bytes;
};

struct query_slo_feed {
    struct wanted *wanted;
    uint32_t wanted_count;
    uint32_t *by_matchers; /* hash of a term's address -> index + 1 */
    uint32_t by_matchers_mask;
    struct pair_slot *pairs;
    uint32_t pairs_mask, unbound; /* unbound: the first term that demands no pair */
    struct known_series *known;
    uint32_t known_count, known_cap;
    uint32_t *pool; /* of indices into wanted */
    size_t pool_count, pool_cap;
    struct answer answers[ANSWERS_MAX];
    size_t answers_bytes, answers_max;
    uint64_t clock, passes;
    struct query_slo_source inner;
    struct tsdb_view *view;
    struct answer *filling; /* by the pass that runs */
    bool failed;
};

/* --- terms --------------------------------------------------------------------------------------- */

static uint64_t pair_hash(struct bytes name, struct bytes value)
{
    uint64_t h = hash64(name, hash64(value, 7));
    return h ? h : 1;
}

static struct pair_slot *pair_at(const struct query_slo_feed *f, uint64_t hash)
{
    uint32_t i = (uint32_t)hash & f->pairs_mask;
    while (f->pairs[i].hash && f->pairs[i].hash != hash)
        i = (i + 1) & f->pairs_mask;
    return &f->pairs[i];
}

static bool demands(const struct tsdb_matcher *m)
{
    return m->op == TSDB_MATCH_EQ && m->value.size;
}

static uint32_t *matchers_slot(const struct query_slo_feed *f, const struct tsdb_matcher *m,
                               size_t n)
{
    uintptr_t key[2] = {(uintptr_t)m, n};
    uint32_t i = (uint32_t)hash64(bytes_of(key, sizeof(key)), 3) & f->by_matchers_mask;
    while (f->by_matchers[i]) {
        const struct wanted *w = &f->wanted[f->by_matchers[i] - 1];
        if (w->m == m && w->n == n)
            break;
        i = (i + 1) & f->by_matchers_mask;
    }
    return &f->by_matchers[i];
}

static void add_term(struct query_slo_feed *f, const struct slo_term *t)
{
    uint32_t *slot = matchers_slot(f, t->m, t->n);
    if (*slot)
        return;
    f->wanted[f->wanted_count++] = (struct wanted){t->m, t->n, NONE};
    *slot = f->wanted_count;
    for (size_t i = 0; i < t->n; i++)
        if (demands(&t->m[i])) {
            struct pair_slot *p = pair_at(f, pair_hash(t->m[i].name, t->m[i].value));
            p->hash = pair_hash(t->m[i].name, t->m[i].value);
            p->first = NONE;
            p->uses++;
        }
}

/* Each term hangs on the pair that the fewest demand. */
static void bind_terms(struct query_slo_feed *f)
{
    f->unbound = NONE;
    for (uint32_t k = f->wanted_count; k-- > 0;) {
        struct wanted *w = &f->wanted[k];
        struct pair_slot *best = NULL;
        for (size_t i = 0; i < w->n; i++) {
            struct pair_slot *p =
                demands(&w->m[i]) ? pair_at(f, pair_hash(w->m[i].name, w->m[i].value)) : NULL;
            if (p && (!best || p->uses < best->uses))
                best = p;
        }
        uint32_t *head = best ? &best->first : &f->unbound;
        w->next = *head;
        *head = k;
    }
}

static uint32_t power_of_two(size_t atleast)
{
    uint32_t n = 64;
    while (n < atleast)
        n *= 2;
    return n;
}

struct query_slo_feed *query_slo_feed_new(const struct query_slo *slos, uint32_t count)
{
    struct query_slo_feed *f = calloc(1, sizeof(*f));
    size_t terms = 0, matchers = 0;
    if (!f)
        return NULL;
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t k = 0; k < slos[i].terms->count; k++, terms++)
            matchers += slos[i].terms->terms[k].n;
    f->by_matchers_mask = power_of_two(2 * terms) - 1;
    f->pairs_mask = power_of_two(2 * matchers) - 1;
    f->wanted = calloc(terms + 1, sizeof(*f->wanted));
    f->by_matchers = calloc((size_t)f->by_matchers_mask + 1, sizeof(*f->by_matchers));
    f->pairs = calloc((size_t)f->pairs_mask + 1, sizeof(*f->pairs));
    f->answers_max = MAX((size_t)count * QUERY_SLO_FEED_BYTES_PER_SLO, (size_t)1 << 20);
    if (!f->wanted || !f->by_matchers || !f->pairs) {
        query_slo_feed_free(f);
        return NULL;
    }
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t k = 0; k < slos[i].terms->count; k++)
            add_term(f, &slos[i].terms->terms[k]);
    bind_terms(f);
    return f;
}

static void forget_answers(struct query_slo_feed *f)
{
    for (uint32_t i = 0; i < ANSWERS_MAX; i++)
        free(f->answers[i].values);
    memset(f->answers, 0, sizeof(f->answers));
    f->answers_bytes = 0;
}

void query_slo_feed_free(struct query_slo_feed *f)
{
    if (!f)
        return;
    forget_answers(f);
    free(f->wanted), free(f->by_matchers), free(f->pairs), free(f->known), free(f->pool);
    free(f);
}

size_t query_slo_feed_bytes(const struct query_slo_feed *f)
{
    return sizeof(*f) + (size_t)f->wanted_count * sizeof(*f->wanted) +
           ((size_t)f->by_matchers_mask + 1) * sizeof(*f->by_matchers) +
           ((size_t)f->pairs_mask + 1) * sizeof(*f->pairs) + f->known_cap * sizeof(*f->known) +
           f->pool_cap * sizeof(*f->pool) + f->answers_bytes;
}

uint64_t query_slo_feed_passes(const struct query_slo_feed *f)
{
    return f->passes;
}

/* --- series -------------------------------------------------------------------------------------- */

static bool term_wants(const struct wanted *w, const struct tsdb_labels *l)
{
    for (size_t i = 0; i < w->n; i++) {
        const struct tsdb_matcher *m = &w->m[i];
        struct bytes value = tsdb_labels_get(*l, m->name);
        bool same = m->op == TSDB_MATCH_EQ || m->op == TSDB_MATCH_NE ? bytes_equal(value, m->value)
                                                                     : m->match(m->ctx, value);
        if (same != (m->op == TSDB_MATCH_EQ || m->op == TSDB_MATCH_RE))
            return false;
    }
    return true;
}

static struct known_series *known_slot(const struct query_slo_feed *f, struct hash128 id)
{
    uint32_t i = (uint32_t)id.lo & (f->known_cap - 1);
    while ((f->known[i].identity.lo | f->known[i].identity.hi) &&
           !hash128_equal(f->known[i].identity, id))
        i = (i + 1) & (f->known_cap - 1);
    return &f->known[i];
}

static bool known_room(struct query_slo_feed *f)
{
    if ((f->known_count + 1) * 2 <= f->known_cap)
        return true;
    struct known_series *old = f->known;
    uint32_t old_cap = f->known_cap, cap = old_cap ? old_cap * 2 : 1024;
    struct known_series *fresh = calloc(cap, sizeof(*fresh));
    if (!fresh)
        return false;
    f->known = fresh;
    f->known_cap = cap;
    for (uint32_t i = 0; i < old_cap; i++)
        if (old[i].identity.lo | old[i].identity.hi)
            *known_slot(f, old[i].identity) = old[i];
    free(old);
    return true;
}

static bool pool_add(struct query_slo_feed *f, uint32_t term)
{
    if (f->pool_count == f->pool_cap) {
        size_t cap = f->pool_cap ? f->pool_cap * 2 : 1024;
        uint32_t *more = cap < TSDB_CELLS_ASK ? realloc(f->pool, cap * sizeof(*more)) : NULL;
        if (!more)
            return false;
        f->pool = more;
        f->pool_cap = cap;
    }
    f->pool[f->pool_count++] = term;
    return true;
}

static bool add_wanting(struct query_slo_feed *f, uint32_t first, const struct tsdb_labels *l)
{
    for (uint32_t k = first; k != NONE; k = f->wanted[k].next)
        if (term_wants(&f->wanted[k], l) && !pool_add(f, k))
            return false;
    return true;
}

static int by_term(const void *x, const void *y)
{
    uint32_t a = *(const uint32_t *)x, b = *(const uint32_t *)y;
    return (a > b) - (a < b);
}

static bool learn(struct query_slo_feed *f, struct hash128 identity,
                  const struct tsdb_labels *labels)
{
    size_t from = f->pool_count;
    struct tsdb_labels_iter it = tsdb_labels_begin(*labels);
    struct tsdb_label l;
    bool ok = known_room(f) && add_wanting(f, f->unbound, labels);
    while (ok && tsdb_labels_next(&it, &l)) {
        const struct pair_slot *p = pair_at(f, pair_hash(l.name, l.value));
        ok = !p->hash || add_wanting(f, p->first, labels);
    }
    if (!ok)
        return false;
    if (f->pool_count > from)
        qsort(f->pool + from, f->pool_count - from, sizeof(*f->pool), by_term);
    *known_slot(f, identity) =
        (struct known_series){identity, (uint32_t)from, (uint32_t)(f->pool_count - from)};
    f->known_count++;
    return true;
}

/* A series is named by its run in the pool: an index into known would move when the table grows. The run ends where the terms stop
 * ascending, so runs are closed by a NONE. */
static uint32_t on_series(void *ctx, struct hash128 identity, const struct tsdb_labels *labels)
{
    struct query_slo_feed *f = ctx;
    struct known_series *k = f->known_cap ? known_slot(f, identity) : NULL;
    if (!k || !(k->identity.lo | k->identity.hi)) {
        if (!labels)
            return TSDB_CELLS_ASK;
        if (!learn(f, identity, labels) || !pool_add(f, NONE)) {
            f->failed = true;
            return TSDB_CELLS_SKIP;
        }
        k = known_slot(f, identity);
    }
    return k->count ? k->from : TSDB_CELLS_SKIP;
}

/* --- passes -------------------------------------------------------------------------------------- */

static void on_cell(void *ctx, uint32_t series, uint32_t minute, int64_t add)
{
    struct query_slo_feed *f = ctx;
    struct answer *a = f->filling;
    for (const uint32_t *t = f->pool + series; *t != NONE; t++) {
        if (*t - a->first >= a->terms)
            continue;
        int64_t *at = &a->values[a->width ? (size_t)(*t - a->first) * a->width + minute - a->from
                                          : *t - a->first];
        *at = (int64_t)((uint64_t)*at + (uint64_t)add);
    }
}

static struct answer *oldest_answer(struct query_slo_feed *f, bool only_used)
{
    struct answer *best = NULL;
    for (uint32_t i = 0; i < ANSWERS_MAX; i++) {
        struct answer *a = &f->answers[i];
        if (only_used ? a->values && (!best || a->used < best->used)
                      : !best || !a->values || (best->values && a->used < best->used))
            best = a;
    }
    return best;
}

static void drop_answer(struct query_slo_feed *f, struct answer *a)
{
    free(a->values);
    f->answers_bytes -= a->bytes;
    *a = (struct answer){0};
}

static enum err make_answer(struct query_slo_feed *f, uint32_t term, uint32_t from, uint32_t to,
                            bool sums, struct answer **out)
{
    uint32_t width = sums ? 0 : to - from;
    size_t each = (width ? width : 1) * sizeof(int64_t);
    uint32_t terms = (uint32_t)MIN(MAX(f->answers_max / 2 / each, 1), f->wanted_count);
    uint32_t first = term / terms * terms;
    size_t bytes = terms * each;
    while (f->answers_bytes && f->answers_bytes + bytes > f->answers_max)
        drop_answer(f, oldest_answer(f, true));
    struct answer *a = oldest_answer(f, false);
    drop_answer(f, a);
    int64_t *values = calloc(1, bytes);
    if (!values)
        return ERR_NOMEM;
    *a = (struct answer){from, to, first, terms, width, ++f->clock, values, bytes};
    f->answers_bytes += bytes;
    f->filling = a;
    f->failed = false;
    f->passes++;
    struct tsdb_cells_walk w = {.ctx = f, .series = on_series, .cell = on_cell, .sums = sums};
    enum err e = tsdb_cells_walk(f->view, from, to, &w);
    if (e == ERR_OK && f->failed)
        e = ERR_NOMEM;
    if (e != ERR_OK)
        drop_answer(f, a);
    *out = a;
    return e;
}

static enum err find_answer(struct query_slo_feed *f, uint32_t term, uint32_t from, uint32_t to,
                            bool sums, const int64_t **out)
{
    uint32_t width = sums ? 0 : to - from;
    struct answer *a = NULL;
    for (uint32_t i = 0; i < ANSWERS_MAX && !a; i++) {
        struct answer *k = &f->answers[i];
        if (k->values && k->from == from && k->to == to && k->width == width &&
            term - k->first < k->terms)
            a = k;
    }
    if (!a) {
        enum err e = make_answer(f, term, from, to, sums, &a);
        if (e != ERR_OK)
            return e;
    }
    a->used = ++f->clock;
    *out = a->values + (size_t)(term - a->first) * (width ? width : 1);
    return ERR_OK;
}

/* --- the source ---------------------------------------------------------------------------------- */

static enum err feed_sum(void *ctx, const struct tsdb_matcher *m, size_t n, uint32_t from,
                         uint32_t to, int64_t *out)
{
    struct query_slo_feed *f = ctx;
    const int64_t *values;
    uint32_t term = *matchers_slot(f, m, n);
    if (!term || from >= to)
        return f->inner.sum(f->inner.ctx, m, n, from, to, out);
    enum err e = find_answer(f, term - 1, from, to, true, &values);
    if (e == ERR_OK)
        *out = *values;
    return e;
}

static enum err feed_minutes(void *ctx, const struct tsdb_matcher *m, size_t n, uint32_t from,
                             uint32_t to, int64_t *out)
{
    struct query_slo_feed *f = ctx;
    const int64_t *values;
    uint32_t term = *matchers_slot(f, m, n);
    if (!term || from >= to)
        return f->inner.minutes(f->inner.ctx, m, n, from, to, out);
    enum err e = find_answer(f, term - 1, from, to, false, &values);
    for (uint32_t i = 0; e == ERR_OK && i < to - from; i++)
        out[i] = (int64_t)((uint64_t)out[i] + (uint64_t)values[i]);
    return e;
}

static enum err feed_by(void *ctx, const struct tsdb_matcher *m, size_t n, struct bytes label,
                        uint32_t from, uint32_t to, struct arena *a, struct tsdb_cells_group **out,
                        size_t *out_count)
{
    const struct query_slo_feed *f = ctx;
    return f->inner.by(f->inner.ctx, m, n, label, from, to, a, out, out_count);
}

static enum err feed_changed(void *ctx, uint64_t since_seq, uint32_t *out_from, uint32_t *out_to,
                             uint64_t *out_seq)
{
    const struct query_slo_feed *f = ctx;
    return f->inner.changed(f->inner.ctx, since_seq, out_from, out_to, out_seq);
}

static enum err feed_hist(void *ctx, const struct tsdb_matcher *m, size_t n, uint32_t from,
                          uint32_t to, struct arena *a, struct tsdb_hist *out)
{
    const struct query_slo_feed *f = ctx;
    return f->inner.hist(f->inner.ctx, m, n, from, to, a, out);
}

static enum err feed_increases(void *ctx, const struct tsdb_matcher *m, size_t n, uint32_t from,
                               uint32_t to, int64_t *out)
{
    const struct query_slo_feed *f = ctx;
    return f->inner.increases(f->inner.ctx, m, n, from, to, out);
}

struct query_slo_source query_slo_feed_source(struct query_slo_feed *f, struct tsdb_view *v)
{
    forget_answers(f);
    if (f->known_count > QUERY_SLO_FEED_SERIES_MAX) {
        free(f->known), free(f->pool);
        f->known = NULL;
        f->pool = NULL;
        f->known_count = f->known_cap = 0;
        f->pool_count = f->pool_cap = 0;
    }
    f->view = v;
    f->inner = query_slo_source_view(v);
    return (struct query_slo_source){.ctx = f,
                                     .changed = feed_changed,
                                     .sum = feed_sum,
                                     .minutes = feed_minutes,
                                     .by = feed_by,
                                     .hist = feed_hist,
                                     .increases = feed_increases};
}
