#include "gpu/bert.h"

#include <stdlib.h>

#include "base/check.h"

struct bert_work {
    uint32_t tokens_max, ld, ld_qkv, ld_inner;
    float *x, *qkv, *mixed, *block, *scale,
        *scratch; /* block: one product's rows, hidden or inner wide */
    void *quantised;
};

static float *floats(size_t n)
{
    void *p = NULL;
    if (posix_memalign(&p, 64, n * sizeof(float) + 256) != 0)
        return NULL;
    memset(p, 0, n * sizeof(float) + 256);
    return p;
}

struct bert_work *bert_work_new(const struct bert *b)
{
    struct bert_work *w = calloc(1, sizeof(*w));
    if (!w)
        return NULL;
    w->tokens_max = MAX(BERT_SLAB_TOKENS, b->positions);
    w->ld = kernel_round(b->hidden);
    w->ld_qkv = kernel_round(3 * b->hidden);
    w->ld_inner = MAX(kernel_round(b->inner), w->ld);
    w->x = floats((size_t)w->tokens_max * w->ld);
    w->qkv = floats((size_t)w->tokens_max * w->ld_qkv);
    w->mixed = floats((size_t)w->tokens_max * w->ld);
    w->block = floats((size_t)KERNEL_ROWS_MAX * w->ld_inner);
    w->scale = floats((size_t)KERNEL_ROWS_MAX * kernel_groups(w->ld_inner));
    w->scratch = floats(kernel_attention_floats(b->positions));
    w->quantised = floats((kernel_quantised_bytes(KERNEL_ROWS_MAX, w->ld_inner) + 3) / 4);
    if (!w->x || !w->qkv || !w->mixed || !w->block || !w->scale || !w->scratch || !w->quantised) {
        bert_work_free(w);
        return NULL;
    }
    return w;
}

void bert_work_free(struct bert_work *w)
{
    if (!w)
        return;
    free(w->x), free(w->qkv), free(w->mixed), free(w->block), free(w->scale), free(w->scratch);
    free(w->quantised);
    free(w);
}

static void layer_done(struct bert_layer *l)
{
    kernel_weights_done(&l->qkv);
    kernel_weights_done(&l->out);
    kernel_weights_done(&l->in);
    kernel_weights_done(&l->down);
    for (int i = 0; i < 2; i++)
        free(l->norm1[i]), free(l->norm2[i]);
}

void bert_done(struct bert *b)
{
    for (uint32_t i = 0; b->layer && i < b->layers; i++)
        layer_done(&b->layer[i]);
    free(b->layer), free(b->word), free(b->word_f32), free(b->position), free(b->type);
    free(b->norm[0]), free(b->norm[1]), free(b->head_weight), free(b->head_bias);
    kernel_weights_done(&b->pooler);
    *b = (struct bert){0};
}

static void embed_row(const struct bert *b, uint32_t id, uint32_t position, uint32_t type, float *x)
{
    const float *p = b->position + (size_t)position * b->hidden,
                *t = b->type + (size_t)type * b->hidden;
    for (uint32_t i = 0; i < b->hidden; i++) {
        float v;
        if (b->word) {
            uint32_t bits = (uint32_t)b->word[(size_t)id * b->hidden + i] << 16;
            memcpy(&v, &bits, 4);
        } else {
            v = b->word_f32[(size_t)id * b->hidden + i];
        }
        x[i] = v + p[i] + t[i];
    }
}

/* y = x W^T + bias over at most KERNEL_ROWS_MAX rows. */
static void multiply(const struct bert *b, struct bert_work *w, const struct kernel_weights *m,
                     const float *x, uint32_t ldx, uint32_t rows, float *y, uint32_t ldy)
{
    struct kernel_rows in = {.quantised = w->quantised, .scale = w->scale};
    b->set->quantise[m->precision](x, ldx, rows, m->k, &in);
    b->set->product[m->precision](m, &in, rows, y, ldy);
}

static void attend(const struct bert *b, struct bert_work *w, const struct bert_layer *l,
                   const struct bert_span *s, uint32_t n, uint32_t tokens)
{
    for (uint32_t r = 0; r < tokens; r += KERNEL_ROWS_MAX)
        multiply(b, w, &l->qkv, w->x + (size_t)r * w->ld, w->ld, MIN(KERNEL_ROWS_MAX, tokens - r),
                 w->qkv + (size_t)r * w->ld_qkv, w->ld_qkv);
    uint32_t row = 0;
    for (uint32_t i = 0; i < n; row += s[i++].count)
        if (s[i].count)
            b->set->attention(w->qkv + (size_t)row * w->ld_qkv, w->ld_qkv, s[i].count, b->heads,
                              b->head_size, w->mixed + (size_t)row * w->ld, w->ld, w->scratch);
}

/* What follows attention, some rows at a time so that the wide middle stays in the cache. */
static void transform(const struct bert *b, struct bert_work *w, const struct bert_layer *l,
                      uint32_t tokens)
{
    for (uint32_t r = 0; r < tokens; r += KERNEL_ROWS_MAX) {
        uint32_t rows = MIN(KERNEL_ROWS_MAX, tokens - r);
        float *x = w->x + (size_t)r * w->ld, *mixed = w->mixed + (size_t)r * w->ld;
        multiply(b, w, &l->out, mixed, w->ld, rows, w->block, w->ld_inner);
        b->set->norm(x, w->ld, w->block, w->ld_inner, rows, b->hidden, l->norm1[0], l->norm1[1],
                     b->epsilon);
        multiply(b, w, &l->in, x, w->ld, rows, w->block, w->ld_inner);
        b->set->gelu(w->block, w->ld_inner, rows, kernel_round(b->inner));
        multiply(b, w, &l->down, w->block, w->ld_inner, rows, mixed, w->ld);
        b->set->norm(x, w->ld, mixed, w->ld, rows, b->hidden, l->norm2[0], l->norm2[1], b->epsilon);
    }
}

const float *bert_forward(const struct bert *b, struct bert_work *w, const struct bert_span *s,
                          uint32_t n, uint32_t *out_ld)
{
    uint32_t tokens = 0;
    for (uint32_t i = 0; i < n; i++) {
        CHECK(s[i].count <= b->positions && tokens + s[i].count <= w->tokens_max);
        for (uint32_t k = 0; k < s[i].count; k++) {
            uint32_t type = s[i].types ? s[i].types[k] : 0;
            CHECK(s[i].ids[k] < b->vocabulary && type < b->types);
            embed_row(b, s[i].ids[k], k, type, w->x + (size_t)tokens++ * w->ld);
        }
    }
    b->set->norm(w->x, w->ld, NULL, 0, tokens, b->hidden, b->norm[0], b->norm[1], b->epsilon);
    for (uint32_t i = 0; i < b->layers; i++) {
        attend(b, w, &b->layer[i], s, n, tokens);
        transform(b, w, &b->layer[i], tokens);
    }
    *out_ld = w->ld;
    return w->x;
}
