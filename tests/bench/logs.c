/* Lines of logs: bytes on disk for each, and what it costs to find words in them.
 *
 *   logs [--lines N] [--dir DIR] [--seed N] [--print N]       by hand: --lines 1000000
 * A seeded workload of about 200 bytes a line, as OTLP requests through the decoder into the store, sealed and compacted:
 *   40 %  access logs: client address, route with ids, status, bytes, referer, user agent, time taken
 *   35 %  application logs: time, thread, logger, a sentence with ids and amounts; half of them with a random request id
 *    5 %  errors with the head of a stack
 *   20 %  JSON: time, level, message, a key with ids, shard, latency; half of them with a random trace id
 * Times are in microseconds, about 1,000 lines a second. Raw: the bytes of the bodies. On disk: every file of the parts, indexes included.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "base/clock.h"
#include "bench_frames.h"
#include "tsdb/tsdb_read.h"

#define T0_NS INT64_C(1795132800000000000) /* 2026-11-20T00:00:00Z */
#define PER_REQUEST 1000u
#define SERVICES 8u

static uint64_t seed = 1;
static uint64_t rnd64(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed * 0x2545f4914f6cdd1du;
}
static uint32_t rnd(uint32_t below)
{
    return (uint32_t)((rnd64() >> 32) * below >> 32);
}
/* Few are frequent. */
static uint32_t skewed(uint32_t below)
{
    double u = (double)(rnd64() >> 11) / 9007199254740992.0;
    return (uint32_t)((double)below * pow(u, 3));
}

static const char *const service[SERVICES] = {"edge",  "orders", "payments", "stock",
                                              "users", "search", "mailer",   "jobs"};
static const char *const routes[] = {"GET /api/v1/orders/%u",      "GET /api/v1/products/%u",
                                     "POST /api/v1/cart/%u/items", "GET /api/v1/users/%u/orders",
                                     "GET /static/js/app.%u.js",   "GET /search?q=shoes&page=%u",
                                     "PUT /api/v1/users/%u",       "POST /api/v1/checkout?cart=%u",
                                     "GET /img/p/%u-600x600.webp", "GET /healthz?n=%u"};
static const char *const agents[] = {
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) Version/17.5 Mobile/15E148",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:132.0) Gecko/20100101 Firefox/132.0",
    "okhttp/4.12.0",
    "shop-app/8.14.2 (Android 14; Pixel 8)",
    "curl/8.5.0",
    "kube-probe/1.30"};
static const char *const referers[] = {
    "-", "https://shop.example.com/", "https://shop.example.com/cart",
    "https://shop.example.com/search", "https://www.example.org/"};
static const unsigned statuses[] = {200, 200, 200, 200, 200, 200, 304, 201, 404, 302, 500, 429};

static void text_time(int64_t ns, char out[32])
{
    time_t s = (time_t)(ns / 1000000000);
    struct tm tm;
    gmtime_r(&s, &tm);
    size_t n = strftime(out, 32, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out + n, 32 - n, ".%03uZ", (unsigned)(ns / 1000000 % 1000));
}

static void access_line(struct buf *b, int64_t ns)
{
    char when[40], route[80];
    time_t s = (time_t)(ns / 1000000000);
    struct tm tm;
    uint32_t client = skewed(50000);
    gmtime_r(&s, &tm);
    strftime(when, sizeof(when), "%d/%b/%Y:%H:%M:%S +0000", &tm);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(route, sizeof(route), routes[skewed(ARRAY_LEN(routes))], skewed(900000) + 100000);
#pragma GCC diagnostic pop
    buf_printf(b, "10.%u.%u.%u - - [%s] \"%s HTTP/1.1\" %u %u \"%s\" \"%s\" rt=%u.%03u", client % 7,
               client / 251 % 251, client % 251, when, route, statuses[skewed(ARRAY_LEN(statuses))],
               200 + skewed(60000), referers[skewed(ARRAY_LEN(referers))],
               agents[skewed(ARRAY_LEN(agents))], skewed(3), rnd(1000));
}

static void app_line(struct buf *b, int64_t ns)
{
    char when[32];
    text_time(ns, when);
    buf_printf(b, "%s INFO  [http-nio-8080-exec-%u] ", when, 1 + rnd(40));
    switch (rnd(6)) {
    case 0:
        buf_printf(b,
                   "c.e.orders.OrderService - order %u accepted for customer %u: %u items, total "
                   "%u.%02u EUR, "
                   "warehouse %s, delivery in %u days",
                   88000000 + rnd(900000), 5000000 + skewed(400000), 1 + skewed(9), skewed(400),
                   rnd(100), rnd(2) ? "hamburg-2" : "lyon-1", 1 + rnd(5));
        break;
    case 1:
        buf_printf(b,
                   "c.e.payments.Gateway - charge ch_%u authorised by %s in %u ms, amount %u.%02u "
                   "EUR, attempt %u",
                   rnd(90000000), rnd(3) ? "stripe" : "adyen", 20 + skewed(900), skewed(400),
                   rnd(100), 1 + skewed(3));
        break;
    case 2:
        buf_printf(
            b,
            "c.e.stock.Reservations - reserved SKU-%06u x%u at shelf %c%02u for order %u, %u left",
            skewed(200000), 1 + skewed(4), 'A' + (int)rnd(20), rnd(60), 88000000 + rnd(900000),
            skewed(500));
        break;
    case 3:
        buf_printf(
            b, "c.e.users.Sessions - session of user %u renewed from 10.%u.%u.%u, expires in %u s",
            5000000 + skewed(400000), rnd(7), rnd(251), rnd(251), 1800 + rnd(60));
        break;
    case 4:
        buf_printf(b,
                   "c.e.search.Index - query \"%s\" took %u ms over %u shards, %u hits, cache %s",
                   referers[1 + skewed(4)], 2 + skewed(300), 8 + rnd(3), skewed(20000),
                   rnd(3) ? "hit" : "miss");
        break;
    default:
        buf_printf(b,
                   "o.s.jobs.Scheduler - job reindex-%u finished: %u rows in %u ms, next run at %s",
                   rnd(30), skewed(100000), 100 + skewed(30000), when);
    }
    if (rnd(2))
        buf_printf(b, " request_id=%016llx", (unsigned long long)rnd64());
}

static void error_line(struct buf *b, int64_t ns)
{
    char when[32];
    text_time(ns, when);
    buf_printf(b,
               "%s ERROR [http-nio-8080-exec-%u] c.e.%s.Client - java.net.SocketTimeoutException: "
               "Read timed out "
               "after %u ms calling http://10.0.%u.%u:8080/\n\tat "
               "java.base/java.net.SocketInputStream.read(Native "
               "Method)\n\tat c.e.%s.Client.call(Client.java:%u)",
               when, 1 + rnd(40), service[rnd(SERVICES)], 1000 * (1 + rnd(5)), rnd(4), rnd(251),
               service[rnd(SERVICES)], 40 + skewed(200));
}

static void json_line(struct buf *b, int64_t ns)
{
    static const char *const messages[] = {"cache miss", "cache hit", "lock acquired",
                                           "message consumed", "retry scheduled"};
    char when[32];
    text_time(ns, when);
    buf_printf(b,
               "{\"ts\":\"%s\",\"level\":\"%s\",\"msg\":\"%s\",\"key\":\"user:%u:cart\",\"shard\":%"
               "u,\"latency_us\":%u,"
               "\"region\":\"%s\",\"partition\":%u,\"offset\":%llu",
               when, skewed(10) ? "info" : "debug", messages[skewed(5)], 5000000 + skewed(400000),
               rnd(16), 40 + skewed(90000), rnd(4) ? "eu-west-1" : "eu-central-1", rnd(12),
               (unsigned long long)((ns - T0_NS) / 1000000 + 77120000 + rnd(40)));
    if (rnd(2))
        buf_printf(b, ",\"trace_id\":\"%016llx%016llx\"", (unsigned long long)rnd64(),
                   (unsigned long long)rnd64());
    buf_str(b, "}");
}

static uint8_t line(struct buf *b, uint32_t svc, int64_t ns)
{
    uint32_t kind = rnd(100);
    buf_clear(b);
    if (svc == 0 || kind < 32) {
        access_line(b, ns);
        return 9;
    }
    if (kind < 72)
        app_line(b, ns);
    else if (kind < 78)
        error_line(b, ns);
    else
        json_line(b, ns);
    return kind >= 72 && kind < 78 ? 17 : 9;
}

/* --- OTLP ---------------------------------------------------------------------------------------- */

static void field(struct buf *out, unsigned number, struct bytes b)
{
    buf_varint(out, number << 3 | 2);
    buf_lenbytes(out, b);
}

static void attribute(struct buf *out, unsigned number, const char *key, const char *value)
{
    struct buf kv = {0}, any = {0};
    field(&any, 1, bytes_str(value));
    field(&kv, 1, bytes_str(key));
    field(&kv, 2, buf_bytes(&any));
    field(out, number, buf_bytes(&kv));
    buf_done(&kv), buf_done(&any);
}

struct lines {
    uint64_t want, made, raw, timeouts, print;
};

/* One request of one service. */
static void request(struct lines *l, int64_t *ns, struct buf *out)
{
    struct buf text = {0}, record = {0}, any = {0}, scope = {0}, resource = {0}, logs = {0};
    uint32_t svc = skewed(SERVICES);
    char host[32];
    snprintf(host, sizeof(host), "%s-%u", service[svc], rnd(6));
    attribute(&resource, 1, "service.name", service[svc]);
    attribute(&resource, 1, "host.name", host);
    for (uint32_t i = 0; i < PER_REQUEST && l->made < l->want; i++, l->made++) {
        *ns += (int64_t)(1 + skewed(4000)) * 1000;
        uint8_t severity = line(&text, svc, *ns);
        l->raw += text.size;
        l->timeouts += severity == 17;
        if (l->made < l->print)
            printf("%.*s\n", (int)text.size, text.data);
        buf_clear(&record), buf_clear(&any);
        field(&any, 1, buf_bytes(&text));
        buf_u8(&record, 1 << 3 | 1);
        buf_u64(&record, (uint64_t)*ns);
        buf_u8(&record, 2 << 3);
        buf_varint(&record, severity);
        field(&record, 3, bytes_str(severity == 17 ? "ERROR" : "INFO"));
        field(&record, 5, buf_bytes(&any));
        field(&scope, 2, buf_bytes(&record));
    }
    field(&logs, 1, buf_bytes(&resource));
    field(&logs, 2, buf_bytes(&scope));
    buf_clear(out);
    field(out, 1, buf_bytes(&logs));
    if (!buf_ok(out) || !buf_ok(&logs) || !buf_ok(&scope))
        bench_fail("no memory");
    buf_done(&text), buf_done(&record), buf_done(&any), buf_done(&scope), buf_done(&resource);
    buf_done(&logs);
}

/* --- reading ------------------------------------------------------------------------------------- */

static uint64_t seen;
static bool see(void *ctx, const struct tsdb_logs *t, const uint32_t *rows, uint32_t n)
{
    (void)ctx, (void)t, (void)rows;
    seen += n;
    return true;
}

static void look_for(struct bench_store *s, const char *text, uint64_t want)
{
    struct tsdb_row_filter more = {.contains = bytes_str(text)};
    struct tsdb_visit q = {
        .start_max_ns = INT64_MAX, .more = &more, .columns = 1ull << TSDB_LOG_time_ns, .logs = see};
    struct tsdb_view *v;
    double begin = bench_cpu_ms();
    seen = 0;
    if (tsdb_view_open(s->db, TSDB_ORG_DEFAULT, NULL, &v) != ERR_OK ||
        tsdb_logs_visit(v, &q) != ERR_OK)
        bench_fail("the lines are not read");
    tsdb_view_close(v);
    printf("\"%s\": %llu lines, cpu %.1f ms\n", text, (unsigned long long)seen,
           bench_cpu_ms() - begin);
    if (want != UINT64_MAX && seen != want)
        bench_fail("it should be %llu lines", (unsigned long long)want);
}

int main(int argc, char **argv)
{
    static struct bench_store s;
    struct lines l = {.want = 20000};
    struct buf body = {0};
    const char *parent = "/tmp";
    int64_t ns = T0_NS;
    bool half = false; /* two generations, so that there is something to compact */
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--dir") == 0)
            parent = argv[i + 1];
        else if (strcmp(argv[i], "--lines") == 0)
            l.want = strtoull(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--seed") == 0)
            seed = strtoull(argv[i + 1], NULL, 10) | 1;
        else if (strcmp(argv[i], "--print") == 0)
            l.print = strtoull(argv[i + 1], NULL, 10);
    }
    bench_store_open(&s, NULL, parent);
    double begin = bench_now_ms();
    while (l.made < l.want) {
        request(&l, &ns, &body);
        bench_store_send(&s, buf_bytes(&body), TSDB_LOGS);
        struct err_msg msg;
        if (l.made >= l.want / 2 && !half && (half = true) &&
            tsdb_flush(s.db, false, &msg) != ERR_OK)
            bench_fail("flush: %s", msg.text);
    }
    bench_store_settle(&s);
    double each = (double)bench_store_disk_bytes(&s) / (double)l.made;
    printf("%llu lines of %.1f bytes: %.2f bytes a line on disk, %.4f of raw; %.1f s\n",
           (unsigned long long)l.made, (double)l.raw / (double)l.made, each,
           each * (double)l.made / (double)l.raw, (bench_now_ms() - begin) / 1e3);
    look_for(&s, "SocketTimeoutException", l.timeouts);
    look_for(&s, "order 88123", UINT64_MAX);
    look_for(&s, "no such words", 0);
    bench_store_close(&s);
    buf_done(&body);
    return 0;
}
