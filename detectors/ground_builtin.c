/* The model that the program carries: cli/ground_model.S has its bytes, where the file was there when the program was built. Tests, and programs
 * built without it, have none: the names are weak. */
#include "detectors/detectors_ground.h"

extern const uint8_t ground_builtin_begin[] __attribute__((weak));
extern const uint8_t ground_builtin_end[] __attribute__((weak));

struct bytes ground_builtin(void)
{
    /* Two addresses that the compiler must not take for different objects. */
    uintptr_t begin = (uintptr_t)ground_builtin_begin, end = (uintptr_t)ground_builtin_end;
    return begin ? bytes_of((const void *)begin, end - begin) : BYTES_NONE;
}
