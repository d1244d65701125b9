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

bool query_slo_indicator_find(struct bytes name, enum query_slo_indicator *out)
{
    for (size_t i = 0; i < QUERY_SLO_INDICATOR_COUNT; i++)
        if (i != QUERY_SLO_RATIO && bytes_equal_str(name, indicators[i].name)) {
            *out = (enum query_slo_indicator)i;
            return true;
        }
    return false;
}

bool query_slo_indicator_is_sliced(enum query_slo_indicator i)
{
    return i == QUERY_SLO_COST || i == QUERY_SLO_SAFETY || i == QUERY_SLO_TOKENS ||
           i == QUERY_SLO_FEEDBACK;
}

const char *query_slo_method_name(enum query_slo_method m)
{
    static const char *const names[] = {"Occurrences", "Timeslices", "RatioTimeslices"};
    CHECK((size_t)m < ARRAY_LEN(names));
    return names[m];
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
