/* Lines that are made alike: the first byte says whether the rest is a vector's bytes or lines that must come back as they were. */
#include "base/arena.h"
#include "base/check.h"
#include "tsdb/columns.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct vector_source *no_source(void *ctx, uint32_t number)
{
    (void)ctx, (void)number;
    return NULL;
}

static void there_and_back(struct bytes text, struct arena *a)
{
    struct bytes *lines = ARENA_ARRAY(a, struct bytes, text.size + 1), *back;
    struct buf out = {0};
    uint32_t n = 0;
    struct vector_coder c = {.a = a, .zip = &columns_zip_block, .source = no_source};
    if (!lines)
        return;
    for (size_t i = 0, to; i < text.size; i = to + 1) {
        for (to = i; to < text.size && text.data[to] != '\n';)
            to++;
        lines[n++] = bytes_slice(text, i, to);
    }
    c.row_count = n;
    vector_put_strings(&c, lines, n, NULL, &out);
    CHECK(buf_ok(&out));
    struct reader r = reader_of(buf_bytes(&out));
    CHECK(vector_get_strings(&c, &r, n, NULL, &back) == ERR_OK && reader_left(&r) == 0);
    for (uint32_t i = 0; i < n; i++)
        CHECK(bytes_equal(lines[i], back[i]));
    vector_coder_done(&c);
    buf_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *a = size > 1 ? arena_new(64u << 20) : NULL;
    struct bytes *out;
    if (!a)
        return 0;
    if (data[0] % 2) {
        there_and_back(bytes_of(data + 1, MIN(size - 1, (size_t)1 << 16)), a);
    } else {
        struct vector_coder c = {.a = a, .zip = &columns_zip_block, .source = no_source};
        struct reader r = reader_of(bytes_of(data + 2, size - 2));
        (void)!vector_get_strings(&c, &r, data[1], NULL, &out);
        vector_coder_done(&c);
    }
    arena_free(a);
    return 0;
}
