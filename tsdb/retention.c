/* Retention: parts past the age of their class leave the set, then the disk; and how full the disk is. */
#include <stdio.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/stats.h"
#include "tsdb/compact.h"
#include "tsdb/files.h"
#include "tsdb/gone.h"
#include "tsdb/ledger.h"
#include "tsdb/store.h"

#define DAY_MS INT64_C(86400000)
#define RESERVE_MIN (64ull << 20)
#define CHECK_NS INT64_C(200000000) /* statvfs at most five times a second */

#define HOLD_MS \
    DAY_MS /* nothing is removed for so long after the clock of a running process jumped */
#define HOLD_START_MS \
    (3600 * INT64_C(1000)) /* the same after a start: it may have stood for days */
#define FLOOR_NAME "retention_floor_ms"
#define CLOCK_NAME "retention_clock_ms"

STATS_COUNTER(parts_dropped, "telltale_store_parts_dropped_total", "",
              "Parts removed because their retention is over.");
STATS_COUNTER(drops_failed, "telltale_store_part_drop_failures_total", "",
              "Expired parts that could not be moved away; they are tried again.");
STATS_COUNTER(jumps, "telltale_store_clock_jumps_total", "",
              "Times the clock jumped by more than a day, so that nothing is removed for a while.");

STATS_COUNTER(parts_oversize, "telltale_store_parts_dropped_for_size_total", "",
              "Parts removed before their age because the store was past retention.size.");

static int64_t age_of(const struct tsdb *db, enum part_class class)
{
    if (class == PART_TEXT)
        return MIN(db->options.retention_content_ms, db->options.retention_ms);
    return class == PART_CELLS ? db->options.retention_cells_ms : db->options.retention_ms;
}

void store_trash_name(struct tsdb *db, const struct part *p, char out[FILES_PATH_MAX])
{
    snprintf(out, FILES_PATH_MAX, "%s/.trash/%u-%s-%llu", db->dir, part_day(p),
             part_class_name(part_class_of(p)), (unsigned long long)db->dropped++);
}

static void drop(struct tsdb *db, struct part *p)
{
    char trash[FILES_PATH_MAX];
    struct err_msg msg = {""};
    store_trash_name(db, p, trash);
    bool has_rows = part_class_of(p) == PART_ROWS;
    if (has_rows && gone_drop_begin(db, p, &msg) != ERR_OK)
        log_warn("store", "%s", msg.text); /* room on the disk matters more */
    compact_forget(db, p);
    enum err e = part_drop(p, trash, &msg);
    if (has_rows)
        gone_drop_end(db, e == ERR_OK);
    if (e != ERR_OK) {
        stats_add(&drops_failed, 1);
        log_error("store", "an expired part stays: %s", msg.text);
        return;
    }
    stats_add(&parts_dropped, 1);
    quarantine_expire(db->quarantine, part_day(p), part_class_of(p));
    part_retain(p); /* the files go outside of the set's lock ... */
    pin_drop_part(db, p);
    part_release(p); /* ... and only when no view reads them */
}

/* --- the clock ----------------------------------------------------------------------------------- */

static int64_t mono_ms(void)
{
    return clock_mono_ns() / 1000000;
}

static bool is_far(int64_t a, int64_t b)
{
    return a - b >= DAY_MS || b - a >= DAY_MS;
}

void retention_start(struct tsdb *db)
{
    uint64_t last;
    int64_t wall = clock_wall_ms(), mono = mono_ms();
    if (state_get_u64(db, CLOCK_NAME, &last) != ERR_OK || !is_far(wall, (int64_t)last))
        last = (uint64_t)wall;
    atomic_store(&db->clock_offset_ms, (int64_t)last - mono);
    db->hold_ms = HOLD_START_MS;
    retention_check_disk(db);
}

int64_t retention_clock_ms(const struct tsdb *db)
{
    int64_t wall = clock_wall_ms(),
            trusted = mono_ms() + atomic_load(&((struct tsdb *)(uintptr_t)db)->clock_offset_ms);
    return is_far(wall, trusted) ? trusted : wall;
}

/* false while wall and monotonic clock disagree by more than a day: nobody's data goes because a clock is wrong. */
static bool clock_is_sane(struct tsdb *db, int64_t wall)
{
    int64_t mono = mono_ms(), offset = wall - mono;
    if (is_far(offset, atomic_load(&db->clock_offset_ms))) {
        if (!db->hold_since_ms || is_far(offset, db->hold_offset_ms)) {
            stats_add(&jumps, 1);
            log_warn(
                "store",
                "the clock jumped by more than a day: nothing is removed until it has held still "
                "for %lld hours",
                (long long)(db->hold_ms / 3600000));
            db->hold_since_ms = mono;
            db->hold_offset_ms = offset;
        }
        if (mono - db->hold_since_ms < db->hold_ms)
            return false;
    }
    db->hold_since_ms = 0;
    db->hold_ms = HOLD_MS;
    atomic_store(&db->clock_offset_ms, offset);
    return true;
}

/* The floor rises and never falls, also when the clock is set back; what it and the clock were is known to the next process. */
static void raise_floor(struct tsdb *db, int64_t now_ms)
{
    struct err_msg msg = {""};
    int64_t floor_ms = now_ms - db->options.retention_ms;
    enum err e = state_put_u64(db, CLOCK_NAME, (uint64_t)now_ms, &msg);
    if (e == ERR_OK && floor_ms > atomic_load(&db->retention_floor_ms)) {
        e = state_put_u64(db, FLOOR_NAME, (uint64_t)floor_ms, &msg);
        if (e == ERR_OK)
            atomic_store(&db->retention_floor_ms, floor_ms);
    }
    if (e != ERR_OK)
        log_error("store", "the retention floor cannot be kept: %s", msg.text);
}

/* What goes first when there is too much: texts are the largest and the least needed, cells the smallest and the most. */
static const uint8_t rank[PART_CLASS_COUNT] = {
    [PART_TEXT] = 0, [PART_ROWS] = 1, [PART_SAMPLES] = 1, [PART_CELLS] = 2};

static bool is_newest(const struct tsdb *db, const struct part *p)
{
    for (size_t i = db->part_count; i-- > 0;)
        if (part_class_of(db->parts[i]) == part_class_of(p))
            return db->parts[i] == p;
    return true;
}

/* The lowest rank, then the oldest day. The newest day of a class is being written and stays. */
static struct part *first_to_go(const struct tsdb *db)
{
    struct part *found = NULL;
    for (size_t i = 0; i < db->part_count; i++) { /* oldest first */
        struct part *p = db->parts[i];
        if (!is_newest(db, p) && (!found || rank[part_class_of(p)] < rank[part_class_of(found)]))
            found = p;
    }
    return found;
}

/* Needs no clock: the order of days is enough. */
static void keep_size(struct tsdb *db)
{
    uint64_t total = atomic_load(&db->journal_bytes);
    for (size_t i = 0; i < db->part_count; i++)
        total += part_disk_bytes(db->parts[i]);
    while (db->options.retention_bytes && total > db->options.retention_bytes) {
        struct part *p = first_to_go(db);
        size_t before = db->part_count;
        uint64_t bytes = p ? part_disk_bytes(p) : 0;
        if (p)
            drop(db, p);
        if (db->part_count == before)
            return; /* nothing is left that may go, or it cannot be moved away now */
        stats_add(&parts_oversize, 1);
        total -= MIN(bytes, total);
    }
}

void retention_run(struct tsdb *db)
{
    keep_size(db);
    int64_t now_ms = clock_wall_ms();
    if (!clock_is_sane(db, now_ms))
        return;
    raise_floor(db, now_ms);
    if (now_ms > db->options.retention_ms)
        quarantine_expire_journals(db->quarantine,
                                   (uint32_t)((now_ms - db->options.retention_ms) / DAY_MS));
    (void)ledger_expire(db->ledger, now_ms - db->options.retention_cells_ms,
                        now_ms); /* the rest a minute later */
    for (size_t i = 0; i < db->part_count;) {
        struct part *p = db->parts[i]; /* only this thread changes the list */
        int64_t end_ms = ((int64_t)part_day(p) + 1) * DAY_MS;
        size_t before = db->part_count;
        if (end_ms < now_ms - age_of(db, part_class_of(p)))
            drop(db, p);
        i += db->part_count == before;
    }
}

void retention_now(struct tsdb *db)
{
    pthread_mutex_lock(&db->lock);
    db->retention_wanted = true;
    pthread_cond_signal(&db->wake_flusher);
    while (db->retention_wanted && !db->flusher_stopping)
        pthread_cond_wait(&db->flushed, &db->lock);
    pthread_mutex_unlock(&db->lock);
}

/* --- the disk ------------------------------------------------------------------------------------ */

/* What a flush of everything accepted may need, so that it can always finish. */
uint64_t retention_reserve(const struct tsdb *db, uint64_t total)
{
    uint64_t reserve = db->options.generation_max_bytes + db->options.generation_max_bytes / 2 +
                       MIN(RESERVE_MIN, total / 16);
    return MIN(reserve, total / 8);
}

void retention_check_disk(struct tsdb *db)
{
    int64_t now = clock_mono_ns();
    uint64_t total;
    if (now - atomic_load(&db->disk_checked_ns) < CHECK_NS && !atomic_load(&db->is_full))
        return;
    atomic_store(&db->disk_checked_ns, now);
    uint64_t left = files_free_bytes(db->dir, &total);
    if (!total)
        return;
    bool full = left < retention_reserve(db, total);
    if (full != atomic_exchange(&db->is_full, full))
        log_warn("store", "%s (%llu MiB left)",
                 full ? "the disk is nearly full: nothing is accepted until there is room"
                      : "the disk has room again",
                 (unsigned long long)(left >> 20));
}
