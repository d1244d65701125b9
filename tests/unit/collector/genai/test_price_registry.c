/* The registry of price rows: an id means one thing for ever, also where two rows have one hash. */
#include "collector/genai/price_registry.h"
#include "collector/genai/price_yaml.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

static struct price_table *table_of(const char *yaml)
{
    struct price_table *t = price_table_new();
    struct err_msg msg = {""};
    if (price_yaml_load(t, bytes_str(yaml), "test.yaml", PRICE_LAYER_OWN, &msg) != ERR_OK)
        fail_msg("%s", msg.text);
    return t;
}

static uint32_t first_id(const struct price_table *t)
{
    const struct price_offer *o;
    return price_table_row(t, 0, &o)->id;
}

static void an_id_that_stands_for_something_else_is_passed_by(void **state)
{
    char dir[64] = "/tmp/telltale-registry-XXXXXX";
    struct err_msg msg = {""};
    struct tsdb *db;
    assert_non_null(mkdtemp(dir));
    struct tsdb_options o = {.dir = dir};
    assert_int_equal(tsdb_open(&o, &db, &msg), ERR_OK);
    static const char yaml[] = "prices:\n  - {model: x, input: 1, output: 2}\n";
    struct price_table *t = table_of(yaml);
    uint32_t id = first_id(t);
    uint8_t key[4] = {(uint8_t)(id >> 24), (uint8_t)(id >> 16), (uint8_t)(id >> 8), (uint8_t)id};
    /* another row has this id already */
    struct tsdb_state_write *w;
    assert_int_equal(tsdb_state_begin(db, &w), ERR_OK);
    assert_int_equal(tsdb_state_put(w, "price_rows", bytes_of(key, 4),
                                    BYTES_LIT("{\"content\":{\"model\":\"y\"},\"source\":\"s\"}")),
                     ERR_OK);
    assert_int_equal(tsdb_state_commit(w), ERR_OK);
    assert_int_equal(price_registry_put(db, t, "a", &msg), ERR_OK);
    uint32_t moved = first_id(t);
    assert_int_not_equal(moved, id);
    /* and that it has for ever: after a restart, with the same document */
    price_table_unref(t);
    tsdb_close(db, false);
    assert_int_equal(tsdb_open(&o, &db, &msg), ERR_OK);
    t = table_of(yaml);
    assert_int_equal(first_id(t), id);
    assert_int_equal(price_registry_put(db, t, "a", &msg), ERR_OK);
    assert_int_equal(first_id(t), moved);
    struct price_row r;
    assert_int_equal(price_registry_get(db, moved, &r), ERR_OK);
    assert_int_equal(r.rate[PRICE_RATE_INPUT], 1000000);
    assert_int_equal(r.rate[PRICE_RATE_OUTPUT], 2000000);
    assert_int_equal(r.unit[PRICE_UNIT_GPU_HOUR], -1);
    assert_int_equal(price_registry_get(db, id, &r), ERR_CORRUPT); /* no rates in it */
    assert_int_equal(price_registry_get(db, 1, &r), ERR_NOT_FOUND);
    price_table_unref(t);
    tsdb_close(db, false);
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_id_that_stands_for_something_else_is_passed_by),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
