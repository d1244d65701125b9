#include "collector/genai/attr_names.h"

#include "base/check.h"
#include "base/hash.h"
#include "collector/genai/genai.h"

#define ATTR_NAMES_SLOTS 1024u

/* clang-format off */
#define N(name, field, type, dialect, rank) {name, ATTR_##field, ATTR_##type, GENAI_DIALECT_##dialect, rank}
/* Rank: 1 ours (telltale.*), 2 canonical, 3 older OpenTelemetry, 4 and up vendors. Dialect NONE: anybody's word, says nothing of GenAI. */
static const struct attr_name span_names[] = {
    /* --- OpenTelemetry GenAI, all versions ------------------------------------------------------------------- */
    N("gen_ai.operation.name", OPERATION, TEXT, OTEL_1_36, 2),
    N("gen_ai.provider.name", PROVIDER, TEXT, OTEL_1_37, 2),
    N("gen_ai.system", PROVIDER, TEXT, OTEL_1_36, 3),
    N("gen_ai.request.model", REQUEST_MODEL, TEXT, OTEL_1_36, 2),
    N("gen_ai.response.model", RESPONSE_MODEL, TEXT, OTEL_1_36, 2),
    N("gen_ai.response.id", RESPONSE_ID, TEXT, OTEL_1_36, 2),
    N("gen_ai.response.finish_reasons", FINISH, TEXT, OTEL_1_36, 2),
    N("gen_ai.response.status", RESPONSE_STATUS, TEXT, OTEL_0_1, 2),
    N("gen_ai.usage.input_tokens", INPUT, INT, OTEL_1_36, 2),
    N("gen_ai.usage.output_tokens", OUTPUT, INT, OTEL_1_36, 2),
    N("gen_ai.usage.prompt_tokens", INPUT, INT, OTEL_1_36, 3),
    N("gen_ai.usage.completion_tokens", OUTPUT, INT, OTEL_1_36, 3),
    N("gen_ai.usage.total_tokens", TOTAL, INT, OTEL_1_36, 3),
    N("gen_ai.usage.cache_read.input_tokens", CACHE_READ, INT, OTEL_1_37, 2),
    N("gen_ai.usage.cache_write.input_tokens", CACHE_WRITE, INT, OTEL_0_1, 2),
    N("gen_ai.usage.cache_creation.input_tokens", CACHE_WRITE, INT, OTEL_1_37, 3),
    N("gen_ai.usage.reasoning.output_tokens", REASONING, INT, OTEL_1_37, 2),
    N("gen_ai.usage.text.input_tokens", MARK, INT, OTEL_0_1, 2),
    N("gen_ai.usage.text.output_tokens", MARK, INT, OTEL_0_1, 2),
    N("gen_ai.request.reasoning.level", MARK, TEXT, OTEL_0_1, 2),
    N("gen_ai.request.previous_response.id", MARK, TEXT, OTEL_0_1, 2),
    N("gen_ai.conversation.compacted", MARK, BOOL, OTEL_0_1, 2),
    N("gen_ai.request.max_tokens", MAX_TOKENS, INT, OTEL_1_36, 2),
    N("gen_ai.request.temperature", MARK, INT, OTEL_1_36, 3),
    N("gen_ai.request.stream", STREAM, BOOL, OTEL_1_37, 2),
    N("gen_ai.response.time_to_first_chunk", TTFT_ANY, SECONDS, OTEL_1_37, 2),
    N("gen_ai.client.operation.time_to_first_chunk", TTFT_ANY, SECONDS, VERCEL, 4),
    N("gen_ai.client.operation.duration", MARK, SECONDS, VERCEL, 4),
    N("gen_ai.server.time_to_first_token", TTFT, MILLIS, STRANDS, 4),
    N("gen_ai.server.request.duration", MARK, MILLIS, STRANDS, 4),
    N("gen_ai.latency.time_to_first_token", TTFT, SECONDS, OTEL_1_36, 4),
    N("gen_ai.conversation.id", CONVERSATION, TEXT, OTEL_1_36, 2),
    N("gen_ai.prompt.name", PROMPT_NAME, TEXT, OTEL_1_37, 2),
    N("gen_ai.prompt.version", PROMPT_VERSION, TEXT, OTEL_1_37, 2),
    N("gen_ai.agent.name", AGENT, TEXT, OTEL_1_36, 2),
    N("gen_ai.workflow.name", AGENT, TEXT, OTEL_1_37, 3),
    N("gen_ai.tool.name", TOOL, TEXT, OTEL_1_36, 2),
    N("gen_ai.tool.call.id", MARK, TEXT, OTEL_1_36, 2),
    N("gen_ai.output.type", OUTPUT_TYPE, TEXT, OTEL_1_36, 2),
    N("gen_ai.openai.request.response_format", OUTPUT_TYPE, TEXT, OTEL_1_36, 3),
    N("gen_ai.request.response_format", OUTPUT_TYPE, TEXT, OTEL_1_36, 4),
    N("openai.request.service_tier", SERVICE_TIER, TEXT, OTEL_1_37, 3),
    N("openai.response.service_tier", SERVICE_TIER, TEXT, OTEL_1_37, 2),
    N("gen_ai.openai.request.service_tier", SERVICE_TIER, TEXT, OTEL_1_36, 4),
    N("gen_ai.openai.response.service_tier", SERVICE_TIER, TEXT, OTEL_1_36, 3),
    N("gen_ai.system_instructions", SYSTEM_TEXT, CONTENT, OTEL_1_37, 2),
    N("gen_ai.tool.definitions", TOOL_DEFS, CONTENT, OTEL_1_37, 2),
    N("gen_ai.input.messages", INPUT_TEXT, CONTENT, OTEL_1_37, 2),
    N("gen_ai.output.messages", OUTPUT_TEXT, CONTENT, OTEL_1_37, 2),
    N("gen_ai.prompt", INPUT_TEXT, CONTENT, OTEL_1_36, 3),
    N("gen_ai.completion", OUTPUT_TEXT, CONTENT, OTEL_1_36, 3),
    N("gen_ai.data_source.id", MARK, TEXT, OTEL_1_36, 2),
    N("gen_ai.retrieval.documents", MARK, CONTENT, OTEL_1_37, 2),
    N("gen_ai.evaluation.name", EVALUATION, TEXT, OTEL_1_37, 2),
    N("gen_ai.guardrail.result.type", GUARDRAIL, TEXT, OTEL_0_1, 2),
    N("gen_ai.guardrail.policy.id", SAFETY_CATEGORY, TEXT, OTEL_0_1, 3),
    N("mcp.method.name", MCP_METHOD, TEXT, OTEL_1_37, 2),
    /* --- OpenLLMetry ------------------------------------------------------------------------------------------ */
    N("llm.request.type", REQUEST_TYPE, TEXT, OPENLLMETRY, 4),
    N("traceloop.span.kind", TRACELOOP_KIND, TEXT, OPENLLMETRY, 4),
    N("llm.vendor", PROVIDER, TEXT, OPENLLMETRY, 5),
    N("llm.request.model", REQUEST_MODEL, TEXT, OPENLLMETRY, 5),
    N("llm.response.model", RESPONSE_MODEL, TEXT, OPENLLMETRY, 5),
    N("llm.usage.prompt_tokens", INPUT, INT, OPENLLMETRY, 4),
    N("llm.usage.completion_tokens", OUTPUT, INT, OPENLLMETRY, 4),
    N("llm.usage.total_tokens", TOTAL, INT, OPENLLMETRY, 4),
    N("gen_ai.usage.cache_read_input_tokens", CACHE_READ, INT, OPENLLMETRY, 4),
    N("gen_ai.usage.cache_creation_input_tokens", CACHE_WRITE, INT, OPENLLMETRY, 4),
    N("llm.usage.cache_read_input_tokens", CACHE_READ, INT, OPENLLMETRY, 5),
    N("llm.usage.cache_creation_input_tokens", CACHE_WRITE, INT, OPENLLMETRY, 5),
    N("llm.usage.reasoning_tokens", REASONING, INT, OPENLLMETRY, 5),
    N("llm.is_streaming", STREAM, BOOL, OPENLLMETRY, 4),
    N("llm.response.finish_reason", FINISH, TEXT, OPENLLMETRY, 4),
    N("llm.response.stop_reason", FINISH, TEXT, OPENLLMETRY, 5),
    N("llm.request.functions", TOOL_DEFS, CONTENT, OPENLLMETRY, 4),
    N("llm.user", USER, TEXT, OPENLLMETRY, 4),
    N("traceloop.association.properties.user_id", USER, TEXT, OPENLLMETRY, 5),
    N("traceloop.association.properties.session_id", CONVERSATION, TEXT, OPENLLMETRY, 5),
    N("traceloop.association.properties.thread_id", CONVERSATION, TEXT, OPENLLMETRY, 6),
    N("traceloop.association.properties.tenant_id", TENANT, TEXT, OPENLLMETRY, 5),
    N("traceloop.association.properties.customer_id", TENANT, TEXT, OPENLLMETRY, 6),
    N("traceloop.workflow.name", AGENT, TEXT, OPENLLMETRY, 5),
    N("traceloop.entity.name", TOOL, TEXT, OPENLLMETRY, 6),
    N("traceloop.entity.input", INPUT_TEXT, CONTENT, OPENLLMETRY, 6),
    N("traceloop.entity.output", OUTPUT_TEXT, CONTENT, OPENLLMETRY, 6),
    N("traceloop.prompt.key", PROMPT_NAME, TEXT, OPENLLMETRY, 4),
    N("traceloop.prompt.version", PROMPT_VERSION, TEXT, OPENLLMETRY, 4),
    N("traceloop.prompt.version_name", PROMPT_VERSION, TEXT, OPENLLMETRY, 5),
    N("gen_ai.openai.api_base", SERVER, TEXT, OPENLLMETRY, 4),
    /* --- OpenInference ---------------------------------------------------------------------------------------- */
    N("openinference.span.kind", OI_KIND, TEXT, OPENINFERENCE, 4),
    N("llm.provider", PROVIDER, TEXT, OPENINFERENCE, 4),
    N("llm.system", PROVIDER, TEXT, OPENINFERENCE, 6),
    N("llm.model_name", REQUEST_MODEL, TEXT, OPENINFERENCE, 5),
    N("llm.request.model_name", REQUEST_MODEL, TEXT, OPENINFERENCE, 4),
    N("llm.response.model_name", RESPONSE_MODEL, TEXT, OPENINFERENCE, 4),
    N("embedding.model_name", REQUEST_MODEL, TEXT, OPENINFERENCE, 6),
    N("reranker.model_name", REQUEST_MODEL, TEXT, OPENINFERENCE, 6),
    N("llm.token_count.prompt", INPUT, INT, OPENINFERENCE, 4),
    N("llm.token_count.completion", OUTPUT, INT, OPENINFERENCE, 4),
    N("llm.token_count.total", TOTAL, INT, OPENINFERENCE, 4),
    N("llm.token_count.prompt_details.cache_read", CACHE_READ, INT, OPENINFERENCE, 4),
    N("llm.token_count.prompt_details.cache_input", CACHE_READ, INT, OPENINFERENCE, 5),
    N("llm.token_count.prompt_details.cache_write", CACHE_WRITE, INT, OPENINFERENCE, 4),
    N("llm.token_count.completion_details.reasoning", REASONING, INT, OPENINFERENCE, 4),
    N("llm.finish_reason", FINISH, TEXT, OPENINFERENCE, 4),
    N("llm.invocation_parameters", PARAMETERS, TEXT, OPENINFERENCE, 4),
    N("embedding.invocation_parameters", PARAMETERS, TEXT, OPENINFERENCE, 5),
    N("llm.prompt_template.version", PROMPT_VERSION, TEXT, OPENINFERENCE, 4),
    N("prompt.id", PROMPT_NAME, TEXT, OPENINFERENCE, 4),
    N("agent.name", AGENT, TEXT, OPENINFERENCE, 4),
    N("graph.node.name", AGENT, TEXT, OPENINFERENCE, 6),
    N("tool.name", TOOL, TEXT, OPENINFERENCE, 4),
    N("input.value", INPUT_TEXT, CONTENT, OPENINFERENCE, 6),
    N("output.value", OUTPUT_TEXT, CONTENT, OPENINFERENCE, 6),
    N("llm.cost.total", COST, USD, OPENINFERENCE, 4),
    /* --- OpenLIT ---------------------------------------------------------------------------------------------- */
    N("gen_ai.usage.prompt_tokens_details.cached_tokens", CACHE_READ, INT, OPENLIT, 5),
    N("gen_ai.usage.prompt_tokens_details.cache_creation_tokens", CACHE_WRITE, INT, OPENLIT, 5),
    N("gen_ai.usage.prompt_tokens_details.cache_read", CACHE_READ, INT, OPENLIT, 6),
    N("gen_ai.usage.prompt_tokens_details.cache_write", CACHE_WRITE, INT, OPENLIT, 6),
    N("gen_ai.usage.completion_tokens_details.reasoning_tokens", REASONING, INT, OPENLIT, 5),
    N("gen_ai.usage.completion_tokens_details.reasoning", REASONING, INT, OPENLIT, 6),
    N("gen_ai.usage.reasoning_tokens", REASONING, INT, OPENLIT, 4),
    N("gen_ai.usage.cost", COST, USD, OPENLIT, 4),
    N("gen_ai.request.is_stream", STREAM, BOOL, OPENLIT, 4),
    N("gen_ai.server.ttft", TTFT, SECONDS, OPENLIT, 4),
    N("gen_ai.request.user", USER, TEXT, OPENLIT, 4),
    N("gen_ai.agent.session_id", CONVERSATION, TEXT, OPENLIT, 5),
    N("gen_ai.content.reasoning", MARK, CONTENT, OPENLIT, 5),
    N("gen_ai.sdk.version", MARK, TEXT, OPENLIT, 5),
    /* --- Vercel AI SDK (legacy class; 7 speaks gen_ai) ---------------------------------------------------------- */
    N("ai.operationId", VERCEL_OP, TEXT, VERCEL, 4),
    N("ai.model.id", REQUEST_MODEL, TEXT, VERCEL, 4),
    N("ai.model.provider", PROVIDER, TEXT, VERCEL, 5),
    N("ai.response.model", RESPONSE_MODEL, TEXT, VERCEL, 4),
    N("ai.response.id", RESPONSE_ID, TEXT, VERCEL, 4),
    N("ai.response.finishReason", FINISH, TEXT, VERCEL, 4),
    N("ai.usage.promptTokens", INPUT, INT, VERCEL, 5),
    N("ai.usage.inputTokens", INPUT, INT, VERCEL, 4),
    N("ai.usage.completionTokens", OUTPUT, INT, VERCEL, 5),
    N("ai.usage.outputTokens", OUTPUT, INT, VERCEL, 4),
    N("ai.usage.tokens", TOTAL, INT, VERCEL, 5),
    N("ai.usage.totalTokens", TOTAL, INT, VERCEL, 4),
    N("ai.usage.cachedInputTokens", CACHE_READ, INT, VERCEL, 4),
    N("ai.usage.reasoningTokens", REASONING, INT, VERCEL, 4),
    N("ai.response.msToFirstChunk", TTFT_ANY, MILLIS, VERCEL, 4),
    N("ai.stream.msToFirstChunk", TTFT_ANY, MILLIS, VERCEL, 5),
    N("ai.settings.maxOutputTokens", MAX_TOKENS, INT, VERCEL, 4),
    N("ai.settings.maxTokens", MAX_TOKENS, INT, VERCEL, 5),
    N("ai.toolCall.name", TOOL, TEXT, VERCEL, 4),
    N("ai.prompt.messages", INPUT_TEXT, CONTENT, VERCEL, 4),
    N("ai.prompt", INPUT_TEXT, CONTENT, VERCEL, 5),
    N("ai.response.text", OUTPUT_TEXT, CONTENT, VERCEL, 4),
    N("ai.response.object", OUTPUT_TEXT, CONTENT, VERCEL, 5),
    N("ai.telemetry.functionId", ENDPOINT, TEXT, VERCEL, 5),
    N("ai.telemetry.metadata.userId", USER, TEXT, VERCEL, 5),
    N("ai.telemetry.metadata.sessionId", CONVERSATION, TEXT, VERCEL, 5),
    N("ai.telemetry.metadata.tenantId", TENANT, TEXT, VERCEL, 5),
    N("ai.telemetry.metadata.tenant", TENANT, TEXT, VERCEL, 6),
    N("ai.telemetry.metadata.promptName", PROMPT_NAME, TEXT, VERCEL, 5),
    /* --- Langfuse --------------------------------------------------------------------------------------------- */
    N("langfuse.observation.type", LANGFUSE_TYPE, TEXT, LANGFUSE, 4),
    N("langfuse.observation.model.name", REQUEST_MODEL, TEXT, LANGFUSE, 4),
    N("langfuse.observation.completion_start_time", COMPLETION_START, TIMESTAMP, LANGFUSE, 4),
    N("langfuse.observation.usage_details", USAGE_JSON, TEXT, LANGFUSE, 4),
    N("langfuse.observation.cost_details", COST_JSON, TEXT, LANGFUSE, 4),
    N("langfuse.observation.model.parameters", PARAMETERS, TEXT, LANGFUSE, 4),
    N("langfuse.observation.input", INPUT_TEXT, CONTENT, LANGFUSE, 5),
    N("langfuse.observation.output", OUTPUT_TEXT, CONTENT, LANGFUSE, 5),
    N("langfuse.observation.prompt.name", PROMPT_NAME, TEXT, LANGFUSE, 4),
    N("langfuse.observation.prompt.version", PROMPT_VERSION, TEXT, LANGFUSE, 4),
    N("langfuse.prompt.name", PROMPT_NAME, TEXT, LANGFUSE, 5),
    N("langfuse.prompt.version", PROMPT_VERSION, TEXT, LANGFUSE, 5),
    N("langfuse.session.id", CONVERSATION, TEXT, LANGFUSE, 4),
    N("langfuse.user.id", USER, TEXT, LANGFUSE, 4),
    N("langfuse.environment", ENV, TEXT, LANGFUSE, 4),
    N("langfuse.release", VARIANT, TEXT, LANGFUSE, 4),
    N("gen_ai.usage.input_cached_tokens", CACHE_READ, INT, LANGFUSE, 6),
    /* --- pydantic-ai, Sentry, Copilot, Anthropic's platform, ADK, Strands, LiteLLM --------------------------------- */
    N("gen_ai.usage.details.cache_read_tokens", CACHE_READ, INT, PYDANTIC, 6),
    N("gen_ai.usage.details.cache_read_input_tokens", CACHE_READ, INT, PYDANTIC, 7),
    N("gen_ai.usage.details.cache_write_tokens", CACHE_WRITE, INT, PYDANTIC, 6),
    N("gen_ai.usage.details.cache_creation_input_tokens", CACHE_WRITE, INT, PYDANTIC, 7),
    N("gen_ai.usage.details.reasoning_tokens", REASONING, INT, PYDANTIC, 6),
    N("gen_ai.usage.cache_write_tokens", CACHE_WRITE, INT, PYDANTIC, 5),
    N("gen_ai.usage.cache_read_tokens", CACHE_READ, INT, PYDANTIC, 5),
    N("operation.cost", COST, USD, PYDANTIC, 5),
    N("gen_ai.usage.input_tokens.cached", CACHE_READ, INT, OTEL_1_36, 5),
    N("gen_ai.usage.output_tokens.reasoning", REASONING, INT, OTEL_1_36, 5),
    N("gen_ai.usage.cache_write_input_tokens", CACHE_WRITE, INT, STRANDS, 5),
    N("copilot_chat.time_to_first_token", TTFT, MILLIS, COPILOT, 4),
    N("anthropic.request.id", RESPONSE_ID, TEXT, ANTHROPIC_PLATFORM, 4),
    N("anthropic.usage.compaction.input_tokens", COMPACT_INPUT, INT, ANTHROPIC_PLATFORM, 4),
    N("anthropic.usage.compaction.output_tokens", COMPACT_OUTPUT, INT, ANTHROPIC_PLATFORM, 4),
    N("anthropic.usage.cache_creation.ephemeral_5m_input_tokens", CACHE_WRITE_5M, INT, ANTHROPIC_PLATFORM, 4),
    N("anthropic.usage.cache_creation.ephemeral_1h_input_tokens", CACHE_WRITE_1H, INT, ANTHROPIC_PLATFORM, 4),
    N("gcp.vertex.agent.session_id", CONVERSATION, TEXT, GOOGLE_ADK, 5),
    N("lmnr.association.properties.session_id", CONVERSATION, TEXT, NONE, 6),
    N("metadata.user_api_key_alias", API_KEY, TEXT, NONE, 4),
    N("metadata.user_api_key_team_alias", TEAM, TEXT, NONE, 4),
    /* --- our extensions: what the conventions leave out ------------------------------------------------------------ */
    N("telltale.plane", PLANE, TEXT, NONE, 1),
    N("telltale.endpoint", ENDPOINT, TEXT, NONE, 1),
    N("telltale.variant", VARIANT, TEXT, NONE, 1),
    N("telltale.tenant", TENANT, TEXT, NONE, 1),
    N("telltale.team", TEAM, TEXT, NONE, 1),
    N("telltale.api_key", API_KEY, TEXT, NONE, 1),
    N("telltale.safety.category", SAFETY_CATEGORY, TEXT, NONE, 1),
    N("telltale.safety.bypass", SAFETY_BYPASS, TEXT, NONE, 1),
    N("telltale.cache.kind", CACHE_KIND, TEXT, NONE, 1),
    N("telltale.cache.result", CACHE_RESULT, TEXT, NONE, 1),
    N("telltale.route.result", ROUTE_RESULT, TEXT, NONE, 1),
    N("telltale.route.intended_model", ROUTE_INTENDED, TEXT, NONE, 1),
    N("telltale.route.fallback_from", FALLBACK_FROM, TEXT, NONE, 1),
    N("telltale.route.fallback_to", FALLBACK_TO, TEXT, NONE, 1),
    N("telltale.hedge", HEDGE, TEXT, NONE, 1),
    N("telltale.degraded", DEGRADED, BOOL, NONE, 1),
    N("telltale.tokens_lost", TOKENS_LOST, INT, NONE, 1),
    N("telltale.truncation.reason", TRUNCATION, TEXT, NONE, 1),
    N("telltale.output.valid", JSON_VALID, BOOL, NONE, 1),
    N("telltale.feedback.label", FEEDBACK, TEXT, NONE, 1),
    N("telltale.warmup", WARMUP, BOOL, NONE, 1),
    N("telltale.time_to_first_token", TTFT, SECONDS, NONE, 1),
    /* --- everybody's words ------------------------------------------------------------------------------------- */
    N("user.id", USER, TEXT, NONE, 2),
    N("enduser.id", USER, TEXT, NONE, 3),
    N("session.id", CONVERSATION, TEXT, NONE, 3),
    N("tenant.id", TENANT, TEXT, NONE, 2),
    N("tenant", TENANT, TEXT, NONE, 3),
    N("customer.id", TENANT, TEXT, NONE, 4),
    N("team", TEAM, TEXT, NONE, 3),
    N("error.type", ERROR_TYPE, TEXT, NONE, 2),
    N("exception.type", ERROR_TYPE, TEXT, NONE, 5),
    N("error.message", ERROR_TEXT, TEXT, NONE, 3),
    N("http.response.status_code", HTTP_STATUS, INT, NONE, 2),
    N("http.status_code", HTTP_STATUS, INT, NONE, 3),
    N("http.route", ENDPOINT, TEXT, NONE, 2),
    N("rpc.method", ENDPOINT, TEXT, NONE, 3),
    N("messaging.destination.name", ENDPOINT, TEXT, NONE, 6),
    N("url.template", ENDPOINT, TEXT, NONE, 5),
    N("server.address", SERVER, TEXT, NONE, 2),
    N("user_agent.synthetic.type", SYNTHETIC, TEXT, NONE, 2),
    /* resource */
    N("deployment.environment.name", ENV, TEXT, NONE, 2),
    N("deployment.environment", ENV, TEXT, NONE, 3),
    N("cloud.region", REGION, TEXT, NONE, 2),
    N("aws.region", REGION, TEXT, NONE, 4),
    N("service.version", VARIANT, TEXT, NONE, 2),
};

/* Bare names of coding CLIs, logs and spans alike. */
static const struct attr_name cli_names[] = {
    N("event.name", EVENT_NAME, TEXT, NONE, 2),
    N("event.kind", EVENT_KIND, TEXT, NONE, 2),
    N("event.timestamp", EVENT_TIME, TIMESTAMP, NONE, 2),
    N("model", REQUEST_MODEL, TEXT, NONE, 4),
    N("input_tokens", INPUT, INT, NONE, 4),
    N("output_tokens", OUTPUT, INT, NONE, 4),
    N("cache_read_tokens", CACHE_READ, INT, NONE, 4),
    N("cache_creation_tokens", CACHE_WRITE, INT, NONE, 4),
    N("cost_usd_micros", COST, USD_MICROS, NONE, 3),
    N("cost_usd", COST, USD, NONE, 4),
    N("duration_ms", DURATION, MILLIS, NONE, 4),
    N("ttft_ms", TTFT, MILLIS, NONE, 4),
    N("request_id", RESPONSE_ID, TEXT, NONE, 4),
    N("client_request_id", RESPONSE_ID, TEXT, NONE, 5),
    N("status_code", HTTP_STATUS, INT, NONE, 4),
    N("http.response.status_code", HTTP_STATUS, INT, NONE, 3),
    N("error", ERROR_TEXT, TEXT, NONE, 4),
    N("error.message", ERROR_TEXT, TEXT, NONE, 3),
    N("error_type", ERROR_TYPE, TEXT, NONE, 4),
    N("error.type", ERROR_TYPE, TEXT, NONE, 3),
    N("session.id", CONVERSATION, TEXT, NONE, 3),
    N("conversation.id", CONVERSATION, TEXT, NONE, 3),
    N("user.id", USER, TEXT, NONE, 3),
    N("input_token_count", INPUT, INT, NONE, 5),
    N("output_token_count", OUTPUT, INT, NONE, 5),
    N("cached_token_count", CACHE_READ, INT, NONE, 5),
    N("cached_content_token_count", CACHE_READ, INT, NONE, 5),
    N("reasoning_token_count", REASONING, INT, NONE, 5),
    N("thoughts_token_count", REASONING, INT, NONE, 5),
    N("tool_token_count", TOOL_TOKENS, INT, NONE, 5),
    N("finish_reasons", FINISH, TEXT, NONE, 5),
    N("cursor.event.id", REQUEST_ID, TEXT, NONE, 3),
    N("cursor.api.request.model", REQUEST_MODEL, TEXT, NONE, 4),
    N("cursor.api.request.input_tokens", INPUT, INT, NONE, 4),
    N("cursor.api.request.output_tokens", OUTPUT, INT, NONE, 4),
    N("cursor.api.request.cache_read_tokens", CACHE_READ, INT, NONE, 4),
    N("cursor.api.request.cache_creation_tokens", CACHE_WRITE, INT, NONE, 4),
};
/* clang-format on */

static const struct {
    const struct attr_name *rows;
    size_t count;
} tables[ATTR_VOCABULARY_COUNT] = {
    {span_names, ARRAY_LEN(span_names)},
    {cli_names, ARRAY_LEN(cli_names)},
};

/* Open addressing over indexes; the stored hash makes a miss one compare. Filled before main, read only afterwards. */
struct slot {
    uint32_t hash;
    uint16_t size, index; /* index + 1; 0 = free */
};
static struct slot slots[ATTR_VOCABULARY_COUNT][ATTR_NAMES_SLOTS];

__attribute__((constructor)) static void attr_names_build(void)
{
    for (int v = 0; v < ATTR_VOCABULARY_COUNT; v++) {
        CHECK(tables[v].count * 2 <= ATTR_NAMES_SLOTS);
        for (size_t i = 0; i < tables[v].count; i++) {
            struct bytes name = bytes_str(tables[v].rows[i].name);
            uint32_t h = (uint32_t)hash64(name, 0);
            uint32_t at = h % ATTR_NAMES_SLOTS;
            while (slots[v][at].index) {
                CHECK(!bytes_equal(name, bytes_str(tables[v].rows[slots[v][at].index - 1].name)));
                at = (at + 1) % ATTR_NAMES_SLOTS;
            }
            slots[v][at] = (struct slot){h, (uint16_t)name.size, (uint16_t)(i + 1)};
        }
    }
}

const struct attr_name *attr_names_find(enum attr_vocabulary v, struct bytes key)
{
    uint32_t h = (uint32_t)hash64(key, 0);
    for (uint32_t at = h % ATTR_NAMES_SLOTS; slots[v][at].index; at = (at + 1) % ATTR_NAMES_SLOTS) {
        const struct slot *s = &slots[v][at];
        const struct attr_name *n = &tables[v].rows[s->index - 1];
        if (s->hash == h && s->size == key.size && memcmp(n->name, key.data, key.size) == 0)
            return n;
    }
    return NULL;
}
