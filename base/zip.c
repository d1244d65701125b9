#include "base/zip.h"

#include <pthread.h>
#include <snappy-c.h>
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

#include "base/check.h"
#include "base/hash.h"

#define ZSTD_WINDOW_LOG_MAX 23 /* 8 MiB */
#define SNAPPY_RATIO_MAX 22u /* a 3-byte copy yields at most 64 bytes */
#define STEP_MIN (16u << 10)

enum zip_kind zip_kind_of(struct bytes name)
{
    static const struct {
        const char *name;
        enum zip_kind kind;
    } names[] = {{"", ZIP_NONE},        {"identity", ZIP_NONE}, {"gzip", ZIP_GZIP},
                 {"x-gzip", ZIP_GZIP},  {"deflate", ZIP_ZLIB},  {"zstd", ZIP_ZSTD},
                 {"snappy", ZIP_SNAPPY}};
    name = bytes_trim(name);
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (bytes_equal_nocase(name, bytes_str(names[i].name)))
            return names[i].kind;
    return ZIP_UNKNOWN;
}

static enum err too_large(size_t out_max, struct err_msg *msg)
{
    return err_set(msg, ERR_TOO_LARGE, "the body is larger than %zu bytes after decompression",
                   out_max);
}

/* Room for the next piece of output: doubling, never past `end`. False when the output is at its limit or memory is short. */
static bool room(struct buf *out, size_t start, size_t end)
{
    size_t have = out->size - start, want = MAX(have, STEP_MIN);
    if (out->size >= end)
        return false;
    return buf_reserve(out, MIN(want, end - out->size));
}

/* One byte more than out_max may be produced, to tell "full" from "more than full". */
static enum err inflate_zlib(enum zip_kind kind, struct bytes in, size_t out_max, struct buf *out,
                             struct err_msg *msg)
{
    z_stream z = {.next_in = (Bytef *)(uintptr_t)in.data, .avail_in = (uInt)in.size};
    size_t start = out->size, end = start + out_max + 1;
    const char *name = kind == ZIP_GZIP ? "gzip" : "deflate";
    if (inflateInit2(&z, kind == ZIP_GZIP ? 15 + 16 : 15) != Z_OK)
        return ERR_NOMEM;
    enum err e = ERR_OK;
    for (;;) {
        if (!room(out, start, end)) {
            e = out->size >= end ? too_large(out_max, msg) : ERR_NOMEM;
            break;
        }
        size_t avail = MIN(out->cap - out->size, end - out->size);
        z.next_out = out->data + out->size;
        z.avail_out = (uInt)avail;
        int rc = inflate(&z, Z_NO_FLUSH);
        out->size += avail - z.avail_out;
        if (rc == Z_STREAM_END && z.avail_in == 0)
            break;
        if (rc == Z_STREAM_END && kind == ZIP_GZIP && inflateReset(&z) == Z_OK)
            continue; /* the next member */
        if (rc != Z_OK || (z.avail_in == 0 && z.avail_out > 0)) {
            e = rc == Z_MEM_ERROR
                    ? ERR_NOMEM
                    : err_set(msg, ERR_INVALID, "%s body is %s at byte %zu of %zu", name,
                              z.avail_in ? "damaged" : "truncated", in.size - z.avail_in, in.size);
            break;
        }
    }
    inflateEnd(&z);
    if (e == ERR_OK && out->size - start > out_max)
        e = too_large(out_max, msg);
    return e;
}

/* The contexts of a thread end with it. */
static pthread_once_t zstd_once = PTHREAD_ONCE_INIT;
static pthread_key_t zstd_inflate_key, zstd_deflate_key;

static void zstd_inflate_end(void *ctx)
{
    ZSTD_freeDCtx(ctx);
}

static void zstd_deflate_end(void *ctx)
{
    ZSTD_freeCCtx(ctx);
}

static void zstd_keys(void)
{
    CHECK(pthread_key_create(&zstd_inflate_key, zstd_inflate_end) == 0);
    CHECK(pthread_key_create(&zstd_deflate_key, zstd_deflate_end) == 0);
}

static void zstd_ends_with_thread(pthread_key_t *key, void *ctx)
{
    pthread_once(&zstd_once, zstd_keys);
    pthread_setspecific(*key, ctx); /* out of memory: the context is not freed, nothing else */
}

static enum err inflate_zstd(struct bytes in, size_t out_max, struct buf *out, struct err_msg *msg)
{
    static _Thread_local ZSTD_DCtx
        *ctx; /* kept for the thread's life: set-up costs more than a small body */
    size_t start = out->size, end = start + out_max + 1;
    if (!ctx) {
        ctx = ZSTD_createDCtx();
        if (!ctx)
            return ERR_NOMEM;
        zstd_ends_with_thread(&zstd_inflate_key, ctx);
        ZSTD_DCtx_setParameter(ctx, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG_MAX);
    }
    ZSTD_DCtx_reset(ctx, ZSTD_reset_session_only);
    ZSTD_inBuffer input = {in.data, in.size, 0};
    for (;;) {
        if (!room(out, start, end))
            return out->size >= end ? too_large(out_max, msg) : ERR_NOMEM;
        ZSTD_outBuffer output = {out->data + out->size, MIN(out->cap - out->size, end - out->size),
                                 0};
        size_t before = input.pos, rc = ZSTD_decompressStream(ctx, &output, &input);
        out->size += output.pos;
        if (ZSTD_isError(rc))
            return err_set(msg, ERR_INVALID, "zstd body: %s at byte %zu of %zu",
                           ZSTD_getErrorName(rc), input.pos, in.size);
        if (rc == 0 && input.pos == in.size)
            break;
        if (input.pos == in.size && input.pos == before && output.pos == 0)
            return err_set(msg, ERR_INVALID, "zstd body is truncated after %zu bytes", in.size);
    }
    return out->size - start > out_max ? too_large(out_max, msg) : ERR_OK;
}

static enum err inflate_snappy_block(struct bytes in, size_t out_max, struct buf *out,
                                     struct err_msg *msg)
{
    size_t size;
    const char *data = (const char *)in.data;
    if (snappy_uncompressed_length(data, in.size, &size) != SNAPPY_OK)
        return err_set(msg, ERR_INVALID, "snappy body has no length");
    if (size > out_max)
        return too_large(out_max, msg);
    if (size > in.size * SNAPPY_RATIO_MAX + 64)
        return err_set(msg, ERR_INVALID,
                       "snappy body of %zu bytes cannot hold the %zu that it declares", in.size,
                       size);
    if (!buf_reserve(out, size))
        return ERR_NOMEM;
    if (size && snappy_uncompress(data, in.size, (char *)out->data + out->size, &size) != SNAPPY_OK)
        return err_set(msg, ERR_INVALID, "snappy body is damaged");
    out->size += size;
    return ERR_OK;
}

/* Snappy's framing format: chunks of {type u8, size u24, bytes}; data begins with a masked CRC-32C of its plain bytes. */
#define SNAPPY_STREAM BYTES_LIT("\xff\x06\x00\x00sNaPpY")
#define SNAPPY_CHUNK_MAX 65536u
enum { CHUNK_COMPRESSED = 0x00, CHUNK_PLAIN = 0x01, CHUNK_SKIPPABLE = 0x80 };

static enum err inflate_snappy_chunk(uint8_t type, struct bytes chunk, size_t out_max,
                                     struct buf *out, struct err_msg *msg)
{
    if (chunk.size < 4)
        return err_set(msg, ERR_INVALID, "snappy chunk is too short");
    struct bytes data = bytes_slice(chunk, 4, chunk.size);
    size_t at = out->size, max = MIN(out_max, SNAPPY_CHUNK_MAX);
    if (type == CHUNK_PLAIN) {
        if (data.size > out_max)
            return too_large(out_max, msg);
        buf_bytes_append(out, data);
        if (!buf_ok(out))
            return ERR_NOMEM;
    } else {
        enum err e = inflate_snappy_block(data, max, out, msg);
        if (e == ERR_TOO_LARGE && max < out_max)
            return err_set(msg, ERR_INVALID, "snappy chunk is longer than a chunk may be");
        if (e != ERR_OK)
            return e;
    }
    uint32_t crc = hash_crc32c(0, bytes_slice(buf_bytes(out), at, out->size));
    if (((crc >> 15 | crc << 17) + 0xa282ead8u) != bytes_u32le(chunk.data))
        return err_set(msg, ERR_INVALID, "snappy chunk is damaged: its checksum differs");
    return ERR_OK;
}

static enum err inflate_snappy_stream(struct bytes in, size_t out_max, struct buf *out,
                                      struct err_msg *msg)
{
    size_t start = out->size;
    while (in.size) {
        if (in.size < 4)
            return err_set(msg, ERR_INVALID, "snappy stream is truncated");
        uint8_t type = in.data[0];
        size_t size = (size_t)in.data[1] | (size_t)in.data[2] << 8 | (size_t)in.data[3] << 16;
        if (size > in.size - 4)
            return err_set(msg, ERR_INVALID, "snappy stream is truncated");
        struct bytes chunk = bytes_slice(in, 4, 4 + size);
        in = bytes_slice(in, 4 + size, in.size);
        if (type == CHUNK_COMPRESSED || type == CHUNK_PLAIN) {
            enum err e = inflate_snappy_chunk(type, chunk, out_max - (out->size - start), out, msg);
            if (e == ERR_TOO_LARGE)
                return too_large(out_max, msg);
            if (e != ERR_OK)
                return e;
        } else if (type < CHUNK_SKIPPABLE) {
            return err_set(msg, ERR_INVALID, "snappy stream has a chunk of unknown type %u", type);
        }
    }
    return ERR_OK;
}

/* Senders mean either form by "snappy"; a stream says so in its first ten bytes. */
static enum err inflate_snappy(struct bytes in, size_t out_max, struct buf *out,
                               struct err_msg *msg)
{
    return bytes_has_prefix(in, SNAPPY_STREAM) ? inflate_snappy_stream(in, out_max, out, msg)
                                               : inflate_snappy_block(in, out_max, out, msg);
}

enum err zip_inflate(enum zip_kind kind, struct bytes in, size_t out_max, struct buf *out,
                     struct err_msg *msg)
{
    size_t limit = out->bytes_max, start = out->size;
    enum err e = ERR_UNSUPPORTED_ENCODING;
    out->bytes_max = 0;
    if (in.size == 0 && kind != ZIP_NONE && kind != ZIP_UNKNOWN)
        e = err_set(msg, ERR_INVALID, "the compressed body is empty");
    else if (kind == ZIP_NONE && in.size > out_max)
        e = too_large(out_max, msg);
    else if (kind == ZIP_NONE) {
        buf_bytes_append(out, in);
        e = out->failed ? ERR_NOMEM : ERR_OK;
    } else if (kind == ZIP_GZIP || kind == ZIP_ZLIB)
        e = inflate_zlib(kind, in, out_max, out, msg);
    else if (kind == ZIP_ZSTD)
        e = inflate_zstd(in, out_max, out, msg);
    else if (kind == ZIP_SNAPPY)
        e = inflate_snappy(in, out_max, out, msg);
    else
        err_set(
            msg, e,
            "unknown content encoding; identity, gzip, deflate, zstd and snappy are understood");
    if (e != ERR_OK)
        out->size = start;
    out->bytes_max = limit;
    return e;
}

static enum err deflate_zlib(enum zip_kind kind, int level, struct bytes in, struct buf *out)
{
    z_stream z = {.next_in = (Bytef *)(uintptr_t)in.data, .avail_in = (uInt)in.size};
    if (deflateInit2(&z, level, Z_DEFLATED, kind == ZIP_GZIP ? 15 + 16 : 15, 8,
                     Z_DEFAULT_STRATEGY) != Z_OK)
        return ERR_NOMEM;
    size_t bound = deflateBound(&z, in.size);
    enum err e = ERR_NOMEM;
    if (buf_reserve(out, bound)) {
        z.next_out = out->data + out->size;
        z.avail_out = (uInt)bound;
        CHECK(deflate(&z, Z_FINISH) == Z_STREAM_END);
        out->size += bound - z.avail_out;
        e = ERR_OK;
    }
    deflateEnd(&z);
    return e;
}

static enum err deflate_zstd(int level, struct bytes in, struct buf *out)
{
    static _Thread_local ZSTD_CCtx *ctx;
    size_t bound = ZSTD_compressBound(in.size);
    if (!ctx) {
        ctx = ZSTD_createCCtx();
        if (ctx)
            zstd_ends_with_thread(&zstd_deflate_key, ctx);
    }
    if (!ctx || !buf_reserve(out, bound))
        return ERR_NOMEM;
    size_t n = ZSTD_compressCCtx(ctx, out->data + out->size, bound, in.data, in.size, level);
    if (ZSTD_isError(n))
        return ERR_NOMEM;
    out->size += n;
    return ERR_OK;
}

static enum err deflate_snappy(struct bytes in, struct buf *out)
{
    size_t n = snappy_max_compressed_length(in.size);
    if (!buf_reserve(out, n))
        return ERR_NOMEM;
    const char *data = in.size ? (const char *)in.data : "";
    CHECK(snappy_compress(data, in.size, (char *)out->data + out->size, &n) == SNAPPY_OK);
    out->size += n;
    return ERR_OK;
}

enum err zip_deflate(enum zip_kind kind, int level, struct bytes in, struct buf *out)
{
    switch (kind) {
    case ZIP_NONE: buf_bytes_append(out, in); return out->failed ? ERR_NOMEM : ERR_OK;
    case ZIP_GZIP:
    case ZIP_ZLIB: return deflate_zlib(kind, level, in, out);
    case ZIP_ZSTD: return deflate_zstd(level, in, out);
    case ZIP_SNAPPY: return deflate_snappy(in, out);
    case ZIP_UNKNOWN: break;
    }
    return ERR_UNSUPPORTED_ENCODING;
}
