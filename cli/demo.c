#include "cli/demo.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/http_client.h"
#include "cli/demo_gen.h"
#include "otlp.pb-c.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define METRICS_EVERY_S 10
#define HISTORY_METRICS_EVERY_S 300
#define HISTORY_REQUESTS \
    400000.0 /* about so many over the whole of --history when no rate is given */
#define HISTORY_STEP_REQUESTS 400.0
#define GIVE_UP_MS 60000
#define HISTORY_MARGIN_S \
    300 /* a history as long as the retention must not be too old when it arrives */

struct demo_options {
    const char *endpoint, *key, *ca_file;
    struct demo_gen_options gen;
    int64_t duration_ms, history_ms;
    bool rate_given, once, quiet, insecure, help;
};

struct demo_sender {
    const struct demo_options *o;
    uint64_t spans_before; /* made before the part of the run that say_progress tells of */
    struct http_client *http;
    struct buf body;
    uint64_t bytes, posts, rejected;
};

static volatile sig_atomic_t stopped;

static void on_signal(int number)
{
    stopped = 1;
}

/* --- options ----------------------------------------------------------------------------------------- */

static void print_help(void)
{
    puts("telltale demo: a synthetic fleet of LLM services that sends OTLP over HTTP to Telltale "
         "(or any OTLP receiver)\n"
         "\n"
         "Eight services with their own SDK dialects (OpenTelemetry old and new, OpenLLMetry, "
         "OpenInference, Vercel AI SDK,\n"
         "Langfuse, OpenLIT), eleven models, twelve tenants, a gateway and a model server that "
         "report the same calls again,\n"
         "retries, fallbacks, cancels, streamed answers with first-token times, retrieval with "
         "documents, agents with tools,\n"
         "logs with trace ids, and the services' own metrics. The same seed and the same seconds "
         "give the same bytes.\n"
         "\n"
         "  --endpoint URL      where to send (http://127.0.0.1:4318)\n"
         "  --key KEY           ingest key, sent as Authorization: Bearer\n"
         "  --ca-file FILE      trust this certificate authority;  --insecure trusts any\n"
         "  --rate N            requests per second, mean over a day (8)\n"
         "  --seed N            another seed, another fleet's luck (1)\n"
         "  --duration D        stop after D of live time, such as 90s or 2h (until stopped)\n"
         "  --history D         first send the past D, such as 30d, as fast as it is taken, with a "
         "day-and-night pattern\n"
         "  --once              send the last ten seconds (after --history), then exit\n"
         "  --quiet             say nothing but errors\n"
         "  --incident KIND[,onset=D][,severity=X][,for=D]      may be given several times; onset "
         "counts from the start of\n"
         "                      live time (60s), negative onsets lie in the history; without for= "
         "it stays\n");
    for (int i = 0; i < DEMO_EFFECT_COUNT; i++)
        if (demo_effect_is_incident((enum demo_effect_kind)i))
            printf("      %-15s %s\n", demo_effect_text((enum demo_effect_kind)i),
                   demo_effect_help((enum demo_effect_kind)i));
    puts("  --confounder KIND[,onset=D][,severity=X][,for=D]    things that are no incident and "
         "should page nobody");
    for (int i = 0; i < DEMO_EFFECT_COUNT; i++)
        if (!demo_effect_is_incident((enum demo_effect_kind)i))
            printf("      %-15s %s\n", demo_effect_text((enum demo_effect_kind)i),
                   demo_effect_help((enum demo_effect_kind)i));
    puts("\nExamples\n"
         "  telltale demo                                        live traffic until Ctrl-C\n"
         "  telltale demo --history 30d --incident errors,onset=-3h,severity=0.02\n"
         "  telltale demo --rate 40 --incident cost-spike,onset=5m,severity=0.3 --confounder "
         "traffic,onset=2m,for=10m");
}

static bool option_error(const char *flag, const char *value, const char *valid)
{
    fprintf(stderr, "telltale demo: %s%s%s: %s\n", flag, value ? " " : "", value ? value : "",
            valid);
    return false;
}

static bool option_number(const char *flag, const char *value, double min, double max, double *out)
{
    double v;
    if (!bytes_to_f64(bytes_str(value), &v) || !(v >= min) || v > max)
        return option_error(flag, value, "a number is expected");
    *out = v;
    return true;
}

static bool option_effect(struct demo_options *o, const char *value, bool incident)
{
    struct demo_effects *e = &o->gen.effects;
    struct err_msg msg = {""};
    if (e->count == DEMO_EFFECTS_MAX)
        return option_error("--incident", value, "too many incidents and confounders");
    if (demo_effect_parse(value, incident, &e->list[e->count], &msg) != ERR_OK)
        return option_error(incident ? "--incident" : "--confounder", value, msg.text);
    e->count++;
    return true;
}

static bool option_take(struct demo_options *o, const char *flag, const char *value)
{
    double v;
    if (strcmp(flag, "--endpoint") == 0) {
        o->endpoint = value;
        return bytes_has_prefix(bytes_str(value), BYTES_LIT("http")) ||
               option_error(flag, value, "an address such as http://127.0.0.1:4318 is expected");
    }
    if (strcmp(flag, "--key") == 0)
        o->key = value;
    else if (strcmp(flag, "--ca-file") == 0)
        o->ca_file = value;
    else if (strcmp(flag, "--rate") == 0) {
        o->rate_given = true;
        return option_number(flag, value, 0.001, 100000, &o->gen.rate);
    } else if (strcmp(flag, "--seed") == 0) {
        if (!option_number(flag, value, 0, 9e15, &v))
            return false;
        o->gen.seed = (uint64_t)v;
    } else if (strcmp(flag, "--duration") == 0 || strcmp(flag, "--history") == 0) {
        int64_t *to = flag[2] == 'd' ? &o->duration_ms : &o->history_ms;
        return (clock_parse_duration_ms(value, to) && *to > 0) ||
               option_error(flag, value, "a duration such as 90s, 2h or 30d is expected");
    } else if (strcmp(flag, "--incident") == 0)
        return option_effect(o, value, true);
    else if (strcmp(flag, "--confounder") == 0)
        return option_effect(o, value, false);
    else
        return option_error(flag, NULL, "unknown option; see telltale demo --help");
    return true;
}

static bool options_read(struct demo_options *o, int argc, char **argv)
{
    static const struct {
        const char *flag;
        size_t offset;
    } switches[] = {{"--once", offsetof(struct demo_options, once)},
                    {"--quiet", offsetof(struct demo_options, quiet)},
                    {"--insecure", offsetof(struct demo_options, insecure)},
                    {"--help", offsetof(struct demo_options, help)},
                    {"-h", offsetof(struct demo_options, help)}};
    bool ok = true;
    for (int i = 0; i < argc; i++) {
        char flag[64];
        const char *eq = strchr(argv[i], '=');
        size_t n = eq ? (size_t)(eq - argv[i]) : strlen(argv[i]);
        bool is_switch = false;
        for (size_t k = 0; k < sizeof switches / sizeof *switches; k++)
            if (strcmp(argv[i], switches[k].flag) == 0) {
                *(bool *)((char *)o + switches[k].offset) = true;
                is_switch = true;
            }
        if (is_switch)
            continue;
        if (n >= sizeof flag || strncmp(argv[i], "--", 2) != 0) {
            ok = option_error(argv[i], NULL, "unknown option; see telltale demo --help");
            continue;
        }
        memcpy(flag, argv[i], n);
        flag[n] = 0;
        const char *value = eq ? eq + 1 : i + 1 < argc ? argv[++i] : NULL;
        ok = (value ? option_take(o, flag, value)
                    : option_error(flag, NULL, "a value is missing")) &&
             ok;
    }
    return ok;
}

/* --- sending -------------------------------------------------------------------------------------------- */

static void count_rejected(struct demo_sender *s, struct bytes body)
{
    if (!body.size)
        return;
    Otlp__ExportTraceServiceResponse *r =
        otlp__export_trace_service_response__unpack(NULL, body.size, body.data);
    /* The three responses have the same shape on the wire. */
    if (r && r->partial_success && r->partial_success->rejected_spans > 0) {
        s->rejected += (uint64_t)r->partial_success->rejected_spans;
        if (!s->o->quiet)
            fprintf(stderr, "telltale demo: %lld rows refused: %s\n",
                    (long long)r->partial_success->rejected_spans,
                    r->partial_success->error_message);
    }
    if (r)
        otlp__export_trace_service_response__free_unpacked(r, NULL);
}

static void say_refused(const struct demo_sender *s, const char *url,
                        const struct http_client_response *r)
{
    fprintf(stderr, "telltale demo: %s answered %d%s: " BYTES_FMT "\n", url, r->status,
            r->status == 401 && !s->o->key ? " (an ingest key is needed: --key)" : "",
            BYTES_ARG(buf_bytes(&r->body)));
}

/* Sends until it is taken; false when the receiver refused it for good or was away for too long. */
static bool send_body(struct demo_sender *s, const char *path)
{
    char url[512], authorization[512];
    const char *headers[3] = {"Content-Type: application/x-protobuf", NULL, NULL};
    int64_t began = clock_mono_ns(), pause_ms = 250;
    bool said = false;
    size_t n = strlen(s->o->endpoint);
    if (!s->body.size)
        return true;
    if (!buf_ok(&s->body)) {
        fprintf(stderr, "telltale demo: out of memory\n");
        return false;
    }
    while (n && s->o->endpoint[n - 1] == '/')
        n--;
    snprintf(url, sizeof url, "%.*s%s", (int)n, s->o->endpoint, path);
    if (s->o->key) {
        snprintf(authorization, sizeof authorization, "Authorization: Bearer %s", s->o->key);
        headers[1] = authorization;
    }
    struct http_client_request request = {.method = "POST",
                                          .url = url,
                                          .headers = headers,
                                          .body = buf_bytes(&s->body),
                                          .timeout_ms = 30000,
                                          .ca_file = s->o->ca_file,
                                          .insecure = s->o->insecure};
    for (;;) {
        struct http_client_response response = {0};
        struct err_msg msg = {""};
        int64_t wait_ms = pause_ms;
        bool again = true;
        enum err e = http_client_send(s->http, &request, &response, &msg);
        if (e == ERR_OK && response.status == 200) {
            count_rejected(s, buf_bytes(&response.body));
            buf_done(&response.body);
            s->bytes += s->body.size;
            s->posts++;
            buf_clear(&s->body);
            return true;
        }
        if (e == ERR_INVALID || (e == ERR_OK && response.status != 429 && response.status < 502))
            again = false;
        if (e == ERR_OK && response.retry_after_s > 0)
            wait_ms = response.retry_after_s * 1000;
        bool give_up = stopped || clock_mono_ns() - began > GIVE_UP_MS * INT64_C(1000000);
        if (!again || give_up) {
            if (e != ERR_OK && !stopped)
                fprintf(stderr, "telltale demo: %s: %s\n", url, msg.text);
            else if (e == ERR_OK)
                say_refused(s, url, &response);
            buf_done(&response.body);
            return false;
        }
        if (!said && !s->o->quiet) {
            said = true;
            fprintf(stderr, "telltale demo: %s: %s; trying again for a minute\n", url,
                    e != ERR_OK ? msg.text : "busy");
        }
        buf_done(&response.body);
        clock_sleep_ms(wait_ms);
        pause_ms = pause_ms < 4000 ? pause_ms * 2 : pause_ms;
    }
}

static bool send_signals(struct demo_sender *s, struct demo_gen *g)
{
    demo_gen_traces(g, &s->body);
    if (!send_body(s, "/v1/traces"))
        return false;
    demo_gen_logs(g, &s->body);
    return send_body(s, "/v1/logs");
}

static bool send_metrics(struct demo_sender *s, struct demo_gen *g, int64_t start_s, int64_t now_s)
{
    demo_gen_metrics(g, start_s, now_s, &s->body);
    return send_body(s, "/v1/metrics");
}

/* --- the run ---------------------------------------------------------------------------------------------- */

static void say_plan(const struct demo_options *o)
{
    char text[48];
    if (o->quiet)
        return;
    printf("Sending a synthetic LLM fleet to %s: 8 services, 11 models, 12 tenants, %g requests/s, "
           "seed %llu.\n",
           o->endpoint, o->gen.rate, (unsigned long long)o->gen.seed);
    if (o->history_ms) {
        clock_format_duration(o->history_ms, text);
        printf("First the past %s, as fast as it is taken.\n", text);
    }
    for (unsigned i = 0; i < o->gen.effects.count; i++) {
        const struct demo_effect *e = &o->gen.effects.list[i];
        char at[CLOCK_RFC3339_MAX];
        clock_rfc3339(o->gen.effects.live_ms + e->onset_ms, at);
        clock_format_duration(e->duration_ms, text);
        printf("%s %s from %s%s%s, severity %g: %s.\n",
               demo_effect_is_incident(e->kind) ? "Incident" : "Confounder (no incident)",
               demo_effect_text(e->kind), at, e->duration_ms ? " for " : "",
               e->duration_ms ? text : "", e->severity, demo_effect_help(e->kind));
    }
    fflush(stdout);
}

static void say_progress(const struct demo_sender *s, const struct demo_gen *g, int64_t began_ns,
                         const char *what)
{
    const struct demo_gen_totals *t = demo_gen_totals_of(g);
    double seconds = (double)(clock_mono_ns() - began_ns) / 1e9;
    if (s->o->quiet)
        return;
    printf("%s %llu requests (%llu failed), %llu spans (%.0f/s), %llu logs, %llu metric points, "
           "%.1f MB, %llu refused\n",
           what, (unsigned long long)t->requests, (unsigned long long)t->failed_requests,
           (unsigned long long)t->spans,
           (double)(t->spans - s->spans_before) / (seconds > 0.1 ? seconds : 0.1),
           (unsigned long long)t->logs, (unsigned long long)t->points, (double)s->bytes / 1e6,
           (unsigned long long)s->rejected);
    fflush(stdout);
}

static bool run_history(struct demo_sender *s, struct demo_gen *g, int64_t from_s, int64_t to_s)
{
    int64_t began = clock_mono_ns(), said = began, next_metrics = from_s;
    int64_t step = (int64_t)(HISTORY_STEP_REQUESTS / s->o->gen.rate);
    uint64_t sent_spans = 0;
    step = step < 1 ? 1 : step > 3600 ? 3600 : step;
    for (int64_t at = from_s; at < to_s && !stopped;) {
        int64_t end = at + step < to_s ? at + step : to_s;
        /* counters are read at their own times: a step never jumps over one */
        if (next_metrics > at && next_metrics < end)
            end = next_metrics;
        if (demo_gen_requests(g, at, end) != ERR_OK)
            return false;
        at = end;
        if (at >= next_metrics) {
            if (!send_metrics(s, g, from_s, at))
                return false;
            next_metrics = at + HISTORY_METRICS_EVERY_S;
        }
        const struct demo_gen_totals *t = demo_gen_totals_of(g);
        if (t->spans - sent_spans >= 2000 || at >= to_s) {
            sent_spans = t->spans;
            if (!send_signals(s, g))
                return false;
        }
        if (clock_mono_ns() - said > INT64_C(2000000000)) {
            char what[64];
            said = clock_mono_ns();
            snprintf(what, sizeof what,
                     "history %3.0f %%:", 100.0 * (double)(at - from_s) / (double)(to_s - from_s));
            say_progress(s, g, began, what);
        }
    }
    say_progress(s, g, began, "history done:");
    s->spans_before = demo_gen_totals_of(g)->spans;
    return true;
}

static bool run_live(struct demo_sender *s, struct demo_gen *g, int64_t start_s, int64_t from_s)
{
    int64_t began = clock_mono_ns(), said = began, at = from_s, next_metrics = from_s;
    while (!stopped) {
        int64_t now = clock_wall_ms() / 1000;
        if (now - at > 60) /* the receiver was away: the gap stays a gap */
            at = now - 60;
        if (now > at) {
            if (demo_gen_requests(g, at, now) != ERR_OK || !send_signals(s, g))
                return stopped;
            at = now;
            if (at >= next_metrics) {
                if (!send_metrics(s, g, start_s, at))
                    return stopped;
                next_metrics = at + METRICS_EVERY_S;
            }
        }
        if (s->o->once)
            break;
        int64_t ran_ms = (clock_mono_ns() - began) / 1000000;
        if (s->o->duration_ms && ran_ms >= s->o->duration_ms)
            break;
        if (clock_mono_ns() - said > INT64_C(5000000000)) {
            said = clock_mono_ns();
            say_progress(s, g, began, "live:");
        }
        clock_sleep_ms(1000 - clock_wall_ms() % 1000 + 5);
    }
    say_progress(s, g, began, "sent:");
    return true;
}

int demo_main(int argc, char **argv)
{
    struct demo_options o = {.endpoint = "http://127.0.0.1:4318",
                             .gen = {.seed = 1, .rate = 8, .diurnal = false}};
    struct demo_sender s = {.o = &o};
    if (!options_read(&o, argc, argv))
        return 2;
    if (o.help) {
        print_help();
        return 0;
    }
    int64_t now_s = clock_wall_ms() / 1000, from_s = now_s - 10;
    int64_t start_s = o.history_ms ? now_s - o.history_ms / 1000 + HISTORY_MARGIN_S : from_s;
    if (start_s > from_s)
        start_s = from_s;
    o.gen.effects.live_ms = now_s * 1000;
    o.gen.diurnal = o.history_ms > 0;
    if (o.history_ms && !o.rate_given) {
        double fits = HISTORY_REQUESTS / ((double)o.history_ms / 1000);
        o.gen.rate = fits < o.gen.rate ? fits : o.gen.rate;
    }
    struct demo_gen *g = demo_gen_new(&o.gen);
    s.http = http_client_new();
    buf_init(&s.body, 0);
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    bool ok = g && s.http;
    if (ok) {
        say_plan(&o);
        if (o.history_ms)
            ok = run_history(&s, g, start_s, from_s);
        ok = ok && (stopped || run_live(&s, g, start_s, from_s));
    } else
        fprintf(stderr, "telltale demo: out of memory\n");
    buf_done(&s.body);
    http_client_free(s.http);
    demo_gen_free(g);
    return ok || stopped ? 0 : 1;
}
