/* What a query did: its expression as a tree, with what each node read, gave, and took.
 *
 *   struct query_explain x = {.arena = a}; limits.explain = &x; query_range(...); x.nodes[0 .. x.count) is the tree in preorder
 *
 * Several runs of one text (the pieces of a range of which the rest was kept, query_cache.h) add up.
 * Owner: caller; texts live in its arena.  Thread: the query's.
 * Failure: what finds no memory is left out, and is_cut says so.  Limits: QUERY_EXPLAIN_MAX nodes.
 */
#ifndef QUERY_QUERY_EXPLAIN_H
#define QUERY_QUERY_EXPLAIN_H

#include "query/query.h"

#define QUERY_EXPLAIN_MAX 256u

struct query_explain_node {
    const char *
        kind; /* "selector", "range", "subquery", "call", "aggregation", "binary", "unary", "number", "string" */
    struct bytes expr; /* as it is printed */
    unsigned depth; /* of the tree; 0: the whole expression */
    const struct bytes *matchers; /* of a selector, as they are printed */
    uint32_t matcher_count;
    unsigned runs; /* how often it was evaluated */
    uint64_t series, samples, blocks; /* of a selector: chosen, read, opened */
    int64_t min_ms, max_ms; /* of a selector: times it looked at; min above max: none */
    uint64_t rows; /* that it gave */
    int64_t self_ns; /* of the query's thread in the node, those below it not counted */
};

struct query_explain {
    struct arena *arena;
    struct query_explain_node *nodes; /* NULL until there is a plan */
    uint32_t count;
    bool is_cut; /* the expression has more nodes */
    uint32_t now, above; /* the node at work and the one it gives rows to; + 1, 0: none */
    int64_t since_ns;
};

/* The tree alone, where nothing was evaluated. */
enum err query_explain_plan(struct bytes text, struct query_explain *x,
                            struct err_msg *msg) MUST_CHECK;

#endif
