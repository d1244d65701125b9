#include "detectors/outbox.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/stats.h"
#include "tsdb/tsdb_versions.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define TABLE "slo_outbox"
#define LOAD_MAX 200000u
#define LOAD_BYTES ((size_t)1 << 30)

STATS_COUNTER(stat_delivered, "telltale_notifications_total", "result=\"delivered\"",
              "Notifications by what became of them.");
STATS_COUNTER(stat_retried, "telltale_notifications_total", "result=\"retried\"",
              "Notifications by what became of them.");
STATS_COUNTER(stat_dead, "telltale_notifications_total", "result=\"dead\"",
              "Notifications by what became of them.");
STATS_COUNTER(stat_refused, "telltale_notifications_total", "result=\"outbox_full\"",
              "Notifications by what became of them.");
STATS_COUNTER(stat_write_failed, "telltale_outbox_write_failures_total", "",
              "Delivery results that the state store did not take at once.");

struct item {
    struct outbox_entry e;
    uint32_t version, staged, stored; /* of its state: now, in the open transaction, in the store */
    struct item *next;
};

struct outbox {
    struct detectors_store store;
    /* Order of locks: stage_lock or write_lock, the store's write transaction, lock. Who stages takes lock inside its transaction, so nobody
     * may begin one while holding lock. */
    pthread_mutex_t stage_lock;
    pthread_mutex_t write_lock;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* guarded by lock */
    struct item *first, *last; /* by id */
    uint32_t by_state[DETECTORS_DEAD + 1];
    bool is_stopping;
    /* guarded by stage_lock */
    struct item *staged, *staged_last;
    uint64_t next_id;
};

struct outbox *outbox_new(const struct detectors_store *store)
{
    struct outbox *o = calloc(1, sizeof(*o));
    if (!o)
        return NULL;
    o->store = *store;
    o->next_id = 1;
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&o->stage_lock, NULL);
    pthread_mutex_init(&o->write_lock, NULL);
    pthread_mutex_init(&o->lock, NULL);
    pthread_cond_init(&o->changed, &attr);
    pthread_condattr_destroy(&attr);
    return o;
}

static void free_items(struct item *i)
{
    while (i) {
        struct item *next = i->next;
        free(i->e.body);
        free(i);
        i = next;
    }
}

void outbox_free(struct outbox *o)
{
    if (!o)
        return;
    free_items(o->first);
    free_items(o->staged);
    pthread_cond_destroy(&o->changed);
    pthread_mutex_destroy(&o->lock);
    pthread_mutex_destroy(&o->write_lock);
    pthread_mutex_destroy(&o->stage_lock);
    free(o);
}

/* --- bytes --------------------------------------------------------------------------------------- */

void outbox_entry_encode(const struct outbox_entry *e, struct buf *out)
{
    buf_u8(out, FORMAT_OUTBOX);
    buf_lenbytes(out, bytes_str(e->receiver));
    buf_lenbytes(out, bytes_str(e->webhook_id));
    buf_lenbytes(out, bytes_str(e->event));
    buf_lenbytes(out, bytes_str(e->fingerprint));
    buf_lenbytes(out, bytes_str(e->slo_id));
    buf_lenbytes(out, bytes_str(e->rule));
    buf_u8(out, (uint8_t)e->state);
    buf_varint(out, e->attempts);
    buf_zigzag(out, e->created_ms);
    buf_zigzag(out, e->next_attempt_ms);
    buf_zigzag(out, e->last_attempt_ms);
    buf_zigzag(out, e->delivered_ms);
    buf_zigzag(out, e->last_status);
    buf_lenbytes(out, bytes_str(e->last_error));
    buf_lenbytes(out, bytes_of(e->body, e->body_size));
}

static void read_text(struct reader *r, char *out, size_t size)
{
    struct bytes b = reader_lenbytes(r);
    if (b.size >= size)
        r->failed = true;
    else if (b.size)
        memcpy(out, b.data, b.size);
    out[b.size < size ? b.size : 0] = 0;
}

enum err outbox_entry_decode(uint64_t id, struct bytes b, struct outbox_entry *e)
{
    struct reader r = reader_of(b);
    *e = (struct outbox_entry){.id = id};
    enum err err = tsdb_versions_check("a notification", reader_u8(&r), FORMAT_OUTBOX);
    if (err != ERR_OK)
        return err;
    read_text(&r, e->receiver, sizeof(e->receiver));
    read_text(&r, e->webhook_id, sizeof(e->webhook_id));
    read_text(&r, e->event, sizeof(e->event));
    read_text(&r, e->fingerprint, sizeof(e->fingerprint));
    read_text(&r, e->slo_id, sizeof(e->slo_id));
    read_text(&r, e->rule, sizeof(e->rule));
    uint8_t state = reader_u8(&r);
    e->state = (enum detectors_delivery)state;
    e->attempts = (uint32_t)reader_varint(&r);
    e->created_ms = reader_zigzag(&r);
    e->next_attempt_ms = reader_zigzag(&r);
    e->last_attempt_ms = reader_zigzag(&r);
    e->delivered_ms = reader_zigzag(&r);
    e->last_status = (int)reader_zigzag(&r);
    read_text(&r, e->last_error, sizeof(e->last_error));
    struct bytes body = reader_lenbytes(&r);
    if (r.failed || state > DETECTORS_DEAD)
        return ERR_CORRUPT;
    e->body = malloc(body.size + 1);
    if (!e->body)
        return ERR_NOMEM;
    if (body.size)
        memcpy(e->body, body.data, body.size);
    e->body[body.size] = 0;
    e->body_size = body.size;
    return ERR_OK;
}

static enum err entry_write(struct outbox *o, void *txn, const struct outbox_entry *e)
{
    uint8_t key[8];
    struct buf b;
    bytes_put_u64be(key, e->id);
    buf_init(&b, 0);
    outbox_entry_encode(e, &b);
    enum err err = buf_ok(&b) ? o->store.put(o->store.ctx, txn, TABLE, bytes_of(key, sizeof(key)),
                                             buf_bytes(&b))
                              : ERR_NOMEM;
    buf_done(&b);
    return err;
}

/* --- detect -------------------------------------------------------------------------------------- */

static void append(struct outbox *o, struct item *i)
{
    i->next = NULL;
    if (o->last)
        o->last->next = i;
    else
        o->first = i;
    o->last = i;
    o->by_state[i->e.state]++;
}

enum err outbox_load(struct outbox *o)
{
    struct arena *a = arena_new(LOAD_BYTES);
    struct tsdb_state_row *rows;
    size_t n = 0;
    enum err err =
        a ? o->store.scan(o->store.ctx, TABLE, BYTES_NONE, LOAD_MAX, a, &rows, &n) : ERR_NOMEM;
    for (size_t i = 0; err == ERR_OK && i < n; i++) {
        if (rows[i].key.size != 8)
            continue;
        struct item *item = calloc(1, sizeof(*item));
        uint64_t id = bytes_u64be(rows[i].key.data);
        err = item ? outbox_entry_decode(id, rows[i].value, &item->e) : ERR_NOMEM;
        if (err == ERR_OK) {
            append(o, item);
            o->next_id = MAX(o->next_id, id + 1);
        } else {
            free(item);
            if (err == ERR_CORRUPT || err == ERR_NEWER) {
                log_error("notify", "outbox entry %llu cannot be read and is left alone",
                          (unsigned long long)id);
                o->next_id = MAX(o->next_id, id + 1);
                err = ERR_OK;
            }
        }
    }
    arena_free(a);
    return err;
}

void outbox_begin(struct outbox *o)
{
    pthread_mutex_lock(&o->stage_lock);
}

void outbox_end(struct outbox *o)
{
    pthread_mutex_unlock(&o->stage_lock);
}

static uint32_t waiting_of(struct outbox *o, const char *receiver)
{
    uint32_t n = 0;
    pthread_mutex_lock(&o->lock);
    for (struct item *i = o->first; i; i = i->next)
        n += i->e.state == DETECTORS_WAITING && strcmp(i->e.receiver, receiver) == 0;
    pthread_mutex_unlock(&o->lock);
    return n;
}

bool outbox_waits(struct outbox *o, const char *receiver, const char *fingerprint)
{
    bool waits = false;
    pthread_mutex_lock(&o->lock);
    for (struct item *i = o->first; i && !waits; i = i->next)
        waits = i->e.state == DETECTORS_WAITING && strcmp(i->e.receiver, receiver) == 0 &&
                strcmp(i->e.fingerprint, fingerprint) == 0;
    pthread_mutex_unlock(&o->lock);
    return waits;
}

enum err outbox_stage(struct outbox *o, void *txn, const struct outbox_entry *e,
                      uint8_t **take_body, size_t body_size)
{
    if (waiting_of(o, e->receiver) >= DETECTORS_OUTBOX_MAX) {
        stats_add(&stat_refused, 1);
        return ERR_LIMIT;
    }
    struct item *i = calloc(1, sizeof(*i));
    if (!i)
        return ERR_NOMEM;
    i->e = *e;
    i->e.id = o->next_id;
    i->e.state = DETECTORS_WAITING;
    i->e.body = *take_body;
    i->e.body_size = body_size;
    enum err err = entry_write(o, txn, &i->e);
    if (err != ERR_OK) {
        free(i);
        return err;
    }
    *take_body = NULL;
    o->next_id++;
    if (o->staged_last)
        o->staged_last->next = i;
    else
        o->staged = i;
    o->staged_last = i;
    return ERR_OK;
}

void outbox_publish(struct outbox *o)
{
    pthread_mutex_lock(&o->lock);
    for (struct item *i = o->staged, *next; i; i = next) {
        next = i->next;
        append(o, i);
    }
    pthread_cond_broadcast(&o->changed);
    pthread_mutex_unlock(&o->lock);
    o->staged = o->staged_last = NULL;
}

void outbox_discard(struct outbox *o)
{
    free_items(o->staged);
    o->staged = o->staged_last = NULL;
}

/* --- notify -------------------------------------------------------------------------------------- */

/* The first due entry of the receiver with no earlier waiting event of the same alert; *out_at is when the next falls due. */
static struct item *find_due(struct outbox *o, const char *receiver, int64_t now_ms,
                             int64_t *out_at)
{
    *out_at = INT64_MAX;
    for (struct item *i = o->first; i; i = i->next) {
        if (i->e.state != DETECTORS_WAITING || strcmp(i->e.receiver, receiver) != 0)
            continue;
        if (i->e.next_attempt_ms > now_ms) {
            *out_at = MIN(*out_at, i->e.next_attempt_ms);
            continue;
        }
        bool behind = false;
        for (struct item *k = o->first; k != i && !behind; k = k->next)
            behind = k->e.state == DETECTORS_WAITING && strcmp(k->e.receiver, receiver) == 0 &&
                     strcmp(k->e.fingerprint, i->e.fingerprint) == 0;
        if (!behind)
            return i;
    }
    return NULL;
}

bool outbox_take(struct outbox *o, const char *receiver, int64_t wait_ms, struct outbox_entry *out)
{
    int64_t end_ns = clock_mono_ns() + wait_ms * 1000000;
    bool found = false;
    pthread_mutex_lock(&o->lock);
    while (!o->is_stopping) {
        int64_t at, now_ms = clock_wall_ms();
        struct item *i = find_due(o, receiver, now_ms, &at);
        if (i) {
            *out = i->e;
            found = true;
            break;
        }
        int64_t now_ns = clock_mono_ns(), until_ns = end_ns;
        if (at != INT64_MAX && at - now_ms < (end_ns - now_ns) / 1000000)
            until_ns = now_ns + (at - now_ms) * 1000000 + 1000000;
        if (now_ns >= end_ns)
            break;
        struct timespec ts = {until_ns / 1000000000, until_ns % 1000000000};
        pthread_cond_timedwait(&o->changed, &o->lock, &ts);
    }
    pthread_mutex_unlock(&o->lock);
    return found;
}

/* Forgets the oldest entry of a final state; its row is deleted in the transaction. */
static void trim_oldest(struct outbox *o, void *txn, enum detectors_delivery state)
{
    struct item *before = NULL, *i = o->first;
    while (i && i->e.state != state) {
        before = i;
        i = i->next;
    }
    uint8_t key[8];
    if (!i || i->version != i->stored)
        return;
    bytes_put_u64be(key, i->e.id);
    if (o->store.del(o->store.ctx, txn, TABLE, bytes_of(key, sizeof(key))) != ERR_OK)
        return;
    if (before)
        before->next = i->next;
    else
        o->first = i->next;
    if (o->last == i)
        o->last = before;
    i->next = NULL;
    o->by_state[state]--;
    free_items(i);
}

static enum err stage_results(struct outbox *o, void *txn)
{
    enum err err = ERR_OK;
    pthread_mutex_lock(&o->lock);
    for (struct item *i = o->first; i && err == ERR_OK; i = i->next) {
        i->staged = i->version;
        if (i->version != i->stored)
            err = entry_write(o, txn, &i->e);
    }
    if (err == ERR_OK && o->by_state[DETECTORS_DELIVERED] > OUTBOX_DELIVERED_KEPT)
        trim_oldest(o, txn, DETECTORS_DELIVERED);
    if (err == ERR_OK && o->by_state[DETECTORS_DEAD] > OUTBOX_DEAD_KEPT)
        trim_oldest(o, txn, DETECTORS_DEAD);
    pthread_mutex_unlock(&o->lock);
    return err;
}

/* Writes every result that the store does not have. Without the lock; write_lock keeps an older state from overtaking a newer one. */
static void write_results(struct outbox *o)
{
    void *txn;
    pthread_mutex_lock(&o->write_lock);
    enum err err = o->store.begin(o->store.ctx, &txn);
    if (err == ERR_OK) {
        err = stage_results(o, txn);
        if (err == ERR_OK)
            err = o->store.commit(o->store.ctx, txn);
        else
            o->store.abort(o->store.ctx, txn);
    }
    if (err == ERR_OK) {
        pthread_mutex_lock(&o->lock);
        for (struct item *i = o->first; i; i = i->next)
            i->stored = i->staged;
        pthread_mutex_unlock(&o->lock);
    } else {
        stats_add(&stat_write_failed, 1);
        log_warn("notify", "delivery results not yet durable: %s", err_text(err));
    }
    pthread_mutex_unlock(&o->write_lock);
}

static struct item *find_id(struct outbox *o, uint64_t id)
{
    struct item *i = o->first;
    while (i && i->e.id != id)
        i = i->next;
    return i;
}

void outbox_done(struct outbox *o, uint64_t id, const struct outbox_result *r)
{
    pthread_mutex_lock(&o->lock);
    struct item *i = find_id(o, id);
    CHECK(i);
    i->e.attempts++;
    i->e.last_attempt_ms = r->now_ms;
    i->e.last_status = r->status;
    snprintf(i->e.last_error, sizeof(i->e.last_error), "%s", r->error ? r->error : "");
    o->by_state[i->e.state]--;
    o->by_state[r->state]++;
    i->e.state = r->state;
    i->e.next_attempt_ms = r->next_attempt_ms;
    if (r->state == DETECTORS_DELIVERED)
        i->e.delivered_ms = r->now_ms;
    i->version++;
    stats_add(r->state == DETECTORS_DELIVERED ? &stat_delivered
              : r->state == DETECTORS_DEAD    ? &stat_dead
                                              : &stat_retried,
              1);
    pthread_cond_broadcast(&o->changed);
    pthread_mutex_unlock(&o->lock);
    write_results(o);
}

enum err outbox_retry(struct outbox *o, uint64_t id, int64_t now_ms)
{
    enum err err = ERR_NOT_FOUND;
    pthread_mutex_lock(&o->lock);
    struct item *i = find_id(o, id);
    if (i) {
        err = i->e.state == DETECTORS_DELIVERED ? ERR_CONFLICT : ERR_OK;
        if (err == ERR_OK) {
            o->by_state[i->e.state]--;
            o->by_state[DETECTORS_WAITING]++;
            i->e.state = DETECTORS_WAITING;
            i->e.created_ms = now_ms; /* a new span of attempts */
            i->e.next_attempt_ms = now_ms;
            i->version++;
            pthread_cond_broadcast(&o->changed);
        }
    }
    pthread_mutex_unlock(&o->lock);
    if (err == ERR_OK)
        write_results(o);
    return err;
}

void outbox_wake_all(struct outbox *o)
{
    pthread_mutex_lock(&o->lock);
    o->is_stopping = true;
    pthread_cond_broadcast(&o->changed);
    pthread_mutex_unlock(&o->lock);
}

/* --- snapshot ------------------------------------------------------------------------------------ */

static bool row_of(struct arena *a, const struct outbox_entry *e, struct detectors_outbox_row *r)
{
    const struct {
        struct bytes from;
        struct bytes *to;
    } texts[] = {{bytes_str(e->receiver), &r->receiver},
                 {bytes_str(e->webhook_id), &r->webhook_id},
                 {bytes_str(e->event), &r->event},
                 {bytes_str(e->slo_id), &r->slo_id},
                 {bytes_str(e->rule), &r->rule},
                 {bytes_str(e->fingerprint), &r->fingerprint},
                 {bytes_str(e->last_error), &r->last_error},
                 {bytes_of(e->body, e->body_size), &r->body}};
    *r = (struct detectors_outbox_row){.id = e->id,
                                       .state = e->state,
                                       .attempts = e->attempts,
                                       .created_ms = e->created_ms,
                                       .next_attempt_ms = e->next_attempt_ms,
                                       .last_attempt_ms = e->last_attempt_ms,
                                       .delivered_ms = e->delivered_ms,
                                       .last_status = e->last_status};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        *texts[i].to = arena_copy(a, texts[i].from);
        if (texts[i].from.size && !texts[i].to->data)
            return false;
    }
    return true;
}

enum err outbox_rows(struct outbox *o, struct arena *a, struct detectors_outbox_row **out,
                     size_t *out_count)
{
    enum err err = ERR_OK;
    pthread_mutex_lock(&o->lock);
    size_t n = 0, at;
    for (struct item *i = o->first; i; i = i->next)
        n++;
    struct detectors_outbox_row *rows = ARENA_ARRAY(a, struct detectors_outbox_row, n ? n : 1);
    at = n;
    for (struct item *i = o->first; i && rows && err == ERR_OK; i = i->next)
        if (!row_of(a, &i->e, &rows[--at])) /* newest first */
            err = ERR_LIMIT;
    pthread_mutex_unlock(&o->lock);
    if (!rows)
        return ERR_LIMIT;
    if (err == ERR_OK) {
        *out = rows;
        *out_count = n;
    }
    return err;
}
