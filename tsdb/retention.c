/* Retention: parts past the age of their class leave the set, then the disk; and how full the disk is. */
#include <stdio.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/stats.h"
#include "tsdb/files.h"
#include "tsdb/store.h"

#define DAY_MS INT64_C(86400000)
#define RESERVE_MIN (64ull << 20)
#define CHECK_NS INT64_C(200000000) /* statvfs at most five times a second */

STATS_COUNTER(parts_dropped, "telltale_store_parts_dropped_total", "",
              "Parts removed because their retention is over.");
STATS_COUNTER(jumps, "telltale_store_clock_jumps_total", "",
              "Retention passes left out because the clock jumped by more than a day.");

static int64_t age_of(const struct tsdb *db, enum part_class class)
{
    if (class == PART_TEXT)
        return MIN(db->options.retention_content_ms, db->options.retention_ms);
    return class == PART_CELLS ? db->options.retention_cells_ms : db->options.retention_ms;
}

static void drop(struct tsdb *db, struct part *p)
{
    char trash[FILES_PATH_MAX];
    struct err_msg msg = {""};
    snprintf(trash, sizeof(trash), "%s/.trash", db->dir);
    enum err e = files_make_dir(trash, &msg);
    snprintf(trash, sizeof(trash), "%s/.trash/%u-%s", db->dir, part_day(p),
             part_class_name(part_class_of(p)));
    files_remove_tree(trash);
    if (e == ERR_OK)
        e = files_rename(part_path(p), trash, &msg);
    if (e != ERR_OK && e != ERR_IO) {
        log_error("store", "an expired part stays: %s", msg.text);
        return;
    }
    pin_drop_part(db, p); /* views that hold it read on through their open map */
    files_remove_tree(trash);
    stats_add(&parts_dropped, 1);
}

/* false when wall and monotonic clock disagree by more than a day since the last pass: nobody's data goes because a clock is wrong. */
static bool clock_is_sane(int64_t wall_ms)
{
    static int64_t last_wall_ms, last_mono_ms; /* flush thread only */
    int64_t mono_ms = clock_mono_ns() / 1000000,
            drift = (wall_ms - last_wall_ms) - (mono_ms - last_mono_ms);
    bool first = last_mono_ms == 0;
    last_wall_ms = wall_ms;
    last_mono_ms = mono_ms;
    return first || (drift < DAY_MS && drift > -DAY_MS);
}

void retention_run(struct tsdb *db)
{
    int64_t now_ms = clock_wall_ms(), floor_ms = now_ms - db->options.retention_ms;
    struct err_msg msg;
    if (!clock_is_sane(now_ms)) {
        stats_add(&jumps, 1);
        log_warn("store",
                 "the clock jumped by more than a day: nothing is removed until it holds still");
        return;
    }
    if (floor_ms > atomic_load(&db->retention_floor_ms) &&
        state_put_u64(db, "retention_floor_ms", (uint64_t)floor_ms, &msg) == ERR_OK)
        atomic_store(&db->retention_floor_ms, floor_ms);
    for (size_t i = 0; i < db->part_count;) {
        struct part *p = db->parts[i]; /* only this thread changes the list */
        int64_t end_ms = ((int64_t)part_day(p) + 1) * DAY_MS;
        size_t before = db->part_count;
        if (end_ms < now_ms - age_of(db, part_class_of(p)))
            drop(db, p);
        i += db->part_count == before;
    }
}

void retention_check_disk(struct tsdb *db)
{
    static _Atomic int64_t checked_ns;
    int64_t now = clock_mono_ns();
    uint64_t total;
    if (now - atomic_load(&checked_ns) < CHECK_NS && !atomic_load(&db->is_full))
        return;
    atomic_store(&checked_ns, now);
    uint64_t left = files_free_bytes(db->dir, &total);
    if (!total)
        return;
    /* What a flush of everything accepted may need, so that it can always finish. */
    uint64_t reserve = db->options.generation_max_bytes + db->options.generation_max_bytes / 2 +
                       MIN(RESERVE_MIN, total / 16);
    reserve = MIN(reserve, total / 8);
    bool full = left < reserve;
    if (full != atomic_exchange(&db->is_full, full))
        log_warn("store", "%s (%llu MiB left)",
                 full ? "the disk is nearly full: nothing is accepted until there is room"
                      : "the disk has room again",
                 (unsigned long long)(left >> 20));
}
