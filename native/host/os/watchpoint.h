/* Watchpoints: the processor's own, which raise SIGTRAP after each store to a few bytes, by whichever thread of the
   process. The kernel gives them by perf_event_open (from Linux 5.13 on). Their descriptors are numbers that programs
   hardly use, and close on exec. */
#ifndef HEAPWITNESS_WATCHPOINT_H
#define HEAPWITNESS_WATCHPOINT_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

/* A processor has so many at once, for all that ask for some. */
enum { HW_WATCHPOINTS = 4 };

/* The next are for who has the watchpoint of that number to itself. */

/* Let it be at `length` bytes from `at` on: 1, 2, 4 or 8, and a multiple of that. Returns 0, or the error number for
   which it is nowhere now. */
int hw_watchpoint_set(unsigned number, uintptr_t at, unsigned length);
/* Let it be nowhere. */
void hw_watchpoint_clear(unsigned number);
/* False: it was set, and the program has closed what it hangs on. */
bool hw_watchpoint_lasts(unsigned number);
/* In the child of a fork: those of the parent do not watch it, and are let go. */
void hw_watchpoint_forget(unsigned number);

/* Which one raised the signal; -1: none did. */
int hw_watchpoint_of(const siginfo_t *information);
/* One did, most likely, and the processor did not say so: under some hypervisors that gets lost now and then. `pc`:
   where the thread is. */
bool hw_watchpoint_is_unsaid(const siginfo_t *information, uintptr_t pc);
/* It was blocked when that one was met: where the thread is now says nothing of the store. */
bool hw_watchpoint_was_late(const siginfo_t *information);

#endif
