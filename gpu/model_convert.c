/* The one-file form of a model: safetensors with the configuration in its metadata and the vocabulary as a tensor of bytes. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/json_out.h"
#include "gpu/gpu_model.h"
#include "gpu/model_file.h"

struct writer {
    struct json_out json;
    struct buf header;
    FILE *data; /* a temporary file: offsets are known when the header is done */
    uint64_t at;
    bool failed;
};

static void put(struct writer *w, struct bytes name, const char *suffix, const char *type,
                uint32_t dims, const uint64_t *shape, const void *data, size_t size)
{
    struct buf full = {0};
    buf_bytes_append(&full, name);
    buf_str(&full, suffix);
    json_out_key_bytes(&w->json, buf_bytes(&full));
    json_out_object(&w->json);
    json_out_key(&w->json, "dtype");
    json_out_str(&w->json, type);
    json_out_key(&w->json, "shape");
    json_out_array(&w->json);
    for (uint32_t i = 0; i < dims; i++)
        json_out_u64(&w->json, shape[i]);
    json_out_array_end(&w->json);
    json_out_key(&w->json, "data_offsets");
    json_out_array(&w->json);
    json_out_u64(&w->json, w->at);
    json_out_u64(&w->json, w->at + size);
    json_out_array_end(&w->json);
    json_out_object_end(&w->json);
    w->failed |= full.failed || fwrite(data, 1, size, w->data) != size;
    w->at += size;
    buf_done(&full);
}

/* value = int8 x scale of its row */
static void put_int8(struct writer *w, const struct safetensor *t)
{
    uint64_t rows = t->shape[0], columns = t->shape[1];
    int8_t *v = malloc(rows * columns + 1);
    float *scale = malloc(rows * sizeof(*scale) + 1);
    for (uint64_t r = 0; v && scale && r < rows; r++) {
        float top = 0;
        for (uint64_t c = 0; c < columns; c++)
            top = fmaxf(top, fabsf(safetensors_float(t, r * columns + c)));
        scale[r] = top / 127;
        for (uint64_t c = 0; c < columns; c++)
            v[r * columns + c] =
                (int8_t)(top > 0 ? lrintf(safetensors_float(t, r * columns + c) / scale[r]) : 0);
    }
    if (v && scale) {
        put(w, t->name, ".scale", "F32", 1, &rows, scale,
            rows * sizeof(*scale)); /* first: floats stay aligned */
        put(w, t->name, "", "I8", 2, t->shape, v, rows * columns);
    } else {
        w->failed = true;
    }
    free(v);
    free(scale);
}

static bool copy_to(FILE *from, FILE *to)
{
    char block[65536];
    size_t n;
    rewind(from);
    while ((n = fread(block, 1, sizeof(block), from)) > 0)
        if (fwrite(block, 1, n, to) != n)
            return false;
    return !ferror(from);
}

static enum err write_file(struct writer *w, const char *to, struct err_msg *msg)
{
    FILE *out = fopen(to, "wbx");
    if (!out)
        return err_set(msg, ERR_IO, "%s cannot be written (is it there already?)", to);
    while (w->header.size % 8)
        buf_u8(&w->header, ' ');
    uint8_t size[8];
    bytes_put_u64le(size, w->header.size);
    bool ok = buf_ok(&w->header) && !w->failed && fwrite(size, 1, 8, out) == 8 &&
              fwrite(w->header.data, 1, w->header.size, out) == w->header.size &&
              copy_to(w->data, out);
    ok = fflush(out) == 0 && fsync(fileno(out)) == 0 && ok;
    ok = fclose(out) == 0 && ok;
    if (!ok)
        (void)unlink(to);
    return ok ? ERR_OK : err_set(msg, ERR_IO, "%s cannot be written", to);
}

enum err gpu_model_convert(const char *from, const char *to, bool int8, struct err_msg *msg)
{
    struct model_file f;
    struct gpu_model *check;
    /* what cannot be run is not converted */
    enum err e = gpu_model_open(from, GPU_BF16, &check, msg);
    if (e != ERR_OK)
        return e;
    gpu_model_close(check);
    e = model_file_open(from, &f, msg);
    if (e != ERR_OK)
        return e;
    struct writer w = {.data = tmpfile()};
    w.json = json_out_to(&w.header);
    if (!w.data)
        e = err_set(msg, ERR_IO, "no temporary file");
    json_out_object(&w.json);
    json_out_key(&w.json, "__metadata__");
    json_out_object(&w.json);
    json_out_key(&w.json, "config");
    json_out_bytes(&w.json, f.config_text);
    json_out_key(&w.json, "pooling");
    json_out_str(&w.json, f.pools_cls ? "cls" : "mean");
    json_out_object_end(&w.json);
    uint64_t vocab = f.vocab.size;
    for (uint32_t i = 0; i < f.tensors.count && e == ERR_OK; i++) {
        const struct safetensor *t = &f.tensors.tensor[i];
        if (t->type == SAFETENSORS_I64 || t->type == SAFETENSORS_OTHER || t->type == SAFETENSORS_U8)
            continue; /* position ids: counted, not read */
        if (int8 && t->dims == 2 && t->type != SAFETENSORS_I8 && t->shape[0] > 16)
            put_int8(&w, t);
        else
            put(&w, t->name, "", safetensors_type_name(t->type), t->dims, t->shape, t->data.data,
                t->data.size);
    }
    if (e == ERR_OK)
        put(&w, BYTES_LIT("vocab.txt"), "", "U8", 1, &vocab, f.vocab.data, f.vocab.size);
    json_out_object_end(&w.json);
    if (e == ERR_OK)
        e = write_file(&w, to, msg);
    if (w.data)
        (void)fclose(w.data);
    buf_done(&w.header);
    model_file_close(&f);
    return e;
}
