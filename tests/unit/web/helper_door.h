/* A store with the web door in front of it, to be asked over HTTP. It is an hour past ROWS_T0_NS.
 * Owner: door_open / door_close.  Thread: the test's.  Failure: the test fails.
 */
#ifndef HELPER_DOOR_H
#define HELPER_DOOR_H

#include "base/http_client.h"
#include "collector/otlp/otlp.h"
#include "web/web.h"
#include "web/web_prom.h"

struct door {
    char dir[64];
    struct tsdb *db;
    struct web *web;
    struct web_prom *prom;
    struct net *net;
    struct http_client *client;
    unsigned port;
    struct buf answer; /* of the last question */
};

struct door *door_open(void);
void door_close(struct door *d);
/* The answer lives until the next question. accept NULL: any. Another status than this fails the test. */
struct bytes door_ask_as(struct door *d, const char *path, const char *accept, int status);
struct bytes door_ask(struct door *d, const char *path, int status);
/* pathNAME=VALUE with the value escaped; the path ends in ? or &. */
struct bytes door_ask_with(struct door *d, const char *path, const char *name, const char *value,
                           int status);
/* A request's body as rows. */
struct tsdb_batch *door_decoded(struct bytes body, enum tsdb_signal signal,
                                enum otlp_encoding encoding);

#endif
