/* From a call to a verdict in the store, with a judge of the test's own: what is joined, what is counted, what is never written; and that whoever
 * offers never waits. */
#include <ftw.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/stats.h"
#include "detectors/detectors_checker.h"
#include "detectors/detectors_watch.h"
#include "tsdb/tsdb_read.h"

#define ORG 10u

static struct {
    char dir[64];
    struct tsdb *db;
    struct detectors_checker *c;
    struct detectors_watch *watch;
    struct detectors_checker_options o;
    pthread_mutex_t gate; /* the judge passes it for each text */
    char last_documents[512], last_question[64];
    unsigned checks;
    uint32_t last_count;
} t;

/* --- a judge: a sentence is supported when a document has its first word --------------------------------- */

static enum err judge_open(void *ctx, struct err_msg *msg)
{
    return ERR_OK;
}

static void judge_close(void *ctx)
{
}

static const char *judge_version(void *ctx)
{
    return "test-1";
}

static double judge_threshold(void *ctx)
{
    return 0.5;
}

static enum err judge_check(void *ctx, const struct ground_text *x, struct arena *a,
                            struct ground_verdict *out, struct err_msg *msg)
{
    pthread_mutex_lock(&t.gate);
    pthread_mutex_unlock(&t.gate);
    t.checks++;
    t.last_count = x->documents_count;
    size_t n = 0;
    for (uint32_t i = 0; i < x->documents_count; i++)
        n += (size_t)snprintf(t.last_documents + n, sizeof t.last_documents - n, "%s%.*s",
                              i ? "|" : "", (int)x->documents[i].size,
                              (const char *)x->documents[i].data);
    snprintf(t.last_question, sizeof t.last_question, "%.*s", (int)x->question.size,
             (const char *)x->question.data);
    struct ground_sentence *s = ARENA_ARRAY(a, struct ground_sentence, 1);
    bool bad = bytes_find(x->response, BYTES_LIT("wrong")) < x->response.size;
    *s = (struct ground_sentence){.end = (uint32_t)x->response.size,
                                  .probability = bad ? 0.9F : 0.1F,
                                  .evidence_count = 1,
                                  .evidence[0] = {.end = 3, .similarity = 0.8F}};
    *out = (struct ground_verdict){.status = GROUND_JUDGED,
                                   .flagged = bad,
                                   .probability = s->probability,
                                   .logit = bad ? 2.2F : -2.2F,
                                   .sentences = s,
                                   .sentences_count = 1,
                                   .tokens = 7};
    return ERR_OK;
}

/* body: "question;response;document;document" of a call, of a source its documents. */
static enum err read_rows(const struct checker_said *const *rows, size_t count, struct arena *a,
                          struct checker_parts *out)
{
    struct bytes *list = ARENA_ARRAY(a, struct bytes, 64);
    uint32_t n = 0, field = rows[0]->kind == CHECKER_CALL ? 0 : 2;
    for (size_t i = 0; i < count; i++) {
        for (struct bytes left = rows[i]->attrs; left.size;) {
            size_t size = bytes_find(left, BYTES_LIT(";"));
            struct bytes word = bytes_slice(left, 0, size);
            left = bytes_slice(left, MIN(size + 1, left.size), left.size);
            if (field == 0)
                out->question = word;
            else if (field == 1)
                out->response = word;
            else if (word.size)
                list[n++] = word;
            field++;
        }
        field = 2;
    }
    out->documents = list;
    out->document_count = n;
    return ERR_OK;
}

/* --- the stage --------------------------------------------------------------------------------------------- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    return remove(path);
}

static int setup(void **state)
{
    struct err_msg msg = {""};
    memset(&t, 0, sizeof t);
    pthread_mutex_init(&t.gate, NULL);
    snprintf(t.dir, sizeof t.dir, "/tmp/telltale-checker-XXXXXX");
    assert_non_null(mkdtemp(t.dir));
    struct tsdb_options o = {.dir = t.dir};
    assert_int_equal(tsdb_open(&o, &t.db, &msg), ERR_OK);
    assert_int_equal(detectors_watch_new(t.db, &t.watch), ERR_OK);
    t.o = (struct detectors_checker_options){
        .db = t.db,
        .judge = {NULL, judge_open, judge_close, judge_check, judge_version, judge_threshold},
        .read = read_rows,
        .sample = 1,
        .wait_ms = 600000, /* a drain ends the wait */
        .watch = t.watch};
    return 0;
}

static int teardown(void **state)
{
    detectors_checker_free(t.c);
    detectors_watch_free(t.watch);
    tsdb_close(t.db, false);
    nftw(t.dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    pthread_mutex_destroy(&t.gate);
    return 0;
}

static void begin(void)
{
    struct err_msg msg = {""};
    assert_int_equal(detectors_checker_new(&t.o, &t.c), ERR_OK);
    assert_int_equal(detectors_checker_start(t.c, &msg), ERR_OK);
}

static struct tsdb_id16 trace_of(uint32_t n)
{
    struct tsdb_id16 id = {{1}};
    bytes_put_u32le(id.b + 8, n);
    return id;
}

static bool is_odd; /* what is offered looks wrong, and is picked for that */

static void offer(enum checker_kind kind, uint32_t trace, uint32_t span, const char *text)
{
    struct checker_said s = {.kind = kind,
                             .org = ORG,
                             .trace_id = trace_of(trace),
                             .end_ns = clock_wall_ns(),
                             .is_anomalous = is_odd,
                             .attrs = bytes_str(text)};
    bytes_put_u32le(s.span_id.b, span);
    if (kind == CHECKER_CALL) {
        s.text[CHECKER_SERVICE] = BYTES_LIT("shop");
        s.text[CHECKER_MODEL] = BYTES_LIT("m-1");
        s.text[CHECKER_PROMPT_VERSION] = BYTES_LIT("v2");
    }
    if (detectors_checker_wants(t.c, ORG, s.trace_id))
        detectors_checker_offer(t.c, &s);
}

static int64_t sum_of(const char *family)
{
    struct tsdb_view *v;
    struct tsdb_matcher m[] = {
        {TSDB_MATCH_EQ, BYTES_LIT("__name__"), bytes_str(family), NULL, NULL},
        {TSDB_MATCH_EQ, BYTES_LIT("service"), BYTES_LIT("shop"), NULL, NULL}};
    uint32_t now = (uint32_t)(clock_wall_ms() / 60000);
    int64_t sum = 0;
    assert_int_equal(tsdb_view_open(t.db, ORG, NULL, &v), ERR_OK);
    assert_int_equal(tsdb_cells_sum(v, m, 2, now - 10, now + 10, &sum), ERR_OK);
    tsdb_view_close(v);
    return sum;
}

static struct tsdb_logs records(struct arena *a)
{
    struct tsdb_view *v;
    struct tsdb_logs out = {0};
    struct tsdb_log_filter f = {.max_ns = INT64_MAX};
    assert_int_equal(tsdb_view_open(t.db, ORG, NULL, &v), ERR_OK);
    assert_int_equal(tsdb_log_scan(v, &f, 1000, a, &out), ERR_OK);
    tsdb_view_close(v);
    return out;
}

static struct tsdb_value attr(const struct tsdb_logs *l, uint32_t row, const char *key)
{
    struct tsdb_value v = {0};
    if (!tsdb_attrs_find(l->attrs[row], bytes_str(key), &v))
        fail_msg("a record lacks %s", key);
    return v;
}

/* --- tests ---------------------------------------------------------------------------------------------------- */

static void a_verdict_becomes_a_record_of_the_call_and_cells(void **state)
{
    struct arena *a = arena_new(0);
    begin();
    offer(CHECKER_CALL, 1, 7, "when?;wrong answer;SECRETDOCUMENT");
    offer(CHECKER_CALL, 2, 8, "when?;fine;SECRETDOCUMENT");
    detectors_checker_drain(t.c);
    struct tsdb_logs l = records(a);
    assert_int_equal(l.count, 2);
    uint32_t bad = attr(&l, 0, "gen_ai.evaluation.score.value").number > 0.5 ? 0 : 1;
    assert_true(bytes_equal_str(l.event_name[bad], "gen_ai.evaluation.result"));
    assert_memory_equal(l.trace_id[bad].b, trace_of(1).b, 16);
    assert_int_equal(l.span_id[bad].b[0], 7);
    assert_true(bytes_equal_str(l.service[bad], "shop"));
    assert_true(
        bytes_equal_str(attr(&l, bad, "gen_ai.evaluation.score.label").bytes, "unsupported"));
    assert_true(
        bytes_equal_str(attr(&l, 1 - bad, "gen_ai.evaluation.score.label").bytes, "supported"));
    assert_true(bytes_equal_str(attr(&l, bad, "telltale.grounding.sentences").bytes,
                                "[[0,12,0,0.9,[[0,0,3,0.8]]]]"));
    assert_true(attr(&l, bad, "telltale.grounding.inclusion").number == 1);
    assert_true(bytes_equal_str(attr(&l, bad, "telltale.grounding.version").bytes, "test-1"));
    assert_int_equal(sum_of("llm_grounding_checked_total"), 2);
    assert_int_equal(sum_of("llm_grounding_sampled_total"), 2);
    assert_int_equal(sum_of("llm_grounding_flagged_total"), 1);
    assert_int_equal(sum_of("llm_grounding_unverifiable_total"), 0);
    arena_free(a);
}

static void no_text_of_a_call_is_ever_written(void **state)
{
    struct arena *a = arena_new(0);
    begin();
    offer(CHECKER_CALL, 1, 7, "SECRETQUESTION;wrong SECRETANSWER;SECRETDOCUMENT");
    detectors_checker_drain(t.c);
    struct tsdb_logs l = records(a);
    assert_int_equal(l.count, 1);
    assert_false(tsdb_attrs_contain(l.attrs[0], BYTES_LIT("SECRET")));
    assert_false(tsdb_attrs_value_contains(l.body[0], BYTES_LIT("SECRET")));
    assert_true(tsdb_attrs_contain(l.attrs[0], BYTES_LIT("test-1"))); /* it would be found */
    arena_free(a);
}

static void without_documents_a_call_is_unverifiable_and_never_ok(void **state)
{
    struct arena *a = arena_new(0);
    begin();
    offer(CHECKER_CALL, 1, 7, "when?;an answer");
    offer(CHECKER_CALL, 2, 7, "when?;;a document");
    detectors_checker_drain(t.c);
    assert_int_equal(records(a).count, 0);
    assert_int_equal(t.checks, 0);
    assert_int_equal(sum_of("llm_grounding_unverifiable_total"), 1);
    assert_int_equal(sum_of("llm_grounding_nothing_to_judge_total"), 1);
    assert_int_equal(sum_of("llm_grounding_checked_total"), 0);
    arena_free(a);
}

static void documents_of_the_trace_are_joined_and_no_others(void **state)
{
    begin();
    offer(CHECKER_SOURCE, 1, 1, "one;two");
    offer(CHECKER_SOURCE, 2, 1, "of another trace");
    offer(CHECKER_RECORD, 1, 7, "of its record");
    offer(CHECKER_RECORD, 1, 8, "of another span's record");
    offer(CHECKER_CALL, 1, 7, "when?;an answer;own;two");
    offer(CHECKER_SOURCE, 1, 3, "fetched afterwards");
    detectors_checker_drain(t.c);
    assert_int_equal(t.checks, 1);
    assert_string_equal(t.last_documents, "own|two|of its record|one");
    assert_string_equal(t.last_question, "when?");
}

static void a_call_that_is_told_twice_is_judged_once(void **state)
{
    begin();
    for (int i = 0; i < 3; i++)
        offer(CHECKER_CALL, 1, 7, "when?;an answer;a document");
    offer(CHECKER_CALL, 1, 8, "when?;an answer;a document");
    detectors_checker_drain(t.c);
    assert_int_equal(t.checks, 2);
    assert_int_equal(sum_of("llm_grounding_checked_total"), 2);
}

/* The judge stands still: a hundred times what there is memory for is offered, and every offer returns. */
static void who_offers_never_waits_and_what_is_dropped_is_counted(void **state)
{
    struct detectors_checker_status s;
    char text[4096];
    memset(text, 'x', sizeof text - 1);
    memcpy(text, "q;a;", 4);
    text[sizeof text - 1] = 0;
    t.o.memory_bytes = 256 << 10;
    t.o.wait_ms = -1;
    begin();
    pthread_mutex_lock(&t.gate);
    for (uint32_t i = 0; i < 6400; i++)
        offer(CHECKER_CALL, i, 7, text);
    detectors_checker_status_get(t.c, &s);
    assert_int_equal(s.offered + s.dropped, 6400);
    assert_true(s.dropped > 6000);
    assert_true(s.bytes <= 256 << 10);
    assert_true(t.checks == 0);
    pthread_mutex_unlock(&t.gate);
    detectors_checker_drain(t.c);
    detectors_checker_status_get(t.c, &s);
    assert_int_equal(s.judged, s.offered);
    assert_int_equal(sum_of("llm_grounding_checked_total"), (int64_t)s.judged);
    detectors_checker_drain(t.c);
    detectors_checker_status_get(t.c, &s);
    assert_int_equal(s.bytes, 0);
}

/* Half the documents taken for all would make true sentences look made up. */
static void a_trace_that_lost_a_row_is_not_judged(void **state)
{
    static char large[(1 << 20) + 100];
    memset(large, 'd', sizeof large - 1);
    begin();
    offer(CHECKER_SOURCE, 1, 1, large);
    offer(CHECKER_CALL, 1, 7, "when?;an answer;a document");
    offer(CHECKER_CALL, 2, 7, "when?;an answer;a document");
    detectors_checker_drain(t.c);
    assert_int_equal(t.checks, 1);
    assert_int_equal(sum_of("llm_grounding_dropped_total"), 1);
    assert_int_equal(sum_of("llm_grounding_checked_total"), 1);
}

static void a_share_of_traces_is_chosen_by_their_ids_alone(void **state)
{
    struct checker_share shares[] = {{BYTES_LIT("off"), 0}, {BYTES_LIT("all"), 1}};
    uint32_t chosen = 0;
    t.o.sample = 0.1;
    t.o.targeted = 0.5;
    t.o.services = shares;
    t.o.service_count = 2;
    begin();
    assert_true(detectors_checker_inclusion(t.c, BYTES_LIT("shop"), false) == 0.1);
    assert_true(detectors_checker_inclusion(t.c, BYTES_LIT("shop"), true) == 0.5);
    assert_true(detectors_checker_inclusion(t.c, BYTES_LIT("off"), true) == 0);
    assert_true(detectors_checker_inclusion(t.c, BYTES_LIT("all"), false) == 1);
    for (uint32_t round = 0; round < 2; round++)
        for (uint32_t i = 0; i < 4000; i++)
            offer(CHECKER_CALL, i, round, "when?;an answer;a document");
    detectors_checker_drain(t.c);
    chosen = t.checks;
    /* twice the same traces: an even number, and a tenth of them within five sigmas */
    assert_int_equal(chosen % 2, 0);
    assert_true(fabs(chosen / 2.0 - 400) < 5 * sqrt(4000 * 0.1 * 0.9));
}

/* All are checked, for they look wrong; a tenth would have been anyway. */
static void what_was_picked_is_not_of_the_uniform_sample(void **state)
{
    t.o.sample = 0.1;
    t.o.targeted = 1;
    begin();
    is_odd = true;
    for (uint32_t i = 0; i < 400; i++)
        offer(CHECKER_CALL, i, 7, "when?;an answer;a document");
    is_odd = false;
    detectors_checker_drain(t.c);
    assert_int_equal(sum_of("llm_grounding_checked_total"), 400);
    int64_t sampled = sum_of("llm_grounding_sampled_total");
    assert_true(fabs((double)sampled - 40) < 5 * sqrt(400 * 0.1 * 0.9));
}

static void a_judge_that_cannot_be_opened_is_said(void **state);

static enum err judge_missing(void *ctx, struct err_msg *msg)
{
    return err_set(msg, ERR_NOT_FOUND, "no model file");
}

static void a_judge_that_cannot_be_opened_is_said(void **state)
{
    struct detectors_checker_status s;
    t.o.judge.open = judge_missing;
    begin();
    offer(CHECKER_CALL, 1, 7, "when?;an answer;a document");
    detectors_checker_drain(t.c);
    detectors_checker_status_get(t.c, &s);
    assert_false(s.is_open);
    assert_string_equal(s.error, "no model file");
    assert_int_equal(s.judged, 0);
    assert_int_equal(s.bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(a_verdict_becomes_a_record_of_the_call_and_cells),
        T(no_text_of_a_call_is_ever_written),
        T(without_documents_a_call_is_unverifiable_and_never_ok),
        T(documents_of_the_trace_are_joined_and_no_others),
        T(a_call_that_is_told_twice_is_judged_once),
        T(who_offers_never_waits_and_what_is_dropped_is_counted),
        T(a_trace_that_lost_a_row_is_not_judged),
        T(a_share_of_traces_is_chosen_by_their_ids_alone),
        T(what_was_picked_is_not_of_the_uniform_sample),
        T(a_judge_that_cannot_be_opened_is_said),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
