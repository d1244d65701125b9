/* Any bytes as the attributes of a stream's record: what is shown of it keeps its limits, and bins lie within them. */
#include "base/check.h"
#include "query/query_stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct query_stream s;
    if (!query_stream_decode(bytes_of(data, size), &s))
        return 0;
    CHECK(s.result.size && s.start_ns >= 0 && s.end_ns >= s.start_ns);
    CHECK(s.stalls_placed <= QUERY_STREAM_STALLS_MAX && s.bin_count <= QUERY_STREAM_BINS_MAX);
    CHECK(s.bin_count == 0 || s.bin_ns > 0);
    for (uint32_t i = 0; i < s.stalls_placed; i++)
        CHECK(s.stalls[i].after_ns >= 0 && s.stalls[i].length_ns >= 0);
    return 0;
}
