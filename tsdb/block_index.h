/* Small blocks: the series of a generation (index), where traces lie, exemplars, metadata.
 *
 *     index     := packed{ varint first id, varint n, { varint bytes shared with the one before, varint length, rest of the labels }* }
 *     traces    := packed{ varint n, u64 big-endian key * n (sorted), { varint block n, varint row, varint rows - 1 }* };  summary := u64 first, u64 last,
 *                  bloom filter of the keys (BLOCK_BLOOM_BYTES)
 *     exemplars := packed{ varint n, { labels of the series, zigzag t, f64 value, labels }* };  metadata := packed{ varint n, 4 strings each }
 * Owner: caller.  Thread: any.
 * Failure: readers: ERR_CORRUPT for any other bytes, ERR_LIMIT past the arena or a limit.
 */
#ifndef TSDB_BLOCK_INDEX_H
#define TSDB_BLOCK_INDEX_H

#include "tsdb/block_series.h"

#define BLOCK_INDEX_SERIES_MAX 16384u
#define BLOCK_INDEX_TARGET (1u << 20)
#define BLOCK_TRACES_MAX 8192u
#define BLOCK_TRACE_ROWS_MAX 65536u /* of one entry: no block holds more */
#define BLOCK_TRACE_FOUND_MAX (1u << 24) /* rows of one trace that one index names */
#define BLOCK_BLOOM_BYTES 4096u

struct block_index_series {
    struct tsdb_labels labels;
    struct hash128 identity;
};
/* Encodes series from..; returns how many fitted. */
uint32_t block_index_write(const struct tsdb_labels *labels, uint32_t from, uint32_t n,
                           struct buf *out);
enum err block_index_read(struct bytes block, uint32_t org, struct arena *a, uint32_t *out_first_id,
                          struct block_index_series **out, uint32_t *out_count) MUST_CHECK;

/* A hash of the whole id: tracers fill the first half with zeros or with the second of the day. */
uint64_t block_trace_key(struct tsdb_id16 id);
struct block_trace {
    uint64_t key; /* block_trace_key of the trace's id */
    uint32_t n, row;
    uint32_t more; /* rows that follow row in the block and are of the trace too */
};
/* The order in which they are written. */
void block_traces_sort(struct block_trace *t, size_t n);
void block_traces_write(const struct block_trace *t, uint32_t n, struct buf *out,
                        struct buf *summary);
bool block_traces_may_have(struct bytes summary, uint64_t key);
/* One entry for each row, more = 0. */
enum err block_traces_find(struct bytes block, uint64_t key, struct arena *a,
                           struct block_trace **out, uint32_t *out_count) MUST_CHECK;
/* Every entry, as written. */
enum err block_traces_read(struct bytes block, struct arena *a, struct block_trace **out,
                           uint32_t *out_count) MUST_CHECK;

struct block_exemplar {
    struct tsdb_labels series, labels;
    int64_t t_ms;
    double value;
};
void block_exemplars_write(const struct block_exemplar *e, uint32_t n, struct buf *out);
enum err block_exemplars_read(struct bytes block, struct arena *a, struct block_exemplar **out,
                              uint32_t *out_count) MUST_CHECK;
void block_metadata_write(const struct tsdb_metadata_row *m, uint32_t n, struct buf *out);
enum err block_metadata_read(struct bytes block, struct arena *a, struct tsdb_metadata_row **out,
                             uint32_t *out_count) MUST_CHECK;

#endif
