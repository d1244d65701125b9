/* Inside of templates: nodes, values and functions, shared by the parser, the interpreter and the functions.
 *
 * Owner: the template's arena (nodes), the expansion's arena (values).  Thread: as rule_template.h.
 * Failure: template_fail sets the first error; everything after gives nil.
 */
#ifndef DETECTORS_RULE_TEMPLATE_CORE_H
#define DETECTORS_RULE_TEMPLATE_CORE_H

#include "base/buf.h"
#include "detectors/rule_template.h"

/* --- what is written ----------------------------------------------------------------------------- */

enum template_node_kind {
    TEMPLATE_TEXT,
    TEMPLATE_ACTION, /* a pipeline whose value is printed, or that declares */
    TEMPLATE_IF,
    TEMPLATE_WITH,
    TEMPLATE_RANGE,
    TEMPLATE_BREAK,
    TEMPLATE_CONTINUE,
    TEMPLATE_CALL /* {{template "text" pipeline}}; the pipeline may be NULL: nil */
};

enum template_term_kind {
    TERM_DOT,
    TERM_VARIABLE,
    TERM_FUNCTION,
    TERM_STRING,
    TERM_INT,
    TERM_FLOAT,
    TERM_BOOL,
    TERM_NIL,
    TERM_PIPELINE
};

struct template_function;
struct template_pipeline;

struct template_fields { /* .A.B */
    const struct bytes *names;
    uint32_t count;
};

struct template_term {
    enum template_term_kind kind;
    uint32_t variable; /* slot */
    const struct template_function *function;
    struct bytes string;
    int64_t integer;
    double number;
    const struct template_pipeline *pipeline;
    struct template_fields fields;
    struct template_term *next;
};

struct template_command { /* term, its arguments */
    struct template_term *terms;
    uint32_t count;
    struct template_command *next;
};

struct template_pipeline {
    uint32_t declared[2]; /* slots */
    uint32_t declared_count;
    bool is_declaration; /* := or =; its value is not printed */
    struct template_command *commands;
    uint32_t pos;
};

struct template_node {
    enum template_node_kind kind;
    struct bytes text;
    const struct template_pipeline *pipeline;
    struct template_node *body, *otherwise;
    struct template_node *next;
};

struct template_named { /* {{define "name"}} */
    struct bytes name;
    struct template_node *first;
    struct template_named *next;
};

struct rule_template {
    struct bytes text;
    struct template_node *first;
    struct template_named *named;
};

/* Slots that every template has. */
enum {
    TEMPLATE_SLOT_ROOT,
    TEMPLATE_SLOT_LABELS,
    TEMPLATE_SLOT_EXTERNAL_LABELS,
    TEMPLATE_SLOT_EXTERNAL_URL,
    TEMPLATE_SLOT_VALUE,
    TEMPLATE_SLOT_FREE
};

/* --- what there is while it runs ----------------------------------------------------------------- */

enum template_value_kind {
    VALUE_NIL,
    VALUE_BOOL,
    VALUE_INT,
    VALUE_FLOAT,
    VALUE_STRING,
    VALUE_LABELS,
    VALUE_SAMPLE,
    VALUE_VECTOR,
    VALUE_TIME, /* number: seconds since 1970 */
    VALUE_DURATION, /* integer: ns */
    VALUE_ARGS, /* what args made: arg0, arg1, … */
    VALUE_ROOT
};

struct template_sample {
    struct tsdb_labels labels;
    double value;
};

struct template_value {
    enum template_value_kind kind;
    bool boolean;
    int64_t integer;
    double number;
    struct bytes string;
    struct tsdb_labels labels;
    const struct template_sample *samples; /* one, or count */
    const struct template_value *values; /* of args */
    size_t count;
};

struct template_run {
    const struct rule_template *template;
    const struct rule_template_data *data;
    struct arena *arena;
    struct err_msg *msg;
    enum err err;
    uint32_t steps, depth;
    bool is_breaking, is_continuing;
    struct template_value slots[RULE_TEMPLATE_VARIABLES_MAX];
    struct buf out;
};

struct template_function {
    const char *name;
    uint8_t args_min, args_max; /* UINT8_MAX: any number */
    struct template_value (*run)(struct template_run *r, const struct template_value *args,
                                 size_t n);
};
const struct template_function *template_function_find(struct bytes name);

struct template_value template_fail(struct template_run *r, enum err e, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
bool template_is_true(const struct template_value *v);
/* Go's %v: to print a value, and to show one in printf. */
void template_print(struct buf *out, const struct template_value *v);
void template_print_float(struct buf *out, double v);
/* Go's time.Time and time.Duration; false: the calendar has no such time. */
bool template_print_time(struct buf *out, double seconds);
void template_print_duration(struct buf *out, int64_t ns);
/* Runs the template of that name with data as its dot; what it gives goes to r->out. */
void template_call(struct template_run *r, struct bytes name, struct template_value data);

static inline struct template_value value_string(struct bytes s)
{
    return (struct template_value){.kind = VALUE_STRING, .string = s};
}
static inline struct template_value value_float(double v)
{
    return (struct template_value){.kind = VALUE_FLOAT, .number = v};
}
static inline struct template_value value_bool(bool v)
{
    return (struct template_value){.kind = VALUE_BOOL, .boolean = v};
}
static inline struct template_value value_int(int64_t v)
{
    return (struct template_value){.kind = VALUE_INT, .integer = v};
}
static inline struct template_value value_labels(struct tsdb_labels l)
{
    return (struct template_value){.kind = VALUE_LABELS, .labels = l};
}

/* rule_template_printf.c */
struct template_value template_printf(struct template_run *r, const struct template_value *args,
                                      size_t n);

#endif
