/* The walk through the past, and what it says as JSON. */
#include <math.h>

#include "base/check.h"
#include "base/clock.h"
#include "detectors/detectors_backtest.h"
#include "detectors/evaluator.h"
#include "query/query_slo_replay.h"

#define DAY_MINUTES 1440u
#define SLACK_MINUTES \
    500u /* what a tracker reads before its longest window: its ring, its recheck range */
#define ANSWER_BYTES ((size_t)16 << 20) /* of one objective */
#define READ_LIMIT_NS (INT64_C(50) * 1000000000) /* a view lives 60 s */

/* One alert a rule at a time. */
struct active {
    struct alert alert; /* state OK: none */
    bool is_told, has_changed;
    uint64_t opened; /* the n-th alert of the walk */
    struct detectors_backtest_alert *row; /* NULL: it has not fired, or the list is full */
};

struct walk {
    const struct query_slo *slo;
    const struct slo_calendar *calendar;
    const struct query_slo_source *src; /* of the store: for who is responsible */
    struct arena *arena;
    struct detectors_backtest *out;
    struct slo_judge judge;
    struct active active[SLO_JUDGE_RULES];
    uint32_t floor[SLO_JUDGE_RULES];
    uint64_t opened;
};

int64_t detectors_backtest_end_ms(int64_t now_ms)
{
    return (now_ms - QUERY_SLO_DELAY_MS) / 60000 * 60000;
}

/* When the evaluator has the minute whole, just before it goes on to the next. */
static int64_t judged_ms(uint32_t minute)
{
    return ((int64_t)minute + 1) * 60000 + QUERY_SLO_DELAY_MS - 1;
}

/* --- who is told --------------------------------------------------------------------------------- */

static bool is_firing(const struct active *a)
{
    return a->alert.state == DETECTORS_FIRING;
}

/* As the book decides for one receiver. */
static bool may_tell(const struct walk *w, uint32_t rule)
{
    if (rule >= QUERY_SLO_RULES_MAX)
        return true;
    for (uint32_t k = 0; k < QUERY_SLO_RULES_MAX; k++) {
        const struct active *x = &w->active[k];
        if (k != rule && is_firing(x) && x->is_told &&
            (x->alert.severity == QUERY_SLO_PAGE ||
             w->active[rule].alert.severity == QUERY_SLO_TICKET))
            return false;
    }
    return true;
}

static void tell(struct walk *w, uint32_t rule)
{
    struct active *a = &w->active[rule];
    if (!may_tell(w, rule))
        return;
    a->is_told = true;
    if (a->row)
        a->row->is_told = true;
    if (a->alert.severity == QUERY_SLO_PAGE)
        w->out->pages++;
    else
        w->out->tickets++;
}

/* The oldest that was spared, and is not any more; none: SLO_JUDGE_RULES. */
static uint32_t next_released(const struct walk *w, uint64_t after)
{
    uint32_t best = SLO_JUDGE_RULES;
    for (uint32_t i = 0; i < SLO_JUDGE_RULES; i++) {
        const struct active *a = &w->active[i];
        if (is_firing(a) && !a->has_changed && !a->is_told && a->opened > after &&
            (best == SLO_JUDGE_RULES || a->opened < w->active[best].opened))
            best = i;
    }
    return best;
}

/* What has changed first; then, in the order of the book, who was spared. */
static void tell_all(struct walk *w)
{
    uint64_t after = 0;
    for (uint32_t i = 0; i < SLO_JUDGE_RULES; i++)
        if (is_firing(&w->active[i]) && w->active[i].has_changed)
            tell(w, i);
    for (uint32_t i; (i = next_released(w, after)) != SLO_JUDGE_RULES;) {
        after = w->active[i].opened;
        tell(w, i);
    }
}

/* --- alerts -------------------------------------------------------------------------------------- */

static void add_row(struct walk *w, struct active *a, uint32_t rule)
{
    struct detectors_backtest *out = w->out;
    const struct alert *x = &a->alert;
    struct query_slo_blame blame;
    out->is_cut = out->is_cut || out->alert_count == DETECTORS_BACKTEST_ALERTS_MAX;
    if (out->is_cut)
        return;
    a->row = &out->alerts[out->alert_count++];
    *a->row =
        (struct detectors_backtest_alert){.rule = bytes_str(slo_judge_rule_name(w->slo, rule)),
                                          .severity = x->severity,
                                          .start_ms = (int64_t)x->start_minute * 60000,
                                          .fired_ms = x->fired_ms,
                                          .long_burn = x->long_burn,
                                          .short_burn = x->short_burn,
                                          .peak_burn = x->long_burn,
                                          .budget_left = x->budget_left,
                                          .factor = x->factor,
                                          .long_minutes = x->long_minutes,
                                          .short_minutes = x->short_minutes,
                                          .bad = x->bad,
                                          .eligible = x->eligible};
    uint32_t to = query_slo_tracker_horizon(w->judge.tracker) + 1;
    if (query_slo_source_blame(w->src, w->slo, to - MAX(x->long_minutes, 1u), to, w->arena,
                               &blame) == ERR_OK)
        a->row->phrase = blame.phrase; /* else an alert without its culprit */
}

static void apply(struct walk *w, uint32_t rule, enum alert_event event)
{
    struct active *a = &w->active[rule];
    a->has_changed = event == ALERT_FIRED || event == ALERT_STEPPED;
    if (event == ALERT_FIRED)
        add_row(w, a, rule);
    if (a->row) {
        a->row->severity = a->alert.severity;
        if (a->alert.long_burn > a->row->peak_burn)
            a->row->peak_burn = a->alert.long_burn;
        a->row->resolved_ms = event == ALERT_RESOLVED ? a->alert.resolved_ms : 0;
    }
    if (event == ALERT_RESOLVED || event == ALERT_DROPPED) {
        w->floor[rule] = query_slo_tracker_horizon(w->judge.tracker);
        *a = (struct active){0};
    }
}

static void run_rule(struct walk *w, uint32_t rule, int64_t now_ms)
{
    struct active *a = &w->active[rule];
    struct slo_judge_answer answer;
    bool is_active = a->alert.state != DETECTORS_OK;
    if (!slo_judge_ask(&w->judge, rule, w->floor[rule], is_active, now_ms, &answer) ||
        (!is_active && !answer.opens))
        return;
    if (!is_active)
        a->opened = ++w->opened;
    slo_judge_numbers(&w->judge, rule, &a->alert);
    apply(w, rule,
          is_active ? alert_step(&a->alert, &answer.in)
                    : alert_open(&a->alert, &answer.in, answer.start));
}

/* --- the walk ------------------------------------------------------------------------------------ */

static enum err walk(struct walk *w, struct query_slo_tracker *t,
                     const struct query_slo_source *minutes, uint32_t from, uint32_t to,
                     int64_t deadline_ns)
{
    enum err e = ERR_OK;
    for (uint32_t m = from; m < to && e == ERR_OK; m++) {
        if (deadline_ns && (m - from) % DAY_MINUTES == 0 && clock_mono_ns() > deadline_ns)
            return ERR_TIMEOUT;
        e = query_slo_source_advance(t, minutes, m, UINT32_MAX, 0);
        if (e == ERR_OK)
            e = slo_judge_sums(w->slo, t, w->calendar, minutes, true, &w->judge);
        if (e != ERR_OK)
            break;
        for (uint32_t rule = 0; rule < SLO_JUDGE_RULES; rule++)
            run_rule(w, rule, judged_ms(m));
        tell_all(w);
    }
    w->out->budget_left = query_slo_budget_left_of(w->slo, &w->judge.period);
    return e;
}

static enum err range_counts(const struct query_slo_source *minutes, const struct query_slo *s,
                             uint32_t from, uint32_t to, struct detectors_backtest *out)
{
    struct query_slo_counts day[DAY_MINUTES];
    for (uint32_t at = from; at < to; at += DAY_MINUTES) {
        uint32_t end = MIN(to, at + DAY_MINUTES);
        enum err e = query_slo_source_minutes(minutes, s, at, end, day);
        if (e != ERR_OK)
            return e;
        for (uint32_t i = 0; i < end - at; i++) {
            out->counts.good += day[i].good;
            out->counts.bad += day[i].bad;
            out->counts.excluded += day[i].excluded;
            out->counts.missing += day[i].missing;
            if (!out->data_from_ms && query_slo_eligible(&day[i]) > 0)
                out->data_from_ms = ((int64_t)at + i) * 60000;
        }
    }
    return ERR_OK;
}

static double exact_share(const struct query_slo_source *src, const struct query_slo *s,
                          uint32_t from, uint32_t to, struct arena *a,
                          const struct query_slo_counts *c)
{
    struct query_slo_bounds b;
    if (s->family.size == 0 || query_slo_source_bounds(src, s, from, to, a, &b) != ERR_OK ||
        b.count <= 0)
        return (double)NAN;
    double share = (double)query_slo_eligible(c) / b.count;
    return share > 1 ? 1 : share;
}

enum err detectors_backtest_run(const struct query_slo_source *src, const struct query_slo *s,
                                const struct detectors_backtest_ask *ask, struct arena *a,
                                struct detectors_backtest *out)
{
    int64_t begin = clock_mono_ns(), first = ask->from_ms / 60000, end = ask->to_ms / 60000;
    int64_t before = (int64_t)s->period_minutes + SLACK_MINUTES + s->slice_minutes;
    bool has_calendar = s->calendar.months || s->calendar.days;
    struct slo_calendar calendar;
    struct err_msg msg;
    before += has_calendar ? (s->calendar.months + 1) * DAY_MINUTES : 0; /* the longest months */
    if (first <= before || end <= first || end > UINT32_MAX ||
        end - first > (int64_t)DETECTORS_BACKTEST_DAYS_MAX * DAY_MINUTES)
        return ERR_INVALID;
    uint32_t from = (uint32_t)first, to = (uint32_t)end;
    struct detectors_backtest made = {.from_ms = first * 60000, .to_ms = end * 60000};
    struct walk w = {.slo = s, .src = src, .arena = a, .out = &made};
    struct query_slo_replay *replay = NULL;
    struct query_slo_tracker *t = query_slo_tracker_new(s);
    made.alerts = ARENA_ARRAY(a, struct detectors_backtest_alert, DETECTORS_BACKTEST_ALERTS_MAX);
    enum err e = t && made.alerts ? ERR_OK : ERR_NOMEM;
    if (e == ERR_OK && has_calendar) {
        e = slo_calendar_load(s, a, &calendar, &msg);
        w.calendar = &calendar;
    }
    if (e == ERR_OK)
        e = query_slo_replay_new(src, s, from - (uint32_t)before, to, &replay);
    if (e == ERR_OK) {
        struct query_slo_source minutes = query_slo_replay_source(replay);
        e = range_counts(&minutes, s, from, to, &made);
        if (e == ERR_OK)
            e = walk(&w, t, &minutes, from, to, ask->deadline_mono_ns);
    }
    if (e == ERR_OK) {
        made.exact_share = exact_share(src, s, from, to, a, &made.counts);
        made.took_ns = clock_mono_ns() - begin;
        *out = made;
    }
    query_slo_replay_free(replay);
    query_slo_tracker_free(t);
    return e;
}

/* --- as JSON ------------------------------------------------------------------------------------- */

static void key_f64(struct json_out *j, const char *key, double v)
{
    json_out_key(j, key);
    json_out_f64(j, v);
}

static void key_i64(struct json_out *j, const char *key, int64_t v)
{
    json_out_key(j, key);
    json_out_i64(j, v);
}

static void key_bytes(struct json_out *j, const char *key, struct bytes v)
{
    json_out_key(j, key);
    json_out_bytes(j, v);
}

static void alert_json(struct json_out *j, const struct detectors_backtest_alert *a)
{
    json_out_object(j);
    key_bytes(j, "rule", a->rule);
    key_bytes(j, "severity", bytes_str(query_slo_severity_name(a->severity)));
    json_out_key(j, "told");
    json_out_bool(j, a->is_told);
    key_i64(j, "start_ms", a->start_ms);
    key_i64(j, "fired_ms", a->fired_ms);
    key_i64(j, "resolved_ms", a->resolved_ms);
    key_f64(j, "long_burn", a->long_burn);
    key_f64(j, "short_burn", a->short_burn);
    key_f64(j, "peak_burn", a->peak_burn);
    key_f64(j, "factor", a->factor);
    key_i64(j, "long_minutes", a->long_minutes);
    key_i64(j, "short_minutes", a->short_minutes);
    key_i64(j, "bad", a->bad);
    key_i64(j, "eligible", a->eligible);
    key_f64(j, "budget_left", a->budget_left);
    key_bytes(j, "phrase", a->phrase);
    json_out_object_end(j);
}

static void result_json(struct json_out *j, const struct query_slo *s,
                        const struct detectors_backtest *b)
{
    json_out_object(j);
    key_bytes(j, "id", s->id);
    key_bytes(j, "name", s->display_name.size ? s->display_name : s->id);
    key_bytes(j, "service", s->service);
    key_bytes(j, "indicator", bytes_str(query_slo_indicator_name(s->indicator)));
    key_f64(j, "target", s->target);
    key_i64(j, "period_minutes", s->period_minutes);
    key_i64(j, "from_ms", b->from_ms);
    key_i64(j, "to_ms", b->to_ms);
    key_i64(j, "data_from_ms", b->data_from_ms);
    json_out_key(j, "counts");
    json_out_object(j);
    key_i64(j, "good", b->counts.good);
    key_i64(j, "bad", b->counts.bad);
    key_i64(j, "excluded", b->counts.excluded);
    key_i64(j, "missing", b->counts.missing);
    json_out_object_end(j);
    key_f64(j, "budget_left", b->budget_left);
    key_f64(j, "exact_share", b->exact_share);
    key_i64(j, "pages", b->pages);
    key_i64(j, "tickets", b->tickets);
    json_out_key(j, "cut");
    json_out_bool(j, b->is_cut);
    key_f64(j, "took_ms", (double)(b->took_ns / 1000) / 1000);
    json_out_key(j, "alerts");
    json_out_array(j);
    for (size_t i = 0; i < b->alert_count; i++)
        alert_json(j, &b->alerts[i]);
    json_out_array_end(j);
    json_out_object_end(j);
}

static enum err failed(const struct query_slo *s, enum err e, struct err_msg *msg)
{
    if (e == ERR_INVALID)
        return err_set(msg, e, "the range must be 1 minute to %u days long, and end by now",
                       DETECTORS_BACKTEST_DAYS_MAX);
    if (e == ERR_TIMEOUT)
        return err_set(msg, e,
                       "there was no time left for objective \"%.*s\"; ask for a shorter range, or "
                       "for one objective",
                       (int)MIN(s->id.size, (size_t)100), (const char *)s->id.data);
    return err_set(msg, e, "objective \"%.*s\": %s", (int)MIN(s->id.size, (size_t)100),
                   (const char *)s->id.data, err_text(e));
}

/* One objective, over its own view and in its own arena. */
static enum err one_json(struct tsdb *db, uint32_t org, const struct query_slo_source *source,
                         const struct query_slo *s, const struct detectors_backtest_ask *ask,
                         struct json_out *j, struct err_msg *msg)
{
    int64_t until = clock_mono_ns() + READ_LIMIT_NS;
    struct tsdb_read_limits limits = {
        .deadline_mono_ns = ask->deadline_mono_ns ? MIN(ask->deadline_mono_ns, until) : until};
    struct detectors_backtest result;
    struct query_slo_source of_view;
    struct tsdb_view *view = NULL;
    struct arena *a = arena_new(ANSWER_BYTES);
    enum err e = a ? ERR_OK : ERR_NOMEM;
    if (e == ERR_OK && !source) {
        e = tsdb_view_open(db, org, &limits, &view);
        if (e == ERR_OK) {
            of_view = query_slo_source_view(view);
            source = &of_view;
        }
    }
    if (e == ERR_OK)
        e = detectors_backtest_run(source, s, ask, a, &result);
    if (e == ERR_OK)
        result_json(j, s, &result);
    if (view)
        tsdb_view_close(view);
    arena_free(a);
    return e == ERR_OK ? e : failed(s, e, msg);
}

static enum err list_json(struct tsdb *db, uint32_t org, const struct query_slo_source *source,
                          const struct query_slo_set *set, const struct detectors_backtest_ask *ask,
                          struct json_out *j, struct err_msg *msg)
{
    enum err e = ERR_OK;
    json_out_object(j);
    json_out_key(j, "slos");
    json_out_array(j);
    for (uint32_t i = 0; i < set->count && e == ERR_OK; i++)
        e = one_json(db, org, source, &set->slos[i], ask, j, msg);
    json_out_array_end(j);
    json_out_object_end(j);
    return e;
}

enum err detectors_backtest_set(struct tsdb *db, uint32_t org, const struct query_slo_set *set,
                                const struct detectors_backtest_ask *ask, struct json_out *j,
                                struct err_msg *msg)
{
    return list_json(db, org, NULL, set, ask, j, msg);
}

enum err detectors_backtest_loaded(struct detectors *d, struct bytes id,
                                   const struct detectors_backtest_ask *ask, struct json_out *j,
                                   struct err_msg *msg)
{
    pthread_mutex_lock(&d->lock);
    struct query_slo_set set = d->now.set; /* its documents outlive the question: LOADED_GRACE_MS */
    pthread_mutex_unlock(&d->lock);
    if (id.size == 0)
        return list_json(d->o.db, d->o.org, d->o.source, &set, ask, j, msg);
    for (uint32_t i = 0; i < set.count; i++)
        if (bytes_equal(set.slos[i].id, id))
            return one_json(d->o.db, d->o.org, d->o.source, &set.slos[i], ask, j, msg);
    return err_set(msg, ERR_NOT_FOUND, "there is no objective of this id");
}
