/* A remote read request's bytes, query by query.
 *
 *   ReadRequest  1 Query { 1 start ms, 2 end ms, 3 Matcher { 1 type, 2 name, 3 value } }, 2 accepted types
 *
 * Owner: a query's selector lives during the call.  Thread: any.
 * Failure: ERR_INVALID with a sentence for bytes that are no request; what `each` returns ends it.
 * Limits: 64 queries, 64 matchers a query, QUERY_TEXT_MAX of matchers.
 */
#ifndef WEB_WEB_READ_REQUEST_H
#define WEB_WEB_READ_REQUEST_H

#include "base/buf.h"
#include "tsdb/tsdb_labels.h"

struct web_read_query {
    int64_t start_ms, end_ms;
    struct bytes selector; /* {"name"="value",…}; regular expressions are not looked at */
};
typedef enum err (*web_read_each)(void *ctx, const struct web_read_query *q);

/* A matcher that asks for one of the external labels is left out: every series has it when it goes out. */
enum err web_read_request(struct bytes message, struct tsdb_labels external, web_read_each each,
                          void *ctx, struct err_msg *msg) MUST_CHECK;

#endif
