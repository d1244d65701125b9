#include "web/web_access.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/stats.h"
#include "tsdb/tsdb_versions.h"
#include "web/web_access_rows.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY_TABLE "web_keys"
#define SESSION_TABLE "web_sessions"
#define COOKIE_NAME "telltale_session"

enum {
    SECRET_BYTES = 24, /* 192 bits: guessing is hopeless at any rate */
    PEPPER_BYTES = 32,
    ID_HEX = 16,
    FAILURE_SLOTS =
        1024, /* addresses remembered at once; a newcomer takes the slot of an older one */
};
_Static_assert(WEB_ACCESS_KEY_TEXT_MAX >
                   4 + ID_HEX + 1 + sodium_base64_ENCODED_LEN(SECRET_BYTES, 7),
               "a key's text must fit");

STATS_COUNTER(refused_unknown, "telltale_web_access_refused_total", "reason=\"unknown_credential\"",
              "Requests refused because of who asks.");
STATS_COUNTER(refused_missing, "telltale_web_access_refused_total", "reason=\"no_credential\"", "");
STATS_COUNTER(refused_role, "telltale_web_access_refused_total", "reason=\"role\"", "");
STATS_COUNTER(refused_site, "telltale_web_access_refused_total", "reason=\"cross_site\"", "");
STATS_COUNTER(refused_rate, "telltale_web_access_refused_total", "reason=\"too_many_failures\"",
              "");

struct failures {
    uint64_t address; /* hash of the peer's address */
    int64_t minute;
    unsigned count;
};

struct web_access {
    /* immutable after open and check_listen */
    struct tsdb *db;
    uint8_t pepper[PEPPER_BYTES];
    bool needs_key[NET_DOOR_COUNT];
    /* changes are made one after another: state first, then memory */
    pthread_mutex_t change_lock;
    /* guarded by lock */
    pthread_rwlock_t lock;
    struct web_access_key_row keys[WEB_ACCESS_KEYS_MAX];
    size_t key_count;
    struct web_access_session_row sessions[WEB_ACCESS_SESSIONS_MAX];
    /* guarded by failures_lock */
    pthread_mutex_t failures_lock;
    struct failures failures[FAILURE_SLOTS];
};

/* --- roles ------------------------------------------------------------------------------------- */

static const char *const role_names[] = {"none", "ingest", "read", "admin"};
static const char role_letters[] = "-ira";

const char *web_access_role_name(enum web_access_role r)
{
    return (size_t)r < ARRAY_LEN(role_names) ? role_names[r] : "none";
}

bool web_access_role_parse(struct bytes name, enum web_access_role *out)
{
    for (size_t i = WEB_ACCESS_INGEST; i < ARRAY_LEN(role_names); i++)
        if (bytes_equal_str(name, role_names[i])) {
            *out = (enum web_access_role)i;
            return true;
        }
    return false;
}

/* --- the pepper -------------------------------------------------------------------------------- */

static enum err pepper_write(const char *path, uint8_t out[PEPPER_BYTES], struct err_msg *msg)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_set(msg, ERR_IO, "%s: %s", path, strerror(errno));
    randombytes_buf(out, PEPPER_BYTES);
    bool ok = write(fd, out, PEPPER_BYTES) == PEPPER_BYTES && fsync(fd) == 0;
    int why = errno;
    if (close(fd) != 0)
        ok = false;
    if (!ok) {
        (void)unlink(path); /* half a pepper must not be found by the next start */
        return err_set(msg, ERR_IO, "%s: %s", path, strerror(why));
    }
    return ERR_OK;
}

/* Keys made with a lost pepper verify nothing, so a missing file is only filled in while there are no keys (web_access_open checks). */
static enum err pepper_load(const char *dir, uint8_t out[PEPPER_BYTES], bool *out_made,
                            struct err_msg *msg)
{
    char folder[4000], path[4096];
    if ((size_t)snprintf(folder, sizeof folder, "%s/keys", dir) >= sizeof folder)
        return err_set(msg, ERR_INVALID, "the data directory's name is too long");
    snprintf(path, sizeof path, "%s/pepper", folder);
    if (mkdir(folder, 0700) != 0 && errno != EEXIST)
        return err_set(msg, ERR_IO, "%s: %s", folder, strerror(errno));
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) {
        *out_made = true;
        return pepper_write(path, out, msg);
    }
    if (fd < 0)
        return err_set(msg, ERR_IO, "%s: %s", path, strerror(errno));
    struct stat st;
    enum err e = ERR_OK;
    if (fstat(fd, &st) == 0 && (st.st_mode & 077) != 0)
        e = err_set(msg, ERR_FORBIDDEN, "%s: others may read this file; run chmod 600 on it", path);
    else if (read(fd, out, PEPPER_BYTES) != PEPPER_BYTES)
        e = err_set(msg, ERR_CORRUPT, "%s: shorter than %d bytes", path, PEPPER_BYTES);
    close(fd);
    *out_made = false;
    return e;
}

static void secret_hash(const struct web_access *a, struct bytes secret,
                        uint8_t out[WEB_ACCESS_HASH_BYTES])
{
    CHECK(crypto_generichash(out, WEB_ACCESS_HASH_BYTES, secret.data, secret.size, a->pepper,
                             PEPPER_BYTES) == 0);
}

static enum err state_write(struct web_access *a, const char *table, uint64_t id,
                            struct bytes value);

/* --- records in the state store ---------------------------------------------------------------- */

static struct bytes id_key(uint64_t id, uint8_t out[8])
{
    bytes_put_u64be(out, id);
    return bytes_of(out, 8);
}

/* Neither is guessed at: a key that is not known would be refused, one that is wrong accepted. */
static enum err unreadable_key(struct err_msg *msg)
{
    const char *newer = tsdb_versions_take_newer();
    return newer ? err_set(msg, ERR_NEWER, "state: %s", newer)
                 : err_set(msg, ERR_CORRUPT, "state: a record of %s cannot be read", KEY_TABLE);
}

static enum err load(struct web_access *a, struct err_msg *msg)
{
    struct arena *arena = arena_new(8 << 20);
    struct tsdb_state_row *rows = NULL;
    size_t n = 0;
    if (!arena)
        return err_set(msg, ERR_NOMEM, "out of memory");
    enum err e =
        tsdb_state_scan(a->db, KEY_TABLE, BYTES_NONE, WEB_ACCESS_KEYS_MAX, arena, &rows, &n);
    if (e == ERR_NOT_FOUND)
        e = ERR_OK, n = 0;
    for (size_t i = 0; e == ERR_OK && i < n; i++)
        if (web_access_key_decode(rows[i].key, rows[i].value, &a->keys[a->key_count++]) != ERR_OK)
            e = unreadable_key(msg);
    if (e == ERR_OK) {
        e = tsdb_state_scan(a->db, SESSION_TABLE, BYTES_NONE, WEB_ACCESS_SESSIONS_MAX, arena, &rows,
                            &n);
        if (e == ERR_NOT_FOUND)
            e = ERR_OK, n = 0;
        size_t kept = 0;
        for (size_t i = 0; e == ERR_OK && i < n; i++) {
            struct web_access_session_row one;
            if (web_access_session_decode(rows[i].key, rows[i].value, &one) == ERR_OK &&
                one.expires_ms > clock_wall_ms())
                a->sessions[kept++] = one;
            else if (rows[i].key.size == 8) /* over: the table keeps no more than there are slots */
                e = state_write(a, SESSION_TABLE, bytes_u64be(rows[i].key.data), BYTES_NONE);
        }
    }
    if (e != ERR_OK && msg && !msg->text[0])
        err_set(msg, e, "state: keys cannot be read: %s", err_text(e));
    arena_free(arena);
    return e;
}

enum err web_access_open(struct tsdb *db, const char *dir, struct web_access **out,
                         struct err_msg *msg)
{
    bool made = false;
    if (sodium_init() < 0)
        return err_set(msg, ERR_INTERNAL, "libsodium does not start");
    struct web_access *a = calloc(1, sizeof *a);
    if (!a)
        return err_set(msg, ERR_NOMEM, "out of memory");
    pthread_rwlock_init(&a->lock, NULL);
    pthread_mutex_init(&a->change_lock, NULL);
    pthread_mutex_init(&a->failures_lock, NULL);
    a->db = db;
    for (int door = 0; door < NET_DOOR_COUNT; door++)
        a->needs_key[door] = true; /* until check_listen knows better */
    enum err e = pepper_load(dir, a->pepper, &made, msg);
    if (e == ERR_OK)
        e = load(a, msg);
    if (e == ERR_OK && made && a->key_count > 0)
        e = err_set(
            msg, ERR_CORRUPT,
            "%s/keys/pepper was missing, so none of the %zu keys can be verified; restore the "
            "file from a backup",
            dir, a->key_count);
    if (e != ERR_OK) {
        if (made) {
            char path[4096];
            snprintf(path, sizeof path, "%s/keys/pepper", dir);
            (void)unlink(path); /* so that the next start says the same */
        }
        web_access_close(a);
        return e;
    }
    *out = a;
    return ERR_OK;
}

void web_access_close(struct web_access *a)
{
    if (!a)
        return;
    pthread_rwlock_destroy(&a->lock);
    pthread_mutex_destroy(&a->change_lock);
    pthread_mutex_destroy(&a->failures_lock);
    sodium_memzero(a, sizeof *a);
    free(a);
}

/* --- which doors need a key -------------------------------------------------------------------- */

bool web_access_address_is_loopback(const char *address)
{
    struct bytes b = bytes_str(address);
    return bytes_has_prefix(b, BYTES_LIT("127.")) || bytes_has_prefix(b, BYTES_LIT("localhost:")) ||
           bytes_has_prefix(b, BYTES_LIT("[::1]:"));
}

enum err web_access_check_listen(struct web_access *a, const char *const addresses[NET_DOOR_COUNT],
                                 struct err_msg *msg)
{
    for (int door = 0; door < NET_DOOR_COUNT; door++)
        a->needs_key[door] = addresses[door] && !web_access_address_is_loopback(addresses[door]);
    for (int door = 0; door < NET_DOOR_COUNT; door++)
        if (a->needs_key[door] && web_access_valid_count(a) == 0)
            return err_set(
                msg, ERR_FORBIDDEN,
                "%s can be reached from other machines and there is no key yet: start once "
                "with --init, which makes an ingest key and an admin key and prints them, "
                "or run `telltale key create`, or listen on 127.0.0.1",
                addresses[door]);
    return ERR_OK;
}

bool web_access_needs_key(const struct web_access *a, enum net_door door)
{
    return a->needs_key[door];
}

/* --- making and revoking keys ------------------------------------------------------------------ */

static enum err state_write(struct web_access *a, const char *table, uint64_t id,
                            struct bytes value)
{
    uint8_t key[8];
    struct tsdb_state_write *w = NULL;
    enum err e = tsdb_state_begin(a->db, &w);
    if (e != ERR_OK)
        return e;
    e = value.data ? tsdb_state_put(w, table, id_key(id, key), value)
                   : tsdb_state_del(w, table, id_key(id, key));
    if (e != ERR_OK) {
        tsdb_state_abort(w);
        return e;
    }
    return tsdb_state_commit(w);
}

static enum err key_write(struct web_access *a, const struct web_access_key_row *k)
{
    struct buf value;
    buf_init(&value, 0);
    web_access_key_encode(k, &value);
    enum err e =
        buf_ok(&value) ? state_write(a, KEY_TABLE, k->pub.id, buf_bytes(&value)) : ERR_NOMEM;
    buf_done(&value);
    return e;
}

static enum err name_check(struct bytes name, struct err_msg *msg)
{
    if (name.size > WEB_ACCESS_NAME_MAX || !bytes_is_utf8(name))
        return err_set(msg, ERR_INVALID, "name: give at most %u bytes of UTF-8",
                       WEB_ACCESS_NAME_MAX);
    for (size_t i = 0; i < name.size; i++)
        if (name.data[i] < 0x20 || name.data[i] == 0x7f)
            return err_set(msg, ERR_INVALID, "name: control characters are not allowed");
    return ERR_OK;
}

enum err web_access_create(struct web_access *a, enum web_access_role role, uint32_t org,
                           struct bytes name, char out_text[WEB_ACCESS_KEY_TEXT_MAX],
                           uint64_t *out_id, struct err_msg *msg)
{
    uint8_t secret[SECRET_BYTES];
    char secret_text[sodium_base64_ENCODED_LEN(SECRET_BYTES,
                                               sodium_base64_VARIANT_URLSAFE_NO_PADDING)];
    struct web_access_key_row k = {0};
    if (role < WEB_ACCESS_INGEST || role > WEB_ACCESS_ADMIN)
        return err_set(msg, ERR_INVALID, "role: give ingest, read or admin");
    enum err e = name_check(name, msg);
    if (e != ERR_OK)
        return e;
    randombytes_buf(secret, sizeof secret);
    sodium_bin2base64(secret_text, sizeof secret_text, secret, sizeof secret,
                      sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    sodium_memzero(secret, sizeof secret);
    k.pub.role = role;
    k.pub.org = org ? org : TSDB_ORG_DEFAULT;
    k.pub.created_ms = clock_wall_ms();
    if (name.size)
        memcpy(k.pub.name, name.data, name.size);
    secret_hash(a, bytes_str(secret_text), k.hash);

    pthread_mutex_lock(&a->change_lock);
    /* creation time first, so that a scan of the table is the order of creation */
    k.pub.id = ((uint64_t)k.pub.created_ms << 20) | randombytes_uniform(1u << 20);
    if (a->key_count == WEB_ACCESS_KEYS_MAX)
        e = err_set(msg, ERR_LIMIT, "there are %u keys already", WEB_ACCESS_KEYS_MAX);
    else
        e = key_write(a, &k);
    if (e == ERR_OK) {
        pthread_rwlock_wrlock(&a->lock);
        a->keys[a->key_count++] = k;
        pthread_rwlock_unlock(&a->lock);
        snprintf(out_text, WEB_ACCESS_KEY_TEXT_MAX, "tt%c_%016llx.%s", role_letters[role],
                 (unsigned long long)k.pub.id, secret_text);
        *out_id = k.pub.id;
    }
    pthread_mutex_unlock(&a->change_lock);
    sodium_memzero(secret_text, sizeof secret_text);
    return e;
}

enum err web_access_revoke(struct web_access *a, uint32_t org, uint64_t id)
{
    enum err e = ERR_NOT_FOUND;
    pthread_mutex_lock(&a->change_lock);
    for (size_t i = 0; i < a->key_count; i++) {
        if (a->keys[i].pub.id != id || (org && a->keys[i].pub.org != org))
            continue;
        struct web_access_key_row k = a->keys[i];
        if (k.pub.revoked_ms) {
            e = ERR_OK;
            break;
        }
        k.pub.revoked_ms = clock_wall_ms();
        e = key_write(a, &k);
        if (e == ERR_OK) {
            pthread_rwlock_wrlock(&a->lock);
            a->keys[i] = k;
            pthread_rwlock_unlock(&a->lock);
        }
        break;
    }
    pthread_mutex_unlock(&a->change_lock);
    return e;
}

size_t web_access_list(struct web_access *a, struct web_access_key *out, size_t max)
{
    pthread_rwlock_rdlock(&a->lock);
    size_t n = a->key_count;
    for (size_t i = 0; i < n && i < max; i++)
        out[i] = a->keys[i].pub;
    pthread_rwlock_unlock(&a->lock);
    return n;
}

size_t web_access_valid_count(struct web_access *a)
{
    size_t valid = 0;
    pthread_rwlock_rdlock(&a->lock);
    for (size_t i = 0; i < a->key_count; i++)
        valid += a->keys[i].pub.revoked_ms == 0;
    pthread_rwlock_unlock(&a->lock);
    return valid;
}

enum err web_access_init(struct web_access *a, const char *endpoint, struct buf *out,
                         struct err_msg *msg)
{
    char ingest[WEB_ACCESS_KEY_TEXT_MAX], admin[WEB_ACCESS_KEY_TEXT_MAX];
    uint64_t id;
    if (web_access_valid_count(a) > 0)
        return ERR_OK;
    enum err e = web_access_create(a, WEB_ACCESS_INGEST, TSDB_ORG_DEFAULT, BYTES_LIT("init"),
                                   ingest, &id, msg);
    if (e == ERR_OK)
        e = web_access_create(a, WEB_ACCESS_ADMIN, TSDB_ORG_DEFAULT, BYTES_LIT("init"), admin, &id,
                              msg);
    if (e != ERR_OK)
        return e;
    buf_printf(out,
               "Two keys were made. They are shown this once; only hashes are stored.\n\n"
               "  ingest key: %s  (for services)\n"
               "  admin key:  %s  (for the page)\n\n"
               "Paste into the environment of a service that sends OpenTelemetry:\n\n"
               "  export OTEL_EXPORTER_OTLP_ENDPOINT=%s\n"
               "  export OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf\n"
               "  export OTEL_EXPORTER_OTLP_HEADERS=\"api-key=%s\"\n\n",
               ingest, admin, endpoint, ingest);
    sodium_memzero(ingest, sizeof ingest);
    sodium_memzero(admin, sizeof admin);
    return ERR_OK;
}

/* --- failures by address ----------------------------------------------------------------------- */

static uint64_t peer_hash(struct bytes peer)
{
    size_t end = peer.size; /* "1.2.3.4:5", "[::1]:5": the port changes with every connection */
    for (size_t i = peer.size; i > 0; i--)
        if (peer.data[i - 1] == ':') {
            end = i - 1;
            break;
        }
    return hash64(bytes_of(peer.data, end), 0);
}

static bool too_many_failures(struct web_access *a, struct bytes peer)
{
    uint64_t h = peer_hash(peer);
    pthread_mutex_lock(&a->failures_lock);
    const struct failures *f = &a->failures[h % FAILURE_SLOTS];
    bool many = f->address == h && f->minute == clock_wall_ms() / 60000 &&
                f->count >= WEB_ACCESS_FAILURES_MAX;
    pthread_mutex_unlock(&a->failures_lock);
    return many;
}

static void count_failure(struct web_access *a, struct bytes peer)
{
    uint64_t h = peer_hash(peer);
    int64_t minute = clock_wall_ms() / 60000;
    pthread_mutex_lock(&a->failures_lock);
    struct failures *f = &a->failures[h % FAILURE_SLOTS];
    if (f->address != h || f->minute != minute)
        *f = (struct failures){h, minute, 0};
    f->count++;
    pthread_mutex_unlock(&a->failures_lock);
}

/* --- verifying --------------------------------------------------------------------------------- */

static bool id_parse(struct bytes hex, uint64_t *out)
{
    uint8_t id[8];
    if (!bytes_from_hex(hex, id, sizeof id))
        return false;
    *out = bytes_u64be(id);
    return true;
}

/* The work is the same for an unknown id, a wrong secret and a right one: hash, then compare. */
static bool key_verify(struct web_access *a, struct bytes text, struct web_access_key *out)
{
    static const uint8_t nothing[WEB_ACCESS_HASH_BYTES];
    uint8_t hash[WEB_ACCESS_HASH_BYTES];
    uint64_t id = 0;
    if (text.size < 4 + ID_HEX + 2 || text.size >= WEB_ACCESS_KEY_TEXT_MAX || text.data[0] != 't' ||
        text.data[1] != 't' || text.data[3] != '_' || text.data[4 + ID_HEX] != '.')
        return false;
    bool formed = id_parse(bytes_slice(text, 4, 4 + ID_HEX), &id);
    secret_hash(a, bytes_slice(text, 5 + ID_HEX, text.size), hash);
    pthread_rwlock_rdlock(&a->lock);
    const struct web_access_key_row *found = NULL;
    for (size_t i = 0; i < a->key_count; i++)
        if (a->keys[i].pub.id == id)
            found = &a->keys[i];
    bool same = sodium_memcmp(hash, found ? found->hash : nothing, WEB_ACCESS_HASH_BYTES) == 0;
    bool ok = formed && found && same && found->pub.revoked_ms == 0 &&
              text.data[2] == (uint8_t)role_letters[found->pub.role];
    if (ok)
        *out = found->pub;
    pthread_rwlock_unlock(&a->lock);
    return ok;
}

static struct bytes cookie_value(struct bytes header)
{
    while (header.size) {
        size_t end = bytes_find(header, BYTES_LIT(";"));
        struct bytes pair = bytes_trim(bytes_slice(header, 0, end));
        if (bytes_has_prefix(pair, BYTES_LIT(COOKIE_NAME "=")))
            return bytes_slice(pair, sizeof COOKIE_NAME, pair.size);
        header = end < header.size ? bytes_slice(header, end + 1, header.size) : BYTES_NONE;
    }
    return BYTES_NONE;
}

/* Finds the session of a cookie's value; index of the slot or -1. Call with the lock held. */
static int session_find(struct web_access *a, struct bytes value)
{
    static const uint8_t nothing[WEB_ACCESS_HASH_BYTES];
    uint8_t hash[WEB_ACCESS_HASH_BYTES];
    uint64_t id = 0;
    int found = -1;
    if (value.size < ID_HEX + 2 || value.size > 128 || value.data[ID_HEX] != '.' ||
        !id_parse(bytes_slice(value, 0, ID_HEX), &id))
        return -1;
    secret_hash(a, bytes_slice(value, ID_HEX + 1, value.size), hash);
    for (size_t i = 0; i < WEB_ACCESS_SESSIONS_MAX; i++)
        if (a->sessions[i].expires_ms > 0 && a->sessions[i].id == id)
            found = (int)i;
    bool same = sodium_memcmp(hash, found >= 0 ? a->sessions[found].hash : nothing,
                              WEB_ACCESS_HASH_BYTES) == 0;
    return same && found >= 0 && a->sessions[found].expires_ms > clock_wall_ms() ? found : -1;
}

static bool session_verify(struct web_access *a, struct bytes cookie, struct web_access_key *out)
{
    struct bytes value = cookie_value(cookie);
    bool ok = false;
    if (!value.size)
        return false;
    pthread_rwlock_rdlock(&a->lock);
    int at = session_find(a, value);
    for (size_t i = 0; at >= 0 && i < a->key_count; i++)
        if (a->keys[i].pub.id == a->sessions[at].key_id && a->keys[i].pub.revoked_ms == 0) {
            *out = a->keys[i].pub;
            ok = true;
        }
    pthread_rwlock_unlock(&a->lock);
    return ok;
}

/* The credential of the headers as a key's text: Bearer, Basic's password, api-key. scratch holds a decoded Basic. */
static struct bytes credential_of(const struct web_access_ask *ask, uint8_t scratch[256])
{
    struct bytes auth = bytes_trim(ask->authorization);
    if (ask->api_key.size)
        return bytes_trim(ask->api_key);
    if (auth.size > 7 && bytes_equal_nocase(bytes_slice(auth, 0, 7), BYTES_LIT("Bearer ")))
        return bytes_trim(bytes_slice(auth, 7, auth.size));
    if (auth.size > 6 && bytes_equal_nocase(bytes_slice(auth, 0, 6), BYTES_LIT("Basic "))) {
        size_t size = 0;
        struct bytes text = bytes_trim(bytes_slice(auth, 6, auth.size));
        if (sodium_base642bin(scratch, 256, (const char *)text.data, text.size, NULL, &size, NULL,
                              sodium_base64_VARIANT_ORIGINAL) != 0)
            return text; /* a credential all the same, and a wrong one */
        struct bytes pair = bytes_of(scratch, size);
        size_t colon = bytes_find(pair, BYTES_LIT(":"));
        return colon < pair.size ? bytes_slice(pair, colon + 1, pair.size) : pair;
    }
    return auth;
}

bool web_access_same_site(struct bytes origin, struct bytes host, struct bytes fetch_site)
{
    if (fetch_site.size)
        return bytes_equal_str(fetch_site, "same-origin") || bytes_equal_str(fetch_site, "none");
    if (!origin.size)
        return true; /* not a browser, or one that sends Sec-Fetch-Site */
    size_t scheme = bytes_find(origin, BYTES_LIT("://"));
    return scheme < origin.size &&
           bytes_equal_nocase(bytes_slice(origin, scheme + 3, origin.size), host);
}

static bool is_write(struct bytes method)
{
    return !bytes_equal_str(method, "GET") && !bytes_equal_str(method, "HEAD");
}

/* Questions that are sent by POST because they are long. They change nothing. */
static bool is_question(struct bytes path)
{
    static const char *const paths[] = {
        "/api/v1/query",       "/api/v1/query_range",  "/api/v1/series",
        "/api/v1/labels",      "/api/v1/format_query", "/api/v1/query_exemplars",
        "/api/v1/parse_query", "/api/v1/read",         "/api/telltale/v1/slos/backtest"};
    for (size_t i = 0; i < ARRAY_LEN(paths); i++)
        if (bytes_equal_str(path, paths[i]))
            return true;
    return false;
}

static bool role_allows(enum web_access_role role, const struct web_access_ask *ask)
{
    bool ingest = ask->door != NET_WEB || bytes_equal_str(ask->path, "/api/v1/write") ||
                  bytes_equal_str(ask->path, "/api/v1/otlp/v1/metrics");
    if (role == WEB_ACCESS_ADMIN)
        return true;
    if (bytes_equal_str(ask->path, "/api/telltale/v1/feedback") ||
        (bytes_equal_str(ask->path, "/api/telltale/v1/events") && is_write(ask->method)))
        return role == WEB_ACCESS_INGEST; /* sent by what sends telemetry */
    if (ingest)
        return role == WEB_ACCESS_INGEST;
    if (role != WEB_ACCESS_READ)
        return false;
    return !bytes_has_prefix(ask->path, BYTES_LIT("/api/telltale/v1/keys")) &&
           (!is_write(ask->method) || is_question(ask->path));
}

static bool refuse(struct net_refusal *r, struct stats_value *counter, enum err code,
                   const char *sentence)
{
    stats_add(counter, 1);
    *r = (struct net_refusal){.code = code};
    err_set(&r->msg, code, "%s", sentence);
    if (code == ERR_UNAUTHENTICATED)
        r->www_authenticate = "Bearer realm=\"telltale\"";
    return false;
}

bool web_access_decide(struct web_access *a, const struct web_access_ask *ask,
                       struct net_access *out, struct net_refusal *refusal)
{
    uint8_t scratch[256];
    struct web_access_key key = {0};
    bool open = !a->needs_key[ask->door];
    struct bytes credential = credential_of(ask, scratch);
    if (ask->door == NET_WEB && is_write(ask->method) &&
        !web_access_same_site(ask->origin, ask->host, ask->fetch_site))
        return refuse(refusal, &refused_site, ERR_FORBIDDEN,
                      "this request was sent by a page of another site");
    bool known = false;
    if (credential.size && !open && too_many_failures(a, ask->peer)) {
        refuse(refusal, &refused_rate, ERR_LIMIT,
               "too many unknown credentials came from this address; wait a minute");
        refusal->retry_after_s = 60;
        return false;
    }
    if (credential.size)
        known = key_verify(a, credential, &key);
    else
        known = session_verify(a, ask->cookie, &key);
    sodium_memzero(scratch, sizeof scratch);
    if (!known && open) { /* senders often carry a credential meant for another place */
        *out = (struct net_access){.org = TSDB_ORG_DEFAULT, .role = WEB_ACCESS_ADMIN};
        return true;
    }
    if (!known && credential.size) {
        count_failure(a, ask->peer);
        return refuse(
            refusal, &refused_unknown, ERR_UNAUTHENTICATED,
            "this key is unknown or was revoked; `telltale key list` shows the valid ones");
    }
    if (!known)
        return refuse(
            refusal, &refused_missing, ERR_UNAUTHENTICATED,
            "a key is needed here: send it as `Authorization: Bearer KEY` or `api-key: KEY`");
    if (!role_allows(key.role, ask))
        return refuse(refusal, &refused_role, ERR_FORBIDDEN,
                      key.role == WEB_ACCESS_INGEST
                          ? "an ingest key may send telemetry and do nothing else"
                          : "this needs an admin key");
    *out = (struct net_access){.org = key.org, .role = key.role, .key_id = key.id};
    return true;
}

bool web_access_authorise(void *ctx, struct net_request *req, struct net_access *out,
                          struct net_refusal *refusal)
{
    struct web_access_ask ask = {
        .door = net_request_door(req),
        .method = net_request_method(req),
        .path = net_request_path(req),
        .peer = bytes_str(net_request_peer(req)),
        .authorization = net_request_header(req, "authorization"),
        .api_key = net_request_header(req, "api-key"),
        .cookie = net_request_header(req, "cookie"),
        .origin = net_request_header(req, "origin"),
        .host = net_request_header(req, "host"),
        .fetch_site = net_request_header(req, "sec-fetch-site"),
        .loopback = net_request_is_loopback(req),
    };
    if (!ask.api_key.size)
        ask.api_key = net_request_header(req, "x-api-key");
    return web_access_decide(ctx, &ask, out, refusal);
}

/* --- sessions ---------------------------------------------------------------------------------- */

static enum err session_write(struct web_access *a, const struct web_access_session_row *s)
{
    struct buf value;
    buf_init(&value, 0);
    web_access_session_encode(s, &value);
    enum err e =
        buf_ok(&value) ? state_write(a, SESSION_TABLE, s->id, buf_bytes(&value)) : ERR_NOMEM;
    buf_done(&value);
    return e;
}

/* A free slot, else that of the session that ends first: whoever logs in now is more likely to be there. */
static size_t session_slot(const struct web_access *a)
{
    size_t best = 0;
    for (size_t i = 0; i < WEB_ACCESS_SESSIONS_MAX; i++)
        if (a->sessions[i].expires_ms < a->sessions[best].expires_ms)
            best = i;
    return best;
}

enum err web_access_login(struct web_access *a, struct bytes key, struct bytes peer, bool tls,
                          char out_cookie[256], struct err_msg *msg)
{
    struct web_access_key k;
    uint8_t secret[SECRET_BYTES];
    char text[sodium_base64_ENCODED_LEN(SECRET_BYTES, sodium_base64_VARIANT_URLSAFE_NO_PADDING)];
    if (too_many_failures(a, peer))
        return err_set(msg, ERR_LIMIT,
                       "too many unknown credentials came from this address; wait a minute");
    if (!key_verify(a, bytes_trim(key), &k)) {
        stats_add(&refused_unknown, 1);
        count_failure(a, peer);
        return err_set(msg, ERR_UNAUTHENTICATED, "this key is unknown or was revoked");
    }
    if (k.role == WEB_ACCESS_INGEST)
        return err_set(
            msg, ERR_FORBIDDEN,
            "this is an ingest key: services send with it; the page needs a read or admin "
            "key");
    struct web_access_session_row s = {.key_id = k.id,
                                       .expires_ms = clock_wall_ms() + WEB_ACCESS_SESSION_MS};
    randombytes_buf(secret, sizeof secret);
    randombytes_buf(&s.id, sizeof s.id);
    sodium_bin2base64(text, sizeof text, secret, sizeof secret,
                      sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    secret_hash(a, bytes_str(text), s.hash);

    pthread_mutex_lock(&a->change_lock);
    size_t slot = session_slot(a);
    struct web_access_session_row old = a->sessions[slot];
    enum err e = session_write(a, &s);
    if (e == ERR_OK && old.expires_ms)
        e = state_write(a, SESSION_TABLE, old.id, BYTES_NONE);
    if (e == ERR_OK) {
        pthread_rwlock_wrlock(&a->lock);
        a->sessions[slot] = s;
        pthread_rwlock_unlock(&a->lock);
        snprintf(out_cookie, 256,
                 COOKIE_NAME "=%016llx.%s; Path=/; HttpOnly; SameSite=Strict; Max-Age=%lld%s",
                 (unsigned long long)s.id, text, (long long)(WEB_ACCESS_SESSION_MS / 1000),
                 tls ? "; Secure" : "");
    } else {
        err_set(msg, e, "the session could not be stored: %s", err_text(e));
    }
    pthread_mutex_unlock(&a->change_lock);
    sodium_memzero(text, sizeof text);
    sodium_memzero(secret, sizeof secret);
    return e;
}

enum err web_access_logout(struct web_access *a, struct bytes cookie, bool tls,
                           char out_cookie[256])
{
    enum err e = ERR_OK;
    snprintf(out_cookie, 256, COOKIE_NAME "=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0%s",
             tls ? "; Secure" : "");
    pthread_mutex_lock(&a->change_lock);
    pthread_rwlock_wrlock(&a->lock);
    int at = session_find(a, cookie_value(cookie));
    uint64_t id = at >= 0 ? a->sessions[at].id : 0;
    if (at >= 0)
        a->sessions[at] = (struct web_access_session_row){0};
    pthread_rwlock_unlock(&a->lock);
    if (at >= 0)
        e = state_write(a, SESSION_TABLE, id, BYTES_NONE);
    pthread_mutex_unlock(&a->change_lock);
    return e;
}
