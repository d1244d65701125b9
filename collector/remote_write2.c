#include "collector/remote_write2.h"

#include <stdlib.h>

#include "base/check.h"
#include "collector/otlp/otlp_wire.h"

#define LABELS_MAX 256u /* references of one set; the store takes fewer */

struct symbols {
    struct bytes *at;
    size_t count, cap;
};

struct pair_refs {
    uint32_t at[2 * LABELS_MAX];
    size_t count;
};

struct writer {
    struct symbols symbols;
    struct buf out;
    struct bytes family; /* whose metadata was written last */
    struct err_msg *msg;
};

static enum err bad(struct writer *w, const char *what)
{
    return err_set(w->msg, ERR_INVALID, "the body is no remote write 2.0 request: %s", what);
}

/* --- symbols ------------------------------------------------------------------------------------- */

static enum err add_symbol(struct writer *w, struct bytes text)
{
    struct symbols *s = &w->symbols;
    if (s->count == REMOTE_WRITE2_SYMBOLS_MAX)
        return bad(w, "too many symbols");
    if (s->count == s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 1024;
        struct bytes *at = realloc(s->at, cap * sizeof(*at));
        if (!at)
            return ERR_NOMEM;
        s->at = at;
        s->cap = cap;
    }
    s->at[s->count++] = text;
    return ERR_OK;
}

static enum err read_symbols(struct writer *w, struct bytes body)
{
    struct otlp_wire in = otlp_wire_of(body);
    struct otlp_wire_field f;
    enum otlp_wire_step step;
    enum err e = ERR_OK;
    while (e == ERR_OK && (step = otlp_wire_next(&in, &f)) != OTLP_WIRE_END) {
        if (step == OTLP_WIRE_BAD)
            return bad(w, "it is cut off or no protobuf");
        if (f.number <= 3) /* reserved, so that the two are not taken for each other */
            return bad(w, "it has fields of a 1.0 request");
        if ((f.number == 4 || f.number == 5) && f.type != OTLP_WIRE_LEN)
            return bad(w, "symbols and series are of another type");
        if (f.number == 4)
            e = add_symbol(w, f.bytes);
    }
    if (e == ERR_OK && w->symbols.count && w->symbols.at[0].size)
        e = bad(w, "the first symbol must be empty");
    return e;
}

static enum err symbol(struct writer *w, uint64_t ref, struct bytes *out)
{
    if (ref >= w->symbols.count)
        return err_set(w->msg, ERR_INVALID, "a series refers to symbol %llu of %zu",
                       (unsigned long long)ref, w->symbols.count);
    *out = w->symbols.at[ref];
    return ERR_OK;
}

/* --- writing ------------------------------------------------------------------------------------- */

static void put_bytes(struct buf *out, uint32_t field, struct bytes b)
{
    buf_varint(out, field << 3 | OTLP_WIRE_LEN);
    buf_lenbytes(out, b);
}

static size_t varint_size(uint64_t v)
{
    size_t n = 1;
    for (; v >= 0x80; v >>= 7)
        n++;
    return n;
}

/* References, packed or one by one. */
static enum err read_refs(struct writer *w, const struct otlp_wire_field *f, struct pair_refs *refs)
{
    struct otlp_wire in = otlp_wire_of(f->bytes);
    uint64_t v = f->value;
    bool single = f->type == OTLP_WIRE_VARINT;
    if (!single && f->type != OTLP_WIRE_LEN)
        return bad(w, "references to labels are of another type");
    while (single || in.at != in.end) {
        if (!single && !otlp_wire_varint(&in, &v))
            return bad(w, "references to labels are cut off");
        if (refs->count == ARRAY_LEN(refs->at))
            return bad(w, "a series of too many labels");
        if (v >= w->symbols.count)
            return symbol(w, v, &(struct bytes){0});
        refs->at[refs->count++] = (uint32_t)v;
        if (single)
            break;
    }
    return ERR_OK;
}

/* Label messages in field 1. */
static void put_labels(struct writer *w, const struct pair_refs *refs)
{
    for (size_t i = 0; i + 1 < refs->count; i += 2) {
        struct bytes name = w->symbols.at[refs->at[i]], value = w->symbols.at[refs->at[i + 1]];
        size_t size = 2 + varint_size(name.size) + name.size + varint_size(value.size) + value.size;
        buf_varint(&w->out, 1 << 3 | OTLP_WIRE_LEN);
        buf_varint(&w->out, size);
        put_bytes(&w->out, 1, name);
        put_bytes(&w->out, 2, value);
    }
}

/* A message within; buf_put_length ends it. */
static size_t begin(struct buf *out, uint32_t field)
{
    buf_varint(out, field << 3 | OTLP_WIRE_LEN);
    return out->size;
}

static enum err put_exemplar(struct writer *w, struct bytes message)
{
    struct otlp_wire in = otlp_wire_of(message);
    struct otlp_wire_field f;
    struct pair_refs refs = {.count = 0};
    uint64_t value = 0, t = 0;
    enum err e = ERR_OK;
    enum otlp_wire_step step = OTLP_WIRE_END;
    while (e == ERR_OK && (step = otlp_wire_next(&in, &f)) == OTLP_WIRE_FIELD) {
        if (f.number == 1)
            e = read_refs(w, &f, &refs);
        else if (f.number == 2 && f.type == OTLP_WIRE_FIXED64)
            value = f.value;
        else if (f.number == 3 && f.type == OTLP_WIRE_VARINT)
            t = f.value;
    }
    if (e != ERR_OK || step == OTLP_WIRE_BAD || refs.count % 2)
        return e != ERR_OK ? e : bad(w, "an exemplar");
    size_t at = begin(&w->out, 3);
    put_labels(w, &refs);
    buf_varint(&w->out, 2 << 3 | OTLP_WIRE_FIXED64);
    buf_u64(&w->out, value);
    buf_varint(&w->out, 3 << 3 | OTLP_WIRE_VARINT);
    buf_varint(&w->out, t);
    buf_put_length(&w->out, at);
    return ERR_OK;
}

/* --- metadata ------------------------------------------------------------------------------------ */

struct metadata {
    uint64_t type, help, unit;
};

static enum err read_metadata(struct writer *w, struct bytes message, struct metadata *m)
{
    struct otlp_wire in = otlp_wire_of(message);
    struct otlp_wire_field f;
    enum otlp_wire_step step;
    *m = (struct metadata){0};
    while ((step = otlp_wire_next(&in, &f)) == OTLP_WIRE_FIELD) {
        if (f.type != OTLP_WIRE_VARINT)
            continue;
        if (f.number == 1)
            m->type = f.value;
        else if (f.number == 3)
            m->help = f.value;
        else if (f.number == 4)
            m->unit = f.value;
    }
    return step == OTLP_WIRE_BAD ? bad(w, "metadata of a series") : ERR_OK;
}

/* Of a classic histogram's or a summary's series the family is the name without _bucket, _sum, _count. */
static struct bytes family_of(struct bytes name, uint64_t type)
{
    static const char *const ends[] = {"_bucket", "_sum", "_count"};
    bool has_parts = type >= 3 && type <= 5; /* histogram, gauge histogram, summary */
    for (size_t i = 0; has_parts && i < ARRAY_LEN(ends); i++)
        if (bytes_has_suffix(name, bytes_str(ends[i])))
            return bytes_slice(name, 0, name.size - strlen(ends[i]));
    return name;
}

/* Once for series of one family that follow each other. */
static enum err put_metadata(struct writer *w, const struct pair_refs *refs,
                             const struct metadata *m)
{
    struct bytes help, unit, family = BYTES_NONE;
    for (size_t i = 0; i + 1 < refs->count; i += 2)
        if (bytes_equal_str(w->symbols.at[refs->at[i]], "__name__"))
            family = family_of(w->symbols.at[refs->at[i + 1]], m->type);
    enum err e = symbol(w, m->help, &help);
    if (e == ERR_OK)
        e = symbol(w, m->unit, &unit);
    if (e != ERR_OK || !family.size || bytes_equal(family, w->family))
        return e;
    w->family = family;
    size_t at = begin(&w->out, 3);
    buf_varint(&w->out, 1 << 3 | OTLP_WIRE_VARINT);
    buf_varint(&w->out, m->type);
    put_bytes(&w->out, 2, family);
    put_bytes(&w->out, 4, help);
    put_bytes(&w->out, 5, unit);
    buf_put_length(&w->out, at);
    return ERR_OK;
}

/* --- series -------------------------------------------------------------------------------------- */

static enum err read_head(struct writer *w, struct bytes message, struct pair_refs *refs,
                          struct metadata *m, bool *has_metadata)
{
    struct otlp_wire in = otlp_wire_of(message);
    struct otlp_wire_field f;
    enum otlp_wire_step step = OTLP_WIRE_END;
    enum err e = ERR_OK;
    refs->count = 0;
    *has_metadata = false;
    while (e == ERR_OK && (step = otlp_wire_next(&in, &f)) == OTLP_WIRE_FIELD) {
        if (f.number == 1) {
            e = read_refs(w, &f, refs);
        } else if (f.number == 5 && f.type == OTLP_WIRE_LEN) {
            e = read_metadata(w, f.bytes, m);
            *has_metadata = m->type || m->help || m->unit;
        } else if (f.number >= 2 && f.number <= 5 && f.type != OTLP_WIRE_LEN) {
            e = bad(w, "a part of a series is of another type");
        }
    }
    if (e == ERR_OK && step == OTLP_WIRE_BAD)
        e = bad(w, "a series is cut off");
    return e == ERR_OK && refs->count % 2 ? bad(w, "labels must come in pairs") : e;
}

static enum err put_series(struct writer *w, struct bytes message)
{
    struct otlp_wire in = otlp_wire_of(message);
    struct otlp_wire_field f;
    struct pair_refs refs;
    struct metadata m;
    bool has_metadata;
    enum err e = read_head(w, message, &refs, &m, &has_metadata);
    if (e != ERR_OK)
        return e;
    size_t at = begin(&w->out, 1);
    put_labels(w, &refs);
    while (e == ERR_OK && otlp_wire_next(&in, &f) == OTLP_WIRE_FIELD) {
        if (f.number == 2)
            put_bytes(&w->out, 2, f.bytes);
        else if (f.number == 3)
            put_bytes(&w->out, 4, f.bytes);
        else if (f.number == 4)
            e = put_exemplar(w, f.bytes);
    }
    buf_put_length(&w->out, at);
    return e == ERR_OK && has_metadata ? put_metadata(w, &refs, &m) : e;
}

enum err remote_write2_to_1(uint8_t **body, size_t *size, struct err_msg *msg)
{
    struct writer w = {.msg = msg};
    struct bytes all = bytes_of(*body, *size);
    struct otlp_wire in = otlp_wire_of(all);
    struct otlp_wire_field f;
    buf_init(&w.out, REMOTE_WRITE2_BYTES_MAX);
    enum err e = read_symbols(&w, all);
    while (e == ERR_OK && buf_ok(&w.out) && otlp_wire_next(&in, &f) == OTLP_WIRE_FIELD)
        if (f.number == 5)
            e = put_series(&w, f.bytes);
    if (e == ERR_OK && !buf_ok(&w.out))
        e = err_set(msg, ERR_TOO_LARGE, "the request's labels are too large; send smaller batches");
    free(*body);
    *body = NULL;
    if (e == ERR_OK)
        *body = buf_take(&w.out, size);
    buf_done(&w.out);
    free(w.symbols.at);
    return e;
}
