#include "base/bytes.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>

bool bytes_has_prefix(struct bytes b, struct bytes prefix)
{
    return b.size >= prefix.size && bytes_equal(bytes_slice(b, 0, prefix.size), prefix);
}

bool bytes_has_suffix(struct bytes b, struct bytes suffix)
{
    return b.size >= suffix.size &&
           bytes_equal(bytes_slice(b, b.size - suffix.size, b.size), suffix);
}

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}

bool bytes_equal_nocase(struct bytes a, struct bytes b)
{
    if (a.size != b.size)
        return false;
    for (size_t i = 0; i < a.size; i++)
        if (lower(a.data[i]) != lower(b.data[i]))
            return false;
    return true;
}

size_t bytes_find(struct bytes b, struct bytes needle)
{
    if (needle.size == 0)
        return 0;
    const uint8_t *p = b.size ? memmem(b.data, b.size, needle.data, needle.size) : NULL;
    return p ? (size_t)(p - b.data) : b.size;
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct bytes bytes_trim(struct bytes b)
{
    while (b.size && is_blank(b.data[0]))
        b = bytes_slice(b, 1, b.size);
    while (b.size && is_blank(b.data[b.size - 1]))
        b.size--;
    return b;
}

/* Length of the valid UTF-8 sequence at p, 0 if it is none (overlong forms, surrogates and > U+10FFFF refused). */
static size_t utf8_step(const uint8_t *p, size_t left)
{
    uint8_t c = p[0];
    if (c < 0x80)
        return 1;
    if (c >= 0xc2 && c <= 0xdf)
        return left >= 2 && (p[1] & 0xc0) == 0x80 ? 2 : 0;
    if (c >= 0xe0 && c <= 0xef) {
        if (left < 3 || (p[1] & 0xc0) != 0x80 || (p[2] & 0xc0) != 0x80)
            return 0;
        return (c == 0xe0 && p[1] < 0xa0) || (c == 0xed && p[1] > 0x9f) ? 0 : 3;
    }
    if (c >= 0xf0 && c <= 0xf4) {
        if (left < 4 || (p[1] & 0xc0) != 0x80 || (p[2] & 0xc0) != 0x80 || (p[3] & 0xc0) != 0x80)
            return 0;
        return (c == 0xf0 && p[1] < 0x90) || (c == 0xf4 && p[1] > 0x8f) ? 0 : 4;
    }
    return 0;
}

bool bytes_is_utf8(struct bytes b)
{
    size_t i = 0;
    while (i < b.size) {
        if (b.size - i >= 8 && !(bytes_u64le(b.data + i) & 0x8080808080808080u)) {
            i += 8;
            continue;
        }
        size_t n = utf8_step(b.data + i, b.size - i);
        if (!n)
            return false;
        i += n;
    }
    return true;
}

bool bytes_to_u64(struct bytes b, uint64_t *out)
{
    uint64_t v = 0;
    if (b.size == 0)
        return false;
    for (size_t i = 0; i < b.size; i++) {
        uint8_t d = (uint8_t)(b.data[i] - '0');
        if (d > 9 || __builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, d, &v))
            return false;
    }
    *out = v;
    return true;
}

bool bytes_to_i64(struct bytes b, int64_t *out)
{
    bool negative = b.size && b.data[0] == '-';
    uint64_t v;
    if (b.size && (b.data[0] == '-' || b.data[0] == '+'))
        b = bytes_slice(b, 1, b.size);
    if (!bytes_to_u64(b, &v) || v > (uint64_t)INT64_MAX + negative)
        return false;
    *out = negative ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

static locale_t c_locale(void)
{
    static locale_t c;
    if (!c)
        c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    return c;
}
/* Made before any thread exists, so that the lazy path above never races. */
__attribute__((constructor)) static void c_locale_init(void)
{
    (void)c_locale();
}

bool bytes_to_f64(struct bytes b, double *out)
{
    char text[512];
    if (b.size == 0 || b.size >= sizeof(text) || is_blank(b.data[0]))
        return false;
    memcpy(text, b.data, b.size);
    text[b.size] = 0;
    struct bytes rest = b;
    if (rest.data[0] == '+' || rest.data[0] == '-')
        rest = bytes_slice(rest, 1, rest.size);
    if (bytes_equal_nocase(rest, BYTES_LIT("nan"))) {
        *out = NAN;
        return true;
    }
    if (bytes_equal_nocase(rest, BYTES_LIT("inf")) ||
        bytes_equal_nocase(rest, BYTES_LIT("infinity"))) {
        *out = b.data[0] == '-' ? -INFINITY : INFINITY;
        return true;
    }
    for (size_t i = 0; i < rest.size; i++)
        if (!strchr("0123456789.eE+-", rest.data[i]) || rest.data[i] == 0)
            return false;
    char *end;
    double v = strtod_l(text, &end, c_locale());
    if (end != text + b.size)
        return false;
    *out = v;
    return true;
}

void bytes_to_hex(struct bytes b, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < b.size; i++) {
        *out++ = digits[b.data[i] >> 4];
        *out++ = digits[b.data[i] & 15];
    }
    *out = 0;
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool bytes_from_hex(struct bytes hex, uint8_t *out, size_t out_size)
{
    if (hex.size != out_size * 2)
        return false;
    for (size_t i = 0; i < hex.size; i++)
        if (hex_digit(hex.data[i]) < 0)
            return false;
    for (size_t i = 0; i < out_size; i++)
        out[i] = (uint8_t)(hex_digit(hex.data[2 * i]) << 4 | hex_digit(hex.data[2 * i + 1]));
    return true;
}
