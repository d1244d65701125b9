/* The acknowledgements of one program, in memory and in the state store.
 *
 *   table of the state store:   acks   fingerprint -> an acknowledgement;   "key" -> what links are signed with, 32 bytes
 *
 * Owner: the detectors.  Thread: any; `lock` is a leaf, write_lock goes before the store's write transaction.
 * Failure, Limits: detectors_acks.h.
 */
#ifndef DETECTORS_ACKS_H
#define DETECTORS_ACKS_H

#include "detectors/detectors_acks.h"
#include "detectors/detectors_store.h"

#define ACKS_TABLE "acks"

struct acks;

struct acks *acks_new(const struct detectors_store *store); /* NULL: out of memory */
void acks_free(struct acks *a); /* NULL is fine */
/* Also makes the key of links, once. */
enum err acks_load(struct acks *a) MUST_CHECK;
bool acks_has(struct acks *a, const char *fingerprint);
/* The annotation "acknowledge": a page that asks before it does. In the arena; data NULL: out of memory. */
struct bytes acks_link(struct acks *a, const char *external_url, const char *fingerprint,
                       const char *receiver, int64_t starts_ms, struct arena *arena);

/* A row of the state store. */
void ack_encode(const struct detectors_ack *x, struct buf *out);
enum err ack_decode(struct bytes b, struct detectors_ack *out) MUST_CHECK;

#endif
