/* Redaction inside the server: its configuration, its key, and the alert when a model's answers hold what they must not.
 *
 *   redaction: of the file --> collector/redact --> stage      llm_sensitive_output_total --> sensitive_output (a page)
 *
 * Owner: serve.c; outlives the stage's callers and the detectors.  Thread: start: main; the condition: detect.
 * Failure: read: ERR_INVALID with one line per mistake; start: what redact_load_key says.
 * Limits: SERVE_REDACT_SERIES series of a round; what is past it is left out.
 */
#ifndef CLI_SERVE_REDACT_H
#define CLI_SERVE_REDACT_H

#include "base/buf.h"
#include "collector/redact/redact.h"
#include "collector/stage/stage.h"
#include "detectors/detectors_conditions.h"
#include "tsdb/tsdb.h"

#define SERVE_REDACT_SERIES 256u
#define SERVE_REDACT_RECENT_MINUTES 60u /* so long after the last one the alert is over */

struct serve_redact_options {
    bool is_enabled;
    const char *key; /* 64 hex digits; NULL: that of the data directory */
    const struct yaml_node *actions, *content, *services, *patterns, *alerts;
    const char *file; /* for messages */
};

struct serve_redact {
    struct redact *rules;
    struct tsdb *db;
    uint32_t org;
};

/* Compiles the rules. */
enum err serve_redact_read(struct serve_redact *s, const struct serve_redact_options *o,
                           struct buf *errors) MUST_CHECK;
/* After the store, before anybody sends. */
enum err serve_redact_start(struct serve_redact *s, const struct serve_redact_options *o,
                            const char *dir, struct tsdb *db, uint32_t org, struct stage *stage,
                            struct err_msg *msg) MUST_CHECK;
void serve_redact_done(struct serve_redact *s);
/* sensitive_output: a kind that alerts was found in the answers of a service within the last hour: a page, one for each kind and service. */
struct detectors_condition serve_redact_condition(struct serve_redact *s);

#endif
