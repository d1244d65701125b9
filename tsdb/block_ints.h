/* Streams of small integers as bits: Golomb-Rice codes of one parameter a stream. Drawn in docs/format/block-series.md.
 *
 * Steps of counters and gauges are geometric enough that a Rice code is within a tenth of a bit of their entropy; where most are zero,
 * the gaps between the others are coded instead.
 * Owner: caller.  Thread: any.
 * Failure: block_ints_get: false for any bytes that are not n integers. block_ints_put: the buffer's.
 * Invariant: get(put(u)) == u for every u: a value far from the others costs BLOCK_INTS_ESCAPE + 64 bits.
 */
#ifndef TSDB_BLOCK_INTS_H
#define TSDB_BLOCK_INTS_H

#include "base/buf.h"

#define BLOCK_INTS_ESCAPE 24u /* a quotient of so many ones: 64 plain bits follow */

/* Two's complement: small negative values are small too. n may be 0. */
void block_ints_put(struct buf *out, const uint64_t *u, uint32_t n);
bool block_ints_get(struct reader *r, uint64_t *out, uint32_t n) MUST_CHECK;

#endif
