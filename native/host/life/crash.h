/* The end of a process by a fault, or by a signal that a fault sends (SIGABRT): what the heap shows then, and what the
   processor's registers held. A handler that the program has installed is left in place; then there is nothing of this.
 */
#ifndef HEAPWITNESS_CRASH_H
#define HEAPWITNESS_CRASH_H

#include "tell/channel.h"

#include <signal.h>
#include <ucontext.h>

/* Install the handler where the program has none. */
void hw_crash_watch(void);
void hw_crash_after_fork(void);

#endif
