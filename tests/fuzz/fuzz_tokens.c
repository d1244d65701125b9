/* The first part is a vocabulary, what follows a NUL is text: tokens of any text are in the vocabulary, in order, and inside the text. */
#include "base/check.h"
#include "gpu/gpu_tokens.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes all = bytes_of(data, size);
    size_t cut = bytes_find(all, bytes_of("", 1));
    struct buf words = {0};
    struct gpu_vocab *v;
    struct gpu_tokens t = {0};
    struct err_msg msg;
    buf_bytes_append(&words, bytes_slice(all, 0, cut));
    buf_str(&words, "\n[UNK]\n[CLS]\n[SEP]\n");
    struct bytes text = cut < size ? bytes_slice(all, cut + 1, size) : BYTES_NONE;
    if (gpu_vocab_new(buf_bytes(&words), &v, &msg) == ERR_OK) {
        CHECK(gpu_tokens_add(v, text, 0, &t));
        for (uint32_t i = 0; i < t.count; i++) {
            CHECK(t.id[i] < gpu_vocab_size(v) && t.begin[i] <= t.end[i] && t.end[i] <= text.size);
            CHECK(i == 0 || t.begin[i] >= t.begin[i - 1]);
        }
        gpu_vocab_free(v);
    }
    gpu_tokens_done(&t);
    buf_done(&words);
    return 0;
}
