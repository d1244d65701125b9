/* What the walks over failing calls share: a step of the proof runs in a child of its own, and a store is compared with its ledger in another.
 * Owner: caller.  Thread: one.  Failure: says on stderr what is wrong.
 */
#ifndef FAULTS_FAULT_CHILD_H
#define FAULTS_FAULT_CHILD_H

#include "tests/faults/fault_ledger.h"

/* Runs fn(ctx) in a child; true: it returned 0 there. */
bool fault_child_run(int (*fn)(void *ctx), void *ctx, const char *where);
/* Opens what is left, compares, sends one more request, seals, merges and compares again. */
bool fault_child_look(struct ledger *l, const char *dir, const char *where);
/* The numbers of a walk: 1, 2, 3 ... to the end, or, in a short one, growing steps. */
uint64_t fault_child_step(uint64_t n, uint64_t percent);

#endif
