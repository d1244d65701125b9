/* The instant vector selector of a ratio: metric{label="value", other!="x", third=~"a|b"}.
 *
 * Only what an event counter needs: = and !=, and =~ and !~ over alternatives of literal text, which need no regular expression engine.
 */
#include "query/slo_document.h"
#include "query/slo_terms.h"
#include "base/check.h"

struct cursor {
    struct bytes text;
    size_t at;
};

static void skip_blanks(struct cursor *c)
{
    while (c->at < c->text.size && memchr(" \t\n\r", c->text.data[c->at], 4))
        c->at++;
}

static bool take(struct cursor *c, const char *token)
{
    skip_blanks(c);
    struct bytes rest = bytes_slice(c->text, c->at, c->text.size);
    if (!bytes_has_prefix(rest, bytes_str(token)))
        return false;
    c->at += strlen(token);
    return true;
}

static bool is_name_byte(uint8_t b, bool first, bool colon)
{
    return (b >= 'a' && b <= 'z') || (b >= 'A' && b <= 'Z') || b == '_' || (colon && b == ':') ||
           (!first && b >= '0' && b <= '9');
}

static struct bytes take_name(struct cursor *c, bool colon)
{
    skip_blanks(c);
    size_t from = c->at;
    while (c->at < c->text.size && is_name_byte(c->text.data[c->at], c->at == from, colon))
        c->at++;
    return bytes_slice(c->text, from, c->at);
}

/* A quoted string with \\ \" \n \t escapes. */
static bool take_string(struct cursor *c, struct arena *a, struct bytes *out)
{
    skip_blanks(c);
    if (c->at >= c->text.size)
        return false;
    uint8_t quote = c->text.data[c->at];
    if (quote != '"' && quote != '\'')
        return false;
    uint8_t *s = arena_alloc(a, c->text.size - c->at);
    size_t n = 0;
    for (size_t i = c->at + 1; s && i < c->text.size; i++) {
        uint8_t b = c->text.data[i];
        if (b == quote) {
            c->at = i + 1;
            *out = bytes_of(s, n);
            return true;
        }
        if (b == '\\') {
            if (++i == c->text.size)
                return false;
            b = c->text.data[i];
            b = b == 'n' ? '\n' : b == 't' ? '\t' : b;
        }
        s[n++] = b;
    }
    return false;
}

/* Splits a|b|c; false when a part holds anything that a regular expression would not take literally. */
static bool alternatives(struct bytes text, struct arena *a, struct slo_any *out)
{
    size_t count = 1;
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] == 0 || strchr(".^$*+?()[]{}\\", text.data[i]))
            return false;
        count += text.data[i] == '|';
    }
    struct bytes *values = ARENA_ARRAY(a, struct bytes, count);
    if (!values)
        return false;
    size_t n = 0, from = 0;
    for (size_t i = 0; i <= text.size; i++) {
        if (i == text.size || text.data[i] == '|') {
            values[n++] = bytes_slice(text, from, i);
            from = i + 1;
        }
    }
    *out = (struct slo_any){values, n};
    return true;
}

static enum err take_matcher(struct cursor *c, struct arena *a, struct tsdb_matcher *m,
                             struct err_msg *msg)
{
    struct bytes name = take_name(c, false);
    if (name.size == 0)
        return err_set(msg, ERR_INVALID, "a label name is expected at byte %zu", c->at);
    enum tsdb_match_op op;
    if (take(c, "=~"))
        op = TSDB_MATCH_RE;
    else if (take(c, "!~"))
        op = TSDB_MATCH_NRE;
    else if (take(c, "!="))
        op = TSDB_MATCH_NE;
    else if (take(c, "="))
        op = TSDB_MATCH_EQ;
    else
        return err_set(msg, ERR_INVALID, "one of = != =~ !~ is expected at byte %zu", c->at);
    struct bytes value;
    if (!take_string(c, a, &value))
        return err_set(msg, ERR_INVALID, "a quoted value is expected at byte %zu", c->at);
    *m = (struct tsdb_matcher){.op = op, .name = name, .value = value};
    if (op == TSDB_MATCH_EQ || op == TSDB_MATCH_NE)
        return ERR_OK;
    struct slo_any *any = ARENA_ARRAY(a, struct slo_any, 1);
    if (!any)
        return ERR_NOMEM;
    if (!alternatives(value, a, any))
        return err_set(msg, ERR_INVALID,
                       "\"" BYTES_FMT "\": only alternatives of plain text are possible here, such "
                       "as \"500|502|503\"",
                       BYTES_ARG(value));
    m->match = slo_any_match;
    m->ctx = any;
    return ERR_OK;
}

enum err slo_selector_parse(struct bytes text, struct arena *a, struct query_slo_selector *out,
                            struct err_msg *msg)
{
    struct cursor c = {text, 0};
    struct tsdb_matcher *m = ARENA_ARRAY(a, struct tsdb_matcher, SLO_MATCHERS_MAX);
    size_t n = 0;
    if (!m)
        return ERR_NOMEM;
    struct bytes metric = take_name(&c, true);
    if (metric.size)
        m[n++] = (struct tsdb_matcher){
            .op = TSDB_MATCH_EQ, .name = BYTES_LIT("__name__"), .value = metric};
    if (take(&c, "{")) {
        while (!take(&c, "}")) {
            if (n == SLO_MATCHERS_MAX)
                return err_set(msg, ERR_INVALID, "more than %u matchers", SLO_MATCHERS_MAX);
            enum err e = take_matcher(&c, a, &m[n], msg);
            if (e != ERR_OK)
                return e;
            n++;
            if (!take(&c, ",") && !take(&c, "}"))
                return err_set(msg, ERR_INVALID, "',' or '}' is expected at byte %zu", c.at);
            if (c.text.data[c.at - 1] == '}')
                break;
        }
    }
    skip_blanks(&c);
    bool names_metric = false;
    for (size_t i = 0; i < n; i++)
        names_metric = names_metric || (m[i].op == TSDB_MATCH_EQ && m[i].value.size &&
                                        bytes_equal_str(m[i].name, "__name__"));
    if (!names_metric || c.at != text.size)
        return err_set(msg, ERR_INVALID,
                       "\"" BYTES_FMT
                       "\" is not a counter's selector; valid is a metric with label matchers, "
                       "such as http_requests_total{code!=\"500\"}, without rate() or sum()",
                       BYTES_ARG(text));
    *out = (struct query_slo_selector){text, m, n};
    return ERR_OK;
}
