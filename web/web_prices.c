/* The price table: what is in force, every row that ever made a cost, and reading the document again. */
#include <stdlib.h>

#include "base/check.h"
#include "base/json_in.h"
#include "tsdb/tsdb_state.h"
#include "web/web_json.h"

#define ROWS_TABLE "price_rows"
#define TABLES_TABLE "price_tables"
#define ROWS_MAX 65536u
#define TABLES_MAX 1000u
#define REPRICES_TABLE "reprices"
#define REPRICES_MAX 1000u
#define INVOICES_TABLE "invoices"
#define INVOICES_MAX 100u
#define INVOICE_BODY_MAX (48u << 20)

/* A row that was negotiated for another org is nobody else's business; the default org is the machine's owner. */
static bool row_is_visible(const struct web_call *c, struct bytes value)
{
    struct json_node *row;
    struct err_msg msg;
    int64_t org;
    if (web_call_org(c) == TSDB_ORG_DEFAULT ||
        bytes_find(value, BYTES_LIT("\"org\":")) == value.size)
        return true;
    return json_in_tree(value, 4, c->arena, &row, &msg) == ERR_OK &&
           (!json_get_i64(json_get(row, "content"), "org", &org) || org == web_call_org(c));
}

/* {"id":...,"content":...,...}: the stored object with its id before it. */
static void put_row(struct json_out *j, uint32_t id, struct bytes value)
{
    struct buf text = {0};
    buf_printf(&text, "{\"id\":\"%08x\",", id);
    buf_bytes_append(&text, bytes_slice(value, 1, value.size));
    json_out_raw(j, buf_ok(&text) ? buf_bytes(&text) : BYTES_LIT("null"));
    buf_done(&text);
}

static uint32_t id_of(struct bytes key)
{
    uint32_t id = 0;
    for (size_t i = 0; i < key.size; i++)
        id = id << 8 | key.data[i];
    return id;
}

static bool is_active(const struct json_node *ids, uint32_t id, const struct json_node **at)
{
    uint8_t raw[4];
    /* both come sorted: the list is walked once */
    while (*at && bytes_from_hex((*at)->text, raw, 4)) {
        uint32_t v = id_of(bytes_of(raw, 4));
        if (v > id)
            return false;
        *at = (*at)->next;
        if (v == id)
            return true;
    }
    return false;
}

static enum err put_rows(struct web_call *c, const struct json_node *active, bool all)
{
    struct tsdb_state_row *rows;
    size_t n;
    const struct json_node *ids = json_get(active, "ids"), *at = ids ? ids->child : NULL;
    enum err e =
        tsdb_state_scan(c->web->opts.db, ROWS_TABLE, BYTES_NONE, ROWS_MAX, c->arena, &rows, &n);
    json_out_key(&c->j, "prices");
    json_out_array(&c->j);
    for (size_t i = 0; e == ERR_OK && i < n; i++) {
        uint32_t id = id_of(rows[i].key);
        bool now = is_active(ids, id, &at);
        if ((now || all) && rows[i].value.size > 2 && row_is_visible(c, rows[i].value))
            put_row(&c->j, id, rows[i].value);
    }
    json_out_array_end(&c->j);
    return e;
}

static enum err prices(struct web_call *c)
{
    struct bytes value;
    struct json_node *active = NULL;
    enum err e =
        tsdb_state_get(c->web->opts.db, TABLES_TABLE, BYTES_LIT("active"), c->arena, &value);
    if (e == ERR_OK)
        e = json_in_tree(value, 4, c->arena, &active, &c->msg);
    else if (e == ERR_NOT_FOUND)
        e = ERR_OK;
    if (e != ERR_OK)
        return err_set(&c->msg, e, "the prices cannot be read: %s", err_text(e));
    int64_t loaded = 0;
    json_get_i64(active, "loaded_ms", &loaded);
    json_out_object(&c->j);
    web_json_str(&c->j, "table", json_get_str(active, "table"));
    web_json_str(&c->j, "name", json_get_str(active, "name"));
    web_json_i64(&c->j, "loaded_ms", loaded);
    e = put_rows(c, active, bytes_equal_str(web_call_value(c, "all"), "1"));
    json_out_object_end(&c->j);
    return e;
}

static enum err price(struct web_call *c)
{
    uint8_t key[4];
    struct bytes value, text = net_request_param(c->req, 0);
    if (!bytes_from_hex(text, key, sizeof key))
        return err_set(&c->msg, ERR_INVALID, "give the 8 hex digits of a price row's id");
    enum err e = tsdb_state_get(c->web->opts.db, ROWS_TABLE, bytes_of(key, 4), c->arena, &value);
    if (e == ERR_NOT_FOUND || (e == ERR_OK && (value.size < 2 || !row_is_visible(c, value))))
        return err_set(&c->msg, ERR_NOT_FOUND, "there is no price row of this id");
    if (e != ERR_OK)
        return err_set(&c->msg, e, "the price row cannot be read: %s", err_text(e));
    put_row(&c->j, id_of(bytes_of(key, 4)), value);
    return ERR_OK;
}

static enum err tables(struct web_call *c)
{
    struct tsdb_state_row *rows;
    size_t n;
    enum err e = tsdb_state_scan(c->web->opts.db, TABLES_TABLE, BYTES_LIT("at"), TABLES_MAX,
                                 c->arena, &rows, &n);
    if (e != ERR_OK)
        return err_set(&c->msg, e, "the price tables cannot be read: %s", err_text(e));
    json_out_object(&c->j);
    json_out_key(&c->j, "tables");
    json_out_array(&c->j);
    for (size_t i = 0; i < n; i++)
        json_out_raw(&c->j, rows[i].value);
    json_out_array_end(&c->j);
    json_out_object_end(&c->j);
    return ERR_OK;
}

static enum err reload(struct web_call *c)
{
    const struct web_money *m = &c->web->opts.money;
    if (!m->reload)
        return err_set(&c->msg, ERR_NOT_FOUND, "there are no prices here");
    if (web_call_org(c) != TSDB_ORG_DEFAULT)
        return err_set(&c->msg, ERR_FORBIDDEN,
                       "prices hold for every org: the machine's owner reloads them");
    return m->reload(m->ctx, &c->out, &c->msg);
}

static struct bytes org_key(uint32_t org, uint8_t key[4])
{
    for (int i = 0; i < 4; i++)
        key[i] = (uint8_t)(org >> (24 - 8 * i));
    return bytes_of(key, 4);
}

/* --- re-pricing ---------------------------------------------------------------------------------- */

static enum err reprice(struct web_call *c)
{
    const struct web_money *m = &c->web->opts.money;
    const struct net_access *who = net_request_access(c->req);
    if (!m->reprice)
        return err_set(&c->msg, ERR_NOT_FOUND, "there are no prices here");
    if (!bytes_equal_str(net_request_content_type(c->req), "application/json"))
        return err_set(&c->msg, ERR_UNSUPPORTED_MEDIA, "send application/json");
    return m->reprice(m->ctx, web_call_org(c), who ? who->key_id : 0, net_request_body(c->req),
                      &c->out, &c->msg);
}

struct dated {
    int64_t at_ms;
    struct bytes value;
};

static int dated_newest(const void *a, const void *b)
{
    const struct dated *x = a, *y = b;
    return (x->at_ms < y->at_ms) - (x->at_ms > y->at_ms);
}

static enum err reprices(struct web_call *c)
{
    struct tsdb_state_row *rows;
    uint8_t key[4];
    size_t n;
    enum err e = tsdb_state_scan(c->web->opts.db, REPRICES_TABLE, org_key(web_call_org(c), key),
                                 REPRICES_MAX, c->arena, &rows, &n);
    struct dated *list = e == ERR_OK ? ARENA_ARRAY(c->arena, struct dated, n + 1) : NULL;
    for (size_t i = 0; list && i < n; i++) {
        struct json_node *record;
        list[i].value = rows[i].value;
        if (json_in_tree(rows[i].value, 6, c->arena, &record, &c->msg) == ERR_OK)
            json_get_i64(record, "at_ms", &list[i].at_ms);
    }
    if (!list)
        return err_set(&c->msg, e == ERR_OK ? ERR_NOMEM : e, "the re-pricings cannot be read");
    qsort(list, n, sizeof *list, dated_newest);
    json_out_object(&c->j);
    json_out_key(&c->j, "reprices");
    json_out_array(&c->j);
    for (size_t i = 0; i < n; i++)
        json_out_raw(&c->j, list[i].value);
    json_out_array_end(&c->j);
    json_out_object_end(&c->j);
    return ERR_OK;
}

/* --- reconciliation ---------------------------------------------------------------------------- */

static enum err reconcile(struct web_call *c)
{
    const struct web_money *m = &c->web->opts.money;
    if (!m->reconcile)
        return err_set(&c->msg, ERR_NOT_FOUND, "there are no prices here");
    if (!bytes_equal_str(net_request_content_type(c->req), "application/json"))
        return err_set(&c->msg, ERR_UNSUPPORTED_MEDIA, "send application/json");
    return m->reconcile(m->ctx, web_call_org(c), net_request_body(c->req), &c->out, &c->msg);
}

/* {"id":...,"at_ms":...,<what the report says of the whole>}: lines and centres are one report's business. */
static enum err put_invoice(struct web_call *c, const struct tsdb_state_row *row, bool whole)
{
    static const char *const heads[] = {"provider",       "from",         "to",
                                        "theirs_nanousd", "ours_nanousd", "difference_nanousd",
                                        "residue_ratio",  "residue_of",   "alert"};
    struct json_node *report;
    enum err e =
        row->key.size == 12 ? json_in_tree(row->value, 8, c->arena, &report, &c->msg) : ERR_CORRUPT;
    if (e != ERR_OK)
        return err_set(&c->msg, e, "a report cannot be read: %s", err_text(e));
    json_out_object(&c->j);
    json_out_key(&c->j, "id");
    json_out_printf(&c->j, "%llu", (unsigned long long)bytes_u64be(row->key.data + 4));
    if (whole) {
        json_out_key(&c->j, "report");
        json_out_raw(&c->j, row->value);
    }
    for (size_t i = 0; !whole && i < ARRAY_LEN(heads); i++) {
        const struct json_node *n = json_get(report, heads[i]);
        json_out_key(&c->j, heads[i]);
        if (n && n->type == JSON_STRING)
            json_out_bytes(&c->j, n->text);
        else if (n && n->type == JSON_BOOL)
            json_out_bool(&c->j, n->boolean);
        else
            json_out_raw(&c->j, n && n->type == JSON_NUMBER ? n->text : BYTES_LIT("null"));
    }
    json_out_object_end(&c->j);
    return ERR_OK;
}

static enum err invoices(struct web_call *c)
{
    struct tsdb_state_row *rows;
    uint8_t key[4];
    size_t n;
    enum err e = tsdb_state_scan(c->web->opts.db, INVOICES_TABLE, org_key(web_call_org(c), key),
                                 INVOICES_MAX, c->arena, &rows, &n);
    json_out_object(&c->j);
    json_out_key(&c->j, "reports");
    json_out_array(&c->j);
    for (size_t i = n; e == ERR_OK && i > 0; i--) /* newest first */
        e = put_invoice(c, &rows[i - 1], false);
    json_out_array_end(&c->j);
    json_out_object_end(&c->j);
    return e == ERR_OK || c->msg.text[0]
               ? e
               : err_set(&c->msg, e, "the reports cannot be read: %s", err_text(e));
}

static enum err invoice(struct web_call *c)
{
    struct tsdb_state_row row = {0};
    uint8_t key[12];
    uint64_t id;
    if (!bytes_to_u64(net_request_param(c->req, 0), &id))
        return err_set(&c->msg, ERR_INVALID, "give the number of a report");
    org_key(web_call_org(c), key);
    bytes_put_u64be(key + 4, id);
    row.key = bytes_of(key, sizeof key);
    enum err e = tsdb_state_get(c->web->opts.db, INVOICES_TABLE, row.key, c->arena, &row.value);
    if (e != ERR_OK)
        return err_set(&c->msg, e,
                       e == ERR_NOT_FOUND ? "there is no report of this number"
                                          : "the report cannot be read");
    return put_invoice(c, &row, true);
}

enum err web_prices_routes(struct web *w, struct net *net)
{
    static const struct web_endpoint endpoints[] = {
        {"GET", "/api/telltale/v1/prices", prices, WEB_FORM_OURS, 0},
        {"GET", "/api/telltale/v1/prices/{}", price, WEB_FORM_OURS, 0},
        {"GET", "/api/telltale/v1/reconcile", invoices, WEB_FORM_OURS, 0},
        {"GET", "/api/telltale/v1/reconcile/{}", invoice, WEB_FORM_OURS, 0},
        {"GET", "/api/telltale/v1/admin/prices", tables, WEB_FORM_OURS, 0},
        {"GET", "/api/telltale/v1/admin/reprice", reprices, WEB_FORM_OURS, 0},
        {"POST", "/api/telltale/v1/admin/reprice", reprice, WEB_FORM_OURS, 0},
        {"POST", "/api/telltale/v1/admin/prices/reload", reload, WEB_FORM_OURS, 0},
    };
    static const struct web_endpoint large[] = {
        {"POST", "/api/telltale/v1/reconcile", reconcile, WEB_FORM_OURS, 0},
    };
    enum err e = web_call_routes(w, net, endpoints, ARRAY_LEN(endpoints));
    return e == ERR_OK ? web_call_large_routes(w, net, large, ARRAY_LEN(large), INVOICE_BODY_MAX)
                       : e;
}
