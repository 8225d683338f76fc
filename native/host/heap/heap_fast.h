/* Allocation, release and resize of a small block where everything is as usual: the thread's own arena, nobody
   visiting, a run with a free node, a pointer into the arena's runs. The malloc family inlines these.

   Design rule 2: the node (its own check, and its backup equal to it), the node after (both copies equal) and the node
   before (its own check; its backup lies one node further, and is compared when it or the one before it has its turn).
   Whatever does not pass is judged by the core. All by who is inside of the arena. */
#ifndef HEAPWITNESS_HEAP_FAST_H
#define HEAPWITNESS_HEAP_FAST_H

#include "arena/runs.h"
#include "heap/damage.h"
#include "heap/handed.h"
#include "heap/heap.h"
#include "run_node.h"
#include "stacks/past.h"

/* Of classes whose slack stands in the header; no request of 0 bytes goes the usual way. */
HW_INLINE bool hw_is_small(size_t bytes)
{
    return bytes - 1 < (size_t)HW_RUN_SMALL << HW_RUN_GRANULE_LOG2;
}
HW_INLINE size_t hw_usual_class(size_t bytes)
{
    return (bytes - 1) >> HW_RUN_GRANULE_LOG2;
}

/* Of classes whose slack stands in the header. */
enum { HW_RUN_SMALL_STRIDE = HW_RUN_OVERHEAD + (HW_RUN_SMALL << HW_RUN_GRANULE_LOG2) };

/* Of a damaged one what leads no farther than to what lies around the runs. */
HW_INLINE uint32_t hw_usual_stride(const hw_run *run)
{
    return (uint16_t)run->stride;
}

/* A node by its address alone, of which no damage can lead elsewhere. */
HW_INLINE uint32_t hw_usual_node(const char *at)
{
    return ((uintptr_t)at & (HW_RUN_BYTES - 1)) >> HW_RUN_GRANULE_LOG2;
}

/* Where the slack of a node stands apart from it. */
HW_INLINE uint16_t *hw_usual_entry(const hw_run *run, const char *at)
{
    return &((hw_book *)(uintptr_t)run)->aside.slack[hw_run_number(run, hw_usual_node(at)) % HW_RUN_MIDS];
}

/* Slack of any length, of a class from HW_RUN_SMALL on; returns what of it stands in the header. */
HW_INLINE uint32_t hw_put_long_slack(const hw_run *run, const hw_run_looked *n, char *end, uint32_t slack)
{
    hw_run_fill(end - slack, end, hw_pattern_of(n->place));
    *hw_usual_entry(run, n->at) = hw_slack_entry(n->place, slack);
    return slack & 15;
}

/* The free node at the head of a run becomes a used one. `stride` is the run's, `is_small` its class's. NULL: there is
   none, or something is odd. */
HW_INLINE void *hw_take_head(hw_run *run, uint32_t stride, bool is_small, size_t bytes, unsigned origin, uint32_t site)
{
    const hw_run_key *key = &hw_this_process.key;
    uint32_t node = run->head, slack = (uint32_t)(stride - HW_RUN_OVERHEAD - bytes);
    hw_run_looked n;
    uint64_t first;
    if (HW_UNLIKELY(!node))
        return NULL;
    char *at = run->base + ((size_t)node << HW_RUN_GRANULE_LOG2), *end = at + stride;
    uint64_t wrong = hw_run_look(key, run->salt, at, stride, node == HW_RUN_FIRST, &n);
    if (HW_UNLIKELY(wrong | hw_run_next_wrong(key, &n, &first) | (n.own & 0x30)))
        return NULL;
    run->head = (uint16_t)first;
    run->used++;
    if (is_small)
        hw_short_slack_fill(end, hw_pattern_of(n.place));
    else
        slack = hw_put_long_slack(run, &n, end, slack);
    hw_run_write(key, &n, hw_meta(slack, HW_USED, origin, site));
    return at + HW_RUN_OVERHEAD;
}

/* The same for a class whose slack stands in the header. */
HW_INLINE void *hw_take_usual(hw_arena *arena, size_t bytes, unsigned origin, uint32_t site)
{
    size_t class = hw_usual_class(bytes);
    return hw_take_head(arena->runs.current[class], (uint32_t)(class + 2) << HW_RUN_GRANULE_LOG2, true, bytes, origin,
                        site);
}
/* The same for any class. */
HW_INLINE void *hw_take_any(hw_arena *arena, size_t bytes, unsigned origin, uint32_t site)
{
    unsigned class = hw_class_for(bytes);
    hw_run *run = arena->runs.current[class];
    return hw_take_head(run, hw_usual_stride(run), class < HW_RUN_SMALL, bytes, origin, site);
}

/* The run of a pointer into the arena's runs, NULL for another one. What lies in a sentinel leads nowhere. */
HW_INLINE hw_run *hw_usual_run(const hw_arena *arena, const void *pointer)
{
    size_t offset = (uintptr_t)pointer - (uintptr_t)arena->runs.base - 2 * HW_RUN_OVERHEAD;
    if (HW_UNLIKELY(offset >= atomic_load_explicit(&arena->runs.within, memory_order_relaxed)))
        return NULL;
    return &arena->runs.book[(offset + 2 * HW_RUN_OVERHEAD) >> HW_RUN_LOG2].run;
}

/* Not 0: the block, its slack or its neighbours are not as they should be, or it is of a class whose slack stands apart
   and not `any` is asked for. What it is is to be asked of `n`. */
HW_INLINE uint64_t hw_look_at_block(const hw_run *run, void *pointer, bool any, hw_run_looked *n, uint32_t *slack)
{
    const hw_run_key *key = &hw_this_process.key;
    char *at = (char *)pointer - HW_RUN_OVERHEAD;
    uint32_t stride = hw_usual_stride(run);
    bool first = ((uintptr_t)at & (HW_RUN_BYTES - 1)) == HW_RUN_OVERHEAD, is_small = stride <= HW_RUN_SMALL_STRIDE;
    uint64_t wrong = hw_run_look(key, run->salt, at, stride, first, n);
    /* What looked no further has no neighbours, nor slack. */
    if (HW_UNLIKELY(wrong | !(any | is_small)))
        return 1;
    *slack = n->own & 15;
    if (!any || is_small) {
        wrong = hw_short_slack_wrong(at + stride, hw_pattern_of(n->place), *slack);
    } else {
        uint16_t entry = *hw_usual_entry(run, at);
        *slack |= ((entry ^ n->place >> 48) & 0xFF) << 4;
        wrong = entry != hw_slack_entry(n->place, *slack) ||
                !hw_run_is_filled(at + stride - *slack, at + stride, hw_pattern_of(n->place));
    }
    return wrong | hw_run_behind_wrong(key, n, stride);
}

/* Not 0: it is no usual block of this family. One that was made by another family is judged elsewhere, one that
   another thread released waits; where others of its run do, only who asks for `any` looks whether it does, too. */
HW_INLINE uint64_t hw_look_at_used(hw_arena *arena, const hw_run *run, void *pointer, unsigned family, bool any,
                                   hw_run_looked *n, uint32_t *slack)
{
    uint64_t wrong = hw_look_at_block(run, pointer, any, n, slack);
    uint64_t waiting = atomic_load_explicit(&run->waiting, memory_order_relaxed);
    if (any && HW_UNLIKELY(waiting != 0) && !wrong)
        waiting = hw_small_waits(arena, run, hw_usual_node(n->at));
    return wrong | waiting | ((n->own & 0xF0) ^ ((uint64_t)HW_USED << 4 | family << 6));
}

/* The other way round; `n` was looked at. */
HW_INLINE void hw_give_usual(hw_arena *arena, hw_run *run, const hw_run_looked *n, uint32_t site)
{
    uint32_t old = run->head;
    hw_run_write(&hw_this_process.key, n, ((uint32_t)n->own & 0xCF) | (uint32_t)HW_FREE << 4 | site << 8);
    hw_run_link(&hw_this_process.key, n, hw_free_word(n->place, old));
    run->head = (uint16_t)hw_usual_node(n->at);
    run->used--;
    if (HW_UNLIKELY(!old || !run->used))
        hw_runs_relist(arena, run, !old);
}

/* Another requested size of the same class; `n` was looked at. */
HW_INLINE void hw_resize_there(hw_run *run, const hw_run_looked *n, size_t bytes, uint32_t site)
{
    uint32_t slack = hw_usual_stride(run) - HW_RUN_OVERHEAD - (uint32_t)bytes;
    char *end = n->at + hw_usual_stride(run);
    if (run->class < HW_RUN_SMALL)
        hw_short_slack_refill(end, hw_pattern_of(n->place), slack);
    else
        slack = hw_put_long_slack(run, n, end, slack);
    hw_run_write(&hw_this_process.key, n, hw_meta(slack, HW_USED, n->own >> 6 & 3, site));
}

/* Whatever stops these, they have changed nothing; then the long way begins anew. `any`: a block of any class, else
   only one whose slack stands in its header. */
HW_INLINE void *hw_allocate_usual(hw_arena *arena, size_t bytes, bool any, unsigned origin, hw_caller caller)
{
    uint32_t site;
    if (HW_UNLIKELY(!arena || !(any ? bytes - 1 < HW_RUN_MOST : hw_is_small(bytes)) || hw_is_inside(arena)))
        goto slowly;
    HW_SITE_RECALL(site, &arena->sites, caller, 0, slowly);
    if (HW_UNLIKELY(!hw_try_enter(arena, caller.frame, true)))
        goto slowly;
    void *payload = any ? hw_take_any(arena, bytes, origin, site) : hw_take_usual(arena, bytes, origin, site);
    arena->operations += payload != NULL;
    hw_is_out(arena);
    return payload;
slowly:
    return NULL;
}

HW_INLINE void *hw_allocate_fast(size_t bytes, unsigned origin, hw_caller caller)
{
    hw_arena *arena = hw_this_thread.ready_to_allocate;
    void *payload = hw_allocate_usual(arena, bytes, false, origin, caller);
    if (HW_UNLIKELY(!payload || hw_check_is_asked_for(arena)))
        return hw_heap_allocated(payload, bytes, origin, caller);
    return payload;
}

HW_INLINE bool hw_release_usual(hw_arena *arena, void *pointer, bool any, unsigned family, hw_caller caller)
{
    hw_run *run;
    hw_run_looked n;
    uint32_t site, slack;
    bool done = false;
    if (HW_UNLIKELY(!arena || (run = hw_usual_run(arena, pointer)) == NULL || hw_is_inside(arena) ||
                    !hw_try_enter(arena, caller.frame, true)))
        return false;
    if (HW_LIKELY(!hw_look_at_used(arena, run, pointer, family, any, &n, &slack))) {
        if (HW_SITES_BY_PYTHON)
            arena->sites.releasing = pointer;
        /* None is known for a quarantined node. */
        HW_SITE_RECALL(site, &arena->sites, caller, (uint32_t)n.own >> 8, out);
        hw_give_usual(arena, run, &n, site);
        if (HW_SITES_BY_PYTHON)
            hw_past_note(pointer, site);
        arena->operations++;
        done = true;
    }
out:
    hw_is_out(arena);
    return done;
}

HW_INLINE void hw_release_fast(void *pointer, unsigned family, hw_caller caller)
{
    hw_arena *arena = hw_this_thread.ready_to_release;
    bool done = hw_release_usual(arena, pointer, false, family, caller);
    if (HW_UNLIKELY(!done || hw_check_is_asked_for(arena)))
        hw_heap_released(done ? NULL : pointer, family, caller);
}

/* What was requested of a used block: programs that keep count of their memory ask at each allocation and release. */
HW_INLINE size_t hw_size_fast(const void *pointer, hw_caller caller)
{
    hw_arena *arena = hw_this_thread.ready;
    const hw_run *run;
    if (HW_UNLIKELY(!arena || (run = hw_usual_run(arena, pointer)) == NULL || run->class >= HW_RUN_SMALL ||
                    hw_is_inside(arena) || !hw_try_enter(arena, caller.frame, true)))
        return hw_heap_size(pointer, caller);
    const char *at = (const char *)pointer - HW_RUN_OVERHEAD;
    uint64_t own = hw_word(at), place = hw_place(run->salt, &hw_this_process.key, at);
    bool wrong = hw_run_unlike(place, &hw_this_process.key, own) || hw_state_of((uint32_t)own) != HW_USED ||
                 (uint32_t)own >> 8 == HW_SITE_QUARANTINE;
    size_t size = hw_usual_stride(run) - HW_RUN_OVERHEAD - (own & 15);
    hw_is_out(arena);
    return HW_LIKELY(!wrong) ? size : hw_heap_size(pointer, caller);
}

/* A block of a run made larger or smaller, where it stays in one. */
HW_INLINE void *hw_resize_fast(void *pointer, size_t bytes, hw_caller caller)
{
    hw_arena *arena = hw_this_thread.ready_to_release;
    hw_run *run;
    uint32_t site, slack;
    if (HW_UNLIKELY(!arena || bytes - 1 >= HW_RUN_MOST || (run = hw_usual_run(arena, pointer)) == NULL ||
                    hw_is_inside(arena)))
        goto slowly;
    HW_SITE_RECALL(site, &arena->sites, caller, 0, slowly);
    if (HW_UNLIKELY(!hw_try_enter(arena, caller.frame, true)))
        goto slowly;
    hw_run_looked n;
    void *payload = NULL;
    if (HW_LIKELY(!hw_look_at_used(arena, run, pointer, HW_MALLOC, true, &n, &slack) &&
                  (uint32_t)n.own >> 8 != HW_SITE_QUARANTINE)) {
        size_t had = hw_usual_stride(run) - HW_RUN_OVERHEAD - slack;
        if (hw_class_for(bytes) == run->class) {
            hw_resize_there(run, &n, bytes, site);
            payload = pointer;
        } else if ((payload = hw_take_any(arena, bytes, HW_MALLOC, site)) != NULL) {
            if (HW_SITES_BY_PYTHON)
                arena->sites.releasing = pointer;
            __builtin_memmove(payload, pointer, had < bytes ? had : bytes); /* memcpy would be a slow instruction */
            HW_SITE_RECALL(site, &arena->sites, caller, (uint32_t)n.own >> 8, learn);
            /* Its own words are as they were; the copies of its neighbours' may be others by now. */
            hw_give_usual(arena, run, &n, site);
            if (HW_SITES_BY_PYTHON)
                hw_past_note(pointer, site);
            arena->operations++;
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
learn: /* a site to learn: out of the arena, as any release */
    arena->operations++;
    hw_is_out(arena);
    hw_heap_release(pointer, HW_MALLOC, caller);
    return payload;
}

#endif
