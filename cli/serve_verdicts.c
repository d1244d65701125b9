/* The web door's answers about grounding: feedback taken, the report, and a trace's verdicts with the texts that they are about. */
#include <math.h>
#include <stdio.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/json_in.h"
#include "base/json_out.h"
#include "cli/serve_grounding.h"
#include "collector/genai/genai_parts.h"
#include "web/web_json.h"

#define TEXTS_BYTES (256u << 20)
#define VERDICTS_MAX 100u
#define RECORDS_MAX 1000u
#define EVIDENCE_BYTES_MAX 600u /* shown of one passage */
#define UNSUPPORTED 0.5 /* of a sentence, from here on it is marked */

/* --- feedback ------------------------------------------------------------------------------------------ */

static enum err feedback_read(struct bytes body, struct arena *a, struct grounding_feedback *f,
                              struct err_msg *msg)
{
    struct json_node *n;
    enum err e = json_in_tree(body, 4, a, &n, msg);
    if (e != ERR_OK)
        return e;
    struct bytes trace = json_get_str(n, "trace_id"), span = json_get_str(n, "span_id"),
                 label = json_get_str(n, "label");
    f->response_id = json_get_str(n, "response_id");
    f->conversation_id = json_get_str(n, "conversation_id");
    f->annotator = json_get_str(n, "annotator");
    f->has_trace = trace.size != 0;
    f->has_span = span.size != 0;
    if (f->has_trace && !bytes_from_hex(trace, f->trace_id.b, 16))
        return err_set(msg, ERR_INVALID, "trace_id has 32 hex digits");
    if (f->has_span && !bytes_from_hex(span, f->span_id.b, 8))
        return err_set(msg, ERR_INVALID, "span_id has 16 hex digits");
    if (!grounding_label_of(label, &f->label))
        return err_set(msg, ERR_INVALID, "label is supported, hallucinated or other");
    return ERR_OK;
}

static enum err feedback(void *ctx, uint32_t org, struct bytes body, struct buf *json,
                         struct err_msg *msg)
{
    struct serve_grounding *g = ctx;
    struct grounding_feedback f = {.org = org};
    struct grounding_target target;
    struct arena *a = arena_new(1u << 20);
    enum err e = a ? feedback_read(body, a, &f, msg) : ERR_NOMEM;
    if (e == ERR_OK)
        e = detectors_grounding_feedback(g->labels, &f, &target, msg);
    if (e == ERR_OK) {
        struct json_out j = json_out_to(json);
        json_out_object(&j);
        web_json_hex(&j, "trace_id", target.trace_id.b, 16);
        web_json_hex(&j, "span_id", target.span_id.b, 8);
        web_json_str(&j, "label", bytes_str(grounding_label_name(f.label)));
        web_json_bool(&j, "judged", target.is_judged);
        web_json_bool(&j, "new", target.is_new);
        web_json_bool(&j, "changed", target.is_changed);
        json_out_object_end(&j);
    }
    arena_free(a);
    return e;
}

/* --- the report ------------------------------------------------------------------------------------------ */

static void put_interval(struct json_out *j, const char *key, bool has, double rate, double low,
                         double high, const char *method)
{
    json_out_key(j, key);
    if (!has) {
        json_out_null(j);
        return;
    }
    json_out_object(j);
    web_json_f64(j, "rate", rate);
    web_json_f64(j, "low", low);
    web_json_f64(j, "high", high);
    web_json_str(j, "method", bytes_str(method));
    json_out_object_end(j);
}

static void put_row(struct json_out *j, const struct grounding_row *x)
{
    json_out_object(j);
    web_json_str(j, "service", x->service);
    web_json_str(j, "model", x->model);
    web_json_str(j, "prompt_version", x->prompt);
    web_json_str(j, "detector", x->version);
    web_json_i64(j, "judged", (int64_t)x->judged);
    web_json_i64(j, "flagged", (int64_t)x->flagged);
    web_json_f64(j, "mean_probability", x->mean_probability);
    put_interval(j, "rate", x->has_rate, x->rate, x->low, x->high, "ppi++");
    put_interval(j, "rogan_gladen", x->has_rogan_gladen, x->rg_rate, x->rg_low, x->rg_high,
                 "rogan-gladen, lang-reiczigel interval");
    json_out_key(j, "labels");
    json_out_object(j);
    web_json_i64(j, "n", x->labels);
    web_json_i64(j, "hallucinated", x->labels_bad);
    web_json_i64(j, "other", x->labels_other);
    web_json_bool(j, "stale", x->is_stale);
    json_out_object_end(j);
    json_out_key(j, "calibration");
    json_out_object(j);
    web_json_str(j, "method", bytes_str(x->calibration));
    web_json_f64(j, "a", x->platt_a);
    web_json_f64(j, "b", x->platt_b);
    json_out_object_end(j);
    web_json_f64(j, "threshold", x->threshold);
    web_json_f64(j, "threshold_precision", x->precision_threshold);
    web_json_f64(j, "threshold_triage", x->triage_threshold);
    json_out_key(j, "stream");
    json_out_object(j);
    web_json_f64(j, "baseline", x->baseline_mean);
    web_json_f64(j, "recent", x->recent_mean);
    web_json_f64(j, "evidence", x->evidence);
    web_json_f64(j, "psi", x->psi);
    web_json_bool(j, "surging", x->is_surging);
    web_json_bool(j, "drifting", x->is_drifting);
    web_json_i64(j, "since_ms", x->surge_ms);
    json_out_object_end(j);
    json_out_object_end(j);
}

static double share(int64_t part, int64_t whole)
{
    return whole > 0 ? (double)part / (double)whole : NAN;
}

static void put_service(struct json_out *j, const struct grounding_service *s,
                        const struct serve_grounding *g)
{
    json_out_object(j);
    web_json_str(j, "service", s->service);
    web_json_i64(j, "requests", s->requests);
    web_json_i64(j, "checked", s->checked);
    web_json_i64(j, "flagged", s->flagged);
    web_json_i64(j, "unverifiable", s->unverifiable);
    web_json_i64(j, "nothing_to_judge", s->nothing);
    web_json_i64(j, "dropped", s->dropped);
    web_json_f64(j, "checked_share", share(s->checked, s->requests));
    web_json_f64(j, "checkable_share", share(s->checked, s->checked + s->unverifiable));
    web_json_f64(j, "sample",
                 g->checker ? detectors_checker_inclusion(g->checker, s->service, false) : 0);
    json_out_object_end(j);
}

static void put_checker(struct json_out *j, const struct serve_grounding *g)
{
    struct detectors_checker_status s = {0};
    if (g->checker)
        detectors_checker_status_get(g->checker, &s);
    json_out_key(j, "checker");
    json_out_object(j);
    web_json_bool(j, "enabled", g->checker != NULL);
    web_json_bool(j, "running", s.is_open);
    web_json_str(j, "error", bytes_str(s.error));
    web_json_str(j, "detector", bytes_str(s.version));
    web_json_i64(j, "offered", (int64_t)s.offered);
    web_json_i64(j, "dropped", (int64_t)s.dropped);
    web_json_i64(j, "judged", (int64_t)s.judged);
    web_json_i64(j, "failed", (int64_t)s.failed);
    web_json_i64(j, "queue_bytes", (int64_t)s.bytes);
    web_json_f64(j, "cpu_seconds", (double)s.busy_ns / 1e9);
    json_out_object_end(j);
}

static enum err report(void *ctx, const struct web_grounding_ask *ask, struct buf *json,
                       struct err_msg *msg)
{
    struct serve_grounding *g = ctx;
    struct grounding_report r;
    struct tsdb_view *v;
    struct grounding_ask q = {.org = ask->org,
                              .from_ms = ask->from_ms,
                              .to_ms = ask->to_ms,
                              .service = ask->service,
                              .watch = g->watch};
    enum err e = tsdb_view_open(g->db, ask->org, NULL, &v);
    if (e != ERR_OK)
        return err_set(msg, e, "the store cannot be read: %s", err_text(e));
    struct arena *a = arena_new(TEXTS_BYTES);
    e = a ? detectors_grounding_report(g->labels, v, &q, a, &r) : ERR_NOMEM;
    if (e == ERR_OK) {
        struct json_out j = json_out_to(json);
        json_out_object(&j);
        web_json_i64(&j, "from_ms", ask->from_ms);
        web_json_i64(&j, "to_ms", ask->to_ms);
        put_checker(&j, g);
        json_out_key(&j, "services");
        json_out_array(&j);
        for (size_t i = 0; i < r.service_count; i++)
            put_service(&j, &r.services[i], g);
        json_out_array_end(&j);
        json_out_key(&j, "streams");
        json_out_array(&j);
        for (size_t i = 0; i < r.row_count; i++)
            put_row(&j, &r.rows[i]);
        json_out_array_end(&j);
        web_json_bool(&j, "complete", r.is_complete);
        json_out_object_end(&j);
    } else {
        err_set(msg, e, "the report cannot be made: %s", err_text(e));
    }
    arena_free(a);
    tsdb_view_close(v);
    return e;
}

/* --- a trace ------------------------------------------------------------------------------------------------ */

/* The stored rows of a trace, and what was read out of them. */
struct shown {
    struct arena *a;
    struct tsdb_spans spans;
    struct tsdb_logs logs; /* parts of conversations */
    struct checker_parts *parts; /* by span row */
    bool *is_read;
    const struct grounding_record *record;
    const struct json_node *documents; /* of the record */
};

static uint64_t text_hash(struct bytes text)
{
    return hash64(text, 0); /* as checker_rows.c */
}

static const struct checker_parts *parts_of(struct shown *s, struct bytes span_hex)
{
    struct tsdb_id8 id;
    uint32_t row = 0;
    if (!bytes_from_hex(span_hex, id.b, 8))
        return NULL;
    while (row < s->spans.count && memcmp(s->spans.span_id[row].b, id.b, 8) != 0)
        row++;
    if (row == s->spans.count)
        return NULL;
    if (s->is_read[row])
        return &s->parts[row];
    struct checker_said said[GENAI_PARTS_ROWS_MAX] = {
        {.attrs = s->spans.attrs[row], .events = s->spans.events[row]}};
    const struct checker_said *rows[GENAI_PARTS_ROWS_MAX] = {&said[0]};
    size_t n = 1;
    /* the oldest first, as they came to the checker; the scan gave the newest first */
    for (uint32_t i = s->logs.count; i-- > 0 && n < GENAI_PARTS_ROWS_MAX;)
        if (memcmp(s->logs.span_id[i].b, id.b, 8) == 0 &&
            genai_parts_is_record(s->logs.event_name[i])) {
            said[n] = (struct checker_said){.attrs = s->logs.attrs[i],
                                            .event_name = s->logs.event_name[i],
                                            .body = s->logs.body[i]};
            rows[n] = &said[n];
            n++;
        }
    if (serve_grounding_parts(rows, n, s->a, &s->parts[row]) != ERR_OK)
        return NULL;
    s->is_read[row] = true;
    return &s->parts[row];
}

static bool hash_is(struct bytes hex, struct bytes text)
{
    char want[17];
    snprintf(want, sizeof want, "%016llx", (unsigned long long)text_hash(text));
    return bytes_equal_str(hex, want);
}

static const struct json_node *at(const struct json_node *array, uint64_t index)
{
    const struct json_node *n = array && array->type == JSON_ARRAY ? array->child : NULL;
    while (n && index--)
        n = n->next;
    return n;
}

static uint64_t number(const struct json_node *array, uint64_t index)
{
    const struct json_node *n = at(array, index);
    uint64_t v;
    return n && n->type == JSON_NUMBER && bytes_to_u64(n->text, &v) ? v : UINT64_MAX;
}

static double fraction(const struct json_node *array, uint64_t index)
{
    const struct json_node *n = at(array, index);
    double v;
    return n && n->type == JSON_NUMBER && bytes_to_f64(n->text, &v) ? v : NAN;
}

/* Cut to whole characters: offsets are the checker's, texts are the store's. */
static struct bytes piece(struct bytes text, uint64_t begin, uint64_t end)
{
    if (begin > end || end > text.size)
        return BYTES_NONE;
    while (begin < end && (text.data[begin] & 0xC0) == 0x80)
        begin++;
    if (end - begin > EVIDENCE_BYTES_MAX) {
        end = begin + EVIDENCE_BYTES_MAX;
        while (end > begin && (text.data[end] & 0xC0) == 0x80)
            end--;
    }
    return bytes_slice(text, (size_t)begin, (size_t)end);
}

static void put_evidence(struct json_out *j, struct shown *s, const struct json_node *e)
{
    const struct json_node *document = at(s->documents, number(e, 0));
    const struct json_node *span = at(document, 0), *hash = at(document, 2);
    const struct checker_parts *parts =
        span && span->type == JSON_STRING ? parts_of(s, span->text) : NULL;
    uint64_t index = number(document, 1);
    json_out_object(j);
    web_json_i64(j, "document", (int64_t)number(e, 0));
    web_json_str(j, "span_id", span ? span->text : BYTES_NONE);
    web_json_f64(j, "similarity", fraction(e, 3));
    json_out_key(j, "text");
    if (parts && index < parts->document_count && hash &&
        hash_is(hash->text, parts->documents[index]))
        json_out_bytes(j, piece(parts->documents[index], number(e, 1), number(e, 2)));
    else
        json_out_null(j); /* the store has another text, or none */
    json_out_object_end(j);
}

static void put_segment(struct json_out *j, struct bytes text, const struct json_node *sentence,
                        struct shown *s)
{
    static const char *const kinds[] = {"claim", "meta", "refusal"};
    uint64_t kind = sentence ? number(sentence, 2) : UINT64_MAX;
    double p = sentence ? fraction(sentence, 3) : NAN;
    json_out_object(j);
    web_json_str(j, "text", text);
    web_json_str(j, "kind", bytes_str(kind < ARRAY_LEN(kinds) ? kinds[kind] : "between"));
    web_json_f64(j, "probability", p);
    web_json_bool(j, "unsupported", kind == GROUND_CLAIM && p >= UNSUPPORTED);
    json_out_key(j, "evidence");
    json_out_array(j);
    const struct json_node *list = sentence ? at(sentence, 4) : NULL;
    for (const struct json_node *e = list && list->type == JSON_ARRAY ? list->child : NULL; e;
         e = e->next)
        put_evidence(j, s, e);
    json_out_array_end(j);
    json_out_object_end(j);
}

/* The whole answer in pieces: its sentences, and what stands between them. */
static void put_segments(struct json_out *j, struct shown *s, struct bytes response)
{
    struct json_node *sentences = NULL;
    struct err_msg msg;
    uint64_t done = 0;
    bool is_read = json_in_tree(s->record->sentences, 6, s->a, &sentences, &msg) == ERR_OK &&
                   sentences->type == JSON_ARRAY;
    json_out_array(j);
    for (const struct json_node *n = is_read ? sentences->child : NULL; n; n = n->next) {
        uint64_t begin = number(n, 0), end = number(n, 1);
        if (begin < done || end < begin || end > response.size)
            break;
        if (begin > done)
            put_segment(j, bytes_slice(response, (size_t)done, (size_t)begin), NULL, s);
        put_segment(j, bytes_slice(response, (size_t)begin, (size_t)end), n, s);
        done = end;
    }
    if (done < response.size)
        put_segment(j, bytes_slice(response, (size_t)done, response.size), NULL, s);
    json_out_array_end(j);
}

static void put_verdict(struct json_out *j, struct shown *s, const struct serve_grounding *g,
                        uint32_t org)
{
    const struct grounding_record *r = s->record;
    struct json_node *documents = NULL;
    struct err_msg msg;
    char hex[17];
    enum grounding_label label;
    bytes_to_hex(bytes_of(r->span_id.b, 8), hex);
    s->documents =
        json_in_tree(r->documents, 4, s->a, &documents, &msg) == ERR_OK ? documents : NULL;
    const struct checker_parts *parts = parts_of(s, bytes_str(hex));
    bool is_same = parts && hash_is(r->response_hash, parts->response);
    bool has_label = detectors_grounding_label(g->labels, org, r->trace_id, r->span_id, &label);
    json_out_object(j);
    web_json_hex(j, "trace_id", r->trace_id.b, 16);
    web_json_str(j, "span_id", bytes_str(hex));
    web_json_i64(j, "time_ms", r->time_ns / 1000000);
    web_json_f64(j, "probability", r->score);
    web_json_f64(j, "model_probability", r->probability);
    web_json_bool(j, "flagged", r->is_flagged);
    web_json_f64(j, "threshold", r->threshold);
    web_json_f64(j, "inclusion", r->inclusion);
    web_json_bool(j, "cut", r->is_cut);
    web_json_str(j, "detector", r->version);
    web_json_str(j, "explanation", r->explanation);
    json_out_key(j, "label");
    if (has_label)
        json_out_str(j, grounding_label_name(label));
    else
        json_out_null(j);
    web_json_str(j, "question", parts ? parts->question : BYTES_NONE);
    json_out_key(j, "segments");
    if (is_same)
        put_segments(j, s, parts->response);
    else
        json_out_null(j);
    json_out_object_end(j);
}

static enum err read_trace(struct tsdb_view *v, struct tsdb_id16 trace_id, struct shown *s)
{
    struct tsdb_where where = {.column = TSDB_LOG_trace_id, .text = bytes_of(trace_id.b, 16)};
    struct tsdb_row_filter more = {.where = &where, .where_count = 1};
    struct tsdb_log_filter f = {.max_ns = INT64_MAX, .more = &more};
    enum err e = tsdb_trace(v, trace_id, s->a, &s->spans);
    if (e == ERR_NOT_FOUND)
        e = ERR_OK; /* verdicts may outlive their spans */
    if (e == ERR_OK)
        e = tsdb_log_scan(v, &f, RECORDS_MAX, s->a, &s->logs);
    s->parts = ARENA_ARRAY(s->a, struct checker_parts, s->spans.count + 1);
    s->is_read = ARENA_ARRAY(s->a, bool, s->spans.count + 1);
    return e == ERR_OK && (!s->parts || !s->is_read) ? ERR_NOMEM : e;
}

static enum err trace(void *ctx, uint32_t org, struct tsdb_id16 trace_id, struct buf *json,
                      struct err_msg *msg)
{
    struct serve_grounding *g = ctx;
    struct grounding_record *records = NULL;
    struct tsdb_view *v;
    size_t n = 0;
    enum err e = tsdb_view_open(g->db, org, NULL, &v);
    if (e != ERR_OK)
        return err_set(msg, e, "the store cannot be read: %s", err_text(e));
    struct shown s = {.a = arena_new(TEXTS_BYTES)};
    e = s.a ? detectors_grounding_records(v, trace_id, s.a, VERDICTS_MAX, &records, &n) : ERR_NOMEM;
    if (e == ERR_OK && n)
        e = read_trace(v, trace_id, &s);
    if (e == ERR_OK) {
        struct json_out j = json_out_to(json);
        json_out_object(&j);
        json_out_key(&j, "verdicts");
        json_out_array(&j);
        for (size_t i = 0; i < n; i++) {
            s.record = &records[i];
            put_verdict(&j, &s, g, org);
        }
        json_out_array_end(&j);
        json_out_object_end(&j);
    } else {
        err_set(msg, e, "the verdicts cannot be read: %s", err_text(e));
    }
    arena_free(s.a);
    tsdb_view_close(v);
    return e;
}

struct web_grounding serve_verdicts_door(struct serve_grounding *g)
{
    return (struct web_grounding){.ctx = g, .feedback = feedback, .report = report, .trace = trace};
}
