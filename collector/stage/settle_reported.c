#include "collector/stage/settle_reported.h"

#include <math.h>
#include <stdlib.h>

#include "base/check.h"
#include "collector/stage/derive_agent.h"

/* A metric of tokens: its name as the store has it (without _total), the label that says which, and which of them are disjoint. */
static const struct metric {
    const char *name, *label;
    struct {
        const char *sent, *type;
    } types[4];
} metrics[] = {
    {"claude_code_token_usage_tokens",
     "type",
     {{"input", "input"},
      {"output", "output"},
      {"cacheRead", "cache_read"},
      {"cacheCreation", "cache_write"}}}, /* input lies beside the cache */
    {"cursor_token_usage_tokens",
     "cursor_token_type",
     {{"input", "input"}, {"output", "output"}}}, /* whether input holds the cache is not known */
};
#define NOT_OURS 255u

struct memo {
    uint32_t ref, evictions;
    uint8_t metric, type; /* of the table; metric NOT_OURS */
};

struct service {
    uint64_t hash; /* of org and name */
    int64_t first_ns, report_ns, call_ns; /* received: first and last report, last call; 0: none */
    int64_t pending, pending_ns; /* tokens booked before it ever reported, and since when */
};

struct settle_reported {
    struct memo memo[SETTLE_REPORTED_MEMO];
    struct service services[SETTLE_REPORTED_SERVICES];
};

struct settle_reported *settle_reported_new(void)
{
    return calloc(1, sizeof(struct settle_reported));
}

void settle_reported_free(struct settle_reported *x)
{
    free(x);
}

static struct service *service_of(struct settle *s, uint32_t org, struct bytes name)
{
    uint64_t h = hash64(name, (uint64_t)org << 32 | 6) | 1;
    struct service *oldest = s->reported->services;
    for (size_t i = 0; i < SETTLE_REPORTED_SERVICES; i++) {
        struct service *x = &s->reported->services[i];
        if (x->hash == h)
            return x;
        if (MAX(x->report_ns, x->call_ns) < MAX(oldest->report_ns, oldest->call_ns))
            oldest = x;
    }
    *oldest = (struct service){.hash = h};
    return oldest;
}

/* It sends metrics and nothing else. */
static bool only_reports(const struct settle *s, const struct service *x)
{
    return x->first_ns && s->now_ns - x->first_ns >= SETTLE_REPORTED_SILENCE_NS &&
           (!x->call_ns || s->now_ns - x->call_ns >= SETTLE_REPORTED_SILENCE_NS);
}

static struct memo look_up(struct settle *s, struct tsdb_ref ref, bool is_cell)
{
    struct tsdb_registry *series = s->derive->series;
    struct memo *m = &s->reported->memo[ref.v % SETTLE_REPORTED_MEMO];
    uint32_t evictions = tsdb_registry_evictions(series);
    if (m->ref == ref.v && m->evictions == evictions)
        return *m;
    *m = (struct memo){ref.v, evictions, NOT_OURS, 0};
    const struct tsdb_series_info *info = tsdb_registry_info(series, ref);
    struct bytes name = tsdb_labels_get(info->labels, BYTES_LIT("__name__"));
    if (is_cell && bytes_has_suffix(name, BYTES_LIT("_total")))
        name = bytes_slice(name, 0, name.size - 6);
    for (size_t i = 0; i < ARRAY_LEN(metrics); i++) {
        if (!bytes_equal_str(name, metrics[i].name))
            continue;
        struct bytes type = tsdb_labels_get(info->labels, bytes_str(metrics[i].label));
        for (size_t k = 0; k < ARRAY_LEN(metrics[i].types) && metrics[i].types[k].sent; k++)
            if (bytes_equal_str(type, metrics[i].types[k].sent)) {
                m->metric = (uint8_t)i;
                m->type = (uint8_t)k;
            }
    }
    return *m;
}

static void point(struct settle_work *w, struct tsdb_ref ref, bool is_cell, int64_t end_ns,
                  int64_t tokens)
{
    struct settle *s = w->s;
    struct memo m = look_up(s, ref, is_cell);
    if (m.metric == NOT_OURS || tokens <= 0)
        return;
    struct tsdb_labels labels = tsdb_registry_info(s->derive->series, ref)->labels;
    struct genai_reported said = {.service = tsdb_labels_get(labels, BYTES_LIT("job")),
                                  .model = tsdb_labels_get(labels, BYTES_LIT("model")),
                                  .type = metrics[m.metric].types[m.type].type,
                                  .tokens = tokens,
                                  .end_ns = end_ns};
    struct genai_row *r = &s->derive->row;
    struct service *x = service_of(s, w->b->org, said.service);
    bool books = only_reports(s, x);
    genai_read_reported(s->o.genai, s->derive->memo, w->mut, &said, r);
    int64_t before = s->now_ns - x->pending_ns < SETTLE_REPORTED_PENDING_NS ? x->pending : 0;
    x->pending = 0;
    x->first_ns = x->first_ns ? x->first_ns : s->now_ns;
    x->report_ns = s->now_ns;
    w->ok = w->ok && derive_agent_reported(s->derive, w->mut, r, said.type, tokens) &&
            (!before || derive_agent_reported(s->derive, w->mut, r, NULL, -before));
    if (books)
        w->ok = w->ok && derive_agent_reported(s->derive, w->mut, r, NULL, -tokens) &&
                derive_row(s->derive, w->mut, TSDB_NO_ROW, r, BYTES_NONE);
    if (books)
        settle_state_book(w, r);
}

void settle_reported_points(struct settle_work *w)
{
    const struct tsdb_cells *c = &w->b->cells;
    const struct tsdb_samples *p = &w->b->samples;
    uint32_t given = w->s->cells_given;
    if (!w->mut || w->b->signal != TSDB_SAMPLES)
        return;
    genai_memo_batch(w->s->derive->memo);
    for (uint32_t i = 0; i < given && w->ok; i++)
        if (c->row[i] == TSDB_NO_ROW && !(c->hist && c->hist[i]))
            point(w, c->series[i], true, (int64_t)c->minute[i] * 60000000000, c->add[i]);
    for (uint32_t i = 0; i < p->count && w->ok; i++)
        if (fabs(p->value[i]) < 9e15)
            point(w, p->series[i], false, p->t_ms[i] * 1000000, llround(p->value[i]));
}

void settle_reported_call(struct settle_work *w, const struct genai_row *r)
{
    struct settle *s = w->s;
    int64_t tokens =
        (r->input_tokens > 0 ? r->input_tokens : 0) + (r->output_tokens > 0 ? r->output_tokens : 0);
    struct service *x = service_of(s, w->b->org, r->service);
    x->call_ns = s->now_ns;
    if (!w->mut || tokens <= 0)
        return;
    if (x->report_ns && s->now_ns - x->report_ns < SETTLE_REPORTED_SILENCE_NS) {
        w->ok = w->ok && derive_agent_reported(s->derive, w->mut, r, NULL, -tokens);
        return;
    }
    if (s->now_ns - x->pending_ns >= SETTLE_REPORTED_PENDING_NS) {
        x->pending = 0;
        x->pending_ns = s->now_ns;
    }
    x->pending += tokens;
}
