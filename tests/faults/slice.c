#include "tests/faults/slice.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/check.h"
#include "base/clock.h"

#define SAY_EVERY_NS INT64_C(60000000000)
#define ENDED UINT64_MAX

struct slice {
    const char *name, *unit;
    uint64_t from;
    unsigned jobs;
    int64_t end_ns; /* 0 = none */
    _Atomic int64_t said_ns;
    _Atomic uint64_t at[SLICE_JOBS_MAX];
};

struct slice *slice_new(const char *name, const char *unit, uint64_t first, unsigned jobs)
{
    const char *from = getenv("TELLTALE_FROM"), *minutes = getenv("TELLTALE_MINUTES");
    struct slice *s =
        mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(s != MAP_FAILED && jobs <= SLICE_JOBS_MAX);
    int64_t now = clock_mono_ns();
    s->name = name;
    s->unit = unit;
    s->jobs = jobs;
    s->from = from ? strtoull(from, NULL, 10) : first;
    s->end_ns = minutes ? now + (int64_t)(strtod(minutes, NULL) * 60e9) : 0;
    atomic_store(&s->said_ns, now);
    for (unsigned i = 0; i < jobs; i++)
        atomic_store(&s->at[i], s->from);
    return s;
}

uint64_t slice_from(const struct slice *s)
{
    return s->from;
}

static uint64_t furthest_back(const struct slice *s)
{
    uint64_t at = ENDED;
    for (unsigned i = 0; i < s->jobs; i++)
        at = MIN(at, atomic_load(&s->at[i]));
    return at;
}

bool slice_goes_on(struct slice *s, unsigned job, uint64_t n)
{
    int64_t now = clock_mono_ns(), said = atomic_load(&s->said_ns);
    atomic_store(&s->at[job], n);
    if (now - said >= SAY_EVERY_NS && atomic_compare_exchange_strong(&s->said_ns, &said, now))
        fprintf(stderr, "%s: at %s %llu\n", s->name, s->unit, (unsigned long long)furthest_back(s));
    return s->end_ns == 0 || now < s->end_ns;
}

void slice_ended(struct slice *s, unsigned job)
{
    atomic_store(&s->at[job], ENDED);
}

void slice_done(struct slice *s)
{
    uint64_t at = furthest_back(s);
    if (at != ENDED)
        printf("%s: not at its end: TELLTALE_FROM=%llu goes on with %s %llu\n", s->name,
               (unsigned long long)at, s->unit, (unsigned long long)at);
    munmap(s, sizeof(*s));
}
