#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>

void check_failed(const char *expr, const char *file, int line, const char *func)
{
    fprintf(stderr,
            "telltale: internal error: check failed: %s at %s:%d in %s; please report it with this "
            "line\n",
            expr, file, line, func);
    fflush(stderr);
    abort();
}
