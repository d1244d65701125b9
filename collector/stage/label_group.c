#include "collector/stage/label_group.h"

#include "base/check.h"
#include "base/hash.h"
#include "base/stats.h"

#include <stdlib.h>

STATS_COUNTER(dropped_limit, "telltale_stage_cells_dropped_total", "reason=\"series_limit\"",
              "Derived cells that were not kept.")
STATS_COUNTER(dropped_labels, "telltale_stage_cells_dropped_total", "reason=\"bad_labels\"",
              "Derived cells that were not kept.")

#define SLOTS (LABEL_GROUPS_MAX * 2)
#define KEY_MAX (10 * (LABEL_VALUE_KEPT + 2) + 8)

struct label_groups {
    struct label_group *slots[SLOTS];
    uint32_t count;
    struct arena *scratch; /* one series' labels at a time */
};

struct label_groups *label_groups_new(void)
{
    struct label_groups *g = calloc(1, sizeof *g);
    if (!g || !(g->scratch = arena_new(1u << 20))) {
        free(g);
        return NULL;
    }
    return g;
}

void label_groups_clear(struct label_groups *g)
{
    for (uint32_t i = 0; i < SLOTS; i++) {
        if (g->slots[i])
            free(g->slots[i]->key);
        free(g->slots[i]);
        g->slots[i] = NULL;
    }
    g->count = 0;
}

void label_groups_free(struct label_groups *g)
{
    if (!g)
        return;
    label_groups_clear(g);
    arena_free(g->scratch);
    free(g);
}

/* Cut at a character's edge, so that what was UTF-8 stays it. */
static struct bytes value_cut(struct bytes v)
{
    if (v.size <= LABEL_VALUE_KEPT)
        return v;
    size_t n = LABEL_VALUE_KEPT;
    while (n > 0 && (v.data[n] & 0xC0) == 0x80)
        n--;
    return bytes_slice(v, 0, n);
}

static struct label_group *group_new(struct label_groups *g, const uint8_t *key, uint32_t key_size,
                                     uint64_t hash, uint32_t org)
{
    static const char *const names[] = {"service",   "env",      "region",  "provider", "model",
                                        "operation", "endpoint", "variant", "plane"};
    struct label_group *group = calloc(1, sizeof *group);
    if (!group || !(group->key = malloc(key_size))) {
        free(group);
        return NULL;
    }
    memcpy(group->key, key, key_size);
    group->key_size = key_size;
    group->hash = hash;
    group->org = org;
    uint32_t at = 4;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        uint32_t n = group->key[at] | (uint32_t)group->key[at + 1] << 8;
        if (n)
            group->base[group->base_count++] =
                (struct label_pair){names[i], bytes_of(group->key + at + 2, n)};
        at += 2 + n;
    }
    if (g->count >= LABEL_GROUPS_MAX)
        label_groups_clear(g);
    uint32_t slot = (uint32_t)hash % SLOTS;
    while (g->slots[slot])
        slot = (slot + 1) % SLOTS;
    g->slots[slot] = group;
    g->count++;
    return group;
}

struct label_group *label_group_of(struct label_groups *g, uint32_t org, const struct genai_row *r)
{
    uint8_t key[KEY_MAX];
    uint32_t n = 4;
    const struct bytes parts[] = {r->service,  r->env,     r->region,
                                  r->provider, r->model,   r->operation,
                                  r->endpoint, r->variant, bytes_str(genai_plane_text(r->plane))};
    memcpy(key, &org, 4);
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        struct bytes v = value_cut(parts[i]);
        key[n++] = (uint8_t)v.size;
        key[n++] = (uint8_t)(v.size >> 8);
        if (v.size)
            memcpy(key + n, v.data, v.size);
        n += (uint32_t)v.size;
    }
    uint64_t h = hash64(bytes_of(key, n), 5);
    for (uint32_t slot = (uint32_t)h % SLOTS; g->slots[slot]; slot = (slot + 1) % SLOTS) {
        struct label_group *group = g->slots[slot];
        if (group->hash == h && group->key_size == n && memcmp(group->key, key, n) == 0)
            return group;
    }
    return group_new(g, key, n, h, org);
}

static struct tsdb_ref series_ref(struct label_groups *g, struct tsdb_registry *series,
                                  uint32_t org, struct tsdb_label *labels, size_t n)
{
    struct tsdb_labels built;
    struct tsdb_ref ref = {0};
    arena_reset(g->scratch);
    if (tsdb_labels_build(labels, n, g->scratch, &built, NULL) != ERR_OK) {
        stats_add(&dropped_labels, 1);
        return ref;
    }
    enum err e = tsdb_registry_ref(series, org, TSDB_SERIES_CELLS, built, &ref);
    if (e == ERR_LIMIT) /* cells are added up: those of many series may be those of one */
        e = tsdb_registry_overflow(series, org, TSDB_SERIES_CELLS, built, &ref);
    if (e != ERR_OK) {
        stats_add(&dropped_limit, 1);
        ref.v = 0;
    }
    return ref;
}

struct tsdb_ref label_groups_series(struct label_groups *g, struct tsdb_registry *series,
                                    uint32_t org, const char *family,
                                    const struct label_pair *pairs, size_t n)
{
    struct tsdb_label labels[16];
    size_t count = 0;
    CHECK(n + 2 <= ARRAY_LEN(labels));
    labels[count++] = (struct tsdb_label){BYTES_LIT("__name__"), bytes_str(family)};
    labels[count++] = (struct tsdb_label){BYTES_LIT("job"), BYTES_LIT("telltale")};
    for (size_t i = 0; i < n; i++)
        labels[count++] = (struct tsdb_label){bytes_str(pairs[i].name), value_cut(pairs[i].value)};
    return series_ref(g, series, org, labels, count);
}

struct tsdb_ref label_group_ref(struct label_groups *g, struct label_group *group,
                                struct tsdb_registry *series, const char *family,
                                const struct label_pair *more, size_t more_count,
                                struct tsdb_ref *memo)
{
    struct label_pair pairs[14];
    uint32_t evictions = tsdb_registry_evictions(series);
    if (group->evictions != evictions)
        memset(group->refs, 0, sizeof group->refs);
    group->evictions = evictions;
    if (memo && tsdb_registry_touch(series, *memo))
        return *memo;
    CHECK(group->base_count + more_count <= ARRAY_LEN(pairs));
    memcpy(pairs, group->base, group->base_count * sizeof *pairs);
    if (more_count)
        memcpy(pairs + group->base_count, more, more_count * sizeof *pairs);
    struct tsdb_ref ref =
        label_groups_series(g, series, group->org, family, pairs, group->base_count + more_count);
    if (memo)
        *memo = ref;
    return ref;
}
