/* Keys and sessions as rows of the state store, by their id (u64 BE).
 *
 * Owner: caller.  Thread: any.  Failure: ERR_CORRUPT, ERR_NEWER (tsdb_versions.h).
 */
#ifndef WEB_WEB_ACCESS_ROWS_H
#define WEB_WEB_ACCESS_ROWS_H

#include "web/web_access.h"

#define WEB_ACCESS_HASH_BYTES 32u

struct web_access_key_row {
    struct web_access_key pub;
    uint8_t hash[WEB_ACCESS_HASH_BYTES]; /* of the secret, with the pepper */
};

struct web_access_session_row {
    uint64_t id, key_id;
    int64_t expires_ms; /* 0 = free slot */
    uint8_t hash[WEB_ACCESS_HASH_BYTES];
};

void web_access_key_encode(const struct web_access_key_row *k, struct buf *out);
enum err web_access_key_decode(struct bytes id, struct bytes value,
                               struct web_access_key_row *out) MUST_CHECK;
void web_access_session_encode(const struct web_access_session_row *s, struct buf *out);
enum err web_access_session_decode(struct bytes id, struct bytes value,
                                   struct web_access_session_row *out) MUST_CHECK;

#endif
