/* Ids of streams that were closed lately: two sets, the younger fills, the older one goes when it is full.
 * Owner: tokens_open.  Thread: one.  Failure: add, turn: false when memory is short.
 * Invariant: the newest max / 2 ids are in it.
 */
#ifndef COLLECTOR_TOKENS_CLOSED_SET_H
#define COLLECTOR_TOKENS_CLOSED_SET_H

#include "base/bytes.h"

struct closed_set {
    uint64_t *slots; /* 0 = free */
    uint32_t size, count;
};

void closed_set_done(struct closed_set *s);
bool closed_set_has(const struct closed_set *s, uint64_t id);
bool closed_set_add(struct closed_set *s, uint64_t id);
void closed_set_remove(struct closed_set *s, uint64_t id);

#endif
