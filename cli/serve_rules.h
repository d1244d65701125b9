/* The server's rules: the files that the configuration names, read at the start, on SIGHUP and when an administrator asks.
 *
 * Owner: serve.c.  Thread: any; one at a time (lock).  Failure: the rules of before stay, the message says file, line, group and rule of the first
 * mistake.
 * Limits: those of rule files (docs/rules.md).
 */
#ifndef CLI_SERVE_RULES_H
#define CLI_SERVE_RULES_H

#include "detectors/detectors_rules.h"
#include "web/web.h"

#include <pthread.h>

struct serve_rules {
    struct detectors_rules *rules;
    pthread_mutex_t lock;
};

void serve_rules_init(struct serve_rules *s, struct detectors_rules *rules);
void serve_rules_done(struct serve_rules *s);
enum err serve_rules_reload(struct serve_rules *s, struct err_msg *msg) MUST_CHECK;
/* What the web door may ask for. */
struct web_reload serve_rules_door(struct serve_rules *s);

#endif
