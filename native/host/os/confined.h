/* What the program has forbidden itself by seccomp. A system call that a filter answers by ending the process, or by a
   signal, must not be made by the engine: so each of the engine's is held against the program's own filters first,
   which are known because the program installs them by prctl or syscall (preload/confined.c), or were tried
   (inherited.h).
 */
#ifndef HEAPWITNESS_CONFINED_H
#define HEAPWITNESS_CONFINED_H

#include <stdbool.h>
#include <stdint.h>

struct sock_fprog;

/* Whether any thread has confined itself; until then nothing is asked. */
extern bool hw_confined;

/* 0: the call may be made by this thread. Else what it returns instead: the negative error number that the filter
   gives, or -HW_KILLS, which is none of the kernel's. */
enum { HW_KILLS = 4095 };
long hw_refusal(long number, const long arguments[6]);

/* Before a thread confines itself: to read, write, exit and return from handlers (NULL), or by a filter; `whole`: all
   threads with it. The other is for what failed, or is still to come (`not`): then it counts for nothing. */
void *hw_confines(const struct sock_fprog *filter, bool whole);
void hw_confines_not(void *confinement, bool not);
/* The same for a child of a vfork, whose memory is its parent's; and whether the caller is the one that did so last. It
   must make no system call but the program's own. */
void hw_confines_child(const struct sock_fprog *filter);
bool hw_child_is_confined(void);
/* As the thread is confined now: whether it may make the calls that the engine needs for a purpose. */
bool hw_may_end_by_signal(void);
bool hw_may_tell(void);
bool hw_may_map(void);
bool hw_may_trap(void);
bool hw_may_wake(void);
/* All that a fresh engine calls while it is loaded. */
bool hw_may_be_loaded(void);
/* To nothing but what prctl's first mode leaves. */
bool hw_is_strictly_confined(void);

/* The child of a fork, or of a clone that copies memory: false where it shares its parent's, and must note nothing. */
void hw_memory_init(void);
bool hw_memory_is_own(void);

#endif
