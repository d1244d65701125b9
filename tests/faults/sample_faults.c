/* The proof of tail sampling against a process that is killed and a disk that fails: a closed day is sampled when it is merged, and then again
 * for what came late; the process is killed at the n-th named place of that (base/fault_point.h), or the n-th write, sync or change of a name
 * fails, once or from then on, for n = 1, 2, 3 ... until a run has no such call. Looked at are the directory as it is and, for a disk that
 * fails, what a power cut would leave of it.
 *
 *   sample_faults [--step PERCENT] [--expect-wrong]        (TELLTALE_STEP in the environment is PERCENT, too; 0 = every n)
 *
 * After a restart the rows of each day are either all as they were sent or all as a run without faults leaves them, never a mixture; when the
 * day is merged they are the latter, row by row and weight by weight, and stay so after one more restart and merge. Cells count every span
 * that was sent, and the accounts add up. --expect-wrong turns the verdict round for a seeded defect.
 */
#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fault_point.h"
#include "base/log.h"
#include "tests/faults/disk_model.h"
#include "tests/faults/fault_child.h"
#include "tests/faults/slice.h"
#include "tsdb/files.h"
#include "tsdb/helper_rows.h"

#define LOG_BYTES (512ull << 20)
#define JOBS 4u /* most of their time is waiting between attempts */
#define ORG ROWS_ORG
#define DAY_NS INT64_C(86400000000000)
#define NOW_NS (ROWS_T0_NS + DAY_NS)
#define KEEP_PERMILLE 250u
#define PER_KIND 3u
#define SLOW_MS 5000
#define TRACES 160u /* of a root and two children */
#define TRACE_SPANS 3u
#define AGAIN 20u /* spans of the first request that come again in another generation */
#define LATE 40u /* traces of which one more span comes when they have been sampled */
#define SPANS (TRACES * TRACE_SPANS + LATE)
#define EVERY_KIND \
    20u /* of so many traces one has an error, and one each is what else keeps a trace */

enum why { WHY_NOTHING, WHY_ERROR, WHY_SLOW, WHY_OUTCOME, WHY_DEGRADED, WHY_MARKED };

static const struct kind {
    bool is_kill;
    enum io_class class;
    int error; /* 0: a short write */
    const char *name;
} kinds[] = {
    {true, 0, 0, "killed"},
    {false, IO_CLASS_WRITE, EIO, "write: EIO"},
    {false, IO_CLASS_WRITE, ENOSPC, "write: ENOSPC"},
    {false, IO_CLASS_WRITE, 0, "write: short"},
    {false, IO_CLASS_SYNC, EIO, "sync: EIO"},
    {false, IO_CLASS_NAME, ENOSPC, "name: ENOSPC"},
};

/* What a store says of the spans: 0 = not there. */
struct rows {
    int64_t weight[SPANS]; /* of all rows of a span together */
    uint64_t live, stored, superseded, sampled_out;
    int64_t cells;
};

struct shared { /* between processes */
    _Atomic unsigned runs, failed;
    _Atomic uint64_t calls[JOBS];
    _Atomic bool late_stored[JOBS + 1];
    struct rows sent, merged; /* of a run without faults: before the merge, and at the end */
};

struct walk {
    char root[96], data[128], cut[128], cut_data[160];
    struct io_log *log;
    const struct kind *kind;
    uint64_t at;
    bool forever;
    unsigned job;
    struct shared *shared;
};

static uint64_t kill_at;
static _Atomic uint64_t places_met;

static int64_t wall_ns(void)
{
    return NOW_NS;
}

static enum err open_store(const char *dir, struct tsdb **out)
{
    struct tsdb_options o = {.dir = dir,
                             .sampling = {KEEP_PERMILLE, SLOW_MS, PER_KIND},
                             .generation_max_age_ms = 100 * DAY_NS / 1000000};
    struct err_msg msg = {""};
    clock_test_set_wall(wall_ns);
    enum err e = tsdb_open(&o, out, &msg);
    if (e != ERR_OK)
        *out = NULL;
    return e;
}

/* --- the spans ----------------------------------------------------------------------------------- */

static enum why why_of(uint32_t trace)
{
    return trace < TRACES / 4 || trace % EVERY_KIND > WHY_MARKED ? WHY_NOTHING
                                                                 : (enum why)(trace % EVERY_KIND);
}

static uint32_t trace_of(uint32_t i)
{
    return i < TRACES * TRACE_SPANS ? i / TRACE_SPANS : TRACES / 4 + (i - TRACES * TRACE_SPANS);
}

static struct tsdb_id16 trace_id(uint32_t trace)
{
    struct tsdb_id16 id;
    bytes_put_u64be(id.b, (trace + 1) * UINT64_C(0x9e3779b97f4a7c15));
    bytes_put_u64be(id.b + 8, trace + 1);
    return id;
}

/* The third span of every third trace ends on the day that is still open. */
static bool is_in_closed_day(uint32_t i)
{
    return i >= TRACES * TRACE_SPANS || i % TRACE_SPANS != 2 || trace_of(i) % 3 != 0;
}

static int64_t sent_weight(uint32_t i)
{
    return trace_of(i) % 7 == 0 ? 2 * TSDB_WEIGHT_ONE : TSDB_WEIGHT_ONE; /* sampled upstream */
}

static struct bytes text_of(struct arena *a, uint32_t i)
{
    return arena_printf(a, "span %u says %u", i, i * 2654435761u);
}

static bool put_span(struct tsdb_batch *b, uint32_t i, struct tsdb_ref cells)
{
    uint32_t row = tsdb_batch_add_span(b), trace = trace_of(i);
    struct tsdb_spans *t = &b->spans;
    struct buf attrs = {0};
    bool is_middle = i < TRACES * TRACE_SPANS && i % TRACE_SPANS == 1;
    enum why why = is_middle ? why_of(trace) : WHY_NOTHING;
    if (row == TSDB_NO_ROW || !tsdb_batch_span_column(b, TSDB_SPAN_weight) ||
        !tsdb_batch_span_column(b, TSDB_SPAN_outcome) ||
        !tsdb_batch_span_column(b, TSDB_SPAN_row_flags))
        return false;
    t->trace_id[row] = trace_id(trace);
    bytes_put_u64be(t->span_id[row].b, i + 1);
    if (i >= TRACES * TRACE_SPANS || i % TRACE_SPANS != 0)
        bytes_put_u64be(t->parent_id[row].b, trace * TRACE_SPANS + 1);
    t->start_ns[row] = NOW_NS - (is_in_closed_day(i) ? DAY_NS : 0) - trace * INT64_C(10000000000);
    t->end_ns[row] = t->start_ns[row] + (why == WHY_SLOW ? 2 * SLOW_MS : 5) * INT64_C(1000000);
    t->status[row] = why == WHY_ERROR ? 2 : 0;
    t->outcome[row] = why == WHY_OUTCOME ? TSDB_OUTCOME_TIMEOUT : TSDB_OUTCOME_OK;
    t->row_flags[row] = why == WHY_DEGRADED ? TSDB_ROW_DEGRADED : 0;
    t->weight[row] = sent_weight(i);
    t->service[row] = trace % 2 ? BYTES_LIT("odd") : BYTES_LIT("even");
    t->name[row] = i % TRACE_SPANS ? BYTES_LIT("child") : BYTES_LIT("root");
    tsdb_attrs_put_str(&attrs, BYTES_LIT("text"), text_of(b->arena, i));
    t->attrs[row] = arena_copy(b->arena, buf_bytes(&attrs));
    bool ok = buf_ok(&attrs) && t->attrs[row].data &&
              tsdb_batch_add_cell(b, cells, tsdb_batch_minute(t->end_ns[row]), 1, row);
    buf_done(&attrs);
    return ok;
}

/* Spans from .. to-1 in one request; what it is told by when it comes again. */
static enum err send(struct tsdb *db, uint32_t from, uint32_t to, uint64_t key)
{
    struct tsdb_batch *b = tsdb_batch_new(ORG, TSDB_SPANS, 16u << 20);
    struct tsdb_label l = {BYTES_LIT("__name__"), BYTES_LIT("spans_total")};
    struct tsdb_labels labels;
    struct tsdb_ref cells;
    enum err e = b ? tsdb_labels_build(&l, 1, b->arena, &labels, NULL) : ERR_NOMEM;
    if (e == ERR_OK)
        e = tsdb_registry_ref(tsdb_series(db), ORG, TSDB_SERIES_CELLS, labels, &cells);
    for (uint32_t i = from; i < to && e == ERR_OK; i++)
        e = put_span(b, i, cells) ? ERR_OK : ERR_NOMEM;
    if (e != ERR_OK) {
        tsdb_batch_free(b);
        return e;
    }
    b->received = to - from;
    b->received_ns = clock_wall_ns();
    b->request_key = (struct hash128){key, ~key};
    return rows_append(db, b, NULL);
}

static enum err send_late(struct tsdb *db)
{
    return send(db, TRACES * TRACE_SPANS, SPANS, 9);
}

/* --- what is there ------------------------------------------------------------------------------- */

static bool read_rows(struct tsdb *db, struct rows *out, const char *where)
{
    struct tsdb_span_filter all = {.start_max_ns = INT64_MAX};
    struct tsdb_matcher name = {
        .op = TSDB_MATCH_EQ, .name = BYTES_LIT("__name__"), .value = BYTES_LIT("spans_total")};
    struct tsdb_account accounts[8];
    uint32_t minute = tsdb_batch_minute(NOW_NS), wrong_texts = 0;
    struct tsdb_spans t = {0};
    struct tsdb_view *v = NULL;
    struct arena *a = arena_new(0);
    memset(out, 0, sizeof(*out));
    CHECK(a);
    enum err e = tsdb_view_open(db, ORG, NULL, &v);
    if (e == ERR_OK)
        e = tsdb_span_scan(v, &all, SPANS * 4, a, &t);
    if (e == ERR_OK)
        e = tsdb_cells_sum(v, &name, 1, minute - 5 * 1440, minute + 1440, &out->cells);
    if (e == ERR_OK)
        e = tsdb_count(db, ORG, TSDB_SPANS, &out->live);
    for (uint32_t k = 0; e == ERR_OK && k < t.count; k++) {
        struct tsdb_value text;
        uint64_t i = bytes_u64be(t.span_id[k].b) - 1;
        if (i >= SPANS || !tsdb_attrs_find(t.attrs[k], BYTES_LIT("text"), &text) ||
            !bytes_equal(text.bytes, text_of(a, (uint32_t)i))) {
            wrong_texts++;
            continue;
        }
        out->weight[i] += TSDB_SPAN_GET(&t, weight, k, TSDB_WEIGHT_ONE);
    }
    size_t n = tsdb_accounts(db, accounts, ARRAY_LEN(accounts));
    for (size_t i = 0; i < MIN(n, ARRAY_LEN(accounts)); i++)
        if (accounts[i].org == ORG && accounts[i].signal == TSDB_SPANS) {
            out->stored = accounts[i].stored;
            out->superseded = accounts[i].superseded;
            out->sampled_out = accounts[i].sampled_out;
        }
    if (e != ERR_OK || wrong_texts)
        fprintf(stderr, "%s: rows are not read: %s, %u without their text\n", where, err_text(e),
                wrong_texts);
    tsdb_view_close(v);
    arena_free(a);
    return e == ERR_OK && !wrong_texts;
}

static bool says(const char *where, const char *what, long long have, long long want)
{
    fprintf(stderr, "%s: %s: %lld, not %lld\n", where, what, have, want);
    return false;
}

/* What holds at all times: every row is accounted for, and cells have counted each that was sent. */
static bool check_sums(const struct rows *r, bool has_late, const char *where)
{
    uint64_t sent = TRACES * TRACE_SPANS + AGAIN + (has_late ? LATE : 0);
    if (r->stored != sent)
        return says(where, "spans stored", (long long)r->stored, (long long)sent);
    uint64_t all = r->live + r->superseded + r->sampled_out;
    if (r->stored != all)
        return says(where, "spans there, superseded and sampled out", (long long)all,
                    (long long)r->stored);
    return r->cells == (int64_t)sent || says(where, "cells", (long long)r->cells, (long long)sent);
}

/* The weights of days: all as sent, or all as merged. */
static bool check_whole(const struct rows *r, const struct shared *s, bool has_late,
                        const char *where)
{
    for (int closed = 0; closed < 2; closed++) {
        bool as_sent = true, as_merged = true;
        for (uint32_t i = 0; i < TRACES * TRACE_SPANS; i++)
            if (is_in_closed_day(i) == closed) {
                as_sent &= r->weight[i] == s->sent.weight[i];
                as_merged &= r->weight[i] == s->merged.weight[i];
            }
        if (!as_sent && !as_merged)
            return says(where, "a day is sampled by half", closed, 0);
        /* What comes late waits, or follows what was decided. */
        bool late_sent = true, late_merged = true;
        for (uint32_t i = TRACES * TRACE_SPANS; i < SPANS && closed && has_late; i++) {
            late_sent &= r->weight[i] == sent_weight(i);
            late_merged &= as_merged && r->weight[i] == s->merged.weight[i];
        }
        if (!late_sent && !late_merged)
            return says(where, "late spans are sampled by half", as_merged, 1);
    }
    return true;
}

static bool check_merged(const struct rows *r, const struct shared *s, const char *where)
{
    for (uint32_t i = 0; i < SPANS; i++)
        if (r->weight[i] != s->merged.weight[i]) {
            fprintf(stderr, "%s: span %u weighs %lld, not %lld\n", where, i,
                    (long long)r->weight[i], (long long)s->merged.weight[i]);
            return false;
        }
    return r->sampled_out == s->merged.sampled_out ||
           says(where, "spans sampled out", (long long)r->sampled_out,
                (long long)s->merged.sampled_out);
}

/* --- the story ----------------------------------------------------------------------------------- */

static void come_by(const char *name)
{
    (void)name;
    if (atomic_fetch_add(&places_met, 1) + 1 == kill_at)
        kill(getpid(), SIGKILL);
}

static enum err make(const char *dir, struct tsdb **out)
{
    struct err_msg msg;
    enum err e = open_store(dir, out);
    for (uint32_t i = 0; i < TRACES && e == ERR_OK; i++)
        if (why_of(i) == WHY_MARKED)
            e = tsdb_keep_trace(*out, ORG, trace_id(i));
    if (e == ERR_OK)
        e = send(*out, 0, TRACES * TRACE_SPANS / 2, 1);
    if (e == ERR_OK)
        e = tsdb_flush(*out, false, &msg);
    if (e == ERR_OK)
        e = send(*out, TRACES * TRACE_SPANS / 2, TRACES * TRACE_SPANS, 2);
    if (e == ERR_OK)
        e = send(*out, 0, AGAIN, 3);
    return e == ERR_OK ? tsdb_flush(*out, false, &msg) : e;
}

static int story(void *ctx)
{
    struct walk *w = ctx;
    struct tsdb *db;
    struct err_msg msg;
    struct io_fault fault = {w->kind->class, w->at, w->forever, w->kind->error};
    _Atomic uint64_t *calls = &w->shared->calls[w->job];
    record_io_begin(w->root, w->log);
    if (make(w->data, &db) != ERR_OK)
        return 1;
    atomic_store(calls, UINT64_MAX); /* of one that is killed */
    if (w->kind->is_kill) {
        kill_at = w->at;
        fault_point_hook(come_by);
    } else {
        record_io_fail(&fault);
    }
    /* errors are what it is for; what they did is looked at later */
    enum err e = tsdb_flush(db, true, &msg);
    if (send_late(db) == ERR_OK)
        atomic_store(&w->shared->late_stored[w->job], true);
    if (e == ERR_OK)
        e = tsdb_flush(db, true, &msg);
    (void)e;
    tsdb_close(db, false);
    atomic_store(calls, w->kind->is_kill ? atomic_load(&places_met) : record_io_calls());
    return 0;
}

struct look {
    struct walk *w;
    const char *dir, *where;
};

/* In a child: 0 = as promised. */
static int look(void *ctx)
{
    struct look *k = ctx;
    const struct shared *s = k->w->shared;
    struct rows r;
    struct tsdb *db;
    struct err_msg msg = {""};
    enum err e = open_store(k->dir, &db);
    bool ok = e == ERR_OK && read_rows(db, &r, k->where);
    /* A request that was not answered may be there. */
    bool has_late = ok && r.stored > TRACES * TRACE_SPANS + AGAIN;
    if (ok && !has_late && atomic_load(&s->late_stored[k->w->job]))
        ok = says(k->where, "late spans were acknowledged and are there", 0, 1);
    ok = ok && check_sums(&r, has_late, k->where) && check_whole(&r, s, has_late, k->where);
    if (ok && !has_late)
        ok = (e = send_late(db)) == ERR_OK;
    for (int again = 0; again < 2 && ok; again++) {
        ok = (e = tsdb_flush(db, true, &msg)) == ERR_OK && read_rows(db, &r, k->where) &&
             check_sums(&r, true, k->where) && check_merged(&r, s, k->where);
        if (ok && !again) { /* once is enough, also for another process */
            tsdb_close(db, true);
            ok = (e = open_store(k->dir, &db)) == ERR_OK;
        }
    }
    if (e != ERR_OK)
        fprintf(stderr, "%s: does not go on: %s %s\n", k->where, err_text(e), msg.text);
    tsdb_close(db, false);
    return ok ? 0 : 1;
}

/* --- one n --------------------------------------------------------------------------------------- */

static bool run_story(struct walk *w, const char *where)
{
    int status = 0;
    if (!w->kind->is_kill)
        return fault_child_run(story, w, where);
    pid_t child = fork();
    if (child == 0)
        _exit(story(w));
    bool ended = child > 0 && waitpid(child, &status, 0) == child;
    return ended && (WIFSIGNALED(status) ? WTERMSIG(status) == SIGKILL : WEXITSTATUS(status) == 0);
}

/* Returns whether the call was come to. */
static bool try_one(struct walk *w)
{
    char where[128];
    struct err_msg msg;
    snprintf(where, sizeof(where), "%s, %s %llu", w->kind->name, w->forever ? "from" : "at",
             (unsigned long long)w->at);
    files_remove_tree(w->root);
    CHECK(files_make_dir(w->root, &msg) == ERR_OK);
    atomic_store(&w->log->used, 0);
    atomic_store(&w->shared->late_stored[w->job], false);
    atomic_store(&w->shared->calls[w->job], 0);
    bool ok = run_story(w, where);
    if (ok && !w->kind->is_kill) {
        disk_model_cut(w->log, w->cut);
        ok = fault_child_run(look, &(struct look){w, w->cut_data, where}, where);
    }
    ok = ok && fault_child_run(look, &(struct look){w, w->data, where}, where);
    atomic_fetch_add(&w->shared->runs, 1);
    atomic_fetch_add(&w->shared->failed, !ok);
    return atomic_load(&w->shared->calls[w->job]) >= w->at;
}

static struct walk walk_of(struct shared *s, const char *base, unsigned job)
{
    struct walk w = {.shared = s, .job = job, .log = io_log_new(LOG_BYTES)};
    CHECK(w.log);
    snprintf(w.root, sizeof(w.root), "%s/%u-story", base, job);
    snprintf(w.data, sizeof(w.data), "%s/data", w.root);
    snprintf(w.cut, sizeof(w.cut), "%s/%u-cut", base, job);
    snprintf(w.cut_data, sizeof(w.cut_data), "%s/data", w.cut);
    return w;
}

/* The ways to fail take turns, so that each gets to the same n. Killing comes by fewer places than there are calls: its steps are shorter. */
static int work(struct shared *s, struct slice *slice, const char *base, unsigned job,
                uint64_t percent)
{
    bool has_ended[ARRAY_LEN(kinds) * 2] = {false}, any = true;
    uint64_t at[ARRAY_LEN(kinds) * 2];
    struct walk w = walk_of(s, base, job);
    for (unsigned i = 0; i < ARRAY_LEN(at); i++)
        at[i] = slice_from(slice);
    while (any) {
        any = false;
        for (unsigned i = 0; i < ARRAY_LEN(kinds) * 2; i++) {
            w.kind = &kinds[i / 2];
            w.forever = i & 1;
            w.at = at[i];
            if (i % JOBS != job || has_ended[i] || (w.kind->is_kill && w.forever))
                continue;
            if (!slice_goes_on(slice, job, w.at))
                return 0;
            has_ended[i] = !try_one(&w);
            at[i] = fault_child_step(w.at, w.kind->is_kill ? percent / 4 : percent);
            any |= !has_ended[i];
        }
    }
    slice_ended(slice, job);
    return 0;
}

/* --- the run without faults ---------------------------------------------------------------------- */

static int first_run(void *ctx)
{
    struct walk *w = ctx;
    struct shared *s = w->shared;
    struct tsdb *db;
    struct err_msg msg;
    bool ok = make(w->data, &db) == ERR_OK && read_rows(db, &s->sent, "first run") &&
              check_sums(&s->sent, false, "first run") && tsdb_flush(db, true, &msg) == ERR_OK &&
              send_late(db) == ERR_OK && tsdb_flush(db, true, &msg) == ERR_OK &&
              read_rows(db, &s->merged, "first run") && check_sums(&s->merged, true, "first run");
    tsdb_close(db, false);
    return ok ? 0 : 1;
}

/* It has every kind of decision in it, and each is what the policy says. */
static bool check_first(const struct shared *s)
{
    unsigned whole = 0, weighed = 0, gone = 0, by_kind = 0;
    for (uint32_t i = 0; i < SPANS; i++) {
        uint32_t trace = trace_of(i);
        int64_t have = s->merged.weight[i],
                sent = i < TRACES * TRACE_SPANS ? s->sent.weight[i] : sent_weight(i);
        if (!is_in_closed_day(i)) {
            if (have != sent)
                return says("first run", "a span of the open day weighs", have, sent);
            continue;
        }
        if (why_of(trace) != WHY_NOTHING && have != sent)
            return says("first run", "a span of a trace that is kept weighs", have, sent);
        if (have !=
            s->merged.weight[trace * TRACE_SPANS] / s->sent.weight[trace * TRACE_SPANS] * sent)
            return says("first run", "a span weighs otherwise than its trace", have, sent);
        by_kind += why_of(trace) == WHY_NOTHING && have == sent && i < TRACES * TRACE_SPANS &&
                   i % TRACE_SPANS == 0;
        whole += have == sent;
        weighed += have == sent * 1000 / KEEP_PERMILLE;
        gone += have == 0;
        if (have != 0 && have != sent && have != sent * 1000 / KEEP_PERMILLE)
            return says("first run", "a span weighs", have, sent);
    }
    if (by_kind != 2 * PER_KIND || whole < LATE || weighed < LATE || gone < LATE)
        return says("first run", "traces kept for their kind", by_kind, 2 * PER_KIND);
    return true;
}

int main(int argc, char **argv)
{
    const char *from_env = getenv("TELLTALE_STEP");
    uint64_t percent = from_env ? strtoull(from_env, NULL, 10) : 60;
    bool expect_wrong = false, died = false;
    struct err_msg msg;
    struct shared *s =
        mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    char base[64];
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--step") == 0 && i + 1 < argc)
            percent = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--expect-wrong") == 0)
            expect_wrong = true;
    }
    snprintf(base, sizeof(base), "%s/telltale-sample-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (s == MAP_FAILED || !mkdtemp(base))
        return 2;
    log_set_level((enum log_level) - 1); /* nothing: what fails here is meant to */
    (void)mallopt(M_MMAP_THRESHOLD, 256 << 10); /* see power_cut.c */
    struct walk first = walk_of(s, base, JOBS);
    bool ok = files_make_dir(first.root, &msg) == ERR_OK &&
              fault_child_run(first_run, &first, "first run") && check_first(s);
    struct slice *slice = slice_new("sampling under faults", "call", 1, JOBS);
    for (unsigned job = 0; job < JOBS && ok; job++) {
        pid_t child = fork();
        if (child == 0)
            _exit(work(s, slice, base, job, percent));
        died |= child < 0;
    }
    for (int status; wait(&status) > 0;)
        died |= !WIFEXITED(status) || WEXITSTATUS(status) != 0;
    unsigned failed = atomic_load(&s->failed);
    printf("sampling under faults: %u runs: %u failed\n", atomic_load(&s->runs), failed);
    slice_done(slice);
    files_remove_tree(base);
    if (died || !ok)
        return 2;
    return expect_wrong ? failed == 0 : failed != 0;
}
