/* One request to the Prometheus API on its way through the pool.
 *
 * Owner: the pool's job.  Thread: the job's.  Failure: an endpoint returns an error with its sentence in msg.
 * Invariant: an endpoint writes exactly one JSON value (the envelope's "data") into j, then perhaps further keys of the envelope.
 */
#ifndef WEB_WEB_PROM_CALL_H
#define WEB_WEB_PROM_CALL_H

#include "base/check.h"
#include "base/json_out.h"
#include "base/pool.h"
#include "query/query_cache.h"
#include "web/web_prom.h"

#include <assert.h>

#define PROM_ENDPOINTS_MAX 48
#define PROM_SELECTORS_MAX 64

struct prom_call;

struct prom_endpoint {
    const char *pattern;
    bool post; /* also POST with a form */
    enum err (*run)(struct prom_call *c);
    enum {
        PROM_ANSWERS,
        PROM_WRITES, /* POST and PUT only, answered with 204 and no body */
        PROM_TEXT, /* no envelope: the endpoint writes lines into out */
        PROM_READS /* POST only; the answer is protobuf in a snappy block */
    } form;
};

struct prom_route {
    struct web_prom *prom;
    const struct prom_endpoint *endpoint;
};

struct web_prom {
    struct web_prom_opts opts;
    int64_t start_ms;
    struct pool *pool;
    struct query_cache *cache; /* NULL: every query is computed */
    struct prom_route routes[PROM_ENDPOINTS_MAX];
};

struct prom_call {
    struct web_prom *prom;
    const struct prom_endpoint *endpoint;
    struct net_request *req;
    struct arena *arena;
    struct buf out;
    struct json_out j;
    struct err_msg msg;
    int64_t deadline_mono_ns;
};

struct bytes prom_value(struct prom_call *c, const char *name); /* empty when absent */
enum err prom_time(struct prom_call *c, const char *name, int64_t def, int64_t *out_ms) MUST_CHECK;
enum err prom_duration(struct prom_call *c, const char *name, int64_t def,
                       int64_t *out_ms) MUST_CHECK;
bool prom_flag(struct prom_call *c, const char *name); /* 1, t, true, y, yes */
enum err prom_limit(struct prom_call *c, size_t *out) MUST_CHECK; /* SIZE_MAX = none */
enum err prom_view(struct prom_call *c, struct tsdb_view **out) MUST_CHECK;
/* The match[] parameters and the time range of a request. */
struct prom_scope {
    struct query_selector *selectors[PROM_SELECTORS_MAX];
    size_t count;
    int64_t min, max;
    size_t limit;
};
enum err prom_scope_read(struct prom_call *c, struct prom_scope *out) MUST_CHECK;
void prom_scope_done(struct prom_scope *s);
void prom_labels_object(struct json_out *j, struct tsdb_labels l);
void prom_float(struct json_out *j, double v); /* a string */

/* The labels and those of the external ones that they lack, in the arena. */
enum err prom_with_external(struct prom_call *c, struct tsdb_labels l, struct arena *a,
                            struct tsdb_labels *out) MUST_CHECK;

enum err prom_query(struct prom_call *c) MUST_CHECK;
enum err prom_query_range(struct prom_call *c) MUST_CHECK;
enum err prom_query_exemplars(struct prom_call *c) MUST_CHECK;
enum err prom_format_query(struct prom_call *c) MUST_CHECK;
enum err prom_parse_query(struct prom_call *c) MUST_CHECK;
enum err prom_read(struct prom_call *c) MUST_CHECK;
enum err prom_series(struct prom_call *c) MUST_CHECK;
enum err prom_labels(struct prom_call *c) MUST_CHECK;
enum err prom_label_values(struct prom_call *c) MUST_CHECK;
enum err prom_metadata(struct prom_call *c) MUST_CHECK;
enum err prom_delete_series(struct prom_call *c) MUST_CHECK;
enum err prom_clean_tombstones(struct prom_call *c) MUST_CHECK;
enum err prom_status_tsdb(struct prom_call *c) MUST_CHECK;
enum err prom_federate(struct prom_call *c) MUST_CHECK;
/* What Prometheus tells of a server that scrapes: here nothing is. */
enum err prom_status_runtime(struct prom_call *c) MUST_CHECK;
enum err prom_status_empty(struct prom_call *c) MUST_CHECK; /* flags */
enum err prom_status_blocks(struct prom_call *c) MUST_CHECK;
enum err prom_nothing(struct prom_call *c) MUST_CHECK; /* an empty list: notifications, … */
enum err prom_features(struct prom_call *c) MUST_CHECK;
enum err prom_status_config(struct prom_call *c) MUST_CHECK;
enum err prom_status_walreplay(struct prom_call *c) MUST_CHECK;
enum err prom_targets(struct prom_call *c) MUST_CHECK;
enum err prom_targets_metadata(struct prom_call *c) MUST_CHECK;
enum err prom_alertmanagers(struct prom_call *c) MUST_CHECK;

#endif
