#include "collector/stage/stage.h"

#include <stdlib.h>

struct stage {
    struct tsdb_registry *series;
};

enum err stage_new(const struct stage_options *o, struct stage **out, struct err_msg *msg)
{
    struct stage *s = calloc(1, sizeof *s);
    if (!s)
        return err_set(msg, ERR_NOMEM, "no memory for the stage");
    *out = s;
    return ERR_OK;
}

void stage_free(struct stage *s)
{
    free(s);
}

void stage_set_series(struct stage *s, struct tsdb_registry *series)
{
    s->series = series;
}

enum err stage_apply(struct stage *s, struct tsdb_batch *b, struct err_msg *msg)
{
    return ERR_OK;
}

struct tsdb_settler stage_settler(struct stage *s)
{
    return (struct tsdb_settler){.ctx = s};
}

enum err stage_set_thresholds(struct stage *s, const struct stage_threshold *t, size_t n,
                              struct err_msg *msg)
{
    if (n > STAGE_THRESHOLDS_MAX)
        return err_set(msg, ERR_LIMIT, "%zu latency thresholds, at most %u are kept", n,
                       STAGE_THRESHOLDS_MAX);
    return ERR_OK;
}
