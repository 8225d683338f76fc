/* Allocation and release where everything is as usual: the thread's own arena, nobody visiting, a cached
   node of exactly this size, a pointer into the arena's first pool. The malloc family inlines these. */
#ifndef HEAPWITNESS_HEAP_FAST_H
#define HEAPWITNESS_HEAP_FAST_H

#include "damage.h"
#include "fast.h"
#include "heap.h"

HW_INLINE bool hw_waits_for_its_owner(const char *payload, const hw_trusted *pool, uint32_t node)
{
    const hw_links *l = (const hw_links *)(const void *)payload;
    return HW_UNLIKELY(l->parent == HW_PENDING_PARENT) &&
           l->check == hw_keyed(pool->secret, l->left, l->right, l->parent, node ^ (uint32_t)HW_LINK_KEY);
}

/* Invariant: a cached node is on exactly one list of its own arena; it is verified, with both
   neighbours, before its state changes, and both copies are written before it is handed out.
   By who is inside. */
HW_INLINE void *hw_take_cached(hw_arena *arena, size_t bytes, unsigned origin, uint32_t site)
{
    size_t class = hw_class_of(bytes);
    if (HW_UNLIKELY(class >= HW_CLASSES || arena->classes[class].count == 0))
        return NULL;
    hw_class *c = &arena->classes[class];
    uint32_t left = c->count - 1;
    void *payload = hw_fast_take(&arena->pool, c->node[left], bytes, origin, site);
    if (HW_LIKELY(payload != NULL)) {
        c->count = left;
        if (left) /* the one to be taken next may be cold */
            __builtin_prefetch(arena->pool.base + ((size_t)c->node[left - 1] << HW_FIXED_GRANULE_LOG2) + HW_HEADER, 1);
    }
    return payload;
}

/* A new node of the reserve, where best fit has none of exactly this size. By who is inside. */
HW_INLINE void *hw_take_new(hw_arena *arena, size_t bytes, unsigned origin, uint32_t site)
{
    hw_pool *pool = (hw_pool *)(void *)arena->pool.base;
    if (!arena->reserve || pool->bins[hw_class_of(bytes)] != 0)
        return NULL;
    void *payload = hw_fast_cut(&arena->pool, &arena->reserve, bytes, origin, site);
    if (payload) {
        pool->nodes++;
        pool->used++;
    }
    return payload;
}

/* The other way round. False: it is no usual release. */
HW_INLINE bool hw_cache_released(hw_arena *arena, void *pointer, unsigned family, const hw_caller *caller)
{
    uintptr_t offset = (uintptr_t)pointer - (uintptr_t)arena->pool.base - HW_OVERHEAD;
    uint32_t node = (uint32_t)(offset >> HW_FIXED_GRANULE_LOG2);
    hw_looked n;
    if (HW_UNLIKELY((offset & 15) || node < arena->pool.first || !hw_look(&arena->pool, node, &n)))
        return false;
    uint32_t class = hw_class_of_node(n.size);
    if (class >= HW_CLASSES)
        return false;
    hw_class *c = &arena->classes[class];
    uint32_t site;
    if (HW_UNLIKELY(hw_state_of(n.meta) != HW_USED || !hw_family_matches(n.meta, family) || hw_quarantined(n.meta) ||
                    hw_waits_for_its_owner(pointer, &arena->pool, node) || !hw_slack_is_right(&arena->pool, &n, node) ||
                    c->count == c->room || !hw_site_recall(&arena->sites, caller, n.meta >> 8, &site)))
        return false;
    hw_fast_cache(&arena->pool, node, &n, site);
    c->node[c->count++] = node;
    return true;
}

/* The two below call nothing but the long way, and that last: so they need no frame to save registers in.
   Whatever stops them, they have changed nothing. */
HW_INLINE void *hw_allocate_fast(size_t bytes, unsigned origin, hw_caller caller)
{
    hw_arena *arena = hw_me.arena;
    uint32_t site;
    if (HW_UNLIKELY(!arena || bytes >= HW_CLASSES << HW_FIXED_GRANULE_LOG2 || hw_set.unusual || hw_is_engaged() ||
                    !hw_site_recall(&arena->sites, &caller, 0, &site) || !hw_try_enter(arena, caller.frame)))
        return hw_heap_allocate(bytes, 0, origin, caller);
    void *payload = hw_take_cached(arena, bytes, origin, site);
    if (HW_UNLIKELY(!payload && arena->classes[hw_class_of(bytes)].count == 0))
        payload = hw_take_new(arena, bytes, origin, site);
    arena->operations += payload != NULL;
    hw_is_out(arena);
    if (HW_UNLIKELY(!payload || arena->whole_check))
        return hw_heap_allocated(payload, bytes, origin, caller);
    return payload;
}

HW_INLINE void hw_release_fast(void *pointer, unsigned family, hw_caller caller)
{
    hw_arena *arena = hw_me.arena;
    if (HW_UNLIKELY(!arena ||
                    ((uintptr_t)pointer - (uintptr_t)arena->pool.base) >> HW_FIXED_GRANULE_LOG2 >= arena->pool.end ||
                    hw_set.unusual || hw_is_engaged() || !hw_try_enter(arena, caller.frame))) {
        hw_heap_release(pointer, family, caller);
        return;
    }
    bool done = hw_cache_released(arena, pointer, family, &caller);
    arena->operations += done;
    hw_is_out(arena);
    if (HW_UNLIKELY(!done || arena->whole_check))
        hw_heap_released(done ? NULL : pointer, family, caller);
}

#endif
