/* Columns, and the one form that all of it is kept in. */
#include "detectors/ground_judge.h"

#include <math.h>

#include "base/check.h"

#define MAGIC 0x314a4754u /* "TGJ1" */
#define FLAG_ENCODER 1u
#define FLAG_SUM 2u /* the response's stack has the sum over tokens */

/* --- columns --------------------------------------------------------------------------------------- */

uint32_t ground_judge_sentence_columns(bool encoder)
{
    return encoder ? GROUND_JUDGE_SENTENCE : 1;
}
uint32_t ground_judge_response_columns(bool encoder)
{
    return GROUND_JUDGE_RESPONSE_TREES + (encoder ? GROUND_JUDGE_RESPONSE_TOKENS : 0);
}

static float sigmoid(float x)
{
    return 1.f / (1.f + expf(-x));
}
static float logit_of(float p)
{
    p = MIN(1 - 1e-5f, MAX(1e-5f, p));
    return logf(p / (1 - p));
}

/* Of the tokens of a range: the largest logit, and the log of the mean of their exponentials. */
static void token_range(const struct ground_judge_input *in, uint32_t begin, uint32_t end,
                        uint32_t *from, float *most, float *soft, float *share)
{
    double sum = 0;
    uint32_t n = 0, over = 0, i = *from;
    *most = -8, *soft = -8, *share = 0;
    while (i < in->tokens_count && in->tokens[i].begin < begin)
        i++;
    for (; i < in->tokens_count && in->tokens[i].begin < end; i++, n++) {
        float l = MAX(-8.f, MIN(8.f, in->tokens[i].logit));
        *most = MAX(*most, l);
        sum += exp((double)l);
        over += l > 0;
    }
    *from = i;
    if (n)
        *soft = (float)log(sum / n), *share = (float)over / (float)n;
}

void ground_judge_sentence_rows(const struct ground_judge_input *in, float *rows)
{
    uint32_t from = 0;
    for (uint32_t i = 0; i < in->answer->count; i++) {
        float *x = rows + (size_t)i * GROUND_JUDGE_SENTENCE;
        memset(x, 0, sizeof(*x) * GROUND_JUDGE_SENTENCE);
        x[0] = in->trees[i];
        if (in->tokens)
            token_range(in, in->answer->ranges[i].begin, in->answer->ranges[i].end, &from, &x[1],
                        &x[2], &x[3]);
    }
}

/* The largest and second largest, mean and noisy-or of sentences' logits; sentences that say nothing count where there are no others. */
static void summarise(const struct ground_answer *r, const float *logit, float out[4])
{
    bool claims = false;
    for (uint32_t i = 0; i < r->count; i++)
        claims |= r->kinds[i] == GROUND_CLAIM;
    float none = 0, sum = 0;
    uint32_t n = 0;
    out[0] = out[1] = -8;
    for (uint32_t i = 0; i < r->count; i++) {
        if (claims && r->kinds[i] != GROUND_CLAIM)
            continue;
        float l = MAX(-8.f, MIN(8.f, logit[i]));
        if (l > out[0])
            out[1] = out[0], out[0] = l;
        else
            out[1] = MAX(out[1], l);
        none += log1pf(-sigmoid(l));
        sum += l, n++;
    }
    out[2] = n ? sum / (float)n : -8;
    out[3] = logit_of(1 - expf(none));
}

void ground_judge_response_row(const struct ground_judge_input *in, const float *sentence,
                               float row[GROUND_JUDGE_RESPONSE])
{
    float json = in->json, asked = in->question && !in->json;
    memset(row, 0, sizeof(*row) * GROUND_JUDGE_RESPONSE);
    summarise(in->answer, in->tokens ? in->trees : sentence, row);
    row[4] = logf(1.f + (float)in->answer->count);
    row[5] = json, row[6] = asked;
    row[7] = json * row[0], row[8] = asked * row[0];
    if (!in->tokens)
        return;
    uint32_t from = 0;
    float most, soft, share, *tokens = row + GROUND_JUDGE_RESPONSE_TREES;
    token_range(in, 0, UINT32_MAX, &from, &most, &soft, &share);
    /* Over the whole response: that is how the encoder was asked when it learned. */
    tokens[0] = soft + logf((float)MAX(in->tokens_count, 1u));
    tokens[1] = json * tokens[0], tokens[2] = asked * tokens[0];
}

/* --- spans ----------------------------------------------------------------------------------------- */

static struct ground_span *add_span(struct arena *a, struct ground_span **spans, uint32_t *n)
{
    if ((*n & (*n - 1)) == 0)
        *spans = arena_grow(a, *spans, sizeof(**spans), *n, *n ? (size_t)*n * 2 : 1);
    return *spans ? &(*spans)[(*n)++] : NULL;
}

enum err ground_judge_spans(const struct ground_judge *j, const struct ground_judge_input *in,
                            const float *probability, struct arena *a, struct ground_span **out,
                            uint32_t *count)
{
    uint32_t t = 0, n = 0;
    struct ground_span *spans = NULL, *s = NULL;
    for (uint32_t i = 0; i < in->answer->count; i++) {
        struct ground_split_range r = in->answer->ranges[i];
        uint32_t last = UINT32_MAX; /* token that the span at hand ended with */
        bool open = probability[i] >= j->span_sentence;
        if (open && !in->tokens) {
            s = add_span(a, &spans, &n);
            if (!s)
                return ERR_NOMEM;
            *s = (struct ground_span){r.begin, r.end, probability[i]};
        }
        for (; t < in->tokens_count && in->tokens[t].begin < r.end; t++) {
            float p = sigmoid(in->tokens[t].logit);
            if (!open || p < j->span_token || in->tokens[t].begin < r.begin)
                continue;
            if (last == UINT32_MAX || t - last > 2) {
                s = add_span(a, &spans, &n);
                if (!s)
                    return ERR_NOMEM;
                *s = (struct ground_span){in->tokens[t].begin, in->tokens[t].end, p};
            }
            s->end = MAX(s->end, in->tokens[t].end), s->probability = MAX(s->probability, p);
            last = t;
        }
    }
    *out = spans, *count = n;
    return ERR_OK;
}

/* --- the form -------------------------------------------------------------------------------------- */

void ground_judge_write(struct bytes idf, struct bytes trees, const struct ground_judge *j,
                        struct buf *out)
{
    struct buf rest = {0};
    buf_append(&rest, j->sentence, sizeof(j->sentence));
    buf_append(&rest, j->response, sizeof(j->response));
    buf_append(&rest, &j->threshold, 4);
    buf_append(&rest, &j->span_token, 4), buf_append(&rest, &j->span_sentence, 4);
    ground_curve_write(&j->sentence_curve, &rest);
    ground_curve_write(&j->response_curve, &rest);
    buf_u32(out, MAGIC), buf_u32(out, GROUND_FEATURE_VERSION);
    buf_u32(out, j->encoder ? FLAG_ENCODER | FLAG_SUM : 0);
    struct bytes parts[] = {idf, trees, buf_bytes(&rest)};
    for (unsigned i = 0; i < ARRAY_LEN(parts); i++) {
        buf_u32(out, (uint32_t)parts[i].size);
        buf_bytes_append(out, parts[i]);
    }
    out->failed |= !buf_ok(&rest);
    buf_done(&rest);
}

static bool read_floats(struct reader *r, float *out, uint32_t n)
{
    const uint8_t *p = reader_take(r, (size_t)n * 4);
    if (!p)
        return false;
    memcpy(out, p, (size_t)n * 4);
    for (uint32_t i = 0; i < n; i++)
        if (!isfinite(out[i]))
            return false;
    return true;
}

enum err ground_judge_read(struct bytes form, struct ground_judge *out)
{
    struct reader r = reader_of(form);
    struct ground_judge j = {0};
    uint32_t magic = reader_u32(&r), version = reader_u32(&r), flags = reader_u32(&r);
    if (r.failed || magic != MAGIC)
        return ERR_CORRUPT;
    if (version != GROUND_FEATURE_VERSION)
        return ERR_NEWER;
    if ((flags & FLAG_ENCODER) && !(flags & FLAG_SUM))
        return ERR_NEWER; /* its stack was made for other columns */
    struct bytes idf = reader_bytes(&r, reader_u32(&r)), trees = reader_bytes(&r, reader_u32(&r)),
                 rest = reader_bytes(&r, reader_u32(&r));
    if (r.failed || reader_left(&r) || ground_idf_read(idf, &j.idf) != ERR_OK ||
        ground_tree_read(trees, &j.trees) != ERR_OK || j.trees.columns != GROUND_FEATURE_COUNT)
        return ERR_CORRUPT;
    r = reader_of(rest);
    j.encoder = flags & FLAG_ENCODER;
    bool sound = read_floats(&r, j.sentence, ARRAY_LEN(j.sentence)) &&
                 read_floats(&r, j.response, ARRAY_LEN(j.response)) &&
                 read_floats(&r, &j.threshold, 1) && read_floats(&r, &j.span_token, 1) &&
                 read_floats(&r, &j.span_sentence, 1) &&
                 ground_curve_read(&r, &j.sentence_curve) == ERR_OK &&
                 ground_curve_read(&r, &j.response_curve) == ERR_OK && reader_left(&r) == 0;
    if (!sound)
        return ERR_CORRUPT;
    *out = j;
    return ERR_OK;
}
