/* Lines to samples. */
#include "detectors/ground_data.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/file_in.h"
#include "base/hash.h"
#include "base/json_out.h"

#define DEPTH_MAX 64u

struct reading {
    const char *name;
    uint64_t line;
    struct arena *a;
    const struct ground_data_sink *sink;
    struct bytes set; /* the file's name without its ending */
};

/* --- places ---------------------------------------------------------------------------------------- */

size_t ground_data_byte_of(struct bytes t, uint64_t code_point)
{
    size_t i = 0;
    for (uint64_t n = 0; n < code_point && i < t.size; n++) {
        i++;
        while (i < t.size && (t.data[i] & 0xc0) == 0x80)
            i++;
    }
    return i;
}

static enum err add_span(struct ground_sample *s, size_t begin, size_t end, struct arena *a)
{
    if (begin >= end || s->spans_count == GROUND_DATA_SPANS_MAX)
        return ERR_OK;
    if ((s->spans_count & (s->spans_count - 1)) == 0) {
        uint32_t more = s->spans_count ? s->spans_count * 2 : 1;
        s->spans = arena_grow(a, s->spans, sizeof(*s->spans), s->spans_count, more);
    }
    if (!s->spans)
        return ERR_NOMEM;
    s->spans[s->spans_count++] = (struct ground_mark){(uint32_t)begin, (uint32_t)end};
    return ERR_OK;
}

static int by_begin(const void *a, const void *b)
{
    const struct ground_mark *x = a, *y = b;
    return (x->begin > y->begin) - (x->begin < y->begin);
}

static enum err give(const struct reading *r, struct ground_sample *s)
{
    if (s->label < 0)
        s->spans_count = 0;
    if (s->spans_count > 1)
        qsort(s->spans, s->spans_count, sizeof(*s->spans), by_begin);
    return r->sink->sample(r->sink->ctx, s);
}

/* --- contexts -------------------------------------------------------------------------------------- */

static void write_node(const struct json_node *n, struct json_out *j)
{
    switch (n->type) {
    case JSON_NULL: json_out_null(j); break;
    case JSON_BOOL: json_out_bool(j, n->boolean); break;
    case JSON_NUMBER: json_out_raw(j, n->text); break;
    case JSON_STRING: json_out_bytes(j, n->text); break;
    case JSON_ARRAY:
        json_out_array(j);
        for (const struct json_node *c = n->child; c; c = c->next)
            write_node(c, j);
        json_out_array_end(j);
        break;
    case JSON_OBJECT:
        json_out_object(j);
        for (const struct json_node *c = n->child; c; c = c->next) {
            json_out_key_bytes(j, c->key);
            write_node(c, j);
        }
        json_out_object_end(j);
        break;
    }
}

/* The node as JSON again; data NULL: no memory. */
static struct bytes node_text(const struct json_node *n, struct arena *a)
{
    struct buf b = {0};
    struct json_out j = json_out_to(&b);
    write_node(n, &j);
    struct bytes out = buf_ok(&b) ? arena_copy(a, buf_bytes(&b)) : BYTES_NONE;
    buf_done(&b);
    return out;
}

static bool is_list_of_texts(const struct json_node *n)
{
    if (n->type != JSON_ARRAY || !n->child)
        return false;
    for (const struct json_node *c = n->child; c; c = c->next)
        if (c->type != JSON_STRING)
            return false;
    return true;
}

/* A text is a document, a list of texts several, anything else one of JSON. */
static enum err set_documents(struct ground_sample *s, const struct json_node *n, struct arena *a)
{
    bool list = is_list_of_texts(n);
    uint32_t count = 0;
    for (const struct json_node *c = list ? n->child : NULL; c; c = c->next)
        count++;
    s->documents = ARENA_ARRAY(a, struct bytes, list ? count : 1);
    if (!s->documents)
        return ERR_NOMEM;
    if (list) {
        for (const struct json_node *c = n->child; c; c = c->next)
            s->documents[s->documents_count++] = c->text;
        return ERR_OK;
    }
    s->documents_count = 1;
    s->documents[0] = n->type == JSON_STRING ? n->text : node_text(n, a);
    return s->documents[0].data || n->type == JSON_STRING ? ERR_OK : ERR_NOMEM;
}

static const struct json_node *first_of(const struct json_node *n, const char *const *keys,
                                        size_t count)
{
    const struct json_node *hit = NULL;
    for (size_t i = 0; i < count && !hit; i++)
        hit = json_get(n, keys[i]);
    return hit;
}

/* A source that has a question and passages is those; else it is the context itself. */
static enum err set_source(struct ground_sample *s, const struct json_node *source, struct arena *a)
{
    static const char *const keys[] = {"passages", "documents", "context"};
    const struct json_node *passages = first_of(source, keys, ARRAY_LEN(keys));
    if (json_get(source, "question") && passages) {
        s->question = json_get_str(source, "question");
        source = passages;
    }
    return set_documents(s, source, a);
}

static bool begins_as_json(struct bytes t)
{
    t = bytes_trim(t);
    return t.size > 1 && (t.data[0] == '{' || (t.data[0] == '[' && t.data[1] == '{'));
}

/* The first 200 letters and digits, folded: the same article in two sets gives the same key. */
static uint64_t context_key(const struct ground_sample *s)
{
    uint8_t key[200];
    size_t n = 0;
    for (uint32_t d = 0; d < s->documents_count; d++)
        for (size_t i = 0; i < s->documents[d].size && n < sizeof(key); i++) {
            uint8_t c = s->documents[d].data[i];
            if (c >= 'A' && c <= 'Z')
                c |= 32;
            if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c >= 0x80)
                key[n++] = c;
        }
    return hash64(bytes_of(key, n), 1);
}

static void set_keys(struct ground_sample *s, struct bytes group)
{
    s->context_key = context_key(s);
    s->group = group.size ? hash64(group, 2) : s->context_key;
    bool json = s->documents_count && begins_as_json(s->documents[0]);
    s->task = json ? GROUND_TASK_DATA : s->question.size ? GROUND_TASK_QA : GROUND_TASK_SUMMARY;
}

/* --- forms ----------------------------------------------------------------------------------------- */

static enum err read_labels(struct ground_sample *s, const struct json_node *labels,
                            struct arena *a)
{
    enum err e = ERR_OK;
    for (const struct json_node *l = labels->child; l && e == ERR_OK; l = l->next) {
        const struct json_node *pair = l->type == JSON_ARRAY ? l->child : NULL;
        int64_t start, end;
        bool ok = pair
                      ? pair->next && pair->type == JSON_NUMBER &&
                            bytes_to_i64(pair->text, &start) && bytes_to_i64(pair->next->text, &end)
                      : json_get_i64(l, "start", &start) && json_get_i64(l, "end", &end);
        if (!ok || start < 0 || end < start)
            return ERR_INVALID;
        e = add_span(s, ground_data_byte_of(s->response, (uint64_t)start),
                     ground_data_byte_of(s->response, (uint64_t)end), a);
    }
    return e;
}

static enum err read_sources(const struct reading *r, const struct json_node *n, const char **why)
{
    const struct json_node *source = json_get(n, "source"), *id = json_get(n, "source_id"),
                           *list = json_get(n, "responses");
    struct ground_sample base = {.set = BYTES_LIT("ragtruth"), .label = -1};
    *why = "give source, and responses as a list of {\"response\"}";
    if (!source || !list || list->type != JSON_ARRAY)
        return ERR_INVALID;
    enum err e = set_source(&base, source, r->a);
    base.id = id ? node_text(id, r->a) : BYTES_LIT("null");
    if (e != ERR_OK || !base.id.data)
        return ERR_NOMEM;
    bool numbered = id && (id->type == JSON_NUMBER || id->type == JSON_STRING);
    set_keys(&base, numbered ? arena_printf(r->a, "ragtruth-" BYTES_FMT, BYTES_ARG(id->text))
                             : BYTES_NONE);
    for (const struct json_node *x = list->child; x; x = x->next, base.index++) {
        const struct json_node *text = json_get(x, "response"), *labels = json_get(x, "labels");
        struct ground_sample s = base;
        if (x->type == JSON_STRING)
            text = x;
        if (!text || text->type != JSON_STRING)
            return ERR_INVALID;
        s.response = text->text;
        if (labels && labels->type == JSON_ARRAY) {
            *why = "a label needs start and end, code points of the response";
            e = read_labels(&s, labels, r->a);
            s.label = s.spans_count > 0;
        }
        if (e == ERR_OK)
            e = give(r, &s);
        if (e != ERR_OK)
            return e;
    }
    return ERR_OK;
}

static enum err read_single(const struct reading *r, const struct json_node *n, const char **why)
{
    const struct json_node *context = json_get(n, "context"), *response = json_get(n, "response"),
                           *spans = json_get(n, "spans"), *id = json_get(n, "id");
    struct bytes grain = json_get_str(n, "granularity"), set = json_get_str(n, "set");
    struct ground_sample s = {.set = set.size ? set : r->set, .label = -1};
    int64_t label;
    *why = "give context and response";
    if (!context || !response || response->type != JSON_STRING)
        return ERR_INVALID;
    s.response = response->text;
    s.question = json_get_str(n, "question");
    s.id = id ? node_text(id, r->a) : BYTES_LIT("null");
    s.doubtful =
        json_get_str(n, "quality").size && !bytes_equal_str(json_get_str(n, "quality"), "good");
    enum err e = set_documents(&s, context, r->a);
    set_keys(&s, json_get_str(n, "group"));
    if (json_get_i64(n, "label", &label) && (label == 0 || label == 1))
        s.label = (int8_t)label;
    *why = "spans is a list of [start, end], code points of the response";
    if (e == ERR_OK && spans && spans->type == JSON_ARRAY)
        e = read_labels(&s, spans, r->a);
    s.grain = bytes_equal_str(grain, "sentence")   ? GROUND_GRAIN_SENTENCE
              : bytes_equal_str(grain, "response") ? GROUND_GRAIN_RESPONSE
                                                   : GROUND_GRAIN_SPAN;
    return e == ERR_OK ? give(r, &s) : e;
}

/* WiCE marks tokens; each is looked for behind the one before. */
static enum err wice_spans(struct ground_sample *s, const struct json_node *tokens,
                           const struct json_node *marks, struct arena *a)
{
    size_t at = 0, begin = 0, end = 0;
    enum err e = ERR_OK;
    const struct json_node *m = marks->child;
    for (const struct json_node *t = tokens->child; t && m && e == ERR_OK;
         t = t->next, m = m->next) {
        struct bytes left = bytes_slice(s->response, at, s->response.size);
        size_t hit = bytes_find(left, t->text);
        if (hit == left.size || t->type != JSON_STRING)
            continue;
        if (m->boolean && end == 0)
            begin = at + hit;
        if (!m->boolean && end) {
            e = add_span(s, begin, end, a);
            end = 0;
        }
        at += hit + t->text.size;
        if (m->boolean)
            end = at;
    }
    return e == ERR_OK && end ? add_span(s, begin, end, a) : e;
}

static enum err read_wice(const struct reading *r, const struct json_node *n, const char **why)
{
    const struct json_node *tokens = json_get(n, "claim_tokens"),
                           *evidence = json_get(n, "evidence"),
                           *marks = json_get(n, "non_supported_spans");
    struct ground_sample s = {.set = BYTES_LIT("wice"), .id = BYTES_LIT("null")};
    struct bytes label = json_get_str(n, "label");
    *why = "give claim, and evidence as a list of sentences";
    s.response = json_get_str(n, "claim");
    if (!s.response.size || !evidence || !is_list_of_texts(evidence))
        return ERR_INVALID;
    enum err e = set_documents(&s, evidence, r->a);
    set_keys(&s, BYTES_NONE);
    s.label = !bytes_equal_str(label, "supported");
    s.grain = tokens && marks ? GROUND_GRAIN_SPAN : GROUND_GRAIN_SENTENCE;
    if (e == ERR_OK && tokens && marks)
        e = wice_spans(&s, tokens, marks, r->a);
    if (s.label && !s.spans_count)
        s.grain = GROUND_GRAIN_SENTENCE;
    return e == ERR_OK ? give(r, &s) : e;
}

/* --- SummEdits: what was edited is what differs ------------------------------------------------------ */

#define EDIT_WORDS_MAX 400u

static uint32_t cut_words(struct bytes t, struct ground_mark *out)
{
    uint32_t n = 0;
    for (size_t i = 0; i < t.size && n < EDIT_WORDS_MAX;) {
        size_t from = i;
        while (i < t.size && t.data[i] > ' ')
            i++;
        if (i > from)
            out[n++] = (struct ground_mark){(uint32_t)from, (uint32_t)i};
        i += i == from;
    }
    return n;
}

static bool same_word(struct bytes a, struct ground_mark x, struct bytes b, struct ground_mark y)
{
    return bytes_equal(bytes_slice(a, x.begin, x.end), bytes_slice(b, y.begin, y.end));
}

/* Marks the words of the edited text that a longest common subsequence with the original leaves out. */
static enum err edit_spans(struct ground_sample *s, struct bytes original, struct arena *a)
{
    struct ground_mark *x = ARENA_ARRAY(a, struct ground_mark, EDIT_WORDS_MAX);
    struct ground_mark *y = ARENA_ARRAY(a, struct ground_mark, EDIT_WORDS_MAX);
    if (!x || !y)
        return ERR_NOMEM;
    uint32_t n = cut_words(s->response, x), m = cut_words(original, y), width = m + 1;
    uint16_t *common = ARENA_ARRAY(a, uint16_t, (size_t)(n + 1) * width);
    if (!common)
        return ERR_NOMEM;
    for (uint32_t i = n; i-- > 0;)
        for (uint32_t j = m; j-- > 0;)
            common[i * width + j] =
                same_word(s->response, x[i], original, y[j])
                    ? (uint16_t)(common[(i + 1) * width + j + 1] + 1)
                    : MAX(common[(i + 1) * width + j], common[i * width + j + 1]);
    enum err e = ERR_OK;
    for (uint32_t i = 0, j = 0; i < n && e == ERR_OK;) {
        if (j < m && same_word(s->response, x[i], original, y[j]))
            i++, j++;
        else if (j < m && common[i * width + j + 1] >= common[(i + 1) * width + j])
            j++;
        else
            e = add_span(s, x[i].begin, x[i].end, a), i++;
    }
    return e;
}

static enum err read_edit(const struct reading *r, const struct json_node *n, const char **why)
{
    const struct json_node *document = json_get(n, "doc");
    struct ground_sample s = {.set = BYTES_LIT("summedits"), .id = BYTES_LIT("null")};
    struct bytes label = json_get_str(n, "label"), original = json_get_str(n, "original_summary");
    *why = "give doc and summary";
    s.response = json_get_str(n, "summary");
    if (!document || document->type != JSON_STRING || !s.response.size)
        return ERR_INVALID;
    enum err e = set_documents(&s, document, r->a);
    set_keys(&s, BYTES_NONE);
    s.label = bytes_equal_str(label, "1") ? 0 : bytes_equal_str(label, "0") ? 1 : -1;
    if (e == ERR_OK && s.label == 1 && original.size)
        e = edit_spans(&s, original, r->a);
    if (s.label == 1 && !s.spans_count)
        s.grain = GROUND_GRAIN_RESPONSE;
    return e == ERR_OK ? give(r, &s) : e;
}

/* --- files ----------------------------------------------------------------------------------------- */

static enum err read_node(const struct reading *r, const struct json_node *n, const char **why)
{
    if (json_get(n, "responses"))
        return read_sources(r, n, why);
    if (json_get(n, "claim"))
        return read_wice(r, n, why);
    if (json_get(n, "summary"))
        return read_edit(r, n, why);
    return read_single(r, n, why);
}

static enum err read_value(const struct reading *r, struct bytes text)
{
    struct json_node *root;
    struct err_msg why = {""};
    const char *what = "";
    enum err e = json_in_tree(text, DEPTH_MAX, r->a, &root, &why);
    if (e == ERR_NOMEM || e == ERR_LIMIT)
        return e;
    if (e != ERR_OK) {
        r->sink->bad(r->sink->ctx, r->name, r->line, why.text);
        return ERR_OK;
    }
    const struct json_node *n = root->type == JSON_ARRAY ? root->child : root;
    for (e = ERR_OK; n && (e == ERR_OK || e == ERR_INVALID);
         n = root->type == JSON_ARRAY ? n->next : NULL) {
        e = read_node(r, n, &what);
        if (e == ERR_INVALID)
            r->sink->bad(r->sink->ctx, r->name, r->line, what);
    }
    return e == ERR_INVALID ? ERR_OK : e;
}

enum err ground_data_read(struct bytes text, const char *name, struct arena *a,
                          const struct ground_data_sink *sink, struct err_msg *msg)
{
    const char *slash = strrchr(name, '/');
    struct reading r = {name, 0, a, sink, bytes_str(slash ? slash + 1 : name)};
    struct bytes begin = bytes_trim(text);
    r.set = bytes_slice(r.set, 0, bytes_find(r.set, BYTES_LIT(".")));
    enum err e = ERR_OK;
    if (begin.size && begin.data[0] == '[')
        e = read_value(&r, begin);
    else
        for (size_t at = 0; e == ERR_OK && at < text.size;) {
            struct bytes left = bytes_slice(text, at, text.size);
            size_t n = bytes_find(left, BYTES_LIT("\n"));
            struct bytes line = bytes_trim(bytes_slice(left, 0, n));
            r.line++;
            at += n + 1;
            if (line.size)
                e = read_value(&r, line);
        }
    return e == ERR_OK ? e
                       : err_set(msg, e, "%s, line %llu: %s", name, (unsigned long long)r.line,
                                 err_text(e));
}

enum err ground_data_read_file(const char *path, struct arena *a,
                               const struct ground_data_sink *sink, struct err_msg *msg)
{
    struct buf b;
    enum err e = file_in_read(path, GROUND_DATA_FILE_MAX, &b, msg);
    if (e == ERR_OK) {
        size_t size = b.size;
        void *text = buf_take(&b, &size);
        /* Samples point into it: the arena keeps it. */
        e = !text || arena_adopt(a, text, size)
                ? ground_data_read(bytes_of(text, size), path, a, sink, msg)
                : err_set(msg, ERR_NOMEM, "out of memory");
    }
    buf_done(&b);
    return e;
}
