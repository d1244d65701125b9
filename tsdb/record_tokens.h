/* The token events of a record. Format: docs/format/record.md, section 10.
 *
 * Owner: caller.  Thread: as record.h.
 * Failure: put: out->failed. get: ERR_CORRUPT for anything else than these bytes, ERR_LIMIT past the memory of token events.
 * Invariant: get(put(t)) are the streams and events of t, bit for bit; nothing is written where there are no events.
 */
#ifndef TSDB_RECORD_TOKENS_H
#define TSDB_RECORD_TOKENS_H

#include "base/buf.h"
#include "tsdb/tsdb_tokens.h"

void record_tokens_put(const struct tsdb_tokens *t, struct buf *out);
enum err record_tokens_get(struct reader *r, uint32_t org, struct tsdb_tokens *out) MUST_CHECK;

#endif
