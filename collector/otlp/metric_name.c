#include "collector/otlp/metric_name.h"

#include <stdio.h>

#include "base/check.h"

struct word {
    const char *ucum, *text;
};

static const struct word unit_words[] = {
    {"d", "days"},
    {"h", "hours"},
    {"min", "minutes"},
    {"s", "seconds"},
    {"ms", "milliseconds"},
    {"us", "microseconds"},
    {"ns", "nanoseconds"},
    {"By", "bytes"},
    {"KiBy", "kibibytes"},
    {"MiBy", "mebibytes"},
    {"GiBy", "gibibytes"},
    {"TiBy", "tibibytes"},
    {"KBy", "kilobytes"},
    {"MBy", "megabytes"},
    {"GBy", "gigabytes"},
    {"TBy", "terabytes"},
    {"m", "meters"},
    {"V", "volts"},
    {"A", "amperes"},
    {"J", "joules"},
    {"W", "watts"},
    {"g", "grams"},
    {"Cel", "celsius"},
    {"Hz", "hertz"},
    {"1", ""},
    {"%", "percent"},
};
static const struct word per_words[] = {
    {"s", "second"}, {"m", "minute"}, {"h", "hour"}, {"d", "day"},
    {"w", "week"},   {"mo", "month"}, {"y", "year"},
};

#define TOKENS_MAX (METRIC_NAME_MAX / 2 + 8)
struct tokens {
    struct bytes at[TOKENS_MAX];
    unsigned count;
};

static bool is_name_char(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == ':';
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static void split(struct bytes s, struct tokens *t)
{
    for (size_t i = 0; i < s.size;) {
        size_t from = i;
        while (i < s.size && is_name_char(s.data[i]))
            i++;
        if (i > from && t->count < TOKENS_MAX)
            t->at[t->count++] = bytes_slice(s, from, i);
        else if (i == from)
            i++;
    }
}

static bool contains(const struct tokens *t, struct bytes word)
{
    for (unsigned i = 0; i < t->count; i++)
        if (bytes_equal(t->at[i], word))
            return true;
    return false;
}

static void move_last(struct tokens *t, struct bytes word)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < t->count; i++)
        if (!bytes_equal(t->at[i], word))
            t->at[kept++] = t->at[i];
    t->count = kept;
    if (t->count < TOKENS_MAX)
        t->at[t->count++] = word;
}

/* A unit's halves around '/', in words: from the tables, else as they were sent; {annotations} are no units. */
struct unit {
    struct bytes main, per;
};

static struct bytes unit_word(struct bytes text, const struct word *words, size_t n)
{
    text = bytes_trim(text);
    if (bytes_find(text, BYTES_LIT("{")) < text.size ||
        bytes_find(text, BYTES_LIT("}")) < text.size)
        return BYTES_NONE;
    for (size_t i = 0; i < n; i++)
        if (bytes_equal_str(text, words[i].ucum))
            return bytes_str(words[i].text);
    return text;
}

static struct unit unit_of(struct bytes unit)
{
    size_t slash = bytes_find(unit, BYTES_LIT("/"));
    struct unit u = {unit_word(bytes_slice(unit, 0, slash), unit_words, ARRAY_LEN(unit_words)),
                     BYTES_NONE};
    if (slash < unit.size)
        u.per = unit_word(bytes_slice(unit, slash + 1, unit.size), per_words, ARRAY_LEN(per_words));
    return u;
}

/* Every other character as '_', none at the ends, none doubled. */
static struct bytes escaped(struct bytes text, char *scratch, size_t scratch_size)
{
    size_t size = 0;
    for (size_t i = 0; i < text.size && size < scratch_size; i++) {
        if (is_name_char(text.data[i]))
            scratch[size++] = (char)text.data[i];
        else if (size && scratch[size - 1] != '_')
            scratch[size++] = '_';
    }
    while (size && scratch[size - 1] == '_')
        size--;
    return bytes_of(scratch, size);
}

static void add_unit(struct bytes unit, struct tokens *t, char *scratch, size_t half)
{
    struct unit u = unit_of(unit);
    struct bytes text = escaped(u.main, scratch, half), per = escaped(u.per, scratch + half, half);
    /* Both are judged by the name alone, before either is added. */
    bool add_per = per.size && !contains(t, per);
    if (text.size && !contains(t, text))
        t->at[t->count++] = text;
    if (add_per) {
        t->at[t->count++] = BYTES_LIT("per");
        t->at[t->count++] = per;
    }
}

static bool build_escaped(struct bytes name, struct bytes unit, enum metric_name_kind kind,
                          struct buf *out)
{
    struct tokens t;
    char scratch[128];
    t.count = 0;
    split(name, &t);
    if (!t.count)
        return false;
    add_unit(unit, &t, scratch, sizeof(scratch) / 2);
    if (kind == METRIC_NAME_COUNTER)
        move_last(&t, BYTES_LIT("total"));
    if (kind == METRIC_NAME_GAUGE && bytes_equal_str(unit, "1"))
        move_last(&t, BYTES_LIT("ratio"));
    if (is_digit(t.at[0].data[0]))
        buf_u8(out, '_');
    for (unsigned i = 0; i < t.count; i++) {
        if (i)
            buf_u8(out, '_');
        buf_bytes_append(out, t.at[i]);
    }
    return buf_ok(out);
}

/* Runs of letters, digits, ':' and '_' joined by '_'. A name that only escaping made one of nothing but '_' says nothing. */
static bool build_plain(struct bytes name, struct buf *out)
{
    bool has_letter = false, is_same = true;
    size_t from = out->size;
    for (size_t i = 0; i < name.size; i++) {
        uint8_t c = name.data[i];
        if (!is_name_char(c) && c != '_') {
            is_same = false;
            continue;
        }
        if (out->size == from && is_digit(c))
            buf_u8(out, '_');
        else if (out->size > from && i && !is_name_char(name.data[i - 1]) &&
                 name.data[i - 1] != '_')
            buf_u8(out, '_');
        has_letter |= c != '_';
        buf_u8(out, c);
    }
    return buf_ok(out) && out->size > from && (has_letter || is_same);
}

/* The name without the word at its end and the character before it. */
static struct bytes without_end(struct bytes name, struct bytes end)
{
    if (name.size > end.size + 1 && bytes_has_suffix(name, end))
        return bytes_slice(name, 0, name.size - end.size - 1);
    return name;
}

/* The name as it was sent; suffixes stand in the order unit, per unit, type, each once. */
static bool build_utf8(struct bytes name, struct bytes unit, enum metric_name_kind kind,
                       struct buf *out)
{
    const char *type = kind == METRIC_NAME_COUNTER                               ? "total"
                       : kind == METRIC_NAME_GAUGE && bytes_equal_str(unit, "1") ? "ratio"
                                                                                 : NULL;
    struct unit u = unit_of(unit);
    char per[METRIC_NAME_MAX + 8];
    int per_size = u.per.size && u.per.size <= METRIC_NAME_MAX
                       ? snprintf(per, sizeof(per), "per_" BYTES_FMT, BYTES_ARG(u.per))
                       : 0;
    if (type)
        name = without_end(name, bytes_str(type));
    if (per_size)
        name = without_end(name, bytes_of(per, (size_t)per_size));
    buf_bytes_append(out, name);
    if (u.main.size && !bytes_has_suffix(name, u.main)) {
        buf_u8(out, '_');
        buf_bytes_append(out, u.main);
    }
    if (per_size) {
        buf_u8(out, '_');
        buf_append(out, per, (size_t)per_size);
    }
    if (type) {
        buf_u8(out, '_');
        buf_str(out, type);
    }
    return buf_ok(out);
}

bool metric_name_build(struct bytes name, struct bytes unit, enum metric_name_kind kind,
                       enum otlp_strategy strategy, struct buf *out)
{
    if (!name.size || name.size > METRIC_NAME_MAX)
        return false;
    switch (strategy) {
    case OTLP_UNDERSCORE_WITHOUT_SUFFIXES: return build_plain(name, out);
    case OTLP_UTF8_WITH_SUFFIXES: return build_utf8(name, unit, kind, out);
    case OTLP_NO_TRANSLATION: buf_bytes_append(out, name); return buf_ok(out);
    default: return build_escaped(name, unit, kind, out);
    }
}

void metric_name_unit(struct bytes unit, enum otlp_strategy strategy, struct buf *out)
{
    struct unit u = unit_of(unit);
    char scratch[2][64];
    if (!otlp_translation_keeps_utf8(strategy)) {
        u.main = escaped(u.main, scratch[0], sizeof(scratch[0]));
        u.per = escaped(u.per, scratch[1], sizeof(scratch[1]));
    }
    buf_bytes_append(out, u.main);
    if (u.main.size && u.per.size)
        buf_u8(out, '_');
    if (u.per.size) {
        buf_str(out, "per_");
        buf_bytes_append(out, u.per);
    }
}

static void label_escaped(struct bytes key, struct buf *out)
{
    if (key.size && is_digit(key.data[0]))
        buf_str(out, "key_");
    size_t from = out->size;
    for (size_t i = 0; i < key.size; i++) {
        uint8_t c = key.data[i];
        if ((c & 0xc0) == 0x80)
            continue; /* one '_' for a whole character */
        buf_u8(out, is_name_char(c) && c != ':' ? c : '_');
    }
    if (!buf_ok(out) || from == out->size || out->data[from] != '_')
        return;
    if (out->size - from > 1 && out->data[from + 1] == '_')
        return;
    size_t size = out->size - from;
    if (!buf_reserve(out, 3))
        return;
    memmove(out->data + from + 3, out->data + from, size);
    memcpy(out->data + from, "key", 3);
    out->size += 3;
}

void metric_name_label(struct bytes key, enum otlp_strategy strategy, struct buf *out)
{
    if (otlp_translation_keeps_utf8(strategy))
        buf_bytes_append(out, key);
    else
        label_escaped(key, out);
}

bool otlp_translation_strategy(const char *name, enum otlp_strategy *out)
{
    static const char *const names[] = {
        [OTLP_UNDERSCORE_WITH_SUFFIXES] = "UnderscoreEscapingWithSuffixes",
        [OTLP_UNDERSCORE_WITHOUT_SUFFIXES] = "UnderscoreEscapingWithoutSuffixes",
        [OTLP_UTF8_WITH_SUFFIXES] = "NoUTF8EscapingWithSuffixes",
        [OTLP_NO_TRANSLATION] = "NoTranslation",
    };
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(name, names[i]) == 0) {
            *out = (enum otlp_strategy)i;
            return true;
        }
    return false;
}
