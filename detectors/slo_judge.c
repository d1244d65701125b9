#include "detectors/slo_judge.h"

#include "base/check.h"

const char *slo_judge_rule_name(const struct query_slo *s, uint32_t rule)
{
    if (rule == SLO_JUDGE_EXCLUDED)
        return "excluded-share";
    return rule == SLO_JUDGE_NO_DATA ? "no-data" : s->rules[rule].name;
}

static void counts_add(struct query_slo_counts *c, const struct query_slo_counts *d)
{
    c->good += d->good;
    c->bad += d->bad;
    c->excluded += d->excluded;
    c->missing += d->missing;
}

static enum err calendar_sums(const struct query_slo *s, const struct slo_calendar *calendar,
                              const struct query_slo_source *src, uint32_t h, bool is_past,
                              struct slo_judge *io)
{
    uint32_t from = slo_calendar_start(calendar, h);
    struct query_slo_counts c = {0};
    enum err e;
    if (from == 0)
        from = h - MIN(h, s->period_minutes - 1); /* before the first period: one of its length */
    if (io->period_to == h + 1 && io->period_from == from)
        return ERR_OK;
    if (is_past && io->period_to == h && io->period_from == from) {
        e = query_slo_source_minutes(src, s, h, h + 1, &c);
        if (e == ERR_OK)
            counts_add(&io->period, &c);
    } else {
        e = query_slo_source_sum(src, s, from, h + 1, &c);
        if (e == ERR_OK)
            io->period = c;
    }
    if (e != ERR_OK)
        return e;
    io->period_from = from;
    io->period_to = h + 1;
    return ERR_OK;
}

enum err slo_judge_sums(const struct query_slo *s, const struct query_slo_tracker *t,
                        const struct slo_calendar *calendar, const struct query_slo_source *src,
                        bool is_past, struct slo_judge *io)
{
    enum err e = ERR_OK;
    io->slo = s;
    io->tracker = t;
    if (calendar)
        e = calendar_sums(s, calendar, src, query_slo_tracker_horizon(t), is_past, io);
    else
        query_slo_tracker_window(t, s->period_minutes, 0, &io->period);
    for (uint32_t i = 0; i < s->rule_count; i++) {
        const struct query_slo_rule *rule = &s->rules[i];
        struct slo_judge_rule *r = &io->rules[i];
        *r = (struct slo_judge_rule){.verdict = QUERY_SLO_QUIET};
        if (rule->refused)
            continue;
        query_slo_tracker_window(t, rule->long_minutes, 0, &r->long_counts);
        query_slo_tracker_window(t, rule->short_minutes, 0, &r->short_counts);
        r->verdict = query_slo_judge_for(s, rule, &r->long_counts, &r->short_counts);
    }
    return e;
}

static double share_excluded(const struct query_slo_counts *c)
{
    int64_t all = query_slo_eligible(c) + c->excluded;
    return all >= SLO_JUDGE_EXCLUDED_MIN ? (double)c->excluded / (double)all : 0;
}

/* The first usable rule's windows, or the period. */
static uint32_t own_window(const struct query_slo *s, bool is_short)
{
    for (uint32_t i = 0; i < s->rule_count; i++)
        if (!s->rules[i].refused)
            return is_short ? MAX(s->rules[i].short_minutes, 1u) : s->rules[i].long_minutes;
    return s->period_minutes;
}

/* No eligible event over the first long window, but some within the period: it had data and lost it. */
static enum query_slo_verdict judge_no_data(const struct slo_judge *j)
{
    struct query_slo_counts c;
    if (j->slo->no_data != QUERY_SLO_NO_DATA_ALERT || query_slo_eligible(&j->period) == 0 ||
        !query_slo_tracker_window(j->tracker, own_window(j->slo, false), 0, &c))
        return QUERY_SLO_QUIET;
    return query_slo_eligible(&c) == 0 ? QUERY_SLO_BURNS_PAGE : QUERY_SLO_QUIET;
}

static enum query_slo_verdict judge_excluded(const struct slo_judge *j, bool *out_eased)
{
    struct query_slo_counts c = {0};
    query_slo_tracker_window(j->tracker, own_window(j->slo, false), 0, &c);
    double share = share_excluded(&c);
    *out_eased = share < SLO_JUDGE_EXCLUDED_SHARE * ALERT_EASE;
    return share > SLO_JUDGE_EXCLUDED_SHARE ? QUERY_SLO_BURNS_TICKET : QUERY_SLO_QUIET;
}

static bool has_eased(const struct query_slo *s, const struct query_slo_rule *rule,
                      const struct slo_judge_rule *v)
{
    double level = ALERT_EASE * rule->factor * (1 - s->target);
    return !(query_slo_ratio_of(s, &v->long_counts) > level) ||
           !(query_slo_ratio_of(s, &v->short_counts) > level);
}

/* The oldest of the last horizons at which the rule burned, after `floor`: rows that came a little late are judged where they belong. A page
 * needs bad events within the recheck range itself: what happened before it is the past. */
static bool find_start(const struct slo_judge *j, const struct query_slo_rule *rule, uint32_t floor,
                       uint32_t *out_minute, enum query_slo_verdict *out_verdict)
{
    uint32_t h = query_slo_tracker_horizon(j->tracker);
    if (rule->severity == QUERY_SLO_PAGE && query_slo_tracker_fresh_bad(j->tracker, 0) <= 0)
        return false;
    for (uint32_t back = QUERY_SLO_RECHECK_MINUTES; back-- > 0;) {
        struct query_slo_counts l, s;
        if (h - back <= floor ||
            !query_slo_tracker_window(j->tracker, rule->long_minutes, back, &l) ||
            !query_slo_tracker_window(j->tracker, rule->short_minutes, back, &s))
            continue;
        enum query_slo_verdict v = query_slo_judge_for(j->slo, rule, &l, &s);
        if (v != QUERY_SLO_BURNS_PAGE && v != QUERY_SLO_BURNS_TICKET)
            continue;
        *out_minute = h - back;
        *out_verdict = v;
        return true;
    }
    return false;
}

static uint32_t resolve_minutes(uint32_t short_minutes)
{
    return MAX(2u, MIN(15u, short_minutes / 5));
}

/* What burned a few minutes ago and has ended is said, and then resolves. */
static void ask_burn(const struct slo_judge *j, uint32_t rule, uint32_t floor, bool is_active,
                     struct slo_judge_answer *out)
{
    const struct query_slo_rule *def = &j->slo->rules[rule];
    enum query_slo_verdict then = QUERY_SLO_QUIET;
    struct alert_input *in = &out->in;
    in->verdict = j->rules[rule].verdict;
    in->eased = has_eased(j->slo, def, &j->rules[rule]);
    in->after_minutes = def->after_minutes;
    in->resolve_minutes = resolve_minutes(def->short_minutes);
    out->opens = !is_active && find_start(j, def, floor, &out->start, &then) &&
                 (in->after_minutes == 0 || in->verdict >= QUERY_SLO_BURNS_TICKET);
    if (out->opens && in->verdict < QUERY_SLO_BURNS_TICKET)
        in->verdict = then;
}

bool slo_judge_ask(const struct slo_judge *j, uint32_t rule, uint32_t floor, bool is_active,
                   int64_t now_ms, struct slo_judge_answer *out)
{
    uint32_t h = query_slo_tracker_horizon(j->tracker);
    *out = (struct slo_judge_answer){
        .in = {.horizon = h, .now_ms = now_ms, .no_data = j->slo->no_data, .eased = true},
        .start = h};
    if (rule == SLO_JUDGE_EXCLUDED) {
        out->in.verdict = judge_excluded(j, &out->in.eased);
        out->in.resolve_minutes = 15;
        out->opens = !is_active && out->in.verdict == QUERY_SLO_BURNS_TICKET;
    } else if (rule == SLO_JUDGE_NO_DATA) {
        out->in.verdict = judge_no_data(j);
        out->in.resolve_minutes = 2;
        out->opens = !is_active && out->in.verdict == QUERY_SLO_BURNS_PAGE;
    } else if (rule >= j->slo->rule_count || j->slo->rules[rule].refused) {
        return false;
    } else {
        ask_burn(j, rule, floor, is_active, out);
    }
    return true;
}

void slo_judge_numbers(const struct slo_judge *j, uint32_t rule, struct alert *a)
{
    const struct query_slo *s = j->slo;
    struct query_slo_counts l = {0}, c = {0};
    if (rule < s->rule_count) {
        l = j->rules[rule].long_counts;
        c = j->rules[rule].short_counts;
        a->long_minutes = s->rules[rule].long_minutes;
        a->short_minutes = s->rules[rule].short_minutes;
        a->factor = s->rules[rule].factor;
    } else {
        a->long_minutes = own_window(s, false);
        a->short_minutes = own_window(s, true);
        query_slo_tracker_window(j->tracker, a->long_minutes, 0, &l);
        query_slo_tracker_window(j->tracker, a->short_minutes, 0, &c);
    }
    a->long_burn = query_slo_burn_of(s, &l);
    a->short_burn = query_slo_burn_of(s, &c);
    a->bad = l.bad;
    a->eligible = query_slo_eligible(&l);
    a->budget_left = query_slo_budget_left_of(s, &j->period);
    a->exhaustion_minutes =
        query_slo_exhaustion_minutes(a->budget_left, a->long_burn, s->period_minutes);
}
