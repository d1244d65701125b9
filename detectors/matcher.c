/* Matchers of labels, as Alertmanager's. A label that is not there has the empty value. */
#include "base/check.h"
#include "detectors/detectors_silences.h"
#include "query/query_regex.h"

static bool is_name_byte(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == ':' || c == '.' || c == '-' || c == '/';
}

/* What stands between quotes; false when they do not close at the end, or escape something else. */
static bool unquote(struct bytes text, struct arena *a, struct bytes *out)
{
    uint8_t *to = arena_alloc(a, text.size + 1);
    size_t n = 0, i = 1;
    while (to && i < text.size && text.data[i] != '"') {
        uint8_t c = text.data[i++];
        if (c == '\\') {
            uint8_t e = i < text.size ? text.data[i++] : 0;
            if (e != '"' && e != '\\' && e != 'n')
                return false;
            c = e == 'n' ? '\n' : e;
        }
        to[n++] = c;
    }
    *out = bytes_of(to, n);
    return to && i + 1 == text.size;
}

enum err detectors_matcher_parse(struct bytes text, struct arena *a, struct detectors_matcher *out,
                                 struct err_msg *msg)
{
    static const struct {
        const char *text;
        enum detectors_match op;
    } ops[] = {{"=~", DETECTORS_MATCH_RE},
               {"!~", DETECTORS_MATCH_NRE},
               {"!=", DETECTORS_MATCH_NE},
               {"=", DETECTORS_MATCH_EQ}};
    struct detectors_matcher m = {0};
    size_t n = 0, op = 0;
    text = bytes_trim(text);
    while (n < text.size && is_name_byte(text.data[n]))
        n++;
    m.name = bytes_slice(text, 0, n);
    text = bytes_trim(bytes_slice(text, n, text.size));
    while (op < ARRAY_LEN(ops) && !bytes_has_prefix(text, bytes_str(ops[op].text)))
        op++;
    if (!m.name.size || op == ARRAY_LEN(ops))
        return err_set(msg, ERR_INVALID,
                       "a matcher is name=value, name!=value, name=~regex or name!~regex");
    m.op = ops[op].op;
    m.value = bytes_trim(bytes_slice(text, strlen(ops[op].text), text.size));
    if (m.value.size && m.value.data[0] == '"' && !unquote(m.value, a, &m.value))
        return err_set(msg, ERR_INVALID, "the value of " BYTES_FMT " does not end its quotes",
                       BYTES_ARG(m.name));
    if (!bytes_is_utf8(m.value))
        return err_set(msg, ERR_INVALID, "the value of " BYTES_FMT " is no UTF-8",
                       BYTES_ARG(m.name));
    if ((m.op == DETECTORS_MATCH_RE || m.op == DETECTORS_MATCH_NRE) &&
        !query_regex_check(m.value, msg))
        return ERR_INVALID;
    *out = m;
    return ERR_OK;
}

bool detectors_matcher_holds(const struct detectors_matcher *m, const struct query_slo_pair *labels,
                             size_t n)
{
    struct bytes v = BYTES_NONE;
    for (size_t i = 0; i < n; i++)
        if (bytes_equal(labels[i].name, m->name))
            v = labels[i].value;
    switch (m->op) {
    case DETECTORS_MATCH_EQ: return bytes_equal(v, m->value);
    case DETECTORS_MATCH_NE: return !bytes_equal(v, m->value);
    case DETECTORS_MATCH_RE: return query_regex_matches(m->value, v);
    default: return !query_regex_matches(m->value, v);
    }
}
