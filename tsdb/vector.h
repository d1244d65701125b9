/* Vectors: one column of values, integers, doubles or strings, as few bytes as its shape allows. Formats: docs/format/columns.md.
 *
 * A vector has m values; value i belongs to row rows[i] of the table (rows NULL: to row i). Vectors of few distinct values serve others as
 * sources: what is a function of one of them (the provider of the model, the kind of the name) is written as that function.
 * Owner: caller.  Thread: one coder at a time.
 * Failure: put: out->failed. get: ERR_CORRUPT for anything else than these bytes, ERR_LIMIT past the arena.
 * Limits: VECTOR_BYTES_MAX of one vector unpacked, VECTOR_CARD_MAX distinct values of a source.
 * Invariants: 1. get(put(v)) is v, bit for bit. 2. Encoding is deterministic.
 */
#ifndef TSDB_VECTOR_H
#define TSDB_VECTOR_H

#include "base/arena.h"
#include "base/buf.h"

#define VECTOR_BYTES_MAX (256u << 20)
#define VECTOR_CARD_MAX 4096u
#define VECTOR_TRY_MAX 8u

/* How much work bytes are worth. A journal lives for minutes and is written while senders wait; a block is kept and read for as long as the
 * retention says; what compaction writes is not written again. */
struct columns_zip {
    int level; /* of zstd */
    uint32_t bytes_min; /* smaller pieces are not packed */
    bool is_quick; /* few relations between vectors looked for, nothing but texts packed */
};

/* For each row of the table the number of its value among the distinct ones, in order of appearance from 1; 0 where it has none. */
struct vector_source {
    const uint32_t *ids;
    uint32_t card; /* ids are below it */
};

struct vector_coder {
    struct arena *a; /* put: scratch; get: keeps the values */
    const struct columns_zip *zip; /* put */
    struct buf bytes, packed; /* put: scratch */
    uint32_t row_count; /* of the table */
    struct {
        uint32_t number;
        struct vector_source source;
    } tries[VECTOR_TRY_MAX]; /* put: sources that others may be functions of */
    uint32_t try_count;
    unsigned depth; /* of templates (templates.h) within templates */
    bool was_function; /* put: the last vector was written as a function of a source */
    struct arena *sources; /* put: keeps what `made` has; NULL: nothing is made */
    struct vector_source
        made; /* put: the last strings, numbered on the way; ids NULL: they are not */
    /* get: the places of the last strings in their dictionary; NULL: they were no dictionary */
    const int64_t *dictionary;
    const uint8_t *wanted; /* get: the rows whose lines and trees are put together; NULL: all */
    /* get: the source of that number; NULL: there is none */
    const struct vector_source *(*source)(void *ctx, uint32_t number);
    void *source_ctx;
};
void vector_coder_done(struct vector_coder *c);

/* Bytes, packed when that pays. */
void vector_put_blob(struct vector_coder *c, struct bytes b, struct buf *out);
enum err vector_get_blob(struct vector_coder *c, struct reader *r, struct bytes *out) MUST_CHECK;

void vector_put_ints(struct vector_coder *c, const int64_t *v, uint32_t m, const uint32_t *rows,
                     struct buf *out);
enum err vector_get_ints(struct vector_coder *c, struct reader *r, uint32_t m, const uint32_t *rows,
                         int64_t **out) MUST_CHECK;
void vector_put_doubles(struct vector_coder *c, const double *v, uint32_t m, const uint32_t *rows,
                        struct buf *out);
enum err vector_get_doubles(struct vector_coder *c, struct reader *r, uint32_t m,
                            const uint32_t *rows, double **out) MUST_CHECK;
void vector_put_strings(struct vector_coder *c, const struct bytes *v, uint32_t m,
                        const uint32_t *rows, struct buf *out);
/* Strings of rows 0..m-1 whose distinct values are numbered already. */
void vector_put_repeated(struct vector_coder *c, const struct bytes *v, uint32_t m,
                         const struct vector_source *s, struct buf *out);
enum err vector_get_strings(struct vector_coder *c, struct reader *r, uint32_t m,
                            const uint32_t *rows, struct bytes **out) MUST_CHECK;
/* Strings that all have `size` bytes, side by side; they may lie in the reader's bytes. */
enum err vector_get_ids(struct vector_coder *c, struct reader *r, uint32_t m, size_t size,
                        const uint8_t **out) MUST_CHECK;

/* Numbers the distinct values; false when there are more than VECTOR_CARD_MAX or memory is short. */
bool vector_source_of_strings(struct arena *a, const struct bytes *v, uint32_t m,
                              const uint32_t *rows, uint32_t row_count, struct vector_source *out);
/* The same of strings of a dictionary, from their places in it. False also where these do not come in order of appearance. */
bool vector_source_of_dictionary(struct arena *a, const int64_t *places, uint32_t m,
                                 const uint32_t *rows, uint32_t row_count,
                                 struct vector_source *out);
bool vector_source_of_ints(struct arena *a, const int64_t *v, uint32_t m, const uint32_t *rows,
                           uint32_t row_count, struct vector_source *out);
/* put: the vectors to come may be functions of s (as long as there is room, and if it has more than one value). */
void vector_offer(struct vector_coder *c, uint32_t number, struct vector_source s);

#endif
