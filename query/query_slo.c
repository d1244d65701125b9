#include "query/query_slo.h"
#include "base/check.h"

static const struct {
    const char *name, *what;
} indicators[] = {
#define X(code, name, what) {name, what},
    QUERY_SLO_INDICATOR_TABLE(X)
#undef X
};

const char *query_slo_indicator_name(enum query_slo_indicator i)
{
    CHECK((size_t)i < ARRAY_LEN(indicators));
    return indicators[i].name;
}

const char *query_slo_indicator_what(enum query_slo_indicator i)
{
    CHECK((size_t)i < ARRAY_LEN(indicators));
    return indicators[i].what;
}

const char *query_slo_severity_name(enum query_slo_severity s)
{
    return s == QUERY_SLO_PAGE ? "page" : "ticket";
}

const char *query_slo_quality_name(enum query_slo_quality q)
{
    static const char *const names[] = {"exact", "weighted", "sampled-unknown", "metrics-only",
                                        "interval"};
    CHECK((size_t)q < ARRAY_LEN(names));
    return names[q];
}

const char *query_slo_no_data_name(enum query_slo_no_data p)
{
    static const char *const names[] = {"ok", "alert", "hold"};
    CHECK((size_t)p < ARRAY_LEN(names));
    return names[p];
}
