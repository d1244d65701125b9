#include "detectors/detectors_watch.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/hash.h"
#include "base/stats.h"
#include "tsdb/tsdb_state.h"

#define TABLE "grounding_streams"
#define VERSION 1
#define BETS 4u

STATS_COUNTER(damaged, "telltale_grounding_baselines_damaged_total", "",
              "Baselines of scores that could not be read and began anew.")

static const double bets[BETS] = {0.1, 0.25, 0.5, 0.9};

struct stream {
    struct watch_stream shown;
    struct hash128 key;
    float first[WATCH_BASELINE]; /* while the baseline fills */
    double edges[WATCH_DECILES - 1]; /* of its deciles */
    double recent[WATCH_DECILES]; /* decayed counts */
    double m[BETS]; /* of the test */
    uint64_t since_alarm;
    bool is_changed;
};

struct detectors_watch {
    struct tsdb *db;
    pthread_mutex_t lock;
    struct stream *streams[WATCH_STREAMS_MAX]; /* guarded by lock */
    uint32_t count;
    struct hash128 gone[WATCH_STREAMS_MAX]; /* gave way since the last save */
    uint32_t gone_count;
};

/* --- the test ---------------------------------------------------------------------------------------- */

static int compare_float(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void begin_baseline(struct stream *s)
{
    s->shown.scores = 0;
    s->shown.baseline_mean = s->shown.bound = s->shown.psi = NAN;
    s->shown.evidence = 0;
    s->shown.is_surging = s->shown.is_drifting = false;
    s->shown.surge_ms = 0;
    s->since_alarm = 0;
    memset(s->m, 0, sizeof s->m);
    memset(s->recent, 0, sizeof s->recent);
}

static void set_baseline(struct stream *s)
{
    double sum = 0, squares = 0;
    for (uint32_t i = 0; i < WATCH_BASELINE; i++)
        sum += s->first[i];
    double mean = sum / WATCH_BASELINE;
    for (uint32_t i = 0; i < WATCH_BASELINE; i++)
        squares += (s->first[i] - mean) * (s->first[i] - mean);
    double error = sqrt(squares / (WATCH_BASELINE - 1) / WATCH_BASELINE);
    s->shown.baseline_mean = mean;
    /* of scores that are all alike nothing is known of their spread: a hundredth */
    s->shown.bound = MIN(mean + MAX(WATCH_BOUND * error, 0.01), 0.99);
    s->shown.recent_mean = mean;
    qsort(s->first, WATCH_BASELINE, sizeof s->first[0], compare_float);
    for (uint32_t i = 1; i < WATCH_DECILES; i++)
        s->edges[i - 1] = s->first[i * WATCH_BASELINE / WATCH_DECILES];
}

/* Population stability index of the recent deciles against the baseline's, each a tenth. */
static double psi_of(const struct stream *s)
{
    double total = 0, psi = 0;
    for (uint32_t i = 0; i < WATCH_DECILES; i++)
        total += s->recent[i];
    if (total < WATCH_RECENT / 2)
        return NAN;
    for (uint32_t i = 0; i < WATCH_DECILES; i++) {
        double share = MAX(s->recent[i] / total, 1e-3);
        psi += (share - 0.1) * log(share / 0.1);
    }
    return psi;
}

/* Scores that are equal to an edge count half to each side's deciles that it closes. */
static void count_decile(struct stream *s, double p)
{
    uint32_t low = 0, high;
    while (low < WATCH_DECILES - 1 && p > s->edges[low])
        low++;
    for (high = low; high < WATCH_DECILES - 1 && p >= s->edges[high];)
        high++;
    for (uint32_t i = 0; i < WATCH_DECILES; i++)
        s->recent[i] *= 1 - 1 / WATCH_RECENT;
    for (uint32_t i = low; i <= high; i++)
        s->recent[i] += 1.0 / (high - low + 1);
}

static void step_test(struct stream *s, double p, int64_t now_ms)
{
    struct watch_stream *x = &s->shown;
    double evidence = 0, scale = MAX(x->bound, 1 - x->bound);
    for (uint32_t i = 0; i < BETS; i++) {
        double factor = 1 + bets[i] * (p - x->bound) / scale;
        s->m[i] = MIN((s->m[i] + 1) * factor, 1e30);
        evidence += s->m[i] / BETS;
    }
    x->evidence = evidence;
    x->recent_mean += (p - x->recent_mean) / WATCH_RECENT;
    if (!x->is_surging && evidence >= WATCH_ALARM) {
        x->is_surging = true;
        x->surge_ms = now_ms;
        s->since_alarm = 0;
    } else if (x->is_surging) {
        s->since_alarm++;
        if (s->since_alarm >= WATCH_RENEW) {
            begin_baseline(s);
        } else if (s->since_alarm > WATCH_RECENT && x->recent_mean <= x->bound) {
            x->is_surging = false;
            x->surge_ms = 0;
            memset(s->m, 0, sizeof s->m);
        }
    }
}

static void step(struct stream *s, double p, int64_t now_ms)
{
    struct watch_stream *x = &s->shown;
    s->is_changed = true;
    x->heard_ms = now_ms;
    if (!(p >= 0 && p <= 1))
        return;
    if (x->scores < WATCH_BASELINE) {
        s->first[x->scores++] = (float)p;
        if (x->scores == WATCH_BASELINE)
            set_baseline(s);
        return;
    }
    x->scores++;
    count_decile(s, p);
    x->psi = psi_of(s);
    x->is_drifting = x->psi > WATCH_PSI_DRIFT;
    step_test(s, p, now_ms);
}

/* --- streams --------------------------------------------------------------------------------------------- */

static void name_copy(char out[WATCH_NAME_MAX], struct bytes name)
{
    size_t n = MIN(name.size, (size_t)WATCH_NAME_MAX - 1);
    if (n)
        memcpy(out, name.data, n);
    out[n] = 0;
}

static struct hash128 key_of(const struct watch_stream *x)
{
    char all[3 * WATCH_NAME_MAX] = {0};
    memcpy(all, x->service, WATCH_NAME_MAX);
    memcpy(all + WATCH_NAME_MAX, x->model, WATCH_NAME_MAX);
    memcpy(all + 2 * WATCH_NAME_MAX, x->prompt, WATCH_NAME_MAX);
    return hash128(bytes_of(all, sizeof all), x->org);
}

static struct stream *find(struct detectors_watch *w, struct hash128 key)
{
    for (uint32_t i = 0; i < w->count; i++)
        if (hash128_equal(w->streams[i]->key, key))
            return w->streams[i];
    return NULL;
}

static struct stream *place_for(struct detectors_watch *w)
{
    struct stream *oldest = w->count == WATCH_STREAMS_MAX ? w->streams[0] : NULL;
    if (!oldest) {
        struct stream *s = calloc(1, sizeof *s);
        if (s)
            w->streams[w->count++] = s;
        return s;
    }
    for (uint32_t i = 1; i < w->count; i++)
        if (w->streams[i]->shown.heard_ms < oldest->shown.heard_ms)
            oldest = w->streams[i];
    if (w->gone_count < WATCH_STREAMS_MAX)
        w->gone[w->gone_count++] = oldest->key;
    memset(oldest, 0, sizeof *oldest);
    return oldest;
}

void detectors_watch_score(struct detectors_watch *w, const struct watch_score *score)
{
    struct watch_stream x = {.org = score->org};
    memset(x.service, 0, sizeof x.service);
    memset(x.model, 0, sizeof x.model);
    memset(x.prompt, 0, sizeof x.prompt);
    name_copy(x.service, score->service);
    name_copy(x.model, score->model);
    name_copy(x.prompt, score->prompt);
    struct hash128 key = key_of(&x);
    pthread_mutex_lock(&w->lock);
    struct stream *s = find(w, key);
    if (!s && (s = place_for(w)) != NULL) {
        s->shown = x;
        s->key = key;
        begin_baseline(s);
    }
    if (s)
        step(s, score->probability, score->now_ms);
    pthread_mutex_unlock(&w->lock);
}

enum err detectors_watch_streams(struct detectors_watch *w, struct arena *a,
                                 struct watch_stream **out, size_t *out_count)
{
    pthread_mutex_lock(&w->lock);
    struct watch_stream *list = ARENA_ARRAY(a, struct watch_stream, w->count + 1);
    for (uint32_t i = 0; list && i < w->count; i++)
        list[i] = w->streams[i]->shown;
    *out_count = w->count;
    pthread_mutex_unlock(&w->lock);
    *out = list;
    return list ? ERR_OK : ERR_NOMEM;
}

/* --- durable state ------------------------------------------------------------------------------------------ */

static void encode(const struct stream *s, struct buf *out)
{
    const struct watch_stream *x = &s->shown;
    buf_u8(out, VERSION);
    buf_u32(out, x->org);
    buf_lenbytes(out, bytes_str(x->service));
    buf_lenbytes(out, bytes_str(x->model));
    buf_lenbytes(out, bytes_str(x->prompt));
    buf_varint(out, x->scores);
    buf_varint(out, s->since_alarm);
    buf_zigzag(out, x->surge_ms);
    buf_zigzag(out, x->heard_ms);
    buf_u8(out, x->is_surging);
    if (x->scores < WATCH_BASELINE) {
        for (uint64_t i = 0; i < x->scores; i++)
            buf_f64(out, (double)s->first[i]);
        return;
    }
    buf_f64(out, x->baseline_mean);
    buf_f64(out, x->bound);
    buf_f64(out, x->recent_mean);
    for (uint32_t i = 0; i < WATCH_DECILES - 1; i++)
        buf_f64(out, s->edges[i]);
    for (uint32_t i = 0; i < WATCH_DECILES; i++)
        buf_f64(out, s->recent[i]);
    for (uint32_t i = 0; i < BETS; i++)
        buf_f64(out, s->m[i]);
}

static double finite_f64(struct reader *r, double max)
{
    double v = reader_f64(r);
    if (!(v >= 0 && v <= max))
        r->failed = true;
    return v;
}

static bool decode_measures(struct reader *r, struct stream *s)
{
    struct watch_stream *x = &s->shown;
    x->baseline_mean = finite_f64(r, 1);
    x->bound = finite_f64(r, 1);
    x->recent_mean = finite_f64(r, 1);
    for (uint32_t i = 0; i < WATCH_DECILES - 1; i++)
        s->edges[i] = finite_f64(r, 1);
    for (uint32_t i = 0; i < WATCH_DECILES; i++)
        s->recent[i] = finite_f64(r, 1e9);
    for (uint32_t i = 0; i < BETS; i++) {
        s->m[i] = finite_f64(r, 1e30);
        x->evidence += s->m[i] / BETS;
    }
    x->psi = psi_of(s);
    x->is_drifting = x->psi > WATCH_PSI_DRIFT;
    return !r->failed;
}

static bool decode(struct bytes b, struct stream *s)
{
    struct reader r = reader_of(b);
    struct watch_stream *x = &s->shown;
    if (reader_u8(&r) != VERSION)
        return false;
    memset(s, 0, sizeof *s);
    begin_baseline(s);
    x->org = reader_u32(&r);
    name_copy(x->service, reader_lenbytes(&r));
    name_copy(x->model, reader_lenbytes(&r));
    name_copy(x->prompt, reader_lenbytes(&r));
    x->scores = reader_varint(&r);
    s->since_alarm = reader_varint(&r);
    x->surge_ms = reader_zigzag(&r);
    x->heard_ms = reader_zigzag(&r);
    x->is_surging = reader_u8(&r) == 1;
    s->key = key_of(x);
    if (r.failed)
        return false;
    if (x->scores < WATCH_BASELINE)
        for (uint64_t i = 0; i < x->scores; i++)
            s->first[i] = (float)finite_f64(&r, 1);
    else if (!decode_measures(&r, s))
        return false;
    return !r.failed && reader_left(&r) == 0;
}

enum err detectors_watch_load(struct detectors_watch *w)
{
    struct arena *a = arena_new(32u << 20);
    struct tsdb_state_row *rows = NULL;
    size_t n = 0;
    if (!a)
        return ERR_NOMEM;
    enum err e = tsdb_state_scan(w->db, TABLE, BYTES_NONE, WATCH_STREAMS_MAX, a, &rows, &n);
    if (e == ERR_NOT_FOUND) {
        n = 0;
        e = ERR_OK;
    }
    pthread_mutex_lock(&w->lock);
    for (size_t i = 0; e == ERR_OK && i < n; i++) {
        struct stream *s = calloc(1, sizeof *s);
        if (!s) {
            e = ERR_NOMEM;
        } else if (!decode(rows[i].value, s) || w->count == WATCH_STREAMS_MAX || find(w, s->key)) {
            stats_add(&damaged, 1);
            free(s);
        } else {
            w->streams[w->count++] = s;
        }
    }
    pthread_mutex_unlock(&w->lock);
    arena_free(a);
    return e;
}

static void key_write(struct hash128 k, uint8_t out[16])
{
    bytes_put_u64le(out, k.lo);
    bytes_put_u64le(out + 8, k.hi);
}

enum err detectors_watch_save(struct detectors_watch *w)
{
    struct tsdb_state_write *t = NULL;
    struct buf value = {0};
    uint8_t key[16];
    enum err e = ERR_OK;
    pthread_mutex_lock(&w->lock);
    if (w->gone_count)
        e = tsdb_state_begin(w->db, &t);
    for (uint32_t i = 0; i < w->gone_count && e == ERR_OK; i++) {
        key_write(w->gone[i], key);
        e = tsdb_state_del(t, TABLE, bytes_of(key, sizeof key));
    }
    for (uint32_t i = 0; i < w->count && e == ERR_OK; i++) {
        struct stream *s = w->streams[i];
        if (!s->is_changed)
            continue;
        if (!t)
            e = tsdb_state_begin(w->db, &t);
        key_write(s->key, key);
        buf_clear(&value);
        encode(s, &value);
        if (e == ERR_OK)
            e = value.failed ? ERR_NOMEM
                             : tsdb_state_put(t, TABLE, bytes_of(key, 16), buf_bytes(&value));
    }
    if (t && e == ERR_OK)
        e = tsdb_state_commit(t);
    else if (t)
        tsdb_state_abort(t);
    for (uint32_t i = 0; i < w->count && e == ERR_OK; i++)
        w->streams[i]->is_changed = false;
    if (e == ERR_OK)
        w->gone_count = 0;
    pthread_mutex_unlock(&w->lock);
    buf_done(&value);
    return e;
}

enum err detectors_watch_new(struct tsdb *db, struct detectors_watch **out)
{
    struct detectors_watch *w = calloc(1, sizeof *w);
    if (!w)
        return ERR_NOMEM;
    w->db = db;
    pthread_mutex_init(&w->lock, NULL);
    *out = w;
    return ERR_OK;
}

void detectors_watch_free(struct detectors_watch *w)
{
    if (!w)
        return;
    for (uint32_t i = 0; i < w->count; i++)
        free(w->streams[i]);
    pthread_mutex_destroy(&w->lock);
    free(w);
}
