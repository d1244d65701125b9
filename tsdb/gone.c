#include "tsdb/gone.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "base/fault_point.h"
#include "base/log.h"
#include "tsdb/pin.h"
#include "tsdb/store.h"
#include "tsdb/tsdb_state.h"

#define TABLE "rows_gone"
#define PENDING BYTES_LIT("pending")
#define TOTALS BYTES_LIT("total")
#define ROWS_MAX (ACCOUNT_ROWS_MAX * 2)

void gone_write(const struct gone_rows *g, struct buf *out)
{
    buf_varint(out, g->decided);
    buf_varint(out, g->superseded);
    buf_varint(out, g->sampled_out);
}

bool gone_read(struct bytes block, struct gone_rows *out)
{
    struct reader r = reader_of(block);
    struct gone_rows g = {.decided = reader_varint(&r)};
    g.superseded = reader_varint(&r);
    g.sampled_out = reader_varint(&r);
    if (r.failed || reader_left(&r))
        return false;
    *out = g;
    return true;
}

struct gone_rows gone_of(const struct part_snapshot *p, uint32_t org)
{
    struct gone_rows g = {0};
    size_t n;
    const struct block_meta *m = part_snapshot_blocks(p, &n);
    for (size_t i = 0; i < n; i++)
        if (m[i].key.org == org && m[i].key.kind == BLOCK_GONE)
            (void)gone_read(m[i].summary, &g); /* nothing: zero */
    return g;
}

/* --- lists: one line for (org, signal) ---------------------------------------------------------------- */

struct line {
    uint32_t org;
    uint8_t signal;
    uint64_t expired, superseded, sampled_out;
};
struct list {
    uint32_t day; /* of what is pending */
    struct line *lines;
    size_t n;
};

static struct line *line_of(struct list *l, uint32_t org, uint8_t signal)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->lines[i].org == org && l->lines[i].signal == signal)
            return &l->lines[i];
    if (l->n == ROWS_MAX)
        return NULL;
    struct line *more = realloc(l->lines, (l->n + 1) * sizeof(*more));
    if (!more)
        return NULL;
    l->lines = more;
    more[l->n] = (struct line){.org = org, .signal = signal};
    return &more[l->n++];
}

static void list_write(const struct list *l, struct buf *out)
{
    buf_varint(out, l->day);
    buf_varint(out, l->n);
    for (size_t i = 0; i < l->n; i++) {
        buf_varint(out, l->lines[i].org);
        buf_u8(out, l->lines[i].signal);
        buf_varint(out, l->lines[i].expired);
        buf_varint(out, l->lines[i].superseded);
        buf_varint(out, l->lines[i].sampled_out);
    }
}

/* Adds to what l has. */
static bool list_read(struct bytes text, struct list *l)
{
    struct reader r = reader_of(text);
    l->day = (uint32_t)reader_varint(&r);
    uint64_t n = reader_varint(&r);
    for (uint64_t i = 0; i < n && !r.failed; i++) {
        uint32_t org = (uint32_t)reader_varint(&r);
        struct line *x = line_of(l, org, reader_u8(&r));
        if (!x)
            return false;
        x->expired += reader_varint(&r);
        x->superseded += reader_varint(&r);
        x->sampled_out += reader_varint(&r);
    }
    return !r.failed;
}

/* What the rows of a part are and were. */
static bool list_of(const struct part_snapshot *p, struct list *l)
{
    size_t n;
    const struct block_meta *m = part_snapshot_blocks(p, &n);
    for (size_t i = 0; i < n; i++) {
        uint8_t kind = m[i].key.kind;
        if (kind != BLOCK_SPANS && kind != BLOCK_LOGS && kind != BLOCK_GONE)
            continue;
        struct line *x = line_of(l, m[i].key.org, kind == BLOCK_LOGS ? TSDB_LOGS : TSDB_SPANS);
        struct gone_rows g = {0};
        if (!x)
            return false;
        if (kind == BLOCK_GONE)
            (void)gone_read(m[i].summary, &g);
        else
            x->expired += m[i].rows;
        x->superseded += g.superseded;
        x->sampled_out += g.sampled_out;
    }
    return true;
}

/* --- dropping ------------------------------------------------------------------------------------------ */

enum err gone_drop_begin(struct tsdb *db, struct part *p, struct err_msg *msg)
{
    struct list l = {.day = part_day(p)};
    struct tsdb_state_write *w;
    struct buf text = {0};
    gone_start(db); /* an earlier one that could not be finished */
    struct part_snapshot *s = part_snapshot_new(p, UINT64_MAX);
    enum err e = s && list_of(s, &l) ? ERR_OK : ERR_NOMEM;
    part_snapshot_release(s);
    list_write(&l, &text);
    if (e == ERR_OK && !buf_ok(&text))
        e = ERR_NOMEM;
    if (e == ERR_OK)
        e = tsdb_state_begin(db, &w);
    if (e == ERR_OK) {
        e = tsdb_state_put(w, TABLE, PENDING, buf_bytes(&text));
        if (e == ERR_OK)
            e = tsdb_state_commit(w);
        else
            tsdb_state_abort(w);
    }
    buf_done(&text);
    free(l.lines);
    return e == ERR_OK ? e : err_set(msg, e, "its rows cannot be counted out: %s", err_text(e));
}

/* What is pending becomes part of the totals, or nothing. */
static enum err settle(struct tsdb *db, bool is_dropped)
{
    struct list l = {0};
    struct bytes text;
    struct buf out = {0};
    struct tsdb_state_write *w;
    enum err e = tsdb_state_begin(db, &w);
    if (e != ERR_OK)
        return e;
    e = tsdb_state_read(w, TABLE, PENDING, &text);
    bool ok = e == ERR_OK && (!is_dropped || list_read(text, &l));
    if (ok && is_dropped && tsdb_state_read(w, TABLE, TOTALS, &text) == ERR_OK)
        ok = list_read(text, &l);
    if (ok && is_dropped) {
        l.day = 0;
        list_write(&l, &out);
        ok = buf_ok(&out) && tsdb_state_put(w, TABLE, TOTALS, buf_bytes(&out)) == ERR_OK;
    }
    ok = ok && tsdb_state_del(w, TABLE, PENDING) == ERR_OK;
    if (ok) {
        e = tsdb_state_commit(w);
    } else {
        tsdb_state_abort(w);
        e = e == ERR_OK ? ERR_NOMEM : e;
    }
    buf_done(&out);
    free(l.lines);
    return e;
}

void gone_drop_end(struct tsdb *db, bool is_dropped)
{
    fault_point("retention.before_count");
    enum err e = settle(db, is_dropped);
    if (e != ERR_OK && e != ERR_NOT_FOUND)
        log_warn("store", "expired rows are counted at the next start: %s", err_text(e));
}

void gone_start(struct tsdb *db)
{
    struct arena *a = arena_new(0);
    struct list l = {0};
    struct bytes text;
    if (a && tsdb_state_get(db, TABLE, PENDING, a, &text) == ERR_OK && list_read(text, &l)) {
        char path[FILES_PATH_MAX];
        time_t t = (time_t)l.day * 86400;
        struct tm tm;
        gmtime_r(&t, &tm);
        snprintf(path, sizeof(path), "%s/parts/%04d%02d%02d/%s", db->dir, tm.tm_year + 1900,
                 tm.tm_mon + 1, tm.tm_mday, part_class_name(PART_ROWS));
        gone_drop_end(db, access(path, F_OK) != 0);
    }
    free(l.lines);
    arena_free(a);
}

/* --- accounts ------------------------------------------------------------------------------------------ */

void gone_accounts(struct tsdb *db, struct tsdb_account *rows, size_t n)
{
    struct arena *a = arena_new(0);
    struct list l = {0};
    struct bytes text;
    struct pin pin;
    struct err_msg msg;
    if (a && tsdb_state_get(db, TABLE, TOTALS, a, &text) == ERR_OK)
        (void)list_read(text, &l);
    if (pin_take(db, &pin, &msg) == ERR_OK) {
        for (size_t i = 0; i < pin.part_count; i++) {
            size_t count = 0;
            const struct block_meta *m = part_snapshot_class(pin.parts[i]) == PART_ROWS
                                             ? part_snapshot_blocks(pin.parts[i], &count)
                                             : NULL;
            for (size_t k = 0; k < count; k++) {
                struct gone_rows g;
                struct line *x = m[k].key.kind == BLOCK_GONE && gone_read(m[k].summary, &g)
                                     ? line_of(&l, m[k].key.org, TSDB_SPANS)
                                     : NULL;
                if (x) {
                    x->superseded += g.superseded;
                    x->sampled_out += g.sampled_out;
                }
            }
        }
        pin_release(db, &pin);
    }
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < l.n; k++)
            if (rows[i].org == l.lines[k].org && rows[i].signal == l.lines[k].signal) {
                rows[i].expired = l.lines[k].expired;
                rows[i].superseded = l.lines[k].superseded;
                rows[i].sampled_out = l.lines[k].sampled_out;
            }
    free(l.lines);
    arena_free(a);
}
