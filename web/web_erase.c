/* Erasing: rows of a user, of traces, with an attribute. Series go by Prometheus' admin API (web_prom_series.c). */
#include "base/check.h"
#include "base/json_in.h"
#include "tsdb/tsdb_erase.h"
#include "web/web_json.h"

#define TRACES_MAX 10000u
#define NAMES_MAX 16u

static const char *const kinds[] = {[TSDB_ERASE_SERIES] = "series",
                                    [TSDB_ERASE_USER] = "user",
                                    [TSDB_ERASE_ATTRIBUTE] = "attribute",
                                    [TSDB_ERASE_TRACES] = "traces"};
static const char *const phases[] = {[TSDB_ERASE_SEALING] = "sealing",
                                     [TSDB_ERASE_REWRITING] = "rewriting",
                                     [TSDB_ERASE_DRAINING] = "draining",
                                     [TSDB_ERASE_DONE] = "done"};

/* --- asking -------------------------------------------------------------------------------------- */

static enum err read_traces(struct web_call *c, const struct json_node *list,
                            struct tsdb_erase_ask *ask)
{
    struct tsdb_id16 *ids = ARENA_ARRAY(c->arena, struct tsdb_id16, TRACES_MAX);
    if (!ids)
        return ERR_NOMEM;
    for (const struct json_node *n = list->child; n; n = n->next) {
        if (ask->trace_count == TRACES_MAX)
            return err_set(&c->msg, ERR_LIMIT, "traces: at most %u at once", TRACES_MAX);
        if (n->type != JSON_STRING || !bytes_from_hex(n->text, ids[ask->trace_count++].b, 16))
            return err_set(&c->msg, ERR_INVALID, "traces: give ids of 32 hex digits");
    }
    ask->traces = ids;
    ask->kind = TSDB_ERASE_TRACES;
    return ERR_OK;
}

static enum err read_names(struct web_call *c, const struct json_node *list,
                           struct tsdb_erase_ask *ask)
{
    struct bytes *names = ARENA_ARRAY(c->arena, struct bytes, NAMES_MAX);
    if (!names)
        return ERR_NOMEM;
    for (const struct json_node *n = list ? list->child : NULL; n; n = n->next) {
        if (n->type != JSON_STRING || !n->text.size || ask->name_count == NAMES_MAX)
            return err_set(&c->msg, ERR_INVALID, "user_keys: give at most %u names of attributes",
                           NAMES_MAX);
        names[ask->name_count++] = n->text;
    }
    ask->names = names;
    return ERR_OK;
}

/* One of user, traces, attribute. The value is never told again. */
static enum err read_ask(struct web_call *c, const struct json_node *body,
                         struct tsdb_erase_ask *ask)
{
    const struct json_node *traces = json_get(body, "traces"),
                           *whole = json_get(body, "whole_traces");
    struct bytes user = json_get_str(body, "user"), attribute = json_get_str(body, "attribute");
    enum err e = ERR_OK;
    *ask = (struct tsdb_erase_ask){.org = web_call_org(c)};
    if ((user.size > 0) + (traces != NULL) + (attribute.size > 0) != 1)
        return err_set(&c->msg, ERR_INVALID,
                       "give one of \"user\", \"traces\", \"attribute\" (with \"value\")");
    ask->whole_traces = whole && whole->boolean;
    if (whole && whole->type != JSON_BOOL)
        return err_set(&c->msg, ERR_INVALID, "whole_traces: give true or false");
    if (traces) {
        if (traces->type != JSON_ARRAY || !traces->child)
            return err_set(&c->msg, ERR_INVALID, "traces: give a list of ids");
        return read_traces(c, traces, ask);
    }
    ask->kind = user.size ? TSDB_ERASE_USER : TSDB_ERASE_ATTRIBUTE;
    ask->value = user.size ? user : json_get_str(body, "value");
    if (!ask->value.size)
        return err_set(&c->msg, ERR_INVALID, "value: give the attribute's value as a string");
    if (user.size)
        return read_names(c, json_get(body, "user_keys"), ask);
    struct bytes *name = ARENA_ARRAY(c->arena, struct bytes, 1);
    if (!name)
        return ERR_NOMEM;
    *name = attribute;
    ask->names = name;
    ask->name_count = 1;
    return e;
}

static enum err ask_rows(struct web_call *c)
{
    struct json_node *body;
    struct tsdb_erase_ask ask;
    uint64_t id;
    if (!bytes_equal_str(net_request_content_type(c->req), "application/json"))
        return err_set(&c->msg, ERR_UNSUPPORTED_MEDIA, "send application/json");
    enum err e = json_in_tree(net_request_body(c->req), 4, c->arena, &body, &c->msg);
    if (e == ERR_OK)
        e = read_ask(c, body, &ask);
    if (e == ERR_OK)
        e = tsdb_erase(c->web->opts.db, &ask, &id, &c->msg);
    if (e != ERR_OK)
        return e;
    json_out_object(&c->j);
    json_out_key(&c->j, "id");
    json_out_u64(&c->j, id);
    json_out_object_end(&c->j);
    c->status = 202;
    return ERR_OK;
}

/* --- telling ------------------------------------------------------------------------------------- */

static void put_job(struct json_out *j, const struct tsdb_erase_job *job)
{
    const struct {
        const char *name;
        uint64_t v;
    } counts[] = {{"spans", job->erased.spans},     {"logs", job->erased.logs},
                  {"samples", job->erased.samples}, {"exemplars", job->erased.exemplars},
                  {"cells", job->erased.cells},     {"parts", job->erased.parts},
                  {"bytes", job->erased.bytes}};
    json_out_object(j);
    web_json_i64(j, "id", (int64_t)job->id);
    web_json_text(j, "kind", kinds[job->kind]);
    web_json_text(j, "phase", phases[job->phase]);
    web_json_i64(j, "asked_ms", job->asked_ms);
    json_out_key(j, "done_ms");
    if (job->done_ms)
        json_out_i64(j, job->done_ms);
    else
        json_out_null(j);
    if (job->kind == TSDB_ERASE_SERIES) {
        web_json_i64(j, "from_ms", job->min_ms);
        web_json_i64(j, "to_ms", job->max_ms);
    }
    web_json_i64(j, "chosen", (int64_t)job->series);
    web_json_i64(j, "state_rows", (int64_t)job->state_rows);
    json_out_key(j, "erased");
    json_out_object(j);
    for (size_t i = 0; i < ARRAY_LEN(counts); i++)
        web_json_i64(j, counts[i].name, (int64_t)counts[i].v);
    json_out_object_end(j);
    web_json_i64(j, "damaged", (int64_t)job->damaged);
    web_json_i64(j, "damaged_rows", (int64_t)job->damaged_rows);
    json_out_key(j, "waits_for");
    if (job->why[0])
        json_out_str(j, job->why);
    else
        json_out_null(j);
    json_out_object_end(j);
}

static enum err list(struct web_call *c)
{
    struct tsdb_erase_job *jobs;
    size_t n;
    enum err e = tsdb_erase_jobs(c->web->opts.db, web_call_org(c), 0, c->arena, &jobs, &n);
    if (e != ERR_OK)
        return err_set(&c->msg, e, "the jobs cannot be read: %s", err_text(e));
    json_out_object(&c->j);
    json_out_key(&c->j, "jobs");
    json_out_array(&c->j);
    for (size_t i = 0; i < n; i++)
        put_job(&c->j, &jobs[i]);
    json_out_array_end(&c->j);
    json_out_object_end(&c->j);
    return ERR_OK;
}

static enum err tell(struct web_call *c)
{
    struct tsdb_erase_job *jobs;
    uint64_t id;
    size_t n = 0;
    if (!bytes_to_u64(net_request_param(c->req, 0), &id) || !id)
        return err_set(&c->msg, ERR_INVALID, "give the number of a job");
    enum err e = tsdb_erase_jobs(c->web->opts.db, web_call_org(c), id, c->arena, &jobs, &n);
    if (e == ERR_OK && n == 0)
        return err_set(&c->msg, ERR_NOT_FOUND, "there is no job of this number");
    if (e != ERR_OK)
        return err_set(&c->msg, e, "the job cannot be read: %s", err_text(e));
    put_job(&c->j, &jobs[0]);
    return ERR_OK;
}

enum err web_erase_routes(struct web *w, struct net *net)
{
    static const struct web_endpoint endpoints[] = {
        {"POST", "/api/telltale/v1/admin/erase", ask_rows, WEB_FORM_OURS, 0},
        {"GET", "/api/telltale/v1/admin/erase", list, WEB_FORM_OURS, 0},
        {"GET", "/api/telltale/v1/admin/erase/{}", tell, WEB_FORM_OURS, 0},
    };
    return web_call_routes(w, net, endpoints, ARRAY_LEN(endpoints));
}
