/* /federate: the newest sample of every series that matches, as text, each with the time that it has. */
#include "base/clock.h"
#include "web/web_prom_call.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct sample {
    struct tsdb_labels labels;
    int64_t t_ms;
    double value;
};

static int by_labels(const void *x, const void *y)
{
    const struct sample *a = x, *b = y;
    struct bytes name = BYTES_LIT("__name__");
    int c = bytes_compare(tsdb_labels_get(a->labels, name), tsdb_labels_get(b->labels, name));
    return c ? c : tsdb_labels_compare(a->labels, b->labels);
}

static bool is_stale(double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits == UINT64_C(0x7ff0000000000002);
}

/* The newest of each of these series that has one within the lookback; native histograms have no text form and are left out. */
static enum err read_newest(struct prom_call *c, struct tsdb_view *v, const struct tsdb_series *s,
                            size_t n, int64_t now_ms, struct sample *out, size_t *count)
{
    struct arena *scratch = arena_new_in(tsdb_query_budget(c->prom->opts.db), 64 << 20);
    enum err e = scratch ? ERR_OK : ERR_NOMEM;
    for (size_t i = 0; e == ERR_OK && i < n; i++) {
        struct tsdb_points p = {0};
        arena_reset(scratch);
        e = tsdb_points_read(v, &s[i], now_ms - QUERY_LOOKBACK_MS + 1, now_ms, scratch, &p);
        if (e != ERR_OK || p.count == 0)
            continue;
        size_t last = p.count - 1;
        if ((p.hist && p.hist[last]) || is_stale(p.value[last]))
            continue;
        out[*count] = (struct sample){s[i].labels, p.t_ms[last], p.value[last]};
        e = prom_with_external(c, s[i].labels, c->arena, &out[(*count)++].labels);
    }
    arena_free(scratch);
    return e;
}

static void put_escaped(struct buf *out, struct bytes text)
{
    buf_u8(out, '"');
    for (size_t i = 0; i < text.size; i++) {
        uint8_t ch = text.data[i];
        if (ch == '\\' || ch == '"')
            buf_u8(out, '\\');
        if (ch == '\n')
            buf_str(out, "\\n");
        else
            buf_u8(out, ch);
    }
    buf_u8(out, '"');
}

static bool is_plain(struct bytes name, bool is_metric)
{
    for (size_t i = 0; i < name.size; i++) {
        uint8_t ch = name.data[i];
        bool letter = (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || ch == '_' ||
                      (is_metric && ch == ':');
        if (!letter && !(i && ch >= '0' && ch <= '9'))
            return false;
    }
    return name.size != 0;
}

static void put_sample(struct buf *out, const struct sample *s, struct bytes name)
{
    struct tsdb_labels_iter it = tsdb_labels_begin(s->labels);
    struct tsdb_label l;
    char number[JSON_OUT_PROM_FLOAT_MAX];
    bool plain = is_plain(name, true), open = false;
    if (plain)
        buf_bytes_append(out, name);
    else { /* names beyond the classic ones stand among the labels */
        buf_u8(out, '{');
        put_escaped(out, name);
        open = true;
    }
    while (tsdb_labels_next(&it, &l)) {
        if (bytes_equal_str(l.name, "__name__"))
            continue;
        buf_u8(out, open ? ',' : '{');
        open = true;
        if (is_plain(l.name, false))
            buf_bytes_append(out, l.name);
        else
            put_escaped(out, l.name);
        buf_u8(out, '=');
        put_escaped(out, l.value);
    }
    if (open)
        buf_u8(out, '}');
    buf_u8(out, ' ');
    buf_append(out, number, json_out_prom_float(s->value, number));
    buf_printf(out, " %" PRId64 "\n", s->t_ms);
}

static void put_all(struct prom_call *c, struct sample *all, size_t count)
{
    struct bytes family = BYTES_NONE;
    if (count)
        qsort(all, count, sizeof *all, by_labels);
    for (size_t i = 0; i < count && buf_ok(&c->out); i++) {
        struct bytes name = tsdb_labels_get(all[i].labels, BYTES_LIT("__name__"));
        if (i && tsdb_labels_equal(all[i].labels, all[i - 1].labels))
            continue; /* two selectors matched it */
        if (!i || !bytes_equal(name, family)) {
            buf_str(&c->out, "# TYPE ");
            if (is_plain(name, true))
                buf_bytes_append(&c->out, name);
            else
                put_escaped(&c->out, name);
            buf_str(&c->out, " untyped\n");
            family = name;
        }
        put_sample(&c->out, &all[i], name);
    }
}

enum err prom_federate(struct prom_call *c)
{
    struct prom_scope s;
    struct tsdb_view *v;
    struct sample *all = NULL;
    size_t count = 0;
    int64_t now_ms = clock_wall_ms();
    enum err e = prom_scope_read(c, &s);
    if (e != ERR_OK)
        return e;
    e = prom_view(c, &v);
    if (e != ERR_OK) {
        prom_scope_done(&s);
        return e;
    }
    for (size_t i = 0; e == ERR_OK && i < s.count; i++) {
        size_t matchers, n = 0;
        struct tsdb_series *series = NULL;
        const struct tsdb_matcher *m = query_selector_matchers(s.selectors[i], &matchers);
        e = tsdb_select(v, m, matchers, now_ms - QUERY_LOOKBACK_MS + 1, now_ms, c->arena, &series,
                        &n);
        all = e == ERR_OK ? arena_grow(c->arena, all, sizeof *all, count, count + n + 1) : NULL;
        if (e == ERR_OK && !all)
            e = ERR_LIMIT;
        if (e == ERR_OK)
            e = read_newest(c, v, series, n, now_ms, all, &count);
    }
    if (e == ERR_OK)
        put_all(c, all, count);
    else
        (void)err_set(&c->msg, e, "federation: %s", err_text(e));
    tsdb_view_close(v);
    prom_scope_done(&s);
    return e;
}
