#include "base/yaml_in.h"

#include <yaml.h>

#include "base/check.h"

#define DEPTH_MAX 32u

struct level {
    struct yaml_node *node, *last;
    struct bytes key; /* of the pair whose value comes next */
    unsigned key_line;
    bool has_key;
};

struct load {
    struct arena *arena;
    struct err_msg *msg;
    struct yaml_node *first, *last; /* documents */
    struct level stack[DEPTH_MAX];
    unsigned depth, nodes;
};

static unsigned line_of(const yaml_event_t *e)
{
    return (unsigned)e->start_mark.line + 1;
}

static struct bytes text_copy(struct arena *a, const uint8_t *s, size_t n)
{
    return arena_printf(a, "%.*s", (int)n, (const char *)s);
}

static enum err attach(struct load *l, struct yaml_node *n)
{
    if (l->depth == 0) {
        if (l->last)
            l->last->next = n;
        else
            l->first = n;
        l->last = n;
        return ERR_OK;
    }
    struct level *top = &l->stack[l->depth - 1];
    if (top->node->type == YAML_MAP) {
        n->key = top->key;
        n->key_line = top->key_line;
        top->has_key = false;
    }
    if (top->last)
        top->last->next = n;
    else
        top->node->child = n;
    top->last = n;
    return ERR_OK;
}

static bool expects_key(const struct load *l)
{
    return l->depth && l->stack[l->depth - 1].node->type == YAML_MAP &&
           !l->stack[l->depth - 1].has_key;
}

static enum err take_key(struct load *l, const yaml_event_t *e)
{
    struct level *top = &l->stack[l->depth - 1];
    struct bytes key = text_copy(l->arena, e->data.scalar.value, e->data.scalar.length);
    if (!key.data)
        return ERR_LIMIT;
    for (const struct yaml_node *n = top->node->child; n; n = n->next)
        if (bytes_equal(n->key, key))
            return err_set(l->msg, ERR_INVALID,
                           "line %u: key '" BYTES_FMT "' is already given on line %u", line_of(e),
                           BYTES_ARG(key), n->key_line);
    top->key = key;
    top->key_line = line_of(e);
    top->has_key = true;
    return ERR_OK;
}

static enum err node_new(struct load *l, const yaml_event_t *e, enum yaml_type type,
                         struct yaml_node **out)
{
    if (++l->nodes > YAML_IN_NODES_MAX)
        return err_set(l->msg, ERR_LIMIT, "line %u: more than %u values", line_of(e),
                       YAML_IN_NODES_MAX);
    struct yaml_node *n = arena_alloc(l->arena, sizeof(*n));
    if (!n)
        return ERR_LIMIT;
    n->type = type;
    n->line = line_of(e);
    *out = n;
    return attach(l, n);
}

static enum err on_scalar(struct load *l, const yaml_event_t *e)
{
    struct yaml_node *n;
    if (memchr(e->data.scalar.value, 0, e->data.scalar.length))
        return err_set(l->msg, ERR_INVALID, "line %u: a NUL character in a value", line_of(e));
    if (expects_key(l))
        return take_key(l, e);
    enum err err = node_new(l, e, YAML_SCALAR, &n);
    if (err != ERR_OK)
        return err;
    n->quoted = e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    n->text = text_copy(l->arena, e->data.scalar.value, e->data.scalar.length);
    if (!n->text.data)
        return ERR_LIMIT;
    if (!n->quoted &&
        (n->text.size == 0 || bytes_equal_str(n->text, "~") || bytes_equal_str(n->text, "null")))
        n->type = YAML_NULL;
    return ERR_OK;
}

static enum err on_open(struct load *l, const yaml_event_t *e, enum yaml_type type)
{
    struct yaml_node *n;
    if (expects_key(l))
        return err_set(l->msg, ERR_INVALID, "line %u: a key must be a plain value", line_of(e));
    if (l->depth == DEPTH_MAX)
        return err_set(l->msg, ERR_TOO_DEEP, "line %u: nested deeper than %u", line_of(e),
                       DEPTH_MAX);
    enum err err = node_new(l, e, type, &n);
    if (err == ERR_OK)
        l->stack[l->depth++] = (struct level){.node = n};
    return err;
}

static enum err on_event(struct load *l, const yaml_event_t *e)
{
    bool anchored = (e->type == YAML_SCALAR_EVENT && e->data.scalar.anchor) ||
                    (e->type == YAML_SEQUENCE_START_EVENT && e->data.sequence_start.anchor) ||
                    (e->type == YAML_MAPPING_START_EVENT && e->data.mapping_start.anchor);
    if (anchored || e->type == YAML_ALIAS_EVENT)
        return err_set(l->msg, ERR_INVALID,
                       "line %u: anchors and aliases are not supported; repeat the value",
                       line_of(e));
    switch (e->type) {
    case YAML_SCALAR_EVENT: return on_scalar(l, e);
    case YAML_SEQUENCE_START_EVENT: return on_open(l, e, YAML_LIST);
    case YAML_MAPPING_START_EVENT: return on_open(l, e, YAML_MAP);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT: l->depth--; return ERR_OK;
    default: return ERR_OK;
    }
}

enum err yaml_in_parse(struct bytes text, struct arena *a, struct yaml_node **out_documents,
                       struct err_msg *msg)
{
    yaml_parser_t parser;
    struct load l = {.arena = a, .msg = msg};
    enum err err = ERR_OK;
    if (!bytes_is_utf8(text))
        return err_set(msg, ERR_INVALID, "not UTF-8");
    if (!yaml_parser_initialize(&parser))
        return ERR_NOMEM;
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, text.size ? text.data : (const uint8_t *)"", text.size);
    for (bool more = true; more && err == ERR_OK;) {
        yaml_event_t event;
        if (!yaml_parser_parse(&parser, &event)) {
            err = err_set(msg, ERR_INVALID, "line %zu, column %zu: %s%s%s",
                          parser.problem_mark.line + 1, parser.problem_mark.column + 1,
                          parser.problem ? parser.problem : "not YAML", parser.context ? " " : "",
                          parser.context ? parser.context : "");
            break;
        }
        err = on_event(&l, &event);
        more = event.type != YAML_STREAM_END_EVENT;
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    if (err == ERR_LIMIT && msg && !msg->text[0])
        err_set(msg, err, "the document is too large");
    if (err == ERR_OK)
        *out_documents = l.first;
    return err;
}

const struct yaml_node *yaml_get(const struct yaml_node *map, const char *key)
{
    if (!map || map->type != YAML_MAP)
        return NULL;
    for (const struct yaml_node *n = map->child; n; n = n->next)
        if (bytes_equal_str(n->key, key))
            return n;
    return NULL;
}

struct bytes yaml_get_str(const struct yaml_node *map, const char *key)
{
    const struct yaml_node *n = yaml_get(map, key);
    return n && n->type == YAML_SCALAR ? n->text : BYTES_NONE;
}
