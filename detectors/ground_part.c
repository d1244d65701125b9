/* Parts, and for each the evidence that fits beside it. */
#include "detectors/ground_part.h"

#include <stdlib.h>

#include "base/check.h"

#define NEIGHBOUR_SHARE .3f

struct line_tokens {
    uint32_t *ids;
    uint32_t count;
    bool known;
};
struct ranked {
    float score;
    uint32_t line;
};
struct making {
    const struct ground_part_input *in;
    struct arena *a;
    struct gpu_tokens scratch,
        answer; /* answer: of all sentences, end to end; places are bytes of the response */
    uint32_t *sentence_first; /* [answer->count + 1]: where each sentence's tokens begin */
    struct line_tokens *lines; /* of the context, tokenised when first looked at */
    float *recall, *score;
    struct ranked heap[GROUND_PART_LENGTH_MAX];
    struct ground_part *parts;
    uint32_t count, cap;
};

/* --- ranking --------------------------------------------------------------------------------------- */

void ground_part_rank(const struct ground_part_input *in, uint32_t begin, uint32_t end,
                      float *scratch, float *score)
{
    const struct ground_context *c = in->context;
    memset(score, 0, sizeof(*score) * c->count);
    for (uint32_t i = begin; i < end; i++) {
        const struct ground_words *w = &in->answer->words[i];
        memset(scratch, 0, sizeof(*scratch) * c->count);
        (void)ground_context_recall(c, in->idf, w->words, w->count, scratch);
        for (uint32_t l = 0; l < c->count; l++)
            score[l] = MAX(score[l], scratch[l]);
    }
    float before = 0;
    for (uint32_t l = 0; l < c->count; l++) {
        float own = score[l], after = l + 1 < c->count ? score[l + 1] : 0;
        score[l] = own + NEIGHBOUR_SHARE * (before + after);
        before = own;
    }
}

static bool ranks_below(struct ranked x, struct ranked y)
{
    return x.score != y.score ? x.score < y.score : x.line > y.line;
}

/* heap[0] ranks lowest of those kept. */
static void sift_down(struct ranked *heap, uint32_t n, uint32_t i)
{
    for (;;) {
        uint32_t low = i, l = 2 * i + 1, r = l + 1;
        if (l < n && ranks_below(heap[l], heap[low]))
            low = l;
        if (r < n && ranks_below(heap[r], heap[low]))
            low = r;
        if (low == i)
            return;
        struct ranked t = heap[i];
        heap[i] = heap[low], heap[low] = t;
        i = low;
    }
}

static int best_first(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    return ranks_below(*x, *y) ? 1 : ranks_below(*y, *x) ? -1 : 0;
}

static int line_first(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    return (x->line > y->line) - (x->line < y->line);
}

/* The best lines, best first; no more than could fit if each had one token. */
static uint32_t best_lines(struct making *m)
{
    uint32_t n = 0, lines = m->in->context->count;
    for (uint32_t l = 0; l < lines; l++) {
        struct ranked r = {m->score[l], l};
        if (n < ARRAY_LEN(m->heap)) {
            m->heap[n++] = r;
            if (n == ARRAY_LEN(m->heap))
                for (uint32_t i = n / 2; i-- > 0;)
                    sift_down(m->heap, n, i);
        } else if (ranks_below(m->heap[0], r)) {
            m->heap[0] = r;
            sift_down(m->heap, n, 0);
        }
    }
    qsort(m->heap, n, sizeof(*m->heap), best_first);
    return n;
}

/* --- tokens ---------------------------------------------------------------------------------------- */

static enum err line_of(struct making *m, uint32_t line, const struct line_tokens **out)
{
    struct line_tokens *t = &m->lines[line];
    *out = t;
    if (t->known)
        return ERR_OK;
    m->scratch.count = 0;
    if (!gpu_tokens_add(m->in->vocab, m->in->context->lines[line].text, 0, &m->scratch))
        return ERR_NOMEM;
    t->ids = ARENA_ARRAY(m->a, uint32_t, m->scratch.count + 1);
    if (!t->ids)
        return ERR_NOMEM;
    if (m->scratch.count)
        memcpy(t->ids, m->scratch.id, sizeof(*t->ids) * m->scratch.count);
    t->count = m->scratch.count, t->known = true;
    return ERR_OK;
}

static enum err tokenise_answer(struct making *m)
{
    const struct ground_answer *r = m->in->answer;
    for (uint32_t i = 0; i < r->count; i++) {
        uint32_t from = m->answer.count;
        m->sentence_first[i] = from;
        if (!gpu_tokens_add(m->in->vocab, ground_answer_sentence(r, i), 1, &m->answer))
            return ERR_NOMEM;
        for (uint32_t t = from; t < m->answer.count; t++) {
            m->answer.begin[t] += r->ranges[i].begin;
            m->answer.end[t] += r->ranges[i].begin;
        }
    }
    m->sentence_first[r->count] = m->answer.count;
    return ERR_OK;
}

static void put(struct ground_part *p, uint32_t id, uint8_t type)
{
    p->ids[p->count] = id;
    p->types[p->count++] = type;
}

/* Chooses the lines, leaves them in heap[0..*n) in document order. */
static enum err choose_evidence(struct making *m, uint32_t room, uint32_t *n)
{
    uint32_t ranked = best_lines(m), kept = 0;
    for (uint32_t i = 0; i < ranked && room > 2; i++) {
        const struct line_tokens *t;
        enum err e = line_of(m, m->heap[i].line, &t);
        if (e != ERR_OK)
            return e;
        if (t->count == 0 || (t->count > room && kept))
            continue;
        m->heap[kept++] = m->heap[i];
        room -= MIN(room, t->count); /* the first one is cut where it alone is too long */
    }
    qsort(m->heap, kept, sizeof(*m->heap), line_first);
    *n = kept;
    return ERR_OK;
}

static enum err new_part(struct making *m, struct ground_part **out)
{
    if (m->count == m->cap) {
        uint32_t more = m->cap ? m->cap * 2 : 4;
        m->parts = arena_grow(m->a, m->parts, sizeof(*m->parts), m->cap, more);
        m->cap = more;
    }
    if (!m->parts)
        return ERR_NOMEM;
    struct ground_part p = {.ids = ARENA_ARRAY(m->a, uint32_t, GROUND_PART_LENGTH_MAX),
                            .begin = ARENA_ARRAY(m->a, uint32_t, GROUND_PART_LENGTH_MAX),
                            .end = ARENA_ARRAY(m->a, uint32_t, GROUND_PART_LENGTH_MAX),
                            .types = ARENA_ARRAY(m->a, uint8_t, GROUND_PART_LENGTH_MAX)};
    if (!p.ids || !p.begin || !p.end || !p.types)
        return ERR_NOMEM;
    m->parts[m->count] = p;
    *out = &m->parts[m->count++];
    return ERR_OK;
}

/* Tokens of words that the context does not have are of segment 0. */
static void mark_missing(const struct making *m, struct ground_part *p, uint32_t begin,
                         uint32_t end)
{
    const struct ground_answer *r = m->in->answer;
    uint32_t t = p->first;
    for (uint32_t i = begin; i < end; i++) {
        const struct ground_words *w = &r->words[i];
        for (uint32_t k = 0; k < w->count; k++) {
            const struct ground_word *x = &w->words[k];
            struct bytes text = bytes_slice(ground_answer_sentence(r, i), x->begin, x->end);
            uint32_t from = r->ranges[i].begin + x->begin, to = r->ranges[i].begin + x->end;
            bool missing = ground_word_is_content(x) &&
                           !ground_context_has(m->in->context, x->hash) &&
                           !ground_context_has_prefix(m->in->context, text);
            while (t < p->count && p->end[t] <= from)
                t++;
            for (uint32_t j = t; missing && j < p->count && p->begin[j] < to; j++)
                p->types[j] = 0;
        }
    }
}

/* Tokens from..to of the response, which are of sentences begin..end. */
static enum err add_part(struct making *m, uint32_t from, uint32_t to, uint32_t begin, uint32_t end,
                         const struct gpu_tokens *question)
{
    const struct gpu_vocab *v = m->in->vocab;
    struct ground_part *p;
    uint32_t chosen, asked = MIN(question->count, GROUND_PART_QUESTION_MAX);
    uint32_t room = GROUND_PART_LENGTH_MAX - 4 - asked - (to - from);
    enum err e = new_part(m, &p);
    if (e != ERR_OK)
        return e;
    ground_part_rank(m->in, begin, end, m->recall, m->score);
    e = choose_evidence(m, room, &chosen);
    if (e != ERR_OK)
        return e;
    put(p, gpu_vocab_cls(v), 0);
    for (uint32_t i = 0; i < chosen; i++) {
        const struct line_tokens *t = &m->lines[m->heap[i].line];
        for (uint32_t k = 0; k < t->count && p->count < room + 1; k++)
            put(p, t->ids[k], 0);
    }
    put(p, gpu_vocab_sep(v), 0);
    for (uint32_t i = 0; i < asked; i++)
        put(p, question->id[i], 0);
    put(p, gpu_vocab_sep(v), 0);
    p->first = p->count;
    for (uint32_t i = from; i < to; i++) {
        p->begin[p->count] = m->answer.begin[i], p->end[p->count] = m->answer.end[i];
        put(p, m->answer.id[i], 1);
    }
    if (m->in->marks)
        mark_missing(m, p, begin, end);
    put(p, gpu_vocab_sep(v), 1);
    CHECK(p->count <= GROUND_PART_LENGTH_MAX);
    p->sentence_begin = begin, p->sentence_end = end;
    return ERR_OK;
}

static enum err add_parts(struct making *m)
{
    const uint32_t *first = m->sentence_first;
    struct gpu_tokens question = {0};
    struct bytes asked = bytes_slice(m->in->question, 0, MIN(m->in->question.size, 4096u));
    enum err e = gpu_tokens_add(m->in->vocab, asked, 0, &question) ? ERR_OK : ERR_NOMEM;
    for (uint32_t i = 0; e == ERR_OK && i < m->in->answer->count;) {
        uint32_t end = i + 1;
        while (end < m->in->answer->count && first[end + 1] - first[i] <= GROUND_PART_TOKENS_MAX)
            end++;
        for (uint32_t t = first[i]; e == ERR_OK && t < first[end]; t += GROUND_PART_TOKENS_MAX)
            e = add_part(m, t, MIN(t + GROUND_PART_TOKENS_MAX, first[end]), i, end, &question);
        i = end;
    }
    gpu_tokens_done(&question);
    return e;
}

enum err ground_part_make(const struct ground_part_input *in, struct arena *a,
                          struct ground_part **out, uint32_t *out_count)
{
    struct making *m = ARENA_ARRAY(a, struct making, 1);
    if (!m)
        return ERR_NOMEM;
    m->in = in, m->a = a;
    m->sentence_first = ARENA_ARRAY(a, uint32_t, in->answer->count + 1);
    m->lines = ARENA_ARRAY(a, struct line_tokens, in->context->count + 1);
    m->recall = ARENA_ARRAY(a, float, in->context->count + 1);
    m->score = ARENA_ARRAY(a, float, in->context->count + 1);
    enum err e = m->sentence_first && m->lines && m->recall && m->score ? ERR_OK : ERR_NOMEM;
    if (e == ERR_OK)
        e = tokenise_answer(m);
    if (e == ERR_OK)
        e = add_parts(m);
    gpu_tokens_done(&m->scratch);
    gpu_tokens_done(&m->answer);
    if (e == ERR_OK)
        *out = m->parts, *out_count = m->count;
    return e;
}
