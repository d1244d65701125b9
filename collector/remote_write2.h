/* Prometheus remote write 2.0: a Request becomes a WriteRequest of 1.0, which remote_write.h decodes.
 *
 *   Request     4 symbols[], 5 TimeSeries { 1 label refs, 2 Sample, 3 Histogram, 4 Exemplar { 1 label refs, 2 value, 3 t },
 *                                           5 Metadata { 1 type, 3 help ref, 4 unit ref } }
 * Samples and histograms are the same messages in both; refs become texts. A start time (field 3 of a sample, 17 of a histogram) stays.
 *
 * Owner: the caller's body, which is exchanged on success and freed on failure.  Thread: any.
 * Failure: ERR_INVALID (no Request; a reference to no symbol; labels that are no pairs), ERR_TOO_LARGE (texts that are referred to so often
 *          that they grow past the limit), ERR_NOMEM.
 * Limits: REMOTE_WRITE2_BYTES_MAX of what it becomes; REMOTE_WRITE2_SYMBOLS_MAX.
 */
#ifndef COLLECTOR_REMOTE_WRITE2_H
#define COLLECTOR_REMOTE_WRITE2_H

#include "base/buf.h"

#define REMOTE_WRITE2_BYTES_MAX ((size_t)256 << 20) /* of 64 MiB: names and values four times */
#define REMOTE_WRITE2_SYMBOLS_MAX (4u << 20)

enum err remote_write2_to_1(uint8_t **body, size_t *size, struct err_msg *msg) MUST_CHECK;

#endif
