/* Looks at every byte of a data directory that nobody uses, and names what is wrong with it. It changes nothing.
 *
 * Each environment is read in a process of its own, forked for it: LMDB trusts its pages, so a truncated or mangled file may kill whoever
 * reads it. That is then a finding like any other.
 *     VERSION       understood, and readable by this program
 *     state         every row has a table and a key; the store's own numbers are numbers
 *                   and its rows have their checksums; it tells what is in quarantine
 *     journal/<g>   checksums, checkpoint, commits, records, every series defined, sequence numbers rising
 *     parts         manifest rows and blocks name each other; checksums; every block decodes; rows, times, zone maps and id ranges hold what
 *                   the content has; ids are numbered without gaps and labels sorted; trace index and spans find each other; texts have the
 *                   rows of their row blocks; totals of cells are their sums; every generation that shows has its seal
 * Owner: caller.  Thread: one, and the process must have no other (it forks).
 * Failure: ERR_CONFLICT: a server has the directory. ERR_NOT_FOUND: it is no data directory. ERR_UNSUPPORTED_MEDIA: a newer telltale wrote
 *          it. ERR_IO, ERR_NOMEM. What is wrong with the data is no failure but a problem, told through fn.
 * Limits: TSDB_VERIFY_PROBLEMS_MAX problems an environment are told; all are counted.
 */
#ifndef TSDB_TSDB_VERIFY_H
#define TSDB_TSDB_VERIFY_H

#include "base/err.h"
#include <stdint.h>

#define TSDB_VERIFY_PROBLEMS_MAX 1000u

struct tsdb_verify_report {
    uint64_t environments, blocks, rows, commits, bytes, orphans, problems,
        quarantined; /* records of what was found damaged before; no problem of what is left */
};

struct tsdb_verify_sink {
    void *ctx;
    /* where: the environment within the directory; what: block and sentence. */
    void (*problem)(void *ctx, const char *where, const char *what);
    void (*quarantined)(void *ctx, const char *what); /* NULL = none; for each record */
    void (*progress)(void *ctx, const char *where); /* NULL = none; before each environment */
};

enum err tsdb_verify_run(const char *dir, const struct tsdb_verify_sink *sink,
                         struct tsdb_verify_report *out, struct err_msg *msg) MUST_CHECK;

#endif
