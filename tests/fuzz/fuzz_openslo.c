/* Any bytes as an OpenSLO stream: objectives or lines of mistakes, never both, and every loaded objective is one that can be evaluated. */
#include "base/check.h"
#include "query/query_slo.h"
#include <math.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct query_slo_set set;
    struct buf errors;
    if (query_slo_set_init(&set) != ERR_OK)
        return 0;
    buf_init(&errors, 1u << 20);
    enum err e = query_slo_load_text(&set, "fuzz", bytes_of(data, size), &errors);
    CHECK((e == ERR_INVALID) == (errors.size > 0));
    for (uint32_t i = 0; i < set.count; i++) {
        const struct query_slo *s = &set.slos[i];
        CHECK(s->target > 0 && s->target < 1 && s->period_minutes >= 60 && s->terms);
        CHECK(s->rule_count <= QUERY_SLO_RULES_MAX && s->id.size > 0);
        for (uint32_t k = 0; k < s->rule_count; k++)
            CHECK(isfinite(s->rules[k].factor) && s->rules[k].short_minutes > 0);
        struct query_slo_tracker *t = query_slo_tracker_new(s);
        CHECK(!t || query_slo_tracker_bytes(t) <= QUERY_SLO_TRACKER_BYTES_MAX);
        query_slo_tracker_free(t);
    }
    buf_done(&errors);
    query_slo_set_done(&set);
    return 0;
}
