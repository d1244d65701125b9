/* Reading: a pinned view over head and parts. query/ knows nothing below this interface, so that another engine can stand behind it.
 *
 * Owner: tsdb_view_open / tsdb_view_close.  Thread: one at a time per view; many views at once.
 * Failure: ERR_LIMIT when the arena or a limit of the query is reached, ERR_TIMEOUT when the deadline passed or the view is older than 60 s,
 *          ERR_CANCELLED when *cancel became true, ERR_CORRUPT names the block (which is then quarantined, and the query goes on without it).
 * Invariants: 1. A view shows every batch acknowledged before it was opened and never changes. 2. Series come sorted by labels, samples by
 *             time, one sample per (series, time).
 */
#ifndef TSDB_TSDB_READ_H
#define TSDB_TSDB_READ_H

#include "tsdb/tsdb.h"
#include <stdatomic.h>

struct tsdb_view;

struct tsdb_read_limits {
    int64_t deadline_mono_ns; /* 0 = none */
    const atomic_bool *cancel; /* NULL = none */
    uint64_t samples_max; /* 0 = 50 million */
    bool watch; /* from now on the store notes what changes in the org: tsdb_view_moment */
};

enum err tsdb_view_open(struct tsdb *db, uint32_t org, const struct tsdb_read_limits *limits,
                        struct tsdb_view **out) MUST_CHECK;
void tsdb_view_close(struct tsdb_view *v);
uint64_t tsdb_view_seq(const struct tsdb_view *v); /* the last commit that it shows */
/* Are all commits after since_seq still in memory? What is not was sealed since. */
bool tsdb_view_holds(const struct tsdb_view *v, uint64_t since_seq);
/* A second reader of the points of what v has selected, for another thread. While there is one nothing but tsdb_points_read is asked of v, and
 * of it only points within times that v was asked for. ERR_NOMEM. Closed by the thread that opened v, before v: what it has read counts for v. */
enum err tsdb_view_fork(struct tsdb_view *v, struct tsdb_view **out) MUST_CHECK;
void tsdb_view_join(struct tsdb_view *v, struct tsdb_view *take_fork);
/* Blocks of points that it has opened so far: read and unpacked. */
uint64_t tsdb_view_blocks_opened(const struct tsdb_view *v);

/* --- what has changed: for who keeps answers ------------------------------------------------------ */

/* Where a view stands; numbers of this process. */
struct tsdb_moment {
    uint64_t seq; /* the newest commit that it sees */
    uint64_t erased, rewritten, dropped;
    int64_t now_ms;
};
/* false: not known, because the view was opened without limits.watch, or just when watching began; or something of the org is damaged. */
bool tsdb_view_moment(const struct tsdb_view *v, struct tsdb_moment *out);

struct tsdb_stretch {
    int64_t from_ms, to_ms; /* from <= t < to */
};
/* What the answer was made of, where that makes a difference. */
enum tsdb_made_of {
    TSDB_MADE_OF_SAMPLES = 0,
    TSDB_MADE_OF_CELLS = 1, /* derived series may be among it */
    TSDB_MADE_OF_HIST_CELLS =
        2 /* histograms of theirs are: sums of what comes in another order once it is sealed or merged */
};
/* Outside of these stretches (sorted, apart from each other) v shows the same series and points, bit by bit, as the view of `then` did: late rows,
 * erasing, retention and the clock taken into account. It may name more than has changed. */
enum err tsdb_view_changes(const struct tsdb_view *v, const struct tsdb_moment *then,
                           unsigned made_of, struct arena *a, struct tsdb_stretch **out,
                           size_t *out_count) MUST_CHECK;

/* --- series and samples ------------------------------------------------------------------------ */

enum tsdb_match_op { TSDB_MATCH_EQ, TSDB_MATCH_NE, TSDB_MATCH_RE, TSDB_MATCH_NRE };

/* A regex is brought by the caller as a predicate over distinct values (RE2 lives in query/); an absent label has the empty value. Where value
 * is not empty it is the pattern: all that the predicate's answers depend on, so that they may be remembered. */
struct tsdb_matcher {
    enum tsdb_match_op op;
    struct bytes name, value;
    bool (*match)(void *ctx, struct bytes value); /* RE and NRE: does the pattern match? */
    void *ctx;
};

struct tsdb_series {
    struct tsdb_labels labels;
    struct hash128 identity;
    enum tsdb_series_kind kind;
    uint64_t handle; /* of the view */
};

/* Series with anything in [min_ms, max_ms], sorted by labels, in the arena. No matcher = all. */
enum err tsdb_select(struct tsdb_view *v, const struct tsdb_matcher *m, size_t n, int64_t min_ms,
                     int64_t max_ms, struct arena *a, struct tsdb_series **out,
                     size_t *out_count) MUST_CHECK;

/* Samples of one series with min_ms <= t <= max_ms, oldest first. hist[i] is NULL for a float sample; hist NULL when there are none at all.
 * start_ms[i] is the start timestamp or 0; start_ms NULL when unknown for all. Stale markers are included (bits 0x7ff0000000000002; for a
 * histogram series a float stale marker). Cell series appear as the synthetic counter of ../docs (running sum since 00:00 UTC). The
 * columns stay as long as the arena, but no longer than to the view's next read of points. */
struct tsdb_points {
    size_t count;
    const int64_t *t_ms;
    const double *value;
    const struct tsdb_hist *const *hist;
    const int64_t *start_ms;
};
enum err tsdb_points_read(struct tsdb_view *v, const struct tsdb_series *s, int64_t min_ms,
                          int64_t max_ms, struct arena *a, struct tsdb_points *out) MUST_CHECK;

/* Distinct names, or values of one name, of the series that match, sorted. */
enum err tsdb_label_names(struct tsdb_view *v, const struct tsdb_matcher *m, size_t n,
                          int64_t min_ms, int64_t max_ms, struct arena *a, struct bytes **out,
                          size_t *out_count) MUST_CHECK;
enum err tsdb_label_values(struct tsdb_view *v, struct bytes name, const struct tsdb_matcher *m,
                           size_t n, int64_t min_ms, int64_t max_ms, struct arena *a,
                           struct bytes **out, size_t *out_count) MUST_CHECK;

struct tsdb_exemplar {
    struct tsdb_labels series, labels;
    int64_t t_ms;
    double value;
};
enum err tsdb_exemplars_read(struct tsdb_view *v, const struct tsdb_matcher *m, size_t n,
                             int64_t min_ms, int64_t max_ms, struct arena *a,
                             struct tsdb_exemplar **out, size_t *out_count) MUST_CHECK;
enum err tsdb_metadata_read(struct tsdb_view *v, struct arena *a, struct tsdb_metadata_row **out,
                            size_t *out_count) MUST_CHECK;

/* --- cells ------------------------------------------------------------------------------------- */

/* Sum of the cells of all matching series over minutes from <= m < to; exact. Uses hour and day totals where they exist. */
enum err tsdb_cells_sum(struct tsdb_view *v, const struct tsdb_matcher *m, size_t n, uint32_t from,
                        uint32_t to, int64_t *out) MUST_CHECK;
/* The same minute by minute into out[to - from] (added to what is there). */
enum err tsdb_cells_minutes(struct tsdb_view *v, const struct tsdb_matcher *m, size_t n,
                            uint32_t from, uint32_t to, int64_t *out) MUST_CHECK;
/* Histogram cells summed over the minutes. */
enum err tsdb_cells_hist(struct tsdb_view *v, const struct tsdb_matcher *m, size_t n, uint32_t from,
                         uint32_t to, struct arena *a, struct tsdb_hist *out) MUST_CHECK;
/* Sums grouped by one label's value: for breakdowns. */
struct tsdb_cells_group {
    struct bytes value;
    int64_t sum;
};
enum err tsdb_cells_by(struct tsdb_view *v, const struct tsdb_matcher *m, size_t n,
                       struct bytes label, uint32_t from, uint32_t to, struct arena *a,
                       struct tsdb_cells_group **out, size_t *out_count) MUST_CHECK;
/* Every integer cell of the org with from <= minute < to, series by series, source by source; a series comes once for each source that has it
 * and cells of one minute are not summed. For who wants very many sums at once. */
#define TSDB_CELLS_SKIP UINT32_MAX /* nobody wants this series */
#define TSDB_CELLS_ASK (UINT32_MAX - 1) /* not known yet: ask again, with its labels */
struct tsdb_cells_walk {
    void *ctx;
    /* What the series is for the caller; labels NULL at the first question. Called under a lock of the store: it must not read from it. */
    uint32_t (*series)(void *ctx, struct hash128 identity, const struct tsdb_labels *labels);
    void (*cell)(void *ctx, uint32_t series, uint32_t minute, int64_t add);
    bool
        sums; /* what lies wholly within the range may come summed: an hour or a day as its first minute */
};
enum err tsdb_cells_walk(struct tsdb_view *v, uint32_t from, uint32_t to,
                         const struct tsdb_cells_walk *w) MUST_CHECK;
/* Which minutes were touched by commits after seq (0 = all that the heads hold): lowest and highest, for evaluators that keep sliding sums.
 * *out_from > *out_to when none. */
enum err tsdb_cells_changed(struct tsdb_view *v, uint64_t since_seq, uint32_t *out_from,
                            uint32_t *out_to, uint64_t *out_seq) MUST_CHECK;

/* --- spans and logs ---------------------------------------------------------------------------- */

/* All spans of a trace, as one columnar table in the arena, sorted by start; ERR_NOT_FOUND when there is none. */
enum err tsdb_trace(struct tsdb_view *v, struct tsdb_id16 trace_id, struct arena *a,
                    struct tsdb_spans *out) MUST_CHECK;

/* One column of a row against a value. Of strings: equal or begins with; ids: equal (text holds their bytes); integers: equal, at least. */
enum tsdb_where_op { TSDB_WHERE_IS, TSDB_WHERE_BEGINS, TSDB_WHERE_AT_LEAST };
struct tsdb_where {
    uint32_t column; /* enum tsdb_span_column or tsdb_log_column */
    enum tsdb_where_op op;
    struct bytes text;
    int64_t number;
};
/* An attribute whose value as text is this. */
struct tsdb_where_attr {
    struct bytes key, value;
};
/* All conditions must hold; blocks are passed by where their zones or filters rule them out. */
struct tsdb_row_filter {
    const struct tsdb_where *where;
    const struct tsdb_where_attr *attrs;
    uint32_t where_count, attr_count;
    struct bytes
        contains; /* a string anywhere in `attrs` (of logs: or in the body) contains these bytes; empty = any */
};

/* Columns of the rows that match, block by block and batch by batch, for aggregations over plain arrays. */
enum tsdb_visit_order { TSDB_VISIT_OLDEST, TSDB_VISIT_NEWEST, TSDB_VISIT_LONGEST_ROOT };
struct tsdb_visit_bounds { /* of rows to come; true for all of them */
    int64_t start_min_ns, start_max_ns, duration_max_ns;
    int64_t root_duration_max_ns; /* of spans without a parent */
};
struct tsdb_visit {
    int64_t start_min_ns, start_max_ns; /* of the span's start, the log's time */
    int64_t duration_min_ns, duration_max_ns; /* spans; 0, 0 = any */
    struct bytes service, name; /* empty = any; name: of spans */
    uint8_t severity_min; /* logs */
    const struct tsdb_row_filter *more; /* NULL = none */
    uint64_t
        since_seq; /* only what was committed after it and is not sealed yet (tsdb_view_holds); 0 = all */
    uint64_t columns; /* wanted: bits of enum tsdb_span_column (tsdb_log_column) */
    enum tsdb_visit_order
        order; /* of the blocks, by their bounds; heads come first. Rows of a block come as they lie */
    /* false: nothing of these bounds is wanted any more. NULL = all is. */
    bool (*wants)(void *ctx, const struct tsdb_visit_bounds *b);
    /* The table has the wanted columns (never NULL, absent values are defaults) and those that were filtered by; only the rows named by rows
     * (ascending) match, and strings of others may read as empty. Valid during the call. It may narrow the bounds of start and duration
     * for what follows. false: enough. */
    bool (*spans)(void *ctx, const struct tsdb_spans *t, const uint32_t *rows, uint32_t count);
    bool (*logs)(void *ctx, const struct tsdb_logs *t, const uint32_t *rows, uint32_t count);
    void *ctx;
    uint64_t rows_read; /* out: rows of the blocks and batches that were looked into */
};
enum err tsdb_spans_visit(struct tsdb_view *v, struct tsdb_visit *q) MUST_CHECK;
enum err tsdb_logs_visit(struct tsdb_view *v, struct tsdb_visit *q) MUST_CHECK;

/* Spans by (service, name, minute of their start): exact counts; where traces were sampled, the sums of the weights of the rows that are left,
 * rounded. Blocks answer from their summaries where whole minutes lie in the range.
 * minute is 0 when by_minute is not asked for. In no order. */
struct tsdb_minute {
    struct bytes service, name;
    uint32_t minute;
    uint64_t count, errors; /* errors: status 2 */
    int64_t duration_sum_ns;
};
struct tsdb_minutes_query {
    int64_t start_min_ns, start_max_ns;
    struct bytes service, name; /* empty = any */
    bool by_minute;
    uint64_t rows_read; /* out */
};
enum err tsdb_span_minutes(struct tsdb_view *v, struct tsdb_minutes_query *q, struct arena *a,
                           struct tsdb_minute **out, size_t *out_count) MUST_CHECK;

/* Cheap filters that blocks can answer from zone maps; everything else through keep(). */
struct tsdb_span_filter {
    int64_t start_min_ns, start_max_ns; /* of the span's start; 0, INT64_MAX = any */
    int64_t duration_min_ns, duration_max_ns; /* 0, 0 = any */
    struct bytes service, name; /* empty = any */
    uint32_t newest_first; /* order by start, descending (else ascending) */
    /* Return true to keep. NULL = keep all. */
    bool (*keep)(void *ctx, const struct tsdb_spans *spans, uint32_t row);
    void *ctx;
    uint64_t
        keep_columns; /* what keep looks at (bits of enum tsdb_span_column); 0 = every column */
    uint64_t
        columns; /* what the answer has; 0 = every column. What is not asked for is not read, and NULL */
    const struct tsdb_row_filter *more; /* further conditions; NULL = none */
};
/* Kept rows copied into out (arena), at most max. Scans newest blocks first when newest_first, and stops when max rows cannot change. */
enum err tsdb_span_scan(struct tsdb_view *v, const struct tsdb_span_filter *f, uint32_t max,
                        struct arena *a, struct tsdb_spans *out) MUST_CHECK;
/* Newest first. */
struct tsdb_log_filter {
    int64_t min_ns, max_ns;
    struct bytes service;
    bool (*keep)(void *ctx, const struct tsdb_logs *logs, uint32_t row);
    void *ctx;
    uint8_t severity_min; /* 0 = any */
    uint64_t keep_columns, columns; /* as of spans */
    const struct tsdb_row_filter *more; /* NULL = none */
};
enum err tsdb_log_scan(struct tsdb_view *v, const struct tsdb_log_filter *f, uint32_t max,
                       struct arena *a, struct tsdb_logs *out) MUST_CHECK;
/* Distinct services, and span names of one service (sorted), from block dictionaries and the head. */
enum err tsdb_services(struct tsdb_view *v, struct arena *a, struct bytes **out,
                       size_t *out_count) MUST_CHECK;
enum err tsdb_span_names(struct tsdb_view *v, struct bytes service, struct arena *a,
                         struct bytes **out, size_t *out_count) MUST_CHECK;
/* Data freshness: newest span end and newest commit per service. A service without rows in the live heads is looked for in the newest sealed
 * blocks (FRESH_BLOCKS_MAX of them); there the time of receipt is not kept and newest_end_ns stands for it. */
struct tsdb_freshness {
    struct bytes service;
    int64_t newest_end_ns, received_ns;
    uint64_t spans, genai_spans; /* in the live heads */
};
enum err tsdb_freshness_read(struct tsdb_view *v, struct arena *a, struct tsdb_freshness **out,
                             size_t *out_count) MUST_CHECK;

#endif
