/* What a row books. */
#include "base/check.h"
#include "tsdb/tsdb_ledger.h"

static const char *const dim_texts[TSDB_BOOK_DIM_COUNT] = {
#define X(name, text) text,
    TSDB_BOOK_DIM_TABLE(X)
#undef X
};

const char *tsdb_ledger_dim_text(enum tsdb_book_dim d)
{
    return dim_texts[d];
}

bool tsdb_ledger_dim_of(struct bytes text, enum tsdb_book_dim *out)
{
    for (int d = 0; d < TSDB_BOOK_DIM_COUNT; d++)
        if (bytes_equal_str(text, dim_texts[d])) {
            *out = (enum tsdb_book_dim)d;
            return true;
        }
    return false;
}

/* Sums of hostile numbers wrap round rather than end the program. */
static int64_t plus(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a + (uint64_t)b);
}

void tsdb_ledger_add(struct tsdb_book_sums *to, const struct tsdb_book_sums *more)
{
    to->calls = plus(to->calls, more->calls);
    to->input_tokens = plus(to->input_tokens, more->input_tokens);
    to->output_tokens = plus(to->output_tokens, more->output_tokens);
    to->nanousd = plus(to->nanousd, more->nanousd);
    to->unpriced = plus(to->unpriced, more->unpriced);
    to->estimated = plus(to->estimated, more->estimated);
}

struct bytes tsdb_ledger_prompt(struct bytes name, struct bytes version,
                                uint8_t scratch[TSDB_LEDGER_SCRATCH])
{
    if (!name.size || !version.size)
        return name.size ? name : version;
    size_t n = MIN(name.size, TSDB_LEDGER_SCRATCH / 2),
           m = MIN(version.size, TSDB_LEDGER_SCRATCH / 2 - 1);
    memcpy(scratch, name.data, n);
    scratch[n] = '@';
    memcpy(scratch + n + 1, version.data, m);
    return bytes_of(scratch, n + 1 + m);
}

#define STR(column) TSDB_SPAN_GET(sp, column, row, BYTES_NONE)

bool tsdb_ledger_of_span(const struct tsdb_batch *b, uint32_t row,
                         uint8_t scratch[TSDB_LEDGER_SCRATCH], struct tsdb_book *out)
{
    const struct tsdb_spans *sp = &b->spans;
    uint8_t class = TSDB_SPAN_GET(sp, row_class, row, 0),
            flags = TSDB_SPAN_GET(sp, row_flags, row, 0);
    bool is_call = class & TSDB_CLASS_CALL;
    if (!is_call && !(flags & TSDB_ROW_AGENT_REPORTED))
        return false;
    int64_t end_ns = sp->end_ns[row] > 0     ? sp->end_ns[row]
                     : sp->start_ns[row] > 0 ? sp->start_ns[row]
                                             : b->received_ns;
    out->minute = tsdb_batch_minute(end_ns);
    out->value[TSDB_BOOK_TENANT] = STR(tenant);
    out->value[TSDB_BOOK_TEAM] = STR(team);
    out->value[TSDB_BOOK_SERVICE] = sp->service[row];
    out->value[TSDB_BOOK_API_KEY] = STR(api_key);
    out->value[TSDB_BOOK_USER] = STR(user_id);
    out->value[TSDB_BOOK_MODEL] = STR(model);
    out->value[TSDB_BOOK_PROMPT] =
        tsdb_ledger_prompt(STR(prompt_name), STR(prompt_version), scratch);
    out->value[TSDB_BOOK_ENDPOINT] = STR(endpoint);
    out->sums =
        (struct tsdb_book_sums){.calls = is_call,
                                .input_tokens = MAX(TSDB_SPAN_GET(sp, input_tokens, row, -1), 0),
                                .output_tokens = MAX(TSDB_SPAN_GET(sp, output_tokens, row, -1), 0),
                                .nanousd = MAX(TSDB_SPAN_GET(sp, cost_nanousd, row, -1), 0),
                                .unpriced = (flags & TSDB_ROW_UNPRICED) != 0,
                                .estimated = (flags & TSDB_ROW_ESTIMATED) != 0};
    return true;
}
