/* The parts of one day, rewritten without what a target matches.
 *
 * A part is rewritten whole, rows together with their texts (part_exchange_pair: one step): what matches is left out, and so is what is
 * damaged, for nobody can tell whose it was. A crash leaves the old part or the new one.
 * Owner: tsdb_erase.c.  Thread: the flush role.
 * Failure: ERR_CORRUPT (damaged blocks: what they hold is not known; once more with `sound`), ERR_FULL, ERR_IO, ERR_NOMEM: nothing has changed.
 */
#ifndef TSDB_ERASE_PARTS_H
#define TSDB_ERASE_PARTS_H

#include "tsdb/erase_match.h"
#include "tsdb/store.h"

struct erase_pass {
    struct tsdb *db;
    const struct erase_target *target;
    uint64_t flushed; /* blocks of later generations are not looked at */
    bool sound; /* leave out what is damaged: it goes with what is kept in the quarantine */
    struct tsdb_erased found; /* of the part in hand */
    /* Before a rewritten part takes its place: what it was rewritten without is to be durable. */
    enum err (*note)(void *ctx, const struct part *p, const struct tsdb_erased *found,
                     struct err_msg *msg);
    void *ctx;
};

/* Each counts in pass->found what it is rewritten without. p: a part of rows. The texts of its day come with it. */
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
/* Opens a part and pins what of it is rewritten. ERR_NOT_FOUND: there is nothing. */
enum err erase_parts_open(struct erase_pass *pass, struct part *p, struct part_snapshot **out,
                          struct err_msg *msg) MUST_CHECK;
/* Ends a rewrite: seal, note, exchange. text: NULL when there are none. The take_ ones are gone whatever happens. */
enum err erase_parts_finish(struct erase_pass *pass, struct part *old, struct part *take_fresh,
                            struct part *text, struct part *take_text,
                            struct err_msg *msg) MUST_CHECK;

#endif
