#include "collector/genai/genai.h"

#include "base/check.h"
#include "base/hash.h"
#include "base/stats.h"
#include "collector/genai/call_log.h"
#include "collector/genai/found.h"
#include "collector/genai/model_family.h"
#include "collector/genai/outcome.h"
#include "collector/genai/price_cost.h"
#include "collector/genai/price_list.h"
#include "collector/genai/price_registry.h"
#include "collector/genai/price_yaml.h"
#include "collector/genai/row_class.h"
#include "collector/genai/token_rule.h"
#include "collector/genai/tool_call.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define MODEL_SLOTS 256u
#define PROVIDER_SLOTS 64u
#define TTFT_TARGET_DEFAULT_NS INT64_C(2000000000)

struct genai {
    struct genai_options options;
    struct genai_entry_rule *entries;
    struct arena *arena;
    pthread_mutex_t lock; /* of a change of prices, and of taking a reference */
    _Atomic(struct price_table *) prices;
};

/* A name seen before and its canonical form; a collision just computes again. */
struct memo_name {
    uint64_t hash, batch;
    uint8_t raw_size, canonical_size;
    uint8_t raw[GENAI_MODEL_MAX], canonical[GENAI_MODEL_MAX];
    struct bytes in_batch; /* canonical form in the arena of `batch` */
};

struct genai_memo {
    uint64_t batch;
    struct bytes resource_attrs; /* of the last row: its batch is alive */
    struct bytes scope_name, service;
    struct row_class_scope scope;
    struct found resource, found;
    struct price_table *prices; /* a reference to those of the last row */
    struct price_memo price_memo;
    struct memo_name models[MODEL_SLOTS], providers[PROVIDER_SLOTS];
};

/* --- life ------------------------------------------------------------------------------------------ */

enum err genai_new(const struct genai_options *o, struct genai **out, struct err_msg *msg)
{
    static const struct genai_options defaults;
    struct genai *g = calloc(1, sizeof *g);
    if (!g)
        return err_set(msg, ERR_NOMEM, "no memory for the normaliser");
    o = o ? o : &defaults;
    g->options = *o;
    g->arena = arena_new(0);
    if (o->entry_count)
        g->entries = calloc(o->entry_count, sizeof *g->entries);
    pthread_mutex_init(&g->lock, NULL);
    enum err e = g->arena && (g->entries || !o->entry_count)
                     ? genai_set_prices(g, NULL, o->prices_yaml, o->prices_name, msg)
                     : err_set(msg, ERR_NOMEM, "no memory for the normaliser");
    if (e) {
        genai_free(g);
        return e;
    }
    for (size_t i = 0; i < o->entry_count; i++)
        g->entries[i] = (struct genai_entry_rule){arena_copy(g->arena, o->entries[i].service),
                                                  arena_copy(g->arena, o->entries[i].route),
                                                  arena_copy(g->arena, o->entries[i].operation),
                                                  arena_copy(g->arena, o->entries[i].name)};
    g->options.entries = g->entries;
    g->options.prices_yaml = BYTES_NONE;
    if (!g->options.ttft_target_ns)
        g->options.ttft_target_ns = TTFT_TARGET_DEFAULT_NS;
    *out = g;
    return ERR_OK;
}

void genai_free(struct genai *g)
{
    if (!g)
        return;
    price_table_unref(atomic_load(&g->prices));
    pthread_mutex_destroy(&g->lock);
    arena_free(g->arena);
    free(g->entries);
    free(g);
}

enum err genai_set_prices(struct genai *g, struct tsdb *db, struct bytes yaml, const char *name,
                          struct err_msg *msg)
{
    struct price_table *t = price_table_new();
    enum err e =
        t ? price_yaml_load(t, bytes_str(price_list_yaml), "built-in prices", PRICE_LAYER_LIST, msg)
          : err_set(msg, ERR_NOMEM, "no memory for the price table");
    if (e == ERR_OK && yaml.size)
        e = price_yaml_load(t, yaml, name, PRICE_LAYER_OWN, msg);
    if (e == ERR_OK && db)
        e = price_registry_put(db, t, yaml.size ? name : NULL, msg);
    if (e == ERR_OK) {
        pthread_mutex_lock(&g->lock);
        struct price_table *old = atomic_exchange(&g->prices, t);
        pthread_mutex_unlock(&g->lock);
        t = old;
    }
    price_table_unref(t);
    return e;
}

/* The prices of now. A memo holds a reference to those it used last, so that a row costs no more than a comparison. */
static const struct price_table *memo_prices(const struct genai *g, struct genai_memo *m)
{
    if (atomic_load_explicit(&g->prices, memory_order_acquire) != m->prices) {
        struct genai *mut = (struct genai *)(uintptr_t)g; /* its lock is no part of what it says */
        pthread_mutex_lock(&mut->lock);
        struct price_table *now = price_table_ref(atomic_load(&mut->prices));
        pthread_mutex_unlock(&mut->lock);
        price_table_unref(m->prices);
        m->prices = now;
    }
    return m->prices;
}

struct genai_memo *genai_memo_new(void)
{
    struct genai_memo *m = calloc(1, sizeof *m);
    if (m)
        m->batch = 1;
    return m;
}

void genai_memo_free(struct genai_memo *m)
{
    if (m)
        price_table_unref(m->prices);
    free(m);
}

void genai_memo_batch(struct genai_memo *m)
{
    m->batch++;
    m->resource_attrs = m->scope_name = m->service = BYTES_NONE;
}

/* --- names ------------------------------------------------------------------------------------------ */

static struct bytes model_canonical(struct bytes raw, char scratch[GENAI_MODEL_MAX])
{
    return genai_model_family(raw, scratch);
}

static struct bytes provider_canonical(struct bytes raw, char scratch[GENAI_MODEL_MAX])
{
    return model_family_provider(raw);
}

/* The canonical form as a slice that lives as long as the batch: the raw bytes where they are it already. */
static struct bytes memo_canonical(struct genai_memo *m, struct memo_name *slots, uint32_t n,
                                   struct arena *a, struct bytes raw,
                                   struct bytes (*canonical)(struct bytes, char *))
{
    if (raw.size == 0 || raw.size > GENAI_MODEL_MAX)
        return raw;
    uint64_t h = hash64(raw, 3);
    struct memo_name *slot = &slots[h % n];
    if (slot->hash != h || slot->raw_size != raw.size ||
        memcmp(slot->raw, raw.data, raw.size) != 0) {
        char scratch[GENAI_MODEL_MAX];
        struct bytes c = canonical(raw, scratch);
        if (c.size > GENAI_MODEL_MAX)
            return raw;
        slot->hash = h;
        slot->batch = 0;
        slot->raw_size = (uint8_t)raw.size;
        slot->canonical_size = (uint8_t)c.size;
        memcpy(slot->raw, raw.data, raw.size);
        memcpy(slot->canonical, c.data, c.size);
    }
    if (slot->canonical_size == raw.size && memcmp(slot->canonical, raw.data, raw.size) == 0)
        return raw;
    if (slot->batch != m->batch) {
        struct bytes copy = arena_copy(a, bytes_of(slot->canonical, slot->canonical_size));
        if (!copy.data && slot->canonical_size)
            return raw;
        slot->in_batch = copy;
        slot->batch = m->batch;
    }
    return slot->in_batch;
}

static void read_names(struct genai_memo *m, struct tsdb_batch *b, const struct found *f,
                       struct genai_row *r)
{
    r->request_model = found_text(f, ATTR_REQUEST_MODEL);
    r->response_model = found_text(f, ATTR_RESPONSE_MODEL);
    r->model = memo_canonical(m, m->models, MODEL_SLOTS, b->arena,
                              r->response_model.size ? r->response_model : r->request_model,
                              model_canonical);
    r->provider = memo_canonical(m, m->providers, PROVIDER_SLOTS, b->arena,
                                 found_text(f, ATTR_PROVIDER), provider_canonical);
    if (!r->provider.size)
        r->provider = model_family_provider_of_host(found_text(f, ATTR_SERVER));
    if (!r->provider.size)
        r->provider = model_family_guess_provider(r->model);
}

/* --- one row ------------------------------------------------------------------------------------------ */

static void row_clear(struct genai_row *r)
{
    memset(r, 0, sizeof *r);
    r->input_tokens = r->output_tokens = r->cache_read_tokens = r->cache_write_tokens = -1;
    r->reasoning_tokens = r->raw_input_tokens = r->max_tokens = r->cache_write_1h_tokens = -1;
    r->audio_input_tokens = r->audio_cache_read_tokens = r->audio_output_tokens = -1;
    r->image_input_tokens = r->image_cache_read_tokens = r->image_output_tokens = -1;
    r->images = -1;
    r->ttft_ns = r->ttft_any_ns = r->duration_ns = r->cost_total = r->reported_cost = -1;
    r->tokens_before = r->tokens_after = -1;
}

/* What a row does not say itself, its resource may: identity and place, never usage. */
static void merge_resource(struct found *f, const struct found *resource)
{
    static const uint8_t fields[] = {ATTR_ENV,  ATTR_REGION,   ATTR_VARIANT, ATTR_TENANT,
                                     ATTR_TEAM, ATTR_API_KEY,  ATTR_PLANE,   ATTR_SYNTHETIC,
                                     ATTR_USER, ATTR_ENDPOINT, ATTR_WARMUP};
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        uint8_t k = fields[i];
        if (resource->rank[k] && !f->rank[k]) {
            f->rank[k] = resource->rank[k];
            f->type[k] = resource->type[k];
            f->value[k] = resource->value[k];
        }
    }
}

static bool same_slice(struct bytes a, struct bytes b)
{
    return a.data == b.data && a.size == b.size;
}

static void read_scope(struct genai_memo *m, struct bytes scope, struct bytes service)
{
    if (!same_slice(m->scope_name, scope) || !same_slice(m->service, service) || !scope.size) {
        m->scope = row_class_scope_of(scope, service);
        m->scope_name = scope;
        m->service = service;
    }
}

static void read_resource(struct genai_memo *m, struct bytes resource)
{
    if (!same_slice(m->resource_attrs, resource) || !resource.size) {
        found_clear(&m->resource);
        found_attrs(&m->resource, ATTR_VOCABULARY_SPAN, resource);
        m->resource_attrs = resource;
    }
}

static void read_identity(const struct found *f, struct genai_row *r)
{
    r->response_id = found_text(f, ATTR_RESPONSE_ID);
    r->endpoint = found_text(f, ATTR_ENDPOINT);
    r->env = found_text(f, ATTR_ENV);
    r->region = found_text(f, ATTR_REGION);
    r->variant = found_text(f, ATTR_VARIANT);
    r->tenant = found_text(f, ATTR_TENANT);
    r->team = found_text(f, ATTR_TEAM);
    r->api_key = found_text(f, ATTR_API_KEY);
    r->conversation_id = found_text(f, ATTR_CONVERSATION);
    r->user_id = found_text(f, ATTR_USER);
    r->prompt_name = found_text(f, ATTR_PROMPT_NAME);
    r->prompt_version = found_text(f, ATTR_PROMPT_VERSION);
    r->agent_name = found_text(f, ATTR_AGENT);
    r->tool_name = found_text(f, ATTR_TOOL);
}

/* No name and no version: a fingerprint of what steers the model tells versions apart. */
static void read_fingerprint(const struct found *f, struct arena *a, struct genai_row *r)
{
    if (r->prompt_name.size || r->prompt_version.size ||
        (!found_has(f, ATTR_SYSTEM_TEXT) && !found_has(f, ATTR_TOOL_DEFS)))
        return;
    uint64_t h = hash64(found_text(f, ATTR_SYSTEM_TEXT), 11);
    h = hash64(found_text(f, ATTR_TOOL_DEFS), h);
    char *text = arena_alloc_raw(a, 19, 1);
    if (!text)
        return;
    text[0] = 'f';
    text[1] = 'p';
    text[2] = '-';
    for (int i = 0; i < 16; i++)
        text[3 + i] = "0123456789abcdef"[(h >> (60 - 4 * i)) & 15];
    r->prompt_version = bytes_of(text, 19);
}

static void read_parameters(const struct found *f, struct genai_row *r)
{
    struct bytes json = found_text(f, ATTR_PARAMETERS);
    int64_t v;
    if (found_i64(f, ATTR_MAX_TOKENS, &v))
        r->max_tokens = v;
    else if (json.size && (found_json_i64(json, "\"max_tokens\"", &v) ||
                           found_json_i64(json, "\"max_completion_tokens\"", &v) ||
                           found_json_i64(json, "\"max_output_tokens\"", &v)))
        r->max_tokens = v;
    if (found_bool(f, ATTR_STREAM, false) || f->chunks > 0 ||
        (json.size && found_json_true(json, "\"stream\"")))
        r->flags |= TSDB_ROW_STREAM;
    if (bytes_equal_str(found_text(f, ATTR_HEDGE), "loser"))
        r->flags |= TSDB_ROW_HEDGE_LOSER;
    if (found_bool(f, ATTR_DEGRADED, false) || found_has(f, ATTR_FALLBACK_FROM))
        r->flags |= TSDB_ROW_DEGRADED;
}

/* What was billed, by the response; else what was asked for, also among the parameters of an instrumentation that writes them as JSON. */
static void read_service_tier(const struct found *f, struct genai_row *r)
{
    struct bytes tier = found_text(f, ATTR_SERVICE_TIER);
    if (!tier.size && found_has(f, ATTR_PARAMETERS))
        tier = found_json_text(found_text(f, ATTR_PARAMETERS), "\"service_tier\"");
    if (tier.size && !price_tier_parse(tier, &r->service_tier))
        r->service_tier = PRICE_TIER_COUNT;
}

static void read_error(const struct found *f, struct genai_row *r)
{
    int64_t v;
    r->error_type = found_text(f, ATTR_ERROR_TYPE);
    if (found_i64(f, ATTR_HTTP_STATUS, &v) && v > 0 && v < 1000)
        r->http_status = (uint32_t)v;
    else if (r->error_type.size == 3 && bytes_to_i64(r->error_type, &v) && v >= 400 && v < 600)
        r->http_status = (uint32_t)v; /* OpenTelemetry puts the status there */
}

static int64_t plausible(int64_t v, int64_t duration)
{
    return v >= 0 && (duration < 0 || v <= duration + 1000000) ? v : -1;
}

/* First visible token: said outright; seen in the chunks; the first chunk of a model that does not think first. */
static void read_first_token(const struct found *f, int64_t start_ns, struct genai_row *r)
{
    int64_t v;
    if (found_ns(f, ATTR_TTFT_ANY, &v))
        r->ttft_any_ns = plausible(v, r->duration_ns);
    else if (f->first_chunk_ns)
        r->ttft_any_ns = plausible(f->first_chunk_ns - start_ns, r->duration_ns);
    if (found_ns(f, ATTR_TTFT, &v))
        r->ttft_ns = plausible(v, r->duration_ns);
    else if (f->first_visible_ns)
        r->ttft_ns = plausible(f->first_visible_ns - start_ns, r->duration_ns);
    else if (f->chunks) /* chunks were seen and none of them could be read by the user */
        r->ttft_ns = -1;
    else if (found_ns(f, ATTR_COMPLETION_START, &v))
        r->ttft_ns = plausible(v - start_ns, r->duration_ns);
    else if (r->reasoning_tokens <= 0)
        r->ttft_ns = r->ttft_any_ns;
    if (r->ttft_any_ns < 0)
        r->ttft_any_ns = r->ttft_ns;
    if (r->ttft_any_ns >= 0)
        r->flags |= TSDB_ROW_STREAM;
}

static void read_times(int64_t start_ns, int64_t end_ns, int64_t received_ns, struct genai_row *r)
{
    if (start_ns <= 0 || end_ns < start_ns) {
        r->flags |= TSDB_ROW_BAD_TIME;
        r->duration_ns = -1;
    } else
        r->duration_ns = end_ns - start_ns;
    r->end_ns = end_ns > 0 ? end_ns : start_ns > 0 ? start_ns : received_ns;
}

static void read_extras(const struct found *f, struct genai_memo *m, struct tsdb_batch *b,
                        struct genai_row *r)
{
    r->cache_kind = found_text(f, ATTR_CACHE_KIND);
    r->cache_result = found_text(f, ATTR_CACHE_RESULT);
    r->fallback_from = found_text(f, ATTR_FALLBACK_FROM);
    r->fallback_to = found_text(f, ATTR_FALLBACK_TO);
    r->feedback_label = found_text(f, ATTR_FEEDBACK);
    r->route_result = found_text(f, ATTR_ROUTE_RESULT);
    if (!r->fallback_to.size)
        r->fallback_to = r->model;
    struct bytes intended = found_text(f, ATTR_ROUTE_INTENDED);
    if (!r->route_result.size && (r->row_class & TSDB_CLASS_CALL) && r->response_model.size &&
        (intended.size || r->request_model.size)) {
        struct bytes family =
            memo_canonical(m, m->models, MODEL_SLOTS, b->arena,
                           intended.size ? intended : r->request_model, model_canonical);
        r->route_result =
            bytes_equal(family, r->model) ? BYTES_LIT("match") : BYTES_LIT("mismatch");
    }
    int64_t v;
    if (found_nanousd(f, ATTR_COST, &v) && v >= 0)
        r->reported_cost = v;
    else if (found_has(f, ATTR_COST_JSON) &&
             found_json_nanousd(found_text(f, ATTR_COST_JSON), "\"total\"", &v))
        r->reported_cost = v;
}

STATS_COUNTER(unpriced_model, "telltale_genai_unpriced_rows_total", "reason=\"model\"",
              "Calls whose price is not known: no row for the model, none for the date, none for "
              "the service tier, or no usage to price.")
STATS_COUNTER(unpriced_date, "telltale_genai_unpriced_rows_total", "reason=\"date\"", "")
STATS_COUNTER(unpriced_tier, "telltale_genai_unpriced_rows_total", "reason=\"tier\"", "")
STATS_COUNTER(unpriced_usage, "telltale_genai_unpriced_rows_total", "reason=\"usage\"", "")

static struct stats_value *const unpriced[] = {&unpriced_model, &unpriced_date, &unpriced_tier,
                                               &unpriced_usage};

/* Who says no team belongs to the cost centre of his key, or of his user. */
static void read_centre(const struct genai *g, struct genai_memo *m, struct arena *a,
                        struct genai_row *r)
{
    if (!r->team.size)
        r->team =
            arena_copy(a, price_table_centre(memo_prices(g, m), r->end_ns, r->api_key, r->user_id));
}

/* Tokens that were not said, what they cost, and whom. */
static void read_money(const struct genai *g, struct genai_memo *m, struct tsdb_batch *b,
                       const struct found *f, struct genai_row *r)
{
    bool answered = r->outcome == TSDB_OUTCOME_OK || r->outcome == TSDB_OUTCOME_STREAM_CUT ||
                    r->outcome == TSDB_OUTCOME_INVALID || r->outcome == TSDB_OUTCOME_EMPTY ||
                    f->chunks > 0;
    if (!(r->row_class & TSDB_CLASS_CALL) && !(r->flags & TSDB_ROW_AGENT_REPORTED))
        return;
    read_centre(g, m, b->arena, r);
    /* the caller went away: what the provider had read by then, it bills (errors and time-outs of its own it does not) */
    bool cut_off = r->outcome == TSDB_OUTCOME_CANCELLED || r->outcome == TSDB_OUTCOME_ABANDONED;
    if (!r->has_usage && (answered || cut_off))
        token_rule_estimate(f, r);
    if (r->has_usage || r->images > 0 || (r->flags & TSDB_ROW_ESTIMATED)) {
        enum price_found p = price_cost_apply(memo_prices(g, m), &m->price_memo, b->org, r);
        if (p > PRICE_FOUND_HALF)
            stats_add(unpriced[p - PRICE_NO_MODEL], 1);
    } else if (answered)
        stats_add(unpriced[3], 1);
    else
        r->cost_total = 0; /* nothing was produced, nothing is billed */
    if (r->cost_total < 0)
        r->flags |= TSDB_ROW_UNPRICED;
}

void genai_price(const struct genai *g, struct genai_memo *m, uint32_t org, struct genai_row *r)
{
    (void)price_cost_apply(memo_prices(g, m), &m->price_memo, org, r);
}

static bool read_span(const struct genai *g, struct genai_memo *m, struct tsdb_batch *b,
                      uint32_t row, bool book_agent, struct genai_row *r)
{
    const struct tsdb_spans *s = &b->spans;
    struct found *f = &m->found;
    read_resource(m, s->resource_attrs[row]);
    read_scope(m, s->scope_name[row], s->service[row]);
    found_clear(f);
    found_attrs(f, ATTR_VOCABULARY_SPAN, s->attrs[row]);
    if (m->scope.is_cli)
        found_attrs(f, ATTR_VOCABULARY_CLI, s->attrs[row]);
    if (s->events[row].size)
        found_events(f, s->events[row]);
    merge_resource(f, &m->resource);

    row_clear(r);
    r->service = s->service[row];
    r->dialect = row_class_dialect(f, &m->scope);
    read_identity(f, r);
    if (m->scope.is_cli) /* what they call a prompt is one turn: never a label */
        r->prompt_name = r->prompt_version = BYTES_NONE;
    if (r->dialect != GENAI_DIALECT_NONE || m->scope.is_model_server) {
        token_rule_apply(f, r);
        read_names(m, b, f, r);
    }
    row_class_decide(&g->options, f, &m->scope, s, row, r);
    if (!r->row_class)
        return false;
    if (book_agent)
        r->flags |= TSDB_ROW_AGENT_REPORTED;
    read_times(s->start_ns[row], s->end_ns[row], b->received_ns, r);
    read_error(f, r);
    tool_call_span(f, s, row, r);
    read_parameters(f, r);
    read_service_tier(f, r);
    struct bytes finish = found_text(f, ATTR_FINISH);
    r->finish_reason = outcome_finish(finish.size ? finish : f->choice_finish);
    if (r->row_class & TSDB_CLASS_CALL)
        read_first_token(f, s->start_ns[row], r);
    if ((r->row_class & TSDB_CLASS_REQUEST) && !r->endpoint.size)
        /* a root GenAI span goes by its operation: its name may hold anything, and every value is a series */
        r->endpoint = r->operation.size ? r->operation : s->name[row];
    read_fingerprint(f, b->arena, r);
    struct outcome_span span = {s->status[row], s->status_message[row], g->options.ttft_target_ns};
    outcome_decide(f, &span, r);
    read_extras(f, m, b, r);
    read_money(g, m, b, f, r);
    return true;
}

bool genai_read_span(const struct genai *g, struct genai_memo *m, struct tsdb_batch *b,
                     uint32_t row, struct genai_row *r)
{
    return read_span(g, m, b, row, false, r);
}

bool genai_read_agent(const struct genai *g, struct genai_memo *m, struct tsdb_batch *b,
                      uint32_t row, struct genai_row *r)
{
    return read_span(g, m, b, row, true, r);
}

#define REPORTED_UNIT INT64_C(1000) /* tokens that are priced, and then multiplied */

void genai_read_reported(const struct genai *g, struct genai_memo *m, struct tsdb_batch *b,
                         const struct genai_reported *said, struct genai_row *r)
{
    bool is_output = strcmp(said->type, "output") == 0;
    bool is_read = strcmp(said->type, "cache_read") == 0;
    bool is_write = strcmp(said->type, "cache_write") == 0;
    row_clear(r);
    r->service = said->service;
    r->operation = BYTES_LIT("chat");
    r->model = memo_canonical(m, m->models, MODEL_SLOTS, b->arena, said->model, model_canonical);
    r->request_model = said->model;
    r->provider = model_family_guess_provider(r->model);
    r->end_ns = said->end_ns;
    r->flags = TSDB_ROW_AGENT_REPORTED;
    r->has_usage = true;
    r->input_tokens = is_output ? 0 : REPORTED_UNIT;
    r->output_tokens = is_output ? REPORTED_UNIT : 0;
    r->cache_read_tokens = is_read ? REPORTED_UNIT : 0;
    r->cache_write_tokens = is_write ? REPORTED_UNIT : 0;
    price_cost_apply(memo_prices(g, m), &m->price_memo, b->org, r);
    if (r->cost_total < 0)
        r->flags |= TSDB_ROW_UNPRICED;
    else
        r->cost_total = 0;
    for (int i = 0; i < GENAI_COST_COUNT; i++) {
        r->cost[i] = r->cost[i] * said->tokens / REPORTED_UNIT;
        r->cost_total += r->cost_total >= 0 ? r->cost[i] : 0;
    }
    r->input_tokens = is_output ? 0 : said->tokens;
    r->output_tokens = is_output ? said->tokens : 0;
    r->cache_read_tokens = is_read ? said->tokens : 0;
    r->cache_write_tokens = is_write ? said->tokens : 0;
}

/* How far a record's own word on its time may lie from when it was seen. */
#define EVENT_TIME_BEFORE_NS (INT64_C(7) * 86400 * 1000000000)
#define EVENT_TIME_AFTER_NS (INT64_C(600) * 1000000000)

/* The record's time, else its event.timestamp, else when it was seen. */
static int64_t log_time(const struct found *f, const struct tsdb_logs *l, uint32_t row)
{
    int64_t at = l->time_ns[row], said;
    if ((at <= 0 || at == l->observed_ns[row]) && found_ns(f, ATTR_EVENT_TIME, &said) && said > 0 &&
        (at <= 0 || (said >= at - EVENT_TIME_BEFORE_NS && said <= at + EVENT_TIME_AFTER_NS)))
        return said;
    return at;
}

static void read_log_times(const struct found *f, struct tsdb_batch *b, uint32_t row,
                           struct genai_row *r)
{
    int64_t at = log_time(f, &b->logs, row), duration = -1;
    if (found_ns(f, ATTR_DURATION, &duration) && duration >= 0 && duration < at) {
        read_times(at - duration, at, b->received_ns, r);
    } else {
        r->end_ns = at > 0 ? at : b->received_ns;
        r->latency_excluded = "no_duration";
    }
}

/* A record that is a model call. */
static void read_log_call(const struct genai *g, struct genai_memo *m, struct tsdb_batch *b,
                          const struct call_log *is, struct genai_row *r)
{
    struct found *f = &m->found;
    r->event = TSDB_EVENT_CALL;
    r->row_class = TSDB_CLASS_CALL;
    r->operation = BYTES_LIT("chat");
    if (!r->response_id.size)
        r->response_id = found_text(f, ATTR_REQUEST_ID);
    token_rule_apply(f, r);
    read_names(m, b, f, r);
    if (is->provider)
        r->provider = bytes_str(is->provider);
    r->finish_reason = outcome_finish(found_text(f, ATTR_FINISH));
    read_first_token(f, r->end_ns, r);
    struct outcome_span span = {is->kind == CALL_LOG_FAILED ? 2 : 0, BYTES_NONE,
                                g->options.ttft_target_ns};
    if (is->kind == CALL_LOG_BLOCKED)
        r->finish_reason = BYTES_LIT("content_filter");
    const char *excluded = r->latency_excluded;
    outcome_decide(f, &span, r);
    r->latency_excluded = excluded ? excluded : r->latency_excluded;
    if (is->kind == CALL_LOG_DONE && r->outcome == TSDB_OUTCOME_STREAM_CUT) {
        r->outcome = TSDB_OUTCOME_OK; /* CLIs give no finish reason */
        r->fault = TSDB_FAULT_NONE;
    }
    r->lane = tool_call_lane(f, r);
    read_extras(f, m, b, r);
    read_service_tier(f, r);
    read_money(g, m, b, f, r);
}

/* Words from outside become few. */
static struct bytes one_word(struct bytes said, const char *const *known, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (bytes_equal_nocase(said, bytes_str(known[i])))
            return bytes_str(known[i]);
    return BYTES_LIT("other");
}

static void read_log_compaction(const struct found *f, struct genai_row *r)
{
    static const char *const triggers[] = {"auto", "manual"};
    struct bytes said = found_text(f, ATTR_TRIGGER);
    r->event = TSDB_EVENT_COMPACTION;
    /* Gemini CLI compresses by itself and says no trigger. */
    r->word = said.size ? one_word(said, triggers, ARRAY_LEN(triggers)) : BYTES_LIT("auto");
    int64_t v;
    if (found_i64(f, ATTR_TOKENS_BEFORE, &v) && v >= 0)
        r->tokens_before = v;
    if (found_i64(f, ATTR_TOKENS_AFTER, &v) && v >= 0)
        r->tokens_after = v;
}

bool genai_read_log(const struct genai *g, struct genai_memo *m, struct tsdb_batch *b, uint32_t row,
                    struct genai_row *r)
{
    static const char *const statuses[] = {"connected", "failed", "disconnected"};
    const struct tsdb_logs *l = &b->logs;
    struct found *f = &m->found;
    read_scope(m, l->scope_name[row], l->service[row]);
    if (!m->scope.is_cli)
        return false;
    read_resource(m, l->resource_attrs[row]);
    found_clear(f);
    found_attrs(f, ATTR_VOCABULARY_CLI, l->attrs[row]);
    struct tsdb_attrs_iter it = tsdb_attrs_begin(l->body[row]);
    struct tsdb_value body;
    if (!tsdb_attrs_next_value(&it, &body) || body.type != TSDB_VALUE_STRING)
        body.bytes = BYTES_NONE;
    struct call_log is = call_log_of(f, m->scope.dialect, l->event_name[row], body.bytes);
    if (is.kind == CALL_LOG_NONE)
        return false;
    merge_resource(f, &m->resource);
    row_clear(r);
    r->service = l->service[row];
    r->dialect = is.dialect;
    r->row_class = TSDB_CLASS_STEP;
    read_identity(f, r);
    r->turn = found_text(f, ATTR_TURN);
    read_log_times(f, b, row, r);
    read_error(f, r);
    switch (is.kind) {
    case CALL_LOG_TOOL:
        r->event = TSDB_EVENT_TOOL;
        r->operation = BYTES_LIT("execute_tool");
        tool_call_log(f, r);
        break;
    case CALL_LOG_PROMPT: r->event = TSDB_EVENT_PROMPT; break;
    case CALL_LOG_COMPACTION: read_log_compaction(f, r); break;
    case CALL_LOG_CONNECTION:
        r->event = TSDB_EVENT_CONNECTION;
        r->word = one_word(found_text(f, ATTR_CONNECTION), statuses, ARRAY_LEN(statuses));
        r->tool_name = found_text(f, ATTR_MCP_SERVER);
        break;
    default: read_log_call(g, m, b, &is, r);
    }
    return true;
}
