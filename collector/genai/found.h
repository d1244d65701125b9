/* What one pass over a row's resource, attributes and events found, field by field; before any judgement.
 *
 * Owner: caller's stack.  Thread: one at a time.
 * Failure: a value that is not readable as its type is absent and counted (found_bad_values).
 * Limits: FOUND_GAPS_MAX chunk gaps are kept for the median; later ones still count towards the largest.
 * Invariants: 1. Slices point into the row's bytes. 2. For each field the lowest rank wins, then the first sent.
 */
#ifndef COLLECTOR_GENAI_FOUND_H
#define COLLECTOR_GENAI_FOUND_H

#include "collector/genai/attr_names.h"
#include "tsdb/tsdb_attrs.h"

#define FOUND_GAPS_MAX 256u

struct found {
    uint8_t rank[ATTR_FIELD_COUNT]; /* 0 = absent */
    uint8_t type[ATTR_FIELD_COUNT]; /* enum attr_type of the winner */
    uint32_t dialects; /* bit per enum genai_dialect whose own names occurred */
    uint32_t input_bytes, output_bytes; /* of message content */
    bool output_seen, output_visible,
        has_tool_calls; /* content of the answer was sent; some of it is not blank */
    /* from events */
    int64_t first_chunk_ns, first_visible_ns, last_chunk_ns, gap_max_ns; /* 0 = none */
    uint32_t chunks, gaps;
    bool has_exception, has_blocked_choice;
    struct bytes exception_type, exception_text, choice_finish;
    struct tsdb_value value[ATTR_FIELD_COUNT];
    int64_t gap[FOUND_GAPS_MAX];
};

void found_clear(struct found *f);
void found_attrs(struct found *f, enum attr_vocabulary v, struct bytes attrs);
/* Streaming chunks, exceptions, message events. */
void found_events(struct found *f, struct bytes events);

static inline bool found_has(const struct found *f, enum attr_field field)
{
    return f->rank[field] != 0;
}
struct bytes found_text(const struct found *f,
                        enum attr_field field); /* first element of an array */
bool found_i64(const struct found *f, enum attr_field field, int64_t *out);
bool found_bool(const struct found *f, enum attr_field field, bool def);
/* A duration (or time stamp) in ns by the type of the name it came under; money in nano-USD likewise. */
bool found_ns(const struct found *f, enum attr_field field, int64_t *out);
bool found_nanousd(const struct found *f, enum attr_field field, int64_t *out);
/* "key": number in a flat JSON text, without a tree. */
bool found_json_i64(struct bytes json, const char *quoted_key, int64_t *out);
bool found_json_nanousd(struct bytes json, const char *quoted_key, int64_t *out);
struct bytes found_json_text(struct bytes json, const char *quoted_key); /* without escapes */
bool found_json_true(struct bytes json, const char *quoted_key);
/* Median of the kept gaps, 0 when there are none. Reorders them. */
int64_t found_gap_median(struct found *f);

#endif
