/* OpenTelemetry names into Prometheus names: the "underscore escaping with suffixes" strategy of the OTLP translator.
 *
 * Owner: caller's buffer.  Thread: any.
 * Failure: false for a name that has no letter or digit, or is longer than METRIC_NAME_MAX.
 */
#ifndef COLLECTOR_OTLP_METRIC_NAME_H
#define COLLECTOR_OTLP_METRIC_NAME_H

#include "base/buf.h"

#define METRIC_NAME_MAX 1024u

enum metric_name_kind { METRIC_NAME_PLAIN, METRIC_NAME_GAUGE, METRIC_NAME_COUNTER };

/* Tokens of letters, digits and ':' joined by '_', then unit words, "_total" for counters, "_ratio" for gauges of unit 1. Appends. */
bool metric_name_build(struct bytes name, struct bytes unit, enum metric_name_kind kind,
                       struct buf *out) MUST_CHECK;
/* Label name: every other character becomes '_'; a leading digit gets "key_", a single leading '_' gets "key". Appends. */
void metric_name_label(struct bytes key, struct buf *out);

#endif
