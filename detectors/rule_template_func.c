/* The functions that templates know: Go's own, and Prometheus'. */
#include "base/check.h"
#include "base/clock.h"
#include "detectors/rule_template_core.h"
#include "query/query_text.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

typedef struct template_value value;

/* --- numbers ------------------------------------------------------------------------------------- */

static bool to_float(struct template_run *r, const value *v, double *out)
{
    switch (v->kind) {
    case VALUE_FLOAT: *out = v->number; return true;
    case VALUE_INT: *out = (double)v->integer; return true;
    case VALUE_STRING:
        if (bytes_to_f64(v->string, out))
            return true;
        template_fail(r, ERR_EXECUTION,
                      "strconv.ParseFloat: parsing \"" BYTES_FMT "\": invalid syntax",
                      BYTES_ARG(v->string));
        return false;
    default: template_fail(r, ERR_EXECUTION, "can't convert this value to float"); return false;
    }
}

static value taken(struct template_run *r, struct buf *b);

static value text_value(struct template_run *r, const char *text)
{
    struct bytes b = arena_copy(r->arena, bytes_str(text));
    return b.data || !*text ? value_string(b) : template_fail(r, ERR_LIMIT, "out of memory");
}

/* %.4g with Go's words for what is no number. */
static value short_number(struct template_run *r, const char *sign, double v, const char *unit)
{
    char text[64];
    if (isnan(v) || isinf(v))
        snprintf(text, sizeof(text), "%s%s%s", sign,
                 isnan(v) ? "NaN"
                 : v > 0  ? "+Inf"
                          : "-Inf",
                 unit);
    else
        snprintf(text, sizeof(text), "%s%.4g%s", sign, v, unit);
    return text_value(r, text);
}

static double scale_up(double v, double by, const char *const *names, size_t n, const char **out)
{
    *out = "";
    for (size_t i = 0; i < n && fabs(v) >= by; i++) {
        *out = names[i];
        v /= by;
    }
    return v;
}

static double scale_down(double v, const char **out)
{
    static const char *const names[] = {"m", "u", "n", "p", "f", "a", "z", "y"};
    *out = "";
    for (size_t i = 0; i < ARRAY_LEN(names) && fabs(v) < 1; i++) {
        *out = names[i];
        v *= 1000;
    }
    return v;
}

static value humanize(struct template_run *r, const value *args, size_t n)
{
    static const char *const names[] = {"k", "M", "G", "T", "P", "E", "Z", "Y"};
    const char *unit = "";
    double v;
    if (!to_float(r, &args[0], &v))
        return (value){.kind = VALUE_NIL};
    if (v != 0 && isfinite(v))
        v = fabs(v) >= 1 ? scale_up(v, 1000, names, ARRAY_LEN(names), &unit) : scale_down(v, &unit);
    return short_number(r, "", v, unit);
}

static value humanize_1024(struct template_run *r, const value *args, size_t n)
{
    static const char *const names[] = {"ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"};
    const char *unit = "";
    double v;
    if (!to_float(r, &args[0], &v))
        return (value){.kind = VALUE_NIL};
    if (fabs(v) > 1 && isfinite(v))
        v = scale_up(v, 1024, names, ARRAY_LEN(names), &unit);
    return short_number(r, "", v, unit);
}

static value humanize_duration(struct template_run *r, const value *args, size_t n)
{
    char text[96], unit[4];
    const char *prefix;
    double v;
    if (!to_float(r, &args[0], &v))
        return (value){.kind = VALUE_NIL};
    if (!isfinite(v))
        return short_number(r, "", v, "");
    if (v == 0)
        return short_number(r, "", v, "s");
    if (fabs(v) < 1) {
        v = scale_down(v, &prefix);
        snprintf(unit, sizeof(unit), "%ss", prefix);
        return short_number(r, "", v, unit);
    }
    const char *sign = v < 0 ? "-" : "";
    v = fabs(v);
    long long d = v < 9e18 ? (long long)v : INT64_MAX;
    long long s = d % 60, m = d / 60 % 60, h = d / 3600 % 24, days = d / 86400;
    if (days)
        snprintf(text, sizeof(text), "%s%lldd %lldh %lldm %llds", sign, days, h, m, s);
    else if (h)
        snprintf(text, sizeof(text), "%s%lldh %lldm %llds", sign, h, m, s);
    else if (m)
        snprintf(text, sizeof(text), "%s%lldm %llds", sign, m, s);
    else
        return short_number(r, sign, v, "s");
    return text_value(r, text);
}

static value humanize_percentage(struct template_run *r, const value *args, size_t n)
{
    double v;
    return to_float(r, &args[0], &v) ? short_number(r, "", v * 100, "%")
                                     : (value){.kind = VALUE_NIL};
}

static value humanize_timestamp(struct template_run *r, const value *args, size_t n)
{
    struct buf text;
    double v;
    if (!to_float(r, &args[0], &v))
        return (value){.kind = VALUE_NIL};
    if (!isfinite(v))
        return short_number(r, "", v, "");
    buf_init(&text, 128);
    if (template_print_time(&text, v))
        return taken(r, &text);
    buf_done(&text);
    return template_fail(r, ERR_EXECUTION, "%g cannot be represented as a time", v);
}

static value to_time(struct template_run *r, const value *args, size_t n)
{
    struct buf text;
    double v;
    if (!to_float(r, &args[0], &v))
        return (value){.kind = VALUE_NIL};
    buf_init(&text, 128);
    bool has_calendar = template_print_time(&text, v);
    buf_done(&text);
    return has_calendar ? (value){.kind = VALUE_TIME, .number = v}
                        : template_fail(r, ERR_EXECUTION, "%g cannot be represented as a time", v);
}

static value to_duration(struct template_run *r, const value *args, size_t n)
{
    double v;
    if (!to_float(r, &args[0], &v))
        return (value){.kind = VALUE_NIL};
    if (!(fabs(v) < 9e9)) /* what nanoseconds in 64 bits reach */
        return template_fail(r, ERR_EXECUTION, "%g cannot be represented as a duration", v);
    return (value){.kind = VALUE_DURATION, .integer = llround(v * 1e9)};
}

static value parse_duration(struct template_run *r, const value *args, size_t n)
{
    char text[64];
    int64_t ms;
    if (args[0].kind == VALUE_STRING && args[0].string.size < sizeof(text)) {
        snprintf(text, sizeof(text), BYTES_FMT, BYTES_ARG(args[0].string));
        if (clock_parse_duration_ms(text, &ms))
            return value_float((double)ms / 1000);
    }
    return template_fail(r, ERR_EXECUTION, "parseDuration: not a valid duration");
}

static value now(struct template_run *r, const value *args, size_t n)
{
    return value_float((double)r->data->at_ms / 1000);
}

/* --- texts --------------------------------------------------------------------------------------- */

static bool is_text(struct template_run *r, const char *name, const value *args, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (args[i].kind != VALUE_STRING) {
            template_fail(r, ERR_EXECUTION, "wrong type for value; expected string in %s", name);
            return false;
        }
    return true;
}

static value map_text(struct template_run *r, const value *v, const char *name,
                      uint8_t (*map)(uint8_t before, uint8_t c))
{
    if (!is_text(r, name, v, 1))
        return (value){.kind = VALUE_NIL};
    uint8_t *out = arena_alloc_raw(r->arena, v->string.size + 1, 1);
    if (!out)
        return template_fail(r, ERR_LIMIT, "out of memory");
    for (size_t i = 0; i < v->string.size; i++)
        out[i] = map(i ? v->string.data[i - 1] : ' ', v->string.data[i]);
    return value_string(bytes_of(out, v->string.size));
}

static uint8_t upper(uint8_t before, uint8_t c)
{
    return c >= 'a' && c <= 'z' ? (uint8_t)(c - 32) : c;
}

static uint8_t lower(uint8_t before, uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}

static uint8_t titled(uint8_t before, uint8_t c)
{
    bool is_inside = isalnum(before) || before == '_' || before == '\'' || before >= 0x80;
    return is_inside ? c : upper(before, c);
}

static value to_upper(struct template_run *r, const value *args, size_t n)
{
    return map_text(r, args, "toUpper", upper);
}

static value to_lower(struct template_run *r, const value *args, size_t n)
{
    return map_text(r, args, "toLower", lower);
}

static value title(struct template_run *r, const value *args, size_t n)
{
    return map_text(r, args, "title", titled);
}

static value same(struct template_run *r, const value *args, size_t n)
{
    return args[0];
}

static value match(struct template_run *r, const value *args, size_t n)
{
    struct err_msg msg;
    bool yes = false;
    if (!is_text(r, "match", args, 2))
        return (value){.kind = VALUE_NIL};
    return query_text_match(args[0].string, args[1].string, &yes, &msg) == ERR_OK
               ? value_bool(yes)
               : template_fail(r, ERR_EXECUTION, "match: %s", msg.text);
}

static value replace_all(struct template_run *r, const value *args, size_t n)
{
    struct err_msg msg;
    struct bytes out;
    if (!is_text(r, "reReplaceAll", args, 3))
        return (value){.kind = VALUE_NIL};
    return query_text_replace(args[0].string, args[2].string, args[1].string, r->arena, &out,
                              &msg) == ERR_OK
               ? value_string(out)
               : template_fail(r, ERR_EXECUTION, "reReplaceAll: %s", msg.text);
}

static void escape_query(struct buf *out, struct bytes s)
{
    for (size_t i = 0; i < s.size; i++) {
        uint8_t c = s.data[i];
        if (isalnum(c) || c == '-' || c == '_' || c == '.' || c == '~')
            buf_u8(out, c);
        else if (c == ' ')
            buf_u8(out, '+');
        else
            buf_printf(out, "%%%02X", c);
    }
}

static value taken(struct template_run *r, struct buf *b)
{
    struct bytes text = arena_copy(r->arena, buf_bytes(b));
    bool ok = buf_ok(b) && (text.data || !b->size);
    buf_done(b);
    return ok ? value_string(text) : template_fail(r, ERR_LIMIT, "a text is too long");
}

static value url_query(struct template_run *r, const value *args, size_t n)
{
    struct buf b, plain;
    buf_init(&b, RULE_TEMPLATE_OUTPUT_MAX * 4);
    buf_init(&plain, RULE_TEMPLATE_OUTPUT_MAX);
    for (size_t i = 0; i < n; i++)
        template_print(&plain, &args[i]);
    escape_query(&b, buf_bytes(&plain));
    buf_done(&plain);
    return taken(r, &b);
}

static value html(struct template_run *r, const value *args, size_t n)
{
    static const char from[] = "<>&\"'";
    static const char *const to[] = {"&lt;", "&gt;", "&amp;", "&#34;", "&#39;"};
    struct buf b, plain;
    buf_init(&b, RULE_TEMPLATE_OUTPUT_MAX * 4);
    buf_init(&plain, RULE_TEMPLATE_OUTPUT_MAX);
    for (size_t i = 0; i < n; i++)
        template_print(&plain, &args[i]);
    for (size_t i = 0; i < plain.size; i++) {
        const char *at = plain.data[i] ? strchr(from, plain.data[i]) : NULL;
        if (at)
            buf_str(&b, to[at - from]);
        else
            buf_u8(&b, plain.data[i]);
    }
    buf_done(&plain);
    return taken(r, &b);
}

static value graph_or_table(struct template_run *r, const value *args, const char *tab)
{
    struct buf b;
    if (!is_text(r, tab, args, 1))
        return (value){.kind = VALUE_NIL};
    buf_init(&b, RULE_TEMPLATE_OUTPUT_MAX * 4);
    buf_str(&b, "/graph?g0.expr=");
    escape_query(&b, args[0].string);
    buf_printf(&b, "&g0.tab=%s", tab);
    return taken(r, &b);
}

static value graph_link(struct template_run *r, const value *args, size_t n)
{
    return graph_or_table(r, args, "0");
}

static value table_link(struct template_run *r, const value *args, size_t n)
{
    return graph_or_table(r, args, "1");
}

/* "host:port" -> host; "[::1]:80" -> ::1. What has no port stays. */
static value strip_port(struct template_run *r, const value *args, size_t n)
{
    if (!is_text(r, "stripPort", args, 1))
        return (value){.kind = VALUE_NIL};
    struct bytes s = args[0].string;
    size_t colon = s.size;
    while (colon && s.data[colon - 1] != ':')
        colon--;
    if (!colon)
        return args[0];
    struct bytes host = bytes_slice(s, 0, colon - 1);
    if (host.size > 1 && host.data[0] == '[' && host.data[host.size - 1] == ']')
        return value_string(bytes_slice(host, 1, host.size - 1));
    return host.size && memchr(host.data, ':', host.size) ? args[0] : value_string(host);
}

/* "host.example.org:80" -> "host:80". */
static value strip_domain(struct template_run *r, const value *args, size_t n)
{
    if (!is_text(r, "stripDomain", args, 1))
        return (value){.kind = VALUE_NIL};
    struct bytes s = args[0].string;
    size_t dot = bytes_find(s, BYTES_LIT(".")), colon = bytes_find(s, BYTES_LIT(":"));
    bool is_address = true;
    for (size_t i = 0; i < MIN(colon, s.size); i++)
        is_address = is_address && (isdigit(s.data[i]) || s.data[i] == '.');
    if (is_address || dot >= colon || (s.size && s.data[0] == '['))
        return args[0];
    struct buf b;
    buf_init(&b, RULE_TEMPLATE_OUTPUT_MAX);
    buf_bytes_append(&b, bytes_slice(s, 0, dot));
    buf_bytes_append(&b, bytes_slice(s, colon, s.size));
    return taken(r, &b);
}

static value external_url(struct template_run *r, const value *args, size_t n)
{
    return value_string(bytes_str(r->data->external_url));
}

static value path_prefix(struct template_run *r, const value *args, size_t n)
{
    struct bytes url = bytes_str(r->data->external_url);
    size_t host = bytes_find(url, BYTES_LIT("://"));
    struct bytes rest = bytes_slice(url, MIN(host + 3, url.size), url.size);
    return value_string(bytes_slice(rest, bytes_find(rest, BYTES_LIT("/")), rest.size));
}

/* --- printing ------------------------------------------------------------------------------------ */

/* Go puts a blank between operands of which neither is a text; println always. */
static value print_all(struct template_run *r, const value *args, size_t n, bool is_line)
{
    struct buf b;
    buf_init(&b, RULE_TEMPLATE_OUTPUT_MAX);
    for (size_t i = 0; i < n; i++) {
        if (i && (is_line || (args[i].kind != VALUE_STRING && args[i - 1].kind != VALUE_STRING)))
            buf_u8(&b, ' ');
        if (args[i].kind == VALUE_NIL)
            buf_str(&b, "<nil>");
        else
            template_print(&b, &args[i]);
    }
    if (is_line)
        buf_u8(&b, '\n');
    return taken(r, &b);
}

static value print(struct template_run *r, const value *args, size_t n)
{
    return print_all(r, args, n, false);
}

static value print_line(struct template_run *r, const value *args, size_t n)
{
    return print_all(r, args, n, true);
}

/* --- logic --------------------------------------------------------------------------------------- */

static value negated(struct template_run *r, const value *args, size_t n)
{
    return value_bool(!template_is_true(&args[0]));
}

/* 0, negative or positive; as in Go only values of one kind can be compared. NaN: nothing holds. */
static bool compare(struct template_run *r, const value *a, const value *b, int *out, bool *out_nan)
{
    *out_nan = false;
    if (a->kind != b->kind || a->kind == VALUE_NIL || a->kind > VALUE_STRING) {
        template_fail(r, ERR_EXECUTION, "incompatible types for comparison");
        return false;
    }
    switch (a->kind) {
    case VALUE_BOOL: *out = a->boolean - b->boolean; break;
    case VALUE_INT: *out = (a->integer > b->integer) - (a->integer < b->integer); break;
    case VALUE_FLOAT:
        *out = (a->number > b->number) - (a->number < b->number);
        *out_nan = isnan(a->number) || isnan(b->number);
        break;
    default: *out = bytes_compare(a->string, b->string);
    }
    return true;
}

static value equal(struct template_run *r, const value *args, size_t n)
{
    int c;
    bool is_nan;
    for (size_t i = 1; i < n; i++)
        if (!compare(r, &args[0], &args[i], &c, &is_nan))
            return (value){.kind = VALUE_NIL};
        else if (c == 0 && !is_nan)
            return value_bool(true);
    return value_bool(false);
}

static value not_equal(struct template_run *r, const value *args, size_t n)
{
    value v = equal(r, args, n);
    return value_bool(!v.boolean);
}

static value ordered(struct template_run *r, const value *args, bool less, bool or_equal)
{
    int c;
    bool is_nan;
    if (args[0].kind == VALUE_BOOL)
        return template_fail(r, ERR_EXECUTION, "invalid type for comparison");
    if (!compare(r, &args[0], &args[1], &c, &is_nan))
        return (value){.kind = VALUE_NIL};
    return value_bool(!is_nan && ((less ? c < 0 : c > 0) || (or_equal && c == 0)));
}

static value less(struct template_run *r, const value *args, size_t n)
{
    return ordered(r, args, true, false);
}
static value less_or_equal(struct template_run *r, const value *args, size_t n)
{
    return ordered(r, args, true, true);
}
static value greater(struct template_run *r, const value *args, size_t n)
{
    return ordered(r, args, false, false);
}
static value greater_or_equal(struct template_run *r, const value *args, size_t n)
{
    return ordered(r, args, false, true);
}

static value length(struct template_run *r, const value *args, size_t n)
{
    switch (args[0].kind) {
    case VALUE_STRING: return value_int((int64_t)args[0].string.size);
    case VALUE_LABELS: return value_int((int64_t)tsdb_labels_count(args[0].labels));
    case VALUE_VECTOR:
    case VALUE_ARGS: return value_int((int64_t)args[0].count);
    default: return template_fail(r, ERR_EXECUTION, "len of this value is not known");
    }
}

static value element(struct template_run *r, const value *args, size_t n)
{
    if (n == 1)
        return args[0];
    if (args[0].kind == VALUE_LABELS && args[1].kind == VALUE_STRING && n == 2)
        return value_string(tsdb_labels_get(args[0].labels, args[1].string));
    if (args[0].kind != VALUE_VECTOR || args[1].kind != VALUE_INT || n != 2)
        return template_fail(r, ERR_EXECUTION, "index: this value has no such elements");
    if (args[1].integer < 0 || (size_t)args[1].integer >= args[0].count)
        return template_fail(r, ERR_EXECUTION, "index out of range: %lld",
                             (long long)args[1].integer);
    return (value){.kind = VALUE_SAMPLE, .samples = &args[0].samples[args[1].integer]};
}

static value arguments(struct template_run *r, const value *args, size_t n)
{
    value *copy = ARENA_ARRAY(r->arena, value, n + 1);
    if (!copy)
        return template_fail(r, ERR_LIMIT, "out of memory");
    for (size_t i = 0; i < n; i++)
        copy[i] = args[i];
    return (value){.kind = VALUE_ARGS, .values = copy, .count = n};
}

/* --- queries ------------------------------------------------------------------------------------- */

static value query(struct template_run *r, const value *args, size_t n)
{
    struct query_result q;
    struct err_msg msg = {""};
    if (!is_text(r, "query", args, 1))
        return (value){.kind = VALUE_NIL};
    if (!r->data->query)
        return template_fail(r, ERR_EXECUTION, "query: nothing can be asked here");
    r->steps += RULE_TEMPLATE_STEPS_MAX / 100; /* a hundred queries are enough */
    enum err e = r->data->query(r->data->ctx, args[0].string, r->data->at_ms, r->arena, &q, &msg);
    if (e != ERR_OK)
        return template_fail(r, ERR_EXECUTION, "query: %.200s",
                             msg.text[0] ? msg.text : err_text(e));
    if (q.type != QUERY_VECTOR && q.type != QUERY_SCALAR)
        return template_fail(r, ERR_EXECUTION, "query: result is not a vector or scalar");
    struct template_sample *list = ARENA_ARRAY(r->arena, struct template_sample, q.count + 1);
    if (!list)
        return template_fail(r, ERR_LIMIT, "query: out of memory");
    size_t k = 0;
    for (size_t i = 0; i < q.count; i++)
        if (q.rows[i].count)
            list[k++] = (struct template_sample){q.rows[i].labels, q.rows[i].value[0]};
    return (value){.kind = VALUE_VECTOR, .samples = list, .count = k};
}

static value first(struct template_run *r, const value *args, size_t n)
{
    if (args[0].kind != VALUE_VECTOR || !args[0].count)
        return template_fail(r, ERR_EXECUTION, "first() called on vector with no elements");
    return (value){.kind = VALUE_SAMPLE, .samples = args[0].samples};
}

static value label(struct template_run *r, const value *args, size_t n)
{
    if (args[0].kind != VALUE_STRING || args[1].kind != VALUE_SAMPLE)
        return template_fail(r, ERR_EXECUTION, "label wants a name and a sample");
    return value_string(tsdb_labels_get(args[1].samples->labels, args[0].string));
}

static value sample_value(struct template_run *r, const value *args, size_t n)
{
    return args[0].kind == VALUE_SAMPLE ? value_float(args[0].samples->value)
                                        : template_fail(r, ERR_EXECUTION, "value wants a sample");
}

static value string_value(struct template_run *r, const value *args, size_t n)
{
    return args[0].kind == VALUE_SAMPLE
               ? value_string(tsdb_labels_get(args[0].samples->labels, BYTES_LIT("__value__")))
               : template_fail(r, ERR_EXECUTION, "strvalue wants a sample");
}

static int by_label(const void *a, const void *b, void *name)
{
    const struct template_sample *x = a, *y = b;
    return bytes_compare(tsdb_labels_get(x->labels, *(struct bytes *)name),
                         tsdb_labels_get(y->labels, *(struct bytes *)name));
}

static value sort_by_label(struct template_run *r, const value *args, size_t n)
{
    if (args[0].kind != VALUE_STRING || args[1].kind != VALUE_VECTOR)
        return template_fail(r, ERR_EXECUTION, "sortByLabel wants a label and a result of query");
    size_t count = args[1].count;
    struct template_sample *list = ARENA_ARRAY(r->arena, struct template_sample, count + 1);
    if (!list)
        return template_fail(r, ERR_LIMIT, "out of memory");
    if (count)
        memcpy(list, args[1].samples, count * sizeof(*list));
    struct bytes name = args[0].string;
    qsort_r(list, count, sizeof(*list), by_label, &name);
    return (value){.kind = VALUE_VECTOR, .samples = list, .count = count};
}

/* --- templates ----------------------------------------------------------------------------------- */

static value tmpl(struct template_run *r, const value *args, size_t n)
{
    struct buf before = r->out;
    if (!is_text(r, "tmpl", args, 1))
        return (value){.kind = VALUE_NIL};
    buf_init(&r->out, RULE_TEMPLATE_OUTPUT_MAX);
    template_call(r, args[0].string, args[1]);
    struct buf text = r->out;
    r->out = before;
    return taken(r, &text);
}

/* --- the table ----------------------------------------------------------------------------------- */

static value logic(struct template_run *r, const value *args, size_t n)
{
    return args[n - 1]; /* and, or: the interpreter runs them itself */
}

#define MANY UINT8_MAX

static const struct template_function functions[] = {
    {"and", 1, MANY, logic},
    {"or", 1, MANY, logic},
    {"not", 1, 1, negated},
    {"eq", 2, MANY, equal},
    {"ne", 2, 2, not_equal},
    {"lt", 2, 2, less},
    {"le", 2, 2, less_or_equal},
    {"gt", 2, 2, greater},
    {"ge", 2, 2, greater_or_equal},
    {"len", 1, 1, length},
    {"index", 1, MANY, element},
    {"print", 0, MANY, print},
    {"println", 0, MANY, print_line},
    {"printf", 1, MANY, template_printf},
    {"urlquery", 0, MANY, url_query},
    {"html", 0, MANY, html},
    {"args", 0, MANY, arguments},
    {"query", 1, 1, query},
    {"first", 1, 1, first},
    {"label", 2, 2, label},
    {"value", 1, 1, sample_value},
    {"strvalue", 1, 1, string_value},
    {"sortByLabel", 2, 2, sort_by_label},
    {"tmpl", 2, 2, tmpl},
    {"humanize", 1, 1, humanize},
    {"humanize1024", 1, 1, humanize_1024},
    {"humanizeDuration", 1, 1, humanize_duration},
    {"humanizePercentage", 1, 1, humanize_percentage},
    {"humanizeTimestamp", 1, 1, humanize_timestamp},
    {"toTime", 1, 1, to_time},
    {"toDuration", 1, 1, to_duration},
    {"parseDuration", 1, 1, parse_duration},
    {"now", 0, 0, now},
    {"title", 1, 1, title},
    {"toUpper", 1, 1, to_upper},
    {"toLower", 1, 1, to_lower},
    {"safeHtml", 1, 1, same},
    {"match", 2, 2, match},
    {"reReplaceAll", 3, 3, replace_all},
    {"graphLink", 1, 1, graph_link},
    {"tableLink", 1, 1, table_link},
    {"stripPort", 1, 1, strip_port},
    {"stripDomain", 1, 1, strip_domain},
    {"externalURL", 0, 0, external_url},
    {"pathPrefix", 0, 0, path_prefix},
};

const struct template_function *template_function_find(struct bytes name)
{
    for (size_t i = 0; i < ARRAY_LEN(functions); i++)
        if (bytes_equal_str(name, functions[i].name))
            return &functions[i];
    return NULL;
}
