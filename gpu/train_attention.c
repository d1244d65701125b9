#include "gpu/train_attention.h"

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

void train_attention(const struct train_heads *t, const float *qkv, size_t ld, uint32_t length,
                     float *out, size_t ldo, float *log_sums, void *scratch)
{
    const struct train_set *s = t->set;
    struct work w;
    (void)lay_out(t, length, scratch, &w);
    size_t width = (size_t)t->heads * t->size;
    for (uint32_t h = 0; h < t->heads; h++) {
        const float *q = qkv + (size_t)h * t->size, *k = q + width, *v = k + width;
        s->pack_rows(q, ld, length, t->size, w.rows[0], w.size_cells);
        s->pack_panels_t(k, ld, length, t->size, w.by_size[0], w.size_cells * s->panel);
        s->pack_panels(v, ld, length, t->size, w.by_length[0], w.cells * s->panel);
        for (uint32_t r = 0; r < length; r += TRAIN_ROWS) {
            uint32_t m = MIN(TRAIN_ROWS, length - r);
            float inverse[TRAIN_ROWS];
            across(t, &w, w.rows[0] + r * w.size_cells, m, w.by_size[0], w.scores);
            s->soften(w.scores, w.columns, m, length, w.p_rows, w.columns / s->group, inverse,
                      log_sums + (size_t)h * length + r);
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
            for (uint32_t i = 0; i < m; i++) {
                float *to = out + (r + i) * ldo + (size_t)h * t->size;
                for (uint32_t d = 0; d < t->size; d++)
                    to[d] = w.block[i * t->size + d] * inverse[i];
            }
        }
    }
}

/* What one block of rows adds: to its own rows of dq, to all rows of dk and dv. */
static void block_back(const struct train_heads *t, const struct work *w, uint32_t r, uint32_t m,
                       const float *log_sum, float *dq, size_t ld)
{
    const struct train_set *s = t->set;
    size_t width = (size_t)t->heads * t->size, panel = w->cells * s->panel;
    across(t, w, w->rows[0] + r * w->size_cells, m, w->by_size[0], w->scores);
    across(t, w, w->rows[1] + r * w->size_cells, m, w->by_size[1], w->slopes);
    s->soften_back(w->scores, w->slopes, w->columns, m, w->length, log_sum, w->p_columns,
                   w->ds_columns, w->ld_columns, w->p_rows, w->columns / s->group);
    struct train_product p = {.a = w->p_rows,
                              .a_ld = w->columns / s->group,
                              .b = w->by_length[1],
                              .b_panel = panel,
                              .c = dq + r * ld,
                              .ldc = ld,
                              .m = m,
                              .n = t->size,
                              .cells = (uint32_t)w->cells};
    s->product(&p);
    /* Down the rows of this block: their cells lie at r / group of the sequence's panels. */
    size_t from = r / s->group * s->panel;
    p.a_is_columns = true;
    p.a_ld = w->ld_columns;
    p.m = w->length;
    p.cells = (uint32_t)train_cells(s, m);
    p.add = r > 0;
    p.a = w->ds_columns, p.b = w->by_length[0] + from, p.c = dq + width;
    s->product(&p);
    p.a = w->p_columns, p.b = w->by_length[2] + from, p.c = dq + 2 * width;
    s->product(&p);
}

void train_attention_back(const struct train_heads *t, const float *qkv, size_t ld, uint32_t length,
                          const float *dout, size_t ldo, const float *log_sums, float *dqkv,
                          void *scratch)
{
    const struct train_set *s = t->set;
    struct work w;
    (void)lay_out(t, length, scratch, &w);
    size_t width = (size_t)t->heads * t->size, panel = w.cells * s->panel,
           panel_t = w.size_cells * s->panel;
    for (uint32_t h = 0; h < t->heads; h++) {
        const float *q = qkv + (size_t)h * t->size, *k = q + width, *v = k + width,
                    *d = dout + (size_t)h * t->size;
        s->pack_rows(q, ld, length, t->size, w.rows[0], w.size_cells);
        s->pack_rows(d, ldo, length, t->size, w.rows[1], w.size_cells);
        s->pack_panels_t(k, ld, length, t->size, w.by_size[0], panel_t);
        s->pack_panels_t(v, ld, length, t->size, w.by_size[1], panel_t);
        s->pack_panels(q, ld, length, t->size, w.by_length[0], panel);
        s->pack_panels(k, ld, length, t->size, w.by_length[1], panel);
        s->pack_panels(d, ldo, length, t->size, w.by_length[2], panel);
        for (uint32_t r = 0; r < length; r += TRAIN_ROWS)
            block_back(t, &w, r, MIN(TRAIN_ROWS, length - r), log_sums + (size_t)h * length + r,
                       dqkv + (size_t)h * t->size, ld);
    }
}
