/* What an objective means, in words for people: what is counted, the budget, the rules, and where each number comes from. */
#include <math.h>
#include <stdio.h>

#include "base/check.h"
#include "base/clock.h"
#include "query/slo_terms.h"

/* "3 min", "1 h 12 min", "2 d 4 h"; below a minute in seconds. */
static const char *duration_text(double minutes, char out[32])
{
    long long m = (long long)minutes;
    if (minutes < 1)
        snprintf(out, 32, "%.0f s", minutes * 60);
    else if (m >= 1440)
        snprintf(out, 32, m % 1440 / 60 ? "%lld d %lld h" : "%lld d", m / 1440, m % 1440 / 60);
    else if (m >= 60)
        snprintf(out, 32, m % 60 ? "%lld h %lld min" : "%lld h", m / 60, m % 60);
    else
        snprintf(out, 32, "%.1f min", minutes);
    return out;
}

static void window_text(uint32_t minutes, char out[48])
{
    if (minutes % 1440 == 0)
        snprintf(out, 48, "%ud", minutes / 1440); /* 28d, not 4w */
    else
        clock_format_duration((int64_t)minutes * 60000, out);
}

/* The delay of the evaluation and at most one round come on top of the outage itself. */
static void say_rules(struct buf *out, const struct query_slo *s)
{
    if (s->is_sliced_for_windows)
        buf_printf(out,
                   "  note: at a target of %.4g %% no window's threshold could ever be reached by "
                   "events, so this is judged in\n        %u-minute slices: a slice is good when "
                   "%.4g %% of its events are, and %.4g %% of the slices must be\n",
                   s->slice_target * 100, s->slice_minutes, s->slice_target * 100, s->target * 100);
    const double lag_minutes = (double)QUERY_SLO_DELAY_MS / 60000 + 2.0 / 60;
    bool pages = false;
    buf_printf(out, "  %-14s %-8s %-12s %8s %16s  %s\n", "rule", "severity", "windows", "factor",
               "bad ratio above", "fires in a total outage after");
    for (uint32_t i = 0; i < s->rule_count; i++) {
        const struct query_slo_rule *r = &s->rules[i];
        char l[48], c[48], windows[100], wait[32];
        window_text(r->long_minutes, l);
        window_text(r->short_minutes, c);
        snprintf(windows, sizeof(windows), "%s/%s", l, c);
        buf_printf(out, "  %-14s %-8s %-12s %8.4g %14.4g %%  ", r->name,
                   query_slo_severity_name(r->severity), windows, r->factor,
                   r->factor * (1 - s->target) * 100);
        if (r->refused) {
            buf_printf(out, "never: refused, %s\n", r->why_refused);
            continue;
        }
        pages = pages || r->severity == QUERY_SLO_PAGE;
        double outage = query_slo_rule_outage_minutes(r, s->target);
        buf_printf(out, "%s\n", duration_text(outage + lag_minutes + r->after_minutes, wait));
    }
    if (!pages)
        buf_printf(
            out,
            "  warning: no rule of this objective can page; a longer period or a higher target "
            "gives one that can\n");
}

static void say_budget(struct buf *out, const struct query_slo *s)
{
    static const double per_day[] = {40, 1000, 100000, 10000000};
    double days = s->period_minutes / 1440.0, share = 1 - s->target;
    char period[48], outage[32];
    window_text(s->period_minutes, period);
    if (s->slice_minutes) {
        buf_printf(out,
                   "  budget: %.4g %% of the %u-minute slices of %s that have requests, %s of bad "
                   "slices\n",
                   share * 100, s->slice_minutes, period,
                   duration_text(share * s->period_minutes, outage));
        return;
    }
    buf_printf(out,
               "  budget: %.4g %% of the events of %s; a total outage spends it in %s at even "
               "traffic\n",
               share * 100, period, duration_text(share * s->period_minutes, outage));
    for (size_t i = 0; i < ARRAY_LEN(per_day); i++)
        buf_printf(out, "    at %10.0f events a day: %.*f bad events\n", per_day[i],
                   share * per_day[i] * days < 100 ? 1 : 0, share * per_day[i] * days);
    double one = 1 / (share * per_day[0] * days);
    if (one > 0.1)
        buf_printf(
            out,
            "  warning: at %.0f requests a day one failure spends %.0f %% of a %.4g %% budget; "
            "choose a longer period or a lower target for low traffic\n",
            per_day[0], one * 100, s->target * 100);
}

static void say_indicator(struct buf *out, const struct query_slo *s)
{
    buf_printf(out, "  counts: %s", query_slo_indicator_what(s->indicator));
    if (s->le_seconds > 0)
        buf_printf(out, " (%g s%s)", s->le_seconds,
                   s->indicator != QUERY_SLO_LATENCY ? ""
                   : s->level_call                   ? ", level: call"
                                                     : ", level: request");
    if (s->cost_limit_nanousd)
        buf_printf(out, " ($%.4g)", (double)s->cost_limit_nanousd / 1e9);
    if (s->limit > 0)
        buf_printf(out, " (%s %.6g", s->indicator == QUERY_SLO_FEEDBACK ? "at least" : "at most",
                   s->limit);
    if (s->expected > 0)
        buf_printf(out, ", some expected from %.6g", s->expected);
    if (s->limit > 0)
        buf_str(out, ")");
    if (s->cache.size)
        buf_printf(out, " (" BYTES_FMT ")", BYTES_ARG(s->cache));
    if (s->method != QUERY_SLO_OCCURRENCES && !query_slo_indicator_is_sliced(s->indicator))
        buf_printf(out, ", in slices of %u minutes%s", s->slice_minutes,
                   s->method == QUERY_SLO_RATIO_TIMESLICES ? " that weigh the same each" : "");
    buf_str(out, "\n");
    bool is_checked = s->indicator == QUERY_SLO_HALLUCINATION,
         is_corrected = s->sensitivity < 1 || s->false_positives > 0;
    if (is_checked && is_corrected)
        buf_printf(out,
                   "  corrected: the checker flags %.4g %% of the unsupported answers and %.4g %% "
                   "of the others\n",
                   s->sensitivity * 100, s->false_positives * 100);
    else if (is_checked)
        buf_str(out, "  warning: flags as they are, not a rate of hallucinations; give sensitivity "
                     "and falsePositives (GET grounding has both)\n");
    if (s->indicator == QUERY_SLO_RATIO) {
        const struct query_slo_selector *part = s->good.text.size ? &s->good : &s->bad;
        buf_printf(out, "  %s:  " BYTES_FMT "\n  total: " BYTES_FMT "\n",
                   s->good.text.size ? "good" : "bad", BYTES_ARG(part->text),
                   BYTES_ARG(s->total.text));
        return;
    }
    buf_printf(out, "  of:     ");
    for (uint32_t i = 0; i < s->filter_count; i++)
        buf_printf(out, "%s" BYTES_FMT "=" BYTES_FMT, i ? ", " : "", BYTES_ARG(s->filters[i].name),
                   BYTES_ARG(s->filters[i].value));
    buf_printf(out, "%s\n", s->filter_count ? "" : "all services");
    bool is_request = s->indicator == QUERY_SLO_AVAILABILITY_REQUEST ||
                      (s->indicator == QUERY_SLO_LATENCY && !s->level_call);
    for (uint32_t i = 0; i < s->filter_count && is_request; i++)
        if (bytes_equal_str(s->filters[i].name, "model") ||
            bytes_equal_str(s->filters[i].name, "provider"))
            buf_printf(out,
                       "  warning: a request's own span rarely names its " BYTES_FMT
                       "; with this filter the objective may see no event (calls have it)\n",
                       BYTES_ARG(s->filters[i].name));
}

/* "1M from 2026-01-01, Europe/Berlin" */
static void say_window(struct buf *out, const struct query_slo *s)
{
    const struct query_slo_calendar *c = &s->calendar;
    char period[48];
    window_text(s->period_minutes, period);
    if (!c->months && !c->days) {
        buf_printf(out, "%s, rolling", period);
        return;
    }
    buf_printf(out, "%u %s%s by the calendar of " BYTES_FMT ", from %04d-%02d-%02d %02d:%02d",
               c->months ? c->months : c->days, c->months ? "month" : "day",
               (c->months ? c->months : c->days) == 1 ? "" : "s", BYTES_ARG(c->zone), c->year,
               c->month, c->day, c->minute / 60, c->minute % 60);
}

/* --- where it comes from ------------------------------------------------------------------------- */

static void say_matcher(struct buf *out, const struct tsdb_matcher *m)
{
    static const char *const ops[] = {"=", "!=", "=~", "!~"};
    bool is_list = m->op == TSDB_MATCH_RE || m->op == TSDB_MATCH_NRE;
    buf_printf(out, BYTES_FMT "%s\"", BYTES_ARG(m->name), ops[m->op]);
    if (!is_list) {
        buf_printf(out, BYTES_FMT "\"", BYTES_ARG(m->value));
        return;
    }
    const struct slo_any *any = m->match == slo_any_match ? m->ctx : NULL;
    if (!any)
        buf_printf(out, BYTES_FMT, BYTES_ARG(m->value));
    for (size_t i = 0; any && i < any->count; i++)
        buf_printf(out, "%s" BYTES_FMT, i ? "|" : "", BYTES_ARG(any->values[i]));
    buf_str(out, "\"");
}

static const char *slot_text(const struct query_slo *s, enum slo_slot slot)
{
    static const char *const parts[] = {
        [QUERY_SLO_COST] = "nano-USD",
        [QUERY_SLO_TOKENS] = "tokens",
        [QUERY_SLO_SAFETY] = "blocks",
        [QUERY_SLO_FEEDBACK] = "labels",
    };
    switch (slot) {
    case SLO_SLOT_GOOD: return "good";
    case SLO_SLOT_BAD: return "bad";
    case SLO_SLOT_EXCLUDED: return "excluded";
    case SLO_SLOT_MISSING: return "not measured";
    case SLO_SLOT_PART:
        return s->indicator < ARRAY_LEN(parts) && parts[s->indicator] ? parts[s->indicator]
                                                                      : "part";
    case SLO_SLOT_WHOLE: return s->indicator == QUERY_SLO_FEEDBACK ? "flagged answers" : "requests";
    default: return "unpriced";
    }
}

static void say_series(struct buf *out, const struct query_slo *s)
{
    buf_str(out, "  read, minute by minute of the time at which a span ended:\n");
    for (uint32_t k = 0; k < s->terms->count; k++) {
        const struct slo_term *t = &s->terms->terms[k];
        buf_printf(out, "    %-13s ", slot_text(s, t->slot));
        for (size_t i = 0; i < t->n; i++)
            if (bytes_equal_str(t->m[i].name, "__name__"))
                buf_printf(out, BYTES_FMT, BYTES_ARG(t->m[i].value));
        buf_str(out, "{");
        const char *comma = "";
        for (size_t i = 0; i < t->n; i++) {
            if (bytes_equal_str(t->m[i].name, "__name__"))
                continue;
            buf_str(out, comma);
            say_matcher(out, &t->m[i]);
            comma = ", ";
        }
        buf_printf(out, "}%s%s\n", t->has_minus ? ", and less of " : "",
                   t->has_minus ? slot_text(s, t->minus) : "");
    }
    if (s->family.size)
        buf_printf(out,
                   "    calls of before the threshold was first loaded are only in the "
                   "histogram " BYTES_FMT "\n",
                   BYTES_ARG(s->family));
}

/* The fewest bad events of n that page; 0: no number does. */
static int64_t fewest_bad(const struct query_slo *s, const struct query_slo_rule *r, int64_t n)
{
    for (int64_t bad = 1; bad <= n; bad++) {
        struct query_slo_counts c = {.good = n - bad, .bad = bad};
        if (query_slo_judge_for(s, r, &c, &c) == QUERY_SLO_BURNS_PAGE)
            return bad;
    }
    return 0;
}

static void say_low_traffic(struct buf *out, const struct query_slo *s, double per_day)
{
    buf_str(out, "  low traffic: a page needs 3 bad events and the lower 95 % bound of the bad "
                 "ratio above the threshold in both\n    windows; with fewer than 100 eligible "
                 "events in the long window it is a ticket\n");
    if (per_day <= 0 || s->slice_minutes)
        return;
    double days = s->period_minutes / 1440.0, spends = 1 / ((1 - s->target) * per_day * days);
    buf_printf(out, "    at %.4g requests a day one failure spends %.3g %% of a %.4g %% budget\n",
               per_day, spends * 100, s->target * 100);
    for (uint32_t i = 0; i < s->rule_count; i++) {
        const struct query_slo_rule *r = &s->rules[i];
        double n = per_day * r->long_minutes / 1440;
        if (r->refused || r->severity != QUERY_SLO_PAGE)
            continue;
        if (n < 100) {
            buf_printf(out, "    %s: about %.3g events in its long window: only ever a ticket\n",
                       r->name, n);
            continue;
        }
        int64_t bad =
            n < 1e6 ? fewest_bad(s, r, (int64_t)n) : (int64_t)(r->factor * (1 - s->target) * n) + 1;
        buf_printf(out, "    %s: about %.4g events in its long window: pages from %lld bad on\n",
                   r->name, n, (long long)bad);
    }
}

static void say_factors(struct buf *out, const struct query_slo *s)
{
    char period[48], l[48];
    window_text(s->period_minutes, period);
    buf_str(out, "  factors: share of the budget x period / long window; threshold: factor x (1 - "
                 "target)\n");
    for (uint32_t i = 0; i < s->rule_count; i++) {
        const struct query_slo_rule *r = &s->rules[i];
        window_text(r->long_minutes, l);
        if (r->consumed > 0)
            buf_printf(out, "    %-14s %g x %s / %s = %.4g; x %.4g = %.4g %% bad%s%s\n", r->name,
                       r->consumed, period, l, r->factor, 1 - s->target,
                       r->factor * (1 - s->target) * 100, r->refused ? ": refused, " : "",
                       r->refused ? r->why_refused : "");
        else
            buf_printf(out, "    %-14s %.4g as written; x %.4g = %.4g %% bad over %s\n", r->name,
                       r->factor, 1 - s->target, r->factor * (1 - s->target) * 100, l);
    }
    buf_str(out, "    a rule fires when both windows are above; the short one is a twelfth of the "
                 "long one\n");
}

void query_slo_explain(const struct query_slo *s, const struct query_slo_explain_more *more,
                       struct buf *out)
{
    buf_printf(out, BYTES_FMT " (%s:%u)\n", BYTES_ARG(s->id), s->file, s->line);
    say_indicator(out, s);
    buf_printf(out, "  target: %.6g %% over ", s->target * 100);
    say_window(out, s);
    buf_printf(out, "; no data: %s\n", query_slo_no_data_name(s->no_data));
    say_budget(out, s);
    say_rules(out, s);
    if (!more)
        return;
    say_series(out, s);
    buf_str(out, "  a window W at minute h holds the minutes m with h - W < m <= h; alerts look at "
                 "the state of 30 s ago and judge the last\n    10 minutes again\n");
    say_factors(out, s);
    say_low_traffic(out, s, more->per_day);
}
