/* What was offered and is not judged yet, and the documents that are kept for a call to come: one bound over both.
 *
 *   offer --> inbox --take--> calls in order of arrival          bucket by trace: sources and records, until keep_ns is over
 *
 * Owner: the checker.  Thread: offer, is_lost, bytes and wake from any, without a lock; the rest on the checker's thread.
 * Failure: offer: false when it is full, too large, or memory is short: counted by the caller; the trace is then remembered as lost.
 * Limits: bytes_max (offers at the same moment may each be refused for the others' sake); CHECKER_LOST traces are remembered as lost.
 * Invariants: 1. bytes is the sum over what is in it. 2. An item leaves once: judged, dropped, or kept long enough.
 */
#ifndef DETECTORS_CHECKER_QUEUE_H
#define DETECTORS_CHECKER_QUEUE_H

#include "base/hash.h"
#include "detectors/detectors_checker.h"

#define CHECKER_LOST 4096u
#define CHECKER_ROWS_MAX 64u /* of one call: itself, its records, its sources */

struct checker_item {
    struct checker_item *next; /* in its list: inbox, calls, kept */
    struct checker_item *peer; /* in its bucket: sources and records */
    struct checker_said said; /* texts point behind the struct */
    uint64_t trace_hash;
    int64_t arrived_ns; /* monotonic */
    size_t bytes;
};

struct checker_queue;
struct checker_queue *checker_queue_new(uint64_t bytes_max); /* NULL = no memory */
void checker_queue_free(struct checker_queue *q);
uint64_t checker_queue_trace_hash(uint32_t org, struct tsdb_id16 trace);
bool checker_queue_offer(struct checker_queue *q, const struct checker_said *said) MUST_CHECK;
bool checker_queue_is_lost(struct checker_queue *q, uint64_t trace_hash);
uint64_t checker_queue_bytes(struct checker_queue *q);
void checker_queue_wake(struct checker_queue *q);

/* Sorts what came in; when nothing did, after a wait of wait_ns or until it is woken. */
void checker_queue_sort(struct checker_queue *q, int64_t wait_ns);
/* The oldest call if it came before this moment, taken out of its list; checker_queue_release. NULL = none. */
struct checker_item *checker_queue_call(struct checker_queue *q, int64_t arrived_before_ns);
int64_t checker_queue_oldest_ns(const struct checker_queue *q); /* its arrival; INT64_MAX = none */
/* Records of the call's span, then sources of its trace that ended before it did; the oldest first. */
size_t checker_queue_records(struct checker_queue *q, const struct checker_item *call,
                             const struct checker_said **out, size_t max);
size_t checker_queue_sources(struct checker_queue *q, const struct checker_item *call,
                             const struct checker_said **out, size_t max);
void checker_queue_release(struct checker_queue *q, struct checker_item *take_item);
/* Lets go what is kept since before this moment, but for what the calls that wait may still need. */
void checker_queue_expire(struct checker_queue *q, int64_t before_ns);

#endif
