#include "collector/otlp/point_series.h"

#include "base/check.h"
#include "collector/otlp/attr_encode.h"
#include "collector/otlp/metric_name.h"
#include "collector/otlp/otlp_memo.h"

enum err point_series_init(struct point_series *p, struct decode *d)
{
    *p = (struct point_series){.d = d};
    buf_init(&p->text, POINT_SERIES_SCRATCH_MAX);
    p->scratch = arena_new(POINT_SERIES_SCRATCH_MAX);
    return p->scratch ? ERR_OK : ERR_NOMEM;
}

void point_series_done(struct point_series *p)
{
    arena_free(p->scratch);
    buf_done(&p->text);
}

/* Keys are chained: each part is hashed with what came before as its seed, its length included. */
static struct hash128 chain(struct hash128 key, struct bytes part)
{
    struct hash128 h = hash128(part, key.lo ^ (key.hi << 1 | key.hi >> 63));
    return (struct hash128){h.lo ^ (key.hi + part.size), h.hi ^ key.lo};
}

static enum err build_job(struct point_series *p, const struct decode_resource *r)
{
    p->job = r->service;
    if (!r->service.size || !r->name_space.size)
        return ERR_OK;
    buf_clear(&p->text);
    buf_bytes_append(&p->text, r->name_space);
    buf_u8(&p->text, '/');
    buf_bytes_append(&p->text, r->service);
    return decode_keep(p->d, &p->text, &p->job);
}

/* --- attributes to labels ------------------------------------------------------------------------ */

struct attr {
    struct bytes key, name, value;
};

static bool value_text(struct point_series *p, struct bytes wire, struct bytes *out)
{
    if (attr_encode_is_string(wire, out))
        return true;
    struct buf encoded;
    buf_init(&encoded, POINT_SERIES_SCRATCH_MAX);
    attr_encode_value(wire, &encoded);
    struct tsdb_attrs_iter it = tsdb_attrs_begin(buf_bytes(&encoded));
    struct tsdb_value v;
    bool fine = buf_ok(&encoded) && tsdb_attrs_next_value(&it, &v);
    if (fine) {
        buf_clear(&p->text);
        tsdb_attrs_text(&p->text, v);
        *out = arena_copy(p->scratch, buf_bytes(&p->text));
        fine = buf_ok(&p->text) && out->data;
    }
    buf_done(&encoded);
    return fine;
}

static bool read_attr(struct point_series *p, struct bytes wire, struct attr *a)
{
    struct bytes value;
    attr_encode_split(wire, &a->key, &value);
    buf_clear(&p->text);
    metric_name_label(a->key, p->d->o->translation.strategy, &p->text);
    a->name = arena_copy(p->scratch, buf_bytes(&p->text));
    return buf_ok(&p->text) && a->name.data && value_text(p, value, &a->value);
}

static int attr_compare(const struct attr *a, const struct attr *b)
{
    int c = bytes_compare(a->name, b->name);
    return c ? c : bytes_compare(a->key, b->key);
}

static void attrs_sort(struct attr *attrs, unsigned n)
{
    for (unsigned i = 1; i < n; i++) {
        struct attr a = attrs[i];
        unsigned j = i;
        for (; j > 0 && attr_compare(&attrs[j - 1], &a) > 0; j--)
            attrs[j] = attrs[j - 1];
        attrs[j] = a;
    }
}

/* Keys that became the same name: their values joined with ';' in the order of the keys. */
static bool attrs_to_labels(struct point_series *p, struct attr *attrs, unsigned n)
{
    attrs_sort(attrs, n);
    p->count = 0;
    for (unsigned i = 0; i < n; i++) {
        struct tsdb_label *last = p->count ? &p->labels[p->count - 1] : NULL;
        if (!last || !bytes_equal(last->name, attrs[i].name)) {
            p->labels[p->count++] = (struct tsdb_label){attrs[i].name, attrs[i].value};
            continue;
        }
        buf_clear(&p->text);
        buf_bytes_append(&p->text, last->value);
        buf_u8(&p->text, ';');
        buf_bytes_append(&p->text, attrs[i].value);
        last->value = arena_copy(p->scratch, buf_bytes(&p->text));
        if (!buf_ok(&p->text) || !last->value.data)
            return false;
    }
    return true;
}

static struct tsdb_label *label_named(struct point_series *p, struct bytes name)
{
    for (unsigned i = 0; i < p->count; i++)
        if (bytes_equal(p->labels[i].name, name))
            return &p->labels[i];
    return NULL;
}

static bool label_set(struct point_series *p, struct bytes name, struct bytes value)
{
    struct tsdb_label *l = label_named(p, name);
    if (!l && p->count == TSDB_LABELS_MAX)
        return false;
    if (!l)
        l = &p->labels[p->count++];
    *l = (struct tsdb_label){name, value};
    return true;
}

/* --- labels of all series of a resource, a scope, a metric ---------------------------------------- */

/* Appends a label that outlives the points; empty values are none. */
static enum err keep_label(struct point_series *p, struct tsdb_label *list, unsigned *n,
                           struct bytes name, struct bytes value)
{
    struct arena *a = p->d->batch->arena;
    if (!value.size)
        return ERR_OK;
    if (*n == TSDB_LABELS_MAX) {
        p->has_too_many = true;
        return ERR_OK;
    }
    list[*n] = (struct tsdb_label){arena_copy(a, name), arena_copy(a, value)};
    return list[*n].name.data && list[(*n)++].value.data ? ERR_OK : decode_full();
}

static struct hash128 chain_labels(struct hash128 key, const struct tsdb_label *l, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        key = chain(chain(key, l[i].name), l[i].value);
    return key;
}

static bool is_promoted(const struct otlp_translation *t, struct bytes key)
{
    bool listed = false;
    for (size_t i = 0; i < t->promote_count && !listed; i++)
        listed = bytes_equal_str(key, t->promote[i]);
    return listed != t->promote_all;
}

static bool is_listed(const struct tsdb_label *list, unsigned n, struct bytes name)
{
    for (unsigned i = 0; i < n; i++)
        if (bytes_equal(list[i].name, name))
            return true;
    return false;
}

/* Of attributes that become the same name the first one stands. */
static enum err promote(struct point_series *p, struct bytes resource)
{
    const struct otlp_translation *t = &p->d->o->translation;
    struct otlp_wire w = otlp_wire_of(resource);
    struct otlp_wire_field f;
    enum err e = ERR_OK;
    p->promoted_count = 0;
    p->has_too_many = false;
    if (!t->promote_all && !t->promote_count)
        return ERR_OK;
    while (e == ERR_OK && otlp_wire_next(&w, &f) == OTLP_WIRE_FIELD) {
        struct attr a;
        struct bytes key, value;
        if (f.number != 1)
            continue;
        attr_encode_split(f.bytes, &key, &value);
        if (!is_promoted(t, key))
            continue;
        arena_reset(p->scratch);
        if (!read_attr(p, f.bytes, &a))
            p->has_too_many = true; /* longer than anything may be */
        else if (!is_listed(p->promoted, p->promoted_count, a.name))
            e = keep_label(p, p->promoted, &p->promoted_count, a.name, a.value);
    }
    return e;
}

static struct hash128 settings_key(const struct otlp_translation *t, struct hash128 key)
{
    uint8_t set[] = {(uint8_t)t->strategy, t->promote_scope, t->type_and_unit, t->custom_buckets};
    bool is_default = true;
    for (size_t i = 0; i < sizeof(set); i++)
        is_default &= !set[i];
    return is_default ? key : chain(key, bytes_of(set, sizeof(set)));
}

enum err point_series_resource(struct point_series *p, const struct decode_resource *r)
{
    p->instance = r->instance;
    enum err e = build_job(p, r);
    p->base_key = chain((struct hash128){otlp_memo_seed(), p->d->o->org}, p->job);
    p->base_key = settings_key(&p->d->o->translation, chain(p->base_key, p->instance));
    if (e == ERR_OK)
        e = promote(p, r->wire);
    p->resource_key = chain_labels(p->base_key, p->promoted, p->promoted_count);
    p->scope_key = p->metric_key = p->resource_key;
    p->scope_count = 0;
    return e;
}

static enum err keep_scope_attr(struct point_series *p, struct bytes wire)
{
    struct attr a;
    struct bytes key, value;
    attr_encode_split(wire, &key, &value);
    arena_reset(p->scratch);
    if (!value_text(p, value, &a.value)) {
        p->has_too_many = true;
        return ERR_OK;
    }
    struct bytes full = arena_printf(p->scratch, "otel_scope_" BYTES_FMT, BYTES_ARG(key));
    buf_clear(&p->text);
    metric_name_label(full, p->d->o->translation.strategy, &p->text);
    if (!full.data || !buf_ok(&p->text))
        return ERR_NOMEM;
    return keep_label(p, p->scope, &p->scope_count, buf_bytes(&p->text), a.value);
}

enum err point_series_scope(struct point_series *p, struct bytes scope_rows)
{
    struct bytes scope = BYTES_NONE, url = BYTES_NONE, name = BYTES_NONE, version = BYTES_NONE;
    struct otlp_wire_field f;
    enum err e = ERR_OK;
    p->scope_count = 0;
    p->scope_key = p->metric_key = p->resource_key;
    if (!p->d->o->translation.promote_scope)
        return ERR_OK;
    for (struct otlp_wire w = otlp_wire_of(scope_rows);
         otlp_wire_next(&w, &f) == OTLP_WIRE_FIELD;) {
        if (f.number == 1)
            scope = f.bytes;
        else if (f.number == 3)
            url = f.bytes;
    }
    for (struct otlp_wire w = otlp_wire_of(scope); otlp_wire_next(&w, &f) == OTLP_WIRE_FIELD;) {
        if (f.number == 1)
            name = f.bytes;
        else if (f.number == 2)
            version = f.bytes;
    }
    if (!name.size)
        return ERR_OK;
    for (struct otlp_wire w = otlp_wire_of(scope);
         e == ERR_OK && otlp_wire_next(&w, &f) == OTLP_WIRE_FIELD;)
        if (f.number == 3)
            e = keep_scope_attr(p, f.bytes);
    /* Last: what is set later stands. */
    if (e == ERR_OK)
        e = keep_label(p, p->scope, &p->scope_count, BYTES_LIT("otel_scope_name"), name);
    if (e == ERR_OK)
        e = keep_label(p, p->scope, &p->scope_count, BYTES_LIT("otel_scope_version"), version);
    if (e == ERR_OK)
        e = keep_label(p, p->scope, &p->scope_count, BYTES_LIT("otel_scope_schema_url"), url);
    p->scope_key = p->metric_key = chain_labels(p->resource_key, p->scope, p->scope_count);
    return e;
}

void point_series_metric(struct point_series *p, struct bytes type, struct bytes unit)
{
    p->type = p->unit = BYTES_NONE;
    p->metric_key = p->scope_key;
    if (!p->d->o->translation.type_and_unit)
        return;
    p->type = type;
    p->unit = unit;
    p->metric_key = chain(chain(p->scope_key, type), unit);
}

/* job="telltale" belongs to the series that Telltale derives itself. */
static void export_job(struct point_series *p)
{
    struct tsdb_label *job = label_named(p, BYTES_LIT("job"));
    if (!job || !bytes_equal_str(job->value, "telltale"))
        return;
    struct tsdb_label *old = label_named(p, BYTES_LIT("exported_job"));
    if (old) {
        old->value = job->value;
        *job = p->labels[--p->count];
    } else {
        job->name = BYTES_LIT("exported_job");
    }
}

static enum err refuse(struct point_series *p, struct bytes metric, const char *why)
{
    tsdb_batch_reject(p->d->batch, TSDB_REJECT_BAD_LABELS, "metric \"%.*s\": %s",
                      (int)MIN(metric.size, 100), (const char *)metric.data, why);
    return ERR_INVALID;
}

static void take_attrs(struct point_series *p, struct bytes wire, uint32_t number,
                       struct bytes metric)
{
    struct otlp_wire w = otlp_wire_of(wire);
    struct otlp_wire_field f;
    arena_reset(p->scratch);
    p->wire = wire;
    p->number = number;
    p->metric = metric;
    p->key = p->is_bare ? p->base_key : p->metric_key;
    if (p->has_too_many && !p->is_bare) /* like no series that was ever accepted */
        p->key = chain(p->key, BYTES_LIT("too many"));
    p->is_translated = p->may_fold = false;
    while (otlp_wire_next(&w, &f) == OTLP_WIRE_FIELD)
        if (f.number == number)
            p->key = chain(p->key, f.bytes);
}

void point_series_attrs(struct point_series *p, struct bytes wire, uint32_t number,
                        struct bytes metric)
{
    p->is_bare = false;
    take_attrs(p, wire, number, metric);
}

void point_series_bare_attrs(struct point_series *p, struct bytes wire, uint32_t number,
                             struct bytes metric)
{
    p->is_bare = true;
    take_attrs(p, wire, number, metric);
}

/* Promoted attributes give way to the point's own, the scope's do not. */
static bool add_shared(struct point_series *p)
{
    bool fits = !p->has_too_many;
    for (unsigned i = 0; fits && i < p->promoted_count; i++)
        if (!label_named(p, p->promoted[i].name))
            fits = label_set(p, p->promoted[i].name, p->promoted[i].value);
    for (unsigned i = 0; fits && i < p->scope_count; i++)
        fits = label_set(p, p->scope[i].name, p->scope[i].value);
    if (fits && p->type.size)
        fits = label_set(p, BYTES_LIT("__type__"), p->type);
    if (fits && p->unit.size)
        fits = label_set(p, BYTES_LIT("__unit__"), p->unit);
    return fits;
}

static enum err translate(struct point_series *p)
{
    struct attr attrs[POINT_SERIES_ATTRS_MAX];
    unsigned n = 0;
    struct otlp_wire w = otlp_wire_of(p->wire);
    struct otlp_wire_field f;
    p->count = 0;
    while (otlp_wire_next(&w, &f) == OTLP_WIRE_FIELD) {
        if (f.number != p->number)
            continue;
        if (n == POINT_SERIES_ATTRS_MAX)
            return refuse(p, p->metric, "a point has too many attributes");
        if (!read_attr(p, f.bytes, &attrs[n++]))
            return refuse(p, p->metric, "a point's attributes are too long");
    }
    if (!attrs_to_labels(p, attrs, n))
        return refuse(p, p->metric, "a point's attributes are too long");
    bool fits = p->is_bare || add_shared(p);
    if (fits && p->job.size)
        fits = label_set(p, BYTES_LIT("job"), p->job);
    if (fits && p->instance.size)
        fits = label_set(p, BYTES_LIT("instance"), p->instance);
    if (!fits || p->count > POINT_SERIES_LABELS_MAX)
        return refuse(p, p->metric, "a point has too many attributes, with those of its resource");
    export_job(p);
    p->is_translated = true;
    return ERR_OK;
}

enum err point_series_ref(struct point_series *p, struct bytes name, const char *suffix,
                          const char *extra, struct bytes value, enum tsdb_series_kind kind,
                          struct tsdb_ref *out)
{
    struct bytes extra_name = bytes_str(extra);
    struct hash128 key = chain(chain(p->key, name), bytes_str(suffix));
    if (extra)
        key = chain(chain(key, extra_name), value);
    if (otlp_memo_find(p->d->o->series, p->d->o->org, kind, key, out))
        return ERR_OK;
    enum err e = p->is_translated ? ERR_OK : translate(p);
    if (e != ERR_OK)
        return e;
    struct tsdb_label all[TSDB_LABELS_MAX];
    unsigned n = 0;
    for (unsigned i = 0; i < p->count; i++)
        if (!bytes_equal_str(p->labels[i].name, "__name__") &&
            !(extra && bytes_equal(p->labels[i].name, extra_name)))
            all[n++] = p->labels[i];
    buf_clear(&p->text);
    buf_bytes_append(&p->text, name);
    buf_str(&p->text, suffix);
    if (!buf_ok(&p->text))
        return ERR_NOMEM;
    all[n++] = (struct tsdb_label){BYTES_LIT("__name__"), buf_bytes(&p->text)};
    if (extra)
        all[n++] = (struct tsdb_label){extra_name, value};
    struct tsdb_labels labels;
    struct err_msg why = {""};
    if (tsdb_labels_build(all, n, p->scratch, &labels, &why) != ERR_OK)
        return refuse(p, name, why.text);
    e = tsdb_registry_ref(p->d->o->series, p->d->o->org, kind, labels, out);
    if (e == ERR_OK)
        otlp_memo_put(p->d->o->series, key, *out);
    else if (e == ERR_LIMIT && (kind == TSDB_SERIES_CELLS || p->may_fold))
        e = tsdb_registry_overflow(p->d->o->series, p->d->o->org, kind, labels, out);
    if (e != ERR_LIMIT)
        return e;
    tsdb_batch_reject(p->d->batch, TSDB_REJECT_CARDINALITY,
                      "metric \"%.*s\": the limit of series is reached; new series are refused",
                      (int)MIN(name.size, 100), (const char *)name.data);
    return ERR_INVALID;
}

/* --- exemplars ------------------------------------------------------------------------------------ */

static size_t runes(struct bytes b)
{
    size_t n = 0;
    for (size_t i = 0; i < b.size; i++)
        n += (b.data[i] & 0xc0) != 0x80;
    return n;
}

static struct tsdb_label id_label(struct point_series *p, const char *name, struct bytes id)
{
    char hex[33];
    bytes_to_hex(id, hex);
    return (struct tsdb_label){bytes_str(name), arena_copy(p->scratch, bytes_str(hex))};
}

enum err point_series_exemplar(struct point_series *p, struct bytes wire, struct tsdb_labels *out,
                               double *out_value, uint64_t *out_time_ns)
{
    struct tsdb_label labels[POINT_SERIES_ATTRS_MAX];
    unsigned ids = 0, n;
    size_t text = 0;
    struct otlp_wire w = otlp_wire_of(wire);
    struct otlp_wire_field f;
    *out_value = 0;
    *out_time_ns = 0;
    while (otlp_wire_next(&w, &f) == OTLP_WIRE_FIELD) {
        switch (f.number) {
        case 2: *out_time_ns = f.value; break;
        case 3: *out_value = otlp_wire_f64(f.value); break;
        case 6: *out_value = (double)(int64_t)f.value; break;
        case 4:
            if (f.bytes.size == 8 && ids < 2)
                labels[ids++] = id_label(p, "span_id", f.bytes);
            break;
        case 5:
            if (f.bytes.size == 16 && ids < 2)
                labels[ids++] = id_label(p, "trace_id", f.bytes);
            break;
        default: break;
        }
    }
    for (unsigned i = 0; i < ids; i++)
        text += runes(labels[i].name) + runes(labels[i].value);
    n = ids;
    w = otlp_wire_of(wire);
    while (otlp_wire_next(&w, &f) == OTLP_WIRE_FIELD) {
        struct attr a;
        if (f.number != 7)
            continue;
        if (n == ARRAY_LEN(labels) || !read_attr(p, f.bytes, &a)) {
            text = SIZE_MAX / 2;
            break;
        }
        labels[n++] = (struct tsdb_label){a.name, a.value};
        text += runes(a.name) + runes(a.value);
    }
    if (text > OTLP_EXEMPLAR_RUNES_MAX)
        n = ids; /* the ids lead to the trace, which has the rest */
    return tsdb_labels_build(labels, n, p->d->batch->arena, out, NULL);
}
