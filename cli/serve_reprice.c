#include "cli/serve_reprice.h"

#include <pthread.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/json_in.h"
#include "base/json_out.h"
#include "base/log.h"
#include "collector/stage/stage_reprice.h"
#include "tsdb/tsdb_state.h"
#include "web/web_json.h"

#define TABLE "reprices"
#define KEY_TEXT_MAX 128u
#define REASON_MAX 512u
#define DAYS_MAX 400

struct ask {
    struct stage_reprice_ask what;
    struct bytes key, reason;
    bool dry_run;
};

/* --- the question -------------------------------------------------------------------------------- */

static bool is_true(const struct json_node *body, const char *name)
{
    const struct json_node *n = json_get(body, name);
    return n && n->type == JSON_BOOL && n->boolean;
}

static enum err ask_read(const struct json_node *body, uint32_t org, struct ask *a,
                         struct err_msg *msg)
{
    int64_t from, to;
    *a = (struct ask){.what = {.org = org,
                               .service = json_get_str(body, "service"),
                               .model = json_get_str(body, "model"),
                               .only_unpriced = is_true(body, "only_unpriced")},
                      .key = json_get_str(body, "key"),
                      .reason = json_get_str(body, "reason"),
                      .dry_run = is_true(body, "dry_run")};
    if (!json_get_i64(body, "from", &from) || !json_get_i64(body, "to", &to) || from < 0 ||
        to <= from || to - from > DAYS_MAX * INT64_C(86400000) || to > INT64_C(4000000000000))
        return err_set(msg, ERR_INVALID, "from, to: give Unix ms, at most %d days apart", DAYS_MAX);
    a->what.from = (uint32_t)(from / 60000);
    a->what.to = (uint32_t)((to + 59999) / 60000);
    if (!a->dry_run && (!a->key.size || a->key.size > KEY_TEXT_MAX))
        return err_set(
            msg, ERR_INVALID,
            "key: name the operation, so that it is done once however often it is asked for");
    if (a->reason.size > REASON_MAX)
        return err_set(msg, ERR_INVALID, "reason: at most %u bytes", REASON_MAX);
    return ERR_OK;
}

/* --- records --------------------------------------------------------------------------------------- */

static struct bytes record_key(uint32_t org, struct bytes name, uint8_t key[12])
{
    for (int i = 0; i < 4; i++)
        key[i] = (uint8_t)(org >> (24 - 8 * i));
    bytes_put_u64be(key + 4, hash64(name, 17));
    return bytes_of(key, 12);
}

/* The prices in force, as the registry names them. */
static struct bytes table_name(struct tsdb *db, struct arena *a)
{
    struct bytes value;
    struct json_node *tree;
    struct err_msg msg;
    if (tsdb_state_get(db, "price_tables", BYTES_LIT("active"), a, &value) != ERR_OK ||
        json_in_tree(value, 4, a, &tree, &msg) != ERR_OK)
        return BYTES_NONE;
    return json_get_str(tree, "table");
}

static void put_u64(struct json_out *j, const char *key, uint64_t v)
{
    json_out_key(j, key);
    json_out_u64(j, v);
}

/* What was asked for comes first: a record of the same key is compared by it. */
static void put_ask(struct json_out *j, const struct ask *a)
{
    json_out_key(j, "ask");
    json_out_object(j);
    web_json_i64(j, "from", (int64_t)a->what.from * 60000);
    web_json_i64(j, "to", (int64_t)a->what.to * 60000);
    web_json_str(j, "service", a->what.service);
    web_json_str(j, "model", a->what.model);
    json_out_key(j, "only_unpriced");
    json_out_bool(j, a->what.only_unpriced);
    json_out_object_end(j);
}

static void put_sums(struct json_out *j, const struct stage_reprice_sums *s)
{
    json_out_key(j, "sums");
    json_out_object(j);
    put_u64(j, "calls", s->calls);
    put_u64(j, "changed", s->changed);
    put_u64(j, "unpriced_before", s->unpriced_before);
    put_u64(j, "unpriced_still", s->unpriced_still);
    put_u64(j, "not_split", s->not_split);
    put_u64(j, "twins", s->twins);
    web_json_i64(j, "old_nanousd", s->old_nanousd);
    web_json_i64(j, "new_nanousd", s->new_nanousd);
    web_json_i64(j, "added_nanousd", s->added_nanousd);
    put_u64(j, "cells", s->cells);
    json_out_object_end(j);
}

static void record_write(struct buf *out, const struct ask *a, const struct stage_reprice_sums *s,
                         const char *state, uint64_t key_id, struct bytes table)
{
    struct json_out j = json_out_to(out);
    json_out_object(&j);
    web_json_str(&j, "key", a->key);
    put_ask(&j, a);
    json_out_key(&j, "state");
    json_out_str(&j, state);
    web_json_i64(&j, "at_ms", clock_wall_ms());
    json_out_key(&j, "by");
    if (key_id)
        json_out_printf(&j, "%016llx", (unsigned long long)key_id);
    else
        json_out_str(&j, "this machine");
    web_json_str(&j, "reason", a->reason);
    web_json_str(&j, "price_table", table);
    put_sums(&j, s);
    json_out_object_end(&j);
}

static enum err record_put(struct tsdb *db, struct bytes key, struct bytes value)
{
    struct tsdb_state_write *w;
    enum err e = tsdb_state_begin(db, &w);
    if (e != ERR_OK)
        return e;
    e = tsdb_state_put(w, TABLE, key, value);
    if (e == ERR_OK)
        return tsdb_state_commit(w);
    tsdb_state_abort(w);
    return e;
}

/* The same key for something else: ERR_CONFLICT. */
static enum err record_check(struct bytes there, const struct ask *a, bool *out_done,
                             struct arena *arena, struct err_msg *msg)
{
    struct json_node *tree;
    struct buf want = {0};
    struct json_out j = json_out_to(&want);
    enum err e = json_in_tree(there, 6, arena, &tree, msg);
    json_out_object(&j);
    web_json_str(&j, "key", a->key);
    put_ask(&j, a);
    if (e == ERR_OK && (!buf_ok(&want) || !bytes_has_prefix(there, buf_bytes(&want))))
        e = err_set(msg, ERR_CONFLICT, "this key was used for another re-pricing");
    buf_done(&want);
    *out_done = e == ERR_OK && bytes_equal_str(json_get_str(tree, "state"), "done");
    return e;
}

/* --- doing it ---------------------------------------------------------------------------------------- */

static struct bytes topic_of(struct arena *a, uint32_t org, struct bytes key)
{
    return arena_printf(a, "reprice/%u/%016llx", org, (unsigned long long)hash64(key, 17));
}

static enum err batch_store(struct tsdb *db, struct tsdb_batch **take, uint32_t org,
                            struct bytes key)
{
    struct tsdb_result r;
    struct tsdb_batch *b = *take;
    *take = NULL;
    b->claim = (struct tsdb_claim){
        .topic = topic_of(b->arena, org, key), .epoch = -1, .from = 0, .next = 1};
    if (b->claim.topic.data)
        return tsdb_append_wait(db, b, &r);
    tsdb_batch_free(b);
    return ERR_NOMEM;
}

static bool is_stored(struct tsdb *db, uint32_t org, struct bytes key, struct arena *a)
{
    struct tsdb_position p;
    return tsdb_position_of(db, topic_of(a, org, key), 0, &p) == ERR_OK && p.next >= 1;
}

/* A record that says started, and a batch that is stored: only the last word is missing. Its sums are those of the record. */
static enum err finish(struct tsdb *db, struct bytes key, struct bytes there, struct buf *json)
{
    struct bytes mark = BYTES_LIT("\"state\":\"started\"");
    size_t at = bytes_find(there, mark);
    buf_bytes_append(json, bytes_slice(there, 0, at));
    buf_str(json, "\"state\":\"done\"");
    buf_bytes_append(json, bytes_slice(there, MIN(at + mark.size, there.size), there.size));
    return buf_ok(json) ? record_put(db, key, buf_bytes(json)) : ERR_NOMEM;
}

static enum err run(struct stage *stage, struct tsdb *db, const struct ask *a, uint64_t key_id,
                    struct arena *arena, struct buf *json, struct err_msg *msg)
{
    struct stage_reprice_sums sums;
    struct tsdb_batch *batch = NULL;
    uint8_t raw[12];
    struct bytes there, key = record_key(a->what.org, a->key, raw), table = table_name(db, arena);
    bool done = false;
    enum err e = a->dry_run ? ERR_NOT_FOUND : tsdb_state_get(db, TABLE, key, arena, &there);
    if (e == ERR_OK) {
        e = record_check(there, a, &done, arena, msg);
        if (e == ERR_OK && done)
            buf_bytes_append(json, there);
        if (e != ERR_OK || done)
            return e;
        if (is_stored(db, a->what.org, a->key, arena))
            return finish(db, key, there, json);
        e = ERR_NOT_FOUND; /* begun, and never stored: begin again */
    }
    if (e != ERR_NOT_FOUND)
        return e;
    e = stage_reprice(stage, db, &a->what, &sums, a->dry_run ? NULL : &batch, msg);
    if (e == ERR_OK && !a->dry_run) {
        struct buf record = {0};
        record_write(&record, a, &sums, "started", key_id, table);
        e = buf_ok(&record) ? record_put(db, key, buf_bytes(&record)) : ERR_NOMEM;
        buf_done(&record);
        if (e == ERR_OK)
            e = batch_store(db, &batch, a->what.org, a->key);
    }
    tsdb_batch_free(batch);
    if (e != ERR_OK)
        return e;
    record_write(json, a, &sums, a->dry_run ? "dry_run" : "done", key_id, table);
    e = !buf_ok(json) ? ERR_NOMEM : a->dry_run ? ERR_OK : record_put(db, key, buf_bytes(json));
    if (e == ERR_OK && !a->dry_run)
        log_info("serve", "re-priced " BYTES_FMT ": %llu of %llu calls, %.6f USD added",
                 BYTES_ARG(a->key), (unsigned long long)sums.changed,
                 (unsigned long long)sums.calls, (double)sums.added_nanousd / 1e9);
    return e;
}

enum err serve_reprice(struct stage *stage, struct tsdb *db, uint32_t org, uint64_t key_id,
                       struct bytes body, struct buf *json, struct err_msg *msg)
{
    struct arena *arena = arena_new(8u << 20);
    struct json_node *tree = NULL;
    struct ask a;
    msg->text[0] = 0;
    enum err e = arena ? json_in_tree(body, 4, arena, &tree, msg) : ERR_NOMEM;
    if (e == ERR_OK)
        e = ask_read(tree, org, &a, msg);
    if (e == ERR_OK)
        e = run(stage, db, &a, key_id, arena, json, msg);
    arena_free(arena);
    return e == ERR_OK || msg->text[0] ? e : err_set(msg, e, "re-pricing failed: %s", err_text(e));
}
