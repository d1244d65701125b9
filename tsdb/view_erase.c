#include "tsdb/view_erase.h"

static bool is_of(const struct tsdb_view *v, const struct erase_target *t)
{
    return t->org == v->org;
}

bool view_erase_rows_active(const struct tsdb_view *v)
{
    for (uint32_t i = 0; v->erase && i < v->erase->count; i++)
        if (is_of(v, v->erase->targets[i]) && erase_is_of_rows(v->erase->targets[i]))
            return true;
    return false;
}

bool view_erase_row(const struct tsdb_view *v, const struct view_row_kind *k,
                    const union view_table *t, uint32_t row, uint64_t generation)
{
    for (uint32_t i = 0; i < v->erase->count; i++) {
        const struct erase_target *target = v->erase->targets[i];
        if (is_of(v, target) && erase_is_of_rows(target) && generation <= target->generation &&
            (k->is_spans ? erase_match_span(target, &t->spans, row)
                         : erase_match_log(target, &t->logs, row)))
            return true;
    }
    return false;
}

uint32_t view_erase_series(const struct tsdb_view *v, struct hash128 identity, struct tsdb_labels l)
{
    uint32_t bits = 0;
    for (uint32_t i = 0; v->erase && i < v->erase->count; i++)
        if (is_of(v, v->erase->targets[i]) && erase_match_series(v->erase->targets[i], identity, l))
            bits |= UINT32_C(1) << i;
    return bits;
}

bool view_erase_span_of(const struct tsdb_view *v, uint32_t bits, uint64_t generation,
                        int64_t min_ms, int64_t max_ms)
{
    for (uint32_t i = 0; bits; i++, bits >>= 1) {
        const struct erase_target *t = v->erase->targets[i];
        if ((bits & 1) && generation <= t->generation &&
            (t->kind != TSDB_ERASE_SERIES || (t->min_ms <= min_ms && t->max_ms >= max_ms)))
            return true;
    }
    return false;
}

bool view_erase_point(const struct tsdb_view *v, uint32_t bits, uint64_t generation, int64_t t_ms)
{
    return bits && view_erase_span_of(v, bits, generation, t_ms, t_ms);
}

bool view_erase_exemplar(const struct tsdb_view *v, struct tsdb_labels series,
                         struct tsdb_labels labels, int64_t t_ms, uint64_t generation)
{
    for (uint32_t i = 0; v->erase && i < v->erase->count; i++)
        if (is_of(v, v->erase->targets[i]) && generation <= v->erase->targets[i]->generation &&
            erase_match_exemplar(v->erase->targets[i], series, labels, t_ms))
            return true;
    return false;
}
