/* The seam to LMDB: environments with one unnamed database, or a few named ones; every call that can fail can be made to fail.
 *
 * Options are those that were measured: default sync, MDB_NOTLS, no WRITEMAP. Maps are reserved at open, much larger than what is ever in them.
 * Should one be full all the same, the transaction fails with ERR_FULL and nothing of it is there; the next one finds a map of twice the size,
 * as soon as there is a moment without transactions. An environment that is opened gets a map of at least twice what is in it.
 * The kernel reads nothing around a page that is touched (MDB_NORDAHEAD): large values, and what a scan comes to next, are asked for by their
 * bytes.
 * LMDB refuses everything after a failed write of its meta page. Such an environment is closed as soon as no transaction uses it, and the
 * next begin opens it again; so does an environment that was closed because it had not been used for longest (lmdb_env_may_idle).
 * Owner: caller.  Thread: a write transaction stays on its thread; reads anywhere.
 * Failure: ERR_FULL (map or disk), ERR_NOT_FOUND, ERR_IO (with the system's reason in msg), ERR_CORRUPT.
 * Limits: keys LMDB_ENV_KEY_MAX bytes; LMDB_ENV_OPEN_MAX environments that may idle open at once, more only while transactions use them.
 */
#ifndef TSDB_LMDB_ENV_H
#define TSDB_LMDB_ENV_H

#include "base/bytes.h"
#include "base/err.h"

#define LMDB_ENV_KEY_MAX 500u
#define LMDB_ENV_DBS_MAX 4u
#define LMDB_ENV_OPEN_MAX 64u
#define LMDB_ENV_MAP_MAX (1ull << 40) /* no map grows beyond: addresses are 47 bits */

/* ThreadSanitizer shadows every mapped byte: maps are small there. */
#if defined(__SANITIZE_THREAD__)
#define LMDB_ENV_MAP(bytes) (512ull << 20)
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define LMDB_ENV_MAP(bytes) (512ull << 20)
#endif
#endif
#ifndef LMDB_ENV_MAP
#define LMDB_ENV_MAP(bytes) (bytes)
#endif

struct lmdb_env;
struct lmdb_txn;

/* path: a directory that exists. dbs: NULL-terminated names of databases to make (at most LMDB_ENV_DBS_MAX), or NULL for the unnamed one. */
enum err lmdb_env_open(const char *path, uint64_t map_bytes, const char *const *dbs,
                       struct lmdb_env **out, struct err_msg *msg) MUST_CHECK;
/* Only to be read, by a process that knows that nobody writes: takes no lock, makes nothing, changes no byte. */
enum err lmdb_env_open_read(const char *path, uint64_t map_bytes, const char *const *dbs,
                            struct lmdb_env **out, struct err_msg *msg) MUST_CHECK;
void lmdb_env_close(struct lmdb_env *e); /* NULL is fine */
/* May be closed and opened again behind the owner's back, between transactions. */
void lmdb_env_may_idle(struct lmdb_env *e);
/* Its directory has another name from now on; a transaction held open meanwhile keeps it from being opened again under the wrong one. */
void lmdb_env_moved(struct lmdb_env *e, const char *path);
/* A map of at least so many bytes, where there is a moment without transactions; best effort. */
void lmdb_env_reserve(struct lmdb_env *e, uint64_t bytes);
/* Closes it for good as soon as no transaction uses it; true: it is closed. From the first call on begin fails with ERR_TIMEOUT: whoever still
 * wants to read is too late. */
bool lmdb_env_retire(struct lmdb_env *e);
/* Copies what is in it into a new file that takes the old one's place, so that nothing that was deleted or replaced is left in free pages.
 * Transactions wait meanwhile. ERR_UNAVAILABLE: it is used all the time; nothing has changed. */
enum err lmdb_env_rewrite(struct lmdb_env *e, struct err_msg *msg) MUST_CHECK;
size_t lmdb_env_idle_open(void); /* how many of those that may idle are open */
enum err lmdb_env_begin(struct lmdb_env *e, bool write, struct lmdb_txn **out,
                        struct err_msg *msg) MUST_CHECK;
enum err lmdb_txn_commit(struct lmdb_txn *t,
                         struct err_msg *msg) MUST_CHECK; /* frees t whatever happens */
void lmdb_txn_abort(struct lmdb_txn *t); /* NULL is fine */
/* db: index into dbs (0 for the unnamed one). Values are valid until the transaction ends (or writes). */
enum err lmdb_txn_put(struct lmdb_txn *t, unsigned db, struct bytes key, struct bytes value,
                      struct err_msg *msg) MUST_CHECK;
enum err lmdb_txn_get(struct lmdb_txn *t, unsigned db, struct bytes key,
                      struct bytes *out) MUST_CHECK;
enum err lmdb_txn_del(struct lmdb_txn *t, unsigned db,
                      struct bytes key) MUST_CHECK; /* absent is OK */
/* Calls fn for keys >= from in order until it returns false or keys end. */
enum err lmdb_txn_scan(struct lmdb_txn *t, unsigned db, struct bytes from,
                       bool (*fn)(void *ctx, struct bytes key, struct bytes value),
                       void *ctx) MUST_CHECK;
uint64_t lmdb_env_bytes(struct lmdb_env *e); /* pages in use * page size */

/* Tests: environments that are opened from now on begin with maps of at most so many bytes (0 = as asked). grows false: no map grows, as when
 * there are no addresses left. */
void lmdb_env_map_is(uint64_t bytes, bool grows);
/* Tests: the n-th operation that could fail from now on fails with ERR_IO (0 = none). Returns how many were counted since the last call. */
uint64_t lmdb_env_fail_at(uint64_t n);
/* What failing means. LIE: a commit is made, and reported as failed (only commits count). CRASH: the process ends before the operation.
 * DEAD: a commit fails as a meta page that cannot be written does: the environment refuses everything until it is opened again (only
 * commits count). FULL: as FAIL, with the error of a disk without room. */
enum lmdb_env_fault { LMDB_ENV_FAIL, LMDB_ENV_LIE, LMDB_ENV_CRASH, LMDB_ENV_DEAD, LMDB_ENV_FULL };
#define LMDB_ENV_CRASH_STATUS 99
void lmdb_env_fault_is(enum lmdb_env_fault kind);

#endif
