/* The heap across a fork: quiet before it, and in the child without the threads that are not there.

   The child gets memory as it was while it was copied, page by page. So nobody may change a pool meanwhile:
   who forks has seized all arenas, and has seen all changes outside of arenas end. A thread that is kept
   waiting may hold a lock of libc that fork needs; after a while it goes on, and says so on a page that
   parent and child share. Then the child uses none of the pools that others may have been changing. */
#ifndef HEAPWITNESS_FORK_H
#define HEAPWITNESS_FORK_H

#include "arena/arena.h"

extern _Atomic uint32_t hw_forking;

void hw_fork_init(void);
void hw_before_fork(void);
void hw_after_fork(bool child);

/* Whether a thread that waits for a fork to be over, since then, must go on all the same. */
bool hw_fork_takes_too_long(uint64_t since);

/* Around each change of a big block's pool, of its region or of how addresses lead to it. */
void hw_change_begin(void);
void hw_change_end(void);

#endif
