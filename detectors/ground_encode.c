/* Parts through the encoder, a few at a time. */
#include "detectors/ground_encode.h"

#include <math.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"

#define BATCH 32u

static enum err encode_batch(struct gpu_encoder *encoder, const struct ground_part *parts,
                             uint32_t n, float *out, uint32_t labels, struct err_msg *msg)
{
    struct gpu_sequence s[BATCH];
    for (uint32_t i = 0; i < n; i++)
        s[i] = (struct gpu_sequence){parts[i].ids, parts[i].types, parts[i].count,
                                     out + (size_t)i * GROUND_PART_LENGTH_MAX * labels};
    return gpu_encode(encoder, s, n, GPU_TOKEN_LOGITS, msg);
}

/* A head of two labels says the same as one by their difference. */
static float logit_of(const float *out, uint32_t labels)
{
    float l = labels == 1 ? out[0] : out[1] - out[0];
    return isfinite(l) ? l : 0;
}

static void take_tokens(const struct ground_part *p, const float *out, uint32_t labels,
                        struct ground_encode_result *r)
{
    for (uint32_t t = p->first; t + 1 < p->count; t++)
        r->tokens[r->count++] = (struct ground_token){p->begin[t], p->end[t],
                                                      logit_of(out + (size_t)t * labels, labels)};
    r->spent += p->count;
}

enum err ground_encode_tokens(struct gpu_encoder *encoder, const struct gpu_model *m,
                              const struct ground_part_input *in, uint64_t deadline_ns,
                              struct arena *a, struct ground_encode_result *out,
                              struct err_msg *msg)
{
    struct gpu_model_info info;
    struct ground_part *parts;
    uint32_t n;
    gpu_model_info(m, &info);
    if (info.head != GPU_HEAD_TOKEN || info.labels < 1 || info.labels > 2)
        return err_set(msg, ERR_INVALID, "the model has no head that judges tokens");
    if (info.positions < GROUND_PART_LENGTH_MAX)
        return err_set(msg, ERR_INVALID, "the model reads %u tokens, and %u are needed",
                       info.positions, GROUND_PART_LENGTH_MAX);
    struct ground_part_input marked = *in;
    marked.marks = gpu_model_extra(m, GROUND_ENCODE_MARKS).size > 0;
    enum err e = ground_part_make(&marked, a, &parts, &n);
    if (e != ERR_OK)
        return e;
    struct ground_encode_result r = {
        ARENA_ARRAY(a, struct ground_token, (size_t)n * GROUND_PART_TOKENS_MAX + 1), 0, 0};
    float *logits =
        ARENA_ARRAY(a, float, (size_t)MIN(n, BATCH) * GROUND_PART_LENGTH_MAX * info.labels + 1);
    if (!r.tokens || !logits)
        return ERR_NOMEM;
    for (uint32_t i = 0; e == ERR_OK && i < n; i += BATCH) {
        uint32_t some = MIN(n - i, BATCH);
        if (deadline_ns && (uint64_t)clock_mono_ns() > deadline_ns)
            return ERR_TIMEOUT;
        e = encode_batch(encoder, parts + i, some, logits, info.labels, msg);
        for (uint32_t k = 0; e == ERR_OK && k < some; k++)
            take_tokens(&parts[i + k], logits + (size_t)k * GROUND_PART_LENGTH_MAX * info.labels,
                        info.labels, &r);
    }
    if (e == ERR_OK)
        *out = r;
    return e;
}

/* --- cases ----------------------------------------------------------------------------------------- */

static bool is_held_out(struct bytes list, uint64_t group)
{
    size_t low = 0, high = list.size / 8;
    while (low < high) {
        size_t mid = (low + high) / 2;
        uint64_t at = bytes_u64le(list.data + 8 * mid);
        if (at == group)
            return true;
        if (at < group)
            low = mid + 1;
        else
            high = mid;
    }
    return false;
}

static enum err judge_case(struct ground_case *c, const struct ground_idf *idf,
                           struct gpu_encoder *encoder, const struct gpu_model *m,
                           struct arena *scratch, struct arena *a, struct err_msg *msg)
{
    struct ground_context context;
    struct ground_encode_result r;
    arena_reset(scratch);
    enum err e = ground_context_make(c->s.documents, c->s.documents_count, scratch, &context);
    struct ground_part_input in = {gpu_model_vocab(m), idf,        &context,
                                   c->s.question,      &c->answer, false};
    if (e == ERR_OK)
        e = ground_encode_tokens(encoder, m, &in, 0, scratch, &r, msg);
    if (e != ERR_OK)
        return e;
    c->tokens = ARENA_ARRAY(a, struct ground_token, r.count + 1);
    if (!c->tokens)
        return ERR_NOMEM;
    memcpy(c->tokens, r.tokens, sizeof(*r.tokens) * r.count);
    c->tokens_count = r.count;
    return ERR_OK;
}

enum err ground_encode_cases(struct ground_cases *all, const struct ground_lab_options *o,
                             struct arena *a, struct err_msg *msg)
{
    struct gpu_model *m = NULL;
    struct gpu_encoder *encoder = NULL;
    struct arena *scratch = arena_new(1u << 30);
    uint32_t n = 0;
    enum err e = scratch ? gpu_model_open(o->model, o->precision, &m, msg) : ERR_NOMEM;
    if (e == ERR_OK)
        encoder = gpu_encoder_new(m, o->threads);
    if (e == ERR_OK && !encoder)
        e = ERR_NOMEM;
    struct bytes held_out = e == ERR_OK ? gpu_model_extra(m, GROUND_ENCODE_HELD_OUT) : BYTES_NONE;
    for (uint32_t i = 0; e == ERR_OK && i < all->count; i++) {
        struct ground_case *c = &all->cases[i];
        if (!c->target || (held_out.size && !is_held_out(held_out, c->s.group)))
            continue;
        n++;
        e = judge_case(c, &all->idf, encoder, m, scratch, a, msg);
    }
    if (e == ERR_OK)
        fprintf(o->report,
                held_out.size
                    ? "%u responses judged by the encoder: those of sources that it has not been "
                      "trained on\n"
                    : "%u responses judged by the encoder, which does not say what it has been "
                      "trained on: where it has seen these sources, the figures flatter\n",
                n);
    gpu_encoder_free(encoder);
    if (m)
        gpu_model_close(m);
    arena_free(scratch);
    return e;
}
