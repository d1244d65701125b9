/* The server's prices: the document that the configuration names, read at the start, on SIGHUP and when an administrator asks.
 *
 * Owner: serve.c.  Thread: any; one at a time (lock).  Failure: the prices of before stay, the message says file, line and key.
 * Limits: a document of 16 MiB.
 */
#ifndef CLI_SERVE_PRICES_H
#define CLI_SERVE_PRICES_H

#include "collector/stage/stage.h"
#include "web/web.h"

#include <pthread.h>

struct serve_prices {
    struct stage *stage;
    struct tsdb *db;
    const char *file; /* NULL: the built-in list alone */
    pthread_mutex_t lock;
    int64_t last_report_ms; /* guarded by lock */
};

void serve_prices_init(struct serve_prices *p, struct stage *stage, struct tsdb *db,
                       const char *file);
void serve_prices_done(struct serve_prices *p);
enum err serve_prices_reload(struct serve_prices *p, struct err_msg *msg) MUST_CHECK;
/* What the web door may ask for. */
struct web_money serve_prices_money(struct serve_prices *p);

#endif
