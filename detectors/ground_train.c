/* A model file made from judged data. */
#include "base/check.h"
#include "detectors/detectors_ground_lab.h"
#include "detectors/ground_encode.h"
#include "detectors/ground_fit.h"

static void say_bad(void *ctx, const char *file, uint64_t line, const char *why)
{
    fprintf(ctx, "%s, line %llu: %s\n", file, (unsigned long long)line, why);
}

static enum err train(const struct ground_lab_options *o, struct arena *a, struct buf *form,
                      struct err_msg *msg)
{
    struct ground_cases all;
    struct ground_fit_options fit = {.seed = 1, .encoder = o->model != NULL};
    enum err e = ground_case_load(o->paths, o->paths_count, a, say_bad, o->report, &all, msg);
    if (e != ERR_OK)
        return e;
    bool *use = ARENA_ARRAY(a, bool, all.count);
    if (!use)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < all.count; i++)
        use[i] = true;
    fprintf(o->report, "%u judged responses\n", all.count);
    if (o->model)
        e = ground_encode_cases(&all, o, a, msg);
    return e == ERR_OK ? ground_fit_judge(&all, use, &fit, form, msg) : e;
}

/* The encoder's file, whose bytes the new one keeps; empty without one. */
static enum err read_model(const char *path, struct arena *a, struct bytes *out,
                           struct err_msg *msg)
{
    struct buf b;
    FILE *f = path ? fopen(path, "r") : NULL;
    enum err e = ERR_OK;
    if (!path)
        return ERR_OK;
    buf_init(&b, GPU_MODEL_BYTES_MAX);
    for (size_t n = 1; f && n && buf_reserve(&b, 1u << 20); b.size += n)
        n = fread(b.data + b.size, 1, 1u << 20, f);
    if (!f || ferror(f) || !buf_ok(&b))
        e = err_set(msg, ERR_INVALID,
                    "%s cannot be read as one file (`telltale model convert` makes one of a "
                    "directory)",
                    path);
    if (f)
        (void)fclose(f);
    size_t size = b.size;
    void *data = e == ERR_OK ? buf_take(&b, &size) : NULL;
    if (e == ERR_OK && (!data || !arena_adopt(a, data, size)))
        e = ERR_NOMEM;
    if (e == ERR_OK)
        *out = bytes_of(data, size);
    buf_done(&b);
    return e;
}

enum err ground_lab_train(const struct ground_lab_options *o, struct err_msg *msg)
{
    struct arena *a = arena_new(0);
    struct buf form = {0};
    struct bytes model = BYTES_NONE;
    enum err e = a ? read_model(o->model, a, &model, msg) : ERR_NOMEM;
    if (e == ERR_OK)
        e = train(o, a, &form, msg);
    struct gpu_extra extra = {"ground", buf_bytes(&form)};
    if (e == ERR_OK)
        e = gpu_model_write_extras(model, &extra, 1, o->out, msg);
    buf_done(&form);
    arena_free(a);
    return e;
}
