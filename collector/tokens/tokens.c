#include "collector/tokens/tokens.h"

#include "base/check.h"
#include "collector/tokens/token_event.h"

enum tokens_encoding tokens_encoding_of(struct bytes message)
{
    for (size_t i = 0; i < message.size; i++)
        if (!memchr(" \t\r\n", message.data[i], 4))
            return message.data[i] == '{' ? TOKENS_JSON : TOKENS_PROTOBUF;
    return TOKENS_PROTOBUF;
}

enum err token_event_stream(struct token_event_sink *s, const struct tsdb_token_stream *header,
                            uint32_t *out)
{
    *out = TOKEN_EVENT_NO_STREAM;
    if (!tsdb_tokens_is_named(header))
        return ERR_OK;
    *out = tsdb_tokens_stream(&s->b->tokens, s->b->org, header);
    return *out == TOKEN_EVENT_NO_STREAM
               ? err_set(s->msg, ERR_TOO_LARGE,
                         "the token events need more memory than one may use")
               : ERR_OK;
}

enum err token_event_add(struct token_event_sink *s, uint32_t stream, const struct token_event *e)
{
    struct tsdb_batch *b = s->b;
    b->received++;
    if (stream == TOKEN_EVENT_NO_STREAM) {
        tsdb_batch_reject(b, TSDB_REJECT_MALFORMED,
                          "a token event without trace and span id, request id or response id");
    } else if (e->time_ns == 0) {
        tsdb_batch_reject(b, TSDB_REJECT_MALFORMED, "a token event without a time");
    } else if (e->kind > TSDB_TOKEN_ERROR || e->channel >= TSDB_TOKEN_CHANNELS) {
        tsdb_batch_reject(b, TSDB_REJECT_UNSUPPORTED,
                          "a token event of kind %llu and channel %llu, which are not known",
                          (unsigned long long)e->kind, (unsigned long long)e->channel);
    } else if (e->tokens > TOKENS_PER_EVENT_MAX || e->ordinal > UINT32_MAX ||
               e->logprob_count > TOKENS_PER_EVENT_MAX) {
        tsdb_batch_reject(b, TSDB_REJECT_MALFORMED, "a token event with %llu tokens",
                          (unsigned long long)e->tokens);
    } else if (e->time_ns > (uint64_t)s->ceiling_ns) {
        tsdb_batch_reject(b, TSDB_REJECT_TOO_NEW,
                          "a token event more than 10 minutes ahead of the server's clock");
    } else if ((int64_t)e->time_ns < s->floor_ns) {
        tsdb_batch_reject(b, TSDB_REJECT_TOO_OLD, "a token event older than the retention keeps");
    } else {
        struct tsdb_token_event v = {.stream = stream,
                                     .time_ns = (int64_t)e->time_ns,
                                     .kind = (uint8_t)e->kind,
                                     .channel = (uint8_t)e->channel,
                                     .ordinal = (uint32_t)e->ordinal};
        bool is_chunk = e->kind == TSDB_TOKEN_CHUNK;
        v.tokens = e->has_tokens ? (uint32_t)e->tokens : is_chunk;
        if (e->has_logprob) {
            v.logprob_count = e->logprob_count ? (uint32_t)e->logprob_count : v.tokens;
            v.logprob_sum = e->logprob_sum;
            v.logprob_min = e->logprob_min;
        }
        v.reason = e->kind == TSDB_TOKEN_ERROR ? e->error_type
                   : e->kind == TSDB_TOKEN_END ? e->finish_reason
                                               : BYTES_NONE;
        if (!tsdb_tokens_add(&b->tokens, &v))
            return err_set(s->msg, ERR_TOO_LARGE,
                           "the token events need more memory than one may use");
    }
    return ERR_OK;
}

enum err tokens_decode(struct tsdb_batch *b, struct bytes message, const struct tokens_options *o,
                       struct err_msg *msg)
{
    struct token_event_sink s = {.b = b, .o = o, .msg = msg};
    struct tsdb_tokens_mark before = tsdb_tokens_mark(&b->tokens);
    struct err_msg first = b->reject_msg;
    uint64_t received = b->received, rejected[TSDB_REJECT_COUNT];
    memcpy(rejected, b->rejected, sizeof rejected);
    s.ceiling_ns = o->now_ns + TOKENS_FUTURE_MAX_MS * 1000000;
    s.floor_ns = o->floor_ms > 0 ? o->floor_ms * 1000000 : 0;
    if (msg)
        msg->text[0] = 0;
    enum err e = o->encoding == TOKENS_JSON ? token_json_decode(&s, message)
                                            : token_wire_decode(&s, message);
    if (e == ERR_OK)
        return e;
    tsdb_tokens_rewind(&b->tokens, before);
    b->received = received;
    b->reject_msg = first;
    memcpy(b->rejected, rejected, sizeof rejected);
    if (msg && !msg->text[0])
        err_set(msg, e, "%s", err_text(e));
    return e;
}
