/* Blocks that are too large for a pool, whose sizes have 32 bits of granules: plain mappings, of which only the
   region knows where they begin and how large they are. Nothing is written around them and nothing about them
   is checked, but what is released.

   A region is the caller's alone between changing its kind from HW_HUGE to HW_CLAIMED and changing it back. */
#ifndef HEAPWITNESS_HUGE_H
#define HEAPWITNESS_HUGE_H

#include "channel.h"

/* Larger blocks than this do not lie in pools. */
#ifndef HW_MOST_IN_POOL
#define HW_MOST_IN_POOL ((size_t)15 << 30)
#endif

void *hw_huge_allocate(size_t bytes, size_t align);
void hw_huge_release(uint32_t region, void *pointer, uint32_t site, const hw_context *context);
/* NULL: not where it is, and not by moving its pages. *size: how large it was, 0 when the pointer is no block, which
   was told then. */
void *hw_huge_resize(uint32_t region, void *pointer, size_t bytes, size_t *size, const hw_context *context);
size_t hw_huge_size(uint32_t region, const void *pointer);

#endif
