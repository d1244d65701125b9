/* The fleet that the demo plays: services and how they are instrumented, models and how fast they are, tenants, questions and answers.
 * Owner: static memory.  Thread: any.  Failure: none.
 */
#ifndef CLI_DEMO_FLEET_H
#define CLI_DEMO_FLEET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum demo_fleet_dialect {
    DEMO_FLEET_OTEL_1_37,
    DEMO_FLEET_OTEL_1_36,
    DEMO_FLEET_OPENLLMETRY,
    DEMO_FLEET_OPENINFERENCE,
    DEMO_FLEET_VERCEL,
    DEMO_FLEET_LANGFUSE,
    DEMO_FLEET_OPENLIT
};

struct demo_fleet_model {
    const char *name, *wire, *provider; /* family, dated name on the wire, canonical provider */
    double ttft_ms, token_ms; /* medians */
};

struct demo_fleet_service {
    const char *name, *language, *version, *next_version, *scope;
    enum demo_fleet_dialect dialect;
    const char *endpoints[3]; /* first is the usual one */
    uint8_t model, cheap_model; /* of demo_fleet_models */
    double weight, cheap_share; /* of the traffic; of its calls */
    double input_median, output_median, cache_share;
    bool streams, retrieves, has_agent, uses_gateway, self_hosted;
    const char *prompt, *prompt_version;
};

struct demo_fleet_topic {
    const char *question, *documents[2], *answer, *unsupported; /* {n} = a number of the request */
};

#define DEMO_FLEET_GATEWAY 8u /* index of the service that plays the gateway */
#define DEMO_FLEET_SERVER 9u /* ... and the model server */
extern const struct demo_fleet_service demo_fleet_services[];
extern const size_t
    demo_fleet_service_count; /* that serve users; the gateway and the model server follow */
extern const struct demo_fleet_model demo_fleet_models[];
extern const char *const demo_fleet_tenants[];
extern const double demo_fleet_tenant_weights[];
extern const size_t demo_fleet_tenant_count;
extern const struct demo_fleet_topic demo_fleet_topics[];
extern const size_t demo_fleet_topic_count;

/* Random numbers that depend on nothing but their seed. */
struct demo_fleet_random {
    uint64_t state;
};
uint64_t demo_fleet_u64(struct demo_fleet_random *r);
double demo_fleet_uniform(struct demo_fleet_random *r); /* [0, 1) */
bool demo_fleet_chance(struct demo_fleet_random *r, double p);
double demo_fleet_lognormal(struct demo_fleet_random *r, double median, double sigma);
unsigned demo_fleet_poisson(struct demo_fleet_random *r, double mean);

#endif
