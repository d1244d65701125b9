#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void buf_init(struct buf *b, size_t bytes_max)
{
    *b = (struct buf){.bytes_max = bytes_max ? bytes_max : SIZE_MAX / 4};
}

void buf_done(struct buf *b)
{
    free(b->data);
    *b = (struct buf){.bytes_max = b->bytes_max};
}

bool buf_reserve(struct buf *b, size_t more)
{
    if (b->failed)
        return false;
    size_t limit =
        b->bytes_max ? b->bytes_max : SIZE_MAX / 4; /* a zeroed struct buf is a valid empty one */
    if (b->size > limit || more > limit - b->size) {
        b->failed = true;
        return false;
    }
    size_t need = b->size + more;
    if (need <= b->cap)
        return true;
    size_t cap = b->cap ? b->cap * 2 : 64;
    while (cap < need)
        cap *= 2;
    cap = cap < limit ? cap : limit; /* what is below cap may be written */
    uint8_t *p = realloc(b->data, cap);
    if (!p) {
        b->failed = true;
        return false;
    }
    b->data = p;
    b->cap = cap;
    return true;
}

void buf_append(struct buf *b, const void *data, size_t size)
{
    if (size && buf_reserve(b, size)) {
        memcpy(b->data + b->size, data, size);
        b->size += size;
    }
}

void buf_bytes_append(struct buf *b, struct bytes s)
{
    buf_append(b, s.data, s.size);
}

void buf_str(struct buf *b, const char *s)
{
    buf_append(b, s, strlen(s));
}

void buf_u32(struct buf *b, uint32_t v)
{
    if (buf_reserve(b, 4)) {
        bytes_put_u32le(b->data + b->size, v);
        b->size += 4;
    }
}

void buf_u64(struct buf *b, uint64_t v)
{
    if (buf_reserve(b, 8)) {
        bytes_put_u64le(b->data + b->size, v);
        b->size += 8;
    }
}

void buf_f64(struct buf *b, double v)
{
    uint64_t bits;
    memcpy(&bits, &v, 8);
    buf_u64(b, bits);
}

void buf_varint(struct buf *b, uint64_t v)
{
    if (!buf_reserve(b, 10))
        return;
    while (v >= 128) {
        b->data[b->size++] = (uint8_t)(v | 128);
        v >>= 7;
    }
    b->data[b->size++] = (uint8_t)v;
}

void buf_zigzag(struct buf *b, int64_t v)
{
    buf_varint(b, ((uint64_t)v << 1) ^ (uint64_t)(v >> 63));
}

void buf_lenbytes(struct buf *b, struct bytes s)
{
    buf_varint(b, s.size);
    buf_bytes_append(b, s);
}

void buf_put_length(struct buf *b, size_t at)
{
    uint8_t length[BUF_VARINT_MAX];
    if (!buf_ok(b))
        return;
    size_t size = b->size - at, width = (size_t)(buf_write_varint(length, size) - length);
    if (!buf_reserve(b, width))
        return;
    memmove(b->data + at + width, b->data + at, size);
    memcpy(b->data + at, length, width);
    b->size += width;
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n >= 0 && buf_reserve(b, (size_t)n + 1)) {
        vsnprintf((char *)b->data + b->size, (size_t)n + 1, fmt, again);
        b->size += (size_t)n;
    }
    va_end(again);
}

void buf_clear(struct buf *b)
{
    b->size = 0;
    b->failed = false;
}

void *buf_take(struct buf *b, size_t *out_size)
{
    void *p = b->data;
    *out_size = b->size;
    *b = (struct buf){.bytes_max = b->bytes_max};
    return p;
}

double reader_f64(struct reader *r)
{
    uint64_t bits = reader_u64(r);
    double v;
    memcpy(&v, &bits, 8);
    return v;
}

uint64_t reader_long_varint(struct reader *r)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        const uint8_t *p = reader_take(r, 1);
        if (!p)
            return 0;
        if (shift == 63 && *p > 1) /* would not fit 64 bits */
            break;
        v |= (uint64_t)(*p & 127) << shift;
        if (*p < 128)
            return v;
    }
    r->failed = true;
    return 0;
}

enum err buf_first_error(const struct buf *errors, enum err e, struct err_msg *msg,
                         const char *otherwise)
{
    struct bytes first = buf_bytes(errors);
    first.size = bytes_find(first, BYTES_LIT("\n"));
    if (e == ERR_OK)
        return e;
    return first.size ? err_set(msg, e, BYTES_FMT, BYTES_ARG(first))
                      : err_set(msg, e, "%s: %s", otherwise, err_text(e));
}
