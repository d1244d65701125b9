/* A webhook receiver on 127.0.0.1 that answers from a script and remembers what it was sent.
 *
 * Owner: the test.  Thread: one of its own; the recorded requests are copied out under a lock.
 * Failure: CHECKs.
 */
#ifndef TESTS_HELPER_RECEIVER_H
#define TESTS_HELPER_RECEIVER_H

#include "base/bytes.h"

#define HELPER_RECEIVER_MAX 64

struct helper_receiver;

struct helper_receiver_request {
    char path[128]; /* of the request line */
    char id[256], timestamp[32], signature[512], extra[128]; /* extra: the header X-Extra */
    char body[16384];
    size_t body_size;
    int answered;
    int64_t at_ms;
};

/* Answers: statuses in order, the last one for ever; 0 = read and never answer. retry_after_s < 0 = no such header. */
struct helper_receiver *helper_receiver_new(const int *statuses, size_t count, int retry_after_s);
void helper_receiver_free(struct helper_receiver *r);
const char *helper_receiver_url(struct helper_receiver *r);
void helper_receiver_script(struct helper_receiver *r, const int *statuses, size_t count);
size_t helper_receiver_count(struct helper_receiver *r);
void helper_receiver_get(struct helper_receiver *r, size_t i, struct helper_receiver_request *out);
/* Waits until at least n requests were answered; false after timeout_ms. */
bool helper_receiver_wait(struct helper_receiver *r, size_t n, int64_t timeout_ms);

#endif
