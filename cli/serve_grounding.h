/* The grounding checker inside the server: its configuration, its model, and how it is connected.
 *
 *   stage --tap--> detectors_checker (texts out of dialects by collector/genai) --> rows      detectors_watch --> conditions that alert
 *
 * Owner: serve.c.  Thread: start and stop: main; the tap: those of stage_apply.
 * Failure: read: ERR_INVALID with one line per mistake; start: ERR_NOMEM, the store's. A model that cannot be opened is no failure of the
 *          server: it is said in the log and in GET grounding.
 * Limits: those of detectors_checker.h.
 */
#ifndef CLI_SERVE_GROUNDING_H
#define CLI_SERVE_GROUNDING_H

#include "collector/stage/stage.h"
#include "detectors/detectors_checker.h"
#include "detectors/detectors_conditions.h"
#include "detectors/detectors_grounding.h"
#include "web/web.h"

struct yaml_node;

#define SERVE_GROUNDING_CONDITIONS 2u

struct serve_grounding_options {
    bool is_enabled;
    const char *model; /* file; NULL: the one in the program */
    const char *sample, *targeted; /* shares as text, "0.05" or "5%" */
    const struct yaml_node *services; /* map of service: share */
    const char *file; /* for messages */
    uint64_t threads, memory_bytes, cpu_percent;
};

struct serve_grounding {
    struct serve_grounding_options options;
    struct checker_share services[CHECKER_SERVICES_MAX];
    size_t service_count;
    double sample, targeted;
    struct tsdb *db;
    struct ground *ground; /* owned by the checker's thread */
    struct detectors_watch *watch;
    struct detectors_grounding *labels;
    struct detectors_checker *checker; /* NULL: nothing is checked */
};

/* Checks and keeps the options; strings are borrowed. */
enum err serve_grounding_read(struct serve_grounding *g, const struct serve_grounding_options *o,
                              struct buf *errors) MUST_CHECK;
/* After the store, before anybody sends. */
enum err serve_grounding_start(struct serve_grounding *g, struct tsdb *db, struct stage *stage,
                               struct err_msg *msg) MUST_CHECK;
/* When nobody sends any more, while the store still takes rows. */
void serve_grounding_stop(struct serve_grounding *g);
void serve_grounding_done(struct serve_grounding *g);
/* grounding_surge: a stream's answers are less supported than its baseline; grounding_drift: its scores are shaped unlike it. */
void serve_grounding_conditions(struct serve_grounding *g,
                                struct detectors_condition out[SERVE_GROUNDING_CONDITIONS]);
/* What a span says, for the checker and for who shows it. */
enum err serve_grounding_parts(const struct checker_said *const *rows, size_t count,
                               struct arena *a, struct checker_parts *out) MUST_CHECK;

/* serve_verdicts.c: the answers of the web door. */
struct web_grounding serve_verdicts_door(struct serve_grounding *g);

#endif
