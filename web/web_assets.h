/* The page's files, embedded: the table is made by web/ui/build.mjs at build time.
 *
 * Owner: the program image.  Thread: any.  Failure: none (an unknown path is answered 404).
 * Invariant: a path that carries a hash of its content never changes, so it may be cached for ever.
 */
#ifndef WEB_WEB_ASSETS_H
#define WEB_WEB_ASSETS_H

#include "base/bytes.h"

struct web_asset {
    const char *path, *content_type, *etag;
    bool immutable;
    struct bytes plain, gzip;
};

extern const struct web_asset web_assets_table[];
extern const size_t web_assets_count;

#endif
