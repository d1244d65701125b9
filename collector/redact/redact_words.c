#include <sodium.h>

#include "base/check.h"
#include "collector/redact/redact_engine.h"
#include "collector/redact/redact_match.h"

#define BACK_MAX 256u /* so far back a URL with a password begins */
#define LOCAL_MAX 64u
#define DOMAIN_MAX 253u
#define JWT_HEADER_MAX 1024u
#define VALUE_MAX 512u

/* What a word is the beginning of. */
enum kind { TOKEN, AT, JWT, PEM, ASSIGN, BEARER, BASIC, ACCOUNT_KEY, SLACK_HOOK, IP6 };

/* Characters of tokens. */
enum set { ALNUM, DASH /* and - _ */, HEX, UPPER, BASE64, SLACK, SENDGRID, SETS };

struct rule {
    uint8_t kind, type, set;
    uint16_t min, max; /* characters behind the word */
    uint8_t
        mixed; /* 1: at least one digit and one letter, eight different; 2: eight different, the prefix says the rest */
};

/* X(text, caseless, kind, type, set, min, max, mixed). Prefixes and lengths as their issuers publish them. */
/* clang-format off */
#define WORDS(X)                                                              \
    X("sk-proj-", 0, TOKEN, OPENAI_KEY, DASH, 32, 250, 1)                     \
    X("sk-svcacct-", 0, TOKEN, OPENAI_KEY, DASH, 32, 250, 1)                  \
    X("sk-admin-", 0, TOKEN, OPENAI_KEY, DASH, 32, 250, 1)                    \
    X("sk-ant-", 0, TOKEN, ANTHROPIC_KEY, DASH, 32, 200, 1)                   \
    X("sk-or-v1-", 0, TOKEN, OPENROUTER_KEY, HEX, 64, 64, 1)                  \
    X("sk-lf-", 0, TOKEN, LANGFUSE_KEY, DASH, 36, 36, 1)                      \
    X("sk-", 0, TOKEN, OPENAI_KEY, ALNUM, 32, 64, 1)                          \
    X("AKIA", 0, TOKEN, AWS_ACCESS_KEY, UPPER, 16, 16, 2)                     \
    X("ASIA", 0, TOKEN, AWS_ACCESS_KEY, UPPER, 16, 16, 2)                     \
    X("AIza", 0, TOKEN, GOOGLE_API_KEY, DASH, 35, 35, 2)                      \
    X("GOCSPX-", 0, TOKEN, GOOGLE_OAUTH, DASH, 28, 28, 2)                     \
    X("ya29.", 0, TOKEN, GOOGLE_OAUTH, DASH, 30, 400, 1)                      \
    X("ghp_", 0, TOKEN, GITHUB_TOKEN, ALNUM, 36, 36, 2)                       \
    X("gho_", 0, TOKEN, GITHUB_TOKEN, ALNUM, 36, 36, 2)                       \
    X("ghu_", 0, TOKEN, GITHUB_TOKEN, ALNUM, 36, 36, 2)                       \
    X("ghs_", 0, TOKEN, GITHUB_TOKEN, ALNUM, 36, 36, 2)                       \
    X("ghr_", 0, TOKEN, GITHUB_TOKEN, ALNUM, 36, 76, 2)                       \
    X("github_pat_", 0, TOKEN, GITHUB_TOKEN, DASH, 82, 82, 2)                 \
    X("glpat-", 0, TOKEN, GITLAB_TOKEN, DASH, 20, 64, 2)                      \
    X("gldt-", 0, TOKEN, GITLAB_TOKEN, DASH, 20, 64, 2)                       \
    X("glrt-", 0, TOKEN, GITLAB_TOKEN, DASH, 20, 64, 2)                       \
    X("glptt-", 0, TOKEN, GITLAB_TOKEN, HEX, 40, 40, 1)                       \
    X("xoxb-", 0, TOKEN, SLACK_TOKEN, SLACK, 20, 250, 1)                      \
    X("xoxp-", 0, TOKEN, SLACK_TOKEN, SLACK, 20, 250, 1)                      \
    X("xoxa-", 0, TOKEN, SLACK_TOKEN, SLACK, 20, 250, 1)                      \
    X("xoxr-", 0, TOKEN, SLACK_TOKEN, SLACK, 20, 250, 1)                      \
    X("xoxs-", 0, TOKEN, SLACK_TOKEN, SLACK, 20, 250, 1)                      \
    X("xapp-", 0, TOKEN, SLACK_TOKEN, SLACK, 20, 250, 1)                      \
    X("hooks.slack.com/services/", 0, SLACK_HOOK, SLACK_WEBHOOK, ALNUM, 30, 80, 0) \
    X("sk_live_", 0, TOKEN, STRIPE_KEY, ALNUM, 16, 250, 2)                    \
    X("sk_test_", 0, TOKEN, STRIPE_KEY, ALNUM, 16, 250, 2)                    \
    X("rk_live_", 0, TOKEN, STRIPE_KEY, ALNUM, 16, 250, 2)                    \
    X("rk_test_", 0, TOKEN, STRIPE_KEY, ALNUM, 16, 250, 2)                    \
    X("whsec_", 0, TOKEN, STRIPE_KEY, BASE64, 24, 100, 1)                     \
    X("hf_", 0, TOKEN, HUGGINGFACE_TOKEN, ALNUM, 34, 40, 2)                   \
    X("npm_", 0, TOKEN, NPM_TOKEN, ALNUM, 36, 36, 2)                          \
    X("pypi-AgE", 0, TOKEN, PYPI_TOKEN, DASH, 50, 250, 1)                     \
    X("SG.", 0, TOKEN, SENDGRID_KEY, SENDGRID, 66, 66, 1)                     \
    X("dop_v1_", 0, TOKEN, DIGITALOCEAN_TOKEN, HEX, 64, 64, 1)                \
    X("doo_v1_", 0, TOKEN, DIGITALOCEAN_TOKEN, HEX, 64, 64, 1)                \
    X("shpat_", 0, TOKEN, SHOPIFY_TOKEN, HEX, 32, 32, 1)                      \
    X("shpss_", 0, TOKEN, SHOPIFY_TOKEN, HEX, 32, 32, 1)                      \
    X("gsk_", 0, TOKEN, GROQ_KEY, ALNUM, 48, 60, 1)                           \
    X("xai-", 0, TOKEN, XAI_KEY, ALNUM, 70, 90, 1)                            \
    X("pplx-", 0, TOKEN, PERPLEXITY_KEY, ALNUM, 40, 60, 1)                    \
    X("r8_", 0, TOKEN, REPLICATE_TOKEN, ALNUM, 37, 37, 1)                     \
    X("dapi", 0, TOKEN, DATABRICKS_TOKEN, HEX, 32, 32, 1)                     \
    X("eyJ", 0, JWT, JWT, DASH, 0, 0, 0)                                      \
    X("-----BEGIN ", 0, PEM, PRIVATE_KEY, ALNUM, 0, 0, 0)                     \
    X("@", 0, AT, EMAIL, ALNUM, 0, 0, 0)                                      \
    X("AccountKey=", 1, ACCOUNT_KEY, AZURE_KEY, BASE64, 80, 90, 1)            \
    X("SharedAccessKey=", 1, ACCOUNT_KEY, AZURE_KEY, BASE64, 40, 90, 1)       \
    X("Bearer ", 1, BEARER, BEARER_TOKEN, DASH, 20, 500, 1)                   \
    X("Basic ", 1, BASIC, BASIC_AUTH, BASE64, 8, 300, 0)                      \
    X("api_key", 1, ASSIGN, API_KEY, DASH, 16, 300, 1)                        \
    X("apikey", 1, ASSIGN, API_KEY, DASH, 16, 300, 1)                         \
    X("api-key", 1, ASSIGN, API_KEY, DASH, 16, 300, 1)                        \
    X("api key", 1, ASSIGN, API_KEY, DASH, 16, 300, 1)                        \
    X("secret", 1, ASSIGN, API_KEY, DASH, 16, 300, 1)                         \
    X("access_key", 1, ASSIGN, API_KEY, DASH, 16, 300, 1)                     \
    X("access_token", 1, ASSIGN, API_KEY, DASH, 16, 300, 1)                   \
    X("auth_token", 1, ASSIGN, API_KEY, DASH, 16, 300, 1)                     \
    X("refresh_token", 1, ASSIGN, API_KEY, DASH, 16, 300, 1)                  \
    X("password", 1, ASSIGN, PASSWORD, DASH, 6, 128, 0)                       \
    X("passwd", 1, ASSIGN, PASSWORD, DASH, 6, 128, 0)                         \
    X("pwd=", 1, ASSIGN, PASSWORD, DASH, 6, 128, 0)                           \
    X("passwort", 1, ASSIGN, PASSWORD, DASH, 6, 128, 0)                       \
    X("::", 0, IP6, IP, HEX, 0, 0, 0)                                         \
    X("2001:", 0, IP6, IP, HEX, 0, 0, 0) X("2003:", 0, IP6, IP, HEX, 0, 0, 0) \
    X("2400:", 0, IP6, IP, HEX, 0, 0, 0) X("2401:", 0, IP6, IP, HEX, 0, 0, 0) \
    X("2404:", 0, IP6, IP, HEX, 0, 0, 0) X("2405:", 0, IP6, IP, HEX, 0, 0, 0) \
    X("2409:", 0, IP6, IP, HEX, 0, 0, 0) X("240e:", 1, IP6, IP, HEX, 0, 0, 0) \
    X("2600:", 0, IP6, IP, HEX, 0, 0, 0) X("2601:", 0, IP6, IP, HEX, 0, 0, 0) \
    X("2603:", 0, IP6, IP, HEX, 0, 0, 0) X("2604:", 0, IP6, IP, HEX, 0, 0, 0) \
    X("2605:", 0, IP6, IP, HEX, 0, 0, 0) X("2606:", 0, IP6, IP, HEX, 0, 0, 0) \
    X("2607:", 0, IP6, IP, HEX, 0, 0, 0) X("2620:", 0, IP6, IP, HEX, 0, 0, 0) \
    X("2804:", 0, IP6, IP, HEX, 0, 0, 0) X("2a00:", 1, IP6, IP, HEX, 0, 0, 0) \
    X("2a01:", 1, IP6, IP, HEX, 0, 0, 0) X("2a02:", 1, IP6, IP, HEX, 0, 0, 0) \
    X("2a03:", 1, IP6, IP, HEX, 0, 0, 0) X("2a04:", 1, IP6, IP, HEX, 0, 0, 0) \
    X("2a05:", 1, IP6, IP, HEX, 0, 0, 0) X("2a06:", 1, IP6, IP, HEX, 0, 0, 0)
/* clang-format on */

static const struct redact_engine_word words[] = {
#define X(text, caseless, kind, type, set, min, max, mixed) {text, caseless},
    WORDS(X)
#undef X
};
static const struct rule rules[] = {
#define X(text, caseless, kind, type, set, min, max, mixed) \
    {kind, REDACT_TYPE_##type, set, min, max, mixed},
    WORDS(X)
#undef X
};

size_t redact_match_words(const struct redact_engine_word **out)
{
    *out = words;
    return ARRAY_LEN(words);
}

/* --- tokens -------------------------------------------------------------------------------------------------- */

static bool is_in(uint8_t c, uint8_t set)
{
    bool is_alnum = redact_match_is_digit(c) || redact_match_is_alpha(c);
    switch (set) {
    case HEX: return redact_match_is_digit(c) || (uint8_t)((c | 32) - 'a') < 6;
    case UPPER: return redact_match_is_digit(c) || (uint8_t)(c - 'A') < 26;
    case BASE64: return is_alnum || c == '+' || c == '/' || c == '=';
    case SLACK: return is_alnum || c == '-';
    case DASH: return is_alnum || c == '-' || c == '_';
    case SENDGRID: return is_alnum || c == '-' || c == '_' || c == '.';
    default: return is_alnum;
    }
}

static size_t set_end(struct bytes text, size_t at, uint8_t set)
{
    while (at < text.size && is_in(text.data[at], set))
        at++;
    return at;
}

/* Random letters and digits, and no word, no name, no row of x: at least a digit and a letter among at least eight different characters. */
static bool is_mixed(const uint8_t *p, size_t n, uint8_t how)
{
    bool seen[128] = {false}, has_digit = false, has_alpha = false;
    unsigned different = 0;
    for (size_t i = 0; i < n; i++) {
        uint8_t c = p[i] & 127;
        different += !seen[c];
        seen[c] = true;
        has_digit = has_digit || redact_match_is_digit(c);
        has_alpha = has_alpha || redact_match_is_alpha(c);
    }
    return different >= 8 && (how == 2 || (has_digit && has_alpha));
}

/* Words joined by dashes, as "sk-learn-pipeline-for-text": hardly any digit, and nothing in capitals. */
static bool is_slug(const uint8_t *p, size_t n)
{
    size_t digits = 0, dashes = 0, capitals = 0;
    for (size_t i = 0; i < n; i++) {
        digits += redact_match_is_digit(p[i]);
        dashes += p[i] == '-' || p[i] == '_';
        capitals += (uint8_t)(p[i] - 'A') < 26;
    }
    return dashes * 8 > n && capitals == 0 && digits * 6 < n;
}

static void match_token(const struct redact_subject *s, const struct rule *r, size_t from,
                        size_t end, struct redact_matches *out)
{
    struct bytes t = s->text;
    size_t to = set_end(t, end, r->set), n;
    while (to > end && (t.data[to - 1] == '-' || t.data[to - 1] == '.') && r->min != r->max)
        to--; /* the end of a sentence */
    if (r->set == SENDGRID && to > end && t.data[to - 1] == '.')
        to--;
    n = to - end;
    if (n < r->min || n > r->max || !redact_match_starts(t, from) || !redact_match_ends(t, to) ||
        (from && t.data[from - 1] == '-') ||
        (r->mixed && (!is_mixed(t.data + end, n, r->mixed) || is_slug(t.data + end, n))))
        return;
    if (r->set == SENDGRID && (n < 23 || t.data[end + 22] != '.'))
        return;
    redact_match_add(out, from, to, r->type);
}

/* Three parts, the first of which is JSON with an algorithm. */
static void match_jwt(const struct redact_subject *s, size_t from, struct redact_matches *out)
{
    struct bytes t = s->text;
    uint8_t header[JWT_HEADER_MAX];
    size_t size = 0, dot = set_end(t, from, DASH), payload, end;
    if (dot >= t.size || t.data[dot] != '.' || dot - from > JWT_HEADER_MAX ||
        !redact_match_starts(t, from))
        return;
    payload = set_end(t, dot + 1, DASH);
    if (payload - dot < 3 || payload >= t.size || t.data[payload] != '.')
        return;
    end = set_end(t, payload + 1, DASH);
    if (sodium_base642bin(header, sizeof header, (const char *)t.data + from, dot - from, NULL,
                          &size, NULL, sodium_base64_VARIANT_URLSAFE_NO_PADDING) != 0)
        return;
    struct bytes json = bytes_of(header, size);
    if (bytes_find(json, BYTES_LIT("\"alg\"")) < json.size)
        redact_match_add(out, from, end, REDACT_TYPE_JWT);
}

static void match_pem(const struct redact_subject *s, size_t from, size_t end,
                      struct redact_matches *out)
{
    struct bytes t = s->text, rest = bytes_slice(t, end, t.size);
    struct bytes name = bytes_slice(rest, 0, MIN(rest.size, (size_t)40));
    size_t key = bytes_find(name, BYTES_LIT("PRIVATE KEY"));
    if (key == name.size)
        return;
    size_t at = end + key + 11;
    struct bytes body = bytes_slice(t, at, t.size);
    size_t stop = bytes_find(body, BYTES_LIT("-----END "));
    if (stop < body.size) {
        struct bytes tail = bytes_slice(body, stop + 9, body.size);
        size_t close = bytes_find(tail, BYTES_LIT("-----"));
        at += close < tail.size && close < 48 ? stop + 9 + close + 5 : stop + 9;
    } else { /* cut off: as far as it looks like one */
        while (at < t.size && (is_in(t.data[at], BASE64) || memchr("- \r\n\\:,", t.data[at], 8)))
            at++;
    }
    /* in JSON it lies within one string */
    const uint8_t *quote = memchr(t.data + end, '"', at - end);
    if (quote)
        at = (size_t)(quote - t.data);
    redact_match_add(out, from, at, REDACT_TYPE_PRIVATE_KEY);
}

/* --- @ ----------------------------------------------------------------------------------------------------------- */

/* Something to be filled in, or hidden already. */
static bool is_template(struct bytes v)
{
    static const char *const said[] = {"null",     "none",   "true",     "false",   "undefined",
                                       "redacted", "hidden", "required", "changeme"};
    if (!v.size || memchr("$<{*%[(", v.data[0], 7))
        return true;
    for (size_t i = 1; i < v.size; i++)
        if (v.data[i] != v.data[0]) {
            for (size_t k = 0; k < ARRAY_LEN(said); k++)
                if (bytes_equal_nocase(v, bytes_str(said[k])))
                    return true;
            return false;
        }
    return true; /* xxxxxxxx */
}

/* scheme://user:password@host */
static bool match_url_password(struct bytes t, size_t at, struct redact_matches *out)
{
    size_t low = at > BACK_MAX ? at - BACK_MAX : 0, colon = at;
    for (size_t i = at; i-- > low;) {
        uint8_t c = t.data[i];
        if (c <= ' ' || c == '"' || c == '\'' || c == '<' || c == '>')
            return false;
        if (c == ':' && t.size - i > 2 && t.data[i + 1] == '/' && t.data[i + 2] == '/') {
            if (colon == at || colon <= i + 2 || colon + 1 >= at ||
                !redact_match_is_alpha(i ? t.data[i - 1] : 0))
                return false;
            if (!is_template(bytes_slice(t, colon + 1, at)))
                redact_match_add(out, colon + 1, at, REDACT_TYPE_URL_PASSWORD);
            return true; /* no address of a mailbox in any case */
        }
        if (c == ':')
            colon = i;
        if (c == '/' && !(i > low && t.data[i - 1] == '/') && !(t.data[i + 1] == '/'))
            return false; /* in the path */
    }
    return false;
}

static bool is_local(uint8_t c)
{
    return redact_match_is_word(c) || memchr(".%+-", c, 4) != NULL;
}

static bool is_file_ending(struct bytes tld)
{
    static const char *const endings[] = {"png", "jpg", "jpeg", "gif",  "svg", "js",  "css",
                                          "ts",  "mjs", "webp", "json", "py",  "tgz", "html"};
    for (size_t i = 0; i < ARRAY_LEN(endings); i++)
        if (bytes_equal_nocase(tld, bytes_str(endings[i])))
            return true;
    return false;
}

/* The end of the domain behind an @, or 0. */
static size_t domain_end(struct bytes t, size_t at)
{
    size_t end = at, dot = 0;
    while (end < t.size && end - at < DOMAIN_MAX &&
           (redact_match_is_digit(t.data[end]) || redact_match_is_alpha(t.data[end]) ||
            t.data[end] == '-' || t.data[end] == '.')) {
        if (t.data[end] == '.' && end + 1 < t.size && redact_match_is_alpha(t.data[end + 1]))
            dot = end; /* the end of a sentence is none */
        else if (t.data[end] == '.')
            break;
        end++;
    }
    while (end > at && t.data[end - 1] == '-')
        end--;
    if (!dot || dot == at || end - dot < 3 || end - dot > 25)
        return 0;
    for (size_t i = dot + 1; i < end; i++)
        if (!redact_match_is_alpha(t.data[i]))
            return 0;
    return is_file_ending(bytes_slice(t, dot + 1, end)) ? 0 : end;
}

static void match_at(const struct redact_subject *s, size_t end, struct redact_matches *out)
{
    struct bytes t = s->text;
    size_t at = end - 1, from = at;
    if (match_url_password(t, at, out))
        return;
    size_t to = domain_end(t, end);
    while (from && at - from <= LOCAL_MAX && is_local(t.data[from - 1]))
        from--;
    if (from >= 1 && from < at && t.data[from - 1] == '\\' && memchr("nrt", t.data[from], 3))
        from++; /* an escape of JSON */
    while (from < at && (t.data[from] == '.' || t.data[from] == '-' || t.data[from] == '%'))
        from++;
    if (!to || from == at || at - from > LOCAL_MAX || t.data[at - 1] == '.' ||
        bytes_equal_str(bytes_slice(t, from, at), "git"))
        return;
    redact_match_add(out, from, to, REDACT_TYPE_EMAIL);
}

/* --- what is called a secret ------------------------------------------------------------------------------------------ */

/* The value behind a name: `"api_key": "…"`, `password=…`, `api key is …`, in JSON that is quoted once more too. */
static bool read_value(struct bytes t, size_t at, struct bytes *out, size_t *out_from)
{
    size_t i = at, signs = 0;
    for (; i < t.size && i - at < 24; i++) {
        uint8_t c = t.data[i];
        if (c == ':' || c == '=')
            signs++;
        else if (c != ' ' && c != '"' && c != '\'' && c != '\\' && c != '>')
            break;
    }
    if (!signs && i + 3 < t.size && i > at && memcmp(t.data + i, "is ", 3) == 0) {
        signs = 1;
        i += 3;
    }
    size_t end = i;
    while (end < t.size && end - i < VALUE_MAX && t.data[end] > ' ' &&
           !memchr("\"'\\,;&<>(){}[]`", t.data[end], 15))
        end++;
    while (end > i && (t.data[end - 1] == '.' || t.data[end - 1] == ':'))
        end--;
    *out = bytes_slice(t, i, end);
    *out_from = i;
    return signs && signs <= 3 && end > i;
}

/* A password may be any word, so prose about passwords must not look like one: letters alone count behind an equals sign only. */
static bool is_worded(struct bytes value)
{
    for (size_t i = 0; i < value.size; i++)
        if (!redact_match_is_alpha(value.data[i]))
            return false;
    return true;
}

static void add_assigned(struct redact_matches *out, const struct rule *r, struct bytes value,
                         size_t from, bool is_set)
{
    if (value.size < r->min || value.size > r->max || is_template(value) ||
        (r->mixed &&
         (!is_mixed(value.data, value.size, r->mixed) || is_slug(value.data, value.size))) ||
        (!r->mixed && !is_set && is_worded(value)))
        return;
    redact_match_add(out, from, from + value.size, r->type);
}

static void match_assigned(const struct redact_subject *s, const struct rule *r, size_t end,
                           struct redact_matches *out)
{
    struct bytes value;
    size_t from, at = end;
    /* the rest of the name: secret_access_key, api_key_prod */
    while (at < s->text.size && at - end < 24 &&
           (redact_match_is_word(s->text.data[at]) || s->text.data[at] == '-'))
        at++;
    bool is_aws = at - end >= 10 &&
                  bytes_equal_nocase(bytes_slice(s->text, end, at), BYTES_LIT("_access_key"));
    if (s->text.data[end - 1] == '=')
        at = end - 1;
    if (!read_value(s->text, at, &value, &from))
        return;
    struct rule one = *r;
    if ((is_aws || bytes_equal_nocase(bytes_slice(s->text, end, at), BYTES_LIT("accesskey"))) &&
        value.size == 40)
        one.type = REDACT_TYPE_AWS_SECRET_KEY;
    add_assigned(out, &one, value, from, memchr(s->text.data + at, '=', from - at) != NULL);
}

void redact_match_key(const struct redact_subject *s, struct redact_matches *out)
{
    static const struct {
        const char *name;
        uint8_t type;
        uint8_t min;
    } names[] = {
        {"password", REDACT_TYPE_PASSWORD, 1},
        {"passwd", REDACT_TYPE_PASSWORD, 1},
        {"client_secret", REDACT_TYPE_API_KEY, 12},
        {"api_key", REDACT_TYPE_API_KEY, 16},
        {"apikey", REDACT_TYPE_API_KEY, 16},
        {"api-key", REDACT_TYPE_API_KEY, 16},
        {"access_token", REDACT_TYPE_API_KEY, 16},
        {"secret_key", REDACT_TYPE_API_KEY, 12},
        {"auth_token", REDACT_TYPE_API_KEY, 16},
        {"refresh_token", REDACT_TYPE_API_KEY, 16},
        {"secret_access_key", REDACT_TYPE_AWS_SECRET_KEY, 16},
    };
    struct bytes v = bytes_trim(s->text);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct bytes name = bytes_str(names[i].name);
        if (s->key.size < name.size || v.size < names[i].min || v.size > VALUE_MAX ||
            !bytes_equal_nocase(bytes_slice(s->key, s->key.size - name.size, s->key.size), name) ||
            is_template(v) || memchr(v.data, ' ', v.size))
            continue;
        if (names[i].type == REDACT_TYPE_PASSWORD || is_mixed(v.data, v.size, 1)) {
            size_t from = (size_t)(v.data - s->text.data);
            redact_match_add(out, from, from + v.size, names[i].type);
            return;
        }
    }
}

static void match_header(const struct redact_subject *s, const struct rule *r, size_t from,
                         size_t end, struct redact_matches *out)
{
    struct bytes t = s->text;
    size_t to = end;
    while (to < t.size && (is_in(t.data[to], DASH) || is_in(t.data[to], BASE64) ||
                           t.data[to] == '.' || t.data[to] == '~'))
        to++;
    while (to > end && t.data[to - 1] == '.')
        to--;
    struct bytes v = bytes_slice(t, end, to);
    uint8_t plain[256];
    size_t n = 0;
    if (v.size < r->min || v.size > r->max || !redact_match_starts(t, from) || is_template(v) ||
        (r->mixed && !is_mixed(v.data, v.size, r->mixed)))
        return;
    if (r->kind == BASIC &&
        (sodium_base642bin(plain, sizeof plain, (const char *)v.data, v.size, NULL, &n, NULL,
                           sodium_base64_VARIANT_ORIGINAL) != 0 ||
         !n || !memchr(plain, ':', n) || !bytes_is_utf8(bytes_of(plain, n))))
        return;
    redact_match_add(out, end, to, r->type);
}

/* T…/B…/24 letters and digits: with it anybody may write there. */
static void match_slack_hook(const struct redact_subject *s, size_t end, struct redact_matches *out)
{
    size_t to = end;
    unsigned slashes = 0;
    while (to < s->text.size && (is_in(s->text.data[to], ALNUM) || s->text.data[to] == '/'))
        slashes += s->text.data[to++] == '/';
    if (slashes == 2 && to - end >= 30 && to - end <= 80)
        redact_match_add(out, end, to, REDACT_TYPE_SLACK_WEBHOOK);
}

static void match_account_key(const struct redact_subject *s, const struct rule *r, size_t end,
                              struct redact_matches *out)
{
    size_t to = set_end(s->text, end, BASE64);
    if (to - end >= r->min && to - end <= r->max &&
        is_mixed(s->text.data + end, to - end, r->mixed))
        redact_match_add(out, end, to, r->type);
}

/* --- IPv6 -------------------------------------------------------------------------------------------------------------- */

static void match_ip6(const struct redact_subject *s, size_t at, struct redact_matches *out)
{
    struct bytes t = s->text;
    size_t from = at, to = at;
    unsigned colons = 0, doubles = 0, groups = 0, digits = 0;
    while (from && at - from < 40 && (is_in(t.data[from - 1], HEX) || t.data[from - 1] == ':'))
        from--;
    while (to < t.size && to - from < 46 && (is_in(t.data[to], HEX) || t.data[to] == ':'))
        to++;
    if (to - from < 6 || to - from > 45 || !redact_match_starts(t, from) ||
        !redact_match_ends(t, to) || !is_in(t.data[from], HEX))
        return;
    if (t.data[to - 1] == ':' && t.data[to - 2] != ':')
        to--;
    for (size_t i = from; i < to; i++) {
        if (t.data[i] == ':') {
            colons++;
            doubles += i > from && t.data[i - 1] == ':';
            digits = 0;
            continue;
        }
        groups += digits++ == 0;
        if (digits > 4)
            return;
    }
    /* addresses that are routed worldwide begin with 2 or 3 and have four digits there; 2001:db8 is for documentation */
    bool is_global = (t.data[from] == '2' || t.data[from] == '3') && t.data[from + 4] == ':';
    bool is_example = bytes_has_prefix(bytes_slice(t, from, to), BYTES_LIT("2001:db8:")) ||
                      bytes_has_prefix(bytes_slice(t, from, to), BYTES_LIT("2001:0db8:"));
    bool is_whole = doubles == 1 ? groups >= 2 && groups <= 7 : doubles == 0 && groups == 8;
    if (is_global && !is_example && is_whole && colons >= 2)
        redact_match_add(out, from, to, REDACT_TYPE_IP);
}

void redact_match_word(const struct redact_subject *s, uint32_t word, size_t end,
                       struct redact_matches *out)
{
    CHECK(word < ARRAY_LEN(rules) && end <= s->text.size);
    const struct rule *r = &rules[word];
    size_t from = end - strlen(words[word].text);
    switch ((enum kind)r->kind) {
    case TOKEN: match_token(s, r, from, end, out); break;
    case AT: match_at(s, end, out); break;
    case JWT: match_jwt(s, from, out); break;
    case PEM: match_pem(s, from, end, out); break;
    case ASSIGN: match_assigned(s, r, end, out); break;
    case BEARER:
    case BASIC: match_header(s, r, from, end, out); break;
    case ACCOUNT_KEY: match_account_key(s, r, end, out); break;
    case SLACK_HOOK: match_slack_hook(s, end, out); break;
    case IP6: match_ip6(s, from, out); break;
    }
}
