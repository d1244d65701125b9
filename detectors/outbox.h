/* The outbox: notifications that are committed and not yet delivered, one queue a receiver, and the last that were.
 *
 *   detect, rules:  outbox_begin -> outbox_stage (inside the transaction of the state change) -> outbox_publish after the commit,
 *                   outbox_discard without it -> outbox_end
 *   notify:  outbox_take -> attempt -> outbox_done
 *
 * Owner: the detectors.  Thread: stage, publish and discard on any, between begin and end; take and done on the receiver's notify thread; the rest from any.
 * Failure: outbox_stage: ERR_LIMIT past DETECTORS_OUTBOX_MAX waiting for one receiver (counted; the alert stays visible), ERR_NOMEM, and the
 *          store's.  outbox_done keeps the result in memory when the store fails and writes it with the next one.
 * Invariants: 1. An entry's body and webhook-id never change. 2. Events of one alert reach a receiver in order. 3. A waiting entry outlives
 *             the process; a delivered one is kept for OUTBOX_DELIVERED_KEPT more, a dead letter for OUTBOX_DEAD_KEPT.
 */
#ifndef DETECTORS_OUTBOX_H
#define DETECTORS_OUTBOX_H

#include "detectors/detectors.h"
#include "detectors/detectors_store.h"

#define OUTBOX_DELIVERED_KEPT 200u
#define OUTBOX_DEAD_KEPT \
    1000u /* of all receivers: one that refuses for good must not fill the state */
#define OUTBOX_GIVE_UP_MS (24 * INT64_C(3600000)) /* of failed attempts: then a dead letter */

struct outbox;

struct outbox_entry {
    uint64_t id;
    char receiver[64], webhook_id[192], event[24], fingerprint[33], slo_id[256], rule[64];
    enum detectors_delivery state;
    uint32_t attempts;
    int64_t created_ms, next_attempt_ms, last_attempt_ms, delivered_ms;
    int last_status;
    char last_error[200];
    uint8_t *body; /* owned */
    size_t body_size;
};

struct outbox *outbox_new(const struct detectors_store *store);
void outbox_free(struct outbox *o);
/* Reads what an earlier process left. */
enum err outbox_load(struct outbox *o) MUST_CHECK;

/* One thread at a time stages: from before its transaction begins until what it staged is published or discarded. */
void outbox_begin(struct outbox *o);
void outbox_end(struct outbox *o);
/* Takes the body (malloc'ed) on ERR_OK; fills id and created_ms from the arguments. */
enum err outbox_stage(struct outbox *o, void *txn, const struct outbox_entry *e,
                      uint8_t **take_body, size_t body_size) MUST_CHECK;
/* Does something about this alert wait for the receiver? */
bool outbox_waits(struct outbox *o, const char *receiver, const char *fingerprint);
void outbox_publish(struct outbox *o);
void outbox_discard(struct outbox *o);

/* Waits up to wait_ms for an entry of the receiver that is due. The copy's body lives until outbox_done; false = nothing, or woken. */
bool outbox_take(struct outbox *o, const char *receiver, int64_t wait_ms, struct outbox_entry *out);
struct outbox_result {
    enum detectors_delivery state; /* WAITING = try again at next_attempt_ms */
    int64_t now_ms, next_attempt_ms;
    int status;
    const char *error; /* NULL = none */
};
void outbox_done(struct outbox *o, uint64_t id, const struct outbox_result *r);
enum err outbox_retry(struct outbox *o, uint64_t id, int64_t now_ms) MUST_CHECK;
/* Ends every wait at once, now and until the process stops. */
void outbox_wake_all(struct outbox *o);
enum err outbox_rows(struct outbox *o, struct arena *a, struct detectors_outbox_row **out,
                     size_t *out_count) MUST_CHECK;

/* A row of the state store. */
void outbox_entry_encode(const struct outbox_entry *e, struct buf *out);
/* On ERR_OK e owns its body. */
enum err outbox_entry_decode(uint64_t id, struct bytes b, struct outbox_entry *e) MUST_CHECK;

#endif
