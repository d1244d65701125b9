/* Any bytes as a weight file: what opens has tensors that lie inside, each of the size that its shape says, and can be read to the last value. */
#include "base/check.h"
#include "gpu/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *a = arena_new(64u << 20);
    struct safetensors s;
    struct err_msg msg;
    CHECK(a);
    if (safetensors_open(bytes_of(data, size), a, &s, &msg) == ERR_OK)
        for (uint32_t i = 0; i < s.count; i++) {
            const struct safetensor *t = &s.tensor[i];
            uint64_t items = 1;
            for (uint32_t d = 0; d < t->dims; d++)
                items *= t->shape[d];
            CHECK(t->data.size == 0 ||
                  (t->data.data >= data && t->data.data + t->data.size <= data + size));
            CHECK(safetensors_find(&s, t->name) == t);
            if (items && t->type != SAFETENSORS_I64 && t->type != SAFETENSORS_OTHER)
                (void)safetensors_float(t, items - 1);
        }
    arena_free(a);
    return 0;
}
