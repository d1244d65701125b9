#include "collector/genai/call_log.h"

#include "base/check.h"
#include "collector/genai/tool_call.h"

/* Bare event names are qualified by the emitter; `when` narrows an event that also tells of other things. */
enum when { ALWAYS, COMPLETED_WITH_COUNTS, WITH_ERROR, REFUSED_BY_ID };
static const struct {
    uint8_t dialect;
    const char *event;
    enum call_log_kind kind;
    enum when when;
} events[] = {
    {GENAI_DIALECT_CLAUDE_CODE, "api_request", CALL_LOG_DONE, ALWAYS},
    {GENAI_DIALECT_CLAUDE_CODE, "api_error", CALL_LOG_FAILED, ALWAYS},
    {GENAI_DIALECT_CLAUDE_CODE, "api_refusal", CALL_LOG_BLOCKED, ALWAYS},
    {GENAI_DIALECT_CLAUDE_CODE, "tool_result", CALL_LOG_TOOL, ALWAYS},
    {GENAI_DIALECT_CLAUDE_CODE, "tool_decision", CALL_LOG_TOOL, REFUSED_BY_ID},
    {GENAI_DIALECT_CLAUDE_CODE, "user_prompt", CALL_LOG_PROMPT, ALWAYS},
    {GENAI_DIALECT_CLAUDE_CODE, "compaction", CALL_LOG_COMPACTION, ALWAYS},
    {GENAI_DIALECT_CLAUDE_CODE, "mcp_server_connection", CALL_LOG_CONNECTION, ALWAYS},
    {GENAI_DIALECT_CODEX, "sse_event", CALL_LOG_DONE, COMPLETED_WITH_COUNTS},
    {GENAI_DIALECT_CODEX, "api_request", CALL_LOG_FAILED, WITH_ERROR},
    {GENAI_DIALECT_CODEX, "websocket_request", CALL_LOG_FAILED, WITH_ERROR},
    {GENAI_DIALECT_CODEX, "tool_result", CALL_LOG_TOOL, ALWAYS},
    {GENAI_DIALECT_CODEX, "tool_decision", CALL_LOG_TOOL, REFUSED_BY_ID},
    {GENAI_DIALECT_CODEX, "user_prompt", CALL_LOG_PROMPT, ALWAYS},
    {GENAI_DIALECT_GEMINI_CLI, "api_response", CALL_LOG_DONE, ALWAYS},
    {GENAI_DIALECT_GEMINI_CLI, "api_error", CALL_LOG_FAILED, ALWAYS},
    {GENAI_DIALECT_GEMINI_CLI, "tool_call", CALL_LOG_TOOL, ALWAYS},
    {GENAI_DIALECT_GEMINI_CLI, "user_prompt", CALL_LOG_PROMPT, ALWAYS},
    {GENAI_DIALECT_GEMINI_CLI, "chat_compression", CALL_LOG_COMPACTION, ALWAYS},
    {GENAI_DIALECT_CURSOR, "api_request", CALL_LOG_DONE, ALWAYS},
    {GENAI_DIALECT_CURSOR, "api_error", CALL_LOG_FAILED, ALWAYS},
};

static bool name_is_bare(struct bytes s)
{
    for (size_t i = 0; i < s.size; i++) {
        uint8_t c = s.data[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.'))
            return false;
    }
    return s.size > 0;
}

/* Attribute event.name, else a body that is a bare word, else the record's own event name; without the emitter's prefix. */
static struct bytes event_of(const struct found *f, struct bytes event_name, struct bytes body)
{
    static const char *const prefixes[] = {"claude_code.", "codex.", "gemini_cli.", "cursor."};
    struct bytes name = found_text(f, ATTR_EVENT_NAME);
    if (!name.size)
        name = name_is_bare(body) ? body : event_name;
    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++)
        if (bytes_has_prefix(name, bytes_str(prefixes[i])))
            return bytes_slice(name, strlen(prefixes[i]), name.size);
    return name;
}

struct call_log call_log_of(const struct found *f, uint8_t dialect, struct bytes event_name,
                            struct bytes body)
{
    struct call_log out = {.kind = CALL_LOG_NONE, .dialect = dialect};
    struct bytes event = event_of(f, event_name, body);
    int64_t status = 0;
    for (size_t i = 0; i < ARRAY_LEN(events); i++) {
        if (events[i].dialect != dialect || !bytes_equal_str(event, events[i].event))
            continue;
        if (events[i].when == COMPLETED_WITH_COUNTS &&
            (!bytes_equal_str(found_text(f, ATTR_EVENT_KIND), "response.completed") ||
             !found_has(f, ATTR_INPUT)))
            continue;
        if (events[i].when == WITH_ERROR && !found_has(f, ATTR_ERROR_TEXT) &&
            !(found_i64(f, ATTR_HTTP_STATUS, &status) && status >= 400))
            continue;
        /* Accepted, its result comes too; refused without an id, it could not be told from one that does. */
        if (events[i].when == REFUSED_BY_ID &&
            (!found_has(f, ATTR_TOOL_CALL_ID) || !tool_call_is_refused(f)))
            continue;
        out.kind = events[i].kind;
        out.provider = dialect == GENAI_DIALECT_CLAUDE_CODE ? "anthropic" : NULL;
        break;
    }
    return out;
}
