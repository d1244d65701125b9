/* The evaluator's inside: a tree walked over a grid of steps, series as rows with one cell a step.
 *
 * Owner: query.c makes a struct eval per query; everything lives in its arena.  Thread: one.
 * Failure: functions return false after eval_fail has set .err (sticky); the first error wins.
 * Limits: samples_max counts cells held and points read; series_max a selector.
 * Invariants: 1. row.has[i] says which of v[i], h[i] is valid. 2. row.h is NULL when no cell is a histogram.
 */
#ifndef QUERY_EVAL_H
#define QUERY_EVAL_H

#include "base/check.h"
#include "query/promql_ast.h"
#include "query/promql_functions.h"
#include "query/regex_re2.h"

enum cell { CELL_NONE, CELL_FLOAT, CELL_HIST };

struct row {
    struct tsdb_labels labels;
    bool drop_name; /* the name goes when the query ends */
    uint8_t *has; /* enum cell */
    double *v;
    const struct query_hist **h;
};

struct rows {
    struct row *items;
    size_t count, cap;
    bool ordered; /* sorted by a function: the result keeps the order */
};

struct grid {
    int64_t start, step;
    size_t count;
};
static inline int64_t grid_time(struct grid g, size_t i)
{
    return g.start + (int64_t)i * g.step;
}

struct note {
    struct bytes text;
    struct note *next;
};

struct regex_entry {
    struct bytes pattern;
    struct regex_re2 *re;
    struct regex_entry *next;
};

struct eval {
    struct arena *arena;
    struct arena *scratch; /* reset after each series */
    struct query_source *src;
    struct query_limits limits;
    struct bytes text;
    int64_t start, end, step; /* of the whole query */
    enum err err;
    struct err_msg *msg;
    struct note *warnings, *infos;
    size_t warning_count, info_count;
    struct regex_entry *regexes;
    uint64_t samples, samples_read;
    unsigned made_of; /* enum tsdb_made_of */
    unsigned depth;
};

bool eval_fail(struct eval *e, enum err code, const char *fmt, ...) PRINTF_LIKE(3, 4);
bool eval_nomem(struct eval *e);
/* Once a series or row: deadline, cancel, and `samples` more cells. */
bool eval_tick(struct eval *e, uint64_t samples);
void eval_warn(struct eval *e, const struct node *at, const char *fmt, ...) PRINTF_LIKE(3, 4);
void eval_info(struct eval *e, const struct node *at, const char *fmt, ...) PRINTF_LIKE(3, 4);
void eval_mixed_warning(struct eval *e, const struct node *at, struct tsdb_labels l);
void eval_take_notes(struct eval *e, struct eval *from); /* from has none left */
/* ` for metric name "x"`, or nothing without a name. */
struct bytes eval_for_metric(struct eval *e, struct tsdb_labels l);
const struct regex_re2 *eval_regex(struct eval *e, struct bytes pattern);

/* --- walking ----------------------------------------------------------------------------------- */
bool eval_rows(struct eval *e, const struct node *n, struct grid g, struct rows *out);
bool eval_scalar(struct eval *e, const struct node *n, struct grid g, double *out);
typedef bool (*row_fn)(void *ctx, const struct row *r); /* r dies after the call */
bool eval_each(struct eval *e, const struct node *n, struct grid g, row_fn fn, void *ctx);
bool eval_string(struct eval *e, const struct node *n, struct bytes *out);

/* eval_select.c */
bool select_series(struct eval *e, const struct node *selector, int64_t min_ms, int64_t max_ms,
                   struct tsdb_series **out, size_t *out_count);
enum select_what { SELECT_VALUE, SELECT_TIMESTAMP, SELECT_START };
bool select_each(struct eval *e, const struct node *n, struct grid g, enum select_what what,
                 row_fn fn, void *ctx);
int64_t select_reference(const struct eval *e, const struct node *n, struct grid g, size_t i);
bool select_offset(struct eval *e, const struct node *n, int64_t *out_ms);

/* eval_explain.c: what the query does is noted where somebody wants to know (limits.explain). */
struct explain_place {
    uint32_t now, above;
};
void explain_begin(struct query_explain *x, struct node *root);
struct explain_place explain_enter(struct eval *e, const struct node *n);
void explain_leave(struct eval *e, struct explain_place before, size_t rows);
/* fn(ctx, r) for the node above, whose time it is. */
bool explain_row(struct eval *e, row_fn fn, void *ctx, const struct row *r);
void explain_selected(struct eval *e, const struct node *selector, size_t series, int64_t min_ms,
                      int64_t max_ms);
void explain_read(struct eval *e, const struct node *selector, uint64_t samples, uint64_t blocks);

/* eval_series.c: for each series in order, fn is given the row that make has made of its points. make changes nothing that is not e's: several
 * threads call it. */
struct series_job {
    struct eval *e;
    const struct node *selector;
    const struct tsdb_series *series;
    size_t count, cells;
    int64_t min_ms, max_ms; /* of the points */
    bool (*make)(void *ctx, struct eval *e, const struct tsdb_points *p, struct row *row);
    void *ctx;
    row_fn fn;
    void *fn_ctx;
};
bool series_each(const struct series_job *j);

/* eval_range.c */
struct series_points { /* floats and histograms apart, without stale markers */
    size_t fn, hn;
    const int64_t *ft, *ht;
    const double *fv;
    const struct query_hist **hh;
    const int64_t *fst, *hst; /* start timestamps or NULL */
    const uint32_t *
        events; /* of floats, for counters: how many resets (and odd start times) up to each; or NULL */
};
struct window {
    int64_t start, end; /* (start, end] */
    struct series_points p;
};
struct range_call {
    struct eval *e;
    const struct node *call, *arg; /* arg: the matrix or subquery */
    int64_t range_ms;
    struct tsdb_labels labels;
    double p1, p2; /* scalar arguments at this step */
    int64_t at_ms; /* the step's time */
};
typedef enum cell (*range_function)(struct range_call *c, const struct window *w, double *out,
                                    const struct query_hist **out_h);
bool range_each(struct eval *e, const struct node *call, struct grid g, row_fn fn, void *ctx);
/* The windows of a matrix or subquery at a single step, as the result of an instant query. */
bool range_matrix(struct eval *e, const struct node *n, int64_t at_ms, struct query_row **out,
                  size_t *out_count);
bool range_split(struct eval *e, const struct tsdb_points *p, struct arena *a,
                 struct series_points *out);
range_function range_function_of(int id);
/* For p->events: between two points of the same count an increase is a difference. NULL: no memory. */
const uint32_t *rate_events(const struct series_points *p, struct arena *a);
enum cell rate_rate(struct range_call *c, const struct window *w, double *out,
                    const struct query_hist **out_h);
enum cell rate_instant(struct range_call *c, const struct window *w, double *out,
                       const struct query_hist **out_h);
enum cell rate_changes(struct range_call *c, const struct window *w, double *out,
                       const struct query_hist **out_h);

/* eval_call.c, eval_classic.c, eval_binary.c, eval_aggregate.c, eval_info.c */
bool call_rows(struct eval *e, const struct node *n, struct grid g, struct rows *out);
bool call_scalar(struct eval *e, const struct node *n, struct grid g, double *out);
bool label_rows(struct eval *e, const struct node *n, struct grid g, struct rows *out);
bool sort_rows(struct eval *e, const struct node *n, struct grid g, struct rows *out);
bool histogram_rows(struct eval *e, const struct node *n, struct grid g, struct rows *out);
bool info_rows(struct eval *e, const struct node *n, struct grid g, struct rows *out);
bool binary_rows(struct eval *e, const struct node *n, struct grid g, struct rows *out);
double binary_scalar(enum binary_op op, double l, double r);
bool aggregate_rows(struct eval *e, const struct node *n, struct grid g, struct rows *out);
double quantile_of(double q, double *sorted, size_t n);

/* --- rows (eval_rows.c) ------------------------------------------------------------------------ */
bool row_init(struct eval *e, struct row *r, size_t cells); /* all cells CELL_NONE */
bool row_need_hist(struct eval *e, struct row *r, size_t cells);
bool row_copy(struct eval *e, struct row *out, const struct row *r, size_t cells);
void row_clear(struct row *r, size_t cells);
struct row *rows_add(struct eval *e, struct rows *rs, size_t cells);
bool rows_keep(void *ctx, const struct row *r); /* a row_fn: copies into struct keep */
struct keep {
    struct eval *e;
    struct rows *out;
    size_t cells;
};
/* By labels; those of equal labels stay in their order. What is added up in this order has the same bits whatever other rows there are. */
bool rows_sort(struct eval *e, struct rows *rs);
/* Rows without any cell go; names that are to be dropped go when `names`; rows of equal labels become one. */
bool rows_settle(struct eval *e, struct rows *rs, size_t cells, bool names);

/* --- labels (eval_labels.c) -------------------------------------------------------------------- */
bool labels_is_metadata(struct bytes name); /* __name__, __type__, __unit__ */
struct tsdb_labels labels_keep(struct eval *e, struct tsdb_labels l, const struct name_list *names);
struct tsdb_labels labels_without(struct eval *e, struct tsdb_labels l,
                                  const struct name_list *names, bool metadata);
struct tsdb_labels labels_set(struct eval *e, struct tsdb_labels l, struct bytes name,
                              struct bytes value);
struct bytes labels_text(struct arena *a, struct tsdb_labels l); /* {a="b", c="d"} */
/* The chosen labels of l encoded into a reusable buffer: the key of a group. */
struct bytes labels_key(struct buf *b, struct tsdb_labels l, const struct name_list *names,
                        bool keep);

/* A map from bytes to dense indexes in order of first appearance. */
struct key_map {
    struct eval *e;
    uint32_t *slots;
    size_t slot_count, count, cap;
    struct key_entry {
        struct bytes key;
        uint64_t hash;
    } * entries;
};
/* SIZE_MAX when out of memory. */
size_t key_map_put(struct key_map *m, struct bytes key, bool *out_new);
size_t key_map_find(const struct key_map *m, struct bytes key); /* SIZE_MAX when absent */

static inline void kahan_add(double x, double *sum, double *carry)
{
    double t = *sum + x;
    if (__builtin_isinf(t))
        *carry = 0;
    else if (__builtin_fabs(*sum) >= __builtin_fabs(x))
        *carry += (*sum - t) + x;
    else
        *carry += (x - t) + *sum;
    *sum = t;
}

#endif
