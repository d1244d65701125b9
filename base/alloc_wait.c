#include "base/alloc_wait.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/stats.h"

#define PAUSE_MS 10

STATS_COUNTER(waits, "telltale_memory_waits_total", "",
              "Times a step that could not be undone waited for memory.");

void alloc_wait_pause(unsigned tries)
{
    CHECK(tries <
          ALLOC_WAIT_MS / PAUSE_MS); /* out of memory: the next process replays the journal */
    stats_add(&waits, 1);
    clock_sleep_ms(PAUSE_MS);
}

void *alloc_wait_realloc(void *p, size_t size)
{
    void *got;
    for (unsigned tries = 0; !(got = realloc(p, size)); tries++)
        alloc_wait_pause(tries);
    return got;
}

void *alloc_wait_calloc(size_t count, size_t size)
{
    void *got;
    for (unsigned tries = 0; !(got = calloc(count, size)); tries++)
        alloc_wait_pause(tries);
    return got;
}
