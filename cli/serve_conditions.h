/* The conditions of the server itself that alert (detectors/detectors_conditions.h), and what each is found by.
 *
 *   kafka_lost       Kafka removed messages before they were read, or made a partition anew, within the last hour: a ticket. Partitions are held
 *                    since (kafka.on_loss: stop): a page.
 *   kafka_overlap    a range of messages that may be on two nodes was recorded within the last hour: a ticket.
 *   invoice_residue  the newest reconciliation of a provider differs from what was counted by more than 0.5 %: a ticket for each provider.
 *   sensitive_output  a model answered with a secret, an account or an id of a person within the last hour: a page (cli/serve_redact.h)
 *   grounding_surge, grounding_drift  of a stream of answers (cli/serve_grounding.h)
 *
 * All but the held partitions is durable where it was found, so a restart neither resolves nor repeats an alert. Partitions are held again when
 * they are assigned; until then the alert stays, for the five minutes that kafka_lost must not have held.
 * Owner: serve.c; outlives the detectors.  Thread: detect.  Failure: the store's errors: the alerts stay as they are.
 * Limits: those of the tables that are read.
 */
#ifndef CLI_SERVE_CONDITIONS_H
#define CLI_SERVE_CONDITIONS_H

#include "cli/serve_grounding.h"
#include "cli/serve_redact.h"
#include "detectors/detectors_conditions.h"
#include "tsdb/tsdb.h"

#define SERVE_CONDITIONS_COUNT (4u + SERVE_GROUNDING_CONDITIONS)
#define SERVE_CONDITIONS_RECENT_MS INT64_C(3600000)

struct serve_conditions {
    struct tsdb *db;
    uint32_t org;
    struct detectors_condition list[SERVE_CONDITIONS_COUNT];
    /* owned by detect */
    int64_t overlaps_seen; /* the counter when the table was read last; -1: never */
    int64_t overlap_newest_ms;
};

void serve_conditions_init(struct serve_conditions *s, struct tsdb *db, uint32_t org,
                           struct serve_grounding *grounding, struct serve_redact *redact);

#endif
