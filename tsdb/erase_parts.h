/* The parts of one day, rewritten without what a target matches.
 *
 * Rows and texts lie in two environments that cannot change in one step. So the texts of the rows that stay are first added beside the old ones
 * under a new number, then the rows are rewritten under that number, then the texts without the blocks that no rows name:
 *     texts + new texts  ->  rows rewritten (the moment that counts)  ->  texts rewritten
 * A crash leaves, before the moment, texts that the last step of the next attempt removes, and after it the last step to be done.
 * Owner: tsdb_erase.c.  Thread: the flush role.
 * Failure: ERR_CORRUPT (damaged blocks: what they hold is not known, the part stays), ERR_FULL, ERR_IO, ERR_NOMEM: nothing has changed that a
 *          later attempt does not mend.
 */
#ifndef TSDB_ERASE_PARTS_H
#define TSDB_ERASE_PARTS_H

#include "tsdb/erase_match.h"
#include "tsdb/store.h"

struct erase_pass {
    struct tsdb *db;
    const struct erase_target *target;
    uint64_t flushed; /* blocks of later generations are not looked at */
    struct tsdb_erased found; /* of the part in hand */
    /* Before a rewritten part takes its place: what it was rewritten without is to be durable. */
    enum err (*note)(void *ctx, const struct part *p, const struct tsdb_erased *found,
                     struct err_msg *msg);
    void *ctx;
};

/* p: a part of rows. The texts of its day come with it. */
enum err erase_parts_rows(struct erase_pass *pass, struct part *p, struct err_msg *msg) MUST_CHECK;
/* p: a part of samples or cells. */
enum err erase_parts_series(struct erase_pass *pass, struct part *p,
                            struct err_msg *msg) MUST_CHECK;

/* Of both: is the block the org's, flushed, and not too new? */
static inline bool erase_parts_concerns(const struct erase_pass *pass, const struct block_meta *m)
{
    return m->key.org == pass->target->org && m->key.generation <= pass->target->generation &&
           m->key.generation <= pass->flushed;
}
/* Ends a rewrite: seal, note, exchange. take_fresh is gone whatever happens. */
enum err erase_parts_finish(struct erase_pass *pass, struct part *old, struct part *take_fresh,
                            struct err_msg *msg) MUST_CHECK;

#endif
