#include "detectors/rule_test.h"

#include "base/check.h"
#include "base/clock.h"
#include "query/query_text.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

struct reading {
    const char *path;
    struct arena *arena;
    struct buf *errors;
    bool failed;
};

static void mistake(struct reading *r, unsigned line, const char *fmt, ...) PRINTF_LIKE(3, 4);
static void mistake(struct reading *r, unsigned line, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    buf_printf(r->errors, "%s:%u: %s\n", r->path, line, text);
    r->failed = true;
}

static uint32_t children(const struct yaml_node *n)
{
    uint32_t count = 0;
    for (const struct yaml_node *c = n->child; c; c = c->next)
        count++;
    return count;
}

/* An array for the children of a list; NULL where there is none, or that is no list. */
static void *array_of(struct reading *r, const struct yaml_node *n, size_t size)
{
    if (n->type == YAML_NULL)
        return NULL;
    if (n->type != YAML_LIST) {
        mistake(r, n->line, BYTES_FMT ": must be a list", BYTES_ARG(n->key));
        return NULL;
    }
    void *m = arena_alloc(r->arena, size * (children(n) + 1));
    if (!m)
        mistake(r, n->line, BYTES_FMT ": too much memory is needed", BYTES_ARG(n->key));
    return m;
}

static int64_t duration_of(struct reading *r, const struct yaml_node *n)
{
    int64_t ms = 0;
    if (n->type != YAML_SCALAR || !clock_parse_duration_ms((const char *)n->text.data, &ms) ||
        ms < 0)
        mistake(r, n->line, BYTES_FMT ": must be a duration such as 30s, 5m or 1h30m",
                BYTES_ARG(n->key));
    return ms;
}

static struct tsdb_labels map_of(struct reading *r, const struct yaml_node *n, struct bytes name)
{
    struct tsdb_label list[TSDB_LABELS_MAX];
    struct tsdb_labels out = {BYTES_NONE};
    struct err_msg msg;
    size_t count = 0;
    if (n && n->type != YAML_MAP && n->type != YAML_NULL)
        mistake(r, n->line, BYTES_FMT ": must be a map of texts", BYTES_ARG(n->key));
    for (const struct yaml_node *c = n && n->type == YAML_MAP ? n->child : NULL; c; c = c->next) {
        if (count == TSDB_LABELS_MAX - 1)
            break;
        if (!name.size || !bytes_equal_str(c->key, "alertname"))
            list[count++] = (struct tsdb_label){c->key, c->text};
    }
    if (name.size)
        list[count++] = (struct tsdb_label){BYTES_LIT("alertname"), name};
    if (tsdb_labels_build(list, count, r->arena, &out, &msg) != ERR_OK)
        mistake(r, n ? n->line : 0, "%s", msg.text);
    return out;
}

static void unknown(struct reading *r, const struct yaml_node *c, const char *known)
{
    mistake(r, c->key_line, BYTES_FMT ": unknown; known are %s", BYTES_ARG(c->key), known);
}

/* --- expectations -------------------------------------------------------------------------------- */

static void read_expected(struct reading *r, const struct yaml_node *n, struct rule_test_alert *to)
{
    to->expected = array_of(r, n, sizeof(*to->expected));
    for (const struct yaml_node *c = to->expected ? n->child : NULL; c; c = c->next) {
        struct rule_test_expected *e = &to->expected[to->count++];
        for (const struct yaml_node *k = c->type == YAML_MAP ? c->child : NULL; k; k = k->next)
            if (!bytes_equal_str(k->key, "exp_labels") &&
                !bytes_equal_str(k->key, "exp_annotations"))
                unknown(r, k, "exp_labels and exp_annotations");
        const struct yaml_node *map = c->type == YAML_MAP ? c : NULL;
        e->labels = map_of(r, map ? yaml_get(map, "exp_labels") : NULL, to->name);
        e->annotations = map_of(r, map ? yaml_get(map, "exp_annotations") : NULL, BYTES_NONE);
    }
}

static void read_alerts(struct reading *r, const struct yaml_node *n, struct rule_test_case *t)
{
    t->alerts = array_of(r, n, sizeof(*t->alerts));
    for (const struct yaml_node *c = t->alerts ? n->child : NULL; c; c = c->next) {
        struct rule_test_alert *to = &t->alerts[t->alert_count++];
        to->name = yaml_get_str(c, "alertname");
        if (!to->name.size)
            mistake(r, c->line,
                    "an item under alert_rule_test misses required attribute alertname");
        for (const struct yaml_node *k = c->type == YAML_MAP ? c->child : NULL; k; k = k->next)
            if (bytes_equal_str(k->key, "eval_time"))
                to->at_ms = duration_of(r, k);
            else if (bytes_equal_str(k->key, "exp_alerts"))
                read_expected(r, k, to);
            else if (!bytes_equal_str(k->key, "alertname"))
                unknown(r, k, "eval_time, alertname and exp_alerts");
    }
}

static void read_sample(struct reading *r, const struct yaml_node *c, struct rule_test_sample *to)
{
    struct err_msg msg;
    const struct yaml_node *labels = c->type == YAML_MAP ? yaml_get(c, "labels") : NULL;
    const struct yaml_node *value = c->type == YAML_MAP ? yaml_get(c, "value") : NULL;
    if (labels && query_text_labels(labels->text, r->arena, &to->labels, &msg) != ERR_OK)
        mistake(r, labels->line, "labels \"" BYTES_FMT "\": %s", BYTES_ARG(labels->text), msg.text);
    if (value && (value->type != YAML_SCALAR || !bytes_to_f64(value->text, &to->value)))
        mistake(r, value->line, "value: must be a number");
    const struct yaml_node *hist = c->type == YAML_MAP ? yaml_get(c, "histogram") : NULL;
    struct bytes rest = hist ? bytes_trim(hist->text) : BYTES_NONE;
    if (hist && (query_text_hist(&rest, r->arena, &to->hist, &msg) != ERR_OK || rest.size))
        mistake(r, hist->line, "histogram: %s",
                rest.size && to->hist ? "more stands behind it" : msg.text);
}

static void read_exprs(struct reading *r, const struct yaml_node *n, struct rule_test_case *t)
{
    t->exprs = array_of(r, n, sizeof(*t->exprs));
    for (const struct yaml_node *c = t->exprs ? n->child : NULL; c; c = c->next) {
        struct rule_test_expr *to = &t->exprs[t->expr_count++];
        for (const struct yaml_node *k = c->type == YAML_MAP ? c->child : NULL; k; k = k->next)
            if (bytes_equal_str(k->key, "eval_time")) {
                to->at_ms = duration_of(r, k);
            } else if (bytes_equal_str(k->key, "expr")) {
                to->expr = k->text;
            } else if (bytes_equal_str(k->key, "exp_samples")) {
                to->expected = array_of(r, k, sizeof(*to->expected));
                for (const struct yaml_node *s = to->expected ? k->child : NULL; s; s = s->next)
                    read_sample(r, s, &to->expected[to->count++]);
            } else {
                unknown(r, k, "expr, eval_time and exp_samples");
            }
    }
}

/* --- the file ------------------------------------------------------------------------------------ */

static void read_case(struct reading *r, const struct yaml_node *n, int64_t interval_ms,
                      struct rule_test_case *t)
{
    *t = (struct rule_test_case){.interval_ms = interval_ms, .line = n->line};
    if (n->type != YAML_MAP) {
        mistake(r, n->line, "tests: must be a list of maps");
        return;
    }
    for (const struct yaml_node *c = n->child; c; c = c->next)
        if (bytes_equal_str(c->key, "interval"))
            t->interval_ms = duration_of(r, c);
        else if (bytes_equal_str(c->key, "name"))
            t->name = c->text;
        else if (bytes_equal_str(c->key, "external_url"))
            t->external_url = c->text;
        else if (bytes_equal_str(c->key, "input_series"))
            t->series = c;
        else if (bytes_equal_str(c->key, "external_labels"))
            t->external_labels = map_of(r, c, BYTES_NONE);
        else if (bytes_equal_str(c->key, "alert_rule_test"))
            read_alerts(r, c, t);
        else if (bytes_equal_str(c->key, "promql_expr_test"))
            read_exprs(r, c, t);
        else
            unknown(r, c,
                    "interval, name, input_series, external_labels, external_url, "
                    "alert_rule_test and promql_expr_test");
    if (t->interval_ms == 0)
        t->interval_ms = interval_ms;
}

/* Rule files are named from where the test file lies. */
static void read_rule_files(struct reading *r, const struct yaml_node *n,
                            struct rule_test_file *out)
{
    const char *slash = strrchr(r->path, '/');
    int dir = slash ? (int)(slash - r->path) + 1 : 0;
    const char **list = array_of(r, n, sizeof(*list));
    for (const struct yaml_node *c = list ? n->child : NULL; c; c = c->next) {
        bool is_absolute = c->text.size && c->text.data[0] == '/';
        struct bytes p = arena_printf(r->arena, "%.*s" BYTES_FMT, is_absolute ? 0 : dir, r->path,
                                      BYTES_ARG(c->text));
        if (p.data)
            list[out->rule_file_count++] = (const char *)p.data;
    }
    out->rule_files = list;
}

static void read_order(struct reading *r, const struct yaml_node *n, struct rule_test_file *out)
{
    out->order = array_of(r, n, sizeof(*out->order));
    for (const struct yaml_node *c = out->order ? n->child : NULL; c; c = c->next)
        out->order[out->order_count++] = c->text;
}

static void read_document(struct reading *r, const struct yaml_node *doc,
                          struct rule_test_file *out)
{
    const struct yaml_node *tests = NULL;
    out->interval_ms = RULE_FILE_INTERVAL_MS;
    for (const struct yaml_node *c = doc->child; c; c = c->next)
        if (bytes_equal_str(c->key, "rule_files"))
            read_rule_files(r, c, out);
        else if (bytes_equal_str(c->key, "evaluation_interval"))
            out->interval_ms = duration_of(r, c);
        else if (bytes_equal_str(c->key, "group_eval_order"))
            read_order(r, c, out);
        else if (bytes_equal_str(c->key, "fuzzy_compare"))
            out->is_fuzzy = bytes_equal_str(c->text, "true");
        else if (bytes_equal_str(c->key, "tests"))
            tests = c;
        else
            unknown(r, c,
                    "rule_files, evaluation_interval, group_eval_order, fuzzy_compare and tests");
    if (out->interval_ms == 0)
        out->interval_ms = RULE_FILE_INTERVAL_MS;
    out->cases = tests ? array_of(r, tests, sizeof(*out->cases)) : NULL;
    for (const struct yaml_node *c = out->cases ? tests->child : NULL; c; c = c->next)
        read_case(r, c, out->interval_ms, &out->cases[out->case_count++]);
}

enum err rule_test_read(const char *path, struct arena *a, struct rule_test_file *out,
                        struct buf *errors)
{
    struct reading r = {.path = path, .arena = a, .errors = errors};
    struct yaml_node *doc = NULL;
    struct bytes text;
    struct err_msg msg = {""};
    *out = (struct rule_test_file){0};
    enum err e = rule_file_bytes(path, a, &text, &msg);
    if (e == ERR_OK) {
        e = yaml_in_parse(text, a, &doc, &msg);
        if (e != ERR_OK)
            buf_printf(errors, "%s: %s\n", path, msg.text);
    } else {
        buf_printf(errors, "%s\n", msg.text);
    }
    if (e != ERR_OK)
        return e;
    if (!doc || doc->type != YAML_MAP)
        mistake(&r, 1, "must be a map with rule_files and tests");
    else
        read_document(&r, doc, out);
    return r.failed ? ERR_INVALID : ERR_OK;
}
