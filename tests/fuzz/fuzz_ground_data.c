/* Data files for the grounding checker, and what is read of the texts in them: every sample is in bounds, every context and response can be cut up. */
#include "base/check.h"
#include "detectors/ground_answer.h"
#include "detectors/ground_context.h"
#include "detectors/ground_data.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
    struct arena *a;
};

static enum err look(void *ctx, const struct ground_sample *s)
{
    struct seen *seen = ctx;
    struct ground_context c;
    struct ground_answer r;
    for (uint32_t i = 0; i < s->spans_count; i++)
        CHECK(s->spans[i].begin < s->spans[i].end && s->spans[i].end <= s->response.size);
    if (ground_answer_make(s->response, seen->a, &r) != ERR_OK)
        return ERR_LIMIT;
    for (uint32_t i = 0; i < r.count; i++)
        CHECK(r.ranges[i].begin < r.ranges[i].end && r.ranges[i].end <= r.text.size &&
              (i == 0 || r.ranges[i].begin >= r.ranges[i - 1].end));
    if (ground_context_make(s->documents, s->documents_count, seen->a, &c) != ERR_OK)
        return ERR_LIMIT;
    for (uint32_t i = 0; i < c.count; i++) {
        CHECK(c.lines[i].document < s->documents_count && c.lines[i].begin <= c.lines[i].end);
        CHECK(c.lines[i].end <= s->documents[c.lines[i].document].size);
        for (uint32_t w = 0; w < c.lines[i].words.count; w++)
            CHECK(c.lines[i].words.words[w].end <= c.lines[i].text.size);
    }
    return ERR_OK;
}

static void bad(void *ctx, const char *file, uint64_t line, const char *why)
{
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct seen seen = {arena_new(64u << 20)};
    struct ground_data_sink sink = {look, bad, &seen};
    struct err_msg msg;
    struct bytes raw = bytes_of(data, size);
    struct ground_sample s = {.documents = &raw, .documents_count = 1, .response = raw};
    CHECK(seen.a);
    (void)!ground_data_read(raw, "fuzz.jsonl", seen.a, &sink, &msg);
    (void)!look(&seen, &s);
    arena_free(seen.a);
    return 0;
}
