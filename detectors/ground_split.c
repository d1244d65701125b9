/* Where sentences end: marks, line ends and what must not be taken for them. */
#include "detectors/ground_split.h"

#include <strings.h>

#include "base/check.h"

static const char abbreviations[] =
    " mr mrs ms dr st prof sr jr vs no inc ltd co corp etc e.g i.e al fig approx dept est gen gov "
    "hon lt col sgt capt rep sen rev "
    "jan feb mar apr jun jul aug sep sept oct nov dec mt ft u.s u.k u.n ph.d vol pp ed eds cf ";

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\v' || c == '\f';
}
static bool is_upper(uint8_t c)
{
    return c >= 'A' && c <= 'Z';
}
static bool is_lower(uint8_t c)
{
    return c >= 'a' && c <= 'z';
}
static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}
static bool is_word(uint8_t c)
{
    return is_upper(c) || is_lower(c) || is_digit(c) || c >= 0x80;
}

/* The word that ends before `at` is one that a full stop follows without ending anything: an abbreviation or an initial. */
static bool is_abbreviation(struct bytes t, size_t begin, size_t at)
{
    size_t from = at;
    char key[12] = " ";
    while (from > begin && at - from < 9 && (is_word(t.data[from - 1]) || t.data[from - 1] == '.'))
        from--;
    size_t n = at - from;
    if (n == 0 || n > 8)
        return false;
    if (n == 1 && is_upper(t.data[from]) && t.data[from] != 'I')
        return true; /* J. Smith */
    for (size_t i = 0; i < n; i++)
        key[i + 1] = (char)(is_upper(t.data[from + i]) ? t.data[from + i] | 32 : t.data[from + i]);
    key[n + 1] = ' ', key[n + 2] = 0;
    return strstr(abbreviations, key) != NULL;
}

/* "1." and "a)" at the begin of a sentence number what follows. */
static bool is_list_number(struct bytes t, size_t begin, size_t at)
{
    if (at - begin > 3)
        return false;
    for (size_t i = begin; i < at; i++)
        if (!is_digit(t.data[i]) && !(at - begin == 1 && is_word(t.data[i])))
            return false;
    return at > begin;
}

/* Quotes and brackets that close what the mark ended. */
static size_t skip_closing(struct bytes t, size_t i)
{
    for (;;) {
        if (i < t.size && (strchr("\"')]*_", t.data[i]) && t.data[i]))
            i++;
        else if (i + 2 < t.size && t.data[i] == 0xe2 && t.data[i + 1] == 0x80 &&
                 (t.data[i + 2] == 0x9d || t.data[i + 2] == 0x99))
            i += 3;
        else
            return i;
    }
}

/* A mark at i ends the sentence that began at begin: the place behind it, 0 when it does not. */
static size_t end_of_mark(struct bytes t, size_t begin, size_t i)
{
    uint8_t c = t.data[i];
    if (c == 0xe3 && i + 2 < t.size && t.data[i + 1] == 0x80 && t.data[i + 2] == 0x82)
        return i + 3; /* ideographic full stop: no blank follows */
    if (c == 0xef && i + 2 < t.size && t.data[i + 1] == 0xbc &&
        (t.data[i + 2] == 0x81 || t.data[i + 2] == 0x9f))
        return i + 3;
    if (c != '.' && c != '!' && c != '?')
        return 0;
    size_t next = i + 1;
    while (next < t.size && (t.data[next] == '.' || t.data[next] == '!' || t.data[next] == '?'))
        next++;
    next = skip_closing(t, next);
    if (next < t.size && !is_blank(t.data[next]))
        return 0;
    size_t after = next;
    while (after < t.size && is_blank(t.data[after]))
        after++;
    if (after == t.size)
        return next;
    if (c == '.' && (is_list_number(t, begin, i) || is_abbreviation(t, begin, i)))
        return 0;
    return is_lower(t.data[after]) ? 0 : next;
}

static bool begins_list(struct bytes t, size_t i)
{
    if (i >= t.size)
        return false;
    if (strchr("-*#|>+", t.data[i]) && t.data[i])
        return true;
    if (i + 2 < t.size && t.data[i] == 0xe2 && t.data[i + 1] == 0x80 && t.data[i + 2] == 0xa2)
        return true;
    size_t d = i;
    while (d < t.size && is_digit(t.data[d]))
        d++;
    return d > i && d < t.size && (t.data[d] == '.' || t.data[d] == ')');
}

/* A line end inside running text is a blank: what follows goes on in lower case, and no list begins. */
static bool line_ends_sentence(struct bytes t, size_t i)
{
    size_t lines = 0, j = i;
    while (j < t.size && is_blank(t.data[j]))
        lines += t.data[j++] == '\n';
    return lines > 1 || j == t.size || begins_list(t, j) || !is_lower(t.data[j]);
}

/* A sentence that is too long ends at the last blank that fits, else at a character. */
static size_t forced_end(struct bytes t, size_t begin)
{
    size_t end = begin + GROUND_SPLIT_BYTES_MAX, at = end;
    while (at > begin + GROUND_SPLIT_BYTES_MAX / 2 && !is_blank(t.data[at]))
        at--;
    if (is_blank(t.data[at]))
        return at;
    for (unsigned i = 0; i < 3 && (t.data[end] & 0xc0) == 0x80; i++)
        end--;
    return end;
}

static size_t sentence_end(struct bytes t, size_t begin)
{
    for (size_t i = begin; i < t.size; i++) {
        if (i - begin >= GROUND_SPLIT_BYTES_MAX)
            return forced_end(t, begin);
        if (t.data[i] == '\n' && line_ends_sentence(t, i))
            return i;
        size_t end = end_of_mark(t, begin, i);
        if (end)
            return MIN(end, begin + GROUND_SPLIT_BYTES_MAX);
    }
    return t.size;
}

static bool has_word(struct bytes t, size_t begin, size_t end)
{
    for (size_t i = begin; i < end; i++)
        if (is_word(t.data[i]))
            return true;
    return false;
}

enum err ground_split_text(struct bytes t, uint32_t max, struct arena *a,
                           struct ground_split_range **out, uint32_t *out_count, bool *cut)
{
    uint32_t count = 0, cap = 16;
    struct ground_split_range *r = ARENA_ARRAY(a, struct ground_split_range, cap);
    if (!r)
        return ERR_NOMEM;
    for (size_t at = 0; at < t.size;) {
        if (is_blank(t.data[at])) {
            at++;
            continue;
        }
        size_t end = sentence_end(t, at), next = end;
        while (end > at && is_blank(t.data[end - 1]))
            end--;
        if (has_word(t, at, end)) {
            if (count == max) {
                *cut = true;
                break;
            }
            if (count == cap) {
                r = arena_grow(a, r, sizeof(*r), cap, (size_t)cap * 2);
                cap *= 2;
                if (!r)
                    return ERR_NOMEM;
            }
            r[count++] = (struct ground_split_range){(uint32_t)at, (uint32_t)end};
        }
        at = MAX(next, at + 1);
    }
    *out = r, *out_count = count;
    return ERR_OK;
}

/* --- what a sentence is for ------------------------------------------------------------------------ */

static const char *const greetings[] = {"sure",        "certainly", "of course",     "here is",
                                        "here's",      "here are",  "i hope this",   "i hope that",
                                        "let me know", "feel free", "please let me", "below is",
                                        "absolutely"};
static const char *const refusals[] = {"unable to answer",
                                       "cannot answer",
                                       "can't answer",
                                       "cannot provide",
                                       "can't provide",
                                       "i'm sorry",
                                       "i am sorry",
                                       "i don't know",
                                       "i do not know",
                                       "not enough information",
                                       "insufficient information",
                                       "does not provide information",
                                       "do not provide information",
                                       "does not contain information",
                                       "do not contain information",
                                       "no information about",
                                       "not possible to answer",
                                       "not possible to determine",
                                       "cannot be determined",
                                       "as an ai"};

static bool contains_nocase(struct bytes t, const char *what)
{
    size_t n = strlen(what);
    for (size_t i = 0; i + n <= t.size; i++)
        if (strncasecmp((const char *)t.data + i, what, n) == 0)
            return true;
    return false;
}

enum ground_kind ground_split_kind(struct bytes s, bool first, bool last)
{
    for (unsigned i = 0; i < ARRAY_LEN(refusals); i++)
        if (contains_nocase(s, refusals[i]))
            return GROUND_REFUSAL;
    if (!first && !last)
        return GROUND_CLAIM;
    for (unsigned i = 0; i < ARRAY_LEN(greetings); i++) {
        size_t n = strlen(greetings[i]);
        if (s.size < n || strncasecmp((const char *)s.data, greetings[i], n) != 0)
            continue;
        /* A greeting that goes on to say something is a claim: it has to be short, or announce what follows. */
        if (s.size < 40 || (first && s.data[s.size - 1] == ':'))
            return GROUND_META;
    }
    return GROUND_CLAIM;
}
