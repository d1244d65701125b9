#include "gpu/train_attention.h"

#include <math.h>
#include <string.h>

#include "base/check.h"

/* Places in the scratch: operands of one head over the whole sequence, then what a block of rows needs. */
struct work {
    uint32_t length, columns, size; /* columns: of a row of scores, padded */
    size_t cells, size_cells; /* of the sequence's length, of a head's size */
    size_t ld_columns; /* of a block's columns */
    train_cell *rows[2]; /* q; dout: [length][size_cells] */
    train_cell *by_length[3]; /* panels summed down the sequence: v or q, k, dout */
    train_cell *by_size[2]; /* panels summed along the head: k, v */
    train_cell *p_rows, *p_columns, *ds_columns;
    float *scores, *slopes; /* [TRAIN_ROWS][columns] */
    float *block; /* [TRAIN_ROWS][head, padded] */
};

static void *take(char **at, size_t items)
{
    void *p = *at;
    *at += (items * 4 + 63) / 64 * 64;
    return p;
}

/* Gives the bytes in all. */
static size_t lay_out(const struct train_heads *t, uint32_t length, char *at, struct work *w)
{
    const struct train_set *s = t->set;
    char *from = at;
    *w = (struct work){.length = length, .columns = train_round(length), .size = t->size};
    w->cells = train_cells(s, length);
    w->size_cells = train_cells(s, t->size);
    w->ld_columns = w->columns + 16; /* rows do not all fall into the same lines of the cache */
    for (int i = 0; i < 2; i++)
        w->rows[i] = take(&at, length * w->size_cells);
    for (int i = 0; i < 3; i++)
        w->by_length[i] = take(&at, train_panels(s, length, t->size));
    for (int i = 0; i < 2; i++)
        w->by_size[i] = take(&at, train_panels(s, t->size, length));
    w->p_rows = take(&at, (size_t)TRAIN_ROWS * w->columns / s->group);
    w->p_columns = take(&at, (size_t)TRAIN_ROWS / s->group * w->ld_columns);
    w->ds_columns = take(&at, (size_t)TRAIN_ROWS / s->group * w->ld_columns);
    w->scores = take(&at, (size_t)TRAIN_ROWS * w->columns);
    w->slopes = take(&at, (size_t)TRAIN_ROWS * w->columns);
    w->block = take(&at, (size_t)TRAIN_ROWS * train_round(t->size));
    return (size_t)(at - from);
}

size_t train_attention_bytes(const struct train_heads *t, uint32_t length)
{
    static char nothing[64];
    struct work w;
    return lay_out(t, length, nothing, &w) + 64;
}

/* scores = a block of rows times the panels of by_size. */
static void across(const struct train_heads *t, const struct work *w, const train_cell *rows,
                   uint32_t m, const train_cell *by_size, float *out)
{
    struct train_product p = {.a = rows,
                              .a_ld = w->size_cells,
                              .b = by_size,
                              .b_panel = w->size_cells * t->set->panel,
                              .c = out,
                              .ldc = w->columns,
                              .m = m,
                              .n = w->length,
                              .cells = (uint32_t)w->size_cells};
    t->set->product(&p);
}

static float scale_of(const struct train_heads *t)
{
    return 1.0f / sqrtf((float)t->size);
}

void train_attention(const struct train_heads *t, const float *qkv, size_t ld, uint32_t length,
                     struct train_queries of, float *out, size_t ldo, float *log_sums,
                     void *scratch)
{
    const struct train_set *s = t->set;
    struct work w;
    (void)lay_out(t, length, scratch, &w);
    size_t width = (size_t)t->heads * t->size;
    uint32_t queries = of.to - of.from;
    for (uint32_t h = 0; h < t->heads; h++) {
        const float *q = qkv + (size_t)h * t->size, *k = q + width, *v = k + width;
        s->pack_rows(q + of.from * ld, ld, queries, t->size, w.rows[0], w.size_cells);
        s->pack_panels_t(k, ld, length, t->size, w.by_size[0], w.size_cells * s->panel);
        s->pack_panels(v, ld, length, t->size, w.by_length[0], w.cells * s->panel);
        for (uint32_t r = 0; r < queries; r += TRAIN_ROWS) {
            uint32_t m = MIN(TRAIN_ROWS, queries - r);
            float inverse[TRAIN_ROWS];
            across(t, &w, w.rows[0] + r * w.size_cells, m, w.by_size[0], w.scores);
            s->soften(w.scores, w.columns, m, length, scale_of(t), w.p_rows, w.columns / s->group,
                      inverse, log_sums + (size_t)h * queries + r);
            struct train_product mix = {.a = w.p_rows,
                                        .a_ld = w.columns / s->group,
                                        .b = w.by_length[0],
                                        .b_panel = w.cells * s->panel,
                                        .c = w.block,
                                        .ldc = t->size,
                                        .m = m,
                                        .n = t->size,
                                        .cells = (uint32_t)w.cells};
            s->product(&mix);
            s->scale_rows(w.block, t->size, m, t->size, inverse,
                          out + r * ldo + (size_t)h * t->size, ldo);
        }
    }
}

/* What a block of queries adds: to its own rows of dq, to all rows of dk and dv. first: of the block among all queries. */
static void block_back(const struct train_heads *t, const struct work *w, struct train_queries of,
                       uint32_t first, uint32_t m, const float *log_sum, float *dqkv, size_t ld)
{
    const struct train_set *s = t->set;
    size_t width = (size_t)t->heads * t->size, panel = w->cells * s->panel, row = of.from + first;
    across(t, w, w->rows[0] + first * w->size_cells, m, w->by_size[0], w->scores);
    across(t, w, w->rows[1] + first * w->size_cells, m, w->by_size[1], w->slopes);
    s->soften_back(w->scores, w->slopes, w->columns, m, w->length, scale_of(t), log_sum,
                   w->p_columns, w->ds_columns, w->ld_columns, w->p_rows, w->columns / s->group);
    struct train_product p = {.a = w->p_rows,
                              .a_ld = w->columns / s->group,
                              .b = w->by_length[1],
                              .b_panel = panel,
                              .c = dqkv + row * ld,
                              .ldc = ld,
                              .m = m,
                              .n = t->size,
                              .cells = (uint32_t)w->cells};
    s->product(&p);
    /* Down the rows of this block: their cells lie at first / group of the queries' panels. */
    size_t at = first / s->group * s->panel;
    p.a_is_columns = true;
    p.a_ld = w->ld_columns;
    p.m = w->length;
    p.cells = (uint32_t)train_cells(s, m);
    p.add = first > 0;
    p.a = w->ds_columns, p.b = w->by_length[0] + at, p.c = dqkv + width;
    s->product(&p);
    p.a = w->p_columns, p.b = w->by_length[2] + at, p.c = dqkv + 2 * width;
    s->product(&p);
}

/* Rows of q that were not asked for; all of it where none was. */
static void clear_others(float *dqkv, size_t ld, uint32_t length, size_t width,
                         struct train_queries of)
{
    for (uint32_t r = 0; r < length; r++)
        if (of.from == of.to)
            memset(dqkv + r * ld, 0, 3 * width * sizeof(float));
        else if (r < of.from || r >= of.to)
            memset(dqkv + r * ld, 0, width * sizeof(float));
}

void train_attention_back(const struct train_heads *t, const float *qkv, size_t ld, uint32_t length,
                          struct train_queries of, const float *dout, size_t ldo,
                          const float *log_sums, float *dqkv, void *scratch)
{
    const struct train_set *s = t->set;
    struct work w;
    (void)lay_out(t, length, scratch, &w);
    size_t width = (size_t)t->heads * t->size, panel = w.cells * s->panel,
           panel_t = w.size_cells * s->panel;
    uint32_t queries = of.to - of.from;
    clear_others(dqkv, ld, length, width, of);
    for (uint32_t h = 0; h < t->heads && queries; h++) {
        const float *q = qkv + (size_t)h * t->size, *k = q + width, *v = k + width,
                    *d = dout + (size_t)h * t->size;
        s->pack_rows(q + of.from * ld, ld, queries, t->size, w.rows[0], w.size_cells);
        s->pack_rows(d, ldo, queries, t->size, w.rows[1], w.size_cells);
        s->pack_panels_t(k, ld, length, t->size, w.by_size[0], panel_t);
        s->pack_panels_t(v, ld, length, t->size, w.by_size[1], panel_t);
        s->pack_panels(q + of.from * ld, ld, queries, t->size, w.by_length[0], panel);
        s->pack_panels(k, ld, length, t->size, w.by_length[1], panel);
        s->pack_panels(d, ldo, queries, t->size, w.by_length[2], panel);
        for (uint32_t r = 0; r < queries; r += TRAIN_ROWS)
            block_back(t, &w, of, r, MIN(TRAIN_ROWS, queries - r),
                       log_sums + (size_t)h * queries + r, dqkv + (size_t)h * t->size, ld);
    }
}
