/* Operations that were left in the middle: a signal handler went off by longjmp, or the thread was cancelled.

   An operation notes the frame of the function that the program called: in the arena's `busy`, and in the
   thread's `frame` while it looks at what is not its own. A handler that interrupts it runs below that
   frame, on the same stack. So who calls from there or from above finds an operation that nobody will end. */
#ifndef HEAPWITNESS_ABANDON_H
#define HEAPWITNESS_ABANDON_H

#include "stacks/sites.h"

/* For an operation that finds its thread engaged: whether it still is. What was left is put in order. */
bool hw_still_engaged(const hw_caller *caller);
/* For a signal handler: whether the operation goes on that its thread was in, whose stack pointer was `sp`. */
bool hw_is_engaged_at(uintptr_t sp);
/* What the thread was in the middle of is over; `caller` finds that. */
void hw_abandon(const hw_caller *caller);

#endif
