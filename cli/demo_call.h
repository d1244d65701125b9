/* One model call as its SDK would report it, in the words of the service's dialect.
 * Owner: caller.  Thread: one.  Failure: the buffers' (sticky).
 */
#ifndef CLI_DEMO_CALL_H
#define CLI_DEMO_CALL_H

#include "cli/demo_fleet.h"
#include "cli/demo_wire.h"

struct demo_call {
    struct demo_wire_ids ids;
    uint8_t inner_id
        [8]; /* Vercel reports each call twice: the wrapper has ids.span, the call this one */
    enum demo_fleet_dialect dialect;
    const struct demo_fleet_model *asked, *answered;
    int64_t start_ns, end_ns, first_token_ns; /* the last absolute; 0 = not streamed or none came */
    int64_t input_tokens, output_tokens, cached_tokens,
        max_tokens; /* output < 0: no usage was reported */
    const char *finish; /* NULL = it never finished */
    const char *error_type; /* NULL = none */
    int http_status;
    const char *tenant, *prompt_name, *prompt_version, *user, *session, *response_id, *endpoint;
    const char *fallback_from; /* family, NULL = none */
    struct bytes system, prompt, answer; /* content; answer empty = none */
    bool streams, is_batch;
};

void demo_call_write(const struct demo_call *c, struct buf *scratch, struct buf *out_spans);

#endif
