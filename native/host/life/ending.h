/* The last check: once for a process, at its exit or when a signal ends it. */
#ifndef HEAPWITNESS_ENDING_H
#define HEAPWITNESS_ENDING_H

#include "stacks/sites.h"

/* How a process ends, as its last message says (docs/format.md): the signal, and whether the check was all done. */
enum { HW_BY_SIGNAL = 0xFF, HW_CUT_SHORT = 0x100 };

/* At exit. */
void hw_last_check(hw_caller caller);
/* Take the signals that end a process. */
void hw_endings_watch(void);
/* In the child of a fork. */
void hw_endings_after_fork(void);
/* hw_end_postponed, which arena.h needs: a signal came in the middle of an operation of this thread, which may be
   over now. */

#endif
