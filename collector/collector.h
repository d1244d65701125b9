/* The ingest pipeline: a request's body from the network front to the store, and the answer back.
 *
 *   net -> inflate -> otlp_decode | remote_write_decode -> stage_apply -> tsdb_append -> (commit) -> reply
 *          `------ on the loop up to 1 MiB, else on a worker ------'                  committer
 *
 * Owner: the program. Order of the end: net_stop, collector_free (ends the workers after what they hold), tsdb_close (answers
 *        what waits), net_free.
 * Thread: collector_new, collector_routes, collector_free: one thread. The handlers run on net's loops, on workers and on the committer.
 * Failure: collector_new: ERR_NOMEM. Requests: docs/format/otlp.md lists every answer.
 * Limits: bodies OTLP_BODY_MAX after decompression; COLLECTOR_QUEUE_MAX bodies wait for a worker, then 503.
 * Invariants: 1. An answer 2xx is given after tsdb_append's done(OK) only (or for a request without rows). 2. Every request gets one answer.
 *             3. What is refused is counted: rows in the batch's rejected, requests in telltale_ingest_requests_total{result}.
 */
#ifndef COLLECTOR_COLLECTOR_H
#define COLLECTOR_COLLECTOR_H

#include "collector/net/net.h"
#include "collector/otlp/otlp_translation.h"
#include "collector/stage/stage.h"
#include "tsdb/tsdb.h"

#define COLLECTOR_QUEUE_MAX 64u
#define COLLECTOR_INLINE_MAX ((size_t)1 << 20) /* larger bodies are decoded by a worker */

struct collector;

struct collector_options {
    struct tsdb *db;
    struct stage *stage; /* NULL: nothing is derived */
    unsigned workers; /* 0 = 2 */
    struct otlp_translation translation; /* of metrics that come by OTLP */
};

enum err collector_new(const struct collector_options *o, struct collector **out,
                       struct err_msg *msg) MUST_CHECK;
/* Ends the workers after the bodies they hold; no handler may run any more. NULL is fine. */
void collector_free(struct collector *c);
/* POST /v1/{traces,metrics,logs,tokens} on the OTLP/HTTP door, the three gRPC Export methods; Prometheus' own POST /api/v1/write and
 * /api/v1/otlp/v1/metrics on the OTLP/HTTP and the web door. */
enum err collector_routes(struct collector *c, struct net *net) MUST_CHECK;

#endif
