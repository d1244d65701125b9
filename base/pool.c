#include "base/pool.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct job {
    pool_job run;
    void *ctx;
};

struct pool {
    /* immutable after init */
    unsigned threads, queue_max;
    char name[12];
    /* guarded by lock */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct job *queue; /* ring of queue_max */
    unsigned head, waiting, idle; /* idle: threads that wait */
    bool stopping;
    pthread_t ids[];
};

static void *pool_thread(void *arg)
{
    struct pool *p = arg;
    pthread_mutex_lock(&p->lock);
    for (;;) {
        p->idle++;
        while (!p->waiting && !p->stopping)
            pthread_cond_wait(&p->wake, &p->lock);
        p->idle--;
        if (!p->waiting)
            break;
        struct job job = p->queue[p->head];
        p->head = (p->head + 1) % p->queue_max;
        p->waiting--;
        pthread_mutex_unlock(&p->lock);
        job.run(job.ctx);
        pthread_mutex_lock(&p->lock);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

static void pool_join(struct pool *p, unsigned started)
{
    pthread_mutex_lock(&p->lock);
    p->stopping = true;
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
    for (unsigned i = 0; i < started; i++)
        pthread_join(p->ids[i], NULL);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->lock);
    free(p->queue);
    free(p);
}

struct pool *pool_new(const char *name, unsigned threads, unsigned queue_max)
{
    threads = threads ? threads : 1;
    queue_max = queue_max ? queue_max : 1;
    struct pool *p = calloc(1, sizeof(*p) + threads * sizeof(pthread_t));
    if (!p)
        return NULL;
    p->threads = threads;
    p->queue_max = queue_max;
    snprintf(p->name, sizeof(p->name), "%s", name);
    p->queue = calloc(queue_max, sizeof(*p->queue));
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    for (unsigned i = 0; p->queue && i < threads; i++) {
        if (pthread_create(&p->ids[i], NULL, pool_thread, p) != 0) {
            pool_join(p, i);
            return NULL;
        }
        char label[16];
        snprintf(label, sizeof(label), "%.10s/%u", p->name, i % 1000);
        pthread_setname_np(p->ids[i], label);
    }
    if (!p->queue) {
        pool_join(p, 0);
        return NULL;
    }
    return p;
}

static enum err submit(struct pool *p, pool_job job, void *ctx, bool needs_idle)
{
    enum err e = ERR_UNAVAILABLE;
    pthread_mutex_lock(&p->lock);
    if (p->waiting < p->queue_max && !p->stopping && (!needs_idle || p->waiting < p->idle)) {
        p->queue[(p->head + p->waiting++) % p->queue_max] = (struct job){job, ctx};
        pthread_cond_signal(&p->wake);
        e = ERR_OK;
    }
    pthread_mutex_unlock(&p->lock);
    return e;
}

enum err pool_submit(struct pool *p, pool_job job, void *ctx)
{
    return submit(p, job, ctx, false);
}

enum err pool_try_submit(struct pool *p, pool_job job, void *ctx)
{
    return submit(p, job, ctx, true);
}

bool pool_is_wanted(struct pool *p)
{
    pthread_mutex_lock(&p->lock);
    bool wanted = p->waiting > p->idle;
    pthread_mutex_unlock(&p->lock);
    return wanted;
}

unsigned pool_threads(const struct pool *p)
{
    return p->threads;
}

void pool_free(struct pool *p)
{
    if (p)
        pool_join(p, p->threads);
}
