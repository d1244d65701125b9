/* The quarantine: records of what is damaged, and the place where damaged things are kept.
 *
 * Whoever meets damage adds a record; it is known to queries at once and durable with the next round of the flush thread. A crash before
 * that loses nothing: what is damaged is met again.
 *     data/quarantine/<YYYYMMDD>-<class>-<n>          an environment that cannot be followed
 *     data/quarantine/journal-<generation>-<n>        a journal with something wrong in it, after its readable records have been sealed
 *     data/quarantine/<YYYYMMDD>-<class>-<org>-<kind>-<generation>-<block>    bytes of a block that a rewrite has left out
 * Owner: the store.  Thread: any; quarantine_save on one thread at a time.
 * Failure: quarantine_add never fails; moving: ERR_IO, and the thing stays where it is.
 * Limits: TSDB_QUARANTINE_MAX records.
 * Invariants: 1. A thing is recorded once. 2. Rows of a record count as quarantined, in the accounts, for ever.
 */
#ifndef TSDB_QUARANTINE_H
#define TSDB_QUARANTINE_H

#include "tsdb/part.h"
#include "tsdb/tsdb_quarantine.h"

#define QUARANTINE_JOURNAL PART_CLASS_COUNT /* the class after those of parts */

struct quarantine;

struct quarantine_record {
    unsigned class; /* enum part_class or QUARANTINE_JOURNAL */
    uint32_t day;
    uint32_t org;
    uint8_t kind;
    uint64_t generation, n;
    int signal; /* enum tsdb_signal of the rows, or -1: they are not counted in the accounts */
    uint64_t rows;
    int64_t time_min, time_max;
};

/* dir: the data directory. NULL: no memory. */
struct quarantine *quarantine_new(const char *dir);
void quarantine_free(struct quarantine *q);
/* What earlier processes found. */
enum err quarantine_load(struct quarantine *q, struct tsdb *db) MUST_CHECK;
/* Makes durable what has been added since. Failure: the next call does it. */
enum err quarantine_save(struct quarantine *q, struct tsdb *db);
/* q NULL: only logged. */
void quarantine_add(struct quarantine *q, const struct quarantine_record *r, const char *what);
/* Of a block. */
void quarantine_add_block(struct quarantine *q, uint32_t day, enum part_class class,
                          const struct block_meta *m, const char *what);
/* A directory moves into the quarantine as <name>-<n>. */
enum err quarantine_take(struct quarantine *q, const char *path, const char *name,
                         struct err_msg *msg) MUST_CHECK;
/* Bytes of a block, best effort. */
void quarantine_keep(struct quarantine *q, uint32_t day, enum part_class class,
                     const struct block_meta *m, struct bytes block);
/* Retention has taken a day of a class: what is kept of it goes, and its records. */
void quarantine_expire(struct quarantine *q, uint32_t day, enum part_class class);
/* The same for journals whose newest row is of an earlier day. */
void quarantine_expire_journals(struct quarantine *q, uint32_t before_day);
/* Everything that is kept goes, records stay: what is erased must be nowhere. */
enum err quarantine_purge(struct quarantine *q, struct err_msg *msg) MUST_CHECK;
/* A record as it stands in the state, in words. Any bytes. */
bool quarantine_text(struct bytes key, struct bytes value, char *out, size_t size);
/* Records of what is of the org or of no single one, and their rows. */
void quarantine_count(struct quarantine *q, uint32_t org, uint64_t *out_records,
                      uint64_t *out_rows);
/* Rows that the accounts still call stored. */
uint64_t quarantine_rows(struct quarantine *q, uint32_t org, int signal);

/* Is anything of the org damaged, at any time? */
bool quarantine_concerns(struct quarantine *q, uint32_t org);

#endif
