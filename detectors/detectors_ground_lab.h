/* Making and measuring the grounding checker from judged data: what `telltale ground train` and `ground eval` do.
 *
 * Owner: the caller.  Thread: one; hours of it with an encoder to train.
 * Failure: ERR_CANCELLED when *stop became true while an encoder was trained: the same call goes on; ERR_NOT_FOUND, ERR_IO for files; ERR_INVALID with a sentence (nothing to learn from, a file that is no model); ERR_NOMEM.
 */
#ifndef DETECTORS_DETECTORS_GROUND_LAB_H
#define DETECTORS_DETECTORS_GROUND_LAB_H

#include <stdatomic.h>
#include <stdio.h>

#include "detectors/detectors_ground.h"

struct ground_lab_options {
    const char *const
        *paths; /* files and directories of judged data (see detectors/ground_data.h) */
    uint32_t paths_count;
    const char *model; /* an encoder with a token head, or NULL: trees alone */
    const char *out; /* train: the file to write */
    const char *
        base; /* train: an encoder to fine-tune first; model is then the one that comes of it. OUT.encoder and OUT.checkpoint lie beside out */
    const char *from; /* train: NULL, or a fine-tuned form of base to begin at */
    uint32_t rank; /* of the change to base's matrices; 0: all of base changes */
    double epochs; /* of the fine-tuning; 0: 3 */
    float rate; /* its peak learning rate; 0: 6e-5 */
    uint64_t seed;
    const atomic_bool *stop; /* NULL: none */
    unsigned threads;
    enum gpu_precision precision;
    FILE *report; /* what is said on the way */
};

/* Five folds grouped by source; every figure from scores of a judge that had not seen the source. */
enum err ground_lab_eval(const struct ground_lab_options *o, struct err_msg *msg) MUST_CHECK;
enum err ground_lab_train(const struct ground_lab_options *o, struct err_msg *msg) MUST_CHECK;

/* One response to be scored, of a file in one of the forms that ground_data.h lists; with labels or without. */
struct ground_lab_text {
    struct bytes source_id; /* as JSON */
    uint32_t index; /* of the response in its source */
    struct ground_text text;
};
/* Each response goes to `text`, each bad line to `bad`, and the rest goes on. The path "-" is standard input. What `text` returns ends the reading. */
enum err ground_lab_read(const char *path,
                         enum err (*text)(void *ctx, const struct ground_lab_text *t),
                         void (*bad)(void *ctx, const char *file, uint64_t line, const char *why),
                         void *ctx, struct err_msg *msg) MUST_CHECK;

#endif
