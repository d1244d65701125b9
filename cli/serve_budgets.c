#include "cli/serve_budgets.h"

#include "base/check.h"
#include "base/json_out.h"
#include "base/log.h"

void serve_budgets_init(struct serve_budgets *s, struct detectors_budgets *b, struct tsdb *db,
                        const char *file)
{
    *s = (struct serve_budgets){.budgets = b, .db = db, .file = file};
    pthread_mutex_init(&s->lock, NULL);
}

void serve_budgets_done(struct serve_budgets *s)
{
    if (s->budgets)
        pthread_mutex_destroy(&s->lock);
}

enum err serve_budgets_reload(struct serve_budgets *s, struct err_msg *msg)
{
    struct buf errors = {0};
    if (!s->file)
        return ERR_OK;
    pthread_mutex_lock(&s->lock);
    enum err e = detectors_budgets_reload(s->budgets, s->file, s->db, &errors);
    pthread_mutex_unlock(&s->lock);
    e = buf_first_error(&errors, e, msg, "the budgets cannot be filled from the ledger");
    buf_done(&errors);
    return e;
}

static enum err reload(void *ctx, struct buf *json, struct err_msg *msg)
{
    struct serve_budgets *s = ctx;
    struct detectors_budgets_status status;
    enum err e = serve_budgets_reload(s, msg);
    if (e != ERR_OK)
        return e;
    detectors_budgets_status_get(s->budgets, &status);
    log_info("serve", "budgets read again: %s", s->file ? s->file : "there is no file");
    struct json_out j = json_out_to(json);
    json_out_object(&j);
    json_out_key(&j, "status");
    json_out_str(&j, "reloaded");
    json_out_key(&j, "budgets");
    json_out_u64(&j, status.budgets);
    json_out_object_end(&j);
    return ERR_OK;
}

struct web_reload serve_budgets_door(struct serve_budgets *s)
{
    return (struct web_reload){reload, s};
}
