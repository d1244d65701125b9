#include "gpu/gpu_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "gpu/model_branch.h"
#include "gpu/model_core.h"

/* Matrices [n_each, k] of the file, stacked (q, k, v), as kernel_pack asks for them. */
struct matrix {
    float *values;
    uint32_t n_each, k, count;
    float factor_first; /* of the first one's rows */
};

/* How a product is packed where it is INT8: groups of inputs that share a scale, and the normalisation its inputs come out of (NULL: none). */
struct rounding {
    uint32_t group;
    float *const *norm;
};

/* Few inputs of a BERT layer are far wider than the rest. Most of that is in the gain and shift of the normalisation before it, so that it can be
 * moved into the weights without looking at any data (the idea of SmoothQuant, arXiv 2211.10438, with 3 gain + shift for the range it measures).
 * What feeds attention stays the most delicate and has small groups. Measured on the 248 golden vectors, least cosine: 0.9839 with one scale a row, see the test's bound. */
#define GROUP_ATTENTION 128u
#define GROUP_MIDDLE 384u
#define SMOOTH_POWER 0.85f

struct load {
    const struct model_file *f;
    struct gpu_model *m;
    struct bert *bert; /* the model's, or its branch */
    bool is_branch;
    struct bytes prefix;
    struct err_msg *msg;
    uint64_t parameters;
};

static const char *const precision_names[] = {"fp32", "bf16", "int8"};

const char *gpu_precision_name(enum gpu_precision p)
{
    CHECK(p < GPU_PRECISION_COUNT);
    return precision_names[p];
}

bool gpu_precision_of(const char *name, enum gpu_precision *out)
{
    for (size_t i = 0; i < ARRAY_LEN(precision_names); i++)
        if (strcmp(name, precision_names[i]) == 0) {
            *out = (enum gpu_precision)i;
            return true;
        }
    return false;
}

/* --- tensors --------------------------------------------------------------------------------------- */

static const struct safetensor *tensor(const struct load *l, struct bytes prefix, const char *name,
                                       const char *suffix)
{
    char full[512];
    int n = snprintf(full, sizeof(full), BYTES_FMT "%s%s", BYTES_ARG(prefix), name, suffix);
    if (n <= 0 || (size_t)n >= sizeof(full))
        return NULL;
    struct bytes whole = bytes_of(full, (size_t)n);
    const struct safetensor *own = NULL;
    if (l->is_branch)
        own = model_branch_find(&l->f->tensors, bytes_slice(whole, l->prefix.size, whole.size));
    return own ? own : safetensors_find(&l->f->tensors, whole);
}

static bool is_number(enum safetensors_type t)
{
    return t == SAFETENSORS_F32 || t == SAFETENSORS_F16 || t == SAFETENSORS_BF16 ||
           t == SAFETENSORS_I8;
}

/* count: none. Blocks, because a model has millions of values and each must be looked at. */
static uint64_t first_not_finite(const struct safetensor *t, uint64_t count)
{
    float block[1024];
    for (uint64_t i = 0; t->type != SAFETENSORS_I8 && i < count; i += ARRAY_LEN(block)) {
        uint64_t n = MIN(count - i, ARRAY_LEN(block));
        float sum = 0; /* of x - x: 0, or not a number */
        safetensors_floats(t, i, n, block);
        for (uint64_t k = 0; k < n; k++)
            sum += block[k] - block[k];
        for (uint64_t k = 0; !(sum == 0) && k < n; k++)
            if (!isfinite(block[k]))
                return i + k;
    }
    return count;
}

/* rows 0: a vector of columns. */
static enum err need(struct load *l, struct bytes prefix, const char *name, uint64_t rows,
                     uint64_t columns, const struct safetensor **out,
                     const struct safetensor **out_scale)
{
    const struct safetensor *t = tensor(l, prefix, name, "");
    if (!t)
        return err_set(l->msg, ERR_INVALID, "tensor " BYTES_FMT "%s is missing", BYTES_ARG(prefix),
                       name);
    bool fits = rows ? t->dims == 2 && t->shape[0] == rows && t->shape[1] == columns
                     : t->dims == 1 && t->shape[0] == columns;
    if (!fits)
        return err_set(l->msg, ERR_INVALID,
                       "tensor " BYTES_FMT ": a shape of %llu x %llu where %llu x %llu is needed",
                       BYTES_ARG(t->name), (unsigned long long)(t->dims > 0 ? t->shape[0] : 0),
                       (unsigned long long)(t->dims > 1 ? t->shape[1] : 1),
                       (unsigned long long)(rows ? rows : columns),
                       (unsigned long long)(rows ? columns : 1));
    if (!is_number(t->type))
        return err_set(l->msg, ERR_UNIMPLEMENTED,
                       "tensor " BYTES_FMT " is %s; F32, F16, BF16 and I8 are read",
                       BYTES_ARG(t->name), safetensors_type_name(t->type));
    *out = t;
    *out_scale = NULL;
    if (t->type == SAFETENSORS_I8) {
        const struct safetensor *s = tensor(l, prefix, name, ".scale");
        if (!s || !rows || s->type != SAFETENSORS_F32 || s->data.size != rows * 4)
            return err_set(l->msg, ERR_INVALID,
                           "tensor " BYTES_FMT " is I8 and has no F32 scale of %llu rows",
                           BYTES_ARG(t->name), (unsigned long long)rows);
        *out_scale = s;
    }
    uint64_t at = first_not_finite(t, (rows ? rows : 1) * columns);
    if (at < (rows ? rows : 1) * columns)
        return err_set(l->msg, ERR_INVALID, "tensor " BYTES_FMT ": value %llu is not finite",
                       BYTES_ARG(t->name), (unsigned long long)at);
    for (uint64_t i = 0; *out_scale && i < rows; i++)
        if (!isfinite(safetensors_float(*out_scale, i)))
            return err_set(l->msg, ERR_INVALID,
                           "the scale of tensor " BYTES_FMT " is not finite in row %llu",
                           BYTES_ARG(t->name), (unsigned long long)i);
    l->parameters += (rows ? rows : 1) * columns;
    return ERR_OK;
}

static void floats_into(const struct safetensor *t, const struct safetensor *scale, uint64_t rows,
                        uint64_t columns, float *out)
{
    safetensors_floats(t, 0, rows * columns, out);
    for (uint64_t r = 0; scale && r < rows; r++) {
        float by = safetensors_float(scale, r);
        for (uint64_t c = 0; c < columns; c++)
            out[r * columns + c] *= by;
    }
}

static float *floats_of(const struct safetensor *t, const struct safetensor *scale, uint64_t rows,
                        uint64_t columns)
{
    float *p = calloc(rows * columns + KERNEL_ALIGN, sizeof(*p));
    if (p)
        floats_into(t, scale, rows, columns, p);
    return p;
}

static enum err vector(struct load *l, struct bytes prefix, const char *name, uint64_t rows,
                       uint64_t columns, float **out)
{
    const struct safetensor *t, *scale;
    enum err e = need(l, prefix, name, rows, columns, &t, &scale);
    if (e == ERR_OK && !(*out = floats_of(t, scale, rows ? rows : 1, columns)))
        e = ERR_NOMEM;
    return e;
}

static float matrix_get(const void *ctx, uint32_t n, uint32_t k)
{
    const struct matrix *m = ctx;
    float v = m->values[(size_t)n * m->k + k];
    return n < m->n_each ? v * m->factor_first : v;
}

/* smooth[k] of a product whose inputs come out of a normalisation; mean 1. */
static float *smoothing(const struct matrix *m, float *const *norm)
{
    float *smooth = calloc(m->k, sizeof(*smooth));
    double sum = 0;
    for (uint32_t n = 0; smooth && n < m->n_each * m->count; n++)
        for (uint32_t k = 0; k < m->k; k++)
            smooth[k] = fmaxf(smooth[k], fabsf(m->values[(size_t)n * m->k + k]));
    for (uint32_t k = 0; smooth && k < m->k; k++) {
        float weight = fmaxf(smooth[k], 1e-5f),
              range = 3 * fabsf(norm[0][k]) + fabsf(norm[1][k]) + 1e-5f;
        smooth[k] = powf(range, SMOOTH_POWER) / powf(weight, 1 - SMOOTH_POWER);
        sum += (double)smooth[k];
    }
    float scale = (float)(m->k / sum);
    bool is_usable = isfinite(scale) && scale > 0;
    for (uint32_t k = 0; smooth && k < m->k; k++) {
        smooth[k] = is_usable ? smooth[k] * scale : 1;
        is_usable = is_usable && isfinite(1 / smooth[k]);
    }
    for (uint32_t k = 0; smooth && !is_usable && k < m->k; k++)
        smooth[k] = 1; /* weights beyond all measure: as they are */
    return smooth;
}

static enum err pack(const struct load *l, enum gpu_precision precision, const struct matrix *m,
                     const float *bias, const struct rounding *how, struct kernel_weights *out)
{
    const struct kernel_set *set = l->bert->set;
    uint32_t n = m->n_each * m->count;
    float *smooth = NULL;
    if (precision != GPU_INT8)
        return kernel_pack(set, (enum kernel_precision)precision, n, m->k, matrix_get, m, bias,
                           out);
    if (how->norm && !(smooth = smoothing(m, how->norm)))
        return ERR_NOMEM;
    enum err e = kernel_pack_int8(set, n, m->k, matrix_get, m, bias, how->group, smooth, out);
    free(smooth);
    return e;
}

static enum err add_change(struct load *l, struct bytes prefix, const char *name, uint32_t n,
                           uint32_t k, float *values)
{
    char full[512];
    int size = snprintf(full, sizeof(full), BYTES_FMT "%s", BYTES_ARG(prefix), name);
    struct bytes whole = bytes_of(full, MIN((size_t)size, sizeof(full) - 1));
    return model_branch_add(&l->f->tensors, bytes_slice(whole, l->prefix.size, whole.size), n, k,
                            values, l->msg);
}

/* Stacked linear layers "names[i].weight", "names[i].bias" -> one packed product. how NULL: fp32, whatever the model is. */
static enum err linear(struct load *l, struct bytes prefix, const char *const *names,
                       uint32_t count, uint32_t n, uint32_t k, float factor_first,
                       const struct rounding *how, struct kernel_weights *out)
{
    struct matrix m = {.n_each = n, .k = k, .count = count, .factor_first = factor_first};
    float *bias = calloc((size_t)n * count, sizeof(*bias));
    m.values = malloc((size_t)n * count * k * sizeof(*m.values));
    enum err e = bias && m.values ? ERR_OK : ERR_NOMEM;
    for (uint32_t i = 0; i < count && e == ERR_OK; i++) {
        char name[256];
        const struct safetensor *w, *scale, *b, *unused;
        snprintf(name, sizeof(name), "%s.weight", names[i]);
        e = need(l, prefix, name, n, k, &w, &scale);
        if (e == ERR_OK)
            floats_into(w, scale, n, k, m.values + (size_t)i * n * k);
        if (e == ERR_OK && l->is_branch)
            e = add_change(l, prefix, name, n, k, m.values + (size_t)i * n * k);
        snprintf(name, sizeof(name), "%s.bias", names[i]);
        if (e == ERR_OK)
            e = need(l, prefix, name, 0, n, &b, &unused);
        for (uint32_t r = 0; e == ERR_OK && r < n; r++)
            bias[i * n + r] = safetensors_float(b, r) * (i == 0 ? factor_first : 1);
    }
    if (e == ERR_OK)
        e = pack(l, how ? l->m->precision : GPU_F32, &m, bias, how, out);
    free(bias);
    free(m.values);
    return e;
}

/* --- the parts ------------------------------------------------------------------------------------- */

static uint16_t bf16_of(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, 4);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

static enum err load_words(struct load *l)
{
    struct bert *b = l->bert;
    const struct safetensor *t, *scale;
    enum err e = need(l, l->prefix, "embeddings.word_embeddings.weight", b->vocabulary, b->hidden,
                      &t, &scale);
    if (e != ERR_OK)
        return e;
    if (l->m->precision == GPU_F32)
        return (b->word_f32 = floats_of(t, scale, b->vocabulary, b->hidden)) ? ERR_OK : ERR_NOMEM;
    if (!(b->word = malloc((size_t)b->vocabulary * b->hidden * sizeof(*b->word))))
        return ERR_NOMEM;
    for (size_t r = 0; r < b->vocabulary; r++) {
        float row[4096], by = scale ? safetensors_float(scale, r) : 1;
        safetensors_floats(t, r * b->hidden, b->hidden, row);
        for (size_t i = 0; i < b->hidden; i++)
            b->word[r * b->hidden + i] = bf16_of(row[i] * by);
    }
    return ERR_OK;
}

static enum err load_norm(struct load *l, struct bytes prefix, const char *name, float **out)
{
    char full[256];
    snprintf(full, sizeof(full), "%s.gamma", name); /* so in the oldest files */
    bool is_old = tensor(l, prefix, full, "") != NULL;
    snprintf(full, sizeof(full), "%s.%s", name, is_old ? "gamma" : "weight");
    enum err e = vector(l, prefix, full, 0, l->bert->hidden, &out[0]);
    snprintf(full, sizeof(full), "%s.%s", name, is_old ? "beta" : "bias");
    return e == ERR_OK ? vector(l, prefix, full, 0, l->bert->hidden, &out[1]) : e;
}

static enum err load_layer(struct load *l, uint32_t i)
{
    struct bert *b = l->bert;
    struct bert_layer *layer = &b->layer[i];
    static const char *const qkv[] = {"attention.self.query", "attention.self.key",
                                      "attention.self.value"};
    static const char *const out[] = {"attention.output.dense"},
                             *const in[] = {"intermediate.dense"}, *const down[] = {"output.dense"};
    char text[300];
    int n = snprintf(text, sizeof(text), BYTES_FMT "encoder.layer.%u.", BYTES_ARG(l->prefix), i);
    struct bytes prefix = bytes_of(text, (size_t)n);
    const struct rounding of_x = {GROUP_ATTENTION, i ? b->layer[i - 1].norm2 : b->norm},
                          of_mixed = {GROUP_MIDDLE, NULL}, of_first = {GROUP_MIDDLE, layer->norm1},
                          of_inner = {GROUP_MIDDLE, NULL};
    enum err e = load_norm(l, prefix, "attention.output.LayerNorm", layer->norm1);
    if (e == ERR_OK)
        e = load_norm(l, prefix, "output.LayerNorm", layer->norm2);
    if (e == ERR_OK)
        e = linear(l, prefix, qkv, 3, b->hidden, b->hidden, 1.0f / sqrtf((float)b->head_size),
                   &of_x, &layer->qkv);
    if (e == ERR_OK)
        e = linear(l, prefix, out, 1, b->hidden, b->hidden, 1, &of_mixed, &layer->out);
    if (e == ERR_OK)
        e = linear(l, prefix, in, 1, b->inner, b->hidden, 1, &of_first, &layer->in);
    return e == ERR_OK ? linear(l, prefix, down, 1, b->hidden, b->inner, 1, &of_inner, &layer->down)
                       : e;
}

/* A head of our own is "head.*" with one label; published ones are "classifier.*", with a pooler for whole sequences. */
static enum err load_head(struct load *l)
{
    struct bert *b = l->bert;
    static const char *const pooler[] = {"pooler.dense"};
    const struct json_node *kinds = json_get(l->f->config, "architectures");
    bool is_sequence = kinds && kinds->type == JSON_ARRAY && kinds->child &&
                       bytes_has_suffix(kinds->child->text, BYTES_LIT("ForSequenceClassification"));
    const char *name = tensor(l, BYTES_NONE, "head.weight", "") ? "head" : "classifier";
    char full[64];
    snprintf(full, sizeof(full), "%s.weight", name);
    const struct safetensor *t = tensor(l, BYTES_NONE, full, "");
    if (!t)
        return ERR_OK;
    if (t->dims != 2 || t->shape[0] == 0 || t->shape[0] > 1024)
        return err_set(l->msg, ERR_INVALID, "tensor %s: a head has 1 to 1,024 labels", full);
    b->labels = (uint32_t)t->shape[0];
    enum err e = vector(l, BYTES_NONE, full, b->labels, b->hidden, &b->head_weight);
    snprintf(full, sizeof(full), "%s.bias", name);
    if (e == ERR_OK)
        e = vector(l, BYTES_NONE, full, 0, b->labels, &b->head_bias);
    if (e == ERR_OK && is_sequence)
        e = linear(l, l->prefix, pooler, 1, b->hidden, b->hidden, 1, NULL, &b->pooler);
    return e;
}

/* --- configuration ---------------------------------------------------------------------------------- */

static enum err whole(const struct load *l, const char *key, int64_t min, int64_t max,
                      uint32_t *out)
{
    int64_t v;
    if (!json_get_i64(l->f->config, key, &v))
        return err_set(l->msg, ERR_INVALID, "the configuration has no whole number %s", key);
    if (v < min || v > max)
        return err_set(l->msg, ERR_INVALID,
                       "the configuration's %s is %lld; %lld to %lld can be run", key, (long long)v,
                       (long long)min, (long long)max);
    *out = (uint32_t)v;
    return ERR_OK;
}

static enum err must_be(const struct load *l, const char *key, const char *value)
{
    struct bytes v = json_get_str(l->f->config, key);
    if (v.size == 0 || bytes_equal_str(v, value))
        return ERR_OK;
    return err_set(l->msg, ERR_UNIMPLEMENTED,
                   "the configuration's %s is \"" BYTES_FMT "\"; only \"%s\" can be run", key,
                   BYTES_ARG(v), value);
}

/* What published configurations call the two forms of GELU. */
static enum err read_activation(struct load *l)
{
    static const char *const exact[] = {"gelu", "gelu_python"}, *const with_tanh[] = {
                                                                    "gelu_new", "gelu_pytorch_tanh",
                                                                    "gelu_fast"};
    struct bytes v = json_get_str(l->f->config, "hidden_act");
    for (size_t i = 0; i < ARRAY_LEN(exact); i++)
        if (v.size == 0 || bytes_equal_str(v, exact[i]))
            return ERR_OK;
    l->bert->tanh_gelu = true;
    for (size_t i = 0; i < ARRAY_LEN(with_tanh); i++)
        if (bytes_equal_str(v, with_tanh[i]))
            return ERR_OK;
    return err_set(l->msg, ERR_UNIMPLEMENTED,
                   "the configuration's hidden_act is \"" BYTES_FMT "\"; only GELU can be run",
                   BYTES_ARG(v));
}

static enum err read_config(struct load *l)
{
    if (l->f->keeps_case)
        return err_set(l->msg, ERR_UNIMPLEMENTED,
                       "the tokenizer keeps case (do_lower_case is false): only models that lower "
                       "it can be run");

    struct bert *b = l->bert;
    double epsilon = 1e-12;
    enum err e = must_be(l, "model_type", "bert");
    if (e == ERR_OK)
        e = read_activation(l);
    if (e == ERR_OK)
        e = must_be(l, "position_embedding_type", "absolute");
    if (e == ERR_OK)
        e = whole(l, "hidden_size", 16, 4096, &b->hidden);
    if (e == ERR_OK)
        e = whole(l, "num_hidden_layers", 1, 64, &b->layers);
    if (e == ERR_OK)
        e = whole(l, "num_attention_heads", 1, 256, &b->heads);
    if (e == ERR_OK)
        e = whole(l, "intermediate_size", 16, 16384, &b->inner);
    if (e == ERR_OK)
        e = whole(l, "max_position_embeddings", 8, 8192, &b->positions);
    if (e == ERR_OK)
        e = whole(l, "vocab_size", 1, GPU_VOCAB_MAX, &b->vocabulary);
    int64_t types;
    b->types = 1; /* a model without segments has one that adds nothing */
    if (e == ERR_OK && json_get_i64(l->f->config, "type_vocab_size", &types) && types != 0)
        e = whole(l, "type_vocab_size", 1, 16, &b->types);
    if (e != ERR_OK)
        return e;
    (void)json_get_f64(l->f->config, "layer_norm_eps", &epsilon);
    b->epsilon = (float)epsilon;
    b->head_size = b->hidden / b->heads;
    if (b->head_size * b->heads != b->hidden || b->head_size % 16 || b->head_size > KERNEL_HEAD_MAX)
        return err_set(l->msg, ERR_UNIMPLEMENTED,
                       "%u heads over a width of %u: heads of 16, 32, … %u can be run", b->heads,
                       b->hidden, KERNEL_HEAD_MAX);
    if (!(epsilon >= 0 && epsilon < 1))
        return err_set(l->msg, ERR_INVALID, "the configuration's layer_norm_eps is %g", epsilon);
    return ERR_OK;
}

static enum err load_tables(struct load *l)
{
    struct bert *b = l->bert;
    if (l->is_branch) { /* both read the same */
        b->word = l->m->bert.word, b->word_f32 = l->m->bert.word_f32;
        b->position = l->m->bert.position;
        return ERR_OK;
    }
    enum err e = load_words(l);
    return e == ERR_OK ? vector(l, l->prefix, "embeddings.position_embeddings.weight", b->positions,
                                b->hidden, &b->position)
                       : e;
}

static enum err load_encoder(struct load *l)
{
    struct bert *b = l->bert;
    enum err e = load_tables(l);
    int64_t types;
    bool has_types = json_get_i64(l->f->config, "type_vocab_size", &types) && types != 0;
    if (e == ERR_OK && has_types)
        e = vector(l, l->prefix, "embeddings.token_type_embeddings.weight", b->types, b->hidden,
                   &b->type);
    else if (e == ERR_OK && !(b->type = calloc(b->hidden, sizeof(*b->type))))
        e = ERR_NOMEM;
    if (e == ERR_OK)
        e = load_norm(l, l->prefix, "embeddings.LayerNorm", b->norm);
    if (e == ERR_OK && !(b->layer = calloc(b->layers, sizeof(*b->layer))))
        e = ERR_NOMEM;
    for (uint32_t i = 0; i < b->layers && e == ERR_OK; i++)
        e = load_layer(l, i);
    return e;
}

static enum err load_weights(struct load *l)
{
    struct gpu_model *m = l->m;
    l->prefix = model_file_prefix(&l->f->tensors);
    struct bert shape = m->bert;
    enum err e = load_encoder(l);
    if (e == ERR_OK && model_branch_is_there(&l->f->tensors)) {
        uint64_t parameters = l->parameters;
        m->branch = shape;
        l->bert = &m->branch, l->is_branch = true;
        e = load_encoder(l);
        l->parameters = parameters;
    }
    return e == ERR_OK ? load_head(l) : e;
}

static enum err load_extras(struct load *l)
{
    struct gpu_model *m = l->m;
    const struct safetensors *s = &l->f->tensors;
    struct bytes prefix = BYTES_LIT("extra.");
    if (!(m->arena = arena_new(0)) ||
        !(m->extras = ARENA_ARRAY(m->arena, struct gpu_extra, s->count + 1)))
        return ERR_NOMEM;
    for (uint32_t i = 0; i < s->count; i++) {
        const struct safetensor *t = &s->tensor[i];
        if (t->type != SAFETENSORS_U8 || !bytes_has_prefix(t->name, prefix))
            continue;
        struct gpu_extra *x = &m->extras[m->extra_count++];
        struct bytes name = bytes_slice(t->name, prefix.size, t->name.size);
        x->name = (const char *)arena_printf(m->arena, BYTES_FMT, BYTES_ARG(name)).data;
        x->data = arena_copy(m->arena, t->data); /* a copy is aligned, a place in a file is not */
        if (!x->name || (t->data.size && !x->data.data))
            return ERR_NOMEM;
    }
    return ERR_OK;
}

enum err gpu_model_load(const struct model_file *f, const char *name, enum gpu_precision precision,
                        struct gpu_model **out, struct err_msg *msg)
{
    struct gpu_model *m = calloc(1, sizeof(*m));
    struct err_msg why = {""};
    struct load l = {.f = f, .m = m, .bert = m ? &m->bert : NULL, .msg = &why};
    enum err e = m ? ERR_OK : ERR_NOMEM;
    if (e == ERR_OK) {
        m->precision = precision;
        m->bert.set = kernel_choose();
        m->pooling = f->pools_cls ? GPU_POOL_CLS : GPU_POOL_MEAN;
        e = gpu_vocab_new(f->vocab, &m->vocab, &why);
    }
    if (e == ERR_OK)
        e = read_config(&l);
    if (e == ERR_OK && gpu_vocab_size(m->vocab) > m->bert.vocabulary)
        e = err_set(&why, ERR_INVALID, "the vocabulary has %u tokens, the embeddings %u rows",
                    gpu_vocab_size(m->vocab), m->bert.vocabulary);
    if (e == ERR_OK)
        e = load_weights(&l);
    if (e == ERR_OK)
        e = load_extras(&l);
    if (e != ERR_OK) {
        gpu_model_close(m);
        return err_set(msg, e, "%s: %s", name, why.text[0] ? why.text : err_text(e));
    }
    m->parameters = l.parameters;
    *out = m;
    return ERR_OK;
}

enum err gpu_model_open(const char *path, enum gpu_precision precision, struct gpu_model **out,
                        struct err_msg *msg)
{
    struct model_file f;
    enum err e = model_file_open(path, NULL, &f, msg);
    if (e != ERR_OK)
        return e;
    e = gpu_model_load(&f, path, precision, out, msg);
    model_file_close(&f);
    return e;
}

enum err gpu_model_open_bytes(struct bytes file, const char *name, enum gpu_precision precision,
                              struct gpu_model **out, struct err_msg *msg)
{
    struct model_file f;
    enum err e = model_file_open_bytes(file, name, &f, msg);
    if (e != ERR_OK)
        return e;
    e = gpu_model_load(&f, name, precision, out, msg);
    model_file_close(&f);
    return e;
}

struct bytes gpu_model_extra(const struct gpu_model *m, const char *name)
{
    for (uint32_t i = 0; i < m->extra_count; i++)
        if (strcmp(m->extras[i].name, name) == 0)
            return m->extras[i].data;
    return BYTES_NONE;
}

void gpu_model_close(struct gpu_model *m)
{
    if (!m)
        return;
    m->branch.word = NULL, m->branch.word_f32 = NULL, m->branch.position = NULL; /* the base's */
    bert_done(&m->branch);
    bert_done(&m->bert);
    gpu_vocab_free(m->vocab);
    arena_free(m->arena);
    free(m);
}

void gpu_model_info(const struct gpu_model *m, struct gpu_model_info *out)
{
    const struct bert *b = gpu_model_head_bert(m);
    *out = (struct gpu_model_info){.layers = b->layers,
                                   .hidden = b->hidden,
                                   .heads = b->heads,
                                   .inner = b->inner,
                                   .vocabulary = b->vocabulary,
                                   .positions = b->positions,
                                   .labels = b->labels,
                                   .parameters = m->parameters,
                                   .pooling = m->pooling,
                                   .head = !b->labels    ? GPU_HEAD_NONE
                                           : b->pooler.n ? GPU_HEAD_SEQUENCE
                                                         : GPU_HEAD_TOKEN,
                                   .precision = (enum gpu_precision)b->layer[0].qkv.precision,
                                   .kernels = b->set->name,
                                   .has_branch = m->branch.layer != NULL};
}

const struct gpu_vocab *gpu_model_vocab(const struct gpu_model *m)
{
    return m->vocab;
}

enum err gpu_model_read_vocab(const char *path, struct gpu_vocab **out, struct err_msg *msg)
{
    struct arena *a = arena_new(0);
    struct model_file f = {0};
    struct bytes text;
    char vocab[4096];
    snprintf(vocab, sizeof(vocab), "%s/vocab.txt", path);
    enum err e = a ? model_file_read(vocab, GPU_VOCAB_MAX * 64ull, a, &text, msg) : ERR_NOMEM;
    if (e != ERR_OK && a && (e = model_file_open(path, NULL, &f, msg)) == ERR_OK)
        text = f.vocab;
    if (e == ERR_OK)
        e = gpu_vocab_new(text, out, msg);
    model_file_close(&f);
    arena_free(a);
    return e;
}
