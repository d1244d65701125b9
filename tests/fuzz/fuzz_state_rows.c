/* Rows of the state tables from any bytes: alerts, the outbox, silences, acknowledgements and rules of the detectors, keys and sessions of
 * the web. The first byte chooses. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "detectors/acks.h"
#include "detectors/alert.h"
#include "detectors/outbox.h"
#include "detectors/rule_book.h"
#include "detectors/silences.h"
#include "tsdb/files.h"
#include "tsdb/tsdb.h"
#include "web/web_access.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition) \
    do {                   \
        if (!(condition))  \
            abort();       \
    } while (0)

static void alert(struct bytes in)
{
    static struct alert a, again;
    struct buf first = {0}, second = {0};
    if (alert_decode(in, &a) == ERR_OK) {
        alert_encode(&a, &first);
        REQUIRE(alert_decode(buf_bytes(&first), &again) == ERR_OK);
        alert_encode(&again, &second);
        REQUIRE(bytes_equal(buf_bytes(&first), buf_bytes(&second)));
    }
    buf_done(&first);
    buf_done(&second);
}

static void silence(struct bytes in)
{
    static struct detectors_silence s, again;
    struct buf first = {0}, second = {0};
    if (silence_decode(in, &s) == ERR_OK) {
        silence_encode(&s, &first);
        REQUIRE(silence_decode(buf_bytes(&first), &again) == ERR_OK);
        silence_encode(&again, &second);
        REQUIRE(bytes_equal(buf_bytes(&first), buf_bytes(&second)));
    }
    buf_done(&first);
    buf_done(&second);
}

static void ack(struct bytes in)
{
    struct detectors_ack a, again;
    struct buf out = {0};
    if (ack_decode(in, &a) == ERR_OK) {
        ack_encode(&a, &out);
        REQUIRE(ack_decode(buf_bytes(&out), &again) == ERR_OK && again.at_ms == a.at_ms &&
                strcmp(again.fingerprint, a.fingerprint) == 0 && strcmp(again.by, a.by) == 0);
    }
    buf_done(&out);
}

static void rule_alert(struct bytes in)
{
    static struct rule_record x, again;
    struct buf first = {0}, second = {0};
    if (rule_record_decode(in, &x) == ERR_OK) {
        rule_record_encode(&x, &first);
        REQUIRE(rule_record_decode(buf_bytes(&first), &again) == ERR_OK);
        rule_record_encode(&again, &second);
        REQUIRE(bytes_equal(buf_bytes(&first), buf_bytes(&second)));
    }
    buf_done(&first);
    buf_done(&second);
}

static void rule_group(struct bytes in)
{
    int64_t last_ms, again;
    struct buf out = {0};
    if (rule_cursor_decode(in, &last_ms) == ERR_OK) {
        rule_cursor_encode(last_ms, &out);
        REQUIRE(rule_cursor_decode(buf_bytes(&out), &again) == ERR_OK && again == last_ms);
    }
    buf_done(&out);
}

/* --- the outbox reads its rows through a store that holds this one ------------------------------- */

static enum err one_row(void *ctx, const char *table, struct bytes prefix, size_t max,
                        struct arena *a, struct tsdb_state_row **out, size_t *out_count)
{
    struct tsdb_state_row *row = arena_alloc(a, sizeof(*row));
    uint8_t *key = arena_alloc(a, 8);
    REQUIRE(row && key);
    bytes_put_u64be(key, 7);
    *row = (struct tsdb_state_row){bytes_of(key, 8), *(struct bytes *)ctx};
    *out = row;
    *out_count = 1;
    (void)table, (void)prefix, (void)max;
    return ERR_OK;
}

static void outbox(struct bytes in)
{
    struct detectors_store store = {.ctx = &in, .scan = one_row};
    struct outbox *o = outbox_new(&store);
    struct arena *a = arena_new(0);
    struct detectors_outbox_row *rows;
    size_t n;
    REQUIRE(o && a);
    if (outbox_load(o) == ERR_OK)
        REQUIRE(outbox_rows(o, a, &rows, &n) == ERR_OK && n <= 1);
    outbox_free(o);
    arena_free(a);
}

/* --- the web reads its own through the real store ------------------------------------------------ */

static char dir[64];
static struct tsdb *db;

static void close_store(void)
{
    tsdb_close(db, false);
    files_remove_tree(dir);
}

static void open_store(void)
{
    struct tsdb_options o = {.dir = dir};
    struct err_msg msg = {""};
    snprintf(dir, sizeof(dir), "%s/telltale-fuzz-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    REQUIRE(mkdtemp(dir));
    log_set_level(LOG_LEVEL_ERROR);
    REQUIRE(tsdb_open(&o, &db, &msg) == ERR_OK);
    atexit(close_store);
}

static void web_access(const char *table, struct bytes in)
{
    static const uint8_t id[8] = {0, 0, 0, 0, 0, 0, 0, 9};
    struct tsdb_state_write *w;
    struct web_access *access = NULL;
    struct err_msg msg = {""};
    if (!db)
        open_store();
    REQUIRE(tsdb_state_begin(db, &w) == ERR_OK);
    REQUIRE(tsdb_state_put(w, table, bytes_of(id, 8), in) == ERR_OK);
    REQUIRE(tsdb_state_commit(w) == ERR_OK);
    if (web_access_open(db, dir, &access, &msg) == ERR_OK)
        web_access_close(access);
    else
        REQUIRE(msg.text[0]); /* a refusal says why */
    REQUIRE(tsdb_state_begin(db, &w) == ERR_OK);
    REQUIRE(tsdb_state_del(w, table, bytes_of(id, 8)) == ERR_OK);
    REQUIRE(tsdb_state_commit(w) == ERR_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > 65536)
        return 0;
    struct bytes in = bytes_of(data + 1, size - 1);
    switch (data[0] % 8) {
    case 0: alert(in); break;
    case 1: outbox(in); break;
    case 2: web_access("web_keys", in); break;
    case 3: web_access("web_sessions", in); break;
    case 4: silence(in); break;
    case 5: ack(in); break;
    case 6: rule_alert(in); break;
    default: rule_group(in); break;
    }
    return 0;
}
