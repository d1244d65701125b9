/* Inside of a view, shared by view*.c: its sources, its table of series, its open blocks.
 *
 * A source is a head (up to a limit of batches) or one index block of a part. Sources are taken in when a call first needs their time range.
 * Series enter the view's table when they first match; there those of all sources meet by identity, and every source taken in is
 * known to each of them.
 * Owner: struct tsdb_view.  Thread: one at a time per view.
 * Failure: a corrupt block is counted and left out; the rest of the answer stands.
 * Limits: the age (60 s); VIEW_CACHE_BYTES of open blocks (dropped between series).
 */
#ifndef TSDB_VIEW_CORE_H
#define TSDB_VIEW_CORE_H

#include "tsdb/block_index.h"
#include "tsdb/hist_sum.h"
#include "tsdb/index_cache.h"
#include "tsdb/pin.h"
#include "tsdb/tsdb_read.h"

#define VIEW_CACHE_BYTES (96u << 20)
#define VIEW_NONE UINT32_MAX

struct view_head {
    const struct head *head;
    uint32_t limit; /* batches that the view sees */
};

/* Which ids lie in which blocks of one kind of a (part, generation): found without looking at every block. */
struct view_spans {
    const struct block_meta *blocks;
    const struct view_span {
        uint32_t first, last; /* first > last: unreadable, never met */
    } * ids;
    uint32_t count;
    bool is_ascending; /* every block begins where the one before ends, or behind */
};

/* A head: head set, id = position = index into its series. An index block: id = index->first_id + position. */
struct view_source {
    const struct view_head *head;
    const struct part_snapshot *part;
    const struct index_segment *index;
    uint64_t generation;
    struct view_spans samples, hists, cells; /* of an index block; by the part's class */
    uint32_t count; /* positions */
    uint32_t *series; /* position -> index + 1 into the table; 0: not matched yet */
};

struct view_ref {
    uint32_t source, id, next;
};

struct view_series {
    struct tsdb_labels labels;
    struct hash128 identity;
    enum tsdb_series_kind kind;
    uint32_t first_ref, last_ref;
    uint32_t erase; /* bits of the targets that take it away (view_erase.h) */
};

struct view_open_block {
    const struct block_meta *meta;
    struct block_series series;
    bool is_corrupt;
};

struct tsdb_view {
    const struct tsdb_view *parent; /* of a fork, which borrows all but what it opens and counts */
    struct tsdb *db;
    uint32_t org;
    struct tsdb_read_limits limits;
    struct pin pin;
    struct erase_set *erase; /* NULL: nothing is being erased */
    uint64_t erase_changes;
    bool is_watched; /* what has changed since can be told */
    int64_t opened_mono_ns, now_ms, age_max_ns;
    uint64_t samples_read, blocks_opened;
    int64_t touched_min_ms, touched_max_ms; /* of what has been asked for; min above max: nothing */
    struct view_head *heads;
    bool heads_loaded;
    bool *part_loaded;
    struct view_source *sources;
    uint32_t source_count, source_cap;
    struct view_ref *refs;
    uint32_t ref_count, ref_cap;
    struct view_series *series;
    uint32_t series_count, series_cap;
    uint32_t *slots, slot_cap; /* identity -> index + 1 */
    struct arena *arena; /* labels of parts, positions */
    struct arena *cache; /* open blocks */
    struct block_values_work *work; /* of all open blocks; NULL until there is one */
    struct view_open_block *open;
    uint32_t open_count, open_cap; /* open_cap: a power of two, a hash table by meta */
};

/* Cancelled, late or too old? Call it once per block or series. */
enum err view_check(const struct tsdb_view *v) MUST_CHECK;
/* What is damaged in [min, max] concerns the answer (tsdb_view_damage). */
void view_touch(struct tsdb_view *v, int64_t min_ms, int64_t max_ms);
/* Takes in every source that may have something in [min, max]. */
enum err view_load(struct tsdb_view *v, int64_t min_ms, int64_t max_ms) MUST_CHECK;
/* The series at a position of a source enters the table (once). Of a head: under its read lock. */
enum err view_add(struct tsdb_view *v, uint32_t source, uint32_t position) MUST_CHECK;
/* The manifest rows of (org of the view, kind, generation) in a part; generation VIEW_ANY_GENERATION = all. */
#define VIEW_ANY_GENERATION UINT64_MAX
const struct block_meta *view_blocks(const struct tsdb_view *v, const struct part_snapshot *p,
                                     enum block_kind kind, uint64_t generation, size_t *out_count);
/* The first block at or behind `from` that may have the id; count when there is none. */
uint32_t view_span_next(const struct view_spans *s, uint32_t id, uint32_t from);
/* ERR_CORRUPT has been counted when it comes back: go on without the block. */
enum err view_fetch(const struct part_snapshot *p, const struct block_meta *m, struct arena *a,
                    struct bytes *out) MUST_CHECK;
void view_count_corrupt(void);
/* The block opened and kept until view_trim; *out NULL when it is corrupt. */
enum err view_open_series(struct tsdb_view *v, const struct part_snapshot *p,
                          const struct block_meta *m, struct block_series **out) MUST_CHECK;
void view_trim(struct tsdb_view *v);
void view_drop(struct tsdb_view *v); /* closes all that view_open_series has opened */
bool view_part_overlaps(const struct part_snapshot *p, int64_t min_ms, int64_t max_ms);

/* Indices of the series that match and may have something in [min, max]. */
enum err view_match(struct tsdb_view *v, const struct tsdb_matcher *m, size_t n, int64_t min_ms,
                    int64_t max_ms, struct arena *a, uint32_t **out,
                    uint32_t *out_count) MUST_CHECK;
bool view_labels_match(const struct tsdb_matcher *m, size_t n, struct tsdb_labels l);

/* view_pick.c: matchers against one source. */
struct view_picker;
struct view_picker *view_picker_new(const struct tsdb_matcher *m, size_t n); /* NULL: no memory */
void view_picker_free(struct view_picker *p);
bool view_picker_matches(struct view_picker *p, struct tsdb_labels l);
/* The positions of src that match, ascending; valid until the next call. Of a head: under its read lock. */
enum err view_pick(struct view_picker *p, const struct tsdb_view *v, const struct view_source *src,
                   const uint32_t **out, uint32_t *out_count) MUST_CHECK;

/* Every cell of the series with from <= minute < to, in no order, not summed. whole: a block's total may come as one call (for sums). */
typedef enum err (*view_cell_fn)(void *ctx, uint32_t minute, int64_t add,
                                 const struct tsdb_hist *hist);
enum err view_cells_visit(struct tsdb_view *v, uint32_t series, uint32_t from, uint32_t to,
                          bool whole, struct arena *a, view_cell_fn fn, void *ctx) MUST_CHECK;
/* The synthetic counter of a cell series. */
enum err view_counter(struct tsdb_view *v, uint32_t series, int64_t min_ms, int64_t max_ms,
                      struct arena *a, struct head_point **out, uint32_t *out_count) MUST_CHECK;

#endif
