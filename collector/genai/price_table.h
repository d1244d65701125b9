/* What a call costs, by date: a table of rows from the built-in list and from the owner's document, and which of them a call falls under.
 *
 * A row is one rate card: (provider, model or pattern, scope, from, until, service tier, context above N tokens) -> rates. Rows that differ
 * only in tier and context are an offer. A call is looked up in three layers: rows with a scope (org, service, tenant) that fits it, the
 * owner's other rows, the built-in list; in each by the model's name as it was sent, then its family, then patterns, the longest first; a
 * row of the call's provider before a row for all. The first offer whose dates hold the call and that knows its tier is taken.
 * Owner: references (price_table_ref, price_table_unref); immutable once it is shared.  Thread: lookups by any.
 * Failure: ERR_INVALID with file, line and key for a bad document, ERR_LIMIT.
 * Limits: PRICE_ROWS_MAX rows, PRICE_SCOPES_MAX scopes, PRICE_PATTERNS_MAX patterns a layer.
 * Invariants: 1. from <= time < until for the offer that applies; outside of every offer's dates the price is unknown.
 *             2. A missing rate is that of the plain tokens it is a part of (cache, audio, image: input; reasoning, audio, image: output), never 0.
 *             3. The id of a row is a function of its content (and, among rows of one 32-bit hash, of which came first): it outlives
 *                restarts and reloads.
 */
#ifndef COLLECTOR_GENAI_PRICE_TABLE_H
#define COLLECTOR_GENAI_PRICE_TABLE_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/hash.h"

#define PRICE_ROWS_MAX 16384u
#define PRICE_SCOPES_MAX 256u
#define PRICE_PATTERNS_MAX 512u /* each is tried on a name's first sight only: price_memo */
#define PRICE_NAME_MAX 128u
#define PRICE_MEMO_SLOTS 256u
#define PRICE_CANDIDATES 8u

/* X(NAME, "key"): USD per million tokens in documents, pico-USD per token here, so that $0.01875 is still an integer. */
#define PRICE_RATES(X)                                 \
    X(INPUT, "input")                                  \
    X(CACHE_READ, "cache_read")                        \
    X(CACHE_WRITE, "cache_write") /* kept 5 minutes */ \
    X(CACHE_WRITE_1H, "cache_write_1h")                \
    X(AUDIO_INPUT, "audio_input")                      \
    X(AUDIO_CACHE_READ, "audio_cache_read")            \
    X(IMAGE_INPUT, "image_input")                      \
    X(IMAGE_CACHE_READ, "image_cache_read")            \
    X(OUTPUT, "output")                                \
    X(REASONING, "reasoning")                          \
    X(AUDIO_OUTPUT, "audio_output")                    \
    X(IMAGE_OUTPUT, "image_output")
enum price_rate {
#define X(name, text) PRICE_RATE_##name,
    PRICE_RATES(X)
#undef X
        PRICE_RATE_COUNT
};

/* X(NAME, "key"): USD in documents, nano-USD here. */
#define PRICE_UNITS(X)                     \
    X(REQUEST, "request") /* per call */   \
    X(IMAGE, "image") /* per image made */ \
    X(GPU_HOUR, "gpu_hour") /* per GPU and hour, see price_cost.h */
enum price_unit {
#define X(name, text) PRICE_UNIT_##name,
    PRICE_UNITS(X)
#undef X
        PRICE_UNIT_COUNT
};

/* As documents call them. */
extern const char *const price_rate_keys[PRICE_RATE_COUNT];
extern const char *const price_unit_keys[PRICE_UNIT_COUNT];

enum price_tier {
    PRICE_TIER_DEFAULT,
    PRICE_TIER_PRIORITY,
    PRICE_TIER_FLEX,
    PRICE_TIER_BATCH,
    PRICE_TIER_FAST,
    PRICE_TIER_COUNT
};
const char *price_tier_text(uint8_t tier);
/* The provider's word for it ("standard", "auto", "on_demand", ...); false: no tier that is known. */
bool price_tier_parse(struct bytes text, uint8_t *out);

enum price_layer { PRICE_LAYER_LIST, PRICE_LAYER_OWN, PRICE_LAYER_SCOPED };

struct price_row {
    uint32_t id; /* set by the table */
    uint8_t tier; /* enum price_tier */
    int64_t above; /* for requests with more input tokens than this; 0 = all */
    int64_t rate[PRICE_RATE_COUNT];
    int64_t unit[PRICE_UNIT_COUNT]; /* -1 = none */
    uint32_t gpus, concurrency; /* of GPU_HOUR */
};

struct price_scope {
    uint32_t org; /* 0 = any */
    struct bytes service, tenant; /* empty = any */
};

struct price_offer {
    struct bytes provider, model, source; /* provider empty = any; model may hold `*` */
    struct price_scope scope;
    uint8_t layer;
    int64_t from_ns, until_ns; /* INT64_MIN, INT64_MAX: open */
    uint32_t row_first, row_count; /* set by the table */
    int32_t next; /* of the same key, older; set by the table */
};

struct price_table;

struct price_table *price_table_new(void); /* empty; NULL = no memory */
struct price_table *price_table_ref(struct price_table *t);
void price_table_unref(struct price_table *t); /* NULL is fine */
/* Copies the offer's texts. rows: one to PRICE_ROWS_MAX, any order. A later offer of the same key and `from` goes before an earlier one. */
enum err price_table_add(struct price_table *t, const struct price_offer *o,
                         const struct price_row *rows, size_t row_count,
                         struct err_msg *msg) MUST_CHECK;
/* Whose keys and users are whose: the document's dated rows (invoice_centres.h). Before the table is shared. */
enum err price_table_add_centres(struct price_table *t, struct bytes yaml,
                                 struct err_msg *msg) MUST_CHECK;
/* The cost centre of a call; empty: nobody's. The slice lives as long as the table. */
struct bytes price_table_centre(const struct price_table *t, int64_t end_ns, struct bytes key,
                                struct bytes user);
size_t price_table_row_count(const struct price_table *t);
const struct price_row *price_table_row(const struct price_table *t, size_t i,
                                        const struct price_offer **out_offer);
/* The row of a durable registry knows this id by another content: take the next one. Before the table is shared. */
void price_table_renumber(struct price_table *t, size_t i, uint32_t id);
/* Content of a row as one JSON object, without id and source: what the id stands for. */
void price_table_row_json(const struct price_offer *o, const struct price_row *r, struct buf *out);

/* A decimal number scaled by 10^digits, exactly; false: not one, negative, more digits, or too large. */
bool price_decimal(struct bytes text, int digits, int64_t *out);
/* The same with an exponent ("1.25e-07"), half up where it does not come out even. */
bool price_scaled(struct bytes text, int digits, int64_t *out, bool *out_rounded);
void price_decimal_write(struct buf *out, int64_t v, int digits);

/* --- lookup ---------------------------------------------------------------------------------------- */

struct price_question {
    struct bytes provider, model, family; /* canonical provider, name as sent, canonical family */
    uint32_t org;
    struct bytes service, tenant;
    int64_t at_ns, input_tokens;
    uint8_t tier;
};

struct price_memo { /* of one reader, for one table */
    const struct price_table *table;
    struct {
        struct hash128 key;
        uint32_t count;
        int32_t offers[PRICE_CANDIDATES];
    } slots[PRICE_MEMO_SLOTS];
};

enum price_found {
    PRICE_FOUND,
    PRICE_FOUND_HALF, /* a batch call, and no batch price of its own: half of the plain one */
    PRICE_NO_MODEL,
    PRICE_NO_DATE, /* the model is known, its dates do not hold the call */
    PRICE_NO_TIER
};
enum price_found price_table_find(const struct price_table *t, struct price_memo *memo,
                                  const struct price_question *q, const struct price_row **out);

#endif
