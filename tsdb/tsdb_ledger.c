#include "tsdb/tsdb_ledger.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "tsdb/erase_store.h"
#include "tsdb/ledger.h"
#include "tsdb/store.h"

#define SLOT_MS (TSDB_LEDGER_SLOT_MIN * INT64_C(60000))
#define DAY_MS INT64_C(86400000)
#define SLOTS_A_DAY (1440u / TSDB_LEDGER_SLOT_MIN)
#define KEYS_MAX (4u << 20) /* values that one answer looks at */

/* Sums of hostile numbers wrap round rather than end the program. */
static int64_t plus(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a + (uint64_t)b);
}

/* --- asking ------------------------------------------------------------------------------------------- */

struct key_sum {
    struct hash128 value;
    struct bytes text;
    struct tsdb_book_sums sums;
    int64_t *days;
};

/* Periods that an answer is made of: slots at both ends, days between. */
struct span {
    enum ledger_kind kind;
    uint32_t from, to;
};

struct asking {
    const struct tsdb_ledger_question *q;
    struct tsdb_ledger_answer *out;
    struct arena *arena;
    struct erase_set *erase;
    struct span spans[3];
    unsigned span_count;
    struct key_sum *keys;
    uint32_t count, cap;
    uint32_t *places, mask;
    const struct span *scanned;
    struct hash128 nobody; /* of the empty value */
    enum err error;
};

static bool grow(struct asking *a)
{
    uint32_t cap = a->cap ? a->cap * 2 : 1024;
    if (cap > KEYS_MAX)
        return false;
    a->keys = arena_grow(a->arena, a->keys, sizeof(*a->keys), a->cap, cap);
    uint32_t *places = calloc(cap * 2, sizeof(*places));
    free(a->places);
    a->places = places;
    if (!a->keys || !places)
        return false;
    a->cap = cap;
    a->mask = cap * 2 - 1;
    for (uint32_t i = 0; i < a->count; i++) {
        uint32_t at = (uint32_t)a->keys[i].value.lo & a->mask;
        while (places[at])
            at = (at + 1) & a->mask;
        places[at] = i + 1;
    }
    return true;
}

static struct key_sum *key_of(struct asking *a, struct hash128 value, struct bytes text)
{
    if (a->count == a->cap && !grow(a))
        return NULL;
    uint32_t at = (uint32_t)value.lo & a->mask;
    for (; a->places[at]; at = (at + 1) & a->mask)
        if (hash128_equal(a->keys[a->places[at] - 1].value, value))
            return &a->keys[a->places[at] - 1];
    struct key_sum *k = &a->keys[a->count++];
    a->places[at] = a->count;
    *k = (struct key_sum){.value = value, .text = arena_copy(a->arena, text)};
    if (a->q->with_days && !(k->days = ARENA_ARRAY(a->arena, int64_t, a->out->day_count)))
        return NULL;
    return k->text.data || !text.size ? k : NULL;
}

/* Who is being erased is nobody from the moment of the wish on. */
static bool is_erased(const struct asking *a, struct bytes text)
{
    for (uint32_t i = 0; a->erase && i < a->erase->count; i++) {
        const struct erase_target *t = a->erase->targets[i];
        if (t->org == a->q->org && t->kind == TSDB_ERASE_USER &&
            hash128_equal(erase_hash(t, text), t->value))
            return true;
    }
    return false;
}

static bool take(struct asking *a, struct hash128 value, struct bytes text, uint32_t day,
                 const struct tsdb_book_sums *sums)
{
    if (a->q->dim == TSDB_BOOK_USER && text.size && is_erased(a, text)) {
        value = a->nobody;
        text = BYTES_NONE;
    }
    struct key_sum *k = key_of(a, value, text);
    if (!k) {
        a->error = ERR_LIMIT;
        return false;
    }
    tsdb_ledger_add(&k->sums, sums);
    tsdb_ledger_add(&a->out->total, sums);
    if (a->q->with_days) {
        uint32_t at = day - a->out->first_day;
        k->days[at] = plus(k->days[at], sums->nanousd);
        a->out->days[at] = plus(a->out->days[at], sums->nanousd);
    }
    return true;
}

static bool take_row(void *ctx, struct bytes key, struct bytes value)
{
    struct asking *a = ctx;
    struct ledger_key k;
    struct ledger_stored v;
    if (!ledger_key_read(key, &k))
        return true;
    if (k.org != a->q->org || k.kind != a->scanned->kind || k.dim != a->q->dim ||
        k.period >= a->scanned->to)
        return false;
    if (!ledger_value_read(key, value, &v)) {
        a->error = ERR_CORRUPT;
        return false;
    }
    return take(a, k.value, v.text, k.kind == LEDGER_DAY ? k.period : k.period / SLOTS_A_DAY,
                &v.sums);
}

/* Rows of one dimension lie together within a period. */
static enum err scan(struct asking *a, struct lmdb_txn *t, const struct span *s)
{
    enum err e = ERR_OK;
    a->scanned = s;
    for (uint32_t p = s->from; p < s->to && e == ERR_OK; p++) {
        struct ledger_key from = {
            .org = a->q->org, .kind = s->kind, .period = p, .dim = (uint8_t)a->q->dim};
        uint8_t bytes[LEDGER_KEY_SIZE];
        struct span one = {s->kind, p, p + 1};
        a->scanned = &one;
        ledger_key_write(&from, bytes);
        e = lmdb_txn_scan(t, 0, bytes_of(bytes, sizeof(bytes)), take_row, a);
        e = e == ERR_OK ? a->error : e;
    }
    return e;
}

static enum err read_errors(struct asking *a, struct lmdb_txn *t)
{
    enum err e = ERR_OK;
    for (uint32_t d = 0; d < a->out->day_count && e == ERR_OK; d++) {
        struct ledger_key k = {.org = a->q->org,
                               .kind = LEDGER_META,
                               .period = a->out->first_day + d,
                               .dim = (uint8_t)a->q->dim};
        uint8_t bytes[LEDGER_KEY_SIZE];
        struct bytes value;
        struct ledger_meta m;
        ledger_key_write(&k, bytes);
        e = lmdb_txn_get(t, 0, bytes_of(bytes, sizeof(bytes)), &value);
        if (e == ERR_OK && ledger_meta_read(bytes_of(bytes, sizeof(bytes)), value, &m))
            a->out->error_nanousd = plus(a->out->error_nanousd, m.error_nanousd);
        e = e == ERR_NOT_FOUND ? ERR_OK : e;
    }
    return e;
}

/* The range in slots and days; where its ends are older than slots are kept, whole days. */
static enum err choose_spans(struct asking *a, int64_t now_ms)
{
    const struct tsdb_ledger_question *q = a->q;
    int64_t slots_from = now_ms - ((int64_t)TSDB_LEDGER_SLOT_DAYS - 1) * DAY_MS;
    int64_t from = MAX(q->from_ms, 0), to = MIN(q->to_ms, (int64_t)UINT32_MAX * 60000);
    if (to <= from)
        return ERR_INVALID;
    from = from >= slots_from ? from / SLOT_MS * SLOT_MS : from / DAY_MS * DAY_MS;
    to = to >= slots_from ? (to + SLOT_MS - 1) / SLOT_MS * SLOT_MS
                          : (to + DAY_MS - 1) / DAY_MS * DAY_MS;
    uint32_t first = (uint32_t)((from + DAY_MS - 1) / DAY_MS), last = (uint32_t)(to / DAY_MS);
    uint32_t slot_from = (uint32_t)(from / SLOT_MS), slot_to = (uint32_t)(to / SLOT_MS);
    if (first >= last) {
        a->spans[a->span_count++] = (struct span){LEDGER_SLOT, slot_from, slot_to};
    } else {
        if (slot_from < first * SLOTS_A_DAY)
            a->spans[a->span_count++] = (struct span){LEDGER_SLOT, slot_from, first * SLOTS_A_DAY};
        a->spans[a->span_count++] = (struct span){LEDGER_DAY, first, last};
        if (last * SLOTS_A_DAY < slot_to)
            a->spans[a->span_count++] = (struct span){LEDGER_SLOT, last * SLOTS_A_DAY, slot_to};
    }
    a->out->from_ms = from;
    a->out->to_ms = to;
    a->out->first_day = (uint32_t)(from / DAY_MS);
    a->out->day_count = (uint32_t)((to + DAY_MS - 1) / DAY_MS) - a->out->first_day;
    return a->out->day_count > TSDB_LEDGER_DAYS_MAX + 1 ? ERR_LIMIT : ERR_OK;
}

static int dearest_first(const void *x, const void *y)
{
    const struct key_sum *a = x, *b = y;
    if (a->sums.nanousd != b->sums.nanousd)
        return a->sums.nanousd < b->sums.nanousd ? 1 : -1;
    if (a->sums.calls != b->sums.calls)
        return a->sums.calls < b->sums.calls ? 1 : -1;
    return bytes_compare(a->text, b->text);
}

static bool is_zero(const struct tsdb_book_sums *s)
{
    return !s->calls && !s->input_tokens && !s->output_tokens && !s->nanousd && !s->unpriced &&
           !s->estimated;
}

static enum err rank(struct asking *a)
{
    struct tsdb_ledger_answer *o = a->out;
    if (a->count)
        qsort(a->keys, a->count, sizeof(*a->keys), dearest_first);
    o->rows = ARENA_ARRAY(a->arena, struct tsdb_ledger_row,
                          a->q->top ? MIN(a->q->top, a->count) + 1 : a->count + 1);
    if (!o->rows)
        return ERR_LIMIT;
    for (uint32_t i = 0; i < a->count; i++) {
        const struct key_sum *k = &a->keys[i];
        bool is_other = ledger_table_is_other(&k->value);
        if (is_zero(&k->sums)) /* all that it booked was taken back */
            continue;
        if (is_other)
            tsdb_ledger_add(&o->other, &k->sums);
        else if (!k->text.size)
            tsdb_ledger_add(&o->unattributed, &k->sums);
        else
            o->keys++;
        if (!a->q->top || o->count < a->q->top)
            o->rows[o->count++] = (struct tsdb_ledger_row){k->text, is_other, k->sums, k->days};
        else
            tsdb_ledger_add(&o->below, &k->sums);
    }
    return ERR_OK;
}

enum err tsdb_ledger_ask(struct tsdb *db, const struct tsdb_ledger_question *q, struct arena *arena,
                         struct tsdb_ledger_answer *out)
{
    *out = (struct tsdb_ledger_answer){0};
    struct asking a = {.q = q,
                       .out = out,
                       .arena = arena,
                       .nobody = ledger_table_hash(q->org, q->dim, BYTES_NONE)};
    enum err e = choose_spans(&a, clock_wall_ms());
    if (e != ERR_OK)
        return e;
    if (q->with_days && !(out->days = ARENA_ARRAY(arena, int64_t, out->day_count)))
        return ERR_LIMIT;
    a.erase = erase_pin(db, q->org, NULL);
    struct ledger_moment m;
    uint32_t slot_from = (uint32_t)(out->from_ms / SLOT_MS),
             slot_to = (uint32_t)(out->to_ms / SLOT_MS);
    e = ledger_moment_begin(db->ledger, q->org, 1u << q->dim, slot_from, NULL, &m);
    if (e == ERR_OK) {
        for (size_t i = 0; i < m.count && a.error == ERR_OK; i++)
            if (m.copies[i].slot < slot_to)
                take(&a, m.copies[i].value, ledger_moment_text(&m, &m.copies[i]),
                     m.copies[i].slot / SLOTS_A_DAY, &m.copies[i].sums);
        e = a.error;
        out->error_nanousd = m.error_nanousd;
        for (unsigned i = 0; i < a.span_count && e == ERR_OK; i++)
            e = scan(&a, m.txn, &a.spans[i]);
        if (e == ERR_OK)
            e = read_errors(&a, m.txn);
        ledger_moment_end(&m);
    }
    erase_unpin(a.erase);
    if (e == ERR_OK)
        e = rank(&a);
    free(a.places);
    return e;
}

/* --- following ---------------------------------------------------------------------------------------- */

struct following {
    uint32_t org, dims, first_slot, first_day; /* slots from.. , days before */
    const struct tsdb_ledger_follower *f;
    enum ledger_kind kind;
    enum err error;
};

static bool follow_row(void *ctx, struct bytes key, struct bytes value)
{
    struct following *w = ctx;
    struct ledger_key k;
    struct ledger_stored v;
    if (!ledger_key_read(key, &k))
        return true;
    if (k.org != w->org || k.kind != w->kind)
        return false;
    if (k.kind == LEDGER_DAY && k.period >= w->first_slot / SLOTS_A_DAY)
        return false;
    if (!(w->dims >> k.dim & 1))
        return true;
    if (!ledger_value_read(key, value, &v)) {
        w->error = ERR_CORRUPT;
        return false;
    }
    w->f->row(w->f->ctx, (enum tsdb_book_dim)k.dim, v.text,
              k.kind == LEDGER_DAY ? k.period * 1440 : k.period * TSDB_LEDGER_SLOT_MIN, &v.sums);
    return true;
}

static enum err follow_scan(struct following *w, struct lmdb_txn *t, enum ledger_kind kind,
                            uint32_t period)
{
    struct ledger_key from = {.org = w->org, .kind = kind, .period = period};
    uint8_t bytes[LEDGER_KEY_SIZE];
    w->kind = kind;
    ledger_key_write(&from, bytes);
    enum err e = lmdb_txn_scan(t, 0, bytes_of(bytes, sizeof(bytes)), follow_row, w);
    return e == ERR_OK ? w->error : e;
}

static void unfollow(struct ledger *l)
{
    pthread_mutex_lock(&l->lock);
    l->has_follower = false;
    pthread_mutex_unlock(&l->lock);
}

enum err tsdb_ledger_follow(struct tsdb *db, uint32_t org, uint32_t dims, int64_t from_ms,
                            const struct tsdb_ledger_follower *f)
{
    struct ledger *l = db->ledger;
    struct ledger_moment m;
    if (!f) {
        unfollow(l);
        return ERR_OK;
    }
    pthread_mutex_lock(&l->lock);
    struct tsdb_ledger_follower before = l->follower;
    uint32_t before_org = l->follower_org;
    bool had = l->has_follower;
    pthread_mutex_unlock(&l->lock);
    int64_t floor_ms = (clock_wall_ms() / DAY_MS - ((int64_t)TSDB_LEDGER_SLOT_DAYS - 1)) * DAY_MS;
    int64_t slots_ms = MAX(MAX(from_ms, 0), floor_ms);
    struct following w = {.org = org,
                          .dims = dims,
                          .first_slot = (uint32_t)(slots_ms / SLOT_MS),
                          .first_day = (uint32_t)(MAX(from_ms, 0) / DAY_MS),
                          .f = f};
    enum err e = ledger_moment_begin(l, org, dims, (uint32_t)(MAX(from_ms, 0) / SLOT_MS), f, &m);
    if (e != ERR_OK)
        return e;
    for (size_t i = 0; i < m.count; i++)
        f->row(f->ctx, (enum tsdb_book_dim)m.copies[i].dim, ledger_moment_text(&m, &m.copies[i]),
               m.copies[i].slot * TSDB_LEDGER_SLOT_MIN, &m.copies[i].sums);
    if (w.first_day < w.first_slot / SLOTS_A_DAY)
        e = follow_scan(&w, m.txn, LEDGER_DAY, w.first_day);
    if (e == ERR_OK)
        e = follow_scan(&w, m.txn, LEDGER_SLOT, w.first_slot);
    ledger_moment_end(&m);
    if (e != ERR_OK) {
        pthread_mutex_lock(&l->lock);
        l->follower = before;
        l->follower_org = before_org;
        l->has_follower = had;
        pthread_mutex_unlock(&l->lock);
    }
    return e;
}

void tsdb_ledger_status_get(struct tsdb *db, struct tsdb_ledger_status *out)
{
    struct ledger *l = db->ledger;
    *out =
        (struct tsdb_ledger_status){.bytes = ledger_bytes(l), .file_bytes = lmdb_env_bytes(l->env)};
    pthread_mutex_lock(&l->lock);
    for (uint32_t i = 0; i < l->generation_count; i++)
        out->keys += l->generations[i]->table.count;
    out->booked = l->booked;
    out->book_ns = l->book_ns;
    out->newest_ms = l->newest_ms;
    pthread_mutex_unlock(&l->lock);
}
