#include "cli/demo_effect.h"

#include "base/bytes.h"
#include "base/clock.h"

static const struct {
    const char *text, *what;
    double severity;
    bool incident;
} kinds[DEMO_EFFECT_COUNT] = {
#define X(name, text, severity, incident, what) {text, what, severity, incident},
    DEMO_EFFECT_TABLE(X)
#undef X
};

const char *demo_effect_text(enum demo_effect_kind kind)
{
    return kinds[kind].text;
}

const char *demo_effect_help(enum demo_effect_kind kind)
{
    return kinds[kind].what;
}

bool demo_effect_is_incident(enum demo_effect_kind kind)
{
    return kinds[kind].incident;
}

static enum err parse_kind(struct bytes word, bool incident, struct demo_effect *out,
                           struct err_msg *msg)
{
    char valid[256] = "";
    size_t n = 0;
    for (int i = 0; i < DEMO_EFFECT_COUNT; i++) {
        if (kinds[i].incident != incident)
            continue;
        if (bytes_equal_str(word, kinds[i].text)) {
            out->kind = (enum demo_effect_kind)i;
            out->severity = kinds[i].severity;
            return ERR_OK;
        }
        for (const char *c = n ? ", " : ""; *c && n + 1 < sizeof valid; c++)
            valid[n++] = *c;
        for (const char *c = kinds[i].text; *c && n + 1 < sizeof valid; c++)
            valid[n++] = *c;
        valid[n] = 0;
    }
    return err_set(msg, ERR_INVALID, "no %s \"" BYTES_FMT "\"; there are: %s",
                   incident ? "incident" : "confounder", BYTES_ARG(word), valid);
}

static bool parse_duration(struct bytes text, int64_t *out_ms)
{
    char copy[32];
    bool negative = text.size && text.data[0] == '-';
    if (negative)
        text = bytes_slice(text, 1, text.size);
    if (!text.size || text.size >= sizeof copy)
        return false;
    memcpy(copy, text.data, text.size);
    copy[text.size] = 0;
    if (!clock_parse_duration_ms(copy, out_ms))
        return false;
    if (negative)
        *out_ms = -*out_ms;
    return true;
}

static enum err parse_part(struct bytes part, struct demo_effect *out, struct err_msg *msg)
{
    size_t eq = bytes_find(part, BYTES_LIT("="));
    struct bytes key = bytes_slice(part, 0, eq);
    struct bytes value = eq < part.size ? bytes_slice(part, eq + 1, part.size) : BYTES_NONE;
    bool ok = false;
    if (bytes_equal_str(key, "onset"))
        ok = parse_duration(value, &out->onset_ms);
    else if (bytes_equal_str(key, "for"))
        ok = parse_duration(value, &out->duration_ms) && out->duration_ms >= 0;
    else if (bytes_equal_str(key, "severity"))
        ok = bytes_to_f64(value, &out->severity) && out->severity > 0 && out->severity <= 100;
    else
        return err_set(msg, ERR_INVALID,
                       "\"" BYTES_FMT "\" is none of onset=DURATION, severity=NUMBER, for=DURATION",
                       BYTES_ARG(part));
    return ok ? ERR_OK
              : err_set(msg, ERR_INVALID, "\"" BYTES_FMT "\": give %s", BYTES_ARG(part),
                        bytes_equal_str(key, "severity") ? "a number above 0"
                                                         : "a duration, such as 5m or -2h");
}

enum err demo_effect_parse(const char *text, bool incident, struct demo_effect *out,
                           struct err_msg *msg)
{
    struct bytes rest = bytes_str(text);
    struct demo_effect e = {.onset_ms = 60000};
    size_t comma = bytes_find(rest, BYTES_LIT(","));
    enum err error = parse_kind(bytes_slice(rest, 0, comma), incident, &e, msg);
    while (!error && comma < rest.size) {
        rest = bytes_slice(rest, comma + 1, rest.size);
        comma = bytes_find(rest, BYTES_LIT(","));
        error = parse_part(bytes_slice(rest, 0, comma), &e, msg);
    }
    if (!error)
        *out = e;
    return error;
}

double demo_effect_at(const struct demo_effects *e, enum demo_effect_kind kind, int64_t now_ms,
                      int64_t *out_elapsed_ms)
{
    for (unsigned i = 0; i < e->count; i++) {
        const struct demo_effect *x = &e->list[i];
        int64_t since = now_ms - e->live_ms - x->onset_ms;
        if (x->kind != kind || since < 0 || (x->duration_ms && since >= x->duration_ms))
            continue;
        if (out_elapsed_ms)
            *out_elapsed_ms = since;
        return x->severity;
    }
    return 0;
}
