/* The stack that a thread has set for its signals (sigaltstack), which may be too small for any handler: then a program
   whose own handlers never use it must not get the engine's there. */
#ifndef HEAPWITNESS_SIGNAL_STACK_H
#define HEAPWITNESS_SIGNAL_STACK_H

#include <signal.h>

/* What the engine's functions need beside what the kernel puts there, in bytes. */
enum { HW_SIGNAL_ROOM = 1536 };

/* A thread has set this one; NULL: none. If it is too small for the engine's functions, they go without one from now
   on, in all threads. */
void hw_signal_stack_is_set(const stack_t *stack);

#endif
