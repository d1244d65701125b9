#include "tsdb/changes.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/check.h"

#define MINUTE_MS 60000
#define DAY_MINUTES 1440
#define MINUTE_NONE INT64_MIN

struct minute {
    int64_t minute; /* of the epoch; MINUTE_NONE: none */
    uint64_t seq, cell_seq;
};

struct day {
    int64_t day;
    uint64_t seq;
};

/* Up to this time anything may have changed up to this commit. */
struct bound {
    int64_t below_ms;
    uint64_t seq;
};

struct changes_org {
    uint32_t org;
    uint64_t since;
    struct changes_org *next;
    pthread_mutex_t lock;
    /* guarded by lock */
    struct minute minutes[CHANGES_MINUTES]; /* by minute % CHANGES_MINUTES */
    struct day days[CHANGES_DAYS];
    struct bound samples, cells; /* what fell out */
    uint64_t *series; /* set of (series, day); 0: free */
    uint32_t series_count, series_cap;
};

struct changes {
    pthread_mutex_t lock;
    /* guarded by lock */
    struct changes_org *orgs; /* one is added in front, none goes */
    uint64_t applying; /* the newest commit that changes_begin has told of */
};

struct changes *changes_new(void)
{
    struct changes *c = calloc(1, sizeof(*c));
    if (c)
        pthread_mutex_init(&c->lock, NULL);
    return c;
}

void changes_free(struct changes *c)
{
    if (!c)
        return;
    while (c->orgs) {
        struct changes_org *o = c->orgs;
        c->orgs = o->next;
        pthread_mutex_destroy(&o->lock);
        free(o->series);
        free(o);
    }
    pthread_mutex_destroy(&c->lock);
    free(c);
}

static struct changes_org *find(struct changes *c, uint32_t org)
{
    pthread_mutex_lock(&c->lock);
    struct changes_org *o = c->orgs;
    while (o && o->org != org)
        o = o->next;
    pthread_mutex_unlock(&c->lock);
    return o;
}

enum err changes_watch(struct changes *c, uint32_t org, const _Atomic uint64_t *committed_seq,
                       uint64_t *out_since)
{
    struct changes_org *o = find(c, org), *fresh;
    if (!o) {
        fresh = calloc(1, sizeof(*fresh));
        if (!fresh)
            return ERR_NOMEM;
        fresh->org = org;
        fresh->samples.below_ms = fresh->cells.below_ms = INT64_MIN;
        for (uint32_t i = 0; i < CHANGES_MINUTES; i++)
            fresh->minutes[i].minute = MINUTE_NONE;
        for (uint32_t i = 0; i < CHANGES_DAYS; i++)
            fresh->days[i].day = MINUTE_NONE;
        pthread_mutex_init(&fresh->lock, NULL);
        pthread_mutex_lock(&c->lock);
        for (o = c->orgs; o && o->org != org;)
            o = o->next;
        if (!o) { /* what is being applied now may have passed by its changes_of */
            fresh->since = MAX(c->applying, atomic_load(committed_seq));
            fresh->next = c->orgs;
            o = c->orgs = fresh;
            fresh = NULL;
        }
        pthread_mutex_unlock(&c->lock);
        if (fresh)
            pthread_mutex_destroy(&fresh->lock);
        free(fresh);
    }
    *out_since = o->since;
    return ERR_OK;
}

/* --- the committer ------------------------------------------------------------------------------- */

void changes_begin(struct changes *c, uint64_t seq)
{
    pthread_mutex_lock(&c->lock);
    c->applying = MAX(c->applying, seq);
    pthread_mutex_unlock(&c->lock);
}

struct changes_org *changes_of(struct changes *c, uint32_t org)
{
    struct changes_org *o = find(c, org);
    if (o)
        pthread_mutex_lock(&o->lock);
    return o;
}

void changes_end(struct changes_org *o)
{
    pthread_mutex_unlock(&o->lock);
}

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

static void raise_bound(struct bound *b, int64_t below_ms, uint64_t seq)
{
    b->below_ms = MAX(b->below_ms, below_ms);
    b->seq = MAX(b->seq, seq);
}

static int64_t minute_end_ms(int64_t minute)
{
    int64_t ms;
    return __builtin_mul_overflow(minute + 1, MINUTE_MS, &ms) ? INT64_MAX : ms;
}

static int64_t day_end_ms(int64_t minute)
{
    return minute_end_ms((floor_div(minute, DAY_MINUTES) + 1) * DAY_MINUTES - 1);
}

static void fall_out(struct changes_org *o, const struct minute *m)
{
    if (m->seq)
        raise_bound(&o->samples, minute_end_ms(m->minute), m->seq);
    if (m->cell_seq)
        raise_bound(&o->cells, day_end_ms(m->minute), m->cell_seq);
}

/* The place of a minute; NULL: a newer one has it, and the bound tells of this one. */
static struct minute *minute_of(struct changes_org *o, int64_t minute)
{
    struct minute *m = &o->minutes[(uint64_t)minute % CHANGES_MINUTES];
    if (m->minute == minute)
        return m;
    if (m->minute != MINUTE_NONE && m->minute > minute)
        return NULL;
    if (m->minute != MINUTE_NONE)
        fall_out(o, m);
    *m = (struct minute){.minute = minute};
    return m;
}

void changes_sample(struct changes_org *o, int64_t t_ms, uint64_t seq)
{
#ifdef TELLTALE_FAULT_CHANGES_LOST /* the property test of the result cache must notice */
    return;
#endif
    int64_t minute = floor_div(t_ms, MINUTE_MS);
    struct minute *m = minute_of(o, minute);
    if (m)
        m->seq = seq;
    else
        raise_bound(&o->samples, minute_end_ms(minute), seq);
}

void changes_cell(struct changes_org *o, uint32_t minute, uint64_t seq)
{
    struct minute *m = minute_of(o, minute);
    if (m)
        m->cell_seq = seq;
    else
        raise_bound(&o->cells, day_end_ms(minute), seq);
}

static bool grow_series(struct changes_org *o)
{
    if ((o->series_count + 1) * 2 <= o->series_cap)
        return true;
    uint32_t cap = o->series_cap ? o->series_cap * 2 : 1024;
    if (cap > CHANGES_SERIES_MAX) { /* every series is new again */
        memset(o->series, 0, o->series_cap * sizeof(*o->series));
        o->series_count = 0;
        return true;
    }
    uint64_t *fresh = calloc(cap, sizeof(*fresh));
    if (!fresh)
        return false;
    for (uint32_t i = 0; i < o->series_cap; i++) {
        uint64_t x = o->series[i];
        uint32_t k = (uint32_t)x & (cap - 1);
        while (x && fresh[k])
            k = (k + 1) & (cap - 1);
        if (x)
            fresh[k] = x;
    }
    free(o->series);
    o->series = fresh;
    o->series_cap = cap;
    return true;
}

/* Was (series, day) there before? It is now. */
static bool series_known(struct changes_org *o, struct hash128 series, int64_t day)
{
    if (!grow_series(o))
        return false;
    uint64_t x = (series.lo ^ (uint64_t)day * UINT64_C(0x9e3779b97f4a7c15)) | 1;
    uint32_t k = (uint32_t)x & (o->series_cap - 1);
    while (o->series[k] && o->series[k] != x)
        k = (k + 1) & (o->series_cap - 1);
    bool known = o->series[k] == x;
    o->series_count += !known;
    o->series[k] = x;
    return known;
}

void changes_cell_of_day(struct changes_org *o, struct hash128 series, uint32_t minute,
                         uint64_t seq)
{
    int64_t day = minute / DAY_MINUTES;
    struct day *d = &o->days[(uint64_t)day % CHANGES_DAYS];
    if (series_known(o, series, day))
        return;
    if (d->day != MINUTE_NONE && d->day > day) {
        raise_bound(&o->cells, day_end_ms(minute), seq);
        return;
    }
    if (d->day != MINUTE_NONE && d->day < day)
        raise_bound(&o->cells, day_end_ms(d->day * DAY_MINUTES), d->seq);
    *d = (struct day){day, seq};
}

/* --- who asks ------------------------------------------------------------------------------------ */

static void add(struct tsdb_stretch *list, size_t *n, int64_t from_ms, int64_t to_ms)
{
    list[(*n)++] = (struct tsdb_stretch){from_ms, to_ms};
}

enum err changes_get(struct changes *c, uint32_t org, uint64_t seq, bool cells, struct arena *a,
                     struct tsdb_stretch **out, size_t *out_count)
{
    struct changes_org *o = find(c, org);
    size_t n = 0, max = 2 * CHANGES_MINUTES + CHANGES_DAYS + 2;
    struct tsdb_stretch *list = ARENA_ARRAY(a, struct tsdb_stretch, max);
    CHECK(o != NULL); /* watched: the asker's view says so */
    if (!list)
        return ERR_LIMIT;
    pthread_mutex_lock(&o->lock);
    for (uint32_t i = 0; i < CHANGES_MINUTES; i++) {
        const struct minute *m = &o->minutes[i];
        if (m->seq > seq)
            add(list, &n, minute_end_ms(m->minute - 1), minute_end_ms(m->minute));
        if (cells && m->cell_seq > seq)
            add(list, &n, minute_end_ms(m->minute - 1), day_end_ms(m->minute));
    }
    for (uint32_t i = 0; i < CHANGES_DAYS && cells; i++)
        if (o->days[i].seq > seq)
            add(list, &n, minute_end_ms(o->days[i].day * DAY_MINUTES - 1),
                day_end_ms(o->days[i].day * DAY_MINUTES));
    if (o->samples.seq > seq)
        add(list, &n, INT64_MIN, o->samples.below_ms);
    if (cells && o->cells.seq > seq)
        add(list, &n, INT64_MIN, o->cells.below_ms);
    pthread_mutex_unlock(&o->lock);
    *out = list;
    *out_count = n;
    return ERR_OK;
}
