/* Assertions on our own logic, always compiled in: a false CHECK is our bug and ends the process with a report.
 * Never for bytes from outside, our own disk included: those return an error.
 * Thread: any.  Failure: abort().
 */
#ifndef BASE_CHECK_H
#define BASE_CHECK_H

__attribute__((noreturn, cold)) void check_failed(const char *expr, const char *file, int line,
                                                  const char *func);

#define CHECK(expr) \
    ((__builtin_expect(!(expr), 0)) ? check_failed(#expr, __FILE__, __LINE__, __func__) : (void)0)
#define CHECK_UNREACHABLE() check_failed("unreachable", __FILE__, __LINE__, __func__)

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

#endif
