/* Blocks of series data: samples, histogram samples, delta cells. Drawn in docs/format/block-series.md.
 *
 *     block   := version u8, packing u8 (0 plain | 1 zstd: varint raw size, frame), body
 *     body    := varint times n, { varint count, varint size, times }*, varint chunks n, { varint id step, varint size, chunk }*
 *     summary := varint first id, varint last id
 * Ids number the series of an index block list (block_index.h); a chunk holds one series, at most BLOCK_CHUNK_ROWS rows of it.
 * Owner: caller.  Thread: any.
 * Failure: readers: ERR_CORRUPT for any bytes that are not a block, ERR_LIMIT past the arena. Writers: the buffer's.
 * Limits: BLOCK_CHUNK_ROWS rows a chunk; a block closes at BLOCK_SERIES_TARGET bytes.
 */
#ifndef TSDB_BLOCK_SERIES_H
#define TSDB_BLOCK_SERIES_H

#include "tsdb/head_core.h"

#define BLOCK_CHUNK_ROWS 4096u
#define BLOCK_SERIES_TARGET (48u << 10)
#define BLOCK_BODY_MAX PART_BLOCK_MAX
#define BLOCK_PIECE_BYTES (1u << 20) /* chunks of large histograms are cut at about this */

/* Every block begins alike. pack: zstd is tried and kept when it saves more than a sixteenth. */
void block_pack(struct bytes body, bool try_zstd, struct buf *out);
enum err block_unpack(struct bytes block, struct arena *a, struct bytes *out_body) MUST_CHECK;

struct block_times {
    uint32_t count;
    struct bytes bytes;
    uint64_t hash;
};

/* --- writing --- */
struct block_writer {
    struct buf times, chunks, scratch;
    struct block_times seen[64]; /* the newest time columns; bytes unused */
    uint32_t times_count, chunk_count, id_first, id_last;
    uint64_t rows;
    int64_t t_min, t_max;
};
void block_writer_init(struct block_writer *w);
void block_writer_done(struct block_writer *w);
bool block_writer_is_full(const struct block_writer *w);
/* Floats (hist NULL in all) or histograms (in all), n <= BLOCK_CHUNK_ROWS, sorted by time; ids never fall. */
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
    uint32_t id;
    struct bytes bytes;
};
struct block_series {
    struct block_times *times;
    uint32_t times_count;
    struct block_chunk *chunks; /* sorted by id */
    uint32_t chunk_count;
};
enum err block_series_open(struct bytes block, struct arena *a,
                           struct block_series *out) MUST_CHECK;
enum err block_series_range(struct bytes summary, uint32_t *out_first,
                            uint32_t *out_last) MUST_CHECK;
/* The first chunk of id, or chunk_count. */
uint32_t block_series_find(const struct block_series *b, uint32_t id);
enum err block_series_samples(const struct block_series *b, uint32_t chunk, struct arena *a,
                              struct head_point **out, uint32_t *out_count) MUST_CHECK;
enum err block_series_hists(const struct block_series *b, uint32_t chunk, struct arena *a,
                            struct head_point **out, uint32_t *out_count) MUST_CHECK;

struct block_cells {
    bool is_hist;
    uint32_t minute_first, minute_last, count;
    int64_t total; /* of all integer cells of the chunk: a window that covers it needs no more */
    struct bytes rest;
};
enum err block_series_cells(const struct block_series *b, uint32_t chunk,
                            struct block_cells *out) MUST_CHECK;
enum err block_cells_read(const struct block_cells *c, struct arena *a,
                          struct head_cell **out) MUST_CHECK;

#endif
