#include "gpu/train_team.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/pool.h"

struct train_team {
    unsigned threads;
    struct pool *pool; /* NULL: one thread, the caller's */
    /* of the run under way */
    void (*do_part)(void *ctx, unsigned part);
    void *ctx;
    _Atomic unsigned next;
    pthread_mutex_t lock;
    pthread_cond_t done;
    unsigned running; /* guarded by lock */
};

struct train_team *train_team_new(unsigned threads)
{
    struct train_team *t = calloc(1, sizeof(*t));
    if (!t)
        return NULL;
    t->threads = threads;
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->done, NULL);
    if (threads > 1 && !(t->pool = pool_new("train", threads - 1, threads))) {
        train_team_free(t);
        return NULL;
    }
    return t;
}

void train_team_free(struct train_team *t)
{
    if (!t)
        return;
    if (t->pool)
        pool_free(t->pool);
    pthread_mutex_destroy(&t->lock);
    pthread_cond_destroy(&t->done);
    free(t);
}

unsigned train_team_threads(const struct train_team *t)
{
    return t->threads;
}

static void member(void *ctx)
{
    struct train_team *t = ctx;
    t->do_part(t->ctx, atomic_fetch_add(&t->next, 1));
    pthread_mutex_lock(&t->lock);
    if (--t->running == 0)
        pthread_cond_signal(&t->done);
    pthread_mutex_unlock(&t->lock);
}

void train_team_run(struct train_team *t, void (*do_part)(void *ctx, unsigned part), void *ctx)
{
    t->do_part = do_part;
    t->ctx = ctx;
    atomic_store(&t->next, 0);
    t->running = t->threads;
    for (unsigned i = 1; i < t->threads; i++) {
        enum err full = pool_submit(t->pool, member, t);
        CHECK(full == ERR_OK); /* the queue holds a job for each thread, and they are idle */
    }
    member(t);
    pthread_mutex_lock(&t->lock);
    while (t->running)
        pthread_cond_wait(&t->done, &t->lock);
    pthread_mutex_unlock(&t->lock);
}
