#include "collector/otlp/otlp.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/hash.h"
#include "collector/otlp/decode.h"
#include "collector/otlp/json_wire.h"
#include "collector/otlp/otlp_schema.h"

static const enum otlp_schema_id schema_of[TSDB_SIGNAL_COUNT] = {
    [TSDB_SPANS] = OTLP_SCHEMA_TRACES,
    [TSDB_LOGS] = OTLP_SCHEMA_LOGS,
    [TSDB_SAMPLES] = OTLP_SCHEMA_METRICS,
};

/* Identity of the request for the retry window: what the sender repeats byte for byte. */
static struct hash128 request_key(const struct otlp_decode_options *o, struct bytes body)
{
    return hash128(body, ((uint64_t)o->org << 8) | (uint64_t)o->signal << 1 | o->encoding);
}

static enum err decode_rows(const struct otlp_decode_options *o, struct bytes wire,
                            struct tsdb_batch *b)
{
    struct decode d = {.o = o, .batch = b, .now_ms = o->now_ns / 1000000};
    d.ceiling_ms = d.now_ms + OTLP_FUTURE_MAX_MS;
    buf_init(&d.attrs, 0);
    buf_init(&d.events, 0);
    buf_init(&d.links, 0);
    enum err e;
    switch (o->signal) {
    case TSDB_SPANS: e = decode_spans(&d, wire); break;
    case TSDB_LOGS: e = decode_logs(&d, wire); break;
    default: e = decode_metrics(&d, wire); break;
    }
    buf_done(&d.attrs);
    buf_done(&d.events);
    buf_done(&d.links);
    return e;
}

static enum err from_json(const struct otlp_decode_options *o, uint8_t **body, size_t *size,
                          struct err_msg *msg)
{
    struct buf wire;
    buf_init(&wire, 4 * OTLP_BODY_MAX);
    enum err e = json_wire(schema_of[o->signal], bytes_of(*body, *size), &wire, msg);
    free(*body);
    *body = NULL;
    if (e == ERR_OK)
        *body = buf_take(&wire, size);
    buf_done(&wire);
    return e;
}

/* A span that is kept has two ids, 28 bytes with their framing: what is shorter is refused and needs no room. */
static uint32_t spans_likely(uint64_t rows, size_t body_size)
{
    return (uint32_t)MIN(MIN(rows, body_size / 28), 1u << 16);
}

enum err otlp_decode(const struct otlp_decode_options *o, uint8_t *take_body, size_t body_size,
                     struct tsdb_batch **out, struct err_msg *msg)
{
    struct hash128 key = request_key(o, bytes_of(take_body, body_size));
    uint64_t rows = 0;
    if (msg)
        msg->text[0] = 0;
    enum err e = o->encoding == OTLP_JSON ? from_json(o, &take_body, &body_size, msg) : ERR_OK;
    if (e == ERR_OK)
        e = otlp_schema_check(schema_of[o->signal], bytes_of(take_body, body_size), &rows, msg);
    if (e != ERR_OK) {
        free(take_body);
        return e;
    }
    struct tsdb_batch *b =
        tsdb_batch_new(o->org, o->signal, o->arena_max ? o->arena_max : OTLP_ARENA_MAX);
    if (!b) {
        free(take_body);
        return err_set(msg, ERR_NOMEM, "no memory for a batch");
    }
    b->received = rows;
    b->received_ns = o->now_ns;
    b->request_key = key;
    arena_expect(b->arena, body_size + body_size / 2);
    if (o->signal == TSDB_SPANS && !tsdb_batch_expect_spans(b, spans_likely(rows, body_size)))
        e = ERR_TOO_LARGE;
    if (e == ERR_OK)
        e = decode_rows(o, bytes_of(take_body, body_size), b);
    free(take_body); /* the batch has copies: the next body finds this memory warm */
    if (e != ERR_OK) {
        tsdb_batch_free(b);
        return err_set(msg, e,
                       e == ERR_TOO_LARGE ? "the request needs more memory than one may use; "
                                            "send smaller batches"
                                          : "out of memory");
    }
    *out = b;
    return ERR_OK;
}
