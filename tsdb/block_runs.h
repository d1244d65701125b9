/* From series one after the other to blocks: the buckets of a classic histogram are found and written as groups.
 *
 * Series come in the order of their labels, where the buckets of one histogram are near each other but not adjacent (labels that sort
 * after `le` vary between them). So a window of series is held back until it is large enough to have whole histograms.
 *     block_runs_add ... block_runs_add, window full: groups and single chunks to the writer, writer full: close
 * Owner: caller.  Thread: one at a time.
 * Failure: ERR_NOMEM; the error of close.
 * Limits: a window has at most BLOCK_RUNS_SERIES chunks and BLOCK_RUNS_ROWS rows (24 bytes each).
 */
#ifndef TSDB_BLOCK_RUNS_H
#define TSDB_BLOCK_RUNS_H

#include "tsdb/block_series.h"

#define BLOCK_RUNS_SERIES 1024u
#define BLOCK_RUNS_ROWS (512u << 10)

struct block_run {
    uint32_t id, n;
    uint64_t key; /* of its histogram; 0: not a bucket */
    double bound;
    int64_t *t_ms, *start_ms;
    double *value;
    bool is_done;
};

struct block_runs {
    struct block_writer *w;
    enum err (*close)(void *ctx); /* the writer is full: finish its block */
    void *ctx;
    struct arena *arena; /* of the window */
    struct block_run *runs; /* BLOCK_RUNS_SERIES of them */
    uint32_t count;
    uint64_t rows;
};

enum err block_runs_init(struct block_runs *r, struct block_writer *w, enum err (*close)(void *ctx),
                         void *ctx) MUST_CHECK;
void block_runs_done(struct block_runs *r); /* a zeroed one is fine */
/* Floats of one series, n <= BLOCK_CHUNK_ROWS; several of one id in the order of their times. */
enum err block_runs_add(struct block_runs *r, struct tsdb_labels labels, uint32_t id,
                        const struct head_point *p, uint32_t n) MUST_CHECK;
/* What is held back goes to the writer, whose last block the caller closes. */
enum err block_runs_flush(struct block_runs *r) MUST_CHECK;

#endif
