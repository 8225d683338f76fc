/* A fault that the program's own handler took and sent on: faulthandler of Python shows its stacks, puts the handler
   before it back, and raises the signal again. What the kernel said of the fault still lies in that handler's frame. */
#ifndef HEAPWITNESS_RAISED_H
#define HEAPWITNESS_RAISED_H

#include <signal.h>
#include <stdbool.h>
#include <ucontext.h>

/* The fault of this number in whose handling the thread is, for a handler of the signal that was raised then. False:
   there is none on the stack. */
bool hw_fault_before(int number, siginfo_t *information, ucontext_t *context);

#endif
