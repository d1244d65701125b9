/* All that was learned beside the encoder, in one piece: word weights, trees, the stack over them and the token classifier, calibration, thresholds.
 *
 *     sentence:  features -> trees ─┐
 *                tokens' logits ────┴─> stack -> logit of the sentence
 *     response:  sentences' logits by trees, tokens' logits, kind of context -> stack -> logit -> calibration -> probability
 *
 * Owner: points into the caller's bytes.  Thread: any.  Failure: ERR_CORRUPT for bytes that are no judge; ERR_NEWER for features of another version.
 * Form (little-endian): u32 magic "TGJ1", u32 feature version, u32 flags, then u32 size + bytes of each: word table, trees, stacks and curves.
 */
#ifndef DETECTORS_GROUND_JUDGE_H
#define DETECTORS_GROUND_JUDGE_H

#include "detectors/ground_curve.h"
#include "detectors/ground_feature.h"
#include "detectors/ground_tree.h"

#define GROUND_JUDGE_SENTENCE 4u /* columns of the sentence's stack */
#define GROUND_JUDGE_RESPONSE 16u /* … the response's; those behind the tokens' are 0 */
#define GROUND_JUDGE_RESPONSE_TOKENS \
    3u /* behind those of trees: log of the sum of tokens' odds; the same where the context is data, and where something was asked */
#define GROUND_JUDGE_RESPONSE_TREES 9u /* those of them that need no encoder come first */
#define GROUND_JUDGE_RESPONSE_FREE \
    (7u << 4) /* length and kind of the response; the rest are scores */

struct ground_token { /* of the response, judged by the encoder */
    uint32_t begin, end; /* bytes */
    float logit;
};
struct ground_judge {
    struct ground_idf idf;
    struct ground_trees trees;
    bool encoder; /* the stacks want tokens */
    float sentence[GROUND_JUDGE_SENTENCE + 1];
    float response[GROUND_JUDGE_RESPONSE + 1];
    struct ground_curve sentence_curve, response_curve;
    float threshold; /* of the response's probability: flagged */
    float span_token; /* a token is in a span from this probability on */
    float span_sentence; /* … when its sentence has at least this one */
};
struct ground_judge_input {
    const struct ground_answer *answer;
    const float *trees; /* logits, a sentence */
    const struct ground_token *tokens; /* ascending; NULL without an encoder */
    uint32_t tokens_count;
    bool json, question;
};

enum err ground_judge_read(struct bytes form, struct ground_judge *out) MUST_CHECK;
void ground_judge_write(struct bytes idf, struct bytes trees, const struct ground_judge *j,
                        struct buf *out);

/* Columns of the stacks. sentence_rows: [count][GROUND_JUDGE_SENTENCE]; sentence: the sentence stack's logits. */
void ground_judge_sentence_rows(const struct ground_judge_input *in, float *sentence_rows);
void ground_judge_response_row(const struct ground_judge_input *in, const float *sentence,
                               float row[GROUND_JUDGE_RESPONSE]);
uint32_t ground_judge_sentence_columns(bool encoder);
uint32_t ground_judge_response_columns(bool encoder);

/* Spans of the response, ascending: runs of tokens, joined over gaps of one; without tokens whole sentences. probability: of each sentence. */
enum err ground_judge_spans(const struct ground_judge *j, const struct ground_judge_input *in,
                            const float *probability, struct arena *a, struct ground_span **out,
                            uint32_t *count) MUST_CHECK;

#endif
