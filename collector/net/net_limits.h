/* Every limit of the network front, with its reason. */
#ifndef COLLECTOR_NET_LIMITS_H
#define COLLECTOR_NET_LIMITS_H

#include <stddef.h>
#include <stdint.h>

enum {
    NET_LOOPS_DEFAULT = 2,
    NET_LOOPS_MAX = 64,
    NET_CONNECTIONS_DEFAULT = 20000, /* a door; an idle connection costs about 1 KiB */
    NET_READ_BUF = 64 * 1024, /* one a loop, shared by its connections */
    NET_PIPELINE_MAX = 64 * 1024, /* bytes kept while a reply is awaited; then reading stops */
    NET_HEAD_MAX =
        32 * 1024, /* all header bytes of a request: generous beside 8 KiB cookies and tokens */
    NET_HEADERS_MAX = 100,
    NET_URL_MAX = 16 * 1024, /* Grafana sends long queries by GET when POST is refused */
    NET_STREAMS_MAX = 128, /* HTTP/2 requests at once on a connection; gRPC clients multiplex */
    NET_H2_WINDOW = 1 << 20, /* a stream; one export batch of 8,192 spans is ~4 MiB */
    NET_H2_CONN_WINDOW = 8 << 20,
    NET_H2_HEADER_TABLE = 4096,
    NET_H2_CONTROL_BURST =
        1000, /* PING, SETTINGS, PRIORITY, RST_STREAM, empty DATA in a burst ... */
    NET_H2_CONTROL_RATE = 100, /* ... and a second after it, before GOAWAY */
    NET_H2_RESETS_BURST = 200, /* streams the client resets (rapid reset) */
    NET_H2_RESETS_RATE = 20,
    NET_OUT_HIGH = 256 * 1024, /* HTTP/2 frames are made only below this backlog */
    NET_STREAM_QUEUE = 256 * 1024, /* Server-Sent Events waiting for a slow reader */
    NET_ACCEPT_BURST = 64,
    NET_TICK_MS = 100, /* timer wheel */
    NET_WHEEL_SLOTS = 1024,
    NET_ROUTES_MAX = 512,
    NET_PARAMS_MAX = 4,
    NET_TLS_WATCH_MS = 5000,
};
#define NET_BODY_MAX_DEFAULT ((size_t)64 << 20) /* OTLP's recommendation */
#define NET_BODY_BYTES_DEFAULT ((size_t)512 << 20)
#define NET_ARENA_MAX ((size_t)64 << 20)

_Static_assert(NET_PIPELINE_MAX >= NET_READ_BUF, "one read must fit");

#endif
