/* Cross-validation, and the table. */
#include <math.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "detectors/detectors_ground_lab.h"
#include "detectors/ground_encode.h"
#include "detectors/ground_fit.h"
#include "detectors/ground_measure.h"

#define FOLDS 5u
#define SPLIT_SEED 0x73706c6974u

struct outcome { /* of one case */
    struct ground_fit_verdict v;
    bool judged, flagged;
    float raw; /* the logit through no calibration but the logistic function */
};
struct evaluation {
    const struct ground_lab_options *o;
    struct ground_cases all;
    struct arena *a;
    struct outcome *out;
    bool *use;
    uint64_t *keys; /* of the sources in the fold that is judged, sorted */
    uint32_t keys_count;
};

static int by_key(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static bool is_judged(const struct evaluation *v, const struct ground_case *c)
{
    return c->target && bytes_equal_str(c->s.set, "ragtruth") && (!v->o->model || c->tokens);
}

static bool in_test(const struct evaluation *v, const struct ground_case *c)
{
    return bsearch(&c->s.group, v->keys, v->keys_count, 8, by_key) ||
           bsearch(&c->s.context_key, v->keys, v->keys_count, 8, by_key);
}

/* A case of another set that shares a source with one that is judged is left out too. */
static void split(struct evaluation *v, uint32_t fold)
{
    v->keys_count = 0;
    for (uint32_t i = 0; i < v->all.count; i++) {
        const struct ground_case *c = &v->all.cases[i];
        if (is_judged(v, c) && ground_case_fold(c, FOLDS, SPLIT_SEED) == fold) {
            v->keys[v->keys_count++] = c->s.group;
            v->keys[v->keys_count++] = c->s.context_key;
        }
    }
    qsort(v->keys, v->keys_count, 8, by_key);
    for (uint32_t i = 0; i < v->all.count; i++)
        v->use[i] = !in_test(v, &v->all.cases[i]);
}

static enum err judge_fold(struct evaluation *v, uint32_t fold, struct err_msg *msg)
{
    struct ground_fit_options o = {.seed = 7 + fold, .encoder = v->o->model != NULL};
    struct buf form = {0};
    struct ground_judge j;
    split(v, fold);
    enum err e = ground_fit_judge(&v->all, v->use, &o, &form, msg);
    if (e == ERR_OK)
        e = ground_judge_read(buf_bytes(&form), &j);
    for (uint32_t i = 0; e == ERR_OK && i < v->all.count; i++) {
        struct ground_case *c = &v->all.cases[i];
        struct outcome *out = &v->out[i];
        if (!is_judged(v, c) || v->use[i] || ground_case_fold(c, FOLDS, SPLIT_SEED) != fold)
            continue;
        ground_fit_trees(&j, c, c->trees);
        e = ground_fit_apply(&j, c, c->trees, v->a, &out->v);
        out->judged = e == ERR_OK;
        out->flagged = out->v.probability >= j.threshold;
        out->raw = 1.f / (1.f + expf(-out->v.logit));
    }
    buf_done(&form);
    return e;
}

/* --- figures --------------------------------------------------------------------------------------- */

struct column {
    float *p, *raw, *sentence;
    uint8_t *label, *flag, *marked;
    uint32_t n, sentences;
    uint64_t both, said, true_ones;
};

static void collect_spans(const struct ground_case *c, const struct outcome *o, struct column *x)
{
    for (uint32_t k = 0; k < c->s.spans_count; k++)
        x->true_ones += c->s.spans[k].end - c->s.spans[k].begin;
    for (uint32_t i = 0; i < o->v.spans_count; i++) {
        struct ground_span s = o->v.spans[i];
        x->said += s.end - s.begin;
        for (uint32_t k = 0; k < c->s.spans_count; k++) {
            uint32_t begin = MAX(s.begin, c->s.spans[k].begin), end = MIN(s.end, c->s.spans[k].end);
            x->both += end > begin ? end - begin : 0;
        }
    }
}

static enum err collect(struct evaluation *v, int task, struct column *x)
{
    uint32_t sentences = 0;
    for (uint32_t i = 0; i < v->all.count; i++)
        sentences += v->all.cases[i].answer.count;
    *x = (struct column){.p = ARENA_ARRAY(v->a, float, v->all.count),
                         .raw = ARENA_ARRAY(v->a, float, v->all.count),
                         .label = ARENA_ARRAY(v->a, uint8_t, v->all.count),
                         .flag = ARENA_ARRAY(v->a, uint8_t, v->all.count),
                         .sentence = ARENA_ARRAY(v->a, float, sentences),
                         .marked = ARENA_ARRAY(v->a, uint8_t, sentences)};
    if (!x->p || !x->raw || !x->label || !x->flag || !x->sentence || !x->marked)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < v->all.count; i++) {
        const struct ground_case *c = &v->all.cases[i];
        const struct outcome *o = &v->out[i];
        if (!o->judged || (task >= 0 && (int)c->s.task != task))
            continue;
        x->p[x->n] = o->v.probability, x->raw[x->n] = o->raw;
        x->flag[x->n] = o->flagged, x->label[x->n++] = (uint8_t)c->s.label;
        for (uint32_t k = 0; k < c->answer.count; k++) {
            x->sentence[x->sentences] = o->v.sentences[k];
            x->marked[x->sentences++] = c->marked[k];
        }
        collect_spans(c, o, x);
    }
    return ERR_OK;
}

static void print_column(FILE *f, const char *name, const struct column *x)
{
    uint32_t positives = 0, flagged = 0, hits = 0;
    for (uint32_t i = 0; i < x->n; i++) {
        positives += x->label[i], flagged += x->flag[i];
        hits += x->flag[i] && x->label[i];
    }
    if (!x->n)
        return;
    fprintf(f, "%-10s %5u  %.3f | %.3f  %.3f | %.3f %.3f %.3f | %.3f  %.3f |", name, x->n,
            (double)positives / x->n, ground_measure_auroc(x->p, x->label, x->n),
            ground_measure_auprc(x->p, x->label, x->n), flagged ? (double)hits / flagged : 0,
            positives ? (double)hits / positives : 0,
            flagged + positives ? 2. * hits / (flagged + positives) : 0,
            ground_measure_auroc(x->sentence, x->marked, x->sentences),
            x->said + x->true_ones ? 2. * (double)x->both / (double)(x->said + x->true_ones) : 0);
    fprintf(f, " %.2f %.2f %.2f | %.2f %.2f %.2f | %.3f %.3f  %.3f\n",
            ground_measure_precision_at(x->p, x->label, x->n, 20),
            ground_measure_precision_at(x->p, x->label, x->n, 50),
            ground_measure_precision_at(x->p, x->label, x->n, 100),
            ground_measure_recall_at_fpr(x->p, x->label, x->n, .01),
            ground_measure_recall_at_fpr(x->p, x->label, x->n, .05),
            ground_measure_recall_at_fpr(x->p, x->label, x->n, .1),
            ground_measure_ece(x->raw, x->label, x->n), ground_measure_ece(x->p, x->label, x->n),
            ground_measure_brier(x->p, x->label, x->n));
}

static enum err print_table(struct evaluation *v)
{
    static const struct {
        const char *name;
        int task;
    } rows[] = {{"all", -1},
                {"qa", GROUND_TASK_QA},
                {"summary", GROUND_TASK_SUMMARY},
                {"data2txt", GROUND_TASK_DATA}};
    fprintf(v->o->report,
            "task           n   base |  AUROC  AUPRC | P     R     F1    | sent.  span  | P@20 @50 "
            "@100 | R@1%% 5%%   10%%  | ECE raw  cal.  Brier\n");
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        struct column x;
        enum err e = collect(v, rows[i].task, &x);
        if (e != ERR_OK)
            return e;
        print_column(v->o->report, rows[i].name, &x);
    }
    return ERR_OK;
}

static void say_bad(void *ctx, const char *file, uint64_t line, const char *why)
{
    fprintf(ctx, "%s, line %llu: %s\n", file, (unsigned long long)line, why);
}

static enum err evaluate(struct evaluation *v, struct err_msg *msg)
{
    int64_t begin = clock_mono_ns();
    enum err e =
        ground_case_load(v->o->paths, v->o->paths_count, v->a, say_bad, v->o->report, &v->all, msg);
    if (e != ERR_OK)
        return e;
    v->out = ARENA_ARRAY(v->a, struct outcome, v->all.count);
    v->use = ARENA_ARRAY(v->a, bool, v->all.count);
    v->keys = ARENA_ARRAY(v->a, uint64_t, (size_t)v->all.count * 2);
    if (!v->out || !v->use || !v->keys)
        return ERR_NOMEM;
    fprintf(v->o->report, "%u judged responses read in %.1f s\n", v->all.count,
            (double)(clock_mono_ns() - begin) / 1e9);
    if (v->o->model)
        e = ground_encode_cases(&v->all, v->o, v->a, msg);
    for (uint32_t fold = 0; e == ERR_OK && fold < FOLDS; fold++)
        e = judge_fold(v, fold, msg);
    if (e == ERR_OK)
        e = print_table(v);
    fprintf(v->o->report, "%.1f s\n", (double)(clock_mono_ns() - begin) / 1e9);
    return e;
}

enum err ground_lab_eval(const struct ground_lab_options *o, struct err_msg *msg)
{
    struct evaluation v = {.o = o, .a = arena_new(0)};
    enum err e = v.a ? evaluate(&v, msg) : ERR_NOMEM;
    arena_free(v.a);
    return e;
}
