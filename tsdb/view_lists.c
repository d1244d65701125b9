/* Services, span names, freshness, exemplars, metadata. */
#include <stdlib.h>

#include "base/check.h"
#include "tsdb/view_erase.h"
#include "tsdb/view_visit.h"

#define NAME_BLOCKS_MAX 256u /* span names come from the newest blocks of a service only */
#define FRESH_BLOCKS_MAX \
    4096u /* looked at for services that fell silent: the page asks every few seconds */
#define FRESH_READS_MAX 64u /* of those, read */

struct list {
    struct arena *a;
    struct bytes *items;
    uint32_t count, cap;
};

static enum err list_add(struct list *l, struct bytes value)
{
    for (uint32_t i = l->count; i-- > 0;)
        if (bytes_equal(l->items[i], value))
            return ERR_OK;
    if (l->count == l->cap) {
        uint32_t cap = l->cap ? l->cap * 2 : 32;
        struct bytes *fresh = arena_grow(l->a, l->items, sizeof(*fresh), l->cap, cap);
        if (!fresh)
            return ERR_LIMIT;
        l->items = fresh;
        l->cap = cap;
    }
    l->items[l->count] = arena_copy(l->a, value);
    return l->items[l->count++].data ? ERR_OK : ERR_LIMIT;
}

static int by_bytes(const void *x, const void *y)
{
    return bytes_compare(*(const struct bytes *)x, *(const struct bytes *)y);
}

static void list_done(struct list *l, struct bytes **out, size_t *out_count)
{
    if (l->count)
        qsort(l->items, l->count, sizeof(*l->items), by_bytes);
    *out = l->items;
    *out_count = l->count;
}

/* One column of a block's rows that belong to the service (all when it is empty). */
static enum err list_block(struct list *l, const struct tsdb_view *v, const struct part_snapshot *p,
                           const struct block_meta *m, struct bytes service, bool names,
                           struct arena *scratch)
{
    struct view_block b = view_block_of(&view_rows_spans, p, m);
    const struct tsdb_spans *t = &b.t.spans;
    arena_reset(scratch);
    enum err e = view_block_load(
        v, &b, UINT64_C(1) << TSDB_SPAN_service | UINT64_C(1) << TSDB_SPAN_name, scratch);
    for (uint32_t i = 0; e == ERR_OK && i < t->count; i++)
        if (!names || bytes_equal(t->service[i], service))
            e = list_add(l, names ? t->name[i] : t->service[i]);
    return e == ERR_CORRUPT ? ERR_OK : e;
}

/* While rows are being erased dictionaries know too much: what the rows say that are left. */
struct left {
    struct list *list;
    struct fresh *fresh;
    bool names;
};

static enum err left_run(void *ctx, struct view_run *run, bool *stop);

static enum err list_left(struct tsdb_view *v, struct bytes service, struct left *left)
{
    struct view_search s = {.k = &view_rows_spans,
                            .v = v,
                            .min = INT64_MIN,
                            .max = INT64_MAX,
                            .service = service,
                            .run = left_run,
                            .ctx = left};
    return view_search_run(&s);
}

enum err tsdb_services(struct tsdb_view *v, struct arena *a, struct bytes **out, size_t *out_count)
{
    struct list l = {.a = a};
    if (view_erase_rows_active(v)) {
        enum err left = list_left(v, BYTES_NONE, &(struct left){.list = &l});
        if (left == ERR_OK)
            list_done(&l, out, out_count);
        return left;
    }
    struct arena *scratch = arena_new(0);
    enum err e = scratch ? view_check(v) : ERR_NOMEM;
    view_touch(v, INT64_MIN, INT64_MAX);
    for (size_t i = 0; i < v->pin.head_count && e == ERR_OK; i++) {
        const struct head *h = v->heads[i].head;
        head_read_lock(h);
        for (uint32_t k = 0; k < h->service_count && e == ERR_OK; k++)
            if (h->services[k].org == v->org)
                e = list_add(&l, h->services[k].service);
        head_read_unlock(h);
    }
    for (size_t i = 0; i < v->pin.part_count && e == ERR_OK; i++) {
        const struct part_snapshot *p = v->pin.parts[i];
        size_t count;
        if (part_snapshot_class(p) != PART_ROWS)
            continue;
        const struct block_meta *m = view_blocks(v, p, BLOCK_SPANS, VIEW_ANY_GENERATION, &count);
        for (size_t k = 0; k < count && e == ERR_OK; k++) {
            struct zone z;
            arena_reset(scratch);
            if (zone_read(m[k].summary, scratch, &z) != ERR_OK || !z.services_known)
                e = list_block(&l, v, p, &m[k], BYTES_NONE, false, scratch);
            else
                for (uint32_t s = 0; s < z.service_count && e == ERR_OK; s++)
                    e = list_add(&l, z.services[s]);
        }
    }
    arena_free(scratch);
    if (e == ERR_OK)
        list_done(&l, out, out_count);
    return e;
}

enum err tsdb_span_names(struct tsdb_view *v, struct bytes service, struct arena *a,
                         struct bytes **out, size_t *out_count)
{
    struct list l = {.a = a};
    if (view_erase_rows_active(v)) {
        enum err left = list_left(v, service, &(struct left){.list = &l, .names = true});
        if (left == ERR_OK)
            list_done(&l, out, out_count);
        return left;
    }
    struct arena *scratch = arena_new(0);
    enum err e = scratch ? view_check(v) : ERR_NOMEM;
    view_touch(v, INT64_MIN, INT64_MAX);
    uint32_t budget = NAME_BLOCKS_MAX;
    for (size_t i = 0; i < v->pin.head_count && e == ERR_OK; i++)
        for (uint32_t k = 0; k < v->heads[i].limit && e == ERR_OK; k++) {
            const struct tsdb_batch *b = head_batch_at(v->heads[i].head, k)->batch;
            for (uint32_t row = 0; b && b->org == v->org && row < b->spans.count && e == ERR_OK;
                 row++)
                if (head_span_kept(b, row) && bytes_equal(b->spans.service[row], service))
                    e = list_add(&l, b->spans.name[row]);
        }
    for (size_t i = v->pin.part_count; i-- > 0 && e == ERR_OK;) {
        const struct part_snapshot *p = v->pin.parts[i];
        size_t count;
        if (part_snapshot_class(p) != PART_ROWS)
            continue;
        const struct block_meta *m = view_blocks(v, p, BLOCK_SPANS, VIEW_ANY_GENERATION, &count);
        for (size_t k = count; k-- > 0 && e == ERR_OK && budget > 0;) {
            struct zone z;
            arena_reset(scratch);
            z.names_known = false;
            if (zone_read(m[k].summary, scratch, &z) == ERR_OK &&
                !zone_has(&z, service, BYTES_NONE))
                continue;
            e = view_check(v);
            if (e == ERR_OK && z.names_known) {
                for (uint32_t n = 0; n < z.name_count && e == ERR_OK; n++)
                    if (bytes_equal(z.services[z.names[n].service], service))
                        e = list_add(&l, z.names[n].name);
                continue;
            }
            budget--;
            if (e == ERR_OK)
                e = list_block(&l, v, p, &m[k], service, true, scratch);
        }
    }
    arena_free(scratch);
    if (e == ERR_OK)
        list_done(&l, out, out_count);
    return e;
}

/* --- freshness ----------------------------------------------------------------------------------- */

struct fresh {
    struct arena *a;
    struct tsdb_freshness *rows;
    uint32_t count, cap, live; /* the first `live` come from heads: nothing sealed is newer */
};

static struct tsdb_freshness *fresh_find(struct fresh *f, struct bytes service)
{
    for (uint32_t i = 0; i < f->count; i++)
        if (bytes_equal(f->rows[i].service, service))
            return &f->rows[i];
    return NULL;
}

static struct tsdb_freshness *fresh_of(struct fresh *f, struct bytes service)
{
    struct tsdb_freshness *row = fresh_find(f, service);
    if (row)
        return row;
    if (f->count == f->cap) {
        uint32_t cap = f->cap ? f->cap * 2 : 16;
        struct tsdb_freshness *more = arena_grow(f->a, f->rows, sizeof(*more), f->cap, cap);
        if (!more)
            return NULL;
        f->rows = more;
        f->cap = cap;
    }
    struct bytes copy = arena_copy(f->a, service);
    if (!copy.data)
        return NULL;
    f->rows[f->count] = (struct tsdb_freshness){.service = copy};
    return &f->rows[f->count++];
}

static enum err fresh_head(struct fresh *f, const struct head *h, uint32_t org)
{
    enum err e = ERR_OK;
    head_read_lock(h);
    for (uint32_t k = 0; k < h->service_count && e == ERR_OK; k++) {
        const struct head_service *s = &h->services[k];
        struct tsdb_freshness *row = s->org == org ? fresh_of(f, s->service) : NULL;
        if (row) {
            row->newest_end_ns = MAX(row->newest_end_ns, s->newest_end_ns);
            row->received_ns = MAX(row->received_ns, s->received_ns);
            row->spans += s->spans;
            row->genai_spans += s->genai_spans;
        } else if (s->org == org) {
            e = ERR_LIMIT;
        }
    }
    head_read_unlock(h);
    return e;
}

/* Whether the block may hold something newer than what is known of one of its services. */
static bool fresh_wants(struct fresh *f, const struct block_meta *m, struct arena *scratch)
{
    struct zone z;
    arena_reset(scratch);
    if (zone_read(m->summary, scratch, &z) != ERR_OK || !z.services_known)
        return true;
    for (uint32_t i = 0; i < z.service_count; i++) {
        const struct tsdb_freshness *row = fresh_find(f, z.services[i]);
        if (!row || (row - f->rows >= f->live && row->newest_end_ns / 1000000 < m->time_max))
            return true;
    }
    return false;
}

static enum err fresh_block(struct fresh *f, const struct tsdb_view *v,
                            const struct part_snapshot *p, const struct block_meta *m,
                            struct arena *scratch)
{
    struct view_block b = view_block_of(&view_rows_spans, p, m);
    const struct tsdb_spans *t = &b.t.spans;
    arena_reset(scratch);
    enum err e = view_block_load(
        v, &b, UINT64_C(1) << TSDB_SPAN_service | UINT64_C(1) << TSDB_SPAN_end_ns, scratch);
    for (uint32_t i = 0; e == ERR_OK && i < t->count; i++) {
        struct tsdb_freshness *row = fresh_of(f, t->service[i]);
        if (!row)
            e = ERR_LIMIT;
        else if (row - f->rows >= f->live)
            row->received_ns = row->newest_end_ns = MAX(row->newest_end_ns, t->end_ns[i]);
    }
    return e == ERR_CORRUPT ? ERR_OK : e;
}

static enum err fresh_parts(struct fresh *f, const struct tsdb_view *v)
{
    struct arena *scratch = arena_new(0);
    enum err e = scratch ? ERR_OK : ERR_NOMEM;
    uint32_t looks = FRESH_BLOCKS_MAX, reads = FRESH_READS_MAX;
    for (size_t i = v->pin.part_count; i-- > 0 && e == ERR_OK && looks && reads;) {
        const struct part_snapshot *p = v->pin.parts[i];
        size_t count;
        if (part_snapshot_class(p) != PART_ROWS)
            continue;
        const struct block_meta *m = view_blocks(v, p, BLOCK_SPANS, VIEW_ANY_GENERATION, &count);
        for (size_t k = count; k-- > 0 && e == ERR_OK && looks && reads; looks--) {
            if (!fresh_wants(f, &m[k], scratch))
                continue;
            reads--;
            e = view_check(v);
            if (e == ERR_OK)
                e = fresh_block(f, v, p, &m[k], scratch);
        }
    }
    arena_free(scratch);
    return e;
}

enum err tsdb_freshness_read(struct tsdb_view *v, struct arena *a, struct tsdb_freshness **out,
                             size_t *out_count)
{
    struct fresh f = {.a = a};
    enum err e = view_check(v);
    view_touch(v, INT64_MIN, INT64_MAX);
    bool erasing = view_erase_rows_active(v);
    for (size_t i = 0; i < v->pin.head_count && e == ERR_OK && !erasing; i++)
        e = fresh_head(&f, v->heads[i].head, v->org);
    f.live = f.count;
    if (e == ERR_OK)
        e = erasing ? list_left(v, BYTES_NONE, &(struct left){.fresh = &f}) : fresh_parts(&f, v);
    if (e != ERR_OK)
        return e;
    *out = f.rows;
    *out_count = f.count;
    return ERR_OK;
}

static enum err left_run(void *ctx, struct view_run *run, bool *stop)
{
    struct left *left = ctx;
    const struct tsdb_spans *t = &run->t->spans;
    enum err e =
        view_run_load(run, UINT64_C(1) << TSDB_SPAN_service | UINT64_C(1) << TSDB_SPAN_name |
                               UINT64_C(1) << TSDB_SPAN_end_ns);
    (void)stop;
    for (uint32_t i = 0; i < run->count && e == ERR_OK; i++) {
        uint32_t row = run->rows[i];
        if (left->list) {
            e = list_add(left->list, left->names ? t->name[row] : t->service[row]);
            continue;
        }
        struct tsdb_freshness *f = fresh_of(left->fresh, t->service[row]);
        if (!f)
            return ERR_LIMIT;
        f->received_ns = f->newest_end_ns = MAX(f->newest_end_ns, t->end_ns[row]);
        f->spans += run->block == NULL;
    }
    return e;
}

/* --- exemplars ----------------------------------------------------------------------------------- */

struct exemplars {
    struct arena *a;
    struct tsdb_exemplar *list;
    uint32_t count, cap;
};

static enum err add_exemplar(struct exemplars *x, struct tsdb_labels series, int64_t t_ms,
                             double value, struct tsdb_labels labels)
{
    if (x->count == x->cap) {
        uint32_t cap = x->cap ? x->cap * 2 : 32;
        struct tsdb_exemplar *fresh = arena_grow(x->a, x->list, sizeof(*fresh), x->cap, cap);
        if (!fresh)
            return ERR_LIMIT;
        x->list = fresh;
        x->cap = cap;
    }
    struct tsdb_exemplar one = {
        {arena_copy(x->a, series.enc)}, {arena_copy(x->a, labels.enc)}, t_ms, value};
    if (!one.series.enc.data || !one.labels.enc.data)
        return ERR_LIMIT;
    x->list[x->count++] = one;
    return ERR_OK;
}

static int by_series(const void *x, const void *y)
{
    const struct tsdb_exemplar *a = x, *b = y;
    int c = tsdb_labels_compare(a->series, b->series);
    return c ? c : (a->t_ms > b->t_ms) - (a->t_ms < b->t_ms);
}

static enum err exemplars_of_part(struct tsdb_view *v, const struct part_snapshot *p,
                                  const struct tsdb_matcher *m, size_t n, int64_t min_ms,
                                  int64_t max_ms, struct arena *scratch, struct exemplars *x)
{
    size_t count;
    const struct block_meta *b = view_blocks(v, p, BLOCK_EXEMPLARS, VIEW_ANY_GENERATION, &count);
    enum err e = ERR_OK;
    for (size_t i = 0; i < count && e == ERR_OK; i++) {
        struct bytes block;
        struct block_exemplar *list = NULL;
        uint32_t got = 0;
        arena_reset(scratch);
        e = view_fetch(p, &b[i], scratch, &block);
        if (e == ERR_OK && (e = block_exemplars_read(block, scratch, &list, &got)) == ERR_CORRUPT)
            view_count_corrupt();
        for (uint32_t k = 0; e == ERR_OK && k < got; k++)
            if (list[k].t_ms >= min_ms && list[k].t_ms <= max_ms &&
                view_labels_match(m, n, list[k].series) &&
                !view_erase_exemplar(v, list[k].series, list[k].labels, list[k].t_ms,
                                     b[i].key.generation))
                e = add_exemplar(x, list[k].series, list[k].t_ms, list[k].value, list[k].labels);
        e = e == ERR_CORRUPT ? ERR_OK : e;
    }
    return e;
}

enum err tsdb_exemplars_read(struct tsdb_view *v, const struct tsdb_matcher *m, size_t n,
                             int64_t min_ms, int64_t max_ms, struct arena *a,
                             struct tsdb_exemplar **out, size_t *out_count)
{
    struct exemplars x = {.a = a};
    struct arena *scratch = arena_new(0);
    enum err e = scratch ? view_check(v) : ERR_NOMEM;
    view_touch(v, min_ms, max_ms);
    for (size_t i = 0; i < v->pin.part_count && e == ERR_OK; i++)
        if (part_snapshot_class(v->pin.parts[i]) == PART_SAMPLES &&
            view_part_overlaps(v->pin.parts[i], min_ms, max_ms))
            e = exemplars_of_part(v, v->pin.parts[i], m, n, min_ms, max_ms, scratch, &x);
    for (size_t i = 0; i < v->pin.head_count && e == ERR_OK; i++)
        for (uint32_t k = 0; k < v->heads[i].limit && e == ERR_OK; k++) {
            const struct head *h = v->heads[i].head;
            const struct tsdb_batch *b = head_batch_at(h, k)->batch;
            for (uint32_t j = 0; b && b->org == v->org && j < b->exemplars.count && e == ERR_OK;
                 j++) {
                const struct tsdb_exemplars *t = &b->exemplars;
                struct tsdb_labels series = tsdb_registry_info(h->registry, t->series[j])->labels;
                if (t->t_ms[j] >= min_ms && t->t_ms[j] <= max_ms &&
                    view_labels_match(m, n, series) &&
                    !view_erase_exemplar(v, series, t->labels[j], t->t_ms[j], h->generation))
                    e = add_exemplar(&x, series, t->t_ms[j], t->value[j], t->labels[j]);
            }
        }
    arena_free(scratch);
    if (e != ERR_OK)
        return e;
    if (x.count)
        qsort(x.list, x.count, sizeof(*x.list), by_series);
    *out = x.list;
    *out_count = x.count;
    return ERR_OK;
}

/* --- metadata ------------------------------------------------------------------------------------ */

struct rows {
    struct arena *a;
    struct tsdb_metadata_row *list;
    uint32_t count, cap;
};

static enum err add_row(struct rows *r, const struct tsdb_metadata_row *m)
{
    for (uint32_t i = 0; i < r->count; i++)
        if (bytes_equal(r->list[i].family, m->family) && bytes_equal(r->list[i].type, m->type) &&
            bytes_equal(r->list[i].help, m->help) && bytes_equal(r->list[i].unit, m->unit))
            return ERR_OK;
    if (r->count == r->cap) {
        uint32_t cap = r->cap ? r->cap * 2 : 32;
        struct tsdb_metadata_row *fresh = arena_grow(r->a, r->list, sizeof(*fresh), r->cap, cap);
        if (!fresh)
            return ERR_LIMIT;
        r->list = fresh;
        r->cap = cap;
    }
    struct tsdb_metadata_row copy = {arena_copy(r->a, m->family), arena_copy(r->a, m->type),
                                     arena_copy(r->a, m->help), arena_copy(r->a, m->unit)};
    if (!copy.family.data || !copy.type.data || !copy.help.data || !copy.unit.data)
        return ERR_LIMIT;
    r->list[r->count++] = copy;
    return ERR_OK;
}

static int by_family(const void *x, const void *y)
{
    return bytes_compare(((const struct tsdb_metadata_row *)x)->family,
                         ((const struct tsdb_metadata_row *)y)->family);
}

enum err tsdb_metadata_read(struct tsdb_view *v, struct arena *a, struct tsdb_metadata_row **out,
                            size_t *out_count)
{
    struct rows r = {.a = a};
    struct arena *scratch = arena_new(0);
    enum err e = scratch ? view_check(v) : ERR_NOMEM;
    view_touch(v, INT64_MIN, INT64_MAX);
    for (size_t i = 0; i < v->pin.part_count && e == ERR_OK; i++) {
        const struct part_snapshot *p = v->pin.parts[i];
        size_t count = 0;
        const struct block_meta *m =
            part_snapshot_class(p) == PART_SAMPLES
                ? view_blocks(v, p, BLOCK_METADATA, VIEW_ANY_GENERATION, &count)
                : NULL;
        for (size_t k = 0; k < count && e == ERR_OK; k++) {
            struct bytes block;
            struct tsdb_metadata_row *list = NULL;
            uint32_t n = 0;
            arena_reset(scratch);
            e = view_fetch(p, &m[k], scratch, &block);
            if (e == ERR_OK && (e = block_metadata_read(block, scratch, &list, &n)) == ERR_CORRUPT)
                view_count_corrupt();
            for (uint32_t j = 0; j < n && e == ERR_OK; j++)
                e = add_row(&r, &list[j]);
            e = e == ERR_CORRUPT ? ERR_OK : e;
        }
    }
    for (size_t i = 0; i < v->pin.head_count && e == ERR_OK; i++)
        for (uint32_t k = 0; k < v->heads[i].limit && e == ERR_OK; k++) {
            const struct tsdb_batch *b = head_batch_at(v->heads[i].head, k)->batch;
            for (uint32_t j = 0; b && b->org == v->org && j < b->metadata.count && e == ERR_OK; j++)
                e = add_row(&r, &b->metadata.row[j]);
        }
    arena_free(scratch);
    if (e != ERR_OK)
        return e;
    if (r.count)
        qsort(r.list, r.count, sizeof(*r.list), by_family);
    *out = r.list;
    *out_count = r.count;
    return ERR_OK;
}
