/* The heap across a fork: quiet before it, and in the child without the threads that are not there.

   The child gets memory as it was while it was copied, page by page. So nobody may change a pool meanwhile:
   who forks has seized all arenas, and has seen all changes outside of arenas end. A thread that is kept
   waiting may hold a lock of libc that fork needs; after a while it goes on, and says so on a page that
   parent and child share. Then the child uses none of the pools that others may have been changing. */
#ifndef HEAPWITNESS_FORK_H
#define HEAPWITNESS_FORK_H

#include "arena/arena.h"

void hw_before_fork(void);
void hw_after_fork(bool child);

#endif
