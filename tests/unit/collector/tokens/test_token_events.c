/* Token events from their bytes: both encodings add the same; what is broken leaves the batch as it was. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/check.h"
#include "collector/tokens/tokens.h"
#include "tokens.pb-c.h"
#include "tsdb/record.h"

#define NOW INT64_C(1795168800000000000)
#define SECOND INT64_C(1000000000)

static struct tokens_options options(enum tokens_encoding encoding)
{
    return (struct tokens_options){
        .encoding = encoding, .now_ns = NOW, .floor_ms = (NOW - 3600 * SECOND) / 1000000};
}

static struct tsdb_batch *batch(void)
{
    struct tsdb_batch *b = tsdb_batch_new(7, TSDB_TOKENS, 0);
    assert_non_null(b);
    return b;
}

static enum err json(struct tsdb_batch *b, const char *text)
{
    struct tokens_options o = options(TOKENS_JSON);
    struct err_msg msg;
    return tokens_decode(b, bytes_str(text), &o, &msg);
}

static void assert_same(const struct tsdb_tokens *x, const struct tsdb_tokens *y)
{
    assert_int_equal(x->stream_count, y->stream_count);
    assert_int_equal(x->count, y->count);
    assert_int_equal(x->logprob_count, y->logprob_count);
    assert_int_equal(x->reason_count, y->reason_count);
    for (uint32_t i = 0; i < x->stream_count; i++) {
        const struct tsdb_token_stream *a = &x->streams[i], *b = &y->streams[i];
        assert_true(hash128_equal(a->id, b->id));
        assert_memory_equal(a->trace_id, b->trace_id, 16);
        assert_memory_equal(a->span_id, b->span_id, 8);
        for (uint32_t k = 0; k < TSDB_TOKEN_TEXT_COUNT; k++)
            assert_true(bytes_equal(a->text[k], b->text[k]));
    }
    if (x->count) {
        assert_memory_equal(x->stream, y->stream, x->count * sizeof *x->stream);
        assert_memory_equal(x->time_ns, y->time_ns, x->count * sizeof *x->time_ns);
        assert_memory_equal(x->kind, y->kind, x->count);
        assert_memory_equal(x->tokens, y->tokens, x->count * sizeof *x->tokens);
        assert_memory_equal(x->ordinal, y->ordinal, x->count * sizeof *x->ordinal);
    }
    if (x->logprob_count)
        assert_memory_equal(x->logprobs, y->logprobs, x->logprob_count * sizeof *x->logprobs);
    for (uint32_t i = 0; i < x->reason_count; i++) {
        assert_int_equal(x->reasons[i].row, y->reasons[i].row);
        assert_true(bytes_equal(x->reasons[i].text, y->reasons[i].text));
    }
}

/* As the schema's own encoder writes it. */
static void pack_example(struct buf *out)
{
    static uint8_t trace[16] = {0xab, 1}, span[8] = {0xcd};
    Telltale__Tokens__V1__TokenEvent e[3] = {TELLTALE__TOKENS__V1__TOKEN_EVENT__INIT,
                                             TELLTALE__TOKENS__V1__TOKEN_EVENT__INIT,
                                             TELLTALE__TOKENS__V1__TOKEN_EVENT__INIT};
    Telltale__Tokens__V1__TokenEvent *list[] = {&e[0], &e[1], &e[2]};
    Telltale__Tokens__V1__TokenEvents one = TELLTALE__TOKENS__V1__TOKEN_EVENTS__INIT,
                                      two = TELLTALE__TOKENS__V1__TOKEN_EVENTS__INIT,
                                      all = TELLTALE__TOKENS__V1__TOKEN_EVENTS__INIT;
    Telltale__Tokens__V1__TokenEvents *streams[] = {&one, &two};
    for (size_t i = 0; i < 3; i++)
        e[i].time_unix_nano = (uint64_t)NOW + i;
    e[0].kind = TELLTALE__TOKENS__V1__TOKEN_KIND__TOKEN_KIND_START;
    e[1].channel = TELLTALE__TOKENS__V1__TOKEN_CHANNEL__TOKEN_CHANNEL_REASONING;
    e[1].size_case = TELLTALE__TOKENS__V1__TOKEN_EVENT__SIZE_TOKENS;
    e[1].tokens = 3;
    e[1].ordinal = 2;
    e[1].logprob_sum = -1.5f;
    e[1].logprob_min = -1.0f;
    e[2].kind = TELLTALE__TOKENS__V1__TOKEN_KIND__TOKEN_KIND_END;
    e[2].finish_reason = (char *)"stop";
    all.service = (char *)"gateway";
    all.model = (char *)"m";
    one.trace_id = (ProtobufCBinaryData){16, trace};
    one.span_id = (ProtobufCBinaryData){8, span};
    one.n_events = 3;
    one.events = list;
    two.request_id = (char *)"r-2";
    two.model = (char *)"n";
    two.n_events = 1;
    two.events = list;
    all.n_streams = 2;
    all.streams = streams;
    assert_true(buf_reserve(out, telltale__tokens__v1__token_events__get_packed_size(&all)));
    out->size = telltale__tokens__v1__token_events__pack(&all, out->data);
}

static const char example[] =
    "{\"service\":\"gateway\",\"model\":\"m\",\"streams\":["
    "{\"traceId\":\"ab010000000000000000000000000000\",\"spanId\":\"cd00000000000000\",\"events\":["
    "{\"timeUnixNano\":\"1795168800000000000\",\"kind\":\"start\"},"
    "{\"time_unix_nano\":1795168800000000001,\"channel\":\"reasoning\",\"tokens\":3,\"ordinal\":2,"
    "\"logprobSum\":-1.5,\"logprob_min\":-1},"
    "{\"time_unix_nano\":1795168800000000002,\"kind\":\"TOKEN_KIND_END\",\"finish_reason\":"
    "\"stop\"}]},"
    "{\"request_id\":\"r-2\",\"model\":\"n\",\"later_version\":[[{}]],"
    "\"time_unix_nano\":1795168800000000000,\"kind\":1}]}";

static void json_and_protobuf_add_the_same(void **state)
{
    struct tsdb_batch *x = batch(), *y = batch();
    struct tokens_options o = options(TOKENS_PROTOBUF);
    struct buf wire = {0};
    struct err_msg msg;
    pack_example(&wire);
    assert_int_equal(tokens_decode(x, buf_bytes(&wire), &o, &msg), ERR_OK);
    assert_int_equal(json(y, example), ERR_OK);
    assert_int_equal(x->received, 4);
    assert_int_equal(y->received, 4);
    assert_int_equal(tsdb_batch_rejected(y), 0);
    assert_int_equal(x->tokens.stream_count, 2);
    assert_int_equal(x->tokens.count, 4);
    assert_int_equal(x->tokens.logprobs[0].count, 3);
    assert_true(bytes_equal_str(x->tokens.streams[1].text[TSDB_TOKEN_TEXT_service], "gateway"));
    assert_true(bytes_equal_str(x->tokens.streams[1].text[TSDB_TOKEN_TEXT_model], "n"));
    assert_same(&x->tokens, &y->tokens);
    buf_done(&wire);
    tsdb_batch_free(x);
    tsdb_batch_free(y);
}

static void one_event_in_one_object_is_a_message(void **state)
{
    struct tsdb_batch *b = batch();
    assert_int_equal(json(b, "{\"responseId\":\"x\",\"timeUnixNano\":1795168800000000000}"),
                     ERR_OK);
    assert_int_equal(b->tokens.count, 1);
    assert_int_equal(b->tokens.tokens[0], 1);
    assert_int_equal(b->tokens.kind[0], TSDB_TOKEN_CHUNK);
    tsdb_batch_free(b);
}

static void messages_of_one_stream_meet_in_one_batch(void **state)
{
    struct tsdb_batch *b = batch();
    for (int i = 0; i < 100; i++) {
        char text[128];
        snprintf(text, sizeof text, "{\"request_id\":\"r%d\",\"time_unix_nano\":%lld}", i % 40,
                 (long long)NOW + i);
        assert_int_equal(json(b, text), ERR_OK);
    }
    assert_int_equal(b->tokens.stream_count, 40);
    assert_int_equal(b->tokens.count, 100);
    assert_int_equal(b->tokens.stream[99], 19);
    tsdb_batch_free(b);
}

static void bad_events_are_counted_and_the_rest_is_kept(void **state)
{
    struct tsdb_batch *b = batch();
    assert_int_equal(json(b, "{\"request_id\":\"r\",\"events\":[{},"
                             "{\"time_unix_nano\":1795168800000000000,\"kind\":9},"
                             "{\"time_unix_nano\":1795168800000000000,\"tokens\":9999999},"
                             "{\"time_unix_nano\":1},{\"time_unix_nano\":1799999999999999999},"
                             "{\"time_unix_nano\":1795168800000000000}]}"),
                     ERR_OK);
    assert_int_equal(json(b, "{\"trace_id\":\"ab010000000000000000000000000000\","
                             "\"time_unix_nano\":1795168800000000000}"),
                     ERR_OK); /* a trace is no name of a stream */
    assert_int_equal(b->received, 7);
    assert_int_equal(b->tokens.count, 1);
    assert_int_equal(tsdb_batch_rejected(b), 6);
    assert_int_equal(b->rejected[TSDB_REJECT_TOO_OLD], 1);
    assert_int_equal(b->rejected[TSDB_REJECT_TOO_NEW], 1);
    assert_int_equal(b->rejected[TSDB_REJECT_UNSUPPORTED], 1);
    tsdb_batch_free(b);
}

static void a_refused_message_leaves_the_batch_as_it_was(void **state)
{
    static const char *const bad[] = {
        "",
        "[]",
        "{",
        "{\"trace_id\":\"zz\"}",
        "{\"events\":{}}",
        "{\"events\":[1]}",
        "{\"request_id\":7}",
        "{\"request_id\":\"q\",\"events\":[{\"time_unix_nano\":1795168800000000000},{\"tokens\":-1}"
        "]}",
        "{\"request_id\":\"q\",\"events\":[{\"time_unix_nano\":1},{\"kind\":\"later\"}]}",
        "{\"streams\":[{\"request_id\":\"q\",\"time_unix_nano\":1795168800000000000},"
        "{\"streams\":[{}]}]}"};
    struct tsdb_batch *b = batch(), *once = batch();
    assert_int_equal(json(b, example), ERR_OK);
    assert_int_equal(json(once, example), ERR_OK);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        if (json(b, bad[i]) == ERR_OK)
            fail_msg("taken: %s", bad[i]);
        assert_int_equal(b->received, 4);
        assert_int_equal(tsdb_batch_rejected(b), 0);
        assert_int_equal(b->reject_msg.text[0], 0);
        assert_same(&b->tokens, &once->tokens);
    }
    assert_int_equal(json(b, "{\"request_id\":\"q\",\"time_unix_nano\":1795168800000000000}"),
                     ERR_OK);
    assert_int_equal(b->tokens.stream_count, 3);
    tsdb_batch_free(b);
    tsdb_batch_free(once);
}

static void every_prefix_of_a_message_is_decoded_or_refused(void **state)
{
    struct tokens_options o = options(TOKENS_PROTOBUF);
    struct buf wire = {0};
    pack_example(&wire);
    for (size_t n = 0; n < wire.size; n++) {
        struct tsdb_batch *b = batch();
        struct err_msg msg;
        uint8_t *exact = malloc(n + 1); /* so that a read past it is seen */
        memcpy(exact + 1, wire.data, n);
        enum err e = tokens_decode(b, bytes_of(exact + 1, n), &o, &msg);
        assert_true(e == ERR_OK || (b->tokens.count == 0 && b->received == 0 && msg.text[0]));
        tsdb_batch_free(b);
        free(exact);
    }
    buf_done(&wire);
}

static void the_journal_gives_token_events_back(void **state)
{
    struct tsdb_registry *r = tsdb_registry_new(10);
    struct record_defs defs = {0};
    struct record_refs refs = {0};
    struct buf out = {0}, again = {0};
    struct err_msg msg;
    struct tsdb_batch *b = batch(), *back;
    assert_int_equal(json(b, example), ERR_OK);
    assert_int_equal(json(b, "{\"response_id\":\"e\",\"service\":\"s\",\"events\":["
                             "{\"time_unix_nano\":1795168700000000007,\"kind\":\"error\","
                             "\"error_type\":\"timeout\"}]}"),
                     ERR_OK);
    assert_int_equal(record_encode(b, r, &defs, &out), ERR_OK);
    assert_int_equal(record_decode(buf_bytes(&out), r, &refs, 0, &back, &msg), ERR_OK);
    assert_same(&b->tokens, &back->tokens);
    assert_int_equal(back->signal, TSDB_TOKENS);
    record_defs_done(&defs);
    assert_int_equal(record_encode(back, r, &defs, &again), ERR_OK);
    assert_true(bytes_equal(buf_bytes(&out), buf_bytes(&again)));
    for (size_t n = 0; n < out.size; n++) {
        struct tsdb_batch *cut = NULL;
        if (record_decode(bytes_of(out.data, n), r, &refs, 1u << 20, &cut, &msg) == ERR_OK)
            tsdb_batch_free(cut);
    }
    buf_done(&out);
    buf_done(&again);
    record_defs_done(&defs);
    record_refs_done(&refs);
    tsdb_batch_free(b);
    tsdb_batch_free(back);
    tsdb_registry_free(r);
}

#define T(name) cmocka_unit_test(name)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(json_and_protobuf_add_the_same),
        T(one_event_in_one_object_is_a_message),
        T(messages_of_one_stream_meet_in_one_batch),
        T(bad_events_are_counted_and_the_rest_is_kept),
        T(a_refused_message_leaves_the_batch_as_it_was),
        T(every_prefix_of_a_message_is_decoded_or_refused),
        T(the_journal_gives_token_events_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
