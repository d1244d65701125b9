/* A batch as one self-contained journal record, and back.
 *
 * A record defines every series it uses that its generation has not defined yet, so that a generation replays alone.
 * Owner: caller.  Thread: encode on the committer, decode at start-up (or any, for backups).
 * Failure: record_decode: ERR_CORRUPT for any bytes that are not a record (total), ERR_LIMIT past the arena.
 * Limits: RECORD_BYTES_MAX.  Format: docs/format/record.md.
 * Invariants: 1. decode(encode(b)) equals b without its dropped spans and their cells. 2. Encoding is deterministic.
 */
#ifndef TSDB_RECORD_H
#define TSDB_RECORD_H

#include "tsdb/tsdb_batch.h"
#include "tsdb/tsdb_registry.h"

#define RECORD_BYTES_MAX (256u << 20)

/* Which refs the generation has defined in committed records. The committer owns one per generation. */
struct record_defs {
    uint64_t *words; /* bit ref */
    uint32_t word_count;
    uint32_t *fresh; /* refs that records encoded since the last commit define */
    uint32_t fresh_count, fresh_cap;
};
void record_defs_done(struct record_defs *d);
void record_defs_committed(
    struct record_defs *d); /* the fresh become defined; words must have room */
void record_defs_failed(struct record_defs *d); /* the fresh are forgotten */

enum err record_encode(const struct tsdb_batch *b, const struct tsdb_registry *series,
                       struct record_defs *d, struct buf *out) MUST_CHECK;

/* Refs as written -> refs of this process, one per generation being replayed. */
struct record_refs {
    struct tsdb_ref *map;
    uint32_t count;
};
void record_refs_done(struct record_refs *m);
/* false: nothing has defined that number. */
bool record_refs_known(const struct record_refs *m, int64_t written, struct tsdb_ref *out);
enum err record_decode(struct bytes record, struct tsdb_registry *series, struct record_refs *m,
                       size_t arena_max, struct tsdb_batch **out, struct err_msg *msg) MUST_CHECK;

/* Identity of a span row as it was sent: XXH3-128 over (trace id, span id, start, every column down to `links`). */
struct hash128 record_span_hash(const struct tsdb_spans *s, uint32_t row);
/* The same of every row; what neighbours share (resource, scope, service: the very same slices) is hashed once. */
void record_span_hashes(const struct tsdb_spans *s, struct hash128 *out);

#endif
