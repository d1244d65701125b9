#include "collector/redact/redact_match.h"

#include <stdlib.h>

#include "base/check.h"

#define BEFORE 64u
#define BEHIND 24u
#define KEY 64u

static bool is_hex(uint8_t c)
{
    return redact_match_is_digit(c) || (uint8_t)((c | 32) - 'a') < 6;
}

/* "\n4111", "\u00224111", "%204111": the letters and digits before belong to an escape. */
static bool is_escape_before(const uint8_t *p, size_t at)
{
    if (at >= 2 && p[at - 2] == '\\' && memchr("nrtbf", p[at - 1], 5))
        return true;
    if (at >= 3 && p[at - 3] == '%' && is_hex(p[at - 2]) && is_hex(p[at - 1]))
        return true;
    return at >= 6 && p[at - 6] == '\\' && p[at - 5] == 'u' && is_hex(p[at - 4]) &&
           is_hex(p[at - 3]) && is_hex(p[at - 2]) && is_hex(p[at - 1]);
}

bool redact_match_starts(struct bytes text, size_t at)
{
    return at == 0 || !redact_match_is_word(text.data[at - 1]) || is_escape_before(text.data, at);
}

bool redact_match_ends(struct bytes text, size_t at)
{
    return at >= text.size || !redact_match_is_word(text.data[at]);
}

/* "orderNumber" is two words. */
static size_t put_words(char *out, size_t n, size_t max, struct bytes text)
{
    for (size_t i = 0; i < text.size && n + 2 < max; i++) {
        uint8_t c = text.data[i];
        if (c == '\\' && i + 1 < text.size && memchr("nrtbf", text.data[i + 1], 5)) {
            out[n++] = ' '; /* an escape of JSON is no part of a word */
            i++;
            continue;
        }
        if (c >= 'A' && c <= 'Z') {
            if (i && text.data[i - 1] >= 'a' && text.data[i - 1] <= 'z')
                out[n++] = ' ';
            c |= 32;
        }
        out[n++] = c == 0 ? ' ' : (char)c;
    }
    return n;
}

void redact_context_read(struct redact_context *c, const struct redact_subject *s, size_t from,
                         size_t to)
{
    size_t begin = from > BEFORE ? from - BEFORE : 0, end = MIN(s->text.size, to + BEHIND), n;
    size_t key = s->key.size > KEY ? s->key.size - KEY : 0;
    n = put_words(c->text, 0, KEY + KEY / 2, bytes_slice(s->key, key, s->key.size));
    c->text[n++] = ' ';
    n = put_words(c->text, n, REDACT_CONTEXT_MAX - BEHIND - 8, bytes_slice(s->text, begin, from));
    c->before = n;
    c->text[n++] = '\n';
    n = put_words(c->text, n, REDACT_CONTEXT_MAX, bytes_slice(s->text, to, end));
    c->text[n] = 0;
}

static bool has_word(const struct redact_context *c, const char *word, size_t size)
{
    size_t all = strlen(c->text);
    const char *p = c->text, *end = c->text + all;
    while ((p = memmem(p, (size_t)(end - p), word, size)) != NULL) {
        bool left = p == c->text || !redact_match_is_alpha((uint8_t)p[-1]);
        bool right = p + size == end || !redact_match_is_alpha((uint8_t)p[size]);
        if (size >= 5 || (left && right))
            return true;
        p++;
    }
    return false;
}

bool redact_context_has(const struct redact_context *c, const char *words)
{
    for (const char *w = words; *w;) {
        size_t n = strcspn(w, "|");
        if (has_word(c, w, n))
            return true;
        w += n + (w[n] != 0);
    }
    return false;
}

/* The word that ends before *at; *at becomes its beginning. */
static struct bytes word_before(const struct redact_context *c, size_t *at)
{
    size_t to = *at;
    while (to && !redact_match_is_alpha((uint8_t)c->text[to - 1]) &&
           !redact_match_is_digit((uint8_t)c->text[to - 1]))
        to--;
    size_t from = to;
    while (from && redact_match_is_alpha((uint8_t)c->text[from - 1]))
        from--;
    *at = from;
    return bytes_of(c->text + from, to - from);
}

static bool is_one_of(struct bytes word, const char *words)
{
    for (const char *w = words; *w;) {
        size_t n = strcspn(w, "|");
        if (n == word.size && memcmp(w, word.data, n) == 0)
            return true;
        w += n + (w[n] != 0);
    }
    return false;
}

bool redact_context_is_harmless(const struct redact_context *c)
{
    static const char harmless[] =
        "id|ids|uid|uuid|guid|order|build|ref|reference|invoice|tracking|ticket|commit|trace|span|"
        "request|hash|digest|sha|md5|checksum|etag|sku|serial|part|batch|job|run|version|session|"
        "txn|transaction|isbn|timestamp|epoch|ts|offset|seq|sequence|revision|rev|release|pid|"
        "parcel|shipment|case|receipt|barcode|ean|upc|snowflake|tweet|message|correlation";
    size_t at = c->before;
    struct bytes word = word_before(c, &at);
    if (is_one_of(word, harmless))
        return true;
    return is_one_of(word, "number|no|nr|num|code|key|value|is|n") &&
           is_one_of(word_before(c, &at), harmless);
}

/* --- the list ----------------------------------------------------------------------------------------------- */

void redact_match_add(struct redact_matches *m, size_t from, size_t to, uint32_t type)
{
    CHECK(from < to);
    if (m->count == m->cap) {
        uint32_t cap = MIN(MAX(m->cap * 2, 16), REDACT_MATCHES_MAX);
        struct redact_match *list = cap > m->cap ? realloc(m->list, cap * sizeof *m->list) : NULL;
        if (!list) {
            m->overflow = true;
            return;
        }
        m->list = list;
        m->cap = cap;
    }
    m->list[m->count++] = (struct redact_match){(uint32_t)from, (uint32_t)to, type};
}

void redact_match_done(struct redact_matches *m)
{
    free(m->list);
    *m = (struct redact_matches){0};
}

/* Of two kinds in one place the one that says more: what a keyword or a shape alone tells gives way, and addresses last. */
static unsigned rank(uint32_t type)
{
    switch (type) {
    case REDACT_TYPE_IP: return 0;
    case REDACT_TYPE_PHONE: return 1;
    case REDACT_TYPE_EMAIL: return 2;
    case REDACT_TYPE_PASSWORD: return 3;
    case REDACT_TYPE_API_KEY: return 4;
    case REDACT_TYPE_BEARER_TOKEN: return 5;
    default: return type >= REDACT_TYPE_COUNT ? 6 : 7;
    }
}

static int by_place(const void *x, const void *y)
{
    const struct redact_match *a = x, *b = y;
    if (a->from != b->from)
        return a->from < b->from ? -1 : 1;
    if (a->to != b->to)
        return a->to > b->to ? -1 : 1;
    return (a->type > b->type) - (a->type < b->type);
}

/* What overlaps becomes one: nothing of either stays. */
void redact_match_settle(struct redact_matches *m)
{
    uint32_t n = 0;
    if (m->count > 1)
        qsort(m->list, m->count, sizeof *m->list, by_place);
    for (uint32_t i = 0; i < m->count; i++) {
        struct redact_match *last = n ? &m->list[n - 1] : NULL, one = m->list[i];
        if (!last || one.from >= last->to) {
            m->list[n++] = one;
            continue;
        }
        last->to = MAX(last->to, one.to);
        if (rank(one.type) > rank(last->type))
            last->type = one.type;
    }
    m->count = n;
}
