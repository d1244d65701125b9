/* Remote write 1.0: samples, stale markers, histograms, exemplars, metadata, refusals, and the memory of series. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"
#include "collector/otlp/otlp_memo.h"
#include "collector/remote_write.h"
#include "collector/remote_write2.h"
#include "remote_write.pb-c.h"

#define NOW_MS INT64_C(1764000000000)

struct message {
    Prom__Label labels[8], *label_list[8];
    Prom__Sample samples[4], *sample_list[4];
    Prom__TimeSeries series, *series_list[1];
    Prom__WriteRequest request;
};

static void label(struct message *m, const char *name, const char *value)
{
    Prom__Label *l = &m->labels[m->series.n_labels];
    prom__label__init(l);
    l->name = (char *)name;
    l->value = (char *)value;
    m->label_list[m->series.n_labels++] = l;
}

static void sample(struct message *m, double value, int64_t t_ms)
{
    Prom__Sample *s = &m->samples[m->series.n_samples];
    prom__sample__init(s);
    s->value = value;
    s->timestamp = t_ms;
    m->sample_list[m->series.n_samples++] = s;
}

static void open_message(struct message *m, const char *name)
{
    memset(m, 0, sizeof(*m));
    prom__time_series__init(&m->series);
    prom__write_request__init(&m->request);
    m->series.labels = m->label_list;
    m->series.samples = m->sample_list;
    m->series_list[0] = &m->series;
    m->request.timeseries = m->series_list;
    m->request.n_timeseries = 1;
    if (name)
        label(m, "__name__", name);
}

static struct tsdb_batch *decode(struct tsdb_registry *series, const Prom__WriteRequest *r,
                                 struct remote_write_written *written)
{
    struct otlp_decode_options o = {.org = TSDB_ORG_DEFAULT,
                                    .signal = TSDB_SAMPLES,
                                    .series = series,
                                    .now_ns = NOW_MS * 1000000,
                                    .floor_ms = NOW_MS - 86400000};
    struct tsdb_batch *b = NULL;
    struct err_msg msg = {""};
    size_t size = prom__write_request__get_packed_size(r);
    uint8_t *body = malloc(size + 1);
    assert_non_null(body);
    prom__write_request__pack(r, body);
    if (remote_write_decode(&o, body, size, &b, written, &msg) != ERR_OK)
        fail_msg("%s", msg.text);
    return b;
}

static uint64_t bits(double v)
{
    uint64_t b;
    memcpy(&b, &v, sizeof(b));
    return b;
}

static double from_bits(uint64_t b)
{
    double v;
    memcpy(&v, &b, sizeof(v));
    return v;
}

static void samples_and_stale_markers_keep_their_bits(void **state)
{
    struct tsdb_registry *series = tsdb_registry_new(0);
    struct remote_write_written written;
    struct message m;
    open_message(&m, "up");
    label(&m, "job", "api");
    sample(&m, 1.5, NOW_MS);
    sample(&m, from_bits(UINT64_C(0x7ff0000000000002)), NOW_MS + 15000);
    struct tsdb_batch *b = decode(series, &m.request, &written);
    assert_int_equal(b->samples.count, 2);
    assert_int_equal(written.samples, 2);
    assert_int_equal(bits(b->samples.value[1]), UINT64_C(0x7ff0000000000002));
    assert_int_equal(b->samples.t_ms[1], NOW_MS + 15000);
    assert_int_equal(b->samples.series[0].v, b->samples.series[1].v);
    struct tsdb_labels l = tsdb_registry_info(series, b->samples.series[0])->labels;
    assert_true(bytes_equal_str(tsdb_labels_get(l, BYTES_LIT("job")), "api"));
    assert_int_equal(b->request_key.lo | b->request_key.hi, 0);
    tsdb_batch_free(b);
    tsdb_registry_free(series);
}

/* The thread remembers series by raw bytes: neither another registry, nor another order, nor a changed value may be taken for it. */
static void a_remembered_series_is_never_mistaken(void **state)
{
    static const char *const values[] = {"a", "b", "a", "c", "b", "a"};
    uint32_t refs[ARRAY_LEN(values)];
    for (int round = 0; round < 3; round++) {
        struct tsdb_registry *series = tsdb_registry_new(0);
        for (size_t i = 0; i < ARRAY_LEN(values); i++) {
            struct remote_write_written written;
            struct message m;
            open_message(&m, round == 1 ? NULL : "up");
            label(&m, "x", values[i]);
            if (round == 1)
                label(&m, "__name__", "up"); /* out of order */
            sample(&m, 1, NOW_MS);
            struct tsdb_batch *b = decode(series, &m.request, &written);
            refs[i] = b->samples.series[0].v;
            struct tsdb_labels l = tsdb_registry_info(series, b->samples.series[0])->labels;
            assert_true(bytes_equal_str(tsdb_labels_get(l, BYTES_LIT("x")), values[i]));
            assert_true(bytes_equal_str(tsdb_labels_get(l, BYTES_LIT("__name__")), "up"));
            tsdb_batch_free(b);
        }
        assert_int_equal(refs[0], refs[2]);
        assert_int_equal(refs[0], refs[5]);
        assert_int_equal(refs[1], refs[4]);
        assert_int_not_equal(refs[0], refs[1]);
        assert_int_equal(tsdb_registry_count(series), 3);
        tsdb_registry_free(series);
    }
}

static enum err decode_series(struct tsdb_registry *series, const uint8_t *bytes, size_t size,
                              struct tsdb_batch **out, struct err_msg *msg)
{
    struct otlp_decode_options o = {.org = TSDB_ORG_DEFAULT,
                                    .signal = TSDB_SAMPLES,
                                    .series = series,
                                    .now_ns = NOW_MS * 1000000,
                                    .floor_ms = NOW_MS - 86400000};
    struct remote_write_written written;
    uint8_t *body = malloc(size + 2);
    assert_true(body && size < 128);
    body[0] = 0x0a;
    body[1] = (uint8_t)size;
    memcpy(body + 2, bytes, size);
    *out = NULL;
    return remote_write_decode(&o, body, size + 2, out, &written, msg);
}

/* Labels equal to remembered ones are not checked again: what stands behind them is. */
static void what_follows_a_remembered_series_is_checked(void **state)
{
    static const uint8_t late_label[] = {0x0a, 6, 0x0a, 1, 'y', 0x12, 1, 'z'};
    struct tsdb_registry *series = tsdb_registry_new(0);
    struct message m;
    uint8_t good[128], bad[128];
    struct tsdb_batch *b;
    struct err_msg msg = {""};
    open_message(&m, "up");
    label(&m, "x", "remembered");
    sample(&m, 3.5, NOW_MS);
    size_t size = prom__time_series__pack(&m.series, good), sample_size = 18;
    for (int round = 0; round < 3; round++) { /* from the second on it is remembered */
        assert_int_equal(decode_series(series, good, size, &b, &msg), ERR_OK);
        assert_true(b->samples.count == 1 && b->received == 1 && b->samples.value[0] == 3.5 &&
                    b->samples.t_ms[0] == NOW_MS && b->samples.series[0].v == 1);
        tsdb_batch_free(b);
        for (size_t at = size - sample_size; at < size; at++) {
            memcpy(bad, good, size);
            bad[at] ^=
                0x87; /* may stay a sample, may become malformed: never a sample of elsewhere */
            if (decode_series(series, bad, size, &b, &msg) == ERR_OK) {
                assert_true(b->samples.count + tsdb_batch_rejected(b) <= 1);
                tsdb_batch_free(b);
            }
        }
        memcpy(bad, good, size);
        bad[size - 7] = 0x15; /* the time as four bytes */
        assert_int_equal(decode_series(series, bad, size, &b, &msg), ERR_INVALID);
        assert_non_null(strstr(msg.text, "Sample.timestamp"));
        assert_int_equal(decode_series(series, good, size - 1, &b, &msg), ERR_INVALID);
        memcpy(bad, good, size);
        memcpy(bad + size, late_label, sizeof(late_label));
        assert_int_equal(decode_series(series, bad, size + sizeof(late_label), &b, &msg), ERR_OK);
        assert_true(b->samples.count == 1 && b->samples.series[0].v == 2);
        tsdb_batch_free(b);
        memcpy(bad, good, size);
        memcpy(bad + size, good + size - sample_size, sample_size);
        assert_int_equal(decode_series(series, bad, size + sample_size, &b, &msg), ERR_OK);
        assert_true(b->samples.count == 2 && b->received == 2 && b->samples.series[1].v == 1);
        tsdb_batch_free(b);
    }
    tsdb_registry_free(series);
}

static void our_own_job_becomes_exported_job(void **state)
{
    struct tsdb_registry *series = tsdb_registry_new(0);
    struct remote_write_written written;
    struct message m;
    for (int repeat = 0; repeat < 2; repeat++) {
        open_message(&m, "llm_requests_total");
        label(&m, "job", "telltale");
        sample(&m, 7, NOW_MS);
        struct tsdb_batch *b = decode(series, &m.request, &written);
        struct tsdb_labels l = tsdb_registry_info(series, b->samples.series[0])->labels;
        assert_true(bytes_equal_str(tsdb_labels_get(l, BYTES_LIT("exported_job")), "telltale"));
        assert_int_equal(tsdb_labels_get(l, BYTES_LIT("job")).size, 0);
        tsdb_batch_free(b);
    }
    tsdb_registry_free(series);
}

static void bad_samples_are_refused_and_counted(void **state)
{
    struct tsdb_registry *series = tsdb_registry_new(1);
    struct remote_write_written written;
    struct message m;
    open_message(&m, "up");
    sample(&m, 1, NOW_MS - 2 * 86400000);
    sample(&m, 1, NOW_MS + 601000);
    sample(&m, 1, NOW_MS + 599000);
    struct tsdb_batch *b = decode(series, &m.request, &written);
    assert_int_equal(b->received, 3);
    assert_int_equal(b->samples.count, 1);
    assert_int_equal(b->rejected[TSDB_REJECT_TOO_OLD], 1);
    assert_int_equal(b->rejected[TSDB_REJECT_TOO_NEW], 1);
    tsdb_batch_free(b);

    open_message(&m, NULL);
    label(&m, "x", "y");
    sample(&m, 1, NOW_MS);
    b = decode(series, &m.request, &written);
    assert_int_equal(b->rejected[TSDB_REJECT_BAD_LABELS], 1);
    assert_string_equal(b->reject_msg.text, "a series without a name");
    tsdb_batch_free(b);

    open_message(&m, "up");
    label(&m, "x", "1");
    label(&m, "x", "2");
    sample(&m, 1, NOW_MS);
    b = decode(series, &m.request, &written);
    assert_int_equal(b->rejected[TSDB_REJECT_BAD_LABELS], 1);
    tsdb_batch_free(b);

    open_message(&m, "another");
    sample(&m, 1, NOW_MS);
    b = decode(series, &m.request, &written);
    assert_int_equal(b->rejected[TSDB_REJECT_CARDINALITY], 1);
    tsdb_batch_free(b);
    tsdb_registry_free(series);
}

static void integer_and_float_histograms_become_absolute_counts(void **state)
{
    struct tsdb_registry *series = tsdb_registry_new(0);
    struct remote_write_written written;
    struct message m;
    Prom__BucketSpan span = PROM__BUCKET_SPAN__INIT, *spans[] = {&span};
    Prom__Histogram ints = PROM__HISTOGRAM__INIT, floats = PROM__HISTOGRAM__INIT,
                    bad = PROM__HISTOGRAM__INIT, stale = PROM__HISTOGRAM__INIT;
    Prom__Histogram *hists[] = {&ints, &floats, &bad, &stale};
    int64_t deltas[] = {2, 1, -3};
    double counts[] = {1.5, 2.5, 0};
    span.offset = -1;
    span.length = 3;
    ints.count_case = PROM__HISTOGRAM__COUNT_COUNT_INT;
    ints.count_int = 9;
    ints.zero_count_case = PROM__HISTOGRAM__ZERO_COUNT_ZERO_COUNT_INT;
    ints.zero_count_int = 4;
    ints.zero_threshold = 0.001;
    ints.schema = 3;
    ints.sum = 12;
    ints.positive_spans = spans;
    ints.n_positive_spans = 1;
    ints.positive_deltas = deltas;
    ints.n_positive_deltas = 3;
    ints.timestamp = NOW_MS;
    ints.reset_hint = PROM__HISTOGRAM__RESET_HINT__GAUGE;
    floats.count_case = PROM__HISTOGRAM__COUNT_COUNT_FLOAT;
    floats.count_float = 4;
    floats.negative_spans = spans;
    floats.n_negative_spans = 1;
    floats.negative_counts = counts;
    floats.n_negative_counts = 3;
    floats.timestamp = NOW_MS + 1;
    bad = floats;
    bad.schema = 30;
    stale.sum = from_bits(UINT64_C(0x7ff0000000000002));
    stale.timestamp = NOW_MS + 2;
    open_message(&m, "lat");
    m.series.histograms = hists;
    m.series.n_histograms = 4;
    struct tsdb_batch *b = decode(series, &m.request, &written);
    assert_int_equal(b->received, 4);
    assert_int_equal(b->hists.count, 2);
    assert_int_equal(b->samples.count, 1);
    assert_int_equal(b->rejected[TSDB_REJECT_BAD_HISTOGRAM], 1);
    const struct tsdb_hist *h = &b->hists.value[0];
    assert_int_equal(h->schema, 3);
    assert_int_equal(h->hint, TSDB_HIST_GAUGE);
    assert_int_equal(h->pos_count, 3);
    assert_true(h->pos[0] == 2 && h->pos[1] == 3 && h->pos[2] == 0);
    assert_true(h->zero_count == 4 && h->count == 9 && h->sum == 12);
    assert_int_equal(h->pos_spans[0].offset, -1);
    h = &b->hists.value[1];
    assert_true(h->neg[0] == 1.5 && h->neg[1] == 2.5 && h->count == 4);
    assert_int_equal(bits(b->samples.value[0]), UINT64_C(0x7ff0000000000002));
    tsdb_batch_free(b);
    tsdb_registry_free(series);
}

/* --- 2.0 ------------------------------------------------------------------------------------------ */

static void part(struct buf *out, uint32_t field, const struct buf *message)
{
    buf_varint(out, field << 3 | 2);
    buf_lenbytes(out, buf_bytes(message));
}

static void number(struct buf *out, uint32_t field, uint64_t v)
{
    buf_varint(out, field << 3);
    buf_varint(out, v);
}

static void refs(struct buf *out, uint32_t field, const char *list)
{
    struct buf packed = {0};
    for (; *list; list++)
        buf_varint(&packed, (uint64_t)(*list - 'a'));
    part(out, field, &packed);
    buf_done(&packed);
}

/* Symbols a, b, … of this request: "", __name__, up_total, job, api, help text, s, trace_id, 01 */
static void symbols(struct buf *out)
{
    static const char *const texts[] = {"",          "__name__", "up_total", "job", "api",
                                        "help text", "s",        "trace_id", "01"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        buf_varint(out, 4 << 3 | 2);
        buf_lenbytes(out, bytes_str(texts[i]));
    }
}

/* Takes the request. What it says when it is refused: msg. */
static enum err decode2(struct tsdb_registry *series, struct buf *request, struct tsdb_batch **out,
                        struct remote_write_written *written, struct err_msg *msg)
{
    struct otlp_decode_options o = {.org = TSDB_ORG_DEFAULT,
                                    .signal = TSDB_SAMPLES,
                                    .series = series,
                                    .now_ns = NOW_MS * 1000000,
                                    .floor_ms = NOW_MS - 86400000};
    size_t size;
    uint8_t *body = buf_take(request, &size);
    enum err e = remote_write2_to_1(&body, &size, msg);
    return e == ERR_OK ? remote_write_decode(&o, body, size, out, written, msg) : e;
}

static void requests_of_2_0_are_decoded_by_their_symbols(void **state)
{
    struct tsdb_registry *series = tsdb_registry_new(0);
    struct remote_write_written written;
    struct err_msg msg = {""};
    struct tsdb_batch *b;
    struct buf request = {0}, ts = {0}, inner = {0};
    refs(&ts, 1, "bcde");
    buf_varint(&inner, 1 << 3 | 1);
    buf_f64(&inner, 2.5);
    number(&inner, 2, NOW_MS);
    number(&inner, 3, NOW_MS - 60000);
    part(&ts, 2, &inner);
    buf_clear(&inner);
    refs(&inner, 1, "hi");
    buf_varint(&inner, 2 << 3 | 1);
    buf_f64(&inner, 1);
    number(&inner, 3, NOW_MS);
    part(&ts, 4, &inner);
    buf_clear(&inner);
    number(&inner, 1, 1);
    number(&inner, 3, 5);
    number(&inner, 4, 6);
    part(&ts, 5, &inner);
    part(&request, 5, &ts); /* series may come before the symbols that they name */
    symbols(&request);
    if (decode2(series, &request, &b, &written, &msg) != ERR_OK)
        fail_msg("%s", msg.text);
    assert_int_equal(written.samples, 1);
    assert_int_equal(written.exemplars, 1);
    assert_int_equal(b->samples.count, 1);
    assert_true(b->samples.value[0] == 2.5);
    assert_int_equal(b->samples.start_ms[0], NOW_MS - 60000);
    struct tsdb_labels l = tsdb_registry_info(series, b->samples.series[0])->labels;
    assert_true(bytes_equal_str(tsdb_labels_get(l, BYTES_LIT("__name__")), "up_total"));
    assert_true(bytes_equal_str(tsdb_labels_get(l, BYTES_LIT("job")), "api"));
    assert_int_equal(b->metadata.count, 1);
    assert_true(bytes_equal_str(b->metadata.row[0].family, "up_total"));
    assert_true(bytes_equal_str(b->metadata.row[0].type, "counter"));
    assert_true(bytes_equal_str(b->metadata.row[0].help, "help text"));
    assert_true(bytes_equal_str(b->metadata.row[0].unit, "s"));
    tsdb_batch_free(b);
    buf_done(&ts);
    buf_done(&inner);
    tsdb_registry_free(series);
}

static void requests_of_2_0_that_name_no_symbol_are_refused(void **state)
{
    static const struct {
        const char *refs, *says;
    } cases[] = {{"bz", "a series refers to symbol 25 of 9"},
                 {"bcd", "the body is no remote write 2.0 request: labels must come in pairs"}};
    struct tsdb_registry *series = tsdb_registry_new(0);
    struct remote_write_written written;
    struct err_msg msg;
    struct tsdb_batch *b;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf request = {0}, ts = {0};
        symbols(&request);
        refs(&ts, 1, cases[i].refs);
        part(&request, 5, &ts);
        assert_int_equal(decode2(series, &request, &b, &written, &msg), ERR_INVALID);
        assert_string_equal(msg.text, cases[i].says);
        buf_done(&ts);
    }
    struct buf first = {0};
    buf_varint(&first, 4 << 3 | 2);
    buf_lenbytes(&first, BYTES_LIT("x"));
    assert_int_equal(decode2(series, &first, &b, &written, &msg), ERR_INVALID);
    assert_string_equal(msg.text,
                        "the body is no remote write 2.0 request: the first symbol must be empty");
    /* a long text that is referred to again and again does not become memory without end */
    struct buf bomb = {0}, ts = {0}, text = {0};
    buf_varint(&bomb, 4 << 3 | 2);
    buf_varint(&bomb, 0);
    for (int i = 0; i < 1 << 20; i++)
        buf_u8(&text, 'x');
    part(&bomb, 4, &text);
    refs(&ts, 1, "bbbbbbbbbbbbbbbb");
    for (int i = 0; i < 32; i++)
        part(&bomb, 5, &ts);
    assert_int_equal(decode2(series, &bomb, &b, &written, &msg), ERR_TOO_LARGE);
    buf_done(&ts);
    buf_done(&text);
    tsdb_registry_free(series);
}

static void exemplars_and_metadata_are_kept(void **state)
{
    struct tsdb_registry *series = tsdb_registry_new(0);
    struct remote_write_written written;
    struct message m;
    Prom__Label id = PROM__LABEL__INIT, *ids[] = {&id};
    Prom__Exemplar e = PROM__EXEMPLAR__INIT, *es[] = {&e};
    Prom__MetricMetadata meta = PROM__METRIC_METADATA__INIT, *metas[] = {&meta};
    id.name = (char *)"trace_id";
    id.value = (char *)"abc";
    e.labels = ids;
    e.n_labels = 1;
    e.value = 3;
    e.timestamp = NOW_MS;
    meta.metric_family_name = (char *)"hits_total";
    meta.type = PROM__METRIC_METADATA__METRIC_TYPE__COUNTER;
    meta.help = (char *)"Hits.";
    open_message(&m, "hits_total");
    sample(&m, 3, NOW_MS);
    m.series.exemplars = es;
    m.series.n_exemplars = 1;
    m.request.metadata = metas;
    m.request.n_metadata = 1;
    struct tsdb_batch *b = decode(series, &m.request, &written);
    assert_int_equal(b->exemplars.count, 1);
    assert_true(
        bytes_equal_str(tsdb_labels_get(b->exemplars.labels[0], BYTES_LIT("trace_id")), "abc"));
    assert_int_equal(b->metadata.count, 1);
    assert_true(bytes_equal_str(b->metadata.row[0].type, "counter"));
    assert_true(bytes_equal_str(b->metadata.row[0].help, "Hits."));
    tsdb_batch_free(b);
    tsdb_registry_free(series);
}

static uint32_t ref_of(struct tsdb_registry *series, unsigned i, const char *more)
{
    struct remote_write_written written;
    struct message m;
    char number[16], pad[121];
    snprintf(number, sizeof(number), "%06u", i);
    memset(pad, 'p', 120);
    pad[120] = 0;
    open_message(&m, "wide");
    label(&m, "i", number);
    label(&m, "p", pad);
    label(&m, "q", pad);
    if (more)
        label(&m, "z", more);
    sample(&m, 1, NOW_MS);
    struct tsdb_batch *b = decode(series, &m.request, &written);
    assert_int_equal(b->samples.count, 1);
    uint32_t ref = b->samples.series[0].v;
    struct tsdb_labels l = tsdb_registry_info(series, b->samples.series[0])->labels;
    assert_true(bytes_equal_str(tsdb_labels_get(l, BYTES_LIT("i")), number));
    assert_true(bytes_equal_str(tsdb_labels_get(l, BYTES_LIT("z")), more ? more : ""));
    tsdb_batch_free(b);
    return ref;
}

/* More text than a thread keeps: the later ones are known by comparing their labels with those of the series that followed last time. */
static void series_beyond_the_kept_texts_are_known_by_their_labels(void **state)
{
    enum { WIDE = 36000 };
    static uint32_t refs[WIDE];
    struct tsdb_registry *series = tsdb_registry_new(0);
    for (unsigned i = 0; i < WIDE; i++)
        refs[i] = ref_of(series, i, NULL);
    assert_true(WIDE * 260ul > OTLP_MEMO_BYTES);
    for (unsigned i = 0; i < WIDE; i++)
        assert_int_equal(ref_of(series, i, NULL), refs[i]);
    assert_int_equal(tsdb_registry_count(series), WIDE);
    for (unsigned i = WIDE - 2000; i < WIDE;
         i++) { /* the known labels and one more; then another instead */
        uint32_t longer = ref_of(series, i, "1");
        assert_int_not_equal(longer, refs[i]);
        assert_int_equal(ref_of(series, i, i % 3 ? NULL : "1"), i % 3 ? refs[i] : longer);
    }
    assert_int_equal(tsdb_registry_count(series), WIDE + 2000);
    tsdb_registry_free(series);
}

/* The registry is asked once a minute only: that must be often enough. */
static void what_is_sent_stays_known_and_a_number_given_again_means_what_it_means_now(void **state)
{
    struct tsdb_registry *series = tsdb_registry_new(0);
    uint32_t minute = 1, used = ref_of(series, 1, NULL), idle = ref_of(series, 2, NULL);
    for (; minute < 2 * TSDB_REGISTRY_IDLE_MIN; minute += 7) {
        tsdb_registry_tick(series, minute);
        assert_int_equal(ref_of(series, 1, NULL), used);
        assert_int_equal(ref_of(series, 1, NULL), used); /* not asked again */
        (void)tsdb_registry_evict(series);
    }
    assert_int_equal(tsdb_registry_live(series), 1); /* the idle one is gone */
    tsdb_registry_tick(series, minute += TSDB_REGISTRY_SAFE_MIN);
    assert_int_equal(ref_of(series, 1, NULL), used);
    (void)tsdb_registry_evict(series);
    assert_int_equal(ref_of(series, 3, NULL), idle); /* its number is given again */
    uint32_t again = ref_of(series, 2, NULL); /* which compares the labels */
    assert_int_not_equal(again, idle);
    assert_int_equal(ref_of(series, 3, NULL), idle);
    assert_int_equal(ref_of(series, 2, NULL), again);
    tsdb_registry_free(series);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(samples_and_stale_markers_keep_their_bits),
        cmocka_unit_test(a_remembered_series_is_never_mistaken),
        cmocka_unit_test(series_beyond_the_kept_texts_are_known_by_their_labels),
        cmocka_unit_test(what_is_sent_stays_known_and_a_number_given_again_means_what_it_means_now),
        cmocka_unit_test(what_follows_a_remembered_series_is_checked),
        cmocka_unit_test(our_own_job_becomes_exported_job),
        cmocka_unit_test(bad_samples_are_refused_and_counted),
        cmocka_unit_test(integer_and_float_histograms_become_absolute_counts),
        cmocka_unit_test(requests_of_2_0_are_decoded_by_their_symbols),
        cmocka_unit_test(requests_of_2_0_that_name_no_symbol_are_refused),
        cmocka_unit_test(exemplars_and_metadata_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
