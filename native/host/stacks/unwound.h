/* Whole stacks: unwound, and known again.

   A stack is unwound by rules, one for each return address (frame_rules.h), that lead from frame to frame. The rules
   never change, so what they give depends on the words on the stack that they used and on nothing else: the return
   addresses, and where a frame is found by rbp, the places where rbp was saved. Where a call comes from the same
   place (return address and frame) and each of those words still holds what it held, unwinding again would give the
   same frames; so comparing them is enough, and takes a load each.

   Only for frames on the thread's own stack, and only where there are rules for all of them; anything else is
   unwound by libgcc each time. */
#ifndef HEAPWITNESS_UNWOUND_H
#define HEAPWITNESS_UNWOUND_H

#include "stacks/sites.h"

/* Unwind from the caller on, HW_FULL_FRAMES return addresses at most, and remember the site. */
uint32_t hw_unwound_learn(hw_site_cache *cache, const hw_caller *caller, uint32_t prior);
void hw_unwound_forget(hw_site_cache *cache);
/* The thread is another one. */
void hw_unwound_adopt(hw_site_cache *cache);

#endif
