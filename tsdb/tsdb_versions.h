/* Every version number that the store writes, in one place: raise one here when what it names changes its bytes, draw the change in
 * docs/format, then run `./dev golden`.
 *
 * A number above the one here was written by a newer version. That is no damage, and is said as such: ERR_NEWER, with both numbers in the
 * log and in what verify says. Numbers below FORMAT_*_OLDEST are of versions that were never released.
 * Owner: none.  Thread: any.  Failure: none.
 */
#ifndef TSDB_TSDB_VERSIONS_H
#define TSDB_TSDB_VERSIONS_H

#include "base/err.h"

#define FORMAT_STORE 2u /* VERSION: format= */
#define FORMAT_STORE_READER 2u /* VERSION: min_reader= */
#define FORMAT_STORE_OLDEST 2u /* the oldest directory that is read */
#define FORMAT_CHECKPOINT 2u /* first in a checkpoint */
#define FORMAT_COMMIT 2u /* "TTC2" */
#define FORMAT_RECORD 4u /* "TTR4"; columns.md is part of it */
#define FORMAT_BLOCK 3u /* first byte of every block of a part; columns.md is part of it */
#define FORMAT_SERIES 3u /* first byte of the body of samples, histograms and cells */
#define FORMAT_ALERT 1u /* first byte of rows of the state, as the next three */
#define FORMAT_OUTBOX 1u
#define FORMAT_KEY 1u
#define FORMAT_SESSION 1u
#define FORMAT_RULE 1u /* of rules' alerts and groups, likewise */
#define FORMAT_SILENCE 1u
#define FORMAT_ACK 1u
#define FORMAT_BACKUP 1u /* BACKUP: backup= */

/* What found is, of what ("a block"): ERR_OK when it is `current`, ERR_NEWER (logged, counted) when it is above, ERR_CORRUPT else. */
enum err tsdb_versions_check(const char *what, unsigned found, unsigned current) MUST_CHECK;
/* The same for the magics "TTR2", "TTC1": three letters and a digit, as a little-endian number. */
enum err tsdb_versions_check_magic(const char *letters, unsigned found,
                                   unsigned current) MUST_CHECK;
unsigned tsdb_versions_magic(const char *letters, unsigned version);
/* What it said last on this thread, once; NULL: nothing. For those who tell people where. */
const char *tsdb_versions_take_newer(void);

#endif
