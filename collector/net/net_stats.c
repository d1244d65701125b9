#include "collector/net/net_stats.h"
#include "base/stats.h"

static struct stats_value refused[NET_REFUSED_COUNT] = {
#define X(id, reason)                                                                 \
    {"telltale_net_refused_total",                                                    \
     "reason=\"" reason "\"",                                                         \
     "Connections and requests that the network front refused or cut off, by reason", \
     STATS_KIND_COUNTER,                                                              \
     0,                                                                               \
     NULL},
    NET_REFUSED_TABLE(X)
#undef X
};

static struct stats_value counted[NET_COUNTED_COUNT] = {
    {"telltale_net_bytes_total", "direction=\"in\"", "Bytes on the wire", STATS_KIND_COUNTER, 0,
     NULL},
    {"telltale_net_bytes_total", "direction=\"out\"", "Bytes on the wire", STATS_KIND_COUNTER, 0,
     NULL},
    {"telltale_net_accepted_total", "", "Connections accepted", STATS_KIND_COUNTER, 0, NULL},
    {"telltale_net_requests_total", "", "Requests with complete headers", STATS_KIND_COUNTER, 0,
     NULL},
    {"telltale_net_connections", "", "Connections open now", STATS_KIND_GAUGE, 0, NULL},
    {"telltale_net_body_bytes", "", "Memory of request bodies in flight", STATS_KIND_GAUGE, 0,
     NULL},
    {"telltale_net_replies_discarded_total", "", "Replies whose client had left",
     STATS_KIND_COUNTER, 0, NULL},
    {"telltale_net_reads_paused_total", "", "Reads paused because body memory was short",
     STATS_KIND_COUNTER, 0, NULL},
    {"telltale_net_tls_reloads_total", "result=\"ok\"", "Certificate reloads", STATS_KIND_COUNTER,
     0, NULL},
    {"telltale_net_tls_reloads_total", "result=\"failed\"", "Certificate reloads",
     STATS_KIND_COUNTER, 0, NULL},
};

__attribute__((constructor)) static void net_stats_register_all(void)
{
    for (unsigned i = 0; i < NET_REFUSED_COUNT; i++)
        stats_register(&refused[i]);
    for (unsigned i = 0; i < NET_COUNTED_COUNT; i++)
        stats_register(&counted[i]);
}

void net_stats_refused(enum net_refused reason)
{
    stats_add(&refused[reason], 1);
}

int64_t net_stats_refused_count(enum net_refused reason)
{
    return stats_get(&refused[reason]);
}

void net_stats_add(enum net_counted what, int64_t n)
{
    stats_add(&counted[what], n);
}

int64_t net_stats_count(enum net_counted what)
{
    return stats_get(&counted[what]);
}
