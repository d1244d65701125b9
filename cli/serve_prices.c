#include "cli/serve_prices.h"
#include "cli/serve_reprice.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/json_out.h"
#include "base/log.h"
#include "collector/genai/genai_invoice.h"

#define DOCUMENT_MAX (16u << 20)

void serve_prices_init(struct serve_prices *p, struct stage *stage, struct tsdb *db,
                       const char *file)
{
    *p = (struct serve_prices){.stage = stage, .db = db, .file = file};
    pthread_mutex_init(&p->lock, NULL);
}

void serve_prices_done(struct serve_prices *p)
{
    if (p->stage)
        pthread_mutex_destroy(&p->lock);
}

static enum err document_read(const char *path, struct buf *out, struct err_msg *msg)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return err_set(msg, ERR_INVALID, "%s cannot be read (%s)", path, strerror(errno));
    uint8_t block[65536];
    size_t n;
    while ((n = fread(block, 1, sizeof block, f)) > 0 && out->size <= DOCUMENT_MAX)
        buf_append(out, block, n);
    bool bad = ferror(f) != 0;
    fclose(f);
    if (bad || !buf_ok(out) || out->size > DOCUMENT_MAX)
        return err_set(msg, ERR_INVALID, "%s cannot be read (%s)", path,
                       bad ? "read error" : "larger than 16 MiB");
    return ERR_OK;
}

enum err serve_prices_reload(struct serve_prices *p, struct err_msg *msg)
{
    struct buf yaml = {0};
    pthread_mutex_lock(&p->lock);
    enum err e = p->file ? document_read(p->file, &yaml, msg) : ERR_OK;
    if (e == ERR_OK)
        e = stage_set_prices(p->stage, p->db, buf_bytes(&yaml), p->file, msg);
    pthread_mutex_unlock(&p->lock);
    buf_done(&yaml);
    return e;
}

static enum err money_reload(void *ctx, struct buf *json, struct err_msg *msg)
{
    struct serve_prices *p = ctx;
    enum err e = serve_prices_reload(p, msg);
    if (e != ERR_OK)
        return e;
    log_info("serve", "prices read again: %s", p->file ? p->file : "the built-in list");
    struct json_out j = json_out_to(json);
    json_out_object(&j);
    json_out_key(&j, "status");
    json_out_str(&j, "reloaded");
    json_out_key(&j, "name");
    json_out_str(&j, p->file ? p->file : "built-in list");
    json_out_object_end(&j);
    return ERR_OK;
}

/* One at a time: a report is named by its time. */
static enum err money_reconcile(void *ctx, uint32_t org, struct bytes body, struct buf *json,
                                struct err_msg *msg)
{
    struct serve_prices *p = ctx;
    struct buf report = {0};
    char provider[64];
    double ratio;
    enum err e = genai_invoice_reconcile(p->db, org, body, &report, &ratio, provider, msg);
    if (e == ERR_OK && !buf_ok(&report))
        e = ERR_NOMEM;
    int64_t now_ms = 0;
    if (e == ERR_OK) {
        pthread_mutex_lock(&p->lock);
        now_ms = MAX(clock_wall_ms(), p->last_report_ms + 1);
        p->last_report_ms = now_ms;
        pthread_mutex_unlock(&p->lock);
        e = genai_invoice_keep(p->db, org, now_ms, buf_bytes(&report), provider, ratio, msg);
    }
    if (e == ERR_OK) {
        if (ratio > GENAI_INVOICE_ALERT_RATIO)
            log_warn("serve", "the invoice of %s differs from what was counted by %.3f %%",
                     provider, ratio * 100);
        struct json_out j = json_out_to(json);
        json_out_object(&j);
        json_out_key(&j, "id");
        json_out_printf(&j, "%lld", (long long)now_ms);
        json_out_key(&j, "report");
        json_out_raw(&j, buf_bytes(&report));
        json_out_object_end(&j);
    }
    buf_done(&report);
    return e;
}

static enum err money_reprice(void *ctx, uint32_t org, uint64_t key_id, struct bytes body,
                              struct buf *json, struct err_msg *msg)
{
    struct serve_prices *p = ctx;
    pthread_mutex_lock(&p->lock); /* not while prices change, and not twice at once */
    enum err e = serve_reprice(p->stage, p->db, org, key_id, body, json, msg);
    pthread_mutex_unlock(&p->lock);
    return e;
}

struct web_money serve_prices_money(struct serve_prices *p)
{
    return (struct web_money){
        .ctx = p, .reload = money_reload, .reprice = money_reprice, .reconcile = money_reconcile};
}
