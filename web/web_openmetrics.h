/* A page of metrics in the classic text format, rewritten as OpenMetrics 1.0.
 *
 *     # HELP x_total Words.          # TYPE x counter
 *     # TYPE x_total counter   -->   # HELP x Words.
 *     x_total 1                      x_total 1
 *                                    # EOF
 * Counters whose name does not end in _total, and untyped metrics, are of type unknown there.
 *
 * Owner: caller's buffers.  Thread: any.  Failure: the buffer's.  Limits: the text's.
 * Invariant: samples stay as they are; the text is our own, without times.
 */
#ifndef WEB_WEB_OPENMETRICS_H
#define WEB_WEB_OPENMETRICS_H

#include "base/buf.h"

#define WEB_OPENMETRICS_TYPE "application/openmetrics-text; version=1.0.0; charset=utf-8"

bool web_openmetrics_wanted(struct bytes accept);
void web_openmetrics(struct bytes text, struct buf *out);

#endif
