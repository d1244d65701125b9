#include "query/slo_terms.h"
#include "base/check.h"
#include "base/json_out.h"

/* The law of availability, one row an outcome. A caller's error that is the platform's fault (401, 403, unknown model) is bad. */
static const struct outcome_row {
    const char *name;
    enum query_slo_class request, call;
    bool fault_decides; /* fault platform or provider: bad, whatever the class says */
    bool is_of_model; /* bad: the API answered, and the answer was of no use */
} outcomes[TSDB_OUTCOME_COUNT] = {
    [TSDB_OUTCOME_NONE] = {"", QUERY_SLO_EXCLUDED, QUERY_SLO_EXCLUDED, false, false},
    [TSDB_OUTCOME_OK] = {"ok", QUERY_SLO_GOOD, QUERY_SLO_GOOD, false, false},
    [TSDB_OUTCOME_PROVIDER_ERROR] = {"provider_error", QUERY_SLO_BAD, QUERY_SLO_BAD, false, false},
    [TSDB_OUTCOME_RATE_LIMITED] = {"rate_limited", QUERY_SLO_BAD, QUERY_SLO_BAD, false, false},
    [TSDB_OUTCOME_TIMEOUT] = {"timeout", QUERY_SLO_BAD, QUERY_SLO_BAD, false, false},
    [TSDB_OUTCOME_STREAM_CUT] = {"stream_cut", QUERY_SLO_BAD, QUERY_SLO_BAD, false, false},
    [TSDB_OUTCOME_EMPTY] = {"empty", QUERY_SLO_BAD, QUERY_SLO_BAD, false, true},
    [TSDB_OUTCOME_INVALID] = {"invalid", QUERY_SLO_BAD, QUERY_SLO_BAD, false, true},
    [TSDB_OUTCOME_CALLER_ERROR] = {"caller_error", QUERY_SLO_EXCLUDED, QUERY_SLO_EXCLUDED, true,
                                   false},
    [TSDB_OUTCOME_CANCELLED] = {"cancelled", QUERY_SLO_EXCLUDED, QUERY_SLO_EXCLUDED, false, false},
    [TSDB_OUTCOME_ABANDONED] = {"abandoned", QUERY_SLO_BAD, QUERY_SLO_BAD, false, false},
    [TSDB_OUTCOME_BLOCKED] = {"blocked", QUERY_SLO_GOOD, QUERY_SLO_GOOD, false, false},
    [TSDB_OUTCOME_QUOTA_DENIED] = {"quota_denied", QUERY_SLO_EXCLUDED, QUERY_SLO_EXCLUDED, false,
                                   false},
};
static const char *const faults[] = {
    [TSDB_FAULT_NONE] = "",
    [TSDB_FAULT_PROVIDER] = "provider",
    [TSDB_FAULT_PLATFORM] = "platform",
    [TSDB_FAULT_CALLER] = "caller",
    [TSDB_FAULT_POLICY] = "policy",
};

/* Faults that turn a "fault decides" outcome bad. */
static const struct bytes our_faults[] = {{(const uint8_t *)"platform", 8},
                                          {(const uint8_t *)"provider", 8}};
/* Calls that are no chat. */
static const struct bytes not_chat[] = {{(const uint8_t *)"embeddings", 10},
                                        {(const uint8_t *)"rerank", 6}};
/* Calls that have no first or next token to time: the objective is not about them, so they are not "excluded" either. */
static const struct bytes not_measurable[] = {{(const uint8_t *)"not_streaming", 13},
                                              {(const uint8_t *)"one_token", 9}};
static const struct bytes context_cuts[] = {{(const uint8_t *)"context_window", 14},
                                            {(const uint8_t *)"input_trimmed", 13}};

const char *slo_outcome_name(enum tsdb_outcome o)
{
    return (size_t)o < ARRAY_LEN(outcomes) ? outcomes[o].name : "";
}

const char *slo_fault_name(enum tsdb_fault f)
{
    return (size_t)f < ARRAY_LEN(faults) ? faults[f] : "";
}

bool slo_any_match(void *ctx, struct bytes value)
{
    const struct slo_any *any = ctx;
    for (size_t i = 0; i < any->count; i++)
        if (bytes_equal(any->values[i], value))
            return true;
    return false;
}

enum query_slo_class query_slo_classify(bool level_call, struct bytes outcome, struct bytes fault)
{
    for (size_t i = 1; i < ARRAY_LEN(outcomes); i++) {
        const struct outcome_row *o = &outcomes[i];
        if (!bytes_equal_str(outcome, o->name))
            continue;
        if (o->fault_decides &&
            slo_any_match(&(struct slo_any){our_faults, ARRAY_LEN(our_faults)}, fault))
            return QUERY_SLO_BAD;
        return level_call ? o->call : o->request;
    }
    return QUERY_SLO_EXCLUDED;
}

enum query_slo_class slo_class_of(const struct query_slo *s, struct bytes outcome,
                                  struct bytes fault)
{
    bool is_of_model = false;
    for (size_t i = 1; i < ARRAY_LEN(outcomes); i++)
        is_of_model =
            is_of_model || (outcomes[i].is_of_model && bytes_equal_str(outcome, outcomes[i].name));
    enum query_slo_class class = query_slo_classify(s->level_call, outcome, fault);
    if (s->indicator == QUERY_SLO_ERROR_API && is_of_model)
        return QUERY_SLO_GOOD;
    if (s->indicator == QUERY_SLO_ERROR_MODEL && class == QUERY_SLO_BAD && !is_of_model)
        return QUERY_SLO_EXCLUDED;
    return class;
}

/* --- building matcher sets ----------------------------------------------------------------------- */

struct building {
    struct arena *arena;
    struct slo_terms *terms;
    struct tsdb_matcher m[SLO_MATCHERS_MAX];
    size_t n;
    bool failed;
};

static void match_eq(struct building *b, const char *name, struct bytes value)
{
    CHECK(b->n < SLO_MATCHERS_MAX);
    b->m[b->n++] =
        (struct tsdb_matcher){.op = TSDB_MATCH_EQ, .name = bytes_str(name), .value = value};
}

static void match_any(struct building *b, enum tsdb_match_op op, struct bytes name,
                      const struct bytes *values, size_t count)
{
    CHECK(b->n < SLO_MATCHERS_MAX);
    struct slo_any *any = ARENA_ARRAY(b->arena, struct slo_any, 1);
    struct bytes *copy = ARENA_ARRAY(b->arena, struct bytes, count ? count : 1);
    if (!any || !copy) {
        b->failed = true;
        return;
    }
    for (size_t i = 0; i < count; i++)
        copy[i] = values[i];
    *any = (struct slo_any){copy, count};
    b->m[b->n++] =
        (struct tsdb_matcher){.op = op, .name = name, .match = slo_any_match, .ctx = any};
}

static bool has_filter(const struct query_slo *s, const char *name)
{
    for (uint32_t i = 0; i < s->filter_count; i++)
        if (bytes_equal_str(s->filters[i].name, name))
            return true;
    return false;
}

/* Filters of one name are alternatives. */
static void match_filters(struct building *b, const struct query_slo *s)
{
    for (uint32_t i = 0; i < s->filter_count; i++) {
        struct bytes values[QUERY_SLO_FILTERS_MAX];
        size_t count = 0;
        bool first = true;
        for (uint32_t k = 0; k < s->filter_count; k++) {
            if (!bytes_equal(s->filters[k].name, s->filters[i].name))
                continue;
            first = first && k >= i;
            values[count++] = s->filters[k].value;
        }
        if (!first)
            continue;
        if (count == 1) {
            CHECK(b->n < SLO_MATCHERS_MAX);
            b->m[b->n++] = (struct tsdb_matcher){
                .op = TSDB_MATCH_EQ, .name = s->filters[i].name, .value = values[0]};
        } else {
            match_any(b, TSDB_MATCH_RE, s->filters[i].name, values, count);
        }
    }
}

/* Starts a term: family, job, user plane, the objective's filters. */
static void term_begin(struct building *b, const struct query_slo *s, const char *family,
                       bool is_call)
{
    b->n = 0;
    match_eq(b, "__name__", bytes_str(family));
    match_eq(b, "plane", BYTES_NONE);
    match_filters(b, s);
    if (is_call && !has_filter(s, "operation"))
        match_any(b, TSDB_MATCH_NRE, BYTES_LIT("operation"), not_chat, ARRAY_LEN(not_chat));
}

static struct slo_term *term_end(struct building *b, enum slo_slot slot, int sign)
{
    static struct slo_term scrap;
    CHECK(b->terms->count < SLO_TERMS_MAX);
    struct tsdb_matcher *m = ARENA_ARRAY(b->arena, struct tsdb_matcher, b->n);
    if (!m || b->failed) {
        b->failed = true;
        return &scrap;
    }
    memcpy(m, b->m, b->n * sizeof(*m));
    struct slo_term *t = &b->terms->terms[b->terms->count++];
    *t = (struct slo_term){.slot = slot, .sign = sign, .m = m, .n = b->n};
    return t;
}

/* Outcomes of a class; of the bad ones those of the model, of the API, or both. */
enum failures { FAILURES_ALL, FAILURES_OF_MODEL, FAILURES_OF_API };

static size_t outcomes_of(bool level_call, enum query_slo_class class, enum failures which,
                          struct bytes out[TSDB_OUTCOME_COUNT])
{
    size_t n = 0;
    for (size_t i = 1; i < ARRAY_LEN(outcomes); i++) {
        const struct outcome_row *o = &outcomes[i];
        if ((level_call ? o->call : o->request) == class && !o->fault_decides &&
            (which == FAILURES_ALL || o->is_of_model == (which == FAILURES_OF_MODEL)))
            out[n++] = bytes_str(o->name);
    }
    return n;
}

static size_t outcomes_decided(struct bytes out[TSDB_OUTCOME_COUNT])
{
    size_t n = 0;
    for (size_t i = 1; i < ARRAY_LEN(outcomes); i++)
        if (outcomes[i].fault_decides)
            out[n++] = bytes_str(outcomes[i].name);
    return n;
}

static size_t append(struct bytes *to, size_t n, const struct bytes *more, size_t count)
{
    for (size_t i = 0; i < count; i++)
        to[n++] = more[i];
    return n;
}

/* Outcome x fault, each in one term or in none: `apart` is what the objective is not about. */
struct outcome_lists {
    struct bytes good[TSDB_OUTCOME_COUNT], bad[TSDB_OUTCOME_COUNT], apart[TSDB_OUTCOME_COUNT];
    size_t good_n, bad_n, apart_n;
    bool decided_bad; /* a caller's error that is our fault; else it is apart */
};

/* Terms that partition outcome x fault; outcomes that the table does not know are excluded. */
static void build_outcomes(struct building *b, const struct query_slo *s, bool call,
                           const struct outcome_lists *l)
{
    const char *family = call ? "llm_requests_total" : "llm_user_requests_total";
    struct bytes known[3 * TSDB_OUTCOME_COUNT], decided[TSDB_OUTCOME_COUNT];
    size_t decided_n = outcomes_decided(decided), known_n = 0;
    known_n = append(known, known_n, l->good, l->good_n);
    known_n = append(known, known_n, l->bad, l->bad_n);
    known_n = append(known, known_n, l->apart, l->apart_n);
    known_n = append(known, known_n, decided, decided_n);
    CHECK(known_n <= ARRAY_LEN(known));

    struct bytes outcome = BYTES_LIT("outcome"), fault = BYTES_LIT("fault");
    term_begin(b, s, family, call);
    match_any(b, TSDB_MATCH_RE, outcome, l->good, l->good_n);
    term_end(b, SLO_SLOT_GOOD, 1);
    term_begin(b, s, family, call);
    match_any(b, TSDB_MATCH_RE, outcome, l->bad, l->bad_n);
    term_end(b, SLO_SLOT_BAD, 1);
    if (l->decided_bad) {
        term_begin(b, s, family, call);
        match_any(b, TSDB_MATCH_RE, outcome, decided, decided_n);
        match_any(b, TSDB_MATCH_RE, fault, our_faults, ARRAY_LEN(our_faults));
        term_end(b, SLO_SLOT_BAD, 1);
    }
    term_begin(b, s, family, call);
    match_any(b, TSDB_MATCH_RE, outcome, decided, decided_n);
    match_any(b, TSDB_MATCH_NRE, fault, our_faults, ARRAY_LEN(our_faults));
    term_end(b, SLO_SLOT_EXCLUDED, 1);
    term_begin(b, s, family, call);
    match_any(b, TSDB_MATCH_NRE, outcome, known, known_n);
    term_end(b, SLO_SLOT_EXCLUDED, 1);
    b->terms->reason_label = outcome;
}

static void build_availability(struct building *b, const struct query_slo *s, bool call)
{
    struct outcome_lists l = {.decided_bad = true};
    l.good_n = outcomes_of(call, QUERY_SLO_GOOD, FAILURES_ALL, l.good);
    l.bad_n = outcomes_of(call, QUERY_SLO_BAD, FAILURES_ALL, l.bad);
    build_outcomes(b, s, call, &l);
}

/* An answer of no use is one that the API gave; what the API failed says nothing of the model. */
static void build_errors(struct building *b, const struct query_slo *s)
{
    bool call = s->level_call, of_api = s->indicator == QUERY_SLO_ERROR_API;
    struct outcome_lists l = {.decided_bad = of_api};
    struct bytes of_model[TSDB_OUTCOME_COUNT];
    l.good_n = outcomes_of(call, QUERY_SLO_GOOD, FAILURES_ALL, l.good);
    size_t n = outcomes_of(call, QUERY_SLO_BAD, FAILURES_OF_MODEL, of_model);
    if (of_api) {
        l.bad_n = outcomes_of(call, QUERY_SLO_BAD, FAILURES_OF_API, l.bad);
        l.good_n = append(l.good, l.good_n, of_model, n);
    } else {
        l.bad_n = append(l.bad, 0, of_model, n);
        l.apart_n = outcomes_of(call, QUERY_SLO_BAD, FAILURES_OF_API, l.apart);
    }
    build_outcomes(b, s, call, &l);
}

/* The stage keeps an exact counter for the threshold of every loaded objective. */
static void build_threshold(struct building *b, const struct query_slo *s)
{
    static const struct {
        const char *result;
        enum slo_slot slot;
    } results[] = {{"good", SLO_SLOT_GOOD},
                   {"bad", SLO_SLOT_BAD},
                   {"excluded", SLO_SLOT_EXCLUDED},
                   {"missing", SLO_SLOT_MISSING}};
    char text[JSON_OUT_PROM_FLOAT_MAX];
    size_t size = json_out_prom_float(s->le_seconds, text);
    struct bytes le = arena_copy(b->arena, bytes_of(text, size));
    bool is_call = s->level_call || s->indicator != QUERY_SLO_LATENCY;
    if (!le.data) {
        b->failed = true;
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(results); i++) {
        term_begin(b, s, "llm_latency_events_total", is_call);
        match_eq(b, "family", s->family);
        match_eq(b, "le", le);
        match_eq(b, "result", bytes_str(results[i].result));
        if (results[i].slot == SLO_SLOT_EXCLUDED)
            match_any(b, TSDB_MATCH_NRE, BYTES_LIT("reason"), not_measurable,
                      ARRAY_LEN(not_measurable));
        term_end(b, results[i].slot, 1);
    }
    b->terms->reason_label = BYTES_LIT("reason");
    term_begin(b, s, (const char *)s->family.data, is_call); /* literals: NUL-terminated */
    b->terms->hist = *term_end(b, SLO_SLOT_GOOD, 1);
    b->terms->count -= !b->failed; /* read apart from the counters */
}

/* Eligible are answered calls; a call refused for its context length was not answered, but the user lost it for the same reason. */
static void build_truncation(struct building *b, const struct query_slo *s)
{
    term_begin(b, s, "llm_requests_total", true);
    match_eq(b, "outcome", BYTES_LIT("ok"));
    term_end(b, SLO_SLOT_GOOD, 1);
    term_begin(b, s, "llm_truncated_total", true);
    match_any(b, TSDB_MATCH_RE, BYTES_LIT("reason"), context_cuts, ARRAY_LEN(context_cuts));
    term_end(b, SLO_SLOT_BAD, 1);
}

static const char *requests_of(const struct query_slo *s)
{
    return s->level_call ? "llm_requests_total" : "llm_user_requests_total";
}

static void build_cost(struct building *b, const struct query_slo *s)
{
    term_begin(b, s, "llm_cost_nanousd_total", false);
    term_end(b, SLO_SLOT_PART, 1);
    term_begin(b, s, requests_of(s), false);
    term_end(b, SLO_SLOT_WHOLE, 1);
    term_begin(b, s, "llm_unpriced_requests_total", false);
    term_end(b, SLO_SLOT_UNPRICED, 1);
}

/* What is read from a cache is input too; reasoning is output. */
static void build_tokens(struct building *b, const struct query_slo *s)
{
    static const struct bytes types[] = {{(const uint8_t *)"input", 5},
                                         {(const uint8_t *)"output", 6}};
    term_begin(b, s, "llm_tokens_total", false);
    match_any(b, TSDB_MATCH_RE, BYTES_LIT("type"), types, ARRAY_LEN(types));
    term_end(b, SLO_SLOT_PART, 1);
    term_begin(b, s, requests_of(s), false);
    term_end(b, SLO_SLOT_WHOLE, 1);
}

static void build_share(struct building *b, const struct query_slo *s, const char *part,
                        const char *whole)
{
    term_begin(b, s, part, false);
    term_end(b, SLO_SLOT_PART, 1);
    term_begin(b, s, whole, true);
    term_end(b, SLO_SLOT_WHOLE, 1);
}

/* Events of one family, good where the label has the value. */
static void build_labelled(struct building *b, const struct query_slo *s, const char *family,
                           struct bytes label, struct bytes good)
{
    for (int is_bad = 0; is_bad < 2; is_bad++) {
        term_begin(b, s, family, true);
        if (s->cache.size)
            match_eq(b, "kind", s->cache);
        CHECK(b->n < SLO_MATCHERS_MAX);
        b->m[b->n++] = (struct tsdb_matcher){
            .op = is_bad ? TSDB_MATCH_NE : TSDB_MATCH_EQ, .name = label, .value = good};
        term_end(b, is_bad ? SLO_SLOT_BAD : SLO_SLOT_GOOD, 1);
    }
}

/* good + total: bad = total - good; bad + total: good = total - bad. */
static void build_ratio(struct building *b, const struct query_slo *s)
{
    bool by_good = s->good.text.size > 0;
    enum slo_slot part_slot = by_good ? SLO_SLOT_GOOD : SLO_SLOT_BAD;
    enum slo_slot rest_slot = by_good ? SLO_SLOT_BAD : SLO_SLOT_GOOD;
    const struct query_slo_selector *part = by_good ? &s->good : &s->bad;
    struct slo_terms *t = b->terms;
    t->terms[t->count++] = (struct slo_term){.slot = part_slot,
                                             .sign = 1,
                                             .has_minus = true,
                                             .minus = rest_slot,
                                             .m = part->matchers,
                                             .n = part->count};
    t->terms[t->count++] = (struct slo_term){
        .slot = rest_slot, .sign = 1, .m = s->total.matchers, .n = s->total.count};
    t->with_samples = true;
}

enum err slo_terms_build(struct query_slo *s, struct arena *a)
{
    struct building b = {.arena = a, .terms = ARENA_ARRAY(a, struct slo_terms, 1)};
    if (!b.terms)
        return ERR_NOMEM;
    switch (s->indicator) {
    case QUERY_SLO_AVAILABILITY_REQUEST: build_availability(&b, s, false); break;
    case QUERY_SLO_AVAILABILITY_CALL: build_availability(&b, s, true); break;
    case QUERY_SLO_LATENCY:
    case QUERY_SLO_TTFT:
    case QUERY_SLO_TPOT: build_threshold(&b, s); break;
    case QUERY_SLO_TRUNCATION: build_truncation(&b, s); break;
    case QUERY_SLO_COST: build_cost(&b, s); break;
    case QUERY_SLO_RATIO: build_ratio(&b, s); break;
    case QUERY_SLO_ERROR_API:
    case QUERY_SLO_ERROR_MODEL: build_errors(&b, s); break;
    case QUERY_SLO_CACHE:
        build_labelled(&b, s, "llm_cache_lookups_total", BYTES_LIT("result"), BYTES_LIT("hit"));
        break;
    case QUERY_SLO_ROUTE:
        build_labelled(&b, s, "llm_route_decisions_total", BYTES_LIT("result"), BYTES_LIT("match"));
        break;
    case QUERY_SLO_HALLUCINATION:
        build_labelled(&b, s, "llm_grounding_sampled_total", BYTES_LIT("result"),
                       BYTES_LIT("passed"));
        break;
    case QUERY_SLO_SAFETY:
        build_share(&b, s, "llm_safety_blocks_total", "llm_requests_total");
        break;
    case QUERY_SLO_TOKENS: build_tokens(&b, s); break;
    case QUERY_SLO_FEEDBACK:
        build_share(&b, s, "llm_feedback_total", "llm_grounding_flagged_total");
        break;
    case QUERY_SLO_INDICATOR_COUNT: CHECK_UNREACHABLE();
    }
    struct slo_terms *terms = b.terms;
    if (s->indicator == QUERY_SLO_AVAILABILITY_REQUEST && !b.failed) {
        b.terms = ARENA_ARRAY(a, struct slo_terms, 1);
        if (!b.terms)
            return ERR_NOMEM;
        build_availability(&b, s, true);
        terms->calls = b.terms;
    }
    if (b.failed)
        return ERR_NOMEM;
    s->terms = terms;
    return ERR_OK;
}
