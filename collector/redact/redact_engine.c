#include "collector/redact/redact_engine.h"

#include <errno.h>
#include <hs/hs.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"
#include "collector/redact/redact.h"

#define WORDS_MAX 256u
#define SCAN_MAX ((size_t)1 << 30) /* sizes are 32 bits there */
#define PATTERN_FLAGS (HS_FLAG_SOM_LEFTMOST | HS_FLAG_DOTALL)

enum { TRY_OK, TRY_REFUSED, TRY_LARGE };

struct redact_engine {
    hs_database_t *db;
};

struct redact_engine_scratch {
    hs_scratch_t *hs;
};

static enum err made(struct redact_engine *e, hs_error_t code, hs_compile_error_t *why,
                     struct redact_engine **out, struct err_msg *msg)
{
    enum err result = ERR_OK;
    if (code != HS_SUCCESS)
        result = code == HS_COMPILER_ERROR
                     ? err_set(msg, ERR_INVALID, "%s", why ? why->message : "it does not compile")
                     : err_set(msg, ERR_NOMEM, "no memory to compile patterns");
    hs_free_compile_error(why);
    if (result == ERR_OK)
        *out = e;
    else
        free(e);
    return result;
}

enum err redact_engine_words(const struct redact_engine_word *words, size_t count,
                             struct redact_engine **out, struct err_msg *msg)
{
    const char *texts[WORDS_MAX];
    unsigned flags[WORDS_MAX], ids[WORDS_MAX];
    size_t sizes[WORDS_MAX];
    hs_compile_error_t *why = NULL;
    struct redact_engine *e = calloc(1, sizeof *e);
    CHECK(count && count <= WORDS_MAX);
    if (!e)
        return err_set(msg, ERR_NOMEM, "no memory to compile patterns");
    for (size_t i = 0; i < count; i++) {
        texts[i] = words[i].text;
        sizes[i] = strlen(words[i].text);
        flags[i] = words[i].is_caseless ? HS_FLAG_CASELESS : 0;
        ids[i] = (unsigned)i;
    }
    hs_error_t code = hs_compile_lit_multi(texts, flags, ids, sizes, (unsigned)count, HS_MODE_BLOCK,
                                           NULL, &e->db, &why);
    return made(e, code, why, out, msg);
}

/* --- own patterns ------------------------------------------------------------------------------------------ */

/* In the child: says by its exit what became of it, and by the pipe why. */
static int try_here(const char *pattern, int pipe_end)
{
    struct rlimit cpu = {REDACT_PATTERN_SECONDS, REDACT_PATTERN_SECONDS + 1};
    hs_database_t *db = NULL;
    hs_compile_error_t *why = NULL;
    size_t size = 0;
    signal(SIGXCPU, SIG_DFL);
    setrlimit(RLIMIT_CPU, &cpu);
    hs_error_t code = hs_compile(pattern, PATTERN_FLAGS, HS_MODE_BLOCK, NULL, &db, &why);
    if (code != HS_SUCCESS) {
        const char *text = why ? why->message : "it does not compile";
        ssize_t written = write(pipe_end, text, strlen(text));
        (void)written; /* without it the refusal has no words */
        return TRY_REFUSED;
    }
    return hs_database_size(db, &size) == HS_SUCCESS && size <= REDACT_DATABASE_MAX ? TRY_OK
                                                                                    : TRY_LARGE;
}

static enum err try_result(int status, struct bytes said, struct err_msg *msg)
{
    if (WIFSIGNALED(status))
        return err_set(msg, ERR_INVALID, "it takes more than %u s to compile",
                       REDACT_PATTERN_SECONDS);
    if (WEXITSTATUS(status) == TRY_LARGE)
        return err_set(msg, ERR_INVALID, "compiled it has more than %u MiB",
                       REDACT_DATABASE_MAX >> 20);
    return WEXITSTATUS(status) == TRY_OK ? ERR_OK
                                         : err_set(msg, ERR_INVALID, BYTES_FMT, BYTES_ARG(said));
}

enum err redact_engine_try(const char *pattern, struct err_msg *msg)
{
    int ends[2];
    char said[256];
    size_t n = 0;
    if (strlen(pattern) > REDACT_PATTERN_BYTES_MAX)
        return err_set(msg, ERR_INVALID, "it has more than %u bytes", REDACT_PATTERN_BYTES_MAX);
    if (pipe(ends) != 0)
        return err_set(msg, ERR_IO, "it cannot be tried: %s", strerror(errno));
    pid_t child = fork();
    if (child == 0)
        _exit(try_here(pattern, ends[1]));
    close(ends[1]);
    if (child < 0) {
        close(ends[0]);
        return err_set(msg, ERR_IO, "it cannot be tried: %s", strerror(errno));
    }
    for (ssize_t got; n < sizeof said && (got = read(ends[0], said + n, sizeof said - n)) != 0;) {
        if (got < 0 && errno != EINTR)
            break;
        n += got > 0 ? (size_t)got : 0;
    }
    close(ends[0]);
    int status = 0;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return err_set(msg, ERR_IO, "it cannot be tried: %s", strerror(errno));
    return try_result(status, bytes_of(said, n), msg);
}

enum err redact_engine_patterns(const char *const *patterns, size_t count,
                                struct redact_engine **out, struct err_msg *msg)
{
    unsigned flags[REDACT_PATTERNS_MAX], ids[REDACT_PATTERNS_MAX];
    hs_compile_error_t *why = NULL;
    struct redact_engine *e = calloc(1, sizeof *e);
    CHECK(count && count <= REDACT_PATTERNS_MAX);
    if (!e)
        return err_set(msg, ERR_NOMEM, "no memory to compile patterns");
    for (size_t i = 0; i < count; i++) {
        flags[i] = PATTERN_FLAGS;
        ids[i] = (unsigned)i;
    }
    hs_error_t code =
        hs_compile_multi(patterns, flags, ids, (unsigned)count, HS_MODE_BLOCK, NULL, &e->db, &why);
    return made(e, code, why, out, msg);
}

void redact_engine_free(struct redact_engine *e)
{
    if (!e)
        return;
    hs_free_database(e->db);
    free(e);
}

/* --- scanning ------------------------------------------------------------------------------------------------ */

struct redact_engine_scratch *redact_engine_scratch_new(const struct redact_engine *a,
                                                        const struct redact_engine *b)
{
    struct redact_engine_scratch *s = calloc(1, sizeof *s);
    if (s && (hs_alloc_scratch(a->db, &s->hs) != HS_SUCCESS ||
              (b && hs_alloc_scratch(b->db, &s->hs) != HS_SUCCESS))) {
        redact_engine_scratch_free(s);
        s = NULL;
    }
    return s;
}

void redact_engine_scratch_free(struct redact_engine_scratch *s)
{
    if (!s)
        return;
    hs_free_scratch(s->hs);
    free(s);
}

struct call {
    redact_engine_seen seen;
    void *ctx;
};

static int on_match(unsigned id, unsigned long long from, unsigned long long to, unsigned flags,
                    void *ctx)
{
    const struct call *c = ctx;
    (void)flags;
    return c->seen(c->ctx, id, (size_t)from, (size_t)to) ? 0 : 1;
}

void redact_engine_scan(const struct redact_engine *e, struct redact_engine_scratch *s,
                        struct bytes text, redact_engine_seen seen, void *ctx)
{
    struct call c = {seen, ctx};
    CHECK(text.size <= SCAN_MAX);
    if (!text.size)
        return;
    hs_error_t code =
        hs_scan(e->db, (const char *)text.data, (unsigned)text.size, 0, s->hs, on_match, &c);
    CHECK(code == HS_SUCCESS || code == HS_SCAN_TERMINATED); /* anything else is our bug */
}
