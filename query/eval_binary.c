/* Binary operators: cells, vector with scalar, and vector matching. */
#include "query/eval.h"

#include <math.h>

double binary_scalar(enum binary_op op, double l, double r)
{
    switch (op) {
    case OP_ADD: return l + r;
    case OP_SUB: return l - r;
    case OP_MUL: return l * r;
    case OP_DIV: return l / r;
    case OP_MOD: return fmod(l, r);
    case OP_POW: return pow(l, r);
    case OP_ATAN2: return atan2(l, r);
    case OP_EQ: return l == r;
    case OP_NE: return l != r;
    case OP_GT: return l > r;
    case OP_LT: return l < r;
    case OP_GE: return l >= r;
    case OP_LE: return l <= r;
    default: CHECK_UNREACHABLE();
    }
}

/* One side of an operation at one step. */
struct operand {
    double v;
    const struct query_hist *h; /* NULL: v counts */
};

static void note_incompatible(struct eval *e, const struct node *n, const struct operand *l,
                              const struct operand *r)
{
    eval_info(e, n, "incompatible sample types encountered for binary operator \"%s\": %s %s %s",
              promql_op_text(n->binary.op), l->h ? "histogram" : "float",
              promql_op_text(n->binary.op), r->h ? "histogram" : "float");
}

static void note_hist_flags(struct eval *e, const struct node *n, unsigned flags)
{
    const char *op = n->binary.op == OP_ADD ? "addition" : "subtraction";
    if (flags & QUERY_HIST_INCOMPATIBLE)
        eval_warn(
            e, n,
            "vector contains a mix of histograms with exponential and custom buckets schemas");
    if (flags & QUERY_HIST_HINTS_COLLIDE)
        eval_warn(e, n, "conflicting counter resets during histogram %s", op);
    if (flags & QUERY_HIST_BOUNDS_RECONCILED)
        eval_info(e, n, "mismatched custom buckets were reconciled during %s", op);
}

static enum cell two_hists(struct eval *e, const struct node *n, const struct operand *l,
                           const struct operand *r, struct operand *out, bool *keep)
{
    enum binary_op op = n->binary.op;
    unsigned flags = 0;
    const struct query_hist *h;
    switch (op) {
    case OP_ADD:
    case OP_SUB:
        h = query_hist_add(l->h, r->h, op == OP_ADD ? 1 : -1, e->arena, &flags);
        note_hist_flags(e, n, flags);
        h = h ? query_hist_compact(h, e->arena) : NULL;
        if (h && op == OP_SUB)
            h = query_hist_with_hint(h, TSDB_HIST_GAUGE, e->arena);
        out->h = h;
        return h ? CELL_HIST : CELL_NONE;
    case OP_EQ:
    case OP_NE:
        *keep = query_hist_equal(l->h, r->h) == (op == OP_EQ);
        out->v = *keep;
        out->h = l->h;
        return CELL_HIST;
    default: note_incompatible(e, n, l, r); return CELL_NONE;
    }
}

/* keep: the truth of a comparison. */
static enum cell operate(struct eval *e, const struct node *n, struct operand l, struct operand r,
                         struct operand *out, bool *keep)
{
    enum binary_op op = n->binary.op;
    *keep = true;
    *out = (struct operand){0, NULL};
    if (!l.h && !r.h) {
        if (op == OP_TRIM_UPPER || op == OP_TRIM_LOWER) {
            note_incompatible(e, n, &l, &r);
            return CELL_NONE;
        }
        double v = binary_scalar(op, l.v, r.v);
        if (op_is_comparison(op)) {
            *keep = v != 0;
            out->v = n->binary.returns_bool ? v : l.v;
        } else {
            out->v = v;
        }
        return CELL_FLOAT;
    }
    if (l.h && r.h)
        return two_hists(e, n, &l, &r, out, keep);
    if (op == OP_MUL)
        out->h = query_hist_scale(l.h ? l.h : r.h, l.h ? r.v : l.v, e->arena);
    else if (op == OP_DIV && l.h)
        out->h = query_hist_divide(l.h, r.v, e->arena);
    else if ((op == OP_TRIM_UPPER || op == OP_TRIM_LOWER) && l.h)
        out->h = query_hist_trim(l.h, r.v, op == OP_TRIM_UPPER, e->arena);
    else
        note_incompatible(e, n, &l, &r);
    return out->h ? CELL_HIST : CELL_NONE;
}

static struct operand operand_at(const struct row *r, size_t i)
{
    return r->has[i] == CELL_HIST ? (struct operand){0, r->h[i]} : (struct operand){r->v[i], NULL};
}

/* Writes the outcome of an operation into cell i. */
static bool put_cell(struct eval *e, const struct node *n, struct row *to, size_t i, size_t cells,
                     enum cell cell, struct operand v, bool keep)
{
    bool comparison = op_is_comparison(n->binary.op);
    if (cell == CELL_NONE || (comparison && !keep && !n->binary.returns_bool)) {
        to->has[i] = CELL_NONE;
        return true;
    }
    if (comparison && n->binary.returns_bool && cell == CELL_HIST) {
        cell = CELL_FLOAT;
        v.v = keep;
    }
    to->has[i] = (uint8_t)cell;
    to->v[i] = v.v;
    if (cell == CELL_HIST) {
        if (!row_need_hist(e, to, cells))
            return false;
        to->h[i] = v.h;
    }
    return true;
}

/* --- vector and scalar ------------------------------------------------------------------------- */

static bool with_scalar(struct eval *e, const struct node *n, struct grid g, struct rows *out)
{
    bool scalar_left = n->binary.lhs->type == TYPE_SCALAR;
    double *s = arena_alloc_raw(e->arena, g.count * sizeof *s, 8);
    if (!s)
        return eval_nomem(e);
    if (!eval_scalar(e, scalar_left ? n->binary.lhs : n->binary.rhs, g, s) ||
        !eval_rows(e, scalar_left ? n->binary.rhs : n->binary.lhs, g, out))
        return false;
    bool comparison = op_is_comparison(n->binary.op),
         filter = comparison && !n->binary.returns_bool;
    for (size_t k = 0; k < out->count; k++) {
        struct row *r = &out->items[k];
        r->drop_name |= !filter && n->binary.op != OP_TRIM_LOWER && n->binary.op != OP_TRIM_UPPER;
        for (size_t i = 0; i < g.count; i++) {
            if (r->has[i] == CELL_NONE)
                continue;
            struct operand v = operand_at(r, i), c = {s[i], NULL}, result;
            bool keep;
            enum cell cell = scalar_left ? operate(e, n, c, v, &result, &keep)
                                         : operate(e, n, v, c, &result, &keep);
            if (filter) /* the vector's own value passes, whichever side it is on */
                result = v;
            if (!put_cell(e, n, r, i, g.count, cell, result, keep))
                return false;
        }
        if (!eval_tick(e, 0))
            return false;
    }
    return true;
}

/* --- matching ---------------------------------------------------------------------------------- */

struct match_group {
    uint32_t *rows; /* of the "one" side */
    uint32_t count, cap;
    uint8_t *many_seen; /* steps at which the group had a "many" row: fill and one-to-one */
};

struct matching {
    struct eval *e;
    const struct node *n;
    struct grid g;
    struct rows many, one;
    bool swapped; /* the many side is the right one */
    struct key_map keys;
    struct match_group *groups;
    size_t group_cap;
    uint8_t *many_any; /* steps with any row on the many side */
    struct key_map outputs; /* labels of result rows */
    struct rows *out;
    struct buf key;
};

static size_t group_of(struct matching *m, const struct row *r)
{
    bool is_new;
    struct bytes key = labels_key(&m->key, r->labels, &m->n->binary.labels, m->n->binary.on);
    size_t at = buf_ok(&m->key) ? key_map_put(&m->keys, key, &is_new) : SIZE_MAX;
    if (at == SIZE_MAX) {
        eval_nomem(m->e);
        return SIZE_MAX;
    }
    if (at >= m->group_cap) {
        size_t cap = MAX(at + 1, m->group_cap * 2 + 16);
        m->groups = arena_grow(m->e->arena, m->groups, sizeof *m->groups, m->group_cap, cap);
        if (!m->groups) {
            eval_nomem(m->e);
            return SIZE_MAX;
        }
        memset(m->groups + m->group_cap, 0, (cap - m->group_cap) * sizeof *m->groups);
        m->group_cap = cap;
    }
    return at;
}

static bool index_one_side(struct matching *m)
{
    for (size_t k = 0; k < m->one.count; k++) {
        size_t at = group_of(m, &m->one.items[k]);
        if (at == SIZE_MAX)
            return false;
        struct match_group *group = &m->groups[at];
        if (group->count == group->cap) {
            uint32_t cap = group->cap ? group->cap * 2 : 2;
            group->rows =
                arena_grow(m->e->arena, group->rows, sizeof *group->rows, group->cap, cap);
            group->cap = cap;
            if (!group->rows)
                return eval_nomem(m->e);
        }
        group->rows[group->count++] = (uint32_t)k;
    }
    return true;
}

static bool fail_duplicate(struct matching *m, const struct row *x, const struct row *y)
{
    const struct node *n = m->n;
    struct name_list none = {0};
    struct eval *e = m->e;
    struct tsdb_labels group =
        n->binary.on ? labels_keep(e, x->labels, &n->binary.labels)
                     : labels_without(e, x->labels,
                                      n->binary.labels.count ? &n->binary.labels : &none, true);
    struct bytes g = labels_text(e->arena, group), a = labels_text(e->arena, x->labels),
                 b = labels_text(e->arena, y->labels);
    return eval_fail(e, ERR_EXECUTION,
                     "found duplicate series for the match group " BYTES_FMT " on the %s hand-side "
                     "of the operation: [" BYTES_FMT ", " BYTES_FMT "];many-to-many matching not "
                     "allowed: matching labels must be unique on one side",
                     BYTES_ARG(g), m->swapped ? "left" : "right", BYTES_ARG(b), BYTES_ARG(a));
}

/* The group's row on the one side at a step; NULL when absent. */
static const struct row *one_at(struct matching *m, const struct match_group *group, size_t i)
{
    const struct row *found = NULL;
    for (uint32_t k = 0; k < group->count; k++) {
        const struct row *r = &m->one.items[group->rows[k]];
        if (r->has[i] == CELL_NONE)
            continue;
        if (found) {
            fail_duplicate(m, r, found);
            return NULL;
        }
        found = r;
    }
    return found;
}

static bool check_duplicates(struct matching *m)
{
    for (size_t k = 0; k < m->keys.count; k++) {
        const struct match_group *group = &m->groups[k];
        for (size_t i = 0; group->count > 1 && i < m->g.count; i++)
            if (m->many_any[i]) {
                (void)one_at(m, group, i);
                if (m->e->err != ERR_OK)
                    return false;
            }
    }
    return true;
}

static struct tsdb_labels result_labels(struct matching *m, struct tsdb_labels many,
                                        struct tsdb_labels one)
{
    const struct node *n = m->n;
    struct eval *e = m->e;
    struct tsdb_labels l = many;
    bool trim = n->binary.op == OP_TRIM_LOWER || n->binary.op == OP_TRIM_UPPER;
    if (!(op_is_comparison(n->binary.op) || trim) || n->binary.returns_bool)
        l = labels_without(e, l, NULL, true);
    if (n->binary.card == CARD_ONE_TO_ONE)
        l = n->binary.on ? labels_keep(e, l, &n->binary.labels)
                         : labels_without(e, l, &n->binary.labels, false);
    for (uint32_t i = 0; i < n->binary.include.count; i++) {
        struct bytes name = n->binary.include.items[i];
        l = labels_set(e, l, name, tsdb_labels_get(one, name));
    }
    return l;
}

static struct row *output_row(struct matching *m, struct tsdb_labels labels, bool drop_name)
{
    bool is_new;
    size_t at = key_map_put(&m->outputs, labels.enc, &is_new);
    if (at == SIZE_MAX || m->e->err != ERR_OK)
        return NULL;
    if (!is_new)
        return &m->out->items[at];
    struct row *r = eval_tick(m->e, m->g.count) ? rows_add(m->e, m->out, m->g.count) : NULL;
    if (r) {
        r->labels = labels;
        r->drop_name = drop_name;
    }
    return r;
}

/* The labels that a filled-in side has: those of its group. */
static struct tsdb_labels group_labels(struct matching *m, struct tsdb_labels l)
{
    const struct node *n = m->n;
    return n->binary.on ? labels_keep(m->e, l, &n->binary.labels)
                        : labels_without(m->e, l, &n->binary.labels, true);
}

struct pair {
    const struct row *many, *one; /* NULL: filled */
    double fill;
    struct match_group *group;
    const struct row *last_one;
    size_t out_index; /* SIZE_MAX: not known yet */
};

/* One cell of the result: the pair at step i. */
static bool emit(struct matching *m, struct pair *p, const struct row *one, size_t i)
{
    struct operand many = p->many ? operand_at(p->many, i) : (struct operand){p->fill, NULL};
    struct operand single = one ? operand_at(one, i) : (struct operand){p->fill, NULL}, result;
    bool keep, comparison = op_is_comparison(m->n->binary.op);
    enum cell cell = m->swapped ? operate(m->e, m->n, single, many, &result, &keep)
                                : operate(m->e, m->n, many, single, &result, &keep);
    if (m->e->err != ERR_OK)
        return false;
    bool one_to_one = m->n->binary.card == CARD_ONE_TO_ONE;
    if (one_to_one && p->group->many_seen[i])
        return eval_fail(m->e, ERR_EXECUTION,
                         "multiple matches for labels: many-to-one matching must be explicit "
                         "(group_left/group_right)");
    p->group->many_seen[i] = 1;
    if (cell == CELL_NONE || (comparison && !m->n->binary.returns_bool && !keep))
        return true;
    if (p->out_index == SIZE_MAX || p->last_one != one) {
        struct tsdb_labels ml = p->many ? p->many->labels : group_labels(m, one->labels);
        struct tsdb_labels ol = one ? one->labels : group_labels(m, p->many->labels);
        struct row *r = output_row(m, result_labels(m, ml, ol), p->many && p->many->drop_name);
        if (!r)
            return false;
        p->out_index = (size_t)(r - m->out->items);
        p->last_one = one;
    }
    struct row *r = &m->out->items[p->out_index];
    if (r->has[i] != CELL_NONE)
        return eval_fail(m->e, ERR_EXECUTION,
                         "multiple matches for labels: grouping labels must ensure unique matches");
    return put_cell(m->e, m->n, r, i, m->g.count, cell, result, keep);
}

static bool match_many(struct matching *m, bool fill_one, double fill, uint8_t **present)
{
    for (size_t k = 0; k < m->many.count; k++) {
        const struct row *row = &m->many.items[k];
        size_t at = group_of(m, row);
        if (at == SIZE_MAX)
            return false;
        struct match_group *group = &m->groups[at];
        if (!group->many_seen && !(group->many_seen = arena_alloc(m->e->arena, m->g.count)))
            return eval_nomem(m->e);
        if (present && !present[at] && !(present[at] = arena_alloc(m->e->arena, m->g.count)))
            return eval_nomem(m->e);
        struct pair p = {row, NULL, fill, group, NULL, SIZE_MAX};
        for (size_t i = 0; i < m->g.count; i++) {
            if (row->has[i] == CELL_NONE)
                continue;
            if (present)
                present[at][i] = 1;
            const struct row *one = one_at(m, group, i);
            if (m->e->err != ERR_OK || ((one || fill_one) && !emit(m, &p, one, i)))
                return false;
        }
        if (!eval_tick(m->e, 0))
            return false;
    }
    return true;
}

/* One-side rows whose group has no many-side row at a step meet the fill value. */
static bool fill_many(struct matching *m, double fill, uint8_t **present)
{
    for (size_t k = 0; k < m->one.count; k++) {
        const struct row *row = &m->one.items[k];
        size_t at = group_of(m, row);
        if (at == SIZE_MAX)
            return false;
        struct match_group *group = &m->groups[at];
        if (!group->many_seen && !(group->many_seen = arena_alloc(m->e->arena, m->g.count)))
            return eval_nomem(m->e);
        struct pair p = {NULL, row, fill, group, NULL, SIZE_MAX};
        for (size_t i = 0; i < m->g.count; i++)
            if (row->has[i] != CELL_NONE && !(present[at] && present[at][i]) &&
                !emit(m, &p, row, i))
                return false;
    }
    return true;
}

static bool vectors(struct eval *e, const struct node *n, struct matching *m)
{
    bool left = n->binary.fill_left_set, right = n->binary.fill_right_set;
    /* As in Prometheus, with group_right too: fill_right fills the "one" side, fill_left the "many" side. */
    bool fill_one = right, fill_other = left;
    double one_value = n->binary.fill_right, many_value = n->binary.fill_left;
    m->many_any = arena_alloc(e->arena, m->g.count);
    if (!m->many_any)
        return eval_nomem(e);
    for (size_t k = 0; k < m->many.count; k++)
        for (size_t i = 0; i < m->g.count; i++)
            m->many_any[i] |= m->many.items[k].has[i];
    if (fill_other)
        memset(m->many_any, 1, m->g.count);
    if (!index_one_side(m) || !check_duplicates(m))
        return false;
    uint8_t **present = NULL;
    if (fill_other) {
        present = arena_alloc(e->arena, (m->one.count + m->many.count + 1) * sizeof *present);
        if (!present)
            return eval_nomem(e);
    }
    return match_many(m, fill_one, one_value, present) &&
           (!fill_other || fill_many(m, many_value, present));
}

/* --- and, or, unless --------------------------------------------------------------------------- */

static uint8_t *presence_of(struct matching *m, uint8_t ***list, size_t *cap, size_t at)
{
    if (at >= *cap) {
        size_t grown = MAX(at + 1, *cap * 2 + 16);
        *list = arena_grow(m->e->arena, *list, sizeof **list, *cap, grown);
        if (!*list) {
            eval_nomem(m->e);
            return NULL;
        }
        memset(*list + *cap, 0, (grown - *cap) * sizeof **list);
        *cap = grown;
    }
    if (!(*list)[at] && !((*list)[at] = arena_alloc(m->e->arena, m->g.count)))
        eval_nomem(m->e);
    return (*list)[at];
}

/* marks come from `by`; `r` keeps the cells where the mark of its group equals `wanted`. */
static bool mask_rows(struct matching *m, const struct rows *by, struct rows *r, uint8_t wanted)
{
    uint8_t **marks = NULL;
    size_t cap = 0;
    for (size_t k = 0; k < by->count; k++) {
        size_t at = group_of(m, &by->items[k]);
        uint8_t *seen = at == SIZE_MAX ? NULL : presence_of(m, &marks, &cap, at);
        if (!seen)
            return false;
        for (size_t i = 0; i < m->g.count; i++)
            seen[i] |= by->items[k].has[i] != CELL_NONE;
    }
    for (size_t k = 0; k < r->count; k++) {
        size_t at = group_of(m, &r->items[k]);
        uint8_t *seen = at == SIZE_MAX ? NULL : presence_of(m, &marks, &cap, at);
        if (!seen)
            return false;
        for (size_t i = 0; i < m->g.count; i++)
            if (seen[i] != wanted)
                r->items[k].has[i] = CELL_NONE;
    }
    return eval_tick(m->e, 0);
}

static bool set_operation(struct matching *m, struct rows *l, struct rows *r)
{
    struct keep keep = {m->e, m->out, m->g.count};
    if (m->n->binary.op == OP_OR) {
        if (!mask_rows(m, l, r, 0))
            return false;
    } else if (!mask_rows(m, r, l, m->n->binary.op == OP_AND)) {
        return false;
    }
    *m->out = *l;
    for (size_t k = 0; m->n->binary.op == OP_OR && k < r->count; k++)
        if (!rows_keep(&keep, &r->items[k]))
            return false;
    return m->n->binary.op != OP_OR || rows_settle(m->e, m->out, m->g.count, false);
}

bool binary_rows(struct eval *e, const struct node *n, struct grid g, struct rows *out)
{
    if (n->binary.lhs->type == TYPE_SCALAR || n->binary.rhs->type == TYPE_SCALAR)
        return with_scalar(e, n, g, out);
    struct rows l = {0}, r = {0};
    if (!eval_rows(e, n->binary.lhs, g, &l) || !eval_rows(e, n->binary.rhs, g, &r))
        return false;
    struct matching m = {.e = e, .n = n, .g = g, .out = out};
    m.keys.e = m.outputs.e = e;
    buf_init(&m.key, 0);
    bool ok;
    if (op_is_set(n->binary.op)) {
        ok = set_operation(&m, &l, &r);
    } else {
        m.swapped = n->binary.card == CARD_ONE_TO_MANY;
        m.many = m.swapped ? r : l;
        m.one = m.swapped ? l : r;
        ok = vectors(e, n, &m);
    }
    buf_done(&m.key);
    return ok && e->err == ERR_OK;
}
