/* What agents and coding CLIs send, as they send it: files of OTLP/JSON through the decoder (as JSON and as protobuf), the stage and the store, in
 * several orders and more than once. Calls, tokens, money and outcomes must match to the unit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <dirent.h>
#include <ftw.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/json_in.h"
#include "base/json_out.h"
#include "collector/otlp/helper_otlp.h"
#include "collector/otlp/json_wire.h"
#include "collector/stage/stage.h"
#include "otlp.pb-c.h"
#include "tsdb/tsdb_read.h"

#define T0_NS INT64_C(1795168800000000000) /* of the files */
#define SECOND INT64_C(1000000000)
#define REQUESTS_MAX 8u
#define FILES_MAX 64u

/* Prices of their own, so that a change of the list cannot hide a change of the arithmetic. */
static const char prices[] =
    "prices:\n"
    "  - {model: claude-opus-4-6, input: 5, output: 25, cache_read: 0.5, cache_write: 6.25}\n"
    "  - {model: gpt-5-codex, input: 1.25, output: 10, cache_read: 0.125}\n"
    "  - {model: gemini-2.5-pro, input: 1.25, output: 10, cache_read: 0.31}\n"
    "  - {model: gpt-4o, input: 2.5, output: 10, cache_read: 1.25}\n";

struct store {
    char dir[64];
    struct stage *stage;
    struct tsdb *db;
    int64_t base_ns; /* what the files' T0 becomes */
    uint32_t org; /* each run has one of its own */
    int wrong, runs;
};

struct request {
    enum tsdb_signal signal;
    struct bytes json;
};

struct answer {
    pthread_mutex_t lock;
    pthread_cond_t came;
    bool done;
    enum err e;
};

static void store_open(struct store *s, const char *mutate)
{
    struct err_msg msg = {""};
    struct stage_options so = {.mutate = mutate, .genai.prices_yaml = bytes_str(prices)};
    memset(s, 0, sizeof *s);
    snprintf(s->dir, sizeof s->dir, "/tmp/telltale-agents-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    if (stage_new(&so, &s->stage, &msg) != ERR_OK)
        fail_msg("%s", msg.text);
    struct tsdb_options o = {.dir = s->dir, .settler = stage_settler(s->stage)};
    if (tsdb_open(&o, &s->db, &msg) != ERR_OK)
        fail_msg("%s", msg.text);
    stage_set_series(s->stage, tsdb_series(s->db));
    s->base_ns = (clock_wall_ns() / (60 * SECOND) - 1440) * 60 * SECOND;
    s->org = 10;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    return remove(path);
}

static void store_close(struct store *s)
{
    tsdb_close(s->db, false);
    stage_free(s->stage);
    assert_int_equal(nftw(s->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

/* --- files ------------------------------------------------------------------------------------------- */

static struct bytes file_read(const char *name, struct arena *a)
{
    const char *dir = getenv("TELLTALE_FIXTURES");
    char path[1024], chunk[4096];
    struct buf text;
    size_t n;
    snprintf(path, sizeof path, "%s/agents/%s", dir ? dir : "tests/fixtures", name);
    FILE *in = fopen(path, "rb");
    if (!in)
        fail_msg("cannot open %s", path);
    buf_init(&text, 0);
    while ((n = fread(chunk, 1, sizeof chunk, in)) > 0)
        buf_append(&text, chunk, n);
    fclose(in);
    struct bytes kept = arena_copy(a, buf_bytes(&text));
    buf_done(&text);
    return kept;
}

static int name_compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static size_t files_list(char **out)
{
    const char *dir = getenv("TELLTALE_FIXTURES");
    char path[1024];
    size_t n = 0;
    snprintf(path, sizeof path, "%s/agents", dir ? dir : "tests/fixtures");
    DIR *d = opendir(path);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) && n < FILES_MAX;)
        if (strstr(e->d_name, ".json"))
            out[n++] = strdup(e->d_name);
    closedir(d);
    qsort(out, n, sizeof *out, name_compare);
    return n;
}

/* The request as it stands in the file, its times moved to today: the store refuses what is too old. */
static void write_node(struct json_out *j, const struct json_node *n, int64_t shift_ns)
{
    int64_t t;
    char text[64];
    switch (n->type) {
    case JSON_NULL: json_out_null(j); break;
    case JSON_BOOL: json_out_bool(j, n->boolean); break;
    case JSON_NUMBER: json_out_raw(j, n->text); break;
    case JSON_STRING:
        if (bytes_has_suffix(n->key, BYTES_LIT("UnixNano")) && bytes_to_i64(n->text, &t)) {
            json_out_i64_str(j, t + shift_ns);
        } else if (n->text.size < sizeof text &&
                   bytes_has_prefix(n->text, BYTES_LIT("2026-11-20T"))) {
            memcpy(text, n->text.data, n->text.size);
            text[n->text.size] = 0;
            assert_true(clock_parse_rfc3339(text, &t));
            clock_rfc3339((t + shift_ns) / 1000000, text);
            json_out_str(j, text);
        } else
            json_out_bytes(j, n->text);
        break;
    case JSON_ARRAY:
        json_out_array(j);
        for (const struct json_node *c = n->child; c; c = c->next)
            write_node(j, c, shift_ns);
        json_out_array_end(j);
        break;
    default:
        json_out_object(j);
        for (const struct json_node *c = n->child; c; c = c->next) {
            json_out_key_bytes(j, c->key);
            write_node(j, c, shift_ns);
        }
        json_out_object_end(j);
    }
}

static enum tsdb_signal signal_of(struct bytes name)
{
    return bytes_equal_str(name, "spans")  ? TSDB_SPANS
           : bytes_equal_str(name, "logs") ? TSDB_LOGS
                                           : TSDB_SAMPLES;
}

static size_t requests_read(const struct json_node *one, int64_t shift_ns, struct arena *a,
                            struct request *out)
{
    size_t n = 0;
    const struct json_node *list = json_get(one, "requests");
    for (const struct json_node *r = list ? list->child : NULL; r; r = r->next) {
        struct buf text;
        assert_true(n < REQUESTS_MAX);
        buf_init(&text, 0);
        struct json_out j = json_out_to(&text);
        write_node(&j, json_get(r, "body"), shift_ns);
        out[n++] =
            (struct request){signal_of(json_get_str(r, "signal")), arena_copy(a, buf_bytes(&text))};
        buf_done(&text);
    }
    assert_true(n > 0);
    return n;
}

/* --- sending ----------------------------------------------------------------------------------------- */

/* Rewritten as protobuf, read and written once more by the schema's own code. */
static uint8_t *as_protobuf(const struct request *r, size_t *out_size)
{
    static const ProtobufCMessageDescriptor *const roots[] = {
        [TSDB_SPANS] = &otlp__export_trace_service_request__descriptor,
        [TSDB_LOGS] = &otlp__export_logs_service_request__descriptor,
        [TSDB_SAMPLES] = &otlp__export_metrics_service_request__descriptor};
    static const enum otlp_schema_id schemas[] = {[TSDB_SPANS] = OTLP_SCHEMA_TRACES,
                                                  [TSDB_LOGS] = OTLP_SCHEMA_LOGS,
                                                  [TSDB_SAMPLES] = OTLP_SCHEMA_METRICS};
    struct buf wire;
    struct err_msg msg = {""};
    buf_init(&wire, 0);
    if (json_wire(schemas[r->signal], r->json, &wire, &msg) != ERR_OK)
        fail_msg("%s", msg.text);
    struct bytes b = buf_bytes(&wire);
    ProtobufCMessage *m = protobuf_c_message_unpack(roots[r->signal], NULL, b.size, b.data);
    assert_non_null(m);
    uint8_t *packed = helper_otlp_pack(m, out_size);
    protobuf_c_message_free_unpacked(m, NULL);
    buf_done(&wire);
    return packed;
}

static void append_done(void *ctx, enum err e, const struct tsdb_result *r)
{
    struct answer *a = ctx;
    pthread_mutex_lock(&a->lock);
    a->done = true;
    a->e = e;
    pthread_cond_signal(&a->came);
    pthread_mutex_unlock(&a->lock);
}

static void send_batch(struct store *s, struct tsdb_batch *b)
{
    struct answer a = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, ERR_OK};
    struct err_msg msg = {""};
    if (stage_apply(s->stage, b, &msg) != ERR_OK)
        fail_msg("%s", msg.text);
    assert_int_equal(tsdb_append(s->db, &b, append_done, &a), ERR_OK);
    pthread_mutex_lock(&a.lock);
    while (!a.done)
        pthread_cond_wait(&a.came, &a.lock);
    pthread_mutex_unlock(&a.lock);
    assert_int_equal(a.e, ERR_OK);
}

static void send_request(struct store *s, const struct request *r, enum otlp_encoding encoding,
                         int64_t now_ns, unsigned turn)
{
    struct otlp_decode_options o = {.org = s->org,
                                    .signal = r->signal,
                                    .encoding = encoding,
                                    .series = tsdb_series(s->db),
                                    .now_ns = now_ns,
                                    .floor_ms = tsdb_retention_floor_ms(s->db)};
    struct tsdb_batch *b;
    struct err_msg msg = {""};
    size_t size = r->json.size;
    uint8_t *body;
    if (encoding == OTLP_PROTOBUF) {
        body = as_protobuf(r, &size);
    } else {
        body = malloc(size);
        memcpy(body, r->json.data, size);
    }
    if (otlp_decode(&o, body, size, &b, &msg) != ERR_OK)
        fail_msg("%s", msg.text);
    assert_int_equal(tsdb_batch_rejected(b), 0);
    b->request_key.lo +=
        turn; /* sent again in another request: the window of repeated requests does not help */
    send_batch(s, b);
}

/* A minute and more passes without a word of this trace. */
static void pass_time(struct store *s, int64_t now_ns)
{
    struct tsdb_batch *b = tsdb_batch_new(s->org, TSDB_LOGS, 0);
    assert_non_null(b);
    uint32_t row = tsdb_batch_add_log(b);
    b->logs.time_ns[row] = b->logs.observed_ns[row] = s->base_ns;
    b->logs.service[row] = BYTES_LIT("clock");
    b->received = 1;
    b->received_ns = now_ns;
    send_batch(s, b);
}

/* --- what came of it --------------------------------------------------------------------------------- */

static size_t matchers_of(struct bytes selector, struct tsdb_matcher *m)
{
    size_t n = 1, brace = bytes_find(selector, BYTES_LIT("{"));
    m[0] = (struct tsdb_matcher){.name = BYTES_LIT("__name__"),
                                 .value = bytes_slice(selector, 0, brace)};
    struct bytes rest = bytes_slice(selector, brace + 1, selector.size);
    while (rest.size > 1) {
        size_t eq = bytes_find(rest, BYTES_LIT("=\""));
        struct bytes value = bytes_slice(rest, eq + 2, rest.size);
        size_t end = bytes_find(value, BYTES_LIT("\""));
        m[n++] = (struct tsdb_matcher){.name = bytes_slice(rest, 0, eq),
                                       .value = bytes_slice(value, 0, end)};
        rest = bytes_slice(value, end + 1, value.size);
        if (rest.size && rest.data[0] == ',')
            rest = bytes_slice(rest, 1, rest.size);
    }
    return n;
}

static double sum_of(struct store *s, struct tsdb_view *v, struct bytes selector, struct arena *a)
{
    struct tsdb_matcher m[8];
    bool counts = bytes_has_prefix(selector, BYTES_LIT("count "));
    if (counts)
        selector = bytes_slice(selector, 6, selector.size);
    size_t n = matchers_of(selector, m);
    uint32_t from = tsdb_batch_minute(s->base_ns) - 5, to = from + 60;
    if (bytes_find(m[0].value, BYTES_LIT("_seconds")) < m[0].value.size) {
        struct tsdb_hist h = {0};
        assert_int_equal(tsdb_cells_hist(v, m, n, from, to, a, &h), ERR_OK);
        return counts ? h.count : h.sum;
    }
    int64_t sum = 0;
    assert_int_equal(tsdb_cells_sum(v, m, n, from, to, &sum), ERR_OK);
    return (double)sum;
}

static bool cell_is(const struct tsdb_column *c, const void *table, uint32_t row,
                    const struct json_node *want, int64_t shift_ns)
{
    const uint8_t *p;
    int64_t number = c->def, wanted;
    struct bytes text = BYTES_NONE;
    memcpy(&p, (const uint8_t *)table + c->offset, sizeof p);
    if (p && c->type == TSDB_STR)
        memcpy(&text, p + row * sizeof text, sizeof text);
    else if (p && c->type == TSDB_I64)
        memcpy(&number, p + row * 8, 8);
    else if (p && c->type == TSDB_U8)
        number = p[row];
    if (c->type == TSDB_STR)
        return bytes_equal(text, want->text);
    assert_true(bytes_to_i64(want->text, &wanted));
    return number == wanted + (strcmp(c->name, "time_ns") == 0 ? shift_ns : 0);
}

/* Is there a row that has all of these values? */
static bool any_row(const struct tsdb_schema *schema, const void *table, uint32_t rows,
                    const struct json_node *want, int64_t shift_ns)
{
    for (uint32_t r = 0; r < rows; r++) {
        bool all = true;
        for (const struct json_node *w = want->child; w && all; w = w->next) {
            const struct tsdb_column *c = NULL;
            for (uint32_t i = 0; i < schema->column_count; i++)
                if (bytes_equal_str(w->key, schema->columns[i].name))
                    c = &schema->columns[i];
            assert_non_null(c);
            all = cell_is(c, table, r, w, shift_ns);
        }
        if (all)
            return true;
    }
    return false;
}

static int columns_compare(struct tsdb_view *v, const struct json_node *one, struct arena *a,
                           int64_t shift_ns, const char *what, bool quiet)
{
    const struct json_node *columns = json_get(one, "columns");
    const struct json_node *of_logs = json_get(columns, "logs"),
                           *of_spans = json_get(columns, "spans");
    int wrong = 0;
    struct tsdb_logs logs;
    struct tsdb_spans spans;
    struct tsdb_log_filter lf = {.max_ns = INT64_MAX};
    struct tsdb_span_filter sf = {.start_max_ns = INT64_MAX};
    assert_int_equal(tsdb_log_scan(v, &lf, 1000, a, &logs), ERR_OK);
    assert_int_equal(tsdb_span_scan(v, &sf, 1000, a, &spans), ERR_OK);
    if (of_logs && !any_row(&tsdb_batch_log_schema, &logs, logs.count, of_logs, shift_ns))
        wrong++;
    if (of_spans && !any_row(&tsdb_batch_span_schema, &spans, spans.count, of_spans, shift_ns))
        wrong++;
    if (wrong && !quiet)
        print_error("%s: no row has the columns that it should have\n", what);
    return wrong;
}

static int compare(struct store *s, const struct json_node *one, int64_t shift_ns, const char *what,
                   bool quiet)
{
    struct arena *a = arena_new(0);
    struct tsdb_view *v;
    int wrong = 0;
    assert_int_equal(tsdb_view_open(s->db, s->org, NULL, &v), ERR_OK);
    const struct json_node *expect = json_get(one, "expect");
    assert_true(expect && expect->child);
    for (const struct json_node *n = expect->child; n; n = n->next) {
        double want = 0, got = sum_of(s, v, n->key, a);
        assert_true(bytes_to_f64(n->text, &want));
        if (fabs(got - want) <= 1e-9 * fmax(1, fabs(want)))
            continue;
        wrong++;
        if (!quiet)
            print_error("%s: " BYTES_FMT " is %.17g, not %.17g\n", what, BYTES_ARG(n->key), got,
                        want);
    }
    wrong += columns_compare(v, one, a, shift_ns, what, quiet);
    tsdb_view_close(v);
    arena_free(a);
    return wrong;
}

/* One order of a file's requests, in one encoding, in an organisation of its own. */
static void run_order(struct store *s, const char *file, const struct json_node *one,
                      struct bytes order, enum otlp_encoding encoding, bool quiet)
{
    struct arena *a = arena_new(0);
    struct request requests[REQUESTS_MAX];
    int64_t shift_ns = s->base_ns - T0_NS,
            now_ns = s->base_ns + 20 * SECOND + s->runs * SECOND * 200;
    size_t n = requests_read(one, shift_ns, a, requests);
    unsigned turn = 0;
    bool silence = json_get(one, "silence") != NULL;
    char what[160];
    snprintf(what, sizeof what, "%s, order %.*s, %s", file, (int)order.size,
             (const char *)order.data, encoding == OTLP_JSON ? "JSON" : "protobuf");
    s->org++;
    s->runs++;
    for (size_t i = 0; i < order.size; i++) {
        if (order.data[i] == ' ')
            continue;
        size_t which = (size_t)(order.data[i] - '0');
        assert_true(which < n);
        send_request(s, &requests[which], encoding, now_ns, turn++);
    }
    if (silence)
        pass_time(s, now_ns + 61 * SECOND);
    s->wrong += compare(s, one, shift_ns, what, quiet);
    arena_free(a);
}

static void run_files(struct store *s, const char *only, bool quiet)
{
    char *files[FILES_MAX];
    size_t n = files_list(files);
    assert_true(n >= 16);
    for (size_t i = 0; i < n; i++) {
        struct arena *a = arena_new(0);
        struct json_node *one;
        struct err_msg msg = {""};
        if (json_in_tree(file_read(files[i], a), 64, a, &one, &msg) != ERR_OK)
            fail_msg("%s: %s", files[i], msg.text);
        const struct json_node *orders = json_get(one, "orders");
        for (int encoding = 0; encoding < 2 && (!only || strstr(files[i], only)); encoding++) {
            if (!orders)
                run_order(s, files[i], one, BYTES_LIT("0"), (enum otlp_encoding)encoding, quiet);
            for (const struct json_node *o = orders ? orders->child : NULL; o; o = o->next)
                run_order(s, files[i], one, o->text, (enum otlp_encoding)encoding, quiet);
        }
        arena_free(a);
        free(files[i]);
    }
}

static void what_agents_send_counts_to_the_unit_in_any_order(void **state)
{
    struct store s;
    store_open(&s, NULL);
    run_files(&s, NULL, false);
    print_message("%d runs\n", s.runs);
    int wrong = s.wrong;
    store_close(&s);
    assert_int_equal(wrong, 0);
}

static double selected(struct store *s, const char *selector)
{
    struct arena *a = arena_new(0);
    struct tsdb_view *v;
    assert_int_equal(tsdb_view_open(s->db, s->org, NULL, &v), ERR_OK);
    double sum = sum_of(s, v, bytes_str(selector), a);
    tsdb_view_close(v);
    arena_free(a);
    return sum;
}

/* The metric of file 03: 384 tokens from cache and 216 fresh ones; its record: 600 in, 116 out. */
static void a_metric_books_only_for_a_service_that_told_of_no_call_for_a_day(void **state)
{
    const int64_t day = 86400 * SECOND;
    struct store s;
    struct arena *a = arena_new(0);
    struct json_node *one;
    struct request r[REQUESTS_MAX];
    store_open(&s, NULL);
    assert_int_equal(json_in_tree(file_read("03_claude_code_metric.json", a), 64, a, &one, NULL),
                     ERR_OK);
    assert_int_equal(requests_read(one, s.base_ns - T0_NS, a, r), 3);
    int64_t now = s.base_ns + 20 * SECOND;
    send_request(&s, &r[1], OTLP_PROTOBUF, now, 1);
    send_request(&s, &r[1], OTLP_PROTOBUF, now + day - SECOND, 2);
    assert_true(selected(&s, "llm_tokens_total{}") == 0);
    assert_true(selected(&s, "llm_reported_tokens_drift{service=\"claude-code\"}") == 1200);
    send_request(&s, &r[1], OTLP_PROTOBUF, now + day, 3);
    assert_true(selected(&s, "llm_tokens_total{type=\"input\",model=\"claude-opus-4-6\"}") == 600);
    assert_true(selected(&s, "llm_tokens_total{type=\"cache_read\"}") == 384);
    assert_true(selected(&s, "llm_cost_nanousd_total{}") == 216 * 5000 + 384 * 500);
    assert_true(selected(&s, "llm_requests_total{}") == 0); /* of how many calls is not known */
    assert_true(selected(&s, "llm_reported_tokens_drift{service=\"claude-code\"}") == 1200);
    send_request(&s, &r[0], OTLP_PROTOBUF, now + day + SECOND, 4); /* a record after all */
    send_request(&s, &r[1], OTLP_PROTOBUF, now + day + 2 * SECOND, 5);
    assert_true(selected(&s, "llm_tokens_total{type=\"input\"}") == 1200);
    assert_true(selected(&s, "llm_reported_tokens_drift{service=\"claude-code\"}") ==
                1200 + 600 - 716);
    arena_free(a);
    store_close(&s);
}

static void the_files_notice_a_rule_that_is_switched_off(void **state)
{
    static const char *const rules[][2] = {
        {"twins", "02_"}, {"tools", "10_"}, {"tools", "17_"}, {"leaf", "11b_"}, {"twins", "07_"}};
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        struct store s;
        store_open(&s, rules[i][0]);
        run_files(&s, rules[i][1], true);
        int wrong = s.wrong;
        store_close(&s);
        if (!wrong)
            fail_msg("without \"%s\" %s still passes", rules[i][0], rules[i][1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_agents_send_counts_to_the_unit_in_any_order),
        cmocka_unit_test(a_metric_books_only_for_a_service_that_told_of_no_call_for_a_day),
        cmocka_unit_test(the_files_notice_a_rule_that_is_switched_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
