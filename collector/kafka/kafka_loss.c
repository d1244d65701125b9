#include "collector/kafka/kafka_loss.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/json_in.h"
#include "base/json_out.h"
#include "base/log.h"
#include "tsdb/tsdb_state.h"

#define ROWS_MAX 100000u

struct loss {
    struct bytes topic;
    int64_t partition, from, to, messages, resets, found_ms;
    bool is_reset;
};

static bool loss_read(struct bytes text, struct arena *a, struct loss *out)
{
    struct json_node *n;
    struct err_msg msg;
    if (json_in_tree(text, 2, a, &n, &msg) != ERR_OK)
        return false;
    out->topic = json_get_str(n, "topic");
    out->is_reset = bytes_equal_str(json_get_str(n, "kind"), "reset");
    return json_get_i64(n, "partition", &out->partition) && json_get_i64(n, "from", &out->from) &&
           json_get_i64(n, "to", &out->to) && json_get_i64(n, "messages", &out->messages) &&
           json_get_i64(n, "resets", &out->resets) && json_get_i64(n, "found_ms", &out->found_ms);
}

static void loss_put(const struct loss *l, struct buf *out)
{
    struct json_out j = json_out_to(out);
    json_out_object(&j);
    json_out_key(&j, "topic");
    json_out_bytes(&j, l->topic);
    json_out_key(&j, "partition");
    json_out_i64(&j, l->partition);
    json_out_key(&j, "kind");
    json_out_str(&j, l->is_reset ? "reset" : "removed");
    json_out_key(&j, "from");
    json_out_i64(&j, l->from);
    json_out_key(&j, "to");
    json_out_i64(&j, l->to);
    json_out_key(&j, "messages"); /* with what was lost not long before */
    json_out_i64(&j, l->messages);
    json_out_key(&j, "resets");
    json_out_i64(&j, l->resets);
    json_out_key(&j, "found_ms");
    json_out_i64(&j, l->found_ms);
    json_out_object_end(&j);
}

/* In one transaction: what the row says already, and what it says from now on. */
static enum err loss_add(struct tsdb *db, struct bytes key, struct loss *l, struct arena *a)
{
    struct tsdb_state_write *w;
    struct loss old;
    struct bytes text;
    struct buf value = {0};
    enum err e = tsdb_state_begin(db, &w);
    if (e != ERR_OK)
        return e;
    e = tsdb_state_read(w, KAFKA_LOSS_TABLE, key, &text);
    if (e == ERR_OK && loss_read(text, a, &old)) {
        if (old.from == l->from && old.to == l->to && old.is_reset == l->is_reset) {
            tsdb_state_abort(w);
            return ERR_OK;
        }
        bool is_near = l->found_ms - old.found_ms < KAFKA_LOSS_APART_MS;
        l->messages += is_near ? old.messages : 0;
        l->resets += is_near ? old.resets : 0;
    }
    if (e == ERR_NOT_FOUND)
        e = ERR_OK;
    loss_put(l, &value);
    if (e == ERR_OK && !buf_ok(&value))
        e = ERR_NOMEM;
    if (e == ERR_OK)
        e = tsdb_state_put(w, KAFKA_LOSS_TABLE, key, buf_bytes(&value));
    buf_done(&value);
    if (e == ERR_OK)
        return tsdb_state_commit(w);
    tsdb_state_abort(w);
    return e;
}

void kafka_loss_record(struct tsdb *db, const char *topic, uint32_t partition, int64_t from,
                       int64_t to, bool is_reset)
{
    struct arena *a = arena_new(0);
    struct bytes key = a ? arena_printf(a, "%.249s %010" PRIu32, topic, partition) : BYTES_NONE;
    struct loss l = {.topic = bytes_str(topic),
                     .partition = partition,
                     .from = from,
                     .to = to,
                     .messages = is_reset ? 0 : to - from,
                     .resets = is_reset,
                     .found_ms = clock_wall_ms(),
                     .is_reset = is_reset};
    enum err e = key.data ? loss_add(db, key, &l, a) : ERR_NOMEM;
    if (e != ERR_OK)
        log_error("kafka", "what Kafka has lost of %s[%u] could not be recorded: %s", topic,
                  partition, err_text(e));
    arena_free(a);
}

enum err kafka_loss_since(struct tsdb *db, int64_t after_ms, struct arena *a,
                          struct kafka_losses *out)
{
    struct tsdb_state_row *rows;
    size_t n = 0;
    *out = (struct kafka_losses){0};
    enum err e = tsdb_state_scan(db, KAFKA_LOSS_TABLE, BYTES_NONE, ROWS_MAX, a, &rows, &n);
    for (size_t i = 0; e == ERR_OK && i < n; i++) {
        struct loss l;
        if (!loss_read(rows[i].value, a, &l) || l.found_ms <= after_ms)
            continue;
        out->partitions++;
        out->messages += (uint64_t)l.messages;
        out->resets += (uint64_t)l.resets;
        if (l.found_ms < out->newest_ms)
            continue;
        out->newest_ms = l.found_ms;
        snprintf(out->place, sizeof(out->place), "%.*s[%" PRIi64 "]",
                 (int)MIN(l.topic.size, (size_t)249),
                 l.topic.size ? (const char *)l.topic.data : "", l.partition);
    }
    return e;
}
