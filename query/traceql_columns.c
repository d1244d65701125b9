/* The canonical columns as fields of TraceQL, and what the store's own filters can do for a query. */
#include "base/check.h"
#include "query/query_trace.h"
#include "query/traceql_ast.h"

#define BIT(column) (UINT64_C(1) << (column))
#define SPAN(column) (UINT64_C(1) << TSDB_SPAN_##column)

/* clang-format off */
const struct traceql_column traceql_columns[] = {
    {"llm:model",              TSDB_SPAN_model,              TRACEQL_AS_TEXT},
    {"llm:request_model",      TSDB_SPAN_request_model,      TRACEQL_AS_TEXT},
    {"llm:response_model",     TSDB_SPAN_response_model,     TRACEQL_AS_TEXT},
    {"llm:provider",           TSDB_SPAN_provider,           TRACEQL_AS_TEXT},
    {"llm:operation",          TSDB_SPAN_operation,          TRACEQL_AS_TEXT},
    {"llm:endpoint",           TSDB_SPAN_endpoint,           TRACEQL_AS_TEXT},
    {"llm:tenant",             TSDB_SPAN_tenant,             TRACEQL_AS_TEXT},
    {"llm:team",               TSDB_SPAN_team,               TRACEQL_AS_TEXT},
    {"llm:user",               TSDB_SPAN_user_id,            TRACEQL_AS_TEXT},
    {"llm:api_key",            TSDB_SPAN_api_key,            TRACEQL_AS_TEXT},
    {"llm:env",                TSDB_SPAN_env,                TRACEQL_AS_TEXT},
    {"llm:region",             TSDB_SPAN_region,             TRACEQL_AS_TEXT},
    {"llm:variant",            TSDB_SPAN_variant,            TRACEQL_AS_TEXT},
    {"llm:conversation",       TSDB_SPAN_conversation_id,    TRACEQL_AS_TEXT},
    {"llm:prompt",             TSDB_SPAN_prompt_name,        TRACEQL_AS_TEXT},
    {"llm:prompt_version",     TSDB_SPAN_prompt_version,     TRACEQL_AS_TEXT},
    {"llm:agent",              TSDB_SPAN_agent_name,         TRACEQL_AS_TEXT},
    {"llm:tool",               TSDB_SPAN_tool_name,          TRACEQL_AS_TEXT},
    {"llm:finish_reason",      TSDB_SPAN_finish_reason,      TRACEQL_AS_TEXT},
    {"llm:error_type",         TSDB_SPAN_error_type,         TRACEQL_AS_TEXT},
    {"llm:response_id",        TSDB_SPAN_response_id,        TRACEQL_AS_TEXT},
    {"llm:service",            TSDB_SPAN_service,            TRACEQL_AS_TEXT},
    {"llm:outcome",            TSDB_SPAN_outcome,            TRACEQL_AS_OUTCOME},
    {"llm:fault",              TSDB_SPAN_fault,              TRACEQL_AS_FAULT},
    {"llm:class",              TSDB_SPAN_row_class,          TRACEQL_AS_CLASS},
    {"llm:cost",               TSDB_SPAN_cost_nanousd,       TRACEQL_AS_USD},
    {"llm:ttft",               TSDB_SPAN_ttft_ns,            TRACEQL_AS_DURATION},
    {"llm:input_tokens",       TSDB_SPAN_input_tokens,       TRACEQL_AS_INT},
    {"llm:output_tokens",      TSDB_SPAN_output_tokens,      TRACEQL_AS_INT},
    {"llm:cache_read_tokens",  TSDB_SPAN_cache_read_tokens,  TRACEQL_AS_INT},
    {"llm:cache_write_tokens", TSDB_SPAN_cache_write_tokens, TRACEQL_AS_INT},
    {"llm:reasoning_tokens",   TSDB_SPAN_reasoning_tokens,   TRACEQL_AS_INT},
    {"llm:max_tokens",         TSDB_SPAN_max_tokens,         TRACEQL_AS_INT},
};
/* clang-format on */
const size_t traceql_columns_count = ARRAY_LEN(traceql_columns);

static struct query_traceql_value text(struct bytes b)
{
    if (!b.size)
        return (struct query_traceql_value){TRACEQL_NIL, {0}};
    return (struct query_traceql_value){.type = TRACEQL_STRING, .text = b};
}

struct query_traceql_value traceql_column_value(const struct traceql_column *c,
                                                const struct tsdb_spans *t, uint32_t row)
{
    const struct query_traceql_value nil = {TRACEQL_NIL, {0}};
    void *const *at =
        (void *const *)((const uint8_t *)t + tsdb_batch_span_schema.columns[c->column].offset);
    if (!*at)
        return nil;
    if (c->as == TRACEQL_AS_TEXT)
        return text(((const struct bytes *)*at)[row]);
    if (c->as >= TRACEQL_AS_OUTCOME) {
        uint8_t v = ((const uint8_t *)*at)[row];
        return text(bytes_str(c->as == TRACEQL_AS_OUTCOME ? query_trace_outcome_name(v)
                              : c->as == TRACEQL_AS_FAULT ? query_trace_fault_name(v)
                              : v & TSDB_CLASS_CALL       ? "call"
                              : v & TSDB_CLASS_REQUEST    ? "request"
                              : v & TSDB_CLASS_STEP       ? "step"
                                                          : ""));
    }
    int64_t v = ((const int64_t *)*at)[row];
    if (v < 0)
        return nil;
    if (c->as == TRACEQL_AS_USD)
        return (struct query_traceql_value){TRACEQL_FLOAT, {.number = (double)v / 1e9}};
    return (struct query_traceql_value){c->as == TRACEQL_AS_INT ? TRACEQL_INT : TRACEQL_DURATION,
                                        {.integer = v}};
}

uint64_t traceql_field_columns(const struct traceql_field *f)
{
    switch (f->scope) {
    case TRACEQL_ANY: return SPAN(attrs) | SPAN(resource_attrs);
    case TRACEQL_SPAN: return SPAN(attrs);
    case TRACEQL_RESOURCE: return SPAN(resource_attrs);
    case TRACEQL_EVENT: return SPAN(events);
    case TRACEQL_LINK: return SPAN(links);
    case TRACEQL_INSTRUMENTATION: return 0;
    case TRACEQL_INTRINSIC:
    case TRACEQL_SCOPE_COUNT: break;
    }
    switch (f->intrinsic) {
    case TRACEQL_I_NAME: return SPAN(name);
    case TRACEQL_I_STATUS: return SPAN(status);
    case TRACEQL_I_STATUS_MESSAGE: return SPAN(status_message);
    case TRACEQL_I_KIND: return SPAN(kind);
    case TRACEQL_I_TRACE_ID: return SPAN(trace_id);
    case TRACEQL_I_SPAN_ID: return SPAN(span_id);
    case TRACEQL_I_PARENT_ID: return SPAN(parent_id);
    case TRACEQL_I_SCOPE_NAME: return SPAN(scope_name);
    case TRACEQL_I_SCOPE_VERSION: return SPAN(scope_version);
    case TRACEQL_I_EVENT_NAME:
    case TRACEQL_I_EVENT_SINCE_START: return SPAN(events) | SPAN(start_ns);
    case TRACEQL_I_LINK_TRACE:
    case TRACEQL_I_LINK_SPAN: return SPAN(links);
    case TRACEQL_I_COLUMN: return BIT(traceql_columns[f->column].column);
    default: return SPAN(start_ns) | SPAN(end_ns);
    }
}

/* --- the store's own filters -------------------------------------------------------------------- */

#define CONTAINS_MIN 3u /* shorter texts are everywhere */

static void push_duration(struct tsdb_span_filter *f, enum traceql_op op, int64_t ns)
{
    bool below = op == TRACEQL_OP_LT || op == TRACEQL_OP_LE || op == TRACEQL_OP_EQ,
         above = op == TRACEQL_OP_GT || op == TRACEQL_OP_GE || op == TRACEQL_OP_EQ;
    if (ns <= 0) /* a pair of zeros means any */
        return;
    if (above)
        f->duration_min_ns = MAX(f->duration_min_ns, ns);
    if (below)
        f->duration_max_ns = f->duration_max_ns ? MIN(f->duration_max_ns, ns) : ns;
    if (!f->duration_max_ns)
        f->duration_max_ns = INT64_MAX;
}

static void push_column(struct tsdb_row_filter *more, struct tsdb_where *where,
                        const struct traceql_column *c, const struct query_traceql_value *v)
{
    if (c->as != TRACEQL_AS_TEXT || more->where_count == TRACEQL_WHERE_MAX)
        return;
    where[more->where_count++] =
        (struct tsdb_where){.column = c->column, .op = TSDB_WHERE_IS, .text = v->text};
    more->where = where;
}

void traceql_push_down(const struct traceql_expr *e, struct tsdb_span_filter *f,
                       struct tsdb_row_filter *more, struct tsdb_where *where)
{
    if (!e || e->kind != TRACEQL_BINARY)
        return;
    if (e->op == TRACEQL_OP_AND) {
        traceql_push_down(e->left, f, more, where);
        traceql_push_down(e->right, f, more, where);
        return;
    }
    if (e->left->kind != TRACEQL_FIELD || e->right->kind != TRACEQL_STATIC || e->whole)
        return;
    const struct traceql_field *field = &e->left->field;
    const struct query_traceql_value *v = &e->right->value;
    if (field->intrinsic == TRACEQL_I_DURATION &&
        (v->type == TRACEQL_DURATION || v->type == TRACEQL_INT))
        push_duration(f, e->op, v->integer);
    if (e->op != TRACEQL_OP_EQ || v->type != TRACEQL_STRING || v->text.size == 0)
        return;
    if (field->intrinsic == TRACEQL_I_NAME)
        f->name = v->text;
    else if (field->intrinsic == TRACEQL_I_COLUMN)
        push_column(more, where, &traceql_columns[field->column], v);
    else if (field->scope == TRACEQL_RESOURCE && bytes_equal_str(field->name, "service.name"))
        f->service = v->text;
    else if (field->scope == TRACEQL_SPAN && v->text.size >= CONTAINS_MIN &&
             v->text.size > more->contains.size)
        more->contains = v->text; /* an attribute that is a list of texts has it as well */
}
