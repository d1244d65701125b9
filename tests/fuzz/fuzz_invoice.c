/* Any bytes as an invoice, of any provider: sums within their limits or an error. */
#include "base/check.h"
#include "collector/genai/invoice_centres.h"
#include "collector/genai/invoice_read.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err_msg msg = {""};
    struct invoice_columns columns;
    struct bytes rest = bytes_of(data + (size > 0), size - (size > 0));
    uint8_t how = size ? data[0] : 0;
    if (how % 8 == 7) {
        struct arena *a = arena_new(64u << 20);
        struct invoice_centres c;
        CHECK(a);
        if (invoice_centres_read(rest, a, &c, &msg) == ERR_OK)
            (void)invoice_centres_find(&c, 20000, BYTES_LIT("k"), BYTES_LIT("u"), BYTES_LIT("p"));
        arena_free(a);
        return 0;
    }
    static struct invoice *v;
    v = v ? v : invoice_new();
    CHECK(v);
    invoice_clear(v);
    bool named = how & 8 && invoice_columns_parse(BYTES_LIT("day=a,model=b,cost=c,input=d"),
                                                  &columns, &msg) == ERR_OK;
    enum err e =
        invoice_read(v, (enum invoice_provider)(how % 3), named ? &columns : NULL, rest, &msg);
    CHECK(e == ERR_OK || e == ERR_INVALID || e == ERR_LIMIT || e == ERR_TOO_DEEP || e == ERR_NOMEM);
    for (size_t i = 0; i < v->line_count; i++) {
        const struct invoice_sums *s = &v->lines[i].sums;
        CHECK(s->input >= 0 && s->output >= 0 && s->input <= INVOICE_SUM_MAX);
        CHECK(s->cost_nanousd <= INVOICE_SUM_MAX && s->cost_nanousd >= -INVOICE_SUM_MAX);
        CHECK(v->lines[i].model.size <= INVOICE_NAME_MAX);
    }
    CHECK(v->rows_without_day + v->rows_other_currency + v->rows_bad_number <= v->rows);
    return 0;
}
