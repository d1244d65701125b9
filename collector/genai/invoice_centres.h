/* Which key, user or project belongs to which cost centre, and since when: a YAML document of dated rows.
 *
 *     cost_centres:
 *       - {key: key_abc, centre: research, from: 2026-01-01, until: 2026-07-01}
 *       - {user: u-17, centre: sales}
 *       - {project: proj_1, centre: platform}
 *
 * Owner: the arena.  Thread: any once read.  Failure: ERR_INVALID with line and key.  Limits: INVOICE_CENTRES_MAX rows.
 * Invariant: a row that names a key goes before one of a user, that before one of a project; of two rows the later one in the document.
 */
#ifndef COLLECTOR_GENAI_INVOICE_CENTRES_H
#define COLLECTOR_GENAI_INVOICE_CENTRES_H

#include "base/arena.h"

#define INVOICE_CENTRES_MAX 20000u

struct invoice_centre {
    struct bytes what, value, centre; /* what: key, user, project */
    uint32_t from, until; /* days; until is the first that it does not hold for */
};
struct invoice_centres {
    struct invoice_centre *rows;
    size_t count;
    int32_t *slots; /* row index + 1 of the last row of a (what, value) */
    int32_t *older;
};

enum err invoice_centres_read(struct bytes yaml, struct arena *a, struct invoice_centres *out,
                              struct err_msg *msg) MUST_CHECK;
/* Empty: nobody's. */
struct bytes invoice_centres_find(const struct invoice_centres *c, uint32_t day, struct bytes key,
                                  struct bytes user, struct bytes project);

#endif
