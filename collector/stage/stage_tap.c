#include "collector/stage/stage_tap.h"

#include "collector/genai/genai_parts.h"

static bool is_anomalous(const struct genai_row *r)
{
    return r->truncation || (r->flags & TSDB_ROW_DEGRADED) || r->fallback_to.size ||
           r->outcome == TSDB_OUTCOME_STREAM_CUT;
}

/* One that answers somebody: a judge's calls are no answers, a vector has no sentences. */
static bool is_checkable(const struct genai_row *r)
{
    return r && (r->row_class & TSDB_CLASS_CALL) && !r->is_embedding &&
           r->plane != TSDB_PLANE_EVALUATION;
}

static bool has_trace(struct tsdb_id16 id)
{
    static const struct tsdb_id16 none;
    return memcmp(id.b, none.b, sizeof id.b) != 0;
}

void stage_tap_span(const struct stage_tap *t, const struct tsdb_batch *b, uint32_t row,
                    const struct genai_row *call, const struct stage_tap_text *sent)
{
    const struct tsdb_spans *s = &b->spans;
    if (!t->offer || !has_trace(s->trace_id[row]) || !t->wants(t->ctx, b->org, s->trace_id[row]))
        return;
    bool is_source = genai_parts_is_source(sent->attrs, sent->events);
    if (!is_source && !is_checkable(call))
        return;
    struct stage_tap_row r = {.kind = is_source ? STAGE_TAP_SOURCE : STAGE_TAP_CALL,
                              .org = b->org,
                              .trace_id = s->trace_id[row],
                              .span_id = s->span_id[row],
                              .end_ns = call && call->end_ns ? call->end_ns : s->end_ns[row],
                              .is_anomalous = !is_source && is_anomalous(call),
                              .call = is_source ? NULL : call,
                              .service = s->service[row],
                              .attrs = sent->attrs,
                              .events = sent->events};
    t->offer(t->ctx, &r);
}

void stage_tap_log(const struct stage_tap *t, const struct tsdb_batch *b, uint32_t row,
                   const struct stage_tap_text *sent)
{
    const struct tsdb_logs *l = &b->logs;
    if (!t->offer || !genai_parts_is_record(l->event_name[row]) || !has_trace(l->trace_id[row]) ||
        !t->wants(t->ctx, b->org, l->trace_id[row]))
        return;
    struct stage_tap_row r = {.kind = STAGE_TAP_RECORD,
                              .org = b->org,
                              .trace_id = l->trace_id[row],
                              .span_id = l->span_id[row],
                              .end_ns = l->time_ns[row],
                              .service = l->service[row],
                              .attrs = sent->attrs,
                              .event_name = l->event_name[row],
                              .body = sent->body};
    t->offer(t->ctx, &r);
}
