/* What is masked, where and how: rules, zones, placeholders, encodings; and that a wrong configuration says what is wrong. */
#include "collector/redact/redact.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/json_in.h"
#include "collector/redact/redact_match.h"
#include "tsdb/files.h"

#define KEY "sk-proj-0aB1cD2eF3gH4iJ5kL6mN7oP8qR9sT0uV1wX2yZ3"
#define MAIL "anna.k@example.com"

struct rig {
    struct arena *arena;
    struct redact *rules;
    struct redact_scan *scan;
    struct buf out;
    struct redact_found found;
};

/* yaml: the `redaction:` part, or NULL. Returns the mistakes. */
static bool rig_open(struct rig *g, const char *yaml, struct buf *errors)
{
    struct yaml_node *doc = NULL;
    struct err_msg msg;
    *g = (struct rig){.arena = arena_new(0)};
    if (yaml && yaml_in_parse(bytes_str(yaml), g->arena, &doc, &msg) != ERR_OK)
        fail_msg("%s", msg.text);
    struct redact_options o = {.actions = yaml_get(doc, "actions"),
                               .content = yaml_get(doc, "content"),
                               .services = yaml_get(doc, "services"),
                               .patterns = yaml_get(doc, "patterns"),
                               .alerts = yaml_get(doc, "alerts"),
                               .file = "telltale.yaml"};
    if (redact_new(&o, &g->rules, errors) != ERR_OK)
        return false;
    g->scan = redact_scan_new(g->rules);
    assert_non_null(g->scan);
    return true;
}

static void rig_new(struct rig *g, const char *yaml)
{
    struct buf errors = {0};
    if (!rig_open(g, yaml, &errors))
        fail_msg(BYTES_FMT, BYTES_ARG(buf_bytes(&errors)));
    buf_done(&errors);
}

static void rig_done(struct rig *g)
{
    redact_scan_free(g->scan);
    redact_free(g->rules);
    buf_done(&g->out);
    arena_free(g->arena);
}

static struct bytes masked(struct rig *g, const char *key, struct bytes text)
{
    buf_clear(&g->out);
    assert_true(redact_text(g->scan, bytes_str(key), text, &g->out, &g->found));
    return buf_bytes(&g->out);
}

static bool holds(struct bytes text, const char *what)
{
    return bytes_find(text, bytes_str(what)) < text.size;
}

static void clean_text_stays_as_it_is(void **state)
{
    static const char *const texts[] = {"",
                                        "x",
                                        "gpt-4o-2024-08-06",
                                        "a@b",
                                        "sk-",
                                        "4111 1111",
                                        "2026-11-29 23:59:59.123456789",
                                        "10.1.2.3:8080",
                                        "Bearer of bad news",
                                        "the password is required",
                                        "https://user@host/path",
                                        "v1.2.3.4",
                                        "task-0123456789"};
    struct rig g;
    rig_new(&g, NULL);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct bytes out = masked(&g, "gen_ai.input.messages", bytes_str(texts[i]));
        if (!bytes_equal(out, bytes_str(texts[i])))
            fail_msg("\"%s\" became \"" BYTES_FMT "\"", texts[i], BYTES_ARG(out));
    }
    rig_done(&g);
}

static void masking_twice_is_masking_once(void **state)
{
    static const char text[] =
        "{\"a\":\"" KEY " and " MAIL ", card 4111 1111 1111 1111, +49 171 2345678, "
        "DE89 3704 0044 0532 0130 00, postgres://u:s3cr3tpw@h/d, 85.214.132.117\"}";
    struct rig g;
    rig_new(&g, "content: {ip: hash}");
    struct bytes once = masked(&g, "gen_ai.prompt", bytes_str(text));
    struct bytes kept = arena_copy(g.arena, once);
    assert_int_equal(g.found.count, 7);
    assert_true(bytes_equal(masked(&g, "gen_ai.prompt", kept), kept));
    assert_int_equal(g.found.count, 0);
    rig_done(&g);
}

static void a_masked_text_of_json_is_json(void **state)
{
    static const char *const texts[] = {
        "[{\"role\":\"user\",\"content\":\"-----BEGIN RSA PRIVATE "
        "KEY-----\\nMIIEow\\n-----END RSA PRIVATE KEY-----\"}]",
        "{\"password\":\"hunter2!x\",\"api_key\":\"0123456789abcdef0123456789abcdef\"}",
        "{\"a\":\"line\\n" MAIL "\",\"b\":\"-----BEGIN PRIVATE KEY-----\\nMIIEow cut off\"}"};
    struct rig g;
    struct err_msg msg;
    rig_new(&g, NULL);
    for (int drop = 0; drop < 2; drop++) {
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
            struct json_node *n;
            struct bytes out = masked(&g, "gen_ai.prompt", bytes_str(texts[i]));
            assert_false(bytes_equal(out, bytes_str(texts[i])));
            if (json_in_tree(out, 16, g.arena, &n, &msg) != ERR_OK)
                fail_msg("%s: " BYTES_FMT, msg.text, BYTES_ARG(out));
        }
        rig_done(&g);
        rig_new(&g, "actions: {all: drop}");
    }
    rig_done(&g);
}

/* A length or a type that stands before a text in its encoding looks like a digit or a letter now and then. */
static void what_stands_round_a_value_in_its_encoding_hides_nothing(void **state)
{
    struct rig g;
    rig_new(&g, NULL);
    for (size_t pad = 0; pad < 200; pad++) {
        struct tsdb_batch *b = tsdb_batch_new(1, TSDB_SPANS, 0);
        struct buf attrs = {0}, text = {0};
        buf_str(&text, "4012888888881881");
        for (size_t i = 0; i < pad; i++)
            buf_u8(&text, i ? 'x' : ' ');
        tsdb_attrs_put_str(&attrs, BYTES_LIT("1"), BYTES_LIT("7"));
        tsdb_attrs_put_str(&attrs, BYTES_LIT("note"), buf_bytes(&text));
        tsdb_attrs_put_str(&attrs, BYTES_LIT("9"), BYTES_LIT(KEY));
        uint32_t row = tsdb_batch_add_span(b);
        b->spans.attrs[row] = arena_copy(b->arena, buf_bytes(&attrs));
        redact_batch(g.scan, b);
        assert_true(redact_span(g.scan, b, row, &g.found));
        assert_int_equal(g.found.count, 2);
        assert_false(holds(b->spans.attrs[row], "4012888888881881"));
        assert_false(holds(b->spans.attrs[row], KEY));
        assert_int_equal(tsdb_attrs_check(b->spans.attrs[row]), ERR_OK);
        buf_done(&attrs);
        buf_done(&text);
        tsdb_batch_free(b);
    }
    rig_done(&g);
}

static struct bytes put_everywhere(struct tsdb_batch *b, uint32_t row, struct bytes value)
{
    struct buf attrs = {0}, list = {0}, inner = {0}, events = {0}, links = {0};
    struct tsdb_spans *s = &b->spans;
    tsdb_attrs_put_str(&inner, BYTES_LIT("deep"), value);
    tsdb_attrs_put_value(&list,
                         (struct tsdb_value){TSDB_VALUE_KVLIST, {.bytes = buf_bytes(&inner)}});
    tsdb_attrs_put(&attrs, BYTES_LIT("list"),
                   (struct tsdb_value){TSDB_VALUE_ARRAY, {.bytes = buf_bytes(&list)}});
    tsdb_attrs_put(&attrs, BYTES_LIT("raw"),
                   (struct tsdb_value){TSDB_VALUE_BYTES, {.bytes = value}});
    tsdb_attrs_put_i64(&attrs, BYTES_LIT("n"), 5);
    struct tsdb_event e = {.time_ns = 5, .name = value, .attrs = buf_bytes(&inner)};
    struct tsdb_link l = {.flags = 1, .attrs = buf_bytes(&inner)};
    tsdb_attrs_put_event(&events, &e);
    tsdb_attrs_put_link(&links, &l);
    s->name[row] = s->status_message[row] = s->service[row] = arena_copy(b->arena, value);
    s->attrs[row] = arena_copy(b->arena, buf_bytes(&attrs));
    s->resource_attrs[row] = arena_copy(b->arena, buf_bytes(&inner));
    s->events[row] = arena_copy(b->arena, buf_bytes(&events));
    s->links[row] = arena_copy(b->arena, buf_bytes(&links));
    buf_done(&attrs);
    buf_done(&list);
    buf_done(&inner);
    buf_done(&events);
    buf_done(&links);
    return s->attrs[row];
}

static void no_column_of_a_span_keeps_a_secret_and_the_listener_sees_it_as_sent(void **state)
{
    struct rig g;
    rig_new(&g, NULL);
    struct tsdb_batch *b = tsdb_batch_new(1, TSDB_SPANS, 0);
    for (uint32_t row = 0; row < 2; row++) {
        assert_int_equal(tsdb_batch_add_span(b), row);
        put_everywhere(b, row, BYTES_LIT(KEY));
        if (row) /* shared by rows: masked for both */
            b->spans.resource_attrs[1] = b->spans.resource_attrs[0];
    }
    redact_batch(g.scan, b);
    for (uint32_t row = 0; row < 2; row++) {
        const struct tsdb_spans *s = &b->spans;
        struct bytes sent = s->attrs[row];
        assert_true(redact_span(g.scan, b, row, &g.found));
        const struct bytes columns[] = {s->name[row],  s->status_message[row], s->service[row],
                                        s->attrs[row], s->resource_attrs[row], s->events[row],
                                        s->links[row]};
        for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
            assert_false(holds(columns[i], KEY));
            assert_true(holds(columns[i], "<OPENAI_KEY_"));
        }
        assert_true(bytes_equal(g.found.attrs, sent) && holds(g.found.attrs, KEY));
        assert_true(holds(g.found.events, KEY));
        struct tsdb_attrs_iter it = tsdb_attrs_begin(s->events[row]);
        struct tsdb_event e;
        assert_true(tsdb_attrs_next_event(&it, &e) && e.time_ns == 5 && !it.corrupt);
    }
    tsdb_batch_free(b);
    rig_done(&g);
}

static struct bytes placeholder(struct rig *g, uint8_t trace, const char *key, const char *text)
{
    struct tsdb_batch *b = tsdb_batch_new(1, TSDB_SPANS, 0);
    struct buf attrs = {0};
    struct tsdb_value v;
    uint32_t row = tsdb_batch_add_span(b);
    tsdb_attrs_put_str(&attrs, bytes_str(key), bytes_str(text));
    memset(b->spans.trace_id[row].b, trace, 16);
    b->spans.attrs[row] = arena_copy(b->arena, buf_bytes(&attrs));
    redact_batch(g->scan, b);
    assert_true(redact_span(g->scan, b, row, &g->found));
    assert_true(tsdb_attrs_find(b->spans.attrs[row], bytes_str(key), &v));
    struct bytes out = arena_copy(g->arena, v.bytes);
    buf_done(&attrs);
    tsdb_batch_free(b);
    return out;
}

static void a_value_keeps_its_identity_within_its_trace_only(void **state)
{
    static const uint8_t key[REDACT_KEY_BYTES] = {1};
    struct rig g;
    rig_new(&g, NULL);
    struct bytes a = placeholder(&g, 1, "gen_ai.input.messages", MAIL);
    assert_true(bytes_equal(a, placeholder(&g, 1, "gen_ai.output.messages", MAIL)));
    assert_true(bytes_equal(a, placeholder(&g, 1, "gen_ai.prompt", "Anna.K@Example.com")));
    assert_false(bytes_equal(a, placeholder(&g, 2, "gen_ai.prompt", MAIL)));
    assert_false(bytes_equal(a, placeholder(&g, 1, "gen_ai.prompt", "b" MAIL)));
    assert_true(bytes_equal(placeholder(&g, 1, "gen_ai.prompt", "4111 1111 1111 1111"),
                            placeholder(&g, 1, "gen_ai.prompt", "4111111111111111")));
    redact_set_key(g.rules, key);
    assert_false(bytes_equal(a, placeholder(&g, 1, "gen_ai.prompt", MAIL)));
    rig_done(&g);
    rig_new(&g, "actions: {email: hash}");
    assert_true(bytes_equal(placeholder(&g, 1, "user.email", MAIL),
                            placeholder(&g, 2, "gen_ai.prompt", MAIL)));
    rig_done(&g);
}

static void personal_data_is_hidden_in_content_and_kept_where_people_are_told_apart(void **state)
{
    struct rig g;
    rig_new(&g, NULL);
    assert_true(bytes_equal_str(placeholder(&g, 1, "user.email", MAIL), MAIL));
    assert_int_equal(g.found.finding[0].action, REDACT_KEEP);
    assert_false(bytes_equal_str(placeholder(&g, 1, "gen_ai.completion", MAIL), MAIL));
    assert_true(g.found.finding[0].in_output);
    assert_false(bytes_equal_str(placeholder(&g, 1, "gen_ai.prompt", MAIL), MAIL));
    assert_false(g.found.finding[0].in_output);
    assert_false(holds(placeholder(&g, 1, "note", "card 4111111111111111"), "4111"));
    rig_done(&g);
}

static void own_patterns_are_found_and_single_kinds_win_over_groups(void **state)
{
    struct rig g;
    rig_new(&g, "actions: {secret: keep, openai_key: mask}\n"
                "patterns:\n- {name: badge, pattern: 'B-[0-9]{4,8}', group: national_id}\n");
    struct bytes out = masked(&g, "note",
                              BYTES_LIT("B-12345678 and B-1234, ghp_"
                                        "0123456789abcdefABCDEF0123456789abcd " KEY));
    assert_false(holds(out, "B-12345678"));
    assert_false(holds(out, "B-1234"));
    assert_true(holds(out, "<BADGE_"));
    assert_true(holds(out, "ghp_0123"));
    assert_false(holds(out, KEY));
    rig_done(&g);
}

static void each_mistake_names_its_line(void **state)
{
    static const struct {
        const char *yaml, *said;
    } cases[] = {
        {"actions: {mail: mask}", "telltale.yaml:1: redaction: 'mail' is no kind"},
        {"\nactions: {email: burn}", "telltale.yaml:2: redaction: 'burn' is no action"},
        {"patterns:\n- {name: email, pattern: x}", "'email' is taken"},
        {"patterns:\n- {name: Bad, pattern: x}", "'Bad' is no name"},
        {"patterns:\n- {name: bad, pattern: '('}", "telltale.yaml:2: redaction: pattern 'bad': "},
        {"patterns:\n- {name: bad}", "'bad' has no pattern"},
        {"patterns:\n- {name: bad, pattern: 'a*'}", "pattern 'bad': "},
        {"patterns:\n- {name: big, pattern: '(a{1,500}b{1,500}){1,500}'}", "pattern 'big': "},
        {"services: {x: {actoins: {}}}", "'actoins' is neither"},
        {"alerts: [nothing]", "'nothing' is no kind"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rig g;
        struct buf errors = {0};
        if (rig_open(&g, cases[i].yaml, &errors))
            fail_msg("\"%s\" is taken", cases[i].yaml);
        if (!holds(buf_bytes(&errors), cases[i].said))
            fail_msg("\"%s\" says " BYTES_FMT, cases[i].yaml, BYTES_ARG(buf_bytes(&errors)));
        buf_done(&errors);
        arena_free(g.arena);
    }
}

static void the_key_is_made_once_and_is_nobody_elses_to_read(void **state)
{
    char dir[] = "/tmp/telltale-redact-XXXXXX", path[128];
    struct rig a, b;
    struct err_msg msg;
    struct stat st;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/keys/redaction", dir);
    rig_new(&a, NULL);
    rig_new(&b, NULL);
    assert_int_equal(redact_load_key(a.rules, dir, &msg), ERR_OK);
    assert_int_equal(redact_load_key(b.rules, dir, &msg), ERR_OK);
    assert_true(bytes_equal(placeholder(&a, 1, "gen_ai.prompt", MAIL),
                            placeholder(&b, 1, "gen_ai.prompt", MAIL)));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(chmod(path, 0644), 0);
    assert_int_equal(redact_load_key(b.rules, dir, &msg), ERR_FORBIDDEN);
    assert_int_equal(redact_parse_key(b.rules, "abc", &msg), ERR_INVALID);
    files_remove_tree(dir);
    rig_done(&a);
    rig_done(&b);
}

static void a_text_with_too_many_findings_goes_as_a_whole(void **state)
{
    struct rig g;
    struct buf text = {0};
    rig_new(&g, NULL);
    for (unsigned i = 0; i < REDACT_MATCHES_MAX + 1; i++)
        buf_printf(&text, "user%u@example.com ", i);
    assert_true(bytes_equal_str(masked(&g, "gen_ai.prompt", buf_bytes(&text)), "<REDACTED>"));
    buf_done(&text);
    rig_done(&g);
}

/* Digits are looked for in blocks: at each place of each length, whole and by groups. */
static void a_number_is_seen_wherever_it_lies(void **state)
{
    static const char *const numbers[] = {"4012888888881881", "4012 8888 8888 1881", "8.8.8.8",
                                          "AB 12 34 56 C",    "RSSMRA85T10A562S",    "12345678Z",
                                          "X1234567L",        "(415) 555-2671"};
    uint8_t text[400];
    for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++) {
        size_t n = strlen(numbers[k]);
        for (size_t at = 0; at < 200; at++) {
            memset(text, 'x', sizeof text);
            memcpy(text + at, numbers[k], n);
            text[at + n] = ' ';
            if (!redact_match_has_digits(bytes_of(text, at + n)) ||
                !redact_match_has_digits(bytes_of(text, sizeof text)))
                fail_msg("%s at %zu", numbers[k], at);
        }
    }
    assert_false(redact_match_has_digits(BYTES_LIT("client.address 10.1.2.3 gpt-4o-2024-08-06")));
}

static void bytes_of_no_shape_lose_what_would_be_masked(void **state)
{
    uint8_t data[] = "\x01\x02{\"k\":\"" KEY "\",\"n\":\"4012888888881881\"}";
    struct rig g;
    rig_new(&g, NULL);
    redact_blank(g.scan, data, sizeof data - 1);
    struct bytes out = bytes_of(data, sizeof data - 1);
    assert_false(holds(out, KEY) || holds(out, "4012888888881881"));
    assert_true(holds(out, "{\"k\":\"****") && holds(out, "\"}"));
    rig_done(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clean_text_stays_as_it_is),
        cmocka_unit_test(masking_twice_is_masking_once),
        cmocka_unit_test(a_masked_text_of_json_is_json),
        cmocka_unit_test(what_stands_round_a_value_in_its_encoding_hides_nothing),
        cmocka_unit_test(no_column_of_a_span_keeps_a_secret_and_the_listener_sees_it_as_sent),
        cmocka_unit_test(a_value_keeps_its_identity_within_its_trace_only),
        cmocka_unit_test(personal_data_is_hidden_in_content_and_kept_where_people_are_told_apart),
        cmocka_unit_test(own_patterns_are_found_and_single_kinds_win_over_groups),
        cmocka_unit_test(each_mistake_names_its_line),
        cmocka_unit_test(the_key_is_made_once_and_is_nobody_elses_to_read),
        cmocka_unit_test(a_text_with_too_many_findings_goes_as_a_whole),
        cmocka_unit_test(a_number_is_seen_wherever_it_lies),
        cmocka_unit_test(bytes_of_no_shape_lose_what_would_be_masked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
