/* Journal records from any bytes; what decodes must encode again. */
#include "base/buf.h"
#include "tsdb/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tsdb_registry *series = tsdb_registry_new(10000);
    struct record_refs refs = {0};
    struct record_defs defs = {0};
    struct tsdb_batch *b = NULL;
    struct err_msg msg;
    struct buf out = {0};
    if (series &&
        record_decode(bytes_of(data, size), series, &refs, 16u << 20, &b, &msg) == ERR_OK) {
        (void)!record_encode(b, series, &defs, &out);
        tsdb_batch_free(b);
    }
    buf_done(&out);
    record_defs_done(&defs);
    record_refs_done(&refs);
    tsdb_registry_free(series);
    return 0;
}
