/* Parts that left the set and may still be read. A view that is forgotten must not keep their files: past the age of views they go. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/stats.h"
#include "tsdb/store.h"

#define VIEW_AGE_NS INT64_C(60000000000)
#define SLACK_NS \
    INT64_C(1000000000) /* a view that is just old enough may be in the middle of a read */

STATS_GAUGE(waiting, "telltale_store_retired_parts", "",
            "Parts that were replaced or dropped and are still read by a query.");
STATS_COUNTER(evicted, "telltale_store_parts_evicted_total", "",
              "Parts removed from under queries that were older than a view may be.");

struct store_retired {
    struct part *part;
    int64_t since_ns; /* monotonic */
    struct store_retired *next;
};

int64_t store_view_age_ns(const struct tsdb *db)
{
    return db->options.view_max_age_ms ? db->options.view_max_age_ms * 1000000 : VIEW_AGE_NS;
}

void retired_add(struct tsdb *db, struct part *p)
{
    struct store_retired *r = malloc(sizeof(*r));
    if (!r)
        return; /* it goes with its last reader */
    part_retain(p);
    *r = (struct store_retired){p, clock_mono_ns(), db->retired};
    db->retired = r;
}

void retired_run(struct tsdb *db)
{
    int64_t oldest = clock_mono_ns() - store_view_age_ns(db) - SLACK_NS, left = 0;
    for (struct store_retired **at = &db->retired, *r; (r = *at);) {
        bool is_last = part_refs(r->part) == 1;
        if (!is_last && r->since_ns > oldest) {
            left++;
            at = &r->next;
            continue;
        }
        if (!is_last && !part_evict(r->part)) {
            left++;
            at = &r->next;
            continue;
        }
        if (!is_last) {
            stats_add(&evicted, 1);
            log_warn("store", "%s has gone although a query still held it", part_path(r->part));
        }
        *at = r->next;
        part_release(r->part);
        free(r);
    }
    stats_set(&waiting, left);
}

void retired_clear(struct tsdb *db)
{
    for (struct store_retired *r; (r = db->retired);) {
        db->retired = r->next;
        part_release(r->part);
        free(r);
    }
}
