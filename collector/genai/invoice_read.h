/* What a provider says that it billed: usage and cost exports, CSV or JSON -> sums by day and model, and by day and key.
 *
 * Known forms: OpenAI's usage and costs API and their CSV exports, Anthropic's usage and cost reports (amounts there are cents) and their
 * CSV exports, any other CSV or JSON with columns that are named. Counts become totals that hold their parts: Anthropic's uncached input is
 * added to what was read from and written to the cache.
 * Owner: caller (invoice_new, invoice_free).  Thread: one at a time.
 * Failure: ERR_INVALID with the line (or byte) for what is no table; ERR_LIMIT. Rows that cannot be used are counted, not refused.
 * Limits: INVOICE_LINES_MAX (day, model), INVOICE_KEYS_MAX (day, key), INVOICE_COLUMNS_MAX, a cell of INVOICE_CELL_MAX bytes.
 */
#ifndef COLLECTOR_GENAI_INVOICE_READ_H
#define COLLECTOR_GENAI_INVOICE_READ_H

#include "base/arena.h"

#define INVOICE_LINES_MAX 20000u
#define INVOICE_KEYS_MAX 50000u
#define INVOICE_COLUMNS_MAX 64u
#define INVOICE_CELL_MAX 4096u
#define INVOICE_NAME_MAX 128u
#define INVOICE_SUM_MAX \
    INT64_C(1000000000000000000) /* a sum is cut there: a thousand million dollars */

enum invoice_provider { INVOICE_GENERIC, INVOICE_OPENAI, INVOICE_ANTHROPIC };
bool invoice_provider_parse(struct bytes text, enum invoice_provider *out);

/* X(NAME, "key of a column mapping") */
#define INVOICE_FIELDS(X)                                                           \
    X(DAY, "day")                                                                   \
    X(MODEL, "model")                                                               \
    X(INPUT, "input") /* all input tokens */                                        \
    X(INPUT_UNCACHED, "input_uncached") /* without what the cache read and wrote */ \
    X(CACHE_READ, "cache_read")                                                     \
    X(CACHE_WRITE, "cache_write") /* several columns may say it: added */           \
    X(OUTPUT, "output")                                                             \
    X(REQUESTS, "requests")                                                         \
    X(COST_USD, "cost")                                                             \
    X(COST_CENTS, "cost_cents")                                                     \
    X(CURRENCY, "currency")                                                         \
    X(API_KEY, "api_key")                                                           \
    X(USER, "user")                                                                 \
    X(PROJECT, "project")                                                           \
    X(LINE_ITEM, "line_item") /* "gpt-4o-2024-08-06, input": the model before the comma */
enum invoice_field {
#define X(name, text) INVOICE_##name,
    INVOICE_FIELDS(X)
#undef X
        INVOICE_FIELD_COUNT
};

struct invoice_sums {
    int64_t input, cache_read, cache_write, output, requests, cost_nanousd;
    bool has_tokens, has_cost;
};
struct invoice_line {
    uint32_t day; /* since 1970-01-01 */
    struct bytes model; /* canonical family; empty: not said */
    struct invoice_sums sums;
};
/* Of rows that name a key, a user or a project: what of the cost is whose. */
struct invoice_key {
    uint32_t day;
    struct bytes api_key, user, project;
    int64_t cost_nanousd, tokens;
};
struct invoice {
    struct arena *arena;
    struct invoice_line *lines; /* in no order */
    struct invoice_key *keys;
    size_t line_count, key_count;
    uint64_t rows, rows_without_day, rows_other_currency, rows_bad_number;
    uint32_t *line_slots, *key_slots;
};

int64_t invoice_add(int64_t a, int64_t b); /* cut at INVOICE_SUM_MAX */
struct invoice *invoice_new(void); /* NULL = no memory */
void invoice_free(struct invoice *v);
void invoice_clear(struct invoice *v); /* empty again */

/* "day=Date,model=Model,cost=Amount": names columns of a generic file; ERR_INVALID says which part is wrong. */
struct invoice_columns {
    struct bytes names[INVOICE_FIELD_COUNT];
};
enum err invoice_columns_parse(struct bytes text, struct invoice_columns *out,
                               struct err_msg *msg) MUST_CHECK;
/* Adds one document, CSV or JSON (begins with { or [). columns NULL = the usual names. */
enum err invoice_read(struct invoice *v, enum invoice_provider p,
                      const struct invoice_columns *columns, struct bytes text,
                      struct err_msg *msg) MUST_CHECK;
/* "2026-10-01", an RFC 3339 time, Unix seconds -> day; false: none. */
bool invoice_day(struct bytes text, uint32_t *out);

#endif
