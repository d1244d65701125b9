/* Large blocks of memory for arenas, cut from 2 MiB slabs on huge pages and kept for the next ones when they are given back.
 *
 * Fresh pages cost more than what ingest does with them (a fault per 4 KiB: 0.5 µs on a bare machine, 5–11 µs measured on a virtual
 * one), so memory that was paid for stays ours up to a limit, and a slab is one fault where the system has huge pages.
 *
 *   slab:  | header, unit 0 | unit 1 | ... | unit 63 |      a block is a run of units; its owner remembers address and size
 *
 * Owner: process.  Thread: any (one lock, held for a few instructions; never while memory is mapped or unmapped).
 * Failure: hoard_alloc: NULL when out of memory or size > HOARD_BLOCK_MAX.
 * Limits: HOARD_BLOCK_MAX a block; empty slabs are kept up to hoard_keep's bytes, what is more goes back to the system, and what is kept
 *         too when hoard_trim asks for it.
 * Invariants: 1. Every unit of a slab is in exactly one block, or free. 2. A slab with a free unit is in one of the two lists.
 */
#ifndef BASE_HOARD_H
#define BASE_HOARD_H

#include <stddef.h>

#define HOARD_UNIT ((size_t)32 << 10)
#define HOARD_UNITS 64u /* bits of a word */
#define HOARD_SIZE (HOARD_UNIT * HOARD_UNITS)
#define HOARD_HEADER \
    64u /* what the first unit lacks: a block of n * HOARD_UNIT - HOARD_HEADER wastes nothing */
#define HOARD_BLOCK_MAX ((size_t)1 << 20)

/* At least size bytes, 64-aligned, not zeroed; *out_size is what there is and what the calls below must be told. */
void *hoard_alloc(size_t size, size_t *out_size);
void hoard_free(void *block, size_t size);
/* Gives back the end of a block; returns the size it has now: at least keep. */
size_t hoard_shrink(void *block, size_t size, size_t keep);
/* How many bytes of empty slabs are kept [64 MiB]. */
void hoard_keep(size_t bytes);
size_t hoard_mapped(void); /* bytes of all slabs */
size_t hoard_kept(void); /* of those that are empty */
void hoard_trim(
    size_t keep); /* gives empty slabs back to the system, all but so many bytes of them */

#endif
