/* Unit tests of rules, in the form of promtool's test files (docs/rules.md): series in memory, groups evaluated every evaluation_interval from time 0,
 * alerts and expressions compared with what is expected.
 *
 * Owner: caller.  Thread: any.
 * Failure: ERR_EXECUTION: at least one expectation does not hold, each is described in `out`; ERR_INVALID: the test file or a rule file is wrong, a
 * line for each mistake in `out`; ERR_NOMEM, ERR_LIMIT.
 * Limits: DETECTORS_RULE_TEST_STEPS_MAX evaluations of a test; those of rule files, of the engine and of query_memory.h.
 */
#ifndef DETECTORS_DETECTORS_RULE_TEST_H
#define DETECTORS_DETECTORS_RULE_TEST_H

#include "base/buf.h"

#define DETECTORS_RULE_TEST_STEPS_MAX 1000000

enum err detectors_rule_test_run(const char *path, struct buf *out) MUST_CHECK;

#endif
