/* Blocks in runs, where the usual way does not do: by who is inside of their arena, or from another thread's. */
#ifndef HEAPWITNESS_SMALL_H
#define HEAPWITNESS_SMALL_H

#include "arena/runs.h"
#include "heap/damage.h"

/* Whether a request is a run's; others are a pool's. */
static inline bool hw_is_for_runs(size_t bytes, size_t align)
{
    return bytes <= HW_RUN_MOST && align <= 16;
}
static inline unsigned hw_small_class(size_t bytes)
{
    return hw_run_class(bytes ? bytes : 1);
}
static inline void *hw_small_payload(const hw_run *run, uint32_t node)
{
    return run->base + ((size_t)node << HW_RUN_GRANULE_LOG2) + HW_RUN_OVERHEAD;
}
/* The node's header, which its owner may be changing: a torn one fails its check. Any thread may ask. False: no node is
   there, or it is damaged. */
bool hw_small_glimpse(const hw_run *run, uint32_t node, uint32_t *meta);

/* --- by who is inside ------------------------------------------------------------------------------ */

/* NULL without memory for a run. */
void *hw_small_take(hw_arena *arena, size_t bytes, unsigned origin, uint32_t site, const hw_context *context);
/* Release whatever the pointer leads to in the arena's runs; a wrong pointer is told. */
void hw_small_release(hw_arena *arena, hw_run *run, void *pointer, const hw_context *context);
/* Give back a node that is verified to be a used one. */
void hw_small_give(hw_arena *arena, hw_run *run, uint32_t node, uint32_t site, const hw_context *context);
/* One that was held back becomes free; false: it is damaged, and as it was. */
bool hw_small_let_go(hw_arena *arena, hw_run *run, uint32_t node);
/* In place. *size: the block's size, 0 when the pointer is no block (then a wrong release was told). `stays`: it is
   only looked at where it has to move. */
void *hw_small_resize(hw_arena *arena, hw_run *run, void *pointer, size_t bytes, uint32_t site,
                      const hw_context *context, size_t *size, unsigned *family,
                      bool (*moves)(size_t size, size_t bytes, const hw_context *context));
/* Tell and mend what is wrong in a run. */
void hw_small_mend(hw_arena *arena, hw_run *run, const hw_context *context);
/* The same for a run that nothing has complained about, if need be. */
void hw_small_inspect(hw_arena *arena, hw_run *run, const hw_context *context);
/* What an operation left in the middle, as hw_mend_left. */
void hw_small_mend_left(hw_arena *arena, const hw_caller *caller);

/* --- by anybody ------------------------------------------------------------------------------------ */

void hw_small_release_any(hw_arena *arena, hw_run *run, void *pointer, const hw_context *context);
/* Bytes that were requested; 0: the pointer is no block. */
size_t hw_small_size(const hw_run *run, const void *pointer);

#endif
