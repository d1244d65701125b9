#include "detectors/grounding_calibration.h"

#include <math.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/hash.h"

static double logit_of(double p)
{
    double q = MIN(MAX(p, 1e-4), 1 - 1e-4);
    return log(q / (1 - q));
}

struct truth_label grounding_calibration_label(const struct grounding_labelled *l)
{
    return (struct truth_label){.score = l->probability,
                                .logit = logit_of(l->probability),
                                .weight = 1 / l->inclusion,
                                .is_bad = l->label == GROUNDING_HALLUCINATED,
                                .is_flagged = l->is_flagged};
}

static uint64_t key_of(const struct grounding_stream *s)
{
    uint64_t h = hash64(s->version, s->org);
    return hash64(s->model, hash64(s->service, h));
}

static size_t collect(const struct grounding_labels *labels, const struct grounding_stream *s,
                      bool own, struct truth_label *out)
{
    size_t n = 0;
    for (uint32_t i = 0; i < labels->count; i++) {
        const struct grounding_labelled *l = &labels->list[i];
        if (l->org == s->org && l->is_judged && l->label != GROUNDING_OTHER &&
            bytes_equal_str(s->version, l->version) &&
            (!own ||
             (bytes_equal_str(s->service, l->service) && bytes_equal_str(s->model, l->model))))
            out[n++] = grounding_calibration_label(l);
    }
    return n;
}

static void fit_steps(struct calibration_fit *f, struct truth_label *l, size_t n)
{
    f->bounds = malloc(n * sizeof *f->bounds);
    f->values = malloc(n * sizeof *f->values);
    f->steps = f->bounds && f->values ? truth_rate_isotonic(l, n, f->bounds, f->values) : 0;
}

static void fit(struct calibration_fit *f, const struct grounding_labels *labels,
                const struct grounding_stream *s)
{
    struct truth_label *l = calloc(labels->count + 1, sizeof *l);
    size_t n = l ? collect(labels, s, false, l) : 0;
    f->is_used = n >= CALIBRATION_LABELS_MIN;
    if (f->is_used) {
        struct truth_platt all =
            truth_rate_platt(l, n, (struct truth_platt){1, 0}, CALIBRATION_PRIOR_LABELS);
        n = collect(labels, s, true, l);
        f->platt = truth_rate_platt(l, n, all, CALIBRATION_PRIOR_LABELS);
        f->platt.a =
            MAX(f->platt.a, 0); /* labels may contradict the score; it never turns around */
        if (n >= TRUTH_ISOTONIC_LABELS_MIN)
            fit_steps(f, l, n);
    }
    free(l);
}

static void forget(struct calibration_fit *f)
{
    free(f->bounds);
    free(f->values);
    *f = (struct calibration_fit){0};
}

void grounding_calibration_done(struct calibration_fits *c)
{
    for (uint32_t i = 0; i < CALIBRATION_SLOTS; i++)
        forget(&c->slots[i]);
}

double grounding_calibration_at(struct calibration_fits *c, const struct grounding_labels *labels,
                                uint64_t change, const struct grounding_stream *s, double score)
{
    uint64_t key = key_of(s);
    struct calibration_fit *f = &c->slots[key % CALIBRATION_SLOTS];
    if (f->key != key || f->change != change) {
        forget(f);
        f->key = key;
        f->change = change;
        fit(f, labels, s);
    }
    if (!f->is_used)
        return score;
    if (!f->steps)
        return truth_rate_platt_at(f->platt, logit_of(score));
    size_t at = 0; /* the last step that begins at the score or below it */
    while (at + 1 < f->steps && f->bounds[at + 1] <= score)
        at++;
    return f->values[at];
}
