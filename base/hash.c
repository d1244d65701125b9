#include "base/hash.h"

#include <xxhash.h>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

uint64_t hash64(struct bytes b, uint64_t seed)
{
    return XXH3_64bits_withSeed(b.size ? b.data : (const uint8_t *)"", b.size, seed);
}

struct hash128 hash128(struct bytes b, uint64_t seed)
{
    XXH128_hash_t h = XXH3_128bits_withSeed(b.size ? b.data : (const uint8_t *)"", b.size, seed);
    return (struct hash128){h.low64, h.high64};
}

/* Castagnoli polynomial, reflected. The table is for CPUs without the instruction, and the reference for the one with it. */
static uint32_t table[256];

__attribute__((constructor)) static void table_init(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++)
            c = c & 1 ? 0x82f63b78u ^ (c >> 1) : c >> 1;
        table[i] = c;
    }
}

static uint32_t crc_table(uint32_t c, const uint8_t *p, size_t n)
{
    while (n--)
        c = table[(c ^ *p++) & 255] ^ (c >> 8);
    return c;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t crc_sse42(uint32_t c, const uint8_t *p, size_t n)
{
    uint64_t wide = c;
    for (; n >= 8; p += 8, n -= 8)
        wide = _mm_crc32_u64(wide, bytes_u64le(p));
    c = (uint32_t)wide;
    while (n--)
        c = _mm_crc32_u8(c, *p++);
    return c;
}
#endif

uint32_t hash_crc32c(uint32_t crc, struct bytes b)
{
    uint32_t c = ~crc;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2"))
        return ~crc_sse42(c, b.data, b.size);
#endif
    return ~crc_table(c, b.data, b.size);
}
