#include "base/fault_point.h"

#ifdef TELLTALE_FAULT_POINTS
#include <stdatomic.h>
#include <stddef.h>

static void (*_Atomic hooked)(const char *name);

void fault_point_hook(void (*hook)(const char *name))
{
    atomic_store(&hooked, hook);
}

void fault_point_hit(const char *name)
{
    void (*hook)(const char *) = atomic_load_explicit(&hooked, memory_order_relaxed);
    if (hook)
        hook(name);
}
#else
extern int fault_point_is_empty; /* a file of C has at least one declaration */
#endif
