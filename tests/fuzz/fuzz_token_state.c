/* Any bytes as what the assembler of token events remembers, and as a timeline: restored or refused, and what is restored is written again alike. */
#include "base/check.h"
#include "collector/tokens/tokens_open.h"
#include "tsdb/tsdb_timeline.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool ignore(void *ctx, const struct tokens_result *r)
{
    return true;
}

static void timeline(struct bytes in)
{
    struct tsdb_timeline_reader r = tsdb_timeline_open(in);
    struct tsdb_timeline_chunk c;
    int64_t last = 0;
    while (tsdb_timeline_next(&r, &c)) {
        CHECK(c.after_ns >= last && c.channel < 3);
        last = c.after_ns;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tokens_open *t = tokens_open_new(NULL), *again = tokens_open_new(NULL);
    struct buf first = {0}, second = {0};
    timeline(bytes_of(data, size));
    if (t && again && tokens_open_restore(t, bytes_of(data, size)) == ERR_OK) {
        tokens_open_checkpoint(t, &first);
        CHECK(tokens_open_restore(again, buf_bytes(&first)) == ERR_OK);
        tokens_open_checkpoint(again, &second);
        CHECK(first.size == second.size);
        struct tsdb_batch *b = tsdb_batch_new(1, TSDB_TOKENS, 1u << 20);
        if (b) {
            b->received_ns = INT64_MAX;
            CHECK(tokens_open_batch(t, b, 1, ignore, NULL) == ERR_OK);
        }
        tsdb_batch_free(b);
    }
    buf_done(&first);
    buf_done(&second);
    tokens_open_free(t);
    tokens_open_free(again);
    return 0;
}
