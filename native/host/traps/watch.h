/* Watched blocks: they lie where they would without it, and the processor tells of each store to some bytes beside one,
   where nobody but the engine writes: to its slack, to its header or the backup in it, or to those of the next block.
   What is stored there is no finding yet. A check finds the damage, as ever, and then its store is known.

   Of HW_WATCHPOINTS each belongs to who changed its state by compare-and-exchange. A block that was released or resized
   is found out when its watchpoint is wanted for another one, or is met: its header is no longer what it was. */
#ifndef HEAPWITNESS_WATCH_H
#define HEAPWITNESS_WATCH_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A block was allocated, or became one of that site by a resize: count it, if its site is trapped, and watch what is to
   be. `trapped`: it lies in a slot, and `payload` is its stand-in; each of them may be NULL. */
void hw_watch_allocated(const void *payload, const void *trapped, size_t bytes, uint32_t site);
/* For the handler of SIGTRAP: whether a watchpoint raised it. */
bool hw_watch_take(const siginfo_t *information, void *interrupted);
/* Whether all that is watched really is: a program may close files that are not its own. What is not is watched again,
   or, at the end of the process, said. */
void hw_watch_look(bool at_end);
/* In the child of a fork. */
void hw_watch_after_fork(void);
/* Nothing is watched any more. */
void hw_watch_end(void);

#endif
