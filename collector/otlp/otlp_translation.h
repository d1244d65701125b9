/* How OpenTelemetry metrics become Prometheus series: the settings of Prometheus' otlp: section, under its names.
 *
 * All zero is Prometheus' default: names escaped with '_', unit and type suffixes, no resource attribute but job and instance.
 * Owner: the program, for as long as anything decodes.  Thread: immutable after start.
 * Failure: otlp_translation_strategy: false for an unknown name.
 */
#ifndef COLLECTOR_OTLP_OTLP_TRANSLATION_H
#define COLLECTOR_OTLP_OTLP_TRANSLATION_H

#include "base/bytes.h"

enum otlp_strategy {
    OTLP_UNDERSCORE_WITH_SUFFIXES,
    OTLP_UNDERSCORE_WITHOUT_SUFFIXES,
    OTLP_UTF8_WITH_SUFFIXES,
    OTLP_NO_TRANSLATION
};

struct otlp_translation {
    enum otlp_strategy strategy;
    /* Resource attributes that every series of the resource gets as labels; with promote_all: those that it does not get. */
    const char *const *promote;
    size_t promote_count;
    bool promote_all;
    bool promote_scope; /* otel_scope_name, _version, _schema_url and the scope's attributes */
    bool
        keep_identifying; /* service.name, service.namespace, service.instance.id stay on target_info */
    bool
        custom_buckets; /* cumulative histograms with explicit bounds become native ones with custom bounds */
    bool type_and_unit; /* labels __type__ and __unit__ */
};

/* By Prometheus' name: UnderscoreEscapingWithSuffixes, UnderscoreEscapingWithoutSuffixes, NoUTF8EscapingWithSuffixes, NoTranslation. */
bool otlp_translation_strategy(const char *name, enum otlp_strategy *out);
static inline bool otlp_translation_keeps_utf8(enum otlp_strategy s)
{
    return s == OTLP_UTF8_WITH_SUFFIXES || s == OTLP_NO_TRANSLATION;
}
static inline bool otlp_translation_has_suffixes(enum otlp_strategy s)
{
    return s == OTLP_UNDERSCORE_WITH_SUFFIXES || s == OTLP_UTF8_WITH_SUFFIXES;
}

#endif
