/* The mapping as data: attribute name -> the field it means, how its value is to be read, whose word it is, and who wins when several say it.
 *
 * Owner: process (built once, immutable).  Thread: any.  Failure: none: an unknown name is NULL.
 * Limits: ATTR_NAMES_SLOTS hash slots, at most half filled (checked at build).
 * Invariants: 1. A name occurs once per vocabulary. 2. Of two names of one field the lower rank wins; equal ranks: the first sent.
 */
#ifndef COLLECTOR_GENAI_ATTR_NAMES_H
#define COLLECTOR_GENAI_ATTR_NAMES_H

#include "base/bytes.h"

/* What an attribute can tell. */
/* clang-format off */
#define ATTR_FIELDS(X)                                                                              \
    X(OPERATION) X(OI_KIND) X(TRACELOOP_KIND) X(LANGFUSE_TYPE) X(REQUEST_TYPE) X(VERCEL_OP)         \
    X(PROVIDER) X(REQUEST_MODEL) X(RESPONSE_MODEL) X(RESPONSE_ID) X(FINISH) X(RESPONSE_STATUS)      \
    X(INPUT) X(OUTPUT) X(TOTAL) X(CACHE_READ) X(CACHE_WRITE) X(CACHE_WRITE_5M) X(CACHE_WRITE_1H)    \
    X(REASONING) X(AUDIO_INPUT) X(AUDIO_OUTPUT) X(AUDIO_CACHE_READ) X(IMAGE_INPUT)                 \
    X(IMAGE_OUTPUT) X(IMAGE_CACHE_READ) X(IMAGES) X(COMPACT_INPUT) X(COMPACT_OUTPUT) X(TOOL_TOKENS) X(USAGE_JSON) X(COST_JSON)       \
    X(INPUT_DETAILS) X(OUTPUT_DETAILS)       \
    X(MAX_TOKENS) X(STREAM) X(PARAMETERS) X(TTFT) X(TTFT_ANY) X(COMPLETION_START) X(DURATION)       \
    X(CONVERSATION) X(USER) X(TENANT) X(TEAM) X(API_KEY) X(PROMPT_NAME) X(PROMPT_VERSION)           \
    X(AGENT) X(TOOL) X(MCP_METHOD) X(ERROR_TYPE) X(ERROR_TEXT) X(HTTP_STATUS) X(ENDPOINT)           \
    X(ENV) X(REGION) X(VARIANT) X(SERVER) X(PLANE) X(SYNTHETIC) X(WARMUP) X(SERVICE_TIER) X(COST)   \
    X(SAFETY_CATEGORY) X(SAFETY_BYPASS) X(GUARDRAIL) X(CACHE_KIND) X(CACHE_RESULT)                  \
    X(ROUTE_RESULT) X(ROUTE_INTENDED) X(FALLBACK_FROM) X(FALLBACK_TO) X(FEEDBACK) X(HEDGE)          \
    X(DEGRADED) X(TOKENS_LOST) X(TRUNCATION) X(OUTPUT_TYPE) X(JSON_VALID) X(SYSTEM_TEXT)            \
    X(TOOL_DEFS) X(INPUT_TEXT) X(OUTPUT_TEXT) X(EVALUATION) X(EVENT_NAME) X(EVENT_KIND)             \
    X(EVENT_TIME) X(REQUEST_ID) X(TOOL_CALL_ID) X(TOOL_SUCCESS) X(DECISION) X(LANE) X(AGENT_ID)     \
    X(TURN) X(TRIGGER) X(TOKENS_BEFORE) X(TOKENS_AFTER) X(CONNECTION) X(MCP_SERVER)                 \
    X(HANDOFF_TO) X(TRANSFER_MODE) X(A2A_TASK) X(MARK) /* says which dialect it is, and nothing else */
/* clang-format on */
enum attr_field {
#define X(name) ATTR_##name,
    ATTR_FIELDS(X)
#undef X
        ATTR_FIELD_COUNT
};

/* How the value is read. Numbers come as int, double or decimal text; booleans as bool or text: one reader for all. */
enum attr_type {
    ATTR_TEXT,
    ATTR_INT,
    ATTR_BOOL,
    ATTR_SECONDS,
    ATTR_MILLIS,
    ATTR_NANOS,
    ATTR_TIMESTAMP, /* RFC 3339 or Unix ns */
    ATTR_USD,
    ATTR_USD_MICROS,
    ATTR_CONTENT /* prompts and answers: sized, never copied */
};

struct attr_name {
    const char *name;
    uint8_t field, type, dialect, rank;
};

enum attr_vocabulary {
    ATTR_VOCABULARY_SPAN, /* dotted names, any emitter */
    ATTR_VOCABULARY_CLI, /* bare names (`model`, `input_tokens`), known coding CLIs only */
    ATTR_VOCABULARY_COUNT
};

const struct attr_name *attr_names_find(enum attr_vocabulary v, struct bytes key);

#endif
