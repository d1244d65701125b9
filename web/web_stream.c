#include "web/web_call.h"

#include "base/clock.h"
#include "base/stats.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

STATS_GAUGE(open_streams, "telltale_web_streams", "", "Open pages that are told of new data.");

struct web_streams {
    struct tsdb *db; /* immutable */
    pthread_t thread; /* role: stream */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    /* guarded by lock */
    struct net_stream *open[WEB_STREAMS_MAX];
    size_t count;
    bool stopping;
};

static void send_all(struct web_streams *s, struct bytes text)
{
    for (size_t i = 0; i < s->count;)
        if (net_stream_is_open(s->open[i]) && net_stream_send(s->open[i], text) == ERR_OK) {
            i++;
        } else {
            net_stream_end(s->open[i]);
            s->open[i] = s->open[--s->count];
        }
    stats_set(&open_streams, (int64_t)s->count);
}

/* Waits for stop or the next tick; monotonic, so a jump of the wall clock stalls nobody. */
static void wait_tick(struct web_streams *s)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += WEB_STREAM_TICK_MS / 1000;
    while (!s->stopping && pthread_cond_timedwait(&s->wake, &s->lock, &until) != ETIMEDOUT) {
    }
}

static void *stream_main(void *ctx)
{
    struct web_streams *s = ctx;
    uint64_t seen = tsdb_committed_seq(s->db);
    int64_t alive_ns = clock_mono_ns();
    pthread_mutex_lock(&s->lock);
    while (!s->stopping) {
        wait_tick(s);
        uint64_t seq = tsdb_committed_seq(s->db);
        char text[96];
        if (s->stopping)
            break;
        if (seq != seen) {
            int n =
                snprintf(text, sizeof text, "event: tick\ndata: {\"seq\":%llu,\"now_ms\":%lld}\n\n",
                         (unsigned long long)seq, (long long)clock_wall_ms());
            send_all(s, bytes_of(text, (size_t)n));
            seen = seq;
            alive_ns = clock_mono_ns();
        } else if (clock_mono_ns() - alive_ns > WEB_STREAM_ALIVE_MS * INT64_C(1000000)) {
            send_all(s, BYTES_LIT(": alive\n\n"));
            alive_ns = clock_mono_ns();
        }
    }
    for (size_t i = 0; i < s->count; i++)
        net_stream_end(s->open[i]);
    s->count = 0;
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

struct web_streams *web_stream_new(struct tsdb *db)
{
    struct web_streams *s = calloc(1, sizeof *s);
    pthread_condattr_t monotonic;
    if (!s)
        return NULL;
    s->db = db;
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&s->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (pthread_create(&s->thread, NULL, stream_main, s) != 0) {
        free(s);
        return NULL;
    }
    pthread_setname_np(s->thread, "stream");
    return s;
}

void web_stream_stop(struct web_streams *s)
{
    pthread_mutex_lock(&s->lock);
    bool first = !s->stopping;
    s->stopping = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
    if (first)
        pthread_join(s->thread, NULL);
}

void web_stream_free(struct web_streams *s)
{
    if (!s)
        return;
    web_stream_stop(s);
    pthread_cond_destroy(&s->wake);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static void open_stream(void *ctx, struct net_request *req)
{
    struct web_streams *s = ((struct web *)ctx)->streams;
    static const struct net_header headers[] = {
        WEB_CALL_SAFE_HEADERS, {"Cache-Control", "no-store"}, {"X-Accel-Buffering", "no"}};
    pthread_mutex_lock(&s->lock);
    if (s->stopping || s->count == WEB_STREAMS_MAX) {
        pthread_mutex_unlock(&s->lock);
        net_reply_err(req, ERR_UNAVAILABLE, "too many pages are open", 10);
        return;
    }
    struct net_stream *stream =
        net_stream_begin(req, &(struct net_response){.status = 200,
                                                     .content_type = "text/event-stream",
                                                     .headers = headers,
                                                     .header_count = 5,
                                                     .body = BYTES_LIT("retry: 2000\n\n")});
    if (stream) {
        s->open[s->count++] = stream;
        stats_set(&open_streams, (int64_t)s->count);
    }
    pthread_mutex_unlock(&s->lock);
}

enum err web_stream_routes(struct web *w, struct net *net)
{
    return net_route(net, &(struct net_route){.doors = NET_DOOR_MASK(NET_WEB),
                                              .method = "GET",
                                              .pattern = "/api/telltale/v1/stream",
                                              .handler = open_stream,
                                              .ctx = w,
                                              .body_max = WEB_BODY_MAX,
                                              .flags = NET_ROUTE_LOW});
}
