/* Fixtures of GenAI telemetry: JSON cases of batches and the sums they must lead to (tests/fixtures/README.md has the format).
 * Owner: caller.  Thread: one.  Failure: a malformed fixture fails the running test.
 */
#ifndef HELPER_FIXTURE_H
#define HELPER_FIXTURE_H

#include "base/json_in.h"
#include "collector/stage/stage.h"

/* Time zero of all fixtures: 2026-11-20T10:00:00Z. */
#define FIXTURE_T0_NS INT64_C(1795168800000000000)

struct fixture_file {
    struct arena *arena;
    const struct json_node *cases; /* list, through next */
};
struct fixture_file fixture_open(const char *path_under_fixtures);
void fixture_close(struct fixture_file *f);

/* A case's stage and what its cells summed to. */
struct fixture_run {
    struct stage *stage;
    struct tsdb_registry *series;
    struct tsdb_settler settler;
    struct tsdb_batch *batches[64];
    size_t batch_count;
    uint64_t seq;
    double *sums, *counts; /* by ref: sum of adds or of histogram sums; histogram counts */
    size_t ref_cap;
};
void fixture_run_begin(struct fixture_run *r, const struct json_node *one, const char *mutate);
void fixture_run_end(struct fixture_run *r);
struct tsdb_batch *fixture_batch(
    const struct json_node *batch); /* undecided: as a decoder gives it */
/* Applies, settles and sums one batch (taken). */
void fixture_run_batch(struct fixture_run *r, struct tsdb_batch *take_b);
/* Runs all batches of a case and compares its expectations; prints differences. Returns how many there are. */
int fixture_run_case(const struct json_node *one, const char *mutate, bool quiet);
/* Sum over all series of `family{label="value",...}`; an empty value asks for its absence. "count family{..}": histogram observations. */
double fixture_sum(const struct fixture_run *r, struct bytes selector);

#endif
