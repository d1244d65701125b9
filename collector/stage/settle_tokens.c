#include "collector/stage/settle_tokens.h"

#include <math.h>
#include <stdio.h>

#include "base/check.h"

#define SECONDS(ns) ((double)(ns) / 1e9)
#define SEVERITY_INFO 9
#define SEVERITY_WARN 13

struct at {
    struct derive *d;
    struct tsdb_batch *b;
    struct label_group *group;
    uint32_t minute;
    bool ok;
};

/* --- cells ---------------------------------------------------------------------------------------- */

static struct tsdb_ref ref_of(struct at *a, const char *family, uint32_t place, const char *label,
                              const char *value)
{
    struct label_pair more = {label, value ? bytes_str(value) : BYTES_NONE};
    return label_group_ref(a->d->groups, a->group, a->d->series, family, &more, label != NULL,
                           &a->group->refs[place]);
}

static void count(struct at *a, const char *family, uint32_t place, const char *label,
                  const char *value, uint64_t add)
{
    if (!a->ok || !add)
        return;
    struct tsdb_ref ref = ref_of(a, family, place, label, value);
    if (ref.v)
        a->ok = tsdb_batch_add_cell(a->b, ref, a->minute, (int64_t)add, TSDB_NO_ROW);
}

static void observe(struct at *a, const char *family, uint32_t place, double value)
{
    if (!a->ok || !isfinite(value))
        return;
    struct tsdb_ref ref = ref_of(a, family, place, NULL, NULL);
    if (!ref.v)
        return;
    struct tsdb_hist *h = ARENA_ARRAY(a->b->arena, struct tsdb_hist, 1);
    a->ok = h && tsdb_hist_of(value, a->b->arena, h) == ERR_OK &&
            tsdb_batch_add_hist_cell(a->b, ref, a->minute, h, TSDB_NO_ROW);
}

/* k tokens that came together after a gap have each waited a k-th of it: so there are as many observations as tokens after the first chunk,
 * and their sum is the time that they took. */
static void observe_intervals(struct at *a, const struct tokens_result *r)
{
    struct tsdb_ref ref =
        a->ok && r->interval_count
            ? ref_of(a, "llm_stream_inter_token_latency_seconds", LABEL_STREAM_INTERVAL, NULL, NULL)
            : (struct tsdb_ref){0};
    if (!ref.v)
        return;
    struct tsdb_hist_builder h;
    tsdb_hist_builder_init(&h);
    for (uint32_t i = 0; i < r->interval_count; i++)
        tsdb_hist_builder_add(&h, SECONDS(r->intervals[i].ns) / r->intervals[i].tokens,
                              r->intervals[i].tokens);
    struct tsdb_hist *out = ARENA_ARRAY(a->b->arena, struct tsdb_hist, 1);
    a->ok = out && tsdb_hist_builder_finish(&h, a->b->arena, out) == ERR_OK &&
            tsdb_batch_add_hist_cell(a->b, ref, a->minute, out, TSDB_NO_ROW);
}

static uint64_t tokens_of(const struct tokens_result *r)
{
    uint64_t n = 0;
    for (uint32_t c = 0; c < TSDB_TOKEN_CHANNELS; c++)
        n += r->tokens[c];
    return n;
}

static double rate_of(const struct tokens_result *r)
{
    uint64_t after = tokens_of(r) - r->first_tokens;
    int64_t took = r->last_chunk_ns - r->first_ns;
    return after && took > 0 ? (double)after / SECONDS(took) : NAN;
}

static double logprob_of(const struct tokens_result *r)
{
    return r->logprob_count ? r->logprob_sum / (double)r->logprob_count : NAN;
}

static void put_cells(struct at *a, const struct tokens_result *r)
{
    static const char *const channels[] = {"output", "reasoning", "tool"};
    count(a, "llm_streams_total", LABEL_STREAMS + r->kind, "result",
          tokens_open_result_text(r->kind), 1);
    for (uint32_t c = 0; c < TSDB_TOKEN_CHANNELS; c++)
        count(a, "llm_stream_tokens_total", LABEL_STREAM_TOKENS + c, "channel", channels[c],
              r->tokens[c]);
    count(a, "llm_stream_stalls_total", LABEL_STREAM_STALLS, NULL, NULL, r->stall_count);
    if (r->has_start && r->visible_ns >= r->start_ns)
        observe(a, "llm_stream_time_to_first_token_seconds", LABEL_STREAM_TTFT,
                SECONDS(r->visible_ns - r->start_ns));
    for (uint32_t i = 0; i < MIN(r->stall_count, TOKENS_STALLS_MAX); i++)
        observe(a, "llm_stream_stall_seconds", LABEL_STREAM_STALL_SECONDS,
                SECONDS(r->stalls[i].length_ns));
    observe_intervals(a, r);
    observe(a, "llm_stream_tokens_per_second", LABEL_STREAM_RATE, rate_of(r));
    observe(a, "llm_stream_mean_logprob", LABEL_STREAM_LOGPROB, logprob_of(r));
}

/* --- the record ------------------------------------------------------------------------------------- */

static void put_i64(struct buf *out, const char *key, int64_t v)
{
    tsdb_attrs_put_i64(out, bytes_str(key), v);
}

static void put_text(struct buf *out, const char *key, struct bytes v)
{
    if (v.size)
        tsdb_attrs_put_str(out, bytes_str(key), v);
}

static void put_number(struct buf *out, const char *key, double v)
{
    if (isfinite(v))
        tsdb_attrs_put(out, bytes_str(key), (struct tsdb_value){TSDB_VALUE_DOUBLE, {.number = v}});
}

static void put_stalls(struct buf *out, const struct tokens_result *r)
{
    struct buf list = {0};
    for (uint32_t i = 0; i < MIN(r->stall_count, TOKENS_STALLS_MAX); i++) {
        tsdb_attrs_put_value(
            &list, (struct tsdb_value){TSDB_VALUE_INT, {.integer = r->stalls[i].after_ns}});
        tsdb_attrs_put_value(
            &list, (struct tsdb_value){TSDB_VALUE_INT, {.integer = r->stalls[i].length_ns}});
    }
    if (r->stall_count) {
        put_i64(out, "stalls", r->stall_count);
        tsdb_attrs_put(out, BYTES_LIT("stall_times"),
                       (struct tsdb_value){TSDB_VALUE_ARRAY, {.bytes = buf_bytes(&list)}});
    }
    out->failed = out->failed || list.failed;
    buf_done(&list);
}

static void put_attrs(struct buf *out, const struct tokens_result *r)
{
    static const char *const names[] = {
#define X(name) #name,
        TSDB_TOKEN_TEXTS(X)
#undef X
    };
    static const char *const tokens[] = {"tokens_output", "tokens_reasoning", "tokens_tool"};
    static const char *const sources[] = {"token_events", "span_events", "log_records"};
    put_text(out, "result", bytes_str(tokens_open_result_text(r->kind)));
    put_text(out, "reason", r->reason);
    put_text(out, "source", bytes_str(sources[r->header.source]));
    put_i64(out, "start_ns", r->start_ns);
    put_i64(out, "end_ns", r->end_ns);
    if (r->has_start && r->visible_ns >= r->start_ns && r->visible_ns)
        put_i64(out, "ttft_ns", r->visible_ns - r->start_ns);
    if (r->first_ns)
        put_i64(out, "first_ns", r->first_ns);
    put_i64(out, "events", r->events);
    put_i64(out, "chunks", r->chunks);
    for (uint32_t c = 0; c < TSDB_TOKEN_CHANNELS; c++)
        if (r->tokens[c])
            put_i64(out, tokens[c], (int64_t)r->tokens[c]);
    put_stalls(out, r);
    put_number(out, "tokens_per_second", rate_of(r));
    put_number(out, "mean_logprob", logprob_of(r));
    for (uint32_t i = 0; i < TSDB_TOKEN_TEXT_COUNT; i++)
        if (i != TSDB_TOKEN_TEXT_service)
            put_text(out, names[i], r->header.text[i]);
    tsdb_attrs_put(out, BYTES_LIT("timeline"),
                   (struct tsdb_value){TSDB_VALUE_BYTES, {.bytes = r->timeline}});
}

static bool put_record(struct tsdb_batch *b, const struct tokens_result *r)
{
    struct buf attrs = {0};
    uint32_t row = tsdb_batch_add_log(b);
    if (row == TSDB_NO_ROW)
        return false;
    struct tsdb_logs *l = &b->logs;
    put_attrs(&attrs, r);
    l->time_ns[row] = r->end_ns;
    l->observed_ns[row] = b->received_ns;
    memcpy(l->trace_id[row].b, r->header.trace_id, 16);
    memcpy(l->span_id[row].b, r->header.span_id, 8);
    bool fine = r->kind == TOKENS_RESULT_COMPLETE && !r->stall_count;
    l->severity[row] = fine ? SEVERITY_INFO : SEVERITY_WARN;
    l->severity_text[row] = fine ? BYTES_LIT("INFO") : BYTES_LIT("WARN");
    l->event_name[row] = BYTES_LIT(SETTLE_TOKENS_EVENT);
    l->scope_name[row] = BYTES_LIT("telltale");
    l->service[row] = arena_copy(b->arena, r->header.text[TSDB_TOKEN_TEXT_service]);
    l->attrs[row] = arena_copy(b->arena, buf_bytes(&attrs));
    bool ok = buf_ok(&attrs) && l->attrs[row].data &&
              (l->service[row].data || !r->header.text[TSDB_TOKEN_TEXT_service].size);
    buf_done(&attrs);
    return ok;
}

bool settle_tokens_book(struct derive *d, struct tsdb_batch *b, const struct tokens_result *r)
{
    struct genai_row *row = &d->row;
    memset(row, 0, sizeof *row);
    row->service = r->header.text[TSDB_TOKEN_TEXT_service];
    row->env = r->header.text[TSDB_TOKEN_TEXT_env];
    row->region = r->header.text[TSDB_TOKEN_TEXT_region];
    row->provider = r->header.text[TSDB_TOKEN_TEXT_provider];
    row->model = r->header.text[TSDB_TOKEN_TEXT_model];
    row->endpoint = r->header.text[TSDB_TOKEN_TEXT_endpoint];
    struct label_group *group = label_group_of(d->groups, b->org, row);
    struct at a = {d, b, group, tsdb_batch_minute(r->end_ns), group != NULL};
    if (a.ok)
        put_cells(&a, r);
    return a.ok && put_record(b, r);
}
