/* Recording and alerting rules as they are written: Prometheus' rule files (docs/rules.md).
 *
 * Owner: the arena given.  Thread: immutable once read, then any.
 * Failure: ERR_INVALID with a line for each mistake: file, line, group, rule, and what would be valid; ERR_LIMIT, ERR_NOMEM.
 * Limits: RULE_FILE_*; YAML without anchors (base/yaml_in.h).
 * Invariants: 1. Every expression parses and gives a vector or a scalar. 2. Every template parses. 3. A group's name is unique in its file.
 */
#ifndef DETECTORS_RULE_FILE_H
#define DETECTORS_RULE_FILE_H

#include "base/buf.h"
#include "detectors/rule_template.h"

#define RULE_FILE_BYTES_MAX (16u << 20)
#define RULE_FILE_GROUPS_MAX 10000u
#define RULE_FILE_RULES_MAX 20000u
#define RULE_FILE_INTERVAL_MS 60000

struct rule_pair {
    struct bytes name, value;
    const struct rule_template *text; /* of alerting rules; NULL: value as it is */
};

struct rule_def {
    bool is_alert;
    struct bytes name; /* record or alert */
    struct bytes expr; /* as Prometheus prints it */
    int64_t for_ms, keep_firing_ms;
    struct rule_pair *labels,
        *annotations; /* labels: those of the group included; sorted by name */
    uint32_t label_count, annotation_count;
    bool reads_own; /* reads what an earlier rule of the group writes, or may */
    unsigned line;
    uint64_t identity; /* of file, group, kind, name, labels and how many before it have the same */
};

struct rule_group_def {
    struct bytes name;
    const char *file;
    int64_t interval_ms, query_offset_ms;
    uint32_t limit; /* 0 = none */
    struct rule_def *rules;
    uint32_t rule_count;
    unsigned line;
};

struct rule_set {
    struct rule_group_def *groups;
    uint32_t group_count, group_cap, rule_count;
};

struct rule_file_options {
    int64_t interval_ms; /* of groups that do not say; 0 = RULE_FILE_INTERVAL_MS */
    struct arena *arena;
    struct buf *errors;
};

/* Adds the groups of one document. */
enum err rule_file_read(struct bytes text, const char *path, const struct rule_file_options *o,
                        struct rule_set *io) MUST_CHECK;
/* Files, directories (their .yml and .yaml) and patterns such as rules/x.yml with stars; sorted, each file once. A pattern may match nothing. */
enum err rule_file_load(const char *const *paths, size_t count, const struct rule_file_options *o,
                        struct rule_set *out) MUST_CHECK;
/* The bytes of a file. */
enum err rule_file_bytes(const char *path, struct arena *a, struct bytes *out,
                         struct err_msg *msg) MUST_CHECK;

#endif
