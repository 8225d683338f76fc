/* Standing still while a thread forks: what no arena guards (big blocks, regions, the way to them) is not changed then.

   A thread that is kept waiting may hold a lock of libc that fork needs; after a while it goes on, and says so on a
   page that parent and child share. */
#ifndef HEAPWITNESS_STANDSTILL_H
#define HEAPWITNESS_STANDSTILL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* 1 while a thread forks. */
extern _Atomic uint32_t hw_forking;

void hw_standstill_init(void);

/* Whether a thread that waits for a fork to be over, since then, must go on all the same. */
bool hw_give_up_on_fork(uint64_t since);

/* Around each change of a big block's pool, of its region or of how addresses lead to it. */
void hw_change_begin(void);
void hw_change_end(void);

/* For the thread that forks. Others begin no change from now on; those that have begun one are waited for, so many
   milliseconds at most. */
void hw_stand_still(unsigned most);
void hw_go_on(void);
/* Whether a thread went on all the same. */
bool hw_somebody_went_on(void);
/* Whether others are in the middle of a change. */
bool hw_others_change(void);
/* In the child, where no others are. */
void hw_standstill_in_child(void);

#endif
