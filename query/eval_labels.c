#include "query/eval.h"

bool labels_is_metadata(struct bytes name)
{
    return name.size >= 8 && name.data[0] == '_' &&
           (bytes_equal_str(name, "__name__") || bytes_equal_str(name, "__type__") ||
            bytes_equal_str(name, "__unit__"));
}

static bool contains(const struct name_list *l, struct bytes name)
{
    for (uint32_t i = 0; i < l->count; i++)
        if (bytes_equal(l->items[i], name))
            return true;
    return false;
}

/* Canonical bytes of the labels that pass; a subset of a canonical encoding is canonical. */
static struct tsdb_labels subset(struct eval *e, struct tsdb_labels l,
                                 const struct name_list *names, bool keep, bool drop_metadata)
{
    struct tsdb_labels out = {BYTES_NONE};
    uint8_t *p = arena_alloc_raw(e->arena, l.enc.size + 1, 1);
    struct tsdb_labels_iter it = tsdb_labels_begin(l);
    struct tsdb_label label;
    size_t size = 0;
    if (!p) {
        eval_nomem(e);
        return out;
    }
    for (const uint8_t *from = it.at; tsdb_labels_next(&it, &label); from = it.at) {
        if ((drop_metadata && labels_is_metadata(label.name)) ||
            (names && contains(names, label.name) != keep))
            continue;
        memcpy(p + size, from, (size_t)(it.at - from));
        size += (size_t)(it.at - from);
    }
    out.enc = bytes_of(p, size);
    return out;
}

struct tsdb_labels labels_keep(struct eval *e, struct tsdb_labels l, const struct name_list *names)
{
    return subset(e, l, names, true, false);
}

struct tsdb_labels labels_without(struct eval *e, struct tsdb_labels l,
                                  const struct name_list *names, bool metadata)
{
    return subset(e, l, names, false, metadata);
}

struct bytes labels_key(struct buf *b, struct tsdb_labels l, const struct name_list *names,
                        bool keep)
{
    struct tsdb_labels_iter it = tsdb_labels_begin(l);
    struct tsdb_label label;
    buf_clear(b);
    for (const uint8_t *from = it.at; tsdb_labels_next(&it, &label); from = it.at) {
        if (contains(names, label.name) != keep ||
            (!keep && bytes_equal_str(label.name, "__name__")))
            continue;
        buf_append(b, from, (size_t)(it.at - from));
    }
    return buf_bytes(b);
}

struct tsdb_labels labels_set(struct eval *e, struct tsdb_labels l, struct bytes name,
                              struct bytes value)
{
    struct tsdb_labels out = {BYTES_NONE};
    struct buf b;
    struct tsdb_labels_iter it = tsdb_labels_begin(l);
    struct tsdb_label label;
    bool done = value.size == 0;
    buf_init(&b, 0);
    while (tsdb_labels_next(&it, &label)) {
        int c = bytes_compare(label.name, name);
        if (c >= 0 && !done) {
            buf_lenbytes(&b, name);
            buf_lenbytes(&b, value);
            done = true;
        }
        if (c != 0) {
            buf_lenbytes(&b, label.name);
            buf_lenbytes(&b, label.value);
        }
    }
    if (!done) {
        buf_lenbytes(&b, name);
        buf_lenbytes(&b, value);
    }
    out.enc = buf_ok(&b) ? arena_copy(e->arena, buf_bytes(&b)) : BYTES_NONE;
    if (!buf_ok(&b) || (b.size && !out.enc.data))
        eval_nomem(e);
    buf_done(&b);
    return out;
}

struct bytes labels_text(struct arena *a, struct tsdb_labels l)
{
    struct buf b;
    struct tsdb_labels_iter it = tsdb_labels_begin(l);
    struct tsdb_label label;
    buf_init(&b, 1 << 20);
    buf_u8(&b, '{');
    while (tsdb_labels_next(&it, &label))
        buf_printf(&b, "%s" BYTES_FMT "=\"" BYTES_FMT "\"", b.size > 1 ? ", " : "",
                   BYTES_ARG(label.name), BYTES_ARG(label.value));
    buf_u8(&b, '}');
    struct bytes out = arena_copy(a, buf_bytes(&b));
    buf_done(&b);
    return out;
}

/* --- a map from bytes to dense indexes --------------------------------------------------------- */

static size_t slot_of(const struct key_map *m, struct bytes key, uint64_t hash)
{
    size_t i = hash & (m->slot_count - 1);
    while (m->slots[i]) {
        const struct key_entry *k = &m->entries[m->slots[i] - 1];
        if (k->hash == hash && bytes_equal(k->key, key))
            break;
        i = (i + 1) & (m->slot_count - 1);
    }
    return i;
}

static bool grow(struct key_map *m)
{
    size_t count = m->slot_count ? m->slot_count * 2 : 64;
    uint32_t *slots = ARENA_ARRAY(m->e->arena, uint32_t, count);
    struct key_entry *entries =
        arena_grow(m->e->arena, m->entries, sizeof *entries, m->cap, count / 2);
    if (!slots || !entries)
        return eval_nomem(m->e);
    m->slots = slots;
    m->slot_count = count;
    m->entries = entries;
    m->cap = count / 2;
    for (size_t i = 0; i < m->count; i++)
        slots[slot_of(m, entries[i].key, entries[i].hash)] = (uint32_t)i + 1;
    return true;
}

size_t key_map_put(struct key_map *m, struct bytes key, bool *out_new)
{
    if (m->count == m->cap && !grow(m))
        return SIZE_MAX;
    uint64_t hash = hash64(key, 0);
    size_t slot = slot_of(m, key, hash);
    *out_new = m->slots[slot] == 0;
    if (*out_new) {
        struct bytes kept = arena_copy(m->e->arena, key);
        if (!kept.data && key.size) {
            eval_nomem(m->e);
            return SIZE_MAX;
        }
        m->entries[m->count] = (struct key_entry){kept, hash};
        m->slots[slot] = (uint32_t)++m->count;
    }
    return m->slots[slot] - 1;
}

size_t key_map_find(const struct key_map *m, struct bytes key)
{
    if (!m->slot_count)
        return SIZE_MAX;
    size_t slot = slot_of(m, key, hash64(key, 0));
    return m->slots[slot] ? m->slots[slot] - 1 : SIZE_MAX;
}
