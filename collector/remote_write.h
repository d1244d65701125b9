/* Prometheus remote write 1.0: a WriteRequest becomes a batch.
 *
 * Owner: takes the body; the batch's arena owns it from then on.  Thread: any.
 * Failure: as otlp_decode. Single samples that are refused (too old, too new, bad labels, bad histogram, cardinality) are counted in the batch.
 * Limits: those of OTLP.  Format: docs/format/otlp.md.
 * Invariant: no request_key: the store takes a repeated sample as the same sample.
 */
#ifndef COLLECTOR_REMOTE_WRITE_H
#define COLLECTOR_REMOTE_WRITE_H

#include "collector/otlp/otlp.h"

struct remote_write_written {
    uint64_t samples, histograms, exemplars;
};

enum err remote_write_decode(const struct otlp_decode_options *o, uint8_t *take_body,
                             size_t body_size, struct tsdb_batch **out,
                             struct remote_write_written *out_written,
                             struct err_msg *msg) MUST_CHECK;

#endif
