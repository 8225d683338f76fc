#define _GNU_SOURCE
/* Going over every pool of the process, and summing up what is in them. */
#include "abandon.h"
#include "big.h"
#include "cache.h"
#include "heap.h"
#include "huge.h"

static hw_lock checking;
static _Atomic uint32_t checker; /* the thread that holds it */

static uint32_t regions_used(void)
{
    return (uint32_t)atomic_load(&hw_this_process.regions_used);
}

static bool never(void)
{
    return false;
}

static bool check_big(const hw_context *context, bool (*enough)(void))
{
    for (uint32_t region = 1; region < regions_used(); region++) {
        uint32_t kind = atomic_load_explicit(&hw_region_at(region)->kind, memory_order_acquire);
        if (kind == HW_HUGE)
            hw_huge_check(region, context);
        if (kind != HW_BIG_POOL)
            continue;
        if (enough())
            return false;
        hw_place *place = hw_big_hold(region);
        if (!place)
            continue;
        hw_inspect(NULL, place, context);
        hw_big_let_go(place);
    }
    return true;
}

static bool check_arena(hw_arena *arena, const hw_context *context, bool (*enough)(void))
{
    for (uint32_t i = 0; i < arena->places; i++) {
        if (enough())
            return false;
        hw_inspect(arena, &arena->place[i], context);
    }
    return true;
}

static bool check_all(const hw_context *context, unsigned patience, bool (*enough)(void))
{
    bool all = true;
    for (hw_arena *arena = hw_arena_first(); arena && all; arena = arena->next) {
        if (!hw_seize(arena, patience))
            continue;
        all = check_arena(arena, context, enough);
        hw_yield(arena);
    }
    return all && check_big(context, enough);
}

bool hw_heap_check(enum hw_when when, hw_caller caller)
{
    hw_context context = {.when = when, .caller = caller};
    if (hw_still_engaged(&caller)) {
        if (hw_me.arena)
            atomic_store(&hw_me.arena->whole_check, true);
        return false;
    }
    hw_visit_begins(&caller);
    if (!hw_lock_take_within(&checking, 0))
        return false;
    atomic_store(&checker, hw_thread_id());
    check_all(&context, 0, never);
    atomic_store(&checker, 0);
    hw_lock_give(&checking);
    return true;
}

bool hw_heap_check_last(hw_caller caller, bool (*enough)(void))
{
    hw_context context = {.when = HW_AT_EXIT, .caller = caller};
    if (hw_still_engaged(&caller))
        return false;
    hw_visit_begins(&caller);
    /* It is done even if who is at another does not come to an end, as when a signal interrupted this thread there. */
    bool alone = atomic_load(&checker) != hw_thread_id() && hw_lock_take_within(&checking, 2000);
    bool all = check_all(&context, 500, enough);
    if (alone)
        hw_lock_give(&checking);
    return all;
}

/* A check that another thread was doing is not going on in the child. */
void hw_checks_after_fork(void)
{
    atomic_store(&checking, 0);
    atomic_store(&checker, 0);
}

HW_COLD void hw_leave_slowly(hw_arena *arena)
{
    if (HW_UNLIKELY(hw_me.postponed))
        hw_end_postponed();
    if (hw_is_engaged() || !atomic_exchange(&arena->whole_check, false))
        return;
    hw_heap_check(HW_AT_CHECK, HW_HERE);
}

size_t hw_heap_trim(hw_caller caller)
{
    size_t given = 0;
    hw_context context = {.when = HW_AT_CHECK, .caller = caller};
    if (hw_still_engaged(&caller))
        return 0;
    hw_visit_begins(&caller);
    for (hw_arena *arena = hw_arena_first(); arena; arena = arena->next) {
        if (!hw_seize(arena, 100))
            continue;
        if (arena->places && !arena->first->lost)
            hw_sweep(arena, &context);
        for (uint32_t i = 0; i < arena->places; i++)
            if (!arena->place[i].lost)
                given += hw_place_trim(&arena->place[i], 2 * HW_PAGE);
        hw_yield(arena);
    }
    return given;
}

/* Numbers as they are just now: their owners go on counting. */
__attribute__((no_sanitize("thread"))) hw_heap_sums hw_heap_sum(void)
{
    hw_heap_sums sums = {.big = hw_big_count()};
    for (hw_arena *arena = hw_arena_first(); arena; arena = arena->next) {
        uint64_t nodes = hw_arena_nodes(arena);
        sums.operations += arena->operations;
        sums.nodes += nodes;
        sums.nodes_peak += nodes > arena->nodes_peak ? nodes : arena->nodes_peak;
    }
    sums.nodes += sums.big;
    sums.nodes_peak += sums.big;
    return sums;
}

static void measure_place(const hw_place *place, hw_heap_use *use)
{
    use->pools += place->bytes;
    if (place->lost)
        return;
    for (uint32_t node = hw_next(place->pool, 0); node; node = hw_next(place->pool, node)) {
        hw_header h;
        if (!hw_header_at(place->pool, node, &h) || hw_state_of(h.meta) == HW_USED)
            continue;
        use->free += (size_t)h.size << HW_FIXED_GRANULE_LOG2;
        use->free_nodes++;
    }
}

hw_heap_use hw_heap_measure(hw_caller caller)
{
    hw_heap_use use = {0};
    bool engaged = hw_still_engaged(&caller);
    if (!engaged)
        hw_visit_begins(&caller);
    for (hw_arena *arena = hw_arena_first(); arena; arena = arena->next) {
        bool alone = !engaged && hw_seize(arena, 100);
        for (uint32_t i = 0; i < arena->places; i++) {
            if (alone)
                measure_place(&arena->place[i], &use);
            else
                use.pools += arena->place[i].bytes;
        }
        if (alone)
            hw_yield(arena);
    }
    for (uint32_t region = 1; region < regions_used(); region++) {
        uint32_t kind = atomic_load(&hw_region_at(region)->kind);
        if (kind != HW_BIG_POOL && kind != HW_BIG_HELD && kind != HW_HUGE && kind != HW_HUGE_HELD)
            continue;
        use.big += atomic_load(&hw_region_at(region)->bytes);
        use.big_blocks++;
    }
    return use;
}
