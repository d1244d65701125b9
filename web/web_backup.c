/* Backups asked for over HTTP: one at a time, made by a thread of its own, each a directory below the one that the configuration names. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/json_in.h"
#include "base/log.h"
#include "tsdb/tsdb_backup.h"
#include "web/web_json.h"

#define PATH_MAX_BYTES 3072u
#define NAME_MAX_BYTES 100u

enum state { STATE_NONE, STATE_RUNNING, STATE_DONE, STATE_FAILED };
static const char *const state_names[] = {"none", "running", "done", "failed"};

struct web_backup {
    struct tsdb *db; /* immutable */
    atomic_bool stopping;
    /* guarded by lock */
    pthread_mutex_t lock;
    pthread_t thread;
    bool has_thread; /* to be joined */
    enum state state;
    char path[PATH_MAX_BYTES];
    int64_t started_ms, began_ns, took_ms;
    struct tsdb_backup_report report;
    enum err error;
    struct err_msg msg;
};

struct web_backup *web_backup_new(struct tsdb *db)
{
    struct web_backup *b = calloc(1, sizeof *b);
    if (!b)
        return NULL;
    b->db = db;
    pthread_mutex_init(&b->lock, NULL);
    return b;
}

void web_backup_stop(struct web_backup *b)
{
    atomic_store(&b->stopping, true);
    pthread_mutex_lock(&b->lock);
    bool join = b->has_thread;
    b->has_thread = false;
    pthread_mutex_unlock(&b->lock);
    if (join)
        pthread_join(b->thread, NULL);
}

void web_backup_free(struct web_backup *b)
{
    if (!b)
        return;
    web_backup_stop(b);
    pthread_mutex_destroy(&b->lock);
    free(b);
}

static bool progress(void *ctx, const struct tsdb_backup_report *so_far)
{
    struct web_backup *b = ctx;
    pthread_mutex_lock(&b->lock);
    b->report = *so_far;
    pthread_mutex_unlock(&b->lock);
    return !atomic_load(&b->stopping);
}

static void *run(void *arg)
{
    struct web_backup *b = arg;
    struct tsdb_backup_report report;
    struct tsdb_backup_sink sink = {b, progress, NULL};
    struct err_msg msg = {""};
    enum err e = tsdb_backup_run(b->db, b->path, &sink, &report, &msg);
    if (e == ERR_OK)
        log_info("backup", "%s is whole: %llu MB", b->path,
                 (unsigned long long)(report.bytes / 1000000));
    else
        log_warn("backup", "%s was not made: %s: %s", b->path, err_text(e), msg.text);
    pthread_mutex_lock(&b->lock);
    b->state = e == ERR_OK ? STATE_DONE : STATE_FAILED;
    b->error = e;
    b->msg = msg;
    if (e == ERR_OK)
        b->report = report;
    b->took_ms = (clock_mono_ns() - b->began_ns) / 1000000;
    pthread_mutex_unlock(&b->lock);
    return NULL;
}

static enum err start(struct web_backup *b, const char *dir, struct bytes name, struct err_msg *msg)
{
    enum err e = ERR_OK;
    pthread_mutex_lock(&b->lock);
    if (atomic_load(&b->stopping))
        e = err_set(msg, ERR_UNAVAILABLE, "the server is stopping");
    else if (b->state == STATE_RUNNING)
        e = err_set(msg, ERR_CONFLICT, "a backup is being made; one at a time");
    else if ((size_t)snprintf(b->path, sizeof b->path, "%s/" BYTES_FMT, dir, BYTES_ARG(name)) >=
             sizeof b->path)
        e = err_set(msg, ERR_INVALID, "the path is too long");
    else if (access(b->path, F_OK) == 0)
        e = err_set(msg, ERR_CONFLICT, "%s is there already", b->path);
    if (e == ERR_OK && b->has_thread) {
        pthread_join(b->thread, NULL); /* it has said all it had to say */
        b->has_thread = false;
    }
    if (e == ERR_OK) {
        b->state = STATE_RUNNING;
        b->report = (struct tsdb_backup_report){0};
        b->msg.text[0] = 0;
        b->started_ms = clock_wall_ms();
        b->began_ns = clock_mono_ns();
        b->has_thread = pthread_create(&b->thread, NULL, run, b) == 0;
        if (!b->has_thread) {
            b->state = STATE_FAILED;
            e = err_set(msg, ERR_NOMEM, "no thread can be started");
        }
    }
    pthread_mutex_unlock(&b->lock);
    return e;
}

static void tell(struct web_backup *b, struct json_out *j)
{
    pthread_mutex_lock(&b->lock);
    const struct tsdb_backup_report *r = &b->report;
    const struct {
        const char *name;
        uint64_t v;
    } numbers[] = {{"bytes", r->bytes},          {"bytes_expected", r->bytes_expected},
                   {"commits", r->commits},      {"parts", r->parts},
                   {"blocks", r->blocks},        {"rows", r->rows},
                   {"damaged", r->damaged},      {"seq", r->seq},
                   {"state_rows", r->state_rows}};
    json_out_object(j);
    json_out_key(j, "state");
    json_out_str(j, state_names[b->state]);
    if (b->state != STATE_NONE) {
        json_out_key(j, "target");
        json_out_str(j, b->path);
        json_out_key(j, "started_ms");
        json_out_i64(j, b->started_ms);
        json_out_key(j, "took_ms");
        json_out_i64(j, b->state == STATE_RUNNING ? (clock_mono_ns() - b->began_ns) / 1000000
                                                  : b->took_ms);
        for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
            json_out_key(j, numbers[i].name);
            json_out_u64(j, numbers[i].v);
        }
    }
    if (b->state == STATE_FAILED) {
        json_out_key(j, "error");
        json_out_str(j, b->msg.text[0] ? b->msg.text : err_text(b->error));
    }
    json_out_object_end(j);
    pthread_mutex_unlock(&b->lock);
}

/* --- endpoints --------------------------------------------------------------------------------- */

/* A backup has the rows of everybody. */
static enum err check_owner(struct web_call *c)
{
    const struct net_access *access = net_request_access(c->req);
    if (web_call_org(c) != TSDB_ORG_DEFAULT || !access || access->role != WEB_ACCESS_ADMIN)
        return err_set(&c->msg, ERR_FORBIDDEN,
                       "a backup holds the data of every org: it needs the machine owner's key");
    if (!c->web->opts.backup_dir)
        return err_set(&c->msg, ERR_UNIMPLEMENTED, "no directory for backups is configured");
    return ERR_OK;
}

static bool is_plain_name(struct bytes name)
{
    for (size_t i = 0; i < name.size; i++) {
        uint8_t c = name.data[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              (i > 0 && (c == '-' || c == '_' || c == '.'))))
            return false;
    }
    return name.size > 0 && name.size <= NAME_MAX_BYTES;
}

static enum err backup_begin(struct web_call *c)
{
    struct json_node *body;
    enum err e = check_owner(c);
    if (e != ERR_OK)
        return e;
    if (!bytes_equal_str(net_request_content_type(c->req), "application/json"))
        return err_set(&c->msg, ERR_UNSUPPORTED_MEDIA, "send application/json");
    e = json_in_tree(net_request_body(c->req), 8, c->arena, &body, &c->msg);
    if (e != ERR_OK)
        return e;
    struct bytes name = json_get_str(body, "target");
    if (!is_plain_name(name))
        return err_set(&c->msg, ERR_INVALID,
                       "target: give a name of letters, digits, '-', '_' and '.'; the backup is "
                       "made under it in %s",
                       c->web->opts.backup_dir);
    e = tsdb_backup_make_dir(c->web->opts.backup_dir, &c->msg);
    if (e == ERR_OK)
        e = start(c->web->backup, c->web->opts.backup_dir, name, &c->msg);
    if (e == ERR_OK)
        tell(c->web->backup, &c->j);
    return e;
}

static enum err backup_look(struct web_call *c)
{
    enum err e = check_owner(c);
    if (e == ERR_OK)
        tell(c->web->backup, &c->j);
    return e;
}

enum err web_backup_routes(struct web *w, struct net *net)
{
    static const struct web_endpoint endpoints[] = {
        {"POST", "/api/telltale/v1/admin/backup", backup_begin, WEB_FORM_OURS, 0},
        {"GET", "/api/telltale/v1/admin/backup", backup_look, WEB_FORM_OURS, 0},
    };
    return web_call_routes(w, net, endpoints, ARRAY_LEN(endpoints));
}
