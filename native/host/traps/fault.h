/* Accesses to pages of trapped blocks that nothing may touch: told, and then let through, so that the program goes on
   as it would have. For one instruction the page can be touched: the processor steps over it, and what it raises then
   (SIGTRAP) closes the page again. Other processors than x86-64 have no such step for a program: there the page stays
   open.

   The program's own handlers of these signals see nothing of it (os/signals.h, "fronts"). */
#ifndef HEAPWITNESS_TRAPS_FAULT_H
#define HEAPWITNESS_TRAPS_FAULT_H

#include <stdbool.h>

/* Have faults come here first. After that, and before the program starts, hw_traps_init. */
void hw_traps_watch(void);
/* Called by the thread whose access was told, before that is let through; NULL where nobody wants to know. */
extern void (*hw_trap_was_told)(void);
/* Whether faults still do: a program may set its handlers by bare system calls. */
bool hw_trap_is_watched(void);
/* The program is about to forbid itself the calls that a trap needs: there are none from now on. */
void hw_traps_end(void);

#endif
