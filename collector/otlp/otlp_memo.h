/* What a thread remembers of the series it has seen: a keyed hash of how a sender wrote a series, and the number it got.
 *
 * Senders repeat their series in every request, in the same order: first the series that followed the last one is tried (its memory is
 * next in line; where its text is not kept, its labels are compared), then a table by key. This spares translating, sorting and looking up
 * labels again. Once a minute the registry is asked whether a number still means what it did, and told that it is in use: in between
 * neither can change.
 * Owner: the thread (freed when it ends).  Thread: each has its own.
 * Failure: none; without memory nothing is remembered.
 * Limits: OTLP_MEMO_SERIES numbers of 48 bytes; in a slot of the table the newer replaces the older. OTLP_MEMO_BYTES of texts as sent.
 * Invariants: 1. A number is given only while it means, in that registry, the org, kind and identity that it had when it was put. 2. Keys are
 *             128 bits seeded by otlp_memo_seed, which no sender knows: equal keys are taken for equal series of that org.
 */
#ifndef COLLECTOR_OTLP_OTLP_MEMO_H
#define COLLECTOR_OTLP_OTLP_MEMO_H

#include "base/hash.h"
#include "tsdb/tsdb_registry.h"

#define OTLP_MEMO_SERIES (1u << 21)
#define OTLP_MEMO_BYTES (8u << 20)

uint64_t otlp_memo_seed(void); /* random, one a process */
bool otlp_memo_find(const struct tsdb_registry *r, uint32_t org, enum tsdb_series_kind kind,
                    struct hash128 key, struct tsdb_ref *out);
void otlp_memo_put(const struct tsdb_registry *r, struct hash128 key, struct tsdb_ref ref);
/* Keeps how the series was written, for otlp_memo_next; after otlp_memo_put or a find. */
void otlp_memo_keep(struct tsdb_ref ref, struct bytes text);
/* Does the message begin with the very text kept of the series that followed the last one? Then its number and that text's size. */
bool otlp_memo_next(const struct tsdb_registry *r, uint32_t org, enum tsdb_series_kind kind,
                    struct bytes message, struct tsdb_ref *out, size_t *out_size);
/* The series that followed the last one, whose text is not kept: the caller compares these, its canonical labels. */
bool otlp_memo_guess(const struct tsdb_registry *r, uint32_t org, enum tsdb_series_kind kind,
                     struct tsdb_ref *out, struct bytes *out_labels);
void otlp_memo_follow(struct tsdb_ref ref); /* the guess was right */

#endif
