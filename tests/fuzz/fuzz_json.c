/* Any bytes: the tree is built or refused; what is built can be written again and gives the same tree. */
#include "base/check.h"
#include "base/json_in.h"
#include "base/json_out.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_node(struct json_out *j, const struct json_node *n)
{
    switch (n->type) {
    case JSON_NULL: json_out_null(j); break;
    case JSON_BOOL: json_out_bool(j, n->boolean); break;
    case JSON_NUMBER: json_out_raw(j, n->text); break;
    case JSON_STRING: json_out_bytes(j, n->text); break;
    case JSON_ARRAY:
    case JSON_OBJECT:
        (n->type == JSON_ARRAY ? json_out_array : json_out_object)(j);
        for (const struct json_node *c = n->child; c; c = c->next) {
            if (n->type == JSON_OBJECT)
                json_out_key_bytes(j, c->key);
            write_node(j, c);
        }
        (n->type == JSON_ARRAY ? json_out_array_end : json_out_object_end)(j);
        break;
    }
}

static bool equal(const struct json_node *a, const struct json_node *b)
{
    if (!a || !b)
        return a == b;
    return a->type == b->type && a->boolean == b->boolean && bytes_equal(a->text, b->text) &&
           bytes_equal(a->key, b->key) && equal(a->child, b->child) && equal(a->next, b->next);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *a = arena_new(16u << 20);
    struct json_node *tree, *again;
    struct err_msg msg;
    if (a && size < 4096 && json_in_tree(bytes_of(data, size), 64, a, &tree, &msg) == ERR_OK) {
        struct buf b;
        buf_init(&b, 0);
        struct json_out j = json_out_to(&b);
        write_node(&j, tree);
        CHECK(json_in_tree(buf_bytes(&b), 64, a, &again, &msg) == ERR_OK);
        CHECK(equal(tree, again));
        buf_done(&b);
    }
    arena_free(a);
    return 0;
}
