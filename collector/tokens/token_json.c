/* The JSON encoding: the protobuf's fields in snake_case or lowerCamelCase, ids in hexadecimal, 64-bit numbers as numbers or strings, enums by
 * name or number. The fields of one event may stand in the stream's object itself. */
#include <math.h>

#include "base/check.h"
#include "base/json_in.h"
#include "collector/tokens/token_event.h"

#define DEPTH_MAX 16u /* unknown fields may nest; ours take six levels */
#define TREE_MAX ((size_t)512 << 20)

static enum err wrong(struct token_event_sink *s, const struct json_node *n, const char *expected)
{
    return err_set(s->msg, ERR_INVALID, BYTES_FMT ": expected %s", BYTES_ARG(n->key), expected);
}

/* Is the key this name (snake_case), in either spelling? */
static bool key_is(struct bytes key, const char *name)
{
    size_t i = 0;
    if (bytes_equal_str(key, name))
        return true;
    for (; *name; name++) {
        bool upper = *name == '_';
        name += upper;
        char c = upper ? (char)(*name - 'a' + 'A') : *name;
        if (i == key.size || key.data[i++] != (uint8_t)c)
            return false;
    }
    return i == key.size;
}

static bool is_text(const struct json_node *n)
{
    return n->type == JSON_STRING || n->type == JSON_NULL;
}

static bool whole(const struct json_node *n, uint64_t *out)
{
    double d;
    if (n->type != JSON_NUMBER && n->type != JSON_STRING)
        return false;
    if (bytes_to_u64(n->text, out))
        return true;
    if (!bytes_to_f64(n->text, &d) || !(d >= 0 && d < 9007199254740992.0) || d != floor(d))
        return false;
    *out = (uint64_t)d; /* 1e3, 5.0 */
    return true;
}

static bool name_is(struct bytes text, const char *prefix, const char *name)
{
    struct bytes p = bytes_str(prefix);
    if (text.size > p.size && bytes_equal_nocase(bytes_slice(text, 0, p.size), p))
        text = bytes_slice(text, p.size, text.size);
    return bytes_equal_nocase(text, bytes_str(name));
}

static bool enumerator(const struct json_node *n, const char *prefix, const char *const *names,
                       uint64_t count, uint64_t *out)
{
    if (n->type == JSON_STRING)
        for (uint64_t i = 0; i < count; i++)
            if (name_is(n->text, prefix, names[i])) {
                *out = i;
                return true;
            }
    return n->type == JSON_NUMBER && whole(n, out);
}

static enum err read_id(struct token_event_sink *s, const struct json_node *n, uint8_t *out,
                        size_t size)
{
    if (n->type == JSON_STRING && (n->text.size == 0 || bytes_from_hex(n->text, out, size)))
        return ERR_OK;
    return wrong(s, n, size == 16 ? "16 bytes in hexadecimal" : "8 bytes in hexadecimal");
}

static enum err read_header_field(struct token_event_sink *s, const struct json_node *n,
                                  struct tsdb_token_stream *h)
{
    static const char *const texts[] = {
#define X(name) #name,
        TSDB_TOKEN_TEXTS(X)
#undef X
    };
    if (n->type == JSON_NULL)
        return ERR_OK;
    if (key_is(n->key, "trace_id"))
        return read_id(s, n, h->trace_id, sizeof h->trace_id);
    if (key_is(n->key, "span_id"))
        return read_id(s, n, h->span_id, sizeof h->span_id);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        if (!key_is(n->key, texts[i]))
            continue;
        if (!is_text(n))
            return wrong(s, n, "a string");
        if (n->text.size)
            h->text[i] = n->text;
        return ERR_OK;
    }
    return ERR_OK;
}

static enum err read_number_field(struct token_event_sink *s, const struct json_node *n,
                                  struct token_event *e)
{
    const struct {
        const char *name;
        uint64_t *to;
    } fields[] = {{"time_unix_nano", &e->time_ns},
                  {"tokens", &e->tokens},
                  {"ordinal", &e->ordinal},
                  {"logprob_count", &e->logprob_count}};
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        if (!key_is(n->key, fields[i].name))
            continue;
        if (!whole(n, fields[i].to))
            return wrong(s, n, "a whole number that is not negative");
        e->has_tokens = e->has_tokens || fields[i].to == &e->tokens;
        return ERR_OK;
    }
    bool is_sum = key_is(n->key, "logprob_sum");
    if (is_sum || key_is(n->key, "logprob_min")) {
        double d;
        if (n->type != JSON_NUMBER || !bytes_to_f64(n->text, &d))
            return wrong(s, n, "a number");
        *(is_sum ? &e->logprob_sum : &e->logprob_min) = (float)d;
        e->has_logprob = e->has_logprob || is_sum;
    }
    return ERR_OK;
}

static enum err read_event_field(struct token_event_sink *s, const struct json_node *n,
                                 struct token_event *e)
{
    static const char *const kinds[] = {"chunk", "start", "end", "error"};
    static const char *const channels[] = {"output", "reasoning", "tool"};
    if (n->type == JSON_NULL)
        return ERR_OK;
    if (key_is(n->key, "kind"))
        return enumerator(n, "TOKEN_KIND_", kinds, ARRAY_LEN(kinds), &e->kind)
                   ? ERR_OK
                   : wrong(s, n, "start, chunk, end or error");
    if (key_is(n->key, "channel"))
        return enumerator(n, "TOKEN_CHANNEL_", channels, ARRAY_LEN(channels), &e->channel)
                   ? ERR_OK
                   : wrong(s, n, "output, reasoning or tool");
    bool is_finish = key_is(n->key, "finish_reason");
    if (is_finish || key_is(n->key, "error_type")) {
        if (!is_text(n))
            return wrong(s, n, "a string");
        *(is_finish ? &e->finish_reason : &e->error_type) = n->text;
        return ERR_OK;
    }
    return read_number_field(s, n, e);
}

static enum err read_event(struct token_event_sink *s, uint32_t stream,
                           const struct json_node *object)
{
    struct token_event v = {0};
    enum err e = ERR_OK;
    for (const struct json_node *n = object->child; n && e == ERR_OK; n = n->next)
        e = read_event_field(s, n, &v);
    return e == ERR_OK ? token_event_add(s, stream, &v) : e;
}

/* The array of objects under this name; its first object. */
static enum err array_of(struct token_event_sink *s, const struct json_node *object,
                         const char *name, const struct json_node **out)
{
    *out = NULL;
    for (const struct json_node *n = object->child; n; n = n->next) {
        if (!key_is(n->key, name) || n->type == JSON_NULL)
            continue;
        if (n->type != JSON_ARRAY)
            return wrong(s, n, "an array of objects");
        for (const struct json_node *item = n->child; item; item = item->next)
            if (item->type != JSON_OBJECT)
                return wrong(s, n, "an array of objects");
        *out = n->child;
    }
    return ERR_OK;
}

static bool has_own_event(const struct json_node *object)
{
    for (const struct json_node *n = object->child; n; n = n->next)
        if (key_is(n->key, "time_unix_nano"))
            return true;
    return false;
}

static enum err read_stream(struct token_event_sink *s, const struct json_node *object,
                            struct tsdb_token_stream *h)
{
    const struct json_node *event;
    enum err e = ERR_OK;
    for (const struct json_node *n = object->child; n && e == ERR_OK; n = n->next)
        e = read_header_field(s, n, h);
    if (e == ERR_OK)
        e = array_of(s, object, "events", &event);
    bool own = e == ERR_OK && has_own_event(object);
    uint32_t stream = TOKEN_EVENT_NO_STREAM;
    if (e == ERR_OK && (own || event))
        e = token_event_stream(s, h, &stream);
    if (e == ERR_OK && own)
        e = read_event(s, stream, object);
    for (; e == ERR_OK && event; event = event->next)
        e = read_event(s, stream, event);
    return e;
}

static enum err read_message(struct token_event_sink *s, const struct json_node *root)
{
    struct tsdb_token_stream shared = {0};
    const struct json_node *stream, *deeper;
    if (root->type != JSON_OBJECT)
        return err_set(s->msg, ERR_INVALID, "the body must be a JSON object");
    enum err e = read_stream(s, root, &shared);
    if (e == ERR_OK)
        e = array_of(s, root, "streams", &stream);
    for (; e == ERR_OK && stream; stream = stream->next) {
        struct tsdb_token_stream own = shared;
        e = array_of(s, stream, "streams", &deeper);
        if (e == ERR_OK && deeper)
            e = err_set(s->msg, ERR_TOO_DEEP, "streams within streams");
        if (e == ERR_OK)
            e = read_stream(s, stream, &own);
    }
    return e;
}

enum err token_json_decode(struct token_event_sink *s, struct bytes message)
{
    struct arena *a = arena_new(s->o->tree_max ? s->o->tree_max : TREE_MAX);
    struct json_node *root;
    if (!a)
        return ERR_NOMEM;
    enum err e = json_in_tree(message, DEPTH_MAX, a, &root, s->msg);
    if (e == ERR_OK)
        e = read_message(s, root);
    else if (e == ERR_LIMIT)
        e = err_set(s->msg, ERR_TOO_LARGE, "the request needs more memory than one may use");
    arena_free(a);
    return e;
}
