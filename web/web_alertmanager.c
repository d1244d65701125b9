/* Alertmanager's API, version 2, for amtool and Grafana: alerts, groups, silences, status, receivers; and maintenance windows, which are ours. */
#include "base/check.h"
#include "base/clock.h"
#include "base/json_in.h"
#include "query/query_regex.h"
#include "web/web_json.h"

#define FILTERS_MAX 16u
#define COVERED_MAX 32u
#define FRESH_MS INT64_C(300000) /* what fires is said to end then, if nobody tells of it again */

static void time_json(struct json_out *j, const char *key, int64_t ms)
{
    char text[CLOCK_RFC3339_MAX];
    clock_rfc3339(ms, text);
    web_json_text(j, key, text);
}

static void pairs_json(struct json_out *j, const char *key, const struct query_slo_pair *list,
                       size_t n)
{
    json_out_key(j, key);
    json_out_object(j);
    for (size_t i = 0; i < n; i++) {
        json_out_key_bytes(j, list[i].name);
        json_out_bytes(j, list[i].value);
    }
    json_out_object_end(j);
}

static enum err no_detectors(struct web_call *c)
{
    return err_set(&c->msg, ERR_NOT_FOUND, "there are no alerts here");
}

/* --- filters ------------------------------------------------------------------------------------- */

static enum err read_filters(struct web_call *c, struct detectors_matcher *out, size_t *out_count)
{
    struct bytes text;
    *out_count = 0;
    for (unsigned i = 0; net_request_value(c->req, "filter", i, &text); i++) {
        if (i == FILTERS_MAX)
            return err_set(&c->msg, ERR_INVALID, "filter: more than %u", FILTERS_MAX);
        enum err e = detectors_matcher_parse(text, c->arena, &out[i], &c->msg);
        if (e != ERR_OK)
            return e;
        *out_count = i + 1;
    }
    return ERR_OK;
}

/* true unless the parameter says false. */
static bool asked_for(struct web_call *c, const char *name)
{
    return !bytes_equal_str(web_call_value(c, name), "false");
}

/* --- silences ------------------------------------------------------------------------------------ */

enum err web_silences_read(struct web_call *c, struct web_silences *out)
{
    *out = (struct web_silences){.now_ms = clock_wall_ms()};
    enum err e = web_call_sees_detectors(c)
                     ? detectors_silences(c->web->opts.detectors, c->arena, &out->list, &out->count)
                     : ERR_OK;
    return e == ERR_OK ? e : err_set(&c->msg, e, "the silences cannot be read: %s", err_text(e));
}

static size_t covers(const struct web_silences *s, const struct detectors_alert *a,
                     uint32_t out[COVERED_MAX])
{
    return detectors_silences_of(s->list, s->count, a->labels, a->label_count, s->now_ms, out,
                                 COVERED_MAX);
}

void web_silences_of(struct json_out *j, const struct web_silences *s,
                     const struct detectors_alert *a)
{
    uint32_t at[COVERED_MAX];
    size_t n = covers(s, a, at);
    static const char *const keys[] = {"silenced_by", "muted_by"};
    for (int window = 0; window < 2; window++) {
        json_out_key(j, keys[window]);
        json_out_array(j);
        for (size_t i = 0; i < n; i++) {
            const struct detectors_silence *x = &s->list[at[i]];
            if (x->is_window != window)
                continue;
            json_out_object(j);
            web_json_text(j, "id", x->id);
            web_json_str(j, "author", x->author);
            web_json_str(j, "comment", x->comment);
            web_json_i64(j, "ends_ms", x->ends_ms);
            json_out_object_end(j);
        }
        json_out_array_end(j);
    }
}

static void silence_json(struct json_out *j, const struct detectors_silence *s, int64_t now_ms)
{
    json_out_object(j);
    web_json_text(j, "id", s->id);
    json_out_key(j, "status");
    json_out_object(j);
    web_json_text(j, "state", detectors_silence_state_name(detectors_silence_state_at(s, now_ms)));
    json_out_object_end(j);
    time_json(j, "updatedAt", s->updated_ms);
    web_json_str(j, "comment", s->comment);
    web_json_str(j, "createdBy", s->author);
    time_json(j, "endsAt", s->ends_ms);
    json_out_key(j, "matchers");
    json_out_array(j);
    for (uint32_t i = 0; i < s->matcher_count; i++) {
        const struct detectors_matcher *m = &s->matchers[i];
        json_out_object(j);
        web_json_bool(j, "isEqual", m->op == DETECTORS_MATCH_EQ || m->op == DETECTORS_MATCH_RE);
        web_json_bool(j, "isRegex", m->op == DETECTORS_MATCH_RE || m->op == DETECTORS_MATCH_NRE);
        web_json_str(j, "name", m->name);
        web_json_str(j, "value", m->value);
        json_out_object_end(j);
    }
    json_out_array_end(j);
    time_json(j, "startsAt", s->starts_ms);
    json_out_object_end(j);
}

/* A filter is held against what the silence demands, as Alertmanager does it: name="x" finds a matcher name="x". */
static bool silence_is_wanted(const struct detectors_silence *s,
                              const struct detectors_matcher *filters, size_t n, struct arena *a)
{
    struct query_slo_pair *pairs = ARENA_ARRAY(a, struct query_slo_pair, s->matcher_count + 1);
    if (!pairs)
        return true;
    for (uint32_t i = 0; i < s->matcher_count; i++)
        pairs[i] = (struct query_slo_pair){s->matchers[i].name, s->matchers[i].value};
    for (size_t i = 0; i < n; i++)
        if (!detectors_matcher_holds(&filters[i], pairs, s->matcher_count))
            return false;
    return true;
}

static enum err silences(struct web_call *c)
{
    struct detectors_matcher filters[FILTERS_MAX];
    struct web_silences s;
    size_t n = 0;
    enum err e = read_filters(c, filters, &n);
    if (e == ERR_OK)
        e = web_silences_read(c, &s);
    if (e != ERR_OK)
        return e;
    json_out_array(&c->j);
    for (size_t i = 0; i < s.count; i++)
        if (silence_is_wanted(&s.list[i], filters, n, c->arena))
            silence_json(&c->j, &s.list[i], s.now_ms);
    json_out_array_end(&c->j);
    return ERR_OK;
}

static enum err silence_get(struct web_call *c)
{
    struct web_silences s;
    enum err e = web_silences_read(c, &s);
    for (size_t i = 0; e == ERR_OK && i < s.count; i++)
        if (bytes_equal_str(net_request_param(c->req, 0), s.list[i].id)) {
            silence_json(&c->j, &s.list[i], s.now_ms);
            return ERR_OK;
        }
    return e == ERR_OK ? err_set(&c->msg, ERR_NOT_FOUND, "there is no silence of this id") : e;
}

static enum err silence_delete(struct web_call *c)
{
    if (!web_call_sees_detectors(c))
        return no_detectors(c);
    enum err e =
        detectors_silence_expire(c->web->opts.detectors, net_request_param(c->req, 0), &c->msg);
    if (e != ERR_OK)
        return e;
    json_out_object(&c->j);
    json_out_object_end(&c->j);
    return ERR_OK;
}

/* --- reading a silence --------------------------------------------------------------------------- */

static enum err read_time(struct web_call *c, const struct json_node *root, const char *key,
                          int64_t *out_ms)
{
    struct bytes text = json_get_str(root, key), copy;
    int64_t ns = 0;
    copy = arena_printf(c->arena, BYTES_FMT, BYTES_ARG(text));
    if (!text.size || !copy.data || !clock_parse_rfc3339((const char *)copy.data, &ns))
        return err_set(&c->msg, ERR_INVALID, "%s: give a time such as 2026-11-24T17:22:17Z", key);
    *out_ms = ns / 1000000;
    return ERR_OK;
}

static bool flag_of(const struct json_node *object, const char *key, bool otherwise)
{
    const struct json_node *n = json_get(object, key);
    return n && n->type == JSON_BOOL ? n->boolean : otherwise;
}

static enum err read_body(struct web_call *c, struct json_node **out)
{
    struct err_msg why = {""};
    enum err e = json_in_tree(net_request_body(c->req), 16, c->arena, out, &why);
    if (e == ERR_OK && (*out)->type != JSON_OBJECT)
        e = err_set(&why, ERR_INVALID, "an object is expected");
    return e == ERR_OK ? e : err_set(&c->msg, e, "the body is not what it should be: %s", why.text);
}

static enum err read_matchers(struct web_call *c, const struct json_node *root,
                              struct detectors_silence *out)
{
    const struct json_node *list = json_get(root, "matchers");
    for (const struct json_node *n = list ? list->child : NULL; n; n = n->next) {
        bool is_equal = flag_of(n, "isEqual", true), is_regex = flag_of(n, "isRegex", false);
        if (out->matcher_count == DETECTORS_MATCHERS_MAX)
            return err_set(&c->msg, ERR_INVALID, "matchers: at most %u", DETECTORS_MATCHERS_MAX);
        out->matchers[out->matcher_count++] = (struct detectors_matcher){
            .op = is_regex ? (is_equal ? DETECTORS_MATCH_RE : DETECTORS_MATCH_NRE)
                           : (is_equal ? DETECTORS_MATCH_EQ : DETECTORS_MATCH_NE),
            .name = json_get_str(n, "name"),
            .value = json_get_str(n, "value")};
    }
    return ERR_OK;
}

static enum err silence_post(struct web_call *c)
{
    struct detectors_silence s = {0};
    struct json_node *root;
    char id[DETECTORS_SILENCE_ID_MAX];
    if (!web_call_sees_detectors(c))
        return no_detectors(c);
    enum err e = read_body(c, &root);
    if (e == ERR_OK)
        e = read_matchers(c, root, &s);
    if (e == ERR_OK)
        e = read_time(c, root, "startsAt", &s.starts_ms);
    if (e == ERR_OK)
        e = read_time(c, root, "endsAt", &s.ends_ms);
    if (e != ERR_OK)
        return e;
    struct bytes was = json_get_str(root, "id");
    if (was.size && was.size != sizeof(s.id) - 1)
        return err_set(&c->msg, ERR_NOT_FOUND, "there is no silence of this id");
    if (was.size)
        memcpy(s.id, was.data, was.size);
    s.author = json_get_str(root, "createdBy");
    s.comment = json_get_str(root, "comment");
    e = detectors_silence_put(c->web->opts.detectors, &s, id, &c->msg);
    if (e != ERR_OK)
        return e;
    json_out_object(&c->j);
    web_json_text(&c->j, "silenceID", id);
    json_out_object_end(&c->j);
    return ERR_OK;
}

static enum err window_post(struct web_call *c)
{
    struct json_node *root;
    struct detectors_window w = {0};
    char id[DETECTORS_SILENCE_ID_MAX];
    int64_t minutes = 0;
    if (!web_call_sees_detectors(c))
        return no_detectors(c);
    enum err e = read_body(c, &root);
    if (e != ERR_OK)
        return e;
    w = (struct detectors_window){.slo = json_get_str(root, "slo"),
                                  .rule = json_get_str(root, "rule"),
                                  .alertname = json_get_str(root, "alertname"),
                                  .author = json_get_str(root, "createdBy"),
                                  .comment = json_get_str(root, "comment"),
                                  .starts_ms = clock_wall_ms()};
    if (json_get(root, "startsAt") && read_time(c, root, "startsAt", &w.starts_ms) != ERR_OK)
        return ERR_INVALID;
    if (!json_get_i64(root, "minutes", &minutes) || minutes < 1 ||
        minutes > DETECTORS_WINDOW_MS_MAX / 60000)
        return err_set(&c->msg, ERR_INVALID, "minutes: give 1 to %lld",
                       (long long)(DETECTORS_WINDOW_MS_MAX / 60000));
    w.ends_ms = w.starts_ms + minutes * 60000;
    e = detectors_window_put(c->web->opts.detectors, &w, id, &c->msg);
    if (e != ERR_OK)
        return e;
    json_out_object(&c->j);
    web_json_text(&c->j, "id", id);
    time_json(&c->j, "startsAt", w.starts_ms);
    time_json(&c->j, "endsAt", w.ends_ms);
    json_out_object_end(&c->j);
    return ERR_OK;
}

/* --- alerts -------------------------------------------------------------------------------------- */

struct listed { /* what a question about alerts works on */
    struct detectors_alert *rows;
    size_t count;
    struct web_silences silences;
    const struct detectors_receiver *receivers;
    size_t receiver_count;
    struct bytes receiver; /* a pattern that the name of one must match; empty = all */
};

static bool goes_to(const struct detectors_receiver *r, const struct detectors_alert *a)
{
    bool all = !r->pages && !r->tickets;
    return !r->heartbeat && (all || (a->severity == QUERY_SLO_PAGE ? r->pages : r->tickets));
}

static bool is_asked(const struct listed *l, const struct detectors_receiver *r)
{
    return !l->receiver.size || query_regex_matches(l->receiver, bytes_str(r->name));
}

static bool has_receiver(const struct listed *l, const struct detectors_alert *a)
{
    for (size_t i = 0; i < l->receiver_count; i++)
        if (goes_to(&l->receivers[i], a) && is_asked(l, &l->receivers[i]))
            return true;
    return !l->receiver.size;
}

/* What fires and is asked for comes to the front. */
static enum err read_alerts(struct web_call *c, struct listed *l)
{
    struct detectors_matcher filters[FILTERS_MAX];
    uint32_t at[COVERED_MAX];
    size_t n = 0, kept = 0;
    *l = (struct listed){.receiver = web_call_value(c, "receiver")};
    if (l->receiver.size && !query_regex_check(l->receiver, &c->msg))
        return ERR_INVALID;
    enum err e = read_filters(c, filters, &n);
    if (e == ERR_OK)
        e = web_silences_read(c, &l->silences);
    if (e == ERR_OK && web_call_sees_detectors(c)) {
        l->receiver_count = detectors_receivers(c->web->opts.detectors, &l->receivers);
        e = detectors_alerts(c->web->opts.detectors, c->arena, &l->rows, &l->count);
        if (e != ERR_OK)
            (void)err_set(&c->msg, e, "the alerts cannot be read: %s", err_text(e));
    }
    for (size_t i = 0; i < l->count && e == ERR_OK; i++) {
        const struct detectors_alert *a = &l->rows[i];
        bool wanted = a->state == DETECTORS_FIRING && has_receiver(l, a);
        for (size_t k = 0; k < n && wanted; k++)
            wanted = detectors_matcher_holds(&filters[k], a->labels, a->label_count);
        if (wanted)
            wanted = asked_for(c, covers(&l->silences, a, at) ? "silenced" : "active");
        if (wanted)
            l->rows[kept++] = *a;
    }
    l->count = kept;
    return e;
}

static void alert_json(struct json_out *j, const struct listed *l, const struct detectors_alert *a)
{
    uint32_t at[COVERED_MAX];
    size_t n = covers(&l->silences, a, at);
    struct bytes link = BYTES_NONE;
    for (size_t i = 0; i < a->annotation_count; i++)
        if (bytes_equal_str(a->annotations[i].name, "dashboard"))
            link = a->annotations[i].value;
    json_out_object(j);
    pairs_json(j, "annotations", a->annotations, a->annotation_count);
    time_json(j, "endsAt", l->silences.now_ms + FRESH_MS);
    web_json_str(j, "fingerprint", a->fingerprint);
    json_out_key(j, "receivers");
    json_out_array(j);
    for (size_t i = 0; i < l->receiver_count; i++)
        if (goes_to(&l->receivers[i], a)) {
            json_out_object(j);
            web_json_text(j, "name", l->receivers[i].name);
            json_out_object_end(j);
        }
    json_out_array_end(j);
    time_json(j, "startsAt", a->active_since_ms);
    json_out_key(j, "status");
    json_out_object(j);
    json_out_key(j, "inhibitedBy");
    json_out_array(j);
    json_out_array_end(j);
    for (int window = 0; window < 2; window++) {
        json_out_key(j, window ? "mutedBy" : "silencedBy");
        json_out_array(j);
        for (size_t i = 0; i < n; i++)
            if (l->silences.list[at[i]].is_window == window)
                json_out_str(j, l->silences.list[at[i]].id);
        json_out_array_end(j);
    }
    web_json_text(j, "state", n ? "suppressed" : "active");
    json_out_object_end(j);
    time_json(j, "updatedAt", l->silences.now_ms);
    web_json_str(j, "generatorURL", link);
    pairs_json(j, "labels", a->labels, a->label_count);
    json_out_object_end(j);
}

static enum err alerts(struct web_call *c)
{
    struct listed l;
    enum err e = read_alerts(c, &l);
    if (e != ERR_OK)
        return e;
    json_out_array(&c->j);
    for (size_t i = 0; i < l.count; i++)
        alert_json(&c->j, &l, &l.rows[i]);
    json_out_array_end(&c->j);
    return ERR_OK;
}

static struct bytes label_of(const struct detectors_alert *a, const char *name)
{
    for (size_t i = 0; i < a->label_count; i++)
        if (bytes_equal_str(a->labels[i].name, name))
            return a->labels[i].value;
    return BYTES_NONE;
}

/* By alertname and service. */
static bool same_group(const struct detectors_alert *x, const struct detectors_alert *y)
{
    return bytes_equal(label_of(x, "alertname"), label_of(y, "alertname")) &&
           bytes_equal(label_of(x, "service"), label_of(y, "service"));
}

static void group_json(struct json_out *j, const struct listed *l, size_t first,
                       const struct detectors_receiver *r)
{
    const struct detectors_alert *a = &l->rows[first];
    struct query_slo_pair by[] = {{BYTES_LIT("alertname"), label_of(a, "alertname")},
                                  {BYTES_LIT("service"), label_of(a, "service")}};
    json_out_object(j);
    json_out_key(j, "alerts");
    json_out_array(j);
    for (size_t i = first; i < l->count; i++)
        if (same_group(a, &l->rows[i]) && goes_to(r, &l->rows[i]))
            alert_json(j, l, &l->rows[i]);
    json_out_array_end(j);
    pairs_json(j, "labels", by, by[1].value.size ? 2 : 1);
    json_out_key(j, "receiver");
    json_out_object(j);
    web_json_text(j, "name", r->name);
    json_out_object_end(j);
    json_out_object_end(j);
}

static enum err groups(struct web_call *c)
{
    struct listed l;
    enum err e = read_alerts(c, &l);
    if (e != ERR_OK)
        return e;
    json_out_array(&c->j);
    for (size_t r = 0; r < l.receiver_count; r++)
        for (size_t i = 0; i < l.count; i++) {
            bool is_first = goes_to(&l.receivers[r], &l.rows[i]) && is_asked(&l, &l.receivers[r]);
            for (size_t k = 0; k < i && is_first; k++)
                is_first =
                    !(same_group(&l.rows[k], &l.rows[i]) && goes_to(&l.receivers[r], &l.rows[k]));
            if (is_first)
                group_json(&c->j, &l, i, &l.receivers[r]);
        }
    json_out_array_end(&c->j);
    return ERR_OK;
}

/* --- status -------------------------------------------------------------------------------------- */

static enum err receivers(struct web_call *c)
{
    const struct detectors_receiver *list = NULL;
    size_t n = web_call_sees_detectors(c) ? detectors_receivers(c->web->opts.detectors, &list) : 0;
    json_out_array(&c->j);
    for (size_t i = 0; i < n; i++) {
        json_out_object(&c->j);
        web_json_text(&c->j, "name", list[i].name);
        json_out_object_end(&c->j);
    }
    json_out_array_end(&c->j);
    return ERR_OK;
}

static enum err status(struct web_call *c)
{
    static const char *const empty[] = {"branch", "buildDate", "buildUser", "goVersion",
                                        "revision"};
    struct json_out *j = &c->j;
    json_out_object(j);
    json_out_key(j, "cluster");
    json_out_object(j);
    web_json_text(j, "status", "disabled");
    json_out_key(j, "peers");
    json_out_array(j);
    json_out_array_end(j);
    json_out_object_end(j);
    json_out_key(j, "config");
    json_out_object(j);
    web_json_text(j, "original", "");
    json_out_object_end(j);
    time_json(j, "uptime", c->web->opts.start_ms);
    json_out_key(j, "versionInfo");
    json_out_object(j);
    for (size_t i = 0; i < ARRAY_LEN(empty); i++)
        web_json_text(j, empty[i], "");
    web_json_text(j, "version", "telltale-" TELLTALE_VERSION);
    json_out_object_end(j);
    json_out_object_end(j);
    return ERR_OK;
}

enum err web_alertmanager_routes(struct web *w, struct net *net)
{
    static const struct web_endpoint endpoints[] = {
        {"GET", "/api/v2/alerts", alerts, WEB_FORM_ALERTMANAGER, 0},
        {"GET", "/api/v2/alerts/groups", groups, WEB_FORM_ALERTMANAGER, 0},
        {"GET", "/api/v2/silences", silences, WEB_FORM_ALERTMANAGER, 0},
        {"POST", "/api/v2/silences", silence_post, WEB_FORM_ALERTMANAGER, 0},
        {"GET", "/api/v2/silence/{}", silence_get, WEB_FORM_ALERTMANAGER, 0},
        {"DELETE", "/api/v2/silence/{}", silence_delete, WEB_FORM_ALERTMANAGER, 0},
        {"GET", "/api/v2/receivers", receivers, WEB_FORM_ALERTMANAGER, 0},
        {"GET", "/api/v2/status", status, WEB_FORM_ALERTMANAGER, 0},
        {"POST", "/api/telltale/v1/windows", window_post, WEB_FORM_OURS, 0},
    };
    return web_call_routes(w, net, endpoints, ARRAY_LEN(endpoints));
}
