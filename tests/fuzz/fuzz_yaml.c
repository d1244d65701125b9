/* Any bytes: documents or an error, within the arena. */
#include "base/yaml_in.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *a = arena_new(16u << 20);
    struct yaml_node *docs;
    struct err_msg msg;
    enum err e = a ? yaml_in_parse(bytes_of(data, size), a, &docs, &msg) : ERR_NOMEM;
    (void)e;
    arena_free(a);
    return 0;
}
