#include "detectors/helper_mail.h"
#include "base/check.h"
#include "base/clock.h"
#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct helper_mail {
    int listener;
    char url[64];
    pthread_t thread;
    pthread_mutex_t lock;
    bool is_stopping;
    int codes[8];
    size_t code_count, next, count;
    struct helper_mail_message list[HELPER_MAIL_MAX];
};

static void say(int fd, const char *line)
{
    (void)!send(fd, line, strlen(line), MSG_NOSIGNAL);
}

static void data(struct helper_mail *m, FILE *in, int fd, struct helper_mail_message *x)
{
    char line[2048], answer[64];
    size_t n = 0;
    say(fd, "354 go on\r\n");
    while (fgets(line, sizeof(line), in) && strcmp(line, ".\r\n") != 0)
        n += (size_t)snprintf(x->text + n, sizeof(x->text) - n, "%s", line);
    pthread_mutex_lock(&m->lock);
    int code = m->codes[MIN(m->next, m->code_count - 1)];
    m->next++;
    if (m->count < HELPER_MAIL_MAX)
        m->list[m->count++] = *x;
    pthread_mutex_unlock(&m->lock);
    snprintf(answer, sizeof(answer), "%d said\r\n", code);
    say(fd, answer);
}

static void serve(struct helper_mail *m, int fd)
{
    static struct helper_mail_message x;
    char line[2048];
    size_t n = 0;
    FILE *in = fdopen(fd, "r");
    CHECK(in);
    x = (struct helper_mail_message){0};
    say(fd, "220 fake\r\n");
    while (fgets(line, sizeof(line), in)) {
        n += (size_t)snprintf(x.commands + n, sizeof(x.commands) - n, "%s", line);
        if (strncmp(line, "EHLO", 4) == 0)
            say(fd, "250-fake\r\n250 AUTH PLAIN\r\n");
        else if (strncmp(line, "AUTH PLAIN", 10) == 0)
            say(fd, strlen(line) > 12 ? "235 in\r\n" : "334 \r\n");
        else if (strncmp(line, "DATA", 4) == 0)
            data(m, in, fd, &x);
        else if (strncmp(line, "QUIT", 4) == 0)
            break;
        else if (strncmp(line, "MAIL", 4) == 0 || strncmp(line, "RCPT", 4) == 0)
            say(fd, "250 yes\r\n");
        else
            say(fd, "235 in\r\n"); /* the second half of AUTH */
    }
    say(fd, "221 bye\r\n");
    fclose(in);
}

static void *run(void *arg)
{
    struct helper_mail *m = arg;
    for (;;) {
        struct pollfd p = {.fd = m->listener, .events = POLLIN};
        int ready = poll(&p, 1, 20);
        pthread_mutex_lock(&m->lock);
        bool stop = m->is_stopping;
        pthread_mutex_unlock(&m->lock);
        if (stop)
            return NULL;
        int fd = ready > 0 ? accept(m->listener, NULL, NULL) : -1;
        if (fd >= 0)
            serve(m, fd);
    }
}

struct helper_mail *helper_mail_new(const int *codes, size_t count)
{
    struct helper_mail *m = calloc(1, sizeof(*m));
    CHECK(m && count > 0 && count <= ARRAY_LEN(m->codes));
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof(a);
    m->listener = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(m->listener >= 0 && bind(m->listener, (struct sockaddr *)&a, sizeof(a)) == 0);
    CHECK(listen(m->listener, 16) == 0);
    CHECK(getsockname(m->listener, (struct sockaddr *)&a, &size) == 0);
    snprintf(m->url, sizeof(m->url), "smtp://127.0.0.1:%u", ntohs(a.sin_port));
    memcpy(m->codes, codes, count * sizeof(*codes));
    m->code_count = count;
    pthread_mutex_init(&m->lock, NULL);
    CHECK(pthread_create(&m->thread, NULL, run, m) == 0);
    return m;
}

void helper_mail_free(struct helper_mail *m)
{
    pthread_mutex_lock(&m->lock);
    m->is_stopping = true;
    pthread_mutex_unlock(&m->lock);
    pthread_join(m->thread, NULL);
    close(m->listener);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

const char *helper_mail_url(struct helper_mail *m)
{
    return m->url;
}

bool helper_mail_wait(struct helper_mail *m, size_t n, int64_t timeout_ms)
{
    int64_t end = clock_mono_ns() / 1000000 + timeout_ms;
    for (;;) {
        pthread_mutex_lock(&m->lock);
        bool enough = m->count >= n;
        pthread_mutex_unlock(&m->lock);
        if (enough || clock_mono_ns() / 1000000 > end)
            return enough;
        clock_sleep_ms(5);
    }
}

void helper_mail_get(struct helper_mail *m, size_t i, struct helper_mail_message *out)
{
    pthread_mutex_lock(&m->lock);
    CHECK(i < m->count);
    *out = m->list[i];
    pthread_mutex_unlock(&m->lock);
}
