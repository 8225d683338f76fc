/* The bytes beside a block that nobody but the engine writes: what is left of its node, the headers at both its ends
   and what is kept there. In a pool or in a run of some arena; any thread may ask, while the owner changes what is
   there. */
#ifndef HEAPWITNESS_BESIDE_H
#define HEAPWITNESS_BESIDE_H

#include "arena/runs.h"

/* A block in use, as its header was. */
typedef struct hw_block {
    const hw_pool *pool; /* what it lies in: NULL for a run */
    const hw_run *run;   /* NULL for a pool */
    uint32_t node;
    hw_header header; /* of a pool's */
    uint64_t place;   /* of a run's: its `place`, and the header's `meta` */
    uint32_t meta;
    uintptr_t payload;
    size_t bytes; /* requested, 1 at least */
} hw_block;

/* The block that begins there; false: none does that lies in an arena. */
bool hw_block_find(const void *payload, size_t bytes, hw_block *found);
/* Whether the block is still there: its header says so, or, where that was overwritten, the copy of it. Where both are
   lost nobody knows, and it is taken for gone. */
bool hw_block_is_live(hw_block *block);
/* As many bytes, 8 at most, as one watchpoint can be at, with the one that is asked for, but none of the payload's:
   `offset` from its end on, or, where that is negative, from its start. False: it is none that the engine alone writes.
 */
bool hw_block_beside(const hw_block *block, int32_t offset, uintptr_t *at, uint64_t *length);

#endif
