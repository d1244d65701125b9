/* The table of routes: added before start, read by every loop without a lock afterwards. */
#include "base/buf.h"
#include "base/check.h"
#include "collector/net/net_core.h"
#include <stdio.h>
#include <stdlib.h>

enum { SEGMENTS_MAX = 32 };
enum rank { RANK_REST, RANK_ONE, RANK_TEXT };

struct ranks {
    uint8_t at[SEGMENTS_MAX];
    unsigned count;
};

static size_t segment_end(struct bytes s, size_t from)
{
    while (from < s.size && s.data[from] != '/')
        from++;
    return from;
}

/* Segment by segment; fills the raw parameters and how specific each segment was. */
static bool pattern_matches(const struct net_route_entry *e, struct bytes path,
                            struct bytes params[NET_PARAMS_MAX], struct ranks *ranks)
{
    struct bytes pattern = bytes_of(e->route.pattern, e->pattern_size);
    size_t p = 0, s = 0;
    unsigned param = 0;

    ranks->count = 0;
    for (;;) {
        size_t p_end = segment_end(pattern, p), s_end = segment_end(path, s);
        struct bytes want = bytes_slice(pattern, p, p_end), have = bytes_slice(path, s, s_end);
        uint8_t rank = RANK_TEXT;
        if (e->rest && p_end == pattern.size && bytes_equal_str(want, "*")) {
            params[param] = bytes_slice(path, s, path.size);
            ranks->at[ranks->count++] = RANK_REST;
            return true;
        }
        if (bytes_equal_str(want, "{}")) {
            if (have.size == 0)
                return false;
            params[param++] = have;
            rank = RANK_ONE;
        } else if (!bytes_equal(want, have)) {
            return false;
        }
        ranks->at[ranks->count++] = rank;
        if (p_end == pattern.size || s_end == path.size)
            return p_end == pattern.size && s_end == path.size;
        p = p_end + 1;
        s = s_end + 1;
    }
}

static bool ranks_beat(const struct ranks *a, const struct ranks *b)
{
    for (unsigned i = 0; i < a->count && i < b->count; i++)
        if (a->at[i] != b->at[i])
            return a->at[i] > b->at[i];
    return false;
}

static bool method_fits(const char *route_method, struct bytes method)
{
    return strcmp(route_method, "*") == 0 || bytes_equal_str(method, route_method) ||
           (strcmp(route_method, "GET") == 0 && bytes_equal_str(method, "HEAD"));
}

static void allow_add(char *allow, size_t size, const char *method)
{
    size_t used = strlen(allow);
    if (strstr(allow, method) || used + strlen(method) + 3 > size)
        return;
    snprintf(allow + used, size - used, "%s%s", used ? ", " : "", method);
}

enum net_route_result net_route_find(const struct net *net, enum net_door door, struct bytes method,
                                     struct bytes path, struct net_route_match *out)
{
    struct ranks best = {.count = 0};

    memset(out, 0, sizeof(*out));
    for (unsigned i = 0; i < net->route_count; i++) {
        const struct net_route_entry *e = &net->routes[i];
        struct bytes params[NET_PARAMS_MAX] = {{0}};
        struct ranks ranks;
        if (!(e->route.doors & NET_DOOR_MASK(door)) || !pattern_matches(e, path, params, &ranks))
            continue;
        if (!method_fits(e->route.method, method)) {
            allow_add(out->allow, sizeof(out->allow), e->route.method);
            continue;
        }
        if (out->entry && !ranks_beat(&ranks, &best))
            continue;
        out->entry = e;
        memcpy(out->params, params, sizeof(params));
        best = ranks;
    }
    if (out->entry)
        return NET_ROUTE_FOUND;
    return out->allow[0] ? NET_ROUTE_WRONG_METHOD : NET_ROUTE_NONE;
}

static bool pattern_is_good(const char *pattern, struct net_route_entry *e)
{
    unsigned segments = 1;

    if (pattern[0] != '/')
        return false;
    e->pattern_size = strlen(pattern);
    for (const char *p = pattern; *p; p++) {
        segments += *p == '/';
        e->params += p[0] == '{' && p[1] == '}';
    }
    e->rest = e->pattern_size >= 2 && strcmp(pattern + e->pattern_size - 2, "/*") == 0;
    e->params += e->rest;
    return e->params <= NET_PARAMS_MAX && segments <= SEGMENTS_MAX;
}

enum err net_route(struct net *net, const struct net_route *route)
{
    struct net_route_entry entry = {.route = *route}, *grown;

    CHECK(!net->started);
    CHECK(route->handler && route->method && route->pattern);
    if (net->route_count == NET_ROUTES_MAX)
        return ERR_LIMIT;
    if (!pattern_is_good(route->pattern, &entry))
        return ERR_INVALID;
    grown = realloc(net->routes, sizeof(*grown) * (net->route_count + 1));
    if (!grown)
        return ERR_NOMEM;
    net->routes = grown;
    entry.route.method = strdup(route->method);
    entry.route.pattern = strdup(route->pattern);
    if (!entry.route.method || !entry.route.pattern) {
        free((void *)entry.route.method);
        free((void *)entry.route.pattern);
        return ERR_NOMEM;
    }
    if (entry.route.body_max == 0)
        entry.route.body_max = NET_BODY_MAX_DEFAULT;
    net->routes[net->route_count++] = entry;
    return ERR_OK;
}

void net_route_free_all(struct net *net)
{
    for (unsigned i = 0; i < net->route_count; i++) {
        free((void *)net->routes[i].route.method);
        free((void *)net->routes[i].route.pattern);
    }
    free(net->routes);
    net->routes = NULL;
    net->route_count = 0;
}
