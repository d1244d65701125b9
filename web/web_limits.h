/* Every limit of the web door, with its reason. */
#ifndef WEB_WEB_LIMITS_H
#define WEB_WEB_LIMITS_H

enum {
    WEB_THREADS_DEFAULT = 2,
    WEB_QUEUE_MAX = 256, /* questions waiting for a thread; past it 503, a page asks again anyway */
    WEB_TIMEOUT_MS = 30000,
    WEB_STREAMS_MAX = 256, /* open pages */
    WEB_STREAM_TICK_MS = 2000, /* a page redraws no faster */
    WEB_STREAM_ALIVE_MS = 15000, /* a comment, so that proxies keep the connection */
    WEB_TAILS_MAX = 32, /* each looks at every new log record */
    WEB_TAIL_TICK_MS = 250, /* new records are shown no later */
    WEB_TAIL_ROW_MAX = 64 * 1024, /* bytes of one record; larger ones are left out of tails */
    WEB_TAIL_ROWS_MAX = 500, /* records of one tick; nobody reads more */
    WEB_TAIL_WAITING_MAX = 128 * 1024, /* bytes that wait for a reader: half of what would end it */
    WEB_BODY_MAX = 64 * 1024, /* our own JSON bodies are small */
    WEB_ANSWER_MAX = 64 << 20, /* bytes of one answer */
    WEB_ACCOUNTS_MAX = 4096,
    WEB_POINTS_MAX = 120, /* points of a picture: one every few pixels of a phone */
    WEB_MODELS_MAX = 7, /* lines that can be told apart; the rest is one more */
    WEB_RANGE_MINUTES_MAX = 45 * 24 * 60,
};
#define WEB_TRACE_BYTES_MAX ((size_t)256 << 20) /* one trace as columns, about 1 KB a span */

#endif
