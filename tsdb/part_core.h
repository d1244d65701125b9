/* The inside of a part, for the files that make it up: part.c (opening, flushing into it, snapshots), part_rewrite.c (an environment that
 * takes the place of another, dropping).
 *
 * Owner: part.c.  Thread: fields say who. Lock order: no part's lock while a write transaction is open.
 */
#ifndef TSDB_PART_CORE_H
#define TSDB_PART_CORE_H

#include <pthread.h>
#include <stdatomic.h>

#include "tsdb/files.h"
#include "tsdb/lmdb_env.h"
#include "tsdb/part_store.h"
#include "tsdb/quarantine.h"
#include "tsdb/store_format.h"

enum { PART_DB_BLOCKS, PART_DB_MANIFEST, PART_DB_SEALED };

struct part {
    /* immutable after init */
    char dir[FILES_PATH_MAX - 64], path[FILES_PATH_MAX]; /* parts/<day>, and its place there */
    uint32_t day;
    enum part_class class;
    uint64_t id; /* never used again */
    struct quarantine *quarantine; /* NULL: damage is only logged */
    _Atomic uint32_t refs;
    _Atomic bool is_left_alone; /* no rewriting until the next start */
    /* guarded by lock */
    pthread_mutex_t lock;
    bool exists, failed, is_damaged;
    char place
        [FILES_PATH_MAX]; /* where the directory lies now: path, but for one that was dropped or is being made */
    bool is_removed; /* the directory goes with the last reference */
    bool is_gone; /* it went before, from under readers that are too old (part_evict) */
    struct lmdb_env *env; /* NULL until first use */
    struct arena *arena; /* manifest rows */
    struct block_meta *metas; /* sorted by key */
    size_t meta_count, meta_cap;
    /* owned by flush */
    int64_t sealed_ms; /* by the clock, of this process's last seal; 0: none yet */
    bool is_unsynced; /* its name in dir is not known to be durable: nothing may be sealed */
    struct lmdb_txn *txn;
    size_t txn_bytes;
    struct block_meta *pending;
    size_t pending_count, pending_cap;
    struct arena *pending_arena;
};

struct part_snapshot {
    struct part *part;
    uint64_t generation_max;
    _Atomic uint32_t refs;
    pthread_mutex_t lock;
    bool is_loaded; /* guarded by lock; what follows is immutable once it is true */
    struct block_meta *metas;
    size_t meta_count;
};

/* Opens the environment and reads the manifest, once. make: a part without a directory gets one. */
enum err part_open(struct part *p, bool make, struct err_msg *msg) MUST_CHECK;
/* A new environment at p->place, its directory synced; the name is the caller's to make durable. */
enum err part_make_env(const char *place, struct err_msg *msg) MUST_CHECK;
/* Ends the transaction of part_put. */
enum err part_txn_flush(struct part *p, struct err_msg *msg) MUST_CHECK;
/* Manifest rows of what was put since the last seal, into p->txn. */
enum err part_put_manifest(struct part *p, struct err_msg *msg) MUST_CHECK;
/* What was put since the last seal is known to snapshots from now on. */
enum err part_publish(struct part *p) MUST_CHECK;

#endif
