/* Overruns that ended at a guard: who runs into one came from the block that it stands before or behind. And uses of
   big blocks that are gone (graves.h). */
#ifndef HEAPWITNESS_OVERRUN_H
#define HEAPWITNESS_OVERRUN_H

#include "tell/channel.h"

#include <signal.h>

/* For a signal's handler: what the processor says of a fault; nothing for another signal. */
hw_trap hw_trap_of(const siginfo_t *information, const void *context);
/* Of such a fault, which the program dies of: tell of the block whose guard it lies in, with the damage on the way
   there, or whose grave. What is told from then on, by whomever, comes with the fault. */
void hw_tell_overrun(const hw_trap *trap, hw_caller caller);

#endif
