/* Delivery: one thread a receiver, so that a slow one delays no other.
 *
 * Owner: the detectors.  Thread: start and stop from one; each notify thread owns its HTTP client.
 * Failure: notify_start: ERR_NOMEM.  Attempts that fail are repeated with exponential back-off and jitter (Retry-After is honoured up to
 *          an hour); 4xx other than 408 and 429, and a day of failures, make a dead letter.
 * Limits: one attempt at a time a receiver; 64 KiB of a response are read; no redirects.
 */
#ifndef DETECTORS_NOTIFY_H
#define DETECTORS_NOTIFY_H

#include "detectors/outbox.h"
#include "detectors/webhook.h"

struct notify;

struct notify_options {
    struct outbox *outbox;
    const struct detectors_receiver *receivers;
    size_t receiver_count;
    const char *external_url;
    int64_t retry_base_ms, retry_max_ms;
    uint32_t mutate;
    /* Is the evaluator alive? Without it no heartbeat is sent. */
    bool (*is_alive)(void *ctx);
    void *ctx;
};

struct notify *notify_new(const struct notify_options *o);
enum err notify_start(struct notify *n, struct err_msg *msg) MUST_CHECK;
void notify_stop(struct notify *n);
void notify_free(struct notify *n);
/* How long to wait after `attempts` failed attempts; random is uniform in [0, 1). */
int64_t notify_backoff_ms(int64_t base_ms, int64_t max_ms, uint32_t attempts, double random);

#endif
