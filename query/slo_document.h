/* OpenSLO documents while they are being read: all of a load together, so that references may cross files.
 *
 * Owner: one query_slo_load* call.  Thread: the caller's.
 * Failure: mistakes are written to `errors`, one line each, and counted; reading goes on to find them all.
 * Limits: SLO_DOCUMENTS_MAX documents, SLO_ERRORS_MAX lines.
 */
#ifndef QUERY_SLO_DOCUMENT_H
#define QUERY_SLO_DOCUMENT_H

#include "base/yaml_in.h"
#include "query/query_slo.h"

#define SLO_DOCUMENTS_MAX 5000u
#define SLO_ERRORS_MAX 100u

enum slo_kind {
    SLO_KIND_SLO,
    SLO_KIND_SLI,
    SLO_KIND_SERVICE,
    SLO_KIND_ALERT_POLICY,
    SLO_KIND_ALERT_CONDITION,
    SLO_KIND_ALERT_TARGET,
    SLO_KIND_DATA_SOURCE,
    SLO_KIND_COUNT
};

struct slo_document {
    enum slo_kind kind;
    struct bytes name;
    const char *file;
    const struct yaml_node *root, *metadata, *spec;
};

struct slo_documents {
    struct query_slo_set *set;
    struct buf *errors;
    struct buf *copy; /* of the files' texts; NULL = none is wanted */
    uint32_t error_count;
    bool out_of_memory;
    struct slo_document *list;
    uint32_t count;
};

/* "file:line: key: ..."; the line is the node's, or of the map it is missing from. */
void slo_document_error(struct slo_documents *d, const char *file, const struct yaml_node *at,
                        const char *key, const char *fmt, ...) PRINTF_LIKE(5, 6);
/* Reports every key that is not in the NULL-terminated list. */
void slo_document_keys(struct slo_documents *d, const char *file, const struct yaml_node *map,
                       const char *where, const char *const *valid);
const struct slo_document *slo_document_find(const struct slo_documents *d, enum slo_kind kind,
                                             struct bytes name);
/* "28d", "1h", "5m", "4w": minutes. */
bool slo_document_minutes(struct bytes text, uint32_t *out);

/* Turns the documents of kind SLO into objectives of the set. */
void slo_document_resolve(struct slo_documents *d);
/* The indicator part, in slo_indicator.c; objective may be NULL. */
void slo_indicator_read(struct slo_documents *d, const struct slo_document *doc,
                        const struct yaml_node *spec, const struct yaml_node *objective,
                        struct query_slo *s);
/* The alerting part, in slo_policy.c: replaces the workbook's rules where the document has its own. */
void slo_policy_read(struct slo_documents *d, const struct slo_document *doc, struct query_slo *s);

/* metric{label="value",...} into matchers; ERR_INVALID says where. */
enum err slo_selector_parse(struct bytes text, struct arena *a, struct query_slo_selector *out,
                            struct err_msg *msg) MUST_CHECK;

#endif
