/* Regular expressions of matchers and label_replace: RE2, fully anchored, dot matches newline, as Prometheus compiles them.
 *
 * Owner: caller (regex_re2_free).  Thread: any (matching is const).  Failure: regex_re2_new returns NULL with a sentence.
 * Limits: REGEX_RE2_BYTES_MAX of compiled program; linear time in the value.
 */
#ifndef QUERY_REGEX_RE2_H
#define QUERY_REGEX_RE2_H

#ifdef __cplusplus
extern "C" {
#endif

#include "base/arena.h"
#include "base/bytes.h"
#include "base/err.h"

#define REGEX_RE2_BYTES_MAX (8 << 20)

struct regex_re2;

struct regex_re2 *regex_re2_new(struct bytes pattern, struct err_msg *msg);
void regex_re2_free(struct regex_re2 *r); /* NULL is fine */
bool regex_re2_matches(const struct regex_re2 *r, struct bytes value);
/* Expands $1, ${name}, $$ of the template with the groups of the full match into out (malloc'ed by the arena).
 * 0 = no match, 1 = expanded, -1 = out of memory. */
int regex_re2_expand(const struct regex_re2 *r, struct bytes value, struct bytes tmpl,
                     struct arena *a, struct bytes *out);

/* Anywhere in the text, without anchors; false (with a sentence) when the pattern does not compile. */
bool regex_re2_search(struct bytes pattern, struct bytes text, bool *out, struct err_msg *msg);
/* Every match is replaced by the template, as regex_re2_expand does it. ERR_LIMIT past bytes_max. */
enum err regex_re2_replace_all(struct bytes pattern, struct bytes text, struct bytes tmpl,
                               size_t bytes_max, struct arena *a, struct bytes *out,
                               struct err_msg *msg);

bool regex_re2_check(struct bytes pattern, struct err_msg *msg);
bool regex_re2_matches_once(struct bytes pattern,
                            struct bytes value); /* false if it does not compile */

#ifdef __cplusplus
}
#endif

#endif
