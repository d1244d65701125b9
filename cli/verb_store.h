/* A data directory at rest, opened by a verb to be read.
 *
 * Owner: the caller; tsdb_close(db, false).  Thread: the process' first.
 * Failure: ERR_NOT_FOUND (no data directory), ERR_CONFLICT (a server has it), and tsdb_open's, each with a sentence.
 * Invariant: nothing goes for its age, size or number: what is configured is for the server to know.
 */
#ifndef CLI_VERB_STORE_H
#define CLI_VERB_STORE_H

#include "tsdb/tsdb.h"

enum err verb_store_open(const char *dir, struct tsdb **out, struct err_msg *msg) MUST_CHECK;

#endif
