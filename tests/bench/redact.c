/* What looking for sensitive data costs, a span: the stage without it, the stage with it, and the looking alone.
 *
 *   redact [--rounds N] [--frames FILE]         by hand: --rounds 20 --frames DIR/otlp_spans.frames
 * FILE: requests as bench_frames.h has them. Without one: 2,000 seeded spans of about 700 bytes, as an agent, a gateway and an engine send them:
 * a tenth with 3 kB of prompt and 700 bytes of answer, ids, a local client address; nothing that is to be found.
 * Each round decodes everything anew, since the stage adds to batches. Processor time of this thread, the best round of each.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "bench_frames.h"
#include "collector/redact/redact.h"

#define REQUESTS 8u
#define PER_REQUEST 250u
#define BATCHES_MAX 4096u

static uint64_t seed = 7;
static uint32_t rnd(uint32_t below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)((seed >> 16) % below);
}

static struct bytes bodies[BATCHES_MAX];
static size_t body_count;

/* --- own spans ---------------------------------------------------------------------------------------- */

PRINTF_LIKE(2, 3) static struct bytes keep(struct arena *a, const char *fmt, ...)
{
    char text[8192];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return arena_copy(a, bytes_of(text, (size_t)n));
}

static struct bytes words(struct arena *a, size_t size)
{
    static const char *const list[] = {"model", "tokens", "answer", "please", "the",  "of",
                                       "which", "gpt-4o", "order",  "number", "with", "a"};
    char text[8192];
    size_t n = 0;
    while (n < size)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s ", list[rnd(ARRAY_LEN(list))]);
    return arena_copy(a, bytes_of(text, n));
}

static void put(struct buf *b, const char *key, struct bytes value)
{
    tsdb_attrs_put_str(b, bytes_str(key), value);
}

static void put_id(struct buf *b, const char *key, const char *prefix)
{
    static const char alnum[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    char text[64];
    size_t n = strlen(prefix);
    memcpy(text, prefix, n);
    while (n < 38)
        text[n++] = alnum[rnd(62)];
    put(b, key, bytes_of(text, n));
}

static struct tsdb_batch *own_batch(void)
{
    struct tsdb_batch *b = tsdb_batch_new(1, TSDB_SPANS, 0);
    struct buf attrs = {0};
    CHECK(b);
    put(&attrs, "service.name", BYTES_LIT("agent"));
    put(&attrs, "k8s.pod.name", BYTES_LIT("agent-7c9d8b6f5-0a1b2"));
    put(&attrs, "telemetry.sdk.version", BYTES_LIT("1.29.0"));
    struct bytes resource = arena_copy(b->arena, buf_bytes(&attrs));
    struct bytes name = keep(b->arena, "chat gpt-4o"), service = keep(b->arena, "agent");
    for (uint32_t i = 0; i < PER_REQUEST; i++) {
        uint32_t row = tsdb_batch_add_span(b);
        struct tsdb_spans *s = &b->spans;
        buf_clear(&attrs);
        put(&attrs, "gen_ai.operation.name", BYTES_LIT("chat"));
        put(&attrs, "gen_ai.provider.name", BYTES_LIT("openai"));
        put(&attrs, "gen_ai.request.model", BYTES_LIT("gpt-4o"));
        put(&attrs, "gen_ai.response.model", BYTES_LIT("gpt-4o-2024-11-20"));
        put_id(&attrs, "gen_ai.response.id", "chatcmpl-");
        put_id(&attrs, "gen_ai.conversation.id", "conv_");
        tsdb_attrs_put_i64(&attrs, BYTES_LIT("gen_ai.usage.input_tokens"), rnd(4000));
        tsdb_attrs_put_i64(&attrs, BYTES_LIT("gen_ai.usage.output_tokens"), rnd(900));
        put(&attrs, "server.address", BYTES_LIT("api.openai.com"));
        put(&attrs, "user_agent.original", BYTES_LIT("openai-python/1.58.1"));
        put(&attrs, "tenant.id", BYTES_LIT("tenant-017"));
        if (i % 3 == 0)
            put(&attrs, "client.address", keep(b->arena, "10.1.%u.%u", rnd(256), rnd(256)));
        if (i % 10 == 0) {
            put(&attrs, "gen_ai.input.messages", words(b->arena, 3000));
            put(&attrs, "gen_ai.output.messages", words(b->arena, 700));
        }
        bytes_put_u64le(s->trace_id[row].b, seed);
        bytes_put_u64le(s->span_id[row].b, seed + i);
        s->start_ns[row] = clock_wall_ns() - 1000000;
        s->end_ns[row] = clock_wall_ns();
        s->name[row] = name;
        s->service[row] = service;
        s->resource_attrs[row] = resource;
        s->attrs[row] = arena_copy(b->arena, buf_bytes(&attrs));
    }
    buf_done(&attrs);
    return b;
}

/* --- requests of a file ----------------------------------------------------------------------------------- */

static void read_frames(const char *path)
{
    FILE *f = fopen(path, "rb");
    uint8_t head[16];
    if (!f)
        bench_fail("no file %s", path);
    while (body_count < BATCHES_MAX && fread(head, sizeof head, 1, f) == 1) {
        size_t size = bytes_u32le(head);
        uint8_t *body = malloc(size + 1);
        if (!body || fread(body, 1, size, f) != size)
            bench_fail("%s ends in the middle of a request", path);
        bodies[body_count++] = bytes_of(body, size);
    }
    fclose(f);
}

static struct tsdb_batch *decoded(struct bytes body, struct tsdb_registry *series)
{
    struct otlp_decode_options o = {
        .org = 1, .signal = TSDB_SPANS, .series = series, .now_ns = clock_wall_ns()};
    uint8_t *copy = malloc(body.size + 1);
    struct tsdb_batch *b;
    struct err_msg msg = {""};
    CHECK(copy);
    memcpy(copy, body.data, body.size);
    if (otlp_decode(&o, copy, body.size, &b, &msg) != ERR_OK)
        bench_fail("decode: %s", msg.text);
    return b;
}

/* --- the measurement --------------------------------------------------------------------------------------- */

struct sums {
    double ns;
    uint64_t spans, bytes, findings, cells;
};

static struct tsdb_batch *next_batch(size_t i, struct tsdb_registry *series)
{
    return body_count ? decoded(bodies[i], series) : own_batch();
}

static void measure_stage(struct stage *stage, struct tsdb_registry *series, struct sums *out)
{
    size_t n = body_count ? body_count : REQUESTS;
    struct err_msg msg;
    *out = (struct sums){0};
    for (size_t i = 0; i < n; i++) {
        struct tsdb_batch *b = next_batch(i, series);
        double begin = bench_cpu_ms();
        CHECK(stage_apply(stage, b, &msg) == ERR_OK);
        out->ns += (bench_cpu_ms() - begin) * 1e6;
        out->spans += b->spans.count;
        out->cells += b->cells.count;
        tsdb_batch_free(b);
    }
}

static void measure_alone(struct redact_scan *scan, struct tsdb_registry *series, struct sums *out)
{
    size_t n = body_count ? body_count : REQUESTS;
    *out = (struct sums){0};
    for (size_t i = 0; i < n; i++) {
        struct tsdb_batch *b = next_batch(i, series);
        struct redact_found found;
        double begin = bench_cpu_ms();
        redact_batch(scan, b);
        for (uint32_t row = 0; row < b->spans.count; row++) {
            CHECK(redact_span(scan, b, row, &found));
            out->findings += found.count;
        }
        out->ns += (bench_cpu_ms() - begin) * 1e6;
        for (uint32_t row = 0; row < b->spans.count; row++)
            out->bytes += b->spans.attrs[row].size + b->spans.events[row].size;
        out->spans += b->spans.count;
        tsdb_batch_free(b);
    }
}

static void best(struct sums *best_of, const struct sums *one)
{
    if (!best_of->spans || one->ns < best_of->ns)
        *best_of = *one;
}

int main(int argc, char **argv)
{
    unsigned rounds = 2;
    struct redact *rules;
    struct stage *stages[2];
    struct buf errors = {0};
    struct err_msg msg;
    struct sums result[3] = {{0}}, one;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--rounds") == 0)
            rounds = (unsigned)atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--frames") == 0)
            read_frames(argv[i + 1]);
    }
    struct tsdb_registry *series = tsdb_registry_new(0);
    CHECK(series && redact_new(NULL, &rules, &errors) == ERR_OK);
    for (int i = 0; i < 2; i++) {
        struct stage_options o = {0};
        CHECK(stage_new(&o, &stages[i], &msg) == ERR_OK);
        stage_set_series(stages[i], series);
    }
    stage_set_redact(stages[1], rules);
    struct redact_scan *scan = redact_scan_new(rules);
    CHECK(scan);
    for (unsigned r = 0; r < rounds; r++) {
        for (int i = 0; i < 2; i++) {
            measure_stage(stages[i], series, &one);
            best(&result[i], &one);
        }
        measure_alone(scan, series, &one);
        best(&result[2], &one);
    }
    double spans = (double)result[2].spans;
    printf("%llu spans, %.0f bytes of attributes and events each, %u rounds\n",
           (unsigned long long)result[2].spans, (double)result[2].bytes / spans, rounds);
    printf(
        "stage without: %.0f ns a span (%llu cells)\nstage with:    %.0f ns a span (%llu cells)\n"
        "looking alone: %.0f ns a span, %llu rows' findings\n",
        result[0].ns / spans, (unsigned long long)result[0].cells, result[1].ns / spans,
        (unsigned long long)result[1].cells, result[2].ns / spans,
        (unsigned long long)result[2].findings);
    CHECK(body_count || result[2].findings == 0);
    redact_scan_free(scan);
    for (int i = 0; i < 2; i++)
        stage_free(stages[i]);
    redact_free(rules);
    tsdb_registry_free(series);
    for (size_t i = 0; i < body_count; i++)
        free((void *)(uintptr_t)bodies[i].data);
    buf_done(&errors);
    return 0;
}
