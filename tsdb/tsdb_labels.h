/* Label sets in canonical bytes, and the identity of a series.
 *
 * Canonical form: for each label, sorted by name, names unique, empty values dropped:
 *     varint name length, name, varint value length, value
 * The metric's name is the label "__name__". Two equal label sets have equal bytes.
 * Owner: the bytes' owner (arena, registry, view).  Thread: any.
 * Failure: tsdb_labels_build: ERR_INVALID for a duplicate name with different values, a name or value that is not UTF-8 or is too long,
 *          an empty name; ERR_LIMIT for too many labels.  tsdb_labels_check: ERR_CORRUPT for bytes that are not canonical.
 * Limits: TSDB_LABELS_MAX labels, names TSDB_LABEL_NAME_MAX, values TSDB_LABEL_VALUE_MAX bytes.
 */
#ifndef TSDB_TSDB_LABELS_H
#define TSDB_TSDB_LABELS_H

#include "base/arena.h"
#include "base/hash.h"

#define TSDB_LABELS_MAX 128u
#define TSDB_LABEL_NAME_MAX 1024u
#define TSDB_LABEL_VALUE_MAX 16384u

struct tsdb_labels {
    struct bytes enc;
};

struct tsdb_label {
    struct bytes name, value;
};

/* Sorts in place and writes the canonical form into the arena. */
enum err tsdb_labels_build(struct tsdb_label *labels, size_t n, struct arena *a,
                           struct tsdb_labels *out, struct err_msg *msg) MUST_CHECK;
/* The canonical form of labels that are in order, valid, and of which none is empty: as many bytes as they need go to out. */
struct bytes tsdb_labels_write(const struct tsdb_label *labels, size_t n, uint8_t *out);
enum err tsdb_labels_check(struct bytes enc) MUST_CHECK; /* for bytes from disk */

struct tsdb_labels_iter {
    const uint8_t *at, *end;
};
static inline struct tsdb_labels_iter tsdb_labels_begin(struct tsdb_labels l)
{
    return (struct tsdb_labels_iter){l.enc.data, l.enc.data + l.enc.size};
}
bool tsdb_labels_next(struct tsdb_labels_iter *it, struct tsdb_label *out);
struct bytes tsdb_labels_get(struct tsdb_labels l, struct bytes name); /* empty when absent */
size_t tsdb_labels_count(struct tsdb_labels l);
/* Order of Prometheus: label by label, name then value. */
int tsdb_labels_compare(struct tsdb_labels a, struct tsdb_labels b);
static inline bool tsdb_labels_equal(struct tsdb_labels a, struct tsdb_labels b)
{
    return bytes_equal(a.enc, b.enc);
}

/* XXH3-128 of (org, canonical bytes): the identity that merges a series across parts. */
static inline struct hash128 tsdb_labels_identity(uint32_t org, struct tsdb_labels l)
{
    return hash128(l.enc, org);
}

#endif
