#define _GNU_SOURCE
#include "heap/heap.h"

#include "heap/abandon.h"
#include "heap/big.h"
#include "heap/cache.h"
#include "heap/damage.h"
#include "heap/delayed.h"
#include "heap/handed.h"
#include "heap/heap_fast.h"
#include "heap/huge.h"
#include "heap/release.h"
#include "heap/small.h"
#include "stacks/named.h"
#include "stacks/numbers.h"
#include "traps/blocks.h"
#include "traps/watch.h"

static void *allocate_slowly(hw_arena *arena, size_t bytes, size_t align, unsigned origin, uint32_t site,
                             const hw_context *context);
static void *allocate_big(size_t bytes, size_t align, unsigned origin, const hw_caller *caller);
static void *allocate_as_guest(size_t bytes, size_t align, unsigned origin, uint32_t site, const hw_context *context);

static void check_now_and_then(const hw_arena *arena, const hw_caller *caller)
{
    uint64_t every = hw_setting.check_every;
    if (arena && every && arena->operations % every == 0)
        hw_heap_check_part(*caller);
}

/* What becomes of a block that was allocated as any other, or stands in for a trapped one: which the program gets. */
static HW_COLD void *settled(void *payload, void *trapped, size_t bytes, uint32_t site, uint64_t number)
{
    hw_watch_allocated(payload, trapped, bytes, site, number);
    if (trapped && payload)
        hw_trap_keep(trapped, payload);
    return trapped ? trapped : payload;
}

/* Whether it is this allocation's turn to be trapped by chance. */
static bool is_sampled(hw_arena *arena)
{
    if (hw_traps_sample <= 1)
        return false;
    if (!arena->until_sampled)
        arena->until_sampled = hw_trap_gap();
    return --arena->until_sampled == 0;
}

static HW_COLD void *allocate_trapped(hw_arena *arena, size_t bytes, size_t align, unsigned origin, uint32_t site,
                                      bool sampled, uint64_t *number)
{
    *number = hw_number_next(site);
    void *payload = hw_trap_allocate(bytes, align, origin, site, *number, sampled);
    arena->operations += payload != NULL;
    if (hw_trap_is_enough()) /* another site takes the long way next time, and may be chosen */
        hw_site_forget_one(&arena->sites, (unsigned)arena->operations);
    return payload;
}

/* Where some are chosen: one of the others, as usual. */
static void *allocate_unsampled(size_t bytes, unsigned origin, hw_caller caller)
{
    hw_arena *arena = hw_this_thread.ready;
    void *payload = hw_traps_sample > 1 ? hw_allocate_usual(arena, bytes, true, origin, caller) : NULL;
    if (HW_UNLIKELY(payload && hw_check_is_asked_for(arena)))
        hw_leave_slowly(arena);
    return payload;
}

static void *allocate(size_t bytes, size_t align, unsigned origin, hw_caller caller, bool sampled)
{
    hw_arena *arena = hw_this_thread.arena;
    if (!arena || hw_still_engaged(&caller) || bytes >= hw_big_from(align))
        return allocate_big(bytes, align, origin, &caller);
    hw_context context = {.when = HW_AT_MALLOC, .caller = caller};
    uint32_t site = hw_site_of(&arena->sites, &caller, 0);
    uint64_t number = 0;
    void *trapped = hw_traps_on ? allocate_trapped(arena, bytes, align, origin, site, sampled, &number) : NULL;
    if (HW_UNLIKELY(trapped && !hw_traps_stand_in))
        return settled(NULL, trapped, bytes, site, number);
    hw_enter(arena, caller.frame);
    void *payload = allocate_slowly(arena, bytes, align, origin, site, &context);
    hw_leave(arena);
    if (HW_UNLIKELY(!payload))
        payload = allocate_as_guest(bytes, align, origin, site, &context);
    if (HW_UNLIKELY(hw_traps_on))
        payload = settled(payload, trapped, bytes, site, number);
    check_now_and_then(arena, &caller);
    return payload;
}

/* The usual way for a block whose slack does not stand in its header. NULL: it is none, or not as usual. */
static __attribute__((noinline)) void *allocate_longer(size_t bytes, unsigned origin, hw_caller caller)
{
    hw_arena *arena = hw_this_thread.ready_to_allocate;
    void *payload = hw_allocate_usual(arena, bytes, true, origin, caller);
    if (HW_UNLIKELY(payload && hw_check_is_asked_for(arena)))
        hw_leave_slowly(arena);
    return payload;
}

/* A shorter one was no usual release, but where others of its run wait; or it is to be held back. */
static bool is_usual_now(const hw_run *run, const hw_caller *caller)
{
    return !hw_run_is_small(run) || (atomic_load_explicit(&run->waiting, memory_order_relaxed) &&
                                     hw_domain_of((uintptr_t)caller->pc) != HW_OF_ARRAYS);
}

static __attribute__((noinline)) bool release_longer(void *pointer, unsigned family, hw_caller caller)
{
    hw_arena *arena = hw_this_thread.ready_to_release;
    const hw_run *run = arena ? hw_usual_run(arena, pointer) : NULL;
    bool done = run && is_usual_now(run, &caller) && hw_release_usual(arena, pointer, true, family, caller);
    if (HW_UNLIKELY(done && hw_check_is_asked_for(arena)))
        hw_leave_slowly(arena);
    return done;
}

/* What other threads hold back is given to guests. */
static size_t give_what_others_hold_back(const hw_context *context)
{
    size_t given = 0;
    for (hw_arena *host = hw_arena_first(); host; host = host->next) {
        if (host == hw_this_thread.arena || !host->delayed.count || !hw_seize(host, 1))
            continue;
        given += hw_delayed_give(host, context);
        hw_yield(host);
    }
    return given;
}

/* Where address space is limited: what runs have of it and do not use may be another's. And a program must not fail by
   what is held back. */
static HW_COLD bool make_room(hw_arena *arena, size_t bytes, const hw_caller *caller)
{
    bool limited = hw_space_is_limited();
    if (!arena || bytes > HW_LARGEST || (!limited && !hw_setting.poison) || hw_still_engaged(caller))
        return false;
    hw_context context = {.when = HW_AT_MALLOC, .caller = *caller};
    size_t given = hw_setting.poison ? give_what_others_hold_back(&context) : 0;
    hw_enter(arena, caller->frame);
    given += hw_setting.poison ? hw_delayed_give(arena, &context) : 0;
    given += limited ? hw_runs_give_space(arena) : 0;
    hw_leave(arena);
    return given != 0;
}

void *hw_heap_allocate(size_t bytes, size_t align, unsigned origin, hw_caller caller)
{
    void *longer = align ? NULL : allocate_longer(bytes, origin, caller);
    if (HW_LIKELY(longer != NULL))
        return longer;
    hw_arena *arena = hw_this_thread.arena;
    bool sampled = arena && is_sampled(arena);
    void *payload = sampled || align ? NULL : allocate_unsampled(bytes, origin, caller);
    payload = payload ? payload : allocate(bytes, align, origin, caller, sampled);
    return HW_LIKELY(payload != NULL) || !make_room(arena, bytes, &caller)
               ? payload
               : allocate(bytes, align, origin, caller, sampled);
}

void hw_heap_release(void *pointer, unsigned family, hw_caller caller)
{
    if (HW_LIKELY(release_longer(pointer, family, caller)) || hw_small_hand_over_usual(pointer, family, caller))
        return;
    hw_arena *arena = hw_this_thread.arena;
    hw_context context = {.when = HW_AT_FREE, .caller = caller, .pointer = pointer, .family = family};
    if (hw_is_held_back(&context) && hw_this_thread.ready && !hw_is_inside(arena)) {
        hw_enter(arena, caller.frame);
        bool done = hw_delay_usual(arena, pointer, &context);
        arena->operations -= !done;
        hw_leave(arena);
        if (HW_LIKELY(done))
            return;
    }
    hw_run *run = arena ? hw_run_of(arena, pointer) : NULL;
    run = run && run->stride ? run : NULL; /* where none is used another block may lie */
    if (!arena || hw_still_engaged(&caller) || (!run && !hw_descriptor_contains(arena->first, pointer))) {
        hw_release_any(pointer, &context);
    } else if (run) {
        hw_enter(arena, caller.frame);
        hw_small_release(arena, run, pointer, &context);
        hw_leave(arena);
    } else {
        hw_enter(arena, caller.frame);
        hw_release_inside(arena, arena->first, pointer, &context);
        hw_leave(arena);
    }
    check_now_and_then(arena, &caller);
}

void *hw_heap_allocated(void *payload, size_t bytes, unsigned origin, hw_caller caller)
{
    if (!payload)
        return hw_heap_allocate(bytes, 0, origin, caller);
    hw_leave_slowly(hw_this_thread.arena);
    return payload;
}

void hw_heap_released(void *pointer, unsigned family, hw_caller caller)
{
    if (pointer)
        hw_heap_release(pointer, family, caller);
    else
        hw_leave_slowly(hw_this_thread.arena);
}

static void *allocate_slowly(hw_arena *arena, size_t bytes, size_t align, unsigned origin, uint32_t site,
                             const hw_context *context)
{
    hw_fault fault;
    bool cacheable = align <= 16 && arena->descriptors && !arena->first->lost;
    void *small = hw_is_for_runs(bytes, align) ? hw_small_take(arena, bytes, origin, site, context) : NULL;
    if (HW_LIKELY(small != NULL))
        return small;
    hw_drain_all(arena, context);
    for (int attempt = 0; attempt < HW_ATTEMPTS; attempt++) {
        hw_descriptor *damaged = NULL, *last = NULL;
        fault = (hw_fault){0};
        void *cached = cacheable ? hw_take_large(arena, bytes, origin, site) : NULL;
        if (cached)
            return cached;
        if (cacheable && hw_has_large(arena, bytes)) {
            hw_mend(arena, arena->first, context); /* it is damaged */
            continue;
        }
        for (uint32_t i = 0; i < arena->descriptors && !damaged; i++) {
            hw_descriptor *descriptor = &arena->descriptor[i];
            if (descriptor->lost)
                continue;
            uint32_t node = hw_allocate(descriptor->pool, bytes, align, origin, site, &fault);
            if (node)
                return hw_payload(descriptor->pool, node);
            damaged = fault.reason ? descriptor : NULL;
            last = descriptor;
        }
        size_t room = bytes + align + HW_OVERHEAD + 4 * HW_MIN_NODE;
        if (!damaged && last && hw_sweep(arena, context))
            continue;
        if (!damaged && last) {
            switch (hw_descriptor_extend(last, room, &fault)) {
            case HW_OK:
                attempt -= attempt > 0;
                continue;
            case HW_DAMAGED:
                damaged = last;
                break;
            default:
                break;
            }
        }
        if (damaged)
            hw_mend(arena, damaged, context);
        else if (!hw_descriptor_add(arena, room))
            return NULL;
    }
    return NULL;
}

/* Without memory for an arena or a pool of one's own: where another arena has some. */
static HW_COLD void *allocate_as_guest(size_t bytes, size_t align, unsigned origin, uint32_t site,
                                       const hw_context *context)
{
    static const unsigned patience[] = {1, 1000}; /* ms */
    void *payload = NULL;
    for (unsigned turn = 0; turn < 2; turn++)
        for (hw_arena *host = hw_arena_first(); host && !payload; host = host->next) {
            if (host == hw_this_thread.arena || !hw_seize(host, patience[turn]))
                continue;
            payload = allocate_slowly(host, bytes, align, origin, site, context);
            hw_yield(host);
        }
    return payload;
}

static HW_COLD void *allocate_big(size_t bytes, size_t align, unsigned origin, const hw_caller *caller)
{
    if (bytes > HW_LARGEST)
        return NULL;
    if (HW_UNLIKELY(hw_is_foreign()))
        return hw_big_allocate(bytes, align, origin, 0);
    hw_arena *arena = hw_visit_begins(caller) ? hw_arena_own() : NULL;
    size_t threshold = hw_big_from(align);
    if (arena && bytes < threshold)
        return hw_heap_allocate(bytes, align, origin, *caller);
    uint32_t site = arena ? hw_site_of(&arena->sites, caller, 0) : 0;
    hw_context context = {.when = HW_AT_MALLOC, .caller = *caller};
    uint64_t number = 0;
    void *payload =
        arena && hw_traps_on ? allocate_trapped(arena, bytes, align, origin, site, is_sampled(arena), &number) : NULL;
    if (payload)
        return settled(NULL, payload, bytes, site, number);
    if (!arena && !hw_is_engaged() && bytes < threshold)
        payload = allocate_as_guest(bytes, align, origin, site, &context);
    if (!payload)
        payload = hw_big_allocate(bytes, align, origin, site);
    if (payload && arena)
        arena->operations++;
    if (HW_UNLIKELY(hw_traps_on) && arena)
        settled(payload, NULL, bytes, site, number);
    if (payload || !arena || bytes > HW_MOST_IN_POOL)
        return payload;
    /* Too many big blocks, or no address space for one of its own. */
    hw_enter(arena, caller->frame);
    payload = allocate_slowly(arena, bytes, align, origin, site, &context);
    hw_leave(arena);
    return payload;
}

bool hw_heap_is_fresh(const void *pointer)
{
    uint32_t region = hw_region_of(pointer);
    uint32_t kind = region ? atomic_load(&hw_region_at(region)->kind) : HW_UNUSED;
    return kind == HW_BIG_POOL || kind == HW_BIG_CLAIMED || kind == HW_HUGE || kind == HW_HUGE_CLAIMED;
}
