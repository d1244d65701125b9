/* Refs of the derived series, found by the labels of a row without asking the registry again and again.
 *
 * A group is one combination of labels (service, env, region, provider, model, operation, endpoint, variant, plane) with the refs of all
 * series that were needed for it so far. Rows of one service repeat their labels, so a row costs one lookup and not twenty.
 * Owner: one context (one thread at a time).  Thread: one.
 * Failure: a series refused by the registry (limit, bad label) is ref 0: its cells are dropped and counted.
 * Limits: LABEL_GROUPS_MAX groups, then all are forgotten and found again.
 * Invariant: a ref in a group is the registry's ref of exactly the labels named here.
 */
#ifndef COLLECTOR_STAGE_LABEL_GROUP_H
#define COLLECTOR_STAGE_LABEL_GROUP_H

#include "collector/genai/genai.h"
#include "collector/stage/stage.h"

#define LABEL_GROUPS_MAX 1024u
#define LABEL_VALUE_KEPT 256u /* longer label values are cut: they come from outside */
#define LABEL_FAULTS 5u

/* Series with a fixed place in a group. */
enum label_series {
    LABEL_REQUESTS, /* [outcome][fault] */
    LABEL_USER_REQUESTS = LABEL_REQUESTS + TSDB_OUTCOME_COUNT * LABEL_FAULTS,
    LABEL_DURATION = LABEL_USER_REQUESTS + TSDB_OUTCOME_COUNT * LABEL_FAULTS,
    LABEL_USER_DURATION,
    LABEL_TTFT,
    LABEL_TPOT,
    LABEL_OVERHEAD,
    LABEL_TOKENS, /* [estimated][type] */
    LABEL_COST = LABEL_TOKENS + 10, /* [enum genai_cost] */
    LABEL_UNPRICED = LABEL_COST + GENAI_COST_COUNT,
    LABEL_TRUNCATED, /* [enum genai_truncation - 1] */
    LABEL_TOKENS_LOST = LABEL_TRUNCATED + 3,
    LABEL_PROMPT_CACHE, /* miss, hit */
    LABEL_ROUTE = LABEL_PROMPT_CACHE + 2, /* mismatch, match */
    LABEL_STREAMS = LABEL_ROUTE + 2, /* [enum tokens_result_kind] */
    LABEL_STREAM_TOKENS = LABEL_STREAMS + 5, /* [channel] */
    LABEL_STREAM_STALLS = LABEL_STREAM_TOKENS + 3,
    LABEL_STREAM_TTFT,
    LABEL_STREAM_STALL_SECONDS,
    LABEL_STREAM_INTERVAL,
    LABEL_STREAM_RATE,
    LABEL_STREAM_LOGPROB,
    LABEL_EVENTS, /* [threshold][good, bad, missing] */
    LABEL_SERIES_COUNT = LABEL_EVENTS + STAGE_THRESHOLDS_MAX * 3
};

struct label_pair {
    const char *name;
    struct bytes value;
};

struct label_groups;
struct label_group {
    uint64_t hash;
    struct label_pair base[10];
    uint32_t base_count;
    uint32_t org;
    uint8_t *key;
    uint32_t key_size;
    struct tsdb_ref refs[LABEL_SERIES_COUNT];
    uint32_t evictions; /* of the registry, when refs were filled */
};

struct label_groups *label_groups_new(void);
void label_groups_free(struct label_groups *g);
void label_groups_clear(struct label_groups *g);
/* The group of a row; NULL when out of memory. Valid until the next call. for_request: the labels of the entry, not of a model call. */
struct label_group *label_group_of(struct label_groups *g, uint32_t org, const struct genai_row *r);
/* The ref of a series of this group: family + the group's labels + more; memo (may be NULL) remembers it. 0 = refused. */
struct tsdb_ref label_group_ref(struct label_groups *g, struct label_group *group,
                                struct tsdb_registry *series, const char *family,
                                const struct label_pair *more, size_t more_count,
                                struct tsdb_ref *memo);
/* A series with exactly these labels (and job). */
struct tsdb_ref label_groups_series(struct label_groups *g, struct tsdb_registry *series,
                                    uint32_t org, const char *family,
                                    const struct label_pair *pairs, size_t n);

#endif
