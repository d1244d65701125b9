#include "tsdb/block_rows.h"

#include "tsdb/block_series.h"
#include "tsdb/zone.h"

enum err block_rows_write(const struct block_rows_source *s, bool is_text,
                          const struct columns_zip *zip, struct arena *scratch, struct buf *block,
                          struct buf *summary)
{
    union {
        struct tsdb_spans spans;
        struct tsdb_logs logs;
    } t;
    struct buf body = {0};
    bool is_spans = s->schema == &tsdb_batch_span_schema;
    uint64_t mask = is_text ? s->text_mask : ~s->text_mask;
    memset(&t, 0, sizeof(t));
    /* texts that repeat a column of the rows only name it */
    if (!columns_gather(s->schema, s->tables, s->rows, s->n,
                        is_text ? mask | columns_peers(s->schema) : mask, scratch, &t))
        return ERR_NOMEM;
    if (is_text)
        zone_write_attrs(is_spans ? t.spans.attrs : t.logs.attrs,
                         is_spans ? t.spans.resource_attrs : t.logs.resource_attrs, s->n, summary);
    else if (is_spans)
        zone_write_spans(&t.spans, s->n, summary);
    else
        zone_write_logs(&t.logs, s->n, summary);
    columns_encode(s->schema, &t, NULL, s->n, mask, zip, &body);
    block_pack(buf_bytes(&body), false, block);
    bool ok = buf_ok(&body) && buf_ok(block) && buf_ok(summary);
    buf_done(&body);
    return ok ? ERR_OK : ERR_NOMEM;
}
