#include "tsdb/account.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/alloc_wait.h"
#include "base/check.h"

struct account {
    pthread_mutex_t lock;
    struct tsdb_account *rows;
    size_t count, cap;
};

struct account *account_new(void)
{
    struct account *a = calloc(1, sizeof(*a));
    if (a)
        pthread_mutex_init(&a->lock, NULL);
    return a;
}

void account_free(struct account *a)
{
    if (!a)
        return;
    pthread_mutex_destroy(&a->lock);
    free(a->rows);
    free(a);
}

static struct tsdb_account *row_of(struct account *a, uint32_t org, enum tsdb_signal signal)
{
    for (size_t i = 0; i < a->count; i++)
        if (a->rows[i].org == org && a->rows[i].signal == signal)
            return &a->rows[i];
    if (a->count == a->cap && a->cap < ACCOUNT_ROWS_MAX) {
        size_t cap = a->cap ? a->cap * 2 : 12;
        a->rows = alloc_wait_realloc(a->rows, cap * sizeof(*a->rows)); /* rows are stored */
        a->cap = cap;
    }
    if (a->count == a->cap)
        return a->count ? &a->rows[a->count - 1] : NULL;
    a->rows[a->count] = (struct tsdb_account){.org = org, .signal = signal};
    return &a->rows[a->count++];
}

void account_add(struct account *a, uint32_t org, enum tsdb_signal signal, uint64_t stored,
                 uint64_t duplicate, const uint64_t rejected[TSDB_REJECT_COUNT])
{
    pthread_mutex_lock(&a->lock);
    struct tsdb_account *row = row_of(a, org, signal);
    if (row) {
        row->stored += stored;
        row->duplicate += duplicate;
        row->received += stored + duplicate;
        for (size_t i = 0; i < TSDB_REJECT_COUNT; i++) {
            row->rejected[i] += rejected[i];
            row->received += rejected[i];
        }
    }
    pthread_mutex_unlock(&a->lock);
}

void account_erased(struct account *a, uint32_t org, enum tsdb_signal signal, uint64_t total)
{
    pthread_mutex_lock(&a->lock);
    struct tsdb_account *row = row_of(a, org, signal);
    if (row)
        row->erased = total;
    pthread_mutex_unlock(&a->lock);
}

void account_superseded(struct account *a, uint32_t org, enum tsdb_signal signal, uint64_t total)
{
    pthread_mutex_lock(&a->lock);
    struct tsdb_account *row = row_of(a, org, signal);
    if (row)
        row->superseded = total;
    pthread_mutex_unlock(&a->lock);
}

void account_encode(struct account *a, struct buf *out)
{
    pthread_mutex_lock(&a->lock);
    buf_varint(out, a->count);
    for (size_t i = 0; i < a->count; i++) {
        const struct tsdb_account *row = &a->rows[i];
        buf_varint(out, row->org);
        buf_u8(out, (uint8_t)row->signal);
        buf_varint(out, row->received);
        buf_varint(out, row->stored);
        buf_varint(out, row->duplicate);
        buf_varint(out, row->quarantined);
        buf_u8(out, TSDB_REJECT_COUNT);
        for (size_t k = 0; k < TSDB_REJECT_COUNT; k++)
            buf_varint(out, row->rejected[k]);
    }
    pthread_mutex_unlock(&a->lock);
}

bool account_decode(struct account *a, struct reader *r)
{
    uint64_t n = reader_varint(r);
    a->count = 0;
    for (uint64_t i = 0; i < n && !r->failed; i++) {
        struct tsdb_account v = {.org = (uint32_t)reader_varint(r)};
        uint8_t signal = reader_u8(r);
        v.signal = (enum tsdb_signal)signal;
        v.received = reader_varint(r);
        v.stored = reader_varint(r);
        v.duplicate = reader_varint(r);
        v.quarantined = reader_varint(r);
        uint8_t reasons = reader_u8(r);
        for (uint8_t k = 0; k < reasons && !r->failed; k++) {
            uint64_t count = reader_varint(r);
            if (k < TSDB_REJECT_COUNT)
                v.rejected[k] = count;
        }
        if (r->failed || signal >= TSDB_SIGNAL_COUNT || n > ACCOUNT_ROWS_MAX)
            return false;
        struct tsdb_account *row = row_of(a, v.org, v.signal);
        if (row)
            *row = v;
    }
    return !r->failed;
}

size_t account_copy(struct account *a, struct tsdb_account *out, size_t max)
{
    pthread_mutex_lock(&a->lock);
    size_t n = a->count;
    if (n && max)
        memcpy(out, a->rows, MIN(n, max) * sizeof(*out));
    pthread_mutex_unlock(&a->lock);
    return n;
}
