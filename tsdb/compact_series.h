/* The samples, histograms and cells of one org in a part: the generations it is given become one.
 *
 * Owner: compact.c.  Thread: the flush role.  Failure: ERR_CORRUPT, ERR_NOMEM, the part's errors; what was put is abandoned by the caller.
 */
#ifndef TSDB_COMPACT_SERIES_H
#define TSDB_COMPACT_SERIES_H

#include "tsdb/compact.h"

/* Merges blocks of the kinds COMPACT_SERIES_KINDS among job->metas. */
#define COMPACT_SERIES_KINDS \
    (1u << BLOCK_INDEX | 1u << BLOCK_SAMPLES | 1u << BLOCK_HISTS | 1u << BLOCK_CELLS)
enum err compact_series(const struct compact_job *job, struct err_msg *msg) MUST_CHECK;

#endif
