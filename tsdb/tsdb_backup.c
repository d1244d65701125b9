#include "tsdb/tsdb_backup.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fault_point.h"
#include "base/log.h"
#include "base/stats.h"
#include "tsdb/backup_note.h"
#include "tsdb/partial_dir.h"
#include "tsdb/store.h"

#define STEP_BYTES (1u << 20) /* larger transactions would be felt by those who wait for a commit */
#define STATE_MAP_BYTES LMDB_ENV_MAP(4ull << 30)
#define ROOM_LEFT (1u << 20) /* with less than this, a write that failed has failed for it */
#define FLUSHED_KEY "store\0flushed_generation"

STATS_COUNTER(backups, "telltale_store_backups_total", "", "Backups that were finished.");
STATS_COUNTER(backups_failed, "telltale_store_backup_failures_total", "",
              "Backups that were begun and not finished.");

struct backup {
    struct tsdb *db;
    const struct tsdb_backup_sink *sink;
    struct tsdb_backup_report report;
    struct partial_dir to;
    struct pin_hold hold;
    bool same_disk; /* the target lies on the disk of the data */
    uint64_t told; /* report.bytes when progress was told last */
    struct err_msg *msg;
};

static void say_damaged(struct backup *b, const char *where, const char *what)
{
    b->report.damaged++;
    log_warn("backup", "%s: %s", where, what);
    if (b->sink->damaged)
        b->sink->damaged(b->sink->ctx, where, what);
}

/* So many bytes more are copied. */
static enum err advance(struct backup *b, uint64_t bytes)
{
    b->report.bytes += bytes;
    if (b->report.bytes - b->told < STEP_BYTES)
        return ERR_OK;
    b->told = b->report.bytes;
    if (b->sink->progress && !b->sink->progress(b->sink->ctx, &b->report))
        return err_set(b->msg, ERR_CANCELLED, "the backup was stopped");
    if (b->same_disk && atomic_load(&b->db->is_full))
        return err_set(b->msg, ERR_FULL,
                       "the disk that has the data is nearly full: it needs the room itself");
    return ERR_OK;
}

/* --- environments of rows: state and journals ---------------------------------------------------- */

struct writer {
    struct backup *b;
    struct lmdb_env *env;
    struct lmdb_txn *txn;
    uint64_t bytes; /* of the transaction */
    char path[FILES_PATH_MAX];
};

static void remove_lock_file(const char *dir)
{
    char path[FILES_PATH_MAX * 2];
    snprintf(path, sizeof(path), "%s/lock.mdb", dir);
    (void)unlink(path); /* LMDB makes it when it opens; in a backup it would only be in the way */
}

static enum err writer_open(struct writer *w, struct backup *b, const char *name)
{
    *w = (struct writer){.b = b};
    if ((size_t)snprintf(w->path, sizeof(w->path), "%s/%s", b->to.path, name) >= sizeof(w->path))
        return err_set(b->msg, ERR_INVALID, "the path %s/%s is too long", b->to.path, name);
    enum err e = files_make_dir(w->path, b->msg);
    return e == ERR_OK ? lmdb_env_open(w->path, STATE_MAP_BYTES, NULL, &w->env, b->msg) : e;
}

static enum err writer_commit(struct writer *w)
{
    struct lmdb_txn *t = w->txn;
    uint64_t bytes = w->bytes;
    w->txn = NULL;
    w->bytes = 0;
    enum err e = t ? lmdb_txn_commit(t, w->b->msg) : ERR_OK;
    return e == ERR_OK ? advance(w->b, bytes) : e;
}

static enum err writer_put(struct writer *w, struct bytes key, struct bytes value)
{
    enum err e = w->txn ? ERR_OK : lmdb_env_begin(w->env, true, &w->txn, w->b->msg);
    if (e == ERR_OK)
        e = lmdb_txn_put(w->txn, 0, key, value, w->b->msg);
    w->bytes += key.size + value.size;
    return e == ERR_OK && w->bytes >= STEP_BYTES ? writer_commit(w) : e;
}

/* e: what came before; the result is the first error. */
static enum err writer_close(struct writer *w, enum err e)
{
    if (e == ERR_OK)
        e = writer_commit(w);
    lmdb_txn_abort(w->txn);
    lmdb_env_close(w->env);
    remove_lock_file(w->path);
    return e == ERR_OK ? files_sync_dir(w->path, w->b->msg) : e;
}

struct state_copy {
    struct writer *w;
    enum err error;
};

static bool copy_row(void *ctx, struct bytes key, struct bytes value)
{
    struct state_copy *s = ctx;
    if (bytes_equal(key, BYTES_LIT(FLUSHED_KEY)))
        return true; /* it is what the hold says, and not what it was when the state was read */
    s->w->b->report.state_rows++;
    s->error = writer_put(s->w, key, value);
    return s->error == ERR_OK;
}

/* One transaction: detectors change alert, outbox and cursor together. */
static enum err copy_state(struct backup *b, struct writer *w)
{
    struct state_copy s = {w, ERR_OK};
    struct lmdb_txn *t;
    fault_point("backup.before_state");
    enum err e = writer_open(w, b, "state");
    if (e == ERR_OK)
        e = lmdb_env_begin(b->db->state, false, &t, b->msg);
    if (e != ERR_OK)
        return e;
    e = lmdb_txn_scan(t, 0, BYTES_NONE, copy_row, &s);
    lmdb_txn_abort(t);
    return e == ERR_OK ? s.error : e;
}

static bool copy_ledger_row(void *ctx, struct bytes key, struct bytes value)
{
    struct state_copy *s = ctx;
    s->w->b->report.state_rows++;
    s->error = writer_put(s->w, key, value);
    return s->error == ERR_OK;
}

/* What was sealed of it when the journals were held: they tell the rest. */
static enum err copy_ledger(struct backup *b)
{
    struct writer w;
    struct state_copy s = {&w, ERR_OK};
    enum err e = writer_open(&w, b, "ledger");
    if (e == ERR_OK)
        e = lmdb_txn_scan(b->hold.ledger, 0, BYTES_NONE, copy_ledger_row, &s);
    lmdb_txn_abort(b->hold.ledger);
    b->hold.ledger = NULL;
    return writer_close(&w, e == ERR_OK ? s.error : e);
}

static enum err finish_state(struct backup *b, struct writer *w)
{
    uint8_t flushed[STATE_U64_SIZE];
    state_u64_write(BYTES_LIT(FLUSHED_KEY), b->hold.generation_max, flushed);
    b->report.state_rows++;
    return writer_put(w, BYTES_LIT(FLUSHED_KEY), bytes_of(flushed, sizeof(flushed)));
}

static enum err copy_entries(struct backup *b, struct journal *j, struct writer *w)
{
    char where[64], what[64];
    uint64_t next = 0, last = b->hold.visible_seq;
    enum err e = ERR_OK;
    snprintf(where, sizeof(where), "journal/%llu", (unsigned long long)journal_generation(j));
    for (size_t n = 1; n > 0 && e == ERR_OK;) {
        struct arena *a = arena_new(0);
        struct journal_entry *entries;
        e = a ? journal_read(j, next, last, STEP_BYTES, a, &entries, &n, b->msg) : ERR_NOMEM;
        for (size_t i = 0; e == ERR_OK && i < n; i++) {
            uint8_t key[8];
            bytes_put_u64be(key, entries[i].seq);
            if (entries[i].is_damaged) {
                snprintf(what, sizeof(what), "commit %llu has a wrong checksum",
                         (unsigned long long)entries[i].seq);
                say_damaged(b, where, what);
            }
            e = writer_put(w, bytes_of(key, sizeof(key)), entries[i].value);
            b->report.commits += entries[i].seq > 0;
            next = entries[i].seq + 1;
        }
        arena_free(a);
    }
    return e;
}

/* From the oldest on; each is given back at once, so that flush may remove it. */
static enum err copy_journals(struct backup *b)
{
    enum err e = ERR_OK;
    for (size_t i = 0; i < b->hold.journal_count && e == ERR_OK; i++) {
        struct journal *j = b->hold.journals[i];
        struct writer w;
        char name[64];
        fault_point("backup.before_journal");
        snprintf(name, sizeof(name), "journal/%llu", (unsigned long long)journal_generation(j));
        e = writer_open(&w, b, name);
        if (e == ERR_OK)
            e = copy_entries(b, j, &w);
        e = writer_close(&w, e);
        b->hold.journals[i] = NULL;
        journal_close(j);
    }
    return e;
}

/* --- parts --------------------------------------------------------------------------------------- */

static enum err copy_block(struct backup *b, struct part *to, const struct part_snapshot *from,
                           const struct block_meta *m, const char *where)
{
    struct arena *a = arena_new(0);
    struct bytes block;
    enum err e = a ? part_fetch(from, m, a, &block, b->msg) : ERR_NOMEM;
    if (e == ERR_CORRUPT) {
        say_damaged(b, where, b->msg->text);
        arena_free(a);
        return ERR_OK;
    }
    if (e == ERR_OK)
        e = part_put(to, m, block, b->msg);
    if (e == ERR_OK) {
        b->report.blocks++;
        b->report.rows += m->rows;
        e = advance(b, block.size + m->summary.size);
    }
    arena_free(a);
    return e;
}

static enum err copy_part(struct backup *b, const struct part_snapshot *from)
{
    char dir[FILES_PATH_MAX + 32], path[FILES_PATH_MAX + 64], where[64];
    size_t n;
    const struct block_meta *blocks = part_snapshot_blocks(from, &n);
    enum part_class class = part_snapshot_class(from);
    time_t t = (time_t)part_snapshot_day(from) * 86400;
    struct tm tm;
    gmtime_r(&t, &tm);
    snprintf(dir, sizeof(dir), "%s/parts/%04d%02d%02d", b->to.path, tm.tm_year + 1900,
             tm.tm_mon + 1, tm.tm_mday);
    snprintf(path, sizeof(path), "%s/%s", dir, part_class_name(class));
    snprintf(where, sizeof(where), "%s", path + strlen(b->to.path) + 1);
    fault_point("backup.before_part");
    if (!part_snapshot_is_readable(from))
        say_damaged(b, where, "the part cannot be read and is left out");
    if (n == 0)
        return ERR_OK;
    enum err e = files_make_dir(dir, b->msg);
    struct part *to = e == ERR_OK ? part_new(dir, part_snapshot_day(from), class, false) : NULL;
    if (!to)
        return e == ERR_OK ? ERR_NOMEM : e;
    for (size_t i = 0; i < n && e == ERR_OK; i++)
        e = copy_block(b, to, from, &blocks[i], where);
    if (e == ERR_OK)
        e = part_copy_seal(to, from, b->hold.generation_max, b->msg);
    part_release(to);
    remove_lock_file(path);
    b->report.parts += e == ERR_OK;
    return e == ERR_OK ? files_sync_dir(path, b->msg) : e;
}

static enum err copy_parts(struct backup *b)
{
    enum err e = ERR_OK;
    for (size_t i = 0; i < b->hold.part_count && e == ERR_OK; i++) {
        e = copy_part(b, b->hold.parts[i]);
        part_snapshot_release(b->hold.parts[i]); /* what was superseded meanwhile may go */
        b->hold.parts[i] = NULL;
    }
    return e;
}

/* --- the whole ----------------------------------------------------------------------------------- */

static bool is_within(const char *path, const char *dir)
{
    size_t n = strlen(dir);
    return strncmp(path, dir, n) == 0 && (path[n] == '/' || path[n] == 0);
}

static enum err check_place(struct backup *b)
{
    char data[FILES_PATH_MAX];
    struct stat here, there;
    if (!realpath(b->db->dir, data))
        return err_set(b->msg, ERR_IO, "%s cannot be found", b->db->dir);
    if (is_within(b->to.target, data))
        return err_set(b->msg, ERR_INVALID, "%s lies within the data directory", b->to.target);
    b->same_disk =
        stat(data, &here) != 0 || stat(b->to.parent, &there) != 0 || here.st_dev == there.st_dev;
    return ERR_OK;
}

/* Better now than after an hour. */
static enum err check_room(struct backup *b)
{
    uint64_t total, left = files_free_bytes(b->to.path, &total);
    for (size_t i = 0; i < b->hold.part_count; i++)
        b->report.bytes_expected += part_snapshot_disk_bytes(b->hold.parts[i]);
    b->report.bytes_expected += atomic_load(&b->db->journal_bytes);
    uint64_t keep = b->same_disk ? retention_reserve(b->db, total) : 0;
    if (total && left < b->report.bytes_expected + keep)
        return err_set(b->msg, ERR_FULL, "%s has %llu MiB left, and the backup may need %llu",
                       b->to.parent, (unsigned long long)((left - MIN(keep, left)) >> 20),
                       (unsigned long long)(b->report.bytes_expected >> 20) + 1);
    return ERR_OK;
}

static enum err write_names(struct backup *b)
{
    char path[FILES_PATH_MAX + 16];
    const struct tsdb_backup_report *r = &b->report;
    struct buf text = {0}, version = {0};
    struct tsdb_restore_info note = {.made_ms = clock_wall_ms(),
                                     .seq = r->seq,
                                     .state_rows = r->state_rows,
                                     .commits = r->commits,
                                     .parts = r->parts,
                                     .blocks = r->blocks,
                                     .rows = r->rows,
                                     .damaged = r->damaged};
    backup_note_write(&note, &text);
    store_version_write(&version);
    fault_point("backup.before_version");
    snprintf(path, sizeof(path), "%s/BACKUP", b->to.path);
    enum err e =
        buf_ok(&text) && buf_ok(&version) ? files_write(path, buf_bytes(&text), b->msg) : ERR_NOMEM;
    snprintf(path, sizeof(path), "%s/VERSION", b->to.path);
    if (e == ERR_OK)
        e = files_write(path, buf_bytes(&version), b->msg);
    buf_done(&text);
    buf_done(&version);
    return e;
}

static enum err copy_all(struct backup *b)
{
    struct writer state;
    char path[FILES_PATH_MAX + 16];
    enum err e = copy_state(b, &state);
    if (e == ERR_OK)
        e = pin_hold(b->db, &b->hold);
    if (e == ERR_OK)
        e = finish_state(b, &state);
    e = writer_close(&state, e);
    b->report.seq = b->hold.visible_seq;
    if (e == ERR_OK)
        e = check_room(b);
    if (e == ERR_OK)
        e = copy_ledger(b);
    if (e == ERR_OK)
        e = copy_journals(b);
    snprintf(path, sizeof(path), "%s/parts", b->to.path);
    if (e == ERR_OK)
        e = files_make_dir(path, b->msg);
    if (e == ERR_OK)
        e = copy_parts(b);
    pin_hold_release(&b->hold);
    return e == ERR_OK ? write_names(b) : e;
}

/* LMDB says of a full disk that it cannot write. */
static enum err explain(struct backup *b, enum err e)
{
    uint64_t total, left = files_free_bytes(b->to.parent, &total);
    if ((e == ERR_IO || e == ERR_FULL) && total && left < ROOM_LEFT)
        return err_set(b->msg, ERR_FULL, "the disk of %s is full", b->to.parent);
    if (!b->msg->text[0])
        return err_set(b->msg, e, "%s: %s", b->to.target, err_text(e));
    return e;
}

static enum err run(struct backup *b, const char *target)
{
    enum err e = partial_dir_begin(&b->to, target, b->msg);
    if (e != ERR_OK)
        return e;
    e = check_place(b);
    if (e == ERR_OK)
        e = copy_all(b);
    if (e != ERR_OK) {
        e = explain(b, e);
        partial_dir_abandon(&b->to);
        return e;
    }
    return partial_dir_finish(&b->to, b->msg);
}

enum err tsdb_backup_run(struct tsdb *db, const char *target, const struct tsdb_backup_sink *sink,
                         struct tsdb_backup_report *out, struct err_msg *msg)
{
    struct err_msg why = {""};
    if (atomic_exchange(&db->is_backing_up, true))
        return err_set(msg, ERR_CONFLICT, "a backup is being made; one at a time");
    struct backup *b = calloc(1, sizeof(*b)); /* its paths are too long for a stack */
    enum err e = ERR_NOMEM;
    if (b) {
        *b = (struct backup){.db = db, .sink = sink, .msg = &why};
        e = run(b, target);
    }
    stats_add(e == ERR_OK ? &backups : &backups_failed, 1);
    if (e == ERR_OK)
        *out = b->report;
    else if (msg)
        *msg = why;
    free(b);
    atomic_store(&db->is_backing_up, false);
    return e;
}

enum err tsdb_backup_make_dir(const char *path, struct err_msg *msg)
{
    return files_make_dir(path, msg);
}
