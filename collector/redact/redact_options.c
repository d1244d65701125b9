/* The `redaction:` part of the configuration file: docs/redaction.md. */
#include <stdlib.h>

#include "base/check.h"
#include "collector/redact/redact_core.h"

struct reading {
    struct redact *r;
    const char *file;
    struct buf *errors;
};

static const char *const actions[REDACT_ACTION_COUNT] = {"keep", "mask", "hash", "drop"};

const char *redact_action_name(enum redact_action a)
{
    return actions[a];
}

static void complain(struct reading *g, unsigned line, struct bytes what, const char *sentence)
{
    buf_printf(g->errors, "%s:%u: redaction: '" BYTES_FMT "' %s\n",
               g->file ? g->file : "configuration", line, BYTES_ARG(what), sentence);
}

static bool is_of(const struct redact *r, uint32_t type, struct bytes name, bool by_group)
{
    if (by_group)
        return bytes_equal_str(name, "all") ||
               bytes_equal_str(name, redact_types_groups[r->groups[type]]);
    return bytes_equal_str(name, r->names[type]);
}

static bool is_known(const struct redact *r, struct bytes name)
{
    for (uint32_t i = 0; i < r->type_count; i++)
        if (is_of(r, i, name, false) || is_of(r, i, name, true))
            return true;
    for (size_t i = 0; i < REDACT_GROUP_COUNT; i++)
        if (bytes_equal_str(name, redact_types_groups[i]))
            return true;
    return false;
}

static int action_of(struct bytes text)
{
    for (int i = 0; i < REDACT_ACTION_COUNT; i++)
        if (bytes_equal_str(text, actions[i]))
            return i;
    return -1;
}

/* First groups, then single kinds: the one that says more wins, wherever it stands. */
static void read_actions(struct reading *g, const struct yaml_node *map, bool content_only,
                         struct redact_policy *p)
{
    if (!map || map->type == YAML_NULL)
        return;
    if (map->type != YAML_MAP) {
        complain(g, map->line, map->text, "is no map of kind: action");
        return;
    }
    for (int pass = 0; pass < 2; pass++)
        for (const struct yaml_node *n = map->child; n; n = n->next) {
            int action = n->type == YAML_SCALAR ? action_of(n->text) : -1;
            if (pass == 0 && !is_known(g->r, n->key))
                complain(g, n->key_line, n->key,
                         "is no kind, no group and no pattern of this file");
            if (pass == 0 && action < 0)
                complain(g, n->line, n->text, "is no action; give keep, mask, hash or drop");
            for (uint32_t i = 0; action >= 0 && i < g->r->type_count; i++)
                if (is_of(g->r, i, n->key, pass == 0)) {
                    p->action[REDACT_CONTENT][i] = (uint8_t)action;
                    if (!content_only)
                        p->action[REDACT_ELSEWHERE][i] = (uint8_t)action;
                }
        }
}

static bool is_name(struct bytes name)
{
    if (!name.size || name.size > REDACT_NAME_MAX || name.data[0] < 'a' || name.data[0] > 'z')
        return false;
    for (size_t i = 0; i < name.size; i++)
        if (!((name.data[i] >= 'a' && name.data[i] <= 'z') || name.data[i] == '_' ||
              (name.data[i] >= '0' && name.data[i] <= '9')))
            return false;
    return true;
}

static bool read_group(struct bytes text, uint8_t *out)
{
    for (size_t i = 0; i < REDACT_GROUP_COUNT; i++)
        if (bytes_equal_str(text, redact_types_groups[i])) {
            *out = (uint8_t)i;
            return true;
        }
    return false;
}

static void read_pattern(struct reading *g, const struct yaml_node *n)
{
    struct redact *r = g->r;
    struct bytes name = BYTES_NONE, pattern = BYTES_NONE;
    struct err_msg msg = {""};
    uint8_t group = REDACT_SECRET;
    for (const struct yaml_node *f = n->type == YAML_MAP ? n->child : NULL; f; f = f->next) {
        if (bytes_equal_str(f->key, "name"))
            name = f->text;
        else if (bytes_equal_str(f->key, "pattern"))
            pattern = f->text;
        else if (!bytes_equal_str(f->key, "group") || !read_group(f->text, &group))
            complain(g, f->line, f->key, "is no name, pattern or group of a pattern");
    }
    if (!is_name(name)) {
        complain(g, n->line, name,
                 "is no name of a pattern: give lower-case letters, digits and _, at most 32");
        return;
    }
    if (is_known(r, name)) {
        complain(g, n->line, name, "is taken");
        return;
    }
    uint32_t own = r->type_count - REDACT_TYPE_COUNT;
    if (own == REDACT_PATTERNS_MAX) {
        complain(g, n->line, name, "is one pattern too many; at most 64");
        return;
    }
    if (memchr(pattern.data ? pattern.data : (const uint8_t *)"", 0, pattern.size) ||
        !pattern.size) {
        complain(g, n->line, name, "has no pattern");
        return;
    }
    if (redact_engine_try((const char *)pattern.data, &msg) != ERR_OK) {
        buf_printf(g->errors, "%s:%u: redaction: pattern '" BYTES_FMT "': %s\n",
                   g->file ? g->file : "configuration", n->line, BYTES_ARG(name), msg.text);
        return;
    }
    struct bytes kept_name = arena_printf(r->arena, BYTES_FMT, BYTES_ARG(name)),
                 kept = arena_printf(r->arena, BYTES_FMT, BYTES_ARG(pattern));
    if (!kept_name.data || !kept.data) {
        complain(g, n->line, name, "does not fit into memory");
        return;
    }
    r->names[r->type_count] = (const char *)kept_name.data;
    r->groups[r->type_count] = group;
    r->own[own] = (const char *)kept.data;
    r->type_count++;
}

static void read_patterns(struct reading *g, const struct yaml_node *list)
{
    struct redact *r = g->r;
    struct err_msg msg = {""};
    if (!list || list->type == YAML_NULL)
        return;
    if (list->type != YAML_LIST) {
        complain(g, list->line, list->text, "is no list of patterns");
        return;
    }
    for (const struct yaml_node *n = list->child; n; n = n->next)
        read_pattern(g, n);
    uint32_t own = r->type_count - REDACT_TYPE_COUNT;
    if (own && !g->errors->size &&
        redact_engine_patterns(r->own, own, &r->patterns, &msg) != ERR_OK)
        complain(g, list->line, bytes_str(msg.text), "is what the patterns together lead to");
}

static void read_services(struct reading *g, const struct yaml_node *map)
{
    struct redact *r = g->r;
    uint32_t count = 0;
    if (!map || map->type == YAML_NULL)
        return;
    for (const struct yaml_node *n = map->type == YAML_MAP ? map->child : NULL; n; n = n->next)
        count++;
    if (!count || count > REDACT_SERVICES_MAX) {
        complain(g, map->line, map->text, "is no map of at most 64 services");
        return;
    }
    r->services = ARENA_ARRAY(r->arena, struct redact_service, count);
    for (const struct yaml_node *n = map->child; n && r->services; n = n->next) {
        struct redact_service *s = &r->services[r->service_count++];
        s->name = arena_copy(r->arena, n->key);
        s->policy = r->policy;
        for (const struct yaml_node *f = n->type == YAML_MAP ? n->child : NULL; f; f = f->next)
            if (!bytes_equal_str(f->key, "actions") && !bytes_equal_str(f->key, "content"))
                complain(g, f->key_line, f->key, "is neither actions nor content of a service");
        if (n->type != YAML_MAP)
            complain(g, n->line, n->key, "is a service without actions or content");
        else {
            read_actions(g, yaml_get(n, "actions"), false, &s->policy);
            read_actions(g, yaml_get(n, "content"), true, &s->policy);
        }
    }
}

static void read_alerts(struct reading *g, const struct yaml_node *list)
{
    if (!list || list->type == YAML_NULL)
        return;
    memset(g->r->alerts, 0, sizeof g->r->alerts);
    if (list->type != YAML_LIST)
        complain(g, list->line, list->text, "is no list of kinds or groups");
    for (const struct yaml_node *n = list->type == YAML_LIST ? list->child : NULL; n; n = n->next) {
        if (!is_known(g->r, n->text))
            complain(g, n->line, n->text, "is no kind, no group and no pattern of this file");
        for (uint32_t i = 0; i < g->r->type_count; i++)
            if (is_of(g->r, i, n->text, false) || is_of(g->r, i, n->text, true))
                g->r->alerts[i] = true;
    }
}

/* Secrets, cards, accounts and national ids are of use to nobody who looks at telemetry. An address or a number of a person is hidden where
 * people talk; as an attribute (user.email) it is what users, costs and errors are told apart by. */
static void set_defaults(struct redact *r)
{
    for (uint32_t i = 0; i < r->type_count; i++) {
        bool is_contact = r->groups[i] == REDACT_CONTACT;
        r->policy.action[REDACT_CONTENT][i] =
            is_contact && i == REDACT_TYPE_IP ? REDACT_KEEP : REDACT_MASK;
        r->policy.action[REDACT_ELSEWHERE][i] = is_contact ? REDACT_KEEP : REDACT_MASK;
        r->alerts[i] = !is_contact;
    }
}

enum err redact_options_apply(struct redact *r, const struct redact_options *o, struct buf *errors)
{
    struct reading g = {r, o->file, errors};
    size_t before = errors->size;
    read_patterns(&g, o->patterns);
    set_defaults(r);
    read_actions(&g, o->actions, false, &r->policy);
    read_actions(&g, o->content, true, &r->policy);
    read_services(&g, o->services);
    read_alerts(&g, o->alerts);
    return errors->size == before ? ERR_OK : ERR_INVALID;
}
