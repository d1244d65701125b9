/* Burn rates, budgets, and the multi-window multi-burn-rate rules of the SRE workbook (chapter "Alerting on SLOs"). */
#include "query/query_slo.h"
#include "base/check.h"
#include <math.h>

#define PAGE_BAD_MIN 3 /* fewer bad events never page */
#define PAGE_ELIGIBLE_MIN 100 /* fewer eligible events in the long window: a ticket */
#define TICKET_AFTER_MINUTES \
    5 /* so that an outage that is about to page does not write a ticket first */
#define Z_ONE_SIDED_95 1.6448536269514722

double query_slo_bad_ratio(const struct query_slo_counts *c)
{
    int64_t n = query_slo_eligible(c);
    return n > 0 ? (double)c->bad / (double)n : (double)NAN;
}

double query_slo_burn(const struct query_slo_counts *c, double target)
{
    return query_slo_bad_ratio(c) / (1.0 - target);
}

double query_slo_budget_left(const struct query_slo_counts *period, double target)
{
    return 1.0 - query_slo_burn(period, target);
}

double query_slo_coverage(const struct query_slo_counts *c)
{
    int64_t n = query_slo_eligible(c), all = n + c->missing;
    return all > 0 ? (double)n / (double)all : (double)NAN;
}

double query_slo_exhaustion_minutes(double budget_left, double burn, uint32_t period_minutes)
{
    if (isnan(budget_left))
        return (double)NAN;
    if (budget_left <= 0)
        return 0;
    if (isnan(burn) || burn <= 0)
        return (double)INFINITY;
    return budget_left * period_minutes / burn;
}

#define Z_CENTRAL_80 1.2815515655446004

/* Hours until mean * t + z * spread of so many hours reaches `left`; the mean itself is known from n hours only. INFINITY: never. */
static double hours_until(double left, double mean, double spread, double z, double n)
{
    double low = 0, high = 1;
    while (high < 1e7 && mean * high + z * spread * sqrt(high * (1 + high / n)) < left)
        high *= 2;
    if (high >= 1e7)
        return (double)INFINITY;
    for (int i = 0; i < 60; i++) {
        double t = (low + high) / 2;
        *(mean * t + z * spread * sqrt(t * (1 + t / n)) < left ? &low : &high) = t;
    }
    return high;
}

/* An hour's share of the budget: its burn rate, weighted by its traffic. */
struct query_slo_forecast query_slo_forecast_of(const struct query_slo *s,
                                                const struct query_slo_counts *hours, size_t n,
                                                double budget_left)
{
    struct query_slo_counts all = {0};
    double squares = 0;
    for (size_t i = 0; i < n; i++) {
        all.good += hours[i].good;
        all.bad += hours[i].bad;
    }
    int64_t eligible = query_slo_eligible(&all);
    if (isnan(budget_left) || n < 2 || eligible == 0)
        return (struct query_slo_forecast){(double)NAN, (double)NAN, (double)NAN};
    if (budget_left <= 0)
        return (struct query_slo_forecast){0, 0, 0};
    double an_hour = 60.0 / s->period_minutes, usual = (double)eligible / (double)n,
           mean = query_slo_burn_of(s, &all) * an_hour;
    for (size_t i = 0; i < n; i++) {
        double weight = (double)query_slo_eligible(&hours[i]) / usual;
        double x = weight > 0 ? query_slo_burn_of(s, &hours[i]) * an_hour * weight : 0;
        squares += (x - mean) * (x - mean);
    }
    double spread = sqrt(squares / (double)(n - 1));
    return (struct query_slo_forecast){
        60 * hours_until(budget_left, mean, spread, Z_CENTRAL_80, (double)n),
        60 * hours_until(budget_left, mean, 0, 0, (double)n),
        60 * hours_until(budget_left, mean, spread, -Z_CENTRAL_80, (double)n)};
}

double query_slo_lower_bound(int64_t bad, int64_t eligible)
{
    if (eligible <= 0)
        return (double)NAN;
    const double z = Z_ONE_SIDED_95, n = (double)eligible;
    double p = (double)bad / n;
    double centre = p + z * z / (2 * n);
    double spread = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n));
    double low = (centre - spread) / (1 + z * z / n);
    return low < 0 ? 0 : low;
}

/* What the checker flags, corrected by how often it is right (Rogan and Gladen, 1978). */
static double corrected(const struct query_slo *s, double flagged)
{
    double rate = (flagged - s->false_positives) / (s->sensitivity - s->false_positives);
    return rate < 0 ? 0 : rate > 1 ? 1 : rate; /* NaN stays */
}

double query_slo_ratio_of(const struct query_slo *s, const struct query_slo_counts *c)
{
    double ratio = query_slo_bad_ratio(c);
    return s->indicator == QUERY_SLO_HALLUCINATION ? corrected(s, ratio) : ratio;
}

double query_slo_burn_of(const struct query_slo *s, const struct query_slo_counts *c)
{
    return query_slo_ratio_of(s, c) / (1.0 - s->target);
}

double query_slo_budget_left_of(const struct query_slo *s, const struct query_slo_counts *period)
{
    return 1.0 - query_slo_burn_of(s, period);
}

void query_slo_checked_interval(const struct query_slo *s, const struct query_slo_counts *c,
                                double *out_low, double *out_high)
{
    int64_t n = query_slo_eligible(c);
    *out_low = corrected(s, query_slo_lower_bound(c->bad, n));
    *out_high = corrected(s, 1 - query_slo_lower_bound(c->good, n));
}

/* Whole slices: what is good is at most what is left. */
static struct query_slo_counts slices_of(const struct query_slo_counts *c)
{
    int64_t n = (query_slo_eligible(c) + QUERY_SLO_SLICE_UNIT / 2) / QUERY_SLO_SLICE_UNIT;
    int64_t bad = (c->bad + QUERY_SLO_SLICE_UNIT / 2) / QUERY_SLO_SLICE_UNIT;
    return (struct query_slo_counts){.good = n - bad, .bad = bad};
}

static bool passes_low_traffic(const struct query_slo_counts *c, double threshold)
{
    return c->bad >= PAGE_BAD_MIN &&
           query_slo_lower_bound(c->bad, query_slo_eligible(c)) > threshold;
}

enum query_slo_verdict query_slo_judge(const struct query_slo_rule *r, double target,
                                       const struct query_slo_counts *long_counts,
                                       const struct query_slo_counts *short_counts)
{
    if (query_slo_eligible(long_counts) <= 0 || query_slo_eligible(short_counts) <= 0)
        return QUERY_SLO_NO_EVENTS;
    double threshold = r->factor * (1.0 - target);
    if (r->refused || !(query_slo_bad_ratio(long_counts) > threshold) ||
        !(query_slo_bad_ratio(short_counts) > threshold))
        return QUERY_SLO_QUIET;
    if (r->severity == QUERY_SLO_TICKET)
        return QUERY_SLO_BURNS_TICKET;
    if (!passes_low_traffic(long_counts, threshold) || !passes_low_traffic(short_counts, threshold))
        return QUERY_SLO_QUIET;
    return query_slo_eligible(long_counts) < PAGE_ELIGIBLE_MIN ? QUERY_SLO_BURNS_TICKET
                                                               : QUERY_SLO_BURNS_PAGE;
}

/* What is known of the true rate decides, and it has to be known well: the lower bound of the flagged share is corrected like the share. */
static enum query_slo_verdict judge_checked(const struct query_slo *s,
                                            const struct query_slo_rule *r,
                                            const struct query_slo_counts *long_counts,
                                            const struct query_slo_counts *short_counts)
{
    if (query_slo_eligible(long_counts) <= 0 || query_slo_eligible(short_counts) <= 0)
        return QUERY_SLO_NO_EVENTS;
    double threshold = r->factor * (1.0 - s->target);
    if (r->refused || !(query_slo_ratio_of(s, long_counts) > threshold) ||
        !(query_slo_ratio_of(s, short_counts) > threshold))
        return QUERY_SLO_QUIET;
    if (r->severity == QUERY_SLO_TICKET)
        return QUERY_SLO_BURNS_TICKET;
    int64_t n = query_slo_eligible(long_counts);
    double low = corrected(s, query_slo_lower_bound(long_counts->bad, n));
    if (!(low > threshold))
        return QUERY_SLO_QUIET;
    return n < QUERY_SLO_CHECKED_MIN ? QUERY_SLO_BURNS_TICKET : QUERY_SLO_BURNS_PAGE;
}

enum query_slo_verdict query_slo_judge_for(const struct query_slo *s,
                                           const struct query_slo_rule *r,
                                           const struct query_slo_counts *long_counts,
                                           const struct query_slo_counts *short_counts)
{
    if (s->indicator == QUERY_SLO_HALLUCINATION)
        return judge_checked(s, r, long_counts, short_counts);
    if (s->method != QUERY_SLO_RATIO_TIMESLICES)
        return query_slo_judge(r, s->target, long_counts, short_counts);
    /* The law of low traffic is about slices: a unit is a fraction of one. */
    struct query_slo_counts l = slices_of(long_counts), c = slices_of(short_counts);
    double threshold = r->factor * (1.0 - s->target);
    if (query_slo_eligible(&l) <= 0 || query_slo_eligible(&c) <= 0)
        return QUERY_SLO_NO_EVENTS;
    if (!(query_slo_bad_ratio(long_counts) > threshold) ||
        !(query_slo_bad_ratio(short_counts) > threshold))
        return QUERY_SLO_QUIET;
    return query_slo_judge(r, s->target, &l, &c);
}

/* Share of the budget, long window, severity. The even-burn rule "10 % in 3 d" has factor 1 at 30 days by the workbook and stays a
 * ticket there; any other factor <= 1 would fire while the budget lasts. */
static const struct {
    const char *name;
    double consumed;
    uint32_t long_minutes;
    enum query_slo_severity severity;
    double factor_min; /* the factor must be above this, or equal when keeps_equal */
    bool keeps_equal;
} workbook[] = {
    {"2%-in-1h", 0.02, 60, QUERY_SLO_PAGE, 1, false},
    {"5%-in-6h", 0.05, 360, QUERY_SLO_PAGE, 1, false},
    {"50%-in-24h", 0.50, 1440, QUERY_SLO_PAGE, 1, false},
    {"10%-in-1d", 0.10, 1440, QUERY_SLO_TICKET, 1, false},
    {"10%-in-3d", 0.10, 4320, QUERY_SLO_TICKET, 1, true},
};
_Static_assert(sizeof(workbook) / sizeof(workbook[0]) <= QUERY_SLO_RULES_MAX, "rules fit");

bool query_slo_is_reachable(double factor, double target)
{
    return factor * (1.0 - target) < 1.0;
}

uint32_t query_slo_rules_for(uint32_t period_minutes, double target,
                             struct query_slo_rule out[QUERY_SLO_RULES_MAX])
{
    uint32_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(workbook); i++) {
        double factor = workbook[i].consumed * period_minutes / workbook[i].long_minutes;
        double excess =
            factor - workbook[i].factor_min; /* 0.1 x 43200 / 4320 is 1 within rounding */
        bool fits = excess > 1e-9 || (workbook[i].keeps_equal && excess > -1e-9);
        out[n++] = (struct query_slo_rule){
            .name = workbook[i].name,
            .severity = workbook[i].severity,
            .consumed = workbook[i].consumed,
            .long_minutes = workbook[i].long_minutes,
            .short_minutes = workbook[i].long_minutes / 12,
            .factor = factor,
            .after_minutes = workbook[i].severity == QUERY_SLO_TICKET ? TICKET_AFTER_MINUTES : 0,
            .refused = !fits || !query_slo_is_reachable(factor, target),
            .is_out_of_reach = fits && !query_slo_is_reachable(factor, target),
            .why_refused = !fits ? "the factor is not above 1: it would fire while the budget lasts"
                           : !query_slo_is_reachable(factor, target)
                               ? "the threshold is not below 100 % bad: it could never fire"
                               : NULL,
        };
    }
    return n;
}

double query_slo_rule_outage_minutes(const struct query_slo_rule *r, double target)
{
    double threshold = r->factor * (1.0 - target);
    if (r->refused || threshold >= 1.0)
        return -1;
    return threshold * r->long_minutes; /* the short window is fuller sooner */
}
