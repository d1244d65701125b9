/* OpenTelemetry names into Prometheus names, by each strategy of the OTLP translator.
 *
 * Owner: caller's buffer.  Thread: any.
 * Failure: false for an empty name, one of which nothing is left, or one longer than METRIC_NAME_MAX.
 */
#ifndef COLLECTOR_OTLP_METRIC_NAME_H
#define COLLECTOR_OTLP_METRIC_NAME_H

#include "base/buf.h"
#include "collector/otlp/otlp_translation.h"

#define METRIC_NAME_MAX 1024u

enum metric_name_kind { METRIC_NAME_PLAIN, METRIC_NAME_GAUGE, METRIC_NAME_COUNTER };

/* With suffixes: unit words, "_total" for counters, "_ratio" for gauges of unit 1. Escaped: tokens of letters, digits and ':' joined by '_'
 * (without suffixes '_' is a letter). Appends. */
bool metric_name_build(struct bytes name, struct bytes unit, enum metric_name_kind kind,
                       enum otlp_strategy strategy, struct buf *out) MUST_CHECK;
/* Label name. Escaped: every other character becomes '_'; a leading digit gets "key_", a single leading '_' gets "key". Appends. */
void metric_name_label(struct bytes key, enum otlp_strategy strategy, struct buf *out);
/* The unit in words, "bytes_per_second"; nothing for none. Appends. */
void metric_name_unit(struct bytes unit, enum otlp_strategy strategy, struct buf *out);

#endif
