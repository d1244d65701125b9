/* Rows of acknowledgements from any bytes. */
#include <stdlib.h>

#include "detectors/acks.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition) \
    do {                   \
        if (!(condition))  \
            abort();       \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct detectors_ack x, again;
    struct buf first = {0}, second = {0};
    if (ack_decode(bytes_of(data, size), &x) == ERR_OK) {
        ack_encode(&x, &first);
        REQUIRE(ack_decode(buf_bytes(&first), &again) == ERR_OK);
        ack_encode(&again, &second);
        REQUIRE(bytes_equal(buf_bytes(&first), buf_bytes(&second)));
    }
    buf_done(&first);
    buf_done(&second);
    return 0;
}
