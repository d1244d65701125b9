#include "detectors/detectors_events.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/json_in.h"
#include "query/query_changes.h"
#include "tsdb/tsdb_attrs.h"

#define LINK_MAX 1000u
#define AHEAD_MS (INT64_C(10) * 60000)
#define BACK_MS (INT64_C(31) * 86400000)
#define SEVERITY_INFO 9
#define BATCH_BYTES (1u << 20)

/* --- reading ------------------------------------------------------------------------------------- */

static enum err text_of(const struct json_node *n, const char *key, size_t max, struct bytes *out,
                        struct err_msg *msg)
{
    const struct json_node *v = json_get(n, key);
    *out = json_get_str(n, key);
    if (v && v->type != JSON_STRING && v->type != JSON_NULL)
        return err_set(msg, ERR_INVALID, "%s: a text is expected", key);
    if (out->size > max)
        return err_set(msg, ERR_INVALID, "%s has more than %zu bytes", key, max);
    return ERR_OK;
}

static bool is_word(struct bytes s)
{
    for (size_t i = 0; i < s.size; i++)
        if (!((s.data[i] >= 'a' && s.data[i] <= 'z') || (s.data[i] >= '0' && s.data[i] <= '9') ||
              s.data[i] == '_' || s.data[i] == '-'))
            return false;
    return s.size > 0;
}

static enum err check(const struct json_node *n, int64_t now_ms, struct detectors_event *e,
                      struct err_msg *msg)
{
    const struct json_node *at = json_get(n, "at_ms");
    if (!is_word(e->kind))
        return err_set(msg, ERR_INVALID,
                       "kind: a word is expected, such as deploy, flag, config, prompt, provider; "
                       "of a-z, 0-9, - and _");
    if (!bytes_trim(e->title).size)
        return err_set(msg, ERR_INVALID, "title: say what was changed, in a few words");
    if (e->link.size && !bytes_has_prefix(e->link, BYTES_LIT("https://")) &&
        !bytes_has_prefix(e->link, BYTES_LIT("http://")))
        return err_set(msg, ERR_INVALID, "link: an address with http:// or https:// is expected");
    e->at_ms = now_ms;
    if (at && !json_get_i64(n, "at_ms", &e->at_ms))
        return err_set(msg, ERR_INVALID, "at_ms: Unix milliseconds are expected");
    if (e->at_ms > now_ms + AHEAD_MS || e->at_ms < now_ms - BACK_MS)
        return err_set(msg, ERR_INVALID, "at_ms lies more than ten minutes ahead or 31 days back");
    return ERR_OK;
}

enum err detectors_event_parse(struct bytes json, int64_t now_ms, struct arena *a,
                               struct detectors_event *out, struct err_msg *msg)
{
    struct json_node *n;
    *out = (struct detectors_event){0};
    enum err e = json_in_tree(json, 2, a, &n, msg);
    if (e == ERR_OK && n->type != JSON_OBJECT)
        e = err_set(msg, ERR_INVALID, "an object is expected: {\"kind\":…,\"title\":…}");
    const struct {
        const char *key;
        size_t max;
        struct bytes *to;
    } texts[] = {{"kind", DETECTORS_EVENT_KIND_MAX, &out->kind},
                 {"title", DETECTORS_EVENT_TITLE_MAX, &out->title},
                 {"service", DETECTORS_EVENT_TEXT_MAX, &out->service},
                 {"model", DETECTORS_EVENT_TEXT_MAX, &out->model},
                 {"version", DETECTORS_EVENT_TEXT_MAX, &out->version},
                 {"by", DETECTORS_EVENT_TEXT_MAX, &out->by},
                 {"link", LINK_MAX, &out->link}};
    for (size_t i = 0; e == ERR_OK && i < ARRAY_LEN(texts); i++)
        e = text_of(n, texts[i].key, texts[i].max, texts[i].to, msg);
    return e == ERR_OK ? check(n, now_ms, out, msg) : e;
}

/* --- writing ------------------------------------------------------------------------------------- */

static void put_text(struct buf *out, const char *key, struct bytes v)
{
    if (v.size)
        tsdb_attrs_put_str(out, bytes_str(key), v);
}

static bool fill(struct tsdb_batch *b, const struct detectors_event *e)
{
    struct buf attrs = {0}, body = {0}, resource = {0};
    uint32_t row = tsdb_batch_add_log(b);
    if (row == TSDB_NO_ROW)
        return false;
    struct tsdb_logs *l = &b->logs;
    put_text(&attrs, "kind", e->kind);
    put_text(&attrs, "version", e->version);
    put_text(&attrs, "model", e->model);
    put_text(&attrs, "link", e->link);
    put_text(&attrs, "by", e->by);
    put_text(&resource, "service.name", e->service);
    tsdb_attrs_put_value(&body,
                         (struct tsdb_value){TSDB_VALUE_STRING, {.bytes = bytes_trim(e->title)}});
    l->time_ns[row] = e->at_ms * 1000000;
    l->observed_ns[row] = clock_wall_ns();
    l->severity[row] = SEVERITY_INFO;
    l->event_name[row] = BYTES_LIT(QUERY_CHANGES_EVENT);
    l->scope_name[row] = BYTES_LIT("telltale");
    l->service[row] = arena_copy(b->arena, e->service);
    l->attrs[row] = arena_copy(b->arena, buf_bytes(&attrs));
    l->resource_attrs[row] = arena_copy(b->arena, buf_bytes(&resource));
    l->body[row] = arena_copy(b->arena, buf_bytes(&body));
    bool ok = buf_ok(&attrs) && buf_ok(&body) && buf_ok(&resource) && l->attrs[row].data &&
              l->body[row].data && (!e->service.size || l->service[row].data) &&
              (!resource.size || l->resource_attrs[row].data);
    buf_done(&attrs);
    buf_done(&body);
    buf_done(&resource);
    return ok;
}

enum err detectors_event_put(struct tsdb *db, uint32_t org, const struct detectors_event *e)
{
    struct tsdb_result r;
    struct tsdb_batch *b = tsdb_batch_new(org, TSDB_LOGS, BATCH_BYTES);
    if (!b)
        return ERR_NOMEM;
    if (!fill(b, e)) {
        tsdb_batch_free(b);
        return ERR_NOMEM;
    }
    b->received = 1;
    b->received_ns = clock_wall_ns();
    return tsdb_append_wait(db, b, &r);
}
