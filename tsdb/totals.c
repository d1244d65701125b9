#include "tsdb/totals.h"

#include "base/log.h"

enum err totals_add(struct tsdb_state_write *w, const char *table, uint32_t org,
                    enum tsdb_signal signal, uint64_t more)
{
    uint8_t key[5] = {(uint8_t)(org >> 24), (uint8_t)(org >> 16), (uint8_t)(org >> 8), (uint8_t)org,
                      (uint8_t)signal},
            value[8];
    struct bytes old;
    enum err e = tsdb_state_read(w, table, bytes_of(key, 5), &old);
    if (e != ERR_OK && e != ERR_NOT_FOUND)
        return e;
    bytes_put_u64le(value, more + (e == ERR_OK && old.size == 8 ? bytes_u64le(old.data) : 0));
    return more ? tsdb_state_put(w, table, bytes_of(key, 5), bytes_of(value, 8)) : ERR_OK;
}

static enum err load(struct tsdb *db, const char *table, bool erased, struct arena *a)
{
    struct tsdb_state_row *rows;
    size_t n;
    enum err e = tsdb_state_scan(db, table, BYTES_NONE, SIZE_MAX, a, &rows, &n);
    for (size_t i = 0; e == ERR_OK && i < n; i++) {
        const uint8_t *k = rows[i].key.data;
        if (rows[i].key.size != 5 || rows[i].value.size != 8 || k[4] >= TSDB_SIGNAL_COUNT)
            continue;
        uint32_t org = (uint32_t)k[0] << 24 | (uint32_t)k[1] << 16 | (uint32_t)k[2] << 8 | k[3];
        uint64_t total = bytes_u64le(rows[i].value.data);
        if (erased)
            account_erased(db->accounts, org, (enum tsdb_signal)k[4], total);
        else
            account_superseded(db->accounts, org, (enum tsdb_signal)k[4], total);
    }
    return e;
}

enum err totals_load(struct tsdb *db)
{
    struct arena *a = arena_new(0);
    enum err e = a ? load(db, TOTALS_ERASED, true, a) : ERR_NOMEM;
    if (e == ERR_OK)
        e = load(db, TOTALS_SUPERSEDED, false, a);
    arena_free(a);
    return e;
}

void totals_superseded(struct tsdb *db, uint32_t org, uint64_t samples)
{
    struct tsdb_state_write *w;
    if (!samples)
        return;
    enum err e = tsdb_state_begin(db, &w);
    if (e == ERR_OK) {
        e = totals_add(w, TOTALS_SUPERSEDED, org, TSDB_SAMPLES, samples);
        if (e == ERR_OK)
            e = tsdb_state_commit(w);
        else
            tsdb_state_abort(w);
    }
    if (e == ERR_OK)
        e = totals_load(db);
    if (e != ERR_OK)
        log_warn("store", "%llu samples that were replaced are missing in the accounts: %s",
                 (unsigned long long)samples, err_text(e));
}
