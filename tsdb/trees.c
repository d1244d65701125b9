#include "tsdb/trees.h"

#include "base/check.h"
#include "tsdb/tsdb_attrs.h"

/* Fields beyond the types of values (enum tsdb_value_type). */
enum { FIELD_EVENT = 8, FIELD_DROPPED, FIELD_RAW, FIELD_TAGS };
enum how { HOW_OWN, HOW_COLUMN, HOW_NANOSECONDS };

#define CHILDREN_MAX 64u /* of a node, searched one by one */
#define NS_PER_S 1e9

struct field {
    struct bytes key; /* of an event its name */
    uint8_t tag;
    uint32_t count, cap;
    uint32_t *rows; /* of each value */
    union {
        int64_t *ints; /* bools, integers, times */
        double *doubles;
        struct bytes *strings;
    };
    const int64_t *dictionary; /* get: places of strings in one; NULL: they are none */
    struct vector_source source;
    bool has_source;
};

/* A step on the way through the fields of a row; each node is one list of fields, and the shape of the rows that end there. */
struct node {
    uint32_t field, parent, child, sibling; /* child, sibling: 0 = none */
    uint32_t last; /* the child that the row before went to */
    uint32_t shape; /* shape + 1 */
};

struct token {
    uint32_t field;
    union {
        int64_t integer;
        double number;
        struct bytes bytes;
    };
};

struct trees {
    struct vector_coder *c;
    struct arena *keep; /* fields and nodes: the coder's own arena is cleared between vectors */
    uint32_t n;
    struct field *fields;
    uint32_t field_count, field_cap;
    struct node *nodes;
    uint32_t node_count, node_cap, shape_count;
    uint32_t *shape_nodes;
    int64_t *shapes; /* of each row */
    struct token *tokens;
    uint32_t token_count;
    bool failed;
};

static bool is_int(uint8_t tag)
{
    return tag == TSDB_VALUE_BOOL || tag == TSDB_VALUE_INT || tag == FIELD_EVENT ||
           tag == FIELD_DROPPED;
}

static bool is_string(uint8_t tag)
{
    return tag == TSDB_VALUE_STRING || tag == TSDB_VALUE_BYTES || tag == TSDB_VALUE_ARRAY ||
           tag == TSDB_VALUE_KVLIST || tag == FIELD_RAW;
}

static size_t varint_size(uint64_t v)
{
    size_t n = 1;
    for (; v >= 128; v >>= 7)
        n++;
    return n;
}

/* --- taking apart --------------------------------------------------------------------------------- */

/* The array with room for one more; NULL: no memory. */
static void *more(struct trees *t, void *array, size_t size, uint32_t count, uint32_t *cap)
{
    if (count < *cap)
        return array;
    uint32_t fresh_cap = *cap ? *cap * 2 : 32;
    void *fresh = arena_grow(t->keep, array, size, *cap, fresh_cap);
    t->failed |= !fresh;
    *cap = fresh ? fresh_cap : *cap;
    return fresh;
}

static uint32_t field_of(struct trees *t, struct bytes key, uint8_t tag)
{
    for (uint32_t i = 0; i < t->field_count; i++)
        if (t->fields[i].tag == tag && bytes_equal(t->fields[i].key, key))
            return i;
    struct field *fields = t->field_count < TREES_FIELDS_MAX
                               ? more(t, t->fields, sizeof(*fields), t->field_count, &t->field_cap)
                               : NULL;
    if (!fields)
        return TREES_FIELDS_MAX;
    t->fields = fields;
    t->fields[t->field_count] = (struct field){.key = key, .tag = tag};
    return t->field_count++;
}

/* Keys are short and compared once an attribute: in words here, not by a call. */
static inline bool is_same_key(struct bytes a, struct bytes b)
{
    if (a.size != b.size)
        return false;
    if (a.size < 8)
        return bytes_equal(a, b);
    for (size_t i = 0; i + 8 < a.size; i += 8)
        if (bytes_u64le(a.data + i) != bytes_u64le(b.data + i))
            return false;
    return bytes_u64le(a.data + a.size - 8) == bytes_u64le(b.data + b.size - 8);
}

/* The node behind `at` for that field; 0: past a limit. */
static uint32_t step(struct trees *t, uint32_t at, struct bytes key, uint8_t tag)
{
    struct node *from = &t->nodes[at];
    uint32_t to = from->last, looked = 0;
    const struct field *f = &t->fields[t->nodes[to].field];
    if (to && f->tag == tag && is_same_key(f->key, key))
        return to;
    for (to = from->child; to; to = t->nodes[to].sibling, looked++) {
        f = &t->fields[t->nodes[to].field];
        if (f->tag == tag && is_same_key(f->key, key))
            return from->last = to;
    }
    if (looked >= CHILDREN_MAX || t->node_count == TREES_NODES_MAX)
        return 0;
    uint32_t field = field_of(t, key, tag);
    struct node *nodes = field == TREES_FIELDS_MAX
                             ? NULL
                             : more(t, t->nodes, sizeof(*nodes), t->node_count, &t->node_cap);
    if (!nodes)
        return 0;
    t->nodes = nodes;
    from = &nodes[at];
    to = t->node_count++;
    t->nodes[to] = (struct node){.field = field, .parent = at, .sibling = from->child};
    return from->child = from->last = to;
}

static struct token *add_token(struct trees *t, uint32_t *at, struct bytes key, uint8_t tag)
{
    if (t->token_count == TREES_WIDTH_MAX)
        return NULL;
    *at = step(t, *at, key, tag);
    struct token *x = &t->tokens[t->token_count];
    if (!*at)
        return NULL;
    t->token_count++;
    x->field = t->nodes[*at].field;
    return x;
}

static bool add_value(struct trees *t, uint32_t *at, struct bytes key, struct tsdb_value v,
                      size_t *size)
{
    struct token *x = add_token(t, at, key, (uint8_t)v.type);
    if (!x)
        return false;
    *size += 1;
    switch (v.type) {
    case TSDB_VALUE_EMPTY: break;
    case TSDB_VALUE_BOOL:
        x->integer = v.boolean;
        *size += 1;
        break;
    case TSDB_VALUE_INT:
        x->integer = v.integer;
        *size += 8;
        break;
    case TSDB_VALUE_DOUBLE:
        x->number = v.number;
        *size += 8;
        break;
    case TSDB_VALUE_STRING:
    case TSDB_VALUE_BYTES:
    case TSDB_VALUE_ARRAY:
    case TSDB_VALUE_KVLIST: x->bytes = v.bytes; *size += varint_size(v.bytes.size) + v.bytes.size;
    }
    return true;
}

static bool walk_attrs(struct trees *t, uint32_t *at, struct bytes attrs, size_t *size)
{
    struct tsdb_attrs_iter it = tsdb_attrs_begin(attrs);
    struct bytes key;
    struct tsdb_value v;
    while (tsdb_attrs_next(&it, &key, &v)) {
        if (!add_value(t, at, key, v, size))
            return false;
        *size += varint_size(key.size) + key.size;
    }
    return !it.corrupt;
}

static bool walk_events(struct trees *t, uint32_t *at, struct bytes events, size_t *size)
{
    struct tsdb_attrs_iter it = tsdb_attrs_begin(events);
    struct tsdb_event e;
    while (tsdb_attrs_next_event(&it, &e)) {
        size_t body = 8 + 4 + varint_size(e.name.size) + e.name.size;
        struct token *x = add_token(t, at, e.name, FIELD_EVENT);
        if (!x)
            return false;
        x->integer = (int64_t)e.time_ns;
        if (e.dropped) {
            x = add_token(t, at, BYTES_NONE, FIELD_DROPPED);
            if (!x)
                return false;
            x->integer = e.dropped;
        }
        if (!walk_attrs(t, at, e.attrs, &body))
            return false;
        *size += varint_size(body) + body;
    }
    return !it.corrupt;
}

/* The node where the row ends; its values are in tokens. */
static uint32_t walk(struct trees *t, enum trees_kind kind, struct bytes row)
{
    uint32_t at = 0;
    size_t size = 0;
    bool ok;
    t->token_count = 0;
    if (kind == TREES_ATTRS) {
        ok = walk_attrs(t, &at, row, &size);
    } else if (kind == TREES_EVENTS) {
        ok = walk_events(t, &at, row, &size);
    } else {
        struct tsdb_attrs_iter it = tsdb_attrs_begin(row);
        struct tsdb_value v;
        ok = row.size == 0 || (tsdb_attrs_next_value(&it, &v) &&
                               add_value(t, &at, BYTES_NONE, v, &size) && reader_left(&it.r) == 0);
    }
    if (ok && size == row.size) /* else a varint was longer than it has to be */
        return at;
    at = 0;
    t->token_count = 0;
    struct token *x = add_token(t, &at, BYTES_NONE, FIELD_RAW);
    if (!x) { /* unreachable while RAW has its place: see trees_put */
        t->failed = true;
        return 0;
    }
    x->bytes = row;
    return at;
}

static bool field_room(struct trees *t, struct field *f)
{
    if (f->count < f->cap)
        return true;
    uint32_t cap = f->cap ? f->cap * 2 : 64;
    size_t size = is_string(f->tag) ? sizeof(struct bytes) : sizeof(int64_t);
    f->rows = arena_grow(t->keep, f->rows, sizeof(*f->rows), f->cap, cap);
    if (f->tag != TSDB_VALUE_EMPTY)
        f->ints = arena_grow(t->keep, f->ints, size, f->cap, cap);
    f->cap = cap;
    return f->rows && (f->ints || f->tag == TSDB_VALUE_EMPTY);
}

static void take_tokens(struct trees *t, uint32_t row)
{
    for (uint32_t i = 0; i < t->token_count; i++) {
        const struct token *x = &t->tokens[i];
        struct field *f = &t->fields[x->field];
        if (!field_room(t, f)) {
            t->failed = true;
            return;
        }
        f->rows[f->count] = row;
        if (is_string(f->tag))
            f->strings[f->count] = x->bytes;
        else if (f->tag != TSDB_VALUE_EMPTY)
            memcpy(&f->ints[f->count], &x->integer, sizeof(int64_t));
        f->count++;
    }
}

static bool trees_init(struct trees *t, struct vector_coder *c, uint32_t n)
{
    *t = (struct trees){.c = c, .keep = arena_new(0), .n = n};
    if (!t->keep)
        return false;
    t->tokens = arena_alloc_raw(t->keep, TREES_WIDTH_MAX * sizeof(*t->tokens), 16);
    t->shape_nodes =
        arena_alloc_raw(t->keep, MIN(n + 1, TREES_NODES_MAX) * sizeof(*t->shape_nodes), 16);
    t->shapes = arena_alloc_raw(t->keep, (n + 1) * sizeof(*t->shapes), 16);
    t->nodes = more(t, NULL, sizeof(*t->nodes), 0, &t->node_cap);
    t->fields = more(t, NULL, sizeof(*t->fields), 0, &t->field_cap);
    if (!t->tokens || !t->shape_nodes || !t->shapes || !t->nodes || !t->fields)
        return false;
    t->nodes[0] = (struct node){0};
    t->node_count = 1;
    /* where bytes that are no tree go has its place before others take it */
    t->fields[0] = (struct field){.tag = FIELD_RAW};
    t->field_count = 1;
    uint32_t at = 0;
    return add_token(t, &at, BYTES_NONE, FIELD_RAW) != NULL;
}

/* --- writing -------------------------------------------------------------------------------------- */

static void put_shapes(struct trees *t, struct buf *out)
{
    buf_varint(out, t->field_count);
    for (uint32_t i = 0; i < t->field_count; i++) {
        buf_u8(out, t->fields[i].tag);
        buf_lenbytes(out, t->fields[i].key);
    }
    buf_varint(out, t->shape_count);
    for (uint32_t i = 0; i < t->shape_count; i++) {
        uint32_t path[TREES_WIDTH_MAX], k = 0;
        for (uint32_t at = t->shape_nodes[i]; at; at = t->nodes[at].parent)
            path[k++] = t->nodes[at].field;
        buf_varint(out, k);
        while (k > 0)
            buf_varint(out, path[--k]);
    }
}

static bool same_strings(const struct field *f, const struct bytes *column)
{
    for (uint32_t i = 0; i < f->count; i++)
        if (!bytes_equal(f->strings[i], column[f->rows[i]]))
            return false;
    return true;
}

static bool same_ints(const struct field *f, const int64_t *column)
{
    for (uint32_t i = 0; i < f->count; i++)
        if (f->ints[i] != column[f->rows[i]])
            return false;
    return true;
}

static bool same_seconds(const struct field *f, const int64_t *column)
{
    for (uint32_t i = 0; i < f->count; i++) {
        double s = (double)column[f->rows[i]] / NS_PER_S;
        if (memcmp(&s, &f->doubles[i], sizeof(s)) != 0)
            return false;
    }
    return true;
}

static enum how find_column(const struct field *f, const struct trees_column *columns, uint32_t n,
                            uint32_t *out_number)
{
    for (uint32_t i = 0; i < n && f->count > 1; i++) {
        const struct trees_column *x = &columns[i];
        bool same = x->strings ? is_string(f->tag) && same_strings(f, x->strings)
                               : f->tag == TSDB_VALUE_INT && same_ints(f, x->ints);
        *out_number = x->number;
        if (same)
            return HOW_COLUMN;
        if (!x->strings && f->tag == TSDB_VALUE_DOUBLE && same_seconds(f, x->ints))
            return HOW_NANOSECONDS;
    }
    return HOW_OWN;
}

static void put_field(struct trees *t, uint32_t number, const struct trees_column *columns,
                      uint32_t column_count, uint64_t *used, struct buf *out)
{
    struct field *f = &t->fields[number];
    struct vector_coder *c = t->c;
    uint32_t column = 0;
    if (f->tag == TSDB_VALUE_EMPTY || f->count == 0)
        return;
    enum how how = find_column(f, columns, column_count, &column);
    buf_u8(out, (uint8_t)how);
    c->was_function = false;
    c->made.ids = NULL;
    c->sources = !c->zip->is_quick && f->count >= t->n / 16 ? t->keep : NULL;
    if (how != HOW_OWN) {
        buf_varint(out, column);
        *used |= 1ull << column;
    } else if (is_string(f->tag)) {
        vector_put_strings(c, f->strings, f->count, f->rows, out);
    } else if (is_int(f->tag)) {
        vector_put_ints(c, f->ints, f->count, f->rows, out);
    } else {
        vector_put_doubles(c, f->doubles, f->count, f->rows, out);
    }
    c->sources = NULL;
    if (c->made.ids)
        vector_offer(c, number + 1, c->made);
    arena_reset(c->a);
}

void trees_put(struct vector_coder *c, enum trees_kind kind, const struct bytes *v, uint32_t n,
               const struct trees_column *columns, uint32_t column_count, uint64_t *used,
               struct buf *out)
{
    struct trees t;
    struct vector_source shape;
    uint32_t tries = c->try_count;
    if (!trees_init(&t, c, n)) {
        out->failed = true;
        arena_free(t.keep);
        return;
    }
    for (uint32_t row = 0; row < n && !t.failed; row++) {
        if (row + 8 < n)
            __builtin_prefetch(v[row + 8].data);
        uint32_t at = walk(&t, kind, v[row]);
        struct node *end = &t.nodes[at];
        if (!end->shape) {
            t.shape_nodes[t.shape_count++] = at;
            end->shape = t.shape_count;
        }
        t.shapes[row] = end->shape - 1;
        take_tokens(&t, row);
    }
    put_shapes(&t, out);
    c->try_count = 0; /* inside, sources are the shape and the fields before */
    vector_put_ints(c, t.shapes, n, NULL, out);
    arena_reset(c->a);
    if (!c->zip->is_quick && vector_source_of_ints(t.keep, t.shapes, n, NULL, n, &shape))
        vector_offer(c, 0, shape);
    for (uint32_t i = 0; i < t.field_count; i++)
        put_field(&t, i, columns, column_count, used, out);
    c->try_count = tries;
    out->failed |= t.failed;
    arena_free(t.keep);
}

/* --- reading -------------------------------------------------------------------------------------- */

struct shape {
    const uint32_t *fields;
    uint32_t count;
    uint64_t rows;
};

struct taken { /* what a column reads as, still apart */
    struct vector_coder *c;
    enum trees_kind kind;
    uint32_t n;
    struct field *fields;
    uint32_t field_count, shape_count, fields_read;
    struct shape *shapes;
    int64_t *shape; /* of each row */
    struct vector_source shape_source;
    bool has_shape_source;
};

/* Sources inside of a tree: 0 the shape, i + 1 field i, which has been read by then. */
static const struct vector_source *source_of(void *ctx, uint32_t number)
{
    struct taken *t = ctx;
    if (number == 0) {
        if (!t->shape) /* it is being read */
            return NULL;
        if (!t->has_shape_source &&
            !vector_source_of_ints(t->c->a, t->shape, t->n, NULL, t->n, &t->shape_source))
            return NULL;
        t->has_shape_source = true;
        return &t->shape_source;
    }
    if (number > t->fields_read)
        return NULL;
    struct field *f = &t->fields[number - 1]; /* only a dictionary is a source */
    if (!f->has_source && f->dictionary)
        f->has_source = vector_source_of_dictionary(t->c->a, f->dictionary, f->count, f->rows, t->n,
                                                    &f->source);
    return f->has_source ? &f->source : NULL;
}

static enum err get_shapes(struct taken *t, struct reader *r)
{
    struct arena *a = t->c->a;
    uint64_t fields = reader_varint(r);
    if (r->failed || fields == 0 || fields > TREES_FIELDS_MAX)
        return ERR_CORRUPT;
    t->fields = ARENA_ARRAY(a, struct field, fields);
    if (!t->fields)
        return ERR_LIMIT;
    for (; t->field_count < fields; t->field_count++) {
        struct field *f = &t->fields[t->field_count];
        f->tag = reader_u8(r);
        f->key = reader_lenbytes(r);
        if (r->failed || f->tag >= FIELD_TAGS ||
            (f->tag >= FIELD_EVENT && f->tag != FIELD_RAW && t->kind != TREES_EVENTS))
            return ERR_CORRUPT;
    }
    uint64_t shapes = reader_varint(r);
    if (r->failed || shapes > reader_left(r) || shapes > t->n)
        return ERR_CORRUPT;
    t->shapes = ARENA_ARRAY(a, struct shape, shapes + 1);
    if (!t->shapes)
        return ERR_LIMIT;
    for (; t->shape_count < shapes; t->shape_count++) {
        uint64_t count = reader_varint(r);
        if (r->failed || count > TREES_WIDTH_MAX || count > reader_left(r))
            return ERR_CORRUPT;
        uint32_t *list = ARENA_ARRAY(a, uint32_t, count + 1);
        if (!list)
            return ERR_LIMIT;
        for (uint64_t i = 0; i < count; i++) {
            uint64_t field = reader_varint(r);
            if (r->failed || field >= fields)
                return ERR_CORRUPT;
            list[i] = (uint32_t)field;
        }
        t->shapes[t->shape_count] = (struct shape){list, (uint32_t)count, 0};
    }
    return ERR_OK;
}

/* Which rows have which field. */
static enum err get_rows(struct taken *t, struct reader *r)
{
    struct vector_coder *c = t->c;
    uint64_t total = 0;
    int64_t *shape;
    enum err e = vector_get_ints(c, r, t->n, NULL, &shape);
    if (e != ERR_OK)
        return e;
    t->shape = shape;
    for (uint32_t i = 0; i < t->n; i++) {
        if (t->shape[i] < 0 || t->shape[i] >= t->shape_count)
            return ERR_CORRUPT;
        t->shapes[t->shape[i]].rows++;
    }
    for (uint32_t i = 0; i < t->shape_count; i++) {
        total += t->shapes[i].rows * t->shapes[i].count;
        if (total > VECTOR_BYTES_MAX)
            return ERR_LIMIT;
        for (uint32_t k = 0; k < t->shapes[i].count; k++)
            t->fields[t->shapes[i].fields[k]].cap += (uint32_t)t->shapes[i].rows;
    }
    for (uint32_t i = 0; i < t->field_count; i++) {
        struct field *f = &t->fields[i];
        f->rows = arena_alloc_raw(c->a, (size_t)f->cap * sizeof(*f->rows) + 1, 16);
        if (!f->rows)
            return ERR_LIMIT;
    }
    for (uint32_t row = 0; row < t->n; row++) {
        const struct shape *s = &t->shapes[t->shape[row]];
        for (uint32_t k = 0; k < s->count; k++) {
            struct field *f = &t->fields[s->fields[k]];
            f->rows[f->count++] = row;
        }
    }
    return ERR_OK;
}

static enum err field_of_column(struct taken *t, struct field *f, enum how how,
                                const struct trees_column *x)
{
    bool strings = is_string(f->tag);
    size_t size = strings ? sizeof(struct bytes) : sizeof(int64_t);
    if (!x || (strings ? !x->strings || how != HOW_COLUMN : !x->ints) ||
        (!strings && (f->tag == TSDB_VALUE_DOUBLE) != (how == HOW_NANOSECONDS)))
        return ERR_CORRUPT;
    void *p = arena_alloc_raw(t->c->a, f->count * size, 16);
    if (!p)
        return ERR_LIMIT;
    f->ints = p;
    for (uint32_t i = 0; i < f->count; i++)
        if (strings)
            f->strings[i] = x->strings[f->rows[i]];
        else if (how == HOW_COLUMN)
            f->ints[i] = x->ints[f->rows[i]];
        else
            f->doubles[i] = (double)x->ints[f->rows[i]] / NS_PER_S;
    return ERR_OK;
}

static enum err get_field(struct taken *t, struct field *f, struct reader *r,
                          trees_column_fn column, void *ctx)
{
    struct vector_coder *c = t->c;
    if (f->tag == TSDB_VALUE_EMPTY || f->count == 0)
        return ERR_OK;
    uint8_t how = reader_u8(r);
    if (how == HOW_COLUMN || how == HOW_NANOSECONDS) {
        uint64_t number = reader_varint(r);
        if (r->failed || number >= 64)
            return ERR_CORRUPT;
        return field_of_column(t, f, (enum how)how, column(ctx, (uint32_t)number));
    }
    if (r->failed || how != HOW_OWN)
        return ERR_CORRUPT;
    if (is_string(f->tag)) {
        enum err e = vector_get_strings(c, r, f->count, f->rows, &f->strings);
        f->dictionary = c->dictionary;
        return e;
    }
    if (is_int(f->tag))
        return vector_get_ints(c, r, f->count, f->rows, &f->ints);
    return vector_get_doubles(c, r, f->count, f->rows, &f->doubles);
}

/* At most how many bytes values from.. to have when they are put together. */
static uint64_t bound_of(const struct field *f, uint32_t from, uint32_t to)
{
    uint64_t total = (uint64_t)(to - from) * (f->key.size + 2 * BUF_VARINT_MAX + 14);
    for (uint32_t k = from; is_string(f->tag) && k < to; k++)
        total += f->strings[k].size;
    return total;
}

static uint8_t *write_bytes(uint8_t *to, struct bytes b)
{
    if (b.size)
        memcpy(to, b.data, b.size);
    return to + b.size;
}

static uint8_t *write_value(uint8_t *to, const struct field *f, uint32_t at)
{
    if (f->tag == FIELD_RAW)
        return write_bytes(to, f->strings[at]);
    *to++ = f->tag;
    switch (f->tag) {
    case TSDB_VALUE_EMPTY: break;
    case TSDB_VALUE_BOOL: *to++ = f->ints[at] != 0; break;
    case TSDB_VALUE_INT:
    case TSDB_VALUE_DOUBLE:
        for (unsigned k = 0; k < 8; k++)
            *to++ = (uint8_t)((uint64_t)f->ints[at] >> (8 * k));
        break;
    default: to = buf_write_varint(to, f->strings[at].size); to = write_bytes(to, f->strings[at]);
    }
    return to;
}

/* An event's size comes before it: its place is kept and closed up. */
#define SIZE_ROOM 5u
static uint8_t *close_event(uint8_t *event, uint8_t *to)
{
    uint8_t size[BUF_VARINT_MAX];
    size_t body = (size_t)(to - event) - SIZE_ROOM;
    size_t n = (size_t)(buf_write_varint(size, body) - size);
    memmove(event + n, event + SIZE_ROOM, body);
    memcpy(event, size, n);
    return event + n + body;
}

static uint8_t *write_event(uint8_t *to, int64_t time_ns, struct bytes name)
{
    to += SIZE_ROOM;
    for (unsigned k = 0; k < 8; k++)
        *to++ = (uint8_t)((uint64_t)time_ns >> (8 * k));
    memset(to, 0, 4);
    to = buf_write_varint(to + 4, name.size);
    return write_bytes(to, name);
}

/* next: which value of each field comes next. */
static uint8_t *write_row(const struct taken *t, const struct shape *s, uint32_t *next, uint8_t *to)
{
    uint8_t *event = NULL;
    for (uint32_t k = 0; k < s->count; k++) {
        const struct field *f = &t->fields[s->fields[k]];
        uint32_t at = next[s->fields[k]]++;
        if (f->tag == FIELD_EVENT) {
            to = event ? close_event(event, to) : to;
            event = to;
            to = write_event(to, f->ints[at], f->key);
        } else if (f->tag == FIELD_DROPPED) {
            for (unsigned b = 0; event && b < 4; b++)
                event[SIZE_ROOM + 8 + b] = (uint8_t)((uint64_t)f->ints[at] >> (8 * b));
        } else {
            if (t->kind != TREES_VALUE && f->tag != FIELD_RAW) {
                to = buf_write_varint(to, f->key.size);
                to = write_bytes(to, f->key);
            }
            to = write_value(to, f, at);
        }
    }
    return event ? close_event(event, to) : to;
}

static enum err put_together(const struct taken *t, struct bytes *v)
{
    uint64_t bound = 0;
    for (uint32_t i = 0; i < t->field_count && bound <= TREES_BYTES_MAX; i++)
        bound += bound_of(&t->fields[i], 0, t->fields[i].count);
    uint32_t *next = ARENA_ARRAY(t->c->a, uint32_t, t->field_count);
    uint8_t *to = bound > TREES_BYTES_MAX ? NULL : arena_alloc_raw(t->c->a, bound + 16, 16);
    if (!next || !to)
        return ERR_LIMIT;
    for (uint32_t row = 0; row < t->n; row++) {
        uint8_t *end = write_row(t, &t->shapes[t->shape[row]], next, to);
        v[row] = bytes_of(to, (size_t)(end - to));
        to = end;
    }
    return ERR_OK;
}

/* The first value from `at` on that is of this row or a later one: in growing steps, then by halves. */
static uint32_t seek(const struct field *f, uint32_t at, uint32_t row)
{
    uint32_t step = 1;
    while (step < f->count - at && f->rows[at + step] < row) {
        at += step;
        step *= 2;
    }
    for (; step; step /= 2)
        while (step <= f->count - at && f->rows[at + step - 1] < row)
            at += step;
    return at;
}

/* The same of the rows that are wanted. */
static enum err put_wanted(const struct taken *t, struct bytes *v)
{
    uint32_t *next = ARENA_ARRAY(t->c->a, uint32_t, t->field_count);
    uint64_t total = 0;
    if (!next)
        return ERR_LIMIT;
    for (uint32_t row = 0; row < t->n; row++) {
        const struct shape *s = &t->shapes[t->shape[row]];
        uint64_t bound = 0;
        v[row] = BYTES_NONE;
        if (!t->c->wanted[row])
            continue;
        for (uint32_t k = 0; k < s->count; k++) {
            const struct field *f = &t->fields[s->fields[k]];
            uint32_t at = seek(f, next[s->fields[k]], row), to = at;
            next[s->fields[k]] = at;
            while (to < f->count && f->rows[to] == row)
                to++;
            bound += bound_of(f, at, to);
        }
        total += bound;
        uint8_t *to = total > TREES_BYTES_MAX ? NULL : arena_alloc_raw(t->c->a, bound + 16, 1);
        if (!to)
            return ERR_LIMIT;
        v[row] = bytes_of(to, (size_t)(write_row(t, s, next, to) - to));
    }
    return ERR_OK;
}

enum err trees_get(struct vector_coder *c, enum trees_kind kind, struct reader *r, uint32_t n,
                   trees_column_fn column, void *ctx, struct bytes **out)
{
    struct taken t = {.c = c, .kind = kind, .n = n};
    const struct vector_source *(*source)(void *, uint32_t) = c->source;
    void *source_ctx = c->source_ctx;
    c->source = source_of;
    c->source_ctx = &t;
    enum err e = get_shapes(&t, r);
    if (e == ERR_OK)
        e = get_rows(&t, r);
    for (; t.fields_read < t.field_count && e == ERR_OK; t.fields_read++)
        e = get_field(&t, &t.fields[t.fields_read], r, column, ctx);
    struct bytes *v = e == ERR_OK ? ARENA_ARRAY(c->a, struct bytes, n) : NULL;
    if (e == ERR_OK)
        e = !v ? ERR_LIMIT : c->wanted ? put_wanted(&t, v) : put_together(&t, v);
    c->source = source;
    c->source_ctx = source_ctx;
    *out = v;
    return e;
}
