/* What a disk may hold after a power cut: a recording (record_io.h) played up to some event, and any legal outcome of what was not synced.
 *
 *   durable:  files as they were at their last sync, names as they were at the last sync of their directory
 *   pending:  writes and sizes since, per file, in order; creates, renames, unlinks since, in order
 *
 * A state takes, of each file, any subset of pending writes in pieces of 512 B or 4 KiB, and any subset of pending names in which nothing
 * comes before what it builds on: two changes of one name keep their order, a rename is one step. A sync of a file says nothing about its
 * name; a name that was lost takes what lies below with it.
 *
 * Owner: caller.  Thread: one.  Failure: no memory or a recording that contradicts itself ends the process.
 */
#ifndef FAULTS_DISK_MODEL_H
#define FAULTS_DISK_MODEL_H

#include "base/hash.h"
#include "tests/faults/record_io.h"

struct disk_model;

struct disk_choice {
    uint32_t write_percent; /* of the pieces of unsynced writes; 0 = none, 100 = all */
    uint32_t name_percent; /* of the unsynced names */
    uint32_t piece; /* 512 or 4096 */
    uint64_t seed;
};

struct disk_model *disk_model_new(uint64_t root_inode);
void disk_model_free(struct disk_model *m);
void disk_model_play(struct disk_model *m, const struct io_event *e, const uint8_t *payload);
/* How many writes and names are not durable now. */
size_t disk_model_pending(const struct disk_model *m);
/* A number of what disk_model_write would make: the same for the same names and bytes. */
struct hash128 disk_model_hash(struct disk_model *m, const struct disk_choice *c);
/* Makes dir (which is emptied first, or made) hold one state. */
void disk_model_write(struct disk_model *m, const struct disk_choice *c, const char *dir);
/* Makes dir hold what a power cut at the end of the recording leaves when nothing that was not synced has reached the disk. */
void disk_model_cut(const struct io_log *log, const char *dir);

#endif
