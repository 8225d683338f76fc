/* Whether all of a pool is as it should be: one pass that compares everything and explains nothing. What
   it does not like, check.c looks at again. */
#include "walk.h"

/* The node's own header and its backup agree, hold, and lead back to the node before. */
static inline bool agrees(const hw_pool *pool, uint32_t node, const hw_header *kept, uint32_t prev_size)
{
    const hw_header *own = hw_own(pool, node);
    return hw_holds(pool, node, own) && hw_same(own, kept) && own->prev_size == prev_size;
}

bool hw_sound(const hw_pool *pool, size_t bytes, unsigned log2)
{
    bytes &= ~(size_t)15;
    if (!hw_control_fits(pool, bytes, log2) || pool->flags & HW_FLAG_STALE)
        return false;
    const uint32_t *fixed = (const uint32_t *)pool,
                   *copy = (const uint32_t *)((uintptr_t)pool + bytes) - HW_WITNESSED / 4;
    for (unsigned i = 0; i < HW_WITNESSED / 4; i++)
        if (fixed[i] != copy[i])
            return false;
    uint32_t end = hw_end(pool), least = hw_min_node(pool), prev_size = 0, node = hw_first(pool);
    const hw_header *kept = hw_kept(pool, end);
    hw_tally tally;
    hw_clear(&tally, sizeof tally);
    for (; node < end; node += prev_size) {
        if (!agrees(pool, node, kept, prev_size))
            return false;
        const hw_header *h = hw_own(pool, node);
        uint32_t state = hw_state_of(h->meta);
        if (state == HW_ENDNODE || h->size < least || hw_payload_fault(pool, node, h) != HW_NONE)
            return false;
        if (state == HW_FREE) {
            hw_step step = {.node = node, .header = *h, .own = true, .kept = true};
            if (!hw_index_leads_to(pool, node))
                return false;
            hw_tally_add(&tally, pool, &step, false);
        } else {
            tally.nodes++;
            tally.used++;
        }
        kept = hw_kept(pool, node);
        prev_size = h->size;
    }
    return node == end && agrees(pool, end, kept, prev_size) && hw_state_of(hw_own(pool, end)->meta) == HW_ENDNODE &&
           hw_own(pool, end)->size == pool->size - end && hw_derived_holds(pool, &tally);
}
