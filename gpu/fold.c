#include "gpu/fold.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <utf8proc.h>

#define PAGE 256u
#define PAGES (0x110000u / PAGE)

static struct fold *_Atomic pages[PAGES];

static bool is_cjk(uint32_t c)
{
    return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) ||
           (c >= 0x20000 && c <= 0x2a6df) || (c >= 0x2a700 && c <= 0x2b73f) ||
           (c >= 0x2b740 && c <= 0x2b81f) || (c >= 0x2b820 && c <= 0x2ceaf) ||
           (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
}

static bool is_blank(uint32_t c)
{
    return (c >= 0x09 && c <= 0x0d) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
           c == 0x205f || c == 0x3000;
}

/* Marks, punctuation and format characters that came after Unicode 8.0: the reference tokenizer's tables end there and take them for
 * letters, and the models were trained with what it said. */
static const struct {
    uint32_t from, to;
} newer[] = {
    {0x61d, 0x61d},     {0x7fd, 0x7fd},     {0x890, 0x891},     {0x898, 0x89f},
    {0x8ca, 0x8e2},     {0x9fd, 0x9fe},     {0xa76, 0xa76},     {0xafa, 0xaff},
    {0xb55, 0xb55},     {0xc04, 0xc04},     {0xc3c, 0xc3c},     {0xc77, 0xc77},
    {0xc84, 0xc84},     {0xd00, 0xd00},     {0xd3b, 0xd3c},     {0xd81, 0xd81},
    {0xeba, 0xeba},     {0x180f, 0x180f},   {0x1abf, 0x1ace},   {0x1b7d, 0x1b7e},
    {0x1df6, 0x1dfb},   {0x2e43, 0x2e4f},   {0x2e52, 0x2e5d},   {0xa82c, 0xa82c},
    {0xa8c5, 0xa8c5},   {0xa8ff, 0xa8ff},   {0x10d24, 0x10d27}, {0x10eab, 0x10ead},
    {0x10f46, 0x10f50}, {0x10f55, 0x10f59}, {0x10f82, 0x10f89}, {0x11070, 0x11070},
    {0x11073, 0x11074}, {0x110c2, 0x110c2}, {0x110cd, 0x110cd}, {0x111cf, 0x111cf},
    {0x1123e, 0x1123e}, {0x1133b, 0x1133b}, {0x11438, 0x1143f}, {0x11442, 0x11444},
    {0x11446, 0x11446}, {0x1144b, 0x1144f}, {0x1145a, 0x1145b}, {0x1145d, 0x1145e},
    {0x11660, 0x1166c}, {0x116b9, 0x116b9}, {0x1182f, 0x11837}, {0x11839, 0x1183b},
    {0x1193b, 0x1193c}, {0x1193e, 0x1193e}, {0x11943, 0x11946}, {0x119d4, 0x119d7},
    {0x119da, 0x119db}, {0x119e0, 0x119e0}, {0x119e2, 0x119e2}, {0x11a01, 0x11a0a},
    {0x11a33, 0x11a38}, {0x11a3b, 0x11a47}, {0x11a51, 0x11a56}, {0x11a59, 0x11a5b},
    {0x11a8a, 0x11a96}, {0x11a98, 0x11a9c}, {0x11a9e, 0x11aa2}, {0x11c30, 0x11c36},
    {0x11c38, 0x11c3d}, {0x11c3f, 0x11c3f}, {0x11c41, 0x11c45}, {0x11c70, 0x11c71},
    {0x11c92, 0x11ca7}, {0x11caa, 0x11cb0}, {0x11cb2, 0x11cb3}, {0x11cb5, 0x11cb6},
    {0x11d31, 0x11d36}, {0x11d3a, 0x11d3a}, {0x11d3c, 0x11d3d}, {0x11d3f, 0x11d45},
    {0x11d47, 0x11d47}, {0x11d90, 0x11d91}, {0x11d95, 0x11d95}, {0x11d97, 0x11d97},
    {0x11ef3, 0x11ef4}, {0x11ef7, 0x11ef8}, {0x11fff, 0x11fff}, {0x12ff1, 0x12ff2},
    {0x13430, 0x13438}, {0x16e97, 0x16e9a}, {0x16f4f, 0x16f4f}, {0x16fe2, 0x16fe2},
    {0x16fe4, 0x16fe4}, {0x1cf00, 0x1cf2d}, {0x1cf30, 0x1cf46}, {0x1e000, 0x1e006},
    {0x1e008, 0x1e018}, {0x1e01b, 0x1e021}, {0x1e023, 0x1e024}, {0x1e026, 0x1e02a},
    {0x1e130, 0x1e136}, {0x1e2ae, 0x1e2ae}, {0x1e2ec, 0x1e2ef}, {0x1e944, 0x1e94a},
    {0x1e95e, 0x1e95f},
};

static bool is_newer(uint32_t c)
{
    size_t low = 0, high = sizeof(newer) / sizeof(newer[0]);
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (newer[middle].to < c)
            low = middle + 1;
        else
            high = middle;
    }
    return low < sizeof(newer) / sizeof(newer[0]) && newer[low].from <= c;
}

static utf8proc_category_t category(uint32_t c)
{
    return is_newer(c) ? UTF8PROC_CATEGORY_LO : utf8proc_category((utf8proc_int32_t)c);
}

static bool is_control(uint32_t c)
{
    if (c == '\t' || c == '\n' || c == '\r')
        return false;
    utf8proc_category_t k = category(c);
    return k == UTF8PROC_CATEGORY_CC || k == UTF8PROC_CATEGORY_CF || k == UTF8PROC_CATEGORY_CO ||
           k == UTF8PROC_CATEGORY_CS;
}

static bool is_punctuation(uint32_t c)
{
    if (c < 128)
        return (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) ||
               (c >= 123 && c <= 126);
    utf8proc_category_t k = category(c);
    return k >= UTF8PROC_CATEGORY_PC && k <= UTF8PROC_CATEGORY_PO;
}

static void work_out(uint32_t c, struct fold *f)
{
    utf8proc_int32_t parts[FOLD_MAX + 1];
    int boundary = 0;
    *f = (struct fold){.kind = FOLD_DROP};
    if (c == 0 || c == 0xfffd || is_control(c))
        return;
    if (is_blank(c)) {
        f->kind = FOLD_BLANK;
        return;
    }
    utf8proc_ssize_t n = utf8proc_decompose_char((utf8proc_int32_t)c, parts, FOLD_MAX,
                                                 UTF8PROC_DECOMPOSE, &boundary);
    if (n <= 0 || n > (utf8proc_ssize_t)FOLD_MAX) {
        parts[0] = (utf8proc_int32_t)c;
        n = 1;
    }
    for (utf8proc_ssize_t i = 0; i < n; i++) {
        if (category((uint32_t)parts[i]) == UTF8PROC_CATEGORY_MN)
            continue;
        utf8proc_int32_t low = utf8proc_tolower(parts[i]);
        if (is_punctuation((uint32_t)low) || is_cjk(c))
            f->alone |= (uint8_t)(1u << f->count);
        f->size =
            (uint8_t)(f->size + utf8proc_encode_char(low, (utf8proc_uint8_t *)f->utf8 + f->size));
        f->count++;
    }
    if (f->count)
        f->kind = f->alone ? FOLD_ALONE : FOLD_WORD;
}

void fold_of(uint32_t cp, struct fold *out)
{
    struct fold *page = atomic_load_explicit(&pages[cp / PAGE], memory_order_acquire);
    if (!page) {
        struct fold *fresh = malloc(PAGE * sizeof(*fresh));
        if (!fresh) {
            work_out(cp, out);
            return;
        }
        for (uint32_t i = 0; i < PAGE; i++)
            work_out(cp / PAGE * PAGE + i, &fresh[i]);
        if (atomic_compare_exchange_strong(&pages[cp / PAGE], &page, fresh))
            page = fresh;
        else
            free(fresh); /* another thread was first */
    }
    *out = page[cp % PAGE];
}

uint32_t fold_decode(const uint8_t *p, const uint8_t *end, size_t *out_size)
{
    uint32_t c = p[0], need = c < 0x80   ? 0
                              : c < 0xc2 ? 9
                              : c < 0xe0 ? 1
                              : c < 0xf0 ? 2
                              : c < 0xf5 ? 3
                                         : 9;
    *out_size = 1;
    if (need == 0)
        return c;
    if (need == 9 || (size_t)(end - p) <= need)
        return 0xfffd;
    c &= 0x3fu >> need;
    for (uint32_t i = 1; i <= need; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0xfffd;
        c = c << 6 | (p[i] & 0x3fu);
    }
    if ((need == 2 && (c < 0x800 || (c >= 0xd800 && c <= 0xdfff))) ||
        (need == 3 && (c < 0x10000 || c > 0x10ffff)))
        return 0xfffd;
    *out_size = need + 1;
    return c;
}
