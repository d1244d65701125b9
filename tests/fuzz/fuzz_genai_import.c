/* Any bytes as a price list: a document of ours or an error, never a document that is refused later. */
#include "base/check.h"
#include "collector/genai/genai_import.h"
#include "collector/genai/price_yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void import_any(struct bytes given)
{
    struct genai_import i = {0};
    struct buf yaml = {0};
    struct err_msg msg = {""};
    enum err e = genai_import_litellm(given, BYTES_LIT("fuzz"), &i, &yaml, &msg);
    if (e == ERR_OK) {
        struct price_table *t = price_table_new();
        CHECK(t &&
              price_yaml_load(t, buf_bytes(&yaml), "written", PRICE_LAYER_OWN, &msg) == ERR_OK);
        CHECK(price_table_row_count(t) == i.rows);
        price_table_unref(t);
    } else {
        CHECK(e == ERR_INVALID || e == ERR_TOO_DEEP || e == ERR_LIMIT || e == ERR_NOMEM);
    }
    buf_done(&yaml);
}

static void document_any(struct bytes given)
{
    struct err_msg msg = {""};
    struct price_table *t = price_table_new();
    CHECK(t);
    enum err e = price_yaml_load(t, given, "fuzz", PRICE_LAYER_OWN, &msg);
    for (size_t k = 0; e == ERR_OK && k < price_table_row_count(t); k++) {
        const struct price_offer *o;
        const struct price_row *r = price_table_row(t, k, &o);
        struct buf json = {0};
        CHECK(r->id && o->from_ns < o->until_ns);
        for (int n = 0; n < PRICE_RATE_COUNT; n++)
            CHECK(r->rate[n] >= 0);
        price_table_row_json(o, r, &json);
        CHECK(bytes_is_utf8(buf_bytes(&json)));
        buf_done(&json);
    }
    price_table_unref(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size && data[0] == 'p') /* "prices:" */
        document_any(bytes_of(data, size));
    else
        import_any(bytes_of(data, size));
    return 0;
}
