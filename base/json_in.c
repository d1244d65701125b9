#include "base/json_in.h"

#include <yajl/yajl_parse.h>

#include "base/buf.h"
#include "base/check.h"

struct parse {
    const struct json_in_events *events;
    void *ctx;
    unsigned depth, depth_max;
    enum err error; /* why a callback stopped the parse */
    struct buf mended; /* a string whose escapes named half a surrogate pair */
};

static int step(struct parse *p, enum err e)
{
    p->error = e;
    return e == ERR_OK;
}

/* The text is UTF-8, but an escape may name half of a surrogate pair ("\\udc00", a cut emoji): one bad character must not cost a whole
 * document, so it becomes U+FFFD, which is as long as the three bytes that the parser makes of it. */
static struct bytes mend(struct parse *p, struct bytes s)
{
    if (bytes_is_utf8(s))
        return s;
    buf_clear(&p->mended);
    buf_bytes_append(&p->mended, s);
    if (!buf_ok(&p->mended))
        return BYTES_NONE;
    for (size_t i = 0; i + 2 < s.size; i++)
        if (s.data[i] == 0xed && s.data[i + 1] >= 0xa0)
            memcpy(p->mended.data + i, "\xef\xbf\xbd", 3);
    return buf_bytes(&p->mended);
}

static int on_null(void *ctx)
{
    struct parse *p = ctx;
    return step(p, p->events->null(p->ctx));
}

static int on_boolean(void *ctx, int v)
{
    struct parse *p = ctx;
    return step(p, p->events->boolean(p->ctx, v != 0));
}

static int on_number(void *ctx, const char *text, size_t size)
{
    struct parse *p = ctx;
    return step(p, p->events->number(p->ctx, bytes_of(text, size)));
}

static int on_string(void *ctx, const unsigned char *s, size_t size)
{
    struct parse *p = ctx;
    return step(p, p->events->string(p->ctx, mend(p, bytes_of(s, size))));
}

static int enter(struct parse *p, enum err (*event)(void *ctx))
{
    if (p->depth == p->depth_max)
        return step(p, ERR_TOO_DEEP);
    p->depth++;
    return step(p, event(p->ctx));
}

static int on_object(void *ctx)
{
    struct parse *p = ctx;
    return enter(p, p->events->object);
}

static int on_key(void *ctx, const unsigned char *s, size_t size)
{
    struct parse *p = ctx;
    return step(p, p->events->key(p->ctx, mend(p, bytes_of(s, size))));
}

static int on_object_end(void *ctx)
{
    struct parse *p = ctx;
    p->depth--;
    return step(p, p->events->object_end(p->ctx));
}

static int on_array(void *ctx)
{
    struct parse *p = ctx;
    return enter(p, p->events->array);
}

static int on_array_end(void *ctx)
{
    struct parse *p = ctx;
    p->depth--;
    return step(p, p->events->array_end(p->ctx));
}

static const yajl_callbacks callbacks = {
    .yajl_null = on_null,
    .yajl_boolean = on_boolean,
    .yajl_number = on_number,
    .yajl_string = on_string,
    .yajl_start_map = on_object,
    .yajl_map_key = on_key,
    .yajl_end_map = on_object_end,
    .yajl_start_array = on_array,
    .yajl_end_array = on_array_end,
};

static enum err explain(yajl_handle handle, const struct parse *p, enum err e, struct err_msg *msg)
{
    size_t offset = yajl_get_bytes_consumed(handle);
    if (e == ERR_TOO_DEEP)
        return err_set(msg, e, "JSON nested deeper than %u at byte %zu", p->depth_max, offset);
    if (e != ERR_OK) {
        if (msg && !msg->text[0])
            err_set(msg, e, "JSON value not acceptable at byte %zu", offset);
        return e;
    }
    unsigned char *text = yajl_get_error(handle, 0, NULL, 0);
    size_t n = text ? strcspn((char *)text, "\n") : 0;
    err_set(msg, ERR_INVALID, "%.*s at byte %zu", (int)n, text ? (char *)text : "", offset);
    yajl_free_error(handle, text);
    return ERR_INVALID;
}

enum err json_in_parse(struct bytes text, unsigned depth_max, const struct json_in_events *events,
                       void *ctx, struct err_msg *msg)
{
    struct parse p = {.events = events, .ctx = ctx, .depth_max = depth_max};
    if (msg)
        msg->text[0] = 0;
    if (!bytes_is_utf8(text)) /* yajl lets overlong forms pass */
        return err_set(msg, ERR_INVALID, "the JSON text is not UTF-8");
    yajl_handle handle = yajl_alloc(&callbacks, NULL, &p);
    if (!handle)
        return ERR_NOMEM;
    yajl_status status = yajl_parse(handle, text.size ? text.data : (const uint8_t *)"", text.size);
    if (status == yajl_status_ok)
        status = yajl_complete_parse(handle);
    enum err e = ERR_OK;
    if (status != yajl_status_ok)
        e = explain(handle, &p, status == yajl_status_client_canceled ? p.error : ERR_OK, msg);
    yajl_free(handle);
    buf_done(&p.mended);
    return e;
}

/* --- the tree ---------------------------------------------------------------------------------- */

#define TREE_DEPTH_MAX 256u

struct tree {
    struct arena *arena;
    struct json_node *root;
    struct json_node *stack[TREE_DEPTH_MAX],
        *last[TREE_DEPTH_MAX]; /* open containers and their newest child */
    unsigned depth;
    struct bytes key;
};

static enum err tree_add(struct tree *t, enum json_type type, struct bytes text,
                         struct json_node **out)
{
    struct json_node *n = arena_alloc(t->arena, sizeof(*n));
    if (!n)
        return ERR_LIMIT;
    n->type = type;
    n->text = text;
    if (t->depth == 0) {
        t->root = n;
    } else {
        unsigned d = t->depth - 1;
        if (t->stack[d]->type == JSON_OBJECT)
            n->key = t->key;
        if (t->last[d])
            t->last[d]->next = n;
        else
            t->stack[d]->child = n;
        t->last[d] = n;
    }
    *out = n;
    return ERR_OK;
}

static enum err tree_text(struct tree *t, enum json_type type, struct bytes text)
{
    struct json_node *n;
    struct bytes copy = arena_copy(t->arena, text);
    return copy.data ? tree_add(t, type, copy, &n) : ERR_LIMIT;
}

static enum err tree_null(void *ctx)
{
    struct json_node *n;
    return tree_add(ctx, JSON_NULL, BYTES_NONE, &n);
}

static enum err tree_boolean(void *ctx, bool v)
{
    struct json_node *n;
    enum err e = tree_add(ctx, JSON_BOOL, BYTES_NONE, &n);
    if (e == ERR_OK)
        n->boolean = v;
    return e;
}

static enum err tree_number(void *ctx, struct bytes text)
{
    return tree_text(ctx, JSON_NUMBER, text);
}

static enum err tree_string(void *ctx, struct bytes s)
{
    return tree_text(ctx, JSON_STRING, s);
}

static enum err tree_open(struct tree *t, enum json_type type)
{
    struct json_node *n;
    enum err e = tree_add(t, type, BYTES_NONE, &n);
    if (e != ERR_OK)
        return e;
    CHECK(t->depth < TREE_DEPTH_MAX);
    t->stack[t->depth] = n;
    t->last[t->depth++] = NULL;
    return ERR_OK;
}

static enum err tree_object(void *ctx)
{
    return tree_open(ctx, JSON_OBJECT);
}

static enum err tree_array(void *ctx)
{
    return tree_open(ctx, JSON_ARRAY);
}

static enum err tree_close(void *ctx)
{
    ((struct tree *)ctx)->depth--;
    return ERR_OK;
}

static enum err tree_key(void *ctx, struct bytes key)
{
    struct tree *t = ctx;
    t->key = arena_copy(t->arena, key);
    return t->key.data ? ERR_OK : ERR_LIMIT;
}

enum err json_in_tree(struct bytes text, unsigned depth_max, struct arena *a,
                      struct json_node **out, struct err_msg *msg)
{
    static const struct json_in_events events = {tree_null,   tree_boolean, tree_number,
                                                 tree_string, tree_object,  tree_key,
                                                 tree_close,  tree_array,   tree_close};
    struct tree t = {.arena = a};
    enum err e = json_in_parse(text, MIN(depth_max, TREE_DEPTH_MAX), &events, &t, msg);
    if (e == ERR_OK)
        *out = t.root;
    return e;
}

const struct json_node *json_get(const struct json_node *object, const char *key)
{
    if (!object || object->type != JSON_OBJECT)
        return NULL;
    for (const struct json_node *n = object->child; n; n = n->next)
        if (bytes_equal_str(n->key, key))
            return n;
    return NULL;
}

struct bytes json_get_str(const struct json_node *object, const char *key)
{
    const struct json_node *n = json_get(object, key);
    return n && n->type == JSON_STRING ? n->text : BYTES_NONE;
}

bool json_get_f64(const struct json_node *object, const char *key, double *out)
{
    const struct json_node *n = json_get(object, key);
    return n && n->type == JSON_NUMBER && bytes_to_f64(n->text, out);
}

bool json_get_i64(const struct json_node *object, const char *key, int64_t *out)
{
    const struct json_node *n = json_get(object, key);
    return n && n->type == JSON_NUMBER && bytes_to_i64(n->text, out);
}
