#include "query/query_changes.h"

#include <stdlib.h>

#include "base/check.h"
#include "tsdb/tsdb_attrs.h"

#define MINUTE_MS INT64_C(60000)

/* Where a value that changes can be seen: the label of a family, and what narrows the family. */
struct place {
    const char *kind, *family, *label, *dim;
};
static const struct place places[] = {
    {"version", "llm_requests_total", "variant", NULL}, /* service.version, or what stands for it */
    {"model", "llm_requests_total", "model", NULL},
    {"prompt", "llm_breakdown_requests_total", "value", "prompt"},
};

struct work {
    struct tsdb_view *v;
    const struct query_changes_ask *q;
    struct arena *a;
    struct query_change *list;
    size_t count;
};

static struct query_change *change_new(struct work *w)
{
    w->list = arena_grow(w->a, w->list, sizeof(*w->list), w->count, w->count + 1);
    if (!w->list)
        return NULL;
    w->list[w->count] = (struct query_change){0};
    return &w->list[w->count++];
}

/* --- told ---------------------------------------------------------------------------------------- */

static struct bytes text_of(struct bytes attrs, const char *key)
{
    struct tsdb_value v;
    return tsdb_attrs_find(attrs, bytes_str(key), &v) && v.type == TSDB_VALUE_STRING ? v.bytes
                                                                                     : BYTES_NONE;
}

static struct bytes body_text(struct bytes body)
{
    struct tsdb_attrs_iter it = tsdb_attrs_begin(body);
    struct tsdb_value v;
    return body.size && tsdb_attrs_next_value(&it, &v) && v.type == TSDB_VALUE_STRING ? v.bytes
                                                                                      : BYTES_NONE;
}

static bool is_wanted(void *ctx, const struct tsdb_logs *l, uint32_t row)
{
    const struct work *w = ctx;
    struct bytes service = TSDB_SPAN_GET(l, service, row, BYTES_NONE);
    return !w->q->service.size || !service.size || bytes_equal(service, w->q->service);
}

static enum err told(struct work *w)
{
    struct tsdb_where where = {
        .column = TSDB_LOG_event_name, .op = TSDB_WHERE_IS, .text = BYTES_LIT(QUERY_CHANGES_EVENT)};
    struct tsdb_row_filter more = {.where = &where, .where_count = 1};
    struct tsdb_log_filter f = {.min_ns = w->q->from * MINUTE_MS * 1000000,
                                .max_ns = w->q->to * MINUTE_MS * 1000000 - 1,
                                .keep = is_wanted,
                                .ctx = w,
                                .keep_columns = UINT64_C(1) << TSDB_LOG_service,
                                .more = &more};
    struct tsdb_logs rows = {0};
    enum err e = tsdb_log_scan(w->v, &f, QUERY_CHANGES_MAX, w->a, &rows);
    if (e == ERR_NOT_FOUND)
        return ERR_OK;
    for (uint32_t i = 0; e == ERR_OK && i < rows.count; i++) {
        struct query_change *c = change_new(w);
        struct bytes attrs = TSDB_SPAN_GET(&rows, attrs, i, BYTES_NONE);
        if (!c)
            return ERR_LIMIT;
        *c = (struct query_change){.at_ms = rows.time_ns[i] / 1000000,
                                   .kind = text_of(attrs, "kind"),
                                   .service = TSDB_SPAN_GET(&rows, service, i, BYTES_NONE),
                                   .title = body_text(TSDB_SPAN_GET(&rows, body, i, BYTES_NONE)),
                                   .version = text_of(attrs, "version"),
                                   .model = text_of(attrs, "model"),
                                   .link = text_of(attrs, "link"),
                                   .by = text_of(attrs, "by")};
    }
    return e;
}

/* --- found --------------------------------------------------------------------------------------- */

#define MATCHERS 5u

static size_t matchers_of(const struct place *p, struct bytes service, struct tsdb_matcher *m)
{
    struct tsdb_matcher list[] = {
        {.op = TSDB_MATCH_EQ, .name = BYTES_LIT("__name__"), .value = bytes_str(p->family)},
        {.op = TSDB_MATCH_EQ, .name = BYTES_LIT("service"), .value = service},
        {.op = TSDB_MATCH_EQ, .name = BYTES_LIT("plane"), .value = BYTES_LIT("")},
        {.op = TSDB_MATCH_EQ, .name = BYTES_LIT("dim"), .value = bytes_str(p->dim ? p->dim : "")}};
    size_t n = p->dim ? 4 : 3;
    memcpy(m, list, n * sizeof(*m));
    return n;
}

static const struct tsdb_cells_group *group_of(const struct tsdb_cells_group *g, size_t n,
                                               struct bytes value)
{
    for (size_t i = 0; i < n; i++)
        if (g[i].sum > 0 && bytes_equal(g[i].value, value))
            return &g[i];
    return NULL;
}

/* A value that the day before did not have: since when, and how much of all it is since then. */
static enum err appeared(struct work *w, const struct place *p, struct bytes service,
                         const struct tsdb_cells_group *new, struct bytes before)
{
    struct tsdb_matcher m[MATCHERS];
    size_t n = matchers_of(p, service, m), minutes = w->q->to - w->q->from, first = 0;
    int64_t all = 0, *at = ARENA_ARRAY(w->a, int64_t, minutes);
    if (!at)
        return ERR_LIMIT;
    m[n] = (struct tsdb_matcher){
        .op = TSDB_MATCH_EQ, .name = bytes_str(p->label), .value = new->value};
    enum err e = tsdb_cells_minutes(w->v, m, n + 1, w->q->from, w->q->to, at);
    while (first < minutes && at[first] <= 0)
        first++;
    if (e != ERR_OK || first == minutes)
        return e;
    e = tsdb_cells_sum(w->v, m, n, w->q->from + (uint32_t)first, w->q->to, &all);
    double share = all > 0 ? (double)new->sum / (double)all : 0;
    if (e != ERR_OK || share < QUERY_CHANGES_LEAST_SHARE)
        return e;
    struct query_change *c = change_new(w);
    if (!c)
        return ERR_LIMIT;
    *c = (struct query_change){.at_ms = (w->q->from + (int64_t)first) * MINUTE_MS,
                               .kind = bytes_str(p->kind),
                               .service = arena_copy(w->a, service),
                               .title = new->value,
                               .before = before,
                               .share = share,
                               .is_found = true};
    if (strcmp(p->kind, "model") == 0)
        c->model = new->value;
    else
        c->version = new->value;
    return ERR_OK;
}

static enum err found_in(struct work *w, const struct place *p, struct bytes service)
{
    struct tsdb_matcher m[MATCHERS];
    size_t n = matchers_of(p, service, m), new_count = 0, old_count = 0;
    struct tsdb_cells_group *new = NULL, *old = NULL;
    const struct tsdb_cells_group *most = NULL;
    uint32_t day = MIN(w->q->from, QUERY_CHANGES_BEFORE_MINUTES);
    enum err e = tsdb_cells_by(w->v, m, n, bytes_str(p->label), w->q->from - day, w->q->from, w->a,
                               &old, &old_count);
    for (size_t i = 0; e == ERR_OK && i < old_count; i++)
        if (old[i].value.size && old[i].sum > (most ? most->sum : 0))
            most = &old[i];
    if (e != ERR_OK || !most)
        return e;
    e = tsdb_cells_by(w->v, m, n, bytes_str(p->label), w->q->from, w->q->to, w->a, &new,
                      &new_count);
    for (size_t i = 0; e == ERR_OK && i < new_count && w->count < QUERY_CHANGES_MAX; i++)
        if (new[i].value.size &&new[i].sum >= QUERY_CHANGES_LEAST_CALLS &&
            !group_of(old, old_count, new[i].value))
            e = appeared(w, p, service, &new[i], most->value);
    return e;
}

static int by_sum(const void *x, const void *y)
{
    const struct tsdb_cells_group *a = x, *b = y;
    return a->sum > b->sum ? -1 : a->sum < b->sum;
}

static enum err found(struct work *w)
{
    struct tsdb_cells_group one = {w->q->service, 1}, *services = &one;
    size_t n = 1;
    enum err e = ERR_OK;
    if (!w->q->service.size) {
        struct tsdb_matcher calls = {.op = TSDB_MATCH_EQ,
                                     .name = BYTES_LIT("__name__"),
                                     .value = BYTES_LIT("llm_requests_total")};
        e = tsdb_cells_by(w->v, &calls, 1, BYTES_LIT("service"), w->q->from, w->q->to, w->a,
                          &services, &n);
        if (e == ERR_OK && n)
            qsort(services, n, sizeof(*services), by_sum);
    }
    for (size_t i = 0; e == ERR_OK && i < MIN(n, (size_t)QUERY_CHANGES_SERVICES); i++)
        for (size_t k = 0; e == ERR_OK && k < ARRAY_LEN(places) && services[i].value.size; k++)
            e = found_in(w, &places[k], services[i].value);
    return e;
}

/* --- both ---------------------------------------------------------------------------------------- */

static int by_time(const void *x, const void *y)
{
    const struct query_change *a = x, *b = y;
    return a->at_ms > b->at_ms ? -1 : a->at_ms < b->at_ms;
}

enum err query_changes(struct tsdb_view *v, const struct query_changes_ask *q, struct arena *a,
                       struct query_change **out, size_t *out_count)
{
    struct work w = {.v = v, .q = q, .a = a};
    CHECK(q->from < q->to && q->to - q->from <= QUERY_CHANGES_MINUTES_MAX);
    *out = NULL;
    *out_count = 0;
    enum err e = told(&w);
    if (e == ERR_OK)
        e = found(&w);
    if (e != ERR_OK)
        return e;
    if (w.count)
        qsort(w.list, w.count, sizeof(*w.list), by_time);
    *out = w.list;
    *out_count = MIN(w.count, (size_t)QUERY_CHANGES_MAX);
    return ERR_OK;
}
