/* label_replace, label_join and the sorts: functions about labels and order. */
#include "query/eval.h"

#include <math.h>
#include <stdlib.h>

static bool join_labels(struct eval *e, const struct node *n, struct rows *out)
{
    const struct node_list *args = &n->call.args;
    struct bytes dst, separator;
    if (!eval_string(e, args->items[1], &dst) || !eval_string(e, args->items[2], &separator))
        return false;
    if (dst.size == 0 || !bytes_is_utf8(dst))
        return eval_fail(e, ERR_EXECUTION,
                         "invalid destination label name in label_join(): " BYTES_FMT,
                         BYTES_ARG(dst));
    struct buf b;
    buf_init(&b, 1 << 20);
    for (size_t k = 0; k < out->count && e->err == ERR_OK; k++) {
        struct row *r = &out->items[k];
        buf_clear(&b);
        for (uint32_t i = 3; i < args->count; i++) {
            struct bytes src = BYTES_NONE;
            if (!eval_string(e, args->items[i], &src))
                break;
            if (i > 3)
                buf_bytes_append(&b, separator);
            buf_bytes_append(&b, tsdb_labels_get(r->labels, src));
        }
        r->labels = labels_set(e, r->labels, dst, arena_copy(e->arena, buf_bytes(&b)));
        if (bytes_equal_str(dst, "__name__"))
            r->drop_name = false;
    }
    buf_done(&b);
    return e->err == ERR_OK;
}

static bool replace_labels(struct eval *e, const struct node *n, struct rows *out)
{
    struct bytes s[4];
    for (unsigned i = 0; i < 4; i++)
        if (!eval_string(e, n->call.args.items[i + 1], &s[i]))
            return false;
    struct bytes dst = s[0], replacement = s[1], src = s[2], pattern = s[3];
    struct err_msg why;
    if (!regex_re2_check(pattern, &why))
        return eval_fail(e, ERR_EXECUTION,
                         "invalid regular expression in label_replace(): " BYTES_FMT,
                         BYTES_ARG(pattern));
    if (dst.size == 0 || !bytes_is_utf8(dst))
        return eval_fail(e, ERR_EXECUTION,
                         "invalid destination label name in label_replace(): " BYTES_FMT,
                         BYTES_ARG(dst));
    const struct regex_re2 *re = eval_regex(e, pattern);
    for (size_t k = 0; re && k < out->count; k++) {
        struct row *r = &out->items[k];
        struct bytes value;
        int got =
            regex_re2_expand(re, tsdb_labels_get(r->labels, src), replacement, e->arena, &value);
        if (got < 0)
            return eval_nomem(e);
        if (got == 0)
            continue;
        r->labels = labels_set(e, r->labels, dst, value);
        if (bytes_equal_str(dst, "__name__"))
            r->drop_name = false;
    }
    return e->err == ERR_OK;
}

bool label_rows(struct eval *e, const struct node *n, struct grid g, struct rows *out)
{
    bool replace = n->call.function->id == FUNCTION_LABEL_REPLACE;
    return eval_rows(e, n->call.args.items[0], g, out) &&
           (replace ? replace_labels(e, n, out) : join_labels(e, n, out)) &&
           rows_settle(e, out, g.count, false);
}

/* --- sorts ------------------------------------------------------------------------------------- */

static int compare_values(const void *x, const void *y)
{
    double a = ((const struct row *)x)->v[0], b = ((const struct row *)y)->v[0];
    if (isnan(a) || isnan(b))
        return isnan(a) - isnan(b); /* NaN last */
    return a < b   ? -1
           : a > b ? 1
                   : tsdb_labels_compare(((const struct row *)x)->labels,
                                         ((const struct row *)y)->labels);
}

static int compare_values_desc(const void *x, const void *y)
{
    double a = ((const struct row *)x)->v[0], b = ((const struct row *)y)->v[0];
    if (isnan(a) || isnan(b))
        return isnan(a) - isnan(b);
    return a > b   ? -1
           : a < b ? 1
                   : tsdb_labels_compare(((const struct row *)x)->labels,
                                         ((const struct row *)y)->labels);
}

static bool digit(struct bytes s, size_t i)
{
    return i < s.size && s.data[i] >= '0' && s.data[i] <= '9';
}

/* Runs of digits compare as numbers, the rest as bytes. */
static int natural_compare(struct bytes a, struct bytes b)
{
    size_t i = 0, k = 0;
    while (i < a.size && k < b.size) {
        if (digit(a, i) && digit(b, k)) {
            while (i < a.size && a.data[i] == '0' && digit(a, i + 1))
                i++;
            while (k < b.size && b.data[k] == '0' && digit(b, k + 1))
                k++;
            size_t i0 = i, k0 = k;
            while (digit(a, i))
                i++;
            while (digit(b, k))
                k++;
            if (i - i0 != k - k0)
                return i - i0 < k - k0 ? -1 : 1;
            int c = memcmp(a.data + i0, b.data + k0, i - i0);
            if (c)
                return c;
        } else if (a.data[i] != b.data[k]) {
            return a.data[i] < b.data[k] ? -1 : 1;
        } else {
            i++;
            k++;
        }
    }
    size_t left_a = a.size - i, left_b = b.size - k;
    if (left_a || left_b)
        return left_a < left_b ? -1 : 1;
    return bytes_compare(a, b);
}

struct label_order {
    const struct bytes *names;
    size_t count;
    int sign;
};

static int compare_labels(const void *x, const void *y, void *ctx)
{
    const struct label_order *o = ctx;
    struct tsdb_labels a = ((const struct row *)x)->labels, b = ((const struct row *)y)->labels;
    for (size_t i = 0; i < o->count; i++) {
        int c = natural_compare(tsdb_labels_get(a, o->names[i]), tsdb_labels_get(b, o->names[i]));
        if (c)
            return c * o->sign;
    }
    return tsdb_labels_compare(a, b) * o->sign;
}

bool sort_rows(struct eval *e, const struct node *n, struct grid g, struct rows *out)
{
    int id = n->call.function->id;
    bool by_value = id == FUNCTION_SORT || id == FUNCTION_SORT_DESC;
    if (!eval_rows(e, n->call.args.items[0], g, out))
        return false;
    if (e->start != e->end) {
        eval_warn(e, n,
                  "sort is ineffective for range queries since results are always ordered by "
                  "labels");
        return true;
    }
    if (g.count != 1)
        return true;
    if (by_value) {
        size_t kept = 0;
        for (size_t k = 0; k < out->count; k++)
            if (out->items[k].has[0] == CELL_FLOAT)
                out->items[kept++] = out->items[k];
        out->count = kept;
        if (kept)
            qsort(out->items, kept, sizeof *out->items,
                  id == FUNCTION_SORT ? compare_values : compare_values_desc);
    } else {
        struct bytes *names = ARENA_ARRAY(e->arena, struct bytes, n->call.args.count);
        if (!names)
            return eval_nomem(e);
        for (uint32_t i = 1; i < n->call.args.count; i++)
            if (!eval_string(e, n->call.args.items[i], &names[i - 1]))
                return false;
        struct label_order o = {names, n->call.args.count - 1u,
                                id == FUNCTION_SORT_BY_LABEL ? 1 : -1};
        if (out->count)
            qsort_r(out->items, out->count, sizeof *out->items, compare_labels, &o);
    }
    out->ordered = true;
    return true;
}
