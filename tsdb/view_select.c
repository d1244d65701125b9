#include <stdlib.h>

#include "base/check.h"
#include "tsdb/view_core.h"

/* Answers of one pattern, each distinct value asked once. */
struct answers {
    struct {
        struct bytes value;
        bool used, matches;
    } * slots;
    uint32_t count, cap;
};

static bool ask(const struct tsdb_matcher *m, struct answers *s, struct arena *a,
                struct bytes value)
{
    if ((s->count + 1) * 2 > s->cap) {
        struct answers more = {.cap = s->cap ? s->cap * 2 : 64};
        more.slots = arena_alloc(a, more.cap * sizeof(*more.slots));
        if (!more.slots) /* no memory for remembering: ask every time */
            return m->match(m->ctx, value);
        for (uint32_t i = 0; i < s->cap; i++) {
            if (!s->slots[i].used)
                continue;
            uint32_t j = (uint32_t)hash64(s->slots[i].value, 0) & (more.cap - 1);
            while (more.slots[j].used)
                j = (j + 1) & (more.cap - 1);
            memcpy(&more.slots[j], &s->slots[i], sizeof(*more.slots));
            more.count++;
        }
        *s = more;
    }
    uint32_t j = (uint32_t)hash64(value, 0) & (s->cap - 1);
    while (s->slots[j].used && !bytes_equal(s->slots[j].value, value))
        j = (j + 1) & (s->cap - 1);
    if (!s->slots[j].used) {
        s->slots[j].value = value;
        s->slots[j].used = true;
        s->slots[j].matches = m->match(m->ctx, value);
        s->count++;
    }
    return s->slots[j].matches;
}

static bool matches(const struct tsdb_matcher *m, size_t n, struct answers *answers,
                    struct arena *a, struct tsdb_labels l)
{
    for (size_t i = 0; i < n; i++) {
        struct bytes value = tsdb_labels_get(l, m[i].name);
        bool ok = false;
        switch (m[i].op) {
        case TSDB_MATCH_EQ: ok = bytes_equal(value, m[i].value); break;
        case TSDB_MATCH_NE: ok = !bytes_equal(value, m[i].value); break;
        case TSDB_MATCH_RE:
            ok = answers ? ask(&m[i], &answers[i], a, value) : m[i].match(m[i].ctx, value);
            break;
        case TSDB_MATCH_NRE:
            ok = !(answers ? ask(&m[i], &answers[i], a, value) : m[i].match(m[i].ctx, value));
            break;
        }
        if (!ok)
            return false;
    }
    return true;
}

bool view_labels_match(const struct tsdb_matcher *m, size_t n, struct tsdb_labels l)
{
    return matches(m, n, NULL, NULL, l);
}

static bool head_has(const struct head_series *s, int64_t min_ms, int64_t max_ms)
{
    if (s->info->kind == TSDB_SERIES_SAMPLES)
        return s->t_min <= max_ms && s->t_max >= min_ms;
    /* a cell's counter lives from its day's midnight to the day's end */
    return s->minute_min <= s->minute_max && (int64_t)(s->minute_min / 1440) * 86400000 <= max_ms &&
           ((int64_t)(s->minute_max / 1440) + 1) * 86400000 > min_ms;
}

/* Parts answer by their day. */
static bool has_data(const struct tsdb_view *v, const struct view_series *s, int64_t min_ms,
                     int64_t max_ms)
{
    for (uint32_t r = s->first_ref; r != VIEW_NONE; r = v->refs[r].next) {
        const struct view_source *src = &v->sources[v->refs[r].source];
        if (src->head ? head_has(&src->head->head->series[v->refs[r].id], min_ms, max_ms)
                      : view_part_overlaps(src->part, min_ms, max_ms))
            return true;
    }
    return false;
}

enum err view_match(struct tsdb_view *v, const struct tsdb_matcher *m, size_t n, int64_t min_ms,
                    int64_t max_ms, struct arena *a, uint32_t **out, uint32_t *out_count)
{
    enum err e = view_load(v, min_ms, max_ms);
    if (e != ERR_OK)
        return e;
    struct arena *scratch = arena_new(64u << 20);
    struct answers *answers = scratch ? ARENA_ARRAY(scratch, struct answers, n + 1) : NULL;
    uint32_t *found = ARENA_ARRAY(a, uint32_t, v->series_count + 1), count = 0;
    if (!answers || !found) {
        arena_free(scratch);
        return found ? ERR_NOMEM : ERR_LIMIT;
    }
    for (size_t i = 0; i < v->pin.head_count; i++)
        head_read_lock(v->heads[i].head);
    for (uint32_t i = 0; i < v->series_count; i++)
        if (matches(m, n, answers, scratch, v->series[i].labels) &&
            has_data(v, &v->series[i], min_ms, max_ms))
            found[count++] = i;
    for (size_t i = 0; i < v->pin.head_count; i++)
        head_read_unlock(v->heads[i].head);
    arena_free(scratch);
    *out = found;
    *out_count = count;
    return ERR_OK;
}

static int by_labels(const void *x, const void *y)
{
    const struct tsdb_series *a = x, *b = y;
    int c = tsdb_labels_compare(a->labels, b->labels);
    return c ? c : (int)a->kind - (int)b->kind;
}

enum err tsdb_select(struct tsdb_view *v, const struct tsdb_matcher *m, size_t n, int64_t min_ms,
                     int64_t max_ms, struct arena *a, struct tsdb_series **out, size_t *out_count)
{
    uint32_t *found, count;
    enum err e = view_match(v, m, n, min_ms, max_ms, a, &found, &count);
    if (e != ERR_OK)
        return e;
    struct tsdb_series *s = ARENA_ARRAY(a, struct tsdb_series, count + 1);
    if (!s)
        return ERR_LIMIT;
    for (uint32_t i = 0; i < count; i++) {
        const struct view_series *vs = &v->series[found[i]];
        s[i] =
            (struct tsdb_series){{arena_copy(a, vs->labels.enc)}, vs->identity, vs->kind, found[i]};
        if (!s[i].labels.enc.data)
            return ERR_LIMIT;
    }
    qsort(s, count, sizeof(*s), by_labels);
    *out = s;
    *out_count = count;
    return ERR_OK;
}

/* --- names and values ---------------------------------------------------------------------------- */

static int by_bytes(const void *x, const void *y)
{
    return bytes_compare(*(const struct bytes *)x, *(const struct bytes *)y);
}

struct distinct {
    struct arena *a;
    struct bytes *slots, *list;
    uint32_t count, cap;
};

static bool distinct_add(struct distinct *d, struct bytes value)
{
    if ((d->count + 1) * 2 > d->cap) {
        uint32_t cap = d->cap ? d->cap * 2 : 64;
        struct bytes *slots = ARENA_ARRAY(d->a, struct bytes, cap);
        struct bytes *list = arena_grow(d->a, d->list, sizeof(*list), d->cap, cap);
        if (!slots || !list)
            return false;
        for (uint32_t i = 0; i < d->count; i++) {
            uint32_t j = (uint32_t)hash64(list[i], 0) & (cap - 1);
            while (slots[j].data)
                j = (j + 1) & (cap - 1);
            slots[j] = list[i];
        }
        d->slots = slots;
        d->list = list;
        d->cap = cap;
    }
    uint32_t j = (uint32_t)hash64(value, 0) & (d->cap - 1);
    while (d->slots[j].data && !bytes_equal(d->slots[j], value))
        j = (j + 1) & (d->cap - 1);
    if (d->slots[j].data)
        return true;
    struct bytes copy = arena_copy(d->a, value);
    if (!copy.data)
        return false;
    d->slots[j] = copy;
    d->list[d->count++] = copy;
    return true;
}

static enum err distinct_done(struct distinct *d, struct bytes **out, size_t *out_count)
{
    if (d->count)
        qsort(d->list, d->count, sizeof(*d->list), by_bytes);
    *out = d->list;
    *out_count = d->count;
    return ERR_OK;
}

enum err tsdb_label_names(struct tsdb_view *v, const struct tsdb_matcher *m, size_t n,
                          int64_t min_ms, int64_t max_ms, struct arena *a, struct bytes **out,
                          size_t *out_count)
{
    uint32_t *found, count;
    struct distinct d = {.a = a};
    enum err e = view_match(v, m, n, min_ms, max_ms, a, &found, &count);
    for (uint32_t i = 0; e == ERR_OK && i < count; i++) {
        struct tsdb_labels_iter it = tsdb_labels_begin(v->series[found[i]].labels);
        struct tsdb_label l;
        while (e == ERR_OK && tsdb_labels_next(&it, &l))
            if (!distinct_add(&d, l.name))
                e = ERR_LIMIT;
    }
    return e == ERR_OK ? distinct_done(&d, out, out_count) : e;
}

enum err tsdb_label_values(struct tsdb_view *v, struct bytes name, const struct tsdb_matcher *m,
                           size_t n, int64_t min_ms, int64_t max_ms, struct arena *a,
                           struct bytes **out, size_t *out_count)
{
    uint32_t *found, count;
    struct distinct d = {.a = a};
    enum err e = view_match(v, m, n, min_ms, max_ms, a, &found, &count);
    for (uint32_t i = 0; e == ERR_OK && i < count; i++) {
        struct bytes value = tsdb_labels_get(v->series[found[i]].labels, name);
        if (value.size && !distinct_add(&d, value))
            e = ERR_LIMIT;
    }
    return e == ERR_OK ? distinct_done(&d, out, out_count) : e;
}
