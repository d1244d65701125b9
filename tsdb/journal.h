/* The journal of one generation: accepted commits in order, in one append-only LMDB environment; docs/format/journal.md draws it.
 *
 *     journal/<generation>/data.mdb    key u64 big-endian -> { crc32c u32, bytes };  key 0 = checkpoint, others = first seq of a commit
 * Owner: reference counted: the generation holds one, whoever copies it another.
 * Thread: one writes; journal_retain, journal_close, journal_read and journal_generation from any.
 * Failure: journal_append: ERR_FULL, ERR_IO: the commit is not there (an unknown outcome is settled by opening again and looking).
 *          what is damaged does not stop reading: it is told, and the rest comes. Where the pages
 *          cannot be followed, every record is read that still lies whole in the file.
 * Invariants: 1. The checkpoint is the first transaction: a generation without one is no generation. 2. When journal_append gives ERR_OK the
 *             commit is synced.
 */
#ifndef TSDB_JOURNAL_H
#define TSDB_JOURNAL_H

#include "base/arena.h"
#include "base/err.h"

struct journal;

/* brief: the checkpoint without what may be lost; read where the checkpoint is damaged. */
enum err journal_create(const char *data_dir, uint64_t generation, struct bytes checkpoint,
                        struct bytes brief, struct journal **out, struct err_msg *msg) MUST_CHECK;
enum err journal_open(const char *data_dir, uint64_t generation, struct journal **out,
                      struct err_msg *msg) MUST_CHECK;
void journal_retain(struct journal *j);
void journal_close(struct journal *j); /* gives a reference back; NULL is fine */
/* The writer's end of a flushed generation: gives the reference back, and the last one removes the files. NULL is fine. */
void journal_finish(struct journal *j);
uint64_t journal_generation(const struct journal *j);
void journal_remove(const char *data_dir, uint64_t generation);
enum err journal_append(struct journal *j, uint64_t seq, struct bytes commit,
                        struct err_msg *msg) MUST_CHECK;
/* ERR_CORRUPT: it is damaged or missing. */
enum err journal_checkpoint(struct journal *j, bool brief, struct arena *a, struct bytes *out,
                            struct err_msg *msg) MUST_CHECK;
/* Calls fn for each commit in order, damaged for each that is not what was written; fn may return an error to stop. */
struct journal_reader {
    void *ctx;
    enum err (*commit)(void *ctx, uint64_t seq, struct bytes commit, struct err_msg *msg);
    void (*damaged)(void *ctx, uint64_t seq);
};
enum err journal_scan(struct journal *j, const struct journal_reader *r,
                      struct err_msg *msg) MUST_CHECK;
/* Why its pages cannot be followed; NULL: they can. */
const char *journal_damage(const struct journal *j);
void journal_path(const char *data_dir, uint64_t generation, char *out, size_t size);
/* Entries as they are stored, checksum and all: keys from `from` (0: the checkpoint) to `last`, copied into the arena, until there are about
 * max_bytes of them. Also while somebody appends. */
struct journal_entry {
    uint64_t seq;
    struct bytes value;
    bool is_damaged; /* its checksum is wrong */
};
enum err journal_read(struct journal *j, uint64_t from, uint64_t last, size_t max_bytes,
                      struct arena *a, struct journal_entry **out, size_t *out_count,
                      struct err_msg *msg) MUST_CHECK;
uint64_t journal_bytes(struct journal *j);
/* Generations in the directory, ascending, in the arena; leftovers of unfinished creations are removed. */
enum err journal_list(const char *data_dir, struct arena *a, uint64_t **out, size_t *out_count,
                      struct err_msg *msg) MUST_CHECK;

#endif
