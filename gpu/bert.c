#include "gpu/bert.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "base/check.h"

struct bert_work {
    uint32_t tokens_max, ld, ld_qkv, ld_inner;
    float *x, *qkv, *mixed, *block, *scratch; /* block: one product's rows, hidden or inner wide */
    struct kernel_rows in,
        inner; /* rows as a product wants them; inner: of the second half of the middle */
    float *
        arena; /* all of these are in it, laid out once: no page of it is new while the encoder runs */
};

/* Zeroed, on huge pages where the system gives them. */
static float *floats(size_t n)
{
    void *p = NULL;
    size_t huge = 2u << 20, size = (n * sizeof(float) + huge - 1) / huge * huge;
    if (posix_memalign(&p, huge, size) != 0)
        return NULL;
    (void)madvise(p, size, MADV_HUGEPAGE); /* a wish: small pages do as well, a little slower */
    memset(p, 0, size);
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
    size_t groups = w->ld_inner / KERNEL_ALIGN,
           quantised = (kernel_quantised_bytes(KERNEL_ROWS_MAX, w->ld_inner) + 3) / 4;
    const struct {
        float **at;
        size_t floats;
    } parts[] = {{&w->x, (size_t)w->tokens_max * w->ld},
                 {&w->qkv, (size_t)w->tokens_max * w->ld_qkv},
                 {&w->mixed, (size_t)w->tokens_max * w->ld},
                 {&w->block, (size_t)KERNEL_ROWS_MAX * w->ld_inner},
                 {&w->scratch, kernel_attention_floats(b->positions)},
                 {&w->in.scale, KERNEL_ROWS_MAX * groups},
                 {&w->in.zero, KERNEL_ROWS_MAX * groups},
                 {&w->inner.scale, KERNEL_ROWS_MAX * groups},
                 {&w->inner.zero, KERNEL_ROWS_MAX * groups},
                 {(float **)&w->in.quantised, quantised},
                 {(float **)&w->inner.quantised, quantised}};
    size_t total = 0;
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        total += kernel_round((uint32_t)parts[i].floats) + KERNEL_ALIGN;
    if (!(w->arena = floats(total))) {
        free(w);
        return NULL;
    }
    float *at = w->arena;
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        *parts[i].at = at;
        at += kernel_round((uint32_t)parts[i].floats) + KERNEL_ALIGN;
    }
    return w;
}

void bert_work_free(struct bert_work *w)
{
    if (!w)
        return;
    free(w->arena);
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
    struct kernel_rows in = w->in;
    b->set->quantise[m->precision](m, x, ldx, rows, &in);
    b->set->product[m->precision](m, &in, rows, y, ldy);
}

static void attend(const struct bert *b, struct bert_work *w, const struct bert_layer *l,
                   const struct bert_span *s, uint32_t n, uint32_t tokens)
{
    bool coarse =
        l->qkv.precision != KERNEL_F32 && b->set->attention_bf16 && b->head_size % 32 == 0;
    for (uint32_t r = 0; r < tokens; r += KERNEL_ROWS_MAX)
        multiply(b, w, &l->qkv, w->x + (size_t)r * w->ld, w->ld, MIN(KERNEL_ROWS_MAX, tokens - r),
                 w->qkv + (size_t)r * w->ld_qkv, w->ld_qkv);
    uint32_t row = 0;
    for (uint32_t i = 0; i < n; row += s[i++].count)
        if (s[i].count)
            (coarse ? b->set->attention_bf16 : b->set->attention)(
                w->qkv + (size_t)row * w->ld_qkv, w->ld_qkv, s[i].count, b->heads, b->head_size,
                w->mixed + (size_t)row * w->ld, w->ld, w->scratch);
}

static void activate(const struct bert *b, const struct kernel_weights *next, float *x, uint32_t ld,
                     uint32_t rows, uint32_t n)
{
    if (b->tanh_gelu)
        b->set->gelu_tanh(x, ld, rows, n);
    else if (next->precision != KERNEL_F32 && b->set->gelu_coarse)
        b->set->gelu_coarse(x, ld, rows, n);
    else
        b->set->gelu(x, ld, rows, n);
}

/* y = down(gelu(in(x))), a group of the middle's columns at a time: in INT8 the wide middle is never there as a whole. */
static void middle_by_parts(const struct bert *b, struct bert_work *w, const struct bert_layer *l,
                            const float *x, uint32_t rows, float *y)
{
    b->set->quantise[KERNEL_INT8](&l->in, x, w->ld, rows, &w->in);
    for (uint32_t g = 0; g < kernel_groups(&l->down); g++) {
        uint32_t from = g * l->down.group, columns = MIN(l->down.group, l->down.k_padded - from);
        struct kernel_range up = {from, columns, 0, kernel_groups(&l->in), false},
                            down = {0, l->down.n_padded, g, 1, g > 0};
        b->set->product_part(&l->in, &w->in, rows, &up, w->block, columns);
        activate(b, &l->down, w->block, columns, rows, columns);
        b->set->quantise_part(&l->down, w->block, columns, rows, g, &w->inner);
        b->set->product_part(&l->down, &w->inner, rows, &down, y, w->ld);
    }
}

/* What follows attention, some rows at a time so that the wide middle stays in the cache. */
static void transform(const struct bert *b, struct bert_work *w, const struct bert_layer *l,
                      uint32_t tokens)
{
    bool by_parts =
        b->set->product_part && l->in.precision == KERNEL_INT8 && l->down.precision == KERNEL_INT8;
    for (uint32_t r = 0; r < tokens; r += KERNEL_ROWS_MAX) {
        uint32_t rows = MIN(KERNEL_ROWS_MAX, tokens - r);
        float *x = w->x + (size_t)r * w->ld, *mixed = w->mixed + (size_t)r * w->ld;
        multiply(b, w, &l->out, mixed, w->ld, rows, w->block, w->ld_inner);
        b->set->norm(x, w->ld, w->block, w->ld_inner, rows, b->hidden, l->norm1[0], l->norm1[1],
                     b->epsilon);
        if (by_parts) {
            middle_by_parts(b, w, l, x, rows, mixed);
        } else {
            multiply(b, w, &l->in, x, w->ld, rows, w->block, w->ld_inner);
            activate(b, &l->down, w->block, w->ld_inner, rows, kernel_round(b->inner));
            multiply(b, w, &l->down, w->block, w->ld_inner, rows, mixed, w->ld);
        }
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
