/* Which attributes there are, and which values they have, in the newest rows. */
#include <stdlib.h>

#include "base/check.h"
#include "base/hash.h"
#include "query/traceql_ast.h"

#define BIT(column) (UINT64_C(1) << TSDB_SPAN_##column)
#define LIMIT_DEFAULT 1000u
#define LIMIT_MAX 10000u
#define VALUE_BYTES_MAX 1024u /* a prompt is no value to choose from */

/* Texts, each once, with how often they came. */
struct bag {
    struct arena *a;
    struct bag_item {
        struct query_traceql_value value;
        uint64_t hash, count;
    } * items;
    uint32_t *slots, slot_mask; /* index + 1 */
    uint32_t count, max;
    bool failed;
};

static bool bag_init(struct bag *b, struct arena *a, uint32_t max)
{
    uint32_t slots = 16;
    while (slots < 2 * max)
        slots *= 2;
    *b = (struct bag){.a = a,
                      .items = ARENA_ARRAY(a, struct bag_item, max),
                      .slots = ARENA_ARRAY(a, uint32_t, slots),
                      .slot_mask = slots - 1,
                      .max = max};
    return b->items && b->slots;
}

static bool same_value(const struct query_traceql_value *a, const struct query_traceql_value *b)
{
    return a->type == b->type && (a->type == TRACEQL_STRING ? bytes_equal(a->text, b->text)
                                                            : traceql_compare(TRACEQL_OP_EQ, a, b));
}

static uint64_t hash_value(const struct query_traceql_value *v)
{
    uint64_t bits = 0;
    if (v->type == TRACEQL_STRING)
        return hash64(v->text, 0);
    if (v->type == TRACEQL_BOOL)
        bits = v->boolean;
    else if (v->type == TRACEQL_FLOAT)
        memcpy(&bits, &v->number, sizeof bits);
    else
        bits = (uint64_t)v->integer;
    return hash64(bytes_of(&bits, sizeof bits), 0) + (uint64_t)v->type;
}

static void bag_add(struct bag *b, const struct query_traceql_value *v)
{
    if (v->type == TRACEQL_NIL || (v->type == TRACEQL_STRING && v->text.size > VALUE_BYTES_MAX))
        return;
    uint64_t hash = hash_value(v);
    for (uint64_t at = hash;; at++) {
        uint32_t *slot = &b->slots[at & b->slot_mask];
        if (*slot) {
            struct bag_item *item = &b->items[*slot - 1];
            if (item->hash != hash || !same_value(&item->value, v))
                continue;
            item->count++;
            return;
        }
        if (b->count == b->max)
            return; /* the answer is limited; what it has goes on being counted */
        struct bag_item *item = &b->items[b->count];
        *item = (struct bag_item){*v, hash, 1};
        if (v->type == TRACEQL_STRING) {
            item->value.text = arena_copy(b->a, v->text);
            if (v->text.size && !item->value.text.data) {
                b->failed = true;
                return;
            }
        }
        *slot = ++b->count;
        return;
    }
}

static int by_text(const void *x, const void *y)
{
    const struct bytes *a = x, *b = y;
    return bytes_compare(*a, *b);
}

static int most_first(const void *x, const void *y)
{
    const struct bag_item *a = x, *b = y;
    return a->count < b->count ? 1 : a->count > b->count ? -1 : (a > b) - (a < b);
}

struct look {
    struct bag bag[TRACEQL_SCOPE_COUNT]; /* names, or in [0] values */
    struct traceql_field field;
    const struct query_traceql *only;
    uint64_t rows;
};

static struct tsdb_visit visit_of(const struct query_traceql_tags_ask *ask, struct look *l)
{
    return (struct tsdb_visit){.start_min_ns = ask->start_min_ns,
                               .start_max_ns = ask->start_max_ns ? ask->start_max_ns : INT64_MAX,
                               .order = TSDB_VISIT_NEWEST,
                               .ctx = l};
}

static uint32_t limit_of(const struct query_traceql_tags_ask *ask)
{
    return ask->limit ? MIN(ask->limit, LIMIT_MAX) : LIMIT_DEFAULT;
}

/* --- names -------------------------------------------------------------------------------------- */

static void add_names(struct bag *b, struct bytes attrs)
{
    struct tsdb_attrs_iter it = tsdb_attrs_begin(attrs);
    struct query_traceql_value name = {.type = TRACEQL_STRING};
    struct tsdb_value v;
    while (tsdb_attrs_next(&it, &name.text, &v))
        bag_add(b, &name);
}

static bool see_names(void *ctx, const struct tsdb_spans *t, const uint32_t *rows, uint32_t count)
{
    struct look *l = ctx;
    for (uint32_t i = 0; i < count; i++) {
        struct tsdb_attrs_iter events = tsdb_attrs_begin(t->events[rows[i]]),
                               links = tsdb_attrs_begin(t->links[rows[i]]);
        struct tsdb_event event;
        struct tsdb_link link;
        add_names(&l->bag[TRACEQL_SPAN], t->attrs[rows[i]]);
        add_names(&l->bag[TRACEQL_RESOURCE], t->resource_attrs[rows[i]]);
        while (tsdb_attrs_next_event(&events, &event))
            add_names(&l->bag[TRACEQL_EVENT], event.attrs);
        while (tsdb_attrs_next_link(&links, &link))
            add_names(&l->bag[TRACEQL_LINK], link.attrs);
    }
    l->rows += count;
    return l->rows < QUERY_TRACEQL_ROWS_MAX;
}

enum err query_traceql_tags(struct tsdb_view *v, const struct query_traceql_tags_ask *ask,
                            struct arena *a, struct query_traceql_tags *out)
{
    struct look l = {.rows = 0};
    struct tsdb_visit q = visit_of(ask, &l);
    for (int s = TRACEQL_SPAN; s <= TRACEQL_LINK; s++)
        if (!bag_init(&l.bag[s], a, limit_of(ask)))
            return ERR_LIMIT;
    q.columns = BIT(attrs) | BIT(resource_attrs) | BIT(events) | BIT(links);
    q.spans = see_names;
    enum err e = tsdb_spans_visit(v, &q);
    *out = (struct query_traceql_tags){{NULL}, {0}};
    for (int s = TRACEQL_SPAN; e == ERR_OK && s <= TRACEQL_LINK; s++) {
        struct bag *b = &l.bag[s];
        struct bytes *names = ARENA_ARRAY(a, struct bytes, b->count + 1);
        if (!names || b->failed)
            return ERR_LIMIT;
        for (uint32_t i = 0; i < b->count; i++)
            names[i] = b->items[i].value.text;
        qsort(names, b->count, sizeof *names, by_text);
        out->name[s] = names;
        out->count[s] = b->count;
    }
    return e;
}

/* --- values ------------------------------------------------------------------------------------- */

static bool add_value(void *ctx, const struct query_traceql_value *v)
{
    bag_add(ctx, v);
    return true;
}

/* Of the query only what a row alone can tell, of its first span set. */
static bool lets_pass(const struct traceql_spanset *s, const struct traceql_row *r)
{
    if (!s->left)
        return traceql_expr_may(s->filter, r);
    return lets_pass(s->left, r) || lets_pass(s->right, r);
}

static bool see_values(void *ctx, const struct tsdb_spans *t, const uint32_t *rows, uint32_t count)
{
    struct look *l = ctx;
    for (uint32_t i = 0; i < count; i++) {
        struct traceql_row r = {.t = t, .row = rows[i]};
        if (!l->only || lets_pass(l->only->stages->spanset, &r))
            traceql_field_each(&l->field, &r, add_value, &l->bag[0]);
    }
    l->rows += count;
    return l->rows < QUERY_TRACEQL_ROWS_MAX;
}

enum err query_traceql_values(struct tsdb_view *v, struct bytes field,
                              const struct query_traceql *only,
                              const struct query_traceql_tags_ask *ask, struct arena *a,
                              struct query_traceql_value **out, size_t *out_count,
                              struct err_msg *msg)
{
    struct look l = {.only = only};
    struct tsdb_visit q = visit_of(ask, &l);
    enum err e = traceql_field_parse(field, &l.field, msg);
    if (e != ERR_OK)
        return e;
    if (l.field.parent || l.field.intrinsic >= TRACEQL_I_ROOT_NAME) {
        *out_count = 0; /* what whole traces tell is not looked for */
        *out = NULL;
        return ERR_OK;
    }
    if (!bag_init(&l.bag[0], a, limit_of(ask)))
        return ERR_LIMIT;
    q.columns = BIT(attrs) | BIT(resource_attrs) | BIT(events) | BIT(links) | BIT(name) |
                BIT(status) | BIT(status_message) | BIT(kind) | BIT(scope_name) |
                BIT(scope_version) | BIT(trace_id) | BIT(span_id) | BIT(parent_id) | BIT(start_ns) |
                BIT(end_ns);
    q.spans = see_values;
    e = tsdb_spans_visit(v, &q);
    if (e != ERR_OK)
        return e;
    struct bag *b = &l.bag[0];
    struct query_traceql_value *values = ARENA_ARRAY(a, struct query_traceql_value, b->count + 1);
    if (!values || b->failed)
        return ERR_LIMIT;
    qsort(b->items, b->count, sizeof *b->items, most_first);
    for (uint32_t i = 0; i < b->count; i++)
        values[i] = b->items[i].value;
    *out = values;
    *out_count = b->count;
    return ERR_OK;
}
