/* JSON in its leaves, each with its path and the place where it stands: what a tool answers and what a database row is.
 *
 * A scanner of its own, because the bytes' places are needed as evidence, and because what arrives is often cut off: leaves read before the end of a
 * cut text count.
 * Owner: the caller's arena.  Thread: any.  Failure: ERR_NOMEM.
 * Limits: depth 64, path 256 bytes (longer: its end), `max` leaves (then *cut is set).
 * Invariants: 1. begin <= end <= size. 2. A text that does not begin as JSON, or breaks off before two leaves, is none: *count 0.
 */
#ifndef DETECTORS_GROUND_JSON_H
#define DETECTORS_GROUND_JSON_H

#include "base/arena.h"

#define GROUND_JSON_DEPTH_MAX 64u
#define GROUND_JSON_PATH_MAX 256u

enum ground_json_type {
    GROUND_JSON_STRING,
    GROUND_JSON_NUMBER,
    GROUND_JSON_TRUE,
    GROUND_JSON_FALSE,
    GROUND_JSON_NULL
};
struct ground_json_leaf {
    uint32_t begin, end; /* of the value, without quotes */
    struct bytes
        path; /* readable: "attributes Business Parking street", elements by their number */
    uint32_t key; /* where in path the last key begins */
    struct bytes value; /* without escapes */
    enum ground_json_type type;
    bool plain; /* the value stands in the text as it is */
};

enum err ground_json_leaves(struct bytes text, uint32_t max, struct arena *a,
                            struct ground_json_leaf **out, uint32_t *out_count,
                            bool *cut) MUST_CHECK;

#endif
