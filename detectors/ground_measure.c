/* Sorted once, walked once. */
#include "detectors/ground_measure.h"

#include <math.h>
#include <stdlib.h>

struct scored {
    float score;
    uint8_t label;
};

static int best_first(const void *a, const void *b)
{
    const struct scored *x = a, *y = b;
    return (x->score < y->score) - (x->score > y->score);
}

/* NULL: no memory, or nothing to sort. */
static struct scored *sorted(const float *score, const uint8_t *label, uint32_t n,
                             uint32_t *positives)
{
    struct scored *s = n ? malloc(sizeof(*s) * n) : NULL;
    *positives = 0;
    for (uint32_t i = 0; s && i < n; i++) {
        s[i] = (struct scored){score[i], label[i]};
        *positives += label[i];
    }
    if (s)
        qsort(s, n, sizeof(*s), best_first);
    return s;
}

double ground_measure_auroc(const float *score, const uint8_t *label, uint32_t n)
{
    uint32_t positives;
    struct scored *s = sorted(score, label, n, &positives);
    double area = 0, above = 0;
    for (uint32_t i = 0; s && i < n;) {
        uint32_t j = i, p = 0;
        for (; j < n && s[j].score == s[i].score; j++)
            p += s[j].label;
        area += (double)(j - i - p) * (above + .5 * p);
        above += p;
        i = j;
    }
    free(s);
    return s && positives && positives < n ? area / positives / (n - positives) : (double)NAN;
}

double ground_measure_auprc(const float *score, const uint8_t *label, uint32_t n)
{
    uint32_t positives, hits = 0;
    struct scored *s = sorted(score, label, n, &positives);
    double sum = 0;
    for (uint32_t i = 0; s && i < n;) {
        uint32_t j = i, p = 0;
        for (; j < n && s[j].score == s[i].score; j++)
            p += s[j].label;
        hits += p;
        sum += (double)p * hits / j;
        i = j;
    }
    free(s);
    return s && positives ? sum / positives : (double)NAN;
}

struct ground_measure_at ground_measure_at(const float *score, const uint8_t *label, uint32_t n,
                                           double threshold)
{
    uint32_t flagged = 0, hits = 0, positives = 0;
    for (uint32_t i = 0; i < n; i++) {
        bool flag = (double)score[i] >= threshold;
        flagged += flag, positives += label[i], hits += flag && label[i];
    }
    struct ground_measure_at m = {flagged ? (double)hits / flagged : (double)NAN,
                                  positives ? (double)hits / positives : (double)NAN,
                                  flagged + positives ? 2. * hits / (flagged + positives)
                                                      : (double)NAN};
    return m;
}

double ground_measure_best_threshold(const float *score, const uint8_t *label, uint32_t n)
{
    uint32_t positives, hits = 0;
    struct scored *s = sorted(score, label, n, &positives);
    double best = -1, at = .5;
    for (uint32_t i = 0; s && i < n; i++) {
        hits += s[i].label;
        if (i + 1 < n && s[i + 1].score == s[i].score)
            continue;
        double f1 = 2. * hits / (i + 1 + positives);
        if (f1 > best) {
            best = f1;
            at = i + 1 < n ? ((double)s[i].score + (double)s[i + 1].score) / 2 : (double)s[i].score;
        }
    }
    free(s);
    return at;
}

double ground_measure_precision_at(const float *score, const uint8_t *label, uint32_t n, uint32_t k)
{
    uint32_t positives, hits = 0;
    struct scored *s = k && k <= n ? sorted(score, label, n, &positives) : NULL;
    for (uint32_t i = 0; s && i < k; i++)
        hits += s[i].label;
    free(s);
    return s ? (double)hits / k : (double)NAN;
}

double ground_measure_recall_at_fpr(const float *score, const uint8_t *label, uint32_t n,
                                    double fpr)
{
    uint32_t positives, hits = 0, wrong = 0, best = 0;
    struct scored *s = sorted(score, label, n, &positives);
    for (uint32_t i = 0; s && i < n; i++) {
        hits += s[i].label, wrong += !s[i].label;
        if ((i + 1 == n || s[i + 1].score != s[i].score) && wrong <= fpr * (n - positives))
            best = hits;
    }
    free(s);
    return s && positives ? (double)best / positives : (double)NAN;
}

double ground_measure_ece(const float *p, const uint8_t *label, uint32_t n)
{
    double sum[10] = {0}, hits[10] = {0}, off = 0;
    for (uint32_t i = 0; i < n; i++) {
        int b = (int)(p[i] * 10);
        b = b < 0 ? 0 : b > 9 ? 9 : b;
        sum[b] += (double)p[i], hits[b] += label[i];
    }
    for (int b = 0; b < 10; b++)
        off += fabs(sum[b] - hits[b]);
    return n ? off / n : (double)NAN;
}

double ground_measure_brier(const float *p, const uint8_t *label, uint32_t n)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += ((double)p[i] - label[i]) * ((double)p[i] - label[i]);
    return n ? sum / n : (double)NAN;
}
