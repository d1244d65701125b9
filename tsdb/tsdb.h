/* The store: takes batches, makes them durable, keeps them queryable.
 *
 * Owner: the program (cli/) opens it once.  Thread: all functions from any thread unless said.
 * Failure: tsdb_open: ERR_CONFLICT (another process holds the directory), ERR_UNSUPPORTED_MEDIA (directory of a newer version),
 *          ERR_CORRUPT, ERR_IO; each with a sentence.  tsdb_append never blocks: ERR_UNAVAILABLE when too much waits, ERR_FULL when the disk
 *          or map is near full.
 * Limits: memory_limit_bytes over heads, waiting batches, decoded index blocks and queries together: past it tsdb_append says
 *          ERR_UNAVAILABLE; memory kept for reuse (base/hoard.h) has what they leave of it; queries may have half of it, and fail past that. A head is sealed at a third of it. The registry of series is
 *          apart: limits of series bound it. Three journal generations; a view lives 60 s.
 * Invariants: 1. done(OK) is called only after the batch is in a synced transaction and visible to the next view.
 *             2. Rows given to append are, in the end, exactly one of stored, duplicate; what was rejected before is in the batch's counts.
 */
#ifndef TSDB_TSDB_H
#define TSDB_TSDB_H

#include "tsdb/tsdb_batch.h"
#include "tsdb/tsdb_registry.h"

struct tsdb;

/* A step of the commit, run by the committer thread in commit order before a batch is encoded; may add cells (corrections) and log records and must be
 * deterministic given the batches it has seen. Spans that the store found to be exact repeats are already marked in dropped. */
struct tsdb_settler {
    void *ctx;
    enum err (*settle)(void *ctx, struct tsdb_batch *b, uint64_t seq, uint64_t generation);
    void (*undo)(void *ctx, uint64_t seq); /* the commit of seq failed: forget what it taught */
    void (*replay)(void *ctx, const struct tsdb_batch *b, uint64_t seq, uint64_t generation);
    void (*drop_generation)(void *ctx, uint64_t generation); /* its batches' memory is going away */
    void (*committed)(
        void *ctx); /* what was settled so far is durable; or NULL, as all that follow */
    /* Something of this org waits for the clock: the committer settles an empty batch of it. */
    bool (*due)(void *ctx, int64_t now_ns, uint32_t *out_org);
    /* State that a generation's batches do not tell: written with its checkpoint, given back before its replay. restore replaces; on an
     * error there is no state, and the journal is noted as damaged. */
    void (*checkpoint)(void *ctx, struct buf *out);
    enum err (*restore)(void *ctx, struct bytes state);
};

/* Tail sampling: what becomes of the spans of a day an hour after it is over. Cells are not touched: what they count stays exact. */
struct tsdb_sampling {
    uint32_t keep_permille; /* of the traces that nothing speaks for; 0 or 1000: all are kept */
    int64_t slow_ms; /* a trace with a span as long is kept; 0: none is slow */
    uint32_t
        per_kind; /* so many traces with the same service and name of their root are kept each day */
};

struct tsdb_options {
    const char *dir;
    uint64_t memory_limit_bytes; /* 0 = 512 MiB */
    uint32_t series_max_per_org; /* 0 = 1,000,000 */
    uint32_t series_max_per_metric; /* 0 = half of the org's */
    int64_t retention_ms; /* rows and samples; 0 = 30 d */
    int64_t retention_content_ms; /* text; 0 = 7 d */
    int64_t retention_cells_ms; /* 0 = 400 d */
    uint64_t retention_bytes; /* of parts and journal; past it the oldest days go; 0 = no limit */
    int64_t generation_max_age_ms; /* 0 = 10 min */
    uint64_t generation_max_bytes; /* 0 = 256 MiB, bounded by 1/16 of the file system */
    int64_t view_max_age_ms; /* 0 = 60 s; past it a view's reads fail and what it pins may go */
    struct tsdb_sampling sampling;
    struct tsdb_settler settler; /* settle NULL = none */
};

enum err tsdb_open(const struct tsdb_options *o, struct tsdb **out, struct err_msg *msg) MUST_CHECK;
/* Commits what waits, seals the head (flush) if asked, stops the threads. */
void tsdb_close(struct tsdb *db, bool flush);
struct tsdb_registry *tsdb_series(struct tsdb *db); /* for decoders and stage */
/* What queries have together: views take part by themselves, callers with the arenas that hold their answers. */
struct arena_budget *tsdb_query_budget(struct tsdb *db);

struct tsdb_result {
    uint64_t seq;
    uint64_t stored, duplicate; /* rows of the request's signal */
    bool
        repeated_request; /* answered from the dedup window, or its claim says that it was stored before */
    uint64_t rejected; /* of the original request when repeated, else of this one */
    struct err_msg reject_msg;
};
/* Called on the committer thread; must only hand over (post to a loop). r is valid during the call. */
typedef void (*tsdb_append_done)(void *ctx, enum err e, const struct tsdb_result *r);

/* On ERR_OK the batch is taken and done will be called exactly once; otherwise nothing is taken. Batches are committed in the order of the
 * calls. With a claim, done(ERR_CONFLICT) says that what comes before it is not stored: go back to tsdb_position_of. */
enum err tsdb_append(struct tsdb *db, struct tsdb_batch **take_batch, tsdb_append_done done,
                     void *ctx) MUST_CHECK;
/* The same for a thread that may block (never a loop, never the committer): returns when the batch, taken in every case, is durable or refused. */
enum err tsdb_append_wait(struct tsdb *db, struct tsdb_batch *take_batch,
                          struct tsdb_result *out) MUST_CHECK;
/* Where to go on in a log; ERR_NOT_FOUND: nothing of it was ever taken. Also after a restart: it moves with the rows. */
enum err tsdb_position_of(struct tsdb *db, struct bytes topic, uint32_t partition,
                          struct tsdb_position *out) MUST_CHECK;
/* A request is being received or decoded: the open commit may wait for it (at most 2 ms). Balanced by expect_end. */
void tsdb_expect_begin(struct tsdb *db);
void tsdb_expect_end(struct tsdb *db);
/* Blocks until the head is sealed into parts (and compacted when asked). */
enum err tsdb_flush(struct tsdb *db, bool compact, struct err_msg *msg) MUST_CHECK;
/* The oldest wall time that is still accepted, ms. */
int64_t tsdb_retention_floor_ms(const struct tsdb *db);
uint64_t tsdb_committed_seq(const struct tsdb *db);
/* Somebody has flagged or labelled the trace, or an alert names it: sampling keeps it, if it has not run on it yet. Durable. */
enum err tsdb_keep_trace(struct tsdb *db, uint32_t org, struct tsdb_id16 trace_id) MUST_CHECK;

/* Accounting of promise 4, per org and signal since the directory was made: received = stored + duplicate + sum(rejected) + quarantined, and of spans and
 * logs stored = live + expired + erased + superseded + sampled_out. */
struct tsdb_account {
    uint32_t org;
    enum tsdb_signal signal;
    uint64_t received, stored, duplicate, quarantined;
    uint64_t rejected[TSDB_REJECT_COUNT];
    /* Of those stored, what is not there any more; the others tsdb_count has. */
    uint64_t erased; /* removed by erase jobs; samples too */
    uint64_t expired; /* their day was dropped */
    uint64_t
        superseded; /* there twice, kept once; samples: another of the same series and time has taken their place in parts */
    uint64_t sampled_out;
};
/* Fills at most max rows; returns how many there are. */
size_t tsdb_accounts(struct tsdb *db, struct tsdb_account *out, size_t max);

struct tsdb_status {
    uint64_t generation, generations_live, head_bytes, head_series, journal_bytes, parts_bytes,
        parts_count;
    uint64_t memory_limit, waiting_bytes, index_cache_bytes, query_bytes, series_bytes;
    int64_t last_commit_ms; /* wall; 0 = never */
    bool is_full;
    uint64_t commits, commit_ns_total, sync_ns_total;
};
void tsdb_status_get(struct tsdb *db, struct tsdb_status *out);

/* Rows that live in the store now (head and parts); of token events none do, they are assembled. */
enum err tsdb_count(struct tsdb *db, uint32_t org, enum tsdb_signal signal,
                    uint64_t *out) MUST_CHECK;

#endif
