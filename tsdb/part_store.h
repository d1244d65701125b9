/* The writing and owning side of parts (part.h has the reading side).
 *
 * Owner: reference counted: the store holds one, every snapshot one.
 * Thread: writer functions on the flush role; part_snapshot_new, retain and release from any.
 * Failure: ERR_FULL, ERR_IO, ERR_CORRUPT.
 */
#ifndef TSDB_PART_STORE_H
#define TSDB_PART_STORE_H

#include "tsdb/part.h"

struct part;

/* Opened at first use. dir is parts/<YYYYMMDD>; the environment is dir/<class>. exists: whether it is there already. */
struct part *part_new(const char *dir, uint32_t day, enum part_class class, bool exists);
void part_retain(struct part *p);
void part_release(struct part *p);
/* Its directory moves to `trash`, where it is removed with the last reference: snapshots read on. Failure: it stays where it is. */
enum err part_drop(struct part *p, const char *trash, struct err_msg *msg) MUST_CHECK;
uint32_t part_day(const struct part *p);
enum part_class part_class_of(const struct part *p);
const char *part_path(const struct part *p);
const char *part_class_name(enum part_class c);

/* Blocks of one generation. Written in transactions of about 1 MiB; visible all at once by part_seal. */
enum err part_put(struct part *p, const struct block_meta *m, struct bytes block,
                  struct err_msg *msg) MUST_CHECK;
enum err part_seal(struct part *p, uint64_t generation, struct err_msg *msg) MUST_CHECK;
/* Compaction: the blocks put since the last seal, all of `generation`, take the place of the sealed ones of these kinds (a bit each) up to it,
 * in one transaction. Snapshots that were taken before keep what they had; part_sweep removes it when none of them is left. */
enum err part_replace(struct part *p, uint64_t generation, uint32_t kinds,
                      struct err_msg *msg) MUST_CHECK;
/* false: replaced blocks wait for part_sweep, or an earlier part_replace ended in a way that is not known. */
bool part_may_replace(struct part *p);
void part_never_replace(struct part *p); /* until the next start */
enum err part_sweep(struct part *p, struct err_msg *msg) MUST_CHECK;
void part_abandon(struct part *p); /* drops what was put since the last seal */
enum err part_is_sealed(struct part *p, uint64_t generation, bool *out,
                        struct err_msg *msg) MUST_CHECK;

/* Blocks of generations <= generation_max, as sealed when it is first looked at or now. */
struct part_snapshot *part_snapshot_new(struct part *p, uint64_t generation_max);
void part_snapshot_retain(const struct part_snapshot *s);
void part_snapshot_release(const struct part_snapshot *s);
uint64_t part_bytes(struct part *p); /* 0 when not opened yet */

#endif
