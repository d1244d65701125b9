/* The silences of one program: in memory for those who decide, in the state store for the next process.
 *
 *   table of the state store:   silences   id -> a silence
 *
 * Owner: the detectors.  Thread: any. Order of locks: write_lock, the store's write transaction, lock; lock is a leaf.
 * Failure, Limits: detectors_silences.h.
 */
#ifndef DETECTORS_SILENCES_H
#define DETECTORS_SILENCES_H

#include "detectors/detectors_silences.h"
#include "detectors/detectors_store.h"
#include "tsdb/tsdb_labels.h"

#define SILENCES_TABLE "silences"

struct silences;

struct silences *silences_new(const struct detectors_store *store); /* NULL: out of memory */
void silences_free(struct silences *s); /* NULL is fine */
enum err silences_load(struct silences *s) MUST_CHECK;
/* Is any active now? Without, nobody need make labels. */
bool silences_any(struct silences *s, int64_t now_ms);
bool silences_mute(struct silences *s, const struct query_slo_pair *labels, size_t n,
                   int64_t now_ms);
bool silences_mute_labels(struct silences *s, struct tsdb_labels labels, int64_t now_ms);

/* A row of the state store. Its texts are slices of it. */
void silence_encode(const struct detectors_silence *s, struct buf *out);
enum err silence_decode(struct bytes b, struct detectors_silence *out) MUST_CHECK;

#endif
