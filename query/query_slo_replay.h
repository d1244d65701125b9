/* The minutes of one objective over a range, read once: a source for its tracker in front of another, for who walks through the past.
 *
 * Owner: caller; the objective outlives it.  Thread: one.
 * Failure: query_slo_replay_new: the inner source's errors; ERR_INVALID (an empty range, or longer than QUERY_SLO_REPLAY_MINUTES_MAX); ERR_NOMEM.
 * Limits: 8 bytes a minute for each matcher set of the objective.
 * Invariant: within the range it answers what the inner source answered when it was made; elsewhere, and by label, it asks the inner source.
 */
#ifndef QUERY_QUERY_SLO_REPLAY_H
#define QUERY_QUERY_SLO_REPLAY_H

#include "query/query_slo_source.h"

#define QUERY_SLO_REPLAY_MINUTES_MAX (820u * 1440u) /* the longest range after the longest period */

struct query_slo_replay;

/* Minutes from <= m < to. The inner source is used while the replay lives. */
enum err query_slo_replay_new(const struct query_slo_source *inner, const struct query_slo *s,
                              uint32_t from, uint32_t to, struct query_slo_replay **out) MUST_CHECK;
void query_slo_replay_free(struct query_slo_replay *r);
struct query_slo_source query_slo_replay_source(struct query_slo_replay *r);

#endif
