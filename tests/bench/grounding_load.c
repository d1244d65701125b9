/* What the grounding checker costs those who send, when it is offered many times what it can judge: requests of RAG calls through stage and store,
 * by turns with the tap open and shut in the same seconds. The judge burns processor time as a model does.
 *
 *   grounding_load [--dir DIR] [--rounds N] [--judge-ms MS]      one round: 50 requests of 20 calls with the tap shut, 50 with it open
 *   grounding_load --eager      the negative control: a quarter of the judging in the thread that sends
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "bench_frames.h"
#include <malloc.h>
#include "collector/genai/genai_parts.h"
#include "collector/stage/stage_tap.h"
#include "detectors/detectors_checker.h"

#define REQUESTS 50u
#define CALLS 20u
#define DOCUMENT_BYTES 2000u

static struct {
    struct bench_store store;
    struct detectors_checker *checker;
    atomic_bool is_open;
    double judge_ms;
    bool is_eager;
    uint64_t next;
} b;

static void burn(double ms)
{
    double until = bench_cpu_ms() + ms;
    while (bench_cpu_ms() < until)
        ;
}

static enum err judge_open(void *ctx, struct err_msg *msg)
{
    return ERR_OK;
}

static void judge_close(void *ctx)
{
}

/* While the tap is shut what is left in the queue goes fast, so that nothing is judged in those turns. */
static enum err judge_check(void *ctx, const struct ground_text *t, struct arena *a,
                            struct ground_verdict *out, struct err_msg *msg)
{
    if (atomic_load(&b.is_open))
        burn(b.judge_ms);
    *out = (struct ground_verdict){.status = GROUND_JUDGED, .probability = 0.1F};
    return ERR_OK;
}

static const char *judge_version(void *ctx)
{
    return "burn";
}

static double judge_threshold(void *ctx)
{
    return 0.5;
}

static enum err read_rows(const struct checker_said *const *rows, size_t count, struct arena *a,
                          struct checker_parts *out)
{
    struct genai_parts_row row = {.attrs = rows[0]->attrs, .events = rows[0]->events};
    struct genai_parts p;
    enum err e = genai_parts_read(&row, 1, a, &p);
    if (e == ERR_OK)
        *out = (struct checker_parts){.documents = p.documents,
                                      .document_count = p.document_count,
                                      .question = p.question,
                                      .response = p.response};
    return e;
}

static bool tap_wants(void *ctx, uint32_t org, struct tsdb_id16 trace)
{
    return atomic_load(&b.is_open) && detectors_checker_wants(b.checker, org, trace);
}

static void tap_offer(void *ctx, const struct stage_tap_row *row)
{
    struct checker_said s = {.kind = CHECKER_CALL,
                             .org = row->org,
                             .trace_id = row->trace_id,
                             .span_id = row->span_id,
                             .end_ns = row->end_ns,
                             .attrs = row->attrs,
                             .events = row->events};
    s.text[CHECKER_SERVICE] = row->service;
    if (b.is_eager)
        burn(b.judge_ms / 4);
    detectors_checker_offer(b.checker, &s);
}

static struct bytes attrs_of(struct arena *a)
{
    struct buf out = {0}, document = {0};
    buf_str(&document, "[{\"content\":\"");
    while (document.size < DOCUMENT_BYTES)
        buf_printf(&document, "The hotel of number %zu opened in 1962. ", document.size);
    buf_str(&document, "\"}]");
    tsdb_attrs_put_str(&out, BYTES_LIT("gen_ai.operation.name"), BYTES_LIT("chat"));
    tsdb_attrs_put_str(&out, BYTES_LIT("gen_ai.provider.name"), BYTES_LIT("openai"));
    tsdb_attrs_put_str(&out, BYTES_LIT("gen_ai.request.model"), BYTES_LIT("gpt-4o"));
    tsdb_attrs_put_str(&out, BYTES_LIT("gen_ai.retrieval.documents"), buf_bytes(&document));
    tsdb_attrs_put_str(&out, BYTES_LIT("gen_ai.completion"), BYTES_LIT("It opened in 1962."));
    struct bytes copy = arena_copy(a, buf_bytes(&out));
    buf_done(&out);
    buf_done(&document);
    return copy;
}

static struct tsdb_batch *request(void)
{
    struct tsdb_batch *x = tsdb_batch_new(TSDB_ORG_DEFAULT, TSDB_SPANS, 16u << 20);
    if (!x)
        bench_fail("out of memory");
    x->received = CALLS;
    x->received_ns = clock_wall_ns();
    for (uint32_t i = 0; i < CALLS; i++) {
        uint32_t row = tsdb_batch_add_span(x);
        uint64_t n = ++b.next * UINT64_C(0x9e3779b97f4a7c15);
        if (row == TSDB_NO_ROW)
            bench_fail("the batch is full");
        bytes_put_u64le(x->spans.trace_id[row].b, n);
        bytes_put_u64le(x->spans.trace_id[row].b + 8, b.next);
        bytes_put_u64le(x->spans.span_id[row].b, n ^ 1);
        x->spans.end_ns[row] = x->received_ns;
        x->spans.start_ns[row] = x->received_ns - 1000000000;
        x->spans.kind[row] = 3;
        x->spans.name[row] = BYTES_LIT("chat gpt-4o");
        x->spans.service[row] = BYTES_LIT("shop");
        x->spans.attrs[row] = attrs_of(x->arena);
    }
    return x;
}

static void turn(bool is_open, struct bench_times *wall, struct bench_times *cpu)
{
    atomic_store(&b.is_open, is_open);
    for (unsigned i = 0; i < REQUESTS; i++) {
        struct tsdb_batch *x = request();
        double begun = bench_now_ms(), begun_cpu = bench_cpu_ms();
        bench_store_append(&b.store, x);
        bench_times_add(wall, bench_now_ms() - begun);
        bench_times_add(cpu, bench_cpu_ms() - begun_cpu);
    }
}

static void start(void)
{
    struct err_msg msg = {""};
    struct detectors_checker_options o = {
        .db = b.store.db,
        .judge = {NULL, judge_open, judge_close, judge_check, judge_version, judge_threshold},
        .read = read_rows,
        .sample = 1,
        .wait_ms = -1,
        .cpu_percent = 50};
    struct stage_tap tap = {NULL, tap_wants, tap_offer};
    if (detectors_checker_new(&o, &b.checker) != ERR_OK ||
        detectors_checker_start(b.checker, &msg) != ERR_OK)
        bench_fail("the checker does not start");
    stage_set_tap(b.store.stage, &tap);
}

int main(int argc, char **argv)
{
    static struct bench_times shut, open, shut_cpu, open_cpu;
    struct detectors_checker_status s;
    const char *parent = "/tmp";
    unsigned rounds = 2;
    b.judge_ms = 10;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--dir") == 0 && i + 1 < argc)
            parent = argv[++i];
        else if (strcmp(argv[i], "--rounds") == 0 && i + 1 < argc)
            rounds = (unsigned)atoi(argv[++i]);
        else if (strcmp(argv[i], "--judge-ms") == 0 && i + 1 < argc)
            b.judge_ms = atof(argv[++i]);
        else if (strcmp(argv[i], "--eager") == 0)
            b.is_eager = true;
    }
    if (rounds == 0 || rounds * REQUESTS > BENCH_TIMES_MAX)
        return 2;
    log_set_level(LOG_LEVEL_ERROR);
    mallopt(M_TRIM_THRESHOLD, 8 << 20); /* as the server does */
    bench_store_open(&b.store, NULL, parent);
    start();
    double begun = bench_now_ms(), open_ms = 0;
    turn(false, &shut, &shut_cpu); /* warm; counted too: of many rounds it is little */
    turn(true, &open, &open_cpu);
    for (unsigned r = 1; r < rounds; r++) {
        turn(false, &shut, &shut_cpu);
        double from = bench_now_ms();
        turn(true, &open, &open_cpu);
        open_ms += bench_now_ms() - from;
    }
    detectors_checker_status_get(b.checker, &s);
    detectors_checker_stop(b.checker);
    double offered = (double)(s.offered + s.dropped), capacity = open_ms / b.judge_ms * 0.5;
    printf("%u rounds, %.1f s, judge %.1f ms: %.0f calls offered, %.1f times what can be judged in "
           "that time; %llu judged, %llu dropped\n",
           rounds, (bench_now_ms() - begun) / 1000, b.judge_ms, offered,
           capacity > 0 ? offered / capacity : 0, (unsigned long long)s.judged,
           (unsigned long long)s.dropped);
    const double at[] = {0.5, 0.9, 0.99};
    for (size_t i = 0; i < ARRAY_LEN(at); i++)
        printf(
            "p%.0f of a request: tap shut %.3f ms, open %.3f ms (x %.3f); processor %.3f, %.3f ms "
            "(x %.3f)\n",
            at[i] * 100, bench_times_at(&shut, at[i]), bench_times_at(&open, at[i]),
            bench_times_at(&open, at[i]) / bench_times_at(&shut, at[i]),
            bench_times_at(&shut_cpu, at[i]), bench_times_at(&open_cpu, at[i]),
            bench_times_at(&open_cpu, at[i]) / bench_times_at(&shut_cpu, at[i]));
    detectors_checker_free(b.checker);
    bench_store_close(&b.store);
    return offered == (double)rounds * REQUESTS * CALLS ? 0 : 1;
}
