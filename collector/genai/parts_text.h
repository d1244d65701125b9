/* Messages and documents out of whatever shape an emitter gave them: JSON of many forms, or a prompt as plain text.
 *
 * Owner: caller; texts live in its arena.  Thread: one at a time.
 * Failure: parts_text.failed when the arena is full. Text that is not JSON is text; JSON of no known shape gives nothing.
 * Limits: PARTS_TEXT_DEPTH nested values of JSON; GENAI_PARTS_DOCUMENTS_MAX documents, PARTS_TEXT_MESSAGES_MAX messages: later ones are left out.
 * Invariant: a document was marked as one by its sender: a plain prompt is none.
 */
#ifndef COLLECTOR_GENAI_PARTS_TEXT_H
#define COLLECTOR_GENAI_PARTS_TEXT_H

#include "base/json_in.h"
#include "collector/genai/genai_parts.h"

#define PARTS_TEXT_DEPTH 24u
#define PARTS_TEXT_MESSAGES_MAX 512u

enum parts_role { PARTS_USER, PARTS_SYSTEM, PARTS_ASSISTANT, PARTS_TOOL };
struct parts_message {
    enum parts_role role;
    struct bytes text;
};
struct parts_text {
    struct arena *arena;
    struct bytes *documents;
    struct parts_message *messages;
    uint32_t document_count, message_count;
    bool failed, cut;
};

void parts_text_document(struct parts_text *p, struct bytes text);
void parts_text_message(struct parts_text *p, enum parts_role role, struct bytes text);
enum parts_role parts_text_role(struct bytes name, enum parts_role otherwise);
/* NULL when the text is no JSON object or array. */
const struct json_node *parts_text_json(struct parts_text *p, struct bytes text);
/* What was given to a model: a string, a message, a list of them, or an object that has them; documents that it names are taken. */
void parts_text_input(struct parts_text *p, enum parts_role role, struct bytes text);
void parts_text_input_node(struct parts_text *p, enum parts_role role, const struct json_node *n);
/* The text of an answer: of several samples the first, without reasoning and tool calls. */
struct bytes parts_text_answer(struct parts_text *p, struct bytes text);
struct bytes parts_text_answer_node(struct parts_text *p, const struct json_node *n);
/* What a retriever or tool gave back: each element of a list, the text of an object, or the value whole. */
void parts_text_result(struct parts_text *p, struct bytes text);
void parts_text_result_node(struct parts_text *p, const struct json_node *n);
/* Takes what a prompt marks as context out of it, by tags (<context>...) and by lines that end in a colon ("Passages:", "Question:"); gives the rest. */
struct bytes parts_text_split(struct parts_text *p, struct bytes prompt);

#endif
