/* Blocks of series data: samples, histogram samples, delta cells. Drawn in docs/format/block-series.md.
 *
 *     block   := version u8, packing u8 (0 plain | 1 zstd: varint raw size, frame), body
 *     body    := layout u8, time columns, groups, chunks
 *     summary := varint first id, varint last id
 * Ids number the series of an index block list (block_index.h); a chunk holds one series, at most BLOCK_CHUNK_ROWS rows of it. The buckets of
 * a histogram are a group: they are decoded together, once per opened block, and so is a time column.
 * Owner: caller; the arena given to block_series_open also takes what is decoded once.  Thread: one at a time per opened block.
 * Failure: readers: ERR_NEWER (tsdb_versions.h), ERR_CORRUPT for any other bytes that are not a block, ERR_LIMIT past the arena. Writers: the buffer's.
 * Limits: BLOCK_CHUNK_ROWS rows a chunk; a block closes at BLOCK_SERIES_TARGET bytes.
 */
#ifndef TSDB_BLOCK_SERIES_H
#define TSDB_BLOCK_SERIES_H

#include "tsdb/block_cells.h"
#include "tsdb/block_values.h"
#include "tsdb/tsdb_versions.h"
#include "tsdb/head_core.h"

#define BLOCK_CHUNK_ROWS BLOCK_VALUES_MAX
#define BLOCK_SERIES_TARGET (48u << 10)
#define BLOCK_SAMPLES_TARGET \
    (190u << 10) /* the time columns of many targets are shared by more series */
#define BLOCK_BODY_MAX PART_BLOCK_MAX
#define BLOCK_PIECE_BYTES (1u << 20) /* chunks of large histograms are cut at about this */

/* Every block begins alike. pack: zstd is tried and kept when it saves more than a sixteenth. */
void block_pack(struct bytes body, bool try_zstd, struct buf *out);
enum err block_unpack(struct bytes block, struct arena *a, struct bytes *out_body) MUST_CHECK;

struct block_times {
    uint32_t count;
    struct bytes bytes;
    uint64_t hash;
    int64_t *decoded; /* NULL until it is asked for */
};

/* --- writing --- */
struct block_entry { /* one chunk: its bytes, or the group that has it */
    uint32_t id, order, group; /* group 0: none */
    uint32_t offset, size;
};
struct block_writer {
    struct buf times, groups, chunks, scratch;
    struct block_times seen[256]; /* the newest time columns; bytes unused */
    struct block_entry *entries;
    struct block_values_work *work;
    uint32_t target, times_count, group_count, chunk_count, entries_cap;
    uint64_t rows;
    int64_t t_min, t_max;
};
/* target: the bytes at which a block is full. */
void block_writer_init(struct block_writer *w, uint32_t target);
void block_writer_done(struct block_writer *w);
bool block_writer_is_full(const struct block_writer *w);
/* Nothing was given to it; false as well where what was given found no memory: then block_writer_finish says so. */
bool block_writer_is_empty(const struct block_writer *w);
/* Chunks of one id come in the order of their times; ids in any order. n <= BLOCK_CHUNK_ROWS, sorted by time. start_ms NULL: none. */
void block_writer_floats(struct block_writer *w, uint32_t id, const int64_t *t_ms,
                         const int64_t *start_ms, const double *value, uint32_t n);
/* The buckets of one histogram, neighbours beside each other (block_group_fits); they share times and starts. ids are distinct. */
void block_writer_group(struct block_writer *w, const uint32_t *ids, const double *const *values,
                        uint32_t members, const int64_t *t_ms, const int64_t *start_ms, uint32_t n);
/* The same from points: floats (hist NULL in all) or histograms (in all). */
void block_writer_samples(struct block_writer *w, uint32_t id, const struct head_point *p,
                          uint32_t n);
void block_writer_hists(struct block_writer *w, uint32_t id, const struct head_point *p,
                        uint32_t n);
/* Integer cells, or histogram cells (is_hist), sorted by minute, distinct. */
void block_writer_cells(struct block_writer *w, uint32_t id, const struct head_cell *c, uint32_t n,
                        bool is_hist);
/* The finished block and summary are appended; the writer is empty again. */
void block_writer_finish(struct block_writer *w, bool try_zstd, struct buf *out,
                         struct buf *summary);

/* --- reading --- */
struct block_chunk {
    uint32_t id, group, member; /* group 0: none, bytes are its own */
    struct bytes bytes;
};
struct block_group {
    struct bytes bytes;
    uint32_t members, times;
    bool has_starts;
    int64_t *start_ms; /* NULL until it is asked for, as values */
    double *values; /* in the order of the ids */
};
struct block_series {
    struct arena *arena;
    struct block_values_work
        *work; /* NULL until something is decoded; who opens many may give all of them the same */
    struct block_times *times;
    uint32_t times_count;
    struct block_group *groups;
    uint32_t group_count;
    struct block_chunk *chunks; /* sorted by id */
    uint32_t chunk_count;
};
enum err block_series_open(struct bytes block, struct arena *a,
                           struct block_series *out) MUST_CHECK;
enum err block_series_range(struct bytes summary, uint32_t *out_first,
                            uint32_t *out_last) MUST_CHECK;
/* The first chunk of id, or chunk_count. */
uint32_t block_series_find(const struct block_series *b, uint32_t id);
enum err block_series_samples(struct block_series *b, uint32_t chunk, struct arena *a,
                              struct head_point **out, uint32_t *out_count) MUST_CHECK;
/* The same as columns, of a or of the block's arena: nothing is copied that has been decoded before. start_ms NULL: there are none. */
struct block_columns {
    const int64_t *t_ms, *start_ms;
    const double *value;
    uint32_t count;
};
enum err block_series_columns(struct block_series *b, uint32_t chunk, struct arena *a,
                              struct block_columns *out) MUST_CHECK;
enum err block_series_hists(struct block_series *b, uint32_t chunk, struct arena *a,
                            struct head_point **out, uint32_t *out_count) MUST_CHECK;

enum err block_series_cells(const struct block_series *b, uint32_t chunk,
                            struct block_cells *out) MUST_CHECK;

#endif
