/* gRPC on top of HTTP/2: the length-prefixed message of a unary call, and the texts of status trailers. */
#include "base/check.h"
#include "collector/net/net_request.h"

/*   PREFIX --5 bytes--> MESSAGE --all its bytes--> COMPLETE    (a byte after that is a second message: refused) */

static enum err prefix_complete(struct net_request *req, struct err_msg *msg)
{
    const uint8_t *p = req->grpc_prefix;
    uint32_t size = (uint32_t)p[1] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 8 | p[4];
    struct bytes encoding = net_request_header(req, "grpc-encoding");

    if (p[0] > 1)
        return err_set(msg, ERR_INTERNAL, "the compressed flag of the message is %u", p[0]);
    if (p[0] == 1 && (encoding.size == 0 || bytes_equal_nocase(encoding, BYTES_LIT("identity"))))
        return err_set(msg, ERR_INTERNAL,
                       "the message is flagged as compressed, but grpc-encoding names no "
                       "compression");
    if (size > req->body_max)
        return err_set(msg, ERR_TOO_LARGE, "the message is %u bytes, larger than the limit of %zu",
                       size, req->body_max);
    req->content_encoding[0] = 0;
    if (p[0] == 1)
        for (size_t i = 0; i < encoding.size && i + 1 < sizeof(req->content_encoding); i++) {
            uint8_t c = encoding.data[i];
            req->content_encoding[i] = (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
            req->content_encoding[i + 1] = 0;
        }
    req->grpc_left = size;
    req->grpc_phase = size ? NET_GRPC_MESSAGE : NET_GRPC_COMPLETE;
    return ERR_OK;
}

enum err net_grpc_append(struct net_request *req, const uint8_t *data, size_t size,
                         struct err_msg *msg)
{
    while (size > 0) {
        size_t n;
        enum err e;
        switch ((enum net_grpc_phase)req->grpc_phase) {
        case NET_GRPC_PREFIX:
            req->grpc_prefix[req->grpc_prefix_size++] = *data++;
            size--;
            if (req->grpc_prefix_size == 5 && (e = prefix_complete(req, msg)) != ERR_OK)
                return e;
            break;
        case NET_GRPC_MESSAGE:
            n = MIN(size, req->grpc_left);
            e = net_body_append(req, data, n);
            if (e == ERR_TOO_LARGE)
                return err_set(msg, e, "the message is larger than the limit of %zu bytes",
                               req->body_max);
            if (e != ERR_OK)
                return err_set(msg, ERR_UNAVAILABLE,
                               "too many request bodies are in flight: try again");
            data += n;
            size -= n;
            req->grpc_left -= (uint32_t)n;
            if (req->grpc_left == 0)
                req->grpc_phase = NET_GRPC_COMPLETE;
            break;
        case NET_GRPC_COMPLETE:
            return err_set(msg, ERR_UNIMPLEMENTED,
                           "a unary call carries one message, this one carries more");
        }
    }
    return ERR_OK;
}

enum err net_grpc_end(struct net_request *req, struct err_msg *msg)
{
    if (req->grpc_phase == NET_GRPC_COMPLETE)
        return ERR_OK;
    if (req->grpc_prefix_size == 0)
        return err_set(msg, ERR_INTERNAL, "the call carries no message");
    return err_set(msg, ERR_INTERNAL, "the call ended inside its message: %u bytes are missing",
                   req->grpc_phase == NET_GRPC_MESSAGE ? req->grpc_left
                                                       : 5u - req->grpc_prefix_size);
}

void net_grpc_percent_encode(struct buf *out, struct bytes text)
{
    static const char hex[] = "0123456789ABCDEF";

    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        if (c >= 0x20 && c <= 0x7e && c != '%') {
            buf_u8(out, c);
        } else {
            buf_u8(out, '%');
            buf_u8(out, (uint8_t)hex[c >> 4]);
            buf_u8(out, (uint8_t)hex[c & 15]);
        }
    }
}

/* Without padding, as gRPC prefers for -bin headers. */
void net_grpc_base64(struct buf *out, struct bytes data)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    for (size_t i = 0; i < data.size; i += 3) {
        size_t left = MIN(data.size - i, (size_t)3);
        uint32_t v = (uint32_t)data.data[i] << 16;
        if (left > 1)
            v |= (uint32_t)data.data[i + 1] << 8;
        if (left > 2)
            v |= data.data[i + 2];
        for (size_t k = 0; k <= left; k++)
            buf_u8(out, (uint8_t)digits[v >> (18 - 6 * k) & 63]);
    }
}

static void put_bytes(struct buf *out, unsigned field, struct bytes b)
{
    buf_varint(out, field << 3 | 2);
    buf_lenbytes(out, b);
}

void net_grpc_status_message(struct buf *out, int code, const char *message, unsigned retry_after_s)
{
    buf_varint(out, 1 << 3);
    buf_varint(out, (uint64_t)code);
    put_bytes(out, 2, bytes_str(message));
    if (retry_after_s) {
        struct buf duration, info, any;
        buf_init(&duration, 0);
        buf_init(&info, 0);
        buf_init(&any, 0);
        buf_varint(&duration, 1 << 3); /* Duration.seconds */
        buf_varint(&duration, retry_after_s);
        put_bytes(&info, 1, buf_bytes(&duration)); /* RetryInfo.retry_delay */
        put_bytes(&any, 1, BYTES_LIT("type.googleapis.com/google.rpc.RetryInfo"));
        put_bytes(&any, 2, buf_bytes(&info));
        put_bytes(out, 3, buf_bytes(&any)); /* Status.details */
        buf_done(&duration);
        buf_done(&info);
        buf_done(&any);
    }
}
