#include "base/alive.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/clock.h"

struct place {
    char name[ALIVE_NAME_MAX]; /* guarded by lock */
    int64_t limit_ms; /* guarded by lock; 0 = free */
    _Atomic int64_t beat_ms; /* monotonic */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct place places[ALIVE_MAX];
static _Atomic int64_t test_limit_ms;

static int64_t now_ms(void)
{
    return clock_mono_ns() / 1000000;
}

int alive_begin(const char *name, int64_t limit_ms)
{
    int place = -1;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < ALIVE_MAX && place < 0; i++)
        if (places[i].limit_ms == 0)
            place = i;
    if (place >= 0) {
        snprintf(places[place].name, sizeof(places[place].name), "%s", name);
        places[place].limit_ms = limit_ms;
        atomic_store(&places[place].beat_ms, now_ms());
    }
    pthread_mutex_unlock(&lock);
    return place;
}

void alive_beat(int place)
{
    if (place >= 0)
        atomic_store(&places[place].beat_ms, now_ms());
}

void alive_end(int place)
{
    if (place < 0)
        return;
    pthread_mutex_lock(&lock);
    places[place].limit_ms = 0;
    pthread_mutex_unlock(&lock);
}

bool alive_check(struct buf *out)
{
    bool all = true;
    int64_t of_test = atomic_load(&test_limit_ms);
    pthread_mutex_lock(&lock);
    for (int i = 0; i < ALIVE_MAX; i++) {
        int64_t limit = places[i].limit_ms && of_test ? of_test : places[i].limit_ms;
        int64_t silent = now_ms() - atomic_load(&places[i].beat_ms);
        if (limit == 0 || silent <= limit)
            continue;
        all = false;
        buf_printf(out, "thread %s has not been heard of for %lld s\n", places[i].name,
                   (long long)(silent / 1000));
    }
    pthread_mutex_unlock(&lock);
    return all;
}

void alive_test_limit_ms(int64_t limit_ms)
{
    atomic_store(&test_limit_ms, limit_ms);
}
