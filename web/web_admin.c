/* Counts, accounts, freshness, flush, keys and sessions. */
#include "base/check.h"
#include "base/json_in.h"
#include "web/web_json.h"

static const char *const signal_names[TSDB_SIGNAL_COUNT] = {
    [TSDB_SPANS] = "spans",
    [TSDB_LOGS] = "logs",
    [TSDB_SAMPLES] = "samples",
    [TSDB_TOKENS] = "tokens", /* assembled, not kept: there is nothing to count */
};

static enum err count(struct web_call *c)
{
    struct bytes name = web_call_value(c, "signal");
    for (size_t s = 0; s < TSDB_TOKENS; s++) {
        uint64_t n;
        if (!bytes_equal_str(name, signal_names[s]))
            continue;
        enum err e = tsdb_count(c->web->opts.db, web_call_org(c), (enum tsdb_signal)s, &n);
        if (e != ERR_OK)
            return err_set(&c->msg, e, "the rows cannot be counted: %s", err_text(e));
        json_out_object(&c->j);
        json_out_key(&c->j, "count");
        json_out_u64(&c->j, n);
        json_out_object_end(&c->j);
        return ERR_OK;
    }
    return err_set(&c->msg, ERR_INVALID, "signal: give spans, logs or samples");
}

static enum err flush(struct web_call *c)
{
    struct bytes compact = web_call_value(c, "compact");
    if (compact.size && !bytes_equal_str(compact, "full"))
        return err_set(&c->msg, ERR_INVALID, "compact: give full, or leave it out");
    enum err e = tsdb_flush(c->web->opts.db, compact.size > 0, &c->msg);
    if (e != ERR_OK)
        return e;
    json_out_object(&c->j);
    json_out_key(&c->j, "status");
    json_out_str(&c->j, "done");
    json_out_object_end(&c->j);
    return ERR_OK;
}

void web_admin_accounts(struct web_call *c)
{
    static const char *const reasons[] = {
#define X(name, text) text,
        TSDB_REJECT_TABLE(X)
#undef X
    };
    struct json_out *j = &c->j;
    struct tsdb_account *rows = ARENA_ARRAY(c->arena, struct tsdb_account, WEB_ACCOUNTS_MAX);
    size_t n = rows ? tsdb_accounts(c->web->opts.db, rows, WEB_ACCOUNTS_MAX) : 0;
    json_out_array(j);
    for (size_t i = 0; i < MIN(n, WEB_ACCOUNTS_MAX); i++) {
        const struct tsdb_account *a = &rows[i];
        const struct {
            const char *name;
            uint64_t v;
        } states[] = {{"received", a->received},     {"stored", a->stored},
                      {"duplicate", a->duplicate},   {"quarantined", a->quarantined},
                      {"erased", a->erased},         {"expired", a->expired},
                      {"superseded", a->superseded}, {"sampled_out", a->sampled_out}};
        if (a->org != web_call_org(c))
            continue; /* what others send is not the asker's business */
        json_out_object(j);
        json_out_key(j, "signal");
        json_out_str(j, signal_names[a->signal]);
        for (size_t k = 0; k < ARRAY_LEN(states); k++) {
            json_out_key(j, states[k].name);
            json_out_u64(j, states[k].v);
        }
        json_out_key(j, "rejected");
        json_out_object(j);
        for (int r = 0; r < TSDB_REJECT_COUNT; r++)
            if (a->rejected[r]) {
                json_out_key(j, reasons[r]);
                json_out_u64(j, a->rejected[r]);
            }
        json_out_object_end(j);
        json_out_object_end(j);
    }
    json_out_array_end(j);
}

static enum err accounts(struct web_call *c)
{
    json_out_object(&c->j);
    json_out_key(&c->j, "accounts");
    web_admin_accounts(c);
    json_out_object_end(&c->j);
    return ERR_OK;
}

enum err web_admin_freshness(struct web_call *c, struct tsdb_view *v)
{
    struct tsdb_freshness *rows;
    size_t n;
    struct json_out *j = &c->j;
    enum err e = tsdb_freshness_read(v, c->arena, &rows, &n);
    if (e != ERR_OK)
        return e;
    json_out_array(j);
    for (size_t i = 0; i < n; i++) {
        json_out_object(j);
        json_out_key(j, "service");
        json_out_bytes(j, rows[i].service);
        json_out_key(j, "newest_ms");
        json_out_i64(j, rows[i].newest_end_ns / 1000000);
        json_out_key(j, "received_ms");
        json_out_i64(j, rows[i].received_ns / 1000000);
        json_out_key(j, "spans");
        json_out_u64(j, rows[i].spans);
        json_out_key(j, "genai_spans");
        json_out_u64(j, rows[i].genai_spans);
        json_out_object_end(j);
    }
    json_out_array_end(j);
    return ERR_OK;
}

static enum err freshness(struct web_call *c)
{
    struct tsdb_view *v;
    enum err e = web_call_view(c, &v);
    if (e != ERR_OK)
        return e;
    json_out_object(&c->j);
    json_out_key(&c->j, "services");
    e = web_admin_freshness(c, v);
    json_out_object_end(&c->j);
    tsdb_view_close(v);
    return e;
}

/* --- keys -------------------------------------------------------------------------------------- */

static void key_json(struct json_out *j, const struct web_access_key *k)
{
    json_out_key(j, "id");
    json_out_printf(j, "%016llx", (unsigned long long)k->id);
    json_out_key(j, "role");
    json_out_str(j, web_access_role_name(k->role));
    json_out_key(j, "org");
    json_out_u64(j, k->org);
    json_out_key(j, "name");
    json_out_str(j, k->name);
    json_out_key(j, "created_ms");
    json_out_i64(j, k->created_ms);
    json_out_key(j, "revoked_ms");
    if (k->revoked_ms)
        json_out_i64(j, k->revoked_ms);
    else
        json_out_null(j);
}

static enum err keys_list(struct web_call *c)
{
    struct web_access_key *keys = ARENA_ARRAY(c->arena, struct web_access_key, WEB_ACCESS_KEYS_MAX);
    if (!keys)
        return ERR_NOMEM;
    size_t n = web_access_list(c->web->opts.access, keys, WEB_ACCESS_KEYS_MAX);
    json_out_object(&c->j);
    json_out_key(&c->j, "keys");
    json_out_array(&c->j);
    for (size_t i = 0; i < MIN(n, WEB_ACCESS_KEYS_MAX); i++) {
        if (keys[i].org != web_call_org(c))
            continue;
        json_out_object(&c->j);
        key_json(&c->j, &keys[i]);
        json_out_object_end(&c->j);
    }
    json_out_array_end(&c->j);
    json_out_object_end(&c->j);
    return ERR_OK;
}

static enum err body_json(struct web_call *c, struct json_node **out)
{
    if (!bytes_equal_str(net_request_content_type(c->req), "application/json"))
        return err_set(&c->msg, ERR_UNSUPPORTED_MEDIA, "send application/json");
    return json_in_tree(net_request_body(c->req), 8, c->arena, out, &c->msg);
}

static enum err keys_create(struct web_call *c)
{
    struct json_node *body;
    enum web_access_role role;
    char text[WEB_ACCESS_KEY_TEXT_MAX];
    uint64_t id;
    enum err e = body_json(c, &body);
    if (e != ERR_OK)
        return e;
    if (!web_access_role_parse(json_get_str(body, "role"), &role))
        return err_set(&c->msg, ERR_INVALID, "role: give ingest, read or admin");
    /* a key is made in the org of whoever makes it; naming another is for the machine's owner */
    e = web_access_create(c->web->opts.access, role, web_call_org(c), json_get_str(body, "name"),
                          text, &id, &c->msg);
    if (e != ERR_OK)
        return e;
    json_out_object(&c->j);
    json_out_key(&c->j, "id");
    json_out_printf(&c->j, "%016llx", (unsigned long long)id);
    json_out_key(&c->j, "key");
    json_out_str(&c->j, text);
    json_out_object_end(&c->j);
    return ERR_OK;
}

static enum err keys_revoke(struct web_call *c)
{
    uint8_t id[8];
    struct bytes text = net_request_param(c->req, 0);
    if (!bytes_from_hex(text, id, sizeof id))
        return err_set(&c->msg, ERR_INVALID, "give the 16 hex digits of the key's id");
    enum err e = web_access_revoke(c->web->opts.access, web_call_org(c), bytes_u64be(id));
    if (e != ERR_OK)
        return err_set(&c->msg, e,
                       e == ERR_NOT_FOUND ? "there is no key of this id"
                                          : "the key could not be revoked");
    json_out_object(&c->j);
    json_out_key(&c->j, "status");
    json_out_str(&c->j, "revoked");
    json_out_object_end(&c->j);
    return ERR_OK;
}

/* --- sessions ---------------------------------------------------------------------------------- */

/* This route is open (it makes the credential), so the check of authorised writes is made here. */
static enum err same_site(struct web_call *c)
{
    return web_access_same_site(net_request_header(c->req, "origin"),
                                net_request_header(c->req, "host"),
                                net_request_header(c->req, "sec-fetch-site"))
               ? ERR_OK
               : err_set(&c->msg, ERR_FORBIDDEN, "this request was sent by a page of another site");
}

static enum err session_begin(struct web_call *c)
{
    struct json_node *body;
    enum err e = same_site(c);
    if (e == ERR_OK)
        e = body_json(c, &body);
    if (e == ERR_OK)
        e = web_access_login(c->web->opts.access, json_get_str(body, "key"),
                             bytes_str(net_request_peer(c->req)), net_request_is_tls(c->req),
                             c->set_cookie, &c->msg);
    if (e != ERR_OK)
        return e;
    json_out_object(&c->j);
    json_out_key(&c->j, "status");
    json_out_str(&c->j, "signed in");
    json_out_object_end(&c->j);
    return ERR_OK;
}

static enum err session_end(struct web_call *c)
{
    enum err e = same_site(c);
    if (e == ERR_OK)
        e = web_access_logout(c->web->opts.access, net_request_header(c->req, "cookie"),
                              net_request_is_tls(c->req), c->set_cookie);
    if (e != ERR_OK)
        return e;
    json_out_object(&c->j);
    json_out_key(&c->j, "status");
    json_out_str(&c->j, "signed out");
    json_out_object_end(&c->j);
    return ERR_OK;
}

enum err web_admin_routes(struct web *w, struct net *net)
{
    static const struct web_endpoint endpoints[] = {
        {"GET", "/api/telltale/v1/count", count, WEB_FORM_OURS, 0},
        {"GET", "/api/telltale/v1/accounts", accounts, WEB_FORM_OURS, 0},
        {"GET", "/api/telltale/v1/freshness", freshness, WEB_FORM_OURS, 0},
        {"POST", "/api/telltale/v1/admin/flush", flush, WEB_FORM_OURS, 0},
        {"GET", "/api/telltale/v1/keys", keys_list, WEB_FORM_OURS, 0},
        {"POST", "/api/telltale/v1/keys", keys_create, WEB_FORM_OURS, 0},
        {"DELETE", "/api/telltale/v1/keys/{}", keys_revoke, WEB_FORM_OURS, 0},
        {"POST", "/api/telltale/v1/session", session_begin, WEB_FORM_OURS, NET_ROUTE_OPEN},
        {"DELETE", "/api/telltale/v1/session", session_end, WEB_FORM_OURS, NET_ROUTE_OPEN},
    };
    return web_call_routes(w, net, endpoints, ARRAY_LEN(endpoints));
}
