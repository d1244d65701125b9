/* What a view holds still: heads and part snapshots of one moment. Implemented by the store (store side), used by view.c.
 *
 * Owner: the view.  Thread: any.  Failure: ERR_NOMEM, ERR_IO.
 * Invariants: 1. Every row acknowledged before pin_take is in exactly one of its heads or parts. 2. pin_release may unlink what was
 *             superseded meanwhile.
 */
#ifndef TSDB_PIN_H
#define TSDB_PIN_H

#include "tsdb/head.h"
#include "tsdb/tsdb.h"

struct pin {
    struct head **heads; /* oldest generation first */
    size_t head_count;
    const struct part_snapshot **parts; /* sorted by (day, class) */
    size_t part_count;
    uint64_t visible_seq; /* of the newest head when taken */
    uint64_t rewritten, dropped; /* as of the set (store.h) */
    int64_t dropped_below_ms;
};

/* All parts at or above the retention floor. Snapshots of unopened parts are opened at the first look at their blocks. */
enum err pin_take(struct tsdb *db, struct pin *out, struct err_msg *msg) MUST_CHECK;
void pin_release(struct tsdb *db, struct pin *p);

#endif
