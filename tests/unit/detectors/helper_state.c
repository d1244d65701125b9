#include "detectors/helper_state.h"
#include "base/check.h"
#include <pthread.h>
#include <stdlib.h>

struct entry {
    char table[33];
    uint8_t key[400];
    size_t key_size;
    uint8_t *value;
    size_t value_size;
    bool is_delete;
};

struct entries {
    struct entry *list;
    size_t count, cap;
};

struct helper_state {
    pthread_mutex_t
        lock; /* held from begin to commit or abort: write transactions are serialised */
    pthread_mutex_t data;
    struct entries live, open;
    unsigned fail_at, calls, commits;
    bool has_failed;
};

struct helper_state *helper_state_new(void)
{
    struct helper_state *s = calloc(1, sizeof(*s));
    CHECK(s);
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->data, NULL);
    return s;
}

static void entries_clear(struct entries *e)
{
    for (size_t i = 0; i < e->count; i++)
        free(e->list[i].value);
    free(e->list);
    *e = (struct entries){0};
}

void helper_state_free(struct helper_state *s)
{
    entries_clear(&s->live);
    entries_clear(&s->open);
    pthread_mutex_destroy(&s->lock);
    pthread_mutex_destroy(&s->data);
    free(s);
}

static bool fails(struct helper_state *s)
{
    pthread_mutex_lock(&s->data);
    bool now = s->fail_at && ++s->calls == s->fail_at;
    s->has_failed = s->has_failed || now;
    pthread_mutex_unlock(&s->data);
    return now;
}

static struct entry *entry_add(struct entries *e, const char *table, struct bytes key,
                               struct bytes value, bool is_delete)
{
    if (e->count == e->cap) {
        e->cap = e->cap ? e->cap * 2 : 16;
        e->list = realloc(e->list, e->cap * sizeof(*e->list));
        CHECK(e->list);
    }
    struct entry *x = &e->list[e->count++];
    *x = (struct entry){.key_size = key.size, .value_size = value.size, .is_delete = is_delete};
    CHECK(strlen(table) < sizeof(x->table) && key.size <= sizeof(x->key));
    strcpy(x->table, table);
    memcpy(x->key, key.data, key.size);
    x->value = malloc(value.size + 1);
    CHECK(x->value);
    if (value.size)
        memcpy(x->value, value.data, value.size);
    return x;
}

static enum err begin(void *ctx, void **out_txn)
{
    struct helper_state *s = ctx;
    if (fails(s))
        return ERR_IO;
    pthread_mutex_lock(&s->lock);
    *out_txn = s;
    return ERR_OK;
}

static enum err put(void *ctx, void *txn, const char *table, struct bytes key, struct bytes value)
{
    struct helper_state *s = ctx;
    if (fails(s))
        return ERR_IO;
    entry_add(&s->open, table, key, value, false);
    return ERR_OK;
}

static enum err del(void *ctx, void *txn, const char *table, struct bytes key)
{
    struct helper_state *s = ctx;
    if (fails(s))
        return ERR_IO;
    entry_add(&s->open, table, key, BYTES_NONE, true);
    return ERR_OK;
}

static void apply(struct entries *live, const struct entry *x)
{
    for (size_t i = 0; i < live->count; i++) {
        if (strcmp(live->list[i].table, x->table) != 0 ||
            !bytes_equal(bytes_of(live->list[i].key, live->list[i].key_size),
                         bytes_of(x->key, x->key_size)))
            continue;
        free(live->list[i].value);
        live->list[i] = live->list[--live->count];
        break;
    }
    if (!x->is_delete)
        entry_add(live, x->table, bytes_of(x->key, x->key_size), bytes_of(x->value, x->value_size),
                  false);
}

static enum err commit(void *ctx, void *txn)
{
    struct helper_state *s = ctx;
    bool failed = fails(s);
    pthread_mutex_lock(&s->data);
    for (size_t i = 0; i < s->open.count && !failed; i++)
        apply(&s->live, &s->open.list[i]);
    s->commits += !failed;
    entries_clear(&s->open);
    pthread_mutex_unlock(&s->data);
    pthread_mutex_unlock(&s->lock);
    return failed ? ERR_IO : ERR_OK;
}

static void abort_txn(void *ctx, void *txn)
{
    struct helper_state *s = ctx;
    entries_clear(&s->open);
    pthread_mutex_unlock(&s->lock);
}

static int row_order(const void *a, const void *b)
{
    const struct tsdb_state_row *x = a, *y = b;
    return bytes_compare(x->key, y->key);
}

static enum err scan(void *ctx, const char *table, struct bytes prefix, size_t max, struct arena *a,
                     struct tsdb_state_row **out, size_t *out_count)
{
    struct helper_state *s = ctx;
    pthread_mutex_lock(&s->data);
    struct tsdb_state_row *rows = ARENA_ARRAY(a, struct tsdb_state_row, s->live.count + 1);
    size_t n = 0;
    CHECK(rows);
    for (size_t i = 0; i < s->live.count && n < max; i++) {
        const struct entry *x = &s->live.list[i];
        struct bytes key = bytes_of(x->key, x->key_size);
        if (strcmp(x->table, table) == 0 && bytes_has_prefix(key, prefix))
            rows[n++] = (struct tsdb_state_row){arena_copy(a, key),
                                                arena_copy(a, bytes_of(x->value, x->value_size))};
    }
    pthread_mutex_unlock(&s->data);
    qsort(rows, n, sizeof(*rows), row_order);
    *out = rows;
    *out_count = n;
    return ERR_OK;
}

struct detectors_store helper_state_store(struct helper_state *s)
{
    return (struct detectors_store){.ctx = s,
                                    .begin = begin,
                                    .put = put,
                                    .del = del,
                                    .commit = commit,
                                    .abort = abort_txn,
                                    .scan = scan};
}

void helper_state_fail_at(struct helper_state *s, unsigned n)
{
    pthread_mutex_lock(&s->data);
    s->fail_at = n;
    s->calls = 0;
    s->has_failed = false;
    pthread_mutex_unlock(&s->data);
}

bool helper_state_has_failed(const struct helper_state *s)
{
    return s->has_failed;
}

size_t helper_state_count(struct helper_state *s, const char *table)
{
    size_t n = 0;
    pthread_mutex_lock(&s->data);
    for (size_t i = 0; i < s->live.count; i++)
        n += strcmp(s->live.list[i].table, table) == 0;
    pthread_mutex_unlock(&s->data);
    return n;
}

unsigned helper_state_commits(struct helper_state *s)
{
    return s->commits;
}
