/* The words of the columns that are numbers. */
#include "collector/genai/genai.h"

#include "base/check.h"

static const char *const dialect_texts[GENAI_DIALECT_COUNT] = {
#define X(name, text) text,
    GENAI_DIALECT_TABLE(X)
#undef X
};
static const char *const rule_texts[GENAI_RULE_COUNT] = {
#define X(name, text) text,
    GENAI_RULE_TABLE(X)
#undef X
};
static const char *const cost_texts[GENAI_COST_COUNT] = {
#define X(name, text) text,
    GENAI_COST_TABLE(X)
#undef X
};
static const char *const outcome_texts[TSDB_OUTCOME_COUNT] = {
    [TSDB_OUTCOME_NONE] = "",
    [TSDB_OUTCOME_OK] = "ok",
    [TSDB_OUTCOME_PROVIDER_ERROR] = "provider_error",
    [TSDB_OUTCOME_RATE_LIMITED] = "rate_limited",
    [TSDB_OUTCOME_TIMEOUT] = "timeout",
    [TSDB_OUTCOME_STREAM_CUT] = "stream_cut",
    [TSDB_OUTCOME_EMPTY] = "empty",
    [TSDB_OUTCOME_INVALID] = "invalid",
    [TSDB_OUTCOME_CALLER_ERROR] = "caller_error",
    [TSDB_OUTCOME_CANCELLED] = "cancelled",
    [TSDB_OUTCOME_ABANDONED] = "abandoned",
    [TSDB_OUTCOME_BLOCKED] = "blocked",
    [TSDB_OUTCOME_QUOTA_DENIED] = "quota_denied",
};
static const char *const fault_texts[] = {"", "provider", "platform", "caller", "policy"};
static const char *const tool_texts[TSDB_TOOL_COUNT] = {
    [TSDB_TOOL_NONE] = "",           [TSDB_TOOL_OK] = "ok",
    [TSDB_TOOL_ERROR] = "error",     [TSDB_TOOL_REJECTED] = "rejected",
    [TSDB_TOOL_ABORTED] = "aborted", [TSDB_TOOL_TIMEOUT] = "timeout",
};
static const char *const plane_texts[] = {"", "evaluation", "synthetic", "batch"};

const char *genai_dialect_text(uint8_t dialect)
{
    return dialect < GENAI_DIALECT_COUNT ? dialect_texts[dialect] : "";
}
const char *genai_rule_text(uint8_t rule)
{
    return rule < GENAI_RULE_COUNT ? rule_texts[rule] : "";
}
const char *genai_outcome_text(uint8_t outcome)
{
    return outcome < TSDB_OUTCOME_COUNT ? outcome_texts[outcome] : "";
}
const char *genai_fault_text(uint8_t fault)
{
    return fault < sizeof fault_texts / sizeof *fault_texts ? fault_texts[fault] : "";
}
const char *genai_plane_text(uint8_t plane)
{
    return plane < sizeof plane_texts / sizeof *plane_texts ? plane_texts[plane] : "";
}
const char *genai_tool_outcome_text(uint8_t outcome)
{
    return outcome < TSDB_TOOL_COUNT ? tool_texts[outcome] : "";
}
const char *genai_cost_text(enum genai_cost c)
{
    return c < GENAI_COST_COUNT ? cost_texts[c] : "";
}
