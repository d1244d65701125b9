/* The indicator of an SLO document: a ratio of two selectors, or one of the built-in LLM indicators by name. */
#include "query/slo_document.h"
#include "base/check.h"
#include "base/clock.h"
#include <stdio.h>

#define THRESHOLD_MAX_S 86400.0

static const char *const label_names[] = {"service", "env",       "region",   "provider",
                                          "model",   "operation", "endpoint", "variant"};

/* A source by name is a document of kind DataSource; its type, like one that is written here, says how spec is read. What is counted lies here:
 * how the source would be reached is not used. */
static void read_source(struct slo_documents *d, const struct slo_document *doc,
                        const struct yaml_node *source, const char *where)
{
    static const char *const keys[] = {"description", "type", "connectionDetails", NULL};
    static const char *const types[] = {"telltale", "Prometheus", "prometheus"};
    const struct yaml_node *ref = yaml_get(source, "metricSourceRef"),
                           *type = yaml_get(source, "type");
    if (ref && type) {
        slo_document_error(d, doc->file, ref, where, "has metricSourceRef and type; give one");
        return;
    }
    if (ref) {
        const struct slo_document *found =
            slo_document_find(d, SLO_KIND_DATA_SOURCE, yaml_get_str(source, "metricSourceRef"));
        if (!found) {
            slo_document_error(d, doc->file, ref, where,
                               "no document of kind DataSource is named \"" BYTES_FMT "\"",
                               BYTES_ARG(ref->text));
            return;
        }
        slo_document_keys(d, found->file, found->spec, "DataSource", keys);
        type = yaml_get(found->spec, "type");
        doc = found;
    }
    if (!type)
        return; /* spec says enough */
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (type->type == YAML_SCALAR && bytes_equal_str(type->text, types[i]))
            return;
    slo_document_error(d, doc->file, type, "type",
                       "\"" BYTES_FMT "\" is not read here; valid are telltale and Prometheus "
                       "(selectors of counters that are sent here)",
                       BYTES_ARG(type->text));
}

/* The metricSource's own map, after checking the wrapper around it. */
static const struct yaml_node *metric_spec(struct slo_documents *d, const struct slo_document *doc,
                                           const struct yaml_node *metric, const char *where)
{
    static const char *const metric_keys[] = {"metricSource", NULL};
    static const char *const source_keys[] = {"metricSourceRef", "type", "spec", NULL};
    slo_document_keys(d, doc->file, metric, where, metric_keys);
    const struct yaml_node *source = yaml_get(metric, "metricSource");
    const struct yaml_node *spec = yaml_get(source, "spec");
    slo_document_keys(d, doc->file, source, where, source_keys);
    read_source(d, doc, source, where);
    if (!spec || spec->type != YAML_MAP) {
        slo_document_error(d, doc->file, metric, where, "metricSource.spec is missing");
        return NULL;
    }
    return spec;
}

/* --- built-in indicators ------------------------------------------------------------------------- */

static void add_filter(struct slo_documents *d, const struct slo_document *doc,
                       const struct yaml_node *at, const char *name, struct bytes value,
                       struct query_slo *s)
{
    if (value.size == 0 || s->filter_count == QUERY_SLO_FILTERS_MAX) {
        slo_document_error(d, doc->file, at, name,
                           value.size ? "more than %u filter values" : "must not be empty (max %u)",
                           QUERY_SLO_FILTERS_MAX);
        return;
    }
    s->filters[s->filter_count++] = (struct query_slo_filter){bytes_str(name), value};
}

/* A scalar is one value, a list alternatives. The objective's service is the filter unless one is named; "*" is all. */
static void read_filters(struct slo_documents *d, const struct slo_document *doc,
                         const struct yaml_node *spec, struct query_slo *s)
{
    for (size_t i = 0; i < ARRAY_LEN(label_names); i++) {
        const struct yaml_node *n = yaml_get(spec, label_names[i]);
        if (!n && i == 0)
            add_filter(d, doc, spec, label_names[i], s->service, s);
        if (!n || (n->type == YAML_SCALAR && bytes_equal_str(n->text, "*")))
            continue;
        if (n->type == YAML_SCALAR) {
            add_filter(d, doc, n, label_names[i], n->text, s);
            continue;
        }
        for (const struct yaml_node *c = n->type == YAML_LIST ? n->child : NULL; c; c = c->next)
            add_filter(d, doc, c, label_names[i], c->type == YAML_SCALAR ? c->text : BYTES_NONE, s);
        if (n->type != YAML_LIST || !n->child)
            slo_document_error(d, doc->file, n, label_names[i], "must be a string or a list");
    }
}

static bool seconds_of(struct bytes text, double *out)
{
    char s[32];
    int64_t ms;
    if (bytes_to_f64(text, out))
        return *out > 0 && *out <= THRESHOLD_MAX_S;
    if (text.size == 0 || text.size >= sizeof(s))
        return false;
    memcpy(s, text.data, text.size);
    s[text.size] = 0;
    if (!clock_parse_duration_ms(s, &ms))
        return false;
    *out = (double)ms / 1000;
    return *out > 0 && *out <= THRESHOLD_MAX_S;
}

/* spec.threshold, or the objective's value (seconds) of a thresholdMetric. */
static void read_threshold(struct slo_documents *d, const struct slo_document *doc,
                           const struct yaml_node *spec, const struct yaml_node *objective,
                           struct query_slo *s)
{
    const struct yaml_node *at = yaml_get(spec, "threshold");
    struct bytes text = yaml_get_str(spec, "threshold");
    if (!at) {
        struct bytes op = yaml_get_str(objective, "op");
        at = yaml_get(objective, "value");
        text = yaml_get_str(objective, "value");
        if (at && !bytes_equal_str(op, "lte") && !bytes_equal_str(op, "lt"))
            slo_document_error(d, doc->file, at, "spec.objectives.op", "must be lte");
    }
    if (!seconds_of(text, &s->le_seconds))
        slo_document_error(d, doc->file, at ? at : spec, "threshold",
                           "\"" BYTES_FMT
                           "\" is not a threshold; valid is a duration above 0 and up to 1d, "
                           "such as 500ms or 2s",
                           BYTES_ARG(text));
    switch (s->indicator) {
    case QUERY_SLO_TTFT: s->family = BYTES_LIT("llm_time_to_first_token_seconds"); break;
    case QUERY_SLO_TPOT: s->family = BYTES_LIT("llm_time_per_output_token_seconds"); break;
    default:
        s->family = s->level_call ? BYTES_LIT("llm_request_duration_seconds")
                                  : BYTES_LIT("llm_user_request_duration_seconds");
    }
}

static void read_cost_limit(struct slo_documents *d, const struct slo_document *doc,
                            const struct yaml_node *spec, struct query_slo *s)
{
    const struct yaml_node *at = yaml_get(spec, "limitUsd");
    double usd = 0;
    if (!bytes_to_f64(yaml_get_str(spec, "limitUsd"), &usd) || !(usd > 0 && usd <= 1e6))
        slo_document_error(d, doc->file, at ? at : spec, "limitUsd",
                           "\"" BYTES_FMT "\" is not a limit; valid are US dollars per 1,000 "
                           "requests, such as 4.50",
                           BYTES_ARG(yaml_get_str(spec, "limitUsd")));
    else
        s->cost_limit_nanousd = (int64_t)(usd * 1e9 + 0.5);
}

/* Which indicators know which parameter. */
#define ON(i) (1u << QUERY_SLO_##i)
_Static_assert(QUERY_SLO_INDICATOR_COUNT <= 32, "a set of indicators fits in an unsigned");

static const struct parameter {
    const char *key;
    unsigned of;
    double min, max; /* min < v <= max; of numbers */
    bool is_required;
    double otherwise;
    size_t offset; /* of the double; 0: read apart */
    const char *what;
} parameters[] = {
    {"threshold", ON(LATENCY) | ON(TTFT) | ON(TPOT), 0, 0, true, 0, 0, ""},
    {"limitUsd", ON(COST), 0, 0, true, 0, 0, ""},
    {"level", ON(LATENCY) | ON(COST) | ON(TOKENS) | ON(ERROR_API) | ON(ERROR_MODEL), 0, 0, false, 0,
     0, ""},
    {"cache", ON(CACHE), 0, 0, false, 0, 0, ""},
    {"maxTokens", ON(TOKENS), 0, 1e9, true, 0, offsetof(struct query_slo, limit),
     "tokens per request, such as 4000"},
    {"maxPer1k", ON(SAFETY), 0, 1000, true, 0, offsetof(struct query_slo, limit),
     "blocks per 1,000 calls, such as 20"},
    {"expectedPer1k", ON(SAFETY), 0, 1000, false, 0, offsetof(struct query_slo, expected),
     "blocks per 1,000 calls, such as 2"},
    {"minShare", ON(FEEDBACK), 0, 1, true, 0, offsetof(struct query_slo, limit),
     "labels per flagged answer, such as 0.2"},
    {"sensitivity", ON(HALLUCINATION), 0, 1, false, 1, offsetof(struct query_slo, sensitivity),
     "a share of the unsupported answers, such as 0.8"},
    {"falsePositives", ON(HALLUCINATION), -1, 0.99, false, 0,
     offsetof(struct query_slo, false_positives), "a share of the supported answers, such as 0.03"},
};

static void indicator_names(unsigned set, char *out, size_t size)
{
    size_t used = 0;
    out[0] = 0;
    for (unsigned i = 0; i < QUERY_SLO_INDICATOR_COUNT && used < size; i++)
        if (set & (1u << i))
            used += (size_t)snprintf(out + used, size - used, "%s%s", used ? ", " : "",
                                     query_slo_indicator_name((enum query_slo_indicator)i));
}

static void read_number(struct slo_documents *d, const struct slo_document *doc,
                        const struct yaml_node *spec, const struct parameter *p,
                        struct query_slo *s)
{
    const struct yaml_node *at = yaml_get(spec, p->key);
    double *out = (double *)(void *)((char *)s + p->offset);
    double v = 0;
    *out = p->otherwise;
    if (!at && !p->is_required)
        return;
    if (!bytes_to_f64(yaml_get_str(spec, p->key), &v) || !(v > p->min && v <= p->max) || v < 0)
        slo_document_error(d, doc->file, at ? at : spec, p->key,
                           "\"" BYTES_FMT "\" is not valid; give %s",
                           BYTES_ARG(yaml_get_str(spec, p->key)), p->what);
    else
        *out = v;
}

static void read_level(struct slo_documents *d, const struct slo_document *doc,
                       const struct yaml_node *spec, struct query_slo *s)
{
    struct bytes level = yaml_get_str(spec, "level");
    bool of_calls = s->indicator == QUERY_SLO_ERROR_API || s->indicator == QUERY_SLO_ERROR_MODEL;
    if (yaml_get(spec, "level") && !bytes_equal_str(level, "call") &&
        !bytes_equal_str(level, "request"))
        slo_document_error(d, doc->file, yaml_get(spec, "level"), "level",
                           "must be request or call");
    s->level_call = level.size ? bytes_equal_str(level, "call") : of_calls;
}

static void read_parameters(struct slo_documents *d, const struct slo_document *doc,
                            const struct yaml_node *spec, const struct yaml_node *objective,
                            struct query_slo *s)
{
    read_level(d, doc, spec, s);
    for (size_t i = 0; i < ARRAY_LEN(parameters); i++) {
        const struct parameter *p = &parameters[i];
        const struct yaml_node *at = yaml_get(spec, p->key);
        if (p->of & (1u << s->indicator)) {
            if (p->offset)
                read_number(d, doc, spec, p, s);
        } else if (at) {
            char names[256];
            indicator_names(p->of, names, sizeof(names));
            slo_document_error(d, doc->file, at, p->key, "is only for %s", names);
        }
    }
    s->cache = yaml_get_str(spec, "cache");
    if (s->indicator == QUERY_SLO_LATENCY || s->indicator == QUERY_SLO_TTFT ||
        s->indicator == QUERY_SLO_TPOT)
        read_threshold(d, doc, spec, objective, s);
    if (s->indicator == QUERY_SLO_COST)
        read_cost_limit(d, doc, spec, s);
    if (s->indicator == QUERY_SLO_HALLUCINATION && !(s->sensitivity > s->false_positives))
        slo_document_error(d, doc->file, spec, "sensitivity",
                           "must be above falsePositives: a checker that flags as many supported "
                           "answers as others says nothing");
}

static void read_builtin(struct slo_documents *d, const struct slo_document *doc,
                         const struct yaml_node *spec, const struct yaml_node *objective,
                         struct query_slo *s)
{
    static const char *const keys[] = {
        "sli",         "indicator",      "threshold", "limitUsd",      "level",
        "cache",       "maxTokens",      "maxPer1k",  "expectedPer1k", "minShare",
        "sensitivity", "falsePositives", "service",   "env",           "region",
        "provider",    "model",          "operation", "endpoint",      "variant",
        NULL};
    slo_document_keys(d, doc->file, spec, "metricSource.spec", keys);
    const char *key = yaml_get(spec, "sli") ? "sli" : "indicator";
    struct bytes name = yaml_get_str(spec, key);
    if (!query_slo_indicator_find(name, &s->indicator)) {
        char names[512];
        indicator_names(~ON(RATIO), names, sizeof(names));
        slo_document_error(d, doc->file, yaml_get(spec, key) ? yaml_get(spec, key) : spec, key,
                           "\"" BYTES_FMT "\" is not known; valid are %s", BYTES_ARG(name), names);
        return;
    }
    read_filters(d, doc, spec, s);
    read_parameters(d, doc, spec, objective, s);
}

/* --- ratio of selectors -------------------------------------------------------------------------- */

static void read_selector(struct slo_documents *d, const struct slo_document *doc,
                          const struct yaml_node *metric, const char *where,
                          struct query_slo_selector *out)
{
    static const char *const keys[] = {"query", NULL};
    const struct yaml_node *spec = metric_spec(d, doc, metric, where);
    struct err_msg msg;
    if (!spec)
        return;
    slo_document_keys(d, doc->file, spec, where, keys);
    enum err e = slo_selector_parse(yaml_get_str(spec, "query"), d->set->arena, out, &msg);
    if (e == ERR_INVALID)
        slo_document_error(d, doc->file, spec, where, "query: %s", msg.text);
    else if (e != ERR_OK)
        d->out_of_memory = true;
}

static void read_ratio(struct slo_documents *d, const struct slo_document *doc,
                       const struct yaml_node *ratio, const struct yaml_node *objective,
                       struct query_slo *s)
{
    static const char *const keys[] = {"counter", "good", "bad", "total", "rawType", "raw", NULL};
    slo_document_keys(d, doc->file, ratio, "ratioMetric", keys);
    const struct yaml_node *good = yaml_get(ratio, "good"), *bad = yaml_get(ratio, "bad"),
                           *total = yaml_get(ratio, "total"), *raw = yaml_get(ratio, "raw");
    if (raw) {
        if (good || bad || total)
            slo_document_error(d, doc->file, raw, "ratioMetric",
                               "has raw beside good, bad or total; give one or the other");
        const struct yaml_node *spec = metric_spec(d, doc, raw, "ratioMetric.raw");
        struct bytes type = yaml_get_str(ratio, "rawType");
        if (type.size && !bytes_equal_str(type, "success"))
            slo_document_error(d, doc->file, ratio, "ratioMetric.rawType", "must be success");
        if (spec)
            read_builtin(d, doc, spec, objective, s);
        return;
    }
    if (!total || (!good == !bad)) {
        slo_document_error(d, doc->file, ratio, "ratioMetric",
                           "needs total and one of good and bad, or raw with a built-in "
                           "indicator (sli: availability-request, ...)");
        return;
    }
    struct bytes counter = yaml_get_str(ratio, "counter");
    if (!bytes_equal_str(counter, "true"))
        slo_document_error(d, doc->file, ratio, "ratioMetric.counter",
                           "must be true: both selectors must name counters");
    s->indicator = QUERY_SLO_RATIO;
    read_selector(d, doc, good ? good : bad, good ? "ratioMetric.good" : "ratioMetric.bad",
                  good ? &s->good : &s->bad);
    read_selector(d, doc, total, "ratioMetric.total", &s->total);
}

void slo_indicator_read(struct slo_documents *d, const struct slo_document *doc,
                        const struct yaml_node *slo_spec, const struct yaml_node *objective,
                        struct query_slo *s)
{
    static const char *const inline_keys[] = {"metadata", "spec", NULL};
    static const char *const keys[] = {"description", "llm", "ratioMetric", "thresholdMetric",
                                       NULL};
    const struct yaml_node *inlined = yaml_get(slo_spec, "indicator");
    const struct yaml_node *ref = yaml_get(slo_spec, "indicatorRef");
    const struct yaml_node *spec = NULL;
    if (!inlined == !ref) {
        slo_document_error(d, doc->file, slo_spec, "spec.indicator",
                           "give one of indicator and indicatorRef");
        return;
    }
    if (ref) {
        const struct slo_document *sli =
            slo_document_find(d, SLO_KIND_SLI, yaml_get_str(slo_spec, "indicatorRef"));
        if (!sli) {
            slo_document_error(d, doc->file, ref, "spec.indicatorRef",
                               "no document of kind SLI is named \"" BYTES_FMT "\"",
                               BYTES_ARG(ref->text));
            return;
        }
        spec = sli->spec;
        doc = sli; /* mistakes are in that file */
    } else {
        slo_document_keys(d, doc->file, inlined, "spec.indicator", inline_keys);
        spec = yaml_get(inlined, "spec");
    }
    if (!spec || spec->type != YAML_MAP) {
        slo_document_error(d, doc->file, inlined, "spec.indicator.spec", "is missing");
        return;
    }
    slo_document_keys(d, doc->file, spec, "indicator", keys);
    const struct yaml_node *ratio = yaml_get(spec, "ratioMetric"),
                           *threshold = yaml_get(spec, "thresholdMetric"),
                           *llm = yaml_get(spec, "llm");
    if (!!ratio + !!threshold + !!llm != 1) {
        slo_document_error(d, doc->file, spec, "indicator",
                           "needs one of llm (a built-in indicator), ratioMetric and "
                           "thresholdMetric");
    } else if (llm) {
        read_builtin(d, doc, llm, objective, s);
    } else if (ratio) {
        read_ratio(d, doc, ratio, objective, s);
    } else {
        const struct yaml_node *m = metric_spec(d, doc, threshold, "thresholdMetric");
        if (m)
            read_builtin(d, doc, m, objective, s);
    }
}
