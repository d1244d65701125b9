/* Any text under any key, and any bytes as the columns of rows: what comes out is sound, and what has nothing in it stays as it is. */
#include "base/check.h"
#include "collector/redact/redact.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct redact *rules;
static struct redact_scan *scan;

static void set_up(void)
{
    struct buf errors = {0};
    struct arena *a = arena_new(0);
    struct yaml_node *doc;
    CHECK(a && yaml_in_parse(BYTES_LIT("patterns: [{name: own, pattern: 'own-[a-z]{2,4}'}]\n"
                                       "content: {ip: hash}\nactions: {us_ssn: drop}\n"),
                             a, &doc, NULL) == ERR_OK);
    struct redact_options o = {.patterns = yaml_get(doc, "patterns"),
                               .content = yaml_get(doc, "content"),
                               .actions = yaml_get(doc, "actions")};
    CHECK(redact_new(&o, &rules, &errors) == ERR_OK);
    scan = redact_scan_new(rules);
    CHECK(scan);
    arena_free(a);
}

static void as_text(struct bytes key, struct bytes text)
{
    struct buf once = {0}, twice = {0};
    struct redact_found found;
    CHECK(redact_text(scan, key, text, &once, &found));
    uint32_t n = found.count;
    CHECK(n || bytes_equal(buf_bytes(&once), text));
    CHECK(redact_text(scan, BYTES_LIT("gen_ai.prompt"), buf_bytes(&once), &twice, &found));
    buf_done(&once);
    buf_done(&twice);
}

static void as_columns(struct bytes attrs, struct bytes events)
{
    struct tsdb_batch *b = tsdb_batch_new(1, TSDB_SPANS, 16u << 20);
    struct redact_found found;
    CHECK(b);
    uint32_t row = tsdb_batch_add_span(b), log = tsdb_batch_add_log(b);
    bool is_sound = tsdb_attrs_check(attrs) == ERR_OK;
    b->spans.attrs[row] = b->spans.resource_attrs[row] = attrs;
    b->spans.events[row] = b->spans.links[row] = events;
    b->spans.name[row] = events;
    b->logs.body[log] = attrs;
    redact_batch(scan, b);
    CHECK(redact_span(scan, b, row, &found) && redact_log(scan, b, log, &found));
    CHECK(!is_sound || tsdb_attrs_check(b->spans.attrs[row]) == ERR_OK);
    tsdb_batch_free(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t copy[1 << 16];
    if (!scan)
        set_up();
    struct bytes all = bytes_of(data, size);
    size_t cut = size ? MIN((size_t)data[0], size) : 0;
    as_text(bytes_slice(all, 0, cut), bytes_slice(all, cut, size));
    as_text(BYTES_NONE, all);
    as_columns(bytes_slice(all, 0, cut), bytes_slice(all, cut, size));
    as_columns(all, all);
    if (size <= sizeof copy) {
        memcpy(copy, data, size);
        redact_blank(scan, copy, size);
    }
    return 0;
}
