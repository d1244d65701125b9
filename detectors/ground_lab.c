/* Files of responses to be scored, through the reader of judged data. */
#include "detectors/detectors_ground_lab.h"
#include "detectors/ground_data.h"

struct reading {
    enum err (*text)(void *, const struct ground_lab_text *);
    void (*bad)(void *, const char *, uint64_t, const char *);
    void *ctx;
};

static enum err give(void *ctx, const struct ground_sample *s)
{
    const struct reading *r = ctx;
    struct ground_lab_text t = {
        s->id, s->index, {s->documents, s->documents_count, s->question, s->response}};
    return r->text(r->ctx, &t);
}

static void tell(void *ctx, const char *file, uint64_t line, const char *why)
{
    const struct reading *r = ctx;
    r->bad(r->ctx, file, line, why);
}

enum err ground_lab_read(const char *path, enum err (*text)(void *, const struct ground_lab_text *),
                         void (*bad)(void *, const char *, uint64_t, const char *), void *ctx,
                         struct err_msg *msg)
{
    struct reading r = {text, bad, ctx};
    struct ground_data_sink sink = {give, tell, &r};
    struct arena *a = arena_new(0);
    enum err e = a ? ground_data_read_file(path, a, &sink, msg) : ERR_NOMEM;
    arena_free(a);
    return e;
}
