#include "collector/genai/row_class.h"

#include "base/check.h"

/* By prefix of the scope name, first match. */
static const struct {
    const char *prefix;
    struct row_class_scope is;
} scopes[] = {
    {"openinference.instrumentation.claude_agent_sdk",
     {.dialect = GENAI_DIALECT_OPENINFERENCE, .agent_books = true}},
    {"@arizeai/openinference-instrumentation-claude-agent-sdk",
     {.dialect = GENAI_DIALECT_OPENINFERENCE, .agent_books = true}},
    {"openinference", {.dialect = GENAI_DIALECT_OPENINFERENCE}},
    {"@arizeai/openinference", {.dialect = GENAI_DIALECT_OPENINFERENCE}},
    {"@traceloop/", {.dialect = GENAI_DIALECT_OPENLLMETRY}},
    {"traceloop", {.dialect = GENAI_DIALECT_OPENLLMETRY}},
    {"openlit", {.dialect = GENAI_DIALECT_OPENLIT}},
    {"langfuse", {.dialect = GENAI_DIALECT_LANGFUSE}},
    {"pydantic-ai", {.dialect = GENAI_DIALECT_PYDANTIC}},
    {"pydantic_ai", {.dialect = GENAI_DIALECT_PYDANTIC}},
    {"gcp.vertex.agent", {.dialect = GENAI_DIALECT_GOOGLE_ADK}},
    {"strands", {.dialect = GENAI_DIALECT_STRANDS}},
    {"com.anthropic.claude_code", {.dialect = GENAI_DIALECT_CLAUDE_CODE, .is_cli = true}},
    {"codex_otel", {.dialect = GENAI_DIALECT_CODEX, .is_cli = true, .logs_book = true}},
    {"gemini-cli", {.dialect = GENAI_DIALECT_GEMINI_CLI, .is_cli = true, .logs_book = true}},
    {"cursor.telemetry", {.dialect = GENAI_DIALECT_CURSOR, .is_cli = true, .logs_book = true}},
    {"github.copilot", {.dialect = GENAI_DIALECT_COPILOT}},
    {"vllm", {.is_model_server = true}},
    {"sglang", {.is_model_server = true}},
    {"text-generation-inference", {.is_model_server = true}},
    {"triton", {.is_model_server = true}},
    {"litellm", {.is_gateway = true}},
    {"envoy-ai-gateway", {.is_gateway = true}},
    {"portkey", {.is_gateway = true}},
};
static const struct {
    const char *service;
    struct row_class_scope is;
} services[] = {
    {"claude-platform", {.dialect = GENAI_DIALECT_ANTHROPIC_PLATFORM, .is_gateway = true}},
    {"claude-code", {.dialect = GENAI_DIALECT_CLAUDE_CODE, .is_cli = true}},
    {"claude-code-desktop", {.dialect = GENAI_DIALECT_CLAUDE_CODE, .is_cli = true}},
    {"gemini-cli", {.dialect = GENAI_DIALECT_GEMINI_CLI, .is_cli = true, .logs_book = true}},
    {"codex_cli_rs", {.dialect = GENAI_DIALECT_CODEX, .is_cli = true, .logs_book = true}},
    {"codex_exec", {.dialect = GENAI_DIALECT_CODEX, .is_cli = true, .logs_book = true}},
    {"codex_tui", {.dialect = GENAI_DIALECT_CODEX, .is_cli = true, .logs_book = true}},
    {"codex-app-server", {.dialect = GENAI_DIALECT_CODEX, .is_cli = true, .logs_book = true}},
};

/* Span names that repeat what their children say, or never stand for a call: wrappers. */
static const char *const wrapper_names[] = {
    "ai.generateText",
    "ai.streamText",
    "ai.generateObject",
    "ai.streamObject",
    "ai.embed",
    "ai.embedMany",
    "ai.toolCall",
    "agent_step",
    "raw_gen_ai_request",
    "workflow.run",
    "executor.process",
    "message.send",
    "execute_event_loop_cycle",
    "execute_task",
    "(merged tools)",
    "claude_code.interaction",
    "claude_code.tool",
    "proxy_pre_call",
    "self",
    "router",
    "claude_code.tool.execution",
    "claude_code.tool.blocked_on_user",
};

/* The span kinds of OpenInference, OpenLLMetry and Langfuse and Vercel's operations -> canonical operation. */
static const struct {
    const char *kind, *operation;
} kinds[] = {
    {"LLM", "chat"},
    {"EMBEDDING", "embeddings"},
    {"RETRIEVER", "retrieval"},
    {"RERANKER", "rerank"},
    {"TOOL", "execute_tool"},
    {"AGENT", "invoke_agent"},
    {"CHAIN", "invoke_workflow"},
    {"GUARDRAIL", "guardrail"},
    {"EVALUATOR", "evaluate"},
    {"PROMPT", "render_prompt"},
    {"workflow", "invoke_workflow"},
    {"task", "invoke_workflow"},
    {"generation", "chat"},
    {"completion", "text_completion"},
    {"ai.generateText.doGenerate", "chat"},
    {"ai.streamText.doStream", "chat"},
    {"ai.generateObject.doGenerate", "chat"},
    {"ai.streamObject.doStream", "chat"},
    {"ai.embed.doEmbed", "embeddings"},
    {"ai.embedMany.doEmbed", "embeddings"},
    {"ai.toolCall", "execute_tool"},
};

struct row_class_scope row_class_scope_of(struct bytes scope, struct bytes service)
{
    for (size_t i = 0; i < ARRAY_LEN(services); i++)
        if (bytes_equal_str(service, services[i].service))
            return services[i].is;
    for (size_t i = 0; i < ARRAY_LEN(scopes); i++)
        if (bytes_has_prefix(scope, bytes_str(scopes[i].prefix)))
            return scopes[i].is;
    if (bytes_equal_str(scope, "ai"))
        return (struct row_class_scope){.dialect = GENAI_DIALECT_VERCEL};
    return (struct row_class_scope){.dialect = GENAI_DIALECT_NONE};
}

uint8_t row_class_dialect(const struct found *f, const struct row_class_scope *scope)
{
    /* Most telling first: a vendor's own words beat the common ones that most vendors send beside them. */
    static const uint8_t order[] = {GENAI_DIALECT_LANGFUSE,    GENAI_DIALECT_OPENINFERENCE,
                                    GENAI_DIALECT_VERCEL,      GENAI_DIALECT_OPENLIT,
                                    GENAI_DIALECT_OPENLLMETRY, GENAI_DIALECT_PYDANTIC,
                                    GENAI_DIALECT_COPILOT,     GENAI_DIALECT_GOOGLE_ADK,
                                    GENAI_DIALECT_STRANDS,     GENAI_DIALECT_ANTHROPIC_PLATFORM,
                                    GENAI_DIALECT_OTEL_0_1,    GENAI_DIALECT_OTEL_1_37,
                                    GENAI_DIALECT_OTEL_1_36};
    if (scope->dialect != GENAI_DIALECT_NONE)
        return scope->dialect;
    for (size_t i = 0; i < ARRAY_LEN(order); i++)
        if (f->dialects & (1u << order[i]))
            return order[i];
    return GENAI_DIALECT_NONE;
}

static bool one_of(struct bytes s, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (bytes_equal_str(s, names[i]))
            return true;
    return false;
}

static struct bytes kind_operation(struct bytes kind)
{
    for (size_t i = 0; kind.size && i < ARRAY_LEN(kinds); i++)
        if (((kind.data[0] ^ (uint8_t)kinds[i].kind[0]) & 0xdf) == 0 && /* but for the case */
            bytes_equal_nocase(kind, bytes_str(kinds[i].kind)))
            return bytes_str(kinds[i].operation);
    return BYTES_NONE;
}

/* Canonical words for operations that some emitters spell their own way. */
static struct bytes operation_canonical(struct bytes op)
{
    static const struct {
        const char *from, *to;
    } words[] = {{"chat", "chat"},
                 {"completion", "text_completion"},
                 {"embedding", "embeddings"},
                 {"embed", "embeddings"},
                 {"tool_call", "execute_tool"},
                 {"agent_call", "invoke_agent"},
                 {"generate", "generate_content"},
                 {"handle_turn", "invoke_agent"},
                 {"responses", "chat"},
                 {"apply_guardrail", "guardrail"}};
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (bytes_equal_str(op, words[i].from))
            return bytes_str(words[i].to);
    return op;
}

/* Claude Code names its spans and no operation. */
static struct bytes cli_operation(struct bytes name)
{
    if (bytes_equal_str(name, "claude_code.llm_request"))
        return BYTES_LIT("chat");
    if (bytes_equal_str(name, "claude_code.tool") ||
        bytes_equal_str(name, "claude_code.tool.execution"))
        return BYTES_LIT("execute_tool");
    return BYTES_NONE;
}

static struct bytes operation_of(const struct found *f, const struct row_class_scope *scope,
                                 struct bytes name, const struct genai_row *r)
{
    struct bytes op = kind_operation(found_text(f, ATTR_VERCEL_OP));
    if (!op.size)
        op = kind_operation(found_text(f, ATTR_OI_KIND));
    if (!op.size)
        op = operation_canonical(found_text(f, ATTR_OPERATION));
    if (!op.size && found_has(f, ATTR_MCP_METHOD) &&
        bytes_equal_str(found_text(f, ATTR_MCP_METHOD), "tools/call"))
        op = BYTES_LIT("execute_tool");
    if (!op.size)
        op = kind_operation(found_text(f, ATTR_TRACELOOP_KIND));
    if (!op.size)
        op = kind_operation(found_text(f, ATTR_LANGFUSE_TYPE));
    if (!op.size)
        op = operation_canonical(found_text(f, ATTR_REQUEST_TYPE));
    if (!op.size)
        op = kind_operation(name); /* Vercel: the name is the operation */
    if (!op.size && scope->is_cli)
        op = cli_operation(name);
    if (!op.size && found_has(f, ATTR_TRACELOOP_KIND))
        return op;
    /* No word for it, but a model that was asked and tokens that were used: somebody called a model. */
    if (!op.size && r->has_usage && (r->request_model.size || r->response_model.size) &&
        !found_has(f, ATTR_LANGFUSE_TYPE) && !found_has(f, ATTR_OI_KIND))
        op = BYTES_LIT("chat");
    return op;
}

static uint8_t plane_of(const struct found *f, struct bytes operation)
{
    struct bytes p = found_text(f, ATTR_PLANE);
    if (bytes_equal_str(p, "evaluation") || bytes_equal_str(p, "judge"))
        return TSDB_PLANE_EVALUATION;
    if (bytes_equal_str(p, "synthetic") || bytes_equal_str(p, "warmup") ||
        found_has(f, ATTR_SYNTHETIC) || found_bool(f, ATTR_WARMUP, false))
        return TSDB_PLANE_SYNTHETIC;
    if (bytes_equal_str(p, "batch") || bytes_equal_str(p, "background") ||
        bytes_equal_str(found_text(f, ATTR_SERVICE_TIER), "batch"))
        return TSDB_PLANE_BATCH;
    if (bytes_equal_str(operation, "evaluate"))
        return TSDB_PLANE_EVALUATION;
    return TSDB_PLANE_USER;
}

/* --- user requests ------------------------------------------------------------------------------ */

static bool pattern_matches(struct bytes pattern, struct bytes text)
{
    if (pattern.size == 0)
        return true;
    if (pattern.data[pattern.size - 1] == '*')
        return bytes_has_prefix(text, bytes_slice(pattern, 0, pattern.size - 1));
    if (pattern.data[0] == '*')
        return bytes_has_suffix(text, bytes_slice(pattern, 1, pattern.size));
    return bytes_equal(pattern, text);
}

static bool is_health_check(struct bytes endpoint)
{
    static const char *const heads[] = {"/health",  "/ready", "/live", "/metrics",
                                        "/favicon", "/-/",    "/ping", "/status"};
    for (size_t i = 0; i < endpoint.size; i++)
        if (endpoint.data[i] == '/') { /* "GET /healthz" too */
            endpoint = bytes_slice(endpoint, i, endpoint.size);
            break;
        }
    for (size_t i = 0; i < ARRAY_LEN(heads); i++)
        if (bytes_has_prefix(endpoint, bytes_str(heads[i])))
            return true;
    return false;
}

static bool is_request(const struct genai_options *o, const struct tsdb_spans *s, uint32_t row,
                       const struct genai_row *r)
{
    static const struct tsdb_id8 no_parent;
    if (o->entry_count) {
        for (size_t i = 0; i < o->entry_count; i++) {
            const struct genai_entry_rule *e = &o->entries[i];
            if (pattern_matches(e->service, s->service[row]) &&
                pattern_matches(e->route, r->endpoint) &&
                pattern_matches(e->operation, r->operation) &&
                pattern_matches(e->name, s->name[row]))
                return true;
        }
        return false;
    }
    if (memcmp(s->parent_id[row].b, no_parent.b, 8) != 0)
        return false;
    if (s->kind[row] == 2 || s->kind[row] == 5) /* SERVER, CONSUMER */
        return !is_health_check(r->endpoint.size ? r->endpoint : s->name[row]);
    return r->row_class != 0; /* a script's or worker's root that is itself GenAI */
}

void row_class_decide(const struct genai_options *o, const struct found *f,
                      const struct row_class_scope *scope, const struct tsdb_spans *s, uint32_t row,
                      struct genai_row *out)
{
    static const char *const call_operations[] = {"chat", "generate_content", "text_completion",
                                                  "embeddings", "rerank"};
    struct bytes name = s->name[row];
    bool is_genai = out->dialect != GENAI_DIALECT_NONE || scope->is_model_server;
    out->operation = is_genai ? operation_of(f, scope, name, out) : BYTES_NONE;
    struct bytes op = out->operation;
    out->is_chain = bytes_equal_str(op, "invoke_workflow");
    out->is_agent = bytes_equal_str(op, "invoke_agent") ||
                    (out->dialect == GENAI_DIALECT_GOOGLE_ADK && bytes_equal_str(name, "call_llm"));
    out->is_tool = bytes_equal_str(op, "execute_tool");
    out->is_embedding = bytes_equal_str(op, "embeddings") || bytes_equal_str(op, "rerank");
    out->plane = plane_of(f, op);
    if (!is_genai && !found_has(f, ATTR_SAFETY_BYPASS) && !found_has(f, ATTR_CACHE_RESULT) &&
        !found_has(f, ATTR_FEEDBACK) && !found_has(f, ATTR_ROUTE_RESULT) &&
        !found_has(f, ATTR_SAFETY_CATEGORY)) {
        out->row_class = 0;
    } else {
        bool wrapper = one_of(name, wrapper_names, ARRAY_LEN(wrapper_names)) ||
                       one_of(found_text(f, ATTR_VERCEL_OP), wrapper_names, 7) || out->is_agent ||
                       out->is_chain;
        bool call =
            one_of(op, call_operations, ARRAY_LEN(call_operations)) ||
            (bytes_equal_str(op, "fetch_response") && out->has_usage && out->response_id.size);
        if (o->without_wrappers) {
            call = call || (wrapper && out->has_usage);
            wrapper = false;
        }
        if (wrapper || scope->is_model_server || scope->logs_book ||
            (s->kind[row] == 2 && !scope->is_gateway))
            call = false;
        if (scope->agent_books && out->is_agent && out->has_usage)
            out->flags |= TSDB_ROW_AGENT_REPORTED;
        out->row_class = call ? TSDB_CLASS_CALL : TSDB_CLASS_STEP;
    }
    if (is_request(o, s, row, out))
        out->row_class |= TSDB_CLASS_REQUEST;
}
