#include <cstdlib>
#include <cstring>
#include <new>
#include <re2/re2.h>
#include <string>
#include <vector>

#define _Static_assert static_assert /* the C headers' word for it */
#include "query/regex_re2.h"

struct regex_re2 {
    RE2 re;
    std::vector<std::string> words; /* a|b|c without metacharacters: compared as they are */
    bool is_words;
    regex_re2(const re2::StringPiece &pattern, const RE2::Options &options)
        : re(pattern, options), is_words(false)
    {
    }
};

static re2::StringPiece piece(struct bytes b)
{
    return re2::StringPiece(b.data ? reinterpret_cast<const char *>(b.data) : "", b.size);
}

/* Literal alternatives (the usual status=~"500|502"): no automaton needed. */
static bool split_words(struct bytes pattern, std::vector<std::string> *out)
{
    std::string word;
    for (size_t i = 0; i < pattern.size; i++) {
        char c = static_cast<char>(pattern.data[i]);
        if (c == '|') {
            out->push_back(word);
            word.clear();
        } else if (std::strchr("\\.+*?()[]{}^$", c) || c == 0) {
            return false;
        } else {
            word += c;
        }
    }
    out->push_back(word);
    return out->size() <= 64;
}

/* Go's parser (Prometheus) and RE2 differ in one thing that matters here: \C (a byte) exists only in RE2. */
static bool has_byte_escape(struct bytes pattern)
{
    for (size_t i = 0; i + 1 < pattern.size; i++)
        if (pattern.data[i] == '\\') {
            if (pattern.data[i + 1] == 'C')
                return true;
            i++;
        }
    return false;
}

extern "C" struct regex_re2 *regex_re2_new(struct bytes pattern, struct err_msg *msg)
{
    RE2::Options options;
    options.set_log_errors(false);
    options.set_dot_nl(true);
    options.set_max_mem(REGEX_RE2_BYTES_MAX);
    if (!bytes_is_utf8(pattern) || has_byte_escape(pattern)) {
        (void)err_set(msg, ERR_INVALID, "error parsing regexp: %s: `%.*s`",
                      has_byte_escape(pattern) ? "invalid escape sequence" : "invalid UTF-8",
                      BYTES_ARG(pattern));
        return nullptr;
    }
    regex_re2 *r = new (std::nothrow) regex_re2(piece(pattern), options);
    if (!r) {
        (void)err_set(msg, ERR_NOMEM, "out of memory");
        return nullptr;
    }
    if (!r->re.ok()) {
        std::string why = r->re.error(), arg = r->re.error_arg();
        size_t colon = why.find(": ");
        if (colon != std::string::npos)
            why.resize(colon);
        (void)err_set(msg, ERR_INVALID, "error parsing regexp: %s: `%s`", why.c_str(), arg.c_str());
        delete r;
        return nullptr;
    }
    r->is_words = split_words(pattern, &r->words);
    return r;
}

extern "C" void regex_re2_free(struct regex_re2 *r)
{
    delete r;
}

extern "C" bool regex_re2_matches(const struct regex_re2 *r, struct bytes value)
{
    if (r->is_words) {
        for (const std::string &w : r->words)
            if (w.size() == value.size && std::memcmp(w.data(), value.data, value.size) == 0)
                return true;
        return false;
    }
    return RE2::FullMatch(piece(value), r->re);
}

/* Reads a group's name after '$' at t[i]; returns the index behind it, or 0. */
static size_t group_name(struct bytes t, size_t i, std::string *name)
{
    bool braces = i < t.size && t.data[i] == '{';
    size_t from = i + (braces ? 1 : 0), to = from;
    while (to < t.size && (std::isalnum(t.data[to]) || t.data[to] == '_'))
        to++;
    if (to == from || (braces && (to >= t.size || t.data[to] != '}')))
        return 0;
    name->assign(reinterpret_cast<const char *>(t.data) + from, to - from);
    return to + (braces ? 1 : 0);
}

static void append_group(const regex_re2 *r, const std::vector<re2::StringPiece> &groups,
                         const std::string &name, std::string *out)
{
    size_t n = groups.size();
    if (name.find_first_not_of("0123456789") == std::string::npos) {
        if (name.size() < 6)
            n = static_cast<size_t>(std::atoi(name.c_str()));
    } else {
        auto it = r->re.NamedCapturingGroups().find(name);
        if (it != r->re.NamedCapturingGroups().end())
            n = static_cast<size_t>(it->second);
    }
    if (n < groups.size() && groups[n].data())
        out->append(groups[n].data(), groups[n].size());
}

static void expand(const regex_re2 *r, const std::vector<re2::StringPiece> &groups,
                   struct bytes tmpl, std::string *text)
{
    std::string name;
    for (size_t i = 0; i < tmpl.size;) {
        char c = static_cast<char>(tmpl.data[i++]);
        if (c != '$') {
            *text += c;
            continue;
        }
        if (i < tmpl.size && tmpl.data[i] == '$') {
            *text += '$';
            i++;
            continue;
        }
        size_t next = group_name(tmpl, i, &name);
        if (!next) {
            *text += '$';
            continue;
        }
        append_group(r, groups, name, text);
        i = next;
    }
}

extern "C" int regex_re2_expand(const struct regex_re2 *r, struct bytes value, struct bytes tmpl,
                                struct arena *a, struct bytes *out)
{
    std::vector<re2::StringPiece> groups(static_cast<size_t>(r->re.NumberOfCapturingGroups()) + 1);
    if (!r->re.Match(piece(value), 0, value.size, RE2::ANCHOR_BOTH, groups.data(),
                     static_cast<int>(groups.size())))
        return 0;
    std::string text;
    expand(r, groups, tmpl, &text);
    *out = arena_copy(a, bytes_of(text.data(), text.size()));
    return out->data || text.empty() ? 1 : -1;
}

extern "C" bool regex_re2_search(struct bytes pattern, struct bytes text, bool *out,
                                 struct err_msg *msg)
{
    regex_re2 *r = regex_re2_new(pattern, msg);
    if (r)
        *out = RE2::PartialMatch(piece(text), r->re);
    delete r;
    return r != nullptr;
}

extern "C" enum err regex_re2_replace_all(struct bytes pattern, struct bytes text,
                                          struct bytes tmpl, size_t bytes_max, struct arena *a,
                                          struct bytes *out, struct err_msg *msg)
{
    regex_re2 *r = regex_re2_new(pattern, msg);
    if (!r)
        return ERR_INVALID;
    std::vector<re2::StringPiece> groups(static_cast<size_t>(r->re.NumberOfCapturingGroups()) + 1);
    const char *base = piece(text).data();
    std::string result;
    size_t at = 0, copied = 0;
    /* An empty match right behind a match does not count, as in Go. */
    for (size_t last_end = SIZE_MAX; at <= text.size && result.size() <= bytes_max;) {
        if (!r->re.Match(piece(text), at, text.size, RE2::UNANCHORED, groups.data(),
                         static_cast<int>(groups.size())))
            break;
        size_t from = static_cast<size_t>(groups[0].data() - base), to = from + groups[0].size();
        if (from != to || from != last_end) {
            result.append(base + copied, from - copied);
            expand(r, groups, tmpl, &result);
            copied = to;
        }
        last_end = to;
        at = to;
        if (from == to) { /* one character on */
            at++;
            while (at < text.size && (text.data[at] & 0xc0) == 0x80)
                at++;
        }
    }
    result.append(base + copied, text.size - copied);
    delete r;
    if (result.size() > bytes_max)
        return err_set(msg, ERR_LIMIT, "a replaced text of more than %zu bytes", bytes_max);
    *out = arena_copy(a, bytes_of(result.data(), result.size()));
    return out->data || result.empty() ? ERR_OK : err_set(msg, ERR_LIMIT, "out of memory");
}

extern "C" bool regex_re2_check(struct bytes pattern, struct err_msg *msg)
{
    regex_re2 *r = regex_re2_new(pattern, msg);
    delete r;
    return r != nullptr;
}

extern "C" bool regex_re2_matches_once(struct bytes pattern, struct bytes value)
{
    struct err_msg msg;
    regex_re2 *r = regex_re2_new(pattern, &msg);
    bool yes = r && regex_re2_matches(r, value);
    delete r;
    return yes;
}
