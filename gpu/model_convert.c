/* The one-file form of a model: safetensors with the configuration in its metadata, the vocabulary and what else it carries as tensors of bytes. */
#include <string.h>

#include "gpu/gpu_model.h"
#include "gpu/model_core.h"
#include "gpu/model_file.h"
#include "gpu/model_writer.h"

#define EXTRA "extra."

static void put_as_it_is(struct model_writer *w, const struct safetensor *t)
{
    model_writer_tensor(w, t->name, "", safetensors_type_name(t->type), t->dims, t->shape,
                        t->data.data, t->data.size);
}

static bool is_extra(const struct safetensor *t)
{
    return t->type == SAFETENSORS_U8 && bytes_has_prefix(t->name, BYTES_LIT(EXTRA));
}

static enum err convert(const struct model_file *f, const char *to, bool int8, struct err_msg *msg)
{
    struct model_writer w;
    enum err e = model_writer_init(&w, msg);
    if (e != ERR_OK)
        return e;
    model_writer_meta(&w, BYTES_LIT("config"), f->config_text);
    model_writer_meta(&w, BYTES_LIT("pooling"), bytes_str(f->pools_cls ? "cls" : "mean"));
    model_writer_meta_end(&w);
    for (uint32_t i = 0; i < f->tensors.count; i++) {
        const struct safetensor *t = &f->tensors.tensor[i];
        if (t->type == SAFETENSORS_I64 || t->type == SAFETENSORS_OTHER || t->type == SAFETENSORS_U8)
            continue; /* position ids: counted, not read */
        if (int8 && t->dims == 2 && t->type != SAFETENSORS_I8 && t->shape[0] > 16)
            model_writer_int8(&w, t);
        else
            put_as_it_is(&w, t);
    }
    model_writer_bytes(&w, "", BYTES_LIT("vocab.txt"), f->vocab);
    for (uint32_t i = 0; i < f->tensors.count; i++)
        if (is_extra(&f->tensors.tensor[i]))
            put_as_it_is(&w, &f->tensors.tensor[i]);
    e = model_writer_finish(&w, to, false, msg);
    model_writer_done(&w);
    return e;
}

enum err gpu_model_convert(const char *from, const char *base, const char *to, bool int8,
                           struct err_msg *msg)
{
    struct model_file f;
    struct gpu_model *check;
    enum err e = model_file_open(from, base, &f, msg);
    if (e != ERR_OK)
        return e;
    /* what cannot be run is not converted */
    e = gpu_model_load(&f, from, GPU_BF16, &check, msg);
    if (e == ERR_OK) {
        gpu_model_close(check);
        e = convert(&f, to, int8, msg);
    }
    model_file_close(&f);
    return e;
}

/* --- what else a file carries ------------------------------------------------------------------------- */

enum err gpu_model_read_extra(struct bytes file, const char *name, struct arena *a,
                              struct bytes *out, struct err_msg *msg)
{
    struct safetensors s;
    char full[256];
    int n = snprintf(full, sizeof(full), EXTRA "%s", name);
    if (n < 0 || (size_t)n >= sizeof(full))
        return err_set(msg, ERR_INVALID, "a name of %d bytes is too long", n);
    struct arena *own = arena_new(0);
    enum err e = own ? safetensors_open(file, own, &s, msg) : ERR_NOMEM;
    if (e == ERR_OK) {
        const struct safetensor *t = safetensors_find(&s, bytes_of(full, (size_t)n));
        struct bytes b = t && is_extra(t) ? t->data : BYTES_NONE;
        *out = arena_copy(a, b);
        e = b.size && !out->data ? ERR_NOMEM : ERR_OK;
    }
    arena_free(own);
    return e;
}

static bool is_replaced(const struct safetensor *t, const struct gpu_extra *x, uint32_t n)
{
    if (!is_extra(t))
        return false;
    struct bytes name = bytes_slice(t->name, strlen(EXTRA), t->name.size);
    for (uint32_t i = 0; i < n; i++)
        if (bytes_equal_str(name, x[i].name))
            return true;
    return false;
}

enum err gpu_model_write_extras(struct bytes model_file, const struct gpu_extra *x, uint32_t n,
                                const char *to, struct err_msg *msg)
{
    struct safetensors s = {0};
    struct model_writer w = {0};
    struct arena *a = arena_new(0);
    enum err e = a ? ERR_OK : ERR_NOMEM;
    if (e == ERR_OK && model_file.size)
        e = safetensors_open(model_file, a, &s, msg);
    if (e == ERR_OK)
        e = model_writer_init(&w, msg);
    if (e == ERR_OK) {
        for (uint32_t i = 0; i < s.metadata_count; i++)
            model_writer_meta(&w, s.metadata[i].name, s.metadata[i].data);
        model_writer_meta_end(&w);
        for (int bytes = 0; bytes < 2; bytes++) /* numbers first: they stay aligned */
            for (uint32_t i = 0; i < s.count; i++) {
                const struct safetensor *t = &s.tensor[i];
                if (t->type != SAFETENSORS_OTHER && (t->type == SAFETENSORS_U8) == (bytes == 1) &&
                    !is_replaced(t, x, n))
                    put_as_it_is(&w, t);
            }
        for (uint32_t i = 0; i < n; i++)
            model_writer_bytes(&w, EXTRA, bytes_str(x[i].name), x[i].data);
        e = model_writer_finish(&w, to, true, msg);
    }
    model_writer_done(&w);
    arena_free(a);
    return e;
}
