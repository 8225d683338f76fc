/* What the processor held when a signal came. */
#ifndef HEAPWITNESS_HELD_H
#define HEAPWITNESS_HELD_H

#include "tell/channel.h"

#include <signal.h>
#include <ucontext.h>

/* What kernel and processor say of a signal. */
hw_crash hw_crash_words(const siginfo_t *information, const ucontext_t *context);

#endif
