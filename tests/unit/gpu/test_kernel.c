#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <math.h>

#include "base/check.h"
#include "base/hash.h"
#include "gpu/kernel.h"

static float noise(uint64_t i)
{
    return (float)((double)(hash64(bytes_of(&i, 8), 7) >> 11) / (double)(1ull << 52) - 1);
}

static float noise_at(const void *ctx, uint32_t n, uint32_t k)
{
    return noise(((uint64_t)n << 32) + k + 1);
}

static float *aligned(size_t n)
{
    void *p = NULL;
    assert_int_equal(posix_memalign(&p, 64, n * sizeof(float) + 256), 0);
    memset(p, 0, n * sizeof(float) + 256);
    return p;
}

static void product_case(const struct kernel_set *set, enum kernel_precision p, uint32_t rows,
                         uint32_t n, uint32_t k)
{
    static const double bounds[] = {2e-5, 2e-2, 3e-2}; /* of the length of a row's products */
    struct kernel_weights w;
    uint32_t ldx = kernel_round(k), ldy = kernel_round(n);
    float *x = aligned((size_t)rows * ldx), *y = aligned((size_t)rows * ldy), *bias = aligned(n);
    void *quantised = aligned(kernel_quantised_bytes(rows, k) / 4 + 64);
    size_t groups = ldx / KERNEL_ALIGN;
    struct kernel_rows in = {
        .quantised = quantised, .scale = aligned(rows * groups), .zero = aligned(rows * groups)};
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t i = 0; i < k; i++)
            x[(size_t)r * ldx + i] = noise(((uint64_t)r << 40) + i + 99);
    for (uint32_t i = 0; i < n; i++)
        bias[i] = noise(i + 5);
    assert_int_equal(kernel_pack(set, p, n, k, noise_at, NULL, bias, &w), ERR_OK);
    set->quantise[w.precision](&w, x, ldx, rows, &in);
    set->product[w.precision](&w, &in, rows, y, ldy);
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t o = 0; o < n; o++) {
            double sum = (double)bias[o];
            for (uint32_t i = 0; i < k; i++)
                sum += (double)x[(size_t)r * ldx + i] * (double)noise_at(NULL, o, i);
            double off = fabs(sum - (double)y[(size_t)r * ldy + o]);
            if (!(off <= bounds[w.precision] * (1 + sqrt(k))))
                fail_msg("%s, precision %d, %u x %u x %u: row %u, column %u is %g and should be %g",
                         set->name, (int)p, rows, n, k, r, o, (double)y[(size_t)r * ldy + o], sum);
        }
    kernel_weights_done(&w);
    free(x), free(y), free(bias), free(quantised), free(in.scale), free(in.zero);
}

static const struct kernel_set *const sets[] = {&kernel_generic, &kernel_avx2, &kernel_avx512f,
                                                &kernel_vnni, &kernel_avx512};

static void products_agree_with_plain_sums_on_odd_shapes(void **state)
{
    static const uint32_t shapes[][3] = {{1, 1, 1},      {1, 31, 33},   {7, 33, 31},
                                         {12, 64, 64},   {13, 65, 127}, {31, 1, 257},
                                         {96, 130, 101}, {5, 384, 384}};
    for (size_t s = 0; s < ARRAY_LEN(sets); s++)
        for (int p = 0; p < KERNEL_PRECISION_COUNT && sets[s]->is_supported(); p++)
            for (size_t i = 0; i < ARRAY_LEN(shapes); i++)
                product_case(sets[s], (enum kernel_precision)p, shapes[i][0], shapes[i][1],
                             shapes[i][2]);
}

/* A product made piece by piece is the whole product, with and without smoothing; sums of groups come out alike but for the order of additions. */
static void a_product_by_parts_is_the_whole_product(void **state)
{
    static const uint32_t shapes[][4] = {
        {1, 33, 65, 64}, {13, 130, 257, 128}, {96, 384, 200, 64}, {31, 64, 1000, 384}};
    for (size_t s = 0; s < ARRAY_LEN(sets); s++)
        for (size_t i = 0;
             i < ARRAY_LEN(shapes) && sets[s]->is_supported() && sets[s]->product_part; i++) {
            uint32_t rows = shapes[i][0], n = shapes[i][1], k = shapes[i][2];
            struct kernel_weights w;
            float *smooth = aligned(k), *bias = aligned(n);
            for (uint32_t j = 0; j < k; j++)
                smooth[j] = 0.5f + fabsf(noise(j + 77));
            for (uint32_t j = 0; j < n; j++)
                bias[j] = noise(j + 3);
            assert_int_equal(
                kernel_pack_int8(sets[s], n, k, noise_at, NULL, bias, shapes[i][3], smooth, &w),
                ERR_OK);
            size_t groups = kernel_groups(&w);
            float *x = aligned((size_t)rows * w.k_padded),
                  *whole = aligned((size_t)rows * w.n_padded),
                  *parts = aligned((size_t)rows * w.n_padded), *scale = aligned(4 * rows * groups);
            struct kernel_rows a = {.quantised = aligned(kernel_quantised_bytes(rows, k)),
                                    .scale = scale,
                                    .zero = scale + rows * groups},
                               b = {.quantised = aligned(kernel_quantised_bytes(rows, k)),
                                    .scale = scale + 2 * rows * groups,
                                    .zero = scale + 3 * rows * groups};
            for (uint32_t r = 0; r < rows; r++)
                for (uint32_t j = 0; j < k; j++)
                    x[(size_t)r * w.k_padded + j] = noise(((uint64_t)r << 32) + j + 5);
            sets[s]->quantise[KERNEL_INT8](&w, x, w.k_padded, rows, &a);
            sets[s]->product[KERNEL_INT8](&w, &a, rows, whole, w.n_padded);
            for (uint32_t g = 0; g < groups; g++)
                sets[s]->quantise_part(&w, x + (size_t)g * w.group, w.k_padded, rows, g, &b);
            assert_memory_equal(a.quantised, b.quantised, (size_t)rows * w.k_padded);
            for (uint32_t c = 0; c < w.n_padded; c += 32)
                for (uint32_t g = 0; g < groups; g++) {
                    struct kernel_range part = {c, 32, g, 1, g > 0};
                    sets[s]->product_part(&w, &b, rows, &part, parts + c, w.n_padded);
                }
            for (size_t j = 0; j < (size_t)rows * w.n_padded; j++)
                assert_true(fabsf(whole[j] - parts[j]) <= 1e-5f * (1 + fabsf(whole[j])));
            for (uint32_t r = 0; r < rows; r++)
                for (uint32_t o = 0; o < n; o++) {
                    double sum = (double)bias[o];
                    for (uint32_t j = 0; j < k; j++)
                        sum += (double)x[(size_t)r * w.k_padded + j] * (double)noise_at(NULL, o, j);
                    assert_true(fabs(sum - (double)whole[(size_t)r * w.n_padded + o]) <=
                                3e-2 * (1 + sqrt(k)));
                }
            kernel_weights_done(&w);
            free(x), free(whole), free(parts), free(scale), free(smooth), free(bias);
            free(a.quantised), free(b.quantised);
        }
}

typedef void attention_of(const float *qkv, uint32_t ld, uint32_t length, uint32_t heads,
                          uint32_t head_size, float *out, uint32_t ldo, float *scratch);

/* spread: how large a score gets, times about 3 */
static void attention_case(attention_of *attention, const char *name, double bound, float spread,
                           uint32_t length, uint32_t heads, uint32_t size)
{
    uint32_t width = heads * size, ld = kernel_round(3 * width), ldo = kernel_round(width);
    float *qkv = aligned((size_t)length * ld), *out = aligned((size_t)length * ldo),
          *scratch = aligned(kernel_attention_floats(length));
    for (uint32_t r = 0; r < length; r++)
        for (uint32_t i = 0; i < 3 * width; i++)
            qkv[(size_t)r * ld + i] =
                (i < 2 * width ? spread : 3) * noise(((uint64_t)r << 32) + i + 17);
    attention(qkv, ld, length, heads, size, out, ldo, scratch);
    double *p = malloc(length * sizeof(*p));
    for (uint32_t h = 0; h < heads; h++)
        for (uint32_t i = 0; i < length; i++) {
            double total = 0, top = -INFINITY;
            for (uint32_t j = 0; j < length; j++) {
                double dot = 0;
                for (uint32_t d = 0; d < size; d++)
                    dot += (double)qkv[(size_t)i * ld + h * size + d] *
                           (double)qkv[(size_t)j * ld + width + h * size + d];
                p[j] = dot;
                top = MAX(top, dot);
            }
            for (uint32_t j = 0; j < length; j++)
                total += p[j] = exp(p[j] - top);
            for (uint32_t d = 0; d < size; d++) {
                double sum = 0;
                for (uint32_t j = 0; j < length; j++)
                    sum += p[j] / total * (double)qkv[(size_t)j * ld + 2 * width + h * size + d];
                double off = fabs(sum - (double)out[(size_t)i * ldo + h * size + d]);
                if (!(off < bound))
                    fail_msg("%s, length %u, size %u: off by %g", name, length, size, off);
            }
        }
    free(p), free(qkv), free(out), free(scratch);
}

static void attention_agrees_with_plain_sums_on_odd_lengths(void **state)
{
    static const uint32_t lengths[] = {1, 2, 5, 6, 7, 31, 33, 97};
    for (size_t s = 0; s < ARRAY_LEN(sets); s++)
        for (size_t i = 0; i < ARRAY_LEN(lengths) && sets[s]->is_supported(); i++)
            for (uint32_t size = 16; size <= 64; size *= 2)
                attention_case(sets[s]->attention, sets[s]->name, 1e-4, 3, lengths[i], 3, size);
}

/* Rows of ordinary scores, and rows whose scores are so far from their bound that the exponential must be taken anew: a weight of bf16 is off by
 * 2^-9 of itself, a score by 2^-8 of |q| |k|. */
static void attention_in_bf16_is_near_plain_sums_however_wide_the_scores(void **state)
{
    static const uint32_t lengths[] = {1, 2, 4, 5, 12, 13, 16, 17, 31, 32, 33, 97};
    for (size_t s = 0; s < ARRAY_LEN(sets); s++)
        for (size_t i = 0;
             i < ARRAY_LEN(lengths) && sets[s]->is_supported() && sets[s]->attention_bf16; i++)
            for (uint32_t size = 32; size <= 128; size += 32) {
                attention_case(sets[s]->attention_bf16, sets[s]->name, 0.08, 0.7f, lengths[i], 3,
                               size);
                attention_case(sets[s]->attention_bf16, sets[s]->name, 1.5, 6, lengths[i], 3, size);
            }
}

static void the_coarse_gelu_is_within_its_bound(void **state)
{
    float *x = aligned(4096);
    for (size_t s = 0; s < ARRAY_LEN(sets); s++) {
        if (!sets[s]->is_supported() || !sets[s]->gelu_coarse)
            continue;
        for (uint32_t i = 0; i < 4096; i++)
            x[i] = i == 0 ? -1e30f : i == 1 ? 1e30f : ((float)i - 2048) / 200;
        sets[s]->gelu_coarse(x, 4096, 1, 4096);
        assert_true(fabsf(x[0]) < 1e15f && fabsf(x[1] / 1e30f - 1) < 1e-3f);
        for (uint32_t i = 2; i < 4096; i++) {
            double v = ((double)i - 2048) / 200, want = 0.5 * v * (1 + erf(v / sqrt(2)));
            assert_true(fabs((double)x[i] - want) < 3e-4 + 2e-4 * fabs(want));
        }
    }
    free(x);
}

static void gelu_and_norm_agree_with_libm(void **state)
{
    for (size_t s = 0; s < ARRAY_LEN(sets); s++) {
        float *x = aligned(1024), *y = aligned(1024), *gain = aligned(1024), *shift = aligned(1024);
        if (!sets[s]->is_supported()) {
            free(x), free(y), free(gain), free(shift);
            continue;
        }
        for (uint32_t i = 0; i < 1024; i++) {
            x[i] = (float)((int)i - 512) / 40.0f;
            y[i] = 5 * noise(i + 3);
            gain[i] = noise(i + 10000), shift[i] = noise(i + 20000);
        }
        sets[s]->gelu(x, 1024, 1, 1024);
        for (uint32_t i = 0; i < 1024; i++) {
            double v = ((double)i - 512) / 40.0;
            assert_true(fabs((double)x[i] - 0.5 * v * (1 + erf(v / sqrt(2)))) < 2e-6);
            x[i] = (float)v;
        }
        sets[s]->gelu_tanh(x, 1024, 1, 1024);
        for (uint32_t i = 0; i < 1024; i++) {
            double v = ((double)i - 512) / 40.0;
            assert_true(fabs((double)x[i] - 0.5 * v *
                                                (1 + tanh(sqrt(2 / 3.14159265358979) *
                                                          (v + 0.044715 * v * v * v)))) < 4e-6);
        }
        for (uint32_t n = 1; n < 200; n += 33) {
            float row[256] = {0}, add[256] = {0};
            double mean = 0, square = 0;
            for (uint32_t i = 0; i < n; i++)
                row[i] = y[i], add[i] = y[i + 256], mean += ((double)y[i] + (double)y[i + 256]) / n;
            for (uint32_t i = 0; i < n; i++)
                square += pow((double)y[i] + (double)y[i + 256] - mean, 2) / n;
            sets[s]->norm(row, 256, add, 256, 1, n, gain, shift, 1e-5f);
            for (uint32_t i = 0; i < n; i++) {
                double want = ((double)y[i] + (double)y[i + 256] - mean) / sqrt(square + 1e-5) *
                                  (double)gain[i] +
                              (double)shift[i];
                assert_true(fabs(want - (double)row[i]) < 1e-4);
            }
        }
        free(x), free(y), free(gain), free(shift);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_agree_with_plain_sums_on_odd_shapes),
        cmocka_unit_test(attention_agrees_with_plain_sums_on_odd_lengths),
        cmocka_unit_test(a_product_by_parts_is_the_whole_product),
        cmocka_unit_test(attention_in_bf16_is_near_plain_sums_however_wide_the_scores),
        cmocka_unit_test(the_coarse_gelu_is_within_its_bound),
        cmocka_unit_test(gelu_and_norm_agree_with_libm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
