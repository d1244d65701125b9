#include "tsdb/store_format.h"

#include "base/check.h"

#define ENTRY_REPEAT 1u
#define ENTRY_CLAIM 2u
#define ENTRY_DERIVED 4u

/* --- VERSION ------------------------------------------------------------------------------------- */

void store_version_write(struct buf *out)
{
    buf_printf(out, "format=%u min_reader=%u\n", FORMAT_STORE, FORMAT_STORE_READER);
}

static bool take_number(struct bytes *text, const char *name, uint8_t end, uint64_t *out)
{
    struct bytes prefix = bytes_str(name);
    if (!bytes_has_prefix(*text, prefix))
        return false;
    struct bytes rest = bytes_slice(*text, prefix.size, text->size);
    size_t n = bytes_find(rest, bytes_of(&end, 1));
    if (n == rest.size || !bytes_to_u64(bytes_slice(rest, 0, n), out))
        return false;
    *text = bytes_slice(rest, n + 1, rest.size);
    return true;
}

bool store_version_read(struct bytes text, uint64_t *out_format, uint64_t *out_min_reader)
{
    return take_number(&text, "format=", ' ', out_format) &&
           take_number(&text, "min_reader=", '\n', out_min_reader);
}

enum err store_version_check(struct bytes text, const char *dir, struct err_msg *msg)
{
    uint64_t format, min_reader;
    if (!store_version_read(text, &format, &min_reader) || format == 0 || min_reader == 0 ||
        min_reader > format)
        return err_set(msg, ERR_CORRUPT,
                       "%s/VERSION is not understood: it should read "
                       "\"format=N min_reader=N\", and is %s",
                       dir, text.size ? "something else" : "empty");
    if (min_reader > FORMAT_STORE)
        return err_set(msg, ERR_UNSUPPORTED_MEDIA,
                       "%s was written by a newer telltale (format %llu, readable from format %llu "
                       "on; this one knows up to %u); start that version, or restore a backup of "
                       "before the upgrade",
                       dir, (unsigned long long)format, (unsigned long long)min_reader,
                       FORMAT_STORE);
    if (format < FORMAT_STORE_OLDEST)
        return err_set(msg, ERR_UNSUPPORTED_MEDIA,
                       "%s was written by a version before the first release (format %llu; this "
                       "one reads %u to %u)",
                       dir, (unsigned long long)format, FORMAT_STORE_OLDEST, FORMAT_STORE);
    return ERR_OK;
}

/* --- checkpoint ---------------------------------------------------------------------------------- */

void checkpoint_write(struct buf *out, uint64_t next_seq, struct account *accounts,
                      struct dedup *requests, struct offsets *offsets, struct bytes settler,
                      int64_t now_ns)
{
    struct buf places = {0};
    buf_varint(out, FORMAT_CHECKPOINT);
    buf_varint(out, next_seq);
    account_encode(accounts, out);
    dedup_encode(requests, now_ns, out);
    offsets_encode(offsets, &places);
    buf_lenbytes(out, buf_bytes(&places));
    buf_lenbytes(out, settler);
    if (!buf_ok(&places))
        out->failed = true;
    buf_done(&places);
}

enum err checkpoint_read(struct bytes text, uint64_t *next_seq, struct account *accounts,
                         struct dedup *requests, struct offsets *offsets, struct bytes *out_settler)
{
    *out_settler = BYTES_NONE;
    struct reader r = reader_of(text);
    uint64_t format = reader_varint(&r), next = reader_varint(&r);
    if (r.failed)
        return ERR_CORRUPT;
    enum err e =
        tsdb_versions_check("a checkpoint", (unsigned)MIN(format, UINT32_MAX), FORMAT_CHECKPOINT);
    if (e != ERR_OK)
        return e;
    if (next < *next_seq)
        return ERR_OK;
    if (!account_decode(accounts, &r) || !dedup_decode(requests, &r))
        return ERR_CORRUPT;
    struct bytes places = reader_lenbytes(&r), settler = reader_lenbytes(&r);
    if (r.failed || reader_left(&r) != 0)
        return ERR_CORRUPT;
    e = offsets_decode(offsets, places);
    if (e == ERR_OK) {
        *next_seq = next;
        *out_settler = settler;
    }
    return e;
}

/* --- commits ------------------------------------------------------------------------------------- */

void commit_begin(struct buf *out, uint64_t entries)
{
    buf_u32(out, tsdb_versions_magic("TTC", FORMAT_COMMIT));
    buf_varint(out, entries);
}

void commit_put(struct buf *out, const struct commit_entry *e)
{
    buf_u8(out,
           (uint8_t)((e->is_repeat ? ENTRY_REPEAT : 0) | (e->claim.topic.size ? ENTRY_CLAIM : 0) |
                     (e->derived_logs ? ENTRY_DERIVED : 0)));
    buf_varint(out, e->seq);
    buf_varint(out, e->org);
    buf_u8(out, (uint8_t)e->signal);
    buf_varint(out, e->stored);
    buf_varint(out, e->duplicate);
    buf_u8(out, TSDB_REJECT_COUNT);
    for (size_t i = 0; i < TSDB_REJECT_COUNT; i++)
        buf_varint(out, e->rejected[i]);
    buf_lenbytes(out, e->record);
    if (e->claim.topic.size) {
        buf_lenbytes(out, e->claim.topic);
        buf_varint(out, e->claim.partition);
        buf_zigzag(out, e->claim.epoch);
        buf_varint(out, (uint64_t)e->claim.from);
        buf_varint(out, (uint64_t)e->claim.next);
        buf_u64(out, e->claim.mark);
    }
    if (e->derived_logs)
        buf_varint(out, e->derived_logs);
}

static bool read_claim(struct reader *in, struct tsdb_claim *out)
{
    out->topic = reader_lenbytes(in);
    uint64_t partition = reader_varint(in);
    int64_t epoch = reader_zigzag(in);
    uint64_t from = reader_varint(in), next = reader_varint(in);
    out->mark = reader_u64(in);
    if (in->failed || out->topic.size == 0 || partition > INT32_MAX || epoch < -1 ||
        epoch > INT32_MAX || next > INT64_MAX || from >= next)
        return false;
    out->partition = (uint32_t)partition;
    out->epoch = (int32_t)epoch;
    out->from = (int64_t)from;
    out->next = (int64_t)next;
    return true;
}

enum err commit_open(struct bytes commit, uint64_t first_seq, struct commit_reader *out)
{
    *out = (struct commit_reader){.in = reader_of(commit)};
    uint32_t magic = reader_u32(&out->in);
    out->left = reader_varint(&out->in);
    out->seq = first_seq - 1;
    if (out->in.failed || first_seq == 0)
        return ERR_CORRUPT;
    enum err e = tsdb_versions_check_magic("TTC", magic, FORMAT_COMMIT);
    return e == ERR_OK && out->left == 0 ? ERR_CORRUPT : e;
}

enum err commit_next(struct commit_reader *r, struct commit_entry *out)
{
    struct reader *in = &r->in;
    if (r->left == 0)
        return reader_left(in) || in->failed ? ERR_CORRUPT : ERR_NOT_FOUND;
    uint8_t flags = reader_u8(in);
    *out = (struct commit_entry){.is_repeat = flags & ENTRY_REPEAT};
    out->seq = reader_varint(in);
    uint64_t org = reader_varint(in);
    uint8_t signal = reader_u8(in);
    out->stored = reader_varint(in);
    out->duplicate = reader_varint(in);
    uint8_t reasons = reader_u8(in);
    for (uint8_t k = 0; k < reasons && !in->failed; k++) {
        uint64_t v = reader_varint(in);
        if (k < TSDB_REJECT_COUNT)
            out->rejected[k] = v;
    }
    out->record = reader_lenbytes(in);
    if (flags & ~(ENTRY_REPEAT | ENTRY_CLAIM | ENTRY_DERIVED) ||
        ((flags & ENTRY_CLAIM) && !read_claim(in, &out->claim)))
        return ERR_CORRUPT;
    if (flags & ENTRY_DERIVED && !(out->derived_logs = reader_varint(in)))
        return ERR_CORRUPT;
    /* Numbers rise, and the one after the last must still be a number. */
    if (in->failed || signal >= TSDB_SIGNAL_COUNT || org > UINT32_MAX || out->seq <= r->seq ||
        out->seq >= UINT64_MAX - 1)
        return ERR_CORRUPT;
    out->org = (uint32_t)org;
    out->signal = (enum tsdb_signal)signal;
    r->seq = out->seq;
    r->left--;
    return ERR_OK;
}

/* --- manifest ------------------------------------------------------------------------------------ */

static void put_be(uint8_t *out, uint64_t v, unsigned size)
{
    for (unsigned i = size; i-- > 0; v >>= 8)
        out[i] = (uint8_t)v;
}

static uint64_t get_be(const uint8_t *p, unsigned size)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < size; i++)
        v = v << 8 | p[i];
    return v;
}

void block_key_write(const struct block_key *k, uint8_t out[BLOCK_KEY_SIZE])
{
    put_be(out, k->org, 4);
    out[4] = k->kind;
    put_be(out + 5, k->generation, 8);
    put_be(out + 13, k->n, 4);
}

bool block_key_read(struct bytes key, struct block_key *out)
{
    if (key.size != BLOCK_KEY_SIZE)
        return false;
    *out = (struct block_key){(uint32_t)get_be(key.data, 4), key.data[4], get_be(key.data + 5, 8),
                              (uint32_t)get_be(key.data + 13, 4)};
    return true;
}

static uint8_t *put_varint(uint8_t *out, uint64_t v)
{
    for (; v >= 128; v >>= 7)
        *out++ = (uint8_t)(v | 128);
    *out++ = (uint8_t)v;
    return out;
}

static uint8_t *put_zigzag(uint8_t *out, int64_t v)
{
    return put_varint(out, ((uint64_t)v << 1) ^ (uint64_t)(v >> 63));
}

/* All of the row but the summary's bytes, without memory that could be missing. */
static size_t put_fixed(const struct block_meta *m, uint8_t out[4 * 10 + 4])
{
    uint8_t *at = put_varint(out, m->rows);
    at = put_zigzag(at, m->time_min);
    at = put_zigzag(at, m->time_max);
    bytes_put_u32le(at, m->size);
    return (size_t)(put_varint(at + 4, m->summary.size) - out);
}

void block_meta_write(const struct block_meta *m, struct buf *out)
{
    uint8_t fixed[4 * 10 + 4];
    buf_append(out, fixed, put_fixed(m, fixed));
    buf_bytes_append(out, m->summary);
}

uint32_t block_meta_crc(const struct block_meta *m, struct bytes block)
{
    uint8_t key[BLOCK_KEY_SIZE], fixed[4 * 10 + 4];
    block_key_write(&m->key, key);
    uint32_t crc = hash_crc32c(0, bytes_of(key, sizeof(key)));
    crc = hash_crc32c(crc, bytes_of(fixed, put_fixed(m, fixed)));
    return hash_crc32c(hash_crc32c(crc, m->summary), block);
}

enum err block_meta_read(struct bytes row, struct arena *a, struct block_meta *out)
{
    struct reader r = reader_of(row);
    out->crc = reader_u32(&r);
    out->rows = reader_varint(&r);
    out->time_min = reader_zigzag(&r);
    out->time_max = reader_zigzag(&r);
    out->size = reader_u32(&r);
    struct bytes summary = reader_lenbytes(&r);
    if (r.failed || reader_left(&r) != 0 || out->size > PART_BLOCK_MAX ||
        summary.size > PART_SUMMARY_MAX)
        return ERR_CORRUPT;
    out->summary = arena_copy(a, summary);
    return out->summary.data ? ERR_OK : ERR_NOMEM;
}

void manifest_row_write(struct bytes key, const struct block_meta *m, struct buf *out)
{
    struct buf row = {0};
    buf_u32(&row, m->crc);
    block_meta_write(m, &row);
    if (!buf_ok(&row))
        out->failed = true;
    buf_u32(out, hash_crc32c(hash_crc32c(0, key), buf_bytes(&row)));
    buf_bytes_append(out, buf_bytes(&row));
    buf_done(&row);
}

bool manifest_row_open(struct bytes key, struct bytes value, struct bytes *out_row)
{
    if (value.size < 8)
        return false;
    *out_row = bytes_slice(value, 4, value.size);
    return bytes_u32le(value.data) == hash_crc32c(hash_crc32c(0, key), *out_row);
}

void part_roll_add(struct part_roll *r, struct bytes value)
{
    r->rows++;
    r->sum += value.size < 4 ? 0 : bytes_u32le(value.data);
}

void part_roll_write(const struct part_roll *r, uint8_t out[PART_ROLL_SIZE])
{
    memcpy(out + 4, &r->rows, 8);
    memcpy(out + 12, &r->sum, 8);
    bytes_put_u32le(out, hash_crc32c(0, bytes_of(out + 4, 16)));
}

bool part_roll_read(struct bytes value, struct part_roll *out)
{
    if (value.size != PART_ROLL_SIZE ||
        bytes_u32le(value.data) != hash_crc32c(0, bytes_slice(value, 4, value.size)))
        return false;
    *out = (struct part_roll){bytes_u64le(value.data + 4), bytes_u64le(value.data + 12)};
    return true;
}
