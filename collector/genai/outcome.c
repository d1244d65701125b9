#include "collector/genai/outcome.h"

#include "base/check.h"
#include "base/json_in.h"

#define STREAM_GAP_MIN_NS \
    INT64_C(10000000000) /* a stream stalls when silent for longer than this */
#define STREAM_GAP_FACTOR 20 /* ... and than so many median gaps */

struct bytes outcome_finish(struct bytes raw)
{
    static const struct {
        const char *from, *to;
    } words[] = {
        {"stop", "stop"},
        {"end_turn", "stop"},
        {"stop_sequence", "stop"},
        {"completed", "stop"},
        {"complete", "stop"},
        {"eos", "stop"},
        {"FinishReason.STOP", "stop"},
        {"length", "length"},
        {"max_tokens", "length"},
        {"max_output_tokens", "length"},
        {"FinishReason.MAX_TOKENS", "length"},
        {"tool_calls", "tool_calls"},
        {"tool_call", "tool_calls"},
        {"tool-calls", "tool_calls"},
        {"tool_use", "tool_calls"},
        {"function_call", "tool_calls"},
        {"content_filter", "content_filter"},
        {"content-filter", "content_filter"},
        {"content_filtered", "content_filter"},
        {"safety", "content_filter"},
        {"prohibited_content", "content_filter"},
        {"blocklist", "content_filter"},
        {"recitation", "content_filter"},
        {"spii", "content_filter"},
        {"refusal", "content_filter"},
        {"guardrail_intervened", "content_filter"},
        {"model_context_window_exceeded", "context_window"},
        {"model_length", "context_window"},
        {"error", "error"},
        {"cancelled", "cancelled"},
    };
    for (size_t i = 0; raw.size && i < ARRAY_LEN(words); i++)
        if (bytes_equal_nocase(raw, bytes_str(words[i].from)))
            return bytes_str(words[i].to);
    return raw;
}

/* --- errors by the words in them, first match wins ------------------------------------------------- */

enum error_kind {
    ERROR_CONTEXT,
    ERROR_BLOCKED,
    ERROR_QUOTA,
    ERROR_RATE,
    ERROR_CANCEL,
    ERROR_TIMEOUT,
    ERROR_PROVIDER,
    ERROR_ACCESS, /* our credential, an unknown model: the platform's */
    ERROR_CALLER,
    ERROR_NONE
};

static const struct {
    const char *fragment; /* lower case */
    enum error_kind kind;
} fragments[] = {
    {"context_length", ERROR_CONTEXT},
    {"contextlength", ERROR_CONTEXT},
    {"contextwindow", ERROR_CONTEXT},
    {"context window", ERROR_CONTEXT},
    {"maximum context", ERROR_CONTEXT},
    {"prompt is too long", ERROR_CONTEXT},
    {"content_filter", ERROR_BLOCKED},
    {"contentfilter", ERROR_BLOCKED},
    {"content_policy", ERROR_BLOCKED},
    {"contentpolicy", ERROR_BLOCKED},
    {"responsibleai", ERROR_BLOCKED},
    {"guardrail", ERROR_BLOCKED},
    {"insufficient_quota", ERROR_RATE},
    {"quota_denied", ERROR_QUOTA},
    {"budget", ERROR_QUOTA},
    {"ratelimit", ERROR_RATE},
    {"rate_limit", ERROR_RATE},
    {"rate limit", ERROR_RATE},
    {"toomanyrequests", ERROR_RATE},
    {"too_many_requests", ERROR_RATE},
    {"resource_exhausted", ERROR_RATE},
    {"resourceexhausted", ERROR_RATE},
    {"throttl", ERROR_RATE},
    {"timeout", ERROR_TIMEOUT},
    {"timed out", ERROR_TIMEOUT},
    {"deadline", ERROR_TIMEOUT},
    {"cancel", ERROR_CANCEL},
    {"aborterror", ERROR_CANCEL},
    {"client_disconnect", ERROR_CANCEL},
    {"clientdisconnect", ERROR_CANCEL},
    {"generatorexit", ERROR_CANCEL},
    {"overloaded", ERROR_PROVIDER},
    {"service_unavailable", ERROR_PROVIDER},
    {"serviceunavailable", ERROR_PROVIDER},
    {"internalserver", ERROR_PROVIDER},
    {"connection", ERROR_PROVIDER},
    {"authentication", ERROR_ACCESS},
    {"unauthorized", ERROR_ACCESS},
    {"permission", ERROR_ACCESS},
    {"forbidden", ERROR_ACCESS},
    {"model_not_found", ERROR_ACCESS},
    {"notfound", ERROR_ACCESS},
    {"not_found", ERROR_ACCESS},
    {"badrequest", ERROR_CALLER},
    {"bad_request", ERROR_CALLER},
    {"invalid_request", ERROR_CALLER},
    {"invalidrequest", ERROR_CALLER},
    {"invalid_argument", ERROR_CALLER},
    {"invalidargument", ERROR_CALLER},
    {"unprocessable", ERROR_CALLER},
};

static enum error_kind kind_of_words(struct bytes text, bool context_only)
{
    char low[256];
    size_t n = text.size < sizeof low ? text.size : sizeof low;
    for (size_t i = 0; i < n; i++) {
        uint8_t c = text.data[i];
        low[i] = (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
    }
    struct bytes t = bytes_of(low, n);
    for (size_t i = 0; n && i < ARRAY_LEN(fragments); i++)
        if ((!context_only || fragments[i].kind == ERROR_CONTEXT) &&
            bytes_find(t, bytes_str(fragments[i].fragment)) < t.size)
            return fragments[i].kind;
    return ERROR_NONE;
}

static enum error_kind kind_of_status(uint32_t status)
{
    switch (status) {
    case 400:
    case 413:
    case 422: return ERROR_CALLER;
    case 401:
    case 403:
    case 404: return ERROR_ACCESS;
    case 408:
    case 504: return ERROR_TIMEOUT;
    case 429: return ERROR_RATE;
    case 499: return ERROR_CANCEL;
    default: return status >= 500 ? ERROR_PROVIDER : status >= 400 ? ERROR_CALLER : ERROR_NONE;
    }
}

static enum error_kind error_kind_of(const struct found *f, const struct outcome_span *s,
                                     const struct genai_row *r)
{
    struct bytes text = found_text(f, ATTR_ERROR_TEXT);
    enum error_kind k = kind_of_words(r->error_type, false);
    enum error_kind by_status = kind_of_status(r->http_status);
    /* A 400 of any name is a truncation when its text says so; elsewhere the words of the type are the best witness. */
    if (kind_of_words(text, true) != ERROR_NONE ||
        kind_of_words(s->status_message, true) != ERROR_NONE ||
        kind_of_words(f->exception_text, true) != ERROR_NONE)
        return ERROR_CONTEXT;
    if (k == ERROR_NONE || (k == ERROR_ACCESS && by_status == ERROR_CALLER))
        k = by_status;
    if (k == ERROR_NONE)
        k = kind_of_words(f->exception_type, false);
    if (k == ERROR_NONE)
        k = kind_of_words(text, false);
    if (k == ERROR_NONE)
        k = kind_of_words(s->status_message, false);
    return k == ERROR_NONE ? ERROR_PROVIDER : k;
}

/* --- outcomes ---------------------------------------------------------------------------------------- */

static void set(struct genai_row *r, enum tsdb_outcome outcome, enum tsdb_fault fault)
{
    r->outcome = (uint8_t)outcome;
    r->fault = (uint8_t)fault;
}

/* The caller went away: before the first token and early it counts for nothing; late it is an abandonment; inside a healthy stream
 * the answer was good as far as it went, and only its length in time says nothing. */
static void decide_cancel(const struct outcome_span *s, struct genai_row *r)
{
    if (r->flags & TSDB_ROW_HEDGE_LOSER) {
        set(r, TSDB_OUTCOME_CANCELLED, TSDB_FAULT_NONE);
        r->latency_excluded = "hedge";
    } else if (r->ttft_ns >= 0) {
        set(r, TSDB_OUTCOME_OK, TSDB_FAULT_NONE);
        r->latency_excluded = "cancelled";
    } else if (r->duration_ns > s->ttft_target_ns) {
        set(r, TSDB_OUTCOME_ABANDONED, TSDB_FAULT_PLATFORM);
    } else {
        set(r, TSDB_OUTCOME_CANCELLED, TSDB_FAULT_CALLER);
        r->latency_excluded = "cancelled";
    }
}

static void decide_call_error(const struct outcome_span *s, enum error_kind k, struct genai_row *r)
{
    bool started = (r->flags & TSDB_ROW_STREAM) && r->ttft_any_ns >= 0;
    switch (k) {
    case ERROR_CONTEXT:
        set(r, TSDB_OUTCOME_CALLER_ERROR, TSDB_FAULT_CALLER);
        r->truncation = GENAI_TRUNCATION_CONTEXT_WINDOW;
        break;
    case ERROR_BLOCKED: set(r, TSDB_OUTCOME_BLOCKED, TSDB_FAULT_POLICY); break;
    case ERROR_QUOTA: set(r, TSDB_OUTCOME_QUOTA_DENIED, TSDB_FAULT_POLICY); break;
    case ERROR_RATE: set(r, TSDB_OUTCOME_RATE_LIMITED, TSDB_FAULT_PLATFORM); break;
    case ERROR_CANCEL: decide_cancel(s, r); break;
    case ERROR_TIMEOUT: set(r, TSDB_OUTCOME_TIMEOUT, TSDB_FAULT_PROVIDER); break;
    case ERROR_ACCESS: set(r, TSDB_OUTCOME_PROVIDER_ERROR, TSDB_FAULT_PLATFORM); break;
    case ERROR_CALLER: set(r, TSDB_OUTCOME_CALLER_ERROR, TSDB_FAULT_CALLER); break;
    default:
        set(r, started ? TSDB_OUTCOME_STREAM_CUT : TSDB_OUTCOME_PROVIDER_ERROR,
            TSDB_FAULT_PROVIDER);
    }
}

/* At our own door: 4xx is the user's, the rest ours. A 429 that does not call itself a quota left the user without an answer: bad. */
static void decide_request_error(const struct outcome_span *s, enum error_kind k,
                                 struct genai_row *r)
{
    switch (k) {
    case ERROR_CONTEXT:
    case ERROR_CALLER:
    case ERROR_ACCESS: set(r, TSDB_OUTCOME_CALLER_ERROR, TSDB_FAULT_CALLER); break;
    case ERROR_BLOCKED: set(r, TSDB_OUTCOME_BLOCKED, TSDB_FAULT_POLICY); break;
    case ERROR_QUOTA: set(r, TSDB_OUTCOME_QUOTA_DENIED, TSDB_FAULT_POLICY); break;
    case ERROR_RATE: set(r, TSDB_OUTCOME_RATE_LIMITED, TSDB_FAULT_PLATFORM); break;
    case ERROR_CANCEL: decide_cancel(s, r); break;
    case ERROR_TIMEOUT: set(r, TSDB_OUTCOME_TIMEOUT, TSDB_FAULT_PLATFORM); break;
    default: set(r, TSDB_OUTCOME_PROVIDER_ERROR, TSDB_FAULT_PLATFORM);
    }
}

static bool stream_stalled(struct found *f)
{
    int64_t limit = STREAM_GAP_FACTOR * found_gap_median(f);
    return f->gap_max_ns > (limit > STREAM_GAP_MIN_NS ? limit : STREAM_GAP_MIN_NS);
}

/* Dialects whose streams always close with a finish reason; elsewhere its absence says nothing. */
static bool dialect_has_finish(uint8_t dialect)
{
    return dialect == GENAI_DIALECT_OTEL_1_36 || dialect == GENAI_DIALECT_OTEL_1_37 ||
           dialect == GENAI_DIALECT_OTEL_0_1 || dialect == GENAI_DIALECT_OPENLLMETRY ||
           dialect == GENAI_DIALECT_VERCEL || dialect == GENAI_DIALECT_OPENLIT;
}

static bool json_is_broken(const struct found *f)
{
    struct arena *a;
    struct json_node *tree;
    if (found_has(f, ATTR_JSON_VALID))
        return !found_bool(f, ATTR_JSON_VALID, true);
    struct bytes type = found_text(f, ATTR_OUTPUT_TYPE);
    if (!bytes_equal_str(type, "json") && !bytes_equal_str(type, "json_object") &&
        !bytes_equal_str(type, "json_schema"))
        return false;
    if (!found_has(f, ATTR_OUTPUT_TEXT) || f->type[ATTR_OUTPUT_TEXT] != ATTR_CONTENT ||
        f->rank[ATTR_OUTPUT_TEXT] <= 3) /* message lists wrap the text: not judged here */
        return false;
    struct bytes text = found_text(f, ATTR_OUTPUT_TEXT);
    if (!text.size || text.size > 65536 || !(a = arena_new(1u << 20)))
        return false;
    enum err e = json_in_tree(text, 64, a, &tree, NULL);
    arena_free(a);
    return e == ERR_INVALID;
}

/* The status says it went well; did it? */
static void decide_call_good(struct found *f, struct genai_row *r)
{
    bool stream = r->flags & TSDB_ROW_STREAM;
    bool tools = f->has_tool_calls || bytes_equal_str(r->finish_reason, "tool_calls");
    set(r, TSDB_OUTCOME_OK, TSDB_FAULT_NONE);
    if (bytes_equal_str(r->finish_reason, "content_filter"))
        set(r, TSDB_OUTCOME_BLOCKED, TSDB_FAULT_POLICY);
    else if (stream && (f->has_exception || stream_stalled(f) ||
                        (!r->finish_reason.size && dialect_has_finish(r->dialect))))
        set(r, TSDB_OUTCOME_STREAM_CUT, TSDB_FAULT_PROVIDER);
    else if (!r->is_embedding && !tools &&
             (r->output_tokens == 0 || (f->output_seen && !f->output_visible) ||
              (r->reasoning_tokens > 0 && r->reasoning_tokens == r->output_tokens) ||
              (f->chunks > 0 && f->first_visible_ns == 0 && !f->output_visible)))
        set(r, TSDB_OUTCOME_EMPTY, TSDB_FAULT_PROVIDER);
    else if (json_is_broken(f))
        set(r, TSDB_OUTCOME_INVALID, TSDB_FAULT_PROVIDER);
}

static void decide_truncation(const struct found *f, struct genai_row *r)
{
    struct bytes said = found_text(f, ATTR_TRUNCATION);
    int64_t lost;
    if (bytes_equal_str(said, "max_tokens"))
        r->truncation = GENAI_TRUNCATION_MAX_TOKENS;
    else if (bytes_equal_str(said, "context_window"))
        r->truncation = GENAI_TRUNCATION_CONTEXT_WINDOW;
    else if (bytes_equal_str(said, "input_trimmed"))
        r->truncation = GENAI_TRUNCATION_INPUT_TRIMMED;
    else if (bytes_equal_str(r->finish_reason, "context_window"))
        r->truncation = GENAI_TRUNCATION_CONTEXT_WINDOW;
    else if (bytes_equal_str(r->finish_reason, "length"))
        /* Stopped for length below the caller's own limit: the window was full. */
        r->truncation =
            r->max_tokens > 0 && r->output_tokens >= 0 && r->output_tokens < r->max_tokens
                ? GENAI_TRUNCATION_CONTEXT_WINDOW
                : GENAI_TRUNCATION_MAX_TOKENS;
    if (found_i64(f, ATTR_TOKENS_LOST, &lost) && lost > 0) {
        r->tokens_lost = lost;
        if (r->truncation == GENAI_TRUNCATION_NONE)
            r->truncation = GENAI_TRUNCATION_INPUT_TRIMMED;
    }
}

static void decide_safety(const struct found *f, struct genai_row *r)
{
    struct bytes verdict = found_text(f, ATTR_GUARDRAIL);
    bool denied = bytes_equal_str(verdict, "deny") || bytes_equal_str(verdict, "block") ||
                  bytes_equal_str(verdict, "blocked") || bytes_equal_str(verdict, "intervened");
    struct bytes category = found_text(f, ATTR_SAFETY_CATEGORY);
    if (r->outcome == TSDB_OUTCOME_BLOCKED || denied)
        r->safety_category = category.size ? category : BYTES_LIT("content_filter");
    r->bypass_why = found_text(f, ATTR_SAFETY_BYPASS);
}

void outcome_decide(struct found *f, const struct outcome_span *s, struct genai_row *r)
{
    struct bytes status = found_text(f, ATTR_RESPONSE_STATUS);
    bool cancelled = bytes_equal_str(status, "cancelled") ||
                     bytes_equal_str(r->finish_reason, "cancelled") ||
                     (r->flags & TSDB_ROW_HEDGE_LOSER);
    bool failed = s->status == 2 || r->error_type.size || r->http_status >= 400 ||
                  bytes_equal_str(status, "failed") || bytes_equal_str(r->finish_reason, "error");
    bool is_call = r->row_class & TSDB_CLASS_CALL, is_request = r->row_class & TSDB_CLASS_REQUEST;
    decide_truncation(f, r);
    if (!is_call && !is_request) {
        if (bytes_equal_str(r->operation, "guardrail") &&
            failed) /* it failed and the answer went on */
            r->bypass_why = error_kind_of(f, s, r) == ERROR_TIMEOUT ? BYTES_LIT("filter_timeout")
                                                                    : BYTES_LIT("filter_error");
    } else if (cancelled)
        decide_cancel(s, r);
    else if (failed && is_call)
        decide_call_error(s, error_kind_of(f, s, r), r);
    else if (failed)
        decide_request_error(s, error_kind_of(f, s, r), r);
    else if (is_call)
        decide_call_good(f, r);
    else
        set(r, TSDB_OUTCOME_OK, TSDB_FAULT_NONE);
    struct bytes why = r->bypass_why;
    decide_safety(f, r);
    if (!r->bypass_why.size)
        r->bypass_why = why;
    if (r->flags & TSDB_ROW_BAD_TIME)
        r->latency_excluded = "bad_time";
    else if (r->plane == TSDB_PLANE_BATCH)
        r->latency_excluded = "batch";
}
