/* Any text is parsed, printed and evaluated over a small fixed source, within time and memory limits. */
#include "base/check.h"
#include "base/clock.h"
#include "query/query_explain.h"

#include <math.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SERIES 6
#define POINTS 30

static struct tsdb_labels labels[SERIES];
static int64_t times[POINTS];
static double values[SERIES][POINTS];
static struct tsdb_hist hists[POINTS];
static const struct tsdb_hist *hist_list[POINTS];

static enum err fixed_select(void *ctx, const struct tsdb_matcher *m, size_t n, int64_t min_ms,
                             int64_t max_ms, struct arena *a, struct tsdb_series **out,
                             size_t *out_count)
{
    struct tsdb_series *s = ARENA_ARRAY(a, struct tsdb_series, SERIES);
    size_t k = 0;
    if (!s)
        return ERR_LIMIT;
    for (size_t i = 0; i < SERIES; i++) {
        bool ok = true;
        for (size_t j = 0; j < n && ok; j++) {
            struct bytes v = tsdb_labels_get(labels[i], m[j].name);
            ok = m[j].op == TSDB_MATCH_EQ   ? bytes_equal(v, m[j].value)
                 : m[j].op == TSDB_MATCH_NE ? !bytes_equal(v, m[j].value)
                                            : m[j].match(m[j].ctx, v) == (m[j].op == TSDB_MATCH_RE);
        }
        if (ok)
            s[k++] = (struct tsdb_series){.labels = labels[i], .handle = i};
    }
    *out = s;
    *out_count = k;
    return ERR_OK;
}

static enum err fixed_points(void *ctx, const struct tsdb_series *s, int64_t min_ms, int64_t max_ms,
                             struct arena *a, struct tsdb_points *out)
{
    size_t lo = 0, hi = POINTS;
    while (lo < hi && times[lo] < min_ms)
        lo++;
    while (hi > lo && times[hi - 1] > max_ms)
        hi--;
    *out =
        (struct tsdb_points){.count = hi - lo, .t_ms = times + lo, .value = values[s->handle] + lo};
    if (s->handle == SERIES - 1)
        out->hist = hist_list + lo;
    return ERR_OK;
}

static void prepare(void)
{
    static const char *const le[SERIES] = {"0.1", "1", "+Inf", "", "", ""};
    static const char *const names[SERIES] = {"b", "b", "b", "g", "c", "h"};
    static const struct tsdb_hist_span span = {0, 2};
    static const double counts[2] = {1, 3};
    static struct arena *keep;
    if (keep)
        return;
    keep = arena_new(0);
    for (size_t i = 0; i < SERIES; i++) {
        struct tsdb_label l[] = {{BYTES_LIT("__name__"), bytes_str(names[i])},
                                 {BYTES_LIT("le"), bytes_str(le[i])},
                                 {BYTES_LIT("job"), i % 2 ? BYTES_LIT("x") : BYTES_LIT("y")}};
        struct err_msg msg;
        CHECK(tsdb_labels_build(l, 3, keep, &labels[i], &msg) == ERR_OK);
        for (size_t k = 0; k < POINTS; k++) {
            times[k] = (int64_t)k * 15000;
            values[i][k] = i == 3 ? sin((double)k) * 1e9 : (double)(k * (i + 1) % 17);
            hists[k] = (struct tsdb_hist){.count = 4,
                                          .sum = (double)k,
                                          .pos_span_count = 1,
                                          .pos_spans = &span,
                                          .pos = counts,
                                          .pos_count = 2};
            hist_list[k] = &hists[k];
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes text = bytes_of(data, size), printed, again;
    struct arena *a = arena_new(32 << 20);
    struct query_source src = {.select = fixed_select, .points = fixed_points};
    struct query_limits limits = {.samples_max = 200000,
                                  .deadline_mono_ns = clock_mono_ns() + 1000000000};
    struct query_result r;
    struct err_msg msg;
    prepare();
    if (size < 4096 && query_format(text, a, &printed, &msg) == ERR_OK) {
        CHECK(query_format(printed, a, &again, &msg) == ERR_OK);
        CHECK(bytes_equal(printed, again));
        (void)!query_instant(&src, &limits, text, 300000, a, &r, &msg);
        arena_reset(a);
        struct query_explain plan = {.arena = a};
        limits.explain = &plan;
        (void)!query_range(&src, &limits, text, 100000, 400000, 60000, a, &r, &msg);
    }
    arena_free(a);
    return 0;
}
