#include "detectors/alert.h"
#include "base/check.h"
#include "base/hash.h"
#include "tsdb/tsdb_versions.h"
#include <stdio.h>
#include <stdlib.h>

static int pair_order(const void *a, const void *b)
{
    const struct query_slo_pair *x = a, *y = b;
    return bytes_compare(x->name, y->name);
}

void alert_fingerprint(const char *slo_id, const char *rule, const struct query_slo_pair *labels,
                       uint32_t label_count, uint32_t start_minute, char out[33])
{
    struct buf b;
    buf_init(&b, 0);
    buf_lenbytes(&b, bytes_str(slo_id));
    buf_lenbytes(&b, bytes_str(rule));
    struct query_slo_pair sorted[64];
    uint32_t n = MIN(label_count, (uint32_t)ARRAY_LEN(sorted));
    for (uint32_t i = 0; i < n; i++)
        sorted[i] = labels[i];
    qsort(sorted, n, sizeof(*sorted), pair_order);
    for (uint32_t i = 0; i < n; i++) {
        buf_lenbytes(&b, sorted[i].name);
        buf_lenbytes(&b, sorted[i].value);
    }
    buf_u32(&b, start_minute);
    struct hash128 h = hash128(buf_bytes(&b), 0);
    uint8_t raw[16];
    bytes_put_u64be(raw, h.hi);
    bytes_put_u64be(raw + 8, h.lo);
    bytes_to_hex(bytes_of(raw, sizeof(raw)), out);
    buf_done(&b);
}

static bool burns(const struct alert_input *in)
{
    return in->verdict == QUERY_SLO_BURNS_TICKET || in->verdict == QUERY_SLO_BURNS_PAGE;
}

static enum alert_event fire(struct alert *a, const struct alert_input *in)
{
    a->state = DETECTORS_FIRING;
    a->fired_ms = in->now_ms;
    return ALERT_FIRED;
}

enum alert_event alert_open(struct alert *a, const struct alert_input *in, uint32_t start_minute)
{
    CHECK(burns(in));
    a->state = DETECTORS_PENDING;
    a->start_minute = start_minute;
    a->opened_minute = a->last_true_minute = in->horizon;
    a->severity = in->verdict == QUERY_SLO_BURNS_PAGE ? QUERY_SLO_PAGE : QUERY_SLO_TICKET;
    return in->after_minutes == 0 ? fire(a, in) : ALERT_NOTHING;
}

static enum alert_event step_firing(struct alert *a, const struct alert_input *in)
{
    bool holds = burns(in) || (in->verdict == QUERY_SLO_QUIET && !in->eased) ||
                 (in->verdict == QUERY_SLO_NO_EVENTS && in->no_data != QUERY_SLO_NO_DATA_OK);
    if (holds) {
        a->last_true_minute = in->horizon;
        if (in->verdict == QUERY_SLO_BURNS_PAGE && a->severity == QUERY_SLO_TICKET) {
            a->severity = QUERY_SLO_PAGE;
            a->steps++;
            return ALERT_STEPPED;
        }
        return ALERT_NOTHING;
    }
    if (in->horizon < a->last_true_minute + in->resolve_minutes)
        return ALERT_NOTHING;
    a->state = DETECTORS_RESOLVED;
    a->resolved_ms = in->now_ms;
    return ALERT_RESOLVED;
}

enum alert_event alert_step(struct alert *a, const struct alert_input *in)
{
    switch (a->state) {
    case DETECTORS_PENDING:
        if (!burns(in))
            return ALERT_DROPPED;
        a->last_true_minute = in->horizon;
        if (in->verdict == QUERY_SLO_BURNS_PAGE)
            a->severity = QUERY_SLO_PAGE;
        return in->horizon >= a->opened_minute + in->after_minutes ? fire(a, in) : ALERT_NOTHING;
    case DETECTORS_FIRING: return step_firing(a, in);
    default: return ALERT_NOTHING;
    }
}

bool alert_expired(const struct alert *a, int64_t now_ms)
{
    return a->state == DETECTORS_RESOLVED && now_ms - a->resolved_ms > ALERT_KEEP_RESOLVED_MS;
}

/* --- one cause ----------------------------------------------------------------------------------- */

void alert_blame(struct alert *a, const struct query_slo_blame *b)
{
    bool by_provider = b->provider.size && b->provider_share >= ALERT_CAUSE_SHARE,
         by_model = !b->provider.size && b->model.size && b->model_share >= ALERT_CAUSE_SHARE;
    struct bytes who = by_provider ? b->provider : b->model;
    a->cause[0] = 0;
    if ((by_provider || by_model) && b->region.size && b->region_share >= ALERT_CAUSE_SHARE &&
        who.size + b->region.size + 5 <= ALERT_CAUSE_MAX)
        snprintf(a->cause, sizeof(a->cause), BYTES_FMT " in " BYTES_FMT, BYTES_ARG(who),
                 BYTES_ARG(b->region));
}

bool alert_shares_cause(const struct alert *x, const struct alert *y)
{
    uint32_t apart = x->start_minute > y->start_minute ? x->start_minute - y->start_minute
                                                       : y->start_minute - x->start_minute;
    return x->cause[0] && strcmp(x->cause, y->cause) == 0 && strcmp(x->service, y->service) != 0 &&
           x->severity == QUERY_SLO_PAGE && y->severity == QUERY_SLO_PAGE &&
           apart <= ALERT_CAUSE_MINUTES;
}

/* --- who knows ----------------------------------------------------------------------------------- */

uint32_t alert_receiver_hash(const char *name)
{
    return (uint32_t)hash64(bytes_str(name), 0);
}

bool alert_was_told(const struct alert *a, uint32_t receiver_hash)
{
    for (uint32_t i = 0; i < a->told_count; i++)
        if (a->told[i] == receiver_hash)
            return true;
    return false;
}

void alert_tell(struct alert *a, uint32_t receiver_hash)
{
    if (alert_was_told(a, receiver_hash))
        return;
    if (a->told_count == DETECTORS_RECEIVERS_MAX) { /* receivers were renamed: forget the oldest */
        memmove(a->told, a->told + 1, (DETECTORS_RECEIVERS_MAX - 1) * sizeof(a->told[0]));
        a->told_count--;
    }
    a->told[a->told_count++] = receiver_hash;
}

/* --- bytes --------------------------------------------------------------------------------------- */

void alert_encode(const struct alert *a, struct buf *out)
{
    buf_u8(out, FORMAT_ALERT);
    buf_lenbytes(out, bytes_str(a->fingerprint));
    buf_lenbytes(out, bytes_str(a->slo_id));
    buf_lenbytes(out, bytes_str(a->service));
    buf_lenbytes(out, bytes_str(a->rule));
    buf_u8(out, (uint8_t)a->severity);
    buf_u8(out, (uint8_t)a->state);
    buf_varint(out, a->start_minute);
    buf_varint(out, a->opened_minute);
    buf_varint(out, a->last_true_minute);
    buf_zigzag(out, a->fired_ms);
    buf_zigzag(out, a->resolved_ms);
    buf_varint(out, a->steps);
    buf_f64(out, a->long_burn);
    buf_f64(out, a->short_burn);
    buf_f64(out, a->factor);
    buf_f64(out, a->budget_left);
    buf_f64(out, a->exhaustion_minutes);
    buf_varint(out, a->long_minutes);
    buf_varint(out, a->short_minutes);
    buf_zigzag(out, a->bad);
    buf_zigzag(out, a->eligible);
    buf_lenbytes(out, bytes_str(a->summary));
    buf_lenbytes(out, bytes_str(a->sentence));
    buf_varint(out, a->trace_count);
    for (uint32_t i = 0; i < a->trace_count; i++)
        buf_lenbytes(out, bytes_str(a->traces[i]));
    buf_varint(out, a->told_count);
    for (uint32_t i = 0; i < a->told_count; i++)
        buf_u32(out, a->told[i]);
    buf_lenbytes(out, bytes_str(a->cause));
    buf_lenbytes(out, bytes_str(a->changed));
}

static void read_text(struct reader *r, char *out, size_t size)
{
    struct bytes b = reader_lenbytes(r);
    if (b.size >= size || (b.size && memchr(b.data, 0, b.size))) {
        r->failed = true;
        b.size = 0;
    }
    if (b.size)
        memcpy(out, b.data, b.size);
    out[b.size] = 0;
}

static uint32_t read_u32(struct reader *r)
{
    uint64_t v = reader_varint(r);
    if (v > UINT32_MAX)
        r->failed = true;
    return (uint32_t)v;
}

enum err alert_decode(struct bytes b, struct alert *out)
{
    struct reader r = reader_of(b);
    struct alert *a = out;
    *a = (struct alert){0};
    enum err e = tsdb_versions_check("an alert", reader_u8(&r), FORMAT_ALERT);
    if (e != ERR_OK)
        return e;
    read_text(&r, a->fingerprint, sizeof(a->fingerprint));
    read_text(&r, a->slo_id, sizeof(a->slo_id));
    read_text(&r, a->service, sizeof(a->service));
    read_text(&r, a->rule, sizeof(a->rule));
    uint8_t severity = reader_u8(&r), state = reader_u8(&r);
    a->severity = severity == QUERY_SLO_PAGE ? QUERY_SLO_PAGE : QUERY_SLO_TICKET;
    a->state = (enum detectors_state)state;
    a->start_minute = read_u32(&r);
    a->opened_minute = read_u32(&r);
    a->last_true_minute = read_u32(&r);
    a->fired_ms = reader_zigzag(&r);
    a->resolved_ms = reader_zigzag(&r);
    a->steps = read_u32(&r);
    a->long_burn = reader_f64(&r);
    a->short_burn = reader_f64(&r);
    a->factor = reader_f64(&r);
    a->budget_left = reader_f64(&r);
    a->exhaustion_minutes = reader_f64(&r);
    a->long_minutes = read_u32(&r);
    a->short_minutes = read_u32(&r);
    a->bad = reader_zigzag(&r);
    a->eligible = reader_zigzag(&r);
    read_text(&r, a->summary, sizeof(a->summary));
    read_text(&r, a->sentence, sizeof(a->sentence));
    a->trace_count = read_u32(&r);
    if (a->trace_count > ALERT_TRACES_MAX)
        return ERR_CORRUPT;
    for (uint32_t i = 0; i < a->trace_count; i++)
        read_text(&r, a->traces[i], sizeof(a->traces[i]));
    a->told_count = read_u32(&r);
    if (a->told_count > DETECTORS_RECEIVERS_MAX)
        return ERR_CORRUPT;
    for (uint32_t i = 0; i < a->told_count; i++)
        a->told[i] = reader_u32(&r);
    if (!r.failed && reader_left(&r)) /* rows that were written before have none */
        read_text(&r, a->cause, sizeof(a->cause));
    if (!r.failed && reader_left(&r))
        read_text(&r, a->changed, sizeof(a->changed));
    bool known_state =
        state == DETECTORS_PENDING || state == DETECTORS_FIRING || state == DETECTORS_RESOLVED;
    return r.failed || !known_state || severity > QUERY_SLO_TICKET ? ERR_CORRUPT : ERR_OK;
}
