#include "tests/faults/fault_ledger.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/check.h"
#include "base/clock.h"
#include "tsdb/helper_rows.h"
#include "tsdb/store.h"

#define HOUR_MS INT64_C(3600000)
#define T0_MS (ROWS_T0_NS / 1000000)
#define LATE_DAYS 2u
#define DAY_MS (24 * HOUR_MS)

static _Atomic int64_t wall_now_ns;

static int64_t wall_ns(void)
{
    return atomic_load(&wall_now_ns);
}

void ledger_clock(int hours_later)
{
    atomic_store(&wall_now_ns, ROWS_T0_NS + (1 + hours_later) * HOUR_MS * 1000000);
    clock_test_set_wall(wall_ns);
}

struct ledger *ledger_new(void)
{
    struct ledger *l =
        mmap(NULL, sizeof(*l), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return l == MAP_FAILED ? NULL : l;
}

void ledger_free(struct ledger *l)
{
    if (l)
        munmap(l, sizeof(*l));
}

/* The day two before the story's is dropped when its clock goes on by three hours, and no hour earlier. */
struct tsdb_options ledger_options(const char *dir)
{
    rows_late_days(LATE_DAYS);
    return (struct tsdb_options){
        .dir = dir, .retention_ms = 36 * HOUR_MS, .generation_max_bytes = 4u << 20};
}

/* --- sending ------------------------------------------------------------------------------------- */

struct sent {
    struct ledger *l;
    uint32_t number;
};

static void note(struct ledger *l, uint32_t number, enum ledger_said said)
{
    atomic_store(&l->said[number], (uint8_t)said);
    if (l->watch)
        l->watch(number, said);
}

static void answered(void *ctx, enum err e, const struct tsdb_result *r)
{
    struct sent *s = ctx;
    (void)r;
    note(s->l, s->number, e == ERR_OK ? LEDGER_STORED : LEDGER_REFUSED);
    atomic_fetch_sub(&s->l->waiting, 1);
    free(s);
}

static int64_t sample_ms(uint32_t number)
{
    return T0_MS + number * 1000 - (number % 11 == 0 ? DAY_MS : 0);
}

static double sample_value(uint32_t number)
{
    return number * 0.37 + 1;
}

static bool add_sample(struct tsdb *db, struct tsdb_batch *b, uint32_t number, bool own)
{
    struct tsdb_label l[] = {
        {BYTES_LIT("__name__"), BYTES_LIT("ledger")},
        {BYTES_LIT("number"), own ? arena_printf(b->arena, "%u", number) : BYTES_LIT("all")}};
    struct tsdb_labels labels;
    struct tsdb_ref ref;
    return l[1].value.data &&
           tsdb_labels_build(l, ARRAY_LEN(l), b->arena, &labels, NULL) == ERR_OK &&
           tsdb_registry_ref(tsdb_series(db), ROWS_ORG, TSDB_SERIES_SAMPLES, labels, &ref) ==
               ERR_OK &&
           tsdb_batch_add_sample(b, ref, sample_ms(number), sample_value(number), 0);
}

enum err ledger_send(struct ledger *l, struct tsdb *db, uint32_t number)
{
    CHECK(number < LEDGER_REQUESTS_MAX);
    struct tsdb_batch *b =
        rows_batch(tsdb_series(db), (uint64_t)number * LEDGER_ROWS, LEDGER_ROWS, number + 1);
    struct sent *s = malloc(sizeof(*s));
    enum err e = b && s && add_sample(db, b, number, false) && add_sample(db, b, number, true)
                     ? ERR_OK
                     : ERR_NOMEM;
    if (e == ERR_OK) {
        *s = (struct sent){l, number};
        note(l, number, LEDGER_SENT);
        atomic_fetch_add(&l->waiting, 1);
        e = tsdb_append(db, &b, answered, s);
        if (e != ERR_OK)
            atomic_fetch_sub(&l->waiting, 1);
    }
    if (e != ERR_OK) {
        note(l, number, LEDGER_REFUSED);
        tsdb_batch_free(b);
        free(s);
    }
    return e;
}

void ledger_wait(struct ledger *l)
{
    while (atomic_load(&l->waiting))
        clock_sleep_ms(0);
}

/* --- comparing ----------------------------------------------------------------------------------- */

struct seen { /* of one request */
    uint8_t rows[LEDGER_ROWS];
    uint8_t all, own; /* samples */
};

struct look {
    struct ledger *l;
    uint32_t count;
    const char *where;
    struct seen *seen;
    unsigned wrongs;
};

#define WRONGS_SHOWN 3u

static void wrong(struct look *k, uint32_t number, const char *what, long long have)
{
    static const char *const names[] = {"never sent", "not answered", "stored", "refused"};
    if (k->wrongs++ < WRONGS_SHOWN)
        fprintf(stderr, "%s: request %u (%s): %s (%lld)\n", k->where, number,
                number < k->count ? names[atomic_load(&k->l->said[number])] : "-", what, have);
}

static void look_at_spans(struct look *k, struct tsdb_view *v, struct arena *a)
{
    struct tsdb_spans spans = {0};
    struct tsdb_span_filter every = {.start_max_ns = INT64_MAX};
    bool dropped = atomic_load(&k->l->is_retention);
    enum err e = tsdb_span_scan(v, &every, 1u << 20, a, &spans);
    if (e != ERR_OK) {
        wrong(k, 0, "spans cannot be read", e);
        return;
    }
    for (uint32_t i = 0; i < spans.count; i++) {
        uint64_t id;
        bool same = rows_check(&spans, i, &id);
        if (id >= (uint64_t)k->count * LEDGER_ROWS) {
            wrong(k, k->count, "a span that nobody sent", (long long)id);
            continue;
        }
        /* What retention takes first is the text, then the row. */
        if (!same && !(dropped && rows_is_late(id)))
            wrong(k, (uint32_t)(id / LEDGER_ROWS), "a span is altered", (long long)id);
        uint8_t *times = &k->seen[id / LEDGER_ROWS].rows[id % LEDGER_ROWS];
        *times += *times < 255;
    }
}

static void look_at_samples(struct look *k, struct tsdb_view *v, struct arena *a)
{
    struct tsdb_matcher name = {
        .op = TSDB_MATCH_EQ, .name = BYTES_LIT("__name__"), .value = BYTES_LIT("ledger")};
    struct tsdb_series *s;
    size_t n;
    enum err e = tsdb_select(v, &name, 1, T0_MS - 4 * DAY_MS, T0_MS + 4 * DAY_MS, a, &s, &n);
    for (size_t i = 0; i < n && e == ERR_OK; i++) {
        struct tsdb_points p;
        uint64_t own = UINT64_MAX;
        (void)bytes_to_u64(tsdb_labels_get(s[i].labels, BYTES_LIT("number")), &own);
        e = tsdb_points_read(v, &s[i], T0_MS - 4 * DAY_MS, T0_MS + 4 * DAY_MS, a, &p);
        for (size_t t = 0; e == ERR_OK && t < p.count; t++) {
            uint32_t number = (uint32_t)((p.t_ms[t] - T0_MS + DAY_MS) % DAY_MS / 1000);
            if (number >= k->count || p.t_ms[t] != sample_ms(number) ||
                p.value[t] != sample_value(number) || (own != UINT64_MAX && own != number)) {
                wrong(k, number, "a sample is altered", p.t_ms[t]);
                continue;
            }
            if (own == UINT64_MAX)
                k->seen[number].all++;
            else
                k->seen[number].own++;
        }
    }
    if (e != ERR_OK)
        wrong(k, 0, "samples cannot be read", e);
}

/* true: the request is there. */
static bool judge(struct look *k, uint32_t number)
{
    const struct seen *s = &k->seen[number];
    bool dropped = atomic_load(&k->l->is_retention);
    uint8_t want = s->rows[1] || s->rows[2] ? 1 : 0; /* neighbours are not both late */
    if (atomic_load(&k->l->said[number]) == LEDGER_STORED)
        want = 1;
    if (atomic_load(&k->l->said[number]) == LEDGER_UNSENT)
        want = 0;
    for (uint32_t i = 0; i < LEDGER_ROWS; i++) {
        bool may_be_gone = dropped && rows_is_late((uint64_t)number * LEDGER_ROWS + i);
        if (s->rows[i] != want && !(may_be_gone && s->rows[i] == 0))
            wrong(k, number, "a span is not there as often as it should be", s->rows[i]);
    }
    bool may_be_gone = dropped && number % 11 == 0;
    if ((s->all != want && !(may_be_gone && s->all == 0)) ||
        (s->own != want && !(may_be_gone && s->own == 0)))
        wrong(k, number, "a sample is not there as often as it should be", s->all * 100 + s->own);
    return want;
}

static void look_at_cells(struct look *k, struct tsdb_view *v, uint32_t present)
{
    struct tsdb_matcher name = {
        .op = TSDB_MATCH_EQ, .name = BYTES_LIT("__name__"), .value = BYTES_LIT("rows_total")};
    uint32_t now = tsdb_batch_minute(ROWS_T0_NS);
    int64_t sum = 0;
    enum err e = tsdb_cells_sum(v, &name, 1, now - 4 * 1440, now + 4 * 1440, &sum);
    if (e != ERR_OK)
        wrong(k, 0, "cells cannot be summed", e);
    else if (sum != (int64_t)present * LEDGER_ROWS)
        wrong(k, present, "cells are not the count of the rows", sum);
}

bool ledger_check(struct ledger *l, struct tsdb *db, uint32_t count, const char *where)
{
    struct tsdb_view *v = NULL;
    struct arena *a = arena_new(0);
    struct look k = {l, count, where, calloc(count + 1, sizeof(struct seen)), 0};
    uint32_t present = 0;
    CHECK(a && k.seen);
    enum err e = tsdb_view_open(db, ROWS_ORG, NULL, &v);
    if (e != ERR_OK) {
        wrong(&k, 0, "no view", e);
    } else {
        look_at_spans(&k, v, a);
        look_at_samples(&k, v, a);
        for (uint32_t i = 0; i < count; i++)
            present += judge(&k, i);
        look_at_cells(&k, v, present);
        tsdb_view_close(v);
    }
    free(k.seen);
    arena_free(a);
    return k.wrongs == 0;
}

/* --- the story ----------------------------------------------------------------------------------- */

struct story {
    struct ledger *l;
    const char *dir;
    struct tsdb *db;
    uint32_t next;
    enum err first;
};

static void met(struct story *s, enum err e)
{
    if (s->first == ERR_OK)
        s->first = e;
}

static bool story_open(struct story *s)
{
    struct tsdb_options o = ledger_options(s->dir);
    struct err_msg msg = {""};
    enum err e = tsdb_open(&o, &s->db, &msg);
    met(s, e);
    if (e != ERR_OK)
        s->db = NULL;
    return e == ERR_OK;
}

/* Two at a time: they share a commit, or follow each other. */
static void story_send(struct story *s, uint32_t pairs)
{
    for (uint32_t i = 0; i < pairs; i++) {
        for (int k = 0; k < 2; k++)
            met(s, ledger_send(s->l, s->db, s->next++));
        ledger_wait(s->l);
    }
}

static void story_flush(struct story *s, bool compact)
{
    struct err_msg msg = {""};
    met(s, tsdb_flush(s->db, compact, &msg));
}

uint32_t ledger_story(struct ledger *l, const char *dir, enum err *out_error)
{
    struct story s = {.l = l, .dir = dir};
    ledger_clock(0);
    if (story_open(&s)) {
        story_send(&s, 1);
        story_flush(&s, false); /* new days */
        story_send(&s, 2);
        story_flush(&s, false); /* into days that exist */
        story_send(&s, 1);
        story_flush(&s, true); /* generations become one */
        story_send(&s, 1);
        tsdb_close(s.db, false);
    }
    if (story_open(&s)) { /* replay */
        story_send(&s, 1);
        story_flush(&s, true);
        story_send(&s, 1);
        ledger_clock(3);
        atomic_store(&l->is_retention, true);
        if (l->watch)
            l->watch(LEDGER_RETENTION, 0);
        retention_now(s.db);
        story_send(&s, 1);
        tsdb_close(s.db, true);
    }
    for (uint32_t i = 0; i < s.next; i++)
        if (atomic_load(&l->said[i]) >= LEDGER_REFUSED)
            met(&s, ERR_IO);
    *out_error = s.first;
    return s.next;
}
