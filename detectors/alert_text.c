/* The sentences that alerts and pages say. */
#include "base/check.h"
#include "base/clock.h"
#include "detectors/evaluator.h"
#include <math.h>
#include <stdio.h>

void alert_text_time(int64_t ms, char out[32])
{
    char full[CLOCK_RFC3339_MAX], now[CLOCK_RFC3339_MAX];
    clock_rfc3339(ms, full);
    clock_rfc3339(clock_wall_ms(), now);
    if (strncmp(full, now, 10) == 0)
        snprintf(out, 32, "%.5s UTC", full + 11);
    else
        snprintf(out, 32, "%.10s %.5s UTC", full, full + 11);
}

void alert_text_sentence(const char *service, unsigned burning, int64_t since_ms,
                         struct bytes phrase, char out[ALERT_TEXT_MAX])
{
    char since[32];
    alert_text_time(since_ms, since);
    if (strcmp(service, "all") == 0)
        service = "All services";
    int used = snprintf(out, ALERT_TEXT_MAX, "%s: %u SLO%s burning, %ssince %s", service, burning,
                        burning == 1 ? "" : "s", burning == 1 ? "" : "first ", since);
    if (used > 0 && (size_t)used < ALERT_TEXT_MAX)
        snprintf(out + used, ALERT_TEXT_MAX - (size_t)used, "%s%.*s.", phrase.size ? ", " : "",
                 (int)MIN(phrase.size, (size_t)300), phrase.size ? (const char *)phrase.data : "");
}

/* "2 d 4 h", "3 h", "12 min": two units are enough, and no zero one. */
static void rough_duration(double minutes, char out[32])
{
    int64_t m = (int64_t)minutes;
    int64_t big = m >= 1440 ? m / 1440 : m / 60, small = m >= 1440 ? m % 1440 / 60 : m % 60;
    if (m < 60)
        snprintf(out, 32, "%lld min", (long long)m);
    else if (small == 0)
        snprintf(out, 32, "%lld %s", (long long)big, m >= 1440 ? "d" : "h");
    else
        snprintf(out, 32, "%lld %s %lld %s", (long long)big, m >= 1440 ? "d" : "h",
                 (long long)small, m >= 1440 ? "h" : "min");
}

static void summary_burn(struct alert *a, const char *title)
{
    char long_window[32], short_window[32], left[160] = "";
    rough_duration(a->long_minutes, long_window);
    rough_duration(a->short_minutes, short_window);
    if (!isnan(a->budget_left) && a->budget_left <= 0)
        snprintf(left, sizeof(left), "; the error budget is spent (%.3g times)",
                 1 - a->budget_left);
    else if (!isnan(a->budget_left) && isfinite(a->exhaustion_minutes)) {
        char gone[32];
        rough_duration(a->exhaustion_minutes, gone);
        snprintf(left, sizeof(left), "; %.0f %% of the error budget left, gone in %s at this rate",
                 a->budget_left * 100, gone);
    }
    snprintf(a->summary, sizeof(a->summary),
             "%.150s burns its budget %.1f times too fast over %s (%.1f over %s; limit %.4g)%s",
             title, a->long_burn, long_window, a->short_burn, short_window, a->factor, left);
}

void alert_text_summary(struct alert *a, const struct query_slo *s)
{
    char title[200];
    struct bytes name = s && s->display_name.size ? s->display_name : bytes_str(a->slo_id);
    snprintf(title, sizeof(title), "%.*s", (int)MIN(name.size, (size_t)150), name.data);
    if (a->state == DETECTORS_RESOLVED) {
        char took[32];
        rough_duration((double)(a->resolved_ms / 60000 - a->start_minute), took);
        snprintf(a->summary, sizeof(a->summary), "%.150s: resolved after %s (rule %s)", title, took,
                 a->rule);
    } else if (strcmp(a->rule, "no-data") == 0) {
        snprintf(a->summary, sizeof(a->summary),
                 "%.150s: no eligible event for %u minutes; the objective cannot be judged", title,
                 a->long_minutes);
    } else if (strcmp(a->rule, "excluded-share") == 0) {
        snprintf(a->summary, sizeof(a->summary),
                 "%.150s: more than %.0f %% of the events are excluded; the objective looks at "
                 "too little of the traffic",
                 title, SLO_JUDGE_EXCLUDED_SHARE * 100);
    } else {
        summary_burn(a, title);
    }
}
