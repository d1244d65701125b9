/* The outgoing webhook: where it may go, how it is signed, what it says.
 *
 * Body: Alertmanager's webhook version 4. Signature: Standard Webhooks (webhook-id, webhook-timestamp, webhook-signature: v1,<base64 of
 * HMAC-SHA256 of "id.timestamp.body">, one a secret, separated by blanks).
 * Owner: caller.  Thread: any.
 * Failure: webhook_url_check, webhook_secret_check: ERR_INVALID with a sentence; webhook_connect_check: ERR_FORBIDDEN, ERR_UNAVAILABLE.
 */
#ifndef DETECTORS_WEBHOOK_H
#define DETECTORS_WEBHOOK_H

#include "base/json_out.h"
#include "detectors/alert.h"

#define WEBHOOK_SIGNATURES_MAX (DETECTORS_SECRETS_MAX * 48u)

struct webhook_url {
    char host[256]; /* without brackets */
    char port[8];
    bool is_tls;
};

enum err webhook_url_check(const char *url, struct webhook_url *out,
                           struct err_msg *msg) MUST_CHECK;
/* The same for a mail server: smtp:// or smtps:// and no path. */
enum err webhook_mail_url_check(const char *url, struct webhook_url *out,
                                struct err_msg *msg) MUST_CHECK;
/* Every address that the host resolves to must be allowed: link-local, multicast and unspecified never are; loopback, private and other
 * inward ranges only where allow_private. */
enum err webhook_connect_check(const struct webhook_url *url, bool allow_private,
                               struct err_msg *msg) MUST_CHECK;
/* An IPv4 (4 bytes) or IPv6 (16 bytes) address in network order. */
bool webhook_address_allowed(struct bytes address, bool allow_private);

enum err webhook_secret_check(const char *secret, struct err_msg *msg) MUST_CHECK;
/* "v1,... v1,..." for up to DETECTORS_SECRETS_MAX secrets (NULL ends the list); empty without secrets. */
void webhook_sign(const char *const *secrets, const char *id, int64_t timestamp_s,
                  struct bytes body, char out[WEBHOOK_SIGNATURES_MAX]);

struct webhook_text {
    const char *receiver, *external_url;
    const struct query_slo *slo;
};
/* What is said of an alert, to receivers of any kind (message.h). */
struct webhook_note {
    bool is_resolved;
    const struct query_slo_pair *labels, *annotations;
    size_t label_count, annotation_count, group_count; /* group_count: labels it is grouped by */
    int64_t starts_ms, ends_ms; /* ends_ms: once resolved */
    const char *link, *fingerprint;
    const char *event; /* "firing", "repeat-2", "resolved", "test" */
    int64_t now_ms;
    struct bytes group_key;
};
/* The note about an alert; event and now_ms are the caller's. In the arena. */
enum err webhook_note_of(const struct alert *a, const struct webhook_text *t, struct arena *arena,
                         struct webhook_note *out) MUST_CHECK;
/* As version 4 of Alertmanager's webhook, one alert a body. */
void webhook_note_body(const struct webhook_note *n, const char *receiver, const char *external_url,
                       struct buf *out);
void webhook_heartbeat_body(const char *receiver, const char *external_url, int64_t now_ms,
                            struct buf *out);
/* Labels and annotations as they are sent, for the API. The strings live in the arena. */
enum err webhook_labels(const struct alert *a, const struct query_slo *slo, struct arena *arena,
                        struct query_slo_pair **out, size_t *out_count) MUST_CHECK;
enum err webhook_annotations(const struct alert *a, const struct webhook_text *t,
                             struct arena *arena, struct query_slo_pair **out,
                             size_t *out_count) MUST_CHECK;

#endif
