#include "query/query_cache.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/arena_budget.h"
#include "base/check.h"
#include "base/hash.h"
#include "base/stats.h"
#include "query/query_reach.h"

STATS_COUNTER(hits, "telltale_query_cache_requests_total", "result=\"hit\"",
              "Range queries by what the result cache had of them.");
STATS_COUNTER(partial, "telltale_query_cache_requests_total", "result=\"partial\"",
              "Range queries by what the result cache had of them.");
STATS_COUNTER(misses, "telltale_query_cache_requests_total", "result=\"miss\"",
              "Range queries by what the result cache had of them.");
STATS_COUNTER(bypasses, "telltale_query_cache_requests_total", "result=\"bypass\"",
              "Range queries by what the result cache had of them.");
STATS_COUNTER(evictions, "telltale_query_cache_evictions_total", "",
              "Answers that the result cache gave up for others, or for memory.");
STATS_COUNTER(steps_kept, "telltale_query_cache_steps_total", "from=\"cache\"",
              "Steps of range queries that the result cache had or that were computed.");
STATS_COUNTER(steps_computed, "telltale_query_cache_steps_total", "from=\"store\"",
              "Steps of range queries that the result cache had or that were computed.");
STATS_GAUGE(bytes_now, "telltale_query_cache_bytes", "", "Memory of the result cache.");

#define BUCKETS 1024u
#define SHARE_OF_ONE 8u /* of bytes_max, for one answer */
#define KEPT_SHARE_MIN 8u /* less than an eighth of the steps is not worth two evaluations */

struct kept_row {
    uint32_t label_at, label_size; /* in labels */
};

/* One malloc: the rows, their values (count each), their presence bits, key and labels. */
struct entry {
    /* immutable */
    uint64_t hash;
    struct bytes key;
    int64_t first_ms;
    uint32_t count, row_count;
    unsigned made_of;
    struct tsdb_moment moment;
    size_t bytes;
    const struct kept_row *rows; /* sorted by labels */
    const double *values;
    const uint8_t *present; /* (count + 7) / 8 bytes a row */
    const uint8_t *labels;
    /* guarded by the cache's lock */
    unsigned refs;
    struct entry *next; /* of the bucket */
    struct entry *newer, *older; /* by use */
};

struct query_cache {
    struct arena_budget *budget;
    size_t bytes_max;
    pthread_mutex_t lock;
    /* guarded by lock */
    struct entry *buckets[BUCKETS];
    struct entry *newest, *oldest;
    size_t bytes; /* of entries in the table and of those that are still read */
};

/* One question on its way. */
struct asked {
    struct query_cache *c;
    struct query_source *src;
    const struct query_limits *limits;
    struct bytes text, key;
    uint64_t hash;
    int64_t start_ms, step_ms;
    size_t count;
    struct query_reach reach;
    struct tsdb_moment moment;
    struct arena *a;
    struct err_msg *msg;
};

const char *query_cache_kind_name(enum query_cache_kind k)
{
    static const char *const names[] = {"off", "bypass", "miss", "partial", "hit"};
    return names[k];
}

/* --- the table --------------------------------------------------------------------------------- */

struct query_cache *query_cache_new(struct arena_budget *budget, size_t bytes_max)
{
    struct query_cache *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->budget = budget;
    c->bytes_max = bytes_max;
    pthread_mutex_init(&c->lock, NULL);
    return c;
}

/* With the lock. */
static void release(struct query_cache *c, struct entry *e)
{
    if (--e->refs)
        return;
    c->bytes -= e->bytes;
    stats_add(&bytes_now, -(int64_t)e->bytes);
    if (c->budget)
        atomic_fetch_sub(&c->budget->used, e->bytes);
    free(e);
}

static void unlink_use(struct query_cache *c, struct entry *e)
{
    *(e->newer ? &e->newer->older : &c->newest) = e->older;
    *(e->older ? &e->older->newer : &c->oldest) = e->newer;
}

static void link_newest(struct query_cache *c, struct entry *e)
{
    e->newer = NULL;
    e->older = c->newest;
    *(c->newest ? &c->newest->newer : &c->oldest) = e;
    c->newest = e;
}

/* With the lock. */
static void take_out(struct query_cache *c, struct entry *e)
{
    struct entry **at = &c->buckets[e->hash % BUCKETS];
    while (*at != e)
        at = &(*at)->next;
    *at = e->next;
    unlink_use(c, e);
    release(c, e);
}

/* With the lock: until `more` bytes fit, and queries have a quarter of their memory for themselves. */
static bool make_room(struct query_cache *c, size_t more)
{
    for (;;) {
        bool fits = c->bytes + more <= c->bytes_max;
        if (fits && c->budget)
            fits = atomic_load(&c->budget->used) + more <= c->budget->max / 4 * 3;
        if (fits || !c->oldest)
            return fits;
        stats_add(&evictions, 1);
        take_out(c, c->oldest);
    }
}

void query_cache_free(struct query_cache *c)
{
    if (!c)
        return;
    while (c->oldest)
        take_out(c, c->oldest);
    CHECK(c->bytes == 0); /* nobody reads any more */
    pthread_mutex_destroy(&c->lock);
    free(c);
}

size_t query_cache_bytes(const struct query_cache *c)
{
    struct query_cache *open = (struct query_cache *)(uintptr_t)c;
    pthread_mutex_lock(&open->lock);
    size_t n = c->bytes;
    pthread_mutex_unlock(&open->lock);
    return n;
}

/* With the lock. */
static struct entry *find(struct query_cache *c, uint64_t hash, struct bytes key)
{
    struct entry *e = c->buckets[hash % BUCKETS];
    while (e && (e->hash != hash || !bytes_equal(e->key, key)))
        e = e->next;
    return e;
}

static struct entry *get(struct query_cache *c, uint64_t hash, struct bytes key)
{
    pthread_mutex_lock(&c->lock);
    (void)make_room(c, 0);
    struct entry *e = find(c, hash, key);
    if (e) {
        e->refs++;
        unlink_use(c, e);
        link_newest(c, e);
    }
    pthread_mutex_unlock(&c->lock);
    return e;
}

static void put_back(struct query_cache *c, struct entry *e)
{
    if (!e)
        return;
    pthread_mutex_lock(&c->lock);
    release(c, e);
    pthread_mutex_unlock(&c->lock);
}

/* Takes the place of an older answer; take_e is freed where there is no room, or a newer one is there. */
static void put(struct query_cache *c, struct entry *take_e)
{
    struct entry *e = take_e;
    pthread_mutex_lock(&c->lock);
    struct entry *old = find(c, e->hash, e->key);
    bool wanted = !old || old->moment.seq <= e->moment.seq;
    if (old && wanted)
        take_out(c, old);
    if (wanted && make_room(c, e->bytes)) {
        c->bytes += e->bytes;
        stats_add(&bytes_now, (int64_t)e->bytes);
        if (c->budget)
            atomic_fetch_add(&c->budget->used, e->bytes);
        e->refs = 1;
        e->next = c->buckets[e->hash % BUCKETS];
        c->buckets[e->hash % BUCKETS] = e;
        link_newest(c, e);
        e = NULL;
    }
    pthread_mutex_unlock(&c->lock);
    free(e);
}

/* --- entries ----------------------------------------------------------------------------------- */

static struct bytes entry_labels(const struct entry *e, size_t row)
{
    return bytes_of(e->labels + e->rows[row].label_at, e->rows[row].label_size);
}

static bool entry_has(const struct entry *e, size_t row, size_t step)
{
    return e->present[row * ((e->count + 7) / 8) + step / 8] >> (step % 8) & 1;
}

/* The whole answer as an entry; NULL: it is not one to keep, or there is no memory. */
static struct entry *entry_of(const struct asked *q, const struct query_result *r)
{
    size_t label_bytes = 0, bits = (q->count + 7) / 8;
    if (r->type != QUERY_MATRIX || r->warning_count || r->info_count || r->count > UINT32_MAX / 2)
        return NULL;
    for (size_t k = 0; k < r->count; k++) {
        label_bytes += r->rows[k].labels.enc.size;
        for (size_t i = 0; r->rows[k].hist && i < r->rows[k].count; i++)
            if (r->rows[k].hist[i])
                return NULL;
    }
    size_t bytes = sizeof(struct entry) + q->key.size + label_bytes +
                   r->count * (sizeof(struct kept_row) + q->count * sizeof(double) + bits);
    if (bytes > q->c->bytes_max / SHARE_OF_ONE || label_bytes > UINT32_MAX)
        return NULL;
    struct entry *e = calloc(1, bytes);
    if (!e)
        return NULL;
    double *values = (double *)(e + 1);
    struct kept_row *rows = (struct kept_row *)(values + r->count * q->count);
    uint8_t *present = (uint8_t *)(rows + r->count), *labels = present + r->count * bits;
    size_t at = 0;
    for (size_t k = 0; k < r->count; k++) {
        const struct query_row *from = &r->rows[k];
        rows[k] = (struct kept_row){(uint32_t)at, (uint32_t)from->labels.enc.size};
        memcpy(labels + at, from->labels.enc.data, from->labels.enc.size);
        at += from->labels.enc.size;
        for (size_t i = 0; i < from->count; i++) {
            size_t step = (size_t)((from->t_ms[i] - q->start_ms) / q->step_ms);
            values[k * q->count + step] = from->value[i];
            present[k * bits + step / 8] |= (uint8_t)(1u << (step % 8));
        }
    }
    memcpy(labels + at, q->key.data, q->key.size);
    *e = (struct entry){.hash = q->hash,
                        .key = bytes_of(labels + at, q->key.size),
                        .first_ms = q->start_ms,
                        .count = (uint32_t)q->count,
                        .row_count = (uint32_t)r->count,
                        .made_of = r->made_of,
                        .moment = q->moment,
                        .bytes = bytes,
                        .rows = rows,
                        .values = values,
                        .present = present,
                        .labels = labels};
    return e;
}

/* --- what still holds -------------------------------------------------------------------------- */

static bool is_touched(const struct asked *q, int64_t t, const struct tsdb_stretch *list, size_t n)
{
    for (uint32_t k = 0; k < q->reach.count; k++) {
        int64_t from = t + q->reach.spans[k].from_ms, to = t + q->reach.spans[k].to_ms;
        size_t lo = 0, hi = n; /* the first stretch that ends behind from */
        while (lo < hi) {
            size_t mid = lo + (hi - lo) / 2;
            if (list[mid].to_ms <= from)
                lo = mid + 1;
            else
                hi = mid;
        }
        if (lo < n && list[lo].from_ms <= to)
            return true;
    }
    return false;
}

/* The longest run of the asked steps [*from, *to) that the entry has and that nothing has changed since. */
static enum err find_run(const struct asked *q, const struct entry *e, size_t *from, size_t *to)
{
    struct tsdb_stretch *list;
    size_t n, run = 0;
    unsigned made_of = e->made_of | (q->reach.may_be_cells ? TSDB_MADE_OF_CELLS : 0u);
    *from = *to = 0;
    enum err err = q->src->changes(q->src->ctx, &e->moment, made_of, q->a, &list, &n);
    for (size_t i = 0; err == ERR_OK && i < q->count; i++) {
        int64_t t = q->start_ms + (int64_t)i * q->step_ms;
        bool kept = t >= e->first_ms && t < e->first_ms + (int64_t)e->count * q->step_ms;
        run = kept && !is_touched(q, t, list, n) ? run + 1 : 0;
        if (run > *to - *from) {
            *from = i + 1 - run;
            *to = i + 1;
        }
    }
    return err;
}

/* --- putting together -------------------------------------------------------------------------- */

struct piece { /* rows of some of the steps, sorted by labels */
    const struct query_result *computed; /* or of the entry: */
    const struct entry *entry;
    size_t entry_from, entry_count; /* its steps */
    size_t next; /* row */
};

static size_t piece_rows(const struct piece *p)
{
    return p->computed ? p->computed->count : p->entry->row_count;
}

static struct tsdb_labels piece_labels(const struct piece *p)
{
    return p->computed ? p->computed->rows[p->next].labels
                       : (struct tsdb_labels){entry_labels(p->entry, p->next)};
}

static size_t add_points(const struct asked *q, const struct piece *p, int64_t *t, double *v,
                         const struct query_hist **h, size_t n)
{
    if (p->computed) {
        const struct query_row *r = &p->computed->rows[p->next];
        for (size_t i = 0; i < r->count; i++, n++) {
            t[n] = r->t_ms[i];
            v[n] = r->value[i];
            h[n] = r->hist ? r->hist[i] : NULL;
        }
        return n;
    }
    const struct entry *e = p->entry;
    for (size_t i = p->entry_from; i < p->entry_from + p->entry_count; i++) {
        if (!entry_has(e, p->next, i))
            continue;
        t[n] = e->first_ms + (int64_t)i * q->step_ms;
        v[n] = e->values[p->next * e->count + i];
        h[n++] = NULL;
    }
    return n;
}

/* The row with the lowest labels of all pieces; *out_count 0: it has no point in these steps. */
static enum err next_row(const struct asked *q, struct piece *pieces, size_t n,
                         struct query_row *out)
{
    struct tsdb_labels lowest = {0};
    bool any = false, hists = false;
    for (size_t k = 0; k < n; k++) {
        if (pieces[k].next == piece_rows(&pieces[k]))
            continue;
        struct tsdb_labels l = piece_labels(&pieces[k]);
        if (!any || tsdb_labels_compare(l, lowest) < 0)
            lowest = l;
        any = true;
    }
    int64_t *t = ARENA_ARRAY(q->a, int64_t, q->count);
    double *v = ARENA_ARRAY(q->a, double, q->count);
    const struct query_hist **h = ARENA_ARRAY(q->a, const struct query_hist *, q->count);
    if (!t || !v || !h)
        return ERR_LIMIT;
    struct query_row r = {.labels = {arena_copy(q->a, lowest.enc)}, .t_ms = t, .value = v};
    if (lowest.enc.size && !r.labels.enc.data)
        return ERR_LIMIT;
    for (size_t k = 0; k < n; k++) {
        if (pieces[k].next == piece_rows(&pieces[k]) ||
            tsdb_labels_compare(piece_labels(&pieces[k]), lowest) != 0)
            continue;
        r.count = add_points(q, &pieces[k], t, v, h, r.count);
        pieces[k].next++;
    }
    for (size_t i = 0; i < r.count; i++)
        hists |= h[i] != NULL;
    r.hist = hists ? h : NULL;
    *out = r;
    return ERR_OK;
}

static int by_bytes(const void *x, const void *y)
{
    return bytes_compare(*(const struct bytes *)x, *(const struct bytes *)y);
}

static const struct bytes *join_notes(struct arena *a, const struct bytes *x, size_t xn,
                                      const struct bytes *y, size_t yn, size_t *out_count)
{
    struct bytes *list = ARENA_ARRAY(a, struct bytes, xn + yn + 1);
    size_t n = 0;
    *out_count = 0;
    if (!list)
        return NULL;
    for (size_t i = 0; i < xn + yn; i++)
        list[i] = i < xn ? x[i] : y[i - xn];
    if (xn + yn)
        qsort(list, xn + yn, sizeof *list, by_bytes);
    for (size_t i = 0; i < xn + yn; i++)
        if (n == 0 || !bytes_equal(list[n - 1], list[i]))
            list[n++] = list[i];
    *out_count = n;
    return list;
}

static enum err put_together(const struct asked *q, struct piece *pieces, size_t n,
                             struct query_result *out)
{
    struct query_result r = {.type = QUERY_MATRIX,
                             .at_ms = q->start_ms + (int64_t)(q->count - 1) * q->step_ms};
    size_t left = 0;
    for (size_t k = 0; k < n; k++) {
        left += piece_rows(&pieces[k]);
        const struct query_result *c = pieces[k].computed;
        r.made_of |= c ? c->made_of : pieces[k].entry->made_of;
        if (!c)
            continue;
        r.samples += c->samples;
        r.warnings = join_notes(q->a, r.warnings, r.warning_count, c->warnings, c->warning_count,
                                &r.warning_count);
        r.infos = join_notes(q->a, r.infos, r.info_count, c->infos, c->info_count, &r.info_count);
    }
    struct query_row *rows = ARENA_ARRAY(q->a, struct query_row, left + 1);
    if (!rows)
        return ERR_LIMIT;
    for (;;) {
        bool more = false;
        for (size_t k = 0; k < n; k++)
            more |= pieces[k].next < piece_rows(&pieces[k]);
        if (!more)
            break;
        enum err e = next_row(q, pieces, n, &rows[r.count]);
        if (e != ERR_OK)
            return e;
        r.count += rows[r.count].count != 0;
    }
    r.rows = rows;
    *out = r;
    return ERR_OK;
}

static enum err compute(const struct asked *q, size_t from, size_t to, struct query_result *out)
{
    return query_range(q->src, q->limits, q->text, q->start_ms + (int64_t)from * q->step_ms,
                       q->start_ms + (int64_t)(to - 1) * q->step_ms, q->step_ms, q->a, out, q->msg);
}

/* Steps [from, to) are the entry's. */
static enum err complete(const struct asked *q, const struct entry *e, size_t from, size_t to,
                         struct query_result *out)
{
    struct query_result before, behind;
    struct piece pieces[3];
    size_t n = 0;
    enum err err = from ? compute(q, 0, from, &before) : ERR_OK;
    if (err == ERR_OK && to < q->count)
        err = compute(q, to, q->count, &behind);
    if (err != ERR_OK)
        return err;
    if (from)
        pieces[n++] = (struct piece){.computed = &before};
    pieces[n++] = (struct piece){
        .entry = e,
        .entry_from =
            (size_t)((q->start_ms + (int64_t)from * q->step_ms - e->first_ms) / q->step_ms),
        .entry_count = to - from};
    if (to < q->count)
        pieces[n++] = (struct piece){.computed = &behind};
    err = put_together(q, pieces, n, out);
    return err == ERR_OK ? err : err_set(q->msg, err, "query processing would use too much memory");
}

/* --- asking ------------------------------------------------------------------------------------ */

static int64_t floor_mod(int64_t a, int64_t b)
{
    return a % b + (a % b < 0 ? b : 0);
}

/* Everything that the values of a step depend on beside the rows; and the class of length, so that a page of six hours and one of an hour do not
 * take each other's place. */
static bool make_key(struct asked *q, uint32_t org, const struct node *n)
{
    struct buf b;
    buf_init(&b, 4 << 20);
    buf_u32(&b, org);
    buf_zigzag(&b, q->step_ms);
    buf_zigzag(&b, floor_mod(q->start_ms, q->step_ms));
    buf_zigzag(&b, q->limits ? q->limits->lookback_ms : 0);
    buf_zigzag(&b, q->limits ? q->limits->subquery_step_ms : 0);
    buf_u8(&b, (uint8_t)(q->limits && q->limits->drop_names_at_once));
    buf_u8(&b, (uint8_t)(64 - __builtin_clzll(q->count)));
    promql_print(n, &b);
    q->key = buf_ok(&b) ? arena_copy(q->a, buf_bytes(&b)) : BYTES_NONE;
    buf_done(&b);
    q->hash = q->key.data ? hash64(q->key, 0) : 0;
    return q->key.data != NULL;
}

/* NULL, or why the question is not one for the cache. */
static const char *prepare(struct asked *q, uint32_t org, int64_t end_ms)
{
    struct node *n;
    struct err_msg ignored; /* query_range says it */
    int64_t span;
    if (!q->c || !q->src->moment || !q->src->changes)
        return "no cache";
    if (q->step_ms <= 0 || end_ms < q->start_ms ||
        __builtin_sub_overflow(end_ms, q->start_ms, &span) || span / q->step_ms >= QUERY_STEPS_MAX)
        return "bad range";
    if (q->start_ms < -(INT64_C(1) << 60) || end_ms > INT64_C(1) << 60)
        return "far times";
    q->count = (size_t)(span / q->step_ms) + 1;
    if (promql_parse(q->text, q->a, &n, &ignored) != ERR_OK || n->type != TYPE_VECTOR)
        return "not a vector";
    const char *why = query_reach_of(n, q->limits, &q->reach);
    if (why)
        return why;
    if (!q->src->moment(q->src->ctx, &q->moment))
        return "changes are not known";
    return make_key(q, org, n) ? NULL : "memory";
}

static void count_use(const struct query_cache_use *u)
{
    struct stats_value *const by_kind[] = {[QUERY_CACHE_BYPASS] = &bypasses,
                                           [QUERY_CACHE_MISS] = &misses,
                                           [QUERY_CACHE_PARTIAL] = &partial,
                                           [QUERY_CACHE_HIT] = &hits};
    if (u->kind == QUERY_CACHE_OFF)
        return;
    stats_add(by_kind[u->kind], 1);
    stats_add(&steps_kept, (int64_t)u->steps_kept);
    stats_add(&steps_computed, (int64_t)u->steps_computed);
}

enum err query_cache_range(struct query_cache *c, uint32_t org, struct query_source *src,
                           const struct query_limits *limits, struct bytes text, int64_t start_ms,
                           int64_t end_ms, int64_t step_ms, struct arena *a,
                           struct query_result *out, struct query_cache_use *out_use,
                           struct err_msg *msg)
{
    struct query_cache_use use = {.kind = c ? QUERY_CACHE_BYPASS : QUERY_CACHE_OFF};
    struct asked q = {.c = c,
                      .src = src,
                      .limits = limits,
                      .text = text,
                      .start_ms = start_ms,
                      .step_ms = step_ms,
                      .a = a,
                      .msg = msg};
    size_t from = 0, to = 0;
    enum err err;
    use.why = prepare(&q, org, end_ms);
    if (use.why) {
        err = query_range(src, limits, text, start_ms, end_ms, step_ms, a, out, msg);
        use.steps_computed = q.count;
    } else {
        struct entry *e = get(c, q.hash, q.key);
        err = e ? find_run(&q, e, &from, &to) : ERR_OK;
        if (err == ERR_OK && to - from < MAX(q.count / KEPT_SHARE_MIN, 1u))
            from = to = 0;
        use.steps_kept = to - from;
        use.steps_computed = q.count - use.steps_kept;
        use.kind = use.steps_kept == 0       ? QUERY_CACHE_MISS
                   : use.steps_computed == 0 ? QUERY_CACHE_HIT
                                             : QUERY_CACHE_PARTIAL;
        if (err != ERR_OK)
            err = err_set(msg, err, "query processing would use too much memory");
        else if (use.steps_kept)
            err = complete(&q, e, from, to, out);
        else
            err = compute(&q, 0, q.count, out);
        put_back(c, e);
        struct entry *fresh = err == ERR_OK && use.steps_computed ? entry_of(&q, out) : NULL;
        if (fresh)
            put(c, fresh);
    }
    if (err == ERR_OK)
        count_use(&use);
    if (out_use)
        *out_use = use;
    return err;
}
