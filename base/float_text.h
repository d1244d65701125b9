/* A floating-point number in the fewest digits that read back as the same bits.
 *
 * Owner: caller.  Thread: any.  Failure: none.
 * Limits: v is finite; FLOAT_TEXT_MAX bytes with the NUL.
 */
#ifndef BASE_FLOAT_TEXT_H
#define BASE_FLOAT_TEXT_H

#include <stddef.h>

#define FLOAT_TEXT_MAX 32

#ifdef __cplusplus
extern "C" {
#endif
/* "d.ddde+xx"; returns the length. */
size_t float_text_shortest(double v, char out[FLOAT_TEXT_MAX]);
#ifdef __cplusplus
}
#endif

#endif
