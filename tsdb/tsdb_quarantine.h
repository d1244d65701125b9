/* What is damaged and left out: a list that survives restarts, and what of it a view would have touched.
 *
 * Owner: caller.  Thread: any.
 * Failure: none; what is found while memory is short is found again.
 * Limits: TSDB_QUARANTINE_MAX records; damage beyond is logged and counted (telltale_store_quarantine_overflow_total), and every view says so.
 */
#ifndef TSDB_TSDB_QUARANTINE_H
#define TSDB_TSDB_QUARANTINE_H

#include "tsdb/tsdb_read.h"

#define TSDB_QUARANTINE_MAX 1024u
#define TSDB_QUARANTINE_WHAT_MAX 160u

struct tsdb_quarantined {
    int64_t found_ms;
    char class[12]; /* text, rows, samples, cells, journal */
    uint32_t day; /* since the Unix epoch */
    /* The block, as its manifest row names it; kind 0: more than one block. journal: generation, and the commit's number as n. */
    uint32_t org;
    uint8_t kind;
    uint64_t generation, n;
    uint64_t rows; /* that are left out; 0 = not known, or not rows (an index, a checkpoint) */
    int64_t time_min_ms, time_max_ms; /* of what is left out, at most */
    char what[TSDB_QUARANTINE_WHAT_MAX];
};
/* Oldest day first. Fills at most max; returns how many there are. every_org false: only what is of `org`, or of no single one. */
size_t tsdb_quarantine_list(struct tsdb *db, uint32_t org, bool every_org,
                            struct tsdb_quarantined *out, size_t max);

/* Of one day of what a view has looked at so far. */
struct tsdb_damage {
    uint32_t day, count;
    bool is_more; /* the list is full: there may be any number more, of any day */
};
/* By day. Fills at most max; returns how many there are. */
size_t tsdb_view_damage(const struct tsdb_view *v, struct tsdb_damage *out, size_t max);
/* "3 damaged blocks of 2026-11-29 are left out of this answer". */
#define TSDB_DAMAGE_TEXT_MAX 128u
void tsdb_damage_text(const struct tsdb_damage *d, char out[TSDB_DAMAGE_TEXT_MAX]);

#endif
