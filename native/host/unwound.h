/* Whole stacks, unwound once: the return addresses of a stack and the places on it where they lie.

   Unwinding depends on return addresses and on nothing else that changes: where a call comes from the same
   place (return address and frame), and each place on the stack still holds the return address that it held,
   unwinding again would give the same frames. So comparing them is enough, and takes a load a frame.
   Only for frames on the thread's own stack. */
#ifndef HEAPWITNESS_UNWOUND_H
#define HEAPWITNESS_UNWOUND_H

#include "sites.h"

/* Unwind from the caller on: HW_FULL_FRAMES return addresses at most, and where each lies on the stack.
   Returns how many. */
unsigned hw_unwound_follow(const hw_caller *caller, uint64_t *pc, uintptr_t *at);
/* Remember the site of a stack that was followed. */
void hw_unwound_keep(hw_site_cache *cache, const hw_caller *caller, uint32_t prior, uint32_t site, const uint64_t *pc,
                     const uintptr_t *at, unsigned count);
void hw_unwound_forget(hw_site_cache *cache);

#endif
