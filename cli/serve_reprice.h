/* Re-pricing as an audited operation: asked for under a key, shown before it is done, done once, written down.
 *
 *   (absent) --begin--> started --batch stored--> done
 *
 * The record (state table "reprices") is written before the batch and after it; the batch claims the place 0 of a log named by org and key, so
 * that it is stored once however often it is asked for, whatever crashes in between.
 * Owner: serve_prices.  Thread: one at a time (the caller's lock).  Failure: ERR_INVALID, ERR_CONFLICT (the key stands for something else).
 * Limits: those of stage_reprice; 1,000 records are listed.
 */
#ifndef CLI_SERVE_REPRICE_H
#define CLI_SERVE_REPRICE_H

#include "base/buf.h"
#include "collector/stage/stage.h"

/* body: {"key","from":ms,"to":ms,"service","model","only_unpriced","reason","dry_run"}; key_id: who asks, 0: this machine. */
enum err serve_reprice(struct stage *stage, struct tsdb *db, uint32_t org, uint64_t key_id,
                       struct bytes body, struct buf *json, struct err_msg *msg) MUST_CHECK;

#endif
