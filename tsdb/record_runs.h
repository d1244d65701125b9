/* Columns of whole numbers in a journal record, as runs of equal steps. Format: docs/format/record.md ("runs").
 *
 * Owner: caller.  Thread: any.
 * Failure: put: out->failed. next: false, and the reader's sticky failure.
 * Invariant: next gives back what put wrote, as many times as there were numbers.
 */
#ifndef TSDB_RECORD_RUNS_H
#define TSDB_RECORD_RUNS_H

#include "base/buf.h"

#define RECORD_RUNS_AT(i) (u8 ? u8[i] : u32 ? u32[i] : (uint64_t)i64[i])
/* A column of whole numbers: runs of equal steps. Numbers of series that follow each other, times of one scrape and starts that nobody gave are
 * one run each. One of u8, u32 and i64 is given. */
static inline __attribute__((always_inline)) void record_runs_put(struct buf *out,
                                                                  const uint8_t *u8,
                                                                  const uint32_t *u32,
                                                                  const int64_t *i64, uint32_t n)
{
    uint64_t previous = 0;
    if (!buf_reserve(out, (size_t)n * 2 * BUF_VARINT_MAX))
        return;
    uint8_t *to = out->data + out->size;
    for (uint32_t i = 0, end; i < n; i = end) {
        uint64_t v = RECORD_RUNS_AT(i), step = v - previous;
        for (end = i + 1, previous = v; end < n; end++, previous = v) {
            v = RECORD_RUNS_AT(end);
            if (v - previous != step)
                break;
        }
        to = buf_write_varint(to, end - i);
        to = buf_write_zigzag(to, (int64_t)step);
    }
    out->size = (size_t)(to - out->data);
}
#undef RECORD_RUNS_AT

/* The next number of a column; a run that is empty or longer than what is left of the column is damage. */
struct record_runs {
    struct reader *r;
    uint64_t left, step, value; /* left: of the run */
};

static inline bool record_runs_next(struct record_runs *x, uint64_t left_of_column, uint64_t *out)
{
    if (x->left == 0) {
        x->left = reader_varint(x->r);
        x->step = (uint64_t)reader_zigzag(x->r);
        if (x->r->failed || x->left == 0 || x->left > left_of_column) {
            x->r->failed = true;
            return false;
        }
    }
    x->left--;
    *out = x->value += x->step;
    return true;
}

#endif
