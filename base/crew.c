#include "base/crew.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/check.h"

struct crew {
    /* immutable after init */
    struct pool *pool;
    crew_fn fn;
    void *ctx;
    size_t count;
    /* atomic */
    _Atomic size_t next;
    /* guarded by lock */
    pthread_mutex_t lock;
    pthread_cond_t left;
    unsigned refs, joined, active; /* joined: workers that ever were, the caller included */
    bool is_over; /* who comes now comes too late */
};

/* With the lock, which is let go. */
static void release(struct crew *c)
{
    bool last = --c->refs == 0;
    pthread_mutex_unlock(&c->lock);
    if (!last)
        return;
    pthread_cond_destroy(&c->left);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

static void take_turns(struct crew *c, unsigned worker)
{
    size_t i;
    while ((i = atomic_fetch_add(&c->next, 1)) < c->count) {
        c->fn(c->ctx, worker, i);
        if (worker && pool_is_wanted(c->pool))
            return;
    }
}

static void help(void *ctx)
{
    struct crew *c = ctx;
    pthread_mutex_lock(&c->lock);
    if (!c->is_over) {
        unsigned worker = c->joined++;
        c->active++;
        pthread_mutex_unlock(&c->lock);
        take_turns(c, worker);
        pthread_mutex_lock(&c->lock);
        c->active--;
        pthread_cond_signal(&c->left);
    }
    release(c);
}

static struct crew *crew_new(struct pool *p, crew_fn fn, void *ctx, size_t count)
{
    struct crew *c = calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    *c = (struct crew){.pool = p, .fn = fn, .ctx = ctx, .count = count, .refs = 1, .joined = 1};
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->left, NULL);
    return c;
}

void crew_run(struct pool *p, crew_fn fn, void *ctx, size_t count)
{
    struct crew *c = p && count > 1 ? crew_new(p, fn, ctx, count) : NULL;
    if (!c) {
        for (size_t i = 0; i < count; i++)
            fn(ctx, 0, i);
        return;
    }
    for (size_t i = 1; i < MIN(MIN(count, pool_threads(p)), CREW_MAX); i++) {
        pthread_mutex_lock(&c->lock);
        c->refs++;
        pthread_mutex_unlock(&c->lock);
        if (pool_try_submit(p, help, c) != ERR_OK) {
            pthread_mutex_lock(&c->lock);
            c->refs--; /* the caller's own is left */
            pthread_mutex_unlock(&c->lock);
            break;
        }
    }
    take_turns(c, 0);
    pthread_mutex_lock(&c->lock);
    c->is_over = true;
    while (c->active)
        pthread_cond_wait(&c->left, &c->lock);
    release(c);
}
