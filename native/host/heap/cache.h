/* The cached nodes before an arena's first pool: stacks by exact size, the last few of larger sizes, and a reserve to
   cut new ones from.

   Caches do not merge, so two things keep what is allocated together close together: new nodes are cut
   from the reserve one after the other, whatever their size, and when the stacks have grown enough all of
   them are swept: cached nodes that lie side by side, or beside a free one, go back to the index as one;
   those between used nodes stay, lowest address on top. By who is inside of the arena. */
#ifndef HEAPWITNESS_CACHE_H
#define HEAPWITNESS_CACHE_H

#include "heap/damage.h"

enum { HW_LARGEST_KEPT = (64 << 10) >> HW_FIXED_GRANULE_LOG2 };

/* A block of a small size when its stack is empty; NULL: not from here. `fault` tells of damage. */
void *hw_cut_new(hw_arena *arena, size_t bytes, unsigned origin, uint32_t site, hw_fault *fault);
/* Put a node on its stack. It is cached, and of descriptors[0]. */
void hw_stack(hw_arena *arena, uint32_t class, uint32_t node, const hw_context *context);
/* The same for a node of `size` granules that has no stack. For it another one may go back to the index. */
void hw_cache_large(hw_arena *arena, uint32_t node, uint32_t size, const hw_context *context);
/* A block of such a size; NULL: none is kept, or it is damaged (then hw_has_large). */
void *hw_take_large(hw_arena *arena, size_t bytes, unsigned origin, uint32_t site);
bool hw_has_large(hw_arena *arena, size_t bytes);
/* Before the pool grows: larger nodes go back to the index, and where it is worth while all are swept. False: there was
   nothing to do. */
bool hw_sweep_before_growing(hw_arena *arena, const hw_context *context);
/* Whatever it costs: for who wants all pages back that can be had. */
void hw_sweep(hw_arena *arena, const hw_context *context);
/* After a repair: what is no cached node any more. */
void hw_stacks_check(hw_arena *arena);

#endif
