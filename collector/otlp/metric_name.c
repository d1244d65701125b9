#include "collector/otlp/metric_name.h"

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

/* The word for a unit: from the table, else the unit itself with every other character as '_', none at the ends, none doubled. */
static struct bytes unit_text(struct bytes unit, const struct word *words, size_t n, char *scratch,
                              size_t scratch_size)
{
    unit = bytes_trim(unit);
    if (bytes_find(unit, BYTES_LIT("{")) < unit.size ||
        bytes_find(unit, BYTES_LIT("}")) < unit.size)
        return BYTES_NONE;
    for (size_t i = 0; i < n; i++)
        if (bytes_equal_str(unit, words[i].ucum))
            return bytes_str(words[i].text);
    size_t size = 0;
    for (size_t i = 0; i < unit.size && size < scratch_size; i++) {
        if (is_name_char(unit.data[i]))
            scratch[size++] = (char)unit.data[i];
        else if (size && scratch[size - 1] != '_')
            scratch[size++] = '_';
    }
    while (size && scratch[size - 1] == '_')
        size--;
    return bytes_of(scratch, size);
}

static void add_unit(struct bytes unit, struct tokens *t, char *scratch, size_t half)
{
    size_t slash = bytes_find(unit, BYTES_LIT("/"));
    struct bytes text =
        unit_text(bytes_slice(unit, 0, slash), unit_words, ARRAY_LEN(unit_words), scratch, half);
    struct bytes per = BYTES_NONE;
    if (slash < unit.size)
        per = unit_text(bytes_slice(unit, slash + 1, unit.size), per_words, ARRAY_LEN(per_words),
                        scratch + half, half);
    /* Both are judged by the name alone, before either is added. */
    bool add_per = per.size && !contains(t, per);
    if (text.size && !contains(t, text))
        t->at[t->count++] = text;
    if (add_per) {
        t->at[t->count++] = BYTES_LIT("per");
        t->at[t->count++] = per;
    }
}

bool metric_name_build(struct bytes name, struct bytes unit, enum metric_name_kind kind,
                       struct buf *out)
{
    struct tokens t;
    char scratch[128];
    t.count = 0;
    if (name.size > METRIC_NAME_MAX)
        return false;
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

void metric_name_label(struct bytes key, struct buf *out)
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
