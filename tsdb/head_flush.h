/* The pieces of head_flush: rows (spans, logs) and series (samples, histograms, cells), one day at a time.
 *
 * Owner: head_flush.  Thread: the flush role, over a frozen head.  Failure: the sink's error, ERR_NOMEM.
 */
#ifndef TSDB_HEAD_FLUSH_H
#define TSDB_HEAD_FLUSH_H

#include "tsdb/block_index.h"
#include "tsdb/hist_sum.h"

#define HEAD_TEXT_MASK_SPANS                                               \
    (1ull << TSDB_SPAN_status_message | 1ull << TSDB_SPAN_resource_attrs | \
     1ull << TSDB_SPAN_attrs | 1ull << TSDB_SPAN_events | 1ull << TSDB_SPAN_links)
#define HEAD_TEXT_MASK_LOGS \
    (1ull << TSDB_LOG_body | 1ull << TSDB_LOG_resource_attrs | 1ull << TSDB_LOG_attrs)

/* Rows of a block. A trace is read alone, so spans are few; lines of logs are read by their time, and more of them share more. */
#define HEAD_FLUSH_SPANS_MAX 8192u
#define HEAD_FLUSH_LOGS_MAX 16384u

struct head_row {
    uint32_t day, org, ord, row;
    int64_t t_ns;
    uint64_t size; /* bytes of all strings: names can be as large as texts */
};

struct head_flush {
    const struct head *h;
    const struct block_sink *sink;
    struct arena *scratch; /* of one block or series */
    struct head_row *spans, *logs; /* sorted by day, org, time */
    size_t span_count, log_count;
    uint32_t *order; /* series sorted by org and labels */
    uint32_t day;
    struct head_resolved nobodys; /* what is found twice in an org without rows: nothing */
    struct err_msg *msg;
};

enum err head_flush_put(struct head_flush *f, struct block_meta *meta, uint32_t org,
                        enum block_kind kind, enum part_class class, uint32_t n,
                        const struct buf *block, const struct buf *summary) MUST_CHECK;
enum err head_flush_rows(struct head_flush *f, enum part_class class) MUST_CHECK;
enum err head_flush_series(struct head_flush *f, enum part_class class) MUST_CHECK;

#endif
