/* Big blocks: each in a pool of its own, taken from the kernel and given back at its release. They are
   also where a thread allocates that cannot use its arena now (a signal handler that interrupted it).

   A pool of this kind is looked at or changed only by who *holds* its region: who changed the region's
   kind from HW_BIG_POOL to HW_BIG_CLAIMED by compare-and-exchange. */
#ifndef HEAPWITNESS_BIG_H
#define HEAPWITNESS_BIG_H

#include "heap/damage.h"

/* Requests of at least so many bytes get pools of their own; it grows with what is released. */
extern _Atomic size_t hw_big_threshold;
/* The same for an alignment: what begins at a page is sooner one, since the program may shut its pages before it is
   released. */
size_t hw_big_from(size_t align);

void *hw_big_allocate(size_t bytes, size_t align, unsigned origin, uint32_t site);
/* The descriptor of the pool of a big block, held; NULL when the region is none (any more), or another who holds it
   does not come to an end. */
hw_descriptor *hw_big_claim(uint32_t region);
/* The same of a block without a pool (huge.h). */
hw_descriptor *hw_huge_claim(uint32_t region);
/* Why there was none: somebody has held it for too long. */
bool hw_big_is_held(uint32_t region);
void hw_big_unclaim(const hw_descriptor *descriptor);
/* The rest holds the descriptor already, and lets it go. */
void hw_big_release(hw_descriptor *descriptor, void *pointer, unsigned family, const hw_context *context,
                    uint32_t (*site)(uint32_t prior, const hw_context *context));
/* Release the block that is this node of a region's pool, by who cannot hold it (foreign.h); a damaged pool stays. */
void hw_big_drop(uint32_t region, uint32_t node);
/* NULL: it could not be resized where it is, or by moving pages; the block is as it was. With `gone` it moves if it
   can, and where it lay becomes the grave of that. */
void *hw_big_resize(hw_descriptor *descriptor, void *pointer, size_t bytes, uint32_t site, const hw_released *gone);
/* What is known of the block of a region; NULL without memory. */
hw_descriptor *hw_big_descriptor(uint32_t region);
uint32_t hw_big_count(void);
/* In the child of a fork. `torn`: others may have been changing big blocks while memory was copied. */
void hw_big_after_fork(bool torn);

#endif
