/* Requests seen in the last 15 minutes, so that a retry gets the original answer; and span rows seen by one generation.
 *
 * Owner: the committer.  Thread: committer (and start-up).
 * Failure: out of memory: an entry is not remembered (a retry would then be stored again), counted.
 * Limits: DEDUP_WINDOW_NS, DEDUP_ENTRIES_MAX.
 */
#ifndef TSDB_DEDUP_H
#define TSDB_DEDUP_H

#include "base/buf.h"
#include "base/hash.h"

#define DEDUP_WINDOW_NS (15 * 60 * INT64_C(1000000000))
#define DEDUP_ENTRIES_MAX 1000000u

struct dedup_entry {
    struct hash128 key;
    int64_t time_ns; /* wall clock of the request */
    uint64_t seq, stored, duplicate, rejected;
    char *reject_text; /* malloc'ed; NULL = none */
};

struct dedup;
struct dedup *dedup_new(void);
void dedup_free(struct dedup *d);
const struct dedup_entry *dedup_find(struct dedup *d, struct hash128 key,
                                     int64_t now_ns); /* NULL when unknown or expired */
void dedup_add(struct dedup *d, const struct dedup_entry *e); /* copies the text */
void dedup_encode(struct dedup *d, int64_t now_ns, struct buf *out);
bool dedup_decode(struct dedup *d, struct reader *r); /* false: not these bytes */

/* A set of 128-bit row hashes with undo of the newest insertions. A slot carries half a word of its hash, so that the log, a cache miss
 * away, is looked at only where they agree; and the slots of rows to come can be fetched ahead. */
struct dedup_rows {
    struct hash128 *log; /* in order of insertion */
    uint64_t *slots; /* index into log + 1, and above it 32 bits of the hash */
    uint32_t count, cap, slot_cap;
};
void dedup_rows_prefetch(const struct dedup_rows *s, struct hash128 h);
bool dedup_rows_has(const struct dedup_rows *s, struct hash128 h);
/* false = no memory. *out_is_new: it was not there. */
bool dedup_rows_add(struct dedup_rows *s, struct hash128 h, bool *out_is_new);
void dedup_rows_undo(struct dedup_rows *s, uint32_t count); /* back to this many */
void dedup_rows_done(struct dedup_rows *s);

#endif
