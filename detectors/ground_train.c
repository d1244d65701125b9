/* A model file made from judged data. */
#include "base/check.h"
#include "base/file_in.h"
#include "detectors/detectors_ground_lab.h"
#include "detectors/ground_encode.h"
#include "detectors/ground_fit.h"
#include "detectors/ground_tune.h"

static void say_bad(void *ctx, const char *file, uint64_t line, const char *why)
{
    fprintf(ctx, "%s, line %llu: %s\n", file, (unsigned long long)line, why);
}

/* The encoder's file, whose bytes the new one keeps; empty without one. */
static enum err read_model(const char *path, struct arena *a, struct bytes *out,
                           struct err_msg *msg)
{
    struct buf b;
    if (!path)
        return ERR_OK;
    enum err e = file_in_read(path, GPU_MODEL_BYTES_MAX, &b, msg);
    if (e == ERR_INVALID)
        e = err_set(msg, e, "%s is a directory: `telltale model convert` makes one file of it",
                    path);
    size_t size = b.size;
    void *data = e == ERR_OK ? buf_take(&b, &size) : NULL;
    if (e == ERR_OK && (!data || !arena_adopt(a, data, size)))
        e = ERR_NOMEM;
    if (e == ERR_OK)
        *out = bytes_of(data, size);
    buf_done(&b);
    return e;
}

/* The encoder to judge with: the one that was given, or one that is fine-tuned now and lies beside the result. */
static enum err tune(const struct ground_lab_options *o, struct ground_cases *all, struct arena *a,
                     const char **out_model, struct err_msg *msg)
{
    struct bytes encoder = arena_printf(a, "%s.encoder", o->out),
                 checkpoint = arena_printf(a, "%s.checkpoint", o->out);
    if (!encoder.data || !checkpoint.data)
        return ERR_NOMEM;
    struct ground_tune_options t = {.base = o->base,
                                    .out = (const char *)encoder.data,
                                    .checkpoint = (const char *)checkpoint.data,
                                    .epochs = o->epochs,
                                    .rate = o->rate,
                                    .threads = o->threads,
                                    .seed = o->seed,
                                    .rank = o->rank,
                                    .from = o->from,
                                    .stop = o->stop,
                                    .report = o->report};
    *out_model = t.out;
    return ground_tune_run(all, &t, msg);
}

static enum err fit(const struct ground_lab_options *o, struct ground_cases *all, struct arena *a,
                    struct buf *form, struct err_msg *msg)
{
    struct ground_fit_options f = {.seed = 1, .encoder = o->model != NULL};
    bool *use = ARENA_ARRAY(a, bool, all->count);
    if (!use)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < all->count; i++)
        use[i] = true;
    enum err e = o->model ? ground_encode_cases(all, o, a, msg) : ERR_OK;
    return e == ERR_OK ? ground_fit_judge(all, use, &f, form, msg) : e;
}

enum err ground_lab_train(const struct ground_lab_options *asked, struct err_msg *msg)
{
    struct ground_lab_options o = *asked;
    struct arena *a = arena_new(0);
    struct ground_cases all;
    struct buf form = {0};
    struct bytes model = BYTES_NONE;
    enum err e =
        a ? ground_case_load(o.paths, o.paths_count, a, say_bad, o.report, &all, msg) : ERR_NOMEM;
    if (e == ERR_OK)
        fprintf(o.report, "%u judged responses\n", all.count);
    if (e == ERR_OK && o.base)
        e = tune(&o, &all, a, &o.model, msg);
    if (e == ERR_OK)
        e = read_model(o.model, a, &model, msg);
    if (e == ERR_OK)
        e = fit(&o, &all, a, &form, msg);
    struct gpu_extra extra = {"ground", buf_bytes(&form)};
    if (e == ERR_OK)
        e = gpu_model_write_extras(model, &extra, 1, o.out, msg);
    buf_done(&form);
    arena_free(a);
    return e;
}
