/* Slices: a pointer and a size, never NUL-terminated, never owning.
 * Thread: any.  Failure: none.
 */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bytes {
    const uint8_t *data;
    size_t size;
};

#define BYTES_LIT(s) ((struct bytes){(const uint8_t *)("" s), sizeof(s) - 1})
#define BYTES_NONE ((struct bytes){NULL, 0})
#define BYTES_FMT "%.*s"
#define BYTES_ARG(b)                          \
    (int)((b).size > 4096 ? 4096 : (b).size), \
        (const char *)((b).data ? (b).data : (const uint8_t *)"")

static inline struct bytes bytes_of(const void *data, size_t size)
{
    return (struct bytes){(const uint8_t *)data, size};
}

static inline struct bytes bytes_str(const char *s)
{
    return (struct bytes){(const uint8_t *)s, s ? strlen(s) : 0};
}

static inline bool bytes_equal(struct bytes a, struct bytes b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

static inline bool bytes_equal_str(struct bytes a, const char *s)
{
    if (a.size ? a.data[0] != (uint8_t)*s : *s != 0)
        return false; /* before its length is known */
    return bytes_equal(a, bytes_str(s));
}

static inline int bytes_compare(struct bytes a, struct bytes b)
{
    size_t n = a.size < b.size ? a.size : b.size;
    int c = n ? memcmp(a.data, b.data, n) : 0;
    return c ? c : (a.size > b.size) - (a.size < b.size);
}

static inline struct bytes bytes_slice(struct bytes b, size_t from, size_t to)
{
    return (struct bytes){b.data ? b.data + from : NULL, to - from}; /* NULL + 0 is undefined */
}

bool bytes_has_prefix(struct bytes b, struct bytes prefix);
bool bytes_has_suffix(struct bytes b, struct bytes suffix);
bool bytes_equal_nocase(struct bytes a, struct bytes b); /* ASCII */
size_t bytes_find(struct bytes b, struct bytes needle); /* b.size when absent */
struct bytes bytes_trim(struct bytes b); /* ASCII blanks at both ends */
bool bytes_is_utf8(struct bytes b);
bool bytes_to_i64(struct bytes b, int64_t *out); /* whole slice, decimal */
bool bytes_to_u64(struct bytes b, uint64_t *out);
bool bytes_to_f64(struct bytes b,
                  double *out); /* whole slice; accepts NaN, Inf, +Inf, -Inf, hex refused */
void bytes_to_hex(struct bytes b, char *out); /* 2 * size chars and NUL */
bool bytes_from_hex(struct bytes hex, uint8_t *out, size_t out_size); /* exact length, any case */

/* Little-endian readers and writers; callers have checked the bounds. */
static inline uint32_t bytes_u32le(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}
static inline uint64_t bytes_u64le(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}
static inline void bytes_put_u32le(uint8_t *p, uint32_t v)
{
    memcpy(p, &v, 4);
}
static inline void bytes_put_u64le(uint8_t *p, uint64_t v)
{
    memcpy(p, &v, 8);
}
static inline void bytes_put_u64be(uint8_t *p, uint64_t v)
{
    v = __builtin_bswap64(v);
    memcpy(p, &v, 8);
}
static inline uint64_t bytes_u64be(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return __builtin_bswap64(v);
}

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "on-disk formats are little-endian and read directly");

#endif
