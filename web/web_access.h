/* Who may do what: keys, sessions of the page, and the decision taken from a request's headers.
 *
 * A key is tt<role letter>_<id>.<secret>. Only BLAKE2b(secret, pepper) is stored; the pepper lies in data/keys/pepper (mode 0600), so a copy
 * of the state alone verifies nothing. A door on a loopback address needs no key; every other door needs one.
 * Owner: the program.  Thread: any, after web_access_open.
 * Failure: ERR_IO for the pepper file or the state; ERR_INVALID for a bad role or name; ERR_LIMIT past WEB_ACCESS_KEYS_MAX keys.
 * Limits: WEB_ACCESS_KEYS_MAX keys, WEB_ACCESS_SESSIONS_MAX sessions; after WEB_ACCESS_FAILURES_MAX failures a minute from one address
 *         everything with a credential from there is refused until the minute is over.
 * Invariants: 1. No secret is ever stored or logged. 2. A revoked key and its sessions are refused from the return of web_access_revoke on.
 *             3. Comparisons of secrets take the same time whether they match or not.
 */
#ifndef WEB_WEB_ACCESS_H
#define WEB_WEB_ACCESS_H

#include "collector/net/net.h"
#include "tsdb/tsdb_state.h"

#define WEB_ACCESS_KEYS_MAX 1000u
#define WEB_ACCESS_SESSIONS_MAX 1000u
#define WEB_ACCESS_FAILURES_MAX 10u
#define WEB_ACCESS_NAME_MAX 64u
#define WEB_ACCESS_KEY_TEXT_MAX 96u
#define WEB_ACCESS_SESSION_MS (INT64_C(7) * 24 * 3600 * 1000)

enum web_access_role {
    WEB_ACCESS_NONE,
    WEB_ACCESS_INGEST, /* may send, sees nothing */
    WEB_ACCESS_READ, /* may look */
    WEB_ACCESS_ADMIN /* may send, look, and change keys, flush, ... */
};
const char *web_access_role_name(enum web_access_role r); /* "ingest", ... */
bool web_access_role_parse(struct bytes name, enum web_access_role *out);

struct web_access;

/* dir: the data directory (for keys/pepper). */
enum err web_access_open(struct tsdb *db, const char *dir, struct web_access **out,
                         struct err_msg *msg) MUST_CHECK;
void web_access_close(struct web_access *a); /* NULL is fine */

/* Whether these listening addresses may be opened: remembers which doors need a key, and refuses (ERR_FORBIDDEN, with a sentence that says
 * what to do) when one is reachable from elsewhere and there is no key. addresses[door] may be NULL. Call once, before net_start. */
enum err web_access_check_listen(struct web_access *a, const char *const addresses[NET_DOOR_COUNT],
                                 struct err_msg *msg) MUST_CHECK;
bool web_access_address_is_loopback(
    const char *address); /* "127.0.0.1:1", "[::1]:1", "localhost:1" */
bool web_access_needs_key(const struct web_access *a, enum net_door door);

/* For `serve --init`: if there is no key at all, makes an ingest key and an admin key and appends to `out` what to print once: both keys and the
 * OTEL_* lines to paste. Appends nothing when keys exist. endpoint: "http://host:4318". */
enum err web_access_init(struct web_access *a, const char *endpoint, struct buf *out,
                         struct err_msg *msg) MUST_CHECK;

/* --- keys -------------------------------------------------------------------------------------- */

struct web_access_key {
    uint64_t id;
    enum web_access_role role;
    uint32_t org;
    char name[WEB_ACCESS_NAME_MAX + 1];
    int64_t created_ms, revoked_ms; /* revoked 0 = valid */
};
/* out_text receives the whole key; it exists nowhere else. */
enum err web_access_create(struct web_access *a, enum web_access_role role, uint32_t org,
                           struct bytes name, char out_text[WEB_ACCESS_KEY_TEXT_MAX],
                           uint64_t *out_id, struct err_msg *msg) MUST_CHECK;
/* ERR_NOT_FOUND: no key of this id, or it is another org's. org 0: whose it is does not matter (the machine's owner asks). */
enum err web_access_revoke(struct web_access *a, uint32_t org, uint64_t id) MUST_CHECK;
/* Copies at most max keys, oldest first, revoked ones included; returns how many there are. */
size_t web_access_list(struct web_access *a, struct web_access_key *out, size_t max);
size_t web_access_valid_count(struct web_access *a);

/* --- requests ---------------------------------------------------------------------------------- */

/* net_authorise of the program (ctx = struct web_access *): key from `Authorization: Bearer`, `Authorization: Basic` (password), `api-key`,
 * `x-api-key` or the session cookie; role by door and path; refuses writes that another site's page makes a browser send. */
bool web_access_authorise(void *ctx, struct net_request *req, struct net_access *out,
                          struct net_refusal *refusal);
/* The decision itself, on plain values, for tests and for whoever has no net_request. */
struct web_access_ask {
    enum net_door door;
    struct bytes method, path, peer; /* peer: address, port allowed */
    struct bytes authorization, api_key, cookie, origin, host, fetch_site;
    bool loopback;
};
bool web_access_decide(struct web_access *a, const struct web_access_ask *ask,
                       struct net_access *out, struct net_refusal *refusal);
/* Whether a write with these headers comes from our own page or from no page at all. */
bool web_access_same_site(struct bytes origin, struct bytes host, struct bytes fetch_site);

/* Trades a key for a session. out_cookie: the value of Set-Cookie. ERR_UNAUTHENTICATED, ERR_LIMIT (too many failures), ERR_FORBIDDEN (ingest key). */
enum err web_access_login(struct web_access *a, struct bytes key, struct bytes peer, bool tls,
                          char out_cookie[256], struct err_msg *msg) MUST_CHECK;
/* Ends the session of this Cookie header (none: nothing happens); out_cookie clears it. */
enum err web_access_logout(struct web_access *a, struct bytes cookie, bool tls,
                           char out_cookie[256]) MUST_CHECK;

#endif
