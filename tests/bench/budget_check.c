/* Questions before calls, over HTTP: so many a second on a few connections that stay open, each timed from its turn (not from when it could
 * be sent), so that a server that falls behind is seen.
 *
 *   budget_check --port P [--rate 5000] [--seconds 10] [--connections 8]        prints p50, p99, p99.9 and the worst, in ms
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"

#define CONNECTIONS_MAX 64u

struct worker {
    pthread_t thread;
    unsigned port, number;
    int64_t every_ns, begin_ns, end_ns;
    int64_t *times;
    size_t count, cap, failed, denied;
};

static int dial(unsigned port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int one = 1, s = socket(AF_INET, SOCK_STREAM, 0);
    inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (s >= 0 && connect(s, (struct sockaddr *)&to, sizeof(to)) == 0)
        return s;
    fprintf(stderr, "budget_check: nobody listens on port %u\n", port);
    exit(1);
}

/* One answer, head and body. */
static bool answer(int s, char *text, size_t size)
{
    size_t n = 0, want = 0;
    while (n + 1 < size && (!want || n < want)) {
        ssize_t got = recv(s, text + n, size - n - 1, 0);
        if (got <= 0)
            return false;
        n += (size_t)got;
        text[n] = 0;
        char *end = strstr(text, "\r\n\r\n"), *length = strcasestr(text, "content-length:");
        if (!want && end && length)
            want = (size_t)(end + 4 - text) + strtoull(length + 15, NULL, 10);
    }
    return want && n == want && strncmp(text, "HTTP/1.1 200", 12) == 0;
}

static void *work(void *arg)
{
    struct worker *w = arg;
    char ask[512], text[16384];
    int s = dial(w->port);
    uint64_t n = 0;
    for (int64_t due = w->begin_ns; due < w->end_ns; due += w->every_ns, n++) {
        int64_t wait = due - clock_mono_ns();
        if (wait > 0) {
            struct timespec t = {wait / 1000000000, wait % 1000000000};
            nanosleep(&t, NULL);
        }
        int size =
            snprintf(ask, sizeof(ask),
                     "GET /api/telltale/v1/budgets/check?user=user-%llu&team=red&model=gpt-4o"
                     "&estimate_usd=0.01 HTTP/1.1\r\nHost: localhost\r\n\r\n",
                     (unsigned long long)((n * 7919 + w->number) % 1000));
        bool ok = send(s, ask, (size_t)size, MSG_NOSIGNAL) == size && answer(s, text, sizeof(text));
        w->failed += !ok;
        w->denied += ok && strstr(text, "\"allowed\":false") != NULL;
        if (w->count < w->cap)
            w->times[w->count++] = clock_mono_ns() - due;
        if (!ok) {
            close(s);
            s = dial(w->port);
        }
    }
    close(s);
    return NULL;
}

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    unsigned long long port = 4320, rate = 5000, seconds = 10, connections = 8;
    for (int i = 1; i + 1 < argc; i += 2) {
        unsigned long long v = strtoull(argv[i + 1], NULL, 10);
        if (strcmp(argv[i], "--port") == 0)
            port = v;
        else if (strcmp(argv[i], "--rate") == 0)
            rate = MAX(v, 1ull);
        else if (strcmp(argv[i], "--seconds") == 0)
            seconds = v;
        else if (strcmp(argv[i], "--connections") == 0)
            connections = MIN(MAX(v, 1ull), CONNECTIONS_MAX);
    }
    struct worker w[CONNECTIONS_MAX] = {0};
    size_t cap = (size_t)(rate * seconds / connections + 16), count = 0, failed = 0, denied = 0;
    int64_t *all = malloc(cap * connections * sizeof(*all)), begin = clock_mono_ns() + 50000000;
    CHECK(all);
    for (unsigned i = 0; i < connections; i++) {
        int64_t every = (int64_t)(connections * 1000000000 / rate);
        w[i] = (struct worker){.port = (unsigned)port,
                               .number = i,
                               .every_ns = every,
                               .begin_ns = begin + every * i / (int64_t)connections,
                               .end_ns = begin + (int64_t)seconds * 1000000000,
                               .times = malloc(cap * sizeof(int64_t)),
                               .cap = cap};
        CHECK(w[i].times && pthread_create(&w[i].thread, NULL, work, &w[i]) == 0);
    }
    for (unsigned i = 0; i < connections; i++) {
        pthread_join(w[i].thread, NULL);
        memcpy(all + count, w[i].times, w[i].count * sizeof(*all));
        count += w[i].count;
        failed += w[i].failed;
        denied += w[i].denied;
        free(w[i].times);
    }
    qsort(all, count, sizeof(*all), by_size);
    printf("questions=%zu rate=%llu failed=%zu denied=%zu p50_ms=%.3f p99_ms=%.3f p999_ms=%.3f "
           "worst_ms=%.3f\n",
           count, rate, failed, denied, (double)all[count / 2] / 1e6,
           (double)all[count * 99 / 100] / 1e6, (double)all[count * 999 / 1000] / 1e6,
           (double)all[count - 1] / 1e6);
    free(all);
    return failed ? 1 : 0;
}
