/* Hashes (xxhash) and the checksum of blocks (CRC32C, hardware where the CPU has it).
 * Thread: any.  Failure: none.
 */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include "base/bytes.h"

struct hash128 {
    uint64_t lo, hi;
};

uint64_t hash64(struct bytes b, uint64_t seed); /* XXH3-64 */
struct hash128 hash128(struct bytes b, uint64_t seed); /* XXH3-128 */
uint32_t hash_crc32c(uint32_t crc, struct bytes b); /* start with 0; chainable */
static inline bool hash128_equal(struct hash128 a, struct hash128 b)
{
    return a.lo == b.lo && a.hi == b.hi;
}

#endif
