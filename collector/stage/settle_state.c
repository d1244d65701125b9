#include "collector/stage/settle_state.h"

#include "base/check.h"
#include "base/stats.h"
#include "tsdb/tsdb_ledger.h"

STATS_COUNTER(not_kept, "telltale_stage_settle_not_kept_total", "",
              "Rows that could not be remembered for settling: they book as they stand.")

void settle_state_not_kept(int64_t rows)
{
    stats_add(&not_kept, rows);
}

void settle_state_row(const struct tsdb_batch *b, uint32_t row, struct genai_row *r)
{
    const struct tsdb_spans *sp = &b->spans;
    memset(r, 0, sizeof *r);
    r->service = sp->service[row];
    r->env = SETTLE_STR(sp, env, row);
    r->region = SETTLE_STR(sp, region, row);
    r->provider = SETTLE_STR(sp, provider, row);
    r->model = SETTLE_STR(sp, model, row);
    r->operation = SETTLE_STR(sp, operation, row);
    r->tool_name = SETTLE_STR(sp, tool_name, row);
    r->endpoint = SETTLE_STR(sp, endpoint, row);
    r->variant = SETTLE_STR(sp, variant, row);
    r->plane = TSDB_SPAN_GET(sp, plane, row, 0);
    r->input_tokens = TSDB_SPAN_GET(sp, input_tokens, row, -1);
    r->output_tokens = TSDB_SPAN_GET(sp, output_tokens, row, -1);
    r->end_ns = sp->end_ns[row] > 0     ? sp->end_ns[row]
                : sp->start_ns[row] > 0 ? sp->start_ns[row]
                                        : b->received_ns;
}

/* Cells that belong to the row as a user's request and not as a call, or to a first token that only it has seen. */
static bool cell_stays(const struct settle *s, struct tsdb_ref ref, bool is_request,
                       enum settle_take take)
{
    if (take == SETTLE_TAKE_ALL || (!is_request && take != SETTLE_TAKE_LOGGED))
        return false;
    const struct tsdb_series_info *info = tsdb_registry_info(s->derive->series, ref);
    struct bytes name = tsdb_labels_get(info->labels, BYTES_LIT("__name__"));
    struct bytes family = tsdb_labels_get(info->labels, BYTES_LIT("family"));
    if (take == SETTLE_TAKE_LOGGED && bytes_equal_str(name, "llm_time_to_first_token_seconds"))
        return true;
    return is_request && (bytes_has_prefix(name, BYTES_LIT("llm_user_")) ||
                          bytes_has_prefix(family, BYTES_LIT("llm_user_")));
}

static void negate_cell(struct settle_work *w, const struct tsdb_cells *c, uint32_t i)
{
    const struct tsdb_hist *h = c->hist ? c->hist[i] : NULL;
    if (!h) {
        w->ok = w->ok &&
                tsdb_batch_add_cell(w->mut, c->series[i], c->minute[i], -c->add[i], TSDB_NO_ROW);
        return;
    }
    struct tsdb_hist *n = ARENA_ARRAY(w->mut->arena, struct tsdb_hist, 1);
    if (!n || tsdb_hist_copy(h, w->mut->arena, n) != ERR_OK ||
        !derive_negate(n, w->mut->arena, n)) {
        w->ok = false;
        return;
    }
    w->ok = w->ok && tsdb_batch_add_hist_cell(w->mut, c->series[i], c->minute[i], n, TSDB_NO_ROW);
}

/* As the cells: what the span booked by its columns is booked again, with the opposite sign. */
static void take_back_booking(struct settle_work *w, const struct tsdb_batch *b, uint32_t row)
{
    uint8_t scratch[TSDB_LEDGER_SCRATCH];
    struct tsdb_book k;
    if (!tsdb_ledger_of_span(b, row, scratch, &k))
        return;
    k.sums = (struct tsdb_book_sums){.calls = -k.sums.calls,
                                     .input_tokens = -k.sums.input_tokens,
                                     .output_tokens = -k.sums.output_tokens,
                                     .nanousd = -k.sums.nanousd,
                                     .unpriced = -k.sums.unpriced,
                                     .estimated = -k.sums.estimated};
    w->ok = w->ok && tsdb_batch_add_book(w->mut, &k);
}

void settle_state_book(struct settle_work *w, const struct genai_row *r)
{
    uint8_t scratch[TSDB_LEDGER_SCRATCH];
    bool is_call = r->row_class & TSDB_CLASS_CALL;
    if (!w->mut || !(is_call || r->flags & TSDB_ROW_AGENT_REPORTED))
        return;
    struct tsdb_book k = {.minute = tsdb_batch_minute(r->end_ns),
                          .value = {[TSDB_BOOK_TENANT] = r->tenant,
                                    [TSDB_BOOK_TEAM] = r->team,
                                    [TSDB_BOOK_SERVICE] = r->service,
                                    [TSDB_BOOK_API_KEY] = r->api_key,
                                    [TSDB_BOOK_USER] = r->user_id,
                                    [TSDB_BOOK_MODEL] = r->model,
                                    [TSDB_BOOK_PROMPT] = tsdb_ledger_prompt(
                                        r->prompt_name, r->prompt_version, scratch),
                                    [TSDB_BOOK_ENDPOINT] = r->endpoint},
                          .sums = {.calls = is_call,
                                   .input_tokens = MAX(r->input_tokens, 0),
                                   .output_tokens = MAX(r->output_tokens, 0),
                                   .nanousd = MAX(r->cost_total, 0),
                                   .unpriced = (r->flags & TSDB_ROW_UNPRICED) != 0,
                                   .estimated = (r->flags & TSDB_ROW_ESTIMATED) != 0}};
    w->ok = w->ok && tsdb_batch_add_book(w->mut, &k);
}

void settle_state_take_back(struct settle_work *w, const struct tsdb_batch *b, uint32_t row,
                            enum settle_take take)
{
    const struct tsdb_cells *c = &b->cells;
    if (!w->mut)
        return;
    uint32_t end = b == w->b ? w->s->cells_given : c->count, lo = 0, hi = end;
    while (lo < hi) { /* cells of spans are in row order, corrections (TSDB_NO_ROW) after them */
        uint32_t mid = lo + (hi - lo) / 2;
        if (c->row[mid] < row)
            lo = mid + 1;
        else
            hi = mid;
    }
    take_back_booking(w, b, row);
    bool is_request = settle_state_class(&b->spans, row) & TSDB_CLASS_REQUEST;
    for (uint32_t i = lo; i < end && c->row[i] == row && w->ok; i++) {
        if (cell_stays(w->s, c->series[i], is_request, take))
            continue;
        negate_cell(w, c, i);
    }
}

void settle_state_remember(struct settle_work *w, struct settle_index *x,
                           const struct settle_index_entry *e)
{
    struct settle *s = w->s;
    if (s->change_count == SETTLE_CHANGES_KEPT) { /* the older half belongs to commits long done */
        memmove(s->changes, s->changes + SETTLE_CHANGES_KEPT / 2,
                SETTLE_CHANGES_KEPT / 2 * sizeof *s->changes);
        s->change_count = SETTLE_CHANGES_KEPT / 2;
    }
    s->changes[s->change_count++] =
        (struct settle_change){w->seq, x->generation, (uint32_t)(e - x->entries), *e};
}

void settle_state_mark_lost(struct settle_work *w, struct settle_index *x,
                            struct settle_index_entry *e)
{
    settle_state_remember(w, x, e);
    e->flags |= SETTLE_INDEX_LOST;
}

struct settle_index *settle_state_index(struct settle *s, uint64_t generation)
{
    for (uint32_t i = 0; i < s->generation_count; i++)
        if (s->generations[i]->generation == generation)
            return s->generations[i];
    return NULL;
}

struct settle_index_entry *settle_state_find_span(struct settle *s, uint32_t org,
                                                  struct tsdb_id16 trace, struct tsdb_id8 span,
                                                  struct settle_index **out_index)
{
    uint64_t h = settle_state_hash_span(org, &trace, &span);
    for (uint32_t g = s->generation_count; g > 0; g--) {
        uint32_t it = 0;
        struct settle_index_entry *e;
        while ((e = settle_index_span(s->generations[g - 1], h, &it)))
            if (!(e->flags & SETTLE_INDEX_LOG) && e->b->org == org &&
                settle_state_same16(e->b->spans.trace_id[e->row], trace) &&
                settle_state_same8(e->b->spans.span_id[e->row], span)) {
                *out_index = s->generations[g - 1];
                return e;
            }
    }
    return NULL;
}
