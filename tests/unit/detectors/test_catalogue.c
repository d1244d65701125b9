/* The catalogue of services: who owns what is in it, who is told of what, and what is missing is named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/yaml_in.h"
#include "detectors/catalogue.h"
#include "detectors/helper_burning.h"
#include "detectors/helper_state.h"
#include "query/helper_slo.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* --- an objective that burns, and nobody who delivers -------------------------------------------- */

static void rig_begin(struct helper_burning *r)
{
    int fd = helper_burning_begin(r);
    r->receiver_count = 2;
    r->receivers[0] = (struct detectors_receiver){.name = "ours", .url = "http://127.0.0.1:1/"};
    r->receivers[1] = (struct detectors_receiver){.name = "theirs", .url = "http://127.0.0.1:1/"};
    helper_burning_document(fd, "answers", "checkout", "availability-request");
    helper_burning_document(fd, "cut", "checkout", "truncation");
    close(fd);
    helper_burning_traffic(r, 0);
}

static void evaluate(struct helper_burning *r, int64_t now_ms)
{
    assert_int_equal(detectors_evaluate(r->d, now_ms), ERR_OK);
}

/* What is told to a receiver, and whether its body has this in it. */
static size_t told(struct helper_burning *r, const char *receiver, const char *text)
{
    struct arena *a = arena_new(0);
    struct detectors_outbox_row *rows;
    size_t n, hits = 0;
    assert_int_equal(detectors_outbox(r->d, a, &rows, &n), ERR_OK);
    for (size_t i = 0; i < n; i++)
        hits += bytes_equal_str(rows[i].receiver, receiver) &&
                bytes_find(rows[i].body, bytes_str(text)) < rows[i].body.size;
    arena_free(a);
    return hits;
}

static enum err load(struct arena *a, const char *text, struct detectors_service **out, size_t *n,
                     struct buf *errors)
{
    static const struct detectors_receiver known[] = {{.name = "ours"}, {.name = "theirs"}};
    struct yaml_node *doc;
    struct err_msg msg;
    buf_init(errors, 0);
    assert_int_equal(yaml_in_parse(bytes_str(text), a, &doc, &msg), ERR_OK);
    enum err e = detectors_catalogue_read(yaml_get(doc, "services"), "f", known, ARRAY_LEN(known),
                                          a, out, n, errors);
    buf_u8(errors, 0);
    return e;
}

/* --- tests --------------------------------------------------------------------------------------- */

static void the_owner_says_who_is_told_by_kind_and_severity(void **state)
{
    (void)state;
    struct arena *a = arena_new(0);
    struct detectors_service *list;
    struct buf errors;
    size_t n;
    assert_int_equal(load(a,
                          "services:\n  - name: checkout\n    owner: payments\n    tier: 1\n"
                          "    receivers: {page: theirs, security: [ours]}\n"
                          "  - {name: search, owner: find}\n",
                          &list, &n, &errors),
                     ERR_OK);
    assert_int_equal(n, 2);
    const struct detectors_service *s = catalogue_find(list, n, BYTES_LIT("checkout"));
    assert_true(bytes_equal_str(s->owner, "payments"));
    assert_int_equal(s->tier, 1);
    assert_true(catalogue_routes(s, BYTES_NONE, QUERY_SLO_PAGE, "theirs"));
    assert_false(catalogue_routes(s, BYTES_NONE, QUERY_SLO_PAGE, "ours"));
    assert_true(catalogue_routes(s, BYTES_LIT("security"), QUERY_SLO_PAGE, "ours"));
    assert_false(catalogue_routes(s, BYTES_LIT("security"), QUERY_SLO_PAGE, "theirs"));
    assert_true(
        catalogue_routes(s, BYTES_LIT("legal"), QUERY_SLO_TICKET, "ours")); /* nothing is said */
    assert_true(catalogue_routes(catalogue_find(list, n, BYTES_LIT("search")), BYTES_NONE,
                                 QUERY_SLO_PAGE, "ours"));
    assert_true(catalogue_routes(NULL, BYTES_NONE, QUERY_SLO_PAGE, "ours"));
    buf_done(&errors);
    arena_free(a);
}

static void an_alert_goes_where_its_service_says_and_names_the_owner(void **state)
{
    (void)state;
    struct arena *a = arena_new(0);
    struct detectors_service *list;
    struct buf errors;
    struct helper_burning r;
    size_t n;
    assert_int_equal(
        load(a, "services: [{name: checkout, owner: payments, receivers: {page: theirs}}]\n", &list,
             &n, &errors),
        ERR_OK);
    for (int with = 0; with < 2; with++) { /* without a catalogue both are told */
        rig_begin(&r);
        r.services = with ? list : NULL;
        r.service_count = with ? n : 0;
        helper_burning_open(&r);
        evaluate(&r, clock_wall_ms());
        assert_int_equal(told(&r, "theirs", "\"status\""), 1);
        assert_int_equal(told(&r, "ours", "\"status\""), !with);
        assert_int_equal(told(&r, "theirs", "\"owner\":\"payments\""), with);
        helper_burning_end(&r);
    }
    buf_done(&errors);
    arena_free(a);
}

static void mistakes_are_named_with_their_lines(void **state)
{
    (void)state;
    struct arena *a = arena_new(0);
    struct detectors_service *list;
    struct buf errors;
    size_t n;
    static const struct {
        const char *text, *line;
    } cases[] = {{"services:\n  - name: a\n    tier: 1\n", "f:2: services: owner: is missing"},
                 {"services:\n  - owner: a\n", "f:2: services: name: is missing"},
                 {"services:\n  - {name: a, owner: b, tier: x}\n", "f:2: services: tier: "},
                 {"services:\n  - {name: a, owner: b, colour: x}\n",
                  "f:2: services: unknown key: valid are name"},
                 {"services:\n  - {name: a, owner: b, receivers: {page: nobody}}\n",
                  "f:2: services: receivers: there is no receiver"},
                 {"services:\n  - {name: a, owner: b, receivers: {loud: ours}}\n",
                  "f:2: services: receivers: valid are page"},
                 {"services:\n  - {name: a, owner: b}\n  - {name: a, owner: b}\n",
                  "f:3: services: name: is given twice"},
                 {"services: x\n", "f:1: services: services: must be a list"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(load(a, cases[i].text, &list, &n, &errors), ERR_INVALID);
        if (!strstr((char *)errors.data, cases[i].line))
            fail_msg("%s is not in %s", cases[i].line, (char *)errors.data);
        buf_done(&errors);
    }
    assert_int_equal(load(a, "other: 1\n", &list, &n, &errors), ERR_OK); /* none is fine */
    assert_int_equal(n, 0);
    buf_done(&errors);
    arena_free(a);
}

static void a_service_without_an_owner_is_a_lint_error(void **state)
{
    (void)state;
    struct arena *a = arena_new(0);
    struct detectors_service *list;
    struct query_slo_set set;
    struct buf errors, found;
    struct helper_burning r;
    size_t n;
    rig_begin(&r);
    helper_burning_open(&r);
    const char *paths[] = {r.slo_path};
    buf_init(&found, 0);
    assert_int_equal(query_slo_set_init(&set), ERR_OK);
    assert_int_equal(query_slo_load(&set, paths, 1, &found), ERR_OK);
    assert_int_equal(load(a, "services: [{name: other, owner: x}]\n", &list, &n, &errors), ERR_OK);
    assert_int_equal(detectors_catalogue_lint(list, n, &set, &found), ERR_INVALID);
    buf_u8(&found, 0);
    assert_non_null(strstr((char *)found.data, "service \"checkout\" has no owner"));
    assert_int_equal(detectors_catalogue_lint(NULL, 0, &set, &found), ERR_OK); /* no catalogue */
    list[0].name = BYTES_LIT("checkout");
    assert_int_equal(detectors_catalogue_lint(list, n, &set, &found), ERR_OK);
    query_slo_set_done(&set);
    buf_done(&found);
    buf_done(&errors);
    arena_free(a);
    helper_burning_end(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_owner_says_who_is_told_by_kind_and_severity),
        cmocka_unit_test(an_alert_goes_where_its_service_says_and_names_the_owner),
        cmocka_unit_test(mistakes_are_named_with_their_lines),
        cmocka_unit_test(a_service_without_an_owner_is_a_lint_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
