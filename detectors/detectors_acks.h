/* Acknowledgements: somebody works on an alert. It is not repeated any more, and receivers that wait (`after`) are not told.
 *
 * By the API, or by a link in the notification that is signed for one alert and one receiver until a moment.
 * Owner: the detectors.  Thread: any.
 * Failure: ERR_NOT_FOUND: no alert with this fingerprint fires; ERR_INVALID with a sentence; the store's; then nothing has changed.
 * Limits: DETECTORS_ACKS_MAX, the oldest is forgotten.
 * Invariant: what is answered with ERR_OK is committed.
 */
#ifndef DETECTORS_DETECTORS_ACKS_H
#define DETECTORS_DETECTORS_ACKS_H

#include "detectors/detectors.h"

#define DETECTORS_ACKS_MAX 10000u
#define DETECTORS_ACK_BY_MAX 128u
#define DETECTORS_ACK_SIGNATURE_MAX 65u
#define DETECTORS_ACK_LINK_MS (7 * INT64_C(86400000)) /* after the alert began */

struct detectors_ack {
    char fingerprint[33], by[DETECTORS_ACK_BY_MAX];
    int64_t at_ms;
};

enum err detectors_ack_put(struct detectors *d, struct bytes fingerprint, struct bytes by,
                           struct err_msg *msg) MUST_CHECK;
bool detectors_ack_get(struct detectors *d, struct bytes fingerprint, struct detectors_ack *out);
/* What a link carries: by whom, until when, and that it was made here. */
void detectors_ack_sign(struct detectors *d, struct bytes fingerprint, struct bytes receiver,
                        int64_t until_s, char out[DETECTORS_ACK_SIGNATURE_MAX]);
bool detectors_ack_is_signed(struct detectors *d, struct bytes fingerprint, struct bytes receiver,
                             int64_t until_s, struct bytes signature, int64_t now_ms);
/* A webhook (version 3) of PagerDuty for the receiver of that name: its incident was acknowledged or resolved, so the alert is acknowledged. signatures:
 * the header X-PagerDuty-Signature. ERR_FORBIDDEN: not signed with a secret of the receiver. *out_taken false: it is about something else. */
enum err detectors_ack_pagerduty(struct detectors *d, struct bytes receiver,
                                 struct bytes signatures, struct bytes body, bool *out_taken,
                                 struct err_msg *msg) MUST_CHECK;

#endif
