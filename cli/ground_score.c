/* Samples in, verdicts out; the arena of a verdict dies with its line. */
#include "cli/ground_score.h"

#include <stdio.h>

#include "base/check.h"
#include "base/json_out.h"
#include "detectors/detectors_ground_lab.h"

#define ARENA_MAX (1ull << 30)
#define EVIDENCE_TEXT_MAX 300u

struct scoring {
    struct ground *g;
    struct arena *a; /* of one response */
    uint64_t scored, failed, bad;
};

const char *ground_score_status(enum ground_status s)
{
    static const char *const names[] = {"judged", "unverifiable", "nothing_to_judge"};
    return names[s];
}

static uint64_t code_points(struct bytes t, uint32_t until)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < until; i++)
        n += (t.data[i] & 0xc0) != 0x80;
    return n;
}

static void write_range(struct json_out *j, struct bytes t, uint32_t begin, uint32_t end)
{
    uint64_t start = code_points(t, begin);
    json_out_key(j, "start"), json_out_u64(j, start);
    json_out_key(j, "end");
    json_out_u64(j, start + code_points(bytes_slice(t, begin, t.size), end - begin));
}

static void write_probability(struct json_out *j, double p, bool known)
{
    json_out_key(j, "probability");
    if (known)
        json_out_f64(j, (double)(long)(p * 1e6 + .5) / 1e6);
    else
        json_out_null(j);
}

static void write_evidence(struct json_out *j, const struct ground_lab_text *t,
                           const struct ground_sentence *s)
{
    json_out_key(j, "evidence"), json_out_array(j);
    for (uint32_t i = 0; i < s->evidence_count; i++) {
        const struct ground_evidence *e = &s->evidence[i];
        struct bytes d = t->text.documents[e->document];
        struct bytes text = bytes_slice(d, e->begin, e->end);
        text.size = MIN(text.size, EVIDENCE_TEXT_MAX);
        json_out_object(j);
        json_out_key(j, "document"), json_out_u64(j, e->document);
        write_range(j, d, e->begin, e->end);
        json_out_key(j, "text"), json_out_bytes(j, text);
        json_out_key(j, "similarity"), json_out_f64(j, (double)e->similarity);
        json_out_object_end(j);
    }
    json_out_array_end(j);
}

static void write_sentences(struct json_out *j, const struct ground_lab_text *t,
                            const struct ground_verdict *v)
{
    static const char *const kinds[] = {"claim", "meta", "refusal"};
    json_out_key(j, "sentences"), json_out_array(j);
    for (uint32_t i = 0; i < v->sentences_count; i++) {
        const struct ground_sentence *s = &v->sentences[i];
        json_out_object(j);
        write_range(j, t->text.response, s->begin, s->end);
        json_out_key(j, "kind"), json_out_str(j, kinds[s->kind]);
        write_probability(j, (double)s->probability, v->status != GROUND_UNVERIFIABLE);
        write_evidence(j, t, s);
        json_out_object_end(j);
    }
    json_out_array_end(j);
}

static void write_verdict(struct buf *b, const struct ground_lab_text *t,
                          const struct ground_verdict *v)
{
    struct json_out j = json_out_to(b);
    json_out_object(&j);
    json_out_key(&j, "source_id"), json_out_raw(&j, t->source_id);
    json_out_key(&j, "response"), json_out_u64(&j, t->index);
    json_out_key(&j, "status"), json_out_str(&j, ground_score_status(v->status));
    write_probability(&j, (double)v->probability,
                      v->status != GROUND_UNVERIFIABLE && v->sentences_count > 0);
    json_out_key(&j, "flagged"), json_out_bool(&j, v->flagged);
    if (v->cut)
        json_out_key(&j, "cut"), json_out_bool(&j, true);
    json_out_key(&j, "spans"), json_out_array(&j);
    for (uint32_t i = 0; i < v->spans_count; i++) {
        json_out_object(&j);
        write_range(&j, t->text.response, v->spans[i].begin, v->spans[i].end);
        write_probability(&j, (double)v->spans[i].probability, true);
        json_out_object_end(&j);
    }
    json_out_array_end(&j);
    write_sentences(&j, t, v);
    json_out_object_end(&j);
    buf_u8(b, '\n');
}

static enum err score(void *ctx, const struct ground_lab_text *t)
{
    struct scoring *s = ctx;
    struct ground_verdict v;
    struct err_msg msg = {""};
    struct buf line = {0};
    arena_reset(s->a);
    enum err e = ground_check(s->g, &t->text, 0, s->a, &v, &msg);
    if (e == ERR_OK) {
        write_verdict(&line, t, &v);
        e = buf_ok(&line) ? ERR_OK : ERR_NOMEM;
    }
    if (e == ERR_OK && fwrite(line.data, 1, line.size, stdout) != line.size)
        e = ERR_IO;
    if (e == ERR_OK)
        s->scored++;
    else
        fprintf(stderr, "telltale ground score: source " BYTES_FMT ", response %u: %s\n",
                BYTES_ARG(t->source_id), t->index, msg.text[0] ? msg.text : err_text(e));
    s->failed += e != ERR_OK;
    buf_done(&line);
    return e == ERR_IO ? e : ERR_OK; /* a reader that has gone; else the rest goes on */
}

static void bad_line(void *ctx, const char *file, uint64_t line, const char *why)
{
    struct scoring *s = ctx;
    s->bad++;
    fprintf(stderr, "telltale ground score: %s, line %llu: %s\n", file, (unsigned long long)line,
            why);
}

int ground_score_file(struct ground *g, const char *path)
{
    struct scoring s = {.g = g, .a = arena_new(ARENA_MAX)};
    struct err_msg msg = {""};
    enum err e = s.a ? ground_lab_read(path, score, bad_line, &s, &msg) : ERR_NOMEM;
    arena_free(s.a);
    if (e != ERR_OK)
        fprintf(stderr, "telltale ground score: %s\n", msg.text[0] ? msg.text : err_text(e));
    if (s.bad || s.failed)
        fprintf(stderr, "telltale ground score: %llu responses scored, %llu not, %llu bad lines\n",
                (unsigned long long)s.scored, (unsigned long long)s.failed,
                (unsigned long long)s.bad);
    return e == ERR_OK && !s.bad && !s.failed ? 0 : 1;
}
