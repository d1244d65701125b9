#include "detectors/detectors_checker.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/stats.h"
#include "detectors/checker_queue.h"
#include "detectors/checker_rows.h"
#include "detectors/detectors_grounding.h"

#define MEMORY_DEFAULT (UINT64_C(64) << 20)
#define WAIT_DEFAULT_MS 2000
#define KEEP_DEFAULT_MS 60000
#define TEXTS_BYTES (64u << 20) /* of one call, while it is judged */
#define WRITE_AFTER_NS \
    INT64_C(           \
        2000000000) /* a commit of its own for every few verdicts would delay those of who sends */
#define SAVE_AFTER_NS (INT64_C(30) * 1000000000)
#define TICK_NS INT64_C(100000000)
#define REST_LEAST_NS INT64_C(5000000)
#define DOCUMENTS_MAX 256u

STATS_COUNTER(rows_offered, "telltale_grounding_rows_total", "result=\"taken\"",
              "Rows offered to the grounding checker.")
STATS_COUNTER(rows_dropped, "telltale_grounding_rows_total", "result=\"dropped\"",
              "Rows offered to the grounding checker.")
STATS_COUNTER(calls_judged, "telltale_grounding_calls_total", "result=\"judged\"",
              "Calls that were taken up by the grounding checker.")
STATS_COUNTER(calls_unverifiable, "telltale_grounding_calls_total", "result=\"unverifiable\"",
              "Calls that were taken up by the grounding checker.")
STATS_COUNTER(calls_nothing, "telltale_grounding_calls_total", "result=\"nothing_to_judge\"",
              "Calls that were taken up by the grounding checker.")
STATS_COUNTER(calls_failed, "telltale_grounding_calls_total", "result=\"failed\"",
              "Calls that were taken up by the grounding checker.")
STATS_COUNTER(calls_lost, "telltale_grounding_calls_total", "result=\"incomplete\"",
              "Calls that were taken up by the grounding checker.")
STATS_GAUGE(queue_bytes, "telltale_grounding_queue_bytes", "",
            "Texts that wait for the grounding checker, and documents kept for a call.")

struct detectors_checker {
    struct detectors_checker_options o; /* immutable after new */
    struct arena *names;
    struct checker_share *services;
    double share_max;
    atomic_uint_fast64_t
        wants_below; /* of a hash; 0: nothing is wanted, as when there is no judge */
    struct checker_queue *queue;
    pthread_t thread;
    bool is_started;
    atomic_bool is_stopping;
    atomic_uint_fast64_t offered, dropped, judged, flagged, unverifiable, nothing, failed, records;
    atomic_int_fast64_t busy_ns;
    atomic_uint_fast64_t asked_for, drained; /* rounds of drain */
    pthread_mutex_t lock; /* guards what follows */
    bool is_open;
    char version[64], error[ERR_MSG_MAX];
    double threshold;
    /* owned by the checker's thread */
    struct checker_rows rows;
    struct arena *texts;
    uint64_t seen[CHECKER_SEEN];
    int64_t saved_ns, owed_ns; /* of rest */
};

/* --- policy ----------------------------------------------------------------------------------------- */

static double share_clamp(double v)
{
    return v > 0 ? MIN(v, 1.0) : 0;
}

/* The place of a trace in [0, 2^64): the same on every node and after every restart, so that a trace is chosen whole, and a higher share chooses
 * what a lower one chose and more. */
static uint64_t place_of(uint32_t org, struct tsdb_id16 trace)
{
    return hash64(bytes_of(trace.b, sizeof trace.b), (uint64_t)org << 32 | 10);
}

static uint64_t below_of(double share)
{
    return share >= 1 ? UINT64_MAX : (uint64_t)(share * 18446744073709551616.0);
}

double detectors_checker_inclusion(const struct detectors_checker *c, struct bytes service,
                                   bool is_anomalous)
{
    double share = share_clamp(c->o.sample);
    for (size_t i = 0; i < c->o.service_count; i++)
        if (bytes_equal(c->services[i].service, service))
            share = share_clamp(c->services[i].share);
    /* a service that is switched off is off for its anomalies too */
    return is_anomalous && share > 0 ? MAX(share, share_clamp(c->o.targeted)) : share;
}

bool detectors_checker_wants(struct detectors_checker *c, uint32_t org, struct tsdb_id16 trace)
{
    uint64_t below = atomic_load_explicit(&c->wants_below, memory_order_relaxed);
    return below && place_of(org, trace) <= below;
}

void detectors_checker_offer(struct detectors_checker *c, const struct checker_said *said)
{
    if (said->kind == CHECKER_CALL) {
        double share =
            detectors_checker_inclusion(c, said->text[CHECKER_SERVICE], said->is_anomalous);
        if (share <= 0 || place_of(said->org, said->trace_id) > below_of(share))
            return;
    }
    bool is_taken = checker_queue_offer(c->queue, said);
    atomic_fetch_add(is_taken ? &c->offered : &c->dropped, 1);
    stats_add(is_taken ? &rows_offered : &rows_dropped, 1);
}

/* --- one call ----------------------------------------------------------------------------------------- */

struct gathered {
    struct bytes documents[DOCUMENTS_MAX];
    struct checker_origin origins[DOCUMENTS_MAX];
    struct ground_text text;
    bool cut;
};

static void gather_documents(struct gathered *g, const struct checker_parts *p,
                             struct tsdb_id8 span)
{
    g->cut = g->cut || p->cut;
    for (uint32_t i = 0; i < p->document_count; i++) {
        bool is_known = false;
        for (uint32_t k = 0; k < g->text.documents_count && !is_known; k++)
            is_known = bytes_equal(g->documents[k], p->documents[i]);
        if (is_known)
            continue;
        if (g->text.documents_count == DOCUMENTS_MAX) {
            g->cut = true;
            return;
        }
        g->documents[g->text.documents_count] = p->documents[i];
        g->origins[g->text.documents_count++] = (struct checker_origin){span, i};
    }
}

/* The call's own row and records, then what was fetched for it. */
static enum err gather(struct detectors_checker *c, const struct checker_item *call,
                       struct gathered *g)
{
    const struct checker_said *rows[CHECKER_ROWS_MAX] = {&call->said};
    struct checker_parts parts = {0};
    size_t n = 1 + checker_queue_records(c->queue, call, rows + 1, CHECKER_ROWS_MAX - 1);
    enum err e = c->o.read(rows, n, c->texts, &parts);
    g->text.documents = g->documents;
    if (e == ERR_OK) {
        g->text.response = parts.response;
        g->text.question = parts.question;
        gather_documents(g, &parts, call->said.span_id);
        n = checker_queue_sources(c->queue, call, rows, CHECKER_ROWS_MAX);
    }
    for (size_t i = 0; e == ERR_OK && i < n; i++) {
        struct checker_parts source = {0};
        e = c->o.read(&rows[i], 1, c->texts, &source);
        if (e == ERR_OK)
            gather_documents(g, &source, rows[i]->span_id);
    }
    return e;
}

static enum err put_verdict(struct detectors_checker *c, const struct checker_said *call,
                            const struct gathered *g, struct ground_verdict *v)
{
    struct checker_result r = {
        .call = call,
        .verdict = v,
        .text = &g->text,
        .origins = g->origins,
        .inclusion =
            detectors_checker_inclusion(c, call->text[CHECKER_SERVICE], call->is_anomalous),
        .is_uniform = place_of(call->org, call->trace_id) <=
                      below_of(detectors_checker_inclusion(c, call->text[CHECKER_SERVICE], false)),
        .threshold = c->threshold,
        .version = c->version};
    struct grounding_stream stream = {.org = call->org,
                                      .service = call->text[CHECKER_SERVICE],
                                      .model = call->text[CHECKER_MODEL],
                                      .version = bytes_str(c->version)};
    v->cut = v->cut || g->cut;
    r.score = c->o.labels ? detectors_grounding_calibrate(c->o.labels, &stream, v->probability)
                          : (double)v->probability;
    atomic_fetch_add(&c->judged, 1);
    atomic_fetch_add(&c->flagged, v->flagged);
    stats_add(&calls_judged, 1);
    if (c->o.watch) {
        struct watch_score s = {.org = call->org,
                                .service = call->text[CHECKER_SERVICE],
                                .model = call->text[CHECKER_MODEL],
                                .prompt = call->text[CHECKER_PROMPT_VERSION],
                                .probability = v->probability,
                                .now_ms = clock_wall_ms()};
        detectors_watch_score(c->o.watch, &s);
    }
    return checker_rows_verdict(&c->rows, &r);
}

static enum err put_outcome(struct detectors_checker *c, const struct checker_said *call,
                            const struct gathered *g, struct ground_verdict *v)
{
    switch (v->status) {
    case GROUND_JUDGED: return put_verdict(c, call, g, v);
    case GROUND_UNVERIFIABLE:
        atomic_fetch_add(&c->unverifiable, 1);
        stats_add(&calls_unverifiable, 1);
        return checker_rows_count(&c->rows, call, "llm_grounding_unverifiable_total", NULL);
    case GROUND_NOTHING_TO_JUDGE: break;
    }
    atomic_fetch_add(&c->nothing, 1);
    stats_add(&calls_nothing, 1);
    return checker_rows_count(&c->rows, call, "llm_grounding_nothing_to_judge_total", NULL);
}

static enum err put_dropped(struct detectors_checker *c, const struct checker_said *call,
                            const char *reason)
{
    stats_add(strcmp(reason, "incomplete") == 0 ? &calls_lost : &calls_failed, 1);
    struct tsdb_label why = {BYTES_LIT("reason"), bytes_str(reason)};
    return checker_rows_count(&c->rows, call, "llm_grounding_dropped_total", &why);
}

/* A sender that was not answered sends again; a gateway and its client tell of one answer. */
static bool was_seen(struct detectors_checker *c, const struct checker_said *call)
{
    uint64_t keys[2];
    size_t n = 0;
    bool is_seen = false;
    keys[n++] =
        hash64(bytes_of(call->span_id.b, 8), checker_queue_trace_hash(call->org, call->trace_id));
    if (call->text[CHECKER_RESPONSE_ID].size)
        keys[n++] = hash64(call->text[CHECKER_RESPONSE_ID], (uint64_t)call->org << 32 | 11);
    for (size_t i = 0; i < n; i++) {
        uint64_t *slot = &c->seen[keys[i] % CHECKER_SEEN];
        is_seen = is_seen || *slot == keys[i];
        *slot = keys[i];
    }
    return is_seen;
}

static void judge(struct detectors_checker *c, const struct checker_item *call)
{
    struct gathered g = {0};
    struct ground_verdict v = {0};
    struct err_msg msg = {""};
    enum err written;
    if (was_seen(c, &call->said))
        return;
    arena_reset(c->texts);
    if (checker_queue_is_lost(c->queue, call->trace_hash)) {
        written = put_dropped(c, &call->said, "incomplete");
    } else {
        enum err e = gather(c, call, &g);
        if (e == ERR_OK && !bytes_trim(g.text.response).size)
            v.status = GROUND_NOTHING_TO_JUDGE;
        else if (e == ERR_OK && !g.text.documents_count)
            v.status = GROUND_UNVERIFIABLE;
        else if (e == ERR_OK)
            e = c->o.judge.check(c->o.judge.ctx, &g.text, c->texts, &v, &msg);
        if (e != ERR_OK) {
            atomic_fetch_add(&c->failed, 1);
            written = put_dropped(c, &call->said, "failed");
        } else {
            written = put_outcome(c, &call->said, &g, &v);
        }
    }
    if (written != ERR_OK) {
        atomic_fetch_add(&c->failed, 1);
        log_warn("checker", "a verdict could not be written: %s", err_text(written));
    }
}

/* --- the thread ------------------------------------------------------------------------------------------ */

static int64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Runs only when nobody else wants the processor; threads of the judge, made by this one, inherit it. */
static void step_back(void)
{
    struct sched_param none = {0};
    if (pthread_setschedparam(pthread_self(), SCHED_IDLE, &none) != 0)
        log_warn("checker", "the checker cannot run at idle priority");
}

static bool open_judge(struct detectors_checker *c)
{
    struct err_msg msg = {""};
    enum err e = c->o.judge.open(c->o.judge.ctx, &msg);
    pthread_mutex_lock(&c->lock);
    c->is_open = e == ERR_OK;
    if (c->is_open) {
        snprintf(c->version, sizeof c->version, "%s", c->o.judge.version(c->o.judge.ctx));
        c->threshold = c->o.judge.threshold(c->o.judge.ctx);
    } else {
        snprintf(c->error, sizeof c->error, "%s", msg.text[0] ? msg.text : err_text(e));
        atomic_store(&c->wants_below, 0);
        log_info("checker", "answers are not checked: %s", c->error);
    }
    pthread_mutex_unlock(&c->lock);
    return e == ERR_OK;
}

static void write_out(struct detectors_checker *c)
{
    uint32_t rows;
    enum err e = checker_rows_write(&c->rows, &rows);
    if (e == ERR_OK)
        atomic_fetch_add(&c->records, rows);
    else
        log_warn("checker", "%u verdicts could not be stored: %s", rows, err_text(e));
}

static void housekeep(struct detectors_checker *c, bool all)
{
    int64_t now = clock_mono_ns(), oldest = MIN(checker_queue_oldest_ns(c->queue), now);
    checker_queue_expire(c->queue, oldest - c->o.keep_ms * 1000000);
    stats_set(&queue_bytes, (int64_t)checker_queue_bytes(c->queue));
    if (c->rows.batch && (all || now - c->rows.begun_ns >= WRITE_AFTER_NS))
        write_out(c);
    if (c->o.watch && (all || now - c->saved_ns >= SAVE_AFTER_NS)) {
        enum err e = detectors_watch_save(c->o.watch);
        if (e != ERR_OK)
            log_warn("checker", "baselines of scores could not be saved: %s", err_text(e));
        c->saved_ns = now;
    }
}

/* So that its share of a processor is not passed: after so much work, so much rest; short rests are saved up, each costs a system call. */
static void rest(struct detectors_checker *c, int64_t worked_ns)
{
    atomic_fetch_add(&c->busy_ns, worked_ns);
    c->owed_ns += worked_ns * (100 - c->o.cpu_percent) / c->o.cpu_percent;
    if (c->owed_ns < REST_LEAST_NS || atomic_load(&c->is_stopping))
        return;
    clock_sleep_ms(MIN(c->owed_ns / 1000000, INT64_C(1000)));
    c->owed_ns = 0;
}

static void round_of(struct detectors_checker *c, bool is_open)
{
    uint64_t asked = atomic_load(&c->asked_for);
    bool drains = asked != atomic_load(&c->drained);
    struct checker_item *call;
    checker_queue_sort(c->queue,
                       checker_queue_oldest_ns(c->queue) == INT64_MAX || !drains ? TICK_NS : 0);
    drains = drains || asked != atomic_load(&c->asked_for);
    int64_t before = drains ? INT64_MAX - 1 : clock_mono_ns() - c->o.wait_ms * 1000000;
    while (!atomic_load(&c->is_stopping) && (call = checker_queue_call(c->queue, before)) != NULL) {
        int64_t begun = cpu_ns();
        if (is_open)
            judge(c, call);
        checker_queue_release(c->queue, call);
        housekeep(c, false);
        rest(c, cpu_ns() - begun);
        checker_queue_sort(c->queue, 0);
    }
    housekeep(c, drains);
    atomic_store(&c->drained, asked);
}

static void *run(void *ctx)
{
    struct detectors_checker *c = ctx;
    pthread_setname_np(pthread_self(), "checker");
    step_back();
    bool is_open = open_judge(c);
    while (!atomic_load(&c->is_stopping))
        round_of(c, is_open);
    housekeep(c, true);
    if (is_open)
        c->o.judge.close(c->o.judge.ctx);
    return NULL;
}

/* --- life ------------------------------------------------------------------------------------------------- */

static bool copy_services(struct detectors_checker *c)
{
    c->services = ARENA_ARRAY(c->names, struct checker_share, c->o.service_count + 1);
    c->share_max = MAX(share_clamp(c->o.sample), share_clamp(c->o.targeted));
    for (size_t i = 0; c->services && i < c->o.service_count; i++) {
        const struct checker_share *from = &c->o.services[i];
        c->services[i] = (struct checker_share){arena_copy(c->names, from->service), from->share};
        c->share_max = MAX(c->share_max, share_clamp(from->share));
        if (from->service.size && !c->services[i].service.data)
            return false;
    }
    atomic_init(&c->wants_below, c->share_max > 0 ? below_of(c->share_max) : 0);
    return c->services != NULL;
}

enum err detectors_checker_new(const struct detectors_checker_options *o,
                               struct detectors_checker **out)
{
    struct detectors_checker *c = calloc(1, sizeof *c);
    if (!c)
        return ERR_NOMEM;
    c->o = *o;
    c->o.service_count = MIN(o->service_count, (size_t)CHECKER_SERVICES_MAX);
    c->o.memory_bytes = o->memory_bytes ? o->memory_bytes : MEMORY_DEFAULT;
    c->o.wait_ms = o->wait_ms < 0 ? 0 : o->wait_ms ? o->wait_ms : WAIT_DEFAULT_MS;
    c->o.keep_ms = o->keep_ms ? o->keep_ms : KEEP_DEFAULT_MS;
    c->o.cpu_percent = o->cpu_percent ? MIN(o->cpu_percent, 100U) : 100;
    pthread_mutex_init(&c->lock, NULL);
    c->names = arena_new(1u << 20);
    c->texts = arena_new(TEXTS_BYTES);
    c->queue = checker_queue_new(c->o.memory_bytes);
    if (!c->names || !c->texts || !c->queue || !copy_services(c) ||
        !checker_rows_init(&c->rows, o->db)) {
        detectors_checker_free(c);
        return ERR_NOMEM;
    }
    *out = c;
    return ERR_OK;
}

enum err detectors_checker_start(struct detectors_checker *c, struct err_msg *msg)
{
    if (pthread_create(&c->thread, NULL, run, c) != 0)
        return err_set(msg, ERR_NOMEM, "the grounding checker's thread cannot be started");
    c->is_started = true;
    return ERR_OK;
}

void detectors_checker_stop(struct detectors_checker *c)
{
    if (!c->is_started)
        return;
    atomic_store(&c->is_stopping, true);
    checker_queue_wake(c->queue);
    pthread_join(c->thread, NULL);
    c->is_started = false;
}

void detectors_checker_free(struct detectors_checker *c)
{
    if (!c)
        return;
    detectors_checker_stop(c);
    checker_rows_done(&c->rows);
    checker_queue_free(c->queue);
    arena_free(c->texts);
    arena_free(c->names);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

void detectors_checker_drain(struct detectors_checker *c)
{
    uint64_t asked = atomic_fetch_add(&c->asked_for, 1) + 1;
    while (c->is_started && atomic_load(&c->drained) < asked) {
        checker_queue_wake(c->queue);
        clock_sleep_ms(1);
    }
}

void detectors_checker_status_get(struct detectors_checker *c, struct detectors_checker_status *out)
{
    *out = (struct detectors_checker_status){
        .offered = atomic_load(&c->offered),
        .dropped = atomic_load(&c->dropped),
        .judged = atomic_load(&c->judged),
        .flagged = atomic_load(&c->flagged),
        .unverifiable = atomic_load(&c->unverifiable),
        .nothing = atomic_load(&c->nothing),
        .failed = atomic_load(&c->failed),
        .records_written = atomic_load(&c->records),
        .bytes = checker_queue_bytes(c->queue),
        .busy_ns = atomic_load(&c->busy_ns),
    };
    pthread_mutex_lock(&c->lock);
    out->is_open = c->is_open;
    out->threshold = c->threshold;
    memcpy(out->version, c->version, sizeof out->version);
    memcpy(out->error, c->error, sizeof out->error);
    pthread_mutex_unlock(&c->lock);
}
