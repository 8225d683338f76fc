/* The cached nodes of an arena's first pool: the last few of each size are kept, so that who needs one again need not
   ask the index. By who is inside of the arena. */
#ifndef HEAPWITNESS_CACHE_H
#define HEAPWITNESS_CACHE_H

#include "heap/damage.h"

enum { HW_LARGEST_KEPT = (64 << 10) >> HW_FIXED_GRANULE_LOG2 };

/* Keep a cached node of `size` granules of descriptors[0]. For it another one may go back to the index. */
void hw_cache_large(hw_arena *arena, uint32_t node, uint32_t size, const hw_context *context);
/* A block of such a size; NULL: none is kept, or it is damaged (then hw_has_large). */
void *hw_take_large(hw_arena *arena, size_t bytes, unsigned origin, uint32_t site);
bool hw_has_large(hw_arena *arena, size_t bytes);
/* All go back to the index: before the pool grows, and for who wants all pages back that can be had. False: there was
   nothing to do. */
bool hw_sweep(hw_arena *arena, const hw_context *context);
/* After a repair: what is no cached node any more. */
void hw_cache_check(hw_arena *arena);

#endif
