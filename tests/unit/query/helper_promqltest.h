/* Runs files in the language of Prometheus' promqltest against the engine over a store in memory.
 *
 *     load 5m
 *       requests{job="a"} 0+10x10
 *     eval instant at 50m sum(requests)
 *       {} 100
 *
 * Commands: clear, load, load_with_nhcb, eval instant, eval range, expect ...; start timestamps as `series@st`.
 * Owner: caller.  Thread: one at a time.  Failure: a mistake in the file is a failed case.
 */
#ifndef HELPER_PROMQLTEST_H
#define HELPER_PROMQLTEST_H

#include "query/query.h"

struct promqltest_totals {
    unsigned passed, failed;
    unsigned unexpected; /* failed but not known, or known but passed */
};

/* known: lines "FILE:LINE reason"; verbose prints every failure. */
void promqltest_run_file(const char *path, const char *known, bool verbose,
                         struct promqltest_totals *totals);

/* The store in memory, for other tests too. */
struct memory_source;
struct memory_source *memory_source_new(void);
void memory_source_free(struct memory_source *m);
void memory_source_clear(struct memory_source *m);
struct query_source memory_source_of(struct memory_source *m);
/* A load command's text: "load 1m\n  a 1 2 3\n". Returns false with a reason. */
bool memory_source_load(struct memory_source *m, const char *text, const char **out_why);

#endif
