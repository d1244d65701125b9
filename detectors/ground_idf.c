/* A sorted table, and the counts that it is made of. */
#include "detectors/ground_idf.h"

#include <math.h>
#include <stdlib.h>

#include "base/check.h"

#define VERSION 1u

enum err ground_idf_read(struct bytes t, struct ground_idf *out)
{
    struct reader r = reader_of(t);
    uint32_t version = reader_u32(&r), count = reader_u32(&r), bits = reader_u32(&r);
    float rarest;
    memcpy(&rarest, &bits, 4);
    if (r.failed || version != VERSION || count > GROUND_IDF_WORDS_MAX ||
        reader_left(&r) != (size_t)count * 5 || !(rarest > 0 && rarest < 100))
        return ERR_CORRUPT;
    for (uint32_t i = 1; i < count; i++)
        if (bytes_u32le(r.at + 4 * (size_t)i) <= bytes_u32le(r.at + 4 * (size_t)(i - 1)))
            return ERR_CORRUPT;
    *out = (struct ground_idf){r.at, r.at + 4 * (size_t)count, count, rarest};
    return ERR_OK;
}

float ground_idf_of(const struct ground_idf *t, uint32_t hash)
{
    uint32_t low = 0, high = t->count;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (bytes_u32le(t->hashes + 4 * (size_t)mid) < hash)
            low = mid + 1;
        else
            high = mid;
    }
    bool found = low < t->count && bytes_u32le(t->hashes + 4 * (size_t)low) == hash;
    return found ? t->rarest * (float)t->values[low] / 255.f : t->rarest;
}

/* --- counting -------------------------------------------------------------------------------------- */

struct cell {
    uint32_t hash, texts,
        last; /* last: the text that counted it last, so that each counts it once */
};
struct ground_idf_counter {
    struct cell *cells; /* open addressing; hash 0 is free */
    uint32_t mask, used, texts;
};

struct ground_idf_counter *ground_idf_counter_new(void)
{
    struct ground_idf_counter *c = calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    c->mask = (1u << 16) - 1;
    c->cells = calloc((size_t)c->mask + 1, sizeof(*c->cells));
    if (!c->cells) {
        free(c);
        return NULL;
    }
    return c;
}

void ground_idf_counter_free(struct ground_idf_counter *c)
{
    if (c)
        free(c->cells);
    free(c);
}

static struct cell *cell_of(struct cell *cells, uint32_t mask, uint32_t hash)
{
    uint32_t i = hash & mask;
    while (cells[i].hash && cells[i].hash != hash)
        i = (i + 1) & mask;
    return &cells[i];
}

static bool counter_grow(struct ground_idf_counter *c)
{
    uint32_t mask = c->mask * 2 + 1;
    struct cell *cells = calloc((size_t)mask + 1, sizeof(*cells));
    if (!cells)
        return false;
    for (uint32_t i = 0; i <= c->mask; i++)
        if (c->cells[i].hash)
            *cell_of(cells, mask, c->cells[i].hash) = c->cells[i];
    free(c->cells);
    c->cells = cells, c->mask = mask;
    return true;
}

enum err ground_idf_counter_add(struct ground_idf_counter *c, const struct ground_words *text)
{
    c->texts++;
    for (uint32_t i = 0; i < text->count; i++) {
        if (c->used > c->mask / 2 && !counter_grow(c))
            return ERR_NOMEM;
        struct cell *cell = cell_of(c->cells, c->mask, text->words[i].hash);
        c->used += cell->hash == 0;
        cell->hash = text->words[i].hash;
        cell->texts += cell->last != c->texts;
        cell->last = c->texts;
    }
    return ERR_OK;
}

static int by_texts(const void *a, const void *b)
{
    const struct cell *x = a, *y = b;
    if (x->texts != y->texts)
        return x->texts < y->texts ? 1 : -1;
    return (x->hash > y->hash) - (x->hash < y->hash);
}

static int by_hash(const void *a, const void *b)
{
    const struct cell *x = a, *y = b;
    return (x->hash > y->hash) - (x->hash < y->hash);
}

void ground_idf_counter_write(struct ground_idf_counter *c, uint32_t least_texts,
                              uint32_t words_max, struct buf *out)
{
    struct cell *kept = malloc(((size_t)c->used + 1) * sizeof(*kept));
    uint32_t n = 0, bits;
    if (!kept) {
        out->failed = true;
        return;
    }
    for (uint32_t i = 0; i <= c->mask; i++)
        if (c->cells[i].hash && c->cells[i].texts >= least_texts)
            kept[n++] = c->cells[i];
    qsort(kept, n, sizeof(*kept), by_texts);
    n = MIN(n, MIN(words_max, GROUND_IDF_WORDS_MAX));
    qsort(kept, n, sizeof(*kept), by_hash);
    float rarest = logf(1.f + (float)c->texts / .5f);
    memcpy(&bits, &rarest, 4);
    buf_u32(out, VERSION), buf_u32(out, n), buf_u32(out, bits);
    for (uint32_t i = 0; i < n; i++)
        buf_u32(out, kept[i].hash);
    for (uint32_t i = 0; i < n; i++) {
        float idf = logf(1.f + (float)c->texts / ((float)kept[i].texts + .5f));
        buf_u8(out, (uint8_t)MIN(255.f, idf / rarest * 255.f + .5f));
    }
    free(kept);
}
