#include "tsdb/zone.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/hash.h"

#define NS_PER_MINUTE INT64_C(60000000000)
#define SERVICES_MAX 256u
#define NAMES_MAX 256u
#define GROUPS_MAX 1024u
#define GROUPS_ROWS 1u /* counts of rows */
#define GROUPS_WEIGHTED 2u /* of their weights */
#define FILTER_PROBES 3u
#define FILTER_BITS_PER_VALUE 10u
#define SEEN_SLOTS 16384u /* distinct values while a filter is made */
#define KEY_SLOTS 256u
#define KNOWN_KEYS 256u /* of attributes, places that they share */
#define KEY_VALUES_MAX 1024u /* a key of more distinct values is in the filter as a key only */
#define VALUE_BYTES_MAX 256u

static bool is_same(struct bytes a, struct bytes b)
{
    return a.data == b.data && a.size == b.size;
}

/* --- filters ------------------------------------------------------------------------------------- */

/* Values of a key hash with the key's number (columns) or its hash (attributes) as seed. `any` stands for all values that are not
 * in the filter one by one: numbers, long texts, and the values of keys that have too many. */
static uint64_t any_hash(uint64_t seed)
{
    return seed * 0x9e3779b97f4a7c15u ^ 0x7a6f6e65616e7931u;
}

struct filter_maker {
    uint64_t *seen; /* hashes of (key, value), 0 = free */
    uint32_t *key_of; /* slot of its key */
    uint32_t count;
    struct {
        uint64_t seed;
        uint32_t values;
        bool is_used, is_wide;
    } keys[KEY_SLOTS];
    bool is_full; /* too many keys: no filter */
};

struct known_key {
    struct bytes key;
    uint32_t slot;
};

static bool maker_init(struct filter_maker *f)
{
    memset(f, 0, sizeof(*f));
    f->seen = calloc(SEEN_SLOTS, sizeof(*f->seen));
    f->key_of = calloc(SEEN_SLOTS, sizeof(*f->key_of));
    f->is_full = !f->seen || !f->key_of;
    return !f->is_full;
}

static void maker_done(struct filter_maker *f)
{
    free(f->seen);
    free(f->key_of);
}

static uint32_t key_slot(struct filter_maker *f, uint64_t seed)
{
    uint32_t at = (uint32_t)(seed ^ seed >> 32) % KEY_SLOTS;
    for (uint32_t i = 0; i < KEY_SLOTS; i++, at = (at + 1) % KEY_SLOTS) {
        if (f->keys[at].is_used && f->keys[at].seed == seed)
            return at;
        if (!f->keys[at].is_used) {
            f->keys[at].seed = seed;
            f->keys[at].is_used = true;
            return at;
        }
    }
    f->is_full = true;
    return 0;
}

static void maker_add(struct filter_maker *f, uint32_t key, struct bytes value, bool is_text)
{
    if (!is_text || value.size > VALUE_BYTES_MAX)
        f->keys[key].is_wide = true;
    if (f->keys[key].is_wide || f->is_full)
        return;
    uint64_t h = hash64(value, f->keys[key].seed) | 1;
    uint32_t at = (uint32_t)(h >> 32) % SEEN_SLOTS;
    while (f->seen[at] && f->seen[at] != h)
        at = (at + 1) % SEEN_SLOTS;
    if (f->seen[at])
        return;
    if (f->count > SEEN_SLOTS / 2 || f->keys[key].values == KEY_VALUES_MAX) {
        f->keys[key].is_wide = true;
        return;
    }
    f->seen[at] = h;
    f->key_of[at] = key;
    f->count++;
    f->keys[key].values++;
}

static void filter_set(uint8_t *bits, uint32_t size, uint64_t h)
{
    for (uint32_t p = 0; p < FILTER_PROBES; p++) {
        uint32_t bit = (uint32_t)(h >> (p * 20)) % (size * 8);
        bits[bit / 8] |= (uint8_t)(1u << bit % 8);
    }
}

static bool filter_has(struct bytes filter, uint64_t h)
{
    for (uint32_t p = 0; p < FILTER_PROBES; p++) {
        uint32_t bit = (uint32_t)(h >> (p * 20)) % (uint32_t)(filter.size * 8);
        if (!(filter.data[bit / 8] & 1u << bit % 8))
            return false;
    }
    return true;
}

/* As many bytes as the values need, a power of two. Nothing at all: no filter. */
static void maker_put(struct filter_maker *f, uint32_t bytes_max, struct buf *out)
{
    uint8_t bits[ZONE_TEXT_FILTER_BYTES] = {0};
    uint32_t values = 1, size = 64;
    if (f->is_full)
        return;
    for (uint32_t i = 0; i < KEY_SLOTS; i++)
        if (f->keys[i].is_used)
            values += f->keys[i].is_wide ? 1 : f->keys[i].values;
    while (size < bytes_max && size * 8 < values * FILTER_BITS_PER_VALUE)
        size *= 2;
    for (uint32_t i = 0; i < SEEN_SLOTS; i++)
        if (f->seen[i] && !f->keys[f->key_of[i]].is_wide)
            filter_set(bits, size, f->seen[i]);
    for (uint32_t i = 0; i < KEY_SLOTS; i++)
        if (f->keys[i].is_used && f->keys[i].is_wide)
            filter_set(bits, size, any_hash(f->keys[i].seed));
    buf_append(out, bits, size);
}

static bool may_have(struct bytes filter, uint64_t seed, struct bytes value)
{
    return filter.size == 0 || filter_has(filter, hash64(value, seed) | 1) ||
           filter_has(filter, any_hash(seed));
}

static uint64_t column_seed(uint32_t column)
{
    return column + 1;
}

bool zone_may_have_column(struct bytes filter, uint32_t column, struct bytes value)
{
    return value.size == 0 || may_have(filter, column_seed(column), value);
}

bool zone_may_have_attr(struct bytes filter, struct bytes key, struct bytes value)
{
    return may_have(filter, hash64(key, 0), value);
}

/* The slot of an attribute's key. Rows have the same keys: most are compared with one that is known instead of hashed. */
static uint32_t attr_slot(struct filter_maker *f, struct known_key *known, struct bytes key)
{
    uint32_t at = (uint32_t)key.size;
    if (key.size)
        at = at * 31 + key.data[key.size - 1] * 7 + key.data[key.size / 2];
    struct known_key *k = &known[at % KNOWN_KEYS];
    if (!k->key.data || !bytes_equal(k->key, key))
        *k = (struct known_key){key, key_slot(f, hash64(key, 0))};
    return k->slot;
}

static void add_attrs(struct filter_maker *f, const struct bytes *attrs, uint32_t n)
{
    struct known_key known[KNOWN_KEYS] = {0};
    struct bytes key;
    struct tsdb_value v;
    for (uint32_t i = 0; attrs && i < n && !f->is_full; i++) {
        if (i > 0 && is_same(attrs[i], attrs[i - 1]))
            continue;
        struct tsdb_attrs_iter it = tsdb_attrs_begin(attrs[i]);
        while (tsdb_attrs_next(&it, &key, &v))
            maker_add(f, attr_slot(f, known, key),
                      v.type == TSDB_VALUE_STRING ? v.bytes : BYTES_NONE,
                      v.type == TSDB_VALUE_STRING);
        f->is_full |= it.corrupt;
    }
}

void zone_write_attrs(const struct bytes *attrs, const struct bytes *resource_attrs, uint32_t n,
                      struct buf *out)
{
    struct filter_maker f;
    if (maker_init(&f)) {
        add_attrs(&f, attrs, n);
        add_attrs(&f, resource_attrs, n);
    }
    maker_put(&f, ZONE_TEXT_FILTER_BYTES, out);
    maker_done(&f);
}

/* --- columns of the filter ------------------------------------------------------------------------ */

static const uint8_t span_columns[] = {
    TSDB_SPAN_provider,   TSDB_SPAN_model,         TSDB_SPAN_request_model,   TSDB_SPAN_error_type,
    TSDB_SPAN_endpoint,   TSDB_SPAN_env,           TSDB_SPAN_region,          TSDB_SPAN_tenant,
    TSDB_SPAN_user_id,    TSDB_SPAN_response_id,   TSDB_SPAN_conversation_id, TSDB_SPAN_prompt_name,
    TSDB_SPAN_agent_name, TSDB_SPAN_finish_reason, TSDB_SPAN_tool_name};

bool zone_filters_span_column(uint32_t column)
{
    for (size_t i = 0; i < ARRAY_LEN(span_columns); i++)
        if (span_columns[i] == column)
            return true;
    return false;
}

bool zone_filters_log_column(uint32_t column)
{
    return column == TSDB_LOG_trace_id || column == TSDB_LOG_conversation_id;
}

static void add_strings(struct filter_maker *f, uint32_t column, const struct bytes *s, uint32_t n)
{
    struct bytes last = BYTES_NONE;
    uint32_t slot = UINT32_MAX;
    for (uint32_t i = 0; s && i < n && !f->is_full; i++) {
        if (s[i].size == 0 || is_same(s[i], last))
            continue;
        if (slot == UINT32_MAX)
            slot = key_slot(f, column_seed(column));
        last = s[i];
        maker_add(f, slot, s[i], true);
    }
}

/* --- services, names, minutes ---------------------------------------------------------------------- */

struct counter {
    struct zone z;
    struct bytes services[SERVICES_MAX];
    struct zone_name names[NAMES_MAX];
    struct zone_group groups[GROUPS_MAX];
};

static uint32_t note_service(struct counter *c, struct bytes service)
{
    uint32_t i = c->z.service_count;
    while (i-- > 0)
        if (bytes_equal(c->services[i], service))
            return i;
    if (c->z.service_count == SERVICES_MAX) {
        c->z.services_known = false;
        return 0;
    }
    c->services[c->z.service_count] = service;
    return c->z.service_count++;
}

static uint32_t note_name(struct counter *c, struct bytes service, struct bytes name)
{
    uint32_t s = note_service(c, service), i = c->z.name_count;
    while (c->z.names_known && i-- > 0)
        if (c->names[i].service == s && bytes_equal(c->names[i].name, name))
            return i;
    if (c->z.name_count == NAMES_MAX || !c->z.services_known)
        c->z.names_known = false;
    if (!c->z.names_known)
        return 0;
    c->names[c->z.name_count] = (struct zone_name){s, name};
    return c->z.name_count++;
}

/* What a row of this weight adds to a sum of durations. */
int64_t zone_weighted(int64_t duration_ns, int64_t weight)
{
    if (weight == TSDB_WEIGHT_ONE)
        return duration_ns;
    uint64_t whole = (uint64_t)(duration_ns / TSDB_WEIGHT_ONE) * (uint64_t)weight;
    int64_t rest = duration_ns % TSDB_WEIGHT_ONE;
    return (int64_t)(whole + (uint64_t)(rest * (weight % INT32_MAX) / TSDB_WEIGHT_ONE));
}

static void note_minute(struct counter *c, uint32_t name, int64_t start, int64_t duration,
                        bool is_error, int64_t weight)
{
    c->z.has_weights |= weight != TSDB_WEIGHT_ONE;
    if (start < 0)
        c->z.groups_known = false;
    if (!c->z.names_known || !c->z.groups_known)
        return;
    uint32_t minute = (uint32_t)(start / NS_PER_MINUTE), i = c->z.group_count;
    while (i-- > 0)
        if (c->groups[i].name == name && c->groups[i].minute == minute)
            break;
    if (i == UINT32_MAX) {
        if (c->z.group_count == GROUPS_MAX) {
            c->z.groups_known = false;
            return;
        }
        i = c->z.group_count++;
        c->groups[i] = (struct zone_group){.name = name, .minute = minute};
    }
    c->groups[i].count += (uint64_t)weight;
    c->groups[i].errors += is_error ? (uint64_t)weight : 0;
    c->groups[i].duration_sum_ns = (int64_t)((uint64_t)c->groups[i].duration_sum_ns +
                                             (uint64_t)zone_weighted(duration, weight));
}

static struct counter *counter_new(void)
{
    struct counter *c = calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    c->z.start_min = c->z.duration_min = INT64_MAX;
    c->z.start_max = c->z.duration_max = INT64_MIN;
    c->z.root_duration_max = -1;
    c->z.level_min = UINT8_MAX;
    c->z.services_known = c->z.names_known = c->z.groups_known = true;
    return c;
}

static void note_bounds(struct zone *z, int64_t start, int64_t duration, uint8_t level)
{
    z->start_min = MIN(z->start_min, start);
    z->start_max = MAX(z->start_max, start);
    z->duration_min = MIN(z->duration_min, duration);
    z->duration_max = MAX(z->duration_max, duration);
    z->level_min = MIN(z->level_min, level);
    z->level_max = MAX(z->level_max, level);
}

/* The parts of a summary that are left out when they are too large: flag, then what it says. */
static void put_part(struct buf *out, uint8_t flag, size_t bytes_max, struct buf *part)
{
    bool known = flag && part->size <= bytes_max && !part->failed;
    buf_u8(out, known ? flag : 0);
    if (known)
        buf_bytes_append(out, buf_bytes(part));
    buf_clear(part);
}

static void put_counter(struct counter *c, struct buf *out)
{
    struct buf part = {0};
    struct zone *z = &c->z;
    uint64_t unit = z->has_weights ? 1 : TSDB_WEIGHT_ONE;
    const int64_t bounds[] = {z->start_min, z->start_max, z->duration_min, z->duration_max,
                              z->root_duration_max};
    for (size_t i = 0; i < ARRAY_LEN(bounds); i++)
        buf_zigzag(out, bounds[i]);
    buf_u8(out, z->level_min);
    buf_u8(out, z->level_max);
    buf_varint(&part, z->service_count);
    for (uint32_t i = 0; i < z->service_count; i++)
        buf_lenbytes(&part, c->services[i]);
    z->services_known = z->services_known && part.size <= ZONE_SERVICES_BYTES;
    put_part(out, z->services_known, ZONE_SERVICES_BYTES, &part);
    buf_varint(&part, z->name_count);
    for (uint32_t i = 0; i < z->name_count; i++) {
        buf_varint(&part, c->names[i].service);
        buf_lenbytes(&part, c->names[i].name);
    }
    z->names_known = z->names_known && z->services_known && part.size <= ZONE_NAMES_BYTES;
    put_part(out, z->names_known, ZONE_NAMES_BYTES, &part);
    buf_varint(&part, z->group_count);
    for (uint32_t i = 0; i < z->group_count; i++) {
        buf_varint(&part, c->groups[i].name);
        buf_zigzag(&part, (int64_t)c->groups[i].minute - z->start_min / NS_PER_MINUTE);
        buf_varint(&part, c->groups[i].count / unit);
        buf_varint(&part, c->groups[i].errors / unit);
        buf_zigzag(&part, c->groups[i].duration_sum_ns);
    }
    uint8_t flag = z->has_weights ? GROUPS_WEIGHTED : GROUPS_ROWS;
    put_part(out, z->groups_known && z->names_known ? flag : 0, ZONE_GROUPS_BYTES, &part);
    buf_done(&part);
}

static bool has_parent(struct tsdb_id8 id)
{
    static const uint8_t none[8];
    return memcmp(id.b, none, 8) != 0;
}

void zone_write_spans(const struct tsdb_spans *t, uint32_t n, struct buf *out)
{
    struct counter *c = counter_new();
    struct bytes service = BYTES_NONE, name = BYTES_NONE;
    uint32_t index = 0;
    if (!c) {
        out->failed = true;
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        int64_t start = TSDB_SPAN_GET(t, start_ns, i, 0);
        int64_t duration = (int64_t)((uint64_t)TSDB_SPAN_GET(t, end_ns, i, 0) - (uint64_t)start);
        uint8_t status = TSDB_SPAN_GET(t, status, i, 0);
        struct bytes s = TSDB_SPAN_GET(t, service, i, BYTES_NONE);
        struct bytes m = TSDB_SPAN_GET(t, name, i, BYTES_NONE);
        note_bounds(&c->z, start, duration, status);
        if (!t->parent_id || !has_parent(t->parent_id[i]))
            c->z.root_duration_max = MAX(c->z.root_duration_max, duration);
        if (i == 0 || !is_same(s, service) || !is_same(m, name))
            index = note_name(c, s, m);
        service = s;
        name = m;
        note_minute(c, index, start, duration, status == 2,
                    TSDB_SPAN_GET(t, weight, i, TSDB_WEIGHT_ONE));
    }
    put_counter(c, out);
    free(c);
    struct filter_maker f;
    if (maker_init(&f))
        for (size_t i = 0; i < ARRAY_LEN(span_columns); i++) {
            const struct bytes *column;
            memcpy(&column,
                   (const uint8_t *)t + tsdb_batch_span_schema.columns[span_columns[i]].offset,
                   sizeof(column));
            add_strings(&f, span_columns[i], column, n);
        }
    maker_put(&f, ZONE_FILTER_BYTES, out);
    maker_done(&f);
}

void zone_write_logs(const struct tsdb_logs *t, uint32_t n, struct buf *out)
{
    struct counter *c = counter_new();
    struct filter_maker f;
    if (!c) {
        out->failed = true;
        return;
    }
    bool has_filter = maker_init(&f) && t->trace_id && n;
    uint32_t slot = has_filter ? key_slot(&f, column_seed(TSDB_LOG_trace_id)) : 0;
    for (uint32_t i = 0; i < n; i++) {
        int64_t time = t->time_ns ? t->time_ns[i] : 0;
        uint8_t severity = t->severity ? t->severity[i] : 0;
        note_bounds(&c->z, time, 0, severity);
        uint32_t name = note_name(c, t->service ? t->service[i] : BYTES_NONE,
                                  t->event_name ? t->event_name[i] : BYTES_NONE);
        note_minute(c, name, time, 0, severity >= ZONE_SEVERITY_ERROR, TSDB_WEIGHT_ONE);
        if (has_filter)
            maker_add(&f, slot, bytes_of(t->trace_id[i].b, 16), true);
    }
    if (has_filter)
        add_strings(&f, TSDB_LOG_conversation_id, t->conversation_id, n);
    put_counter(c, out);
    maker_put(&f, ZONE_FILTER_BYTES, out);
    maker_done(&f);
    free(c);
}

/* --- read ------------------------------------------------------------------------------------------ */

static enum err read_services(struct reader *r, struct arena *a, struct zone *z)
{
    uint64_t n = reader_varint(r);
    if (r->failed || n > SERVICES_MAX)
        return ERR_CORRUPT;
    if (!(z->services = ARENA_ARRAY(a, struct bytes, n + 1)))
        return ERR_LIMIT;
    for (; z->service_count < n; z->service_count++)
        z->services[z->service_count] = reader_lenbytes(r);
    return r->failed ? ERR_CORRUPT : ERR_OK;
}

static enum err read_names(struct reader *r, struct arena *a, struct zone *z)
{
    uint64_t n = reader_varint(r);
    if (r->failed || n > NAMES_MAX)
        return ERR_CORRUPT;
    if (!(z->names = ARENA_ARRAY(a, struct zone_name, n + 1)))
        return ERR_LIMIT;
    for (; z->name_count < n; z->name_count++) {
        uint64_t service = reader_varint(r);
        struct bytes name = reader_lenbytes(r);
        if (r->failed || service >= z->service_count)
            return ERR_CORRUPT;
        z->names[z->name_count] = (struct zone_name){(uint32_t)service, name};
    }
    return ERR_OK;
}

static enum err read_groups(struct reader *r, struct arena *a, struct zone *z)
{
    uint64_t unit = z->has_weights ? 1 : TSDB_WEIGHT_ONE;
    uint64_t n = reader_varint(r);
    if (r->failed || n > GROUPS_MAX)
        return ERR_CORRUPT;
    if (!(z->groups = ARENA_ARRAY(a, struct zone_group, n + 1)))
        return ERR_LIMIT;
    for (; z->group_count < n; z->group_count++) {
        struct zone_group *g = &z->groups[z->group_count];
        uint64_t name = reader_varint(r);
        uint64_t minute = (uint64_t)reader_zigzag(r) + (uint64_t)(z->start_min / NS_PER_MINUTE);
        g->count = reader_varint(r) * unit;
        g->errors = reader_varint(r) * unit;
        g->duration_sum_ns = reader_zigzag(r);
        if (r->failed || name >= z->name_count || minute > UINT32_MAX)
            return ERR_CORRUPT;
        g->name = (uint32_t)name;
        g->minute = (uint32_t)minute;
    }
    return ERR_OK;
}

static bool read_flag(struct reader *r, bool *out)
{
    uint8_t flag = reader_u8(r);
    *out = flag == 1;
    return !r->failed && flag <= 1;
}

enum err zone_read(struct bytes summary, struct arena *a, struct zone *out)
{
    struct reader r = reader_of(summary);
    struct zone z = {0};
    enum err e = ERR_OK;
    z.start_min = reader_zigzag(&r);
    z.start_max = reader_zigzag(&r);
    z.duration_min = reader_zigzag(&r);
    z.duration_max = reader_zigzag(&r);
    z.root_duration_max = reader_zigzag(&r);
    z.level_min = reader_u8(&r);
    z.level_max = reader_u8(&r);
    if (!read_flag(&r, &z.services_known))
        return ERR_CORRUPT;
    if (z.services_known)
        e = read_services(&r, a, &z);
    if (e == ERR_OK && !read_flag(&r, &z.names_known))
        e = ERR_CORRUPT;
    if (e == ERR_OK && z.names_known)
        e = read_names(&r, a, &z);
    uint8_t flag = e == ERR_OK ? reader_u8(&r) : 0;
    if (e == ERR_OK && (r.failed || flag > GROUPS_WEIGHTED))
        e = ERR_CORRUPT;
    z.groups_known = flag != 0;
    z.has_weights = flag == GROUPS_WEIGHTED;
    if (e == ERR_OK && z.groups_known)
        e = read_groups(&r, a, &z);
    if (e != ERR_OK)
        return e;
    z.filter = reader_bytes(&r, reader_left(&r));
    *out = z;
    return ERR_OK;
}

bool zone_has(const struct zone *z, struct bytes service, struct bytes name)
{
    if (z->names_known && (service.size || name.size)) {
        for (uint32_t i = 0; i < z->name_count; i++)
            if ((!service.size || bytes_equal(z->services[z->names[i].service], service)) &&
                (!name.size || bytes_equal(z->names[i].name, name)))
                return true;
        return false;
    }
    if (!service.size || !z->services_known)
        return true;
    for (uint32_t i = 0; i < z->service_count; i++)
        if (bytes_equal(z->services[i], service))
            return true;
    return false;
}
