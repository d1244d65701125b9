/* Any bytes as a template of a rule: a mistake with its place, or one that ends, within its limits, whatever the labels and the queries give. */
#include "base/check.h"
#include "detectors/rule_template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum err ask(void *ctx, struct bytes text, int64_t at_ms, struct arena *a,
                    struct query_result *out, struct err_msg *msg)
{
    static const double one = 1.5;
    static const int64_t t = 1000;
    struct tsdb_label labels[] = {{BYTES_LIT("job"), BYTES_LIT("api")},
                                  {BYTES_LIT("instance"), BYTES_LIT("a:80")}};
    struct query_row *row = ARENA_ARRAY(a, struct query_row, 1);
    if (text.size % 7 == 0)
        return err_set(msg, ERR_INVALID, "not today");
    if (!row || tsdb_labels_build(labels, 2, a, &row->labels, msg) != ERR_OK)
        return ERR_LIMIT;
    row->count = 1;
    row->t_ms = &t;
    row->value = &one;
    *out = (struct query_result){.type = QUERY_VECTOR, .count = text.size % 3 != 0, .rows = row};
    return ERR_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *a = arena_new((size_t)64 << 20);
    struct rule_template *t = NULL;
    struct err_msg msg = {""};
    struct tsdb_label labels[] = {{BYTES_LIT("job"), BYTES_LIT("api")}};
    struct rule_template_data d = {
        .value = 0.25, .external_url = "http://h/p", .at_ms = 1700000000000, .query = ask};
    CHECK(a && tsdb_labels_build(labels, 1, a, &d.labels, &msg) == ERR_OK);
    enum err e = rule_template_parse(bytes_of(data, size), a, &t, &msg);
    CHECK(e == ERR_OK || msg.text[0]);
    if (e == ERR_OK) {
        struct bytes out = BYTES_NONE;
        e = rule_template_expand(t, &d, a, &out, &msg);
        CHECK(e == ERR_OK || msg.text[0]);
        CHECK(e != ERR_OK || out.size <= RULE_TEMPLATE_OUTPUT_MAX);
    }
    arena_free(a);
    return 0;
}
