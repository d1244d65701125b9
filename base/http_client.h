/* A blocking HTTP client (libcurl) for outgoing webhooks, the demo's OTLP, and the command line.
 *
 * Owner: caller.  Thread: one handle, one thread at a time.
 * Failure: ERR_UNAVAILABLE (no connection, reset), ERR_TIMEOUT, ERR_TOO_LARGE (response past response_max), ERR_INVALID (bad URL).
 * An HTTP status of 4xx/5xx is not an error: look at out->status.
 * Limits: response_max bytes kept; no redirects; protocols http and https only.
 */
#ifndef BASE_HTTP_CLIENT_H
#define BASE_HTTP_CLIENT_H

#include "base/buf.h"

struct http_client;

struct http_client_request {
    const char *method, *url;
    const char *const *headers; /* NULL-terminated "Name: value" list, or NULL */
    struct bytes body;
    int64_t timeout_ms; /* whole exchange; 0 = 10 s */
    size_t response_max; /* 0 = 64 KiB */
    const char *ca_file; /* NULL = system */
    bool insecure; /* tests with self-made certificates */
};

struct http_client_response {
    int status;
    int64_t retry_after_s; /* -1 when absent */
    char content_type[128];
    struct buf body; /* caller: buf_done */
};

struct http_client *http_client_new(
    void); /* NULL when out of memory; keeps connections alive between calls */
void http_client_free(struct http_client *c);
enum err http_client_send(struct http_client *c, const struct http_client_request *req,
                          struct http_client_response *out, struct err_msg *msg) MUST_CHECK;

#endif
