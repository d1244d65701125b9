/* A consistent copy of a store that goes on taking rows, and the way back.
 *
 *     tsdb_backup_run:  state -> hold (journals + part snapshots of one moment) -> journals -> parts -> VERSION, BACKUP -> rename
 * A backup is a data directory like any other, compacted, with a file BACKUP that says what is in it. It is written into
 * `.partial-<name>` beside the target, every environment synced as it grows, and renamed when it is whole: what has the target's name is
 * whole. A process that dies leaves `.partial-<name>`, without VERSION, which nothing takes for data; the next backup to the same
 * target removes it.
 * Owner: caller.  Thread: any but the store's own; one backup of a store at a time, and none when tsdb_close is called.
 * Failure: ERR_CONFLICT (another runs, or the target exists), ERR_INVALID (the target lies within the data), ERR_FULL (of the target's disk, or
 *          the data's when it is the same; also when it would not be enough), ERR_CANCELLED, ERR_IO, ERR_NOMEM; the target is then as before.
 *          A block or commit that is damaged in the store is no failure: damaged blocks are told and left out, damaged commits copied.
 * Invariants: 1. Every row acknowledged before the call is in the backup exactly once, unless told as damaged. 2. Every row of the backup was
 *             acknowledged, or about to be. 3. State is copied first: marks in it never run ahead of the rows.
 */
#ifndef TSDB_TSDB_BACKUP_H
#define TSDB_TSDB_BACKUP_H

#include "tsdb/tsdb.h"

struct tsdb_backup_report {
    uint64_t bytes; /* keys and values copied; files are larger by LMDB's pages */
    uint64_t bytes_expected; /* an upper estimate, for progress */
    uint64_t state_rows, commits, parts, blocks, rows, damaged;
    uint64_t seq; /* requests up to this number are in it */
};

struct tsdb_backup_sink {
    void *ctx;
    /* After about every MiB; false: stop. NULL = none. */
    bool (*progress)(void *ctx, const struct tsdb_backup_report *so_far);
    /* where: the environment; what: block and sentence. NULL = none. */
    void (*damaged)(void *ctx, const char *where, const char *what);
};

/* A directory for backups, made when it is not there. */
enum err tsdb_backup_make_dir(const char *path, struct err_msg *msg) MUST_CHECK;
enum err tsdb_backup_run(struct tsdb *db, const char *target, const struct tsdb_backup_sink *sink,
                         struct tsdb_backup_report *out, struct err_msg *msg) MUST_CHECK;

#endif
