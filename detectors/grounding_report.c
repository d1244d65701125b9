#include "detectors/grounding_report.h"

#include <math.h>
#include <stdlib.h>

#include "base/check.h"
#include "detectors/detectors_checker.h"
#include "detectors/grounding_calibration.h"

struct stream {
    struct grounding_row row;
    struct truth_pool all, pool; /* pool: without those that have a label */
    int64_t newest_ns;
};

struct work {
    const struct grounding_ask *ask;
    const struct grounding_labelled *labels;
    uint32_t label_count;
    struct arena *a;
    struct stream *streams;
    uint32_t count;
    uint64_t records;
    bool is_complete, failed;
};

/* --- adding up --------------------------------------------------------------------------------------- */

static struct bytes keep(struct work *w, struct bytes b)
{
    struct bytes copy = arena_copy(w->a, b);
    w->failed = w->failed || (b.size && !copy.data);
    return copy;
}

static struct stream *stream_of(struct work *w, const struct grounding_record *r)
{
    for (uint32_t i = 0; i < w->count; i++) {
        const struct grounding_row *x = &w->streams[i].row;
        if (bytes_equal(x->service, r->service) && bytes_equal(x->model, r->model) &&
            bytes_equal(x->prompt, r->prompt))
            return &w->streams[i];
    }
    if (w->count == GROUNDING_ROWS_MAX) {
        w->is_complete = false;
        return NULL;
    }
    struct stream *s = &w->streams[w->count++];
    *s = (struct stream){.newest_ns = INT64_MIN};
    s->row.service = keep(w, r->service);
    s->row.model = keep(w, r->model);
    s->row.prompt = keep(w, r->prompt);
    return s;
}

static bool has_label(const struct work *w, const struct grounding_record *r)
{
    /* sorted by trace and span in make() */
    uint32_t low = 0, high = w->label_count;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        int c = memcmp(w->labels[mid].trace_id.b, r->trace_id.b, 16);
        if (c == 0)
            c = memcmp(w->labels[mid].span_id.b, r->span_id.b, 8);
        if (c == 0)
            return w->labels[mid].label != GROUNDING_OTHER;
        if (c < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return false;
}

/* What an older version of the detector said is forgotten when a newer one is met, and passed by afterwards. */
static bool is_of_version(struct work *w, struct stream *s, const struct grounding_record *r)
{
    bool is_same = bytes_equal(s->row.version, r->version);
    bool is_newer = r->time_ns > s->newest_ns;
    if (is_newer)
        s->newest_ns = r->time_ns;
    if (is_same)
        return true;
    if (!is_newer)
        return false;
    struct bytes version = keep(w, r->version);
    s->all = s->pool = (struct truth_pool){0};
    s->row.flagged = 0;
    s->row.version = version;
    return true;
}

static void add(struct work *w, const struct grounding_record *r)
{
    struct stream *s = stream_of(w, r);
    if (!s || !is_of_version(w, s, r))
        return;
    double weight = 1 / r->inclusion;
    truth_pool_add(&s->all, r->probability, r->is_flagged, weight);
    if (!has_label(w, r))
        truth_pool_add(&s->pool, r->probability, r->is_flagged, weight);
    s->row.flagged += r->is_flagged;
    s->row.threshold = r->threshold;
}

static bool on_logs(void *ctx, const struct tsdb_logs *t, const uint32_t *rows, uint32_t count)
{
    struct work *w = ctx;
    for (uint32_t i = 0; i < count; i++) {
        struct grounding_record r;
        if (w->records == GROUNDING_RECORDS_MAX || w->failed) {
            w->is_complete = false;
            return false;
        }
        if (!grounding_report_record(t, rows[i], &r))
            continue;
        w->records++;
        if (!w->ask->service.size || bytes_equal(w->ask->service, r.service))
            add(w, &r);
    }
    return true;
}

static enum err read_records(struct work *w, struct tsdb_view *v)
{
    struct tsdb_where name = {.column = TSDB_LOG_event_name, .text = BYTES_LIT(CHECKER_EVENT)};
    struct tsdb_row_filter more = {.where = &name, .where_count = 1};
    struct tsdb_visit q = {.start_min_ns = w->ask->from_ms * 1000000,
                           .start_max_ns = w->ask->to_ms * 1000000,
                           .more = &more,
                           .columns =
                               UINT64_C(1) << TSDB_LOG_attrs | UINT64_C(1) << TSDB_LOG_service |
                               UINT64_C(1) << TSDB_LOG_trace_id | UINT64_C(1) << TSDB_LOG_span_id |
                               UINT64_C(1) << TSDB_LOG_time_ns | UINT64_C(1) << TSDB_LOG_event_name,
                           .order = TSDB_VISIT_NEWEST,
                           .logs = on_logs,
                           .ctx = w};
    enum err e = tsdb_logs_visit(v, &q);
    return e == ERR_OK && w->failed ? ERR_NOMEM : e;
}

/* --- what labels make of it -------------------------------------------------------------------------- */

static bool is_of_stream(const struct grounding_labelled *l, const struct grounding_row *x)
{
    return bytes_equal_str(x->service, l->service) && bytes_equal_str(x->model, l->model);
}

/* Labels of one application and model, whatever its prompt; of its prompt alone where only_prompt. */
static uint32_t labels_of(const struct work *w, const struct grounding_row *x, bool only_prompt,
                          struct truth_label *out, uint32_t *out_other)
{
    uint32_t n = 0;
    *out_other = 0;
    for (uint32_t i = 0; i < w->label_count; i++) {
        const struct grounding_labelled *l = &w->labels[i];
        if (l->org != w->ask->org || !l->is_judged || (x && !is_of_stream(l, x)) ||
            (x && !bytes_equal_str(x->version, l->version)) ||
            (only_prompt && !bytes_equal_str(x->prompt, l->prompt)))
            continue;
        if (l->label == GROUNDING_OTHER) {
            ++*out_other;
            continue;
        }
        out[n++] = grounding_calibration_label(l);
    }
    return n;
}

/* all: labels of the version over all streams. */
static void calibrate(struct grounding_row *x, struct truth_label *l, uint32_t n, uint32_t all,
                      struct truth_platt global, double *scratch)
{
    struct truth_platt p = truth_rate_platt(l, n, global, CALIBRATION_PRIOR_LABELS);
    x->calibration = all < CALIBRATION_LABELS_MIN    ? "none"
                     : n < TRUTH_ISOTONIC_LABELS_MIN ? "platt"
                                                     : "isotonic";
    x->platt_a = p.a;
    x->platt_b = p.b;
    if (!truth_rate_precision_threshold(l, n, GROUNDING_PRECISION_ALPHA, scratch,
                                        &x->precision_threshold))
        x->precision_threshold = NAN;
    if (!truth_rate_triage_threshold(l, n, GROUNDING_TRIAGE_ALPHA, scratch, &x->triage_threshold))
        x->triage_threshold = NAN;
}

static void estimate(struct stream *s, const struct truth_label *l, uint32_t n)
{
    struct grounding_row *x = &s->row;
    struct truth_interval i;
    if (truth_rate_ppi(l, n, &s->pool, &i, &x->lambda)) {
        x->has_rate = true;
        x->rate = i.rate;
        x->low = i.low;
        x->high = i.high;
    }
    if (truth_rate_rogan_gladen(l, n, &s->all, &i)) {
        x->has_rogan_gladen = true;
        x->rg_rate = i.rate;
        x->rg_low = i.low;
        x->rg_high = i.high;
    }
}

static enum err judge_streams(struct work *w)
{
    struct truth_label *l = ARENA_ARRAY(w->a, struct truth_label, w->label_count + 1);
    double *scratch = ARENA_ARRAY(w->a, double, w->label_count + 1);
    uint32_t other;
    if (!l || !scratch)
        return ERR_NOMEM;
    uint32_t n = labels_of(w, NULL, false, l, &other), all = n;
    struct truth_platt global =
        truth_rate_platt(l, n, (struct truth_platt){1, 0}, CALIBRATION_PRIOR_LABELS);
    for (uint32_t i = 0; i < w->count; i++) {
        struct grounding_row *x = &w->streams[i].row;
        x->judged = w->streams[i].all.n;
        x->mean_probability = w->streams[i].all.wx / w->streams[i].all.w;
        x->flagged_share = w->streams[i].all.wf / w->streams[i].all.w;
        n = labels_of(w, x, false, l, &other);
        x->is_stale = n < GROUNDING_LABELS_FRESH;
        calibrate(x, l, n, all, global, scratch);
        n = labels_of(w, x, true, l, &x->labels_other);
        x->labels = n;
        for (uint32_t k = 0; k < n; k++)
            x->labels_bad += l[k].is_bad;
        estimate(&w->streams[i], l, n);
    }
    return ERR_OK;
}

static enum err add_watch(struct work *w)
{
    struct watch_stream *list = NULL;
    size_t n = 0;
    enum err e = w->ask->watch ? detectors_watch_streams(w->ask->watch, w->a, &list, &n) : ERR_OK;
    for (uint32_t i = 0; i < w->count; i++) {
        struct grounding_row *x = &w->streams[i].row;
        x->baseline_mean = x->recent_mean = x->evidence = x->psi = NAN;
        for (size_t k = 0; e == ERR_OK && k < n; k++) {
            const struct watch_stream *s = &list[k];
            if (s->org != w->ask->org || !bytes_equal_str(x->service, s->service) ||
                !bytes_equal_str(x->model, s->model) || !bytes_equal_str(x->prompt, s->prompt))
                continue;
            x->baseline_mean = s->baseline_mean;
            x->recent_mean = isnan(s->baseline_mean) ? NAN : s->recent_mean;
            x->evidence = s->evidence;
            x->psi = s->psi;
            x->is_surging = s->is_surging;
            x->is_drifting = s->is_drifting;
            x->surge_ms = s->surge_ms;
        }
    }
    return e;
}

/* --- services ------------------------------------------------------------------------------------------- */

static struct grounding_service *service_of(struct grounding_report *out, struct bytes name,
                                            size_t max)
{
    for (size_t i = 0; i < out->service_count; i++)
        if (bytes_equal(out->services[i].service, name))
            return &out->services[i];
    if (out->service_count == max) {
        out->is_complete = false;
        return NULL;
    }
    out->services[out->service_count] = (struct grounding_service){.service = name};
    return &out->services[out->service_count++];
}

static enum err read_services(struct work *w, struct tsdb_view *v, struct grounding_report *out)
{
    static const struct {
        const char *family;
        size_t offset;
    } families[] = {
        {"llm_grounding_checked_total", offsetof(struct grounding_service, checked)},
        {"llm_grounding_flagged_total", offsetof(struct grounding_service, flagged)},
        {"llm_grounding_unverifiable_total", offsetof(struct grounding_service, unverifiable)},
        {"llm_grounding_nothing_to_judge_total", offsetof(struct grounding_service, nothing)},
        {"llm_grounding_dropped_total", offsetof(struct grounding_service, dropped)},
        {"llm_requests_total", offsetof(struct grounding_service, requests)}};
    enum err e = ERR_OK;
    out->services = ARENA_ARRAY(w->a, struct grounding_service, GROUNDING_ROWS_MAX);
    if (!out->services)
        return ERR_NOMEM;
    for (size_t i = 0; e == ERR_OK && i < ARRAY_LEN(families); i++) {
        struct tsdb_matcher m[] = {
            {TSDB_MATCH_EQ, BYTES_LIT("__name__"), bytes_str(families[i].family), NULL, NULL},
            {TSDB_MATCH_EQ, BYTES_LIT("service"), w->ask->service, NULL, NULL}};
        struct tsdb_cells_group *groups = NULL;
        size_t n = 0;
        e = tsdb_cells_by(v, m, w->ask->service.size ? 2 : 1, BYTES_LIT("service"),
                          (uint32_t)(w->ask->from_ms / 60000),
                          (uint32_t)(w->ask->to_ms / 60000) + 1, w->a, &groups, &n);
        for (size_t k = 0; e == ERR_OK && k < n; k++) {
            struct grounding_service *s = service_of(out, groups[k].value, GROUNDING_ROWS_MAX);
            if (s)
                *(int64_t *)(void *)((char *)s + families[i].offset) = groups[k].sum;
        }
    }
    return e;
}

/* --- the whole -------------------------------------------------------------------------------------------- */

static int by_id(const void *a, const void *b)
{
    const struct grounding_labelled *x = a, *y = b;
    int c = memcmp(x->trace_id.b, y->trace_id.b, 16);
    return c ? c : memcmp(x->span_id.b, y->span_id.b, 8);
}

static int by_judged(const void *a, const void *b)
{
    uint64_t x = ((const struct grounding_row *)a)->judged,
             y = ((const struct grounding_row *)b)->judged;
    return (x < y) - (x > y);
}

enum err grounding_report_make(struct tsdb_view *v, const struct grounding_ask *ask,
                               const struct grounding_labelled *labels, uint32_t label_count,
                               struct arena *a, struct grounding_report *out)
{
    struct grounding_labelled *sorted = ARENA_ARRAY(a, struct grounding_labelled, label_count + 1);
    struct work w = {.ask = ask, .labels = sorted, .a = a, .is_complete = true};
    struct grounding_report report = {0};
    w.streams = ARENA_ARRAY(a, struct stream, GROUNDING_ROWS_MAX);
    if (!sorted || !w.streams)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < label_count; i++)
        if (labels[i].org == ask->org)
            sorted[w.label_count++] = labels[i];
    if (w.label_count)
        qsort(sorted, w.label_count, sizeof *sorted, by_id);
    report.is_complete = true;
    enum err e = read_records(&w, v);
    if (e == ERR_OK)
        e = judge_streams(&w);
    if (e == ERR_OK)
        e = add_watch(&w);
    if (e == ERR_OK)
        e = read_services(&w, v, &report);
    report.rows = e == ERR_OK ? ARENA_ARRAY(a, struct grounding_row, w.count + 1) : NULL;
    if (e == ERR_OK && !report.rows)
        e = ERR_NOMEM;
    if (e != ERR_OK)
        return e;
    for (uint32_t i = 0; i < w.count; i++)
        report.rows[i] = w.streams[i].row;
    report.row_count = w.count;
    qsort(report.rows, report.row_count, sizeof *report.rows, by_judged);
    report.is_complete = report.is_complete && w.is_complete;
    *out = report;
    return ERR_OK;
}
