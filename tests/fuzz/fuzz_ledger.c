/* Rows of the ledger, budgets as they are written, and time zones, from any bytes: the first says which. */
#include "base/arena.h"
#include "detectors/budget.h"
#include "tsdb/ledger.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void rows(struct bytes in)
{
    struct ledger_key k;
    struct ledger_stored v;
    struct ledger_meta m;
    struct bytes key = bytes_slice(in, 0, in.size < LEDGER_KEY_SIZE ? in.size : LEDGER_KEY_SIZE),
                 value = bytes_slice(in, key.size, in.size);
    uint8_t sealed[4];
    (void)!ledger_key_read(key, &k);
    (void)!ledger_meta_read(key, value, &m);
    (void)!ledger_value_read(key, value, &v);
    if (value.size < 4)
        return;
    /* behind its checksum, too */
    struct bytes rest = bytes_slice(value, 4, value.size);
    struct buf row = {0};
    bytes_put_u32le(sealed, hash_crc32c(hash_crc32c(0, key), rest));
    buf_append(&row, sealed, 4);
    buf_bytes_append(&row, rest);
    if (buf_ok(&row)) {
        (void)!ledger_meta_read(key, buf_bytes(&row), &m);
        if (ledger_value_read(key, buf_bytes(&row), &v)) {
            struct buf again = {0};
            ledger_value_write(key, &v, &again);
            buf_done(&again);
        }
    }
    buf_done(&row);
}

static void written(struct bytes in, struct arena *a)
{
    struct budget *all;
    size_t n;
    struct buf errors = {0};
    int64_t from, to;
    if (budget_file_read(in, "f", a, &all, &n, &errors) == ERR_OK)
        for (size_t i = 0; i < n; i++) {
            (void)!budget_matches(&all[i], BYTES_LIT("ann"));
            if (all[i].calendar != BUDGET_ROLLING)
                budget_window(&all[i], 1795968000000, &from, &to);
        }
    buf_done(&errors);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *a = arena_new(16u << 20);
    struct budget_zone z;
    if (a && size) {
        struct bytes in = bytes_of(data + 1, size - 1);
        if (data[0] == 'r')
            rows(in);
        else if (data[0] == 'z' && budget_zone_read(in, a, &z) == ERR_OK)
            (void)!budget_zone_offset(&z, 1795968000);
        else if (data[0] == 'b')
            written(in, a);
    }
    arena_free(a);
    return 0;
}
