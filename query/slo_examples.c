/* Example traces: rows of the store that are bad for an objective. */
#include "query/slo_terms.h"
#include "base/check.h"

#define SCAN_FACTOR 4u /* several bad rows of one trace are common */

static struct bytes label_of(const struct tsdb_spans *sp, struct bytes name, uint32_t row)
{
    static const struct {
        const char *name;
        size_t offset;
    } columns[] = {
        {"service", offsetof(struct tsdb_spans, service)},
        {"env", offsetof(struct tsdb_spans, env)},
        {"region", offsetof(struct tsdb_spans, region)},
        {"provider", offsetof(struct tsdb_spans, provider)},
        {"model", offsetof(struct tsdb_spans, model)},
        {"operation", offsetof(struct tsdb_spans, operation)},
        {"endpoint", offsetof(struct tsdb_spans, endpoint)},
        {"variant", offsetof(struct tsdb_spans, variant)},
    };
    for (size_t i = 0; i < ARRAY_LEN(columns); i++) {
        if (!bytes_equal_str(name, columns[i].name))
            continue;
        struct bytes *column;
        memcpy(&column, (const char *)sp + columns[i].offset, sizeof(column));
        return column ? column[row] : BYTES_NONE;
    }
    return BYTES_NONE;
}

/* Filters of one name are alternatives, of different names conditions. */
static bool passes_filters(const struct query_slo *s, const struct tsdb_spans *sp, uint32_t row)
{
    for (uint32_t i = 0; i < s->filter_count; i++) {
        bool any = false;
        for (uint32_t k = 0; k < s->filter_count && !any; k++)
            any = bytes_equal(s->filters[k].name, s->filters[i].name) &&
                  bytes_equal(label_of(sp, s->filters[k].name, row), s->filters[k].value);
        if (!any)
            return false;
    }
    return true;
}

static bool is_bad_row(const struct query_slo *s, const struct tsdb_spans *sp, uint32_t row)
{
    int64_t duration = sp->end_ns[row] - sp->start_ns[row];
    int64_t limit = (int64_t)(s->le_seconds * 1e9);
    int64_t ttft = TSDB_SPAN_GET(sp, ttft_ns, row, -1);
    int64_t tokens = TSDB_SPAN_GET(sp, output_tokens, row, -1);
    struct bytes outcome = bytes_str(
                     slo_outcome_name((enum tsdb_outcome)TSDB_SPAN_GET(sp, outcome, row, 0))),
                 fault =
                     bytes_str(slo_fault_name((enum tsdb_fault)TSDB_SPAN_GET(sp, fault, row, 0)));
    enum query_slo_class class =
        query_slo_classify(s->indicator == QUERY_SLO_AVAILABILITY_CALL, outcome, fault);
    switch (s->indicator) {
    case QUERY_SLO_AVAILABILITY_REQUEST:
    case QUERY_SLO_AVAILABILITY_CALL:
    case QUERY_SLO_RATIO: return class == QUERY_SLO_BAD;
    case QUERY_SLO_ERROR_API:
    case QUERY_SLO_ERROR_MODEL: return slo_class_of(s, outcome, fault) == QUERY_SLO_BAD;
    case QUERY_SLO_SAFETY: return bytes_equal_str(outcome, "blocked");
    case QUERY_SLO_TOKENS: return tokens > 0;
    case QUERY_SLO_CACHE:
    case QUERY_SLO_ROUTE:
    case QUERY_SLO_HALLUCINATION:
    case QUERY_SLO_FEEDBACK: return false; /* what makes them bad is in no column of a row */
    case QUERY_SLO_LATENCY: return class != QUERY_SLO_EXCLUDED && duration > limit;
    case QUERY_SLO_TTFT: return ttft > limit;
    case QUERY_SLO_TPOT: return tokens > 1 && ttft >= 0 && (duration - ttft) / (tokens - 1) > limit;
    case QUERY_SLO_TRUNCATION:
        return bytes_equal_str(TSDB_SPAN_GET(sp, error_type, row, BYTES_NONE),
                               "context_length_exceeded");
    default: return TSDB_SPAN_GET(sp, cost_nanousd, row, -1) > 0;
    }
}

static bool keep_bad(void *ctx, const struct tsdb_spans *sp, uint32_t row)
{
    const struct query_slo *s = ctx;
    bool has_level = s->indicator == QUERY_SLO_LATENCY || s->indicator == QUERY_SLO_ERROR_API ||
                     s->indicator == QUERY_SLO_ERROR_MODEL;
    bool is_request =
        s->indicator == QUERY_SLO_AVAILABILITY_REQUEST || (has_level && !s->level_call);
    uint8_t class = TSDB_SPAN_GET(sp, row_class, row, 0);
    if (!(class & (is_request ? TSDB_CLASS_REQUEST : TSDB_CLASS_CALL)) ||
        TSDB_SPAN_GET(sp, plane, row, 0) != TSDB_PLANE_USER)
        return false;
    return passes_filters(s, sp, row) && is_bad_row(s, sp, row);
}

enum err query_slo_examples(struct tsdb_view *v, const struct query_slo *s, int64_t min_ms,
                            int64_t max_ms, uint32_t max, struct arena *a, struct bytes **out,
                            size_t *out_count)
{
    struct tsdb_spans spans = {0};
    struct tsdb_span_filter f = {.start_min_ns = min_ms * 1000000,
                                 .start_max_ns = max_ms * 1000000,
                                 .newest_first = 1,
                                 .keep = keep_bad,
                                 .ctx = (void *)(uintptr_t)s};
    enum err e = tsdb_span_scan(v, &f, max * SCAN_FACTOR, a, &spans);
    if (e != ERR_OK)
        return e;
    struct bytes *ids = ARENA_ARRAY(a, struct bytes, max ? max : 1);
    if (!ids)
        return ERR_LIMIT;
    size_t n = 0;
    for (uint32_t i = 0; i < spans.count && n < max; i++) {
        char hex[33];
        bytes_to_hex(bytes_of(spans.trace_id[i].b, 16), hex);
        struct bytes id = bytes_of(hex, 32);
        bool is_new = true;
        for (size_t k = 0; k < n; k++)
            is_new = is_new && !bytes_equal(ids[k], id);
        if (!is_new)
            continue;
        ids[n] = arena_copy(a, id);
        if (!ids[n++].data)
            return ERR_LIMIT;
    }
    *out = ids;
    *out_count = n;
    return ERR_OK;
}
