#include "cli/slo_check.h"

#include "base/check.h"
#include "base/clock.h"
#include "query/query_slo.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

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
static void print_rules(const struct query_slo *s)
{
    const double lag_minutes = (double)QUERY_SLO_DELAY_MS / 60000 + 2.0 / 60;
    bool pages = false;
    printf("  %-14s %-8s %-12s %8s %16s  %s\n", "rule", "severity", "windows", "factor",
           "bad ratio above", "fires in a total outage after");
    for (uint32_t i = 0; i < s->rule_count; i++) {
        const struct query_slo_rule *r = &s->rules[i];
        char l[48], c[48], windows[100], wait[32];
        window_text(r->long_minutes, l);
        window_text(r->short_minutes, c);
        snprintf(windows, sizeof(windows), "%s/%s", l, c);
        printf("  %-14s %-8s %-12s %8.4g %14.4g %%  ", r->name,
               query_slo_severity_name(r->severity), windows, r->factor,
               r->factor * (1 - s->target) * 100);
        if (r->refused) {
            printf("never: refused, %s\n", r->why_refused);
            continue;
        }
        pages = pages || r->severity == QUERY_SLO_PAGE;
        double outage = query_slo_rule_outage_minutes(r, s->target);
        printf("%s\n", duration_text(outage + lag_minutes + r->after_minutes, wait));
    }
    if (!pages)
        printf("  warning: no rule of this objective can page; a longer period or a higher target "
               "gives one that can\n");
}

static void print_budget(const struct query_slo *s)
{
    static const double per_day[] = {40, 1000, 100000, 10000000};
    double days = s->period_minutes / 1440.0, share = 1 - s->target;
    char period[48], outage[32];
    window_text(s->period_minutes, period);
    if (s->slice_minutes) {
        printf("  budget: %.4g %% of the %u-minute slices of %s that have requests, %s of bad "
               "slices\n",
               share * 100, s->slice_minutes, period,
               duration_text(share * s->period_minutes, outage));
        return;
    }
    printf("  budget: %.4g %% of the events of %s; a total outage spends it in %s at even "
           "traffic\n",
           share * 100, period, duration_text(share * s->period_minutes, outage));
    for (size_t i = 0; i < ARRAY_LEN(per_day); i++)
        printf("    at %10.0f events a day: %.*f bad events\n", per_day[i],
               share * per_day[i] * days < 100 ? 1 : 0, share * per_day[i] * days);
    double one = 1 / (share * per_day[0] * days);
    if (one > 0.1)
        printf("  warning: at %.0f requests a day one failure spends %.0f %% of a %.4g %% budget; "
               "choose a longer period or a lower target for low traffic\n",
               per_day[0], one * 100, s->target * 100);
}

static void print_indicator(const struct query_slo *s)
{
    printf("  counts: %s", query_slo_indicator_what(s->indicator));
    if (s->le_seconds > 0)
        printf(" (%g s%s)", s->le_seconds,
               s->indicator != QUERY_SLO_LATENCY ? ""
               : s->level_call                   ? ", level: call"
                                                 : ", level: request");
    if (s->cost_limit_nanousd)
        printf(" ($%.4g)", (double)s->cost_limit_nanousd / 1e9);
    printf("\n");
    if (s->indicator == QUERY_SLO_RATIO) {
        const struct query_slo_selector *part = s->good.text.size ? &s->good : &s->bad;
        printf("  %s:  " BYTES_FMT "\n  total: " BYTES_FMT "\n", s->good.text.size ? "good" : "bad",
               BYTES_ARG(part->text), BYTES_ARG(s->total.text));
        return;
    }
    printf("  of:     ");
    for (uint32_t i = 0; i < s->filter_count; i++)
        printf("%s" BYTES_FMT "=" BYTES_FMT, i ? ", " : "", BYTES_ARG(s->filters[i].name),
               BYTES_ARG(s->filters[i].value));
    printf("%s\n", s->filter_count ? "" : "all services");
    bool is_request = s->indicator == QUERY_SLO_AVAILABILITY_REQUEST ||
                      (s->indicator == QUERY_SLO_LATENCY && !s->level_call);
    for (uint32_t i = 0; i < s->filter_count && is_request; i++)
        if (bytes_equal_str(s->filters[i].name, "model") ||
            bytes_equal_str(s->filters[i].name, "provider"))
            printf("  warning: a request's own span rarely names its " BYTES_FMT
                   "; with this filter the objective may see no event (calls have it)\n",
                   BYTES_ARG(s->filters[i].name));
}

static void print_slo(const struct query_slo *s)
{
    char period[48];
    window_text(s->period_minutes, period);
    printf(BYTES_FMT " (%s:%u)\n", BYTES_ARG(s->id), s->file, s->line);
    print_indicator(s);
    printf("  target: %.6g %% over %s, rolling; no data: %s\n", s->target * 100, period,
           query_slo_no_data_name(s->no_data));
    print_budget(s);
    print_rules(s);
    printf("\n");
}

int slo_check_main(int argc, char **argv)
{
    struct query_slo_set set;
    struct buf errors;
    if (argc > 0 && (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0)) {
        printf("usage: telltale slo check [FILE|DIRECTORY]...\n\nShows what OpenSLO documents mean "
               "before they are loaded: windows, factors, how long an\noutage lasts before each "
               "alert fires, and the budget. Without a file: the built-in objectives.\n");
        return 0;
    }
    for (int i = 0; i < argc; i++)
        if (argv[i][0] == '-') {
            fprintf(stderr, "slo check: %s is not an option; valid is --help\n", argv[i]);
            return 2;
        }
    if (query_slo_set_init(&set) != ERR_OK) {
        fprintf(stderr, "slo check: out of memory\n");
        return 2;
    }
    buf_init(&errors, (size_t)1 << 20);
    enum err e = argc ? query_slo_load(&set, (const char *const *)argv, (size_t)argc, &errors)
                      : query_slo_load_defaults(&set);
    for (uint32_t i = 0; i < set.count && e == ERR_OK; i++)
        print_slo(&set.slos[i]);
    if (e == ERR_OK)
        printf("%u objective%s in %u document%s: no mistakes.\n", set.count,
               set.count == 1 ? "" : "s", set.documents, set.documents == 1 ? "" : "s");
    else if (e == ERR_INVALID)
        fwrite(errors.data, 1, errors.size, stderr);
    else
        fprintf(stderr, "slo check: %s\n", err_text(e));
    buf_done(&errors);
    query_slo_set_done(&set);
    return e == ERR_OK ? 0 : 2;
}
