/* A process from its start to its end. */
#ifndef HEAPWITNESS_LIFECYCLE_H
#define HEAPWITNESS_LIFECYCLE_H

#include "stacks/sites.h"

/* Check everything and tell that the process ends; once for a process, never for a vfork child. */
void hw_process_ends(hw_caller caller);

#endif
