/* Any bytes as an OTLP metrics request: decoded or refused; what is decoded adds up. */
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
    static const char *const promoted[] = {"service.name", "host"};
    /* Which settings are in force follows from the size, so that the corpus reaches them all. */
    struct otlp_translation t = {.strategy = (enum otlp_strategy)(size % 4),
                                 .promote = promoted,
                                 .promote_count = 2,
                                 .promote_all = size >> 2 & 1,
                                 .promote_scope = size >> 3 & 1,
                                 .keep_identifying = size >> 4 & 1,
                                 .custom_buckets = size >> 5 & 1,
                                 .type_and_unit = size >> 6 & 1};
    struct otlp_decode_options o = {.org = TSDB_ORG_DEFAULT,
                                    .signal = TSDB_SAMPLES,
                                    .encoding = OTLP_PROTOBUF,
                                    .series = series,
                                    .now_ns = INT64_C(1764000000000000000),
                                    .translation = t,
                                    .arena_max = (size_t)16 << 20};
    struct tsdb_batch *b;
    struct err_msg msg = {""};
    uint8_t *body = size ? malloc(size) : NULL;
    if (size)
        memcpy(body, data, size);
    enum err e = otlp_decode(&o, body, size, &b, &msg);
    if (e != ERR_OK) {
        CHECK(msg.text[0]); /* a refusal has a sentence */
        return 0;
    }
    uint64_t kept = b->received - tsdb_batch_rejected(b);
    CHECK(b->received >= tsdb_batch_rejected(b));
    CHECK(o.signal == TSDB_SAMPLES || kept == b->spans.count + b->logs.count);
    for (uint32_t i = 0; i < b->spans.count; i++)
        CHECK(tsdb_attrs_check(b->spans.attrs[i]) == ERR_OK &&
              tsdb_attrs_check(b->spans.resource_attrs[i]) == ERR_OK);
    for (uint32_t i = 0; i < b->logs.count; i++)
        CHECK(tsdb_attrs_check(b->logs.attrs[i]) == ERR_OK);
    for (uint32_t i = 0; i < b->hists.count; i++)
        CHECK(tsdb_hist_check(&b->hists.value[i], &msg) == ERR_OK);
    tsdb_batch_free(b);
    return 0;
}
