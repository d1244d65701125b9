/* A small BERT made of seeded numbers, written as a directory; and the same forward pass written plainly, in doubles. */
#ifndef TESTS_HELPER_MODEL_H
#define TESTS_HELPER_MODEL_H

#include "base/buf.h"

#define MODEL_HIDDEN 48u
#define MODEL_HEADS 3u
#define MODEL_INNER 80u
#define MODEL_LAYERS 2u
#define MODEL_POSITIONS 40u
#define MODEL_TYPES 2u
#define MODEL_LABELS 2u

extern const char *const helper_model_words[]; /* the vocabulary, NULL at the end */
unsigned helper_model_vocab(void);
/* The value at (row, column) of a tensor by name: what the files hold and the plain pass uses. */
float helper_model_value(const char *name, unsigned row, unsigned column);
/* Makes dir with config.json, vocab.txt and model.safetensors (F32). */
void helper_model_write(const char *dir);
void helper_model_file(struct buf *out); /* the safetensors bytes alone */
/* What the plain pass uses for that tensor (full name): a test may change it. */
double *helper_model_tensor(const char *name, unsigned rows, unsigned columns);
/* hidden[count][MODEL_HIDDEN] of one sequence. */
void helper_model_forward(const unsigned *ids, const unsigned char *types, unsigned count,
                          double *hidden);

#endif
