#include "gpu/gpu_queue.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "gpu/vector_cache.h"

#define JOBS_DEFAULT 256u
#define TOKENS_A_THREAD 1536u
#define BATCH_SEQUENCES 1024u

struct node {
    struct gpu_job job;
    struct node *next;
    uint32_t taken; /* sequences that a batch has had */
    enum err result;
};

struct list {
    struct node *first, **last;
};

/* One sequence of the batch under way. */
struct entry {
    struct node *node;
    uint32_t sequence; /* of the job */
    uint32_t same_as; /* an earlier entry of the batch with the same key; itself: none */
    bool is_cached;
    struct hash128 key;
};

struct gpu_queue {
    /* immutable after init */
    const struct gpu_model *model;
    struct gpu_encoder *encoder;
    uint32_t jobs_max, tokens_max, width;
    pthread_t thread;
    /* owned by the thread */
    struct vector_cache *cache;
    struct entry entries[BATCH_SEQUENCES];
    struct gpu_sequence sequences[BATCH_SEQUENCES];
    uint32_t entry_of[BATCH_SEQUENCES]; /* of a sequence that is run */
    uint32_t count, run;
    /* guarded by lock */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct node *nodes, *free;
    struct list waiting[GPU_PRIORITY_COUNT];
    bool stopping;
    /* atomic */
    _Atomic uint64_t jobs, refused, expired, failed, batches, ran, tokens, hits, misses;
    _Atomic uint32_t waits;
};

static void *queue_thread(void *arg);

static void list_init(struct list *l)
{
    l->first = NULL;
    l->last = &l->first;
}

static void list_add(struct list *l, struct node *n)
{
    n->next = NULL;
    *l->last = n;
    l->last = &n->next;
}

static struct node *list_take(struct list *l)
{
    struct node *n = l->first;
    if (n && !(l->first = n->next))
        l->last = &l->first;
    return n;
}

/* --- life ------------------------------------------------------------------------------------------ */

static void queue_destroy(struct gpu_queue *q)
{
    gpu_encoder_free(q->encoder);
    vector_cache_free(q->cache);
    pthread_mutex_destroy(&q->lock);
    pthread_cond_destroy(&q->wake);
    free(q->nodes);
    free(q);
}

struct gpu_queue *gpu_queue_new(const struct gpu_model *m, const struct gpu_queue_options *o)
{
    struct gpu_queue *q = calloc(1, sizeof(*q));
    struct gpu_model_info info;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned threads = o->threads ? o->threads : (unsigned)MAX(cores, 1);
    if (!q)
        return NULL;
    gpu_model_info(m, &info);
    q->model = m;
    q->width = info.hidden;
    q->jobs_max = o->jobs_max ? o->jobs_max : JOBS_DEFAULT;
    q->tokens_max = o->tokens_max ? o->tokens_max : TOKENS_A_THREAD * threads;
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->wake, NULL);
    for (int p = 0; p < GPU_PRIORITY_COUNT; p++)
        list_init(&q->waiting[p]);
    q->encoder = gpu_encoder_new(m, threads);
    q->cache = vector_cache_new(o->cache_bytes, info.hidden);
    q->nodes = calloc(q->jobs_max, sizeof(*q->nodes));
    for (uint32_t i = 0; q->nodes && i < q->jobs_max; i++) {
        q->nodes[i].next = q->free;
        q->free = &q->nodes[i];
    }
    if (!q->encoder || !q->cache || !q->nodes ||
        pthread_create(&q->thread, NULL, queue_thread, q) != 0) {
        queue_destroy(q);
        return NULL;
    }
    return q;
}

void gpu_queue_free(struct gpu_queue *q)
{
    if (!q)
        return;
    pthread_mutex_lock(&q->lock);
    q->stopping = true;
    pthread_cond_signal(&q->wake);
    pthread_mutex_unlock(&q->lock);
    pthread_join(q->thread, NULL);
    queue_destroy(q);
}

/* --- jobs ------------------------------------------------------------------------------------------ */

enum err gpu_queue_submit(struct gpu_queue *q, const struct gpu_job *job, struct err_msg *msg)
{
    CHECK(job->priority < GPU_PRIORITY_COUNT && job->done);
    enum err e = gpu_encode_check(q->model, job->sequences, job->count, job->what, msg);
    if (e != ERR_OK)
        return e;
    pthread_mutex_lock(&q->lock);
    struct node *n = q->stopping ? NULL : q->free;
    if (n) {
        q->free = n->next;
        *n = (struct node){.job = *job, .result = ERR_OK};
        list_add(&q->waiting[job->priority], n);
        atomic_fetch_add(&q->waits, 1);
        pthread_cond_signal(&q->wake);
    }
    pthread_mutex_unlock(&q->lock);
    atomic_fetch_add(n ? &q->jobs : &q->refused, 1);
    return n ? ERR_OK
             : err_set(msg, ERR_UNAVAILABLE, "%u jobs wait for the encoder already", q->jobs_max);
}

static void finish(struct gpu_queue *q, struct node *n)
{
    struct gpu_job job = n->job;
    enum err result = n->result;
    if (result == ERR_TIMEOUT)
        atomic_fetch_add(&q->expired, 1);
    else if (result != ERR_OK)
        atomic_fetch_add(&q->failed, 1);
    pthread_mutex_lock(&q->lock);
    n->next = q->free;
    q->free = n;
    pthread_mutex_unlock(&q->lock);
    atomic_fetch_sub(&q->waits, 1);
    job.done(job.ctx, result);
}

struct waiter {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool is_done;
    enum err result;
};

static void wake_waiter(void *ctx, enum err e)
{
    struct waiter *w = ctx;
    pthread_mutex_lock(&w->lock);
    w->is_done = true;
    w->result = e;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
}

enum err gpu_queue_run(struct gpu_queue *q, const struct gpu_job *job, struct err_msg *msg)
{
    struct waiter w = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};
    struct gpu_job mine = *job;
    mine.done = wake_waiter;
    mine.ctx = &w;
    enum err e = gpu_queue_submit(q, &mine, msg);
    if (e == ERR_OK) {
        pthread_mutex_lock(&w.lock);
        while (!w.is_done)
            pthread_cond_wait(&w.wake, &w.lock);
        pthread_mutex_unlock(&w.lock);
        e = w.result;
        if (e != ERR_OK)
            err_set(msg, e, "%s",
                    e == ERR_TIMEOUT       ? "the encoder had no time for it before its deadline"
                    : e == ERR_UNAVAILABLE ? "the encoder is being shut down"
                                           : err_text(e));
    }
    pthread_mutex_destroy(&w.lock);
    pthread_cond_destroy(&w.wake);
    return e;
}

void gpu_queue_stats(const struct gpu_queue *q, struct gpu_queue_stats *out)
{
    *out = (struct gpu_queue_stats){.jobs = atomic_load(&q->jobs),
                                    .refused = atomic_load(&q->refused),
                                    .expired = atomic_load(&q->expired),
                                    .failed = atomic_load(&q->failed),
                                    .batches = atomic_load(&q->batches),
                                    .sequences = atomic_load(&q->ran),
                                    .tokens = atomic_load(&q->tokens),
                                    .cache_hits = atomic_load(&q->hits),
                                    .cache_misses = atomic_load(&q->misses),
                                    .waiting = atomic_load(&q->waits)};
}

/* --- batches --------------------------------------------------------------------------------------- */

static struct hash128 key_of(const struct gpu_sequence *s)
{
    struct hash128 ids = hash128(bytes_of(s->ids, s->count * sizeof(*s->ids)), s->count);
    bool has_types = false;
    for (uint32_t i = 0; s->types && i < s->count; i++)
        has_types |= s->types[i] != 0;
    if (!has_types) /* no segments and one segment are the same to the model */
        return ids;
    return hash128(bytes_of(s->types, s->count), ids.lo ^ (ids.hi << 1 | 1));
}

static uint32_t first_with_key(const struct gpu_queue *q, struct hash128 key)
{
    for (uint32_t i = 0; i < q->count; i++)
        if (hash128_equal(q->entries[i].key, key))
            return i;
    return q->count;
}

/* Puts one sequence into the batch; gives the tokens that it costs. */
static uint32_t add_entry(struct gpu_queue *q, struct node *n, uint32_t sequence)
{
    struct gpu_sequence *s = &n->job.sequences[sequence];
    struct entry *e = &q->entries[q->count];
    *e = (struct entry){.node = n, .sequence = sequence, .same_as = q->count};
    if (n->job.what == GPU_VECTOR) {
        e->key = key_of(s);
        const float *known = vector_cache_find(q->cache, e->key);
        if (known)
            memcpy(s->out, known, q->width * sizeof(*known));
        e->is_cached = known != NULL;
        e->same_as = known ? q->count : first_with_key(q, e->key);
        bool is_hit = known || e->same_as != q->count;
        atomic_fetch_add(is_hit ? &q->hits : &q->misses, 1);
    }
    bool is_run = !e->is_cached && e->same_as == q->count;
    q->count++;
    if (!is_run)
        return 0;
    q->entry_of[q->run] = q->count - 1;
    q->sequences[q->run++] = *s;
    return s->count;
}

/* Jobs past their deadline leave the queue, wherever they stand in it. */
static void expire(struct list *l, int64_t now, struct list *over)
{
    struct list rest;
    struct node *n;
    list_init(&rest);
    while ((n = list_take(l))) {
        bool is_over = n->job.deadline_ns && n->job.deadline_ns <= now;
        if (is_over)
            n->result = ERR_TIMEOUT;
        list_add(is_over ? over : &rest, n);
    }
    list_init(l);
    while ((n = list_take(&rest)))
        list_add(l, n);
}

/* Fills the batch; jobs whose last sequence is in it leave the queue for `last`. A batch gives one kind of output: order is kept, so a job of another
 * kind ends it. */
static void take_batch(struct gpu_queue *q, struct list *last, struct list *over)
{
    uint32_t tokens = 0;
    int64_t now = clock_mono_ns();
    q->count = q->run = 0;
    pthread_mutex_lock(&q->lock);
    for (int p = 0; p < GPU_PRIORITY_COUNT; p++)
        expire(&q->waiting[p], now, over);
    while (!q->stopping && q->count < BATCH_SEQUENCES && tokens < q->tokens_max) {
        struct node *n = q->waiting[GPU_INTERACTIVE].first;
        if (!n)
            n = q->waiting[GPU_SAMPLED].first;
        if (!n || (q->count && q->entries[0].node->job.what != n->job.what))
            break;
        while (n->taken < n->job.count && q->count < BATCH_SEQUENCES && tokens < q->tokens_max)
            tokens += add_entry(q, n, n->taken++);
        if (n->taken == n->job.count)
            list_add(last, list_take(&q->waiting[n->job.priority]));
    }
    pthread_mutex_unlock(&q->lock);
    atomic_fetch_add(&q->tokens, tokens);
}

static bool is_finite(const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return false;
    return true;
}

/* A result that is not finite is the fault of its own job alone. */
static void blame(struct gpu_queue *q, enum err e)
{
    for (uint32_t i = 0; i < q->run; i++) {
        struct node *n = q->entries[q->entry_of[i]].node;
        size_t floats = gpu_encode_floats(q->model, &q->sequences[i], n->job.what);
        if (e != ERR_EXECUTION || !is_finite(q->sequences[i].out, floats))
            n->result = e;
    }
}

static void run_batch(struct gpu_queue *q)
{
    enum gpu_output what = q->entries[0].node->job.what;
    enum err e = q->run ? gpu_encode(q->encoder, q->sequences, q->run, what, NULL) : ERR_OK;
    if (e != ERR_OK)
        blame(q, e);
    atomic_fetch_add(&q->batches, q->run != 0);
    atomic_fetch_add(&q->ran, q->run);
    for (uint32_t i = 0; i < q->count && what == GPU_VECTOR; i++) {
        const struct entry *own = &q->entries[i], *from = &q->entries[own->same_as];
        float *out = own->node->job.sequences[own->sequence].out;
        const float *made = from->node->job.sequences[from->sequence].out;
        if (own != from)
            memcpy(out, made, q->width * sizeof(*out));
        if (own != from && from->node->result != ERR_OK)
            own->node->result = from->node->result;
        else if (!own->is_cached && from->node->result == ERR_OK)
            vector_cache_put(q->cache, own->key, out);
    }
}

static void finish_all(struct gpu_queue *q, struct list *l)
{
    struct node *n;
    while ((n = list_take(l)))
        finish(q, n);
}

static bool wait_for_jobs(struct gpu_queue *q)
{
    pthread_mutex_lock(&q->lock);
    while (!q->stopping && !q->waiting[GPU_INTERACTIVE].first && !q->waiting[GPU_SAMPLED].first)
        pthread_cond_wait(&q->wake, &q->lock);
    bool goes_on = !q->stopping;
    pthread_mutex_unlock(&q->lock);
    return goes_on;
}

static void *queue_thread(void *arg)
{
    struct gpu_queue *q = arg;
    struct list last, over;
    list_init(&last);
    list_init(&over);
    while (wait_for_jobs(q)) {
        take_batch(q, &last, &over);
        finish_all(q, &over);
        if (q->count)
            run_batch(q);
        finish_all(q, &last);
    }
    for (int p = 0; p < GPU_PRIORITY_COUNT; p++) {
        struct node *n;
        for (;;) {
            pthread_mutex_lock(&q->lock);
            n = list_take(&q->waiting[p]);
            pthread_mutex_unlock(&q->lock);
            if (!n)
                break;
            n->result = ERR_UNAVAILABLE;
            finish(q, n);
        }
    }
    return NULL;
}
