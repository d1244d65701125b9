#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>
#include <math.h>
#include <pthread.h>

#include "base/check.h"
#include "base/clock.h"
#include "gpu/gpu_queue.h"
#include "gpu/vector_cache.h"
#include "helper_model.h"

static char model_dir[256];
static struct gpu_model *model;

static struct gpu_queue *new_queue(uint32_t jobs_max, uint32_t tokens_max, size_t cache_bytes)
{
    struct gpu_queue_options o = {
        .threads = 2, .jobs_max = jobs_max, .tokens_max = tokens_max, .cache_bytes = cache_bytes};
    struct gpu_queue *q = gpu_queue_new(model, &o);
    assert_non_null(q);
    return q;
}

/* Sequences of seeded ids, with a place for vectors or logits. */
struct batch {
    struct gpu_sequence s[64];
    uint32_t ids[64][MODEL_POSITIONS];
    float out[64][MODEL_POSITIONS * MODEL_HIDDEN];
};

static struct batch *new_batch(uint32_t seed, uint32_t count, uint32_t length)
{
    struct batch *b = calloc(1, sizeof(*b));
    assert_non_null(b);
    for (uint32_t i = 0; i < count; i++) {
        b->s[i] = (struct gpu_sequence){
            b->ids[i], NULL, length ? length : 1 + (seed + i * 7) % MODEL_POSITIONS, b->out[i]};
        for (uint32_t k = 0; k < b->s[i].count; k++)
            b->ids[i][k] = (seed * 31 + i * 17 + k * 5) % helper_model_vocab();
    }
    return b;
}

/* The queue's thread is held in a `done` until the gate opens: what is given meanwhile waits together. */
struct gate {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool is_held, is_open;
};

static void hold(void *ctx, enum err e)
{
    struct gate *g = ctx;
    pthread_mutex_lock(&g->lock);
    g->is_held = true;
    pthread_cond_broadcast(&g->wake);
    while (!g->is_open)
        pthread_cond_wait(&g->wake, &g->lock);
    pthread_mutex_unlock(&g->lock);
}

static void close_gate(struct gate *g, struct gpu_queue *q, struct batch *b)
{
    struct err_msg msg;
    struct gpu_job job = {b->s, 1, GPU_HIDDEN, GPU_INTERACTIVE, 0, hold, g};
    *g = (struct gate){PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, false};
    assert_int_equal(gpu_queue_submit(q, &job, &msg), ERR_OK);
    pthread_mutex_lock(&g->lock);
    while (!g->is_held)
        pthread_cond_wait(&g->wake, &g->lock);
    pthread_mutex_unlock(&g->lock);
}

static void open_gate(struct gate *g)
{
    pthread_mutex_lock(&g->lock);
    g->is_open = true;
    pthread_cond_broadcast(&g->wake);
    pthread_mutex_unlock(&g->lock);
}

/* Results in the order they came. */
static pthread_mutex_t order_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t order_wake = PTHREAD_COND_INITIALIZER;
static int order[64];
static enum err results[64];
static uint32_t order_count;

static void note(void *ctx, enum err e)
{
    pthread_mutex_lock(&order_lock);
    order[order_count] = (int)(intptr_t)ctx;
    results[order_count++] = e;
    pthread_cond_broadcast(&order_wake);
    pthread_mutex_unlock(&order_lock);
}

static void wait_for_notes(uint32_t n)
{
    pthread_mutex_lock(&order_lock);
    while (order_count < n)
        pthread_cond_wait(&order_wake, &order_lock);
    pthread_mutex_unlock(&order_lock);
}

static enum err give(struct gpu_queue *q, struct batch *b, uint32_t count, enum gpu_priority p,
                     int64_t deadline, int id)
{
    struct err_msg msg;
    struct gpu_job job = {b->s, count, GPU_VECTOR, p, deadline, note, (void *)(intptr_t)id};
    return gpu_queue_submit(q, &job, &msg);
}

static void interactive_jobs_go_before_sampled_ones(void **state)
{
    struct gpu_queue *q = new_queue(8, 30, 0);
    struct batch *b = new_batch(1, 16, 20);
    struct gate g;
    order_count = 0;
    close_gate(&g, q, b);
    assert_int_equal(give(q, b, 12, GPU_SAMPLED, 0, 1), ERR_OK); /* several batches */
    assert_int_equal(give(q, b, 1, GPU_SAMPLED, 0, 2), ERR_OK);
    assert_int_equal(give(q, b, 3, GPU_INTERACTIVE, 0, 3), ERR_OK);
    open_gate(&g);
    wait_for_notes(3);
    assert_int_equal(order[0], 3);
    assert_int_equal(order[1], 1);
    assert_int_equal(order[2], 2);
    gpu_queue_free(q);
    free(b);
}

/* The sampled job says, when it is half done, that an interactive one has come: it is answered before the sampled one ends. */
static void a_long_job_lets_others_through_between_its_batches(void **state)
{
    struct gpu_queue *q = new_queue(64, 20, 0);
    struct batch *b = new_batch(1, 64, 20);
    struct gate g;
    order_count = 0;
    close_gate(&g, q, b);
    assert_int_equal(give(q, b, 64, GPU_SAMPLED, 0, 1), ERR_OK);
    open_gate(&g);
    assert_int_equal(give(q, b, 1, GPU_INTERACTIVE, 0, 2), ERR_OK);
    wait_for_notes(2);
    struct gpu_queue_stats s;
    gpu_queue_stats(q, &s);
    assert_true(s.batches >= 65); /* not one batch of everything */
    assert_int_equal(s.sequences, 66);
    assert_int_equal(s.tokens, 66 * 20);
    gpu_queue_free(q);
    free(b);
}

static void a_job_past_its_deadline_is_answered_and_not_run(void **state)
{
    struct gpu_queue *q = new_queue(8, 0, 0);
    struct batch *b = new_batch(1, 8, 20), *late = new_batch(2, 8, 20);
    struct gate g;
    struct gpu_queue_stats s;
    order_count = 0;
    close_gate(&g, q, b);
    late->out[0][0] = 77;
    assert_int_equal(give(q, b, 2, GPU_SAMPLED, clock_mono_ns() + INT64_C(3600000000000), 1),
                     ERR_OK);
    assert_int_equal(give(q, late, 2, GPU_SAMPLED, clock_mono_ns() - 1, 2), ERR_OK);
    open_gate(&g);
    wait_for_notes(2);
    assert_int_equal(order[0], 2);
    assert_int_equal(results[0], ERR_TIMEOUT);
    assert_int_equal(results[1], ERR_OK);
    assert_true(late->out[0][0] == 77);
    gpu_queue_stats(q, &s);
    assert_int_equal(s.expired, 1);
    assert_int_equal(s.sequences, 3);
    struct gpu_job job = {late->s, 1, GPU_VECTOR, GPU_INTERACTIVE, 1, NULL, NULL};
    struct err_msg msg;
    assert_int_equal(gpu_queue_run(q, &job, &msg), ERR_TIMEOUT);
    gpu_queue_free(q);
    free(b), free(late);
}

static void a_full_queue_refuses_and_counts(void **state)
{
    struct gpu_queue *q = new_queue(3, 0, 0);
    struct batch *b = new_batch(1, 8, 20);
    struct gate g;
    struct gpu_queue_stats s;
    order_count = 0;
    close_gate(&g, q, b); /* its place is free again: it is being answered */
    for (int i = 0; i < 5; i++)
        assert_int_equal(give(q, b, 1, GPU_SAMPLED, 0, i), i < 3 ? ERR_OK : ERR_UNAVAILABLE);
    gpu_queue_stats(q, &s);
    assert_int_equal(s.refused, 2);
    assert_int_equal(s.waiting, 3);
    open_gate(&g);
    wait_for_notes(3);
    assert_int_equal(give(q, b, 1, GPU_SAMPLED, 0, 9), ERR_OK);
    wait_for_notes(4);
    gpu_queue_free(q);
    free(b);
}

static void *end_queue(void *q)
{
    gpu_queue_free(q);
    return NULL;
}

static void what_waits_when_the_queue_ends_is_answered_once(void **state)
{
    enum { PLACES = 60 };
    struct gpu_queue *q = new_queue(PLACES, 0, 0);
    struct batch *b = new_batch(1, 8, 20);
    struct gate g;
    pthread_t ender;
    uint32_t given = 0;
    order_count = 0;
    close_gate(&g, q, b);
    for (; given < 10; given++)
        assert_int_equal(give(q, b, 4, given % 2 ? GPU_SAMPLED : GPU_INTERACTIVE, 0, (int)given),
                         ERR_OK);
    assert_int_equal(pthread_create(&ender, NULL, end_queue, q), 0);
    /* a queue that ends takes no more: from then on nothing of what waits is run */
    while (give(q, b, 1, GPU_SAMPLED, 0, (int)given) == ERR_OK && ++given < PLACES)
        clock_sleep_ms(5);
    open_gate(&g);
    pthread_join(ender, NULL);
    assert_int_equal(order_count, given);
    for (uint32_t i = 0; i < given; i++)
        assert_true(results[i] == ERR_UNAVAILABLE || given == PLACES);
    free(b);
}

struct worker {
    struct gpu_queue *q;
    uint32_t seed;
    bool is_right;
};

static void *work(void *arg)
{
    struct worker *w = arg;
    struct err_msg msg;
    struct gpu_encoder *own = gpu_encoder_new(model, 1);
    w->is_right = own != NULL;
    for (uint32_t i = 0; i < 12 && w->is_right; i++) {
        enum gpu_output what = i % 3 == 2 ? GPU_TOKEN_LOGITS : GPU_VECTOR;
        uint32_t n = 1 + (w->seed + i * 5) % 20;
        struct batch *a = new_batch(w->seed % 2 + i, n, 0), *b = new_batch(w->seed % 2 + i, n, 0);
        struct gpu_job job = {a->s, n, what, i % 2 ? GPU_SAMPLED : GPU_INTERACTIVE, 0, NULL, NULL};
        w->is_right = gpu_queue_run(w->q, &job, &msg) == ERR_OK &&
                      gpu_encode(own, b->s, n, what, &msg) == ERR_OK;
        for (uint32_t k = 0; k < n && w->is_right; k++)
            for (size_t f = 0; f < gpu_encode_floats(model, &a->s[k], what); f++)
                w->is_right = w->is_right && fabsf(a->out[k][f] - b->out[k][f]) < 1e-4f;
        free(a), free(b);
    }
    gpu_encoder_free(own);
    return NULL;
}

static void many_threads_get_what_the_encoder_gives_alone(void **state)
{
    enum { THREADS = 6 };
    struct gpu_queue *q = new_queue(THREADS, 100, 1 << 16);
    struct worker w[THREADS];
    pthread_t ids[THREADS];
    struct gpu_queue_stats s;
    for (uint32_t i = 0; i < THREADS; i++) {
        w[i] = (struct worker){q, i, false};
        assert_int_equal(pthread_create(&ids[i], NULL, work, &w[i]), 0);
    }
    for (uint32_t i = 0; i < THREADS; i++) {
        pthread_join(ids[i], NULL);
        assert_true(w[i].is_right);
    }
    gpu_queue_stats(q, &s);
    assert_int_equal(s.jobs, THREADS * 12);
    assert_int_equal(s.waiting, 0);
    assert_true(s.cache_hits > 0);
    gpu_queue_free(q);
}

static void a_text_that_comes_again_is_not_run_again(void **state)
{
    struct gpu_queue *q = new_queue(8, 0, 1 << 16);
    struct batch *a = new_batch(1, 4, 20), *b = new_batch(1, 4, 20);
    struct gpu_queue_stats s;
    struct err_msg msg;
    static const uint8_t second[20] = {[10] = 1, [11] = 1};
    memcpy(a->ids[3], a->ids[0], sizeof(a->ids[0])); /* twice in one batch */
    struct gpu_job job = {a->s, 4, GPU_VECTOR, GPU_INTERACTIVE, 0, NULL, NULL};
    assert_int_equal(gpu_queue_run(q, &job, &msg), ERR_OK);
    gpu_queue_stats(q, &s);
    assert_int_equal(s.sequences, 3);
    assert_int_equal(s.cache_hits, 1);
    assert_memory_equal(a->out[0], a->out[3], MODEL_HIDDEN * sizeof(float));
    job.sequences = b->s;
    job.count = 3;
    assert_int_equal(gpu_queue_run(q, &job, &msg), ERR_OK);
    gpu_queue_stats(q, &s);
    assert_int_equal(s.sequences, 3);
    assert_int_equal(s.cache_hits, 4);
    for (int i = 0; i < 3; i++)
        assert_memory_equal(a->out[i], b->out[i], MODEL_HIDDEN * sizeof(float));
    b->s[0].types = second; /* the same ids in other segments are another text */
    job.count = 1;
    assert_int_equal(gpu_queue_run(q, &job, &msg), ERR_OK);
    assert_memory_not_equal(a->out[0], b->out[0], MODEL_HIDDEN * sizeof(float));
    gpu_queue_stats(q, &s);
    assert_int_equal(s.sequences, 4);
    gpu_queue_free(q);
    free(a), free(b);
}

static void what_cannot_be_run_is_refused_when_it_is_given(void **state)
{
    struct gpu_queue *q = new_queue(8, 0, 0);
    struct batch *b = new_batch(1, 2, 5);
    struct err_msg msg;
    struct gpu_job job = {b->s, 2, GPU_VECTOR, GPU_INTERACTIVE, 0, NULL, NULL};
    b->ids[1][2] = 1000000;
    assert_int_equal(gpu_queue_run(q, &job, &msg), ERR_INVALID);
    assert_non_null(strstr(msg.text, "sequence 1"));
    job.count = 0; /* nothing to do is done */
    assert_int_equal(gpu_queue_run(q, &job, &msg), ERR_OK);
    gpu_queue_free(q);
    free(b);
}

static void the_cache_keeps_what_is_asked_for_within_its_bytes(void **state)
{
    enum { WIDTH = 16, BYTES = 64 << 10 };
    struct vector_cache *c = vector_cache_new(BYTES, WIDTH), *none = vector_cache_new(10, WIDTH);
    struct hash128 hot = {12345, 6};
    float v[WIDTH];
    uint32_t kept = 0;
    assert_non_null(c);
    for (uint32_t i = 0; i < WIDTH; i++)
        v[i] = (float)i;
    vector_cache_put(none, hot, v);
    assert_null(vector_cache_find(none, hot));
    vector_cache_put(c, hot, v);
    for (uint32_t i = 0; i < 20000; i++) {
        struct hash128 key = {hash64(bytes_of(&i, 4), 1), i};
        v[0] = (float)i;
        vector_cache_put(c, key, v);
        assert_non_null(vector_cache_find(c, hot)); /* asked for all the time: never given up */
    }
    for (uint32_t i = 0; i < 20000; i++) {
        struct hash128 key = {hash64(bytes_of(&i, 4), 1), i};
        const float *found = vector_cache_find(c, key);
        assert_true(!found || found[0] == (float)i);
        kept += found != NULL;
    }
    assert_true(kept > 100 && kept < BYTES / (WIDTH * sizeof(float)));
    vector_cache_free(c);
    vector_cache_free(none);
}

static int make_model(void **state)
{
    struct err_msg msg = {""};
    snprintf(model_dir, sizeof(model_dir), "/tmp/telltale-queue-%d", (int)getpid());
    helper_model_write(model_dir);
    return gpu_model_open(model_dir, GPU_F32, &model, &msg) == ERR_OK ? 0 : 1;
}

static int remove_model(void **state)
{
    static const char *const names[] = {"config.json", "vocab.txt", "model.safetensors"};
    gpu_model_close(model);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char path[512];
        snprintf(path, sizeof(path), "%s/%s", model_dir, names[i]);
        (void)unlink(path);
    }
    return rmdir(model_dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(interactive_jobs_go_before_sampled_ones),
        cmocka_unit_test(a_long_job_lets_others_through_between_its_batches),
        cmocka_unit_test(a_job_past_its_deadline_is_answered_and_not_run),
        cmocka_unit_test(a_full_queue_refuses_and_counts),
        cmocka_unit_test(what_waits_when_the_queue_ends_is_answered_once),
        cmocka_unit_test(many_threads_get_what_the_encoder_gives_alone),
        cmocka_unit_test(a_text_that_comes_again_is_not_run_again),
        cmocka_unit_test(what_cannot_be_run_is_refused_when_it_is_given),
        cmocka_unit_test(the_cache_keeps_what_is_asked_for_within_its_bytes),
    };
    return cmocka_run_group_tests(tests, make_model, remove_model);
}
