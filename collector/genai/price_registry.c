#include "collector/genai/price_registry.h"

#include "base/clock.h"
#include "base/json_in.h"
#include "base/json_out.h"
#include "collector/genai/price_cost.h"

#include <stdlib.h>

#define ROWS_TABLE "price_rows"
#define TABLES_TABLE "price_tables"

static struct bytes id_key(uint32_t id, uint8_t key[4])
{
    for (int i = 0; i < 4; i++)
        key[i] = (uint8_t)(id >> (24 - 8 * i));
    return bytes_of(key, 4);
}

/* {"content":{...},"source":...}: the content comes first and is compared as text. */
static bool content_is(struct bytes value, struct bytes content)
{
    struct bytes head = BYTES_LIT("{\"content\":");
    return bytes_has_prefix(value, head) &&
           bytes_has_prefix(bytes_slice(value, head.size, value.size), content);
}

static void value_write(struct buf *out, struct bytes content, const struct price_offer *o,
                        int64_t now_ms)
{
    struct json_out j = json_out_to(out);
    json_out_object(&j);
    json_out_key(&j, "content");
    json_out_raw(&j, content);
    json_out_key(&j, "source");
    json_out_bytes(&j, o->source);
    json_out_key(&j, "layer");
    json_out_str(&j, o->layer == PRICE_LAYER_LIST  ? "list"
                     : o->layer == PRICE_LAYER_OWN ? "own"
                                                   : "negotiated");
    json_out_key(&j, "first_ms");
    json_out_i64(&j, now_ms);
    json_out_object_end(&j);
}

/* One row: there already, there under the next free id, or added. */
static enum err row_put(struct tsdb_state_write *w, struct price_table *t, size_t i, int64_t now_ms,
                        uint64_t *rows, struct err_msg *msg)
{
    const struct price_offer *o;
    const struct price_row *r = price_table_row(t, i, &o);
    struct buf content = {0}, value = {0};
    uint32_t id = r->id;
    uint8_t key[4];
    struct bytes there;
    enum err e;
    price_table_row_json(o, r, &content);
    while ((e = tsdb_state_read(w, ROWS_TABLE, id_key(id, key), &there)) == ERR_OK &&
           !content_is(there, buf_bytes(&content)))
        id = (id + 1) | 1u << 31;
    if (e == ERR_NOT_FOUND) {
        value_write(&value, buf_bytes(&content), o, now_ms);
        e = *rows >= PRICE_REGISTRY_ROWS_MAX
                ? err_set(msg, ERR_LIMIT, "more than %u prices were ever in use",
                          PRICE_REGISTRY_ROWS_MAX)
            : buf_ok(&value) && buf_ok(&content)
                ? tsdb_state_put(w, ROWS_TABLE, id_key(id, key), buf_bytes(&value))
                : ERR_NOMEM;
        ++*rows;
    }
    if (e == ERR_OK)
        price_table_renumber(t, i, id);
    buf_done(&content);
    buf_done(&value);
    return e;
}

static int u32_compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* {"table","name","loaded_ms","rows"[,"ids"]} */
static void table_write(struct buf *out, const char *name, const uint32_t *ids, size_t n,
                        int64_t now_ms, bool with_ids)
{
    struct json_out j = json_out_to(out);
    json_out_object(&j);
    json_out_key(&j, "table");
    json_out_printf(&j, "%016llx", (unsigned long long)hash64(bytes_of(ids, n * sizeof *ids), 1));
    json_out_key(&j, "name");
    json_out_str(&j, name ? name : "built-in list");
    json_out_key(&j, "loaded_ms");
    json_out_i64(&j, now_ms);
    json_out_key(&j, "rows");
    json_out_u64(&j, n);
    if (with_ids) {
        json_out_key(&j, "ids");
        json_out_array(&j);
        for (size_t i = 0; i < n; i++)
            json_out_printf(&j, "%08x", ids[i]);
        json_out_array_end(&j);
    }
    json_out_object_end(&j);
}

/* true: the table in force holds the very same rows. */
static bool table_is_active(struct tsdb_state_write *w, const uint32_t *ids, size_t n)
{
    struct bytes value;
    struct buf want = {0};
    if (tsdb_state_read(w, TABLES_TABLE, BYTES_LIT("active"), &value) != ERR_OK)
        return false;
    buf_printf(&want, "{\"table\":\"%016llx\"",
               (unsigned long long)hash64(bytes_of(ids, n * sizeof *ids), 1));
    bool same = buf_ok(&want) && bytes_has_prefix(value, buf_bytes(&want));
    buf_done(&want);
    return same;
}

static enum err table_put(struct tsdb_state_write *w, const struct price_table *t, const char *name,
                          int64_t now_ms)
{
    size_t n = price_table_row_count(t);
    uint32_t *ids = calloc(n + 1, sizeof *ids);
    const struct price_offer *o;
    struct buf active = {0}, log = {0};
    uint8_t key[10] = {'a', 't'};
    enum err e = ids ? ERR_OK : ERR_NOMEM;
    for (size_t i = 0; ids && i < n; i++)
        ids[i] = price_table_row(t, i, &o)->id;
    if (e == ERR_OK) {
        qsort(ids, n, sizeof *ids, u32_compare);
        if (!table_is_active(w, ids, n)) {
            table_write(&active, name, ids, n, now_ms, true);
            table_write(&log, name, ids, n, now_ms, false);
            bytes_put_u64be(key + 2, (uint64_t)now_ms);
            e = buf_ok(&active) && buf_ok(&log)
                    ? tsdb_state_put(w, TABLES_TABLE, BYTES_LIT("active"), buf_bytes(&active))
                    : ERR_NOMEM;
            if (e == ERR_OK)
                e = tsdb_state_put(w, TABLES_TABLE, bytes_of(key, 10), buf_bytes(&log));
        }
    }
    buf_done(&active);
    buf_done(&log);
    free(ids);
    return e;
}

/* How many rows the registry has: a number beside them, so that they need not be counted. */
static uint64_t rows_read(struct tsdb_state_write *w)
{
    struct bytes v;
    uint64_t n;
    return tsdb_state_read(w, TABLES_TABLE, BYTES_LIT("rows"), &v) == ERR_OK && bytes_to_u64(v, &n)
               ? n
               : 0;
}

enum err price_registry_put(struct tsdb *db, struct price_table *t, const char *name,
                            struct err_msg *msg)
{
    struct tsdb_state_write *w;
    struct buf count = {0};
    int64_t now_ms = clock_wall_ms();
    enum err e = tsdb_state_begin(db, &w);
    if (e != ERR_OK)
        return err_set(msg, e, "the prices cannot be registered: %s", err_text(e));
    msg->text[0] = 0;
    uint64_t rows = rows_read(w);
    for (size_t i = 0; e == ERR_OK && i < price_table_row_count(t); i++)
        e = row_put(w, t, i, now_ms, &rows, msg);
    if (e == ERR_OK)
        e = table_put(w, t, name, now_ms);
    buf_printf(&count, "%llu", (unsigned long long)rows);
    if (e == ERR_OK)
        e = buf_ok(&count) ? tsdb_state_put(w, TABLES_TABLE, BYTES_LIT("rows"), buf_bytes(&count))
                           : ERR_NOMEM;
    buf_done(&count);
    if (e == ERR_OK)
        e = tsdb_state_commit(w);
    else
        tsdb_state_abort(w);
    return e == ERR_OK || msg->text[0]
               ? e
               : err_set(msg, e, "the prices cannot be registered: %s", err_text(e));
}

/* --- reading ----------------------------------------------------------------------------------------- */

static bool row_read(const struct json_node *content, struct price_row *r)
{
    static const char *const rates[PRICE_RATE_COUNT] = {
#define X(name, text) text,
        PRICE_RATES(X)
#undef X
    };
    static const char *const units[PRICE_UNIT_COUNT] = {
#define X(name, text) text,
        PRICE_UNITS(X)
#undef X
    };
    int64_t v = 0;
    bool ok = price_tier_parse(json_get_str(content, "tier"), &r->tier);
    for (int i = 0; i < PRICE_RATE_COUNT; i++) {
        const struct json_node *n = json_get(content, rates[i]);
        ok = ok && n && price_decimal(n->text, 6, &r->rate[i]);
    }
    for (int i = 0; i < PRICE_UNIT_COUNT; i++) {
        const struct json_node *n = json_get(content, units[i]);
        r->unit[i] = -1;
        ok = ok && (!n || price_decimal(n->text, 9, &r->unit[i]));
    }
    r->above = json_get_i64(content, "above", &v) ? v : 0;
    r->gpus = json_get_i64(content, "gpus", &v) ? (uint32_t)v : 1;
    r->concurrency = json_get_i64(content, "concurrency", &v) ? (uint32_t)v : 1;
    return ok;
}

enum err price_registry_get(struct tsdb *db, uint32_t id, struct price_row *out)
{
    uint8_t key[4];
    struct bytes value;
    struct json_node *tree;
    struct err_msg msg;
    struct arena *a = arena_new(1u << 20);
    enum err e = a ? tsdb_state_get(db, ROWS_TABLE, id_key(id, key), a, &value) : ERR_NOMEM;
    *out = (struct price_row){.id = id};
    if (e == ERR_OK)
        e = json_in_tree(value, 4, a, &tree, &msg);
    if (e == ERR_OK && !row_read(json_get(tree, "content"), out))
        e = ERR_CORRUPT;
    arena_free(a);
    return e;
}

#define BOOK_SLOTS 4096u

struct genai_price_book {
    struct tsdb *db;
    struct {
        bool is_used, is_there;
        struct price_row row;
    } slots[BOOK_SLOTS]; /* a collision just reads again */
};

struct genai_price_book *genai_price_book_new(struct tsdb *db)
{
    struct genai_price_book *b = calloc(1, sizeof *b);
    if (b)
        b->db = db;
    return b;
}

void genai_price_book_free(struct genai_price_book *b)
{
    free(b);
}

bool genai_price_book_apply(struct genai_price_book *b, uint32_t price_id, bool half,
                            struct genai_row *r)
{
    uint32_t at = price_id % BOOK_SLOTS;
    if (!b->slots[at].is_used || b->slots[at].row.id != price_id) {
        b->slots[at].is_there = price_registry_get(b->db, price_id, &b->slots[at].row) == ERR_OK;
        b->slots[at].row.id = price_id;
        b->slots[at].is_used = true;
    }
    if (b->slots[at].is_there)
        price_cost_of(&b->slots[at].row, half, r);
    return b->slots[at].is_there;
}
