/* The columnar batch: what a decoded request becomes, what the journal records, what the head keeps.
 *
 * Decoders fill it on a loop or worker, stage adds derived columns and cells, the committer takes it.
 * Owner: whoever holds the pointer; tsdb_append takes it.  Thread: one at a time.
 * Failure: the *_add functions return NULL/false when the arena limit is reached: the request is refused whole (ERR_LIMIT).
 * Limits: the arena's bytes_max; row counts are u32.
 * Invariants: 1. A column pointer is NULL (all default) or holds cap entries. 2. Slices in columns point into the batch's arena or
 *             static memory. 3. Cell rows refer to spans (or logs) of this batch, or TSDB_NO_ROW.
 */
#ifndef TSDB_TSDB_BATCH_H
#define TSDB_TSDB_BATCH_H

#include "tsdb/tsdb_attrs.h"
#include "tsdb/tsdb_hist.h"
#include "tsdb/tsdb_labels.h"
#include "tsdb/tsdb_tokens.h"

/* Storage owners known from the start; credentials may name others. */
#define TSDB_ORG_DEFAULT 1u
#define TSDB_ORG_SELF 2u /* _telltale: our own metrics */

enum tsdb_signal { TSDB_SPANS, TSDB_LOGS, TSDB_SAMPLES, TSDB_TOKENS, TSDB_SIGNAL_COUNT };

enum tsdb_column_type { TSDB_U8, TSDB_U32, TSDB_I64, TSDB_F64, TSDB_ID16, TSDB_ID8, TSDB_STR };

struct tsdb_id16 {
    uint8_t b[16];
};
struct tsdb_id8 {
    uint8_t b[8];
};

/* X(TYPE, name, default, what it is). The order is the on-disk column number: append only, never reorder. */
#define TSDB_SPAN_COLUMNS(X)                                                                   \
    X(ID16, trace_id, 0, "trace id")                                                           \
    X(ID8, span_id, 0, "span id")                                                              \
    X(ID8, parent_id, 0, "parent span id, zero at a root")                                     \
    X(I64, start_ns, 0, "start, Unix ns")                                                      \
    X(I64, end_ns, 0, "end, Unix ns; its day chooses the part")                                \
    X(U8, kind, 0, "OTLP span kind")                                                           \
    X(U8, status, 0, "OTLP status code: 0 unset, 1 ok, 2 error")                               \
    X(U32, flags, 0, "W3C flags and remote bits")                                              \
    X(U32, dropped, 0, "attributes + events + links the sender dropped")                       \
    X(STR, name, 0, "span name")                                                               \
    X(STR, service, 0, "service.name of the resource")                                         \
    X(STR, scope_name, 0, "instrumentation scope")                                             \
    X(STR, scope_version, 0, "its version")                                                    \
    X(STR, status_message, 0, "status message")                                                \
    X(STR, trace_state, 0, "W3C tracestate")                                                   \
    X(STR, resource_attrs, 0, "attrs of the resource, service.name included")                  \
    X(STR, attrs, 0, "attrs as sent")                                                          \
    X(STR, events, 0, "events")                                                                \
    X(STR, links, 0, "links")                                                                  \
    /* canonical GenAI columns, written by collector/genai and collector/stage */              \
    X(U8, row_class, 0, "enum tsdb_row_class bits: call, request, step")                       \
    X(U8, plane, 0, "enum tsdb_plane: user traffic, evaluation, synthetic")                    \
    X(U8, outcome, 0, "enum tsdb_outcome, 0 = not judged")                                     \
    X(U8, fault, 0, "enum tsdb_fault")                                                         \
    X(U8, dialect, 0, "which naming dialect was recognised")                                   \
    X(U8, norm_rule, 0, "which token rule fired")                                              \
    X(U8, row_flags, 0, "enum tsdb_row_flag bits: estimated, degraded, unpriced, stream, ...") \
    X(U32, http_status, 0, "HTTP status of the attempt")                                       \
    X(STR, provider, 0, "gen_ai.provider.name")                                                \
    X(STR, operation, 0, "gen_ai.operation.name")                                              \
    X(STR, model, 0, "canonical model family")                                                 \
    X(STR, request_model, 0, "model asked for")                                                \
    X(STR, response_model, 0, "model that answered")                                           \
    X(STR, response_id, 0, "provider's response id")                                           \
    X(STR, finish_reason, 0, "first finish reason, canonical")                                 \
    X(STR, error_type, 0, "error.type")                                                        \
    X(STR, endpoint, 0, "route or operation the user called")                                  \
    X(STR, env, 0, "deployment.environment.name")                                              \
    X(STR, region, 0, "cloud.region or server region")                                         \
    X(STR, variant, 0, "service.version or declared canary")                                   \
    X(STR, tenant, 0, "customer named in the telemetry")                                       \
    X(STR, conversation_id, 0, "conversation or session")                                      \
    X(STR, user_id, 0, "end user")                                                             \
    X(STR, prompt_name, 0, "prompt name")                                                      \
    X(STR, prompt_version, 0, "prompt version or fingerprint")                                 \
    X(STR, agent_name, 0, "agent")                                                             \
    X(STR, tool_name, 0, "tool")                                                               \
    X(I64, input_tokens, -1, "total input tokens, cache included; -1 unknown")                 \
    X(I64, output_tokens, -1, "total output tokens, reasoning included")                       \
    X(I64, cache_read_tokens, -1, "part of input")                                             \
    X(I64, cache_write_tokens, -1, "part of input")                                            \
    X(I64, reasoning_tokens, -1, "part of output")                                             \
    X(I64, raw_input_tokens, -1, "input tokens as the sender said")                            \
    X(I64, max_tokens, -1, "request's output limit")                                           \
    X(I64, ttft_ns, -1, "request to first visible token")                                      \
    X(I64, ttft_any_ns, -1, "request to first chunk of any kind")                              \
    X(I64, cost_nanousd, -1, "our price; -1 unpriced")                                         \
    X(I64, reported_cost_nanousd, -1, "cost that the sender claims")                           \
    X(I64, weight, 1000,                                                                       \
      "thousandths of a span that the row stands for; more than itself after compaction")      \
    X(STR, team, 0, "team that pays, named in the telemetry")                                  \
    X(STR, api_key, 0, "id of the API key, never the key")                                     \
    X(U32, price_id, 0, "row of the price table that priced it, 0 = none")                     \
    X(STR, tool_call_id, 0, "gen_ai.tool.call.id")                                             \
    X(U8, tool_outcome, 0, "enum tsdb_tool_outcome, 0 = no tool call")                         \
    X(U8, lane, 0, "enum tsdb_lane of an agent's call")

#define TSDB_LOG_COLUMNS(X)                                                  \
    X(I64, time_ns, 0, "time, else observed time; its day chooses the part") \
    X(I64, observed_ns, 0, "observed time")                                  \
    X(ID16, trace_id, 0, "trace id or zero")                                 \
    X(ID8, span_id, 0, "span id or zero")                                    \
    X(U8, severity, 0, "severity number 0..24")                              \
    X(U32, flags, 0, "W3C flags")                                            \
    X(U32, dropped, 0, "attributes the sender dropped")                      \
    X(STR, severity_text, 0, "severity text")                                \
    X(STR, service, 0, "service.name of the resource")                       \
    X(STR, event_name, 0, "event name")                                      \
    X(STR, scope_name, 0, "instrumentation scope")                           \
    X(STR, scope_version, 0, "its version")                                  \
    X(STR, body, 0, "body: one encoded value (tsdb_attrs)")                  \
    X(STR, resource_attrs, 0, "attrs of the resource")                       \
    X(STR, attrs, 0, "attrs as sent")                                        \
    /* what a coding CLI told, written by collector/genai */                 \
    X(U8, event, 0, "enum tsdb_log_event, 0 = nothing of GenAI")             \
    X(U8, outcome, 0, "enum tsdb_outcome of a call")                         \
    X(U8, fault, 0, "enum tsdb_fault")                                       \
    X(U8, dialect, 0, "whose words")                                         \
    X(U8, row_flags, 0, "enum tsdb_row_flag bits")                           \
    X(U8, tool_outcome, 0, "enum tsdb_tool_outcome")                         \
    X(U8, lane, 0, "enum tsdb_lane")                                         \
    X(U32, price_id, 0, "row of the price table that priced it")             \
    X(STR, provider, 0, "provider of a call")                                \
    X(STR, model, 0, "canonical model family")                               \
    X(STR, response_id, 0, "what makes a repeated call known")               \
    X(STR, conversation_id, 0, "conversation or session")                    \
    X(STR, turn, 0, "prompt that the record belongs to")                     \
    X(STR, agent_name, 0, "agent")                                           \
    X(STR, tool_name, 0, "tool; of a connection: the MCP server")            \
    X(STR, tool_call_id, 0, "tool call")                                     \
    X(STR, word, 0, "trigger of a compaction, status of a connection")       \
    X(I64, duration_ns, -1, "of the call or tool")                           \
    X(I64, input_tokens, -1, "total input; of a compaction: before it")      \
    X(I64, output_tokens, -1, "total output; of a compaction: after it")     \
    X(I64, cache_read_tokens, -1, "part of input")                           \
    X(I64, cache_write_tokens, -1, "part of input")                          \
    X(I64, reasoning_tokens, -1, "part of output")                           \
    X(I64, cost_nanousd, -1, "our price; -1 unpriced")                       \
    X(I64, reported_cost_nanousd, -1, "cost that the sender claims")

enum tsdb_row_class { TSDB_CLASS_CALL = 1, TSDB_CLASS_REQUEST = 2, TSDB_CLASS_STEP = 4 };
enum tsdb_plane { TSDB_PLANE_USER, TSDB_PLANE_EVALUATION, TSDB_PLANE_SYNTHETIC, TSDB_PLANE_BATCH };
enum tsdb_outcome {
    TSDB_OUTCOME_NONE,
    TSDB_OUTCOME_OK,
    TSDB_OUTCOME_PROVIDER_ERROR,
    TSDB_OUTCOME_RATE_LIMITED,
    TSDB_OUTCOME_TIMEOUT,
    TSDB_OUTCOME_STREAM_CUT,
    TSDB_OUTCOME_EMPTY,
    TSDB_OUTCOME_INVALID,
    TSDB_OUTCOME_CALLER_ERROR,
    TSDB_OUTCOME_CANCELLED,
    TSDB_OUTCOME_ABANDONED,
    TSDB_OUTCOME_BLOCKED,
    TSDB_OUTCOME_QUOTA_DENIED,
    TSDB_OUTCOME_COUNT
};
enum tsdb_fault {
    TSDB_FAULT_NONE,
    TSDB_FAULT_PROVIDER,
    TSDB_FAULT_PLATFORM,
    TSDB_FAULT_CALLER,
    TSDB_FAULT_POLICY
};
enum tsdb_tool_outcome {
    TSDB_TOOL_NONE,
    TSDB_TOOL_OK,
    TSDB_TOOL_ERROR,
    TSDB_TOOL_REJECTED,
    TSDB_TOOL_ABORTED,
    TSDB_TOOL_TIMEOUT,
    TSDB_TOOL_COUNT
};
/* Of two rows' words on one tool call the one that says more. */
static inline uint8_t tsdb_tool_worse(uint8_t a, uint8_t b)
{
    static const uint8_t rank[TSDB_TOOL_COUNT] = {
        [TSDB_TOOL_NONE] = 0,    [TSDB_TOOL_OK] = 1,      [TSDB_TOOL_ERROR] = 2,
        [TSDB_TOOL_TIMEOUT] = 3, [TSDB_TOOL_ABORTED] = 4, [TSDB_TOOL_REJECTED] = 5};
    return rank[a % TSDB_TOOL_COUNT] >= rank[b % TSDB_TOOL_COUNT] ? a : b;
}
/* What a log record of a coding CLI tells of. */
enum tsdb_log_event {
    TSDB_EVENT_NONE,
    TSDB_EVENT_CALL,
    TSDB_EVENT_TOOL,
    TSDB_EVENT_PROMPT, /* the user's words: a turn begins */
    TSDB_EVENT_COMPACTION,
    TSDB_EVENT_CONNECTION /* to an MCP server */
};
enum tsdb_lane { TSDB_LANE_NONE, TSDB_LANE_MAIN, TSDB_LANE_SUBAGENT, TSDB_LANE_AUXILIARY };
enum tsdb_row_flag {
    TSDB_ROW_STREAM = 1,
    TSDB_ROW_ESTIMATED = 2,
    TSDB_ROW_UNPRICED = 4,
    TSDB_ROW_DEGRADED = 8,
    TSDB_ROW_HEDGE_LOSER = 16,
    TSDB_ROW_AGENT_REPORTED = 32,
    TSDB_ROW_BAD_TIME = 64
};

#define TSDB_CTYPE_U8 uint8_t
#define TSDB_CTYPE_U32 uint32_t
#define TSDB_CTYPE_I64 int64_t
#define TSDB_CTYPE_F64 double
#define TSDB_CTYPE_ID16 struct tsdb_id16
#define TSDB_CTYPE_ID8 struct tsdb_id8
#define TSDB_CTYPE_STR struct bytes

struct tsdb_spans {
    uint32_t count, cap;
#define X(type, name, def, what) TSDB_CTYPE_##type *name;
    TSDB_SPAN_COLUMNS(X)
#undef X
};

struct tsdb_logs {
    uint32_t count, cap;
#define X(type, name, def, what) TSDB_CTYPE_##type *name;
    TSDB_LOG_COLUMNS(X)
#undef X
};

enum tsdb_span_column {
#define X(type, name, def, what) TSDB_SPAN_##name,
    TSDB_SPAN_COLUMNS(X)
#undef X
        TSDB_SPAN_COLUMN_COUNT
};
enum tsdb_log_column {
#define X(type, name, def, what) TSDB_LOG_##name,
    TSDB_LOG_COLUMNS(X)
#undef X
        TSDB_LOG_COLUMN_COUNT
};

/* The tables above as data, for code that handles every column alike (journal, blocks, tests). */
struct tsdb_column {
    const char *name, *what;
    enum tsdb_column_type type;
    int64_t def;
    size_t offset; /* of the column's pointer in struct tsdb_spans / tsdb_logs */
};
struct tsdb_schema {
    const char *name;
    const struct tsdb_column *columns;
    uint32_t column_count;
};
extern const struct tsdb_schema tsdb_batch_span_schema, tsdb_batch_log_schema;

/* A dense process-wide number of a series (tsdb_registry.h); 0 is none. */
struct tsdb_ref {
    uint32_t v;
};

/* Float samples, column by column; start_ms 0 = unknown. */
struct tsdb_samples {
    uint32_t count, cap;
    struct tsdb_ref *series;
    int64_t *t_ms;
    double *value;
    int64_t *start_ms;
};
struct tsdb_hists {
    uint32_t count, cap;
    struct tsdb_ref *series;
    int64_t *t_ms;
    struct tsdb_hist *value;
    int64_t *start_ms;
};
struct tsdb_exemplars {
    uint32_t count, cap;
    struct tsdb_ref *series;
    int64_t *t_ms;
    double *value;
    struct tsdb_labels *labels;
};

#define TSDB_NO_ROW UINT32_MAX
/* Delta cells: (series, minute of the row's END since the Unix epoch) += add. hist NULL: an integer add. */
struct tsdb_cells {
    uint32_t count, cap;
    struct tsdb_ref *series;
    uint32_t *minute;
    int64_t *add; /* integer cells */
    const struct tsdb_hist **hist; /* histogram cells: added, or NULL */
    uint32_t
        *row; /* index into spans that caused it, or TSDB_NO_ROW (logs, OTLP deltas, corrections) */
};

/* What a call or an agent's row costs, for the ledger. Spans book by their columns (tsdb_ledger_of_span); what columns cannot say is a row
 * here: a booking that is taken back (every sum negative), a log record that is a call, usage of an agent that books late. */
#define TSDB_BOOK_DIM_TABLE(X) \
    X(TENANT, "tenant")        \
    X(TEAM, "team")            \
    X(SERVICE, "service")      \
    X(API_KEY, "api_key")      \
    X(USER, "user")            \
    X(MODEL, "model")          \
    X(PROMPT, "prompt")        \
    X(ENDPOINT, "endpoint")
enum tsdb_book_dim {
#define X(name, text) TSDB_BOOK_##name,
    TSDB_BOOK_DIM_TABLE(X) /* append only: on disk */
#undef X
    TSDB_BOOK_DIM_COUNT
};
struct tsdb_book_sums {
    int64_t calls, input_tokens, output_tokens, nanousd, unpriced,
        estimated; /* the last two: calls */
};
struct tsdb_book {
    uint32_t minute; /* of the row's end, as its cells */
    struct bytes value[TSDB_BOOK_DIM_COUNT]; /* empty: unattributed */
    struct tsdb_book_sums sums;
};
struct tsdb_books {
    uint32_t count, cap;
    struct tsdb_book *book;
};

/* Help, type and unit of a metric family, as senders state them. */
struct tsdb_metadata_row {
    struct bytes family, type, help, unit;
};
struct tsdb_metadata {
    uint32_t count, cap;
    struct tsdb_metadata_row *row;
};

/* Rows that a decoder or stage refused, by reason; part of the accounting promise. */
#define TSDB_REJECT_TABLE(X)            \
    X(MALFORMED, "malformed")           \
    X(TOO_OLD, "too_old")               \
    X(TOO_NEW, "too_far_in_future")     \
    X(BAD_LABELS, "bad_labels")         \
    X(BAD_HISTOGRAM, "bad_histogram")   \
    X(UNSUPPORTED, "unsupported")       \
    X(CARDINALITY, "cardinality_limit") \
    X(POLICY, "policy")
enum tsdb_reject {
#define X(name, text) TSDB_REJECT_##name,
    TSDB_REJECT_TABLE(X)
#undef X
        TSDB_REJECT_COUNT
};

/* Where a message that was consumed stands in its log. The store takes the batch only if it has got to `from`, and gets to `next` in the
 * transaction that holds the rows: a message that is delivered twice is stored once. */
struct tsdb_claim {
    struct bytes topic; /* empty: not from a log; must live as long as the batch */
    uint32_t partition;
    int32_t epoch; /* of the partition's leader; -1: unknown */
    int64_t from,
        next; /* from <= the message's offset < next; between from and it the log has nothing */
    uint64_t mark; /* of the message at next - 1: what it said, as a hash; 0: not known */
    bool is_reset; /* wherever the store has got to: what lies between is gone */
};
struct tsdb_position {
    int64_t next;
    int32_t epoch;
    uint64_t mark;
};

struct tsdb_batch {
    struct arena *arena; /* owns all of it but the token events, the batch struct included */
    uint32_t org;
    enum tsdb_signal signal; /* of the request */
    struct hash128 request_key; /* XXH3-128(org, signal, decompressed body); zero = no dedup */
    struct tsdb_spans spans;
    uint8_t *
        span_dropped; /* NULL, or 1 for each span that repeats a stored one exactly: neither it nor its cells are kept */
    struct tsdb_logs logs;
    struct tsdb_samples samples;
    struct tsdb_hists hists;
    struct tsdb_exemplars exemplars;
    struct tsdb_cells cells;
    struct tsdb_metadata metadata;
    struct tsdb_books books;
    struct tsdb_tokens tokens;
    uint64_t
        received; /* rows of `signal` in the request: spans, log records, data points/samples+histograms, or token events */
    uint64_t rejected[TSDB_REJECT_COUNT]; /* of those, refused before the store */
    struct err_msg reject_msg; /* the first refusal, for partial_success */
    int64_t received_ns; /* wall clock when the request was complete */
    struct tsdb_claim claim;
};

/* A batch whose arena may use bytes_max; NULL when out of memory. */
struct tsdb_batch *tsdb_batch_new(uint32_t org, enum tsdb_signal signal, size_t bytes_max);
void tsdb_batch_free(struct tsdb_batch *b); /* NULL is fine */
uint64_t tsdb_batch_rejected(const struct tsdb_batch *b);
/* Counts one refused row and keeps the first message. */
void tsdb_batch_reject(struct tsdb_batch *b, enum tsdb_reject why, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

/* Adds a row with the always-present columns of the table (down to `links`) allocated; GenAI columns appear on first use through
 * tsdb_batch_span_column. Returns the row's index, or TSDB_NO_ROW past the limit. */
uint32_t tsdb_batch_add_span(struct tsdb_batch *b);
/* About so many spans (cells) will come: their columns are made at once. A wish: false only past the limit. */
bool tsdb_batch_expect_spans(struct tsdb_batch *b, uint32_t count) MUST_CHECK;
bool tsdb_batch_expect_cells(struct tsdb_batch *b, uint32_t count) MUST_CHECK;
bool tsdb_batch_expect_samples(struct tsdb_batch *b, uint32_t count) MUST_CHECK;
/* All but a few cells is in it: memory that was expected and not needed is given back. */
void tsdb_batch_trim(struct tsdb_batch *b);
/* The same with the columns down to `attrs`, and tsdb_batch_log_column. */
uint32_t tsdb_batch_add_log(struct tsdb_batch *b);
bool tsdb_batch_log_column(struct tsdb_batch *b, enum tsdb_log_column column) MUST_CHECK;
/* Makes sure an optional column exists (default-filled); false past the limit. */
bool tsdb_batch_span_column(struct tsdb_batch *b, enum tsdb_span_column column) MUST_CHECK;
bool tsdb_batch_add_sample(struct tsdb_batch *b, struct tsdb_ref series, int64_t t_ms, double value,
                           int64_t start_ms) MUST_CHECK;
bool tsdb_batch_add_hist(struct tsdb_batch *b, struct tsdb_ref series, int64_t t_ms,
                         const struct tsdb_hist *h, int64_t start_ms) MUST_CHECK;
bool tsdb_batch_add_exemplar(struct tsdb_batch *b, struct tsdb_ref series, int64_t t_ms,
                             double value, struct tsdb_labels labels) MUST_CHECK;
bool tsdb_batch_add_cell(struct tsdb_batch *b, struct tsdb_ref series, uint32_t minute, int64_t add,
                         uint32_t row) MUST_CHECK;
bool tsdb_batch_add_hist_cell(struct tsdb_batch *b, struct tsdb_ref series, uint32_t minute,
                              const struct tsdb_hist *add, uint32_t row) MUST_CHECK;
/* The texts are copied. */
bool tsdb_batch_add_metadata(struct tsdb_batch *b, struct bytes family, struct bytes type,
                             struct bytes help, struct bytes unit) MUST_CHECK;
/* The values are copied. */
bool tsdb_batch_add_book(struct tsdb_batch *b, const struct tsdb_book *book) MUST_CHECK;
static inline uint32_t tsdb_batch_minute(int64_t end_ns)
{
    return (uint32_t)(end_ns / 60000000000);
}

/* Read helpers for optional columns: the default where the column is absent. */
#define TSDB_WEIGHT_ONE 1000
#define TSDB_SPAN_GET(spans, column, row, def) ((spans)->column ? (spans)->column[row] : (def))

#endif
