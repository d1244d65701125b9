#include "gpu/train_pass.h"

#include <stdlib.h>

#include "base/check.h"

struct kept { /* of one layer */
    float *qkv, *inner, *normal1, *normal2, *inverse1, *inverse2, *log_sums;
    train_cell *input, *mixed, *middle, *wide; /* panels: what the four products were given */
};

struct train_work {
    uint32_t tokens_max, layers;
    size_t stride; /* cells of the slab's length */
    struct kept *kept;
    float *normal, *inverse; /* of the embeddings */
    uint32_t *keys, *wanted_keys; /* [tokens], [wanted] */
    float *x, *dx, *mixed, *dqkv; /* rows of the whole slab */
    float *block[2]; /* TRAIN_ROWS rows, hidden or inner wide */
    train_cell *rows; /* of a block, as left operand */
    train_cell *columns_wide, *columns_down, *columns_out; /* gradients as left operands */
    uint32_t *drop_keys; /* [TRAIN_ROWS] */
    void *scratch; /* attention's */
    /* of the slab under way */
    const struct train_span *span;
    uint32_t spans, tokens, wanted;
    struct train_dropout drop;
};

/* Places where dropout happens: behind the embeddings, and twice in each layer. */
enum site { SITE_EMBEDDINGS, SITE_ATTENTION, SITE_INNER, SITES };

static struct train_heads heads_of(const struct train_net *n)
{
    return (struct train_heads){n->set, n->heads, n->head_size};
}

uint32_t train_work_tokens(const struct train_net *n)
{
    return MAX(TRAIN_SLAB_TOKENS, n->positions);
}

/* Cells between the rows of gradients that stand as columns: not a power of two. */
static size_t ld_columns(uint32_t n)
{
    return train_round(n) + 16;
}

static bool make_kept(const struct train_net *n, const struct train_work *w, struct kept *k)
{
    const struct train_set *s = n->set;
    size_t t = w->tokens_max;
    k->qkv = train_memory(t * n->ld_qkv * 4);
    k->inner = train_memory(t * n->ld_inner * 4);
    k->normal1 = train_memory(t * n->ld * 4);
    k->normal2 = train_memory(t * n->ld * 4);
    k->inverse1 = train_memory(t * 4);
    k->inverse2 = train_memory(t * 4);
    k->log_sums = train_memory(t * n->heads * 4);
    k->input = train_memory(train_panels(s, w->tokens_max, n->hidden) * 4);
    k->mixed = train_memory(train_panels(s, w->tokens_max, n->hidden) * 4);
    k->middle = train_memory(train_panels(s, w->tokens_max, n->hidden) * 4);
    k->wide = train_memory(train_panels(s, w->tokens_max, n->inner) * 4);
    return k->qkv && k->inner && k->normal1 && k->normal2 && k->inverse1 && k->inverse2 &&
           k->log_sums && k->input && k->mixed && k->middle && k->wide;
}

struct train_work *train_work_new(const struct train_net *n)
{
    struct train_work *w = calloc(1, sizeof(*w));
    struct train_heads heads = heads_of(n);
    if (!w)
        return NULL;
    w->tokens_max = (train_work_tokens(n) + 1) / 2 * 2; /* pairs of rows fill whole cells */
    w->stride = train_cells(n->set, w->tokens_max);
    size_t t = w->tokens_max;
    uint32_t wide = MAX(MAX(n->ld_inner, n->ld_qkv), n->ld);
    w->layers = n->layers;
    w->kept = calloc(n->layers, sizeof(*w->kept));
    w->normal = train_memory(t * n->ld * 4);
    w->inverse = train_memory(t * 4);
    w->keys = train_memory(t * 4);
    w->wanted_keys = train_memory(t * 4);
    w->x = train_memory(t * n->ld * 4);
    w->dx = train_memory(t * n->ld * 4);
    w->mixed = train_memory(t * n->ld * 4);
    w->dqkv = train_memory(t * n->ld_qkv * 4);
    for (int i = 0; i < 2; i++)
        w->block[i] = train_memory((size_t)TRAIN_ROWS * wide * 4);
    w->rows = train_memory((size_t)TRAIN_ROWS * wide * 4);
    w->columns_wide =
        train_memory(w->stride * MAX(ld_columns(n->inner), ld_columns(3 * n->hidden)) * 4);
    w->columns_down = train_memory(w->stride * ld_columns(n->hidden) * 4);
    w->columns_out = train_memory(w->stride * ld_columns(n->hidden) * 4);
    w->drop_keys = train_memory(TRAIN_ROWS * 4);
    w->scratch = train_memory(train_attention_bytes(&heads, n->positions));
    bool ok = w->kept && w->normal && w->inverse && w->keys && w->wanted_keys && w->x && w->dx &&
              w->mixed && w->dqkv && w->block[0] && w->block[1] && w->rows && w->columns_wide &&
              w->columns_down && w->columns_out && w->drop_keys && w->scratch;
    for (uint32_t i = 0; ok && i < n->layers; i++)
        ok = make_kept(n, w, &w->kept[i]);
    if (!ok) {
        train_work_free(w);
        return NULL;
    }
    return w;
}

void train_work_free(struct train_work *w)
{
    if (!w)
        return;
    for (uint32_t i = 0; w->kept && i < w->layers; i++) {
        struct kept *k = &w->kept[i];
        free(k->qkv), free(k->inner), free(k->normal1), free(k->normal2), free(k->inverse1);
        free(k->inverse2), free(k->log_sums), free(k->input), free(k->mixed), free(k->middle);
        free(k->wide);
    }
    free(w->kept), free(w->normal), free(w->inverse), free(w->keys), free(w->wanted_keys),
        free(w->x), free(w->dx);
    free(w->mixed), free(w->dqkv), free(w->block[0]), free(w->block[1]), free(w->rows);
    free(w->columns_wide), free(w->columns_down), free(w->columns_out), free(w->drop_keys);
    free(w->scratch);
    free(w);
}

float *train_work_slopes(struct train_work *w)
{
    return w->dx;
}

/* --- parts of both ways ------------------------------------------------------------------------------ */

static uint32_t mixed_bits(uint32_t x)
{
    x ^= x >> 16;
    x *= 0x7feb352du;
    x ^= x >> 15;
    x *= 0x846ca68bu;
    return x ^ x >> 16;
}

/* The same values at the same places both ways: forward on what is added, back on its gradient. */
static void drop(const struct train_net *n, struct train_work *w, uint32_t layer, enum site site,
                 uint32_t row, uint32_t rows, float *x)
{
    const uint32_t *keys =
        site != SITE_EMBEDDINGS && layer + 1 == n->layers ? w->wanted_keys : w->keys;
    if (w->drop.threshold == 0)
        return;
    for (uint32_t i = 0; i < rows; i++)
        w->drop_keys[i] = mixed_bits(keys[row + i] ^ (layer * SITES + site) * 0x9e3779b9u);
    n->set->drop(x, n->ld, rows, n->hidden, w->drop_keys, w->drop.threshold, w->drop.scale);
}

/* Keeps rows of a block as the right operand of the product that gives the matrix's gradient. */
static void keep(const struct train_net *n, const struct train_work *w, const float *x, size_t ld,
                 uint32_t row, uint32_t rows, uint32_t width, train_cell *to)
{
    const struct train_set *s = n->set;
    s->pack_panels(x, ld, rows, width, to + (size_t)row / s->group * s->panel,
                   w->stride * s->panel);
}

/* c = rows of the block (of width m->k) W^T + bias */
static void forward_product(const struct train_net *n, struct train_work *w, const float *x,
                            size_t ld, uint32_t rows, const struct train_matrix *m,
                            const float *bias, float *c, size_t ldc)
{
    const struct train_set *s = n->set;
    size_t cells = train_cells(s, m->k);
    s->pack_rows(x, ld, rows, m->k, w->rows, cells);
    struct train_product p = {.a = w->rows,
                              .a_ld = cells,
                              .b = m->forward,
                              .b_panel = cells * s->panel,
                              .bias = bias,
                              .c = c,
                              .ldc = ldc,
                              .m = rows,
                              .n = m->n,
                              .cells = (uint32_t)cells};
    s->product(&p);
}

/* dx (+)= dy W for a block; dy is kept as columns for the matrix's gradient, and its sums go to the bias'. */
static void back_product(const struct train_net *n, struct train_work *w, const float *dy,
                         size_t ld, uint32_t row, uint32_t rows, const struct train_matrix *m,
                         train_cell *columns, float *dbias, bool add, float *dx, size_t ldx)
{
    const struct train_set *s = n->set;
    size_t cells = train_cells(s, m->n), ldc = ld_columns(m->n);
    s->add_rows(dy, ld, rows, m->n, dbias);
    s->pack_columns(dy, ld, rows, m->n, columns + (size_t)row / s->group * ldc, ldc);
    s->pack_rows(dy, ld, rows, m->n, w->rows, cells);
    struct train_product p = {.a = w->rows,
                              .a_ld = cells,
                              .b = m->back,
                              .b_panel = cells * s->panel,
                              .add = add,
                              .c = dx,
                              .ldc = ldx,
                              .m = rows,
                              .n = m->k,
                              .cells = (uint32_t)cells};
    s->product(&p);
}

/* dW += dy^T x over all rows of the slab. */
static void matrix_gradient(const struct train_net *n, const struct train_work *w,
                            const train_cell *columns, const train_cell *input, uint32_t rows,
                            const struct train_matrix *m, float *gradient)
{
    const struct train_set *s = n->set;
    struct train_product p = {.a = columns,
                              .a_ld = ld_columns(m->n),
                              .a_is_columns = true,
                              .b = input,
                              .b_panel = w->stride * s->panel,
                              .add = true,
                              .c = gradient + m->at,
                              .ldc = m->k,
                              .m = m->n,
                              .n = m->k,
                              .cells = (uint32_t)train_cells(s, rows)};
    s->product(&p);
}

/* All of a sequence's tokens, or in the last layer those that are wanted. */
static struct train_queries queries_of(const struct train_net *n, const struct train_span *s,
                                       uint32_t layer)
{
    return layer + 1 == n->layers ? s->wanted : (struct train_queries){0, s->count};
}

static uint32_t rows_of(const struct train_net *n, const struct train_work *w, uint32_t layer)
{
    return layer + 1 == n->layers ? w->wanted : w->tokens;
}

/* --- forward ----------------------------------------------------------------------------------------- */

static void embed(const struct train_net *n, struct train_work *w, const float *weights)
{
    uint32_t row = 0;
    for (uint32_t i = 0; i < w->spans; i++)
        for (uint32_t k = 0; k < w->span[i].count; k++, row++) {
            const struct train_span *s = &w->span[i];
            uint32_t type = s->types ? s->types[k] : 0;
            CHECK(s->ids[k] < n->vocabulary && type < n->types && k < n->positions);
            const float *word = weights + n->word + (size_t)s->ids[k] * n->hidden,
                        *place = weights + n->position + (size_t)k * n->hidden,
                        *kind = weights + n->type + (size_t)type * n->hidden;
            float *x = w->x + (size_t)row * n->ld;
            for (uint32_t c = 0; c < n->hidden; c++)
                x[c] = word[c] + place[c] + kind[c];
            w->keys[row] = mixed_bits(s->key + k * 0x9e3779b9u);
        }
    n->set->norm(w->x, NULL, n->ld, row, n->hidden, weights + n->norm[0], weights + n->norm[1],
                 n->epsilon, w->normal, w->inverse, w->x);
    for (uint32_t r = 0; r < row; r += TRAIN_ROWS)
        drop(n, w, 0, SITE_EMBEDDINGS, r, MIN(TRAIN_ROWS, row - r), w->x + (size_t)r * n->ld);
}

static void attend(const struct train_net *n, struct train_work *w, const float *weights,
                   uint32_t layer)
{
    const struct train_layer *l = &n->layer[layer];
    const struct kept *k = &w->kept[layer];
    const struct train_heads heads = heads_of(n);
    for (uint32_t r = 0; r < w->tokens; r += TRAIN_ROWS) {
        uint32_t rows = MIN(TRAIN_ROWS, w->tokens - r);
        const float *x = w->x + (size_t)r * n->ld;
        float *qkv = k->qkv + (size_t)r * n->ld_qkv;
        keep(n, w, x, n->ld, r, rows, n->hidden, k->input);
        forward_product(n, w, x, n->ld, rows, &l->qkv, weights + l->qkv_bias, qkv, n->ld_qkv);
    }
    size_t row = 0, to = 0;
    for (uint32_t i = 0; i < w->spans; row += w->span[i++].count) {
        struct train_queries of = queries_of(n, &w->span[i], layer);
        train_attention(&heads, k->qkv + row * n->ld_qkv, n->ld_qkv, w->span[i].count, of,
                        w->mixed + to * n->ld, n->ld, k->log_sums + to * n->heads, w->scratch);
        to += of.to - of.from;
    }
}

/* Before the last layer goes on behind attention: its rows are moved together. */
static void gather_wanted(const struct train_net *n, struct train_work *w)
{
    size_t row = 0, to = 0;
    for (uint32_t i = 0; i < w->spans; row += w->span[i++].count) {
        struct train_queries of = w->span[i].wanted;
        size_t rows = of.to - of.from;
        memmove(w->x + to * n->ld, w->x + (row + of.from) * n->ld, rows * n->ld * sizeof(float));
        memcpy(w->wanted_keys + to, w->keys + row + of.from, rows * sizeof(*w->keys));
        to += rows;
    }
}

/* And on the way back: slopes of wanted rows go to their places, all others are zero. */
static void spread_wanted(const struct train_net *n, struct train_work *w)
{
    size_t row = w->tokens, from = w->wanted, width = n->ld * sizeof(float);
    for (uint32_t i = w->spans; i-- > 0;) {
        struct train_queries of = w->span[i].wanted;
        size_t rows = of.to - of.from, rest = w->span[i].count - of.to;
        row -= w->span[i].count;
        from -= rows;
        memmove(w->dx + (row + of.from) * n->ld, w->dx + from * n->ld, rows * width);
        memset(w->dx + (row + of.to) * n->ld, 0, rest * width);
        memset(w->dx + row * n->ld, 0, of.from * width);
    }
}

static void transform(const struct train_net *n, struct train_work *w, const float *weights,
                      uint32_t layer)
{
    const struct train_set *s = n->set;
    const struct train_layer *l = &n->layer[layer];
    const struct kept *k = &w->kept[layer];
    float *narrow = w->block[0], *wide = w->block[1];
    uint32_t all = rows_of(n, w, layer);
    for (uint32_t r = 0; r < all; r += TRAIN_ROWS) {
        uint32_t rows = MIN(TRAIN_ROWS, all - r);
        size_t at = (size_t)r * n->ld;
        float *x = w->x + at, *inner = k->inner + (size_t)r * n->ld_inner;
        keep(n, w, w->mixed + at, n->ld, r, rows, n->hidden, k->mixed);
        forward_product(n, w, w->mixed + at, n->ld, rows, &l->out, weights + l->out_bias, narrow,
                        n->ld);
        drop(n, w, layer, SITE_ATTENTION, r, rows, narrow);
        s->norm(x, narrow, n->ld, rows, n->hidden, weights + l->norm1[0], weights + l->norm1[1],
                n->epsilon, k->normal1 + at, k->inverse1 + r, x);
        keep(n, w, x, n->ld, r, rows, n->hidden, k->middle);
        forward_product(n, w, x, n->ld, rows, &l->in, weights + l->in_bias, inner, n->ld_inner);
        s->gelu(inner, wide, (size_t)rows * n->ld_inner);
        keep(n, w, wide, n->ld_inner, r, rows, n->inner, k->wide);
        forward_product(n, w, wide, n->ld_inner, rows, &l->down, weights + l->down_bias, narrow,
                        n->ld);
        drop(n, w, layer, SITE_INNER, r, rows, narrow);
        s->norm(x, narrow, n->ld, rows, n->hidden, weights + l->norm2[0], weights + l->norm2[1],
                n->epsilon, k->normal2 + at, k->inverse2 + r, x);
    }
}

const float *train_forward(const struct train_net *n, struct train_work *w, const float *weights,
                           const struct train_span *s, uint32_t count, struct train_dropout drop)
{
    w->span = s;
    w->spans = count;
    w->drop = drop;
    w->tokens = w->wanted = 0;
    for (uint32_t i = 0; i < count; i++) {
        CHECK(s[i].wanted.from <= s[i].wanted.to && s[i].wanted.to <= s[i].count);
        w->tokens += s[i].count;
        w->wanted += s[i].wanted.to - s[i].wanted.from;
    }
    CHECK(w->tokens > 0 && w->tokens <= w->tokens_max);
    embed(n, w, weights);
    for (uint32_t i = 0; i < n->layers; i++) {
        attend(n, w, weights, i);
        if (i + 1 == n->layers)
            gather_wanted(n, w);
        transform(n, w, weights, i);
    }
    memset(w->dx, 0, (size_t)w->wanted * n->ld * sizeof(float));
    return w->x;
}

/* --- back -------------------------------------------------------------------------------------------- */

/* From the layer's output to what attention mixed; dx becomes the gradient that goes past attention. */
static void transform_back(const struct train_net *n, struct train_work *w, const float *weights,
                           uint32_t layer, float *g)
{
    const struct train_set *s = n->set;
    const struct train_layer *l = &n->layer[layer];
    const struct kept *k = &w->kept[layer];
    float *narrow = w->block[0], *wide = w->block[1];
    uint32_t all = rows_of(n, w, layer);
    for (uint32_t r = 0; r < all; r += TRAIN_ROWS) {
        uint32_t rows = MIN(TRAIN_ROWS, all - r);
        size_t at = (size_t)r * n->ld, bytes = (size_t)rows * n->ld * sizeof(float);
        float *dx = w->dx + at;
        s->norm_back(dx, k->normal2 + at, k->inverse2 + r, n->ld, rows, n->hidden,
                     weights + l->norm2[0], g + l->norm2[0], g + l->norm2[1]);
        memcpy(narrow, dx, bytes);
        drop(n, w, layer, SITE_INNER, r, rows, narrow);
        back_product(n, w, narrow, n->ld, r, rows, &l->down, w->columns_down, g + l->down_bias,
                     false, wide, n->ld_inner);
        s->gelu_back(k->inner + (size_t)r * n->ld_inner, wide, (size_t)rows * n->ld_inner);
        back_product(n, w, wide, n->ld_inner, r, rows, &l->in, w->columns_wide, g + l->in_bias,
                     true, dx, n->ld);
        s->norm_back(dx, k->normal1 + at, k->inverse1 + r, n->ld, rows, n->hidden,
                     weights + l->norm1[0], g + l->norm1[0], g + l->norm1[1]);
        memcpy(narrow, dx, bytes);
        drop(n, w, layer, SITE_ATTENTION, r, rows, narrow);
        back_product(n, w, narrow, n->ld, r, rows, &l->out, w->columns_out, g + l->out_bias, false,
                     w->mixed + at, n->ld);
    }
    matrix_gradient(n, w, w->columns_down, k->wide, all, &l->down, g);
    matrix_gradient(n, w, w->columns_wide, k->middle, all, &l->in, g);
    matrix_gradient(n, w, w->columns_out, k->mixed, all, &l->out, g);
}

static void attend_back(const struct train_net *n, struct train_work *w, uint32_t layer, float *g)
{
    const struct train_layer *l = &n->layer[layer];
    const struct kept *k = &w->kept[layer];
    const struct train_heads heads = heads_of(n);
    size_t row = 0, from = 0;
    for (uint32_t i = 0; i < w->spans; row += w->span[i++].count) {
        struct train_queries of = queries_of(n, &w->span[i], layer);
        train_attention_back(&heads, k->qkv + row * n->ld_qkv, n->ld_qkv, w->span[i].count, of,
                             w->mixed + from * n->ld, n->ld, k->log_sums + from * n->heads,
                             w->dqkv + row * n->ld_qkv, w->scratch);
        from += of.to - of.from;
    }
    for (uint32_t r = 0; r < w->tokens; r += TRAIN_ROWS) {
        uint32_t rows = MIN(TRAIN_ROWS, w->tokens - r);
        float *dqkv = w->dqkv + (size_t)r * n->ld_qkv;
        back_product(n, w, dqkv, n->ld_qkv, r, rows, &l->qkv, w->columns_wide, g + l->qkv_bias,
                     true, w->dx + (size_t)r * n->ld, n->ld);
    }
    matrix_gradient(n, w, w->columns_wide, k->input, w->tokens, &l->qkv, g);
}

static void embed_back(const struct train_net *n, struct train_work *w, const float *weights,
                       float *g)
{
    uint32_t row = 0;
    for (uint32_t r = 0; r < w->tokens; r += TRAIN_ROWS)
        drop(n, w, 0, SITE_EMBEDDINGS, r, MIN(TRAIN_ROWS, w->tokens - r),
             w->dx + (size_t)r * n->ld);
    n->set->norm_back(w->dx, w->normal, w->inverse, n->ld, w->tokens, n->hidden,
                      weights + n->norm[0], g + n->norm[0], g + n->norm[1]);
    for (uint32_t i = 0; i < w->spans; i++)
        for (uint32_t k = 0; k < w->span[i].count; k++, row++) {
            const struct train_span *s = &w->span[i];
            const float *d = w->dx + (size_t)row * n->ld;
            float *word = g + n->word + (size_t)s->ids[k] * n->hidden,
                  *place = g + n->position + (size_t)k * n->hidden,
                  *kind = g + n->type + (size_t)(s->types ? s->types[k] : 0) * n->hidden;
            for (uint32_t c = 0; c < n->hidden; c++) {
                word[c] += d[c];
                place[c] += d[c];
                kind[c] += d[c];
            }
        }
}

void train_back(const struct train_net *n, struct train_work *w, const float *weights,
                float *gradient)
{
    if (w->wanted == 0) /* nothing was asked for: nothing has a slope */
        return;
    for (uint32_t i = n->layers; i-- > 0;) {
        transform_back(n, w, weights, i, gradient);
        if (i + 1 == n->layers)
            spread_wanted(n, w);
        attend_back(n, w, i, gradient);
    }
    embed_back(n, w, weights, gradient);
}
