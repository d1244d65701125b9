/* Which minutes of an org commits have written to: what somebody who keeps answers must forget (tsdb_read.h, tsdb_view_changes).
 *
 * Of an org that is watched: for each of the last CHANGES_MINUTES minutes that were written to, the newest commit that did; beside it the newest
 * commit that wrote cells there, and for each of the last days the newest commit that brought the first cell of a series (its counter is
 * there from midnight on). What falls out of these tables is one bound: up to this minute anything may have changed up to that commit.
 * Nothing is kept, and nothing costs anything, of orgs that nobody has asked for.
 * Owner: struct tsdb.
 * Thread: changes_begin .. changes_end: the committer; the others any.
 * Failure: changes_watch: ERR_NOMEM.  An org without memory for its series counts every cell as the first of its series.
 * Limits: CHANGES_MINUTES * 24 B and CHANGES_SERIES_MAX * 8 B per watched org.
 * Invariants: 1. A row of a commit above changes_since, at time t, is in a stretch that changes_get gives for any older seq. 2. What is noted
 *             of a commit is noted before the commit is visible.
 */
#ifndef TSDB_CHANGES_H
#define TSDB_CHANGES_H

#include "tsdb/tsdb_read.h"

#define CHANGES_MINUTES 2048u
#define CHANGES_DAYS 8u
#define CHANGES_SERIES_MAX (256u << 10) /* past it the set starts anew */

struct changes;
struct changes_org;

struct changes *changes_new(void); /* NULL: no memory */
void changes_free(struct changes *c);

/* From now on the org is watched; *out_since: commits above it are noted. */
enum err changes_watch(struct changes *c, uint32_t org, const _Atomic uint64_t *committed_seq,
                       uint64_t *out_since) MUST_CHECK;
/* A commit whose newest request is seq is being applied. */
void changes_begin(struct changes *c, uint64_t seq);
/* For one request of it: NULL when nobody watches the org; else locked until changes_end. */
struct changes_org *changes_of(struct changes *c, uint32_t org);
void changes_end(struct changes_org *o);
void changes_sample(struct changes_org *o, int64_t t_ms, uint64_t seq);
void changes_cell(struct changes_org *o, uint32_t minute, uint64_t seq);
/* The head has not had a cell of the series of this day before. */
void changes_cell_of_day(struct changes_org *o, struct hash128 series, uint32_t minute,
                         uint64_t seq);

/* What commits above seq wrote, as stretches of time, in no order; cells: what derived series show counts too. */
enum err changes_get(struct changes *c, uint32_t org, uint64_t seq, bool cells, struct arena *a,
                     struct tsdb_stretch **out, size_t *out_count) MUST_CHECK;

#endif
