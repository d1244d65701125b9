/* Any bytes as a remote write 2.0 request: refused with a sentence, or a 1.0 request that is decoded or refused. */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "collector/remote_write.h"
#include "collector/remote_write2.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tsdb_registry *series;
    if (!series)
        series = tsdb_registry_new(10000);
    struct otlp_decode_options o = {.org = TSDB_ORG_DEFAULT,
                                    .signal = TSDB_SAMPLES,
                                    .series = series,
                                    .now_ns = INT64_C(1764000000000000000),
                                    .arena_max = (size_t)16 << 20};
    struct tsdb_batch *b;
    struct remote_write_written written;
    struct err_msg msg = {""};
    uint8_t *body = size ? malloc(size) : NULL;
    if (size)
        memcpy(body, data, size);
    if (remote_write2_to_1(&body, &size, &msg) != ERR_OK) {
        CHECK(msg.text[0] && !body);
        return 0;
    }
    if (remote_write_decode(&o, body, size, &b, &written, &msg) != ERR_OK) {
        CHECK(msg.text[0]);
        return 0;
    }
    CHECK(b->received - tsdb_batch_rejected(b) == b->samples.count + b->hists.count);
    for (uint32_t i = 0; i < b->hists.count; i++)
        CHECK(tsdb_hist_check(&b->hists.value[i], &msg) == ERR_OK);
    tsdb_batch_free(b);
    return 0;
}
