#include "collector/stage/stage_core.h"

#include "base/check.h"
#include "base/json_out.h"
#include "base/stats.h"
#include "collector/redact/redact.h"
#include "collector/stage/derive.h"
#include "collector/stage/settle.h"
#include "collector/stage/stage_redact.h"
#include "collector/stage/stage_tap.h"
#include "collector/stage/stage_tokens.h"

#include <pthread.h>
#include <stdlib.h>

#define X(name, text)                                                               \
    STATS_COUNTER(rows_##name, "telltale_genai_rows_total", "dialect=\"" text "\"", \
                  "Rows by the dialect they were recognised as.")
GENAI_DIALECT_TABLE(X)
#undef X
static struct stats_value *const dialect_rows[GENAI_DIALECT_COUNT] = {
#define X(name, text) &rows_##name,
    GENAI_DIALECT_TABLE(X)
#undef X
};
#define X(name, text)                                                                   \
    STATS_COUNTER(rule_##name, "telltale_genai_token_rules_total", "rule=\"" text "\"", \
                  "Rows by the rule that made their token counts comparable.")
GENAI_RULE_TABLE(X)
#undef X
static struct stats_value *const rule_rows[GENAI_RULE_COUNT] = {
#define X(name, text) &rule_##name,
    GENAI_RULE_TABLE(X)
#undef X
};
STATS_COUNTER(bad_times, "telltale_genai_bad_times_total", "",
              "GenAI rows that end before they start or lack a time.")

/* What one caller of stage_apply works with; as many exist as callers at once. */
struct context {
    struct context *next;
    struct derive *derive;
    struct redact_scan *redact; /* NULL: nothing is looked for */
    struct redact_found found; /* of the row of the moment */
};

struct stage {
    struct genai *genai; /* immutable */
    struct breakdown *breakdown;
    struct settle *settle; /* committer's */
    struct stage_tap tap; /* immutable once rows come */
    const struct redact *redact; /* the same */
    pthread_mutex_t lock; /* guards what follows */
    struct context *idle;
    struct tsdb_registry *series;
    struct derive_threshold thresholds[STAGE_THRESHOLDS_MAX];
    uint32_t threshold_count, thresholds_version;
};

static bool mutated(const struct stage_options *o, const char *what)
{
    return o->mutate && strcmp(o->mutate, what) == 0;
}

enum err stage_new(const struct stage_options *o, struct stage **out, struct err_msg *msg)
{
    static const struct stage_options defaults;
    struct stage *s = calloc(1, sizeof *s);
    if (!s)
        return err_set(msg, ERR_NOMEM, "no memory for the stage");
    o = o ? o : &defaults;
    pthread_mutex_init(&s->lock, NULL);
    struct genai_options genai = o->genai;
    genai.without_wrappers = mutated(o, "wrappers");
    enum err e = genai_new(&genai, &s->genai, msg);
    if (!e && !(s->breakdown = breakdown_new(o->breakdown_values_max)))
        e = err_set(msg, ERR_NOMEM, "no memory for the stage");
    struct settle_options settle = {.genai = s->genai,
                                    .breakdown = s->breakdown,
                                    .without_twins = mutated(o, "twins"),
                                    .without_repeats = mutated(o, "repeats"),
                                    .without_leaf = mutated(o, "leaf"),
                                    .without_tools = mutated(o, "tools")};
    settle.streams.forgets_closed = mutated(o, "closed");
    settle.streams.forgets_checkpoint = mutated(o, "checkpoint");
    if (!e && !(s->settle = settle_new(&settle)))
        e = err_set(msg, ERR_NOMEM, "no memory for the stage");
    if (e) {
        stage_free(s);
        return e;
    }
    *out = s;
    return ERR_OK;
}

void stage_free(struct stage *s)
{
    if (!s)
        return;
    while (s->idle) {
        struct context *c = s->idle;
        s->idle = c->next;
        derive_free(c->derive);
        redact_scan_free(c->redact);
        free(c);
    }
    settle_free(s->settle);
    breakdown_free(s->breakdown);
    genai_free(s->genai);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

void stage_set_series(struct stage *s, struct tsdb_registry *series)
{
    pthread_mutex_lock(&s->lock);
    s->series = series;
    s->thresholds_version++;
    pthread_mutex_unlock(&s->lock);
}

void stage_set_tap(struct stage *s, const struct stage_tap *tap)
{
    s->tap = *tap;
}

void stage_set_redact(struct stage *s, const struct redact *r)
{
    s->redact = r;
}

enum err stage_set_prices(struct stage *s, struct tsdb *db, struct bytes yaml, const char *name,
                          struct err_msg *msg)
{
    return genai_set_prices(s->genai, db, yaml, name, msg);
}

/* --- contexts ------------------------------------------------------------------------------------- */

/* Refs belong to one registry and one set of thresholds. */
static void derive_refresh(struct stage *s, struct derive *d)
{
    if (d->thresholds_version == s->thresholds_version)
        return;
    label_groups_clear(d->groups);
    memset(d->breakdowns, 0, sizeof d->breakdowns);
    d->breakdown_count = 0;
    memcpy(d->thresholds, s->thresholds, sizeof d->thresholds);
    d->threshold_count = s->threshold_count;
    d->thresholds_version = s->thresholds_version;
    d->series = s->series;
}

static struct context *context_take(struct stage *s)
{
    pthread_mutex_lock(&s->lock);
    struct context *c = s->idle;
    if (c)
        s->idle = c->next;
    pthread_mutex_unlock(&s->lock);
    if (!c && (c = calloc(1, sizeof *c)) &&
        (!(c->derive = derive_new(s->breakdown)) ||
         (s->redact && !(c->redact = redact_scan_new(s->redact))))) {
        derive_free(c->derive);
        free(c);
        c = NULL;
    }
    if (c) {
        pthread_mutex_lock(&s->lock);
        derive_refresh(s, c->derive);
        pthread_mutex_unlock(&s->lock);
    }
    return c;
}

static void context_give(struct stage *s, struct context *c)
{
    pthread_mutex_lock(&s->lock);
    c->next = s->idle;
    s->idle = c;
    pthread_mutex_unlock(&s->lock);
}

const struct genai *stage_core_genai(const struct stage *s)
{
    return s->genai;
}

struct derive *stage_core_derive(struct stage *s)
{
    struct derive *d = derive_new(s->breakdown);
    if (!d)
        return NULL;
    pthread_mutex_lock(&s->lock);
    derive_refresh(s, d);
    pthread_mutex_unlock(&s->lock);
    return d;
}

/* --- a batch ----------------------------------------------------------------------------------------- */

/* Masked before anything reads it: columns and series are made of what is stored. */
static bool hide_span(struct context *c, struct tsdb_batch *b, uint32_t row)
{
    struct redact_found *f = &c->found;
    f->attrs = b->spans.attrs[row];
    f->events = b->spans.events[row];
    return !c->redact || (redact_span(c->redact, b, row, f) &&
                          (!f->count || stage_redact_span(c->derive, b, row, f)));
}

static bool hide_log(struct context *c, struct tsdb_batch *b, uint32_t row)
{
    struct redact_found *f = &c->found;
    f->attrs = b->logs.attrs[row];
    f->body = b->logs.body[row];
    return !c->redact || (redact_log(c->redact, b, row, f) &&
                          (!f->count || stage_redact_log(c->derive, b, row, f)));
}

static bool apply_spans(struct stage *s, struct context *c, struct tsdb_batch *b)
{
    struct derive *d = c->derive;
    uint32_t dialects[GENAI_DIALECT_COUNT] = {0}, rules[GENAI_RULE_COUNT] = {0}, bad = 0;
    struct genai_row *r = &d->row;
    bool ok = tsdb_batch_expect_cells(
        b, (uint32_t)MIN((uint64_t)b->spans.count * d->cells_likely / 16, 1u << 20));
    genai_memo_batch(d->memo);
    for (uint32_t i = 0; ok && i < b->spans.count; i++) {
        if (!(ok = hide_span(c, b, i)))
            break;
        bool is_known = genai_read_span(s->genai, d->memo, b, i, r);
        struct stage_tap_text sent = {.attrs = c->found.attrs, .events = c->found.events};
        stage_tap_span(&s->tap, b, i, is_known ? r : NULL, &sent);
        if (!is_known)
            continue;
        dialects[r->dialect]++;
        rules[r->rule]++;
        bad += (r->flags & TSDB_ROW_BAD_TIME) != 0;
        ok = genai_store(b, i, r) && derive_row(d, b, i, r, b->spans.scope_name[i]) &&
             stage_tokens_span(b, i, r);
    }
    /* rises at once, falls slowly: too much room costs less than growing */
    d->cells_likely = MAX((uint32_t)((uint64_t)b->cells.count * 17 / b->spans.count) + 1,
                          d->cells_likely - d->cells_likely / 8);
    for (uint32_t i = 0; i < GENAI_DIALECT_COUNT; i++)
        if (dialects[i])
            stats_add(dialect_rows[i], dialects[i]);
    for (uint32_t i = 1; i < GENAI_RULE_COUNT; i++)
        if (rules[i])
            stats_add(rule_rows[i], rules[i]);
    if (bad)
        stats_add(&bad_times, bad);
    return ok;
}

/* What a coding CLI told becomes columns here; it is counted in the settler, where its twins are known. */
static bool apply_logs(struct stage *s, struct context *c, struct tsdb_batch *b)
{
    struct derive *d = c->derive;
    struct genai_row *r = &d->row;
    bool ok = true;
    genai_memo_batch(d->memo);
    for (uint32_t i = 0; ok && i < b->logs.count; i++) {
        if (!(ok = hide_log(c, b, i)))
            break;
        struct stage_tap_text sent = {.attrs = c->found.attrs, .body = c->found.body};
        stage_tap_log(&s->tap, b, i, &sent);
        ok = stage_tokens_log(b, i);
        if (!ok || !genai_read_log(s->genai, d->memo, b, i, r))
            continue;
        stats_add(dialect_rows[r->dialect], 1);
        if (r->rule)
            stats_add(rule_rows[r->rule], 1);
        ok = genai_store_log(b, i, r);
    }
    return ok;
}

enum err stage_apply(struct stage *s, struct tsdb_batch *b, struct err_msg *msg)
{
    if (!b->spans.count && !b->logs.count)
        return ERR_OK;
    struct context *c = context_take(s);
    if (!c)
        return err_set(msg, ERR_NOMEM, "no memory to derive series");
    if (c->redact)
        redact_batch(c->redact, b);
    bool ok =
        !c->derive->series || ((!b->spans.count || apply_spans(s, c, b)) && apply_logs(s, c, b));
    context_give(s, c);
    return ok ? ERR_OK
              : err_set(msg, ERR_LIMIT, "the request with its derived series is too large");
}

void stage_blank(struct stage *s, uint8_t *data, size_t size)
{
    struct context *c = s->redact ? context_take(s) : NULL;
    if (c)
        redact_blank(c->redact, data, size);
    else if (s->redact)
        memset(data, '*', size); /* no memory: better nothing than a secret */
    if (c)
        context_give(s, c);
}

/* --- thresholds ---------------------------------------------------------------------------------------- */

static bool thresholds_differ(const struct derive_threshold *a, const struct derive_threshold *b,
                              uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (a[i].family != b[i].family || a[i].le != b[i].le)
            return true;
    return false;
}

static bool family_of(struct bytes name, enum derive_latency *out)
{
    for (int i = 0; i < DERIVE_LATENCY_COUNT; i++)
        if (bytes_equal_str(name, derive_latency_families[i])) {
            *out = (enum derive_latency)i;
            return true;
        }
    return false;
}

enum err stage_set_thresholds(struct stage *s, const struct stage_threshold *t, size_t n,
                              struct err_msg *msg)
{
    struct derive_threshold set[STAGE_THRESHOLDS_MAX] = {0};
    uint32_t count = 0;
    for (size_t i = 0; i < n; i++) {
        struct derive_threshold one = {.le = t[i].le_seconds};
        char text[JSON_OUT_PROM_FLOAT_MAX];
        bool known = false;
        if (!family_of(t[i].family, &one.family))
            return err_set(msg, ERR_INVALID, "no latency family \"" BYTES_FMT "\"",
                           BYTES_ARG(t[i].family));
        size_t size = json_out_prom_float(one.le, text);
        if (!(one.le > 0) || size >= sizeof one.le_text)
            return err_set(msg, ERR_INVALID, "a latency threshold must be positive seconds");
        memcpy(one.le_text, text, size);
        for (uint32_t k = 0; k < count; k++)
            known = known || (set[k].family == one.family && set[k].le == one.le);
        if (known)
            continue;
        if (count == STAGE_THRESHOLDS_MAX)
            return err_set(msg, ERR_LIMIT, "more than %u latency thresholds", STAGE_THRESHOLDS_MAX);
        set[count++] = one;
    }
    pthread_mutex_lock(&s->lock);
    if (count != s->threshold_count || thresholds_differ(set, s->thresholds, count)) {
        memcpy(s->thresholds, set, sizeof set);
        s->threshold_count = count;
        s->thresholds_version++;
    }
    pthread_mutex_unlock(&s->lock);
    return ERR_OK;
}

/* --- the settler ------------------------------------------------------------------------------------------ */

static enum err stage_settle(void *ctx, struct tsdb_batch *b, uint64_t seq, uint64_t generation)
{
    struct stage *s = ctx;
    pthread_mutex_lock(&s->lock);
    derive_refresh(s, settle_derive(s->settle));
    pthread_mutex_unlock(&s->lock);
    return settle_batch(s->settle, b, settle_derive(s->settle)->series ? b : NULL, seq, generation);
}

static void stage_undo(void *ctx, uint64_t seq)
{
    settle_undo(((struct stage *)ctx)->settle, seq);
}

static void stage_replay(void *ctx, const struct tsdb_batch *b, uint64_t seq, uint64_t generation)
{
    struct stage *s = ctx;
    /* Out of memory here only means fewer corrections later. */
    if (settle_batch(s->settle, b, NULL, seq, generation) != ERR_OK)
        return;
}

static void stage_drop(void *ctx, uint64_t generation)
{
    settle_drop(((struct stage *)ctx)->settle, generation);
}

static void stage_committed(void *ctx)
{
    tokens_open_committed(settle_streams(((struct stage *)ctx)->settle));
}

static bool stage_due(void *ctx, int64_t now_ns, uint32_t *out_org)
{
    return tokens_open_due(settle_streams(((struct stage *)ctx)->settle), now_ns, out_org);
}

static void stage_checkpoint(void *ctx, struct buf *out)
{
    tokens_open_checkpoint(settle_streams(((struct stage *)ctx)->settle), out);
}

static enum err stage_restore(void *ctx, struct bytes state)
{
    return tokens_open_restore(settle_streams(((struct stage *)ctx)->settle), state);
}

struct tsdb_settler stage_settler(struct stage *s)
{
    return (struct tsdb_settler){.ctx = s,
                                 .settle = stage_settle,
                                 .undo = stage_undo,
                                 .replay = stage_replay,
                                 .drop_generation = stage_drop,
                                 .committed = stage_committed,
                                 .due = stage_due,
                                 .checkpoint = stage_checkpoint,
                                 .restore = stage_restore};
}
