/* Reading a branch, and making one of two models that differ. */
#include "gpu/model_branch.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/hash.h"
#include "gpu/gpu_model.h"
#include "gpu/model_core.h"
#include "gpu/model_writer.h"

#define PREFIX "token."
#define NAME_MAX_BYTES 512u
#define ROUNDS \
    10 /* of the subspace iteration: the last ones change the fourth digit of what is kept */

/* --- reading ----------------------------------------------------------------------------------------- */

static const struct safetensor *find(const struct safetensors *s, struct bytes name,
                                     const char *suffix)
{
    char full[NAME_MAX_BYTES];
    int n = snprintf(full, sizeof(full), PREFIX BYTES_FMT "%s", BYTES_ARG(name), suffix);
    return n > 0 && (size_t)n < sizeof(full) ? safetensors_find(s, bytes_of(full, (size_t)n))
                                             : NULL;
}

bool model_branch_is_there(const struct safetensors *s)
{
    for (uint32_t i = 0; i < s->count; i++)
        if (bytes_has_prefix(s->tensor[i].name, BYTES_LIT(PREFIX)))
            return true;
    return false;
}

const struct safetensor *model_branch_find(const struct safetensors *s, struct bytes name)
{
    return find(s, name, "");
}

/* [rows, columns] of F32, or of I8 with a scale for each row. */
static enum err read_factor(const struct safetensors *s, struct bytes name, const char *suffix,
                            uint64_t rows, uint64_t columns, float **out, struct err_msg *msg)
{
    char scale_suffix[32];
    snprintf(scale_suffix, sizeof(scale_suffix), "%s.scale", suffix);
    const struct safetensor *t = find(s, name, suffix), *scale = find(s, name, scale_suffix);
    bool is_int8 = t && t->type == SAFETENSORS_I8;
    if (!t || t->dims != 2 || t->shape[0] != rows || t->shape[1] != columns ||
        (t->type != SAFETENSORS_F32 && !is_int8) ||
        (is_int8 &&
         (!scale || scale->type != SAFETENSORS_F32 || scale->data.size != rows * sizeof(float))))
        return err_set(msg, ERR_INVALID,
                       "tensor " PREFIX BYTES_FMT "%s is missing or not %llu x %llu of F32 or "
                       "scaled I8",
                       BYTES_ARG(name), suffix, (unsigned long long)rows,
                       (unsigned long long)columns);
    float *v = malloc(rows * columns * sizeof(*v));
    if (!v)
        return ERR_NOMEM;
    safetensors_floats(t, 0, rows * columns, v);
    for (uint64_t r = 0; is_int8 && r < rows; r++)
        for (uint64_t c = 0; c < columns; c++)
            v[r * columns + c] *= safetensors_float(scale, r);
    *out = v;
    return ERR_OK;
}

static void add_product(const float *up, const float *down, uint32_t n, uint32_t r, uint32_t k,
                        float *values)
{
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < r; j++)
            for (uint32_t c = 0; c < k; c++)
                values[(size_t)i * k + c] += up[(size_t)i * r + j] * down[(size_t)j * k + c];
}

enum err model_branch_add(const struct safetensors *s, struct bytes name, uint32_t n, uint32_t k,
                          float *values, struct err_msg *msg)
{
    const struct safetensor *t = find(s, name, ".down");
    float *up = NULL, *down = NULL;
    if (!t)
        return ERR_OK;
    uint64_t r = t->dims == 2 ? t->shape[0] : 0;
    if (r == 0 || r > MIN(n, k))
        return err_set(msg, ERR_INVALID, "tensor " BYTES_FMT ": a rank of %llu; 1 to %u can be",
                       BYTES_ARG(t->name), (unsigned long long)r, MIN(n, k));
    enum err e = read_factor(s, name, ".up", n, r, &up, msg);
    if (e == ERR_OK)
        e = read_factor(s, name, ".down", r, k, &down, msg);
    if (e == ERR_OK)
        add_product(up, down, n, (uint32_t)r, k, values);
    free(up), free(down);
    for (size_t i = 0; e == ERR_OK && i < (size_t)n * k; i++)
        if (!isfinite(values[i]))
            return err_set(msg, ERR_INVALID, "tensor " BYTES_FMT ": its product is not finite",
                           BYTES_ARG(t->name));
    return e;
}

/* --- factors ----------------------------------------------------------------------------------------- */

static double dot(const float *x, const float *y, uint32_t n)
{
    double sum = 0;
    for (uint32_t i = 0; i < n;
         i += 1024) { /* the inner loop in single precision: wide and exact enough */
        float part[16] = {0};
        uint32_t end = MIN(i + 1024, n), at = i;
        for (; at + 16 <= end; at += 16)
            for (uint32_t l = 0; l < 16; l++)
                part[l] += x[at + l] * y[at + l];
        for (; at < end; at++)
            part[0] += x[at] * y[at];
        for (uint32_t l = 0; l < 16; l++)
            sum += (double)part[l];
    }
    return sum;
}

/* Rows of length 1, at right angles; rows that depend on those before them become 0. */
static void straighten(float *rows, uint32_t count, uint32_t width)
{
    for (uint32_t i = 0; i < count; i++) {
        float *x = rows + (size_t)i * width;
        double before = sqrt(dot(x, x, width));
        for (int twice = 0; twice < 2; twice++)
            for (uint32_t j = 0; j < i; j++) {
                const float *y = rows + (size_t)j * width;
                float by = (float)dot(x, y, width);
                for (uint32_t c = 0; c < width; c++)
                    x[c] -= by * y[c];
            }
        double length = sqrt(dot(x, x, width));
        float scale = length > 1e-5 * before && length > 0 ? (float)(1 / length) : 0;
        for (uint32_t c = 0; c < width; c++)
            x[c] *= scale;
    }
}

/* out[j][i] = row i of values times x[j], of which there are r. */
static void times(const float *values, uint32_t n, uint32_t k, const float *x, uint32_t r,
                  float *out)
{
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < r; j++)
            out[(size_t)j * n + i] = (float)dot(values + (size_t)i * k, x + (size_t)j * k, k);
}

/* out[j] = the rows of values, weighed by y[j]. */
static void times_turned(const float *values, uint32_t n, uint32_t k, const float *y, uint32_t r,
                         float *out)
{
    memset(out, 0, (size_t)r * k * sizeof(*out));
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < r; j++)
            for (uint32_t c = 0; c < k; c++)
                out[(size_t)j * k + c] += y[(size_t)j * n + i] * values[(size_t)i * k + c];
}

bool model_branch_factor(const float *values, uint32_t n, uint32_t k, uint32_t r, float *up,
                         float *down)
{
    float *y = malloc((size_t)r * n * sizeof(*y));
    if (!y)
        return false;
    for (uint32_t i = 0; i < r * k; i++)
        down[i] = (float)(hash64(bytes_of(&i, sizeof(i)), 7) >> 40) / (float)(1u << 24) - .5f;
    for (int round = 0; round < ROUNDS; round++) {
        straighten(down, r, k);
        times(values, n, k, down, r, y);
        straighten(y, r, n);
        times_turned(values, n, k, y, r, down);
    }
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < r; j++)
            up[(size_t)i * r + j] = y[(size_t)j * n + i];
    free(y);
    return true;
}

/* --- making ------------------------------------------------------------------------------------------ */

struct making {
    const struct model_file *base, *tuned;
    struct bytes base_prefix, tuned_prefix;
    uint32_t rank;
    struct arena *a; /* names */
    struct model_writer w;
    struct err_msg *msg;
};

/* Values of a tensor, whatever they lie as; the caller frees them. */
static enum err values_of(const struct safetensors *s, const struct safetensor *t, struct arena *a,
                          float **out)
{
    uint64_t rows = t->shape[0], columns = t->dims == 2 ? t->shape[1] : 1;
    struct bytes scaled = arena_printf(a, BYTES_FMT ".scale", BYTES_ARG(t->name));
    const struct safetensor *scale = scaled.data ? safetensors_find(s, scaled) : NULL;
    float *v = scaled.data ? malloc(rows * columns * sizeof(*v) + 1) : NULL;
    if (!v)
        return ERR_NOMEM;
    safetensors_floats(t, 0, rows * columns, v);
    for (uint64_t r = 0; t->type == SAFETENSORS_I8 && scale && r < rows; r++)
        for (uint64_t c = 0; c < columns; c++)
            v[r * columns + c] *= safetensors_float(scale, r);
    *out = v;
    return ERR_OK;
}

/* The values of a tensor of the tuned model that has the base's shape. */
static enum err tuned_values(struct making *m, const struct safetensor *t, struct bytes name,
                             float **out)
{
    struct bytes full =
        arena_printf(m->a, BYTES_FMT BYTES_FMT, BYTES_ARG(m->tuned_prefix), BYTES_ARG(name));
    const struct safetensor *x = full.data ? safetensors_find(&m->tuned->tensors, full) : NULL;
    if (!full.data)
        return ERR_NOMEM;
    if (!x || x->dims != t->dims || x->shape[0] != t->shape[0] ||
        (t->dims == 2 && x->shape[1] != t->shape[1]))
        return err_set(m->msg, ERR_INVALID, "tensor " BYTES_FMT " is not that of the base",
                       BYTES_ARG(full));
    return values_of(&m->tuned->tensors, x, m->a, out);
}

static enum err put_changed(struct making *m, const struct safetensor *t, struct bytes name)
{
    float *v = NULL;
    struct bytes full = arena_printf(m->a, PREFIX BYTES_FMT, BYTES_ARG(name));
    enum err e = full.data ? tuned_values(m, t, name, &v) : ERR_NOMEM;
    if (e == ERR_OK)
        model_writer_tensor(&m->w, full, "", "F32", t->dims, t->shape, v,
                            t->shape[0] * (t->dims == 2 ? t->shape[1] : 1) * sizeof(*v));
    free(v);
    return e;
}

static void put_factor(struct making *m, struct bytes name, const char *suffix, uint64_t rows,
                       uint64_t columns, const float *v)
{
    struct safetensor t = {.name =
                               arena_printf(m->a, PREFIX BYTES_FMT "%s", BYTES_ARG(name), suffix),
                           .data = bytes_of(v, rows * columns * sizeof(*v)),
                           .type = SAFETENSORS_F32,
                           .dims = 2,
                           .shape = {rows, columns}};
    m->w.failed |= !t.name.data;
    model_writer_int8(&m->w, &t);
}

/* What the tuned matrix has beyond the base's, as two thin ones. */
static enum err put_matrix(struct making *m, const struct safetensor *t, struct bytes name)
{
    uint32_t n = (uint32_t)t->shape[0], k = (uint32_t)t->shape[1], r = MIN(m->rank, MIN(n, k));
    float *v = NULL, *before = NULL, *up = malloc((size_t)n * r * sizeof(*up)),
          *down = malloc((size_t)r * k * sizeof(*down));
    enum err e = up && down ? tuned_values(m, t, name, &v) : ERR_NOMEM;
    if (e == ERR_OK)
        e = values_of(&m->base->tensors, t, m->a, &before);
    for (size_t i = 0; e == ERR_OK && i < (size_t)n * k; i++)
        v[i] -= before[i];
    if (e == ERR_OK && !model_branch_factor(v, n, k, r, up, down))
        e = ERR_NOMEM;
    if (e == ERR_OK) {
        put_factor(m, name, ".up", n, r, up);
        put_factor(m, name, ".down", r, k, down);
    }
    free(v), free(before), free(up), free(down);
    return e;
}

enum kind { KIND_NONE, KIND_TABLE, KIND_MATRIX, KIND_SMALL };

static enum kind kind_of(const struct making *m, const struct safetensor *t, struct bytes *name)
{
    if (t->type > SAFETENSORS_I8 || !bytes_has_prefix(t->name, m->base_prefix) ||
        bytes_has_suffix(t->name, BYTES_LIT(".scale")))
        return KIND_NONE;
    *name = bytes_slice(t->name, m->base_prefix.size, t->name.size);
    if (bytes_has_prefix(*name, BYTES_LIT("encoder.")))
        return t->dims == 2 ? KIND_MATRIX : KIND_SMALL;
    if (!bytes_has_prefix(*name, BYTES_LIT("embeddings.")))
        return KIND_NONE; /* a pooler, a head of its own */
    return t->dims == 2 && t->shape[0] > 16 ? KIND_TABLE : KIND_SMALL;
}

static void put_as_it_is(struct making *m, const struct safetensor *t)
{
    model_writer_tensor(&m->w, t->name, "", safetensors_type_name(t->type), t->dims, t->shape,
                        t->data.data, t->data.size);
}

static void put_base_matrix(struct making *m, const struct safetensor *t)
{
    struct bytes scaled = arena_printf(m->a, BYTES_FMT ".scale", BYTES_ARG(t->name));
    const struct safetensor *scale =
        scaled.data ? safetensors_find(&m->base->tensors, scaled) : NULL;
    m->w.failed |= !scaled.data;
    if (t->type != SAFETENSORS_I8) {
        model_writer_int8(&m->w, t);
        return;
    }
    if (scale)
        put_as_it_is(m, scale);
    put_as_it_is(m, t);
}

static enum err put_head(struct making *m)
{
    static const char *const names[] = {"head.weight", "head.bias"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const struct safetensor *t = safetensors_find(&m->tuned->tensors, bytes_str(names[i]));
        if (!t)
            return err_set(m->msg, ERR_INVALID, "the tuned model has no %s", names[i]);
        put_as_it_is(m, t);
    }
    return ERR_OK;
}

/* Floats first, then bytes, so that floats stay aligned. */
static enum err put_all(struct making *m)
{
    const struct safetensors *s = &m->base->tensors;
    enum err e = put_head(m);
    for (int bytes = 0; bytes < 2; bytes++)
        for (uint32_t i = 0; i < s->count && e == ERR_OK; i++) {
            const struct safetensor *t = &s->tensor[i];
            struct bytes name = BYTES_NONE;
            enum kind kind = kind_of(m, t, &name);
            if (kind == KIND_NONE || (kind == KIND_SMALL) != (bytes == 0))
                continue;
            if (kind == KIND_SMALL) {
                put_as_it_is(m, t);
                e = put_changed(m, t, name);
                continue;
            }
            put_base_matrix(m, t);
            if (kind == KIND_MATRIX)
                e = put_matrix(m, t, name);
        }
    model_writer_bytes(&m->w, "", BYTES_LIT("vocab.txt"), m->base->vocab);
    return e;
}

static enum err make(struct making *m, const char *to)
{
    enum err e = model_writer_init(&m->w, m->msg);
    if (e != ERR_OK)
        return e;
    model_writer_meta(&m->w, BYTES_LIT("config"), m->base->config_text);
    model_writer_meta(&m->w, BYTES_LIT("pooling"), bytes_str(m->base->pools_cls ? "cls" : "mean"));
    model_writer_meta_end(&m->w);
    e = put_all(m);
    if (e == ERR_OK)
        e = model_writer_finish(&m->w, to, true, m->msg);
    model_writer_done(&m->w);
    return e;
}

static enum err check(const struct model_file *f, const char *name, struct err_msg *msg)
{
    struct gpu_model *m;
    enum err e = gpu_model_load(f, name, GPU_BF16, &m, msg);
    if (e == ERR_OK)
        gpu_model_close(m);
    return e;
}

enum err gpu_model_branch(const char *base, const char *tuned, uint32_t rank, const char *to,
                          struct err_msg *msg)
{
    struct model_file b, t;
    struct err_msg why = {""};
    struct making m = {.base = &b, .tuned = &t, .rank = rank, .a = arena_new(0), .msg = &why};
    enum err e = m.a ? model_file_open(base, NULL, &b, msg) : ERR_NOMEM;
    if (e != ERR_OK) {
        arena_free(m.a);
        return e;
    }
    e = model_file_open(tuned, NULL, &t, msg);
    if (e == ERR_OK) {
        e = check(&b, base, msg);
        if (e == ERR_OK)
            e = check(&t, tuned, msg);
        m.base_prefix = model_file_prefix(&b.tensors),
        m.tuned_prefix = model_file_prefix(&t.tensors);
        if (e == ERR_OK && rank == 0)
            e = err_set(msg, ERR_INVALID, "a branch of rank 0 changes nothing");
        if (e == ERR_OK && (e = make(&m, to)) != ERR_OK)
            e = err_set(msg, e, "%s: %s", tuned, why.text[0] ? why.text : err_text(e));
        model_file_close(&t);
    }
    model_file_close(&b);
    arena_free(m.a);
    return e;
}
