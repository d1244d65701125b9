/* What the store reads at start, from any bytes: the first byte chooses which. What is read must be written again and read as the same. */
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "tsdb/backup_note.h"
#include "tsdb/store_format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition) \
    do {                   \
        if (!(condition))  \
            abort();       \
    } while (0)

static void version(struct bytes in)
{
    uint64_t format, min_reader;
    (void)store_version_read(in, &format, &min_reader);
}

static void checkpoint(struct bytes in)
{
    struct account *accounts = account_new(), *again = account_new();
    struct dedup *requests = dedup_new(), *same = dedup_new();
    struct offsets *places = offsets_new(), *those = offsets_new();
    uint64_t next = 0, next_again = 0;
    struct buf first = {0}, second = {0};
    REQUIRE(accounts && again && requests && same && places && those);
    struct bytes settler;
    if (checkpoint_read(in, &next, accounts, requests, places, &settler) == ERR_OK) {
        checkpoint_write(&first, next, accounts, requests, places, settler, INT64_MIN);
        REQUIRE(checkpoint_read(buf_bytes(&first), &next_again, again, same, those, &settler) ==
                ERR_OK);
        REQUIRE(next_again == next);
        checkpoint_write(&second, next, again, same, those, settler, INT64_MIN);
        REQUIRE(bytes_equal(buf_bytes(&first), buf_bytes(&second)));
    }
    buf_done(&first);
    buf_done(&second);
    account_free(accounts);
    account_free(again);
    dedup_free(requests);
    dedup_free(same);
    offsets_free(places);
    offsets_free(those);
}

static void commit(struct bytes in)
{
    struct commit_reader r, s;
    struct commit_entry e, f;
    uint64_t n = 0;
    struct buf out = {0};
    enum err err = commit_open(in, 1, &r);
    uint64_t claimed = r.left;
    commit_begin(&out, claimed);
    while (err == ERR_OK && (err = commit_next(&r, &e)) == ERR_OK) {
        n++;
        commit_put(&out, &e);
    }
    if (err == ERR_NOT_FOUND) {
        REQUIRE(n == claimed && commit_open(buf_bytes(&out), 1, &s) == ERR_OK);
        while ((err = commit_next(&s, &f)) == ERR_OK)
            n--;
        REQUIRE(err == ERR_NOT_FOUND && n == 0 && s.seq == r.seq && f.seq == e.seq &&
                bytes_equal(f.record, e.record) && bytes_equal(f.claim.topic, e.claim.topic) &&
                f.claim.next == e.claim.next);
    }
    buf_done(&out);
}

static void manifest(struct bytes in)
{
    struct arena *a = arena_new(0);
    struct block_meta m = {0}, n = {0};
    struct block_key key;
    uint8_t text[BLOCK_KEY_SIZE];
    struct bytes k = bytes_slice(in, 0, MIN(in.size, BLOCK_KEY_SIZE));
    struct buf out = {0};
    REQUIRE(a != NULL);
    if (block_key_read(k, &key)) {
        block_key_write(&key, text);
        REQUIRE(bytes_equal(bytes_of(text, sizeof(text)), k));
    }
    if (block_meta_read(bytes_slice(in, k.size, in.size), a, &m) == ERR_OK) {
        buf_u32(&out, m.crc);
        block_meta_write(&m, &out);
        REQUIRE(block_meta_read(buf_bytes(&out), a, &n) == ERR_OK);
        REQUIRE(m.rows == n.rows && m.time_min == n.time_min && m.time_max == n.time_max &&
                m.size == n.size && bytes_equal(m.summary, n.summary));
    }
    buf_done(&out);
    arena_free(a);
}

static void backup(struct bytes in)
{
    struct tsdb_restore_info info, again;
    struct buf out = {0};
    if (backup_note_read(in, &info) == ERR_OK) {
        backup_note_write(&info, &out);
        REQUIRE(backup_note_read(buf_bytes(&out), &again) == ERR_OK &&
                memcmp(&info, &again, sizeof(info)) == 0);
    }
    buf_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct bytes in = bytes_of(data + 1, size - 1);
    switch (data[0] % 5) {
    case 0: version(in); break;
    case 1: checkpoint(in); break;
    case 2: commit(in); break;
    case 3: manifest(in); break;
    default: backup(in); break;
    }
    return 0;
}
