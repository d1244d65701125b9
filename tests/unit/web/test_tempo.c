/* Tempo's interface over a real store: traces come back as they were sent, TraceQL finds what it should, mistakes are named with their place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/json_in.h"
#include "query/query_traceql.h"
#include "tsdb/helper_rows.h"
#include "web/helper_door.h"

/* Two traces. a: gateway → (chat with two events, retry that fails → its child); b: one span without kin. */
#define T "17951688000000"
static const char sent[] =
    "{'resourceSpans':[{'resource':{'attributes':[{'key':'service.name','value':{'stringValue':'"
    "gateway'}},"
    "{'key':'cloud.region','value':{'stringValue':'eu'}}]},'scopeSpans':[{'scope':{'name':'lib','"
    "version':'2'},'spans':["
    "{'traceId':'0a000000000000000000000000000001','spanId':'0000000000000001','name':'POST "
    "/chat','kind':2,'flags':257,"
    "'startTimeUnixNano':'" T "00000','endTimeUnixNano':'" T "90000','traceState':'k=v',"
    "'attributes':[{'key':'http.response.status_code','value':{'intValue':'200'}},{'key':'user.id',"
    "'value':{'stringValue':'u1'}}]},"
    "{'traceId':'0a000000000000000000000000000001','spanId':'0000000000000003','parentSpanId':'"
    "0000000000000001','name':'retry','kind':3,"
    "'startTimeUnixNano':'" T "20000','endTimeUnixNano':'" T
    "80000','status':{'code':2,'message':'no'},"
    "'links':[{'traceId':'0b000000000000000000000000000002','spanId':'0000000000000009','"
    "traceState':'l=1','flags':1,"
    "'attributes':[{'key':'why','value':{'stringValue':'batch'}}]}],"
    "'attributes':[{'key':'share','value':{'doubleValue':0.25}},{'key':'big','value':{'intValue':'-"
    "9007199254740993'}}]},"
    "{'traceId':'0a000000000000000000000000000001','spanId':'0000000000000004','parentSpanId':'"
    "0000000000000003','name':'attempt','kind':3,"
    "'startTimeUnixNano':'" T "30000','endTimeUnixNano':'" T "40000','attributes':[]}]}]},"
    "{'resource':{'attributes':[{'key':'service.name','value':{'stringValue':'model'}}]},'"
    "scopeSpans':[{'scope':{'name':'sdk'},'spans':["
    "{'traceId':'0a000000000000000000000000000001','spanId':'0000000000000002','parentSpanId':'"
    "0000000000000001','name':'chat','kind':1,"
    "'startTimeUnixNano':'" T "10000','endTimeUnixNano':'" T "15000','status':{'code':1},"
    "'events':[{'timeUnixNano':'" T
    "12000','name':'token','attributes':[{'key':'n','value':{'intValue':'3'}}]},"
    "{'timeUnixNano':'" T "13000','name':'stop'}],"
    "'attributes':[{'key':'finish','value':{'arrayValue':{'values':[{'stringValue':'stop'},{'"
    "stringValue':'length'}]}}},"
    "{'key':'stream','value':{'boolValue':true}},{'key':'raw','value':{'bytesValue':'AAEC'}},{'key'"
    ":'none','value':{}},"
    "{'key':'deep','value':{'kvlistValue':{'values':[{'key':'x','value':{'arrayValue':{'values':[{'"
    "intValue':'1'},{'doubleValue':'NaN'}]}}}]}}}]},"
    "{'traceId':'0b000000000000000000000000000002','spanId':'0000000000000009','parentSpanId':'"
    "00000000000000ff','name':'say \\\"hi\\\"',"
    "'startTimeUnixNano':'" T "50000','endTimeUnixNano':'" T
    "50000','attributes':[{'key':'user.id','value':{'stringValue':'u2'}},"
    "{'key':'odd name','value':{'intValue':'7'}}]}]}]}]}";

/* The text with ' as ". */
static struct tsdb_batch *sent_batch(void)
{
    static char text[sizeof sent];
    memcpy(text, sent, sizeof sent);
    for (char *p = text; *p; p++)
        if (*p == '\'')
            *p = '"';
    return door_decoded(bytes_str(text), TSDB_SPANS, OTLP_JSON);
}

static int start(void **state)
{
    struct door *s = door_open();
    assert_int_equal(rows_append(s->db, sent_batch(), NULL), ERR_OK);
    *state = s;
    return 0;
}

static int stop(void **state)
{
    door_close(*state);
    return 0;
}

/* --- one trace ---------------------------------------------------------------------------------- */

#define SAME_TEXT(column) assert_true(bytes_equal(a->column[i], b->column[k]))

/* Every span of the one that has the other's trace is there with all that it was sent with. */
static void same_spans(const struct tsdb_spans *a, const struct tsdb_spans *b)
{
    uint32_t found = 0;
    for (uint32_t i = 0; i < a->count; i++)
        for (uint32_t k = 0; k < b->count; k++) {
            if (memcmp(a->span_id[i].b, b->span_id[k].b, 8) != 0)
                continue;
            found++;
            assert_memory_equal(a->trace_id[i].b, b->trace_id[k].b, 16);
            assert_memory_equal(a->parent_id[i].b, b->parent_id[k].b, 8);
            assert_int_equal(a->start_ns[i], b->start_ns[k]);
            assert_int_equal(a->end_ns[i], b->end_ns[k]);
            assert_int_equal(a->kind[i], b->kind[k]);
            assert_int_equal(a->status[i], b->status[k]);
            assert_int_equal(a->flags[i], b->flags[k]);
            SAME_TEXT(name);
            SAME_TEXT(service);
            SAME_TEXT(scope_name);
            SAME_TEXT(scope_version);
            SAME_TEXT(status_message);
            SAME_TEXT(trace_state);
            SAME_TEXT(resource_attrs);
            SAME_TEXT(attrs);
            SAME_TEXT(events);
        }
    assert_int_equal(found, b->count);
}

static void a_trace_comes_back_as_it_was_sent_in_protobuf(void **state)
{
    struct door *s = *state;
    struct tsdb_batch *want = sent_batch();
    struct bytes body = door_ask_as(s, "/tempo/api/traces/a000000000000000000000000000001",
                                    "application/protobuf", 200);
    struct tsdb_batch *got = door_decoded(body, TSDB_SPANS, OTLP_PROTOBUF);
    assert_int_equal(got->spans.count, 4);
    same_spans(&want->spans, &got->spans);
    for (uint32_t i = 0; i < got->spans.count; i++)
        for (uint32_t k = 0; k < want->spans.count; k++)
            if (memcmp(got->spans.span_id[i].b, want->spans.span_id[k].b, 8) == 0)
                assert_true(bytes_equal(got->spans.links[i], want->spans.links[k]));
    tsdb_batch_free(got);
    /* the second version: the same, as field 1 */
    body = door_ask_as(s, "/tempo/api/v2/traces/0a000000000000000000000000000001",
                       "application/protobuf", 200);
    struct reader r = reader_of(body);
    assert_int_equal(reader_varint(&r), 1 << 3 | 2);
    got = door_decoded(reader_lenbytes(&r), TSDB_SPANS, OTLP_PROTOBUF);
    assert_int_equal(reader_left(&r), 0);
    same_spans(&want->spans, &got->spans);
    tsdb_batch_free(got);
    tsdb_batch_free(want);
}

static void a_trace_comes_back_as_it_was_sent_in_json(void **state)
{
    struct door *s = *state;
    struct tsdb_batch *want = sent_batch();
    struct bytes body = door_ask(s, "/tempo/api/v2/traces/0a000000000000000000000000000001", 200);
    static const char head[] = "{\"trace\":";
    assert_true(bytes_has_prefix(body, bytes_str(head)));
    struct bytes inner = bytes_slice(body, sizeof head - 1, body.size - 1);
    struct tsdb_batch *got = door_decoded(inner, TSDB_SPANS, OTLP_JSON);
    assert_int_equal(got->spans.count, 4);
    same_spans(&want->spans, &got->spans);
    tsdb_batch_free(got);
    body = door_ask(s, "/tempo/api/traces/0a000000000000000000000000000001", 200);
    assert_true(bytes_has_prefix(body, BYTES_LIT("{\"batches\":[")));
    (void)door_ask(s, "/tempo/api/traces/0c000000000000000000000000000003", 404);
    (void)door_ask(s, "/tempo/api/traces/xyz", 400);
    tsdb_batch_free(want);
}

/* --- search ------------------------------------------------------------------------------------- */

/* The names of the spans found, trace by trace: "chat,retry|say". */
static void found_of(struct bytes body, char *out, size_t size)
{
    struct arena *a = arena_new(0);
    struct json_node *root;
    struct err_msg msg = {""};
    assert_int_equal(json_in_tree(arena_copy(a, body), 32, a, &root, &msg), ERR_OK);
    size_t n = 0;
    out[0] = 0;
    for (const struct json_node *t = json_get(root, "traces")->child; t; t = t->next) {
        const struct json_node *set = json_get(t, "spanSets")->child;
        int64_t matched, spans = 0;
        assert_true(json_get_i64(set, "matched", &matched));
        for (const struct json_node *p = json_get(set, "spans")->child; p; p = p->next, spans++)
            n += (size_t)snprintf(out + n, size - n, "%s%.*s",
                                  spans ? ","
                                  : n   ? "|"
                                        : "",
                                  BYTES_ARG(json_get_str(p, "name")));
        assert_int_equal(matched, spans);
    }
    arena_free(a);
}

static const struct {
    const char *q, *found;
} searches[] = {
    {"{}", "say \"hi\"|POST /chat,chat,retry,attempt"},
    {"{ status = error }", "retry"},
    {"{ status != error && name != nil }", "say \"hi\"|POST /chat,chat,attempt"},
    {"{ kind = client }", "retry,attempt"},
    {"{ name =~ \"POST.*\" }", "POST /chat"},
    {"{ name =~ \"POST\" }", ""}, /* anchored */
    {"{ name !~ \"POST.*|say.*\" }", "chat,retry,attempt"},
    {"{ name = \"say \\\"hi\\\"\" }", "say \"hi\""},
    {"{ name = `chat` }", "chat"},
    {"{ duration >= 60us }", "POST /chat,retry"},
    {"{ duration = 5us }", "chat"},
    {"{ duration < 0.000006s && duration > 0 }", "chat"},
    {"{ .user.id = \"u2\" }", "say \"hi\""},
    {"{ span.user.id = \"u1\" || .user.id = \"u2\" }", "say \"hi\"|POST /chat"},
    {"{ span.cloud.region = \"eu\" }", ""},
    {"{ .cloud.region = \"eu\" && kind = server }", "POST /chat"},
    {"{ resource.service.name = \"model\" }", "say \"hi\"|chat"},
    {"{ span.http.response.status_code = 200 }", "POST /chat"},
    {"{ span.http.response.status_code = \"200\" }", ""},
    {"{ span.http.response.status_code >= 199.5 }", "POST /chat"},
    {"{ span.big = -9007199254740993 }", "retry"},
    {"{ span.big = -9007199254740992 }", ""},
    {"{ span.share * 4 = 1 }", "retry"},
    {"{ -span.share < -0.2 && span.share ^ 2 < 0.07 }", "retry"},
    {"{ span.finish = \"length\" }", "chat"}, /* one of several */
    {"{ \"stop\" = span.finish }", "chat"},
    {"{ span.stream }", "chat"},
    {"{ span.stream = true }", "chat"},
    {"{ !(kind = client) && resource.service.name = \"gateway\" }", "POST /chat"},
    {"{ span.user.id = nil && resource.service.name = \"gateway\" }", "retry,attempt"},
    {"{ span.user.id != nil }", "say \"hi\"|POST /chat"},
    {"{ span.user.id != \"u1\" }", "say \"hi\""}, /* what lacks it has no say */
    {"{ nil != span.user.id && 60us > duration }", "say \"hi\""},
    {"{ span.\"odd name\" = 7 }", "say \"hi\""},
    {"{ event.n = 3 }", "chat"},
    {"{ event:name = \"stop\" }", "chat"},
    {"{ event:timeSinceStart = 3us }", "chat"},
    {"{ link.why = \"batch\" }", "retry"},
    {"{ link:traceID = \"0b000000000000000000000000000002\" }", "retry"},
    {"{ span:id = \"0000000000000004\" }", "attempt"},
    {"{ instrumentation:name = \"sdk\" && nestedSetParent > 0 }", "chat"},
    {"{ nestedSetParent < 0 }", "say \"hi\"|POST /chat"},
    {"{ statusMessage = \"no\" }", "retry"},
    {"{ rootName = \"POST /chat\" && rootServiceName = \"gateway\" && traceDuration = 90us }",
     "POST /chat,chat,retry,attempt"},
    {"{ span:childCount = 2 }", "POST /chat"},
    {"{ parent.name = \"x\" }", ""},
    {"{ parent.resource.cloud.region = \"eu\" && parent.span.share < 1 }", "attempt"},
    {"{ name = \"chat\" } && { status = error }", "chat,retry"},
    {"{ name = \"chat\" } && { name = \"none\" }", ""},
    {"{ name = \"none\" } || { .user.id = \"u2\" }", "say \"hi\""},
    {"{ true } && { name = \"chat\" } || { name = \"nope\" }", "POST /chat,chat,retry,attempt"},
    {"{ kind = server } > { kind = client }", "retry"},
    {"{ kind = server } >> { kind = client }", "retry,attempt"},
    {"{ name = \"attempt\" } < { kind = client }", "retry"},
    {"{ name = \"attempt\" } << { true }", "POST /chat,retry"},
    {"{ name = \"chat\" } ~ { true }", "retry"},
    {"{ kind = client } | count() = 2", "retry,attempt"},
    {"{ kind = client } | count() > 2", ""},
    {"{ true } | { kind = client } | max(duration) >= 60us", "retry,attempt"},
    {"{ kind = client } | avg(duration) = 35us", "retry,attempt"},
    {"{ true } | sum(event.n) = 3", "POST /chat,chat,retry,attempt"},
    {"{ name = \"chat\" } | select(span.finish, status)", "chat"},
    {"{ name = \"chat\" } with (most_recent=true)", "chat"},
    /* refused, each with its place */
    {"", NULL},
    {"{", NULL},
    {"{ name = }", NULL},
    {"{ name = \"x }", NULL},
    {"{ nonsense = 1 }", NULL},
    {"{ name =~ \"(\" }", NULL},
    {"{ name =~ .x }", NULL},
    {"{ .a = 1 } | rate()", NULL},
    {"{ .a = 1 } | by(.b)", NULL},
    {"{ .a = 1 } !> { .b = 1 }", NULL},
    {"{ .a = 1d2 }", NULL},
    {"{ .a = 1 } }", NULL},
    {"{ .a = \"\\q\" }", NULL},
    {"{ . = 1 }", NULL},
    {"count() > 1", NULL},
};

static void traceql_finds_what_it_should(void **state)
{
    struct door *s = *state;
    char found[512];
    for (int pass = 0; pass < 2; pass++) { /* from the head, then from blocks */
        for (size_t i = 0; i < ARRAY_LEN(searches); i++) {
            if (!searches[i].found)
                continue;
            found_of(door_ask_with(s, "/tempo/api/search?spss=10&", "q", searches[i].q, 200), found,
                     sizeof found);
            if (strcmp(found, searches[i].found) != 0)
                fail_msg("%s: found %s, should be %s", searches[i].q, found, searches[i].found);
        }
        struct err_msg msg;
        assert_int_equal(tsdb_flush(s->db, false, &msg), ERR_OK);
    }
}

static void mistakes_in_traceql_are_answered_with_their_place(void **state)
{
    struct door *s = *state;
    for (size_t i = 0; i < ARRAY_LEN(searches); i++)
        if (!searches[i].found && searches[i].q[0]) {
            struct bytes why = door_ask_with(s, "/tempo/api/search?", "q", searches[i].q, 400);
            if (bytes_find(why, BYTES_LIT("parse error at line 1, col ")) == why.size)
                fail_msg("%s: no place: %.*s", searches[i].q, (int)why.size,
                         (const char *)why.data);
        }
    struct bytes why = door_ask_with(s, "/tempo/api/search?", "q", "{ name =\n  ? }", 400);
    assert_true(bytes_find(why, BYTES_LIT("line 2, col 3")) < why.size);
}

static void depth_and_size_of_a_query_are_bounded(void **state)
{
    struct arena *a = arena_new(0);
    struct query_traceql *q = NULL;
    struct err_msg msg = {""};
    static char deep[8192];
    memset(deep, '(', 4000);
    deep[0] = '{';
    assert_int_equal(query_traceql_parse(bytes_str(deep), a, &q, &msg), ERR_INVALID);
    assert_non_null(strstr(msg.text, "too deeply"));
    size_t n = (size_t)snprintf(deep, sizeof deep, "{ true");
    while (n + 10 < sizeof deep)
        n += (size_t)snprintf(deep + n, sizeof deep - n, "||true");
    snprintf(deep + n, sizeof deep - n, "}");
    assert_int_equal(query_traceql_parse(bytes_str(deep), a, &q, &msg), ERR_INVALID);
    assert_non_null(strstr(msg.text, "too large"));
    arena_free(a);
}

static void the_older_search_by_tags_and_durations_works(void **state)
{
    struct door *s = *state;
    char found[512];
    static const struct {
        const char *tags, *more, *found;
    } cases[] = {
        {"user.id=u1", "", "POST /chat"},
        {"service.name=gateway http.response.status_code=200", "", "POST /chat"},
        {"\"odd name\"=7", "", "say \"hi\""},
        {"name=\"say \\\"hi\\\"\"", "", "say \"hi\""},
        {"error=true", "", "retry"},
        {"stream=true", "", "chat"},
        {"", "minDuration=1us&", "POST /chat,chat,retry,attempt"},
        {"", "maxDuration=1us&", "say \"hi\""},
        {"", "start=1795168801&", ""},
        {"", "end=1795168799&", ""},
        {"", "start=1795168800&end=1795168801&limit=1&", "say \"hi\""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char path[80];
        snprintf(path, sizeof path, "/tempo/api/search?spss=10&%s", cases[i].more);
        found_of(door_ask_with(s, path, "tags", cases[i].tags, 200), found, sizeof found);
        if (strcmp(found, cases[i].found) != 0)
            fail_msg("%s %s: found %s", cases[i].tags, cases[i].more, found);
    }
    (void)door_ask(s, "/tempo/api/search?tags=word", 400);
    (void)door_ask(s, "/tempo/api/search?minDuration=x", 400);
    (void)door_ask(s, "/tempo/api/search?start=5&end=4", 400);
}

static void an_answer_has_what_grafana_shows(void **state)
{
    struct door *s = *state;
    struct bytes b =
        door_ask_with(s, "/tempo/api/search?", "q", "{ span.share > 0 && status = error }", 200);
    static const char *const pieces[] = {
        "\"traceID\":\"0a000000000000000000000000000001\"",
        "\"rootServiceName\":\"gateway\"",
        "\"rootTraceName\":\"POST /chat\"",
        "\"startTimeUnixNano\":\"1795168800000000000\"",
        "\"durationMs\":0",
        "\"spanID\":\"0000000000000003\"",
        "\"durationNanos\":\"60000\"",
        "{\"key\":\"share\",\"value\":{\"doubleValue\":0.25}}",
        "{\"key\":\"status\",\"value\":{\"stringValue\":\"error\"}}",
        "\"metrics\":{\"inspectedTraces\":1",
    };
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++)
        if (bytes_find(b, bytes_str(pieces[i])) == b.size)
            fail_msg("%s is missing: %.*s", pieces[i], (int)b.size, (const char *)b.data);
    assert_true(bytes_equal_str(door_ask(s, "/tempo/api/echo", 200), "echo"));
    (void)door_ask(s, "/tempo/api/status/buildinfo", 200);
}

static void tags_and_their_values_are_told(void **state)
{
    struct door *s = *state;
    static const struct {
        const char *path, *q, *answer;
    } cases[] = {
        {"/tempo/api/v2/search/tags?scope=resource", NULL,
         "{\"scopes\":[{\"name\":\"resource\",\"tags\":[\"cloud.region\",\"service.name\"]}]}"},
        {"/tempo/api/v2/search/tags?scope=event", NULL,
         "{\"scopes\":[{\"name\":\"event\",\"tags\":[\"n\"]}]}"},
        {"/tempo/api/search/tags?scope=link", NULL, "{\"tagNames\":[\"why\"]}"},
        {"/tempo/api/search/tag/user.id/values?limit=1", NULL, "{\"tagValues\":[\"u1\"]}"},
        {"/tempo/api/v2/search/tag/span.finish/values", NULL,
         "{\"tagValues\":[{\"type\":\"string\",\"value\":\"stop\"},{\"type\":\"string\",\"value\":"
         "\"length\"}]}"},
        {"/tempo/api/v2/search/tag/kind/values?", "{ name = \"chat\" }",
         "{\"tagValues\":[{\"type\":\"keyword\",\"value\":\"internal\"}]}"},
        {"/tempo/api/v2/search/tag/kind/values?", "{ name = \"chat\" && ", /* being typed */
         "{\"tagValues\":[{\"type\":\"keyword\",\"value\":\"client\"},{\"type\":\"keyword\","
         "\"value\":\"server\"},"
         "{\"type\":\"keyword\",\"value\":\"internal\"},{\"type\":\"keyword\",\"value\":"
         "\"unspecified\"}]}"},
        {"/tempo/api/v2/search/tag/span.stream/values", NULL,
         "{\"tagValues\":[{\"type\":\"bool\",\"value\":\"true\"}]}"},
        {"/tempo/api/v2/search/tag/span.none/values", NULL, "{\"tagValues\":[]}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct bytes b = cases[i].q ? door_ask_with(s, cases[i].path, "q", cases[i].q, 200)
                                    : door_ask(s, cases[i].path, 200);
        if (!bytes_equal_str(b, cases[i].answer))
            fail_msg("%s: %.*s", cases[i].path, (int)b.size, (const char *)b.data);
    }
    (void)door_ask(s, "/tempo/api/v2/search/tags?scope=what", 400);
}

#define METRICS "/tempo/api/metrics/query_range?start=1795168790&end=1795168810&step=10s&"

static void metrics_over_time_count_and_measure_spans(void **state)
{
    static const struct {
        const char *q, *series;
    } cases[] = {
        {"{ } | rate() by (resource.service.name)",
         "[{\"labels\":[{\"key\":\"resource.service.name\",\"value\":{\"stringValue\":\"gateway\"}}"
         "],"
         "\"samples\":[{\"timestampMs\":\"1795168790000\",\"value\":0},{\"timestampMs\":"
         "\"1795168800000\",\"value\":0.3}]},{\"labels\":[{\"key\":\"resource.service.name\","
         "\"value\":"
         "{\"stringValue\":\"model\"}}],\"samples\":[{\"timestampMs\":\"1795168790000\",\"value\":"
         "0},{"
         "\"timestampMs\":\"1795168800000\",\"value\":0.2}]}]"},
        {"{ status = error || kind = client } | count_over_time() with (exemplars=true)",
         "[{\"labels\":[{\"key\":\"__name__\",\"value\":{\"stringValue\":\"count_over_time\"}}],"
         "\"samples\":[{\"timestampMs\":\"1795168790000\",\"value\":0},{\"timestampMs\":"
         "\"1795168800000\",\"value\":2}]}]"},
        {"{ name = \"chat\" } | max_over_time(duration)",
         "[{\"labels\":[{\"key\":\"__name__\",\"value\":{\"stringValue\":\"max_over_time\"}}],"
         "\"samples\":[{\"timestampMs\":\"1795168800000\",\"value\":0.000005}]}]"},
        {"{ } | quantile_over_time(duration, 1) by (name) | topk(1)",
         "[{\"labels\":[{\"key\":\"name\",\"value\":{\"stringValue\":\"POST "
         "/chat\"}},{\"key\":\"p\","
         "\"value\":{\"doubleValue\":1}}],\"samples\":["},
        {"{ span.\"odd name\" = 7 && .\"user.id\" = \"a | b\" } | rate()", "[]"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct bytes got = door_ask_with(*state, METRICS, "q", cases[i].q, 200);
        size_t at = bytes_find(got, bytes_str(cases[i].series));
        if (at != BYTES_LIT("{\"series\":").size)
            fail_msg("%s\n" BYTES_FMT, cases[i].q, BYTES_ARG(got));
    }
    struct bytes one =
        door_ask_with(*state, "/tempo/api/metrics/query?start=1795168790&end=1795168810&", "q",
                      "{ } | count_over_time()", 200);
    assert_true(bytes_find(one, BYTES_LIT("\"value\":5}]")) < one.size);
}

static void mistakes_of_metrics_queries_are_named(void **state)
{
    static const char *const wrong[][2] = {
        {"{ }", "a metrics query is a span set and a function"},
        {"{ } | nope()", "is no metrics function; known are rate"},
        {"{ } | rate(duration)", "rate has more arguments than it takes"},
        {"{ } | max_over_time()", "max_over_time wants a field"},
        {"{ } | quantile_over_time(duration)", "wants quantiles"},
        {"{ } | quantile_over_time(duration, 2)", "numbers from 0 to 1"},
        {"{ } | rate() by ()", "by wants fields"},
        {"{ } | rate() | topk(0)", "topk and bottomk want a number"},
        {"{ } | rate() / rate()", "is no metrics function"},
        {"{ a = } | rate()", "line 1, col 3"},
        {"{ } && { } | rate()", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct bytes got = door_ask_with(*state, METRICS, "q", wrong[i][0], 400);
        if (bytes_find(got, bytes_str(wrong[i][1])) == got.size)
            fail_msg("%s: " BYTES_FMT, wrong[i][0], BYTES_ARG(got));
    }
    door_ask_with(*state, "/tempo/api/metrics/query_range?start=1&end=1795168810&step=1s&", "q",
                  "{ } | rate()", 400);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_trace_comes_back_as_it_was_sent_in_protobuf, start, stop),
        cmocka_unit_test_setup_teardown(a_trace_comes_back_as_it_was_sent_in_json, start, stop),
        cmocka_unit_test_setup_teardown(traceql_finds_what_it_should, start, stop),
        cmocka_unit_test_setup_teardown(mistakes_in_traceql_are_answered_with_their_place, start,
                                        stop),
        cmocka_unit_test_setup_teardown(the_older_search_by_tags_and_durations_works, start, stop),
        cmocka_unit_test_setup_teardown(an_answer_has_what_grafana_shows, start, stop),
        cmocka_unit_test_setup_teardown(tags_and_their_values_are_told, start, stop),
        cmocka_unit_test_setup_teardown(metrics_over_time_count_and_measure_spans, start, stop),
        cmocka_unit_test_setup_teardown(mistakes_of_metrics_queries_are_named, start, stop),
        cmocka_unit_test(depth_and_size_of_a_query_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
