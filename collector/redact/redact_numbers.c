#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "base/check.h"
#include "collector/redact/redact_check.h"
#include "collector/redact/redact_match.h"

#define GROUPS_MAX 24u
#define DIGITS_MAX 40u
#define BLOCK 64u

/* Digits with at most two separators between groups: "4111 1111 1111 1111", "(415) 555-2671". */
struct group {
    uint32_t at;
    uint16_t size;
    char separator; /* before it: one character, '?' for two, 0 for the first */
};
struct run {
    const struct redact_subject *s;
    struct group group[GROUPS_MAX];
    uint32_t count;
    size_t end;
};
/* Some groups of a run, put together. */
struct number {
    const struct run *run;
    uint32_t first, last;
    size_t from, to;
    char digits[DIGITS_MAX + 1];
    size_t size;
    char separator; /* that of all groups; 0: one group; '?': not one */
    char shape[24]; /* "3-2-4" */
    bool has_context;
    struct redact_context context;
};

static bool is_separator(uint8_t c)
{
    return c == ' ' || c == '-' || c == '.' || c == '/' || c == '(' || c == ')';
}

/* --- is it worth looking? ------------------------------------------------------------------------------------- */

/* Bit i: is byte i of these 64 a digit? */
#ifdef __SSE2__
static uint64_t digit_bits(const uint8_t *p)
{
    uint64_t bits = 0;
    for (unsigned i = 0; i < BLOCK; i += 16) {
        __m128i x = _mm_loadu_si128((const __m128i *)(const void *)(p + i));
        /* moved so that digits are the ten smallest signed bytes */
        __m128i moved = _mm_add_epi8(x, _mm_set1_epi8((char)(0x80 - '0')));
        __m128i yes = _mm_cmplt_epi8(moved, _mm_set1_epi8((char)(0x80 + 10)));
        bits |= (uint64_t)(unsigned)_mm_movemask_epi8(yes) << i;
    }
    return bits;
}
#else
static uint64_t digit_bits(const uint8_t *p)
{
    uint64_t bits = 0;
    for (unsigned i = 0; i < BLOCK; i++)
        bits |= (uint64_t)redact_match_is_digit(p[i]) << i;
    return bits;
}
#endif

static bool has_three(uint64_t bits)
{
    bits &= bits - 1;
    return (bits & (bits - 1)) != 0;
}

static bool has_five(uint64_t bits)
{
    bits &= bits - 1;
    return has_three(bits & (bits - 1));
}

/* Five of them, or three and three dots. */
static bool is_dense(struct bytes raw, uint64_t bits, size_t from)
{
    size_t to = MIN(raw.size, from + BLOCK);
    unsigned dots = 0;
    if (has_five(bits))
        return true;
    for (size_t i = from + (size_t)__builtin_ctzll(bits); i < to && dots < 3; i++)
        dots += raw.data[i] == '.';
    return dots >= 3;
}

/* 10.1.2.3 and the like name nobody, and half of all rows have one. */
static bool is_local_address(const uint8_t *p, size_t size)
{
    struct bytes a = bytes_of(p, size);
    return bytes_has_prefix(a, BYTES_LIT("10.")) || bytes_has_prefix(a, BYTES_LIT("127.")) ||
           bytes_has_prefix(a, BYTES_LIT("192.168."));
}

/* The end of a codice fiscale behind its six letters: 85T10A562S. */
static bool is_fiscal_tail(const uint8_t *p, size_t left)
{
    return left >= 10 && redact_match_is_alpha(p[2]) && redact_match_is_digit(p[0]) &&
           redact_match_is_digit(p[1]) && redact_match_is_digit(p[3]) &&
           redact_match_is_digit(p[4]) && redact_match_is_alpha(p[5]) &&
           redact_match_is_digit(p[6]) && redact_match_is_digit(p[7]) &&
           redact_match_is_digit(p[8]) && redact_match_is_alpha(p[9]);
}

/* Nine digits, four groups of an address, or some with a letter behind them (DNI, NIE, NINO). *at: then the end of the run. */
static bool run_matters(struct bytes raw, size_t *at)
{
    const uint8_t *p = raw.data;
    size_t i = *at, from = i, digits = 0, dots = 0, end = i, dots_here = 0;
    if (is_fiscal_tail(p + i, raw.size - i))
        return true;
    while (i < raw.size) {
        if (redact_match_is_digit(p[i])) {
            digits++;
            dots += dots_here; /* those between digits only */
            dots_here = 0;
            end = ++i;
        } else if (is_separator(p[i]) && i - end < 2) {
            dots_here += p[i] == '.';
            i++;
        } else {
            break;
        }
    }
    *at = MAX(end, from + 1);
    if (dots == 3 && digits <= 12 && end - from == digits + 3)
        return !is_local_address(p + from, end - from);
    if (digits >= 9 || (dots >= 3 && digits >= 4))
        return true;
    if (digits < 6)
        return false;
    while (end < raw.size && is_separator(p[end]))
        end++;
    return end < raw.size && redact_match_is_alpha(p[end]);
}

/* bits: digits near others, from `from` on. *at: how far it was looked; a run is looked at to its end. */
static bool window_matters(struct bytes raw, uint64_t bits, size_t from, size_t *at)
{
    for (; bits; bits &= bits - 1) {
        size_t i = from + (size_t)__builtin_ctzll(bits);
        if (i < *at)
            continue;
        *at = i;
        if (run_matters(raw, at))
            return true;
    }
    return false;
}

/* The bits of the block at `at`; none behind the end. */
static uint64_t block_bits(struct bytes raw, size_t at)
{
    uint8_t last[BLOCK] = {0};
    if (at >= raw.size)
        return 0;
    if (raw.size - at >= BLOCK)
        return digit_bits(raw.data + at);
    memcpy(last, raw.data + at, raw.size - at);
    return digit_bits(last);
}

/* What matters has, within 64 bytes, at least five digits with another one right behind or one further, or three and three dots; ids of random
 * letters and digits mostly have fewer. Windows of 64 bytes overlap by half. */
bool redact_match_has_digits(struct bytes raw)
{
    uint64_t bits = block_bits(raw, 0), half = 0;
    size_t at = 0;
    for (size_t i = 0; i < raw.size; i += BLOCK) {
        uint64_t next = block_bits(raw, i + BLOCK);
        uint64_t near = bits & ((bits >> 1 | next << 63) | (bits >> 2 | next << 62));
        if (has_three(half | near << 32) && i && is_dense(raw, half | near << 32, i - BLOCK / 2) &&
            window_matters(raw, half | near << 32, i - BLOCK / 2, &at))
            return true;
        if (has_three(near) && is_dense(raw, near, i) && window_matters(raw, near, i, &at))
            return true;
        half = near >> 32;
        bits = next;
    }
    return false;
}

/* --- parts of a number ------------------------------------------------------------------------------------------ */

static const struct redact_context *context_of(struct number *n)
{
    if (!n->has_context)
        redact_context_read(&n->context, n->run->s, n->from, n->to);
    n->has_context = true;
    return &n->context;
}

static bool says(struct number *n, const char *words)
{
    return redact_context_has(context_of(n), words);
}

/* Nothing speaks for it, and its name speaks against it. */
static bool is_harmless(struct number *n, const char *words)
{
    return redact_context_is_harmless(context_of(n)) && !says(n, words);
}

static uint8_t byte_at(const struct run *r, size_t at)
{
    return at < r->s->text.size ? r->s->text.data[at] : 0;
}

/* Part of a longer token ("a1b2-4111…", "v1.2/4111…")? */
static bool begins_alone(const struct run *r, uint32_t first)
{
    size_t at = r->group[first].at;
    if (first) /* behind other digits: only a space sets it apart */
        return r->group[first].separator == ' ';
    if (!redact_match_starts(r->s->text, at))
        return false;
    uint8_t before = at ? byte_at(r, at - 1) : 0, further = at > 1 ? byte_at(r, at - 2) : 0;
    if (before == '-' || before == '.' || before == '/' || before == '@' || before == '&')
        return !redact_match_is_word(further) && further != before;
    return before != '$' && before != '#' && before < 0x80;
}

static bool ends_alone(const struct run *r, uint32_t last)
{
    if (last + 1 < r->count)
        return r->group[last + 1].separator == ' ' || r->group[last + 1].separator == '?';
    if (!redact_match_ends(r->s->text, r->end))
        return false;
    uint8_t after = byte_at(r, r->end), further = byte_at(r, r->end + 1);
    if (after == '-' || after == '/' || after == '.' || after == '@' || after == ':')
        return !redact_match_is_word(further);
    return after != '%';
}

static bool number_of(const struct run *r, uint32_t first, uint32_t last, struct number *n)
{
    n->run = r;
    n->first = first;
    n->last = last;
    n->from = r->group[first].at;
    n->to = r->group[last].at + r->group[last].size;
    n->size = 0;
    n->separator = 0;
    n->has_context = false;
    size_t shape = 0;
    for (uint32_t i = first; i <= last; i++) {
        const struct group *g = &r->group[i];
        if (n->size + g->size > DIGITS_MAX)
            return false;
        memcpy(n->digits + n->size, r->s->text.data + g->at, g->size);
        n->size += g->size;
        if (i > first)
            n->separator = n->separator == 0 || n->separator == g->separator ? g->separator : '?';
        if (shape + 4 < sizeof n->shape) {
            if (i > first)
                n->shape[shape++] = '-';
            if (g->size >= 10)
                n->shape[shape++] = '1';
            n->shape[shape++] = (char)('0' + g->size % 10);
        }
    }
    n->digits[n->size] = 0;
    n->shape[shape] = 0;
    return true;
}

static bool has_shape(const struct number *n, const char *shape)
{
    return strcmp(n->shape, shape) == 0;
}

/* --- kinds ----------------------------------------------------------------------------------------------------------- */

#define CARD_WORDS                                                                            \
    "card|cards|visa|mastercard|amex|credit|debit|cc|pan|maestro|discover|karte|kreditkarte|" \
    "carte|tarjeta|payment|cvv|cvc|expiry"

static bool is_card(struct number *n)
{
    if (n->size < 14 || n->size > 19)
        return false;
    if (n->separator) {
        if (n->separator != ' ' && n->separator != '-')
            return false;
        if (!has_shape(n, "4-4-4-4") && !has_shape(n, "4-6-5") && !has_shape(n, "4-6-4") &&
            !has_shape(n, "4-4-4-4-3"))
            return false;
    }
    return redact_check_card(n->digits, n->size) && !is_harmless(n, CARD_WORDS);
}

#define SSN_WORDS "ssn|social|soc sec|taxpayer|itin"

static bool is_us_ssn(struct number *n)
{
    bool is_written = n->separator == '-' && has_shape(n, "3-2-4");
    if (!redact_check_us_ssn(n->digits) ||
        (n->separator && !is_written && !(n->separator == ' ' && has_shape(n, "3-2-4"))))
        return false;
    return is_written ? !is_harmless(n, SSN_WORDS) : says(n, SSN_WORDS);
}

static bool is_phone(struct number *n)
{
    static const char words[] = "tel|phone|telephone|mobile|cell|call|fax|whatsapp|sms|telefon|"
                                "handy|mobil|telefono|teléfono|téléphone|contact number|msisdn";
    const struct run *r = n->run;
    size_t at = n->from;
    uint8_t before = at ? byte_at(r, at - 1) : 0;
    if (before == '(' && at > 1)
        before = byte_at(r, at - 2);
    if (n->first == 0 && before == '+' && n->size >= 8 && n->size <= 15)
        return n->digits[0] != '0' && n->last + 1 == r->count;
    const char *d = n->digits;
    bool is_american = n->size == 11 && d[0] == '1' && has_shape(n, "1-3-3-4");
    d += is_american;
    is_american = is_american || (n->size == 10 && has_shape(n, "3-3-4"));
    if (is_american && d[0] >= '2' && d[3] >= '2' && !is_harmless(n, words))
        return n->separator == '-' || n->separator == '.' || n->separator == '?' || says(n, words);
    bool is_date = n->separator && n->shape[0] == '4' && (d[0] == '1' || d[0] == '2');
    return n->size >= 9 && n->size <= 12 && !is_date && n->last + 1 == r->count && n->first == 0 &&
           (d[0] == '0' || n->separator) && says(n, words);
}

static bool is_plain(const struct number *n, char separator)
{
    return !n->separator || n->separator == separator;
}

static uint32_t type_of_nine(struct number *n)
{
    if (is_us_ssn(n))
        return REDACT_TYPE_US_SSN;
    if (is_plain(n, n->separator == '.' ? '.' : ' ') && redact_check_nl_bsn(n->digits) &&
        says(n, "bsn|burgerservice|burgerservicenummer|sofi|sofinummer|citizen service"))
        return REDACT_TYPE_NL_BSN;
    return REDACT_TYPE_COUNT;
}

static uint32_t type_of_eleven(struct number *n)
{
    if (has_shape(n, "3-3-3-2") && n->separator == '?' && redact_check_br_cpf(n->digits))
        return REDACT_TYPE_BR_CPF;
    if (is_plain(n, ' ') && redact_check_br_cpf(n->digits) && says(n, "cpf|cadastro de pessoas"))
        return REDACT_TYPE_BR_CPF;
    if (!n->separator && redact_check_pl_pesel(n->digits) && says(n, "pesel"))
        return REDACT_TYPE_PL_PESEL;
    if (is_plain(n, ' ') && redact_check_de_steuer_id(n->digits) &&
        says(n, "steuer|steuerid|idnr|id "
                "nr|steueridentifikationsnummer|identifikationsnummer|tin|tax id"))
        return REDACT_TYPE_DE_STEUER_ID;
    return REDACT_TYPE_COUNT;
}

#define PERSONNUMMER_WORDS "personnummer|personnr|pnr|personal number|personal identity|swedish id"

static uint32_t type_of_twelve(struct number *n)
{
    if ((!n->separator || (has_shape(n, "8-4") && n->separator == '-')) &&
        redact_check_se_personnummer(n->digits + 2) && says(n, PERSONNUMMER_WORDS))
        return REDACT_TYPE_SE_PERSONNUMMER;
    if ((!n->separator || has_shape(n, "4-4-4")) && redact_check_in_aadhaar(n->digits) &&
        says(n, "aadhaar|aadhar|adhaar|uidai|आधार"))
        return REDACT_TYPE_IN_AADHAAR;
    return REDACT_TYPE_COUNT;
}

static uint32_t type_of_number(struct number *n)
{
    uint32_t type = REDACT_TYPE_COUNT;
    switch (n->size) {
    case 9: type = type_of_nine(n); break;
    case 10:
        if ((!n->separator || (has_shape(n, "6-4") && n->separator == '-')) &&
            redact_check_se_personnummer(n->digits) && says(n, PERSONNUMMER_WORDS))
            type = REDACT_TYPE_SE_PERSONNUMMER;
        break;
    case 11: type = type_of_eleven(n); break;
    case 12: type = type_of_twelve(n); break;
    case 15:
        if (redact_check_fr_nir(n->digits) &&
            ((n->separator == ' ' && n->shape[0] == '1') ||
             (is_plain(n, ' ') &&
              says(n, "nir|sécu|secu|sécurité|securite|insee|sécurité sociale|vitale"))))
            type = REDACT_TYPE_FR_NIR;
        break;
    default: break;
    }
    if (type == REDACT_TYPE_COUNT && is_card(n))
        type = REDACT_TYPE_CARD;
    return type == REDACT_TYPE_COUNT && n->size >= 8 && n->size <= 15 && is_phone(n)
               ? REDACT_TYPE_PHONE
               : type;
}

/* --- addresses of machines --------------------------------------------------------------------------------------------- */

/* Those that name nobody: of a local network, of the machine itself, for documentation. */
static bool is_public(const unsigned v[4])
{
    return v[0] != 0 && v[0] != 10 && v[0] != 127 && v[0] < 224 &&
           !(v[0] == 100 && v[1] >= 64 && v[1] < 128) && !(v[0] == 169 && v[1] == 254) &&
           !(v[0] == 172 && v[1] >= 16 && v[1] < 32) && !(v[0] == 192 && v[1] == 168) &&
           !(v[0] == 192 && v[1] == 0 && v[2] == 2) && !(v[0] == 198 && v[1] == 51) &&
           !(v[0] == 203 && v[1] == 0 && v[2] == 113);
}

static bool is_ip(struct number *n)
{
    unsigned v[4];
    if (n->last - n->first != 3 || n->separator != '.')
        return false;
    for (uint32_t i = 0; i < 4; i++) {
        const struct group *g = &n->run->group[n->first + i];
        v[i] = 0;
        if (g->size > 3 || (g->size > 1 && n->run->s->text.data[g->at] == '0'))
            return false;
        for (uint32_t k = 0; k < g->size; k++)
            v[i] = v[i] * 10 + (unsigned)(n->run->s->text.data[g->at + k] - '0');
        if (v[i] > 255)
            return false;
    }
    uint8_t before = n->from ? byte_at(n->run, n->from - 1) : 0;
    uint8_t after = byte_at(n->run, n->to);
    bool is_behind_name = before == '/' && n->from > 1 &&
                          redact_match_is_word(byte_at(n->run, n->from - 2)); /* Chrome/120.0.0.0 */
    return is_public(v) && !is_behind_name && redact_match_starts(n->run->s->text, n->from) &&
           before != '.' && before != '-' && !redact_match_is_word(after) && after != '-' &&
           !redact_context_is_harmless(context_of(n));
}

/* --- numbers with letters ------------------------------------------------------------------------------------------------ */

static uint8_t upper(uint8_t c)
{
    return redact_match_is_alpha(c) ? (uint8_t)(c & ~32u) : c;
}

/* Eight digits and a letter, or X, Y, Z, seven digits and a letter. */
static bool add_spanish(const struct run *r, uint32_t i, struct redact_matches *out)
{
    const struct group *g = &r->group[i];
    struct number n;
    char digits[9];
    size_t from = g->at, to = from + g->size;
    if ((g->size != 8 && g->size != 7) || !number_of(r, i, i, &n))
        return false;
    bool has_dash = byte_at(r, to) == '-';
    to += has_dash;
    uint8_t letter = byte_at(r, to);
    if (!redact_match_is_alpha(letter) || !redact_match_ends(r->s->text, to + 1))
        return false;
    if (g->size == 7) {
        from -= from && byte_at(r, from - 1) == '-';
        uint8_t first = from ? upper(byte_at(r, from - 1)) : 0;
        if (first < 'X' || first > 'Z' || !redact_match_starts(r->s->text, from - 1))
            return false;
        from--;
        digits[0] = (char)('0' + first - 'X');
        memcpy(digits + 1, n.digits, 7);
    } else {
        memcpy(digits, n.digits, 8);
    }
    n.from = from;
    n.to = to + 1;
    if (!redact_check_es_dni(digits, (char)upper(letter)))
        return false;
    static const char words[] = "dni|nif|nie|documento|identidad|extranjero|spanish id";
    bool is_sure = says(&n, words);
    if (g->size == 8 && !is_sure &&
        (!has_dash || redact_context_is_harmless(context_of(&n)) || !begins_alone(r, i)))
        return false;
    if (g->size == 7 && !is_sure && (letter >= 'a' || redact_context_is_harmless(context_of(&n))))
        return false;
    if (g->size == 8 && !redact_match_starts(r->s->text, from))
        return false;
    redact_match_add(out, from, to + 1, g->size == 7 ? REDACT_TYPE_ES_NIE : REDACT_TYPE_ES_DNI);
    return true;
}

/* AB123456C or AB 12 34 56 C. */
static bool add_nino(const struct run *r, uint32_t i, struct redact_matches *out)
{
    bool is_spaced = r->group[i].size == 2 && i + 2 < r->count && r->group[i + 1].size == 2 &&
                     r->group[i + 2].size == 2 && r->group[i + 1].separator == ' ' &&
                     r->group[i + 2].separator == ' ';
    struct number n;
    char text[10];
    if (!is_spaced && r->group[i].size != 6)
        return false;
    if (!number_of(r, i, is_spaced ? i + 2 : i, &n))
        return false;
    size_t from = n.from, to = n.to;
    from -= from && byte_at(r, from - 1) == ' ';
    to += byte_at(r, to) == ' ';
    if (from < 2 || !redact_match_is_alpha(byte_at(r, from - 1)) ||
        !redact_match_is_alpha(byte_at(r, from - 2)) ||
        !redact_match_starts(r->s->text, from - 2) || !redact_match_is_alpha(byte_at(r, to)) ||
        !redact_match_ends(r->s->text, to + 1))
        return false;
    from -= 2;
    text[0] = (char)upper(byte_at(r, from));
    text[1] = (char)upper(byte_at(r, from + 1));
    memcpy(text + 2, n.digits, 6);
    text[8] = (char)upper(byte_at(r, to));
    text[9] = 0;
    n.from = from;
    n.to = to + 1;
    bool is_upper = byte_at(r, from) < 'a' && byte_at(r, from + 1) < 'a' && byte_at(r, to) < 'a';
    if (!redact_check_uk_nino(text) ||
        !(says(&n, "nino|national insurance|ni number|insurance number|ni no") ||
          (is_spaced && is_upper && !redact_context_is_harmless(context_of(&n)))))
        return false;
    redact_match_add(out, from, to + 1, REDACT_TYPE_UK_NINO);
    return true;
}

static bool add_fiscal(const struct run *r, uint32_t i, struct redact_matches *out)
{
    struct bytes text = r->s->text;
    size_t at = r->group[i].at;
    char code[17];
    if (r->group[i].size != 2 || at < 6 || !is_fiscal_tail(text.data + at, text.size - at) ||
        !redact_match_starts(text, at - 6) || !redact_match_ends(text, at + 10))
        return false;
    for (size_t k = 0; k < 16; k++) {
        code[k] = (char)upper(text.data[at - 6 + k]);
        if (k < 6 && !redact_match_is_alpha((uint8_t)code[k]))
            return false;
    }
    code[16] = 0;
    if (!redact_check_it_codice_fiscale(code))
        return false;
    redact_match_add(out, at - 6, at + 10, REDACT_TYPE_IT_CODICE_FISCALE);
    return true;
}

/* The characters of an IBAN that begins at `from`; their end, or 0. */
static size_t read_iban(const struct run *r, size_t from)
{
    char text[40];
    size_t n = 0, at = from, want = 0;
    for (; at < r->s->text.size; at++) {
        uint8_t c = upper(r->s->text.data[at]);
        if ((c == ' ' || c == '-') && n >= 4 && byte_at(r, at + 1) != ' ') {
            if (n == want)
                break;
            continue;
        }
        if ((!redact_match_is_digit(c) && !redact_match_is_alpha(c)) || (want && n == want))
            break;
        text[n++] = (char)c;
        if (n == 2 && (want = redact_check_iban_length(text)) == 0)
            return 0;
        if ((n == 3 || n == 4) && !redact_match_is_digit(c))
            return 0;
    }
    return n == want && want && redact_match_ends(r->s->text, at) && redact_check_iban(text, n) ? at
                                                                                                : 0;
}

/* Its country stands at most fourteen characters before nine digits in a row. */
static bool add_iban(const struct run *r, struct redact_matches *out)
{
    size_t first = r->group[0].at, low = first > 14 ? first - 14 : 0;
    for (size_t at = low; at + 2 <= first; at++) {
        if (!redact_match_is_alpha(byte_at(r, at)) || !redact_match_is_alpha(byte_at(r, at + 1)) ||
            !redact_match_is_digit(byte_at(r, at + 2)) || !redact_match_starts(r->s->text, at))
            continue;
        size_t to = read_iban(r, at);
        if (to > first) {
            redact_match_add(out, at, to, REDACT_TYPE_IBAN);
            return true;
        }
    }
    return false;
}

/* --- runs ------------------------------------------------------------------------------------------------------------------ */

static size_t run_read(const struct redact_subject *s, size_t at, struct run *r)
{
    const uint8_t *p = s->text.data;
    char separator = 0;
    r->s = s;
    r->count = 0;
    while (r->count < GROUPS_MAX) {
        struct group *g = &r->group[r->count++];
        *g = (struct group){.at = (uint32_t)at, .separator = separator};
        while (at < s->text.size && redact_match_is_digit(p[at]) && at - g->at < 64)
            at++;
        g->size = (uint16_t)(at - g->at);
        size_t next = at;
        while (next < s->text.size && next - at < 2 && is_separator(p[next]))
            next++;
        if (next == at || next >= s->text.size || !redact_match_is_digit(p[next]))
            break;
        separator = next - at == 1 ? (char)p[at] : '?';
        at = next;
    }
    const struct group *last = &r->group[r->count - 1];
    r->end = last->at + last->size;
    return r->end;
}

/* From each group on the longest number that means something. */
static void run_numbers(const struct run *r, struct redact_matches *out)
{
    struct number n;
    for (uint32_t i = 0; i < r->count; i++) {
        if (add_spanish(r, i, out) || add_fiscal(r, i, out) || add_nino(r, i, out))
            continue;
        for (uint32_t last = MIN(r->count - 1, i + 7) + 1; last-- > i;) {
            if (!number_of(r, i, last, &n))
                continue;
            if (is_ip(&n)) {
                redact_match_add(out, n.from, n.to, REDACT_TYPE_IP);
                i = last;
                break;
            }
            if (n.size < 8 || n.size > 19 || !begins_alone(r, i) || !ends_alone(r, last))
                continue;
            uint32_t type = type_of_number(&n);
            if (type == REDACT_TYPE_COUNT)
                continue;
            redact_match_add(out, n.from, n.to, type);
            i = last;
            break;
        }
    }
}

void redact_match_numbers(const struct redact_subject *s, struct redact_matches *out)
{
    struct run r;
    size_t iban_end = 0;
    for (size_t at = 0; at < s->text.size;) {
        if (!redact_match_is_digit(s->text.data[at])) {
            at++;
            continue;
        }
        size_t end = run_read(s, at, &r);
        uint32_t before = out->count;
        if (at >= iban_end && add_iban(&r, out) && out->count > before)
            iban_end = out->list[out->count - 1].to;
        if (at >= iban_end)
            run_numbers(&r, out);
        at = end;
    }
}
