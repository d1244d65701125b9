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
#include "detectors/helper_state.h"
#include "query/helper_slo.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* --- an objective that burns, and nobody who delivers -------------------------------------------- */

struct rig {
    struct helper_slo *cells;
    struct query_slo_source source;
    struct helper_state *state;
    struct detectors_store store;
    struct detectors_receiver receivers[2];
    const struct detectors_service *services;
    size_t service_count;
    char slo_path[64];
    struct detectors *d;
};

static void document(int fd, const char *name, const char *sli)
{
    dprintf(fd,
            "apiVersion: openslo/v1\nkind: SLO\nmetadata: {name: %s, labels: {team: pay}}\n"
            "spec:\n  service: checkout\n  indicator:\n    metadata: {name: x}\n"
            "    spec: {ratioMetric: {raw: {metricSource: {type: telltale, spec: {sli: %s}}}}}\n"
            "  timeWindow: [{duration: 30d, isRolling: true}]\n"
            "  budgetingMethod: Occurrences\n  objectives: [{target: 0.999}]\n"
            "  alertPolicies:\n    - kind: AlertPolicy\n      metadata: {name: p}\n      spec:\n"
            "        conditions:\n          - kind: AlertCondition\n            metadata: "
            "{name: fast}\n            spec:\n              severity: page\n"
            "              condition: {kind: burnrate, op: gt, threshold: 14.4, "
            "lookbackWindow: 1h}\n---\n",
            name, sli);
}

static void rig_open(struct rig *r)
{
    const char *paths[] = {r->slo_path};
    struct buf errors;
    buf_init(&errors, 0);
    struct detectors_options o = {.slo_paths = paths,
                                  .slo_path_count = 1,
                                  .receivers = r->receivers,
                                  .receiver_count = 2,
                                  .services = r->services,
                                  .service_count = r->service_count,
                                  .external_url = "http://t.test",
                                  .store = &r->store,
                                  .source = &r->source};
    if (detectors_new(&o, &r->d, &errors) != ERR_OK)
        fail_msg("%.*s", (int)errors.size, errors.data);
    buf_done(&errors);
}

static void rig_begin(struct rig *r)
{
    *r = (struct rig){.cells = helper_slo_new(), .state = helper_state_new()};
    r->source = helper_slo_source(r->cells);
    r->store = helper_state_store(r->state);
    r->receivers[0] = (struct detectors_receiver){.name = "ours", .url = "http://127.0.0.1:1/"};
    r->receivers[1] = (struct detectors_receiver){.name = "theirs", .url = "http://127.0.0.1:1/"};
    strcpy(r->slo_path, "/tmp/telltale-slo-XXXXXX");
    int fd = mkstemp(r->slo_path);
    assert_true(fd >= 0);
    document(fd, "answers", "availability-request");
    document(fd, "cut", "truncation");
    close(fd);
    uint32_t now = (uint32_t)((clock_wall_ms() - QUERY_SLO_DELAY_MS) / 60000);
    for (uint32_t m = now - 1440; m < now - 2; m++)
        helper_slo_request(r->cells, "checkout", "claude", "us", "ok", "", m, 100);
    for (uint32_t m = now - 2; m <= now; m++)
        helper_slo_request(r->cells, "checkout", "gpt-4o", "eu", "timeout", "provider", m, 100);
}

static void rig_end(struct rig *r)
{
    detectors_free(r->d);
    helper_slo_free(r->cells);
    helper_state_free(r->state);
    unlink(r->slo_path);
}

static void evaluate(struct rig *r, int64_t now_ms)
{
    assert_int_equal(detectors_evaluate(r->d, now_ms), ERR_OK);
}

/* What is told to a receiver, and whether its body has this in it. */
static size_t told(struct rig *r, const char *receiver, const char *text)
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
    struct rig r;
    size_t n;
    assert_int_equal(
        load(a, "services: [{name: checkout, owner: payments, receivers: {page: theirs}}]\n", &list,
             &n, &errors),
        ERR_OK);
    for (int with = 0; with < 2; with++) { /* without a catalogue both are told */
        rig_begin(&r);
        r.services = with ? list : NULL;
        r.service_count = with ? n : 0;
        rig_open(&r);
        evaluate(&r, clock_wall_ms());
        assert_int_equal(told(&r, "theirs", "\"status\""), 1);
        assert_int_equal(told(&r, "ours", "\"status\""), !with);
        assert_int_equal(told(&r, "theirs", "\"owner\":\"payments\""), with);
        rig_end(&r);
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
    struct rig r;
    size_t n;
    rig_begin(&r);
    rig_open(&r);
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
    rig_end(&r);
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
