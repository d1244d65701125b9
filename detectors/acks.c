#include "detectors/acks.h"

#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "detectors/evaluator.h"
#include "tsdb/tsdb_versions.h"

#define KEY_ROW "key"
#define KEY_BYTES 32u

struct acks {
    struct detectors_store store;
    uint8_t key[KEY_BYTES]; /* immutable after acks_load */
    pthread_mutex_t write_lock;
    pthread_mutex_t lock;
    /* guarded by lock; written under both */
    struct detectors_ack *list; /* oldest first */
    size_t count, cap;
};

struct acks *acks_new(const struct detectors_store *store)
{
    struct acks *a = calloc(1, sizeof(*a));
    if (!a)
        return NULL;
    a->store = *store;
    pthread_mutex_init(&a->write_lock, NULL);
    pthread_mutex_init(&a->lock, NULL);
    return a;
}

void acks_free(struct acks *a)
{
    if (!a)
        return;
    sodium_memzero(a->key, sizeof(a->key));
    free(a->list);
    pthread_mutex_destroy(&a->lock);
    pthread_mutex_destroy(&a->write_lock);
    free(a);
}

/* --- bytes --------------------------------------------------------------------------------------- */

void ack_encode(const struct detectors_ack *x, struct buf *out)
{
    buf_u8(out, FORMAT_ACK);
    buf_lenbytes(out, bytes_str(x->fingerprint));
    buf_lenbytes(out, bytes_str(x->by));
    buf_zigzag(out, x->at_ms);
}

static bool read_text(struct reader *r, char *out, size_t size)
{
    struct bytes b = reader_lenbytes(r);
    if (r->failed || b.size >= size || (b.size && memchr(b.data, 0, b.size)))
        return false;
    if (b.size)
        memcpy(out, b.data, b.size);
    out[b.size] = 0;
    return true;
}

enum err ack_decode(struct bytes b, struct detectors_ack *out)
{
    struct reader r = reader_of(b);
    struct detectors_ack x = {0};
    enum err e = tsdb_versions_check("an acknowledgement", reader_u8(&r), FORMAT_ACK);
    if (e != ERR_OK)
        return e;
    if (!read_text(&r, x.fingerprint, sizeof(x.fingerprint)) || !read_text(&r, x.by, sizeof(x.by)))
        return ERR_CORRUPT;
    x.at_ms = reader_zigzag(&r);
    if (r.failed || strlen(x.fingerprint) != 32)
        return ERR_CORRUPT;
    *out = x;
    return ERR_OK;
}

/* --- from before --------------------------------------------------------------------------------- */

static bool room(struct acks *a)
{
    if (a->count < a->cap)
        return true;
    size_t cap = a->cap ? a->cap * 2 : 16;
    struct detectors_ack *list = realloc(a->list, cap * sizeof(*list));
    if (!list)
        return false;
    a->list = list;
    a->cap = cap;
    return true;
}

static int by_time(const void *x, const void *y)
{
    int64_t a = ((const struct detectors_ack *)x)->at_ms,
            b = ((const struct detectors_ack *)y)->at_ms;
    return (a > b) - (a < b);
}

static enum err write_row(struct acks *a, struct bytes key, struct bytes value, const char *forget)
{
    void *txn;
    enum err e = a->store.begin(a->store.ctx, &txn);
    if (e != ERR_OK)
        return e;
    e = a->store.put(a->store.ctx, txn, ACKS_TABLE, key, value);
    if (e == ERR_OK && forget)
        e = a->store.del(a->store.ctx, txn, ACKS_TABLE, bytes_str(forget));
    if (e == ERR_OK)
        return a->store.commit(a->store.ctx, txn);
    a->store.abort(a->store.ctx, txn);
    return e;
}

static enum err make_key(struct acks *a)
{
    randombytes_buf(a->key, sizeof(a->key));
    return write_row(a, BYTES_LIT(KEY_ROW), bytes_of(a->key, sizeof(a->key)), NULL);
}

enum err acks_load(struct acks *a)
{
    struct arena *arena = arena_new((size_t)64 << 20);
    struct tsdb_state_row *rows;
    size_t n = 0;
    bool has_key = false;
    enum err e = arena ? a->store.scan(a->store.ctx, ACKS_TABLE, BYTES_NONE, 2 * DETECTORS_ACKS_MAX,
                                       arena, &rows, &n)
                       : ERR_NOMEM;
    for (size_t i = 0; e == ERR_OK && i < n; i++) {
        if (bytes_equal_str(rows[i].key, KEY_ROW) && rows[i].value.size == KEY_BYTES) {
            memcpy(a->key, rows[i].value.data, KEY_BYTES);
            has_key = true;
        } else if (!room(a)) {
            e = ERR_NOMEM;
        } else if (ack_decode(rows[i].value, &a->list[a->count]) == ERR_OK) {
            a->count++;
        } else {
            log_error("detect", "an acknowledgement of the state store cannot be read and is left "
                                "alone");
        }
    }
    arena_free(arena);
    if (e == ERR_OK && a->count)
        qsort(a->list, a->count, sizeof(*a->list), by_time);
    return e == ERR_OK && !has_key ? make_key(a) : e;
}

/* --- asking -------------------------------------------------------------------------------------- */

static struct detectors_ack *find(struct acks *a, struct bytes fingerprint)
{
    for (size_t i = 0; i < a->count; i++)
        if (bytes_equal_str(fingerprint, a->list[i].fingerprint))
            return &a->list[i];
    return NULL;
}

bool acks_has(struct acks *a, const char *fingerprint)
{
    pthread_mutex_lock(&a->lock);
    bool has = find(a, bytes_str(fingerprint)) != NULL;
    pthread_mutex_unlock(&a->lock);
    return has;
}

bool detectors_ack_get(struct detectors *d, struct bytes fingerprint, struct detectors_ack *out)
{
    pthread_mutex_lock(&d->acks->lock);
    const struct detectors_ack *x = find(d->acks, fingerprint);
    if (x)
        *out = *x;
    pthread_mutex_unlock(&d->acks->lock);
    return x != NULL;
}

/* --- acknowledging ------------------------------------------------------------------------------- */

static enum err fires(struct detectors *d, struct bytes fingerprint)
{
    struct arena *arena = arena_new((size_t)256 << 20);
    struct detectors_alert *list;
    size_t n;
    enum err e = arena ? detectors_alerts(d, arena, &list, &n) : ERR_NOMEM;
    bool found = false;
    for (size_t i = 0; e == ERR_OK && i < n && !found; i++)
        found = list[i].state == DETECTORS_FIRING && bytes_equal(list[i].fingerprint, fingerprint);
    arena_free(arena);
    return e != ERR_OK ? e : found ? ERR_OK : ERR_NOT_FOUND;
}

/* Durable, then in force. Who acknowledges again changes nothing. Under write_lock. */
static enum err keep(struct acks *a, const struct detectors_ack *x)
{
    struct buf b;
    char oldest[33] = "";
    pthread_mutex_lock(&a->lock);
    bool is_known = find(a, bytes_str(x->fingerprint)) != NULL, has_room = room(a);
    if (a->count >= DETECTORS_ACKS_MAX)
        memcpy(oldest, a->list[0].fingerprint, sizeof(oldest));
    pthread_mutex_unlock(&a->lock);
    if (is_known)
        return ERR_OK;
    buf_init(&b, 0);
    ack_encode(x, &b);
    enum err e = has_room && buf_ok(&b) ? write_row(a, bytes_str(x->fingerprint), buf_bytes(&b),
                                                    oldest[0] ? oldest : NULL)
                                        : ERR_NOMEM;
    buf_done(&b);
    if (e != ERR_OK)
        return e;
    pthread_mutex_lock(&a->lock);
    if (oldest[0])
        memmove(a->list, a->list + 1, --a->count * sizeof(*a->list));
    a->list[a->count++] = *x;
    pthread_mutex_unlock(&a->lock);
    return e;
}

enum err detectors_ack_put(struct detectors *d, struct bytes fingerprint, struct bytes by,
                           struct err_msg *msg)
{
    struct detectors_ack x = {.at_ms = clock_wall_ms()};
    if (!by.size || by.size >= sizeof(x.by) || !bytes_is_utf8(by) || memchr(by.data, 0, by.size))
        return err_set(msg, ERR_INVALID, "by: say who, in at most %zu bytes", sizeof(x.by) - 1);
    enum err e = fires(d, fingerprint);
    if (e != ERR_OK)
        return err_set(msg, e, "%s",
                       e == ERR_NOT_FOUND ? "no alert of this fingerprint fires" : err_text(e));
    memcpy(x.fingerprint, fingerprint.data, MIN(fingerprint.size, sizeof(x.fingerprint) - 1));
    memcpy(x.by, by.data, by.size);
    pthread_mutex_lock(&d->acks->write_lock);
    e = keep(d->acks, &x);
    pthread_mutex_unlock(&d->acks->write_lock);
    return e == ERR_OK ? e : err_set(msg, e, "the acknowledgement cannot be kept: %s", err_text(e));
}

/* --- links --------------------------------------------------------------------------------------- */

/* Of name and value pairs with their lengths, so that no two texts run together. */
static void sign(const struct acks *a, struct bytes fingerprint, struct bytes receiver,
                 int64_t until_s, char out[DETECTORS_ACK_SIGNATURE_MAX])
{
    uint8_t mac[32];
    struct buf b;
    buf_init(&b, 0);
    buf_lenbytes(&b, fingerprint);
    buf_lenbytes(&b, receiver);
    buf_u64(&b, (uint64_t)until_s);
    crypto_generichash(mac, sizeof(mac), b.data, b.size, a->key, sizeof(a->key));
    buf_done(&b);
    bytes_to_hex(bytes_of(mac, sizeof(mac)), out);
}

void detectors_ack_sign(struct detectors *d, struct bytes fingerprint, struct bytes receiver,
                        int64_t until_s, char out[DETECTORS_ACK_SIGNATURE_MAX])
{
    sign(d->acks, fingerprint, receiver, until_s, out);
}

bool detectors_ack_is_signed(struct detectors *d, struct bytes fingerprint, struct bytes receiver,
                             int64_t until_s, struct bytes signature, int64_t now_ms)
{
    char want[DETECTORS_ACK_SIGNATURE_MAX];
    sign(d->acks, fingerprint, receiver, until_s, want);
    return signature.size == strlen(want) &&
           sodium_memcmp(signature.data, want, signature.size) == 0 && now_ms / 1000 <= until_s;
}

struct bytes acks_link(struct acks *a, const char *external_url, const char *fingerprint,
                       const char *receiver, int64_t starts_ms, struct arena *arena)
{
    char signature[DETECTORS_ACK_SIGNATURE_MAX];
    int64_t until_s = (starts_ms + DETECTORS_ACK_LINK_MS) / 1000;
    sign(a, bytes_str(fingerprint), bytes_str(receiver), until_s, signature);
    return arena_printf(arena, "%s/ack/%s?receiver=%s&until=%lld&signature=%s", external_url,
                        fingerprint, receiver, (long long)until_s, signature);
}
