#include "detectors/detectors_lexical.h"

#include <math.h>

#include "base/check.h"
#include "base/hash.h"

#define SLOTS (LEXICAL_WORDS_MAX * 2)
#define SHORT_WORD 3u /* "the", "is": they stand everywhere; numbers count at any length */
#define PASSAGES_MAX 4096u

struct words {
    uint64_t *slots; /* hashes of the documents' words */
    uint32_t count;
};

static bool is_wordly(uint8_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c >= 0x80;
}

/* The next word that says something, as a hash without case; 0: none is left. */
static uint64_t word_next(struct bytes text, size_t *at)
{
    while (*at < text.size) {
        uint8_t lower[64];
        size_t n = 0;
        bool is_number = false;
        while (*at < text.size && !is_wordly(text.data[*at]))
            ++*at;
        for (; *at < text.size && is_wordly(text.data[*at]); ++*at) {
            uint8_t c = text.data[*at];
            is_number = is_number || (c >= '0' && c <= '9');
            if (n < sizeof lower)
                lower[n++] = c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
        }
        if (n > SHORT_WORD || (is_number && n))
            return hash64(bytes_of(lower, n), 21) | 1;
    }
    return 0;
}

static void words_add(struct words *w, uint64_t h)
{
    uint32_t at = (uint32_t)h % SLOTS;
    while (w->slots[at] && w->slots[at] != h)
        at = (at + 1) % SLOTS;
    if (!w->slots[at] && w->count < LEXICAL_WORDS_MAX) {
        w->slots[at] = h;
        w->count++;
    }
}

static bool words_have(const struct words *w, uint64_t h)
{
    uint32_t at = (uint32_t)h % SLOTS;
    while (w->slots[at] && w->slots[at] != h)
        at = (at + 1) % SLOTS;
    return w->slots[at] == h;
}

/* Where the sentence that begins here ends: behind its stop, or before its line's end. */
static size_t sentence_end(struct bytes text, size_t begin)
{
    for (size_t i = begin; i < text.size; i++) {
        uint8_t c = text.data[i];
        bool is_stop = c == '.' || c == '!' || c == '?';
        if (c == '\n')
            return i;
        if (is_stop && (i + 1 == text.size || text.data[i + 1] <= ' '))
            return i + 1;
    }
    return text.size;
}

static size_t skip_blank(struct bytes text, size_t at)
{
    while (at < text.size && text.data[at] <= ' ')
        at++;
    return at;
}

static uint32_t shared_words(struct bytes passage, const uint64_t *wanted, uint32_t count)
{
    uint32_t n = 0;
    uint64_t h;
    for (size_t at = 0; (h = word_next(passage, &at)) != 0;)
        for (uint32_t i = 0; i < count; i++)
            n += wanted[i] == h;
    return n;
}

/* The passage that shares the most words with the sentence. */
static void find_evidence(const struct ground_text *t, const uint64_t *wanted, uint32_t count,
                          struct ground_sentence *s)
{
    uint32_t best = 0, looked = 0;
    for (uint32_t d = 0; d < t->documents_count; d++)
        for (size_t at = skip_blank(t->documents[d], 0);
             at < t->documents[d].size && looked < PASSAGES_MAX; looked++) {
            size_t end = sentence_end(t->documents[d], at);
            uint32_t n = shared_words(bytes_slice(t->documents[d], at, end), wanted, count);
            if (n > best) {
                best = n;
                s->evidence_count = 1;
                s->evidence[0] =
                    (struct ground_evidence){.document = d,
                                             .begin = (uint32_t)at,
                                             .end = (uint32_t)end,
                                             .similarity = fminf(1, (float)n / (float)count)};
            }
            at = skip_blank(t->documents[d], MAX(end, at + 1));
        }
}

static void judge_sentence(const struct ground_text *t, const struct words *w,
                           struct ground_sentence *s)
{
    uint64_t wanted[64], h;
    uint32_t count = 0, missing = 0;
    struct bytes text = bytes_slice(t->response, s->begin, s->end);
    for (size_t at = 0; count < ARRAY_LEN(wanted) && (h = word_next(text, &at)) != 0;) {
        wanted[count++] = h;
        missing += !words_have(w, h);
    }
    s->kind = count ? GROUND_CLAIM : GROUND_META;
    s->probability = count ? (float)missing / (float)count : 0;
    if (count)
        find_evidence(t, wanted, count, s);
}

enum err detectors_lexical_check(const struct ground_text *t, struct arena *a,
                                 struct ground_verdict *out)
{
    struct ground_verdict v = {.status = GROUND_NOTHING_TO_JUDGE};
    struct words w = {.slots = ARENA_ARRAY(a, uint64_t, SLOTS)};
    struct bytes text = t->response;
    float worst = 0;
    v.sentences = ARENA_ARRAY(a, struct ground_sentence, GROUND_SENTENCES_MAX);
    if (!w.slots || !v.sentences)
        return ERR_LIMIT;
    if (text.size > GROUND_RESPONSE_BYTES_MAX) {
        text.size = GROUND_RESPONSE_BYTES_MAX;
        v.cut = true;
    }
    uint64_t h;
    for (uint32_t d = 0; d < t->documents_count; d++)
        for (size_t at = 0; (h = word_next(t->documents[d], &at)) != 0;)
            words_add(&w, h);
    for (size_t at = skip_blank(text, 0); at < text.size && w.count;) {
        size_t end = sentence_end(text, at);
        if (v.sentences_count == GROUND_SENTENCES_MAX) {
            v.cut = true;
            break;
        }
        struct ground_sentence *s = &v.sentences[v.sentences_count++];
        *s = (struct ground_sentence){.begin = (uint32_t)at, .end = (uint32_t)end};
        judge_sentence(t, &w, s);
        if (s->kind == GROUND_CLAIM)
            v.status = GROUND_JUDGED;
        worst = fmaxf(worst, s->probability);
        at = skip_blank(text, MAX(end, at + 1));
    }
    if (!w.count)
        v.status = GROUND_UNVERIFIABLE;
    v.probability = worst;
    v.logit = logf((worst + 0.01F) / (1.01F - worst));
    v.flagged = v.status == GROUND_JUDGED && worst >= LEXICAL_THRESHOLD;
    *out = v;
    return ERR_OK;
}
