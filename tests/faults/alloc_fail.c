#include "tests/faults/alloc_fail.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <time.h>

/* What stands behind, without dlsym (which allocates): the sanitizer's or libc's. */
#ifdef __SANITIZE_ADDRESS__
#define REAL(name) __interceptor_##name
#else
#define REAL(name) __libc_##name
#endif
void *REAL(malloc)(size_t size);
void *REAL(calloc)(size_t count, size_t size);
void *REAL(realloc)(void *p, size_t size);
#ifdef __SANITIZE_ADDRESS__
int REAL(posix_memalign)(void **out, size_t align, size_t size);
#else
void *REAL(memalign)(size_t align, size_t size);
#endif

static _Atomic uint64_t fail_at, calls;
static _Atomic int64_t fail_for_ms, fails_until_ms;

static int64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void alloc_fail(uint64_t at, int64_t while_ms)
{
    atomic_store(&fail_at, 0);
    atomic_store(&fails_until_ms, 0);
    atomic_store(&fail_for_ms, while_ms);
    atomic_store(&calls, 0);
    atomic_store(&fail_at, at);
}

uint64_t alloc_calls(void)
{
    return atomic_load(&calls);
}

static bool fails(void)
{
    uint64_t at = atomic_load_explicit(&fail_at, memory_order_relaxed);
    if (at == 0)
        return false;
    uint64_t n = atomic_fetch_add(&calls, 1) + 1;
    if (n == at)
        atomic_store(&fails_until_ms, now_ms() + atomic_load(&fail_for_ms));
    bool yes = n == at || (n > at && now_ms() < atomic_load(&fails_until_ms));
    if (yes)
        errno = ENOMEM;
    return yes;
}

void *malloc(size_t size)
{
    return fails() ? NULL : REAL(malloc)(size);
}

void *calloc(size_t count, size_t size)
{
    return fails() ? NULL : REAL(calloc)(count, size);
}

void *realloc(void *p, size_t size)
{
    return fails() ? NULL : REAL(realloc)(p, size);
}

int posix_memalign(void **out, size_t align, size_t size)
{
    if (fails())
        return ENOMEM;
#ifdef __SANITIZE_ADDRESS__
    return REAL(posix_memalign)(out, align, size);
#else
    *out = REAL(memalign)(align, size);
    return *out ? 0 : ENOMEM;
#endif
}
