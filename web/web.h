/* The web door: the page, Telltale's own API, Jaeger's query API, health and metrics.
 *
 *   web_access_open -> net_new(authorise = web_access_authorise) -> net_listen... -> web_new -> web_routes -> net_start
 *   ... net_stop_accepting -> web_stop (ends the event streams) -> net_stop -> net_free -> web_free -> web_access_close
 *
 * It renders what the layers below compute; each answer is made on a pool thread, never on an event loop.
 * Owner: the program.  Thread: web_new, web_routes, web_stop, web_free: one thread.
 * Failure: web_new gives NULL when out of memory; a question that fails is answered with the error's HTTP status and a sentence.
 * Limits: web_limits.h.
 * Invariants: 1. An answer shows rows of the asking credential's org only. 2. Nothing here changes data but admin routes.
 */
#ifndef WEB_WEB_H
#define WEB_WEB_H

#include "collector/net/net.h"
#include "detectors/detectors.h"
#include "web/web_access.h"

struct web;
struct detectors_budgets; /* detectors/detectors_budgets.h */
struct detectors_rules; /* detectors/detectors_rules.h */

/* A message that could not be read is read again: whoever knows how does it, and answers when it is stored. Thread: any of the pool's. */
struct web_replay_ask {
    uint32_t org;
    struct bytes signal; /* spans, metrics, logs, as it was kept */
    struct bytes place; /* names the message: asked twice within a short time it is stored once */
    struct bytes value;
};
struct web_replay_result {
    uint64_t stored, rejected;
};
struct web_replay {
    enum err (*run)(void *ctx, const struct web_replay_ask *ask, struct web_replay_result *out,
                    struct err_msg *msg); /* NULL: cannot be done */
    void *ctx;
};

/* What the web door may ask of prices and costs, which live beside it: the program connects them. An answer is one JSON value. */
struct web_money {
    void *ctx;
    /* Reads the price document again. */
    enum err (*reload)(void *ctx, struct buf *json, struct err_msg *msg);
    /* Brings sums to the prices of now, once a key, and writes it down. key_id: of who asks. */
    enum err (*reprice)(void *ctx, uint32_t org, uint64_t key_id, struct bytes body,
                        struct buf *json, struct err_msg *msg);
    /* Compares an invoice with what was counted, and keeps the report. body: JSON of docs/prices.md. */
    enum err (*reconcile)(void *ctx, uint32_t org, struct bytes body, struct buf *json,
                          struct err_msg *msg);
};

/* Grounding, which the program connects (cli/serve_verdicts.h). An answer is one JSON value. */
struct web_grounding_ask {
    uint32_t org;
    struct bytes service; /* empty = all */
    int64_t from_ms, to_ms;
};
struct web_grounding {
    void *ctx;
    /* A person's word on an answer. body: JSON of docs/grounding.md. */
    enum err (*feedback)(void *ctx, uint32_t org, struct bytes body, struct buf *json,
                         struct err_msg *msg);
    enum err (*report)(void *ctx, const struct web_grounding_ask *ask, struct buf *json,
                       struct err_msg *msg);
    /* The verdicts of a trace, with the texts that they are about. */
    enum err (*trace)(void *ctx, uint32_t org, struct tsdb_id16 trace_id, struct buf *json,
                      struct err_msg *msg);
};

/* Reads a file of the configuration again. The answer is one JSON value. */
struct web_reload {
    enum err (*run)(void *ctx, struct buf *json, struct err_msg *msg); /* NULL: there is none */
    void *ctx;
};

struct web_opts {
    struct tsdb *db;
    struct detectors *detectors; /* NULL: no objectives, no alerts */
    struct detectors_budgets *budgets; /* NULL: none */
    struct web_reload budgets_reload;
    struct web_reload slos_reload;
    struct detectors_rules *rules; /* NULL: none; for /metrics */
    struct web_reload rules_reload;
    uint32_t detectors_org; /* whose rows they watch; 0 = TSDB_ORG_DEFAULT */
    struct web_access *access;
    unsigned threads; /* of the pool; 0 = 2 */
    int64_t timeout_ms; /* of one question; 0 = 30 s */
    /* Addresses that a sender on this network would use, "host:port", for the lines to paste. */
    const char *address_grpc, *address_http, *address_web;
    bool tls; /* all doors speak TLS */
    const char *backup_dir; /* where backups are made that are asked for; NULL: they are refused */
    struct web_replay replay;
    struct web_money money; /* all NULL: those routes say that there is none */
    struct web_grounding grounding; /* all NULL: those routes say that there is none */
    int64_t start_ms; /* wall time at which the program started; 0 = now */
};

struct web *web_new(const struct web_opts *o); /* copies o and its strings */
/* Registers everything of docs/api.md that is ours, the assets of the page included; before net_start. */
enum err web_routes(struct web *w, struct net *net) MUST_CHECK;
/* The program is up (or going down): what /-/ready answers. Starts as not ready. */
void web_set_ready(struct web *w, bool ready);
/* Ends the event streams; new ones are refused. Call before net_stop, or it waits for them. */
void web_stop(struct web *w);
void web_free(struct web *w); /* after net_free, so that nobody asks any more; NULL is fine */

#endif
