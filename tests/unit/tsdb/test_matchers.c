/* Random matchers over heads and index segments give what a scan over all series gives: =, !=, =~, !~, empty values, absent labels. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/clock.h"
#include "tsdb/files.h"
#include "tsdb/tsdb_read.h"

#define SERIES_MAX 3000u
#define SELECTORS 1500u

static char dir[64];
static uint64_t state_of_random = 88172645463325252u;

static unsigned any(unsigned n)
{
    state_of_random ^= state_of_random << 13;
    state_of_random ^= state_of_random >> 7;
    state_of_random ^= state_of_random << 17;
    return (unsigned)(state_of_random % n);
}

/* --- the model ------------------------------------------------------------------------------------- */

struct model {
    struct arena *a;
    struct tsdb_labels labels[SERIES_MAX];
    unsigned count;
};

static const char *const label_names[] = {"__name__", "job", "instance", "le", "zone", "only_some"};

static struct bytes any_value(struct arena *a, unsigned label)
{
    static const unsigned counts[] = {12, 3, 200, 8, 2, 40};
    if (label > 0 && any(6) == 0)
        return BYTES_NONE;
    return arena_printf(a, "%c%u", 'a' + (int)any(2), any(counts[label]));
}

static struct tsdb_labels any_labels(struct arena *a)
{
    struct tsdb_label l[ARRAY_LEN(label_names)];
    struct tsdb_labels out = {BYTES_NONE};
    size_t n = 0;
    bool is_nameless = any(30) == 0;
    for (unsigned i = is_nameless; i < ARRAY_LEN(label_names); i++) {
        if (i == 5 && any(4))
            continue;
        l[n++] = (struct tsdb_label){bytes_str(label_names[i]), any_value(a, i)};
    }
    assert_int_equal(tsdb_labels_build(l, n, a, &out, NULL), ERR_OK);
    return out;
}

/* Three patterns that a regular expression could be. */
enum pattern { STARTS_WITH_B, EMPTY_OR_A1, NOT_EMPTY, PATTERNS };

static bool pattern_matches(void *ctx, struct bytes value)
{
    switch (*(enum pattern *)ctx) {
    case STARTS_WITH_B: return value.size && value.data[0] == 'b';
    case EMPTY_OR_A1: return value.size == 0 || bytes_equal_str(value, "a1");
    default: return value.size > 0;
    }
}

static const char *const pattern_texts[PATTERNS] = {
    [STARTS_WITH_B] = "b.*", [EMPTY_OR_A1] = "|a1", [NOT_EMPTY] = ".+"};

static struct tsdb_matcher any_matcher(struct arena *a)
{
    static enum pattern patterns[] = {STARTS_WITH_B, EMPTY_OR_A1, NOT_EMPTY};
    unsigned label = any(10) == 0 ? ARRAY_LEN(label_names) : any(ARRAY_LEN(label_names));
    bool is_known = label < ARRAY_LEN(label_names);
    struct tsdb_matcher m = {.op = (enum tsdb_match_op)any(4),
                             .name = bytes_str(is_known ? label_names[label] : "no_series_has_it"),
                             .value = is_known && any(5) ? any_value(a, label)
                                      : any(2)           ? BYTES_NONE
                                                         : BYTES_LIT("zz"),
                             .match = pattern_matches,
                             .ctx = &patterns[any(PATTERNS)]};
    if (m.op == TSDB_MATCH_RE ||
        m.op == TSDB_MATCH_NRE) /* the pattern, or nothing that could stand for it */
        m.value = any(3) ? bytes_str(pattern_texts[*(enum pattern *)m.ctx]) : BYTES_NONE;
    return m;
}

static bool passes(const struct tsdb_matcher *m, size_t n, struct tsdb_labels l)
{
    for (size_t i = 0; i < n; i++) {
        struct bytes value = tsdb_labels_get(l, m[i].name);
        bool is = m[i].op == TSDB_MATCH_EQ || m[i].op == TSDB_MATCH_NE
                      ? bytes_equal(value, m[i].value)
                      : m[i].match(m[i].ctx, value);
        if (is != (m[i].op == TSDB_MATCH_EQ || m[i].op == TSDB_MATCH_RE))
            return false;
    }
    return true;
}

static int by_labels(const void *x, const void *y)
{
    return tsdb_labels_compare(*(const struct tsdb_labels *)x, *(const struct tsdb_labels *)y);
}

static int by_bytes(const void *x, const void *y)
{
    return bytes_compare(*(const struct bytes *)x, *(const struct bytes *)y);
}

static size_t distinct(struct bytes *b, size_t n)
{
    size_t out = 0;
    if (n)
        qsort(b, n, sizeof(*b), by_bytes);
    for (size_t i = 0; i < n; i++)
        if (out == 0 || !bytes_equal(b[out - 1], b[i]))
            b[out++] = b[i];
    return out;
}

/* --- the store ------------------------------------------------------------------------------------- */

static void add(struct tsdb *db, uint32_t org, struct model *m, unsigned more)
{
    struct tsdb_batch *b = tsdb_batch_new(org, TSDB_SAMPLES, 0);
    uint64_t before = tsdb_committed_seq(db);
    assert_non_null(b);
    for (unsigned i = 0; i < more; i++) {
        struct tsdb_labels l = any_labels(m->a);
        struct tsdb_ref ref;
        assert_int_equal(tsdb_registry_ref(tsdb_series(db), org, TSDB_SERIES_SAMPLES, l, &ref),
                         ERR_OK);
        assert_true(tsdb_batch_add_sample(b, ref, clock_wall_ms() - 1000 + i % 500, i, 0));
        m->labels[m->count++] = l;
    }
    b->received = more;
    assert_int_equal(tsdb_append(db, &b, NULL, NULL), ERR_OK);
    for (unsigned i = 0; i < 20000 && tsdb_committed_seq(db) == before; i++)
        clock_sleep_ms(1);
    assert_true(tsdb_committed_seq(db) > before);
}

static void model_done(struct model *m)
{
    unsigned n = 0;
    qsort(m->labels, m->count, sizeof(m->labels[0]), by_labels);
    for (unsigned i = 0; i < m->count; i++)
        if (n == 0 || !tsdb_labels_equal(m->labels[n - 1], m->labels[i]))
            m->labels[n++] = m->labels[i];
    m->count = n;
}

static void check_series(struct tsdb_view *v, const struct model *m, const struct tsdb_matcher *x,
                         size_t n, struct arena *a)
{
    struct tsdb_series *s;
    size_t got, want = 0;
    assert_int_equal(tsdb_select(v, x, n, INT64_MIN / 2, INT64_MAX / 2, a, &s, &got), ERR_OK);
    for (unsigned i = 0; i < m->count; i++) {
        if (!passes(x, n, m->labels[i]))
            continue;
        assert_true(want < got && tsdb_labels_equal(s[want].labels, m->labels[i]));
        want++;
    }
    assert_int_equal(got, want);
}

static void check_lists(struct tsdb_view *v, const struct model *m, const struct tsdb_matcher *x,
                        size_t n, struct arena *a)
{
    struct bytes name = bytes_str(label_names[any(ARRAY_LEN(label_names))]), *got;
    struct bytes *values = ARENA_ARRAY(a, struct bytes, m->count + 1);
    struct bytes *names = ARENA_ARRAY(a, struct bytes, m->count * ARRAY_LEN(label_names) + 1);
    size_t got_n, values_n = 0, names_n = 0;
    for (unsigned i = 0; i < m->count; i++) {
        struct tsdb_labels_iter it = tsdb_labels_begin(m->labels[i]);
        struct tsdb_label l;
        if (!passes(x, n, m->labels[i]))
            continue;
        while (tsdb_labels_next(&it, &l)) {
            names[names_n++] = l.name;
            if (bytes_equal(l.name, name))
                values[values_n++] = l.value;
        }
    }
    values_n = distinct(values, values_n);
    names_n = distinct(names, names_n);
    assert_int_equal(
        tsdb_label_values(v, name, x, n, INT64_MIN / 2, INT64_MAX / 2, a, &got, &got_n), ERR_OK);
    assert_int_equal(got_n, values_n);
    for (size_t i = 0; i < got_n; i++)
        assert_true(bytes_equal(got[i], values[i]));
    assert_int_equal(tsdb_label_names(v, x, n, INT64_MIN / 2, INT64_MAX / 2, a, &got, &got_n),
                     ERR_OK);
    assert_int_equal(got_n, names_n);
    for (size_t i = 0; i < got_n; i++)
        assert_true(bytes_equal(got[i], names[i]));
}

static void check_all(struct tsdb *db, uint32_t org, const struct model *m)
{
    struct tsdb_view *v = NULL;
    struct arena *a = arena_new(0);
    for (unsigned i = 0; i < SELECTORS; i++) {
        struct tsdb_matcher x[4];
        size_t n = any(ARRAY_LEN(x) + 1);
        if (i % 40 == 0) { /* a view that has taken in series, and one that has not */
            tsdb_view_close(v);
            assert_int_equal(tsdb_view_open(db, org, NULL, &v), ERR_OK);
        }
        for (size_t k = 0; k < n; k++)
            x[k] = any_matcher(a);
        check_series(v, m, x, n, a);
        if (i % 4 == 0)
            check_lists(v, m, x, n, a);
        arena_reset(a);
    }
    tsdb_view_close(v);
    arena_free(a);
}

static void random_matchers_give_what_a_scan_gives(void **state)
{
    struct tsdb_options o = {.dir = dir};
    struct tsdb *db;
    struct err_msg msg;
    static struct model one, two;
    one = (struct model){.a = arena_new(0)};
    two = (struct model){.a = arena_new(0)};
    assert_int_equal(tsdb_open(&o, &db, &msg), ERR_OK);
    add(db, 1, &one, 700);
    add(db, 2, &two, 100);
    check_all(db, 2, (model_done(&two), &two)); /* in a head */
    assert_int_equal(tsdb_flush(db, false, &msg), ERR_OK);
    check_all(db, 2, &two); /* in a part */
    add(db, 1, &one, 700);
    assert_int_equal(tsdb_flush(db, false, &msg), ERR_OK);
    add(db, 1, &one, 400);
    add(db, 1, &one, 300);
    model_done(&one);
    check_all(db, 1, &one); /* two segments and a head */
    assert_int_equal(tsdb_flush(db, true, &msg), ERR_OK);
    check_all(db, 1, &one); /* compacted */
    tsdb_close(db, false);
    arena_free(one.a);
    arena_free(two.a);
}

struct counted {
    unsigned asked;
};

static bool counts_and_matches(void *ctx, struct bytes value)
{
    ((struct counted *)ctx)->asked++;
    return value.size && value.data[0] == 'b';
}

/* How often a pattern over `name` is asked by one selection. */
static unsigned asked(struct tsdb *db, struct bytes name, enum tsdb_match_op op)
{
    struct counted c = {0};
    struct tsdb_matcher m = {.op = op, .name = name, .match = counts_and_matches, .ctx = &c};
    struct arena *a = arena_new(0);
    struct tsdb_series *s;
    struct tsdb_view *v;
    size_t n;
    assert_int_equal(tsdb_view_open(db, 1, NULL, &v), ERR_OK);
    assert_int_equal(tsdb_select(v, &m, 1, INT64_MIN / 2, INT64_MAX / 2, a, &s, &n), ERR_OK);
    assert_true(n > 0);
    tsdb_view_close(v);
    arena_free(a);
    return c.asked;
}

static void a_pattern_is_asked_once_for_each_distinct_value(void **state)
{
    struct tsdb_options o = {.dir = dir};
    struct tsdb *db;
    struct err_msg msg;
    static struct model one;
    one = (struct model){.a = arena_new(0)};
    assert_int_equal(tsdb_open(&o, &db, &msg), ERR_OK);
    for (int at = 0; at < 3; at++) { /* a head; a part and a head; two parts */
        add(db, 1, &one, 900);
        if (at)
            assert_int_equal(tsdb_flush(db, false, &msg), ERR_OK);
        assert_in_range(asked(db, BYTES_LIT("zone"), TSDB_MATCH_RE), 1, 2 * 2 + 1);
        assert_in_range(asked(db, BYTES_LIT("zone"), TSDB_MATCH_NRE), 1, 2 * 2 + 1);
        assert_in_range(asked(db, BYTES_LIT("instance"), TSDB_MATCH_RE), 100, 2 * 200 + 1);
    }
    tsdb_close(db, false);
    arena_free(one.a);
}

/* The model itself: an absent label is an empty value. */
static void in_the_model_an_absent_label_is_an_empty_value(void **state)
{
    struct arena *a = arena_new(0);
    struct tsdb_labels l = any_labels(a);
    enum pattern not_empty = NOT_EMPTY, starts = STARTS_WITH_B;
    struct tsdb_matcher absent = {TSDB_MATCH_EQ, BYTES_LIT("no_series_has_it"), BYTES_NONE, NULL,
                                  NULL},
                        present = {TSDB_MATCH_RE, BYTES_LIT("no_series_has_it"), BYTES_NONE,
                                   pattern_matches, &not_empty},
                        negated = {TSDB_MATCH_NRE, BYTES_LIT("no_series_has_it"), BYTES_NONE,
                                   pattern_matches, &starts};
    assert_true(passes(&absent, 1, l));
    assert_false(passes(&present, 1, l));
    assert_true(passes(&negated, 1, l));
    arena_free(a);
}

static int set_up(void **state)
{
    snprintf(dir, sizeof(dir), "/tmp/telltale-matchers-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int tear_down(void **state)
{
    files_remove_tree(dir);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(random_matchers_give_what_a_scan_gives, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_pattern_is_asked_once_for_each_distinct_value, set_up,
                                        tear_down),
        cmocka_unit_test(in_the_model_an_absent_label_is_an_empty_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
