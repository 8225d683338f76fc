/* Blocks in runs that another thread than their owner releases: handed over, and taken in (docs/concurrency.md). */
#ifndef HEAPWITNESS_HANDED_H
#define HEAPWITNESS_HANDED_H

#include "heap/damage.h"

/* --- by any thread --------------------------------------------------------------------------------- */

/* Whether another thread released the node. */
bool hw_small_waits(hw_arena *arena, const hw_run *run, uint32_t node);
/* Noted beside the nodes, which stay as they are until their owner comes. The node was looked at: it is a used one.
   False: that is to be judged by who is inside, or there is no room to note it. */
bool hw_small_hand_over(hw_arena *arena, hw_run *run, uint32_t node, uint32_t site);
/* The same with the look at it, for a block of another thread's that is as usual in everything. False: it is none. */
bool hw_small_hand_over_usual(void *pointer, unsigned family, hw_caller caller);
/* Take in what was handed over to an arena without an owner, if it has none. */
void hw_small_take_in_for_nobody(hw_arena *arena, const hw_context *context);

/* --- by who is inside ------------------------------------------------------------------------------ */

/* Take in what other threads released. */
void hw_small_drain(hw_arena *arena, const hw_context *context);
/* The same, and from this run even what nobody has put on the list yet. */
void hw_small_drain_run(hw_arena *arena, hw_run *run, const hw_context *context);
/* The same was left in the middle: what it was at waits again. */
void hw_small_handed_left(hw_arena *arena);
/* In a fork's child, where nobody else is: what others were about to put on the list. */
void hw_small_handed_after_fork(hw_arena *arena);

#endif
