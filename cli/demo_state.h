/* What a demo generator holds between calls: encoded spans and logs by service, counters of the services' own metrics.
 * Private to demo_gen.c (requests) and demo_state.c (life, request bodies, metrics).
 * Owner: demo_gen.  Thread: one.  Failure: the buffers' (sticky).
 */
#ifndef CLI_DEMO_STATE_H
#define CLI_DEMO_STATE_H

#include "cli/demo_fleet.h"
#include "cli/demo_gen.h"

#define DEMO_STATE_SERVICES 10u
#define DEMO_STATE_BOUNDS 14u

struct demo_state_service {
    struct buf
        spans[2]; /* of the HTTP server's scope, of the GenAI scope: encoded `spans` fields */
    struct buf logs;
    struct {
        uint64_t buckets[DEMO_STATE_BOUNDS + 1], count;
        double sum;
        int status;
    } http[3]; /* 200, 499, 502 */
};

struct demo_gen {
    struct demo_gen_options o;
    struct demo_gen_totals totals;
    struct demo_state_service services[DEMO_STATE_SERVICES];
    struct buf span, text, prompt, answer; /* scratch */
    uint64_t prompt_tokens, generation_tokens; /* of the model server */
    double queue_ms, rate_now;
    bool deployed;
};

void demo_state_observe(struct demo_state_service *s, int status, double seconds);
bool demo_state_ok(const struct demo_gen *g);

#endif
