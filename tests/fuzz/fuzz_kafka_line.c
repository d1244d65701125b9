/* What a broker keeps with an offset, from any bytes; a line that is one of ours is written and read again as the same. */
#include "base/check.h"
#include "collector/kafka/kafka_overlap.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kafka_overlap_line line, again;
    struct buf text = {0};
    kafka_overlap_read(bytes_of(data, size), &line);
    if (line.node[0]) {
        kafka_overlap_put(&line, &text);
        kafka_overlap_read(buf_bytes(&text), &again);
        CHECK(again.node[0] && again.from == line.from && again.open_count == line.open_count);
    }
    buf_done(&text);
    return 0;
}
