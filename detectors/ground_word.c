/* Words: letters and digits in runs, folded to a stem, looked up in three short lists. */
#include "detectors/ground_word.h"

#include "base/check.h"
#include "base/hash.h"

/* Each list is one text with blanks around every word: found by " word ". */
static const char stop_words[] =
    " a an the and or but if then than that this these those there here it its he she his her him "
    "they them their we our us you your i my me "
    "is are was were be been being am do does did done doing have has had having will would shall "
    "should can could of in on at by for with "
    "from to into onto over under about as up down out off so such also both each other others "
    "more most some any all only own same too very "
    "just which who whom whose what when where why how while during before after again once "
    "because until between through against "
    "however additionally furthermore moreover overall including include includes included well "
    "even though although since per ";
static const char negations[] = " no not never none nor nothing nobody neither without cannot lack "
                                "lacks lacking unable unavailable unlike ";
static const char hedges[] =
    " may might likely possibly perhaps probably appear appears seem seems suggest suggests "
    "potentially typically usually generally often ";
static const char *const number_words[] = {
    "zero",     "one",     "two",     "three",     "four",     "five",     "six",
    "seven",    "eight",   "nine",    "ten",       "eleven",   "twelve",   "thirteen",
    "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"};

static bool is_letter(uint8_t c)
{
    return (c | 32u) - 'a' < 26u || c >= 0x80;
}
static bool is_upper(uint8_t c)
{
    return c >= 'A' && c <= 'Z';
}
static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

/* Length of the punctuation at p that is written in more than one byte; 0 where there is none. */
static size_t wide_mark(const uint8_t *p, size_t left)
{
    if (left >= 3 && p[0] == 0xe2 && p[1] == 0x80 && p[2] >= 0x90 && p[2] <= 0xa7)
        return 3; /* dashes, quotes, bullet, ellipsis */
    if (left >= 3 && p[0] == 0xe3 && p[1] == 0x80 && p[2] >= 0x81 && p[2] <= 0x91)
        return 3; /* CJK comma, stop, brackets */
    if (left >= 2 && p[0] == 0xc2 && (p[1] == 0xa0 || p[1] == 0xab || p[1] == 0xbb))
        return 2;
    return 0;
}

static bool listed(const char *list, const uint8_t *word, size_t size)
{
    char key[GROUND_WORD_BYTES_MAX + 3];
    key[0] = ' ';
    memcpy(key + 1, word, size);
    key[size + 1] = ' ', key[size + 2] = 0;
    return strstr(list, key) != NULL;
}

/* In place; the size of what is left. */
static size_t stem(uint8_t *w, size_t n)
{
    if (n > 4 && memcmp(w + n - 3, "ies", 3) == 0) {
        w[n - 3] = 'y';
        n -= 2;
    } else if (n > 3 && w[n - 1] == 's' && w[n - 2] != 's' && w[n - 2] != 'u' && w[n - 2] != 'i') {
        n--;
    }
    if (n > 5 && memcmp(w + n - 3, "ing", 3) == 0)
        n -= 3;
    else if (n > 4 && memcmp(w + n - 2, "ed", 2) == 0)
        n -= 2;
    if (n > 3 && w[n - 1] == 'e')
        n--;
    if (n > 4 && w[n - 1] == w[n - 2])
        n--; /* stopp(ed), runn(ing) */
    return n;
}

/* "1,209" and "007" and "4.0" become "1209", "7" and "4"; the size. */
static size_t plain_number(const uint8_t *p, size_t n, uint8_t *out)
{
    size_t size = 0, point = 0;
    for (size_t i = 0; i < n; i++) {
        if (p[i] == '.')
            point = size + 1;
        if (p[i] != ',' && !(size == 0 && p[i] == '0' && i + 1 < n && is_digit(p[i + 1])))
            out[size++] = p[i];
    }
    if (point) {
        while (size > point && out[size - 1] == '0')
            size--;
        if (size == point)
            size--;
    }
    return size;
}

static uint32_t hash_of(const uint8_t *w, size_t n)
{
    uint32_t h = (uint32_t)hash64(bytes_of(w, n), 0);
    return h ? h : 1;
}

/* An apostrophe at p, plain or typographic: its length, 0 for none. */
static size_t apostrophe_at(const uint8_t *p, size_t left)
{
    if (p[0] == '\'')
        return 1;
    return left >= 3 && p[0] == 0xe2 && p[1] == 0x80 && p[2] == 0x99 ? 3 : 0;
}

/* A run of letters (apostrophes inside are part of it). */
static void judge_letters(const uint8_t *p, size_t n, struct ground_word *w)
{
    uint8_t low[GROUND_WORD_BYTES_MAX + 1];
    size_t size = 0;
    for (size_t i = 0; i < n; i++) {
        size_t mark = apostrophe_at(p + i, n - i);
        low[size++] = mark ? '\'' : is_upper(p[i]) ? p[i] | 32u : p[i];
        i += mark ? mark - 1 : 0;
    }
    n = size;
    w->flags = is_upper(p[0]) ? GROUND_WORD_CAPITAL : 0;
    if (n > 2 && low[n - 2] == '\'' && low[n - 1] == 's')
        n -= 2;
    if (n > 3 && memcmp(low + n - 3, "n't", 3) == 0) {
        w->flags |= GROUND_WORD_NEGATION | GROUND_WORD_STOP;
        w->hash = hash_of((const uint8_t *)"not", 3);
        return;
    }
    if (listed(negations, low, n))
        w->flags |= GROUND_WORD_NEGATION;
    else if (listed(hedges, low, n))
        w->flags |= GROUND_WORD_HEDGE;
    else if (n == 1 || listed(stop_words, low, n))
        w->flags |= GROUND_WORD_STOP;
    for (unsigned i = 0; i < ARRAY_LEN(number_words); i++) {
        size_t k = strlen(number_words[i]);
        if (k == n && memcmp(low, number_words[i], n) == 0) {
            uint8_t digits[2] = {(uint8_t)('0' + i / 10), (uint8_t)('0' + i % 10)};
            w->flags = GROUND_WORD_NUMBER;
            w->hash = i < 10 ? hash_of(digits + 1, 1) : hash_of(digits, 2);
            return;
        }
    }
    w->hash = hash_of(low, stem(low, n));
}

static size_t letters_at(const uint8_t *p, size_t left)
{
    size_t n = 0;
    while (n < left && n < GROUND_WORD_BYTES_MAX - 3) {
        size_t inner = n ? apostrophe_at(p + n, left - n) : 0;
        if (inner && n + inner < left && is_letter(p[n + inner]) &&
            !wide_mark(p + n + inner, left - n - inner)) {
            n += inner;
            continue;
        }
        if (!is_letter(p[n]) || (p[n] >= 0x80 && wide_mark(p + n, left - n)))
            break;
        n++;
    }
    return n;
}

static size_t digits_at(const uint8_t *p, size_t left)
{
    size_t n = 0;
    while (n < left && n < GROUND_WORD_BYTES_MAX &&
           (is_digit(p[n]) ||
            (n > 0 && (p[n] == '.' || p[n] == ',') && n + 1 < left && is_digit(p[n + 1]))))
        n++;
    return n;
}

/* The word at p; 0 when there is none here. */
static size_t word_at(const uint8_t *p, size_t left, struct ground_word *w)
{
    if (is_digit(p[0])) {
        uint8_t plain[GROUND_WORD_BYTES_MAX] = {0};
        size_t n = digits_at(p, left);
        w->flags = GROUND_WORD_NUMBER;
        w->hash = hash_of(plain, plain_number(p, n, plain));
        if (n + 2 <= left && n < GROUND_WORD_BYTES_MAX - 2 &&
            strstr(" st nd rd th ", (char[]){' ', (char)p[n], (char)p[n + 1], ' ', 0}) &&
            (n + 2 == left || !is_letter(p[n + 2])))
            n += 2;
        return n;
    }
    size_t n = letters_at(p, left);
    if (n)
        judge_letters(p, n, w);
    return n;
}

uint32_t ground_word_hash(struct bytes word)
{
    struct ground_word w = {0};
    return word.size && word_at(word.data, word.size, &w) ? w.hash : 1;
}

enum err ground_word_split(struct bytes text, struct arena *a, struct ground_words *out)
{
    uint32_t cap = (uint32_t)(text.size / 5 + 8), count = 0;
    struct ground_word *words = ARENA_ARRAY(a, struct ground_word, cap);
    for (size_t i = 0; words && i < text.size;) {
        struct ground_word w = {.begin = (uint32_t)i};
        size_t n = word_at(text.data + i, text.size - i, &w);
        if (n == 0) {
            size_t wide = wide_mark(text.data + i, text.size - i);
            i += wide ? wide : 1;
            continue;
        }
        w.end = (uint32_t)(i + n);
        if (count == cap) {
            words = arena_grow(a, words, sizeof(*words), cap, (size_t)cap * 2);
            cap *= 2;
            if (!words)
                break;
        }
        words[count++] = w;
        i += n;
    }
    if (!words)
        return ERR_NOMEM;
    *out = (struct ground_words){words, count};
    return ERR_OK;
}
