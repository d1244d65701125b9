#include "collector/genai/found.h"

#include "base/clock.h"
#include "base/stats.h"
#include "collector/genai/genai.h"

#include <math.h>
#include <stdlib.h>

STATS_COUNTER(bad_values, "telltale_genai_bad_values_total", "",
              "Attribute values of known names that could not be read as their type.")

static bool value_f64(const struct tsdb_value *v, double *out);
static void found_content(struct found *f, struct bytes key, const struct tsdb_value *v);
static void found_chunk(struct found *f, const struct tsdb_event *e);

void found_clear(struct found *f)
{
    memset(f, 0, offsetof(struct found, value));
}

static bool text_is_blank(struct bytes s)
{
    return bytes_trim(s).size == 0;
}

static void found_output(struct found *f, struct bytes text)
{
    f->output_seen = true;
    f->output_bytes += (uint32_t)(text.size > 1u << 24 ? 1u << 24 : text.size);
    struct bytes t = bytes_trim(text);
    bool empty = t.size == 0 || bytes_equal_str(t, "[]") || bytes_equal_str(t, "{}") ||
                 bytes_equal_str(t, "\"\"") || bytes_equal_str(t, "null");
    if (!empty)
        f->output_visible = true;
}

static void found_input(struct found *f, struct bytes text)
{
    f->input_bytes += (uint32_t)(text.size > 1u << 24 ? 1u << 24 : text.size);
}

static void found_put(struct found *f, const struct attr_name *n, const struct tsdb_value *v)
{
    if (v->type == TSDB_VALUE_EMPTY ||
        (v->type == TSDB_VALUE_STRING && v->bytes.size == 0 && n->type != ATTR_CONTENT))
        return;
    f->dialects |= 1u << n->dialect;
    if (n->type == ATTR_CONTENT) {
        struct bytes text =
            v->type == TSDB_VALUE_STRING || v->type == TSDB_VALUE_ARRAY ? v->bytes : BYTES_NONE;
        if (n->field == ATTR_OUTPUT_TEXT && v->type == TSDB_VALUE_STRING)
            found_output(f, text);
        else if (n->field == ATTR_INPUT_TEXT || n->field == ATTR_SYSTEM_TEXT)
            found_input(f, text);
    }
    if (f->rank[n->field] && f->rank[n->field] <= n->rank)
        return;
    f->rank[n->field] = n->rank;
    f->type[n->field] = n->type;
    f->value[n->field] = *v;
}

void found_attrs(struct found *f, enum attr_vocabulary vocabulary, struct bytes attrs)
{
    struct tsdb_attrs_iter it = tsdb_attrs_begin(attrs);
    struct bytes key;
    struct tsdb_value v;
    while (tsdb_attrs_next(&it, &key, &v)) {
        const struct attr_name *n = attr_names_find(vocabulary, key);
        if (n)
            found_put(f, n, &v);
        else if (vocabulary == ATTR_VOCABULARY_SPAN && key.size > 10)
            found_content(f, key, &v);
    }
}

/* Flattened messages: gen_ai.prompt.0.content, llm.output_messages.0.message.content, ... */
static void found_content(struct found *f, struct bytes key, const struct tsdb_value *v)
{
    static const struct {
        struct bytes prefix;
        uint8_t dialect;
        bool is_output;
    } prefixes[] = {
        {BYTES_LIT("gen_ai.prompt."), GENAI_DIALECT_OPENLLMETRY, false},
        {BYTES_LIT("gen_ai.completion."), GENAI_DIALECT_OPENLLMETRY, true},
        {BYTES_LIT("llm.input_messages."), GENAI_DIALECT_OPENINFERENCE, false},
        {BYTES_LIT("llm.output_messages."), GENAI_DIALECT_OPENINFERENCE, true},
    };
    if (key.data[0] != 'g' && key.data[0] != 'l')
        return;
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        if (!bytes_has_prefix(key, prefixes[i].prefix))
            continue;
        f->dialects |= 1u << prefixes[i].dialect;
        if (!prefixes[i].is_output) {
            if (v->type == TSDB_VALUE_STRING)
                found_input(f, v->bytes);
            return;
        }
        if (bytes_find(key, BYTES_LIT("tool_call")) < key.size)
            f->has_tool_calls = true;
        if (bytes_has_suffix(key, BYTES_LIT(".finish_reason")) && !f->rank[ATTR_FINISH] &&
            v->type == TSDB_VALUE_STRING) {
            f->rank[ATTR_FINISH] = 7;
            f->type[ATTR_FINISH] = ATTR_TEXT;
            f->value[ATTR_FINISH] = *v;
        }
        if (bytes_has_suffix(key, BYTES_LIT(".content")) && v->type == TSDB_VALUE_STRING) {
            found_output(f, v->bytes);
            if (!f->rank[ATTR_OUTPUT_TEXT]) {
                f->rank[ATTR_OUTPUT_TEXT] = 7;
                f->type[ATTR_OUTPUT_TEXT] = ATTR_CONTENT;
                f->value[ATTR_OUTPUT_TEXT] = *v;
            }
        }
        return;
    }
}

/* Events that mark a chunk of a streamed answer. */
static bool event_is_chunk(struct bytes name)
{
    static const struct bytes names[] = {
        BYTES_LIT("llm.content.completion.chunk"),
        BYTES_LIT("gen_ai.content.completion.chunk"),
        BYTES_LIT("First Token Stream Event"),
        BYTES_LIT("ai.stream.firstChunk"),
        BYTES_LIT("gen_ai.first_token"),
        BYTES_LIT("first_token"),
        BYTES_LIT("gen_ai.stream.chunk"),
        BYTES_LIT("gen_ai.token"),
        BYTES_LIT("llm.token.event"),
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (bytes_equal(name, names[i]))
            return true;
    return false;
}

void found_events(struct found *f, struct bytes events)
{
    struct tsdb_attrs_iter it = tsdb_attrs_begin(events);
    struct tsdb_event e;
    while (tsdb_attrs_next_event(&it, &e)) {
        struct tsdb_value v;
        if (bytes_equal_str(e.name, "exception") ||
            bytes_equal_str(e.name, "gen_ai.client.operation.exception")) {
            f->has_exception = true;
            if (tsdb_attrs_find(e.attrs, BYTES_LIT("exception.type"), &v) &&
                v.type == TSDB_VALUE_STRING)
                f->exception_type = v.bytes;
            if (tsdb_attrs_find(e.attrs, BYTES_LIT("exception.message"), &v) &&
                v.type == TSDB_VALUE_STRING)
                f->exception_text = v.bytes;
        } else if (bytes_equal_str(e.name, "gen_ai.choice")) {
            f->dialects |= 1u << GENAI_DIALECT_OTEL_1_36;
            if (tsdb_attrs_find(e.attrs, BYTES_LIT("finish_reason"), &v) &&
                v.type == TSDB_VALUE_STRING)
                f->choice_finish = v.bytes;
            if (tsdb_attrs_find(e.attrs, BYTES_LIT("message"), &v) ||
                tsdb_attrs_find(e.attrs, BYTES_LIT("content"), &v))
                if (v.type == TSDB_VALUE_STRING)
                    found_output(f, v.bytes);
        } else if (bytes_equal_str(e.name, "gen_ai.content.completion")) {
            if (tsdb_attrs_find(e.attrs, BYTES_LIT("gen_ai.completion"), &v) &&
                v.type == TSDB_VALUE_STRING)
                found_output(f, v.bytes);
        } else if (bytes_equal_str(e.name, "gen_ai.content.prompt") ||
                   bytes_equal_str(e.name, "gen_ai.user.message") ||
                   bytes_equal_str(e.name, "gen_ai.system.message")) {
            if (tsdb_attrs_find(e.attrs, BYTES_LIT("gen_ai.prompt"), &v) ||
                tsdb_attrs_find(e.attrs, BYTES_LIT("content"), &v))
                if (v.type == TSDB_VALUE_STRING)
                    found_input(f, v.bytes);
        } else if (event_is_chunk(e.name))
            found_chunk(f, &e);
    }
}

/* Role-only, empty and reasoning chunks do not stop the clock of the first visible token. */
static void found_chunk(struct found *f, const struct tsdb_event *e)
{
    static const struct bytes texts[] = {
        BYTES_LIT("gen_ai.completion"), BYTES_LIT("gen_ai.content.completion"),
        BYTES_LIT("content"), BYTES_LIT("llm.content.completion.chunk"), BYTES_LIT("text")};
    int64_t t = e->time_ns > INT64_MAX ? 0 : (int64_t)e->time_ns;
    bool visible = true;
    struct tsdb_value v;
    if (tsdb_attrs_find(e->attrs, BYTES_LIT("gen_ai.chunk.type"), &v) &&
        v.type == TSDB_VALUE_STRING)
        visible = bytes_equal_str(v.bytes, "text") || bytes_equal_str(v.bytes, "content");
    else if (tsdb_attrs_find(e->attrs, BYTES_LIT("gen_ai.content.reasoning"), &v))
        visible = false;
    for (size_t i = 0; visible && i < sizeof texts / sizeof *texts; i++)
        if (tsdb_attrs_find(e->attrs, texts[i], &v) && v.type == TSDB_VALUE_STRING) {
            visible = !text_is_blank(v.bytes);
            f->output_bytes += (uint32_t)(v.bytes.size > 1u << 20 ? 1u << 20 : v.bytes.size);
            break;
        }
    f->chunks++;
    if (!f->first_chunk_ns || t < f->first_chunk_ns)
        f->first_chunk_ns = t;
    if (visible && (!f->first_visible_ns || t < f->first_visible_ns))
        f->first_visible_ns = t;
    if (f->last_chunk_ns && t > f->last_chunk_ns) {
        int64_t gap = t - f->last_chunk_ns;
        if (gap > f->gap_max_ns)
            f->gap_max_ns = gap;
        if (f->gaps < FOUND_GAPS_MAX)
            f->gap[f->gaps++] = gap;
    }
    if (t > f->last_chunk_ns)
        f->last_chunk_ns = t;
}

static int i64_compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

int64_t found_gap_median(struct found *f)
{
    if (!f->gaps)
        return 0;
    qsort(f->gap, f->gaps, sizeof f->gap[0], i64_compare);
    return f->gap[f->gaps / 2];
}

/* --- reading values ---------------------------------------------------------------------------- */

/* `["stop"]` and `"stop"` as text are the array and the string that a JSON-minded sender meant. */
static struct bytes text_unquoted(struct bytes s)
{
    s = bytes_trim(s);
    if (s.size >= 2 && s.data[0] == '[' && s.data[s.size - 1] == ']')
        s = bytes_trim(bytes_slice(s, 1, s.size - 1));
    if (s.size >= 2 && s.data[0] == '"') {
        size_t end = bytes_find(bytes_slice(s, 1, s.size), BYTES_LIT("\""));
        if (end + 1 < s.size)
            return bytes_slice(s, 1, 1 + end);
    }
    return s;
}

struct bytes found_text(const struct found *f, enum attr_field field)
{
    if (!f->rank[field])
        return BYTES_NONE;
    const struct tsdb_value *v = &f->value[field];
    if (v->type == TSDB_VALUE_STRING)
        return v->bytes.size && (v->bytes.data[0] == '[' || v->bytes.data[0] == '"') &&
                       f->type[field] == ATTR_TEXT
                   ? text_unquoted(v->bytes)
                   : v->bytes;
    if (v->type == TSDB_VALUE_ARRAY) {
        struct tsdb_attrs_iter it = tsdb_attrs_begin(v->bytes);
        struct tsdb_value first;
        if (tsdb_attrs_next_value(&it, &first) && first.type == TSDB_VALUE_STRING)
            return first.bytes;
    }
    return BYTES_NONE;
}

static bool value_f64(const struct tsdb_value *v, double *out)
{
    switch (v->type) {
    case TSDB_VALUE_INT: *out = (double)v->integer; return true;
    case TSDB_VALUE_DOUBLE: *out = v->number; return isfinite(v->number);
    case TSDB_VALUE_STRING: return bytes_to_f64(bytes_trim(v->bytes), out) && isfinite(*out);
    default: return false;
    }
}

bool found_i64(const struct found *f, enum attr_field field, int64_t *out)
{
    if (!f->rank[field])
        return false;
    const struct tsdb_value *v = &f->value[field];
    double d;
    if (v->type == TSDB_VALUE_INT) {
        *out = v->integer;
        return true;
    }
    if (v->type == TSDB_VALUE_STRING && bytes_to_i64(bytes_trim(v->bytes), out))
        return true;
    if (value_f64(v, &d) && d >= -9e15 && d <= 9e15) {
        *out = (int64_t)llround(d);
        return true;
    }
    stats_add(&bad_values, 1);
    return false;
}

bool found_bool(const struct found *f, enum attr_field field, bool def)
{
    if (!f->rank[field])
        return def;
    const struct tsdb_value *v = &f->value[field];
    if (v->type == TSDB_VALUE_BOOL)
        return v->boolean;
    if (v->type == TSDB_VALUE_INT)
        return v->integer != 0;
    if (v->type == TSDB_VALUE_STRING) {
        if (bytes_equal_nocase(v->bytes, BYTES_LIT("true")) || bytes_equal_str(v->bytes, "1"))
            return true;
        if (bytes_equal_nocase(v->bytes, BYTES_LIT("false")) || bytes_equal_str(v->bytes, "0"))
            return false;
    }
    stats_add(&bad_values, 1);
    return def;
}

static bool text_timestamp(struct bytes s, int64_t *out)
{
    char text[64];
    s = text_unquoted(s);
    if (bytes_to_i64(s, out))
        return true;
    if (s.size == 0 || s.size >= sizeof text)
        return false;
    memcpy(text, s.data, s.size);
    text[s.size] = 0;
    return clock_parse_rfc3339(text, out) != 0;
}

bool found_ns(const struct found *f, enum attr_field field, int64_t *out)
{
    double d;
    if (!f->rank[field])
        return false;
    const struct tsdb_value *v = &f->value[field];
    if (f->type[field] == ATTR_TIMESTAMP && v->type == TSDB_VALUE_STRING) {
        if (text_timestamp(v->bytes, out))
            return true;
    } else if (value_f64(v, &d)) {
        double scale = f->type[field] == ATTR_SECONDS  ? 1e9
                       : f->type[field] == ATTR_MILLIS ? 1e6
                                                       : 1;
        if (fabs(d * scale) < 9e18) {
            *out = llround(d * scale);
            return true;
        }
    }
    stats_add(&bad_values, 1);
    return false;
}

bool found_nanousd(const struct found *f, enum attr_field field, int64_t *out)
{
    double d;
    if (!f->rank[field])
        return false;
    if (value_f64(&f->value[field], &d)) {
        double scale = f->type[field] == ATTR_USD_MICROS ? 1e3 : 1e9;
        if (fabs(d * scale) < 9e17) {
            *out = llround(d * scale);
            return true;
        }
    }
    stats_add(&bad_values, 1);
    return false;
}

static struct bytes json_after_key(struct bytes json, const char *quoted_key)
{
    size_t at = bytes_find(json, bytes_str(quoted_key));
    if (at >= json.size)
        return BYTES_NONE;
    struct bytes rest = bytes_trim(bytes_slice(json, at + strlen(quoted_key), json.size));
    if (rest.size == 0 || rest.data[0] != ':')
        return BYTES_NONE;
    return bytes_trim(bytes_slice(rest, 1, rest.size));
}

bool found_json_i64(struct bytes json, const char *quoted_key, int64_t *out)
{
    struct bytes rest = json_after_key(json, quoted_key);
    size_t n = 0;
    while (n < rest.size && n < 18 && rest.data[n] >= '0' && rest.data[n] <= '9')
        n++;
    return n > 0 && bytes_to_i64(bytes_slice(rest, 0, n), out);
}

bool found_json_nanousd(struct bytes json, const char *quoted_key, int64_t *out)
{
    struct bytes rest = json_after_key(json, quoted_key);
    size_t n = 0;
    double usd;
    while (n < rest.size && n < 32 && rest.data[n] != ',' && rest.data[n] != '}' &&
           rest.data[n] != ' ')
        n++;
    if (!n || !bytes_to_f64(bytes_slice(rest, 0, n), &usd) || !(usd >= 0) || usd > 1e6)
        return false;
    *out = llround(usd * 1e9);
    return true;
}

struct bytes found_json_text(struct bytes json, const char *quoted_key)
{
    struct bytes rest = json_after_key(json, quoted_key);
    if (rest.size < 2 || rest.data[0] != '"')
        return BYTES_NONE;
    rest = bytes_slice(rest, 1, rest.size);
    size_t end = bytes_find(rest, BYTES_LIT("\""));
    return end < rest.size ? bytes_slice(rest, 0, end) : BYTES_NONE;
}

bool found_json_true(struct bytes json, const char *quoted_key)
{
    return bytes_has_prefix(json_after_key(json, quoted_key), BYTES_LIT("true"));
}
