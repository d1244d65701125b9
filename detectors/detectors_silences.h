/* Silences: which alerts tell nobody, until when, and who asked for it. A silenced alert is evaluated, kept and shown as ever.
 *
 *            starts_ms                 ends_ms, or detectors_silence_expire
 *   PENDING ----------> ACTIVE ------------------------------------------> EXPIRED --> forgotten after DETECTORS_SILENCE_KEPT_MS
 *
 * A maintenance window is a silence with narrower rules: it names objectives or rules, lasts 30 minutes at most, and never covers alerts about
 * outages, safety or leaks.
 * What a silence holds back is told when it ends, if it fires still; that an alert is over is always told to those who know that it fired.
 * Owner: the detectors.  Thread: any.
 * Failure: ERR_INVALID with a sentence, ERR_LIMIT, ERR_NOT_FOUND, and the store's; then nothing has changed.
 * Limits: DETECTORS_SILENCES_MAX, and those below.
 * Invariants: 1. What is answered with ERR_OK is committed. 2. A silence has at least one matcher that an empty value does not satisfy.
 */
#ifndef DETECTORS_DETECTORS_SILENCES_H
#define DETECTORS_DETECTORS_SILENCES_H

#include "detectors/detectors.h"

#define DETECTORS_SILENCES_MAX 1000u /* that are not expired */
#define DETECTORS_MATCHERS_MAX 16u
#define DETECTORS_SILENCE_TEXT_MAX 1024u /* of a value and a comment; names and authors 128 */
#define DETECTORS_SILENCE_MS_MAX (30 * INT64_C(86400000))
#define DETECTORS_SILENCE_KEPT_MS (5 * INT64_C(86400000))
#define DETECTORS_WINDOW_MS_MAX (30 * INT64_C(60000))
#define DETECTORS_SILENCE_ID_MAX 37u

enum detectors_match {
    DETECTORS_MATCH_EQ,
    DETECTORS_MATCH_NE,
    DETECTORS_MATCH_RE,
    DETECTORS_MATCH_NRE
};

struct detectors_matcher {
    enum detectors_match op;
    struct bytes name, value; /* RE, NRE: a regular expression of the whole value */
};

/* name=value, name!="value", name=~re, name!~re, as amtool writes them; \" \\ and \n within quotes. The texts lie in the arena. */
enum err detectors_matcher_parse(struct bytes text, struct arena *a, struct detectors_matcher *out,
                                 struct err_msg *msg) MUST_CHECK;
bool detectors_matcher_holds(const struct detectors_matcher *m, const struct query_slo_pair *labels,
                             size_t n);

enum detectors_silence_state {
    DETECTORS_SILENCE_PENDING,
    DETECTORS_SILENCE_ACTIVE,
    DETECTORS_SILENCE_EXPIRED
};
const char *detectors_silence_state_name(enum detectors_silence_state s); /* "pending", ... */

struct detectors_silence {
    char id[DETECTORS_SILENCE_ID_MAX]; /* empty: a new one */
    bool is_window;
    int64_t starts_ms, ends_ms, updated_ms;
    struct bytes author, comment;
    struct detectors_matcher matchers[DETECTORS_MATCHERS_MAX];
    uint32_t matcher_count;
};
enum detectors_silence_state detectors_silence_state_at(const struct detectors_silence *s,
                                                        int64_t now_ms);

/* A new silence; or with an id a change of one: with the same matchers it is changed in place, else it ends and a new one begins, at once. */
enum err detectors_silence_put(struct detectors *d, const struct detectors_silence *s,
                               char out_id[DETECTORS_SILENCE_ID_MAX],
                               struct err_msg *msg) MUST_CHECK;
/* A maintenance window over one objective (and of it one rule), or over the alerts of one alerting rule. ERR_NOT_FOUND: there is none of this name;
 * ERR_FORBIDDEN: it is about an outage, safety or a leak. */
struct detectors_window {
    struct bytes slo, rule; /* rule empty: all of the objective */
    struct bytes alertname; /* instead of slo: of an alerting rule */
    struct bytes author, comment;
    int64_t starts_ms, ends_ms;
};
enum err detectors_window_put(struct detectors *d, const struct detectors_window *w,
                              char out_id[DETECTORS_SILENCE_ID_MAX],
                              struct err_msg *msg) MUST_CHECK;
enum err detectors_silence_expire(struct detectors *d, struct bytes id,
                                  struct err_msg *msg) MUST_CHECK;
/* All, newest first; the texts in the arena. */
enum err detectors_silences(struct detectors *d, struct arena *a, struct detectors_silence **out,
                            size_t *out_count) MUST_CHECK;
/* Those of a list that are active and cover an alert with these labels, as their numbers in it. */
size_t detectors_silences_of(const struct detectors_silence *list, size_t n,
                             const struct query_slo_pair *labels, size_t label_count,
                             int64_t now_ms, uint32_t *out, size_t max);

#endif
