/* The ledger inside of the store: tables of generations that are not sealed, and an environment, data/ledger, of everything before.
 *
 *   commit published -> ledger_apply (table of its generation) -> sealed: ledger_seal, one transaction with the generation's number
 *   start: replay applies every generation above that number again
 *
 * So each booking is in exactly one of the two, whatever happens between; readers copy from the tables first, then begin a transaction, and leave out
 * generations that are in it already.
 * Owner: struct tsdb.  Thread: ledger_apply on the committer (and at start); seal, expire, erase on flush; the others any.
 * Failure: seal, expire, erase: LMDB's errors; nothing of the step is there then.
 * Limits: tables are counted within the memory limit; LEDGER_DAY_KEYS_MAX.  Format: docs/format/ledger.md.
 * Invariant: the lock is never held while rows of LMDB are read or written; a reader holds it while it copies from the tables (one byte an
 * entry is looked at, and what matches is copied: some milliseconds at a million).
 */
#ifndef TSDB_LEDGER_H
#define TSDB_LEDGER_H

#include <pthread.h>

#include "base/buf.h"
#include "tsdb/erase_match.h"
#include "tsdb/ledger_table.h"
#include "tsdb/lmdb_env.h"

#define LEDGER_DAY_KEYS_MAX 1000000u
#define LEDGER_TABLE_MAX \
    (1u << 21) /* entries a generation; it is sealed before, where that is possible */
#define LEDGER_TABLES_MAX 16u

struct ledger_generation {
    uint64_t id;
    struct ledger_table table;
};

struct ledger {
    struct lmdb_env *env; /* immutable after init */
    pthread_mutex_t lock; /* guards what follows */
    struct ledger_generation *generations[LEDGER_TABLES_MAX]; /* oldest first */
    uint32_t generation_count;
    uint64_t sealed; /* the newest generation that is in the environment */
    struct tsdb_ledger_follower follower;
    bool has_follower;
    uint32_t follower_org;
    uint64_t booked, book_ns, lost;
    int64_t newest_ms;
    /* owned by flush; tests set them before */
    uint32_t day_keys_max, table_max;
};

#define LEDGER_MAP_BYTES LMDB_ENV_MAP(16ull << 30)
enum err ledger_open(struct lmdb_env **take_env, struct ledger **out,
                     struct err_msg *msg) MUST_CHECK;
void ledger_close(struct ledger *l); /* NULL is fine */
uint64_t ledger_sealed(struct ledger *l);
uint64_t ledger_bytes(struct ledger *l);
uint64_t ledger_generation_bytes(struct ledger *l, uint64_t generation);
/* What the batch, now stored, books. Nothing where its generation is in the environment already. */
void ledger_apply(struct ledger *l, const struct tsdb_batch *b, uint64_t generation);
enum err ledger_seal(struct ledger *l, uint64_t generation, struct err_msg *msg) MUST_CHECK;
/* Days before the floor go, and slots that are too old. A bounded step; true: there is more. */
bool ledger_expire(struct ledger *l, int64_t day_floor_ms, int64_t now_ms);
/* The target's user becomes unattributed, and the file is written without what was there. Of generations that are sealed. */
enum err ledger_erase(struct ledger *l, const struct erase_target *t,
                      struct err_msg *msg) MUST_CHECK;

/* --- rows of the environment, for its readers ------------------------------------------------------ */

#define LEDGER_SEALED_KEY BYTES_LIT("sealed") /* -> crc, u64 */
#define LEDGER_DIRTY_KEY BYTES_LIT("dirty") /* free pages hold what was erased */

enum ledger_kind { LEDGER_DAY, LEDGER_SLOT, LEDGER_META };
#define LEDGER_KEY_SIZE 26u
#define LEDGER_PREFIX_SIZE 10u /* org, kind, period, dimension */
struct ledger_key {
    uint32_t org;
    enum ledger_kind kind;
    uint32_t period; /* day or slot since the epoch */
    uint8_t dim;
    struct hash128 value;
};
struct ledger_stored {
    struct tsdb_book_sums sums;
    struct bytes text;
};
struct ledger_meta { /* of a day and dimension */
    uint64_t keys;
    int64_t nanousd, error_nanousd;
};
void ledger_key_write(const struct ledger_key *k, uint8_t out[LEDGER_KEY_SIZE]);
bool ledger_key_read(struct bytes key, struct ledger_key *out);
void ledger_value_write(struct bytes key, const struct ledger_stored *v, struct buf *out);
bool ledger_value_read(struct bytes key, struct bytes value, struct ledger_stored *out);
bool ledger_meta_read(struct bytes key, struct bytes value, struct ledger_meta *out);
/* Of any row: whether its checksum is right. */
bool ledger_row_is_sound(struct bytes key, struct bytes value);

/* What one dimension has in memory and in the environment, of one moment. */
struct ledger_copy {
    uint64_t generation;
    uint32_t slot;
    struct hash128 value;
    struct tsdb_book_sums sums;
    uint64_t text; /* offset in texts, of size and bytes */
    uint8_t dim;
};
struct ledger_moment {
    struct ledger_copy *copies; /* of generations above those of txn */
    size_t count, cap;
    struct buf texts;
    int64_t error_nanousd; /* of tables that were full */
    struct lmdb_txn *txn;
};
/* dims: bits. from_slot: older entries are left out. follower: installed at the very moment, or NULL. */
enum err ledger_moment_begin(struct ledger *l, uint32_t org, uint32_t dims, uint32_t from_slot,
                             const struct tsdb_ledger_follower *f,
                             struct ledger_moment *out) MUST_CHECK;
void ledger_moment_end(struct ledger_moment *m);
static inline struct bytes ledger_moment_text(const struct ledger_moment *m,
                                              const struct ledger_copy *c)
{
    return bytes_of(m->texts.data + c->text + 1, m->texts.data[c->text]);
}

#endif
