/* Any bytes as a rule file: rules or lines of mistakes, never neither; what is loaded can be evaluated. And as a row of the state store. */
#include "base/check.h"
#include "detectors/rule_book.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void as_record(struct bytes b)
{
    struct rule_record x, again;
    struct buf out;
    if (rule_record_decode(b, &x) != ERR_OK)
        return;
    buf_init(&out, 0);
    rule_record_encode(&x, &out);
    CHECK(rule_record_decode(buf_bytes(&out), &again) == ERR_OK);
    CHECK(again.identity == x.identity && again.alert.told_count == x.alert.told_count);
    CHECK(bytes_equal(again.alert.labels.enc, x.alert.labels.enc));
    buf_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rule_set set = {0};
    struct buf errors;
    struct rule_file_options o = {.arena = arena_new((size_t)64 << 20), .errors = &errors};
    buf_init(&errors, 1u << 20);
    CHECK(o.arena);
    enum err e = rule_file_read(bytes_of(data, size), "fuzz", &o, &set);
    CHECK((e == ERR_OK) == (errors.size == 0));
    for (uint32_t g = 0; e == ERR_OK && g < set.group_count; g++) {
        CHECK(set.groups[g].name.size && set.groups[g].interval_ms > 0);
        for (uint32_t i = 0; i < set.groups[g].rule_count; i++) {
            const struct rule_def *d = &set.groups[g].rules[i];
            CHECK(d->name.size && d->expr.size && d->identity);
            for (uint32_t k = 0; k < d->annotation_count; k++)
                CHECK(d->annotations[k].text);
        }
    }
    buf_done(&errors);
    arena_free(o.arena);
    as_record(bytes_of(data, size));
    return 0;
}
