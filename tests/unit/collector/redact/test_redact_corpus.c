/* Precision and recall, kind by kind, on a generated corpus: what is planted in sentences, JSON and attributes, among look-alikes.
 *
 * Nothing here is shared with the matcher: check digits are found by trying, with each authority's rule written down once more, the other way
 * round where there is one (a card's last digit is tried, not computed).
 */
#include "collector/redact/redact.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define EACH 2000
#define EACH_SECRET 400
#define LOOKALIKES 60000

/* --- chance --------------------------------------------------------------------------------------------- */

static uint64_t seed = 20261129;

static unsigned below(unsigned n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (unsigned)((seed >> 16) % n);
}

static const char DIGITS[] = "0123456789", LOWER[] = "abcdefghijklmnopqrstuvwxyz",
                  UPPER[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", HEX[] = "0123456789abcdef",
                  ALNUM[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
                  BASE64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
                  URL64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
                  BASE32[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

static char *put(char *out, const char *alphabet, size_t n)
{
    size_t size = strlen(alphabet);
    for (size_t i = 0; i < n; i++)
        *out++ = alphabet[below((unsigned)size)];
    *out = 0;
    return out;
}

static char *str(char *out, const char *s)
{
    size_t n = strlen(s);
    memcpy(out, s, n + 1);
    return out + n;
}

static const char *one_of(const char *const *list, size_t n)
{
    return list[below((unsigned)n)];
}
#define ONE_OF(list) one_of(list, sizeof list / sizeof *list)

/* "4111111111111111", "4-4-4-4", ' ' -> groups */
static void grouped(char *out, const char *digits, const char *groups, char separator)
{
    for (; *groups; groups++) {
        memcpy(out, digits, (size_t)(*groups - '0'));
        out += *groups - '0';
        digits += *groups - '0';
        if (groups[1])
            *out++ = separator;
    }
    *out = 0;
}

/* --- what is planted: the value, and the words that people put before it ------------------------------------ */

struct planted {
    char text[700];
    bool is_bare; /* says by itself what it is: may stand without any word */
};

static bool luhn(const char *d)
{
    static const int twice[] = {0, 2, 4, 6, 8, 1, 3, 5, 7, 9};
    int sum = 0, n = (int)strlen(d);
    for (int i = 0; i < n; i++)
        sum += (n - i) % 2 ? d[i] - '0' : twice[d[i] - '0'];
    return sum % 10 == 0;
}

static void card(struct planted *p)
{
    static const char *const heads[] = {"4",  "4",    "51", "55",   "2221", "34",
                                        "37", "6011", "65", "3528", "36",   "62"};
    const char *head = ONE_OF(heads);
    size_t size = head[0] == '3' ? (head[1] == '5' ? 16 : head[1] == '6' ? 14 : 15) : 16;
    char d[24];
    do
        put(str(d, head), DIGITS, size - strlen(head));
    while (!luhn(d));
    p->is_bare = true;
    if (below(2))
        str(p->text, d);
    else
        grouped(p->text, d, size == 16 ? "4444" : size == 15 ? "465" : "464", below(2) ? ' ' : '-');
}

/* The remainder by long division over the digits of the rearranged text. */
static unsigned mod97(const char *s)
{
    char plain[128], *o = plain;
    for (; *s; s++)
        o += *s >= 'A' ? sprintf(o, "%d", *s - 'A' + 10) : sprintf(o, "%c", *s);
    unsigned r = 0;
    for (o = plain; *o; o++)
        r = (r * 10 + (unsigned)(*o - '0')) % 97;
    return r;
}

static void iban(struct planted *p)
{
    /* country, then the account: d digits, u upper-case letters, c either */
    static const char *const shapes[] = {"DE dddddddddddddddddd",
                                         "GB uuuudddddddddddddd",
                                         "FR ddddddddddcccccccccccdd",
                                         "NL uuuudddddddddd",
                                         "ES dddddddddddddddddddd",
                                         "IT uddddddddddcccccccccccc",
                                         "BE dddddddddddd",
                                         "AT dddddddddddddddd",
                                         "CH dddddcccccccccccc",
                                         "PL dddddddddddddddddddddddd",
                                         "SE dddddddddddddddddddd",
                                         "NO ddddddddddd",
                                         "IE uuuudddddddddddddd",
                                         "PT ddddddddddddddddddddd"};
    const char *s = ONE_OF(shapes);
    char account[40], country[3] = {s[0], s[1], 0}, whole[64], all[64];
    char *o = account;
    for (const char *c = s + 3; *c; c++)
        o = put(o, *c == 'u' ? UPPER : DIGITS, 1); /* digits where letters may be too */
    snprintf(whole, sizeof whole, "%s%s00", account, country);
    snprintf(all, sizeof all, "%s%02u%s", country, 98 - mod97(whole), account);
    p->is_bare = true;
    o = p->text;
    bool spaced = below(2);
    for (size_t i = 0; all[i]; i++) {
        if (spaced && i && i % 4 == 0)
            *o++ = ' ';
        *o++ = all[i];
    }
    *o = 0;
}

static void ssn(struct planted *p)
{
    static const char *const says[] = {"SSN ", "ssn: ", "social security number is ",
                                       "my social is "};
    char d[10], g[16];
    do
        put(d, DIGITS, 9);
    while (!strncmp(d, "000", 3) || !strncmp(d, "666", 3) || d[0] == '9' ||
           !strncmp(d + 3, "00", 2) || !strcmp(d + 5, "0000"));
    grouped(g, d, "324", '-');
    unsigned how = below(3);
    p->is_bare = how == 0;
    if (how == 0)
        str(p->text, g);
    else
        str(str(p->text, ONE_OF(says)), how == 1 ? g : d);
}

static void nino(struct planted *p)
{
    static const char first[] = "ABCEGHJKLMNOPRSTWXYZ", second[] = "ABCEGHJKLMNPRSTWXYZ",
                      last[] = "ABCD";
    static const char *const says[] = {"National Insurance number ", "NI number: ", "NINO "};
    char t[10], d[7];
    do {
        put(t, first, 1);
        put(t + 1, second, 1);
    } while (strstr("BG GB NK KN TN NT ZZ", t));
    put(d, DIGITS, 6);
    bool spaced = below(2);
    p->is_bare = spaced;
    char tail[2];
    put(tail, last, 1);
    if (spaced)
        snprintf(p->text, sizeof p->text, "%s %.2s %.2s %.2s %s", t, d, d + 2, d + 4, tail);
    else
        snprintf(p->text, sizeof p->text, "%s%s%s%s", ONE_OF(says), t, d, tail);
}

static void steuer_id(struct planted *p)
{
    static const char *const says[] = {"Steuer-ID ", "Steueridentifikationsnummer: ", "IdNr. ",
                                       "Meine Steuer-Identifikationsnummer lautet "};
    char d[12];
    for (;;) {
        /* nine different digits, one of them once more */
        char pool[] = "0123456789";
        for (int i = 9; i > 0; i--) {
            unsigned k = below((unsigned)i + 1);
            char c = pool[i];
            pool[i] = pool[k];
            pool[k] = c;
        }
        memcpy(d, pool, 10);
        d[1 + below(9)] = d[0];
        if (d[0] == '0')
            continue;
        int counts[10] = {0}, many = 0;
        for (int i = 0; i < 10; i++)
            counts[d[i] - '0']++;
        for (int i = 0; i < 10; i++)
            many += counts[i] > 1;
        if (many != 1)
            continue;
        int product = 10;
        for (int i = 0; i < 10; i++) {
            int sum = (d[i] - '0' + product) % 10;
            if (sum == 0)
                sum = 10;
            product = sum * 2 % 11;
        }
        int check = 11 - product;
        d[10] = (char)('0' + (check == 10 ? 0 : check));
        d[11] = 0;
        break;
    }
    char g[20];
    grouped(g, d, "2333", ' ');
    str(str(p->text, ONE_OF(says)), below(2) ? d : g);
}

static void bsn(struct planted *p)
{
    static const char *const says[] = {"BSN ", "Mijn burgerservicenummer is ", "bsn: ", "BSN="};
    char d[10];
    int sum;
    do {
        put(d, DIGITS, 9);
        sum = 0;
        for (int i = 0; i < 9; i++)
            sum += (d[i] - '0') * (i == 8 ? -1 : 9 - i);
    } while (sum % 11 || d[0] == '0');
    str(str(p->text, ONE_OF(says)), d);
}

static const char dni_letters[] = "TRWAGMYFPDXBNJZSQVHLCKE";

static void dni(struct planted *p)
{
    static const char *const says[] = {"DNI ", "dni: ", "NIF ", "Documento Nacional de Identidad "};
    char d[9];
    put(d, DIGITS, 8);
    bool dashed = below(2);
    p->is_bare = dashed;
    snprintf(p->text, sizeof p->text, "%s%s%s%c", dashed ? "" : ONE_OF(says), d, dashed ? "-" : "",
             dni_letters[atoi(d) % 23]);
}

static void nie(struct planted *p)
{
    char d[9], first = (char)('X' + below(3));
    put(d + 1, DIGITS, 7);
    d[0] = (char)('0' + first - 'X');
    p->is_bare = true;
    char letter = dni_letters[atoi(d) % 23];
    bool dashed = below(2);
    snprintf(p->text, sizeof p->text, dashed ? "%c-%s-%c" : "%c%s%c", first, d + 1, letter);
}

static void codice_fiscale(struct planted *p)
{
    static const int odd[] = {1,  0,  5, 7, 9, 13, 15, 17, 19, 21, 2,  4,  18,
                              20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23};
    char *o = put(p->text, UPPER, 6);
    o = put(o, DIGITS, 2);
    o = put(o, "ABCDEHLMPRST", 1);
    o += sprintf(o, "%02u", 1 + below(28) + (below(2) ? 40 : 0));
    o = put(o, UPPER, 1);
    o = put(o, DIGITS, 3);
    int sum = 0;
    for (int i = 1; i <= 15; i++) {
        char c = p->text[i - 1];
        int v = c >= 'A' ? c - 'A' : c - '0';
        sum += i % 2 ? odd[v] : v;
    }
    *o++ = (char)('A' + sum % 26);
    *o = 0;
    p->is_bare = true;
}

static void nir(struct planted *p)
{
    static const char *const says[] = {"NIR ", "numéro de sécurité sociale : ", "n° sécu ",
                                       "INSEE "};
    char d[20], whole[24], g[32];
    snprintf(d, sizeof d, "%u%02u%02u%02u%03u%03u", 1 + below(2), below(100), 1 + below(12),
             1 + below(95), 1 + below(990), 1 + below(999));
    snprintf(whole, sizeof whole, "%s%02u", d, (unsigned)(97 - strtoull(d, NULL, 10) % 97));
    grouped(g, whole, "1222332", ' ');
    p->is_bare = below(2);
    str(str(p->text, p->is_bare ? "" : ONE_OF(says)), p->is_bare ? g : whole);
}

static void pesel(struct planted *p)
{
    static const char *const says[] = {"PESEL ", "pesel: ", "Mój numer PESEL to "};
    static const int weights[] = {1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1};
    char d[12];
    int sum;
    do {
        snprintf(d, sizeof d, "%02u%02u%02u", below(100), 1 + below(12) + (below(2) ? 20 : 0),
                 1 + below(28));
        put(d + 6, DIGITS, 5);
        sum = 0;
        for (int i = 0; i < 11; i++)
            sum += weights[i] * (d[i] - '0');
    } while (sum % 10);
    str(str(p->text, ONE_OF(says)), d);
}

static void personnummer(struct planted *p)
{
    static const char *const says[] = {"personnummer ", "Personnummer: ", "mitt personnr är "};
    char d[11];
    do {
        snprintf(d, sizeof d, "%02u%02u%02u", below(100), 1 + below(12), 1 + below(28));
        put(d + 6, DIGITS, 4);
    } while (!luhn(d));
    unsigned how = below(3);
    snprintf(p->text, sizeof p->text, "%s%s%.6s%s%s", ONE_OF(says), how == 2 ? "19" : "", d,
             how == 0 ? "" : "-", d + 6);
}

static void cpf(struct planted *p)
{
    static const char *const says[] = {"CPF ", "cpf: ", "Meu CPF é "};
    char d[12];
    for (;;) {
        int a = 0, b = 0;
        put(d, DIGITS, 11);
        for (int i = 0; i < 9; i++)
            a += (d[i] - '0') * (10 - i);
        for (int i = 0; i < 10; i++)
            b += (d[i] - '0') * (11 - i);
        a = a * 10 % 11 % 10;
        b = b * 10 % 11 % 10;
        if (a == d[9] - '0' && b == d[10] - '0')
            break;
    }
    p->is_bare = below(2);
    if (p->is_bare)
        snprintf(p->text, sizeof p->text, "%.3s.%.3s.%.3s-%.2s", d, d + 3, d + 6, d + 9);
    else
        str(str(p->text, ONE_OF(says)), d);
}

/* Verhoeff's group, generated and not typed: the dihedral group of ten, its permutation applied again and again. */
static bool verhoeff(const char *d)
{
    static const int base[] = {1, 5, 7, 6, 2, 8, 3, 0, 9, 4};
    int c = 0;
    size_t n = strlen(d);
    for (size_t i = 0; i < n; i++) {
        int v = d[n - 1 - i] - '0';
        for (size_t k = 0; k < i % 8; k++)
            v = base[v];
        int a = c % 5, b = v % 5, flips = c >= 5, other = v >= 5;
        c = (flips ? (a - b + 5) % 5 : (a + b) % 5) + (flips != other ? 5 : 0);
    }
    return c == 0;
}

static void aadhaar(struct planted *p)
{
    static const char *const says[] = {"Aadhaar ", "aadhaar number: ", "My Aadhaar is ", "UIDAI "};
    char d[13], g[20];
    do {
        put(d, DIGITS, 12);
    } while (d[0] < '2' || !verhoeff(d));
    grouped(g, d, "444", ' ');
    str(str(p->text, ONE_OF(says)), below(2) ? g : d);
}

/* --- secrets ----------------------------------------------------------------------------------------------------- */

#define TOKEN(name, prefix, alphabet, size)        \
    static void name(struct planted *p)            \
    {                                              \
        put(str(p->text, prefix), alphabet, size); \
        p->is_bare = true;                         \
    }
TOKEN(anthropic, "sk-ant-api03-", URL64, 93)
TOKEN(openrouter, "sk-or-v1-", HEX, 64)
TOKEN(aws_access, "AKIA", BASE32, 16)
TOKEN(google_api, "AIza", URL64, 35)
TOKEN(google_oauth, "GOCSPX-", URL64, 28)
TOKEN(huggingface, "hf_", ALNUM, 34)
TOKEN(npm, "npm_", ALNUM, 36)
TOKEN(groq, "gsk_", ALNUM, 52)
TOKEN(xai, "xai-", ALNUM, 80)
TOKEN(perplexity, "pplx-", ALNUM, 48)
TOKEN(replicate, "r8_", ALNUM, 37)
TOKEN(databricks, "dapi", HEX, 32)
TOKEN(digitalocean, "dop_v1_", HEX, 64)
TOKEN(shopify, "shpat_", HEX, 32)
TOKEN(pypi, "pypi-AgEIcHlwaS5vcmc", URL64, 150)

static void openai(struct planted *p)
{
    p->is_bare = true;
    char *o = p->text;
    switch (below(3)) {
    case 0: put(str(put(str(o, "sk-"), ALNUM, 20), "T3BlbkFJ"), ALNUM, 20); break;
    case 1:
        put(str(put(str(o, "sk-proj-"), URL64, 74), "T3BlbkFJ"), URL64, 73);
        o += strlen(o);
        *o = 0;
        break;
    default: put(str(o, "sk-svcacct-"), URL64, 60); break;
    }
    /* a token that ends in a dash is cut off by who copies it */
    size_t n = strlen(p->text);
    if (p->text[n - 1] == '-')
        p->text[n - 1] = 'x';
}

static void aws_secret(struct planted *p)
{
    static const char *const says[] = {"aws_secret_access_key = ", "AWS_SECRET_ACCESS_KEY=",
                                       "\"SecretAccessKey\": \"", "secret_access_key: "};
    put(str(p->text, ONE_OF(says)), BASE64, 40);
}

static void azure(struct planted *p)
{
    str(put(str(p->text, "DefaultEndpointsProtocol=https;AccountName=store;AccountKey="), BASE64,
            86),
        "==");
}

static void github(struct planted *p)
{
    static const char *const heads[] = {"ghp_", "gho_", "ghu_", "ghs_"};
    p->is_bare = true;
    if (below(4))
        put(str(p->text, ONE_OF(heads)), ALNUM, 36);
    else
        put(str(put(str(p->text, "github_pat_"), ALNUM, 22), "_"), ALNUM, 59);
}

static void gitlab(struct planted *p)
{
    p->is_bare = true;
    put(put(str(p->text, "glpat-"), URL64, 19), ALNUM, 1);
}

static void slack(struct planted *p)
{
    p->is_bare = true;
    char *o = put(str(p->text, below(2) ? "xoxb-" : "xoxp-"), DIGITS, 12);
    put(str(put(str(o, "-"), DIGITS, 12), "-"), ALNUM, 24);
}

static void slack_hook(struct planted *p)
{
    char *o = put(str(p->text, "https://hooks.slack.com/services/T"), UPPER, 8);
    put(str(put(str(o, "/B"), UPPER, 8), "/"), ALNUM, 24);
    p->is_bare = true;
}

static void stripe(struct planted *p)
{
    static const char *const heads[] = {"sk_live_", "sk_test_", "rk_live_"};
    p->is_bare = true;
    put(str(p->text, ONE_OF(heads)), ALNUM, below(2) ? 24 : 99);
}

static void sendgrid(struct planted *p)
{
    p->is_bare = true;
    put(put(str(put(str(p->text, "SG."), URL64, 22), "."), URL64, 42), ALNUM, 1);
}

static void to_base64url(char *out, const char *in)
{
    size_t n = strlen(in);
    for (size_t i = 0; i < n; i += 3) {
        unsigned v = (unsigned)(uint8_t)in[i] << 16;
        v |= i + 1 < n ? (unsigned)(uint8_t)in[i + 1] << 8 : 0;
        v |= i + 2 < n ? (uint8_t)in[i + 2] : 0;
        for (size_t k = 0; k < 4 && k <= n - i; k++)
            *out++ = URL64[v >> (18 - 6 * k) & 63];
    }
    *out = 0;
}

static void jwt(struct planted *p)
{
    static const char *const heads[] = {"{\"alg\":\"HS256\",\"typ\":\"JWT\"}",
                                        "{\"typ\":\"JWT\",\"alg\":\"RS256\",\"kid\":\"k1\"}",
                                        "{\"alg\":\"ES256\"}"};
    char head[128], body[256], claims[128], *o;
    snprintf(claims, sizeof claims, "{\"sub\":\"%u\",\"exp\":%u}", below(1000000),
             1790000000 + below(1000000));
    to_base64url(head, ONE_OF(heads));
    to_base64url(body, claims);
    o = str(str(str(str(p->text, head), "."), body), ".");
    put(o, ALNUM, 43);
    p->is_bare = true;
}

static void pem(struct planted *p)
{
    static const char *const kinds[] = {"", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED "};
    const char *kind = ONE_OF(kinds), *line = below(2) ? "\n" : "\\n";
    char *o = p->text + sprintf(p->text, "-----BEGIN %sPRIVATE KEY-----%s", kind, line);
    for (int i = 0; i < 4; i++)
        o = str(put(o, BASE64, 64), line);
    sprintf(o, "-----END %sPRIVATE KEY-----", kind);
    p->is_bare = true;
}

static void url_password(struct planted *p)
{
    static const char *const heads[] = {"postgres://app:", "https://deploy:", "amqp://svc.user:",
                                        "mongodb+srv://root:", "redis://:"};
    const char *head = heads[below(4)];
    str(put(put(str(p->text, head), ALNUM, 8 + below(12)), "!$.-_", 1), "@db.example.net:5432/x");
    p->is_bare = true;
}

static void password(struct planted *p)
{
    static const char *const says[] = {"password=", "password: ", "\"password\": \"",
                                       "Das Passwort: ", "DB_PASSWORD="};
    put(put(str(p->text, ONE_OF(says)), ALNUM, 10), DIGITS, 2);
}

static void api_key(struct planted *p)
{
    static const char *const says[] = {
        "api_key=", "\"apiKey\": \"", "api-key: ", "API key is ", "client_secret=", "X-Api-Key: "};
    put(str(p->text, ONE_OF(says)), below(2) ? HEX : ALNUM, 32);
}

static void bearer(struct planted *p)
{
    put(str(p->text, "Authorization: Bearer "), URL64, 48);
}

static void basic(struct planted *p)
{
    char plain[64], *o = put(plain, LOWER, 6);
    put(str(o, ":"), ALNUM, 11);
    to_base64url(str(p->text, "Authorization: Basic "), plain);
}

/* --- contacts -------------------------------------------------------------------------------------------------------- */

static void email(struct planted *p)
{
    static const char *const domains[] = {"example.com", "mail.example.co.uk", "firma.de",
                                          "uni-muenchen.de", "gmail.com"};
    char *o = put(p->text, LOWER, 3 + below(8));
    if (below(2))
        o = put(put(o, "._+-", 1), ALNUM, 2 + below(5));
    str(str(o, "@"), ONE_OF(domains));
    p->is_bare = true;
}

static void phone(struct planted *p)
{
    char a[16], b[16], c[16];
    put(a, "23456789", 1);
    put(a + 1, DIGITS, 2);
    put(b, "23456789", 1);
    put(b + 1, DIGITS, 2);
    put(c, DIGITS, 4);
    p->is_bare = true;
    switch (below(4)) {
    case 0: snprintf(p->text, sizeof p->text, "+1 %s %s %s", a, b, c); break;
    case 1: snprintf(p->text, sizeof p->text, "(%s) %s-%s", a, b, c); break;
    case 2: snprintf(p->text, sizeof p->text, "+49 %s %s%s", a, b, c); break;
    default: snprintf(p->text, sizeof p->text, "+44 20 %s%s %s", a, "1", c); break;
    }
}

static void ip(struct planted *p)
{
    p->is_bare = true;
    if (below(3))
        snprintf(p->text, sizeof p->text, "%u.%u.%u.%u", 11 + below(80), below(256), below(256),
                 1 + below(250));
    else
        snprintf(p->text, sizeof p->text, "2a02:%x:%x::%x", 1 + below(65534), 1 + below(65534),
                 1 + below(65534));
}

/* --- the table --------------------------------------------------------------------------------------------------------- */

enum kind { CHECKSUM, SECRET, CONTACT };
static const struct type {
    const char *name;
    void (*make)(struct planted *p);
    enum kind kind;
} types[] = {
    {"card", card, CHECKSUM},
    {"iban", iban, CHECKSUM},
    {"us_ssn", ssn, CHECKSUM},
    {"uk_nino", nino, CHECKSUM},
    {"de_steuer_id", steuer_id, CHECKSUM},
    {"nl_bsn", bsn, CHECKSUM},
    {"es_dni", dni, CHECKSUM},
    {"es_nie", nie, CHECKSUM},
    {"it_codice_fiscale", codice_fiscale, CHECKSUM},
    {"fr_nir", nir, CHECKSUM},
    {"pl_pesel", pesel, CHECKSUM},
    {"se_personnummer", personnummer, CHECKSUM},
    {"br_cpf", cpf, CHECKSUM},
    {"in_aadhaar", aadhaar, CHECKSUM},
    {"openai_key", openai, SECRET},
    {"anthropic_key", anthropic, SECRET},
    {"openrouter_key", openrouter, SECRET},
    {"aws_access_key", aws_access, SECRET},
    {"aws_secret_key", aws_secret, SECRET},
    {"google_api_key", google_api, SECRET},
    {"google_oauth", google_oauth, SECRET},
    {"azure_key", azure, SECRET},
    {"github_token", github, SECRET},
    {"gitlab_token", gitlab, SECRET},
    {"slack_token", slack, SECRET},
    {"slack_webhook", slack_hook, SECRET},
    {"stripe_key", stripe, SECRET},
    {"huggingface_token", huggingface, SECRET},
    {"npm_token", npm, SECRET},
    {"pypi_token", pypi, SECRET},
    {"sendgrid_key", sendgrid, SECRET},
    {"digitalocean_token", digitalocean, SECRET},
    {"shopify_token", shopify, SECRET},
    {"groq_key", groq, SECRET},
    {"xai_key", xai, SECRET},
    {"perplexity_key", perplexity, SECRET},
    {"replicate_token", replicate, SECRET},
    {"databricks_token", databricks, SECRET},
    {"jwt", jwt, SECRET},
    {"private_key", pem, SECRET},
    {"url_password", url_password, SECRET},
    {"password", password, SECRET},
    {"api_key", api_key, SECRET},
    {"bearer_token", bearer, SECRET},
    {"basic_auth", basic, SECRET},
    {"email", email, CONTACT},
    {"phone", phone, CONTACT},
    {"ip", ip, CONTACT},
};
#define TYPES (sizeof types / sizeof *types)

/* --- look-alikes ------------------------------------------------------------------------------------------------------------ */

static void lookalike(char *o)
{
    char a[64], b[64], c[64];
    put(a, HEX, 40);
    put(b, DIGITS, 20);
    put(c, ALNUM, 30);
    switch (below(32)) {
    case 0: sprintf(o, "commit %s", a); break;
    case 1: sprintf(o, "%.8s-%.4s-4%.3s-a%.3s-%.12s", a, a + 8, a + 12, a + 15, a + 18); break;
    case 2: sprintf(o, "order number %.16s shipped", b); break;
    case 3: sprintf(o, "order_id=%.12s", b); break;
    case 4: sprintf(o, "build 2026%.4s.%.4s-%.6s", b, b + 4, b + 8); break;
    case 5: sprintf(o, "ts=17%.11s", b); break;
    case 6: sprintf(o, "timestamp 17%.17s ns", b); break;
    case 7:
        sprintf(o, "2026-%02u-%02uT%02u:%02u:%02uZ", 1 + below(12), 1 + below(28), below(24),
                below(60), below(60));
        break;
    case 8:
        sprintf(o, "2026-%02u-%02u %02u:%02u:%02u.%.3s", 1 + below(12), 1 + below(28), below(24),
                below(60), below(60), b);
        break;
    case 9: sprintf(o, "sha256:%s%.24s", a, a); break;
    case 10: sprintf(o, "chatcmpl-%.29s", c); break;
    case 11: sprintf(o, "req_%.24s", c); break;
    case 12: sprintf(o, "trace_id: %.32s", a); break;
    case 13: sprintf(o, "v%u.%u.%u-rc%u", below(20), below(100), below(1000), below(9)); break;
    case 14: sprintf(o, "Chrome/%u.0.%u.%u", 90 + below(60), below(9000), below(200)); break;
    case 15: sprintf(o, "invoice INV-%.8s total 1%.3s.%.2s EUR", b, b + 8, b + 11); break;
    case 16: sprintf(o, "ISBN 978-3-16-%.6s-0", b); break;
    case 17: sprintf(o, "tracking 1Z%.16s", b); break;
    case 18: sprintf(o, "sku %.8s%c", b, UPPER[below(26)]); break;
    case 19: sprintf(o, "ticket #%.9s", b); break;
    case 20: sprintf(o, "gpt-4o-2024-%02u-%02u", 1 + below(12), 1 + below(28)); break;
    case 21: sprintf(o, "claude-3-5-sonnet-2024%02u%02u", 1 + below(12), 1 + below(28)); break;
    case 22:
        sprintf(o, "10.%u.%u.%u:%u", below(256), below(256), below(256), 1024 + below(60000));
        break;
    case 23: sprintf(o, "task-%.12s sk-learn-pipeline-for-text-classification", a); break;
    case 24: sprintf(o, "error code %.9s at 0x%.12s", b, a); break;
    case 25:
        sprintf(o, "@scope/package@%u.%u.%u and logo@2x.png", below(20), below(20), below(20));
        break;
    case 26: sprintf(o, "pod agent-7c9d8b6f5-%.5s on node-%.9s", a, b); break;
    case 27:
        sprintf(o, "the password must have 12 characters; secret: santa; api key is required");
        break;
    case 28: sprintf(o, "session %.11s user %.10s", b, b + 8); break;
    case 29: sprintf(o, "rows %.9s bytes %.12s", b, b + 8); break;
    case 30: sprintf(o, "%.5s %.4s %.6s", b, b + 5, b + 9); break;
    default: sprintf(o, "eyJust a word, AKIA is a prefix, hf_ too, ghp_%.8s, SG.%.5s", c, c); break;
    }
}

/* --- the measurement ----------------------------------------------------------------------------------------------------------- */

struct score {
    unsigned planted, found, wrong;
};
static struct score scores[TYPES + 1];
static struct redact *rules;
static struct redact_scan *scan;

static struct score *score_of(const char *name)
{
    for (size_t i = 0; i < TYPES; i++)
        if (strcmp(types[i].name, name) == 0)
            return &scores[i];
    return &scores[TYPES]; /* a kind that nobody planted */
}

static unsigned shown;

static void look(const char *key, const char *text, const struct type *expected, bool should_vanish,
                 const char *value)
{
    struct redact_found found;
    struct buf out = {0};
    bool seen = false;
    assert_true(redact_text(scan, bytes_str(key), bytes_str(text), &out, &found));
    for (uint32_t i = 0; i < found.count; i++) {
        bool is_it = expected && strcmp(found.finding[i].name, expected->name) == 0;
        seen = seen || is_it;
        if (!is_it || found.finding[i].count > 1)
            score_of(found.finding[i].name)->wrong += found.finding[i].count - is_it;
        if (!is_it && shown++ < 40)
            print_message("   wrong: %s in \"%s\"\n", found.finding[i].name, text);
    }
    if (should_vanish) { /* found is: nothing of it is left */
        bool stays = (strpbrk(value, "=:") && expected->kind == SECRET) || /* its name does */
                     strcmp(expected->name, "ip") == 0; /* kept, only counted */
        const char *secret = stays ? NULL : value;
        seen = seen && (!secret || bytes_find(buf_bytes(&out), bytes_str(secret)) == out.size);
        if (!seen && shown++ < 40)
            print_message("   missed: %s in \"%s\" under \"%s\"\n", expected->name, text, key);
        score_of(expected->name)->planted++;
        score_of(expected->name)->found += seen;
    }
    buf_done(&out);
}

static void plant(const struct type *t)
{
    static const char *const before[] = {"",
                                         "Please check ",
                                         "Hello, I am Anna. ",
                                         "{\"text\":\"",
                                         "user said: ",
                                         "[{\"role\":\"user\",\"content\":\"",
                                         "first line\\n",
                                         "see (",
                                         "Bitte prüfen: "};
    static const char *const after[] = {
        "", ".", ", thanks!", "\"}", " and tell me more", "\"}]", "\\nnext line", ")", "; danke"};
    static const char *const keys[] = {"gen_ai.input.messages", "note", "", "gen_ai.completion"};
    struct planted p = {.text = ""};
    char text[1200];
    unsigned how = below(9);
    t->make(&p);
    snprintf(text, sizeof text, "%s%s%s", before[how], p.text, after[how]);
    look(ONE_OF(keys), text, t, true, p.text);
}

static void each_kind_is_found_among_look_alikes(void **state)
{
    static const struct redact_options defaults;
    struct buf errors = {0};
    unsigned failed = 0;
    assert_int_equal(redact_new(&defaults, &rules, &errors), ERR_OK);
    scan = redact_scan_new(rules);
    assert_non_null(scan);
    for (size_t i = 0; i < TYPES; i++)
        for (int n = 0; n < (types[i].kind == CHECKSUM ? EACH : EACH_SECRET); n++)
            plant(&types[i]);
    for (int i = 0; i < LOOKALIKES; i++) {
        char text[256];
        lookalike(text);
        look("", text, NULL, false, "");
    }
    print_message("%-20s %8s %8s %8s %9s %9s\n", "kind", "planted", "found", "wrong", "precision",
                  "recall");
    for (size_t i = 0; i < TYPES; i++) {
        const struct score *s = &scores[i];
        double recall = 100.0 * s->found / s->planted,
               precision = s->found ? 100.0 * s->found / (s->found + s->wrong) : 0,
               want_p = types[i].kind == CHECKSUM ? 99.9 : 95,
               want_r = types[i].kind == CHECKSUM ? 99.5 : 95;
        bool ok = recall >= want_r && precision >= want_p;
        failed += !ok;
        print_message("%-20s %8u %8u %8u %8.2f%% %8.2f%%%s\n", types[i].name, s->planted, s->found,
                      s->wrong, precision, recall, ok ? "" : "  below the bound");
    }
    print_message("kinds that nobody planted: %u\n", scores[TYPES].wrong);
    redact_scan_free(scan);
    redact_free(rules);
    buf_done(&errors);
    assert_int_equal(failed, 0);
    assert_int_equal(scores[TYPES].wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_kind_is_found_among_look_alikes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
