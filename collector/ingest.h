/* One request from its body to its answer.
 *
 * Owner: the request owns its context; it dies with the answer.
 * Thread: ingest_handle on a loop; the decode there or on a worker; the answer on the committer.
 * Failure: every path ends in exactly one answer.
 */
#ifndef COLLECTOR_INGEST_H
#define COLLECTOR_INGEST_H

#include "base/pool.h"
#include "collector/collector.h"
#include "collector/otlp/otlp.h"

enum ingest_kind {
    INGEST_OTLP,
    INGEST_REMOTE_WRITE,
    INGEST_TOKENS
}; /* remote write: 1.0 and 2.0 */

struct ingest {
    struct tsdb *db;
    struct stage *stage;
    struct pool *pool;
    struct otlp_translation translation;
};

/* What a route hands to the handler. */
struct ingest_route {
    const struct ingest *ingest;
    enum ingest_kind kind;
    enum tsdb_signal signal;
};

void ingest_handle(void *route, struct net_request *take_req); /* a net_handler */

#endif
