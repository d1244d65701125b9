#include "detectors/helper_receiver.h"
#include "base/check.h"
#include "base/clock.h"
#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

struct helper_receiver {
    int listener, port;
    char url[64];
    pthread_t thread;
    pthread_mutex_t lock;
    bool is_stopping;
    int statuses[16];
    size_t status_count, next;
    int retry_after_s;
    struct helper_receiver_request list[HELPER_RECEIVER_MAX];
    size_t count;
};

static void header_value(const char *head, const char *name, char *out, size_t size)
{
    out[0] = 0;
    for (const char *line = strstr(head, "\r\n"); line && line[2];
         line = strstr(line + 2, "\r\n")) {
        size_t n = strlen(name);
        if (strncasecmp(line + 2, name, n) != 0 || line[2 + n] != ':')
            continue;
        const char *v = line + 3 + n;
        while (*v == ' ')
            v++;
        snprintf(out, size, "%.*s", (int)strcspn(v, "\r\n"), v);
        return;
    }
}

/* Reads one request; false when the peer is gone. */
static bool read_request(int fd, struct helper_receiver_request *q)
{
    static __thread char text[65536];
    size_t n = 0, head = 0, length = 0;
    *q = (struct helper_receiver_request){0};
    while (head == 0 || n < head + length) {
        ssize_t got = n < sizeof(text) - 1 ? recv(fd, text + n, sizeof(text) - 1 - n, 0) : 0;
        if (got <= 0)
            return false;
        n += (size_t)got;
        text[n] = 0;
        char *end = strstr(text, "\r\n\r\n");
        if (head == 0 && end) {
            char value[32];
            head = (size_t)(end - text) + 4;
            header_value(text, "content-length", value, sizeof(value));
            length = (size_t)atol(value);
        }
    }
    (void)!sscanf(text, "%*15s %127s", q->path);
    header_value(text, "webhook-id", q->id, sizeof(q->id));
    header_value(text, "webhook-timestamp", q->timestamp, sizeof(q->timestamp));
    header_value(text, "webhook-signature", q->signature, sizeof(q->signature));
    header_value(text, "x-extra", q->extra, sizeof(q->extra));
    q->body_size = MIN(length, sizeof(q->body) - 1);
    memcpy(q->body, text + head, q->body_size);
    q->at_ms = clock_mono_ns() / 1000000;
    return true;
}

static void serve(struct helper_receiver *r, int fd)
{
    struct helper_receiver_request q;
    if (!read_request(fd, &q)) {
        close(fd);
        return;
    }
    pthread_mutex_lock(&r->lock);
    int status = r->statuses[MIN(r->next, r->status_count - 1)];
    r->next++;
    q.answered = status;
    if (r->count < HELPER_RECEIVER_MAX)
        r->list[r->count++] = q;
    pthread_mutex_unlock(&r->lock);
    if (status == 0)
        return; /* left open: the sender's timeout ends it */
    char answer[256], retry[64] = "";
    if (r->retry_after_s >= 0)
        snprintf(retry, sizeof(retry), "Retry-After: %d\r\n", r->retry_after_s);
    int size = snprintf(answer, sizeof(answer),
                        "HTTP/1.1 %d X\r\n%sContent-Length: 2\r\nConnection: close\r\n\r\nok",
                        status, retry);
    (void)!send(fd, answer, (size_t)size, MSG_NOSIGNAL);
    close(fd);
}

static void *run(void *arg)
{
    struct helper_receiver *r = arg;
    for (;;) {
        struct pollfd p = {.fd = r->listener, .events = POLLIN};
        int ready = poll(&p, 1, 20);
        pthread_mutex_lock(&r->lock);
        bool stop = r->is_stopping;
        pthread_mutex_unlock(&r->lock);
        if (stop)
            return NULL;
        int fd = ready > 0 ? accept(r->listener, NULL, NULL) : -1;
        if (fd >= 0)
            serve(r, fd);
    }
}

struct helper_receiver *helper_receiver_new(const int *statuses, size_t count, int retry_after_s)
{
    struct helper_receiver *r = calloc(1, sizeof(*r));
    CHECK(r);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof(a);
    r->listener = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(r->listener >= 0 && bind(r->listener, (struct sockaddr *)&a, sizeof(a)) == 0);
    CHECK(listen(r->listener, 16) == 0);
    CHECK(getsockname(r->listener, (struct sockaddr *)&a, &size) == 0);
    snprintf(r->url, sizeof(r->url), "http://127.0.0.1:%u/hook", ntohs(a.sin_port));
    r->retry_after_s = retry_after_s;
    pthread_mutex_init(&r->lock, NULL);
    helper_receiver_script(r, statuses, count);
    CHECK(pthread_create(&r->thread, NULL, run, r) == 0);
    return r;
}

void helper_receiver_free(struct helper_receiver *r)
{
    pthread_mutex_lock(&r->lock);
    r->is_stopping = true;
    pthread_mutex_unlock(&r->lock);
    pthread_join(r->thread, NULL);
    close(r->listener);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

const char *helper_receiver_url(struct helper_receiver *r)
{
    return r->url;
}

void helper_receiver_script(struct helper_receiver *r, const int *statuses, size_t count)
{
    CHECK(count > 0 && count <= ARRAY_LEN(r->statuses));
    pthread_mutex_lock(&r->lock);
    memcpy(r->statuses, statuses, count * sizeof(*statuses));
    r->status_count = count;
    r->next = 0;
    pthread_mutex_unlock(&r->lock);
}

size_t helper_receiver_count(struct helper_receiver *r)
{
    pthread_mutex_lock(&r->lock);
    size_t n = r->count;
    pthread_mutex_unlock(&r->lock);
    return n;
}

void helper_receiver_get(struct helper_receiver *r, size_t i, struct helper_receiver_request *out)
{
    pthread_mutex_lock(&r->lock);
    CHECK(i < r->count);
    *out = r->list[i];
    pthread_mutex_unlock(&r->lock);
}

bool helper_receiver_wait(struct helper_receiver *r, size_t n, int64_t timeout_ms)
{
    int64_t end = clock_mono_ns() / 1000000 + timeout_ms;
    while (helper_receiver_count(r) < n) {
        if (clock_mono_ns() / 1000000 > end)
            return false;
        clock_sleep_ms(5);
    }
    return true;
}
