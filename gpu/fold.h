/* What BERT's normaliser makes of one code point: dropped, a blank, or up to FOLD_MAX folded code points (decomposed, accents gone, lower case).
 *
 * The seam to utf8proc. A page of 256 code points is worked out when it is first met and kept for the life of the process.
 * Thread: any.  Failure: none (a page that finds no memory is worked out again each time).
 * Source: the normaliser and pre-tokeniser of BERT as the reference tokenizer applies them: clean text, CJK apart, NFD, drop Mn, lower case.
 */
#ifndef GPU_FOLD_H
#define GPU_FOLD_H

#include "base/bytes.h"

#define FOLD_MAX 4u

enum fold_kind {
    FOLD_DROP,
    FOLD_BLANK,
    FOLD_WORD,
    FOLD_ALONE /* punctuation or CJK: a word of its own */
};

struct fold {
    uint8_t kind; /* enum fold_kind */
    uint8_t size; /* bytes of utf8 */
    uint8_t count; /* code points */
    uint8_t alone; /* bit i: the i-th folded code point stands alone */
    char utf8[FOLD_MAX * 4];
};

/* fold of one code point; cp <= 0x10ffff. */
void fold_of(uint32_t cp, struct fold *out);
/* The code point at p (p < end) and how many bytes it takes; a broken sequence is U+FFFD of one byte. */
uint32_t fold_decode(const uint8_t *p, const uint8_t *end, size_t *out_size);

#endif
