/* A mail server on 127.0.0.1 that remembers one conversation after the other.
 *
 * Owner: the test.  Thread: one of its own; what it heard is copied out under a lock.
 * Failure: CHECKs.
 */
#ifndef TESTS_HELPER_MAIL_H
#define TESTS_HELPER_MAIL_H

#include "base/bytes.h"

#define HELPER_MAIL_MAX 16

struct helper_mail;

struct helper_mail_message {
    char commands[1024]; /* EHLO … DATA, a line each */
    char text[16384]; /* what came after DATA, without the dot */
};

/* codes: what it answers to the end of DATA, in order, the last one for ever. */
struct helper_mail *helper_mail_new(const int *codes, size_t count);
void helper_mail_free(struct helper_mail *m);
const char *helper_mail_url(struct helper_mail *m);
bool helper_mail_wait(struct helper_mail *m, size_t n, int64_t timeout_ms);
void helper_mail_get(struct helper_mail *m, size_t i, struct helper_mail_message *out);

#endif
