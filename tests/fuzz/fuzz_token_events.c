/* Any bytes as token events, the first one choosing the encoding: added or refused; what is added adds up, and what is refused leaves nothing. */
#include "base/check.h"
#include "collector/tokens/tokens.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    struct tokens_options o = {.encoding = data[0] == 'J' ? TOKENS_JSON : TOKENS_PROTOBUF,
                               .now_ns = INT64_C(1795168800000000000),
                               .floor_ms = INT64_C(1764000000000),
                               .tree_max = (size_t)16 << 20};
    struct tsdb_batch *b = tsdb_batch_new(1, TSDB_TOKENS, 1u << 20);
    struct err_msg msg = {""};
    if (!b)
        return 0;
    enum err e = tokens_decode(b, bytes_of(data + 1, size - 1), &o, &msg);
    CHECK(b->received == b->tokens.count + tsdb_batch_rejected(b));
    CHECK(e == ERR_OK || (b->received == 0 && b->tokens.stream_count == 0 && msg.text[0]));
    for (uint32_t i = 0; i < b->tokens.count; i++)
        CHECK(b->tokens.stream[i] < b->tokens.stream_count);
    tsdb_batch_free(b);
    return 0;
}
