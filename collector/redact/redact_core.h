/* What the files of this folder share of the rules.
 *
 * Owner: the program.  Thread: any; immutable once rows come.
 */
#ifndef COLLECTOR_REDACT_REDACT_CORE_H
#define COLLECTOR_REDACT_REDACT_CORE_H

#include "collector/redact/redact_engine.h"
#include "collector/redact/redact_types.h"

struct redact_policy {
    uint8_t action[REDACT_ZONE_COUNT][REDACT_TYPES_MAX];
};

struct redact_service {
    struct bytes name;
    struct redact_policy policy;
};

struct redact {
    struct arena *arena;
    bool is_off;
    struct redact_engine *words, *patterns; /* patterns NULL: no own ones */
    const char *names[REDACT_TYPES_MAX];
    uint8_t groups[REDACT_TYPES_MAX];
    const char *own[REDACT_PATTERNS_MAX]; /* their texts */
    uint32_t type_count;
    bool alerts[REDACT_TYPES_MAX];
    struct redact_policy policy;
    struct redact_service *services;
    uint32_t service_count;
    uint8_t key[REDACT_KEY_BYTES];
};

static inline const struct redact_policy *redact_policy_of(const struct redact *r,
                                                           struct bytes service)
{
    for (uint32_t i = 0; i < r->service_count; i++)
        if (bytes_equal(r->services[i].name, service))
            return &r->services[i].policy;
    return &r->policy;
}

/* redact_options.c */
enum err redact_options_apply(struct redact *r, const struct redact_options *o,
                              struct buf *errors) MUST_CHECK;

#endif
