/* The pages of an LMDB file, followed with suspicion: LMDB trusts every byte of its own and reads or writes beyond memory where one is wrong.
 *
 * A file that passes can be given to LMDB: every page that its newest state leads to is in the file and used once, every node lies in its
 * page, keys rise, counts of pages and entries agree with the trees, and the two meta pages follow each other. Contents of values are not
 * looked at: their owners have checksums. Values on pages of their own are not read, unless their heads are asked for: LMDB believes those
 * when it removes or replaces such a value.
 * Owner: caller.  Thread: any; nobody writes to the file meanwhile.
 * Failure: ERR_CORRUPT names the page and what is wrong; ERR_NOT_FOUND: no file; ERR_IO; ERR_NOMEM.
 * Limits: LMDB 0.9's format of 64-bit machines; anything else is ERR_CORRUPT.
 */
#ifndef TSDB_LMDB_PAGES_H
#define TSDB_LMDB_PAGES_H

#include "base/bytes.h"
#include "base/err.h"

/* dir: of the environment. */
enum err lmdb_pages_check(const char *dir, bool heads, struct err_msg *msg) MUST_CHECK;
/* Every key and value that lies whole on a page of leaves, of this state or an older one, in no order and as often as it is found. The
 * caller knows by checksums over both which of them were ever written. */
enum err lmdb_pages_salvage(const char *dir,
                            void (*fn)(void *ctx, struct bytes key, struct bytes value), void *ctx,
                            struct err_msg *msg) MUST_CHECK;

#endif
