#include "tsdb/block_ints.h"

#define HEAD_SIGNED 64u
#define HEAD_RUNS 128u
#define HEAD_ZEROS 255u
#define K_MAX 62u

_Static_assert((HEAD_SIGNED | HEAD_RUNS | K_MAX) < HEAD_ZEROS,
               "the head of a stream of zeros is its own");

static inline uint64_t fold(uint64_t v)
{
    return (v << 1) ^ (uint64_t)((int64_t)v >> 63);
}

static inline uint64_t unfold(uint64_t v)
{
    return (v >> 1) ^ (0 - (v & 1));
}

static inline unsigned width_of(uint64_t v)
{
    return v ? 64 - (unsigned)__builtin_clzll(v) : 0;
}

/* --- choosing ------------------------------------------------------------------------------------ */

struct tally { /* values by their width in bits */
    uint32_t count[65];
    uint64_t sum[65];
    unsigned widest;
};

struct plan {
    uint64_t bits; /* about */
    uint8_t head, gap_k;
};

static void tally_values(struct tally *t, const uint64_t *u, uint32_t n, bool is_signed)
{
    *t = (struct tally){0};
    for (uint32_t i = 0; i < n; i++) {
        uint64_t v = is_signed ? fold(u[i]) : u[i];
        unsigned w = width_of(v);
        t->count[w]++;
        t->sum[w] += v;
        t->widest = w > t->widest ? w : t->widest;
    }
}

static uint64_t rice_bits(const struct tally *t, unsigned from, unsigned k)
{
    uint64_t bits = 0;
    for (unsigned w = from; w <= t->widest; w++)
        bits += w <= k + 5 ? (t->sum[w] >> k) + (uint64_t)t->count[w] * (1 + k)
                           : (uint64_t)t->count[w] * (BLOCK_INTS_ESCAPE + 64);
    return bits;
}

/* The best parameter lies between the width of a middle value and that of a large one. */
static unsigned best_k(const struct tally *t, unsigned from, uint64_t *out_bits)
{
    uint64_t n = 0, below = 0, best = UINT64_MAX;
    unsigned lo = from, hi, k = 0;
    for (unsigned w = from; w <= t->widest; w++)
        n += t->count[w];
    while (lo < t->widest && (below += t->count[lo]) * 2 < n)
        lo++;
    for (hi = lo, below = 0; hi < t->widest && hi < lo + 8;)
        hi++;
    lo = lo > 2 ? lo - 2 : 0;
    for (unsigned at = lo; at <= hi && at <= K_MAX; at++) {
        uint64_t bits = rice_bits(t, from, at);
        if (bits < best) {
            best = bits;
            k = at;
        }
    }
    *out_bits = best;
    return k;
}

static void plan_better(struct plan *p, const uint64_t *u, uint32_t n, bool is_signed)
{
    struct tally t;
    uint64_t bits;
    uint8_t sign = is_signed ? HEAD_SIGNED : 0;
    tally_values(&t, u, n, is_signed);
    if (t.count[0] == n) {
        *p = (struct plan){0, HEAD_ZEROS, 0};
        return;
    }
    unsigned k = best_k(&t, 0, &bits);
    if (bits < p->bits)
        *p = (struct plan){bits, (uint8_t)(sign | k), 0};
    uint64_t zeros = t.count[0], others = n - zeros;
    if (zeros * 2 < n)
        return;
    k = best_k(&t, 1, &bits);
    unsigned gap_k = width_of(zeros / others * 11 / 16);
    bits += 8 + others * (1 + gap_k) + (zeros >> gap_k);
    if (bits < p->bits)
        *p = (struct plan){bits, (uint8_t)(HEAD_RUNS | sign | k), (uint8_t)gap_k};
}

/* --- writing ------------------------------------------------------------------------------------- */

struct bits_out {
    uint8_t *to;
    uint64_t acc;
    unsigned count; /* < 8 between calls */
};

static inline void put_bits(struct bits_out *b, uint64_t v, unsigned n) /* n <= 56 */
{
    b->acc |= v << b->count;
    b->count += n;
    memcpy(b->to, &b->acc, 8);
    b->to += b->count >> 3;
    b->acc >>= b->count & ~7u;
    b->count &= 7;
}

static inline void put_rice(struct bits_out *b, uint64_t v, unsigned k)
{
    uint64_t q = v >> k, low = v & ((UINT64_C(1) << k) - 1);
    if (q >= BLOCK_INTS_ESCAPE) {
        put_bits(b, (1u << BLOCK_INTS_ESCAPE) - 1, BLOCK_INTS_ESCAPE);
        put_bits(b, v & UINT32_MAX, 32);
        put_bits(b, v >> 32, 32);
        return;
    }
    put_bits(b, (UINT64_C(1) << q) - 1, (unsigned)q + 1);
    if (k > 32) {
        put_bits(b, low & UINT32_MAX, 32);
        put_bits(b, low >> 32, k - 32);
    } else {
        put_bits(b, low, k);
    }
}

void block_ints_put(struct buf *out, const uint64_t *u, uint32_t n)
{
    struct plan p = {UINT64_MAX, 0, 0};
    uint32_t negative = 0;
    if (n == 0)
        return;
    for (uint32_t i = 0; i < n; i++)
        negative += (uint32_t)(u[i] >> 63);
    if (negative <= n / 16)
        plan_better(&p, u, n, false);
    if (negative)
        plan_better(&p, u, n, true);
    buf_u8(out, p.head);
    /* a code has at most BLOCK_INTS_ESCAPE + 64 bits; with runs there are two a value, the last 8 bytes are scratch of put_bits */
    if (p.head == HEAD_ZEROS || !buf_reserve(out, (size_t)n * 22 + 40))
        return;
    bool is_signed = p.head & HEAD_SIGNED, has_runs = p.head & HEAD_RUNS;
    unsigned k = p.head & 63;
    if (has_runs)
        buf_u8(out, p.gap_k);
    struct bits_out b = {out->data + out->size, 0, 0};
    uint64_t gap = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t v = is_signed ? fold(u[i]) : u[i];
        if (!has_runs) {
            put_rice(&b, v, k);
        } else if (v == 0) {
            gap++;
        } else {
            put_rice(&b, gap, p.gap_k);
            put_rice(&b, v - 1, k);
            gap = 0;
        }
    }
    if (gap)
        put_rice(&b, gap, p.gap_k);
    out->size = (size_t)(b.to - out->data) + (b.count > 0);
}

/* --- reading ------------------------------------------------------------------------------------- */

struct bits_in {
    const uint8_t *data;
    size_t size; /* bytes */
    uint64_t at; /* bit; may pass the end, where all bits are 0 */
};

static inline uint64_t peek(const struct bits_in *b) /* at least 57 bits */
{
    size_t at = (size_t)(b->at >> 3);
    uint64_t w = 0;
    if (at + 8 <= b->size)
        memcpy(&w, b->data + at, 8);
    else if (at < b->size)
        memcpy(&w, b->data + at, b->size - at);
    return w >> (b->at & 7);
}

static inline uint64_t take_bits(struct bits_in *b, unsigned n) /* n <= 32 */
{
    uint64_t w = peek(b) & ((UINT64_C(1) << n) - 1);
    b->at += n;
    return w;
}

static inline uint64_t get_rice(struct bits_in *b, unsigned k)
{
    uint64_t w = peek(b);
    unsigned q = (unsigned)__builtin_ctzll(~w | UINT64_C(1) << 63);
    if (q >= BLOCK_INTS_ESCAPE) {
        b->at += BLOCK_INTS_ESCAPE;
        uint64_t low = take_bits(b, 32);
        return low | take_bits(b, 32) << 32;
    }
    b->at += q + 1;
    if (q + 1 + k <= 57) {
        b->at += k;
        return (uint64_t)q << k | ((w >> (q + 1)) & ((UINT64_C(1) << k) - 1));
    }
    uint64_t low = take_bits(b, k > 32 ? 32 : k);
    if (k > 32)
        low |= take_bits(b, k - 32) << 32;
    return (uint64_t)q << k | low;
}

static bool get_runs(struct bits_in *b, uint64_t *out, uint32_t n, unsigned k, unsigned gap_k)
{
    for (uint32_t i = 0; i < n;) {
        uint64_t gap = get_rice(b, gap_k);
        if (gap > n - i)
            return false;
        memset(out + i, 0, gap * sizeof(*out));
        i += (uint32_t)gap;
        if (i < n)
            out[i++] = get_rice(b, k) + 1;
    }
    return true;
}

bool block_ints_get(struct reader *r, uint64_t *out, uint32_t n)
{
    if (n == 0)
        return true;
    uint8_t head = reader_u8(r);
    if (r->failed)
        return false;
    if (head == HEAD_ZEROS) {
        memset(out, 0, n * sizeof(*out));
        return true;
    }
    unsigned k = head & 63, gap_k = head & HEAD_RUNS ? reader_u8(r) : 0;
    struct bits_in b = {r->at, reader_left(r), 0};
    if (r->failed || k > K_MAX || gap_k > 32)
        return false;
    if (head & HEAD_RUNS) {
        if (!get_runs(&b, out, n, k, gap_k))
            return false;
    } else {
        for (uint32_t i = 0; i < n; i++)
            out[i] = get_rice(&b, k);
    }
    if (head & HEAD_SIGNED)
        for (uint32_t i = 0; i < n; i++)
            out[i] = unfold(out[i]);
    (void)reader_bytes(r, (size_t)((b.at + 7) / 8));
    return !r->failed;
}
