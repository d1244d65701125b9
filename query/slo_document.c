#include "query/slo_document.h"
#include "base/check.h"
#include "base/clock.h"
#include "query/slo_terms.h"
#include <math.h>
#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static const char *const kind_names[SLO_KIND_COUNT] = {
    [SLO_KIND_SLO] = "SLO",
    [SLO_KIND_SLI] = "SLI",
    [SLO_KIND_SERVICE] = "Service",
    [SLO_KIND_ALERT_POLICY] = "AlertPolicy",
    [SLO_KIND_ALERT_CONDITION] = "AlertCondition",
    [SLO_KIND_ALERT_TARGET] = "AlertNotificationTarget",
    [SLO_KIND_DATA_SOURCE] = "DataSource",
};

void slo_document_error(struct slo_documents *d, const char *file, const struct yaml_node *at,
                        const char *key, const char *fmt, ...)
{
    if (d->error_count++ >= SLO_ERRORS_MAX)
        return;
    char text[ERR_MSG_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < ' ')
            *c = ' '; /* what the document says stays on its line */
    buf_printf(d->errors, "%s:%u: %s: %s\n", file, at ? at->line : 1, key, text);
}

void slo_document_keys(struct slo_documents *d, const char *file, const struct yaml_node *map,
                       const char *where, const char *const *valid)
{
    if (!map)
        return;
    if (map->type != YAML_MAP) {
        slo_document_error(d, file, map, where, "must be a map");
        return;
    }
    for (const struct yaml_node *n = map->child; n; n = n->next) {
        bool known = false;
        for (size_t i = 0; valid[i] && !known; i++)
            known = bytes_equal_str(n->key, valid[i]);
        if (known)
            continue;
        char list[256] = "";
        size_t used = 0;
        for (size_t i = 0; valid[i] && used < sizeof(list); i++)
            used +=
                (size_t)snprintf(list + used, sizeof(list) - used, "%s%s", i ? ", " : "", valid[i]);
        slo_document_error(d, file, n, where, "unknown key \"" BYTES_FMT "\"; valid are %s",
                           BYTES_ARG(n->key), list);
    }
}

const struct slo_document *slo_document_find(const struct slo_documents *d, enum slo_kind kind,
                                             struct bytes name)
{
    for (uint32_t i = 0; i < d->count; i++)
        if (d->list[i].kind == kind && bytes_equal(d->list[i].name, name))
            return &d->list[i];
    return NULL;
}

bool slo_document_minutes(struct bytes text, uint32_t *out)
{
    char s[32];
    int64_t ms;
    if (text.size == 0 || text.size >= sizeof(s))
        return false;
    memcpy(s, text.data, text.size);
    s[text.size] = 0;
    if (!clock_parse_duration_ms(s, &ms) || ms < 60000 || ms % 60000 != 0 ||
        ms > INT64_C(400) * 86400000)
        return false;
    *out = (uint32_t)(ms / 60000);
    return true;
}

/* --- reading the stream -------------------------------------------------------------------------- */

/* RFC 1123: lower-case letters, digits and '-', a letter or digit at both ends, at most 63. */
static bool is_name(struct bytes s)
{
    if (s.size == 0 || s.size > 63 || s.data[0] == '-' || s.data[s.size - 1] == '-')
        return false;
    for (size_t i = 0; i < s.size; i++)
        if (!((s.data[i] >= 'a' && s.data[i] <= 'z') || (s.data[i] >= '0' && s.data[i] <= '9') ||
              s.data[i] == '-'))
            return false;
    return true;
}

static bool read_kind(struct slo_documents *d, const char *file, const struct yaml_node *root,
                      enum slo_kind *out)
{
    const struct yaml_node *kind = yaml_get(root, "kind");
    for (size_t i = 0; kind && i < ARRAY_LEN(kind_names); i++) {
        if (kind->type == YAML_SCALAR && bytes_equal_str(kind->text, kind_names[i])) {
            *out = (enum slo_kind)i;
            return true;
        }
    }
    slo_document_error(d, file, kind ? kind : root, "kind",
                       "\"" BYTES_FMT "\" is not known; valid are SLO, SLI, Service, AlertPolicy, "
                       "AlertCondition, AlertNotificationTarget, DataSource",
                       BYTES_ARG(kind ? kind->text : BYTES_NONE));
    return false;
}

static void add_document(struct slo_documents *d, const char *file, const struct yaml_node *root)
{
    static const char *const keys[] = {"apiVersion", "kind", "metadata", "spec", NULL};
    if (root->type == YAML_NULL)
        return; /* an empty document between two separators */
    if (root->type != YAML_MAP) {
        slo_document_error(d, file, root, "document", "must be a map with apiVersion, kind, ...");
        return;
    }
    uint32_t errors = d->error_count;
    slo_document_keys(d, file, root, "document", keys);
    const struct yaml_node *version = yaml_get(root, "apiVersion");
    if (!bytes_equal_str(yaml_get_str(root, "apiVersion"), "openslo/v1"))
        slo_document_error(d, file, version ? version : root, "apiVersion",
                           "must be openslo/v1, not \"" BYTES_FMT "\"",
                           BYTES_ARG(yaml_get_str(root, "apiVersion")));
    struct slo_document doc = {.file = file, .root = root};
    if (!read_kind(d, file, root, &doc.kind) || d->error_count != errors)
        return;
    doc.metadata = yaml_get(root, "metadata");
    doc.spec = yaml_get(root, "spec");
    doc.name = yaml_get_str(doc.metadata, "name");
    if (!is_name(doc.name)) {
        slo_document_error(d, file, doc.metadata ? doc.metadata : root, "metadata.name",
                           "must be 1 to 63 lower-case letters, digits and '-', not \"" BYTES_FMT
                           "\"",
                           BYTES_ARG(doc.name));
        return;
    }
    const struct slo_document *same = slo_document_find(d, doc.kind, doc.name);
    if (same) {
        slo_document_error(d, file, doc.metadata, "metadata.name",
                           "%s " BYTES_FMT " is already defined at %s:%u", kind_names[doc.kind],
                           BYTES_ARG(doc.name), same->file, same->root->line);
        return;
    }
    if (!doc.spec || doc.spec->type != YAML_MAP) {
        slo_document_error(d, file, root, "spec", "is missing; it must be a map");
        return;
    }
    if (d->count == SLO_DOCUMENTS_MAX) {
        slo_document_error(d, file, root, "document", "more than %u documents", SLO_DOCUMENTS_MAX);
        return;
    }
    d->list = arena_grow(d->set->arena, d->list, sizeof(*d->list), d->count, d->count + 1);
    if (!d->list) {
        d->out_of_memory = true;
        d->count = 0;
        return;
    }
    d->list[d->count++] = doc;
}

static void read_text(struct slo_documents *d, const char *file, struct bytes text)
{
    struct err_msg msg;
    struct yaml_node *docs = NULL;
    enum err e = yaml_in_parse(text, d->set->arena, &docs, &msg);
    if (e != ERR_OK) {
        if (d->error_count++ < SLO_ERRORS_MAX)
            buf_printf(d->errors, "%s: %s\n", file, msg.text);
        return;
    }
    for (const struct yaml_node *n = docs; n; n = n->next)
        add_document(d, file, n);
    d->set->files++;
}

/* --- one SLO ------------------------------------------------------------------------------------- */

static struct query_slo_pair *read_pairs(struct slo_documents *d, const struct slo_document *doc,
                                         const char *key, uint32_t *out_count)
{
    const struct yaml_node *map = yaml_get(doc->metadata, key);
    struct query_slo_pair *list = NULL;
    uint32_t n = 0;
    if (map && map->type != YAML_MAP) {
        slo_document_error(d, doc->file, map, key, "must be a map of names to strings");
        return NULL;
    }
    for (const struct yaml_node *c = map ? map->child : NULL; c; c = c->next) {
        if (c->type != YAML_SCALAR) {
            slo_document_error(d, doc->file, c, key, "the value of " BYTES_FMT " must be a string",
                               BYTES_ARG(c->key));
            continue;
        }
        list = arena_grow(d->set->arena, list, sizeof(*list), n, n + 1);
        if (!list) {
            d->out_of_memory = true;
            return NULL;
        }
        list[n++] = (struct query_slo_pair){c->key, c->text};
    }
    *out_count = n;
    return list;
}

/* --- calendar windows ---------------------------------------------------------------------------- */

/* "1M", "1Q", "1Y", "1w", "7d": whole months or days. */
static bool calendar_length(struct bytes text, struct query_slo_calendar *out)
{
    uint64_t n;
    if (text.size < 2 || !bytes_to_u64(bytes_slice(text, 0, text.size - 1), &n) || n < 1 || n > 400)
        return false;
    switch (text.data[text.size - 1]) {
    case 'M': out->months = (uint32_t)n; break;
    case 'Q': out->months = (uint32_t)n * 3; break;
    case 'Y':
    case 'y': out->months = (uint32_t)n * 12; break;
    case 'w': out->days = (uint32_t)n * 7; break;
    case 'd': out->days = (uint32_t)n; break;
    default: return false;
    }
    return out->months <= 12 && out->days <= 366;
}

/* "2026-01-01 00:00:00", also with a T, without seconds, or the date alone: local time, seconds are dropped. */
static bool calendar_start(struct bytes text, struct query_slo_calendar *out)
{
    int y, mo, d, h = 0, mi = 0, used = 0;
    static const int days[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    char s[32];
    if (text.size < 10 || text.size >= sizeof(s))
        return false;
    memcpy(s, text.data, text.size);
    s[text.size] = 0;
    if (sscanf(s, "%4d-%2d-%2d%n", &y, &mo, &d, &used) != 3 || used != 10)
        return false;
    if (s[10] && (sscanf(s + 10, "%*1[ T]%2d:%2d", &h, &mi) != 2 || text.size < 16))
        return false;
    if (y < 1970 || y > 9999 || mo < 1 || mo > 12 || d < 1 || d > days[mo - 1] || h < 0 || h > 23 ||
        mi < 0 || mi > 59)
        return false;
    out->year = y;
    out->month = mo;
    out->day = d;
    out->minute = h * 60 + mi;
    return true;
}

static void read_calendar(struct slo_documents *d, const struct slo_document *doc,
                          const struct yaml_node *w, struct query_slo *s)
{
    static const char *const keys[] = {"startTime", "timeZone", NULL};
    const struct yaml_node *c = yaml_get(w, "calendar");
    struct query_slo_calendar cal = {0};
    slo_document_keys(d, doc->file, c, "spec.timeWindow.calendar", keys);
    if (!calendar_length(yaml_get_str(w, "duration"), &cal))
        slo_document_error(d, doc->file, w, "spec.timeWindow.duration",
                           "\"" BYTES_FMT "\" is not a calendar period; valid are 1d to 366d, 1w, "
                           "1M to 12M, 1Q and 1Y",
                           BYTES_ARG(yaml_get_str(w, "duration")));
    if (!calendar_start(yaml_get_str(c, "startTime"), &cal))
        slo_document_error(d, doc->file, c, "spec.timeWindow.calendar.startTime",
                           "\"" BYTES_FMT "\" is not a start such as 2026-01-01 00:00:00",
                           BYTES_ARG(yaml_get_str(c, "startTime")));
    cal.zone = yaml_get_str(c, "timeZone");
    if (!cal.zone.size)
        cal.zone = BYTES_LIT("UTC");
    s->calendar = cal;
    s->period_minutes = (cal.months ? cal.months * 365 / 12 : cal.days) * 1440;
}

static void read_window(struct slo_documents *d, const struct slo_document *doc,
                        struct query_slo *s)
{
    static const char *const keys[] = {"duration", "isRolling", "calendar", NULL};
    const struct yaml_node *list = yaml_get(doc->spec, "timeWindow");
    const struct yaml_node *w = list && list->type == YAML_LIST ? list->child : NULL;
    if (!w || w->next) {
        slo_document_error(d, doc->file, list ? list : doc->spec, "spec.timeWindow",
                           "must be a list of one window, such as [{duration: 28d, isRolling: "
                           "true}]");
        return;
    }
    slo_document_keys(d, doc->file, w, "spec.timeWindow", keys);
    struct bytes rolling = yaml_get_str(w, "isRolling");
    bool has_calendar = yaml_get(w, "calendar") != NULL;
    if (has_calendar == bytes_equal_str(rolling, "true") ||
        (rolling.size && !bytes_equal_str(rolling, "true") && !bytes_equal_str(rolling, "false")))
        slo_document_error(d, doc->file, w, "spec.timeWindow.isRolling",
                           "must be true for a rolling window, or false beside calendar: "
                           "{startTime, timeZone}");
    if (has_calendar) {
        read_calendar(d, doc, w, s);
        return;
    }
    if (!slo_document_minutes(yaml_get_str(w, "duration"), &s->period_minutes) ||
        s->period_minutes < 60)
        slo_document_error(d, doc->file, w, "spec.timeWindow.duration",
                           "\"" BYTES_FMT "\" is not a period; valid are 1h to 400d, such as 7d, "
                           "28d, 30d or 4w",
                           BYTES_ARG(yaml_get_str(w, "duration")));
}

static void read_no_data(struct slo_documents *d, const struct slo_document *doc,
                         struct query_slo *s)
{
    for (uint32_t i = 0; i < s->annotation_count; i++) {
        if (!bytes_equal_str(s->annotations[i].name, "telltale.dev/no-data"))
            continue;
        bool known = false;
        for (int p = QUERY_SLO_NO_DATA_OK; p <= QUERY_SLO_NO_DATA_HOLD && !known; p++) {
            known = bytes_equal_str(s->annotations[i].value,
                                    query_slo_no_data_name((enum query_slo_no_data)p));
            if (known)
                s->no_data = (enum query_slo_no_data)p;
        }
        if (!known)
            slo_document_error(d, doc->file, doc->metadata, "metadata.annotations",
                               "telltale.dev/no-data must be ok, alert or hold, not \"" BYTES_FMT
                               "\"",
                               BYTES_ARG(s->annotations[i].value));
    }
}

static void read_target(struct slo_documents *d, const struct slo_document *doc,
                        const struct yaml_node *o, struct query_slo *s)
{
    static const char *const keys[] = {"displayName",
                                       "op",
                                       "value",
                                       "target",
                                       "targetPercent",
                                       "timeSliceTarget",
                                       "timeSliceWindow",
                                       "compositeWeight",
                                       NULL};
    slo_document_keys(d, doc->file, o, "spec.objectives", keys);
    struct bytes target = yaml_get_str(o, "target"), percent = yaml_get_str(o, "targetPercent");
    double v = 0;
    if (target.size && percent.size)
        slo_document_error(d, doc->file, o, "spec.objectives",
                           "has target and targetPercent; give one");
    else if (bytes_to_f64(target.size ? target : percent, &v) && percent.size)
        v /= 100;
    if (!(v > 0 && v < 1))
        slo_document_error(d, doc->file, o, "spec.objectives.target",
                           "\"" BYTES_FMT
                           "\" is not a target; valid is a ratio between 0 and 1 such as 0.995 (or "
                           "targetPercent: 99.5); 1 leaves no budget",
                           BYTES_ARG(target.size ? target : percent));
    s->target = v;
}

static void read_slice_window(struct slo_documents *d, const struct slo_document *doc,
                              const struct yaml_node *o, struct query_slo *s)
{
    struct bytes window = yaml_get_str(o, "timeSliceWindow");
    uint32_t own = s->indicator == QUERY_SLO_SAFETY     ? SLO_SAFETY_SLICE_MINUTES
                   : s->indicator == QUERY_SLO_FEEDBACK ? SLO_FEEDBACK_SLICE_MINUTES
                                                        : SLO_SLICE_MINUTES;
    s->slice_minutes = own;
    if (!window.size)
        return;
    bool has_own = query_slo_indicator_is_sliced(s->indicator);
    if (!slo_document_minutes(window, &s->slice_minutes) || s->slice_minutes > 1440 ||
        1440 % s->slice_minutes != 0 || (has_own && s->slice_minutes != own))
        slo_document_error(d, doc->file, o, "spec.objectives.timeSliceWindow",
                           has_own ? "must be %um for this indicator"
                                   : "must divide a day, such as 1m, 5m or 1h (default %um)",
                           own);
}

/* The ratio from which a slice is good; what the document does not say is the target. */
static void read_slice_target(struct slo_documents *d, const struct slo_document *doc,
                              const struct yaml_node *o, struct query_slo *s)
{
    const struct yaml_node *at = yaml_get(o, "timeSliceTarget");
    if (s->method != QUERY_SLO_TIMESLICES) {
        if (at)
            slo_document_error(d, doc->file, at, "spec.objectives.timeSliceTarget",
                               "is only for budgetingMethod: Timeslices");
        return;
    }
    if (!bytes_to_f64(yaml_get_str(o, "timeSliceTarget"), &s->slice_target) ||
        !(s->slice_target > 0 && s->slice_target <= 1))
        slo_document_error(d, doc->file, at ? at : o, "spec.objectives.timeSliceTarget",
                           "must be the ratio from which a slice is good, above 0 and up to 1, "
                           "such as 0.95");
}

static bool method_find(struct bytes text, enum query_slo_method *out)
{
    for (int i = QUERY_SLO_OCCURRENCES; i <= QUERY_SLO_RATIO_TIMESLICES; i++)
        if (bytes_equal_str(text, query_slo_method_name((enum query_slo_method)i))) {
            *out = (enum query_slo_method)i;
            return true;
        }
    return false;
}

static void read_budgeting(struct slo_documents *d, const struct slo_document *doc,
                           const struct yaml_node *o, struct query_slo *s)
{
    const struct yaml_node *method = yaml_get(doc->spec, "budgetingMethod");
    bool has_own = query_slo_indicator_is_sliced(s->indicator);
    if (!method_find(yaml_get_str(doc->spec, "budgetingMethod"), &s->method) ||
        (has_own && s->method != QUERY_SLO_TIMESLICES) ||
        (s->indicator == QUERY_SLO_HALLUCINATION && s->method != QUERY_SLO_OCCURRENCES)) {
        slo_document_error(d, doc->file, method ? method : doc->spec, "spec.budgetingMethod",
                           has_own ? "must be Timeslices: this objective counts time slices"
                           : s->indicator == QUERY_SLO_HALLUCINATION
                               ? "must be Occurrences: a slice has too few checked answers"
                               : "must be Occurrences, Timeslices or RatioTimeslices");
        return;
    }
    if (s->method != QUERY_SLO_OCCURRENCES)
        read_slice_window(d, doc, o, s);
    else if (yaml_get(o, "timeSliceWindow"))
        slo_document_error(d, doc->file, o, "spec.objectives.timeSliceWindow",
                           "is only for budgetingMethod: Timeslices and RatioTimeslices");
    if (!has_own)
        read_slice_target(d, doc, o, s);
}

/* A short window in which no slice ends says nothing. */
static void refuse_short_windows(struct query_slo *s)
{
    for (uint32_t i = 0; i < s->rule_count; i++) {
        struct query_slo_rule *r = &s->rules[i];
        if (r->refused || r->short_minutes >= s->slice_minutes)
            continue;
        r->refused = true;
        r->why_refused = "its short window is shorter than a slice";
    }
}

/* By events a threshold may need more than 100 % bad. By slices it does not: of slices nearly all must be good, and good is what the target says. */
static void slice_for_windows(struct query_slo *s)
{
    bool out_of_reach = false;
    for (uint32_t i = 0; i < s->rule_count; i++) {
        if (!s->rules[i].refused)
            return;
        out_of_reach = out_of_reach || s->rules[i].is_out_of_reach;
    }
    if (!out_of_reach || s->method != QUERY_SLO_OCCURRENCES ||
        s->indicator == QUERY_SLO_HALLUCINATION)
        return;
    s->is_sliced_for_windows = true;
    s->method = QUERY_SLO_TIMESLICES;
    s->slice_minutes = SLO_SLICE_MINUTES;
    s->slice_target = s->target;
    s->target = SLO_SLICES_TARGET;
    s->rule_count = query_slo_rules_for(s->period_minutes, s->target, s->rules);
}

static uint64_t fingerprint_of(const struct query_slo *s)
{
    uint64_t h = hash64(bytes_of(&s->target, sizeof(s->target)), s->indicator);
    h = hash64(bytes_of(&s->period_minutes, sizeof(s->period_minutes)), h);
    h = hash64(bytes_of(&s->le_seconds, sizeof(s->le_seconds)), h + s->level_call);
    h = hash64(bytes_of(&s->cost_limit_nanousd, sizeof(s->cost_limit_nanousd)), h);
    h = hash64(s->good.text, h);
    h = hash64(s->bad.text, h + 1);
    h = hash64(s->total.text, h + 2);
    h = hash64(s->family, h);
    for (uint32_t i = 0; i < s->filter_count; i++)
        h = hash64(s->filters[i].value, hash64(s->filters[i].name, h));
    /* What came later counts where it is given: budgets of before go on. */
    const double numbers[] = {s->limit,           s->expected,     s->sensitivity,
                              s->false_positives, s->slice_target, (double)s->method};
    if (!query_slo_indicator_is_sliced(s->indicator) && s->slice_minutes)
        h = hash64(bytes_of(&s->slice_minutes, sizeof(s->slice_minutes)), h);
    if (s->indicator > QUERY_SLO_RATIO || s->slice_target > 0 ||
        s->method == QUERY_SLO_RATIO_TIMESLICES)
        h = hash64(bytes_of(numbers, sizeof(numbers)), hash64(s->cache, h));
    if (s->calendar.months || s->calendar.days) {
        const int32_t start[] = {
            (int32_t)s->calendar.months, (int32_t)s->calendar.days, s->calendar.year,
            s->calendar.month,           s->calendar.day,           s->calendar.minute};
        h = hash64(bytes_of(start, sizeof(start)), hash64(s->calendar.zone, h));
    }
    return h;
}

static void add_objective(struct slo_documents *d, const struct slo_document *doc,
                          const struct yaml_node *o, struct bytes id)
{
    struct query_slo_set *set = d->set;
    struct query_slo s = {.id = id,
                          .display_name = yaml_get_str(doc->metadata, "displayName"),
                          .service = yaml_get_str(doc->spec, "service"),
                          .description = yaml_get_str(doc->spec, "description"),
                          .file = doc->file,
                          .line = doc->root->line};
    uint32_t errors = d->error_count;
    s.labels = read_pairs(d, doc, "labels", &s.label_count);
    s.annotations = read_pairs(d, doc, "annotations", &s.annotation_count);
    if (s.service.size == 0)
        slo_document_error(d, doc->file, doc->spec, "spec.service", "is missing");
    read_window(d, doc, &s);
    read_target(d, doc, o, &s);
    slo_indicator_read(d, doc, doc->spec, o, &s);
    read_budgeting(d, doc, o, &s);
    read_no_data(d, doc, &s);
    if (d->error_count != errors)
        return;
    s.rule_count = query_slo_rules_for(s.period_minutes, s.target, s.rules);
    slo_policy_read(d, doc, &s);
    if (d->error_count != errors)
        return;
    slice_for_windows(&s);
    refuse_short_windows(&s);
    s.fingerprint = fingerprint_of(&s);
    if (set->count == QUERY_SLO_MAX) {
        slo_document_error(d, doc->file, doc->root, "document", "more than %u objectives",
                           QUERY_SLO_MAX);
        return;
    }
    if (slo_terms_build(&s, set->arena) != ERR_OK) {
        d->out_of_memory = true;
        return;
    }
    if (set->count == set->cap) {
        uint32_t cap = set->cap ? set->cap * 2 : 16;
        struct query_slo *more = arena_grow(set->arena, set->slos, sizeof(*more), set->cap, cap);
        if (!more) {
            d->out_of_memory = true;
            return;
        }
        set->slos = more;
        set->cap = cap;
    }
    set->slos[set->count++] = s;
}

static void add_slo(struct slo_documents *d, const struct slo_document *doc)
{
    static const char *const keys[] = {"description",  "service",       "indicator",
                                       "indicatorRef", "timeWindow",    "budgetingMethod",
                                       "objectives",   "alertPolicies", NULL};
    static const char *const meta_keys[] = {"name", "displayName", "labels", "annotations", NULL};
    slo_document_keys(d, doc->file, doc->metadata, "metadata", meta_keys);
    slo_document_keys(d, doc->file, doc->spec, "spec", keys);
    const struct yaml_node *list = yaml_get(doc->spec, "objectives");
    if (!list || list->type != YAML_LIST || !list->child) {
        slo_document_error(d, doc->file, list ? list : doc->spec, "spec.objectives",
                           "must be a list with at least one objective, such as [{target: 0.99}]");
        return;
    }
    unsigned i = 0;
    for (const struct yaml_node *o = list->child; o; o = o->next) {
        if (o->type != YAML_MAP) {
            slo_document_error(d, doc->file, o, "spec.objectives", "must be maps");
            continue;
        }
        struct bytes label = yaml_get_str(o, "displayName"), id = doc->name;
        i++;
        if (list->child->next)
            id = label.size ? arena_printf(d->set->arena, BYTES_FMT "/" BYTES_FMT,
                                           BYTES_ARG(doc->name), BYTES_ARG(label))
                            : arena_printf(d->set->arena, BYTES_FMT "/%u", BYTES_ARG(doc->name), i);
        if (!id.data) {
            d->out_of_memory = true;
            return;
        }
        bool taken = id.size > 200;
        for (uint32_t k = 0; k < d->set->count; k++)
            taken = taken || bytes_equal(d->set->slos[k].id, id);
        if (taken)
            slo_document_error(d, doc->file, o, "metadata.name",
                               "\"" BYTES_FMT "\" is already taken or too long; give each "
                               "objective a displayName of its own",
                               BYTES_ARG(id));
        else
            add_objective(d, doc, o, id);
    }
}

void slo_document_resolve(struct slo_documents *d)
{
    for (uint32_t i = 0; i < d->count && !d->out_of_memory; i++)
        if (d->list[i].kind == SLO_KIND_SLO)
            add_slo(d, &d->list[i]);
    d->set->documents += d->count;
}

/* --- the public loaders -------------------------------------------------------------------------- */

#define SET_BYTES_MAX ((size_t)128 << 20)
#define FILE_BYTES_MAX ((size_t)4 << 20)

enum err query_slo_set_init(struct query_slo_set *set)
{
    *set = (struct query_slo_set){.arena = arena_new(SET_BYTES_MAX)};
    return set->arena ? ERR_OK : ERR_NOMEM;
}

void query_slo_set_done(struct query_slo_set *set)
{
    arena_free(set->arena);
    *set = (struct query_slo_set){0};
}

static enum err finish(struct slo_documents *d)
{
    if (d->error_count > SLO_ERRORS_MAX)
        buf_printf(d->errors, "... and %u more\n", d->error_count - SLO_ERRORS_MAX);
    if (d->out_of_memory)
        return ERR_NOMEM;
    return d->error_count ? ERR_INVALID : ERR_OK;
}

static const char *keep_name(struct slo_documents *d, const char *file)
{
    struct bytes kept = arena_printf(d->set->arena, "%s", file);
    if (kept.data)
        return (const char *)kept.data;
    d->out_of_memory = true;
    return "?";
}

enum err query_slo_load_text(struct query_slo_set *set, const char *file, struct bytes text,
                             struct buf *errors)
{
    struct slo_documents d = {.set = set, .errors = errors};
    struct bytes copy = arena_copy(set->arena, text);
    if (!copy.data && text.size)
        return ERR_NOMEM;
    read_text(&d, keep_name(&d, file), copy);
    slo_document_resolve(&d);
    return finish(&d);
}

static void read_file(struct slo_documents *d, const char *path)
{
    const char *name = keep_name(d, path);
    struct buf text;
    buf_init(&text, FILE_BYTES_MAX);
    FILE *f = fopen(path, "re");
    uint8_t block[16384];
    size_t n;
    while (f && (n = fread(block, 1, sizeof(block), f)) > 0)
        buf_append(&text, block, n);
    if (!f || ferror(f) || !buf_ok(&text)) {
        buf_printf(d->errors, "%s: cannot be read: %s\n", name,
                   !f || ferror(f) ? strerror(errno) : "longer than 4 MiB");
        d->error_count++;
    } else {
        struct bytes copy = arena_copy(d->set->arena, buf_bytes(&text));
        if (copy.data || text.size == 0)
            read_text(d, name, copy);
        else
            d->out_of_memory = true;
        if (d->copy) {
            buf_str(d->copy, "\n---\n");
            buf_append(d->copy, text.data, text.size);
        }
    }
    if (f)
        fclose(f);
    buf_done(&text);
}

static int is_document(const struct dirent *e)
{
    struct bytes name = bytes_str(e->d_name);
    return name.data[0] != '.' && (bytes_has_suffix(name, BYTES_LIT(".yaml")) ||
                                   bytes_has_suffix(name, BYTES_LIT(".yml")));
}

static void read_path(struct slo_documents *d, const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode)) {
        read_file(d, path);
        return;
    }
    struct dirent **names;
    int n = scandir(path, &names, is_document, alphasort);
    if (n < 0) {
        buf_printf(d->errors, "%s: cannot be read: %s\n", path, strerror(errno));
        d->error_count++;
        return;
    }
    for (int i = 0; i < n; i++) {
        char full[4096];
        if ((size_t)snprintf(full, sizeof(full), "%s/%s", path, names[i]->d_name) < sizeof(full))
            read_file(d, full);
        free(names[i]);
    }
    free(names);
}

enum err query_slo_load(struct query_slo_set *set, const char *const *paths, size_t count,
                        struct buf *errors)
{
    return query_slo_load_copy(set, paths, count, NULL, errors);
}

enum err query_slo_load_copy(struct query_slo_set *set, const char *const *paths, size_t count,
                             struct buf *out_text, struct buf *errors)
{
    struct slo_documents d = {.set = set, .errors = errors, .copy = out_text};
    for (size_t i = 0; i < count; i++)
        read_path(&d, paths[i]);
    slo_document_resolve(&d);
    return finish(&d);
}

/* --- what a newcomer gets ------------------------------------------------------------------------ */

#define DEFAULT_SLO(name, title, indicator, more, target)                                   \
    "apiVersion: openslo/v1\nkind: SLO\nmetadata:\n  name: " name "\n  displayName: " title \
    "\nspec:\n  service: all\n  indicator:\n    metadata: {name: " name                     \
    "}\n    spec:\n      llm: {indicator: " indicator ", service: \"*\"" more               \
    "}\n  timeWindow:\n    - duration: 28d\n      isRolling: true\n  budgetingMethod: "     \
    "Occurrences\n  objectives:\n    - target: " target "\n---\n"

static const char defaults[] =
    DEFAULT_SLO("availability", "Requests answered", "availability-request", "", "0.995")
        DEFAULT_SLO("calls", "Model calls answered", "availability-call", "", "0.99")
            DEFAULT_SLO("ttft", "First token within 2 s", "ttft-under", ", threshold: 2s", "0.95")
                DEFAULT_SLO("latency", "Answered within 30 s", "latency-under", ", threshold: 30s",
                            "0.95");

enum err query_slo_load_defaults(struct query_slo_set *set)
{
    struct buf errors;
    buf_init(&errors, 65536);
    uint32_t first = set->count;
    enum err e = query_slo_load_text(set, "built-in", bytes_str(defaults), &errors);
    CHECK(e != ERR_INVALID);
    buf_done(&errors);
    for (uint32_t i = first; i < set->count; i++)
        set->slos[i].is_default = true;
    return e;
}
