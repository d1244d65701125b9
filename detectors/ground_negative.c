/* A place in the response, something else to stand there, and the response written anew. */
#include "detectors/ground_negative.h"

#include "base/check.h"
#include "detectors/ground_context.h"

#define PLACES_MAX 256u
#define OTHERS_MAX 1024u

struct place {
    uint32_t begin, end;
};
struct places {
    struct place at[PLACES_MAX];
    uint32_t count;
};
struct others { /* what the context offers instead */
    struct bytes text[OTHERS_MAX];
    uint32_t count;
};

uint64_t ground_negative_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static uint32_t below(uint64_t *state, uint32_t n)
{
    return (uint32_t)(ground_negative_random(state) % n);
}

/* Words at i that make one name: capitals with nothing but a blank between. */
static uint32_t name_end(struct bytes t, const struct ground_words *w, uint32_t i)
{
    uint32_t end = i + 1;
    while (end < w->count && (w->words[end].flags & GROUND_WORD_CAPITAL) &&
           w->words[end].begin == w->words[end - 1].end + 1 && t.data[w->words[end - 1].end] == ' ')
        end++;
    return end;
}

static bool begins_sentence(struct bytes t, uint32_t at)
{
    while (at > 0 && (t.data[at - 1] == ' ' || t.data[at - 1] == '"' || t.data[at - 1] == '*'))
        at--;
    return at == 0 || t.data[at - 1] == '.' || t.data[at - 1] == '\n' || t.data[at - 1] == '!' ||
           t.data[at - 1] == ':' || t.data[at - 1] == '-';
}

static void find_places(struct bytes t, const struct ground_words *w, bool names,
                        struct places *out)
{
    for (uint32_t i = 0; i < w->count && out->count < PLACES_MAX; i++) {
        const struct ground_word *x = &w->words[i];
        bool digits = t.data[x->begin] >= '0' && t.data[x->begin] <= '9';
        if (!names && digits)
            out->at[out->count++] = (struct place){x->begin, x->end};
        if (!names || !(x->flags & GROUND_WORD_CAPITAL) || !ground_word_is_content(x))
            continue;
        uint32_t end = name_end(t, w, i);
        if (end - i > 1 || !begins_sentence(t, x->begin))
            out->at[out->count++] = (struct place){x->begin, w->words[end - 1].end};
        i = end - 1;
    }
}

static void find_others(const struct ground_context *c, bool names, struct others *out)
{
    for (uint32_t l = 0; l < c->count; l++) {
        struct places p = {.count = 0};
        struct bytes text = c->lines[l].text;
        struct ground_words w = c->lines[l].words;
        /* A leaf's path is no value. */
        while (w.count && w.words[0].end <= c->lines[l].path_bytes)
            w.words++, w.count--;
        find_places(text, &w, names, &p);
        for (uint32_t i = 0; i < p.count && out->count < OTHERS_MAX; i++)
            out->text[out->count++] = bytes_slice(text, p.at[i].begin, p.at[i].end);
    }
}

static enum err rewrite(const struct ground_sample *clean, struct place at, struct bytes with,
                        struct arena *a, struct ground_sample *out)
{
    struct bytes old = clean->response;
    size_t size = old.size - (at.end - at.begin) + with.size;
    uint8_t *text = arena_alloc_raw(a, size + 1, 1);
    struct ground_mark *mark = ARENA_ARRAY(a, struct ground_mark, 1);
    if (!text || !mark)
        return ERR_NOMEM;
    memcpy(text, old.data, at.begin);
    memcpy(text + at.begin, with.data, with.size);
    memcpy(text + at.begin + with.size, old.data + at.end, old.size - at.end);
    *mark = (struct ground_mark){at.begin, at.begin + (uint32_t)with.size};
    *out = *clean;
    out->response = bytes_of(text, size);
    out->spans = mark, out->spans_count = 1;
    out->label = 1, out->grain = GROUND_GRAIN_SPAN;
    return ERR_OK;
}

static enum err swap(const struct ground_sample *clean, const struct ground_context *c,
                     const struct ground_words *w, bool names, uint64_t *state, struct arena *a,
                     struct ground_sample *out, bool *made)
{
    struct places *p = ARENA_ARRAY(a, struct places, 1);
    struct others *o = ARENA_ARRAY(a, struct others, 1);
    if (!p || !o)
        return ERR_NOMEM;
    find_places(clean->response, w, names, p);
    find_others(c, names, o);
    for (unsigned attempt = 0; p->count && o->count && attempt < 16; attempt++) {
        struct place at = p->at[below(state, p->count)];
        struct bytes old = bytes_slice(clean->response, at.begin, at.end);
        struct bytes with = o->text[below(state, o->count)];
        bool inside = bytes_find(old, with) < old.size || bytes_find(with, old) < with.size;
        /* Numbers of the same length are mistaken for each other; "3" for "2016" is too easy. */
        bool alike = names || with.size == old.size || attempt >= 8;
        if (inside || !alike)
            continue;
        *made = true;
        return rewrite(clean, at, with, a, out);
    }
    return ERR_OK;
}

/* "is not" to "is", "offers" to "does not offer": a yes for a no. */
static enum err negate(const struct ground_sample *clean, uint64_t *state, struct arena *a,
                       struct ground_sample *out, bool *made)
{
    static const struct {
        const char *from, *to;
    } flips[] = {{" is not ", " is "},
                 {" are not ", " are "},
                 {" does not have ", " has "},
                 {" does not offer ", " offers "},
                 {" does not accept ", " accepts "},
                 {" do not accept ", " accept "},
                 {" do not offer ", " offer "},
                 {" do not have ", " have "},
                 {" was not ", " was "},
                 {" is ", " is not "},
                 {" are ", " are not "},
                 {" was ", " was not "},
                 {" has ", " does not have "},
                 {" offers ", " does not offer "},
                 {" accepts ", " does not accept "},
                 {" provides ", " does not provide "},
                 {" without ", " with "},
                 {" no ", " "},
                 {" will ", " will not "},
                 {" can ", " cannot "}};
    uint32_t first = below(state, ARRAY_LEN(flips));
    for (uint32_t i = 0; i < ARRAY_LEN(flips); i++) {
        uint32_t k = (first + i) % ARRAY_LEN(flips);
        struct bytes from = bytes_str(flips[k].from), to = bytes_str(flips[k].to);
        size_t hit = bytes_find(clean->response, from);
        if (hit == clean->response.size ||
            (k >= 9 &&
             bytes_find(bytes_slice(clean->response, hit, MIN(hit + 12, clean->response.size)),
                        BYTES_LIT(" not")) < 12))
            continue;
        struct place at = {(uint32_t)hit, (uint32_t)(hit + from.size)};
        enum err e = rewrite(clean, at, to, a, out);
        if (e == ERR_OK && to.size > 2)
            out->spans->begin++, out->spans->end--;
        *made = e == ERR_OK;
        return e;
    }
    return ERR_OK;
}

enum err ground_negative_make(const struct ground_sample *clean, uint64_t seed, struct arena *a,
                              struct ground_sample *out, bool *made)
{
    struct ground_context c;
    struct ground_words w;
    uint64_t state = seed;
    *made = false;
    enum err e = ground_context_make(clean->documents, clean->documents_count, a, &c);
    if (e == ERR_OK)
        e = ground_word_split(clean->response, a, &w);
    /* Structured data is most often told wrong by a flag turned round. */
    uint32_t flip = c.json ? 45 : 12, dice = below(&state, 100);
    if (e == ERR_OK && dice < flip)
        e = negate(clean, &state, a, out, made);
    bool names = below(&state, 2);
    for (unsigned i = 0; e == ERR_OK && !*made && i < 2; i++)
        e = swap(clean, &c, &w, names ^ (i == 1), &state, a, out, made);
    return e;
}
