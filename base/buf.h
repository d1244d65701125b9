/* A growable byte buffer with a sticky failure: append freely, check once at the end.
 *
 * Owner: caller (buf_done).  Thread: one at a time.
 * Failure: out of memory or over bytes_max sets .failed; later appends do nothing; buf_ok() tells.
 * Limits: bytes_max (0 = none).
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/bytes.h"
#include "base/err.h"

struct buf {
    uint8_t *data;
    size_t size, cap, bytes_max;
    bool failed;
};

void buf_init(struct buf *b, size_t bytes_max);
void buf_done(struct buf *b);
static inline bool buf_ok(const struct buf *b)
{
    return !b->failed;
}
static inline struct bytes buf_bytes(const struct buf *b)
{
    return (struct bytes){b->data, b->size};
}
bool buf_reserve(struct buf *b, size_t more); /* room for `more` bytes after size */
void buf_append(struct buf *b, const void *data, size_t size);
void buf_bytes_append(struct buf *b, struct bytes s);
void buf_str(struct buf *b, const char *s);
static inline void buf_u8(struct buf *b, uint8_t v)
{
    if (b->size < b->cap ? !b->failed : buf_reserve(b, 1))
        b->data[b->size++] = v;
}
void buf_u32(struct buf *b, uint32_t v); /* little-endian */
void buf_u64(struct buf *b, uint64_t v); /* little-endian */
void buf_f64(struct buf *b, double v);
/* A varint where BUF_VARINT_MAX bytes are reserved already; gives the place behind it. For loops over columns. */
#define BUF_VARINT_MAX 10u
static inline uint8_t *buf_write_varint(uint8_t *p, uint64_t v)
{
    while (v >= 128) {
        *p++ = (uint8_t)(v | 128);
        v >>= 7;
    }
    *p++ = (uint8_t)v;
    return p;
}
static inline uint8_t *buf_write_zigzag(uint8_t *p, int64_t v)
{
    return buf_write_varint(p, ((uint64_t)v << 1) ^ (uint64_t)(v >> 63));
}
void buf_varint(struct buf *b, uint64_t v); /* LEB128, as protobuf */
void buf_zigzag(struct buf *b, int64_t v);
void buf_lenbytes(struct buf *b, struct bytes s); /* varint length, then the bytes */
/* The varint length of what was appended since size was `at` goes before it: a message whose length is known when it is written. */
void buf_put_length(struct buf *b, size_t at);
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
void buf_clear(struct buf *b); /* size = 0, failure forgotten, memory kept */
/* Moves the memory out as malloc'ed; the buffer becomes empty. */
void *buf_take(struct buf *b, size_t *out_size);

/* Of a list of mistakes, one a line, the first as the message of e; where there is none: "`otherwise`: …". ERR_OK stays as it is. */
enum err buf_first_error(const struct buf *errors, enum err e, struct err_msg *msg,
                         const char *otherwise) MUST_CHECK;

/* A bounded reader over a slice, the mirror of the writers above. After any failed read .failed stays set and all reads give 0. */
struct reader {
    const uint8_t *at, *end;
    bool failed;
};
static inline struct reader reader_of(struct bytes b)
{
    return (struct reader){b.data, b.data ? b.data + b.size : NULL, false};
}
static inline size_t reader_left(const struct reader *r)
{
    return r->failed ? 0 : (size_t)(r->end - r->at);
}
/* What loops over attributes and columns call for each byte is here; the rest of a varint, which most do not have, is not. */
static inline const uint8_t *reader_take(struct reader *r, size_t n)
{
    if (r->failed || (size_t)(r->end - r->at) < n) {
        r->failed = true;
        return NULL;
    }
    const uint8_t *p = r->at;
    r->at += n;
    return p;
}
static inline uint8_t reader_u8(struct reader *r)
{
    const uint8_t *p = reader_take(r, 1);
    return p ? *p : 0;
}
static inline uint32_t reader_u32(struct reader *r)
{
    const uint8_t *p = reader_take(r, 4);
    return p ? bytes_u32le(p) : 0;
}
static inline uint64_t reader_u64(struct reader *r)
{
    const uint8_t *p = reader_take(r, 8);
    return p ? bytes_u64le(p) : 0;
}
double reader_f64(struct reader *r);
uint64_t reader_long_varint(struct reader *r); /* of any length */
static inline uint64_t reader_varint(struct reader *r)
{
    if (!r->failed && r->at < r->end && *r->at < 128)
        return *r->at++;
    return reader_long_varint(r);
}
static inline int64_t reader_zigzag(struct reader *r)
{
    uint64_t v = reader_varint(r);
    return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}
static inline struct bytes reader_bytes(struct reader *r, size_t size)
{
    const uint8_t *p = reader_take(r, size);
    return p ? (struct bytes){p, size} : BYTES_NONE;
}
static inline struct bytes reader_lenbytes(struct reader *r)
{
    uint64_t n = reader_varint(r);
    if (r->failed || n > (uint64_t)(r->end - r->at)) {
        r->failed = true;
        return BYTES_NONE;
    }
    return reader_bytes(r, (size_t)n);
}

#endif
