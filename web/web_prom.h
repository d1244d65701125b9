/* Prometheus' HTTP API over the store: query, query_range, series, labels, label values, metadata, query_exemplars, format_query,
 * parse_query, read, features, notifications, status/..., targets, alertmanagers (of those there are none), /federate. (rules and alerts: web.h; write: collector.h.)
 *
 *   web_prom_new -> web_prom_routes(net) before net_start -> ... net_stop -> web_prom_free -> net_free
 *
 * Owner: the program.  Thread: new, routes, free: one thread; handlers hand over to a pool of their own ("query") and answer from there.
 * Failure: answers have Prometheus' form {"status":"error","errorType":..,"error":..} and status codes; a full pool is 503 with Retry-After.
 * Limits: struct web_prom_opts; 11,000 points a series; WEB_PROM_ANSWER_MAX bytes of answer.
 * Invariants: 1. A query sees the rows of the credential's org only. 2. A query whose client is gone ends within one series.
 */
#ifndef WEB_WEB_PROM_H
#define WEB_WEB_PROM_H

#include "collector/net/net.h"
#include "tsdb/tsdb.h"

#define WEB_PROM_POINTS_MAX 11000
#define WEB_PROM_ANSWER_MAX (512u << 20)

struct web_prom;

struct web_prom_opts { /* zero = the default in brackets */
    struct tsdb *db;
    unsigned threads; /* [2] */
    unsigned waiting_max; /* queries that wait for a thread [64] */
    int64_t timeout_ms; /* [120 s]; a request's timeout parameter may be shorter */
    uint64_t samples_max; /* [50 million] */
    uint64_t memory_max; /* of one query [512 MiB] */
    struct tsdb_labels
        external_labels; /* on what goes out by federation and remote read; borrowed */
    size_t cache_bytes; /* of answers to range queries that are kept (query_cache.h); 0: none */
};

struct web_prom *web_prom_new(const struct web_prom_opts *o); /* NULL when out of memory */
enum err web_prom_routes(struct web_prom *p, struct net *net) MUST_CHECK;
void web_prom_free(struct web_prom *p); /* finishes what runs; NULL is fine */

#endif
