#include "tsdb/series_limits.h"

#include <stdlib.h>

#include "base/check.h"

void series_limits_done(struct series_limits *l)
{
    for (uint32_t i = 0; i < l->metric_count; i++)
        free((void *)(uintptr_t)l->metrics[i].name.data);
    free(l->metrics), free(l->slots), free(l->orgs);
    *l = (struct series_limits){0};
}

static enum err org_of(struct series_limits *l, uint32_t org, uint32_t *out)
{
    for (*out = 0; *out < l->org_count; (*out)++)
        if (l->orgs[*out].org == org)
            return ERR_OK;
    if (l->org_count == SERIES_LIMITS_ORGS)
        return ERR_LIMIT;
    struct tsdb_registry_org *orgs = realloc(l->orgs, (l->org_count + 1) * sizeof(*orgs));
    if (!orgs)
        return ERR_NOMEM;
    l->orgs = orgs;
    l->orgs[l->org_count++] = (struct tsdb_registry_org){.org = org};
    return ERR_OK;
}

/* --- the table of metrics -------------------------------------------------------------------------- */

static uint32_t slot_of(const struct series_limits *l, uint64_t hash, uint32_t org,
                        struct bytes name)
{
    uint32_t i = (uint32_t)hash & (l->slot_cap - 1);
    while (l->slots[i]) {
        const struct series_metric *m = &l->metrics[l->slots[i] - 1];
        if (m->hash == hash && m->org == org && bytes_equal(m->name, name))
            break;
        i = (i + 1) & (l->slot_cap - 1);
    }
    return i;
}

static void slots_fill(struct series_limits *l)
{
    memset(l->slots, 0, l->slot_cap * sizeof(*l->slots));
    for (uint32_t i = 0; i < l->metric_count; i++)
        if (l->metrics[i].name.data)
            l->slots[slot_of(l, l->metrics[i].hash, l->metrics[i].org, l->metrics[i].name)] = i + 1;
}

static bool room(struct series_limits *l)
{
    if (l->metric_count == l->metric_cap) {
        uint32_t cap = l->metric_cap ? l->metric_cap * 2 : 64;
        struct series_metric *more = realloc(l->metrics, cap * sizeof(*more));
        if (!more)
            return false;
        l->metrics = more;
        l->metric_cap = cap;
    }
    if ((l->metric_count + 1) * 2 > l->slot_cap) {
        uint32_t cap = l->slot_cap ? l->slot_cap * 2 : 128;
        uint32_t *slots = malloc(cap * sizeof(*slots));
        if (!slots)
            return false;
        free(l->slots);
        l->slots = slots;
        l->slot_cap = cap;
        slots_fill(l);
    }
    return true;
}

/* Invariant 2 is the caller's business: make only what will have a series. */
static enum err metric_of(struct series_limits *l, uint32_t org, struct bytes name, bool make,
                          uint32_t *out)
{
    uint64_t hash = hash64(name, org);
    *out = SERIES_LIMITS_NONE;
    if (l->slot_cap) {
        uint32_t slot = slot_of(l, hash, org, name);
        if (l->slots[slot]) {
            *out = l->slots[slot] - 1;
            return ERR_OK;
        }
    }
    if (!make)
        return ERR_OK;
    uint8_t *copy = room(l) ? malloc(name.size + 1) : NULL;
    if (!copy)
        return ERR_NOMEM;
    if (name.size)
        memcpy(copy, name.data, name.size);
    uint32_t i = 0;
    if (l->metric_free) { /* some are free: after a trim only */
        while (l->metrics[i].name.data)
            i++;
        l->metric_free--;
    } else {
        i = l->metric_count++;
    }
    l->metrics[i] =
        (struct series_metric){.hash = hash, .org = org, .name = bytes_of(copy, name.size)};
    l->slots[slot_of(l, hash, org, name)] = i + 1;
    *out = i;
    return ERR_OK;
}

static void roll(struct series_metric *m, uint32_t minute)
{
    uint32_t window = minute / SERIES_LIMITS_WINDOW_MIN;
    if (window == m->window)
        return;
    m->born[1] = window == m->window + 1 ? m->born[0] : 0;
    m->born[0] = 0;
    m->window = window;
}

enum err series_limits_enter(struct series_limits *l, uint32_t org, struct bytes name,
                             uint32_t minute, bool force, uint32_t *out_metric)
{
    uint32_t o, m;
    enum err e = org_of(l, org, &o);
    if (e == ERR_OK)
        e = metric_of(l, o, name, force || l->orgs[o].series < l->per_org, &m);
    if (e != ERR_OK)
        return e;
    struct series_metric *metric = m == SERIES_LIMITS_NONE ? NULL : &l->metrics[m];
    if (!force &&
        (l->orgs[o].series >= l->per_org || (metric && metric->series >= l->per_metric))) {
        l->orgs[o].refused++;
        if (metric)
            metric->refused++;
        l->was_refused = true;
        return ERR_LIMIT;
    }
    roll(metric, minute);
    metric->born[0]++;
    metric->series++;
    l->orgs[o].series++;
    *out_metric = m;
    return ERR_OK;
}

void series_limits_leave(struct series_limits *l, uint32_t metric)
{
    struct series_metric *m = &l->metrics[metric];
    CHECK(m->series > 0 && l->orgs[m->org].series > 0);
    m->series--;
    l->orgs[m->org].series--;
}

enum err series_limits_overflow(struct series_limits *l, uint32_t org, struct bytes name,
                                enum tsdb_series_kind kind, struct series_metric **out)
{
    uint32_t o, m;
    enum err e = org_of(l, org, &o);
    if (e == ERR_OK)
        e = metric_of(l, o, name, l->orgs[o].overflow_series < TSDB_OVERFLOW_MAX, &m);
    if (e != ERR_OK)
        return e;
    if (m == SERIES_LIMITS_NONE ||
        (!l->metrics[m].overflow[kind] && l->orgs[o].overflow_series >= TSDB_OVERFLOW_MAX))
        return ERR_LIMIT;
    *out = &l->metrics[m];
    return ERR_OK;
}

void series_limits_folded(struct series_limits *l, struct series_metric *m)
{
    struct tsdb_registry_org *org = &l->orgs[m->org];
    org->folded++;
    org->refused -= MIN(org->refused, 1u);
    m->folded++;
    m->refused -= MIN(m->refused, 1u); /* 0 when its first refusal found no entry */
}

uint32_t series_limits_recent(const struct series_metric *m, uint32_t minute)
{
    uint32_t window = minute / SERIES_LIMITS_WINDOW_MIN;
    return window == m->window ? m->born[0] + m->born[1] : window == m->window + 1 ? m->born[0] : 0;
}

void series_limits_trim(struct series_limits *l)
{
    for (uint32_t i = 0; i < l->metric_count; i++) {
        struct series_metric *m = &l->metrics[i];
        if (!m->name.data || m->series || m->overflow[0] || m->overflow[1])
            continue;
        free((void *)(uintptr_t)m->name.data);
        *m = (struct series_metric){0};
        l->metric_free++;
    }
    if (l->slot_cap)
        slots_fill(l);
}
