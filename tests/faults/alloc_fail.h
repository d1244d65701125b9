/* Allocations that fail: malloc, calloc, realloc and posix_memalign of this program and of every library that it uses.
 *
 * Owner: the process.  Thread: any; calls of all threads are counted together.  Failure: none.
 */
#ifndef FAULTS_ALLOC_FAIL_H
#define FAULTS_ALLOC_FAIL_H

#include <stdint.h>

/* The at-th allocation from now on gives NULL, and so do all others until while_ms have passed since. at 0: none. */
void alloc_fail(uint64_t at, int64_t while_ms);
uint64_t alloc_calls(void); /* since then */

#endif
