/* The labels in memory and in the state store.
 *
 * Owner: detectors_grounding.  Thread: any, under the owner's lock.
 * Failure: decode: false for bytes that are none of ours (counted at load, and left).
 * Limits: GROUNDING_LABELS_MAX; names are cut at LABELS_NAME_MAX - 1 bytes.
 * Invariant: the table holds what memory holds: memory changes after the commit.
 */
#ifndef DETECTORS_GROUNDING_LABELS_H
#define DETECTORS_GROUNDING_LABELS_H

#include "detectors/detectors_grounding.h"

#define LABELS_NAME_MAX 96u
#define LABELS_KEY_BYTES 28u /* org, trace, span */

struct grounding_labelled {
    uint32_t org;
    struct tsdb_id16 trace_id;
    struct tsdb_id8 span_id;
    enum grounding_label label;
    int64_t at_ms;
    bool is_judged, is_flagged;
    double probability, logit, inclusion;
    char service[LABELS_NAME_MAX], model[LABELS_NAME_MAX], prompt[LABELS_NAME_MAX],
        version[LABELS_NAME_MAX], annotator[LABELS_NAME_MAX];
};

struct grounding_labels {
    struct grounding_labelled *list;
    uint32_t count, cap;
    uint32_t *slots; /* index + 1 by key; a power of two, at most half filled */
    uint32_t slot_count;
};

void grounding_labels_encode(const struct grounding_labelled *l, struct buf *out);
bool grounding_labels_decode(struct bytes key, struct bytes value, struct grounding_labelled *out);
void grounding_labels_key(const struct grounding_labelled *l, uint8_t out[LABELS_KEY_BYTES]);
enum err grounding_labels_load(struct grounding_labels *t, struct tsdb *db) MUST_CHECK;
void grounding_labels_done(struct grounding_labels *t);
struct grounding_labelled *grounding_labels_find(const struct grounding_labels *t, uint32_t org,
                                                 struct tsdb_id16 trace, struct tsdb_id8 span);
/* Durable when it returns ERR_OK. */
enum err grounding_labels_put(struct grounding_labels *t, struct tsdb *db,
                              const struct grounding_labelled *l) MUST_CHECK;
void grounding_labels_name(char out[LABELS_NAME_MAX], struct bytes name);

#endif
