/* Releasing a block that the fast path did not take: by who is inside of its arena, or from another one. */
#ifndef HEAPWITNESS_RELEASE_H
#define HEAPWITNESS_RELEASE_H

#include "heap/damage.h"
#include "stacks/domains.h"

/* The site of the operation, by the calling thread's own cache, whoever's arena it is inside of. */
static inline uint32_t hw_site_here(uint32_t prior, const hw_context *context)
{
    hw_arena *mine = hw_this_thread.arena;
    return mine ? hw_site_of(&mine->sites, &context->caller, prior) : 0;
}

/* The node whose payload starts at the pointer, 0 when it cannot be one. */
static inline uint32_t hw_node_at(const hw_descriptor *descriptor, const void *pointer)
{
    uintptr_t offset = (uintptr_t)pointer - (uintptr_t)descriptor->pool;
    if ((offset & 15) || offset < HW_CONTROL + HW_OVERHEAD || offset >= descriptor->bytes - HW_END + HW_OVERHEAD)
        return 0;
    return (uint32_t)((offset - HW_OVERHEAD) >> HW_FIXED_GRANULE_LOG2);
}

/* Whether another thread released the node, and it is on its descriptor's pending list. */
static inline bool hw_waits(const hw_pool *pool, uint32_t node)
{
    return hw_links_at(pool, node)->parent == HW_PENDING_PARENT && hw_links_are_valid(pool, node);
}

/* A copy of a header that its owner may be writing: a torn one fails its check. */
__attribute__((no_sanitize("thread"))) static inline bool hw_header_glimpse(const hw_pool *pool, uint32_t node,
                                                                            hw_header *h)
{
    *h = *hw_own(pool, node);
    return hw_is_valid(pool, node, h);
}

/* Whether released blocks are filled and held back (delayed.h). Small ones of NumPy's arrays always are: what NumPy
   would keep for the next array would be the first to be used again here as well. */
static inline bool hw_is_held_back(const hw_context *context)
{
    return hw_setting.poison || hw_domain_of((uintptr_t)context->caller.pc) == HW_OF_ARRAYS;
}

/* By who is inside of the arena. A wrong pointer is told; what waits on a pending list is taken in. */
void hw_release_inside(hw_arena *arena, hw_descriptor *descriptor, void *pointer, const hw_context *context);
/* The pointer is no used node's payload. Damage may be why: look at all of the pool first. `again`: it may
   turn out to be one then. */
void hw_release_wrong(hw_arena *arena, hw_descriptor *descriptor, void *pointer, const hw_context *context, bool again);
void hw_drain(hw_arena *arena, hw_descriptor *descriptor, const hw_context *context);
void hw_drain_all(hw_arena *arena, const hw_context *context);

/* Whether a node can wait for its arena's owner without anybody having judged it; then it may be handed over. */
bool hw_may_be_handed_over(const hw_descriptor *descriptor, uint32_t node, unsigned family, hw_header *h);
void hw_hand_over(hw_descriptor *descriptor, uint32_t node, uint32_t site);

/* By anybody: wherever the pointer leads. */
void hw_release_any(void *pointer, const hw_context *context);
/* The block could not be had, since another thread does not come to an end: it stays, and that is said once. */
void hw_release_not(void);
/* The pointer leads to no pool. */
void hw_release_outside(const void *pointer, const hw_context *context);

#endif
