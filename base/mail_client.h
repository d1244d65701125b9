/* Hands one message to a mail server (SMTP, libcurl), for notifications.
 *
 * Owner: caller.  Thread: one handle, one thread at a time.
 * Failure: ERR_UNAVAILABLE (no connection, reset, TLS), ERR_TIMEOUT, ERR_INVALID (bad URL). An answer of 4xx or 5xx to a command is not an
 * error: look at *out_status. Messages of errors name the server, never a password.
 * Limits: MAIL_CLIENT_RECIPIENTS_MAX recipients; protocols smtp and smtps only.
 */
#ifndef BASE_MAIL_CLIENT_H
#define BASE_MAIL_CLIENT_H

#include "base/bytes.h"
#include "base/err.h"

#define MAIL_CLIENT_RECIPIENTS_MAX 8u

struct mail_client_message {
    const char *url; /* smtp://HOST[:PORT] or smtps://HOST[:PORT] */
    const char *from; /* bare addresses: a@example.com */
    const char *to[MAIL_CLIENT_RECIPIENTS_MAX]; /* NULL ends the list */
    const char *user, *password; /* NULL = without AUTH */
    bool needs_tls; /* smtp: STARTTLS or nothing */
    const char *ca_file; /* NULL = system */
    struct bytes text; /* RFC 5322, lines end in CR LF */
    int64_t timeout_ms; /* 0 = 10 s */
};

/* *out_status: the code of the last answer, 250 when the server has taken the message; 0 = it said nothing. */
enum err mail_client_send(const struct mail_client_message *m, int *out_status,
                          struct err_msg *msg) MUST_CHECK;

#endif
