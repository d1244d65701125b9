#include "collector/otlp/json_wire.h"

#include <math.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/json_in.h"
#include "otlp.pb-c.h"

#define LENGTH_SIZE 4u /* a message's length as a varint of fixed width, filled in at its end */

struct frame {
    const ProtobufCMessageDescriptor *msg;
    const ProtobufCFieldDescriptor
        *field; /* of the key just read; NULL: unknown, its value is skipped */
    size_t length_at;
    bool in_array;
};

struct rewrite {
    struct buf *out;
    struct err_msg *msg;
    const ProtobufCMessageDescriptor *root;
    unsigned depth; /* open messages */
    unsigned skip; /* open brackets inside an unknown field */
    struct frame path[JSON_WIRE_DEPTH_MAX + 1];
};

static enum err wrong(struct rewrite *r, const char *expected)
{
    if (r->depth == 0)
        return err_set(r->msg, ERR_INVALID, "the body must be a JSON object");
    const struct frame *top = &r->path[r->depth - 1];
    return err_set(r->msg, ERR_INVALID, "%s.%s: expected %s", top->msg->short_name,
                   top->field ? top->field->name : "?", expected);
}

/* Is the key the field's name in lowerCamelCase? */
static bool is_camel_of(struct bytes key, const char *snake)
{
    size_t i = 0;
    for (; *snake; snake++) {
        bool upper = *snake == '_' && snake[1];
        if (upper)
            snake++;
        char c = upper && *snake >= 'a' && *snake <= 'z' ? (char)(*snake - 'a' + 'A') : *snake;
        if (i == key.size || key.data[i++] != (uint8_t)c)
            return false;
    }
    return i == key.size;
}

static enum err on_key(void *ctx, struct bytes key)
{
    struct rewrite *r = ctx;
    if (r->skip)
        return ERR_OK;
    struct frame *top = &r->path[r->depth - 1];
    top->field = NULL;
    for (unsigned i = 0; i < top->msg->n_fields && !top->field; i++)
        if (is_camel_of(key, top->msg->fields[i].name))
            top->field = &top->msg->fields[i];
    return ERR_OK;
}

static enum err check_room(const struct rewrite *r)
{
    return buf_ok(r->out)
               ? ERR_OK
               : err_set(r->msg, ERR_TOO_LARGE, "the request needs more memory than one may use");
}

static void put_tag(struct rewrite *r, const ProtobufCFieldDescriptor *f, unsigned wire_type)
{
    buf_varint(r->out, (uint64_t)f->id << 3 | wire_type);
}

static enum err on_object(void *ctx)
{
    struct rewrite *r = ctx;
    if (r->skip) {
        r->skip++;
        return ERR_OK;
    }
    if (r->depth == 0) {
        r->path[r->depth++] = (struct frame){.msg = r->root};
        return ERR_OK;
    }
    const struct frame *top = &r->path[r->depth - 1];
    const ProtobufCFieldDescriptor *f = top->field;
    if (!f) {
        r->skip = 1;
        return ERR_OK;
    }
    if (f->type != PROTOBUF_C_TYPE_MESSAGE)
        return wrong(r, "a plain value, not an object");
    if ((f->label == PROTOBUF_C_LABEL_REPEATED) != top->in_array)
        return wrong(r, "an array of objects");
    put_tag(r, f, 2);
    CHECK(r->depth < ARRAY_LEN(r->path));
    r->path[r->depth++] = (struct frame){.msg = f->descriptor, .length_at = r->out->size};
    buf_append(r->out, "\0\0\0\0", LENGTH_SIZE);
    return check_room(r);
}

static enum err on_object_end(void *ctx)
{
    struct rewrite *r = ctx;
    if (r->skip) {
        r->skip--;
        return ERR_OK;
    }
    const struct frame *top = &r->path[--r->depth];
    if (r->depth == 0)
        return ERR_OK;
    size_t size = r->out->size - top->length_at - LENGTH_SIZE;
    if (size >> (7 * LENGTH_SIZE))
        return err_set(r->msg, ERR_TOO_LARGE, "the request needs more memory than one may use");
    uint8_t *p = r->out->data + top->length_at;
    for (unsigned i = 0; i < LENGTH_SIZE; i++)
        p[i] = (uint8_t)((size >> (7 * i) & 0x7f) | (i + 1 < LENGTH_SIZE ? 0x80 : 0));
    return ERR_OK;
}

static enum err on_array(void *ctx)
{
    struct rewrite *r = ctx;
    if (r->skip) {
        r->skip++;
        return ERR_OK;
    }
    if (r->depth == 0)
        return wrong(r, "an object");
    struct frame *top = &r->path[r->depth - 1];
    if (!top->field) {
        r->skip = 1;
        return ERR_OK;
    }
    if (top->field->label != PROTOBUF_C_LABEL_REPEATED || top->in_array)
        return wrong(r, "a single value, not an array");
    top->in_array = true;
    return ERR_OK;
}

static enum err on_array_end(void *ctx)
{
    struct rewrite *r = ctx;
    if (r->skip)
        r->skip--;
    else
        r->path[r->depth - 1].in_array = false;
    return ERR_OK;
}

/* --- scalars ------------------------------------------------------------------------------------ */

/* The field a scalar belongs to; NULL with *e = ERR_OK when it is to be skipped. */
static const ProtobufCFieldDescriptor *scalar_field(struct rewrite *r, enum err *e)
{
    *e = ERR_OK;
    if (r->skip)
        return NULL;
    if (r->depth == 0) {
        *e = wrong(r, "an object");
        return NULL;
    }
    const struct frame *top = &r->path[r->depth - 1];
    if (!top->field)
        return NULL;
    if ((top->field->label == PROTOBUF_C_LABEL_REPEATED) != top->in_array)
        *e = wrong(r, "an array");
    return *e == ERR_OK ? top->field : NULL;
}

static enum err on_null(void *ctx)
{
    struct rewrite *r = ctx;
    if (r->depth == 0)
        return wrong(r, "an object");
    return !r->skip && r->path[r->depth - 1].in_array ? wrong(r, "no null in an array") : ERR_OK;
}

static enum err on_boolean(void *ctx, bool v)
{
    struct rewrite *r = ctx;
    enum err e;
    const ProtobufCFieldDescriptor *f = scalar_field(r, &e);
    if (!f)
        return e;
    if (f->type != PROTOBUF_C_TYPE_BOOL)
        return wrong(r, "another type than a boolean");
    put_tag(r, f, 0);
    buf_u8(r->out, v);
    return check_room(r);
}

static bool whole_number(struct bytes text, int64_t *out)
{
    double d;
    uint64_t u;
    if (bytes_to_i64(text, out))
        return true;
    if (bytes_to_u64(text, &u)) {
        memcpy(out, &u, sizeof(u)); /* the upper half of an unsigned field */
        return true;
    }
    if (!bytes_to_f64(text, &d) || !(fabs(d) < 9007199254740992.0) || d != floor(d))
        return false;
    *out = (int64_t)d; /* 1e3, 5.0 */
    return true;
}

static bool any_number(struct bytes text, double *out)
{
    if (bytes_equal_str(text, "Infinity") || bytes_equal_str(text, "-Infinity"))
        *out = text.data[0] == '-' ? -INFINITY : INFINITY;
    else if (bytes_equal_str(text, "NaN"))
        *out = NAN;
    else
        return bytes_to_f64(text, out);
    return true;
}

static void put_integer(struct rewrite *r, const ProtobufCFieldDescriptor *f, int64_t v)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_SFIXED64:
        put_tag(r, f, 1);
        buf_u64(r->out, (uint64_t)v);
        break;
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_SFIXED32:
        put_tag(r, f, 5);
        buf_u32(r->out, (uint32_t)v);
        break;
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SINT64:
        put_tag(r, f, 0);
        buf_zigzag(r->out, v);
        break;
    default:
        put_tag(r, f, 0);
        buf_varint(r->out, (uint64_t)v);
        break;
    }
}

static bool fits(const ProtobufCFieldDescriptor *f, struct bytes text, int64_t v)
{
    bool is_minus = text.size && text.data[0] == '-';
    switch (f->type) {
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_UINT32: return v >= 0 && v <= UINT32_MAX;
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_UINT64: return !is_minus || v == 0;
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_ENUM: return v >= INT32_MIN && v <= INT32_MAX;
    default: return is_minus == (v < 0) || v == 0;
    }
}

static enum err put_number(struct rewrite *r, const ProtobufCFieldDescriptor *f, struct bytes text)
{
    int64_t v;
    double d;
    switch (f->type) {
    case PROTOBUF_C_TYPE_DOUBLE:
        if (!any_number(text, &d))
            return wrong(r, "a number");
        put_tag(r, f, 1);
        buf_f64(r->out, d);
        break;
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_BOOL:
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE: return wrong(r, "another type than a number");
    default:
        if (!whole_number(text, &v) || !fits(f, text, v))
            return wrong(r, "an integer in range");
        put_integer(r, f, v);
        break;
    }
    return check_room(r);
}

static enum err on_number(void *ctx, struct bytes text)
{
    struct rewrite *r = ctx;
    enum err e;
    const ProtobufCFieldDescriptor *f = scalar_field(r, &e);
    return f ? put_number(r, f, text) : e;
}

static int base64_digit(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+' || c == '-')
        return 62;
    return c == '/' || c == '_' ? 63 : -1;
}

static bool put_base64(struct buf *out, struct bytes text)
{
    while (text.size && text.data[text.size - 1] == '=')
        text.size--;
    if (text.size % 4 == 1)
        return false;
    buf_varint(out, text.size / 4 * 3 + (text.size % 4 ? text.size % 4 - 1 : 0));
    uint32_t bits = 0;
    for (size_t i = 0; i < text.size; i++) {
        int digit = base64_digit(text.data[i]);
        if (digit < 0)
            return false;
        bits = bits << 6 | (uint32_t)digit;
        if (i % 4)
            buf_u8(out, (uint8_t)(bits >> (6 - 2 * (i % 4))));
    }
    return true;
}

static bool put_hex(struct buf *out, struct bytes text)
{
    uint8_t id[16];
    if (text.size % 2 || text.size / 2 > sizeof(id) || !bytes_from_hex(text, id, text.size / 2))
        return false;
    buf_lenbytes(out, bytes_of(id, text.size / 2));
    return true;
}

static bool is_id(const ProtobufCFieldDescriptor *f)
{
    return strcmp(f->name, "trace_id") == 0 || strcmp(f->name, "span_id") == 0 ||
           strcmp(f->name, "parent_span_id") == 0;
}

static enum err put_enum(struct rewrite *r, const ProtobufCFieldDescriptor *f, struct bytes s)
{
    const ProtobufCEnumDescriptor *names = f->descriptor;
    for (unsigned i = 0; i < names->n_values; i++) {
        if (!bytes_equal_str(s, names->values[i].name))
            continue;
        put_tag(r, f, 0);
        buf_varint(r->out, (uint64_t)names->values[i].value);
        return check_room(r);
    }
    return put_number(r, f, s);
}

static enum err on_string(void *ctx, struct bytes s)
{
    struct rewrite *r = ctx;
    enum err e;
    const ProtobufCFieldDescriptor *f = scalar_field(r, &e);
    if (!f)
        return e;
    switch (f->type) {
    case PROTOBUF_C_TYPE_STRING:
        put_tag(r, f, 2);
        buf_lenbytes(r->out, s);
        return check_room(r);
    case PROTOBUF_C_TYPE_BYTES:
        put_tag(r, f, 2);
        if (is_id(f) ? !put_hex(r->out, s) : !put_base64(r->out, s))
            return wrong(r, is_id(f) ? "an id in hexadecimal" : "bytes in base64");
        return check_room(r);
    case PROTOBUF_C_TYPE_ENUM: return put_enum(r, f, s);
    case PROTOBUF_C_TYPE_BOOL:
    case PROTOBUF_C_TYPE_MESSAGE: return wrong(r, "another type than a string");
    default: return put_number(r, f, s);
    }
}

static const struct json_in_events events = {
    .null = on_null,
    .boolean = on_boolean,
    .number = on_number,
    .string = on_string,
    .object = on_object,
    .key = on_key,
    .object_end = on_object_end,
    .array = on_array,
    .array_end = on_array_end,
};

enum err json_wire(enum otlp_schema_id root, struct bytes json, struct buf *out,
                   struct err_msg *msg)
{
    struct rewrite *r = malloc(sizeof(*r));
    if (!r)
        return err_set(msg, ERR_NOMEM, "out of memory");
    r->out = out;
    r->msg = msg;
    r->depth = r->skip = 0;
    switch (root) {
    case OTLP_SCHEMA_TRACES: r->root = &otlp__export_trace_service_request__descriptor; break;
    case OTLP_SCHEMA_LOGS: r->root = &otlp__export_logs_service_request__descriptor; break;
    default: r->root = &otlp__export_metrics_service_request__descriptor; break;
    }
    enum err e = json_in_parse(json, JSON_WIRE_DEPTH_MAX, &events, r, msg);
    free(r);
    return e;
}
