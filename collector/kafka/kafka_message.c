#include "collector/kafka/kafka_message.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "collector/otlp/otlp.h"
#include "collector/tokens/tokens.h"
#include "tsdb/tsdb_attrs.h"

#define SEVERITY_ERROR 17
#define BATCH_BYTES ((size_t)1 << 20)
#define TREE_BYTES ((size_t)64 << 20) /* of one message as JSON */

static const char *const signals[TSDB_SIGNAL_COUNT] = {[TSDB_SPANS] = "spans",
                                                       [TSDB_SAMPLES] = "metrics",
                                                       [TSDB_LOGS] = "logs",
                                                       [TSDB_TOKENS] = "tokens"};

const char *kafka_message_signal(enum tsdb_signal signal)
{
    return signals[signal];
}

static enum otlp_encoding encoding_of(struct bytes value)
{
    for (size_t i = 0; i < value.size; i++)
        if (!strchr(" \t\r\n", value.data[i]))
            return value.data[i] == '{' ? OTLP_JSON : OTLP_PROTOBUF;
    return OTLP_PROTOBUF;
}

static enum err add_tokens(const struct kafka_message *m, struct tsdb *db, struct tsdb_batch *b,
                           struct err_msg *msg)
{
    struct tokens_options o = {.encoding = tokens_encoding_of(m->value),
                               .now_ns = b->received_ns,
                               .floor_ms = tsdb_retention_floor_ms(db),
                               .tree_max = TREE_BYTES};
    if (m->is_refused)
        return err_set(msg, ERR_TOO_LARGE, "the message is too large for the store");
    return tokens_decode(b, m->value, &o, msg);
}

struct tsdb_batch *kafka_message_tokens_begin(const struct kafka_message *m)
{
    struct tsdb_batch *b = tsdb_batch_new(m->org, TSDB_TOKENS, OTLP_ARENA_MAX);
    if (b)
        b->received_ns = clock_wall_ns();
    return b;
}

enum err kafka_message_tokens_add(const struct kafka_message *m, struct tsdb *db,
                                  struct tsdb_batch *b)
{
    struct err_msg msg;
    return add_tokens(m, db, b, &msg);
}

enum err kafka_message_tokens_end(struct stage *stage, struct tsdb_batch *b)
{
    struct err_msg msg;
    enum err e = stage ? stage_apply(stage, b, &msg) : ERR_OK;
    if (e == ERR_OK) {
        stage_count_rejected(b);
        tsdb_batch_trim(b);
    }
    return e;
}

static enum err decode_tokens(const struct kafka_message *m, struct tsdb *db,
                              struct tsdb_batch **out, struct err_msg *msg)
{
    *out = kafka_message_tokens_begin(m);
    enum err e = *out ? add_tokens(m, db, *out, msg) : ERR_NOMEM;
    if (e != ERR_OK) {
        tsdb_batch_free(*out);
        *out = NULL;
    }
    return e;
}

static enum err decode_otlp(const struct kafka_message *m, struct tsdb *db, struct tsdb_batch **out,
                            struct err_msg *msg)
{
    struct otlp_decode_options o = {.org = m->org,
                                    .signal = m->signal,
                                    .encoding = encoding_of(m->value),
                                    .series = tsdb_series(db),
                                    .now_ns = clock_wall_ns(),
                                    .floor_ms = tsdb_retention_floor_ms(db),
                                    .translation = m->translation,
                                    .resource_extra = m->extra};
    if (m->is_refused)
        return err_set(msg, ERR_TOO_LARGE, "the message is too large for the store");
    if (m->value.size > OTLP_BODY_MAX)
        return err_set(msg, ERR_TOO_LARGE, "the message has more than 64 MiB");
    uint8_t *body = malloc(m->value.size + 1);
    if (!body)
        return ERR_NOMEM;
    if (m->value.size)
        memcpy(body, m->value.data, m->value.size);
    return otlp_decode(&o, body, m->value.size, out, msg);
}

static enum err decode(const struct kafka_message *m, struct tsdb *db, struct stage *stage,
                       struct tsdb_batch **out, struct err_msg *msg)
{
    enum err e =
        m->signal == TSDB_TOKENS ? decode_tokens(m, db, out, msg) : decode_otlp(m, db, out, msg);
    if (e == ERR_OK && stage) {
        e = stage_apply(stage, *out, msg);
        if (e != ERR_OK) {
            tsdb_batch_free(*out);
            *out = NULL;
        }
        if (e == ERR_LIMIT)
            e = err_set(msg, ERR_TOO_LARGE, "the message needs more memory than one may use");
    }
    if (e == ERR_OK)
        (*out)->request_key = (struct hash128){0, 0}; /* the claim says what is a repeat */
    return e;
}

/* How much of this one may be kept. */
static size_t allowance(struct kafka_poison *p, size_t size, int64_t now_ns)
{
    int64_t minute = now_ns / 60000000000;
    if (p->minute != minute)
        *p = (struct kafka_poison){.minute = minute};
    size_t n = MIN(MIN(size, KAFKA_POISON_KEPT), KAFKA_POISON_BUDGET - p->kept);
    p->kept += n;
    return n;
}

static void put_attrs(struct buf *out, const struct kafka_message *m, struct bytes kept)
{
    tsdb_attrs_put_str(out, BYTES_LIT("messaging.system"), BYTES_LIT("kafka"));
    tsdb_attrs_put_str(out, BYTES_LIT("messaging.destination.name"), bytes_str(m->topic));
    tsdb_attrs_put_i64(out, BYTES_LIT("messaging.destination.partition.id"), m->partition);
    tsdb_attrs_put_i64(out, BYTES_LIT("messaging.kafka.offset"), m->offset);
    tsdb_attrs_put_i64(out, BYTES_LIT("messaging.message.body.size"), (int64_t)m->value.size);
    tsdb_attrs_put_str(out, BYTES_LIT("telltale.quarantine.signal"),
                       bytes_str(kafka_message_signal(m->signal)));
    tsdb_attrs_put(out, BYTES_LIT("telltale.quarantine.payload"),
                   (struct tsdb_value){TSDB_VALUE_BYTES, {.bytes = kept}});
}

/* One log record instead of what could not be read. */
static enum err poison_batch(const struct kafka_message *m, struct stage *stage,
                             struct kafka_poison *poison, const char *why, struct tsdb_batch **out)
{
    struct tsdb_batch *b = tsdb_batch_new(m->org, TSDB_LOGS, BATCH_BYTES);
    struct buf body = {0}, attrs = {0};
    int64_t now_ns = clock_wall_ns();
    uint32_t row = b ? tsdb_batch_add_log(b) : TSDB_NO_ROW;
    if (row == TSDB_NO_ROW) {
        tsdb_batch_free(b);
        return ERR_NOMEM;
    }
    size_t kept = allowance(poison, m->value.size, now_ns);
    struct bytes payload = arena_copy(b->arena, bytes_slice(m->value, 0, kept));
    if (stage && payload.data)
        stage_blank(stage, (uint8_t *)(uintptr_t)payload.data, payload.size);
    put_attrs(&attrs, m, payload);
    tsdb_attrs_put_value(&body, (struct tsdb_value){TSDB_VALUE_STRING, {.bytes = bytes_str(why)}});
    struct tsdb_logs *l = &b->logs;
    l->time_ns[row] = l->observed_ns[row] = now_ns;
    l->severity[row] = SEVERITY_ERROR;
    l->severity_text[row] = BYTES_LIT("ERROR");
    l->service[row] = BYTES_LIT(KAFKA_POISON_SERVICE);
    l->event_name[row] = BYTES_LIT("telltale.quarantine");
    l->body[row] = arena_copy(b->arena, buf_bytes(&body));
    l->attrs[row] = arena_copy(b->arena, buf_bytes(&attrs));
    b->received = 1;
    b->received_ns = now_ns;
    bool ok = (payload.data || !kept) && buf_ok(&body) && buf_ok(&attrs) && l->body[row].data &&
              l->attrs[row].data;
    buf_done(&body);
    buf_done(&attrs);
    if (!ok) {
        tsdb_batch_free(b);
        return ERR_NOMEM;
    }
    *out = b;
    return ERR_OK;
}

enum err kafka_message_batch(const struct kafka_message *m, struct tsdb *db, struct stage *stage,
                             struct kafka_poison *poison, struct tsdb_batch **out,
                             bool *out_is_poison)
{
    struct err_msg msg = {""};
    *out_is_poison = false;
    enum err e = decode(m, db, stage, out, &msg);
    if (e != ERR_OK && e != ERR_NOMEM) {
        const char *why = msg.text[0] ? msg.text : err_text(e);
        log_warn("kafka", "message %lld of %s[%u] cannot be read: %s", (long long)m->offset,
                 m->topic, m->partition, why);
        *out_is_poison = true;
        e = poison_batch(m, stage, poison, why, out);
    }
    if (e == ERR_OK) {
        stage_count_rejected(*out);
        tsdb_batch_trim(*out);
    }
    return e;
}

/* --- once more ----------------------------------------------------------------------------------- */

enum err kafka_message_replay(struct tsdb *db, struct stage *stage,
                              const struct otlp_translation *translation, uint32_t org,
                              struct bytes signal, struct bytes place, struct bytes value,
                              struct kafka_replayed *out, struct err_msg *msg)
{
    struct kafka_message m = {
        .org = org, .value = value, .signal = TSDB_SIGNAL_COUNT, .translation = *translation};
    struct tsdb_batch *b = NULL;
    struct tsdb_result r;
    for (unsigned i = 0; i < TSDB_SIGNAL_COUNT; i++)
        if (signals[i] && bytes_equal_str(signal, signals[i]))
            m.signal = (enum tsdb_signal)i;
    if (m.signal == TSDB_SIGNAL_COUNT)
        return err_set(msg, ERR_INVALID, "it is not known what the message was to be");
    enum err e = decode(&m, db, stage, &b, msg);
    if (e != ERR_OK)
        return e;
    stage_count_rejected(b);
    b->request_key = hash128(place, 0x7265706c61790a);
    e = tsdb_append_wait(db, b, &r);
    if (e != ERR_OK)
        return err_set(msg, e, "the store does not take it: %s", err_text(e));
    *out = (struct kafka_replayed){r.stored, r.rejected};
    return ERR_OK;
}
