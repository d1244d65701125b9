/* The protobuf encoding, read without a tree: once over a message for its header, once for its streams or events. */
#include "base/check.h"
#include "collector/otlp/otlp_wire.h"
#include "collector/tokens/token_event.h"

enum {
    FIELD_STREAMS = 1,
    FIELD_TRACE_ID,
    FIELD_SPAN_ID,
    FIELD_TEXTS, /* in the order of enum tsdb_token_text */
    FIELD_EVENTS = FIELD_TEXTS + TSDB_TOKEN_TEXT_COUNT
};
_Static_assert(TSDB_TOKEN_TEXT_region + FIELD_TEXTS == 11, "numbers as in proto/tokens.proto");

static enum err wrong(struct token_event_sink *s, const char *what)
{
    return err_set(s->msg, ERR_INVALID, "%s: truncated, or a field of another type", what);
}

static bool take_id(struct bytes wire, uint8_t *out, size_t size)
{
    if (wire.size != size && wire.size != 0)
        return false;
    if (wire.size)
        memcpy(out, wire.data, size);
    return true;
}

static enum err read_header(struct token_event_sink *s, struct bytes wire,
                            struct tsdb_token_stream *h, bool *out_has_streams)
{
    struct otlp_wire w = otlp_wire_of(wire);
    struct otlp_wire_field f;
    enum otlp_wire_step step;
    *out_has_streams = false;
    while ((step = otlp_wire_next(&w, &f)) == OTLP_WIRE_FIELD) {
        if (f.number > FIELD_EVENTS)
            continue; /* of a later version */
        if (f.type != OTLP_WIRE_LEN)
            return wrong(s, "TokenEvents");
        if (f.number == FIELD_STREAMS)
            *out_has_streams = true;
        else if (f.number == FIELD_TRACE_ID && !take_id(f.bytes, h->trace_id, sizeof h->trace_id))
            return err_set(s->msg, ERR_INVALID, "TokenEvents.trace_id has not 16 bytes");
        else if (f.number == FIELD_SPAN_ID && !take_id(f.bytes, h->span_id, sizeof h->span_id))
            return err_set(s->msg, ERR_INVALID, "TokenEvents.span_id has not 8 bytes");
        else if (f.number >= FIELD_TEXTS && f.number < FIELD_EVENTS && f.bytes.size)
            h->text[f.number - FIELD_TEXTS] = f.bytes;
    }
    return step == OTLP_WIRE_END ? ERR_OK : wrong(s, "TokenEvents");
}

static float f32_of(uint64_t bits)
{
    uint32_t low = (uint32_t)bits;
    float v;
    memcpy(&v, &low, sizeof v);
    return v;
}

static bool read_event(struct bytes wire, struct token_event *e)
{
    static const uint8_t types[] = {0,
                                    OTLP_WIRE_FIXED64,
                                    OTLP_WIRE_VARINT,
                                    OTLP_WIRE_VARINT,
                                    OTLP_WIRE_VARINT,
                                    OTLP_WIRE_VARINT,
                                    OTLP_WIRE_FIXED32,
                                    OTLP_WIRE_FIXED32,
                                    OTLP_WIRE_VARINT,
                                    OTLP_WIRE_LEN,
                                    OTLP_WIRE_LEN};
    struct otlp_wire w = otlp_wire_of(wire);
    struct otlp_wire_field f;
    enum otlp_wire_step step;
    *e = (struct token_event){0};
    while ((step = otlp_wire_next(&w, &f)) == OTLP_WIRE_FIELD) {
        if (f.number < ARRAY_LEN(types) && f.type != types[f.number])
            return false;
        switch (f.number) {
        case 1: e->time_ns = f.value; break;
        case 2: e->kind = f.value; break;
        case 3:
            e->tokens = f.value;
            e->has_tokens = true;
            break;
        case 4: e->channel = f.value; break;
        case 5: e->ordinal = f.value; break;
        case 6:
            e->logprob_sum = f32_of(f.value);
            e->has_logprob = true;
            break;
        case 7: e->logprob_min = f32_of(f.value); break;
        case 8: e->logprob_count = f.value; break;
        case 9: e->finish_reason = f.bytes; break;
        case 10: e->error_type = f.bytes; break;
        default: break;
        }
    }
    return step == OTLP_WIRE_END;
}

static enum err read_events(struct token_event_sink *s, struct bytes wire,
                            const struct tsdb_token_stream *h)
{
    struct otlp_wire w = otlp_wire_of(wire);
    struct otlp_wire_field f;
    uint32_t stream = TOKEN_EVENT_NO_STREAM;
    bool is_sought = false;
    enum err e = ERR_OK;
    while (e == ERR_OK && otlp_wire_next(&w, &f) == OTLP_WIRE_FIELD) {
        struct token_event v;
        if (f.number != FIELD_EVENTS)
            continue;
        if (!read_event(f.bytes, &v))
            return wrong(s, "TokenEvent");
        if (!is_sought)
            e = token_event_stream(s, h, &stream);
        is_sought = true;
        if (e == ERR_OK)
            e = token_event_add(s, stream, &v);
    }
    return e;
}

enum err token_wire_decode(struct token_event_sink *s, struct bytes message)
{
    struct tsdb_token_stream shared = {0};
    bool has_streams, deeper;
    enum err e = read_header(s, message, &shared, &has_streams);
    if (e == ERR_OK)
        e = read_events(s, message, &shared);
    struct otlp_wire w = otlp_wire_of(message);
    struct otlp_wire_field f;
    while (e == ERR_OK && has_streams && otlp_wire_next(&w, &f) == OTLP_WIRE_FIELD) {
        if (f.number != FIELD_STREAMS)
            continue;
        struct tsdb_token_stream own = shared;
        e = read_header(s, f.bytes, &own, &deeper);
        if (e == ERR_OK && deeper)
            e = err_set(s->msg, ERR_TOO_DEEP, "TokenEvents.streams within streams");
        if (e == ERR_OK)
            e = read_events(s, f.bytes, &own);
    }
    return e;
}
