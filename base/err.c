#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"

static const struct {
    const char *name, *text;
    int http, grpc;
} errs[] = {
#define X(code, text, http, grpc) {#code, text, http, grpc},
    ERR_TABLE(X)
#undef X
};

const char *err_name(enum err e)
{
    return (size_t)e < ARRAY_LEN(errs) ? errs[e].name : "INTERNAL";
}

const char *err_text(enum err e)
{
    return (size_t)e < ARRAY_LEN(errs) ? errs[e].text : "internal error";
}

int err_http_status(enum err e)
{
    return (size_t)e < ARRAY_LEN(errs) ? errs[e].http : 500;
}

int err_grpc_status(enum err e)
{
    return (size_t)e < ARRAY_LEN(errs) ? errs[e].grpc : 13;
}

enum err err_set(struct err_msg *msg, enum err e, const char *fmt, ...)
{
    if (!msg)
        return e;
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(msg->text, sizeof(msg->text), fmt, ap);
    va_end(ap);
    if (n >= (int)sizeof(msg->text))
        memcpy(msg->text + sizeof(msg->text) - 4, "...", 4);
    return e;
}
