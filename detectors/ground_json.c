/* A recursive scanner over one text; it stops at the first thing that is no JSON. */
#include "detectors/ground_json.h"

#include <stdio.h>

#include "base/check.h"

struct scan {
    const uint8_t *data;
    size_t size, at;
    struct arena *arena;
    struct ground_json_leaf *leaves;
    uint32_t count, cap, max;
    char path[GROUND_JSON_PATH_MAX];
    uint32_t path_size, key;
    bool cut, no_memory;
};

static bool scan_value(struct scan *s, unsigned depth);

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void skip_blanks(struct scan *s)
{
    while (s->at < s->size && is_blank(s->data[s->at]))
        s->at++;
}

static bool next_is(struct scan *s, uint8_t c)
{
    skip_blanks(s);
    if (s->at >= s->size || s->data[s->at] != c)
        return false;
    s->at++;
    return true;
}

/* --- strings --------------------------------------------------------------------------------------- */

static uint8_t *put_utf8(uint8_t *o, uint32_t c)
{
    if (c < 0x80) {
        *o++ = (uint8_t)c;
    } else if (c < 0x800) {
        *o++ = (uint8_t)(0xc0 | c >> 6), *o++ = (uint8_t)(0x80 | (c & 63));
    } else if (c < 0x10000) {
        *o++ = (uint8_t)(0xe0 | c >> 12), *o++ = (uint8_t)(0x80 | (c >> 6 & 63));
        *o++ = (uint8_t)(0x80 | (c & 63));
    } else {
        *o++ = (uint8_t)(0xf0 | c >> 18), *o++ = (uint8_t)(0x80 | (c >> 12 & 63));
        *o++ = (uint8_t)(0x80 | (c >> 6 & 63)), *o++ = (uint8_t)(0x80 | (c & 63));
    }
    return o;
}

static bool hex4(const uint8_t *p, size_t left, uint32_t *out)
{
    uint8_t b[2];
    if (left < 4 || !bytes_from_hex(bytes_of(p, 4), b, 2))
        return false;
    *out = (uint32_t)b[0] << 8 | b[1];
    return true;
}

/* The escape behind a backslash at p: bytes read, 0 when it is none. A half surrogate pair becomes U+FFFD. */
static size_t unescape(const uint8_t *p, size_t left, uint8_t **out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *hit = left && p[0] ? strchr(from, p[0]) : NULL;
    uint32_t high, low;
    if (hit) {
        *(*out)++ = (uint8_t)to[hit - from];
        return 1;
    }
    if (left < 5 || p[0] != 'u' || !hex4(p + 1, left - 1, &high))
        return 0;
    if (high - 0xd800u < 0x400u && left >= 11 && p[5] == '\\' && p[6] == 'u' &&
        hex4(p + 7, left - 7, &low) && low - 0xdc00u < 0x400u) {
        *out = put_utf8(*out, 0x10000u + ((high - 0xd800u) << 10) + (low - 0xdc00u));
        return 11;
    }
    *out = put_utf8(*out, high - 0xd800u < 0x800u ? 0xfffdu : high);
    return 5;
}

/* A string whose opening quote has been read; *begin and *end are its raw bytes. A text that ends inside gives what there is, and false. */
static bool scan_string(struct scan *s, struct bytes *value, size_t *begin, size_t *end)
{
    size_t from = s->at, to = from;
    bool escapes = false;
    while (to < s->size && s->data[to] != '"') {
        escapes |= s->data[to] == '\\';
        to += s->data[to] == '\\' && to + 1 < s->size ? 2 : 1;
    }
    to = MIN(to, s->size);
    *begin = from, *end = to;
    s->at = to < s->size ? to + 1 : to;
    *value = bytes_of(s->data + from, to - from);
    if (!escapes)
        return to < s->size;
    uint8_t *copy = arena_alloc_raw(s->arena, to - from + 4, 1), *o = copy;
    s->no_memory |= !copy;
    if (!copy)
        return false;
    for (size_t i = from; i < to;) {
        size_t n = s->data[i] == '\\' ? unescape(s->data + i + 1, to - i - 1, &o) : 0;
        if (!n)
            *o++ = s->data[i];
        i += n + 1;
    }
    *value = bytes_of(copy, (size_t)(o - copy));
    return to < s->size;
}

/* --- paths ----------------------------------------------------------------------------------------- */

static void path_byte(struct scan *s, char c)
{
    if (s->path_size < GROUND_JSON_PATH_MAX)
        s->path[s->path_size++] = c;
}

/* A key as words: "BusinessParking" and "business_parking" are "Business Parking" and "business parking". */
static void path_add(struct scan *s, struct bytes key)
{
    if (s->path_size)
        path_byte(s, ' ');
    s->key = s->path_size;
    for (size_t i = 0; i < key.size; i++) {
        uint8_t c = key.data[i], before = i ? key.data[i - 1] : 0;
        bool after_small = (before >= 'a' && before <= 'z') || (before >= '0' && before <= '9');
        if (c >= 'A' && c <= 'Z' && after_small)
            path_byte(s, ' ');
        path_byte(s, c == '_' || c == '-' || c == '.' || c == '/' || c == '\n' ? ' ' : (char)c);
    }
}

static void add_leaf(struct scan *s, struct bytes value, size_t begin, size_t end,
                     enum ground_json_type type)
{
    struct bytes path = arena_copy(s->arena, bytes_of(s->path, s->path_size));
    if (s->count == s->max) {
        s->cut = true;
        return;
    }
    if (s->count == s->cap) {
        uint32_t more = s->cap ? s->cap * 2 : 32;
        s->leaves = arena_grow(s->arena, s->leaves, sizeof(*s->leaves), s->cap, more);
        s->cap = more;
    }
    if (!s->leaves || (!path.data && s->path_size)) {
        s->no_memory = true;
        return;
    }
    s->leaves[s->count++] = (struct ground_json_leaf){.begin = (uint32_t)begin,
                                                      .end = (uint32_t)end,
                                                      .path = path,
                                                      .key = MIN(s->key, s->path_size),
                                                      .value = value,
                                                      .type = type,
                                                      .plain = value.data == s->data + begin};
}

/* --- values ---------------------------------------------------------------------------------------- */

static bool scan_word(struct scan *s, const char *word, enum ground_json_type type)
{
    size_t n = strlen(word), begin = s->at;
    if (s->size - s->at < n || memcmp(s->data + s->at, word, n) != 0)
        return false;
    s->at += n;
    add_leaf(s, bytes_of(s->data + begin, n), begin, s->at, type);
    return true;
}

static bool scan_number(struct scan *s)
{
    size_t begin = s->at;
    while (s->at < s->size && s->data[s->at] && strchr("+-.0123456789eE", s->data[s->at]))
        s->at++;
    if (s->at == begin)
        return false;
    add_leaf(s, bytes_of(s->data + begin, s->at - begin), begin, s->at, GROUND_JSON_NUMBER);
    return true;
}

static bool scan_object(struct scan *s, unsigned depth)
{
    uint32_t path = s->path_size, key_at = s->key;
    if (next_is(s, '}'))
        return true;
    do {
        struct bytes key;
        size_t begin, end;
        if (!next_is(s, '"') || !scan_string(s, &key, &begin, &end) || !next_is(s, ':'))
            return false;
        path_add(s, key);
        if (!scan_value(s, depth))
            return false;
        s->path_size = path, s->key = key_at;
    } while (next_is(s, ','));
    return next_is(s, '}');
}

/* Scalars of a list stand under the list's own path; objects are told apart by their number. */
static bool scan_array(struct scan *s, unsigned depth)
{
    uint32_t path = s->path_size, key_at = s->key, number = 0;
    if (next_is(s, ']'))
        return true;
    do {
        number++;
        skip_blanks(s);
        if (s->at < s->size && (s->data[s->at] == '{' || s->data[s->at] == '[')) {
            char text[16];
            int n = snprintf(text, sizeof(text), "%u", number);
            path_add(s, bytes_of(text, (size_t)n));
        }
        if (!scan_value(s, depth))
            return false;
        s->path_size = path, s->key = key_at;
    } while (next_is(s, ','));
    return next_is(s, ']');
}

static bool scan_value(struct scan *s, unsigned depth)
{
    struct bytes value;
    size_t begin, end;
    if (s->no_memory || s->cut)
        return false;
    if (depth == 0) {
        s->cut = true;
        return false;
    }
    if (next_is(s, '{'))
        return scan_object(s, depth - 1);
    if (next_is(s, '['))
        return scan_array(s, depth - 1);
    if (next_is(s, '"')) {
        bool whole = scan_string(s, &value, &begin, &end);
        add_leaf(s, value, begin, end, GROUND_JSON_STRING);
        return whole;
    }
    return scan_word(s, "true", GROUND_JSON_TRUE) || scan_word(s, "false", GROUND_JSON_FALSE) ||
           scan_word(s, "null", GROUND_JSON_NULL) || scan_number(s);
}

enum err ground_json_leaves(struct bytes text, uint32_t max, struct arena *a,
                            struct ground_json_leaf **out, uint32_t *out_count, bool *cut)
{
    struct scan s = {.data = text.data, .size = text.size, .arena = a, .max = max};
    bool whole = true;
    *out = NULL, *out_count = 0;
    skip_blanks(&s);
    if (s.at >= s.size || (s.data[s.at] != '{' && s.data[s.at] != '['))
        return ERR_OK;
    /* One value after the other: lines of JSON are JSON too. */
    while (whole && s.at < s.size && (s.data[s.at] == '{' || s.data[s.at] == '[')) {
        s.path_size = s.key = 0;
        whole = scan_value(&s, GROUND_JSON_DEPTH_MAX);
        skip_blanks(&s);
    }
    if (s.no_memory)
        return ERR_NOMEM;
    bool ended = s.at >= s.size;
    if ((!ended && !s.cut) || (!whole && s.count < 2))
        return ERR_OK; /* "[2] Eighteen is …": prose that begins with a bracket */
    *cut |= s.cut || !whole;
    *out = s.leaves, *out_count = s.count;
    return ERR_OK;
}
