/* A row of numbers for each sentence. */
#include "detectors/ground_feature.h"

#include <math.h>

#include "base/check.h"
#include "base/clock.h"

#define BEST_LINES 8u
#define TERMS_MAX 160u /* content words of a sentence that are looked at */

struct term {
    uint32_t hash;
    float idf;
    const struct ground_word *word;
    bool missing;
};
struct sentence {
    const struct ground_feature_input *in;
    struct bytes text;
    struct ground_words words;
    struct term terms[TERMS_MAX];
    uint32_t terms_count;
    float whole; /* idf of all terms */
    uint32_t best[BEST_LINES];
    float best_share[BEST_LINES];
    uint32_t best_count;
    uint32_t window_begin, window_end; /* lines */
    bool negated;
    float *x; /* its row */
};
#define F(s, name) ((s)->x[GROUND_FEATURE_##name])

static const char *const feature_names[] = {
#define X(name) #name,
    GROUND_FEATURE_TABLE(X)
#undef X
};

const char *ground_feature_name(enum ground_feature f)
{
    return (unsigned)f < GROUND_FEATURE_COUNT ? feature_names[f] : "?";
}

/* --- terms and lines ------------------------------------------------------------------------------- */

static void collect_terms(struct sentence *s)
{
    for (uint32_t i = 0; i < s->words.count && s->terms_count < TERMS_MAX; i++) {
        const struct ground_word *w = &s->words.words[i];
        bool again = !ground_word_is_content(w);
        for (uint32_t k = 0; k < s->terms_count && !again; k++)
            again = s->terms[k].hash == w->hash;
        if (again)
            continue;
        float idf = ground_idf_of(s->in->idf, w->hash);
        s->whole += idf;
        s->terms[s->terms_count++] =
            (struct term){w->hash, idf, w, !ground_context_has(s->in->context, w->hash)};
    }
}

static void keep_best(struct sentence *s, uint32_t line, float share)
{
    if (share <= 0 || (s->best_count == BEST_LINES && share <= s->best_share[BEST_LINES - 1]))
        return;
    uint32_t i = s->best_count < BEST_LINES ? s->best_count++ : BEST_LINES - 1;
    while (i > 0 && s->best_share[i - 1] < share) {
        s->best[i] = s->best[i - 1], s->best_share[i] = s->best_share[i - 1];
        i--;
    }
    s->best[i] = line, s->best_share[i] = share;
}

static bool line_has(const struct ground_line *l, uint32_t hash)
{
    for (uint32_t i = 0; i < l->words.count; i++)
        if (l->words.words[i].hash == hash)
            return true;
    return false;
}

static bool lines_have(const struct ground_context *c, uint32_t begin, uint32_t end, uint32_t hash)
{
    for (uint32_t l = begin; l < end; l++)
        if (line_has(&c->lines[l], hash))
            return true;
    return false;
}

static float share_of_lines(const struct sentence *s, uint32_t begin, uint32_t end)
{
    float sum = 0;
    for (uint32_t i = 0; i < s->terms_count; i++)
        if (!s->terms[i].missing && lines_have(s->in->context, begin, end, s->terms[i].hash))
            sum += s->terms[i].idf;
    return s->whole > 0 ? sum / s->whole : 0;
}

/* The best lines, the window around one of them that has most, and what they share with the sentence. */
static void find_lines(struct sentence *s, float *score)
{
    const struct ground_context *c = s->in->context;
    memset(score, 0, sizeof(*score) * c->count);
    (void)ground_context_recall(c, s->in->idf, s->words.words, s->words.count, score);
    for (uint32_t l = 0; l < c->count; l++)
        keep_best(s, l, score[l]);
    for (uint32_t i = 0; i < s->best_count; i++) {
        uint32_t l = s->best[i], begin = l > 0 ? l - 1 : 0, end = MIN(l + 2, c->count);
        float share = share_of_lines(s, begin, end);
        if (share > F(s, RECALL_WINDOW)) {
            F(s, RECALL_WINDOW) = share;
            s->window_begin = begin, s->window_end = end;
        }
    }
    F(s, RECALL_LINE) = s->best_count ? s->best_share[0] : 0;
}

static void recall_features(struct sentence *s)
{
    float all = 0, three = 0;
    for (uint32_t i = 0; i < s->terms_count; i++) {
        bool in_three = false;
        all += s->terms[i].missing ? 0 : s->terms[i].idf;
        for (uint32_t k = 0; k < MIN(s->best_count, 3u) && !in_three; k++)
            in_three = line_has(&s->in->context->lines[s->best[k]], s->terms[i].hash);
        three += in_three ? s->terms[i].idf : 0;
    }
    F(s, RECALL) = s->whole > 0 ? all / s->whole : 1;
    F(s, RECALL_THREE) = s->whole > 0 ? three / s->whole : 1;
    if (!s->best_count)
        return;
    const struct ground_line *l = &s->in->context->lines[s->best[0]];
    float own = 0, theirs = 0, both = 0;
    for (uint32_t i = 0; i < s->terms_count; i++) {
        float square = s->terms[i].idf * s->terms[i].idf;
        own += square;
        both += line_has(l, s->terms[i].hash) ? square : 0;
    }
    for (uint32_t i = 0; i < l->words.count; i++)
        if (ground_word_is_content(&l->words.words[i])) {
            float idf = ground_idf_of(s->in->idf, l->words.words[i].hash);
            theirs += idf * idf;
        }
    F(s, COSINE) = both > 0 ? both / sqrtf(own * theirs) : 0;
    F(s, LEAF_BEST) = l->path_bytes > 0;
}

/* --- order ----------------------------------------------------------------------------------------- */

static void order_features(struct sentence *s)
{
    const struct ground_word *w = s->words.words;
    uint32_t n = s->words.count, pairs = 0, triples = 0, run = 1, longest = 0;
    for (uint32_t i = 0; i < n; i++) {
        bool pair = i + 1 < n && ground_context_has_pair(s->in->context, w[i].hash, w[i + 1].hash);
        bool triple = i + 2 < n && ground_context_has_three(s->in->context, w[i].hash,
                                                            w[i + 1].hash, w[i + 2].hash);
        pairs += pair, triples += triple;
        /* A chain of triples stands for a run copied; it can be fooled where two runs meet, and seldom is. */
        run = triple ? run + 1 : 1;
        longest = MAX(longest, triple ? run + 1 : pair ? 2u : 0u);
    }
    F(s, PAIRS) = n > 1 ? (float)pairs / (float)(n - 1) : 0;
    F(s, TRIPLES) = n > 2 ? (float)triples / (float)(n - 2) : 0;
    F(s, RUN) = (float)longest;
    F(s, RUN_SHARE) = n ? (float)longest / (float)n : 0;
}

/* --- what is missing ------------------------------------------------------------------------------- */

static void count_missing(struct sentence *s, uint8_t flag, enum ground_feature first)
{
    uint32_t all = 0, missing = 0, window = 0;
    for (uint32_t i = 0; i < s->terms_count; i++) {
        const struct term *t = &s->terms[i];
        /* A capital at the begin of the sentence tells nothing. */
        if (!(t->word->flags & flag) || (flag == GROUND_WORD_CAPITAL && t->word == s->words.words))
            continue;
        all++;
        missing += t->missing;
        window +=
            t->missing || !lines_have(s->in->context, s->window_begin, s->window_end, t->hash);
    }
    s->x[first] = (float)all, s->x[first + 1] = (float)missing, s->x[first + 2] = (float)window;
    s->x[first + 3] = all ? (float)missing / (float)all : 0;
}

static void missing_features(struct sentence *s, const struct ground_words *question)
{
    uint32_t run = 0;
    for (uint32_t i = 0; i < s->terms_count; i++) {
        const struct term *t = &s->terms[i];
        run = t->missing ? run + 1 : 0;
        F(s, MISSING_RUN) = MAX(F(s, MISSING_RUN), (float)run);
        if (!t->missing)
            continue;
        F(s, MISSING)++;
        F(s, MISSING_IDF) += t->idf;
        if (!ground_context_has_prefix(s->in->context,
                                       bytes_slice(s->text, t->word->begin, t->word->end)))
            F(s, MISSING_PREFIX)++;
        if (t->idf > F(s, MISSING_RAREST)) {
            F(s, MISSING_SECOND) = F(s, MISSING_RAREST);
            F(s, MISSING_RAREST) = t->idf;
        } else {
            F(s, MISSING_SECOND) = MAX(F(s, MISSING_SECOND), t->idf);
        }
        bool asked = false;
        for (uint32_t k = 0; k < question->count && !asked; k++)
            asked = question->words[k].hash == t->hash;
        F(s, MISSING_ASKED) += asked;
    }
    float n = (float)MAX(s->terms_count, 1u), asked = 0;
    F(s, CONTENT) = (float)s->terms_count;
    F(s, MISSING_SHARE) = F(s, MISSING) / n;
    F(s, MISSING_PREFIX_SHARE) = F(s, MISSING_PREFIX) / n;
    for (uint32_t i = 0; i < s->terms_count; i++)
        for (uint32_t k = 0; k < question->count; k++)
            if (question->words[k].hash == s->terms[i].hash) {
                asked += s->terms[i].idf;
                break;
            }
    F(s, ASKED) = s->whole > 0 ? asked / s->whole : 0;
    F(s, QUESTION) = question->count > 0;
}

/* --- yes and no ------------------------------------------------------------------------------------ */

static bool any_negation(const struct ground_words *w)
{
    for (uint32_t i = 0; i < w->count; i++)
        if (w->words[i].flags & GROUND_WORD_NEGATION)
            return true;
    return false;
}

/* A negation within a few words of the term: lists say several things, and only some of them are denied. */
static bool denied_near(const struct sentence *s, const struct ground_word *w)
{
    for (uint32_t i = 0; i < s->words.count; i++) {
        const struct ground_word *x = &s->words.words[i];
        if ((x->flags & GROUND_WORD_NEGATION) && x->begin < w->begin + 30 &&
            w->begin < x->begin + 60)
            return true;
    }
    return false;
}

/* How much of a leaf's own key stands in the sentence, by idf; *denied: with a negation near. */
static float key_share(const struct sentence *s, const struct ground_line *l, bool *denied)
{
    float all = 0, hit = 0;
    for (uint32_t i = 0; i < l->words.count && l->words.words[i].end <= l->path_bytes; i++) {
        const struct ground_word *w = &l->words.words[i];
        if (!ground_word_is_content(w))
            continue;
        float idf = ground_idf_of(s->in->idf, w->hash);
        all += idf;
        for (uint32_t k = 0; k < s->terms_count; k++)
            if (s->terms[k].hash == w->hash) {
                hit += idf;
                *denied |= denied_near(s, s->terms[k].word);
            }
    }
    return all > 0 ? hit / all : 0;
}

static void truth_features(struct sentence *s)
{
    const struct ground_context *c = s->in->context;
    bool in_window = false;
    for (uint32_t l = s->window_begin; l < s->window_end; l++)
        in_window |= any_negation(&c->lines[l].words);
    F(s, NEGATED) = s->negated;
    F(s, NEGATED_WINDOW) = in_window;
    F(s, NEGATED_APART) = s->negated != in_window;
    /* Keys are short: a leaf that the sentence is about need not be among its best lines, so all that share a word are looked at. */
    for (uint32_t i = 0; c->json && i < s->terms_count; i++) {
        uint32_t n;
        const uint32_t *lines = ground_context_lines_of(c, s->terms[i].hash, &n);
        for (uint32_t k = 0; k < MIN(n, 64u); k++) {
            const struct ground_line *l = &c->lines[lines[k]];
            bool denied = false;
            if (l->truth == GROUND_TRUTH_NONE)
                continue;
            float share = key_share(s, l, &denied);
            float *x = l->truth == GROUND_TRUTH_NO
                           ? (denied ? &F(s, NO_SAID_NO) : &F(s, NO_SAID_YES))
                           : (denied ? &F(s, YES_SAID_NO) : &F(s, YES_SAID_YES));
            *x = MAX(*x, share);
        }
    }
}

/* --- form ------------------------------------------------------------------------------------------ */

static bool begins_with_any(struct bytes t, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t size = strlen(words[i]);
        if (t.size >= size && bytes_equal_nocase(bytes_slice(t, 0, size), bytes_str(words[i])))
            return true;
    }
    return false;
}

static void form_features(struct sentence *s, uint32_t i)
{
    static const char *const conclusions[] = {"overall",   "in conclusion", "in summary",
                                              "therefore", "in short",      "ultimately",
                                              "thus",      "to sum"};
    static const char *const tells[] = {"mention", "specify",     "specified", "provide", "state",
                                        "say",     "information", "detail",    "clear"};
    const struct ground_answer *r = s->in->answer;
    F(s, REFUSAL) = r->kinds[i] == GROUND_REFUSAL;
    F(s, META) = r->kinds[i] == GROUND_META;
    F(s, CONCLUSION) = begins_with_any(s->text, conclusions, ARRAY_LEN(conclusions));
    for (unsigned k = 0; s->negated && k < ARRAY_LEN(tells); k++)
        for (uint32_t w = 0; w < s->words.count; w++)
            if (s->words.words[w].hash == ground_word_hash(bytes_str(tells[k])))
                F(s, ABSENCE) = 1;
    for (uint32_t w = 0; w < s->words.count; w++)
        F(s, HEDGES) += (s->words.words[w].flags & GROUND_WORD_HEDGE) != 0;
    F(s, QUOTES) = bytes_find(s->text, BYTES_LIT("\"")) < s->text.size;
    F(s, COLON) = s->text.data[s->text.size - 1] == ':';
    F(s, LIST) = s->text.data[0] == '-' || s->text.data[0] == '*' ||
                 (s->text.data[0] >= '0' && s->text.data[0] <= '9');
    F(s, PLACE) = r->count > 1 ? (float)i / (float)(r->count - 1) : 0;
    F(s, SENTENCES) = (float)r->count;
    F(s, WORDS) = (float)s->words.count;
    F(s, JSON) = s->in->context->json;
    F(s, CONTEXT_WORDS) = logf(1.f + (float)s->in->context->words_count);
    F(s, CONTEXT_LINES) = logf(1.f + (float)s->in->context->count);
}

/* What a sentence is beside the others of its response: a copying model copies everywhere. */
static void relate(float *rows, uint32_t n)
{
    float recall = 0, pairs = 0, least = 1;
    for (uint32_t i = 0; i < n; i++) {
        const float *x = rows + (size_t)i * GROUND_FEATURE_COUNT;
        recall += x[GROUND_FEATURE_RECALL] / (float)n;
        pairs += x[GROUND_FEATURE_PAIRS] / (float)n;
        least = MIN(least, x[GROUND_FEATURE_RECALL_WINDOW]);
    }
    for (uint32_t i = 0; i < n; i++) {
        float *x = rows + (size_t)i * GROUND_FEATURE_COUNT;
        x[GROUND_FEATURE_MEAN_RECALL] = recall;
        x[GROUND_FEATURE_MEAN_PAIRS] = pairs;
        x[GROUND_FEATURE_LEAST_WINDOW] = least;
        x[GROUND_FEATURE_WINDOW_OVER_MEAN] = x[GROUND_FEATURE_RECALL] - recall;
        x[GROUND_FEATURE_PAIRS_OVER_MEAN] = x[GROUND_FEATURE_PAIRS] - pairs;
        x[GROUND_FEATURE_BEFORE_WINDOW] =
            i ? x[GROUND_FEATURE_RECALL_WINDOW - (int)GROUND_FEATURE_COUNT] : 1;
        x[GROUND_FEATURE_AFTER_WINDOW] =
            i + 1 < n ? x[GROUND_FEATURE_RECALL_WINDOW + (int)GROUND_FEATURE_COUNT] : 1;
    }
}

static void judge_sentence(struct sentence *s, uint32_t i, const struct ground_words *question,
                           float *score)
{
    s->negated = any_negation(&s->words);
    collect_terms(s);
    find_lines(s, score);
    recall_features(s);
    order_features(s);
    count_missing(s, GROUND_WORD_NUMBER, GROUND_FEATURE_NUMBERS);
    count_missing(s, GROUND_WORD_CAPITAL, GROUND_FEATURE_NAMES);
    missing_features(s, question);
    truth_features(s);
    form_features(s, i);
}

enum err ground_feature_make(const struct ground_feature_input *in, struct arena *a,
                             struct ground_feature_rows *out)
{
    uint32_t n = in->answer->count;
    struct ground_words question;
    struct ground_feature_rows r = {ARENA_ARRAY(a, float, (size_t)(n + 1) * GROUND_FEATURE_COUNT),
                                    ARENA_ARRAY(a, uint32_t, (size_t)(n + 1) * GROUND_EVIDENCE_MAX),
                                    ARENA_ARRAY(a, float, (size_t)(n + 1) * GROUND_EVIDENCE_MAX)};
    float *score = ARENA_ARRAY(a, float, in->context->count + 1);
    struct sentence *s = ARENA_ARRAY(a, struct sentence, 1);
    if (!r.rows || !r.nearest || !r.shares || !score || !s)
        return ERR_NOMEM;
    struct bytes asked =
        bytes_slice(in->question, 0, MIN(in->question.size, (size_t)GROUND_QUESTION_BYTES_MAX));
    enum err e = ground_word_split(asked, a, &question);
    for (uint32_t i = 0; e == ERR_OK && i < n; i++) {
        if (in->deadline_ns && (uint64_t)clock_mono_ns() > in->deadline_ns)
            return ERR_TIMEOUT;
        memset(s, 0, sizeof(*s));
        s->in = in;
        s->text = ground_answer_sentence(in->answer, i);
        s->words = in->answer->words[i];
        s->x = r.rows + (size_t)i * GROUND_FEATURE_COUNT;
        judge_sentence(s, i, &question, score);
        for (uint32_t k = 0; k < GROUND_EVIDENCE_MAX; k++) {
            bool there = k < s->best_count;
            r.nearest[i * GROUND_EVIDENCE_MAX + k] = there ? s->best[k] : UINT32_MAX;
            r.shares[i * GROUND_EVIDENCE_MAX + k] = there ? s->best_share[k] : 0;
        }
    }
    if (e == ERR_OK) {
        relate(r.rows, n);
        *out = r;
    }
    return e;
}
