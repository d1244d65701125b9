#include "gpu/train_net.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/check.h"
#include "base/hash.h"
#include "gpu/model_branch.h"
#include "gpu/model_core.h"
#include "gpu/train_low_rank.h"

#define TENSORS_PER_LAYER 28u /* 12 of them factors */
#define TENSORS_OTHER 8u
#define MATRICES_PER_LAYER 6u
#define HEAD_BIAS \
    -3.0f /* of a head that is made: few tokens are positive, and the encoder need not move to say so */

void *train_memory(size_t bytes)
{
    void *p = NULL;
    size_t large = 2u << 20, align = bytes >= large ? large : 64;
    bytes =
        (bytes + align - 1) / align * align + align; /* loads of whole vectors may pass the end */
    if (posix_memalign(&p, align, bytes) != 0)
        return NULL;
    if (align == large)
        (void)madvise(p, bytes, MADV_HUGEPAGE); /* only a hint */
    memset(p, 0, bytes);
    return p;
}

/* --- the table ------------------------------------------------------------------------------------- */

static size_t add(struct train_net *n, const char *name, uint32_t rows, uint32_t columns)
{
    struct train_tensor *t = &n->tensor[n->tensors++];
    *t = (struct train_tensor){.at = n->floats, .rows = rows, .columns = columns};
    snprintf(t->name, sizeof(t->name), "%s", name);
    t->decays = rows > 0;
    t->is_head = strncmp(name, "head.", 5) == 0;
    n->floats += ((size_t)(rows ? rows : 1) * columns + 15) / 16 * 16;
    return t->at;
}

static size_t add_in(struct train_net *n, uint32_t layer, const char *name, const char *what,
                     uint32_t rows, uint32_t columns)
{
    char full[96];
    snprintf(full, sizeof(full), "encoder.layer.%u.%s.%s", layer, name, what);
    return add(n, full, rows, columns);
}

static void add_layer(struct train_net *n, uint32_t i)
{
    struct train_layer *l = &n->layer[i];
    static const char *const qkv[] = {"attention.self.query", "attention.self.key",
                                      "attention.self.value"};
    uint32_t h = n->hidden, inner = n->inner;
    size_t at[3];
    for (int k = 0; k < 3; k++)
        at[k] = add_in(n, i, qkv[k], "weight", h, h);
    l->qkv = (struct train_matrix){.at = at[0], .n = 3 * h, .k = h};
    CHECK(at[2] == at[0] + 2 * (size_t)h * h); /* one matrix of three */
    for (int k = 0; k < 3; k++)
        at[k] = add_in(n, i, qkv[k], "bias", 0, h);
    l->qkv_bias = at[0];
    CHECK(at[2] == at[0] + 2 * (size_t)h);
    l->out = (struct train_matrix){
        .at = add_in(n, i, "attention.output.dense", "weight", h, h), .n = h, .k = h};
    l->out_bias = add_in(n, i, "attention.output.dense", "bias", 0, h);
    l->norm1[0] = add_in(n, i, "attention.output.LayerNorm", "weight", 0, h);
    l->norm1[1] = add_in(n, i, "attention.output.LayerNorm", "bias", 0, h);
    l->in = (struct train_matrix){
        .at = add_in(n, i, "intermediate.dense", "weight", inner, h), .n = inner, .k = h};
    l->in_bias = add_in(n, i, "intermediate.dense", "bias", 0, inner);
    l->down = (struct train_matrix){
        .at = add_in(n, i, "output.dense", "weight", h, inner), .n = h, .k = inner};
    l->down_bias = add_in(n, i, "output.dense", "bias", 0, h);
    l->norm2[0] = add_in(n, i, "output.LayerNorm", "weight", 0, h);
    l->norm2[1] = add_in(n, i, "output.LayerNorm", "bias", 0, h);
}

static size_t add_factor(struct train_net *n, const char *name, const char *which, uint32_t rows,
                         uint32_t columns)
{
    char full[112];
    snprintf(full, sizeof(full), "%s.%s", name, which);
    size_t at = add(n, full, rows, columns);
    n->tensor[n->tensors - 1].is_factor = true;
    return at;
}

static void add_factors(struct train_net *n)
{
    for (uint32_t i = 0, tensors = n->tensors; n->rank && i < tensors; i++) {
        const struct train_tensor *t = &n->tensor[i];
        if (t->rows == 0 || strncmp(t->name, "encoder.", 8) != 0)
            continue;
        struct train_change *c = &n->change[n->changes++];
        *c = (struct train_change){.at = t->at, .n = t->rows, .k = t->columns};
        c->up = add_factor(n, t->name, "up", c->n, n->rank);
        c->down = add_factor(n, t->name, "down", n->rank, c->k);
    }
}

static void lay_out(struct train_net *n)
{
    n->word = add(n, "embeddings.word_embeddings.weight", n->vocabulary, n->hidden);
    n->dense = n->floats;
    n->position = add(n, "embeddings.position_embeddings.weight", n->positions, n->hidden);
    n->type = add(n, "embeddings.token_type_embeddings.weight", n->types, n->hidden);
    n->norm[0] = add(n, "embeddings.LayerNorm.weight", 0, n->hidden);
    n->norm[1] = add(n, "embeddings.LayerNorm.bias", 0, n->hidden);
    for (uint32_t i = 0; i < n->layers; i++)
        add_layer(n, i);
    n->head = add(n, "head.weight", 1, n->hidden);
    n->head_bias = add(n, "head.bias", 0, 1);
    n->factors = n->floats;
    add_factors(n);
}

const struct train_tensor *train_net_find(const struct train_net *n, const char *name)
{
    for (uint32_t i = 0; i < n->tensors; i++)
        if (strcmp(n->tensor[i].name, name) == 0)
            return &n->tensor[i];
    return NULL;
}

/* --- values ---------------------------------------------------------------------------------------- */

static const struct safetensor *find(const struct model_file *f, const char *prefix,
                                     const char *name, const char *suffix)
{
    char full[256];
    int n = snprintf(full, sizeof(full), "%s%s%s", prefix, name, suffix);
    return safetensors_find(&f->tensors, bytes_of(full, MIN((size_t)n, sizeof(full) - 1)));
}

static enum err read_tensor(const struct train_net *n, const struct model_file *f,
                            const struct train_tensor *t, struct err_msg *msg)
{
    const struct safetensor *from = model_branch_find(&f->tensors, bytes_str(t->name)), *scale;
    if (!from)
        from = find(f, n->prefix, t->name, "");
    scale = find(f, n->prefix, t->name, ".scale");
    uint64_t rows = t->rows ? t->rows : 1, values = 1;
    for (uint32_t d = 0; from && d < from->dims; d++)
        values *= from->shape[d];
    bool scaled = from && from->type == SAFETENSORS_I8;
    if (!from || values != rows * t->columns ||
        (scaled && (!scale || scale->data.size != rows * sizeof(float))))
        return err_set(msg, ERR_INVALID, "tensor %s%s is missing or of another shape", n->prefix,
                       t->name);
    for (uint64_t i = 0; i < values; i++)
        n->weights[t->at + i] =
            safetensors_float(from, i) * (scaled ? safetensors_float(scale, i / t->columns) : 1);
    return t->rows ? model_branch_add(&f->tensors, bytes_str(t->name), t->rows, t->columns,
                                      n->weights + t->at, msg)
                   : ERR_OK;
}

/* One label is taken as it is, of two the difference: the same probability of the second. */
static enum err read_head(struct train_net *n, const struct model_file *f, uint64_t seed,
                          struct err_msg *msg)
{
    const struct safetensor *w = find(f, "", "head.weight", ""), *b = find(f, "", "head.bias", "");
    if (!w) {
        w = find(f, "", "classifier.weight", "");
        b = find(f, "", "classifier.bias", "");
    }
    float *weight = n->weights + n->head, *bias = n->weights + n->head_bias;
    for (uint32_t i = 0; !w && i < n->hidden; i++) /* uniform, deviation .02 */
        weight[i] =
            ((float)(hash64(bytes_of(&i, sizeof(i)), seed) >> 40) / (float)(1u << 24) - .5f) *
            .0693f;
    if (!w) {
        *bias = HEAD_BIAS;
        return ERR_OK;
    }
    uint64_t labels = w->dims == 2 ? w->shape[0] : 0;
    if (labels < 1 || labels > 2)
        return err_set(msg, ERR_UNIMPLEMENTED,
                       "a head of %llu labels: one of 1 or 2 can be trained further",
                       (unsigned long long)labels);
    if (!b || w->shape[1] != n->hidden || b->dims != 1 || b->shape[0] != labels)
        return err_set(msg, ERR_INVALID, "the head's weight and bias do not fit each other");
    for (uint32_t i = 0; i < n->hidden; i++)
        weight[i] = safetensors_float(w, (labels - 1) * n->hidden + i) -
                    (labels == 2 ? safetensors_float(w, i) : 0);
    *bias = safetensors_float(b, labels - 1) - (labels == 2 ? safetensors_float(b, 0) : 0);
    return ERR_OK;
}

static enum err find_prefix(struct train_net *n, const struct safetensors *s, struct err_msg *msg)
{
    struct bytes prefix = model_file_prefix(s);
    if (!prefix.data)
        return err_set(msg, ERR_INVALID, "no table of words");
    if (prefix.size >= sizeof(n->prefix))
        return err_set(msg, ERR_INVALID, "a name before \"embeddings\" of %zu bytes", prefix.size);
    memcpy(n->prefix, prefix.data, prefix.size);
    return ERR_OK;
}

/* --- matrices -------------------------------------------------------------------------------------- */

static enum err make_matrix(const struct train_net *n, struct train_matrix *m)
{
    m->forward = train_memory(train_panels(n->set, m->k, m->n) * sizeof(train_cell));
    m->back = train_memory(train_panels(n->set, m->n, m->k) * sizeof(train_cell));
    return m->forward && m->back ? ERR_OK : ERR_NOMEM;
}

static void pack_matrix(const struct train_set *s, const struct train_matrix *m,
                        const float *weights)
{
    const float *w = weights + m->at;
    s->pack_panels_t(w, m->k, m->n, m->k, m->forward, train_cells(s, m->k) * s->panel);
    s->pack_panels(w, m->k, m->n, m->k, m->back, train_cells(s, m->n) * s->panel);
}

void train_net_pack(struct train_net *n, uint32_t layer, const float *weights)
{
    const struct train_layer *l = &n->layer[layer];
    pack_matrix(n->set, &l->qkv, weights);
    pack_matrix(n->set, &l->out, weights);
    pack_matrix(n->set, &l->in, weights);
    pack_matrix(n->set, &l->down, weights);
}

static enum err make(struct train_net *n)
{
    n->layer = calloc(n->layers, sizeof(*n->layer));
    n->tensor = calloc((size_t)n->layers * TENSORS_PER_LAYER + TENSORS_OTHER, sizeof(*n->tensor));
    n->change = calloc((size_t)n->layers * MATRICES_PER_LAYER, sizeof(*n->change));
    if (!n->layer || !n->tensor || !n->change)
        return ERR_NOMEM;
    lay_out(n);
    CHECK(n->tensors <= n->layers * TENSORS_PER_LAYER + TENSORS_OTHER);
    if (!(n->weights = train_memory(n->floats * sizeof(float))))
        return ERR_NOMEM;
    enum err e = ERR_OK;
    for (uint32_t i = 0; i < n->layers && e == ERR_OK; i++) {
        struct train_layer *l = &n->layer[i];
        struct train_matrix *each[] = {&l->qkv, &l->out, &l->in, &l->down};
        for (size_t k = 0; k < ARRAY_LEN(each) && e == ERR_OK; k++)
            e = make_matrix(n, each[k]);
    }
    return e;
}

enum err train_net_open(const struct model_file *f, const char *name, const struct train_set *set,
                        uint32_t rank, uint64_t seed, struct train_net *out, struct err_msg *msg)
{
    struct gpu_model *m;
    /* What is not run is not trained; and every tensor is there, of its shape and finite. */
    enum err e = gpu_model_load(f, name, GPU_BF16, &m, msg);
    if (e != ERR_OK)
        return e;
    const struct bert *b = &m->bert;
    struct train_net n = {.set = set,
                          .layers = b->layers,
                          .hidden = b->hidden,
                          .heads = b->heads,
                          .head_size = b->head_size,
                          .inner = b->inner,
                          .vocabulary = b->vocabulary,
                          .positions = b->positions,
                          .types = b->types,
                          .epsilon = b->epsilon,
                          .ld = train_round(b->hidden),
                          .ld_qkv = train_round(3 * b->hidden),
                          .ld_inner = train_round(b->inner),
                          .rank = rank};
    struct bytes act = json_get_str(f->config, "hidden_act");
    const struct json_node *kinds = json_get(f->config, "architectures");
    bool is_sequence = kinds && kinds->type == JSON_ARRAY && kinds->child &&
                       bytes_has_suffix(kinds->child->text, BYTES_LIT("ForSequenceClassification"));
    if (is_sequence)
        e = err_set(msg, ERR_UNIMPLEMENTED, "%s: a head for whole sequences is not trained", name);
    else if (m->pooling != GPU_POOL_MEAN || (act.size && !bytes_equal_str(act, "gelu")))
        e = err_set(msg, ERR_UNIMPLEMENTED,
                    "%s: models that pool by mean, with exact GELU, are trained", name);
    else if (rank > MIN(n.hidden, n.inner))
        e = err_set(msg, ERR_INVALID, "%s: a change of rank %u; at most %u can be", name, rank,
                    MIN(n.hidden, n.inner));
    gpu_model_close(m);
    struct err_msg why = {""};
    if (e == ERR_OK && (e = find_prefix(&n, &f->tensors, &why)) == ERR_OK)
        e = make(&n);
    for (uint32_t i = 0; e == ERR_OK && i < n.tensors; i++)
        if (!n.tensor[i].is_head && !n.tensor[i].is_factor)
            e = read_tensor(&n, f, &n.tensor[i], &why);
    if (e == ERR_OK)
        e = read_head(&n, f, seed, &why);
    if (e == ERR_OK && rank)
        e = train_low_rank_begin(&n, seed);
    if (e != ERR_OK) {
        train_net_done(&n);
        return why.text[0] ? err_set(msg, e, "%s: %s", name, why.text) : e;
    }
    *out = n;
    return ERR_OK;
}

void train_net_done(struct train_net *n)
{
    for (uint32_t i = 0; n->layer && i < n->layers; i++) {
        struct train_layer *l = &n->layer[i];
        free(l->qkv.forward), free(l->out.forward), free(l->in.forward), free(l->down.forward);
        free(l->qkv.back), free(l->out.back), free(l->in.back), free(l->down.back);
    }
    free(n->layer), free(n->tensor), free(n->weights), free(n->change), free(n->start);
    *n = (struct train_net){0};
}
