/* Times of the day in 12 hours, dates with the month's name, yes and no. */
#include "detectors/ground_leaf.h"

#include "base/check.h"

static const char *const months[] = {"January",   "February", "March",    "April",
                                     "May",       "June",     "July",     "August",
                                     "September", "October",  "November", "December"};

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

/* A number of one to max digits at *at, below limit. */
static bool read_number(struct bytes v, size_t *at, unsigned max, unsigned limit, unsigned *out)
{
    size_t i = *at;
    unsigned n = 0;
    while (i < v.size && i - *at < max && is_digit(v.data[i]))
        n = n * 10 + (unsigned)(v.data[i++] - '0');
    if (i == *at || n >= limit || (i < v.size && is_digit(v.data[i])))
        return false;
    *at = i, *out = n;
    return true;
}

static bool read_byte(struct bytes v, size_t *at, uint8_t c)
{
    if (*at >= v.size || v.data[*at] != c)
        return false;
    (*at)++;
    return true;
}

/* "17:30" and "17:30:00"; nothing that people write with am or pm already. */
static bool read_time(struct bytes v, size_t *at, unsigned *hour, unsigned *minute)
{
    size_t i = *at;
    unsigned second;
    if (!read_number(v, &i, 2, 25, hour) || !read_byte(v, &i, ':') ||
        !read_number(v, &i, 2, 60, minute))
        return false;
    *at = i;
    if (read_byte(v, &i, ':') && read_number(v, &i, 2, 60, &second))
        *at = i;
    return true;
}

static bool read_date(struct bytes v, size_t *at, unsigned *year, unsigned *month, unsigned *day)
{
    size_t i = *at;
    if (!read_number(v, &i, 4, 2200, year) || *year < 1000 || !read_byte(v, &i, '-') ||
        !read_number(v, &i, 2, 13, month) || *month == 0 || !read_byte(v, &i, '-') ||
        !read_number(v, &i, 2, 32, day) || *day == 0)
        return false;
    *at = i;
    return true;
}

static struct bytes say_time(struct arena *a, unsigned hour, unsigned minute)
{
    const char *half = hour % 24 < 12 ? "am" : "pm";
    unsigned h = hour % 12 ? hour % 12 : 12;
    return minute ? arena_printf(a, "%u:%02u %s", h, minute, half)
                  : arena_printf(a, "%u %s", h, half);
}

/* What people would say for the value; empty when it says it itself. *ok false: no memory. */
static struct bytes said_again(struct bytes v, struct arena *a)
{
    unsigned year, month, day, hour, minute, hour2, minute2;
    size_t at = 0;
    if (v.size > 40)
        return BYTES_NONE;
    if (read_date(v, &at, &year, &month, &day)) {
        struct bytes time = BYTES_NONE;
        if ((read_byte(v, &at, ' ') || read_byte(v, &at, 'T')) && read_time(v, &at, &hour, &minute))
            time = say_time(a, hour, minute);
        return arena_printf(a, "%u %s %u%s" BYTES_FMT, day, months[month - 1], year,
                            time.size ? " " : "", BYTES_ARG(time));
    }
    at = 0;
    if (!read_time(v, &at, &hour, &minute))
        return BYTES_NONE;
    struct bytes from = say_time(a, hour, minute);
    if (at == v.size)
        return from;
    while (read_byte(v, &at, ' ') || read_byte(v, &at, '-'))
        ;
    if (!read_time(v, &at, &hour2, &minute2) || at != v.size)
        return BYTES_NONE;
    if (hour == hour2 && minute == minute2)
        return arena_printf(a, "24 hours");
    return arena_printf(a, BYTES_FMT " to " BYTES_FMT, BYTES_ARG(from),
                        BYTES_ARG(say_time(a, hour2, minute2)));
}

static enum ground_truth truth_of(const struct ground_json_leaf *leaf)
{
    static const char *const no[] = {"no", "none", "false", "null", "n/a", ""};
    if (leaf->type == GROUND_JSON_TRUE)
        return GROUND_TRUTH_YES;
    if (leaf->type == GROUND_JSON_FALSE || leaf->type == GROUND_JSON_NULL)
        return GROUND_TRUTH_NO;
    for (unsigned i = 0; leaf->type == GROUND_JSON_STRING && i < ARRAY_LEN(no); i++)
        if (bytes_equal_nocase(leaf->value, bytes_str(no[i])))
            return GROUND_TRUTH_NO;
    if (bytes_equal_nocase(leaf->value, BYTES_LIT("yes")) ||
        bytes_equal_nocase(leaf->value, BYTES_LIT("true")))
        return GROUND_TRUTH_YES;
    return GROUND_TRUTH_NONE;
}

enum err ground_leaf_line(const struct ground_json_leaf *leaf, struct bytes value, bool part,
                          struct arena *a, struct ground_line *line)
{
    struct bytes path = part ? bytes_slice(leaf->path, leaf->key, leaf->path.size) : leaf->path;
    struct bytes again =
        leaf->type == GROUND_JSON_STRING && !part ? said_again(value, a) : BYTES_NONE;
    size_t size = path.size + 2 + value.size + (again.size ? again.size + 3 : 0);
    uint8_t *text = arena_alloc_raw(a, size + 1, 1), *o = text;
    if (!text)
        return ERR_NOMEM;
    struct bytes parts[] = {path,  path.size ? BYTES_LIT(": ") : BYTES_NONE,
                            value, again.size ? BYTES_LIT(" (") : BYTES_NONE,
                            again, again.size ? BYTES_LIT(")") : BYTES_NONE};
    for (unsigned i = 0; i < ARRAY_LEN(parts); i++) {
        if (parts[i].size)
            memcpy(o, parts[i].data, parts[i].size);
        o += parts[i].size;
    }
    line->text = bytes_of(text, (size_t)(o - text));
    line->path_bytes = (uint32_t)path.size;
    line->truth = truth_of(leaf);
    return ERR_OK;
}
