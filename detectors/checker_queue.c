#include "detectors/checker_queue.h"

#include <errno.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "base/check.h"
#include "base/clock.h"

#define BUCKETS 32768u /* some 25,000 spans a second, most with a source, are kept for seconds */

struct list {
    struct checker_item *first, *last;
};

/* Nothing is locked: a sender that waited for a lock would wait for a thread that runs only when nobody else wants to. */
struct checker_queue {
    uint64_t bytes_max; /* immutable */
    sem_t woken;
    _Atomic(struct checker_item *) inbox; /* the newest first; taken whole */
    atomic_uint_fast64_t bytes;
    atomic_uint_fast64_t lost[CHECKER_LOST];
    /* owned by the checker's thread */
    struct list calls, kept;
    struct checker_item *buckets[BUCKETS];
};

struct checker_queue *checker_queue_new(uint64_t bytes_max)
{
    struct checker_queue *q = calloc(1, sizeof *q);
    if (!q)
        return NULL;
    q->bytes_max = bytes_max;
    if (sem_init(&q->woken, 0, 0) != 0) {
        free(q);
        return NULL;
    }
    return q;
}

static void list_put(struct list *l, struct checker_item *x)
{
    x->next = NULL;
    if (l->last)
        l->last->next = x;
    else
        l->first = x;
    l->last = x;
}

static struct checker_item *list_take(struct list *l)
{
    struct checker_item *x = l->first;
    if (x && !(l->first = x->next))
        l->last = NULL;
    return x;
}

void checker_queue_free(struct checker_queue *q)
{
    if (!q)
        return;
    struct list *const lists[] = {&q->calls, &q->kept};
    for (struct checker_item *x = atomic_load(&q->inbox), *next; x; x = next) {
        next = x->next;
        free(x);
    }
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        for (struct checker_item *x; (x = list_take(lists[i])) != NULL;)
            free(x);
    sem_destroy(&q->woken);
    free(q);
}

uint64_t checker_queue_trace_hash(uint32_t org, struct tsdb_id16 trace)
{
    return hash64(bytes_of(trace.b, sizeof trace.b), (uint64_t)org << 32 | 9) | 1;
}

/* --- offering -------------------------------------------------------------------------------------- */

static size_t said_bytes(const struct checker_said *s)
{
    size_t n = s->attrs.size + s->events.size + s->event_name.size + s->body.size;
    for (size_t i = 0; i < CHECKER_TEXT_COUNT; i++)
        n += s->text[i].size;
    return n;
}

static struct bytes put(uint8_t **at, struct bytes b)
{
    struct bytes copy = bytes_of(*at, b.size);
    if (b.size)
        memcpy(*at, b.data, b.size);
    *at += b.size;
    return copy;
}

static struct checker_item *item_new(const struct checker_said *s)
{
    size_t texts = said_bytes(s), size = sizeof(struct checker_item) + texts;
    if (texts > CHECKER_ITEM_BYTES_MAX)
        return NULL;
    struct checker_item *x = malloc(size);
    if (!x)
        return NULL;
    uint8_t *at = (uint8_t *)(x + 1);
    *x = (struct checker_item){.said = *s,
                               .trace_hash = checker_queue_trace_hash(s->org, s->trace_id),
                               .arrived_ns = clock_mono_ns(),
                               .bytes = size};
    for (size_t i = 0; i < CHECKER_TEXT_COUNT; i++)
        x->said.text[i] = put(&at, s->text[i]);
    x->said.attrs = put(&at, s->attrs);
    x->said.events = put(&at, s->events);
    x->said.event_name = put(&at, s->event_name);
    x->said.body = put(&at, s->body);
    return x;
}

static void lose(struct checker_queue *q, uint64_t hash)
{
    atomic_store_explicit(&q->lost[hash % CHECKER_LOST], hash, memory_order_release);
}

/* The bytes are claimed before they are copied: when it is full, an offer costs no copy. */
bool checker_queue_offer(struct checker_queue *q, const struct checker_said *said)
{
    size_t bytes = sizeof(struct checker_item) + said_bytes(said);
    uint64_t hash = checker_queue_trace_hash(said->org, said->trace_id);
    uint64_t before = atomic_fetch_add(&q->bytes, bytes);
    struct checker_item *x = before + bytes <= q->bytes_max ? item_new(said) : NULL;
    if (!x) {
        atomic_fetch_sub(&q->bytes, bytes);
        lose(q, hash);
        return false;
    }
    x->next = atomic_load_explicit(&q->inbox, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&q->inbox, &x->next, x, memory_order_release,
                                                  memory_order_relaxed))
        ;
    return true;
}

bool checker_queue_is_lost(struct checker_queue *q, uint64_t trace_hash)
{
    return atomic_load_explicit(&q->lost[trace_hash % CHECKER_LOST], memory_order_acquire) ==
           trace_hash;
}

uint64_t checker_queue_bytes(struct checker_queue *q)
{
    return atomic_load(&q->bytes);
}

void checker_queue_wake(struct checker_queue *q)
{
    sem_post(&q->woken); /* fails only when it is posted more often than it can count */
}

/* --- sorting and joining ----------------------------------------------------------------------------- */

static void sort_one(struct checker_queue *q, struct checker_item *x)
{
    if (x->said.kind == CHECKER_CALL) {
        list_put(&q->calls, x);
        return;
    }
    struct checker_item **bucket = &q->buckets[x->trace_hash % BUCKETS];
    while (*bucket)
        bucket = &(*bucket)->peer;
    x->peer = NULL;
    *bucket = x;
    list_put(&q->kept, x);
}

static struct checker_item *take_inbox(struct checker_queue *q)
{
    struct checker_item *newest = atomic_exchange_explicit(&q->inbox, NULL, memory_order_acquire);
    struct checker_item *oldest = NULL;
    while (newest) {
        struct checker_item *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    return oldest;
}

/* Nobody is woken by an offer, which would cost the sender a system call: what comes is found when the wait is over. */
void checker_queue_sort(struct checker_queue *q, int64_t wait_ns)
{
    if (wait_ns > 0 && !atomic_load_explicit(&q->inbox, memory_order_relaxed)) {
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t); /* a jump makes one wait shorter or longer */
        int64_t until = t.tv_nsec + wait_ns;
        t.tv_sec += until / 1000000000;
        t.tv_nsec = until % 1000000000;
        while (sem_timedwait(&q->woken, &t) != 0 && errno == EINTR)
            ;
    }
    for (struct checker_item *x = take_inbox(q), *next; x; x = next) {
        next = x->next;
        sort_one(q, x);
    }
}

struct checker_item *checker_queue_call(struct checker_queue *q, int64_t arrived_before_ns)
{
    return q->calls.first && q->calls.first->arrived_ns <= arrived_before_ns ? list_take(&q->calls)
                                                                             : NULL;
}

int64_t checker_queue_oldest_ns(const struct checker_queue *q)
{
    return q->calls.first ? q->calls.first->arrived_ns : INT64_MAX;
}

static bool same_trace(const struct checker_item *a, const struct checker_item *b)
{
    return a->trace_hash == b->trace_hash && a->said.org == b->said.org &&
           memcmp(a->said.trace_id.b, b->said.trace_id.b, 16) == 0;
}

size_t checker_queue_records(struct checker_queue *q, const struct checker_item *call,
                             const struct checker_said **out, size_t max)
{
    size_t n = 0;
    for (const struct checker_item *x = q->buckets[call->trace_hash % BUCKETS]; x && n < max;
         x = x->peer)
        if (x->said.kind == CHECKER_RECORD && same_trace(x, call) &&
            memcmp(x->said.span_id.b, call->said.span_id.b, 8) == 0)
            out[n++] = &x->said;
    return n;
}

size_t checker_queue_sources(struct checker_queue *q, const struct checker_item *call,
                             const struct checker_said **out, size_t max)
{
    size_t n = 0;
    for (const struct checker_item *x = q->buckets[call->trace_hash % BUCKETS]; x && n < max;
         x = x->peer)
        if (x->said.kind == CHECKER_SOURCE && same_trace(x, call) &&
            x->said.end_ns <= call->said.end_ns)
            out[n++] = &x->said;
    return n;
}

void checker_queue_release(struct checker_queue *q, struct checker_item *take_item)
{
    CHECK(atomic_fetch_sub(&q->bytes, take_item->bytes) >= take_item->bytes);
    free(take_item);
}

/* Both lists are in order of arrival, and calls are judged in it: what came after the oldest call that waits may be needed yet, and so may what
 * came up to keep_ns before it. */
void checker_queue_expire(struct checker_queue *q, int64_t before_ns)
{
    while (q->kept.first && q->kept.first->arrived_ns <= before_ns) {
        struct checker_item *x = list_take(&q->kept);
        struct checker_item **at = &q->buckets[x->trace_hash % BUCKETS];
        while (*at && *at != x)
            at = &(*at)->peer;
        CHECK(*at == x);
        *at = x->peer;
        checker_queue_release(q, x);
    }
}
