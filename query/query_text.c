#include "query/query_text.h"

#include "base/check.h"
#include "query/promql_lex.h"
#include "query/regex_re2.h"

#include <stdlib.h>

#define STALE_BITS UINT64_C(0x7ff0000000000002)

enum err query_text_match(struct bytes pattern, struct bytes text, bool *out, struct err_msg *msg)
{
    return regex_re2_search(pattern, text, out, msg) ? ERR_OK : ERR_INVALID;
}

enum err query_text_replace(struct bytes pattern, struct bytes text, struct bytes with,
                            struct arena *a, struct bytes *out, struct err_msg *msg)
{
    return regex_re2_replace_all(pattern, text, with, QUERY_TEXT_REPLACED_MAX, a, out, msg);
}

/* --- labels -------------------------------------------------------------------------------------- */

static enum err bad_labels(struct err_msg *msg, uint32_t pos, const char *want)
{
    return err_set(msg, ERR_INVALID, "a series is name{label=\"value\",…}: %s is wanted at byte %u",
                   want, pos + 1);
}

/* One `label = "value"`, or a quoted metric name. */
static enum err read_pair(struct lexer *l, struct token t, struct arena *a, struct tsdb_label *out,
                          struct err_msg *msg)
{
    const char *why;
    bool is_quoted = t.kind == TOKEN_STRING;
    out->name = t.text;
    if (is_quoted && !lexer_unquote(t.text, a, &out->name, &why))
        return err_set(msg, ERR_INVALID, "%s", why);
    if (!is_quoted && t.kind != TOKEN_IDENTIFIER)
        return bad_labels(msg, t.pos, "a label's name");
    struct lexer ahead = *l;
    struct token next = lexer_next(&ahead);
    if (is_quoted && next.kind != TOKEN_EQL) {
        *out = (struct tsdb_label){BYTES_LIT("__name__"), out->name};
        return ERR_OK;
    }
    *l = ahead;
    if (next.kind != TOKEN_EQL)
        return bad_labels(msg, next.pos, "'='");
    t = lexer_next(l);
    if (t.kind != TOKEN_STRING)
        return bad_labels(msg, t.pos, "a quoted value");
    return lexer_unquote(t.text, a, &out->value, &why) ? ERR_OK
                                                       : err_set(msg, ERR_INVALID, "%s", why);
}

enum err query_text_labels(struct bytes text, struct arena *a, struct tsdb_labels *out,
                           struct err_msg *msg)
{
    struct lexer l = {.text = text};
    struct tsdb_label labels[TSDB_LABELS_MAX];
    size_t n = 0;
    struct token t = lexer_next(&l);
    if (t.kind == TOKEN_IDENTIFIER || t.kind == TOKEN_METRIC) {
        labels[n++] = (struct tsdb_label){BYTES_LIT("__name__"), t.text};
        t = lexer_next(&l);
    }
    if (t.kind == TOKEN_LEFT_BRACE) {
        for (t = lexer_next(&l); t.kind != TOKEN_RIGHT_BRACE;) {
            if (n == TSDB_LABELS_MAX)
                return err_set(msg, ERR_INVALID, "more than %u labels", TSDB_LABELS_MAX);
            enum err e = read_pair(&l, t, a, &labels[n++], msg);
            if (e != ERR_OK)
                return e;
            t = lexer_next(&l);
            if (t.kind == TOKEN_COMMA)
                t = lexer_next(&l);
            else if (t.kind != TOKEN_RIGHT_BRACE)
                return bad_labels(msg, t.pos, "',' or '}'");
        }
        t = lexer_next(&l);
    }
    if (t.kind != TOKEN_EOF)
        return bad_labels(msg, t.pos, "the end");
    return tsdb_labels_build(labels, n, a, out, msg);
}

/* --- values -------------------------------------------------------------------------------------- */

struct values {
    struct arena *arena;
    struct query_text_value *list;
    size_t count, cap;
};

static bool values_add(struct values *v, struct query_text_value x)
{
    if (v->count == QUERY_TEXT_VALUES_MAX)
        return false;
    if (v->count == v->cap) {
        size_t cap = v->cap ? v->cap * 2 : 64;
        struct query_text_value *list = arena_grow(v->arena, v->list, sizeof(*list), v->cap, cap);
        if (!list)
            return false;
        v->list = list;
        v->cap = cap;
    }
    v->list[v->count++] = x;
    return true;
}

/* The longest number at the front, "0x5" being a zero five times. Its size, or 0. */
static size_t number_size(struct bytes b)
{
    size_t i = 0;
    if (i < b.size && (b.data[i] == '-' || b.data[i] == '+'))
        i++;
    size_t from = i;
    for (; i < b.size; i++) {
        uint8_t c = b.data[i];
        bool is_sign = (c == '-' || c == '+') && (b.data[i - 1] == 'e' || b.data[i - 1] == 'E') &&
                       i >= from + 2;
        if (is_sign)
            continue;
        if ((c < '0' || c > '9') && c != '.' &&
            !((c == 'e' || c == 'E') && i > from && b.data[i - 1] <= '9'))
            break;
    }
    if (i == from) { /* Inf, NaN */
        struct bytes rest = bytes_slice(b, from, b.size);
        if (bytes_has_prefix(rest, BYTES_LIT("Inf")) || bytes_has_prefix(rest, BYTES_LIT("NaN")) ||
            bytes_has_prefix(rest, BYTES_LIT("inf")) || bytes_has_prefix(rest, BYTES_LIT("nan")))
            return from + 3;
    }
    return i == from ? 0 : i;
}

static bool read_times(struct bytes *b, uint64_t *out)
{
    size_t n = 1;
    while (n < b->size && b->data[n] >= '0' && b->data[n] <= '9')
        n++;
    bool ok = bytes_to_u64(bytes_slice(*b, 1, n), out) && *out <= QUERY_TEXT_VALUES_MAX;
    *b = bytes_slice(*b, n, b->size);
    return ok;
}

/* VALUE, VALUExTIMES, VALUE+STEPxTIMES, _, _xTIMES, stale. */
static enum err read_item(struct values *v, struct bytes item, struct err_msg *msg)
{
    struct query_text_value x = {.value = 0};
    struct bytes b = item;
    uint64_t times = 0;
    double step = 0;
    bool ok = true;
    if (b.data[0] == '_') {
        x.is_omitted = true;
        b = bytes_slice(b, 1, b.size);
        if (b.size && b.data[0] == 'x') {
            ok = read_times(&b, &times) && times > 0;
            times--;
        }
    } else if (bytes_has_prefix(b, BYTES_LIT("stale"))) {
        uint64_t bits = STALE_BITS;
        memcpy(&x.value, &bits, sizeof(bits));
        b = bytes_slice(b, 5, b.size);
    } else {
        size_t n = number_size(b);
        ok = n && bytes_to_f64(bytes_slice(b, 0, n), &x.value);
        b = bytes_slice(b, n, b.size);
        bool has_step = ok && b.size && (b.data[0] == '+' || b.data[0] == '-');
        if (has_step) {
            n = number_size(b);
            ok = n && bytes_to_f64(bytes_slice(b, 0, n), &step);
            b = bytes_slice(b, n, b.size);
        }
        if (ok && b.size && b.data[0] == 'x')
            ok = read_times(&b, &times);
        else
            ok = ok && !has_step;
    }
    if (!ok || b.size)
        return err_set(msg, ERR_INVALID,
                       "\"%.60s\" is no value; valid are 1, -2.5, 1+2x3, 4x5, _, _x3 and stale",
                       item.size ? (const char *)item.data : "");
    for (uint64_t i = 0; i <= times; i++, x.value += step)
        if (!values_add(v, x))
            return err_set(msg, ERR_LIMIT, "more than %u values", QUERY_TEXT_VALUES_MAX);
    return ERR_OK;
}

/* HIST, HISTxTIMES, HIST+STEPxTIMES, HIST-STEPxTIMES; text then begins behind it. */
static enum err read_hist_item(struct values *v, struct bytes *text, struct err_msg *msg)
{
    const struct query_hist *h, *step = NULL;
    uint64_t times = 0;
    double sign = 0;
    enum err e = query_text_hist(text, v->arena, &h, msg);
    if (e == ERR_OK && text->size && (text->data[0] == '+' || text->data[0] == '-')) {
        sign = text->data[0] == '+' ? 1 : -1;
        *text = bytes_slice(*text, 1, text->size);
        e = query_text_hist(text, v->arena, &step, msg);
    }
    bool repeats = e == ERR_OK && text->size && text->data[0] == 'x';
    if (repeats && !read_times(text, &times))
        return err_set(msg, ERR_INVALID, "a histogram is repeated x0 to x%u times",
                       QUERY_TEXT_VALUES_MAX);
    if (e == ERR_OK && ((step && !repeats) || (text->size && !strchr(" \t\r\n", text->data[0]))))
        return err_set(msg, ERR_INVALID,
                       "behind a histogram may stand x3, +{{…}}x3 or -{{…}}x3, and a blank");
    for (uint64_t i = 0; e == ERR_OK && i <= times; i++) {
        unsigned flags = 0;
        if (!values_add(v, (struct query_text_value){.hist = h}))
            return err_set(msg, ERR_LIMIT, "more than %u values", QUERY_TEXT_VALUES_MAX);
        if (step && i < times && !(h = query_hist_add(h, step, sign, v->arena, &flags)))
            return err_set(msg, ERR_INVALID, "the histograms of one series cannot be added");
    }
    return e;
}

enum err query_text_values(struct bytes text, struct arena *a, struct query_text_value **out,
                           size_t *out_count, struct err_msg *msg)
{
    struct values v = {.arena = a};
    for (size_t i = 0; i < text.size;) {
        size_t to = i;
        while (to < text.size && !strchr(" \t\r\n", text.data[to]))
            to++;
        if (bytes_has_prefix(bytes_slice(text, i, text.size), BYTES_LIT("{{"))) {
            struct bytes rest = bytes_slice(text, i, text.size);
            enum err e = read_hist_item(&v, &rest, msg);
            if (e != ERR_OK)
                return e;
            to = text.size - rest.size;
        } else if (to > i) {
            struct bytes item = arena_printf(a, BYTES_FMT, BYTES_ARG(bytes_slice(text, i, to)));
            if (!item.data)
                return err_set(msg, ERR_LIMIT, "too many values");
            enum err e = read_item(&v, item, msg);
            if (e != ERR_OK)
                return e;
        }
        i = to + 1;
    }
    *out = v.list;
    *out_count = v.count;
    return ERR_OK;
}
