/* A process from its start to its end. */
#ifndef HEAPWITNESS_LIFECYCLE_H
#define HEAPWITNESS_LIFECYCLE_H

#include "stacks/sites.h"

/* Check everything and tell that the process ends; once for a process, never for a vfork child. */
void hw_process_ends(hw_caller caller);
/* Check everything, since another program is about to take the process over. Not in the child of a fork that has done
   next to nothing: its heap is its parent's, which goes on. */
void hw_program_is_replaced(hw_caller caller);

#endif
