#include "cli/serve_options.h"

#include "base/check.h"
#include "base/log.h"

#define AT(field) offsetof(struct serve_options, field)

/* clang-format off */
static const struct config_option options[] = {
    /* key                      flag                   type                default             field                       arg     help */
    {"config",                  "--config",            CONFIG_STR,         NULL,               AT(config_file),            "FILE", "YAML file with the keys of this table; options on the command line win."},
    {"data",                    "--data",              CONFIG_STR,         "./telltale-data",  AT(data),                   "DIR",  "Directory of everything durable; made if missing."},
    {"backups",                 "--backups",           CONFIG_STR,         NULL,               AT(backups),                "DIR",  "Directory in which backups are made that are asked for over HTTP (`telltale backup URL NAME`); the data directory's name with `-backups` if not given."},
    {"listen.otlp_grpc",        "--listen-otlp-grpc",  CONFIG_ADDR,        "127.0.0.1:4317",   AT(listen_otlp_grpc),       "A:P",  "Address of OTLP over gRPC; port 0 takes any free port."},
    {"listen.otlp_http",        "--listen-otlp-http",  CONFIG_ADDR,        "127.0.0.1:4318",   AT(listen_otlp_http),       "A:P",  "Address of OTLP over HTTP (protobuf and JSON)."},
    {"listen.http",             "--listen-http",       CONFIG_ADDR,        "127.0.0.1:4320",   AT(listen_http),            "A:P",  "Address of the page and the query APIs."},
    {"init",                    "--init",              CONFIG_BOOL,        "false",            AT(init),                   NULL,   "Make an ingest key and an admin key if there are none, and print them once."},
    {"retention.rows",          "--retention",         CONFIG_DURATION_MS, "30d",              AT(retention_ms),           "D",    "How long spans, logs and samples are kept."},
    {"retention.content",       NULL,                  CONFIG_DURATION_MS, "7d",               AT(retention_content_ms),   "D",    "How long texts (attributes, events, log bodies) are kept."},
    {"retention.cells",         NULL,                  CONFIG_DURATION_MS, "400d",             AT(retention_cells_ms),     "D",    "How long derived series (the SLIs) are kept."},
    {"retention.size",          "--retention-size",    CONFIG_SIZE,        "0",                AT(retention_bytes),        "SIZE", "What sealed days and the journal may take on disk; past it the oldest days go whole, texts first, then rows and samples, SLIs last. 0: no limit."},
    {"sampling.keep_permille",  NULL,                  CONFIG_U64,         "1000",             AT(sampling_permille),      "N",    "Of 1000 traces that nothing speaks for so many are kept when their day is over, and each of their spans then stands for more (`weight`); 1000: all. Traces with an error, slow or marked ones are always kept, whole; SLIs keep counting all. See docs/operations.md."},
    {"sampling.slow",           NULL,                  CONFIG_DURATION_MS, "10s",              AT(sampling_slow_ms),       "D",    "Sampling keeps a trace that has a span as long as this."},
    {"sampling.per_kind",       NULL,                  CONFIG_U64,         "20",               AT(sampling_per_kind),      "N",    "Sampling keeps so many traces of each day with the same service and name of their root."},
    {"memory_limit",            "--memory-limit",      CONFIG_SIZE,        "512MiB",           AT(memory_limit),           "SIZE", "Memory of rows that are not sealed yet, waiting requests, decoded indexes and queries together; past it senders are asked to wait."},
    {"tls.cert",                "--tls-cert",          CONFIG_STR,         NULL,               AT(tls_cert),               "FILE", "PEM certificate chain; with tls.key all three addresses speak TLS. Reloaded when the file changes."},
    {"tls.key",                 "--tls-key",           CONFIG_STR,         NULL,               AT(tls_key),                "FILE", "PEM private key of tls.cert."},
    {"external_url",            "--external-url",      CONFIG_STR,         NULL,               AT(external_url),           "URL",  "Address under which people reach the page; used in links of notifications."},
    {"external_labels",         NULL,                  CONFIG_NODE,        NULL,               AT(external_labels),        NULL,   "A map of labels that say which installation this is: on notifications, federation and remote read, where what goes out lacks them; `$externalLabels` of templates."},
    {"host_names",              "--host-name",         CONFIG_LIST,        NULL,               AT(host_names),             "NAME", "Host names under which the page answers, besides localhost and IP addresses; `*` allows any."},
    {"slos",                    "--slo",               CONFIG_LIST,        NULL,               AT(slos),                   "PATH", "OpenSLO file or directory; repeat for more. Without any, built-in objectives are used. Read again on SIGHUP, see docs/slo.md."},
    {"receivers",               NULL,                  CONFIG_NODE,        NULL,               AT(receivers),              NULL,   "Webhooks that alerts go to: a list of {name, url, secrets, …}, see docs/webhooks.md."},
    {"services",                NULL,                  CONFIG_NODE,        NULL,               AT(services),               NULL,   "Who owns which service, and who is told of what: a list of {name, owner, tier, receivers}, see docs/webhooks.md."},
    {"entries",                 NULL,                  CONFIG_NODE,        NULL,               AT(entries),                NULL,   "Which spans are user requests: a list of {service, route, operation, name}; `*` at an end matches any rest."},
    {"prices",                  "--prices",            CONFIG_STR,         NULL,               AT(prices),                 "FILE", "YAML price table that goes before the built-in one, and cost centres; read again on SIGHUP, see docs/prices.md."},
    {"budgets",                 "--budgets",           CONFIG_STR,         NULL,               AT(budgets),                "FILE", "YAML file of budgets of money, tokens or calls, see docs/budgets.md."},
    {"grounding.enabled",       NULL,                  CONFIG_BOOL,        "true",             AT(grounding.is_enabled),   NULL,   "Check sampled answers against the documents they were made from, see docs/grounding.md."},
    {"grounding.model",         "--grounding-model",   CONFIG_STR,         NULL,               AT(grounding.model),        "FILE", "Model that checks; the one in the program if not given. `lexical` compares words and needs none."},
    {"grounding.sample",        "--grounding-sample",  CONFIG_STR,         "5%",               AT(grounding.sample),       "SHARE", "Share of traces whose answers are checked, chosen by a hash of the trace id."},
    {"grounding.targeted",      NULL,                  CONFIG_STR,         "25%",              AT(grounding.targeted),     "SHARE", "The same for answers that were cut off, degraded or given by a fallback, where it is more."},
    {"grounding.services",      NULL,                  CONFIG_NODE,        NULL,               AT(grounding.services),     NULL,   "Shares of single services: a map of service: share; 0 switches one off."},
    {"grounding.threads",       NULL,                  CONFIG_U64,         "1",                AT(grounding.threads),      "N",    "Threads of the model; all run only when nothing else wants the processor."},
    {"grounding.cpu_percent",   NULL,                  CONFIG_U64,         "50",               AT(grounding.cpu_percent),  "N",    "Share of the time in which the checker works when there is always something to check."},
    {"grounding.memory",        NULL,                  CONFIG_SIZE,        "64MiB",            AT(grounding.memory_bytes), "SIZE", "Texts that wait to be checked or are kept for a call of their trace, in memory only; past it they are dropped and counted."},
    {"redaction.enabled",       NULL,                  CONFIG_BOOL,        "true",             AT(redaction.is_enabled),   NULL,   "Find secrets and personal data in everything that is stored, and mask them before it is, see docs/redaction.md."},
    {"redaction.key",           NULL,                  CONFIG_STR,         NULL,               AT(redaction.key),          "HEX",  "64 hex digits of which placeholders are made, the same on all nodes; that of the data directory if not given. Say ${file:…}."},
    {"redaction.actions",       NULL,                  CONFIG_NODE,        NULL,               AT(redaction.actions),      NULL,   "What is done with what is found: a map of kind or group: keep, mask, hash or drop."},
    {"redaction.content",       NULL,                  CONFIG_NODE,        NULL,               AT(redaction.content),      NULL,   "The same for prompts, answers and documents only; wins over redaction.actions there."},
    {"redaction.services",      NULL,                  CONFIG_NODE,        NULL,               AT(redaction.services),     NULL,   "The same for single services: a map of service: {actions, content}."},
    {"redaction.patterns",      NULL,                  CONFIG_NODE,        NULL,               AT(redaction.patterns),     NULL,   "Patterns of one's own: a list of {name, pattern, group}."},
    {"redaction.alerts",        NULL,                  CONFIG_NODE,        NULL,               AT(redaction.alerts),       NULL,   "Kinds and groups that page when they are found in an answer of a model; secret, financial and national_id if not given."},
    {"rules",                   "--rules",             CONFIG_LIST,        NULL,               AT(rules),                  "PATH", "Prometheus rule file, directory of such files, or a pattern with `*`; repeat for more. Read again on SIGHUP, see docs/rules.md."},
    {"rule_interval",           "--rule-interval",     CONFIG_DURATION_MS, "1m",               AT(rule_interval_ms),       "D",    "How often groups of rules are evaluated that do not say."},
    {"otlp.translation_strategy", NULL,                CONFIG_STR,         "UnderscoreEscapingWithSuffixes", AT(otlp_strategy), "W",    "How names of OTLP metrics become Prometheus names: UnderscoreEscapingWithSuffixes, UnderscoreEscapingWithoutSuffixes, NoUTF8EscapingWithSuffixes or NoTranslation, see docs/format/otlp.md."},
    {"otlp.promote_resource_attributes", NULL,         CONFIG_LIST,        NULL,               AT(otlp_promote),           NULL,   "Resource attributes that become labels of every series of the resource."},
    {"otlp.promote_all_resource_attributes", NULL,     CONFIG_BOOL,        "false",            AT(otlp_promote_all),       NULL,   "All of them do, but for otlp.ignore_resource_attributes."},
    {"otlp.ignore_resource_attributes", NULL,          CONFIG_LIST,        NULL,               AT(otlp_ignore),            NULL,   "With otlp.promote_all_resource_attributes: those that do not."},
    {"otlp.keep_identifying_resource_attributes", NULL, CONFIG_BOOL,       "false",            AT(otlp_keep_identifying),  NULL,   "target_info keeps service.name, service.namespace and service.instance.id as well."},
    {"otlp.convert_histograms_to_nhcb", NULL,          CONFIG_BOOL,        "false",            AT(otlp_custom_buckets),    NULL,   "Histograms with explicit bounds become native histograms with custom buckets, not _bucket, _sum and _count."},
    {"otlp.promote_scope_metadata", NULL,              CONFIG_BOOL,        "false",            AT(otlp_promote_scope),     NULL,   "Name, version, schema URL and attributes of the instrumentation scope become labels otel_scope_…."},
    {"otlp.type_and_unit_labels", NULL,                CONFIG_BOOL,        "false",            AT(otlp_type_and_unit),     NULL,   "Series get labels __type__ and __unit__."},
    {"kafka.brokers",           "--kafka",             CONFIG_STR,         NULL,               AT(kafka),                  "A:P",  "Kafka brokers, HOST:PORT[,…]: OTLP messages are read from there, each stored once, see docs/kafka.md."},
    {"kafka.group",             "--kafka-group",       CONFIG_STR,         "telltale",         AT(kafka_group),            "NAME", "Consumer group: its members share the partitions."},
    {"kafka.topics",            "--kafka-topic",       CONFIG_LIST,        NULL,               AT(kafka_topics),           "T=S",  "TOPIC=SIGNAL or TOPIC=SIGNAL@ORG, SIGNAL spans, metrics, logs or tokens; repeat for more. Without any: otlp_spans, otlp_metrics, otlp_logs and llm.token.events."},
    {"kafka.partitions",        "--kafka-partition",   CONFIG_LIST,        NULL,               AT(kafka_partitions),       "T:N",  "TOPIC:N or TOPIC:N-M: this node reads these partitions and no others, without hand-overs; repeat for more."},
    {"kafka.tls.enabled",       NULL,                  CONFIG_BOOL,        "false",            AT(kafka_tls),              NULL,   "Speak TLS with the brokers; implied by kafka.tls.ca."},
    {"kafka.tls.ca",            NULL,                  CONFIG_STR,         NULL,               AT(kafka_tls_ca),           "FILE", "PEM certificates that the brokers' are checked against; the system's if not given."},
    {"kafka.sasl.mechanism",    NULL,                  CONFIG_STR,         NULL,               AT(kafka_sasl_mechanism),   "M",    "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; with kafka.sasl.user and kafka.sasl.password_file."},
    {"kafka.sasl.user",         NULL,                  CONFIG_STR,         NULL,               AT(kafka_sasl_user),        "NAME", "Whom the brokers know."},
    {"kafka.sasl.password_file", NULL,                 CONFIG_STR,         NULL,               AT(kafka_sasl_password_file), "FILE", "Its first line is the password."},
    {"kafka.config",            "--kafka-config",      CONFIG_STR,         NULL,               AT(kafka_config),           "FILE", "Properties of the Kafka client (librdkafka), NAME=VALUE a line; they win over kafka.tls and kafka.sasl."},
    {"kafka.start",             NULL,                  CONFIG_STR,         "earliest",         AT(kafka_start),            "W",    "Where a partition is begun of which nothing was ever read: earliest or latest."},
    {"kafka.headers",           "--kafka-header",      CONFIG_LIST,        NULL,               AT(kafka_headers),          "NAME", "A header of Kafka messages that becomes the attribute kafka.header.NAME of their resources; repeat for more."},
    {"kafka.on_loss",           NULL,                  CONFIG_STR,         "continue",         AT(kafka_on_loss),          "W",    "When Kafka has lost messages of a partition, or it was made anew: continue with what is left, or stop reading it until somebody has looked."},
    {"query.timeout",           NULL,                  CONFIG_DURATION_MS, "30s",              AT(query_timeout_ms),       "D",    "A query that takes longer is ended."},
    {"query.threads",           NULL,                  CONFIG_U64,         "2",                AT(query_threads),          "N",    "Queries that run at once."},
    {"query.cache_size",        NULL,                  CONFIG_SIZE,        "32MiB",            AT(query_cache),            "SIZE", "Answers to range queries that are kept, at most an eighth of memory_limit: what has not changed since is not computed again. 0: none."},
    {"query.max_samples",       NULL,                  CONFIG_U64,         "50000000",         AT(query_samples_max),      "N",    "A query that would hold more samples in memory is refused."},
    {"limits.series",           "--series-limit",      CONFIG_U64,         "1000000",          AT(series_max),             "N",    "Series per org that are in use (reported within two hours); see docs/operations.md for what happens past it."},
    {"limits.series_per_metric", "--metric-series-limit", CONFIG_U64,      "500000",           AT(metric_series_max),      "N",    "Series of one metric of an org, likewise."},
    {"limits.connections",      NULL,                  CONFIG_U64,         "20000",            AT(connections_max),        "N",    "Open connections per address."},
    {"limits.body_memory",      NULL,                  CONFIG_SIZE,        "512MiB",           AT(body_memory),            "SIZE", "Memory of request bodies in flight; past it senders are asked to wait."},
    {"loops",                   NULL,                  CONFIG_U64,         "2",                AT(loops),                  "N",    "Event-loop threads."},
    {"log_level",               "--log-level",         CONFIG_STR,         "info",             AT(log_level),              "L",    "error, warn, info or debug."},
};
/* clang-format on */

const struct config_table serve_options_table = {options, ARRAY_LEN(options)};

/* --config must be known before the file can be read; everything else about argv is config_read's business. */
static const char *config_path(int argc, const char *const *argv)
{
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--config") == 0 && i + 1 < argc)
            return argv[i + 1];
        if (strncmp(argv[i], "--config=", 9) == 0)
            return argv[i] + 9;
    }
    return NULL;
}

static bool set_log_level(const char *name)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(name, names[i]) == 0) {
            log_set_level((enum log_level)i);
            return true;
        }
    return false;
}

static enum err check_together(const struct serve_options *o, struct buf *errors)
{
    size_t before = errors->size;
    if (!o->tls_cert != !o->tls_key)
        buf_str(errors, "tls: give tls.cert and tls.key together, or neither\n");
    if (!set_log_level(o->log_level))
        buf_printf(errors, "log_level: '%s' is not valid; give error, warn, info or debug\n",
                   o->log_level);
    if (o->query_threads == 0 || o->query_threads > 64)
        buf_str(errors, "query.threads: give a number from 1 to 64\n");
    if (o->loops == 0 || o->loops > 64)
        buf_str(errors, "loops: give a number from 1 to 64\n");
    if (o->rule_interval_ms < 1000)
        buf_str(errors, "rule_interval: give at least 1s\n");
    if (o->series_max == 0 || o->series_max > UINT32_MAX || o->metric_series_max == 0 ||
        o->metric_series_max > UINT32_MAX)
        buf_str(errors,
                "limits.series, limits.series_per_metric: give a number from 1 to 4294967295\n");
    enum otlp_strategy strategy;
    if (!otlp_translation_strategy(o->otlp_strategy, &strategy))
        buf_printf(errors,
                   "otlp.translation_strategy: '%s' is not valid; give "
                   "UnderscoreEscapingWithSuffixes, UnderscoreEscapingWithoutSuffixes, "
                   "NoUTF8EscapingWithSuffixes or NoTranslation\n",
                   o->otlp_strategy);
    if (o->otlp_promote_all && o->otlp_promote.count)
        buf_str(errors, "otlp: give promote_all_resource_attributes or a list of "
                        "promote_resource_attributes, not both\n");
    if (!o->otlp_promote_all && o->otlp_ignore.count)
        buf_str(errors, "otlp.ignore_resource_attributes: only with "
                        "promote_all_resource_attributes\n");
    if (o->memory_limit < 32u << 20)
        buf_str(errors, "memory_limit: give at least 32MiB\n");
    if (o->retention_ms < 3600000 || o->retention_content_ms < 3600000 ||
        o->retention_cells_ms < 3600000)
        buf_str(errors, "retention: give at least 1h\n");
    if (o->sampling_permille == 0 || o->sampling_permille > 1000)
        buf_str(errors, "sampling.keep_permille: give a number from 1 to 1000\n");
    if (o->sampling_per_kind > UINT32_MAX)
        buf_str(errors, "sampling.per_kind: give a number up to 4294967295\n");
    if (strcmp(o->kafka_start, "earliest") != 0 && strcmp(o->kafka_start, "latest") != 0)
        buf_printf(errors, "kafka.start: '%s' is not valid; give earliest or latest\n",
                   o->kafka_start);
    if (strcmp(o->kafka_on_loss, "continue") != 0 && strcmp(o->kafka_on_loss, "stop") != 0)
        buf_printf(errors, "kafka.on_loss: '%s' is not valid; give continue or stop\n",
                   o->kafka_on_loss);
    return errors->size == before ? ERR_OK : ERR_INVALID;
}

enum err serve_options_read(int argc, const char *const *argv, struct arena *a,
                            struct serve_options *out, struct buf *errors)
{
    *out = (struct serve_options){0};
    enum err e =
        config_read(&serve_options_table, out, config_path(argc, argv), argc, argv, a, errors);
    return e == ERR_OK ? check_together(out, errors) : e;
}

struct otlp_translation serve_options_otlp(const struct serve_options *o)
{
    const struct config_list *list = o->otlp_promote_all ? &o->otlp_ignore : &o->otlp_promote;
    struct otlp_translation t = {.promote = list->items,
                                 .promote_count = list->count,
                                 .promote_all = o->otlp_promote_all,
                                 .promote_scope = o->otlp_promote_scope,
                                 .keep_identifying = o->otlp_keep_identifying,
                                 .custom_buckets = o->otlp_custom_buckets,
                                 .type_and_unit = o->otlp_type_and_unit};
    if (!otlp_translation_strategy(o->otlp_strategy, &t.strategy))
        t.strategy = OTLP_UNDERSCORE_WITH_SUFFIXES; /* was checked when it was read */
    return t;
}

enum err serve_options_external(const struct serve_options *o, struct arena *a,
                                struct tsdb_labels *out, struct buf *errors)
{
    const struct yaml_node *map = o->external_labels;
    struct tsdb_label list[TSDB_LABELS_MAX];
    struct err_msg msg = {""};
    size_t n = 0;
    *out = (struct tsdb_labels){BYTES_NONE};
    if (!map || map->type == YAML_NULL)
        return ERR_OK;
    bool fine = map->type == YAML_MAP;
    for (const struct yaml_node *c = fine ? map->child : NULL; fine && c; c = c->next) {
        fine =
            c->type == YAML_SCALAR && n < TSDB_LABELS_MAX && !bytes_equal_str(c->key, "__name__");
        if (fine)
            list[n++] = (struct tsdb_label){c->key, c->text};
    }
    enum err e = fine ? tsdb_labels_build(list, n, a, out, &msg)
                      : err_set(&msg, ERR_INVALID, "give a map of names and texts");
    if (e != ERR_OK)
        buf_printf(errors, "%s:%u: external_labels: %s\n", o->config_file, map->line, msg.text);
    return e;
}

static bool entry_read(const struct serve_options *o, const struct yaml_node *n,
                       struct genai_entry_rule *out, struct buf *errors)
{
    bool ok = n->type == YAML_MAP;
    for (const struct yaml_node *f = n->child; ok && f; f = f->next) {
        if (bytes_equal_str(f->key, "service"))
            out->service = f->text;
        else if (bytes_equal_str(f->key, "route"))
            out->route = f->text;
        else if (bytes_equal_str(f->key, "operation"))
            out->operation = f->text;
        else if (bytes_equal_str(f->key, "name"))
            out->name = f->text;
        else
            ok = false;
        ok = ok && f->type == YAML_SCALAR;
    }
    if (!ok)
        buf_printf(errors, "%s:%u: entries: give a map with service, route, operation or name\n",
                   o->config_file, n->line);
    return ok;
}

enum err serve_options_entries(const struct serve_options *o, struct arena *a,
                               struct genai_entry_rule **out, size_t *out_count, struct buf *errors)
{
    size_t count = 0;
    enum err e = ERR_OK;
    *out = NULL;
    *out_count = 0;
    if (!o->entries || o->entries->type == YAML_NULL)
        return ERR_OK;
    if (o->entries->type != YAML_LIST) {
        buf_printf(errors, "%s:%u: entries: give a list\n", o->config_file, o->entries->line);
        return ERR_INVALID;
    }
    for (const struct yaml_node *n = o->entries->child; n; n = n->next)
        count++;
    struct genai_entry_rule *rules = ARENA_ARRAY(a, struct genai_entry_rule, count + 1);
    if (!rules)
        return ERR_NOMEM;
    count = 0;
    for (const struct yaml_node *n = o->entries->child; n; n = n->next)
        if (!entry_read(o, n, &rules[count++], errors))
            e = ERR_INVALID;
    if (e == ERR_OK) {
        *out = rules;
        *out_count = count;
    }
    return e;
}
