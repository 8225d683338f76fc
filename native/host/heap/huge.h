/* Blocks that are too large for a pool, whose sizes have 32 bits of granules: mappings of their own, each between two
   guards. What is left of the last page behind a block is its slack, which is compared; before it there is nothing.
   What else is known of them stands in their regions and descriptors.

   A block is looked at or changed only by who *holds* its region, as a big one (big.h): HW_HUGE becomes
   HW_HUGE_CLAIMED.
 */
#ifndef HEAPWITNESS_HUGE_H
#define HEAPWITNESS_HUGE_H

#include "tell/channel.h"

/* Larger blocks than this do not lie in pools. */
#ifndef HW_MOST_IN_POOL
#define HW_MOST_IN_POOL ((size_t)15 << 30)
#endif

void *hw_huge_allocate(size_t bytes, size_t align, unsigned origin, uint32_t site);
void hw_huge_release(uint32_t region, void *pointer, const hw_context *context);
/* NULL: not where it is, and not by moving its pages. *size: how large it was, 0 when the pointer is no block, which
   was told then. */
void *hw_huge_resize(uint32_t region, void *pointer, size_t bytes, size_t *size, const hw_context *context);
size_t hw_huge_size(uint32_t region, const void *pointer);
/* Compare the slack of a block, if there is one in the region. */
void hw_huge_check(uint32_t region, const hw_context *context);
/* Tell that the program's fault lies in the block's guard, with the damage on the way there. The descriptor is held. */
void hw_huge_tell_overrun(hw_descriptor *descriptor, const hw_context *context);

#endif
