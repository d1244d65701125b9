#include "detectors/rule_eval.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/hash.h"

#include <stdio.h>
#include <stdlib.h>

#define STALE_BITS UINT64_C(0x7ff0000000000002)
#define WORK_BYTES ((size_t)512 << 20)

static double stale_marker(void)
{
    uint64_t bits = STALE_BITS;
    double v;
    memcpy(&v, &bits, sizeof(v));
    return v;
}

const char *rule_alert_state_name(enum rule_alert_state s)
{
    static const char *const names[] = {"inactive", "pending", "firing"};
    return names[s];
}

const char *rule_health_name(enum rule_health h)
{
    static const char *const names[] = {"unknown", "ok", "err"};
    return names[h];
}

enum rule_alert_state rule_state_worst(const struct rule_state *s)
{
    enum rule_alert_state worst = RULE_INACTIVE;
    for (size_t i = 0; i < s->alert_count; i++)
        worst = MAX(worst, s->alerts[i].state);
    return worst;
}

/* --- labels -------------------------------------------------------------------------------------- */

struct labels {
    struct tsdb_label list[TSDB_LABELS_MAX];
    size_t count;
    bool is_full;
};

static void labels_set(struct labels *l, struct bytes name, struct bytes value)
{
    size_t i = 0;
    while (i < l->count && !bytes_equal(l->list[i].name, name))
        i++;
    if (i == TSDB_LABELS_MAX) {
        l->is_full = true;
        return;
    }
    l->list[i] = (struct tsdb_label){name, value}; /* an empty value drops it */
    l->count += i == l->count;
}

static void labels_of(struct labels *l, struct tsdb_labels from)
{
    struct tsdb_labels_iter it = tsdb_labels_begin(from);
    struct tsdb_label label;
    l->count = 0;
    l->is_full = false;
    while (tsdb_labels_next(&it, &label) && l->count < TSDB_LABELS_MAX)
        l->list[l->count++] = label;
}

static enum err labels_build(struct labels *l, struct arena *a, struct tsdb_labels *out,
                             struct err_msg *msg)
{
    if (l->is_full)
        return err_set(msg, ERR_EXECUTION, "more than %u labels", TSDB_LABELS_MAX);
    return tsdb_labels_build(l->list, l->count, a, out, msg);
}

/* Distinct label sets, and where in an array each stands. */
struct index {
    uint32_t *slots; /* place + 1 */
    size_t size; /* a power of two */
};

static bool index_make(struct index *x, size_t n, struct arena *a)
{
    x->size = 16;
    while (x->size < n * 2 + 2)
        x->size *= 2;
    x->slots = ARENA_ARRAY(a, uint32_t, x->size);
    return x->slots != NULL;
}

/* The slot of these labels; labels_at gives those of a place. */
static uint32_t *index_find(struct index *x, struct tsdb_labels l,
                            struct tsdb_labels (*labels_at)(const void *of, size_t i),
                            const void *of)
{
    size_t at = hash64(l.enc, 0) & (x->size - 1);
    while (x->slots[at] && !tsdb_labels_equal(labels_at(of, x->slots[at] - 1), l))
        at = (at + 1) & (x->size - 1);
    return &x->slots[at];
}

static struct tsdb_labels series_at(const void *of, size_t i)
{
    return ((const struct tsdb_labels *)of)[i];
}

static struct tsdb_labels alert_at(const void *of, size_t i)
{
    return ((const struct rule_alert *)of)[i].labels;
}

/* --- one evaluation ------------------------------------------------------------------------------ */

struct evaluation {
    const struct rule_group *group;
    const struct rule_state *state;
    const struct rule_io *io;
    int64_t at_ms, sample_ms; /* sample_ms: query_offset earlier */
    struct arena *work; /* of the query */
    struct query_result result;
    struct rule_out *out;
};

static enum err ask(struct evaluation *v)
{
    struct err_msg *msg = &v->out->msg;
    enum err e =
        v->io->query(v->io->ctx, v->state->def->expr, v->sample_ms, v->work, &v->result, msg);
    if (e == ERR_OK && v->result.type != QUERY_VECTOR && v->result.type != QUERY_SCALAR)
        e = err_set(msg, ERR_EXECUTION, "rule result is not a vector or scalar");
    return e;
}

static void add_row(struct rule_out *o, struct rule_row row)
{
    o->rows[o->row_count++] = row;
}

/* --- recording ----------------------------------------------------------------------------------- */

static enum err record_series(struct evaluation *v, struct index *x)
{
    const struct rule_def *d = v->state->def;
    struct rule_out *o = v->out;
    struct labels l;
    for (size_t i = 0; i < v->result.count; i++) {
        const struct query_row *r = &v->result.rows[i];
        struct tsdb_labels *at = &o->series[o->series_count];
        if (!r->count)
            continue;
        labels_of(&l, r->labels);
        labels_set(&l, BYTES_LIT("__name__"), d->name);
        for (uint32_t k = 0; k < d->label_count; k++)
            labels_set(&l, d->labels[k].name, d->labels[k].value);
        enum err e = labels_build(&l, o->arena, at, &o->msg);
        if (e != ERR_OK)
            return e;
        uint32_t *slot = index_find(x, *at, series_at, o->series);
        if (*slot)
            return err_set(&o->msg, ERR_EXECUTION,
                           "vector contains metrics with the same labelset after applying rule "
                           "labels");
        *slot = (uint32_t)++o->series_count;
        const struct query_hist *h = r->hist ? r->hist[0] : NULL;
        h = h ? query_hist_copy(h, o->arena) : NULL;
        if (r->hist && r->hist[0] && !h)
            return ERR_LIMIT;
        add_row(o, (struct rule_row){*at, v->sample_ms, r->value[0], h});
    }
    return ERR_OK;
}

static enum err eval_record(struct evaluation *v)
{
    const struct rule_state *s = v->state;
    struct rule_out *o = v->out;
    struct index x;
    size_t n = v->result.count, old = s->series_count;
    uint32_t limit = v->group->def->limit;
    o->series = ARENA_ARRAY(o->arena, struct tsdb_labels, n + 1);
    o->rows = ARENA_ARRAY(o->arena, struct rule_row, n + old + 1);
    if (!o->series || !o->rows || !index_make(&x, n, v->work))
        return err_set(&o->msg, ERR_LIMIT, "the result needs too much memory");
    enum err e = record_series(v, &x);
    if (e != ERR_OK)
        return e;
    if (limit && o->series_count > limit)
        return err_set(&o->msg, ERR_EXECUTION, "exceeded limit of %u with %zu series", limit,
                       o->series_count);
    for (size_t i = 0; i < old; i++) {
        if (*index_find(&x, s->series[i], series_at, o->series))
            continue;
        struct bytes enc = arena_copy(o->arena, s->series[i].enc);
        if (!enc.data)
            return ERR_LIMIT;
        add_row(o, (struct rule_row){{enc}, v->sample_ms, stale_marker(), NULL});
    }
    return ERR_OK;
}

/* --- alerts: from the result --------------------------------------------------------------------- */

static struct bytes expanded(struct evaluation *v, const struct rule_pair *p,
                             const struct rule_template_data *data)
{
    struct err_msg msg = {""};
    struct bytes out;
    if (!p->text)
        return p->value;
    enum err e = rule_template_expand(p->text, data, v->work, &out, &msg);
    if (e == ERR_OK)
        return out;
    return arena_printf(v->work, "<error expanding template: %s>",
                        msg.text[0] ? msg.text : err_text(e));
}

static enum err alert_texts(struct evaluation *v, const struct query_row *r, struct rule_alert *a)
{
    const struct rule_def *d = v->state->def;
    struct rule_template_data data = {.labels = r->labels,
                                      .external_labels = v->io->external_labels,
                                      .value = r->value[0],
                                      .external_url = v->io->external_url,
                                      .at_ms = v->at_ms,
                                      .query = v->io->query,
                                      .ctx = v->io->ctx};
    struct labels l;
    if (r->hist && r->hist[0])
        data.value_text = query_hist_text(r->hist[0], v->work);
    labels_of(&l, r->labels);
    labels_set(&l, BYTES_LIT("__name__"), BYTES_NONE);
    for (uint32_t k = 0; k < d->label_count; k++)
        labels_set(&l, d->labels[k].name, expanded(v, &d->labels[k], &data));
    labels_set(&l, BYTES_LIT("alertname"), d->name);
    enum err e = labels_build(&l, v->out->arena, &a->labels, &v->out->msg);
    l.count = 0;
    for (uint32_t k = 0; k < d->annotation_count; k++)
        labels_set(&l, d->annotations[k].name, expanded(v, &d->annotations[k], &data));
    return e == ERR_OK ? labels_build(&l, v->out->arena, &a->annotations, &v->out->msg) : e;
}

void rule_alert_fingerprint(const struct rule_def *d, struct rule_alert *a)
{
    struct buf b;
    uint8_t raw[16];
    buf_init(&b, 0);
    buf_u64(&b, d->identity);
    buf_lenbytes(&b, a->labels.enc);
    buf_zigzag(&b, a->active_ms);
    struct hash128 h = hash128(buf_bytes(&b), 0);
    bytes_put_u64be(raw, h.hi);
    bytes_put_u64be(raw + 8, h.lo);
    bytes_to_hex(bytes_of(raw, sizeof(raw)), a->fingerprint);
    buf_done(&b);
}

/* A copy of an alert of before, its texts in the new arena. */
static bool carry(struct evaluation *v, const struct rule_alert *from, struct rule_alert *to)
{
    struct arena *a = v->out->arena;
    *to = *from;
    to->before = from->state;
    to->labels.enc = arena_copy(a, from->labels.enc);
    to->annotations.enc = arena_copy(a, from->annotations.enc);
    return (to->labels.enc.data || !from->labels.enc.size) &&
           (to->annotations.enc.data || !from->annotations.enc.size);
}

/* out->alerts: those of before, then the new ones; seen[i] says that the result has it. */
static enum err merge(struct evaluation *v, bool *seen)
{
    struct rule_out *o = v->out;
    const struct rule_state *s = v->state;
    struct index x;
    if (!index_make(&x, s->alert_count + v->result.count, v->work))
        return ERR_LIMIT;
    for (size_t i = 0; i < s->alert_count; i++) {
        if (!carry(v, &s->alerts[i], &o->alerts[i]))
            return ERR_LIMIT;
        *index_find(&x, o->alerts[i].labels, alert_at, o->alerts) = (uint32_t)i + 1;
    }
    o->alert_count = s->alert_count;
    for (size_t i = 0; i < v->result.count; i++) {
        const struct query_row *r = &v->result.rows[i];
        struct rule_alert fresh = {
            .state = RULE_PENDING, .active_ms = v->at_ms, .is_changed = true};
        if (!r->count)
            continue;
        fresh.value = r->value[0];
        enum err e = alert_texts(v, r, &fresh);
        if (e != ERR_OK)
            return e;
        uint32_t *slot = index_find(&x, fresh.labels, alert_at, o->alerts);
        size_t at = *slot ? *slot - 1 : o->alert_count;
        if (*slot && seen[at])
            return err_set(&o->msg, ERR_EXECUTION,
                           "vector contains metrics with the same labelset after applying alert "
                           "labels");
        seen[at] = true;
        if (*slot && o->alerts[at].state != RULE_INACTIVE) {
            o->alerts[at].value = fresh.value;
            o->alerts[at].annotations = fresh.annotations;
            continue;
        }
        rule_alert_fingerprint(s->def, &fresh);
        o->alerts[at] = fresh;
        o->alert_count += !*slot;
        *slot = (uint32_t)at + 1;
    }
    return ERR_OK;
}

/* --- alerts: their state ------------------------------------------------------------------------- */

/* Not in the result: does it go on all the same? */
static bool is_kept(const struct evaluation *v, struct rule_alert *a)
{
    int64_t keep_ms = v->state->def->keep_firing_ms;
    if (a->is_restored && a->state != RULE_INACTIVE && v->at_ms < v->io->grace_until_ms)
        return true;
    if (a->state != RULE_FIRING || !keep_ms)
        return false;
    if (!a->keep_since_ms) {
        a->keep_since_ms = v->at_ms;
        a->is_changed = true;
    }
    return v->at_ms - a->keep_since_ms < keep_ms;
}

/* True: it is pending or fires after this evaluation. */
static bool step(const struct evaluation *v, struct rule_alert *a, bool is_seen)
{
    if (is_seen) {
        a->is_changed = a->is_changed || a->keep_since_ms;
        a->keep_since_ms = 0;
        a->is_restored = false;
    } else if (!is_kept(v, a)) {
        a->is_gone = a->state == RULE_PENDING ||
                     (a->resolved_ms && v->at_ms - a->resolved_ms > RULE_EVAL_RESOLVED_MS);
        if (a->state != RULE_INACTIVE) {
            a->state = RULE_INACTIVE;
            a->resolved_ms = v->at_ms;
            a->is_changed = true;
        }
        return false;
    } else if (a->is_restored) {
        return true;
    }
    if (a->state == RULE_PENDING && v->at_ms - a->active_ms >= v->state->def->for_ms) {
        a->state = RULE_FIRING;
        a->fired_ms = v->at_ms;
        a->is_changed = true;
    }
    return true;
}

static enum err alert_row(struct evaluation *v, const struct rule_alert *a, bool for_state,
                          enum rule_alert_state state, double value)
{
    struct labels l;
    struct rule_row row = {.t_ms = v->sample_ms, .value = value};
    labels_of(&l, a->labels);
    labels_set(&l, BYTES_LIT("__name__"),
               for_state ? BYTES_LIT("ALERTS_FOR_STATE") : BYTES_LIT("ALERTS"));
    if (!for_state)
        labels_set(&l, BYTES_LIT("alertstate"), bytes_str(rule_alert_state_name(state)));
    enum err e = labels_build(&l, v->out->arena, &row.labels, &v->out->msg);
    if (e == ERR_OK)
        add_row(v->out, row);
    return e;
}

/* What is written for one alert, and what it was before and is no more. */
static enum err alert_rows(struct evaluation *v, const struct rule_alert *a)
{
    enum err e = ERR_OK;
    if (a->state != RULE_INACTIVE) {
        e = alert_row(v, a, false, a->state, 1);
        if (e == ERR_OK) /* Unix seconds, whole ones */
            e = alert_row(v, a, true, a->state, (double)(a->active_ms / 1000));
    } else if (a->before != RULE_INACTIVE) {
        e = alert_row(v, a, true, a->before, stale_marker());
    }
    if (e == ERR_OK && a->before != RULE_INACTIVE && a->before != a->state)
        e = alert_row(v, a, false, a->before, stale_marker());
    return e;
}

/* Past the group's limit a rule has no alerts at all. */
static void end_all(struct evaluation *v)
{
    for (size_t i = 0; i < v->out->alert_count; i++) {
        struct rule_alert *a = &v->out->alerts[i];
        a->is_gone = a->is_gone || !a->fired_ms;
        a->resolved_ms = a->state == RULE_INACTIVE ? a->resolved_ms : v->at_ms;
        a->is_changed = a->is_changed || a->state != RULE_INACTIVE;
        a->state = RULE_INACTIVE;
    }
    v->out->keeps_alerts = true;
}

static enum err eval_alert(struct evaluation *v)
{
    struct rule_out *o = v->out;
    size_t max = v->state->alert_count + v->result.count, active = 0;
    uint32_t limit = v->group->def->limit;
    bool *seen = ARENA_ARRAY(v->work, bool, max + 1);
    if (v->result.count > RULE_EVAL_ALERTS_MAX)
        return err_set(&o->msg, ERR_EXECUTION, "exceeded limit of %u with %zu alerts",
                       RULE_EVAL_ALERTS_MAX, v->result.count);
    o->alerts = ARENA_ARRAY(o->arena, struct rule_alert, max + 1);
    o->rows = ARENA_ARRAY(o->arena, struct rule_row, 3 * max + 1);
    if (!seen || !o->alerts || !o->rows)
        return err_set(&o->msg, ERR_LIMIT, "the result needs too much memory");
    enum err e = merge(v, seen);
    if (e != ERR_OK)
        return e;
    for (size_t i = 0; i < o->alert_count; i++)
        active += step(v, &o->alerts[i], seen[i]);
    if (limit && active > limit) {
        end_all(v);
        return err_set(&o->msg, ERR_EXECUTION, "exceeded limit of %u with %zu alerts", limit,
                       active);
    }
    for (size_t i = 0; i < o->alert_count && e == ERR_OK; i++)
        e = alert_rows(v, &o->alerts[i]);
    return e;
}

/* --- a rule, a group ----------------------------------------------------------------------------- */

static void eval_rule(const struct rule_group *g, const struct rule_state *s,
                      const struct rule_io *io, int64_t at_ms, struct rule_out *out)
{
    struct evaluation v = {.group = g,
                           .state = s,
                           .io = io,
                           .at_ms = at_ms,
                           .sample_ms = at_ms - g->def->query_offset_ms,
                           .work = arena_new_in(io->budget, WORK_BYTES),
                           .out = out};
    int64_t begin = clock_mono_ns();
    *out = (struct rule_out){.is_done = true,
                             .evaluated_ms = clock_wall_ms(),
                             .arena = arena_new_in(io->budget, RULE_EVAL_ARENA_MAX)};
    enum err e = v.work && out->arena ? ask(&v) : ERR_NOMEM;
    if (e == ERR_OK)
        e = s->def->is_alert ? eval_alert(&v) : eval_record(&v);
    out->err = e;
    if (e != ERR_OK) {
        if (!out->msg.text[0])
            (void)err_set(&out->msg, e, "%s", err_text(e));
        out->row_count = 0;
        if (!out->keeps_alerts) {
            arena_free(out->arena);
            out->arena = NULL;
            out->alert_count = out->series_count = 0;
        }
    }
    arena_free(v.work);
    out->evaluation_ns = clock_mono_ns() - begin;
}

/* Writes the rows of rules [from, to). On an error they have not been written: their recorded series stay those of before. */
static void write_rows(const struct rule_io *io, struct rule_out *outs, size_t from, size_t to)
{
    size_t n = 0, k = 0;
    struct err_msg msg = {""};
    for (size_t i = from; i < to; i++)
        n += outs[i].row_count;
    if (!n)
        return;
    struct rule_row *rows = malloc(n * sizeof(*rows));
    for (size_t i = from; i < to && rows; i++)
        for (size_t r = 0; r < outs[i].row_count; r++)
            rows[k++] = outs[i].rows[r];
    enum err e = rows ? io->write(io->ctx, rows, n, &msg) : ERR_NOMEM;
    for (size_t i = from; i < to && e != ERR_OK; i++) {
        if (!outs[i].row_count)
            continue;
        outs[i].err = err_set(&outs[i].msg, e, "the samples cannot be written: %s",
                              msg.text[0] ? msg.text : err_text(e));
        outs[i].row_count = 0;
        if (outs[i].series) { /* a recording rule: as if it had not run */
            arena_free(outs[i].arena);
            outs[i].arena = NULL;
        }
    }
    free(rows);
}

void rule_group_eval(const struct rule_group *g, const struct rule_io *io, int64_t at_ms,
                     bool records_only, struct rule_out *outs)
{
    uint32_t n = g->def->rule_count, written = 0;
    memset(outs, 0, n * sizeof(*outs));
    for (uint32_t i = 0; i < n; i++) {
        const struct rule_state *s = &g->rules[i];
        if (records_only && s->def->is_alert)
            continue;
        if (s->def->reads_own) { /* what the rules before it found must be there */
            write_rows(io, outs, written, i);
            written = i;
        }
        eval_rule(g, s, io, at_ms, &outs[i]);
    }
    write_rows(io, outs, written, n);
}

static void drop_gone(struct rule_state *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->alert_count; i++)
        if (!s->alerts[i].is_gone)
            s->alerts[n++] = s->alerts[i];
    s->alert_count = n;
}

void rule_group_apply(struct rule_group *g, int64_t at_ms, struct rule_out *outs)
{
    g->evaluation_ns = 0;
    g->last_samples = 0;
    for (uint32_t i = 0; i < g->def->rule_count; i++) {
        struct rule_state *s = &g->rules[i];
        struct rule_out *o = &outs[i];
        if (!o->is_done)
            continue;
        s->evaluated_ms = o->evaluated_ms;
        s->evaluation_ns = o->evaluation_ns;
        s->health = o->err == ERR_OK ? RULE_GOOD : RULE_BAD;
        snprintf(s->last_error, sizeof(s->last_error), "%.255s",
                 o->err == ERR_OK ? "" : o->msg.text);
        g->evaluations++;
        g->failures += o->err != ERR_OK;
        g->last_samples += o->row_count;
        g->evaluation_ns += o->evaluation_ns;
        g->evaluation_ns_total += o->evaluation_ns;
        g->evaluated_ms = o->evaluated_ms;
        if (!o->arena)
            continue;
        arena_free(s->arena);
        s->arena = o->arena;
        o->arena = NULL;
        s->alerts = o->alerts;
        s->alert_count = o->alert_count;
        s->series = o->series;
        s->series_count = o->series_count;
        drop_gone(s);
    }
    g->last_ms = at_ms;
    g->iterations++;
}

void rule_outs_free(struct rule_out *outs, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        arena_free(outs[i].arena);
        outs[i].arena = NULL;
    }
}

void rule_state_done(struct rule_state *s)
{
    arena_free(s->arena);
    *s = (struct rule_state){.def = s->def};
}

enum err rule_state_stale_rows(const struct rule_state *s, int64_t at_ms, struct arena *a,
                               struct rule_row **out, size_t *out_count)
{
    struct rule_out o = {.arena = a};
    struct evaluation v = {.state = s, .at_ms = at_ms, .sample_ms = at_ms, .out = &o};
    enum err e = ERR_OK;
    o.rows = ARENA_ARRAY(a, struct rule_row, s->series_count + 2 * s->alert_count + 1);
    if (!o.rows)
        return ERR_LIMIT;
    for (size_t i = 0; i < s->series_count; i++)
        add_row(&o, (struct rule_row){s->series[i], at_ms, stale_marker(), NULL});
    for (size_t i = 0; i < s->alert_count && e == ERR_OK; i++) {
        struct rule_alert gone = s->alerts[i];
        gone.before = gone.state;
        gone.state = RULE_INACTIVE;
        e = alert_rows(&v, &gone);
    }
    *out = o.rows;
    *out_count = o.row_count;
    return e;
}
