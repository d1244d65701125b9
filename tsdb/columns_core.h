/* Inside of columns*.c: how columns are reached and written. See columns.h. */
#ifndef TSDB_COLUMNS_CORE_H
#define TSDB_COLUMNS_CORE_H

#include "tsdb/columns.h"
#include "tsdb/trees.h"

/* How a column is written; what it is a column of says the rest. */
enum columns_encoding {
    COLUMNS_VECTOR, /* integers, doubles, strings; ids as strings of their size */
    COLUMNS_TREE,
    COLUMNS_PARENTS, /* parent ids: which row has the span, else the id */
    COLUMNS_TIMES, /* start and end together, seen from the parent */
    COLUMNS_WITH_START /* end: lies in COLUMNS_TIMES */
};
#define COLUMNS_END 0xffu
#define COLUMNS_NO_ROW UINT32_MAX

/* Parent references: 0 no parent, 1 an id that no row has, else 2 + zigzag(row - row of the parent). */
#define COLUMNS_PARENT_NONE 0
#define COLUMNS_PARENT_RAW 1
#define COLUMNS_PARENT_ROW 2

/* Modes of COLUMNS_TIMES, one for each name. */
#define COLUMNS_FROM_SIBLING \
    1u /* start: from the end of the sibling before, else from the parent's start */
#define COLUMNS_FROM_END 2u /* end: from the parent's end, else from the own start */
#define COLUMNS_MODES 4u

/* What the next row's times are told from. Rows before i have been seen. */
struct columns_times {
    int64_t *start, *end,
        *sibling; /* sibling: of each row the end of its newest child, at first its own start */
};
static inline int64_t columns_start_base(const struct columns_times *t, uint32_t i, uint32_t parent,
                                         uint8_t mode)
{
    if (parent < i)
        return mode & COLUMNS_FROM_SIBLING ? t->sibling[parent] : t->start[parent];
    return i ? t->start[i - 1] : 0;
}
static inline int64_t columns_end_base(const struct columns_times *t, uint32_t i, uint32_t parent,
                                       uint8_t mode)
{
    return parent < i && (mode & COLUMNS_FROM_END) ? t->end[parent] : t->start[i];
}
static inline void columns_times_seen(struct columns_times *t, uint32_t i, uint32_t parent)
{
    t->sibling[i] = t->start[i];
    if (parent < i)
        t->sibling[parent] = t->end[i];
}

static inline uint8_t *columns_get(const void *table, const struct tsdb_column *c)
{
    uint8_t *p;
    memcpy(&p, (const uint8_t *)table + c->offset, sizeof(p));
    return p;
}
static inline void columns_set(void *table, const struct tsdb_column *c, const void *p)
{
    memcpy((uint8_t *)table + c->offset, &p, sizeof(p));
}
static inline bool columns_is_integer(const struct tsdb_column *c)
{
    return c->type == TSDB_U8 || c->type == TSDB_U32 || c->type == TSDB_I64;
}
static inline int64_t columns_integer_at(const struct tsdb_column *c, const uint8_t *p,
                                         uint32_t row)
{
    if (c->type == TSDB_U8)
        return p[row];
    if (c->type == TSDB_U32)
        return ((const uint32_t *)(const void *)p)[row];
    return ((const int64_t *)(const void *)p)[row];
}
enum trees_kind columns_tree_of(const struct tsdb_schema *schema, uint32_t number);

#endif
