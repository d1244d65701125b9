#include "tsdb/ledger.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/stats.h"

#define ROWS_LOCKED 128u /* so many are booked before others may have the lock */

STATS_COUNTER(rows_booked, "telltale_ledger_booked_total", "",
              "Bookings (calls, agents' usage, bookings taken back) in the cost ledger.");
STATS_COUNTER(rows_lost, "telltale_ledger_lost_total", "",
              "Bookings that found no memory: they are in no sum of the ledger.");

static enum err read_sealed(struct ledger *l, struct err_msg *msg)
{
    struct lmdb_txn *t;
    struct bytes value;
    enum err e = lmdb_env_begin(l->env, false, &t, msg);
    if (e != ERR_OK)
        return e;
    e = lmdb_txn_get(t, 0, LEDGER_SEALED_KEY, &value);
    if (e == ERR_OK && ledger_row_is_sound(LEDGER_SEALED_KEY, value) && value.size == 12)
        l->sealed = bytes_u64le(value.data + 4);
    else if (e == ERR_OK)
        e = err_set(msg, ERR_CORRUPT, "ledger: the number of its newest generation is damaged");
    lmdb_txn_abort(t);
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

enum err ledger_open(struct lmdb_env **take_env, struct ledger **out, struct err_msg *msg)
{
    struct ledger *l = calloc(1, sizeof(*l));
    if (!l)
        return ERR_NOMEM;
    l->env = *take_env;
    enum err e = read_sealed(l, msg);
    if (e != ERR_OK) {
        free(l);
        return e;
    }
    l->day_keys_max = LEDGER_DAY_KEYS_MAX;
    l->table_max = LEDGER_TABLE_MAX;
    pthread_mutex_init(&l->lock, NULL);
    *take_env = NULL;
    *out = l;
    return ERR_OK;
}

static void generation_free(struct ledger_generation *g)
{
    ledger_table_done(&g->table);
    free(g);
}

void ledger_close(struct ledger *l)
{
    if (!l)
        return;
    for (uint32_t i = 0; i < l->generation_count; i++)
        generation_free(l->generations[i]);
    lmdb_env_close(l->env);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

uint64_t ledger_sealed(struct ledger *l)
{
    pthread_mutex_lock(&l->lock);
    uint64_t sealed = l->sealed;
    pthread_mutex_unlock(&l->lock);
    return sealed;
}

uint64_t ledger_bytes(struct ledger *l)
{
    uint64_t n = 0;
    pthread_mutex_lock(&l->lock);
    for (uint32_t i = 0; i < l->generation_count; i++)
        n += ledger_table_bytes(&l->generations[i]->table);
    pthread_mutex_unlock(&l->lock);
    return n;
}

static struct ledger_generation *find(struct ledger *l, uint64_t id)
{
    for (uint32_t i = 0; i < l->generation_count; i++)
        if (l->generations[i]->id == id)
            return l->generations[i];
    return NULL;
}

uint64_t ledger_generation_bytes(struct ledger *l, uint64_t generation)
{
    pthread_mutex_lock(&l->lock);
    struct ledger_generation *g = find(l, generation);
    uint64_t n = g ? ledger_table_bytes(&g->table) : 0;
    pthread_mutex_unlock(&l->lock);
    return n;
}

/* --- booking ---------------------------------------------------------------------------------------- */

static struct ledger_generation *generation_of(struct ledger *l, uint64_t id)
{
    struct ledger_generation *g = find(l, id);
    if (g || l->generation_count == LEDGER_TABLES_MAX)
        return g;
    if (!(g = calloc(1, sizeof(*g))))
        return NULL;
    g->id = id;
    g->table.entries_max = l->table_max;
    l->generations[l->generation_count++] = g;
    return g;
}

/* Under the lock. */
static void book(struct ledger *l, struct ledger_generation *g, uint32_t org,
                 const struct tsdb_book *books, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!g || !ledger_table_add(&g->table, org, &books[i])) {
            l->lost++;
            stats_add(&rows_lost, 1);
        }
    l->booked += n;
    if (l->has_follower && l->follower_org == org && n)
        l->follower.booked(l->follower.ctx, books, n);
}

static uint32_t book_spans(struct ledger *l, struct ledger_generation *g,
                           const struct tsdb_batch *b, uint32_t from, uint32_t to)
{
    struct tsdb_book books[16];
    uint8_t scratch[ARRAY_LEN(books)][TSDB_LEDGER_SCRATCH];
    uint32_t n = 0, all = 0;
    for (uint32_t i = from; i < to; i++) {
        if ((b->span_dropped && b->span_dropped[i]) ||
            !tsdb_ledger_of_span(b, i, scratch[n], &books[n]))
            continue;
        l->newest_ms = MAX(l->newest_ms, b->spans.end_ns[i] / 1000000);
        all++;
        if (++n == ARRAY_LEN(books)) {
            book(l, g, b->org, books, n);
            n = 0;
        }
    }
    book(l, g, b->org, books, n);
    return all;
}

void ledger_apply(struct ledger *l, const struct tsdb_batch *b, uint64_t generation)
{
    uint64_t all = 0;
    if (!b->books.count && !b->spans.row_class) /* nothing of it is GenAI */
        return;
    int64_t begin = clock_mono_ns();
    pthread_mutex_lock(&l->lock);
    if (generation <= l->sealed) {
        pthread_mutex_unlock(&l->lock);
        return;
    }
    struct ledger_generation *g = generation_of(l, generation);
    for (uint32_t i = 0; i < b->spans.count; i += ROWS_LOCKED) {
        if (i) {
            pthread_mutex_unlock(&l->lock);
            pthread_mutex_lock(&l->lock);
        }
        all += book_spans(l, g, b, i, MIN(i + ROWS_LOCKED, b->spans.count));
    }
    for (uint32_t i = 0; i < b->books.count; i++)
        l->newest_ms = MAX(l->newest_ms, (int64_t)(b->books.book[i].minute + 1) * 60000);
    book(l, g, b->org, b->books.book, b->books.count);
    l->book_ns += (uint64_t)(clock_mono_ns() - begin);
    pthread_mutex_unlock(&l->lock);
    stats_add(&rows_booked, (int64_t)(all + b->books.count));
}

/* --- moments ---------------------------------------------------------------------------------------- */

static enum err copy_entry(struct ledger_moment *m, const struct ledger_generation *g, uint32_t i)
{
    const struct ledger_entry *e = &g->table.entries[i];
    if (m->count == m->cap) {
        size_t cap = m->cap ? m->cap * 2 : 256;
        struct ledger_copy *more = realloc(m->copies, cap * sizeof(*more));
        if (!more)
            return ERR_NOMEM;
        m->copies = more;
        m->cap = cap;
    }
    m->copies[m->count++] = (struct ledger_copy){.generation = g->id,
                                                 .slot = e->slot,
                                                 .value = e->value,
                                                 .sums = e->sums,
                                                 .text = m->texts.size,
                                                 .dim = g->table.dims[i]};
    struct bytes text = ledger_table_text(&g->table, e);
    buf_u8(&m->texts, (uint8_t)text.size);
    buf_bytes_append(&m->texts, text);
    return buf_ok(&m->texts) ? ERR_OK : ERR_NOMEM;
}

static enum err copy_tables(struct ledger *l, uint32_t org, uint32_t dims, uint32_t from_slot,
                            struct ledger_moment *m)
{
    enum err e = ERR_OK;
    for (uint32_t k = 0; k < l->generation_count && e == ERR_OK; k++) {
        const struct ledger_generation *g = l->generations[k];
        m->error_nanousd += g->table.error_nanousd;
        for (uint32_t i = 0; i < g->table.count && e == ERR_OK; i++)
            if (dims >> g->table.dims[i] & 1 && g->table.entries[i].org == org &&
                g->table.entries[i].slot >= from_slot)
                e = copy_entry(m, g, i);
    }
    return e;
}

/* What the transaction has already goes. */
static enum err leave_out_sealed(struct ledger_moment *m)
{
    struct bytes value;
    enum err e = lmdb_txn_get(m->txn, 0, LEDGER_SEALED_KEY, &value);
    if (e == ERR_NOT_FOUND)
        return ERR_OK;
    if (e != ERR_OK)
        return e;
    if (value.size != 12)
        return ERR_CORRUPT;
    uint64_t sealed = bytes_u64le(value.data + 4);
    size_t n = 0;
    for (size_t i = 0; i < m->count; i++)
        if (m->copies[i].generation > sealed)
            m->copies[n++] = m->copies[i];
    m->count = n;
    return ERR_OK;
}

enum err ledger_moment_begin(struct ledger *l, uint32_t org, uint32_t dims, uint32_t from_slot,
                             const struct tsdb_ledger_follower *f, struct ledger_moment *out)
{
    struct ledger_moment m = {0};
    pthread_mutex_lock(&l->lock);
    enum err e = copy_tables(l, org, dims, from_slot, &m);
    if (f) { /* here, so that nothing is booked between the copy, the transaction and the first call */
        if (e == ERR_OK)
            e = lmdb_env_begin(l->env, false, &m.txn, NULL);
        if (e == ERR_OK) {
            l->follower = *f;
            l->follower_org = org;
            l->has_follower = true;
        }
    }
    pthread_mutex_unlock(&l->lock);
    if (e == ERR_OK && !f)
        e = lmdb_env_begin(l->env, false, &m.txn, NULL);
    if (e == ERR_OK)
        e = leave_out_sealed(&m);
    if (e == ERR_OK)
        *out = m;
    else
        ledger_moment_end(&m);
    return e;
}

void ledger_moment_end(struct ledger_moment *m)
{
    lmdb_txn_abort(m->txn);
    buf_done(&m->texts);
    free(m->copies);
    *m = (struct ledger_moment){0};
}
