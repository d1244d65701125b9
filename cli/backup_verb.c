/* `telltale backup` and `telltale restore`: copies of a running server's store or of one that is at rest, and the way back. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/http_client.h"
#include "base/json_in.h"
#include "base/json_out.h"
#include "cli/verb_store.h"
#include "cli/verbs.h"
#include "tsdb/tsdb_backup.h"
#include "tsdb/tsdb_restore.h"
#include "tsdb/tsdb_verify.h"

#define POLL_MS 250

struct words { /* options and the two names */
    const char *names[2], *key;
    bool damaged, bad;
    size_t count;
};

static struct words words_of(int argc, char **argv)
{
    struct words w = {.key = getenv("TELLTALE_KEY")};
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--damaged") == 0)
            w.damaged = true;
        else if (strcmp(argv[i], "--key") == 0 && i + 1 < argc)
            w.key = argv[++i];
        else if (argv[i][0] == '-' || w.count == 2)
            w.bad = true;
        else
            w.names[w.count++] = argv[i];
    }
    w.bad |= w.count != 2;
    return w;
}

static void show(uint64_t bytes, uint64_t expected, double seconds)
{
    if (isatty(2) != 1)
        return;
    fprintf(stderr, "\r\033[K%.1f of about %.1f MB, %.1f s", (double)bytes / 1e6,
            (double)MAX(expected, bytes) / 1e6, seconds);
}

static void clear_line(void)
{
    if (isatty(2) == 1)
        fprintf(stderr, "\r\033[K");
}

static int finished(const char *target, const struct tsdb_backup_report *r, double seconds)
{
    printf("%s: %llu rows in %llu blocks of %llu parts, %llu commits of the journal; %.1f MB in "
           "%.2f s, %.0f MB/s\n",
           target, (unsigned long long)r->rows, (unsigned long long)r->blocks,
           (unsigned long long)r->parts, (unsigned long long)r->commits, (double)r->bytes / 1e6,
           seconds, seconds > 0 ? (double)r->bytes / 1e6 / seconds : 0);
    if (r->damaged)
        fprintf(
            stderr,
            "telltale backup: %llu blocks or commits are damaged in the store itself; `telltale "
            "verify` names them\n",
            (unsigned long long)r->damaged);
    return r->damaged ? 1 : 0;
}

/* --- a directory at rest ------------------------------------------------------------------------- */

static bool told_progress(void *ctx, const struct tsdb_backup_report *r)
{
    show(r->bytes, r->bytes_expected, (double)(clock_mono_ns() - *(int64_t *)ctx) / 1e9);
    return true;
}

static void told_damaged(void *ctx, const char *where, const char *what)
{
    (void)ctx;
    clear_line();
    fprintf(stderr, "%s: %s\n", where, what);
}

static int backup_directory(const char *dir, const char *target)
{
    int64_t begin = clock_mono_ns();
    struct tsdb *db = NULL;
    struct tsdb_backup_report report;
    struct tsdb_backup_sink sink = {&begin, told_progress, told_damaged};
    struct err_msg msg = {""};
    enum err e = verb_store_open(dir, &db, &msg);
    if (e == ERR_OK)
        e = tsdb_backup_run(db, target, &sink, &report, &msg);
    tsdb_close(db, false);
    clear_line();
    if (e == ERR_OK)
        return finished(target, &report, (double)(clock_mono_ns() - begin) / 1e9);
    fprintf(stderr, "telltale backup: %s: %s\n", err_text(e), msg.text);
    return 1;
}

/* --- a running server ---------------------------------------------------------------------------- */

struct server {
    struct http_client *client;
    const char *url, *key;
    struct arena *arena; /* of the last answer */
};

static enum err ask(struct server *s, const char *method, struct bytes body, struct json_node **out,
                    struct err_msg *msg)
{
    struct http_client_response answer;
    arena_free(s->arena);
    s->arena = arena_new(0);
    if (!s->arena)
        return ERR_NOMEM;
    struct bytes auth = arena_printf(s->arena, "Authorization: Bearer %s", s->key ? s->key : ""),
                 url = arena_printf(s->arena, "%s/api/telltale/v1/admin/backup", s->url);
    const char *headers[] = {"Content-Type: application/json",
                             s->key ? (const char *)auth.data : NULL, NULL};
    struct http_client_request req = {.method = method,
                                      .url = (const char *)url.data,
                                      .headers = headers,
                                      .body = body,
                                      .timeout_ms = 60000};
    if (!auth.data || !url.data)
        return ERR_NOMEM;
    enum err e = http_client_send(s->client, &req, &answer, msg);
    if (e != ERR_OK)
        return e;
    struct bytes text = arena_copy(s->arena, buf_bytes(&answer.body));
    buf_done(&answer.body);
    e = text.data ? json_in_tree(text, 16, s->arena, out, msg) : ERR_NOMEM;
    if (answer.status == 200 || (e != ERR_OK && e != ERR_INVALID))
        return e;
    struct bytes why = e == ERR_OK ? json_get_str(*out, "error") : text;
    if (e == ERR_OK && !why.size)
        why = json_get_str(*out, "message");
    return err_set(msg, ERR_EXECUTION, "the server answers %d: " BYTES_FMT, answer.status,
                   BYTES_ARG(why.size ? why : text));
}

static uint64_t number_of(const struct json_node *answer, const char *name)
{
    const struct json_node *n = json_get(answer, name);
    uint64_t v = 0;
    return n && bytes_to_u64(n->text, &v) ? v : 0;
}

static enum err wait_for(struct server *s, struct json_node **answer, struct err_msg *msg)
{
    enum err e = ERR_OK;
    while (e == ERR_OK && bytes_equal_str(json_get_str(*answer, "state"), "running")) {
        show(number_of(*answer, "bytes"), number_of(*answer, "bytes_expected"),
             (double)number_of(*answer, "took_ms") / 1e3);
        clock_sleep_ms(POLL_MS);
        e = ask(s, "GET", BYTES_NONE, answer, msg);
    }
    clear_line();
    if (e == ERR_OK && !bytes_equal_str(json_get_str(*answer, "state"), "done"))
        e = err_set(msg, ERR_EXECUTION, BYTES_FMT, BYTES_ARG(json_get_str(*answer, "error")));
    return e;
}

static int backup_server(const struct words *w)
{
    struct server s = {.client = http_client_new(), .url = w->names[0], .key = w->key};
    struct buf body = {0};
    struct json_node *answer = NULL;
    struct err_msg msg = {""};
    int rc = 1;
    struct json_out j = json_out_to(&body);
    json_out_object(&j);
    json_out_key(&j, "target");
    json_out_str(&j, w->names[1]);
    json_out_object_end(&j);
    enum err e =
        s.client && buf_ok(&body) ? ask(&s, "POST", buf_bytes(&body), &answer, &msg) : ERR_NOMEM;
    if (e == ERR_OK)
        e = wait_for(&s, &answer, &msg);
    if (e == ERR_OK) {
        struct tsdb_backup_report r = {.bytes = number_of(answer, "bytes"),
                                       .commits = number_of(answer, "commits"),
                                       .parts = number_of(answer, "parts"),
                                       .blocks = number_of(answer, "blocks"),
                                       .rows = number_of(answer, "rows"),
                                       .damaged = number_of(answer, "damaged")};
        char target[4096];
        snprintf(target, sizeof(target), BYTES_FMT, BYTES_ARG(json_get_str(answer, "target")));
        rc = finished(target, &r, (double)number_of(answer, "took_ms") / 1e3);
    } else {
        fprintf(stderr, "telltale backup: %s: %s\n", err_text(e), msg.text);
    }
    buf_done(&body);
    arena_free(s.arena);
    http_client_free(s.client);
    return rc;
}

int verbs_backup(int argc, char **argv)
{
    struct words w = words_of(argc, argv);
    if (w.bad || w.damaged) {
        fprintf(
            stderr,
            "usage: telltale backup DIR TARGET\n"
            "       telltale backup URL NAME [--key KEY]\n"
            "  Copies a store into a new directory, consistent while rows come in: of a data "
            "directory that no server\n"
            "  uses, or of the running server at URL (its page's address), which makes the "
            "backup NAME in its\n"
            "  directory of backups. The key (or TELLTALE_KEY) is an admin key of the machine's "
            "owner.\n"
            "  Exit: 0 whole, 1 not made, or made of a store with damaged blocks.\n");
        return 2;
    }
    bool is_url = strncmp(w.names[0], "http://", 7) == 0 || strncmp(w.names[0], "https://", 8) == 0;
    return is_url ? backup_server(&w) : backup_directory(w.names[0], w.names[1]);
}

/* --- restore ------------------------------------------------------------------------------------- */

static void problem(void *ctx, const char *where, const char *what)
{
    (void)ctx;
    clear_line();
    printf("%s: ", where);
    for (; *what; what++)
        putchar((unsigned char)*what < 0x20 || *what == 0x7f ? '?' : *what);
    putchar('\n');
}

static void looking_at(void *ctx, const char *where)
{
    (void)ctx;
    if (isatty(2) == 1)
        fprintf(stderr, "\r\033[Kverifying %s", where);
    fflush(stdout); /* before a process is forked, or it would write this too */
}

static enum err look(const char *backup, bool damaged_too, struct err_msg *msg)
{
    struct tsdb_restore_info info;
    struct tsdb_verify_report found;
    struct tsdb_verify_sink sink = {.problem = problem, .progress = looking_at};
    char when[CLOCK_RFC3339_MAX];
    enum err e = tsdb_restore_info(backup, &info, msg);
    if (e == ERR_OK)
        e = tsdb_verify_run(backup, &sink, &found, msg);
    clear_line();
    if (e != ERR_OK)
        return e;
    clock_rfc3339(info.made_ms, when);
    printf("backup of %s: %llu rows in %llu blocks, %llu commits of the journal\n", when,
           (unsigned long long)info.rows, (unsigned long long)info.blocks,
           (unsigned long long)info.commits);
    printf("verified: %llu problems; %llu environments, %llu blocks, %llu rows, %llu commits, "
           "%.1f MB\n",
           (unsigned long long)found.problems, (unsigned long long)found.environments,
           (unsigned long long)found.blocks, (unsigned long long)found.rows,
           (unsigned long long)found.commits, (double)found.bytes / 1e6);
    if (found.blocks != info.blocks) {
        printf("BACKUP says %llu blocks\n", (unsigned long long)info.blocks);
        found.problems++;
    }
    if (found.problems && !damaged_too)
        return err_set(
            msg, ERR_CORRUPT,
            "nothing was restored; --damaged restores it as it is, and the server leaves "
            "out what is damaged");
    return ERR_OK;
}

int verbs_restore(int argc, char **argv)
{
    struct words w = words_of(argc, argv);
    struct err_msg msg = {""};
    uint64_t bytes = 0;
    if (w.bad) {
        fprintf(stderr, "usage: telltale restore BACKUP DIR [--damaged]\n"
                        "  Verifies a backup whole, then makes the data directory DIR of it, which "
                        "must be absent or empty.\n"
                        "  --damaged: also of a backup in which something is wrong.\n"
                        "  Exit: 0 done, 1 nothing was restored.\n");
        return 2;
    }
    int64_t begin = clock_mono_ns();
    enum err e = look(w.names[0], w.damaged, &msg);
    if (e == ERR_OK)
        e = tsdb_restore_run(w.names[0], w.names[1], NULL, NULL, &bytes, &msg);
    if (e != ERR_OK) {
        fprintf(stderr, "telltale restore: %s: %s\n", err_text(e), msg.text);
        return 1;
    }
    printf("restored to %s: %.1f MB in %.2f s; `telltale serve --data %s` starts on it\n",
           w.names[1], (double)bytes / 1e6, (double)(clock_mono_ns() - begin) / 1e9, w.names[1]);
    return 0;
}
