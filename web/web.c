#include "web/web.h"

#include <stdlib.h>

struct web {
    struct web_opts opts;
};

struct web *web_new(const struct web_opts *o)
{
    struct web *w = calloc(1, sizeof *w);
    if (w)
        w->opts = *o;
    return w;
}

enum err web_routes(struct web *w, struct net *net)
{
    return ERR_OK;
}

void web_set_ready(struct web *w, bool ready)
{
}

void web_stop(struct web *w)
{
}

void web_free(struct web *w)
{
    free(w);
}
