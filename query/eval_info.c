/* info(): joins the data labels of info metrics (target_info unless told) onto series with the same instance and job. */
#include "query/eval.h"

struct info_join {
    struct eval *e;
    struct grid g;
    const struct node *labels; /* the second argument or NULL */
    struct rows infos, *out;
};

static bool matcher_accepts(struct eval *e, const struct node_matcher *m, struct bytes value)
{
    if (m->op == TSDB_MATCH_EQ || m->op == TSDB_MATCH_NE)
        return bytes_equal(m->value, value) == (m->op == TSDB_MATCH_EQ);
    const struct regex_re2 *re = eval_regex(e, m->value);
    return re && regex_re2_matches(re, value) == (m->op == TSDB_MATCH_RE);
}

static bool is_name(const struct node_matcher *m)
{
    return bytes_equal_str(m->name, "__name__");
}

static bool is_identifying(struct bytes name)
{
    return bytes_equal_str(name, "instance") || bytes_equal_str(name, "job") ||
           bytes_equal_str(name, "__name__");
}

/* A series that is itself an info metric of this query is passed on as it is. */
static bool is_info_series(struct info_join *j, struct tsdb_labels l)
{
    struct bytes name = tsdb_labels_get(l, BYTES_LIT("__name__"));
    bool positive = false;
    for (uint32_t i = 0; j->labels && i < j->labels->selector.count; i++) {
        const struct node_matcher *m = &j->labels->selector.matchers[i];
        if (!is_name(m))
            continue;
        if (!matcher_accepts(j->e, m, name))
            return false;
        positive |= m->op == TSDB_MATCH_EQ || m->op == TSDB_MATCH_RE;
    }
    return positive || bytes_equal_str(name, "target_info");
}

static bool wants_label(struct info_join *j, struct bytes name)
{
    bool any = false;
    for (uint32_t i = 0; j->labels && i < j->labels->selector.count; i++) {
        const struct node_matcher *m = &j->labels->selector.matchers[i];
        if (is_name(m))
            continue;
        any = true;
        if (bytes_equal(m->name, name))
            return true;
    }
    return !any;
}

/* May a series stay without any info labels? Only if every data matcher accepts an absent label. */
static bool may_stay_plain(struct info_join *j)
{
    for (uint32_t i = 0; j->labels && i < j->labels->selector.count; i++) {
        const struct node_matcher *m = &j->labels->selector.matchers[i];
        if (!is_name(m) && !matcher_accepts(j->e, m, BYTES_NONE))
            return false;
    }
    return true;
}

static bool same_target(struct tsdb_labels x, struct tsdb_labels y)
{
    struct bytes i = BYTES_LIT("instance"), j = BYTES_LIT("job");
    return bytes_equal(tsdb_labels_get(x, i), tsdb_labels_get(y, i)) &&
           bytes_equal(tsdb_labels_get(x, j), tsdb_labels_get(y, j));
}

/* The labels of base at a step with those of all info rows present then; *joined tells whether there was any. */
static struct tsdb_labels joined_labels(struct info_join *j, const struct row *base, size_t step,
                                        bool *joined)
{
    struct eval *e = j->e;
    struct tsdb_labels l = base->labels;
    for (size_t k = 0; k < j->infos.count && e->err == ERR_OK; k++) {
        const struct row *info = &j->infos.items[k];
        struct tsdb_labels_iter it = tsdb_labels_begin(info->labels);
        struct tsdb_label label;
        if (info->has[step] == CELL_NONE || !same_target(base->labels, info->labels))
            continue;
        *joined = true;
        while (tsdb_labels_next(&it, &label)) {
            if (is_identifying(label.name) || !wants_label(j, label.name) ||
                tsdb_labels_get(base->labels, label.name).size)
                continue;
            struct bytes there = tsdb_labels_get(l, label.name);
            if (there.size && !bytes_equal(there, label.value)) {
                eval_fail(e, ERR_EXECUTION, "conflicting label: " BYTES_FMT, BYTES_ARG(label.name));
                return l;
            }
            l = labels_set(e, l, label.name, label.value);
        }
    }
    return l;
}

/* Of several series of one info metric for a target, the one with the newest sample counts. */
static bool drop_older(struct info_join *j, const struct node *selector)
{
    struct rows times = {0};
    struct keep keep = {j->e, &times, j->g.count};
    if (!select_each(j->e, selector, j->g, SELECT_TIMESTAMP, rows_keep, &keep))
        return false;
    for (size_t x = 0; x < j->infos.count && times.count == j->infos.count; x++)
        for (size_t y = 0; y < j->infos.count; y++) {
            struct row *a = &j->infos.items[x], *b = &j->infos.items[y];
            if (x == y || !same_target(a->labels, b->labels) ||
                !bytes_equal(tsdb_labels_get(a->labels, BYTES_LIT("__name__")),
                             tsdb_labels_get(b->labels, BYTES_LIT("__name__"))))
                continue;
            for (size_t i = 0; i < j->g.count; i++)
                if (a->has[i] && b->has[i] && times.items[x].v[i] < times.items[y].v[i])
                    a->has[i] = CELL_NONE;
        }
    return true;
}

/* Info series are read as of the time at which the base series are: the @ and offsets on the way to the first selector. */
static bool take_reference(struct eval *e, const struct node *n, struct node *to)
{
    int64_t offset;
    n = promql_unparen(n);
    switch (n->kind) {
    case NODE_SELECTOR:
    case NODE_SUBQUERY:
        if (!select_offset(e, n, &offset))
            return false;
        to->offset_ms += offset;
        if (n->at != AT_NONE) {
            to->at = n->at;
            to->at_ms = n->at_ms;
        }
        return n->kind == NODE_SELECTOR || take_reference(e, n->inner.expr, to);
    case NODE_MATRIX: return take_reference(e, n->inner.expr, to);
    case NODE_UNARY: return take_reference(e, n->unary.expr, to);
    case NODE_AGGREGATE: return take_reference(e, n->aggregate.expr, to);
    case NODE_CALL:
        for (uint32_t i = 0; i < n->call.args.count; i++)
            if (n->call.args.items[i]->type == TYPE_VECTOR ||
                n->call.args.items[i]->type == TYPE_MATRIX)
                return take_reference(e, n->call.args.items[i], to);
        return true;
    default: return true; /* of several selectors none is the base */
    }
}

static bool floats_only(struct info_join *j)
{
    for (size_t k = 0; k < j->infos.count; k++)
        if (memchr(j->infos.items[k].has, CELL_HIST, j->g.count))
            return eval_fail(j->e, ERR_EXECUTION,
                             "this should be an info metric, with float samples");
    return true;
}

static bool read_infos(struct info_join *j, const struct node *base)
{
    struct eval *e = j->e;
    struct node *n = arena_alloc(e->arena, sizeof *n);
    uint32_t count = j->labels ? j->labels->selector.count : 0;
    struct node_matcher *m = ARENA_ARRAY(e->arena, struct node_matcher, count + 1u);
    struct keep keep = {e, &j->infos, j->g.count};
    bool named = false, positive = false;
    if (!n || !m)
        return eval_nomem(e);
    for (uint32_t i = 0; i < count; i++) {
        m[i] = j->labels->selector.matchers[i];
        named |= is_name(&m[i]);
        positive |= is_name(&m[i]) && (m[i].op == TSDB_MATCH_EQ || m[i].op == TSDB_MATCH_RE);
    }
    if (!named)
        m[count++] =
            (struct node_matcher){TSDB_MATCH_EQ, BYTES_LIT("__name__"), BYTES_LIT("target_info")};
    else if (!positive)
        m[count++] =
            (struct node_matcher){TSDB_MATCH_RE, BYTES_LIT("__name__"), BYTES_LIT(".+_info")};
    n->kind = NODE_SELECTOR;
    n->type = TYPE_VECTOR;
    n->selector.matchers = m;
    n->selector.count = count;
    return take_reference(e, base, n) && select_each(e, n, j->g, SELECT_VALUE, rows_keep, &keep) &&
           floats_only(j) && drop_older(j, n);
}

static bool join_row(struct info_join *j, const struct row *base)
{
    struct eval *e = j->e;
    struct keep keep = {e, j->out, j->g.count};
    if (is_info_series(j, base->labels))
        return rows_keep(&keep, base);
    bool plain_allowed = may_stay_plain(j);
    struct row *last = NULL;
    for (size_t i = 0; i < j->g.count; i++) {
        bool joined = false;
        if (base->has[i] == CELL_NONE)
            continue;
        struct tsdb_labels l = joined_labels(j, base, i, &joined);
        if (e->err != ERR_OK)
            return false;
        if (!joined && !plain_allowed)
            continue;
        if (!last || !tsdb_labels_equal(last->labels, l)) {
            last = eval_tick(e, j->g.count) ? rows_add(e, j->out, j->g.count) : NULL;
            if (!last)
                return false;
            last->labels = l;
            last->drop_name = base->drop_name;
        }
        last->has[i] = base->has[i];
        last->v[i] = base->v[i];
        if (base->has[i] == CELL_HIST) {
            if (!row_need_hist(e, last, j->g.count))
                return false;
            last->h[i] = base->h[i];
        }
    }
    return true;
}

bool info_rows(struct eval *e, const struct node *n, struct grid g, struct rows *out)
{
    struct info_join j = {.e = e, .g = g, .out = out};
    struct rows base = {0};
    if (n->call.args.count > 1)
        j.labels = n->call.args.items[1];
    if (!eval_rows(e, n->call.args.items[0], g, &base) || !read_infos(&j, n->call.args.items[0]))
        return false;
    for (size_t k = 0; k < base.count; k++)
        if (!join_row(&j, &base.items[k]))
            return false;
    return rows_settle(e, out, g.count, false);
}
