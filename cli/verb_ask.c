#include "cli/verb_ask.h"

#include <stdio.h>

int verb_ask(const struct http_client_request *req, bool as_is,
             int (*print)(const struct json_node *root), struct arena *a)
{
    struct http_client *c = http_client_new();
    struct http_client_response answer;
    struct json_node *root;
    struct err_msg msg = {""};
    int rc = 1;
    if (!c) {
        fprintf(stderr, "telltale: out of memory\n");
    } else if (http_client_send(c, req, &answer, &msg) != ERR_OK) {
        fprintf(stderr, "telltale: %s (is `telltale serve` running there?)\n", msg.text);
    } else {
        if (as_is) {
            fwrite(answer.body.data, 1, answer.body.size, stdout);
            rc = answer.status == 200 ? 0 : 1;
        } else if (json_in_tree(buf_bytes(&answer.body), 64, a, &root, &msg) == ERR_OK) {
            rc = print(root);
        } else {
            fprintf(stderr, "telltale: %s answered %d and no JSON: %s\n", req->url, answer.status,
                    msg.text);
        }
        buf_done(&answer.body);
    }
    http_client_free(c);
    return rc;
}
