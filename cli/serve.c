/* The server: starts the parts bottom up, waits for a signal, stops them top down.
 *
 *   options -> stage -> store -> access -> net (bound) -> budgets, detectors -> collector, web -> routes -> net (serving) -> detectors (running)
 */
#include <errno.h>
#include <pthread.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/hoard.h"
#include "cli/serve_budgets.h"
#include "cli/serve_conditions.h"
#include "cli/serve_grounding.h"
#include "cli/serve_options.h"
#include "cli/serve_prices.h"
#include "cli/serve_redact.h"
#include "cli/serve_rules.h"
#include "cli/serve_slos.h"
#include "cli/verbs.h"
#include "collector/collector.h"
#include "collector/kafka/kafka.h"
#include "collector/kafka/kafka_message.h"
#include "collector/net/net.h"
#include "collector/stage/stage.h"
#include "detectors/detectors.h"
#include "detectors/detectors_catalogue.h"
#include "detectors/detectors_budgets.h"
#include "tsdb/tsdb.h"
#include "web/web.h"
#include "web/web_access.h"
#include "web/web_prom.h"

#define DRAIN_MS 10000
#define EXIT_CONFIG 2

struct server {
    struct arena *arena; /* options and everything read from files */
    struct serve_options options;
    struct tsdb_labels external_labels;
    struct stage *stage;
    struct tsdb *db;
    struct serve_prices prices;
    struct web_access *access;
    struct detectors_budgets *budgets;
    struct serve_budgets budget_file;
    struct serve_conditions conditions;
    struct serve_grounding grounding;
    struct serve_redact redact;
    struct detectors *detectors;
    struct serve_slos slo_files;
    struct detectors_rules *rules;
    struct serve_rules rule_files;
    struct collector *collector;
    struct kafka *kafka;
    struct web *web;
    struct web_prom *prom;
    struct net *net;
    const char *addresses[NET_DOOR_COUNT]; /* as bound, "host:port" */
    int64_t start_ms;
    struct buf errors; /* one line each */
    struct err_msg msg; /* or one sentence */
};

/* --- files and addresses ------------------------------------------------------------------------- */

static enum err read_file(const char *path, struct arena *a, struct bytes *out, struct err_msg *msg)
{
    struct stat st;
    FILE *f = fopen(path, "rb");
    if (!f || fstat(fileno(f), &st) != 0 || st.st_size > 16 << 20) {
        enum err e = err_set(msg, ERR_INVALID, "%s cannot be read (%s)", path,
                             f ? "larger than 16 MiB" : strerror(errno));
        if (f)
            fclose(f);
        return e;
    }
    char *text = arena_alloc(a, (size_t)st.st_size + 1);
    size_t n = text ? fread(text, 1, (size_t)st.st_size, f) : 0;
    fclose(f);
    if (!text || n != (size_t)st.st_size)
        return err_set(msg, ERR_IO, "%s cannot be read", path);
    *out = bytes_of(text, n);
    return ERR_OK;
}

/* "0.0.0.0:4318", port as bound -> "host:4318"; a wildcard becomes the name under which others know this machine. */
static const char *address_of(struct arena *a, const char *configured, unsigned port,
                              bool for_others)
{
    char host[256];
    const char *colon = strrchr(configured, ':');
    snprintf(host, sizeof(host), "%.*s", (int)(colon - configured), configured);
    if (strcmp(host, "0.0.0.0") == 0 || strcmp(host, "[::]") == 0) {
        if (!for_others || gethostname(host, sizeof(host)) != 0)
            snprintf(host, sizeof(host), "127.0.0.1");
        host[sizeof(host) - 1] = 0;
    }
    return (const char *)arena_printf(a, "%s:%u", host, port).data;
}

static const char *scheme(const struct server *s)
{
    return s->options.tls_cert ? "https" : "http";
}

/* --- parts, in the order of their start ---------------------------------------------------------- */

static enum err start_stage(struct server *s)
{
    struct stage_options o = {0};
    struct genai_entry_rule *entries;
    enum err e =
        serve_options_entries(&s->options, s->arena, &entries, &o.genai.entry_count, &s->errors);
    o.genai.entries = entries;
    if (e == ERR_OK && s->options.prices)
        e = read_file(s->options.prices, s->arena, &o.genai.prices_yaml, &s->msg);
    if (e == ERR_OK)
        e = serve_options_external(&s->options, s->arena, &s->external_labels, &s->errors);
    s->options.grounding.file = s->options.config_file;
    if (e == ERR_OK)
        e = serve_grounding_read(&s->grounding, &s->options.grounding, &s->errors);
    s->options.redaction.file = s->options.config_file;
    if (e == ERR_OK)
        e = serve_redact_read(&s->redact, &s->options.redaction, &s->errors);
    o.genai.prices_name = s->options.prices;
    return e == ERR_OK ? stage_new(&o, &s->stage, &s->msg) : e;
}

/* Bodies, encoded records and batches come and go many times a second. Memory that goes back to the system in between costs a fault
 * per page the next time, which is more than decoding costs, so some of it is kept: blocks up to 4 MiB come from the heap, its free end
 * stays up to 8 MiB a thread that allocates, and a quarter of the memory limit stays as slabs. Mapping blocks of 2 MiB would save 4 MB at idle
 * and double what reading traces costs. */
static void keep_memory(const struct serve_options *o)
{
    mallopt(M_MMAP_THRESHOLD, 4 << 20);
    mallopt(M_TRIM_THRESHOLD, 8 << 20);
    hoard_keep(o->memory_limit / 4);
}

static enum err start_store(struct server *s)
{
    const struct serve_options *o = &s->options;
    struct tsdb_options t = {
        .dir = o->data,
        .memory_limit_bytes = o->memory_limit,
        .series_max_per_org = (uint32_t)o->series_max,
        .series_max_per_metric = (uint32_t)o->metric_series_max,
        .retention_ms = o->retention_ms,
        .retention_bytes = o->retention_bytes,
        .retention_content_ms = o->retention_content_ms,
        .retention_cells_ms = o->retention_cells_ms,
        .sampling = {.keep_permille = (uint32_t)o->sampling_permille,
                     .slow_ms = o->sampling_slow_ms,
                     .per_kind = (uint32_t)o->sampling_per_kind},
        .settler = stage_settler(s->stage),
    };
    keep_memory(o);
    enum err e = tsdb_open(&t, &s->db, &s->msg);
    if (e != ERR_OK)
        return e;
    stage_set_series(s->stage, tsdb_series(s->db));
    serve_prices_init(&s->prices, s->stage, s->db, o->prices);
    return serve_prices_reload(&s->prices, &s->msg); /* now their rows can be registered */
}

/* As configured, and this machine's own name: it stands in the address that is printed when a door listens on every interface. */
static const char *const *host_names(struct server *s)
{
    const struct config_list *names = &s->options.host_names;
    const char **list = ARENA_ARRAY(s->arena, const char *, names->count + 2);
    char host[256];
    size_t n = 0;
    for (size_t i = 0; list && i < names->count; i++)
        list[n++] = names->items[i];
    if (list && gethostname(host, sizeof(host)) == 0) {
        host[sizeof(host) - 1] = 0;
        list[n] = (const char *)arena_printf(s->arena, "%s", host).data;
    }
    return list;
}

static enum err start_net(struct server *s)
{
    const struct serve_options *o = &s->options;
    const char *configured[NET_DOOR_COUNT] = {o->listen_otlp_grpc, o->listen_otlp_http,
                                              o->listen_http};
    struct net_opts n = {
        .loops = (unsigned)o->loops,
        .connections_max = (unsigned)MIN(o->connections_max, 1000000),
        .body_bytes_max = o->body_memory,
        .authorise = web_access_authorise,
        .authorise_ctx = s->access,
        .host_names = host_names(s),
        .tls_cert_file = o->tls_cert,
        .tls_key_file = o->tls_key,
        .tls_doors = o->tls_cert ? NET_DOORS_ALL : 0,
    };
    s->net = net_new(&n);
    enum err e = s->net
                     ? ERR_OK
                     : err_set(&s->msg, ERR_NOMEM, "the network cannot be set up (out of memory)");
    for (int door = 0; door < NET_DOOR_COUNT && e == ERR_OK; door++) {
        unsigned port;
        e = net_listen(s->net, (enum net_door)door, configured[door], &port, &s->msg);
        if (e == ERR_OK)
            s->addresses[door] = address_of(s->arena, configured[door], port, true);
    }
    return e;
}

/* Keys: made and printed with --init; without any, only this machine may be listened to. */
static enum err start_access(struct server *s)
{
    const struct serve_options *o = &s->options;
    const char *configured[NET_DOOR_COUNT] = {o->listen_otlp_grpc, o->listen_otlp_http,
                                              o->listen_http};
    struct buf said = {0};
    enum err e = ERR_OK;
    if (o->init) {
        struct bytes endpoint =
            arena_printf(s->arena, "%s://%s", scheme(s), s->addresses[NET_OTLP_HTTP]);
        e = web_access_init(s->access, (const char *)endpoint.data, &said, &s->msg);
        fwrite(said.data, 1, said.size, stdout);
        fflush(stdout);
    }
    buf_done(&said);
    return e == ERR_OK ? web_access_check_listen(s->access, configured, &s->msg) : e;
}

/* After the store, so that what was booked is known, and before anybody sends. */
static enum err start_budgets(struct server *s)
{
    enum err e = detectors_budgets_load(s->options.budgets, &s->budgets, &s->errors);
    if (e != ERR_OK)
        return e;
    serve_budgets_init(&s->budget_file, s->budgets, s->db, s->options.budgets);
    e = detectors_budgets_follow(s->budgets, s->db, TSDB_ORG_DEFAULT);
    return e == ERR_OK ? e
                       : err_set(&s->msg, e, "the budgets cannot be filled from the ledger: %s",
                                 err_text(e));
}

static enum err start_detectors(struct server *s)
{
    const struct serve_options *o = &s->options;
    struct detectors_receiver *receivers = NULL;
    struct detectors_service *services = NULL;
    struct bytes url = arena_printf(s->arena, "%s://%s", scheme(s), s->addresses[NET_WEB]);
    struct detectors_options d = {.db = s->db,
                                  .slo_paths = o->slos.items,
                                  .slo_path_count = o->slos.count,
                                  .budgets = s->budgets,
                                  .conditions = s->conditions.list,
                                  .condition_count = SERVE_CONDITIONS_COUNT,
                                  .external_labels = s->external_labels,
                                  .external_url =
                                      o->external_url ? o->external_url : (const char *)url.data};
    enum err e = ERR_OK;
    serve_conditions_init(&s->conditions, s->db, TSDB_ORG_DEFAULT, &s->grounding, &s->redact);
    if (o->receivers)
        e = detectors_receivers_load(o->config_file, s->arena, &receivers, &d.receiver_count,
                                     &s->errors);
    d.receivers = receivers;
    if (e == ERR_OK)
        e = detectors_catalogue_read(o->services, o->config_file, receivers, d.receiver_count,
                                     s->arena, &services, &d.service_count, &s->errors);
    d.services = services;
    if (e == ERR_OK)
        e = detectors_new(&d, &s->detectors, &s->errors);
    return e == ERR_OK ? serve_slos_init(&s->slo_files, s->detectors, s->stage, &s->msg) : e;
}

/* Beside the objectives: their receivers, their outbox. */
static enum err start_rules(struct server *s)
{
    const struct serve_options *o = &s->options;
    struct detectors_rules_options r = {.db = s->db,
                                        .detectors = s->detectors,
                                        .paths = o->rules.items,
                                        .path_count = o->rules.count,
                                        .interval_ms = o->rule_interval_ms,
                                        .query_timeout_ms = o->query_timeout_ms};
    enum err e = detectors_rules_new(&r, &s->rules, &s->errors);
    if (e == ERR_OK)
        serve_rules_init(&s->rule_files, s->rules);
    return e;
}

static enum err replay(void *ctx, const struct web_replay_ask *ask, struct web_replay_result *out,
                       struct err_msg *msg)
{
    struct server *s = ctx;
    struct kafka_replayed r;
    struct otlp_translation translation = serve_options_otlp(&s->options);
    enum err e = kafka_message_replay(s->db, s->stage, &translation, ask->org, ask->signal,
                                      ask->place, ask->value, &r, msg);
    if (e == ERR_OK)
        *out = (struct web_replay_result){r.stored, r.rejected};
    return e;
}

static enum err start_doors(struct server *s)
{
    struct collector_options c = {
        .db = s->db, .stage = s->stage, .translation = serve_options_otlp(&s->options)};
    struct bytes beside = arena_printf(s->arena, "%s-backups", s->options.data);
    if (!beside.data)
        return ERR_NOMEM;
    struct web_opts w = {
        .db = s->db,
        .detectors = s->detectors,
        .budgets = s->budgets,
        .budgets_reload = serve_budgets_door(&s->budget_file),
        .slos_reload = serve_slos_door(&s->slo_files),
        .rules = s->rules,
        .rules_reload = serve_rules_door(&s->rule_files),
        .access = s->access,
        .threads = (unsigned)s->options.query_threads,
        .timeout_ms = s->options.query_timeout_ms,
        .address_grpc = s->addresses[NET_OTLP_GRPC],
        .address_http = s->addresses[NET_OTLP_HTTP],
        .address_web = s->addresses[NET_WEB],
        .tls = s->options.tls_cert != NULL,
        .money = serve_prices_money(&s->prices),
        .grounding = serve_verdicts_door(&s->grounding),
        .backup_dir = s->options.backups ? s->options.backups : (const char *)beside.data,
        .replay = {replay, s},
        .start_ms = s->start_ms,
    };
    struct web_prom_opts p = {
        .db = s->db,
        .threads = (unsigned)s->options.query_threads,
        .timeout_ms = s->options.query_timeout_ms,
        .samples_max = s->options.query_samples_max,
        .external_labels = s->external_labels,
        .cache_bytes = (size_t)MIN(s->options.query_cache, s->options.memory_limit / 8),
    };
    enum err e = collector_new(&c, &s->collector, &s->msg);
    if (e == ERR_OK)
        e = collector_routes(s->collector, s->net);
    if (e == ERR_OK && !(s->web = web_new(&w)))
        e = ERR_NOMEM;
    if (e == ERR_OK)
        e = web_routes(s->web, s->net);
    if (e == ERR_OK && !(s->prom = web_prom_new(&p)))
        e = ERR_NOMEM;
    if (e == ERR_OK)
        e = web_prom_routes(s->prom, s->net);
    if (e == ERR_OK)
        e = net_start(s->net, &s->msg);
    if (e == ERR_OK)
        e = detectors_start(s->detectors, &s->msg);
    if (e == ERR_OK)
        e = detectors_rules_start(s->rules, &s->msg);
    if (e == ERR_OK)
        web_set_ready(s->web, true);
    return e;
}

static struct kafka_options kafka_options_of(const struct server *s)
{
    const struct serve_options *o = &s->options;
    return (struct kafka_options){.db = s->db,
                                  .stage = s->stage,
                                  .translation = serve_options_otlp(o),
                                  .brokers = o->kafka,
                                  .group = o->kafka_group,
                                  .config_file = o->kafka_config,
                                  .tls = o->kafka_tls,
                                  .tls_ca = o->kafka_tls_ca,
                                  .sasl_mechanism = o->kafka_sasl_mechanism,
                                  .sasl_user = o->kafka_sasl_user,
                                  .sasl_password_file = o->kafka_sasl_password_file,
                                  .topics = o->kafka_topics.items,
                                  .topic_count = o->kafka_topics.count,
                                  .partitions = o->kafka_partitions.items,
                                  .partition_count = o->kafka_partitions.count,
                                  .headers = o->kafka_headers.items,
                                  .header_count = o->kafka_headers.count,
                                  .stop_on_loss = strcmp(o->kafka_on_loss, "stop") == 0,
                                  .from_end = strcmp(o->kafka_start, "latest") == 0};
}

/* Last: what is read is answered for by nobody else. */
static enum err start_kafka(struct server *s)
{
    struct kafka_options o = kafka_options_of(s);
    return o.brokers ? kafka_new(&o, &s->kafka, &s->msg) : ERR_OK;
}

static enum err start(struct server *s)
{
    enum err e = start_stage(s);
    if (e == ERR_OK)
        e = start_store(s);
    if (e == ERR_OK)
        e = serve_redact_start(&s->redact, &s->options.redaction, s->options.data, s->db,
                               TSDB_ORG_DEFAULT, s->stage, &s->msg);
    if (e == ERR_OK)
        e = serve_grounding_start(&s->grounding, s->db, s->stage, &s->msg);
    if (e == ERR_OK)
        e = web_access_open(s->db, s->options.data, &s->access, &s->msg);
    if (e == ERR_OK)
        e = start_net(s);
    if (e == ERR_OK)
        e = start_access(s);
    if (e == ERR_OK)
        e = start_budgets(s);
    if (e == ERR_OK)
        e = start_detectors(s);
    if (e == ERR_OK)
        e = start_rules(s);
    if (e == ERR_OK)
        e = start_doors(s);
    return e == ERR_OK ? start_kafka(s) : e;
}

/* Nobody new, then nobody at all, then what they left is sealed, then the parts that used each other go in the order of that use. */
static bool stop(struct server *s, bool seal)
{
    struct err_msg msg = {""};
    bool ok = true;
    if (s->web)
        web_set_ready(s->web, false);
    if (s->net)
        net_stop_accepting(s->net);
    kafka_free(s->kafka);
    if (s->web)
        web_stop(s->web);
    detectors_rules_stop(s->rules);
    if (s->detectors)
        detectors_stop(s->detectors);
    if (s->net) {
        unsigned cut = net_stop(s->net, seal ? DRAIN_MS : 0);
        if (cut)
            log_warn("serve", "%u requests were cut off after %d s", cut, DRAIN_MS / 1000);
    }
    serve_grounding_stop(&s->grounding); /* its last verdicts go to the flush */
    collector_free(
        s->collector); /* its workers hand over what they hold; the flush answers it while net is there */
    if (s->db && seal && tsdb_flush(s->db, false, &msg) != ERR_OK) {
        log_error("serve", "not everything could be sealed, the journal keeps it: %s", msg.text);
        ok = false;
    }
    net_free(s->net);
    web_free(s->web);
    web_prom_free(s->prom);
    serve_rules_done(&s->rule_files);
    detectors_rules_free(s->rules);
    serve_slos_done(&s->slo_files);
    detectors_free(s->detectors);
    if (s->db)
        detectors_budgets_unfollow(s->budgets, s->db);
    serve_budgets_done(&s->budget_file);
    detectors_budgets_free(s->budgets);
    web_access_close(s->access);
    serve_grounding_done(&s->grounding);
    serve_prices_done(&s->prices);
    tsdb_close(s->db, false);
    stage_free(s->stage);
    serve_redact_done(&s->redact);
    return ok;
}

/* --- signals ------------------------------------------------------------------------------------- */

static sigset_t signals_block(void)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigset_t set;
    sigaction(SIGPIPE, &ignore, NULL);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &set,
                    NULL); /* before any thread: all inherit it, only the main thread asks */
    return set;
}

static void wait_for_end(struct server *s, const sigset_t *set)
{
    for (int got = 0; sigwait(set, &got) == 0 && got == SIGHUP;) {
        struct err_msg msg;
        if (serve_prices_reload(&s->prices, &msg) == ERR_OK)
            log_info("serve", "prices read again");
        else
            log_error("serve", "the old prices stay: %s", msg.text);
        if (serve_budgets_reload(&s->budget_file, &msg) != ERR_OK)
            log_error("serve", "the old budgets stay: %s", msg.text);
        else if (s->options.budgets)
            log_info("serve", "budgets read again");
        if (serve_slos_reload(&s->slo_files, &msg) != ERR_OK)
            log_error("serve", "the old objectives stay: %s", msg.text);
        else if (s->options.slos.count)
            log_info("serve", "objectives read again");
        if (serve_rules_reload(&s->rule_files, &msg) != ERR_OK)
            log_error("serve", "the old rules stay: %s", msg.text);
        else if (s->options.rules.count)
            log_info("serve", "rules read again");
        if (!s->options.tls_cert)
            continue;
        if (net_reload(s->net, &msg) == ERR_OK)
            log_info("serve", "certificate and key read again");
        else
            log_error("serve", "the old certificate stays: %s", msg.text);
    }
}

static void files_limit_raise(void)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
        r.rlim_cur = r.rlim_max;
        setrlimit(RLIMIT_NOFILE, &r); /* a smaller limit only means fewer connections */
    }
}

/* --- the verbs ----------------------------------------------------------------------------------- */

static void complain(const struct server *s, enum err e)
{
    if (s->errors.size)
        fwrite(s->errors.data, 1, s->errors.size, stderr);
    if (s->msg.text[0])
        fprintf(stderr, "telltale: %s\n", s->msg.text);
    else if (!s->errors.size)
        fprintf(stderr, "telltale: %s\n", err_text(e));
}

static void serve_help(void)
{
    struct buf help = {0};
    config_help(&serve_options_table, &help);
    printf("usage: telltale serve [OPTION…]\n\n");
    fwrite(help.data, 1, help.size, stdout);
    printf("\nEvery option is also a key of the YAML file given with --config "
           "(docs/configuration.md lists them all).\n"
           "SIGTERM and SIGINT: stop accepting, seal what is in memory, exit 0. SIGHUP: read "
           "prices, budgets, rules, certificate and key again.\n");
    buf_done(&help);
}

static bool server_init(struct server *s, int argc, char **argv)
{
    *s = (struct server){.arena = arena_new(0), .start_ms = clock_wall_ms()};
    enum err e = s->arena ? serve_options_read(argc, (const char *const *)argv, s->arena,
                                               &s->options, &s->errors)
                          : ERR_NOMEM;
    if (e != ERR_OK)
        complain(s, e);
    return e == ERR_OK;
}

static void server_done(struct server *s)
{
    buf_done(&s->errors);
    arena_free(s->arena);
}

static void say_ready(struct server *s)
{
    const struct serve_options *o = &s->options;
    const char *configured[NET_DOOR_COUNT] = {o->listen_otlp_grpc, o->listen_otlp_http,
                                              o->listen_http},
               *here[NET_DOOR_COUNT];
    for (int door = 0; door < NET_DOOR_COUNT; door++)
        here[door] =
            address_of(s->arena, configured[door], net_port(s->net, (enum net_door)door), false);
    printf("Telltale %s is up. The page: %s://%s/\n", TELLTALE_VERSION, scheme(s),
           s->addresses[NET_WEB]);
    printf("ready: web=%s://%s otlp_http=%s://%s otlp_grpc=%s://%s\n", scheme(s), here[NET_WEB],
           scheme(s), here[NET_OTLP_HTTP], scheme(s), here[NET_OTLP_GRPC]);
    fflush(stdout);
}

int verbs_serve(int argc, char **argv)
{
    struct server s;
    if (argc > 0 && (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0)) {
        serve_help();
        return 0;
    }
    sigset_t signals = signals_block();
    files_limit_raise();
    int rc = EXIT_CONFIG;
    if (server_init(&s, argc, argv)) {
        enum err e = start(&s);
        if (e == ERR_OK) {
            say_ready(&s);
            wait_for_end(&s, &signals);
            log_info("serve", "stopping");
        } else {
            complain(&s, e);
        }
        bool sealed = stop(&s, e == ERR_OK);
        rc = e == ERR_OK                              ? (sealed ? 0 : 1)
             : e == ERR_INVALID || e == ERR_FORBIDDEN ? EXIT_CONFIG
                                                      : 1;
    }
    server_done(&s);
    return rc;
}

int verbs_check_config(int argc, char **argv)
{
    struct server s;
    int rc = EXIT_CONFIG;
    if (argc > 0 && strcmp(argv[0], "--help") == 0) {
        printf("usage: telltale check-config [OPTION…]   the options of `telltale serve`; exit 0 "
               "when they are all right\n");
        return 0;
    }
    if (server_init(&s, argc, argv)) {
        struct detectors_receiver *receivers = NULL;
        struct detectors_service *services = NULL;
        struct query_slo_set set;
        size_t n = 0, service_count = 0;
        enum err e = start_stage(&s), e2 = ERR_OK, e3 = query_slo_set_init(&set);
        if (s.options.receivers)
            e2 =
                detectors_receivers_load(s.options.config_file, s.arena, &receivers, &n, &s.errors);
        if (e2 == ERR_OK)
            e2 = detectors_catalogue_read(s.options.services, s.options.config_file, receivers, n,
                                          s.arena, &services, &service_count, &s.errors);
        if (e3 == ERR_OK) {
            e3 = s.options.slos.count
                     ? query_slo_load(&set, s.options.slos.items, s.options.slos.count, &s.errors)
                     : ERR_OK;
            if (e3 == ERR_OK)
                e3 = detectors_slo_check(&set, &s.errors);
            if (e3 == ERR_OK)
                e3 = detectors_catalogue_lint(services, service_count, &set, &s.errors);
            query_slo_set_done(&set);
        }
        struct detectors_budgets *budgets = NULL;
        if (detectors_budgets_load(s.options.budgets, &budgets, &s.errors) != ERR_OK &&
            e2 == ERR_OK)
            e2 = ERR_INVALID;
        detectors_budgets_free(budgets);
        if (detectors_rules_check(s.options.rules.items, s.options.rules.count, NULL, NULL,
                                  &s.errors) != ERR_OK &&
            e2 == ERR_OK)
            e2 = ERR_INVALID;
        struct kafka_options k = kafka_options_of(&s);
        if (e == ERR_OK && k.brokers)
            e = kafka_check(&k, &s.msg);
        if (e == ERR_OK && e2 == ERR_OK && e3 == ERR_OK) {
            printf("the configuration is all right\n");
            rc = 0;
        } else {
            complain(&s, e != ERR_OK ? e : ERR_INVALID);
        }
        stage_free(s.stage);
        serve_redact_done(&s.redact);
    }
    server_done(&s);
    return rc;
}

int verbs_config_reference(int argc, char **argv)
{
    struct buf text = {0};
    buf_str(&text, "# Configuration\n\n"
                   "Every option of `telltale serve`. On the command line, or as a key of the YAML "
                   "file given with `--config`; the command line\n"
                   "wins. Values of the file may say `${env:NAME}` and `${file:PATH}`. `telltale "
                   "check-config` takes the same options and says\n"
                   "what is wrong with them, one line each. This page is generated: `telltale "
                   "config-reference > docs/configuration.md`.\n\n");
    config_markdown(&serve_options_table, &text);
    fwrite(text.data, 1, text.size, stdout);
    buf_done(&text);
    return 0;
}
