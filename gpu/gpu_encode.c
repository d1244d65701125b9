#include "gpu/gpu_encode.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "base/pool.h"
#include "gpu/model_core.h"

#define SLAB_SEQUENCES_MAX 256u
#define THREADS_MAX 64u

struct slab {
    uint32_t first, count;
};

struct gpu_encoder {
    const struct gpu_model *model;
    struct pool *pool; /* NULL: one thread, the caller's */
    struct bert_work **works;
    unsigned threads;
    /* of the call under way */
    struct gpu_sequence *sequences;
    struct slab *slabs;
    uint32_t slab_count;
    enum gpu_output what;
    _Atomic uint32_t next_slab, next_work;
    atomic_bool not_finite;
    pthread_mutex_t lock;
    pthread_cond_t done;
    unsigned running; /* guarded by lock */
};

struct gpu_encoder *gpu_encoder_new(const struct gpu_model *m, unsigned threads)
{
    struct gpu_encoder *e = calloc(1, sizeof(*e));
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (!e)
        return NULL;
    e->model = m;
    e->threads = MIN(threads ? threads : (unsigned)MAX(cores, 1), THREADS_MAX);
    pthread_mutex_init(&e->lock, NULL);
    pthread_cond_init(&e->done, NULL);
    e->works = calloc(e->threads, sizeof(struct bert_work *));
    bool ok = e->works != NULL;
    for (unsigned i = 0; i < e->threads && ok; i++)
        ok = (e->works[i] = bert_work_new(&m->bert)) != NULL;
    if (ok && e->threads > 1)
        ok = (e->pool = pool_new("encode", e->threads, e->threads)) != NULL;
    if (!ok) {
        gpu_encoder_free(e);
        return NULL;
    }
    return e;
}

void gpu_encoder_free(struct gpu_encoder *e)
{
    if (!e)
        return;
    if (e->pool)
        pool_free(e->pool);
    for (unsigned i = 0; e->works && i < e->threads; i++)
        bert_work_free(e->works[i]);
    free(e->works);
    pthread_mutex_destroy(&e->lock);
    pthread_cond_destroy(&e->done);
    free(e);
}

static const struct bert *bert_of(const struct gpu_model *m, enum gpu_output what)
{
    return what >= GPU_TOKEN_LOGITS ? gpu_model_head_bert(m) : &m->bert;
}

/* --- what comes out of the last hidden states --------------------------------------------------------- */

static void pool_rows(const struct gpu_model *m, const float *h, uint32_t ld, uint32_t count,
                      float *out)
{
    uint32_t width = m->bert.hidden, rows = m->pooling == GPU_POOL_CLS ? 1 : count;
    double square = 0;
    memset(out, 0, width * sizeof(*out));
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t i = 0; i < width; i++)
            out[i] += h[(size_t)r * ld + i];
    for (uint32_t i = 0; i < width; i++)
        square += (double)out[i] * out[i];
    float inverse = square > 0 ? (float)(1 / sqrt(square)) : 0;
    for (uint32_t i = 0; i < width; i++)
        out[i] *= inverse;
}

static void head_rows(const struct bert *b, const float *h, uint32_t ld, uint32_t rows, float *out)
{
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t k = 0; k < b->labels; k++) {
            const float *w = b->head_weight + (size_t)k * b->hidden, *x = h + (size_t)r * ld;
            float sum = b->head_bias[k];
            for (uint32_t i = 0; i < b->hidden; i++)
                sum += w[i] * x[i];
            out[(size_t)r * b->labels + k] = sum;
        }
}

static void score(const struct bert *b, const float *h, uint32_t ld, float *out)
{
    float pooled[KERNEL_ALIGN * 64];
    struct kernel_rows x = {.f32 = h, .ld = ld};
    if (b->pooler.n == 0) {
        head_rows(b, h, ld, 1, out);
        return;
    }
    b->set->product[KERNEL_F32](&b->pooler, &x, 1, pooled, ld);
    for (uint32_t i = 0; i < b->hidden; i++)
        pooled[i] = tanhf(pooled[i]);
    head_rows(b, pooled, ld, 1, out);
}

size_t gpu_encode_floats(const struct gpu_model *m, const struct gpu_sequence *s,
                         enum gpu_output what)
{
    switch (what) {
    case GPU_VECTOR: return m->bert.hidden;
    case GPU_HIDDEN: return (size_t)s->count * m->bert.hidden;
    case GPU_TOKEN_LOGITS: return (size_t)s->count * gpu_model_head_bert(m)->labels;
    case GPU_SCORES: return gpu_model_head_bert(m)->labels;
    }
    CHECK_UNREACHABLE();
}

static void take(struct gpu_encoder *e, const struct gpu_sequence *s, const float *h, uint32_t ld)
{
    const struct bert *b = bert_of(e->model, e->what);
    size_t n = gpu_encode_floats(e->model, s, e->what);
    if (e->what == GPU_VECTOR)
        pool_rows(e->model, h, ld, s->count, s->out);
    else if (e->what == GPU_TOKEN_LOGITS)
        head_rows(b, h, ld, s->count, s->out);
    else if (e->what == GPU_SCORES)
        score(b, h, ld, s->out);
    else
        for (uint32_t r = 0; r < s->count; r++)
            memcpy(s->out + (size_t)r * b->hidden, h + (size_t)r * ld, b->hidden * sizeof(float));
    for (size_t i = 0; i < n; i++)
        if (!isfinite(s->out[i]))
            atomic_store(&e->not_finite, true);
}

/* --- slabs ------------------------------------------------------------------------------------------ */

static void run_slab(struct gpu_encoder *e, struct bert_work *w, const struct slab *slab)
{
    struct bert_span spans[SLAB_SEQUENCES_MAX];
    uint32_t ld, row = 0;
    for (uint32_t i = 0; i < slab->count; i++) {
        const struct gpu_sequence *s = &e->sequences[slab->first + i];
        spans[i] = (struct bert_span){s->ids, s->types, s->count};
    }
    const float *h = bert_forward(bert_of(e->model, e->what), w, spans, slab->count, &ld);
    for (uint32_t i = 0; i < slab->count; row += spans[i++].count)
        take(e, &e->sequences[slab->first + i], h + (size_t)row * ld, ld);
}

static void run_slabs(void *ctx)
{
    struct gpu_encoder *e = ctx;
    struct bert_work *w = e->works[atomic_fetch_add(&e->next_work, 1)];
    for (;;) {
        uint32_t i = atomic_fetch_add(&e->next_slab, 1);
        if (i >= e->slab_count)
            break;
        run_slab(e, w, &e->slabs[i]);
    }
    pthread_mutex_lock(&e->lock);
    if (--e->running == 0)
        pthread_cond_signal(&e->done);
    pthread_mutex_unlock(&e->lock);
}

enum err gpu_encode_check(const struct gpu_model *m, const struct gpu_sequence *s, uint32_t n,
                          enum gpu_output what, struct err_msg *msg)
{
    const struct bert *b = bert_of(m, what);
    if (what >= GPU_TOKEN_LOGITS && b->labels == 0)
        return err_set(msg, ERR_INVALID, "the model has no head: it gives vectors only");
    for (uint32_t i = 0; i < n; i++) {
        if (s[i].count == 0 || s[i].count > b->positions)
            return err_set(msg, ERR_INVALID, "sequence %u has %u tokens; 1 to %u can be run", i,
                           s[i].count, b->positions);
        for (uint32_t k = 0; k < s[i].count; k++)
            if (s[i].ids[k] >= b->vocabulary || (s[i].types && s[i].types[k] >= b->types))
                return err_set(
                    msg, ERR_INVALID,
                    "sequence %u: token %u is id %u of segment %u, which the model lacks", i, k,
                    s[i].ids[k], s[i].types ? s[i].types[k] : 0u);
    }
    return ERR_OK;
}

/* Slabs of about BERT_SLAB_TOKENS; smaller ones when there would be fewer than threads. */
static uint32_t cut(const struct gpu_encoder *e, const struct gpu_sequence *s, uint32_t n,
                    struct slab *out)
{
    uint64_t tokens = 0;
    uint32_t count = 0;
    for (uint32_t i = 0; i < n; i++)
        tokens += s[i].count;
    uint64_t target = MIN((uint64_t)BERT_SLAB_TOKENS, tokens / e->threads + 1);
    for (uint32_t i = 0; i < n; count++) {
        uint64_t size = 0;
        out[count] = (struct slab){i, 0};
        while (i < n && out[count].count < SLAB_SEQUENCES_MAX &&
               (size == 0 || (size + s[i].count <= BERT_SLAB_TOKENS && size < target))) {
            size += s[i++].count;
            out[count].count++;
        }
    }
    return count;
}

enum err gpu_encode(struct gpu_encoder *e, struct gpu_sequence *s, uint32_t n, enum gpu_output what,
                    struct err_msg *msg)
{
    enum err err = gpu_encode_check(e->model, s, n, what, msg);
    if (err != ERR_OK || n == 0)
        return err;
    e->slabs = malloc(n * sizeof(*e->slabs));
    if (!e->slabs)
        return ERR_NOMEM;
    e->sequences = s;
    e->what = what;
    e->slab_count = cut(e, s, n, e->slabs);
    atomic_store(&e->next_slab, 0);
    atomic_store(&e->next_work, 0);
    atomic_store(&e->not_finite, false);
    e->running = MIN(e->threads, e->slab_count);
    if (!e->pool || e->running == 1) {
        e->running = 1;
        run_slabs(e);
    } else {
        unsigned jobs = e->running;
        for (unsigned i = 0; i < jobs; i++) {
            enum err full = pool_submit(e->pool, run_slabs, e);
            CHECK(full == ERR_OK); /* the queue holds a job for each thread, and they are idle */
        }
        pthread_mutex_lock(&e->lock);
        while (e->running)
            pthread_cond_wait(&e->done, &e->lock);
        pthread_mutex_unlock(&e->lock);
    }
    free(e->slabs);
    e->slabs = NULL;
    return atomic_load(&e->not_finite)
               ? err_set(msg, ERR_EXECUTION, "a result is not a finite number")
               : ERR_OK;
}

/* --- text ------------------------------------------------------------------------------------------- */

bool gpu_encode_text(const struct gpu_model *m, struct bytes a, const struct bytes *b, uint32_t max,
                     struct gpu_tokens *out)
{
    uint32_t first = out->count, limit = max ? MIN(max, m->bert.positions) : m->bert.positions;
    uint32_t sep = gpu_vocab_sep(m->vocab);
    bool ok = gpu_tokens_special(gpu_vocab_cls(m->vocab), 0, out) &&
              gpu_tokens_add(m->vocab, a, 0, out) && gpu_tokens_special(sep, 0, out);
    if (ok && b)
        ok = gpu_tokens_add(m->vocab, *b, 1, out) && gpu_tokens_special(sep, 1, out);
    if (ok && out->count - first > limit) {
        out->count = first + limit;
        out->id[out->count - 1] = sep;
        out->begin[out->count - 1] = out->end[out->count - 1] =
            limit > 1 ? out->end[out->count - 2] : 0;
    }
    return ok;
}
