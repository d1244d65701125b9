/* A whole file, or standard input, into memory.
 *
 * Owner: the caller's buffer.  Thread: any.
 * Failure: each with a sentence that names the file: ERR_NOT_FOUND (it cannot be opened), ERR_INVALID (a directory), ERR_TOO_LARGE (more than
 *          bytes_max), ERR_IO, ERR_NOMEM. The buffer is empty then.
 * Limits: bytes_max.
 */
#ifndef BASE_FILE_IN_H
#define BASE_FILE_IN_H

#include "base/buf.h"

/* out is initialised here. The path "-" is standard input. */
enum err file_in_read(const char *path, size_t bytes_max, struct buf *out,
                      struct err_msg *msg) MUST_CHECK;

#endif
