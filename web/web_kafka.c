/* Messages of Kafka that could not be read, and what may be on two nodes. */
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "tsdb/tsdb_state.h"
#include "web/web_json.h"

#define MESSAGES_MAX 1000
#define OVERLAPS_MAX 10000u
#define DEFAULT_COUNT 100
/* Names and tables that collector/kafka writes. */
#define SERVICE "telltale.kafka"
#define OVERLAPS "kafka_overlaps"
#define REPLAYED "kafka_replayed"

struct place {
    struct bytes topic;
    int64_t partition, offset;
};

static bool number_of(struct bytes attrs, const char *name, int64_t *out)
{
    struct tsdb_value v;
    if (!tsdb_attrs_find(attrs, bytes_str(name), &v) || v.type != TSDB_VALUE_INT)
        return false;
    *out = v.integer;
    return true;
}

static struct bytes text_of(struct bytes attrs, const char *name, enum tsdb_value_type type)
{
    struct tsdb_value v;
    return tsdb_attrs_find(attrs, bytes_str(name), &v) && v.type == type ? v.bytes : BYTES_NONE;
}

static bool place_of(struct bytes attrs, struct place *out)
{
    out->topic = text_of(attrs, "messaging.destination.name", TSDB_VALUE_STRING);
    return out->topic.size &&
           number_of(attrs, "messaging.destination.partition.id", &out->partition) &&
           number_of(attrs, "messaging.kafka.offset", &out->offset);
}

static bool is_message(void *ctx, const struct tsdb_logs *logs, uint32_t row)
{
    const struct place *wanted = ctx;
    struct place p;
    return bytes_equal_str(logs->event_name[row], "telltale.quarantine") &&
           place_of(logs->attrs[row], &p) &&
           (!wanted || (bytes_equal(p.topic, wanted->topic) && p.partition == wanted->partition &&
                        p.offset == wanted->offset));
}

/* Newest first. */
static enum err find(struct web_call *c, struct place *wanted, uint32_t max, struct tsdb_logs *out)
{
    struct tsdb_view *v;
    struct tsdb_log_filter f = {
        .max_ns = INT64_MAX, .service = BYTES_LIT(SERVICE), .keep = is_message, .ctx = wanted};
    enum err e = web_call_view(c, &v);
    if (e != ERR_OK)
        return e;
    e = tsdb_log_scan(v, &f, max, c->arena, out);
    tsdb_view_close(v);
    return e;
}

static struct bytes replay_key(struct web_call *c, const struct place *p)
{
    return arena_printf(c->arena, "%u " BYTES_FMT " %lld %lld", web_call_org(c),
                        BYTES_ARG(p->topic), (long long)p->partition, (long long)p->offset);
}

static bool is_replayed(struct web_call *c, const struct place *p)
{
    struct bytes key = replay_key(c, p), value;
    return key.size && tsdb_state_get(c->web->opts.db, REPLAYED, key, c->arena, &value) == ERR_OK;
}

/* --- telling --------------------------------------------------------------------------------------- */

static void put_message(struct web_call *c, const struct tsdb_logs *l, uint32_t row)
{
    struct json_out *j = &c->j;
    struct bytes attrs = l->attrs[row];
    struct tsdb_attrs_iter it = tsdb_attrs_begin(l->body[row]);
    struct tsdb_value why;
    struct place p;
    int64_t size = 0;
    if (!place_of(attrs, &p))
        return;
    (void)number_of(attrs, "messaging.message.body.size", &size);
    struct bytes kept = text_of(attrs, "telltale.quarantine.payload", TSDB_VALUE_BYTES);
    json_out_object(j);
    web_json_str(j, "topic", p.topic);
    web_json_i64(j, "partition", p.partition);
    web_json_i64(j, "offset", p.offset);
    web_json_str(j, "signal", text_of(attrs, "telltale.quarantine.signal", TSDB_VALUE_STRING));
    web_json_i64(j, "time_ms", l->time_ns[row] / 1000000);
    web_json_i64(j, "size", size);
    web_json_i64(j, "kept", (int64_t)kept.size);
    web_json_str(j, "reason",
                 tsdb_attrs_next_value(&it, &why) && why.type == TSDB_VALUE_STRING ? why.bytes
                                                                                   : BYTES_NONE);
    web_json_bool(j, "replayed", is_replayed(c, &p));
    json_out_object_end(j);
}

static enum err put_overlaps(struct web_call *c)
{
    struct tsdb_state_row *rows = NULL;
    size_t n = 0;
    enum err e =
        tsdb_state_scan(c->web->opts.db, OVERLAPS, BYTES_NONE, OVERLAPS_MAX, c->arena, &rows, &n);
    if (e != ERR_OK)
        return e;
    json_out_key(&c->j, "overlaps");
    json_out_array(&c->j);
    for (size_t i = 0; i < n; i++)
        json_out_raw(&c->j, rows[i].value);
    json_out_array_end(&c->j);
    return ERR_OK;
}

static enum err list(struct web_call *c)
{
    struct tsdb_logs logs = {0};
    int64_t max;
    enum err e = web_call_i64(c, "limit", DEFAULT_COUNT, 1, MESSAGES_MAX, &max);
    if (e == ERR_OK)
        e = find(c, NULL, (uint32_t)max, &logs);
    if (e != ERR_OK)
        return e;
    json_out_object(&c->j);
    json_out_key(&c->j, "messages");
    json_out_array(&c->j);
    for (uint32_t i = 0; i < logs.count; i++)
        put_message(c, &logs, i);
    json_out_array_end(&c->j);
    e = put_overlaps(c);
    json_out_object_end(&c->j);
    return e;
}

/* TOPIC/PARTITION/OFFSET of the path -> the newest record of it. */
static enum err find_one(struct web_call *c, struct place *p, struct tsdb_logs *out)
{
    uint64_t partition, offset;
    p->topic = net_request_param(c->req, 0);
    if (!bytes_to_u64(net_request_param(c->req, 1), &partition) || partition > INT32_MAX ||
        !bytes_to_u64(net_request_param(c->req, 2), &offset) || offset > INT64_MAX)
        return err_set(&c->msg, ERR_INVALID, "give TOPIC/PARTITION/OFFSET, the last two numbers");
    p->partition = (int64_t)partition;
    p->offset = (int64_t)offset;
    enum err e = find(c, p, 1, out);
    return e == ERR_OK && !out->count
               ? err_set(&c->msg, ERR_NOT_FOUND, "no message of this place is kept")
               : e;
}

static enum err payload(struct web_call *c)
{
    struct tsdb_logs logs = {0};
    struct place p;
    enum err e = find_one(c, &p, &logs);
    if (e != ERR_OK)
        return e;
    c->content_type = "application/octet-stream";
    buf_bytes_append(&c->out,
                     text_of(logs.attrs[0], "telltale.quarantine.payload", TSDB_VALUE_BYTES));
    return ERR_OK;
}

/* --- replaying ------------------------------------------------------------------------------------- */

/* What is to be read: the body of the request, or what is kept, if that is all of it. */
static enum err replay_bytes(struct web_call *c, struct bytes attrs, struct bytes *out)
{
    int64_t size = -1;
    *out = net_request_body(c->req);
    if (out->size)
        return ERR_OK;
    *out = text_of(attrs, "telltale.quarantine.payload", TSDB_VALUE_BYTES);
    (void)number_of(attrs, "messaging.message.body.size", &size);
    if ((int64_t)out->size == size)
        return ERR_OK;
    return err_set(&c->msg, ERR_CONFLICT,
                   "only %zu of its %lld bytes are kept: send the message as the body", out->size,
                   (long long)size);
}

static enum err mark_replayed(struct web_call *c, const struct place *p)
{
    struct tsdb_state_write *w;
    struct bytes now = arena_printf(c->arena, "%lld", (long long)(clock_wall_ns() / 1000000));
    enum err e = tsdb_state_begin(c->web->opts.db, &w);
    if (e != ERR_OK)
        return e;
    e = tsdb_state_put(w, REPLAYED, replay_key(c, p), now);
    if (e == ERR_OK)
        return tsdb_state_commit(w);
    tsdb_state_abort(w);
    return e;
}

static enum err replay(struct web_call *c)
{
    struct tsdb_logs logs = {0};
    struct place p;
    struct web_replay_result r = {0};
    struct bytes value;
    const struct web_replay *with = &c->web->opts.replay;
    enum err e = find_one(c, &p, &logs);
    if (e == ERR_OK && !with->run)
        e = err_set(&c->msg, ERR_UNSUPPORTED_MEDIA, "this program cannot replay messages");
    if (e == ERR_OK && is_replayed(c, &p))
        e = err_set(&c->msg, ERR_CONFLICT, "it was replayed before");
    if (e == ERR_OK)
        e = replay_bytes(c, logs.attrs[0], &value);
    if (e != ERR_OK)
        return e;
    struct web_replay_ask ask = {
        .org = web_call_org(c),
        .signal = text_of(logs.attrs[0], "telltale.quarantine.signal", TSDB_VALUE_STRING),
        .place = replay_key(c, &p),
        .value = value};
    e = with->run(with->ctx, &ask, &r, &c->msg);
    if (e == ERR_OK)
        e = mark_replayed(c, &p);
    if (e != ERR_OK)
        return e;
    json_out_object(&c->j);
    web_json_i64(&c->j, "stored", (int64_t)r.stored);
    web_json_i64(&c->j, "rejected", (int64_t)r.rejected);
    json_out_object_end(&c->j);
    return ERR_OK;
}

enum err web_kafka_routes(struct web *w, struct net *net)
{
    static const struct web_endpoint endpoints[] = {
        {"GET", "/api/telltale/v1/quarantine/messages", list, WEB_FORM_OURS, 0},
        {"GET", "/api/telltale/v1/quarantine/messages/{}/{}/{}", payload, WEB_FORM_OURS, 0},
        {"POST", "/api/telltale/v1/admin/quarantine/replay/{}/{}/{}", replay, WEB_FORM_OURS, 0},
    };
    return web_call_routes(w, net, endpoints, ARRAY_LEN(endpoints));
}
