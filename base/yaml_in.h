/* Reads YAML (libyaml) into a tree that remembers file lines, for configuration and OpenSLO documents.
 *
 * Owner: caller's arena.  Thread: one at a time.
 * Failure: ERR_INVALID with line and column. Limits: depth 32, YAML_IN_NODES_MAX nodes, aliases and anchors refused (no bombs).
 */
#ifndef BASE_YAML_IN_H
#define BASE_YAML_IN_H

#include "base/arena.h"

#define YAML_IN_NODES_MAX 200000u

enum yaml_type { YAML_NULL, YAML_SCALAR, YAML_LIST, YAML_MAP };

struct yaml_node {
    enum yaml_type type;
    bool quoted; /* a quoted scalar is a string whatever it looks like */
    unsigned line; /* 1-based */
    struct bytes text; /* scalar; NUL-terminated beyond size */
    struct bytes key; /* when the parent is a map */
    unsigned key_line;
    struct yaml_node *child, *next;
};

/* All documents of a stream, linked through next. A duplicate key is an error. */
enum err yaml_in_parse(struct bytes text, struct arena *a, struct yaml_node **out_documents,
                       struct err_msg *msg) MUST_CHECK;
const struct yaml_node *yaml_get(const struct yaml_node *map, const char *key);
struct bytes yaml_get_str(const struct yaml_node *map,
                          const char *key); /* empty when absent or not a scalar */

#endif
