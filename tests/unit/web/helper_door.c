#include "web/helper_door.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "tsdb/files.h"
#include "tsdb/helper_rows.h"

static int64_t now_ns(void)
{
    return ROWS_T0_NS + INT64_C(3600000000000);
}

struct tsdb_batch *door_decoded(struct bytes body, enum tsdb_signal signal,
                                enum otlp_encoding encoding)
{
    struct otlp_decode_options o = {
        .org = TSDB_ORG_DEFAULT, .signal = signal, .encoding = encoding, .now_ns = now_ns()};
    struct err_msg msg = {""};
    struct tsdb_batch *b = NULL;
    uint8_t *copy = malloc(body.size + 1);
    assert_non_null(copy);
    memcpy(copy, body.data, body.size);
    enum err e = otlp_decode(&o, copy, body.size, &b, &msg);
    if (e != ERR_OK)
        fail_msg("decode: %s", msg.text);
    return b;
}

struct bytes door_ask_as(struct door *d, const char *path, const char *accept, int status)
{
    char url[2048], line[64];
    const char *headers[] = {line, NULL};
    struct http_client_response r;
    struct err_msg msg = {""};
    snprintf(line, sizeof line, "Accept: %s", accept ? accept : "*/*");
    snprintf(url, sizeof url, "http://127.0.0.1:%u%s", d->port, path);
    struct http_client_request req = {
        .method = "GET", .url = url, .response_max = 8 << 20, .headers = headers};
    assert_int_equal(http_client_send(d->client, &req, &r, &msg), ERR_OK);
    buf_done(&d->answer);
    d->answer = r.body;
    if (r.status != status)
        fail_msg("%s: %d: %.*s", path, r.status, (int)r.body.size, (const char *)r.body.data);
    return buf_bytes(&d->answer);
}

struct bytes door_ask(struct door *d, const char *path, int status)
{
    return door_ask_as(d, path, NULL, status);
}

struct bytes door_ask_with(struct door *d, const char *path, const char *name, const char *value,
                           int status)
{
    char full[1900];
    size_t n = (size_t)snprintf(full, sizeof full, "%s%s=", path, name);
    for (const char *p = value; *p && n + 4 < sizeof full; p++)
        n += (size_t)snprintf(full + n, sizeof full - n, "%%%02x", (unsigned char)*p);
    return door_ask(d, full, status);
}

struct door *door_open(void)
{
    struct door *d = calloc(1, sizeof *d);
    struct err_msg msg = {{0}};
    assert_non_null(d);
    clock_test_set_wall(now_ns);
    log_set_level(LOG_LEVEL_ERROR);
    snprintf(d->dir, sizeof d->dir, "/tmp/telltale-door-XXXXXX");
    assert_non_null(mkdtemp(d->dir));
    assert_int_equal(tsdb_open(&(struct tsdb_options){.dir = d->dir}, &d->db, &msg), ERR_OK);
    d->net = net_new(&(struct net_opts){.loops = 1});
    assert_int_equal(net_listen(d->net, NET_WEB, "127.0.0.1:0", &d->port, &msg), ERR_OK);
    d->web = web_new(&(struct web_opts){.db = d->db});
    assert_int_equal(web_routes(d->web, d->net), ERR_OK);
    d->prom = web_prom_new(&(struct web_prom_opts){.db = d->db});
    assert_int_equal(web_prom_routes(d->prom, d->net), ERR_OK);
    assert_int_equal(net_start(d->net, &msg), ERR_OK);
    d->client = http_client_new();
    return d;
}

void door_close(struct door *d)
{
    http_client_free(d->client);
    web_stop(d->web);
    (void)net_stop(d->net, 3000);
    web_free(d->web);
    web_prom_free(d->prom);
    tsdb_close(d->db, false);
    net_free(d->net);
    buf_done(&d->answer);
    files_remove_tree(d->dir);
    free(d);
}
