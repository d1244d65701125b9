/* Log records as they come in, to whoever keeps the connection open: Server-Sent Events, or lines of JSON for scripts.
 *
 *     data: {a log record}            {a log record}
 *     event: dropped                  {"dropped":12,"gaps":0}
 *     data: {"dropped":12,"gaps":0}
 *
 * A record is new when it is committed after the tail began, whatever time it bears. It is read from the head: what was sealed between two
 * looks (a quarter of a second) is a gap, which the reader is told of. A reader who is slower than the records is told how many it missed.
 */
#include "base/check.h"
#include "base/clock.h"
#include "base/stats.h"
#include "web/web_logs.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

STATS_GAUGE(open_tails, "telltale_web_tails", "", "Readers of new log records.");
#define ROWS "telltale_web_tail_rows_total"
#define ROWS_HELP "Log records that matched a tail, by what became of them."
STATS_COUNTER(rows_sent, ROWS, "result=\"sent\"", ROWS_HELP)
STATS_COUNTER(rows_dropped, ROWS, "result=\"dropped\"", ROWS_HELP)

#define TOLD_MS 1000 /* how often a reader hears of drops */
#define LOOK_MS 5000 /* a look that takes longer is given up */

struct tail {
    struct net_stream *stream;
    struct arena *arena; /* texts of the question */
    struct web_logs_question q;
    uint32_t org;
    bool is_lines;
    uint64_t seq; /* what was committed up to it has been looked at */
    uint64_t dropped, gaps, told; /* told: of both together */
    int64_t told_ns, alive_ns;
    struct buf out, row; /* of one look */
    unsigned rows; /* of one look */
};

struct web_tails {
    struct tsdb *db; /* immutable */
    pthread_t thread; /* role: tail; only it takes tails off the list and looks into them */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    /* guarded by lock */
    struct tail *open[WEB_TAILS_MAX];
    size_t count;
    bool stopping;
};

static void tail_free(struct tail *t)
{
    if (t->stream)
        net_stream_end(t->stream);
    arena_free(t->arena);
    buf_done(&t->out);
    buf_done(&t->row);
    free(t);
}

/* --- one look ------------------------------------------------------------------------------------ */

static bool has_room(const struct tail *t)
{
    return t->rows < WEB_TAIL_ROWS_MAX &&
           net_stream_waiting(t->stream) + t->out.size + t->row.size < WEB_TAIL_WAITING_MAX;
}

static bool on_logs(void *ctx, const struct tsdb_logs *logs, const uint32_t *rows, uint32_t count)
{
    struct tail *t = ctx;
    for (uint32_t i = 0; i < count; i++) {
        buf_clear(&t->row);
        if (has_room(t)) {
            struct json_out j = json_out_to(&t->row);
            buf_str(&t->row, t->is_lines ? "" : "data: ");
            web_logs_row_json(&j, logs, rows[i]);
            buf_str(&t->row, t->is_lines ? "\n" : "\n\n");
        }
        if (!t->row.size || !buf_ok(&t->row) || !has_room(t)) {
            t->dropped++;
            stats_add(&rows_dropped, 1);
            continue;
        }
        t->rows++;
        stats_add(&rows_sent, 1);
        buf_bytes_append(&t->out, buf_bytes(&t->row));
    }
    return true;
}

static void tell_drops(struct tail *t, int64_t now_ns)
{
    if (t->dropped + t->gaps == t->told || now_ns - t->told_ns < TOLD_MS * INT64_C(1000000))
        return;
    buf_printf(&t->out, "%s{\"dropped\":%llu,\"gaps\":%llu}\n%s",
               t->is_lines ? "" : "event: dropped\ndata: ", (unsigned long long)t->dropped,
               (unsigned long long)t->gaps, t->is_lines ? "" : "\n");
    t->told = t->dropped + t->gaps;
    t->told_ns = now_ns;
}

static enum err look(struct web_tails *w, struct tail *t)
{
    struct tsdb_view *v;
    struct tsdb_read_limits limits = {.deadline_mono_ns =
                                          clock_mono_ns() + LOOK_MS * INT64_C(1000000)};
    struct tsdb_visit q = {.start_max_ns = INT64_MAX,
                           .service = t->q.f.service,
                           .severity_min = t->q.f.severity_min,
                           .more = &t->q.more,
                           .since_seq = t->seq,
                           .columns = (UINT64_C(1) << TSDB_LOG_COLUMN_COUNT) - 1,
                           .logs = on_logs,
                           .ctx = t};
    enum err e = tsdb_view_open(w->db, t->org, &limits, &v);
    if (e != ERR_OK)
        return e; /* the next look sees the same records */
    if (!tsdb_view_holds(v, t->seq))
        t->gaps++;
    uint64_t seq = tsdb_view_seq(v);
    e = tsdb_logs_visit(v, &q);
    if (e != ERR_OK)
        t->gaps++;
    t->seq = seq;
    tsdb_view_close(v);
    return ERR_OK;
}

/* false: the reader is gone. */
static bool serve(struct web_tails *w, struct tail *t, uint64_t committed)
{
    int64_t now_ns = clock_mono_ns();
    buf_clear(&t->out);
    t->rows = 0;
    if (!net_stream_is_open(t->stream))
        return false;
    if (committed != t->seq && look(w, t) != ERR_OK)
        return true;
    tell_drops(t, now_ns);
    if (!t->out.size && now_ns - t->alive_ns > WEB_STREAM_ALIVE_MS * INT64_C(1000000))
        buf_str(&t->out, t->is_lines ? "\n" : ": alive\n\n");
    if (!t->out.size)
        return true;
    t->alive_ns = now_ns;
    return buf_ok(&t->out) && net_stream_send(t->stream, buf_bytes(&t->out)) == ERR_OK;
}

/* --- the thread ---------------------------------------------------------------------------------- */

/* Waits for stop or the next tick; monotonic, so a jump of the wall clock stalls nobody. */
static void wait_tick(struct web_tails *w)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += WEB_TAIL_TICK_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    while (!w->stopping && pthread_cond_timedwait(&w->wake, &w->lock, &until) != ETIMEDOUT) {
    }
}

static void forget(struct web_tails *w, struct tail *t)
{
    pthread_mutex_lock(&w->lock);
    for (size_t i = 0; i < w->count; i++)
        if (w->open[i] == t)
            w->open[i--] = w->open[--w->count];
    stats_set(&open_tails, (int64_t)w->count);
    pthread_mutex_unlock(&w->lock);
    tail_free(t);
}

static void *tail_main(void *ctx)
{
    struct web_tails *w = ctx;
    pthread_mutex_lock(&w->lock);
    while (!w->stopping) {
        struct tail *now[WEB_TAILS_MAX];
        wait_tick(w);
        size_t n = w->stopping ? 0 : w->count;
        memcpy(now, w->open, n * sizeof(*now));
        pthread_mutex_unlock(&w->lock);
        for (size_t i = 0; i < n; i++)
            if (!serve(w, now[i], tsdb_committed_seq(w->db)))
                forget(w, now[i]);
        pthread_mutex_lock(&w->lock);
    }
    for (size_t i = 0; i < w->count; i++)
        tail_free(w->open[i]);
    w->count = 0;
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

struct web_tails *web_tail_new(struct tsdb *db)
{
    struct web_tails *w = calloc(1, sizeof *w);
    pthread_condattr_t monotonic;
    if (!w)
        return NULL;
    w->db = db;
    pthread_mutex_init(&w->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&w->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (pthread_create(&w->thread, NULL, tail_main, w) != 0) {
        free(w);
        return NULL;
    }
    pthread_setname_np(w->thread, "tail");
    return w;
}

void web_tail_stop(struct web_tails *w)
{
    pthread_mutex_lock(&w->lock);
    bool first = !w->stopping;
    w->stopping = true;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
    if (first)
        pthread_join(w->thread, NULL);
}

void web_tail_free(struct web_tails *w)
{
    if (!w)
        return;
    web_tail_stop(w);
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

/* --- the way in ---------------------------------------------------------------------------------- */

static enum err tail_of(struct web *w, struct net_request *req, struct tail **out,
                        struct err_msg *msg)
{
    struct web_call c = {.web = w, .req = req};
    struct tail *t = calloc(1, sizeof *t);
    if (!t || !(t->arena = arena_new(WEB_BODY_MAX))) {
        free(t);
        return ERR_NOMEM;
    }
    buf_init(&t->out, 2 * WEB_TAIL_WAITING_MAX);
    buf_init(&t->row, WEB_TAIL_ROW_MAX);
    enum err e = web_logs_read(&c, &t->q);
    if (e == ERR_OK && !web_logs_keep(&t->q, t->arena))
        e = ERR_NOMEM;
    if (e != ERR_OK) {
        *msg = c.msg;
        tail_free(t);
        return e;
    }
    struct bytes accept = net_request_header(req, "accept");
    t->is_lines = bytes_find(accept, BYTES_LIT("application/x-ndjson")) < accept.size;
    t->org = web_call_org(&c);
    t->seq = tsdb_committed_seq(w->opts.db);
    t->alive_ns = clock_mono_ns();
    *out = t;
    return ERR_OK;
}

static void open_tail(void *ctx, struct net_request *req)
{
    struct web *web = ctx;
    struct web_tails *w = web->tails;
    static const struct net_header headers[] = {
        WEB_CALL_SAFE_HEADERS, {"Cache-Control", "no-store"}, {"X-Accel-Buffering", "no"}};
    struct tail *t;
    struct err_msg msg = {""};
    enum err e = tail_of(web, req, &t, &msg);
    if (e != ERR_OK) {
        net_reply_err(req, e, msg.text[0] ? msg.text : err_text(e), 0);
        return;
    }
    pthread_mutex_lock(&w->lock);
    bool has_place = !w->stopping && w->count < WEB_TAILS_MAX;
    if (has_place)
        t->stream = net_stream_begin(
            req, &(struct net_response){
                     .status = 200,
                     .content_type = t->is_lines ? "application/x-ndjson" : "text/event-stream",
                     .headers = headers,
                     .header_count = ARRAY_LEN(headers),
                     .body = t->is_lines ? BYTES_LIT("\n") : BYTES_LIT("retry: 2000\n\n")});
    else
        net_reply_err(req, ERR_UNAVAILABLE, "too many tails are open", 10);
    if (t->stream) {
        w->open[w->count++] = t;
        stats_set(&open_tails, (int64_t)w->count);
    }
    bool is_open = t->stream != NULL;
    pthread_mutex_unlock(&w->lock);
    if (!is_open)
        tail_free(t);
}

enum err web_tail_routes(struct web *w, struct net *net)
{
    return net_route(net, &(struct net_route){.doors = NET_DOOR_MASK(NET_WEB),
                                              .method = "GET",
                                              .pattern = "/api/telltale/v1/logs/tail",
                                              .handler = open_tail,
                                              .ctx = w,
                                              .body_max = WEB_BODY_MAX,
                                              .flags = NET_ROUTE_LOW});
}
