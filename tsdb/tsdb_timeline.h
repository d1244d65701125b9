/* When the tokens of one stream came, in at most about two bytes a token. Format: docs/format/token-timeline.md.
 *
 * For pictures: times are steps of 100 µs from the stream's start; what is exact stands beside it in the stream's record.
 * Owner: caller.  Thread: any.
 * Failure: put: out->failed. next: false at the end, and .corrupt at anything else than these bytes.
 * Limits: TSDB_TIMELINE_CHUNKS_MAX chunks; later ones are left out.
 * Invariant: next gives back what was put, times rounded down to a step, in the order of time.
 */
#ifndef TSDB_TSDB_TIMELINE_H
#define TSDB_TSDB_TIMELINE_H

#include "base/buf.h"

#define TSDB_TIMELINE_STEP_NS 100000
#define TSDB_TIMELINE_CHUNKS_MAX (1u << 20)

struct tsdb_timeline_chunk {
    int64_t after_ns; /* since the stream's start, >= 0, never falls */
    uint32_t tokens;
    uint8_t channel; /* enum tsdb_token_channel */
};

struct tsdb_timeline_writer {
    struct buf *out;
    struct tsdb_timeline_chunk last;
};
struct tsdb_timeline_writer tsdb_timeline_begin(struct buf *out);
void tsdb_timeline_put(struct tsdb_timeline_writer *w, const struct tsdb_timeline_chunk *c);

struct tsdb_timeline_reader {
    struct reader r;
    struct tsdb_timeline_chunk last;
    bool corrupt;
};
struct tsdb_timeline_reader tsdb_timeline_open(struct bytes b);
bool tsdb_timeline_next(struct tsdb_timeline_reader *r, struct tsdb_timeline_chunk *out);

#endif
