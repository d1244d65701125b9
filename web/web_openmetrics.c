#include "web/web_openmetrics.h"

#include "base/check.h"

struct page {
    struct buf *out;
    struct bytes help_name, help; /* seen and not written yet: the type comes behind it */
};

static struct bytes take_word(struct bytes *line)
{
    size_t n = bytes_find(*line, BYTES_LIT(" "));
    struct bytes word = bytes_slice(*line, 0, n);
    *line = bytes_slice(*line, MIN(n + 1, line->size), line->size);
    return word;
}

static void put_help(struct page *p, struct bytes family)
{
    if (!p->help_name.size)
        return;
    buf_str(p->out, "# HELP ");
    buf_bytes_append(p->out, family);
    buf_u8(p->out, ' ');
    for (size_t i = 0; i < p->help.size; i++) {
        if (p->help.data[i] == '"')
            buf_u8(p->out, '\\');
        buf_u8(p->out, p->help.data[i]);
    }
    buf_u8(p->out, '\n');
    p->help_name = BYTES_NONE;
}

static void put_type(struct page *p, struct bytes name, struct bytes type)
{
    struct bytes family = name, total = BYTES_LIT("_total");
    bool is_counter = bytes_equal_str(type, "counter");
    if (p->help_name.size && !bytes_equal(p->help_name, name))
        put_help(p, p->help_name);
    if (is_counter && bytes_has_suffix(name, total))
        family.size -= total.size;
    else if (is_counter || bytes_equal_str(type, "untyped"))
        type = BYTES_LIT("unknown");
    buf_str(p->out, "# TYPE ");
    buf_bytes_append(p->out, family);
    buf_u8(p->out, ' ');
    buf_bytes_append(p->out, type);
    buf_u8(p->out, '\n');
    put_help(p, family);
}

static void put_line(struct page *p, struct bytes line)
{
    struct bytes rest = line;
    if (!line.size)
        return;
    if (line.data[0] != '#') {
        put_help(p, p->help_name);
        buf_bytes_append(p->out, line);
        buf_u8(p->out, '\n');
        return;
    }
    (void)take_word(&rest);
    struct bytes what = take_word(&rest), name = take_word(&rest);
    if (bytes_equal_str(what, "TYPE")) {
        put_type(p, name, bytes_trim(rest));
    } else if (bytes_equal_str(what, "HELP")) {
        put_help(p, p->help_name);
        p->help_name = name;
        p->help = rest;
    }
}

bool web_openmetrics_wanted(struct bytes accept)
{
    return bytes_find(accept, BYTES_LIT("application/openmetrics-text")) < accept.size;
}

void web_openmetrics(struct bytes text, struct buf *out)
{
    struct page p = {.out = out};
    while (text.size) {
        size_t n = bytes_find(text, BYTES_LIT("\n"));
        put_line(&p, bytes_slice(text, 0, n));
        text = bytes_slice(text, MIN(n + 1, text.size), text.size);
    }
    put_help(&p, p.help_name);
    buf_str(out, "# EOF\n");
}
