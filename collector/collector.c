#include "collector/collector.h"

#include <stdlib.h>

#include "base/check.h"
#include "collector/ingest.h"

#define WORKERS_DEFAULT 2u

enum { ROUTE_TRACES, ROUTE_LOGS, ROUTE_METRICS, ROUTE_WRITE, ROUTE_TOKENS, ROUTE_COUNT };

struct collector {
    struct ingest ingest;
    struct ingest_route routes[ROUTE_COUNT];
};

enum err collector_new(const struct collector_options *o, struct collector **out,
                       struct err_msg *msg)
{
    CHECK(o->db);
    struct collector *c = calloc(1, sizeof(*c));
    struct pool *pool =
        pool_new("decode", o->workers ? o->workers : WORKERS_DEFAULT, COLLECTOR_QUEUE_MAX);
    if (!c || !pool) {
        free(c);
        if (pool)
            pool_free(pool);
        return err_set(msg, ERR_NOMEM, "no memory for the collector");
    }
    c->ingest = (struct ingest){
        .db = o->db, .stage = o->stage, .pool = pool, .translation = o->translation};
    c->routes[ROUTE_TRACES] = (struct ingest_route){&c->ingest, INGEST_OTLP, TSDB_SPANS};
    c->routes[ROUTE_LOGS] = (struct ingest_route){&c->ingest, INGEST_OTLP, TSDB_LOGS};
    c->routes[ROUTE_METRICS] = (struct ingest_route){&c->ingest, INGEST_OTLP, TSDB_SAMPLES};
    c->routes[ROUTE_WRITE] = (struct ingest_route){&c->ingest, INGEST_REMOTE_WRITE, TSDB_SAMPLES};
    c->routes[ROUTE_TOKENS] = (struct ingest_route){&c->ingest, INGEST_TOKENS, TSDB_TOKENS};
    *out = c;
    return ERR_OK;
}

void collector_free(struct collector *c)
{
    if (!c)
        return;
    pool_free(c->ingest.pool);
    free(c);
}

enum err collector_routes(struct collector *c, struct net *net)
{
    static const struct {
        unsigned doors;
        int route;
        const char *path;
    } table[] = {
        {NET_DOOR_MASK(NET_OTLP_HTTP), ROUTE_TRACES, "/v1/traces"},
        {NET_DOOR_MASK(NET_OTLP_HTTP), ROUTE_LOGS, "/v1/logs"},
        {NET_DOOR_MASK(NET_OTLP_HTTP), ROUTE_METRICS, "/v1/metrics"},
        {NET_DOOR_MASK(NET_OTLP_HTTP), ROUTE_TOKENS, "/v1/tokens"},
        {NET_DOOR_MASK(NET_OTLP_GRPC), ROUTE_TRACES,
         "/opentelemetry.proto.collector.trace.v1.TraceService/Export"},
        {NET_DOOR_MASK(NET_OTLP_GRPC), ROUTE_LOGS,
         "/opentelemetry.proto.collector.logs.v1.LogsService/Export"},
        {NET_DOOR_MASK(NET_OTLP_GRPC), ROUTE_METRICS,
         "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"},
        {NET_DOOR_MASK(NET_OTLP_HTTP) | NET_DOOR_MASK(NET_WEB), ROUTE_WRITE, "/api/v1/write"},
        {NET_DOOR_MASK(NET_OTLP_HTTP) | NET_DOOR_MASK(NET_WEB), ROUTE_METRICS,
         "/api/v1/otlp/v1/metrics"},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct net_route r = {.doors = table[i].doors,
                              .method = "POST",
                              .pattern = table[i].path,
                              .handler = ingest_handle,
                              .ctx = &c->routes[table[i].route],
                              .body_max = OTLP_BODY_MAX};
        enum err e = net_route(net, &r);
        if (e != ERR_OK)
            return e;
    }
    return ERR_OK;
}
