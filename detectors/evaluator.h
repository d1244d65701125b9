/* The parts of the detectors that the evaluation, the book of alerts and the snapshots share.
 *
 * Owner: detectors_new.  Thread: see the groups of fields.
 * Failure, Limits: detectors.h.
 * Invariant: `lock` is never held while the store is read or written.
 */
#ifndef DETECTORS_EVALUATOR_H
#define DETECTORS_EVALUATOR_H

#include "detectors/acks.h"
#include "detectors/alert.h"
#include "detectors/notify.h"
#include "detectors/silences.h"
#include "detectors/slo_judge.h"
#include "query/query_slo_feed.h"
#include <pthread.h>
#include <stdatomic.h>

#define EVALUATOR_COVERAGE_MIN 0.90
#define EVALUATOR_REASONS 8u
#define EVALUATOR_ALERTS_TABLE "slo_alerts"
#define EVALUATOR_META_TABLE "slo_meta"

struct objective_view { /* what snapshots read */
    struct slo_judge judge;
    struct query_slo_counts hour, day; /* day: the last 24 h */
    struct {
        char reason[48];
        int64_t count;
    } excluded[EVALUATOR_REASONS];
    uint32_t excluded_count;
    struct query_slo_bounds bounds; /* over the period, from the histogram */
    int64_t bounds_covered; /* eligible events of the exact counter at that moment */
    int64_t evaluated_ms, horizon_ms, evaluation_ns;
    uint64_t revised_minutes, revised_events;
    enum err error; /* of the last evaluation */
};

struct objective {
    const struct query_slo *slo;
    const struct slo_calendar *calendar; /* NULL: its window rolls */
    int64_t budget_since_ms; /* immutable after init */
    /* owned by detect */
    struct query_slo_tracker *tracker;
    uint32_t dirty_from, dirty_to, floor[SLO_JUDGE_RULES], detail_minute, bounds_minute;
    int64_t late_ms; /* when late rows were last recounted */
    struct objective_view work;
    /* guarded by lock */
    struct objective_view view;
};

struct book {
    struct alert **list; /* guarded by lock; written by detect only */
    uint32_t count, cap;
};

/* What the documents make. It changes as a whole when they are read again; who has a pointer into what was before may use it for
 * LOADED_GRACE_MS more, which is longer than any question takes. */
#define LOADED_GRACE_MS (5 * INT64_C(60000))
#define LOADED_RETIRED_MAX 32u
struct loaded {
    struct arena *arena; /* of all but the documents */
    struct query_slo_set set;
    struct objective *objectives; /* one for each of set.slos */
    struct query_slo_feed *feed; /* reads for all of them; owned by detect from then on */
    struct detectors_threshold *thresholds;
    size_t threshold_count;
    int64_t retired_ms; /* monotonic; of those of before */
};
enum err loaded_make(const struct detectors_options *o, struct loaded *out,
                     struct buf *errors) MUST_CHECK;
void loaded_free(struct loaded *l);

struct detectors {
    /* immutable after init */
    struct detectors_options o;
    struct arena *arena;
    struct detectors_store store;
    struct outbox *outbox;
    struct notify *notify;
    struct silences *silences;
    struct acks *acks;
    struct watchdog *watchdog;
    /* written under both locks: either is enough to read */
    struct loaded now;
    /* owned by who has round_lock: the evaluation, or a reload */
    pthread_mutex_t round_lock;
    struct loaded retired[LOADED_RETIRED_MAX];
    uint32_t retired_count;
    uint64_t seen_seq;
    int64_t samples_ms;
    bool has_looked; /* at the conditions, since the start */
    /* guarded by lock */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct book book;
    bool is_stopping;
    /* atomic */
    _Atomic int64_t alive_ms; /* monotonic time of the last complete evaluation */
    pthread_t thread;
    bool is_started;
    struct detectors_rules *rules; /* set before the threads start; or NULL */
};

/* A state change on its way into the transaction. */
struct transition {
    struct alert alert; /* the new state */
    int32_t at; /* index in the book, -1 = new */
    enum alert_event event;
    uint32_t repeat, receiver; /* of a repetition (event ALERT_NOTHING), or of ALERT_RELEASED */
    uint32_t send; /* bit r: receiver r gets a notification; set by book_commit */
    uint32_t notice; /* bit r: it gets a notice instead of a page */
    char notice_of[33]; /* the fingerprint of the page that was sent for the same cause */
    const struct objective *objective; /* NULL: the objective is no longer loaded */
};
struct transitions {
    struct transition *list;
    uint32_t count, cap;
    bool failed;
};

/* book.c: reads and writes alerts. book_commit: state, cursor and notifications in one transaction, then in memory. */
enum err book_load(struct detectors *d, struct buf *errors) MUST_CHECK;
int32_t book_find_active(const struct detectors *d, struct bytes slo_id, const char *rule);
bool book_is_of_objective(const struct alert *a); /* not of a budget, nor of a condition */
/* Does the receiver want this alert, and is it not already told of something as bad about the same objective? One burning objective trips
 * several rules: a person is told once, and of the others when the first is over. */
bool book_may_tell(const struct detectors *d, const struct transitions *ts, const struct alert *a,
                   const struct objective *o, uint32_t receiver);
struct transition *book_change(struct transitions *t);
/* A notification into the transaction; takes the body, whatever happens. Between outbox_begin and outbox_end. */
#define BOOK_BODY_MAX ((size_t)256 << 10)
#define BOOK_REPEAT_MS (4 * INT64_C(3600000)) /* of a receiver that does not say */
struct book_note {
    const char *fingerprint, *event, *slo_id, *rule;
};
/* The annotations "owner", of the catalogue, and "acknowledge": a link that is signed for this receiver. */
enum err book_add_pairs(struct detectors *d, const struct detectors_receiver *r, bool with_link,
                        struct arena *arena, struct webhook_note *n) MUST_CHECK;
enum err book_stage(struct detectors *d, void *txn, const struct detectors_receiver *r,
                    const struct book_note *n, struct buf *body, int64_t now_ms) MUST_CHECK;
enum err book_commit(struct detectors *d, struct transitions *t, int64_t now_ms,
                     uint32_t horizon) MUST_CHECK;
void book_free(struct detectors *d);

/* alert_text.c: sentences. */
/* "14:03 UTC", with the date when it is another day than today. */
void alert_text_time(int64_t ms, char out[32]);
void alert_text_summary(struct alert *a, const struct query_slo *s);
void alert_text_sentence(const char *service, unsigned burning, int64_t since_ms,
                         struct bytes phrase, char out[ALERT_TEXT_MAX]);

#endif
