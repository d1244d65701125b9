/* The server's objectives: the files that the configuration names, read at the start, on SIGHUP and when an administrator asks.
 *
 * Owner: serve.c.  Thread: any; one at a time (lock).
 * Failure: the objectives of before stay, the message says file, line and key of the first mistake.
 * Limits: those of documents (docs/slo.md), and of the thresholds that the stage counts.
 */
#ifndef CLI_SERVE_SLOS_H
#define CLI_SERVE_SLOS_H

#include <pthread.h>

#include "collector/stage/stage.h"
#include "detectors/detectors.h"
#include "web/web.h"

struct serve_slos {
    struct detectors *detectors;
    struct stage *stage;
    pthread_mutex_t lock;
};

/* Hands the thresholds of what is loaded to the stage. */
enum err serve_slos_init(struct serve_slos *s, struct detectors *detectors, struct stage *stage,
                         struct err_msg *msg) MUST_CHECK;
void serve_slos_done(struct serve_slos *s);
enum err serve_slos_reload(struct serve_slos *s, struct err_msg *msg) MUST_CHECK;
/* What the web door may ask for. */
struct web_reload serve_slos_door(struct serve_slos *s);

#endif
