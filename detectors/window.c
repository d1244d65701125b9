/* Maintenance and deploy windows: silences that name what they cover, and are short. */
#include "base/check.h"
#include "detectors/detectors_silences.h"
#include "detectors/evaluator.h"
#include "detectors/silence.h"

/* Outages and safety are what an objective of these indicators is about. */
static bool is_protected_indicator(const char *name)
{
    struct bytes n = bytes_str(name);
    return bytes_has_prefix(n, BYTES_LIT("availability")) ||
           bytes_find(n, BYTES_LIT("safety")) < n.size;
}

static enum err look_up_objective(struct detectors *d, const struct detectors_window *w,
                                  struct arena *a, struct err_msg *msg)
{
    struct detectors_slo_row row;
    enum err e = detectors_slo(d, w->slo, a, &row);
    if (e != ERR_OK)
        return err_set(msg, e, "slo: there is no objective \"" BYTES_FMT "\"", BYTES_ARG(w->slo));
    bool has_rule = !w->rule.size || bytes_equal_str(w->rule, "excluded-share");
    for (size_t i = 0; i < row.rule_count && !has_rule; i++)
        has_rule = bytes_equal_str(w->rule, row.rules[i].rule->name);
    if (bytes_equal_str(w->rule, "no-data") || is_protected_indicator(row.indicator) ||
        silence_is_protected(row.slo->labels, row.slo->label_count))
        return err_set(msg, ERR_FORBIDDEN,
                       "slo: " BYTES_FMT " is about outages or safety: no window covers it",
                       BYTES_ARG(w->slo));
    return has_rule
               ? ERR_OK
               : err_set(msg, ERR_NOT_FOUND, "rule: the objective has no rule \"" BYTES_FMT "\"",
                         BYTES_ARG(w->rule));
}

static enum err look_up_rule(struct detectors *d, const struct detectors_window *w, struct arena *a,
                             struct err_msg *msg)
{
    struct detectors_prom_group *groups;
    size_t n;
    bool found = false;
    enum err e = detectors_rules(d, a, &groups, &n);
    if (e != ERR_OK)
        return err_set(msg, e, "the rules cannot be read: %s", err_text(e));
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < groups[i].rule_count; k++) {
            const struct detectors_prom_rule *r = &groups[i].rules[k];
            if (r->is_record || !bytes_equal(r->name, w->alertname))
                continue;
            found = true;
            if (silence_is_protected(r->labels, r->label_count))
                return err_set(msg, ERR_FORBIDDEN,
                               "alertname: " BYTES_FMT
                               " is about an outage, safety or a leak: no window covers it",
                               BYTES_ARG(w->alertname));
        }
    return found ? ERR_OK
                 : err_set(msg, ERR_NOT_FOUND,
                           "alertname: there is no alerting rule \"" BYTES_FMT "\"",
                           BYTES_ARG(w->alertname));
}

enum err detectors_window_put(struct detectors *d, const struct detectors_window *w,
                              char out_id[DETECTORS_SILENCE_ID_MAX], struct err_msg *msg)
{
    struct detectors_silence s = {.is_window = true,
                                  .starts_ms = w->starts_ms,
                                  .ends_ms = w->ends_ms,
                                  .author = w->author,
                                  .comment = w->comment};
    if (!w->slo.size == !w->alertname.size || (w->rule.size && !w->slo.size))
        return err_set(msg, ERR_INVALID,
                       "give slo (and perhaps its rule), or the alertname of an alerting rule");
    struct arena *a = arena_new((size_t)64 << 20);
    if (!a)
        return ERR_NOMEM;
    enum err e = w->slo.size ? look_up_objective(d, w, a, msg) : look_up_rule(d, w, a, msg);
    arena_free(a);
    if (e != ERR_OK)
        return e;
    s.matchers[s.matcher_count++] =
        w->slo.size
            ? (struct detectors_matcher){DETECTORS_MATCH_EQ, BYTES_LIT("slo"), w->slo}
            : (struct detectors_matcher){DETECTORS_MATCH_EQ, BYTES_LIT("alertname"), w->alertname};
    if (w->rule.size)
        s.matchers[s.matcher_count++] =
            (struct detectors_matcher){DETECTORS_MATCH_EQ, BYTES_LIT("rule"), w->rule};
    return detectors_silence_put(d, &s, out_id, msg);
}
