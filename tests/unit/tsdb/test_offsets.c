/* Places in logs: they move with the rows, and nothing is taken twice or past a gap, through restarts, seals and failed commits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <unistd.h>

#include "base/check.h"
#include "tsdb/files.h"
#include "tsdb/helper_rows.h"
#include "tsdb/lmdb_env.h"
#include "tsdb/offsets.h"

#define TOPIC BYTES_LIT("otlp_spans")
#define ROWS 10u /* a message */
#define YEARS (100 * INT64_C(365) * 86400000)

static char dir[64];

static struct tsdb *store(void)
{
    struct tsdb_options o = {.dir = dir,
                             .retention_ms = YEARS,
                             .retention_content_ms = YEARS,
                             .retention_cells_ms = YEARS};
    struct tsdb *db = NULL;
    struct err_msg msg = {""};
    if (tsdb_open(&o, &db, &msg) != ERR_OK)
        fail_msg("open: %s", msg.text);
    return db;
}

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof(dir), "%s/telltale-offsets-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    lmdb_env_fail_at(0);
    files_remove_tree(dir);
    return 0;
}

/* Message `offset` holds the rows from offset times ROWS on. */
static enum err deliver_from(struct tsdb *db, uint32_t partition, int64_t from, int64_t offset,
                             bool is_reset, struct tsdb_result *out)
{
    struct tsdb_batch *b = rows_batch(tsdb_series(db), (uint64_t)offset * ROWS, ROWS, 0);
    assert_non_null(b);
    b->claim = (struct tsdb_claim){.topic = TOPIC,
                                   .partition = partition,
                                   .epoch = 4,
                                   .from = from,
                                   .next = offset + 1,
                                   .is_reset = is_reset};
    return rows_append(db, b, out);
}

static enum err deliver(struct tsdb *db, int64_t offset, struct tsdb_result *out)
{
    return deliver_from(db, 0, offset, offset, false, out);
}

static int64_t position(struct tsdb *db, uint32_t partition)
{
    struct tsdb_position at;
    return tsdb_position_of(db, TOPIC, partition, &at) == ERR_OK ? at.next : -1;
}

static void rows_are(struct tsdb *db, uint64_t want)
{
    uint64_t n;
    assert_int_equal(tsdb_count(db, ROWS_ORG, TSDB_SPANS, &n), ERR_OK);
    assert_int_equal(n, want);
}

static void a_place_moves_with_the_rows_and_outlives_restarts_and_seals(void **state)
{
    (void)state;
    struct err_msg msg;
    struct tsdb *db = store();
    assert_int_equal(position(db, 0), -1);
    for (int64_t i = 0; i < 3; i++)
        assert_int_equal(deliver(db, i, NULL), ERR_OK);
    assert_int_equal(position(db, 0), 3);
    tsdb_close(db, false);

    db = store(); /* from the commits of the journal */
    assert_int_equal(position(db, 0), 3);
    assert_int_equal(deliver(db, 3, NULL), ERR_OK);
    assert_int_equal(tsdb_flush(db, true, &msg), ERR_OK);
    tsdb_close(db, false);

    db = store(); /* from a checkpoint */
    struct tsdb_position at;
    assert_int_equal(tsdb_position_of(db, TOPIC, 0, &at), ERR_OK);
    assert_int_equal(at.next, 4);
    assert_int_equal(at.epoch, 4);
    assert_int_equal(position(db, 1), -1);
    rows_are(db, 4 * ROWS);
    tsdb_close(db, false);
}

static void what_is_delivered_twice_is_stored_once(void **state)
{
    (void)state;
    struct tsdb_result r;
    struct tsdb *db = store();
    assert_int_equal(deliver(db, 0, NULL), ERR_OK);
    assert_int_equal(deliver(db, 1, NULL), ERR_OK);
    for (int64_t i = 0; i < 2; i++) {
        assert_int_equal(deliver(db, i, &r), ERR_OK);
        assert_true(r.repeated_request);
        assert_int_equal(r.stored, 0);
    }
    assert_int_equal(deliver_from(db, 1, 0, 7, false, &r), ERR_OK); /* another partition */
    assert_false(r.repeated_request);
    rows_are(db, 3 * ROWS);
    assert_int_equal(position(db, 0), 2);
    assert_int_equal(position(db, 1), 8);
    tsdb_close(db, false);
}

static void nothing_is_taken_past_a_gap_unless_what_lies_between_is_gone(void **state)
{
    (void)state;
    struct tsdb *db = store();
    assert_int_equal(deliver_from(db, 0, 5, 5, false, NULL), ERR_OK); /* the first may be any */
    assert_int_equal(deliver(db, 7, NULL), ERR_CONFLICT);
    rows_are(db, ROWS);
    assert_int_equal(position(db, 0), 6);
    assert_int_equal(deliver_from(db, 0, 6, 9, false, NULL), ERR_OK); /* 6 to 8 hold nothing */
    assert_int_equal(deliver_from(db, 0, 20, 20, true, NULL), ERR_OK);
    assert_int_equal(position(db, 0), 21);
    assert_int_equal(deliver_from(db, 0, 2, 2, true, NULL), ERR_OK); /* a topic made anew */
    assert_int_equal(position(db, 0), 3);
    rows_are(db, 4 * ROWS);
    tsdb_close(db, false);
}

static enum err claim(struct offsets *o, int64_t from, bool is_reset)
{
    struct tsdb_claim c = {
        .topic = TOPIC, .epoch = -1, .from = from, .next = from + 1, .is_reset = is_reset};
    return offsets_claim(o, &c);
}

static void what_follows_a_reset_in_the_same_commit_is_new_although_the_old_place_was_further(
    void **state)
{
    (void)state;
    struct offsets *o = offsets_new();
    assert_non_null(o);
    assert_int_equal(claim(o, 299, true), ERR_OK);
    offsets_settle(o, true);
    assert_int_equal(claim(o, 0, true), ERR_OK);
    assert_int_equal(claim(o, 1, false), ERR_OK);
    assert_int_equal(claim(o, 1, false), ERR_CONFLICT); /* not durable yet */
    offsets_settle(o, false);
    assert_int_equal(claim(o, 1, false), ERR_NOT_FOUND);
    assert_int_equal(claim(o, 0, true), ERR_OK);
    assert_int_equal(claim(o, 1, false), ERR_OK);
    offsets_settle(o, true);
    assert_int_equal(claim(o, 1, false), ERR_NOT_FOUND);
    assert_int_equal(claim(o, 2, false), ERR_OK);
    offsets_free(o);
}

static void a_commit_that_fails_leaves_the_place_where_it_was(void **state)
{
    (void)state;
    struct tsdb *db = store();
    assert_int_equal(deliver(db, 0, NULL), ERR_OK);
    lmdb_env_fault_is(LMDB_ENV_FAIL);
    lmdb_env_fail_at(1);
    assert_int_not_equal(deliver(db, 1, NULL), ERR_OK);
    lmdb_env_fail_at(0);
    assert_int_equal(position(db, 0), 1);
    assert_int_equal(deliver(db, 2, NULL), ERR_CONFLICT); /* its turn comes after 1 */
    assert_int_equal(deliver(db, 1, NULL), ERR_OK);
    assert_int_equal(deliver(db, 2, NULL), ERR_OK);
    rows_are(db, 3 * ROWS);
    tsdb_close(db, false);
}

static void places_are_written_and_read_and_damage_changes_nothing(void **state)
{
    (void)state;
    struct offsets *o = offsets_new(), *p = offsets_new();
    struct tsdb_position at;
    struct buf text = {0};
    for (unsigned i = 0; i < 200; i++) {
        struct tsdb_claim c = {.topic = i % 2 ? TOPIC : BYTES_LIT("b"),
                               .partition = i * 37 % 100,
                               .epoch = (int32_t)i - 1,
                               .from = i,
                               .next = (int64_t)1 << (i % 60)};
        assert_int_equal(offsets_replay(o, &c), ERR_OK);
    }
    offsets_encode(o, &text);
    assert_true(buf_ok(&text));
    assert_int_equal(offsets_decode(p, buf_bytes(&text)), ERR_OK);
    for (size_t n = 1; n < text.size; n++) /* cut anywhere */
        assert_int_equal(offsets_decode(p, bytes_of(text.data, n)), ERR_CORRUPT);
    struct buf again = {0};
    offsets_encode(p, &again);
    assert_true(bytes_equal(buf_bytes(&text), buf_bytes(&again)));
    assert_true(offsets_find(p, TOPIC, 37, &at));
    assert_false(offsets_find(p, TOPIC, 100, &at));
    buf_done(&text);
    buf_done(&again);
    offsets_free(o);
    offsets_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_place_moves_with_the_rows_and_outlives_restarts_and_seals,
                                        make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(what_is_delivered_twice_is_stored_once, make_dir,
                                        remove_dir),
        cmocka_unit_test_setup_teardown(
            nothing_is_taken_past_a_gap_unless_what_lies_between_is_gone, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(a_commit_that_fails_leaves_the_place_where_it_was, make_dir,
                                        remove_dir),
        cmocka_unit_test(
            what_follows_a_reset_in_the_same_commit_is_new_although_the_old_place_was_further),
        cmocka_unit_test(places_are_written_and_read_and_damage_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
