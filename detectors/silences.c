#include "detectors/silences.h"

#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/stats.h"
#include "detectors/evaluator.h"
#include "detectors/silence.h"

#define ROWS_MAX (DETECTORS_SILENCES_MAX * 4) /* expired ones among them */
#define LOAD_BYTES ((size_t)256 << 20)

STATS_COUNTER(stat_muted, "telltale_notifications_muted_total", "",
              "Decisions to tell nobody because of a silence or a maintenance window.");

struct item {
    struct detectors_silence s; /* its texts in row */
    uint8_t *row; /* owned */
    size_t row_size;
};

struct silences {
    struct detectors_store store;
    pthread_mutex_t write_lock; /* one change at a time: first the store, then memory */
    pthread_mutex_t lock;
    /* guarded by lock; written under both */
    struct item *list;
    size_t count, cap;
};

struct silences *silences_new(const struct detectors_store *store)
{
    struct silences *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->store = *store;
    pthread_mutex_init(&s->write_lock, NULL);
    pthread_mutex_init(&s->lock, NULL);
    return s;
}

void silences_free(struct silences *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->count; i++)
        free(s->list[i].row);
    free(s->list);
    pthread_mutex_destroy(&s->lock);
    pthread_mutex_destroy(&s->write_lock);
    free(s);
}

static bool room(struct silences *s)
{
    if (s->count < s->cap)
        return true;
    size_t cap = s->cap ? s->cap * 2 : 16;
    struct item *list = realloc(s->list, cap * sizeof(*list));
    if (!list)
        return false;
    s->list = list;
    s->cap = cap;
    return true;
}

/* A copy of the row, decoded. */
static enum err item_make(struct bytes row, struct item *out)
{
    struct item i = {.row = malloc(row.size + 1), .row_size = row.size};
    if (!i.row)
        return ERR_NOMEM;
    memcpy(i.row, row.data, row.size);
    enum err e = silence_decode(bytes_of(i.row, i.row_size), &i.s);
    if (e != ERR_OK)
        free(i.row);
    else
        *out = i;
    return e;
}

enum err silences_load(struct silences *s)
{
    struct arena *a = arena_new(LOAD_BYTES);
    struct tsdb_state_row *rows;
    size_t n = 0;
    enum err e = a ? s->store.scan(s->store.ctx, SILENCES_TABLE, BYTES_NONE, ROWS_MAX, a, &rows, &n)
                   : ERR_NOMEM;
    for (size_t i = 0; e == ERR_OK && i < n; i++) {
        struct item x;
        enum err one = room(s) ? item_make(rows[i].value, &x) : ERR_NOMEM;
        if (one == ERR_OK)
            s->list[s->count++] = x;
        else if (one == ERR_NOMEM)
            e = one;
        else
            log_error("detect", "a silence of the state store cannot be read and is left alone");
    }
    arena_free(a);
    return e;
}

/* --- deciding ------------------------------------------------------------------------------------ */

bool silences_any(struct silences *s, int64_t now_ms)
{
    bool any = false;
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->count && !any; i++)
        any = detectors_silence_state_at(&s->list[i].s, now_ms) == DETECTORS_SILENCE_ACTIVE;
    pthread_mutex_unlock(&s->lock);
    return any;
}

bool silences_mute(struct silences *s, const struct query_slo_pair *labels, size_t n,
                   int64_t now_ms)
{
    bool mutes = false;
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->count && !mutes; i++)
        mutes = detectors_silence_state_at(&s->list[i].s, now_ms) == DETECTORS_SILENCE_ACTIVE &&
                silence_covers(&s->list[i].s, labels, n);
    pthread_mutex_unlock(&s->lock);
    stats_add(&stat_muted, mutes);
    return mutes;
}

bool silences_mute_labels(struct silences *s, struct tsdb_labels labels, int64_t now_ms)
{
    if (!silences_any(s, now_ms))
        return false;
    struct query_slo_pair pairs[64];
    size_t n = 0;
    struct tsdb_labels_iter it = tsdb_labels_begin(labels);
    struct tsdb_label l;
    while (n < ARRAY_LEN(pairs) && tsdb_labels_next(&it, &l))
        pairs[n++] = (struct query_slo_pair){l.name, l.value};
    return silences_mute(s, pairs, n, now_ms);
}

/* --- changing ------------------------------------------------------------------------------------ */

static struct item *find(struct silences *s, const char *id)
{
    for (size_t i = 0; i < s->count; i++)
        if (strcmp(s->list[i].s.id, id) == 0)
            return &s->list[i];
    return NULL;
}

/* Version 4: random. */
static void make_id(char out[DETECTORS_SILENCE_ID_MAX])
{
    uint8_t raw[16];
    char hex[33];
    randombytes_buf(raw, sizeof(raw));
    raw[6] = (uint8_t)((raw[6] & 0x0f) | 0x40);
    raw[8] = (uint8_t)((raw[8] & 0x3f) | 0x80);
    bytes_to_hex(bytes_of(raw, sizeof(raw)), hex);
    snprintf(out, DETECTORS_SILENCE_ID_MAX, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12,
             hex + 16, hex + 20);
}

static bool same_matchers(const struct detectors_silence *x, const struct detectors_silence *y)
{
    bool same = x->matcher_count == y->matcher_count && x->is_window == y->is_window;
    for (uint32_t i = 0; same && i < x->matcher_count; i++)
        same = x->matchers[i].op == y->matchers[i].op &&
               bytes_equal(x->matchers[i].name, y->matchers[i].name) &&
               bytes_equal(x->matchers[i].value, y->matchers[i].value);
    return same;
}

/* Up to two rows that change together, and old ones that go. */
struct change {
    struct item rows[2];
    size_t count;
};

static enum err change_add(struct change *c, const struct detectors_silence *s)
{
    struct buf b;
    buf_init(&b, 0);
    silence_encode(s, &b);
    enum err e = buf_ok(&b) ? item_make(buf_bytes(&b), &c->rows[c->count]) : ERR_NOMEM;
    buf_done(&b);
    c->count += e == ERR_OK;
    return e;
}

static bool is_old(const struct item *i, int64_t now_ms)
{
    return now_ms - i->s.ends_ms > DETECTORS_SILENCE_KEPT_MS;
}

static enum err write_change(struct silences *s, const struct change *c, int64_t now_ms)
{
    void *txn;
    enum err e = s->store.begin(s->store.ctx, &txn);
    if (e != ERR_OK)
        return e;
    for (size_t i = 0; i < c->count && e == ERR_OK; i++)
        e = s->store.put(s->store.ctx, txn, SILENCES_TABLE, bytes_str(c->rows[i].s.id),
                         bytes_of(c->rows[i].row, c->rows[i].row_size));
    for (size_t i = 0; i < s->count && e == ERR_OK; i++)
        if (is_old(&s->list[i], now_ms))
            e = s->store.del(s->store.ctx, txn, SILENCES_TABLE, bytes_str(s->list[i].s.id));
    if (e == ERR_OK)
        return s->store.commit(s->store.ctx, txn);
    s->store.abort(s->store.ctx, txn);
    return e;
}

static void apply_change(struct silences *s, struct change *c, int64_t now_ms)
{
    size_t kept = 0;
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->count; i++)
        if (is_old(&s->list[i], now_ms))
            free(s->list[i].row);
        else
            s->list[kept++] = s->list[i];
    s->count = kept;
    for (size_t i = 0; i < c->count; i++) {
        struct item *at = find(s, c->rows[i].s.id);
        if (at)
            free(at->row);
        else
            at = &s->list[s->count++]; /* change_run has made room */
        *at = c->rows[i];
    }
    c->count = 0;
    pthread_mutex_unlock(&s->lock);
}

/* Durable first, then in force. Under write_lock. */
static enum err change_run(struct silences *s, struct change *c, int64_t now_ms,
                           struct err_msg *msg)
{
    enum err e = ERR_OK;
    pthread_mutex_lock(&s->lock);
    if (!room(s))
        e = ERR_NOMEM;
    pthread_mutex_unlock(&s->lock);
    if (e == ERR_OK)
        e = write_change(s, c, now_ms);
    if (e == ERR_OK)
        apply_change(s, c, now_ms);
    return e == ERR_OK ? e : err_set(msg, e, "the silence cannot be kept: %s", err_text(e));
}

static size_t alive(const struct silences *s, int64_t now_ms)
{
    size_t n = 0;
    for (size_t i = 0; i < s->count; i++)
        n += now_ms < s->list[i].s.ends_ms;
    return n;
}

/* One that somebody changes: in place, or what it was ends and a new one begins. */
static enum err put_changed(const struct item *was, struct detectors_silence *next, int64_t now_ms,
                            struct change *c)
{
    enum err e = ERR_OK;
    bool began = was->s.starts_ms <= now_ms;
    if (same_matchers(&was->s, next) && was->s.ends_ms > now_ms &&
        (!began || next->starts_ms == was->s.starts_ms)) {
        memcpy(next->id, was->s.id, sizeof(next->id));
    } else {
        struct detectors_silence over = was->s;
        over.ends_ms = MIN(over.ends_ms, now_ms);
        over.starts_ms = MIN(over.starts_ms, over.ends_ms);
        over.updated_ms = now_ms;
        if (was->s.ends_ms > now_ms)
            e = change_add(c, &over);
        make_id(next->id);
    }
    return e;
}

enum err detectors_silence_put(struct detectors *d, const struct detectors_silence *asked,
                               char out_id[DETECTORS_SILENCE_ID_MAX], struct err_msg *msg)
{
    struct silences *s = d->silences;
    struct detectors_silence next = *asked;
    struct change c = {0};
    int64_t now_ms = clock_wall_ms();
    enum err e = silence_check(&next, now_ms, msg);
    if (e != ERR_OK)
        return e;
    next.updated_ms = now_ms;
    pthread_mutex_lock(&s->write_lock);
    const struct item *was = next.id[0] ? find(s, next.id) : NULL;
    if (next.starts_ms < now_ms && !(was && was->s.starts_ms == next.starts_ms))
        next.starts_ms = now_ms;
    if (next.id[0] && !was)
        e = err_set(msg, ERR_NOT_FOUND, "there is no silence of this id");
    else if (!was && alive(s, now_ms) >= DETECTORS_SILENCES_MAX)
        e = err_set(msg, ERR_LIMIT, "there are %u silences already", DETECTORS_SILENCES_MAX);
    else if (was)
        e = put_changed(was, &next, now_ms, &c);
    else
        make_id(next.id);
    if (e == ERR_OK)
        e = change_add(&c, &next);
    if (e == ERR_OK)
        e = change_run(s, &c, now_ms, msg);
    for (size_t i = 0; i < c.count; i++)
        free(c.rows[i].row);
    pthread_mutex_unlock(&s->write_lock);
    if (e == ERR_OK)
        memcpy(out_id, next.id, sizeof(next.id));
    return e;
}

enum err detectors_silence_expire(struct detectors *d, struct bytes id, struct err_msg *msg)
{
    struct silences *s = d->silences;
    struct change c = {0};
    char text[DETECTORS_SILENCE_ID_MAX] = "";
    int64_t now_ms = clock_wall_ms();
    if (id.size == sizeof(text) - 1)
        memcpy(text, id.data, id.size);
    pthread_mutex_lock(&s->write_lock);
    const struct item *was = find(s, text);
    enum err e = was ? ERR_OK : err_set(msg, ERR_NOT_FOUND, "there is no silence of this id");
    if (was && was->s.ends_ms <= now_ms)
        e = err_set(msg, ERR_CONFLICT, "the silence is over already");
    if (e == ERR_OK) {
        struct detectors_silence over = was->s;
        over.ends_ms = over.updated_ms = now_ms;
        over.starts_ms = MIN(over.starts_ms, now_ms);
        e = change_add(&c, &over);
    }
    if (e == ERR_OK)
        e = change_run(s, &c, now_ms, msg);
    for (size_t i = 0; i < c.count; i++)
        free(c.rows[i].row);
    pthread_mutex_unlock(&s->write_lock);
    return e;
}

/* --- snapshot ------------------------------------------------------------------------------------ */

static int by_update(const void *a, const void *b)
{
    const struct detectors_silence *x = a, *y = b;
    if (x->updated_ms != y->updated_ms)
        return x->updated_ms < y->updated_ms ? 1 : -1;
    return strcmp(x->id, y->id);
}

enum err detectors_silences(struct detectors *d, struct arena *a, struct detectors_silence **out,
                            size_t *out_count)
{
    struct silences *s = d->silences;
    enum err e = ERR_OK;
    pthread_mutex_lock(&s->lock);
    size_t n = s->count;
    struct detectors_silence *list = ARENA_ARRAY(a, struct detectors_silence, n + 1);
    for (size_t i = 0; i < n && list && e == ERR_OK; i++) {
        struct bytes row = arena_copy(a, bytes_of(s->list[i].row, s->list[i].row_size));
        e = row.data ? silence_decode(row, &list[i]) : ERR_LIMIT;
    }
    pthread_mutex_unlock(&s->lock);
    if (!list || e != ERR_OK)
        return list ? e : ERR_LIMIT;
    qsort(list, n, sizeof(*list), by_update);
    *out = list;
    *out_count = n;
    return ERR_OK;
}
