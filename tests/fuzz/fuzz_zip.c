/* The first byte chooses the format: never more output than asked for, and what deflates inflates to itself. */
#include "base/check.h"
#include "base/zip.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const size_t out_max = 100000;
    struct buf out, packed;
    struct err_msg msg;
    if (size == 0)
        return 0;
    enum zip_kind kind = (enum zip_kind)(data[0] % ZIP_UNKNOWN);
    struct bytes in = bytes_of(data + 1, size - 1);
    buf_init(&out, 0);
    buf_init(&packed, 0);
    if (zip_inflate(kind, in, out_max, &out, &msg) == ERR_OK)
        CHECK(out.size <= out_max);
    buf_clear(&out);
    if (in.size <= out_max && zip_deflate(kind, 1, in, &packed) == ERR_OK) {
        CHECK(zip_inflate(kind, buf_bytes(&packed), out_max, &out, &msg) == ERR_OK);
        CHECK(bytes_equal(in, buf_bytes(&out)));
    }
    buf_done(&out);
    buf_done(&packed);
    return 0;
}
