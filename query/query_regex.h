/* Regular expressions of matchers, for folders above: those of PromQL, anchored at both ends (regex_re2.h).
 *
 * Owner: none.  Thread: any.
 * Failure: query_regex_check: false with a sentence; msg NULL = nobody wants it.
 * Limits: REGEX_RE2_BYTES_MAX of compiled program; linear time in the value.
 */
#ifndef QUERY_QUERY_REGEX_H
#define QUERY_QUERY_REGEX_H

#include "base/bytes.h"
#include "base/err.h"

bool query_regex_check(struct bytes pattern, struct err_msg *msg);
/* Compiles each time; false where it does not compile. */
bool query_regex_matches(struct bytes pattern, struct bytes value);

#endif
