#include "cli/demo_state.h"

#include "cli/demo_wire.h"

#include <math.h>
#include <stdlib.h>

static const double http_bounds[DEMO_STATE_BOUNDS] = {0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25,
                                                      0.5,   0.75, 1,     2.5,  5,     7.5, 10};

struct demo_gen *demo_gen_new(const struct demo_gen_options *o)
{
    struct demo_gen *g = calloc(1, sizeof *g);
    if (!g)
        return NULL;
    g->o = *o;
    for (size_t i = 0; i < DEMO_STATE_SERVICES; i++) {
        buf_init(&g->services[i].spans[0], 0);
        buf_init(&g->services[i].spans[1], 0);
        buf_init(&g->services[i].logs, 0);
        g->services[i].http[0].status = 200;
        g->services[i].http[1].status = 499;
        g->services[i].http[2].status = 502;
    }
    buf_init(&g->span, 0);
    buf_init(&g->text, 0);
    buf_init(&g->prompt, 0);
    buf_init(&g->answer, 0);
    return g;
}

void demo_gen_free(struct demo_gen *g)
{
    if (!g)
        return;
    for (size_t i = 0; i < DEMO_STATE_SERVICES; i++) {
        buf_done(&g->services[i].spans[0]);
        buf_done(&g->services[i].spans[1]);
        buf_done(&g->services[i].logs);
    }
    buf_done(&g->span);
    buf_done(&g->text);
    buf_done(&g->prompt);
    buf_done(&g->answer);
    free(g);
}

const struct demo_gen_totals *demo_gen_totals_of(const struct demo_gen *g)
{
    return &g->totals;
}

bool demo_state_ok(const struct demo_gen *g)
{
    bool ok = buf_ok(&g->span) && buf_ok(&g->text) && buf_ok(&g->prompt) && buf_ok(&g->answer);
    for (size_t i = 0; i < DEMO_STATE_SERVICES; i++)
        ok = ok && buf_ok(&g->services[i].spans[0]) && buf_ok(&g->services[i].spans[1]) &&
             buf_ok(&g->services[i].logs);
    return ok;
}

void demo_state_observe(struct demo_state_service *s, int status, double seconds)
{
    size_t k = status == 200 ? 0 : status == 499 ? 1 : 2, i = 0;
    while (i < DEMO_STATE_BOUNDS && seconds > http_bounds[i])
        i++;
    s->http[k].buckets[i]++;
    s->http[k].count++;
    s->http[k].sum += seconds;
}

/* --- request bodies ------------------------------------------------------------------------------------ */

static void put_resource(const struct demo_gen *g, size_t service, struct buf *out)
{
    const struct demo_fleet_service *s = &demo_fleet_services[service];
    struct buf r;
    buf_init(&r, 0);
    demo_wire_attr(&r, DEMO_WIRE_RESOURCE_ATTRS, "service.name", s->name);
    demo_wire_attr(&r, DEMO_WIRE_RESOURCE_ATTRS, "service.version",
                   g->deployed ? s->next_version : s->version);
    demo_wire_attr(&r, DEMO_WIRE_RESOURCE_ATTRS, "service.instance.id", "demo-1");
    demo_wire_attr(&r, DEMO_WIRE_RESOURCE_ATTRS, "deployment.environment.name", "demo");
    demo_wire_attr(&r, DEMO_WIRE_RESOURCE_ATTRS, "cloud.region",
                   service % 3 == 2 ? "us-east-1" : "eu-central-1");
    demo_wire_attr(&r, DEMO_WIRE_RESOURCE_ATTRS, "telemetry.sdk.name", "opentelemetry");
    demo_wire_attr(&r, DEMO_WIRE_RESOURCE_ATTRS, "telemetry.sdk.language", s->language);
    demo_wire_bytes(out, 1, buf_bytes(&r));
    buf_done(&r);
}

/* A Scope{Spans,Logs,Metrics}: scope, then rows that are encoded as its field 2 already. Empties rows. */
static void put_scope(struct buf *out, const char *scope, struct buf *rows)
{
    struct buf s;
    buf_init(&s, 0);
    struct buf name;
    buf_init(&name, 0);
    demo_wire_str(&name, 1, scope);
    demo_wire_bytes(&s, 1, buf_bytes(&name));
    buf_done(&name);
    buf_append(&s, rows->data, rows->size);
    demo_wire_bytes(out, 2, buf_bytes(&s));
    buf_done(&s);
    buf_clear(rows);
}

void demo_gen_traces(struct demo_gen *g, struct buf *out)
{
    for (size_t i = 0; i < DEMO_STATE_SERVICES; i++) {
        struct demo_state_service *s = &g->services[i];
        struct buf resource;
        if (!s->spans[0].size && !s->spans[1].size)
            continue;
        buf_init(&resource, 0);
        put_resource(g, i, &resource);
        if (s->spans[0].size)
            put_scope(&resource, "opentelemetry.instrumentation.http", &s->spans[0]);
        if (s->spans[1].size)
            put_scope(&resource, demo_fleet_services[i].scope, &s->spans[1]);
        demo_wire_bytes(out, 1, buf_bytes(&resource));
        buf_done(&resource);
    }
}

void demo_gen_logs(struct demo_gen *g, struct buf *out)
{
    for (size_t i = 0; i < DEMO_STATE_SERVICES; i++) {
        struct buf resource;
        if (!g->services[i].logs.size)
            continue;
        buf_init(&resource, 0);
        put_resource(g, i, &resource);
        put_scope(&resource, "app", &g->services[i].logs);
        demo_wire_bytes(out, 1, buf_bytes(&resource));
        buf_done(&resource);
    }
}

/* --- metrics --------------------------------------------------------------------------------------------- */

struct metric_at {
    int64_t start_ns, now_ns;
    struct buf *rows; /* encoded `metrics` fields of a ScopeMetrics */
    struct demo_gen *g;
};

static void put_metric(struct metric_at *at, const char *name, const char *unit, uint32_t field,
                       struct buf *data)
{
    struct buf m;
    buf_init(&m, 0);
    demo_wire_str(&m, 1, name);
    if (*unit)
        demo_wire_str(&m, 3, unit);
    demo_wire_bytes(&m, field, buf_bytes(data));
    demo_wire_bytes(at->rows, 2, buf_bytes(&m));
    buf_done(&m);
}

static void put_number(struct metric_at *at, const char *name, bool is_counter, double v)
{
    struct buf point, data;
    buf_init(&point, 0);
    buf_init(&data, 0);
    demo_wire_fixed64(&point, 2, (uint64_t)at->start_ns);
    demo_wire_fixed64(&point, 3, (uint64_t)at->now_ns);
    demo_wire_double(&point, 4, v);
    demo_wire_attr(&point, DEMO_WIRE_POINT_ATTRS, "model_name", "llama-3.3-70b-versatile");
    demo_wire_attr(&point, DEMO_WIRE_POINT_ATTRS, "engine", "0");
    demo_wire_bytes(&data, 1, buf_bytes(&point));
    if (is_counter) {
        demo_wire_varint(&data, 2, 2);
        demo_wire_varint(&data, 3, 1);
    }
    put_metric(at, name, "", is_counter ? 7 : 5, &data);
    at->g->totals.points++;
    buf_done(&point);
    buf_done(&data);
}

static void put_http(struct metric_at *at, size_t service)
{
    const struct demo_state_service *s = &at->g->services[service];
    struct buf data, point, counts;
    buf_init(&data, 0);
    buf_init(&point, 0);
    buf_init(&counts, 0);
    for (size_t k = 0; k < 3; k++) {
        if (!s->http[k].count)
            continue;
        buf_clear(&point);
        demo_wire_fixed64(&point, 2, (uint64_t)at->start_ns);
        demo_wire_fixed64(&point, 3, (uint64_t)at->now_ns);
        demo_wire_fixed64(&point, 4, s->http[k].count);
        demo_wire_double(&point, 5, s->http[k].sum);
        buf_clear(&counts);
        for (size_t i = 0; i <= DEMO_STATE_BOUNDS; i++)
            buf_u64(&counts, s->http[k].buckets[i]);
        demo_wire_bytes(&point, 6, buf_bytes(&counts));
        buf_clear(&counts);
        for (size_t i = 0; i < DEMO_STATE_BOUNDS; i++)
            buf_f64(&counts, http_bounds[i]);
        demo_wire_bytes(&point, 7, buf_bytes(&counts));
        demo_wire_attr(&point, DEMO_WIRE_HISTOGRAM_ATTRS, "http.request.method", "POST");
        demo_wire_attr(&point, DEMO_WIRE_HISTOGRAM_ATTRS, "http.route",
                       demo_fleet_services[service].endpoints[0]);
        demo_wire_attr_int(&point, DEMO_WIRE_HISTOGRAM_ATTRS, "http.response.status_code",
                           s->http[k].status);
        demo_wire_bytes(&data, 1, buf_bytes(&point));
        at->g->totals.points++;
    }
    demo_wire_varint(&data, 2, 2); /* cumulative */
    if (data.size > 2)
        put_metric(at, "http.server.request.duration", "s", 9, &data);
    buf_done(&data);
    buf_done(&point);
    buf_done(&counts);
}

static void put_model_server(struct metric_at *at)
{
    struct demo_gen *g = at->g;
    double running = fmin(32, g->rate_now * 0.06 * 2.4),
           waiting = g->queue_ms / 1000 * g->rate_now * 0.06;
    put_number(at, "vllm:num_requests_running", false, floor(running + (g->queue_ms > 0 ? 8 : 0)));
    put_number(at, "vllm:num_requests_waiting", false, floor(waiting));
    put_number(at, "vllm:kv_cache_usage_perc", false,
               fmin(0.98, running / 40 + g->queue_ms / 12000));
    put_number(at, "vllm:prompt_tokens_total", true, (double)g->prompt_tokens);
    put_number(at, "vllm:generation_tokens_total", true, (double)g->generation_tokens);
}

void demo_gen_metrics(struct demo_gen *g, int64_t start_s, int64_t now_s, struct buf *out)
{
    struct buf rows;
    struct metric_at at = {start_s * 1000000000, now_s * 1000000000, &rows, g};
    buf_init(&rows, 0);
    for (size_t i = 0; i < DEMO_STATE_SERVICES; i++) {
        struct buf resource;
        if (i < demo_fleet_service_count)
            put_http(&at, i);
        else if (i == DEMO_FLEET_SERVER)
            put_model_server(&at);
        if (!rows.size)
            continue;
        buf_init(&resource, 0);
        put_resource(g, i, &resource);
        put_scope(&resource, i == DEMO_FLEET_SERVER ? "vllm" : "opentelemetry.instrumentation.http",
                  &rows);
        demo_wire_bytes(out, 1, buf_bytes(&resource));
        buf_done(&resource);
    }
    buf_done(&rows);
}
