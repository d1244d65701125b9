/* What the files of the store share: generations, the published set of heads and parts, and the queues between their threads.
 *
 *   tsdb.c       open (recovery), close, status          committer.c   queue -> group commit -> journal -> head -> done
 *   flush.c      frozen generation -> parts              pin.c         the published set, pins
 *   retention.c  parts past their age                    tsdb_state.c  small durable tables
 *
 *   tsdb_append --queue--> committer --frozen--> flush --flushed--> committer (forgets) 
 *
 * Owner: tsdb.c.  Thread: fields say who. Lock order: lock before set_lock; nothing is called outward under either.
 */
#ifndef TSDB_STORE_H
#define TSDB_STORE_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/arena_budget.h"
#include "base/clock.h"
#include "tsdb/account.h"
#include "tsdb/dedup.h"
#include "tsdb/files.h"
#include "tsdb/head.h"
#include "tsdb/journal.h"
#include "tsdb/lmdb_env.h"
#include "tsdb/part_store.h"
#include "tsdb/quarantine.h"
#include "tsdb/record.h"
#include "tsdb/store_format.h"
#include "tsdb/tsdb.h"

#define STORE_GENERATIONS_MAX 3u /* frozen ones that wait for flush; then 503 */
#define STORE_COMMIT_BYTES (256u << 10) /* a commit closes at this size */
#define STORE_COMMIT_BYTES_MAX (16u << 20) /* more waits for the next one */
#define STORE_DUE_BYTES_MAX \
    ((size_t)64 << 20) /* what a batch may take that the clock alone asks for */
#define STORE_GATHER_NS 2000000 /* or this long after its oldest row */

struct store_item { /* a request in the queue */
    struct tsdb_batch *batch;
    tsdb_append_done done;
    void *ctx;
    int64_t queued_ns; /* monotonic */
    size_t bytes;
    struct store_item *next;
};

struct changes; /* changes.h */
struct ledger; /* ledger.h */

struct generation {
    uint64_t id;
    struct journal *journal; /* NULL once it is flushed */
    struct head *head;
    struct dedup_rows rows; /* owned by committer */
    uint64_t commits, samples; /* owned by committer */
    bool is_damaged; /* its journal, when it was replayed */
    int64_t opened_ns; /* monotonic */
    struct generation *next; /* in the queue that holds it; guarded by lock */
    struct generation *older; /* in the committer's list */
};

/* An immutable list of heads and snapshots; pins copy its references. */
struct store_set {
    struct head *heads[STORE_GENERATIONS_MAX + 8];
    struct journal *journals[STORE_GENERATIONS_MAX + 8]; /* of the same generations; borrowed */
    size_t head_count;
    const struct part_snapshot **parts; /* sorted by (day, class) */
    size_t part_count;
    uint64_t rewritten,
        dropped; /* how often parts took the place of others; left because of their age */
    int64_t dropped_below_ms; /* the newest end of a day of which a part was dropped */
};

struct tsdb {
    /* immutable after init */
    struct tsdb_options options;
    char dir[3072];
    int lock_fd;
    struct tsdb_registry *series;
    struct account *accounts;
    struct offsets *offsets;
    struct quarantine *quarantine;
    struct arena_budget queries;
    struct lmdb_env *state;
    struct ledger *ledger;
    struct changes *changes;
    pthread_t committer, flusher;
    bool has_threads;

    /* guarded by lock */
    pthread_mutex_t lock;
    pthread_cond_t wake_committer, wake_flusher, flushed;
    struct store_item *queue_head, **queue_tail;
    size_t queue_bytes;
    unsigned expected; /* requests being received or decoded */
    bool stopping, rotate_wanted, flusher_stopping, retention_wanted;
    bool rotate_empty; /* also when nothing is in it */
    bool compact_wanted; /* for flush, after what is frozen */
    enum err compact_result;
    struct err_msg compact_error;
    struct generation *frozen; /* oldest first, waiting for flush */
    unsigned frozen_count;
    struct generation *forgotten; /* flushed, for the committer to drop */
    uint64_t flushed_generation; /* everything up to it is in parts */
    uint64_t flush_failures;
    struct err_msg flush_error;

    /* owned by committer (and start-up) */
    struct generation *live;
    struct generation
        *older; /* frozen or replayed, not yet forgotten: their row hashes still count */
    struct record_defs defs;
    struct dedup *requests;
    struct hash128 *hashes; /* of the rows of the batch in hand */
    uint32_t hash_cap;
    uint64_t next_seq;

    /* guarded by set_lock */
    pthread_mutex_t set_lock;
    struct store_set set;
    struct part **parts; /* owned by flush; same order as the set's snapshots */
    size_t part_count;

    /* owned by flush: a clock that jumped is believed when it has held still for hold_ms (monotonic) */
    int64_t hold_since_ms, hold_offset_ms, hold_ms;
    uint64_t dropped; /* parts, for names in .trash (store_trash_name) */

    int64_t erase_state_retry_ns;
    struct store_retired *retired; /* parts that left the set and that views may still read */

    /* erasing: the set guarded by erase_lock; one asks at a time */
    pthread_mutex_t erase_lock, erase_ask_lock;
    struct erase_set *erase; /* NULL: nothing is at work */
    uint64_t erase_changes; /* of that set */
    char erase_why[32][160]; /* by number of the target */
    uint64_t erase_next_id; /* guarded by erase_ask_lock */

    /* atomic */
    _Atomic int64_t clock_offset_ms; /* wall clock minus monotonic clock, while it was trusted */
    _Atomic int64_t disk_checked_ns;
    _Atomic uint64_t committed_seq, commits, commit_ns, sync_ns, live_generation;
    _Atomic int64_t last_commit_ms, retention_floor_ms;
    _Atomic bool is_full, is_broken, is_backing_up;
    _Atomic uint64_t journal_bytes;
};

/* The registry's clock: from 1 at the start of the machine, since 0 stands for never. */
static inline uint32_t store_minute(void)
{
    return (uint32_t)(clock_mono_ns() / 60000000000) + 1;
}

/* committer.c */
void *committer_main(void *db);
/* A new live generation; the old one (if any) is frozen. Start-up and committer only. */
enum err committer_new_generation(struct tsdb *db, uint64_t id, struct err_msg *msg) MUST_CHECK;
/* Replays one generation's journal into a head; start-up only. */
enum err committer_replay(struct tsdb *db, uint64_t id, struct generation **out,
                          struct err_msg *msg) MUST_CHECK;
/* Its rows are sealed, or it has none: the journal goes, into the quarantine when something of it was damaged. */
void committer_end_journal(struct tsdb *db, struct generation *g);
void committer_free_generation(struct generation *g);
void committer_freeze(struct tsdb *db, struct generation *g); /* hands it to flush */

/* flush.c */
void *flush_main(void *db);
/* Seals the oldest frozen generation on the caller's thread. Start-up only. */
enum err flush_oldest(struct tsdb *db, struct err_msg *msg) MUST_CHECK;

/* pin.c: the published set */
enum err pin_add_head(struct tsdb *db, struct head *h, struct journal *j) MUST_CHECK;
/* What a backup copies: the journals of every generation that is not in parts, oldest first, and snapshots of all parts, of one moment. Every
 * row acknowledged before is in exactly one of them. Journals stay on disk, and parts readable, until they are given back. */
struct pin_hold {
    struct journal **journals;
    const struct part_snapshot **parts; /* sorted by (day, class) */
    size_t journal_count, part_count;
    uint64_t generation_max, visible_seq; /* of what is in parts; newest acknowledged request */
    struct lmdb_txn *ledger; /* reads what is sealed of it at that moment */
};
enum err pin_hold(struct tsdb *db, struct pin_hold *out) MUST_CHECK;
void pin_hold_release(struct pin_hold *h); /* NULL entries were given back before */
/* One swap: the head leaves, new snapshots of the touched parts come. */
enum err pin_replace(struct tsdb *db, struct head *leaves, struct part **touched,
                     size_t touched_count, uint64_t generation_max) MUST_CHECK;
/* The store's part for a day and class, made when absent. Flush only. */
struct part *pin_part(struct tsdb *db, uint32_t day, enum part_class class, bool exists);
/* part_exchange, and the set follows. take_fresh is released when it fails. */
enum err pin_exchange_part(struct tsdb *db, struct part *old, struct part *take_fresh,
                           uint64_t generation_max, struct err_msg *msg) MUST_CHECK;
/* part_exchange_pair, and the set follows: no view sees rows beside texts of another time. */
enum err pin_exchange_pair(struct tsdb *db, struct part *rows, struct part *take_rows,
                           struct part *text, struct part *take_text, uint64_t generation_max,
                           struct err_msg *msg) MUST_CHECK;
void pin_drop_part(struct tsdb *db, struct part *p); /* retention: leaves the set */
void pin_clear(struct tsdb *db);

/* retired.c: parts that left the set. Views may read them until they are too old; then they go, whoever holds on. Flush only. */
void retired_add(struct tsdb *db, struct part *p); /* retains it */
void retired_run(struct tsdb *db);
void retired_clear(struct tsdb *db); /* at close */
int64_t store_view_age_ns(const struct tsdb *db);

/* retention.c */
/* A name in the trash that is not in use. */
void store_trash_name(struct tsdb *db, const struct part *p, char out[FILES_PATH_MAX]);
void retention_start(struct tsdb *db); /* before anything asks for the floor */
void retention_run(struct tsdb *db); /* flush thread */
void retention_now(struct tsdb *db); /* has the flush thread do it; waits */
int64_t retention_clock_ms(
    const struct tsdb *db); /* the wall clock, or what it was before it jumped */
void retention_check_disk(struct tsdb *db); /* sets is_full */
/* With less than this on the disk (of so many bytes in all) nothing is accepted. */
uint64_t retention_reserve(const struct tsdb *db, uint64_t total);

/* tsdb_state.c: numbers of the store itself */
/* Every row is as it was written. The state is never guessed at: what it forgets, an erase or a key that was taken back, nobody would miss. */
enum err state_check(struct tsdb *db, struct err_msg *msg) MUST_CHECK;
enum err state_get_u64(struct tsdb *db, const char *name,
                       uint64_t *out) MUST_CHECK; /* ERR_NOT_FOUND */
/* As a number stands in the environment, under its full key: for a backup, which writes one itself. */
#define STATE_U64_SIZE 12u
void state_u64_write(struct bytes key, uint64_t value, uint8_t out[STATE_U64_SIZE]);
enum err state_put_u64(struct tsdb *db, const char *name, uint64_t value,
                       struct err_msg *msg) MUST_CHECK;

#endif
