/* WordPiece: text to the token ids of a BERT vocabulary, with the place in the text that each came from.
 *
 * Owner: gpu_vocab_new / gpu_vocab_free; immutable in between.  Thread: any, at once.
 * Failure: gpu_vocab_new: ERR_INVALID says what the vocabulary lacks; gpu_tokens_add: false when memory is short.
 * Limits: GPU_VOCAB_MAX tokens; a word of more than GPU_WORD_CHARS_MAX characters is one [UNK], as in the reference.
 * Invariants: 1. Text is never read as a special token: "[SEP]" is five ordinary pieces. 2. begin <= end, both byte offsets into the text,
 *             ascending. 3. Any bytes are text; broken UTF-8 counts as U+FFFD, which the normaliser drops.
 */
#ifndef GPU_GPU_TOKENS_H
#define GPU_GPU_TOKENS_H

#include "base/buf.h"

#define GPU_VOCAB_MAX (1u << 20)
#define GPU_WORD_CHARS_MAX 100u

struct gpu_vocab;

/* vocab.txt: one token a line, its number is its id; lower-casing WordPiece with "##" for what continues a word. */
enum err gpu_vocab_new(struct bytes vocab_txt, struct gpu_vocab **out,
                       struct err_msg *msg) MUST_CHECK;
void gpu_vocab_free(struct gpu_vocab *v);
uint32_t gpu_vocab_size(const struct gpu_vocab *v);
uint32_t gpu_vocab_cls(const struct gpu_vocab *v);
uint32_t gpu_vocab_sep(const struct gpu_vocab *v);

/* Grows; the caller frees it with gpu_tokens_done. */
struct gpu_tokens {
    uint32_t *id, *begin, *end;
    uint8_t *type; /* segment: 0 or 1 */
    uint32_t count, cap;
};
void gpu_tokens_done(struct gpu_tokens *t);
/* Appends the pieces of text, no special tokens. */
bool gpu_tokens_add(const struct gpu_vocab *v, struct bytes text, uint8_t type,
                    struct gpu_tokens *t) MUST_CHECK;
/* Appends one token that is not text ([CLS], [SEP]); it covers no bytes. */
bool gpu_tokens_special(uint32_t id, uint8_t type, struct gpu_tokens *t) MUST_CHECK;

#endif
