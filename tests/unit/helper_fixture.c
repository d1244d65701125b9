#include "helper_fixture.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct fixture_file fixture_open(const char *path)
{
    char full[1024];
    struct fixture_file f = {arena_new(0), NULL};
    struct err_msg msg = {""};
    struct json_node *root;
    const char *dir = getenv("TELLTALE_FIXTURES");
    snprintf(full, sizeof full, "%s/%s", dir ? dir : "tests/fixtures", path);
    FILE *in = fopen(full, "rb");
    if (!in)
        fail_msg("cannot open %s", full);
    struct buf text;
    char chunk[4096];
    size_t n;
    buf_init(&text, 0);
    while ((n = fread(chunk, 1, sizeof chunk, in)) > 0)
        buf_append(&text, chunk, n);
    fclose(in);
    struct bytes kept = arena_copy(f.arena, buf_bytes(&text));
    buf_done(&text);
    if (json_in_tree(kept, 64, f.arena, &root, &msg) != ERR_OK)
        fail_msg("%s: %s", full, msg.text);
    f.cases = root->child;
    return f;
}

void fixture_close(struct fixture_file *f)
{
    arena_free(f->arena);
}

/* --- batches ---------------------------------------------------------------------------------------- */

static void put_value(struct buf *out, struct bytes key, const struct json_node *n)
{
    struct tsdb_value v = {.type = TSDB_VALUE_STRING};
    if (n->type == JSON_STRING)
        v.bytes = n->text;
    else if (n->type == JSON_BOOL) {
        v.type = TSDB_VALUE_BOOL;
        v.boolean = n->boolean;
    } else if (n->type == JSON_NUMBER) {
        v.type = TSDB_VALUE_INT;
        if (!bytes_to_i64(n->text, &v.integer)) {
            v.type = TSDB_VALUE_DOUBLE;
            assert_true(bytes_to_f64(n->text, &v.number));
        }
    } else if (n->type == JSON_ARRAY) {
        struct buf inner;
        buf_init(&inner, 0);
        for (const struct json_node *c = n->child; c; c = c->next)
            tsdb_attrs_put_value(&inner,
                                 (struct tsdb_value){.type = TSDB_VALUE_STRING, .bytes = c->text});
        v.type = TSDB_VALUE_ARRAY;
        v.bytes = buf_bytes(&inner);
        tsdb_attrs_put(out, key, v);
        buf_done(&inner);
        return;
    } else
        fail_msg("a fixture attribute is text, number, boolean or a list of text");
    tsdb_attrs_put(out, key, v);
}

static struct bytes attrs_of(struct arena *a, const struct json_node *object,
                             const struct json_node *scratch_service)
{
    struct buf out;
    buf_init(&out, 0);
    if (scratch_service)
        put_value(&out, BYTES_LIT("service.name"), scratch_service);
    for (const struct json_node *n = object ? object->child : NULL; n; n = n->next)
        put_value(&out, n->key, n);
    struct bytes kept = arena_copy(a, buf_bytes(&out));
    buf_done(&out);
    return kept;
}

static int64_t ms_of(const struct json_node *o, const char *key, double def)
{
    double ms = def;
    json_get_f64(o, key, &ms);
    return llround(ms * 1e6);
}

static void id_of(struct bytes text, uint8_t *out, size_t size)
{
    memset(out, 0, size);
    for (size_t i = 0; i < text.size; i++) /* readable names as ids */
        out[i % size] ^= text.data[i];
}

static struct bytes events_of(struct arena *a, const struct json_node *list, int64_t start)
{
    struct buf out;
    buf_init(&out, 0);
    for (const struct json_node *n = list ? list->child : NULL; n; n = n->next) {
        struct tsdb_event e = {.time_ns = (uint64_t)(start + ms_of(n, "t", 0)),
                               .name = json_get_str(n, "name"),
                               .attrs = attrs_of(a, json_get(n, "a"), NULL)};
        tsdb_attrs_put_event(&out, &e);
    }
    struct bytes kept = arena_copy(a, buf_bytes(&out));
    buf_done(&out);
    return kept;
}

static void add_span(struct tsdb_batch *b, const struct json_node *n, struct bytes service,
                     struct bytes resource, struct bytes scope)
{
    struct arena *a = b->arena;
    uint32_t row = tsdb_batch_add_span(b);
    assert_int_not_equal(row, TSDB_NO_ROW);
    struct tsdb_spans *s = &b->spans;
    int64_t v = 0;
    struct bytes trace = json_get_str(n, "trace");
    id_of(trace.size ? trace : BYTES_LIT("t"), s->trace_id[row].b, 16);
    id_of(json_get_str(n, "id"), s->span_id[row].b, 8);
    id_of(json_get_str(n, "parent"), s->parent_id[row].b, 8);
    s->name[row] = arena_copy(a, json_get_str(n, "name"));
    s->kind[row] = json_get_i64(n, "kind", &v) ? (uint8_t)v : 3;
    s->status[row] = json_get_i64(n, "status", &v) ? (uint8_t)v : 0;
    s->status_message[row] = arena_copy(a, json_get_str(n, "message"));
    s->service[row] = service;
    s->resource_attrs[row] = resource;
    s->scope_name[row] = scope;
    s->start_ns[row] = FIXTURE_T0_NS + ms_of(n, "start", 0);
    s->end_ns[row] = FIXTURE_T0_NS + ms_of(n, "end", 1000);
    s->attrs[row] = attrs_of(a, json_get(n, "a"), NULL);
    s->events[row] = events_of(a, json_get(n, "events"), FIXTURE_T0_NS);
    b->received++;
}

static void add_log(struct tsdb_batch *b, const struct json_node *n, struct bytes service,
                    struct bytes resource, struct bytes scope)
{
    struct arena *a = b->arena;
    uint32_t row = tsdb_batch_add_log(b);
    assert_int_not_equal(row, TSDB_NO_ROW);
    struct tsdb_logs *l = &b->logs;
    struct buf body;
    buf_init(&body, 0);
    tsdb_attrs_put_value(
        &body, (struct tsdb_value){.type = TSDB_VALUE_STRING, .bytes = json_get_str(n, "body")});
    l->body[row] = arena_copy(a, buf_bytes(&body));
    buf_done(&body);
    l->observed_ns[row] = FIXTURE_T0_NS + 5000000000;
    l->time_ns[row] = FIXTURE_T0_NS + ms_of(n, "t", 5000);
    l->event_name[row] = arena_copy(a, json_get_str(n, "event_name"));
    l->service[row] = service;
    l->resource_attrs[row] = resource;
    l->scope_name[row] = scope;
    l->attrs[row] = attrs_of(a, json_get(n, "a"), NULL);
    b->received++;
}

struct tsdb_batch *fixture_batch(const struct json_node *n)
{
    const struct json_node *spans = json_get(n, "spans"), *logs = json_get(n, "logs");
    struct tsdb_batch *b = tsdb_batch_new(TSDB_ORG_DEFAULT, logs ? TSDB_LOGS : TSDB_SPANS, 0);
    assert_non_null(b);
    b->received_ns = FIXTURE_T0_NS + ms_of(n, "received", 2000);
    struct bytes service = json_get_str(n, "service");
    service = arena_copy(b->arena, service.size ? service : BYTES_LIT("app"));
    struct bytes resource = attrs_of(b->arena, json_get(n, "resource"), NULL);
    struct bytes scope = arena_copy(b->arena, json_get_str(n, "scope"));
    for (const struct json_node *s = spans ? spans->child : NULL; s; s = s->next) {
        struct bytes own = json_get_str(s, "scope"), own_service = json_get_str(s, "service");
        add_span(b, s, own_service.size ? arena_copy(b->arena, own_service) : service, resource,
                 own.size ? arena_copy(b->arena, own) : scope);
    }
    for (const struct json_node *l = logs ? logs->child : NULL; l; l = l->next)
        add_log(b, l, service, resource, scope);
    return b;
}

/* --- running ------------------------------------------------------------------------------------------ */

void fixture_run_begin(struct fixture_run *r, const struct json_node *one, const char *mutate)
{
    struct genai_entry_rule entries[16];
    struct stage_options o = {.mutate = mutate};
    struct err_msg msg = {""};
    memset(r, 0, sizeof *r);
    const struct json_node *list = json_get(one, "entries");
    for (const struct json_node *n = list ? list->child : NULL; n; n = n->next)
        entries[o.genai.entry_count++] =
            (struct genai_entry_rule){json_get_str(n, "service"), json_get_str(n, "route"),
                                      json_get_str(n, "operation"), json_get_str(n, "name")};
    o.genai.entries = entries;
    o.genai.prices_yaml = json_get_str(one, "prices");
    int64_t max;
    if (json_get_i64(one, "breakdown_values_max", &max))
        o.breakdown_values_max = (uint32_t)max;
    if (stage_new(&o, &r->stage, &msg) != ERR_OK)
        fail_msg("%s", msg.text);
    r->series = tsdb_registry_new(0);
    stage_set_series(r->stage, r->series);
    r->settler = stage_settler(r->stage);
    struct stage_threshold t[STAGE_THRESHOLDS_MAX];
    size_t n = 0;
    list = json_get(one, "thresholds");
    for (const struct json_node *k = list ? list->child : NULL; k; k = k->next) {
        t[n].family = json_get_str(k, "family");
        assert_true(json_get_f64(k, "le", &t[n++].le_seconds));
    }
    if (stage_set_thresholds(r->stage, t, n, &msg) != ERR_OK)
        fail_msg("%s", msg.text);
}

void fixture_run_end(struct fixture_run *r)
{
    for (size_t i = 0; i < r->batch_count; i++)
        tsdb_batch_free(r->batches[i]);
    stage_free(r->stage);
    tsdb_registry_free(r->series);
    free(r->sums);
    free(r->counts);
}

void fixture_run_batch(struct fixture_run *r, struct tsdb_batch *b)
{
    struct err_msg msg = {""};
    assert_true(r->batch_count < sizeof r->batches / sizeof *r->batches);
    if (stage_apply(r->stage, b, &msg) != ERR_OK)
        fail_msg("%s", msg.text);
    assert_int_equal(r->settler.settle(r->settler.ctx, b, ++r->seq, 1), ERR_OK);
    size_t refs = tsdb_registry_count(r->series) + 1;
    if (refs > r->ref_cap) {
        r->sums = realloc(r->sums, refs * sizeof *r->sums);
        r->counts = realloc(r->counts, refs * sizeof *r->counts);
        for (size_t i = r->ref_cap; i < refs; i++)
            r->sums[i] = r->counts[i] = 0;
        r->ref_cap = refs;
    }
    for (uint32_t i = 0; i < b->cells.count; i++) {
        const struct tsdb_hist *h = b->cells.hist ? b->cells.hist[i] : NULL;
        r->sums[b->cells.series[i].v] += h ? h->sum : (double)b->cells.add[i];
        r->counts[b->cells.series[i].v] += h ? h->count : 0;
    }
    r->batches[r->batch_count++] = b;
}

static bool selector_matches(struct tsdb_labels labels, struct bytes selector)
{
    size_t brace = bytes_find(selector, BYTES_LIT("{"));
    struct bytes family = bytes_slice(selector, 0, brace);
    if (!bytes_equal(tsdb_labels_get(labels, BYTES_LIT("__name__")), family))
        return false;
    struct bytes rest =
        brace < selector.size ? bytes_slice(selector, brace + 1, selector.size) : BYTES_NONE;
    while (rest.size > 1) {
        size_t eq = bytes_find(rest, BYTES_LIT("=\""));
        if (eq >= rest.size)
            break;
        struct bytes name = bytes_slice(rest, 0, eq);
        struct bytes value = bytes_slice(rest, eq + 2, rest.size);
        size_t end = bytes_find(value, BYTES_LIT("\""));
        if (end >= value.size)
            fail_msg("selector " BYTES_FMT ": a value is not closed", BYTES_ARG(selector));
        if (!bytes_equal(tsdb_labels_get(labels, name), bytes_slice(value, 0, end)))
            return false;
        rest = bytes_slice(value, end + 1, value.size);
        if (rest.size && rest.data[0] == ',')
            rest = bytes_slice(rest, 1, rest.size);
    }
    return true;
}

double fixture_sum(const struct fixture_run *r, struct bytes selector)
{
    bool counts = bytes_has_prefix(selector, BYTES_LIT("count "));
    double sum = 0;
    if (counts)
        selector = bytes_slice(selector, 6, selector.size);
    for (uint32_t ref = 1; ref < r->ref_cap; ref++)
        if (selector_matches(tsdb_registry_info(r->series, (struct tsdb_ref){ref})->labels,
                             selector))
            sum += counts ? r->counts[ref] : r->sums[ref];
    return sum;
}

static const char *class_text(uint8_t c)
{
    static const char *const texts[] = {"none", "call",      "request",      "call+request",
                                        "step", "call+step", "request+step", "?"};
    return texts[c & 7];
}

static int row_compare(const struct fixture_run *r, struct bytes name, const struct json_node *want,
                       bool quiet)
{
    uint8_t id[8];
    int wrong = 0;
    bool seen = false;
    id_of(json_get_str(want, "id"), id, 8);
    for (size_t k = 0; k < r->batch_count; k++) {
        const struct tsdb_spans *s = &r->batches[k]->spans;
        for (uint32_t i = 0; i < s->count; i++) {
            if (memcmp(s->span_id[i].b, id, 8) != 0)
                continue;
            seen = true;
            const struct {
                const char *key;
                struct bytes got;
            } texts[] = {
                {"dialect", bytes_str(genai_dialect_text(TSDB_SPAN_GET(s, dialect, i, 0)))},
                {"rule", bytes_str(genai_rule_text(TSDB_SPAN_GET(s, norm_rule, i, 0)))},
                {"class", bytes_str(class_text(TSDB_SPAN_GET(s, row_class, i, 0)))},
                {"outcome", bytes_str(genai_outcome_text(TSDB_SPAN_GET(s, outcome, i, 0)))},
                {"plane", bytes_str(genai_plane_text(TSDB_SPAN_GET(s, plane, i, 0)))},
                {"operation", TSDB_SPAN_GET(s, operation, i, BYTES_NONE)},
                {"model", TSDB_SPAN_GET(s, model, i, BYTES_NONE)},
                {"provider", TSDB_SPAN_GET(s, provider, i, BYTES_NONE)},
                {"finish_reason", TSDB_SPAN_GET(s, finish_reason, i, BYTES_NONE)},
                {"tenant", TSDB_SPAN_GET(s, tenant, i, BYTES_NONE)},
                {"user_id", TSDB_SPAN_GET(s, user_id, i, BYTES_NONE)},
                {"conversation_id", TSDB_SPAN_GET(s, conversation_id, i, BYTES_NONE)},
                {"prompt_name", TSDB_SPAN_GET(s, prompt_name, i, BYTES_NONE)},
                {"prompt_version", TSDB_SPAN_GET(s, prompt_version, i, BYTES_NONE)},
                {"tool_name", TSDB_SPAN_GET(s, tool_name, i, BYTES_NONE)},
                {"agent_name", TSDB_SPAN_GET(s, agent_name, i, BYTES_NONE)},
                {"response_id", TSDB_SPAN_GET(s, response_id, i, BYTES_NONE)},
            };
            const struct {
                const char *key;
                int64_t got;
            } numbers[] = {
                {"raw_input_tokens", TSDB_SPAN_GET(s, raw_input_tokens, i, -1)},
                {"input_tokens", TSDB_SPAN_GET(s, input_tokens, i, -1)},
                {"output_tokens", TSDB_SPAN_GET(s, output_tokens, i, -1)},
                {"reasoning_tokens", TSDB_SPAN_GET(s, reasoning_tokens, i, -1)},
                {"max_tokens", TSDB_SPAN_GET(s, max_tokens, i, -1)},
                {"ttft_ns", TSDB_SPAN_GET(s, ttft_ns, i, -1)},
                {"ttft_any_ns", TSDB_SPAN_GET(s, ttft_any_ns, i, -1)},
                {"cost_nanousd", TSDB_SPAN_GET(s, cost_nanousd, i, -1)},
                {"reported_cost_nanousd", TSDB_SPAN_GET(s, reported_cost_nanousd, i, -1)},
            };
            for (size_t t = 0; t < sizeof texts / sizeof *texts; t++)
                if (json_get(want, texts[t].key) &&
                    !bytes_equal(json_get_str(want, texts[t].key), texts[t].got)) {
                    wrong++;
                    if (!quiet)
                        print_error("case \"" BYTES_FMT "\": %s of " BYTES_FMT " is \"" BYTES_FMT
                                    "\"\n",
                                    BYTES_ARG(name), texts[t].key,
                                    BYTES_ARG(json_get_str(want, "id")), BYTES_ARG(texts[t].got));
                }
            for (size_t t = 0; t < sizeof numbers / sizeof *numbers; t++) {
                int64_t v;
                if (json_get_i64(want, numbers[t].key, &v) && v != numbers[t].got) {
                    wrong++;
                    if (!quiet)
                        print_error("case \"" BYTES_FMT "\": %s of " BYTES_FMT " is %lld\n",
                                    BYTES_ARG(name), numbers[t].key,
                                    BYTES_ARG(json_get_str(want, "id")), (long long)numbers[t].got);
                }
            }
        }
    }
    if (!seen)
        fail_msg("no span has the id " BYTES_FMT, BYTES_ARG(json_get_str(want, "id")));
    return wrong;
}

int fixture_run_case(const struct json_node *one, const char *mutate, bool quiet)
{
    struct fixture_run r;
    int wrong = 0;
    const struct json_node *batches = json_get(one, "batches"), *expect = json_get(one, "expect");
    fixture_run_begin(&r, one, mutate);
    if (!batches || !expect || !expect->child)
        fail_msg("case \"" BYTES_FMT "\" lacks batches or expectations",
                 BYTES_ARG(json_get_str(one, "case")));
    for (const struct json_node *n = batches->child; n; n = n->next)
        fixture_run_batch(&r, fixture_batch(n));
    for (const struct json_node *n = expect->child; n; n = n->next) {
        double want = 0, got = fixture_sum(&r, n->key);
        assert_true(bytes_to_f64(n->text, &want));
        if (fabs(got - want) <= 1e-9 * fmax(1, fabs(want)))
            continue;
        wrong++;
        if (!quiet)
            print_error("case \"" BYTES_FMT "\": " BYTES_FMT " is %.17g, not %.17g\n",
                        BYTES_ARG(json_get_str(one, "case")), BYTES_ARG(n->key), got, want);
    }
    const struct json_node *rows = json_get(one, "rows");
    for (const struct json_node *n = rows ? rows->child : NULL; n; n = n->next)
        wrong += row_compare(&r, json_get_str(one, "case"), n, quiet);
    fixture_run_end(&r);
    return wrong;
}
