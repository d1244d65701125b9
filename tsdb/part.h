/* A part: one class of data of one UTC day in one LMDB environment: sealed, immutable, checksummed blocks and their manifest.
 *
 * part.c knows nothing of what a block holds. It is written by flush (and compaction), read through snapshots.
 *     parts/<YYYYMMDD>/<class>/data.mdb
 *       db "blocks"    key {org u32 BE, kind u8, generation u64 BE, n u32 BE} -> bytes
 *       db "manifest"  the same key -> struct block_meta encoded
 *       db "sealed"    generation u64 BE -> 1
 * Owner: the store.  Thread: writes on the flush role; snapshots from any.
 * Failure: part_fetch: ERR_CORRUPT when the CRC over (key, meta, bytes) differs; ERR_IO.
 * Limits: block bytes PART_BLOCK_MAX, summary PART_SUMMARY_MAX.
 * Invariants: 1. A block without a manifest row is invisible and removed at open. 2. A generation's blocks appear all at once with
 *             sealed[generation]. 3. A snapshot never changes; its blocks stay readable until it is released.
 */
#ifndef TSDB_PART_H
#define TSDB_PART_H

#include "base/arena.h"
#include "base/hash.h"

#define PART_BLOCK_MAX \
    (256u              \
     << 20) /* blocks aim at 1 MiB; a single row may be as large as a request, and must not stop a flush */
#define PART_SUMMARY_MAX 8192u

enum part_class { PART_TEXT, PART_ROWS, PART_SAMPLES, PART_CELLS, PART_CLASS_COUNT };

enum block_kind {
    BLOCK_INDEX = 1, /* series of the blocks of one (org, generation): labels and identities */
    BLOCK_SAMPLES,
    BLOCK_HISTS,
    BLOCK_CELLS,
    BLOCK_SPANS, /* all columns but text */
    BLOCK_SPAN_TEXT, /* text columns of the BLOCK_SPANS with the same (org, generation, n) */
    BLOCK_LOGS,
    BLOCK_LOG_TEXT,
    BLOCK_TRACES, /* sorted keys of trace ids -> span blocks */
    BLOCK_EXEMPLARS,
    BLOCK_METADATA,
    BLOCK_GONE /* of the spans of an org in the part of rows: what compaction has taken away (gone.h) */
};

struct block_key {
    uint32_t org;
    uint8_t kind; /* enum block_kind */
    uint64_t generation;
    uint32_t n; /* 0.. within (org, kind, generation) */
};

struct block_meta {
    struct block_key key;
    uint32_t day; /* days since the Unix epoch */
    uint8_t class; /* enum part_class */
    uint64_t rows; /* spans, logs, samples, cells */
    int64_t time_min,
        time_max; /* ms of what the block is sorted by (spans: end; cells: minute * 60000) */
    uint32_t size; /* bytes stored */
    uint32_t crc; /* filled by part.c */
    struct bytes summary; /* opaque to part.c: zone map, filters; at most PART_SUMMARY_MAX */
};

/* Where sealed blocks go: head_flush and compaction call put for every block, ordered by (day, class). */
struct block_sink {
    void *ctx;
    enum err (*put)(void *ctx, const struct block_meta *meta, struct bytes block);
};

struct part_snapshot;
uint32_t part_snapshot_day(const struct part_snapshot *p);
enum part_class part_snapshot_class(const struct part_snapshot *p);
/* Of the part, never used again in this process: names its blocks in caches. */
uint64_t part_snapshot_id(const struct part_snapshot *p);
/* The manifest, sorted by key. */
const struct block_meta *part_snapshot_blocks(const struct part_snapshot *p, size_t *out_count);
/* The block's bytes, checked, copied into the arena. */
enum err part_fetch(const struct part_snapshot *p, const struct block_meta *m, struct arena *a,
                    struct bytes *out, struct err_msg *msg) MUST_CHECK;

#endif
