/* The float samples of one series in a head, compressed as they come: 3 to 5 bytes each instead of 28.
 *
 *     sample := token, [ord], [step], [start], value
 *     token     bits 0-2 how the value is written    bit 3 the step changed    bits 4-6 batches since the last sample (7: ord follows)
 *               bit 7 the start time changed
 *     ord       varint        step   zigzag varint of the change of the distance to the sample before, ms
 *     start     zigzag varint of the change                     value  nothing, zigzag varint, or bytes (head_samples.c)
 *
 * Owner: struct head_series; the bytes lie in the head's slab.
 * Thread: appended to under the head's write lock, read under its read lock (or frozen).
 * Failure: head_samples_add: false without memory, nothing is changed then.
 * Invariants: 1. What is read is bit by bit what was added, in the same order. 2. ord never falls.
 */
#ifndef TSDB_HEAD_SAMPLES_H
#define TSDB_HEAD_SAMPLES_H

#include "base/err.h"
#include "base/slab.h"

struct head_piece {
    struct head_piece *next;
    uint16_t used, size; /* of data; used: once there is a next one */
    uint8_t data[];
};

struct head_samples {
    struct head_piece *first, *last;
    int64_t t_ms, start_ms; /* of the last sample */
    uint64_t step, value; /* value: its bits */
    uint32_t ord, count;
    uint16_t used; /* of the last piece */
};

struct head_sample {
    int64_t t_ms, start_ms;
    double value;
    uint32_t ord;
};

bool head_samples_add(struct head_samples *s, struct slab *slab,
                      const struct head_sample *x) MUST_CHECK;

struct head_samples_iter {
    const struct head_piece *piece;
    const uint8_t *at, *end;
    uint32_t left;
    uint16_t last_used;
    bool has_begun;
    uint64_t step, value;
    struct head_sample last;
};
struct head_samples_iter head_samples_begin(const struct head_samples *s);
/* False at the end; else the sample is it->last. */
bool head_samples_next(struct head_samples_iter *it);

#endif
