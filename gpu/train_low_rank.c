#include "gpu/train_low_rank.h"

#include <math.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/hash.h"
#include "gpu/model_branch.h"

bool train_low_rank_is_fixed(const struct train_net *n, const struct train_tensor *t)
{
    if (n->rank == 0)
        return false;
    if (t->at == n->word || t->at == n->position)
        return true;
    for (uint32_t i = 0; i < n->changes; i++)
        if (n->change[i].at == t->at)
            return true;
    return false;
}

static float *start_of(const struct train_net *n, const struct train_change *c)
{
    return n->start + (c->at - n->dense);
}

enum err train_low_rank_begin(struct train_net *n, uint64_t seed)
{
    size_t floats = n->factors - n->dense;
    if (!(n->start = train_memory(floats * sizeof(*n->start))))
        return ERR_NOMEM;
    memcpy(n->start, n->weights + n->dense, floats * sizeof(*n->start));
    for (uint32_t i = 0; i < n->changes; i++) {
        const struct train_change *c = &n->change[i];
        float by = 2 / sqrtf((float)c->k);
        for (uint32_t v = 0; v < n->rank * c->k; v++) {
            uint32_t place[] = {i, v};
            n->weights[c->down + v] =
                by *
                ((float)(hash64(bytes_of(place, sizeof(place)), seed) >> 40) / (float)(1u << 24) -
                 .5f);
        }
    }
    return ERR_OK;
}

/* Both get the root of what the product has of a direction, so that a step means as much in one as in the other. */
static void balance(float *up, float *down, uint32_t n, uint32_t r, uint32_t k)
{
    for (uint32_t j = 0; j < r; j++) {
        double square = 0;
        for (uint32_t c = 0; c < k; c++)
            square += (double)down[(size_t)j * k + c] * (double)down[(size_t)j * k + c];
        float root = (float)sqrt(sqrt(square)), inverse = root > 0 ? 1 / root : 0;
        for (uint32_t c = 0; c < k; c++)
            down[(size_t)j * k + c] *= inverse;
        for (uint32_t i = 0; i < n; i++)
            up[(size_t)i * r + j] *= root;
    }
}

enum err train_low_rank_take(struct train_net *n)
{
    for (uint32_t i = 0; i < n->changes; i++) {
        const struct train_change *c = &n->change[i];
        float *w = n->weights + c->at, *up = n->weights + c->up, *down = n->weights + c->down;
        const float *start = start_of(n, c);
        for (size_t v = 0; v < (size_t)c->n * c->k; v++)
            w[v] -= start[v];
        if (!model_branch_factor(w, c->n, c->k, n->rank, up, down))
            return ERR_NOMEM;
        balance(up, down, c->n, n->rank, c->k);
    }
    train_low_rank_rebuild(n, 0, 1);
    return ERR_OK;
}

void train_low_rank_rebuild(struct train_net *n, unsigned part, unsigned parts)
{
    for (uint32_t i = part; i < n->changes; i += parts) {
        const struct train_change *c = &n->change[i];
        const float *up = n->weights + c->up, *down = n->weights + c->down;
        float *w = n->weights + c->at;
        memcpy(w, start_of(n, c), (size_t)c->n * c->k * sizeof(*w));
        for (uint32_t row = 0; row < c->n; row++, w += c->k)
            for (uint32_t j = 0; j < n->rank; j++) {
                float by = up[(size_t)row * n->rank + j];
                const float *d = down + (size_t)j * c->k;
                for (uint32_t v = 0; v < c->k; v++)
                    w[v] += by * d[v];
            }
    }
}

/* Sums in lanes, or the compiler would have to keep their order. */
static float dot(const float *x, const float *y, uint32_t n)
{
    float lane[16] = {0}, total = 0;
    uint32_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (uint32_t l = 0; l < 16; l++)
            lane[l] += x[i + l] * y[i + l];
    for (; i < n; i++)
        total += x[i] * y[i];
    for (uint32_t l = 0; l < 16; l++)
        total += lane[l];
    return total;
}

void train_low_rank_back(const struct train_net *n, float *gradient, unsigned part, unsigned parts)
{
    for (uint32_t i = part; i < n->changes; i += parts) {
        const struct train_change *c = &n->change[i];
        const float *up = n->weights + c->up, *down = n->weights + c->down, *g = gradient + c->at;
        float *dup = gradient + c->up, *ddown = gradient + c->down;
        memset(ddown, 0, (size_t)n->rank * c->k * sizeof(*ddown));
        for (uint32_t row = 0; row < c->n; row++, g += c->k)
            for (uint32_t j = 0; j < n->rank; j++) {
                float by = up[(size_t)row * n->rank + j], *d = ddown + (size_t)j * c->k;
                dup[(size_t)row * n->rank + j] = dot(g, down + (size_t)j * c->k, c->k);
                for (uint32_t v = 0; v < c->k; v++)
                    d[v] += by * g[v];
            }
    }
}
