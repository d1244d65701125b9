#include "cli/demo_call.h"

#include "base/json_out.h"

#include <stdio.h>

#define A DEMO_WIRE_SPAN_ATTRS

static void put_event(struct buf *span, const char *name, int64_t t_ns, const char *key,
                      struct bytes value, const char *key2, const char *value2)
{
    struct buf e;
    buf_init(&e, 0);
    demo_wire_fixed64(&e, 1, (uint64_t)t_ns);
    demo_wire_str(&e, 2, name);
    if (key)
        demo_wire_attr_bytes(&e, DEMO_WIRE_EVENT_ATTRS, key, value);
    if (key2)
        demo_wire_attr(&e, DEMO_WIRE_EVENT_ATTRS, key2, value2);
    demo_wire_bytes(span, 11, buf_bytes(&e));
    buf_done(&e);
}

static void put_message(struct json_out *j, const char *role, struct bytes text, const char *finish)
{
    json_out_object(j);
    json_out_key(j, "role");
    json_out_str(j, role);
    json_out_key(j, "parts");
    json_out_array(j);
    json_out_object(j);
    json_out_key(j, "type");
    json_out_str(j, "text");
    json_out_key(j, "content");
    json_out_bytes(j, text);
    json_out_object_end(j);
    json_out_array_end(j);
    if (finish) {
        json_out_key(j, "finish_reason");
        json_out_str(j, finish);
    }
    json_out_object_end(j);
}

static void put_messages(struct buf *span, const char *key, const char *role, struct bytes text,
                         const char *finish)
{
    struct buf json;
    if (!text.size)
        return;
    buf_init(&json, 0);
    struct json_out j = json_out_to(&json);
    json_out_array(&j);
    put_message(&j, role, text, finish);
    json_out_array_end(&j);
    demo_wire_attr_bytes(span, A, key, buf_bytes(&json));
    buf_done(&json);
}

/* What every dialect of today sends alike. */
static void put_common(const struct demo_call *c, struct buf *s)
{
    if (c->error_type)
        demo_wire_attr(s, A, "error.type", c->error_type);
    if (c->http_status >= 400)
        demo_wire_attr_int(s, A, "http.response.status_code", c->http_status);
    demo_wire_attr(s, A, "tenant.id", c->tenant);
    demo_wire_attr(s, A, "telltale.endpoint", c->endpoint);
    if (c->fallback_from)
        demo_wire_attr(s, A, "telltale.route.fallback_from", c->fallback_from);
    if (c->is_batch)
        demo_wire_attr(s, A, "telltale.plane", "batch");
}

static void put_otel_1_37(const struct demo_call *c, struct buf *s)
{
    demo_wire_attr(s, A, "gen_ai.operation.name", "chat");
    demo_wire_attr(s, A, "gen_ai.provider.name", c->asked->provider);
    demo_wire_attr(s, A, "gen_ai.request.model", c->asked->name);
    demo_wire_attr_int(s, A, "gen_ai.request.max_tokens", c->max_tokens);
    if (c->streams)
        demo_wire_attr_bool(s, A, "gen_ai.request.stream", true);
    demo_wire_attr(s, A, "gen_ai.conversation.id", c->session);
    demo_wire_attr(s, A, "user.id", c->user);
    demo_wire_attr(s, A, "gen_ai.prompt.name", c->prompt_name);
    demo_wire_attr(s, A, "gen_ai.prompt.version", c->prompt_version);
    put_messages(s, "gen_ai.system_instructions", "system", c->system, NULL);
    put_messages(s, "gen_ai.input.messages", "user", c->prompt, NULL);
    if (c->finish) {
        demo_wire_attr(s, A, "gen_ai.response.model", c->answered->wire);
        demo_wire_attr(s, A, "gen_ai.response.id", c->response_id);
        demo_wire_attr_list(s, A, "gen_ai.response.finish_reasons", c->finish);
        put_messages(s, "gen_ai.output.messages", "assistant", c->answer, c->finish);
    }
    if (c->output_tokens >= 0) {
        demo_wire_attr_int(s, A, "gen_ai.usage.input_tokens", c->input_tokens);
        demo_wire_attr_int(s, A, "gen_ai.usage.output_tokens", c->output_tokens);
        if (c->cached_tokens >= 0)
            demo_wire_attr_int(s, A, "gen_ai.usage.cache_read.input_tokens", c->cached_tokens);
    }
    if (c->first_token_ns)
        demo_wire_attr_double(s, A, "gen_ai.response.time_to_first_chunk",
                              (double)(c->first_token_ns - c->start_ns) / 1e9);
}

static void put_otel_1_36(const struct demo_call *c, struct buf *s)
{
    demo_wire_attr(s, A, "gen_ai.operation.name", "chat");
    demo_wire_attr(s, A, "gen_ai.system", "gemini");
    demo_wire_attr(s, A, "gen_ai.request.model", c->asked->wire);
    demo_wire_attr_int(s, A, "gen_ai.request.max_tokens", c->max_tokens);
    put_event(s, "gen_ai.system.message", c->start_ns, "content", c->system, NULL, NULL);
    put_event(s, "gen_ai.user.message", c->start_ns, "content", c->prompt, NULL, NULL);
    if (c->finish) {
        demo_wire_attr(s, A, "gen_ai.response.model", c->answered->wire);
        demo_wire_attr(s, A, "gen_ai.response.id", c->response_id);
        demo_wire_attr_list(s, A, "gen_ai.response.finish_reasons", c->finish);
        put_event(s, "gen_ai.choice", c->end_ns, "message", c->answer, "finish_reason", c->finish);
    }
    if (c->output_tokens >= 0) {
        demo_wire_attr_int(s, A, "gen_ai.usage.input_tokens", c->input_tokens);
        demo_wire_attr_int(s, A, "gen_ai.usage.output_tokens", c->output_tokens);
    }
}

static void put_openllmetry(const struct demo_call *c, struct buf *s)
{
    demo_wire_attr(s, A, "gen_ai.system", "OpenAI");
    demo_wire_attr(s, A, "llm.request.type", "chat");
    demo_wire_attr(s, A, "gen_ai.request.model", c->asked->name);
    demo_wire_attr_int(s, A, "gen_ai.request.max_tokens", c->max_tokens);
    demo_wire_attr_bool(s, A, "llm.is_streaming", c->streams);
    demo_wire_attr(s, A, "traceloop.association.properties.user_id", c->user);
    demo_wire_attr(s, A, "traceloop.association.properties.session_id", c->session);
    demo_wire_attr(s, A, "traceloop.prompt.key", c->prompt_name);
    demo_wire_attr(s, A, "traceloop.prompt.version", c->prompt_version);
    demo_wire_attr(s, A, "gen_ai.prompt.0.role", "system");
    demo_wire_attr_bytes(s, A, "gen_ai.prompt.0.content", c->system);
    demo_wire_attr(s, A, "gen_ai.prompt.1.role", "user");
    demo_wire_attr_bytes(s, A, "gen_ai.prompt.1.content", c->prompt);
    if (c->finish) {
        demo_wire_attr(s, A, "gen_ai.response.model", c->answered->wire);
        demo_wire_attr(s, A, "gen_ai.response.id", c->response_id);
        demo_wire_attr(s, A, "gen_ai.completion.0.role", "assistant");
        demo_wire_attr_bytes(s, A, "gen_ai.completion.0.content", c->answer);
        demo_wire_attr(s, A, "gen_ai.completion.0.finish_reason", c->finish);
    }
    if (c->output_tokens >= 0) {
        demo_wire_attr_int(s, A, "gen_ai.usage.prompt_tokens", c->input_tokens);
        demo_wire_attr_int(s, A, "gen_ai.usage.completion_tokens", c->output_tokens);
        demo_wire_attr_int(s, A, "llm.usage.total_tokens", c->input_tokens + c->output_tokens);
    }
    if (c->first_token_ns) /* role first, then the first word, then the last */
        put_event(s, "llm.content.completion.chunk", c->first_token_ns - 4000000, "role",
                  BYTES_LIT("assistant"), "content", " ");
    if (c->first_token_ns)
        put_event(s, "llm.content.completion.chunk", c->first_token_ns, "content", BYTES_LIT("The"),
                  NULL, NULL);
}

static void put_openinference(const struct demo_call *c, struct buf *s)
{
    struct buf json;
    demo_wire_attr(s, A, "openinference.span.kind", "LLM");
    demo_wire_attr(s, A, "llm.provider", c->asked->provider);
    demo_wire_attr(s, A, "llm.model_name", c->finish ? c->answered->wire : c->asked->wire);
    demo_wire_attr(s, A, "llm.request.model_name", c->asked->name);
    if (c->finish)
        demo_wire_attr(s, A, "llm.response.model_name", c->answered->wire);
    buf_init(&json, 0);
    struct json_out j = json_out_to(&json);
    json_out_object(&j);
    json_out_key(&j, "model");
    json_out_str(&j, c->asked->name);
    json_out_key(&j, "max_tokens");
    json_out_i64(&j, c->max_tokens);
    json_out_key(&j, "stream");
    json_out_bool(&j, c->streams);
    json_out_object_end(&j);
    demo_wire_attr_bytes(s, A, "llm.invocation_parameters", buf_bytes(&json));
    buf_done(&json);
    demo_wire_attr(s, A, "session.id", c->session);
    demo_wire_attr(s, A, "user.id", c->user);
    demo_wire_attr(s, A, "prompt.id", c->prompt_name);
    demo_wire_attr(s, A, "llm.prompt_template.version", c->prompt_version);
    demo_wire_attr(s, A, "llm.input_messages.0.message.role", "system");
    demo_wire_attr_bytes(s, A, "llm.input_messages.0.message.content", c->system);
    demo_wire_attr(s, A, "llm.input_messages.1.message.role", "user");
    demo_wire_attr_bytes(s, A, "llm.input_messages.1.message.content", c->prompt);
    if (c->finish) {
        demo_wire_attr(s, A, "llm.output_messages.0.message.role", "assistant");
        demo_wire_attr_bytes(s, A, "llm.output_messages.0.message.content", c->answer);
        demo_wire_attr(s, A, "llm.finish_reason", c->finish);
    }
    if (c->output_tokens >= 0) {
        demo_wire_attr_int(s, A, "llm.token_count.prompt", c->input_tokens);
        demo_wire_attr_int(s, A, "llm.token_count.completion", c->output_tokens);
        if (c->cached_tokens >= 0)
            demo_wire_attr_int(s, A, "llm.token_count.prompt_details.cache_read", c->cached_tokens);
    }
    if (c->first_token_ns)
        put_event(s, "First Token Stream Event", c->first_token_ns, NULL, BYTES_NONE, NULL, NULL);
}

static void put_vercel(const struct demo_call *c, struct buf *s, const char *operation)
{
    demo_wire_attr(s, A, "ai.operationId", operation);
    demo_wire_attr(s, A, "ai.model.id", c->asked->name);
    demo_wire_attr(s, A, "ai.model.provider", "anthropic.messages");
    demo_wire_attr(s, A, "ai.telemetry.metadata.userId", c->user);
    demo_wire_attr(s, A, "ai.telemetry.metadata.sessionId", c->session);
    demo_wire_attr(s, A, "ai.telemetry.metadata.promptName", c->prompt_name);
    demo_wire_attr_int(s, A, "ai.settings.maxOutputTokens", c->max_tokens);
    demo_wire_attr_bytes(s, A, "ai.prompt", c->prompt);
    if (c->finish) {
        demo_wire_attr(s, A, "ai.response.model", c->answered->wire);
        demo_wire_attr(s, A, "ai.response.id", c->response_id);
        demo_wire_attr(s, A, "ai.response.finishReason", c->finish);
        demo_wire_attr_bytes(s, A, "ai.response.text", c->answer);
    }
    if (c->output_tokens >= 0) {
        demo_wire_attr_int(s, A, "ai.usage.promptTokens", c->input_tokens);
        demo_wire_attr_int(s, A, "ai.usage.completionTokens", c->output_tokens);
        if (c->cached_tokens >= 0)
            demo_wire_attr_int(s, A, "ai.usage.cachedInputTokens", c->cached_tokens);
    }
    if (c->first_token_ns)
        demo_wire_attr_double(s, A, "ai.response.msToFirstChunk",
                              (double)(c->first_token_ns - c->start_ns) / 1e6);
}

static void put_langfuse(const struct demo_call *c, struct buf *s)
{
    char usage[128];
    struct buf json;
    demo_wire_attr(s, A, "langfuse.observation.type", "generation");
    demo_wire_attr(s, A, "langfuse.observation.model.name",
                   c->finish ? c->answered->wire : c->asked->wire);
    demo_wire_attr(s, A, "langfuse.session.id", c->session);
    demo_wire_attr(s, A, "langfuse.user.id", c->user);
    demo_wire_attr(s, A, "langfuse.observation.prompt.name", c->prompt_name);
    demo_wire_attr(s, A, "langfuse.observation.prompt.version", c->prompt_version);
    demo_wire_attr_bytes(s, A, "langfuse.observation.input", c->prompt);
    demo_wire_attr_bytes(s, A, "langfuse.observation.output", c->finish ? c->answer : BYTES_NONE);
    if (c->output_tokens < 0)
        return;
    buf_init(&json, sizeof usage);
    struct json_out j = json_out_to(&json);
    json_out_object(&j);
    json_out_key(&j, "input");
    json_out_i64(&j, c->input_tokens);
    json_out_key(&j, "output");
    json_out_i64(&j, c->output_tokens);
    json_out_object_end(&j);
    demo_wire_attr_bytes(s, A, "langfuse.observation.usage_details", buf_bytes(&json));
    buf_done(&json);
}

static void put_openlit(const struct demo_call *c, struct buf *s)
{
    demo_wire_attr(s, A, "gen_ai.operation.name", "chat");
    demo_wire_attr(s, A, "gen_ai.system", c->asked->provider);
    demo_wire_attr(s, A, "gen_ai.sdk.version", "1.35.0");
    demo_wire_attr(s, A, "gen_ai.request.model", c->asked->name);
    demo_wire_attr_bool(s, A, "gen_ai.request.is_stream", c->streams);
    demo_wire_attr_int(s, A, "gen_ai.request.max_tokens", c->max_tokens);
    demo_wire_attr(s, A, "gen_ai.request.user", c->user);
    demo_wire_attr(s, A, "gen_ai.agent.session_id", c->session);
    demo_wire_attr(s, A, "gen_ai.prompt.name", c->prompt_name);
    demo_wire_attr(s, A, "gen_ai.prompt.version", c->prompt_version);
    demo_wire_attr_bytes(s, A, "gen_ai.prompt", c->prompt);
    if (c->finish) {
        demo_wire_attr(s, A, "gen_ai.response.model", c->answered->wire);
        demo_wire_attr(s, A, "gen_ai.response.id", c->response_id);
        demo_wire_attr_list(s, A, "gen_ai.response.finish_reasons", c->finish);
        demo_wire_attr_bytes(s, A, "gen_ai.completion", c->answer);
    }
    if (c->output_tokens >= 0) {
        demo_wire_attr_int(s, A, "gen_ai.usage.input_tokens", c->input_tokens);
        demo_wire_attr_int(s, A, "gen_ai.usage.output_tokens", c->output_tokens);
    }
    if (c->first_token_ns)
        demo_wire_attr_double(s, A, "gen_ai.server.ttft",
                              (double)(c->first_token_ns - c->start_ns) / 1e9);
}

void demo_call_write(const struct demo_call *c, struct buf *s, struct buf *out)
{
    struct demo_wire_ids ids = c->ids;
    char name[96] = "chat ";
    enum demo_wire_kind kind = DEMO_WIRE_CLIENT;
    if (c->dialect == DEMO_FLEET_VERCEL) { /* the wrapper repeats the usage of the call inside */
        const char *outer = c->streams ? "ai.streamText" : "ai.generateText";
        demo_wire_span_begin(s, &ids, outer, DEMO_WIRE_INTERNAL, c->start_ns, c->end_ns);
        put_vercel(c, s, outer);
        put_common(c, s);
        demo_wire_span_end(s, c->error_type != NULL, c->error_type, out);
        memcpy(ids.parent, ids.span, 8);
        memcpy(ids.span, c->inner_id, 8);
    }
    size_t n = strlen(c->asked->name);
    memcpy(name + 5, c->asked->name, n < 80 ? n + 1 : 80);
    if (c->dialect == DEMO_FLEET_OPENLLMETRY)
        memcpy(name, "openai.chat", 12);
    else if (c->dialect == DEMO_FLEET_OPENINFERENCE)
        memcpy(name, "ChatAnthropic", 14);
    else if (c->dialect == DEMO_FLEET_VERCEL)
        snprintf(name, sizeof name, "%s",
                 c->streams ? "ai.streamText.doStream" : "ai.generateText.doGenerate");
    if (c->dialect != DEMO_FLEET_OTEL_1_37 && c->dialect != DEMO_FLEET_OTEL_1_36)
        kind = DEMO_WIRE_INTERNAL;
    demo_wire_span_begin(s, &ids, name, kind, c->start_ns, c->end_ns);
    switch (c->dialect) {
    case DEMO_FLEET_OTEL_1_37: put_otel_1_37(c, s); break;
    case DEMO_FLEET_OTEL_1_36: put_otel_1_36(c, s); break;
    case DEMO_FLEET_OPENLLMETRY: put_openllmetry(c, s); break;
    case DEMO_FLEET_OPENINFERENCE: put_openinference(c, s); break;
    case DEMO_FLEET_VERCEL: put_vercel(c, s, name); break;
    case DEMO_FLEET_LANGFUSE: put_langfuse(c, s); break;
    case DEMO_FLEET_OPENLIT: put_openlit(c, s); break;
    }
    put_common(c, s);
    demo_wire_span_end(s, c->error_type != NULL, c->error_type, out);
}
