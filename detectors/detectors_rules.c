#include "detectors/detectors_rules.h"

#include "base/alive.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/stats.h"
#include "detectors/rule_book.h"

#include <stdio.h>
#include <stdlib.h>

#define QUERY_TIMEOUT_MS INT64_C(30000)
#define BATCH_BYTES_MAX ((size_t)256 << 20)
#define IDLE_MS 60000
#define CHECK_BYTES ((size_t)256 << 20)

STATS_COUNTER(stat_refused, "telltale_rule_samples_refused_total", "",
              "Samples of rules for which there was no series: the limit of series is reached.");
STATS_COUNTER(stat_caught_up, "telltale_rule_evaluations_caught_up_total", "",
              "Evaluations of groups that were missed while the program was down, of recording "
              "rules.");

/* --- the store as a place for rules -------------------------------------------------------------- */

struct store_io { /* of one evaluation of a group */
    struct detectors_rules *r;
    struct tsdb_view *view; /* NULL: not open */
    struct tsdb_read_limits limits;
};

static void close_view(struct store_io *s)
{
    if (s->view)
        tsdb_view_close(s->view);
    s->view = NULL;
}

static enum err store_query(void *ctx, struct bytes text, int64_t at_ms, struct arena *a,
                            struct query_result *out, struct err_msg *msg)
{
    struct store_io *s = ctx;
    const struct detectors_rules_options *o = &s->r->o;
    close_view(s); /* a deadline of its own for each question */
    s->limits = (struct tsdb_read_limits){.deadline_mono_ns =
                                              clock_mono_ns() + o->query_timeout_ms * 1000000,
                                          .cancel = &s->r->cancel};
    struct query_limits limits = {.deadline_mono_ns = s->limits.deadline_mono_ns,
                                  .cancel = &s->r->cancel};
    enum err e = tsdb_view_open(o->db, o->org, &s->limits, &s->view);
    if (e != ERR_OK)
        return err_set(msg, e, "the store cannot be read: %s", err_text(e));
    struct query_source src = query_source_of_view(s->view);
    return query_instant(&src, &limits, text, at_ms, a, out, msg);
}

static enum err to_batch(struct store_io *s, const struct rule_row *row, struct tsdb_batch *b)
{
    struct tsdb_ref ref;
    enum err e = tsdb_registry_ref(tsdb_series(s->r->o.db), s->r->o.org, TSDB_SERIES_SAMPLES,
                                   row->labels, &ref);
    if (e == ERR_LIMIT) {
        stats_add(&stat_refused, 1);
        tsdb_batch_reject(b, TSDB_REJECT_CARDINALITY, "the limit of series is reached");
        return ERR_OK;
    }
    if (e != ERR_OK)
        return e;
    if (!row->hist)
        return tsdb_batch_add_sample(b, ref, row->t_ms, row->value, 0) ? ERR_OK : ERR_LIMIT;
    struct tsdb_hist *h = arena_alloc(b->arena, sizeof(*h));
    bool ok = h && query_hist_store(row->hist, b->arena, h) &&
              tsdb_batch_add_hist(b, ref, row->t_ms, h, 0);
    return ok ? ERR_OK : ERR_LIMIT;
}

static enum err store_write(void *ctx, const struct rule_row *rows, size_t n, struct err_msg *msg)
{
    struct store_io *s = ctx;
    struct tsdb_result result;
    struct tsdb_batch *b = tsdb_batch_new(s->r->o.org, TSDB_SAMPLES, BATCH_BYTES_MAX);
    enum err e = b ? ERR_OK : ERR_NOMEM;
    close_view(s);
    for (size_t i = 0; i < n && e == ERR_OK; i++)
        e = to_batch(s, &rows[i], b);
    if (e != ERR_OK) {
        tsdb_batch_free(b);
        return err_set(msg, e, "%s", err_text(e));
    }
    b->received = n;
    b->received_ns = clock_wall_ns();
    e = tsdb_append_wait(s->r->o.db, b, &result);
    return e == ERR_OK ? e : err_set(msg, e, "%s", err_text(e));
}

static struct rule_io io_of(struct detectors_rules *r, struct store_io *s)
{
    *s = (struct store_io){.r = r};
    return (struct rule_io){.ctx = s,
                            .query = store_query,
                            .write = store_write,
                            .budget = tsdb_query_budget(r->o.db),
                            .external_labels = r->d->o.external_labels,
                            .external_url = r->d->o.external_url,
                            .grace_until_ms = r->start_ms + DETECTORS_RULES_GRACE_MS};
}

/* --- groups when they are due -------------------------------------------------------------------- */

static enum err run_group(struct detectors_rules *r, struct rule_group *g, int64_t at_ms)
{
    struct store_io s;
    struct rule_io io = io_of(r, &s);
    struct rule_out *outs = calloc(g->def->rule_count + 1, sizeof(*outs));
    if (!outs)
        return ERR_NOMEM;
    rule_group_eval(g, &io, at_ms, false, outs);
    close_view(&s);
    /* A program that stops has cut its questions off: it is as if this evaluation had not begun. */
    enum err e = atomic_load(&r->cancel) ? ERR_CANCELLED : rule_book_commit(r, g, outs, at_ms);
    rule_outs_free(outs, g->def->rule_count);
    free(outs);
    return e;
}

static void catch_up_one(struct detectors_rules *r, struct rule_group *g, int64_t at_ms)
{
    struct store_io s;
    struct rule_io io = io_of(r, &s);
    struct rule_out *outs = calloc(g->def->rule_count + 1, sizeof(*outs));
    if (!outs)
        return;
    rule_group_eval(g, &io, at_ms, true, outs);
    close_view(&s);
    pthread_mutex_lock(&r->lock);
    rule_group_apply(g, at_ms, outs);
    pthread_mutex_unlock(&r->lock);
    rule_outs_free(outs, g->def->rule_count);
    free(outs);
    stats_add(&stat_caught_up, 1);
}

/* What was missed while the program was down, oldest first, of recording rules: alerts cannot be told of the past. */
static void catch_up(struct detectors_rules *r, struct rule_group *g, int64_t to_ms)
{
    int64_t every = g->def->interval_ms, from = g->last_ms + every;
    bool records = false;
    for (uint32_t i = 0; i < g->def->rule_count; i++)
        records = records || !g->def->rules[i].is_alert;
    int64_t oldest =
        MAX(to_ms - DETECTORS_RULES_CATCH_UP_MS, to_ms - DETECTORS_RULES_CATCH_UP_MAX * every);
    if (!records || !g->last_ms)
        return;
    while (from < oldest)
        from += (oldest - from + every - 1) / every * every;
    for (int64_t at = from; at < to_ms && !atomic_load(&r->cancel); at += every)
        catch_up_one(r, g, at);
}

/* The group's next evaluation, and how many were missed on the way to it. */
static void advance(struct detectors_rules *r, struct rule_group *g, int64_t at_ms, int64_t now_ms)
{
    int64_t every = g->def->interval_ms, next = at_ms + every;
    uint64_t missed = 0;
    if (now_ms - next >= every) {
        missed = (uint64_t)((now_ms - next) / every);
        next += (int64_t)missed * every;
    }
    pthread_mutex_lock(&r->lock);
    g->next_ms = next;
    g->missed += missed;
    g->iterations += missed; /* as Prometheus counts them: scheduled, whether run or missed */
    pthread_mutex_unlock(&r->lock);
}

static enum err run_due(struct detectors_rules *r, int64_t now_ms, int64_t *out_next)
{
    enum err e = ERR_OK;
    *out_next = now_ms + IDLE_MS;
    pthread_mutex_lock(&r->eval_lock);
    e = rule_book_release(r, now_ms);
    for (uint32_t i = 0; i < r->book.group_count && !atomic_load(&r->cancel); i++) {
        struct rule_group *g = &r->book.groups[i];
        int64_t every = g->def->interval_ms;
        if (!g->next_ms || g->next_ms > now_ms + 2 * every) { /* new; or the clock went back */
            int64_t next = rule_book_next(g->def, now_ms);
            if (!g->next_ms)
                catch_up(r, g, next);
            g->next_ms = next;
        }
        if (g->next_ms <= now_ms) {
            int64_t at_ms = g->next_ms;
            enum err one = run_group(r, g, at_ms);
            e = e == ERR_OK ? one : e;
            advance(r, g, at_ms, MAX(now_ms, clock_wall_ms()));
        }
        *out_next = MIN(*out_next, g->next_ms);
    }
    pthread_mutex_unlock(&r->eval_lock);
    return e;
}

enum err detectors_rules_evaluate(struct detectors_rules *r, int64_t now_ms)
{
    int64_t next;
    CHECK(!r->is_started);
    return run_due(r, now_ms, &next);
}

/* --- the thread ---------------------------------------------------------------------------------- */

static bool wait_until(struct detectors_rules *r, int64_t at_ms)
{
    int64_t wait_ms = MIN(MAX(at_ms - clock_wall_ms(), INT64_C(0)), (int64_t)IDLE_MS);
    int64_t until = clock_mono_ns() + wait_ms * 1000000;
    struct timespec ts = {until / 1000000000, until % 1000000000};
    int rc = 0;
    pthread_mutex_lock(&r->lock);
    while (!r->is_stopping && !r->is_changed && rc == 0)
        rc = pthread_cond_timedwait(&r->wake, &r->lock, &ts);
    r->is_changed = false;
    bool go_on = !r->is_stopping;
    pthread_mutex_unlock(&r->lock);
    return go_on;
}

#define ALIVE_LIMIT_MS INT64_C(600000) /* a round of many groups of slow rules */

static void *run(void *arg)
{
    struct detectors_rules *r = arg;
    enum err last = ERR_OK;
    int64_t next;
    int alive = alive_begin("rules", ALIVE_LIMIT_MS);
    do {
        alive_beat(alive);
        enum err e = run_due(r, clock_wall_ms(), &next);
        if (e != ERR_OK && e != last && !atomic_load(&r->cancel))
            log_warn("rules", "an evaluation failed and will be repeated: %s", err_text(e));
        last = e;
    } while (wait_until(r, next));
    alive_end(alive);
    return NULL;
}

enum err detectors_rules_start(struct detectors_rules *r, struct err_msg *msg)
{
    CHECK(!r->is_started);
    if (pthread_create(&r->thread, NULL, run, r) != 0)
        return err_set(msg, ERR_NOMEM, "no thread for the rules");
    r->is_started = true;
    return ERR_OK;
}

void detectors_rules_stop(struct detectors_rules *r)
{
    if (!r || !r->is_started)
        return;
    atomic_store(&r->cancel, true);
    pthread_mutex_lock(&r->lock);
    r->is_stopping = true;
    pthread_cond_broadcast(&r->wake);
    pthread_mutex_unlock(&r->lock);
    pthread_join(r->thread, NULL);
    r->is_started = false;
}

/* --- new, reload --------------------------------------------------------------------------------- */

enum err detectors_rules_new(const struct detectors_rules_options *o, struct detectors_rules **out,
                             struct buf *errors)
{
    struct detectors_rules *r = calloc(1, sizeof(*r));
    pthread_condattr_t attr;
    if (!r)
        return ERR_NOMEM;
    r->o = *o;
    r->o.org = o->org ? o->org : TSDB_ORG_DEFAULT;
    r->o.query_timeout_ms = o->query_timeout_ms ? o->query_timeout_ms : QUERY_TIMEOUT_MS;
    r->d = o->detectors;
    r->start_ms = clock_wall_ms();
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&r->eval_lock, NULL);
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->wake, &attr);
    pthread_condattr_destroy(&attr);
    enum err e = rule_book_make(&r->o, &r->book, errors);
    if (e == ERR_OK) {
        e = rule_book_load(r, r->start_ms);
        if (e != ERR_OK)
            buf_printf(errors, "state store: the alerts of rules cannot be read: %s\n",
                       err_text(e));
    }
    if (e != ERR_OK) {
        detectors_rules_free(r);
        return e;
    }
    r->d->rules = r;
    *out = r;
    return ERR_OK;
}

void detectors_rules_free(struct detectors_rules *r)
{
    if (!r)
        return;
    CHECK(!r->is_started);
    if (r->d->rules == r)
        r->d->rules = NULL;
    rule_book_free(&r->book);
    arena_free(r->orphan_arena);
    pthread_cond_destroy(&r->wake);
    pthread_mutex_destroy(&r->lock);
    pthread_mutex_destroy(&r->eval_lock);
    free(r);
}

/* Series of rules that are gone are marked as such; where that fails they end with the lookback. */
static void end_series(struct detectors_rules *r, const struct rule_book *gone)
{
    struct store_io s;
    struct rule_io io = io_of(r, &s);
    struct err_msg msg;
    int64_t now_ms = clock_wall_ms();
    for (uint32_t i = 0; i < gone->group_count; i++)
        for (uint32_t k = 0; k < gone->groups[i].def->rule_count; k++) {
            struct rule_row *rows;
            size_t n = 0;
            struct arena *a = arena_new(RULE_EVAL_ARENA_MAX);
            if (a &&
                rule_state_stale_rows(&gone->groups[i].rules[k], now_ms, a, &rows, &n) == ERR_OK &&
                n && store_write(io.ctx, rows, n, &msg) != ERR_OK)
                log_warn("rules", "series of rules that are gone cannot be ended: %s", msg.text);
            arena_free(a);
        }
}

enum err detectors_rules_reload(struct detectors_rules *r, struct buf *errors)
{
    struct rule_book fresh, old;
    enum err e = rule_book_make(&r->o, &fresh, errors);
    if (e != ERR_OK)
        return e;
    pthread_mutex_lock(&r->eval_lock);
    pthread_mutex_lock(&r->lock);
    e = rule_book_carry(r, &r->book, &fresh);
    old = e == ERR_OK ? r->book : fresh;
    if (e == ERR_OK)
        r->book = fresh;
    r->is_changed = true;
    pthread_cond_broadcast(&r->wake);
    pthread_mutex_unlock(&r->lock);
    if (e == ERR_OK && r->o.db)
        end_series(r, &old);
    pthread_mutex_unlock(&r->eval_lock);
    rule_book_free(&old);
    if (e != ERR_OK)
        buf_printf(errors, "the rules cannot be taken over: %s\n", err_text(e));
    return e;
}

enum err detectors_rules_check(const char *const *paths, size_t count, uint32_t *out_groups,
                               uint32_t *out_rules, struct buf *errors)
{
    struct rule_set set;
    struct rule_file_options o = {.arena = arena_new(CHECK_BYTES), .errors = errors};
    enum err e = o.arena ? rule_file_load(paths, count, &o, &set) : ERR_NOMEM;
    if (e == ERR_OK && out_groups)
        *out_groups = set.group_count;
    if (e == ERR_OK && out_rules)
        *out_rules = set.rule_count;
    arena_free(o.arena);
    return e;
}
