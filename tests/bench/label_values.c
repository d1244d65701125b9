/* The series index: its bytes for a series, and what it costs to say which values a label has, under matchers or without.
 *
 *   label_values [--series N] [--rounds N] [--dir DIR]       by hand: build/release/bench_label_values --series 200000
 *
 * Series as a fleet of LLM gateways exports them: tokens, requests, cost and latency histograms by model, tenant, endpoint and status. Asked
 * while they are in memory, then of a sealed and merged part: the first time, and again. Each answer is compared with what was made. Fails
 * when the index of the part takes more than 40 bytes a series.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "tsdb/files.h"
#include "tsdb/store.h"
#include "tsdb/tsdb_read.h"

#define T0_MS INT64_C(1795168800000) /* 2026-11-20T10:00:00Z */
#define ORG TSDB_ORG_DEFAULT
#define BYTES_A_SERIES_MAX 40.0
#define LABELS_MAX 10u

static const char *const models[] = {"gpt-4o",
                                     "gpt-4o-mini",
                                     "claude-sonnet-4",
                                     "gemini-2.5-pro",
                                     "meta-llama/Llama-3.3-70B-Instruct",
                                     "mistral-large-2411"};
static const char *const endpoints[] = {"/v1/chat/completions", "/v1/embeddings", "/v1/responses"};
static const char *const statuses[] = {"200", "429", "500", "504"};
static const char *const kinds[] = {"input", "output", "cached_input"};
static const char *const regions[] = {"us-east-1", "us-west-2", "eu-west-1", "ap-southeast-1"};
static const char *const les[] = {"0.01",  "0.02",  "0.04",  "0.08",  "0.16",
                                  "0.32",  "0.64",  "1.28",  "2.56",  "5.12",
                                  "10.24", "20.48", "40.96", "81.92", "+Inf"};
#define TENANTS 40u
#define TENANTS_A_TARGET 5u

struct run {
    struct tsdb *db;
    struct tsdb_batch *b;
    char instance[48];
    uint32_t target, series, targets;
};

static int64_t wall_ns(void)
{
    return (T0_MS + 60000) * 1000000;
}

static double now_us(void)
{
    return (double)clock_mono_ns() / 1000;
}

/* --- the series ---------------------------------------------------------------------------------- */

static void add(struct run *r, const char *name, const char *const *more)
{
    struct tsdb_label l[LABELS_MAX] = {{BYTES_LIT("__name__"), bytes_str(name)},
                                       {BYTES_LIT("job"), BYTES_LIT("llm-gateway")},
                                       {BYTES_LIT("instance"), bytes_str(r->instance)}};
    size_t n = 3;
    for (; *more; more += 2)
        l[n++] = (struct tsdb_label){bytes_str(more[0]), bytes_str(more[1])};
    struct tsdb_labels labels;
    struct tsdb_ref ref;
    CHECK(tsdb_labels_build(l, n, r->b->arena, &labels, NULL) == ERR_OK);
    CHECK(tsdb_registry_ref(tsdb_series(r->db), ORG, TSDB_SERIES_SAMPLES, labels, &ref) == ERR_OK);
    CHECK(tsdb_batch_add_sample(r->b, ref, T0_MS, r->series++ % 97, 0));
}

static void add_histogram(struct run *r, const char *name, const char *model, const char *endpoint)
{
    char text[96];
    const char *more[] = {"model", model, "endpoint", endpoint, "le", NULL, NULL};
    for (size_t i = 0; i < ARRAY_LEN(les); i++) {
        snprintf(text, sizeof(text), "%s_bucket", name);
        more[5] = les[i];
        add(r, text, more);
    }
    more[4] = NULL;
    snprintf(text, sizeof(text), "%s_sum", name);
    add(r, text, more);
    snprintf(text, sizeof(text), "%s_count", name);
    add(r, text, more);
}

static void add_model(struct run *r, const char *model)
{
    char tenant[16];
    for (uint32_t t = 0; t < TENANTS_A_TARGET; t++) {
        snprintf(tenant, sizeof(tenant), "tenant-%02u", (r->target * 7 + t * t * 3) % TENANTS);
        for (size_t k = 0; k < ARRAY_LEN(kinds); k++)
            add(r, "gen_ai_client_token_usage_total",
                (const char *[]){"model", model, "tenant", tenant, "token_type", kinds[k], NULL});
        add(r, "llm_cost_usd_total", (const char *[]){"model", model, "tenant", tenant, NULL});
    }
    for (size_t e = 0; e < ARRAY_LEN(endpoints); e++) {
        for (size_t s = 0; s < ARRAY_LEN(statuses); s++)
            add(r, "llm_requests_total",
                (const char *[]){"model", model, "endpoint", endpoints[e], "status", statuses[s],
                                 NULL});
        add_histogram(r, "gen_ai_client_operation_duration_seconds", model, endpoints[e]);
    }
}

static void append_target(struct run *r)
{
    struct tsdb_result result;
    CHECK(r->b = tsdb_batch_new(ORG, TSDB_SAMPLES, 64u << 20));
    snprintf(r->instance, sizeof(r->instance), "gw-%s-%04x:9464", regions[r->target % 4],
             (unsigned)(r->target * 40503u & 0xffff));
    for (size_t m = 0; m < ARRAY_LEN(models); m++)
        add_model(r, models[m]);
    add(r, "process_cpu_seconds_total", (const char *[]){NULL});
    add(r, "process_resident_memory_bytes", (const char *[]){NULL});
    r->b->received = r->b->samples.count;
    r->b->received_ns = clock_wall_ns();
    CHECK(tsdb_append_wait(r->db, r->b, &result) == ERR_OK);
    r->target++;
}

/* --- questions ----------------------------------------------------------------------------------- */

static bool is_long_model(void *ctx, struct bytes value)
{
    (void)ctx;
    return value.size > 12;
}

#define EQ(name, value)                                              \
    {                                                                \
        TSDB_MATCH_EQ, BYTES_LIT(name), BYTES_LIT(value), NULL, NULL \
    }

static const struct question {
    const char *text, *label;
    struct tsdb_matcher m[2];
    size_t n;
    uint32_t values; /* how many there are; 0: one a target */
} questions[] = {
    {"label_values(__name__)", "__name__", {{0}}, 0, 8},
    {"label_values(instance)", "instance", {{0}}, 0, 0},
    {"label_values(llm_requests_total, model)",
     "model",
     {EQ("__name__", "llm_requests_total")},
     1,
     ARRAY_LEN(models)},
    {"label_values(gen_ai_client_operation_duration_seconds_bucket, le)",
     "le",
     {EQ("__name__", "gen_ai_client_operation_duration_seconds_bucket")},
     1,
     ARRAY_LEN(les)},
    {"label_values(llm_cost_usd_total{model=\"gpt-4o\"}, tenant)",
     "tenant",
     {EQ("__name__", "llm_cost_usd_total"), EQ("model", "gpt-4o")},
     2,
     TENANTS},
    {"label_values({model=\"gpt-4o\"}, instance)", "instance", {EQ("model", "gpt-4o")}, 1, 0},
    {"label_values({model=~\".{13,}\"}, endpoint)",
     "endpoint",
     {{TSDB_MATCH_RE, BYTES_LIT("model"), BYTES_LIT(".{13,}"), is_long_model, NULL}},
     1,
     ARRAY_LEN(endpoints)},
};

static double ask(const struct run *r, const struct question *q)
{
    struct tsdb_view *v;
    struct arena *a = arena_new(0);
    struct bytes *values;
    size_t n;
    double begin = now_us();
    CHECK(a && tsdb_view_open(r->db, ORG, NULL, &v) == ERR_OK);
    CHECK(tsdb_label_values(v, bytes_str(q->label), q->m, q->n, T0_MS - 60000, T0_MS + 60000, a,
                            &values, &n) == ERR_OK);
    double took = now_us() - begin;
    tsdb_view_close(v);
    arena_free(a);
    uint32_t want = q->values ? q->values : r->targets;
    if (n != want && r->targets >= TENANTS) {
        fprintf(stderr, "%s: %zu values, not %u\n", q->text, n, want);
        exit(1);
    }
    return took;
}

static void ask_all(const struct run *r, const char *where, unsigned rounds)
{
    for (size_t i = 0; i < ARRAY_LEN(questions); i++) {
        double first = ask(r, &questions[i]), best = 1e18;
        for (unsigned k = 0; k < rounds; k++) {
            double took = ask(r, &questions[i]);
            best = MIN(best, took);
        }
        printf("%-6s %-68s %9.0f us first, %8.0f us again\n", where, questions[i].text, first,
               best);
    }
}

/* Bytes of the blocks that are the index, by series in them. */
static double index_bytes(struct tsdb *db, uint32_t series)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < db->part_count; i++) {
        struct part_snapshot *s = part_snapshot_new(db->parts[i], UINT64_MAX);
        size_t n = 0;
        CHECK(s);
        const struct block_meta *m = part_snapshot_blocks(s, &n);
        for (size_t k = 0; k < n; k++)
            bytes += m[k].key.kind == BLOCK_INDEX ? m[k].size : 0;
        part_snapshot_release(s);
    }
    return (double)bytes / series;
}

int main(int argc, char **argv)
{
    uint32_t want = 30000;
    unsigned rounds = 2;
    const char *parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    char dir[256];
    struct run r = {.series = 0};
    struct err_msg msg = {""};
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--series") == 0)
            want = (uint32_t)strtoul(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--rounds") == 0)
            rounds = (unsigned)strtoul(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--dir") == 0)
            parent = argv[i + 1];
    }
    snprintf(dir, sizeof(dir), "%s/telltale-index-XXXXXX", parent);
    if (!mkdtemp(dir))
        return 2;
    log_set_level(LOG_LEVEL_ERROR);
    clock_test_set_wall(wall_ns);
    struct tsdb_options o = {.dir = dir, .memory_limit_bytes = 2ull << 30};
    CHECK(tsdb_open(&o, &r.db, &msg) == ERR_OK);
    while (r.series < want)
        append_target(&r);
    r.targets = r.target;
    printf("%u series of %u targets\n", r.series, r.targets);
    ask_all(&r, "head", rounds);
    CHECK(tsdb_flush(r.db, true, &msg) == ERR_OK);
    ask_all(&r, "part", rounds);
    double bytes = index_bytes(r.db, r.series);
    printf("index: %.1f bytes a series\n", bytes);
    tsdb_close(r.db, false);
    files_remove_tree(dir);
    return bytes > 0 && bytes <= BYTES_A_SERIES_MAX ? 0 : 1;
}
