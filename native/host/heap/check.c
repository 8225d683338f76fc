#define _GNU_SOURCE
/* Going over every pool of the process, and summing up what is in them. */
#include "heap/abandon.h"
#include "heap/big.h"
#include "heap/cache.h"
#include "heap/heap.h"
#include "heap/huge.h"
#include "heap/small.h"
#include "heap/tour.h"
#include "os/room.h"
#include "stacks/named.h"
#include "traps/blocks.h"
#include "traps/watch.h"

/* Held from check_begins to check_ends, all the time as on a visit: so that a thread which leaves a check in the
   middle, by longjmp or cancelled, is known by its next operation or its end, and gives up the lock there. */
static hw_lock checking;

static bool check_begins(unsigned patience)
{
    if (!hw_lock_take_within(&checking, patience))
        return false;
    hw_visits_up();
    hw_this_thread.checks = true;
    return true;
}

void hw_check_abandoned(void)
{
    hw_this_thread.checks = false;
    hw_lock_give(&checking);
}

static void check_ends(void)
{
    hw_check_abandoned();
    hw_visits_down();
}

static uint32_t regions_used(void)
{
    return (uint32_t)atomic_load(&hw_this_process.regions_used);
}

static bool never(void)
{
    return false;
}

/* One going over. `patience` is in milliseconds, for each arena; `own` and `visited` are left out. `all` becomes false
   where something was not looked at, since a thread was changing it. */
typedef struct tour {
    hw_context context;
    bool (*enough)(void);
    unsigned patience;
    const hw_arena *own, *visited;
    bool all;
} tour;

/* False: there was enough. */
static bool check_big(tour *t)
{
    for (uint32_t region = 1; region < regions_used(); region++) {
        uint32_t kind = atomic_load_explicit(&hw_region_at(region)->kind, memory_order_acquire);
        t->all &= kind != HW_BIG_CLAIMED;
        if (kind == HW_HUGE)
            hw_huge_check(region, &t->context);
        if (kind != HW_BIG_POOL)
            continue;
        if (t->enough())
            return false;
        hw_descriptor *descriptor = hw_big_claim(region);
        if (!descriptor)
            continue;
        hw_inspect(NULL, descriptor, &t->context);
        hw_big_unclaim(descriptor);
    }
    hw_trap_check(&t->context);
    return true;
}

static bool check_arena(hw_arena *arena, const tour *t)
{
    enum { ASKED = 64 };
    for (size_t i = 0; i < arena->runs.reach >> HW_RUN_LOG2; i++) {
        if (i % ASKED == 0 && t->enough())
            return false;
        hw_small_inspect(arena, &arena->runs.book[i].run, &t->context);
    }
    for (uint32_t i = 0; i < arena->descriptors; i++) {
        if (t->enough())
            return false;
        hw_inspect(arena, &arena->descriptor[i], &t->context);
    }
    return true;
}

static bool check_all(tour *t)
{
    t->all = true;
    for (hw_arena *arena = hw_arena_first(); arena; arena = arena->next) {
        if (arena == t->own || arena == t->visited || !hw_seize(arena, t->patience)) {
            t->all = false;
            continue;
        }
        bool goes_on = check_arena(arena, t);
        hw_yield(arena);
        if (!goes_on)
            return false;
    }
    return check_big(t);
}

bool hw_heap_check(enum hw_when when, hw_caller caller)
{
    if (hw_still_engaged(&caller)) {
        if (hw_this_thread.arena)
            atomic_store(&hw_this_thread.arena->whole_check, true);
        return false;
    }
    hw_visit_begins(&caller);
    if (!check_begins(0))
        return false;
    tour t = {.context = {.when = when, .caller = caller}, .enough = never};
    check_all(&t);
    check_ends();
    return true;
}

static void go_on(void *context)
{
    hw_tour_go_on(context);
}

void hw_heap_check_part(hw_caller caller)
{
    hw_context context = {.when = HW_AT_CHECK, .caller = caller};
    if (hw_still_engaged(&caller))
        return;
    hw_visit_begins(&caller);
    if (!check_begins(0))
        return;
    hw_with_room(go_on, &context);
    check_ends();
}

bool hw_heap_check_last(hw_caller caller, bool (*enough)(void))
{
    if (hw_still_engaged(&caller))
        return false;
    hw_visit_begins(&caller);
    tour t = {.context = {.when = HW_AT_EXIT, .caller = caller}, .enough = enough, .patience = 500};
    /* It is done even if who is at another does not come to an end. */
    bool alone = check_begins(2000);
    bool whole = check_all(&t);
    if (alone)
        check_ends();
    return whole;
}

bool hw_heap_check_crashed(hw_caller caller)
{
    tour t = {.enough = never, .patience = 500};
    if (hw_still_engaged(&caller)) {
        /* What the thread was at is in the middle of a change. */
        t.own = hw_this_thread.arena && hw_is_inside(hw_this_thread.arena) ? hw_this_thread.arena : NULL;
        t.visited = hw_this_thread.visited;
    } else {
        hw_visit_begins(&caller);
    }
    t.context = (hw_context){.when = HW_AT_CRASH, .caller = caller};
    bool alone = !hw_this_thread.checks && check_begins(500);
    check_all(&t);
    if (alone)
        check_ends();
    return t.all;
}

/* A check that another thread was doing is not going on in the child. */
void hw_checks_after_fork(void)
{
    if (hw_this_thread.checks)
        return;
    atomic_store(&checking, 0);
    hw_tour_forget();
}

HW_COLD void hw_leave_slowly(hw_arena *arena)
{
    if (HW_UNLIKELY(hw_this_thread.postponed))
        hw_end_postponed();
    if (hw_is_engaged() || !atomic_exchange(&arena->whole_check, false))
        return;
    if (hw_heap_check(HW_AT_CHECK, HW_HERE))
        hw_tell_checked();
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
        given += hw_runs_trim(arena);
        if (arena->descriptors && !arena->first->lost)
            hw_sweep(arena, &context);
        for (uint32_t i = 0; i < arena->descriptors; i++)
            if (!arena->descriptor[i].lost)
                given += hw_descriptor_trim(&arena->descriptor[i], 2 * hw_page());
        hw_yield(arena);
    }
    return given;
}

void hw_heap_thread_ends(hw_caller caller)
{
    hw_arena *arena = hw_this_thread.arena;
    if (!arena || atomic_load(&arena->runs.lost) || !hw_try_enter(arena, caller.frame, false))
        return;
    hw_runs_settle(arena);
    hw_is_out(arena);
}

/* Numbers as they are just now: their owners go on counting. */
__attribute__((no_sanitize("thread"))) hw_heap_sums hw_heap_sum(void)
{
    hw_heap_sums sums = {.big = hw_big_count()};
    for (hw_arena *arena = hw_arena_first(); arena; arena = arena->next) {
        sums.operations += arena->operations;
        sums.nodes += hw_arena_nodes(arena, &sums.backups);
    }
    sums.nodes += sums.big;
    sums.backups += sums.big * sizeof(hw_header);
    return sums;
}

void hw_tell_end(uint64_t how)
{
    hw_heap_sums sums = hw_heap_sum();
    const hw_trap_counts *traps = &hw_trap_counted;
    if (hw_traps_on)
        hw_watch_look(true);
    uint64_t stats[HW_STATS_WORDS] = {sums.operations,
                                      sums.nodes,
                                      sums.nodes,
                                      atomic_load(&hw_findings),
                                      atomic_load(&hw_repairs),
                                      1,
                                      sums.big,
                                      how,
                                      atomic_load(&traps->trapped),
                                      atomic_load(&traps->too_often),
                                      atomic_load(&traps->too_many),
                                      atomic_load(&hw_left_places),
                                      atomic_load(&traps->watched),
                                      atomic_load(&traps->unwatched),
                                      sums.backups};
    hw_tell_exit(stats);
}

static void measure_descriptor(const hw_descriptor *descriptor, hw_heap_use *use)
{
    use->pools += descriptor->bytes;
    if (descriptor->lost)
        return;
    for (uint32_t node = hw_next(descriptor->pool, 0); node; node = hw_next(descriptor->pool, node)) {
        hw_header h;
        if (!hw_header_at(descriptor->pool, node, &h) || hw_state_of(h.meta) == HW_USED)
            continue;
        use->free += (size_t)h.size << HW_FIXED_GRANULE_LOG2;
        use->free_nodes++;
    }
}

static void measure_runs(const hw_arena *arena, hw_heap_use *use)
{
    size_t reach = atomic_load(&arena->runs.reach);
    use->pools += reach;
    for (size_t i = 0; i < reach >> HW_RUN_LOG2; i++) {
        const hw_run *run = &arena->runs.book[i].run;
        use->free += HW_RUN_BYTES - (size_t)run->used * run->stride;
        use->free_nodes += run->formatted - run->used;
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
        if (alone)
            measure_runs(arena, &use);
        else
            use.pools += atomic_load(&arena->runs.reach);
        for (uint32_t i = 0; i < arena->descriptors; i++) {
            if (alone)
                measure_descriptor(&arena->descriptor[i], &use);
            else
                use.pools += arena->descriptor[i].bytes;
        }
        if (alone)
            hw_yield(arena);
    }
    for (uint32_t region = 1; region < regions_used(); region++) {
        uint32_t kind = atomic_load(&hw_region_at(region)->kind);
        if (kind != HW_BIG_POOL && kind != HW_BIG_CLAIMED && kind != HW_HUGE && kind != HW_HUGE_CLAIMED)
            continue;
        use.big += atomic_load(&hw_region_at(region)->bytes);
        use.big_blocks++;
    }
    size_t trapped, blocks;
    hw_trap_measure(&trapped, &blocks);
    use.big += trapped;
    use.big_blocks += blocks;
    return use;
}
