/* Any bytes as a model in one file: configuration, vocabulary and weights together. What opens runs three tokens; what does not says why. */
#include <stdlib.h>

#include "base/check.h"
#include "gpu/gpu_encode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gpu_model *m;
    struct err_msg msg = {""};
    enum err e = gpu_model_open_bytes(bytes_of(data, size), "input", GPU_INT8, &m, &msg);
    if (e != ERR_OK) {
        CHECK(msg.text[0]);
        return 0;
    }
    struct gpu_model_info info;
    struct gpu_encoder *encoder = gpu_encoder_new(m, 1);
    gpu_model_info(m, &info);
    float *out = calloc(info.hidden, sizeof(*out));
    uint32_t ids[3] = {0, info.vocabulary - 1, gpu_vocab_cls(gpu_model_vocab(m))};
    struct gpu_sequence s = {ids, NULL, 3, out};
    if (encoder && out) {
        e = gpu_encode(encoder, &s, 1, GPU_VECTOR, &msg);
        CHECK(e == ERR_OK || e == ERR_EXECUTION);
    }
    (void)gpu_model_extra(m, "trees");
    free(out);
    gpu_encoder_free(encoder);
    gpu_model_close(m);
    return 0;
}
