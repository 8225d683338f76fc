/* A process from its start to its end. */
#ifndef HEAPWITNESS_LIFECYCLE_H
#define HEAPWITNESS_LIFECYCLE_H

#include "stacks/sites.h"

/* Check everything and tell that the process ends; once for a process, never for a vfork child. */
void hw_process_ends(hw_caller caller);
/* False: a child that shares this memory, or that libc's fork did not make. */
bool hw_process_is_ours(void);
/* What was counted, without a check, and how the process ends: HW_BY_SIGNAL of ending.h. */
void hw_tell_end(uint64_t how);

#endif
