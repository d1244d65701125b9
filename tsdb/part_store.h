/* The writing and owning side of parts (part.h has the reading side).
 *
 * A part is written by flush, generation by generation, and rewritten by compaction and erase: the blocks that survive go into a fresh
 * environment beside it, which then takes its place in one step.
 *     part_rewrite_begin -> part_copy, part_put ... -> part_rewrite_seal -> part_exchange (or part_release: nothing has happened)
 * A crash at any point leaves the old part or the new one, whole; the other lies under .tmp-* or in the trash, and goes at the next start.
 * Owner: reference counted: the store holds one, every snapshot one.
 * Thread: writer functions on the flush role (of a backup's parts: on its thread); part_snapshot_new, retain and release from any.
 * Failure: ERR_FULL, ERR_IO, ERR_CORRUPT.
 */
#ifndef TSDB_PART_STORE_H
#define TSDB_PART_STORE_H

#include "tsdb/part.h"

struct part;

/* The directory of a class below parts/<YYYYMMDD>. Texts are made anew together with their rows, and which environment of texts belongs to
 * the rows must change in one step: a file in the rows' directory has its name, "text-<number>"; without one it is "text". ERR_IO. */
#define PART_TEXT_PREFIX "text-"
#define PART_NAME_MAX 32u
enum err part_name(const char *dir, enum part_class class, char out[PART_NAME_MAX]) MUST_CHECK;

/* Opened at first use. dir is parts/<YYYYMMDD>; the environment is dir/<class>. exists: whether it is there already. */
struct part *part_new(const char *dir, uint32_t day, enum part_class class, bool exists);
/* Before its first use: where damage is recorded, and where an environment goes that cannot be followed. */
struct quarantine;
void part_report_to(struct part *p, struct quarantine *q);
void part_retain(struct part *p);
void part_release(struct part *p);
/* Its directory moves to `trash`, where it is removed with the last reference: snapshots read on. Failure: it stays where it is. */
enum err part_drop(struct part *p, const char *trash, struct err_msg *msg) MUST_CHECK;
uint32_t part_refs(const struct part *p); /* of this moment */
/* A dropped or replaced part goes although somebody still refers to it: fetching from it is ERR_TIMEOUT from now on. false: a fetch is under
 * way; once more, please. */
bool part_evict(struct part *p);
uint32_t part_day(const struct part *p);
enum part_class part_class_of(const struct part *p);
const char *part_path(const struct part *p);
const char *part_class_name(enum part_class c);

/* Blocks of one generation. Written in transactions of about 1 MiB; visible all at once by part_seal. */
enum err part_put(struct part *p, const struct block_meta *m, struct bytes block,
                  struct err_msg *msg) MUST_CHECK;
enum err part_seal(struct part *p, uint64_t generation, struct err_msg *msg) MUST_CHECK;
/* Flush thread: when this process last sealed a generation in it, by the clock; 0: it has not. */
int64_t part_sealed_ms(const struct part *p);
void part_abandon(struct part *p); /* drops what was put since the last seal */
enum err part_is_sealed(struct part *p, uint64_t generation, bool *out,
                        struct err_msg *msg) MUST_CHECK;

/* A fresh, empty environment of the same day and class, under a temporary name. Its blocks may be of any generation. */
enum err part_rewrite_begin(const struct part *old, struct part **out_fresh,
                            struct err_msg *msg) MUST_CHECK;
/* The same for rows and the texts beside them; *out_text NULL where text is NULL. */
enum err part_rewrite_begin_pair(const struct part *rows, const struct part *text,
                                 struct part **out_rows, struct part **out_text,
                                 struct err_msg *msg) MUST_CHECK;
/* A block as it is, checked. */
enum err part_copy(struct part *fresh, const struct part_snapshot *from, const struct block_meta *m,
                   struct err_msg *msg) MUST_CHECK;
/* The manifest of what was put, and every seal of the old part. */
enum err part_rewrite_seal(struct part *fresh, struct part *old, struct err_msg *msg) MUST_CHECK;
/* The manifest of what was put into a part of another directory, and the seals that `from` had of generations up to generation_max: replay
 * brings the later ones, and skips what is sealed. */
enum err part_copy_seal(struct part *fresh, const struct part_snapshot *from,
                        uint64_t generation_max, struct err_msg *msg) MUST_CHECK;
/* false: the environment of the part cannot be opened; known once its blocks have been asked for. */
bool part_snapshot_is_readable(const struct part_snapshot *s);
/* fresh takes the place of old, whose directory moves to `trash` and goes with the last reference. Failure: nothing has changed. */
enum err part_exchange(struct part *old, struct part *fresh, const char *trash,
                       struct err_msg *msg) MUST_CHECK;
/* Both take their places in one step, that of the rows. fresh_text may be NULL; its name is made durable first. */
enum err part_exchange_pair(struct part *rows, struct part *fresh_rows, const char *trash_rows,
                            struct part *text, struct part *fresh_text, const char *trash_text,
                            struct err_msg *msg) MUST_CHECK;
/* At start: what crashes left in parts/<YYYYMMDD>; a directory without a part in it goes. */
void part_clean_day(const char *dir);
/* A snapshot of all generations without what is damaged, and without samples whose labels are: for a rewrite. Reads every block. What is left
 * out is recorded (quarantine_save before the old part goes); is_kept: its bytes are kept in the quarantine. */
enum err part_snapshot_sound(struct part *p, bool is_kept, struct part_snapshot **out,
                             size_t *out_left, struct err_msg *msg) MUST_CHECK;
/* Known from opening it: bytes may lie in it that no sound manifest row names. A rewrite leaves them behind. */
bool part_is_damaged(const struct part *p);
/* Rewriting it is of no use until the next start: its blocks are damaged. */
void part_leave_alone(struct part *p);
bool part_is_left_alone(const struct part *p);

/* Blocks of generations <= generation_max, as sealed when it is first looked at or now. */
struct part_snapshot *part_snapshot_new(struct part *p, uint64_t generation_max);
void part_snapshot_retain(const struct part_snapshot *s);
void part_snapshot_release(const struct part_snapshot *s);
uint64_t part_bytes(struct part *p); /* 0 when not opened yet */
uint64_t part_disk_bytes(const struct part *p); /* what its file takes on disk, opened or not */
uint64_t part_snapshot_disk_bytes(const struct part_snapshot *s);

#endif
