/* Traffic of several users in which everything that belongs to one of them carries canaries, the answers of a store as text, and a search for
 * canaries in every byte of a directory.
 * Owner: caller.  Thread: any.  Failure: CHECK.
 */
#ifndef HELPER_USERS_H
#define HELPER_USERS_H

#include "base/buf.h"
#include "tsdb/tsdb.h"

#define USERS_T0_NS INT64_C(1795168800000000000) /* 2026-11-20T10:00:00Z */
#define USERS_ORG 7u
#define USERS_BYSTANDER_ORG 8u /* has rows of a user of the same name: they stay */
#define USERS_VICTIM "user-4711-canary"
#define USERS_ROUNDS 4u

enum users_canary {
    USERS_ID, /* the user's id */
    USERS_PROMPT, /* bytes in an attribute, hard to compress: found as they are wherever they lie */
    USERS_NAME, /* span name */
    USERS_EVENT, /* attribute of an event */
    USERS_BODY, /* body of a log; bytes */
    USERS_LABEL, /* label of a series of the user */
    USERS_EXEMPLAR, /* label of an exemplar of the user */
    USERS_CELL, /* label of a delta series of the user */
    USERS_CANARIES
};
struct bytes users_canary(enum users_canary which);

/* Round `round` of traffic: spans, logs, samples, histograms, exemplars and cells on two days. victim: with the rows of the user. */
void users_append(struct tsdb *db, uint32_t org, unsigned round, bool victim);
/* Every answer the store gives for the org, as sorted lines. */
void users_dump(struct tsdb *db, uint32_t org, struct buf *out);

struct users_found {
    uint64_t raw[USERS_CANARIES], decoded[USERS_CANARIES]; /* places */
    uint64_t files, blocks;
};
/* Reads every file below dir as it is, and every block through the readers. Nobody has it open. */
struct users_found users_search(const char *dir);
uint64_t users_found_sum(const struct users_found *f);

#endif
