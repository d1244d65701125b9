/* What is damaged and left out. */
#include <time.h>

#include "base/check.h"
#include "tsdb/tsdb_quarantine.h"
#include "web/web_json.h"

#define DAYS_MAX 16u

static const char *const kinds[] = {NULL,
                                    "index",
                                    "samples",
                                    "histograms",
                                    "cells",
                                    "spans",
                                    "texts of spans",
                                    "logs",
                                    "texts of logs",
                                    "traces",
                                    "exemplars",
                                    "metadata",
                                    "counts of what is gone"};

static void put_day(struct json_out *j, uint32_t day)
{
    time_t t = (time_t)day * 86400;
    struct tm tm;
    gmtime_r(&t, &tm);
    json_out_key(j, "day");
    json_out_printf(j, "%04d-%02d-%02d", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday);
}

static void put(struct json_out *j, const struct tsdb_quarantined *q)
{
    json_out_object(j);
    put_day(j, q->day);
    web_json_text(j, "class", q->class);
    json_out_key(j, "kind");
    if (q->kind && q->kind < ARRAY_LEN(kinds))
        json_out_str(j, kinds[q->kind]);
    else
        json_out_null(j);
    json_out_key(j, "generation");
    json_out_u64(j, q->generation);
    json_out_key(j, "n");
    json_out_u64(j, q->n);
    json_out_key(j, "rows");
    json_out_u64(j, q->rows);
    web_json_i64(j, "found_ms", q->found_ms);
    web_json_text(j, "what", q->what);
    json_out_object_end(j);
}

static void put_warnings(struct json_out *j, const struct tsdb_damage *damage, size_t n)
{
    if (!n)
        return;
    json_out_key(j, "warnings");
    json_out_array(j);
    for (size_t i = 0; i < n; i++) {
        char text[TSDB_DAMAGE_TEXT_MAX];
        tsdb_damage_text(&damage[i], text);
        json_out_str(j, text);
    }
    json_out_array_end(j);
}

void web_quarantine_warnings(struct web_call *c, const struct tsdb_view *v)
{
    struct tsdb_damage damage[DAYS_MAX];
    put_warnings(&c->j, damage, MIN(tsdb_view_damage(v, damage, DAYS_MAX), DAYS_MAX));
}

const char *web_quarantine_doubt(const struct tsdb_view *v)
{
    struct tsdb_damage damage;
    return tsdb_view_damage(v, &damage, 1)
               ? "; something of what was looked at is damaged, and it may have been there"
               : "";
}

enum err web_quarantine_counts(struct web_call *c, struct web_damage *out)
{
    struct tsdb_quarantined one;
    *out = (struct web_damage){0};
    if (!tsdb_quarantine_list(c->web->opts.db, web_call_org(c), false, &one, 1))
        return ERR_OK;
    out->rows = ARENA_ARRAY(c->arena, struct tsdb_quarantined, TSDB_QUARANTINE_MAX);
    if (!out->rows)
        return ERR_NOMEM;
    size_t n = tsdb_quarantine_list(c->web->opts.db, web_call_org(c), false, out->rows,
                                    TSDB_QUARANTINE_MAX);
    out->is_more = n >= TSDB_QUARANTINE_MAX;
    for (size_t i = 0; i < MIN(n, TSDB_QUARANTINE_MAX); i++)
        if (strcmp(out->rows[i].class, "rows") != 0 && strcmp(out->rows[i].class, "text") != 0)
            out->rows[out->count++] = out->rows[i];
    return ERR_OK;
}

void web_quarantine_warnings_between(struct web_call *c, const struct web_damage *d, bool samples,
                                     int64_t from_ms, int64_t to_ms)
{
    struct tsdb_damage damage[DAYS_MAX];
    size_t n = 0;
    for (size_t i = 0; i < d->count && n < DAYS_MAX; i++) { /* oldest day first */
        const struct tsdb_quarantined *q = &d->rows[i];
        if (q->time_max_ms < from_ms || q->time_min_ms > to_ms ||
            (!samples && strcmp(q->class, "samples") == 0))
            continue;
        if (!n || damage[n - 1].day != q->day)
            damage[n++] = (struct tsdb_damage){.day = q->day};
        damage[n - 1].count++;
    }
    if (d->is_more && n < DAYS_MAX)
        damage[n++] = (struct tsdb_damage){.is_more = true};
    put_warnings(&c->j, damage, n);
}

static enum err list(struct web_call *c)
{
    struct tsdb_quarantined *rows =
        ARENA_ARRAY(c->arena, struct tsdb_quarantined, TSDB_QUARANTINE_MAX);
    if (!rows)
        return ERR_NOMEM;
    size_t n =
        tsdb_quarantine_list(c->web->opts.db, web_call_org(c), false, rows, TSDB_QUARANTINE_MAX);
    uint64_t sum = 0;
    json_out_object(&c->j);
    json_out_key(&c->j, "quarantine");
    json_out_array(&c->j);
    for (size_t i = 0; i < MIN(n, TSDB_QUARANTINE_MAX); i++) {
        put(&c->j, &rows[i]);
        sum += rows[i].rows;
    }
    json_out_array_end(&c->j);
    json_out_key(&c->j, "rows");
    json_out_u64(&c->j, sum);
    json_out_object_end(&c->j);
    return ERR_OK;
}

enum err web_quarantine_routes(struct web *w, struct net *net)
{
    static const struct web_endpoint endpoints[] = {
        {"GET", "/api/telltale/v1/quarantine", list, WEB_FORM_OURS, 0},
    };
    return web_call_routes(w, net, endpoints, ARRAY_LEN(endpoints));
}
