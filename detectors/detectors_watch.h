/* Each stream's grounding scores against its own baseline: surges, and a detector that drifts. A stream is (org, service, model, prompt version).
 *
 *   detectors_watch_score --> baseline of the first WATCH_BASELINE scores --> e-detector (alarm), deciles (PSI)
 *   detectors_watch_surges, _drifts: what holds now, for the conditions that alert
 *
 * The test: M_t = (M_(t-1) + 1) (1 + l (x_t - m) / m') for a grid of l, averaged; x_t is the probability that the t-th response is unsupported, m an
 * upper bound (WATCH_BOUND sigmas) of the baseline's mean, m' = max(m, 1 - m). While responses have mean <= m, M_t - t is a supermartingale, so the mean
 * number of responses until M >= WATCH_ALARM is at least WATCH_ALARM, whatever the scores' distribution (Shin, Ramdas, Rinaldo: E-detectors,
 * arXiv 2203.03532). The alarm ends when the mean of the last ~WATCH_RECENT scores is back below m, or after WATCH_RENEW
 * responses, when what was a surge becomes the new baseline.
 * Owner: the program.  Thread: any; one lock.
 * Failure: new, load: ERR_NOMEM, the store's. A state that is damaged begins anew, counted.
 * Limits: WATCH_STREAMS_MAX streams; past them the one that was heard of longest ago gives way.
 * Invariants: 1. State is durable as of the last save. 2. Scores count 1 / inclusion only where shares are reported, never in the test.
 */
#ifndef DETECTORS_DETECTORS_WATCH_H
#define DETECTORS_DETECTORS_WATCH_H

#include "base/arena.h"
#include "tsdb/tsdb.h"

#define WATCH_STREAMS_MAX 1024u
#define WATCH_BASELINE 200u /* scores */
#define WATCH_BOUND 2.0
#define WATCH_ALARM 100000.0 /* responses between false alarms, on average, at least */
#define WATCH_RECENT 200.0
#define WATCH_RENEW 2000u
#define WATCH_DECILES 10u
#define WATCH_PSI_DRIFT 0.25
#define WATCH_NAME_MAX 128u

struct detectors_watch;
struct watch_stream {
    uint32_t org;
    char service[WATCH_NAME_MAX], model[WATCH_NAME_MAX], prompt[WATCH_NAME_MAX];
    uint64_t scores; /* since the baseline began */
    double baseline_mean, bound; /* NaN until there is one */
    double recent_mean;
    double evidence; /* M: how many responses such a run would take without a surge */
    double psi; /* of the recent scores' deciles; NaN: not enough of them */
    bool is_surging, is_drifting;
    int64_t surge_ms, heard_ms;
};

enum err detectors_watch_new(struct tsdb *db, struct detectors_watch **out) MUST_CHECK;
void detectors_watch_free(struct detectors_watch *w); /* NULL is fine */
enum err detectors_watch_load(struct detectors_watch *w) MUST_CHECK;
enum err detectors_watch_save(struct detectors_watch *w) MUST_CHECK; /* what changed */
struct watch_score {
    uint32_t org;
    struct bytes service, model, prompt;
    double probability;
    int64_t now_ms;
};
void detectors_watch_score(struct detectors_watch *w, const struct watch_score *s);
/* Copies; in no order. */
enum err detectors_watch_streams(struct detectors_watch *w, struct arena *a,
                                 struct watch_stream **out, size_t *out_count) MUST_CHECK;

#endif
