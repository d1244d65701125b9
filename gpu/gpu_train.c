#include "gpu/gpu_train.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "base/hash.h"
#include "gpu/train_core.h"
#include "gpu/train_low_rank.h"

#define THREADS_MAX 64u
#define PIECE 65536u /* floats */
#define SLAB_SEQUENCES_MAX 256u

struct gpu_train_options gpu_train_options_default(void)
{
    return (struct gpu_train_options){.rate = 6e-5f,
                                      .head_rate = 6e-4f,
                                      .factor_rate = 2e-4f,
                                      .warmup = .06f,
                                      .decay = .01f,
                                      .clip = 1,
                                      .dropout = .1f,
                                      .part_weight = .3f,
                                      .seed = 1,
                                      .precision = GPU_BF16};
}

/* --- open and close ---------------------------------------------------------------------------------- */

static enum err check_options(const struct gpu_train_options *o, struct err_msg *msg)
{
    const float none_below_0[] = {o->rate,          o->head_rate, o->factor_rate,
                                  o->decay,         o->clip,      o->part_weight,
                                  o->vector_weight, o->warmup,    o->dropout};
    for (size_t i = 0; i < ARRAY_LEN(none_below_0); i++)
        if (!isfinite(none_below_0[i]) || none_below_0[i] < 0)
            return err_set(msg, ERR_INVALID, "an option of training is %g",
                           (double)none_below_0[i]);
    if (o->dropout > .9f || o->warmup > 1 || !(o->average >= 0 && o->average < 1))
        return err_set(msg, ERR_INVALID,
                       "dropout is at most .9, warm-up at most 1, the average below 1");
    if (o->precision != GPU_F32 && o->precision != GPU_BF16)
        return err_set(msg, ERR_INVALID, "training computes in fp32 or bf16");
    return ERR_OK;
}

static bool make_pieces(struct gpu_trainer *t)
{
    const struct train_net *n = &t->net;
    t->piece = calloc(n->floats / PIECE + n->tensors + 1, sizeof(*t->piece));
    for (uint32_t i = 0; t->piece && i < n->tensors; i++) {
        const struct train_tensor *x = &n->tensor[i];
        size_t end = x->at + (size_t)(x->rows ? x->rows : 1) * x->columns;
        for (size_t at = x->at; at < end; at += PIECE)
            t->piece[t->pieces++] = (struct train_piece){i, at, MIN(at + PIECE, end)};
    }
    t->square = calloc(t->pieces + 1, sizeof(*t->square));
    return t->piece && t->square;
}

static bool make_arrays(struct gpu_trainer *t)
{
    size_t bytes = t->net.floats * sizeof(float);
    t->moment1 = train_memory(bytes);
    t->moment2 = train_memory(bytes);
    if (t->options.average > 0 && (t->average = train_memory(bytes)))
        memcpy(t->average, t->net.weights, bytes);
    t->work = calloc(t->threads, sizeof(*t->work));
    t->gradient = calloc(t->threads, sizeof(*t->gradient));
    t->logits = calloc(t->threads, sizeof(*t->logits));
    bool ok = t->moment1 && t->moment2 && t->work && t->gradient && t->logits &&
              (t->options.average <= 0 || t->average) && make_pieces(t);
    for (unsigned i = 0; ok && i < t->threads; i++) {
        t->work[i] = train_work_new(&t->net);
        t->gradient[i] = train_memory(bytes);
        t->logits[i] = train_memory(train_work_tokens(&t->net) * sizeof(float));
        ok = t->work[i] && t->gradient[i] && t->logits[i];
    }
    return ok && (t->team = train_team_new(t->threads));
}

static enum err open_files(struct gpu_trainer *t, const struct model_file *f, const char *name,
                           struct err_msg *msg)
{
    if (!(t->arena = arena_new(0)))
        return ERR_NOMEM;
    t->config_text = arena_copy(t->arena, f->config_text);
    t->vocab_text = arena_copy(t->arena, f->vocab);
    if (!t->config_text.data || !t->vocab_text.data)
        return ERR_NOMEM;
    enum err e = gpu_vocab_new(t->vocab_text, &t->vocab, msg);
    return e == ERR_OK
               ? train_net_open(f, name, train_kernel_choose(t->options.precision == GPU_BF16),
                                t->options.rank, t->options.seed, &t->net, msg)
               : e;
}

enum err gpu_trainer_open(const char *model, const struct gpu_train_options *o,
                          struct gpu_trainer **out, struct err_msg *msg)
{
    struct model_file f;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    enum err e = check_options(o, msg);
    if (e == ERR_OK)
        e = model_file_open(model, NULL, &f, msg);
    if (e != ERR_OK)
        return e;
    struct gpu_trainer *t = calloc(1, sizeof(*t));
    if (t) {
        t->options = *o;
        t->threads = MIN(o->threads ? o->threads : (unsigned)MAX(cores, 1), THREADS_MAX);
        e = open_files(t, &f, model, msg);
        if (e == ERR_OK && !make_arrays(t))
            e = ERR_NOMEM;
    } else {
        e = ERR_NOMEM;
    }
    model_file_close(&f);
    if (e != ERR_OK) {
        gpu_trainer_close(t);
        return e == ERR_NOMEM ? err_set(msg, e, "%s: no memory to train it", model) : e;
    }
    *out = t;
    return ERR_OK;
}

void gpu_trainer_close(struct gpu_trainer *t)
{
    if (!t)
        return;
    train_team_free(t->team);
    for (unsigned i = 0; i < t->threads; i++) {
        if (t->work)
            train_work_free(t->work[i]);
        if (t->gradient)
            free(t->gradient[i]);
        if (t->logits)
            free(t->logits[i]);
    }
    free(t->work), free(t->gradient), free(t->logits), free(t->piece), free(t->square);
    free(t->moment1), free(t->moment2), free(t->average);
    train_net_done(&t->net);
    gpu_vocab_free(t->vocab);
    arena_free(t->arena);
    free(t);
}

uint64_t gpu_trainer_steps(const struct gpu_trainer *t)
{
    return t->step;
}

const struct gpu_vocab *gpu_trainer_vocab(const struct gpu_trainer *t)
{
    return t->vocab;
}

uint32_t gpu_trainer_hidden(const struct gpu_trainer *t)
{
    return t->net.hidden;
}

uint32_t gpu_trainer_positions(const struct gpu_trainer *t)
{
    return t->net.positions;
}

const char *gpu_trainer_kernels(const struct gpu_trainer *t)
{
    return t->net.set->name;
}

/* --- one batch over the threads ------------------------------------------------------------------------ */

struct batch {
    struct gpu_trainer *t;
    const struct gpu_train_example *x;
    const float *weights; /* those that run: of this moment, or their average */
    uint32_t *order; /* [n] examples, of thread 0 first, and so on */
    uint32_t *first; /* [threads + 1] places in order */
    float *const *logits; /* judging: where they go; NULL: training */
    struct train_sums weights_of, *sums; /* sums: [threads] */
    uint64_t tokens;
    struct train_adam adam;
    float head_rate, factor_rate;
};

static enum err check_batch(const struct gpu_trainer *t, const struct gpu_train_example *x,
                            uint32_t n, struct err_msg *msg)
{
    const struct train_net *net = &t->net;
    if (n == 0 || n > GPU_TRAIN_EXAMPLES_MAX)
        return err_set(msg, ERR_INVALID, "a batch of %u examples; 1 to %u can be run", n,
                       GPU_TRAIN_EXAMPLES_MAX);
    for (uint32_t i = 0; i < n; i++) {
        if (x[i].count == 0 || x[i].count > net->positions)
            return err_set(msg, ERR_INVALID, "example %u has %u tokens; 1 to %u can be run", i,
                           x[i].count, net->positions);
        if (!(x[i].weight >= 0 && x[i].weight < 1e6f) || x[i].part > 1)
            return err_set(msg, ERR_INVALID, "example %u: weight %g, part %d", i,
                           (double)x[i].weight, x[i].part);
        for (uint32_t k = 0; k < x[i].count; k++)
            if (x[i].ids[k] >= net->vocabulary || (x[i].types && x[i].types[k] >= net->types) ||
                (x[i].labels && x[i].labels[k] > 1))
                return err_set(msg, ERR_INVALID,
                               "example %u: token %u has an id, segment or label that is not one",
                               i, k);
        for (uint32_t k = 0; x[i].vector && k < net->hidden; k++)
            if (!isfinite(x[i].vector[k]))
                return err_set(msg, ERR_INVALID, "example %u: its vector is not finite", i);
    }
    return ERR_OK;
}

struct sized {
    uint64_t cost;
    uint32_t example;
};

static int by_cost(const void *a, const void *b)
{
    const struct sized *x = a, *y = b;
    if (x->cost != y->cost)
        return x->cost < y->cost ? 1 : -1;
    return x->example < y->example ? -1 : 1;
}

/* The costliest first, each to the thread that has least: the same shares each time. */
static bool share_out(struct batch *b, uint32_t n)
{
    const struct train_net *net = &b->t->net;
    unsigned threads = b->t->threads;
    struct sized *s = calloc(n, sizeof(*s));
    uint32_t *owner = calloc(n, sizeof(*owner));
    uint64_t load[THREADS_MAX] = {0};
    b->order = calloc(n, sizeof(*b->order));
    b->first = calloc(threads + 1, sizeof(*b->first));
    b->sums = calloc(threads, sizeof(*b->sums));
    bool ok = s && owner && b->order && b->first && b->sums;
    for (uint32_t i = 0; ok && i < n; i++) {
        uint64_t count = b->x[i].count;
        s[i] =
            (struct sized){count * (3 * (4ull * net->hidden + 2ull * net->inner) + 7 * count), i};
        b->tokens += count;
        train_loss_count(&b->x[i], &b->weights_of);
    }
    if (ok)
        qsort(s, n, sizeof(*s), by_cost);
    for (uint32_t i = 0; ok && i < n; i++) {
        unsigned least = 0;
        for (unsigned k = 1; k < threads; k++)
            if (load[k] < load[least])
                least = k;
        load[least] += s[i].cost;
        owner[i] = least;
    }
    uint32_t at = 0;
    for (unsigned k = 0; ok && k < threads; k++) {
        b->first[k] = at;
        for (uint32_t i = 0; i < n; i++)
            if (owner[i] == k)
                b->order[at++] = s[i].example;
        b->first[k + 1] = at;
    }
    free(s), free(owner);
    return ok;
}

static void batch_done(struct batch *b)
{
    free(b->order), free(b->first), free(b->sums);
}

static void pack_part(void *ctx, unsigned part)
{
    struct batch *b = ctx;
    for (uint32_t i = part; i < b->t->net.layers; i += b->t->threads)
        train_net_pack(&b->t->net, i, b->weights);
}

static struct train_dropout dropout_of(const struct batch *b)
{
    double share = b->logits ? 0 : (double)b->t->options.dropout;
    return (struct train_dropout){(uint32_t)(share * 4294967296.0), (float)(1 / (1 - share))};
}

/* Tokens whose last hidden states the losses look at: from the first that is judged to the last, or all. */
static struct train_queries wanted_of(const struct batch *b, const struct gpu_train_example *x)
{
    struct train_queries q = {0, x->count};
    if (b->logits || (x->vector && x->weight > 0))
        return q;
    if (!x->labels || x->weight <= 0)
        return (struct train_queries){0, 0};
    while (q.from < q.to && x->labels[q.from] < 0)
        q.from++;
    while (q.to > q.from && x->labels[q.to - 1] < 0)
        q.to--;
    return q;
}

static void run_slab(struct batch *b, unsigned part, const uint32_t *example, uint32_t count)
{
    struct gpu_trainer *t = b->t;
    struct train_span span[SLAB_SEQUENCES_MAX];
    for (uint32_t i = 0; i < count; i++) {
        const struct gpu_train_example *x = &b->x[example[i]];
        uint64_t what[] = {t->step, example[i]};
        span[i] = (struct train_span){
            x->ids, x->types, x->count,
            (uint32_t)hash64(bytes_of(what, sizeof(what)), t->options.seed), wanted_of(b, x)};
    }
    const float *h = train_forward(&t->net, t->work[part], b->weights, span, count, dropout_of(b));
    float *slopes = train_work_slopes(t->work[part]);
    for (uint32_t i = 0; i < count; i++) {
        struct gpu_train_example x = b->x[example[i]]; /* its wanted part */
        x.count = span[i].wanted.to - span[i].wanted.from;
        x.labels = x.labels ? x.labels + span[i].wanted.from : NULL;
        if (b->logits)
            train_logits(&t->net, b->weights, h, x.count, b->logits[example[i]]);
        else
            train_loss(&t->net, &t->options, &b->weights_of, b->weights, &x, h, t->logits[part],
                       slopes, t->gradient[part], &b->sums[part]);
        h += (size_t)x.count * t->net.ld;
        slopes += (size_t)x.count * t->net.ld;
    }
    if (!b->logits)
        train_back(&t->net, t->work[part], b->weights, t->gradient[part]);
}

static void run_part(void *ctx, unsigned part)
{
    struct batch *b = ctx;
    uint32_t limit = train_work_tokens(&b->t->net);
    for (uint32_t i = b->first[part], end = b->first[part + 1]; i < end;) {
        uint32_t count = 0, tokens = 0;
        while (i + count < end && count < SLAB_SEQUENCES_MAX &&
               tokens + b->x[b->order[i + count]].count <= limit)
            tokens += b->x[b->order[i + count++]].count;
        run_slab(b, part, b->order + i, count);
        i += count;
    }
}

/* --- gradients added up -------------------------------------------------------------------------------- */

/* Pieces go round the threads in turn; each piece is summed in one order whoever does it. */
static void add_up_part(void *ctx, unsigned part)
{
    struct batch *b = ctx;
    struct gpu_trainer *t = b->t;
    for (uint32_t i = part; i < t->pieces; i += t->threads) {
        const struct train_piece *p = &t->piece[i];
        float *to = t->gradient[0] + p->from;
        for (unsigned k = 1; k < t->threads; k++)
            t->net.set->add_rows(t->gradient[k] + p->from, 0, 1, (uint32_t)(p->to - p->from), to);
        bool counts = !train_low_rank_is_fixed(&t->net, &t->net.tensor[p->tensor]);
        t->square[i] = counts ? t->net.set->sum_squares(to, p->to - p->from) : 0;
    }
}

static void factors_part(void *ctx, unsigned part)
{
    struct batch *b = ctx;
    train_low_rank_back(&b->t->net, b->t->gradient[0], part, b->t->threads);
}

static void square_factors_part(void *ctx, unsigned part)
{
    struct batch *b = ctx;
    struct gpu_trainer *t = b->t;
    for (uint32_t i = part; i < t->pieces; i += t->threads) {
        const struct train_piece *p = &t->piece[i];
        if (t->net.tensor[p->tensor].is_factor)
            t->square[i] = t->net.set->sum_squares(t->gradient[0] + p->from, p->to - p->from);
    }
}

static enum err check_gradient(const struct gpu_trainer *t, const struct gpu_train_loss *l,
                               struct err_msg *msg)
{
    for (uint32_t i = 0; i < t->pieces; i++)
        if (!isfinite(t->square[i]))
            return err_set(msg, ERR_EXECUTION,
                           "step %llu: the gradient of %s is not finite (loss %g, %g, %g)",
                           (unsigned long long)t->step, t->net.tensor[t->piece[i].tensor].name,
                           l->token, l->part, l->vector);
    if (!isfinite(l->token + l->part + l->vector))
        return err_set(msg, ERR_EXECUTION, "step %llu: the loss is not finite (%g, %g, %g)",
                       (unsigned long long)t->step, l->token, l->part, l->vector);
    return ERR_OK;
}

static void clear_part(void *ctx, unsigned part)
{
    struct batch *b = ctx;
    memset(b->t->gradient[part], 0, b->t->net.floats * sizeof(float));
}

void train_gradient_clear(struct gpu_trainer *t)
{
    struct batch b = {.t = t};
    train_team_run(t->team, clear_part, &b);
}

enum err train_gradient(struct gpu_trainer *t, const struct gpu_train_example *x, uint32_t n,
                        struct gpu_train_loss *out, struct err_msg *msg)
{
    struct batch b = {.t = t, .x = x, .weights = t->net.weights};
    enum err e = check_batch(t, x, n, msg);
    if (e != ERR_OK)
        return e;
    if (!share_out(&b, n)) {
        batch_done(&b);
        return ERR_NOMEM;
    }
    train_team_run(t->team, pack_part, &b);
    train_team_run(t->team, run_part, &b);
    train_team_run(t->team, add_up_part, &b);
    if (t->net.rank) {
        train_team_run(t->team, factors_part, &b);
        train_team_run(t->team, square_factors_part, &b);
    }
    struct train_sums sums = {0};
    double square = 0;
    for (unsigned k = 0; k < t->threads; k++) {
        sums.token += b.sums[k].token;
        sums.part += b.sums[k].part;
        sums.vector += b.sums[k].vector;
    }
    for (uint32_t i = 0; i < t->pieces; i++)
        square += t->square[i];
    struct gpu_train_loss l = {
        .token = b.weights_of.token > 0 ? sums.token / b.weights_of.token : 0,
        .part = b.weights_of.part > 0 ? sums.part / b.weights_of.part : 0,
        .vector = b.weights_of.vector > 0 ? sums.vector / b.weights_of.vector : 0,
        .gradient_norm = sqrt(square),
        .tokens = b.tokens};
    batch_done(&b);
    if ((e = check_gradient(t, &l, msg)) != ERR_OK) {
        train_gradient_clear(t);
        return e;
    }
    *out = l;
    return ERR_OK;
}

/* --- a step -------------------------------------------------------------------------------------------- */

/* Share of the peak rate: up in a line, then down half a cosine. */
static double schedule(const struct gpu_train_options *o, uint64_t step)
{
    const double pi = 3.14159265358979;
    double warm = ceil((double)o->warmup * (double)o->steps), at = (double)step;
    if (o->steps == 0)
        return 1;
    if (at < warm)
        return (at + 1) / warm;
    if (step >= o->steps)
        return 0;
    return .5 * (1 + cos(pi * (at - warm) / fmax((double)o->steps - warm, 1)));
}

static void adam_part(void *ctx, unsigned part)
{
    struct batch *b = ctx;
    struct gpu_trainer *t = b->t;
    for (uint32_t i = part; i < t->pieces; i += t->threads) {
        const struct train_piece *p = &t->piece[i];
        const struct train_tensor *x = &t->net.tensor[p->tensor];
        struct train_adam o = b->adam;
        if (train_low_rank_is_fixed(&t->net, x))
            continue;
        if (!x->decays)
            o.decay = 0;
        if (x->is_head || x->is_factor)
            o.rate = x->is_head ? b->head_rate : b->factor_rate;
        t->net.set->adam(&o, p->to - p->from, t->net.weights + p->from, t->moment1 + p->from,
                         t->moment2 + p->from, t->gradient[0] + p->from,
                         t->average ? t->average + p->from : NULL);
    }
}

/* The matrices that follow from factors, and their average. */
static void rebuild_part(void *ctx, unsigned part)
{
    struct batch *b = ctx;
    struct gpu_trainer *t = b->t;
    train_low_rank_rebuild(&t->net, part, t->threads);
    for (uint32_t i = part; t->average && i < t->net.changes; i += t->threads) {
        const struct train_change *c = &t->net.change[i];
        const float *w = t->net.weights + c->at;
        float *average = t->average + c->at, by = 1 - b->adam.average;
        for (size_t v = 0; v < (size_t)c->n * c->k; v++)
            average[v] += by * (w[v] - average[v]);
    }
}

enum err gpu_trainer_take(struct gpu_trainer *t, const char *tuned, struct err_msg *msg)
{
    struct model_file f;
    struct train_net from;
    struct train_net *n = &t->net;
    enum err e = model_file_open(tuned, NULL, &f, msg);
    if (e != ERR_OK)
        return e;
    e = train_net_open(&f, tuned, n->set, 0, t->options.seed, &from, msg);
    model_file_close(&f);
    if (e != ERR_OK)
        return e;
    if (from.floats != n->factors || from.hidden != n->hidden || from.layers != n->layers) {
        e = err_set(msg, ERR_INVALID, "%s is not the same model fine-tuned: it has another shape",
                    tuned);
    } else {
        for (uint32_t i = 0; i < from.tensors; i++) {
            const struct train_tensor *x = &from.tensor[i];
            if (n->rank == 0 || (x->at != n->word && x->at != n->position))
                memcpy(n->weights + x->at, from.weights + x->at,
                       (size_t)(x->rows ? x->rows : 1) * x->columns * sizeof(float));
        }
        e = n->rank ? train_low_rank_take(n) : ERR_OK;
        if (t->average)
            memcpy(t->average, n->weights, n->floats * sizeof(float));
    }
    train_net_done(&from);
    return e;
}

enum err gpu_trainer_step(struct gpu_trainer *t, const struct gpu_train_example *x, uint32_t n,
                          struct gpu_train_loss *out, struct err_msg *msg)
{
    const struct gpu_train_options *o = &t->options;
    enum err e = train_gradient(t, x, n, out, msg);
    if (e != ERR_OK)
        return e;
    double share = schedule(o, t->step), done = (double)(t->step + 1);
    double norm = out->gradient_norm, cut = (double)o->clip;
    struct batch b = {
        .t = t,
        .head_rate = (float)((double)o->head_rate * share),
        .factor_rate = (float)((double)o->factor_rate * share),
        .adam = {.rate = (float)((double)o->rate * share),
                 .decay = o->decay,
                 .beta1 = .9f,
                 .beta2 = .999f,
                 .correct1 = (float)(1 - pow(.9, done)),
                 .correct2 = (float)(1 - pow(.999, done)),
                 .epsilon = 1e-8f,
                 .scale = cut > 0 && norm > cut ? (float)(cut / norm) : 1,
                 /* a young average follows faster, or the first weights would stay in it */
                 .average = (float)fmin((double)o->average, done / (9 + done))}};
    train_team_run(t->team, adam_part, &b);
    if (t->net.rank)
        train_team_run(t->team, rebuild_part, &b);
    train_gradient_clear(t);
    t->step++;
    out->rate = (double)o->rate * share;
    return ERR_OK;
}

enum err gpu_trainer_logits(struct gpu_trainer *t, const struct gpu_train_example *x, uint32_t n,
                            float *const *logits, struct err_msg *msg)
{
    struct batch b = {
        .t = t, .x = x, .weights = t->average ? t->average : t->net.weights, .logits = logits};
    enum err e = check_batch(t, x, n, msg);
    if (e != ERR_OK)
        return e;
    bool ok = share_out(&b, n);
    if (ok) {
        train_team_run(t->team, pack_part, &b);
        train_team_run(t->team, run_part, &b);
    }
    batch_done(&b);
    for (uint32_t i = 0; ok && i < n; i++)
        for (uint32_t k = 0; k < x[i].count; k++)
            if (!isfinite(logits[i][k]))
                return err_set(msg, ERR_EXECUTION, "example %u: a logit is not finite", i);
    return ok ? ERR_OK : ERR_NOMEM;
}
