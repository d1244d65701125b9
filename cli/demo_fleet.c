#include "cli/demo_fleet.h"

#include <math.h>

const struct demo_fleet_model demo_fleet_models[] = {
    {"gpt-4o", "gpt-4o-2024-08-06", "openai", 380, 14},
    {"gpt-4o-mini", "gpt-4o-mini-2024-07-18", "openai", 290, 9},
    {"claude-sonnet-4-5", "claude-sonnet-4-5-20250929", "anthropic", 620, 17},
    {"claude-haiku-4-5", "claude-haiku-4-5-20251001", "anthropic", 340, 8},
    {"gemini-2.5-flash", "gemini-2.5-flash", "gcp.gemini", 410, 6},
    {"gpt-5", "gpt-5-2025-08-07", "openai", 900, 13},
    {"gpt-4.1-mini", "gpt-4.1-mini-2025-04-14", "openai", 310, 9},
    {"gpt-4.1-nano", "gpt-4.1-nano-2025-04-14", "openai", 220, 6},
    {"mistral-large", "mistral-large-2411", "mistral_ai", 430, 18},
    {"mistral-small", "mistral-small-2503", "mistral_ai", 240, 8},
    {"llama-3.3-70b-versatile", "llama-3.3-70b-versatile", "vllm", 260, 21},
};

const struct demo_fleet_service demo_fleet_services[] = {
    {.name = "chat-api",
     .language = "python",
     .version = "2.14.0",
     .next_version = "2.15.0",
     .scope = "opentelemetry.instrumentation.openai_v2",
     .dialect = DEMO_FLEET_OTEL_1_37,
     .endpoints = {"/v1/chat", "/v1/chat/regenerate", NULL},
     .model = 0,
     .cheap_model = 1,
     .weight = 0.30,
     .cheap_share = 0.45,
     .input_median = 900,
     .output_median = 180,
     .cache_share = 0.5,
     .streams = true,
     .uses_gateway = true,
     .prompt = "chat-system",
     .prompt_version = "12"},
    {.name = "support-rag",
     .language = "python",
     .version = "5.2.1",
     .next_version = "5.3.0",
     .scope = "openinference.instrumentation.langchain",
     .dialect = DEMO_FLEET_OPENINFERENCE,
     .endpoints = {"/ask", "/ask/followup", NULL},
     .model = 2,
     .cheap_model = 3,
     .weight = 0.18,
     .cheap_share = 0.25,
     .input_median = 2600,
     .output_median = 150,
     .cache_share = 0.3,
     .streams = true,
     .retrieves = true,
     .prompt = "support-answer",
     .prompt_version = "4"},
    {.name = "search-answers",
     .language = "python",
     .version = "1.9.3",
     .next_version = "1.10.0",
     .scope = "opentelemetry.instrumentation.openai",
     .dialect = DEMO_FLEET_OPENLLMETRY,
     .endpoints = {"/search", NULL},
     .model = 6,
     .cheap_model = 7,
     .weight = 0.16,
     .cheap_share = 0.3,
     .input_median = 1800,
     .output_median = 120,
     .streams = true,
     .retrieves = true,
     .prompt = "search-summary",
     .prompt_version = "9"},
    {.name = "code-assist",
     .language = "nodejs",
     .version = "0.31.0",
     .next_version = "0.32.0",
     .scope = "ai",
     .dialect = DEMO_FLEET_VERCEL,
     .endpoints = {"/complete", "/explain", NULL},
     .model = 2,
     .cheap_model = 3,
     .weight = 0.14,
     .cheap_share = 0.6,
     .input_median = 3200,
     .output_median = 260,
     .cache_share = 0.7,
     .streams = true,
     .prompt = "code-complete",
     .prompt_version = "31"},
    {.name = "agent-planner",
     .language = "python",
     .version = "0.8.2",
     .next_version = "0.9.0",
     .scope = "opentelemetry.instrumentation.openai_agents",
     .dialect = DEMO_FLEET_OTEL_1_37,
     .endpoints = {"/run", NULL},
     .model = 5,
     .cheap_model = 6,
     .weight = 0.05,
     .cheap_share = 0.4,
     .input_median = 2200,
     .output_median = 320,
     .cache_share = 0.4,
     .has_agent = true,
     .prompt = "planner",
     .prompt_version = "3"},
    {.name = "doc-summary",
     .language = "java",
     .version = "3.0.7",
     .next_version = "3.1.0",
     .scope = "com.example.llm.instrumentation",
     .dialect = DEMO_FLEET_OTEL_1_36,
     .endpoints = {"/summarize", NULL},
     .model = 4,
     .cheap_model = 7,
     .weight = 0.07,
     .cheap_share = 0.1,
     .input_median = 7000,
     .output_median = 300,
     .prompt = "summary",
     .prompt_version = "2"},
    {.name = "recommender",
     .language = "python",
     .version = "7.4.0",
     .next_version = "7.5.0",
     .scope = "openlit",
     .dialect = DEMO_FLEET_OPENLIT,
     .endpoints = {"/recommend", NULL},
     .model = 10,
     .cheap_model = 10,
     .weight = 0.06,
     .cheap_share = 0,
     .input_median = 700,
     .output_median = 90,
     .streams = true,
     .self_hosted = true,
     .prompt = "recommend",
     .prompt_version = "6"},
    {.name = "translate",
     .language = "python",
     .version = "1.1.5",
     .next_version = "1.2.0",
     .scope = "langfuse-sdk",
     .dialect = DEMO_FLEET_LANGFUSE,
     .endpoints = {"/translate", NULL},
     .model = 8,
     .cheap_model = 9,
     .weight = 0.04,
     .cheap_share = 0.5,
     .input_median = 420,
     .output_median = 400,
     .prompt = "translate",
     .prompt_version = "5"},
    {.name = "llm-gateway",
     .language = "python",
     .version = "1.77.0",
     .next_version = "1.77.0",
     .scope = "litellm"},
    {.name = "vllm-llama",
     .language = "python",
     .version = "0.11.0",
     .next_version = "0.11.0",
     .scope = "vllm.llm_engine"},
};
const size_t demo_fleet_service_count = 8;

const char *const demo_fleet_tenants[] = {"acme",      "globex",  "initech",  "umbrella",
                                          "hooli",     "stark",   "wonka",    "tyrell",
                                          "cyberdyne", "soylent", "aperture", "dunder"};
const double demo_fleet_tenant_weights[] = {.22, .16, .12, .1,  .08, .07,
                                            .06, .05, .05, .04, .03, .02};
const size_t demo_fleet_tenant_count = sizeof demo_fleet_tenants / sizeof *demo_fleet_tenants;

const struct demo_fleet_topic demo_fleet_topics[] = {
    {"Where is my order {n}?",
     {"Order {n} left the warehouse in Leipzig on 12 November and was handed to the carrier the "
      "same day.",
      "Standard delivery takes three to five working days after an order is handed to the "
      "carrier."},
     "Order {n} left our Leipzig warehouse on 12 November. Standard delivery takes three to five "
     "working days from then.",
     "Order {n} was delivered yesterday at 14:20 and signed for by your neighbour at number 9."},
    {"Can I return shoes after {n} days?",
     {"Shoes can be returned within 60 days of delivery if they were worn indoors only.",
      "Refunds are paid back to the card that was used, within ten days of receipt."},
     "Shoes can be returned within 60 days of delivery as long as they were worn indoors only; the "
     "refund goes to the card you paid with.",
     "Yes, shoes can be returned for a full year, and we add a voucher of 20 euros for the "
     "trouble."},
    {"What does the premium plan with {n} seats cost?",
     {"The premium plan costs 18 euros per seat and month, billed yearly.",
      "Plans of more than 100 seats receive a discount of ten percent."},
     "The premium plan is 18 euros per seat and month, billed yearly; above 100 seats there is a "
     "ten percent discount.",
     "The premium plan is free for the first three years and includes unlimited telephone "
     "support."},
    {"How do I reset the router, model {n}?",
     {"Hold the reset key for eight seconds until the power light blinks orange.",
      "After a reset the router uses the network name printed on its underside."},
     "Hold the reset key for eight seconds until the power light blinks orange; the router then "
     "uses the network name printed underneath.",
     "Unplug the router for two days; the flash memory clears itself through the antenna."},
    {"Is flight {n} on time?",
     {"Flight {n} is scheduled at 09:45 from gate B12; boarding begins 40 minutes before "
      "departure.",
      "Checked bags are accepted until 60 minutes before departure."},
     "Flight {n} is scheduled at 09:45 from gate B12, and boarding begins 40 minutes before.",
     "Flight {n} has been cancelled because of a volcanic eruption; all passengers receive 600 "
     "euros in cash."},
    {"Which vaccine doses are due at {n} months?",
     {"The national schedule lists the second combined dose at four months and the third at eleven "
      "months.",
      "Doses that were missed are caught up at the next visit."},
     "The schedule lists the second combined dose at four months and the third at eleven; missed "
     "doses are caught up at the next visit.",
     "No doses are due before school age; the schedule was withdrawn last spring."},
    {"Summarise ticket {n}.",
     {"Ticket {n}: the export of invoices fails with a timeout when more than 5,000 rows are "
      "selected.",
      "A fix that pages the export is planned for release 4.2."},
     "Ticket {n}: exporting more than 5,000 invoice rows times out; release 4.2 will page the "
     "export.",
     "Ticket {n}: the customer asks for a refund because the export deleted all of their "
     "invoices."},
    {"What is the maximum load of shelf {n}?",
     {"Shelf {n} carries up to 35 kilograms per board when it is fixed to the wall.",
      "Without fixing, the boards must not carry more than 12 kilograms."},
     "Fixed to the wall, shelf {n} carries 35 kilograms per board; without fixing no more than 12.",
     "Shelf {n} carries 400 kilograms per board and needs no fixing."},
};
const size_t demo_fleet_topic_count = sizeof demo_fleet_topics / sizeof *demo_fleet_topics;

/* --- random numbers: splitmix64 (Steele, Lea, Flood 2014) --------------------------------------------- */

uint64_t demo_fleet_u64(struct demo_fleet_random *r)
{
    uint64_t z = (r->state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

double demo_fleet_uniform(struct demo_fleet_random *r)
{
    return (double)(demo_fleet_u64(r) >> 11) * 0x1p-53;
}

bool demo_fleet_chance(struct demo_fleet_random *r, double p)
{
    return demo_fleet_uniform(r) < p;
}

double demo_fleet_lognormal(struct demo_fleet_random *r, double median, double sigma)
{
    double u = 1 - demo_fleet_uniform(r), v = demo_fleet_uniform(r);
    return median * exp(sigma * sqrt(-2 * log(u)) * cos(6.283185307179586 * v));
}

unsigned demo_fleet_poisson(struct demo_fleet_random *r, double mean)
{
    unsigned n = 0;
    while (mean > 30) { /* in slices, so that exp() stays away from zero */
        n += demo_fleet_poisson(r, 30);
        mean -= 30;
    }
    double limit = exp(-mean), p = demo_fleet_uniform(r);
    while (p > limit) {
        n++;
        p *= demo_fleet_uniform(r);
    }
    return n;
}
