/* Chunk events of spans and token log records, in the words of their dialects, as token events of their batch. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/check.h"
#include "collector/stage/stage.h"

#define T0 INT64_C(1795168800000000000)
#define MS INT64_C(1000000)

struct chunk {
    int64_t ms;
    const char *name, *key, *text; /* key NULL: no attribute; text NULL: the number 5 */
};

static struct tsdb_batch *batch(enum tsdb_signal signal)
{
    struct tsdb_batch *b = tsdb_batch_new(TSDB_ORG_DEFAULT, signal, 16u << 20);
    assert_non_null(b);
    b->received_ns = T0 + 60000 * MS;
    b->received = 1;
    return b;
}

static void put(struct buf *out, const char *key, const char *text)
{
    if (key && text)
        tsdb_attrs_put_str(out, bytes_str(key), bytes_str(text));
    else if (key)
        tsdb_attrs_put_i64(out, bytes_str(key), 5);
}

/* A call from T0 to T0 + 900 ms. */
static struct tsdb_batch *span_of(const struct chunk *chunks, size_t n, const char *finish,
                                  bool fails)
{
    struct tsdb_batch *b = batch(TSDB_SPANS);
    struct buf attrs = {0}, events = {0};
    uint32_t row = tsdb_batch_add_span(b);
    assert_int_equal(row, 0);
    memset(b->spans.trace_id[0].b, 7, 16);
    memset(b->spans.span_id[0].b, 8, 8);
    b->spans.start_ns[0] = T0;
    b->spans.end_ns[0] = T0 + 900 * MS;
    b->spans.kind[0] = 3;
    b->spans.status[0] = fails ? 2 : 0;
    b->spans.name[0] = BYTES_LIT("chat");
    b->spans.service[0] = BYTES_LIT("shop");
    put(&attrs, "gen_ai.operation.name", "chat");
    put(&attrs, "gen_ai.provider.name", "openai");
    put(&attrs, "gen_ai.request.model", "gpt-4o");
    put(&attrs, finish ? "gen_ai.response.finish_reasons" : NULL, finish);
    put(&attrs, fails ? "error.type" : NULL, "ConnectionReset");
    for (size_t i = 0; i < n; i++) {
        struct buf more = {0};
        put(&more, chunks[i].key, chunks[i].text);
        struct tsdb_event e = {.time_ns = (uint64_t)(T0 + chunks[i].ms * MS),
                               .name = bytes_str(chunks[i].name),
                               .attrs = buf_bytes(&more)};
        tsdb_attrs_put_event(&events, &e);
        buf_done(&more);
    }
    b->spans.attrs[0] = arena_copy(b->arena, buf_bytes(&attrs));
    b->spans.events[0] = arena_copy(b->arena, buf_bytes(&events));
    buf_done(&attrs);
    buf_done(&events);
    return b;
}

static void apply(struct tsdb_batch *b)
{
    struct stage *s;
    struct err_msg msg = {""};
    struct tsdb_registry *series = tsdb_registry_new(0);
    assert_int_equal(stage_new(NULL, &s, &msg), ERR_OK);
    stage_set_series(s, series);
    assert_int_equal(stage_apply(s, b, &msg), ERR_OK);
    assert_int_equal(b->received, 1); /* what is derived is no row */
    stage_free(s);
    tsdb_registry_free(series);
}

static void assert_event(const struct tsdb_batch *b, uint32_t row, int64_t ms,
                         enum tsdb_token_kind kind, enum tsdb_token_channel channel,
                         uint32_t tokens)
{
    const struct tsdb_tokens *t = &b->tokens;
    assert_true(row < t->count);
    assert_int_equal(t->time_ns[row], T0 + ms * MS);
    assert_int_equal(tsdb_tokens_kind(t->kind[row]), kind);
    assert_int_equal(tsdb_tokens_channel(t->kind[row]), channel);
    assert_int_equal(t->tokens[row], tokens);
}

static void assert_reason(const struct tsdb_batch *b, const char *reason)
{
    const struct tsdb_tokens *t = &b->tokens;
    if (!*reason) {
        assert_int_equal(t->reason_count, 0);
        return;
    }
    assert_int_equal(t->reason_count, 1);
    assert_int_equal(t->reasons[0].row, t->count - 1);
    assert_true(bytes_equal_str(t->reasons[0].text, reason));
}

static void chunk_events_of_a_span_are_its_stream(void **ctx)
{
    static const struct chunk chunks[] = {
        {100, "llm.content.completion.chunk", NULL, NULL},
        {150, "gen_ai.content.completion.chunk", "gen_ai.completion", ""}, /* a role */
        {200, "gen_ai.stream.chunk", "gen_ai.chunk.type", "thinking"},
        {250, "gen_ai.stream.chunk", "gen_ai.chunk.type", "tool_call"},
        {300, "gen_ai.token", "tokens", NULL},
        {350, "llm.token.event", "channel", "reasoning"},
        {380, "exception", NULL, NULL}};
    struct tsdb_batch *b = span_of(chunks, ARRAY_LEN(chunks) - 1, "stop", false);
    apply(b);
    assert_int_equal(b->tokens.stream_count, 1);
    const struct tsdb_token_stream *s = &b->tokens.streams[0];
    assert_int_equal(s->source, TSDB_TOKEN_SPAN);
    assert_memory_equal(s->trace_id, b->spans.trace_id[0].b, 16);
    assert_memory_equal(s->span_id, b->spans.span_id[0].b, 8);
    assert_true(bytes_equal_str(s->text[TSDB_TOKEN_TEXT_service], "shop"));
    assert_true(bytes_equal_str(s->text[TSDB_TOKEN_TEXT_provider], "openai"));
    assert_true(bytes_equal_str(s->text[TSDB_TOKEN_TEXT_model], "gpt-4o"));
    assert_int_equal(b->tokens.count, 8);
    assert_event(b, 0, 0, TSDB_TOKEN_START, TSDB_TOKEN_OUTPUT, 0);
    assert_event(b, 1, 100, TSDB_TOKEN_CHUNK, TSDB_TOKEN_OUTPUT, 1);
    assert_event(b, 2, 150, TSDB_TOKEN_CHUNK, TSDB_TOKEN_OUTPUT, 0);
    assert_event(b, 3, 200, TSDB_TOKEN_CHUNK, TSDB_TOKEN_REASONING, 1);
    assert_event(b, 4, 250, TSDB_TOKEN_CHUNK, TSDB_TOKEN_TOOL, 1);
    assert_event(b, 5, 300, TSDB_TOKEN_CHUNK, TSDB_TOKEN_OUTPUT, 5);
    assert_event(b, 6, 350, TSDB_TOKEN_CHUNK, TSDB_TOKEN_REASONING, 1);
    assert_event(b, 7, 900, TSDB_TOKEN_END, TSDB_TOKEN_OUTPUT, 0);
    assert_reason(b, "stop");
    tsdb_batch_free(b);
}

static void a_span_that_marks_its_first_token_only_is_no_stream(void **ctx)
{
    static const struct chunk chunks[] = {{100, "gen_ai.first_token", NULL, NULL},
                                          {100, "First Token Stream Event", NULL, NULL}};
    struct tsdb_batch *b = span_of(chunks, ARRAY_LEN(chunks), "stop", false);
    apply(b);
    assert_int_equal(b->tokens.count, 0);
    tsdb_batch_free(b);
}

static void with_dropped_events_nothing_is_made_up(void **ctx)
{
    static const struct chunk one = {100, "llm.content.completion.chunk", NULL, NULL};
    struct tsdb_batch *b = span_of(&one, 1, "stop", false);
    b->spans.dropped[0] = 1;
    apply(b);
    assert_int_equal(b->tokens.count, 0);
    tsdb_batch_free(b);
}

static void a_span_without_any_name_for_its_stream_gives_none(void **ctx)
{
    static const struct chunk one = {100, "llm.content.completion.chunk", NULL, NULL};
    struct tsdb_batch *b = span_of(&one, 1, "stop", false);
    memset(b->spans.span_id[0].b, 0, 8);
    apply(b);
    assert_int_equal(b->tokens.stream_count, 0);
    tsdb_batch_free(b);
}

/* Times outside of the span and values of no use are left out, the others are not. */
static void what_cannot_be_is_left_out(void **ctx)
{
    static const struct chunk chunks[] = {{-1, "gen_ai.token", NULL, NULL},
                                          {901, "gen_ai.token", NULL, NULL},
                                          {200, "gen_ai.token", "tokens", "many"},
                                          {300, "gen_ai.token", "channel", NULL},
                                          {400, "gen_ai.token", NULL, NULL}};
    struct tsdb_batch *b = span_of(chunks, ARRAY_LEN(chunks), "stop", false);
    apply(b);
    assert_int_equal(b->tokens.count, 3);
    assert_event(b, 1, 400, TSDB_TOKEN_CHUNK, TSDB_TOKEN_OUTPUT, 1);
    tsdb_batch_free(b);
}

static void the_outcome_of_the_span_says_how_its_stream_ended(void **ctx)
{
    static const struct chunk chunks[] = {{100, "llm.content.completion.chunk", NULL, NULL},
                                          {200, "llm.content.completion.chunk", NULL, NULL}};
    static const struct {
        const char *finish;
        bool fails;
        enum tsdb_token_kind kind;
        const char *reason;
    } cases[] = {{"length", false, TSDB_TOKEN_END, "length"},
                 {NULL, false, TSDB_TOKEN_END, ""}, /* this dialect says why: it was cut */
                 {NULL, true, TSDB_TOKEN_ERROR, "ConnectionReset"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct tsdb_batch *b = span_of(chunks, ARRAY_LEN(chunks), cases[i].finish, cases[i].fails);
        apply(b);
        assert_int_equal(b->tokens.count, 4);
        assert_event(b, 3, 900, cases[i].kind, TSDB_TOKEN_OUTPUT, 0);
        assert_reason(b, cases[i].reason);
        tsdb_batch_free(b);
    }
}

/* --- log records ------------------------------------------------------------------------------------- */

static struct tsdb_batch *log_of(const char *event, const char *kind, const char *id, int64_t ms)
{
    struct tsdb_batch *b = batch(TSDB_LOGS);
    struct buf attrs = {0}, resource = {0};
    assert_int_equal(tsdb_batch_add_log(b), 0);
    b->logs.time_ns[0] = T0 + ms * MS;
    b->logs.service[0] = BYTES_LIT("gw");
    b->logs.event_name[0] = bytes_str(event);
    put(&attrs, kind ? "kind" : NULL, kind);
    put(&attrs, id ? "request_id" : NULL, id);
    put(&attrs, "gen_ai.request.model", "gpt-4o");
    put(&attrs, "finish_reason", "stop");
    put(&attrs, "tokens", NULL);
    tsdb_attrs_put(&attrs, BYTES_LIT("logprob_sum"),
                   (struct tsdb_value){TSDB_VALUE_DOUBLE, {.number = -2.5}});
    put(&resource, "deployment.environment.name", "prod");
    b->logs.attrs[0] = arena_copy(b->arena, buf_bytes(&attrs));
    b->logs.resource_attrs[0] = arena_copy(b->arena, buf_bytes(&resource));
    buf_done(&attrs);
    buf_done(&resource);
    return b;
}

static void token_log_records_are_token_events(void **ctx)
{
    static const char *const names[] = {"gen_ai.token", "llm.token.event"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct tsdb_batch *b = log_of(names[i], NULL, "r1", 40);
        apply(b);
        assert_int_equal(b->logs.count, 1);
        assert_int_equal(b->tokens.count, 1);
        assert_event(b, 0, 40, TSDB_TOKEN_CHUNK, TSDB_TOKEN_OUTPUT, 5);
        assert_int_equal(b->tokens.logprob_count, 1);
        assert_int_equal(b->tokens.logprobs[0].count, 5);
        assert_true(b->tokens.logprobs[0].sum == -2.5f);
        const struct tsdb_token_stream *s = &b->tokens.streams[0];
        assert_int_equal(s->source, TSDB_TOKEN_LOG);
        assert_true(bytes_equal_str(s->text[TSDB_TOKEN_TEXT_request_id], "r1"));
        assert_true(bytes_equal_str(s->text[TSDB_TOKEN_TEXT_service], "gw"));
        assert_true(bytes_equal_str(s->text[TSDB_TOKEN_TEXT_model], "gpt-4o"));
        assert_true(bytes_equal_str(s->text[TSDB_TOKEN_TEXT_env], "prod"));
        tsdb_batch_free(b);
    }
    struct tsdb_batch *b = log_of("gen_ai.token", "end", "r1", 90);
    apply(b);
    assert_event(b, 0, 90, TSDB_TOKEN_END, TSDB_TOKEN_OUTPUT, 5);
    assert_reason(b, "stop");
    tsdb_batch_free(b);
}

static void other_log_records_are_not(void **ctx)
{
    static const struct {
        const char *event, *kind, *id;
    } cases[] = {{"gen_ai.choice", NULL, "r1"},
                 {"gen_ai.token", NULL, NULL},
                 {"gen_ai.token", "pause", "r1"},
                 {"", "end", "r1"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct tsdb_batch *b = log_of(cases[i].event, cases[i].kind, cases[i].id, 40);
        apply(b);
        assert_int_equal(b->tokens.count, 0);
        assert_int_equal(b->logs.count, 1);
        tsdb_batch_free(b);
    }
}

#define T(name) cmocka_unit_test(name)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(chunk_events_of_a_span_are_its_stream),
        T(a_span_that_marks_its_first_token_only_is_no_stream),
        T(with_dropped_events_nothing_is_made_up),
        T(a_span_without_any_name_for_its_stream_gives_none),
        T(what_cannot_be_is_left_out),
        T(the_outcome_of_the_span_says_how_its_stream_ended),
        T(token_log_records_are_token_events),
        T(other_log_records_are_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
