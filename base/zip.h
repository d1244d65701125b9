/* Compression, each library in this one place: zlib (gzip, deflate), zstd, snappy (block; framed streams are read too).
 *
 * Owner: caller.  Thread: any (contexts are per call or thread-local).
 * Failure: zip_inflate: ERR_INVALID (not that format, truncated, trailing garbage), ERR_TOO_LARGE once the output would pass out_max
 * (nothing beyond it is ever allocated; declared sizes are not believed; the zstd window is limited to 8 MiB).
 */
#ifndef BASE_ZIP_H
#define BASE_ZIP_H

#include "base/arena.h"
#include "base/buf.h"

enum zip_kind { ZIP_NONE, ZIP_GZIP, ZIP_ZLIB, ZIP_ZSTD, ZIP_SNAPPY, ZIP_UNKNOWN };

enum zip_kind zip_kind_of(
    struct bytes
        name); /* "", "identity", "gzip", "x-gzip", "deflate", "zstd", "snappy"; else ZIP_UNKNOWN */
/* Appends the decompressed bytes to out (its bytes_max is ignored; out_max rules). */
enum err zip_inflate(enum zip_kind kind, struct bytes in, size_t out_max, struct buf *out,
                     struct err_msg *msg) MUST_CHECK;
enum err zip_deflate(enum zip_kind kind, int level, struct bytes in, struct buf *out) MUST_CHECK;

#endif
