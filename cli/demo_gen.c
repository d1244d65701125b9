#include "cli/demo_gen.h"

#include "cli/demo_call.h"
#include "cli/demo_state.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define A DEMO_WIRE_SPAN_ATTRS
#define STEPS_MAX 24
#define BASE_ERROR_RATE 0.005
#define TRANSIENT_RATE 0.008 /* attempts that fail and are tried again with success */

enum step_kind { STEP_RETRIEVE, STEP_TOOL, STEP_CALL };

/* Planned first, because only the whole plan says when a request that ends now began. Times in ms after its start. */
struct step {
    enum step_kind kind;
    double at, took, first_token; /* first_token < 0: not streamed or none came */
    const struct demo_fleet_model *asked, *answered;
    int64_t input, output, cached;
    const char *finish, *error, *fallback_from;
    int http_status;
};

struct plan {
    const struct demo_fleet_service *service;
    size_t service_index;
    struct step steps[STEPS_MAX];
    size_t count;
    double now; /* ms so far */
    bool failed, cancelled, unsupported, leaks, truncated;
    int status; /* of the entry */
    const char *tenant, *endpoint;
    char user[24], session[24];
    const struct demo_fleet_topic *topic;
    unsigned number;
};

/* What holds in one second. */
struct moment {
    double rate, tokens, latency, errors, hallucination, truncation, leak, routing, mix, heavy,
        batch, queue_ms;
};

static struct moment moment_at(const struct demo_gen *g, int64_t second)
{
    const struct demo_effects *e = &g->o.effects;
    int64_t ms = second * 1000, elapsed = 0;
    double hour = (double)(second % 86400) / 3600, v;
    struct moment m = {.rate = g->o.rate, .tokens = 1, .latency = 1, .truncation = 0.01};
    if (g->o.diurnal)
        m.rate *= 1 + 0.6 * sin(6.283185307179586 * (hour - 9) / 24);
    if ((v = demo_effect_at(e, DEMO_EFFECT_TRAFFIC, ms, NULL)) > 0)
        m.rate *= v;
    m.tokens += demo_effect_at(e, DEMO_EFFECT_COST_SPIKE, ms, NULL);
    m.latency += demo_effect_at(e, DEMO_EFFECT_LATENCY, ms, NULL);
    v = demo_effect_at(e, DEMO_EFFECT_ERRORS, ms, NULL);
    m.errors = v > 0 ? v : BASE_ERROR_RATE;
    m.hallucination = demo_effect_at(e, DEMO_EFFECT_HALLUCINATION, ms, NULL);
    v = demo_effect_at(e, DEMO_EFFECT_TRUNCATION, ms, NULL);
    m.truncation = v > 0 ? v : m.truncation;
    m.leak = demo_effect_at(e, DEMO_EFFECT_LEAK, ms, NULL);
    m.routing = demo_effect_at(e, DEMO_EFFECT_ROUTING, ms, NULL);
    m.mix = demo_effect_at(e, DEMO_EFFECT_MODEL_MIX, ms, NULL);
    m.heavy = demo_effect_at(e, DEMO_EFFECT_HEAVY_TENANT, ms, NULL);
    m.batch = demo_effect_at(e, DEMO_EFFECT_NIGHTLY_BATCH, ms, NULL);
    v = demo_effect_at(e, DEMO_EFFECT_BACKLOG, ms, &elapsed);
    if (v > 0) /* grows for twenty minutes, then the queue is full */
        m.queue_ms = v * 1000 * fmin((double)elapsed / 60000, 20);
    return m;
}

/* --- plans ----------------------------------------------------------------------------------------- */

static struct step *step_add(struct plan *p, enum step_kind kind, double took)
{
    if (p->count == STEPS_MAX)
        return NULL;
    struct step *s = &p->steps[p->count++];
    *s = (struct step){.kind = kind, .at = p->now, .took = took, .first_token = -1, .output = -1};
    p->now += took;
    return s;
}

static void plan_attempt_fails(struct plan *p, struct demo_fleet_random *r,
                               const struct demo_fleet_model *model)
{
    double u = demo_fleet_uniform(r);
    struct step *s = step_add(p, STEP_CALL,
                              u < 0.5   ? demo_fleet_lognormal(r, 700, 0.5)
                              : u < 0.8 ? demo_fleet_lognormal(r, 90, 0.3)
                                        : 8000);
    if (!s)
        return;
    s->asked = s->answered = model;
    s->error = u < 0.5 ? "InternalServerError" : u < 0.8 ? "RateLimitError" : "APITimeoutError";
    s->http_status = u < 0.5 ? 500 : u < 0.8 ? 429 : 0;
    p->now += demo_fleet_lognormal(r, 180, 0.4); /* back-off */
}

static void plan_call(struct plan *p, struct demo_fleet_random *r, const struct moment *m,
                      bool last)
{
    const struct demo_fleet_service *sv = p->service;
    bool cheap = demo_fleet_chance(r, sv->cheap_share + m->mix * (1 - sv->cheap_share));
    const struct demo_fleet_model *cheaper = &demo_fleet_models[sv->cheap_model];
    const struct demo_fleet_model *model = cheap ? cheaper : &demo_fleet_models[sv->model];
    const char *fallback_from = NULL;
    if (p->failed && last) {
        plan_attempt_fails(p, r, model);
        plan_attempt_fails(p, r, model);
        return;
    }
    if (demo_fleet_chance(r, TRANSIENT_RATE)) {
        plan_attempt_fails(p, r, model);
        if (!cheap && demo_fleet_chance(r, 0.3)) {
            fallback_from = model->name;
            model = cheaper;
        }
    }
    double input = demo_fleet_lognormal(r, sv->input_median, 0.6);
    double output = 2 + demo_fleet_lognormal(r, sv->output_median, 0.65);
    double first = demo_fleet_lognormal(r, model->ttft_ms, 0.4) * (1 + input / 20000) * m->latency;
    if (sv->self_hosted)
        first += m->queue_ms;
    double took = first + output * demo_fleet_lognormal(r, model->token_ms, 0.15) * m->latency;
    struct step *s = step_add(p, STEP_CALL, p->cancelled && last ? first * 0.6 : took);
    if (!s)
        return;
    s->asked = s->answered = model;
    s->fallback_from = fallback_from;
    if (p->cancelled && last) {
        s->error = "CancelledError";
        return;
    }
    if (demo_fleet_chance(r, m->routing) && model != cheaper)
        s->answered = cheaper;
    s->first_token = sv->streams ? first : -1;
    s->input = llround(input * m->tokens);
    s->output = llround(output * m->tokens);
    s->cached = -1;
    if (sv->cache_share > 0)
        s->cached = demo_fleet_chance(r, sv->cache_share) ? (s->input / 128) * 64 : 0;
    bool length = demo_fleet_chance(r, m->truncation);
    p->truncated = p->truncated || length;
    s->finish = length ? "length" : last || p->service->has_agent == false ? "stop" : "tool_calls";
}

static void plan_request(struct plan *p, const struct moment *m, struct demo_fleet_random *r)
{
    double u = demo_fleet_uniform(r);
    while (p->service_index + 1 < demo_fleet_service_count &&
           (u -= demo_fleet_services[p->service_index].weight) >= 0)
        p->service_index++;
    p->service = &demo_fleet_services[p->service_index];
    p->endpoint = p->service->endpoints[p->service->endpoints[1] && demo_fleet_chance(r, 0.15)];
    size_t tenant = 0;
    u = demo_fleet_uniform(r);
    while (tenant + 1 < demo_fleet_tenant_count && (u -= demo_fleet_tenant_weights[tenant]) >= 0)
        tenant++;
    if (demo_fleet_chance(r, m->heavy))
        tenant = 5;
    p->tenant = demo_fleet_tenants[tenant];
    snprintf(p->user, sizeof p->user, "user-%u", (unsigned)(demo_fleet_u64(r) % 5000));
    snprintf(p->session, sizeof p->session, "s-%08x", (unsigned)demo_fleet_u64(r));
    p->topic = &demo_fleet_topics[demo_fleet_u64(r) % demo_fleet_topic_count];
    p->number = 100 + (unsigned)(demo_fleet_u64(r) % 9900);
    p->failed = demo_fleet_chance(r, m->errors);
    p->cancelled = !p->failed && demo_fleet_chance(r, 0.003);
    p->now = demo_fleet_lognormal(r, 5, 0.5);
    if (p->service->retrieves) {
        p->unsupported = demo_fleet_chance(r, m->hallucination);
        step_add(p, STEP_RETRIEVE, demo_fleet_lognormal(r, 45, 0.5));
    }
    p->leaks = demo_fleet_chance(r, m->leak);
    unsigned calls = p->service->has_agent ? 2 + (unsigned)(demo_fleet_u64(r) % 3) : 1;
    for (unsigned i = 0; i < calls; i++) {
        plan_call(p, r, m, i + 1 == calls);
        if (i + 1 < calls)
            step_add(p, STEP_TOOL, demo_fleet_lognormal(r, 220, 0.7));
    }
    p->now += demo_fleet_lognormal(r, 3, 0.4);
    p->status = p->failed ? 502 : p->cancelled ? 499 : 200;
}

/* --- text -------------------------------------------------------------------------------------------- */

static void text_fill(struct buf *out, const char *pattern, unsigned number)
{
    for (const char *c = pattern; *c; c++) {
        if (strncmp(c, "{n}", 3) == 0) {
            buf_printf(out, "%u", number);
            c += 2;
        } else
            buf_u8(out, (uint8_t)*c);
    }
}

static void text_prompt(struct buf *out, const struct plan *p)
{
    buf_clear(out);
    if (p->service->retrieves) {
        buf_str(out, "Documents:\n1. ");
        text_fill(out, p->topic->documents[0], p->number);
        buf_str(out, "\n2. ");
        text_fill(out, p->topic->documents[1], p->number);
        buf_str(out, "\n\nQuestion: ");
    }
    text_fill(out, p->topic->question, p->number);
}

static void text_answer(struct buf *out, const struct plan *p, uint64_t fake)
{
    buf_clear(out);
    text_fill(out, p->unsupported ? p->topic->unsupported : p->topic->answer, p->number);
    if (p->leaks)
        buf_printf(out,
                   " For questions write to maria.keller%u@example.com; the internal token is "
                   "sk-demo-%016llx.",
                   p->number, (unsigned long long)fake);
    if (p->truncated && out->size > 40)
        out->size -= out->size / 3;
}

/* --- spans --------------------------------------------------------------------------------------------- */

static void id_make(struct demo_fleet_random *r, uint8_t *out, size_t size)
{
    for (size_t i = 0; i < size; i += 8) {
        uint64_t v = demo_fleet_u64(r) | 1;
        memcpy(out + i, &v, 8);
    }
}

static void write_retrieval(struct demo_gen *g, const struct plan *p, const struct step *s,
                            const struct demo_wire_ids *ids, int64_t start, int64_t end)
{
    struct buf *span = &g->span;
    demo_wire_span_begin(span, ids, "retrieve documents", DEMO_WIRE_INTERNAL, start, end);
    if (p->service->dialect == DEMO_FLEET_OPENINFERENCE) {
        demo_wire_attr(span, A, "openinference.span.kind", "RETRIEVER");
        for (int i = 0; i < 2; i++) {
            char key[64];
            buf_clear(&g->text);
            text_fill(&g->text, p->topic->documents[i], p->number);
            snprintf(key, sizeof key, "retrieval.documents.%d.document.content", i);
            demo_wire_attr_bytes(span, A, key, buf_bytes(&g->text));
        }
    } else {
        demo_wire_attr(span, A, "gen_ai.operation.name", "retrieval");
        demo_wire_attr(span, A, "gen_ai.data_source.id", "knowledge-base");
    }
    demo_wire_span_end(span, false, NULL, &g->services[p->service_index].spans[1]);
    g->totals.spans++;
}

static void write_tool(struct demo_gen *g, const struct plan *p, const struct demo_wire_ids *ids,
                       int64_t start, int64_t end, uint64_t pick)
{
    static const char *const tools[] = {"search_orders", "get_weather", "run_sql", "send_email"};
    struct buf *span = &g->span;
    char name[64];
    snprintf(name, sizeof name, "execute_tool %s", tools[pick % 4]);
    demo_wire_span_begin(span, ids, name, DEMO_WIRE_INTERNAL, start, end);
    demo_wire_attr(span, A, "gen_ai.operation.name", "execute_tool");
    demo_wire_attr(span, A, "gen_ai.tool.name", tools[pick % 4]);
    demo_wire_span_end(span, false, NULL, &g->services[p->service_index].spans[1]);
    g->totals.spans++;
}

/* The same call as the gateway saw it, and as the model server did: both must not be counted again. */
static void write_observers(struct demo_gen *g, const struct demo_call *call, bool gateway,
                            bool server, struct demo_fleet_random *r)
{
    struct demo_call c = *call;
    memcpy(c.ids.parent, call->dialect == DEMO_FLEET_VERCEL ? call->inner_id : call->ids.span, 8);
    id_make(r, c.ids.span, 8);
    if (gateway) {
        c.dialect = DEMO_FLEET_OTEL_1_37;
        c.start_ns += 5000000;
        c.end_ns -= 4000000;
        c.prompt = c.answer = c.system = BYTES_NONE;
        demo_call_write(&c, &g->span, &g->services[DEMO_FLEET_GATEWAY].spans[1]);
        g->totals.spans++;
    }
    if (server) {
        struct buf *span = &g->span;
        demo_wire_span_begin(span, &c.ids, "llm_request", DEMO_WIRE_SERVER, c.start_ns + 2000000,
                             c.end_ns - 1000000);
        demo_wire_attr(span, A, "gen_ai.request.model", c.asked->name);
        demo_wire_attr(span, A, "gen_ai.request.id", c.response_id);
        demo_wire_attr_int(span, A, "gen_ai.usage.prompt_tokens", c.input_tokens);
        demo_wire_attr_int(span, A, "gen_ai.usage.completion_tokens", c.output_tokens);
        demo_wire_attr_double(span, A, "gen_ai.latency.time_to_first_token",
                              (double)(c.first_token_ns - c.start_ns) / 1e9);
        demo_wire_span_end(span, false, NULL, &g->services[DEMO_FLEET_SERVER].spans[1]);
        g->totals.spans++;
    }
}

static void write_call(struct demo_gen *g, const struct plan *p, const struct step *s,
                       const struct demo_wire_ids *ids, int64_t start, int64_t end, bool is_batch,
                       struct demo_fleet_random *r)
{
    char response_id[40];
    bool ok = s->finish != NULL;
    struct demo_call c = {
        .ids = *ids,
        .dialect = p->service->dialect,
        .asked = s->asked,
        .answered = s->answered,
        .start_ns = start,
        .end_ns = end,
        .first_token_ns = s->first_token >= 0 ? start + llround(s->first_token * 1e6) : 0,
        .input_tokens = s->input,
        .output_tokens = s->output,
        .cached_tokens = s->cached,
        .max_tokens = s->finish && strcmp(s->finish, "length") == 0 ? s->output : 4096,
        .finish = s->finish,
        .error_type = s->error,
        .http_status = s->http_status,
        .tenant = p->tenant,
        .prompt_name = p->service->prompt,
        .prompt_version = p->service->prompt_version,
        .user = p->user,
        .session = p->session,
        .response_id = response_id,
        .endpoint = p->endpoint,
        .fallback_from = s->fallback_from,
        .streams = p->service->streams,
        .is_batch = is_batch,
        .system = p->service->retrieves
                      ? BYTES_LIT("Answer from the documents only. Say so when they do not tell.")
                      : BYTES_LIT("You are a helpful, brief assistant."),
    };
    snprintf(response_id, sizeof response_id, "resp-%016llx",
             (unsigned long long)demo_fleet_u64(r));
    id_make(r, c.inner_id, 8);
    text_prompt(&g->prompt, p);
    c.prompt = buf_bytes(&g->prompt);
    if (ok) {
        text_answer(&g->answer, p, demo_fleet_u64(r));
        c.answer = buf_bytes(&g->answer);
    }
    demo_call_write(&c, &g->span, &g->services[p->service_index].spans[1]);
    g->totals.spans += c.dialect == DEMO_FLEET_VERCEL ? 2 : 1;
    g->totals.calls++;
    g->totals.failed_calls += s->error != NULL;
    g->totals.misrouted += s->asked != s->answered;
    g->totals.batch_calls += is_batch;
    if (ok) {
        g->totals.input_tokens += (uint64_t)s->input;
        g->totals.output_tokens += (uint64_t)s->output;
        if (p->service->self_hosted) {
            g->prompt_tokens += (uint64_t)s->input;
            g->generation_tokens += (uint64_t)s->output;
        }
        write_observers(g, &c, p->service->uses_gateway && demo_fleet_chance(r, 0.5),
                        p->service->self_hosted, r);
    }
}

static void write_log(struct demo_gen *g, const struct plan *p, const struct demo_wire_ids *ids,
                      int64_t t_ns)
{
    struct buf *b = &g->span;
    bool failed = p->failed;
    buf_clear(b);
    buf_clear(&g->text);
    demo_wire_fixed64(b, 1, (uint64_t)t_ns);
    demo_wire_varint(b, 2, failed ? 17 : 9);
    demo_wire_str(b, 3, failed ? "ERROR" : "INFO");
    struct buf *text = &g->text;
    buf_printf(text, failed ? "%s: no attempt succeeded, answering %d" : "%s: answered with %d",
               p->endpoint, p->status);
    struct buf body;
    buf_init(&body, 0);
    demo_wire_bytes(&body, 1, buf_bytes(text));
    demo_wire_bytes(b, 5, buf_bytes(&body));
    buf_done(&body);
    demo_wire_attr(b, DEMO_WIRE_LOG_ATTRS, "tenant.id", p->tenant);
    demo_wire_attr(b, DEMO_WIRE_LOG_ATTRS, "user.id", p->user);
    demo_wire_bytes(b, 9, bytes_of(ids->trace, 16));
    demo_wire_bytes(b, 10, bytes_of(ids->span, 8));
    demo_wire_fixed64(b, 11, (uint64_t)t_ns);
    demo_wire_bytes(&g->services[p->service_index].logs, 2, buf_bytes(b));
    g->totals.logs++;
}

static void write_entry(struct demo_gen *g, const struct plan *p, const struct demo_wire_ids *ids,
                        int64_t start, int64_t end)
{
    struct buf *span = &g->span;
    char name[64];
    snprintf(name, sizeof name, "POST %s", p->endpoint);
    demo_wire_span_begin(span, ids, name, DEMO_WIRE_SERVER, start, end);
    demo_wire_attr(span, A, "http.request.method", "POST");
    demo_wire_attr(span, A, "http.route", p->endpoint);
    demo_wire_attr_int(span, A, "http.response.status_code", p->status);
    demo_wire_attr(span, A, "url.scheme", "https");
    demo_wire_attr(span, A, "tenant.id", p->tenant);
    demo_wire_attr(span, A, "user.id", p->user);
    if (p->failed)
        demo_wire_attr(span, A, "error.type", "502");
    demo_wire_span_end(span, p->failed, NULL, &g->services[p->service_index].spans[0]);
    g->totals.spans++;
}

static void write_agent(struct demo_gen *g, const struct plan *p, const struct demo_wire_ids *ids,
                        int64_t start, int64_t end)
{
    struct buf *span = &g->span;
    int64_t input = 0, output = 0;
    for (size_t i = 0; i < p->count; i++)
        if (p->steps[i].finish) {
            input += p->steps[i].input;
            output += p->steps[i].output;
        }
    demo_wire_span_begin(span, ids, "invoke_agent planner", DEMO_WIRE_INTERNAL, start, end);
    demo_wire_attr(span, A, "gen_ai.operation.name", "invoke_agent");
    demo_wire_attr(span, A, "gen_ai.agent.name", "planner");
    demo_wire_attr(span, A, "gen_ai.conversation.id", p->session);
    demo_wire_attr_int(span, A, "gen_ai.usage.input_tokens", input); /* repeats its calls */
    demo_wire_attr_int(span, A, "gen_ai.usage.output_tokens", output);
    demo_wire_span_end(span, p->failed, NULL, &g->services[p->service_index].spans[1]);
    g->totals.spans++;
}

static void write_request(struct demo_gen *g, const struct plan *p, int64_t end_ns,
                          struct demo_fleet_random *r)
{
    int64_t start_ns = end_ns - llround(p->now * 1e6);
    struct demo_wire_ids entry = {{0}, {0}, {0}}, under;
    id_make(r, entry.trace, 16);
    id_make(r, entry.span, 8);
    under = entry;
    memcpy(under.parent, entry.span, 8);
    if (p->service->has_agent) {
        id_make(r, under.span, 8);
        write_agent(g, p, &under, start_ns + 2000000, end_ns - 1000000);
        memcpy(under.parent, under.span, 8);
    }
    for (size_t i = 0; i < p->count; i++) {
        const struct step *s = &p->steps[i];
        int64_t from = start_ns + llround(s->at * 1e6), to = from + llround(s->took * 1e6);
        id_make(r, under.span, 8);
        if (s->kind == STEP_RETRIEVE)
            write_retrieval(g, p, s, &under, from, to);
        else if (s->kind == STEP_TOOL)
            write_tool(g, p, &under, from, to, demo_fleet_u64(r));
        else
            write_call(g, p, s, &under, from, to, false, r);
    }
    write_entry(g, p, &entry, start_ns, end_ns);
    if (p->failed || demo_fleet_chance(r, 0.1))
        write_log(g, p, &entry, end_ns);
    g->totals.requests++;
    g->totals.failed_requests += p->failed;
    g->totals.truncated += p->truncated;
    g->totals.unsupported += p->unsupported && !p->failed;
    g->totals.leaks += p->leaks && !p->failed;
    if (!p->failed && !p->cancelled)
        g->totals.request_ms += p->now;
    demo_state_observe(&g->services[p->service_index], p->status, p->now / 1e3);
}

/* A nightly job: calls without anybody waiting. */
static void write_batch_call(struct demo_gen *g, const struct moment *m, int64_t end_ns,
                             struct demo_fleet_random *r)
{
    struct plan p = {.service_index = 5};
    struct moment calm = *m;
    struct demo_wire_ids ids;
    p.service = &demo_fleet_services[p.service_index];
    p.endpoint = "nightly-summaries";
    p.tenant = demo_fleet_tenants[0];
    p.topic = &demo_fleet_topics[demo_fleet_u64(r) % demo_fleet_topic_count];
    calm.errors = 0;
    plan_call(&p, r, &calm, true);
    id_make(r, ids.trace, 16);
    id_make(r, ids.parent, 8);
    for (size_t i = 0; i < p.count; i++) {
        id_make(r, ids.span, 8);
        write_call(g, &p, &p.steps[i], &ids, end_ns - llround((p.now - p.steps[i].at) * 1e6),
                   end_ns - llround((p.now - p.steps[i].at - p.steps[i].took) * 1e6), true, r);
    }
}

enum err demo_gen_requests(struct demo_gen *g, int64_t from_s, int64_t to_s)
{
    for (int64_t second = from_s; second < to_s; second++) {
        struct demo_fleet_random r = {g->o.seed * 0x9e3779b97f4a7c15u ^
                                      (uint64_t)second * 0xd1342543de82ef95u};
        struct moment m = moment_at(g, second);
        bool deployed = demo_effect_at(&g->o.effects, DEMO_EFFECT_DEPLOY, second * 1000, NULL) > 0;
        demo_fleet_u64(&r);
        unsigned n = demo_fleet_poisson(&r, m.rate);
        for (unsigned i = 0; i < n; i++) {
            struct demo_fleet_random own = {demo_fleet_u64(&r)};
            int64_t end = second * 1000000000 + (int64_t)(demo_fleet_uniform(&own) * 1e9);
            struct plan p = {0};
            plan_request(&p, &m, &own);
            write_request(g, &p, end, &own);
        }
        n = m.batch > 0 ? demo_fleet_poisson(&r, m.rate * m.batch) : 0;
        for (unsigned i = 0; i < n; i++) {
            struct demo_fleet_random own = {demo_fleet_u64(&r)};
            int64_t end = second * 1000000000 + (int64_t)(demo_fleet_uniform(&own) * 1e9);
            write_batch_call(g, &m, end, &own);
        }
        g->queue_ms = m.queue_ms;
        g->rate_now = m.rate;
        g->deployed = deployed;
    }
    return demo_state_ok(g) ? ERR_OK : ERR_NOMEM;
}
