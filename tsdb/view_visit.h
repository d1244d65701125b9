/* Rows that match, run by run: a run is a batch of a head or a block, with the columns that are asked for. Beneath scans, visits and counts.
 *
 * A block whose zone rules it out is not fetched; of the others only the columns of the conditions are decoded, until a row matches.
 * Owner: caller.  Thread: the view's.
 * Failure: as tsdb_read.h; corrupt blocks are counted and passed by.
 */
#ifndef TSDB_VIEW_VISIT_H
#define TSDB_VIEW_VISIT_H

#include "tsdb/view_rows.h"
#include "tsdb/zone.h"

struct view_run {
    const struct tsdb_view *v;
    const struct view_row_kind *k;
    struct view_block *block; /* NULL: a batch of a head */
    union view_table *t;
    uint32_t *rows, count; /* those that match, ascending */
    struct arena *scratch;
    uint64_t loaded; /* columns that are there (head: and have been filled) */
    uint64_t generation; /* that the rows lie in */
};
/* The columns of mask are in run->t, never NULL. */
enum err view_run_load(struct view_run *run, uint64_t mask) MUST_CHECK;

struct view_search {
    const struct view_row_kind *k;
    struct tsdb_view *v;
    int64_t min, max; /* of the order column; may shrink between runs */
    int64_t duration_min, duration_max; /* 0, 0 = any */
    struct bytes service, name; /* empty = any */
    uint8_t severity_min;
    const struct tsdb_row_filter *more; /* NULL = none */
    uint64_t since_seq; /* heads only, what was committed after it; 0 = all */
    enum tsdb_visit_order order;
    /* false: nothing like this is wanted any more (the order says whether all that follow are less). NULL = all is. */
    bool (*wants)(void *ctx, const struct tsdb_visit_bounds *b);
    /* Answers a block from its zone alone: true = done with it. NULL = never. */
    bool (*zone)(void *ctx, const struct zone *z, enum err *e);
    enum err (*run)(void *ctx, struct view_run *run, bool *out_stop);
    void *ctx;
    uint64_t rows_read; /* out */
};
enum err view_search_run(struct view_search *s) MUST_CHECK;

#endif
