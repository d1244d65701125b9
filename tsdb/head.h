/* A head: the rows of one journal generation in memory, queryable, until they are flushed.
 *
 * Owner: reference counted: the store holds one, every pin one.
 * Thread: head_prepare/head_apply on the committer; reads under head_read_lock by any; head_flush on the flush role (frozen head).
 * Failure: head_prepare may fail (ERR_NOMEM); head_apply never does: memory for its indexes is waited for (base/alloc_wait.h).
 * Limits: the store closes the generation before heads outgrow memory; head_bytes tells.
 * Invariants: 1. A commit's batches are applied under one write lock: readers see all or nothing of it. 2. Batches keep commit order.
 *             3. Dropped spans (batch->span_dropped) and their cells are not in the head.
 */
#ifndef TSDB_HEAD_H
#define TSDB_HEAD_H

#include "tsdb/part.h"
#include "tsdb/tsdb_batch.h"
#include "tsdb/tsdb_registry.h"

struct head;

struct head *head_new(uint64_t generation,
                      struct tsdb_registry *series); /* one reference; NULL = no memory */
/* What it takes in is noted there for who watches (changes.h). Before the first head_apply; NULL: nowhere. */
struct changes;
void head_note_changes(struct head *h, struct changes *c);
void head_retain(struct head *h);
void head_release(struct head *h);
/* Reserves what head_apply will need, before the journal commit. */
enum err head_prepare(struct head *h, const struct tsdb_batch *b) MUST_CHECK;
/* Takes the batches of one commit, in order, with their seqs, under one write lock. */
void head_apply(struct head *h, struct tsdb_batch **take_batches, const uint64_t *seqs, size_t n);
uint64_t head_bytes(const struct head *h);
uint64_t head_row_bytes(
    const struct head *h); /* those of them that hold spans, logs and what comes whole */
/* Rows of one org; samples count histograms too. */
uint64_t head_rows(const struct head *h, uint32_t org, enum tsdb_signal signal);
/* Seals everything into blocks. Deterministic for the same content. The head is frozen: no apply comes any more. A block never mixes
 * orgs, days or classes; samples go by their time's day, spans by their end's, cells by their minute's, logs by their time's.
 * Only days for which want(ctx, day, class) is true (a replayed generation skips parts that have it sealed); NULL = all. */
enum err head_flush(struct head *h, bool (*want)(void *ctx, uint32_t day, enum part_class class),
                    void *want_ctx, const struct block_sink *sink, struct err_msg *msg) MUST_CHECK;

#endif
