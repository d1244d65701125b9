#include "detectors/ground_tune.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/file_in.h"
#include "base/hash.h"
#include "detectors/ground_encode.h"
#include "detectors/ground_example.h"
#include "detectors/ground_measure.h"
#include "detectors/ground_negative.h"
#include "gpu/gpu_train.h"

#define EPOCHS_DEFAULT 3.0
#define BATCH_TOKENS_DEFAULT 6000u
#define BATCH_EXAMPLES_MAX 1024u
#define WRONG_SHARE .25 /* of clean responses that are made wrong in one place */
#define WRONG_SHARE_DATA .4 /* … where the context is data: the sets have few such */
#define TASK_WEIGHT \
    2.0f /* of whole responses to data and documents beside questions: fewer, and harder */
#define FACTOR_RATE 3.3f /* times the rate: factors are small, and begin at nothing */
#define SAMPLES_MEASURED 400u /* to tell how long an epoch is */
#define LOOK_EVERY 400u /* steps between two looks at what is held out … */
#define LOOK_CASES 300u /* … at about so many of its cases; at all of them in the end */
#define CHECKPOINT_NS (INT64_C(180) * 1000000000)
#define REPORT_NS (INT64_C(20) * 1000000000)
#define BATCH_BYTES (256u << 20)

struct tune {
    const struct ground_tune_options *o;
    struct ground_cases *all;
    struct gpu_trainer *trainer;
    const struct gpu_vocab *vocab;
    struct arena *a, *batch_arena;
    uint32_t held_out; /* cases */
    uint32_t *chosen, *order, order_count; /* cases to learn from; order: this epoch's */
    uint32_t batch_tokens;
    uint64_t steps, seed;
    struct gpu_train_example batch[BATCH_EXAMPLES_MAX];
    uint32_t batch_count, tokens;
    double tokens_done;
    int64_t begun_ns, reported_ns, saved_ns;
};

/* --- what is learned from ----------------------------------------------------------------------------- */

bool ground_tune_is_held_out(const struct ground_case *c)
{
    return c->target && ground_case_fold(c, GROUND_TUNE_FOLDS, 1) == 0;
}

static void shuffle(struct tune *t, uint64_t epoch)
{
    uint64_t state = t->seed * 1000003 + epoch;
    memcpy(t->order, t->chosen, t->order_count * sizeof *t->order);
    for (uint32_t i = t->order_count; i-- > 1;) {
        uint32_t k = (uint32_t)(ground_negative_random(&state) % (i + 1)), swap = t->order[i];
        t->order[i] = t->order[k];
        t->order[k] = swap;
    }
}

static int by_key(const void *x, const void *y)
{
    const uint64_t *a = x, *b = y;
    return (*a > *b) - (*a < *b);
}

/* Every case that shares neither group nor context with one that is held out. */
static enum err choose_cases(struct tune *t, struct err_msg *msg)
{
    uint32_t n = t->all->count, held = 0;
    uint64_t *keys = ARENA_ARRAY(t->a, uint64_t, 2 * (size_t)n + 1);
    t->order = ARENA_ARRAY(t->a, uint32_t, n + 1);
    t->chosen = ARENA_ARRAY(t->a, uint32_t, n + 1);
    if (!keys || !t->order || !t->chosen)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < n; i++)
        if (ground_tune_is_held_out(&t->all->cases[i])) {
            keys[held++] = t->all->cases[i].s.group;
            t->held_out++;
            keys[held++] = t->all->cases[i].s.context_key;
        }
    qsort(keys, held, sizeof *keys, by_key);
    for (uint32_t i = 0; i < n; i++) {
        const struct ground_case *c = &t->all->cases[i];
        bool known = bsearch(&c->s.group, keys, held, sizeof *keys, by_key) ||
                     bsearch(&c->s.context_key, keys, held, sizeof *keys, by_key);
        if (!known && c->token_weight > 0)
            t->chosen[t->order_count++] = i;
    }
    if (t->order_count == 0)
        return err_set(msg, ERR_INVALID, "no case is left to learn from");
    shuffle(t, 0);
    return ERR_OK;
}

static float weight_of(const struct ground_case *c)
{
    bool hard = c->target && c->s.task != GROUND_TASK_QA;
    return c->token_weight * (hard ? TASK_WEIGHT : 1.0f);
}

/* The case's parts as they are, or with something wrong in them, into the batch. */
static enum err add_case(struct tune *t, const struct ground_case *c, uint64_t epoch)
{
    struct ground_sample wrong;
    const struct ground_sample *s = &c->s;
    struct ground_example *parts;
    uint32_t n;
    bool made = false;
    uint64_t state = hash64(s->response, t->seed ^ epoch << 32);
    double share = c->json ? WRONG_SHARE_DATA : WRONG_SHARE;
    if (s->label == 0 && (double)(ground_negative_random(&state) >> 11) * 0x1p-53 < share) {
        enum err e = ground_negative_make(s, state, t->batch_arena, &wrong, &made);
        if (e != ERR_OK)
            return e;
        s = made ? &wrong : s;
    }
    enum err e =
        ground_example_make(s, t->vocab, &t->all->idf, weight_of(c), t->batch_arena, &parts, &n);
    for (uint32_t i = 0; e == ERR_OK && i < n && t->batch_count < BATCH_EXAMPLES_MAX; i++) {
        t->batch[t->batch_count++] = (struct gpu_train_example){.ids = parts[i].part.ids,
                                                                .types = parts[i].part.types,
                                                                .count = parts[i].part.count,
                                                                .labels = parts[i].labels,
                                                                .part = parts[i].whole,
                                                                .weight = parts[i].weight};
        t->tokens += parts[i].part.count;
    }
    return e;
}

static void batch_clear(struct tune *t)
{
    t->batch_count = t->tokens = 0;
    arena_reset(t->batch_arena);
}

/* --- how it goes -------------------------------------------------------------------------------------- */

/* The largest token logit of the response, over its parts. */
static enum err judge_case(struct tune *t, const struct ground_case *c, float *out,
                           struct err_msg *msg)
{
    struct ground_example *parts;
    struct gpu_train_example x[64];
    float *logits[64];
    uint32_t n;
    arena_reset(t->batch_arena);
    enum err e = ground_example_make(&c->s, t->vocab, &t->all->idf, 1, t->batch_arena, &parts, &n);
    n = MIN(n, (uint32_t)ARRAY_LEN(x));
    for (uint32_t i = 0; e == ERR_OK && i < n; i++) {
        x[i] = (struct gpu_train_example){.ids = parts[i].part.ids,
                                          .types = parts[i].part.types,
                                          .count = parts[i].part.count,
                                          .part = -1,
                                          .weight = 1};
        logits[i] = ARENA_ARRAY(t->batch_arena, float, parts[i].part.count);
        if (!logits[i])
            e = ERR_NOMEM;
    }
    if (e == ERR_OK && n)
        e = gpu_trainer_logits(t->trainer, x, n, logits, msg);
    *out = -100;
    for (uint32_t i = 0; e == ERR_OK && i < n; i++)
        for (uint32_t k = parts[i].part.first; k + 1 < parts[i].part.count; k++)
            *out = fmaxf(*out, logits[i][k]);
    return e;
}

/* Some, always the same ones, or all. */
static bool is_looked_at(const struct tune *t, const struct ground_case *c, bool all)
{
    return ground_tune_is_held_out(c) &&
           (all || hash64(c->s.response, 3) % MAX(t->held_out, 1u) < LOOK_CASES);
}

static enum err look(struct tune *t, bool all, struct err_msg *msg)
{
    static const char *const names[] = {"all", "questions", "documents", "data"};
    uint32_t n = t->all->count, counts[4] = {0};
    struct arena *own = arena_new(0);
    float *scores = own ? ARENA_ARRAY(own, float, 4 * (size_t)n + 1) : NULL;
    uint8_t *labels = own ? ARENA_ARRAY(own, uint8_t, 4 * (size_t)n + 1) : NULL;
    enum err e = scores && labels ? ERR_OK : ERR_NOMEM;
    batch_clear(t);
    for (uint32_t i = 0; e == ERR_OK && i < n; i++) {
        const struct ground_case *c = &t->all->cases[i];
        float score;
        if (!is_looked_at(t, c, all))
            continue;
        e = judge_case(t, c, &score, msg);
        for (uint32_t g = 0; g < 4; g++)
            if (e == ERR_OK && (g == 0 || (uint32_t)c->s.task == g - 1)) {
                scores[(size_t)g * n + counts[g]] = score;
                labels[(size_t)g * n + counts[g]++] = c->s.label == 1;
            }
    }
    if (e == ERR_OK && t->o->report) {
        fprintf(t->o->report, "step %llu of %llu: held out, AUROC",
                (unsigned long long)gpu_trainer_steps(t->trainer), (unsigned long long)t->steps);
        for (uint32_t g = 0; g < 4; g++)
            fprintf(t->o->report, "%s %s %.3f (%u)", g ? "," : "", names[g],
                    ground_measure_auroc(scores + (size_t)g * n, labels + (size_t)g * n, counts[g]),
                    counts[g]);
        fprintf(t->o->report, "\n");
        fflush(t->o->report);
    }
    batch_clear(t);
    arena_free(own);
    return e;
}

static void report(struct tune *t, const struct gpu_train_loss *l)
{
    int64_t now = clock_mono_ns();
    uint64_t step = gpu_trainer_steps(t->trainer);
    t->tokens_done += (double)l->tokens;
    if (!t->o->report || now - t->reported_ns < REPORT_NS)
        return;
    double seconds = (double)(now - t->begun_ns) / 1e9, rate = t->tokens_done / seconds;
    fprintf(t->o->report,
            "step %llu of %llu: loss of tokens %.4f, parts %.4f; rate %.1e; %.0f tokens/s; %.0f "
            "min left\n",
            (unsigned long long)step, (unsigned long long)t->steps, l->token, l->part, l->rate,
            rate, (double)(t->steps - step) * t->batch_tokens / rate / 60);
    fflush(t->o->report);
    t->reported_ns = now;
}

static enum err save_progress(struct tune *t, bool now, struct err_msg *msg)
{
    int64_t clock = clock_mono_ns();
    if (!t->o->checkpoint || (!now && clock - t->saved_ns < CHECKPOINT_NS))
        return ERR_OK;
    t->saved_ns = clock;
    return gpu_trainer_checkpoint(t->trainer, t->o->checkpoint, msg);
}

/* --- the run -------------------------------------------------------------------------------------------- */

static enum err step(struct tune *t, struct err_msg *msg)
{
    struct gpu_train_loss loss;
    enum err e = gpu_trainer_step(t->trainer, t->batch, t->batch_count, &loss, msg);
    batch_clear(t);
    if (e != ERR_OK)
        return e;
    report(t, &loss);
    e = save_progress(t, false, msg);
    if (e == ERR_OK && gpu_trainer_steps(t->trainer) % LOOK_EVERY == 0)
        e = look(t, false, msg);
    return e;
}

static bool is_stopped(const struct tune *t, uint64_t done_before)
{
    return (t->o->stop && atomic_load(t->o->stop)) ||
           (t->o->steps_max && gpu_trainer_steps(t->trainer) - done_before >= t->o->steps_max);
}

static enum err stop(struct tune *t, struct err_msg *msg)
{
    enum err e = save_progress(t, true, msg);
    if (e != ERR_OK)
        return e;
    return err_set(msg, ERR_CANCELLED, "stopped at step %llu of %llu; the same command goes on",
                   (unsigned long long)gpu_trainer_steps(t->trainer), (unsigned long long)t->steps);
}

/* One pass over the cases; batches before `skip` were done by a run that this one goes on from. */
static enum err epoch(struct tune *t, uint64_t number, uint64_t *batches, uint64_t skip,
                      struct err_msg *msg)
{
    shuffle(t, number);
    batch_clear(t);
    for (uint32_t i = 0; i < t->order_count; i++) {
        enum err e = add_case(t, &t->all->cases[t->order[i]], number);
        if (e != ERR_OK)
            return e;
        if (t->tokens < t->batch_tokens && i + 1 < t->order_count)
            continue;
        if ((*batches)++ < skip) {
            batch_clear(t);
            continue;
        }
        e = is_stopped(t, skip) ? stop(t, msg) : step(t, msg);
        if (e != ERR_OK || gpu_trainer_steps(t->trainer) >= t->steps)
            return e;
    }
    return ERR_OK;
}

/* Steps of all epochs, from the tokens of some of the cases. */
static enum err plan(struct tune *t, double epochs)
{
    uint32_t measured = MIN(t->order_count, SAMPLES_MEASURED);
    double tokens = 0;
    shuffle(t, 0);
    for (uint32_t i = 0; i < measured; i++) {
        batch_clear(t);
        enum err e = add_case(t, &t->all->cases[t->order[i]], 0);
        if (e != ERR_OK)
            return e;
        tokens += t->tokens;
    }
    batch_clear(t);
    t->steps = (uint64_t)ceil(epochs * tokens / measured * t->order_count / t->batch_tokens);
    return ERR_OK;
}

/* With a rank: the base, and beside it what the head was trained with. */
static enum err save_model(struct tune *t, const char *to, struct err_msg *msg)
{
    if (t->o->rank == 0)
        return gpu_trainer_save(t->trainer, to, true, msg);
    struct bytes tuned = arena_printf(t->a, "%s.tuned", t->o->out);
    if (!tuned.data)
        return ERR_NOMEM;
    enum err e = gpu_trainer_save(t->trainer, (const char *)tuned.data, false, msg);
    if (e == ERR_OK)
        e = gpu_model_branch(t->o->base, (const char *)tuned.data, t->o->rank, to, msg);
    (void)unlink((const char *)tuned.data); /* it may not be there */
    return e;
}

/* The groups that were held out, so that whoever fits more on top knows what the model has not seen. */
static enum err write_out(struct tune *t, struct err_msg *msg)
{
    uint64_t *groups = ARENA_ARRAY(t->a, uint64_t, t->all->count + 1);
    struct bytes plain = arena_printf(t->a, "%s.plain", t->o->out);
    struct buf file = {0};
    uint32_t n = 0;
    if (!groups || !plain.data)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < t->all->count; i++)
        if (ground_tune_is_held_out(&t->all->cases[i]))
            groups[n++] = t->all->cases[i].s.group;
    qsort(groups, n, sizeof *groups, by_key);
    uint32_t distinct = 0;
    for (uint32_t i = 0; i < n; i++)
        if (i == 0 || groups[i] != groups[i - 1])
            groups[distinct++] = groups[i];
    struct gpu_extra x[] = {{GROUND_ENCODE_HELD_OUT, bytes_of(groups, distinct * sizeof *groups)},
                            {GROUND_ENCODE_MARKS, BYTES_LIT("1")}};
    enum err e = save_model(t, (const char *)plain.data, msg);
    if (e == ERR_OK)
        e = file_in_read((const char *)plain.data, GPU_MODEL_BYTES_MAX, &file, msg);
    if (e == ERR_OK)
        e = gpu_model_write_extras(buf_bytes(&file), x, ARRAY_LEN(x), t->o->out, msg);
    (void)unlink((const char *)plain.data); /* it may not be there */
    buf_done(&file);
    return e;
}

static enum err open_trainer(struct tune *t, struct err_msg *msg)
{
    const struct ground_tune_options *o = t->o;
    struct gpu_train_options train = gpu_train_options_default();
    train.threads = o->threads;
    if (o->rate > 0) {
        train.rate = o->rate;
        train.head_rate = 10 * o->rate;
    }
    train.steps = t->steps;
    train.seed = t->seed;
    train.average = .999f;
    train.rank = o->rank;
    train.factor_rate = train.rate * FACTOR_RATE;
    enum err e = gpu_trainer_open(o->base, &train, &t->trainer, msg);
    if (e == ERR_OK && o->from)
        e = gpu_trainer_take(t->trainer, o->from, msg);
    if (e == ERR_OK && o->checkpoint && access(o->checkpoint, F_OK) == 0)
        e = gpu_trainer_restore(t->trainer, o->checkpoint, msg);
    if (e == ERR_OK && gpu_trainer_positions(t->trainer) < GROUND_PART_LENGTH_MAX)
        e = err_set(msg, ERR_INVALID, "the base reads %u tokens, and %u are needed",
                    gpu_trainer_positions(t->trainer), GROUND_PART_LENGTH_MAX);
    return e;
}

static enum err run(struct tune *t, struct err_msg *msg)
{
    const struct ground_tune_options *o = t->o;
    struct gpu_vocab *vocab = NULL;
    uint64_t batches = 0, done;
    enum err e = choose_cases(t, msg);
    if (e == ERR_OK)
        e = gpu_model_read_vocab(o->base, &vocab, msg);
    t->vocab = vocab;
    if (e == ERR_OK)
        e = plan(t, o->epochs > 0 ? o->epochs : EPOCHS_DEFAULT);
    if (e == ERR_OK)
        e = open_trainer(t, msg);
    done = e == ERR_OK ? gpu_trainer_steps(t->trainer) : 0;
    if (e == ERR_OK && o->report)
        fprintf(o->report, "%u cases to learn from, %llu steps of %u tokens; rank %u; %s%s\n",
                t->order_count, (unsigned long long)t->steps, t->batch_tokens, o->rank,
                gpu_trainer_kernels(t->trainer), done ? "; goes on from the checkpoint" : "");
    t->begun_ns = t->reported_ns = t->saved_ns = clock_mono_ns();
    for (uint64_t i = 0; e == ERR_OK && gpu_trainer_steps(t->trainer) < t->steps; i++)
        e = epoch(t, i, &batches, done, msg);
    if (e == ERR_OK)
        e = look(t, true, msg);
    if (e == ERR_OK)
        e = write_out(t, msg);
    if (t->trainer)
        gpu_trainer_close(t->trainer);
    gpu_vocab_free(vocab);
    return e;
}

enum err ground_tune_run(struct ground_cases *all, const struct ground_tune_options *o,
                         struct err_msg *msg)
{
    struct tune *t = calloc(1, sizeof *t);
    enum err e = ERR_NOMEM;
    if (t) {
        t->o = o;
        t->all = all;
        t->seed = o->seed;
        t->batch_tokens = o->batch_tokens ? o->batch_tokens : BATCH_TOKENS_DEFAULT;
        t->a = arena_new(0);
        t->batch_arena = arena_new(BATCH_BYTES);
        if (t->a && t->batch_arena)
            e = run(t, msg);
        arena_free(t->a);
        arena_free(t->batch_arena);
    }
    free(t);
    return e == ERR_NOMEM ? err_set(msg, e, "out of memory") : e;
}
