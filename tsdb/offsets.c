#include "tsdb/offsets.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

#define NOWHERE (-1) /* nothing was taken yet */

struct place {
    struct bytes topic; /* malloc'ed */
    uint32_t partition;
    struct tsdb_position at, wanted; /* wanted: when the commit in hand succeeds */
    bool was_reset; /* in the commit in hand: what `at` says is of before */
};

struct offsets {
    pthread_mutex_t lock;
    struct place *places; /* sorted by (topic, partition) */
    size_t count, cap;
};

struct offsets *offsets_new(void)
{
    struct offsets *o = calloc(1, sizeof(*o));
    if (o)
        pthread_mutex_init(&o->lock, NULL);
    return o;
}

static void clear(struct place *places, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free((void *)(uintptr_t)places[i].topic.data);
    free(places);
}

void offsets_free(struct offsets *o)
{
    if (!o)
        return;
    clear(o->places, o->count);
    pthread_mutex_destroy(&o->lock);
    free(o);
}

static int compare(const struct place *p, struct bytes topic, uint32_t partition)
{
    int c = bytes_compare(p->topic, topic);
    return c ? c : (p->partition > partition) - (p->partition < partition);
}

/* Where it is, or belongs. */
static size_t find(const struct offsets *o, struct bytes topic, uint32_t partition, bool *found)
{
    size_t low = 0, high = o->count;
    *found = false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int c = compare(&o->places[middle], topic, partition);
        *found |= c == 0;
        if (c < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static enum err add(struct offsets *o, size_t at, struct bytes topic, uint32_t partition)
{
    if (o->count == OFFSETS_MAX)
        return ERR_LIMIT;
    if (o->count == o->cap) {
        size_t cap = o->cap ? o->cap * 2 : 16;
        struct place *p = realloc(o->places, cap * sizeof(*p));
        if (!p)
            return ERR_NOMEM;
        o->places = p;
        o->cap = cap;
    }
    uint8_t *copy = malloc(topic.size + 1);
    if (!copy)
        return ERR_NOMEM;
    memcpy(copy, topic.data, topic.size);
    memmove(&o->places[at + 1], &o->places[at], (o->count - at) * sizeof(*o->places));
    static const struct tsdb_position nowhere = {NOWHERE, -1, 0};
    o->places[at] = (struct place){bytes_of(copy, topic.size), partition, nowhere, nowhere, false};
    o->count++;
    return ERR_OK;
}

/* Under the lock. */
static enum err place_of(struct offsets *o, const struct tsdb_claim *c, struct place **out)
{
    bool found;
    size_t at = find(o, c->topic, c->partition, &found);
    enum err e = found ? ERR_OK : add(o, at, c->topic, c->partition);
    *out = e == ERR_OK ? &o->places[at] : NULL;
    return e;
}

enum err offsets_claim(struct offsets *o, const struct tsdb_claim *c)
{
    struct place *p;
    CHECK(c->from >= 0 && c->next > c->from);
    pthread_mutex_lock(&o->lock);
    enum err e = place_of(o, c, &p);
    if (e == ERR_OK && !c->is_reset && p->wanted.next != NOWHERE) {
        if (!p->was_reset && c->next <= p->at.next)
            e = ERR_NOT_FOUND;
        else if (c->from != p->wanted.next)
            e = ERR_CONFLICT;
    }
    if (e == ERR_OK) {
        p->wanted = (struct tsdb_position){c->next, c->epoch, c->mark};
        p->was_reset = p->was_reset || c->is_reset;
    }
    pthread_mutex_unlock(&o->lock);
    return e;
}

void offsets_settle(struct offsets *o, bool is_committed)
{
    pthread_mutex_lock(&o->lock);
    for (size_t i = 0; i < o->count; i++) {
        if (is_committed)
            o->places[i].at = o->places[i].wanted;
        else
            o->places[i].wanted = o->places[i].at;
        o->places[i].was_reset = false;
    }
    pthread_mutex_unlock(&o->lock);
}

enum err offsets_replay(struct offsets *o, const struct tsdb_claim *c)
{
    struct place *p;
    pthread_mutex_lock(&o->lock);
    enum err e = place_of(o, c, &p);
    if (e == ERR_OK)
        p->at = p->wanted = (struct tsdb_position){c->next, c->epoch, c->mark};
    pthread_mutex_unlock(&o->lock);
    return e;
}

bool offsets_find(struct offsets *o, struct bytes topic, uint32_t partition,
                  struct tsdb_position *out)
{
    bool found;
    pthread_mutex_lock(&o->lock);
    size_t at = find(o, topic, partition, &found);
    if (found)
        *out = o->places[at].at;
    pthread_mutex_unlock(&o->lock);
    return found && out->next != NOWHERE;
}

void offsets_encode(struct offsets *o, struct buf *out)
{
    size_t known = 0;
    pthread_mutex_lock(&o->lock);
    for (size_t i = 0; i < o->count; i++)
        known += o->places[i].at.next != NOWHERE;
    buf_varint(out, known);
    for (size_t i = 0; i < o->count; i++) {
        const struct place *p = &o->places[i];
        if (p->at.next == NOWHERE)
            continue;
        buf_lenbytes(out, p->topic);
        buf_varint(out, p->partition);
        buf_varint(out, (uint64_t)p->at.next);
        buf_zigzag(out, p->at.epoch);
        buf_u64(out, p->at.mark);
    }
    pthread_mutex_unlock(&o->lock);
}

static enum err decode_one(struct reader *r, struct offsets *into)
{
    struct tsdb_claim c = {.topic = reader_lenbytes(r)};
    bool found;
    uint64_t partition = reader_varint(r), next = reader_varint(r);
    int64_t epoch = reader_zigzag(r);
    c.mark = reader_u64(r);
    if (r->failed || c.topic.size == 0 || partition > INT32_MAX || next > INT64_MAX || epoch < -1 ||
        epoch > INT32_MAX)
        return ERR_CORRUPT;
    c.partition = (uint32_t)partition;
    size_t at = find(into, c.topic, c.partition, &found);
    if (found || at != into->count) /* they are sorted */
        return ERR_CORRUPT;
    c.next = (int64_t)next;
    c.epoch = (int32_t)epoch;
    return offsets_replay(into, &c);
}

enum err offsets_decode(struct offsets *o, struct bytes text)
{
    struct offsets *fresh = offsets_new();
    struct reader r = reader_of(text);
    if (!fresh)
        return ERR_NOMEM;
    uint64_t n = text.size ? reader_varint(&r) : 0; /* empty: from before there were any */
    enum err e = ERR_OK;
    for (uint64_t i = 0; i < n && e == ERR_OK; i++)
        e = decode_one(&r, fresh);
    if (e == ERR_OK && (r.failed || reader_left(&r)))
        e = ERR_CORRUPT;
    if (e == ERR_OK) {
        pthread_mutex_lock(&o->lock);
        struct place *old = o->places;
        size_t count = o->count;
        o->places = fresh->places;
        o->count = fresh->count;
        o->cap = fresh->cap;
        pthread_mutex_unlock(&o->lock);
        fresh->places = old;
        fresh->count = count;
    }
    offsets_free(fresh);
    return e;
}
