#include "detectors/detectors_grounding.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "detectors/checker_rows.h"
#include "detectors/grounding_calibration.h"
#include "detectors/grounding_labels.h"
#include "detectors/grounding_report.h"

struct detectors_grounding {
    struct tsdb *db;
    pthread_mutex_t lock;
    /* guarded by lock */
    struct grounding_labels labels;
    struct calibration_fits fits;
    uint64_t change; /* of the labels */
};

static const char *const label_names[] = {"supported", "hallucinated", "other"};

const char *grounding_label_name(enum grounding_label l)
{
    return label_names[l];
}

bool grounding_label_of(struct bytes name, enum grounding_label *out)
{
    for (size_t i = 0; i < ARRAY_LEN(label_names); i++)
        if (bytes_equal_str(name, label_names[i])) {
            *out = (enum grounding_label)i;
            return true;
        }
    return false;
}

enum err detectors_grounding_open(struct tsdb *db, struct detectors_grounding **out)
{
    struct detectors_grounding *g = calloc(1, sizeof *g);
    if (!g)
        return ERR_NOMEM;
    g->db = db;
    pthread_mutex_init(&g->lock, NULL);
    enum err e = grounding_labels_load(&g->labels, db);
    if (e != ERR_OK)
        detectors_grounding_close(g);
    else
        *out = g;
    return e;
}

void detectors_grounding_close(struct detectors_grounding *g)
{
    if (!g)
        return;
    grounding_calibration_done(&g->fits);
    grounding_labels_done(&g->labels);
    pthread_mutex_destroy(&g->lock);
    free(g);
}

/* --- records -------------------------------------------------------------------------------------------- */

static double number_of(struct bytes attrs, const char *key, double otherwise)
{
    struct tsdb_value v;
    if (!tsdb_attrs_find(attrs, bytes_str(key), &v) || v.type != TSDB_VALUE_DOUBLE)
        return otherwise;
    return isfinite(v.number) ? v.number : otherwise;
}

static struct bytes text_of(struct bytes attrs, const char *key)
{
    struct tsdb_value v;
    return tsdb_attrs_find(attrs, bytes_str(key), &v) && v.type == TSDB_VALUE_STRING ? v.bytes
                                                                                     : BYTES_NONE;
}

bool grounding_report_record(const struct tsdb_logs *l, uint32_t row, struct grounding_record *out)
{
    struct bytes a = l->attrs[row];
    struct tsdb_value cut;
    if (!bytes_equal_str(text_of(a, "gen_ai.evaluation.name"), CHECKER_NAME))
        return false; /* somebody else's evaluation */
    *out = (struct grounding_record){
        .trace_id = l->trace_id[row],
        .span_id = l->span_id[row],
        .time_ns = l->time_ns[row],
        .service = l->service[row],
        .model = text_of(a, "telltale.grounding.model"),
        .prompt = text_of(a, "gen_ai.prompt.version"),
        .version = text_of(a, "telltale.grounding.version"),
        .response_id = text_of(a, "gen_ai.response.id"),
        .conversation_id = text_of(a, "gen_ai.conversation.id"),
        .explanation = text_of(a, "gen_ai.evaluation.explanation"),
        .sentences = text_of(a, "telltale.grounding.sentences"),
        .spans = text_of(a, "telltale.grounding.spans"),
        .documents = text_of(a, "telltale.grounding.documents"),
        .response_hash = text_of(a, "telltale.grounding.response_hash"),
        .probability = number_of(a, "telltale.grounding.probability", NAN),
        .score = number_of(a, "gen_ai.evaluation.score.value", NAN),
        .logit = number_of(a, "telltale.grounding.logit", 0),
        .inclusion = number_of(a, "telltale.grounding.inclusion", 1),
        .threshold = number_of(a, "telltale.grounding.threshold", NAN),
        .is_flagged = bytes_equal_str(text_of(a, "gen_ai.evaluation.score.label"), "unsupported"),
        .is_cut = tsdb_attrs_find(a, BYTES_LIT("telltale.grounding.cut"), &cut),
    };
    /* rows come from disk, and anybody may send records of this name */
    return out->probability >= 0 && out->probability <= 1 && out->inclusion > 0 &&
           out->inclusion <= 1 && fabs(out->logit) < 1e6;
}

static enum err scan(struct tsdb_view *v, const struct tsdb_row_filter *more, int64_t from_ns,
                     uint32_t max, struct arena *a, struct grounding_record **out,
                     size_t *out_count)
{
    struct tsdb_logs logs = {0};
    struct tsdb_log_filter f = {.min_ns = from_ns, .max_ns = INT64_MAX, .more = more};
    enum err e = tsdb_log_scan(v, &f, max, a, &logs);
    struct grounding_record *list = ARENA_ARRAY(a, struct grounding_record, logs.count + 1);
    size_t n = 0;
    if (e == ERR_OK && !list)
        e = ERR_NOMEM;
    for (uint32_t i = 0; e == ERR_OK && i < logs.count; i++)
        n += grounding_report_record(&logs, i, &list[n]);
    *out = list;
    *out_count = n;
    return e;
}

enum err detectors_grounding_records(struct tsdb_view *v, struct tsdb_id16 trace_id,
                                     struct arena *a, uint32_t max, struct grounding_record **out,
                                     size_t *out_count)
{
    struct tsdb_where where[] = {
        {.column = TSDB_LOG_trace_id, .text = bytes_of(trace_id.b, sizeof trace_id.b)},
        {.column = TSDB_LOG_event_name, .text = BYTES_LIT(CHECKER_EVENT)}};
    struct tsdb_row_filter more = {.where = where, .where_count = ARRAY_LEN(where)};
    return scan(v, &more, 0, max, a, out, out_count);
}

/* --- feedback ---------------------------------------------------------------------------------------------- */

static enum err find_verdict(struct detectors_grounding *g, const struct grounding_feedback *f,
                             struct arena *a, struct grounding_record *out, bool *out_found)
{
    struct tsdb_view *v;
    struct grounding_record *list = NULL;
    size_t n = 0;
    *out_found = false;
    enum err e = tsdb_view_open(g->db, f->org, NULL, &v);
    if (e != ERR_OK)
        return e;
    if (f->has_trace) {
        e = detectors_grounding_records(v, f->trace_id, a, 1000, &list, &n);
    } else {
        bool by_response = f->response_id.size != 0;
        struct tsdb_where name = {.column = TSDB_LOG_event_name, .text = BYTES_LIT(CHECKER_EVENT)};
        struct tsdb_where_attr attr = {by_response ? BYTES_LIT("gen_ai.response.id")
                                                   : BYTES_LIT("gen_ai.conversation.id"),
                                       by_response ? f->response_id : f->conversation_id};
        struct tsdb_row_filter more = {
            .where = &name, .attrs = &attr, .where_count = 1, .attr_count = 1};
        int64_t from_ns = (clock_wall_ms() - GROUNDING_LOOK_BACK_MS) * 1000000;
        e = scan(v, &more, from_ns, 1, a, &list, &n);
    }
    for (size_t i = 0; e == ERR_OK && i < n && !*out_found; i++)
        if (!f->has_span || memcmp(list[i].span_id.b, f->span_id.b, 8) == 0) {
            *out = list[i];
            *out_found = true;
        }
    tsdb_view_close(v);
    return e;
}

/* llm_feedback_total{label}: each label once, as long as it stays what it is. */
static enum err count_label(struct detectors_grounding *g, const struct grounding_labelled *l)
{
    struct checker_rows rows;
    uint32_t written;
    struct checker_said said = {.org = l->org, .end_ns = clock_wall_ns()};
    struct tsdb_label label = {BYTES_LIT("label"), bytes_str(grounding_label_name(l->label))};
    said.text[CHECKER_SERVICE] = bytes_str(l->service);
    said.text[CHECKER_MODEL] = bytes_str(l->model);
    enum err e = checker_rows_init(&rows, g->db)
                     ? checker_rows_count(&rows, &said, "llm_feedback_total", &label)
                     : ERR_NOMEM;
    if (e == ERR_OK)
        e = checker_rows_write(&rows, &written);
    checker_rows_done(&rows);
    return e;
}

static void fill(struct grounding_labelled *l, const struct grounding_feedback *f,
                 const struct grounding_record *r)
{
    *l = (struct grounding_labelled){.org = f->org,
                                     .trace_id = f->trace_id,
                                     .span_id = f->span_id,
                                     .label = f->label,
                                     .at_ms = clock_wall_ms()};
    grounding_labels_name(l->annotator, f->annotator);
    if (!r)
        return;
    l->trace_id = r->trace_id;
    l->span_id = r->span_id;
    l->is_judged = true;
    l->is_flagged = r->is_flagged;
    l->probability = r->probability;
    l->logit = r->logit;
    l->inclusion = r->inclusion;
    grounding_labels_name(l->service, r->service);
    grounding_labels_name(l->model, r->model);
    grounding_labels_name(l->prompt, r->prompt);
    grounding_labels_name(l->version, r->version);
}

enum err detectors_grounding_feedback(struct detectors_grounding *g,
                                      const struct grounding_feedback *f,
                                      struct grounding_target *out, struct err_msg *msg)
{
    struct grounding_record r;
    struct grounding_labelled l;
    bool found = false;
    if (!f->has_trace && !f->response_id.size && !f->conversation_id.size)
        return err_set(msg, ERR_INVALID, "give trace_id, response_id or conversation_id");
    struct arena *a = arena_new(64u << 20);
    enum err e = a ? find_verdict(g, f, a, &r, &found) : ERR_NOMEM;
    if (e == ERR_OK && !found && !f->has_trace)
        e = err_set(msg, ERR_NOT_FOUND, "no verdict of that %s in the last 7 days",
                    f->response_id.size ? "response" : "conversation");
    if (e != ERR_OK) {
        arena_free(a);
        return e;
    }
    fill(&l, f, found ? &r : NULL);
    arena_free(a);
    pthread_mutex_lock(&g->lock);
    const struct grounding_labelled *old =
        grounding_labels_find(&g->labels, l.org, l.trace_id, l.span_id);
    bool is_new = !old, is_changed = old && old->label != l.label;
    if (is_new || is_changed)
        e = grounding_labels_put(&g->labels, g->db, &l);
    g->change += is_new || is_changed;
    pthread_mutex_unlock(&g->lock);
    if (e == ERR_LIMIT)
        return err_set(msg, e, "there are %u labels already", GROUNDING_LABELS_MAX);
    if (e == ERR_OK && (is_new || is_changed)) {
        e = count_label(g, &l);
        if (e == ERR_OK)
            e = tsdb_keep_trace(g->db, l.org, l.trace_id);
    }
    *out = (struct grounding_target){.trace_id = l.trace_id,
                                     .span_id = l.span_id,
                                     .is_judged = l.is_judged,
                                     .probability = l.probability,
                                     .is_new = is_new,
                                     .is_changed = is_changed};
    return e;
}

double detectors_grounding_calibrate(struct detectors_grounding *g,
                                     const struct grounding_stream *s, double probability)
{
    pthread_mutex_lock(&g->lock);
    double p = grounding_calibration_at(&g->fits, &g->labels, g->change + 1, s, probability);
    pthread_mutex_unlock(&g->lock);
    return p;
}

bool detectors_grounding_label(struct detectors_grounding *g, uint32_t org,
                               struct tsdb_id16 trace_id, struct tsdb_id8 span_id,
                               enum grounding_label *out)
{
    pthread_mutex_lock(&g->lock);
    const struct grounding_labelled *l = grounding_labels_find(&g->labels, org, trace_id, span_id);
    if (l)
        *out = l->label;
    pthread_mutex_unlock(&g->lock);
    return l != NULL;
}

enum err detectors_grounding_report(struct detectors_grounding *g, struct tsdb_view *v,
                                    const struct grounding_ask *ask, struct arena *a,
                                    struct grounding_report *out)
{
    struct grounding_labels copy = {0};
    pthread_mutex_lock(&g->lock);
    copy.count = g->labels.count;
    copy.list = ARENA_ARRAY(a, struct grounding_labelled, copy.count + 1);
    if (copy.list && copy.count)
        memcpy(copy.list, g->labels.list, copy.count * sizeof *copy.list);
    pthread_mutex_unlock(&g->lock);
    return copy.list ? grounding_report_make(v, ask, copy.list, copy.count, a, out) : ERR_NOMEM;
}
