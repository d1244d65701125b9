#include "collector/genai/price_table.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/yaml_in.h"

#include <stdio.h>
#include <stdlib.h>

struct price_row {
    struct bytes provider, model; /* provider empty = any */
    int64_t from_ns;
    struct genai_price price;
    int32_t next; /* older row of the same (provider, model); -1 */
};

struct price_table {
    struct arena *arena;
    struct price_row *rows;
    size_t count, cap;
    int32_t *slots; /* row index + 1 of the newest row of a (provider, model) */
    uint32_t slot_count;
};

/* List prices in USD per million tokens: input, output, cache read, cache write (5 min), cache write (1 h); -1 = as input.
 * Text and not number so that the pico-USD are exact. Snapshot of 2026-10; history before is not kept here: load it as YAML. */
static const struct {
    const char *model, *input, *output, *cache_read, *cache_write, *cache_write_1h;
} built_in[] = {
    {"gpt-5", "1.25", "10", "0.125", NULL, NULL},
    {"gpt-5-mini", "0.25", "2", "0.025", NULL, NULL},
    {"gpt-5-nano", "0.05", "0.4", "0.005", NULL, NULL},
    {"gpt-5.1", "1.25", "10", "0.125", NULL, NULL},
    {"gpt-4.1", "2", "8", "0.5", NULL, NULL},
    {"gpt-4.1-mini", "0.4", "1.6", "0.1", NULL, NULL},
    {"gpt-4.1-nano", "0.1", "0.4", "0.025", NULL, NULL},
    {"gpt-4o", "2.5", "10", "1.25", NULL, NULL},
    {"gpt-4o-mini", "0.15", "0.6", "0.075", NULL, NULL},
    {"gpt-4-turbo", "10", "30", NULL, NULL, NULL},
    {"gpt-4", "30", "60", NULL, NULL, NULL},
    {"gpt-3.5-turbo", "0.5", "1.5", NULL, NULL, NULL},
    {"o1", "15", "60", "7.5", NULL, NULL},
    {"o1-preview", "15", "60", "7.5", NULL, NULL},
    {"o1-mini", "1.1", "4.4", "0.55", NULL, NULL},
    {"o3", "2", "8", "0.5", NULL, NULL},
    {"o3-mini", "1.1", "4.4", "0.55", NULL, NULL},
    {"o4-mini", "1.1", "4.4", "0.275", NULL, NULL},
    {"text-embedding-3-small", "0.02", "0", NULL, NULL, NULL},
    {"text-embedding-3-large", "0.13", "0", NULL, NULL, NULL},
    {"text-embedding-ada-002", "0.1", "0", NULL, NULL, NULL},
    {"claude-opus-4-6", "5", "25", "0.5", "6.25", "10"},
    {"claude-opus-4-5", "5", "25", "0.5", "6.25", "10"},
    {"claude-opus-4-1", "15", "75", "1.5", "18.75", "30"},
    {"claude-opus-4", "15", "75", "1.5", "18.75", "30"},
    {"claude-sonnet-4-5", "3", "15", "0.3", "3.75", "6"},
    {"claude-sonnet-4", "3", "15", "0.3", "3.75", "6"},
    {"claude-haiku-4-5", "1", "5", "0.1", "1.25", "2"},
    {"claude-3-7-sonnet", "3", "15", "0.3", "3.75", "6"},
    {"claude-3-5-sonnet", "3", "15", "0.3", "3.75", "6"},
    {"claude-3-5-haiku", "0.8", "4", "0.08", "1", "1.6"},
    {"claude-3-opus", "15", "75", "1.5", "18.75", "30"},
    {"claude-3-haiku", "0.25", "1.25", "0.03", "0.3", "0.5"},
    {"gemini-2.5-pro", "1.25", "10", "0.31", NULL, NULL},
    {"gemini-2.5-flash", "0.3", "2.5", "0.075", NULL, NULL},
    {"gemini-2.5-flash-lite", "0.1", "0.4", "0.025", NULL, NULL},
    {"gemini-2.0-flash", "0.1", "0.4", "0.025", NULL, NULL},
    {"gemini-1.5-pro", "1.25", "5", "0.3125", NULL, NULL},
    {"gemini-1.5-flash", "0.075", "0.3", "0.01875", NULL, NULL},
    {"mistral-large", "2", "6", NULL, NULL, NULL},
    {"mistral-small", "0.1", "0.3", NULL, NULL, NULL},
    {"codestral", "0.3", "0.9", NULL, NULL, NULL},
    {"command-r-plus", "2.5", "10", NULL, NULL, NULL},
    {"command-r", "0.15", "0.6", NULL, NULL, NULL},
    {"deepseek-chat", "0.27", "1.1", "0.07", NULL, NULL},
    {"deepseek-reasoner", "0.55", "2.19", "0.14", NULL, NULL},
    {"grok-4", "3", "15", "0.75", NULL, NULL},
    {"llama-3.3-70b-versatile", "0.59", "0.79", NULL, NULL, NULL},
    {"llama-3.1-8b-instant", "0.05", "0.08", NULL, NULL, NULL},
};

/* USD per million tokens as decimal text -> pico-USD per token: the value x 10^6. */
static bool price_parse(struct bytes text, int64_t *out)
{
    int64_t v = 0;
    int fraction = -1;
    text = bytes_trim(text);
    if (text.size == 0 || text.size > 16)
        return false;
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        if (c == '.' && fraction < 0)
            fraction = 0;
        else if (c >= '0' && c <= '9' && fraction < 6) {
            v = v * 10 + (c - '0');
            fraction += fraction >= 0;
        } else
            return false;
    }
    if (v > 1000000000)
        return false;
    for (int i = fraction < 0 ? 0 : fraction; i < 6; i++)
        v *= 10;
    *out = v;
    return v <= INT64_C(1000000000000);
}

static uint32_t price_hash(struct bytes provider, struct bytes model)
{
    return (uint32_t)hash64(model, hash64(provider, 7));
}

static int32_t *price_slot(const struct price_table *t, struct bytes provider, struct bytes model)
{
    uint32_t at = price_hash(provider, model) & (t->slot_count - 1);
    while (t->slots[at]) {
        const struct price_row *r = &t->rows[t->slots[at] - 1];
        if (bytes_equal(r->provider, provider) && bytes_equal(r->model, model))
            break;
        at = (at + 1) & (t->slot_count - 1);
    }
    return &t->slots[at];
}

/* Keeps the rows of one (provider, model) newest first. */
static enum err price_add(struct price_table *t, struct price_row row, struct err_msg *msg)
{
    if (t->count >= PRICE_TABLE_MAX)
        return err_set(msg, ERR_LIMIT, "more than %u prices", PRICE_TABLE_MAX);
    row.next = -1;
    size_t index = t->count++;
    t->rows[index] = row;
    int32_t *slot = price_slot(t, row.provider, row.model);
    int32_t at = *slot - 1, before = -1;
    while (at >= 0 && t->rows[at].from_ns > row.from_ns) {
        before = at;
        at = t->rows[at].next;
    }
    t->rows[index].next = at;
    if (before >= 0)
        t->rows[before].next = (int32_t)index;
    else
        *slot = (int32_t)index + 1;
    return ERR_OK;
}

static enum err price_yaml_rate(const struct yaml_node *row, const char *key, bool needed,
                                int64_t fallback, int64_t *out, struct err_msg *msg)
{
    const struct yaml_node *n = yaml_get(row, key);
    *out = fallback;
    if (!n && needed)
        return err_set(msg, ERR_INVALID,
                       "prices, line %u: `%s` is missing (USD per million tokens)", row->line, key);
    if (n && !price_parse(n->text, out))
        return err_set(msg, ERR_INVALID,
                       "prices, line %u: `%s` must be USD per million tokens, such as 0.15",
                       n->line, key);
    return ERR_OK;
}

static enum err price_yaml_row(struct price_table *t, const struct yaml_node *n,
                               struct err_msg *msg)
{
    char scratch[GENAI_MODEL_MAX];
    struct price_row row = {.from_ns = INT64_MIN};
    struct bytes model = yaml_get_str(n, "model"), from = yaml_get_str(n, "from");
    enum err e;
    if (!model.size || model.size > GENAI_MODEL_MAX)
        return err_set(msg, ERR_INVALID, "prices, line %u: `model` is missing or too long",
                       n->line);
    row.model = arena_copy(t->arena, genai_model_family(model, scratch));
    row.provider = arena_copy(t->arena, yaml_get_str(n, "provider"));
    if (from.size) {
        char text[40];
        snprintf(text, sizeof text, BYTES_FMT "T00:00:00Z", BYTES_ARG(from));
        if (from.size != 10 || !clock_parse_rfc3339(text, &row.from_ns))
            return err_set(msg, ERR_INVALID, "prices, line %u: `from` must be a date: 2026-10-01",
                           n->line);
    }
    struct genai_price *p = &row.price;
    if ((e = price_yaml_rate(n, "input", true, 0, &p->input, msg)) ||
        (e = price_yaml_rate(n, "output", true, 0, &p->output, msg)) ||
        (e = price_yaml_rate(n, "cache_read", false, p->input, &p->cache_read, msg)) ||
        (e = price_yaml_rate(n, "cache_write", false, p->input, &p->cache_write, msg)) ||
        (e = price_yaml_rate(n, "cache_write_1h", false, p->cache_write, &p->cache_write_1h, msg)))
        return e;
    return price_add(t, row, msg);
}

/* prices: [{model, provider?, from?, input, output, cache_read?, cache_write?, cache_write_1h?}] */
static enum err price_load_yaml(struct price_table *t, struct bytes yaml, struct err_msg *msg)
{
    struct yaml_node *doc = NULL;
    enum err e = yaml_in_parse(yaml, t->arena, &doc, msg);
    if (e)
        return e;
    if (!doc)
        return ERR_OK;
    const struct yaml_node *list = yaml_get(doc, "prices");
    if (!list || list->type != YAML_LIST)
        return err_set(msg, ERR_INVALID, "prices, line %u: a list `prices:` is expected",
                       doc->line);
    for (const struct yaml_node *n = list->child; n && !e; n = n->next)
        e = n->type == YAML_MAP
                ? price_yaml_row(t, n, msg)
                : err_set(msg, ERR_INVALID, "prices, line %u: a map is expected", n->line);
    return e;
}

static int64_t built_in_rate(const char *text, int64_t fallback)
{
    int64_t v = fallback;
    return text && price_parse(bytes_str(text), &v) ? v : fallback;
}

enum err price_table_new(struct bytes yaml, struct price_table **out, struct err_msg *msg)
{
    struct price_table *t = calloc(1, sizeof *t);
    enum err e = ERR_OK;
    if (!t)
        return err_set(msg, ERR_NOMEM, "no memory for the price table");
    t->slot_count = PRICE_TABLE_MAX * 2;
    t->arena = arena_new(0);
    t->rows = calloc(PRICE_TABLE_MAX, sizeof *t->rows);
    t->slots = calloc(t->slot_count, sizeof *t->slots);
    if (!t->arena || !t->rows || !t->slots)
        e = err_set(msg, ERR_NOMEM, "no memory for the price table");
    for (size_t i = 0; !e && i < sizeof built_in / sizeof *built_in; i++) {
        struct price_row row = {.model = bytes_str(built_in[i].model), .from_ns = INT64_MIN};
        struct genai_price *p = &row.price;
        p->input = built_in_rate(built_in[i].input, 0);
        p->output = built_in_rate(built_in[i].output, 0);
        p->cache_read = built_in_rate(built_in[i].cache_read, p->input);
        p->cache_write = built_in_rate(built_in[i].cache_write, p->input);
        p->cache_write_1h = built_in_rate(built_in[i].cache_write_1h, p->cache_write);
        e = price_add(t, row, msg);
    }
    if (!e && yaml.size)
        e = price_load_yaml(t, yaml, msg);
    if (e) {
        price_table_free(t);
        return e;
    }
    *out = t;
    return ERR_OK;
}

void price_table_free(struct price_table *t)
{
    if (!t)
        return;
    arena_free(t->arena);
    free(t->rows);
    free(t->slots);
    free(t);
}

bool price_table_find(const struct price_table *t, struct bytes provider, struct bytes family,
                      int64_t at_ns, struct genai_price *out)
{
    int32_t at = *price_slot(t, provider, family) - 1;
    if (at < 0 && provider.size)
        at = *price_slot(t, BYTES_NONE, family) - 1;
    if (at < 0)
        return false;
    while (t->rows[at].from_ns > at_ns && t->rows[at].next >= 0)
        at = t->rows[at].next;
    *out = t->rows[at].price;
    return true;
}

/* tokens x pico-USD -> nano-USD, half up. */
static int64_t price_part(int64_t tokens, int64_t pico)
{
    if (tokens <= 0)
        return 0;
    return (int64_t)(((__int128)tokens * pico + 500) / 1000);
}

void price_table_apply(const struct price_table *t, struct genai_row *r, int64_t at_ns)
{
    struct genai_price p;
    memset(r->cost, 0, sizeof r->cost);
    r->cost_total = -1;
    if (!price_table_find(t, r->provider, r->model, at_ns, &p))
        return;
    int64_t read = r->cache_read_tokens > 0 ? r->cache_read_tokens : 0;
    int64_t write = r->cache_write_tokens > 0 ? r->cache_write_tokens : 0;
    int64_t write_1h = r->cache_write_1h_tokens > 0 ? r->cache_write_1h_tokens : 0;
    int64_t input = (r->input_tokens > 0 ? r->input_tokens : 0) - read - write;
    write_1h = write_1h < write ? write_1h : write;
    r->cost[GENAI_COST_INPUT] = price_part(input, p.input);
    r->cost[GENAI_COST_CACHE_READ] = price_part(read, p.cache_read);
    r->cost[GENAI_COST_CACHE_WRITE] =
        price_part(write - write_1h, p.cache_write) + price_part(write_1h, p.cache_write_1h);
    r->cost[GENAI_COST_OUTPUT] = price_part(r->output_tokens, p.output);
    r->cost_total = 0;
    for (int i = 0; i < GENAI_COST_COUNT; i++) {
        if (r->plane == TSDB_PLANE_BATCH)
            r->cost[i] = (r->cost[i] + 1) / 2; /* batch interfaces bill half */
        r->cost_total += r->cost[i];
    }
    if (r->flags & TSDB_ROW_ESTIMATED) { /* a guess never mixes with what was billed */
        memset(r->cost, 0, sizeof r->cost);
        r->cost[GENAI_COST_ESTIMATED] = r->cost_total;
    }
}
