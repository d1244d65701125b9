/* What a stranger may write into a trace search: the JSON of tags, durations; and a hostile trace's parents for the waterfall. */
#include "base/check.h"
#include "query/query_trace.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Bytes as spans: 4 bytes each (id, parent, start, length), so that cycles, twins and orphans come easily. */
static void lay_out(const uint8_t *data, size_t size, struct arena *a)
{
    struct tsdb_batch *b = tsdb_batch_new(TSDB_ORG_DEFAULT, TSDB_SPANS, 4 << 20);
    struct query_trace_layout l;
    struct query_trace_summary s;
    int64_t start = 0;
    CHECK(b);
    for (size_t i = 0; i + 4 <= size && i < 4 * 256; i += 4) {
        uint32_t row = tsdb_batch_add_span(b);
        CHECK(row != TSDB_NO_ROW);
        start += data[i + 2]; /* rows of a trace come sorted by start */
        b->spans.span_id[row].b[0] = data[i];
        b->spans.parent_id[row].b[0] = data[i + 1];
        b->spans.start_ns[row] = start;
        b->spans.end_ns[row] = start + (int8_t)data[i + 3];
    }
    CHECK(query_trace_layout(&b->spans, a, &l) == ERR_OK);
    bool seen[256] = {false};
    for (uint32_t i = 0; i < b->spans.count; i++) {
        uint32_t row = l.order[i];
        CHECK(row < b->spans.count && !seen[row]); /* each once ... */
        CHECK(l.parent[row] == TSDB_NO_ROW || seen[l.parent[row]]); /* ... and after its parent */
        CHECK(l.depth[row] == (l.parent[row] == TSDB_NO_ROW ? 0 : l.depth[l.parent[row]] + 1));
        CHECK(!l.critical[row] || l.parent[row] == TSDB_NO_ROW || l.critical[l.parent[row]]);
        seen[row] = true;
    }
    query_trace_summarise(&b->spans, &s);
    tsdb_batch_free(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *a = arena_new(16 << 20);
    struct query_trace_search s = {0};
    int64_t ns = -1;
    CHECK(a);
    if (query_trace_tags(bytes_of(data, size), a, &s, NULL) == ERR_OK)
        CHECK(s.tag_count <= QUERY_TRACE_TAGS_MAX);
    if (query_trace_duration(bytes_of(data, size), &ns))
        CHECK(ns >= 0);
    lay_out(data, size, a);
    arena_free(a);
    return 0;
}
