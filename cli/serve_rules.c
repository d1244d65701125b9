#include "cli/serve_rules.h"

#include "base/check.h"
#include "base/json_out.h"
#include "base/log.h"

void serve_rules_init(struct serve_rules *s, struct detectors_rules *rules)
{
    *s = (struct serve_rules){.rules = rules};
    pthread_mutex_init(&s->lock, NULL);
}

void serve_rules_done(struct serve_rules *s)
{
    if (s->rules)
        pthread_mutex_destroy(&s->lock);
}

enum err serve_rules_reload(struct serve_rules *s, struct err_msg *msg)
{
    struct buf errors = {0};
    if (!s->rules)
        return ERR_OK;
    pthread_mutex_lock(&s->lock);
    enum err e = detectors_rules_reload(s->rules, &errors);
    pthread_mutex_unlock(&s->lock);
    e = buf_first_error(&errors, e, msg, "the rules cannot be read");
    buf_done(&errors);
    return e;
}

static enum err reload(void *ctx, struct buf *json, struct err_msg *msg)
{
    struct serve_rules *s = ctx;
    struct detectors_rules_status status;
    enum err e = serve_rules_reload(s, msg);
    if (e != ERR_OK)
        return e;
    detectors_rules_status_get(s->rules, &status);
    log_info("serve", "rules read again: %u groups, %u rules", status.groups, status.rules);
    struct json_out j = json_out_to(json);
    json_out_object(&j);
    json_out_key(&j, "status");
    json_out_str(&j, "reloaded");
    json_out_key(&j, "groups");
    json_out_u64(&j, status.groups);
    json_out_key(&j, "rules");
    json_out_u64(&j, status.rules);
    json_out_object_end(&j);
    return ERR_OK;
}

struct web_reload serve_rules_door(struct serve_rules *s)
{
    return (struct web_reload){reload, s};
}
