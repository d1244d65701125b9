/* The groups of rules that are loaded, their alerts in memory and in the state store, and who is told of them.
 *
 *   tables of the state store:   rule_alerts   hash of rule and labels -> an alert        rule_groups   hash of file and name -> last evaluation
 *
 * Owner: struct detectors_rules.  Thread: `rules` writes, under the book's lock; a reload holds eval_lock, so that no evaluation is under way.
 * Failure: rule_book_commit: the store's; then nothing has changed and the next evaluation comes to the same conclusion.
 * Limits: RULE_BOOK_ROWS_MAX alerts are read at the start.
 * Invariants: 1. What is told is committed. 2. `lock` is never held while the store is read or written.
 */
#ifndef DETECTORS_RULE_BOOK_H
#define DETECTORS_RULE_BOOK_H

#include "detectors/detectors_rules.h"
#include "detectors/evaluator.h"
#include "detectors/rule_eval.h"

#include <pthread.h>

#define RULE_BOOK_ALERTS_TABLE "rule_alerts"
#define RULE_BOOK_GROUPS_TABLE "rule_groups"
#define RULE_BOOK_ROWS_MAX 200000u
#define RULE_BOOK_SAVE_MS 30000 /* the cursor of a group whose alerts do not change */

/* An alert whose rule is not loaded any more; once it is taken back it is forgotten. */
struct rule_orphan {
    struct rule_alert alert;
    uint64_t identity;
    char name[256], group[64];
};

struct rule_book {
    struct arena *arena; /* of the set, the groups and the files' texts */
    struct rule_set set;
    struct rule_group *groups;
    uint32_t group_count;
};

struct detectors_rules {
    /* immutable after init */
    struct detectors_rules_options o;
    struct detectors *d;
    int64_t start_ms; /* wall */
    /* held by an evaluation and by a reload */
    pthread_mutex_t eval_lock;
    /* guarded by eval_lock */
    struct arena *orphan_arena;
    struct rule_orphan *orphans;
    size_t orphan_count;
    /* guarded by lock; written under both */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct rule_book book;
    bool is_stopping, is_changed;
    pthread_t thread;
    bool is_started;
    atomic_bool cancel;
};

void rule_book_free(struct rule_book *b);
enum err rule_book_make(const struct detectors_rules_options *o, struct rule_book *out,
                        struct buf *errors) MUST_CHECK;
/* What an earlier process left, into the groups; what has no rule becomes an orphan. */
enum err rule_book_load(struct detectors_rules *r, int64_t now_ms) MUST_CHECK;
/* The states of equal rules from one book to another; what is left of `from` becomes orphans. */
enum err rule_book_carry(struct detectors_rules *r, struct rule_book *from,
                         struct rule_book *to) MUST_CHECK;
/* Alert state, cursor and notifications in one transaction, then in memory. outs are spent. */
enum err rule_book_commit(struct detectors_rules *r, struct rule_group *g, struct rule_out *outs,
                          int64_t at_ms) MUST_CHECK;
/* Takes back what fires and has no rule any more. */
enum err rule_book_release(struct detectors_rules *r, int64_t now_ms) MUST_CHECK;
enum query_slo_severity rule_book_severity(const struct rule_alert *a);
/* A group's next evaluation after now: aligned to its interval, shifted by its name. */
int64_t rule_book_next(const struct rule_group_def *g, int64_t now_ms);
/* rule_snapshot.c: appended to what the detectors have. */
enum err rule_snapshot_groups(struct detectors_rules *r, struct arena *a,
                              struct detectors_prom_group **io, size_t *io_count) MUST_CHECK;
enum err rule_snapshot_alerts(struct detectors_rules *r, struct arena *a,
                              struct detectors_alert **io, size_t *io_count) MUST_CHECK;

/* Rows of the state store. */
struct rule_record {
    uint64_t identity;
    struct bytes name, group;
    struct rule_alert alert; /* its texts are slices of the row */
};
void rule_record_encode(const struct rule_record *x, struct buf *out);
enum err rule_record_decode(struct bytes b, struct rule_record *out) MUST_CHECK;
/* When a group was evaluated last. */
void rule_cursor_encode(int64_t last_ms, struct buf *out);
enum err rule_cursor_decode(struct bytes b, int64_t *out_last_ms) MUST_CHECK;

#endif
