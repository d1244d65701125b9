#include "tsdb/quarantine.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/stats.h"
#include "tsdb/files.h"
#include "tsdb/store.h"
#include "tsdb/tsdb_state.h"
#include "tsdb/view_core.h"

#define TABLE "quarantine"
#define TOTALS "quarantine_rows"
#define KEY_SIZE 26u
#define TOTALS_MAX 1024u

STATS_COUNTER(found, "telltale_store_quarantined_total", "",
              "Blocks, commits and environments found damaged and left out since the start.");
STATS_COUNTER(overflow, "telltale_store_quarantine_overflow_total", "",
              "Damage that was found when the list of it was full.");

struct entry {
    struct quarantine_record r;
    int64_t found_ms;
    char what[TSDB_QUARANTINE_WHAT_MAX];
    bool is_saved;
};

struct total {
    uint32_t org;
    int signal;
    uint64_t rows;
    bool is_saved;
};

struct quarantine {
    char dir[3072];
    pthread_mutex_t lock;
    /* guarded by lock */
    struct entry *entries;
    size_t count, cap;
    struct total totals[TOTALS_MAX];
    size_t total_count;
    struct quarantine_record *gone; /* records that leave the state */
    size_t gone_count;
    bool is_full, is_changed;
};

static const char *class_name(unsigned class)
{
    return class < PART_CLASS_COUNT ? part_class_name((enum part_class) class) : "journal";
}

struct quarantine *quarantine_new(const char *dir)
{
    struct quarantine *q = calloc(1, sizeof(*q));
    if (!q)
        return NULL;
    snprintf(q->dir, sizeof(q->dir), "%s", dir);
    pthread_mutex_init(&q->lock, NULL);
    return q;
}

void quarantine_free(struct quarantine *q)
{
    if (!q)
        return;
    pthread_mutex_destroy(&q->lock);
    free(q->entries);
    free(q->gone);
    free(q);
}

/* --- records ------------------------------------------------------------------------------------- */

static void day_text(uint32_t day, char out[16])
{
    time_t t = (time_t)day * 86400;
    struct tm tm;
    gmtime_r(&t, &tm);
    snprintf(out, 16, "%04d%02d%02d", (tm.tm_year + 1900) % 10000, (tm.tm_mon + 1) % 100,
             tm.tm_mday % 100);
}

static bool is_same(const struct quarantine_record *a, const struct quarantine_record *b)
{
    return a->class == b->class && a->day == b->day && a->org == b->org && a->kind == b->kind &&
           a->generation == b->generation && a->n == b->n;
}

static struct entry *entry_new(struct quarantine *q)
{
    if (q->count == q->cap) {
        size_t cap = q->cap ? q->cap * 2 : 16;
        struct entry *p = realloc(q->entries, cap * sizeof(*p));
        if (!p)
            return NULL;
        q->entries = p;
        q->cap = cap;
    }
    return &q->entries[q->count++];
}

static struct total *total_of(struct quarantine *q, uint32_t org, int signal, bool make)
{
    for (size_t i = 0; i < q->total_count; i++)
        if (q->totals[i].org == org && q->totals[i].signal == signal)
            return &q->totals[i];
    if (!make || q->total_count == TOTALS_MAX)
        return NULL;
    q->totals[q->total_count] = (struct total){.org = org, .signal = signal};
    return &q->totals[q->total_count++];
}

static bool add_locked(struct quarantine *q, const struct quarantine_record *r, const char *what)
{
    for (size_t i = 0; i < q->count; i++)
        if (is_same(&q->entries[i].r, r))
            return false;
    struct entry *e = q->count < TSDB_QUARANTINE_MAX ? entry_new(q) : NULL;
    if (!e) {
        stats_add(&overflow, 1);
        q->is_full |= q->count >= TSDB_QUARANTINE_MAX;
        return false;
    }
    *e = (struct entry){.r = *r, .found_ms = clock_wall_ms()};
    snprintf(e->what, sizeof(e->what), "%s", what);
    struct total *t = r->signal >= 0 && r->rows ? total_of(q, r->org, r->signal, true) : NULL;
    if (t) {
        t->rows += r->rows;
        t->is_saved = false;
    }
    q->is_changed = true;
    return true;
}

void quarantine_add(struct quarantine *q, const struct quarantine_record *r, const char *what)
{
    bool is_new = true;
    if (q) {
        pthread_mutex_lock(&q->lock);
        is_new = add_locked(q, r, what);
        pthread_mutex_unlock(&q->lock);
    }
    if (!is_new)
        return;
    stats_add(&found, 1);
    log_error("store",
              "damaged and left out: %s of day %u (org %u, kind %u, generation %llu, %llu): %s",
              class_name(r->class), r->day, r->org, r->kind, (unsigned long long)r->generation,
              (unsigned long long)r->n, what);
}

static int signal_of(uint8_t kind)
{
    return kind == BLOCK_SPANS                            ? TSDB_SPANS
           : kind == BLOCK_LOGS                           ? TSDB_LOGS
           : kind == BLOCK_SAMPLES || kind == BLOCK_HISTS ? TSDB_SAMPLES
                                                          : -1;
}

void quarantine_add_block(struct quarantine *q, uint32_t day, enum part_class class,
                          const struct block_meta *m, const char *what)
{
    struct quarantine_record r = {.class = class,
                                  .day = day,
                                  .org = m->key.org,
                                  .kind = m->key.kind,
                                  .generation = m->key.generation,
                                  .n = m->key.n,
                                  .signal = signal_of(m->key.kind),
                                  .rows = m->rows,
                                  .time_min = (int64_t)day * 86400000,
                                  .time_max = (int64_t)day * 86400000 + 86399999};
    quarantine_add(q, &r, what);
}

uint64_t quarantine_rows(struct quarantine *q, uint32_t org, int signal)
{
    pthread_mutex_lock(&q->lock);
    const struct total *t = total_of(q, org, signal, false);
    uint64_t rows = t ? t->rows : 0;
    pthread_mutex_unlock(&q->lock);
    return rows;
}

/* --- durable ------------------------------------------------------------------------------------- */

static void key_write(const struct quarantine_record *r, uint8_t out[KEY_SIZE])
{
    out[0] = (uint8_t)r->class;
    bytes_put_u64be(out + 1, (uint64_t)r->day << 32 | r->org);
    out[9] = r->kind;
    bytes_put_u64be(out + 10, r->generation);
    bytes_put_u64be(out + 18, r->n);
}

static bool key_read(struct bytes key, struct quarantine_record *out)
{
    if (key.size != KEY_SIZE || key.data[0] > QUARANTINE_JOURNAL)
        return false;
    uint64_t place = bytes_u64be(key.data + 1);
    out->class = key.data[0];
    out->day = (uint32_t)(place >> 32);
    out->org = (uint32_t)place;
    out->kind = key.data[9];
    out->generation = bytes_u64be(key.data + 10);
    out->n = bytes_u64be(key.data + 18);
    return true;
}

static bool value_read(struct bytes value, struct entry *out)
{
    struct reader r = reader_of(value);
    if (reader_u8(&r) != 1)
        return false;
    out->found_ms = reader_zigzag(&r);
    out->r.signal = (int)reader_u8(&r) - 1;
    out->r.rows = reader_varint(&r);
    out->r.time_min = reader_zigzag(&r);
    out->r.time_max = reader_zigzag(&r);
    struct bytes what = reader_lenbytes(&r);
    snprintf(out->what, sizeof(out->what), "%.*s", (int)MIN(what.size, sizeof(out->what)),
             (const char *)what.data);
    return !r.failed && reader_left(&r) == 0 && out->r.signal < TSDB_SIGNAL_COUNT;
}

bool quarantine_text(struct bytes key, struct bytes value, char *out, size_t size)
{
    struct entry x;
    char day[16];
    if (!key_read(key, &x.r) || !value_read(value, &x))
        return false;
    day_text(x.r.day, day);
    snprintf(out, size, "%s of %s (org %u, kind %u, generation %llu, %llu), %llu rows: %s",
             class_name(x.r.class), day, x.r.org, x.r.kind, (unsigned long long)x.r.generation,
             (unsigned long long)x.r.n, (unsigned long long)x.r.rows, x.what);
    return true;
}

enum err quarantine_load(struct quarantine *q, struct tsdb *db)
{
    struct arena *a = arena_new(0);
    struct tsdb_state_row *rows;
    size_t n = 0;
    enum err e =
        a ? tsdb_state_scan(db, TABLE, BYTES_NONE, TSDB_QUARANTINE_MAX, a, &rows, &n) : ERR_NOMEM;
    pthread_mutex_lock(&q->lock);
    for (size_t i = 0; i < n && e == ERR_OK; i++) {
        struct entry one = {.is_saved = true}, *to;
        if (!key_read(rows[i].key, &one.r) || !value_read(rows[i].value, &one))
            continue;
        if ((to = entry_new(q)))
            *to = one;
        else
            e = ERR_NOMEM;
    }
    q->is_full = q->count >= TSDB_QUARANTINE_MAX;
    if (e == ERR_OK)
        e = tsdb_state_scan(db, TOTALS, BYTES_NONE, TOTALS_MAX, a, &rows, &n);
    for (size_t i = 0; i < n && e == ERR_OK; i++)
        if (rows[i].key.size == 8 && rows[i].value.size == 8) {
            uint64_t key = bytes_u64be(rows[i].key.data);
            struct total *t = total_of(q, (uint32_t)(key >> 32), (int)(uint32_t)key, true);
            if (t)
                *t = (struct total){t->org, t->signal, bytes_u64le(rows[i].value.data), true};
        }
    pthread_mutex_unlock(&q->lock);
    arena_free(a);
    return e;
}

static enum err put_entry(struct tsdb_state_write *w, const struct entry *x)
{
    struct buf value = {0};
    uint8_t key[KEY_SIZE];
    key_write(&x->r, key);
    buf_u8(&value, 1);
    buf_zigzag(&value, x->found_ms);
    buf_u8(&value, (uint8_t)(x->r.signal + 1));
    buf_varint(&value, x->r.rows);
    buf_zigzag(&value, x->r.time_min);
    buf_zigzag(&value, x->r.time_max);
    buf_lenbytes(&value, bytes_str(x->what));
    enum err e = buf_ok(&value)
                     ? tsdb_state_put(w, TABLE, bytes_of(key, sizeof(key)), buf_bytes(&value))
                     : ERR_NOMEM;
    buf_done(&value);
    return e;
}

static enum err put_all(struct quarantine *q, struct tsdb_state_write *w)
{
    enum err e = ERR_OK;
    uint8_t key[KEY_SIZE], number[8];
    for (size_t i = 0; i < q->gone_count && e == ERR_OK; i++) {
        key_write(&q->gone[i], key);
        e = tsdb_state_del(w, TABLE, bytes_of(key, sizeof(key)));
    }
    for (size_t i = 0; i < q->count && e == ERR_OK; i++)
        if (!q->entries[i].is_saved)
            e = put_entry(w, &q->entries[i]);
    for (size_t i = 0; i < q->total_count && e == ERR_OK; i++) {
        const struct total *t = &q->totals[i];
        if (t->is_saved)
            continue;
        bytes_put_u64be(key, (uint64_t)t->org << 32 | (uint32_t)t->signal);
        memcpy(number, &t->rows, 8);
        e = tsdb_state_put(w, TOTALS, bytes_of(key, 8), bytes_of(number, 8));
    }
    return e;
}

enum err quarantine_save(struct quarantine *q, struct tsdb *db)
{
    struct tsdb_state_write *w;
    pthread_mutex_lock(&q->lock);
    bool is_changed = q->is_changed;
    pthread_mutex_unlock(&q->lock);
    if (!is_changed)
        return ERR_OK;
    enum err e = tsdb_state_begin(db, &w); /* before the lock: who writes to the state may add */
    if (e != ERR_OK)
        return e;
    pthread_mutex_lock(&q->lock);
    size_t count = q->count, gone = q->gone_count;
    uint64_t sums[TOTALS_MAX];
    for (size_t i = 0; i < q->total_count; i++)
        sums[i] = q->totals[i].rows;
    size_t totals = q->total_count;
    e = put_all(q, w);
    q->is_changed = e != ERR_OK;
    pthread_mutex_unlock(&q->lock);
    if (e == ERR_OK)
        e = tsdb_state_commit(w);
    else
        tsdb_state_abort(w);
    pthread_mutex_lock(&q->lock);
    if (e == ERR_OK) {
        /* Only this thread takes entries away. */
        for (size_t i = 0; i < count; i++)
            q->entries[i].is_saved = true;
        for (size_t i = 0; i < totals; i++)
            q->totals[i].is_saved = q->totals[i].rows == sums[i];
        q->gone_count -= gone;
    } else {
        q->is_changed = true; /* again, in the next round */
    }
    pthread_mutex_unlock(&q->lock);
    return e;
}

/* --- what is kept -------------------------------------------------------------------------------- */

static enum err make_dir(const struct quarantine *q, char out[FILES_PATH_MAX], struct err_msg *msg)
{
    snprintf(out, FILES_PATH_MAX, "%s/quarantine", q->dir);
    return files_make_dir(out, msg);
}

enum err quarantine_take(struct quarantine *q, const char *path, const char *name,
                         struct err_msg *msg)
{
    char dir[FILES_PATH_MAX], to[FILES_PATH_MAX + 128];
    if (!q)
        return err_set(msg, ERR_CORRUPT, "%s is damaged", path);
    enum err e = make_dir(q, dir, msg);
    if (e != ERR_OK)
        return e;
    for (unsigned n = 1;; n++) {
        snprintf(to, sizeof(to), "%s/%s-%u", dir, name, n);
        if (access(to, F_OK) != 0)
            break;
    }
    e = files_rename(path, to, msg);
    if (e == ERR_OK)
        e = files_sync_parent(path, msg);
    if (e == ERR_OK)
        log_warn("store", "%s has been moved to %s", path, to);
    return e;
}

void quarantine_keep(struct quarantine *q, uint32_t day, enum part_class class,
                     const struct block_meta *m, struct bytes block)
{
    char dir[FILES_PATH_MAX], path[FILES_PATH_MAX + 128], text[16];
    struct err_msg msg = {""};
    if (!q || make_dir(q, dir, &msg) != ERR_OK)
        return;
    day_text(day, text);
    snprintf(path, sizeof(path), "%s/%s-%s-%u-%u-%llu-%u", dir, text, part_class_name(class),
             m->key.org, m->key.kind, (unsigned long long)m->key.generation, m->key.n);
    if (files_write(path, block, &msg) != ERR_OK)
        log_warn("store", "a damaged block is not kept: %s", msg.text);
}

/* Names that begin so. */
static enum err remove_kept(struct quarantine *q, const char *prefix, struct err_msg *msg)
{
    char dir[FILES_PATH_MAX], path[FILES_PATH_MAX + 300], **names;
    struct arena *a = arena_new(0);
    size_t n = 0;
    snprintf(dir, sizeof(dir), "%s/quarantine", q->dir);
    enum err e = !a                       ? ERR_NOMEM
                 : access(dir, F_OK) != 0 ? ERR_OK
                                          : files_list(dir, true, a, &names, &n, msg);
    for (size_t i = 0; i < n && e == ERR_OK; i++) {
        if (strncmp(names[i], prefix, strlen(prefix)) != 0)
            continue;
        snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        if (unlink(path) != 0)
            files_remove_tree(path);
        if (access(path, F_OK) == 0)
            e = err_set(msg, ERR_IO, "%s cannot be removed", path);
    }
    if (e == ERR_OK && n)
        e = files_sync_dir(dir, msg);
    arena_free(a);
    return e;
}

static void expire_kept(struct quarantine *q, const char *prefix)
{
    struct err_msg msg = {""};
    if (remove_kept(q, prefix, &msg) != ERR_OK)
        log_warn("store", "%s", msg.text);
}

/* Under q->lock. false: no memory, another time. */
static bool expire_entry(struct quarantine *q, size_t i)
{
    struct quarantine_record *gone = realloc(q->gone, (q->gone_count + 1) * sizeof(*gone));
    if (!gone)
        return false;
    q->gone = gone;
    gone[q->gone_count++] = q->entries[i].r;
    q->entries[i] = q->entries[--q->count];
    q->is_changed = true;
    q->is_full &= q->count >= TSDB_QUARANTINE_MAX;
    return true;
}

void quarantine_expire(struct quarantine *q, uint32_t day, enum part_class class)
{
    char prefix[48], text[16];
    day_text(day, text);
    snprintf(prefix, sizeof(prefix), "%s-%s-", text, part_class_name(class));
    expire_kept(q, prefix);
    pthread_mutex_lock(&q->lock);
    for (size_t i = 0; i < q->count;) {
        const struct quarantine_record *r = &q->entries[i].r;
        if (r->class != class || r->day != day || !expire_entry(q, i))
            i++;
    }
    pthread_mutex_unlock(&q->lock);
}

void quarantine_expire_journals(struct quarantine *q, uint32_t before_day)
{
    for (;;) {
        size_t i = 0;
        char prefix[48];
        pthread_mutex_lock(&q->lock);
        while (i < q->count &&
               (q->entries[i].r.class != QUARANTINE_JOURNAL || q->entries[i].r.day >= before_day))
            i++;
        bool is_old = i < q->count;
        if (is_old)
            snprintf(prefix, sizeof(prefix), "journal-%llu-",
                     (unsigned long long)q->entries[i].r.generation);
        is_old = is_old && expire_entry(q, i);
        pthread_mutex_unlock(&q->lock);
        if (!is_old)
            return;
        expire_kept(q, prefix);
    }
}

enum err quarantine_purge(struct quarantine *q, struct err_msg *msg)
{
    return remove_kept(q, "", msg);
}

static bool is_of(const struct quarantine_record *r, uint32_t org)
{
    return r->org == org || (!r->org && !r->kind);
}

void quarantine_count(struct quarantine *q, uint32_t org, uint64_t *out_records, uint64_t *out_rows)
{
    *out_records = *out_rows = 0;
    pthread_mutex_lock(&q->lock);
    for (size_t i = 0; i < q->count; i++) {
        bool is = is_of(&q->entries[i].r, org);
        *out_records += is;
        *out_rows += is ? q->entries[i].r.rows : 0;
    }
    pthread_mutex_unlock(&q->lock);
}

/* --- asking -------------------------------------------------------------------------------------- */

static int by_day(const void *x, const void *y)
{
    const struct tsdb_quarantined *a = x, *b = y;
    return a->day != b->day ? (a->day > b->day) - (a->day < b->day) : strcmp(a->class, b->class);
}

size_t tsdb_quarantine_list(struct tsdb *db, uint32_t org, bool every_org,
                            struct tsdb_quarantined *out, size_t max)
{
    struct quarantine *q = db->quarantine;
    size_t n = 0;
    pthread_mutex_lock(&q->lock);
    for (size_t i = 0; i < q->count; i++) {
        const struct entry *x = &q->entries[i];
        if (!every_org && !is_of(&x->r, org))
            continue;
        if (n++ >= max)
            continue;
        struct tsdb_quarantined *to = &out[n - 1];
        *to = (struct tsdb_quarantined){.found_ms = x->found_ms,
                                        .day = x->r.day,
                                        .org = x->r.org,
                                        .kind = x->r.kind,
                                        .generation = x->r.generation,
                                        .n = x->r.n,
                                        .rows = x->r.rows,
                                        .time_min_ms = x->r.time_min,
                                        .time_max_ms = x->r.time_max};
        snprintf(to->class, sizeof(to->class), "%s", class_name(x->r.class));
        snprintf(to->what, sizeof(to->what), "%s", x->what);
    }
    pthread_mutex_unlock(&q->lock);
    qsort(out, MIN(n, max), sizeof(*out), by_day);
    return n;
}

bool quarantine_concerns(struct quarantine *q, uint32_t org)
{
    pthread_mutex_lock(&q->lock);
    bool concerns = q->is_full;
    for (size_t i = 0; i < q->count && !concerns; i++)
        concerns = (!q->entries[i].r.org && !q->entries[i].r.kind) || q->entries[i].r.org == org;
    pthread_mutex_unlock(&q->lock);
    return concerns;
}

size_t tsdb_view_damage(const struct tsdb_view *v, struct tsdb_damage *out, size_t max)
{
    struct quarantine *q = v->db->quarantine;
    size_t n = 0;
    pthread_mutex_lock(&q->lock);
    for (size_t i = 0; i < q->count; i++) {
        const struct quarantine_record *r = &q->entries[i].r;
        size_t k = 0;
        if (((r->org || r->kind) && r->org != v->org) || r->time_max < v->touched_min_ms ||
            r->time_min > v->touched_max_ms)
            continue;
        while (k < MIN(n, max) && out[k].day != r->day)
            k++;
        if (k < MIN(n, max))
            out[k].count++;
        else if (n++ < max)
            out[n - 1] = (struct tsdb_damage){.day = r->day, .count = 1};
    }
    if (q->is_full && n++ < max)
        out[n - 1] = (struct tsdb_damage){.is_more = true};
    pthread_mutex_unlock(&q->lock);
    return n;
}

void tsdb_damage_text(const struct tsdb_damage *d, char out[TSDB_DAMAGE_TEXT_MAX])
{
    time_t t = (time_t)d->day * 86400;
    struct tm tm;
    if (d->is_more) {
        snprintf(out, TSDB_DAMAGE_TEXT_MAX,
                 "more is damaged than the list of it can hold: rows may be missing here");
        return;
    }
    gmtime_r(&t, &tm);
    snprintf(out, TSDB_DAMAGE_TEXT_MAX, "%u block%s of %04d-%02d-%02d %s damaged and left out",
             d->count, d->count == 1 ? "" : "s", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
             d->count == 1 ? "is" : "are");
}
