/* A model opened, a response judged: features, trees, tokens, stack, calibration, spans, evidence. */
#include "detectors/detectors_ground.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/file_in.h"
#include "base/hash.h"
#include "detectors/ground_encode.h"
#include "detectors/ground_judge.h"

struct ground {
    struct arena *arena; /* dies with it: the judge's form */
    uint8_t *file; /* malloc'ed, NULL for the built-in one */
    struct ground_options options;
    struct gpu_model *model; /* NULL: trees alone, or nothing was judged yet */
    struct gpu_encoder *encoder;
    struct ground_judge judge;
    char version[32];
};

/* --- opening --------------------------------------------------------------------------------------- */

static enum err read_model(struct ground *g, const char *path, struct bytes *out,
                           struct err_msg *msg)
{
    struct buf b;
    size_t size;
    enum err e = file_in_read(path, GPU_MODEL_BYTES_MAX, &b, msg);
    if (e != ERR_OK)
        return e;
    g->file = buf_take(&b, &size);
    *out = bytes_of(g->file, size);
    return ERR_OK;
}

static enum err open_encoder(struct ground *g, struct bytes file, const char *name,
                             struct err_msg *msg)
{
    enum err e = gpu_model_open_bytes(file, name, g->options.precision, &g->model, msg);
    if (e != ERR_OK)
        return e;
    g->encoder = gpu_encoder_new(g->model, g->options.threads);
    return g->encoder ? ERR_OK : err_set(msg, ERR_NOMEM, "out of memory");
}

/* The built-in encoder takes its 70 MB when the first text comes, for many programs never judge one. */
static enum err need_encoder(struct ground *g, struct err_msg *msg)
{
    return g->judge.encoder && !g->encoder
               ? open_encoder(g, ground_builtin(), "the built-in model", msg)
               : ERR_OK;
}

/* Trees alone need no encoder; a judge that was fitted with one does, and the file has to carry it. */
static enum err open_parts(struct ground *g, struct bytes file, const char *name,
                           struct err_msg *msg)
{
    struct bytes form;
    enum err e = gpu_model_read_extra(file, "ground", g->arena, &form, msg);
    if (e != ERR_OK)
        return e;
    if (form.size == 0)
        return err_set(msg, ERR_INVALID,
                       "%s has no checker in it: `telltale ground train` makes one", name);
    e = ground_judge_read(form, &g->judge);
    if (e == ERR_NEWER)
        return err_set(msg, ERR_INVALID,
                       "%s was made for other features than this program computes: train it again",
                       name);
    if (e != ERR_OK)
        return err_set(msg, ERR_INVALID, "%s: the checker in it is damaged", name);
    struct hash128 h = hash128(file, 0);
    int n = snprintf(g->version, sizeof(g->version), "%08x-f%u", (unsigned)h.lo,
                     GROUND_FEATURE_VERSION);
    CHECK(n > 0 && (size_t)n < sizeof(g->version));
    return g->judge.encoder && g->file ? open_encoder(g, file, name, msg) : ERR_OK;
}

enum err ground_open(const struct ground_options *o, struct ground **out, struct err_msg *msg)
{
    struct bytes file = o->model ? BYTES_NONE : ground_builtin();
    if (!o->model && file.size == 0)
        return err_set(msg, ERR_NOT_FOUND,
                       "this program was built without a model: give one, or make one with "
                       "`telltale ground train`");
    struct ground *g = calloc(1, sizeof(*g));
    if (g) {
        g->options = *o;
        g->arena = arena_new(64u << 20);
    }
    enum err e = g && g->arena ? ERR_OK : err_set(msg, ERR_NOMEM, "out of memory");
    if (e == ERR_OK && o->model)
        e = read_model(g, o->model, &file, msg);
    if (e == ERR_OK)
        e = open_parts(g, file, o->model ? o->model : "the built-in model", msg);
    if (e != ERR_OK) {
        ground_close(g);
        return e;
    }
    *out = g;
    return ERR_OK;
}

void ground_close(struct ground *g)
{
    if (!g)
        return;
    gpu_encoder_free(g->encoder);
    if (g->model)
        gpu_model_close(g->model);
    arena_free(g->arena);
    free(g->file);
    free(g);
}

const char *ground_version(const struct ground *g)
{
    return g->version;
}
double ground_threshold(const struct ground *g)
{
    return (double)g->judge.threshold;
}

/* --- judging --------------------------------------------------------------------------------------- */

struct judging {
    struct ground *g;
    const struct ground_text *t;
    uint64_t deadline_ns;
    struct arena *a;
    struct ground_context context;
    struct ground_answer answer;
    struct ground_feature_rows features;
    struct ground_encode_result encoded;
};

static bool has_claim(const struct ground_answer *r)
{
    for (uint32_t i = 0; i < r->count; i++)
        if (r->kinds[i] == GROUND_CLAIM)
            return true;
    return false;
}

static void add_evidence(const struct judging *j, uint32_t i, struct ground_sentence *s)
{
    for (uint32_t k = 0; k < GROUND_EVIDENCE_MAX; k++) {
        uint32_t line = j->features.nearest[i * GROUND_EVIDENCE_MAX + k];
        if (line == UINT32_MAX)
            break;
        const struct ground_line *l = &j->context.lines[line];
        s->evidence[s->evidence_count++] =
            (struct ground_evidence){l->document, l->begin, l->end,
                                     MIN(1.f, j->features.shares[i * GROUND_EVIDENCE_MAX + k])};
    }
}

static enum err list_sentences(const struct judging *j, struct ground_verdict *v)
{
    v->sentences = ARENA_ARRAY(j->a, struct ground_sentence, j->answer.count + 1);
    if (!v->sentences)
        return ERR_NOMEM;
    v->sentences_count = j->answer.count;
    for (uint32_t i = 0; i < j->answer.count; i++)
        v->sentences[i] = (struct ground_sentence){.begin = j->answer.ranges[i].begin,
                                                   .end = j->answer.ranges[i].end,
                                                   .kind = j->answer.kinds[i]};
    return ERR_OK;
}

/* The numbers: of each sentence, of the response, and the spans. */
static enum err weigh(const struct judging *j, struct ground_verdict *v)
{
    const struct ground_judge *judge = &j->g->judge;
    uint32_t n = j->answer.count;
    float *trees = ARENA_ARRAY(j->a, float, n + 1), *logit = ARENA_ARRAY(j->a, float, n + 1),
          *p = ARENA_ARRAY(j->a, float, n + 1),
          *rows = ARENA_ARRAY(j->a, float, (size_t)(n + 1) * GROUND_JUDGE_SENTENCE);
    float row[GROUND_JUDGE_RESPONSE];
    if (!trees || !logit || !p || !rows)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < n; i++)
        trees[i] =
            ground_tree_logit(&judge->trees, j->features.rows + (size_t)i * GROUND_FEATURE_COUNT);
    struct ground_judge_input in = {&j->answer,       trees,           j->encoded.tokens,
                                    j->encoded.count, j->context.json, j->t->question.size > 0};
    ground_judge_sentence_rows(&in, rows);
    for (uint32_t i = 0; i < n; i++) {
        logit[i] = ground_curve_dot(judge->sentence, rows + (size_t)i * GROUND_JUDGE_SENTENCE,
                                    GROUND_JUDGE_SENTENCE);
        p[i] = ground_curve_probability(&judge->sentence_curve, logit[i]);
        v->sentences[i].probability = p[i];
        add_evidence(j, i, &v->sentences[i]);
    }
    ground_judge_response_row(&in, logit, row);
    v->logit = ground_curve_dot(judge->response, row, GROUND_JUDGE_RESPONSE);
    v->probability = ground_curve_probability(&judge->response_curve, v->logit);
    v->tokens = j->encoded.spent;
    return ground_judge_spans(judge, &in, p, j->a, &v->spans, &v->spans_count);
}

static enum err look(struct judging *j, struct ground_verdict *v, struct err_msg *msg)
{
    struct bytes question =
        bytes_slice(j->t->question, 0, MIN(j->t->question.size, (size_t)GROUND_QUESTION_BYTES_MAX));
    enum err e = ground_context_make(j->t->documents, j->t->documents_count, j->a, &j->context);
    if (e != ERR_OK)
        return e;
    v->cut |= j->context.cut;
    if (j->context.count == 0) {
        v->status = GROUND_UNVERIFIABLE;
        return ERR_OK;
    }
    struct ground_feature_input features = {&j->g->judge.idf, &j->context, &j->answer, question,
                                            j->deadline_ns};
    e = ground_feature_make(&features, j->a, &j->features);
    struct ground_part_input parts = {NULL,     &j->g->judge.idf, &j->context,
                                      question, &j->answer,       false};
    if (e == ERR_OK)
        e = need_encoder(j->g, msg);
    if (e == ERR_OK && j->g->encoder) {
        parts.vocab = gpu_model_vocab(j->g->model);
        e = ground_encode_tokens(j->g->encoder, j->g->model, &parts, j->deadline_ns, j->a,
                                 &j->encoded, msg);
    }
    if (e == ERR_OK)
        e = weigh(j, v);
    v->status = has_claim(&j->answer) ? GROUND_JUDGED : GROUND_NOTHING_TO_JUDGE;
    v->flagged = v->status == GROUND_JUDGED && v->probability >= j->g->judge.threshold;
    return e;
}

static bool any_text(const struct ground_text *t)
{
    for (uint32_t i = 0; i < t->documents_count; i++)
        if (bytes_trim(t->documents[i]).size)
            return true;
    return false;
}

enum err ground_check(struct ground *g, const struct ground_text *t, uint64_t deadline_ns,
                      struct arena *a, struct ground_verdict *out, struct err_msg *msg)
{
    struct judging j = {.g = g, .t = t, .deadline_ns = deadline_ns, .a = a};
    struct ground_verdict v = {0};
    enum err e = ground_answer_make(t->response, a, &j.answer);
    if (e == ERR_OK)
        e = list_sentences(&j, &v);
    v.cut = j.answer.cut;
    if (e == ERR_OK && j.answer.count == 0)
        v.status = GROUND_NOTHING_TO_JUDGE;
    else if (e == ERR_OK && !any_text(t))
        v.status = GROUND_UNVERIFIABLE;
    else if (e == ERR_OK)
        e = look(&j, &v, msg);
    if (e == ERR_OK)
        *out = v;
    else if (msg && !msg->text[0])
        (void)err_set(msg, e, "the response cannot be judged: %s", err_text(e));
    return e;
}
