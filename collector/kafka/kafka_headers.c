/* Headers of messages as attributes of resources. */
#include <string.h>

#include "base/check.h"
#include "collector/kafka/kafka_core.h"

#define VALUE_MAX 4096u
#define KEY_PREFIX "kafka.header."

static void put_field(struct buf *out, uint32_t number, struct bytes content)
{
    buf_varint(out, number << 3 | 2); /* length-delimited */
    buf_lenbytes(out, content);
}

/* A KeyValue: a text where the bytes are one, else bytes. */
static void put_attr(struct buf *out, const char *name, struct bytes value)
{
    struct buf key = {0}, any = {0}, pair = {0};
    buf_printf(&key, KEY_PREFIX "%s", name);
    put_field(&any, bytes_is_utf8(value) ? 1 : 7, value);
    put_field(&pair, 1, buf_bytes(&key));
    put_field(&pair, 2, buf_bytes(&any));
    if (buf_ok(&key) && buf_ok(&any) && buf_ok(&pair))
        put_field(out, 1, buf_bytes(&pair));
    buf_done(&key);
    buf_done(&any);
    buf_done(&pair);
}

void kafka_headers_put(const struct kafka_options *o, const rd_kafka_message_t *m, struct buf *out)
{
    rd_kafka_headers_t *headers;
    const void *value;
    size_t size;
    if (!o->header_count || rd_kafka_message_headers(m, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return;
    for (size_t i = 0; i < o->header_count; i++)
        if (rd_kafka_header_get_last(headers, o->headers[i], &value, &size) ==
            RD_KAFKA_RESP_ERR_NO_ERROR)
            put_attr(out, o->headers[i], bytes_of(value, MIN(size, VALUE_MAX)));
}
