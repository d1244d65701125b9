#include "collector/kafka/kafka_overlap.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <sodium.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/json_in.h"
#include "base/json_out.h"
#include "base/log.h"
#include "base/stats.h"
#include "tsdb/tsdb_state.h"

#define NODE_TABLE "kafka_node"
#define WORD "telltale"

STATS_COUNTER(repeats, "telltale_kafka_handover_repeats_total", "",
              "Messages of partitions that went to another member which may be stored there, too.")
STATS_COUNTER(ranges, "telltale_kafka_overlaps_total", "",
              "Ranges of messages that may be on two nodes of the group, as recorded here.")

/* --- the node's name ------------------------------------------------------------------------------ */

static bool is_node(struct bytes s)
{
    bool ok = s.size == KAFKA_NODE_SIZE;
    for (size_t i = 0; i < s.size && ok; i++)
        ok = strchr("0123456789abcdef", s.data[i]) && s.data[i];
    return ok;
}

static enum err make_node(struct tsdb *db, char *out)
{
    struct tsdb_state_write *w;
    uint8_t raw[KAFKA_NODE_SIZE / 2];
    if (sodium_init() < 0)
        return ERR_IO;
    randombytes_buf(raw, sizeof(raw));
    sodium_bin2hex(out, KAFKA_NODE_SIZE + 1, raw, sizeof(raw));
    enum err e = tsdb_state_begin(db, &w);
    if (e != ERR_OK)
        return e;
    e = tsdb_state_put(w, NODE_TABLE, BYTES_LIT("name"), bytes_str(out));
    if (e == ERR_OK)
        return tsdb_state_commit(w);
    tsdb_state_abort(w);
    return e;
}

enum err kafka_overlap_node(struct tsdb *db, char out[KAFKA_NODE_SIZE + 1])
{
    struct arena *a = arena_new(0);
    struct bytes name;
    if (!a)
        return ERR_NOMEM;
    enum err e = tsdb_state_get(db, NODE_TABLE, BYTES_LIT("name"), a, &name);
    if (e == ERR_OK && is_node(name)) {
        memcpy(out, name.data, name.size);
        out[name.size] = 0;
    } else if (e == ERR_OK || e == ERR_NOT_FOUND)
        e = make_node(db, out);
    arena_free(a);
    return e;
}

/* --- the line at the broker ----------------------------------------------------------------------- */

void kafka_overlap_put(const struct kafka_overlap_line *l, struct buf *out)
{
    buf_printf(out, WORD " node=%s generation=%" PRIu64 " from=%" PRIi64 " left=%d", l->node,
               l->generation, l->from, l->has_left);
    for (unsigned i = 0; i < l->open_count; i++)
        buf_printf(out, " open=%s@%" PRIi64, l->open[i].node, l->open[i].at);
}

static struct bytes next_word(struct bytes *rest)
{
    size_t n = 0;
    while (n < rest->size && rest->data[n] != ' ')
        n++;
    struct bytes word = bytes_slice(*rest, 0, n);
    *rest = bytes_slice(*rest, MIN(n + 1, rest->size), rest->size);
    return word;
}

static bool take_node(struct bytes s, char *out)
{
    if (!is_node(s))
        return false;
    memcpy(out, s.data, s.size);
    out[s.size] = 0;
    return true;
}

static bool take_offset(struct bytes s, int64_t *out)
{
    uint64_t v;
    if (bytes_equal(s, BYTES_LIT("-1"))) {
        *out = -1;
        return true;
    }
    if (!bytes_to_u64(s, &v) || v > INT64_MAX)
        return false;
    *out = (int64_t)v;
    return true;
}

static bool take_open(struct bytes s, struct kafka_overlap_line *l)
{
    struct kafka_overlap_open o;
    if (s.size <= KAFKA_NODE_SIZE + 1 || s.data[KAFKA_NODE_SIZE] != '@' ||
        !take_node(bytes_slice(s, 0, KAFKA_NODE_SIZE), o.node) ||
        !take_offset(bytes_slice(s, KAFKA_NODE_SIZE + 1, s.size), &o.at))
        return false;
    if (l->open_count < KAFKA_OVERLAP_OPEN)
        l->open[l->open_count++] = o;
    return true;
}

static bool take_word(struct bytes word, struct kafka_overlap_line *l)
{
    if (bytes_has_prefix(word, BYTES_LIT("node=")))
        return take_node(bytes_slice(word, 5, word.size), l->node);
    if (bytes_has_prefix(word, BYTES_LIT("generation=")))
        return bytes_to_u64(bytes_slice(word, 11, word.size), &l->generation);
    if (bytes_has_prefix(word, BYTES_LIT("from=")))
        return take_offset(bytes_slice(word, 5, word.size), &l->from);
    if (bytes_has_prefix(word, BYTES_LIT("open=")))
        return take_open(bytes_slice(word, 5, word.size), l);
    l->has_left = l->has_left || bytes_equal(word, BYTES_LIT("left=1"));
    return true; /* of a later version */
}

void kafka_overlap_read(struct bytes text, struct kafka_overlap_line *out)
{
    *out = (struct kafka_overlap_line){.from = -1};
    bool ok = bytes_equal(next_word(&text), BYTES_LIT(WORD));
    while (ok && text.size)
        ok = take_word(next_word(&text), out);
    if (!ok)
        *out = (struct kafka_overlap_line){.from = -1};
}

void kafka_overlap_add_open(struct kafka_overlap_line *l, const char *node, int64_t at)
{
    unsigned n = 0;
    for (unsigned i = 0; i < l->open_count; i++) /* a node once, where it stood last */
        if (strcmp(l->open[i].node, node) != 0)
            l->open[n++] = l->open[i];
    if (n == KAFKA_OVERLAP_OPEN)
        memmove(&l->open[0], &l->open[1], --n * sizeof(l->open[0]));
    memcpy(l->open[n].node, node, sizeof(l->open[n].node));
    l->open[n].at = at;
    l->open_count = n + 1;
}

/* --- records -------------------------------------------------------------------------------------- */

static void put_record(struct buf *out, const char *topic, uint32_t partition, int64_t from,
                       int64_t to, const char *kind, const char *other)
{
    struct json_out j = json_out_to(out);
    json_out_object(&j);
    json_out_key(&j, "topic");
    json_out_str(&j, topic);
    json_out_key(&j, "partition");
    json_out_u64(&j, partition);
    json_out_key(&j, "from");
    json_out_i64(&j, from);
    json_out_key(&j, "to"); /* the first that is not */
    if (to < 0)
        json_out_null(&j);
    else
        json_out_i64(&j, to);
    json_out_key(&j, "kind");
    json_out_str(&j, kind);
    json_out_key(&j, "other");
    json_out_str(&j, other);
    json_out_key(&j, "found_ms");
    json_out_i64(&j, clock_wall_ns() / 1000000);
    json_out_object_end(&j);
}

static enum err keep(struct tsdb *db, struct bytes key, struct bytes value)
{
    struct tsdb_state_write *w;
    enum err e = tsdb_state_begin(db, &w);
    if (e != ERR_OK)
        return e;
    e = tsdb_state_put(w, KAFKA_OVERLAP_TABLE, key, value);
    if (e == ERR_OK)
        return tsdb_state_commit(w);
    tsdb_state_abort(w);
    return e;
}

/* Was it recorded before, or are there too many? */
static bool is_kept(struct tsdb *db, struct bytes key)
{
    struct arena *a = arena_new(0);
    struct bytes old;
    struct tsdb_state_row *rows;
    size_t n = 0;
    bool is = !a || tsdb_state_get(db, KAFKA_OVERLAP_TABLE, key, a, &old) == ERR_OK ||
              tsdb_state_scan(db, KAFKA_OVERLAP_TABLE, BYTES_NONE, KAFKA_OVERLAP_MAX, a, &rows,
                              &n) != ERR_OK ||
              n >= KAFKA_OVERLAP_MAX;
    arena_free(a);
    return is;
}

bool kafka_overlap_record(struct tsdb *db, const char *topic, uint32_t partition, int64_t from,
                          int64_t to, const char *kind, const char *other)
{
    struct buf key = {0}, value = {0};
#ifdef TELLTALE_FAULT_KAFKA_SILENT /* seeded defect: what is on two nodes is not recorded */
    return false;
#endif
    buf_printf(&key, "%s %010u %020" PRIi64 " %020" PRIi64 " %s", topic, partition, from, to, kind);
    put_record(&value, topic, partition, from, to, kind, other);
    bool is_new = buf_ok(&key) && buf_ok(&value) && !is_kept(db, buf_bytes(&key));
    if (is_new) {
        enum err e = keep(db, buf_bytes(&key), buf_bytes(&value));
        stats_add(&ranges, 1);
        stats_add(&repeats, to > from ? to - from : 0);
        if (e != ERR_OK)
            log_error("kafka", "what may be on two nodes could not be recorded: %s", err_text(e));
    }
    buf_done(&key);
    buf_done(&value);
    return is_new;
}

static void describe(const struct json_node *n, struct kafka_overlaps *out)
{
    struct bytes topic = json_get_str(n, "topic"), kind = json_get_str(n, "kind");
    int64_t partition = 0, from = 0, to;
    char end[32] = "the end of what the other has";
    (void)json_get_i64(n, "partition", &partition);
    (void)json_get_i64(n, "from", &from);
    if (json_get_i64(n, "to", &to))
        snprintf(end, sizeof(end), "%" PRIi64, to - 1);
    snprintf(out->newest, sizeof(out->newest), "%.*s[%" PRIi64 "] from %" PRIi64 " to %s (%.*s)",
             (int)MIN(topic.size, (size_t)249), topic.size ? (const char *)topic.data : "",
             partition, from, end, (int)MIN(kind.size, (size_t)16),
             kind.size ? (const char *)kind.data : "");
}

enum err kafka_overlap_since(struct tsdb *db, int64_t after_ms, struct arena *a,
                             struct kafka_overlaps *out)
{
    struct tsdb_state_row *rows;
    size_t n = 0;
    *out = (struct kafka_overlaps){0};
    enum err e =
        tsdb_state_scan(db, KAFKA_OVERLAP_TABLE, BYTES_NONE, KAFKA_OVERLAP_MAX, a, &rows, &n);
    for (size_t i = 0; e == ERR_OK && i < n; i++) {
        struct json_node *row;
        struct err_msg msg;
        int64_t found_ms;
        if (json_in_tree(rows[i].value, 2, a, &row, &msg) != ERR_OK ||
            !json_get_i64(row, "found_ms", &found_ms))
            continue; /* not a row of ours */
        if (found_ms > after_ms) {
            out->ranges++;
            if (found_ms >= out->newest_ms)
                describe(row, out);
        }
        out->newest_ms = MAX(out->newest_ms, found_ms);
    }
    return e;
}
