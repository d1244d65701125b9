/* A wish becomes a durable target; jobs and receipts are told. */
#include "tsdb/tsdb_erase.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fault_point.h"
#include "base/log.h"
#include "tsdb/compact.h"
#include "tsdb/erase_store.h"
#include "tsdb/store.h"
#include "tsdb/view_core.h"

#define IDS_PER_ROW 32768u
#define STATE_VALUE_MIN 4u /* shorter values are in too much that has nothing to do with them */

/* --- the set ------------------------------------------------------------------------------------- */

static void set_release(struct erase_set *s)
{
    if (!s || atomic_fetch_sub(&s->refs, 1) != 1)
        return;
    for (uint32_t i = 0; i < s->count; i++)
        erase_target_release(s->targets[i]);
    free(s);
}

struct erase_set *erase_pin(struct tsdb *db, uint32_t org, uint64_t *out_changes)
{
    struct erase_set *found = NULL;
    pthread_mutex_lock(&db->erase_lock);
    for (uint32_t i = 0; db->erase && i < db->erase->count && !found; i++)
        if (db->erase->targets[i]->org == org)
            found = db->erase;
    if (found)
        atomic_fetch_add(&found->refs, 1);
    if (out_changes)
        *out_changes = db->erase_changes;
    pthread_mutex_unlock(&db->erase_lock);
    return found;
}

void erase_unpin(struct erase_set *s)
{
    set_release(s);
}

/* The lowest number that no other target has. */
static uint32_t free_number(const struct erase_set *s)
{
    for (uint32_t n = 0;; n++) {
        uint32_t i = 0;
        while (i < s->count && s->targets[i]->number != n)
            i++;
        if (i == s->count)
            return n;
    }
}

enum err erase_publish(struct tsdb *db, struct erase_target *joins,
                       const struct erase_target *leaves)
{
    struct erase_set *fresh = calloc(1, sizeof(*fresh)), *old;
    if (!fresh)
        return ERR_NOMEM;
    atomic_init(&fresh->refs, 1);
    pthread_mutex_lock(&db->erase_lock);
    old = db->erase;
    for (uint32_t i = 0; old && i < old->count; i++)
        if (old->targets[i] != leaves)
            fresh->targets[fresh->count++] = old->targets[i];
    enum err e = joins && fresh->count == ERASE_ACTIVE_MAX ? ERR_LIMIT : ERR_OK;
    if (e == ERR_OK) {
        for (uint32_t i = 0; i < fresh->count; i++)
            atomic_fetch_add(&fresh->targets[i]->refs, 1);
        if (joins) {
            joins->number = free_number(fresh);
            fresh->targets[fresh->count++] = joins;
        }
        db->erase = fresh;
        db->erase_changes++;
    }
    pthread_mutex_unlock(&db->erase_lock);
    if (e == ERR_OK)
        set_release(old);
    else
        free(fresh);
    return e;
}

/* --- rows of state ------------------------------------------------------------------------------- */

struct erase_key erase_key_of(uint64_t id)
{
    struct erase_key k = {.size = 8};
    bytes_put_u64be(k.bytes, id);
    return k;
}

static void key_add_u32(struct erase_key *k, uint32_t v)
{
    for (int i = 3; i >= 0; i--)
        k->bytes[k->size++] = (uint8_t)(v >> (8 * i));
}

void erased_write(const struct tsdb_erased *c, struct buf *out)
{
    const uint64_t v[] = {c->spans, c->logs,  c->samples, c->exemplars,
                          c->cells, c->parts, c->bytes};
    for (size_t i = 0; i < ARRAY_LEN(v); i++)
        buf_varint(out, v[i]);
}

bool erased_read(struct reader *r, struct tsdb_erased *c)
{
    uint64_t *const v[] = {&c->spans, &c->logs,  &c->samples, &c->exemplars,
                           &c->cells, &c->parts, &c->bytes};
    for (size_t i = 0; i < ARRAY_LEN(v); i++)
        *v[i] = reader_varint(r);
    return !r->failed;
}

void erased_add(struct tsdb_erased *sum, const struct tsdb_erased *c)
{
    sum->spans += c->spans;
    sum->logs += c->logs;
    sum->samples += c->samples;
    sum->exemplars += c->exemplars;
    sum->cells += c->cells;
    sum->parts += c->parts;
    sum->bytes += c->bytes;
}

enum err erase_sum_parts(struct tsdb *db, uint64_t id, struct arena *a, struct tsdb_erased *out)
{
    struct erase_key k = erase_key_of(id);
    struct tsdb_state_row *rows;
    size_t n;
    *out = (struct tsdb_erased){0};
    enum err e =
        tsdb_state_scan(db, ERASE_TABLE_PARTS, bytes_of(k.bytes, k.size), SIZE_MAX, a, &rows, &n);
    for (size_t i = 0; e == ERR_OK && i < n; i++) {
        struct reader r = reader_of(rows[i].value);
        struct tsdb_erased c = {0};
        if (!erased_read(&r, &c))
            return ERR_CORRUPT;
        erased_add(out, &c);
    }
    return e;
}

static enum err put_target(struct tsdb *db, const struct erase_target *t)
{
    struct tsdb_state_write *w;
    struct buf row = {0};
    struct erase_key k = erase_key_of(t->id);
    erase_target_write(t, &row);
    enum err e = buf_ok(&row) ? tsdb_state_begin(db, &w) : ERR_NOMEM;
    if (e == ERR_OK) {
        e = tsdb_state_put(w, ERASE_TABLE, bytes_of(k.bytes, k.size), buf_bytes(&row));
        for (uint32_t from = 0, chunk = 0; from < t->id_count && e == ERR_OK;
             from += IDS_PER_ROW, chunk++) {
            struct erase_key of_chunk = erase_key_of(t->id);
            key_add_u32(&of_chunk, chunk);
            e = tsdb_state_put(w, ERASE_TABLE_IDS, bytes_of(of_chunk.bytes, of_chunk.size),
                               bytes_of((const uint8_t *)&t->ids[from],
                                        MIN(t->id_count - from, IDS_PER_ROW) * sizeof(*t->ids)));
        }
        fault_point("erase.before_target");
        if (e == ERR_OK)
            e = tsdb_state_commit(w);
        else
            tsdb_state_abort(w);
        fault_point("erase.after_target");
    }
    buf_done(&row);
    return e;
}

static enum err read_ids(struct tsdb *db, struct erase_target *t, struct arena *a)
{
    struct erase_key k = erase_key_of(t->id);
    struct tsdb_state_row *rows;
    size_t n, at = 0;
    enum err e =
        tsdb_state_scan(db, ERASE_TABLE_IDS, bytes_of(k.bytes, k.size), SIZE_MAX, a, &rows, &n);
    for (size_t i = 0; e == ERR_OK && i < n; i++) {
        size_t count = rows[i].value.size / sizeof(*t->ids);
        if (rows[i].value.size % sizeof(*t->ids) || at + count > t->id_count)
            return ERR_CORRUPT;
        memcpy(t->ids + at, rows[i].value.data, rows[i].value.size);
        at += count;
    }
    return e == ERR_OK && at != t->id_count ? ERR_CORRUPT : e;
}

enum err erase_open(struct tsdb *db, struct err_msg *msg)
{
    struct arena *a = arena_new(0);
    struct tsdb_state_row *rows;
    size_t n;
    const char *const tables[] = {ERASE_TABLE, ERASE_TABLE_DONE};
    enum err e = a ? ERR_OK : ERR_NOMEM;
    db->erase_next_id = 1;
    for (size_t k = 0; k < ARRAY_LEN(tables) && e == ERR_OK; k++) {
        e = tsdb_state_scan(db, tables[k], BYTES_NONE, SIZE_MAX, a, &rows, &n);
        for (size_t i = 0; e == ERR_OK && i < n; i++) {
            struct erase_target *t = k == 0 ? erase_target_new() : NULL;
            uint64_t id = rows[i].key.size == 8 ? bytes_u64be(rows[i].key.data) : 0;
            db->erase_next_id = MAX(db->erase_next_id, id + 1);
            if (k > 0)
                continue;
            e = t ? erase_target_read(rows[i].value, t) : ERR_NOMEM;
            if (e == ERR_OK) {
                t->id = id;
                e = read_ids(db, t, a);
            }
            if (e == ERR_OK)
                e = erase_publish(db, t, NULL);
            if (e != ERR_OK)
                erase_target_release(t);
        }
    }
    arena_free(a);
    return e == ERR_OK ? e : err_set(msg, e, "what is to be erased cannot be read from state");
}

void erase_close(struct tsdb *db)
{
    set_release(db->erase);
    db->erase = NULL;
}

/* --- asking -------------------------------------------------------------------------------------- */

struct trace_list {
    struct tsdb_id16 *ids;
    uint32_t count, cap;
    bool failed;
};

static bool trace_add(struct trace_list *l, const struct tsdb_id16 *column, const uint32_t *rows,
                      uint32_t n)
{
    static const struct tsdb_id16 none;
    for (uint32_t i = 0; column && i < n; i++) {
        const struct tsdb_id16 *id = &column[rows[i]];
        if (memcmp(id, &none, sizeof(none)) == 0 ||
            (l->count && memcmp(id, &l->ids[l->count - 1], sizeof(none)) == 0))
            continue;
        if (l->count == l->cap) {
            uint32_t cap = l->cap ? l->cap * 2 : 256;
            struct tsdb_id16 *more =
                cap > 2 * ERASE_IDS_MAX ? NULL : realloc(l->ids, cap * sizeof(*more));
            if (!more) {
                l->failed = true;
                return false;
            }
            l->ids = more;
            l->cap = cap;
        }
        l->ids[l->count++] = *id;
    }
    return true;
}

static bool take_spans(void *ctx, const struct tsdb_spans *t, const uint32_t *rows, uint32_t n)
{
    return trace_add(ctx, t->trace_id, rows, n);
}

static bool take_logs(void *ctx, const struct tsdb_logs *t, const uint32_t *rows, uint32_t n)
{
    return trace_add(ctx, t->trace_id, rows, n);
}

static enum err find_by(struct tsdb_view *v, const struct tsdb_row_filter *f, bool logs,
                        struct trace_list *l)
{
    struct tsdb_visit q = {.start_min_ns = INT64_MIN,
                           .start_max_ns = INT64_MAX,
                           .more = f,
                           .columns = logs ? UINT64_C(1) << TSDB_LOG_trace_id
                                           : UINT64_C(1) << TSDB_SPAN_trace_id,
                           .spans = take_spans,
                           .logs = take_logs,
                           .ctx = l};
    enum err e = logs ? tsdb_logs_visit(v, &q) : tsdb_spans_visit(v, &q);
    return e == ERR_OK && l->failed ? ERR_LIMIT : e;
}

/* Every trace that the value occurs in, as an attribute or in the canonical column. */
static enum err find_traces(struct tsdb *db, const struct tsdb_erase_ask *ask,
                            const struct erase_target *t, struct trace_list *l)
{
    struct tsdb_view *v;
    enum err e = tsdb_view_open(db, ask->org, NULL, &v);
    if (e != ERR_OK)
        return e;
    for (uint32_t i = 0; i < t->name_count && e == ERR_OK; i++) {
        struct tsdb_where_attr w = {t->names[i], ask->value};
        struct tsdb_row_filter f = {.attrs = &w, .attr_count = 1};
        e = find_by(v, &f, false, l);
        if (e == ERR_OK)
            e = find_by(v, &f, true, l);
    }
    if (e == ERR_OK && ask->kind == TSDB_ERASE_USER) {
        struct tsdb_where w = {
            .column = TSDB_SPAN_user_id, .op = TSDB_WHERE_IS, .text = ask->value};
        struct tsdb_row_filter f = {.where = &w, .where_count = 1};
        e = find_by(v, &f, false, l);
    }
    tsdb_view_close(v);
    return e;
}

struct needle {
    struct bytes value; /* empty: traces */
    const struct erase_target *traces;
    uint64_t rows;
};

/* An id of the target, as its bytes or as hex digits. */
static bool names_trace(const struct erase_target *t, struct bytes in)
{
    struct tsdb_id16 id;
    for (size_t at = 0; at + sizeof(id.b) <= in.size; at++)
        if (erase_has_id(t, in.data + at) ||
            (at + 2 * sizeof(id.b) <= in.size &&
             bytes_from_hex(bytes_of(in.data + at, 2 * sizeof(id.b)), id.b, sizeof(id.b)) &&
             erase_has_id(t, &id)))
            return true;
    return false;
}

static bool has_needle(void *ctx, struct bytes key, struct bytes value)
{
    struct needle *n = ctx;
    bool names = n->value.size
                     ? memmem(key.data, key.size, n->value.data, n->value.size) != NULL ||
                           memmem(value.data, value.size, n->value.data, n->value.size) != NULL
                     : names_trace(n->traces, key) || names_trace(n->traces, value);
    n->rows +=
        names && memmem(key.data, key.size, COMPACT_KEPT_TABLE, strlen(COMPACT_KEPT_TABLE)) == NULL;
    return true;
}

/* Small tables belong to others, who know what may be taken out of them: the asker is told. */
static uint64_t count_state_rows(struct tsdb *db, const struct erase_target *target,
                                 struct bytes value)
{
    struct needle n = {.value = value, .traces = target};
    struct lmdb_txn *t;
    if ((value.size ? value.size < STATE_VALUE_MIN : !target->id_count) ||
        lmdb_env_begin(db->state, false, &t, NULL) != ERR_OK)
        return 0;
    if (lmdb_txn_scan(t, 0, BYTES_NONE, has_needle, &n) != ERR_OK)
        n.rows = 0;
    lmdb_txn_abort(t);
    return n.rows;
}

/* The head so far becomes a generation of its own, also when it is empty: what comes now is not the target's. */
static enum err seal_head(struct tsdb *db, uint64_t generation, struct err_msg *msg)
{
    pthread_mutex_lock(&db->lock);
    uint64_t failures = db->flush_failures;
    while (atomic_load(&db->live_generation) <= generation && !db->stopping &&
           db->flush_failures == failures) {
        db->rotate_wanted = db->rotate_empty = true;
        pthread_cond_signal(&db->wake_committer);
        pthread_cond_wait(&db->flushed, &db->lock);
    }
    bool ok = atomic_load(&db->live_generation) > generation;
    pthread_cond_signal(&db->wake_flusher);
    pthread_mutex_unlock(&db->lock);
    return ok ? ERR_OK
              : err_set(msg, ERR_UNAVAILABLE, "it is noted, and begins when memory can be sealed");
}

/* take_t is the store's when it returns ERR_OK. */
static enum err begin(struct tsdb *db, struct erase_target *t, uint64_t *out_id,
                      struct err_msg *msg)
{
    pthread_mutex_lock(&db->erase_ask_lock); /* numbers in order, and room for one is room for it */
    pthread_mutex_lock(&db->erase_lock);
    bool room = !db->erase || db->erase->count < ERASE_ACTIVE_MAX;
    pthread_mutex_unlock(&db->erase_lock);
    enum err e = room ? ERR_OK
                      : err_set(msg, ERR_LIMIT, "%u erase jobs are at work: wait for one to end",
                                ERASE_ACTIVE_MAX);
    if (e == ERR_OK) {
        t->id = db->erase_next_id;
        t->asked_ms = clock_wall_ms();
        t->generation = atomic_load(&db->live_generation);
        e = put_target(db, t);
        if (e != ERR_OK) /* it may have been written: then it is at work from the next start on */
            err_set(msg, e, "the wish cannot be kept in state: %s", err_text(e));
        db->erase_next_id++;
    }
    if (e == ERR_OK && (e = erase_publish(db, t, NULL)) == ERR_OK)
        atomic_fetch_add(&t->refs,
                         1); /* this function's, while the flush role may already be done */
    pthread_mutex_unlock(&db->erase_ask_lock);
    if (e != ERR_OK)
        return e;
    *out_id = t->id;
    e = seal_head(db, t->generation, msg);
    erase_target_release(t);
    return e == ERR_UNAVAILABLE ? ERR_OK : e;
}

static enum err copy_names(struct erase_target *t, const struct tsdb_erase_ask *ask)
{
    size_t n = 0;
    if (ask->kind == TSDB_ERASE_USER)
        while (tsdb_erase_user_keys[n])
            n++;
    if (n + ask->name_count > ERASE_NAMES_MAX)
        return ERR_LIMIT;
    if (!(t->names = ARENA_ARRAY(t->arena, struct bytes, n + ask->name_count + 1)))
        return ERR_NOMEM;
    for (; t->name_count < n; t->name_count++)
        t->names[t->name_count] = bytes_str(tsdb_erase_user_keys[t->name_count]);
    for (size_t i = 0; i < ask->name_count; i++) {
        t->names[t->name_count] = arena_copy(t->arena, ask->names[i]);
        if (!t->names[t->name_count++].data)
            return ERR_NOMEM;
    }
    return ERR_OK;
}

static enum err copy_ids(struct erase_target *t, const void *ids, size_t n)
{
    if (n > ERASE_IDS_MAX)
        return ERR_LIMIT;
    t->ids = ARENA_ARRAY(t->arena, struct tsdb_id16, n + 1);
    if (!t->ids)
        return ERR_NOMEM;
    if (n)
        memcpy(t->ids, ids, n * sizeof(*t->ids));
    t->id_count = (uint32_t)n;
    erase_target_sort(t);
    return ERR_OK;
}

enum err tsdb_erase(struct tsdb *db, const struct tsdb_erase_ask *ask, uint64_t *out_id,
                    struct err_msg *msg)
{
    struct erase_target *t = erase_target_new();
    struct trace_list l = {0};
    bool by_value = ask->kind == TSDB_ERASE_USER || ask->kind == TSDB_ERASE_ATTRIBUTE;
    CHECK(ask->kind != TSDB_ERASE_SERIES);
    if (!t)
        return ERR_NOMEM;
    enum err e = ERR_OK;
    t->org = ask->org;
    t->kind = ask->kind;
    if (by_value ? !ask->value.size || (ask->kind == TSDB_ERASE_ATTRIBUTE && !ask->name_count)
                 : !ask->trace_count)
        e = err_set(msg, ERR_INVALID, "nothing is named that could be erased");
    if (e == ERR_OK && getrandom(&t->secret, sizeof(t->secret), 0) != sizeof(t->secret))
        e = err_set(msg, ERR_IO, "no random numbers");
    if (e == ERR_OK && by_value) {
        t->value = erase_hash(t, ask->value);
        t->state_rows = count_state_rows(db, t, ask->value);
        e = copy_names(t, ask);
        if (e == ERR_OK && ask->whole_traces)
            e = find_traces(db, ask, t, &l);
    }
    if (e == ERR_OK)
        e = by_value ? copy_ids(t, l.ids, l.count) : copy_ids(t, ask->traces, ask->trace_count);
    if (e == ERR_OK && !by_value)
        t->state_rows = count_state_rows(db, t, BYTES_NONE);
    free(l.ids);
    if (e == ERR_OK)
        e = begin(db, t, out_id, msg);
    else if (!msg->text[0])
        err_set(msg, e, "%s",
                e == ERR_LIMIT ? "more names or traces than one job may have" : err_text(e));
    if (e != ERR_OK)
        erase_target_release(t);
    return e;
}

enum err tsdb_erase_series(struct tsdb *db, uint32_t org, const struct tsdb_matcher *m, size_t n,
                           int64_t min_ms, int64_t max_ms, uint64_t *out_id, struct err_msg *msg)
{
    struct erase_target *t = erase_target_new();
    struct arena *a = arena_new(0);
    struct tsdb_view *v = NULL;
    struct tsdb_series *found = NULL;
    size_t count = 0;
    *out_id = 0;
    enum err e = t && a ? tsdb_view_open(db, org, NULL, &v) : ERR_NOMEM;
    if (e == ERR_OK)
        e = tsdb_select(v, m, n, min_ms, max_ms, a, &found, &count);
    tsdb_view_close(v);
    struct hash128 *ids = e == ERR_OK ? ARENA_ARRAY(a, struct hash128, count + 1) : NULL;
    for (size_t i = 0; ids && i < count; i++)
        ids[i] = found[i].identity;
    if (e == ERR_OK)
        e = !ids ? ERR_NOMEM : copy_ids(t, ids, count);
    if (e == ERR_OK && count) {
        t->org = org;
        t->kind = TSDB_ERASE_SERIES;
        t->min_ms = min_ms;
        t->max_ms = max_ms;
        e = begin(db, t, out_id, msg);
    } else if (e != ERR_OK) {
        err_set(msg, e, "the series cannot be chosen: %s", err_text(e));
    }
    arena_free(a);
    if (e != ERR_OK || count == 0)
        erase_target_release(t);
    return e;
}

/* --- telling ------------------------------------------------------------------------------------- */

static enum err tell_done(struct bytes key, struct bytes row, struct tsdb_erase_job *j)
{
    struct reader r = reader_of(row);
    uint8_t version = reader_u8(&r);
    *j = (struct tsdb_erase_job){.id = bytes_u64be(key.data), .phase = TSDB_ERASE_DONE};
    j->kind = (enum tsdb_erase_kind)reader_u8(&r);
    j->org = (uint32_t)reader_varint(&r);
    j->asked_ms = reader_zigzag(&r);
    j->done_ms = reader_zigzag(&r);
    j->min_ms = reader_zigzag(&r);
    j->max_ms = reader_zigzag(&r);
    j->series = reader_varint(&r);
    j->state_rows = reader_varint(&r);
    bool is_whole = erased_read(&r, &j->erased);
    j->damaged = reader_varint(&r);
    j->damaged_rows = reader_varint(&r);
    return is_whole && !r.failed && version == ERASE_RECEIPT_VERSION ? ERR_OK : ERR_CORRUPT;
}

static enum err tell_active(struct tsdb *db, struct erase_target *t, struct arena *a,
                            struct tsdb_erase_job *j)
{
    *j = (struct tsdb_erase_job){.id = t->id,
                                 .org = t->org,
                                 .kind = t->kind,
                                 .phase = erase_phase(db, t),
                                 .asked_ms = t->asked_ms,
                                 .min_ms = t->min_ms,
                                 .max_ms = t->max_ms,
                                 .series = t->id_count,
                                 .state_rows = t->state_rows};
    pthread_mutex_lock(&db->erase_lock);
    snprintf(j->why, sizeof(j->why), "%s", db->erase_why[t->number]);
    pthread_mutex_unlock(&db->erase_lock);
    return erase_sum_parts(db, t->id, a, &j->erased);
}

enum err tsdb_erase_jobs(struct tsdb *db, uint32_t org, uint64_t id, struct arena *a,
                         struct tsdb_erase_job **out, size_t *out_count)
{
    struct erase_key k = erase_key_of(id);
    struct tsdb_state_row *rows;
    size_t n, count = 0;
    /* What is at work first: what ends meanwhile is then among the receipts. */
    struct erase_set *s = erase_pin(db, org, NULL);
    enum err e = tsdb_state_scan(db, ERASE_TABLE_DONE, id ? bytes_of(k.bytes, k.size) : BYTES_NONE,
                                 SIZE_MAX, a, &rows, &n);
    struct tsdb_erase_job *jobs =
        e == ERR_OK ? ARENA_ARRAY(a, struct tsdb_erase_job, n + ERASE_ACTIVE_MAX) : NULL;
    if (e == ERR_OK && !jobs)
        e = ERR_LIMIT;
    for (size_t i = 0; e == ERR_OK && i < n; i++) {
        if (rows[i].key.size == 8 &&
            (e = tell_done(rows[i].key, rows[i].value, &jobs[count])) == ERR_OK &&
            jobs[count].org == org)
            count++;
    }
    size_t done = count;
    for (uint32_t i = 0; s && e == ERR_OK && i < s->count; i++) {
        struct erase_target *t = s->targets[i];
        bool is_done = false;
        for (size_t d = 0; d < done; d++)
            is_done |= jobs[d].id == t->id;
        if (t->org == org && !is_done && (!id || t->id == id) &&
            (e = tell_active(db, t, a, &jobs[count])) == ERR_OK)
            count++;
    }
    erase_unpin(s);
    *out = jobs;
    *out_count = count;
    return e;
}

enum err tsdb_erase_wait(struct tsdb *db, uint32_t org, uint64_t id, int64_t deadline_mono_ns)
{
    for (;;) {
        struct erase_set *s = erase_pin(db, org, NULL);
        bool busy = false;
        for (uint32_t i = 0; s && i < s->count; i++)
            busy |= s->targets[i]->org == org && (!id || s->targets[i]->id == id);
        erase_unpin(s);
        if (!busy)
            return ERR_OK;
        struct timespec until = {deadline_mono_ns / 1000000000, deadline_mono_ns % 1000000000};
        struct timespec soon;
        clock_gettime(CLOCK_MONOTONIC, &soon);
        soon.tv_sec++;
        if (until.tv_sec < soon.tv_sec)
            soon = until;
        if (clock_mono_ns() >= deadline_mono_ns)
            return ERR_TIMEOUT;
        pthread_mutex_lock(&db->lock);
        bool stopping = db->stopping;
        if (!stopping)
            pthread_cond_timedwait(&db->flushed, &db->lock, &soon);
        pthread_mutex_unlock(&db->lock);
        if (stopping)
            return ERR_UNAVAILABLE;
    }
}
