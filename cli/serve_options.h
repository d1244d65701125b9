/* Every option of `telltale serve`: one table for the command line, the YAML file, --help and docs/configuration.md.
 *
 * Owner: caller; strings live in the arena given.  Thread: start-up.
 * Failure: serve_options_read: ERR_INVALID with one line per mistake (file, line, key, what would be valid).
 */
#ifndef CLI_SERVE_OPTIONS_H
#define CLI_SERVE_OPTIONS_H

#include "base/config.h"
#include "cli/serve_grounding.h"
#include "cli/serve_redact.h"
#include "collector/genai/genai.h"
#include "collector/otlp/otlp_translation.h"
#include "tsdb/tsdb_labels.h"

struct serve_options {
    const char *config_file; /* NULL = none */
    const char *data, *backups;
    const char *listen_otlp_grpc, *listen_otlp_http, *listen_http;
    const char *tls_cert, *tls_key;
    const char *external_url;
    const struct yaml_node *external_labels; /* a map of texts */
    struct config_list host_names;
    bool init;
    int64_t retention_ms, retention_content_ms, retention_cells_ms, sampling_slow_ms;
    uint64_t sampling_permille, sampling_per_kind;
    uint64_t retention_bytes, memory_limit, series_max, metric_series_max, connections_max,
        body_memory, loops;
    struct config_list slos;
    const struct yaml_node *receivers; /* read by detectors_receivers_load */
    const struct yaml_node *services; /* read by detectors_catalogue_read */
    const struct yaml_node *entries; /* list of {service, route, operation, name} */
    const char *kafka, *kafka_group, *kafka_config, *kafka_start, *kafka_on_loss;
    bool kafka_tls;
    const char *kafka_tls_ca, *kafka_sasl_mechanism, *kafka_sasl_user, *kafka_sasl_password_file;
    struct config_list kafka_topics, kafka_partitions, kafka_headers;
    const char *prices, *budgets;
    struct serve_grounding_options grounding;
    struct serve_redact_options redaction;
    const char *otlp_strategy;
    struct config_list otlp_promote, otlp_ignore;
    bool otlp_promote_all, otlp_keep_identifying, otlp_custom_buckets, otlp_promote_scope,
        otlp_type_and_unit;
    struct config_list rules;
    int64_t rule_interval_ms;
    int64_t query_timeout_ms;
    uint64_t query_threads, query_samples_max, query_cache;
    const char *log_level;
};

extern const struct config_table serve_options_table;

/* argv: the words after `serve`. Looks for --config first, then reads file and flags, then checks what one option says about another. */
enum err serve_options_read(int argc, const char *const *argv, struct arena *a,
                            struct serve_options *out, struct buf *errors) MUST_CHECK;
/* The `external_labels:` part of the file. */
enum err serve_options_external(const struct serve_options *o, struct arena *a,
                                struct tsdb_labels *out, struct buf *errors) MUST_CHECK;
/* The `otlp:` part, of options that were read without a mistake. */
struct otlp_translation serve_options_otlp(const struct serve_options *o);
/* The `entries:` part of the file. */
enum err serve_options_entries(const struct serve_options *o, struct arena *a,
                               struct genai_entry_rule **out, size_t *out_count,
                               struct buf *errors) MUST_CHECK;

#endif
