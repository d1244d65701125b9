/* One table of every error that crosses a function boundary, with the HTTP and gRPC status it maps to.
 *
 * Owner: callers.  Thread: any.  Failure: none.
 * Limits: struct err_msg holds ERR_MSG_MAX bytes; longer text is cut and ends in "...".
 * Invariants: 1. ERR_OK is 0. 2. A function that returns enum err writes its out_ parameters only on ERR_OK.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdbool.h>
#include <stddef.h>

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

/*    code              text                            HTTP gRPC  what it means */
#define ERR_TABLE(X)                                                                  \
    X(OK, "ok", 200, 0)                                                               \
    X(INVALID, "invalid argument", 400, 3) /* the peer's bytes or parameters */       \
    X(CORRUPT, "corrupt data", 500, 15) /* our own disk's bytes */                    \
    X(NEWER, "written by a newer version of Telltale", 500, 12) /* on our own disk */ \
    X(TOO_DEEP, "nested too deeply", 400, 3)                                          \
    X(TOO_LARGE, "too large", 413, 8) /* not retryable */                             \
    X(UNSUPPORTED_MEDIA, "unsupported media type", 415, 12)                           \
    X(UNSUPPORTED_ENCODING, "unsupported content encoding", 400, 12)                  \
    X(NOT_FOUND, "not found", 404, 5)                                                 \
    X(METHOD, "method not allowed", 405, 12)                                          \
    X(UNAUTHENTICATED, "missing or unknown credential", 401, 16)                      \
    X(FORBIDDEN, "not permitted", 403, 7)                                             \
    X(CONFLICT, "conflict", 409, 6)                                                   \
    X(LIMIT, "limit reached", 429, 8) /* retryable later */                           \
    X(UNAVAILABLE, "unavailable", 503, 14) /* retryable: back-pressure */             \
    X(FULL, "disk or map full", 503, 14)                                              \
    X(TIMEOUT, "deadline exceeded", 503, 4)                                           \
    X(CANCELLED, "cancelled", 499, 1)                                                 \
    X(EXECUTION, "cannot be executed", 422, 9) /* a query that is legal but fails */  \
    X(UNIMPLEMENTED, "not implemented", 501, 12)                                      \
    X(NOMEM, "out of memory", 503, 14)                                                \
    X(IO, "input/output error", 503, 14)                                              \
    X(INTERNAL, "internal error", 500, 13)

enum err {
#define X(code, text, http, grpc) ERR_##code,
    ERR_TABLE(X)
#undef X
};

#define ERR_MSG_MAX 384

/* A sentence for a human: what and where. Filled beside a returned error; NULL means nobody wants it. */
struct err_msg {
    char text[ERR_MSG_MAX];
};

const char *err_name(enum err e); /* "INVALID" */
const char *err_text(enum err e); /* "invalid argument" */
int err_http_status(enum err e);
int err_grpc_status(enum err e);

/* Writes the message (if msg is not NULL) and returns e, so that `return err_set(msg, ERR_INVALID, "...")` reads well. */
enum err err_set(struct err_msg *msg, enum err e, const char *fmt, ...) PRINTF_LIKE(3, 4);

#endif
