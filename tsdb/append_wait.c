/* An append for those who may block. */
#include <pthread.h>

#include "tsdb/tsdb.h"

struct landing {
    pthread_mutex_t lock;
    pthread_cond_t landed;
    bool is_done;
    enum err e;
    struct tsdb_result r;
};

static void on_landed(void *ctx, enum err e, const struct tsdb_result *r)
{
    struct landing *l = ctx;
    pthread_mutex_lock(&l->lock);
    l->e = e;
    l->r = *r;
    l->is_done = true;
    pthread_cond_signal(&l->landed);
    pthread_mutex_unlock(&l->lock);
}

enum err tsdb_append_wait(struct tsdb *db, struct tsdb_batch *take_batch, struct tsdb_result *out)
{
    struct landing l = {.lock = PTHREAD_MUTEX_INITIALIZER, .landed = PTHREAD_COND_INITIALIZER};
    enum err e = tsdb_append(db, &take_batch, on_landed, &l);
    if (e != ERR_OK) {
        tsdb_batch_free(take_batch);
        return e;
    }
    pthread_mutex_lock(&l.lock);
    while (!l.is_done) /* the store answers everything that it has taken */
        pthread_cond_wait(&l.landed, &l.lock);
    pthread_mutex_unlock(&l.lock);
    *out = l.r;
    return l.e;
}
