#include "gpu/train_loss.h"

#include <math.h>

#include "base/check.h"

static uint32_t judged(const struct gpu_train_example *x)
{
    uint32_t n = 0;
    for (uint32_t k = 0; x->labels && k < x->count; k++)
        n += x->labels[k] >= 0;
    return n;
}

void train_loss_count(const struct gpu_train_example *x, struct train_sums *io)
{
    uint32_t n = judged(x);
    io->token += (double)x->weight * n;
    io->part += n && x->part >= 0 ? (double)x->weight : 0;
    io->vector += x->vector ? (double)x->weight : 0;
}

void train_logits(const struct train_net *n, const float *weights, const float *hidden,
                  uint32_t count, float *logits)
{
    const float *head = weights + n->head;
    for (uint32_t k = 0; k < count; k++) {
        const float *h = hidden + (size_t)k * n->ld;
        float sum = weights[n->head_bias];
        for (uint32_t i = 0; i < n->hidden; i++)
            sum += head[i] * h[i];
        logits[k] = sum;
    }
}

/* -log of the probability that 1 / (1 + e^-z) gives y. */
static double entropy(double z, int y)
{
    return fmax(z, 0) - (y ? z : 0) + log1p(exp(-fabs(z)));
}

static double sigmoid(double z)
{
    return 1 / (1 + exp(-z));
}

/* The logit's slope goes to the head and through it to the hidden state. */
static void through_head(const struct train_net *n, const float *weights, const float *h, float d,
                         float *slope, float *gradient)
{
    const float *head = weights + n->head;
    float *dhead = gradient + n->head;
    gradient[n->head_bias] += d;
    for (uint32_t i = 0; i < n->hidden; i++) {
        slope[i] += d * head[i];
        dhead[i] += d * h[i];
    }
}

static void label_loss(const struct train_net *n, const struct gpu_train_options *o,
                       const struct train_sums *of, const float *weights,
                       const struct gpu_train_example *x, const float *hidden, float *logits,
                       float *slopes, float *gradient, struct train_sums *io)
{
    double top = -INFINITY, total = 0, part = 0;
    train_logits(n, weights, hidden, x->count, logits);
    for (uint32_t k = 0; k < x->count; k++)
        if (x->labels[k] >= 0)
            top = fmax(top, (double)logits[k]);
    for (uint32_t k = 0; k < x->count; k++)
        if (x->labels[k] >= 0)
            total += exp((double)logits[k] - top);
    if (x->part >= 0) {
        double z = top + log(total);
        io->part += (double)x->weight * entropy(z, x->part);
        part = (double)(o->part_weight * x->weight) / of->part * (sigmoid(z) - x->part);
    }
    for (uint32_t k = 0; k < x->count; k++) {
        if (x->labels[k] < 0)
            continue;
        double z = (double)logits[k];
        io->token += (double)x->weight * entropy(z, x->labels[k]);
        double d = (double)x->weight / of->token * (sigmoid(z) - x->labels[k]) +
                   part * exp(z - top) / total;
        through_head(n, weights, hidden + (size_t)k * n->ld, (float)d, slopes + (size_t)k * n->ld,
                     gradient);
    }
}

/* cos(v, t) with v the mean of the rows: its slope for v is (t - cos v / |v|) / |v|, for t of length 1. */
static void vector_loss(const struct train_net *n, const struct gpu_train_options *o,
                        const struct train_sums *of, const struct gpu_train_example *x,
                        const float *hidden, float *slopes, struct train_sums *io)
{
    double square = 0, dot = 0, target = 0;
    float mean[4096];
    CHECK(n->hidden <= ARRAY_LEN(mean));
    memset(mean, 0, n->hidden * sizeof(*mean));
    for (uint32_t k = 0; k < x->count; k++)
        for (uint32_t i = 0; i < n->hidden; i++)
            mean[i] += hidden[(size_t)k * n->ld + i];
    for (uint32_t i = 0; i < n->hidden; i++) {
        mean[i] /= (float)x->count;
        square += (double)mean[i] * (double)mean[i];
        dot += (double)mean[i] * (double)x->vector[i];
        target += (double)x->vector[i] * (double)x->vector[i];
    }
    double length = sqrt(square) + 1e-30, unit = 1 / (sqrt(target) + 1e-30),
           cosine = dot * unit / length;
    io->vector += (double)x->weight * (1 - cosine);
    double by = -(double)(o->vector_weight * x->weight) / of->vector / length / x->count;
    for (uint32_t i = 0; i < n->hidden; i++) {
        float d = (float)(by * ((double)x->vector[i] * unit - cosine * (double)mean[i] / length));
        for (uint32_t k = 0; k < x->count; k++)
            slopes[(size_t)k * n->ld + i] += d;
    }
}

void train_loss(const struct train_net *n, const struct gpu_train_options *o,
                const struct train_sums *weights_of, const float *weights,
                const struct gpu_train_example *x, const float *hidden, float *logits,
                float *slopes, float *gradient, struct train_sums *io)
{
    if (x->weight > 0 && judged(x))
        label_loss(n, o, weights_of, weights, x, hidden, logits, slopes, gradient, io);
    if (x->weight > 0 && x->vector)
        vector_loss(n, o, weights_of, x, hidden, slopes, io);
}
