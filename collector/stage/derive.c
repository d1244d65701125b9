#include "collector/stage/derive.h"

#include "base/check.h"

#include <stdlib.h>

const char *const derive_latency_families[DERIVE_LATENCY_COUNT] = {
    "llm_request_duration_seconds",
    "llm_user_request_duration_seconds",
    "llm_time_to_first_token_seconds",
    "llm_time_per_output_token_seconds",
};

/* What the helpers below share for one row. */
struct at {
    struct derive *d;
    struct tsdb_batch *b;
    struct label_group *group;
    const struct genai_row *r;
    uint32_t row, minute;
    bool ok;
};

struct derive *derive_new(struct breakdown *shared)
{
    struct derive *d = calloc(1, sizeof *d);
    if (!d)
        return NULL;
    d->breakdown = shared;
    d->groups = label_groups_new();
    d->memo = genai_memo_new();
    if (d->groups && d->memo)
        return d;
    derive_free(d);
    return NULL;
}

void derive_free(struct derive *d)
{
    if (!d)
        return;
    label_groups_free(d->groups);
    genai_memo_free(d->memo);
    free(d);
}

/* --- single cells --------------------------------------------------------------------------------- */

static void put(struct at *a, struct tsdb_ref ref, int64_t add)
{
    if (a->ok && ref.v && add)
        a->ok = tsdb_batch_add_cell(a->b, ref, a->minute, add, a->row);
}

static void put_hist(struct at *a, struct tsdb_ref ref, double seconds)
{
    if (!a->ok || !ref.v)
        return;
    struct tsdb_hist *h = ARENA_ARRAY(a->b->arena, struct tsdb_hist, 1);
    a->ok = h && tsdb_hist_of(seconds, a->b->arena, h) == ERR_OK &&
            tsdb_batch_add_hist_cell(a->b, ref, a->minute, h, a->row);
}

static struct tsdb_ref ref_of(struct at *a, const char *family, uint32_t place,
                              const struct label_pair *more, size_t n)
{
    struct tsdb_ref *memo = &a->group->refs[place];
    return memo->v ? *memo
                   : label_group_ref(a->d->groups, a->group, a->d->series, family, more, n, memo);
}

static void count(struct at *a, const char *family, uint32_t place, int64_t add)
{
    put(a, ref_of(a, family, place, NULL, 0), add);
}

static void count_with(struct at *a, const char *family, uint32_t place, const char *label,
                       const char *value, int64_t add)
{
    struct label_pair more = {label, bytes_str(value)};
    put(a, ref_of(a, family, place, &more, 1), add);
}

/* Rare families: the registry is asked each time. */
static void count_rare(struct at *a, const char *family, const struct label_pair *more, size_t n,
                       int64_t add)
{
    put(a, label_group_ref(a->d->groups, a->group, a->d->series, family, more, n, NULL), add);
}

/* --- parts of a row ------------------------------------------------------------------------------- */

static void derive_outcome(struct at *a, const char *family, uint32_t place)
{
    const struct genai_row *r = a->r;
    struct label_pair more[2] = {{"outcome", bytes_str(genai_outcome_text(r->outcome))},
                                 {"fault", bytes_str(genai_fault_text(r->fault))}};
    put(a, ref_of(a, family, place + r->outcome * LABEL_FAULTS + r->fault, more, 2), 1);
}

static void derive_tokens(struct at *a)
{
    static const char *const types[] = {"input", "output", "cache_read", "cache_write",
                                        "reasoning"};
    const struct genai_row *r = a->r;
    const int64_t tokens[] = {r->input_tokens, r->output_tokens, r->cache_read_tokens,
                              r->cache_write_tokens, r->reasoning_tokens};
    bool estimated = r->flags & TSDB_ROW_ESTIMATED;
    for (uint32_t i = 0; i < ARRAY_LEN(types); i++) {
        if (tokens[i] <= 0)
            continue;
        struct label_pair more[2] = {{"type", bytes_str(types[i])},
                                     {"estimated", BYTES_LIT("true")}};
        put(a,
            ref_of(a, "llm_tokens_total", LABEL_TOKENS + i + (estimated ? 5 : 0), more,
                   estimated ? 2 : 1),
            tokens[i]);
    }
}

static void derive_cost(struct at *a)
{
    const struct genai_row *r = a->r;
    for (uint32_t i = 0; i < GENAI_COST_COUNT; i++)
        if (r->cost_total > 0 && r->cost[i] > 0)
            count_with(a, "llm_cost_nanousd_total", LABEL_COST + i, "type",
                       genai_cost_text((enum genai_cost)i), r->cost[i]);
    if (r->flags & TSDB_ROW_UNPRICED)
        count(a, "llm_unpriced_requests_total", LABEL_UNPRICED, 1);
}

/* --- breakdowns ------------------------------------------------------------------------------------- */

static struct derive_breakdown *breakdown_find(struct derive *d, struct hash128 key)
{
    uint32_t at = (uint32_t)key.lo % DERIVE_BREAKDOWN_SLOTS;
    if (d->breakdown_count * 2 > DERIVE_BREAKDOWN_SLOTS) {
        memset(d->breakdowns, 0, sizeof d->breakdowns);
        d->breakdown_count = 0;
    }
    while (d->breakdowns[at].key.lo && !hash128_equal(d->breakdowns[at].key, key))
        at = (at + 1) % DERIVE_BREAKDOWN_SLOTS;
    return &d->breakdowns[at];
}

static struct tsdb_ref breakdown_ref(struct at *a, const char *family, enum breakdown_dim dim,
                                     struct bytes value, bool admitted, const char *type)
{
    struct label_pair pairs[6];
    size_t n = 0;
    pairs[n++] = (struct label_pair){"service", a->r->service};
    pairs[n++] = (struct label_pair){"model", a->r->model};
    pairs[n++] = (struct label_pair){"dim", bytes_str(breakdown_dim_text(dim))};
    pairs[n++] = admitted ? (struct label_pair){"value", value}
                          : (struct label_pair){"otel_metric_overflow", BYTES_LIT("true")};
    pairs[n++] = (struct label_pair){"plane", bytes_str(genai_plane_text(a->r->plane))};
    if (type)
        pairs[n++] = (struct label_pair){"type", bytes_str(type)};
    return label_groups_series(a->d->groups, a->d->series, a->b->org, family, pairs, n);
}

/* Its series are there still, and will be until the batch is stored. */
static bool breakdown_is_live(const struct derive *d, const struct derive_breakdown *c)
{
    return c->key.lo && c->evictions == tsdb_registry_evictions(d->series) &&
           tsdb_registry_touch(d->series, c->requests) &&
           tsdb_registry_touch(d->series, c->input) && tsdb_registry_touch(d->series, c->output) &&
           tsdb_registry_touch(d->series, c->cost);
}

static void derive_breakdown(struct at *a, enum breakdown_dim dim, struct bytes value)
{
    const struct genai_row *r = a->r;
    uint32_t day = a->minute / 1440;
    if (!value.size || !a->ok)
        return;
    struct hash128 key = hash128(value, hash64(bytes_of(&day, 4), (uint64_t)dim << 32 | a->b->org));
    key.lo ^= a->group->hash; /* the group stands for service, model and plane */
    key.lo |= 1;
    struct derive_breakdown *c = breakdown_find(a->d, key);
    if (!breakdown_is_live(a->d, c)) {
        bool admitted = breakdown_admits(a->d->breakdown, a->b->org, dim, day, value);
        a->d->breakdown_count += c->key.lo == 0;
        c->key = key;
        c->evictions = tsdb_registry_evictions(a->d->series);
        c->requests = breakdown_ref(a, "llm_breakdown_requests_total", dim, value, admitted, NULL);
        c->input = breakdown_ref(a, "llm_breakdown_tokens_total", dim, value, admitted, "input");
        c->output = breakdown_ref(a, "llm_breakdown_tokens_total", dim, value, admitted, "output");
        c->cost = breakdown_ref(a, "llm_breakdown_cost_nanousd_total", dim, value, admitted, NULL);
    }
    if (r->row_class & TSDB_CLASS_CALL)
        put(a, c->requests, 1);
    put(a, c->input, r->input_tokens > 0 ? r->input_tokens : 0);
    put(a, c->output, r->output_tokens > 0 ? r->output_tokens : 0);
    put(a, c->cost, r->cost_total > 0 ? r->cost_total : 0);
}

static void derive_breakdowns(struct at *a)
{
    const struct genai_row *r = a->r;
    struct bytes prompt = r->prompt_name.size ? r->prompt_name : r->prompt_version;
    if (r->prompt_name.size && r->prompt_version.size) {
        uint8_t *joined =
            arena_alloc_raw(a->b->arena, r->prompt_name.size + r->prompt_version.size + 1, 1);
        if (joined) {
            memcpy(joined, r->prompt_name.data, r->prompt_name.size);
            joined[r->prompt_name.size] = '@';
            memcpy(joined + r->prompt_name.size + 1, r->prompt_version.data,
                   r->prompt_version.size);
            prompt = bytes_of(joined, r->prompt_name.size + r->prompt_version.size + 1);
        }
    }
    derive_breakdown(a, BREAKDOWN_TENANT, r->tenant);
    derive_breakdown(a, BREAKDOWN_PROMPT, prompt);
    derive_breakdown(a, BREAKDOWN_TEAM, r->team);
    derive_breakdown(a, BREAKDOWN_API_KEY, r->api_key);
}

/* --- latency ------------------------------------------------------------------------------------------ */

static double per_token_seconds(const struct genai_row *r)
{
    if (r->ttft_ns < 0 || r->duration_ns < r->ttft_ns || r->output_tokens < 2)
        return -1;
    return (double)(r->duration_ns - r->ttft_ns) / 1e9 / (double)(r->output_tokens - 1);
}

enum event_result { EVENT_GOOD, EVENT_BAD, EVENT_MISSING, EVENT_EXCLUDED };

/* Errors that end a call early say nothing of latency (availability has them); what never came to its end is bad. */
static const char *error_excludes(uint8_t outcome)
{
    return outcome == TSDB_OUTCOME_PROVIDER_ERROR || outcome == TSDB_OUTCOME_RATE_LIMITED ||
                   outcome == TSDB_OUTCOME_CALLER_ERROR || outcome == TSDB_OUTCOME_QUOTA_DENIED ||
                   outcome == TSDB_OUTCOME_CANCELLED
               ? genai_outcome_text(outcome)
               : NULL;
}

static enum event_result event_of(const struct genai_row *r, enum derive_latency family,
                                  double value, double le, const char **out_reason)
{
    bool first_token = family == DERIVE_FIRST_TOKEN, per_token = family == DERIVE_PER_TOKEN;
    bool hedge_or_time = r->latency_excluded && strcmp(r->latency_excluded, "cancelled") != 0;
    *out_reason = NULL;
    if (hedge_or_time || (r->latency_excluded && !first_token && !per_token))
        *out_reason = r->latency_excluded;
    else if ((first_token || per_token) && value >= 0)
        return value <= le ? EVENT_GOOD : EVENT_BAD;
    else if (error_excludes(r->outcome))
        *out_reason = error_excludes(r->outcome);
    else if (!per_token &&
             (r->outcome == TSDB_OUTCOME_TIMEOUT || r->outcome == TSDB_OUTCOME_ABANDONED ||
              (!first_token && r->outcome == TSDB_OUTCOME_STREAM_CUT)))
        return EVENT_BAD;
    else if ((first_token || per_token) && !(r->flags & TSDB_ROW_STREAM))
        *out_reason = "not_streaming";
    else if (per_token && r->output_tokens >= 0 && r->output_tokens < 2)
        *out_reason = "one_token";
    if (*out_reason)
        return EVENT_EXCLUDED;
    if (value < 0)
        return EVENT_MISSING;
    return value <= le ? EVENT_GOOD : EVENT_BAD;
}

static void derive_events(struct at *a, enum derive_latency family, double value)
{
    static const char *const results[] = {"good", "bad", "missing", "excluded"};
    for (uint32_t i = 0; i < a->d->threshold_count; i++) {
        const struct derive_threshold *t = &a->d->thresholds[i];
        const char *reason;
        if (t->family != family)
            continue;
        enum event_result result = event_of(a->r, family, value, t->le, &reason);
        struct label_pair more[4] = {{"family", bytes_str(derive_latency_families[family])},
                                     {"le", bytes_str(t->le_text)},
                                     {"result", bytes_str(results[result])},
                                     {"reason", bytes_str(reason)}};
        if (result == EVENT_EXCLUDED)
            count_rare(a, "llm_latency_events_total", more, 4, 1);
        else
            put(a,
                ref_of(a, "llm_latency_events_total", LABEL_EVENTS + i * 3 + (uint32_t)result, more,
                       3),
                1);
    }
}

static void derive_latencies(struct at *a)
{
    const struct genai_row *r = a->r;
    double duration = r->duration_ns < 0 ? -1 : (double)r->duration_ns / 1e9;
    double first = r->ttft_ns < 0 ? -1 : (double)r->ttft_ns / 1e9;
    double per_token = per_token_seconds(r);
    bool counts = !r->latency_excluded || strcmp(r->latency_excluded, "cancelled") == 0;
    if (r->row_class & TSDB_CLASS_CALL) {
        if (duration >= 0 && !r->latency_excluded)
            put_hist(a, ref_of(a, derive_latency_families[0], LABEL_DURATION, NULL, 0), duration);
        if (first >= 0 && counts)
            put_hist(a, ref_of(a, derive_latency_families[2], LABEL_TTFT, NULL, 0), first);
        if (per_token >= 0 && counts)
            put_hist(a, ref_of(a, derive_latency_families[3], LABEL_TPOT, NULL, 0), per_token);
        derive_events(a, DERIVE_REQUEST_DURATION, duration);
        if (!r->is_embedding) {
            derive_events(a, DERIVE_FIRST_TOKEN, first);
            derive_events(a, DERIVE_PER_TOKEN, per_token);
        }
    }
    if (r->row_class & TSDB_CLASS_REQUEST) {
        if (duration >= 0 && !r->latency_excluded)
            put_hist(a, ref_of(a, derive_latency_families[1], LABEL_USER_DURATION, NULL, 0),
                     duration);
        derive_events(a, DERIVE_USER_DURATION, duration);
    }
}

/* --- the rest --------------------------------------------------------------------------------------- */

static void derive_truncation(struct at *a)
{
    static const char *const reasons[] = {"max_tokens", "context_window", "input_trimmed"};
    const struct genai_row *r = a->r;
    if (r->truncation)
        count_with(a, "llm_truncated_total", LABEL_TRUNCATED + r->truncation - 1u, "reason",
                   reasons[r->truncation - 1], 1);
    if (r->tokens_lost > 0)
        count(a, "llm_tokens_lost_total", LABEL_TOKENS_LOST, r->tokens_lost);
}

static void derive_throttled(struct at *a)
{
    const struct genai_row *r = a->r;
    const char *by = NULL;
    if (r->outcome == TSDB_OUTCOME_QUOTA_DENIED)
        by = "budget";
    else if (r->outcome == TSDB_OUTCOME_RATE_LIMITED)
        by = "our_quota";
    else if (r->outcome == TSDB_OUTCOME_PROVIDER_ERROR && r->fault == TSDB_FAULT_PROVIDER &&
             (r->http_status == 429 || r->http_status == 503 || r->http_status == 529))
        by = "provider_overload";
    if (by)
        count_rare(a, "llm_throttled_total", &(struct label_pair){"by", bytes_str(by)}, 1, 1);
}

static void derive_extras(struct at *a)
{
    const struct genai_row *r = a->r;
    bool is_call = r->row_class & TSDB_CLASS_CALL;
    if (r->safety_category.size)
        count_rare(a, "llm_safety_blocks_total",
                   &(struct label_pair){"category", r->safety_category}, 1, 1);
    if (r->bypass_why.size)
        count_rare(a, "llm_safety_bypasses_total", &(struct label_pair){"why", r->bypass_why}, 1,
                   1);
    if (r->cache_kind.size && r->cache_result.size)
        count_rare(a, "llm_cache_lookups_total",
                   (struct label_pair[]){{"kind", r->cache_kind}, {"result", r->cache_result}}, 2,
                   1);
    if (is_call && r->cache_read_tokens >= 0) {
        bool hit = r->cache_read_tokens > 0;
        put(a,
            ref_of(a, "llm_cache_lookups_total", LABEL_PROMPT_CACHE + hit,
                   (struct label_pair[]){{"kind", BYTES_LIT("provider_prompt")},
                                         {"result", bytes_str(hit ? "hit" : "miss")}},
                   2),
            1);
    }
    if (r->route_result.size) {
        struct label_pair more = {"result", r->route_result};
        bool match = bytes_equal_str(r->route_result, "match");
        if (match || bytes_equal_str(r->route_result, "mismatch"))
            put(a, ref_of(a, "llm_route_decisions_total", LABEL_ROUTE + match, &more, 1), 1);
        else
            count_rare(a, "llm_route_decisions_total", &more, 1, 1);
    }
    if (r->fallback_from.size)
        count_rare(a, "llm_fallbacks_total",
                   (struct label_pair[]){{"from", r->fallback_from}, {"to", r->fallback_to}}, 2, 1);
    if (r->is_handoff)
        count_rare(a, "llm_handoffs_total", NULL, 0, 1);
    if (r->feedback_label.size)
        count_rare(a, "llm_feedback_total", &(struct label_pair){"label", r->feedback_label}, 1, 1);
}

bool derive_unclaimed(struct derive *d, struct tsdb_batch *b, uint32_t row,
                      const struct genai_row *r, struct bytes scope)
{
    struct at a = {d, b, NULL, r, row, tsdb_batch_minute(r->end_ns), true};
    int64_t tokens =
        (r->input_tokens > 0 ? r->input_tokens : 0) + (r->output_tokens > 0 ? r->output_tokens : 0);
    if (tokens <= 0)
        return true;
    struct label_pair pairs[] = {{"service", r->service},
                                 {"scope", scope.size ? scope : BYTES_LIT("unknown")},
                                 {"plane", bytes_str(genai_plane_text(r->plane))}};
    put(&a,
        label_groups_series(d->groups, d->series, b->org, "llm_usage_unclaimed_tokens_total", pairs,
                            ARRAY_LEN(pairs)),
        tokens);
    return a.ok;
}

bool derive_negate(const struct tsdb_hist *h, struct arena *a, struct tsdb_hist *out)
{
    double *pos = ARENA_ARRAY(a, double, h->pos_count ? h->pos_count : 1);
    if (!pos)
        return false;
    for (uint32_t k = 0; k < h->pos_count; k++)
        pos[k] = -h->pos[k];
    *out = *h;
    out->pos = pos;
    out->count = -h->count;
    out->sum = -h->sum;
    out->zero_count = -h->zero_count;
    return true;
}

bool derive_overhead(struct derive *d, struct tsdb_batch *b, const struct genai_row *booked,
                     int64_t overhead_ns)
{
    struct at a = {d,      b,           label_group_of(d->groups, b->org, booked),
                   booked, TSDB_NO_ROW, tsdb_batch_minute(booked->end_ns),
                   true};
    if (!a.group)
        return false;
    put_hist(&a, ref_of(&a, "llm_gateway_overhead_seconds", LABEL_OVERHEAD, NULL, 0),
             (double)overhead_ns / 1e9);
    return a.ok;
}

bool derive_row(struct derive *d, struct tsdb_batch *b, uint32_t row, const struct genai_row *r,
                struct bytes scope)
{
    struct at a = {
        d, b, label_group_of(d->groups, b->org, r), r, row, tsdb_batch_minute(r->end_ns), true};
    bool is_call = r->row_class & TSDB_CLASS_CALL;
    bool books = is_call || (r->flags & TSDB_ROW_AGENT_REPORTED);
    if (!a.group)
        return false;
    if (is_call) {
        derive_outcome(&a, "llm_requests_total", LABEL_REQUESTS);
        derive_throttled(&a);
    }
    if (r->row_class & TSDB_CLASS_REQUEST)
        derive_outcome(&a, "llm_user_requests_total", LABEL_USER_REQUESTS);
    derive_latencies(&a);
    if (books) {
        derive_tokens(&a);
        derive_cost(&a);
        derive_breakdowns(&a);
        derive_truncation(&a);
    } else if (r->has_usage && (!r->is_agent || r->is_chain)) {
        /* an agent row's usage waits for the settler */
        a.ok = a.ok && derive_unclaimed(d, b, row, r, scope);
    }
    derive_extras(&a);
    return a.ok;
}
