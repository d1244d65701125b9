/* Any attribute bytes, in any place of a span or a log: the normaliser, the price table and the cells keep their promises. */
#include "base/check.h"
#include "collector/stage/stage.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct stage *stage;
static struct tsdb_registry *series;

static struct bytes part(struct reader *r)
{
    size_t n = reader_u8(r);
    n |= (size_t)reader_u8(r) << 8;
    if (n > reader_left(r))
        n = reader_left(r);
    return reader_bytes(r, n);
}

static void check_row(const struct tsdb_spans *s, uint32_t i)
{
    int64_t in = TSDB_SPAN_GET(s, input_tokens, i, -1),
            out = TSDB_SPAN_GET(s, output_tokens, i, -1);
    int64_t read = TSDB_SPAN_GET(s, cache_read_tokens, i, -1);
    int64_t write = TSDB_SPAN_GET(s, cache_write_tokens, i, -1);
    int64_t thought = TSDB_SPAN_GET(s, reasoning_tokens, i, -1);
    uint8_t class = TSDB_SPAN_GET(s, row_class, i, 0);
    if (in >= 0)
        CHECK(in >= (read > 0 ? read : 0) + (write > 0 ? write : 0));
    if (out >= 0)
        CHECK(out >= thought);
    if (class & (TSDB_CLASS_CALL | TSDB_CLASS_REQUEST))
        CHECK(TSDB_SPAN_GET(s, outcome, i, 0) != TSDB_OUTCOME_NONE);
    CHECK(TSDB_SPAN_GET(s, ttft_ns, i, -1) >= -1);
    CHECK(TSDB_SPAN_GET(s, cost_nanousd, i, -1) >= -1);
}

static void check_tokens(const struct tsdb_batch *b)
{
    const struct tsdb_tokens *t = &b->tokens;
    for (uint32_t i = 0; i < t->count; i++) {
        CHECK(t->stream[i] < t->stream_count && t->time_ns[i] > 0);
        CHECK(tsdb_tokens_channel(t->kind[i]) < TSDB_TOKEN_CHANNELS && t->tokens[i] <= 1u << 20);
        CHECK(tsdb_tokens_is_named(&t->streams[t->stream[i]]));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err_msg msg;
    struct reader r = reader_of(bytes_of(data, size));
    if (!stage) {
        struct stage_threshold t = {BYTES_LIT("llm_time_to_first_token_seconds"), 0.5};
        CHECK(stage_new(NULL, &stage, &msg) == ERR_OK);
        CHECK(stage_set_thresholds(stage, &t, 1, &msg) == ERR_OK);
        CHECK((series = tsdb_registry_new(100000)) != NULL);
        stage_set_series(stage, series);
    }
    struct tsdb_settler settler = stage_settler(stage);
    struct tsdb_batch *b = tsdb_batch_new(TSDB_ORG_DEFAULT, TSDB_SPANS, 16u << 20);
    CHECK(b);
    b->received_ns = INT64_C(1795168800000000000);
    for (int i = 0; i < 4 && reader_left(&r) > 8; i++) {
        uint32_t row = tsdb_batch_add_span(b);
        struct tsdb_spans *s = &b->spans;
        uint8_t flags = reader_u8(&r);
        CHECK(row != TSDB_NO_ROW);
        s->kind[row] = flags % 6;
        s->status[row] = flags / 6 % 3;
        s->trace_id[row].b[0] = 1;
        s->span_id[row].b[0] = flags / 18 % 4;
        s->parent_id[row].b[0] = flags / 72;
        s->start_ns[row] = b->received_ns + (int8_t)reader_u8(&r) * INT64_C(1000000);
        s->end_ns[row] = b->received_ns + (int8_t)reader_u8(&r) * INT64_C(500000000);
        s->name[row] = part(&r);
        s->service[row] = BYTES_LIT("s");
        s->scope_name[row] = part(&r);
        s->resource_attrs[row] = part(&r);
        s->attrs[row] = part(&r);
        s->events[row] = part(&r);
    }
    if (reader_left(&r) > 4) {
        uint32_t row = tsdb_batch_add_log(b);
        CHECK(row != TSDB_NO_ROW);
        b->logs.scope_name[row] = BYTES_LIT("com.anthropic.claude_code.events");
        b->logs.time_ns[row] = b->received_ns;
        b->logs.body[row] = part(&r);
        b->logs.attrs[row] = part(&r);
        struct bytes attrs = b->logs.attrs[row];
        row = tsdb_batch_add_log(b); /* the same as a token's record */
        CHECK(row != TSDB_NO_ROW);
        b->logs.event_name[row] = BYTES_LIT("gen_ai.token");
        b->logs.time_ns[row] = b->received_ns;
        b->logs.attrs[row] = attrs;
    }
    if (stage_apply(stage, b, &msg) == ERR_OK) {
        for (uint32_t i = 0; i < b->spans.count; i++)
            check_row(&b->spans, i);
        check_tokens(b);
        for (uint32_t i = 1; i < b->cells.count; i++)
            CHECK(b->cells.row[i - 1] <= b->cells.row[i]);
        CHECK(settler.settle(settler.ctx, b, 1, 1) == ERR_OK);
    }
    settler.drop_generation(settler.ctx, 1);
    tsdb_batch_free(b);
    return 0;
}
