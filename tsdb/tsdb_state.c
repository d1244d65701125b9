#include "tsdb/tsdb_state.h"

#include <stdlib.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/hash.h"
#include "tsdb/store.h"

#define TABLE_MAX 32u
#define KEY_MAX 400u
#define VALUE_MAX (1u << 20)

struct tsdb_state_write {
    struct lmdb_txn *txn;
};

/* Stored value: a checksum over key and value, and the value. */
static bool value_open(struct bytes key, struct bytes stored, struct bytes *out)
{
    if (stored.size < 4)
        return false;
    *out = bytes_slice(stored, 4, stored.size);
    return bytes_u32le(stored.data) == hash_crc32c(hash_crc32c(0, key), *out);
}

/* Stored key: table name, NUL, key. */
struct full_key {
    uint8_t bytes[TABLE_MAX + 1 + KEY_MAX];
    size_t size;
};

static bool key_make(const char *table, struct bytes key, struct full_key *out)
{
    size_t n = strlen(table);
    CHECK(n > 0 && n <= TABLE_MAX);
    if (key.size > KEY_MAX)
        return false;
    memcpy(out->bytes, table, n);
    out->bytes[n] = 0;
    if (key.size)
        memcpy(out->bytes + n + 1, key.data, key.size);
    out->size = n + 1 + key.size;
    return true;
}

enum err tsdb_state_begin(struct tsdb *db, struct tsdb_state_write **out)
{
    struct tsdb_state_write *w = calloc(1, sizeof(*w));
    enum err e = w ? lmdb_env_begin(db->state, true, &w->txn, NULL) : ERR_NOMEM;
    if (e != ERR_OK) {
        free(w);
        return e;
    }
    *out = w;
    return ERR_OK;
}

enum err tsdb_state_put(struct tsdb_state_write *w, const char *table, struct bytes key,
                        struct bytes value)
{
    struct full_key k;
    if (!key_make(table, key, &k) || value.size > VALUE_MAX)
        return ERR_TOO_LARGE;
    struct buf stored = {0};
    buf_u32(&stored, hash_crc32c(hash_crc32c(0, bytes_of(k.bytes, k.size)), value));
    buf_bytes_append(&stored, value);
    enum err e = buf_ok(&stored)
                     ? lmdb_txn_put(w->txn, 0, bytes_of(k.bytes, k.size), buf_bytes(&stored), NULL)
                     : ERR_NOMEM;
    buf_done(&stored);
    return e;
}

enum err tsdb_state_del(struct tsdb_state_write *w, const char *table, struct bytes key)
{
    struct full_key k;
    return key_make(table, key, &k) ? lmdb_txn_del(w->txn, 0, bytes_of(k.bytes, k.size))
                                    : ERR_TOO_LARGE;
}

enum err tsdb_state_read(struct tsdb_state_write *w, const char *table, struct bytes key,
                         struct bytes *out)
{
    struct full_key k;
    if (!key_make(table, key, &k))
        return ERR_NOT_FOUND;
    enum err e = lmdb_txn_get(w->txn, 0, bytes_of(k.bytes, k.size), out);
    return e != ERR_OK || value_open(bytes_of(k.bytes, k.size), *out, out) ? e : ERR_CORRUPT;
}

enum err tsdb_state_commit(struct tsdb_state_write *w)
{
    enum err e = lmdb_txn_commit(w->txn, NULL);
    free(w);
    return e;
}

void tsdb_state_abort(struct tsdb_state_write *w)
{
    if (!w)
        return;
    lmdb_txn_abort(w->txn);
    free(w);
}

enum err tsdb_state_get(struct tsdb *db, const char *table, struct bytes key, struct arena *a,
                        struct bytes *out)
{
    struct full_key k;
    struct lmdb_txn *t;
    struct bytes value;
    if (!key_make(table, key, &k))
        return ERR_NOT_FOUND;
    enum err e = lmdb_env_begin(db->state, false, &t, NULL);
    if (e != ERR_OK)
        return e;
    e = lmdb_txn_get(t, 0, bytes_of(k.bytes, k.size), &value);
    if (e == ERR_OK && !value_open(bytes_of(k.bytes, k.size), value, &value))
        e = ERR_CORRUPT;
    if (e == ERR_OK) {
        *out = arena_copy(a, value);
        e = out->data ? ERR_OK : ERR_LIMIT;
    }
    lmdb_txn_abort(t);
    return e;
}

struct collect {
    struct full_key prefix;
    size_t name_size, max, count, cap;
    struct arena *arena;
    struct tsdb_state_row *rows;
    enum err error;
};

static bool collect_row(void *ctx, struct bytes key, struct bytes value)
{
    struct collect *c = ctx;
    if (!bytes_has_prefix(key, bytes_of(c->prefix.bytes, c->prefix.size)) || c->count == c->max)
        return false;
    if (!value_open(key, value, &value)) {
        c->error = ERR_CORRUPT;
        return false;
    }
    if (c->count == c->cap) {
        size_t cap = c->cap ? c->cap * 2 : 16;
        c->rows = arena_grow(c->arena, c->rows, sizeof(*c->rows), c->cap, cap);
        c->cap = cap;
    }
    if (c->rows) {
        struct tsdb_state_row row = {
            arena_copy(c->arena, bytes_slice(key, c->name_size + 1, key.size)),
            arena_copy(c->arena, value)};
        if (row.key.data && row.value.data) {
            c->rows[c->count++] = row;
            return true;
        }
    }
    c->error = ERR_LIMIT;
    return false;
}

enum err tsdb_state_scan(struct tsdb *db, const char *table, struct bytes prefix, size_t max,
                         struct arena *a, struct tsdb_state_row **out, size_t *out_count)
{
    struct collect c = {.name_size = strlen(table), .max = max, .arena = a};
    struct lmdb_txn *t;
    if (!key_make(table, prefix, &c.prefix))
        return ERR_NOT_FOUND;
    enum err e = lmdb_env_begin(db->state, false, &t, NULL);
    if (e != ERR_OK)
        return e;
    e = lmdb_txn_scan(t, 0, bytes_of(c.prefix.bytes, c.prefix.size), collect_row, &c);
    lmdb_txn_abort(t);
    if (e == ERR_OK)
        e = c.error;
    if (e == ERR_OK) {
        *out = c.rows;
        *out_count = c.count;
    }
    return e;
}

struct look {
    bool is_wrong;
    struct bytes key;
};

static bool look_row(void *ctx, struct bytes key, struct bytes value)
{
    struct look *l = ctx;
    l->is_wrong = !value_open(key, value, &value);
    l->key = bytes_slice(key, 0, bytes_find(key, bytes_of((const uint8_t *)"", 1)));
    return !l->is_wrong;
}

enum err state_check(struct tsdb *db, struct err_msg *msg)
{
    struct look l = {0};
    struct lmdb_txn *t;
    enum err e = lmdb_env_begin(db->state, false, &t, msg);
    if (e != ERR_OK)
        return e;
    e = lmdb_txn_scan(t, 0, BYTES_NONE, look_row, &l);
    if (e == ERR_OK && l.is_wrong)
        e = err_set(msg, ERR_CORRUPT, "%s/state: a row of the table %.*s is damaged", db->dir,
                    (int)MIN(l.key.size, 32u), (const char *)l.key.data);
    lmdb_txn_abort(t);
    return e;
}

/* --- numbers of the store ------------------------------------------------------------------------ */

#define STORE_TABLE "store"

enum err state_get_u64(struct tsdb *db, const char *name, uint64_t *out)
{
    struct arena *a = arena_new(4096);
    struct bytes value;
    enum err e = a ? tsdb_state_get(db, STORE_TABLE, bytes_str(name), a, &value) : ERR_NOMEM;
    if (e == ERR_OK && value.size != 8)
        e = ERR_CORRUPT;
    if (e == ERR_OK)
        *out = bytes_u64le(value.data);
    arena_free(a);
    return e;
}

enum err state_put_u64(struct tsdb *db, const char *name, uint64_t value, struct err_msg *msg)
{
    struct tsdb_state_write *w;
    uint8_t text[8];
    memcpy(text, &value, 8);
    enum err e = tsdb_state_begin(db, &w);
    if (e != ERR_OK)
        return err_set(msg, e, "state: %s", err_text(e));
    e = tsdb_state_put(w, STORE_TABLE, bytes_str(name), bytes_of(text, 8));
    if (e == ERR_OK)
        e = tsdb_state_commit(w);
    else
        tsdb_state_abort(w);
    return e == ERR_OK ? e : err_set(msg, e, "state: %s", err_text(e));
}

void state_u64_write(struct bytes key, uint64_t value, uint8_t out[STATE_U64_SIZE])
{
    memcpy(out + 4, &value, 8);
    bytes_put_u32le(out, hash_crc32c(hash_crc32c(0, key), bytes_of(out + 4, 8)));
}
