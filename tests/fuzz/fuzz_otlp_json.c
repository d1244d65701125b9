/* Any text as OTLP/JSON (the first byte picks the signal): decoded or refused with a sentence. */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "collector/otlp/otlp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tsdb_registry *series;
    if (!series)
        series = tsdb_registry_new(10000);
    if (!size)
        return 0;
    struct otlp_decode_options o = {.org = TSDB_ORG_DEFAULT,
                                    .signal = (enum tsdb_signal)(data[0] % TSDB_SIGNAL_COUNT),
                                    .encoding = OTLP_JSON,
                                    .series = series,
                                    .now_ns = INT64_C(1764000000000000000),
                                    .arena_max = (size_t)16 << 20};
    struct tsdb_batch *b;
    struct err_msg msg = {""};
    uint8_t *body = malloc(size);
    memcpy(body, data + 1, size - 1);
    if (otlp_decode(&o, body, size - 1, &b, &msg) == ERR_OK)
        tsdb_batch_free(b);
    else
        CHECK(msg.text[0]);
    return 0;
}
