/* Any bytes as what Sloth or Pyrra would read: OpenSLO documents that load, or lines of mistakes. */
#include "base/check.h"
#include "query/query_slo.h"
#include "query/query_slo_import.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct query_slo_set set;
    struct buf out, errors;
    buf_init(&out, 4u << 20);
    buf_init(&errors, 1u << 20);
    enum err e = query_slo_import("fuzz", bytes_of(data, size), &out, &errors);
    CHECK((e == ERR_OK) == (errors.size == 0) || e == ERR_NOMEM);
    if (e == ERR_OK && buf_ok(&out) && query_slo_set_init(&set) == ERR_OK) {
        enum err loaded = query_slo_load_text(&set, "imported", buf_bytes(&out), &errors);
        CHECK(loaded == ERR_OK || set.count > 0 || errors.size > 0); /* two may have one name */
        query_slo_set_done(&set);
    }
    buf_done(&out);
    buf_done(&errors);
    return 0;
}
