#define _GNU_SOURCE
#include "heap/handed.h"

#include "heap/heap_fast.h"
#include "heap/release.h"
#include "heap/small.h"

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

bool hw_small_hand_over(hw_arena *arena, hw_run *run, uint32_t node, uint32_t site)
{
    _Atomic uint32_t *handed = hw_runs_handed(arena, run);
    uint32_t granules = __atomic_load_n(&run->stride, __ATOMIC_RELAXED) >> HW_RUN_GRANULE_LOG2, nothing = 0;
    uint32_t number = granules ? (node - HW_RUN_FIRST) / granules : 0;
    /* From here on the node may be free at any time: others of its group that wait bring the owner here, too. */
    if (!handed || !granules || !atomic_compare_exchange_strong(&handed[number], &nothing, HANDED | site))
        return false;
    /* Who finds the group noted is before the owner's exchange, which is before its look at the nodes. */
    uint64_t group = UINT64_C(1) << (number >> GROUP_LOG2);
    if ((atomic_load(&run->waiting) & group) && atomic_load(&run->queued) == QUEUED)
        return true;
    atomic_fetch_or(&run->waiting, group);
    put_on_list(&arena->runs, run);
    return true;
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
