#include "collector/genai/price_table.h"

#include "base/check.h"
#include "base/clock.h"
#include "collector/genai/invoice_centres.h"
#include "collector/genai/model_family.h"

#include <stdatomic.h>
#include <stdlib.h>

#define DAY_NS (INT64_C(86400) * 1000000000)

#define OFFERS_MAX PRICE_ROWS_MAX
#define SLOT_COUNT (OFFERS_MAX * 2)

struct price_table {
    atomic_int refs;
    struct arena *arena;
    struct price_row *rows;
    struct price_offer *offers;
    size_t row_count, offer_count, row_cap, offer_cap;
    int32_t *slots; /* offer index + 1 of the newest offer of a key */
    int32_t *ids; /* row index + 1 by id */
    struct invoice_centres centres;
    struct price_scope scopes[PRICE_SCOPES_MAX];
    uint32_t scope_count;
    int32_t patterns[2]
                    [PRICE_PATTERNS_MAX]; /* heads of chains without a scope, the longest first */
    uint32_t pattern_count[2];
};

const char *const price_rate_keys[PRICE_RATE_COUNT] = {
#define X(name, text) text,
    PRICE_RATES(X)
#undef X
};
const char *const price_unit_keys[PRICE_UNIT_COUNT] = {
#define X(name, text) text,
    PRICE_UNITS(X)
#undef X
};
static const char *const tier_texts[PRICE_TIER_COUNT] = {"default", "priority", "flex", "batch",
                                                         "fast"};

const char *price_tier_text(uint8_t tier)
{
    return tier < PRICE_TIER_COUNT ? tier_texts[tier] : "";
}

bool price_tier_parse(struct bytes text, uint8_t *out)
{
    /* "scale" is capacity paid beforehand, "auto" leaves the choice to the provider, who says in the response what it was. */
    static const char *const plain[] = {"default",   "standard", "auto",   "standard_only",
                                        "on_demand", "scale",    "normal", "none"};
    for (unsigned i = 0; i < PRICE_TIER_COUNT; i++)
        if (bytes_equal_nocase(text, bytes_str(tier_texts[i]))) {
            *out = (uint8_t)i;
            return true;
        }
    for (size_t i = 0; i < ARRAY_LEN(plain); i++)
        if (bytes_equal_nocase(text, bytes_str(plain[i]))) {
            *out = PRICE_TIER_DEFAULT;
            return true;
        }
    return false;
}

/* --- decimals -------------------------------------------------------------------------------------- */

bool price_decimal(struct bytes text, int digits, int64_t *out)
{
    int64_t v = 0;
    int fraction = -1;
    bool any = false;
    text = bytes_trim(text);
    if (text.size > 24)
        return false;
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        if (c == '.' && fraction < 0) {
            fraction = 0;
            continue;
        }
        if (c < '0' || c > '9')
            return false;
        any = true;
        if (fraction >= digits) {
            if (c != '0')
                return false;
            continue;
        }
        if (v > INT64_C(100000000000000000))
            return false;
        v = v * 10 + (c - '0');
        fraction += fraction >= 0;
    }
    for (int i = fraction < 0 ? 0 : fraction; i < digits; i++) {
        if (v > INT64_C(100000000000000000))
            return false;
        v *= 10;
    }
    *out = v;
    return any && v <= INT64_C(1000000000000000);
}

bool price_scaled(struct bytes text, int digits, int64_t *out, bool *out_rounded)
{
    int64_t v = 0;
    int exponent = digits, seen = 0;
    bool fraction = false, any = false;
    size_t i = 0;
    for (; i < text.size; i++) {
        uint8_t c = text.data[i];
        if (c == '.' && !fraction) {
            fraction = true;
            continue;
        }
        if (c < '0' || c > '9')
            break;
        any = true;
        if (v || c != '0')
            seen++;
        if (seen > 17) { /* finer than anything that is billed */
            exponent += fraction ? 0 : 1;
            continue;
        }
        v = v * 10 + (c - '0');
        exponent -= fraction;
    }
    if (i < text.size && (text.data[i] == 'e' || text.data[i] == 'E')) {
        int64_t e;
        struct bytes rest = bytes_slice(text, i + 1, text.size);
        if (rest.size && rest.data[0] == '+')
            rest = bytes_slice(rest, 1, rest.size);
        if (!bytes_to_i64(rest, &e) || e < -400 || e > 400)
            return false;
        exponent += (int)e;
        i = text.size;
    }
    if (!any || i != text.size)
        return false;
    for (; exponent > 0 && v; exponent--) {
        if (v > INT64_C(100000000000000000))
            return false;
        v *= 10;
    }
    int64_t last = 0;
    bool uneven = false;
    for (; exponent < 0 && (v || last); exponent++) {
        uneven = uneven || last;
        last = v % 10;
        v /= 10;
    }
    *out_rounded = uneven || last;
    *out = v + (exponent == 0 && last >= 5);
    return *out <= INT64_C(1000000000000000);
}

void price_decimal_write(struct buf *out, int64_t v, int digits)
{
    int64_t unit = 1;
    for (int i = 0; i < digits; i++)
        unit *= 10;
    buf_printf(out, "%lld", (long long)(v / unit));
    v %= unit;
    if (v)
        buf_u8(out, '.');
    while (v) {
        unit /= 10;
        buf_u8(out, (uint8_t)('0' + v / unit));
        v %= unit;
    }
}

/* --- life ------------------------------------------------------------------------------------------ */

struct price_table *price_table_new(void)
{
    struct price_table *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    atomic_init(&t->refs, 1);
    t->arena = arena_new(0);
    t->slots = calloc(SLOT_COUNT, sizeof *t->slots);
    t->ids = calloc(SLOT_COUNT, sizeof *t->ids);
    if (t->arena && t->slots && t->ids)
        return t;
    price_table_unref(t);
    return NULL;
}

struct price_table *price_table_ref(struct price_table *t)
{
    atomic_fetch_add(&t->refs, 1);
    return t;
}

void price_table_unref(struct price_table *t)
{
    if (!t || atomic_fetch_sub(&t->refs, 1) != 1)
        return;
    arena_free(t->arena);
    free(t->rows);
    free(t->offers);
    free(t->slots);
    free(t->ids);
    free(t);
}

/* --- cost centres ------------------------------------------------------------------------------------ */

enum err price_table_add_centres(struct price_table *t, struct bytes yaml, struct err_msg *msg)
{
    struct bytes copy = arena_copy(t->arena, yaml);
    if (yaml.size && !copy.data)
        return err_set(msg, ERR_NOMEM, "no memory for the cost centres");
    return invoice_centres_read(copy, t->arena, &t->centres, msg);
}

struct bytes price_table_centre(const struct price_table *t, int64_t end_ns, struct bytes key,
                                struct bytes user)
{
    if (!t->centres.count || end_ns < 0)
        return BYTES_NONE;
    return invoice_centres_find(&t->centres, (uint32_t)(end_ns / DAY_NS), key, user, BYTES_NONE);
}

/* --- adding ---------------------------------------------------------------------------------------- */

static bool is_pattern(struct bytes model)
{
    return bytes_find(model, BYTES_LIT("*")) < model.size;
}

static bool scopes_equal(const struct price_scope *a, const struct price_scope *b)
{
    return a->org == b->org && bytes_equal(a->service, b->service) &&
           bytes_equal(a->tenant, b->tenant);
}

static uint32_t key_hash(uint8_t layer, const struct price_scope *scope, struct bytes provider,
                         struct bytes model)
{
    uint64_t h = hash64(provider, 7u + layer);
    if (scope && layer == PRICE_LAYER_SCOPED)
        h = hash64(scope->tenant, hash64(scope->service, h + scope->org));
    return (uint32_t)hash64(model, h);
}

static int32_t *key_slot(const struct price_table *t, uint8_t layer,
                         const struct price_scope *scope, struct bytes provider, struct bytes model)
{
    uint32_t at = key_hash(layer, scope, provider, model) & (SLOT_COUNT - 1);
    while (t->slots[at]) {
        const struct price_offer *o = &t->offers[t->slots[at] - 1];
        if (o->layer == layer && bytes_equal(o->model, model) &&
            bytes_equal(o->provider, provider) &&
            (layer != PRICE_LAYER_SCOPED || scopes_equal(&o->scope, scope)))
            break;
        at = (at + 1) & (SLOT_COUNT - 1);
    }
    return &t->slots[at];
}

/* Keeps the offers of one key newest first, later added ones before. */
static void chain_insert(struct price_table *t, int32_t *slot, size_t index)
{
    struct price_offer *o = &t->offers[index];
    int32_t at = *slot - 1, before = -1;
    while (at >= 0 && t->offers[at].from_ns > o->from_ns) {
        before = at;
        at = t->offers[at].next;
    }
    o->next = at;
    if (before >= 0)
        t->offers[before].next = (int32_t)index;
    else
        *slot = (int32_t)index + 1;
}

/* Literal characters first, a provider's own before everybody's. */
static bool pattern_before(const struct price_offer *a, const struct price_offer *b)
{
    if (a->model.size != b->model.size)
        return a->model.size > b->model.size;
    return a->provider.size && !b->provider.size;
}

/* The list holds one offer of each key; the chain it is in is found by the key. */
static enum err pattern_insert(struct price_table *t, size_t index, struct err_msg *msg)
{
    const struct price_offer *o = &t->offers[index];
    uint32_t *n = &t->pattern_count[o->layer];
    int32_t *list = t->patterns[o->layer];
    if (*n >= PRICE_PATTERNS_MAX)
        return err_set(msg, ERR_LIMIT, "more than %u model patterns", PRICE_PATTERNS_MAX);
    uint32_t at = *n;
    while (at > 0 && pattern_before(o, &t->offers[list[at - 1]])) {
        list[at] = list[at - 1];
        at--;
    }
    list[at] = (int32_t)index;
    ++*n;
    return ERR_OK;
}

static enum err scope_add(struct price_table *t, const struct price_scope *s, struct err_msg *msg)
{
    for (uint32_t i = 0; i < t->scope_count; i++)
        if (scopes_equal(&t->scopes[i], s))
            return ERR_OK;
    if (t->scope_count >= PRICE_SCOPES_MAX)
        return err_set(msg, ERR_LIMIT, "more than %u combinations of org, service and tenant",
                       PRICE_SCOPES_MAX);
    /* the more it says, the earlier it is asked */
    uint32_t at = t->scope_count++;
    int said = (s->org != 0) + (s->service.size != 0) + (s->tenant.size != 0);
    while (at > 0) {
        const struct price_scope *b = &t->scopes[at - 1];
        if ((b->org != 0) + (b->service.size != 0) + (b->tenant.size != 0) >= said)
            break;
        t->scopes[at] = *b;
        at--;
    }
    t->scopes[at] = *s;
    return ERR_OK;
}

static int32_t *id_slot(const struct price_table *t, uint32_t id)
{
    uint32_t at = id & (SLOT_COUNT - 1);
    while (t->ids[at] && t->rows[t->ids[at] - 1].id != id)
        at = (at + 1) & (SLOT_COUNT - 1);
    return &t->ids[at];
}

/* The row at row_count, already in its place, gets its id. */
static enum err row_number(struct price_table *t, const struct price_offer *o, struct err_msg *msg)
{
    struct buf text = {0}, other = {0};
    struct price_row *r = &t->rows[t->row_count];
    price_table_row_json(o, r, &text);
    r->id = (uint32_t)hash64(buf_bytes(&text), 1) | 1u << 31; /* never 0 */
    int32_t *slot;
    /* the very same content again keeps its id: either row says what it cost */
    while (buf_ok(&text) && *(slot = id_slot(t, r->id))) {
        const struct price_offer *of;
        const struct price_row *there = price_table_row(t, (size_t)*slot - 1, &of);
        buf_clear(&other);
        price_table_row_json(of, there, &other);
        if (bytes_equal(buf_bytes(&text), buf_bytes(&other)))
            break;
        r->id = (r->id + 1) | 1u << 31;
    }
    bool ok = buf_ok(&text) && buf_ok(&other);
    t->row_count++;
    if (ok && !*(slot = id_slot(t, r->id)))
        *slot = (int32_t)t->row_count;
    buf_done(&text);
    buf_done(&other);
    return ok ? ERR_OK : err_set(msg, ERR_NOMEM, "no memory for the price table");
}

static int row_compare(const void *a, const void *b)
{
    const struct price_row *x = a, *y = b;
    if (x->tier != y->tier)
        return x->tier < y->tier ? -1 : 1;
    return (x->above > y->above) - (x->above < y->above);
}

/* Room for one more offer (and the place after it, which lookups of a half added one look at) and its rows. */
static bool table_grow(struct price_table *t, size_t rows)
{
    if (t->row_count + rows > t->row_cap) {
        size_t cap = MAX(t->row_cap * 2, t->row_count + rows + 32);
        struct price_row *p = realloc(t->rows, cap * sizeof *p);
        if (!p)
            return false;
        t->rows = p;
        t->row_cap = cap;
    }
    if (t->offer_count + 2 > t->offer_cap) {
        size_t cap = t->offer_cap * 2 + 32;
        struct price_offer *p = realloc(t->offers, cap * sizeof *p);
        if (!p)
            return false;
        memset(p + t->offer_cap, 0, (cap - t->offer_cap) * sizeof *p);
        t->offers = p;
        t->offer_cap = cap;
    }
    return true;
}

enum err price_table_add(struct price_table *t, const struct price_offer *given,
                         const struct price_row *rows, size_t row_count, struct err_msg *msg)
{
    if (row_count == 0 || t->row_count + row_count > PRICE_ROWS_MAX)
        return err_set(msg, ERR_LIMIT, "more than %u prices", PRICE_ROWS_MAX);
    if (!table_grow(t, row_count))
        return err_set(msg, ERR_NOMEM, "no memory for the price table");
    size_t index = t->offer_count;
    struct price_offer *o = &t->offers[index];
    *o = *given;
    o->provider = arena_copy(t->arena, given->provider);
    o->model = arena_copy(t->arena, given->model);
    o->source = arena_copy(t->arena, given->source);
    o->scope.service = arena_copy(t->arena, given->scope.service);
    o->scope.tenant = arena_copy(t->arena, given->scope.tenant);
    o->row_first = (uint32_t)t->row_count;
    o->row_count = (uint32_t)row_count;
    enum err e = o->model.data ? ERR_OK : err_set(msg, ERR_NOMEM, "no memory for the price table");
    if (e == ERR_OK && o->layer == PRICE_LAYER_SCOPED)
        e = scope_add(t, &o->scope, msg);
    int32_t *slot = key_slot(t, o->layer, &o->scope, o->provider, o->model);
    if (e == ERR_OK && !*slot && is_pattern(o->model)) {
        if (o->layer == PRICE_LAYER_SCOPED)
            return err_set(msg, ERR_INVALID,
                           "a price of an org, service or tenant needs a model's whole name");
        e = pattern_insert(t, index, msg);
    }
    memcpy(&t->rows[t->row_count], rows, row_count * sizeof *rows);
    qsort(&t->rows[t->row_count], row_count, sizeof *t->rows, row_compare);
    for (size_t i = 0; e == ERR_OK && i < row_count; i++)
        e = row_number(t, o, msg);
    if (e != ERR_OK)
        return e;
    t->offer_count++;
    chain_insert(t, slot, index);
    return ERR_OK;
}

/* --- rows ------------------------------------------------------------------------------------------ */

size_t price_table_row_count(const struct price_table *t)
{
    return t->row_count;
}

const struct price_row *price_table_row(const struct price_table *t, size_t i,
                                        const struct price_offer **out_offer)
{
    size_t low = 0, high = t->offer_count + 1;
    CHECK(i < t->row_count);
    while (high - low >
           1) { /* offers lie in the order of their rows; the last one may be half added */
        size_t mid = (low + high) / 2;
        if (t->offers[mid].row_first <= i && (mid < t->offer_count || t->offers[mid].row_count))
            low = mid;
        else
            high = mid;
    }
    *out_offer = &t->offers[low];
    return &t->rows[i];
}

void price_table_renumber(struct price_table *t, size_t i, uint32_t id)
{
    t->rows[i].id = id;
}

static void json_text(struct buf *out, const char *key, struct bytes v)
{
    if (!v.size)
        return;
    buf_printf(out, "\"%s\":\"", key);
    for (size_t i = 0; i < v.size; i++) {
        if (v.data[i] == '"' || v.data[i] == '\\')
            buf_u8(out, '\\');
        buf_u8(out, v.data[i] < 32 ? ' ' : v.data[i]);
    }
    buf_str(out, "\",");
}

static void json_date(struct buf *out, const char *key, int64_t ns)
{
    char text[64];
    if (ns == INT64_MIN || ns == INT64_MAX)
        return;
    clock_rfc3339(ns / 1000000, text);
    buf_printf(out, "\"%s\":\"%.10s\",", key, text);
}

void price_table_row_json(const struct price_offer *o, const struct price_row *r, struct buf *out)
{
    buf_u8(out, '{');
    json_text(out, "provider", o->provider);
    json_text(out, "model", o->model);
    if (o->scope.org)
        buf_printf(out, "\"org\":%u,", o->scope.org);
    json_text(out, "service", o->scope.service);
    json_text(out, "tenant", o->scope.tenant);
    json_date(out, "from", o->from_ns);
    json_date(out, "until", o->until_ns);
    buf_printf(out, "\"tier\":\"%s\",", price_tier_text(r->tier));
    if (r->above)
        buf_printf(out, "\"above\":%lld,", (long long)r->above);
    for (int i = 0; i < PRICE_RATE_COUNT; i++) {
        buf_printf(out, "\"%s\":", price_rate_keys[i]);
        price_decimal_write(out, r->rate[i], 6);
        buf_u8(out, ',');
    }
    for (int i = 0; i < PRICE_UNIT_COUNT; i++)
        if (r->unit[i] >= 0) {
            buf_printf(out, "\"%s\":", price_unit_keys[i]);
            price_decimal_write(out, r->unit[i], 9);
            buf_u8(out, ',');
        }
    if (r->unit[PRICE_UNIT_GPU_HOUR] >= 0)
        buf_printf(out, "\"gpus\":%u,\"concurrency\":%u,", r->gpus, r->concurrency);
    buf_str(out, "\"unit\":\"USD per million tokens\"}");
}

/* --- lookup ---------------------------------------------------------------------------------------- */

static bool glob_matches(struct bytes pattern, struct bytes text)
{
    size_t p = 0, t = 0, star = SIZE_MAX, mark = 0;
    while (t < text.size) {
        if (p < pattern.size && pattern.data[p] == '*') {
            star = p++;
            mark = t;
        } else if (p < pattern.size && pattern.data[p] == text.data[t]) {
            p++;
            t++;
        } else if (star != SIZE_MAX) {
            p = star + 1;
            t = ++mark;
        } else {
            return false;
        }
    }
    while (p < pattern.size && pattern.data[p] == '*')
        p++;
    return p == pattern.size;
}

struct candidates {
    int32_t *offers;
    uint32_t count;
};

static void candidate_add(struct candidates *c, int32_t head)
{
    if (head >= 0 && c->count < PRICE_CANDIDATES)
        c->offers[c->count++] = head;
}

static void candidates_exact(const struct price_table *t, uint8_t layer,
                             const struct price_scope *scope, struct bytes provider,
                             struct bytes bare, struct bytes family, struct candidates *c)
{
    bool same = bytes_equal(bare, family);
    for (int i = same ? 1 : 0; i < 2; i++) {
        struct bytes name = i ? family : bare;
        if (provider.size)
            candidate_add(c, *key_slot(t, layer, scope, provider, name) - 1);
        candidate_add(c, *key_slot(t, layer, scope, BYTES_NONE, name) - 1);
    }
}

static void candidates_patterns(const struct price_table *t, uint8_t layer, struct bytes provider,
                                struct bytes bare, struct bytes family, struct candidates *c)
{
    for (uint32_t i = 0; i < t->pattern_count[layer]; i++) {
        const struct price_offer *o = &t->offers[t->patterns[layer][i]];
        if (o->provider.size && !bytes_equal(o->provider, provider))
            continue;
        if (glob_matches(o->model, bare) || glob_matches(o->model, family))
            candidate_add(c, *key_slot(t, layer, NULL, o->provider, o->model) - 1);
    }
}

static void candidates_of(const struct price_table *t, const struct price_question *q,
                          struct candidates *c)
{
    char scratch[PRICE_NAME_MAX];
    struct bytes bare = model_family_bare(q->model, scratch);
    for (int layer = PRICE_LAYER_OWN; layer >= PRICE_LAYER_LIST; layer--) {
        candidates_exact(t, (uint8_t)layer, NULL, q->provider, bare, q->family, c);
        candidates_patterns(t, (uint8_t)layer, q->provider, bare, q->family, c);
    }
}

/* The rows of an offer are sorted by tier, then by context. */
static const struct price_row *offer_row(const struct price_table *t, const struct price_offer *o,
                                         uint8_t tier, int64_t input)
{
    const struct price_row *best = NULL;
    for (uint32_t i = 0; i < o->row_count; i++) {
        const struct price_row *r = &t->rows[o->row_first + i];
        if (r->tier == tier && (r->above == 0 || input > r->above))
            best = r;
    }
    return best;
}

/* PRICE_FOUND..., or what is missing. */
static enum price_found offers_find(const struct price_table *t, int32_t head,
                                    const struct price_question *q, const struct price_row **out)
{
    const struct price_offer *o = NULL;
    for (int32_t at = head; at >= 0; at = t->offers[at].next)
        if (t->offers[at].from_ns <= q->at_ns && q->at_ns < t->offers[at].until_ns) {
            o = &t->offers[at];
            break;
        }
    if (!o)
        return PRICE_NO_DATE;
    const struct price_row *first = &t->rows[o->row_first];
    if (first->unit[PRICE_UNIT_GPU_HOUR] >= 0) {
        *out = first; /* the machine costs what it costs, whatever the call asked for */
        return PRICE_FOUND;
    }
    const struct price_row *plain = offer_row(t, o, PRICE_TIER_DEFAULT, q->input_tokens);
    const struct price_row *own = offer_row(t, o, q->tier, q->input_tokens);
    /* a long context that costs more plainly, and of which the tier's own prices say nothing, is not priced as a short one */
    if (own && (!plain || own->above >= plain->above)) {
        *out = own;
        return PRICE_FOUND;
    }
    *out = plain;
    return plain && q->tier == PRICE_TIER_BATCH ? PRICE_FOUND_HALF : PRICE_NO_TIER;
}

static enum price_found candidates_find(const struct price_table *t, const int32_t *offers,
                                        uint32_t n, const struct price_question *q,
                                        const struct price_row **out)
{
    enum price_found best = PRICE_NO_MODEL;
    for (uint32_t i = 0; i < n; i++) {
        enum price_found f = offers_find(t, offers[i], q, out);
        if (f <= PRICE_FOUND_HALF)
            return f;
        best = f > best ? f : best;
    }
    return best;
}

static bool scope_fits(const struct price_scope *s, const struct price_question *q)
{
    return (!s->org || s->org == q->org) &&
           (!s->service.size || bytes_equal(s->service, q->service)) &&
           (!s->tenant.size || bytes_equal(s->tenant, q->tenant));
}

static enum price_found scoped_find(const struct price_table *t, const struct price_question *q,
                                    const struct price_row **out)
{
    char scratch[PRICE_NAME_MAX];
    struct bytes bare = model_family_bare(q->model, scratch);
    for (uint32_t i = 0; i < t->scope_count; i++) {
        int32_t offers[PRICE_CANDIDATES];
        struct candidates c = {offers, 0};
        if (!scope_fits(&t->scopes[i], q))
            continue;
        candidates_exact(t, PRICE_LAYER_SCOPED, &t->scopes[i], q->provider, bare, q->family, &c);
        enum price_found f = candidates_find(t, offers, c.count, q, out);
        if (f <= PRICE_FOUND_HALF)
            return f;
    }
    return PRICE_NO_MODEL;
}

enum price_found price_table_find(const struct price_table *t, struct price_memo *memo,
                                  const struct price_question *q, const struct price_row **out)
{
    *out = NULL;
    if (t->scope_count && q->family.size) {
        enum price_found f = scoped_find(t, q, out);
        if (f <= PRICE_FOUND_HALF)
            return f;
    }
    if (!q->family.size)
        return PRICE_NO_MODEL;
    struct hash128 key = hash128(q->model, hash64(q->provider, 5));
    if (memo->table != t) {
        memset(memo, 0, sizeof *memo);
        memo->table = t;
    }
    uint32_t at = (uint32_t)key.lo % PRICE_MEMO_SLOTS;
    if (!hash128_equal(memo->slots[at].key, key)) {
        struct candidates c = {memo->slots[at].offers, 0};
        candidates_of(t, q, &c);
        memo->slots[at].key = key;
        memo->slots[at].count = c.count;
    }
    return candidates_find(t, memo->slots[at].offers, memo->slots[at].count, q, out);
}
