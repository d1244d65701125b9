/* What is asked of log records, read from a request, and how one is written: for the list and for the tail.
 *
 * Owner: the caller's struct, which must not move (its parts point at each other); texts live in the request, or in the arena of
 *        web_logs_keep.  Thread: any.
 * Failure: ERR_INVALID with a sentence in the call.
 * Limits: WEB_LOGS_ATTRS_MAX conditions on attributes.
 */
#ifndef WEB_WEB_LOGS_H
#define WEB_WEB_LOGS_H

#include "tsdb/tsdb_read.h"
#include "web/web_call.h"

#define WEB_LOGS_ATTRS_MAX 8u

struct web_logs_question {
    struct tsdb_log_filter f;
    struct tsdb_row_filter more;
    struct tsdb_where where[3];
    struct tsdb_where_attr attrs[WEB_LOGS_ATTRS_MAX];
    uint8_t trace[16], span[8];
};

/* service, severity, event, trace_id, span_id, attr, contains, from, to. */
enum err web_logs_read(struct web_call *c, struct web_logs_question *out) MUST_CHECK;
/* The texts move to the arena; false: no memory. */
bool web_logs_keep(struct web_logs_question *q, struct arena *a) MUST_CHECK;
void web_logs_row_json(struct json_out *j, const struct tsdb_logs *t, uint32_t row);

#endif
