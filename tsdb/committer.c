/* The committer: gathers requests into one journal transaction, publishes their rows, answers them.
 *
 *   gather -> (repeat? exact span repeats? settle) -> encode -> prepare head -> commit + sync -> apply to head -> done
 *                                                                     `- failed: undo everything, answer the error
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fault_point.h"
#include "base/log.h"
#include "base/stats.h"
#include "tsdb/changes.h"
#include "tsdb/ledger.h"
#include "tsdb/store.h"

#define DAY_MS INT64_C(86400000)

#define IDLE_WAKE_NS 500000000
#define HEAD_SHARE 3u /* a generation closes at a third of the heads' memory */
/* Rows lie in memory as they came, several times as large as their blocks, and the next generation is taken into fresh memory while this
 * one is flushed: closing earlier bounds both. What one generation leaves the next one finds warm. */
#define ROWS_SHARE 5u
#define GENERATION_SAMPLES_MAX 40000000u

STATS_COUNTER(commits_failed, "telltale_store_commit_failures_total", "",
              "Commits that could not be written; their requests were refused.");
STATS_COUNTER(requests_repeated, "telltale_store_repeated_requests_total", "",
              "Requests answered from the deduplication window.");

#define CLAIMS "telltale_store_claims_total"
#define CLAIMS_HELP "Consumed messages that were not stored, by reason."
STATS_COUNTER(claims_repeated, CLAIMS, "result=\"repeated\"", CLAIMS_HELP);
STATS_COUNTER(claims_refused, CLAIMS, "result=\"gap\"", CLAIMS_HELP);

STATS_COUNTER(series_forgotten, "telltale_store_series_forgotten_total", "",
              "Series that nobody used for long, dropped from memory (not from disk).");

#define ITEM_AGE_NS ((int64_t)(TSDB_REGISTRY_SAFE_MIN - 1) * 60000000000)

/* One request of the commit that is being made. */
struct entry {
    struct store_item *item;
    uint64_t seq;
    uint64_t duplicate; /* rows */
    bool is_repeat; /* of an earlier request ... */
    struct tsdb_result original; /* ... with this result, or ... */
    struct entry *joins; /* ... of one of the same commit */
    bool is_settled;
    uint32_t cells_before, books_before, logs_before; /* the settler may have added some */
};

struct commit {
    struct entry *entries;
    size_t count;
    struct buf bytes;
    uint64_t first_seq;
    uint32_t rows_before; /* of the live generation's hash set */
    /* for what comes after the commit; room for count */
    struct tsdb_result *results;
    struct tsdb_batch **batches;
    uint64_t *seqs;
};

/* --- generations --------------------------------------------------------------------------------- */

void committer_free_generation(struct generation *g)
{
    if (!g)
        return;
    journal_close(g->journal);
    head_release(g->head);
    dedup_rows_done(&g->rows);
    free(g);
}

static struct generation *generation_new(struct tsdb *db, uint64_t id)
{
    struct generation *g = calloc(1, sizeof(*g));
    if (!g)
        return NULL;
    g->id = id;
    g->opened_ns = clock_mono_ns();
    g->head = head_new(id, db->series);
    if (g->head)
        head_note_changes(g->head, db->changes);
    if (!g->head) {
        free(g);
        return NULL;
    }
    return g;
}

void committer_freeze(struct tsdb *db, struct generation *g)
{
    g->older = db->older;
    db->older = g;
    pthread_mutex_lock(&db->lock);
    struct generation **p = &db->frozen;
    while (*p)
        p = &(*p)->next;
    g->next = NULL;
    *p = g;
    db->frozen_count++;
    pthread_cond_signal(&db->wake_flusher);
    pthread_mutex_unlock(&db->lock);
}

enum err committer_new_generation(struct tsdb *db, uint64_t id, struct err_msg *msg)
{
    struct generation *g = generation_new(db, id), *old = db->live;
    struct buf checkpoint = {0}, brief = {0}, settler = {0};
    struct dedup *none = dedup_new();
    if (db->options.settler.checkpoint)
        db->options.settler.checkpoint(db->options.settler.ctx, &settler);
    checkpoint_write(&checkpoint, db->next_seq, db->accounts, db->requests, db->offsets,
                     buf_bytes(&settler), clock_wall_ns());
    if (none)
        checkpoint_write(&brief, db->next_seq, db->accounts, none, db->offsets, BYTES_NONE,
                         clock_wall_ns());
    dedup_free(none);
    enum err e =
        g && none && buf_ok(&settler) && buf_ok(&checkpoint) && buf_ok(&brief) ? ERR_OK : ERR_NOMEM;
    fault_point("rotate.before_journal");
    if (e == ERR_OK)
        e = journal_create(db->dir, id, buf_bytes(&checkpoint), buf_bytes(&brief), &g->journal,
                           msg);
    buf_done(&checkpoint);
    buf_done(&brief);
    buf_done(&settler);
    if (e == ERR_OK)
        e = pin_add_head(db, g->head, g->journal);
    if (e != ERR_OK) {
        committer_free_generation(g);
        return e;
    }
    fault_point("rotate.after_journal");
    db->live = g;
    record_defs_done(&db->defs);
    if (old)
        committer_freeze(db, old);
    atomic_store(&db->live_generation, id); /* after that: what is below is frozen, or sealed */
    /* Now: no number is taken for defined in the new generation. */
    stats_add(&series_forgotten, tsdb_registry_evict(db->series));
    return ERR_OK;
}

/* Frees what flush has finished with: the settler first, since it may look at the head's batches. */
static void forget(struct tsdb *db)
{
    pthread_mutex_lock(&db->lock);
    struct generation *done = db->forgotten;
    db->forgotten = NULL;
    pthread_mutex_unlock(&db->lock);
    while (done) {
        struct generation *next = done->next, **p = &db->older;
        while (*p != done)
            p = &(*p)->older;
        *p = done->older;
        if (db->options.settler.drop_generation)
            db->options.settler.drop_generation(db->options.settler.ctx, done->id);
        committer_free_generation(done);
        done = next;
    }
}

static bool is_due(struct tsdb *db)
{
    struct generation *g = db->live;
    int64_t age_max =
        (db->options.generation_max_age_ms ? db->options.generation_max_age_ms : 600000) * 1000000;
    return g->commits > 0 &&
           (journal_bytes(g->journal) >= db->options.generation_max_bytes ||
            g->samples >= GENERATION_SAMPLES_MAX ||
            head_bytes(g->head) >= db->options.memory_limit_bytes / HEAD_SHARE ||
            head_row_bytes(g->head) >= db->options.memory_limit_bytes / ROWS_SHARE ||
            ledger_generation_bytes(db->ledger, g->id) >=
                db->options.memory_limit_bytes / ROWS_SHARE ||
            clock_mono_ns() - g->opened_ns >= age_max);
}

static void rotate_if_due(struct tsdb *db)
{
    struct err_msg msg = {""};
    pthread_mutex_lock(&db->lock);
    bool wanted = db->rotate_wanted, room = db->frozen_count < STORE_GENERATIONS_MAX;
    bool empty_too = db->rotate_empty;
    pthread_mutex_unlock(&db->lock);
    if (wanted && db->live->commits == 0 && !empty_too)
        room = false; /* nothing to seal: the wish is granted */
    else if (!wanted && !is_due(db))
        return;
    enum err e = room ? committer_new_generation(db, db->live->id + 1, &msg) : ERR_OK;
    if (e != ERR_OK)
        log_error("store", "a new journal generation cannot be made, the old one grows on: %s",
                  msg.text);
    pthread_mutex_lock(&db->lock);
    if (wanted && (room || db->live->commits == 0)) {
        db->rotate_wanted = db->rotate_empty = false;
        if (e != ERR_OK) {
            db->flush_failures++;
            db->flush_error = msg;
        }
        pthread_cond_broadcast(&db->flushed);
    }
    pthread_mutex_unlock(&db->lock);
}

/* --- gathering ----------------------------------------------------------------------------------- */

static void wait_until(struct tsdb *db, int64_t mono_ns)
{
    int64_t left = mono_ns - clock_mono_ns();
    struct timespec ts = {0, 0};
    if (left <= 0)
        return;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    ts.tv_sec += left / 1000000000;
    ts.tv_nsec += left % 1000000000;
    if (ts.tv_nsec >= 1000000000) {
        ts.tv_nsec -= 1000000000;
        ts.tv_sec++;
    }
    pthread_cond_timedwait(&db->wake_committer, &db->lock, &ts);
}

/* Takes the requests of the next commit, or NULL after a while without any. */
static struct store_item *gather(struct tsdb *db, size_t *out_count)
{
    pthread_mutex_lock(&db->lock);
    bool can_rotate = db->rotate_wanted && db->frozen_count < STORE_GENERATIONS_MAX;
    if (!db->queue_head && !db->stopping && !can_rotate && !db->forgotten)
        wait_until(db, clock_mono_ns() + IDLE_WAKE_NS);
    while (db->queue_head && db->expected > 0 && db->queue_bytes < STORE_COMMIT_BYTES &&
           !db->stopping) {
        int64_t due = db->queue_head->queued_ns + STORE_GATHER_NS;
        if (clock_mono_ns() >= due)
            break;
        wait_until(db, due);
    }
    struct store_item *first = db->queue_head, **end = &db->queue_head;
    size_t bytes = 0, count = 0;
    while (*end && (count == 0 || bytes + (*end)->bytes <= STORE_COMMIT_BYTES_MAX)) {
        bytes += (*end)->bytes;
        count++;
        end = &(*end)->next;
    }
    struct store_item *rest = *end;
    *end = NULL;
    db->queue_head = rest;
    if (!rest)
        db->queue_tail = &db->queue_head;
    db->queue_bytes -= bytes;
    pthread_mutex_unlock(&db->lock);
    *out_count = count;
    return count ? first : NULL;
}

/* --- repeats ------------------------------------------------------------------------------------- */

static bool has_key(const struct tsdb_batch *b)
{
    return b->request_key.lo || b->request_key.hi;
}

static void find_repeat(struct tsdb *db, struct commit *c, size_t i, int64_t now_ns)
{
    struct entry *e = &c->entries[i];
    struct tsdb_batch *b = e->item->batch;
    if (!has_key(b))
        return;
    const struct dedup_entry *seen = dedup_find(db->requests, b->request_key, now_ns);
    if (seen) {
        e->is_repeat = true;
        e->original = (struct tsdb_result){.seq = seen->seq,
                                           .stored = seen->stored,
                                           .duplicate = seen->duplicate,
                                           .rejected = seen->rejected,
                                           .repeated_request = true};
        if (seen->reject_text)
            err_set(&e->original.reject_msg, ERR_OK, "%s", seen->reject_text);
        return;
    }
    for (size_t k = 0; k < i; k++) {
        struct entry *other = &c->entries[k];
        if (!other->is_repeat && has_key(other->item->batch) &&
            hash128_equal(other->item->batch->request_key, b->request_key)) {
            e->is_repeat = true;
            e->joins = other;
            return;
        }
    }
}

static bool older_has(const struct tsdb *db, struct hash128 h)
{
    for (const struct generation *g = db->older; g; g = g->older)
        if (dedup_rows_has(&g->rows, h))
            return true;
    return false;
}

/* Identities of the batch's spans; their places in the sets are fetched while the next are computed. */
static const struct hash128 *hash_rows(struct tsdb *db, const struct tsdb_batch *b)
{
    if (b->spans.count > db->hash_cap) {
        struct hash128 *more = realloc(db->hashes, b->spans.count * sizeof(*more));
        if (!more)
            return NULL;
        db->hashes = more;
        db->hash_cap = b->spans.count;
    }
    record_span_hashes(&b->spans, db->hashes);
    for (uint32_t i = 0; i < b->spans.count;
         i++) /* what one organisation sent is no repeat of another's */
        db->hashes[i].lo ^= b->org * UINT64_C(0x9e3779b97f4a7c15);
    return db->hashes;
}

#define ROWS_AHEAD 16u

static void prefetch_row(const struct tsdb *db, struct hash128 h)
{
    dedup_rows_prefetch(&db->live->rows, h);
    for (const struct generation *g = db->older; g; g = g->older)
        dedup_rows_prefetch(&g->rows, h);
}

/* Marks spans that the live generations hold already, bit by bit the same. */
static enum err mark_repeats(struct tsdb *db, struct entry *e)
{
    struct tsdb_batch *b = e->item->batch;
    uint32_t n = b->spans.count;
    const struct hash128 *hashes = n ? hash_rows(db, b) : NULL;
    if (n && !hashes)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < MIN(n, ROWS_AHEAD); i++)
        prefetch_row(db, hashes[i]);
    for (uint32_t i = 0; i < n; i++) {
        bool is_new = false;
        if (i + ROWS_AHEAD < n)
            prefetch_row(db, hashes[i + ROWS_AHEAD]);
        if (!older_has(db, hashes[i])) {
            if (!dedup_rows_add(&db->live->rows, hashes[i], &is_new))
                return ERR_NOMEM;
            if (is_new)
                continue;
        }
        if (!b->span_dropped && !(b->span_dropped = arena_alloc(b->arena, n)))
            return ERR_NOMEM;
        b->span_dropped[i] = 1;
        e->duplicate++;
    }
    return ERR_OK;
}

/* --- one commit ---------------------------------------------------------------------------------- */

static uint64_t rows_of(const struct tsdb_batch *b)
{
    uint64_t rejected = tsdb_batch_rejected(b);
    return b->received > rejected ? b->received - rejected : 0;
}

static void put_entry(struct buf *out, const struct entry *e, struct bytes record)
{
    const struct tsdb_batch *b = e->item->batch;
    uint64_t duplicate = e->is_repeat ? rows_of(b) : e->duplicate;
    struct commit_entry entry = {.is_repeat = e->is_repeat,
                                 .seq = e->seq,
                                 .org = b->org,
                                 .signal = b->signal,
                                 .stored = rows_of(b) - MIN(duplicate, rows_of(b)),
                                 .duplicate = duplicate,
                                 .derived_logs = e->is_settled ? b->logs.count - e->logs_before : 0,
                                 .record = record,
                                 .claim = b->claim};
    for (size_t i = 0; i < TSDB_REJECT_COUNT; i++)
        entry.rejected[i] = b->rejected[i];
    commit_put(out, &entry);
}

static enum err encode_entry(struct tsdb *db, struct commit *c, struct entry *e)
{
    struct buf record = {0};
    enum err err = ERR_OK;
    if (!e->is_repeat) {
        err = mark_repeats(db, e);
        if (err == ERR_OK && db->options.settler.settle) {
            e->is_settled = true;
            e->cells_before = e->item->batch->cells.count;
            e->books_before = e->item->batch->books.count;
            e->logs_before = e->item->batch->logs.count;
            err = db->options.settler.settle(db->options.settler.ctx, e->item->batch, e->seq,
                                             db->live->id);
        }
        if (err == ERR_OK)
            err = record_encode(e->item->batch, db->series, &db->defs, &record);
        if (err == ERR_OK)
            err = head_prepare(db->live->head, e->item->batch);
    }
    if (err == ERR_OK)
        put_entry(&c->bytes, e, buf_bytes(&record));
    buf_done(&record);
    return err == ERR_OK && !buf_ok(&c->bytes) ? ERR_NOMEM : err;
}

static void undo(struct tsdb *db, struct commit *c)
{
    record_defs_failed(&db->defs);
    offsets_settle(db->offsets, false);
    dedup_rows_undo(&db->live->rows, c->rows_before);
    for (size_t i = c->count; i-- > 0;) {
        struct entry *e = &c->entries[i];
        e->item->batch->span_dropped = NULL;
        if (!e->is_settled)
            continue;
        e->item->batch->cells.count = e->cells_before;
        e->item->batch->books.count = e->books_before;
        e->item->batch->logs.count = e->logs_before;
        if (db->options.settler.undo)
            db->options.settler.undo(db->options.settler.ctx, e->seq);
    }
}

static enum err commit_write(struct tsdb *db, struct commit *c, struct err_msg *msg)
{
    uint32_t checked = 0;
    commit_begin(&c->bytes, c->count);
    for (size_t i = 0; i < c->count; i++) {
        enum err e = encode_entry(db, c, &c->entries[i]);
        if (e != ERR_OK)
            return err_set(msg, e, "request %zu of the commit: %s", i, err_text(e));
        checked++;
    }
    CHECK(checked == c->count);
    retention_check_disk(db);
    if (atomic_load(&db->is_full))
        return err_set(msg, ERR_FULL, "the disk is nearly full");
    int64_t begin = clock_mono_ns();
    enum err e = journal_append(db->live->journal, c->first_seq, buf_bytes(&c->bytes), msg);
    atomic_fetch_add(&db->sync_ns, (uint64_t)(clock_mono_ns() - begin));
    return e;
}

static struct tsdb_result result_of(const struct entry *e)
{
    const struct entry *o = e->joins ? e->joins : e;
    if (e->is_repeat && !e->joins)
        return e->original;
    const struct tsdb_batch *b = o->item->batch;
    struct tsdb_result r = {.seq = o->seq,
                            .stored = rows_of(b) - MIN(o->duplicate, rows_of(b)),
                            .duplicate = o->duplicate,
                            .repeated_request = e->is_repeat,
                            .rejected = tsdb_batch_rejected(b)};
    r.reject_msg = b->reject_msg;
    return r;
}

/* Log records that nobody sent: received and stored at once, so that what is there adds up. */
static void account_derived(struct tsdb *db, uint32_t org, uint64_t logs)
{
    static const uint64_t none[TSDB_REJECT_COUNT];
    if (logs)
        account_add(db->accounts, org, TSDB_LOGS, logs, 0, none);
}

static void remember(struct tsdb *db, const struct entry *e, const struct tsdb_result *r)
{
    const struct tsdb_batch *b = e->item->batch;
    if (e->is_repeat) {
        stats_add(&requests_repeated, 1);
        return;
    }
    if (has_key(b)) {
        struct dedup_entry d = {.key = b->request_key,
                                .time_ns = b->received_ns,
                                .seq = r->seq,
                                .stored = r->stored,
                                .duplicate = r->duplicate,
                                .rejected = r->rejected};
        d.reject_text = r->reject_msg.text[0] ? (char *)(uintptr_t)r->reject_msg.text : NULL;
        dedup_add(db->requests, &d);
    }
}

/* The commit is on disk: publish, remember, answer. */
static void commit_publish(struct tsdb *db, struct commit *c)
{
    size_t n = 0;
    for (size_t i = 0; i < c->count; i++) {
        struct entry *e = &c->entries[i];
        struct tsdb_batch *b = e->item->batch;
        uint64_t duplicate = e->is_repeat ? rows_of(b) : e->duplicate;
        account_add(db->accounts, b->org, b->signal, rows_of(b) - MIN(duplicate, rows_of(b)),
                    duplicate, b->rejected);
        account_derived(db, b->org, e->is_settled ? b->logs.count - e->logs_before : 0);
        remember(db, e, &c->results[i]);
        if (!e->is_repeat) {
            db->live->samples += b->samples.count + b->hists.count;
            ledger_apply(db->ledger, b, db->live->id);
            c->batches[n] = b;
            c->seqs[n++] = e->seq;
            e->item->batch = NULL;
        }
    }
    changes_begin(db->changes, c->entries[c->count - 1].seq);
    head_apply(db->live->head, c->batches, c->seqs, n);
    record_defs_committed(&db->defs);
    offsets_settle(db->offsets, true);
    if (db->options.settler.committed)
        db->options.settler.committed(db->options.settler.ctx);
    db->live->commits++;
    atomic_store(&db->committed_seq, c->entries[c->count - 1].seq);
    atomic_store(&db->last_commit_ms, clock_wall_ms());
    atomic_store(&db->journal_bytes, journal_bytes(db->live->journal));
}

static void answer(struct commit *c, enum err e, const struct tsdb_result *results)
{
    struct tsdb_result none = {0};
    for (size_t i = 0; i < c->count; i++) {
        struct store_item *item = c->entries[i].item;
        if (item->done)
            item->done(item->ctx, e, results ? &results[i] : &none);
        tsdb_batch_free(item->batch);
        free(item);
    }
}

#ifdef TELLTALE_FAULT_ACK_EARLY
/* Seeded defect: the peer hears "stored" before anything is. Tests must notice. */
static void answer_early(struct commit *c, const struct tsdb_result *results)
{
    for (size_t i = 0; i < c->count; i++) {
        struct store_item *item = c->entries[i].item;
        if (item->done)
            item->done(item->ctx, ERR_OK, &results[i]);
        item->done = NULL;
    }
    clock_sleep_ms(20);
}
#endif

/* Not even a commit can be begun. */
static void refuse(struct store_item *items)
{
    struct tsdb_result none = {0};
    stats_add(&commits_failed, 1);
    for (struct store_item *item = items, *next; item; item = next) {
        next = item->next;
        if (item->done)
            item->done(item->ctx, ERR_UNAVAILABLE, &none);
        tsdb_batch_free(item->batch);
        free(item);
    }
}

static void commit_done(struct commit *c)
{
    buf_done(&c->bytes);
    free(c->entries);
    free(c->results);
    free(c->batches);
    free(c->seqs);
}

/* Messages that are stored already, or whose predecessors are not, are answered and leave. */
static struct store_item *take_claims(struct tsdb *db, struct store_item *items, size_t *count)
{
    struct store_item *first = items, **at = &first;
    for (struct store_item *item; (item = *at);) {
        const struct tsdb_claim *c = &item->batch->claim;
        enum err e = c->topic.size ? offsets_claim(db->offsets, c) : ERR_OK;
        if (e == ERR_OK) {
            at = &item->next;
            continue;
        }
        struct tsdb_result r = {.repeated_request = e == ERR_NOT_FOUND};
        *at = item->next;
        (*count)--;
        stats_add(e == ERR_NOT_FOUND ? &claims_repeated : &claims_refused, 1);
        if (item->done)
            item->done(item->ctx, e == ERR_NOT_FOUND ? ERR_OK : e, &r);
        tsdb_batch_free(item->batch);
        free(item);
    }
    return first;
}

static void commit_run(struct tsdb *db, struct store_item *items, size_t count)
{
    items = take_claims(db, items, &count);
    if (!items)
        return;
    struct commit c = {.entries = calloc(count, sizeof(struct entry)),
                       .count = count,
                       .first_seq = db->next_seq,
                       .rows_before = db->live->rows.count,
                       .results = calloc(count, sizeof(struct tsdb_result)),
                       .batches = malloc(count * sizeof(struct tsdb_batch *)),
                       .seqs = malloc(count * sizeof(uint64_t))};
    struct err_msg msg = {""};
    int64_t begin = clock_mono_ns(), now_ns = clock_wall_ns();
    if (!c.entries || !c.results || !c.batches || !c.seqs) {
        commit_done(&c);
        offsets_settle(db->offsets, false);
        refuse(items);
        return;
    }
    fault_point("commit.begin");
    size_t i = 0;
    for (struct store_item *item = items; item; item = item->next, i++) {
        c.entries[i].item = item;
        c.entries[i].seq = db->next_seq++;
        find_repeat(db, &c, i, now_ns);
    }
#ifdef TELLTALE_FAULT_ACK_EARLY
    for (i = 0; i < count; i++)
        c.results[i] = result_of(&c.entries[i]);
    answer_early(&c, c.results);
#endif
    fault_point("commit.before_write");
    enum err e = clock_mono_ns() - items->queued_ns > ITEM_AGE_NS ? ERR_UNAVAILABLE : ERR_OK;
    if (e == ERR_OK)
        e = commit_write(db, &c, &msg);
    else /* the numbers of its series may mean something else by now */
        err_set(&msg, e, "it waited for %u minutes", TSDB_REGISTRY_SAFE_MIN - 1);
    if (e == ERR_OK) {
        for (i = 0; i < count; i++)
            c.results[i] = result_of(&c.entries[i]);
        fault_point("commit.before_publish");
        commit_publish(db, &c);
        fault_point("commit.before_answer");
        answer(&c, ERR_OK, c.results);
        fault_point("commit.after_answer");
        atomic_fetch_add(&db->commits, 1);
        atomic_fetch_add(&db->commit_ns, (uint64_t)(clock_mono_ns() - begin));
    } else if (undo(db, &c), count > 1 && e != ERR_FULL && e != ERR_IO) {
        /* one request may have spoilt it for all: each by itself */
        for (struct store_item *item = items, *next; item; item = next) {
            next = item->next;
            item->next = NULL;
            commit_run(db, item, 1);
        }
    } else {
        stats_add(&commits_failed, 1);
        log_error("store", "a commit of %zu requests failed: %s", count, msg.text);
        answer(&c, e == ERR_FULL || e == ERR_TOO_LARGE ? e : ERR_UNAVAILABLE, NULL);
    }
    commit_done(&c);
}

/* What waits for the clock gets a batch without rows: like any other it is settled, journaled and replayed. */
static void commit_due(struct tsdb *db)
{
    uint32_t org;
    int64_t now_ns = clock_wall_ns();
    if (!db->options.settler.due || atomic_load(&db->is_full) ||
        !db->options.settler.due(db->options.settler.ctx, now_ns, &org))
        return;
    struct store_item *item = calloc(1, sizeof(*item));
    struct tsdb_batch *b = item ? tsdb_batch_new(org, TSDB_TOKENS, STORE_DUE_BYTES_MAX) : NULL;
    if (!b) {
        free(item);
        return;
    }
    b->received_ns = now_ns;
    *item = (struct store_item){.batch = b, .queued_ns = clock_mono_ns()};
    commit_run(db, item, 1);
}

void *committer_main(void *arg)
{
    struct tsdb *db = arg;
    for (;;) {
        size_t count;
        tsdb_registry_tick(db->series, store_minute());
        struct store_item *items = gather(db, &count);
        if (items)
            commit_run(db, items, count);
        commit_due(db);
        forget(db);
        rotate_if_due(db);
        pthread_mutex_lock(&db->lock);
        bool done = db->stopping && !db->queue_head && !db->rotate_wanted;
        pthread_mutex_unlock(&db->lock);
        if (done)
            return NULL;
    }
}

/* --- replay -------------------------------------------------------------------------------------- */

struct replay {
    struct tsdb *db;
    struct generation *g;
    struct record_refs refs;
    int64_t newest_ms; /* when its file was last written */
};

static enum err replay_record(struct replay *r, const struct commit_entry *entry,
                              struct err_msg *msg)
{
    struct tsdb_batch *b;
    struct tsdb *db = r->db;
    enum err e = record_decode(entry->record, db->series, &r->refs, 0, &b, msg);
    if (e != ERR_OK)
        return e;
    const struct hash128 *hashes = b->spans.count ? hash_rows(db, b) : NULL;
    bool is_new;
    if (b->spans.count && !hashes)
        e = ERR_NOMEM;
    for (uint32_t i = 0; i < b->spans.count && e == ERR_OK; i++)
        if (!dedup_rows_add(&r->g->rows, hashes[i], &is_new))
            e = ERR_NOMEM;
    if (e == ERR_OK)
        e = head_prepare(r->g->head, b);
    if (e != ERR_OK) {
        tsdb_batch_free(b);
        return e;
    }
    if (has_key(b)) {
        struct dedup_entry d = {.key = b->request_key,
                                .time_ns = b->received_ns,
                                .seq = entry->seq,
                                .stored = entry->stored,
                                .duplicate = entry->duplicate,
                                .rejected = tsdb_batch_rejected(b)};
        d.reject_text = b->reject_msg.text[0] ? b->reject_msg.text : NULL;
        dedup_add(db->requests, &d);
    }
    if (db->options.settler.replay)
        db->options.settler.replay(db->options.settler.ctx, b, entry->seq, r->g->id);
    ledger_apply(db->ledger, b, r->g->id);
    head_apply(r->g->head, &b, &entry->seq, 1);
    return ERR_OK;
}

/* Something of the generation is lost: it goes into the quarantine when what is readable has been sealed. */
static void note_damage(struct replay *r, uint64_t seq, const struct commit_entry *entry,
                        const char *what)
{
    struct quarantine_record q = {.class = QUARANTINE_JOURNAL,
                                  .day = (uint32_t)(r->newest_ms / DAY_MS),
                                  .org = entry ? entry->org : 0,
                                  .generation = r->g->id,
                                  .n = seq,
                                  .signal = entry ? (int)entry->signal : -1,
                                  .rows = entry ? entry->stored : 0,
                                  .time_min = r->newest_ms / DAY_MS * DAY_MS,
                                  .time_max = r->newest_ms};
    quarantine_add(r->db->quarantine, &q, what);
    r->g->is_damaged = true;
}

static void replay_damaged(void *ctx, uint64_t seq)
{
    note_damage(ctx, seq, NULL, "a commit of the journal has a wrong checksum");
}

static enum err replay_commit(void *ctx, uint64_t first_seq, struct bytes commit,
                              struct err_msg *msg)
{
    struct replay *r = ctx;
    struct commit_reader in = {.seq = first_seq};
    struct commit_entry entry;
    enum err e = commit_open(commit, first_seq, &in);
    while (e == ERR_OK && (e = commit_next(&in, &entry)) == ERR_OK) {
        if (!entry.is_repeat)
            e = replay_record(r, &entry, msg);
        if (e == ERR_CORRUPT) { /* as when a series was defined in a commit that is lost */
            note_damage(r, entry.seq, &entry,
                        "a request in the journal cannot be read without what is lost");
            e = ERR_OK;
        }
        if (e != ERR_OK)
            return e;
        account_add(r->db->accounts, entry.org, entry.signal, entry.stored, entry.duplicate,
                    entry.rejected);
        account_derived(r->db, entry.org, entry.derived_logs);
        e = entry.claim.topic.size ? offsets_replay(r->db->offsets, &entry.claim) : ERR_OK;
        if (e != ERR_OK)
            return e;
    }
    if (e != ERR_NOT_FOUND) {
        if (e == ERR_NEWER)
            return err_set(msg, e, "commit %llu of the journal is of a newer version",
                           (unsigned long long)first_seq);
        note_damage(r, first_seq, NULL, "a commit of the journal does not decode");
    }
    r->g->commits++;
    r->db->next_seq = MAX(r->db->next_seq, in.seq + 1);
    return ERR_OK;
}

/* Totals, the window of repeats and the next number; without the window where only the brief one is whole. */
static enum err replay_checkpoint(struct replay *r, struct arena *a, struct err_msg *msg)
{
    struct tsdb *db = r->db;
    struct bytes text, settler;
    for (int brief = 0; brief < 2; brief++) {
        enum err e = journal_checkpoint(r->g->journal, brief, a, &text, msg);
        if (e == ERR_OK)
            e = checkpoint_read(text, &db->next_seq, db->accounts, db->requests, db->offsets,
                                &settler);
        if (e == ERR_OK && settler.size && db->options.settler.restore)
            e = db->options.settler.restore(db->options.settler.ctx, settler);
        if (e != ERR_CORRUPT)
            return e;
        note_damage(r, 0, NULL,
                    "the journal's checkpoint: repeats of requests before it are not known");
    }
    note_damage(r, 1, NULL, "the journal's checkpoint: totals before it are not known");
    return ERR_OK;
}

static int64_t newest_of(const char *path)
{
    char file[FILES_PATH_MAX + 16];
    struct stat st;
    snprintf(file, sizeof(file), "%s/data.mdb", path);
    return stat(file, &st) == 0 ? (int64_t)st.st_mtime * 1000 + 999 : clock_wall_ms();
}

enum err committer_replay(struct tsdb *db, uint64_t id, struct generation **out,
                          struct err_msg *msg)
{
    struct replay r = {.db = db, .g = generation_new(db, id)};
    struct arena *a = arena_new(0);
    char path[FILES_PATH_MAX];
    journal_path(db->dir, id, path, sizeof(path));
    r.newest_ms = newest_of(path);
    enum err e = r.g && a ? journal_open(db->dir, id, &r.g->journal, msg) : ERR_NOMEM;
    if (e == ERR_OK && journal_damage(r.g->journal))
        note_damage(&r, UINT64_MAX, NULL, journal_damage(r.g->journal));
    if (e == ERR_OK)
        e = replay_checkpoint(&r, a, msg);
    if (e == ERR_NEWER)
        err_set(msg, e, "journal %llu is of a newer version", (unsigned long long)id);
    if (e == ERR_OK)
        e = journal_scan(r.g->journal, &(struct journal_reader){&r, replay_commit, replay_damaged},
                         msg);
    record_refs_done(&r.refs);
    arena_free(a);
    if (e != ERR_OK) {
        committer_free_generation(r.g);
        return e;
    }
    *out = r.g;
    return ERR_OK;
}

void committer_end_journal(struct tsdb *db, struct generation *g)
{
    struct journal *j = g->journal;
    char path[FILES_PATH_MAX], name[48];
    struct err_msg msg = {""};
    g->journal = NULL;
    if (!g->is_damaged) {
        journal_finish(j); /* the files stay while a backup reads them */
        return;
    }
    journal_path(db->dir, g->id, path, sizeof(path));
    snprintf(name, sizeof(name), "journal-%llu", (unsigned long long)g->id);
    if (quarantine_take(db->quarantine, path, name, &msg) != ERR_OK)
        log_error("store", "%s stays where it is until the next start: %s", path, msg.text);
    journal_close(j);
}
