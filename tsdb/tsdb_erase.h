/* Erasing on demand: series by selector and time, rows of one user, of traces, or with an attribute. Bytes really go.
 *
 *   asked -> tombstone (durable: no view opened later shows the rows) -> head sealed -> parts rewritten one by one -> older readers gone
 *         -> state rewritten -> done: a receipt is left, without the value
 * Each arrow survives a crash: the next process goes on where this one stopped.
 * What is asked for is what was accepted before: rows that come later are kept. Cells that were derived from spans are sums over many users and
 * stay; cells of a series whose own labels carry the value go. Series, rows and exemplars of other orgs are never touched.
 * Owner: the store.  Thread: any.
 * Failure: ERR_LIMIT (too much at work, too many series or traces), ERR_UNAVAILABLE (stopping), ERR_IO; then nothing is asked.
 */
#ifndef TSDB_TSDB_ERASE_H
#define TSDB_TSDB_ERASE_H

#include "tsdb/tsdb_read.h"

enum tsdb_erase_kind {
    TSDB_ERASE_SERIES = 1,
    TSDB_ERASE_USER,
    TSDB_ERASE_ATTRIBUTE,
    TSDB_ERASE_TRACES
};

/* Attributes that name a user, unless the wish brings its own; as labels of metrics with '_' for every other character. */
extern const char *const tsdb_erase_user_keys[]; /* NULL-terminated */

struct tsdb_erase_ask {
    uint32_t org;
    enum tsdb_erase_kind kind; /* not SERIES */
    struct bytes value; /* of a user, an attribute */
    const struct bytes *names; /* the attribute; of a user: further ones */
    size_t name_count;
    const struct tsdb_id16 *traces;
    size_t trace_count;
    bool
        whole_traces; /* of a user, an attribute: also every row of the traces that they occur in */
};
enum err tsdb_erase(struct tsdb *db, const struct tsdb_erase_ask *ask, uint64_t *out_id,
                    struct err_msg *msg) MUST_CHECK;
/* Samples, histograms, exemplars and cells of the series that match now, in min_ms..max_ms. *out_id 0: there are none. */
enum err tsdb_erase_series(struct tsdb *db, uint32_t org, const struct tsdb_matcher *m, size_t n,
                           int64_t min_ms, int64_t max_ms, uint64_t *out_id,
                           struct err_msg *msg) MUST_CHECK;

enum tsdb_erase_phase {
    TSDB_ERASE_SEALING, /* what is in memory goes into parts */
    TSDB_ERASE_REWRITING,
    TSDB_ERASE_DRAINING, /* views that are older may still read what was replaced */
    TSDB_ERASE_DONE
};
struct tsdb_erased {
    uint64_t spans, logs, samples, exemplars, cells, parts,
        bytes; /* bytes: files are so much smaller */
};
struct tsdb_erase_job {
    uint64_t id;
    uint32_t org;
    enum tsdb_erase_kind kind;
    enum tsdb_erase_phase phase;
    int64_t asked_ms, done_ms;
    int64_t min_ms, max_ms; /* of series */
    uint64_t series; /* chosen by the selector; of traces: how many */
    uint64_t state_rows; /* rows of other tables in state that hold the value: theirs to remove */
    struct tsdb_erased erased;
    /* Of what is done: what of the org could not be read, so not be searched either, of all that was kept (blocks, commits, environments; rows as far
     * as known). Its bytes have gone with the quarantine, whosever they were. */
    uint64_t damaged, damaged_rows;
    char why[160]; /* what holds it up; empty: nothing */
};
/* Jobs and receipts of the org, oldest first; id 0 = all. */
enum err tsdb_erase_jobs(struct tsdb *db, uint32_t org, uint64_t id, struct arena *a,
                         struct tsdb_erase_job **out, size_t *out_count) MUST_CHECK;
/* Waits until no job of the org (or this one) is at work; ERR_TIMEOUT. */
enum err tsdb_erase_wait(struct tsdb *db, uint32_t org, uint64_t id,
                         int64_t deadline_mono_ns) MUST_CHECK;

#endif
