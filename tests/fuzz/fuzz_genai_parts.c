/* Any attributes, events, bodies and prompts: texts come out or nothing does, and what comes out obeys the limits. */
#include "base/check.h"
#include "collector/genai/parts_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct bytes part(struct reader *r)
{
    size_t n = reader_u8(r);
    n |= (size_t)reader_u8(r) << 8;
    if (n > reader_left(r))
        n = reader_left(r);
    return reader_bytes(r, n);
}

/* The bytes as the text of a name that is known, so that what reads texts is reached from the start. */
static void read_as_text(struct bytes text, struct arena *a)
{
    static const char *const names[] = {"gen_ai.input.messages", "gen_ai.output.messages",
                                        "gen_ai.retrieval.documents", "gen_ai.prompt"};
    struct buf attrs = {0};
    struct genai_parts out;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        tsdb_attrs_put_str(&attrs, bytes_str(names[i]), text);
    struct genai_parts_row row = {.attrs = buf_bytes(&attrs)};
    if (genai_parts_read(&row, 1, a, &out) == ERR_OK)
        CHECK(out.document_count <= GENAI_PARTS_DOCUMENTS_MAX);
    buf_done(&attrs);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const events[] = {"gen_ai.user.message", "gen_ai.choice",
                                         "gen_ai.tool.message",
                                         "gen_ai.client.inference.operation.details"};
    struct arena *a = arena_new(8u << 20);
    struct reader r = reader_of(bytes_of(data, size));
    struct genai_parts_row rows[4] = {0};
    struct genai_parts out;
    CHECK(a);
    uint8_t which = reader_u8(&r);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        rows[i].attrs = part(&r);
        if (which >> i & 1) {
            rows[i].event_name = bytes_str(events[i]);
            rows[i].body = part(&r);
        } else {
            rows[i].events = part(&r);
        }
        (void)genai_parts_is_source(rows[i].attrs, rows[i].events);
    }
    if (genai_parts_read(rows, ARRAY_LEN(rows), a, &out) == ERR_OK) {
        CHECK(out.document_count <= GENAI_PARTS_DOCUMENTS_MAX);
        for (uint32_t i = 0; i < out.document_count; i++)
            CHECK(out.documents[i].size);
    }
    arena_reset(a);
    read_as_text(bytes_of(data, size), a);
    arena_free(a);
    return 0;
}
