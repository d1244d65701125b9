/* The series of a head by the name of their metric: nearly every selector names one, and looks at its series only.
 *
 * Owner: struct head.  Thread: written under the head's write lock, read under its read lock (or frozen).
 * Failure: head_names_add: false without memory.
 * Invariants: 1. Every series is in the chain of its org and name, in order of position. 2. Names lie in the registry's labels, which the
 *             head's series hold.
 */
#ifndef TSDB_HEAD_NAMES_H
#define TSDB_HEAD_NAMES_H

#include "base/bytes.h"

#define HEAD_NAMES_END UINT32_MAX

struct head_name {
    uint32_t org, hash;
    uint32_t first, last; /* positions */
    struct bytes name; /* "" for series without one */
};

struct head_names {
    struct head_name *names;
    uint32_t count, cap;
    uint32_t *slots, slot_cap; /* hash -> index + 1 */
    uint32_t *next; /* position -> the next position of the same name */
    uint32_t next_cap;
};

bool head_names_add(struct head_names *t, uint32_t org, struct bytes name, uint32_t position);
const struct head_name *head_names_find(const struct head_names *t, uint32_t org,
                                        struct bytes name); /* NULL: none */
size_t head_names_bytes(const struct head_names *t);
void head_names_done(struct head_names *t);

#endif
