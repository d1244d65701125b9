#include "collector/stage/stage_tokens.h"

#include <math.h>

#include "base/check.h"
#include "base/stats.h"

#define REFUSED "telltale_token_dialect_refused_total"
#define REFUSED_HELP "Chunk events of spans and token log records that are no token events."
STATS_COUNTER(refused_dropped, REFUSED, "reason=\"dropped\"", REFUSED_HELP)
STATS_COUNTER(refused_time, REFUSED, "reason=\"outside_span\"", REFUSED_HELP)
STATS_COUNTER(refused_value, REFUSED, "reason=\"malformed\"", REFUSED_HELP)
STATS_COUNTER(refused_nameless, REFUSED, "reason=\"nameless\"", REFUSED_HELP)

static bool text_attr(struct bytes attrs, const char *key, struct bytes *out)
{
    struct tsdb_value v;
    if (!tsdb_attrs_find(attrs, bytes_str(key), &v) || v.type != TSDB_VALUE_STRING || !v.bytes.size)
        return false;
    *out = v.bytes;
    return true;
}

/* false: it is there, and no number from 0 to max. */
static bool count_attr(struct bytes attrs, const char *key, int64_t max, uint32_t *out)
{
    struct tsdb_value v;
    if (!tsdb_attrs_find(attrs, bytes_str(key), &v))
        return true;
    if (v.type != TSDB_VALUE_INT || v.integer < 0 || v.integer > max)
        return false;
    *out = (uint32_t)v.integer;
    return true;
}

static bool number_attr(struct bytes attrs, const char *key, bool *out_has, float *out)
{
    struct tsdb_value v;
    if (!tsdb_attrs_find(attrs, bytes_str(key), &v))
        return true;
    double d = v.type == TSDB_VALUE_DOUBLE ? v.number
               : v.type == TSDB_VALUE_INT  ? (double)v.integer
                                           : NAN;
    if (!isfinite(d) || !isfinite((float)d))
        return false;
    *out_has = true;
    *out = (float)d;
    return true;
}

/* One of the words, or its place among them; absent: *out stays. */
static bool word_attr(struct bytes attrs, const char *key, const char *const *words, size_t n,
                      uint8_t *out)
{
    struct tsdb_value v;
    if (!tsdb_attrs_find(attrs, bytes_str(key), &v))
        return true;
    for (size_t i = 0; i < n; i++)
        if (v.type == TSDB_VALUE_STRING ? bytes_equal_nocase(v.bytes, bytes_str(words[i]))
                                        : v.type == TSDB_VALUE_INT && v.integer == (int64_t)i) {
            *out = (uint8_t)i;
            return true;
        }
    return false;
}

/* The fields of the schema that both dialects may carry. e->tokens: what it is where nothing is said. */
static bool read_fields(struct bytes attrs, struct tsdb_token_event *e)
{
    static const char *const channels[TSDB_TOKEN_CHANNELS] = {"output", "reasoning", "tool"};
    bool has_sum = false, has_min = false;
    if (!count_attr(attrs, "tokens", STAGE_TOKENS_PER_EVENT_MAX, &e->tokens) ||
        !count_attr(attrs, "ordinal", UINT32_MAX, &e->ordinal) ||
        !word_attr(attrs, "channel", channels, TSDB_TOKEN_CHANNELS, &e->channel) ||
        !number_attr(attrs, "logprob_sum", &has_sum, &e->logprob_sum) ||
        !number_attr(attrs, "logprob_min", &has_min, &e->logprob_min))
        return false;
    if (has_sum || has_min) {
        e->logprob_count = e->tokens;
        return count_attr(attrs, "logprob_count", STAGE_TOKENS_PER_EVENT_MAX, &e->logprob_count);
    }
    return true;
}

/* --- spans ------------------------------------------------------------------------------------------ */

/* Events that come with every chunk. Those that mark only the first token ("First Token Stream Event", gen_ai.first_token, ...) are read
 * by collector/genai: one mark is no stream. */
static bool is_chunk(struct bytes name)
{
    static const struct bytes names[] = {
        BYTES_LIT("llm.content.completion.chunk"), BYTES_LIT("gen_ai.content.completion.chunk"),
        BYTES_LIT("gen_ai.stream.chunk"), BYTES_LIT("gen_ai.token"), BYTES_LIT("llm.token.event")};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (bytes_equal(name, names[i]))
            return true;
    return false;
}

/* What kind of chunk it is in the words of the dialects; an empty text is a role or a keep-alive: no token. */
static void read_chunk(struct bytes attrs, struct tsdb_token_event *e)
{
    static const char *const texts[] = {"gen_ai.completion", "gen_ai.content.completion", "content",
                                        "llm.content.completion.chunk", "text"};
    struct tsdb_value v;
    struct bytes type = BYTES_NONE;
    if (text_attr(attrs, "gen_ai.chunk.type", &type)) {
        if (bytes_equal_str(type, "reasoning") || bytes_equal_str(type, "thinking"))
            e->channel = TSDB_TOKEN_REASONING;
        else if (bytes_has_prefix(type, BYTES_LIT("tool")))
            e->channel = TSDB_TOKEN_TOOL;
        else if (!bytes_equal_str(type, "text") && !bytes_equal_str(type, "content"))
            e->tokens = 0; /* usage, role, end: no words of the model */
    } else if (tsdb_attrs_find(attrs, BYTES_LIT("gen_ai.content.reasoning"), &v))
        e->channel = TSDB_TOKEN_REASONING;
    for (size_t i = 0; e->channel == TSDB_TOKEN_OUTPUT && i < ARRAY_LEN(texts); i++)
        if (tsdb_attrs_find(attrs, bytes_str(texts[i]), &v) && v.type == TSDB_VALUE_STRING) {
            if (!v.bytes.size)
                e->tokens = 0;
            return;
        }
}

/* An end that says why is a whole answer. Many emitters say nothing of it: then the outcome stands for it, which knows of cut streams. */
static struct tsdb_token_event end_of(const struct genai_row *r, int64_t end_ns)
{
    struct tsdb_token_event e = {.time_ns = end_ns, .kind = TSDB_TOKEN_END};
    struct bytes outcome = bytes_str(genai_outcome_text(r->outcome));
    bool is_whole = r->outcome == TSDB_OUTCOME_OK || r->outcome == TSDB_OUTCOME_BLOCKED;
    bool is_cut = r->outcome == TSDB_OUTCOME_STREAM_CUT || r->outcome == TSDB_OUTCOME_NONE;
    if (is_whole || (is_cut && !r->error_type.size)) {
        e.reason = r->finish_reason.size || is_cut ? r->finish_reason : outcome;
    } else {
        e.kind = TSDB_TOKEN_ERROR;
        e.reason = r->error_type.size ? r->error_type : outcome;
    }
    return e;
}

static struct tsdb_token_stream header_of(const struct tsdb_spans *s, uint32_t row,
                                          const struct genai_row *r)
{
    struct tsdb_token_stream h = {.source = TSDB_TOKEN_SPAN,
                                  .text = {[TSDB_TOKEN_TEXT_response_id] = r->response_id,
                                           [TSDB_TOKEN_TEXT_service] = r->service,
                                           [TSDB_TOKEN_TEXT_provider] = r->provider,
                                           [TSDB_TOKEN_TEXT_model] = r->model,
                                           [TSDB_TOKEN_TEXT_endpoint] = r->endpoint,
                                           [TSDB_TOKEN_TEXT_env] = r->env,
                                           [TSDB_TOKEN_TEXT_region] = r->region}};
    memcpy(h.trace_id, s->trace_id[row].b, sizeof h.trace_id);
    memcpy(h.span_id, s->span_id[row].b, sizeof h.span_id);
    return h;
}

/* The stream of the span, made at its first chunk, with its start. */
static bool open_span(struct tsdb_batch *b, const struct tsdb_token_stream *h, int64_t start_ns,
                      uint32_t *stream)
{
    *stream = tsdb_tokens_stream(&b->tokens, b->org, h);
    if (*stream == TSDB_NO_ROW)
        return false;
    struct tsdb_token_event start = {
        .stream = *stream, .time_ns = start_ns, .kind = TSDB_TOKEN_START};
    return tsdb_tokens_add(&b->tokens, &start);
}

bool stage_tokens_span(struct tsdb_batch *b, uint32_t row, const struct genai_row *r)
{
    const struct tsdb_spans *s = &b->spans;
    int64_t start = s->start_ns[row], end = s->end_ns[row];
    if (!(r->row_class & TSDB_CLASS_CALL) || !(r->flags & TSDB_ROW_STREAM) ||
        (r->flags & TSDB_ROW_BAD_TIME) || !s->events[row].size || start <= 0)
        return true;
    struct tsdb_token_stream h = header_of(s, row, r);
    struct tsdb_attrs_iter it = tsdb_attrs_begin(s->events[row]);
    struct tsdb_event at;
    uint32_t stream = TSDB_NO_ROW;
    while (tsdb_attrs_next_event(&it, &at)) {
        if (!is_chunk(at.name))
            continue;
        if (s->dropped[row] || !tsdb_tokens_is_named(&h)) {
            stats_add(s->dropped[row] ? &refused_dropped : &refused_nameless, 1);
            return true;
        }
        struct tsdb_token_event e = {.tokens = 1, .time_ns = (int64_t)at.time_ns};
        read_chunk(at.attrs, &e);
        bool fits = at.time_ns <= INT64_MAX && e.time_ns >= start && e.time_ns <= end;
        if (!fits || !read_fields(at.attrs, &e)) {
            stats_add(fits ? &refused_value : &refused_time, 1);
            continue;
        }
        if (stream == TSDB_NO_ROW && !open_span(b, &h, start, &stream))
            return false;
        e.stream = stream;
        if (!tsdb_tokens_add(&b->tokens, &e))
            return false;
    }
    if (stream == TSDB_NO_ROW)
        return true;
    struct tsdb_token_event last = end_of(r, end);
    last.stream = stream;
    return tsdb_tokens_add(&b->tokens, &last);
}

/* --- log records ------------------------------------------------------------------------------------- */

static bool read_log_event(struct bytes attrs, int64_t time_ns, struct tsdb_token_event *out)
{
    static const char *const kinds[] = {"chunk", "start", "end", "error"};
    struct tsdb_token_event e = {.time_ns = time_ns};
    if (time_ns <= 0 || !word_attr(attrs, "kind", kinds, ARRAY_LEN(kinds), &e.kind))
        return false;
    e.tokens = e.kind == TSDB_TOKEN_CHUNK;
    if (!read_fields(attrs, &e))
        return false;
    if (e.kind == TSDB_TOKEN_END)
        (void)text_attr(attrs, "finish_reason", &e.reason); /* without it: a cut stream */
    if (e.kind == TSDB_TOKEN_ERROR && !text_attr(attrs, "error_type", &e.reason))
        (void)text_attr(attrs, "error.type", &e.reason); /* an error of no known type */
    *out = e;
    return true;
}

/* The schema's name first, then what the rest of the record's world calls it. */
static struct tsdb_token_stream header_of_log(const struct tsdb_logs *l, uint32_t row)
{
    static const struct {
        enum tsdb_token_text text;
        const char *key;
    } own[] = {{TSDB_TOKEN_TEXT_request_id, "request_id"},
               {TSDB_TOKEN_TEXT_response_id, "response_id"},
               {TSDB_TOKEN_TEXT_response_id, "gen_ai.response.id"},
               {TSDB_TOKEN_TEXT_provider, "provider"},
               {TSDB_TOKEN_TEXT_provider, "gen_ai.provider.name"},
               {TSDB_TOKEN_TEXT_model, "model"},
               {TSDB_TOKEN_TEXT_model, "gen_ai.request.model"},
               {TSDB_TOKEN_TEXT_endpoint, "endpoint"},
               {TSDB_TOKEN_TEXT_env, "env"},
               {TSDB_TOKEN_TEXT_region, "region"}},
      resource[] = {{TSDB_TOKEN_TEXT_env, "deployment.environment.name"},
                    {TSDB_TOKEN_TEXT_env, "deployment.environment"},
                    {TSDB_TOKEN_TEXT_region, "cloud.region"}};
    struct tsdb_token_stream h = {.source = TSDB_TOKEN_LOG};
    h.text[TSDB_TOKEN_TEXT_service] = l->service[row];
    for (size_t i = 0; i < ARRAY_LEN(own); i++)
        if (!h.text[own[i].text].size)
            (void)text_attr(l->attrs[row], own[i].key, &h.text[own[i].text]);
    for (size_t i = 0; i < ARRAY_LEN(resource); i++)
        if (!h.text[resource[i].text].size)
            (void)text_attr(l->resource_attrs[row], resource[i].key, &h.text[resource[i].text]);
    memcpy(h.trace_id, l->trace_id[row].b, sizeof h.trace_id);
    memcpy(h.span_id, l->span_id[row].b, sizeof h.span_id);
    return h;
}

bool stage_tokens_log(struct tsdb_batch *b, uint32_t row)
{
    const struct tsdb_logs *l = &b->logs;
    struct tsdb_token_event e;
    if (!bytes_equal_str(l->event_name[row], "gen_ai.token") &&
        !bytes_equal_str(l->event_name[row], "llm.token.event"))
        return true;
    struct tsdb_token_stream h = header_of_log(l, row);
    if (!tsdb_tokens_is_named(&h)) {
        stats_add(&refused_nameless, 1);
        return true;
    }
    if (!read_log_event(l->attrs[row], l->time_ns[row], &e)) {
        stats_add(&refused_value, 1);
        return true;
    }
    e.stream = tsdb_tokens_stream(&b->tokens, b->org, &h);
    return e.stream != TSDB_NO_ROW && tsdb_tokens_add(&b->tokens, &e);
}
