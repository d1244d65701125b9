/* Runs the nodes: text/template/exec.go's rules for what is true, what is printed and what a field is. */
#include "base/check.h"
#include "detectors/rule_template_core.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define CALL_ARGS_MAX 64u

struct template_value template_fail(struct template_run *r, enum err e, const char *fmt, ...)
{
    char text[256];
    va_list args;
    if (r->err == ERR_OK) {
        va_start(args, fmt);
        vsnprintf(text, sizeof(text), fmt, args);
        va_end(args);
        r->err = err_set(r->msg, e, "%s", text);
    }
    return (struct template_value){.kind = VALUE_NIL};
}

bool template_is_true(const struct template_value *v)
{
    switch (v->kind) {
    case VALUE_NIL: return false;
    case VALUE_BOOL: return v->boolean;
    case VALUE_INT: return v->integer != 0;
    case VALUE_FLOAT: return v->number != 0;
    case VALUE_STRING: return v->string.size != 0;
    case VALUE_LABELS: return v->labels.enc.size != 0;
    case VALUE_VECTOR:
    case VALUE_ARGS: return v->count != 0;
    default: return true;
    }
}

/* --- printing ------------------------------------------------------------------------------------ */

void template_print_float(struct buf *out, double v)
{
    char text[40];
    if (isnan(v) || isinf(v)) {
        buf_str(out, isnan(v) ? "NaN" : v > 0 ? "+Inf" : "-Inf");
        return;
    }
    int digits = 0;
    do
        snprintf(text, sizeof(text), "%.*e", digits, v);
    while (strtod(text, NULL) != v && digits++ < 17);
    int exponent = atoi(strchr(text, 'e') + 1);
    if (exponent >= -4 && exponent < 6) /* as Go decides for the shortest form */
        snprintf(text, sizeof(text), "%.*f", MAX(digits - exponent, 0), v);
    buf_str(out, text);
}

static void print_labels(struct buf *out, struct tsdb_labels l)
{
    struct tsdb_labels_iter it = tsdb_labels_begin(l);
    struct tsdb_label label;
    buf_str(out, "map[");
    for (bool is_first = true; tsdb_labels_next(&it, &label); is_first = false) {
        buf_str(out, is_first ? "" : " ");
        buf_bytes_append(out, label.name);
        buf_u8(out, ':');
        buf_bytes_append(out, label.value);
    }
    buf_u8(out, ']');
}

static void print_sample(struct buf *out, const struct template_sample *s)
{
    buf_u8(out, '{');
    print_labels(out, s->labels);
    buf_u8(out, ' ');
    template_print_float(out, s->value);
    buf_u8(out, '}');
}

void template_print(struct buf *out, const struct template_value *v)
{
    switch (v->kind) {
    case VALUE_NIL: buf_str(out, "<no value>"); return;
    case VALUE_BOOL: buf_str(out, v->boolean ? "true" : "false"); return;
    case VALUE_INT: buf_printf(out, "%lld", (long long)v->integer); return;
    case VALUE_FLOAT: template_print_float(out, v->number); return;
    case VALUE_STRING: buf_bytes_append(out, v->string); return;
    case VALUE_LABELS: print_labels(out, v->labels); return;
    case VALUE_SAMPLE: print_sample(out, v->samples); return;
    case VALUE_VECTOR:
        buf_u8(out, '[');
        for (size_t i = 0; i < v->count; i++) {
            buf_str(out, i ? " " : "");
            print_sample(out, &v->samples[i]);
        }
        buf_u8(out, ']');
        return;
    case VALUE_TIME: (void)template_print_time(out, v->number); return; /* toTime has looked */
    case VALUE_DURATION: template_print_duration(out, v->integer); return;
    case VALUE_ARGS:
    case VALUE_ROOT: buf_str(out, "map[]"); return;
    }
}

bool template_print_time(struct buf *out, double seconds)
{
    struct tm tm;
    char text[64];
    double whole = floor(seconds);
    long long ns = /* of ms, as Prometheus keeps it */
        llround((seconds - whole) * 1e9) / 1000000 * 1000000;
    if (!(fabs(seconds) <= 9e15))
        return false;
    time_t t = (time_t)whole;
    if (!gmtime_r(&t, &tm))
        return false;
    buf_append(out, text, strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &tm));
    if (ns) {
        int size = snprintf(text, sizeof(text), ".%09lld", ns);
        while (text[size - 1] == '0')
            size--;
        buf_append(out, text, (size_t)size);
    }
    buf_str(out, " +0000 UTC");
    return true;
}

/* "1h2m3.5s", "1.5ms", "0s": no zero units in front, the fraction as short as it is. */
void template_print_duration(struct buf *out, int64_t ns)
{
    static const struct {
        uint64_t ns;
        const char *unit;
    } small[] = {{1000000, "ms"}, {1000, "µs"}, {1, "ns"}};
    uint64_t left = ns < 0 ? -(uint64_t)ns : (uint64_t)ns;
    if (!left) {
        buf_str(out, "0s");
        return;
    }
    buf_str(out, ns < 0 ? "-" : "");
    uint64_t unit = 1000000000;
    const char *name = "s";
    for (size_t i = 0; left < 1000000000 && i < ARRAY_LEN(small); i++)
        if (left >= small[i].ns) {
            unit = small[i].ns;
            name = small[i].unit;
            break;
        }
    uint64_t seconds = left / 1000000000;
    if (seconds >= 3600)
        buf_printf(out, "%lluh", (unsigned long long)(seconds / 3600));
    if (seconds >= 60) {
        buf_printf(out, "%llum", (unsigned long long)(seconds / 60 % 60));
        left -= seconds / 60 * 60 * 1000000000;
    }
    buf_printf(out, "%llu", (unsigned long long)(left / unit));
    char rest[32];
    uint64_t fraction = left % unit * (1000000000 / unit);
    int size = snprintf(rest, sizeof(rest), ".%09llu", (unsigned long long)fraction);
    while (rest[size - 1] == '0')
        size--;
    if (size > 1)
        buf_append(out, rest, (size_t)size);
    buf_str(out, name);
}

/* --- values -------------------------------------------------------------------------------------- */

/* Methods that need no argument. */
static bool time_field(double seconds, struct bytes name, struct template_value *out)
{
    struct tm tm;
    time_t t = (time_t)floor(seconds);
    if (!gmtime_r(&t, &tm))
        return false;
    const struct {
        const char *name;
        int64_t v;
    } fields[] = {{"Unix", t},           {"UnixMilli", (int64_t)floor(seconds * 1000)},
                  {"Day", tm.tm_mday},   {"Year", tm.tm_year + INT64_C(1900)},
                  {"Hour", tm.tm_hour},  {"Minute", tm.tm_min},
                  {"Second", tm.tm_sec}, {"YearDay", tm.tm_yday + 1}};
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        if (bytes_equal_str(name, fields[i].name)) {
            *out = value_int(fields[i].v);
            return true;
        }
    return false;
}

static bool duration_field(int64_t ns, struct bytes name, struct template_value *out)
{
    static const struct {
        const char *name;
        double ns;
    } units[] = {{"Hours", 3600e9}, {"Minutes", 60e9}, {"Seconds", 1e9}};
    for (size_t i = 0; i < ARRAY_LEN(units); i++)
        if (bytes_equal_str(name, units[i].name)) {
            *out = value_float((double)ns / units[i].ns);
            return true;
        }
    if (!bytes_equal_str(name, "Milliseconds"))
        return false;
    *out = value_int(ns / 1000000);
    return true;
}

static struct template_value root_field(struct template_run *r, struct bytes name)
{
    if (bytes_equal_str(name, "Labels"))
        return r->slots[TEMPLATE_SLOT_LABELS];
    if (bytes_equal_str(name, "Value"))
        return r->slots[TEMPLATE_SLOT_VALUE];
    if (bytes_equal_str(name, "ExternalLabels"))
        return r->slots[TEMPLATE_SLOT_EXTERNAL_LABELS];
    if (bytes_equal_str(name, "ExternalURL"))
        return r->slots[TEMPLATE_SLOT_EXTERNAL_URL];
    return template_fail(r, ERR_EXECUTION,
                         "can't evaluate field " BYTES_FMT
                         "; there are .Labels, .Value, .ExternalLabels and .ExternalURL",
                         BYTES_ARG(name));
}

static struct template_value field_of(struct template_run *r, struct template_value v,
                                      struct bytes name)
{
    switch (v.kind) {
    case VALUE_ROOT: return root_field(r, name);
    case VALUE_LABELS: return value_string(tsdb_labels_get(v.labels, name));
    case VALUE_SAMPLE:
        if (bytes_equal_str(name, "Labels"))
            return value_labels(v.samples->labels);
        if (bytes_equal_str(name, "Value"))
            return value_float(v.samples->value);
        break;
    case VALUE_TIME:
    case VALUE_DURATION: {
        struct template_value got;
        if (v.kind == VALUE_TIME ? time_field(v.number, name, &got)
                                 : duration_field(v.integer, name, &got))
            return got;
        break;
    }
    case VALUE_ARGS: /* arg0, arg1, … */
        if (bytes_has_prefix(name, BYTES_LIT("arg"))) {
            uint64_t i;
            if (bytes_to_u64(bytes_slice(name, 3, name.size), &i) && i < v.count)
                return v.values[i];
        }
        return (struct template_value){.kind = VALUE_NIL};
    default: break;
    }
    return template_fail(r, ERR_EXECUTION, "can't evaluate field " BYTES_FMT " of this value",
                         BYTES_ARG(name));
}

static struct template_value run_pipeline(struct template_run *r, const struct template_pipeline *p,
                                          struct template_value dot);

static bool step(struct template_run *r)
{
    if (r->err == ERR_OK && ++r->steps > RULE_TEMPLATE_STEPS_MAX)
        template_fail(r, ERR_LIMIT, "the template does not end within %u steps",
                      RULE_TEMPLATE_STEPS_MAX);
    return r->err == ERR_OK;
}

static struct template_value term_value(struct template_run *r, const struct template_term *t,
                                        struct template_value dot)
{
    struct template_value v = {.kind = VALUE_NIL};
    if (!step(r))
        return v;
    switch (t->kind) {
    case TERM_DOT: v = dot; break;
    case TERM_VARIABLE: v = r->slots[t->variable]; break;
    case TERM_STRING: v = value_string(t->string); break;
    case TERM_INT: v = value_int(t->integer); break;
    case TERM_FLOAT: v = value_float(t->number); break;
    case TERM_BOOL: v = value_bool(t->integer); break;
    case TERM_NIL: break;
    case TERM_PIPELINE: v = run_pipeline(r, t->pipeline, dot); break;
    case TERM_FUNCTION: /* as an argument: called without any */
        if (t->function->args_min)
            return template_fail(r, ERR_EXECUTION, "wrong number of args for %s: want %u got 0",
                                 t->function->name, t->function->args_min);
        v = t->function->run(r, NULL, 0);
        break;
    }
    for (uint32_t i = 0; i < t->fields.count && r->err == ERR_OK; i++)
        v = field_of(r, v, t->fields.names[i]);
    return v;
}

/* and, or: what is not needed is not run. */
static struct template_value run_logic(struct template_run *r, const struct template_command *c,
                                       struct template_value dot, bool is_and,
                                       const struct template_value *final)
{
    struct template_value v = {.kind = VALUE_NIL};
    for (const struct template_term *t = c->terms->next; t && r->err == ERR_OK; t = t->next) {
        v = term_value(r, t, dot);
        if (template_is_true(&v) != is_and)
            return v;
    }
    return final ? *final : v;
}

static struct template_value run_command(struct template_run *r, const struct template_command *c,
                                         struct template_value dot,
                                         const struct template_value *final)
{
    const struct template_term *t = c->terms;
    struct template_value args[CALL_ARGS_MAX];
    size_t n = 0;
    if (t->kind != TERM_FUNCTION)
        return term_value(r, t, dot);
    if (!step(r))
        return (struct template_value){.kind = VALUE_NIL};
    bool is_and = strcmp(t->function->name, "and") == 0;
    struct template_value v;
    if (is_and || strcmp(t->function->name, "or") == 0) {
        v = run_logic(r, c, dot, is_and, final);
    } else {
        for (const struct template_term *arg = t->next; arg && r->err == ERR_OK; arg = arg->next) {
            if (n == CALL_ARGS_MAX - 1)
                return template_fail(r, ERR_EXECUTION, "more than %u args for %s",
                                     CALL_ARGS_MAX - 1, t->function->name);
            args[n++] = term_value(r, arg, dot);
        }
        if (final)
            args[n++] = *final;
        if (r->err != ERR_OK)
            return (struct template_value){.kind = VALUE_NIL};
        v = t->function->run(r, args, n);
    }
    for (uint32_t i = 0; i < t->fields.count && r->err == ERR_OK; i++)
        v = field_of(r, v, t->fields.names[i]);
    return v;
}

static struct template_value run_pipeline(struct template_run *r, const struct template_pipeline *p,
                                          struct template_value dot)
{
    struct template_value v = {.kind = VALUE_NIL};
    bool is_first = true;
    for (const struct template_command *c = p->commands; c && r->err == ERR_OK; c = c->next) {
        struct template_value before = v;
        v = run_command(r, c, dot, is_first ? NULL : &before);
        is_first = false;
    }
    if (p->declared_count == 1)
        r->slots[p->declared[0]] = v;
    return v;
}

/* --- nodes --------------------------------------------------------------------------------------- */

static void run_list(struct template_run *r, const struct template_node *n,
                     struct template_value dot);

static bool run_round(struct template_run *r, const struct template_node *n,
                      struct template_value key, struct template_value item)
{
    const struct template_pipeline *p = n->pipeline;
    if (p->declared_count == 2)
        r->slots[p->declared[0]] = key;
    if (p->declared_count)
        r->slots[p->declared[p->declared_count - 1]] = item;
    run_list(r, n->body, item);
    bool goes_on = !r->is_breaking && r->err == ERR_OK;
    r->is_breaking = r->is_continuing = false;
    return goes_on && step(r);
}

static void run_range(struct template_run *r, const struct template_node *n,
                      struct template_value dot)
{
    struct template_value over = run_pipeline(r, n->pipeline, dot);
    if (r->err != ERR_OK)
        return;
    size_t rounds = 0;
    if (over.kind == VALUE_VECTOR) {
        for (bool goes_on = true; goes_on && rounds < over.count; rounds++)
            goes_on = run_round(
                r, n, value_int((int64_t)rounds),
                (struct template_value){.kind = VALUE_SAMPLE, .samples = &over.samples[rounds]});
    } else if (over.kind == VALUE_LABELS) {
        struct tsdb_labels_iter it = tsdb_labels_begin(over.labels);
        struct tsdb_label l;
        for (bool goes_on = true; goes_on && tsdb_labels_next(&it, &l); rounds++)
            goes_on = run_round(r, n, value_string(l.name), value_string(l.value));
    } else if (over.kind == VALUE_INT) {
        for (bool goes_on = true; goes_on && (int64_t)rounds < over.integer; rounds++)
            goes_on = run_round(r, n, value_int((int64_t)rounds), value_int((int64_t)rounds));
    } else if (over.kind != VALUE_NIL) {
        template_fail(r, ERR_EXECUTION, "range can't iterate over this value");
    }
    if (!rounds)
        run_list(r, n->otherwise, dot);
}

void template_call(struct template_run *r, struct bytes name, struct template_value data)
{
    const struct template_named *t = r->template->named;
    struct template_value before[RULE_TEMPLATE_VARIABLES_MAX];
    while (t && !bytes_equal(t->name, name))
        t = t->next;
    if (!t) {
        template_fail(r, ERR_EXECUTION, "template \"%.100s\" not defined",
                      (const char *)arena_printf(r->arena, BYTES_FMT, BYTES_ARG(name)).data);
        return;
    }
    if (++r->depth > RULE_TEMPLATE_DEPTH_MAX) {
        template_fail(r, ERR_LIMIT, "templates call each other more than %u times",
                      RULE_TEMPLATE_DEPTH_MAX);
        return;
    }
    /* Its variables are its own. */
    memcpy(before, r->slots, sizeof(before));
    r->slots[TEMPLATE_SLOT_ROOT] = data;
    run_list(r, t->first, data);
    memcpy(r->slots, before, sizeof(before));
    r->depth--;
}

static void run_node(struct template_run *r, const struct template_node *n,
                     struct template_value dot)
{
    struct template_value v;
    switch (n->kind) {
    case TEMPLATE_TEXT: buf_bytes_append(&r->out, n->text); return;
    case TEMPLATE_ACTION:
        v = run_pipeline(r, n->pipeline, dot);
        if (r->err == ERR_OK && !n->pipeline->is_declaration)
            template_print(&r->out, &v);
        return;
    case TEMPLATE_IF:
    case TEMPLATE_WITH:
        v = run_pipeline(r, n->pipeline, dot);
        if (r->err != ERR_OK)
            return;
        if (template_is_true(&v))
            run_list(r, n->body, n->kind == TEMPLATE_WITH ? v : dot);
        else
            run_list(r, n->otherwise, dot);
        return;
    case TEMPLATE_RANGE: run_range(r, n, dot); return;
    case TEMPLATE_BREAK: r->is_breaking = true; return;
    case TEMPLATE_CONTINUE: r->is_continuing = true; return;
    case TEMPLATE_CALL:
        v = (struct template_value){.kind = VALUE_NIL};
        if (n->pipeline)
            v = run_pipeline(r, n->pipeline, dot);
        if (r->err == ERR_OK)
            template_call(r, n->text, v);
        return;
    }
}

static void run_list(struct template_run *r, const struct template_node *n,
                     struct template_value dot)
{
    for (; n && !r->is_breaking && !r->is_continuing && step(r); n = n->next) {
        run_node(r, n, dot);
        if (!buf_ok(&r->out))
            template_fail(r, ERR_LIMIT, "the text is longer than %u bytes",
                          RULE_TEMPLATE_OUTPUT_MAX);
    }
}

enum err rule_template_expand(const struct rule_template *t, const struct rule_template_data *d,
                              struct arena *a, struct bytes *out, struct err_msg *msg)
{
    if (rule_template_is_text(t) &&
        (!t->first || t->first->text.size <= RULE_TEMPLATE_OUTPUT_MAX)) {
        *out = t->first ? t->first->text : BYTES_NONE;
        return ERR_OK;
    }
    struct template_run *r = calloc(1, sizeof(*r));
    if (!r)
        return err_set(msg, ERR_NOMEM, "out of memory");
    r->template = t;
    r->data = d;
    r->arena = a;
    r->msg = msg;
    struct template_value root = {.kind = VALUE_ROOT};
    r->slots[TEMPLATE_SLOT_ROOT] = root;
    r->slots[TEMPLATE_SLOT_LABELS] = value_labels(d->labels);
    r->slots[TEMPLATE_SLOT_EXTERNAL_LABELS] = value_labels(d->external_labels);
    r->slots[TEMPLATE_SLOT_EXTERNAL_URL] = value_string(bytes_str(d->external_url));
    r->slots[TEMPLATE_SLOT_VALUE] =
        d->value_text.size ? value_string(d->value_text) : value_float(d->value);
    buf_init(&r->out, RULE_TEMPLATE_OUTPUT_MAX);
    run_list(r, t->first, root);
    enum err e = r->err;
    if (e == ERR_OK) {
        *out = arena_copy(a, buf_bytes(&r->out));
        e = out->data || !r->out.size ? ERR_OK : err_set(msg, ERR_LIMIT, "out of memory");
    }
    buf_done(&r->out);
    free(r);
    return e;
}
