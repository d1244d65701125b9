/* Decoded index blocks, shared by all queries of the process.
 *
 * A segment is one index block as a dictionary of label pairs, the pairs of each series, and for each pair the series that carry it:
 * a matcher is asked once per distinct value, and a selector on a name looks at its own series only. About 100 B per series, and up to 32 more
 * for what was picked of it lately.
 * Owner: reference counted; the cache holds the most recently used ones, up to INDEX_CACHE_BYTES.  Thread: any; segments are immutable.
 * Failure: ERR_CORRUPT (not cached, nothing counted here), ERR_IO, ERR_NOMEM.
 * Limits: INDEX_CACHE_BYTES in the cache; what views hold beyond it lives as long as they do.
 */
#ifndef TSDB_INDEX_CACHE_H
#define TSDB_INDEX_CACHE_H

#include "tsdb/block_index.h"

#define INDEX_CACHE_BYTES (64u << 20)

struct index_pair {
    struct bytes enc,
        value; /* enc: both lengths, name and value as they stand in canonical labels */
};

struct index_segment {
    uint32_t first_id, count; /* series first_id.. in order of position */
    uint32_t name_count, pair_count;
    const struct bytes *names; /* sorted */
    const uint32_t *name_pairs; /* pairs of name i: name_pairs[i] .. name_pairs[i + 1] */
    const struct index_pair *pairs; /* sorted by name, value */
    const uint32_t *row_start, *row_pairs; /* pairs of position i, ascending */
    const uint32_t *post_start; /* positions with pair i, ascending */
    const uint16_t *post;
    const struct hash128 *identity;
    const uint16_t *slots; /* identity -> position + 1 */
    uint32_t slot_mask;
};

/* The segment of an index block, from the cache or decoded now; the caller releases it. */
enum err index_cache_get(const struct part_snapshot *p, const struct block_meta *m,
                         const struct index_segment **out) MUST_CHECK;
void index_segment_release(const struct index_segment *s); /* NULL is fine */

/* [*lo, *hi) of the pairs of a name; empty when no series has it. */
void index_segment_name(const struct index_segment *s, struct bytes name, uint32_t *lo,
                        uint32_t *hi);
/* The pair with this value in [lo, hi), or hi. */
uint32_t index_segment_value(const struct index_segment *s, uint32_t lo, uint32_t hi,
                             struct bytes value);
/* The pair of a position in [lo, hi), or UINT32_MAX. */
static inline uint32_t index_segment_pair(const struct index_segment *s, uint32_t position,
                                          uint32_t lo, uint32_t hi)
{
    for (uint32_t i = s->row_start[position]; i < s->row_start[position + 1]; i++)
        if (s->row_pairs[i] >= lo)
            return s->row_pairs[i] < hi ? s->row_pairs[i] : UINT32_MAX;
    return UINT32_MAX;
}
/* The position of an identity, or UINT32_MAX. */
uint32_t index_segment_find(const struct index_segment *s, struct hash128 identity);
/* The canonical labels of a position, in the arena; enc.data NULL past its limit. */
struct tsdb_labels index_segment_labels(const struct index_segment *s, uint32_t position,
                                        struct arena *a);

/* What matchers have picked of a segment: remembered with it, the latest INDEX_PICKS of up to INDEX_PICK_SERIES series. A dashboard asks the same
 * again and again, and of what is sealed the answer stays. key: of everything that the matchers say. */
#define INDEX_PICKS 16u
#define INDEX_PICK_SERIES 4096u
bool index_segment_recall(const struct index_segment *s, struct hash128 key, uint32_t *at,
                          uint32_t *out_count);
void index_segment_remember(const struct index_segment *s, struct hash128 key, const uint32_t *at,
                            uint32_t count);

/* Tests: the bound, and how much is cached now. */
void index_cache_limit(size_t bytes);
size_t index_cache_bytes(void);

#endif
