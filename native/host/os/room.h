/* Work that needs more of a stack than a program may have left: a coroutine of a few KiB, a signal stack, which has
   room for little more than what the kernel puts there.

   The stack is mapped for this work alone, so no two threads, and no handler that interrupts the work, share one. Who
   is on one already stays there. A thread that leaves by a jump leaves its stack behind. */
#ifndef HEAPWITNESS_ROOM_H
#define HEAPWITNESS_ROOM_H

#include "os/guard.h"

/* Bytes: a handler that interrupts the work may use it, too. */
enum { HW_ROOM = 256 << 10 };

/* On a stack of HW_ROOM bytes that nobody else is on. */
void hw_on_stack(char *start, hw_work *work, void *argument);
void hw_with_room(hw_work *work, void *argument);

#endif
