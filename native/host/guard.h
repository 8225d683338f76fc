/* Faults in guards: who ran into one came from the block that it stands before or behind. */
#ifndef HEAPWITNESS_GUARD_H
#define HEAPWITNESS_GUARD_H

#include "channel.h"

#include <signal.h>

/* In the handler of a fault that the program dies of: tell of the block whose guard it lies in, with the damage on the
   way there. What is told from then on, by whomever, comes with the fault. */
void hw_guard_fault(const siginfo_t *information, const void *context, hw_caller caller);

#endif
