/* What bit_flips asks: a small store with every kind of block in it, all its answers, and the comparison of two sets of answers.
 *
 * An answer is a set of items (a hash of everything that a row, sample or label says) and of sums; of a damaged store items may be missing
 * and sums be smaller, if a view says that something is. An item that was not there before is a wrong value.
 * Owner: caller; answers lie in memory that processes share.  Thread: one.
 * Failure: false, with the reason on stderr.
 */
#ifndef FAULTS_FLIP_STORE_H
#define FAULTS_FLIP_STORE_H

#include "tsdb/tsdb_read.h"

#define FLIP_ITEMS_MAX 65536u
#define FLIP_SUMS_MAX 8192u

struct flip_answers {
    uint32_t item_count, sum_count;
    struct flip_item {
        uint64_t hash;
        uint8_t question;
    } items[FLIP_ITEMS_MAX]; /* sorted */
    struct flip_sum {
        uint64_t key;
        int64_t value;
        uint8_t question;
    } sums[FLIP_SUMS_MAX]; /* sorted */
    bool is_warned; /* a view that was asked says that something is left out */
};

struct flip_answers *flip_answers_new(void); /* NULL: no memory */
bool flip_build(const char *dir);
bool flip_ask(struct tsdb *db, struct flip_answers *out);
/* *io_told becomes true when something is missing and that has been said. */
bool flip_compare(struct tsdb *db, const struct flip_answers *have,
                  const struct flip_answers *right, const char *where, bool *io_told);

#endif
