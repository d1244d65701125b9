/* From a route to an endpoint on the pool, and back as one reply.
 *
 * An endpoint writes its answer into call->out (mostly through call->j) and returns ERR_OK, or returns an error with a sentence in call->msg.
 * Owner: the call lives from the handler to the reply.  Thread: an endpoint runs on one pool thread.
 * Failure: the pool's queue is full -> 503 with Retry-After.
 */
#ifndef WEB_WEB_CALL_H
#define WEB_WEB_CALL_H

#include "base/json_out.h"
#include "base/pool.h"
#include "web/web.h"
#include "web/web_limits.h"

#include <pthread.h>

struct web_backup;
struct web_streams;
struct web_tails;

struct web {
    struct web_opts opts; /* strings in arena; immutable */
    struct arena *arena;
    struct pool *pool;
    struct web_streams *streams;
    struct web_tails *tails;
    struct web_backup *backup;
    atomic_bool ready;
};

struct web_call {
    struct web *web;
    struct net_request *req;
    struct arena *arena; /* the request's */
    struct buf out;
    struct json_out j; /* into out */
    struct err_msg msg;
    const char *content_type; /* application/json */
    char set_cookie[256]; /* empty = none */
    int status; /* 0 = 200; 204 has no body */
    const struct web_endpoint *endpoint;
};

enum web_endpoint_form { WEB_FORM_OURS, WEB_FORM_JAEGER, WEB_FORM_PROM, WEB_FORM_ALERTMANAGER };

struct web_endpoint {
    const char *method, *pattern;
    enum err (*run)(struct web_call *c);
    enum web_endpoint_form form; /* of errors */
    unsigned flags; /* enum net_route_flags */
};

/* Registers endpoints on the web door. */
enum err web_call_routes(struct web *w, struct net *net, const struct web_endpoint *endpoints,
                         size_t count) MUST_CHECK;

/* The same for endpoints whose bodies are large: files that people send. */
enum err web_call_large_routes(struct web *w, struct net *net, const struct web_endpoint *endpoints,
                               size_t count, size_t body_max) MUST_CHECK;

/* --- helpers of endpoints ---------------------------------------------------------------------- */
uint32_t web_call_org(const struct web_call *c);
bool web_call_sees_detectors(
    const struct web_call *c); /* there are some, and they watch this org */
enum err web_call_view(struct web_call *c, struct tsdb_view **out) MUST_CHECK;
struct bytes web_call_value(struct web_call *c,
                            const char *name); /* of the query string; empty when absent */
/* Integer parameter: absent gives def; ERR_INVALID (with a sentence) when malformed or outside [min, max]. */
enum err web_call_i64(struct web_call *c, const char *name, int64_t def, int64_t min, int64_t max,
                      int64_t *out) MUST_CHECK;
/* Headers that every answer of ours carries. */
#define WEB_CALL_SAFE_HEADERS                                                  \
    {"X-Content-Type-Options", "nosniff"}, {"Referrer-Policy", "same-origin"}, \
    {                                                                          \
        "Cross-Origin-Resource-Policy", "same-origin"                          \
    }

/* The tables of the other files. */
enum err web_admin_routes(struct web *w, struct net *net) MUST_CHECK;
enum err web_backup_routes(struct web *w, struct net *net) MUST_CHECK;
enum err web_erase_routes(struct web *w, struct net *net) MUST_CHECK;
enum err web_quarantine_routes(struct web *w, struct net *net) MUST_CHECK;
enum err web_kafka_routes(struct web *w, struct net *net) MUST_CHECK;
enum err web_cardinality_routes(struct web *w, struct net *net) MUST_CHECK;
enum err web_assets_routes(struct web *w, struct net *net) MUST_CHECK;
enum err web_jaeger_routes(struct web *w, struct net *net) MUST_CHECK;
enum err web_oncall_routes(struct web *w, struct net *net) MUST_CHECK;
enum err web_prices_routes(struct web *w, struct net *net) MUST_CHECK;
enum err web_sessions_routes(struct web *w, struct net *net) MUST_CHECK;
enum err web_grounding_routes(struct web *w, struct net *net) MUST_CHECK;
enum err web_costs_routes(struct web *w, struct net *net) MUST_CHECK;
enum err web_budgets_routes(struct web *w, struct net *net) MUST_CHECK;
enum err web_alerts_routes(struct web *w, struct net *net) MUST_CHECK;
enum err web_alertmanager_routes(struct web *w, struct net *net) MUST_CHECK;
enum err web_acks_routes(struct web *w, struct net *net) MUST_CHECK;
enum err web_events_routes(struct web *w, struct net *net) MUST_CHECK;
enum err web_slo_routes(struct web *w, struct net *net) MUST_CHECK;
enum err web_backtest_routes(struct web *w, struct net *net) MUST_CHECK;
enum err web_rules_routes(struct web *w, struct net *net) MUST_CHECK;
enum err web_traces_routes(struct web *w, struct net *net) MUST_CHECK;
enum err web_tempo_routes(struct web *w, struct net *net) MUST_CHECK;
enum err web_tempo_metrics_routes(struct web *w, struct net *net) MUST_CHECK;
enum err web_spans_routes(struct web *w, struct net *net) MUST_CHECK;
enum err web_logs_routes(struct web *w, struct net *net) MUST_CHECK;
enum err web_stream_routes(struct web *w, struct net *net) MUST_CHECK;
enum err web_tail_routes(struct web *w, struct net *net) MUST_CHECK;

/* web_backup.c: the one backup that may be under way. */
struct web_backup *web_backup_new(struct tsdb *db); /* NULL when out of memory */
void web_backup_stop(struct web_backup *b); /* ends it, joins its thread; none begins any more */
void web_backup_free(struct web_backup *b);

/* Live pages. */
struct web_streams *web_stream_new(
    struct tsdb *db); /* starts its thread; NULL when out of memory */
void web_stream_stop(struct web_streams *s); /* ends every stream, joins the thread */
void web_stream_free(struct web_streams *s);

/* web_tail.c: readers of new log records. */
struct web_tails *web_tail_new(struct tsdb *db); /* starts its thread; NULL when out of memory */
void web_tail_stop(struct web_tails *t); /* ends every tail, joins the thread */
void web_tail_free(struct web_tails *t);

#endif
