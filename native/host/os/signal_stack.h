/* The stack that a thread has set for its signals (sigaltstack), which may be too small for any handler: then a program
   whose own handlers never use it must not get the engine's there. */
#ifndef HEAPWITNESS_SIGNAL_STACK_H
#define HEAPWITNESS_SIGNAL_STACK_H

#include <signal.h>
#include <stddef.h>

/* What the engine's functions need beside what the kernel puts there, in bytes. */
enum { HW_SIGNAL_ROOM = 1536 };

/* A thread has set this one; NULL: none. If it is too small for the engine's functions, they go without one from now
   on, in all threads. */
void hw_signal_stack_is_set(const stack_t *stack);

/* The first thread gets one of the engine's, of so many bytes, if it has none: where its stack has run out, a handler
   needs another one. Other threads bring their own. */
void hw_signal_stack_lend(size_t bytes);

/* As the program asks for it, by libc's sigaltstack. The engine's is not shown, and stands where the program has none.
 */
typedef int hw_stack_setter(const stack_t *, stack_t *);
int hw_signal_stack_change(hw_stack_setter *next, const stack_t *stack, stack_t *old);

#endif
