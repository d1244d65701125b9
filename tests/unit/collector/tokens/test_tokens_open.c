/* Streams put together from events in any order, repeated, lost: against a slow model; over failed commits and restarts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/check.h"
#include "collector/tokens/tokens_open.h"
#include "tsdb/tsdb_timeline.h"

#define NOW INT64_C(1795168800000000000)
#define SECOND INT64_C(1000000000)
#define STREAMS 60u
#define EVENTS_MAX 200u
#define BATCHES 40u

static uint64_t state = 7;
static uint32_t rnd(uint32_t n)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33) % n;
}

/* --- a workload ------------------------------------------------------------------------------------ */

struct sent {
    uint32_t stream;
    struct tsdb_token_event e;
};
struct work {
    struct sent sent[STREAMS * EVENTS_MAX * 2];
    uint32_t count;
};

static void put(struct work *w, uint32_t stream, struct tsdb_token_event e)
{
    for (uint32_t times = rnd(12) == 0 ? 2 : 1; times-- > 0;) /* repeats */
        if (rnd(40) || e.kind == TSDB_TOKEN_START) /* losses */
            w->sent[w->count++] = (struct sent){stream, e};
}

static void make_work(struct work *w)
{
    w->count = 0;
    for (uint32_t s = 0; s < STREAMS; s++) {
        int64_t t = NOW + (int64_t)rnd(1000000);
        uint32_t n = 1 + rnd(80), ordinal = rnd(2);
        if (s % 5)
            put(w, s, (struct tsdb_token_event){.time_ns = t, .kind = TSDB_TOKEN_START});
        for (uint32_t i = 0; i < n; i++) {
            t += 1 + (rnd(30) ? (int64_t)rnd(50000000) : rnd(20) * SECOND);
            struct tsdb_token_event e = {.time_ns = t,
                                         .tokens = rnd(5) ? 1 : rnd(4),
                                         .channel = (uint8_t)(rnd(8) ? 0 : 1 + rnd(2))};
            e.ordinal = ordinal ? ordinal + i : 0;
            if (rnd(6) == 0) {
                e.logprob_count = 1 + rnd(3);
                e.logprob_sum = -(float)rnd(100) / 8;
                e.logprob_min = -(float)rnd(100) / 4;
            }
            put(w, s, e);
        }
        if (s % 4)
            put(w, s,
                (struct tsdb_token_event){.time_ns = t + (int64_t)rnd(1000),
                                          .kind = s % 7 ? TSDB_TOKEN_END : TSDB_TOKEN_ERROR,
                                          .reason = s % 3 ? BYTES_LIT("stop") : BYTES_NONE});
    }
}

static void shuffle(struct work *w)
{
    for (uint32_t i = w->count; i > 1; i--) {
        uint32_t k = rnd(i);
        struct sent x = w->sent[i - 1];
        w->sent[i - 1] = w->sent[k];
        w->sent[k] = x;
    }
}

static struct tsdb_batch *batch_of(const struct work *w, uint32_t from, uint32_t to, int64_t at)
{
    struct tsdb_batch *b = tsdb_batch_new(3, TSDB_TOKENS, 0);
    b->received_ns = at;
    for (uint32_t i = from; i < to; i++) {
        char name[16];
        struct tsdb_token_stream h = {0};
        struct tsdb_token_event e = w->sent[i].e;
        snprintf(name, sizeof name, "r%u", w->sent[i].stream);
        h.text[TSDB_TOKEN_TEXT_request_id] = bytes_str(name);
        h.text[TSDB_TOKEN_TEXT_model] = BYTES_LIT("m");
        e.stream = tsdb_tokens_stream(&b->tokens, b->org, &h);
        assert_true(tsdb_tokens_add(&b->tokens, &e));
    }
    return b;
}

/* --- what was told ---------------------------------------------------------------------------------- */

struct told {
    uint32_t times;
    enum tokens_result_kind kind;
    int64_t ttft_ns, start_ns, end_ns, interval_sum, stall_sum;
    uint64_t tokens[TSDB_TOKEN_CHANNELS], logprobs, timeline_tokens;
    uint32_t events, repeats, chunks, intervals, stalls;
    double logprob_sum;
};
struct tellings {
    struct told of[STREAMS];
};

static bool tell(void *ctx, const struct tokens_result *r)
{
    struct tellings *all = ctx;
    uint64_t s = 0;
    struct bytes id = r->header.text[TSDB_TOKEN_TEXT_request_id];
    assert_true(bytes_to_u64(bytes_slice(id, 1, id.size), &s) && s < STREAMS);
    assert_true(bytes_equal_str(r->header.text[TSDB_TOKEN_TEXT_model], "m"));
    struct told *t = &all->of[s];
    t->times++;
    t->kind = r->kind;
    t->ttft_ns = r->has_start && r->visible_ns ? r->visible_ns - r->start_ns : -1;
    t->start_ns = r->start_ns;
    t->end_ns = r->end_ns;
    memcpy(t->tokens, r->tokens, sizeof t->tokens);
    t->events = r->events;
    t->repeats = r->repeats;
    t->chunks = r->chunks;
    t->stalls = r->stall_count;
    t->logprobs = r->logprob_count;
    t->logprob_sum = r->logprob_sum;
    t->intervals = r->interval_count;
    t->interval_sum = t->stall_sum = 0;
    for (uint32_t i = 0; i < r->interval_count; i++)
        t->interval_sum += r->intervals[i].ns * (i + 1); /* and their order */
    for (uint32_t i = 0; i < MIN(r->stall_count, TOKENS_STALLS_MAX); i++)
        t->stall_sum += r->stalls[i].length_ns ^ r->stalls[i].after_ns;
    struct tsdb_timeline_reader in = tsdb_timeline_open(r->timeline);
    struct tsdb_timeline_chunk c;
    t->timeline_tokens = 0;
    while (tsdb_timeline_next(&in, &c))
        t->timeline_tokens += c.tokens;
    assert_false(in.corrupt);
    return true;
}

/* --- the model: sets and sorting by hand ------------------------------------------------------------- */

static bool before(const struct tsdb_token_event *a, const struct tsdb_token_event *b)
{
    static const int rank[] = {1, 0, 2, 3};
    if (a->time_ns != b->time_ns)
        return a->time_ns < b->time_ns;
    if (a->kind != b->kind)
        return rank[a->kind] < rank[b->kind];
    return a->ordinal != b->ordinal   ? a->ordinal < b->ordinal
           : a->channel != b->channel ? a->channel < b->channel
                                      : a->tokens < b->tokens;
}

static bool same(const struct tsdb_token_event *a, const struct tsdb_token_event *b)
{
    return !before(a, b) && !before(b, a);
}

static int by_size(const void *x, const void *y)
{
    int64_t a = *(const int64_t *)x, b = *(const int64_t *)y;
    return (a > b) - (a < b);
}

static void model(const struct work *w, uint32_t stream, struct told *t)
{
    struct tsdb_token_event e[EVENTS_MAX * 2];
    int64_t gaps[EVENTS_MAX * 2], sorted[EVENTS_MAX * 2], at[EVENTS_MAX * 2], visible = 0,
                                                                              start = 0;
    uint32_t n = 0, gap_count = 0;
    *t = (struct told){.times = 1, .ttft_ns = -1};
    for (uint32_t i = 0; i < w->count; i++) {
        if (w->sent[i].stream != stream)
            continue;
        bool known = false;
        for (uint32_t k = 0; k < n; k++)
            known = known || same(&e[k], &w->sent[i].e);
        if (known)
            t->repeats++;
        else
            e[n++] = w->sent[i].e;
    }
    for (uint32_t i = 1; i < n; i++)
        for (uint32_t k = i; k > 0 && before(&e[k], &e[k - 1]); k--) {
            struct tsdb_token_event x = e[k];
            e[k] = e[k - 1];
            e[k - 1] = x;
        }
    bool ended = false, failed = false, finished = false;
    t->times = n > 0;
    t->events = n;
    t->start_ns = n ? e[0].time_ns : 0;
    int64_t last = 0;
    for (uint32_t i = 0; i < n; i++) {
        t->end_ns = e[i].time_ns;
        if (e[i].kind == TSDB_TOKEN_START && !start)
            t->start_ns = start = e[i].time_ns;
        failed = failed || e[i].kind == TSDB_TOKEN_ERROR;
        ended = ended || e[i].kind == TSDB_TOKEN_END;
        finished = finished || (e[i].kind == TSDB_TOKEN_END && e[i].reason.size);
        t->logprobs += e[i].logprob_count;
        t->logprob_sum += (double)e[i].logprob_sum;
        if (!e[i].tokens)
            continue;
        t->tokens[e[i].channel] += e[i].tokens;
        t->timeline_tokens += e[i].tokens;
        if (!visible && e[i].channel == TSDB_TOKEN_OUTPUT)
            visible = e[i].time_ns;
        if (t->chunks++) {
            at[gap_count] = last;
            gaps[gap_count++] = e[i].time_ns - last;
            t->interval_sum += (e[i].time_ns - last) * gap_count;
        }
        last = e[i].time_ns;
    }
    t->intervals = gap_count;
    if (start && visible)
        t->ttft_ns = visible - start;
    t->kind = failed     ? TOKENS_RESULT_ERROR
              : finished ? TOKENS_RESULT_COMPLETE
              : ended    ? TOKENS_RESULT_CUT
                         : TOKENS_RESULT_TIMEOUT;
    memcpy(sorted, gaps, gap_count * sizeof *gaps);
    qsort(sorted, gap_count, sizeof *sorted, by_size);
    int64_t limit = MAX(10 * SECOND, gap_count ? 20 * sorted[gap_count / 2] : 0);
    if (t->chunks) {
        at[gap_count] = last;
        gaps[gap_count++] = t->end_ns - last;
    }
    for (uint32_t i = 0; i < gap_count; i++)
        if (gaps[i] > limit && t->stalls++ < TOKENS_STALLS_MAX)
            t->stall_sum += gaps[i] ^ (at[i] - t->start_ns);
}

static void assert_told(const struct told *x, const struct told *y, uint32_t s)
{
    if (x->times != y->times || x->kind != y->kind || x->ttft_ns != y->ttft_ns ||
        x->start_ns != y->start_ns || x->end_ns != y->end_ns || x->events != y->events ||
        x->repeats != y->repeats || x->chunks != y->chunks || x->intervals != y->intervals ||
        x->interval_sum != y->interval_sum || x->stalls != y->stalls ||
        x->stall_sum != y->stall_sum || x->logprobs != y->logprobs ||
        x->logprob_sum != y->logprob_sum || x->timeline_tokens != y->timeline_tokens ||
        memcmp(x->tokens, y->tokens, sizeof x->tokens) != 0)
        fail_msg("stream %u: told %u/%u times, kind %d/%d, ttft %lld/%lld, events %u/%u, stalls "
                 "%u/%u, repeats %u/%u",
                 s, x->times, y->times, (int)x->kind, (int)y->kind, (long long)x->ttft_ns,
                 (long long)y->ttft_ns, x->events, y->events, x->stalls, y->stalls, x->repeats,
                 y->repeats);
}

/* --- runs ---------------------------------------------------------------------------------------------- */

static struct tsdb_batch *nth(const struct work *w, uint32_t i)
{
    if (i >= BATCHES) /* quiet: everything ends */
        return batch_of(w, 0, 0, NOW + 10 * SECOND + (int64_t)(i - BATCHES + 1) * 100 * SECOND);
    return batch_of(w, w->count * i / BATCHES, w->count * (i + 1) / BATCHES,
                    NOW + (int64_t)i * 100000000);
}
#define ALL (BATCHES + 3)

static void settle(struct tokens_open *t, const struct work *w, uint32_t i, uint64_t seq,
                   struct tellings *out)
{
    struct tsdb_batch *b = nth(w, i);
    assert_int_equal(tokens_open_batch(t, b, seq, out ? tell : NULL, out), ERR_OK);
    tsdb_batch_free(b); /* nothing of it is needed any more */
}

static void any_order_gives_what_the_model_says(void **ctx)
{
    struct work *w = malloc(sizeof *w);
    for (uint32_t round = 0; round < 40; round++) {
        struct tokens_open *t = tokens_open_new(NULL);
        struct tellings got = {0};
        make_work(w);
        if (round)
            shuffle(w);
        for (uint32_t i = 0; i < ALL; i++) {
            settle(t, w, i, i + 1, &got);
            tokens_open_committed(t);
        }
        assert_int_equal(tokens_open_count(t), 0);
        for (uint32_t s = 0; s < STREAMS; s++) {
            struct told expected;
            model(w, s, &expected);
            if (expected.times)
                assert_told(&got.of[s], &expected, s);
        }
        tokens_open_free(t);
    }
    free(w);
}

static void a_failed_commit_leaves_no_trace(void **ctx)
{
    struct work *w = malloc(sizeof *w);
    for (uint32_t round = 0; round < 20; round++) {
        struct tokens_open *t = tokens_open_new(NULL);
        struct tellings got = {0}, lost = {0};
        uint64_t seq = 1;
        make_work(w);
        shuffle(w);
        for (uint32_t i = 0; i < ALL; i++) {
            uint32_t more = MIN(rnd(3), ALL - i);
            uint64_t first = seq;
            for (uint32_t k = 0; k < more; k++) /* a commit of several batches, in vain */
                settle(t, w, i + k, seq++, &lost);
            while (seq > first)
                tokens_open_undo(t, --seq);
            seq += more;
            settle(t, w, i, seq++, &got);
            tokens_open_committed(t);
        }
        for (uint32_t s = 0; s < STREAMS; s++) {
            struct told expected;
            model(w, s, &expected);
            if (expected.times)
                assert_told(&got.of[s], &expected, s);
        }
        tokens_open_free(t);
    }
    free(w);
}

/* A checkpoint at one batch, the end of the process at a later one, replay between them. How many streams were told otherwise than once. */
static uint32_t wrong_after_crash(const struct work *w, uint32_t checkpoint, uint32_t crash,
                                  const struct tokens_open_options *o)
{
    struct tokens_open *t = tokens_open_new(o);
    struct tellings got = {0};
    struct buf saved = {0};
    for (uint32_t i = 0; i < crash; i++) {
        if (i == checkpoint)
            tokens_open_checkpoint(t, &saved);
        settle(t, w, i, i + 1, &got);
        tokens_open_committed(t);
    }
    if (checkpoint == crash)
        tokens_open_checkpoint(t, &saved);
    tokens_open_free(t);
    t = tokens_open_new(o);
    assert_int_equal(tokens_open_restore(t, buf_bytes(&saved)), ERR_OK);
    for (uint32_t i = checkpoint; i < crash; i++) {
        settle(t, w, i, i + 1, NULL);
        tokens_open_committed(t);
    }
    for (uint32_t i = crash; i < ALL; i++) {
        settle(t, w, i, i + 1, &got);
        tokens_open_committed(t);
    }
    uint32_t wrong = 0;
    for (uint32_t s = 0; s < STREAMS; s++) {
        struct told expected;
        model(w, s, &expected);
        wrong += expected.times && (got.of[s].times != 1 || got.of[s].events != expected.events);
    }
    buf_done(&saved);
    tokens_open_free(t);
    return wrong;
}

static void a_crash_at_any_commit_changes_nothing(void **ctx)
{
    struct work *w = malloc(sizeof *w);
    make_work(w);
    for (uint32_t crash = 0; crash <= ALL; crash++)
        for (uint32_t back = 0; back <= MIN(crash, 6u); back += 3)
            assert_int_equal(wrong_after_crash(w, crash - back, crash, NULL), 0);
    free(w);
}

static void without_checkpoints_the_crash_is_noticed(void **ctx)
{
    struct work *w = malloc(sizeof *w);
    make_work(w);
    assert_true(
        wrong_after_crash(w, 20, 25, &(struct tokens_open_options){.forgets_checkpoint = true}));
    free(w);
}

static uint32_t times_told(const struct tokens_open_options *o)
{
    struct tokens_open *t = tokens_open_new(o);
    struct tellings got = {0};
    struct work *w = calloc(1, sizeof *w);
    w->sent[w->count++] = (struct sent){0, {.time_ns = NOW, .tokens = 1}};
    w->sent[w->count++] =
        (struct sent){0, {.time_ns = NOW + 1, .kind = TSDB_TOKEN_END, .reason = BYTES_LIT("stop")}};
    for (uint64_t i = 0; i < 6; i++) { /* the second is late */
        struct tsdb_batch *b =
            batch_of(w, 0, i == 0 || i == 3 ? 2 : 0, NOW + (int64_t)i * 10 * SECOND);
        assert_int_equal(tokens_open_batch(t, b, i + 1, tell, &got), ERR_OK);
        tokens_open_committed(t);
        tsdb_batch_free(b);
    }
    tokens_open_free(t);
    free(w);
    return got.of[0].times;
}

static void late_events_of_a_closed_stream_are_not_told_again(void **ctx)
{
    assert_int_equal(times_told(NULL), 1);
    assert_int_equal(times_told(&(struct tokens_open_options){.forgets_closed = true}), 2);
}

static bool count_evicted(void *ctx, const struct tokens_result *r)
{
    *(uint32_t *)ctx += r->kind == TOKENS_RESULT_EVICTED;
    return true;
}

static void too_many_streams_end_the_oldest(void **ctx)
{
    struct tokens_open *t = tokens_open_new(&(struct tokens_open_options){.streams_max = 1000});
    uint32_t evicted = 0;
    for (uint32_t i = 0; i < 5000; i++) {
        struct tsdb_batch *b = tsdb_batch_new(3, TSDB_TOKENS, 0);
        char name[16];
        struct tsdb_token_stream h = {0};
        snprintf(name, sizeof name, "r%u", i);
        h.text[TSDB_TOKEN_TEXT_request_id] = bytes_str(name);
        struct tsdb_token_event e = {.time_ns = NOW + i, .tokens = 1};
        e.stream = tsdb_tokens_stream(&b->tokens, b->org, &h);
        assert_true(tsdb_tokens_add(&b->tokens, &e));
        b->received_ns = NOW + i;
        assert_int_equal(tokens_open_batch(t, b, i + 1, count_evicted, &evicted), ERR_OK);
        tokens_open_committed(t);
        tsdb_batch_free(b);
        assert_true(tokens_open_count(t) <= 1000);
    }
    assert_int_equal(evicted + tokens_open_count(t), 5000);
    tokens_open_free(t);
}

static void no_bytes_hurt_restoring(void **ctx)
{
    struct work *w = malloc(sizeof *w);
    struct tokens_open *t = tokens_open_new(NULL), *u = tokens_open_new(NULL);
    struct buf saved = {0}, again = {0};
    make_work(w);
    for (uint32_t i = 0; i < 10; i++) {
        settle(t, w, i, i + 1, &(struct tellings){0});
        tokens_open_committed(t);
    }
    tokens_open_checkpoint(t, &saved);
    assert_int_equal(tokens_open_restore(u, buf_bytes(&saved)), ERR_OK);
    tokens_open_checkpoint(u, &again);
    assert_true(bytes_equal(buf_bytes(&saved), buf_bytes(&again)));
    for (size_t i = 0; i < saved.size; i += 1 + saved.size / 400) {
        assert_int_equal(tokens_open_restore(u, bytes_of(saved.data, i)), ERR_CORRUPT);
        saved.data[i] ^= (uint8_t)(1 + rnd(255));
        enum err e = tokens_open_restore(u, buf_bytes(&saved));
        assert_true(e == ERR_OK || e == ERR_CORRUPT);
    }
    buf_done(&saved);
    buf_done(&again);
    tokens_open_free(t);
    tokens_open_free(u);
    free(w);
}

#define T(name) cmocka_unit_test(name)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(any_order_gives_what_the_model_says),
        T(a_failed_commit_leaves_no_trace),
        T(a_crash_at_any_commit_changes_nothing),
        T(without_checkpoints_the_crash_is_noticed),
        T(late_events_of_a_closed_stream_are_not_told_again),
        T(too_many_streams_end_the_oldest),
        T(no_bytes_hurt_restoring),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
