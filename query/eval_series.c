/* The series of a selector: read, made into rows by the caller and by threads that have nothing else to do, and handed on in order. What comes out
 * has the same bits however many help: a row is made of its own series alone, and the rows are taken one after the other. */
#include "query/eval.h"

#include "base/crew.h"
#include "base/stats.h"

STATS_COUNTER(helped, "telltale_query_series_helped_total", "",
              "Series that a thread beside the query's own has read and computed.");

#define SLAB_BYTES (8u << 20) /* of rows that are made before they are handed on */
#define SLAB_SERIES_MIN 64u
#define CREW_SERIES_MIN 128u /* fewer are not worth a second thread */
#define TURN_SERIES_MIN 16u
#define TURNS_PER_THREAD 4u
#define WORKER_BYTES_MAX (256u << 20)

struct worker {
    struct eval e;
    struct query_source src;
    struct err_msg msg;
    bool is_ready;
};

struct slab {
    const struct series_job *job;
    struct worker workers[CREW_MAX];
    struct arena *arena; /* of the rows: the memory of one slab, not of one a selector */
    struct row *rows; /* of the series from `first` on */
    size_t first, count, per_turn;
    atomic_bool stop;
};

static bool make_row(const struct series_job *j, struct eval *e, size_t i, struct row *row)
{
    struct tsdb_points p = {0};
    const struct tsdb_series *s = &j->series[i];
    arena_reset(e->scratch);
    enum err err = e->src->points(e->src->ctx, s, j->min_ms, j->max_ms, e->scratch, &p);
    if (err != ERR_OK)
        return eval_fail(e, err, "reading samples: %s", err_text(err));
    e->samples_read += p.count;
    if (s->kind == TSDB_SERIES_CELLS)
        e->made_of |= p.hist ? TSDB_MADE_OF_HIST_CELLS : TSDB_MADE_OF_CELLS;
    if (p.count > e->limits.samples_max)
        return eval_tick(e, p.count);
    row_clear(row, j->cells);
    row->labels = s->labels;
    return eval_tick(e, 0) && j->make(j->ctx, e, &p, row);
}

static bool one_by_one(const struct series_job *j)
{
    struct row row;
    if (!row_init(j->e, &row, j->cells))
        return false;
    for (size_t i = 0; i < j->count; i++)
        if (!make_row(j, j->e, i, &row) || !explain_row(j->e, j->fn, j->fn_ctx, &row))
            return false;
    return true;
}

/* --- several threads --------------------------------------------------------------------------- */

/* Its own reader, arenas and notes; the rest is as the query's. On the query's thread, while no other reads. */
static void worker_begin(struct worker *w, struct eval *e, bool forks)
{
    w->e = *e;
    w->e.msg = &w->msg;
    w->e.limits.explain = NULL;
    w->e.warnings = w->e.infos = NULL;
    w->e.warning_count = w->e.info_count = 0;
    w->e.samples = w->e.samples_read = 0;
    w->src = *e->src;
    w->e.src = &w->src;
    w->e.arena = arena_new_in(e->limits.budget, WORKER_BYTES_MAX);
    w->e.scratch = arena_new_in(e->limits.budget, WORKER_BYTES_MAX);
    w->is_ready =
        w->e.arena && w->e.scratch && (!forks || e->src->fork(e->src->ctx, &w->src.ctx) == ERR_OK);
    if (!w->is_ready) {
        arena_free(w->e.arena);
        arena_free(w->e.scratch);
    }
}

static void turn(void *ctx, unsigned number, size_t k)
{
    struct slab *s = ctx;
    const struct series_job *j = s->job;
    struct worker *w = &s->workers[number];
    size_t from = k * s->per_turn, to = MIN(from + s->per_turn, s->count);
    if (!w->is_ready)
        return; /* hand_on makes what is not made */
    for (size_t i = from; i < to && !atomic_load_explicit(&s->stop, memory_order_relaxed); i++)
        if (!make_row(j, &w->e, s->first + i, &s->rows[i]))
            atomic_store(&s->stop, true);
    if (number)
        stats_add(&helped, (int64_t)(to - from));
}

/* The worker's histograms die with the slab. */
static bool keep_hists(struct eval *e, struct row *r, size_t cells)
{
    const struct query_hist *last = NULL, *copy = NULL;
    for (size_t i = 0; r->h && i < cells; i++) {
        if (r->has[i] != CELL_HIST)
            continue;
        if (r->h[i] != last)
            copy = query_hist_copy(last = r->h[i], e->arena);
        if (!copy)
            return eval_nomem(e);
        r->h[i] = copy;
    }
    return true;
}

static bool hand_on(struct slab *s)
{
    const struct series_job *j = s->job;
    for (size_t i = 0; i < s->count; i++) {
        struct row *r = &s->rows[i];
        if (!r->labels.enc.data && !make_row(j, j->e, s->first + i, r))
            return false;
        if (!keep_hists(j->e, r, j->cells) || !explain_row(j->e, j->fn, j->fn_ctx, r))
            return false;
        r->labels = (struct tsdb_labels){0};
        r->h = NULL;
    }
    for (unsigned k = 0; k < CREW_MAX; k++)
        if (s->workers[k].is_ready)
            arena_reset(s->workers[k].e.arena);
    return true;
}

/* What the workers counted and noted. */
static bool gather(struct slab *s)
{
    struct eval *e = s->job->e;
    for (unsigned k = 0; k < CREW_MAX; k++) {
        struct worker *w = &s->workers[k];
        if (!w->is_ready)
            continue;
        e->samples_read += w->e.samples_read;
        e->made_of |= w->e.made_of;
        uint64_t samples = w->e.samples;
        w->e.samples = w->e.samples_read = 0;
        eval_take_notes(e, &w->e);
        if (w->e.err != ERR_OK)
            return eval_fail(e, w->e.err, "%s", w->msg.text);
        if (!eval_tick(e, samples))
            return false;
    }
    return e->err == ERR_OK;
}

static void end(struct slab *s)
{
    struct eval *e = s->job->e;
    for (unsigned k = 0; k < CREW_MAX; k++) {
        struct worker *w = &s->workers[k];
        if (!w->is_ready)
            continue;
        if (k > 0)
            e->src->join(e->src->ctx, w->src.ctx);
        arena_free(w->e.arena);
        arena_free(w->e.scratch);
    }
    arena_free(s->arena);
}

static bool rows_of_slab(struct slab *s, size_t rows)
{
    const struct series_job *j = s->job;
    s->arena = arena_new_in(j->e->limits.budget, 0);
    if (!s->arena)
        return eval_nomem(j->e);
    uint8_t *has = arena_alloc(s->arena, rows * j->cells);
    double *v = arena_alloc_raw(s->arena, rows * j->cells * sizeof *v, 8);
    s->rows = ARENA_ARRAY(s->arena, struct row, rows);
    if (!has || !v || !s->rows)
        return eval_nomem(j->e);
    for (size_t i = 0; i < rows; i++)
        s->rows[i] = (struct row){.has = has + i * j->cells, .v = v + i * j->cells};
    return true;
}

static bool all_series(const struct series_job *j)
{
    struct eval *e = j->e;
    size_t fit = SLAB_BYTES / (j->cells * (sizeof(double) + 1) + sizeof(struct row));
    if (!e->limits.pool || !e->src->fork || j->count < CREW_SERIES_MIN)
        return one_by_one(j);
    struct slab *s = ARENA_ARRAY(e->arena, struct slab, 1);
    size_t rows = MIN(MAX(fit, SLAB_SERIES_MIN), j->count);
    if (!s)
        return eval_nomem(e);
    s->job = j;
    bool ok = rows_of_slab(s, rows);
    for (unsigned k = 0; ok && k < MIN(pool_threads(e->limits.pool), CREW_MAX); k++)
        worker_begin(&s->workers[k], e, k > 0);
    for (; ok && s->first < j->count; s->first += s->count) {
        size_t turns = pool_threads(e->limits.pool) * TURNS_PER_THREAD;
        s->count = MIN(rows, j->count - s->first);
        s->per_turn = MAX((s->count + turns - 1) / turns, TURN_SERIES_MIN);
        crew_run(e->limits.pool, turn, s, (s->count + s->per_turn - 1) / s->per_turn);
        ok = gather(s) && hand_on(s);
    }
    end(s);
    return ok;
}

bool series_each(const struct series_job *j)
{
    struct eval *e = j->e;
    uint64_t (*opened)(void *) = e->limits.explain ? e->src->blocks : NULL;
    uint64_t samples = e->samples_read, blocks = opened ? opened(e->src->ctx) : 0;
    bool ok = all_series(j);
    explain_read(e, j->selector, e->samples_read - samples,
                 opened ? opened(e->src->ctx) - blocks : 0);
    return ok;
}
