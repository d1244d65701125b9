/* The way back from a backup (tsdb_backup.h): its files become a data directory.
 *
 * Owner: caller.  Thread: any.
 * Failure: ERR_NOT_FOUND (it is no backup: no BACKUP, or not whole), ERR_UNSUPPORTED_MEDIA (of a newer telltale), ERR_CONFLICT (the directory
 *          is there and not empty), ERR_FULL, ERR_CANCELLED, ERR_IO; the directory is then as before.
 *          It does not look at what the files hold: tsdb_verify_run does, and callers should ask it before.
 */
#ifndef TSDB_TSDB_RESTORE_H
#define TSDB_TSDB_RESTORE_H

#include <stdint.h>

#include "base/err.h"

struct tsdb_restore_info { /* what BACKUP says */
    int64_t made_ms;
    uint64_t seq, state_rows, commits, parts, blocks, rows, damaged;
};
enum err tsdb_restore_info(const char *backup, struct tsdb_restore_info *out,
                           struct err_msg *msg) MUST_CHECK;

/* progress: after each file, with the bytes copied so far; false: stop. NULL = none. */
enum err tsdb_restore_run(const char *backup, const char *dir,
                          bool (*progress)(void *ctx, uint64_t bytes), void *ctx,
                          uint64_t *out_bytes, struct err_msg *msg) MUST_CHECK;

#endif
