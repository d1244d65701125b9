#include "detectors/catalogue.h"

#include "base/check.h"
#include "base/yaml_in.h"

static const char *const routes[] = {"page",  "ticket",   "infrastructure",
                                     "model", "security", "legal"};
_Static_assert(ARRAY_LEN(routes) == DETECTORS_ROUTES_MAX, "a place for each");

struct reading {
    const char *path;
    struct buf *errors;
    const struct detectors_receiver *receivers;
    size_t receiver_count;
    bool failed;
};

static void mistake(struct reading *r, unsigned line, const char *key, const char *why)
{
    buf_printf(r->errors, "%s:%u: services: %s: %s\n", r->path, line, key, why);
    r->failed = true;
}

static bool is_receiver(const struct reading *r, struct bytes name)
{
    for (size_t i = 0; i < r->receiver_count; i++)
        if (bytes_equal_str(name, r->receivers[i].name))
            return true;
    return false;
}

static void read_names(struct reading *r, const struct yaml_node *n, struct detectors_route *out)
{
    const struct yaml_node *c = n->type == YAML_LIST ? n->child : n;
    for (; c; c = n->type == YAML_LIST ? c->next : NULL) {
        if (c->type != YAML_SCALAR || !is_receiver(r, c->text))
            mistake(r, c->line, "receivers", "there is no receiver of this name");
        else if (out->receiver_count == DETECTORS_RECEIVERS_MAX)
            mistake(r, c->line, "receivers", "at most 32 names");
        else
            out->receivers[out->receiver_count++] = c->text;
    }
}

static void read_routes(struct reading *r, const struct yaml_node *map,
                        struct detectors_service *out)
{
    if (map->type != YAML_MAP)
        mistake(r, map->line, "receivers",
                "must be a map of page, ticket or a kind to names of receivers");
    for (const struct yaml_node *n = map->type == YAML_MAP ? map->child : NULL; n; n = n->next) {
        bool known = false;
        for (size_t i = 0; i < ARRAY_LEN(routes); i++)
            known = known || bytes_equal_str(n->key, routes[i]);
        if (!known) {
            mistake(r, n->line, "receivers",
                    "valid are page, ticket, infrastructure, model, security, legal");
            continue;
        }
        struct detectors_route *to =
            &out->routes[out->route_count++]; /* keys are not given twice */
        *to = (struct detectors_route){.of = n->key};
        read_names(r, n, to);
    }
}

static void read_tier(struct reading *r, const struct yaml_node *n, struct detectors_service *out)
{
    uint64_t v = 0;
    if (n->type != YAML_SCALAR || !bytes_to_u64(n->text, &v) || v < 1 || v > 9)
        mistake(r, n->line, "tier", "must be a number from 1 to 9");
    out->tier = (uint32_t)v;
}

static void read_service(struct reading *r, const struct yaml_node *map,
                         struct detectors_service *out)
{
    out->line = map->line;
    for (const struct yaml_node *n = map->child; n; n = n->next) {
        if (bytes_equal_str(n->key, "name") && n->type == YAML_SCALAR)
            out->name = n->text;
        else if (bytes_equal_str(n->key, "owner") && n->type == YAML_SCALAR)
            out->owner = n->text;
        else if (bytes_equal_str(n->key, "tier"))
            read_tier(r, n, out);
        else if (bytes_equal_str(n->key, "receivers"))
            read_routes(r, n, out);
        else
            mistake(r, n->line, "unknown key", "valid are name, owner, tier, receivers");
    }
    if (!out->name.size)
        mistake(r, map->line, "name", "is missing");
    if (!out->owner.size)
        mistake(r, map->line, "owner", "is missing: each service has a team that owns it");
}

enum err detectors_catalogue_read(const struct yaml_node *list, const char *file,
                                  const struct detectors_receiver *receivers, size_t receiver_count,
                                  struct arena *a, struct detectors_service **out,
                                  size_t *out_count, struct buf *errors)
{
    struct reading r = {file, errors, receivers, receiver_count, false};
    size_t n = 0, max = 0;
    if (list && list->type != YAML_LIST)
        mistake(&r, list->line, "services", "must be a list of services");
    for (const struct yaml_node *c = list && list->type == YAML_LIST ? list->child : NULL; c;
         c = c->next)
        max++;
    if (max > DETECTORS_SERVICES_MAX)
        mistake(&r, list->line, "services", "at most 1,000");
    struct detectors_service *all = ARENA_ARRAY(a, struct detectors_service, max + 1);
    if (!all)
        return ERR_NOMEM;
    for (const struct yaml_node *c = max && !r.failed ? list->child : NULL; c; c = c->next) {
        if (c->type != YAML_MAP) {
            mistake(&r, c->line, "services", "must be maps");
            continue;
        }
        read_service(&r, c, &all[n]);
        if (all[n].name.size && catalogue_find(all, n, all[n].name))
            mistake(&r, c->line, "name", "is given twice");
        n++;
    }
    if (r.failed)
        return ERR_INVALID;
    *out = all;
    *out_count = n;
    return ERR_OK;
}

enum err detectors_catalogue_lint(const struct detectors_service *list, size_t n,
                                  const struct query_slo_set *set, struct buf *errors)
{
    enum err e = ERR_OK;
    for (uint32_t i = 0; n && i < set->count; i++) {
        const struct query_slo *s = &set->slos[i];
        if (!s->service.size || s->is_default || catalogue_find(list, n, s->service))
            continue;
        buf_printf(errors,
                   "%s:%u: service \"" BYTES_FMT
                   "\" has no owner: it is not among services: of the configuration\n",
                   s->file, s->line, BYTES_ARG(s->service));
        e = ERR_INVALID;
    }
    return e;
}

/* --- asking -------------------------------------------------------------------------------------- */

const struct detectors_service *catalogue_find(const struct detectors_service *list, size_t n,
                                               struct bytes service)
{
    for (size_t i = 0; i < n; i++)
        if (bytes_equal(list[i].name, service))
            return &list[i];
    return NULL;
}

static const struct detectors_route *route_of(const struct detectors_service *s, struct bytes of)
{
    for (uint32_t i = 0; of.size && i < s->route_count; i++)
        if (bytes_equal(s->routes[i].of, of))
            return &s->routes[i];
    return NULL;
}

bool catalogue_routes(const struct detectors_service *s, struct bytes kind,
                      enum query_slo_severity severity, const char *receiver)
{
    const struct detectors_route *r = s ? route_of(s, kind) : NULL;
    if (s && !r)
        r = route_of(s, bytes_str(query_slo_severity_name(severity)));
    for (uint32_t i = 0; r && i < r->receiver_count; i++)
        if (bytes_equal_str(r->receivers[i], receiver))
            return true;
    return !r;
}
