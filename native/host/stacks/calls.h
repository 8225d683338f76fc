/* Whether a word that was found where a frame pointer leads is a return address: it lies behind a call.

   That is looked at without reading the code itself, which may go away at any time: a system call reads it, one for all
   words of a stack. Return addresses that passed are remembered for the process, since most words of a new stack have
   been in another one.

   Who writes what: each entry of the memory is one word, stored and loaded as a whole (relaxed) by any thread, and says
   by itself what it is about; entries that drive each other out, or a count that is lost, do no harm. Nothing is read
   through a remembered address. Code can be exchanged without anybody being told (as compilers in a process do), so
   what is remembered holds for a number of uses, and then the code is looked at again; until then a word may be
   believed that was a return address when it was looked at. */
#ifndef HEAPWITNESS_CALLS_H
#define HEAPWITNESS_CALLS_H

#include <stdint.h>

/* How many of these words, from the first on, are return addresses. */
unsigned hw_calls_before(const uint64_t *word, unsigned count);

#endif
