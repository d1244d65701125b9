#include "base/json_out.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/float_text.h"

struct json_out json_out_to(struct buf *buf)
{
    return (struct json_out){.buf = buf};
}

static void value_begin(struct json_out *j)
{
    if (j->need_comma)
        buf_u8(j->buf, ',');
    j->need_comma = true;
}

static void open_with(struct json_out *j, uint8_t c)
{
    value_begin(j);
    CHECK(j->depth < JSON_OUT_DEPTH_MAX);
    j->depth++;
    buf_u8(j->buf, c);
    j->need_comma = false;
}

static void close_with(struct json_out *j, uint8_t c)
{
    CHECK(j->depth > 0);
    j->depth--;
    buf_u8(j->buf, c);
    j->need_comma = true;
}

void json_out_object(struct json_out *j)
{
    open_with(j, '{');
}

void json_out_object_end(struct json_out *j)
{
    close_with(j, '}');
}

void json_out_array(struct json_out *j)
{
    open_with(j, '[');
}

void json_out_array_end(struct json_out *j)
{
    close_with(j, ']');
}

/* Bytes of the valid UTF-8 sequence at p, or 0. */
static size_t utf8_at(const uint8_t *p, size_t left)
{
    for (size_t n = 2; n <= 4 && n <= left; n++)
        if ((p[n - 1] & 0xc0) != 0x80)
            break;
        else if (bytes_is_utf8(bytes_of(p, n)))
            return n;
    return 0;
}

static void quoted(struct buf *b, struct bytes s)
{
    size_t plain = 0; /* start of the run not yet copied */
    buf_u8(b, '"');
    for (size_t i = 0; i < s.size;) {
        uint8_t c = s.data[i];
        if (c >= 0x20 && c < 0x80 && c != '"' && c != '\\' && c != 0x7f && c != '<' && c != '>' &&
            c != '&') {
            i++;
            continue;
        }
        size_t n = c >= 0x80 ? utf8_at(s.data + i, s.size - i) : 0;
        if (n) {
            i += n;
            continue;
        }
        buf_bytes_append(b, bytes_slice(s, plain, i));
        if (c == '"' || c == '\\') {
            buf_u8(b, '\\');
            buf_u8(b, c);
        } else if (c == '\n' || c == '\r' || c == '\t') {
            buf_u8(b, '\\');
            buf_u8(b, c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
        } else if (c < 0x80) { /* control bytes, and <>& so that JSON may stand inside HTML */
            buf_printf(b, "\\u%04x", c);
        } else {
            buf_str(b, "\xef\xbf\xbd");
        }
        plain = ++i;
    }
    buf_bytes_append(b, bytes_slice(s, plain, s.size));
    buf_u8(b, '"');
}

void json_out_key_bytes(struct json_out *j, struct bytes key)
{
    value_begin(j);
    quoted(j->buf, key);
    buf_u8(j->buf, ':');
    j->need_comma = false;
}

void json_out_key(struct json_out *j, const char *key)
{
    json_out_key_bytes(j, bytes_str(key));
}

void json_out_bytes(struct json_out *j, struct bytes s)
{
    value_begin(j);
    quoted(j->buf, s);
}

void json_out_str(struct json_out *j, const char *s)
{
    if (s)
        json_out_bytes(j, bytes_str(s));
    else
        json_out_null(j);
}

void json_out_i64(struct json_out *j, int64_t v)
{
    value_begin(j);
    buf_printf(j->buf, "%lld", (long long)v);
}

void json_out_u64(struct json_out *j, uint64_t v)
{
    value_begin(j);
    buf_printf(j->buf, "%llu", (unsigned long long)v);
}

void json_out_i64_str(struct json_out *j, int64_t v)
{
    value_begin(j);
    buf_printf(j->buf, "\"%lld\"", (long long)v);
}

void json_out_f64(struct json_out *j, double v)
{
    if (!isfinite(v)) {
        json_out_null(j);
        return;
    }
    char text[JSON_OUT_PROM_FLOAT_MAX];
    value_begin(j);
    buf_append(j->buf, text, json_out_prom_float(v, text));
}

void json_out_bool(struct json_out *j, bool v)
{
    value_begin(j);
    buf_str(j->buf, v ? "true" : "false");
}

void json_out_null(struct json_out *j)
{
    value_begin(j);
    buf_str(j->buf, "null");
}

void json_out_raw(struct json_out *j, struct bytes json)
{
    value_begin(j);
    buf_bytes_append(j->buf, json);
}

void json_out_printf(struct json_out *j, const char *fmt, ...)
{
    char small[512], *text = small;
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(small, sizeof(small), fmt, ap);
    va_end(ap);
    if (n >= (int)sizeof(small)) {
        text = malloc((size_t)n + 1);
        if (text)
            vsnprintf(text, (size_t)n + 1, fmt, again);
        else
            j->buf->failed = true;
    }
    va_end(again);
    if (n >= 0 && text)
        json_out_bytes(j, bytes_of(text, (size_t)n));
    if (text != small)
        free(text);
}

size_t json_out_prom_float(double v, char *out)
{
    if (isnan(v))
        return (size_t)snprintf(out, JSON_OUT_PROM_FLOAT_MAX, "NaN");
    if (isinf(v))
        return (size_t)snprintf(out, JSON_OUT_PROM_FLOAT_MAX, v > 0 ? "+Inf" : "-Inf");
    if (v == 0)
        return (size_t)snprintf(out, JSON_OUT_PROM_FLOAT_MAX, signbit(v) ? "-0" : "0");
    char sci[FLOAT_TEXT_MAX], digits[24];
    size_t n = 0, o = 0, size = float_text_shortest(v, sci);
    char *e = memchr(sci, 'e', size);
    int exponent = atoi(e + 1);
    for (char *p = sci; p < e; p++)
        if (*p >= '0' && *p <= '9' && n < sizeof(digits))
            digits[n++] = *p;
    while (n > 1 && digits[n - 1] == '0')
        n--;
    if (v < 0)
        out[o++] = '-';
    if (fabs(v) < 1e-6 || fabs(v) >= 1e21) {
        out[o++] = digits[0];
        if (n > 1) {
            out[o++] = '.';
            memcpy(out + o, digits + 1, n - 1);
            o += n - 1;
        }
        return o + (size_t)snprintf(out + o, JSON_OUT_PROM_FLOAT_MAX - o, "e%c%02d",
                                    exponent < 0 ? '-' : '+', abs(exponent));
    }
    int point = exponent + 1; /* digits before the decimal point */
    if (point <= 0) {
        out[o++] = '0';
        out[o++] = '.';
        for (int i = point; i < 0; i++)
            out[o++] = '0';
    }
    for (int i = 0; i < (int)n || i < point; i++) {
        if (i == point && point > 0)
            out[o++] = '.';
        out[o++] = i < (int)n ? digits[i] : '0';
    }
    out[o] = 0;
    return o;
}
