/* What verify looks for in journals and in the state. */
#include <stdlib.h>

#include "base/hash.h"
#include "tsdb/ledger.h"
#include "tsdb/journal.h"
#include "tsdb/quarantine.h"
#include "tsdb/record.h"
#include "tsdb/store_format.h"
#include "tsdb/tsdb_registry.h"
#include "tsdb/verify_core.h"

#define MAP_BYTES LMDB_ENV_MAP(4ull << 30)

struct journal_look {
    struct verify_env *v;
    struct tsdb_registry *series;
    struct account *accounts;
    struct offsets *offsets;
    struct dedup *requests;
    struct record_refs refs;
    uint64_t last_seq;
    bool has_checkpoint;
};

static void look_commit(struct journal_look *l, uint64_t first, struct bytes commit)
{
    struct commit_reader in;
    struct commit_entry entry;
    enum err e = commit_open(commit, first, &in);
    while (e == ERR_OK && (e = commit_next(&in, &entry)) == ERR_OK) {
        struct tsdb_batch *b;
        struct err_msg why = {""};
        if (entry.is_repeat)
            continue;
        enum err bad = record_decode(entry.record, l->series, &l->refs, 0, &b, &why);
        if (bad == ERR_OK)
            tsdb_batch_free(b);
        else
            verify_say(l->v, "commit %llu: the record of request %llu is wrong: %s %s",
                       (unsigned long long)first, (unsigned long long)entry.seq, err_text(bad),
                       why.text);
    }
    if (e != ERR_NOT_FOUND)
        verify_say(l->v, "commit %llu %s", (unsigned long long)first,
                   e == ERR_NEWER ? "is of a newer version" : "does not decode");
    if (first <= l->last_seq)
        verify_say(l->v, "commit %llu repeats a sequence number", (unsigned long long)first);
    l->last_seq = e == ERR_NOT_FOUND ? in.seq : first;
    l->v->report->commits++;
}

static bool look_entry(void *ctx, struct bytes key, struct bytes value)
{
    struct journal_look *l = ctx;
    uint64_t next = 0;
    bool is_brief =
        key.size == 1 && key.data[0] == 0; /* the checkpoint once more, without repeats */
    l->v->report->bytes += key.size + value.size;
    if ((key.size != 8 && !is_brief) || value.size < 4) {
        verify_say(l->v, "an entry with a key of %zu and a value of %zu bytes", key.size,
                   value.size);
        return true;
    }
    uint64_t seq = is_brief ? 0 : bytes_u64be(key.data);
    struct bytes body = bytes_slice(value, 4, value.size);
    if (bytes_u32le(value.data) != hash_crc32c(hash_crc32c(0, key), body)) {
        verify_say(l->v, "%s %llu has a wrong checksum", seq ? "commit" : "checkpoint",
                   (unsigned long long)seq);
        l->has_checkpoint |= seq == 0 && !is_brief;
        return true;
    }
    if (seq) {
        look_commit(l, seq, body);
        return true;
    }
    l->has_checkpoint |= !is_brief;
    struct bytes settler;
    enum err e = checkpoint_read(body, &next, l->accounts, l->requests, l->offsets, &settler);
    if (e != ERR_OK)
        verify_say(l->v, "the checkpoint %s",
                   e == ERR_NEWER ? "is of a newer version" : "does not decode");
    else
        l->last_seq = next ? next - 1 : 0;
    return true;
}

void verify_journal(struct verify_env *v)
{
    struct journal_look l = {
        v, tsdb_registry_new(0), account_new(), offsets_new(), dedup_new(), {0}, 0, false};
    struct lmdb_env *env = NULL;
    struct lmdb_txn *t;
    struct err_msg why = {""};
    enum err e = l.series && l.accounts && l.offsets && l.requests
                     ? lmdb_env_open_read(v->path, MAP_BYTES, NULL, &env, &why)
                     : ERR_NOMEM;
    if (e == ERR_OK && (e = lmdb_env_begin(env, false, &t, &why)) == ERR_OK) {
        e = lmdb_txn_scan(t, 0, BYTES_NONE, look_entry, &l);
        lmdb_txn_abort(t);
    }
    if (e != ERR_OK)
        verify_say(v, "cannot be read: %s %s", err_text(e), why.text);
    else if (!l.has_checkpoint)
        verify_say(v, "has no checkpoint");
    lmdb_env_close(env);
    record_refs_done(&l.refs);
    dedup_free(l.requests);
    account_free(l.accounts);
    offsets_free(l.offsets);
    tsdb_registry_free(l.series);
}

/* --- state --------------------------------------------------------------------------------------- */

static bool look_row(void *ctx, struct bytes key, struct bytes value)
{
    static const uint8_t nul = 0;
    struct verify_env *v = ctx;
    size_t at = bytes_find(key, bytes_of(&nul, 1));
    v->report->bytes += key.size + value.size;
    if (at == 0 || at >= key.size) {
        verify_say(v, "a row without a table's name");
        return true;
    }
    if (value.size < 4 || bytes_u32le(value.data) !=
                              hash_crc32c(hash_crc32c(0, key), bytes_slice(value, 4, value.size))) {
        verify_say(v, "a row of the table %.*s has a wrong checksum", (int)at, key.data);
        return true;
    }
    value = bytes_slice(value, 4, value.size);
    v->report->rows++;
    if (bytes_equal(bytes_slice(key, 0, at), BYTES_LIT("quarantine"))) {
        char text[TSDB_QUARANTINE_WHAT_MAX + 160];
        if (quarantine_text(bytes_slice(key, at + 1, key.size), value, text, sizeof(text)))
            verify_say_quarantined(v, "%s", text);
        else
            verify_say(v, "a record of the quarantine does not decode");
    }
    if (!bytes_equal(bytes_slice(key, 0, at), BYTES_LIT("store")))
        return true;
    struct bytes name = bytes_slice(key, at + 1, key.size);
    if (!bytes_equal(name, BYTES_LIT("flushed_generation")))
        return true;
    if (value.size != 8)
        verify_say(v, "the number %.*s has %zu bytes", (int)name.size, name.data, value.size);
    else
        *v->flushed = bytes_u64le(value.data);
    return true;
}

static void look_at_rows(struct verify_env *v,
                         bool (*look)(void *ctx, struct bytes key, struct bytes value))
{
    struct lmdb_env *env = NULL;
    struct lmdb_txn *t;
    struct err_msg why = {""};
    enum err e = lmdb_env_open_read(v->path, MAP_BYTES, NULL, &env, &why);
    if (e == ERR_OK && (e = lmdb_env_begin(env, false, &t, &why)) == ERR_OK) {
        e = lmdb_txn_scan(t, 0, BYTES_NONE, look, v);
        lmdb_txn_abort(t);
    }
    if (e != ERR_OK)
        verify_say(v, "cannot be read: %s %s", err_text(e), why.text);
    lmdb_env_close(env);
}

void verify_state(struct verify_env *v)
{
    look_at_rows(v, look_row);
}

static bool look_ledger_row(void *ctx, struct bytes key, struct bytes value)
{
    struct verify_env *v = ctx;
    struct ledger_key k;
    struct ledger_stored row;
    v->report->bytes += key.size + value.size;
    v->report->rows++;
    if (!ledger_row_is_sound(key, value))
        verify_say(v, "a row of the ledger has a wrong checksum");
    else if (ledger_key_read(key, &k) && k.kind != LEDGER_META &&
             !ledger_value_read(key, value, &row))
        verify_say(v, "a row of the ledger does not decode");
    return true;
}

void verify_ledger(struct verify_env *v)
{
    look_at_rows(v, look_ledger_row);
}
