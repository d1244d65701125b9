/* printf as Go's fmt does it, for the values that templates have. */
#include "base/check.h"
#include "detectors/rule_template_core.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>

struct verb {
    char letter;
    bool minus, plus, zero, space, sharp, has_width, has_precision;
    int width, precision;
};

static void put_padded(struct buf *out, const struct verb *v, struct bytes text, bool is_number)
{
    size_t runes = 0;
    for (size_t i = 0; i < text.size; i++)
        runes += (text.data[i] & 0xc0) != 0x80;
    size_t pad = v->has_width && (size_t)v->width > runes ? (size_t)v->width - runes : 0;
    bool zeros = v->zero && is_number && !v->minus;
    if (zeros && text.size && (text.data[0] == '-' || text.data[0] == '+')) {
        buf_u8(out, text.data[0]);
        text = bytes_slice(text, 1, text.size);
    }
    for (size_t i = 0; i < pad && !v->minus; i++)
        buf_u8(out, zeros ? '0' : ' ');
    buf_bytes_append(out, text);
    for (size_t i = 0; i < pad && v->minus; i++)
        buf_u8(out, ' ');
}

static const char *type_name(const struct template_value *v)
{
    static const char *const names[] = {[VALUE_NIL] = "<nil>",
                                        [VALUE_BOOL] = "bool",
                                        [VALUE_INT] = "int",
                                        [VALUE_FLOAT] = "float64",
                                        [VALUE_STRING] = "string",
                                        [VALUE_LABELS] = "map[string]string",
                                        [VALUE_SAMPLE] = "*template.sample",
                                        [VALUE_VECTOR] = "template.queryResult",
                                        [VALUE_ARGS] = "map[string]interface {}",
                                        [VALUE_ROOT] = "struct"};
    return names[v->kind];
}

/* %!d(float64=3): a value that the verb is not for. */
static void put_mismatch(struct buf *out, char letter, const struct template_value *v)
{
    if (v->kind == VALUE_NIL) {
        buf_printf(out, "%%!%c(<nil>)", letter);
        return;
    }
    buf_printf(out, "%%!%c(%s=", letter, type_name(v));
    template_print(out, v);
    buf_u8(out, ')');
}

static void put_float(struct buf *out, const struct verb *v, double x)
{
    char text[512], format[16];
    bool is_g = v->letter == 'g' || v->letter == 'G' || v->letter == 'v';
    if (isnan(x) || isinf(x)) {
        struct verb plain = *v;
        plain.zero = false;
        put_padded(out, &plain, bytes_str(isnan(x) ? "NaN" : x < 0 ? "-Inf" : "+Inf"), true);
        return;
    }
    struct buf b;
    buf_init(&b, sizeof(text));
    if (is_g && !v->has_precision) {
        template_print_float(&b, x);
    } else {
        snprintf(format, sizeof(format), "%%%s.*%c",
                 v->plus    ? "+"
                 : v->space ? " "
                            : "",
                 v->letter == 'v'   ? 'g'
                 : v->letter == 'F' ? 'f'
                                    : v->letter);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(text, sizeof(text), format, v->has_precision ? MIN(v->precision, 100) : 6, x);
#pragma GCC diagnostic pop
        buf_str(&b, text);
    }
    put_padded(out, v, buf_bytes(&b), true);
    buf_done(&b);
}

static void put_int(struct buf *out, const struct verb *v, int64_t x)
{
    char text[80];
    uint64_t magnitude = x < 0 ? 0 - (uint64_t)x : (uint64_t)x;
    const char *sign = x < 0 ? "-" : v->plus ? "+" : v->space ? " " : "";
    size_t n = 0;
    switch (v->letter) {
    case 'x':
        snprintf(text, sizeof(text), "%s%s%llx", sign, v->sharp ? "0x" : "",
                 (unsigned long long)magnitude);
        break;
    case 'X':
        snprintf(text, sizeof(text), "%s%s%llX", sign, v->sharp ? "0X" : "",
                 (unsigned long long)magnitude);
        break;
    case 'o': snprintf(text, sizeof(text), "%s%llo", sign, (unsigned long long)magnitude); break;
    case 'b':
        for (int bit = 63; bit >= 0; bit--)
            if (n || magnitude >> bit & 1 || !bit)
                text[n++] = (char)('0' + (magnitude >> bit & 1));
        text[n] = 0;
        break;
    default: snprintf(text, sizeof(text), "%s%llu", sign, (unsigned long long)magnitude);
    }
    put_padded(out, v, bytes_str(text), true);
}

static void quote(struct buf *out, struct bytes s)
{
    static const char names[] = "abfnrtv\\\"", codes[] = "\a\b\f\n\r\t\v\\\"";
    buf_u8(out, '"');
    for (size_t i = 0; i < s.size; i++) {
        uint8_t c = s.data[i];
        const char *known = c ? strchr(codes, c) : NULL;
        if (known)
            buf_printf(out, "\\%c", names[known - codes]);
        else if (c < ' ' || c == 0x7f)
            buf_printf(out, "\\x%02x", c);
        else
            buf_u8(out, c);
    }
    buf_u8(out, '"');
}

static void put_string(struct buf *out, const struct verb *v, struct bytes s)
{
    struct buf b;
    buf_init(&b, RULE_TEMPLATE_OUTPUT_MAX * 4);
    if (v->has_precision) { /* so many characters */
        size_t n = 0, runes = 0;
        for (; n < s.size; n++)
            if ((s.data[n] & 0xc0) != 0x80 && runes++ == (size_t)v->precision)
                break;
        s.size = n;
    }
    if (v->letter == 'q')
        quote(&b, s);
    else if (v->letter == 'x' || v->letter == 'X')
        for (size_t i = 0; i < s.size; i++)
            buf_printf(&b, v->letter == 'x' ? "%02x" : "%02X", s.data[i]);
    else
        buf_bytes_append(&b, s);
    put_padded(out, v, buf_bytes(&b), false);
    out->failed = out->failed || b.failed;
    buf_done(&b);
}

static void put_value(struct buf *out, const struct verb *v, const struct template_value *x)
{
    if (v->letter == 'T') {
        buf_str(out, type_name(x));
    } else if (x->kind == VALUE_NIL && v->letter == 'v') {
        put_padded(out, v, BYTES_LIT("<nil>"), false);
    } else if (x->kind == VALUE_FLOAT && strchr("veEfFgG", v->letter)) {
        put_float(out, v, x->number);
    } else if (x->kind == VALUE_INT && strchr("vdxXob", v->letter)) {
        put_int(out, v, x->integer);
    } else if (x->kind == VALUE_STRING && strchr("vsqxX", v->letter)) {
        put_string(out, v, x->string);
    } else if (x->kind == VALUE_BOOL && strchr("vt", v->letter)) {
        put_padded(out, v, bytes_str(x->boolean ? "true" : "false"), false);
    } else if (v->letter == 'v' || (v->letter == 's' && x->kind > VALUE_STRING)) {
        struct buf b;
        buf_init(&b, RULE_TEMPLATE_OUTPUT_MAX * 4);
        template_print(&b, x);
        put_padded(out, v, buf_bytes(&b), false);
        buf_done(&b);
    } else {
        put_mismatch(out, v->letter, x);
    }
}

/* At '%': reads flags, width, precision and letter; gives the index behind. */
static size_t read_verb(struct bytes f, size_t i, struct verb *v)
{
    *v = (struct verb){.letter = 0};
    for (; i < f.size && strchr("-+0 #", f.data[i]) && f.data[i]; i++) {
        v->minus |= f.data[i] == '-';
        v->plus |= f.data[i] == '+';
        v->zero |= f.data[i] == '0';
        v->space |= f.data[i] == ' ';
        v->sharp |= f.data[i] == '#';
    }
    for (; i < f.size && isdigit(f.data[i]); i++) {
        v->has_width = true;
        v->width = MIN(v->width * 10 + f.data[i] - '0', 4096);
    }
    if (i < f.size && f.data[i] == '.') {
        v->has_precision = true;
        for (i++; i < f.size && isdigit(f.data[i]); i++)
            v->precision = MIN(v->precision * 10 + f.data[i] - '0', 4096);
    }
    if (i < f.size)
        v->letter = (char)f.data[i++];
    return i;
}

struct template_value template_printf(struct template_run *r, const struct template_value *args,
                                      size_t n)
{
    struct buf out;
    size_t used = 1;
    if (args[0].kind != VALUE_STRING)
        return template_fail(r, ERR_EXECUTION, "printf: the first argument must be a text");
    struct bytes f = args[0].string;
    buf_init(&out, RULE_TEMPLATE_OUTPUT_MAX);
    for (size_t i = 0; i < f.size && buf_ok(&out);) {
        if (f.data[i] != '%') {
            buf_u8(&out, f.data[i++]);
            continue;
        }
        struct verb v;
        i = read_verb(f, i + 1, &v);
        if (!v.letter)
            buf_str(&out, "%!(NOVERB)");
        else if (v.letter == '%')
            buf_u8(&out, '%');
        else if (used >= n)
            buf_printf(&out, "%%!%c(MISSING)", v.letter);
        else
            put_value(&out, &v, &args[used++]);
    }
    for (size_t i = used; i < n && buf_ok(&out); i++) {
        buf_str(&out, i == used ? "%!(EXTRA " : ", ");
        buf_printf(&out, "%s=", type_name(&args[i]));
        template_print(&out, &args[i]);
        if (i == n - 1)
            buf_u8(&out, ')');
    }
    struct bytes text = arena_copy(r->arena, buf_bytes(&out));
    bool ok = buf_ok(&out) && (text.data || !out.size);
    buf_done(&out);
    return ok ? value_string(text)
              : template_fail(r, ERR_LIMIT, "printf: a text of more than %u bytes",
                              RULE_TEMPLATE_OUTPUT_MAX);
}
