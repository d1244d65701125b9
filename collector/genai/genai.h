/* The GenAI normaliser: a span of any dialect -> what it says in canonical words, and whether it is a call, a request or a step.
 *
 * genai_read_span looks at one row alone (its resource, attributes and events), so the order in which spans arrive never matters.
 * Raw attributes stay as they were sent; what was understood goes to the canonical columns of the batch (genai_store).
 * Owner: caller of genai_new; tables are immutable afterwards.  Thread: any.
 * Failure: genai_new: ERR_INVALID with the line of the price document.  Unknown or malformed attributes are never an error: they count
 *          in telltale_genai_bad_values_total and stay as sent.
 * Limits: GENAI_MODEL_MAX bytes of a model name are canonicalised; message text is looked at, never copied.
 * Invariants: 1. Slices of a struct genai_row point into the batch (its arena) or into static memory.
 *             2. input >= cache_read + cache_write and output >= reasoning for every row that has them.
 *             3. cost_total = sum of cost[], each >= 0; 4. Tokens and cost are booked only for rows
 *             with TSDB_CLASS_CALL or TSDB_ROW_AGENT_REPORTED.
 */
#ifndef COLLECTOR_GENAI_GENAI_H
#define COLLECTOR_GENAI_GENAI_H

#include "tsdb/tsdb.h"

#define GENAI_MODEL_MAX 128u

/* X(NAME, "text"): the value of the `dialect` column, counted in telltale_genai_rows_total{dialect}. Append only: it is on disk. */
#define GENAI_DIALECT_TABLE(X)                  \
    X(NONE, "none")                             \
    X(OTEL_1_36, "otel_1_36")                   \
    X(OTEL_1_37, "otel_1_37")                   \
    X(OTEL_0_1, "otel_genai_0_1")               \
    X(OPENLLMETRY, "openllmetry")               \
    X(OPENINFERENCE, "openinference")           \
    X(OPENLIT, "openlit")                       \
    X(VERCEL, "vercel")                         \
    X(LANGFUSE, "langfuse")                     \
    X(PYDANTIC, "pydantic_ai")                  \
    X(CLAUDE_CODE, "claude_code")               \
    X(CODEX, "codex")                           \
    X(GEMINI_CLI, "gemini_cli")                 \
    X(CURSOR, "cursor")                         \
    X(COPILOT, "copilot")                       \
    X(ANTHROPIC_PLATFORM, "anthropic_platform") \
    X(GOOGLE_ADK, "google_adk")                 \
    X(STRANDS, "strands")
enum genai_dialect {
#define X(name, text) GENAI_DIALECT_##name,
    GENAI_DIALECT_TABLE(X)
#undef X
        GENAI_DIALECT_COUNT
};

/* X(NAME, "text"): the value of the `norm_rule` column: how the sender's token numbers became ours. Append only. */
#define GENAI_RULE_TABLE(X)                                                                  \
    X(NONE, "none") /* no usage */                                                           \
    X(INCLUSIVE, "inclusive") /* input already holds the cached tokens */                    \
    X(EXCLUSIVE_SOURCE, "exclusive_source") /* known emitter sends them apart: added */      \
    X(EXCLUSIVE_SUM, "exclusive_sum") /* cache > input: they must be apart: added */         \
    X(OUTPUT_PLUS_THOUGHTS,                                                                  \
      "output_plus_thoughts") /* known emitter leaves reasoning out: added */                \
    X(PLATFORM_COMPACTION, "platform_compaction") /* compaction tokens lie outside: added */ \
    X(TOTAL_ONLY, "total_only") /* one total and no parts: taken as input */                 \
    X(CLAMPED, "clamped") /* parts larger than their total: cut to it */
enum genai_rule {
#define X(name, text) GENAI_RULE_##name,
    GENAI_RULE_TABLE(X)
#undef X
        GENAI_RULE_COUNT
};

/* Disjoint parts of a cost; they sum to the total. */
#define GENAI_COST_TABLE(X)                                              \
    X(INPUT, "input")                                                    \
    X(CACHE_READ, "cache_read")                                          \
    X(CACHE_WRITE, "cache_write")                                        \
    X(OUTPUT, "output")                                                  \
    X(UNITS, "units") /* images, fees per call, hours of our own GPUs */ \
    X(ESTIMATED, "estimated")
enum genai_cost {
#define X(name, text) GENAI_COST_##name,
    GENAI_COST_TABLE(X)
#undef X
        GENAI_COST_COUNT
};

enum genai_truncation {
    GENAI_TRUNCATION_NONE,
    GENAI_TRUNCATION_MAX_TOKENS,
    GENAI_TRUNCATION_CONTEXT_WINDOW,
    GENAI_TRUNCATION_INPUT_TRIMMED
};

/* Everything the row alone says. Empty slices and -1 mean "not said". */
struct genai_row {
    uint8_t row_class, plane, outcome, fault, dialect, rule,
        flags; /* as the columns of the batch */
    uint8_t truncation; /* enum genai_truncation */
    bool is_agent, is_chain,
        is_tool; /* an agent row's usage waits for the leaf rule; a chain's never books */
    uint8_t event; /* enum tsdb_log_event of a log record */
    uint8_t tool_outcome, lane; /* enum tsdb_tool_outcome, 0 = no tool call; enum tsdb_lane */
    bool is_handoff; /* control goes to another agent: no tool call */
    bool is_waiting; /* time in which a tool call waited for a person */
    bool is_embedding; /* embeddings and rerank: out of chat SLOs */
    const char
        *latency_excluded; /* why it does not count: "cancelled", "hedge", ...; NULL = it does */
    bool has_usage;
    uint32_t http_status;
    struct bytes service, provider, operation, model, request_model, response_model, response_id,
        finish_reason, error_type, endpoint, env, region, variant, tenant, team, api_key,
        conversation_id, user_id, prompt_name, prompt_version, agent_name, tool_name;
    int64_t input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens,
        raw_input_tokens, max_tokens, cache_write_1h_tokens, tokens_lost;
    /* parts of input, of cache_read and of output; images made */
    int64_t audio_input_tokens, audio_cache_read_tokens, audio_output_tokens, image_input_tokens,
        image_cache_read_tokens, image_output_tokens, images;
    uint8_t service_tier; /* enum price_tier; PRICE_TIER_COUNT: one that is not known */
    uint32_t price_id; /* of the row of the price table that made the cost; 0 = none */
    int64_t ttft_ns, ttft_any_ns, duration_ns; /* duration -1: not measurable */
    int64_t end_ns; /* its minute keys the cells; the batch's receipt where the row has no time */
    int64_t cost[GENAI_COST_COUNT], cost_total, reported_cost; /* nano-USD; total -1: unpriced */
    struct bytes safety_category, bypass_why; /* blocked by what; why a filter was passed by */
    struct bytes cache_kind, cache_result; /* response, semantic, prefix: hit, miss, stale */
    struct bytes route_result, fallback_from, fallback_to, feedback_label;
    struct bytes tool_call_id,
        turn; /* a tool's call, an A2A task where it is none; turn: of log records */
    struct bytes word; /* trigger of a compaction, status of a connection */
    int64_t tokens_before, tokens_after; /* of a compaction */
};

/* Which spans are user requests. Empty field = any; a trailing or leading `*` matches any rest. */
struct genai_entry_rule {
    struct bytes service, route, operation, name;
};

struct genai_options {
    /* No rules: a root span of kind SERVER or CONSUMER (health checks aside), and a root span that is itself GenAI. */
    const struct genai_entry_rule *entries;
    size_t entry_count;
    struct bytes prices_yaml; /* goes before the built-in price table (docs/prices.md) */
    const char *prices_name; /* of its file, for messages */
    int64_t ttft_target_ns; /* cancelled later than this without a token: abandoned; 0 = 2 s */
    bool without_wrappers; /* tests only: the defect that double-counts */
};

struct genai;
/* What a reader remembers from row to row: canonical names, the resource of the last row. One thread at a time. */
struct genai_memo;

enum err genai_new(const struct genai_options *o, struct genai **out,
                   struct err_msg *msg) MUST_CHECK;
void genai_free(struct genai *g); /* NULL is fine */
/* Other prices from the next row on; those of rows before are as they were. On failure the old ones stay. With db, their rows are
 * registered there first, so that ids mean something for ever; do that once before the first row is read. */
enum err genai_set_prices(struct genai *g, struct tsdb *db, struct bytes yaml, const char *name,
                          struct err_msg *msg) MUST_CHECK;

struct genai_memo *genai_memo_new(void); /* NULL = no memory */
void genai_memo_free(struct genai_memo *m);
void genai_memo_batch(struct genai_memo *m); /* before the first row of another batch */

/* Reads one row. true when the row is of interest: GenAI of any kind or a user request. */
bool genai_read_span(const struct genai *g, struct genai_memo *m, struct tsdb_batch *b,
                     uint32_t row, struct genai_row *out);
/* The same for an agent row whose usage is to be booked after all (the leaf rule): priced, flagged TSDB_ROW_AGENT_REPORTED. */
bool genai_read_agent(const struct genai *g, struct genai_memo *m, struct tsdb_batch *b,
                      uint32_t row, struct genai_row *out);
/* Reads a log record of a coding CLI that tells of a call, a tool, a turn, a compaction or a connection (the emitter table of
 * docs/genai.md); out->event says of what. false: of none. */
bool genai_read_log(const struct genai *g, struct genai_memo *m, struct tsdb_batch *b, uint32_t row,
                    struct genai_row *out);
/* Tokens of one type (input, output, cache_read, cache_write) that a metric reports: usage without a call, flagged TSDB_ROW_AGENT_REPORTED,
 * priced at the rate of a short prompt: a sum of many calls says nothing of the length of one. */
struct genai_reported {
    struct bytes service, model;
    const char *type;
    int64_t tokens, end_ns;
};
void genai_read_reported(const struct genai *g, struct genai_memo *m, struct tsdb_batch *b,
                         const struct genai_reported *said, struct genai_row *out);
/* Writes the canonical columns of a span row; false past the batch's limit. */
bool genai_store(struct tsdb_batch *b, uint32_t row, const struct genai_row *r) MUST_CHECK;
/* The same of a log row; its time becomes that of the event where the record came without one. */
bool genai_store_log(struct tsdb_batch *b, uint32_t row, const struct genai_row *r) MUST_CHECK;

/* Prices a row as it stands (its tokens, tier, names and times) by the prices of now. */
void genai_price(const struct genai *g, struct genai_memo *m, uint32_t org, struct genai_row *r);
/* Rows of prices that were in force once, by id, out of the store's registry; each is read once. */
struct genai_price_book;
struct genai_price_book *genai_price_book_new(struct tsdb *db); /* NULL = no memory */
void genai_price_book_free(struct genai_price_book *b); /* NULL is fine */
/* What the row cost by that price; false: there is no such price. */
bool genai_price_book_apply(struct genai_price_book *b, uint32_t price_id, bool half,
                            struct genai_row *r);

const char *genai_dialect_text(uint8_t dialect);
const char *genai_rule_text(uint8_t rule);
const char *genai_outcome_text(uint8_t outcome); /* "ok", "provider_error", ... */
const char *genai_fault_text(uint8_t fault); /* "provider", ...; "" for none */
const char *genai_plane_text(uint8_t plane); /* "" for user traffic */
const char *genai_tool_outcome_text(uint8_t outcome); /* "ok", "error", ...; "" for none */
const char *genai_cost_text(enum genai_cost c);

/* The canonical family of a model name ("gpt-4o-2024-08-06" -> "gpt-4o"); a slice of the name, of static memory, or of scratch. */
struct bytes genai_model_family(struct bytes model, char scratch[GENAI_MODEL_MAX]);

#endif
