#include "query/promql_functions.h"

#include "base/check.h"
#include <stdlib.h>

#define S TYPE_SCALAR
#define V TYPE_VECTOR
#define M TYPE_MATRIX
#define T TYPE_STRING
#define N TYPE_NONE
/* The fifth argument of label_replace is a string like its fourth; longer lists repeat the last type. */
static const struct promql_function functions[] = {
#define X(id, name, result, count, variadic, a, b, c, d) \
    {name, result, count, variadic, {a, b, c, d, d, d}, FUNCTION_##id},
    PROMQL_FUNCTION_TABLE(X)
#undef X
};
#undef S
#undef V
#undef M
#undef T
#undef N

static int compare_name(const void *key, const void *row)
{
    const struct bytes *name = key;
    return bytes_compare(*name, bytes_str(((const struct promql_function *)row)->name));
}

const struct promql_function *promql_function_find(struct bytes name)
{
    return bsearch(&name, functions, ARRAY_LEN(functions), sizeof functions[0], compare_name);
}
