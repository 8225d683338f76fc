/* --poison: released nodes are filled and held back for a while, so that a write into one is seen. By who is inside of
   the arena. */
#ifndef HEAPWITNESS_DELAYED_H
#define HEAPWITNESS_DELAYED_H

#include "arena/runs.h"
#include "tell/channel.h"

/* Hold a verified used node back; the oldest make room. False: it is too large, or damaged, and as it was. */
bool hw_delay(hw_arena *arena, hw_descriptor *descriptor, uint32_t node, uint32_t site, const hw_context *context);
/* The same for a node of a run, which is held back already. */
void hw_delay_small(hw_arena *arena, const hw_run *run, uint32_t node, const hw_context *context);
/* The same for a small block of the arena's runs that is sound, by its pointer. False: it is none, or its site is
   not known; nothing was changed. */
bool hw_delay_usual(hw_arena *arena, void *pointer, const hw_context *context);
/* Let all of them go, for want of memory; returns how many bytes they were. */
size_t hw_delayed_give(hw_arena *arena, const hw_context *context);
/* After a repair: some may be part of a quarantined stretch now. */
void hw_delayed_check(hw_arena *arena, const hw_descriptor *descriptor);
void hw_delayed_check_runs(hw_arena *arena);
/* After an operation that was left in the middle: how many bytes they are. */
void hw_delayed_left(hw_arena *arena);

#endif
