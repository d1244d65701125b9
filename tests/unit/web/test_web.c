/* The web door over real sockets with a store in memory: keys and sessions, who may do what, the shapes of answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/http_client.h"
#include "base/json_in.h"
#include "query/query_trace.h"
#include "tsdb/tsdb_backup.h"
#include "tsdb/tsdb_erase.h"
#include "tsdb/tsdb_ledger.h"
#include "tsdb/tsdb_quarantine.h"
#include "web/web.h"

/* --- the store ---------------------------------------------------------------------------------- */

#define ROWS_MAX 256

struct row {
    char table[32];
    uint8_t key[64], value[512];
    size_t key_size, value_size; /* value_size 0 = free */
};

struct tsdb {
    struct row rows[ROWS_MAX];
    bool fail; /* every write fails */
    unsigned flushes, compactions;
    struct tsdb_batch *spans; /* what a trace search finds */
    struct tsdb_registry *series;
    struct tsdb_erase_ask erase; /* the last wish */
    char erase_value[64];
};
static struct tsdb fake;

struct tsdb_state_write {
    int unused;
};
static struct tsdb_state_write the_write;

static struct row *row_at(const char *table, struct bytes key)
{
    for (size_t i = 0; i < ROWS_MAX; i++)
        if (fake.rows[i].value_size && strcmp(fake.rows[i].table, table) == 0 &&
            bytes_equal(bytes_of(fake.rows[i].key, fake.rows[i].key_size), key))
            return &fake.rows[i];
    return NULL;
}

enum err tsdb_state_begin(struct tsdb *db, struct tsdb_state_write **out)
{
    *out = &the_write;
    return db->fail ? ERR_IO : ERR_OK;
}

enum err tsdb_state_put(struct tsdb_state_write *w, const char *table, struct bytes key,
                        struct bytes value)
{
    struct row *r = row_at(table, key);
    for (size_t i = 0; !r && i < ROWS_MAX; i++)
        if (!fake.rows[i].value_size)
            r = &fake.rows[i];
    assert_non_null(r);
    assert_true(key.size <= sizeof r->key && value.size <= sizeof r->value);
    snprintf(r->table, sizeof r->table, "%s", table);
    memcpy(r->key, key.data, r->key_size = key.size);
    memcpy(r->value, value.data, r->value_size = value.size);
    return ERR_OK;
}

enum err tsdb_state_del(struct tsdb_state_write *w, const char *table, struct bytes key)
{
    struct row *r = row_at(table, key);
    if (r)
        r->value_size = 0;
    return ERR_OK;
}

enum err tsdb_state_read(struct tsdb_state_write *w, const char *table, struct bytes key,
                         struct bytes *out)
{
    struct row *r = row_at(table, key);
    if (r)
        *out = bytes_of(r->value, r->value_size);
    return r ? ERR_OK : ERR_NOT_FOUND;
}

enum err tsdb_state_commit(struct tsdb_state_write *w)
{
    return ERR_OK;
}

void tsdb_state_abort(struct tsdb_state_write *w)
{
}

enum err tsdb_state_get(struct tsdb *db, const char *table, struct bytes key, struct arena *a,
                        struct bytes *out)
{
    return ERR_NOT_FOUND;
}

enum err tsdb_state_scan(struct tsdb *db, const char *table, struct bytes prefix, size_t max,
                         struct arena *a, struct tsdb_state_row **out, size_t *out_count)
{
    size_t n = 0;
    *out = ARENA_ARRAY(a, struct tsdb_state_row, ROWS_MAX);
    for (size_t i = 0; i < ROWS_MAX && n < max; i++)
        if (db->rows[i].value_size && strcmp(db->rows[i].table, table) == 0)
            (*out)[n++] =
                (struct tsdb_state_row){bytes_of(db->rows[i].key, db->rows[i].key_size),
                                        bytes_of(db->rows[i].value, db->rows[i].value_size)};
    *out_count = n;
    return ERR_OK;
}

struct tsdb_view {
    uint32_t org;
};
static struct tsdb_view the_view;

enum err tsdb_view_open(struct tsdb *db, uint32_t org, const struct tsdb_read_limits *limits,
                        struct tsdb_view **out)
{
    the_view.org = org;
    *out = &the_view;
    return ERR_OK;
}

void tsdb_view_close(struct tsdb_view *v)
{
}

enum err tsdb_trace(struct tsdb_view *v, struct tsdb_id16 id, struct arena *a,
                    struct tsdb_spans *out)
{
    if (!fake.spans || v->org != TSDB_ORG_DEFAULT ||
        memcmp(fake.spans->spans.trace_id[0].b, id.b, 16) != 0)
        return ERR_NOT_FOUND;
    *out = fake.spans->spans;
    return ERR_OK;
}

static bool has_attrs(const struct tsdb_spans *t, uint32_t row, const struct tsdb_row_filter *f)
{
    struct tsdb_value value;
    for (uint32_t i = 0; f && i < f->attr_count; i++)
        if (!tsdb_attrs_find(t->attrs[row], f->attrs[i].key, &value) ||
            !tsdb_attrs_value_is(value, f->attrs[i].value))
            return false;
    return true;
}

enum err tsdb_span_scan(struct tsdb_view *v, const struct tsdb_span_filter *f, uint32_t max,
                        struct arena *a, struct tsdb_spans *out)
{
    const struct tsdb_spans *all = &fake.spans->spans;
    *out = *all;
    out->count = 0;
    for (uint32_t i = 0; i < all->count && !out->count; i++) {
        int64_t took = all->end_ns[i] - all->start_ns[i];
        if ((f->service.size && !bytes_equal(f->service, all->service[i])) ||
            (f->name.size && !bytes_equal(f->name, all->name[i])) || took < f->duration_min_ns ||
            (f->duration_max_ns && took > f->duration_max_ns) || !has_attrs(all, i, f->more) ||
            !f->keep(f->ctx, all, i))
            continue;
        out->count = 1; /* the one trace there is: its first row stands for it */
    }
    return ERR_OK;
}

enum err tsdb_log_scan(struct tsdb_view *v, const struct tsdb_log_filter *f, uint32_t max,
                       struct arena *a, struct tsdb_logs *out)
{
    *out = (struct tsdb_logs){0};
    return ERR_OK;
}

enum err tsdb_spans_visit(struct tsdb_view *v, struct tsdb_visit *q)
{
    return ERR_OK;
}

enum err tsdb_logs_visit(struct tsdb_view *v, struct tsdb_visit *q)
{
    return ERR_OK;
}

static enum err one_name(struct arena *a, const char *name, struct bytes **out, size_t *out_count)
{
    *out = ARENA_ARRAY(a, struct bytes, 1);
    (*out)[0] = bytes_str(name);
    *out_count = 1;
    return ERR_OK;
}

enum err tsdb_services(struct tsdb_view *v, struct arena *a, struct bytes **out, size_t *out_count)
{
    return one_name(a, "checkout", out, out_count);
}

enum err tsdb_span_names(struct tsdb_view *v, struct bytes service, struct arena *a,
                         struct bytes **out, size_t *out_count)
{
    return one_name(a, "POST /chat", out, out_count);
}

enum err tsdb_count(struct tsdb *db, uint32_t org, enum tsdb_signal signal, uint64_t *out)
{
    *out = signal == TSDB_SPANS ? 42 : 0;
    return ERR_OK;
}

/* Jobs: what was asked for is told back. */
enum err tsdb_backup_make_dir(const char *path, struct err_msg *msg)
{
    return ERR_OK;
}

enum err tsdb_backup_run(struct tsdb *db, const char *target, const struct tsdb_backup_sink *sink,
                         struct tsdb_backup_report *out, struct err_msg *msg)
{
    return ERR_OK;
}

enum err tsdb_erase(struct tsdb *db, const struct tsdb_erase_ask *a, uint64_t *out_id,
                    struct err_msg *msg)
{
    fake.erase = *a;
    fake.erase_value[0] = 0;
    if (a->value.size && a->value.size < sizeof(fake.erase_value)) {
        memcpy(fake.erase_value, a->value.data, a->value.size);
        fake.erase_value[a->value.size] = 0;
    }
    *out_id = 5;
    return ERR_OK;
}

enum err tsdb_erase_jobs(struct tsdb *db, uint32_t org, uint64_t id, struct arena *a,
                         struct tsdb_erase_job **out, size_t *out_count)
{
    *out = ARENA_ARRAY(a, struct tsdb_erase_job, 1);
    **out = (struct tsdb_erase_job){.id = 5,
                                    .org = org,
                                    .kind = TSDB_ERASE_USER,
                                    .phase = TSDB_ERASE_REWRITING,
                                    .erased = {.spans = 12}};
    *out_count = id == 0 || id == 5;
    return ERR_OK;
}

enum err tsdb_flush(struct tsdb *db, bool compact, struct err_msg *msg)
{
    db->flushes++;
    db->compactions += compact;
    return ERR_OK;
}

enum err tsdb_view_fork(struct tsdb_view *v, struct tsdb_view **out)
{
    return ERR_NOMEM;
}

void tsdb_view_join(struct tsdb_view *v, struct tsdb_view *take_fork)
{
    fail();
}

uint64_t tsdb_view_blocks_opened(const struct tsdb_view *v)
{
    return 0;
}

bool tsdb_view_moment(const struct tsdb_view *v, struct tsdb_moment *out)
{
    return false;
}

enum err tsdb_view_changes(const struct tsdb_view *v, const struct tsdb_moment *then,
                           unsigned made_of, struct arena *a, struct tsdb_stretch **out,
                           size_t *out_count)
{
    return ERR_LIMIT;
}

struct arena_budget *tsdb_query_budget(struct tsdb *db)
{
    return NULL;
}

struct tsdb_registry *tsdb_series(struct tsdb *db)
{
    return db->series;
}

size_t tsdb_accounts(struct tsdb *db, struct tsdb_account *out, size_t max)
{
    assert_true(max >= 2);
    out[0] = (struct tsdb_account){
        .org = TSDB_ORG_DEFAULT, .signal = TSDB_SPANS, .received = 10, .stored = 7, .duplicate = 1};
    out[0].rejected[TSDB_REJECT_TOO_OLD] = 2;
    out[1] = (struct tsdb_account){.org = 77, .signal = TSDB_LOGS, .received = 5, .stored = 5};
    return 2;
}

/* No ledger behind it: every answer is empty. */
enum err tsdb_ledger_ask(struct tsdb *db, const struct tsdb_ledger_question *q, struct arena *a,
                         struct tsdb_ledger_answer *out)
{
    *out = (struct tsdb_ledger_answer){.from_ms = q->from_ms, .to_ms = q->to_ms};
    return ERR_OK;
}

/* Events that are told are not kept. */
enum err tsdb_append_wait(struct tsdb *db, struct tsdb_batch *take_batch, struct tsdb_result *out)
{
    *out = (struct tsdb_result){0};
    tsdb_batch_free(take_batch);
    return ERR_OK;
}

void tsdb_ledger_status_get(struct tsdb *db, struct tsdb_ledger_status *out)
{
    *out = (struct tsdb_ledger_status){0};
}

enum err tsdb_ledger_follow(struct tsdb *db, uint32_t org, uint32_t dims, int64_t from_ms,
                            const struct tsdb_ledger_follower *f)
{
    return ERR_OK;
}

size_t tsdb_quarantine_list(struct tsdb *db, uint32_t org, bool every_org,
                            struct tsdb_quarantined *out, size_t max)
{
    assert_false(every_org);
    assert_true(max >= 1);
    out[0] = (struct tsdb_quarantined){.day = 20412,
                                       .class = "rows",
                                       .org = org,
                                       .kind = 5,
                                       .generation = 3,
                                       .rows = 8192,
                                       .found_ms = 12,
                                       .what = "its checksum is wrong"};
    return 1;
}

size_t tsdb_view_damage(const struct tsdb_view *v, struct tsdb_damage *out, size_t max)
{
    return 0;
}

void tsdb_damage_text(const struct tsdb_damage *d, char out[TSDB_DAMAGE_TEXT_MAX])
{
    fail();
}

void tsdb_status_get(struct tsdb *db, struct tsdb_status *out)
{
    *out = (struct tsdb_status){.parts_count = 3};
}

uint64_t tsdb_view_seq(const struct tsdb_view *v)
{
    return 1;
}

bool tsdb_view_holds(const struct tsdb_view *v, uint64_t since_seq)
{
    return true;
}

uint64_t tsdb_committed_seq(const struct tsdb *db)
{
    return 1;
}

enum err tsdb_freshness_read(struct tsdb_view *v, struct arena *a, struct tsdb_freshness **out,
                             size_t *out_count)
{
    *out_count = 0;
    return ERR_OK;
}

enum err tsdb_label_values(struct tsdb_view *v, struct bytes name, const struct tsdb_matcher *m,
                           size_t n, int64_t min_ms, int64_t max_ms, struct arena *a,
                           struct bytes **out, size_t *out_count)
{
    *out_count = 0;
    return ERR_OK;
}

enum err tsdb_cells_sum(struct tsdb_view *v, const struct tsdb_matcher *m, size_t n, uint32_t from,
                        uint32_t to, int64_t *out)
{
    *out = 0;
    return ERR_OK;
}

enum err tsdb_cells_minutes(struct tsdb_view *v, const struct tsdb_matcher *m, size_t n,
                            uint32_t from, uint32_t to, int64_t *out)
{
    return ERR_OK;
}

enum err tsdb_cells_walk(struct tsdb_view *v, uint32_t from, uint32_t to,
                         const struct tsdb_cells_walk *w)
{
    return ERR_OK;
}

enum err tsdb_cells_hist(struct tsdb_view *v, const struct tsdb_matcher *m, size_t n, uint32_t from,
                         uint32_t to, struct arena *a, struct tsdb_hist *out)
{
    *out = (struct tsdb_hist){0};
    return ERR_OK;
}

enum err tsdb_cells_by(struct tsdb_view *v, const struct tsdb_matcher *m, size_t n,
                       struct bytes label, uint32_t from, uint32_t to, struct arena *a,
                       struct tsdb_cells_group **out, size_t *out_count)
{
    *out_count = 0;
    return ERR_OK;
}

enum err tsdb_cells_changed(struct tsdb_view *v, uint64_t since, uint32_t *from, uint32_t *to,
                            uint64_t *seq)
{
    return ERR_UNIMPLEMENTED;
}

enum err tsdb_select(struct tsdb_view *v, const struct tsdb_matcher *m, size_t n, int64_t min_ms,
                     int64_t max_ms, struct arena *a, struct tsdb_series **out, size_t *out_count)
{
    *out_count = 0;
    return ERR_OK;
}

enum err tsdb_points_read(struct tsdb_view *v, const struct tsdb_series *s, int64_t min_ms,
                          int64_t max_ms, struct arena *a, struct tsdb_points *out)
{
    return ERR_UNIMPLEMENTED;
}

/* --- a directory and an access ------------------------------------------------------------------- */

struct fixture {
    char dir[64];
    struct web_access *access;
};

static int open_access(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct err_msg msg = {{0}};
    memset(&fake, 0, sizeof fake);
    snprintf(f->dir, sizeof f->dir, "/tmp/telltale-web-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    assert_int_equal(web_access_open(&fake, f->dir, &f->access, &msg), ERR_OK);
    *state = f;
    return 0;
}

static int close_access(void **state)
{
    struct fixture *f = *state;
    char path[128];
    web_access_close(f->access);
    snprintf(path, sizeof path, "%s/keys/pepper", f->dir);
    (void)unlink(path);
    snprintf(path, sizeof path, "%s/keys", f->dir);
    (void)rmdir(path);
    (void)rmdir(f->dir);
    free(f);
    clock_test_set_wall(NULL);
    return 0;
}

static const char *const everywhere[NET_DOOR_COUNT] = {"0.0.0.0:4317", "0.0.0.0:4318",
                                                       "0.0.0.0:4320"};
static const char *const here[NET_DOOR_COUNT] = {"127.0.0.1:4317", "[::1]:4318", "localhost:4320"};

static bool decide(struct web_access *a, enum net_door door, const char *method, const char *path,
                   const char *bearer, struct net_access *out, struct net_refusal *refusal)
{
    char header[160];
    snprintf(header, sizeof header, "Bearer %s", bearer ? bearer : "");
    struct web_access_ask ask = {.door = door,
                                 .method = bytes_str(method),
                                 .path = bytes_str(path),
                                 .peer = BYTES_LIT("10.0.0.7:5555"),
                                 .authorization = bearer ? bytes_str(header) : BYTES_NONE,
                                 .host = BYTES_LIT("telltale:4320")};
    return web_access_decide(a, &ask, out, refusal);
}

static void make(struct web_access *a, enum web_access_role role,
                 char text[WEB_ACCESS_KEY_TEXT_MAX], uint64_t *id)
{
    struct err_msg msg;
    assert_int_equal(web_access_create(a, role, 0, BYTES_LIT("test"), text, id, &msg), ERR_OK);
}

static void the_state_holds_hashes_only(void **state)
{
    struct fixture *f = *state;
    char text[WEB_ACCESS_KEY_TEXT_MAX], cookie[256], path[128];
    uint64_t id;
    struct err_msg msg;
    struct stat st;
    make(f->access, WEB_ACCESS_ADMIN, text, &id);
    assert_int_equal(
        web_access_login(f->access, bytes_str(text), BYTES_LIT("10.0.0.1:1"), true, cookie, &msg),
        ERR_OK);
    const char *secret = strchr(text, '.') + 1, *session = strchr(strchr(cookie, '='), '.') + 1;
    assert_true(strlen(secret) >= 32);
    for (size_t i = 0; i < ROWS_MAX; i++) {
        struct bytes v = bytes_of(fake.rows[i].value, fake.rows[i].value_size);
        assert_int_equal(bytes_find(v, bytes_of(secret, 12)), v.size);
        assert_int_equal(bytes_find(v, bytes_of(session, 12)), v.size);
    }
    snprintf(path, sizeof path, "%s/keys/pepper", f->dir);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_non_null(strstr(cookie, "HttpOnly"));
    assert_non_null(strstr(cookie, "SameSite=Strict"));
    assert_non_null(strstr(cookie, "Secure"));
}

static void keys_and_sessions_outlive_a_restart_but_not_a_lost_pepper(void **state)
{
    struct fixture *f = *state;
    char text[WEB_ACCESS_KEY_TEXT_MAX], cookie[256], path[128];
    uint64_t id;
    struct err_msg msg = {{0}};
    struct net_access access;
    struct net_refusal refusal;
    make(f->access, WEB_ACCESS_READ, text, &id);
    assert_int_equal(
        web_access_login(f->access, bytes_str(text), BYTES_LIT("10.0.0.1:1"), false, cookie, &msg),
        ERR_OK);
    web_access_close(f->access);
    assert_int_equal(web_access_open(&fake, f->dir, &f->access, &msg), ERR_OK);
    assert_true(
        decide(f->access, NET_WEB, "GET", "/api/telltale/v1/oncall", text, &access, &refusal));
    assert_int_equal(access.role, WEB_ACCESS_READ);
    assert_int_equal(access.key_id, id);
    struct web_access_ask ask = {.door = NET_WEB,
                                 .method = BYTES_LIT("GET"),
                                 .path = BYTES_LIT("/metrics"),
                                 .peer = BYTES_LIT("10.0.0.1:2")};
    char *end = strchr(cookie, ';');
    ask.cookie = bytes_of(cookie, (size_t)(end - cookie));
    assert_true(web_access_decide(f->access, &ask, &access, &refusal));
    web_access_close(f->access);
    snprintf(path, sizeof path, "%s/keys/pepper", f->dir);
    assert_int_equal(unlink(path), 0);
    f->access = NULL;
    assert_int_equal(web_access_open(&fake, f->dir, &f->access, &msg), ERR_CORRUPT);
    assert_non_null(strstr(msg.text, "pepper"));
    assert_null(f->access);
}

static void a_door_to_the_world_needs_a_key_first(void **state)
{
    struct fixture *f = *state;
    struct err_msg msg = {{0}};
    struct buf out;
    struct net_access access;
    struct net_refusal refusal;
    buf_init(&out, 0);
    assert_int_equal(web_access_check_listen(f->access, everywhere, &msg), ERR_FORBIDDEN);
    assert_non_null(strstr(msg.text, "--init"));
    assert_int_equal(web_access_check_listen(f->access, here, &msg), ERR_OK);
    assert_true(decide(f->access, NET_WEB, "POST", "/api/telltale/v1/admin/flush", NULL, &access,
                       &refusal));
    assert_int_equal(access.org, TSDB_ORG_DEFAULT);
    assert_int_equal(web_access_init(f->access, "http://box:4318", &out, &msg), ERR_OK);
    struct bytes said = buf_bytes(&out);
    assert_true(bytes_find(said, BYTES_LIT("tti_")) < said.size &&
                bytes_find(said, BYTES_LIT("tta_")) < said.size);
    assert_true(bytes_find(said, BYTES_LIT("OTEL_EXPORTER_OTLP_ENDPOINT=http://box:4318")) <
                said.size);
    size_t before = out.size;
    assert_int_equal(web_access_init(f->access, "http://box:4318", &out, &msg), ERR_OK);
    assert_int_equal(out.size, before); /* once */
    assert_int_equal(web_access_check_listen(f->access, everywhere, &msg), ERR_OK);
    assert_false(
        decide(f->access, NET_WEB, "GET", "/api/telltale/v1/oncall", NULL, &access, &refusal));
    assert_int_equal(refusal.code, ERR_UNAUTHENTICATED);
    buf_done(&out);
}

static void each_role_opens_its_doors_and_no_other(void **state)
{
    static const struct {
        enum net_door door;
        const char *method, *path;
        bool ingest, read, admin;
    } rules[] = {
        {NET_OTLP_HTTP, "POST", "/v1/traces", true, false, true},
        {NET_OTLP_GRPC, "POST", "/opentelemetry.proto.collector.trace.v1.TraceService/Export", true,
         false, true},
        {NET_WEB, "POST", "/api/v1/write", true, false, true},
        {NET_WEB, "GET", "/api/telltale/v1/oncall", false, true, true},
        {NET_WEB, "POST", "/api/v1/query_range", false, true, true},
        {NET_WEB, "GET", "/metrics", false, true, true},
        {NET_WEB, "POST", "/api/telltale/v1/admin/flush", false, false, true},
        {NET_WEB, "GET", "/api/telltale/v1/keys", false, false, true},
        {NET_WEB, "DELETE", "/api/telltale/v1/keys/0011223344556677", false, false, true},
        {NET_WEB, "POST", "/api/telltale/v1/outbox/3/retry", false, false, true},
    };
    struct fixture *f = *state;
    char text[3][WEB_ACCESS_KEY_TEXT_MAX];
    uint64_t id;
    struct err_msg msg;
    struct net_access access;
    struct net_refusal refusal;
    for (int r = 0; r < 3; r++)
        make(f->access, (enum web_access_role)(WEB_ACCESS_INGEST + r), text[r], &id);
    assert_int_equal(web_access_check_listen(f->access, everywhere, &msg), ERR_OK);
    for (size_t i = 0; i < ARRAY_LEN(rules); i++)
        for (int r = 0; r < 3; r++) {
            bool may = r == 0 ? rules[i].ingest : r == 1 ? rules[i].read : rules[i].admin;
            bool is = decide(f->access, rules[i].door, rules[i].method, rules[i].path, text[r],
                             &access, &refusal);
            if (is != may)
                fail_msg("%s %s as %s", rules[i].method, rules[i].path,
                         web_access_role_name((enum web_access_role)(WEB_ACCESS_INGEST + r)));
            if (!is)
                assert_int_equal(refusal.code, ERR_FORBIDDEN);
        }
}

static void a_revoked_key_and_its_session_are_refused_at_once(void **state)
{
    struct fixture *f = *state;
    char text[WEB_ACCESS_KEY_TEXT_MAX], cookie[256];
    uint64_t id;
    struct err_msg msg;
    struct net_access access;
    struct net_refusal refusal;
    struct web_access_key keys[2];
    make(f->access, WEB_ACCESS_ADMIN, text, &id);
    assert_int_equal(web_access_check_listen(f->access, everywhere, &msg), ERR_OK);
    assert_int_equal(
        web_access_login(f->access, bytes_str(text), BYTES_LIT("10.0.0.1:1"), false, cookie, &msg),
        ERR_OK);
    struct web_access_ask ask = {.door = NET_WEB,
                                 .method = BYTES_LIT("GET"),
                                 .path = BYTES_LIT("/metrics"),
                                 .cookie = bytes_str(cookie)};
    assert_true(web_access_decide(f->access, &ask, &access, &refusal));
    fake.fail = true; /* what could not be stored has not happened */
    assert_int_equal(web_access_revoke(f->access, 0, id), ERR_IO);
    assert_true(decide(f->access, NET_WEB, "GET", "/metrics", text, &access, &refusal));
    fake.fail = false;
    assert_int_equal(web_access_revoke(f->access, 0, id), ERR_OK);
    assert_false(decide(f->access, NET_WEB, "GET", "/metrics", text, &access, &refusal));
    assert_false(web_access_decide(f->access, &ask, &access, &refusal));
    assert_int_equal(web_access_revoke(f->access, 0, 12345), ERR_NOT_FOUND);
    assert_int_equal(web_access_list(f->access, keys, 2), 1);
    assert_true(keys[0].revoked_ms > 0);
    assert_int_equal(web_access_check_listen(f->access, everywhere, &msg), ERR_FORBIDDEN);
}

static size_t count_rows(const char *table)
{
    size_t n = 0;
    for (size_t i = 0; i < ROWS_MAX; i++)
        n += fake.rows[i].value_size && strcmp(fake.rows[i].table, table) == 0;
    return n;
}

static int64_t test_now_ns;
static int64_t test_now(void)
{
    return test_now_ns;
}

static void guessing_is_slowed_down_and_forgiven_after_a_minute(void **state)
{
    struct fixture *f = *state;
    char text[WEB_ACCESS_KEY_TEXT_MAX], cookie[256];
    uint64_t id;
    struct err_msg msg;
    struct net_access access;
    struct net_refusal refusal;
    test_now_ns = INT64_C(1790000000) * 1000000000;
    clock_test_set_wall(test_now);
    make(f->access, WEB_ACCESS_ADMIN, text, &id);
    assert_int_equal(web_access_check_listen(f->access, everywhere, &msg), ERR_OK);
    for (unsigned i = 0; i < WEB_ACCESS_FAILURES_MAX; i++) {
        assert_false(decide(f->access, NET_WEB, "GET", "/metrics", "tta_0000000000000000.guess",
                            &access, &refusal));
        assert_int_equal(refusal.code, ERR_UNAUTHENTICATED);
    }
    assert_false(decide(f->access, NET_WEB, "GET", "/metrics", text, &access, &refusal));
    assert_int_equal(refusal.code, ERR_LIMIT);
    assert_int_equal(refusal.retry_after_s, 60);
    assert_int_equal(
        web_access_login(f->access, bytes_str(text), BYTES_LIT("10.0.0.7:9"), false, cookie, &msg),
        ERR_LIMIT);
    test_now_ns += INT64_C(61) * 1000000000;
    assert_true(decide(f->access, NET_WEB, "GET", "/metrics", text, &access, &refusal));
    test_now_ns += WEB_ACCESS_SESSION_MS * 1000000 + 1;
    assert_int_equal(
        web_access_login(f->access, bytes_str(text), BYTES_LIT("10.0.0.7:9"), false, cookie, &msg),
        ERR_OK);
    struct web_access_ask ask = {.door = NET_WEB,
                                 .method = BYTES_LIT("GET"),
                                 .path = BYTES_LIT("/metrics"),
                                 .cookie = bytes_str(cookie)};
    assert_true(web_access_decide(f->access, &ask, &access, &refusal));
    test_now_ns += WEB_ACCESS_SESSION_MS * 1000000 + 1;
    assert_false(web_access_decide(f->access, &ask, &access, &refusal)); /* the session is over */
    size_t before = count_rows("web_sessions");
    web_access_close(f->access);
    assert_int_equal(web_access_open(&fake, f->dir, &f->access, &msg), ERR_OK);
    assert_true(before > 0 && count_rows("web_sessions") == 0); /* and leaves nothing behind */
}

static void writes_that_another_site_sends_are_refused_even_without_keys(void **state)
{
    struct fixture *f = *state;
    struct err_msg msg;
    struct net_access access;
    struct net_refusal refusal;
    assert_int_equal(web_access_check_listen(f->access, here, &msg), ERR_OK);
    struct web_access_ask ask = {.door = NET_WEB,
                                 .method = BYTES_LIT("POST"),
                                 .path = BYTES_LIT("/api/telltale/v1/admin/flush"),
                                 .origin = BYTES_LIT("http://evil.example"),
                                 .host = BYTES_LIT("127.0.0.1:4320")};
    assert_false(web_access_decide(f->access, &ask, &access, &refusal));
    assert_int_equal(refusal.code, ERR_FORBIDDEN);
    ask.origin = BYTES_LIT("http://127.0.0.1:4320");
    assert_true(web_access_decide(f->access, &ask, &access, &refusal));
    ask.origin = BYTES_NONE;
    ask.fetch_site = BYTES_LIT("cross-site");
    assert_false(web_access_decide(f->access, &ask, &access, &refusal));
    ask.fetch_site = BYTES_LIT("same-origin");
    assert_true(web_access_decide(f->access, &ask, &access, &refusal));
    ask.method = BYTES_LIT("GET");
    ask.fetch_site = BYTES_LIT("cross-site"); /* a link from elsewhere */
    assert_true(web_access_decide(f->access, &ask, &access, &refusal));
}

static void malformed_credentials_are_unknown_ones(void **state)
{
    static const char *const texts[] = {"tta_",
                                        "tta_00",
                                        "x",
                                        "tta_zzzzzzzzzzzzzzzz.a",
                                        "tta_0000000000000000",
                                        "tta_0000000000000000.",
                                        "ttx_0000000000000000.abc"};
    struct fixture *f = *state;
    char text[WEB_ACCESS_KEY_TEXT_MAX];
    uint64_t id;
    struct err_msg msg;
    struct net_access access;
    struct net_refusal refusal;
    make(f->access, WEB_ACCESS_READ, text, &id);
    assert_int_equal(web_access_check_listen(f->access, everywhere, &msg), ERR_OK);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        assert_false(decide(f->access, NET_WEB, "GET", "/metrics", texts[i], &access, &refusal));
    text[2] = 'a'; /* a read key does not become an admin key by its letter */
    assert_false(decide(f->access, NET_WEB, "GET", "/metrics", text, &access, &refusal));
    struct web_access_ask basic = {.door = NET_WEB,
                                   .method = BYTES_LIT("GET"),
                                   .path = BYTES_LIT("/metrics"),
                                   .authorization = BYTES_LIT("Basic !!!")};
    assert_false(web_access_decide(f->access, &basic, &access, &refusal));
    basic.authorization = BYTES_LIT("Basic ");
    assert_false(web_access_decide(f->access, &basic, &access, &refusal));
}

/* --- routes over sockets -------------------------------------------------------------------------- */

struct server {
    struct fixture *f;
    struct net *net;
    struct web *web;
    struct http_client *client;
    struct arena *arena;
    unsigned port;
};

static uint32_t add_span(struct tsdb_batch *b, uint8_t id, uint8_t parent, int64_t start_ms,
                         int64_t end_ms, const char *name)
{
    uint32_t row = tsdb_batch_add_span(b);
    struct tsdb_spans *s = &b->spans;
    struct buf attrs;
    assert_true(row != TSDB_NO_ROW);
    memset(s->trace_id[row].b, 0xab, 16);
    s->span_id[row].b[7] = id;
    s->parent_id[row].b[7] = parent;
    s->start_ns[row] = start_ms * 1000000;
    s->end_ns[row] = end_ms * 1000000;
    s->name[row] = bytes_str(name);
    s->service[row] = BYTES_LIT("checkout");
    buf_init(&attrs, 0);
    tsdb_attrs_put_str(&attrs, BYTES_LIT("http.route"), BYTES_LIT("/chat"));
    tsdb_attrs_put_i64(&attrs, BYTES_LIT("n"), 7);
    s->attrs[row] = arena_copy(b->arena, buf_bytes(&attrs));
    buf_clear(&attrs);
    tsdb_attrs_put_str(&attrs, BYTES_LIT("service.name"), BYTES_LIT("checkout"));
    tsdb_attrs_put_str(&attrs, BYTES_LIT("cloud.region"), BYTES_LIT("eu-west"));
    s->resource_attrs[row] = arena_copy(b->arena, buf_bytes(&attrs));
    buf_done(&attrs);
    return row;
}

/* 1: 0..100 ms; below it 2: 10..40, 3: 30..60 (overlaps), 4: 60..95, 5: 70..90 below 4. */
static void add_trace(void)
{
    fake.spans = tsdb_batch_new(TSDB_ORG_DEFAULT, TSDB_SPANS, 1 << 20);
    fake.series = tsdb_registry_new(8);
    assert_non_null(fake.series);
    add_span(fake.spans, 1, 0, 1000, 1100, "POST /chat");
    add_span(fake.spans, 2, 1, 1010, 1040, "retrieve");
    add_span(fake.spans, 3, 1, 1030, 1060, "rerank");
    uint32_t call = add_span(fake.spans, 4, 1, 1060, 1095, "chat gpt-4o");
    add_span(fake.spans, 5, 4, 1070, 1090, "http");
    assert_true(tsdb_batch_span_column(fake.spans, TSDB_SPAN_row_class));
    assert_true(tsdb_batch_span_column(fake.spans, TSDB_SPAN_outcome));
    assert_true(tsdb_batch_span_column(fake.spans, TSDB_SPAN_model));
    assert_true(tsdb_batch_span_column(fake.spans, TSDB_SPAN_cost_nanousd));
    fake.spans->spans.row_class[call] = TSDB_CLASS_CALL;
    fake.spans->spans.outcome[call] = TSDB_OUTCOME_RATE_LIMITED;
    fake.spans->spans.model[call] = BYTES_LIT("gpt-4o");
    fake.spans->spans.cost_nanousd[call] = 1234567;
    fake.spans->spans.status[call] = 2;
}

static int start_server(void **state)
{
    struct server *s = calloc(1, sizeof *s);
    struct err_msg msg = {{0}};
    const char *addresses[NET_DOOR_COUNT] = {NULL, NULL, "127.0.0.1:0"};
    open_access((void **)&s->f);
    add_trace();
    assert_int_equal(web_access_check_listen(s->f->access, addresses, &msg), ERR_OK);
    s->net = net_new(&(struct net_opts){
        .loops = 1, .authorise = web_access_authorise, .authorise_ctx = s->f->access});
    assert_int_equal(net_listen(s->net, NET_WEB, "127.0.0.1:0", &s->port, &msg), ERR_OK);
    s->web = web_new(&(struct web_opts){.db = &fake,
                                        .access = s->f->access,
                                        .address_grpc = "127.0.0.1:1",
                                        .address_http = "127.0.0.1:2",
                                        .address_web = "127.0.0.1:3"});
    assert_non_null(s->web);
    assert_int_equal(web_routes(s->web, s->net), ERR_OK);
    assert_int_equal(net_start(s->net, &msg), ERR_OK);
    s->client = http_client_new();
    s->arena = arena_new(0);
    *state = s;
    return 0;
}

static int stop_server(void **state)
{
    struct server *s = *state;
    http_client_free(s->client);
    web_stop(s->web);
    assert_int_equal(net_stop(s->net, 3000), 0);
    net_free(s->net);
    web_free(s->web);
    arena_free(s->arena);
    tsdb_batch_free(fake.spans);
    tsdb_registry_free(fake.series);
    close_access((void **)&s->f);
    free(s);
    return 0;
}

static int ask(struct server *s, const char *method, const char *path, const char *header,
               const char *body, struct bytes *out)
{
    char url[512];
    const char *headers[] = {body ? "Content-Type: application/json" : header, body ? header : NULL,
                             NULL};
    struct http_client_response r;
    struct err_msg msg;
    snprintf(url, sizeof url, "http://127.0.0.1:%u%s", s->port, path);
    struct http_client_request req = {.method = method,
                                      .url = url,
                                      .headers = headers,
                                      .body = body ? bytes_str(body) : BYTES_NONE,
                                      .response_max = 8 << 20};
    assert_int_equal(http_client_send(s->client, &req, &r, &msg), ERR_OK);
    *out = arena_copy(s->arena, buf_bytes(&r.body));
    buf_done(&r.body);
    return r.status;
}

static const struct json_node *ask_json(struct server *s, const char *path, int status)
{
    struct bytes text;
    struct json_node *root;
    assert_int_equal(ask(s, "GET", path, NULL, NULL, &text), status);
    assert_int_equal(json_in_tree(text, 64, s->arena, &root, NULL), ERR_OK);
    return root;
}

static void health_counts_flush_and_metrics_answer(void **state)
{
    struct server *s = *state;
    struct bytes text;
    int64_t n;
    assert_int_equal(ask(s, "GET", "/-/healthy", NULL, NULL, &text), 200);
    assert_int_equal(ask(s, "GET", "/-/ready", NULL, NULL, &text), 503);
    web_set_ready(s->web, true);
    assert_int_equal(ask(s, "GET", "/-/ready", NULL, NULL, &text), 200);
    assert_true(
        json_get_i64(ask_json(s, "/api/telltale/v1/count?signal=spans", 200), "count", &n) &&
        n == 42);
    assert_int_equal(ask(s, "GET", "/api/telltale/v1/count?signal=x", NULL, NULL, &text), 400);
    assert_int_equal(ask(s, "POST", "/api/telltale/v1/admin/flush", NULL, "", &text), 200);
    assert_int_equal(ask(s, "POST", "/api/telltale/v1/admin/flush?compact=full", NULL, "", &text),
                     200);
    assert_int_equal(fake.flushes, 2);
    assert_int_equal(fake.compactions, 1);
    assert_int_equal(ask(s, "GET", "/api/telltale/v1/admin/flush", NULL, NULL, &text), 405);
    assert_int_equal(ask(s, "GET", "/metrics", NULL, NULL, &text), 200);
    assert_true(
        bytes_find(
            text,
            BYTES_LIT("telltale_rows_total{org=\"1\",signal=\"spans\",state=\"received\"} 10\n")) <
        text.size);
    assert_true(bytes_find(text, BYTES_LIT("telltale_rows_rejected_total{org=\"1\",signal="
                                           "\"spans\",reason=\"too_old\"} 2\n")) < text.size);
    assert_true(bytes_find(text, BYTES_LIT("telltale_store_parts 3\n")) < text.size);
    const struct json_node *accounts =
        json_get(ask_json(s, "/api/telltale/v1/accounts", 200), "accounts");
    assert_non_null(accounts->child);
    assert_null(accounts->child->next); /* another org's is not shown */
    const struct json_node *damaged =
        json_get(ask_json(s, "/api/telltale/v1/quarantine", 200), "quarantine");
    assert_non_null(damaged->child);
    assert_true(bytes_equal_str(json_get_str(damaged->child, "day"), "2025-11-20"));
    assert_true(bytes_equal_str(json_get_str(damaged->child, "kind"), "spans"));
}

static void erase_jobs_are_asked_for_and_told(void **state)
{
    struct server *s = *state;
    struct bytes text;
    const char *const json = "Content-Type: application/json", *const path =
                                                                   "/api/telltale/v1/admin/erase";
    assert_int_equal(
        ask(s, "POST", path, json, "{\"user\":\"u-1\",\"user_keys\":[\"uid\"]}", &text), 202);
    assert_true(bytes_find(text, BYTES_LIT("\"id\":5")) < text.size);
    assert_int_equal(fake.erase.kind, TSDB_ERASE_USER);
    assert_string_equal(fake.erase_value, "u-1");
    assert_int_equal(fake.erase.name_count, 1);
    assert_false(fake.erase.whole_traces);
    assert_int_equal(ask(s, "POST", path, json,
                         "{\"attribute\":\"order\",\"value\":\"7\",\"whole_traces\":true}", &text),
                     202);
    assert_int_equal(fake.erase.kind, TSDB_ERASE_ATTRIBUTE);
    assert_true(fake.erase.whole_traces);
    assert_int_equal(
        ask(s, "POST", path, json, "{\"traces\":[\"0123456789abcdef0123456789abcdef\"]}", &text),
        202);
    assert_int_equal(fake.erase.trace_count, 1);
    static const char *const wrong[] = {"{}",
                                        "[]",
                                        "{\"user\":\"\"}",
                                        "{\"user\":\"a\",\"traces\":[\"00\"]}",
                                        "{\"traces\":[]}",
                                        "{\"traces\":[\"xyz\"]}",
                                        "{\"attribute\":\"a\"}",
                                        "{\"user\":\"a\",\"whole_traces\":1}",
                                        "{\"user\":\"a\",\"user_keys\":[1]}"};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        assert_int_equal(ask(s, "POST", path, json, wrong[i], &text), 400);
    const struct json_node *job = ask_json(s, "/api/telltale/v1/admin/erase/5", 200);
    assert_true(bytes_equal_str(json_get_str(job, "phase"), "rewriting"));
    assert_int_equal(json_get(job, "done_ms")->type, JSON_NULL);
    assert_non_null(json_get(ask_json(s, path, 200), "jobs")->child);
    assert_int_equal(ask(s, "GET", "/api/telltale/v1/admin/erase/6", NULL, NULL, &text), 404);
    assert_int_equal(ask(s, "GET", "/api/telltale/v1/admin/erase/x", NULL, NULL, &text), 400);
}

static void series_are_counted_by_metric_and_label(void **state)
{
    struct server *s = *state;
    struct bytes text;
    int64_t n;
    for (int i = 0; i < 12; i++) { /* limits: 8 an org */
        struct tsdb_label l[] = {{BYTES_LIT("__name__"), BYTES_LIT("m")},
                                 {BYTES_LIT("pod"), arena_printf(s->arena, "p%d", i)}};
        struct tsdb_labels labels;
        struct tsdb_ref ref;
        assert_int_equal(tsdb_labels_build(l, 2, s->arena, &labels, NULL), ERR_OK);
        if (tsdb_registry_ref(fake.series, TSDB_ORG_DEFAULT, TSDB_SERIES_CELLS, labels, &ref) !=
            ERR_OK)
            assert_int_equal(tsdb_registry_overflow(fake.series, TSDB_ORG_DEFAULT,
                                                    TSDB_SERIES_CELLS, labels, &ref),
                             ERR_OK);
        assert_int_equal(
            tsdb_registry_ref(fake.series, 77, TSDB_SERIES_CELLS, labels, &ref) == ERR_OK, i < 8);
    }
    const struct json_node *d = ask_json(s, "/api/telltale/v1/cardinality", 200);
    assert_true(json_get_i64(d, "series", &n) && n == 8);
    assert_true(json_get_i64(d, "folded_points", &n) && n == 4);
    const struct json_node *growing = json_get(d, "growing")->child;
    assert_true(bytes_equal_str(json_get_str(growing, "label"), "pod"));
    assert_true(json_get_i64(growing, "recent_values", &n) && n == 8);
    assert_int_equal(ask(s, "GET", "/api/telltale/v1/cardinality?limit=0", NULL, NULL, &text), 400);
    assert_int_equal(ask(s, "GET", "/metrics", NULL, NULL, &text), 200);
    assert_true(bytes_find(text, BYTES_LIT("telltale_series{org=\"1\"} 8\n")) < text.size);
    assert_true(bytes_find(text, BYTES_LIT("telltale_series_folded_points_total{org=\"1\"} 4\n")) <
                text.size);
    assert_true(
        bytes_find(text, BYTES_LIT("telltale_series_refused_points_total{org=\"77\"} 4\n")) <
        text.size);
}

static void the_page_is_embedded_and_its_addresses_work(void **state)
{
    static const char *const pages[] = {"/oncall", "/traces",
                                        "/trace/abababababababababababababababab"};
    struct server *s = *state;
    struct bytes text;
    assert_int_equal(ask(s, "GET", "/", NULL, NULL, &text), 302);
    for (size_t i = 0; i < ARRAY_LEN(pages); i++) {
        assert_int_equal(ask(s, "GET", pages[i], NULL, NULL, &text), 200);
        assert_true(bytes_find(text, BYTES_LIT("<!doctype html>")) == 0);
        assert_int_equal(bytes_find(text, BYTES_LIT("<script>")), text.size); /* nothing inline */
    }
    size_t at = bytes_find(text, BYTES_LIT("/assets/app-"));
    assert_true(at < text.size);
    char path[128];
    struct bytes rest = bytes_slice(text, at, text.size);
    snprintf(path, sizeof path, "%.*s", (int)bytes_find(rest, BYTES_LIT("\"")),
             (const char *)rest.data);
    assert_int_equal(ask(s, "GET", path, NULL, NULL, &text), 200);
    assert_true(text.size > 1000);
    const struct json_node *contract = ask_json(s, "/api/telltale/v1/openapi.json", 200);
    assert_non_null(json_get(json_get(contract, "paths"), "/api/telltale/v1/oncall"));
    assert_int_equal(ask(s, "GET", "/assets/app-0.js", NULL, NULL, &text), 404);
}

static void a_gateway_without_budgets_is_told_to_go_on(void **state)
{
    struct server *s = *state;
    struct bytes text;
    const struct json_node *d =
        ask_json(s, "/api/telltale/v1/budgets/check?user=ann&estimate_usd=0.5", 200);
    assert_true(json_get(d, "allowed")->boolean);
    assert_true(json_get(d, "fail_open")->boolean);
    assert_int_equal(
        ask(s, "GET", "/api/telltale/v1/budgets/check?estimate_usd=lots", NULL, NULL, &text), 400);
    assert_int_equal(ask(s, "GET", "/api/telltale/v1/budgets/spend/none", NULL, NULL, &text), 404);
    d = ask_json(s, "/api/telltale/v1/costs?by=user", 200);
    assert_true(json_get(d, "exact")->boolean);
    assert_int_equal(ask(s, "GET", "/api/telltale/v1/costs?by=planet", NULL, NULL, &text), 400);
}

static void an_empty_store_gives_the_empty_state(void **state)
{
    struct server *s = *state;
    const struct json_node *d = ask_json(s, "/api/telltale/v1/oncall", 200);
    struct bytes text;
    assert_true(bytes_equal_str(json_get_str(d, "state"), "no_genai")); /* 42 spans, no call */
    assert_true(bytes_find(json_get_str(d, "missing"), BYTES_LIT("gen_ai.")) <
                json_get_str(d, "missing").size);
    assert_true(
        bytes_equal_str(json_get_str(json_get(d, "address"), "http"), "http://127.0.0.1:2"));
    assert_int_equal(ask(s, "GET", "/api/telltale/v1/oncall?range=1", NULL, NULL, &text), 400);
    assert_int_equal(
        ask(s, "GET", "/api/telltale/v1/oncall?range=43200&to=1790000000000", NULL, NULL, &text),
        200);
    assert_int_equal(ask(s, "GET", "/api/v1/rules", NULL, NULL, &text), 200);
    assert_true(bytes_find(text, BYTES_LIT("\"groups\":[]")) < text.size);
    assert_int_equal(ask(s, "GET", "/api/telltale/v1/slos/none", NULL, NULL, &text), 404);
}

static void jaeger_clients_find_what_they_read(void **state)
{
    struct server *s = *state;
    struct bytes text;
    const struct json_node *d = ask_json(s, "/jaeger/api/services", 200);
    assert_true(bytes_equal_str(json_get(d, "data")->child->text, "checkout"));
    d = ask_json(s, "/jaeger/api/operations?service=checkout", 200);
    assert_true(bytes_equal_str(json_get_str(json_get(d, "data")->child, "name"), "POST /chat"));
    d = ask_json(s, "/jaeger/api/traces/abababababababababababababababab", 200);
    const struct json_node *trace = json_get(d, "data")->child, *spans = json_get(trace, "spans");
    int64_t n;
    size_t count = 0;
    for (const struct json_node *span = spans->child; span; span = span->next)
        count++;
    assert_int_equal(count, 5);
    const struct json_node *second = spans->child->next;
    assert_true(json_get_i64(second, "startTime", &n) && n == 1010000);
    assert_true(json_get_i64(second, "duration", &n) && n == 30000);
    assert_true(bytes_equal_str(json_get_str(second, "processID"), "p1"));
    const struct json_node *reference = json_get(second, "references")->child;
    assert_true(bytes_equal_str(json_get_str(reference, "refType"), "CHILD_OF"));
    assert_true(bytes_equal_str(json_get_str(reference, "spanID"), "0000000000000001"));
    assert_true(bytes_equal_str(
        json_get_str(json_get(json_get(trace, "processes"), "p1"), "serviceName"), "checkout"));
    const struct json_node *number = json_get(second, "tags")->child->next;
    assert_true(bytes_equal_str(json_get_str(number, "type"), "int64") &&
                json_get_i64(number, "value", &n) && n == 7);
    d = ask_json(
        s,
        "/jaeger/api/"
        "traces?service=checkout&tags=%7B%22http.route%22%3A%22%2Fchat%22%7D&minDuration=99ms",
        200);
    assert_non_null(json_get(d, "data")->child);
    d = ask_json(
        s,
        "/jaeger/api/traces?service=checkout&tags=%7B%22error%22%3A%22true%22%7D&minDuration=99ms",
        200);
    assert_null(json_get(d, "data")->child); /* both conditions must hold for one span */
    d = ask_json(s, "/jaeger/api/traces?service=checkout&tag=error:true", 200);
    assert_non_null(json_get(d, "data")->child);
    d = ask_json(s, "/jaeger/api/traces/00000000000000000000000000000001", 404);
    assert_non_null(json_get(d, "errors")->child);
    assert_int_equal(
        ask(s, "GET", "/jaeger/api/traces?service=checkout&tags=%7B", NULL, NULL, &text), 400);
    assert_int_equal(
        ask(s, "GET", "/jaeger/api/traces?service=checkout&minDuration=soon", NULL, NULL, &text),
        400);
    assert_int_equal(ask(s, "GET", "/jaeger/api/traces", NULL, NULL, &text), 400);
    assert_int_equal(ask(s, "GET", "/jaeger/api/traces/xyz", NULL, NULL, &text), 400);
}

static void the_waterfall_marks_what_was_waited_for(void **state)
{
    struct server *s = *state;
    const struct json_node *d =
        ask_json(s, "/api/telltale/v1/traces/abababababababababababababababab", 200);
    const struct json_node *span = json_get(d, "spans")->child, *call = NULL;
    int64_t depth, cost;
    bool marks[5];
    for (size_t i = 0; i < 5; i++, span = span->next) {
        marks[i] = json_get(span, "critical")->boolean;
        assert_true(json_get_i64(span, "depth", &depth));
        assert_int_equal(depth, i == 0 ? 0 : i == 4 ? 2 : 1);
        if (json_get(span, "genai"))
            call = json_get(span, "genai");
    }
    /* back from the end: the call, then rerank (ended as the call began), and retrieve ended while rerank ran */
    assert_true(marks[0] && !marks[1] && marks[2] && marks[3] && marks[4]);
    assert_true(bytes_equal_str(json_get_str(call, "outcome"), "rate_limited"));
    assert_true(json_get_i64(call, "cost_nanousd", &cost) && cost == 1234567);
    d = ask_json(s, "/api/telltale/v1/traces?errors=1&model=gpt-4o", 200);
    const struct json_node *line = json_get(d, "traces")->child;
    assert_true(bytes_equal_str(json_get_str(line, "name"), "POST /chat"));
    assert_true(bytes_equal_str(json_get_str(line, "error"), "rate_limited"));
    d = ask_json(s, "/api/telltale/v1/traces?model=other", 200);
    assert_null(json_get(d, "traces")->child);
}

static void keys_are_made_listed_and_revoked_over_the_api(void **state)
{
    struct server *s = *state;
    struct bytes text;
    struct json_node *root;
    char path[128];
    assert_int_equal(ask(s, "POST", "/api/telltale/v1/keys", NULL,
                         "{\"role\":\"read\",\"name\":\"grafana\"}", &text),
                     200);
    assert_int_equal(json_in_tree(text, 8, s->arena, &root, NULL), ERR_OK);
    struct bytes id = json_get_str(root, "id"), key = json_get_str(root, "key");
    assert_true(bytes_has_prefix(key, BYTES_LIT("ttr_")));
    const struct json_node *keys = json_get(ask_json(s, "/api/telltale/v1/keys", 200), "keys");
    assert_true(bytes_equal(json_get_str(keys->child, "id"), id));
    assert_true(bytes_equal_str(json_get_str(keys->child, "name"), "grafana"));
    snprintf(path, sizeof path, "/api/telltale/v1/keys/" BYTES_FMT, BYTES_ARG(id));
    assert_int_equal(ask(s, "DELETE", path, NULL, NULL, &text), 200);
    assert_int_equal(ask(s, "DELETE", "/api/telltale/v1/keys/00", NULL, NULL, &text), 400);
    assert_int_equal(ask(s, "DELETE", "/api/telltale/v1/keys/0000000000000001", NULL, NULL, &text),
                     404);
    assert_int_equal(ask(s, "POST", "/api/telltale/v1/keys", NULL, "{\"role\":\"root\"}", &text),
                     400);
    assert_int_equal(
        ask(s, "POST", "/api/telltale/v1/session", NULL, "{\"key\":\"tta_no\"}", &text), 401);
    assert_int_equal(ask(s, "POST", "/api/telltale/v1/session", "Origin: http://evil.example",
                         "{\"key\":\"tta_no\"}", &text),
                     403);
}

static void a_name_that_is_not_ours_gets_nothing(void **state)
{
    struct server *s = *state;
    struct bytes text;
    assert_int_equal(ask(s, "GET", "/api/telltale/v1/oncall", "Host: evil.example", NULL, &text),
                     421);
    assert_int_equal(ask(s, "GET", "/oncall", "Host: evil.example", NULL, &text), 421);
}

static void durations_read_as_go_writes_them(void **state)
{
    int64_t ns;
    assert_true(query_trace_duration(BYTES_LIT("1.5s"), &ns) && ns == 1500000000);
    assert_true(query_trace_duration(BYTES_LIT("1m30s"), &ns) && ns == INT64_C(90000000000));
    assert_true(query_trace_duration(BYTES_LIT("250us"), &ns) && ns == 250000);
    assert_true(query_trace_duration(BYTES_LIT("2ms"), &ns) && ns == 2000000);
    assert_false(query_trace_duration(BYTES_LIT("5"), &ns));
    assert_false(query_trace_duration(BYTES_LIT("-1s"), &ns));
    assert_false(query_trace_duration(BYTES_LIT("99999999999h"), &ns));
    assert_false(query_trace_duration(BYTES_LIT(""), &ns));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define ACCESS(name) cmocka_unit_test_setup_teardown(name, open_access, close_access)
#define SERVER(name) cmocka_unit_test_setup_teardown(name, start_server, stop_server)
        ACCESS(the_state_holds_hashes_only),
        ACCESS(keys_and_sessions_outlive_a_restart_but_not_a_lost_pepper),
        ACCESS(a_door_to_the_world_needs_a_key_first),
        ACCESS(each_role_opens_its_doors_and_no_other),
        ACCESS(a_revoked_key_and_its_session_are_refused_at_once),
        ACCESS(guessing_is_slowed_down_and_forgiven_after_a_minute),
        ACCESS(writes_that_another_site_sends_are_refused_even_without_keys),
        ACCESS(malformed_credentials_are_unknown_ones),
        SERVER(health_counts_flush_and_metrics_answer),
        SERVER(erase_jobs_are_asked_for_and_told),
        SERVER(series_are_counted_by_metric_and_label),
        SERVER(the_page_is_embedded_and_its_addresses_work),
        SERVER(a_gateway_without_budgets_is_told_to_go_on),
        SERVER(an_empty_store_gives_the_empty_state),
        SERVER(jaeger_clients_find_what_they_read),
        SERVER(the_waterfall_marks_what_was_waited_for),
        SERVER(keys_are_made_listed_and_revoked_over_the_api),
        SERVER(a_name_that_is_not_ours_gets_nothing),
        cmocka_unit_test(durations_read_as_go_writes_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
