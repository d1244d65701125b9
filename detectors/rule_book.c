#include "detectors/rule_book.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/stats.h"
#include "detectors/catalogue.h"
#include "detectors/message.h"
#include "detectors/outbox.h"
#include "tsdb/tsdb_versions.h"

#include <stdio.h>
#include <stdlib.h>

#define BOOK_BYTES ((size_t)256 << 20)
#define LOAD_BYTES ((size_t)1 << 30)
#define ID_PREFIX "rule:"

STATS_COUNTER(stat_fired, "telltale_rule_alert_transitions_total", "to=\"firing\"",
              "State changes of rules' alerts, once committed.");
STATS_COUNTER(stat_resolved, "telltale_rule_alert_transitions_total", "to=\"resolved\"",
              "State changes of rules' alerts, once committed.");
STATS_COUNTER(stat_commit_failed, "telltale_rule_commit_failures_total", "",
              "Evaluations of groups whose state could not be committed; the next one comes to the "
              "same conclusion.");

/* --- in memory ----------------------------------------------------------------------------------- */

void rule_book_free(struct rule_book *b)
{
    for (uint32_t i = 0; i < b->group_count; i++)
        for (uint32_t k = 0; k < b->groups[i].def->rule_count; k++)
            rule_state_done(&b->groups[i].rules[k]);
    arena_free(b->arena);
    *b = (struct rule_book){0};
}

static uint64_t group_hash(const struct rule_group_def *g)
{
    return hash64(g->name, hash64(bytes_str(g->file), 0));
}

int64_t rule_book_next(const struct rule_group_def *g, int64_t now_ms)
{
    int64_t shift = (int64_t)(group_hash(g) % (uint64_t)g->interval_ms);
    int64_t shifted = now_ms - shift;
    return shifted - shifted % g->interval_ms + shift + g->interval_ms;
}

enum err rule_book_make(const struct detectors_rules_options *o, struct rule_book *out,
                        struct buf *errors)
{
    struct rule_book b = {.arena = arena_new(BOOK_BYTES)};
    struct rule_file_options f = {
        .interval_ms = o->interval_ms, .arena = b.arena, .errors = errors};
    enum err e = b.arena ? rule_file_load(o->paths, o->path_count, &f, &b.set) : ERR_NOMEM;
    if (e == ERR_OK)
        b.groups = ARENA_ARRAY(b.arena, struct rule_group, b.set.group_count + 1);
    if (e == ERR_OK && !b.groups)
        e = ERR_NOMEM;
    for (uint32_t i = 0; e == ERR_OK && i < b.set.group_count; i++) {
        struct rule_group *g = &b.groups[i];
        g->def = &b.set.groups[i];
        g->rules = ARENA_ARRAY(b.arena, struct rule_state, g->def->rule_count + 1);
        e = g->rules ? ERR_OK : ERR_NOMEM;
        for (uint32_t k = 0; e == ERR_OK && k < g->def->rule_count; k++)
            g->rules[k].def = &g->def->rules[k];
        b.group_count += e == ERR_OK;
    }
    if (e != ERR_OK) {
        rule_book_free(&b);
        return e;
    }
    *out = b;
    return ERR_OK;
}

static struct rule_state *find_rule(struct rule_book *b, uint64_t identity,
                                    struct rule_group **out_group)
{
    for (uint32_t i = 0; i < b->group_count; i++)
        for (uint32_t k = 0; k < b->groups[i].def->rule_count; k++)
            if (b->groups[i].rules[k].def->identity == identity) {
                *out_group = &b->groups[i];
                return &b->groups[i].rules[k];
            }
    return NULL;
}

/* --- orphans ------------------------------------------------------------------------------------- */

static enum err add_orphan(struct detectors_rules *r, const struct rule_record *x)
{
    if (!r->orphan_arena)
        r->orphan_arena = arena_new(BOOK_BYTES);
    struct rule_orphan *list = r->orphan_arena
                                   ? arena_grow(r->orphan_arena, r->orphans, sizeof(*list),
                                                r->orphan_count, r->orphan_count + 1)
                                   : NULL;
    if (!list)
        return ERR_NOMEM;
    r->orphans = list;
    struct rule_orphan *o = &list[r->orphan_count];
    *o = (struct rule_orphan){.alert = x->alert, .identity = x->identity};
    o->alert.labels.enc = arena_copy(r->orphan_arena, x->alert.labels.enc);
    o->alert.annotations.enc = arena_copy(r->orphan_arena, x->alert.annotations.enc);
    snprintf(o->name, sizeof(o->name), "%.*s", (int)MIN(x->name.size, sizeof(o->name) - 1),
             (const char *)x->name.data);
    snprintf(o->group, sizeof(o->group), "%.*s", (int)MIN(x->group.size, sizeof(o->group) - 1),
             (const char *)x->group.data);
    r->orphan_count++;
    return ERR_OK;
}

/* --- from before --------------------------------------------------------------------------------- */

/* Repetitions that fell due before this process began count as sent. */
static void restore_repeats(const struct detectors *d, struct rule_alert *a, int64_t now_ms)
{
    for (size_t i = 0; i < d->o.receiver_count; i++) {
        int64_t every = d->o.receivers[i].repeat_ms ? d->o.receivers[i].repeat_ms : BOOK_REPEAT_MS;
        a->repeats[i] = a->state == RULE_FIRING && now_ms > a->fired_ms
                            ? (uint32_t)((now_ms - a->fired_ms) / every)
                            : 0;
    }
}

static enum err restore(struct detectors_rules *r, const struct rule_record *x, int64_t now_ms)
{
    struct rule_group *g;
    struct rule_state *s = find_rule(&r->book, x->identity, &g);
    if (!s || !s->def->is_alert)
        return add_orphan(r, x);
    if (!s->arena)
        s->arena = arena_new(RULE_EVAL_ARENA_MAX);
    struct rule_alert *list = s->arena ? arena_grow(s->arena, s->alerts, sizeof(*list),
                                                    s->alert_count, s->alert_count + 1)
                                       : NULL;
    if (!list)
        return ERR_NOMEM;
    s->alerts = list;
    struct rule_alert *a = &list[s->alert_count++];
    *a = x->alert;
    a->labels.enc = arena_copy(s->arena, x->alert.labels.enc);
    a->annotations.enc = arena_copy(s->arena, x->alert.annotations.enc);
    a->is_restored = true;
    if (a->state == RULE_PENDING && g->last_ms &&
        now_ms - g->last_ms > DETECTORS_RULES_OUTAGE_MS) { /* nobody knows how it was meanwhile */
        a->active_ms = now_ms;
        a->is_changed = true;
    }
    rule_alert_fingerprint(s->def, a);
    restore_repeats(r->d, a, now_ms);
    return (a->labels.enc.data || !x->alert.labels.enc.size) &&
                   (a->annotations.enc.data || !x->alert.annotations.enc.size)
               ? ERR_OK
               : ERR_NOMEM;
}

static void restore_cursors(struct detectors_rules *r, const struct tsdb_state_row *rows, size_t n)
{
    for (uint32_t i = 0; i < r->book.group_count; i++) {
        struct rule_group *g = &r->book.groups[i];
        for (size_t k = 0; k < n; k++) {
            int64_t last_ms;
            if (rows[k].key.size == 8 && bytes_u64be(rows[k].key.data) == group_hash(g->def) &&
                rule_cursor_decode(rows[k].value, &last_ms) == ERR_OK)
                g->last_ms = g->saved_ms = last_ms;
        }
    }
}

enum err rule_book_load(struct detectors_rules *r, int64_t now_ms)
{
    struct detectors *d = r->d;
    struct arena *a = arena_new(LOAD_BYTES);
    struct tsdb_state_row *rows;
    size_t n = 0;
    enum err e = a ? d->store.scan(d->store.ctx, RULE_BOOK_GROUPS_TABLE, BYTES_NONE,
                                   2 * RULE_FILE_GROUPS_MAX, a, &rows, &n)
                   : ERR_NOMEM;
    if (e == ERR_OK) {
        restore_cursors(r, rows, n);
        e = d->store.scan(d->store.ctx, RULE_BOOK_ALERTS_TABLE, BYTES_NONE, RULE_BOOK_ROWS_MAX, a,
                          &rows, &n);
    }
    for (size_t i = 0; e == ERR_OK && i < n; i++) {
        struct rule_record x;
        if (rule_record_decode(rows[i].value, &x) != ERR_OK)
            log_error("rules", "an alert of the state store cannot be read and is left alone");
        else
            e = restore(r, &x, now_ms);
    }
    arena_free(a);
    return e;
}

static enum err orphan_all(struct detectors_rules *r, const struct rule_group *g,
                           const struct rule_state *s)
{
    enum err e = ERR_OK;
    for (size_t i = 0; i < s->alert_count && e == ERR_OK; i++) {
        struct rule_record x = {.identity = s->def->identity,
                                .name = s->def->name,
                                .group = g->def->name,
                                .alert = s->alerts[i]};
        e = add_orphan(r, &x);
    }
    return e;
}

enum err rule_book_carry(struct detectors_rules *r, struct rule_book *from, struct rule_book *to)
{
    enum err e = ERR_OK;
    size_t orphans = r->orphan_count;
    /* First what may fail. */
    for (uint32_t i = 0; i < from->group_count && e == ERR_OK; i++)
        for (uint32_t k = 0; k < from->groups[i].def->rule_count && e == ERR_OK; k++) {
            struct rule_group *unused;
            const struct rule_state *s = &from->groups[i].rules[k];
            if (!find_rule(to, s->def->identity, &unused))
                e = orphan_all(r, &from->groups[i], s);
        }
    if (e != ERR_OK)
        r->orphan_count = orphans;
    for (uint32_t i = 0; i < from->group_count && e == ERR_OK; i++) {
        struct rule_group *g = &from->groups[i], *n = NULL;
        for (uint32_t k = 0; k < to->group_count; k++)
            if (group_hash(to->groups[k].def) == group_hash(g->def))
                n = &to->groups[k];
        for (uint32_t k = 0; k < g->def->rule_count; k++) {
            struct rule_group *of;
            struct rule_state *s = find_rule(to, g->rules[k].def->identity, &of);
            if (!s)
                continue;
            const struct rule_def *def = s->def;
            *s = g->rules[k];
            s->def = def;
            g->rules[k] = (struct rule_state){.def = g->rules[k].def};
        }
        if (!n)
            continue;
        bool is_same_pace = n->def->interval_ms == g->def->interval_ms;
        const struct rule_group_def *def = n->def;
        struct rule_state *rules = n->rules;
        *n = *g;
        n->def = def;
        n->rules = rules;
        n->next_ms = is_same_pace ? g->next_ms : 0;
    }
    return e;
}

/* --- who is told --------------------------------------------------------------------------------- */

/* severity: page or critical pages; everything else is a ticket. */
enum query_slo_severity rule_book_severity(const struct rule_alert *a)
{
    struct bytes s = tsdb_labels_get(a->labels, BYTES_LIT("severity"));
    return bytes_equal_str(s, "page") || bytes_equal_str(s, "critical") ? QUERY_SLO_PAGE
                                                                        : QUERY_SLO_TICKET;
}

static bool wants(const struct detectors *d, const struct detectors_receiver *r,
                  const struct rule_alert *a)
{
    const struct detectors_service *of = catalogue_find(
        d->o.services, d->o.service_count, tsdb_labels_get(a->labels, BYTES_LIT("service")));
    if (r->heartbeat || !catalogue_routes(of, tsdb_labels_get(a->labels, BYTES_LIT("kind")),
                                          rule_book_severity(a), r->name))
        return false;
    if (!r->pages && !r->tickets)
        return true;
    return rule_book_severity(a) == QUERY_SLO_PAGE ? r->pages : r->tickets;
}

static bool was_told(const struct rule_alert *a, uint32_t hash)
{
    for (uint32_t i = 0; i < a->told_count; i++)
        if (a->told[i] == hash)
            return true;
    return false;
}

static void tell(struct rule_alert *a, uint32_t hash)
{
    if (a->told_count == DETECTORS_RECEIVERS_MAX) { /* receivers were renamed: forget the oldest */
        memmove(a->told, a->told + 1, (DETECTORS_RECEIVERS_MAX - 1) * sizeof(a->told[0]));
        a->told_count--;
    }
    a->told[a->told_count++] = hash;
    a->is_changed = true;
}

/* A later step of an escalation: not yet, or somebody works on it. */
static bool is_early(const struct detectors *d, const struct detectors_receiver *r,
                     const struct rule_alert *a, int64_t now_ms)
{
    return r->after_ms && (now_ms - a->fired_ms < r->after_ms || acks_has(d->acks, a->fingerprint));
}

/* What receiver i hears of the alert now; false: nothing. Marks in the alert that it was told. */
static bool event_of(const struct detectors *d, struct rule_alert *a, size_t i, int64_t now_ms,
                     char out[24])
{
    const struct detectors_receiver *r = &d->o.receivers[i];
    uint32_t hash = alert_receiver_hash(r->name);
    bool told = was_told(a, hash);
    if (a->state == RULE_INACTIVE && a->before == RULE_FIRING) {
        snprintf(out, 24, "resolved");
        return told && !r->send_resolved_off;
    }
    if (a->state != RULE_FIRING)
        return false;
    if (!told) {
        if (!wants(d, r, a) || is_early(d, r, a, now_ms) ||
            silences_mute_labels(d->silences, a->labels, now_ms))
            return false;
        tell(a, hash);
        snprintf(out, 24, "firing");
        return true;
    }
    int64_t every = r->repeat_ms ? r->repeat_ms : BOOK_REPEAT_MS;
    uint32_t due = now_ms > a->fired_ms ? (uint32_t)((now_ms - a->fired_ms) / every) : 0;
    bool is_acked = r->kind != DETECTORS_ALERTMANAGER && acks_has(d->acks, a->fingerprint);
    if (due <= a->repeats[i] || is_acked || silences_mute_labels(d->silences, a->labels, now_ms))
        return false;
    a->repeats[i] = due;
    snprintf(out, 24, "repeat-%u", due);
    return true;
}

static bool pairs_of(struct tsdb_labels l, struct arena *a, struct query_slo_pair **out,
                     size_t *out_count)
{
    struct tsdb_labels_iter it = tsdb_labels_begin(l);
    struct tsdb_label label;
    *out = ARENA_ARRAY(a, struct query_slo_pair, tsdb_labels_count(l) + 1);
    *out_count = 0;
    while (*out && tsdb_labels_next(&it, &label))
        (*out)[(*out_count)++] = (struct query_slo_pair){label.name, label.value};
    return *out != NULL;
}

static enum err stage(struct detectors_rules *r, void *txn, const struct rule_alert *a,
                      struct bytes name, struct bytes group, size_t receiver, const char *event,
                      int64_t now_ms)
{
    struct detectors *d = r->d;
    const struct detectors_receiver *to = &d->o.receivers[receiver];
    struct arena *arena = arena_new((size_t)1 << 20);
    struct query_slo_pair *labels, *notes;
    size_t label_count, note_count;
    if (!arena || !pairs_of(a->labels, arena, &labels, &label_count) ||
        !pairs_of(a->annotations, arena, &notes, &note_count)) {
        arena_free(arena);
        return ERR_NOMEM;
    }
    struct query_slo_pair by = {BYTES_LIT("alertname"), name};
    for (size_t i = 0; i < label_count; i++) /* what it is grouped by comes first */
        if (bytes_equal_str(labels[i].name, "alertname")) {
            by = labels[i];
            labels[i] = labels[0];
            labels[0] = by;
        }
    struct bytes id = arena_printf(arena, ID_PREFIX BYTES_FMT, BYTES_ARG(name)),
                 rule = arena_printf(arena, BYTES_FMT, BYTES_ARG(group)),
                 link = arena_printf(arena, "%s/oncall", d->o.external_url);
    struct webhook_note n = {
        .is_resolved = a->state == RULE_INACTIVE,
        .labels = labels,
        .annotations = notes,
        .label_count = label_count,
        .annotation_count = note_count,
        .group_count = 1,
        .starts_ms = a->active_ms,
        .ends_ms = a->resolved_ms,
        .link = (const char *)link.data,
        .fingerprint = a->fingerprint,
        .event = event,
        .now_ms = now_ms,
        .group_key = arena_printf(arena, "{}:{alertname=\"" BYTES_FMT "\"}", BYTES_ARG(name))};
    struct book_note note = {.fingerprint = a->fingerprint,
                             .event = event,
                             .slo_id = (const char *)id.data,
                             .rule = (const char *)rule.data};
    enum err e = id.data && rule.data && link.data && n.group_key.data ? ERR_OK : ERR_NOMEM;
    if (e == ERR_OK)
        e = book_add_pairs(d, to, !n.is_resolved, arena, &n);
    if (e == ERR_OK) {
        struct buf body;
        buf_init(&body, (size_t)4 << 20);
        message_write(to, &n, d->o.external_url, &body);
        e = book_stage(d, txn, to, &note, &body, now_ms);
    }
    arena_free(arena);
    return e;
}

static enum err tell_all(struct detectors_rules *r, void *txn, struct rule_alert *a,
                         struct bytes name, struct bytes group, int64_t now_ms)
{
    char event[24];
    enum err e = ERR_OK;
    for (size_t i = 0; i < r->d->o.receiver_count && e == ERR_OK; i++)
        if (event_of(r->d, a, i, now_ms, event))
            e = stage(r, txn, a, name, group, i, event, now_ms);
    return e;
}

/* --- into the transaction ------------------------------------------------------------------------ */

static void alert_key(uint64_t identity, const struct rule_alert *a, uint8_t out[16])
{
    struct hash128 h = hash128(a->labels.enc, identity);
    bytes_put_u64be(out, h.hi);
    bytes_put_u64be(out + 8, h.lo);
}

static enum err put_alert(struct detectors_rules *r, void *txn, const struct rule_group *g,
                          const struct rule_state *s, const struct rule_alert *a)
{
    struct detectors_store *store = &r->d->store;
    struct rule_record x = {
        .identity = s->def->identity, .name = s->def->name, .group = g->def->name, .alert = *a};
    uint8_t key[16];
    struct buf b;
    alert_key(s->def->identity, a, key);
    if (a->is_gone)
        return store->del(store->ctx, txn, RULE_BOOK_ALERTS_TABLE, bytes_of(key, sizeof(key)));
    buf_init(&b, (size_t)1 << 20);
    rule_record_encode(&x, &b);
    enum err e = buf_ok(&b) ? store->put(store->ctx, txn, RULE_BOOK_ALERTS_TABLE,
                                         bytes_of(key, sizeof(key)), buf_bytes(&b))
                            : ERR_NOMEM;
    buf_done(&b);
    return e;
}

static enum err put_cursor(struct detectors_rules *r, void *txn, const struct rule_group *g,
                           int64_t at_ms)
{
    struct detectors_store *store = &r->d->store;
    uint8_t key[8];
    struct buf b;
    bytes_put_u64be(key, group_hash(g->def));
    buf_init(&b, 0);
    rule_cursor_encode(at_ms, &b);
    enum err e = buf_ok(&b) ? store->put(store->ctx, txn, RULE_BOOK_GROUPS_TABLE,
                                         bytes_of(key, sizeof(key)), buf_bytes(&b))
                            : ERR_NOMEM;
    buf_done(&b);
    return e;
}

/* May a receiver be told something of it, or does its row change? Else the transaction has no business with it. */
static bool is_news(const struct detectors *d, const struct rule_alert *a, int64_t now_ms)
{
    char event[24];
    struct rule_alert copy = *a;
    for (size_t i = 0; i < d->o.receiver_count; i++)
        if (event_of(d, &copy, i, now_ms, event))
            return true;
    return a->is_changed || a->is_gone;
}

static bool has_news(const struct detectors *d, const struct rule_group *g,
                     const struct rule_out *outs, int64_t now_ms)
{
    for (uint32_t i = 0; i < g->def->rule_count; i++)
        for (size_t k = 0; k < outs[i].alert_count; k++)
            if (is_news(d, &outs[i].alerts[k], now_ms))
                return true;
    return false;
}

/* tells false: who would be told is marked, and told nothing. */
static enum err put_group(struct detectors_rules *r, void *txn, struct rule_group *g,
                          struct rule_out *outs, int64_t at_ms, bool tells)
{
    char event[24];
    enum err e = put_cursor(r, txn, g, at_ms);
    for (uint32_t i = 0; i < g->def->rule_count; i++) {
        const struct rule_state *s = &g->rules[i];
        for (size_t k = 0; k < outs[i].alert_count && e == ERR_OK; k++) {
            struct rule_alert *a = &outs[i].alerts[k];
            for (size_t n = 0; n < r->d->o.receiver_count && !tells; n++)
                (void)event_of(r->d, a, n, at_ms, event);
            if (tells)
                e = tell_all(r, txn, a, s->def->name, g->def->name, at_ms);
            if (e == ERR_OK && (a->is_changed || a->is_gone))
                e = put_alert(r, txn, g, s, a);
        }
    }
    return e;
}

static void count_changes(const struct rule_group *g, const struct rule_out *outs)
{
    for (uint32_t i = 0; i < g->def->rule_count; i++)
        for (size_t k = 0; k < outs[i].alert_count; k++) {
            struct rule_alert *a = &outs[i].alerts[k];
            stats_add(&stat_fired, a->state == RULE_FIRING && a->before != RULE_FIRING);
            stats_add(&stat_resolved, a->state == RULE_INACTIVE && a->before == RULE_FIRING);
            a->is_changed = false;
        }
}

/* One transaction: fn puts, then commit and publish, or nothing. */
static enum err finish_txn(struct detectors_rules *r, void *txn, enum err e)
{
    struct detectors_store *store = &r->d->store;
    if (e == ERR_OK)
        e = store->commit(store->ctx, txn);
    else
        store->abort(store->ctx, txn);
    if (e == ERR_OK)
        outbox_publish(r->d->outbox);
    else
        outbox_discard(r->d->outbox);
    return e;
}

static enum err commit_group(struct detectors_rules *r, struct rule_group *g, struct rule_out *outs,
                             int64_t at_ms, bool tells)
{
    struct detectors_store *store = &r->d->store;
    void *txn;
    outbox_begin(r->d->outbox);
    enum err e = store->begin(store->ctx, &txn);
    if (e == ERR_OK)
        e = finish_txn(r, txn, put_group(r, txn, g, outs, at_ms, tells));
    outbox_end(r->d->outbox);
    return e;
}

static void swap_alerts(const struct rule_group *g, struct rule_out *outs, struct rule_alert **kept)
{
    for (uint32_t i = 0; i < g->def->rule_count; i++)
        for (size_t k = 0; k < outs[i].alert_count; k++) {
            struct rule_alert was = outs[i].alerts[k];
            outs[i].alerts[k] = kept[i][k];
            kept[i][k] = was;
        }
}

/* DETECTORS_MUTATE_SPLIT_TXN: states first, notifications in a transaction of their own, which may fail alone. */
static enum err commit_split(struct detectors_rules *r, struct rule_group *g, struct rule_out *outs,
                             int64_t at_ms)
{
    struct rule_alert **kept = calloc(g->def->rule_count + 1, sizeof(*kept));
    bool ok = kept != NULL;
    for (uint32_t i = 0; i < g->def->rule_count && ok; i++) {
        kept[i] = calloc(outs[i].alert_count + 1, sizeof(**kept));
        ok = kept[i] != NULL;
        for (size_t k = 0; ok && k < outs[i].alert_count; k++)
            kept[i][k] = outs[i].alerts[k];
    }
    enum err e = ok ? commit_group(r, g, outs, at_ms, false) : ERR_NOMEM;
    if (e == ERR_OK) {
        swap_alerts(g, outs, kept);
        if (commit_group(r, g, outs, at_ms, true) != ERR_OK)
            swap_alerts(g, outs, kept);
    }
    for (uint32_t i = 0; i < g->def->rule_count && kept; i++)
        free(kept[i]);
    free(kept);
    return e;
}

enum err rule_book_commit(struct detectors_rules *r, struct rule_group *g, struct rule_out *outs,
                          int64_t at_ms)
{
    bool saves = has_news(r->d, g, outs, at_ms) || at_ms - g->saved_ms >= RULE_BOOK_SAVE_MS ||
                 at_ms < g->saved_ms;
    enum err e = ERR_OK;
    if (saves)
        e = r->d->o.mutate & DETECTORS_MUTATE_SPLIT_TXN ? commit_split(r, g, outs, at_ms)
                                                        : commit_group(r, g, outs, at_ms, true);
    if (e != ERR_OK) {
        stats_add(&stat_commit_failed, 1);
        log_error("rules", "the state of group " BYTES_FMT " could not be committed: %s",
                  BYTES_ARG(g->def->name), err_text(e));
        for (uint32_t i = 0; i < g->def->rule_count; i++)
            if (outs[i].alerts) { /* its alerts stay those of before */
                arena_free(outs[i].arena);
                outs[i].arena = NULL;
            }
    } else {
        count_changes(g, outs);
    }
    pthread_mutex_lock(&r->lock);
    rule_group_apply(g, at_ms, outs);
    if (saves && e == ERR_OK)
        g->saved_ms = at_ms;
    pthread_mutex_unlock(&r->lock);
    return e;
}

enum err rule_book_release(struct detectors_rules *r, int64_t now_ms)
{
    struct detectors_store *store = &r->d->store;
    void *txn;
    if (!r->orphan_count)
        return ERR_OK;
    outbox_begin(r->d->outbox);
    enum err e = store->begin(store->ctx, &txn);
    if (e != ERR_OK) {
        outbox_end(r->d->outbox);
        return e;
    }
    for (size_t i = 0; i < r->orphan_count && e == ERR_OK; i++) {
        struct rule_orphan *o = &r->orphans[i];
        struct rule_alert a = o->alert;
        uint8_t key[16];
        alert_key(o->identity, &a, key);
        a.before = a.state;
        a.state = RULE_INACTIVE;
        a.resolved_ms = now_ms;
        /* The same fingerprint as when it was told that it fires. */
        struct rule_def def = {.identity = o->identity};
        rule_alert_fingerprint(&def, &a);
        e = tell_all(r, txn, &a, bytes_str(o->name), bytes_str(o->group), now_ms);
        if (e == ERR_OK)
            e = store->del(store->ctx, txn, RULE_BOOK_ALERTS_TABLE, bytes_of(key, sizeof(key)));
        stats_add(&stat_resolved, e == ERR_OK && a.before == RULE_FIRING);
    }
    e = finish_txn(r, txn, e);
    outbox_end(r->d->outbox);
    if (e == ERR_OK) {
        arena_free(r->orphan_arena);
        r->orphan_arena = NULL;
        r->orphans = NULL;
        r->orphan_count = 0;
    }
    return e;
}
