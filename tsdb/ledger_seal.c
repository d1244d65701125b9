/* The way into the environment, and out of it: a generation is merged, old rows go, users are erased. Rows as they are stored. */
#include <stdlib.h>

#include "base/check.h"
#include "base/fault_point.h"
#include "base/log.h"
#include "base/stats.h"
#include "tsdb/ledger.h"

#define SLOTS_A_DAY (1440u / TSDB_LEDGER_SLOT_MIN)
#define EXPIRED_A_STEP 20000u
#define DAY_MS INT64_C(86400000)

STATS_COUNTER(rows_damaged, "telltale_ledger_damaged_total", "",
              "Rows of the ledger whose checksum was wrong; their sums are lost.");

/* --- rows ------------------------------------------------------------------------------------------- */

static void put_u32be(uint8_t *p, uint32_t v)
{
    v = __builtin_bswap32(v);
    memcpy(p, &v, 4);
}

static uint32_t u32be(const uint8_t *p)
{
    return __builtin_bswap32(bytes_u32le(p));
}

void ledger_key_write(const struct ledger_key *k, uint8_t out[LEDGER_KEY_SIZE])
{
    put_u32be(out, k->org);
    out[4] = (uint8_t)k->kind;
    put_u32be(out + 5, k->period);
    out[9] = k->dim;
    bytes_put_u64be(out + 10, k->value.hi);
    bytes_put_u64be(out + 18, k->value.lo);
}

bool ledger_key_read(struct bytes key, struct ledger_key *out)
{
    if (key.size != LEDGER_KEY_SIZE || key.data[4] > LEDGER_META ||
        key.data[9] >= TSDB_BOOK_DIM_COUNT)
        return false;
    *out = (struct ledger_key){
        .org = u32be(key.data),
        .kind = (enum ledger_kind)key.data[4],
        .period = u32be(key.data + 5),
        .dim = key.data[9],
        .value = {.hi = bytes_u64be(key.data + 10), .lo = bytes_u64be(key.data + 18)}};
    return true;
}

static uint32_t crc_of(struct bytes key, struct bytes value)
{
    return hash_crc32c(hash_crc32c(0, key), bytes_slice(value, 4, value.size));
}

static void seal_row(struct bytes key, struct buf *row)
{
    if (buf_ok(row))
        bytes_put_u32le(row->data, crc_of(key, buf_bytes(row)));
}

bool ledger_row_is_sound(struct bytes key, struct bytes value)
{
    return value.size >= 4 && bytes_u32le(value.data) == crc_of(key, value);
}

void ledger_value_write(struct bytes key, const struct ledger_stored *v, struct buf *out)
{
    const int64_t sums[] = {v->sums.calls,   v->sums.input_tokens, v->sums.output_tokens,
                            v->sums.nanousd, v->sums.unpriced,     v->sums.estimated};
    out->size = 0;
    buf_u32(out, 0);
    for (size_t i = 0; i < ARRAY_LEN(sums); i++)
        buf_zigzag(out, sums[i]);
    buf_bytes_append(out, v->text);
    seal_row(key, out);
}

bool ledger_value_read(struct bytes key, struct bytes value, struct ledger_stored *out)
{
    if (!ledger_row_is_sound(key, value))
        return false;
    struct reader r = reader_of(bytes_slice(value, 4, value.size));
    struct ledger_stored v = {0};
    int64_t *const sums[] = {&v.sums.calls,   &v.sums.input_tokens, &v.sums.output_tokens,
                             &v.sums.nanousd, &v.sums.unpriced,     &v.sums.estimated};
    for (size_t i = 0; i < ARRAY_LEN(sums); i++)
        *sums[i] = reader_zigzag(&r);
    size_t left = r.failed ? 0 : reader_left(&r);
    v.text = bytes_of(r.at, left);
    if (r.failed || left > TSDB_LEDGER_VALUE_MAX)
        return false;
    *out = v;
    return true;
}

bool ledger_meta_read(struct bytes key, struct bytes value, struct ledger_meta *out)
{
    if (!ledger_row_is_sound(key, value))
        return false;
    struct reader r = reader_of(bytes_slice(value, 4, value.size));
    struct ledger_meta m = {.keys = reader_varint(&r)};
    m.nanousd = reader_zigzag(&r);
    m.error_nanousd = reader_zigzag(&r);
    if (r.failed || reader_left(&r))
        return false;
    *out = m;
    return true;
}

/* --- sealing ---------------------------------------------------------------------------------------- */

struct seal {
    struct ledger *l;
    const struct ledger_table *t;
    struct lmdb_txn *txn;
    uint32_t *order;
    uint8_t *refused; /* entries that are part of "other" */
    struct buf row;
    struct ledger_meta meta;
    int64_t refused_max; /* of the day and dimension: the dearest that got no row */
    struct err_msg *msg;
};

/* Adds to the row of the key, which gets the text if it is new. */
static enum err merge(struct seal *s, const struct ledger_key *k, const struct tsdb_book_sums *more,
                      struct bytes text)
{
    uint8_t bytes[LEDGER_KEY_SIZE];
    struct bytes key = bytes_of(bytes, sizeof(bytes)), value;
    struct ledger_stored v = {.text = text};
    ledger_key_write(k, bytes);
    enum err e = lmdb_txn_get(s->txn, 0, key, &value);
    if (e == ERR_OK && !ledger_value_read(key, value, &v)) {
        stats_add(&rows_damaged, 1);
        v = (struct ledger_stored){.text = text};
    }
    if (e != ERR_OK && e != ERR_NOT_FOUND)
        return e;
    tsdb_ledger_add(&v.sums, more);
    ledger_value_write(key, &v, &s->row);
    return buf_ok(&s->row) ? lmdb_txn_put(s->txn, 0, key, buf_bytes(&s->row), s->msg) : ERR_NOMEM;
}

static uint32_t day_of(const struct ledger_entry *e)
{
    return e->slot / SLOTS_A_DAY;
}

static int compare(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

static int by_value(const struct ledger_table *t, uint32_t i, uint32_t k)
{
    const struct ledger_entry *a = &t->entries[i], *b = &t->entries[k];
    int c = compare(t->dims[i], t->dims[k]);
    c = c ? c : compare(a->value.hi, b->value.hi);
    return c ? c : compare(a->value.lo, b->value.lo);
}

static int by_day(const void *x, const void *y, void *ctx)
{
    const struct ledger_table *t = ctx;
    uint32_t i = *(const uint32_t *)x, k = *(const uint32_t *)y;
    const struct ledger_entry *a = &t->entries[i], *b = &t->entries[k];
    int c = compare(a->org, b->org);
    c = c ? c : compare(day_of(a), day_of(b));
    c = c ? c : by_value(t, i, k);
    return c ? c : compare(a->slot, b->slot);
}

static int by_slot(const void *x, const void *y, void *ctx)
{
    const struct ledger_table *t = ctx;
    uint32_t i = *(const uint32_t *)x, k = *(const uint32_t *)y;
    const struct ledger_entry *a = &t->entries[i], *b = &t->entries[k];
    int c = compare(a->org, b->org);
    c = c ? c : compare(a->slot, b->slot);
    return c ? c : by_value(t, i, k);
}

static struct ledger_key key_of(const struct seal *s, uint32_t i, enum ledger_kind kind)
{
    const struct ledger_entry *e = &s->t->entries[i];
    return (struct ledger_key){.org = e->org,
                               .kind = kind,
                               .period = kind == LEDGER_SLOT ? e->slot : day_of(e),
                               .dim = s->t->dims[i],
                               .value = e->value};
}

static enum err meta_begin(struct seal *s, struct ledger_key k)
{
    uint8_t bytes[LEDGER_KEY_SIZE];
    struct bytes key = bytes_of(bytes, sizeof(bytes)), value;
    k.kind = LEDGER_META;
    k.value = (struct hash128){0};
    ledger_key_write(&k, bytes);
    s->meta = (struct ledger_meta){0};
    s->refused_max = 0;
    enum err e = lmdb_txn_get(s->txn, 0, key, &value);
    if (e == ERR_OK && !ledger_meta_read(key, value, &s->meta))
        stats_add(&rows_damaged, 1);
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

static enum err meta_end(struct seal *s, struct ledger_key k)
{
    uint8_t bytes[LEDGER_KEY_SIZE];
    struct bytes key = bytes_of(bytes, sizeof(bytes));
    k.kind = LEDGER_META;
    k.value = (struct hash128){0};
    ledger_key_write(&k, bytes);
    s->row.size = 0;
    buf_u32(&s->row, 0);
    buf_varint(&s->row, s->meta.keys);
    buf_zigzag(&s->row, s->meta.nanousd);
    buf_zigzag(&s->row, s->meta.error_nanousd + s->refused_max);
    seal_row(key, &s->row);
    return buf_ok(&s->row) ? lmdb_txn_put(s->txn, 0, key, buf_bytes(&s->row), s->msg) : ERR_NOMEM;
}

/* The day has as many values as it may: only one that is dearer than most gets a row. */
static enum err is_refused(struct seal *s, const struct ledger_key *k, int64_t nanousd, bool *out)
{
    uint8_t bytes[LEDGER_KEY_SIZE];
    struct bytes value;
    ledger_key_write(k, bytes);
    *out = false;
    enum err e = lmdb_txn_get(s->txn, 0, bytes_of(bytes, sizeof(bytes)), &value);
    if (e != ERR_NOT_FOUND)
        return e;
    bool is_special = ledger_table_is_other(&k->value);
    *out = !is_special && s->meta.keys >= s->l->day_keys_max &&
           (s->meta.keys >= 2ull * s->l->day_keys_max ||
            nanousd <= s->meta.nanousd / (int64_t)MAX(s->meta.keys, UINT64_C(1)));
    s->meta.keys += !*out && !is_special;
    return ERR_OK;
}

/* Entries from..to of the order are one value of one day. */
static enum err put_day(struct seal *s, uint32_t from, uint32_t to)
{
    struct tsdb_book_sums sums = {0};
    struct ledger_key k = key_of(s, s->order[from], LEDGER_DAY);
    struct bytes text = ledger_table_text(s->t, &s->t->entries[s->order[from]]);
    bool refused;
    for (uint32_t i = from; i < to; i++)
        tsdb_ledger_add(&sums, &s->t->entries[s->order[i]].sums);
    enum err e = ERR_OK;
    if (text.size) /* unattributed always has its row */
        e = is_refused(s, &k, sums.nanousd, &refused);
    else
        refused = false;
    if (e != ERR_OK)
        return e;
    s->meta.nanousd += sums.nanousd;
    if (refused) {
        for (uint32_t i = from; i < to; i++)
            s->refused[s->order[i]] = 1;
        s->refused_max = MAX(s->refused_max, sums.nanousd);
        k.value = ledger_table_other;
        text = BYTES_NONE;
    }
    return merge(s, &k, &sums, text);
}

static enum err put_days(struct seal *s)
{
    const struct ledger_table *t = s->t;
    enum err e = ERR_OK;
    qsort_r(s->order, t->count, sizeof(*s->order), by_day, (void *)(uintptr_t)t);
    for (uint32_t i = 0, to; i < t->count && e == ERR_OK; i = to) {
        struct ledger_key k = key_of(s, s->order[i], LEDGER_DAY);
        const struct ledger_key *last = NULL;
        struct ledger_key before;
        if (i) {
            before = key_of(s, s->order[i - 1], LEDGER_DAY);
            last = &before;
        }
        for (to = i + 1; to < t->count; to++) {
            struct ledger_key n = key_of(s, s->order[to], LEDGER_DAY);
            if (n.org != k.org || n.period != k.period || n.dim != k.dim ||
                !hash128_equal(n.value, k.value))
                break;
        }
        if (!last || last->org != k.org || last->period != k.period || last->dim != k.dim) {
            if (last)
                e = meta_end(s, before);
            if (e == ERR_OK)
                e = meta_begin(s, k);
            s->meta.error_nanousd += t->error_nanousd;
        }
        if (e == ERR_OK)
            e = put_day(s, i, to);
        if (e == ERR_OK && to == t->count)
            e = meta_end(s, k);
    }
    return e;
}

static enum err put_slots(struct seal *s)
{
    const struct ledger_table *t = s->t;
    enum err e = ERR_OK;
    qsort_r(s->order, t->count, sizeof(*s->order), by_slot, (void *)(uintptr_t)t);
    for (uint32_t n = 0; n < t->count && e == ERR_OK; n++) {
        uint32_t i = s->order[n];
        struct ledger_key k = key_of(s, i, LEDGER_SLOT);
        struct bytes text = ledger_table_text(t, &t->entries[i]);
        if (s->refused[i]) {
            k.value = ledger_table_other;
            text = BYTES_NONE;
        }
        e = merge(s, &k, &t->entries[i].sums, text);
    }
    return e;
}

static enum err put_number(struct lmdb_txn *t, struct bytes key, uint64_t v, struct err_msg *msg)
{
    uint8_t row[12];
    bytes_put_u64le(row + 4, v);
    bytes_put_u32le(row, crc_of(key, bytes_of(row, sizeof(row))));
    return lmdb_txn_put(t, 0, key, bytes_of(row, sizeof(row)), msg);
}

static enum err seal_run(struct seal *s, uint64_t generation)
{
    uint32_t n = s->t->count;
    s->order = malloc((n + 1) * sizeof(*s->order));
    s->refused = calloc(n + 1, 1);
    enum err e =
        s->order && s->refused ? lmdb_env_begin(s->l->env, true, &s->txn, s->msg) : ERR_NOMEM;
    for (uint32_t i = 0; e == ERR_OK && i < n; i++)
        s->order[i] = i;
    if (e == ERR_OK)
        e = put_days(s);
    if (e == ERR_OK)
        e = put_slots(s);
#ifdef TELLTALE_FAULT_LEDGER_FORGETS
    generation = 0; /* seeded defect: what replay tells again is added again; tests must notice */
#endif
    if (e == ERR_OK)
        e = put_number(s->txn, LEDGER_SEALED_KEY, generation, s->msg);
    fault_point("ledger.before_commit");
    if (e == ERR_OK)
        e = lmdb_txn_commit(s->txn, s->msg);
    else
        lmdb_txn_abort(s->txn);
    fault_point("ledger.after_commit");
    free(s->order);
    free(s->refused);
    buf_done(&s->row);
    return e;
}

enum err ledger_seal(struct ledger *l, uint64_t generation, struct err_msg *msg)
{
    struct ledger_generation *g = NULL;
    pthread_mutex_lock(&l->lock);
    for (uint32_t i = 0; i < l->generation_count; i++)
        if (l->generations[i]->id == generation)
            g = l->generations[i];
    pthread_mutex_unlock(&l->lock);
    if (!g) /* it booked nothing, or an earlier attempt got as far */
        return ERR_OK;
    struct seal s = {.l = l, .t = &g->table, .msg = msg}; /* frozen: nobody adds to it any more */
    enum err e = seal_run(&s, generation);
    if (e != ERR_OK)
        return msg->text[0] ? e : err_set(msg, e, "the ledger: %s", err_text(e));
    pthread_mutex_lock(&l->lock);
    l->sealed = generation;
    uint32_t n = 0;
    for (uint32_t i = 0; i < l->generation_count; i++)
        if (l->generations[i] != g)
            l->generations[n++] = l->generations[i];
    l->generation_count = n;
    pthread_mutex_unlock(&l->lock);
    ledger_table_done(&g->table);
    free(g);
    return ERR_OK;
}

/* --- rows go ------------------------------------------------------------------------------------------ */

struct old_rows {
    uint32_t org, day_floor, slot_floor, next_org;
    enum ledger_kind kind;
    struct bytes *keys;
    uint32_t count;
    struct arena *arena;
};

static bool note_old(void *ctx, struct bytes key, struct bytes value)
{
    struct old_rows *o = ctx;
    struct ledger_key k;
    (void)value;
    if (!ledger_key_read(key, &k))
        return true; /* a number */
    if (o->org == 0)
        o->org = k.org;
    if (k.org != o->org || k.kind != o->kind) {
        if (k.org != o->org)
            o->next_org = k.org;
        return false;
    }
    if (k.period >= (k.kind == LEDGER_SLOT ? o->slot_floor : o->day_floor) ||
        o->count == EXPIRED_A_STEP)
        return false;
    o->keys[o->count] = arena_copy(o->arena, key);
    o->count += o->keys[o->count].data != NULL;
    return true;
}

/* The first org at or after this one; 0: none. */
static bool note_org(void *ctx, struct bytes key, struct bytes value)
{
    struct ledger_key k;
    (void)value;
    if (!ledger_key_read(key, &k))
        return true;
    *(uint32_t *)ctx = k.org;
    return false;
}

static enum err expire_org(struct lmdb_txn *t, struct old_rows *o)
{
    enum err e = ERR_OK;
    for (unsigned kind = LEDGER_DAY; kind <= LEDGER_META && e == ERR_OK; kind++) {
        struct ledger_key from = {.org = o->org, .kind = (enum ledger_kind)kind};
        uint8_t bytes[LEDGER_KEY_SIZE];
        o->kind = (enum ledger_kind)kind;
        ledger_key_write(&from, bytes);
        e = lmdb_txn_scan(t, 0, bytes_of(bytes, sizeof(bytes)), note_old, o);
    }
    return e;
}

bool ledger_expire(struct ledger *l, int64_t day_floor_ms, int64_t now_ms)
{
    int64_t slots = (now_ms - TSDB_LEDGER_SLOT_DAYS * DAY_MS) / (TSDB_LEDGER_SLOT_MIN * 60000);
    struct old_rows o = {.day_floor = (uint32_t)(MAX(day_floor_ms, 0) / DAY_MS),
                         .slot_floor = (uint32_t)MAX(slots, 0),
                         .arena = arena_new(0)};
    struct lmdb_txn *t = NULL;
    uint32_t from_org = 1, org = 0;
    o.keys = malloc(EXPIRED_A_STEP * sizeof(*o.keys));
    enum err e = o.keys && o.arena ? lmdb_env_begin(l->env, false, &t, NULL) : ERR_NOMEM;
    while (e == ERR_OK && o.count < EXPIRED_A_STEP) {
        struct ledger_key from = {.org = from_org};
        uint8_t bytes[LEDGER_KEY_SIZE];
        org = 0;
        ledger_key_write(&from, bytes);
        e = lmdb_txn_scan(t, 0, bytes_of(bytes, sizeof(bytes)), note_org, &org);
        if (e != ERR_OK || org == 0)
            break;
        o.org = org;
        e = expire_org(t, &o);
        if (org == UINT32_MAX)
            break;
        from_org = org + 1;
    }
    lmdb_txn_abort(t);
    t = NULL;
    if (e == ERR_OK && o.count)
        e = lmdb_env_begin(l->env, true, &t, NULL);
    for (uint32_t i = 0; i < o.count && e == ERR_OK; i++)
        e = lmdb_txn_del(t, 0, o.keys[i]);
    if (e == ERR_OK && o.count)
        e = lmdb_txn_commit(t, NULL);
    else
        lmdb_txn_abort(t);
    if (e != ERR_OK)
        log_warn("store", "old rows of the ledger stay for now: %s", err_text(e));
    bool more = e == ERR_OK && o.count == EXPIRED_A_STEP;
    arena_free(o.arena);
    free(o.keys);
    return more;
}

/* --- a user is erased ---------------------------------------------------------------------------------- */

struct victims {
    const struct erase_target *t;
    struct bytes *rows; /* key, value, key, value */
    size_t count, cap;
    struct arena *arena;
    bool failed;
};

/* Who was cut may be anybody: such rows go with every user. */
static bool note_victim(void *ctx, struct bytes key, struct bytes value)
{
    struct victims *v = ctx;
    struct ledger_key k;
    struct ledger_stored row;
    if (!ledger_key_read(key, &k))
        return true;
    if (k.org != v->t->org)
        return false;
    if (k.dim != TSDB_BOOK_USER || k.kind == LEDGER_META || !ledger_value_read(key, value, &row) ||
        !row.text.size ||
        (row.text.size < TSDB_LEDGER_VALUE_MAX &&
         !hash128_equal(erase_hash(v->t, row.text), v->t->value)))
        return true;
    if (v->count + 2 > v->cap) {
        size_t cap = v->cap ? v->cap * 2 : 64;
        v->rows = arena_grow(v->arena, v->rows, sizeof(*v->rows), v->cap, cap);
        v->cap = cap;
    }
    if (v->rows) {
        v->rows[v->count++] = arena_copy(v->arena, key);
        v->rows[v->count++] = arena_copy(v->arena, value);
    }
    v->failed = !v->rows || !v->rows[v->count - 1].data || !v->rows[v->count - 2].data;
    return !v->failed;
}

static enum err move_victims(struct ledger *l, const struct victims *v, struct err_msg *msg)
{
    struct seal s = {.l = l, .msg = msg};
    enum err e = lmdb_env_begin(l->env, true, &s.txn, msg);
    if (e != ERR_OK)
        return e;
    for (size_t i = 0; i < v->count && e == ERR_OK; i += 2) {
        struct ledger_key k;
        struct ledger_stored row;
        CHECK(
            ledger_key_read(v->rows[i], &k) &&
            ledger_value_read(v->rows[i], v->rows[i + 1], &row)); /* both were copied after that */
        k.value = ledger_table_hash(k.org, (enum tsdb_book_dim)k.dim, BYTES_NONE);
        e = lmdb_txn_del(s.txn, 0, v->rows[i]);
        if (e == ERR_OK)
            e = merge(&s, &k, &row.sums, BYTES_NONE);
    }
    if (e == ERR_OK)
        e = put_number(s.txn, LEDGER_DIRTY_KEY, 1, msg);
    fault_point("ledger.before_erase");
    if (e == ERR_OK)
        e = lmdb_txn_commit(s.txn, msg);
    else
        lmdb_txn_abort(s.txn);
    fault_point("ledger.after_erase");
    buf_done(&s.row);
    return e;
}

/* Not before the next free moment of the environment: ERR_UNAVAILABLE, and the caller comes again. */
static enum err clean(struct ledger *l, struct err_msg *msg)
{
    struct lmdb_txn *t;
    struct bytes value;
    enum err e = lmdb_env_begin(l->env, false, &t, msg);
    if (e != ERR_OK)
        return e;
    e = lmdb_txn_get(t, 0, LEDGER_DIRTY_KEY, &value);
    lmdb_txn_abort(t);
    if (e == ERR_NOT_FOUND)
        return ERR_OK;
    if (e == ERR_OK)
        e = lmdb_env_rewrite(l->env, msg);
    if (e == ERR_OK)
        e = lmdb_env_begin(l->env, true, &t, msg);
    if (e != ERR_OK)
        return e;
    e = lmdb_txn_del(t, 0, LEDGER_DIRTY_KEY);
    if (e == ERR_OK)
        return lmdb_txn_commit(t, msg);
    lmdb_txn_abort(t);
    return e;
}

enum err ledger_erase(struct ledger *l, const struct erase_target *t, struct err_msg *msg)
{
    struct ledger_key from = {.org = t->org};
    uint8_t bytes[LEDGER_KEY_SIZE];
    struct lmdb_txn *txn;
    struct victims v = {.t = t, .arena = arena_new(0)};
    if (t->kind != TSDB_ERASE_USER) {
        arena_free(v.arena);
        return ERR_OK;
    }
    ledger_key_write(&from, bytes);
    enum err e = v.arena ? lmdb_env_begin(l->env, false, &txn, msg) : ERR_NOMEM;
    if (e == ERR_OK) {
        e = lmdb_txn_scan(txn, 0, bytes_of(bytes, sizeof(bytes)), note_victim, &v);
        lmdb_txn_abort(txn);
    }
    if (e == ERR_OK && v.failed)
        e = ERR_NOMEM;
    if (e == ERR_OK && v.count)
        e = move_victims(l, &v, msg);
    arena_free(v.arena);
    return e == ERR_OK ? clean(l, msg) : e;
}
