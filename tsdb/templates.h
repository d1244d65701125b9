/* Lines that are made alike: what is the same in many of them is written once, what differs lies in columns. Format: docs/format/columns.md.
 *
 *     reserved SKU-004711 x2 for order 88123, "3 left"    ->    reserved SKU-· x· for order ·, "·"    and the columns 004711, 2, 88123, 3 left
 * A line is cut by its letters alone: numbers, hexadecimal words, UUIDs, words of letters and digits, and quoted texts that are no keys are
 * variable; lines of equal rests are a template. What turns out to be the same in all of its lines goes back into it. Quoted texts are
 * vectors of strings, so they may have templates of their own.
 * Owner: caller.  Thread: one coder at a time.
 * Failure: as vector.h.
 * Limits: TEMPLATES_MAX templates of TEMPLATES_ROWS_MIN lines and TEMPLATES_FIELDS_MAX variables; other lines are kept as they are, and where
 *         these are more than half, all are (templates_put writes nothing). Two deep.
 * Invariants: as vector.h: what comes back is what was put, bit for bit; encoding is deterministic.
 */
#ifndef TSDB_TEMPLATES_H
#define TSDB_TEMPLATES_H

#include "tsdb/vector.h"

#define TEMPLATES_MAX 1024u
#define TEMPLATES_ROWS_MIN 8u
#define TEMPLATES_LINES_MIN 64u
#define TEMPLATES_FIELDS_MAX 128u
#define TEMPLATES_DEPTH_MAX 2u

/* false: these are no such lines, and nothing is written. */
bool templates_put(struct vector_coder *c, const struct bytes *v, uint32_t m, const uint32_t *rows,
                   struct buf *out);
enum err templates_get(struct vector_coder *c, struct reader *r, uint32_t m, const uint32_t *rows,
                       struct bytes *out) MUST_CHECK;

#endif
