/* What a view does not show because it is to be erased: rows, series and exemplars that a target matches and that are not rewritten yet.
 *
 * Nothing here costs anything while no target is at work in the org (v->erase NULL).
 * Owner: the view.  Thread: the view's.  Failure: as tsdb_read.h.
 * Invariant: what a block or head of a generation above a target's holds is shown.
 */
#ifndef TSDB_VIEW_ERASE_H
#define TSDB_VIEW_ERASE_H

#include "tsdb/erase_store.h"
#include "tsdb/view_rows.h"

/* Rows of spans or logs are left out: then no answer may come from zones or dictionaries alone. */
bool view_erase_rows_active(const struct tsdb_view *v);
/* generation: of the block or head that the row lies in. The table has ERASE_SPAN_COLUMNS (ERASE_LOG_COLUMNS) or lacks what is absent. */
bool view_erase_row(const struct tsdb_view *v, const struct view_row_kind *k,
                    const union view_table *t, uint32_t row, uint64_t generation);
/* Bits of the targets that match the series. */
uint32_t view_erase_series(const struct tsdb_view *v, struct hash128 identity,
                           struct tsdb_labels l);
static inline bool view_erase_any(const struct tsdb_view *v)
{
    return v->erase != NULL;
}
/* Is the point of a series (with these bits) out of a source of this generation left out? */
bool view_erase_point(const struct tsdb_view *v, uint32_t bits, uint64_t generation, int64_t t_ms);
/* Are all points between? */
bool view_erase_span_of(const struct tsdb_view *v, uint32_t bits, uint64_t generation,
                        int64_t min_ms, int64_t max_ms);
bool view_erase_exemplar(const struct tsdb_view *v, struct tsdb_labels series,
                         struct tsdb_labels labels, int64_t t_ms, uint64_t generation);
static inline uint64_t view_source_generation(const struct view_source *src)
{
    return src->head ? src->head->head->generation : src->generation;
}

#endif
