/* Vectors by the hash of what they were made from, in bounded memory: a context chunk that comes again is not embedded again.
 *
 * Sets of VECTOR_CACHE_WAYS; a full set gives up the first entry that was not asked for since the hand last passed (clock).
 * Owner: vector_cache_new / vector_cache_free.  Thread: one at a time.
 * Failure: vector_cache_new: NULL when out of memory; a cache of too few bytes holds nothing and is a normal state.
 * Invariants: 1. Memory never exceeds the bytes given at the start. 2. What is found was put in under the same 128 bits.
 */
#ifndef GPU_VECTOR_CACHE_H
#define GPU_VECTOR_CACHE_H

#include "base/hash.h"

#define VECTOR_CACHE_WAYS 8u

struct vector_cache;

struct vector_cache *vector_cache_new(size_t bytes, uint32_t width);
void vector_cache_free(struct vector_cache *c);
const float *vector_cache_find(struct vector_cache *c, struct hash128 key); /* or NULL */
void vector_cache_put(struct vector_cache *c, struct hash128 key, const float *vector);

#endif
