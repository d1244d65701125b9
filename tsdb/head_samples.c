#include "tsdb/head_samples.h"

#include "base/buf.h"
#include "base/check.h"

/* How a value is written. */
enum {
    VALUE_SAME, /* nothing follows */
    VALUE_WHOLE, /* both are whole numbers: zigzag varint of the difference */
    VALUE_XOR, /* u8 (leading zero bytes << 4 | bytes that follow), then the middle of the XOR with the last bits */
    VALUE_THOUSANDTHS /* both are multiples of 0.001 as decimals are read: zigzag varint of the difference in thousandths */
};
#define TOKEN_VALUE 7u
#define TOKEN_STEP 8u
#define TOKEN_ORD_SHIFT 4u
#define TOKEN_ORD 7u
#define TOKEN_START 128u

#define SAMPLE_MAX 36u /* token 1, ord 5, step 10, start 10, value 9 */
#define PIECE_MIN 48u /* with its header */
#define PIECE_MAX 256u
#define PIECE_HEADER offsetof(struct head_piece, data)

_Static_assert(PIECE_MIN % 16 == 0 && PIECE_MAX % 16 == 0, "what a slab gives");
_Static_assert(PIECE_MIN - PIECE_HEADER >= SAMPLE_MAX,
               "the largest sample fits into the smallest piece");

static uint64_t bits_of(double v)
{
    uint64_t bits;
    memcpy(&bits, &v, 8);
    return bits;
}

static double double_of(uint64_t bits)
{
    double v;
    memcpy(&v, &bits, 8);
    return v;
}

/* Whole numbers below 2^53; not -0, which is another value. */
static inline bool is_whole(uint64_t bits, int64_t *out)
{
    double v = double_of(bits);
    if (!(v > -9007199254740992.0 && v < 9007199254740992.0))
        return false;
    *out = (int64_t)v;
    return bits_of((double)*out) == bits;
}

static inline bool is_thousandths(uint64_t bits, int64_t *out)
{
    double v = double_of(bits) * 1000.0;
    if (!(v > -4503599627370496.0 && v < 4503599627370496.0))
        return false;
    *out = (int64_t)(v < 0 ? v - 0.5 : v + 0.5);
    return bits_of((double)*out / 1000.0) == bits;
}

static inline uint8_t *put_xor(uint8_t *p, uint64_t x)
{
    unsigned lead = (unsigned)__builtin_clzll(x) / 8, trail = (unsigned)__builtin_ctzll(x) / 8;
    unsigned n = 8 - lead - trail;
    *p++ = (uint8_t)(lead << 4 | n);
    x >>= trail * 8;
    for (unsigned i = 0; i < n; i++, x >>= 8)
        *p++ = (uint8_t)x;
    return p;
}

static inline uint8_t *put_value(uint8_t *p, uint64_t last, uint64_t value, uint8_t *token)
{
    int64_t a, b;
    if (value == last) {
        *token |= VALUE_SAME;
        return p;
    }
    if (is_whole(value, &b) && is_whole(last, &a)) {
        *token |= VALUE_WHOLE;
        return buf_write_zigzag(p, b - a);
    }
    if (is_thousandths(value, &b) && is_thousandths(last, &a)) {
        *token |= VALUE_THOUSANDTHS;
        return buf_write_zigzag(p, b - a);
    }
    *token |= VALUE_XOR;
    return put_xor(p, value ^ last);
}

/* The bytes of a sample behind those of the last one. */
static inline unsigned encode(const struct head_samples *s, const struct head_sample *x,
                              uint64_t step, uint64_t value, uint8_t *out)
{
    uint8_t token = 0, *p = out + 1;
    uint32_t batches = x->ord - s->ord;
    if (batches < TOKEN_ORD) {
        token |= (uint8_t)(batches << TOKEN_ORD_SHIFT);
    } else {
        token |= TOKEN_ORD << TOKEN_ORD_SHIFT;
        p = buf_write_varint(p, batches);
    }
    if (step != s->step) {
        token |= TOKEN_STEP;
        p = buf_write_zigzag(p, (int64_t)(step - s->step));
    }
    if (x->start_ms != s->start_ms) {
        token |= TOKEN_START;
        p = buf_write_zigzag(p, (int64_t)((uint64_t)x->start_ms - (uint64_t)s->start_ms));
    }
    p = put_value(p, s->value, value, &token);
    *out = token;
    return (unsigned)(p - out);
}

/* Half as large again as the last: few bytes for a short series, few pieces for a long one. */
static struct head_piece *add_piece(struct head_samples *s, struct slab *slab)
{
    size_t size = s->last ? s->last->size + PIECE_HEADER : 0;
    size = s->last ? MIN((size + size / 2) & ~(size_t)15, (size_t)PIECE_MAX) : PIECE_MIN;
    struct head_piece *piece = slab_alloc(slab, size);
    if (!piece)
        return NULL;
    piece->size = (uint16_t)(size - PIECE_HEADER);
    if (s->last) {
        s->last->used = s->used;
        s->last->next = piece;
    } else {
        s->first = piece;
    }
    s->last = piece;
    s->used = 0;
    return piece;
}

bool head_samples_add(struct head_samples *s, struct slab *slab, const struct head_sample *x)
{
    uint8_t bytes[SAMPLE_MAX];
    struct head_piece *piece = s->last;
    uint64_t step = (uint64_t)x->t_ms - (uint64_t)s->t_ms, value = bits_of(x->value);
    unsigned n;
    CHECK(x->ord >= s->ord);
    if (piece && piece->size - s->used >= (int)SAMPLE_MAX) {
        n = encode(s, x, step, value, piece->data + s->used);
    } else {
        n = encode(s, x, step, value, bytes);
        if ((!piece || piece->size - s->used < (int)n) && !(piece = add_piece(s, slab)))
            return false;
        memcpy(piece->data + s->used, bytes, n);
    }
    s->used = (uint16_t)(s->used + n);
    s->t_ms = x->t_ms;
    s->start_ms = x->start_ms;
    s->step = s->count++ ? step : 0; /* the first one's distance is that to 1970 */
    s->value = value;
    s->ord = x->ord;
    return true;
}

/* --- reading ------------------------------------------------------------------------------------- */

static void enter_piece(struct head_samples_iter *it, const struct head_piece *piece)
{
    it->piece = piece;
    it->at = piece->data;
    it->end = piece->data + (piece->next ? piece->used : it->last_used);
}

struct head_samples_iter head_samples_begin(const struct head_samples *s)
{
    struct head_samples_iter it = {.left = s->count, .last_used = s->used};
    if (s->first)
        enter_piece(&it, s->first);
    return it;
}

/* What is read was written by this process. */
static inline uint64_t get_varint(const uint8_t **p)
{
    uint64_t v = 0;
    for (unsigned shift = 0;; shift += 7) {
        uint8_t b = *(*p)++;
        v |= (uint64_t)(b & 127) << shift;
        if (b < 128)
            return v;
    }
}

static inline int64_t get_zigzag(const uint8_t **p)
{
    uint64_t v = get_varint(p);
    return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

static inline uint64_t get_xor(const uint8_t **p)
{
    unsigned head = *(*p)++, lead = head >> 4, n = head & 15;
    uint64_t x = 0;
    for (unsigned i = 0; i < n; i++)
        x |= (uint64_t) * (*p)++ << (8 * i);
    return x << (8 * (8 - lead - n));
}

static inline uint64_t get_value(const uint8_t **p, unsigned how, uint64_t last)
{
    int64_t a = 0;
    bool is_fine = true;
    switch (how) {
    case VALUE_WHOLE:
        is_fine = is_whole(last, &a);
        last = bits_of((double)(a + get_zigzag(p)));
        break;
    case VALUE_THOUSANDTHS:
        is_fine = is_thousandths(last, &a);
        last = bits_of((double)(a + get_zigzag(p)) / 1000.0);
        break;
    case VALUE_XOR: last ^= get_xor(p); break;
    default: is_fine = how == VALUE_SAME; break;
    }
    CHECK(is_fine);
    return last;
}

bool head_samples_next(struct head_samples_iter *it)
{
    if (it->left == 0)
        return false;
    if (it->at == it->end)
        enter_piece(it, it->piece->next);
    const uint8_t *p = it->at;
    struct head_sample *x = &it->last;
    unsigned token = *p++, batches = token >> TOKEN_ORD_SHIFT & TOKEN_ORD;
    x->ord += batches < TOKEN_ORD ? batches : (uint32_t)get_varint(&p);
    if (token & TOKEN_STEP)
        it->step += (uint64_t)get_zigzag(&p);
    x->t_ms = (int64_t)((uint64_t)x->t_ms + it->step);
    if (token & TOKEN_START)
        x->start_ms = (int64_t)((uint64_t)x->start_ms + (uint64_t)get_zigzag(&p));
    it->value = get_value(&p, token & TOKEN_VALUE, it->value);
    x->value = double_of(it->value);
    if (!it->has_begun)
        it->step = 0;
    it->has_begun = true;
    it->at = p;
    it->left--;
    CHECK(p <= it->end);
    return true;
}
