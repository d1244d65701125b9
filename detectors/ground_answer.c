/* Split, cut into words, told apart. */
#include "detectors/ground_answer.h"

#include "base/check.h"

/* A cut never falls inside a character. */
static struct bytes cut_text(struct bytes t, size_t max, bool *cut)
{
    if (t.size <= max)
        return t;
    for (unsigned i = 0; i < 3 && (t.data[max] & 0xc0) == 0x80; i++)
        max--;
    *cut = true;
    return bytes_slice(t, 0, max);
}

enum err ground_answer_make(struct bytes response, struct arena *a, struct ground_answer *out)
{
    struct ground_answer r = {0};
    r.text = cut_text(response, GROUND_RESPONSE_BYTES_MAX, &r.cut);
    enum err e = ground_split_text(r.text, GROUND_SENTENCES_MAX, a, &r.ranges, &r.count, &r.cut);
    if (e != ERR_OK)
        return e;
    r.words = ARENA_ARRAY(a, struct ground_words, r.count + 1);
    r.kinds = ARENA_ARRAY(a, enum ground_kind, r.count + 1);
    if (!r.words || !r.kinds)
        return ERR_NOMEM;
    bool first = true; /* nothing but greetings so far */
    for (uint32_t i = 0; e == ERR_OK && i < r.count; i++) {
        struct bytes s = ground_answer_sentence(&r, i);
        r.kinds[i] = ground_split_kind(s, first, i + 1 == r.count);
        first &= r.kinds[i] == GROUND_META;
        e = ground_word_split(s, a, &r.words[i]);
    }
    if (e == ERR_OK)
        *out = r;
    return e;
}
