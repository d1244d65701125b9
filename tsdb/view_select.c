#include <stdlib.h>

#include "base/check.h"
#include "tsdb/view_erase.h"

static bool head_has(const struct head_series *s, int64_t min_ms, int64_t max_ms)
{
    if (s->info->kind == TSDB_SERIES_SAMPLES)
        return s->t_min <= s->t_max && s->t_min <= max_ms && s->t_max >= min_ms;
    /* a cell's counter lives from its day's midnight to the day's end */
    const struct head_more *m = s->more;
    return m->minute_min <= m->minute_max && (int64_t)(m->minute_min / 1440) * 86400000 <= max_ms &&
           ((int64_t)(m->minute_max / 1440) + 1) * 86400000 > min_ms;
}

/* Nothing of it is left between because it is being erased. */
static bool is_erased(const struct tsdb_view *v, uint32_t bits, const struct view_source *src,
                      uint32_t id, int64_t min_ms, int64_t max_ms)
{
    int64_t first = INT64_MIN, last = INT64_MAX;
    if (!bits)
        return false;
    if (!src->head) {
        first = (int64_t)part_snapshot_day(src->part) * 86400000;
        last = first + 86399999;
    } else if (head_series_at(src->head->head, id)->info->kind == TSDB_SERIES_SAMPLES) {
        first = head_series_at(src->head->head, id)->t_min;
        last = head_series_at(src->head->head, id)->t_max;
    }
    return view_erase_span_of(v, bits, view_source_generation(src), MAX(first, min_ms),
                              MIN(last, max_ms));
}

/* Parts answer by their day. */
static bool has_data(const struct tsdb_view *v, const struct view_series *s, int64_t min_ms,
                     int64_t max_ms)
{
    for (uint32_t r = s->first_ref; r != VIEW_NONE; r = v->refs[r].next) {
        const struct view_source *src = &v->sources[v->refs[r].source];
        if ((src->head ? head_has(head_series_at(src->head->head, v->refs[r].id), min_ms, max_ms)
                       : view_part_overlaps(src->part, min_ms, max_ms)) &&
            !is_erased(v, s->erase, src, v->refs[r].id, min_ms, max_ms))
            return true;
    }
    return false;
}

/* Every match of every source enters the table. */
static enum err add_matches(struct tsdb_view *v, struct view_picker *p)
{
    enum err e = ERR_OK;
    for (uint32_t i = 0; i < v->source_count && e == ERR_OK; i++) {
        const struct head *h = v->sources[i].head ? v->sources[i].head->head : NULL;
        const uint32_t *at;
        uint32_t n = 0;
        if (h)
            head_read_lock(h);
        e = view_pick(p, v, &v->sources[i], &at, &n);
        for (uint32_t k = 0; k < n && e == ERR_OK; k++)
            e = view_add(v, i, at[k]);
        if (h)
            head_read_unlock(h);
    }
    return e;
}

enum err view_match(struct tsdb_view *v, const struct tsdb_matcher *m, size_t n, int64_t min_ms,
                    int64_t max_ms, struct arena *a, uint32_t **out, uint32_t *out_count)
{
    enum err e = view_load(v, min_ms, max_ms);
    if (e != ERR_OK)
        return e;
    bool is_first = v->series_count == 0; /* then the table holds nothing but the matches */
    struct view_picker *p = view_picker_new(m, n);
    e = p ? add_matches(v, p) : ERR_NOMEM;
    uint32_t *found = e == ERR_OK ? ARENA_ARRAY(a, uint32_t, v->series_count + 1) : NULL, count = 0;
    if (e == ERR_OK && !found)
        e = ERR_LIMIT;
    for (size_t i = 0; i < v->pin.head_count && e == ERR_OK; i++)
        head_read_lock(v->heads[i].head);
    for (uint32_t i = 0; i < v->series_count && e == ERR_OK; i++)
        if ((is_first || view_picker_matches(p, v->series[i].labels)) &&
            has_data(v, &v->series[i], min_ms, max_ms))
            found[count++] = i;
    for (size_t i = 0; i < v->pin.head_count && e == ERR_OK; i++)
        head_read_unlock(v->heads[i].head);
    view_picker_free(p);
    *out = found;
    *out_count = count;
    return e;
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

/* The positions of a source of which something is left, in place. Of a head: under its read lock. */
static enum err leave_out(struct tsdb_view *v, const struct view_source *src, int64_t min_ms,
                          int64_t max_ms, uint32_t *at, uint32_t *count)
{
    struct arena *scratch = view_erase_any(v) ? arena_new(0) : NULL;
    uint32_t n = 0;
    if (!view_erase_any(v))
        return ERR_OK;
    for (uint32_t i = 0; scratch && i < *count; i++) {
        const struct tsdb_series_info *info =
            src->head ? head_series_at(src->head->head, at[i])->info : NULL;
        arena_reset(scratch);
        struct tsdb_labels l =
            info ? info->labels : index_segment_labels(src->index, at[i], scratch);
        uint32_t bits =
            view_erase_series(v, info ? info->identity : src->index->identity[at[i]], l);
        if (!is_erased(v, bits, src, at[i], min_ms, max_ms))
            at[n++] = at[i];
    }
    *count = n;
    arena_free(scratch);
    return scratch ? ERR_OK : ERR_NOMEM;
}

/* Of a head: for each name the first series with anything there. Under its read lock. */
static enum err pick_names(const struct tsdb_view *v, const struct view_source *src, int64_t min_ms,
                           int64_t max_ms, struct arena *a, uint32_t **out, uint32_t *out_count)
{
    const struct head *h = src->head->head;
    uint32_t *at = ARENA_ARRAY(a, uint32_t, h->names.count + 1), n = 0;
    if (!at)
        return ERR_NOMEM;
    for (uint32_t k = 0; k < h->names.count; k++) {
        if (h->names.names[k].org != v->org)
            continue;
        for (uint32_t i = h->names.names[k].first; i < src->count; i = h->names.next[i]) {
            const struct head_series *s = head_series_at(h, i);
            if (s->ord_first < src->head->limit && head_has(s, min_ms, max_ms)) {
                at[n++] = i;
                break;
            }
        }
    }
    *out = at;
    *out_count = n;
    return ERR_OK;
}

/* Calls fn for every source with matches in [min, max]: their positions, of a head only those with anything there. names: not NULL when one
 * series of each metric is enough; an arena for them. */
static enum err each_source(struct tsdb_view *v, const struct tsdb_matcher *m, size_t n,
                            int64_t min_ms, int64_t max_ms, struct arena *names,
                            enum err (*fn)(void *ctx, const struct view_source *src,
                                           const uint32_t *at, uint32_t n),
                            void *ctx)
{
    enum err e = view_load(v, min_ms, max_ms);
    if (e != ERR_OK)
        return e;
    struct view_picker *p = view_picker_new(m, n);
    e = p ? ERR_OK : ERR_NOMEM;
    for (uint32_t i = 0; i < v->source_count && e == ERR_OK; i++) {
        const struct view_source *src = &v->sources[i];
        const uint32_t *at;
        uint32_t count = 0, kept = 0;
        if (!src->head) {
            if (!view_part_overlaps(src->part, min_ms, max_ms))
                continue;
            e = view_pick(p, v, src, &at, &count);
            if (e == ERR_OK) /* the picker's own array */
                e = leave_out(v, src, min_ms, max_ms, (uint32_t *)(uintptr_t)at, &count);
            if (e == ERR_OK && count)
                e = fn(ctx, src, at, count);
            continue;
        }
        const struct head *h = src->head->head;
        uint32_t *keep = NULL;
        bool few = names && !view_erase_any(v);
        head_read_lock(h);
        if (few)
            e = pick_names(v, src, min_ms, max_ms, names, &keep, &kept);
        else if ((e = view_pick(p, v, src, &at, &count)) == ERR_OK)
            keep = (uint32_t *)(uintptr_t)at; /* the picker's own array */
        for (uint32_t k = 0; k < count && e == ERR_OK; k++)
            if (head_has(head_series_at(h, at[k]), min_ms, max_ms))
                keep[kept++] = at[k];
        if (e == ERR_OK)
            e = leave_out(v, src, min_ms, max_ms, keep, &kept);
        if (e == ERR_OK && kept)
            e = fn(ctx, src, keep, kept);
        head_read_unlock(h);
    }
    view_picker_free(p);
    return e;
}

struct wanted {
    struct distinct d;
    struct arena *scratch;
    struct bytes name; /* of label_values */
};

static enum err add_names(void *ctx, const struct view_source *src, const uint32_t *at, uint32_t n)
{
    struct wanted *w = ctx;
    const struct index_segment *s = src->index;
    if (s && n == s->count) {
        for (uint32_t i = 0; i < s->name_count; i++)
            if (!distinct_add(&w->d, s->names[i]))
                return ERR_LIMIT;
        return ERR_OK;
    }
    arena_reset(w->scratch);
    uint8_t *seen = s ? ARENA_ARRAY(w->scratch, uint8_t, s->pair_count + 1) : NULL;
    if (s && !seen)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < n && !s; i++) {
        struct tsdb_labels_iter it =
            tsdb_labels_begin(head_series_at(src->head->head, at[i])->info->labels);
        struct tsdb_label l;
        while (tsdb_labels_next(&it, &l))
            if (!distinct_add(&w->d, l.name))
                return ERR_LIMIT;
    }
    for (uint32_t i = 0; i < n && s; i++)
        for (uint32_t k = s->row_start[at[i]]; k < s->row_start[at[i] + 1]; k++)
            seen[s->row_pairs[k]] = 1;
    for (uint32_t i = 0; s && i < s->name_count; i++)
        for (uint32_t k = s->name_pairs[i]; k < s->name_pairs[i + 1]; k++)
            if (seen[k]) {
                if (!distinct_add(&w->d, s->names[i]))
                    return ERR_LIMIT;
                break;
            }
    return ERR_OK;
}

static enum err add_values(void *ctx, const struct view_source *src, const uint32_t *at, uint32_t n)
{
    struct wanted *w = ctx;
    const struct index_segment *s = src->index;
    struct bytes last = BYTES_NONE;
    uint32_t lo, hi;
    if (!s) {
        for (uint32_t i = 0; i < n; i++) {
            struct bytes value =
                tsdb_labels_get(head_series_at(src->head->head, at[i])->info->labels, w->name);
            if (value.size == 0 || bytes_equal(value, last)) /* neighbours share most values */
                continue;
            if (!distinct_add(&w->d, value))
                return ERR_LIMIT;
            last = value;
        }
        return ERR_OK;
    }
    index_segment_name(s, w->name, &lo, &hi);
    arena_reset(w->scratch);
    uint8_t *seen = ARENA_ARRAY(w->scratch, uint8_t, hi - lo + 1);
    if (!seen)
        return ERR_NOMEM;
    if (n == s->count)
        memset(seen, 1, hi - lo);
    for (uint32_t i = 0; i < n && n < s->count && lo < hi; i++) {
        uint32_t pair = index_segment_pair(s, at[i], lo, hi);
        if (pair != UINT32_MAX)
            seen[pair - lo] = 1;
    }
    for (uint32_t i = lo; i < hi; i++)
        if (seen[i - lo] && !distinct_add(&w->d, s->pairs[i].value))
            return ERR_LIMIT;
    return ERR_OK;
}

enum err tsdb_label_names(struct tsdb_view *v, const struct tsdb_matcher *m, size_t n,
                          int64_t min_ms, int64_t max_ms, struct arena *a, struct bytes **out,
                          size_t *out_count)
{
    struct wanted w = {.d = {.a = a}, .scratch = arena_new(0)};
    enum err e = w.scratch ? each_source(v, m, n, min_ms, max_ms, NULL, add_names, &w) : ERR_NOMEM;
    arena_free(w.scratch);
    return e == ERR_OK ? distinct_done(&w.d, out, out_count) : e;
}

enum err tsdb_label_values(struct tsdb_view *v, struct bytes name, const struct tsdb_matcher *m,
                           size_t n, int64_t min_ms, int64_t max_ms, struct arena *a,
                           struct bytes **out, size_t *out_count)
{
    struct wanted w = {.d = {.a = a}, .scratch = arena_new(0), .name = name};
    struct arena *names =
        n == 0 && bytes_equal_str(name, "__name__") ? arena_new(0) : NULL; /* NULL: the long way */
    enum err e =
        w.scratch ? each_source(v, m, n, min_ms, max_ms, names, add_values, &w) : ERR_NOMEM;
    arena_free(names);
    arena_free(w.scratch);
    return e == ERR_OK ? distinct_done(&w.d, out, out_count) : e;
}
