#include "detectors/detectors_rule_test.h"

#include "base/check.h"
#include "base/clock.h"
#include "detectors/rule_eval.h"
#include "detectors/rule_test.h"
#include "query/query_memory.h"
#include "query/query_text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define FILE_BYTES ((size_t)256 << 20)
#define WORK_BYTES ((size_t)512 << 20)
#define FUZZ 1e-12

struct test_run {
    const char *path;
    const struct rule_test_file *file;
    const struct rule_test_case *test;
    struct arena *arena;
    struct query_memory *memory;
    struct rule_group *groups;
    uint32_t group_count;
    struct buf *out;
    bool failed;
};

/* --- series in memory ---------------------------------------------------------------------------- */

static enum err memory_query(void *ctx, struct bytes text, int64_t at_ms, struct arena *a,
                             struct query_result *out, struct err_msg *msg)
{
    struct test_run *t = ctx;
    struct query_source src = query_memory_source(t->memory);
    struct query_limits limits = {.subquery_step_ms = t->file->interval_ms};
    return query_instant(&src, &limits, text, at_ms, a, out, msg);
}

static enum err memory_write(void *ctx, const struct rule_row *rows, size_t n, struct err_msg *msg)
{
    struct test_run *t = ctx;
    enum err e = ERR_OK;
    for (size_t i = 0; i < n && e == ERR_OK; i++)
        if (rows[i].hist)
            e = query_memory_add_hist(t->memory, rows[i].labels, rows[i].t_ms, rows[i].hist);
        else
            e = query_memory_add(t->memory, rows[i].labels, rows[i].t_ms, rows[i].value);
    return e;
}

static enum err load_series(struct test_run *t)
{
    const struct yaml_node *list = t->test->series;
    struct err_msg msg = {""};
    for (const struct yaml_node *c = list ? list->child : NULL; c; c = c->next) {
        struct tsdb_labels labels;
        struct query_text_value *values;
        size_t n;
        const struct yaml_node *name = c->type == YAML_MAP ? yaml_get(c, "series") : NULL;
        const struct yaml_node *text = c->type == YAML_MAP ? yaml_get(c, "values") : NULL;
        enum err e =
            name && text ? ERR_OK : err_set(&msg, ERR_INVALID, "give a map with series and values");
        if (e == ERR_OK)
            e = query_text_labels(name->text, t->arena, &labels, &msg);
        if (e == ERR_OK)
            e = query_text_values(text->text, t->arena, &values, &n, &msg);
        for (size_t i = 0; e == ERR_OK && i < n; i++)
            if (values[i].hist)
                e = query_memory_add_hist(t->memory, labels, (int64_t)i * t->test->interval_ms,
                                          values[i].hist);
            else if (!values[i].is_omitted)
                e = query_memory_add(t->memory, labels, (int64_t)i * t->test->interval_ms,
                                     values[i].value);
        if (e != ERR_OK) {
            buf_printf(t->out, "%s:%u: input_series: %s\n", t->path, c->line,
                       msg.text[0] ? msg.text : err_text(e));
            return e;
        }
    }
    return ERR_OK;
}

/* --- texts of what differs ----------------------------------------------------------------------- */

static void put_labels(struct buf *out, struct tsdb_labels l)
{
    struct tsdb_labels_iter it = tsdb_labels_begin(l);
    struct tsdb_label label;
    buf_u8(out, '{');
    for (bool is_first = true; tsdb_labels_next(&it, &label); is_first = false) {
        buf_printf(out, "%s" BYTES_FMT "=\"", is_first ? "" : ", ", BYTES_ARG(label.name));
        for (size_t i = 0; i < label.value.size; i++)
            if (label.value.data[i] == '"' || label.value.data[i] == '\\')
                buf_printf(out, "\\%c", label.value.data[i]);
            else if (label.value.data[i] == '\n')
                buf_str(out, "\\n");
            else
                buf_u8(out, label.value.data[i]);
        buf_u8(out, '"');
    }
    buf_u8(out, '}');
}

/* 4.2E+01: the shortest that reads back. */
static void put_value(struct buf *out, double v)
{
    char text[40];
    int digits = 0;
    do
        snprintf(text, sizeof(text), "%.*E", digits, v);
    while (isfinite(v) && strtod(text, NULL) != v && digits++ < 17);
    buf_str(out, isnan(v) ? "NaN" : isinf(v) ? (v > 0 ? "+Inf" : "-Inf") : text);
}

static void put_alerts(struct buf *out, const struct rule_test_expected *list, size_t n)
{
    buf_u8(out, '[');
    for (size_t i = 0; i < n; i++) {
        buf_printf(out, "%s\n            %zu:\n              Labels:", i ? "," : "", i);
        put_labels(out, list[i].labels);
        buf_str(out, "\n              Annotations:");
        put_labels(out, list[i].annotations);
    }
    buf_str(out, n ? "\n            ]" : "]");
}

static void put_samples(struct buf *out, const struct rule_test_sample *list, size_t n,
                        struct arena *a)
{
    if (!n)
        buf_str(out, "nil");
    for (size_t i = 0; i < n; i++) {
        buf_str(out, i ? ", " : "");
        put_labels(out, list[i].labels);
        buf_u8(out, ' ');
        if (list[i].hist)
            buf_bytes_append(out, query_hist_text(list[i].hist, a));
        else
            put_value(out, list[i].value);
    }
}

static void fail_begin(struct test_run *t)
{
    t->failed = true;
    if (t->test->name.size)
        buf_printf(t->out, "    name: " BYTES_FMT ",\n", BYTES_ARG(t->test->name));
}

/* --- alerts -------------------------------------------------------------------------------------- */

static int by_labels(const void *a, const void *b)
{
    const struct rule_test_expected *x = a, *y = b;
    int c = tsdb_labels_compare(x->labels, y->labels);
    return c ? c : tsdb_labels_compare(x->annotations, y->annotations);
}

static size_t firing(const struct test_run *t, struct bytes name, struct rule_test_expected *out)
{
    size_t n = 0;
    for (uint32_t g = 0; g < t->group_count; g++)
        for (uint32_t k = 0; k < t->groups[g].def->rule_count; k++) {
            const struct rule_state *s = &t->groups[g].rules[k];
            for (size_t i = 0; i < s->alert_count && s->def->is_alert; i++) {
                if (!bytes_equal(s->def->name, name) || s->alerts[i].state != RULE_FIRING)
                    continue;
                if (out)
                    out[n] =
                        (struct rule_test_expected){s->alerts[i].labels, s->alerts[i].annotations};
                n++;
            }
        }
    return n;
}

static enum err check_alert(struct test_run *t, const struct rule_test_alert *want)
{
    char at[48];
    size_t n = firing(t, want->name, NULL);
    struct rule_test_expected *got = calloc(n + 1, sizeof(*got));
    if (!got)
        return ERR_NOMEM;
    firing(t, want->name, got);
    qsort(got, n, sizeof(*got), by_labels);
    if (want->count)
        qsort(want->expected, want->count, sizeof(*got), by_labels);
    bool same = n == want->count;
    for (size_t i = 0; same && i < n; i++)
        same = by_labels(&got[i], &want->expected[i]) == 0;
    if (!same) {
        clock_format_duration(want->at_ms, at);
        fail_begin(t);
        buf_printf(t->out,
                   "    alertname: " BYTES_FMT ", time: %s, \n        exp:", BYTES_ARG(want->name),
                   at);
        put_alerts(t->out, want->expected, want->count);
        buf_str(t->out, ", \n        got:");
        put_alerts(t->out, got, n);
        buf_str(t->out, "\n\n");
    }
    free(got);
    return ERR_OK;
}

/* --- evaluations --------------------------------------------------------------------------------- */

/* False: a rule failed, the test ends here. */
static enum err run_groups(struct test_run *t, const struct rule_io *io, int64_t at_ms,
                           bool *out_goes_on)
{
    char at[48];
    *out_goes_on = true;
    for (uint32_t g = 0; g < t->group_count; g++) {
        struct rule_group *group = &t->groups[g];
        struct rule_out *outs = calloc(group->def->rule_count + 1, sizeof(*outs));
        if (!outs)
            return ERR_NOMEM;
        rule_group_eval(group, io, at_ms, false, outs);
        for (uint32_t k = 0; k < group->def->rule_count; k++)
            if (outs[k].err != ERR_OK) {
                clock_format_duration(at_ms, at);
                buf_printf(t->out, "    rule: " BYTES_FMT ", time: %s, err: %s\n",
                           BYTES_ARG(group->def->rules[k].name), at, outs[k].msg.text);
                t->failed = true;
                *out_goes_on = false;
            }
        rule_group_apply(group, at_ms, outs);
        rule_outs_free(outs, group->def->rule_count);
        free(outs);
    }
    return ERR_OK;
}

static int64_t last_time(const struct rule_test_case *c)
{
    int64_t last = 0;
    for (uint32_t i = 0; i < c->alert_count; i++)
        last = MAX(last, c->alerts[i].at_ms);
    for (uint32_t i = 0; i < c->expr_count; i++)
        last = MAX(last, c->exprs[i].at_ms);
    return last;
}

/* True: the rules ran through to the end. */
static enum err run_rules(struct test_run *t, bool *out_goes_on)
{
    const struct rule_test_case *c = t->test;
    int64_t last = last_time(c), every = t->file->interval_ms;
    struct bytes url = arena_printf(t->arena, BYTES_FMT, BYTES_ARG(c->external_url));
    struct rule_io io = {.ctx = t,
                         .query = memory_query,
                         .write = memory_write,
                         .external_labels = c->external_labels,
                         .external_url = (const char *)url.data};
    enum err e = ERR_OK;
    *out_goes_on = true;
    if (last / every > DETECTORS_RULE_TEST_STEPS_MAX) {
        buf_printf(t->out, "%s:%u: more than %d evaluations\n", t->path, c->line,
                   DETECTORS_RULE_TEST_STEPS_MAX);
        return ERR_LIMIT;
    }
    for (int64_t at = 0; at <= last && e == ERR_OK && *out_goes_on; at += every) {
        e = run_groups(t, &io, at, out_goes_on);
        for (uint32_t i = 0; i < c->alert_count && e == ERR_OK && *out_goes_on; i++)
            if (at <= c->alerts[i].at_ms && c->alerts[i].at_ms < at + every)
                e = check_alert(t, &c->alerts[i]);
    }
    return e;
}

/* --- expressions --------------------------------------------------------------------------------- */

static int by_metric(const void *a, const void *b)
{
    const struct rule_test_sample *x = a, *y = b;
    return tsdb_labels_compare(x->labels, y->labels);
}

static bool same_value(const struct test_run *t, double a, double b)
{
    if (a == b || (isnan(a) && isnan(b)))
        return true;
    return t->file->is_fuzzy && fabs(a - b) <= FUZZ * MAX(fabs(a), fabs(b));
}

/* The hint is no part of what is expected, and empty buckets say nothing. */
static bool same_hist(const struct query_hist *x, const struct query_hist *y, struct arena *a)
{
    if (!x || !y)
        return x == y;
    x = query_hist_compact(x, a);
    y = query_hist_compact(y, a);
    return x && y &&
           query_hist_equal(query_hist_with_hint(x, TSDB_HIST_UNKNOWN_RESET, a),
                            query_hist_with_hint(y, TSDB_HIST_UNKNOWN_RESET, a));
}

static enum err check_expr(struct test_run *t, const struct rule_test_expr *want)
{
    char at[48];
    struct query_result q = {.count = 0};
    struct err_msg msg = {""};
    struct arena *a = arena_new(WORK_BYTES);
    enum err e = a ? memory_query(t, want->expr, want->at_ms, a, &q, &msg) : ERR_NOMEM;
    clock_format_duration(want->at_ms, at);
    if (e == ERR_OK && q.type != QUERY_VECTOR && q.type != QUERY_SCALAR)
        e = err_set(&msg, ERR_EXECUTION, "rule result is not a vector or scalar");
    if (e != ERR_OK) {
        fail_begin(t);
        buf_printf(t->out, "    expr: \"" BYTES_FMT "\", time: %s, err: %s\n\n",
                   BYTES_ARG(want->expr), at, msg.text[0] ? msg.text : err_text(e));
        arena_free(a);
        return e == ERR_NOMEM ? e : ERR_OK;
    }
    struct rule_test_sample *got = ARENA_ARRAY(a, struct rule_test_sample, q.count + 1);
    size_t n = 0;
    for (size_t i = 0; got && i < q.count; i++)
        if (q.rows[i].count)
            got[n++] = (struct rule_test_sample){q.rows[i].labels, q.rows[i].value[0],
                                                 q.rows[i].hist ? q.rows[i].hist[0] : NULL};
    if (n)
        qsort(got, n, sizeof(*got), by_metric);
    if (want->count)
        qsort(want->expected, want->count, sizeof(*got), by_metric);
    bool same = n == want->count;
    for (size_t i = 0; same && i < n; i++)
        same = by_metric(&got[i], &want->expected[i]) == 0 &&
               same_hist(got[i].hist, want->expected[i].hist, a) &&
               (got[i].hist || same_value(t, got[i].value, want->expected[i].value));
    if (!same) {
        fail_begin(t);
        buf_printf(t->out,
                   "    expr: \"" BYTES_FMT "\", time: %s,\n        exp: ", BYTES_ARG(want->expr),
                   at);
        put_samples(t->out, want->expected, want->count, a);
        buf_str(t->out, "\n        got: ");
        put_samples(t->out, got, n, a);
        buf_str(t->out, "\n\n");
    }
    arena_free(a);
    return ERR_OK;
}

/* --- a test, a file ------------------------------------------------------------------------------ */

static uint32_t rank_of(const struct rule_test_file *f, struct bytes name)
{
    uint32_t i = 0;
    while (i < f->order_count && !bytes_equal(f->order[i], name))
        i++;
    return i;
}

/* Groups in the order wanted, else as they are written. */
static bool make_groups(struct test_run *t, const struct rule_set *set)
{
    t->groups = ARENA_ARRAY(t->arena, struct rule_group, set->group_count + 1);
    for (uint32_t rank = 0; t->groups && rank <= t->file->order_count; rank++)
        for (uint32_t i = 0; i < set->group_count; i++) {
            const struct rule_group_def *def = &set->groups[i];
            if (rank_of(t->file, def->name) != rank)
                continue;
            struct rule_group *g = &t->groups[t->group_count++];
            g->def = def;
            g->rules = ARENA_ARRAY(t->arena, struct rule_state, def->rule_count + 1);
            if (!g->rules)
                return false;
            for (uint32_t k = 0; k < def->rule_count; k++)
                g->rules[k].def = &def->rules[k];
        }
    return t->groups != NULL;
}

static enum err run_case(struct test_run *t, const struct rule_set *set)
{
    bool goes_on = true;
    t->arena = arena_new(WORK_BYTES);
    t->memory = query_memory_new();
    t->groups = NULL;
    t->group_count = 0;
    enum err e = t->arena && t->memory ? load_series(t) : ERR_NOMEM;
    if (e == ERR_OK && !make_groups(t, set))
        e = ERR_NOMEM;
    if (e == ERR_OK)
        e = run_rules(t, &goes_on);
    for (uint32_t i = 0; i < t->test->expr_count && e == ERR_OK && goes_on; i++)
        e = check_expr(t, &t->test->exprs[i]);
    for (uint32_t g = 0; g < t->group_count; g++)
        for (uint32_t k = 0; t->groups[g].rules && k < t->groups[g].def->rule_count; k++)
            rule_state_done(&t->groups[g].rules[k]);
    query_memory_free(t->memory);
    arena_free(t->arena);
    return e;
}

enum err detectors_rule_test_run(const char *path, struct buf *out)
{
    struct rule_test_file file;
    struct rule_set set;
    struct arena *a = arena_new(FILE_BYTES);
    struct rule_file_options o = {.arena = a, .errors = out};
    struct test_run t = {.path = path, .file = &file, .out = out};
    enum err e = a ? rule_test_read(path, a, &file, out) : ERR_NOMEM;
    if (e == ERR_OK)
        e = rule_file_load(file.rule_files, file.rule_file_count, &o, &set);
    for (uint32_t i = 0; e == ERR_OK && i < file.case_count; i++) {
        t.test = &file.cases[i];
        e = run_case(&t, &set);
    }
    arena_free(a);
    return e == ERR_OK && t.failed ? ERR_EXECUTION : e;
}
