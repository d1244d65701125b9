#include "collector/collector.h"

#include <stdlib.h>

struct collector {
    struct collector_options options;
};

enum err collector_new(const struct collector_options *o, struct collector **out,
                       struct err_msg *msg)
{
    struct collector *c = calloc(1, sizeof(*c));
    if (!c)
        return err_set(msg, ERR_NOMEM, "no memory for the collector");
    c->options = *o;
    *out = c;
    return ERR_OK;
}

void collector_free(struct collector *c)
{
    free(c);
}

enum err collector_routes(struct collector *c, struct net *net)
{
    return ERR_UNIMPLEMENTED;
}
