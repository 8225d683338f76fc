/* An arena's runs: where they lie, what describes them, and which of them have room. By who is inside of the arena, but
   for what is said to be for any thread.

   All runs of an arena lie in one space, one behind the other, so that a run's number is its place. What describes them
   (hw_book) lies in another one. A run is of no class (`stride` 0), or it is the *current* one of its class, from which
   blocks are taken; or it has free nodes and waits on the list of its class; or it is full, and on no list. One without
   any used node is kept for the next class that needs one. */
#ifndef HEAPWITNESS_RUNS_H
#define HEAPWITNESS_RUNS_H

#include "arena/arena.h"

/* Runs by number, from 1 on, as their lists have them; 0 is none. Any thread may ask. */
static inline uint32_t hw_runs_number_of(const hw_runs *runs, const hw_run *run)
{
    return (uint32_t)((const hw_book *)(const void *)run - runs->book) + 1;
}
static inline hw_run *hw_runs_numbered(const hw_runs *runs, uint32_t number)
{
    return number ? &runs->book[number - 1].run : NULL;
}

/* The run that holds the address, whatever it is used for; NULL: it lies in none. Any thread may ask. */
static inline hw_run *hw_run_of(const hw_arena *arena, const void *at)
{
    size_t offset = (uintptr_t)at - (uintptr_t)arena->runs.base;
    return offset < atomic_load_explicit(&arena->runs.reach, memory_order_acquire)
               ? &arena->runs.book[offset >> HW_RUN_LOG2].run
               : NULL;
}
/* Whether it is laid out for a class; one of its values alone may be damaged. Who has the arena. */
static inline bool hw_run_is_in_use(const hw_run *run)
{
    return (run->stride | run->capacity) != 0;
}
/* Where in its run the node whose payload starts at the pointer would begin; 0 when there is none. */
static inline uint32_t hw_run_node_at(const hw_run *run, const void *pointer)
{
    size_t offset = (uintptr_t)pointer - (uintptr_t)run->base;
    return (offset & 15) || offset < 2 * HW_RUN_OVERHEAD || !hw_run_is_in_use(run)
               ? 0
               : (uint32_t)((offset - HW_RUN_OVERHEAD) >> HW_RUN_GRANULE_LOG2);
}

/* The run that blocks of a class are taken from next: it has a free node. NULL without memory. *damaged: a run that
   cannot be used before it was mended; then call again. */
hw_run *hw_runs_ready(hw_arena *arena, unsigned class, hw_run **damaged);
/* After a release: the run had no free node before, or has no used one now. */
void hw_runs_relist(hw_arena *arena, hw_run *run, bool was_full);
/* After a repair, or an operation that was left in the middle: which list a run belongs to may be another one. */
void hw_runs_lists_anew(hw_arena *arena);
/* Give the pages of all runs without used nodes back; returns how many bytes. */
size_t hw_runs_trim(hw_arena *arena);
/* The same but for a few: when the thread that used them has ended. */
void hw_runs_settle(hw_arena *arena);
/* The same with their addresses, which come back where a run is needed and nothing else lies there; returns how many
 * bytes. */
size_t hw_runs_give_space(hw_arena *arena);
/* What nodes of a run other threads released (docs/format.md), NULL where none can be noted. Any thread may ask;
 * `make`: who is inside. */
_Atomic uint32_t *hw_runs_handed(hw_arena *arena, const hw_run *run);
bool hw_runs_make_handed(hw_arena *arena);
/* Nothing of them is used any more, and what is in them is kept for good. */
void hw_runs_lose(hw_arena *arena);
/* Before the arena is used. */
void hw_runs_init(hw_arena *arena);

#endif
