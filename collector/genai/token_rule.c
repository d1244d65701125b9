#include "collector/genai/token_rule.h"

#include "base/check.h"

/* Emitters that deviate from "totals hold their parts". Everything else: inclusive, unless the sum shows otherwise. */
static const struct {
    uint8_t dialect;
    bool cache_apart, thoughts_apart, tools_apart;
} sources[] = {
    {GENAI_DIALECT_CLAUDE_CODE, true, false, false},
    {GENAI_DIALECT_GEMINI_CLI, false, true, true},
    {GENAI_DIALECT_GOOGLE_ADK, false, true, false},
};

/* Ten times the largest context and more: what is larger is no count of tokens. Sums of what is smaller, and their cost, stay far from the end of
 * int64. */
#define TOKENS_END (INT64_C(1) << 30)

static int64_t tokens_of(const struct found *f, enum attr_field field)
{
    int64_t v;
    return found_i64(f, field, &v) && v >= 0 && v < TOKENS_END ? v : -1;
}

static int64_t json_tokens(struct bytes json, const char *const *keys, size_t n)
{
    int64_t v;
    for (size_t i = 0; i < n; i++)
        if (found_json_i64(json, keys[i], &v))
            return v >= 0 && v < TOKENS_END ? v : -1;
    return -1;
}

/* Langfuse puts all counts into one JSON attribute. */
static void tokens_from_json(const struct found *f, struct genai_row *r)
{
    static const char *const input[] = {"\"input\"", "\"prompt_tokens\"", "\"input_tokens\""};
    static const char *const output[] = {"\"output\"", "\"completion_tokens\"",
                                         "\"output_tokens\""};
    static const char *const read[] = {"\"cache_read_input_tokens\"", "\"input_cached_tokens\"",
                                       "\"input_cache_read\""};
    static const char *const write[] = {"\"cache_creation_input_tokens\"",
                                        "\"input_cache_creation\""};
    static const char *const reasoning[] = {"\"output_reasoning_tokens\"", "\"reasoning\""};
    struct bytes json = found_text(f, ATTR_USAGE_JSON);
    if (!json.size)
        return;
    if (r->input_tokens < 0)
        r->input_tokens = json_tokens(json, input, 3);
    if (r->output_tokens < 0)
        r->output_tokens = json_tokens(json, output, 3);
    if (r->cache_read_tokens < 0)
        r->cache_read_tokens = json_tokens(json, read, 3);
    if (r->cache_write_tokens < 0)
        r->cache_write_tokens = json_tokens(json, write, 2);
    if (r->reasoning_tokens < 0)
        r->reasoning_tokens = json_tokens(json, reasoning, 2);
}

/* Details of a total as one text, JSON or the way Python prints a dict: {'cache_read': 154250, 'audio': 0}. */
static void tokens_from_details(const struct found *f, struct genai_row *r)
{
    static const char *const read[] = {"\"cache_read\"", "'cache_read'", "\"cached_tokens\"",
                                       "'cached_tokens'"};
    static const char *const write[] = {"\"cache_creation\"", "'cache_creation'"};
    static const char *const write_5m[] = {"\"ephemeral_5m_input_tokens\"",
                                           "'ephemeral_5m_input_tokens'"};
    static const char *const write_1h[] = {"\"ephemeral_1h_input_tokens\"",
                                           "'ephemeral_1h_input_tokens'"};
    static const char *const audio[] = {"\"audio\"", "'audio'", "\"audio_tokens\"",
                                        "'audio_tokens'"};
    static const char *const reasoning[] = {"\"reasoning\"", "'reasoning'", "\"reasoning_tokens\"",
                                            "'reasoning_tokens'"};
    struct bytes in = found_text(f, ATTR_INPUT_DETAILS), out = found_text(f, ATTR_OUTPUT_DETAILS);
    const struct {
        struct bytes text;
        int64_t *to;
        const char *const *keys;
        size_t n;
    } parts[] = {
        {in, &r->cache_read_tokens, read, ARRAY_LEN(read)},
        {in, &r->cache_write_tokens, write, ARRAY_LEN(write)},
        {in, &r->cache_write_1h_tokens, write_1h, ARRAY_LEN(write_1h)},
        {in, &r->audio_input_tokens, audio, ARRAY_LEN(audio)},
        {out, &r->audio_output_tokens, audio, ARRAY_LEN(audio)},
        {out, &r->reasoning_tokens, reasoning, ARRAY_LEN(reasoning)},
    };
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        if (parts[i].text.size && *parts[i].to < 0)
            *parts[i].to = json_tokens(parts[i].text, parts[i].keys, parts[i].n);
    /* where the two kinds of cache writes are told apart, "cache_creation" may be 0 beside them */
    int64_t w5 = in.size ? json_tokens(in, write_5m, ARRAY_LEN(write_5m)) : -1;
    int64_t both =
        (w5 > 0 ? w5 : 0) + (r->cache_write_1h_tokens > 0 ? r->cache_write_1h_tokens : 0);
    if (in.size && both > r->cache_write_tokens && w5 >= 0)
        r->cache_write_tokens = both;
}

static void tokens_read(const struct found *f, struct genai_row *r)
{
    r->input_tokens = tokens_of(f, ATTR_INPUT);
    r->output_tokens = tokens_of(f, ATTR_OUTPUT);
    r->cache_read_tokens = tokens_of(f, ATTR_CACHE_READ);
    r->cache_write_tokens = tokens_of(f, ATTR_CACHE_WRITE);
    r->cache_write_1h_tokens = tokens_of(f, ATTR_CACHE_WRITE_1H);
    r->reasoning_tokens = tokens_of(f, ATTR_REASONING);
    r->audio_input_tokens = tokens_of(f, ATTR_AUDIO_INPUT);
    r->audio_cache_read_tokens = tokens_of(f, ATTR_AUDIO_CACHE_READ);
    r->audio_output_tokens = tokens_of(f, ATTR_AUDIO_OUTPUT);
    r->image_input_tokens = tokens_of(f, ATTR_IMAGE_INPUT);
    r->image_cache_read_tokens = tokens_of(f, ATTR_IMAGE_CACHE_READ);
    r->image_output_tokens = tokens_of(f, ATTR_IMAGE_OUTPUT);
    r->images = tokens_of(f, ATTR_IMAGES);
    tokens_from_json(f, r);
    tokens_from_details(f, r);
    int64_t write_5m = tokens_of(f, ATTR_CACHE_WRITE_5M);
    if (r->cache_write_tokens < 0 && (write_5m >= 0 || r->cache_write_1h_tokens >= 0))
        r->cache_write_tokens = (write_5m > 0 ? write_5m : 0) +
                                (r->cache_write_1h_tokens > 0 ? r->cache_write_1h_tokens : 0);
}

void token_rule_apply(const struct found *f, struct genai_row *r)
{
    tokens_read(f, r);
    r->raw_input_tokens = r->input_tokens;
    r->rule = GENAI_RULE_NONE;
    int64_t total = tokens_of(f, ATTR_TOTAL);
    if (r->input_tokens < 0 && r->output_tokens < 0) {
        if (total < 0)
            return;
        r->input_tokens = total;
        r->raw_input_tokens = total;
        r->rule = GENAI_RULE_TOTAL_ONLY;
        r->has_usage = true;
        return;
    }
    r->has_usage = true;
    r->rule = GENAI_RULE_INCLUSIVE;
    int64_t read = r->cache_read_tokens > 0 ? r->cache_read_tokens : 0;
    int64_t write = r->cache_write_tokens > 0 ? r->cache_write_tokens : 0;
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
        if (sources[i].dialect != r->dialect)
            continue;
        if (sources[i].cache_apart && r->input_tokens >= 0) {
            r->input_tokens += read + write;
            read = write = 0;
            r->rule = GENAI_RULE_EXCLUSIVE_SOURCE;
        }
        if (sources[i].thoughts_apart && r->output_tokens >= 0 && r->reasoning_tokens > 0) {
            r->output_tokens += r->reasoning_tokens;
            r->rule = GENAI_RULE_OUTPUT_PLUS_THOUGHTS;
        }
        int64_t tools = tokens_of(f, ATTR_TOOL_TOKENS);
        if (sources[i].tools_apart && tools > 0 && r->input_tokens >= 0)
            r->input_tokens += tools;
    }
    if (read + write > r->input_tokens && r->input_tokens >= 0) {
        r->input_tokens += read + write;
        r->rule = GENAI_RULE_EXCLUSIVE_SUM;
    } else if (r->input_tokens < 0 && read + write > 0) {
        r->input_tokens = read + write;
        r->rule = GENAI_RULE_CLAMPED;
    }
    if (r->reasoning_tokens > r->output_tokens) {
        r->output_tokens = (r->output_tokens > 0 ? r->output_tokens : 0) + r->reasoning_tokens;
        r->rule = GENAI_RULE_OUTPUT_PLUS_THOUGHTS;
    }
    int64_t more_in = tokens_of(f, ATTR_COMPACT_INPUT),
            more_out = tokens_of(f, ATTR_COMPACT_OUTPUT);
    if (more_in > 0 || more_out > 0) {
        if (more_in > 0)
            r->input_tokens = (r->input_tokens > 0 ? r->input_tokens : 0) + more_in;
        if (more_out > 0)
            r->output_tokens = (r->output_tokens > 0 ? r->output_tokens : 0) + more_out;
        r->rule = GENAI_RULE_PLATFORM_COMPACTION;
    }
}

void token_rule_estimate(const struct found *f, struct genai_row *r)
{
    /* About four bytes a token in English and in code; a streamed chunk is about one token. */
    int64_t output = f->chunks > 1 ? (int64_t)f->chunks : (f->output_bytes + 3) / 4;
    int64_t input = (f->input_bytes + 3) / 4;
    if (output + input == 0)
        return;
    r->input_tokens = input;
    r->output_tokens = output;
    r->flags |= TSDB_ROW_ESTIMATED;
}
