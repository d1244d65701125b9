#include "collector/genai/genai_import.h"

#include "base/check.h"
#include "base/json_in.h"
#include "collector/genai/model_family.h"
#include "collector/genai/price_yaml.h"

#include <stdlib.h>

#define CARDS_MAX 12u
#define ARENA_MAX (64u << 20)
#define SLOTS (GENAI_IMPORT_MODELS_MAX * 2)

struct card {
    uint8_t tier;
    int64_t above;
    int64_t rate[PRICE_RATE_COUNT]; /* -1 = not said */
};

struct entry {
    struct bytes key, provider; /* provider as LiteLLM names it */
    struct bytes name; /* without path and region; what calls say */
    struct card cards[CARDS_MAX];
    uint8_t card_count, depth; /* of the path before the name */
    bool bad_number, too_many;
    int64_t image, request;
};

struct reading {
    struct genai_import *i;
    struct arena *a;
    struct entry *entries[GENAI_IMPORT_MODELS_MAX];
    uint32_t count;
    /* where in the document */
    struct entry *now;
    unsigned depth; /* objects and arrays around */
    struct bytes key; /* the last one, valid until the next event: copied */
    char key_text[96];
    bool in_tiers; /* service_tier_pricing */
    uint8_t object_tier; /* its member */
    bool lost; /* out of memory */
};

static const char *const whys[] = {
#define X(name, text) text,
    GENAI_IMPORT_SKIPS(X)
#undef X
};

const char *genai_import_why(enum genai_import_skip s)
{
    return s < GENAI_IMPORT_SKIP_COUNT ? whys[s] : "";
}

static void skip(struct reading *r, struct bytes name, enum genai_import_skip why)
{
    r->i->skipped[why]++;
    if (r->i->skip)
        r->i->skip(r->i->ctx, name, why);
}

/* --- fields ---------------------------------------------------------------------------------------- */

static bool cut(struct bytes *key, const char *suffix)
{
    if (!bytes_has_suffix(*key, bytes_str(suffix)))
        return false;
    key->size -= strlen(suffix);
    return true;
}

/* "..._above_272k_tokens" -> 272000 */
static bool cut_above(struct bytes *key, int64_t *out)
{
    struct bytes k = *key;
    if (!cut(&k, "k_tokens"))
        return false;
    size_t digits = 0;
    while (digits < k.size && k.data[k.size - 1 - digits] >= '0' &&
           k.data[k.size - 1 - digits] <= '9')
        digits++;
    int64_t n;
    struct bytes number = bytes_slice(k, k.size - digits, k.size);
    k.size -= digits;
    if (!digits || digits > 6 || !bytes_to_i64(number, &n) || n == 0 || !cut(&k, "_above_"))
        return false;
    *out = n * 1000;
    *key = k;
    return true;
}

struct field {
    uint8_t tier;
    int64_t above;
    bool hour;
    int rate; /* -1: none of ours */
};

static struct field field_of(struct bytes key, uint8_t object_tier)
{
    static const struct {
        const char *name;
        int rate;
    } names[] = {
        {"input_cost_per_token", PRICE_RATE_INPUT},
        {"output_cost_per_token", PRICE_RATE_OUTPUT},
        {"cache_read_input_token_cost", PRICE_RATE_CACHE_READ},
        {"cache_creation_input_token_cost", PRICE_RATE_CACHE_WRITE},
        {"output_cost_per_reasoning_token", PRICE_RATE_REASONING},
        {"input_cost_per_audio_token", PRICE_RATE_AUDIO_INPUT},
        {"output_cost_per_audio_token", PRICE_RATE_AUDIO_OUTPUT},
        {"cache_read_input_audio_token_cost", PRICE_RATE_AUDIO_CACHE_READ},
        {"cache_read_input_token_cost_per_audio_token", PRICE_RATE_AUDIO_CACHE_READ},
        {"input_cost_per_image_token", PRICE_RATE_IMAGE_INPUT},
        {"cache_read_input_image_token_cost", PRICE_RATE_IMAGE_CACHE_READ},
        {"output_cost_per_image_token", PRICE_RATE_IMAGE_OUTPUT},
    };
    struct field f = {object_tier, 0, false, -1};
    for (bool more = true; more;) {
        if (cut(&key, "_priority"))
            f.tier = PRICE_TIER_PRIORITY;
        else if (cut(&key, "_flex"))
            f.tier = PRICE_TIER_FLEX;
        else if (cut(&key, "_batches"))
            f.tier = PRICE_TIER_BATCH;
        else if (cut(&key, "_above_1hr"))
            f.hour = true;
        else
            more = cut_above(&key, &f.above);
    }
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (bytes_equal_str(key, names[i].name))
            f.rate = names[i].rate;
    if (f.hour)
        f.rate = f.rate == PRICE_RATE_CACHE_WRITE ? PRICE_RATE_CACHE_WRITE_1H : -1;
    return f;
}

static struct card *card_of(struct entry *e, uint8_t tier, int64_t above)
{
    for (uint32_t i = 0; i < e->card_count; i++)
        if (e->cards[i].tier == tier && e->cards[i].above == above)
            return &e->cards[i];
    if (e->card_count == CARDS_MAX) {
        e->too_many = true;
        return NULL;
    }
    struct card *c = &e->cards[e->card_count++];
    c->tier = tier;
    c->above = above;
    for (int i = 0; i < PRICE_RATE_COUNT; i++)
        c->rate[i] = -1;
    return c;
}

static bool name_is_plain(struct bytes name)
{
    for (size_t i = 0; i < name.size; i++)
        if (name.data[i] < 32 || name.data[i] > 126)
            return false;
    return name.size > 0 && name.size <= PRICE_NAME_MAX;
}

/* --- events ---------------------------------------------------------------------------------------- */

static enum err on_null(void *ctx)
{
    (void)ctx;
    return ERR_OK;
}

static enum err on_boolean(void *ctx, bool v)
{
    (void)ctx;
    (void)v;
    return ERR_OK;
}

static enum err on_number(void *ctx, struct bytes text)
{
    struct reading *r = ctx;
    struct entry *e = r->now;
    bool rounded = false, ok = true;
    int64_t v = -1;
    if (!e || !(r->depth == 2 || (r->depth == 4 && r->in_tiers && r->object_tier)))
        return ERR_OK;
    if (r->depth == 2 && bytes_equal_str(r->key, "output_cost_per_image")) {
        ok = price_scaled(text, 9, &e->image, &rounded);
    } else if (r->depth == 2 && bytes_equal_str(r->key, "input_cost_per_request")) {
        ok = price_scaled(text, 9, &e->request, &rounded);
    } else {
        struct field f = field_of(r->key, r->depth == 4 ? r->object_tier : PRICE_TIER_DEFAULT);
        if (f.rate < 0)
            return ERR_OK;
        struct card *c = card_of(e, f.tier, f.above);
        ok = price_scaled(text, 12, &v, &rounded);
        if (c && ok)
            c->rate[f.rate] = v;
    }
    e->bad_number = e->bad_number || !ok;
    r->i->rounded += rounded;
    return ERR_OK;
}

static enum err on_string(void *ctx, struct bytes s)
{
    struct reading *r = ctx;
    if (r->now && r->depth == 2 && bytes_equal_str(r->key, "litellm_provider") && name_is_plain(s))
        r->now->provider = arena_copy(r->a, s);
    else if (r->now && r->depth == 2 && field_of(r->key, 0).rate >= 0)
        r->now->bad_number = true; /* a price as text: nobody knows in which unit */
    return ERR_OK;
}

static enum err on_key(void *ctx, struct bytes key)
{
    struct reading *r = ctx;
    if (r->depth == 1) {
        r->now = NULL;
        if (!name_is_plain(key)) {
            skip(r, key, GENAI_IMPORT_NAME);
        } else if (!bytes_equal_str(key, "sample_spec")) {
            if (r->count == GENAI_IMPORT_MODELS_MAX)
                return ERR_LIMIT;
            if (!(r->now = ARENA_ARRAY(r->a, struct entry, 1)))
                return ERR_NOMEM;
            *r->now = (struct entry){.key = arena_copy(r->a, key), .image = -1, .request = -1};
            r->entries[r->count++] = r->now;
        }
    } else if (r->depth == 2) {
        r->in_tiers = bytes_equal_str(key, "service_tier_pricing");
    } else if (r->depth == 3 && r->in_tiers) {
        r->object_tier = PRICE_TIER_DEFAULT;
        if (!price_tier_parse(key, &r->object_tier) && bytes_equal_str(key, "batches"))
            r->object_tier = PRICE_TIER_BATCH;
    }
    size_t n = key.size < sizeof r->key_text ? key.size : 0; /* longer ones are none of ours */
    memcpy(r->key_text, key.data, n);
    r->key = bytes_of(r->key_text, n);
    return ERR_OK;
}

static enum err on_open(void *ctx)
{
    ((struct reading *)ctx)->depth++;
    return ERR_OK;
}

static enum err on_close(void *ctx)
{
    ((struct reading *)ctx)->depth--;
    return ERR_OK;
}

/* --- which names are taken ------------------------------------------------------------------------- */

/* "azure/us/gpt-4o" at azure -> "gpt-4o", depth 2. A bare name is its maker's, whoever resells it; clouds have names and prices of their own. */
static void entry_name(struct reading *r, struct entry *e)
{
    char scratch[GENAI_MODEL_MAX];
    struct bytes name = model_family_bare(e->key, scratch);
    for (size_t i = 0; i < e->key.size; i++)
        e->depth += e->key.data[i] == '/' && e->depth < 200;
    if (!e->depth && name.size < e->key.size && !bytes_has_prefix(e->key, BYTES_LIT("anthropic.")))
        e->depth = 1; /* "us.anthropic.": a region's */
    if (bytes_has_prefix(name, BYTES_LIT("ft:"))) {
        struct bytes any = arena_printf(r->a, BYTES_FMT ":*", BYTES_ARG(name));
        e->name = any;
        return;
    }
    e->name = arena_copy(r->a, name);
}

static struct bytes entry_provider(const struct entry *e)
{
    static const char *const clouds[] = {"bedrock", "azure", "sagemaker", "databricks",
                                         "snowflake"};
    struct bytes p = e->provider;
    for (size_t i = 0; i < ARRAY_LEN(clouds); i++)
        if (bytes_has_prefix(p, bytes_str(clouds[i])))
            return model_family_provider(i == 0 ? BYTES_LIT("bedrock") : p);
    if (!e->depth)
        return BYTES_NONE;
    if (bytes_has_prefix(p, BYTES_LIT("vertex_ai")))
        p = BYTES_LIT("vertex_ai");
    return model_family_provider(p);
}

static int entry_compare(const void *a, const void *b)
{
    const struct entry *x = *(struct entry *const *)a, *y = *(struct entry *const *)b;
    if (x->depth != y->depth)
        return x->depth < y->depth ? -1 : 1;
    return bytes_compare(x->key, y->key);
}

static bool entries_cost_the_same(const struct entry *a, const struct entry *b)
{
    return a->card_count == b->card_count && a->image == b->image && a->request == b->request &&
           memcmp(a->cards, b->cards, sizeof *a->cards * a->card_count) == 0;
}

static int card_compare(const void *a, const void *b)
{
    const struct card *x = a, *y = b;
    if (x->tier != y->tier)
        return x->tier < y->tier ? -1 : 1;
    return (x->above > y->above) - (x->above < y->above);
}

/* --- writing --------------------------------------------------------------------------------------- */

static void write_text(struct buf *out, struct bytes text)
{
    buf_u8(out, '\'');
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] == '\'')
            buf_u8(out, '\'');
        buf_u8(out, text.data[i] < 32 || text.data[i] == 127 ? '?' : text.data[i]);
    }
    buf_u8(out, '\'');
}

static void write_rates(struct buf *out, const struct card *c)
{
    static const char *const keys[PRICE_RATE_COUNT] = {
#define X(name, text) text,
        PRICE_RATES(X)
#undef X
    };
    for (int i = 0; i < PRICE_RATE_COUNT; i++)
        if (c->rate[i] >= 0) {
            buf_printf(out, ", %s: ", keys[i]);
            price_decimal_write(out, c->rate[i], 6);
        }
}

static bool card_is_whole(struct card *c, const struct card *plain)
{
    if (c->rate[PRICE_RATE_OUTPUT] < 0 && plain->rate[PRICE_RATE_OUTPUT] == 0)
        c->rate[PRICE_RATE_OUTPUT] = 0; /* embeddings: there is no output to price */
    return c->rate[PRICE_RATE_INPUT] >= 0 && c->rate[PRICE_RATE_OUTPUT] >= 0;
}

static void write_unit(struct buf *out, const char *key, int64_t v)
{
    if (v <= 0)
        return;
    buf_printf(out, ", %s: ", key);
    price_decimal_write(out, v, 9);
}

static void write_entry(struct reading *r, struct entry *e, struct bytes provider,
                        struct bytes source, struct buf *out)
{
    const struct card *plain = &e->cards[0];
    uint32_t tiers = 0;
    buf_str(out, "  - {model: ");
    write_text(out, e->name);
    if (provider.size) {
        buf_str(out, ", provider: ");
        write_text(out, provider);
    }
    write_rates(out, plain);
    /* where image tokens have a price, the price per image says the same once more */
    if (plain->rate[PRICE_RATE_IMAGE_OUTPUT] < 0)
        write_unit(out, "image", e->image);
    write_unit(out, "request", e->request);
    for (uint32_t i = 1; i < e->card_count; i++) {
        struct card *c = &e->cards[i];
        if (!card_is_whole(c, plain)) {
            skip(r, e->key, GENAI_IMPORT_TIER);
            continue;
        }
        buf_str(out, tiers++ ? ", {" : ", tiers: [{");
        buf_printf(out, "tier: %s, above: %lld", price_tier_text(c->tier), (long long)c->above);
        write_rates(out, c);
        buf_u8(out, '}');
    }
    buf_str(out, tiers ? "], source: " : ", source: ");
    write_text(out, source);
    buf_str(out, "}\n");
    r->i->models++;
    r->i->rows += tiers + 1;
}

/* The place of (provider, name) among those that are taken. */
static struct entry **place_of(struct entry **taken, struct bytes provider, struct bytes name)
{
    uint32_t at = (uint32_t)hash64(name, hash64(provider, 3)) % SLOTS;
    while (taken[at] && !(bytes_equal(taken[at]->name, name) &&
                          bytes_equal(entry_provider(taken[at]), provider)))
        at = (at + 1) % SLOTS;
    return &taken[at];
}

static void entry_decide(struct reading *r, struct entry *e, struct entry **taken,
                         struct bytes source, struct buf *out)
{
    qsort(e->cards, e->card_count, sizeof *e->cards, card_compare);
    const struct card *plain = &e->cards[0];
    bool whole = e->card_count && plain->tier == PRICE_TIER_DEFAULT && !plain->above &&
                 plain->rate[PRICE_RATE_INPUT] >= 0 && plain->rate[PRICE_RATE_OUTPUT] >= 0;
    struct bytes provider = entry_provider(e);
    if (e->bad_number || e->too_many)
        skip(r, e->key, GENAI_IMPORT_NUMBER);
    else if (!whole)
        skip(r, e->key, GENAI_IMPORT_NO_RATE);
    else if (!plain->rate[PRICE_RATE_INPUT] && !plain->rate[PRICE_RATE_OUTPUT] && e->image <= 0 &&
             e->request <= 0)
        skip(r, e->key, GENAI_IMPORT_FREE);
    else if (!e->name.size || e->name.size > PRICE_NAME_MAX || provider.size > PRICE_NAME_MAX)
        skip(r, e->key, GENAI_IMPORT_NAME);
    else {
        struct entry **place = place_of(taken, provider, e->name);
        if (*place)
            skip(r, e->key,
                 entries_cost_the_same(*place, e) ? GENAI_IMPORT_SAME : GENAI_IMPORT_SHADOW);
        else {
            *place = e;
            write_entry(r, e, provider, source, out);
        }
    }
}

static enum err entries_write(struct reading *r, struct bytes source, struct buf *out,
                              struct err_msg *msg)
{
    struct entry **taken = calloc(SLOTS, sizeof(struct entry *));
    if (!taken)
        return err_set(msg, ERR_NOMEM, "no memory for the prices");
    for (uint32_t i = 0; i < r->count; i++)
        entry_name(r, r->entries[i]);
    qsort(r->entries, r->count, sizeof(struct entry *), entry_compare);
    buf_str(out, "prices:\n");
    for (uint32_t i = 0; i < r->count; i++)
        entry_decide(r, r->entries[i], taken, source, out);
    if (!r->i->models)
        buf_str(out, "  []\n");
    free(taken);
    return buf_ok(out) ? ERR_OK : err_set(msg, ERR_LIMIT, "the document is too large");
}

/* The promise of the header, kept before anybody relies on it. */
static enum err document_check(struct bytes yaml, struct err_msg *msg)
{
    struct price_table *t = price_table_new();
    enum err e = t ? price_yaml_load(t, yaml, "the imported document", PRICE_LAYER_OWN, msg)
                   : err_set(msg, ERR_NOMEM, "no memory for the prices");
    price_table_unref(t);
    return e;
}

enum err genai_import_litellm(struct bytes json, struct bytes source, struct genai_import *i,
                              struct buf *out_yaml, struct err_msg *msg)
{
    static const struct json_in_events events = {.null = on_null,
                                                 .boolean = on_boolean,
                                                 .number = on_number,
                                                 .string = on_string,
                                                 .key = on_key,
                                                 .object = on_open,
                                                 .object_end = on_close,
                                                 .array = on_open,
                                                 .array_end = on_close};
    struct reading *r = calloc(1, sizeof *r);
    enum err e = ERR_OK;
    if (r)
        r->a = arena_new(ARENA_MAX);
    if (!r || !r->a)
        e = err_set(msg, ERR_NOMEM, "no memory for the prices");
    else if (json.size > GENAI_IMPORT_BYTES_MAX)
        e = err_set(msg, ERR_LIMIT, "larger than 64 MiB");
    if (e == ERR_OK) {
        r->i = i;
        e = json_in_parse(json, 16, &events, r, msg);
        if (e == ERR_LIMIT)
            (void)err_set(msg, e, "more than %u models", GENAI_IMPORT_MODELS_MAX);
    }
    if (e == ERR_OK)
        e = entries_write(r, source, out_yaml, msg);
    if (e == ERR_OK)
        e = document_check(buf_bytes(out_yaml), msg);
    if (r)
        arena_free(r->a);
    free(r);
    return e;
}
