/* Token events through the real stage and store: what is there when a stream has ended, also when the store was closed in between. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <glob.h>
#include <cmocka.h>

#include "base/check.h"
#include "base/clock.h"
#include "collector/stage/stage.h"
#include "collector/tokens/tokens.h"
#include "query/query_stream.h"
#include "tsdb/helper_rows.h"
#include "tsdb/tsdb_timeline.h"

#define SECOND INT64_C(1000000000)

struct place {
    char dir[64];
    struct stage *stage;
    struct tsdb *db;
    int64_t
        now_ns; /* of the batches: everything is overdue by the wall clock, and closes when the next batch comes */
};

static void place_open(struct place *p)
{
    struct err_msg msg = {""};
    assert_int_equal(stage_new(NULL, &p->stage, &msg), ERR_OK);
    struct tsdb_options o = {.dir = p->dir, .settler = stage_settler(p->stage)};
    if (tsdb_open(&o, &p->db, &msg) != ERR_OK)
        fail_msg("%s", msg.text);
    stage_set_series(p->stage, tsdb_series(p->db));
}

static void place_close(struct place *p, bool flush)
{
    char damaged[128];
    glob_t found;
    snprintf(damaged, sizeof damaged, "%s/quarantine/*", p->dir);
    assert_int_equal(glob(damaged, 0, NULL, &found), GLOB_NOMATCH);
    tsdb_close(p->db, flush);
    stage_free(p->stage);
}

static void append(struct place *p, const char *json, int64_t at_ns)
{
    struct tsdb_batch *b = tsdb_batch_new(ROWS_ORG, TSDB_TOKENS, 64u << 20);
    struct tokens_options o = {.encoding = TOKENS_JSON, .now_ns = p->now_ns + 600 * SECOND};
    struct tsdb_result r;
    struct err_msg msg = {""};
    if (*json && tokens_decode(b, bytes_str(json), &o, &msg) != ERR_OK)
        fail_msg("%s", msg.text);
    b->received_ns = at_ns;
    assert_int_equal(stage_apply(p->stage, b, &msg), ERR_OK);
    assert_int_equal(rows_append(p->db, b, &r), ERR_OK);
}

/* Times in ms after p->now_ns. */
static const char *event(struct place *p, const char *id, int64_t ms, const char *more)
{
    static char text[512];
    snprintf(text, sizeof text,
             "{\"request_id\":\"%s\",\"service\":\"gw\",\"model\":\"m\",\"time_unix_nano\":%lld%s}",
             id, (long long)(p->now_ns + ms * 1000000), more);
    return text;
}

static int64_t cells(struct place *p, const char *family)
{
    struct tsdb_view *v;
    int64_t sum = 0;
    struct tsdb_matcher name = {
        .op = TSDB_MATCH_EQ, .name = BYTES_LIT("__name__"), .value = bytes_str(family)};
    uint32_t minute = tsdb_batch_minute(p->now_ns);
    assert_int_equal(tsdb_view_open(p->db, ROWS_ORG, NULL, &v), ERR_OK);
    assert_int_equal(tsdb_cells_sum(v, &name, 1, minute - 10, minute + 10, &sum), ERR_OK);
    tsdb_view_close(v);
    return sum;
}

static uint32_t records(struct place *p, struct arena *a, struct tsdb_logs *out)
{
    struct tsdb_view *v;
    struct tsdb_log_filter all = {.max_ns = INT64_MAX};
    *out = (struct tsdb_logs){0};
    assert_int_equal(tsdb_view_open(p->db, ROWS_ORG, NULL, &v), ERR_OK);
    assert_int_equal(tsdb_log_scan(v, &all, 100, a, out), ERR_OK);
    tsdb_view_close(v);
    return out->count;
}

static int64_t number(const struct tsdb_logs *l, uint32_t row, const char *key)
{
    struct tsdb_value v;
    return tsdb_attrs_find(l->attrs[row], bytes_str(key), &v) && v.type == TSDB_VALUE_INT
               ? v.integer
               : -1;
}

static void assert_accounts(struct place *p, uint64_t events, uint64_t logs)
{
    struct tsdb_account rows[16];
    size_t n = tsdb_accounts(p->db, rows, 16);
    uint64_t live = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t sum = rows[i].stored + rows[i].duplicate + rows[i].quarantined;
        assert_int_equal(rows[i].received, sum);
        if (rows[i].signal == TSDB_TOKENS)
            assert_int_equal(rows[i].stored, events);
        if (rows[i].signal == TSDB_LOGS)
            assert_int_equal(rows[i].stored, logs);
    }
    assert_int_equal(tsdb_count(p->db, ROWS_ORG, TSDB_LOGS, &live), ERR_OK);
    assert_int_equal(live, logs);
}

static void place_init(struct place *p)
{
    *p = (struct place){.dir = "/tmp/telltale-tokens-XXXXXX",
                        .now_ns = (clock_wall_ns() - 3600 * SECOND) / SECOND * SECOND};
    assert_non_null(mkdtemp(p->dir));
}

static void a_stream_becomes_cells_and_a_record(void **ctx)
{
    struct place p;
    struct arena *a = arena_new(0);
    struct tsdb_logs l;
    struct tsdb_value v;
    place_init(&p);
    place_open(&p);
    int64_t far = clock_wall_ns() +
                  600 * SECOND; /* the clock of the batches is ahead: nothing closes by itself */
    append(&p, event(&p, "r1", 0, ",\"kind\":\"start\""), far);
    append(&p, event(&p, "r1", 620, ",\"tokens\":2"), far);
    append(&p, event(&p, "r1", 250, ""), far); /* overtaken */
    append(&p, event(&p, "r1", 900, ",\"kind\":\"end\",\"finish_reason\":\"stop\""), far);
    append(&p, event(&p, "r1", 620, ",\"tokens\":2"), far); /* a repeat */
    assert_int_equal(records(&p, a, &l), 0);
    append(&p, "", far + 6 * SECOND);
    assert_int_equal(records(&p, a, &l), 1);
    assert_true(bytes_equal_str(l.event_name[0], "telltale.stream"));
    assert_true(bytes_equal_str(l.service[0], "gw"));
    assert_int_equal(number(&l, 0, "ttft_ns"), 250000000);
    assert_int_equal(number(&l, 0, "tokens_output"), 3);
    assert_int_equal(number(&l, 0, "events"), 4);
    assert_true(tsdb_attrs_find(l.attrs[0], BYTES_LIT("timeline"), &v));
    assert_int_equal(v.type, TSDB_VALUE_BYTES);
    assert_int_equal(cells(&p, "llm_streams_total"), 1);
    assert_int_equal(cells(&p, "llm_stream_tokens_total"), 3);
    assert_accounts(&p, 5, 1);
    place_close(&p, true);
    place_open(&p);
    assert_int_equal(cells(&p, "llm_streams_total"), 1);
    assert_accounts(&p, 5, 1);
    place_close(&p, false);
    arena_free(a);
}

/* Closed with (flushed) and without sealing, between any two of the events. */
static void open_streams_outlive_the_process(void **ctx)
{
    for (uint32_t at = 1; at < 6; at++) {
        struct place p;
        struct err_msg msg = {""};
        struct arena *a = arena_new(0);
        struct tsdb_logs l;
        place_init(&p);
        place_open(&p);
        int64_t far = clock_wall_ns() + 600 * SECOND;
        for (uint32_t i = 0; i < 6; i++) {
            if (i == at) {
                if (at % 2) /* a new generation: only its checkpoint knows of the stream */
                    assert_int_equal(tsdb_flush(p.db, false, &msg), ERR_OK);
                place_close(&p, at == 4);
                place_open(&p);
            }
            if (i == 0)
                append(&p, event(&p, "r1", 0, ",\"kind\":\"start\""), far);
            else if (i < 4)
                append(&p, event(&p, "r1", 100 * i, ""), far);
            else if (i == 4)
                append(&p, event(&p, "r1", 500, ",\"kind\":\"end\",\"finish_reason\":\"stop\""),
                       far);
            else
                append(&p, "", far + 6 * SECOND);
        }
        assert_int_equal(records(&p, a, &l), 1);
        assert_int_equal(number(&l, 0, "ttft_ns"), 100000000);
        assert_int_equal(number(&l, 0, "tokens_output"), 3);
        place_close(&p, false);
        place_open(&p); /* and it stays closed */
        append(&p, event(&p, "r1", 300, ""), far);
        append(&p, "", far + 300 * SECOND);
        assert_int_equal(records(&p, a, &l), 1);
        assert_int_equal(cells(&p, "llm_streams_total"), 1);
        assert_accounts(&p, 6, 1);
        place_close(&p, false);
        arena_free(a);
    }
}

static void a_stream_that_falls_silent_ends_without_any_traffic(void **ctx)
{
    struct place p;
    struct arena *a = arena_new(0);
    struct tsdb_logs l;
    place_init(&p);
    place_open(&p);
    append(&p, event(&p, "r1", 0, ""), p.now_ns); /* an hour ago: overdue as soon as it is there */
    uint32_t n = 0;
    for (int i = 0; i < 600 && !(n = records(&p, a, &l)); i++)
        clock_sleep_ms(50);
    assert_int_equal(n, 1);
    struct tsdb_value v;
    assert_true(tsdb_attrs_find(l.attrs[0], BYTES_LIT("result"), &v) &&
                bytes_equal_str(v.bytes, "timeout"));
    place_close(&p, false);
    arena_free(a);
}

/* Asks for the streams of the trace whose id is sixteen times `byte`, around p->now_ns. */
static uint32_t streams(struct place *p, uint8_t byte, struct arena *a, struct query_streams *out)
{
    struct tsdb_view *v;
    struct tsdb_id16 trace;
    memset(trace.b, byte, sizeof trace.b);
    assert_int_equal(tsdb_view_open(p->db, ROWS_ORG, NULL, &v), ERR_OK);
    assert_int_equal(query_streams_read(v, trace, p->now_ns, p->now_ns + SECOND, a, out), ERR_OK);
    tsdb_view_close(v);
    return out->count;
}

static const char *span_event(struct place *p, uint8_t trace, uint8_t span, int64_t ms,
                              const char *more)
{
    static char text[512];
    char t[33], s[17];
    struct tsdb_id16 id;
    memset(id.b, trace, sizeof id.b);
    bytes_to_hex(bytes_of(id.b, 16), t);
    memset(id.b, span, 8);
    bytes_to_hex(bytes_of(id.b, 8), s);
    snprintf(text, sizeof text,
             "{\"trace_id\":\"%s\",\"span_id\":\"%s\",\"time_unix_nano\":%lld%s}", t, s,
             (long long)(p->now_ns + ms * 1000000), more);
    return text;
}

static void a_trace_finds_the_streams_of_its_spans(void **ctx)
{
    struct place p;
    struct arena *a = arena_new(0);
    struct query_streams out;
    place_init(&p);
    place_open(&p);
    int64_t far = clock_wall_ns() + 600 * SECOND;
    for (uint8_t trace = 1; trace <= 2; trace++)
        for (uint8_t span = 1; span <= 3; span++) {
            append(&p, span_event(&p, trace, span, 0, ",\"kind\":\"start\""), far);
            append(&p, span_event(&p, trace, span, 100 * span, ",\"tokens\":3"), far);
            for (int ms = 10; ms <= 40; ms += 10)
                append(&p, span_event(&p, trace, span, 100 * span + ms, ""), far);
            append(&p, span_event(&p, trace, span, 20000, ",\"tokens\":4"), far);
            append(
                &p,
                span_event(&p, trace, span, 20100, ",\"kind\":\"end\",\"finish_reason\":\"stop\""),
                far);
        }
    append(&p, "", far + 6 * SECOND);
    for (int sealed = 0; sealed < 2; sealed++) {
        assert_int_equal(streams(&p, 3, a, &out), 0);
        assert_int_equal(streams(&p, 2, a, &out), 3);
        for (uint8_t span = 1; span <= 3; span++) {
            struct tsdb_id8 id;
            memset(id.b, span, sizeof id.b);
            const struct query_stream *s = query_streams_of(&out, id);
            assert_non_null(s);
            assert_true(bytes_equal_str(s->result, "complete"));
            assert_true(bytes_equal_str(s->reason, "stop"));
            assert_int_equal(s->ttft_ns, 100000000 * span);
            assert_int_equal(s->output, 11);
            assert_int_equal(s->stall_count, 1);
            assert_int_equal(s->stalls_placed, 1);
            assert_int_equal(s->stalls[0].after_ns, 100000000 * span + 40000000);
            assert_true(s->bins[s->ttft_ns / s->bin_ns] >= 3);
        }
        assert_null(query_streams_of(&out, (struct tsdb_id8){{9}}));
        place_close(&p, true); /* once more, from parts */
        place_open(&p);
    }
    place_close(&p, false);
    arena_free(a);
}

/* A call of the trace 16 * 5 and the span 8 * 6 that tells of its chunks itself, from p->now_ns to 800 ms later. */
static void append_span(struct place *p, int64_t at_ns)
{
    struct tsdb_batch *b = tsdb_batch_new(ROWS_ORG, TSDB_SPANS, 16u << 20);
    struct buf attrs = {0}, events = {0};
    struct tsdb_result r;
    struct err_msg msg = {""};
    assert_int_equal(tsdb_batch_add_span(b), 0);
    memset(b->spans.trace_id[0].b, 5, 16);
    memset(b->spans.span_id[0].b, 6, 8);
    b->spans.start_ns[0] = p->now_ns;
    b->spans.end_ns[0] = p->now_ns + 800000000;
    b->spans.name[0] = BYTES_LIT("chat");
    b->spans.service[0] = BYTES_LIT("gw");
    tsdb_attrs_put_str(&attrs, BYTES_LIT("gen_ai.operation.name"), BYTES_LIT("chat"));
    tsdb_attrs_put_str(&attrs, BYTES_LIT("gen_ai.request.model"), BYTES_LIT("gpt-4o"));
    tsdb_attrs_put_str(&attrs, BYTES_LIT("gen_ai.response.finish_reasons"), BYTES_LIT("stop"));
    for (int64_t ms = 300; ms <= 700; ms += 100)
        tsdb_attrs_put_event(
            &events, &(struct tsdb_event){.time_ns = (uint64_t)(p->now_ns + ms * 1000000),
                                          .name = BYTES_LIT("llm.content.completion.chunk")});
    b->spans.attrs[0] = arena_copy(b->arena, buf_bytes(&attrs));
    b->spans.events[0] = arena_copy(b->arena, buf_bytes(&events));
    buf_done(&attrs);
    buf_done(&events);
    b->received = 1;
    b->received_ns = at_ns;
    assert_int_equal(stage_apply(p->stage, b, &msg), ERR_OK);
    assert_int_equal(rows_append(p->db, b, &r), ERR_OK);
}

/* Alone, and beside a gateway that told of the same span before: a token that two saw counts once. Each of them twice, as after a retry. */
static void chunk_events_of_a_span_become_its_stream_once(void **ctx)
{
    for (int told = 0; told < 2; told++) {
        struct place p;
        struct arena *a = arena_new(0);
        struct query_streams out;
        place_init(&p);
        place_open(&p);
        int64_t far = clock_wall_ns() + 600 * SECOND;
        for (int i = 0; told && i < 2; i++)
            append(&p, span_event(&p, 5, 6, 310, ",\"tokens\":9"), far);
        append_span(&p, far);
        append_span(&p, far);
        append(&p, "", far + 6 * SECOND);
        append(&p, "", far + 130 * SECOND); /* what the gateway told has no end */
        assert_int_equal(streams(&p, 5, a, &out), 1);
        assert_int_equal(out.streams[0].output, told ? 9 : 5);
        assert_true(bytes_equal_str(out.streams[0].source, told ? "token_events" : "span_events"));
        assert_true(bytes_equal_str(out.streams[0].result, told ? "timeout" : "complete"));
        assert_int_equal(out.streams[0].ttft_ns, told ? -1 : 300000000);
        assert_int_equal(cells(&p, "llm_streams_total"), 1);
        assert_int_equal(cells(&p, "llm_stream_tokens_total"), told ? 9 : 5);
        assert_int_equal(cells(&p, "llm_requests_total"), 1);
        assert_accounts(&p, told ? 2 : 0, 1);
        place_close(&p, true);
        arena_free(a);
    }
}

#define T(name) cmocka_unit_test(name)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_stream_becomes_cells_and_a_record),
        T(open_streams_outlive_the_process),
        T(a_stream_that_falls_silent_ends_without_any_traffic),
        T(a_trace_finds_the_streams_of_its_spans),
        T(chunk_events_of_a_span_become_its_stream_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
