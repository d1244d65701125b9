#include "gpu/model_writer.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum err model_writer_init(struct model_writer *w, struct err_msg *msg)
{
    *w = (struct model_writer){.data = tmpfile()};
    w->json = json_out_to(&w->header);
    if (!w->data)
        return err_set(msg, ERR_IO, "no temporary file: %s", strerror(errno));
    json_out_object(&w->json);
    json_out_key(&w->json, "__metadata__");
    json_out_object(&w->json);
    return ERR_OK;
}

void model_writer_done(struct model_writer *w)
{
    if (w->data)
        (void)fclose(w->data);
    buf_done(&w->header);
    *w = (struct model_writer){0};
}

void model_writer_meta(struct model_writer *w, struct bytes key, struct bytes value)
{
    json_out_key_bytes(&w->json, key);
    json_out_bytes(&w->json, value);
}

void model_writer_meta_end(struct model_writer *w)
{
    json_out_object_end(&w->json);
}

void model_writer_tensor(struct model_writer *w, struct bytes name, const char *suffix,
                         const char *type, uint32_t dims, const uint64_t *shape, const void *data,
                         size_t size)
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
    w->failed |= full.failed || (size && fwrite(data, 1, size, w->data) != size);
    w->at += size;
    buf_done(&full);
}

void model_writer_bytes(struct model_writer *w, const char *prefix, struct bytes name,
                        struct bytes data)
{
    uint64_t size = data.size;
    struct buf full = {0};
    buf_str(&full, prefix);
    buf_bytes_append(&full, name);
    w->failed |= full.failed;
    model_writer_tensor(w, buf_bytes(&full), "", "U8", 1, &size, data.data, data.size);
    buf_done(&full);
}

void model_writer_int8(struct model_writer *w, const struct safetensor *t)
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
        model_writer_tensor(w, t->name, ".scale", "F32", 1, &rows, scale, rows * sizeof(*scale));
        model_writer_tensor(w, t->name, "", "I8", 2, t->shape, v, rows * columns);
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

static bool write_all(struct model_writer *w, FILE *out)
{
    uint8_t size[8];
    bytes_put_u64le(size, w->header.size);
    return buf_ok(&w->header) && !w->failed && fwrite(size, 1, 8, out) == 8 &&
           fwrite(w->header.data, 1, w->header.size, out) == w->header.size &&
           copy_to(w->data, out) && fflush(out) == 0 && fsync(fileno(out)) == 0;
}

enum err model_writer_finish(struct model_writer *w, const char *to, bool over, struct err_msg *msg)
{
    char beside[4096];
    int n = snprintf(beside, sizeof(beside), over ? "%s.new" : "%s", to);
    if (n < 0 || (size_t)n >= sizeof(beside))
        return err_set(msg, ERR_INVALID, "a path of %d bytes is too long", n);
    json_out_object_end(&w->json);
    while (w->header.size % 8)
        buf_u8(&w->header, ' ');
    FILE *out = fopen(beside, over ? "wb" : "wbx");
    if (!out)
        return err_set(msg, ERR_IO, "%s cannot be written: %s", to, strerror(errno));
    bool ok = write_all(w, out);
    ok = fclose(out) == 0 && ok;
    if (ok && over)
        ok = rename(beside, to) == 0;
    if (!ok)
        (void)unlink(beside);
    return ok ? ERR_OK : err_set(msg, ERR_IO, "%s cannot be written", to);
}
