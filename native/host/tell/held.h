/* What the processor held when a signal came. */
#ifndef HEAPWITNESS_HELD_H
#define HEAPWITNESS_HELD_H

#include "tell/channel.h"

#include <signal.h>
#include <ucontext.h>

/* Where a signal came: the address in the code, and that of the stack. */
hw_caller hw_interrupted(const ucontext_t *context);
/* What kernel and processor say of a signal. */
hw_crash hw_crash_words(const siginfo_t *information, const ucontext_t *context);

#endif
