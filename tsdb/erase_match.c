#include "tsdb/erase_match.h"

#include <stdlib.h>

#include "base/check.h"
#include "tsdb/tsdb_attrs.h"
#include "tsdb/tsdb_labels.h"

#define ROW_VERSION 1u

const char *const tsdb_erase_user_keys[] = {"user.id",
                                            "enduser.id",
                                            "end_user.id",
                                            "langfuse.user.id",
                                            "llm.user",
                                            "traceloop.association.properties.user_id",
                                            "gen_ai.request.user",
                                            NULL};

struct erase_target *erase_target_new(void)
{
    struct arena *a = arena_new(0);
    struct erase_target *t = a ? ARENA_ARRAY(a, struct erase_target, 1) : NULL;
    if (!t) {
        arena_free(a);
        return NULL;
    }
    memset(t, 0, sizeof(*t));
    t->arena = a;
    atomic_init(&t->refs, 1);
    return t;
}

void erase_target_release(struct erase_target *t)
{
    if (t && atomic_fetch_sub(&t->refs, 1) == 1)
        arena_free(t->arena);
}

struct hash128 erase_hash(const struct erase_target *t, struct bytes value)
{
    return hash128(value, t->secret);
}

/* --- as a row of state --------------------------------------------------------------------------- */

void erase_target_write(const struct erase_target *t, struct buf *out)
{
    buf_u8(out, ROW_VERSION);
    buf_u8(out, (uint8_t)t->kind);
    buf_varint(out, t->org);
    buf_varint(out, t->generation);
    buf_zigzag(out, t->min_ms);
    buf_zigzag(out, t->max_ms);
    buf_zigzag(out, t->asked_ms);
    buf_varint(out, t->state_rows);
    buf_varint(out, t->id_count);
    buf_u64(out, t->secret);
    buf_u64(out, t->value.lo);
    buf_u64(out, t->value.hi);
    buf_varint(out, t->name_count);
    for (uint32_t i = 0; i < t->name_count; i++)
        buf_lenbytes(out, t->names[i]);
}

enum err erase_target_read(struct bytes row, struct erase_target *t)
{
    struct reader r = reader_of(row);
    uint8_t version = reader_u8(&r), kind = reader_u8(&r);
    t->kind = (enum tsdb_erase_kind)kind;
    t->org = (uint32_t)reader_varint(&r);
    t->generation = reader_varint(&r);
    t->min_ms = reader_zigzag(&r);
    t->max_ms = reader_zigzag(&r);
    t->asked_ms = reader_zigzag(&r);
    t->state_rows = reader_varint(&r);
    uint64_t ids = reader_varint(&r);
    t->secret = reader_u64(&r);
    t->value.lo = reader_u64(&r);
    t->value.hi = reader_u64(&r);
    uint64_t names = reader_varint(&r);
    if (r.failed || version != ROW_VERSION || kind < TSDB_ERASE_SERIES ||
        kind > TSDB_ERASE_TRACES || names > ERASE_NAMES_MAX || ids > ERASE_IDS_MAX)
        return ERR_CORRUPT;
    t->names = ARENA_ARRAY(t->arena, struct bytes, names + 1);
    t->ids = ARENA_ARRAY(t->arena, struct tsdb_id16, ids + 1);
    if (!t->names || !t->ids)
        return ERR_NOMEM;
    for (uint64_t i = 0; i < names; i++) {
        struct bytes name = reader_lenbytes(&r);
        t->names[i] = r.failed ? BYTES_NONE : arena_copy(t->arena, name);
        if (!t->names[i].data)
            return r.failed ? ERR_CORRUPT : ERR_NOMEM;
    }
    t->name_count = (uint32_t)names;
    t->id_count = (uint32_t)ids; /* filled by the caller */
    return r.failed || reader_left(&r) ? ERR_CORRUPT : ERR_OK;
}

/* --- ids ----------------------------------------------------------------------------------------- */

static int by_id(const void *x, const void *y)
{
    return memcmp(x, y, sizeof(struct tsdb_id16));
}

void erase_target_sort(struct erase_target *t)
{
    uint32_t n = 0;
    if (t->id_count)
        qsort(t->ids, t->id_count, sizeof(*t->ids), by_id);
    for (uint32_t i = 0; i < t->id_count; i++)
        if (n == 0 || by_id(&t->ids[n - 1], &t->ids[i]) != 0)
            t->ids[n++] = t->ids[i];
    t->id_count = n;
}

bool erase_has_id(const struct erase_target *t, const void *id16)
{
    return t->id_count && bsearch(id16, t->ids, t->id_count, sizeof(*t->ids), by_id) != NULL;
}

/* --- attributes ---------------------------------------------------------------------------------- */

static bool is_name(const struct erase_target *t, struct bytes name)
{
    for (uint32_t i = 0; i < t->name_count; i++)
        if (bytes_equal(t->names[i], name))
            return true;
    return false;
}

/* The name of an attribute as Prometheus has it. */
static bool is_label_name(const struct erase_target *t, struct bytes name)
{
    for (uint32_t i = 0; i < t->name_count; i++) {
        struct bytes want = t->names[i];
        bool same = want.size == name.size;
        for (size_t k = 0; k < want.size && same; k++) {
            uint8_t c = want.data[k];
            bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                         (c >= '0' && c <= '9') || c == '_' || c == ':';
            same = name.data[k] == (plain ? c : '_') || name.data[k] == c;
        }
        if (same)
            return true;
    }
    return false;
}

static bool is_value(const struct erase_target *t, struct bytes value)
{
    return hash128_equal(erase_hash(t, value), t->value);
}

static bool is_tsdb_value(const struct erase_target *t, struct tsdb_value v)
{
    if (v.type == TSDB_VALUE_STRING)
        return is_value(t, v.bytes);
    struct buf text = {0};
    tsdb_attrs_text(&text, v);
    bool same = buf_ok(&text) && is_value(t, buf_bytes(&text));
    buf_done(&text);
    return same;
}

/* At the top, or in a list of pairs however deep. */
static bool in_attrs(const struct erase_target *t, struct bytes attrs, unsigned depth)
{
    struct tsdb_attrs_iter it = tsdb_attrs_begin(attrs);
    struct bytes key;
    struct tsdb_value v;
    while (depth < TSDB_ATTRS_DEPTH_MAX && tsdb_attrs_next(&it, &key, &v))
        if ((is_name(t, key) && is_tsdb_value(t, v)) ||
            (v.type == TSDB_VALUE_KVLIST && in_attrs(t, v.bytes, depth + 1)))
            return true;
    return false;
}

static bool in_events(const struct erase_target *t, struct bytes events)
{
    struct tsdb_attrs_iter it = tsdb_attrs_begin(events);
    struct tsdb_event e;
    while (tsdb_attrs_next_event(&it, &e))
        if (in_attrs(t, e.attrs, 0))
            return true;
    return false;
}

static bool in_links(const struct erase_target *t, struct bytes links)
{
    struct tsdb_attrs_iter it = tsdb_attrs_begin(links);
    struct tsdb_link l;
    while (tsdb_attrs_next_link(&it, &l))
        if (in_attrs(t, l.attrs, 0))
            return true;
    return false;
}

static bool has_value(const struct erase_target *t)
{
    return t->kind == TSDB_ERASE_USER || t->kind == TSDB_ERASE_ATTRIBUTE;
}

static struct bytes at(const struct bytes *column, uint32_t row)
{
    return column ? column[row] : BYTES_NONE;
}

bool erase_match_span(const struct erase_target *t, const struct tsdb_spans *s, uint32_t row)
{
    if (erase_is_of_rows(t) && s->trace_id && erase_has_id(t, &s->trace_id[row]))
        return true;
    if (!has_value(t))
        return false;
    /* the canonical column outlives the texts */
    struct bytes user = t->kind == TSDB_ERASE_USER ? at(s->user_id, row) : BYTES_NONE;
    return (user.size && is_value(t, user)) || in_attrs(t, at(s->attrs, row), 0) ||
           in_attrs(t, at(s->resource_attrs, row), 0) || in_events(t, at(s->events, row)) ||
           in_links(t, at(s->links, row));
}

bool erase_match_log(const struct erase_target *t, const struct tsdb_logs *l, uint32_t row)
{
    static const struct tsdb_id16 none;
    if (erase_is_of_rows(t) && l->trace_id && memcmp(&l->trace_id[row], &none, 16) != 0 &&
        erase_has_id(t, &l->trace_id[row]))
        return true;
    if (!has_value(t))
        return false;
    if (in_attrs(t, at(l->attrs, row), 0) || in_attrs(t, at(l->resource_attrs, row), 0))
        return true;
    struct tsdb_attrs_iter it = tsdb_attrs_begin(at(l->body, row));
    struct tsdb_value v;
    return tsdb_attrs_next_value(&it, &v) && v.type == TSDB_VALUE_KVLIST && in_attrs(t, v.bytes, 0);
}

static bool in_labels(const struct erase_target *t, struct tsdb_labels labels)
{
    struct tsdb_labels_iter it = tsdb_labels_begin(labels);
    struct tsdb_label l;
    while (tsdb_labels_next(&it, &l))
        if (is_label_name(t, l.name) && is_value(t, l.value))
            return true;
    return false;
}

bool erase_match_series(const struct erase_target *t, struct hash128 identity, struct tsdb_labels l)
{
    if (t->kind == TSDB_ERASE_SERIES)
        return erase_has_id(t, &identity);
    return has_value(t) && in_labels(t, l);
}

bool erase_match_exemplar(const struct erase_target *t, struct tsdb_labels series,
                          struct tsdb_labels labels, int64_t t_ms)
{
    if (t->kind == TSDB_ERASE_SERIES) {
        struct hash128 identity = tsdb_labels_identity(t->org, series);
        return t_ms >= t->min_ms && t_ms <= t->max_ms && erase_has_id(t, &identity);
    }
    uint8_t id[16];
    return (bytes_from_hex(tsdb_labels_get(labels, BYTES_LIT("trace_id")), id, sizeof(id)) &&
            erase_has_id(t, id)) ||
           (has_value(t) && (in_labels(t, labels) || in_labels(t, series)));
}
