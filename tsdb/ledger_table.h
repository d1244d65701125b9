/* What the rows of one generation booked, in memory: an open-addressing table of (org, slot, dimension, value) -> sums.
 *
 * Owner: the ledger.  Thread: one at a time (the ledger's lock).
 * Failure: ledger_table_add: false when out of memory; then nothing of the booking's dimension is in it.
 * Limits: entries_max; at it the cheapest tenth of the values leaves for one entry "other" a slot and dimension (a batched form of
 *         Space-Saving: Metwally, Agrawal, El Abbadi 2005), and error_nanousd grows to the dearest of them.
 * Invariants: 1. The sums over the entries of a dimension are the sums of what was added. 2. The same additions in the same order lead to the
 *             same table. 3. An entry lacks at most error_nanousd.
 */
#ifndef TSDB_LEDGER_TABLE_H
#define TSDB_LEDGER_TABLE_H

#include "base/hash.h"
#include "tsdb/tsdb_ledger.h"

struct ledger_entry { /* 80 bytes */
    struct hash128 value; /* of (value, org, dimension) */
    uint32_t org, slot;
    uint64_t text; /* offset in texts, of size and bytes */
    struct tsdb_book_sums sums;
};

/* Of the last booking of a dimension: neighbours mostly have the same. */
struct ledger_memo {
    uint8_t text[TSDB_LEDGER_VALUE_MAX + 1]; /* size, bytes */
    uint32_t org, slot, entry; /* entry + 1; 0 = none */
};

struct ledger_table {
    struct ledger_entry *entries;
    uint8_t *dims; /* of the entries */
    uint32_t count, cap, entries_max;
    uint32_t *slots; /* entry + 1, 0 = free */
    uint32_t slot_mask;
    uint8_t *texts; /* size u8, bytes */
    uint64_t texts_size, texts_cap;
    int64_t error_nanousd;
    struct ledger_memo memo[TSDB_BOOK_DIM_COUNT];
};

extern const struct hash128 ledger_table_other; /* the value of "other" entries */

void ledger_table_done(struct ledger_table *t);
uint64_t ledger_table_bytes(const struct ledger_table *t);
struct hash128 ledger_table_hash(uint32_t org, enum tsdb_book_dim dim, struct bytes value);
bool ledger_table_add(struct ledger_table *t, uint32_t org, const struct tsdb_book *book);
static inline struct bytes ledger_table_text(const struct ledger_table *t,
                                             const struct ledger_entry *e)
{
    return bytes_of(t->texts + e->text + 1, t->texts[e->text]);
}
static inline bool ledger_table_is_other(const struct hash128 *value)
{
    return value->lo == UINT64_MAX && value->hi == UINT64_MAX;
}

#endif
