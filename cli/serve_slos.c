#include "cli/serve_slos.h"

#include "base/check.h"
#include "base/json_out.h"
#include "base/log.h"

/* From here on the stage counts what lies below and above each of them. */
static enum err accept(void *ctx, const struct detectors_threshold *t, size_t n,
                       struct err_msg *msg)
{
    const struct serve_slos *s = ctx;
    struct stage_threshold list[STAGE_THRESHOLDS_MAX];
    if (n > STAGE_THRESHOLDS_MAX)
        return err_set(msg, ERR_INVALID,
                       "the objectives name %zu latency thresholds; at most %u are counted", n,
                       STAGE_THRESHOLDS_MAX);
    for (size_t i = 0; i < n; i++)
        list[i] = (struct stage_threshold){t[i].family, t[i].le_seconds};
    return stage_set_thresholds(s->stage, list, n, msg);
}

enum err serve_slos_init(struct serve_slos *s, struct detectors *detectors, struct stage *stage,
                         struct err_msg *msg)
{
    const struct detectors_threshold *wanted;
    *s = (struct serve_slos){.detectors = detectors, .stage = stage};
    pthread_mutex_init(&s->lock, NULL);
    size_t n = detectors_thresholds(detectors, &wanted);
    return accept(s, wanted, n, msg);
}

void serve_slos_done(struct serve_slos *s)
{
    if (s->detectors)
        pthread_mutex_destroy(&s->lock);
}

static enum err reload(struct serve_slos *s, uint32_t *out_objectives, struct err_msg *msg)
{
    struct detectors_accept how = {accept, s};
    struct buf errors = {0};
    pthread_mutex_lock(&s->lock);
    enum err e = detectors_reload(s->detectors, &how, out_objectives, &errors);
    pthread_mutex_unlock(&s->lock);
    e = buf_first_error(&errors, e, msg, "the objectives cannot be read");
    buf_done(&errors);
    return e;
}

enum err serve_slos_reload(struct serve_slos *s, struct err_msg *msg)
{
    uint32_t n;
    return reload(s, &n, msg);
}

static enum err reload_json(void *ctx, struct buf *json, struct err_msg *msg)
{
    struct serve_slos *s = ctx;
    uint32_t n = 0;
    enum err e = reload(s, &n, msg);
    if (e != ERR_OK)
        return e;
    log_info("serve", "objectives read again: %u", n);
    struct json_out j = json_out_to(json);
    json_out_object(&j);
    json_out_key(&j, "status");
    json_out_str(&j, "reloaded");
    json_out_key(&j, "objectives");
    json_out_u64(&j, n);
    json_out_object_end(&j);
    return ERR_OK;
}

struct web_reload serve_slos_door(struct serve_slos *s)
{
    return (struct web_reload){reload_json, s};
}
