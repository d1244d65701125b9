#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

static _Atomic int level_max = LOG_LEVEL_INFO;

void log_set_level(enum log_level level)
{
    atomic_store(&level_max, (int)level);
}

/* Control bytes could forge a second line or move a terminal's cursor: they are written as \xNN. */
static size_t escape(const char *in, char *out, size_t out_size)
{
    size_t n = 0;
    for (; *in && n + 5 < out_size; in++) {
        unsigned char c = (unsigned char)*in;
        if (c < 0x20 || c == 0x7f)
            n += (size_t)snprintf(out + n, out_size - n, c == '\n' ? "\\n" : "\\x%02x", c);
        else
            out[n++] = (char)c;
    }
    return n;
}

void log_line(enum log_level level, const char *component, const char *fmt, ...)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    if ((int)level > atomic_load_explicit(&level_max, memory_order_relaxed))
        return;
    char text[2048], line[4096], when[CLOCK_RFC3339_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    clock_rfc3339(clock_wall_ms(), when);
    size_t n = (size_t)snprintf(line, sizeof(line), "%s %-5s %s: ", when, names[level], component);
    n += escape(text, line + n, sizeof(line) - n - 1);
    line[n++] = '\n';
    if (write(STDERR_FILENO, line, n) < 0) { /* nowhere left to say it */
    }
}
