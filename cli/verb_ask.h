/* A verb asks a running server and prints what it answers.
 *
 * Owner: the caller's arena.  Thread: the process' first.  Failure: a sentence on stderr, and 1.
 */
#ifndef CLI_VERB_ASK_H
#define CLI_VERB_ASK_H

#include "base/arena.h"
#include "base/http_client.h"
#include "base/json_in.h"

/* as_is: the answer goes to stdout as it came, and 0 means status 200; else print writes it for people, and says how it went. */
int verb_ask(const struct http_client_request *req, bool as_is,
             int (*print)(const struct json_node *root), struct arena *a);

#endif
