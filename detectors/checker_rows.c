#include "detectors/checker_rows.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/json_out.h"

#define BATCH_BYTES (16u << 20)
#define LABEL_KEPT 256u
#define LATE_NS \
    (INT64_C(3600) * 1000000000) /* a call that ended longer ago is recorded as of now */
#define SEVERITY_INFO 9
#define SEVERITY_WARN 13

bool checker_rows_init(struct checker_rows *w, struct tsdb *db)
{
    *w = (struct checker_rows){.db = db, .scratch = arena_new(1u << 20)};
    return w->scratch != NULL;
}

void checker_rows_done(struct checker_rows *w)
{
    tsdb_batch_free(w->batch);
    arena_free(w->scratch);
    w->batch = NULL;
    w->scratch = NULL;
}

uint64_t checker_rows_text_hash(struct bytes text)
{
    return hash64(text, 0);
}

static enum err batch_for(struct checker_rows *w, uint32_t org)
{
    uint32_t written;
    if (w->batch && (w->batch->org != org || w->rows >= CHECKER_BATCH_ROWS)) {
        enum err e = checker_rows_write(w, &written);
        if (e != ERR_OK)
            return e;
    }
    if (!w->batch) {
        w->batch = tsdb_batch_new(org, TSDB_LOGS, BATCH_BYTES);
        w->rows = 0;
        w->begun_ns = clock_mono_ns();
    }
    return w->batch ? ERR_OK : ERR_NOMEM;
}

enum err checker_rows_write(struct checker_rows *w, uint32_t *out_rows)
{
    struct tsdb_result r;
    struct tsdb_batch *b = w->batch;
    *out_rows = b ? b->logs.count : 0;
    if (!b)
        return ERR_OK;
    w->batch = NULL;
    w->rows = 0;
    b->received = b->logs.count;
    b->received_ns = clock_wall_ns();
    return tsdb_append_wait(w->db, b, &r);
}

/* --- cells ------------------------------------------------------------------------------------------- */

static struct bytes label_cut(struct bytes v)
{
    size_t n = MIN(v.size, (size_t)LABEL_KEPT);
    while (n < v.size && n > 0 && (v.data[n] & 0xC0) == 0x80)
        n--;
    return bytes_slice(v, 0, n);
}

/* 0 when the registry does not want it: the cell is dropped, as those of the stage are. */
static struct tsdb_ref series_of(struct checker_rows *w, const struct checker_said *call,
                                 const char *family, const struct tsdb_label *more)
{
    static const char *const names[] = {
#define X(name, label) label,
        CHECKER_LABELS(X)
#undef X
    };
    struct tsdb_label labels[CHECKER_LABEL_COUNT + 3];
    struct tsdb_labels built;
    struct tsdb_ref ref = {0};
    size_t n = 0;
    labels[n++] = (struct tsdb_label){BYTES_LIT("__name__"), bytes_str(family)};
    labels[n++] = (struct tsdb_label){BYTES_LIT("job"), BYTES_LIT("telltale")};
    for (size_t i = 0; i < CHECKER_LABEL_COUNT; i++)
        if (call->text[i].size)
            labels[n++] = (struct tsdb_label){bytes_str(names[i]), label_cut(call->text[i])};
    if (more)
        labels[n++] = *more;
    arena_reset(w->scratch);
    if (tsdb_labels_build(labels, n, w->scratch, &built, NULL) != ERR_OK)
        return ref;
    struct tsdb_registry *series = tsdb_series(w->db);
    enum err e = tsdb_registry_ref(series, call->org, TSDB_SERIES_CELLS, built, &ref);
    if (e == ERR_LIMIT)
        e = tsdb_registry_overflow(series, call->org, TSDB_SERIES_CELLS, built, &ref);
    return e == ERR_OK ? ref : (struct tsdb_ref){0};
}

static int64_t time_of(const struct checker_said *call)
{
    int64_t now = clock_wall_ns();
    return call->end_ns > now - LATE_NS && call->end_ns < now + LATE_NS ? call->end_ns : now;
}

static bool count(struct checker_rows *w, const struct checker_said *call, const char *family,
                  const struct tsdb_label *more)
{
    struct tsdb_ref ref = series_of(w, call, family, more);
    return !ref.v ||
           tsdb_batch_add_cell(w->batch, ref, tsdb_batch_minute(time_of(call)), 1, TSDB_NO_ROW);
}

enum err checker_rows_count(struct checker_rows *w, const struct checker_said *call,
                            const char *family, const struct tsdb_label *more)
{
    enum err e = batch_for(w, call->org);
    if (e != ERR_OK)
        return e;
    w->rows++;
    return count(w, call, family, more) ? ERR_OK : ERR_LIMIT;
}

static bool observe(struct checker_rows *w, const struct checker_said *call, const char *family,
                    double value)
{
    struct tsdb_ref ref = series_of(w, call, family, NULL);
    struct tsdb_hist *h = ref.v ? ARENA_ARRAY(w->batch->arena, struct tsdb_hist, 1) : NULL;
    return !ref.v || (h && tsdb_hist_of(value, w->batch->arena, h) == ERR_OK &&
                      tsdb_batch_add_hist_cell(w->batch, ref, tsdb_batch_minute(time_of(call)), h,
                                               TSDB_NO_ROW));
}

/* --- the record ---------------------------------------------------------------------------------------- */

static void put_number(struct buf *out, const char *key, double v)
{
    tsdb_attrs_put(out, bytes_str(key), (struct tsdb_value){TSDB_VALUE_DOUBLE, {.number = v}});
}

static void put_text(struct buf *out, const char *key, struct bytes v)
{
    if (v.size)
        tsdb_attrs_put_str(out, bytes_str(key), v);
}

/* Probabilities to a thousandth: what stands behind them is no finer. */
static void json_share(struct json_out *j, double v)
{
    json_out_f64(j, (double)(int64_t)(v * 1000 + 0.5) / 1000);
}

/* [[begin, end, kind, probability, [[document, begin, end, similarity]...]]...], offsets in bytes of the answer and of its documents. */
static void put_sentences(struct buf *out, const struct ground_verdict *v)
{
    struct buf text = {0};
    struct json_out j = json_out_to(&text);
    json_out_array(&j);
    for (uint32_t i = 0; i < v->sentences_count; i++) {
        const struct ground_sentence *s = &v->sentences[i];
        json_out_array(&j);
        json_out_u64(&j, s->begin);
        json_out_u64(&j, s->end);
        json_out_u64(&j, s->kind);
        json_share(&j, s->probability);
        json_out_array(&j);
        for (uint32_t k = 0; k < s->evidence_count; k++) {
            json_out_array(&j);
            json_out_u64(&j, s->evidence[k].document);
            json_out_u64(&j, s->evidence[k].begin);
            json_out_u64(&j, s->evidence[k].end);
            json_share(&j, s->evidence[k].similarity);
            json_out_array_end(&j);
        }
        json_out_array_end(&j);
        json_out_array_end(&j);
    }
    json_out_array_end(&j);
    put_text(out, "telltale.grounding.sentences", buf_bytes(&text));
    out->failed = out->failed || text.failed;
    buf_done(&text);
}

static void put_spans(struct buf *out, const struct ground_verdict *v)
{
    struct buf text = {0};
    struct json_out j = json_out_to(&text);
    json_out_array(&j);
    for (uint32_t i = 0; i < v->spans_count; i++) {
        json_out_array(&j);
        json_out_u64(&j, v->spans[i].begin);
        json_out_u64(&j, v->spans[i].end);
        json_share(&j, v->spans[i].probability);
        json_out_array_end(&j);
    }
    json_out_array_end(&j);
    put_text(out, "telltale.grounding.spans", buf_bytes(&text));
    out->failed = out->failed || text.failed;
    buf_done(&text);
}

/* [["span id", index among the documents of that span, "hash of its text"]...] */
static void put_documents(struct buf *out, const struct checker_result *r)
{
    struct buf text = {0};
    struct json_out j = json_out_to(&text);
    json_out_array(&j);
    for (uint32_t i = 0; i < r->text->documents_count; i++) {
        char hex[17];
        bytes_to_hex(bytes_of(r->origins[i].span_id.b, 8), hex);
        json_out_array(&j);
        json_out_str(&j, hex);
        json_out_u64(&j, r->origins[i].index);
        json_out_printf(&j, "%016llx",
                        (unsigned long long)checker_rows_text_hash(r->text->documents[i]));
        json_out_array_end(&j);
    }
    json_out_array_end(&j);
    put_text(out, "telltale.grounding.documents", buf_bytes(&text));
    out->failed = out->failed || text.failed;
    buf_done(&text);
}

static void put_explanation(struct buf *out, const struct ground_verdict *v)
{
    struct buf text = {0};
    uint32_t claims = 0, without = 0;
    for (uint32_t i = 0; i < v->sentences_count; i++) {
        claims += v->sentences[i].kind == GROUND_CLAIM;
        without += v->sentences[i].kind == GROUND_CLAIM && v->sentences[i].probability >= 0.5F;
    }
    buf_printf(&text, "%u of %u sentences are probably not supported by the documents", without,
               claims);
    put_text(out, "gen_ai.evaluation.explanation", buf_bytes(&text));
    out->failed = out->failed || text.failed;
    buf_done(&text);
}

static void put_attrs(struct buf *out, const struct checker_result *r)
{
    const struct ground_verdict *v = r->verdict;
    const struct bytes *t = r->call->text;
    char hash[17];
    tsdb_attrs_put_str(out, BYTES_LIT("gen_ai.evaluation.name"), BYTES_LIT(CHECKER_NAME));
    put_number(out, "gen_ai.evaluation.score.value", r->score);
    put_number(out, "telltale.grounding.probability", (double)v->probability);
    put_text(out, "gen_ai.evaluation.score.label",
             v->flagged ? BYTES_LIT("unsupported") : BYTES_LIT("supported"));
    put_explanation(out, v);
    put_text(out, "gen_ai.response.id", t[CHECKER_RESPONSE_ID]);
    put_text(out, "gen_ai.conversation.id", t[CHECKER_CONVERSATION]);
    put_text(out, "gen_ai.prompt.name", t[CHECKER_PROMPT_NAME]);
    put_text(out, "gen_ai.prompt.version", t[CHECKER_PROMPT_VERSION]);
    put_text(out, "telltale.grounding.model", t[CHECKER_MODEL]);
    put_text(out, "telltale.grounding.version", bytes_str(r->version));
    put_number(out, "telltale.grounding.logit", v->logit);
    put_number(out, "telltale.grounding.threshold", r->threshold);
    put_number(out, "telltale.grounding.inclusion", r->inclusion);
    tsdb_attrs_put_i64(out, BYTES_LIT("telltale.grounding.tokens"), v->tokens);
    if (v->cut)
        tsdb_attrs_put(out, BYTES_LIT("telltale.grounding.cut"),
                       (struct tsdb_value){TSDB_VALUE_BOOL, {.boolean = true}});
    bytes_to_hex(
        bytes_of(&(uint64_t){__builtin_bswap64(checker_rows_text_hash(r->text->response))}, 8),
        hash);
    put_text(out, "telltale.grounding.response_hash", bytes_str(hash));
    put_sentences(out, v);
    put_spans(out, v);
    put_documents(out, r);
}

static bool put_record(struct tsdb_batch *b, const struct checker_result *r)
{
    struct buf attrs = {0}, resource = {0};
    uint32_t row = tsdb_batch_add_log(b);
    if (row == TSDB_NO_ROW)
        return false;
    struct tsdb_logs *l = &b->logs;
    put_attrs(&attrs, r);
    put_text(&resource, "service.name", r->call->text[CHECKER_SERVICE]);
    l->time_ns[row] = time_of(r->call);
    l->observed_ns[row] = clock_wall_ns();
    l->trace_id[row] = r->call->trace_id;
    l->span_id[row] = r->call->span_id;
    l->severity[row] = r->verdict->flagged ? SEVERITY_WARN : SEVERITY_INFO;
    l->event_name[row] = BYTES_LIT(CHECKER_EVENT);
    l->scope_name[row] = BYTES_LIT(CHECKER_NAME);
    l->service[row] = arena_copy(b->arena, r->call->text[CHECKER_SERVICE]);
    l->attrs[row] = arena_copy(b->arena, buf_bytes(&attrs));
    l->resource_attrs[row] = arena_copy(b->arena, buf_bytes(&resource));
    bool ok = !attrs.failed && !resource.failed && l->attrs[row].data &&
              (!l->service[row].size || l->service[row].data) &&
              (!resource.size || l->resource_attrs[row].data);
    buf_done(&attrs);
    buf_done(&resource);
    return ok;
}

enum err checker_rows_verdict(struct checker_rows *w, const struct checker_result *r)
{
    enum err e = batch_for(w, r->call->org);
    if (e != ERR_OK)
        return e;
    w->rows++;
    const struct tsdb_label result = {
        BYTES_LIT("result"), r->verdict->flagged ? BYTES_LIT("flagged") : BYTES_LIT("passed")};
    bool ok = put_record(w->batch, r) && count(w, r->call, "llm_grounding_checked_total", NULL) &&
              (!r->is_uniform || count(w, r->call, "llm_grounding_sampled_total", &result)) &&
              (!r->verdict->flagged || count(w, r->call, "llm_grounding_flagged_total", NULL)) &&
              observe(w, r->call, "llm_grounding_score", r->score);
    return ok ? ERR_OK : ERR_LIMIT;
}
