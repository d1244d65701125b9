/* Inside of a head, shared by head*.c (writes, flush) and view*.c (reads).
 *
 * Batches are numbered 0.. in commit order (ord). What a view sees of a head is the batches below its limit; every row in the indexes
 * carries its ord, so that later commits stay invisible to it.
 * Owner: struct head.  Thread: fields of head_series and the series arrays under head_read_lock; batches below a limit taken under the
 *        lock may be read without it (their pages never move).
 * Failure: none.
 * Invariant: integer cells of commits older than HEAD_MERGE_AGE_NS (longer than any view lives) are merged by minute.
 */
#ifndef TSDB_HEAD_CORE_H
#define TSDB_HEAD_CORE_H

#include <pthread.h>
#include <stdatomic.h>

#include "tsdb/head.h"
#include "tsdb/head_names.h"
#include "tsdb/head_samples.h"
#include "tsdb/head_traces.h"

#define HEAD_PAGE 256u
#define HEAD_PAGES_MAX 65536u
#define HEAD_SERIES_PAGE 512u
#define HEAD_MERGE_AGE_NS INT64_C(70000000000)

/* Several functions work over samples, histogram samples and synthetic samples alike. */
struct head_point {
    int64_t t_ms, start_ms;
    double value;
    const struct tsdb_hist *hist; /* NULL: a float */
};

struct head_hist {
    int64_t t_ms, start_ms;
    const struct tsdb_hist *hist;
    uint32_t ord;
};

struct head_cell {
    uint32_t minute, ord;
    union {
        int64_t add;
        const struct tsdb_hist *hist;
    };
};

/* What few series have. */
struct head_more {
    struct head_hist *hists;
    struct head_cell *cells, *hist_cells;
    uint32_t hist_count, hist_cap;
    uint32_t cell_count, cell_cap, cell_merged; /* the first cell_merged are sorted and distinct */
    uint32_t hist_cell_count, hist_cell_cap;
    uint32_t minute_min, minute_max; /* of cells; min > max when none */
};

struct head_series {
    const struct tsdb_series_info *info;
    struct head_samples samples;
    const struct head_more *more; /* never NULL: head_more_none stands for nothing */
    int64_t t_min, t_max; /* of samples and histograms */
    uint32_t ord_first; /* the first batch that had anything of it */
};

extern const struct head_more head_more_none;

struct head_batch {
    struct tsdb_batch *batch; /* NULL: only float samples, moved into the series */
    uint64_t seq;
    int64_t mono_ns, received_ns;
    int64_t start_min, start_max, end_min, end_max; /* of its spans */
    uint32_t minute_min, minute_max; /* of its cells; min > max when none */
    uint32_t org;
    bool has_cells;
};

struct head_service {
    uint32_t org;
    struct bytes service; /* in a batch's arena */
    int64_t newest_end_ns, received_ns;
    uint64_t spans, genai_spans;
};

struct head_resolved { /* points that went: bit by bit as the one that stays, or not; added to */
    uint64_t repeated, conflicting;
};
struct head_org {
    uint32_t org;
    uint64_t rows[TSDB_SIGNAL_COUNT];
    struct head_resolved sealed; /* samples that sealing found twice; owned by flush */
};

struct head {
    /* immutable after init */
    uint64_t generation;
    struct tsdb_registry *registry;
    struct changes *changes; /* NULL: nobody is told */
    /* atomic */
    _Atomic uint32_t refs;
    _Atomic uint64_t bytes; /* asked for under other locks, so without this one */
    _Atomic uint64_t row_bytes; /* of batches that stay: spans, logs, histograms */
    pthread_rwlock_t lock;
    /* guarded by lock */
    struct head_batch *pages[HEAD_PAGES_MAX];
    uint32_t batch_count;
    uint32_t *slots; /* ref -> index + 1 into series */
    uint32_t slot_count;
    struct head_series **series; /* pages of HEAD_SERIES_PAGE, which never move */
    uint32_t series_count, series_pages;
    struct slab slab; /* series and their samples */
    struct head_names names;
    struct head_service *services;
    uint32_t service_count, service_cap;
    struct head_org *orgs;
    uint32_t org_count;
    struct head_traces traces; /* of the spans that are kept */
};

void head_read_lock(const struct head *h);
void head_read_unlock(const struct head *h);
/* How many batches have seq <= visible_seq. Under the lock. */
uint32_t head_limit(const struct head *h, uint64_t visible_seq);
static inline const struct head_batch *head_batch_at(const struct head *h, uint32_t ord)
{
    return &h->pages[ord / HEAD_PAGE][ord % HEAD_PAGE];
}
static inline struct head_series *head_series_at(const struct head *h, uint32_t i)
{
    return &h->series[i / HEAD_SERIES_PAGE][i % HEAD_SERIES_PAGE];
}
/* The spans that b keeps: false for the repeats. */
static inline bool head_span_kept(const struct tsdb_batch *b, uint32_t row)
{
    return !b->span_dropped || !b->span_dropped[row];
}
/* The UTC day of a time, clamped to what a part can be named. */
static inline uint32_t head_day_of_ms(int64_t ms)
{
    return ms < 0 ? 0 : ms / 86400000 > UINT32_MAX ? UINT32_MAX : (uint32_t)(ms / 86400000);
}
/* Appends the visible samples of s in [min, max] in commit order; *n grows. false = no memory. */
bool head_points(const struct head_series *s, uint32_t limit, int64_t min_ms, int64_t max_ms,
                 struct arena *a, struct head_point **points, uint32_t *n, uint32_t *cap);
/* Sorts by time; one point per time: the later in the array wins, but a value beats a stale marker. Returns the new count, 0 with
 * *failed when memory is short. */
uint32_t head_points_resolve(struct head_point *p, uint32_t n, struct arena *a, bool *failed,
                             struct head_resolved *count);

#endif
