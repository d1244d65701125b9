#include "web/web_access_rows.h"

#include "base/check.h"
#include "tsdb/tsdb_versions.h"

void web_access_key_encode(const struct web_access_key_row *k, struct buf *out)
{
    buf_u8(out, FORMAT_KEY);
    buf_u8(out, (uint8_t)k->pub.role);
    buf_u32(out, k->pub.org);
    buf_u64(out, (uint64_t)k->pub.created_ms);
    buf_u64(out, (uint64_t)k->pub.revoked_ms);
    buf_append(out, k->hash, WEB_ACCESS_HASH_BYTES);
    buf_lenbytes(out, bytes_str(k->pub.name));
}

enum err web_access_key_decode(struct bytes id, struct bytes value, struct web_access_key_row *out)
{
    struct reader r = reader_of(value);
    *out = (struct web_access_key_row){0};
    enum err e = tsdb_versions_check("a key", reader_u8(&r), FORMAT_KEY);
    if (e != ERR_OK)
        return e;
    uint8_t role = reader_u8(&r);
    out->pub.org = reader_u32(&r);
    out->pub.created_ms = (int64_t)reader_u64(&r);
    out->pub.revoked_ms = (int64_t)reader_u64(&r);
    struct bytes hash = reader_bytes(&r, WEB_ACCESS_HASH_BYTES), name = reader_lenbytes(&r);
    if (r.failed || role < WEB_ACCESS_INGEST || role > WEB_ACCESS_ADMIN || id.size != 8 ||
        name.size > WEB_ACCESS_NAME_MAX)
        return ERR_CORRUPT;
    out->pub.id = bytes_u64be(id.data);
    out->pub.role = (enum web_access_role)role;
    memcpy(out->hash, hash.data, WEB_ACCESS_HASH_BYTES);
    if (name.size)
        memcpy(out->pub.name, name.data, name.size);
    return ERR_OK;
}

void web_access_session_encode(const struct web_access_session_row *s, struct buf *out)
{
    buf_u8(out, FORMAT_SESSION);
    buf_u64(out, s->key_id);
    buf_u64(out, (uint64_t)s->expires_ms);
    buf_append(out, s->hash, WEB_ACCESS_HASH_BYTES);
}

enum err web_access_session_decode(struct bytes id, struct bytes value,
                                   struct web_access_session_row *out)
{
    struct reader r = reader_of(value);
    *out = (struct web_access_session_row){0};
    enum err e = tsdb_versions_check("a session", reader_u8(&r), FORMAT_SESSION);
    if (e != ERR_OK)
        return e;
    out->key_id = reader_u64(&r);
    out->expires_ms = (int64_t)reader_u64(&r);
    struct bytes hash = reader_bytes(&r, WEB_ACCESS_HASH_BYTES);
    if (r.failed || id.size != 8)
        return ERR_CORRUPT;
    out->id = bytes_u64be(id.data);
    memcpy(out->hash, hash.data, WEB_ACCESS_HASH_BYTES);
    return ERR_OK;
}
