/* Any bytes as a remote read request: refused with a sentence, or queries whose matchers PromQL's parser takes or refuses. */
#include "base/check.h"
#include "query/query.h"
#include "web/web_read_request.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum err each(void *ctx, const struct web_read_query *q)
{
    struct query_selector *s = NULL;
    struct err_msg msg = {""};
    unsigned *seen = ctx;
    ++*seen;
    CHECK(q->selector.size && q->selector.size <= QUERY_TEXT_MAX);
    if (query_selector_parse(q->selector, &s, &msg) != ERR_OK) {
        CHECK(msg.text[0]);
        return ERR_OK;
    }
    query_selector_free(s);
    return ERR_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err_msg msg = {""};
    unsigned seen = 0;
    enum err e =
        web_read_request(bytes_of(data, size), (struct tsdb_labels){BYTES_NONE}, each, &seen, &msg);
    CHECK(e == ERR_OK ? seen <= 64 : msg.text[0] != 0);
    return 0;
}
