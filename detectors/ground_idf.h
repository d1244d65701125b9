/* How telling a word is: its inverse document frequency over the texts that the model was made from.
 *
 * Owner: ground_idf_new / ground_idf_free; a table that was read points into the caller's bytes.  Thread: any, once finished.
 * Failure: ERR_CORRUPT for bytes that are no table; ERR_NOMEM.
 * Limits: GROUND_IDF_WORDS_MAX words; what is not in the table is as rare as can be.
 * Form: little-endian u32 version, u32 count, f32 rarest; count × u32 hash ascending; count × u8: idf = rarest × value / 255.
 */
#ifndef DETECTORS_GROUND_IDF_H
#define DETECTORS_GROUND_IDF_H

#include "base/buf.h"
#include "detectors/ground_word.h"

#define GROUND_IDF_WORDS_MAX (1u << 16)

struct ground_idf {
    const uint8_t *hashes, *values; /* not aligned */
    uint32_t count;
    float rarest;
};

enum err ground_idf_read(struct bytes table, struct ground_idf *out) MUST_CHECK;
float ground_idf_of(const struct ground_idf *t, uint32_t hash);

/* Counting: each text once, then the table of the words that at least least_texts had, the most frequent first where there are too many. */
struct ground_idf_counter;
struct ground_idf_counter *ground_idf_counter_new(void); /* NULL: no memory */
void ground_idf_counter_free(struct ground_idf_counter *c);
enum err ground_idf_counter_add(struct ground_idf_counter *c,
                                const struct ground_words *text) MUST_CHECK;
void ground_idf_counter_write(struct ground_idf_counter *c, uint32_t least_texts,
                              uint32_t words_max, struct buf *out);

#endif
