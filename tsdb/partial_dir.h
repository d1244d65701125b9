/* A directory that has its name only once it is whole: made as `.partial-<name>` beside it, renamed at the end.
 *
 * Owner: caller.  Thread: one.
 * Failure: ERR_INVALID (no usable name), ERR_CONFLICT (there is something of that name, or another process is making it), ERR_FULL, ERR_IO.
 * Invariants: 1. What has the target's name is whole and durable. 2. A partial directory is locked while somebody makes it; one that is not
 *             is what a crash left, and goes when the next one begins.
 */
#ifndef TSDB_PARTIAL_DIR_H
#define TSDB_PARTIAL_DIR_H

#include "base/err.h"
#include "tsdb/files.h"

struct partial_dir {
    char target[FILES_PATH_MAX], path[FILES_PATH_MAX], parent[FILES_PATH_MAX];
    int lock_fd;
};

/* The target must be absent or an empty directory, its parent be there. */
enum err partial_dir_begin(struct partial_dir *p, const char *target,
                           struct err_msg *msg) MUST_CHECK;
/* Takes its place. Failure: as partial_dir_abandon. */
enum err partial_dir_finish(struct partial_dir *p, struct err_msg *msg) MUST_CHECK;
void partial_dir_abandon(struct partial_dir *p);

#endif
