#include "detectors/grounding_labels.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/stats.h"
#include "tsdb/tsdb_state.h"

#define TABLE "grounding_labels"
#define VERSION 1

STATS_COUNTER(damaged, "telltale_grounding_labels_damaged_total", "",
              "Labels of answers that could not be read back.")

void grounding_labels_name(char out[LABELS_NAME_MAX], struct bytes name)
{
    size_t n = MIN(name.size, (size_t)LABELS_NAME_MAX - 1);
    memset(out, 0, LABELS_NAME_MAX);
    if (n)
        memcpy(out, name.data, n);
}

/* --- bytes -------------------------------------------------------------------------------------------- */

void grounding_labels_key(const struct grounding_labelled *l, uint8_t out[LABELS_KEY_BYTES])
{
    for (int i = 0; i < 4; i++)
        out[i] = (uint8_t)(l->org >> (24 - 8 * i));
    memcpy(out + 4, l->trace_id.b, 16);
    memcpy(out + 20, l->span_id.b, 8);
}

void grounding_labels_encode(const struct grounding_labelled *l, struct buf *out)
{
    buf_u8(out, VERSION);
    buf_u8(out, (uint8_t)l->label);
    buf_u8(out, (uint8_t)(l->is_judged | l->is_flagged << 1));
    buf_zigzag(out, l->at_ms);
    buf_f64(out, l->probability);
    buf_f64(out, l->logit);
    buf_f64(out, l->inclusion);
    const char *const names[] = {l->service, l->model, l->prompt, l->version, l->annotator};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        buf_lenbytes(out, bytes_str(names[i]));
}

bool grounding_labels_decode(struct bytes key, struct bytes value, struct grounding_labelled *out)
{
    struct reader r = reader_of(value);
    *out = (struct grounding_labelled){0};
    if (key.size != LABELS_KEY_BYTES || reader_u8(&r) != VERSION)
        return false;
    for (int i = 0; i < 4; i++)
        out->org = out->org << 8 | key.data[i];
    memcpy(out->trace_id.b, key.data + 4, 16);
    memcpy(out->span_id.b, key.data + 20, 8);
    uint8_t label = reader_u8(&r), bits = reader_u8(&r);
    out->label = (enum grounding_label)label;
    out->is_judged = bits & 1;
    out->is_flagged = bits >> 1 & 1;
    out->at_ms = reader_zigzag(&r);
    out->probability = reader_f64(&r);
    out->logit = reader_f64(&r);
    out->inclusion = reader_f64(&r);
    char *const names[] = {out->service, out->model, out->prompt, out->version, out->annotator};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        grounding_labels_name(names[i], reader_lenbytes(&r));
    bool is_sound = out->probability >= 0 && out->probability <= 1 && out->logit > -1e6 &&
                    out->logit < 1e6 && out->inclusion > 0 && out->inclusion <= 1;
    return !r.failed && !reader_left(&r) && label <= GROUNDING_OTHER && bits <= 3 &&
           (is_sound || !out->is_judged);
}

/* --- memory ------------------------------------------------------------------------------------------- */

static uint64_t hash_of(uint32_t org, struct tsdb_id16 trace, struct tsdb_id8 span)
{
    return hash64(bytes_of(trace.b, 16), hash64(bytes_of(span.b, 8), org));
}

struct grounding_labelled *grounding_labels_find(const struct grounding_labels *t, uint32_t org,
                                                 struct tsdb_id16 trace, struct tsdb_id8 span)
{
    if (!t->slot_count)
        return NULL;
    for (uint64_t at = hash_of(org, trace, span); t->slots[at % t->slot_count]; at++) {
        struct grounding_labelled *l = &t->list[t->slots[at % t->slot_count] - 1];
        if (l->org == org && memcmp(l->trace_id.b, trace.b, 16) == 0 &&
            memcmp(l->span_id.b, span.b, 8) == 0)
            return l;
    }
    return NULL;
}

static void place(struct grounding_labels *t, uint32_t index)
{
    const struct grounding_labelled *l = &t->list[index];
    uint64_t at = hash_of(l->org, l->trace_id, l->span_id);
    while (t->slots[at % t->slot_count])
        at++;
    t->slots[at % t->slot_count] = index + 1;
}

/* Room for one more, so that nothing can fail once it is durable. */
static enum err reserve(struct grounding_labels *t)
{
    if (t->count < t->cap)
        return ERR_OK;
    uint32_t cap = t->cap ? t->cap * 2 : 64;
    struct grounding_labelled *list = realloc(t->list, cap * sizeof *list);
    if (!list)
        return ERR_NOMEM;
    t->list = list;
    uint32_t *slots = calloc((size_t)cap * 2, sizeof *slots);
    if (!slots)
        return ERR_NOMEM;
    free(t->slots);
    t->slots = slots;
    t->slot_count = cap * 2;
    t->cap = cap;
    for (uint32_t i = 0; i < t->count; i++)
        place(t, i);
    return ERR_OK;
}

static void keep(struct grounding_labels *t, const struct grounding_labelled *l)
{
    t->list[t->count] = *l;
    place(t, t->count++);
}

enum err grounding_labels_load(struct grounding_labels *t, struct tsdb *db)
{
    struct arena *a = arena_new(0);
    struct tsdb_state_row *rows = NULL;
    size_t n = 0;
    enum err e =
        a ? tsdb_state_scan(db, TABLE, BYTES_NONE, GROUNDING_LABELS_MAX, a, &rows, &n) : ERR_NOMEM;
    if (e == ERR_NOT_FOUND) {
        e = ERR_OK;
        n = 0;
    }
    for (size_t i = 0; e == ERR_OK && i < n; i++) {
        struct grounding_labelled l;
        if (!grounding_labels_decode(rows[i].key, rows[i].value, &l))
            stats_add(&damaged, 1);
        else if ((e = reserve(t)) == ERR_OK)
            keep(t, &l);
    }
    arena_free(a);
    return e;
}

void grounding_labels_done(struct grounding_labels *t)
{
    free(t->list);
    free(t->slots);
    *t = (struct grounding_labels){0};
}

enum err grounding_labels_put(struct grounding_labels *t, struct tsdb *db,
                              const struct grounding_labelled *l)
{
    struct grounding_labelled *old = grounding_labels_find(t, l->org, l->trace_id, l->span_id);
    struct tsdb_state_write *w;
    struct buf value = {0};
    uint8_t key[LABELS_KEY_BYTES];
    if (!old && t->count >= GROUNDING_LABELS_MAX)
        return ERR_LIMIT;
    enum err e = old ? ERR_OK : reserve(t);
    if (e == ERR_OK)
        e = tsdb_state_begin(db, &w);
    if (e != ERR_OK)
        return e;
    grounding_labels_key(l, key);
    grounding_labels_encode(l, &value);
    e = value.failed ? ERR_NOMEM
                     : tsdb_state_put(w, TABLE, bytes_of(key, sizeof key), buf_bytes(&value));
    if (e == ERR_OK)
        e = tsdb_state_commit(w);
    else
        tsdb_state_abort(w);
    buf_done(&value);
    if (e == ERR_OK && old)
        *old = *l;
    else if (e == ERR_OK)
        keep(t, l);
    return e;
}
