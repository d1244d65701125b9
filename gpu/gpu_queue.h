/* One queue before an encoder: many threads give jobs, one thread runs them in batches of about as many tokens as keep all cores busy.
 *
 *   gpu_queue_submit ──▶ interactive ─┐
 *                    ──▶ sampled ─────┴─▶ batch (tokens_max) ──▶ cache of vectors ──▶ gpu_encode ──▶ done
 *
 * Interactive jobs are always before sampled ones. A job of many sequences is run over several batches, so that nobody waits for the whole of it.
 * Owner: gpu_queue_new / gpu_queue_free; the model is borrowed and outlives it.
 * Thread: gpu_queue_submit, gpu_queue_run and gpu_queue_stats from any. `done` is called once for every accepted job, by the queue's own thread: it
 *         must be short; it may submit, it must not wait for the queue.
 * Failure: submit: ERR_UNAVAILABLE when jobs_max are waiting (counted: the caller sheds load), ERR_INVALID as gpu_encode.
 *          done: ERR_TIMEOUT when the deadline passed before the last of its batches began, ERR_UNAVAILABLE when the queue was freed before,
 *          ERR_EXECUTION when one of its own results is not finite.
 * Limits: jobs_max jobs wait; cache_bytes of vectors are kept.
 * Invariants: 1. A vector from the cache is the one that was computed for the same ids and segments. 2. The results of a job do not depend on what
 *             else is in its batch, but for the order of additions.
 */
#ifndef GPU_GPU_QUEUE_H
#define GPU_GPU_QUEUE_H

#include "gpu/gpu_encode.h"

enum gpu_priority { GPU_INTERACTIVE, GPU_SAMPLED, GPU_PRIORITY_COUNT };

struct gpu_queue_options {
    unsigned threads; /* of the encoder; 0: one per processor */
    uint32_t jobs_max; /* 0: 256 */
    uint32_t
        tokens_max; /* of a batch; 0: 1,536 a thread, which is a fifth of a second on a slow core */
    size_t cache_bytes; /* of vectors; 0: no cache */
};

typedef void (*gpu_queue_done)(void *ctx, enum err e);

struct gpu_job {
    struct gpu_sequence
        *sequences; /* they and their arrays stay the caller's, untouched until done is called */
    uint32_t count;
    enum gpu_output what;
    enum gpu_priority priority;
    int64_t deadline_ns; /* of clock_mono_ns; 0: none */
    gpu_queue_done done;
    void *ctx;
};

struct gpu_queue_stats {
    uint64_t jobs, refused, expired, failed; /* jobs: accepted; expired and failed are among them */
    uint64_t batches, sequences, tokens; /* run by the encoder */
    uint64_t cache_hits, cache_misses; /* a sequence that stands twice in a batch is a hit */
    uint32_t waiting; /* jobs, now */
};

struct gpu_queue;
struct gpu_queue *gpu_queue_new(const struct gpu_model *m,
                                const struct gpu_queue_options *o); /* NULL: no memory */
/* The batch under way is finished, what waits is answered ERR_UNAVAILABLE. */
void gpu_queue_free(struct gpu_queue *q);
enum err gpu_queue_submit(struct gpu_queue *q, const struct gpu_job *job,
                          struct err_msg *msg) MUST_CHECK;
/* Submits and waits; done and ctx of the job are not used. */
enum err gpu_queue_run(struct gpu_queue *q, const struct gpu_job *job,
                       struct err_msg *msg) MUST_CHECK;
void gpu_queue_stats(const struct gpu_queue *q, struct gpu_queue_stats *out);

#endif
