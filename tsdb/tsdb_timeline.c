#include "tsdb/tsdb_timeline.h"

#include "base/check.h"

#define VERSION 1u
#define CHANNELS 3u
#define STEPS_MAX (INT64_MAX / TSDB_TIMELINE_STEP_NS)

static const struct tsdb_timeline_chunk usual = {0, 1, 0};

struct tsdb_timeline_writer tsdb_timeline_begin(struct buf *out)
{
    buf_u8(out, VERSION);
    return (struct tsdb_timeline_writer){out, usual};
}

void tsdb_timeline_put(struct tsdb_timeline_writer *w, const struct tsdb_timeline_chunk *c)
{
    CHECK(c->channel < CHANNELS);
    int64_t step = c->after_ns / TSDB_TIMELINE_STEP_NS;
    int64_t gap = step > w->last.after_ns ? step - w->last.after_ns : 0;
    bool changed = c->tokens != w->last.tokens || c->channel != w->last.channel;
    buf_varint(w->out, (uint64_t)gap << 1 | changed);
    if (changed)
        buf_varint(w->out, (uint64_t)c->tokens * CHANNELS + c->channel);
    w->last = (struct tsdb_timeline_chunk){w->last.after_ns + gap, c->tokens, c->channel};
}

struct tsdb_timeline_reader tsdb_timeline_open(struct bytes b)
{
    struct tsdb_timeline_reader r = {.r = reader_of(b), .last = usual};
    r.corrupt = reader_u8(&r.r) != VERSION;
    return r;
}

bool tsdb_timeline_next(struct tsdb_timeline_reader *r, struct tsdb_timeline_chunk *out)
{
    if (r->corrupt || reader_left(&r->r) == 0)
        return false;
    uint64_t head = reader_varint(&r->r), gap = head >> 1;
    if (head & 1) {
        uint64_t v = reader_varint(&r->r);
        if (v / CHANNELS > UINT32_MAX)
            r->corrupt = true;
        r->last.tokens = (uint32_t)(v / CHANNELS);
        r->last.channel = (uint8_t)(v % CHANNELS);
    }
    if (r->r.failed || gap > (uint64_t)(STEPS_MAX - r->last.after_ns))
        r->corrupt = true;
    if (r->corrupt)
        return false;
    r->last.after_ns += (int64_t)gap; /* in steps */
    *out = r->last;
    out->after_ns *= TSDB_TIMELINE_STEP_NS;
    return true;
}
