/* Reads JSON (yajl): events for big documents, a small tree for configuration-sized ones.
 *
 * Owner: caller.  Thread: one at a time.
 * Failure: ERR_INVALID with byte offset and what was expected; ERR_TOO_DEEP past the depth limit; ERR_LIMIT past the arena.
 * Limits: depth given by the caller (arrays and objects together). Numbers arrive as their text, so 64-bit integers stay exact.
 * Invalid UTF-8 and trailing bytes are refused; an escape that names half a surrogate pair becomes U+FFFD.
 */
#ifndef BASE_JSON_IN_H
#define BASE_JSON_IN_H

#include "base/arena.h"

/* Each callback returns ERR_OK to go on; another value stops the parse and is returned. */
struct json_in_events {
    enum err (*null)(void *ctx);
    enum err (*boolean)(void *ctx, bool v);
    enum err (*number)(void *ctx, struct bytes text);
    enum err (*string)(void *ctx, struct bytes s);
    enum err (*object)(void *ctx);
    enum err (*key)(void *ctx, struct bytes key);
    enum err (*object_end)(void *ctx);
    enum err (*array)(void *ctx);
    enum err (*array_end)(void *ctx);
};

enum err json_in_parse(struct bytes text, unsigned depth_max, const struct json_in_events *events,
                       void *ctx, struct err_msg *msg) MUST_CHECK;

enum json_type { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

struct json_node {
    enum json_type type;
    bool boolean;
    struct bytes text; /* number's text or string's value */
    struct bytes key; /* when the parent is an object */
    struct json_node *child, *next; /* children in document order */
};

enum err json_in_tree(struct bytes text, unsigned depth_max, struct arena *a,
                      struct json_node **out, struct err_msg *msg) MUST_CHECK;
const struct json_node *json_get(const struct json_node *object,
                                 const char *key); /* NULL when absent or not an object */
struct bytes json_get_str(const struct json_node *object,
                          const char *key); /* empty when absent or not a string */
bool json_get_f64(const struct json_node *object, const char *key, double *out);
bool json_get_i64(const struct json_node *object, const char *key, int64_t *out);

#endif
