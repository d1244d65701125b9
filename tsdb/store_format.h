/* What the store's own files and records look like, apart from rows: VERSION, checkpoints, commits, manifest rows. docs/format draws them.
 * Every decoder takes any bytes: it answers false or ERR_CORRUPT, and never reads past them.
 *
 * Owner: caller; decoded slices point into the input unless an arena is given.  Thread: any.
 * Failure: ERR_CORRUPT, ERR_NEWER (tsdb_versions.h); writers: the buffer's sticky failure.
 */
#ifndef TSDB_STORE_FORMAT_H
#define TSDB_STORE_FORMAT_H

#include "base/arena.h"
#include "base/buf.h"
#include "tsdb/account.h"
#include "tsdb/dedup.h"
#include "tsdb/offsets.h"
#include "tsdb/tsdb_versions.h"
#include "tsdb/part.h"

/* VERSION: "format=N min_reader=N\n" */
void store_version_write(struct buf *out);
bool store_version_read(struct bytes text, uint64_t *out_format, uint64_t *out_min_reader);
/* Whether this program may read `dir`, whose VERSION is text: ERR_CORRUPT, ERR_UNSUPPORTED_MEDIA (a newer one wrote it). */
enum err store_version_check(struct bytes text, const char *dir, struct err_msg *msg) MUST_CHECK;

/* A checkpoint: totals, the deduplication window, places in logs, the next sequence number, what the settler remembers (empty: nothing is
 * said of it). */
void checkpoint_write(struct buf *out, uint64_t next_seq, struct account *accounts,
                      struct dedup *requests, struct offsets *offsets, struct bytes settler,
                      int64_t now_ns);
/* Replaces what the three hold, unless the checkpoint is older than *next_seq: of a generation that was made and then not used. */
enum err checkpoint_read(struct bytes text, uint64_t *next_seq, struct account *accounts,
                         struct dedup *requests, struct offsets *offsets,
                         struct bytes *out_settler) MUST_CHECK;

/* A commit: the requests of one transaction. */
struct commit_entry {
    bool is_repeat; /* of an earlier request: counted, no record */
    uint64_t seq;
    uint32_t org;
    enum tsdb_signal signal;
    uint64_t stored, duplicate, rejected[TSDB_REJECT_COUNT];
    uint64_t derived_logs; /* log records that the settler added: stored like any other */
    struct bytes record;
    struct tsdb_claim claim; /* topic empty: none */
};
struct commit_reader {
    struct reader in;
    uint64_t left, seq; /* entries to come; the newest sequence number */
};
void commit_begin(struct buf *out, uint64_t entries);
void commit_put(struct buf *out, const struct commit_entry *e);
enum err commit_open(struct bytes commit, uint64_t first_seq, struct commit_reader *out) MUST_CHECK;
enum err commit_next(struct commit_reader *r,
                     struct commit_entry *out) MUST_CHECK; /* ERR_NOT_FOUND: that was all */

/* Keys and rows of a part's manifest. */
#define BLOCK_KEY_SIZE 17u
void block_key_write(const struct block_key *k, uint8_t out[BLOCK_KEY_SIZE]);
bool block_key_read(struct bytes key, struct block_key *out);
/* Everything of block_meta but key, place and crc: the CRC covers key, row and block. */
void block_meta_write(const struct block_meta *m, struct buf *out);
uint32_t block_meta_crc(const struct block_meta *m, struct bytes block);
enum err block_meta_read(struct bytes row, struct arena *a,
                         struct block_meta *out); /* crc first; ERR_CORRUPT, ERR_NOMEM */

/* A row of the manifest carries a checksum of itself, over key and row, so that one that is damaged hides no block. */
void manifest_row_write(struct bytes key, const struct block_meta *m, struct buf *out);
bool manifest_row_open(struct bytes key, struct bytes value, struct bytes *out_row);

/* The roll of a part: how many rows its manifest has, and the sum of their own checksums. Rows that are missing are noticed by it. */
#define PART_ROLL_SIZE 20u
struct part_roll {
    uint64_t rows, sum;
};
void part_roll_add(struct part_roll *r, struct bytes value); /* as it stands in the manifest */
void part_roll_write(const struct part_roll *r, uint8_t out[PART_ROLL_SIZE]);
bool part_roll_read(struct bytes value, struct part_roll *out);

#endif
