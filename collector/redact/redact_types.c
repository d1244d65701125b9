#include "collector/redact/redact_types.h"

const struct redact_type_info redact_types[REDACT_TYPE_COUNT] = {
#define X(name, text, group) {text, REDACT_##group},
    REDACT_TYPES(X)
#undef X
};

const char *const redact_types_groups[REDACT_GROUP_COUNT] = {"secret", "financial", "national_id",
                                                             "contact"};
