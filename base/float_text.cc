#include "base/float_text.h"

#include <charconv>

size_t float_text_shortest(double v, char out[FLOAT_TEXT_MAX])
{
    std::to_chars_result r =
        std::to_chars(out, out + FLOAT_TEXT_MAX - 1, v, std::chars_format::scientific);
    *r.ptr = 0;
    return static_cast<size_t>(r.ptr - out);
}
