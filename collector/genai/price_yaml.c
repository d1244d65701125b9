#include "collector/genai/price_yaml.h"

#include "base/clock.h"
#include "base/yaml_in.h"
#include "collector/genai/model_family.h"

#include <stdio.h>
#include <stdlib.h>

#define TIERS_MAX 32u /* rate cards of one offer */

struct reading {
    const char *name;
    enum price_layer layer;
    struct err_msg *msg;
};

static const char *const offer_keys[] = {"model", "provider",    "from",   "until",
                                         "org",   "service",     "tenant", "source",
                                         "tiers", "concurrency", "gpus",   NULL};
static const char *const tier_keys[] = {"tier", "above", NULL};

static bool listed(struct bytes key, const char *const *keys, size_t n)
{
    for (size_t i = 0; i < n && keys[i]; i++)
        if (bytes_equal_str(key, keys[i]))
            return true;
    return false;
}

static enum err keys_check(const struct reading *rd, const struct yaml_node *map,
                           const char *const *own)
{
    for (const struct yaml_node *n = map->child; n; n = n->next)
        if (!listed(n->key, own, 16) && !listed(n->key, price_rate_keys, PRICE_RATE_COUNT) &&
            !listed(n->key, price_unit_keys, PRICE_UNIT_COUNT))
            return err_set(
                rd->msg, ERR_INVALID,
                "%s, line %u: `" BYTES_FMT "` is no key of a price: %s, input, output, cache_read, "
                "cache_write, cache_write_1h, reasoning, audio_input, ... (docs/prices.md)",
                rd->name, n->key_line, BYTES_ARG(n->key),
                own == offer_keys ? "model, provider, from, until, tiers" : "tier, above");
    return ERR_OK;
}

static enum err number(const struct reading *rd, const struct yaml_node *map, const char *key,
                       int digits, const char *what, int64_t fallback, int64_t *out)
{
    const struct yaml_node *n = yaml_get(map, key);
    *out = fallback;
    if (n && (n->type != YAML_SCALAR || !price_decimal(n->text, digits, out)))
        return err_set(rd->msg, ERR_INVALID, "%s, line %u: `%s` must be %s", rd->name, n->line, key,
                       what);
    return ERR_OK;
}

/* Rates that are not said are those of the plain tokens they are a part of. */
static void rates_complete(struct price_row *r)
{
    static const struct {
        uint8_t rate, from;
    } parts[] = {
        {PRICE_RATE_CACHE_READ, PRICE_RATE_INPUT},
        {PRICE_RATE_CACHE_WRITE, PRICE_RATE_INPUT},
        {PRICE_RATE_CACHE_WRITE_1H, PRICE_RATE_CACHE_WRITE},
        {PRICE_RATE_AUDIO_INPUT, PRICE_RATE_INPUT},
        {PRICE_RATE_IMAGE_INPUT, PRICE_RATE_INPUT},
        {PRICE_RATE_REASONING, PRICE_RATE_OUTPUT},
        {PRICE_RATE_AUDIO_OUTPUT, PRICE_RATE_OUTPUT},
        {PRICE_RATE_IMAGE_OUTPUT, PRICE_RATE_OUTPUT},
    };
    bool has_read = r->rate[PRICE_RATE_CACHE_READ] >= 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (r->rate[parts[i].rate] < 0)
            r->rate[parts[i].rate] = r->rate[parts[i].from];
    /* cached audio: as cached text where the cache has a price, else as fresh audio */
    if (r->rate[PRICE_RATE_AUDIO_CACHE_READ] < 0)
        r->rate[PRICE_RATE_AUDIO_CACHE_READ] =
            r->rate[has_read ? PRICE_RATE_CACHE_READ : PRICE_RATE_AUDIO_INPUT];
    if (r->rate[PRICE_RATE_IMAGE_CACHE_READ] < 0)
        r->rate[PRICE_RATE_IMAGE_CACHE_READ] =
            r->rate[has_read ? PRICE_RATE_CACHE_READ : PRICE_RATE_IMAGE_INPUT];
}

static enum err card_read(const struct reading *rd, const struct yaml_node *n, struct price_row *r)
{
    enum err e;
    bool tokens_needed = !yaml_get(n, "gpu_hour");
    for (int i = 0; i < PRICE_RATE_COUNT; i++)
        if ((e = number(rd, n, price_rate_keys[i], 6, "USD per million tokens, such as 0.15", -1,
                        &r->rate[i])))
            return e;
    for (int i = 0; i < PRICE_UNIT_COUNT; i++)
        if ((e = number(rd, n, price_unit_keys[i], 9, "USD, such as 0.005", -1, &r->unit[i])))
            return e;
    for (int i = 0; i < 2; i++) {
        int k = i ? PRICE_RATE_OUTPUT : PRICE_RATE_INPUT;
        if (r->rate[k] < 0 && tokens_needed)
            return err_set(rd->msg, ERR_INVALID,
                           "%s, line %u: `%s` is missing (USD per million tokens)", rd->name,
                           n->line, price_rate_keys[k]);
        r->rate[k] = r->rate[k] < 0 ? 0 : r->rate[k];
    }
    rates_complete(r);
    return ERR_OK;
}

static enum err tier_read(const struct reading *rd, const struct yaml_node *n, struct price_row *r)
{
    enum err e = n->type == YAML_MAP ? keys_check(rd, n, tier_keys)
                                     : err_set(rd->msg, ERR_INVALID,
                                               "%s, line %u: a map is expected", rd->name, n->line);
    const struct yaml_node *tier = yaml_get(n, "tier");
    if (e == ERR_OK)
        e = number(rd, n, "above", 0, "a number of input tokens, such as 200000", 0, &r->above);
    if (e == ERR_OK && tier && !price_tier_parse(tier->text, &r->tier))
        e = err_set(rd->msg, ERR_INVALID,
                    "%s, line %u: `tier` must be default, priority, flex, batch or fast", rd->name,
                    tier->line);
    if (e == ERR_OK && !tier && !r->above)
        e = err_set(rd->msg, ERR_INVALID, "%s, line %u: `tier` or `above` is missing", rd->name,
                    n->line);
    return e == ERR_OK ? card_read(rd, n, r) : e;
}

static enum err date_read(const struct reading *rd, const struct yaml_node *row, const char *key,
                          int64_t open, int64_t *out)
{
    const struct yaml_node *n = yaml_get(row, key);
    char text[40];
    *out = open;
    if (!n)
        return ERR_OK;
    snprintf(text, sizeof text, BYTES_FMT "T00:00:00Z", BYTES_ARG(n->text));
    if (n->text.size != 10 || !clock_parse_rfc3339(text, out))
        return err_set(rd->msg, ERR_INVALID, "%s, line %u: `%s` must be a date: 2026-10-01",
                       rd->name, n->line, key);
    return ERR_OK;
}

static enum err count_read(const struct reading *rd, const struct yaml_node *n, const char *key,
                           int64_t fallback, int64_t min, uint32_t *out)
{
    int64_t v = fallback;
    enum err e = number(rd, n, key, 0, "a whole number", fallback, &v);
    if (e == ERR_OK && (v < min || v > 1000000))
        e = err_set(rd->msg, ERR_INVALID,
                    "%s, line %u: `%s` must be a whole number from %lld to 1000000", rd->name,
                    yaml_get(n, key)->line, key, (long long)min);
    *out = (uint32_t)v;
    return e;
}

static enum err offer_read(const struct reading *rd, const struct yaml_node *n,
                           struct price_offer *o, char scratch[GENAI_MODEL_MAX])
{
    struct bytes model = yaml_get_str(n, "model");
    enum err e;
    if (!model.size || model.size > PRICE_NAME_MAX)
        return err_set(rd->msg, ERR_INVALID,
                       "%s, line %u: `model` is missing or longer than %u bytes", rd->name, n->line,
                       PRICE_NAME_MAX);
    o->model = model_family_bare(model, scratch);
    o->provider = model_family_provider(yaml_get_str(n, "provider"));
    o->source = yaml_get_str(n, "source");
    o->scope.service = yaml_get_str(n, "service");
    o->scope.tenant = yaml_get_str(n, "tenant");
    if ((e = count_read(rd, n, "org", 0, 0, &o->scope.org)) ||
        (e = date_read(rd, n, "from", INT64_MIN, &o->from_ns)) ||
        (e = date_read(rd, n, "until", INT64_MAX, &o->until_ns)))
        return e;
    o->layer = o->scope.org || o->scope.service.size || o->scope.tenant.size ? PRICE_LAYER_SCOPED
                                                                             : rd->layer;
    if (!o->source.size)
        o->source = bytes_str(rd->layer == PRICE_LAYER_LIST ? "list price" : "own price");
    if (o->from_ns >= o->until_ns)
        return err_set(rd->msg, ERR_INVALID, "%s, line %u: `until` must be later than `from`",
                       rd->name, n->line);
    return ERR_OK;
}

static enum err price_read(struct price_table *t, const struct reading *rd,
                           const struct yaml_node *n)
{
    char scratch[GENAI_MODEL_MAX];
    struct price_row cards[TIERS_MAX] = {0};
    struct price_offer o = {0};
    size_t count = 1;
    const struct yaml_node *tiers = NULL;
    enum err e = n->type == YAML_MAP ? keys_check(rd, n, offer_keys)
                                     : err_set(rd->msg, ERR_INVALID,
                                               "%s, line %u: a map is expected", rd->name, n->line);
    if (e == ERR_OK)
        e = offer_read(rd, n, &o, scratch);
    if (e == ERR_OK)
        e = card_read(rd, n, &cards[0]);
    if (e == ERR_OK)
        e = count_read(rd, n, "gpus", 1, 1, &cards[0].gpus);
    if (e == ERR_OK)
        e = count_read(rd, n, "concurrency", 1, 1, &cards[0].concurrency);
    if (e == ERR_OK)
        tiers = yaml_get(n, "tiers");
    if (e == ERR_OK && tiers && tiers->type != YAML_LIST)
        e = err_set(rd->msg, ERR_INVALID, "%s, line %u: `tiers` must be a list", rd->name,
                    tiers->line);
    for (const struct yaml_node *k = tiers ? tiers->child : NULL; k && e == ERR_OK; k = k->next)
        e = count < TIERS_MAX ? tier_read(rd, k, &cards[count++])
                              : err_set(rd->msg, ERR_LIMIT, "%s, line %u: more than %u tiers",
                                        rd->name, k->line, TIERS_MAX - 1);
    if (e != ERR_OK)
        return e;
    struct err_msg why = {""};
    e = price_table_add(t, &o, cards, count, &why);
    return e == ERR_OK ? e : err_set(rd->msg, e, "%s, line %u: %s", rd->name, n->line, why.text);
}

enum err price_yaml_load(struct price_table *t, struct bytes yaml, const char *name,
                         enum price_layer layer, struct err_msg *msg)
{
    struct reading rd = {name ? name : "prices", layer, msg};
    struct arena *a = arena_new(64u << 20);
    struct yaml_node *doc = NULL;
    struct err_msg why = {""};
    if (!a)
        return err_set(msg, ERR_NOMEM, "no memory for the price table");
    enum err e = yaml_in_parse(yaml, a, &doc, &why);
    if (e != ERR_OK)
        (void)err_set(msg, e, "%s: %s", rd.name, why.text);
    const struct yaml_node *list = e == ERR_OK && doc ? yaml_get(doc, "prices") : NULL;
    bool has_centres = e == ERR_OK && doc && yaml_get(doc, "cost_centres");
    if (e == ERR_OK && doc && (list ? list->type != YAML_LIST : !has_centres))
        e = err_set(msg, ERR_INVALID, "%s, line %u: a list `prices:` is expected", rd.name,
                    doc->line);
    if (has_centres && e == ERR_OK && (e = price_table_add_centres(t, yaml, &why)) != ERR_OK)
        (void)err_set(msg, e, "%s: %s", rd.name, why.text);
    for (const struct yaml_node *n = list ? list->child : NULL; n && e == ERR_OK; n = n->next)
        e = price_read(t, &rd, n);
    arena_free(a);
    return e;
}
