/* Any text is parsed as TraceQL within its limits; what is a query is asked of rows that have a little of everything. */
#include "base/check.h"
#include "query/query_trace.h"
#include "query/query_traceql_metrics.h"
#include "query/traceql_ast.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct tsdb_batch *rows(void)
{
    static struct tsdb_batch *b;
    if (b)
        return b;
    b = tsdb_batch_new(TSDB_ORG_DEFAULT, TSDB_SPANS, 4 << 20);
    CHECK(b);
    for (uint32_t i = 0; i < 4; i++) {
        static struct buf attrs[4], events[4];
        uint32_t row = tsdb_batch_add_span(b);
        CHECK(row != TSDB_NO_ROW);
        b->spans.span_id[row].b[0] = (uint8_t)(i + 1);
        b->spans.parent_id[row].b[0] = (uint8_t)i;
        b->spans.end_ns[row] = i * 1000;
        b->spans.status[row] = (uint8_t)(i % 3);
        b->spans.name[row] = BYTES_LIT("name");
        tsdb_attrs_put_str(&attrs[i], BYTES_LIT("a"), BYTES_LIT("x"));
        tsdb_attrs_put_i64(&attrs[i], BYTES_LIT("b"), i - 2);
        tsdb_attrs_put_event(&events[i], &(struct tsdb_event){.name = BYTES_LIT("e")});
        b->spans.attrs[row] = buf_bytes(&attrs[i]);
        b->spans.events[row] = buf_bytes(&events[i]);
    }
    return b;
}

static void judge(const struct traceql_spanset *s, const struct traceql_row *r, unsigned depth)
{
    CHECK(depth <= QUERY_TRACEQL_DEPTH_MAX + 1);
    if (s->left) {
        judge(s->left, r, depth + 1);
        judge(s->right, r, depth + 1);
    } else if (s->filter && traceql_expr_is_true(s->filter, r)) {
        CHECK(traceql_expr_may(s->filter, r)); /* what is so is never ruled out before */
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *a = arena_new(16 << 20);
    struct query_traceql *q = NULL;
    struct err_msg msg = {""};
    struct traceql_field f;
    uint32_t children[4] = {1, 1, 1, 0};
    CHECK(a);
    struct query_traceql_metrics m;
    if (query_traceql_metrics_parse(bytes_of(data, size), a, &m, &msg) == ERR_OK) {
        CHECK(m.q && m.ask.by_count <= QUERY_SPANS_BY_MAX &&
              m.ask.quantile_count <= QUERY_SPANS_QUANTILES_MAX);
        query_traceql_metrics_free(&m);
    } else {
        CHECK(msg.text[0] && !m.q);
    }
    if (query_traceql_parse(bytes_of(data, size), a, &q, &msg) == ERR_OK) {
        struct query_trace_layout layout;
        struct traceql_row r = {.t = &rows()->spans, .children = children};
        CHECK(query_trace_layout(r.t, a, &layout) == ERR_OK);
        r.layout = &layout;
        for (r.row = 0; r.row < r.t->count; r.row++)
            for (const struct traceql_stage *s = q->stages; s; s = s->next)
                if (s->spanset)
                    judge(s->spanset, &r, 0);
        query_traceql_free(q);
    } else {
        CHECK(msg.text[0]);
    }
    if (traceql_field_parse(bytes_of(data, size), &f, &msg) == ERR_OK)
        CHECK(f.name.size <= size);
    arena_free(a);
    return 0;
}
