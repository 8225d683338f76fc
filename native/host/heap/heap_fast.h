/* Allocation and release where everything is as usual: the thread's own arena, nobody visiting, a cached
   node of exactly this size, a pointer into the arena's first pool. The malloc family inlines these. */
#ifndef HEAPWITNESS_HEAP_FAST_H
#define HEAPWITNESS_HEAP_FAST_H

#include "heap/damage.h"
#include "heap/fast.h"
#include "heap/heap.h"

/* Invariant: a cached node is on exactly one list of its own arena; it is verified, with both
   neighbours, before its state changes, and both copies are written before it is handed out.
   By who is inside. */
HW_INLINE void *hw_take_cached(hw_arena *arena, size_t bytes, unsigned origin, uint32_t site)
{
    hw_class *c = &arena->classes[hw_class_of(bytes)];
    if (HW_UNLIKELY(c->count == 0))
        return NULL;
    uint32_t left = c->count - 1;
    void *payload = hw_fast_take(&arena->pool, c->node[left], bytes, origin, site);
    if (HW_LIKELY(payload != NULL)) {
        c->count = left;
        if (left) { /* the one to be taken next may be cold */
            uintptr_t next =
                (uintptr_t)arena->pool.base + ((size_t)c->node[left - 1] << HW_FIXED_GRANULE_LOG2) + HW_OVERHEAD;
            __builtin_prefetch((const void *)(next - HW_OVERHEAD), 1);
            __builtin_prefetch((const void *)(next + ((hw_class_of(bytes) + 1) << HW_FIXED_GRANULE_LOG2)));
            hw_fetch_before(next);
        }
    }
    return payload;
}

/* A new node of the reserve, where neither cache nor best fit has one of exactly this size. By who is inside. */
HW_INLINE void *hw_take_new(hw_arena *arena, size_t bytes, unsigned origin, uint32_t site)
{
    hw_pool *pool = (hw_pool *)(void *)arena->pool.base;
    _Static_assert((int)HW_CLASSES <= (int)HW_BINS, "each cache has a bin behind it");
    if (!arena->reserve || arena->classes[hw_class_of(bytes)].count || pool->bins[hw_class_of(bytes)] != 0)
        return NULL;
    void *payload = hw_fast_cut(&arena->pool, &arena->reserve, bytes, origin, site);
    if (payload) {
        pool->nodes++;
        pool->used++;
    }
    return payload;
}

/* Of the 16 pairs of state and origin, those that a function of this family releases: used ones of its own. */
HW_INLINE uint32_t hw_usual_kinds(unsigned family)
{
    return UINT32_C(1) << (HW_USED | family << 2) |
           (family == HW_MALLOC ? UINT32_C(1) << (HW_USED | (unsigned)HW_ALIGNED << 2) : 0);
}

/* Not 0: it is no usual block of this family. One that was made by another family is told elsewhere, one that
   another thread released waits with such a `parent`. */
HW_INLINE uint64_t hw_look_at_used(const hw_arena *arena, uint32_t node, unsigned family, hw_looked *n)
{
    uint32_t parent;
    uint64_t wrong = hw_look(&arena->pool, node, HW_NODE_LEAST, HW_NODE_CACHED, n);
    if (HW_UNLIKELY(wrong))
        return 1;
    __builtin_memcpy(&parent, n->at + HW_OVERHEAD + 8, sizeof parent);
    return hw_slack_wrong(n) | (parent == HW_PENDING_PARENT) | !(hw_usual_kinds(family) >> (n->meta >> 4 & 15) & 1);
}

/* The other way round; `n` was looked at. False: it is no usual release, or its site is not known: none is for a
   quarantined node. */
HW_INLINE bool hw_cache_used(hw_arena *arena, uint32_t node, const hw_looked *n, hw_caller caller)
{
    hw_class *c = &arena->classes[hw_class_of_node(n->size)];
    uint32_t site;
    if (HW_UNLIKELY(c->count == c->room))
        return false;
    HW_SITE_RECALL(site, &arena->sites, caller, n->meta >> 8, unknown);
    hw_fast_cache(&arena->pool, n, site);
    c->node[c->count++] = node;
    return true;
unknown:
    return false;
}

/* A pointer's node in the arena's first pool. Turned so that what lies between granules, or before the pool, leads far
   beyond its end. What lies in the control block leads there, where no header's check holds. */
HW_INLINE uint64_t hw_fast_node(const hw_arena *arena, const void *pointer)
{
    enum { G = HW_FIXED_GRANULE_LOG2 };
    uint64_t offset = (uintptr_t)pointer - (uintptr_t)arena->pool.base - HW_OVERHEAD;
    return offset >> G | offset << (64 - G);
}

/* Whatever stops these, they have changed nothing; then the long way begins anew. */
HW_INLINE void *hw_allocate_usual(hw_arena *arena, size_t bytes, unsigned origin, hw_caller caller)
{
    uint32_t site;
    if (HW_UNLIKELY(!arena || !hw_is_small(bytes) || hw_is_inside(arena)))
        goto slowly;
    HW_SITE_RECALL(site, &arena->sites, caller, 0, slowly);
    if (HW_UNLIKELY(!hw_try_enter(arena, caller.frame, true)))
        goto slowly;
    void *payload = hw_take_cached(arena, bytes, origin, site);
    if (HW_UNLIKELY(!payload))
        payload = hw_take_new(arena, bytes, origin, site);
    arena->operations += payload != NULL;
    hw_is_out(arena);
    return payload;
slowly:
    return NULL;
}

HW_INLINE void *hw_allocate_fast(size_t bytes, unsigned origin, hw_caller caller)
{
    hw_arena *arena = hw_this_thread.ready_to_allocate;
    void *payload = hw_allocate_usual(arena, bytes, origin, caller);
    if (HW_UNLIKELY(!payload || hw_check_is_asked_for(arena)))
        return hw_heap_allocated(payload, bytes, origin, caller);
    return payload;
}

HW_INLINE void hw_release_fast(void *pointer, unsigned family, hw_caller caller)
{
    hw_fetch_around((uintptr_t)pointer);
    hw_arena *arena = hw_this_thread.ready_to_release;
    uint64_t node;
    if (HW_UNLIKELY(!arena || (node = hw_fast_node(arena, pointer)) >= arena->pool.end || hw_is_inside(arena) ||
                    !hw_try_enter(arena, caller.frame, true))) {
        hw_heap_release(pointer, family, caller);
        return;
    }
    hw_looked n;
    bool done = !hw_look_at_used(arena, (uint32_t)node, family, &n) && hw_cache_used(arena, (uint32_t)node, &n, caller);
    arena->operations += done;
    hw_is_out(arena);
    if (HW_UNLIKELY(!done || hw_check_is_asked_for(arena)))
        hw_heap_released(done ? NULL : pointer, family, caller);
}

/* What was requested of a used block: programs that keep count of their memory ask at each allocation and release. */
HW_INLINE size_t hw_size_fast(const void *pointer, hw_caller caller)
{
    hw_arena *arena = hw_this_thread.ready;
    uint64_t node;
    if (HW_UNLIKELY(!arena || (node = hw_fast_node(arena, pointer)) >= arena->pool.end || hw_is_inside(arena) ||
                    !hw_try_enter(arena, caller.frame, true)))
        return hw_heap_size(pointer, caller);
    const hw_trusted *pool = &arena->pool;
    hw_words own = hw_load(pool->base + ((size_t)node << HW_FIXED_GRANULE_LOG2));
    uint32_t meta = (uint32_t)own.rest;
    bool wrong = own.rest != hw_sealed(pool, own.sizes, meta, hw_offset_sum(pool, (uint32_t)node)) ||
                 hw_state_of(meta) != HW_USED || meta >> 8 == HW_SITE_QUARANTINE;
    hw_is_out(arena);
    if (HW_UNLIKELY(wrong))
        return hw_heap_size(pointer, caller);
    return ((size_t)(uint32_t)own.sizes << HW_FIXED_GRANULE_LOG2) - HW_OVERHEAD - hw_slack_of(meta);
}

/* A small block made larger or smaller, where both sizes have caches. */
HW_INLINE void *hw_resize_fast(void *pointer, size_t bytes, hw_caller caller)
{
    hw_fetch_around((uintptr_t)pointer);
    hw_arena *arena = hw_this_thread.ready_to_release;
    uint64_t node;
    uint32_t site;
    if (HW_UNLIKELY(!arena || !hw_is_small(bytes) || (node = hw_fast_node(arena, pointer)) >= arena->pool.end ||
                    hw_is_inside(arena)))
        goto slowly;
    HW_SITE_RECALL(site, &arena->sites, caller, 0, slowly);
    if (HW_UNLIKELY(!hw_try_enter(arena, caller.frame, true)))
        goto slowly;
    hw_looked n;
    void *payload = NULL;
    if (HW_LIKELY(!hw_look_at_used(arena, (uint32_t)node, HW_MALLOC, &n) && n.meta >> 8 != HW_SITE_QUARANTINE)) {
        size_t had = ((size_t)n.size << HW_FIXED_GRANULE_LOG2) - HW_OVERHEAD - (n.meta & 15);
        if (hw_class_of(had) == hw_class_of(bytes)) {
            unsigned slack = hw_slack_for(bytes);
            hw_write_meta(&arena->pool, &n, hw_meta(slack, HW_USED, n.meta >> 6 & 3, site));
            hw_slack_refill(&n, slack);
            payload = pointer;
        } else if ((payload = hw_take_cached(arena, bytes, HW_MALLOC, site)) != NULL ||
                   (payload = hw_take_new(arena, bytes, HW_MALLOC, site)) != NULL) {
            __builtin_memmove(payload, pointer, had < bytes ? had : bytes); /* memcpy would be a slow instruction */
            /* The reserve may have been the node before: then that one is another now. */
            if (hw_look(&arena->pool, (uint32_t)node, HW_NODE_LEAST, HW_NODE_CACHED, &n) ||
                !hw_cache_used(arena, (uint32_t)node, &n, caller)) {
                /* No room, or a site to learn: out of the arena, as any release. */
                arena->operations++;
                hw_is_out(arena);
                hw_heap_release(pointer, HW_MALLOC, caller);
                return payload;
            }
        }
    }
    arena->operations += payload != NULL;
    hw_is_out(arena);
    if (HW_UNLIKELY(hw_check_is_asked_for(arena)))
        hw_heap_released(NULL, HW_MALLOC, caller);
    if (HW_LIKELY(payload != NULL))
        return payload;
slowly:
    return hw_heap_resize(pointer, bytes, caller);
}

#endif
