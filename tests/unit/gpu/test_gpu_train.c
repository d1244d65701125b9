#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>
#include <math.h>

#include "base/check.h"
#include "base/hash.h"
#include "gpu/gpu_encode.h"
#include "gpu/train_core.h"
#include "gpu/train_low_rank.h"
#include "helper_model.h"

#define SEQUENCES 6u
#define LENGTH_MAX 31u
#define BATCH_MAX 8u

static char model_dir[256];

/* --- what is trained on -------------------------------------------------------------------------------- */

static struct gpu_train_example batch[BATCH_MAX];
static uint32_t ids[BATCH_MAX][MODEL_POSITIONS];
static uint8_t types[BATCH_MAX][MODEL_POSITIONS];
static int8_t labels[BATCH_MAX][MODEL_POSITIONS];
static float vectors[BATCH_MAX][MODEL_HIDDEN];

static uint32_t number(uint32_t i, uint32_t k, uint32_t below)
{
    uint64_t of[] = {i, k};
    return (uint32_t)(hash64(bytes_of(of, sizeof(of)), 7) % below);
}

/* Odd lengths, judged tokens behind some that are not; of the first six one has a vector and no labels, one is one token long, one has no part label. */
static void make_batch(void)
{
    static const uint32_t lengths[BATCH_MAX] = {7, 1, LENGTH_MAX, 13, 2, 5, 9, 11};
    for (uint32_t i = 0; i < BATCH_MAX; i++) {
        double square = 0;
        for (uint32_t k = 0; k < lengths[i]; k++) {
            ids[i][k] = number(i, k, helper_model_vocab());
            types[i][k] = k > 3;
            labels[i][k] = (int8_t)((int)number(i, k + 100, 3) - 1);
            if (k < lengths[i] / 3 || (i & 1 && k + 1 == lengths[i]))
                labels[i][k] = -1;
        }
        labels[i][lengths[i] / 2] = (int8_t)(i & 1);
        for (uint32_t k = 0; k < MODEL_HIDDEN; k++) {
            vectors[i][k] = (float)number(i, k + 200, 1000) / 1000 - .5f;
            square += (double)vectors[i][k] * (double)vectors[i][k];
        }
        for (uint32_t k = 0; k < MODEL_HIDDEN; k++)
            vectors[i][k] /= (float)sqrt(square);
        batch[i] = (struct gpu_train_example){.ids = ids[i],
                                              .types = i == 4 ? NULL : types[i],
                                              .count = lengths[i],
                                              .labels = i == 3 ? NULL : labels[i],
                                              .part = (int8_t)(i == 5 ? -1 : (int)i % 2),
                                              .weight = i == 2 ? .5f : 1,
                                              .vector = i % 3 == 0 ? vectors[i] : NULL};
    }
}

static struct gpu_train_options plain(void)
{
    struct gpu_train_options o = gpu_train_options_default();
    o.threads = 2;
    o.precision = GPU_F32;
    o.dropout = 0;
    o.vector_weight = .5f;
    return o;
}

static struct gpu_trainer *open_trainer(const struct gpu_train_options *o)
{
    struct gpu_trainer *t;
    struct err_msg msg = {""};
    if (gpu_trainer_open(model_dir, o, &t, &msg) != ERR_OK)
        fail_msg("%s", msg.text);
    return t;
}

static struct gpu_train_loss step(struct gpu_trainer *t, uint32_t n)
{
    struct gpu_train_loss l;
    struct err_msg msg = {""};
    if (gpu_trainer_step(t, batch, n, &l, &msg) != ERR_OK)
        fail_msg("%s", msg.text);
    return l;
}

static double loss_of(const struct gpu_train_options *o, const struct gpu_train_loss *l)
{
    return l->token + (double)o->part_weight * l->part + (double)o->vector_weight * l->vector;
}

/* --- the same loss, written plainly in doubles ----------------------------------------------------------- */

struct plain_sums {
    double token, part, vector, token_of, part_of, vector_of;
};

static double plain_entropy(double z, int y)
{
    double p = 1 / (1 + exp(-z));
    return y ? -log(p) : -log(1 - p);
}

static void plain_labels(const struct gpu_train_example *x, const double *hidden,
                         struct plain_sums *s)
{
    const double *w = helper_model_tensor("classifier.weight", MODEL_LABELS, MODEL_HIDDEN),
                 *b = helper_model_tensor("classifier.bias", 1, MODEL_LABELS);
    double weight = (double)x->weight, total = 0;
    for (uint32_t k = 0; k < x->count; k++) {
        if (x->labels[k] < 0)
            continue;
        double z = b[1] - b[0];
        for (uint32_t i = 0; i < MODEL_HIDDEN; i++)
            z += hidden[k * MODEL_HIDDEN + i] * (w[MODEL_HIDDEN + i] - w[i]);
        s->token += weight * plain_entropy(z, x->labels[k]);
        s->token_of += weight;
        total += exp(z);
    }
    if (x->part < 0)
        return;
    s->part += weight * plain_entropy(log(total), x->part);
    s->part_of += weight;
}

static void plain_vector(const struct gpu_train_example *x, const double *hidden,
                         struct plain_sums *s)
{
    double dot = 0, square = 0;
    for (uint32_t i = 0; i < MODEL_HIDDEN; i++) {
        double mean = 0;
        for (uint32_t k = 0; k < x->count; k++)
            mean += hidden[k * MODEL_HIDDEN + i] / x->count;
        dot += mean * (double)x->vector[i];
        square += mean * mean;
    }
    s->vector += (double)x->weight * (1 - dot / sqrt(square));
    s->vector_of += (double)x->weight;
}

static double plain_loss(const struct gpu_train_options *o, uint32_t n)
{
    static double hidden[MODEL_POSITIONS * MODEL_HIDDEN];
    static const uint8_t none[MODEL_POSITIONS];
    struct plain_sums s = {0};
    for (uint32_t i = 0; i < n; i++) {
        const struct gpu_train_example *x = &batch[i];
        helper_model_forward(x->ids, x->types ? x->types : none, x->count, hidden);
        if (x->labels)
            plain_labels(x, hidden, &s);
        if (x->vector)
            plain_vector(x, hidden, &s);
    }
    return s.token / s.token_of + (double)o->part_weight * s.part / s.part_of +
           (double)o->vector_weight * s.vector / s.vector_of;
}

/* The plain pass' values of a tensor; the head is its second label, whose difference to the first is trained. */
static double *plain_values(const struct train_tensor *t)
{
    char name[160];
    if (strcmp(t->name, "head.weight") == 0)
        return helper_model_tensor("classifier.weight", MODEL_LABELS, MODEL_HIDDEN) + MODEL_HIDDEN;
    if (strcmp(t->name, "head.bias") == 0)
        return helper_model_tensor("classifier.bias", 1, MODEL_LABELS) + 1;
    snprintf(name, sizeof(name), "bert.%s", t->name);
    return helper_model_tensor(name, t->rows ? t->rows : 1, t->columns);
}

static size_t values_of(const struct train_tensor *t)
{
    return (size_t)(t->rows ? t->rows : 1) * t->columns;
}

/* Directions: along the gradient itself; the single value of the largest slope; random signs. */
static void make_direction(int kind, const float *g, size_t n, double *d)
{
    double square = 0;
    size_t top = 0;
    for (size_t i = 0; i < n; i++) {
        if (fabsf(g[i]) > fabsf(g[top]))
            top = i;
        d[i] = kind == 0 ? (double)g[i] : number(0, (uint32_t)i, 2) ? 1 : -1;
    }
    for (size_t i = 0; i < n; i++) {
        if (kind == 1)
            d[i] = i == top;
        square += d[i] * d[i];
    }
    for (size_t i = 0; i < n; i++)
        d[i] /= sqrt(square) + 1e-300;
}

static void check_tensor(const struct gpu_train_options *o, const struct train_tensor *t,
                         const float *g)
{
    size_t n = values_of(t);
    double *values = plain_values(t), *d = malloc(n * sizeof(*d)), *kept = malloc(n * sizeof(*d)),
           norm = 0;
    assert_true(d && kept);
    memcpy(kept, values, n * sizeof(*kept));
    for (size_t i = 0; i < n; i++)
        norm += (double)g[i] * (double)g[i];
    for (int kind = 0; kind < 3; kind++) {
        const double h = 1e-4;
        double side[2], slope = 0;
        make_direction(kind, g, n, d);
        for (int k = 0; k < 2; k++) {
            for (size_t i = 0; i < n; i++)
                values[i] = kept[i] + (k ? h : -h) * d[i];
            side[k] = plain_loss(o, SEQUENCES);
        }
        memcpy(values, kept, n * sizeof(*kept));
        for (size_t i = 0; i < n; i++)
            slope += (double)g[i] * d[i];
        double want = (side[1] - side[0]) / (2 * h);
        if (!(fabs(slope - want) < 2e-3 * sqrt(norm) + 2e-6))
            fail_msg("generic: the gradient of %s is wrong: %g along direction %d, %g by "
                     "differences",
                     t->name, slope, kind, want);
    }
    free(d), free(kept);
}

static struct gpu_trainer *open_with_gradient(const struct gpu_train_options *o, const char *set)
{
    struct gpu_train_loss l;
    struct err_msg msg = {""};
    setenv("TELLTALE_KERNELS", set, 1);
    struct gpu_trainer *t = open_trainer(o);
    unsetenv("TELLTALE_KERNELS");
    assert_int_equal(train_gradient(t, batch, SEQUENCES, &l, &msg), ERR_OK);
    double want = plain_loss(o, SEQUENCES), got = loss_of(o, &l);
    if (!(fabs(got - want) < 1e-5))
        fail_msg("%s: loss %.8f where %.8f is right", set, got, want);
    return t;
}

static void gradients_of_every_tensor_agree_with_central_differences(void **state)
{
    struct gpu_train_options o = plain();
    struct gpu_trainer *t = open_with_gradient(&o, "generic");
    for (uint32_t i = 0; i < t->net.tensors; i++)
        check_tensor(&o, &t->net.tensor[i], t->gradient[0] + t->net.tensor[i].at);
    gpu_trainer_close(t);
}

static void every_set_gives_the_gradient_of_the_generic_one(void **state)
{
    static const char *const sets[] = {"avx2", "avx512"};
    struct gpu_train_options o = plain();
    struct gpu_trainer *generic = open_with_gradient(&o, "generic");
    for (size_t s = 0; s < ARRAY_LEN(sets); s++) {
        struct gpu_trainer *t = open_with_gradient(&o, sets[s]);
        for (uint32_t i = 0; i < t->net.tensors; i++) {
            const struct train_tensor *x = &t->net.tensor[i];
            double off = 0, norm = 0;
            for (size_t k = x->at; k < x->at + values_of(x); k++) {
                double want = (double)generic->gradient[0][k];
                off += pow((double)t->gradient[0][k] - want, 2);
                norm += want * want;
            }
            if (!(sqrt(off) < 1e-4 * sqrt(norm) + 1e-6))
                fail_msg("%s: the gradient of %s is off by %g of %g", gpu_trainer_kernels(t),
                         x->name, sqrt(off), sqrt(norm));
        }
        gpu_trainer_close(t);
    }
    gpu_trainer_close(generic);
}

static double dropped_loss(struct gpu_trainer *t, const struct gpu_train_options *o)
{
    struct gpu_train_loss l;
    struct err_msg msg = {""};
    assert_int_equal(train_gradient(t, batch, SEQUENCES, &l, &msg), ERR_OK);
    train_gradient_clear(t);
    return loss_of(o, &l);
}

/* The places that are dropped depend on seed, step and example alone, so that the loss is a function of the weights. */
static void gradients_pass_through_dropout(void **state)
{
    struct gpu_train_options o = plain();
    struct gpu_train_loss l;
    struct err_msg msg = {""};
    o.dropout = .3f;
    struct gpu_trainer *t = open_trainer(&o);
    float *g = malloc(t->net.floats * sizeof(*g)), *w = malloc(t->net.floats * sizeof(*w));
    assert_int_equal(train_gradient(t, batch, SEQUENCES, &l, &msg), ERR_OK);
    memcpy(g, t->gradient[0], t->net.floats * sizeof(*g));
    memcpy(w, t->net.weights, t->net.floats * sizeof(*w));
    train_gradient_clear(t);
    assert_true(fabs(loss_of(&o, &l) - plain_loss(&o, SEQUENCES)) >
                1e-3); /* something is dropped */
    for (uint32_t i = 0; i < t->net.tensors; i++) {
        const struct train_tensor *x = &t->net.tensor[i];
        double norm = 0, side[2];
        for (size_t k = 0; k < values_of(x); k++)
            norm += (double)g[x->at + k] * (double)g[x->at + k];
        norm = sqrt(norm);
        if (norm < 1e-2)
            continue;
        double h = 2e-3 / norm; /* the loss changes by this much each way */
        for (int s = 0; s < 2; s++) {
            for (size_t k = 0; k < values_of(x); k++)
                t->net.weights[x->at + k] =
                    w[x->at + k] + (float)((s ? h : -h) / norm * (double)g[x->at + k]);
            side[s] = dropped_loss(t, &o);
        }
        memcpy(t->net.weights + x->at, w + x->at, values_of(x) * sizeof(*w));
        double want = (side[1] - side[0]) / (2 * h);
        if (!(fabs(norm - want) < .02 * norm))
            fail_msg("%s: %g, %g by differences", x->name, norm, want);
    }
    free(g), free(w);
    gpu_trainer_close(t);
}

/* --- products and attention by themselves ----------------------------------------------------------------- */

static const struct train_set *const all_sets[] = {&train_generic, &train_avx2, &train_avx512,
                                                   &train_bf16};

static float *values(uint32_t n, uint32_t salt)
{
    float *p = train_memory(n * sizeof(*p));
    for (uint32_t i = 0; i < n; i++)
        p[i] = (float)number(salt, i, 2001) / 1000 - 1;
    return p;
}

/* c = a b, a [m, k], b [k, n]; in both forms of the left operand and of the right one. */
static void product_case(const struct train_set *s, uint32_t m, uint32_t n, uint32_t k,
                         bool columns, bool along)
{
    uint32_t ld = train_round(MAX(MAX(m, n), k)), cells = (uint32_t)train_cells(s, k);
    float *a = values(ld * MAX(m, k), 1), *b = values(ld * MAX(n, k), 2), *c = values(m * n + 1, 3),
          *bias = values(n, 4);
    train_cell *left = train_memory(((size_t)m * cells + (size_t)cells * (m + 16)) * 4),
               *right = train_memory(train_panels(s, k, n) * 4);
    float guard = c[(size_t)m * n] = 12345;
    size_t panel = (size_t)cells * s->panel;
    if (columns)
        s->pack_columns(a, ld, k, m, left, m + 16);
    else
        s->pack_rows(a, ld, m, k, left, cells);
    if (along)
        s->pack_panels_t(b, ld, n, k, right, panel);
    else
        s->pack_panels(b, ld, k, n, right, panel);
    struct train_product p = {.a = left,
                              .a_ld = columns ? m + 16 : cells,
                              .a_is_columns = columns,
                              .b = right,
                              .b_panel = panel,
                              .bias = bias,
                              .c = c,
                              .ldc = n,
                              .m = m,
                              .n = n,
                              .cells = cells};
    s->product(&p);
    p.add = true, p.bias = NULL;
    s->product(&p);
    for (uint32_t i = 0; i < m; i++)
        for (uint32_t j = 0; j < n; j++) {
            double want = (double)bias[j];
            for (uint32_t x = 0; x < k; x++)
                want += 2 * (double)(columns ? a[x * ld + i] : a[i * ld + x]) *
                        (double)(along ? b[j * ld + x] : b[x * ld + j]);
            double off = fabs(want - (double)c[i * n + j]);
            if (!(off < (s->group == 2 ? .02 * sqrt(k) : 1e-5 * sqrt(k) + 1e-5)))
                fail_msg("%s: %u x %u x %u (%d, %d): off by %g", s->name, m, n, k, columns, along,
                         off);
        }
    assert_true(c[(size_t)m * n] == guard);
    free(a), free(b), free(c), free(bias), free(left), free(right);
}

static void products_agree_with_plain_sums_on_odd_shapes_in_every_form(void **state)
{
    static const uint32_t sizes[] = {1, 2, 7, 31, 33, 97, 130};
    for (size_t s = 0; s < ARRAY_LEN(all_sets); s++)
        for (size_t i = 0; i < ARRAY_LEN(sizes) && all_sets[s]->is_supported(); i++)
            for (size_t j = 0; j < ARRAY_LEN(sizes); j++)
                for (int form = 0; form < 4; form++) {
                    uint32_t other = sizes[(i + j) % ARRAY_LEN(sizes)];
                    product_case(all_sets[s], sizes[i], sizes[j], other, form & 1, form & 2);
                    if (j == 0) /* more than one depth */
                        product_case(all_sets[s], sizes[i], 40, 1100, form & 1, form & 2);
                }
}

/* out[i] = sum of p v for one head, and what a slope of out gives back, in doubles. */
static void plain_attention(const float *qkv, uint32_t ld, uint32_t n, uint32_t width,
                            uint32_t size, uint32_t head, const float *dout, double *out,
                            double *dqkv)
{
    double *p = malloc(n * sizeof(*p)), *dp = malloc(n * sizeof(*dp));
    for (uint32_t i = 0; i < n; i++) {
        const float *q = qkv + (size_t)i * ld + head * size;
        double total = 0, mean = 0;
        for (uint32_t j = 0; j < n; j++) {
            const float *k = qkv + (size_t)j * ld + width + head * size;
            p[j] = dp[j] = 0;
            for (uint32_t d = 0; d < size; d++) {
                p[j] += (double)q[d] * (double)k[d];
                dp[j] += (double)dout[(size_t)i * width + head * size + d] * (double)k[width + d];
            }
            total += p[j] = exp(p[j]);
        }
        for (uint32_t j = 0; j < n; j++)
            p[j] /= total, mean += p[j] * dp[j];
        for (uint32_t d = 0; d < size; d++) {
            uint32_t at = head * size + d;
            for (uint32_t j = 0; j < n; j++) {
                const float *k = qkv + (size_t)j * ld + width + head * size;
                double ds = p[j] * (dp[j] - mean);
                out[(size_t)i * width + at] += p[j] * (double)k[width + d];
                dqkv[(size_t)i * ld + at] += ds * (double)k[d];
                dqkv[(size_t)j * ld + width + at] += ds * (double)q[d];
                dqkv[(size_t)j * ld + 2 * width + at] +=
                    p[j] * (double)dout[(size_t)i * width + at];
            }
        }
    }
    free(p), free(dp);
}

static void attention_case(const struct train_set *s, uint32_t length, uint32_t size,
                           struct train_queries of)
{
    struct train_heads heads = {s, 2, size};
    uint32_t width = heads.heads * size, ld = 3 * width;
    float *qkv = values(length * ld, size), *dout = values(length * width, size + 1),
          *out = train_memory((size_t)length * width * 4),
          *dqkv = train_memory((size_t)length * ld * 4),
          *sums = train_memory((size_t)length * heads.heads * 4);
    double *want = calloc((size_t)length * width, sizeof(*want)),
           *dwant = calloc((size_t)length * ld, sizeof(*dwant)), worst = 0;
    void *scratch = train_memory(train_attention_bytes(&heads, length));
    memset(scratch, 0xff,
           train_attention_bytes(&heads, length)); /* what was there does not count */
    float factor = sqrtf((float)size); /* the plain sums do not scale */
    for (uint32_t i = 0; i < length; i++)
        for (uint32_t k = 0; k < width; k++)
            dout[i * width + k] *= i >= of.from && i < of.to;
    for (uint32_t h = 0; h < heads.heads; h++)
        plain_attention(qkv, ld, length, width, size, h, dout, want, dwant);
    for (uint32_t i = 0; i < length; i++)
        for (uint32_t k = 0; k < width; k++)
            qkv[i * ld + k] *= factor;
    memset(dqkv, 0x7f, (size_t)length * ld * 4);
    train_attention(&heads, qkv, ld, length, of, out, width, sums, scratch);
    train_attention_back(&heads, qkv, ld, length, of, dout + (size_t)of.from * width, width, sums,
                         dqkv, scratch);
    for (uint32_t i = 0; i < length; i++)
        for (uint32_t k = 0; k < width; k++)
            dqkv[i * ld + k] *= factor;
    for (uint32_t i = of.from * width; i < of.to * width; i++)
        worst = fmax(worst, fabs(want[i] - (double)out[i - of.from * width]));
    for (uint32_t i = 0; i < length * ld; i++)
        worst = fmax(worst, fabs(dwant[i] - (double)dqkv[i]) / 4);
    if (!(worst < (s->group == 2 ? .03 : 2e-5)))
        fail_msg("%s, length %u, size %u: off by %g", s->name, length, size, worst);
    free(qkv), free(dout), free(out), free(dqkv), free(sums), free(want), free(dwant);
    free(scratch);
}

static void attention_and_its_gradient_agree_with_plain_sums_on_odd_lengths(void **state)
{
    static const uint32_t lengths[] = {1, 2, 31, 33, 96, 97, 211};
    for (size_t s = 0; s < ARRAY_LEN(all_sets); s++)
        for (size_t i = 0; i < ARRAY_LEN(lengths) && all_sets[s]->is_supported(); i++)
            for (uint32_t size = 16; size <= 64; size *= 2) {
                struct train_queries all = {0, lengths[i]}, some = {lengths[i] / 3, lengths[i] - 1},
                                     none = {1, 1};
                attention_case(all_sets[s], lengths[i], size, all);
                attention_case(all_sets[s], lengths[i], size, lengths[i] > 1 ? some : none);
            }
}

/* --- runs ---------------------------------------------------------------------------------------------- */

static void eight_sequences_are_learned_by_heart(void **state)
{
    struct gpu_train_options o = plain();
    o.rate = 2e-3f, o.head_rate = 2e-2f, o.steps = 150, o.vector_weight = 0, o.decay = 0;
    struct gpu_trainer *t = open_trainer(&o);
    struct gpu_train_example kept[BATCH_MAX];
    memcpy(kept, batch, sizeof(kept));
    for (uint32_t i = 0; i < BATCH_MAX; i++)
        batch[i].part = -1; /* parts and tokens may contradict each other */
    double first = step(t, BATCH_MAX).token, last = first;
    for (int i = 1; i < 150; i++)
        last = step(t, BATCH_MAX).token;
    memcpy(batch, kept, sizeof(kept));
    if (!(first > .4 && last < .01))
        fail_msg("the loss went from %g to %g", first, last);
    gpu_trainer_close(t);
}

/* --- a change of low rank ------------------------------------------------------------------------------- */

#define RANK 3u

static struct gpu_train_options of_rank(void)
{
    struct gpu_train_options o = plain();
    o.rank = RANK, o.vector_weight = 0, o.decay = 0;
    o.rate = 1e-3f, o.head_rate = 1e-2f, o.factor_rate = 1e-2f, o.steps = 40;
    return o;
}

static double loss_with_factors(struct gpu_trainer *t, const struct gpu_train_options *o)
{
    train_low_rank_rebuild(&t->net, 0, 1);
    return dropped_loss(t, o);
}

static void gradients_of_factors_agree_with_differences(void **state)
{
    struct gpu_train_options o = of_rank();
    struct gpu_train_loss l;
    struct err_msg msg = {""};
    struct gpu_trainer *t = open_trainer(&o);
    uint32_t checked = 0;
    for (int i = 0; i < 5; i++)
        (void)step(t, SEQUENCES); /* up begins at 0, and down has no gradient there */
    float *g = malloc(t->net.floats * sizeof(*g)), *w = malloc(t->net.floats * sizeof(*w));
    assert_int_equal(train_gradient(t, batch, SEQUENCES, &l, &msg), ERR_OK);
    memcpy(g, t->gradient[0], t->net.floats * sizeof(*g));
    memcpy(w, t->net.weights, t->net.floats * sizeof(*w));
    train_gradient_clear(t);
    for (uint32_t i = 0; i < t->net.tensors; i++) {
        const struct train_tensor *x = &t->net.tensor[i];
        double norm = 0, side[2];
        for (size_t k = 0; k < values_of(x); k++)
            norm += (double)g[x->at + k] * (double)g[x->at + k];
        norm = sqrt(norm);
        if (!x->is_factor || norm < 2e-2)
            continue;
        double h = 2e-3 / norm;
        for (int s = 0; s < 2; s++) {
            for (size_t k = 0; k < values_of(x); k++)
                t->net.weights[x->at + k] =
                    w[x->at + k] + (float)((s ? h : -h) / norm * (double)g[x->at + k]);
            side[s] = loss_with_factors(t, &o);
        }
        memcpy(t->net.weights, w, t->net.floats * sizeof(*w));
        double want = (side[1] - side[0]) / (2 * h);
        if (!(fabs(norm - want) < .02 * norm))
            fail_msg("%s: %g, %g by differences", x->name, norm, want);
        checked++;
    }
    assert_true(checked >= 8);
    free(g), free(w);
    gpu_trainer_close(t);
}

static struct gpu_model *open_model(const char *path)
{
    struct gpu_model *m;
    struct err_msg msg = {""};
    if (gpu_model_open(path, GPU_F32, &m, &msg) != ERR_OK)
        fail_msg("%s", msg.text);
    return m;
}

/* The largest difference of what two models make of the batch. */
static double distance(const struct gpu_model *a, const struct gpu_model *b, enum gpu_output what)
{
    const struct gpu_model *models[] = {a, b};
    static float out[2][BATCH_MAX][MODEL_POSITIONS * MODEL_HIDDEN];
    double most = 0;
    for (int i = 0; i < 2; i++) {
        struct gpu_encoder *e = gpu_encoder_new(models[i], 1);
        struct gpu_sequence s[BATCH_MAX];
        struct err_msg msg = {""};
        for (uint32_t k = 0; k < BATCH_MAX; k++)
            s[k] = (struct gpu_sequence){batch[k].ids, batch[k].types, batch[k].count, out[i][k]};
        assert_int_equal(gpu_encode(e, s, BATCH_MAX, what, &msg), ERR_OK);
        gpu_encoder_free(e);
    }
    for (uint32_t k = 0; k < BATCH_MAX; k++)
        for (uint32_t v = 0; v < (what == GPU_VECTOR ? MODEL_HIDDEN : batch[k].count); v++)
            most = fmax(most, fabs((double)out[0][k][v] - (double)out[1][k][v]));
    return most;
}

static void a_branch_gives_the_bases_vectors_and_the_tuned_models_logits(void **state)
{
    struct gpu_train_options o = of_rank();
    struct gpu_trainer *t = open_trainer(&o);
    struct err_msg msg = {""};
    char tuned[300], branch[300], again[300];
    snprintf(tuned, sizeof(tuned), "%s/tuned", model_dir);
    snprintf(branch, sizeof(branch), "%s/branch", model_dir);
    snprintf(again, sizeof(again), "%s/again", model_dir);
    float *before = malloc(t->net.floats * sizeof(*before));
    memcpy(before, t->net.weights, t->net.floats * sizeof(*before));
    for (int i = 0; i < 40; i++)
        (void)step(t, BATCH_MAX);
    size_t table = (size_t)t->net.vocabulary * t->net.hidden;
    assert_memory_equal(before + t->net.word, t->net.weights + t->net.word, table * sizeof(float));
    assert_int_equal(gpu_trainer_save(t, tuned, false, &msg), ERR_OK);
    if (gpu_model_branch(model_dir, tuned, RANK, branch, &msg) != ERR_OK)
        fail_msg("%s", msg.text);
    struct gpu_model *m[] = {open_model(model_dir), open_model(tuned), open_model(branch)};
    struct gpu_model_info info;
    gpu_model_info(m[2], &info);
    assert_true(info.has_branch && info.labels == 1);
    double moved = distance(m[0], m[1], GPU_VECTOR), kept = distance(m[0], m[2], GPU_VECTOR),
           same = distance(m[1], m[2], GPU_TOKEN_LOGITS);
    if (!(moved > .05 && kept < .02 && same < .1))
        fail_msg("vectors moved by %g, the branch's by %g; its logits are off by %g", moved, kept,
                 same);
    /* Training goes on from the branch's form, not from the base's; and a branch can be made of it again. */
    struct gpu_trainer *next = NULL;
    assert_int_equal(gpu_trainer_open(branch, &o, &next, &msg), ERR_OK);
    struct gpu_train_loss l[2];
    assert_int_equal(train_gradient(next, batch, BATCH_MAX, &l[0], &msg), ERR_OK);
    assert_int_equal(train_gradient(t, batch, BATCH_MAX, &l[1], &msg), ERR_OK);
    assert_true(fabs(l[0].token - l[1].token) < .03);
    assert_int_equal(gpu_trainer_save(next, tuned, false, &msg), ERR_OK);
    assert_int_equal(gpu_model_branch(branch, tuned, RANK, again, &msg), ERR_OK);
    struct gpu_model *last = open_model(again);
    assert_true(distance(m[2], last, GPU_TOKEN_LOGITS) < .1);
    assert_true(distance(m[2], last, GPU_VECTOR) < 1e-5);
    gpu_model_close(last);
    gpu_trainer_close(next), gpu_trainer_close(t);
    for (size_t i = 0; i < ARRAY_LEN(m); i++)
        gpu_model_close(m[i]);
    assert_int_equal(unlink(tuned) | unlink(branch) | unlink(again), 0);
    free(before);
}

/* A name of the header, changed in place. */
static void rename_in_file(const char *path, const char *from, const char *to)
{
    static char data[1 << 20];
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    size_t n = fread(data, 1, sizeof(data), f), at = bytes_find(bytes_of(data, n), bytes_str(from));
    assert_true(at < n && strlen(from) == strlen(to));
    assert_int_equal(fseek(f, (long)at, SEEK_SET), 0);
    assert_int_equal(fwrite(to, 1, strlen(to), f), strlen(to));
    (void)fclose(f);
}

static void a_branch_that_lacks_a_factor_is_refused_by_name(void **state)
{
    struct gpu_train_options o = of_rank();
    struct gpu_trainer *t = open_trainer(&o), *next = NULL;
    struct gpu_model *m = NULL;
    struct err_msg msg = {""};
    char tuned[300], branch[300];
    snprintf(tuned, sizeof(tuned), "%s/tuned", model_dir);
    snprintf(branch, sizeof(branch), "%s/branch", model_dir);
    assert_int_equal(gpu_trainer_save(t, tuned, false, &msg), ERR_OK);
    assert_int_equal(gpu_model_branch(model_dir, tuned, 0, branch, &msg), ERR_INVALID);
    assert_int_equal(gpu_model_branch(model_dir, model_dir, RANK, branch, &msg), ERR_INVALID);
    assert_non_null(strstr(msg.text, "head.weight"));
    assert_int_equal(gpu_model_branch(model_dir, tuned, RANK, branch, &msg), ERR_OK);
    rename_in_file(branch, "token.encoder.layer.1.output.dense.weight.up\"",
                   "token.encoder.layer.1.output.dense.weight.xp\"");
    assert_int_equal(gpu_model_open(branch, GPU_F32, &m, &msg), ERR_INVALID);
    assert_non_null(strstr(msg.text, "layer.1.output.dense.weight.up"));
    assert_int_equal(gpu_trainer_open(branch, &o, &next, &msg), ERR_INVALID);
    o.rank = MODEL_INNER;
    assert_int_equal(gpu_trainer_open(model_dir, &o, &next, &msg), ERR_INVALID);
    assert_non_null(strstr(msg.text, "rank"));
    gpu_trainer_close(t);
    assert_int_equal(unlink(tuned) | unlink(branch), 0);
}

static void a_tuned_model_is_taken_over_as_near_as_the_rank_allows(void **state)
{
    struct gpu_train_options o = of_rank();
    struct gpu_trainer *t = open_trainer(&o), *to = open_trainer(&o);
    struct gpu_train_loss l[2];
    struct err_msg msg = {""};
    char tuned[300];
    snprintf(tuned, sizeof(tuned), "%s/tuned", model_dir);
    for (int i = 0; i < 20; i++)
        (void)step(t, BATCH_MAX);
    assert_int_equal(gpu_trainer_save(t, tuned, false, &msg), ERR_OK);
    if (gpu_trainer_take(to, tuned, &msg) != ERR_OK)
        fail_msg("%s", msg.text);
    assert_int_equal(train_gradient(t, batch, BATCH_MAX, &l[0], &msg), ERR_OK);
    assert_int_equal(train_gradient(to, batch, BATCH_MAX, &l[1], &msg), ERR_OK);
    if (!(fabs(l[0].token - l[1].token) < 1e-4)) /* of that rank it was */
        fail_msg("%g, taken over %g", l[0].token, l[1].token);
    assert_int_equal(gpu_trainer_take(to, "/nowhere", &msg), ERR_NOT_FOUND);
    assert_int_equal(unlink(tuned), 0);
    gpu_trainer_close(t), gpu_trainer_close(to);
}

/* All that a run has: it must go on from here as if nothing had happened. */
static void assert_same_state(const struct gpu_trainer *a, const struct gpu_trainer *b)
{
    size_t bytes = a->net.floats * sizeof(float);
    assert_memory_equal(a->net.weights, b->net.weights, bytes);
    assert_memory_equal(a->moment1, b->moment1, bytes);
    assert_memory_equal(a->moment2, b->moment2, bytes);
    assert_memory_equal(a->average, b->average, bytes);
    assert_int_equal(a->step, b->step);
}

static struct gpu_train_options all_of_it(void)
{
    struct gpu_train_options o = plain();
    o.precision = GPU_BF16;
    o.dropout = .1f, o.average = .99f, o.steps = 20, o.rate = 1e-3f;
    return o;
}

static void the_same_run_gives_the_same_bits_and_goes_on_from_a_checkpoint(void **state)
{
    struct gpu_train_options o = all_of_it();
    struct err_msg msg = {""};
    char file[300];
    snprintf(file, sizeof(file), "%s/checkpoint", model_dir);
    struct gpu_trainer *a = open_trainer(&o), *b = open_trainer(&o), *c = open_trainer(&o);
    for (int i = 0; i < 7; i++) {
        step(a, BATCH_MAX), step(b, BATCH_MAX);
        if (i == 2 && gpu_trainer_checkpoint(b, file, &msg) != ERR_OK)
            fail_msg("%s", msg.text);
    }
    assert_same_state(a, b);
    step(c, 3); /* what it had done before is gone with the restore */
    if (gpu_trainer_restore(c, file, &msg) != ERR_OK)
        fail_msg("%s", msg.text);
    assert_int_equal(gpu_trainer_steps(c), 3);
    for (int i = 3; i < 7; i++)
        step(c, BATCH_MAX);
    assert_same_state(a, c);
    unlink(file);
    gpu_trainer_close(a), gpu_trainer_close(b), gpu_trainer_close(c);
}

static void write_bytes(const char *path, const uint8_t *data, size_t size)
{
    FILE *f = fopen(path, "wb");
    assert_true(f && fwrite(data, 1, size, f) == size && fclose(f) == 0);
}

static void a_damaged_checkpoint_is_refused_and_changes_nothing(void **state)
{
    struct gpu_train_options o = all_of_it(), other = o;
    struct err_msg msg = {""};
    char file[300];
    snprintf(file, sizeof(file), "%s/checkpoint", model_dir);
    struct gpu_trainer *a = open_trainer(&o), *b = open_trainer(&o);
    step(a, 4), step(b, 4);
    assert_int_equal(gpu_trainer_restore(b, file, &msg), ERR_NOT_FOUND);
    assert_int_equal(gpu_trainer_checkpoint(a, file, &msg), ERR_OK);
    FILE *f = fopen(file, "rb");
    size_t size = 44 + 4 * a->net.floats * sizeof(float);
    uint8_t *data = malloc(size + 1);
    assert_true(f && fread(data, 1, size + 1, f) == size && fclose(f) == 0);
    for (size_t cut = 0; cut < size; cut += cut < 60 ? 1 : 40009) {
        write_bytes(file, data, cut);
        assert_int_equal(gpu_trainer_restore(b, file, &msg), ERR_CORRUPT);
    }
    for (size_t at = 0; at < size; at += at < 60 ? 1 : 50021) {
        data[at] ^= 0x10;
        write_bytes(file, data, size);
        assert_int_equal(gpu_trainer_restore(b, file, &msg), ERR_CORRUPT);
        data[at] ^= 0x10;
    }
    write_bytes(file, data, size + 1);
    assert_int_equal(gpu_trainer_restore(b, file, &msg), ERR_CORRUPT);
    assert_same_state(a, b);
    write_bytes(file, data, size);
    other.average = 0;
    struct gpu_trainer *c = open_trainer(&other);
    assert_int_equal(gpu_trainer_restore(c, file, &msg), ERR_CORRUPT);
    assert_int_equal(gpu_trainer_restore(b, file, &msg), ERR_OK);
    unlink(file);
    free(data);
    gpu_trainer_close(a), gpu_trainer_close(b), gpu_trainer_close(c);
}

static void one_thread_and_three_give_the_same_gradient_up_to_rounding(void **state)
{
    struct gpu_train_options o = plain();
    struct gpu_train_loss one_loss, other_loss;
    struct err_msg msg = {""};
    o.dropout = .1f, o.threads = 1;
    struct gpu_trainer *one = open_trainer(&o);
    o.threads = 3;
    struct gpu_trainer *three = open_trainer(&o);
    assert_int_equal(train_gradient(one, batch, BATCH_MAX, &one_loss, &msg), ERR_OK);
    assert_int_equal(train_gradient(three, batch, BATCH_MAX, &other_loss, &msg), ERR_OK);
    double off = 0;
    for (size_t i = 0; i < one->net.floats; i++)
        off += pow((double)one->gradient[0][i] - (double)three->gradient[0][i], 2);
    assert_true(sqrt(off) < 1e-5 * one_loss.gradient_norm);
    assert_true(fabs(one_loss.token - other_loss.token) < 1e-6);
    gpu_trainer_close(one), gpu_trainer_close(three);
}

static void products_in_bf16_learn_as_those_in_fp32_do(void **state)
{
    struct gpu_train_options o = plain();
    double worst = 0, first = 0, last = 0;
    o.rate = 5e-4f, o.head_rate = 5e-3f, o.steps = 50;
    struct gpu_trainer *exact = open_trainer(&o);
    o.precision = GPU_BF16;
    struct gpu_trainer *rounded = open_trainer(&o);
    for (int i = 0; i < 50; i++) {
        struct gpu_train_loss a = step(exact, BATCH_MAX), b = step(rounded, BATCH_MAX);
        double want = loss_of(&o, &a);
        worst = fmax(worst, fabs(loss_of(&o, &b) - want));
        first = i ? first : want, last = want;
    }
    if (!(worst < .05 * first && last < .6 * first))
        fail_msg("losses from %g to %g are up to %g apart", first, last, worst);
    gpu_trainer_close(exact), gpu_trainer_close(rounded);
}

static void compare_with_encoder(struct gpu_trainer *t, const char *file, double within,
                                 enum gpu_head head)
{
    struct gpu_model *m;
    struct gpu_model_info info;
    struct err_msg msg = {""};
    static float mine[BATCH_MAX][MODEL_POSITIONS], theirs[MODEL_POSITIONS * MODEL_LABELS];
    float *logits[BATCH_MAX];
    for (uint32_t i = 0; i < BATCH_MAX; i++)
        logits[i] = mine[i];
    if (gpu_model_open(file, GPU_F32, &m, &msg) != ERR_OK)
        fail_msg("%s", msg.text);
    gpu_model_info(m, &info);
    assert_int_equal(info.head, head);
    struct gpu_encoder *e = gpu_encoder_new(m, 1);
    assert_int_equal(gpu_trainer_logits(t, batch, BATCH_MAX, logits, &msg), ERR_OK);
    for (uint32_t i = 0; i < BATCH_MAX; i++) {
        struct gpu_sequence s = {batch[i].ids, batch[i].types, batch[i].count, theirs};
        assert_int_equal(gpu_encode(e, &s, 1, GPU_TOKEN_LOGITS, &msg), ERR_OK);
        for (uint32_t k = 0; k < s.count; k++) {
            float want = info.labels == 2 ? theirs[2 * k + 1] - theirs[2 * k] : theirs[k];
            if (!(fabs((double)(mine[i][k] - want)) < within))
                fail_msg("%s: token %u of sequence %u: %g, the encoder says %g", file, k, i,
                         (double)mine[i][k], (double)want);
        }
    }
    gpu_encoder_free(e);
    gpu_model_close(m);
}

static void what_is_saved_answers_in_the_encoder_as_in_the_trainer(void **state)
{
    struct gpu_train_options o = plain();
    struct err_msg msg = {""};
    char file[300];
    o.steps = 5, o.average = .9f;
    struct gpu_trainer *t = open_trainer(&o), *again;
    compare_with_encoder(t, model_dir, 1e-4, GPU_HEAD_TOKEN); /* two labels, one difference */
    for (int i = 0; i < 3; i++)
        step(t, BATCH_MAX);
    for (int int8 = 0; int8 < 2; int8++) {
        snprintf(file, sizeof(file), "%s/saved.%d", model_dir, int8);
        for (int twice = 0; twice < 2; twice++) /* the second takes the first one's place */
            if (gpu_trainer_save(t, file, int8, &msg) != ERR_OK)
                fail_msg("%s", msg.text);
        compare_with_encoder(t, file, int8 ? .2 : 1e-4, GPU_HEAD_TOKEN);
        assert_int_equal(gpu_trainer_open(file, &o, &again, &msg), ERR_OK);
        compare_with_encoder(again, file, 1e-4, GPU_HEAD_TOKEN);
        gpu_trainer_close(again);
        unlink(file);
    }
    gpu_trainer_close(t);
}

static void input_that_cannot_be_trained_on_changes_nothing(void **state)
{
    struct gpu_train_options o = all_of_it();
    struct gpu_train_loss l;
    struct err_msg msg = {""};
    struct gpu_trainer *t = open_trainer(&o), *untouched = open_trainer(&o);
    struct gpu_train_example x = batch[0];
    uint32_t bad_ids[7] = {0, 0, 0, 999999, 0, 0, 0};
    int8_t bad_labels[7] = {0, 2, 0, 0, 0, 0, 0};
    float bad_vector[MODEL_HIDDEN] = {NAN};
    assert_int_equal(gpu_trainer_step(t, &x, 0, &l, &msg), ERR_INVALID);
    x.ids = bad_ids;
    assert_int_equal(gpu_trainer_step(t, &x, 1, &l, &msg), ERR_INVALID);
    x = batch[0], x.labels = bad_labels;
    assert_int_equal(gpu_trainer_step(t, &x, 1, &l, &msg), ERR_INVALID);
    x = batch[0], x.vector = bad_vector;
    assert_int_equal(gpu_trainer_step(t, &x, 1, &l, &msg), ERR_INVALID);
    x = batch[0], x.weight = NAN;
    assert_int_equal(gpu_trainer_step(t, &x, 1, &l, &msg), ERR_INVALID);
    x = batch[0], x.count = MODEL_POSITIONS + 1;
    assert_int_equal(gpu_trainer_step(t, &x, 1, &l, &msg), ERR_INVALID);
    o.dropout = 1;
    struct gpu_trainer *none = NULL;
    assert_int_equal(gpu_trainer_open(model_dir, &o, &none, &msg), ERR_INVALID);
    assert_null(none);
    assert_same_state(t, untouched);
    gpu_trainer_close(t), gpu_trainer_close(untouched);
}

static void a_step_whose_gradient_is_not_finite_names_the_tensor_and_takes_no_step(void **state)
{
    struct gpu_train_options o = all_of_it();
    struct gpu_train_loss l;
    struct err_msg msg = {""};
    struct gpu_trainer *t = open_trainer(&o), *like = open_trainer(&o);
    const struct train_tensor *x = train_net_find(&t->net, "encoder.layer.1.output.dense.bias");
    assert_non_null(x);
    t->net.weights[x->at] = like->net.weights[x->at] = INFINITY;
    assert_int_equal(gpu_trainer_step(t, batch, 2, &l, &msg), ERR_EXECUTION);
    assert_non_null(strstr(msg.text, "step 0"));
    assert_non_null(strstr(msg.text, "not finite"));
    assert_same_state(t, like);
    gpu_trainer_close(t), gpu_trainer_close(like);
}

static int make_model(void **state)
{
    snprintf(model_dir, sizeof(model_dir), "/tmp/telltale-train-%d", (int)getpid());
    helper_model_write(model_dir);
    make_batch();
    return 0;
}

static int remove_model(void **state)
{
    static const char *const names[] = {"config.json", "vocab.txt", "model.safetensors"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char path[512];
        snprintf(path, sizeof(path), "%s/%s", model_dir, names[i]);
        (void)unlink(path);
    }
    return rmdir(model_dir);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_agree_with_plain_sums_on_odd_shapes_in_every_form),
        cmocka_unit_test(attention_and_its_gradient_agree_with_plain_sums_on_odd_lengths),
        cmocka_unit_test(gradients_of_every_tensor_agree_with_central_differences),
        cmocka_unit_test(every_set_gives_the_gradient_of_the_generic_one),
        cmocka_unit_test(gradients_pass_through_dropout),
        cmocka_unit_test(eight_sequences_are_learned_by_heart),
        cmocka_unit_test(gradients_of_factors_agree_with_differences),
        cmocka_unit_test(a_branch_gives_the_bases_vectors_and_the_tuned_models_logits),
        cmocka_unit_test(a_branch_that_lacks_a_factor_is_refused_by_name),
        cmocka_unit_test(a_tuned_model_is_taken_over_as_near_as_the_rank_allows),
        cmocka_unit_test(the_same_run_gives_the_same_bits_and_goes_on_from_a_checkpoint),
        cmocka_unit_test(a_damaged_checkpoint_is_refused_and_changes_nothing),
        cmocka_unit_test(one_thread_and_three_give_the_same_gradient_up_to_rounding),
        cmocka_unit_test(products_in_bf16_learn_as_those_in_fp32_do),
        cmocka_unit_test(what_is_saved_answers_in_the_encoder_as_in_the_trainer),
        cmocka_unit_test(input_that_cannot_be_trained_on_changes_nothing),
        cmocka_unit_test(a_step_whose_gradient_is_not_finite_names_the_tensor_and_takes_no_step),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, make_model, remove_model);
}
