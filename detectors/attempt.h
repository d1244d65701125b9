/* One attempt to hand a body to its receiver: over HTTP, or to a mail server.
 *
 * Owner: caller.  Thread: one handle of HTTP, one thread at a time.
 * Failure: in the result. What it says of a failure names the host, never the rest of the URL: that is a secret with many services.
 */
#ifndef DETECTORS_ATTEMPT_H
#define DETECTORS_ATTEMPT_H

#include "base/http_client.h"
#include "detectors/webhook.h"

#define ATTEMPT_RETRY_AFTER_MAX_MS INT64_C(3600000)

struct attempt {
    int status; /* HTTP's or SMTP's; 0 = no answer */
    int64_t retry_after_ms; /* -1 = not said */
    enum err err;
    struct err_msg msg;
};

/* id: the idempotency key. body: as it lies in the outbox. */
void attempt_run(const struct detectors_receiver *r, const struct webhook_url *url,
                 struct http_client *client, const char *id, struct bytes body,
                 struct attempt *out);
bool attempt_is_taken(const struct attempt *a);
/* Not worth another attempt. */
bool attempt_is_final(const struct detectors_receiver *r, const struct attempt *a);

#endif
