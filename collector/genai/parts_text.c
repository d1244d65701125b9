#include "collector/genai/parts_text.h"

#include "base/buf.h"
#include "base/check.h"
#include "base/json_out.h"

#define LINE_HEADER_MAX 300u /* a line that announces something is a sentence at most */
#define OPEN_TAGS_MAX 64u /* tags that are never closed, each a search to the end */
#define INLINE_WORDS_MAX 4u /* "User question: ..." */

static void input_node(struct parts_text *p, enum parts_role role, const struct json_node *n,
                       unsigned depth);

/* --- lists ------------------------------------------------------------------------------------------ */

void parts_text_document(struct parts_text *p, struct bytes text)
{
    text = bytes_trim(text);
    if (!text.size)
        return;
    if (p->document_count == GENAI_PARTS_DOCUMENTS_MAX) {
        p->cut = true;
        return;
    }
    if (!p->documents)
        p->documents = ARENA_ARRAY(p->arena, struct bytes, GENAI_PARTS_DOCUMENTS_MAX);
    p->failed = p->failed || !p->documents;
    for (uint32_t i = 0; i < p->document_count; i++)
        if (bytes_equal(p->documents[i], text))
            return; /* the same under two names */
    if (!p->failed)
        p->documents[p->document_count++] = text;
}

void parts_text_message(struct parts_text *p, enum parts_role role, struct bytes text)
{
    if (!bytes_trim(text).size)
        return;
    if (p->message_count == PARTS_TEXT_MESSAGES_MAX) {
        p->cut = true;
        return;
    }
    if (!p->messages)
        p->messages = ARENA_ARRAY(p->arena, struct parts_message, PARTS_TEXT_MESSAGES_MAX);
    p->failed = p->failed || !p->messages;
    if (!p->failed)
        p->messages[p->message_count++] = (struct parts_message){role, text};
}

static struct bytes keep(struct parts_text *p, struct buf *take)
{
    struct bytes copy = arena_copy(p->arena, buf_bytes(take));
    p->failed = p->failed || take->failed || (take->size && !copy.data);
    buf_done(take);
    return p->failed ? BYTES_NONE : copy;
}

/* --- words of JSON ------------------------------------------------------------------------------------- */

enum parts_role parts_text_role(struct bytes name, enum parts_role otherwise)
{
    static const struct {
        const char *name;
        enum parts_role role;
    } roles[] = {
        {"user", PARTS_USER},        {"human", PARTS_USER},          {"system", PARTS_SYSTEM},
        {"developer", PARTS_SYSTEM}, {"assistant", PARTS_ASSISTANT}, {"ai", PARTS_ASSISTANT},
        {"model", PARTS_ASSISTANT},  {"tool", PARTS_TOOL},           {"function", PARTS_TOOL}};
    for (size_t i = 0; i < ARRAY_LEN(roles); i++)
        if (bytes_equal_nocase(name, bytes_str(roles[i].name)))
            return roles[i].role;
    return otherwise;
}

const struct json_node *parts_text_json(struct parts_text *p, struct bytes text)
{
    struct json_node *n;
    struct err_msg msg;
    text = bytes_trim(text);
    if (text.size < 2 || (text.data[0] != '{' && text.data[0] != '['))
        return NULL;
    enum err e = json_in_tree(text, PARTS_TEXT_DEPTH, p->arena, &n, &msg);
    p->failed = p->failed || e == ERR_LIMIT || e == ERR_NOMEM;
    return e == ERR_OK ? n : NULL;
}

static const struct json_node *first_of(const struct json_node *o, const char *const *keys,
                                        size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct json_node *found = json_get(o, keys[i]);
        if (found && found->type != JSON_NULL)
            return found;
    }
    return NULL;
}
#define FIRST_OF(o, ...)                              \
    first_of((o), (const char *const[]){__VA_ARGS__}, \
             sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *))

static bool type_is(const struct json_node *n, const char *const *names, size_t count)
{
    struct bytes type = json_get_str(n, "type");
    for (size_t i = 0; type.size && i < count; i++)
        if (bytes_equal_str(type, names[i]))
            return true;
    return false;
}

static bool is_hidden(const struct json_node *n)
{
    static const char *const types[] = {
        "reasoning",   "thinking", "redacted_thinking", "tool_call", "tool_use", "tool-call",
        "function",    "image",    "image_url",         "blob",      "file",     "uri",
        "input_image", "audio",    "server_tool_call"};
    return type_is(n, types, ARRAY_LEN(types)) || json_get(n, "functionCall");
}

/* The result that a part of a message carries, NULL when it carries none. */
static const struct json_node *result_of(const struct json_node *n)
{
    static const char *const types[] = {"tool_call_response",        "tool_result", "tool-result",
                                        "server_tool_call_response", "tool-return", "tool"};
    const struct json_node *gemini = FIRST_OF(n, "functionResponse", "function_response");
    if (gemini)
        return FIRST_OF(gemini, "response");
    if (json_get(n, "toolResult"))
        return FIRST_OF(json_get(n, "toolResult"), "content");
    return type_is(n, types, ARRAY_LEN(types))
               ? FIRST_OF(n, "response", "result", "output", "content", "server_tool_call_response")
               : NULL;
}

static void json_write(struct json_out *j, const struct json_node *n)
{
    switch (n->type) {
    case JSON_NULL: json_out_null(j); break;
    case JSON_BOOL: json_out_bool(j, n->boolean); break;
    case JSON_NUMBER: json_out_raw(j, n->text); break;
    case JSON_STRING: json_out_bytes(j, n->text); break;
    case JSON_ARRAY:
        json_out_array(j);
        for (const struct json_node *c = n->child; c; c = c->next)
            json_write(j, c);
        json_out_array_end(j);
        break;
    case JSON_OBJECT:
        json_out_object(j);
        for (const struct json_node *c = n->child; c; c = c->next) {
            json_out_key_bytes(j, c->key);
            json_write(j, c);
        }
        json_out_object_end(j);
        break;
    }
}

/* --- answers ------------------------------------------------------------------------------------------- */

static void answer_append(struct buf *out, struct bytes text)
{
    if (out->size && text.size)
        buf_str(out, "\n");
    buf_bytes_append(out, text);
}

static void answer_node(struct buf *out, const struct json_node *n, unsigned depth)
{
    if (!n || depth > PARTS_TEXT_DEPTH || n->type == JSON_NULL || n->type == JSON_BOOL)
        return;
    if (n->type == JSON_STRING || n->type == JSON_NUMBER) {
        answer_append(out, n->text);
        return;
    }
    if (n->type == JSON_ARRAY) {
        for (const struct json_node *c = n->child; c; c = c->next) {
            bool is_part = c->type == JSON_STRING || json_get(c, "type") || json_get(c, "text");
            answer_node(out, c, depth + 1);
            if (!is_part && out->size)
                return; /* messages, choices: the first sample */
        }
        return;
    }
    if (is_hidden(n) || result_of(n))
        return;
    answer_node(out,
                FIRST_OF(n, "content", "parts", "text", "output_text", "answer", "response",
                         "output", "outputs", "result", "message", "messages", "choices",
                         "generations", "candidates", "kwargs", "completion", "data"),
                depth + 1);
}

struct bytes parts_text_answer_node(struct parts_text *p, const struct json_node *n)
{
    struct buf out = {0};
    answer_node(&out, n, 0);
    return keep(p, &out);
}

struct bytes parts_text_answer(struct parts_text *p, struct bytes text)
{
    const struct json_node *n = parts_text_json(p, text);
    struct bytes found = n ? parts_text_answer_node(p, n) : BYTES_NONE;
    return found.size ? found : n && n->type == JSON_ARRAY ? BYTES_NONE : text;
}

/* --- documents ------------------------------------------------------------------------------------------ */

/* A hit without its text is no document. */
static bool says_something(const struct json_node *o)
{
    static const char *const dry[] = {"id",   "score", "distance", "index",
                                      "type", "rank",  "metadata"};
    for (const struct json_node *c = o->child; c; c = c->next) {
        bool is_dry = false;
        for (size_t i = 0; i < ARRAY_LEN(dry); i++)
            is_dry = is_dry || bytes_equal_str(c->key, dry[i]);
        if (!is_dry)
            return true;
    }
    return false;
}

static void result_node(struct parts_text *p, const struct json_node *n, unsigned depth)
{
    if (!n || depth > PARTS_TEXT_DEPTH || n->type == JSON_NULL || n->type == JSON_BOOL)
        return;
    if (n->type == JSON_ARRAY) {
        for (const struct json_node *c = n->child; c; c = c->next)
            result_node(p, c, depth + 1);
        return;
    }
    if (n->type != JSON_OBJECT) {
        const struct json_node *inner = parts_text_json(p, n->text);
        if (inner && depth < 4)
            result_node(p, inner, depth + 4); /* JSON in a string, and not for ever */
        else
            parts_text_document(p, n->text);
        return;
    }
    const struct json_node *inside = result_of(n);
    if (inside) {
        result_node(p, inside, depth + 1);
        return;
    }
    const struct json_node *list =
        FIRST_OF(n, "documents", "docs", "results", "passages", "chunks", "matches",
                 "source_documents", "nodes", "document", "kwargs", "node");
    const struct json_node *text = FIRST_OF(n, "page_content", "pageContent", "content", "text",
                                            "chunk", "passage", "snippet", "body", "output");
    if (!text && json_get(n, "type"))
        text = FIRST_OF(n, "value", "data"); /* a block of content */
    if (list && (list->type == JSON_ARRAY || list->type == JSON_OBJECT || !text)) {
        result_node(p, list, depth + 1);
    } else if (text) {
        result_node(p, text, depth + 1);
    } else if (says_something(n)) {
        /* a row of facts: as it is, one line a leaf is made of it where it is judged */
        struct buf out = {0};
        struct json_out j = json_out_to(&out);
        json_write(&j, n);
        parts_text_document(p, keep(p, &out));
    }
}

void parts_text_result_node(struct parts_text *p, const struct json_node *n)
{
    result_node(p, n, 0);
}

void parts_text_result(struct parts_text *p, struct bytes text)
{
    const struct json_node *n = parts_text_json(p, text);
    if (n)
        result_node(p, n, 0);
    else
        parts_text_document(p, text);
}

/* --- what was given -------------------------------------------------------------------------------------- */

static void content_node(struct parts_text *p, struct buf *text, const struct json_node *n,
                         unsigned depth)
{
    if (!n || depth > PARTS_TEXT_DEPTH || n->type == JSON_NULL || n->type == JSON_BOOL)
        return;
    if (n->type == JSON_STRING || n->type == JSON_NUMBER) {
        answer_append(text, n->text);
        return;
    }
    if (n->type == JSON_ARRAY) {
        for (const struct json_node *c = n->child; c; c = c->next)
            content_node(p, text, c, depth + 1);
        return;
    }
    const struct json_node *result = result_of(n);
    if (result)
        result_node(p, result, depth + 1);
    else if (type_is(n, (const char *const[]){"document"}, 1))
        result_node(p, FIRST_OF(n, "source", "content", "text", "data"), depth + 1);
    else if (!is_hidden(n))
        content_node(p, text, FIRST_OF(n, "text", "content", "parts"), depth + 1);
}

static bool is_message(const struct json_node *n)
{
    return json_get_str(n, "role").size || json_get(n, "parts") ||
           (json_get_str(n, "type").size && json_get(n, "content"));
}

static void message_node(struct parts_text *p, enum parts_role role, const struct json_node *n,
                         unsigned depth)
{
    struct bytes name = json_get_str(n, "role");
    role = parts_text_role(name.size ? name : json_get_str(n, "type"), role);
    const struct json_node *content = FIRST_OF(n, "parts", "content", "text", "message");
    struct buf text = {0};
    if (role == PARTS_TOOL && content)
        result_node(p, content, depth + 1);
    content_node(p, &text, role == PARTS_TOOL ? NULL : content, depth + 1);
    parts_text_message(p, role, keep(p, &text));
}

/* An object that is no message: what it has under names that are known. */
static void fields_node(struct parts_text *p, enum parts_role role, const struct json_node *n,
                        unsigned depth)
{
    static const char *const documents[] = {
        "context",         "contexts", "documents", "docs",
        "passages",        "chunks",   "sources",   "retrieved_documents",
        "source_documents"};
    static const char *const systems[] = {"system", "system_instruction", "systemInstruction",
                                          "system_prompt", "instructions"};
    static const char *const inputs[] = {"messages", "contents", "prompts", "prompt",   "input",
                                         "inputs",   "args",     "kwargs",  "question", "query"};
    for (size_t i = 0; i < ARRAY_LEN(documents); i++)
        result_node(p, json_get(n, documents[i]), depth + 1);
    input_node(p, PARTS_SYSTEM, first_of(n, systems, ARRAY_LEN(systems)), depth + 1);
    input_node(p, PARTS_SYSTEM, first_of(json_get(n, "config"), systems, ARRAY_LEN(systems)),
               depth + 1);
    for (size_t i = 0; i < ARRAY_LEN(inputs); i++)
        input_node(p, role, json_get(n, inputs[i]), depth + 1);
}

static void input_node(struct parts_text *p, enum parts_role role, const struct json_node *n,
                       unsigned depth)
{
    if (!n || depth > PARTS_TEXT_DEPTH)
        return;
    if (n->type == JSON_STRING)
        parts_text_message(p, role, n->text);
    else if (n->type == JSON_OBJECT && is_message(n))
        message_node(p, role, n, depth);
    else if (n->type == JSON_OBJECT && json_get_str(n, "text").size)
        parts_text_message(p, role, json_get_str(n, "text"));
    else if (n->type == JSON_OBJECT)
        fields_node(p, role, n, depth);
    else if (n->type == JSON_ARRAY)
        for (const struct json_node *c = n->child; c; c = c->next)
            input_node(p, role, c, depth + 1);
}

void parts_text_input_node(struct parts_text *p, enum parts_role role, const struct json_node *n)
{
    input_node(p, role, n, 0);
}

void parts_text_input(struct parts_text *p, enum parts_role role, struct bytes text)
{
    const struct json_node *n = parts_text_json(p, text);
    uint32_t before = p->message_count + p->document_count;
    if (n)
        input_node(p, role, n, 0);
    if (!n || (n->type == JSON_OBJECT && before == p->message_count + p->document_count))
        parts_text_message(p, role, text);
}

/* --- context inside a prompt ---------------------------------------------------------------------------- */

static struct bytes rest_of(struct bytes b, size_t from)
{
    return bytes_slice(b, MIN(from, b.size), b.size);
}

static bool is_word(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/* Where `</name>` is, or the end. */
static size_t tag_end(struct bytes text, struct bytes name)
{
    for (size_t at = 0; at + name.size + 2 < text.size; at++) {
        if (text.data[at] != '<' || text.data[at + 1] != '/')
            continue;
        struct bytes end = bytes_slice(text, at + 2, at + 2 + name.size);
        if (bytes_equal_nocase(end, name) && text.data[at + 2 + name.size] == '>')
            return at;
    }
    return text.size;
}

static bool tag_is_context(struct bytes name)
{
    static const char *const names[] = {
        "context",   "contexts", "document",       "documents",        "doc",
        "docs",      "passage",  "passages",       "source",           "sources",
        "chunk",     "chunks",   "search_results", "reference",        "references",
        "knowledge", "data",     "article",        "retrieved_context"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (bytes_equal_nocase(name, bytes_str(names[i])))
            return true;
    return false;
}

/* Takes out what stands in tags of context; the rest is appended to out. */
static void split_tags(struct parts_text *p, struct bytes text, struct buf *out)
{
    size_t kept = 0;
    unsigned open = 0;
    for (size_t at = 0; at < text.size && open < OPEN_TAGS_MAX; at++) {
        size_t end = at + 1;
        if (text.data[at] != '<')
            continue;
        while (end < text.size && is_word(text.data[end]))
            end++;
        struct bytes name = bytes_slice(text, at + 1, end);
        if (!tag_is_context(name))
            continue;
        while (end < text.size && text.data[end] != '>' && text.data[end] != '<')
            end++;
        if (end == text.size || text.data[end] != '>')
            continue;
        struct bytes inner = rest_of(text, end + 1);
        size_t size = tag_end(inner, name);
        if (size == inner.size) {
            open++; /* never closed: no tag */
            continue;
        }
        parts_text_document(p, bytes_slice(inner, 0, size));
        buf_bytes_append(out, bytes_slice(text, kept, at));
        kept = end + 1 + size + name.size + 3;
        at = kept - 1;
    }
    buf_bytes_append(out, rest_of(text, kept));
}

enum line_kind { LINE_PLAIN, LINE_CONTEXT, LINE_QUESTION, LINE_END };

static bool has_word(struct bytes text, const char *const *words, size_t count)
{
    for (size_t at = 0; at < text.size; at++) {
        if (at && is_word(text.data[at - 1]))
            continue;
        for (size_t i = 0; i < count; i++) {
            struct bytes w = bytes_str(words[i]);
            if (at + w.size <= text.size &&
                bytes_equal_nocase(bytes_slice(text, at, at + w.size), w) &&
                (at + w.size == text.size || !is_word(text.data[at + w.size])))
                return true;
        }
    }
    return false;
}

static unsigned words_of(struct bytes text)
{
    unsigned n = 0;
    for (size_t i = 0; i < text.size; i++)
        n += text.data[i] > ' ' && (i == 0 || text.data[i - 1] <= ' ');
    return n;
}

/* What a line announces; *out_inline: what stands behind its colon. A colon at the end may close a sentence, one within only a few words. */
static enum line_kind line_kind_of(struct bytes line, struct bytes *out_inline)
{
    static const char *const questions[] = {"question", "query", "questions"};
    static const char *const contexts[] = {
        "context",    "documents",   "document", "passages", "passage", "sources",
        "source",     "excerpts",    "excerpt",  "article",  "news",    "data",
        "references", "information", "results",  "text",     "facts",   "background"};
    static const char *const ends[] = {"output",   "answer", "overview",     "summary",
                                       "response", "task",   "instructions", "instruction"};
    struct bytes trimmed = bytes_trim(line);
    size_t colon = bytes_find(trimmed, BYTES_LIT(":"));
    struct bytes head = bytes_slice(trimmed, 0, colon);
    bool at_end = trimmed.size && trimmed.data[trimmed.size - 1] == ':';
    *out_inline = BYTES_NONE;
    if (colon == trimmed.size || trimmed.size == 0)
        return LINE_PLAIN;
    if (at_end && trimmed.size <= LINE_HEADER_MAX) {
        head = bytes_slice(trimmed, 0, trimmed.size - 1);
        for (size_t i = head.size; i > 1; i--) /* its last sentence */
            if (head.data[i - 1] == ' ' && head.data[i - 2] == '.') {
                head = rest_of(head, i);
                break;
            }
    } else if (words_of(head) <= INLINE_WORDS_MAX) {
        *out_inline = rest_of(trimmed, colon + 1);
    } else {
        return LINE_PLAIN;
    }
    if (has_word(head, questions, ARRAY_LEN(questions)))
        return LINE_QUESTION;
    if (has_word(head, contexts, ARRAY_LEN(contexts)))
        return LINE_CONTEXT;
    return has_word(head, ends, ARRAY_LEN(ends)) ? LINE_END : LINE_PLAIN;
}

struct bytes parts_text_split(struct parts_text *p, struct bytes prompt)
{
    struct buf untagged = {0}, rest = {0}, question = {0}, document = {0};
    enum line_kind state = LINE_PLAIN;
    split_tags(p, prompt, &untagged);
    struct bytes text = keep(p, &untagged);
    for (size_t at = 0; at < text.size && !p->failed;) {
        struct bytes left = rest_of(text, at), inner;
        size_t size = bytes_find(left, BYTES_LIT("\n"));
        struct bytes line = bytes_slice(left, 0, size);
        enum line_kind kind = line_kind_of(line, &inner);
        at += size + 1;
        if (kind == LINE_PLAIN) {
            struct buf *to = state == LINE_CONTEXT    ? &document
                             : state == LINE_QUESTION ? &question
                                                      : &rest;
            buf_bytes_append(to, line);
            buf_str(to, "\n");
            continue;
        }
        if (document.size)
            parts_text_document(p, keep(p, &document));
        document = (struct buf){0};
        state = kind;
        buf_bytes_append(kind == LINE_CONTEXT    ? &document
                         : kind == LINE_QUESTION ? &question
                                                 : &rest,
                         inner);
        buf_str(kind == LINE_CONTEXT ? &document : kind == LINE_QUESTION ? &question : &rest, "\n");
    }
    if (document.size)
        parts_text_document(p, keep(p, &document));
    bool asks = bytes_trim(buf_bytes(&question)).size != 0;
    struct bytes asked = keep(p, &question), other = keep(p, &rest);
    return bytes_trim(asks ? asked : other);
}
