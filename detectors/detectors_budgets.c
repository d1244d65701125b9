#include "detectors/detectors_budgets.h"

#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/stats.h"
#include "detectors/budget.h"

#define FILE_MAX ((size_t)8 << 20)
#define ARENA_MAX ((size_t)256 << 20)
#define SWEEP_EVERY_NS INT64_C(60000000000)
#define CHUNK 4096u /* windows that are looked at before others may have the lock */
#define LIST_TRIES 3 /* files are not read again three times within a list */
#define FORECAST_SHARE 0.05 /* of the window must be over before its pace means anything */
#define EASE 0.9 /* below this share of the lowest threshold a window has cooled off */

STATS_COUNTER(keys_refused, "telltale_budget_keys_refused_total", "",
              "Bookings of values that have no window because there are too many.");

struct bucket {
    uint32_t index; /* rolling: in steps; calendar: the window's beginning in quarters of an hour */
    int64_t amount;
};

struct window {
    struct hash128 id; /* of the value, with the budget's number */
    uint32_t budget;
    uint16_t count, cap;
    bool is_hot;
    struct bucket *buckets; /* oldest first */
    char *text; /* NULL: of all that match together */
};

/* Whom the ledger tells. While a file is read again, the windows of before and those that are being filled both hear. */
struct link {
    struct detectors_budgets *b,
        *next; /* next: guarded by b's lock; NULL: nothing is being filled */
};

struct detectors_budgets {
    struct link *link; /* NULL: not followed */
    uint32_t org;
    pthread_mutex_t lock;
    /* guarded by lock, from the first follow on; all of it changes when the file is read again (swap_contents) */
    struct arena *arena;
    struct budget *all; /* but for the bounds that each remembers */
    uint32_t count;
    uint32_t *exact, exact_mask; /* (dimension, value) -> index + 1 of the first budget for it */
    uint32_t *patterns[TSDB_BOOK_DIM_COUNT], pattern_count[TSDB_BOOK_DIM_COUNT];
    uint32_t dims;
    uint64_t generation; /* of the file: how often it was read */
    struct window *windows;
    uint32_t window_count, window_cap, *places, place_mask;
    uint32_t *hot, hot_count, hot_cap;
    uint64_t bytes, refused;
    int64_t swept_ns, booked_ms, newest_ms;
};

/* --- load ------------------------------------------------------------------------------------------- */

static uint64_t exact_hash(enum tsdb_book_dim by, struct bytes value)
{
    return hash64(value, 0x5bd1e995u + (uint64_t)by);
}

static uint32_t *exact_place(const struct detectors_budgets *b, enum tsdb_book_dim by,
                             struct bytes value)
{
    uint32_t at = (uint32_t)exact_hash(by, value) & b->exact_mask;
    for (; b->exact[at]; at = (at + 1) & b->exact_mask) {
        const struct budget *x = &b->all[b->exact[at] - 1];
        if (x->by == by && bytes_equal(x->value, value))
            break;
    }
    return &b->exact[at];
}

static enum err index_budgets(struct detectors_budgets *b)
{
    uint32_t places = 16;
    while (places < b->count * 2)
        places *= 2;
    b->exact = ARENA_ARRAY(b->arena, uint32_t, places);
    b->exact_mask = places - 1;
    for (int d = 0; d < TSDB_BOOK_DIM_COUNT; d++)
        if (!(b->patterns[d] = ARENA_ARRAY(b->arena, uint32_t, DETECTORS_BUDGETS_PATTERNS_MAX + 1)))
            return ERR_NOMEM;
    if (!b->exact)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < b->count; i++) {
        struct budget *x = &b->all[i];
        b->dims |= 1u << x->by;
        if (x->is_pattern) {
            b->patterns[x->by][b->pattern_count[x->by]++] = i;
            continue;
        }
        uint32_t *place = exact_place(b, x->by, x->value);
        x->next_exact = *place;
        *place = i + 1;
    }
    return ERR_OK;
}

static enum err read_file(const char *path, struct arena *a, struct bytes *out, struct buf *errors)
{
    FILE *f = fopen(path, "rb");
    uint8_t *text = f ? arena_alloc(a, FILE_MAX) : NULL;
    size_t n = text ? fread(text, 1, FILE_MAX, f) : 0;
    if (f)
        fclose(f);
    if (!text || n == FILE_MAX) {
        buf_printf(errors, "%s:1: budgets: cannot be read (%s)\n", path,
                   f ? "larger than 8 MiB" : strerror(errno));
        return ERR_INVALID;
    }
    *out = bytes_of(text, n);
    return ERR_OK;
}

enum err detectors_budgets_load(const char *path, struct detectors_budgets **out,
                                struct buf *errors)
{
    struct detectors_budgets *b = calloc(1, sizeof(*b));
    struct bytes text;
    size_t n = 0;
    if (!b)
        return ERR_NOMEM;
    pthread_mutex_init(&b->lock, NULL);
    b->arena = arena_new(ARENA_MAX);
    enum err e = b->arena ? ERR_OK : ERR_NOMEM;
    if (e == ERR_OK && path) {
        e = read_file(path, b->arena, &text, errors);
        if (e == ERR_OK)
            e = budget_file_read(text, path, b->arena, &b->all, &n, errors);
    }
    b->count = (uint32_t)n;
    if (e == ERR_OK)
        e = index_budgets(b);
    if (e != ERR_OK) {
        detectors_budgets_free(b);
        return e;
    }
    *out = b;
    return ERR_OK;
}

void detectors_budgets_free(struct detectors_budgets *b)
{
    if (!b)
        return;
    free(b->link);
    for (uint32_t i = 0; i < b->window_count; i++) {
        free(b->windows[i].buckets);
        free(b->windows[i].text);
    }
    free(b->windows);
    free(b->places);
    free(b->hot);
    arena_free(b->arena);
    pthread_mutex_destroy(&b->lock);
    free(b);
}

uint32_t detectors_budgets_org(const struct detectors_budgets *b)
{
    return b->org ? b->org : TSDB_ORG_DEFAULT;
}

static const struct budget *find(const struct detectors_budgets *b, const char *name)
{
    for (uint32_t i = 0; i < b->count; i++)
        if (strcmp(b->all[i].name, name) == 0)
            return &b->all[i];
    return NULL;
}

/* --- windows; all under the lock ----------------------------------------------------------------------- */

static struct hash128 window_id(uint32_t budget, struct bytes key)
{
    return hash128(key, 0x100000000u + budget);
}

static uint32_t *window_place(const struct detectors_budgets *b, struct hash128 id)
{
    uint32_t at = (uint32_t)id.lo & b->place_mask;
    while (b->places[at] && !hash128_equal(b->windows[b->places[at] - 1].id, id))
        at = (at + 1) & b->place_mask;
    return &b->places[at];
}

static bool places_make(struct detectors_budgets *b, uint32_t cap)
{
    uint32_t n = 64;
    while (n < cap * 2)
        n *= 2;
    uint32_t *places = calloc(n, sizeof(*places));
    if (!places)
        return false;
    free(b->places);
    b->places = places;
    b->place_mask = n - 1;
    for (uint32_t i = 0; i < b->window_count; i++)
        *window_place(b, b->windows[i].id) = i + 1;
    return true;
}

/* What is past its window at this moment, in the terms of a bucket's index. */
static uint32_t first_live(struct budget *x, int64_t now_ms)
{
    if (x->calendar != BUDGET_ROLLING) {
        int64_t from, to;
        budget_window(x, now_ms, &from, &to);
        return (uint32_t)(from / 900000);
    }
    int64_t step_ms = x->bucket_minutes * INT64_C(60000);
    return (uint32_t)(MAX(now_ms - x->window_ms, 0) / step_ms); /* its bucket is partly in it */
}

static uint32_t bucket_index(struct budget *x, uint32_t minute)
{
    if (x->calendar != BUDGET_ROLLING) {
        int64_t from, to;
        budget_window(x, (int64_t)minute * 60000, &from, &to);
        return (uint32_t)(from / 900000);
    }
    return minute / x->bucket_minutes;
}

static void prune(struct window *w, uint32_t live)
{
    uint16_t n = 0;
    while (n < w->count && w->buckets[n].index < live)
        n++;
    if (!n)
        return;
    w->count = (uint16_t)(w->count - n);
    memmove(w->buckets, w->buckets + n, w->count * sizeof(*w->buckets));
}

/* What lies in the future is of a later calendar window; a rolling one counts it, as it will be. */
static int64_t spent_of(const struct budget *x, const struct window *w, uint32_t live)
{
    int64_t sum = 0;
    for (uint16_t i = 0; i < w->count; i++)
        if (x->calendar == BUDGET_ROLLING ? w->buckets[i].index >= live
                                          : w->buckets[i].index == live)
            sum += w->buckets[i].amount;
    return sum;
}

/* Windows without anything in them leave. Once a minute at most: it takes as long as there are windows. */
static void sweep(struct detectors_budgets *b, int64_t now_ms)
{
    int64_t now = clock_mono_ns();
    uint32_t n = 0;
    if (b->swept_ns && now - b->swept_ns < SWEEP_EVERY_NS)
        return;
    b->swept_ns = now;
    b->hot_count = 0;
    for (uint32_t i = 0; i < b->window_count; i++) {
        struct window *w = &b->windows[i];
        prune(w, first_live(&b->all[w->budget], now_ms));
        if (!w->count) {
            b->bytes -= w->cap * sizeof(struct bucket) + (w->text ? strlen(w->text) + 1 : 0);
            free(w->buckets);
            free(w->text);
            continue;
        }
        b->windows[n] = *w;
        if (w->is_hot)
            b->hot[b->hot_count++] = n; /* fewer than before */
        n++;
    }
    b->window_count = n;
    memset(b->places, 0, ((size_t)b->place_mask + 1) * sizeof(*b->places));
    for (uint32_t i = 0; i < n; i++)
        *window_place(b, b->windows[i].id) = i + 1;
}

static struct window *window_new(struct detectors_budgets *b, uint32_t budget, struct hash128 id,
                                 struct bytes key, int64_t now_ms)
{
    if (b->window_count == DETECTORS_BUDGETS_KEYS_MAX)
        sweep(b, now_ms);
    if (b->window_count == DETECTORS_BUDGETS_KEYS_MAX)
        return NULL;
    if (b->window_count == b->window_cap) {
        uint32_t cap = MIN(b->window_cap ? b->window_cap * 2 : 256, DETECTORS_BUDGETS_KEYS_MAX);
        struct window *more = realloc(b->windows, cap * sizeof(*more));
        if (!more)
            return NULL;
        b->windows = more;
        b->window_cap = cap;
        if (!places_make(b, cap))
            return NULL;
    }
    struct window w = {.id = id, .budget = budget};
    if (key.size) {
        if (!(w.text = malloc(key.size + 1)))
            return NULL;
        memcpy(w.text, key.data, key.size);
        w.text[key.size] = 0;
        b->bytes += key.size + 1;
    }
    b->windows[b->window_count] = w;
    *window_place(b, id) = ++b->window_count;
    return &b->windows[b->window_count - 1];
}

static bool bucket_add(struct detectors_budgets *b, struct window *w, uint32_t index,
                       int64_t amount, uint32_t live)
{
    uint16_t at = w->count;
    while (at > 0 && w->buckets[at - 1].index > index)
        at--;
    if (at > 0 && w->buckets[at - 1].index == index) {
        w->buckets[at - 1].amount += amount;
        return true;
    }
    if (w->count == w->cap) {
        uint16_t before = w->count;
        prune(w, live);
        at = (uint16_t)(at - MIN(at, before - w->count));
    }
    if (w->count == w->cap) {
        uint16_t cap = (uint16_t)(w->cap ? w->cap * 2 : 2);
        struct bucket *more =
            cap > 4 * BUDGET_BUCKETS_MAX ? NULL : realloc(w->buckets, cap * sizeof(*more));
        if (!more)
            return false;
        b->bytes += (size_t)(cap - w->cap) * sizeof(*more);
        w->buckets = more;
        w->cap = cap;
    }
    memmove(w->buckets + at + 1, w->buckets + at, (size_t)(w->count - at) * sizeof(*w->buckets));
    w->buckets[at] = (struct bucket){index, amount};
    w->count++;
    return true;
}

/* --- what a window says ---------------------------------------------------------------------------------- */

static void describe(struct budget *x, const struct window *w, struct bytes key, int64_t now_ms,
                     struct detectors_budget_row *out)
{
    int64_t from, to;
    uint32_t live = first_live(x, now_ms);
    *out = (struct detectors_budget_row){.by = x->by,
                                         .key = key,
                                         .unit = x->unit,
                                         .limit = x->limit,
                                         .spent = w ? spent_of(x, w, live) : 0,
                                         .is_hard = x->is_hard,
                                         .fail_open = x->fail_open,
                                         .is_rolling = x->calendar == BUDGET_ROLLING};
    snprintf(out->name, sizeof(out->name), "%s", x->name);
    snprintf(out->window, sizeof(out->window), "%s", x->window);
    out->forecast = (double)out->spent;
    if (x->calendar != BUDGET_ROLLING) {
        budget_window(x, now_ms, &from, &to);
        double over = (double)(now_ms - from) / (double)(to - from);
        out->start_ms = from;
        out->reset_ms = to;
        if (over >= FORECAST_SHARE)
            out->forecast = (double)out->spent / over;
        return;
    }
    int64_t step_ms = x->bucket_minutes * INT64_C(60000);
    out->start_ms = (int64_t)live * step_ms;
    for (uint16_t i = 0; w && i < w->count; i++)
        if (w->buckets[i].index >= live && w->buckets[i].amount > 0) {
            out->reset_ms = ((int64_t)w->buckets[i].index + 1) * step_ms + x->window_ms;
            break;
        }
}

static double lowest(const struct budget *x)
{
    double low = 1e9;
    for (uint32_t i = 0; i < x->threshold_count; i++)
        if (x->thresholds[i] != DETECTORS_BUDGETS_FORECAST)
            low = MIN(low, (double)x->thresholds[i] / 100);
    return low;
}

static bool has_forecast(const struct budget *x)
{
    for (uint32_t i = 0; i < x->threshold_count; i++)
        if (x->thresholds[i] == DETECTORS_BUDGETS_FORECAST)
            return true;
    return false;
}

static bool is_hot(struct budget *x, const struct window *w, int64_t now_ms, double ease)
{
    struct detectors_budget_row r;
    describe(x, w, BYTES_NONE, now_ms, &r);
    return (double)r.spent >= ease * lowest(x) * (double)r.limit ||
           (has_forecast(x) && r.forecast >= ease * (double)r.limit);
}

static void heat(struct detectors_budgets *b, struct window *w, int64_t now_ms)
{
    if (w->is_hot || !is_hot(&b->all[w->budget], w, now_ms, EASE))
        return; /* as long as an alert of it would stay: after a restart it may have one */
    if (b->hot_count == b->hot_cap) {
        uint32_t cap = b->hot_cap ? b->hot_cap * 2 : 64;
        uint32_t *more = realloc(b->hot, cap * sizeof(*more));
        if (!more)
            return; /* at its next booking */
        b->hot = more;
        b->hot_cap = cap;
    }
    w->is_hot = true;
    b->hot[b->hot_count++] = (uint32_t)(w - b->windows);
}

/* --- booking ---------------------------------------------------------------------------------------------- */

static void add_to(struct detectors_budgets *b, uint32_t budget, struct bytes value,
                   uint32_t minute, const struct tsdb_book_sums *sums, int64_t now_ms)
{
    struct budget *x = &b->all[budget];
    int64_t amount = budget_amount(x, sums);
    uint32_t index = bucket_index(x, minute), live = first_live(x, now_ms);
    if (!amount || index < live)
        return;
    struct bytes key = x->is_together ? BYTES_NONE : value;
    struct hash128 id = window_id(budget, key);
    uint32_t place = b->places ? *window_place(b, id) : 0;
    struct window *w = place ? &b->windows[place - 1] : window_new(b, budget, id, key, now_ms);
    if (!w || !bucket_add(b, w, index, amount, live)) {
        b->refused++;
        stats_add(&keys_refused, 1);
        return;
    }
    heat(b, w, now_ms);
}

static void add(struct detectors_budgets *b, enum tsdb_book_dim by, struct bytes value,
                uint32_t minute, const struct tsdb_book_sums *sums, int64_t now_ms)
{
    value.size = MIN(value.size, TSDB_LEDGER_VALUE_MAX);
    if (!value.size)
        return;
    for (uint32_t i = *exact_place(b, by, value); i; i = b->all[i - 1].next_exact)
        add_to(b, i - 1, value, minute, sums, now_ms);
    for (uint32_t k = 0; k < b->pattern_count[by]; k++)
        if (budget_matches(&b->all[b->patterns[by][k]], value))
            add_to(b, b->patterns[by][k], value, minute, sums, now_ms);
}

static void on_row(void *ctx, enum tsdb_book_dim dim, struct bytes value, uint32_t minute,
                   const struct tsdb_book_sums *sums)
{
    struct link *l = ctx;
    struct detectors_budgets *b = l->b;
    int64_t now_ms = clock_wall_ms();
    pthread_mutex_lock(&b->lock);
    add(l->next ? l->next : b, dim, value, minute, sums, now_ms);
    pthread_mutex_unlock(&b->lock);
}

static void add_books(struct detectors_budgets *b, const struct tsdb_book *books, size_t n,
                      int64_t now_ms)
{
    for (size_t i = 0; i < n; i++)
        for (int d = 0; d < TSDB_BOOK_DIM_COUNT; d++)
            if (b->dims >> d & 1)
                add(b, (enum tsdb_book_dim)d, books[i].value[d], books[i].minute, &books[i].sums,
                    now_ms);
}

static void on_booked(void *ctx, const struct tsdb_book *books, size_t n)
{
    struct link *l = ctx;
    struct detectors_budgets *b = l->b;
    int64_t now_ms = clock_wall_ms();
    pthread_mutex_lock(&b->lock);
    add_books(b, books, n, now_ms);
    if (l->next)
        add_books(l->next, books, n, now_ms);
    for (size_t i = 0; i < n; i++)
        b->newest_ms = MAX(b->newest_ms, (int64_t)(books[i].minute + 1) * 60000);
    b->booked_ms = now_ms;
    pthread_mutex_unlock(&b->lock);
}

/* Fills the budgets x from the ledger and tells l from then on; without budgets nobody is told. */
static enum err fill(struct detectors_budgets *x, struct link *l, struct tsdb *db, uint32_t org)
{
    struct tsdb_ledger_follower f = {l, on_row, on_booked};
    int64_t now_ms = clock_wall_ms(), from_ms = now_ms;
    for (uint32_t i = 0; i < x->count; i++) {
        struct budget *one = &x->all[i];
        int64_t step_ms = one->calendar == BUDGET_ROLLING ? one->bucket_minutes * INT64_C(60000)
                                                          : INT64_C(900000);
        from_ms = MIN(from_ms, (int64_t)first_live(one, now_ms) * step_ms);
    }
    return tsdb_ledger_follow(db, org, x->dims, from_ms, x->count ? &f : NULL);
}

static struct link *link_new(struct detectors_budgets *b, struct detectors_budgets *next)
{
    struct link *l = malloc(sizeof(*l));
    if (l)
        *l = (struct link){b, next};
    return l;
}

enum err detectors_budgets_follow(struct detectors_budgets *b, struct tsdb *db, uint32_t org)
{
    CHECK(!b->link);
    b->org = org;
    if (!(b->link = link_new(b, NULL)))
        return ERR_NOMEM;
    return fill(b, b->link, db, org);
}

/* All that comes of the file and of bookings: everything from the arena on. The lock, the link and the org stay where they are. */
static void swap_contents(struct detectors_budgets *b, struct detectors_budgets *next)
{
    enum { FROM = offsetof(struct detectors_budgets, arena), SIZE = sizeof(*b) - FROM };
    uint8_t was[SIZE];
    memcpy(was, (uint8_t *)b + FROM, SIZE);
    memcpy((uint8_t *)b + FROM, (uint8_t *)next + FROM, SIZE);
    memcpy((uint8_t *)next + FROM, was, SIZE);
    b->generation = next->generation + 1;
    b->booked_ms = next->booked_ms;
    b->newest_ms = next->newest_ms;
    b->refused += next->refused;
}

enum err detectors_budgets_reload(struct detectors_budgets *b, const char *path, struct tsdb *db,
                                  struct buf *errors)
{
    struct detectors_budgets *next = NULL;
    enum err e = detectors_budgets_load(path, &next, errors);
    if (e != ERR_OK)
        return e;
    struct link *l = link_new(b, next);
    e = l ? fill(next, l, db, b->org) : ERR_NOMEM;
    if (e != ERR_OK) { /* the link of before is told again, and was told all */
        free(l);
        detectors_budgets_free(next);
        return e;
    }
    pthread_mutex_lock(&b->lock);
    swap_contents(b, next);
    l->next = NULL;
    struct link *old = b->link;
    b->link = l;
    pthread_mutex_unlock(&b->lock);
    free(old); /* nobody was told through it since the new one took its place */
    detectors_budgets_free(next);
    return ERR_OK;
}

void detectors_budgets_unfollow(struct detectors_budgets *b, struct tsdb *db)
{
    if (b && tsdb_ledger_follow(db, b->org, 0, 0, NULL) != ERR_OK)
        return; /* it cannot fail without a follower */
}

/* --- asking ----------------------------------------------------------------------------------------------- */

static int64_t estimate_of(const struct detectors_budget_call *call, enum detectors_budget_unit u)
{
    return u == DETECTORS_BUDGET_USD     ? call->nanousd
           : u == DETECTORS_BUDGET_CALLS ? 1
                                         : call->tokens;
}

static bool is_passed(const struct detectors_budget_call *call,
                      const struct detectors_budget_row *r)
{
    return r->spent >= r->limit || r->spent > r->limit - MAX(estimate_of(call, r->unit), 0);
}

/* Less is left: it binds before. */
static bool binds_before(const struct detectors_budget_call *call,
                         const struct detectors_budget_row *a, const struct detectors_budget_row *b)
{
    bool deny_a = a->is_hard && is_passed(call, a), deny_b = b->is_hard && is_passed(call, b);
    if (deny_a != deny_b)
        return deny_a;
    return (double)(a->limit - a->spent) / (double)a->limit <
           (double)(b->limit - b->spent) / (double)b->limit;
}

static void ask_one(struct detectors_budgets *b, uint32_t budget, struct bytes value,
                    const struct detectors_budget_call *call, int64_t now_ms,
                    struct detectors_budget_answer *out)
{
    struct budget *x = &b->all[budget];
    struct bytes key = x->is_together ? BYTES_NONE : value;
    struct detectors_budget_row r;
    uint32_t place = b->places ? *window_place(b, window_id(budget, key)) : 0;
    describe(x, place ? &b->windows[place - 1] : NULL, key, now_ms, &r);
    r.is_untracked = !place && b->window_count == DETECTORS_BUDGETS_KEYS_MAX;
    out->matched++;
    if (r.is_hard && (r.is_untracked ? !r.fail_open : is_passed(call, &r)))
        out->is_allowed = false;
    if (out->count == DETECTORS_BUDGETS_ANSWER_MAX) {
        if (!binds_before(call, &r, &out->rows[0]))
            return;
        out->count--;
    }
    if (out->count && binds_before(call, &r, &out->rows[0])) {
        out->rows[out->count++] = out->rows[0];
        out->rows[0] = r;
    } else {
        out->rows[out->count++] = r;
    }
}

void detectors_budgets_check(struct detectors_budgets *b, const struct detectors_budget_call *call,
                             int64_t now_ms, struct detectors_budget_answer *out)
{
    out->is_allowed = out->fail_open = true;
    out->matched = out->count = 0;
    pthread_mutex_lock(&b->lock);
    for (int d = 0; d < TSDB_BOOK_DIM_COUNT; d++) {
        struct bytes value = call->value[d];
        value.size = MIN(value.size, TSDB_LEDGER_VALUE_MAX);
        if (!value.size || !(b->dims >> d & 1))
            continue;
        for (uint32_t i = *exact_place(b, (enum tsdb_book_dim)d, value); i;
             i = b->all[i - 1].next_exact)
            ask_one(b, i - 1, value, call, now_ms, out);
        for (uint32_t k = 0; k < b->pattern_count[d]; k++)
            if (budget_matches(&b->all[b->patterns[d][k]], value))
                ask_one(b, b->patterns[d][k], value, call, now_ms, out);
    }
    out->booked_ms = b->booked_ms;
    out->newest_ms = b->newest_ms;
    pthread_mutex_unlock(&b->lock);
    if (out->count)
        out->fail_open = out->rows[0].fail_open;
}

/* --- lists ------------------------------------------------------------------------------------------------ */

static int fullest_first(const void *x, const void *y)
{
    const struct detectors_budget_row *a = x, *b = y;
    double p = (double)a->spent / (double)a->limit, q = (double)b->spent / (double)b->limit;
    return p != q ? (p < q ? 1 : -1) : bytes_compare(a->key, b->key);
}

struct listing {
    struct detectors_budgets *b;
    uint32_t only; /* UINT32_MAX: the fullest window of each budget */
    struct bytes key;
    struct detectors_budget_row *rows;
    size_t count, max;
    int64_t now_ms;
    struct arena *arena;
};

/* Under the lock. Twice as many as are wanted are kept, and then the fuller half. */
static bool list_window(struct listing *l, const struct window *w)
{
    struct budget *x = &l->b->all[w->budget];
    struct bytes text = bytes_str(w->text);
    struct detectors_budget_row r;
    if ((l->only != UINT32_MAX && w->budget != l->only) ||
        (l->key.size && !bytes_equal(text, l->key)))
        return true;
    describe(x, w, text, l->now_ms, &r);
    struct detectors_budget_row *at = l->only == UINT32_MAX ? &l->rows[w->budget] : NULL;
    if (at && at->spent >= r.spent)
        return true;
    if (!at) {
        if (l->count == 2 * l->max) {
            qsort(l->rows, l->count, sizeof(*l->rows), fullest_first);
            l->count = l->max;
        }
        at = &l->rows[l->count++];
    }
    *at = r;
    at->key = arena_copy(l->arena, text);
    return at->key.data || !text.size;
}

/* ERR_UNAVAILABLE: the file was read again in between. */
static enum err list_once(struct detectors_budgets *b, const char *name, struct bytes key,
                          size_t max, int64_t now_ms, struct arena *a,
                          struct detectors_budget_row **out, size_t *out_count)
{
    struct listing l = {
        .b = b, .only = UINT32_MAX, .key = key, .max = max, .now_ms = now_ms, .arena = a};
    pthread_mutex_lock(&b->lock);
    const struct budget *x = name ? find(b, name) : NULL;
    uint32_t count = b->count;
    uint64_t generation = b->generation;
    if (x)
        l.only = (uint32_t)(x - b->all);
    if (!name || x)
        l.rows = ARENA_ARRAY(a, struct detectors_budget_row, x ? 2 * max + 1 : (size_t)count + 1);
    if (!l.rows) {
        pthread_mutex_unlock(&b->lock);
        return name && !x ? ERR_NOT_FOUND : ERR_LIMIT;
    }
    for (uint32_t i = 0; !x && i < b->count; i++)
        describe(&b->all[i], NULL, BYTES_NONE, now_ms, &l.rows[i]);
    bool ok = true;
    for (uint32_t i = 0; i < b->window_count && ok; i++) {
        if (i % CHUNK == CHUNK - 1) {
            pthread_mutex_unlock(&b->lock);
            pthread_mutex_lock(&b->lock);
            if (b->generation != generation) {
                pthread_mutex_unlock(&b->lock);
                return ERR_UNAVAILABLE;
            }
            if (i >= b->window_count)
                break; /* swept meanwhile */
        }
        ok = list_window(&l, &b->windows[i]);
    }
    if (ok && x && key.size && !l.count) { /* nothing is spent yet */
        describe(&b->all[l.only], NULL, key, now_ms, &l.rows[l.count++]);
    }
    pthread_mutex_unlock(&b->lock);
    if (!ok)
        return ERR_LIMIT;
    if (x && l.count)
        qsort(l.rows, l.count, sizeof(*l.rows), fullest_first);
    *out = l.rows;
    *out_count = x ? MIN(l.count, max) : count;
    return ERR_OK;
}

enum err detectors_budgets_rows(struct detectors_budgets *b, const char *name, struct bytes key,
                                size_t max, int64_t now_ms, struct arena *a,
                                struct detectors_budget_row **out, size_t *out_count)
{
    enum err e = ERR_UNAVAILABLE;
    for (int i = 0; i < LIST_TRIES && e == ERR_UNAVAILABLE; i++)
        e = list_once(b, name, key, max, now_ms, a, out, out_count);
    return e;
}

enum err budget_hot_take(struct detectors_budgets *b, int64_t now_ms, struct budget_hot **out,
                         size_t *out_count)
{
    uint32_t n = 0, kept = 0;
    pthread_mutex_lock(&b->lock);
    struct budget_hot *rows = malloc((MIN(b->hot_count, BUDGET_HOT_MAX) + 1) * sizeof(*rows));
    for (uint32_t i = 0; rows && i < b->hot_count; i++) {
        struct window *w = &b->windows[b->hot[i]];
        struct budget *x = &b->all[w->budget];
        if (!is_hot(x, w, now_ms, EASE)) {
            w->is_hot = false;
            continue;
        }
        b->hot[kept++] = b->hot[i];
        if (n == BUDGET_HOT_MAX)
            continue;
        memcpy(rows[n].thresholds, x->thresholds, sizeof(x->thresholds));
        rows[n].threshold_count = x->threshold_count;
        snprintf(rows[n].key, sizeof(rows[n].key), "%s", w->text ? w->text : "");
        describe(x, w, BYTES_NONE, now_ms, &rows[n].row);
        n++;
    }
    if (rows)
        b->hot_count = kept;
    pthread_mutex_unlock(&b->lock);
    if (!rows)
        return ERR_NOMEM;
    *out = rows;
    *out_count = n;
    return ERR_OK;
}

void detectors_budgets_status_get(struct detectors_budgets *b, struct detectors_budgets_status *out)
{
    pthread_mutex_lock(&b->lock);
    *out = (struct detectors_budgets_status){
        .budgets = b->count,
        .keys = b->window_count,
        .bytes = b->bytes + b->window_cap * sizeof(struct window) +
                 (b->places ? ((uint64_t)b->place_mask + 1) * sizeof(uint32_t) : 0),
        .refused = b->refused};
    pthread_mutex_unlock(&b->lock);
}
