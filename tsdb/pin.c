/* The published set of heads and part snapshots. Readers copy its references under a lock held for a few hundred instructions. */
#include "tsdb/pin.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "tsdb/ledger.h"
#include "tsdb/store.h"

enum err pin_take(struct tsdb *db, struct pin *out, struct err_msg *msg)
{
    enum err e = ERR_OK;
    struct pin p = {0};
    pthread_mutex_lock(&db->set_lock);
    p.heads = malloc((db->set.head_count + 1) * sizeof(struct head *));
    p.parts = malloc((db->set.part_count + 1) * sizeof(struct part_snapshot *));
    if (p.heads && p.parts) {
        for (; p.head_count < db->set.head_count; p.head_count++) {
            p.heads[p.head_count] = db->set.heads[p.head_count];
            head_retain(p.heads[p.head_count]);
        }
        for (; p.part_count < db->set.part_count; p.part_count++) {
            p.parts[p.part_count] = db->set.parts[p.part_count];
            part_snapshot_retain(p.parts[p.part_count]);
        }
        p.visible_seq = atomic_load(&db->committed_seq);
        p.rewritten = db->set.rewritten;
        p.dropped = db->set.dropped;
        p.dropped_below_ms = db->set.dropped_below_ms;
    } else {
        e = err_set(msg, ERR_NOMEM, "no memory for a view");
    }
    pthread_mutex_unlock(&db->set_lock);
    if (e == ERR_OK) {
        *out = p;
    } else {
        free(p.heads);
        free(p.parts);
    }
    return e;
}

enum err pin_hold(struct tsdb *db, struct pin_hold *out)
{
    struct pin_hold h = {.generation_max = UINT64_MAX};
    enum err e = ERR_NOMEM;
    pthread_mutex_lock(&db->set_lock);
    h.journals = calloc(db->set.head_count + 1, sizeof(struct journal *));
    h.parts = calloc(db->set.part_count + 1, sizeof(struct part_snapshot *));
    if (h.journals && h.parts) {
        for (; h.journal_count < db->set.head_count; h.journal_count++) {
            struct journal *j = db->set.journals[h.journal_count];
            journal_retain(h.journals[h.journal_count] = j);
            h.generation_max = MIN(h.generation_max, journal_generation(j) - 1);
        }
        for (; h.part_count < db->set.part_count; h.part_count++) {
            h.parts[h.part_count] = db->set.parts[h.part_count];
            part_snapshot_retain(h.parts[h.part_count]);
        }
        h.visible_seq = atomic_load(&db->committed_seq);
        e = lmdb_env_begin(db->ledger->env, false, &h.ledger, NULL);
    }
    pthread_mutex_unlock(&db->set_lock);
    if (e != ERR_OK) {
        pin_hold_release(&h);
        return e;
    }
    CHECK(h.journal_count > 0); /* there is always a live generation */
    *out = h;
    return ERR_OK;
}

void pin_hold_release(struct pin_hold *h)
{
    for (size_t i = 0; i < h->journal_count; i++)
        journal_close(h->journals[i]);
    for (size_t i = 0; i < h->part_count; i++)
        part_snapshot_release(h->parts[i]);
    lmdb_txn_abort(h->ledger);
    free(h->journals);
    free(h->parts);
    *h = (struct pin_hold){0};
}

void pin_release(struct tsdb *db, struct pin *p)
{
    for (size_t i = 0; i < p->head_count; i++)
        head_release(p->heads[i]);
    for (size_t i = 0; i < p->part_count; i++)
        part_snapshot_release(p->parts[i]);
    free(p->heads);
    free(p->parts);
    *p = (struct pin){0};
}

enum err pin_add_head(struct tsdb *db, struct head *h, struct journal *j)
{
    enum err e = ERR_LIMIT;
    pthread_mutex_lock(&db->set_lock);
    if (db->set.head_count < sizeof(db->set.heads) / sizeof(db->set.heads[0])) {
        head_retain(h);
        db->set.journals[db->set.head_count] = j;
        db->set.heads[db->set.head_count++] = h;
        e = ERR_OK;
    }
    pthread_mutex_unlock(&db->set_lock);
    return e;
}

static void set_remove_head(struct store_set *s, struct head *h)
{
    for (size_t i = 0; i < s->head_count; i++)
        if (s->heads[i] == h) {
            memmove(&s->heads[i], &s->heads[i + 1],
                    (s->head_count - i - 1) * sizeof(struct head *));
            memmove(&s->journals[i], &s->journals[i + 1],
                    (s->head_count - i - 1) * sizeof(struct journal *));
            s->head_count--;
            head_release(h);
            return;
        }
}

/* Position of (day, class) among the store's parts, or where it belongs. */
static size_t part_position(const struct tsdb *db, uint32_t day, enum part_class class, bool *found)
{
    size_t i = 0;
    while (i < db->part_count &&
           (part_day(db->parts[i]) < day ||
            (part_day(db->parts[i]) == day && part_class_of(db->parts[i]) < class)))
        i++;
    *found =
        i < db->part_count && part_day(db->parts[i]) == day && part_class_of(db->parts[i]) == class;
    return i;
}

struct part *pin_part(struct tsdb *db, uint32_t day, enum part_class class, bool exists)
{
    char dir[3200];
    bool found;
    pthread_mutex_lock(&db->set_lock);
    size_t at = part_position(db, day, class, &found);
    struct part *p = found ? db->parts[at] : NULL;
    if (!found) {
        struct part **parts = realloc(db->parts, (db->part_count + 1) * sizeof(struct part *));
        time_t t = (time_t)day * 86400;
        struct tm tm;
        gmtime_r(&t, &tm);
        snprintf(dir, sizeof(dir), "%s/parts/%04d%02d%02d", db->dir, tm.tm_year + 1900,
                 tm.tm_mon + 1, tm.tm_mday);
        if (parts)
            db->parts = parts;
        p = parts ? part_new(dir, day, class, exists) : NULL;
        if (p) {
            part_report_to(p, db->quarantine);
            memmove(&parts[at + 1], &parts[at], (db->part_count - at) * sizeof(struct part *));
            parts[at] = p;
            db->part_count++;
        }
    }
    pthread_mutex_unlock(&db->set_lock);
    return p;
}

static size_t snapshot_position(const struct store_set *s, uint32_t day, enum part_class class,
                                bool *found)
{
    size_t i = 0;
    while (i < s->part_count &&
           (part_snapshot_day(s->parts[i]) < day ||
            (part_snapshot_day(s->parts[i]) == day && part_snapshot_class(s->parts[i]) < class)))
        i++;
    *found = i < s->part_count && part_snapshot_day(s->parts[i]) == day &&
             part_snapshot_class(s->parts[i]) == class;
    return i;
}

enum err pin_replace(struct tsdb *db, struct head *leaves, struct part **touched, size_t n,
                     uint64_t generation_max)
{
    const struct part_snapshot **fresh = calloc(n + 1, sizeof(*fresh));
    enum err e = fresh ? ERR_OK : ERR_NOMEM;
    for (size_t i = 0; i < n && e == ERR_OK; i++) {
        fresh[i] = part_snapshot_new(touched[i], generation_max);
        if (!fresh[i])
            e = ERR_NOMEM;
    }
    pthread_mutex_lock(&db->set_lock);
    const struct part_snapshot **parts =
        e == ERR_OK ? realloc(db->set.parts, (db->set.part_count + n + 1) * sizeof(*parts)) : NULL;
    if (parts) {
        db->set.parts = parts;
        for (size_t i = 0; i < n; i++) {
            bool found;
            size_t at = snapshot_position(&db->set, part_day(touched[i]), part_class_of(touched[i]),
                                          &found);
            const struct part_snapshot *old = found ? parts[at] : NULL;
            if (!found) {
                memmove(&parts[at + 1], &parts[at], (db->set.part_count - at) * sizeof(*parts));
                db->set.part_count++;
            }
            parts[at] = fresh[i];
            fresh[i] =
                old; /* released below: that may take the part's lock, under which parts are opened */
        }
        if (leaves)
            set_remove_head(&db->set, leaves);
        db->set.rewritten++;
    } else {
        e = ERR_NOMEM;
    }
    pthread_mutex_unlock(&db->set_lock);
    for (size_t i = 0; fresh && i < n; i++)
        part_snapshot_release(fresh[i]);
    free(fresh);
    return e;
}

/* Under set_lock. The set shows fresh where it showed old; what it showed before comes back, for release outside of the lock. */
static const struct part_snapshot *show(struct tsdb *db, struct part *old, struct part *fresh,
                                        const struct part_snapshot *snapshot)
{
    bool found;
    size_t at = part_position(db, part_day(old), part_class_of(old), &found);
    CHECK(found && db->parts[at] == old);
    db->parts[at] = fresh;
    at = snapshot_position(&db->set, part_day(old), part_class_of(old), &found);
    if (found) { /* else none of its generations is visible yet */
        const struct part_snapshot *before = db->set.parts[at];
        db->set.parts[at] = snapshot;
        snapshot = before;
    }
    db->set.rewritten++;
    return snapshot;
}

enum err pin_exchange_part(struct tsdb *db, struct part *old, struct part *fresh,
                           uint64_t generation_max, struct err_msg *msg)
{
    return pin_exchange_pair(db, old, fresh, NULL, NULL, generation_max, msg);
}

enum err pin_exchange_pair(struct tsdb *db, struct part *rows, struct part *fresh_rows,
                           struct part *text, struct part *fresh_text, uint64_t generation_max,
                           struct err_msg *msg)
{
    char trash_rows[FILES_PATH_MAX], trash_text[FILES_PATH_MAX];
    const struct part_snapshot *of_rows = part_snapshot_new(fresh_rows, generation_max);
    const struct part_snapshot *of_text =
        fresh_text ? part_snapshot_new(fresh_text, generation_max) : NULL;
    enum err e = of_rows && (of_text || !fresh_text) ? ERR_OK : ERR_NOMEM;
    store_trash_name(db, rows, trash_rows);
    if (fresh_text)
        store_trash_name(db, text, trash_text);
    if (e == ERR_OK)
        e = part_exchange_pair(rows, fresh_rows, trash_rows, text, fresh_text, trash_text, msg);
    if (e == ERR_OK) {
        pthread_mutex_lock(&db->set_lock);
        of_rows = show(db, rows, fresh_rows, of_rows);
        of_text = fresh_text ? show(db, text, fresh_text, of_text) : NULL;
        pthread_mutex_unlock(&db->set_lock);
    }
    if (e == ERR_OK) {
        retired_add(db, rows);
        if (fresh_text)
            retired_add(db, text);
    }
    part_snapshot_release(of_rows);
    part_snapshot_release(of_text);
    part_release(e == ERR_OK ? rows : fresh_rows);
    if (fresh_text)
        part_release(e == ERR_OK ? text : fresh_text);
    return e;
}

void pin_drop_part(struct tsdb *db, struct part *p)
{
    bool found;
    const struct part_snapshot *snapshot = NULL;
    struct part *dropped = NULL;
    pthread_mutex_lock(&db->set_lock);
    size_t at = snapshot_position(&db->set, part_day(p), part_class_of(p), &found);
    if (found) {
        snapshot = db->set.parts[at];
        memmove(&db->set.parts[at], &db->set.parts[at + 1],
                (db->set.part_count - at - 1) * sizeof(*db->set.parts));
        db->set.part_count--;
        db->set.dropped++;
        db->set.dropped_below_ms =
            MAX(db->set.dropped_below_ms, ((int64_t)part_day(p) + 1) * 86400000);
    }
    at = part_position(db, part_day(p), part_class_of(p), &found);
    if (found) {
        memmove(&db->parts[at], &db->parts[at + 1], (db->part_count - at - 1) * sizeof(*db->parts));
        db->part_count--;
        dropped = p;
    }
    pthread_mutex_unlock(&db->set_lock);
    if (dropped)
        retired_add(db, dropped);
    part_snapshot_release(snapshot);
    part_release(dropped);
}

void pin_clear(struct tsdb *db)
{
    for (size_t i = 0; i < db->set.head_count; i++)
        head_release(db->set.heads[i]);
    for (size_t i = 0; i < db->set.part_count; i++)
        part_snapshot_release(db->set.parts[i]);
    for (size_t i = 0; i < db->part_count; i++)
        part_release(db->parts[i]);
    free(db->set.parts);
    free(db->parts);
    db->set = (struct store_set){0};
    db->parts = NULL;
    db->part_count = 0;
}
