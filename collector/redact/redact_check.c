#include "collector/redact/redact_check.h"

#include "base/check.h"

static unsigned digit(char c)
{
    return (unsigned)(c - '0');
}

static unsigned number(const char *p, size_t n)
{
    unsigned v = 0;
    for (size_t i = 0; i < n; i++)
        v = v * 10 + digit(p[i]);
    return v;
}

static bool all_same(const char *p, size_t n)
{
    for (size_t i = 1; i < n; i++)
        if (p[i] != p[0])
            return false;
    return true;
}

static bool is_date(unsigned month, unsigned day)
{
    static const uint8_t days[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return month >= 1 && month <= 12 && day >= 1 && day <= days[month - 1];
}

bool redact_check_luhn(const char *digits, size_t n)
{
    unsigned sum = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned d = digit(digits[n - 1 - i]) << (i & 1);
        sum += d > 9 ? d - 9 : d;
    }
    return n && sum % 10 == 0;
}

/* --- cards ------------------------------------------------------------------------------------------- */

/* Ranges of the first six digits and the lengths that their issuers use; 13 digits (old Visa) are not taken: they are timestamps. */
static const struct issuer {
    uint32_t from, to;
    uint32_t lengths; /* bit n: n digits */
} issuers[] = {
    {400000, 499999, 1u << 16 | 1u << 19}, /* Visa */
    {510000, 559999, 1u << 16}, /* Mastercard */
    {222100, 272099, 1u << 16},
    {340000, 349999, 1u << 15}, /* American Express */
    {370000, 379999, 1u << 15},
    {601100, 601199, 1u << 16 | 1u << 19}, /* Discover */
    {644000, 659999, 1u << 16 | 1u << 19},
    {352800, 358999, 1u << 16}, /* JCB */
    {300000, 305999, 1u << 14}, /* Diners Club */
    {360000, 369999, 1u << 14},
    {380000, 399999, 1u << 14},
    {620000, 629999, 1u << 16 | 1u << 17 | 1u << 18 | 1u << 19}, /* UnionPay */
    {500000, 509999, 1u << 16}, /* Maestro, Elo */
    {560000, 589999, 1u << 16},
    {639000, 639099, 1u << 16},
};

bool redact_check_card(const char *digits, size_t n)
{
    if (n < 14 || n > 19 || all_same(digits, n))
        return false;
    uint32_t head = number(digits, 6);
    for (size_t i = 0; i < ARRAY_LEN(issuers); i++)
        if (head >= issuers[i].from && head <= issuers[i].to && issuers[i].lengths >> n & 1)
            return redact_check_luhn(digits, n);
    return false;
}

/* --- IBAN ---------------------------------------------------------------------------------------------- */

static const struct country {
    char code[3];
    uint8_t length;
} countries[] = {
    {"AD", 24}, {"AE", 23}, {"AL", 28}, {"AT", 20}, {"AZ", 28}, {"BA", 20}, {"BE", 16}, {"BG", 22},
    {"BH", 22}, {"BI", 27}, {"BR", 29}, {"BY", 28}, {"CH", 21}, {"CR", 22}, {"CY", 28}, {"CZ", 24},
    {"DE", 22}, {"DJ", 27}, {"DK", 18}, {"DO", 28}, {"EE", 20}, {"EG", 29}, {"ES", 24}, {"FI", 18},
    {"FK", 18}, {"FO", 18}, {"FR", 27}, {"GB", 22}, {"GE", 22}, {"GI", 23}, {"GL", 18}, {"GR", 27},
    {"GT", 28}, {"HN", 28}, {"HR", 21}, {"HU", 28}, {"IE", 22}, {"IL", 23}, {"IQ", 23}, {"IS", 26},
    {"IT", 27}, {"JO", 30}, {"KW", 30}, {"KZ", 20}, {"LB", 28}, {"LC", 32}, {"LI", 21}, {"LT", 20},
    {"LU", 20}, {"LV", 21}, {"LY", 25}, {"MC", 27}, {"MD", 24}, {"ME", 22}, {"MK", 19}, {"MN", 20},
    {"MR", 27}, {"MT", 31}, {"MU", 30}, {"NI", 28}, {"NL", 18}, {"NO", 15}, {"OM", 23}, {"PK", 24},
    {"PL", 28}, {"PS", 29}, {"PT", 25}, {"QA", 29}, {"RO", 24}, {"RS", 22}, {"RU", 33}, {"SA", 24},
    {"SC", 31}, {"SD", 18}, {"SE", 24}, {"SI", 19}, {"SK", 24}, {"SM", 27}, {"SO", 23}, {"ST", 25},
    {"SV", 28}, {"TL", 23}, {"TN", 24}, {"TR", 26}, {"UA", 29}, {"VA", 22}, {"VG", 24}, {"XK", 20},
    {"YE", 30},
};

size_t redact_check_iban_length(const char *country)
{
    for (size_t i = 0; i < ARRAY_LEN(countries); i++)
        if (countries[i].code[0] == country[0] && countries[i].code[1] == country[1])
            return countries[i].length;
    return 0;
}

bool redact_check_iban(const char *text, size_t n)
{
    unsigned rest = 0;
    if (n < 15 || redact_check_iban_length(text) != n)
        return false;
    for (size_t i = 0; i < n; i++) {
        char c = text[(i + 4) % n];
        if (c >= '0' && c <= '9')
            rest = (rest * 10 + digit(c)) % 97;
        else if (c >= 'A' && c <= 'Z')
            rest = (rest * 100 + (unsigned)(c - 'A') + 10) % 97;
        else
            return false;
    }
    return rest == 1;
}

/* --- national ids --------------------------------------------------------------------------------------- */

/* Social Security Administration: no area 000, 666 or 9xx, no group 00, no serial 0000. Three numbers were printed as examples. */
bool redact_check_us_ssn(const char *digits)
{
    unsigned area = number(digits, 3), group = number(digits + 3, 2),
             serial = number(digits + 5, 4), all = number(digits, 9);
    return area && area != 666 && area < 900 && group && serial && all != 78051120 &&
           all != 219099999 && all != 123456789;
}

/* HMRC NIM39110. */
bool redact_check_uk_nino(const char *text)
{
    static const char *const never[] = {"BG", "GB", "NK", "KN", "TN", "NT", "ZZ"};
    if (strchr("DFIQUV", text[0]) || strchr("DFIQUVO", text[1]) || !strchr("ABCD", text[8]))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(never); i++)
        if (never[i][0] == text[0] && never[i][1] == text[1])
            return false;
    return true;
}

/* Bundeszentralamt für Steuern: ISO 7064 MOD 11,10; of the first ten digits one occurs twice or three times, the others at most once. */
bool redact_check_de_steuer_id(const char *digits)
{
    unsigned seen[10] = {0}, doubles = 0, product = 10;
    if (digits[0] == '0')
        return false;
    for (size_t i = 0; i < 10; i++) {
        seen[digit(digits[i])]++;
        unsigned sum = (digit(digits[i]) + product) % 10;
        product = (sum ? sum : 10) * 2 % 11;
    }
    for (size_t i = 0; i < 10; i++) {
        if (seen[i] > 3)
            return false;
        doubles += seen[i] > 1;
    }
    return doubles == 1 && (11 - product) % 10 == digit(digits[10]);
}

/* Rijksdienst voor Identiteitsgegevens: 9a+8b+7c+6d+5e+4f+3g+2h-i is divisible by 11. */
bool redact_check_nl_bsn(const char *digits)
{
    int sum = -(int)digit(digits[8]);
    for (int i = 0; i < 8; i++)
        sum += (9 - i) * (int)digit(digits[i]);
    return sum % 11 == 0 && !all_same(digits, 9);
}

bool redact_check_es_dni(const char *digits, char letter)
{
    return "TRWAGMYFPDXBNJZSQVHLCKE"[number(digits, 8) % 23] == letter;
}

/* Decreto Ministeriale 23/12/1976: odd and even places have values of their own. */
bool redact_check_it_codice_fiscale(const char *text)
{
    static const uint8_t odd[26] = {1,  0,  5, 7, 9, 13, 15, 17, 19, 21, 2,  4,  18,
                                    20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23};
    unsigned sum = 0;
    for (size_t i = 0; i < 15; i++) {
        char c = text[i];
        unsigned v = c >= '0' && c <= '9' ? digit(c) : (unsigned)(c - 'A');
        sum += i & 1 ? v : odd[v];
    }
    unsigned day = number(text + 9, 2);
    return strchr("ABCDEHLMPRST", text[8]) &&
           ((day >= 1 && day <= 31) || (day >= 41 && day <= 71)) &&
           text[15] == (char)('A' + sum % 26);
}

/* INSEE: sex, year, month, department, commune, order, 97 minus the rest. Corsica's 2A and 2B are not read. */
bool redact_check_fr_nir(const char *digits)
{
    unsigned month = number(digits + 3, 2), department = number(digits + 5, 2);
    uint64_t v = 0;
    for (size_t i = 0; i < 13; i++)
        v = v * 10 + digit(digits[i]);
    return (digits[0] == '1' || digits[0] == '2') &&
           ((month >= 1 && month <= 12) || (month >= 20 && month <= 42)) && department &&
           97 - v % 97 == number(digits + 13, 2);
}

bool redact_check_pl_pesel(const char *digits)
{
    static const uint8_t weights[10] = {1, 3, 7, 9, 1, 3, 7, 9, 1, 3};
    unsigned sum = 0;
    for (size_t i = 0; i < 10; i++)
        sum += weights[i] * digit(digits[i]);
    /* the century is in the month: +80, +0, +20, +40, +60 */
    return is_date(number(digits + 2, 2) % 20, number(digits + 4, 2)) &&
           (10 - sum % 10) % 10 == digit(digits[10]);
}

/* Skatteverket; a co-ordination number has its day plus 60. */
bool redact_check_se_personnummer(const char *digits)
{
    unsigned day = number(digits + 4, 2);
    return is_date(number(digits + 2, 2), day > 60 ? day - 60 : day) &&
           redact_check_luhn(digits, 10);
}

static unsigned cpf_digit(const char *digits, unsigned n)
{
    unsigned sum = 0;
    for (unsigned i = 0; i < n; i++)
        sum += (n + 1 - i) * digit(digits[i]);
    return sum * 10 % 11 % 10;
}

bool redact_check_br_cpf(const char *digits)
{
    return !all_same(digits, 11) && cpf_digit(digits, 9) == digit(digits[9]) &&
           cpf_digit(digits, 10) == digit(digits[10]);
}

/* Verhoeff: the dihedral group of ten, and a permutation by place. */
bool redact_check_in_aadhaar(const char *digits)
{
    static const uint8_t times[10][10] = {
        {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, {1, 2, 3, 4, 0, 6, 7, 8, 9, 5},
        {2, 3, 4, 0, 1, 7, 8, 9, 5, 6}, {3, 4, 0, 1, 2, 8, 9, 5, 6, 7},
        {4, 0, 1, 2, 3, 9, 5, 6, 7, 8}, {5, 9, 8, 7, 6, 0, 4, 3, 2, 1},
        {6, 5, 9, 8, 7, 1, 0, 4, 3, 2}, {7, 6, 5, 9, 8, 2, 1, 0, 4, 3},
        {8, 7, 6, 5, 9, 3, 2, 1, 0, 4}, {9, 8, 7, 6, 5, 4, 3, 2, 1, 0}};
    static const uint8_t place[8][10] = {
        {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, {1, 5, 7, 6, 2, 8, 3, 0, 9, 4},
        {5, 8, 0, 3, 7, 9, 6, 1, 4, 2}, {8, 9, 1, 6, 0, 4, 3, 5, 2, 7},
        {9, 4, 5, 3, 1, 2, 6, 8, 7, 0}, {4, 2, 8, 6, 5, 7, 3, 9, 0, 1},
        {2, 7, 9, 3, 8, 0, 6, 4, 1, 5}, {7, 0, 4, 6, 9, 1, 3, 2, 5, 8}};
    unsigned c = 0;
    for (size_t i = 0; i < 12; i++)
        c = times[c][place[i % 8][digit(digits[11 - i])]];
    return digits[0] >= '2' && c == 0;
}
