/* A state store in memory that a test can make fail at any call, and read back as the next process would.
 *
 * Owner: the test.  Thread: one lock.
 * Failure: ERR_IO at the chosen call and, where `sticky`, ever after.
 */
#ifndef TESTS_HELPER_STATE_H
#define TESTS_HELPER_STATE_H

#include "detectors/detectors_store.h"

struct helper_state;

struct helper_state *helper_state_new(void);
void helper_state_free(struct helper_state *s);
struct detectors_store helper_state_store(struct helper_state *s);
/* The n-th write call from now (begin, put, del and commit count) fails; 0 = none. */
void helper_state_fail_at(struct helper_state *s, unsigned n);
bool helper_state_has_failed(const struct helper_state *s);
size_t helper_state_count(struct helper_state *s, const char *table);
unsigned helper_state_commits(struct helper_state *s);

#endif
