/* A trainer's files: checkpoints (ours alone) and the model that comes out.
 *
 *     checkpoint := "TTTRAIN1", u64 shape, u64 floats, u64 arrays (3, or 4 with an average), u64 step,
 *                   arrays x f32[floats] (weights, first moments, second moments, average), u32 CRC-32C of all before
 * All little-endian; shape is a hash of the table of tensors. The file is as large as these numbers say and no larger.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "base/hash.h"
#include "gpu/model_writer.h"
#include "gpu/train_core.h"

#define MAGIC "TTTRAIN1"
#define HEADER_BYTES 40u
#define ARRAYS_MAX 4u

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "arrays are written as they lie");

static uint64_t shape_of(const struct train_net *n)
{
    uint64_t h = n->heads;
    for (uint32_t i = 0; i < n->tensors; i++) {
        const struct train_tensor *t = &n->tensor[i];
        h = hash64(bytes_str(t->name), h);
        h = hash64(bytes_of(&t->rows, 4), h);
        h = hash64(bytes_of(&t->columns, 4), h);
    }
    return h;
}

static uint64_t arrays_of(const struct gpu_trainer *t)
{
    return t->average ? 4 : 3;
}

static void header(const struct gpu_trainer *t, uint8_t *out)
{
    memcpy(out, MAGIC, 8);
    bytes_put_u64le(out + 8, shape_of(&t->net));
    bytes_put_u64le(out + 16, t->net.floats);
    bytes_put_u64le(out + 24, arrays_of(t));
    bytes_put_u64le(out + 32, t->step);
}

static bool put(FILE *f, const void *data, size_t size, uint32_t *crc)
{
    *crc = hash_crc32c(*crc, bytes_of(data, size));
    return fwrite(data, 1, size, f) == size;
}

static bool write_checkpoint(const struct gpu_trainer *t, FILE *f)
{
    const float *arrays[] = {t->net.weights, t->moment1, t->moment2, t->average};
    uint8_t head[HEADER_BYTES], tail[4];
    uint32_t crc = 0;
    header(t, head);
    bool ok = put(f, head, sizeof(head), &crc);
    for (uint64_t i = 0; i < arrays_of(t) && ok; i++)
        ok = put(f, arrays[i], t->net.floats * sizeof(float), &crc);
    for (int i = 0; i < 4; i++)
        tail[i] = (uint8_t)(crc >> (8 * i));
    return ok && fwrite(tail, 1, 4, f) == 4 && fflush(f) == 0 && fsync(fileno(f)) == 0;
}

enum err gpu_trainer_checkpoint(const struct gpu_trainer *t, const char *file, struct err_msg *msg)
{
    char beside[4096];
    int n = snprintf(beside, sizeof(beside), "%s.new", file);
    if (n < 0 || (size_t)n >= sizeof(beside))
        return err_set(msg, ERR_INVALID, "a path of %d bytes is too long", n);
    FILE *f = fopen(beside, "wb");
    if (!f)
        return err_set(msg, ERR_IO, "%s cannot be written: %s", file, strerror(errno));
    bool ok = write_checkpoint(t, f);
    ok = fclose(f) == 0 && ok;
    ok = ok && rename(beside, file) == 0;
    if (!ok)
        (void)unlink(beside);
    return ok ? ERR_OK : err_set(msg, ERR_IO, "%s cannot be written", file);
}

static enum err read_arrays(const struct gpu_trainer *t, FILE *f, const char *file,
                            float **out_arrays, uint64_t *out_step, struct err_msg *msg)
{
    uint8_t head[HEADER_BYTES], own[HEADER_BYTES], tail[5];
    uint32_t crc = 0, want = 0;
    header(t, own);
    if (fread(head, 1, sizeof(head), f) != sizeof(head) || memcmp(head, own, 8) != 0)
        return err_set(msg, ERR_CORRUPT, "%s is not a checkpoint of training", file);
    if (memcmp(head, own, 32) != 0) /* all but the step */
        return err_set(msg, ERR_CORRUPT, "%s is of another model, or of training with%s an average",
                       file, t->average ? "out" : "");
    crc = hash_crc32c(crc, bytes_of(head, sizeof(head)));
    size_t bytes = t->net.floats * sizeof(float);
    for (uint64_t i = 0; i < arrays_of(t); i++) {
        if (!(out_arrays[i] = train_memory(bytes)))
            return ERR_NOMEM;
        if (fread(out_arrays[i], 1, bytes, f) != bytes)
            return err_set(msg, ERR_CORRUPT, "%s is cut short", file);
        crc = hash_crc32c(crc, bytes_of(out_arrays[i], bytes));
    }
    bool whole = fread(tail, 1, sizeof(tail), f) == 4;
    for (int i = 0; whole && i < 4; i++)
        want |= (uint32_t)tail[i] << (8 * i);
    if (!whole || want != crc)
        return err_set(msg, ERR_CORRUPT, "%s: its checksum is wrong", file);
    *out_step = bytes_u64le(head + 32);
    return ERR_OK;
}

static void swap(float **a, float **b)
{
    float *old = *a;
    *a = *b;
    *b = old;
}

enum err gpu_trainer_restore(struct gpu_trainer *t, const char *file, struct err_msg *msg)
{
    float *arrays[ARRAYS_MAX] = {NULL};
    uint64_t step = 0;
    FILE *f = fopen(file, "rb");
    if (!f)
        return err_set(msg, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s: %s", file,
                       strerror(errno));
    enum err e = read_arrays(t, f, file, arrays, &step, msg);
    (void)fclose(f); /* only read */
    if (e == ERR_OK) {
        swap(&t->net.weights, &arrays[0]);
        swap(&t->moment1, &arrays[1]);
        swap(&t->moment2, &arrays[2]);
        swap(&t->average, &arrays[3]); /* none for none */
        t->step = step;
    }
    for (size_t i = 0; i < ARRAY_LEN(arrays); i++)
        free(arrays[i]);
    return e;
}

/* --- the model --------------------------------------------------------------------------------------- */

static void put_tensor(struct model_writer *w, const struct gpu_trainer *t,
                       const struct train_tensor *x, const float *weights, bool int8)
{
    char name[sizeof(x->name) + sizeof(t->net.prefix)];
    uint64_t rows = x->rows ? x->rows : 1;
    int n = snprintf(name, sizeof(name), "%s%s", x->is_head ? "" : t->net.prefix, x->name);
    struct safetensor s = {.name = bytes_of(name, (size_t)n),
                           .data = bytes_of(weights + x->at, rows * x->columns * sizeof(float)),
                           .type = SAFETENSORS_F32,
                           .dims = x->rows ? 2 : 1};
    s.shape[0] = x->rows ? x->rows : x->columns;
    s.shape[1] = x->rows ? x->columns : 0;
    if (int8 && x->rows > 16 && !x->is_head)
        model_writer_int8(w, &s);
    else
        model_writer_tensor(w, s.name, "", "F32", s.dims, s.shape, s.data.data, s.data.size);
}

enum err gpu_trainer_save(const struct gpu_trainer *t, const char *file, bool int8,
                          struct err_msg *msg)
{
    const float *weights = t->average ? t->average : t->net.weights;
    struct model_writer w;
    enum err e = model_writer_init(&w, msg);
    if (e != ERR_OK)
        return e;
    model_writer_meta(&w, BYTES_LIT("config"), t->config_text);
    model_writer_meta(&w, BYTES_LIT("pooling"), BYTES_LIT("mean"));
    model_writer_meta_end(&w);
    /* Floats before bytes, so that they stay aligned. */
    for (int bytes = 0; bytes < 2; bytes++)
        for (uint32_t i = 0; i < t->net.tensors; i++) {
            const struct train_tensor *x = &t->net.tensor[i];
            if (!x->is_factor && (int8 && x->rows > 16 && !x->is_head) == (bytes == 1))
                put_tensor(&w, t, x, weights, int8);
        }
    model_writer_bytes(&w, "", BYTES_LIT("vocab.txt"), t->vocab_text);
    e = model_writer_finish(&w, file, true, msg);
    model_writer_done(&w);
    return e;
}
