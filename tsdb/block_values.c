#include "tsdb/block_values.h"

#include <math.h>

#include "tsdb/block_ints.h"

enum kind { KIND_CONSTANT, KIND_BITS, KIND_STEPS, KIND_BENDS, KIND_NEAR };

#define SCALE_MAX 9
#define ULPS_MAX 256 /* what sums of decimals drift from the nearest decimal */
#define NEAR_UNITS_MAX 0x1p40 /* beyond, every double is near a decimal */
static const double powers[SCALE_MAX + 1] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9};

static uint64_t bits_of(double v)
{
    uint64_t b;
    memcpy(&b, &v, 8);
    return b;
}

static double double_of(uint64_t bits)
{
    double v;
    memcpy(&v, &bits, 8);
    return v;
}

/* NaN (stale markers), infinities and -0 are no numbers of steps. */
static bool is_odd(double v)
{
    return !(fabs(v) < 0x1p62) || bits_of(v) == UINT64_C(1) << 63;
}

static int64_t nearest(double x)
{
    return fabs(x) < 0x1p51 ? (int64_t)((x + 0x1.8p52) - 0x1.8p52) : (int64_t)x;
}

/* v as units of 10^-scale, if that gives back the very bits. */
static bool scaled(double v, int scale, int64_t *out)
{
    double x = v * powers[scale];
    if (!(fabs(x) < (scale ? 0x1p53 : 0x1p62)))
        return false;
    int64_t i = nearest(x);
    *out = i;
    return bits_of((double)i / powers[scale]) == bits_of(v);
}

/* The scale in which all values are whole, or -1. Odd values do not count while they are few. */
static int scale_of(const double *v, uint32_t n)
{
    int scale = 0;
    uint32_t odd = 0;
    bool again = true;
    while (again) {
        again = false;
        odd = 0;
        int from = scale;
        for (uint32_t i = 0; i < n; i++) {
            int64_t unused;
            if (is_odd(v[i])) {
                if (++odd > n / 8 + 1)
                    return -1;
                continue;
            }
            while (!scaled(v[i], scale, &unused))
                if (++scale > SCALE_MAX)
                    return -1;
        }
        again = scale != from; /* what fitted a smaller scale must fit this one too */
    }
    return scale;
}

static uint64_t magnitude(uint64_t step)
{
    return (int64_t)step < 0 ? 0 - step : step;
}

static uint64_t gcd(uint64_t a, uint64_t b)
{
    while (b) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* first, common divisor of the steps, the steps (or the steps of the steps); x: integers, overwritten. */
static void put_steps(struct buf *out, uint64_t *x, uint32_t n, bool bends)
{
    uint64_t first = x[0], last = x[0], divisor = 0;
    for (uint32_t i = 1; i < n; i++) {
        uint64_t now = x[i];
        x[i - 1] = now - last;
        last = now;
    }
    for (uint32_t i = 0; i + 1 < n && divisor != 1; i++)
        if (x[i])
            divisor = gcd(magnitude(x[i]), divisor);
    if (divisor == 0 || divisor >> 62)
        divisor = 1;
    if (divisor > 1)
        for (uint32_t i = 0; i + 1 < n; i++)
            x[i] = (uint64_t)((int64_t)x[i] / (int64_t)divisor);
    for (uint32_t i = n - 1; bends && i-- > 1;)
        x[i] -= x[i - 1];
    buf_zigzag(out, (int64_t)first);
    buf_varint(out, divisor);
    block_ints_put(out, x, n - 1);
}

static bool get_steps(struct reader *r, uint64_t *x, uint32_t n, bool bends)
{
    uint64_t at = (uint64_t)reader_zigzag(r), divisor = reader_varint(r), step = 0;
    if (r->failed || !block_ints_get(r, x + 1, n - 1))
        return false;
    x[0] = at;
    for (uint32_t i = 1; i < n; i++) {
        step = bends ? step + x[i] : x[i];
        at += step * divisor;
        x[i] = at;
    }
    return true;
}

/* Odd values: where and what. Only those of v are written; at them the integers repeat the one before. */
static void put_odd(struct buf *out, const double *v, uint32_t n)
{
    uint32_t count = 0, last = 0;
    for (uint32_t i = 0; i < n; i++)
        count += is_odd(v[i]);
    buf_varint(out, count);
    for (uint32_t i = 0; i < n && count; i++) {
        if (!is_odd(v[i]))
            continue;
        buf_varint(out, i - last);
        buf_f64(out, v[i]);
        last = i;
    }
}

static bool get_odd(struct reader *r, double *v, uint32_t members, uint32_t n)
{
    uint64_t count = reader_varint(r), at = 0;
    for (; count > 0 && !r->failed; count--) {
        at += reader_varint(r);
        double x = reader_f64(r);
        if (r->failed || at >= n)
            return false;
        for (uint32_t m = 0; m < members; m++)
            v[(size_t)m * n + at] = x;
    }
    return !r->failed;
}

static void integers_of(const double *v, uint32_t n, int scale, uint64_t *x)
{
    int64_t last = 0;
    for (uint32_t i = 0; i < n && is_odd(v[i]); i++) /* what the first odd ones repeat */
        if (i + 1 < n && !is_odd(v[i + 1]))
            (void)scaled(v[i + 1], scale, &last);
    for (uint32_t i = 0; i < n; i++) {
        if (!is_odd(v[i]))
            (void)scaled(v[i], scale, &last);
        x[i] = (uint64_t)last;
    }
}

static unsigned width_of(uint64_t v)
{
    return v ? 64 - (unsigned)__builtin_clzll(v) : 0;
}

static bool bends_pay(const uint64_t *x, uint32_t n)
{
    uint64_t steps = 0, bends = 0, last = 0;
    for (uint32_t i = 1; i < n; i++) {
        uint64_t step = x[i] - x[i - 1];
        steps += width_of(magnitude(step));
        bends += width_of(magnitude(step - last)) + 1; /* their sign is never free */
        last = step;
    }
    return bends < steps;
}

/* A sum of decimals: units of 10^-scale and a few ulps of drift. false: no such scale. */
static bool near_of(const double *v, uint32_t n, uint64_t *units, uint64_t *ulps, int *out_scale)
{
    double most = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (is_odd(v[i]))
            return false;
        most = fabs(v[i]) > most ? fabs(v[i]) : most;
    }
    for (int scale = 0; scale <= SCALE_MAX && most * powers[scale] < NEAR_UNITS_MAX; scale++) {
        uint32_t i = 0;
        for (; i < n; i++) {
            int64_t u = nearest(v[i] * powers[scale]);
            int64_t drift = (int64_t)(bits_of(v[i]) - bits_of((double)u / powers[scale]));
            if (drift < -ULPS_MAX || drift > ULPS_MAX)
                break;
            units[i] = (uint64_t)u;
            ulps[i] = (uint64_t)drift;
        }
        if (i < n)
            continue;
        *out_scale = scale;
        return true;
    }
    return false;
}

void block_values_put(struct buf *out, const double *v, uint32_t n, struct block_values_work *w)
{
    bool same = true;
    for (uint32_t i = 1; i < n && same; i++)
        same = bits_of(v[i]) == bits_of(v[0]);
    if (same) {
        buf_u8(out, KIND_CONSTANT);
        buf_f64(out, v[0]);
        return;
    }
    int scale = scale_of(v, n);
    if (scale >= 0) {
        integers_of(v, n, scale, w->a);
        bool bends = bends_pay(w->a, n);
        buf_u8(out, (uint8_t)((bends ? KIND_BENDS : KIND_STEPS) | scale << 4));
        put_steps(out, w->a, n, bends);
        put_odd(out, v, n);
    } else if (near_of(v, n, w->a, w->b, &scale)) {
        buf_u8(out, (uint8_t)(KIND_NEAR | scale << 4));
        put_steps(out, w->a, n, false);
        put_steps(out, w->b, n, false);
    } else {
        for (uint32_t i = 0; i < n; i++)
            w->a[i] = bits_of(v[i]);
        buf_u8(out, KIND_BITS);
        put_steps(out, w->a, n, false);
    }
}

bool block_values_get(struct reader *r, double *v, uint32_t n, struct block_values_work *w)
{
    uint8_t head = reader_u8(r);
    int kind = head & 15, scale = head >> 4;
    if (r->failed || n == 0 || n > BLOCK_VALUES_MAX || scale > SCALE_MAX)
        return false;
    if (kind == KIND_CONSTANT) {
        double x = reader_f64(r);
        for (uint32_t i = 0; i < n; i++)
            v[i] = x;
        return !r->failed;
    }
    if (kind > KIND_NEAR || !get_steps(r, w->a, n, kind == KIND_BENDS))
        return false;
    if (kind == KIND_BITS) {
        memcpy(v, w->a, n * sizeof(*v));
        return true;
    }
    for (uint32_t i = 0; i < n && scale == 0; i++)
        v[i] = (double)(int64_t)w->a[i];
    for (uint32_t i = 0; i < n && scale > 0; i++)
        v[i] = (double)(int64_t)w->a[i] / powers[scale];
    if (kind != KIND_NEAR)
        return get_odd(r, v, 1, n);
    if (!get_steps(r, w->b, n, false))
        return false;
    for (uint32_t i = 0; i < n; i++)
        v[i] = double_of(bits_of(v[i]) + w->b[i]);
    return true;
}

bool block_group_fits(const double *const *v, uint32_t members, uint32_t n)
{
    for (uint32_t m = 0; m < members; m++) {
        for (uint32_t i = 0; i < n; i++) {
            int64_t unused;
            bool fits = is_odd(v[m][i]) ? bits_of(v[m][i]) == bits_of(v[0][i])
                                        : !is_odd(v[0][i]) && scaled(v[m][i], 0, &unused);
            if (!fits)
                return false;
        }
    }
    return true;
}

void block_group_put(struct buf *out, const double *const *v, uint32_t members, uint32_t n,
                     struct block_values_work *w)
{
    uint64_t *now = w->a, *before = w->b;
    put_odd(out, v[0], n);
    memset(before, 0, n * sizeof(*before));
    for (uint32_t m = 0; m < members; m++) {
        integers_of(v[m], n, 0, now);
        for (uint32_t i = 0; i < n; i++)
            w->c[i] = now[i] - before[i];
        buf_zigzag(out, (int64_t)w->c[0]);
        for (uint32_t i = n; i-- > 1;)
            w->c[i] -= w->c[i - 1];
        block_ints_put(out, w->c + 1, n - 1);
        uint64_t *swap = now;
        now = before;
        before = swap;
    }
}

bool block_group_get(struct reader *r, double *v, const uint8_t *rank, uint32_t members, uint32_t n,
                     struct block_values_work *w)
{
    struct reader odd = *r;
    if (n == 0 || n > BLOCK_VALUES_MAX || !get_odd(r, v, 1, n))
        return false;
    memset(w->a, 0, n * sizeof(*w->a));
    for (uint32_t m = 0; m < members; m++) {
        uint64_t at = (uint64_t)reader_zigzag(r);
        if (!block_ints_get(r, w->c + 1, n - 1) || r->failed)
            return false;
        w->c[0] = at;
        for (uint32_t i = 0; i < n; i++) {
            at = i ? at + w->c[i] : at;
            w->a[i] += at;
            v[(size_t)rank[m] * n + i] = (double)(int64_t)w->a[i];
        }
    }
    return get_odd(&odd, v, members, n);
}
