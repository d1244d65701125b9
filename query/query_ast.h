/* The syntax tree of an expression as JSON, in the form of Prometheus' parse_query.
 *
 * Owner: what is parsed lives in the arena.  Thread: any.
 * Failure: that of query_check, and ERR_INVALID for what is nested deeper than JSON is written; nothing has been written then.
 * Invariant: keys stand in the order of the alphabet, as Prometheus' encoder writes them.
 */
#ifndef QUERY_QUERY_AST_H
#define QUERY_QUERY_AST_H

#include "base/arena.h"
#include "base/json_out.h"

enum err query_ast_json(struct bytes text, struct arena *a, struct json_out *j,
                        struct err_msg *msg) MUST_CHECK;

#endif
