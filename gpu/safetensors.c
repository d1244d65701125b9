#include "gpu/safetensors.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/json_in.h"

static const struct {
    const char *name;
    uint32_t size;
} types[] = {[SAFETENSORS_F32] = {"F32", 4},   [SAFETENSORS_F16] = {"F16", 2},
             [SAFETENSORS_BF16] = {"BF16", 2}, [SAFETENSORS_I8] = {"I8", 1},
             [SAFETENSORS_U8] = {"U8", 1},     [SAFETENSORS_I64] = {"I64", 8}};

const char *safetensors_type_name(enum safetensors_type t)
{
    return t < SAFETENSORS_OTHER ? types[t].name : "another type";
}

static enum safetensors_type type_of(struct bytes name)
{
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (bytes_equal_str(name, types[i].name))
            return (enum safetensors_type)i;
    return SAFETENSORS_OTHER;
}

static bool get_u64(const struct json_node *n, uint64_t *out)
{
    return n && n->type == JSON_NUMBER && bytes_to_u64(n->text, out);
}

static enum err read_shape(const struct json_node *n, struct safetensor *t, uint64_t *out_items,
                           struct err_msg *msg)
{
    const struct json_node *shape = json_get(n, "shape");
    *out_items = 1;
    if (!shape || shape->type != JSON_ARRAY)
        return err_set(msg, ERR_INVALID, "tensor " BYTES_FMT ": no shape", BYTES_ARG(t->name));
    for (const struct json_node *d = shape->child; d; d = d->next) {
        if (t->dims == ARRAY_LEN(t->shape))
            return err_set(msg, ERR_INVALID, "tensor " BYTES_FMT ": more than %zu dimensions",
                           BYTES_ARG(t->name), ARRAY_LEN(t->shape));
        if (!get_u64(d, &t->shape[t->dims]) ||
            __builtin_mul_overflow(*out_items, t->shape[t->dims], out_items))
            return err_set(msg, ERR_INVALID, "tensor " BYTES_FMT ": a shape that is no shape",
                           BYTES_ARG(t->name));
        t->dims++;
    }
    return ERR_OK;
}

static enum err read_tensor(const struct json_node *n, struct bytes data, struct safetensor *t,
                            struct err_msg *msg)
{
    const struct json_node *offsets = json_get(n, "data_offsets");
    uint64_t items, from, to, want;
    *t = (struct safetensor){.name = n->key, .type = type_of(json_get_str(n, "dtype"))};
    enum err e = read_shape(n, t, &items, msg);
    if (e != ERR_OK)
        return e;
    if (!offsets || offsets->type != JSON_ARRAY || !get_u64(offsets->child, &from) ||
        !get_u64(offsets->child->next, &to) || offsets->child->next->next)
        return err_set(msg, ERR_INVALID, "tensor " BYTES_FMT ": no data_offsets",
                       BYTES_ARG(t->name));
    if (from > to || to > data.size)
        return err_set(
            msg, ERR_INVALID,
            "tensor " BYTES_FMT ": its bytes %llu..%llu are not in the %zu that follow the header",
            BYTES_ARG(t->name), (unsigned long long)from, (unsigned long long)to, data.size);
    t->data = bytes_slice(data, (size_t)from, (size_t)to);
    if (t->type != SAFETENSORS_OTHER &&
        (__builtin_mul_overflow(items, (uint64_t)types[t->type].size, &want) || want != to - from))
        return err_set(msg, ERR_INVALID,
                       "tensor " BYTES_FMT ": %llu bytes do not fit its shape of %llu %s",
                       BYTES_ARG(t->name), (unsigned long long)(to - from),
                       (unsigned long long)items, types[t->type].name);
    return ERR_OK;
}

static int by_name(const void *a, const void *b)
{
    return bytes_compare(((const struct safetensor *)a)->name,
                         ((const struct safetensor *)b)->name);
}

static enum err read_metadata(const struct json_node *n, struct arena *a, struct safetensors *s)
{
    uint32_t count = 0;
    for (const struct json_node *c = n->child; c; c = c->next)
        count++;
    s->metadata = ARENA_ARRAY(a, struct safetensor, count + 1);
    if (!s->metadata)
        return ERR_LIMIT;
    for (const struct json_node *c = n->child; c; c = c->next)
        if (c->type == JSON_STRING)
            s->metadata[s->metadata_count++] = (struct safetensor){.name = c->key, .data = c->text};
    return ERR_OK;
}

enum err safetensors_open(struct bytes file, struct arena *a, struct safetensors *out,
                          struct err_msg *msg)
{
    struct safetensors s = {0};
    struct json_node *root;
    if (file.size < 8)
        return err_set(msg, ERR_INVALID, "%zu bytes are no safetensors file", file.size);
    uint64_t header = bytes_u64le(file.data);
    if (header > SAFETENSORS_HEADER_MAX || header > file.size - 8)
        return err_set(msg, ERR_INVALID,
                       "a header of %llu bytes in a file of %zu: no safetensors file",
                       (unsigned long long)header, file.size);
    enum err e = json_in_tree(bytes_slice(file, 8, 8 + (size_t)header), 8, a, &root, msg);
    if (e != ERR_OK)
        return e;
    if (root->type != JSON_OBJECT)
        return err_set(msg, ERR_INVALID, "the header is no JSON object");
    struct bytes data = bytes_slice(file, 8 + (size_t)header, file.size);
    uint32_t count = 0;
    for (const struct json_node *n = root->child; n; n = n->next)
        if (++count > SAFETENSORS_TENSORS_MAX)
            return err_set(msg, ERR_TOO_LARGE, "more than %u tensors", SAFETENSORS_TENSORS_MAX);
    s.tensor = ARENA_ARRAY(a, struct safetensor, count + 1);
    if (!s.tensor)
        return ERR_LIMIT;
    for (const struct json_node *n = root->child; n && e == ERR_OK; n = n->next) {
        if (bytes_equal_str(n->key, "__metadata__"))
            e = read_metadata(n, a, &s);
        else
            e = read_tensor(n, data, &s.tensor[s.count++], msg);
    }
    if (e != ERR_OK)
        return e;
    if (s.count)
        qsort(s.tensor, s.count, sizeof(*s.tensor), by_name);
    for (uint32_t i = 1; i < s.count; i++)
        if (bytes_equal(s.tensor[i].name, s.tensor[i - 1].name))
            return err_set(msg, ERR_INVALID, "two tensors are named " BYTES_FMT,
                           BYTES_ARG(s.tensor[i].name));
    *out = s;
    return ERR_OK;
}

const struct safetensor *safetensors_find(const struct safetensors *s, struct bytes name)
{
    struct safetensor key = {.name = name};
    return s->count ? bsearch(&key, s->tensor, s->count, sizeof(key), by_name) : NULL;
}

struct bytes safetensors_meta(const struct safetensors *s, const char *key)
{
    for (uint32_t i = 0; i < s->metadata_count; i++)
        if (bytes_equal_str(s->metadata[i].name, key))
            return s->metadata[i].data;
    return BYTES_NONE;
}

static float half_to_float(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exponent = h >> 10 & 31u, mantissa = h & 0x3ffu,
             bits;
    if (exponent == 0) {
        float f = (float)mantissa * 0x1p-24f;
        return sign ? -f : f;
    }
    bits = sign | (exponent == 31 ? 0x7f800000u : (exponent + 112) << 23) | mantissa << 13;
    float f;
    memcpy(&f, &bits, 4);
    return f;
}

float safetensors_float(const struct safetensor *t, uint64_t i)
{
    uint32_t bits;
    uint16_t half;
    float f = 0;
    switch (t->type) {
    case SAFETENSORS_F32: memcpy(&f, t->data.data + i * 4, 4); return f;
    case SAFETENSORS_BF16:
        memcpy(&half, t->data.data + i * 2, 2);
        bits = (uint32_t)half << 16;
        memcpy(&f, &bits, 4);
        return f;
    case SAFETENSORS_F16: memcpy(&half, t->data.data + i * 2, 2); return half_to_float(half);
    case SAFETENSORS_I8: return (float)(int8_t)t->data.data[i];
    case SAFETENSORS_U8: return (float)t->data.data[i];
    case SAFETENSORS_I64:
    case SAFETENSORS_OTHER: break;
    }
    CHECK_UNREACHABLE();
}

void safetensors_floats(const struct safetensor *t, uint64_t i, uint64_t count, float *out)
{
    if (t->type == SAFETENSORS_F32 && count) {
        memcpy(out, t->data.data + i * 4, count * 4);
    } else if (t->type == SAFETENSORS_I8) {
        const uint8_t *p = t->data.data + i;
        for (uint64_t k = 0; k < count; k++)
            out[k] = (float)(int8_t)p[k];
    } else {
        for (uint64_t k = 0; k < count; k++)
            out[k] = safetensors_float(t, i + k);
    }
}
