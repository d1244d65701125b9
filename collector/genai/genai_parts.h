/* From a span to what a grounding check needs: the documents that an answer was made from, the question, and the answer.
 *
 *   rows of one span (itself, its log records) --genai_parts_read--> documents, question, response
 *
 * The matrix dialect x {documents, question, response} is docs/grounding.md; each cell has a case in tests/fixtures/genai/parts.json.
 * Owner: texts point into the rows or the caller's arena.  Thread: any.
 * Failure: ERR_LIMIT when the arena is full. Malformed attributes and JSON are what they look like: text, or nothing.
 * Limits: GENAI_PARTS_DOCUMENTS_MAX documents; what is past it is left out and out->cut says so.
 * Invariants: 1. No document is made up: a prompt is context only where it says so. 2. The result is a function of the rows, in their order.
 */
#ifndef COLLECTOR_GENAI_GENAI_PARTS_H
#define COLLECTOR_GENAI_GENAI_PARTS_H

#include "tsdb/tsdb_batch.h"

#define GENAI_PARTS_DOCUMENTS_MAX 256u
#define GENAI_PARTS_ROWS_MAX 64u

struct genai_parts_row {
    struct bytes attrs, events; /* of a span; events empty for a log record */
    struct bytes event_name, body; /* of a log record */
};

struct genai_parts {
    const struct bytes *documents;
    uint32_t document_count;
    struct bytes question, response; /* empty: not there */
    bool is_source; /* the span fetched documents (retriever, reranker, tool); it answers nothing */
    bool cut;
};

enum err genai_parts_read(const struct genai_parts_row *rows, size_t count, struct arena *a,
                          struct genai_parts *out) MUST_CHECK;
/* Does the span fetch documents? By its names alone: cheap enough for every row. */
bool genai_parts_is_source(struct bytes attrs, struct bytes events);
/* Is it a log record with a part of a conversation? */
bool genai_parts_is_record(struct bytes event_name);

/* Is what stands under this name of an attribute (of an event or log record) said to a model, or by one? */
enum genai_parts_zone { GENAI_PARTS_ELSEWHERE, GENAI_PARTS_CONTENT, GENAI_PARTS_OUTPUT };
enum genai_parts_zone genai_parts_zone_of(struct bytes key);
enum genai_parts_zone genai_parts_zone_of_record(struct bytes event_name);

#endif
