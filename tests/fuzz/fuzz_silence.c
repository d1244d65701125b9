/* Rows of silences and matchers from any bytes. The first byte chooses. */
#include <stdlib.h>

#include "detectors/detectors_silences.h"
#include "detectors/silences.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition) \
    do {                   \
        if (!(condition))  \
            abort();       \
    } while (0)

static void row(struct bytes in)
{
    struct detectors_silence s, again;
    struct buf first = {0}, second = {0};
    if (silence_decode(in, &s) == ERR_OK) {
        silence_encode(&s, &first);
        REQUIRE(silence_decode(buf_bytes(&first), &again) == ERR_OK);
        silence_encode(&again, &second);
        REQUIRE(bytes_equal(buf_bytes(&first), buf_bytes(&second)));
    }
    buf_done(&first);
    buf_done(&second);
}

static void matcher(struct bytes in)
{
    struct arena *a = arena_new(1u << 20);
    struct detectors_matcher m;
    struct err_msg msg = {""};
    REQUIRE(a);
    if (detectors_matcher_parse(in, a, &m, &msg) == ERR_OK) {
        struct query_slo_pair label = {m.name, m.value};
        bool holds = detectors_matcher_holds(&m, &label, 1);
        REQUIRE(m.op != DETECTORS_MATCH_EQ || holds);
        REQUIRE(m.op != DETECTORS_MATCH_NE || !holds);
    } else {
        REQUIRE(msg.text[0]);
    }
    arena_free(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > 65536)
        return 0;
    struct bytes in = bytes_of(data + 1, size - 1);
    if (data[0] % 2)
        matcher(in);
    else
        row(in);
    return 0;
}
