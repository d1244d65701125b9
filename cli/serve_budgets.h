/* The server's budgets: the file that the configuration names, read at the start, on SIGHUP and when an administrator asks.
 *
 * Owner: serve.c.  Thread: any; one at a time (lock).  Failure: the budgets of before stay, the message says file, line and key of the first mistake.
 * Limits: those of the file (docs/budgets.md).
 */
#ifndef CLI_SERVE_BUDGETS_H
#define CLI_SERVE_BUDGETS_H

#include "detectors/detectors_budgets.h"
#include "web/web.h"

#include <pthread.h>

struct serve_budgets {
    struct detectors_budgets *budgets;
    struct tsdb *db;
    const char *file; /* NULL: there are none */
    pthread_mutex_t lock;
};

/* Budgets that are followed already. */
void serve_budgets_init(struct serve_budgets *s, struct detectors_budgets *b, struct tsdb *db,
                        const char *file);
void serve_budgets_done(struct serve_budgets *s);
enum err serve_budgets_reload(struct serve_budgets *s, struct err_msg *msg) MUST_CHECK;
/* What the web door may ask for. */
struct web_reload serve_budgets_door(struct serve_budgets *s);

#endif
