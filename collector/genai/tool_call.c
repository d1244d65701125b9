#include "collector/genai/tool_call.h"

#include "base/check.h"

static bool text_has(struct bytes text, const char *const *fragments, size_t n)
{
    char low[256];
    size_t size = text.size < sizeof low ? text.size : sizeof low;
    for (size_t i = 0; i < size; i++) {
        uint8_t c = text.data[i];
        low[i] = (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
    }
    for (size_t i = 0; size && i < n; i++)
        if (bytes_find(bytes_of(low, size), bytes_str(fragments[i])) < size)
            return true;
    return false;
}

/* A person, a hook or a policy decided against it. */
bool tool_call_is_refused(const struct found *f)
{
    static const char *const no[] = {"reject", "deny", "denied", "decline", "abort"};
    return text_has(found_text(f, ATTR_DECISION), no, ARRAY_LEN(no));
}

static uint8_t outcome_of(const struct found *f, bool failed, struct bytes error_type)
{
    static const char *const refused[] = {"reject", "declined", "denied"};
    static const char *const late[] = {"timeout", "timed out", "timed_out", "deadline"};
    static const char *const aborted[] = {"abort", "cancel", "interrupt"};
    struct bytes text = found_text(f, ATTR_ERROR_TEXT);
    if (tool_call_is_refused(f))
        return TSDB_TOOL_REJECTED;
    if (!failed)
        return TSDB_TOOL_OK;
    if (text_has(error_type, refused, ARRAY_LEN(refused)))
        return TSDB_TOOL_REJECTED;
    if (text_has(error_type, late, ARRAY_LEN(late)) || text_has(text, late, ARRAY_LEN(late)))
        return TSDB_TOOL_TIMEOUT;
    if (text_has(error_type, aborted, ARRAY_LEN(aborted)))
        return TSDB_TOOL_ABORTED;
    return TSDB_TOOL_ERROR;
}

static struct bytes without_prefix(struct bytes s, const char *prefix)
{
    return bytes_has_prefix(s, bytes_str(prefix)) ? bytes_slice(s, strlen(prefix), s.size)
                                                  : BYTES_NONE;
}

/* Control goes on to another agent: frameworks write that as a tool, an operation, or a transfer. */
static bool is_handoff(const struct found *f, struct bytes name, const struct genai_row *r)
{
    static const char *const tools[] = {"transfer_to_agent", "transfer_to_"};
    if (bytes_equal_str(r->operation, "handoff") ||
        bytes_equal_str(found_text(f, ATTR_TRANSFER_MODE), "pass_control"))
        return true;
    if (!r->is_tool)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(tools); i++)
        if (bytes_has_prefix(r->tool_name, bytes_str(tools[i])))
            return true;
    return bytes_has_prefix(name, BYTES_LIT("handoff to ")) ||
           bytes_has_prefix(r->tool_name, BYTES_LIT("handoff to ")) ||
           found_has(f, ATTR_HANDOFF_TO);
}

uint8_t tool_call_lane(const struct found *f, const struct genai_row *r)
{
    static const char *const own[] = {"main", "repl", "sdk", "user"};
    static const char *const below[] = {"subagent", "agent"};
    struct bytes said = found_text(f, ATTR_LANE);
    bool has_agent = found_has(f, ATTR_AGENT_ID) || r->agent_name.size;
    if (text_has(said, below, ARRAY_LEN(below)))
        return TSDB_LANE_SUBAGENT;
    if (text_has(said, own, ARRAY_LEN(own)))
        return TSDB_LANE_MAIN;
    if (said.size) /* compaction, titles, web search: any word for a subsystem */
        return has_agent ? TSDB_LANE_SUBAGENT : TSDB_LANE_AUXILIARY;
    return has_agent ? TSDB_LANE_SUBAGENT : TSDB_LANE_MAIN;
}

void tool_call_span(const struct found *f, const struct tsdb_spans *s, uint32_t row,
                    struct genai_row *r)
{
    struct bytes name = s->name[row];
    bool is_cli = r->dialect == GENAI_DIALECT_CLAUDE_CODE || r->dialect == GENAI_DIALECT_CODEX ||
                  r->dialect == GENAI_DIALECT_GEMINI_CLI || r->dialect == GENAI_DIALECT_CURSOR;
    r->is_waiting = bytes_equal_str(name, "claude_code.tool.blocked_on_user");
    if (is_cli && (r->row_class & TSDB_CLASS_CALL))
        r->lane = tool_call_lane(f, r);
    r->is_handoff = is_handoff(f, name, r);
    if (r->is_handoff || bytes_has_suffix(name, BYTES_LIT("(merged tools)")))
        r->is_tool = false;
    if (r->is_handoff)
        r->operation = BYTES_LIT("handoff");
    bool refused = r->is_waiting && tool_call_is_refused(f);
    if (!r->is_tool)
        r->tool_call_id = found_text(f, ATTR_A2A_TASK);
    else
        r->tool_call_id = found_text(f, ATTR_TOOL_CALL_ID);
    if (!r->is_tool && !refused)
        return;
    if (!r->tool_name.size)
        r->tool_name = without_prefix(name, "execute_tool ");
    if (!r->tool_name.size)
        r->tool_name = without_prefix(name, "tools/call ");
    bool failed =
        s->status[row] == 2 || r->error_type.size || !found_bool(f, ATTR_TOOL_SUCCESS, true);
    r->tool_outcome = outcome_of(f, failed, r->error_type);
}

void tool_call_log(const struct found *f, struct genai_row *r)
{
    r->is_tool = true;
    r->tool_call_id = found_text(f, ATTR_TOOL_CALL_ID);
    bool failed = !found_bool(f, ATTR_TOOL_SUCCESS, !r->error_type.size);
    r->tool_outcome = outcome_of(f, failed, r->error_type);
}
