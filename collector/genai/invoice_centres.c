#include "collector/genai/invoice_centres.h"

#include "base/check.h"
#include "base/hash.h"
#include "base/yaml_in.h"
#include "collector/genai/invoice_read.h"

#define SLOTS 65536u

static const char *const whats[] = {"key", "user", "project"};

static uint32_t slot_of(const struct invoice_centres *c, struct bytes what, struct bytes value)
{
    uint32_t at = (uint32_t)hash64(value, what.size) % SLOTS;
    while (c->slots[at] && !(bytes_equal(c->rows[c->slots[at] - 1].what, what) &&
                             bytes_equal(c->rows[c->slots[at] - 1].value, value)))
        at = (at + 1) % SLOTS;
    return at;
}

static enum err date_read(const struct yaml_node *row, const char *key, uint32_t open,
                          uint32_t *out, struct err_msg *msg)
{
    const struct yaml_node *n = yaml_get(row, key);
    *out = open;
    if (n && (n->text.size != 10 || !invoice_day(n->text, out)))
        return err_set(msg, ERR_INVALID, "cost centres, line %u: `%s` must be a date: 2026-10-01",
                       n->line, key);
    return ERR_OK;
}

static enum err row_read(const struct yaml_node *n, struct invoice_centre *r, struct err_msg *msg)
{
    int named = 0;
    for (size_t i = 0; i < ARRAY_LEN(whats); i++)
        if (yaml_get_str(n, whats[i]).size) {
            r->what = bytes_str(whats[i]);
            r->value = yaml_get_str(n, whats[i]);
            named++;
        }
    r->centre = yaml_get_str(n, "centre");
    if (n->type != YAML_MAP || named != 1 || !r->centre.size)
        return err_set(msg, ERR_INVALID,
                       "cost centres, line %u: give `centre` and one of `key`, `user`, `project`",
                       n->line);
    enum err e = date_read(n, "from", 0, &r->from, msg);
    if (e == ERR_OK)
        e = date_read(n, "until", UINT32_MAX, &r->until, msg);
    if (e == ERR_OK && r->from >= r->until)
        e = err_set(msg, ERR_INVALID, "cost centres, line %u: `until` must be later than `from`",
                    n->line);
    return e;
}

enum err invoice_centres_read(struct bytes yaml, struct arena *a, struct invoice_centres *out,
                              struct err_msg *msg)
{
    struct yaml_node *doc = NULL;
    *out = (struct invoice_centres){0};
    if (!bytes_trim(yaml).size)
        return ERR_OK;
    enum err e = yaml_in_parse(yaml, a, &doc, msg);
    const struct yaml_node *list = e == ERR_OK && doc ? yaml_get(doc, "cost_centres") : NULL;
    if (e == ERR_OK && (!list || list->type != YAML_LIST))
        e = err_set(msg, ERR_INVALID, "cost centres: a list `cost_centres:` is expected");
    if (e != ERR_OK)
        return e;
    out->rows = ARENA_ARRAY(a, struct invoice_centre, INVOICE_CENTRES_MAX);
    out->slots = ARENA_ARRAY(a, int32_t, SLOTS);
    out->older = ARENA_ARRAY(a, int32_t, INVOICE_CENTRES_MAX);
    if (!out->rows || !out->slots || !out->older)
        return err_set(msg, ERR_NOMEM, "no memory for the cost centres");
    for (const struct yaml_node *n = list->child; n && e == ERR_OK; n = n->next) {
        if (out->count == INVOICE_CENTRES_MAX)
            return err_set(msg, ERR_LIMIT, "cost centres: more than %u rows", INVOICE_CENTRES_MAX);
        struct invoice_centre *r = &out->rows[out->count];
        e = row_read(n, r, msg);
        if (e != ERR_OK)
            break;
        uint32_t at = slot_of(out, r->what, r->value);
        out->older[out->count] = out->slots[at];
        out->slots[at] = (int32_t)++out->count;
    }
    return e;
}

static struct bytes find_one(const struct invoice_centres *c, uint32_t day, struct bytes what,
                             struct bytes value)
{
    if (!value.size)
        return BYTES_NONE;
    for (int32_t at = c->slots[slot_of(c, what, value)]; at; at = c->older[at - 1])
        if (c->rows[at - 1].from <= day && day < c->rows[at - 1].until)
            return c->rows[at - 1].centre;
    return BYTES_NONE;
}

struct bytes invoice_centres_find(const struct invoice_centres *c, uint32_t day, struct bytes key,
                                  struct bytes user, struct bytes project)
{
    const struct bytes values[] = {key, user, project};
    struct bytes found = BYTES_NONE;
    for (size_t i = 0; c->count && i < ARRAY_LEN(whats) && !found.size; i++)
        found = find_one(c, day, bytes_str(whats[i]), values[i]);
    return found;
}
