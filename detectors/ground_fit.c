/* Trees, then what is fitted on their held-out scores. */
#include "detectors/ground_fit.h"

#include <math.h>
#include <stdlib.h>

#include "base/check.h"
#include "detectors/ground_measure.h"

#define FOLDS 5u
#define TARGETS_LEAST 30u
#define FOLD_SEED 0x6f6c64u

struct fitting {
    struct ground_cases *all;
    const bool *use;
    const struct ground_fit_options *o;
    struct ground_judge judge;
    uint32_t *targets, targets_count; /* cases that the stack learns from */
    uint32_t judged; /* of them, the first: those that the encoder has judged; without one all */
    struct arena *a;
};

/* --- trees ----------------------------------------------------------------------------------------- */

/* Of the cases used, but not those of one fold (FOLDS: none is left out). */
static bool in_fold(const struct fitting *f, uint32_t i, uint32_t left_out)
{
    const struct ground_case *c = &f->all->cases[i];
    return f->use[i] && c->marks_known && c->tree_weight > 0 &&
           ground_case_fold(c, FOLDS, FOLD_SEED) != left_out;
}

static enum err fit_trees(const struct fitting *f, uint32_t left_out, struct buf *out)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < f->all->count; i++)
        n += in_fold(f, i, left_out) ? f->all->cases[i].answer.count : 0;
    float *rows = malloc(sizeof(float) * GROUND_FEATURE_COUNT * ((size_t)n + 1));
    float *weight = malloc(sizeof(float) * ((size_t)n + 1));
    uint8_t *label = malloc((size_t)n + 1);
    enum err e = rows && weight && label ? ERR_OK : ERR_NOMEM;
    n = 0;
    for (uint32_t i = 0; e == ERR_OK && i < f->all->count; i++) {
        const struct ground_case *c = &f->all->cases[i];
        if (!in_fold(f, i, left_out) || !c->answer.count)
            continue;
        memcpy(rows + (size_t)n * GROUND_FEATURE_COUNT, c->f.rows,
               sizeof(float) * GROUND_FEATURE_COUNT * c->answer.count);
        memcpy(label + n, c->marked, c->answer.count);
        for (uint32_t k = 0; k < c->answer.count; k++)
            weight[n + k] = c->tree_weight;
        n += c->answer.count;
    }
    struct ground_tree_options o = {.trees = f->o->trees ? f->o->trees : 250,
                                    .rate = .05f,
                                    .row_share = .7f,
                                    .column_share = .3f,
                                    .least = 5,
                                    .lambda = 3,
                                    .seed = f->o->seed + left_out};
    if (e == ERR_OK)
        e = ground_tree_fit(&o, rows, n, GROUND_FEATURE_COUNT, label, weight, out);
    free(rows), free(weight), free(label);
    return e;
}

static void judge_by_trees(const struct ground_trees *t, const struct ground_case *c, float *out)
{
    for (uint32_t k = 0; k < c->answer.count; k++)
        out[k] = ground_tree_logit(t, c->f.rows + (size_t)k * GROUND_FEATURE_COUNT);
}

/* Scores of trees that have not seen the case, for all that is used. */
static enum err cross_fit_trees(struct fitting *f)
{
    enum err e = ERR_OK;
    for (uint32_t fold = 0; e == ERR_OK && fold < FOLDS; fold++) {
        struct buf form = {0};
        struct ground_trees t;
        e = fit_trees(f, fold, &form);
        if (e == ERR_OK)
            e = ground_tree_read(buf_bytes(&form), &t);
        for (uint32_t i = 0; e == ERR_OK && i < f->all->count; i++) {
            struct ground_case *c = &f->all->cases[i];
            if (f->use[i] && ground_case_fold(c, FOLDS, FOLD_SEED) == fold)
                judge_by_trees(&t, c, c->trees);
        }
        buf_done(&form);
    }
    return e;
}

/* --- stacks ---------------------------------------------------------------------------------------- */

static struct ground_judge_input input_of(const struct ground_judge *j, const struct ground_case *c,
                                          const float *trees)
{
    return (struct ground_judge_input){&c->answer,
                                       trees,
                                       j->encoder ? c->tokens : NULL,
                                       j->encoder ? c->tokens_count : 0,
                                       c->json,
                                       c->s.question.size > 0};
}

/* Those that the encoder has judged first. */
static void find_targets(struct fitting *f)
{
    for (int others = 0; others < 2; others++) {
        for (uint32_t i = 0; i < f->all->count; i++) {
            const struct ground_case *c = &f->all->cases[i];
            bool is_judged = !f->o->encoder || c->tokens;
            if (f->use[i] && c->target && c->answer.count && is_judged == !others)
                f->targets[f->targets_count++] = i;
        }
        if (!others)
            f->judged = f->targets_count;
    }
}

/* Takes the leading columns of rows that are wider. */
static void narrow(float *rows, uint32_t n, uint32_t from, uint32_t to)
{
    for (uint32_t i = 0; i < n; i++)
        memmove(rows + (size_t)i * to, rows + (size_t)i * from, sizeof(float) * to);
}

static enum err fit_sentences(struct fitting *f)
{
    uint32_t n = 0, columns = ground_judge_sentence_columns(f->judge.encoder);
    for (uint32_t t = 0; t < f->judged; t++)
        n += f->all->cases[f->targets[t]].answer.count;
    float *rows = ARENA_ARRAY(f->a, float, (size_t)(n + 1) * GROUND_JUDGE_SENTENCE);
    float *logit = ARENA_ARRAY(f->a, float, n + 1);
    uint8_t *label = ARENA_ARRAY(f->a, uint8_t, n + 1);
    if (!rows || !logit || !label)
        return ERR_NOMEM;
    n = 0;
    for (uint32_t t = 0; t < f->judged; t++) {
        const struct ground_case *c = &f->all->cases[f->targets[t]];
        struct ground_judge_input in = input_of(&f->judge, c, c->trees);
        ground_judge_sentence_rows(&in, rows + (size_t)n * GROUND_JUDGE_SENTENCE);
        memcpy(label + n, c->marked, c->answer.count);
        n += c->answer.count;
    }
    narrow(rows, n, GROUND_JUDGE_SENTENCE, columns);
    float w[GROUND_JUDGE_SENTENCE + 1] = {0};
    enum err e = ground_curve_logistic(rows, n, columns, label, NULL, 1, 0, w);
    if (e != ERR_OK)
        return e;
    for (uint32_t i = 0; i < n; i++)
        logit[i] = ground_curve_dot(w, rows + (size_t)i * columns, columns);
    memcpy(f->judge.sentence, w, sizeof(float) * columns);
    f->judge.sentence[GROUND_JUDGE_SENTENCE] = w[columns];
    return ground_curve_fit(logit, label, n, &f->judge.sentence_curve);
}

static void sentence_logits(const struct ground_judge *j, const struct ground_judge_input *in,
                            float *rows, float *out)
{
    ground_judge_sentence_rows(in, rows);
    for (uint32_t i = 0; i < in->answer->count; i++)
        out[i] = ground_curve_dot(j->sentence, rows + (size_t)i * GROUND_JUDGE_SENTENCE,
                                  GROUND_JUDGE_SENTENCE);
}

/* A row and a label for each target. */
static enum err response_rows(struct fitting *f, uint32_t columns, float *rows, uint8_t *label)
{
    for (uint32_t t = 0; t < f->targets_count; t++) {
        const struct ground_case *c = &f->all->cases[f->targets[t]];
        struct ground_judge_input in = input_of(&f->judge, c, c->trees);
        float *scratch = ARENA_ARRAY(f->a, float, (size_t)c->answer.count *GROUND_JUDGE_SENTENCE);
        float *logit = ARENA_ARRAY(f->a, float, c->answer.count);
        float row[GROUND_JUDGE_RESPONSE];
        if (!scratch || !logit)
            return ERR_NOMEM;
        sentence_logits(&f->judge, &in, scratch, logit);
        /* With an encoder the trees' columns are made of the trees alone, judged or not. */
        ground_judge_response_row(&in, f->judge.encoder ? c->trees : logit, row);
        memcpy(rows + (size_t)t * columns, row, sizeof(float) * columns);
        label[t] = (uint8_t)c->s.label;
    }
    return ERR_OK;
}

struct stack { /* what the response's stack is fitted on */
    const float *rows; /* [targets][columns] */
    const uint8_t *label;
    float *weight, *few; /* [targets]; [targets][1 + GROUND_JUDGE_RESPONSE_TOKENS] */
    uint32_t columns;
};

/* Each task counts as much as another: most judged answers are to questions. 0: of the fold that is left out (FOLDS: none is). */
static void weigh_by_task(const struct fitting *f, uint32_t left_out, uint32_t n, bool even,
                          float *weight)
{
    uint32_t counts[3] = {0};
    for (uint32_t t = 0; t < n; t++)
        counts[f->all->cases[f->targets[t]].s.task]++;
    for (uint32_t t = 0; t < n; t++) {
        const struct ground_case *c = &f->all->cases[f->targets[t]];
        bool out = ground_case_fold(c, FOLDS, FOLD_SEED) == left_out;
        weight[t] = out ? 0 : even ? (float)n / (3.f * (float)counts[c->s.task]) : 1;
    }
}

/* The trees' columns learn from all targets. What tokens add is a number or two, and learns from those that the encoder had not seen: some hundred,
 * on which sixteen weights would fit noise. w [columns + 1]: of the whole, in the columns of rows. */
static enum err fit_stack(struct fitting *f, struct stack *s, uint32_t left_out, float *w)
{
    enum { FEW = 1 + GROUND_JUDGE_RESPONSE_TOKENS, TREES = GROUND_JUDGE_RESPONSE_TREES };
    float trees[TREES + 1], few[FEW + 1];
    float *narrow_rows = ARENA_ARRAY(f->a, float, (size_t)(f->targets_count + 1) * TREES);
    if (!narrow_rows)
        return ERR_NOMEM;
    for (uint32_t t = 0; t < f->targets_count; t++)
        memcpy(narrow_rows + (size_t)t * TREES, s->rows + (size_t)t * s->columns,
               sizeof(float) * TREES);
    weigh_by_task(f, left_out, f->targets_count, false, s->weight);
    enum err e = ground_curve_logistic(narrow_rows, f->targets_count, TREES, s->label, s->weight, 4,
                                       GROUND_JUDGE_RESPONSE_FREE, trees);
    if (e != ERR_OK || !f->judge.encoder) {
        memcpy(w, trees, sizeof(trees));
        return e;
    }
    for (uint32_t t = 0; t < f->judged; t++) {
        const float *row = s->rows + (size_t)t * s->columns;
        s->few[(size_t)t * FEW] = ground_curve_dot(trees, row, TREES);
        memcpy(s->few + (size_t)t * FEW + 1, row + TREES, sizeof(float) * (FEW - 1));
    }
    weigh_by_task(f, left_out, f->judged, true, s->weight);
    e = ground_curve_logistic(s->few, f->judged, FEW, s->label, s->weight, 4, 0, few);
    for (uint32_t k = 0; k < TREES; k++)
        w[k] = few[0] * trees[k];
    memcpy(w + TREES, few + 1, sizeof(float) * (FEW - 1));
    w[s->columns] = few[0] * trees[TREES] + few[FEW];
    return e;
}

/* Logits of each judged target by a stack that has not seen its fold. */
static enum err cross_fit_responses(struct fitting *f, struct stack *s, float *logit)
{
    for (uint32_t fold = 0; fold < FOLDS; fold++) {
        float w[GROUND_JUDGE_RESPONSE + 1];
        enum err e = fit_stack(f, s, fold, w);
        if (e != ERR_OK)
            return e;
        for (uint32_t t = 0; t < f->judged; t++)
            if (ground_case_fold(&f->all->cases[f->targets[t]], FOLDS, FOLD_SEED) == fold)
                logit[t] = ground_curve_dot(w, s->rows + (size_t)t * s->columns, s->columns);
    }
    return ERR_OK;
}

static enum err fit_responses(struct fitting *f)
{
    uint32_t n = f->targets_count, columns = ground_judge_response_columns(f->judge.encoder);
    float *rows = ARENA_ARRAY(f->a, float, (size_t)(n + 1) * columns);
    float *logit = ARENA_ARRAY(f->a, float, n + 1);
    uint8_t *label = ARENA_ARRAY(f->a, uint8_t, n + 1);
    struct stack s = {
        rows, label, ARENA_ARRAY(f->a, float, n + 1),
        ARENA_ARRAY(f->a, float, (size_t)(n + 1) * (1 + GROUND_JUDGE_RESPONSE_TOKENS)), columns};
    float w[GROUND_JUDGE_RESPONSE + 1] = {0};
    enum err e = rows && logit && label && s.weight && s.few
                     ? response_rows(f, columns, rows, label)
                     : ERR_NOMEM;
    if (e == ERR_OK)
        e = cross_fit_responses(f, &s, logit);
    if (e == ERR_OK)
        e = fit_stack(f, &s, FOLDS, w);
    if (e == ERR_OK)
        e = ground_curve_fit(logit, label, f->judged, &f->judge.response_curve);
    if (e != ERR_OK)
        return e;
    memcpy(f->judge.response, w, sizeof(float) * columns);
    f->judge.response[GROUND_JUDGE_RESPONSE] = w[columns];
    for (uint32_t t = 0; t < f->judged; t++)
        logit[t] = ground_curve_probability(&f->judge.response_curve, logit[t]);
    f->judge.threshold = (float)ground_measure_best_threshold(logit, label, f->judged);
    return ERR_OK;
}

/* --- spans ----------------------------------------------------------------------------------------- */

static uint64_t overlap(const struct ground_case *c, const struct ground_fit_verdict *v)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < v->spans_count; i++)
        for (uint32_t k = 0; k < c->s.spans_count; k++) {
            uint32_t begin = MAX(v->spans[i].begin, c->s.spans[k].begin);
            uint32_t end = MIN(v->spans[i].end, c->s.spans[k].end);
            sum += end > begin ? end - begin : 0;
        }
    return sum;
}

/* Character F1 of the spans over the targets, with the judge's thresholds. */
static enum err span_f1(struct fitting *f, double *out)
{
    uint64_t both = 0, said = 0, true_ones = 0;
    for (uint32_t t = 0; t < f->judged; t++) {
        const struct ground_case *c = &f->all->cases[f->targets[t]];
        struct ground_fit_verdict v;
        struct arena *scratch = arena_new(16u << 20);
        enum err e = scratch ? ground_fit_apply(&f->judge, c, c->trees, scratch, &v) : ERR_NOMEM;
        if (e == ERR_OK) {
            both += overlap(c, &v);
            for (uint32_t i = 0; i < v.spans_count; i++)
                said += v.spans[i].end - v.spans[i].begin;
            for (uint32_t i = 0; i < c->s.spans_count; i++)
                true_ones += c->s.spans[i].end - c->s.spans[i].begin;
        }
        arena_free(scratch);
        if (e != ERR_OK)
            return e;
    }
    *out = said + true_ones ? 2. * (double)both / (double)(said + true_ones) : 0;
    return ERR_OK;
}

static enum err fit_spans(struct fitting *f)
{
    static const float sentence[] = {.02f, .05f, .1f, .15f, .2f, .25f, .3f, .4f};
    static const float token[] = {.15f, .25f, .35f, .5f, .65f};
    struct ground_judge best = f->judge;
    double most = -1, f1;
    for (unsigned i = 0; i < ARRAY_LEN(sentence); i++)
        for (unsigned k = 0; k < (f->judge.encoder ? ARRAY_LEN(token) : 1); k++) {
            f->judge.span_sentence = sentence[i], f->judge.span_token = token[k];
            enum err e = span_f1(f, &f1);
            if (e != ERR_OK)
                return e;
            if (f1 > most)
                most = f1, best = f->judge;
        }
    f->judge = best;
    return ERR_OK;
}

/* --- all of it ------------------------------------------------------------------------------------- */

static enum err fit_judge(struct fitting *f, struct buf *out, struct err_msg *msg)
{
    uint32_t positives = 0;
    struct buf trees = {0};
    f->judge.encoder = f->o->encoder;
    f->targets = ARENA_ARRAY(f->a, uint32_t, f->all->count + 1);
    if (!f->targets)
        return ERR_NOMEM;
    find_targets(f);
    for (uint32_t t = 0; t < f->judged; t++)
        positives += f->all->cases[f->targets[t]].s.label == 1;
    if (positives < TARGETS_LEAST || f->judged - positives < TARGETS_LEAST)
        return err_set(msg, ERR_INVALID,
                       "%u responses that are supported and %u that are not, with their spans "
                       "marked: too few to calibrate on (%u of each)",
                       f->judged - positives, positives, TARGETS_LEAST);
    enum err e = cross_fit_trees(f);
    if (e == ERR_OK)
        e = fit_sentences(f);
    if (e == ERR_OK)
        e = fit_responses(f);
    if (e == ERR_OK)
        e = fit_spans(f);
    if (e == ERR_OK)
        e = fit_trees(f, FOLDS, &trees);
    if (e == ERR_OK)
        ground_judge_write(f->all->idf_form, buf_bytes(&trees), &f->judge, out);
    buf_done(&trees);
    return e == ERR_OK && !buf_ok(out) ? ERR_NOMEM : e;
}

enum err ground_fit_judge(struct ground_cases *all, const bool *use,
                          const struct ground_fit_options *o, struct buf *out, struct err_msg *msg)
{
    struct fitting f = {.all = all, .use = use, .o = o, .a = arena_new(0)};
    enum err e = f.a ? fit_judge(&f, out, msg) : ERR_NOMEM;
    arena_free(f.a);
    return e;
}

void ground_fit_trees(const struct ground_judge *j, const struct ground_case *c, float *out)
{
    judge_by_trees(&j->trees, c, out);
}

enum err ground_fit_apply(const struct ground_judge *j, const struct ground_case *c,
                          const float *trees, struct arena *a, struct ground_fit_verdict *out)
{
    struct ground_judge_input in = input_of(j, c, trees);
    uint32_t n = c->answer.count;
    float row[GROUND_JUDGE_RESPONSE];
    float *rows = ARENA_ARRAY(a, float, (size_t)(n + 1) * GROUND_JUDGE_SENTENCE);
    float *logit = ARENA_ARRAY(a, float, n + 1);
    struct ground_fit_verdict v = {.sentences = ARENA_ARRAY(a, float, n + 1)};
    if (!rows || !logit || !v.sentences)
        return ERR_NOMEM;
    sentence_logits(j, &in, rows, logit);
    for (uint32_t i = 0; i < n; i++)
        v.sentences[i] = ground_curve_probability(&j->sentence_curve, logit[i]);
    ground_judge_response_row(&in, logit, row);
    v.logit = ground_curve_dot(j->response, row, GROUND_JUDGE_RESPONSE);
    v.probability = ground_curve_probability(&j->response_curve, v.logit);
    enum err e = ground_judge_spans(j, &in, v.sentences, a, &v.spans, &v.spans_count);
    if (e == ERR_OK)
        *out = v;
    return e;
}
