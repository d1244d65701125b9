#include "collector/remote_write.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/hash.h"
#include "collector/otlp/otlp_memo.h"
#include "collector/otlp/otlp_schema.h"
#include "collector/otlp/otlp_wire.h"

#define STALE_BITS UINT64_C(0x7ff0000000000002)

struct decoder {
    const struct otlp_decode_options *o;
    struct tsdb_batch *b;
    struct remote_write_written *written;
    struct arena *scratch; /* of one series */
    int64_t ceiling_ms;
    uint64_t rows;
};

static enum err full(void)
{
    return ERR_TOO_LARGE;
}

/* --- labels to a series --------------------------------------------------------------------------- */

static struct tsdb_label read_label(struct bytes wire)
{
    struct otlp_wire w = otlp_wire_of(wire);
    struct otlp_wire_field f;
    struct tsdb_label l = {BYTES_NONE, BYTES_NONE};
    while (otlp_wire_next(&w, &f) == OTLP_WIRE_FIELD) {
        if (f.number == 1)
            l.name = f.bytes;
        else if (f.number == 2)
            l.value = f.bytes;
    }
    return l;
}

/* The labels lead the message in every known sender: they are hashed as they lie. */
static struct bytes label_region(struct bytes series)
{
    struct otlp_wire w = otlp_wire_of(series);
    struct otlp_wire_field f;
    const uint8_t *end = w.at;
    while (otlp_wire_next(&w, &f) == OTLP_WIRE_FIELD && f.number == 1)
        end = w.at;
    return series.data ? bytes_of(series.data, (size_t)(end - series.data)) : BYTES_NONE;
}

/* memcmp for the few bytes of a name or a value, without a call. */
static inline bool same(const uint8_t *a, const uint8_t *b, size_t n)
{
    if (n < 8) {
        uint8_t differs = 0;
        for (size_t i = 0; i < n; i++)
            differs |= a[i] ^ b[i];
        return !differs;
    }
    for (size_t i = 0; i + 8 <= n; i += 8)
        if (bytes_u64le(a + i) != bytes_u64le(b + i))
            return false;
    return bytes_u64le(a + n - 8) == bytes_u64le(b + n - 8);
}

/* One label as every encoder writes it, name then value, all lengths below 128, against the canonical form at `known`, which differs in
 * the framing only:      sent   0a L 0a N name 12 V value          known   N name V value
 * Gives the canonical bytes it equals, 0 if it is anything else. */
static inline size_t label_is(struct bytes sent, const uint8_t *known, size_t known_size)
{
    const uint8_t *p = sent.data;
    if (sent.size < 4 || p[0] != 0x0a || p[1] >= 0x80 || known_size < 2 || known[0] != p[1])
        return 0;
    size_t n = p[1];
    if (sent.size < n + 4 || known_size < n + 2 || p[n + 2] != 0x12 || p[n + 3] >= 0x80 ||
        known[n + 1] != p[n + 3])
        return 0;
    size_t v = p[n + 3];
    if (sent.size != n + v + 4 || known_size < n + v + 2 || !same(p + 2, known + 1, n) ||
        !same(p + n + 4, known + n + 2, v))
        return 0;
    return n + v + 2;
}

/* Does the message begin with just these canonical labels, in this order? Gives how many bytes they take there, 0 if not. */
static size_t labels_lead(struct bytes message, struct bytes known)
{
    struct otlp_wire w = otlp_wire_of(message);
    struct otlp_wire_field f;
    while (known.size) {
        size_t n =
            otlp_wire_next(&w, &f) == OTLP_WIRE_FIELD && f.number == 1 && f.type == OTLP_WIRE_LEN
                ? label_is(f.bytes, known.data, known.size)
                : 0;
        if (!n)
            return 0;
        known = bytes_slice(known, n, known.size);
    }
    return message.data ? (size_t)(w.at - message.data) : 0;
}

static bool labels_are(struct bytes region, const struct tsdb_series_info *info)
{
    struct otlp_wire w = otlp_wire_of(region);
    struct otlp_wire_field f;
    const uint8_t *known = info->labels.enc.data;
    size_t left = info->labels.enc.size;
    while (otlp_wire_next(&w, &f) == OTLP_WIRE_FIELD) {
        size_t n = label_is(f.bytes, known, left);
        if (!n)
            return false;
        known += n;
        left -= n;
    }
    return left == 0;
}

/* Are all labels of the message in its region? Else it has some behind its samples and nothing may be guessed. */
static bool region_is_all(struct bytes series, struct bytes region)
{
    struct otlp_wire w = otlp_wire_of(series);
    struct otlp_wire_field f;
    w.at += region.size;
    while (otlp_wire_next(&w, &f) == OTLP_WIRE_FIELD)
        if (f.number == 1)
            return false;
    return true;
}

static const char *fix_labels(struct tsdb_label *labels, unsigned *n)
{
    struct tsdb_label *job = NULL, *exported = NULL;
    bool has_name = false;
    for (unsigned i = 0; i < *n; i++) {
        has_name |= bytes_equal_str(labels[i].name, "__name__") && labels[i].value.size;
        if (bytes_equal_str(labels[i].name, "job"))
            job = &labels[i];
        else if (bytes_equal_str(labels[i].name, "exported_job"))
            exported = &labels[i];
    }
    if (!has_name)
        return "a series without a name";
    if (job && bytes_equal_str(job->value, "telltale")) { /* that job is our own */
        if (exported) {
            exported->value = job->value;
            *job = labels[--*n];
        } else {
            job->name = BYTES_LIT("exported_job");
        }
    }
    return NULL;
}

/* ERR_INVALID: out_why and out_msg say why its samples are refused. */
static enum err resolve(struct decoder *d, struct bytes series, struct tsdb_ref *out,
                        enum tsdb_reject *out_why, struct err_msg *out_msg)
{
    struct bytes region = label_region(series);
    struct hash128 key = hash128(region, otlp_memo_seed() + d->o->org);
    if (otlp_memo_find(d->o->series, d->o->org, TSDB_SERIES_SAMPLES, key, out) &&
        labels_are(region, tsdb_registry_info(d->o->series, *out)) &&
        region_is_all(series, region)) {
        otlp_memo_keep(*out, region);
        return ERR_OK;
    }
    struct tsdb_label labels[TSDB_LABELS_MAX];
    struct tsdb_labels built;
    unsigned n = 0;
    struct otlp_wire w = otlp_wire_of(series);
    struct otlp_wire_field f;
    *out_why = TSDB_REJECT_BAD_LABELS;
    while (otlp_wire_next(&w, &f) == OTLP_WIRE_FIELD) {
        if (f.number != 1)
            continue;
        if (n == TSDB_LABELS_MAX)
            return err_set(out_msg, ERR_INVALID, "a series of more than %u labels",
                           TSDB_LABELS_MAX);
        labels[n++] = read_label(f.bytes);
    }
    const char *fault = fix_labels(labels, &n);
    if (fault)
        return err_set(out_msg, ERR_INVALID, "%s", fault);
    arena_reset(d->scratch);
    if (tsdb_labels_build(labels, n, d->scratch, &built, out_msg) != ERR_OK)
        return ERR_INVALID;
    enum err e = tsdb_registry_ref(d->o->series, d->o->org, TSDB_SERIES_SAMPLES, built, out);
    if (e == ERR_OK) {
        otlp_memo_put(d->o->series, key, *out);
        if (region_is_all(series, region))
            otlp_memo_keep(*out, region);
    }
    if (e != ERR_LIMIT)
        return e;
    *out_why = TSDB_REJECT_CARDINALITY;
    return err_set(out_msg, ERR_INVALID, "the limit of series is reached; new series are refused");
}

/* --- rows ----------------------------------------------------------------------------------------- */

static bool time_is_fine(struct decoder *d, int64_t t_ms)
{
    if (t_ms >= d->o->floor_ms && t_ms <= d->ceiling_ms)
        return true;
    bool old = t_ms < d->o->floor_ms;
    tsdb_batch_reject(d->b, old ? TSDB_REJECT_TOO_OLD : TSDB_REJECT_TOO_NEW,
                      old ? "a sample at %lld ms is older than the retention keeps (%lld ms)"
                          : "a sample at %lld ms is more than 10 minutes ahead (%lld ms)",
                      (long long)t_ms, (long long)(old ? d->o->floor_ms : d->ceiling_ms));
    return false;
}

/* Where a counter begins cannot be later than what it counted. */
static int64_t sound_start(int64_t start_ms, int64_t t_ms)
{
    return start_ms > 0 && start_ms <= t_ms ? start_ms : 0;
}

static enum err keep_sample(struct decoder *d, struct tsdb_ref ref, int64_t t_ms, double value,
                            int64_t start_ms)
{
    if (!time_is_fine(d, t_ms))
        return ERR_OK;
    d->written->samples++;
    return tsdb_batch_add_sample(d->b, ref, t_ms, value, sound_start(start_ms, t_ms)) ? ERR_OK
                                                                                      : full();
}

static enum err add_sample(struct decoder *d, struct tsdb_ref ref, struct bytes wire)
{
    struct otlp_wire w = otlp_wire_of(wire);
    struct otlp_wire_field f;
    double value = 0;
    int64_t t_ms = 0, start_ms = 0;
    while (otlp_wire_next(&w, &f) == OTLP_WIRE_FIELD) {
        if (f.number == 1)
            value = otlp_wire_f64(f.value);
        else if (f.number == 2)
            t_ms = (int64_t)f.value;
        else if (f.number == 3)
            start_ms = (int64_t)f.value;
    }
    return keep_sample(d, ref, t_ms, value, start_ms);
}

/* What nearly every series has behind its labels: one sample, value (left out when 0) and time, and nothing else.
 *      12 L [09 value] 10 time */
static bool read_only_sample(struct bytes wire, double *out_value, int64_t *out_t_ms)
{
    const uint8_t *p = wire.data;
    if (wire.size < 4 || wire.size - 2 >= 0x80 || p[0] != 0x12 || p[1] != wire.size - 2)
        return false;
    struct otlp_wire w = {p + 2, p + wire.size};
    *out_value = 0;
    if (*w.at == 0x09) {
        if (wire.size < 13)
            return false;
        *out_value = otlp_wire_f64(bytes_u64le(w.at + 1));
        w.at += 9;
    }
    uint64_t t;
    if (*w.at++ != 0x10 || !otlp_wire_varint(&w, &t) || w.at != w.end)
        return false;
    *out_t_ms = (int64_t)t;
    return true;
}

static enum err add_exemplar(struct decoder *d, struct tsdb_ref ref, struct bytes wire)
{
    struct tsdb_label labels[TSDB_LABELS_MAX];
    struct tsdb_labels built;
    unsigned n = 0;
    double value = 0;
    int64_t t_ms = 0;
    struct otlp_wire w = otlp_wire_of(wire);
    struct otlp_wire_field f;
    while (otlp_wire_next(&w, &f) == OTLP_WIRE_FIELD) {
        if (f.number == 1 && n < TSDB_LABELS_MAX)
            labels[n++] = read_label(f.bytes);
        else if (f.number == 2)
            value = otlp_wire_f64(f.value);
        else if (f.number == 3)
            t_ms = (int64_t)f.value;
    }
    if (t_ms < d->o->floor_ms || t_ms > d->ceiling_ms ||
        tsdb_labels_build(labels, n, d->b->arena, &built, NULL) != ERR_OK)
        return ERR_OK; /* an example only; its sample stands */
    d->written->exemplars++;
    return tsdb_batch_add_exemplar(d->b, ref, t_ms, value, built) ? ERR_OK : full();
}

/* --- histograms ----------------------------------------------------------------------------------- */

struct side {
    struct tsdb_hist_span *spans;
    double *counts;
    size_t span_n, count_n;
};

static size_t count_numbers(const struct otlp_wire_field *f, bool is_varint)
{
    if (f->type != OTLP_WIRE_LEN)
        return 1;
    if (!is_varint)
        return f->bytes.size / 8;
    size_t n = 0;
    for (size_t i = 0; i < f->bytes.size; i++)
        n += f->bytes.data[i] < 0x80;
    return n;
}

static void read_span(struct bytes wire, struct tsdb_hist_span *out)
{
    struct otlp_wire w = otlp_wire_of(wire);
    struct otlp_wire_field f;
    *out = (struct tsdb_hist_span){0, 0};
    while (otlp_wire_next(&w, &f) == OTLP_WIRE_FIELD) {
        if (f.number == 1)
            out->offset = (int32_t)otlp_wire_zigzag(f.value);
        else if (f.number == 2)
            out->length = (uint32_t)f.value;
    }
}

/* Appends the numbers of one field: differences (zigzag varints) become absolute counts, doubles are taken as they are. */
static void read_counts(const struct otlp_wire_field *f, bool is_delta, double *counts, size_t *n,
                        int64_t *running)
{
    struct otlp_wire in = otlp_wire_of(f->bytes);
    bool single = f->type != OTLP_WIRE_LEN;
    while (single || in.at != in.end) {
        uint64_t v = f->value;
        if (!single && is_delta && !otlp_wire_varint(&in, &v))
            return;
        if (!single && !is_delta) {
            v = bytes_u64le(in.at);
            in.at += 8;
        }
        if (is_delta) {
            *running = (int64_t)((uint64_t)*running + (uint64_t)otlp_wire_zigzag(v));
            counts[(*n)++] = (double)*running;
        } else {
            counts[(*n)++] = otlp_wire_f64(v);
        }
        if (single)
            return;
    }
}

/* Fields spans, deltas, counts of one side. */
static bool read_side(struct decoder *d, struct bytes wire, uint32_t spans, struct side *s)
{
    struct otlp_wire w = otlp_wire_of(wire);
    struct otlp_wire_field f;
    size_t numbers = 0, span_n = 0;
    int64_t running = 0;
    *s = (struct side){.span_n = 0};
    while (otlp_wire_next(&w, &f) == OTLP_WIRE_FIELD) {
        span_n += f.number == spans;
        if (f.number == spans + 1 || f.number == spans + 2)
            numbers += count_numbers(&f, f.number == spans + 1);
    }
    if (numbers > TSDB_HIST_BUCKETS_MAX || span_n > TSDB_HIST_BUCKETS_MAX)
        return false;
    s->spans = ARENA_ARRAY(d->scratch, struct tsdb_hist_span, span_n + 1);
    s->counts = ARENA_ARRAY(d->scratch, double, numbers + 1);
    if (!s->spans || !s->counts)
        return false;
    w = otlp_wire_of(wire);
    while (otlp_wire_next(&w, &f) == OTLP_WIRE_FIELD) {
        if (f.number == spans)
            read_span(f.bytes, &s->spans[s->span_n++]);
        else if (f.number == spans + 1 || f.number == spans + 2)
            read_counts(&f, f.number == spans + 1, s->counts, &s->count_n, &running);
    }
    return true;
}

static bool read_custom(struct decoder *d, struct bytes wire, const double **out, size_t *out_n)
{
    struct otlp_wire w = otlp_wire_of(wire);
    struct otlp_wire_field f;
    size_t n = 0;
    int64_t unused = 0;
    while (otlp_wire_next(&w, &f) == OTLP_WIRE_FIELD)
        n += f.number == 16 ? count_numbers(&f, false) : 0;
    double *custom = n <= TSDB_HIST_BUCKETS_MAX ? ARENA_ARRAY(d->scratch, double, n + 1) : NULL;
    if (!custom)
        return false;
    *out_n = 0;
    w = otlp_wire_of(wire);
    while (otlp_wire_next(&w, &f) == OTLP_WIRE_FIELD)
        if (f.number == 16)
            read_counts(&f, false, custom, out_n, &unused);
    *out = custom;
    return true;
}

static bool read_histogram(struct decoder *d, struct bytes wire, struct tsdb_hist *h, int64_t *t_ms,
                           int64_t *start_ms)
{
    struct otlp_wire w = otlp_wire_of(wire);
    struct otlp_wire_field f;
    struct side pos, neg;
    size_t custom_n;
    int64_t schema = 0;
    *h = (struct tsdb_hist){.schema = 0};
    *t_ms = *start_ms = 0;
    while (otlp_wire_next(&w, &f) == OTLP_WIRE_FIELD) {
        switch (f.number) {
        case 1: h->count = (double)f.value; break;
        case 2: h->count = otlp_wire_f64(f.value); break;
        case 3: h->sum = otlp_wire_f64(f.value); break;
        case 4: schema = otlp_wire_zigzag(f.value); break;
        case 5: h->zero_threshold = otlp_wire_f64(f.value); break;
        case 6: h->zero_count = (double)f.value; break;
        case 7: h->zero_count = otlp_wire_f64(f.value); break;
        case 14: h->hint = f.value <= TSDB_HIST_GAUGE ? (uint8_t)f.value : 0; break;
        case 15: *t_ms = (int64_t)f.value; break;
        case 17: *start_ms = (int64_t)f.value; break;
        default: break;
        }
    }
    if (schema < INT8_MIN || schema > INT8_MAX || !read_side(d, wire, 8, &neg) ||
        !read_side(d, wire, 11, &pos) || !read_custom(d, wire, &h->custom, &custom_n))
        return false;
    h->schema = (int8_t)schema;
    h->pos_spans = pos.spans;
    h->neg_spans = neg.spans;
    h->pos = pos.counts;
    h->neg = neg.counts;
    h->pos_span_count = (uint32_t)pos.span_n;
    h->neg_span_count = (uint32_t)neg.span_n;
    h->pos_count = (uint32_t)pos.count_n;
    h->neg_count = (uint32_t)neg.count_n;
    h->custom_count = (uint32_t)custom_n;
    return true;
}

static enum err add_histogram(struct decoder *d, struct tsdb_ref ref, struct bytes wire)
{
    struct tsdb_hist h;
    struct err_msg why = {"a histogram of too many buckets"};
    int64_t t_ms, start_ms;
    uint64_t sum_bits;
    arena_reset(d->scratch);
    bool read = read_histogram(d, wire, &h, &t_ms, &start_ms);
    if (read && !time_is_fine(d, t_ms))
        return ERR_OK;
    memcpy(&sum_bits, &h.sum, sizeof(sum_bits));
    if (read && sum_bits == STALE_BITS) {
        d->written->histograms++;
        return tsdb_batch_add_sample(d->b, ref, t_ms, h.sum, 0) ? ERR_OK : full();
    }
    if (!read || tsdb_hist_check(&h, &why) != ERR_OK) {
        tsdb_batch_reject(d->b, TSDB_REJECT_BAD_HISTOGRAM, "%s", why.text);
        return ERR_OK;
    }
    struct tsdb_hist *kept = arena_alloc(d->b->arena, sizeof(*kept));
    if (!kept || tsdb_hist_copy(&h, d->b->arena, kept) != ERR_OK ||
        !tsdb_batch_add_hist(d->b, ref, t_ms, kept, sound_start(start_ms, t_ms)))
        return full();
    d->written->histograms++;
    return ERR_OK;
}

/* --- the request ---------------------------------------------------------------------------------- */

static enum err check(struct decoder *d, enum otlp_schema_id what, struct bytes wire)
{
    uint64_t rows = 0;
    enum err e = otlp_schema_check(what, wire, &rows, NULL);
    d->rows += rows;
    return e;
}

/* Samples, exemplars and histograms of a checked message; ref 0: refused, for this reason. */
static enum err add_rows(struct decoder *d, struct tsdb_ref ref, struct bytes wire,
                         enum tsdb_reject why, const struct err_msg *msg)
{
    struct otlp_wire w = otlp_wire_of(wire);
    struct otlp_wire_field f;
    enum err e = ERR_OK;
    while (e == ERR_OK && otlp_wire_next(&w, &f) == OTLP_WIRE_FIELD) {
        if (!ref.v && (f.number == 2 || f.number == 4))
            tsdb_batch_reject(d->b, why, "%s", msg->text);
        else if (!ref.v)
            continue;
        else if (f.number == 2)
            e = add_sample(d, ref, f.bytes);
        else if (f.number == 3)
            e = add_exemplar(d, ref, f.bytes);
        else if (f.number == 4)
            e = add_histogram(d, ref, f.bytes);
    }
    return e;
}

/* The series that followed the last one, if the message begins with its labels: as text, or (where the memo keeps none: it is bounded,
 * and a sender of 200,000 series has more) label by label. */
static bool is_predicted(struct decoder *d, struct bytes wire, struct tsdb_ref *out,
                         size_t *out_known)
{
    struct tsdb_registry *series = d->o->series;
    struct bytes labels;
    if (otlp_memo_next(series, d->o->org, TSDB_SERIES_SAMPLES, wire, out, out_known))
        return true;
    if (!otlp_memo_guess(series, d->o->org, TSDB_SERIES_SAMPLES, out, &labels))
        return false;
    *out_known = labels_lead(wire, labels);
    if (*out_known)
        otlp_memo_follow(*out);
    return *out_known != 0;
}

/* Bytes that equal those of a series seen before need neither check nor look-up: only what follows them does. */
static enum err add_series(struct decoder *d, struct bytes wire)
{
    struct tsdb_ref ref = {0};
    enum tsdb_reject why = TSDB_REJECT_BAD_LABELS;
    struct err_msg msg = {""};
    size_t known = 0;
    int64_t t_ms;
    double value;
    enum err e;
    if (is_predicted(d, wire, &ref, &known)) {
        struct bytes rest = bytes_slice(wire, known, wire.size);
        if (read_only_sample(rest, &value, &t_ms)) {
            d->rows++;
            return keep_sample(d, ref, t_ms, value, 0);
        }
        if (region_is_all(wire, bytes_slice(wire, 0, known))) {
            e = check(d, OTLP_SCHEMA_REMOTE_WRITE_SERIES, rest);
            return e == ERR_OK ? add_rows(d, ref, rest, why, &msg) : e;
        }
    }
    e = check(d, OTLP_SCHEMA_REMOTE_WRITE_SERIES, wire);
    if (e != ERR_OK)
        return e;
    e = resolve(d, wire, &ref, &why, &msg);
    if (e != ERR_OK && e != ERR_INVALID)
        return e;
    if (e == ERR_INVALID)
        ref.v = 0;
    return add_rows(d, ref, wire, why, &msg);
}

static enum err add_metadata(struct decoder *d, struct bytes wire)
{
    static const char *const types[] = {"unknown",        "counter", "gauge", "histogram",
                                        "gaugehistogram", "summary", "info",  "stateset"};
    struct otlp_wire w = otlp_wire_of(wire);
    struct otlp_wire_field f;
    struct tsdb_metadata_row m = {.type = bytes_str(types[0])};
    while (otlp_wire_next(&w, &f) == OTLP_WIRE_FIELD) {
        switch (f.number) {
        case 1: m.type = bytes_str(types[f.value < ARRAY_LEN(types) ? f.value : 0]); break;
        case 2: m.family = f.bytes; break;
        case 4: m.help = f.bytes; break;
        case 5: m.unit = f.bytes; break;
        default: break;
        }
    }
    if (!m.family.size || tsdb_batch_add_metadata(d->b, m.family, m.type, m.help, m.unit))
        return ERR_OK;
    return full();
}

/* One pass: each message is checked right before it is read. ERR_INVALID: the body is no WriteRequest. */
static enum err decode_body(struct decoder *d, struct bytes body)
{
    struct otlp_wire w = otlp_wire_of(body);
    struct otlp_wire_field f;
    enum otlp_wire_step step = OTLP_WIRE_END;
    enum err e = ERR_OK;
    while (e == ERR_OK && (step = otlp_wire_next(&w, &f)) == OTLP_WIRE_FIELD) {
        if ((f.number == 1 || f.number == 3) && f.type != OTLP_WIRE_LEN)
            return ERR_INVALID;
        if (f.number == 1) {
            e = add_series(d, f.bytes);
        } else if (f.number == 3) {
            e = check(d, OTLP_SCHEMA_REMOTE_WRITE_METADATA, f.bytes);
            if (e == ERR_OK)
                e = add_metadata(d, f.bytes);
        }
    }
    return step == OTLP_WIRE_BAD ? ERR_INVALID : e;
}

/* Says what is wrong and where, in the words of the whole check. */
static enum err malformed(struct bytes body, struct err_msg *msg)
{
    uint64_t rows;
    enum err e = otlp_schema_check(OTLP_SCHEMA_REMOTE_WRITE, body, &rows, msg);
    return e == ERR_OK ? err_set(msg, ERR_INVALID, "the body is no WriteRequest") : e;
}

enum err remote_write_decode(const struct otlp_decode_options *o, uint8_t *take_body,
                             size_t body_size, struct tsdb_batch **out,
                             struct remote_write_written *out_written, struct err_msg *msg)
{
    struct bytes body = bytes_of(take_body, body_size);
    struct tsdb_batch *b =
        tsdb_batch_new(o->org, TSDB_SAMPLES, o->arena_max ? o->arena_max : OTLP_ARENA_MAX);
    if (!b) {
        free(take_body);
        return err_set(msg, ERR_NOMEM, "no memory for a batch");
    }
    struct remote_write_written written = {0, 0, 0};
    struct decoder d = {.o = o,
                        .b = b,
                        .written = &written,
                        .scratch = arena_new((size_t)16 << 20),
                        .ceiling_ms = o->now_ns / 1000000 + OTLP_FUTURE_MAX_MS};
    enum err e = d.scratch ? ERR_OK : ERR_NOMEM;
    b->received_ns = o->now_ns;
    if (e == ERR_OK)
        e = decode_body(&d, body);
    b->received = d.rows;
    arena_free(d.scratch);
    if (e == ERR_INVALID)
        e = malformed(body, msg);
    else if (e != ERR_OK)
        e = err_set(msg, e,
                    e == ERR_TOO_LARGE ? "the request needs more memory than one may use"
                                       : "out of memory");
    free(take_body); /* the batch has copies: the next body finds this memory warm */
    if (e != ERR_OK) {
        tsdb_batch_free(b);
        return e;
    }
    *out = b;
    *out_written = written;
    return ERR_OK;
}
