/* series, labels, label values, metadata, exemplars: what there is, without computing. */
#include "web/web_prom_call.h"

#include "base/clock.h"
#include "tsdb/tsdb_erase.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define CLEAN_WAIT_NS INT64_C(20000000000)

void prom_scope_done(struct prom_scope *s)
{
    for (size_t i = 0; i < s->count; i++)
        query_selector_free(s->selectors[i]);
    s->count = 0;
}

enum err prom_scope_read(struct prom_call *c, struct prom_scope *s)
{
    struct bytes text;
    *s = (struct prom_scope){0};
    enum err e = prom_limit(c, &s->limit);
    if (e == ERR_OK)
        e = prom_time(c, "start", 0, &s->min);
    if (e == ERR_OK)
        e = prom_time(c, "end", INT64_MAX / 4, &s->max);
    if (e == ERR_OK && s->max < s->min)
        e = err_set(&c->msg, ERR_INVALID,
                    "invalid parameter \"end\": end timestamp must not be before start time");
    for (unsigned i = 0; e == ERR_OK && net_request_value(c->req, "match[]", i, &text); i++) {
        struct err_msg why;
        if (s->count == PROM_SELECTORS_MAX) {
            e = err_set(&c->msg, ERR_INVALID, "invalid parameter \"match[]\": more than %d",
                        PROM_SELECTORS_MAX);
            break;
        }
        e = query_selector_parse(text, &s->selectors[s->count], &why);
        if (e == ERR_OK)
            s->count++;
        else
            (void)err_set(&c->msg, e, "invalid parameter \"match[]\": %s", why.text);
    }
    if (e != ERR_OK)
        prom_scope_done(s);
    return e;
}

/* --- lists of strings -------------------------------------------------------------------------- */

struct list {
    struct bytes *items;
    size_t count;
};

static int compare_bytes(const void *x, const void *y)
{
    return bytes_compare(*(const struct bytes *)x, *(const struct bytes *)y);
}

static bool list_add(struct prom_call *c, struct list *l, const struct bytes *more, size_t count)
{
    l->items = arena_grow(c->arena, l->items, sizeof *l->items, l->count, l->count + count + 1);
    if (!l->items)
        return false;
    if (count)
        memcpy(l->items + l->count, more, count * sizeof *more);
    l->count += count;
    return true;
}

static void put_list(struct prom_call *c, struct list *l, size_t limit)
{
    size_t put = 0;
    if (l->count)
        qsort(l->items, l->count, sizeof *l->items, compare_bytes);
    json_out_array(&c->j);
    for (size_t i = 0; i < l->count; i++) {
        if (i && bytes_equal(l->items[i], l->items[i - 1]))
            continue;
        if (put++ == limit)
            break;
        json_out_bytes(&c->j, l->items[i]);
    }
    json_out_array_end(&c->j);
    if (put > limit) {
        json_out_key(&c->j, "warnings");
        json_out_array(&c->j);
        json_out_str(&c->j, "results truncated due to limit");
        json_out_array_end(&c->j);
    }
}

/* Names (name empty) or values, over all selectors. */
static enum err read_list(struct prom_call *c, const struct prom_scope *s, struct bytes name,
                          struct list *out)
{
    struct tsdb_view *v;
    enum err e = prom_view(c, &v);
    if (e != ERR_OK)
        return e;
    for (size_t i = 0; e == ERR_OK && (i < s->count || (i == 0 && s->count == 0)); i++) {
        size_t n = 0, count = 0;
        struct bytes *items = NULL;
        const struct tsdb_matcher *m =
            s->count ? query_selector_matchers(s->selectors[i], &n) : NULL;
        e = name.size ? tsdb_label_values(v, name, m, n, s->min, s->max, c->arena, &items, &count)
                      : tsdb_label_names(v, m, n, s->min, s->max, c->arena, &items, &count);
        if (e == ERR_OK && !list_add(c, out, items, count))
            e = ERR_LIMIT;
    }
    tsdb_view_close(v);
    return e == ERR_OK ? e : err_set(&c->msg, e, "reading labels: %s", err_text(e));
}

enum err prom_labels(struct prom_call *c)
{
    struct prom_scope s;
    struct list l = {0};
    enum err e = prom_scope_read(c, &s);
    if (e != ERR_OK)
        return e;
    e = read_list(c, &s, BYTES_NONE, &l);
    if (e == ERR_OK)
        put_list(c, &l, s.limit);
    prom_scope_done(&s);
    return e;
}

static int hex_digit(int ch)
{
    return ch >= '0' && ch <= '9'   ? ch - '0'
           : ch >= 'a' && ch <= 'f' ? ch - 'a' + 10
           : ch >= 'A' && ch <= 'F' ? ch - 'A' + 10
                                    : -1;
}

/* U__http_2e_status__code -> http.status_code; false when the escapes are malformed. */
static bool unescape_name(struct bytes in, struct arena *a, struct bytes *out)
{
    if (!bytes_has_prefix(in, BYTES_LIT("U__"))) {
        *out = in;
        return true;
    }
    uint8_t *p = arena_alloc_raw(a, in.size * 4 + 1, 1);
    size_t n = 0;
    for (size_t i = 3; p && i < in.size;) {
        if (in.data[i] != '_') {
            p[n++] = in.data[i++];
            continue;
        }
        if (i + 1 < in.size && in.data[i + 1] == '_') {
            p[n++] = '_';
            i += 2;
            continue;
        }
        uint32_t code = 0;
        size_t k = i + 1;
        while (k < in.size && hex_digit(in.data[k]) >= 0 && k < i + 7)
            code = code * 16 + (uint32_t)hex_digit(in.data[k++]);
        if (k == i + 1 || k >= in.size || in.data[k] != '_' || code > 0x10ffff)
            return false;
        if (code < 0x80) {
            p[n++] = (uint8_t)code;
        } else if (code < 0x800) {
            p[n++] = (uint8_t)(0xc0 | code >> 6);
            p[n++] = (uint8_t)(0x80 | (code & 63));
        } else {
            if (code >= 0x10000)
                p[n++] = (uint8_t)(0xf0 | code >> 18);
            p[n++] = (uint8_t)(code >= 0x10000 ? 0x80 | (code >> 12 & 63) : 0xe0 | code >> 12);
            p[n++] = (uint8_t)(0x80 | (code >> 6 & 63));
            p[n++] = (uint8_t)(0x80 | (code & 63));
        }
        i = k + 1;
    }
    *out = bytes_of(p, n);
    return p && n > 0 && bytes_is_utf8(*out);
}

enum err prom_label_values(struct prom_call *c)
{
    struct prom_scope s;
    struct list l = {0};
    struct bytes name, raw = net_request_param(c->req, 0);
    if (raw.size == 0 || !unescape_name(raw, c->arena, &name) || !bytes_is_utf8(name))
        return err_set(&c->msg, ERR_INVALID, "invalid label name: \"" BYTES_FMT "\"",
                       BYTES_ARG(raw));
    enum err e = prom_scope_read(c, &s);
    if (e != ERR_OK)
        return e;
    e = read_list(c, &s, name, &l);
    if (e == ERR_OK)
        put_list(c, &l, s.limit);
    prom_scope_done(&s);
    return e;
}

/* --- series ------------------------------------------------------------------------------------ */

static int compare_series(const void *x, const void *y)
{
    return tsdb_labels_compare(*(const struct tsdb_labels *)x, *(const struct tsdb_labels *)y);
}

static enum err read_series(struct prom_call *c, const struct prom_scope *s,
                            struct tsdb_labels **out, size_t *out_count)
{
    struct tsdb_view *v;
    enum err e = prom_view(c, &v);
    *out = NULL;
    *out_count = 0;
    if (e != ERR_OK)
        return e;
    for (size_t i = 0; e == ERR_OK && i < s->count; i++) {
        size_t n, count = 0;
        struct tsdb_series *series = NULL;
        const struct tsdb_matcher *m = query_selector_matchers(s->selectors[i], &n);
        e = tsdb_select(v, m, n, s->min, s->max, c->arena, &series, &count);
        if (e != ERR_OK)
            break;
        *out = arena_grow(c->arena, *out, sizeof **out, *out_count, *out_count + count + 1);
        if (!*out) {
            e = ERR_LIMIT;
            break;
        }
        for (size_t k = 0; k < count; k++)
            (*out)[(*out_count)++] = series[k].labels;
    }
    tsdb_view_close(v);
    return e == ERR_OK ? e : err_set(&c->msg, e, "reading series: %s", err_text(e));
}

enum err prom_series(struct prom_call *c)
{
    struct prom_scope s;
    struct tsdb_labels *list;
    size_t count, put = 0;
    enum err e = prom_scope_read(c, &s);
    if (e != ERR_OK)
        return e;
    if (s.count == 0)
        return err_set(&c->msg, ERR_INVALID, "no match[] parameter provided");
    e = read_series(c, &s, &list, &count);
    if (e == ERR_OK) {
        if (count)
            qsort(list, count, sizeof *list, compare_series);
        json_out_array(&c->j);
        for (size_t i = 0; i < count && put < s.limit && buf_ok(&c->out); i++)
            if (i == 0 || !tsdb_labels_equal(list[i], list[i - 1])) {
                prom_labels_object(&c->j, list[i]);
                put++;
            }
        json_out_array_end(&c->j);
    }
    prom_scope_done(&s);
    return e;
}

/* --- deleting ---------------------------------------------------------------------------------- */

enum err prom_delete_series(struct prom_call *c)
{
    struct prom_scope s;
    enum err e =
        prom_scope_read(c, &s); /* every selector is understood before the first is acted on */
    if (e != ERR_OK)
        return e;
    if (s.count == 0)
        e = err_set(&c->msg, ERR_INVALID, "no match[] parameter provided");
    for (size_t i = 0; e == ERR_OK && i < s.count; i++) {
        uint64_t id;
        size_t n;
        const struct tsdb_matcher *m = query_selector_matchers(s.selectors[i], &n);
        e = tsdb_erase_series(c->prom->opts.db, net_request_access(c->req)->org, m, n, s.min, s.max,
                              &id, &c->msg);
    }
    prom_scope_done(&s);
    return e;
}

/* The bytes go by themselves; who asks for it waits until they have, within reason. */
enum err prom_clean_tombstones(struct prom_call *c)
{
    enum err e = tsdb_erase_wait(c->prom->opts.db, net_request_access(c->req)->org, 0,
                                 clock_mono_ns() + CLEAN_WAIT_NS);
    return e == ERR_OK ? e
                       : err_set(&c->msg, ERR_UNAVAILABLE,
                                 "erase jobs are still at work; GET /api/telltale/v1/admin/erase "
                                 "shows them");
}

/* --- metadata ---------------------------------------------------------------------------------- */

static int compare_families(const void *x, const void *y)
{
    return bytes_compare(((const struct tsdb_metadata_row *)x)->family,
                         ((const struct tsdb_metadata_row *)y)->family);
}

static void put_metadata(struct prom_call *c, const struct tsdb_metadata_row *row)
{
    json_out_object(&c->j);
    json_out_key(&c->j, "type");
    json_out_bytes(&c->j, row->type);
    json_out_key(&c->j, "help");
    json_out_bytes(&c->j, row->help);
    json_out_key(&c->j, "unit");
    json_out_bytes(&c->j, row->unit);
    json_out_object_end(&c->j);
}

enum err prom_metadata(struct prom_call *c)
{
    struct tsdb_view *v;
    struct tsdb_metadata_row *rows = NULL;
    struct bytes wanted = prom_value(c, "metric");
    size_t count = 0, limit, families = 0;
    enum err e = prom_limit(c, &limit);
    if (e == ERR_OK)
        e = prom_view(c, &v);
    if (e != ERR_OK)
        return e;
    e = tsdb_metadata_read(v, c->arena, &rows, &count);
    if (e == ERR_OK) {
        if (count)
            qsort(rows, count, sizeof *rows, compare_families);
        json_out_object(&c->j);
        for (size_t i = 0; i < count;) {
            size_t end = i;
            while (end < count && bytes_equal(rows[end].family, rows[i].family))
                end++;
            if ((wanted.size == 0 || bytes_equal(wanted, rows[i].family)) && families++ < limit) {
                json_out_key_bytes(&c->j, rows[i].family);
                json_out_array(&c->j);
                for (size_t k = i; k < end; k++)
                    put_metadata(c, &rows[k]);
                json_out_array_end(&c->j);
            }
            i = end;
        }
        json_out_object_end(&c->j);
    }
    tsdb_view_close(v);
    return e == ERR_OK ? e : err_set(&c->msg, e, "reading metadata: %s", err_text(e));
}

/* --- exemplars --------------------------------------------------------------------------------- */

static int compare_exemplars(const void *x, const void *y)
{
    const struct tsdb_exemplar *a = x, *b = y;
    int c = tsdb_labels_compare(a->series, b->series);
    return c ? c : (a->t_ms > b->t_ms) - (a->t_ms < b->t_ms);
}

static void put_exemplars(struct prom_call *c, const struct tsdb_exemplar *list, size_t count)
{
    struct json_out *j = &c->j;
    json_out_array(j);
    for (size_t i = 0; i < count && buf_ok(&c->out);) {
        json_out_object(j);
        json_out_key(j, "seriesLabels");
        prom_labels_object(j, list[i].series);
        json_out_key(j, "exemplars");
        json_out_array(j);
        size_t first = i;
        for (; i < count && tsdb_labels_equal(list[i].series, list[first].series); i++) {
            char t[40];
            json_out_object(j);
            json_out_key(j, "labels");
            prom_labels_object(j, list[i].labels);
            json_out_key(j, "value");
            prom_float(j, list[i].value);
            json_out_key(j, "timestamp");
            int n = snprintf(t, sizeof t, "%" PRId64 ".%03d", list[i].t_ms / 1000,
                             abs((int)(list[i].t_ms % 1000)));
            json_out_raw(j, bytes_of(t, (size_t)n));
            json_out_object_end(j);
        }
        json_out_array_end(j);
        json_out_object_end(j);
    }
    json_out_array_end(j);
}

enum err prom_query_exemplars(struct prom_call *c)
{
    struct query_selector **selectors;
    size_t count, total = 0;
    struct tsdb_exemplar *all = NULL;
    struct tsdb_view *v = NULL;
    int64_t min, max;
    struct err_msg why;
    enum err e = prom_time(c, "start", 0, &min);
    if (e == ERR_OK)
        e = prom_time(c, "end", clock_wall_ms(), &max);
    if (e != ERR_OK)
        return e;
    e = query_selectors_of(prom_value(c, "query"), c->arena, &selectors, &count, &why);
    if (e != ERR_OK)
        return err_set(&c->msg, e, "invalid parameter \"query\": %s", why.text);
    e = prom_view(c, &v);
    for (size_t i = 0; e == ERR_OK && i < count; i++) {
        size_t n, found = 0;
        struct tsdb_exemplar *list = NULL;
        const struct tsdb_matcher *m = query_selector_matchers(selectors[i], &n);
        e = tsdb_exemplars_read(v, m, n, min, max, c->arena, &list, &found);
        all = e == ERR_OK ? arena_grow(c->arena, all, sizeof *all, total, total + found + 1) : NULL;
        if (all && found)
            memcpy(all + total, list, found * sizeof *list);
        total += found;
        if (e == ERR_OK && !all)
            e = err_set(&c->msg, ERR_LIMIT, "too many exemplars");
    }
    if (e == ERR_OK) {
        if (total)
            qsort(all, total, sizeof *all, compare_exemplars);
        put_exemplars(c, all, total);
    } else if (c->msg.text[0] == 0) {
        (void)err_set(&c->msg, e, "reading exemplars: %s", err_text(e));
    }
    if (v)
        tsdb_view_close(v);
    for (size_t i = 0; i < count; i++)
        query_selector_free(selectors[i]);
    return e;
}
