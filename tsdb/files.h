/* Directories of the store: made, renamed, listed and removed so that a crash at any point leaves a state that open understands.
 * Owner: caller.  Thread: any.  Failure: ERR_IO with path and reason in msg.
 */
#ifndef TSDB_FILES_H
#define TSDB_FILES_H

#include "base/arena.h"
#include "base/err.h"

#define FILES_PATH_MAX 4096u

/* With its parents, each synced into its own; existing is fine (and may not be synced: see files_sync_parent). */
enum err files_make_dir(const char *path, struct err_msg *msg) MUST_CHECK;
enum err files_sync_dir(const char *path, struct err_msg *msg) MUST_CHECK;
enum err files_sync_file(const char *path, struct err_msg *msg) MUST_CHECK;
enum err files_sync_parent(const char *path, struct err_msg *msg) MUST_CHECK;
enum err files_rename(const char *from, const char *to,
                      struct err_msg *msg) MUST_CHECK; /* and syncs the parent of `to` */
/* Two directories of one parent change names, in one step where the file system can (renameat2); where not, `into` is for a moment only
 * known as its name with .new- before it, which files_finish_exchange understands after a crash. Syncs nothing. *out_done: the names are
 * changed, also with an error. */
enum err files_exchange(const char *from, const char *into, bool *out_done,
                        struct err_msg *msg) MUST_CHECK;
/* At start: ends what a crash left of an exchange into `into`. */
void files_finish_exchange(const char *into);
void files_remove_tree(const char *path); /* best effort, counted when it fails */
/* Names in a directory (no dot files unless asked), sorted, in the arena. */
enum err files_list(const char *path, bool with_dots, struct arena *a, char ***out_names,
                    size_t *out_count, struct err_msg *msg) MUST_CHECK;
/* Writes a small file atomically: temporary name, sync, rename, sync of the directory. */
enum err files_write(const char *path, struct bytes text, struct err_msg *msg) MUST_CHECK;
enum err files_read(const char *path, size_t max, struct arena *a, struct bytes *out,
                    struct err_msg *msg) MUST_CHECK;
/* A regular file's bytes into a new file, synced; its name is the caller's to make durable. */
enum err files_copy(const char *from, const char *to, struct err_msg *msg) MUST_CHECK;
uint64_t files_free_bytes(const char *path,
                          uint64_t *out_total); /* of the file system; 0 when unknown */
/* Tests: the n-th operation of this file that changes or syncs a directory fails, or ends the process before it (0 = none). Returns how many
 * were counted since the last call. no_exchange: as on a file system without it. */
#define FILES_CRASH_STATUS 98
uint64_t files_test_fail_at(uint64_t n, bool crash);
void files_test_no_exchange(bool on);
/* Tests: what the function above answers; NULL = the file system's own numbers. */
void files_test_set_free(uint64_t (*fn)(const char *path, uint64_t *out_total));

#endif
