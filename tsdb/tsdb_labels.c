#include "tsdb/tsdb_labels.h"

#include <stdlib.h>

#include "base/buf.h"

static int by_name(const void *a, const void *b)
{
    return bytes_compare(((const struct tsdb_label *)a)->name,
                         ((const struct tsdb_label *)b)->name);
}

/* Label sets are short and often sorted already: insertion sort, qsort only for long ones. */
static void sort_labels(struct tsdb_label *l, size_t n)
{
    if (n > 24) {
        qsort(l, n, sizeof(*l), by_name);
        return;
    }
    for (size_t i = 1; i < n; i++) {
        struct tsdb_label x = l[i];
        size_t j = i;
        for (; j > 0 && bytes_compare(x.name, l[j - 1].name) < 0; j--)
            l[j] = l[j - 1];
        l[j] = x;
    }
}

static size_t varint_size(size_t v)
{
    size_t n = 1;
    for (; v >= 128; v >>= 7)
        n++;
    return n;
}

static uint8_t *put_text(uint8_t *p, struct bytes s)
{
    size_t v = s.size;
    for (; v >= 128; v >>= 7)
        *p++ = (uint8_t)(v | 128);
    *p++ = (uint8_t)v;
    if (s.size)
        memcpy(p, s.data, s.size);
    return p + s.size;
}

static enum err label_check(const struct tsdb_label *l, struct err_msg *msg)
{
    if (l->name.size == 0)
        return err_set(msg, ERR_INVALID, "a label has an empty name");
    if (l->name.size > TSDB_LABEL_NAME_MAX)
        return err_set(msg, ERR_INVALID, "a label name of %zu bytes is longer than %u",
                       l->name.size, TSDB_LABEL_NAME_MAX);
    if (l->value.size > TSDB_LABEL_VALUE_MAX)
        return err_set(msg, ERR_INVALID,
                       "the value of label " BYTES_FMT " has %zu bytes, more than %u",
                       BYTES_ARG(l->name), l->value.size, TSDB_LABEL_VALUE_MAX);
    if (!bytes_is_utf8(l->name))
        return err_set(msg, ERR_INVALID, "a label name is not UTF-8");
    if (!bytes_is_utf8(l->value))
        return err_set(msg, ERR_INVALID, "the value of label " BYTES_FMT " is not UTF-8",
                       BYTES_ARG(l->name));
    return ERR_OK;
}

enum err tsdb_labels_build(struct tsdb_label *labels, size_t n, struct arena *a,
                           struct tsdb_labels *out, struct err_msg *msg)
{
    size_t size = 0, kept = 0;
    if (n > TSDB_LABELS_MAX)
        return err_set(msg, ERR_LIMIT, "%zu labels are more than %u", n, TSDB_LABELS_MAX);
    for (size_t i = 0; i < n; i++) {
        enum err e = label_check(&labels[i], msg);
        if (e != ERR_OK)
            return e;
    }
    sort_labels(labels, n);
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && bytes_equal(labels[i].name, labels[i - 1].name)) {
            if (!bytes_equal(labels[i].value, labels[i - 1].value))
                return err_set(msg, ERR_INVALID,
                               "label " BYTES_FMT " is given twice with different values",
                               BYTES_ARG(labels[i].name));
            continue;
        }
        if (labels[i].value.size == 0)
            continue;
        size += varint_size(labels[i].name.size) + labels[i].name.size +
                varint_size(labels[i].value.size) + labels[i].value.size;
        kept++;
    }
    uint8_t *p = arena_alloc_raw(a, size ? size : 1, 1), *begin = p;
    if (!p)
        return ERR_LIMIT;
    for (size_t i = 0; i < n && kept; i++) {
        if ((i > 0 && bytes_equal(labels[i].name, labels[i - 1].name)) || labels[i].value.size == 0)
            continue;
        p = put_text(put_text(p, labels[i].name), labels[i].value);
    }
    out->enc = bytes_of(begin, size);
    return ERR_OK;
}

struct bytes tsdb_labels_write(const struct tsdb_label *labels, size_t n, uint8_t *out)
{
    uint8_t *p = out;
    for (size_t i = 0; i < n; i++)
        p = put_text(put_text(p, labels[i].name), labels[i].value);
    return bytes_of(out, (size_t)(p - out));
}

enum err tsdb_labels_check(struct bytes enc)
{
    struct reader r = reader_of(enc);
    struct bytes last = BYTES_NONE;
    size_t n = 0;
    while (reader_left(&r)) {
        const uint8_t *begin = r.at;
        struct bytes name = reader_lenbytes(&r), value = reader_lenbytes(&r);
        if (r.failed || name.size == 0 || value.size == 0 || name.size > TSDB_LABEL_NAME_MAX ||
            value.size > TSDB_LABEL_VALUE_MAX || ++n > TSDB_LABELS_MAX ||
            (n > 1 && bytes_compare(last, name) >= 0) || !bytes_is_utf8(name) ||
            !bytes_is_utf8(value))
            return ERR_CORRUPT;
        /* one canonical form: lengths are written in the fewest bytes */
        if ((size_t)(r.at - begin) !=
            varint_size(name.size) + name.size + varint_size(value.size) + value.size)
            return ERR_CORRUPT;
        last = name;
    }
    return r.failed ? ERR_CORRUPT : ERR_OK;
}

/* The bytes were checked when they came in (built here, or tsdb_labels_check): no bounds are tested again. */
static struct bytes take_text(const uint8_t **at)
{
    size_t size = 0;
    for (unsigned shift = 0;; shift += 7) {
        uint8_t c = *(*at)++;
        size |= (size_t)(c & 127) << shift;
        if (c < 128)
            break;
    }
    struct bytes s = {*at, size};
    *at += size;
    return s;
}

bool tsdb_labels_next(struct tsdb_labels_iter *it, struct tsdb_label *out)
{
    if (it->at == it->end)
        return false;
    out->name = take_text(&it->at);
    out->value = take_text(&it->at);
    return true;
}

struct bytes tsdb_labels_get(struct tsdb_labels l, struct bytes name)
{
    struct tsdb_labels_iter it = tsdb_labels_begin(l);
    struct tsdb_label label;
    while (tsdb_labels_next(&it, &label)) {
        int c = bytes_compare(label.name, name);
        if (c == 0)
            return label.value;
        if (c > 0)
            break;
    }
    return BYTES_NONE;
}

size_t tsdb_labels_count(struct tsdb_labels l)
{
    struct tsdb_labels_iter it = tsdb_labels_begin(l);
    struct tsdb_label label;
    size_t n = 0;
    while (tsdb_labels_next(&it, &label))
        n++;
    return n;
}

int tsdb_labels_compare(struct tsdb_labels a, struct tsdb_labels b)
{
    struct tsdb_labels_iter x = tsdb_labels_begin(a), y = tsdb_labels_begin(b);
    struct tsdb_label p, q;
    for (;;) {
        bool more_x = tsdb_labels_next(&x, &p), more_y = tsdb_labels_next(&y, &q);
        if (!more_x || !more_y)
            return more_x - more_y;
        int c = bytes_compare(p.name, q.name);
        c = c ? c : bytes_compare(p.value, q.value);
        if (c)
            return c;
    }
}
