/* One alert of a rule as bytes: 1 version, identity, name, group, labels, annotations, state, value, times, who was told. */
#include "detectors/rule_book.h"

#include "base/check.h"
#include "tsdb/tsdb_versions.h"

void rule_record_encode(const struct rule_record *x, struct buf *out)
{
    const struct rule_alert *a = &x->alert;
    buf_u8(out, FORMAT_RULE);
    buf_u64(out, x->identity);
    buf_lenbytes(out, x->name);
    buf_lenbytes(out, x->group);
    buf_lenbytes(out, a->labels.enc);
    buf_lenbytes(out, a->annotations.enc);
    buf_u8(out, (uint8_t)a->state);
    buf_f64(out, a->value);
    buf_zigzag(out, a->active_ms);
    buf_zigzag(out, a->fired_ms);
    buf_zigzag(out, a->resolved_ms);
    buf_zigzag(out, a->keep_since_ms);
    buf_varint(out, a->told_count);
    for (uint32_t i = 0; i < a->told_count; i++)
        buf_u32(out, a->told[i]);
}

enum err rule_record_decode(struct bytes b, struct rule_record *out)
{
    struct reader r = reader_of(b);
    *out = (struct rule_record){0};
    struct rule_alert *a = &out->alert;
    enum err e = tsdb_versions_check("an alert of a rule", reader_u8(&r), FORMAT_RULE);
    if (e != ERR_OK)
        return e;
    out->identity = reader_u64(&r);
    out->name = reader_lenbytes(&r);
    out->group = reader_lenbytes(&r);
    a->labels.enc = reader_lenbytes(&r);
    a->annotations.enc = reader_lenbytes(&r);
    uint8_t state = reader_u8(&r);
    a->state = (enum rule_alert_state)state;
    a->value = reader_f64(&r);
    a->active_ms = reader_zigzag(&r);
    a->fired_ms = reader_zigzag(&r);
    a->resolved_ms = reader_zigzag(&r);
    a->keep_since_ms = reader_zigzag(&r);
    uint64_t told = reader_varint(&r);
    if (r.failed || told > DETECTORS_RECEIVERS_MAX || state > RULE_FIRING)
        return ERR_CORRUPT;
    a->told_count = (uint32_t)told;
    for (uint32_t i = 0; i < a->told_count; i++)
        a->told[i] = reader_u32(&r);
    if (r.failed || tsdb_labels_check(a->labels.enc) != ERR_OK ||
        tsdb_labels_check(a->annotations.enc) != ERR_OK)
        return ERR_CORRUPT;
    return ERR_OK;
}

void rule_cursor_encode(int64_t last_ms, struct buf *out)
{
    buf_u8(out, FORMAT_RULE);
    buf_zigzag(out, last_ms);
}

enum err rule_cursor_decode(struct bytes b, int64_t *out_last_ms)
{
    struct reader r = reader_of(b);
    enum err e = tsdb_versions_check("the last evaluation of a group", reader_u8(&r), FORMAT_RULE);
    int64_t last_ms = e == ERR_OK ? reader_zigzag(&r) : 0;
    if (e != ERR_OK || r.failed)
        return e != ERR_OK ? e : ERR_CORRUPT;
    *out_last_ms = last_ms;
    return ERR_OK;
}
