/* Judged samples made ready to learn from: features of each sentence, which sentences are marked, what the encoder said of the tokens.
 *
 * Owner: the caller's arena.  Thread: one.  Failure: ERR_NOT_FOUND, ERR_IO for a file; ERR_INVALID when there is nothing to learn from; ERR_NOMEM.
 * Which sets are used, how many of each and how much each counts is the table in ground_case.c; sets that it does not name count fully.
 */
#ifndef DETECTORS_GROUND_CASE_H
#define DETECTORS_GROUND_CASE_H

#include "detectors/ground_data.h"
#include "detectors/ground_judge.h"

struct ground_case {
    struct ground_sample s;
    struct ground_answer answer;
    struct ground_feature_rows f;
    uint8_t *marked; /* of each sentence */
    bool marks_known; /* … can be told: where a response is wrong is not always said */
    bool json;
    bool
        target; /* of the kind that calibration and thresholds are made for: whole responses with spans marked */
    float tree_weight, token_weight; /* of its set */
    struct ground_token *tokens; /* NULL: the encoder has not judged it */
    uint32_t tokens_count;
    float *trees; /* logits of trees that have not seen it */
};
struct ground_cases {
    struct ground_case *cases;
    uint32_t count, bad_lines;
    struct bytes idf_form;
    struct ground_idf idf;
};

/* Files, and directories with what lies in them (and in their more/): *.jsonl and *.json. bad: told of each line that was left out. */
enum err ground_case_load(const char *const *paths, uint32_t paths_count, struct arena *a,
                          void (*bad)(void *ctx, const char *file, uint64_t line, const char *why),
                          void *ctx, struct ground_cases *out, struct err_msg *msg) MUST_CHECK;
/* One of `folds` parts; a source is in one part only. */
uint32_t ground_case_fold(const struct ground_case *c, uint32_t folds, uint64_t seed);

#endif
