#define _GNU_SOURCE
#include "heap/handed.h"

#include "heap/heap_fast.h"
#include "heap/release.h"
#include "heap/small.h"
#include "stacks/domains.h"
#include "stacks/past.h"

#define KEY (&hw_this_process.key)
enum { HANDED = 1u << 31, SITE = 0xFFFFFF, GROUP_LOG2 = 5, GROUP = 1 << GROUP_LOG2 };
/* `queued` of a run. TAKEN: it is off the list, and what comes to it from now on is seen. */
enum { IDLE, QUEUED, TAKEN };
/* `taking`, while the list is being taken. */
#define ALL UINT32_MAX

bool hw_small_waits(hw_arena *arena, const hw_run *run, uint32_t node)
{
    const _Atomic uint32_t *handed = hw_runs_handed(arena, run);
    return handed && atomic_load(&handed[hw_run_number(run, node)]) != 0;
}

/* --- handing over --------------------------------------------------------------------------------- */

/* On the list, unless it is there; who takes it off clears `queued` before it looks at `waiting`. */
static void put_on_list(hw_runs *runs, hw_run *run)
{
    uint32_t idle = IDLE;
    if (!atomic_compare_exchange_strong(&run->queued, &idle, QUEUED))
        return;
    uint32_t head = atomic_load_explicit(&runs->waiting, memory_order_relaxed);
    do
        atomic_store_explicit(&run->next_waiting, head, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&runs->waiting, &head, hw_runs_number_of(runs, run),
                                                  memory_order_release, memory_order_relaxed));
}

static bool hand_over(hw_arena *arena, hw_run *run, uint32_t number, uint32_t site)
{
    _Atomic uint32_t *handed = hw_runs_handed(arena, run);
    uint32_t nothing = 0;
    /* From here on the node may be free at any time: others of its group that wait bring the owner here, too. */
    if (!handed || !atomic_compare_exchange_strong(&handed[number], &nothing, HANDED | site))
        return false;
    /* Who finds the group noted is before the owner's exchange, which is before its look at the nodes. */
    uint64_t group = UINT64_C(1) << (number >> GROUP_LOG2);
    if ((atomic_load(&run->waiting) & group) && atomic_load(&run->queued) == QUEUED)
        return true;
    atomic_fetch_or(&run->waiting, group);
    put_on_list(&arena->runs, run);
    return true;
}

bool hw_small_hand_over(hw_arena *arena, hw_run *run, uint32_t node, uint32_t site)
{
    uint32_t granules = __atomic_load_n(&run->stride, __ATOMIC_RELAXED) >> HW_RUN_GRANULE_LOG2;
    return granules && hand_over(arena, run, (node - HW_RUN_FIRST) / granules, site);
}

/* --- taking in ------------------------------------------------------------------------------------ */

/* Two released it at once, neither of which could know of the other: when it was found out, and no more, can be told.
 */
static HW_COLD void tell_released_twice(const hw_arena *arena, const hw_run *run, uint32_t node, uint32_t meta,
                                        const hw_context *context)
{
    hw_where where = {.run = run, .region = arena->runs.region};
    hw_context at = {.when = HW_AT_CHECK,
                     .caller = context->caller,
                     .pointer = hw_small_payload(run, node),
                     .family = meta >> 6 & 3};
    hw_tell_wrong_release_at(&at, &where, HW_DOUBLE, node, NULL);
}

/* A used node that nothing is wrong with. */
static bool take_in_usual(hw_arena *arena, hw_run *run, uint32_t node, uint32_t site, const hw_context *context)
{
    hw_run_looked n;
    uint32_t slack;
    if (hw_is_held_back(context) || hw_look_at_block(run, hw_small_payload(run, node), true, &n, &slack) ||
        hw_state_of((uint32_t)n.own) != HW_USED || hw_quarantined((uint32_t)n.own))
        return false;
    hw_give_usual(arena, run, &n, site);
    return true;
}

static void take_in_any(hw_arena *arena, hw_run *run, uint32_t node, uint32_t site, const hw_context *context)
{
    uint32_t meta;
    bool known = hw_run_meta(run, KEY, node, &meta);
    if (!known) {
        hw_small_mend(arena, run, context);
        known = hw_run_meta(run, KEY, node, &meta);
    }
    if (known && hw_state_of(meta) != HW_USED)
        tell_released_twice(arena, run, node, meta, context);
    else if (known && !hw_quarantined(meta))
        hw_small_give(arena, run, node, site, context);
}

static void take_in(hw_arena *arena, hw_run *run, uint32_t number, _Atomic uint32_t *entry, const hw_context *context)
{
    uint32_t node = HW_RUN_FIRST + number * (run->stride >> HW_RUN_GRANULE_LOG2);
    uint32_t site = atomic_load_explicit(entry, memory_order_relaxed) & SITE;
    if (HW_UNLIKELY(!take_in_usual(arena, run, node, site, context)))
        take_in_any(arena, run, node, site, context);
    /* After that: up to here whoever releases it once more finds that it waits, from here on that it is free. */
    atomic_store_explicit(entry, 0, memory_order_release);
}

/* `taking` says what is to be looked at again, where this is left in the middle. */
static void take_in_all(hw_arena *arena, hw_run *run, const hw_context *context)
{
    _Atomic uint32_t *handed = hw_runs_handed(arena, run);
    for (uint64_t groups = atomic_exchange(&run->waiting, 0); groups && handed; groups &= groups - 1) {
        uint32_t first = (uint32_t)__builtin_ctzll(groups) << GROUP_LOG2;
        for (uint32_t number = first; number < first + GROUP; number++)
            if (atomic_load(&handed[number]))
                take_in(arena, run, number, &handed[number], context);
    }
    atomic_signal_fence(memory_order_seq_cst);
    arena->runs.taking = 0;
}

/* The whole list becomes what is to be taken in, which is said first: so it can be found out whether it was, where this
   is left in the middle. False: there is none. */
static bool detach(hw_runs *runs)
{
    uint32_t head = atomic_load_explicit(&runs->waiting, memory_order_relaxed);
    if (!head)
        return false;
    runs->taking = ALL;
    do {
        runs->taken = head;
        atomic_signal_fence(memory_order_seq_cst);
    } while (
        !atomic_compare_exchange_strong_explicit(&runs->waiting, &head, 0, memory_order_acquire, memory_order_relaxed));
    runs->taking = 0;
    return true;
}

void hw_small_drain(hw_arena *arena, const hw_context *context)
{
    hw_runs *runs = &arena->runs;
    while (!atomic_load_explicit(&runs->lost, memory_order_relaxed) && (runs->taken || detach(runs))) {
        hw_run *run = hw_runs_numbered(runs, runs->taken);
        runs->taking = runs->taken;
        atomic_store(&run->queued, TAKEN);
        runs->taken = atomic_load_explicit(&run->next_waiting, memory_order_relaxed);
        /* From here on who notes a node puts the run on the list again. */
        atomic_store(&run->queued, IDLE);
        take_in_all(arena, run, context);
    }
}

void hw_small_drain_run(hw_arena *arena, hw_run *run, const hw_context *context)
{
    hw_small_drain(arena, context);
    if (!atomic_load_explicit(&run->waiting, memory_order_relaxed))
        return;
    arena->runs.taking = hw_runs_number_of(&arena->runs, run);
    atomic_signal_fence(memory_order_seq_cst);
    take_in_all(arena, run, context);
}

void hw_small_take_in_for_nobody(hw_arena *arena, const hw_context *context)
{
    if (atomic_load_explicit(&arena->owner, memory_order_relaxed) == 0 && !hw_is_engaged() && hw_seize(arena, 1)) {
        hw_small_drain(arena, context);
        hw_yield(arena);
    }
}

/* --- handing over, the usual way -------------------------------------------------------------------- */

/* The number of the node whose payload starts at the pointer, HW_RUN_NODES where none can. */
static uint32_t number_of(const hw_run *run, const void *pointer)
{
    size_t offset = (uintptr_t)pointer - (uintptr_t)run->base - 2 * HW_RUN_OVERHEAD;
    uint32_t stride = __atomic_load_n(&run->stride, __ATOMIC_RELAXED);
    uint32_t number = offset < HW_RUN_BYTES && stride ? (uint32_t)offset / stride : HW_RUN_NODES;
    return number < run->capacity && (size_t)number * stride == offset ? number : (uint32_t)HW_RUN_NODES;
}

/* As hw_small_glimpse and what follows it, for a class whose slack stands in the header. */
__attribute__((no_sanitize("thread"))) static bool is_usual(const hw_run *run, const char *at, unsigned family,
                                                            uint32_t *meta)
{
    uint64_t own = __atomic_load_n((const uint64_t *)(const void *)at, __ATOMIC_RELAXED);
    uint64_t place = hw_place(run->salt, KEY, at);
    *meta = (uint32_t)own;
    return hw_run_unlike(place, KEY, own) == 0 && (*meta & 0xF0) == ((uint32_t)HW_USED << 4 | family << 6) &&
           !hw_quarantined(*meta) && hw_run_is_small(run) &&
           !hw_short_slack_wrong(at + hw_usual_stride(run), hw_pattern_of(place), hw_slack_of(*meta));
}

bool hw_small_hand_over_usual(void *pointer, unsigned family, hw_caller caller)
{
    hw_arena *mine = hw_this_thread.ready_to_release;
    uint32_t region = mine && !hw_is_engaged() ? hw_region_of(pointer) : 0, meta, site;
    if (!region || atomic_load_explicit(&hw_region_at(region)->kind, memory_order_acquire) != HW_ARENA_RUNS)
        return false;
    hw_arena *arena = hw_arena_numbered(atomic_load(&hw_region_at(region)->arena));
    hw_run *run = arena == mine || atomic_load(&arena->runs.lost) ? NULL : hw_run_of(arena, pointer);
    uint32_t number = run ? number_of(run, pointer) : (uint32_t)HW_RUN_NODES;
    if (number == HW_RUN_NODES || atomic_load_explicit(&arena->owner, memory_order_relaxed) == 0 || hw_past_is_on() ||
        !is_usual(run, (char *)pointer - HW_RUN_OVERHEAD, family, &meta) || hw_domain_differs(meta >> 8, &caller))
        return false;
    HW_SITE_RECALL(site, &mine->sites, caller, meta >> 8, unknown);
    if (!hand_over(arena, run, number, site))
        return false;
    if (HW_UNLIKELY(atomic_load_explicit(&arena->owner, memory_order_relaxed) == 0) && hw_visit_begins(&caller))
        hw_small_take_in_for_nobody(arena, &(const hw_context){.when = HW_AT_FREE, .caller = caller});
    return true;
unknown:
    return false;
}

/* --- where that did not come to its end ----------------------------------------------------------- */

/* A node that is free was taken in, and its entry is to be cleared; what is none is looked at once more. */
static void look_again(hw_arena *arena, hw_run *run)
{
    _Atomic uint32_t *handed = hw_runs_handed(arena, run);
    uint64_t groups = 0;
    uint32_t meta;
    for (uint32_t number = 0; handed && number < run->capacity; number++) {
        uint32_t node = HW_RUN_FIRST + number * (run->stride >> HW_RUN_GRANULE_LOG2);
        if (!atomic_load(&handed[number]))
            continue;
        if (hw_run_meta(run, KEY, node, &meta) && hw_state_of(meta) != HW_USED)
            atomic_store(&handed[number], 0);
        else
            groups |= UINT64_C(1) << (number >> GROUP_LOG2);
    }
    if (!groups)
        return;
    atomic_fetch_or(&run->waiting, groups);
    put_on_list(&arena->runs, run);
}

/* What was to be taken in may still be on the list, where it was going to be taken from. */
static void detach_left(hw_runs *runs)
{
    uint32_t at = atomic_load_explicit(&runs->waiting, memory_order_acquire);
    while (at && at != runs->taken)
        at = atomic_load_explicit(&hw_runs_numbered(runs, at)->next_waiting, memory_order_relaxed);
    if (at)
        runs->taken = 0;
}

void hw_small_handed_left(hw_arena *arena)
{
    hw_runs *runs = &arena->runs;
    if (!runs->taking || atomic_load(&runs->lost))
        return;
    if (runs->taking == ALL) {
        detach_left(runs);
    } else {
        hw_run *run = hw_runs_numbered(runs, runs->taking);
        /* Off the list, and not yet said to be: unless it is still to be taken off. */
        if (runs->taking != runs->taken && atomic_load(&run->queued) == TAKEN)
            atomic_store(&run->queued, IDLE);
        look_again(arena, run);
    }
    runs->taking = 0;
}

void hw_small_handed_after_fork(hw_arena *arena)
{
    hw_runs *runs = &arena->runs;
    uint32_t head = 0;
    if (!runs->handed.start)
        return;
    for (uint32_t number = (uint32_t)(runs->reach >> HW_RUN_LOG2); number; number--) {
        hw_run *run = hw_runs_numbered(runs, number);
        bool waits = atomic_load_explicit(&run->waiting, memory_order_relaxed) != 0;
        if (!waits && atomic_load_explicit(&run->queued, memory_order_relaxed) == IDLE)
            continue;
        atomic_store_explicit(&run->queued, waits ? QUEUED : IDLE, memory_order_relaxed);
        if (!waits)
            continue;
        atomic_store_explicit(&run->next_waiting, head, memory_order_relaxed);
        head = number;
    }
    runs->taken = 0;
    atomic_store(&runs->waiting, head);
}
