/* The server object: options, listening sockets, accepting and handing connections to the least loaded loop, start and stop. */
#include "collector/net/net.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "collector/net/net_conn.h"
#include "collector/net/net_request.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static void on_acceptable(uv_poll_t *poll, int status, int events);
static void on_resume(uv_timer_t *timer);

static int64_t or_default(int64_t v, int64_t fallback)
{
    return v > 0 ? v : fallback;
}

static void fill_defaults(struct net_opts *o)
{
    o->loops = o->loops ? MIN(o->loops, NET_LOOPS_MAX) : NET_LOOPS_DEFAULT;
    o->connections_max = o->connections_max ? o->connections_max : NET_CONNECTIONS_DEFAULT;
    o->body_bytes_max = o->body_bytes_max ? o->body_bytes_max : NET_BODY_BYTES_DEFAULT;
    o->header_timeout_ms = or_default(o->header_timeout_ms, 10000);
    o->body_timeout_ms = or_default(o->body_timeout_ms, 10000);
    o->body_rate_min = o->body_rate_min ? o->body_rate_min : 1024;
    o->idle_timeout_ms = or_default(o->idle_timeout_ms, 75000);
    o->write_timeout_ms = or_default(o->write_timeout_ms, 30000);
}

static bool copy_strings(struct net *net, const struct net_opts *opts)
{
    unsigned n = 0;

    for (unsigned i = 0; i < NET_DOOR_COUNT; i++)
        if (opts->advertise[i] && !(net->advertise[i] = strdup(opts->advertise[i])))
            return false;
    for (; opts->host_names && opts->host_names[n]; n++)
        ;
    net->host_names = calloc(n + 1, sizeof(char *));
    if (!net->host_names)
        return false;
    for (unsigned i = 0; i < n; i++)
        if (!(net->host_names[i] = strdup(opts->host_names[i])))
            return false;
    return true;
}

/* 20,000 connections need as many descriptors; the soft limit is often 1,024. */
static void raise_descriptors(const struct net *net)
{
    struct rlimit r;
    rlim_t want = (rlim_t)net->opts.connections_max * NET_DOOR_COUNT + 1024;

    if (getrlimit(RLIMIT_NOFILE, &r) != 0 || r.rlim_cur >= want)
        return;
    r.rlim_cur = r.rlim_max == RLIM_INFINITY ? want : MIN(want, r.rlim_max);
    (void)setrlimit(RLIMIT_NOFILE, &r); /* less is no error: accepting pauses when they run out */
}

static struct net *make(const struct net_opts *opts, bool detached)
{
    struct net *net = calloc(1, sizeof(*net));
    unsigned made = 0;

    if (!net)
        return NULL;
    net->opts = *opts;
    fill_defaults(&net->opts);
    if (detached)
        net->opts.loops = 1;
    if (!copy_strings(net, opts))
        goto failed;
    net->loops = calloc(net->opts.loops, sizeof(*net->loops));
    if (!net->loops)
        goto failed;
    for (; made < net->opts.loops; made++)
        if ((detached ? net_loop_init_detached(&net->loops[made], net)
                      : net_loop_init(&net->loops[made], net, made)) != ERR_OK)
            goto failed;
    if (!detached)
        raise_descriptors(net);
    return net;
failed:
    net->opts.loops = made;
    net_free(net);
    return NULL;
}

struct net *net_new(const struct net_opts *opts)
{
    return make(opts, false);
}

struct net *net_new_detached(const struct net_opts *opts)
{
    return make(opts, true);
}

bool net_has_tls(const struct net *net, enum net_door door)
{
    return net->tls && (net->opts.tls_doors & NET_DOOR_MASK(door));
}

void net_door_name(const struct net *net, enum net_door door, char *out, size_t size)
{
    unsigned port = net_port(net, door);

    if (net->advertise[door])
        snprintf(out, size, "%s", net->advertise[door]);
    else if (port)
        snprintf(out, size, "port %u", port);
    else
        snprintf(out, size, "%s",
                 door == NET_OTLP_GRPC   ? "the OTLP gRPC port"
                 : door == NET_OTLP_HTTP ? "the OTLP HTTP port"
                                         : "the web port");
}

unsigned net_port(const struct net *net, enum net_door door)
{
    for (unsigned i = 0; i < net->listener_count; i++)
        if (net->listeners[i].door == door)
            return net->listeners[i].port;
    return 0;
}

/* --- listening -------------------------------------------------------------------------------- */

static bool split_address(const char *address, char host[256], char port[16])
{
    const char *colon = strrchr(address, ':'), *start = address;
    size_t n;

    if (!colon || strlen(colon + 1) == 0 || strlen(colon + 1) > 5)
        return false;
    n = (size_t)(colon - address);
    if (n >= 2 && address[0] == '[' && address[n - 1] == ']') {
        start++;
        n -= 2;
    } else if (memchr(address, ':', n)) {
        return false; /* an IPv6 address without brackets */
    }
    if (n >= 256)
        return false;
    memcpy(host, start, n);
    host[n] = 0;
    snprintf(port, 16, "%s", colon + 1);
    for (const char *p = port; *p; p++)
        if (*p < '0' || *p > '9')
            return false;
    return atoi(port) <= 65535;
}

static int listen_on(const struct addrinfo *ai, unsigned *out_port)
{
    int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
    struct sockaddr_storage bound;
    socklen_t size = sizeof(bound);

    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (ai->ai_family == AF_INET6 &&
        !IN6_IS_ADDR_UNSPECIFIED(&((struct sockaddr_in6 *)ai->ai_addr)->sin6_addr))
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
    if (bind(fd, ai->ai_addr, ai->ai_addrlen) != 0 || listen(fd, 1024) != 0 ||
        getsockname(fd, (struct sockaddr *)&bound, &size) != 0) {
        int saved = errno;
        close(fd);
        errno = saved;
        return -1;
    }
    *out_port = ntohs(bound.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&bound)->sin6_port
                                                  : ((struct sockaddr_in *)&bound)->sin_port);
    return fd;
}

/* "localhost" may be both; clients that are told 127.0.0.1 must get through. */
static const struct addrinfo *prefer_ipv4(const struct addrinfo *found)
{
    for (const struct addrinfo *ai = found; ai; ai = ai->ai_next)
        if (ai->ai_family == AF_INET)
            return ai;
    return found;
}

enum err net_listen(struct net *net, enum net_door door, const char *address, unsigned *out_port,
                    struct err_msg *msg)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    struct net_listener *l = &net->listeners[net->listener_count];
    char host[256], port[16];
    int rc;

    CHECK(!net->started && door < NET_DOOR_COUNT);
    if (net->listener_count == NET_LISTENERS_MAX)
        return err_set(msg, ERR_LIMIT, "more than %d listening addresses", NET_LISTENERS_MAX);
    if (!split_address(address, host, port))
        return err_set(msg, ERR_INVALID,
                       "'%s' is not an address: want host:port, as 127.0.0.1:4317 or [::1]:4317",
                       address);
    rc = getaddrinfo(host[0] ? host : NULL, port, &hints, &found);
    if (rc != 0)
        return err_set(msg, ERR_INVALID, "cannot resolve '%s': %s", host, gai_strerror(rc));
    l->fd = listen_on(prefer_ipv4(found), &l->port);
    freeaddrinfo(found);
    if (l->fd < 0)
        return err_set(msg, errno == EADDRINUSE ? ERR_CONFLICT : ERR_UNAVAILABLE,
                       "cannot listen on %s: %s", address, strerror(errno));
    l->door = door;
    l->net = net;
    net->listener_count++;
    *out_port = l->port;
    return ERR_OK;
}

/* --- accepting -------------------------------------------------------------------------------- */

struct accept_msg {
    struct net_msg msg;
    struct net_listener *listener;
    int fd;
};

static void run_accept(struct net_loop *loop, struct net_msg *msg)
{
    struct accept_msg *m = (struct accept_msg *)msg;
    net_conn_accept(loop, m->fd, m->listener);
    free(m);
}

static struct net_loop *least_loaded(struct net *net)
{
    struct net_loop *best = &net->loops[0];
    for (unsigned i = 1; i < net->opts.loops; i++)
        if (atomic_load(&net->loops[i].load) < atomic_load(&best->load))
            best = &net->loops[i];
    return best;
}

static void hand_over(struct net_listener *l, int fd)
{
    struct net *net = l->net;
    struct net_loop *loop;
    struct accept_msg *m;
    int one = 1;

    net_stats_add(NET_COUNTED_ACCEPTED, 1);
    if (atomic_fetch_add(&net->open[l->door], 1) >= net->opts.connections_max) {
        atomic_fetch_sub(&net->open[l->door], 1);
        net_stats_refused(NET_REFUSED_CONNECTIONS);
        close(fd);
        return;
    }
    m = malloc(sizeof(*m));
    if (!m) {
        atomic_fetch_sub(&net->open[l->door], 1);
        net_stats_refused(NET_REFUSED_NO_MEMORY);
        close(fd);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    loop = least_loaded(net);
    atomic_fetch_add(&loop->load, 1);
    *m = (struct accept_msg){.msg = {.run = run_accept}, .listener = l, .fd = fd};
    net_loop_post(loop, &m->msg);
}

/* Without descriptors accept would fail at once, again and again: wait a little instead. */
static void pause_accepting(struct net_listener *l)
{
    net_stats_refused(NET_REFUSED_NO_DESCRIPTORS);
    uv_poll_stop(&l->poll);
    l->polling = false;
    uv_timer_start(&l->resume, on_resume, 100, 0);
}

static void on_acceptable(uv_poll_t *poll, int status, int events)
{
    struct net_listener *l = poll->data;

    for (unsigned i = 0; i < NET_ACCEPT_BURST && !atomic_load(&l->net->draining); i++) {
        int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            hand_over(l, fd);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            pause_accepting(l);
        if (errno != EINTR && errno != ECONNABORTED)
            break;
    }
}

static void on_resume(uv_timer_t *timer)
{
    struct net_listener *l = timer->data;

    if (!l->polling && !atomic_load(&l->net->draining)) {
        uv_poll_start(&l->poll, UV_READABLE, on_acceptable);
        l->polling = true;
    }
}

/* --- start and stop --------------------------------------------------------------------------- */

enum err net_start(struct net *net, struct err_msg *msg)
{
    CHECK(!net->started);
    if (net->opts.tls_cert_file || net->opts.tls_key_file) {
        enum err e =
            net_tls_ctx_new(net->opts.tls_cert_file, net->opts.tls_key_file, &net->tls, msg);
        if (e != ERR_OK)
            return e;
    }
    for (unsigned i = 0; i < net->listener_count; i++) {
        struct net_listener *l = &net->listeners[i];
        if (uv_poll_init(&net->loops[0].uv, &l->poll, l->fd) != 0)
            return err_set(msg, ERR_UNAVAILABLE, "cannot watch the listening socket");
        uv_timer_init(&net->loops[0].uv, &l->resume);
        l->poll.data = l->resume.data = l;
        uv_poll_start(&l->poll, UV_READABLE, on_acceptable);
        l->polling = true;
    }
    net->started = true;
    for (unsigned i = 0; i < net->opts.loops; i++)
        if (net_loop_start(&net->loops[i]) != ERR_OK) {
            net->threads = i;
            return err_set(msg, ERR_UNAVAILABLE, "cannot start an event-loop thread");
        }
    net->threads = net->opts.loops;
    return ERR_OK;
}

enum err net_reload(struct net *net, struct err_msg *msg)
{
    return net->tls ? net_tls_ctx_reload(net->tls, msg) : ERR_OK;
}

static void wake_all(struct net *net)
{
    for (unsigned i = 0; i < net->threads; i++)
        net_loop_wake(&net->loops[i]);
}

void net_stop_accepting(struct net *net)
{
    atomic_store(&net->draining, true);
    wake_all(net);
}

static bool wait_for_connections(struct net *net, int64_t ms)
{
    int64_t until = clock_mono_ns() + ms * 1000000;

    while (net_connections(net) > 0) {
        if (clock_mono_ns() >= until)
            return false;
        clock_sleep_ms(2);
    }
    return true;
}

unsigned net_stop(struct net *net, int64_t drain_ms)
{
    unsigned cut = 0;

    if (net->threads == 0)
        return 0;
    net_stop_accepting(net);
    if (!wait_for_connections(net, drain_ms))
        cut = atomic_load(&net->requests);
    atomic_store(&net->closing, true);
    wake_all(net);
    (void)wait_for_connections(net, 5000); /* closing is immediate; net_free would close them too */
    return cut;
}

void net_free(struct net *net)
{
    if (!net)
        return;
    if (net->threads) {
        net_stop_accepting(net);
        atomic_store(&net->closing, true);
    }
    for (unsigned i = 0; i < net->threads; i++) { /* loop 0 first: it hands connections to others */
        net_loop_quit(&net->loops[i]);
        net_loop_join(&net->loops[i]);
    }
    for (unsigned i = 0; net->loops && i < net->opts.loops; i++)
        net_loop_done(&net->loops[i]);
    for (unsigned i = 0; i < net->listener_count; i++)
        if (net->listeners[i].fd >= 0)
            close(net->listeners[i].fd);
    net_tls_ctx_free(net->tls);
    net_route_free_all(net);
    for (unsigned i = 0; i < NET_DOOR_COUNT; i++)
        free(net->advertise[i]);
    for (unsigned i = 0; net->host_names && net->host_names[i]; i++)
        free(net->host_names[i]);
    free(net->host_names);
    free(net->loops);
    free(net);
}

unsigned net_connections(const struct net *net)
{
    unsigned n = 0;
    for (unsigned i = 0; i < NET_DOOR_COUNT; i++)
        n += atomic_load(&((struct net *)net)->open[i]);
    return n;
}

size_t net_body_bytes(const struct net *net)
{
    return atomic_load(&((struct net *)net)->body_bytes);
}
