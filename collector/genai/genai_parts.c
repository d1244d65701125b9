#include "collector/genai/genai_parts.h"

#include "base/buf.h"
#include "base/check.h"
#include "collector/genai/parts_text.h"

/* What an attribute holds, in any dialect. Of several names of one thing the lowest rank wins: the nearer to the wire, the surer. */
enum what {
    WHAT_INPUT,
    WHAT_OUTPUT,
    WHAT_SYSTEM,
    WHAT_DOCUMENTS,
    WHAT_QUERY,
    WHAT_TOOL, /* a tool's result on the tool's span */
    WHAT_HISTORY, /* messages with the answer as the last */
    WHAT_COUNT
};
/* clang-format off */
static const struct name {
    const char *name;
    uint8_t what, rank;
} names[] = {
    {"gen_ai.input.messages", WHAT_INPUT, 1},         {"gen_ai.output.messages", WHAT_OUTPUT, 1},
    {"gen_ai.system_instructions", WHAT_SYSTEM, 1},   {"gen_ai.retrieval.documents", WHAT_DOCUMENTS, 1},
    {"gen_ai.retrieval.query.text", WHAT_QUERY, 1},   {"gen_ai.retrieval.query", WHAT_QUERY, 2},
    {"gen_ai.tool.call.result", WHAT_TOOL, 1},        {"gen_ai.tool.output", WHAT_TOOL, 2},
    {"gen_ai.prompt", WHAT_INPUT, 3},                 {"gen_ai.completion", WHAT_OUTPUT, 3},
    {"ai.prompt.messages", WHAT_INPUT, 4},            {"ai.prompt", WHAT_INPUT, 5},
    {"ai.response.text", WHAT_OUTPUT, 4},             {"ai.response.object", WHAT_OUTPUT, 5},
    {"ai.toolCall.result", WHAT_TOOL, 2},
    {"langfuse.observation.input", WHAT_INPUT, 5},    {"langfuse.observation.output", WHAT_OUTPUT, 5},
    {"pydantic_ai.all_messages", WHAT_HISTORY, 1},    {"all_messages_events", WHAT_HISTORY, 2},
    {"events", WHAT_HISTORY, 3},                      {"final_result", WHAT_OUTPUT, 6},
    {"tool_response", WHAT_TOOL, 3},
    {"gcp.vertex.agent.llm_request", WHAT_INPUT, 4},  {"gcp.vertex.agent.llm_response", WHAT_OUTPUT, 4},
    {"gcp.vertex.agent.tool_response", WHAT_TOOL, 2},
    {"traceloop.entity.input", WHAT_INPUT, 6},        {"traceloop.entity.output", WHAT_OUTPUT, 6},
    {"input.value", WHAT_INPUT, 7},                   {"output.value", WHAT_OUTPUT, 7},
};
/* name.N.rest: messages and documents that were flattened. */
static const struct flat {
    const char *prefix;
    uint8_t what;
} flats[] = {
    {"gen_ai.prompt.", WHAT_INPUT},               {"gen_ai.completion.", WHAT_OUTPUT},
    {"llm.input_messages.", WHAT_INPUT},          {"llm.output_messages.", WHAT_OUTPUT},
    {"retrieval.documents.", WHAT_DOCUMENTS},     {"reranker.output_documents.", WHAT_DOCUMENTS},
};
/* Who says that it fetches documents, and how. */
static const struct kind {
    const char *name, *value;
} kinds[] = {
    {"gen_ai.operation.name", "retrieval"},       {"gen_ai.operation.name", "execute_tool"},
    {"gen_ai.operation.name", "search_memory"},   {"openinference.span.kind", "RETRIEVER"},
    {"openinference.span.kind", "RERANKER"},      {"openinference.span.kind", "TOOL"},
    {"traceloop.span.kind", "tool"},              {"langfuse.observation.type", "retriever"},
    {"langfuse.observation.type", "tool"},        {"langsmith.span.kind", "retriever"},
    {"langsmith.span.kind", "tool"},              {"ai.operationId", "ai.toolCall"},
};
static const struct record {
    const char *name;
    uint8_t role; /* enum parts_role */
    bool is_answer;
} records[] = {
    {"gen_ai.system.message", PARTS_SYSTEM, false},       {"gen_ai.user.message", PARTS_USER, false},
    {"gen_ai.assistant.message", PARTS_ASSISTANT, false}, {"gen_ai.tool.message", PARTS_TOOL, false},
    {"gen_ai.choice", PARTS_ASSISTANT, true},             {"gen_ai.content.prompt", PARTS_USER, false},
    {"gen_ai.content.completion", PARTS_ASSISTANT, true},
};
/* clang-format on */
#define DETAILS "gen_ai.client.inference.operation.details"

#define FLAT_MAX 128u

/* One flattened message or document: its number and its fields so far. */
struct flat_part {
    uint8_t what;
    uint32_t number;
    struct bytes role, content;
    struct buf joined; /* of contents.M */
};

struct work {
    struct parts_text texts;
    struct bytes value[WHAT_COUNT]; /* of the best rank */
    uint8_t rank[WHAT_COUNT];
    struct flat_part *flat;
    uint32_t flat_count;
    struct bytes answer; /* of an event */
    bool is_source;
};

static struct bytes value_text(struct work *w, struct tsdb_value v)
{
    struct buf out = {0};
    if (v.type == TSDB_VALUE_STRING)
        return v.bytes;
    if (v.type == TSDB_VALUE_EMPTY)
        return BYTES_NONE;
    if (v.type == TSDB_VALUE_ARRAY || v.type == TSDB_VALUE_KVLIST)
        tsdb_attrs_json(&out, v);
    else
        tsdb_attrs_text(&out, v);
    struct bytes copy = arena_copy(w->texts.arena, buf_bytes(&out));
    w->texts.failed = w->texts.failed || out.failed || (out.size && !copy.data);
    buf_done(&out);
    return copy.data ? copy : BYTES_NONE;
}

/* --- flattened names ------------------------------------------------------------------------------------- */

static struct flat_part *flat_part_of(struct work *w, uint8_t what, uint32_t number)
{
    for (uint32_t i = 0; i < w->flat_count; i++)
        if (w->flat[i].what == what && w->flat[i].number == number)
            return &w->flat[i];
    if (!w->flat)
        w->flat = ARENA_ARRAY(w->texts.arena, struct flat_part, FLAT_MAX);
    w->texts.failed = w->texts.failed || !w->flat;
    if (w->texts.failed || w->flat_count == FLAT_MAX) {
        w->texts.cut = true;
        return NULL;
    }
    w->flat[w->flat_count] = (struct flat_part){.what = what, .number = number};
    return &w->flat[w->flat_count++];
}

static bool flat_attr(struct work *w, struct bytes key, struct tsdb_value v)
{
    for (size_t i = 0; i < ARRAY_LEN(flats); i++) {
        struct bytes prefix = bytes_str(flats[i].prefix);
        uint64_t number;
        if (!bytes_has_prefix(key, prefix))
            continue;
        struct bytes rest = bytes_slice(key, prefix.size, key.size);
        size_t dot = bytes_find(rest, BYTES_LIT("."));
        if (dot == rest.size || !bytes_to_u64(bytes_slice(rest, 0, dot), &number) ||
            number > UINT32_MAX)
            return false;
        struct bytes field = bytes_slice(rest, dot + 1, rest.size);
        bool is_role = bytes_has_suffix(field, BYTES_LIT("role"));
        bool is_content = bytes_equal_str(field, "content") ||
                          bytes_equal_str(field, "message.content") ||
                          bytes_equal_str(field, "document.content");
        bool is_joined = bytes_has_suffix(field, BYTES_LIT("message_content.text"));
        struct flat_part *part = is_role || is_content || is_joined
                                     ? flat_part_of(w, flats[i].what, (uint32_t)number)
                                     : NULL;
        if (part && is_role)
            part->role = value_text(w, v);
        else if (part && is_content)
            part->content = value_text(w, v);
        else if (part) {
            if (part->joined.size)
                buf_str(&part->joined, "\n");
            buf_bytes_append(&part->joined, value_text(w, v));
        }
        return true;
    }
    return false;
}

static int flat_order(const struct flat_part *a, const struct flat_part *b)
{
    return (a->number > b->number) - (a->number < b->number);
}

/* Attributes come in any order; messages have one. */
static void flat_sort(struct work *w)
{
    for (uint32_t i = 1; i < w->flat_count; i++)
        for (uint32_t k = i; k && flat_order(&w->flat[k - 1], &w->flat[k]) > 0; k--) {
            struct flat_part swap = w->flat[k];
            w->flat[k] = w->flat[k - 1];
            w->flat[k - 1] = swap;
        }
}

static struct bytes flat_text(struct work *w, struct flat_part *part)
{
    if (part->content.size || !part->joined.size)
        return part->content;
    struct bytes copy = arena_copy(w->texts.arena, buf_bytes(&part->joined));
    w->texts.failed = w->texts.failed || part->joined.failed || !copy.data;
    return copy.data ? copy : BYTES_NONE;
}

static void flat_finish(struct work *w)
{
    bool has_input = w->rank[WHAT_INPUT] == 1, has_output = w->rank[WHAT_OUTPUT] == 1;
    flat_sort(w);
    for (uint32_t i = 0; i < w->flat_count; i++) {
        struct flat_part *part = &w->flat[i];
        struct bytes text = flat_text(w, part);
        if (part->what == WHAT_DOCUMENTS) {
            parts_text_document(&w->texts, text);
        } else if (part->what == WHAT_INPUT && !has_input) {
            enum parts_role role = parts_text_role(part->role, PARTS_USER);
            w->rank[WHAT_INPUT] = 2;
            w->value[WHAT_INPUT] = BYTES_NONE;
            if (role == PARTS_TOOL)
                parts_text_result(&w->texts, text);
            else
                parts_text_input(&w->texts, role, text);
        } else if (part->what == WHAT_OUTPUT && !has_output && text.size &&
                   w->rank[WHAT_OUTPUT] != 2) {
            w->rank[WHAT_OUTPUT] = 2; /* the first sample */
            w->value[WHAT_OUTPUT] = text;
        }
        buf_done(&part->joined);
    }
}

/* --- attributes, events, records ------------------------------------------------------------------------- */

static bool attr_is_kind(struct bytes key, struct tsdb_value v)
{
    for (size_t i = 0; v.type == TSDB_VALUE_STRING && i < ARRAY_LEN(kinds); i++)
        if (bytes_equal_str(key, kinds[i].name) &&
            bytes_equal_nocase(v.bytes, bytes_str(kinds[i].value)))
            return true;
    return false;
}

static void read_attrs(struct work *w, struct bytes attrs)
{
    struct tsdb_attrs_iter it = tsdb_attrs_begin(attrs);
    struct bytes key;
    struct tsdb_value v;
    while (tsdb_attrs_next(&it, &key, &v)) {
        w->is_source = w->is_source || attr_is_kind(key, v);
        if (flat_attr(w, key, v))
            continue;
        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
            uint8_t what = names[i].what;
            if (!bytes_equal_str(key, names[i].name) ||
                (w->rank[what] && w->rank[what] <= names[i].rank))
                continue;
            struct bytes text = value_text(w, v);
            if (!text.size)
                continue;
            w->rank[what] = names[i].rank;
            w->value[what] = text;
        }
    }
}

static const struct record *record_of(struct bytes name)
{
    for (size_t i = 0; i < ARRAY_LEN(records); i++)
        if (bytes_equal_str(name, records[i].name))
            return &records[i];
    return NULL;
}

/* fields: what the record says, as JSON: attributes of an event, or the body of a log record. */
static void read_record(struct work *w, const struct record *r, struct bytes fields)
{
    const struct json_node *n = parts_text_json(&w->texts, fields);
    struct parts_text *p = &w->texts;
    if (!n) {
        if (r->is_answer && !w->answer.size)
            w->answer = fields;
        else if (!r->is_answer)
            parts_text_message(p, r->role, fields);
        return;
    }
    static const char *const held[] = {"gen_ai.prompt", "gen_ai.completion", "message", "content"};
    const struct json_node *content = NULL;
    for (size_t i = 0; i < ARRAY_LEN(held) && !content; i++)
        content = json_get(n, held[i]);
    if (!content)
        content = json_get(n, "id") || json_get(n, "tool_calls") ? NULL : n;
    if (!content)
        return;
    bool is_text = content->type == JSON_STRING; /* may be JSON once more */
    if (r->is_answer && !w->answer.size)
        w->answer =
            is_text ? parts_text_answer(p, content->text) : parts_text_answer_node(p, content);
    else if (!r->is_answer && r->role == PARTS_TOOL)
        parts_text_result_node(p, content);
    else if (!r->is_answer && is_text)
        parts_text_input(p, r->role, content->text);
    else if (!r->is_answer)
        parts_text_input_node(p, r->role, content);
}

static bool is_search_result(struct bytes name)
{
    return bytes_equal_str(name, "db.query.result") || bytes_equal_str(name, "db.search.result");
}

static void read_search_result(struct work *w, struct bytes attrs)
{
    struct tsdb_attrs_iter it = tsdb_attrs_begin(attrs);
    struct bytes key;
    struct tsdb_value v;
    w->is_source = true;
    while (tsdb_attrs_next(&it, &key, &v))
        if (bytes_has_suffix(key, BYTES_LIT("document")))
            parts_text_result(&w->texts, value_text(w, v));
}

static void read_events(struct work *w, struct bytes events)
{
    struct tsdb_attrs_iter it = tsdb_attrs_begin(events);
    struct tsdb_event e;
    while (tsdb_attrs_next_event(&it, &e)) {
        const struct record *r = record_of(e.name);
        if (r)
            read_record(w, r,
                        value_text(w, (struct tsdb_value){TSDB_VALUE_KVLIST, {.bytes = e.attrs}}));
        else if (bytes_equal_str(e.name, DETAILS))
            read_attrs(w, e.attrs);
        else if (is_search_result(e.name))
            read_search_result(w, e.attrs);
    }
}

static void read_log(struct work *w, const struct genai_parts_row *row)
{
    const struct record *r = record_of(row->event_name);
    struct tsdb_attrs_iter it = tsdb_attrs_begin(row->body);
    struct tsdb_value body;
    if (r && tsdb_attrs_next_value(&it, &body))
        read_record(w, r, value_text(w, body));
    else
        read_attrs(w, row->attrs);
}

/* --- the whole --------------------------------------------------------------------------------------------- */

static bool is_answer_of_tool(const struct work *w)
{
    return w->is_source && !w->rank[WHAT_DOCUMENTS] && !w->texts.document_count;
}

static void put_together(struct work *w, struct genai_parts *out)
{
    struct parts_text *p = &w->texts;
    flat_finish(w);
    if (w->rank[WHAT_DOCUMENTS])
        parts_text_result(p, w->value[WHAT_DOCUMENTS]);
    if (w->rank[WHAT_TOOL])
        parts_text_result(p, w->value[WHAT_TOOL]);
    if (is_answer_of_tool(w) && w->rank[WHAT_OUTPUT])
        parts_text_result(p, w->value[WHAT_OUTPUT]);
    if (w->is_source)
        return;
    if (w->rank[WHAT_SYSTEM])
        parts_text_input(p, PARTS_SYSTEM, w->value[WHAT_SYSTEM]);
    if (w->value[WHAT_INPUT].size)
        parts_text_input(p, PARTS_USER, w->value[WHAT_INPUT]);
    if (w->rank[WHAT_HISTORY] && !w->rank[WHAT_INPUT])
        parts_text_input(p, PARTS_USER, w->value[WHAT_HISTORY]);
    out->response = w->rank[WHAT_OUTPUT] ? parts_text_answer(p, w->value[WHAT_OUTPUT]) : w->answer;
    if (!out->response.size && w->rank[WHAT_HISTORY] && p->message_count &&
        p->messages[p->message_count - 1].role == PARTS_ASSISTANT)
        out->response = p->messages[p->message_count - 1].text;
    out->question = w->value[WHAT_QUERY];
    for (uint32_t i = 0; i < p->message_count && !p->failed; i++) {
        if (p->messages[i].role != PARTS_USER && p->messages[i].role != PARTS_SYSTEM)
            continue;
        struct bytes rest = parts_text_split(p, p->messages[i].text);
        if (p->messages[i].role == PARTS_USER && rest.size)
            out->question = rest; /* the last one */
    }
}

enum err genai_parts_read(const struct genai_parts_row *rows, size_t count, struct arena *a,
                          struct genai_parts *out)
{
    struct work w = {.texts.arena = a};
    struct genai_parts parts = {0};
    for (size_t i = 0; i < MIN(count, (size_t)GENAI_PARTS_ROWS_MAX); i++) {
        if (rows[i].event_name.size) {
            read_log(&w, &rows[i]);
            continue;
        }
        read_attrs(&w, rows[i].attrs);
        read_events(&w, rows[i].events);
    }
    put_together(&w, &parts);
    parts.documents = w.texts.documents;
    parts.document_count = w.texts.document_count;
    parts.is_source = w.is_source;
    parts.cut = w.texts.cut || count > GENAI_PARTS_ROWS_MAX;
    for (uint32_t i = 0; i < w.flat_count; i++)
        buf_done(&w.flat[i].joined);
    if (w.texts.failed)
        return ERR_LIMIT;
    *out = parts;
    return ERR_OK;
}

bool genai_parts_is_source(struct bytes attrs, struct bytes events)
{
    struct tsdb_attrs_iter it = tsdb_attrs_begin(attrs), more = tsdb_attrs_begin(events);
    struct bytes key;
    struct tsdb_value v;
    struct tsdb_event e;
    while (tsdb_attrs_next(&it, &key, &v))
        if (attr_is_kind(key, v))
            return true;
    while (tsdb_attrs_next_event(&more, &e))
        if (is_search_result(e.name))
            return true;
    return false;
}

bool genai_parts_is_record(struct bytes event_name)
{
    return bytes_equal_str(event_name, DETAILS) || record_of(event_name);
}

enum genai_parts_zone genai_parts_zone_of(struct bytes key)
{
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (bytes_equal_str(key, names[i].name))
            return names[i].what == WHAT_OUTPUT ? GENAI_PARTS_OUTPUT : GENAI_PARTS_CONTENT;
    for (size_t i = 0; i < ARRAY_LEN(flats); i++)
        if (bytes_has_prefix(key, bytes_str(flats[i].prefix)))
            return flats[i].what == WHAT_OUTPUT ? GENAI_PARTS_OUTPUT : GENAI_PARTS_CONTENT;
    return bytes_has_prefix(key, BYTES_LIT("gen_ai.tool.call.")) ||
                   bytes_has_suffix(key, BYTES_LIT("document"))
               ? GENAI_PARTS_CONTENT
               : GENAI_PARTS_ELSEWHERE;
}

enum genai_parts_zone genai_parts_zone_of_record(struct bytes event_name)
{
    const struct record *r = record_of(event_name);
    return !r ? GENAI_PARTS_ELSEWHERE : r->is_answer ? GENAI_PARTS_OUTPUT : GENAI_PARTS_CONTENT;
}
