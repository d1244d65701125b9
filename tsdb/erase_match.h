/* What is to be erased, as something that rows, series and exemplars can be held against.
 *
 * A target has no plain value: the value of a user or attribute is a keyed XXH3-128, its key goes with the target when it is done.
 * Owner: reference counted: the store's set, and every view that must not see the rows.  Thread: immutable once published, but for progress
 * (tsdb_erase.c).
 * Failure: erase_target_read: ERR_CORRUPT for any other bytes.
 * Limits: ERASE_ACTIVE_MAX targets at work at once; ERASE_NAMES_MAX names; ERASE_IDS_MAX series or traces.
 * Invariant: rows of generations above target->generation never match: they came after the wish.
 */
#ifndef TSDB_ERASE_MATCH_H
#define TSDB_ERASE_MATCH_H

#include <stdatomic.h>

#include "base/arena.h"
#include "base/buf.h"
#include "tsdb/tsdb_batch.h"
#include "tsdb/tsdb_erase.h"

#define ERASE_ACTIVE_MAX 32u /* a bit each in view_series.erase */
#define ERASE_NAMES_MAX 32u
#define ERASE_IDS_MAX (1u << 20)

/* Columns that erase_match_row looks at. */
#define ERASE_SPAN_COLUMNS                                                             \
    (1ull << TSDB_SPAN_trace_id | 1ull << TSDB_SPAN_attrs | 1ull << TSDB_SPAN_events | \
     1ull << TSDB_SPAN_links | 1ull << TSDB_SPAN_resource_attrs | 1ull << TSDB_SPAN_user_id)
#define ERASE_LOG_COLUMNS                                                         \
    (1ull << TSDB_LOG_trace_id | 1ull << TSDB_LOG_attrs | 1ull << TSDB_LOG_body | \
     1ull << TSDB_LOG_resource_attrs)

struct erase_target {
    /* immutable */
    _Atomic uint32_t refs;
    struct arena *arena; /* owns it */
    uint64_t id, generation;
    uint32_t org;
    enum tsdb_erase_kind kind;
    int64_t min_ms, max_ms; /* of series: what goes, by time */
    int64_t asked_ms;
    uint64_t secret; /* of the keyed hash */
    struct hash128 value;
    struct bytes *names; /* of attributes that the value may have */
    uint32_t name_count;
    struct tsdb_id16 *ids; /* traces, or identities of series; sorted */
    uint32_t id_count;
    uint64_t state_rows; /* rows of state that hold the value */
    uint32_t number; /* its bit in a view */
    /* owned by flush */
    int64_t retry_ns; /* after a failure: not before */
    uint64_t next; /* parts are visited in order of day and class: the next one's place */
    unsigned failed, unmerged; /* parts in this round; of those, not for their damage */
    /* atomic */
    _Atomic bool is_clean; /* every part has been rewritten; older readers are waited for */
    _Atomic bool may_merge; /* no part that may be merged holds anything of it */
};

/* The targets of all orgs at work, as of one moment. */
struct erase_set {
    _Atomic uint32_t refs;
    uint32_t count;
    struct erase_target *targets[ERASE_ACTIVE_MAX];
};

struct erase_target *erase_target_new(void);
void erase_target_release(struct erase_target *t);
/* Of a value, as it is compared. */
struct hash128 erase_hash(const struct erase_target *t, struct bytes value);
/* Everything but the ids. */
void erase_target_write(const struct erase_target *t, struct buf *out);
enum err erase_target_read(struct bytes row, struct erase_target *t) MUST_CHECK;
void erase_target_sort(struct erase_target *t);
bool erase_has_id(const struct erase_target *t, const void *id16);

bool erase_match_span(const struct erase_target *t, const struct tsdb_spans *s, uint32_t row);
bool erase_match_log(const struct erase_target *t, const struct tsdb_logs *l, uint32_t row);
/* Does it carry the user's (attribute's) value, or is it one of the series? */
bool erase_match_series(const struct erase_target *t, struct hash128 identity,
                        struct tsdb_labels l);
bool erase_match_exemplar(const struct erase_target *t, struct tsdb_labels series,
                          struct tsdb_labels labels, int64_t t_ms);
static inline bool erase_is_of_rows(const struct erase_target *t)
{
    return t->kind != TSDB_ERASE_SERIES;
}

#endif
